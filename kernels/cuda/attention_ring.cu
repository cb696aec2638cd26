/*
 * Attention of long sequences on Hopper, forward: attention_ring.cuh. A warpgroup owns 64 queries
 * of one head; the warpgroups of a block share the tiles of keys and values.
 *
 * The scores of the next tile and the product with this tile's values start together, so that the
 * tensor cores have work while this warpgroup waits for the first of the two.
 */
#include "attention_ring.cuh"

/* as many keys as registers allow; heads of 40: four warpgroups of a ring, not two each of two */
template <int D> struct ring_fwd : ring_shape<D, 2, D == 64 ? 64 : 48, 2, 6> {};
template <> struct ring_fwd<48> : ring_shape<48, 4, 80, 1, 6> {};

// ------------------------------------------------------------------ kernels

#ifdef TI_HOPPER

/*
 * The softmax of a tile whose scores are there, while the product before may be under way: p is the
 * operand of the next product, acc is shrunk for it. SUM: also add up p, else a column of acc does.
 */
template <typename T, int KEYS, int N, bool SUM>
static __device__ __forceinline__ void soften(float (&x)[KEYS / 2], uint32_t (&p)[KEYS / 16][4],
                                              float (&acc)[N / 2], float (&top)[2], float (&sum)[2],
                                              float scale)
{
  float shrink[2];

#pragma unroll
  for (int half = 0; half < 2; half++) {
    float m = top[half], part = 0.0f;

#pragma unroll
    for (int j = half * 2; j < KEYS / 2; j += 4)
      m = fmaxf(m, fmaxf(x[j], x[j + 1]));
    m = fmaxf(m, shuffle_xor(m, 1)); /* four lanes share a row */
    m = fmaxf(m, shuffle_xor(m, 2));
    const float bias = m * scale;

    shrink[half] = exp2_fast(fmaf(top[half], scale, -bias));
    top[half] = m;
#pragma unroll
    for (int j = half * 2; j < KEYS / 2; j += 4) {
#pragma unroll
      for (int i = j; i < j + 2; i++) {
        x[i] = exp2_fast(fmaf(x[i], scale, -bias));
        if (SUM)
          part += x[i];
      }
    }
    if (SUM)
      sum[half] = fmaf(sum[half], shrink[half], part);
  }
  wgmma_hold(x);
  wgmma_wait<0>();
  wgmma_hold(p);
  wgmma_hold(acc);
#pragma unroll
  for (int i = 0; i < N / 2; i++)
    acc[i] *= shrink[i / 2 % 2];
  round_operand<T, KEYS>(p, x);
  wgmma_hold(p);
  wgmma_hold(acc);
  wgmma_hold(x);
}

#endif

template <typename T, typename C>
static __global__ void __launch_bounds__(C::threads, C::blocks)
    attention_ring_fwd_kernel(attention_buffers io, ti_attention_shape s)
{
#ifdef TI_HOPPER
  constexpr int D = C::d, KEYS = C::step;
  constexpr bool SUM = D != 48;
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads, warp = threadIdx.x / 32;
  const int first = blockIdx.x * C::rows + warp * 16;
  const int row0 = first + threadIdx.x % 32 / 4; /* and row0 + 8 */
  const int visible[2] = { s.tk, s.tk };
  const float scale = s.scale * TI_LOG2_E;
  float acc[D / 2] = {}, top[2] = { -INFINITY, -INFINITY }, sum[2] = {}, x[KEYS / 2];
  uint32_t q[D / 16][4], p[KEYS / 16][4];
  tile_ring<T, C> ring;

  ring.begin(io.packed_keys, s.tk);
  load_operand<T, D>(q, (const T *)io.q + (size_t)n * s.tq * s.q_stride + head * s.d, row0, s.tq,
                     s.q_stride, s.d);
  ring.wait_for(0);
  wgmma_hold(q);
  wgmma_hold(acc);
  wgmma_fence();
  start_product<T, D, KEYS>(x, q, ring.first(0));
  wgmma_commit();
  wgmma_wait<0>();
  wgmma_hold(x);
  if (KEYS > s.tk)
    mask_columns<KEYS>(x, 0, visible);
  soften<T, KEYS, D, SUM>(x, p, acc, top, sum, scale);
  for (int tile = 1; tile < ring.tiles; tile++) {
    ring.done_with(tile - 2);
    ring.wait_for(tile);
    wgmma_fence();
    start_product<T, D, KEYS>(x, q, ring.first(tile));
    wgmma_commit();
    start_columns<T, KEYS, D>(acc, p, columns_operand<T, KEYS>(ring.second(tile - 1)));
    wgmma_commit();
    wgmma_wait<1>();
    wgmma_hold(x);
    if ((tile + 1) * KEYS > s.tk)
      mask_columns<KEYS>(x, tile * KEYS, visible);
    soften<T, KEYS, D, SUM>(x, p, acc, top, sum, scale);
  }
  wgmma_fence();
  start_columns<T, KEYS, D>(acc, p, columns_operand<T, KEYS>(ring.second(ring.tiles - 1)));
  wgmma_commit();
  wgmma_wait<0>();
  wgmma_hold(p);
  wgmma_hold(q);
  wgmma_hold(acc);
  if constexpr (!SUM) { /* column 40 */
    sum[0] = threadIdx.x % 4 ? 0.0f : acc[20];
    sum[1] = threadIdx.x % 4 ? 0.0f : acc[22];
  }
  softmax_end<T, D>(io, s, acc, sum, top, first);
#endif
}

// ------------------------------------------------------------------ launchers

template <typename T, typename C>
static textinv_status ring_forward(ti_exec *e, const attention_buffers *b,
                                   const ti_attention_shape *s)
{
  const dim3 grid((unsigned)ti_ceil_div((size_t)s->tq, C::rows), (unsigned)(s->n * s->heads));
  attention_buffers io = *b;
  pack_jobs jobs = {};
  textinv_status status;

  io.packed_keys = e->scratch;
  add_jobs<C>(jobs.of, io.packed_keys, s->tk, b->k, s->k_stride, SPARE_ONES, b->v, s->v_stride,
              SPARE_ONES);
  if ((status = pack_tiles<T, C::d>(e, &io, s, jobs, 2)) < 0)
    return status;
  return launch(e, "attention_fwd", attention_ring_fwd_kernel<T, C>, grid, C::threads, C::bytes, io,
                *s);
}

size_t ti_cuda_attention_ring_scratch(const ti_attention_shape *s)
{
  TI_WITH_RING_HEAD(s->d, return packed_bytes<ring_fwd<D> >(s, s->tk));
}

textinv_status ti_cuda_attention_ring(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                      const ti_attention_shape *s)
{
  TI_WITH_DTYPE_16(dtype,
                   TI_WITH_RING_HEAD(s->d, return ring_forward<T, ring_fwd<D> >(e, b, s)));
}
