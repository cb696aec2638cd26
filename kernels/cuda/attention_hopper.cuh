/*
 * Tiles of attention for warpgroups (wgmma). A tile of ROWS rows lies in planes of eight columns: a
 * plane holds 16 bytes of each row, row behind row. So columns need not fill 32, 64 or 128 bytes
 * (heads of 40), and a tile is an operand along its rows and along its columns alike.
 */
#ifndef TI_CUDA_ATTENTION_HOPPER_CUH
#define TI_CUDA_ATTENTION_HOPPER_CUH

#include "attention_mma.cuh"
#include "attention_softmax.cuh"
#include "hopper.cuh"

#ifdef TI_HOPPER

/*
 * Start copying ROWS rows from row first of [count, stride] to the first N columns of a tile; what
 * lies outside, and columns from d on, become zeros. Eight lanes write the 128 bytes of eight rows
 * of a plane, and a warp reads at least 32 bytes of a row.
 */
template <typename T, int ROWS, int N, int THREADS>
static __device__ __forceinline__ void load_planes(T *tile, const T *from, int first, int count,
                                                   int stride, int d)
{
  constexpr int PER = THREADS >= 4 * ROWS ? 4 : 2, CHUNKS = N / 8; /* threads of a row, planes */
  constexpr int AT_ONCE = THREADS / PER;                           /* rows */
  const int lane = threadIdx.x % 32, chunk = lane / 8 % PER;

#pragma unroll
  for (int at = 0; at < ROWS; at += AT_ONCE) {
    const int row = at + threadIdx.x / 32 * (32 / PER) + lane / 8 / PER * 8 + lane % 8;
    const bool valid = first + row < count;
    const T *p = from + (size_t)(valid ? first + row : 0) * stride + chunk * 8;
    T *to = tile + (chunk * ROWS + row) * 8;

    if (at + AT_ONCE > ROWS && row >= ROWS)
      continue;
#pragma unroll
    for (int j = 0; j < CHUNKS; j += PER) {
      if (j + PER <= CHUNKS || chunk + j < CHUNKS)
        copy_async(to + j * ROWS * 8, p + j * 8, valid && (chunk + j) * 8 < d);
    }
  }
}

/* a tile of ROWS rows from row on, as an operand whose k are the columns */
template <typename T, int ROWS>
static __device__ __forceinline__ uint64_t rows_operand(const T *tile, int row = 0)
{
  return matrix_at(tile + row * 8, SWIZZLE_NONE, 128, ROWS * 16);
}

/* the same as an operand whose k are the rows */
template <typename T, int ROWS>
static __device__ __forceinline__ uint64_t columns_operand(const T *tile)
{
  return matrix_at(tile, SWIZZLE_NONE, ROWS * 16, 128);
}

/* start x[64, N] = a[64, D] b[N, D]^T, with a of a tile of ROWS rows and b of one of N */
template <typename T, int ROWS, int D, int N>
static __device__ __forceinline__ void start_rows(float (&x)[N / 2], uint64_t a, uint64_t b)
{
#pragma unroll
  for (int k = 0; k < D / 16; k++)
    wgmma<N, 0, 0>(x, matrix_on(a, k * ROWS * 32), matrix_on(b, k * N * 32), k > 0, T());
}

/* start c[64, N] += p[64, K] b[K, N], with p in registers */
template <typename T, int K, int N>
static __device__ __forceinline__ void start_columns(float (&c)[N / 2],
                                                     const uint32_t (&p)[K / 16][4], uint64_t b)
{
#pragma unroll
  for (int k = 0; k < K / 16; k++)
    wgmma<N, 1>(c, p[k], matrix_on(b, k * 256), 1, T());
}

/* accumulators of a product as the first operand of the next, rounded to T */
template <typename T, int K>
static __device__ __forceinline__ void round_operand(uint32_t (&p)[K / 16][4],
                                                     const float (&x)[K / 2])
{
#pragma unroll
  for (int i = 0; i < K / 4; i++)
    p[i / 4][i % 4] = pack(x[2 * i], x[2 * i + 1], T());
}

#endif

/* run a statement with D bound to the padded size of a head */
#define TI_WITH_SHORT_HEAD(d, ...)                             \
  if ((d) <= 48) { constexpr int D = 48; __VA_ARGS__; }        \
  else if ((d) <= 64) { constexpr int D = 64; __VA_ARGS__; }   \
  else if ((d) <= 80) { constexpr int D = 80; __VA_ARGS__; }   \
  else { constexpr int D = 160; __VA_ARGS__; }

#endif /* TI_CUDA_ATTENTION_HOPPER_CUH */
