/* The softmax of attention on scores that stand in the accumulators of a product. */
#ifndef TI_CUDA_ATTENTION_SOFTMAX_CUH
#define TI_CUDA_ATTENTION_SOFTMAX_CUH

#include "common.cuh"

#define TI_LOG2_E 1.44269504088896341f

/*
 * A thread holds parts of two rows, lane / 4 and the eighth behind it: x[4 j + 2 half + i] is
 * column 8 j + lane % 4 * 2 + i of row half. So do the accumulators of mma and of wgmma.
 */
template <int N>
static __device__ __forceinline__ void mask_columns(float (&x)[N / 2], int first,
                                                    const int (&visible)[2])
{
  const int column = first + threadIdx.x % 4 * 2;

#pragma unroll
  for (int i = 0; i < N / 2; i++) {
    if (column + i / 4 * 8 + i % 2 >= visible[i / 2 % 2])
      x[i] = -INFINITY;
  }
}

/*
 * Scores to exponentials, with the greatest score of each row so far subtracted: top and sum (of
 * this thread's columns) go on, and acc[16 rows, D] shrinks with them. scale: log2(e) times that of
 * the scores, above 0. The first tile of a row has a column that is not masked.
 */
template <int N, int D>
static __device__ __forceinline__ void softmax_step(float (&x)[N / 2], float (&acc)[D / 2],
                                                    float (&top)[2], float (&sum)[2], float scale)
{
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float m = top[half], part = 0.0f;

#pragma unroll
    for (int j = half * 2; j < N / 2; j += 4)
      m = fmaxf(m, fmaxf(x[j], x[j + 1]));
    m = fmaxf(m, shuffle_xor(m, 1)); /* four lanes share a row */
    m = fmaxf(m, shuffle_xor(m, 2));
    const float shrink = exp2_fast((top[half] - m) * scale), bias = m * scale;

#pragma unroll
    for (int j = half * 2; j < N / 2; j += 4) {
#pragma unroll
      for (int i = j; i < j + 2; i++) {
        x[i] = exp2_fast(fmaf(x[i], scale, -bias));
        part += x[i];
      }
    }
    sum[half] = fmaf(sum[half], shrink, part);
    top[half] = m;
#pragma unroll
    for (int j = half * 2; j < D / 2; j += 4) {
      acc[j] *= shrink;
      acc[j + 1] *= shrink;
    }
  }
}

#endif /* TI_CUDA_ATTENTION_SOFTMAX_CUH */
