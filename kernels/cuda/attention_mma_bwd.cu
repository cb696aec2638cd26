/*
 * Attention on tensor cores, backward. Two kernels make the scores again, one walking over keys for
 * dq, one over queries for dk and dv: two products more than one kernel with atomics would need,
 * and the same bits every time. Where keys are few (a prompt), queries are cut into parts whose dk
 * and dv are added afterwards, in order. The next tiles are under way during the products of a
 * step.
 */
#include "attention_mma.cuh"
#include "attention_softmax.cuh"

/*
 * Keys or queries of a step, fewer for wide heads, whose operands and sums fill the registers; and
 * blocks that shall share a multiprocessor.
 */
template <int D> struct step_rows {
  static const int of_dq = D > 96 ? 32 : 64, of_dkv = D > 64 ? 32 : 64, blocks = D <= 48 ? 3 : 2;
};

// ------------------------------------------------------------------ kernels

template <typename T, int D>
static __global__ void __launch_bounds__(ATTENTION_THREADS, step_rows<D>::blocks)
    attention_dq_kernel(attention_buffers io, ti_attention_shape s)
{
  constexpr int KEYS = step_rows<D>::of_dq, TILE = KEYS * pitch<D>::values;
  T *q_tile = (T *)shared_memory(), *do_tile = q_tile + ATTENTION_ROWS * pitch<D>::values,
    *stages = do_tile + ATTENTION_ROWS * pitch<D>::values;
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads;
  const int first = blockIdx.x * ATTENTION_ROWS, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row0 = first + warp * 16 + lane / 4; /* and row0 + 8 */
  const T *q = (const T *)io.q + (size_t)n * s.tq * s.q_stride + head * s.d;
  const T *d_o = (const T *)io.d_o + (size_t)n * s.tq * s.heads * s.d + head * s.d;
  const T *k = (const T *)io.k + (size_t)n * s.tk * s.k_stride + head * s.d;
  const T *v = (const T *)io.v + (size_t)n * s.tk * s.v_stride + head * s.d;
  const int keys = s.causal ? min(s.tk, first + ATTENTION_ROWS) : s.tk;
  const int unmasked = s.causal ? min(keys, first + 1) : keys; /* by every row */
  const int tiles = (keys + KEYS - 1) / KEYS;
  const int visible[2] = { s.causal ? min(keys, row0 + 1) : keys,
                           s.causal ? min(keys, row0 + 9) : keys };
  const float scale = s.scale * TI_LOG2_E;
  const float2 sums[2] = { row_sums(io, s, row0), row_sums(io, s, row0 + 8) };
  float acc[1][D / 2] = {};
  uint32_t fq[1][D / 16][4], fdo[1][D / 16][4];

  load_tile<T, D, ATTENTION_ROWS>(q_tile, q, first, s.tq, s.q_stride, s.d);
  load_tile<T, D, ATTENTION_ROWS>(do_tile, d_o, first, s.tq, s.heads * s.d, s.d);
  copy_commit();
  load_tile<T, D, KEYS>(stages, k, 0, s.tk, s.k_stride, s.d);
  load_tile<T, D, KEYS>(stages + TILE, v, 0, s.tk, s.v_stride, s.d);
  copy_commit();
  copy_wait<1>();
  __syncthreads();
  load_rows<T, D>(fq[0], q_tile, warp * 16);
  load_rows<T, D>(fdo[0], do_tile, warp * 16);
  for (int tile = 0; tile < tiles; tile++) {
    const T *k_tile = stages + tile % 2 * 2 * TILE, *v_tile = k_tile + TILE;
    float p[1][KEYS / 2] = {}, dp[1][KEYS / 2] = {};

    copy_wait<0>();
    __syncthreads(); /* the tile is there; the one before is no longer read */
    if (tile + 1 < tiles) {
      T *next = stages + (tile + 1) % 2 * 2 * TILE;

      load_tile<T, D, KEYS>(next, k, (tile + 1) * KEYS, s.tk, s.k_stride, s.d);
      load_tile<T, D, KEYS>(next + TILE, v, (tile + 1) * KEYS, s.tk, s.v_stride, s.d);
      copy_commit();
    }
    multiply_rows<T, D, KEYS, 1>(p, fq, k_tile);
    multiply_rows<T, D, KEYS, 1>(dp, fdo, v_tile);
    if ((tile + 1) * KEYS > unmasked)
      mask_columns<KEYS>(p[0], tile * KEYS, visible);
#pragma unroll
    for (int i = 0; i < KEYS / 2; i++)
      p[0][i] = exp2_fast(fmaf(p[0][i], scale, -sums[i / 2 % 2].x)) *
                (dp[0][i] - sums[i / 2 % 2].y);
    multiply_columns<T, D, KEYS, 1>(acc, p, k_tile);
  }
  store_rows<T, D>((T *)io.dq + (size_t)n * s.tq * s.q_stride + head * s.d, acc[0],
                   first + warp * 16, s.tq, s.q_stride, s.d, s.scale, s.scale);
}

/* 16 rows of a product's first operand, in registers as long as these suffice */
template <typename T, int D, bool IN_REGISTERS = D <= 80> struct first_operand {
  uint32_t f[1][D / 16][4];

  __device__ __forceinline__ void load(const T *tile, int row)
  {
    load_rows<T, D>(f[0], tile, row);
  }
  template <int N> __device__ __forceinline__ void multiply(float (&c)[1][N / 2], const T *b) const
  {
    multiply_rows<T, D, N, 1>(c, f, b);
  }
};

template <typename T, int D> struct first_operand<T, D, false> {
  const T *tile;
  int row;

  __device__ __forceinline__ void load(const T *tile_, int row_)
  {
    tile = tile_;
    row = row_;
  }
  template <int N> __device__ __forceinline__ void multiply(float (&c)[1][N / 2], const T *b) const
  {
#pragma unroll
    for (int k = 0; k < D; k += 16) {
      uint32_t fa[4], fb[4];

      load_a<T, D>(fa, tile, row, k);
#pragma unroll
      for (int n = 0; n < N; n += 16) {
        load_b_rows<T, D>(fb, b, n, k);
        matrix_multiply(c[0] + n / 2, fa, fb, T());
        matrix_multiply(c[0] + n / 2 + 4, fa, fb + 2, T());
      }
    }
  }
};

template <typename T, int D>
static __global__ void __launch_bounds__(ATTENTION_THREADS, step_rows<D>::blocks)
    attention_dkv_kernel(attention_buffers io, ti_attention_shape s)
{
  constexpr int QUERIES = step_rows<D>::of_dkv;
  constexpr int KEY_TILE = ATTENTION_ROWS * pitch<D>::values, TILE = QUERIES * pitch<D>::values;
  T *k_tile = (T *)shared_memory(), *v_tile = k_tile + KEY_TILE, *stages = v_tile + KEY_TILE;
  float2 *sums = (float2 *)(stages + 4 * TILE);
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads;
  const int first = blockIdx.x * ATTENTION_ROWS, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int key0 = first + warp * 16 + lane / 4; /* and key0 + 8 */
  const T *q = (const T *)io.q + (size_t)n * s.tq * s.q_stride + head * s.d;
  const T *d_o = (const T *)io.d_o + (size_t)n * s.tq * s.heads * s.d + head * s.d;
  const T *k = (const T *)io.k + (size_t)n * s.tk * s.k_stride + head * s.d;
  const T *v = (const T *)io.v + (size_t)n * s.tk * s.v_stride + head * s.d;
  const int steps = (s.tq + QUERIES - 1) / QUERIES, per = (steps + io.splits - 1) / io.splits;
  const int end = min(steps, (blockIdx.z + 1) * per);
  const float scale = s.scale * TI_LOG2_E;
  int step = blockIdx.z * per;
  float dk[1][D / 2] = {}, dv[1][D / 2] = {};
  first_operand<T, D> fk, fv;

  if (s.causal) /* queries before the first key see none */
    step = max(step, first / QUERIES);
  load_tile<T, D, ATTENTION_ROWS>(k_tile, k, first, s.tk, s.k_stride, s.d);
  load_tile<T, D, ATTENTION_ROWS>(v_tile, v, first, s.tk, s.v_stride, s.d);
  copy_commit();
  if (step < end) {
    T *stage = stages + step % 2 * 2 * TILE;

    load_tile<T, D, QUERIES>(stage, q, step * QUERIES, s.tq, s.q_stride, s.d);
    load_tile<T, D, QUERIES>(stage + TILE, d_o, step * QUERIES, s.tq, s.heads * s.d, s.d);
    if (threadIdx.x < QUERIES)
      sums[step % 2 * QUERIES + threadIdx.x] = row_sums(io, s, step * QUERIES + threadIdx.x);
  }
  copy_commit();
  copy_wait<1>();
  __syncthreads();
  fk.load(k_tile, warp * 16);
  fv.load(v_tile, warp * 16);
  for (; step < end; step++) {
    const T *q_tile = stages + step % 2 * 2 * TILE, *do_tile = q_tile + TILE;
    const float2 *sum = sums + step % 2 * QUERIES;
    float2 next_sums = {};
    /* both transposed: rows are keys, columns are queries */
    float p[1][QUERIES / 2] = {}, dp[1][QUERIES / 2] = {};

    copy_wait<0>();
    __syncthreads(); /* the tile is there; the one before is no longer read */
    if (step + 1 < end) {
      T *next = stages + (step + 1) % 2 * 2 * TILE;

      load_tile<T, D, QUERIES>(next, q, (step + 1) * QUERIES, s.tq, s.q_stride, s.d);
      load_tile<T, D, QUERIES>(next + TILE, d_o, (step + 1) * QUERIES, s.tq, s.heads * s.d, s.d);
      copy_commit();
      if (threadIdx.x < QUERIES)
        next_sums = row_sums(io, s, (step + 1) * QUERIES + threadIdx.x);
    }
    fk.template multiply<QUERIES>(p, q_tile);
    fv.template multiply<QUERIES>(dp, do_tile);
    const int hidden = s.causal ? first + ATTENTION_ROWS - 1 - step * QUERIES : 0;

    if (hidden > 0) { /* of the first columns, from rows of greater keys */
#pragma unroll
      for (int i = 0; i < QUERIES / 2; i++) {
        if (key0 + i / 2 % 2 * 8 > step * QUERIES + i / 4 * 8 + lane % 4 * 2 + i % 2)
          p[0][i] = -INFINITY;
      }
    }
    /* a query beyond the last has zeros in q, do and sums: p = 1 and ds = 0 add nothing */
#pragma unroll
    for (int i = 0; i < QUERIES / 2; i++) {
      const float2 of = sum[i / 4 * 8 + lane % 4 * 2 + i % 2];

      p[0][i] = exp2_fast(fmaf(p[0][i], scale, -of.x));
      dp[0][i] = p[0][i] * (dp[0][i] - of.y);
    }
    multiply_columns<T, D, QUERIES, 1>(dv, p, do_tile);
    multiply_columns<T, D, QUERIES, 1>(dk, dp, q_tile);
    if (threadIdx.x < QUERIES)
      sums[(step + 1) % 2 * QUERIES + threadIdx.x] = next_sums;
  }
  copy_wait<0>();
  store_gradients<T, D>(io, s, dk[0], dv[0], first + warp * 16);
}

// ------------------------------------------------------------------ launchers

template <typename T, int D>
static textinv_status bwd(ti_exec *e, const attention_buffers *b, const ti_attention_shape *s)
{
  constexpr int KEYS = step_rows<D>::of_dq, QUERIES = step_rows<D>::of_dkv;
  const unsigned heads = (unsigned)(s->n * s->heads);
  const size_t row = pitch<D>::values * sizeof(T);
  const dim3 q_grid((unsigned)ti_ceil_div((size_t)s->tq, ATTENTION_ROWS), heads);
  const dim3 k_grid((unsigned)ti_ceil_div((size_t)s->tk, ATTENTION_ROWS), heads,
                    (unsigned)b->splits);
  textinv_status status = TEXTINV_OK;

  if (b->dq)
    status = launch(e, "attention_dq", attention_dq_kernel<T, D>, q_grid, ATTENTION_THREADS,
                    (2 * ATTENTION_ROWS + 4 * KEYS) * row, *b, *s);
  if (status < 0 || !b->dk)
    return status;
  return launch(e, "attention_dkv", attention_dkv_kernel<T, D>, k_grid, ATTENTION_THREADS,
                (2 * ATTENTION_ROWS + 4 * QUERIES) * row + 2 * QUERIES * sizeof(float2), *b, *s);
}

textinv_status ti_cuda_attention_mma_bwd(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                         const ti_attention_shape *s)
{
  TI_WITH_DTYPE_16(dtype, TI_WITH_HEAD(s->d, return bwd<T, D>(e, b, s)));
}
