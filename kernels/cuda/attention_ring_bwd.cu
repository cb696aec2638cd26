/*
 * Attention of long sequences on Hopper, backward: attention_ring.cuh. One kernel walks over keys
 * for dq, one over queries for dk and dv, as in attention_mma_bwd.cu. A warpgroup owns 64 rows.
 *
 * The products that the next step begins with start as soon as this one has used their registers,
 * before the products that end it: when the next step waits for the scores, these are done, and the
 * tensor cores are busy with the rest.
 */
#include "attention_ring.cuh"

template <int D> struct ring_dq : ring_shape<D, 2, D == 48 ? 96 : 64, 1, 8> {};
template <> struct ring_dq<64> : ring_shape<64, 2, 80, 1, 4> {};
template <int D> struct ring_dkv : ring_shape<D, 2, D == 48 ? 96 : 64, 1, 8, true> {};

// ------------------------------------------------------------------ kernels

#ifdef TI_HOPPER

/*
 * Scores and do v of a tile of keys to ds. Under way: x, then dp, then perhaps a product whose
 * operand ds still is. sums: log2 of the softmax's divisor and delta, of two rows.
 */
template <typename T, int KEYS, int N, bool FOLDED>
static __device__ __forceinline__ void dq_elements(float (&x)[KEYS / 2], float (&dp)[KEYS / 2],
                                                   uint32_t (&ds)[KEYS / 16][4],
                                                   float (&acc)[N / 2], const float2 (&sums)[2],
                                                   float scale, int first, int keys)
{
  wgmma_wait<2>();
  wgmma_hold(x);
  if (!FOLDED && first + KEYS > keys) {
    const int visible[2] = { keys, keys };

    mask_columns<KEYS>(x, first, visible);
  }
  /* folded, keys beyond the last have zeros in k and v: p = 1 and ds = 0 */
#pragma unroll
  for (int i = 0; i < KEYS / 2; i++)
    x[i] = exp2_fast(FOLDED ? x[i] * scale : fmaf(x[i], scale, -sums[i / 2 % 2].x));
  wgmma_hold(x);
  wgmma_wait<1>();
  wgmma_hold(dp);
#pragma unroll
  for (int i = 0; i < KEYS / 2; i++)
    x[i] *= FOLDED ? dp[i] : dp[i] - sums[i / 2 % 2].y;
  wgmma_hold(x);
  wgmma_wait<0>();
  wgmma_hold(acc);
  wgmma_hold(ds);
  round_operand<T, KEYS>(ds, x);
  wgmma_hold(ds);
  wgmma_hold(acc);
}

/*
 * Scores and v do of a tile of queries to p and ds, transposed; as above. sums: of two columns of
 * each eight.
 */
template <typename T, int QUERIES, bool FOLDED>
static __device__ __forceinline__ void dkv_elements(float (&x)[QUERIES / 2],
                                                    float (&dp)[QUERIES / 2],
                                                    uint32_t (&p)[QUERIES / 16][4],
                                                    uint32_t (&ds)[QUERIES / 16][4],
                                                    const float4 *sums, float scale)
{
  wgmma_wait<2>();
  wgmma_hold(x);
  /* a query beyond the last has zeros in q, do and sums: p = 1 and ds = 0 add nothing */
#pragma unroll
  for (int i = 0; i < QUERIES / 2; i += 4) {
    const float4 sum = FOLDED ? float4() : sums[i];

#pragma unroll
    for (int j = i; j < i + 4; j++)
      x[j] = exp2_fast(FOLDED ? x[j] * scale : fmaf(x[j], scale, -(j % 2 ? sum.z : sum.x)));
  }
  wgmma_hold(x);
  wgmma_wait<1>();
  wgmma_hold(dp);
#pragma unroll
  for (int i = 0; i < QUERIES / 2; i += 4) {
    const float4 sum = FOLDED ? float4() : sums[i];

#pragma unroll
    for (int j = i; j < i + 4; j++)
      dp[j] = x[j] * (FOLDED ? dp[j] : dp[j] - (j % 2 ? sum.w : sum.y));
  }
  wgmma_hold(dp);
  wgmma_wait<0>();
  wgmma_hold(p);
  wgmma_hold(ds);
  round_operand<T, QUERIES>(p, x);
  round_operand<T, QUERIES>(ds, dp);
  wgmma_hold(p);
  wgmma_hold(ds);
}

#endif

template <typename T, typename C>
static __global__ void __launch_bounds__(C::threads, C::blocks)
    attention_ring_dq_kernel(attention_buffers io, ti_attention_shape s)
{
#ifdef TI_HOPPER
  constexpr int D = C::d, N = C::columns, KEYS = C::step;
  constexpr bool FOLDED = folds_sums<T, D>::value;
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads, warp = threadIdx.x / 32;
  const int first = blockIdx.x * C::rows + warp * 16;
  const int row0 = first + threadIdx.x % 32 / 4; /* and row0 + 8 */
  const float scale = s.scale * TI_LOG2_E;
  const float2 sums[2] = { row_sums(io, s, row0), row_sums(io, s, row0 + 8) };
  float acc[N / 2] = {}, x[KEYS / 2], dp[KEYS / 2];
  uint32_t q[D / 16][4], d_o[D / 16][4], ds[KEYS / 16][4] = {};
  tile_ring<T, C> ring;

  ring.begin(io.packed_keys, s.tk);
  load_operand<T, D>(q, (const T *)io.q + (size_t)n * s.tq * s.q_stride + head * s.d, row0, s.tq,
                     s.q_stride, s.d);
  load_operand<T, D>(d_o, (const T *)io.d_o + (size_t)n * s.tq * s.heads * s.d + head * s.d, row0,
                     s.tq, s.heads * s.d, s.d);
  if (FOLDED) {
    set_spare(q, in_parts<T>(-sums[0].x / scale), in_parts<T>(-sums[1].x / scale));
    set_spare(d_o, in_parts<T>(-sums[0].y), in_parts<T>(-sums[1].y));
  }
  wgmma_hold(q);
  wgmma_hold(d_o);
  wgmma_hold(acc);
  wgmma_hold(ds);
  for (int tile = 0; tile < ring.tiles; tile++) {
    ring.wait_for(tile);
    wgmma_fence();
    start_product<T, D, KEYS>(x, q, ring.first(tile));
    wgmma_commit();
    start_product<T, D, KEYS>(dp, d_o, ring.second(tile));
    wgmma_commit();
    /* at first ds = 0 times anything */
    start_columns<T, KEYS, N>(acc, ds, columns_operand<T, KEYS>(ring.first(max(tile - 1, 0))));
    wgmma_commit();
    dq_elements<T, KEYS, N, FOLDED>(x, dp, ds, acc, sums, scale, tile * KEYS, s.tk);
    ring.done_with(tile - 1);
  }
  wgmma_fence();
  start_columns<T, KEYS, N>(acc, ds, columns_operand<T, KEYS>(ring.first(ring.tiles - 1)));
  wgmma_commit();
  wgmma_wait<0>();
  wgmma_hold(q);
  wgmma_hold(d_o);
  wgmma_hold(ds);
  wgmma_hold(acc);
  store_rows<T, N>((T *)io.dq + (size_t)n * s.tq * s.q_stride + head * s.d, acc, first, s.tq,
                   s.q_stride, s.d, s.scale, s.scale);
#endif
}

template <typename T, typename C>
static __global__ void __launch_bounds__(C::threads, C::blocks)
    attention_ring_dkv_kernel(attention_buffers io, ti_attention_shape s)
{
#ifdef TI_HOPPER
  constexpr int D = C::d, N = C::columns, QUERIES = C::step;
  constexpr bool FOLDED = folds_sums<T, D>::value;
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads, warp = threadIdx.x / 32;
  const int first = blockIdx.x * C::rows + warp * 16, key0 = first + threadIdx.x % 32 / 4;
  const float scale = s.scale * TI_LOG2_E;
  /* all transposed: rows are keys, columns are queries */
  float dk[N / 2] = {}, dv[N / 2] = {}, x[QUERIES / 2], dp[QUERIES / 2];
  uint32_t k[D / 16][4], v[D / 16][4], p[QUERIES / 16][4] = {},
           ds[QUERIES / 16][4] = {};
  tile_ring<T, C> ring;

  ring.begin(io.packed_queries, s.tq);
  load_operand<T, D>(k, (const T *)io.k + (size_t)n * s.tk * s.k_stride + head * s.d, key0, s.tk,
                     s.k_stride, s.d);
  load_operand<T, D>(v, (const T *)io.v + (size_t)n * s.tk * s.v_stride + head * s.d, key0, s.tk,
                     s.v_stride, s.d);
  if (FOLDED) {
    set_spare(k, three_ones<T>(), three_ones<T>());
    set_spare(v, three_ones<T>(), three_ones<T>());
  }
  wgmma_hold(k);
  wgmma_hold(v);
  wgmma_hold(dk);
  wgmma_hold(dv);
  wgmma_hold(p);
  wgmma_hold(ds);
  for (int step = 0; step < ring.tiles; step++) {
    ring.wait_for(step);
    wgmma_fence();
    start_product<T, D, QUERIES>(x, k, ring.first(step));
    wgmma_commit();
    start_product<T, D, QUERIES>(dp, v, ring.second(step));
    wgmma_commit();
    /* at first p = ds = 0 times anything */
    start_columns<T, QUERIES, N>(dv, p, columns_operand<T, QUERIES>(ring.second(max(step - 1, 0))));
    start_columns<T, QUERIES, N>(dk, ds, columns_operand<T, QUERIES>(ring.first(max(step - 1, 0))));
    wgmma_commit();
    dkv_elements<T, QUERIES, FOLDED>(x, dp, p, ds, ring.sums_of(step), scale);
    wgmma_hold(dk);
    wgmma_hold(dv);
    ring.done_with(step - 1);
  }
  wgmma_fence();
  start_columns<T, QUERIES, N>(dv, p, columns_operand<T, QUERIES>(ring.second(ring.tiles - 1)));
  start_columns<T, QUERIES, N>(dk, ds, columns_operand<T, QUERIES>(ring.first(ring.tiles - 1)));
  wgmma_commit();
  wgmma_wait<0>();
  wgmma_hold(k);
  wgmma_hold(v);
  wgmma_hold(p);
  wgmma_hold(ds);
  wgmma_hold(dk);
  wgmma_hold(dv);
  store_gradients<T, N>(io, s, dk, dv, first);
#endif
}

// ------------------------------------------------------------------ launchers

template <typename T, typename Q, typename K>
static textinv_status ring_backward(ti_exec *e, const attention_buffers *b,
                                    const ti_attention_shape *s, void *scratch)
{
  const unsigned heads = (unsigned)(s->n * s->heads);
  const dim3 q_grid((unsigned)ti_ceil_div((size_t)s->tq, Q::rows), heads);
  const dim3 k_grid((unsigned)ti_ceil_div((size_t)s->tk, K::rows), heads);
  attention_buffers io = *b;
  pack_jobs jobs = {};
  int count = 0;
  textinv_status status;

  io.splits = 1;
  io.packed_queries = scratch;
  io.packed_keys = (char *)scratch + packed_bytes<K>(s, s->tq);
  if (b->dk) {
    add_jobs<K>(jobs.of, io.packed_queries, s->tq, b->q, s->q_stride, SPARE_LSE, b->d_o,
                s->heads * s->d, SPARE_DELTA);
    count += 2;
  }
  if (b->dq) {
    add_jobs<Q>(jobs.of + count, io.packed_keys, s->tk, b->k, s->k_stride, SPARE_ONES, b->v,
                s->v_stride, SPARE_ONES);
    count += 2;
  }
  if ((status = pack_tiles<T, Q::d>(e, &io, s, jobs, count)) < 0)
    return status;
  if (b->dq)
    status = launch(e, "attention_dq", attention_ring_dq_kernel<T, Q>, q_grid, Q::threads, Q::bytes,
                    io, *s);
  if (status < 0 || !b->dk)
    return status;
  return launch(e, "attention_dkv", attention_ring_dkv_kernel<T, K>, k_grid, K::threads, K::bytes,
                io, *s);
}

size_t ti_cuda_attention_ring_bwd_scratch(const ti_attention_shape *s)
{
  TI_WITH_RING_HEAD(s->d, return packed_bytes<ring_dq<D> >(s, s->tk) +
                                 packed_bytes<ring_dkv<D> >(s, s->tq));
}

textinv_status ti_cuda_attention_ring_bwd(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                          const ti_attention_shape *s, void *scratch)
{
  TI_WITH_DTYPE_16(dtype,
                   TI_WITH_RING_HEAD(s->d, return (ring_backward<T, ring_dq<D>, ring_dkv<D> >(
                                               e, b, s, scratch))));
}
