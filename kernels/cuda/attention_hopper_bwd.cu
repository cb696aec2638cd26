/*
 * Attention on Hopper, backward, as in attention_mma_bwd.cu: one kernel walks over keys for dq, one
 * over queries for dk and dv. A warpgroup owns 64 rows; p and ds go from one product's accumulators
 * to the next one's operand, so that nothing but inputs passes through shared memory.
 */
#include "attention_hopper.cuh"

/* warpgroups of a block, rows of a step, blocks that share a multiprocessor */
struct hopper_dq {
  static const int groups = 2, keys = 64, blocks = 2;
  static const int threads = groups * TI_WARPGROUP, rows = groups * 64;
};

struct hopper_dkv {
  static const int groups = 1, queries = 64, blocks = 3;
  static const int threads = groups * TI_WARPGROUP, rows = groups * 64;
};

// ------------------------------------------------------------------ kernels

template <typename T, int D, int N>
static __global__ void __launch_bounds__(hopper_dq::threads, hopper_dq::blocks)
    attention_hopper_dq_kernel(attention_buffers io, ti_attention_shape s)
{
#ifdef TI_HOPPER
  constexpr int KEYS = hopper_dq::keys, ROWS = hopper_dq::rows;
  constexpr int THREADS = hopper_dq::threads, TILE = KEYS * D;
  T *q_tile = (T *)shared_memory(), *do_tile = q_tile + ROWS * D, *stages = do_tile + ROWS * D;
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads;
  const int first = blockIdx.x * ROWS, warp = threadIdx.x / 32;
  const int row0 = first + warp * 16 + threadIdx.x % 32 / 4; /* and row0 + 8 */
  const T *q = (const T *)io.q + (size_t)n * s.tq * s.q_stride + head * s.d;
  const T *d_o = (const T *)io.d_o + (size_t)n * s.tq * s.heads * s.d + head * s.d;
  const T *k = (const T *)io.k + (size_t)n * s.tk * s.k_stride + head * s.d;
  const T *v = (const T *)io.v + (size_t)n * s.tk * s.v_stride + head * s.d;
  const int keys = s.causal ? min(s.tk, first + ROWS) : s.tk;
  const int unmasked = s.causal ? min(keys, first + warp / 4 * 64 + 1) : keys; /* by every row */
  const int tiles = (keys + KEYS - 1) / KEYS;
  const float scale = s.scale * TI_LOG2_E;
  const uint64_t q_operand = rows_operand<T, ROWS>(q_tile, warp / 4 * 64);
  const uint64_t do_operand = rows_operand<T, ROWS>(do_tile, warp / 4 * 64);
  const float2 sums[2] = { row_sums(io, s, row0), row_sums(io, s, row0 + 8) };
  float acc[N / 2] = {};

  clear_planes<T, ROWS, N, D, THREADS>(q_tile);
  clear_planes<T, ROWS, N, D, THREADS>(do_tile);
  for (int i = 0; i < 4; i++)
    clear_planes<T, KEYS, N, D, THREADS>(stages + i * TILE);
  load_planes<T, ROWS, N, THREADS>(q_tile, q, first, s.tq, s.q_stride, s.d);
  load_planes<T, ROWS, N, THREADS>(do_tile, d_o, first, s.tq, s.heads * s.d, s.d);
  load_planes<T, KEYS, N, THREADS>(stages, k, 0, s.tk, s.k_stride, s.d);
  load_planes<T, KEYS, N, THREADS>(stages + TILE, v, 0, s.tk, s.v_stride, s.d);
  copy_commit();
  for (int tile = 0; tile < tiles; tile++) {
    const T *k_tile = stages + tile % 2 * 2 * TILE, *v_tile = k_tile + TILE;
    float x[KEYS / 2], dp[KEYS / 2];
    uint32_t ds[KEYS / 16][4];

    copy_wait<0>();
    async_fence();
    __syncthreads(); /* the tile is there; the one before is no longer read */
    if (tile + 1 < tiles) {
      T *next = stages + (tile + 1) % 2 * 2 * TILE;

      load_planes<T, KEYS, N, THREADS>(next, k, (tile + 1) * KEYS, s.tk, s.k_stride, s.d);
      load_planes<T, KEYS, N, THREADS>(next + TILE, v, (tile + 1) * KEYS, s.tk, s.v_stride, s.d);
      copy_commit();
    }
    wgmma_fence();
    start_rows<T, ROWS, D, KEYS>(x, q_operand, rows_operand<T, KEYS>(k_tile));
    wgmma_commit();
    start_rows<T, ROWS, D, KEYS>(dp, do_operand, rows_operand<T, KEYS>(v_tile));
    wgmma_commit();
    wgmma_wait<1>();
    wgmma_hold(x);
    if ((tile + 1) * KEYS > unmasked) {
      const int visible[2] = { s.causal ? min(keys, row0 + 1) : keys,
                               s.causal ? min(keys, row0 + 9) : keys };

      mask_columns<KEYS>(x, tile * KEYS, visible);
    }
#pragma unroll
    for (int i = 0; i < KEYS / 2; i++)
      x[i] = exp2_fast(fmaf(x[i], scale, -sums[i / 2 % 2].x));
    wgmma_wait<0>();
    wgmma_hold(dp);
#pragma unroll
    for (int i = 0; i < KEYS / 2; i++)
      x[i] *= dp[i] - sums[i / 2 % 2].y;
    round_operand<T, KEYS>(ds, x);
    wgmma_hold(ds);
    wgmma_hold(acc);
    wgmma_fence();
    start_columns<T, KEYS, N>(acc, ds, columns_operand<T, KEYS>(k_tile));
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_hold(ds);
    wgmma_hold(acc);
  }
  store_rows<T, N>((T *)io.dq + (size_t)n * s.tq * s.q_stride + head * s.d, acc, first + warp * 16,
                   s.tq, s.q_stride, s.d, s.scale, s.scale);
#endif
}

template <typename T, int D, int N>
static __global__ void __launch_bounds__(hopper_dkv::threads, hopper_dkv::blocks)
    attention_hopper_dkv_kernel(attention_buffers io, ti_attention_shape s)
{
#ifdef TI_HOPPER
  constexpr int QUERIES = hopper_dkv::queries, ROWS = hopper_dkv::rows;
  constexpr int THREADS = hopper_dkv::threads, TILE = QUERIES * D;
  T *k_tile = (T *)shared_memory(), *v_tile = k_tile + ROWS * D, *stages = v_tile + ROWS * D;
  float2 *sums = (float2 *)(stages + 4 * TILE);
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads;
  const int first = blockIdx.x * ROWS, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int key0 = first + warp * 16 + lane / 4; /* and key0 + 8 */
  const T *q = (const T *)io.q + (size_t)n * s.tq * s.q_stride + head * s.d;
  const T *d_o = (const T *)io.d_o + (size_t)n * s.tq * s.heads * s.d + head * s.d;
  const T *k = (const T *)io.k + (size_t)n * s.tk * s.k_stride + head * s.d;
  const T *v = (const T *)io.v + (size_t)n * s.tk * s.v_stride + head * s.d;
  const int steps = (s.tq + QUERIES - 1) / QUERIES, per = (steps + io.splits - 1) / io.splits;
  const int end = min(steps, (blockIdx.z + 1) * per);
  const float scale = s.scale * TI_LOG2_E;
  const uint64_t k_operand = rows_operand<T, ROWS>(k_tile, warp / 4 * 64);
  const uint64_t v_operand = rows_operand<T, ROWS>(v_tile, warp / 4 * 64);
  int step = blockIdx.z * per;
  float dk[N / 2] = {}, dv[N / 2] = {};

  if (s.causal) /* queries before the first key see none */
    step = max(step, first / QUERIES);
  clear_planes<T, ROWS, N, D, THREADS>(k_tile);
  clear_planes<T, ROWS, N, D, THREADS>(v_tile);
  for (int i = 0; i < 4; i++)
    clear_planes<T, QUERIES, N, D, THREADS>(stages + i * TILE);
  load_planes<T, ROWS, N, THREADS>(k_tile, k, first, s.tk, s.k_stride, s.d);
  load_planes<T, ROWS, N, THREADS>(v_tile, v, first, s.tk, s.v_stride, s.d);
  if (step < end) {
    T *stage = stages + step % 2 * 2 * TILE;

    load_planes<T, QUERIES, N, THREADS>(stage, q, step * QUERIES, s.tq, s.q_stride, s.d);
    load_planes<T, QUERIES, N, THREADS>(stage + TILE, d_o, step * QUERIES, s.tq, s.heads * s.d,
                                        s.d);
    if (threadIdx.x < QUERIES)
      sums[step % 2 * QUERIES + threadIdx.x] = row_sums(io, s, step * QUERIES + threadIdx.x);
  }
  copy_commit();
  for (; step < end; step++) {
    const T *q_tile = stages + step % 2 * 2 * TILE, *do_tile = q_tile + TILE;
    const float2 *sum = sums + step % 2 * QUERIES + lane % 4 * 2;
    float2 next_sums = {};
    /* all transposed: rows are keys, columns are queries */
    float x[QUERIES / 2], dp[QUERIES / 2];
    uint32_t p[QUERIES / 16][4], ds[QUERIES / 16][4];

    copy_wait<0>();
    async_fence();
    __syncthreads(); /* the tile is there; the one before is no longer read */
    if (step + 1 < end) {
      T *next = stages + (step + 1) % 2 * 2 * TILE;

      load_planes<T, QUERIES, N, THREADS>(next, q, (step + 1) * QUERIES, s.tq, s.q_stride, s.d);
      load_planes<T, QUERIES, N, THREADS>(next + TILE, d_o, (step + 1) * QUERIES, s.tq,
                                          s.heads * s.d, s.d);
      copy_commit();
      if (threadIdx.x < QUERIES)
        next_sums = row_sums(io, s, (step + 1) * QUERIES + threadIdx.x);
    }
    wgmma_fence();
    start_rows<T, ROWS, D, QUERIES>(x, k_operand, rows_operand<T, QUERIES>(q_tile));
    wgmma_commit();
    start_rows<T, ROWS, D, QUERIES>(dp, v_operand, rows_operand<T, QUERIES>(do_tile));
    wgmma_commit();
    wgmma_wait<1>();
    wgmma_hold(x);
    if (s.causal && step * QUERIES < first + ROWS - 1) { /* some keys are behind some queries */
#pragma unroll
      for (int i = 0; i < QUERIES / 2; i++) {
        if (key0 + i / 2 % 2 * 8 > step * QUERIES + i / 4 * 8 + lane % 4 * 2 + i % 2)
          x[i] = -INFINITY;
      }
    }
    /* a query beyond the last has zeros in q, do and sums: p = 1 and ds = 0 add nothing */
#pragma unroll
    for (int i = 0; i < QUERIES / 2; i++)
      x[i] = exp2_fast(fmaf(x[i], scale, -sum[i / 4 * 8 + i % 2].x));
    round_operand<T, QUERIES>(p, x);
    wgmma_hold(p);
    wgmma_hold(dv);
    wgmma_fence();
    start_columns<T, QUERIES, N>(dv, p, columns_operand<T, QUERIES>(do_tile));
    wgmma_commit();
    wgmma_wait<1>();
    wgmma_hold(dp);
#pragma unroll
    for (int i = 0; i < QUERIES / 2; i++)
      x[i] *= dp[i] - sum[i / 4 * 8 + i % 2].y;
    round_operand<T, QUERIES>(ds, x);
    wgmma_hold(ds);
    wgmma_hold(dk);
    wgmma_fence();
    start_columns<T, QUERIES, N>(dk, ds, columns_operand<T, QUERIES>(q_tile));
    wgmma_commit();
    if (threadIdx.x < QUERIES)
      sums[(step + 1) % 2 * QUERIES + threadIdx.x] = next_sums;
    wgmma_wait<0>();
    wgmma_hold(p);
    wgmma_hold(ds);
    wgmma_hold(dv);
    wgmma_hold(dk);
  }
  copy_wait<0>();
  store_gradients<T, N>(io, s, dk, dv, first + warp * 16);
#endif
}

// ------------------------------------------------------------------ launchers

template <typename T, int D, int N>
static textinv_status bwd(ti_exec *e, const attention_buffers *b, const ti_attention_shape *s)
{
  typedef hopper_dq of_dq;
  typedef hopper_dkv of_dkv;
  const unsigned heads = (unsigned)(s->n * s->heads);
  const dim3 q_grid((unsigned)ti_ceil_div((size_t)s->tq, of_dq::rows), heads);
  const dim3 k_grid((unsigned)ti_ceil_div((size_t)s->tk, of_dkv::rows), heads, (unsigned)b->splits);
  textinv_status status = TEXTINV_OK;

  if (b->dq)
    status = launch(e, "attention_dq", attention_hopper_dq_kernel<T, D, N>, q_grid, of_dq::threads,
                    (2 * of_dq::rows + 4 * of_dq::keys) * D * sizeof(T), *b, *s);
  if (status < 0 || !b->dk)
    return status;
  return launch(e, "attention_dkv", attention_hopper_dkv_kernel<T, D, N>, k_grid, of_dkv::threads,
                (2 * of_dkv::rows + 4 * of_dkv::queries) * D * sizeof(T) +
                    2 * of_dkv::queries * sizeof(float2), *b, *s);
}

textinv_status ti_cuda_attention_hopper_bwd(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                            const ti_attention_shape *s)
{
  TI_WITH_DTYPE_16(dtype, TI_WITH_HOPPER_HEAD(s->d, return bwd<T, D, N>(e, b, s)));
}
