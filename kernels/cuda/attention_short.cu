/*
 * Attention of few keys on Hopper, a prompt's, forward: keys and values of a head are one tile that
 * a block keeps, so that softmax sees whole rows. The block walks over its part of the queries in
 * tiles of 64, one warpgroup's; the next is under way meanwhile.
 */
#include "attention_hopper.cuh"

/* heads of D columns */
template <int D> struct short_fwd {
  static const int d = D, keys = TI_SHORT_KEYS, queries = 64, threads = TI_WARPGROUP;
  static const int blocks = D <= 80 ? 4 : 2; /* of a multiprocessor */
  static const int tile = queries * D, key_tile = keys * D; /* values */
  static const int bytes = 2 * (tile + key_tile) * 2;
};

// ------------------------------------------------------------------ kernels

/* blocks: parts of per tiles of queries, heads */
template <typename T, typename C>
static __global__ void __launch_bounds__(C::threads, C::blocks)
    attention_short_fwd_kernel(attention_buffers io, ti_attention_shape s, int per)
{
#ifdef TI_HOPPER
  constexpr int D = C::d, KEYS = C::keys, QUERIES = C::queries;
  T *k_tile = (T *)shared_memory(), *v_tile = k_tile + C::key_tile, *stages = v_tile + C::key_tile;
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads, warp = threadIdx.x / 32;
  const int begin = blockIdx.x * per, end = min((s.tq + QUERIES - 1) / QUERIES, begin + per);
  const T *q = (const T *)io.q + (size_t)n * s.tq * s.q_stride + head * s.d;
  const T *k = (const T *)io.k + (size_t)n * s.tk * s.k_stride + head * s.d;
  const T *v = (const T *)io.v + (size_t)n * s.tk * s.v_stride + head * s.d;
  const float scale = s.scale * TI_LOG2_E;

  load_planes<T, KEYS, D, C::threads>(k_tile, k, 0, s.tk, s.k_stride, s.d);
  load_planes<T, QUERIES, D, C::threads>(stages, q, begin * QUERIES, s.tq, s.q_stride, s.d);
  copy_commit();
  load_planes<T, KEYS, D, C::threads>(v_tile, v, 0, s.tk, s.v_stride, s.d);
  copy_commit();
  for (int tile = begin; tile < end; tile++) {
    const int first = tile * QUERIES + warp * 16;
    const int row0 = first + threadIdx.x % 32 / 4; /* and row0 + 8 */
    float x[KEYS / 2], acc[D / 2] = {}, top[2] = { -INFINITY, -INFINITY }, sum[2] = {};
    uint32_t p[KEYS / 16][4];

    if (tile == begin)
      copy_wait<1>(); /* not for the values */
    else
      copy_wait<0>();
    async_fence();
    __syncthreads(); /* the tile is there; the one before is no longer read */
    if (tile + 1 < end)
      load_planes<T, QUERIES, D, C::threads>(stages + (tile + 1 - begin) % 2 * C::tile, q,
                                             (tile + 1) * QUERIES, s.tq, s.q_stride, s.d);
    copy_commit();
    wgmma_fence();
    start_rows<T, QUERIES, D, KEYS>(
        x, rows_operand<T, QUERIES>(stages + (tile - begin) % 2 * C::tile),
        rows_operand<T, KEYS>(k_tile));
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_hold(x);
    if (s.causal || KEYS > s.tk) {
      const int visible[2] = { s.causal ? min(s.tk, row0 + 1) : s.tk,
                               s.causal ? min(s.tk, row0 + 9) : s.tk };

      mask_columns<KEYS>(x, 0, visible);
    }
    softmax_step<KEYS, D>(x, acc, top, sum, scale);
    round_operand<T, KEYS>(p, x);
    wgmma_hold(p);
    wgmma_hold(acc);
    if (tile == begin) {
      copy_wait<1>(); /* for them */
      async_fence();
      __syncthreads();
    }
    wgmma_fence();
    start_columns<T, KEYS, D>(acc, p, columns_operand<T, KEYS>(v_tile));
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_hold(p);
    wgmma_hold(acc);
    softmax_end<T, D>(io, s, acc, sum, top, first);
  }
#endif
}

// ------------------------------------------------------------------ launchers

template <typename T, typename C>
static textinv_status short_forward(ti_exec *e, const attention_buffers *b,
                                    const ti_attention_shape *s)
{
  const size_t tiles = ti_ceil_div((size_t)s->tq, C::queries), heads = (size_t)s->n * s->heads;
  /* as few tiles a block as all multiprocessors take at once */
  const size_t per = ti_ceil_div(tiles * heads, (size_t)TI_ENOUGH_BLOCKS * C::blocks);
  const dim3 grid((unsigned)ti_ceil_div(tiles, per), (unsigned)heads);

  return launch(e, "attention_fwd", attention_short_fwd_kernel<T, C>, grid, C::threads, C::bytes,
                *b, *s, (int)per);
}

textinv_status ti_cuda_attention_short(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                       const ti_attention_shape *s)
{
  TI_WITH_DTYPE_16(dtype,
                   TI_WITH_SHORT_HEAD(s->d, return (short_forward<T, short_fwd<D> >(e, b, s))));
}
