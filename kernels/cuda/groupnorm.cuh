/* Group normalisation: what a thread does with a column, the same VEC channels of some pixels. */
#ifndef TI_CUDA_GROUPNORM_CUH
#define TI_CUDA_GROUPNORM_CUH

#include "common.cuh"

/* how a sample is cut, and how the threads of a block share it */
struct cut {
  int columns;        /* of a pixel; of a block's groups where they are held whole */
  int step;           /* threads of a pixel, which take columns step apart */
  int lanes;          /* pixels at once */
  int chunks, pixels; /* of a chunk */
  int share;          /* threads that add up a group, a power of two */
  int groups;         /* of a block */

  unsigned threads() const
  {
    return (unsigned)(step * lanes + 31) / 32 * 32;
  }
};

template <typename T> static __device__ __forceinline__ float sigmoid(float z)
{
  if constexpr (sizeof(T) == 4)
    return 1.0f / (1.0f + expf(-z));
  else
    return reciprocal_fast(1.0f + exp2_fast(-1.4426950408889634f * z));
}

template <typename T> static __device__ __forceinline__ float silu_slope(float z)
{
  const float p = sigmoid<T>(z);

  return p * (1.0f + z * (1.0f - p));
}

/* to shared memory, aligned where VEC is a multiple of four */
template <int VEC>
static __device__ __forceinline__ void keep_floats(float *p, const float (&f)[VEC])
{
  if constexpr (VEC % 4 == 0) {
#pragma unroll
    for (int i = 0; i < VEC / 4; i++)
      ((float4 *)p)[i] = float4{ f[4 * i], f[4 * i + 1], f[4 * i + 2], f[4 * i + 3] };
  } else {
#pragma unroll
    for (int i = 0; i < VEC; i++)
      p[i] = f[i];
  }
}

/* what each channel from first on finds in a table of groups */
template <int VEC>
static __device__ __forceinline__ void spread(float (&f)[VEC], const float *of_groups, int first,
                                              int per)
{
  int g = first / per, left = per - first % per;

#pragma unroll
  for (int i = 0; i < VEC; i++) {
    f[i] = of_groups[g];
    if (--left == 0) {
      left = per;
      g++;
    }
  }
}

/* from the means of x + shift, of VEC channels, those of x; shift: of these channels, or NULL */
template <typename T, int VEC>
static __device__ __forceinline__ void take_shift(float (&mean)[VEC], const T *shift)
{
  float v[VEC];

  if (!shift)
    return;
  load_vector(v, shift);
#pragma unroll
  for (int i = 0; i < VEC; i++)
    mean[i] -= v[i];
}

template <typename T, int VEC>
static __device__ __forceinline__ void normalise(float (&f)[VEC], const float (&centre)[VEC],
                                                 const float (&slope)[VEC],
                                                 const float (&bias)[VEC], int silu)
{
#pragma unroll
  for (int i = 0; i < VEC; i++)
    f[i] = (f[i] - centre[i]) * slope[i] + bias[i];
  if (silu) {
#pragma unroll
    for (int i = 0; i < VEC; i++)
      f[i] *= sigmoid<T>(f[i]);
  }
}

/* d becomes its product with the slope of SiLU, and f becomes xhat */
template <typename T, int VEC>
static __device__ __forceinline__ void unfold(float (&d)[VEC], float (&f)[VEC],
                                              const float (&centre)[VEC], const float (&scale)[VEC],
                                              const float (&weight)[VEC], const float (&bias)[VEC],
                                              int silu)
{
#pragma unroll
  for (int i = 0; i < VEC; i++)
    f[i] = (f[i] - centre[i]) * scale[i];
  if (silu) {
#pragma unroll
    for (int i = 0; i < VEC; i++)
      d[i] = __fmul_rn(d[i], silu_slope<T>(f[i] * weight[i] + bias[i]));
  }
}

/*
 * dx and other in place of what unfold() left. The product is rounded as it was when it was added
 * up: averages cancel it, all of it in a group of one value.
 */
template <typename T, int VEC>
static __device__ __forceinline__ void fold(float (&d)[VEC], const float (&f)[VEC],
                                            const float (&scale)[VEC], const float (&weight)[VEC],
                                            const float (&g_avg)[VEC], const float (&gx_avg)[VEC],
                                            const vector<T, VEC> &other)
{
  float o[VEC];

  load_vector(o, other.v);
#pragma unroll
  for (int i = 0; i < VEC; i++)
    d[i] = scale[i] * (__fmul_rn(d[i], weight[i]) - g_avg[i] - f[i] * gx_avg[i]) + o[i];
}

/* groupnorm_whole.cu, for 16-byte vectors: false: a block cannot hold all pixels of a group */
bool ti_cuda_groupnorm_is_whole(ti_dtype dtype, const ti_groupnorm_shape *s);
textinv_status ti_cuda_groupnorm_whole_fwd(ti_exec *e, ti_dtype dtype, void *y, float *mean,
                                           float *rstd, const void *x, const void *shift,
                                           const float *weight, const float *bias,
                                           const ti_groupnorm_shape *s);
textinv_status ti_cuda_groupnorm_whole_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                           const void *x, const void *shift, const float *mean,
                                           const float *rstd, const float *weight,
                                           const float *bias, const void *other,
                                           const ti_groupnorm_shape *s);

#endif /* TI_CUDA_GROUPNORM_CUH */
