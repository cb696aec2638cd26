/*
 * Attention on tensor cores, forward: a block keeps 64 M queries of a head and walks over the keys
 * in tiles of 64, with the running maximum and sum of each row (Dao, FlashAttention-2, 2023).
 *
 * A warp owns 16 M rows: with M = 2 it reads keys and values from shared memory half as often.
 * Queries and scores stay in registers; scores become the first operand of the second product. The
 * next keys are under way during softmax and p v, the values during q k^T.
 */
#include "attention_mma.cuh"
#include "attention_softmax.cuh"

enum { KEYS = 64 };

/* as many as the registers allow for heads of D, and blocks that shall share a multiprocessor */
template <int D> struct row_groups {
  static const int count = D <= 80 ? 2 : 1, blocks = D <= 32 ? 3 : 2;
};

// ------------------------------------------------------------------ kernels

template <typename T, int D>
static __global__ void __launch_bounds__(ATTENTION_THREADS, row_groups<D>::blocks)
    attention_fwd_kernel(attention_buffers io, ti_attention_shape s)
{
  constexpr int M = row_groups<D>::count, ROWS = ATTENTION_ROWS * M;
  T *q_tile = (T *)shared_memory(), *k_tile = q_tile + ROWS * pitch<D>::values,
    *v_tile = k_tile + KEYS * pitch<D>::values;
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads;
  const int first = blockIdx.x * ROWS, warp = threadIdx.x / 32;
  const int row0 = first + warp * 16 * M + threadIdx.x % 32 / 4; /* and row0 + 8 i */
  const T *q = (const T *)io.q + (size_t)n * s.tq * s.q_stride + head * s.d;
  const T *k = (const T *)io.k + (size_t)n * s.tk * s.k_stride + head * s.d;
  const T *v = (const T *)io.v + (size_t)n * s.tk * s.v_stride + head * s.d;
  const int keys = s.causal ? min(s.tk, first + ROWS) : s.tk;
  const int unmasked = s.causal ? min(keys, first + 1) : keys; /* by every row */
  const int tiles = (keys + KEYS - 1) / KEYS;
  const float scale = s.scale * TI_LOG2_E;
  float acc[M][D / 2] = {}, top[M][2], sum[M][2] = {};
  uint32_t fq[M][D / 16][4];

  load_tile<T, D, ROWS>(q_tile, q, first, s.tq, s.q_stride, s.d);
  copy_commit();
  load_tile<T, D, KEYS>(k_tile, k, 0, s.tk, s.k_stride, s.d);
  copy_commit();
  copy_wait<1>();
  __syncthreads();
#pragma unroll
  for (int m = 0; m < M; m++) {
    load_rows<T, D>(fq[m], q_tile, (warp * M + m) * 16);
    top[m][0] = top[m][1] = -INFINITY;
  }
  for (int tile = 0; tile < tiles; tile++) {
    float p[M][KEYS / 2] = {};

    copy_wait<0>();
    __syncthreads(); /* keys are there; the values before are no longer read */
    load_tile<T, D, KEYS>(v_tile, v, tile * KEYS, s.tk, s.v_stride, s.d);
    copy_commit();
    multiply_rows<T, D, KEYS, M>(p, fq, k_tile);
    __syncthreads(); /* keys are no longer read */
    if (tile + 1 < tiles)
      load_tile<T, D, KEYS>(k_tile, k, (tile + 1) * KEYS, s.tk, s.k_stride, s.d);
    copy_commit();
#pragma unroll
    for (int m = 0; m < M; m++) {
      if ((tile + 1) * KEYS > unmasked) {
        const int row = row0 + m * 16;
        const int visible[2] = { s.causal ? min(keys, row + 1) : keys,
                                 s.causal ? min(keys, row + 9) : keys };

        mask_columns<KEYS>(p[m], tile * KEYS, visible);
      }
      softmax_step<KEYS, D>(p[m], acc[m], top[m], sum[m], scale);
    }
    copy_wait<1>();
    __syncthreads(); /* values are there */
    multiply_columns<T, D, KEYS, M>(acc, p, v_tile);
  }
  copy_wait<0>();

#pragma unroll
  for (int m = 0; m < M; m++)
    softmax_end<T, D>(io, s, acc[m], sum[m], top[m], first + (warp * M + m) * 16);
}

// ------------------------------------------------------------------ launchers

template <typename T, int D>
static textinv_status fwd(ti_exec *e, const attention_buffers *b, const ti_attention_shape *s)
{
  const int rows = ATTENTION_ROWS * row_groups<D>::count;
  const dim3 grid((unsigned)ti_ceil_div((size_t)s->tq, rows), (unsigned)(s->n * s->heads));
  const size_t shared = (rows + 2 * KEYS) * (size_t)pitch<D>::values * sizeof(T);

  return launch(e, "attention_fwd", attention_fwd_kernel<T, D>, grid, ATTENTION_THREADS, shared, *b,
                *s);
}

textinv_status ti_cuda_attention_mma(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                     const ti_attention_shape *s)
{
  TI_WITH_DTYPE_16(dtype, TI_WITH_HEAD(s->d, return fwd<T, D>(e, b, s)));
}
