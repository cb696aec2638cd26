/*
 * Attention on tensor cores, backward. Two kernels make the scores again, one walking over keys for
 * dq, one over queries for dk and dv: two products more than one kernel with atomics would need, and
 * the same bits every time. Where keys are few (a prompt), queries are cut into parts whose dk and
 * dv are added afterwards, in order. The next tiles are under way during the products of a step.
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

/* delta = sum of do o, eight lanes a row of a head */
template <typename T>
static __global__ void attention_delta_kernel(attention_buffers io, ti_attention_shape s)
{
  const size_t i = grid_index() / 8, count = (size_t)s.n * s.heads * s.tq;
  float sum = 0.0f;

  for (int c = threadIdx.x % 8 * 8; c < s.d && i < count; c += 64) {
    float a[8], b[8];

    load_vector(a, (const T *)io.d_o + i * s.d + c);
    load_vector(b, (const T *)io.o + i * s.d + c);
#pragma unroll
    for (int j = 0; j < 8; j++)
      sum = fmaf(a[j], b[j], sum);
  }
#pragma unroll
  for (int lanes = 4; lanes > 0; lanes /= 2)
    sum += shuffle_xor(sum, lanes);
  if (i < count && threadIdx.x % 8 == 0) {
    const size_t head = i % s.heads, row = i / s.heads % s.tq, n = i / s.heads / s.tq;

    io.delta[(n * s.heads + head) * s.tq + row] = sum;
  }
}

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
  float acc[1][D / 2] = {}, lse[2], delta[2];
  uint32_t fq[1][D / 16][4], fdo[1][D / 16][4];

  load_tile<T, D, ATTENTION_ROWS>(q_tile, q, first, s.tq, s.q_stride, s.d);
  load_tile<T, D, ATTENTION_ROWS>(do_tile, d_o, first, s.tq, s.heads * s.d, s.d);
  copy_commit();
  load_tile<T, D, KEYS>(stages, k, 0, s.tk, s.k_stride, s.d);
  load_tile<T, D, KEYS>(stages + TILE, v, 0, s.tk, s.v_stride, s.d);
  copy_commit();
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = row0 + half * 8;
    const size_t at = (size_t)blockIdx.y * s.tq + row;

    lse[half] = row < s.tq ? io.lse[at] * TI_LOG2_E : 0.0f;
    delta[half] = row < s.tq ? io.delta[at] : 0.0f;
  }
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
      p[0][i] = exp2_fast(fmaf(p[0][i], scale, -lse[i / 2 % 2])) * (dp[0][i] - delta[i / 2 % 2]);
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

/* log2 of the softmax's divisor and delta of a row; 0 where there is none */
static __device__ __forceinline__ float2 row_sums(const attention_buffers &io,
                                                  const ti_attention_shape &s, int row)
{
  const size_t at = (size_t)blockIdx.y * s.tq + row;

  return row < s.tq ? make_float2(io.lse[at] * TI_LOG2_E, io.delta[at]) : make_float2(0.0f, 0.0f);
}

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
  if (io.splits == 1) {
    store_rows<T, D>((T *)io.dk + (size_t)n * s.tk * s.k_stride + head * s.d, dk[0],
                     first + warp * 16, s.tk, s.k_stride, s.d, s.scale, s.scale);
    store_rows<T, D>((T *)io.dv + (size_t)n * s.tk * s.v_stride + head * s.d, dv[0],
                     first + warp * 16, s.tk, s.v_stride, s.d, 1.0f, 1.0f);
    return;
  }
  const size_t part = (size_t)s.n * s.heads * s.tk * s.d;
  float *to = io.partial + blockIdx.z * part + (size_t)blockIdx.y * s.tk * s.d;

#pragma unroll
  for (int i = 0; i < D / 2; i++) {
    const int key = key0 + i / 2 % 2 * 8, c = i / 4 * 8 + lane % 4 * 2 + i % 2;

    if (key < s.tk && c < s.d) {
      to[(size_t)key * s.d + c] = dk[0][i] * s.scale;
      to[io.splits * part + (size_t)key * s.d + c] = dv[0][i];
    }
  }
}

template <typename T>
static __global__ void attention_sum_kernel(attention_buffers io, ti_attention_shape s)
{
  const size_t part = (size_t)s.n * s.heads * s.tk * s.d;

  for (size_t i = grid_index(); i < 2 * part; i += grid_step()) {
    const int is_v = i >= part;
    const size_t j = i % part, c = j % s.d, key = j / s.d % s.tk, head = j / s.d / s.tk;
    const float *from = io.partial + is_v * io.splits * part + j;
    T *to = (T *)(is_v ? io.dv : io.dk);
    float sum = 0.0f;

    for (int k = 0; k < io.splits; k++)
      sum += from[k * part];
    from_float(to + (head / s.heads * s.tk + key) * (is_v ? s.v_stride : s.k_stride) +
                   head % s.heads * s.d + c, sum);
  }
}

// ------------------------------------------------------------------ launchers

template <typename T, int D>
static textinv_status bwd(ti_exec *e, const attention_buffers *b, const ti_attention_shape *s)
{
  constexpr int KEYS = step_rows<D>::of_dq, QUERIES = step_rows<D>::of_dkv;
  const unsigned heads = (unsigned)(s->n * s->heads);
  const size_t row = pitch<D>::values * sizeof(T);
  const dim3 q_grid((unsigned)ti_ceil_div((size_t)s->tq, ATTENTION_ROWS), heads);
  const dim3 k_grid((unsigned)ti_ceil_div((size_t)s->tk, ATTENTION_ROWS), heads, (unsigned)b->splits);
  textinv_status status =
      launch(e, "attention_delta", attention_delta_kernel<T>,
             dim3((unsigned)ti_ceil_div((size_t)heads * s->tq, 16)), 128, 0, *b, *s);

  if (status >= 0 && b->dq)
    status = launch(e, "attention_dq", attention_dq_kernel<T, D>, q_grid, ATTENTION_THREADS,
                    (2 * ATTENTION_ROWS + 4 * KEYS) * row, *b, *s);
  if (status < 0 || !b->dk)
    return status;
  status = launch(e, "attention_dkv", attention_dkv_kernel<T, D>, k_grid, ATTENTION_THREADS,
                  (2 * ATTENTION_ROWS + 4 * QUERIES) * row + 2 * QUERIES * sizeof(float2), *b, *s);
  if (status < 0 || b->splits == 1)
    return status;
  return launch(e, "attention_sum", attention_sum_kernel<T>,
                ti_flat_blocks(2 * (size_t)heads * s->tk * s->d), TI_FLAT_THREADS, 0, *b, *s);
}

textinv_status ti_cuda_attention_mma_bwd(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                         const ti_attention_shape *s)
{
  TI_WITH_DTYPE_16(dtype, TI_WITH_HEAD(s->d, return bwd<T, D>(e, b, s)));
}
