/* Tiles of attention on tensor cores: rows of d values in shared memory, and products of tiles. */
#ifndef TI_CUDA_ATTENTION_MMA_CUH
#define TI_CUDA_ATTENTION_MMA_CUH

#include "attention.h"
#include "attention_softmax.cuh"
#include "common.cuh"

enum { ATTENTION_THREADS = 128, ATTENTION_ROWS = 64 };

/* values between rows of a tile: an odd number of 16-byte groups, so no bank conflicts */
template <int D> struct pitch {
  static const int values = D + 8;
};

/*
 * Start copying ROWS rows from row first of [count, stride] to a tile, by ATTENTION_THREADS
 * threads; what lies outside, and columns from d to D, become zeros.
 */
template <typename T, int D, int ROWS>
static __device__ __forceinline__ void load_tile(T *tile, const T *from, int first, int count,
                                                 int stride, int d)
{
  constexpr int CHUNKS = D / 8;

  for (int i = threadIdx.x % ATTENTION_THREADS; i < ROWS * CHUNKS; i += ATTENTION_THREADS) {
    const int row = i / CHUNKS, c = i % CHUNKS * 8;
    const bool valid = first + row < count && c < d;

    copy_async(tile + row * pitch<D>::values + c,
               from + (valid ? (size_t)(first + row) * stride + c : 0), valid);
  }
}

/* fragment of rows row..row+15 and columns c..c+15 as the first operand */
template <typename T, int D>
static __device__ __forceinline__ void load_a(uint32_t f[4], const T *tile, int row, int c)
{
  const int lane = threadIdx.x % 32;

  load_matrix(f, tile + (row + lane % 16) * pitch<D>::values + c + lane / 16 * 8);
}

/*
 * Fragments of two neighbours as the second operand b[k, n]: f[0..1] for n, f[2..3] for n + 8.
 * rows: tile rows are n, columns are k.
 */
template <typename T, int D>
static __device__ __forceinline__ void load_b_rows(uint32_t f[4], const T *tile, int n, int k)
{
  const int lane = threadIdx.x % 32;

  load_matrix(f, tile + (n + lane / 16 * 8 + lane % 8) * pitch<D>::values + k + lane / 8 % 2 * 8);
}

/* columns: tile rows are k, columns are n */
template <typename T, int D>
static __device__ __forceinline__ void load_b_columns(uint32_t f[4], const T *tile, int k, int n)
{
  const int lane = threadIdx.x % 32;

  load_matrix_transposed(f, tile + (k + lane / 8 % 2 * 8 + lane % 8) * pitch<D>::values + n +
                                lane / 16 * 8);
}

/* the D columns of rows row..row+15 */
template <typename T, int D>
static __device__ __forceinline__ void load_rows(uint32_t (&f)[D / 16][4], const T *tile, int row)
{
#pragma unroll
  for (int k = 0; k < D / 16; k++)
    load_a<T, D>(f[k], tile, row, k * 16);
}

/* c[16 M, N] += a[16 M, D] b[N, D]^T; a in fragments, b in a tile */
template <typename T, int D, int N, int M>
static __device__ __forceinline__ void multiply_rows(float (&c)[M][N / 2],
                                                     const uint32_t (&a)[M][D / 16][4], const T *b)
{
#pragma unroll
  for (int k = 0; k < D; k += 16) {
#pragma unroll
    for (int n = 0; n < N; n += 16) {
      uint32_t fb[4];

      load_b_rows<T, D>(fb, b, n, k);
#pragma unroll
      for (int m = 0; m < M; m++) {
        matrix_multiply(c[m] + n / 2, a[m][k / 16], fb, T());
        matrix_multiply(c[m] + n / 2 + 4, a[m][k / 16], fb + 2, T());
      }
    }
  }
}

/* c[16 M, D] += p[16 M, K] b[K, D]; p in the accumulators of an earlier product, rounded to T */
template <typename T, int D, int K, int M>
static __device__ __forceinline__ void multiply_columns(float (&c)[M][D / 2],
                                                        const float (&p)[M][K / 2], const T *b)
{
#pragma unroll
  for (int k = 0; k < K; k += 16) {
    uint32_t fa[M][4];

#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
      for (int i = 0; i < 4; i++)
        fa[m][i] = pack(p[m][k / 2 + 2 * i], p[m][k / 2 + 2 * i + 1], T());
    }
#pragma unroll
    for (int n = 0; n < D; n += 16) {
      uint32_t fb[4];

      load_b_columns<T, D>(fb, b, k, n);
#pragma unroll
      for (int m = 0; m < M; m++) {
        matrix_multiply(c[m] + n / 2, fa[m], fb, T());
        matrix_multiply(c[m] + n / 2 + 4, fa[m], fb + 2, T());
      }
    }
  }
}

/* write 16 x d accumulators times factor (of each of the two rows) to rows of [count, stride] */
template <typename T, int D>
static __device__ __forceinline__ void store_rows(T *to, const float (&c)[D / 2], int first,
                                                  int count, int stride, int d, float factor0,
                                                  float factor1)
{
  const int lane = threadIdx.x % 32;

#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = first + lane / 4 + half * 8;
    const float factor = half ? factor1 : factor0;

    if (row >= count)
      continue;
#pragma unroll
    for (int j = 0; j < D / 8; j++) {
      const int column = j * 8 + lane % 4 * 2;

      if (column < d)
        *(uint32_t *)(to + (size_t)row * stride + column) =
            pack(c[4 * j + half * 2] * factor, c[4 * j + half * 2 + 1] * factor, T());
    }
  }
}

/*
 * The end of rows first + lane / 4 and that + 8 of the queries: acc by the sums of whole rows, and
 * the logarithms of these to lse_out.
 */
template <typename T, int D>
static __device__ __forceinline__ void
softmax_end(const attention_buffers &io, const ti_attention_shape &s, const float (&acc)[D / 2],
            float (&sum)[2], const float (&top)[2], int first)
{
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads;
  const int row0 = first + threadIdx.x % 32 / 4;

#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = row0 + half * 8;

    sum[half] += shuffle_xor(sum[half], 1);
    sum[half] += shuffle_xor(sum[half], 2);
    if (io.lse_out && threadIdx.x % 4 == 0 && row < s.tq)
      io.lse_out[(size_t)blockIdx.y * s.tq + row] = fmaf(top[half], s.scale, logf(sum[half]));
  }
  store_rows<T, D>((T *)io.out + (size_t)n * s.tq * s.heads * s.d + head * s.d, acc, first, s.tq,
                   s.heads * s.d, s.d, 1.0f / sum[0], 1.0f / sum[1]);
}

/* log2 of the softmax's divisor and delta of a row; 0 where there is none */
static __device__ __forceinline__ float2 row_sums(const attention_buffers &io,
                                                  const ti_attention_shape &s, int row)
{
  const size_t at = (size_t)blockIdx.y * s.tq + row;

  return row < s.tq ? make_float2(io.lse[at] * TI_LOG2_E, io.delta[at]) : make_float2(0.0f, 0.0f);
}

/* 16 rows of dk and dv from first on, or their part of the queries */
template <typename T, int D>
static __device__ __forceinline__ void store_gradients(const attention_buffers &io,
                                                       const ti_attention_shape &s,
                                                       const float (&dk)[D / 2],
                                                       const float (&dv)[D / 2], int first)
{
  const int n = blockIdx.y / s.heads, head = blockIdx.y % s.heads, lane = threadIdx.x % 32;
  const size_t part = (size_t)s.n * s.heads * s.tk * s.d;
  float *to = io.partial + blockIdx.z * part + (size_t)blockIdx.y * s.tk * s.d;

  if (io.splits == 1) {
    store_rows<T, D>((T *)io.dk + (size_t)n * s.tk * s.k_stride + head * s.d, dk, first, s.tk,
                     s.k_stride, s.d, s.scale, s.scale);
    store_rows<T, D>((T *)io.dv + (size_t)n * s.tk * s.v_stride + head * s.d, dv, first, s.tk,
                     s.v_stride, s.d, 1.0f, 1.0f);
    return;
  }
#pragma unroll
  for (int i = 0; i < D / 2; i++) {
    const int key = first + lane / 4 + i / 2 % 2 * 8, c = i / 4 * 8 + lane % 4 * 2 + i % 2;

    if (key < s.tk && c < s.d) {
      to[(size_t)key * s.d + c] = dk[i] * s.scale;
      to[io.splits * part + (size_t)key * s.d + c] = dv[i];
    }
  }
}

/* run a statement with D bound to the padded size of a head */
#define TI_WITH_HEAD(d, ...)                                         \
  if ((d) <= 32) { constexpr int D = 32; __VA_ARGS__; }              \
  else if ((d) <= 48) { constexpr int D = 48; __VA_ARGS__; }         \
  else if ((d) <= 64) { constexpr int D = 64; __VA_ARGS__; }         \
  else if ((d) <= 80) { constexpr int D = 80; __VA_ARGS__; }         \
  else if ((d) <= 96) { constexpr int D = 96; __VA_ARGS__; }         \
  else if ((d) <= 128) { constexpr int D = 128; __VA_ARGS__; }       \
  else { constexpr int D = 160; __VA_ARGS__; }

#endif /* TI_CUDA_ATTENTION_MMA_CUH */
