/* Tiles of attention on tensor cores: rows of d values in shared memory, and products of tiles. */
#ifndef TI_CUDA_ATTENTION_MMA_CUH
#define TI_CUDA_ATTENTION_MMA_CUH

#include "attention.h"
#include "common.cuh"

enum { ATTENTION_THREADS = 128, ATTENTION_ROWS = 64 };

/* values between rows of a tile: an odd number of 16-byte groups, so no bank conflicts */
template <int D> struct pitch {
  static const int values = D + 8;
};

/*
 * Start copying ROWS rows from row first of [count, stride] to a tile; what lies outside, and
 * columns from d to D, become zeros.
 */
template <typename T, int D, int ROWS>
static __device__ __forceinline__ void load_tile(T *tile, const T *from, int first, int count,
                                                 int stride, int d)
{
  constexpr int CHUNKS = D / 8;

  for (int i = threadIdx.x; i < ROWS * CHUNKS; i += ATTENTION_THREADS) {
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

/* c[16, N] += a[16 rows from row, D] b[N, D]^T; both in tiles */
template <typename T, int D, int N>
static __device__ __forceinline__ void multiply_rows(float (&c)[N / 8][4], const T *a, int row,
                                                     const T *b)
{
#pragma unroll
  for (int k = 0; k < D; k += 16) {
    uint32_t fa[4], fb[4];

    load_a<T, D>(fa, a, row, k);
#pragma unroll
    for (int n = 0; n < N; n += 16) {
      load_b_rows<T, D>(fb, b, n, k);
      matrix_multiply(c[n / 8], fa, fb, T());
      matrix_multiply(c[n / 8 + 1], fa, fb + 2, T());
    }
  }
}

/* c[16, D] += p[16, K] b[K, D]; p in the accumulators of an earlier product, rounded to T */
template <typename T, int D, int K>
static __device__ __forceinline__ void multiply_columns(float (&c)[D / 8][4],
                                                        const float (&p)[K / 8][4], const T *b)
{
#pragma unroll
  for (int k = 0; k < K; k += 16) {
    const float *low = p[k / 8], *high = p[k / 8 + 1];
    const uint32_t fa[4] = { pack(low[0], low[1], T()), pack(low[2], low[3], T()),
                             pack(high[0], high[1], T()), pack(high[2], high[3], T()) };
    uint32_t fb[4];

#pragma unroll
    for (int n = 0; n < D; n += 16) {
      load_b_columns<T, D>(fb, b, k, n);
      matrix_multiply(c[n / 8], fa, fb, T());
      matrix_multiply(c[n / 8 + 1], fa, fb + 2, T());
    }
  }
}

/* write 16 x d accumulators times factor (of each of the two rows) to rows of [count, stride] */
template <typename T, int D>
static __device__ __forceinline__ void store_rows(T *to, const float (&c)[D / 8][4], int first,
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
            pack(c[j][half * 2] * factor, c[j][half * 2 + 1] * factor, T());
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
