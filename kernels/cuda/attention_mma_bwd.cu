/*
 * Attention on tensor cores, backward. Two kernels make the scores again, one walking over keys for
 * dq, one over queries for dk and dv: two products more than one kernel with atomics would need, and
 * the same bits every time. Where keys are few (a prompt), queries are cut into parts whose dk and
 * dv are added afterwards, in order.
 */
#include "attention_mma.cuh"

enum { KEYS = 64 };

// ------------------------------------------------------------------ kernels

/* delta = sum of do o, one warp a row of a head */
template <typename T>
static __global__ void attention_delta_kernel(attention_buffers io, ti_attention_shape s)
{
  const size_t i = (size_t)blockIdx.x * 4 + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;

  if (i >= (size_t)s.n * s.heads * s.tq)
    return;
  const size_t row = i % s.tq, head = i / s.tq % s.heads, n = i / s.tq / s.heads;
  const size_t at = ((n * s.tq + row) * s.heads + head) * s.d;
  float sum = 0.0f;

  for (int c = lane; c < s.d; c += 32)
    sum += to_float(((const T *)io.d_o)[at + c]) * to_float(((const T *)io.o)[at + c]);
  sum = warp_sum(sum);
  if (lane == 0)
    io.delta[i] = sum;
}

template <typename T, int D>
static __global__ void __launch_bounds__(ATTENTION_THREADS)
    attention_dq_kernel(attention_buffers io, ti_attention_shape s)
{
  constexpr int TILE = ATTENTION_ROWS * pitch<D>::values;
  T *q_tile = (T *)shared_memory(), *do_tile = q_tile + TILE, *k_tile = do_tile + TILE,
    *v_tile = k_tile + TILE;
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads;
  const int first = blockIdx.x * ATTENTION_ROWS, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row0 = first + warp * 16 + lane / 4; /* and row0 + 8 */
  const T *q = (const T *)io.q + (size_t)n * s.tq * s.q_stride + head * s.d;
  const T *d_o = (const T *)io.d_o + (size_t)n * s.tq * s.heads * s.d + head * s.d;
  const T *k = (const T *)io.k + (size_t)n * s.tk * s.k_stride + head * s.d;
  const T *v = (const T *)io.v + (size_t)n * s.tk * s.v_stride + head * s.d;
  const int keys = s.causal ? min(s.tk, first + ATTENTION_ROWS) : s.tk;
  const float scale = s.scale * 1.44269504088896341f;
  float acc[D / 8][4] = {}, lse[2], delta[2];

  for (int half = 0; half < 2; half++) {
    const int row = row0 + half * 8;
    const size_t at = (size_t)blockIdx.y * s.tq + row;

    lse[half] = row < s.tq ? io.lse[at] * 1.44269504088896341f : 0.0f;
    delta[half] = row < s.tq ? io.delta[at] : 0.0f;
  }
  load_tile<T, D, ATTENTION_ROWS>(q_tile, q, first, s.tq, s.q_stride, s.d);
  load_tile<T, D, ATTENTION_ROWS>(do_tile, d_o, first, s.tq, s.heads * s.d, s.d);
  for (int tile = 0; tile * KEYS < keys; tile++) {
    float p[KEYS / 8][4] = {}, dp[KEYS / 8][4] = {};

    __syncthreads(); /* the tiles before are no longer read */
    load_tile<T, D, KEYS>(k_tile, k, tile * KEYS, s.tk, s.k_stride, s.d);
    load_tile<T, D, KEYS>(v_tile, v, tile * KEYS, s.tk, s.v_stride, s.d);
    copy_commit();
    copy_wait<0>();
    __syncthreads();
    multiply_rows<T, D, KEYS>(p, q_tile, warp * 16, k_tile);
    multiply_rows<T, D, KEYS>(dp, do_tile, warp * 16, v_tile);
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int key = tile * KEYS + j * 8 + lane % 4 * 2 + i % 2;
        const int visible = s.causal ? min(keys, row0 + i / 2 * 8 + 1) : keys;

        p[j][i] = key < visible
                      ? exp2_fast(p[j][i] * scale - lse[i / 2]) * (dp[j][i] - delta[i / 2]) : 0.0f;
      }
    }
    multiply_columns<T, D, KEYS>(acc, p, k_tile);
  }
  store_rows<T, D>((T *)io.dq + (size_t)n * s.tq * s.q_stride + head * s.d, acc, first + warp * 16,
                   s.tq, s.q_stride, s.d, s.scale, s.scale);
}

/* QUERIES of a step: fewer for wide heads, whose two accumulators fill the registers */
template <typename T, int D, int QUERIES>
static __global__ void __launch_bounds__(ATTENTION_THREADS)
    attention_dkv_kernel(attention_buffers io, ti_attention_shape s)
{
  constexpr int KEY_TILE = ATTENTION_ROWS * pitch<D>::values, TILE = QUERIES * pitch<D>::values;
  T *k_tile = (T *)shared_memory(), *v_tile = k_tile + KEY_TILE, *q_tile = v_tile + KEY_TILE,
    *do_tile = q_tile + TILE;
  float *lse = (float *)(do_tile + TILE), *delta = lse + QUERIES;
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads;
  const int first = blockIdx.x * ATTENTION_ROWS, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int key0 = first + warp * 16 + lane / 4; /* and key0 + 8 */
  const T *q = (const T *)io.q + (size_t)n * s.tq * s.q_stride + head * s.d;
  const T *d_o = (const T *)io.d_o + (size_t)n * s.tq * s.heads * s.d + head * s.d;
  const T *k = (const T *)io.k + (size_t)n * s.tk * s.k_stride + head * s.d;
  const T *v = (const T *)io.v + (size_t)n * s.tk * s.v_stride + head * s.d;
  const int steps = (s.tq + QUERIES - 1) / QUERIES, per = (steps + io.splits - 1) / io.splits;
  const int end = min(steps, (blockIdx.z + 1) * per);
  const float scale = s.scale * 1.44269504088896341f;
  int step = blockIdx.z * per;
  float dk[D / 8][4] = {}, dv[D / 8][4] = {};

  if (s.causal) /* queries before the first key see none */
    step = max(step, first / QUERIES);
  load_tile<T, D, ATTENTION_ROWS>(k_tile, k, first, s.tk, s.k_stride, s.d);
  load_tile<T, D, ATTENTION_ROWS>(v_tile, v, first, s.tk, s.v_stride, s.d);
  copy_commit();
  for (; step < end; step++) {
    float p[QUERIES / 8][4] = {}, dp[QUERIES / 8][4] = {};

    __syncthreads(); /* the tiles before are no longer read */
    load_tile<T, D, QUERIES>(q_tile, q, step * QUERIES, s.tq, s.q_stride, s.d);
    load_tile<T, D, QUERIES>(do_tile, d_o, step * QUERIES, s.tq, s.heads * s.d, s.d);
    copy_commit();
    if (threadIdx.x < QUERIES) {
      const int row = step * QUERIES + threadIdx.x;
      const size_t at = (size_t)blockIdx.y * s.tq + row;

      lse[threadIdx.x] = row < s.tq ? io.lse[at] * 1.44269504088896341f : 0.0f;
      delta[threadIdx.x] = row < s.tq ? io.delta[at] : 0.0f;
    }
    copy_wait<0>();
    __syncthreads();
    /* both transposed: rows are keys, columns are queries */
    multiply_rows<T, D, QUERIES>(p, k_tile, warp * 16, q_tile);
    multiply_rows<T, D, QUERIES>(dp, v_tile, warp * 16, do_tile);
#pragma unroll
    for (int j = 0; j < QUERIES / 8; j++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int column = j * 8 + lane % 4 * 2 + i % 2, row = step * QUERIES + column;
        const bool visible = row < s.tq && (!s.causal || key0 + i / 2 * 8 <= row);

        p[j][i] = visible ? exp2_fast(p[j][i] * scale - lse[column]) : 0.0f;
        dp[j][i] = p[j][i] * (dp[j][i] - delta[column]);
      }
    }
    multiply_columns<T, D, QUERIES>(dv, p, do_tile);
    multiply_columns<T, D, QUERIES>(dk, dp, q_tile);
  }
  copy_wait<0>();
  if (io.splits == 1) {
    store_rows<T, D>((T *)io.dk + (size_t)n * s.tk * s.k_stride + head * s.d, dk, first + warp * 16,
                     s.tk, s.k_stride, s.d, s.scale, s.scale);
    store_rows<T, D>((T *)io.dv + (size_t)n * s.tk * s.v_stride + head * s.d, dv, first + warp * 16,
                     s.tk, s.v_stride, s.d, 1.0f, 1.0f);
    return;
  }
  const size_t part = (size_t)s.n * s.heads * s.tk * s.d;
  float *to = io.partial + blockIdx.z * part + (size_t)blockIdx.y * s.tk * s.d;

#pragma unroll
  for (int j = 0; j < D / 8; j++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int key = key0 + i / 2 * 8, c = j * 8 + lane % 4 * 2 + i % 2;

      if (key < s.tk && c < s.d) {
        to[(size_t)key * s.d + c] = dk[j][i] * s.scale;
        to[io.splits * part + (size_t)key * s.d + c] = dv[j][i];
      }
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
  constexpr int QUERIES = D > 64 ? 32 : 64;
  const unsigned heads = (unsigned)(s->n * s->heads);
  const size_t row = pitch<D>::values * sizeof(T);
  const dim3 q_grid((unsigned)ti_ceil_div((size_t)s->tq, ATTENTION_ROWS), heads);
  const dim3 k_grid((unsigned)ti_ceil_div((size_t)s->tk, ATTENTION_ROWS), heads, (unsigned)b->splits);
  textinv_status status =
      launch(e, "attention_delta", attention_delta_kernel<T>,
             dim3((unsigned)ti_ceil_div((size_t)heads * s->tq, 4)), 128, 0, *b, *s);

  if (status >= 0 && b->dq)
    status = launch(e, "attention_dq", attention_dq_kernel<T, D>, q_grid, ATTENTION_THREADS,
                    4 * ATTENTION_ROWS * row, *b, *s);
  if (status < 0 || !b->dk)
    return status;
  status = launch(e, "attention_dkv", attention_dkv_kernel<T, D, QUERIES>, k_grid,
                  ATTENTION_THREADS, 2 * (ATTENTION_ROWS + QUERIES) * row + 2 * QUERIES * sizeof(float),
                  *b, *s);
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
