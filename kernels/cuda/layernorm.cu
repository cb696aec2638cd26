/*
 * Layer normalisation of rows. Formulas: kernels/cpu/layernorm.c. Some lanes of a warp hold a row
 * in registers; a row that is too long for that is read again for every pass, from cache.
 */
#include "common.cuh"

enum { THREADS = 128, HELD = 5 }; /* vectors that a thread holds: 320 = 8 lanes x 5 x 8 values */

// ------------------------------------------------------------------ kernels

template <typename T, int VEC>
static __global__ void __launch_bounds__(THREADS)
    layernorm_held_fwd_kernel(T *y, float *__restrict__ mean, float *__restrict__ rstd, const T *x,
                              const float *__restrict__ weight, const float *__restrict__ bias,
                              ti_layernorm_shape s, int share)
{
  const int row = blockIdx.x * (THREADS / share) + threadIdx.x / share, t = threadIdx.x % share;
  const int columns = row < s.rows ? s.c / VEC : 0;
  float f[HELD][VEC] = {}, sum = 0.0f, sq = 0.0f;

  x += (size_t)row * s.c;
  y += (size_t)row * s.c;
#pragma unroll
  for (int u = 0; u < HELD; u++) {
    if (t + u * share < columns)
      load_vector(f[u], x + (t + u * share) * VEC);
  }
#pragma unroll
  for (int j = 0; j < HELD * VEC; j++)
    sum += f[j / VEC][j % VEC];
  const float m = share_sum(sum, share) / s.c;

#pragma unroll
  for (int j = 0; j < HELD * VEC; j++) {
    const float d = t + j / VEC * share < columns ? f[j / VEC][j % VEC] - m : 0.0f;

    sq += d * d;
  }
  const float r = 1.0f / sqrtf(share_sum(sq, share) / s.c + s.eps);

#pragma unroll
  for (int u = 0; u < HELD; u++) {
    float w[VEC], b[VEC];

    if (t + u * share >= columns)
      continue;
    load_floats(w, weight + (t + u * share) * VEC);
    load_floats(b, bias + (t + u * share) * VEC);
#pragma unroll
    for (int i = 0; i < VEC; i++)
      f[u][i] = (f[u][i] - m) * r * w[i] + b[i];
    store_vector(y + (t + u * share) * VEC, f[u]);
  }
  if (row < s.rows && t == 0) {
    mean[row] = m;
    rstd[row] = r;
  }
}

template <typename T, int VEC>
static __global__ void __launch_bounds__(THREADS, 4)
  layernorm_held_bwd_kernel(T *dx, const T *dy, const T *__restrict__ x,
                            const float *__restrict__ mean, const float *__restrict__ rstd,
                            const float *__restrict__ weight, const T *other, ti_layernorm_shape s,
                            int share)
{
  const int row = blockIdx.x * (THREADS / share) + threadIdx.x / share, t = threadIdx.x % share;
  const int columns = row < s.rows ? s.c / VEC : 0;
  const float m = columns ? mean[row] : 0.0f, r = columns ? rstd[row] : 0.0f;
  float f[HELD][VEC] = {}, d[HELD][VEC] = {}, g_sum = 0.0f, gx_sum = 0.0f;
  vector<T, VEC> more[HELD] = {};

  x += (size_t)row * s.c;
  dy += (size_t)row * s.c;
  dx += (size_t)row * s.c;
#pragma unroll
  for (int u = 0; u < HELD; u++) {
    if (t + u * share < columns) {
      load_vector(f[u], x + (t + u * share) * VEC);
      load_vector(d[u], dy + (t + u * share) * VEC);
      if (other)
        more[u] = *(const vector<T, VEC> *)(other + (size_t)row * s.c + (t + u * share) * VEC);
    }
  }
#pragma unroll
  for (int u = 0; u < HELD; u++) {
    float w[VEC] = {};

    if (t + u * share < columns)
      load_floats(w, weight + (t + u * share) * VEC);
#pragma unroll
    for (int i = 0; i < VEC; i++) {
      d[u][i] *= w[i];
      f[u][i] = (f[u][i] - m) * r;
      g_sum += d[u][i];
      gx_sum += d[u][i] * f[u][i];
    }
  }
  const float g_avg = share_sum(g_sum, share) / s.c, gx_avg = share_sum(gx_sum, share) / s.c;

#pragma unroll
  for (int u = 0; u < HELD; u++) {
    float o[VEC];

    load_vector(o, more[u].v);
#pragma unroll
    for (int i = 0; i < VEC; i++)
      d[u][i] = r * (d[u][i] - g_avg - f[u][i] * gx_avg) + o[i];
    if (t + u * share < columns)
      store_vector(dx + (t + u * share) * VEC, d[u]);
  }
}

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
                                            const float *__restrict__ weight, const T *other,
                                            ti_layernorm_shape s)
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
    float f[VEC], d[VEC], o[VEC] = {};

    load_vector(f, x + c);
    load_vector(d, dy + c);
    if (other)
      load_vector(o, other + (size_t)row * s.c + c);
#pragma unroll
    for (int i = 0; i < VEC; i++)
      d[i] = r * (d[i] * weight[c + i] - g_avg - (f[i] - m) * r * gx_avg) + o[i];
    store_vector(dx + c, d);
  }
}

// ------------------------------------------------------------------ launchers

template <typename T> static int is_vector(const ti_layernorm_shape *s, const void *a,
                                           const void *b, const void *c)
{
  return s->c % lanes<T>::count == 0 && ti_aligned(a, 16) && ti_aligned(b, 16) && ti_aligned(c, 16);
}

/* lanes that hold a row together; 0: more than a warp would take */
template <typename T> static int lanes_of(const ti_layernorm_shape *s, int wide)
{
  const int columns = s->c / lanes<T>::count;
  int share = 4;

  if (!wide || columns > 32 * HELD)
    return 0;
  while (share * HELD < columns)
    share *= 2;
  return share;
}

static dim3 row_grid(const ti_layernorm_shape *s, int share)
{
  return dim3((unsigned)ti_ceil_div((size_t)s->rows, THREADS / share));
}

extern "C" textinv_status ti_cuda_layernorm_fwd(ti_exec *e, ti_dtype dtype, void *y, float *mean,
                                                float *rstd, const void *x, const float *weight,
                                                const float *bias, const ti_layernorm_shape *s)
{
  TI_WITH_DTYPE(dtype,
                const int wide = is_vector<T>(s, x, y, y), share = lanes_of<T>(s, wide);
                if (share)
                  return launch(e, "layernorm_fwd", layernorm_held_fwd_kernel<T, lanes<T>::count>,
                                row_grid(s, share), THREADS, 0, (T *)y, mean, rstd, (const T *)x,
                                weight, bias, *s, share);
                return launch(e, "layernorm_fwd",
                              wide ? layernorm_fwd_kernel<T, lanes<T>::count>
                                   : layernorm_fwd_kernel<T, 1>,
                              row_grid(s, 32), THREADS, 0, (T *)y, mean, rstd, (const T *)x, weight,
                              bias, *s));
}

extern "C" textinv_status ti_cuda_layernorm_bwd(ti_exec *e, ti_dtype dtype, void *dx,
                                                const void *dy, const void *x, const float *mean,
                                                const float *rstd, const float *weight,
                                                const void *other, const ti_layernorm_shape *s)
{
  TI_WITH_DTYPE(dtype,
                const int wide = is_vector<T>(s, x, dy, dx) && ti_aligned(other, 16);
                const int share = lanes_of<T>(s, wide);
                if (share)
                  return launch(e, "layernorm_bwd", layernorm_held_bwd_kernel<T, lanes<T>::count>,
                                row_grid(s, share), THREADS, 0, (T *)dx, (const T *)dy,
                                (const T *)x, mean, rstd, weight, (const T *)other, *s, share);
                return launch(e, "layernorm_bwd",
                              wide ? layernorm_bwd_kernel<T, lanes<T>::count>
                                   : layernorm_bwd_kernel<T, 1>,
                              row_grid(s, 32), THREADS, 0, (T *)dx, (const T *)dy, (const T *)x,
                              mean, rstd, weight, (const T *)other, *s));
}
