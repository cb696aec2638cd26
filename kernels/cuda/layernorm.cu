/*
 * Layer normalisation of rows. Formulas: kernels/cpu/layernorm.c. One warp a row; the row is read
 * again for every pass, from cache.
 */
#include "common.cuh"

enum { THREADS = 128 };

// ------------------------------------------------------------------ kernels

template <typename T, int VEC>
static __global__ void layernorm_fwd_kernel(T *y, float *__restrict__ mean,
                                            float *__restrict__ rstd, const T *x,
                                            const float *__restrict__ weight,
                                            const float *__restrict__ bias, ti_layernorm_shape s)
{
  const int row = blockIdx.x * (THREADS / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
  float sum = 0.0f, sq = 0.0f;

  if (row >= s.rows)
    return;
  x += (size_t)row * s.c;
  y += (size_t)row * s.c;
  for (int c = lane * VEC; c < s.c; c += 32 * VEC) {
    float f[VEC];

    load_vector(f, x + c);
#pragma unroll
    for (int i = 0; i < VEC; i++)
      sum += f[i];
  }
  const float m = warp_sum(sum) / s.c;

  for (int c = lane * VEC; c < s.c; c += 32 * VEC) {
    float f[VEC];

    load_vector(f, x + c);
#pragma unroll
    for (int i = 0; i < VEC; i++)
      sq += (f[i] - m) * (f[i] - m);
  }
  const float r = 1.0f / sqrtf(warp_sum(sq) / s.c + s.eps);

  for (int c = lane * VEC; c < s.c; c += 32 * VEC) {
    float f[VEC];

    load_vector(f, x + c);
#pragma unroll
    for (int i = 0; i < VEC; i++)
      f[i] = (f[i] - m) * r * weight[c + i] + bias[c + i];
    store_vector(y + c, f);
  }
  if (lane == 0) {
    mean[row] = m;
    rstd[row] = r;
  }
}

template <typename T, int VEC>
static __global__ void layernorm_bwd_kernel(T *dx, const T *dy, const T *__restrict__ x,
                                            const float *__restrict__ mean,
                                            const float *__restrict__ rstd,
                                            const float *__restrict__ weight, ti_layernorm_shape s)
{
  const int row = blockIdx.x * (THREADS / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
  float g_sum = 0.0f, gx_sum = 0.0f;

  if (row >= s.rows)
    return;
  const float m = mean[row], r = rstd[row];

  x += (size_t)row * s.c;
  dy += (size_t)row * s.c;
  dx += (size_t)row * s.c;
  for (int c = lane * VEC; c < s.c; c += 32 * VEC) {
    float f[VEC], d[VEC];

    load_vector(f, x + c);
    load_vector(d, dy + c);
#pragma unroll
    for (int i = 0; i < VEC; i++) {
      const float g = d[i] * weight[c + i];

      g_sum += g;
      gx_sum += g * ((f[i] - m) * r);
    }
  }
  const float g_avg = warp_sum(g_sum) / s.c, gx_avg = warp_sum(gx_sum) / s.c;

  for (int c = lane * VEC; c < s.c; c += 32 * VEC) {
    float f[VEC], d[VEC];

    load_vector(f, x + c);
    load_vector(d, dy + c);
#pragma unroll
    for (int i = 0; i < VEC; i++)
      d[i] = r * (d[i] * weight[c + i] - g_avg - (f[i] - m) * r * gx_avg);
    store_vector(dx + c, d);
  }
}

// ------------------------------------------------------------------ launchers

template <typename T> static int is_vector(const ti_layernorm_shape *s, const void *a,
                                           const void *b, const void *c)
{
  return s->c % lanes<T>::count == 0 && ti_aligned(a, 16) && ti_aligned(b, 16) && ti_aligned(c, 16);
}

static dim3 row_grid(const ti_layernorm_shape *s)
{
  return dim3((unsigned)ti_ceil_div((size_t)s->rows, THREADS / 32));
}

extern "C" textinv_status ti_cuda_layernorm_fwd(ti_exec *e, ti_dtype dtype, void *y, float *mean,
                                                float *rstd, const void *x, const float *weight,
                                                const float *bias, const ti_layernorm_shape *s)
{
  TI_WITH_DTYPE(dtype, return launch(e, "layernorm_fwd",
                                     is_vector<T>(s, x, y, y)
                                         ? layernorm_fwd_kernel<T, lanes<T>::count>
                                         : layernorm_fwd_kernel<T, 1>,
                                     row_grid(s), THREADS, 0, (T *)y, mean, rstd, (const T *)x,
                                     weight, bias, *s));
}

extern "C" textinv_status ti_cuda_layernorm_bwd(ti_exec *e, ti_dtype dtype, void *dx,
                                                const void *dy, const void *x, const float *mean,
                                                const float *rstd, const float *weight,
                                                const ti_layernorm_shape *s)
{
  TI_WITH_DTYPE(dtype, return launch(e, "layernorm_bwd",
                                     is_vector<T>(s, x, dy, dx)
                                         ? layernorm_bwd_kernel<T, lanes<T>::count>
                                         : layernorm_bwd_kernel<T, 1>,
                                     row_grid(s), THREADS, 0, (T *)dx, (const T *)dy,
                                     (const T *)x, mean, rstd, weight, *s));
}
