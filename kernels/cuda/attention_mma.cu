/*
 * Attention on tensor cores, forward: a block keeps 64 queries of one head and walks over the keys
 * in tiles of 64, with the running maximum and sum of each row (Dao, FlashAttention-2, 2023).
 *
 * A warp owns 16 rows; scores stay in registers and become the first operand of the second product.
 * The next keys are under way during softmax and p v, the values during q k^T.
 */
#include "attention_mma.cuh"

enum { KEYS = 64 };

// ------------------------------------------------------------------ kernels

template <typename T, int D>
static __global__ void __launch_bounds__(ATTENTION_THREADS)
    attention_fwd_kernel(attention_buffers io, ti_attention_shape s)
{
  constexpr int TILE = ATTENTION_ROWS * pitch<D>::values;
  T *q_tile = (T *)shared_memory(), *k_tile = q_tile + TILE, *v_tile = k_tile + TILE;
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads;
  const int first = blockIdx.x * ATTENTION_ROWS, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row0 = first + warp * 16 + lane / 4; /* and row0 + 8 */
  const T *q = (const T *)io.q + (size_t)n * s.tq * s.q_stride + head * s.d;
  const T *k = (const T *)io.k + (size_t)n * s.tk * s.k_stride + head * s.d;
  const T *v = (const T *)io.v + (size_t)n * s.tk * s.v_stride + head * s.d;
  const int keys = s.causal ? min(s.tk, first + ATTENTION_ROWS) : s.tk;
  const int tiles = (keys + KEYS - 1) / KEYS;
  const float scale = s.scale * 1.44269504088896341f; /* scores in powers of two */
  float acc[D / 8][4] = {}, top[2] = { -INFINITY, -INFINITY }, sum[2] = {};

  load_tile<T, D, ATTENTION_ROWS>(q_tile, q, first, s.tq, s.q_stride, s.d);
  load_tile<T, D, KEYS>(k_tile, k, 0, s.tk, s.k_stride, s.d);
  copy_commit();
  for (int tile = 0; tile < tiles; tile++) {
    float p[KEYS / 8][4] = {};

    copy_wait<0>();
    __syncthreads(); /* keys are there; the values before are no longer read */
    load_tile<T, D, KEYS>(v_tile, v, tile * KEYS, s.tk, s.v_stride, s.d);
    copy_commit();
    multiply_rows<T, D, KEYS>(p, q_tile, warp * 16, k_tile);
    __syncthreads(); /* keys are no longer read */
    if (tile + 1 < tiles)
      load_tile<T, D, KEYS>(k_tile, k, (tile + 1) * KEYS, s.tk, s.k_stride, s.d);
    copy_commit();

#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int row = row0 + half * 8, visible = s.causal ? min(keys, row + 1) : keys;
      float m = top[half], part = 0.0f;

#pragma unroll
      for (int j = 0; j < KEYS / 8; j++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
          float *x = &p[j][half * 2 + i];

          *x = tile * KEYS + j * 8 + lane % 4 * 2 + i < visible ? *x * scale : -INFINITY;
          m = fmaxf(m, *x);
        }
      }
      m = fmaxf(m, shuffle_xor(m, 1)); /* four lanes share a row */
      m = fmaxf(m, shuffle_xor(m, 2));
      const float shrink = exp2_fast(top[half] - m);

#pragma unroll
      for (int j = 0; j < KEYS / 8; j++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
          p[j][half * 2 + i] = exp2_fast(p[j][half * 2 + i] - m);
          part += p[j][half * 2 + i];
        }
      }
      sum[half] = sum[half] * shrink + part;
      top[half] = m;
#pragma unroll
      for (int j = 0; j < D / 8; j++) {
        acc[j][half * 2] *= shrink;
        acc[j][half * 2 + 1] *= shrink;
      }
    }
    copy_wait<1>();
    __syncthreads(); /* values are there */
    multiply_columns<T, D, KEYS>(acc, p, v_tile);
  }
  copy_wait<0>();

  for (int half = 0; half < 2; half++) {
    sum[half] += shuffle_xor(sum[half], 1);
    sum[half] += shuffle_xor(sum[half], 2);
    if (io.lse_out && lane % 4 == 0 && row0 + half * 8 < s.tq)
      io.lse_out[(size_t)blockIdx.y * s.tq + row0 + half * 8] =
          top[half] * 0.69314718055994531f + logf(sum[half]);
  }
  store_rows<T, D>((T *)io.out + (size_t)n * s.tq * s.heads * s.d + head * s.d, acc,
                   first + warp * 16, s.tq, s.heads * s.d, s.d, 1.0f / sum[0], 1.0f / sum[1]);
}

// ------------------------------------------------------------------ launchers

template <typename T, int D>
static textinv_status fwd(ti_exec *e, const attention_buffers *b, const ti_attention_shape *s)
{
  const dim3 grid((unsigned)ti_ceil_div((size_t)s->tq, ATTENTION_ROWS), (unsigned)(s->n * s->heads));
  const size_t shared = 3 * (size_t)ATTENTION_ROWS * pitch<D>::values * sizeof(T);

  return launch(e, "attention_fwd", attention_fwd_kernel<T, D>, grid, ATTENTION_THREADS, shared, *b,
                *s);
}

textinv_status ti_cuda_attention_mma(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                     const ti_attention_shape *s)
{
  TI_WITH_DTYPE_16(dtype, TI_WITH_HEAD(s->d, return fwd<T, D>(e, b, s)));
}
