/*
 * Group normalisation over NHWC, with or without SiLU behind it. Formulas: kernels/cpu/groupnorm.c.
 *
 * Where all pixels of some groups fit into shared memory, one launch does it all:
 * groupnorm_whole.cu. Else blocks over chunks of pixels leave two numbers a group in scratch (fwd:
 * mean and sum of squared deviations of the chunk; bwd: sums of g and g xhat), then every block
 * merges the chunks of its sample, in the same order, and goes on. A thread keeps to one column,
 * and to what its channels need in registers.
 */
#include "groupnorm.cuh"

enum {
  THREADS = 320,        /* 40, 80, 160 and 320 columns fill them */
  ENOUGH_BLOCKS = 264,
  LEAST_PIXELS = 8,     /* a thread, as every chunk has to be merged */
  FWD_LOADS = 4,        /* pixels that a thread loads at once */
  BWD_LOADS = 2,
  CHUNK_LOADS = 8       /* of what chunks left */
};

// ------------------------------------------------------------------ kernels

/* mean and sum of squared deviations of a column of count pixels, by deviations from the first */
template <typename T, int VEC>
static __device__ __forceinline__ void moments(float (&mean)[VEC], float (&sq)[VEC], const T *x,
                                               size_t stride, int count)
{
  float first[VEC] = {}, sum[VEC] = {};
  int k = 0;

#pragma unroll
  for (int i = 0; i < VEC; i++)
    sq[i] = 0.0f;
  if (count > 0)
    load_vector(first, x);
  for (; k + FWD_LOADS <= count; k += FWD_LOADS, x += FWD_LOADS * stride) {
    float f[FWD_LOADS][VEC];

#pragma unroll
    for (int u = 0; u < FWD_LOADS; u++)
      load_vector(f[u], x + u * stride);
#pragma unroll
    for (int j = 0; j < FWD_LOADS * VEC; j++) {
      const float d = f[j / VEC][j % VEC] - first[j % VEC];

      sum[j % VEC] += d;
      sq[j % VEC] += d * d;
    }
  }
  for (; k < count; k++, x += stride) {
    float f[VEC];

    load_vector(f, x);
#pragma unroll
    for (int i = 0; i < VEC; i++) {
      const float d = f[i] - first[i];

      sum[i] += d;
      sq[i] += d * d;
    }
  }
  const float inverse = count > 0 ? 1.0f / count : 0.0f;

#pragma unroll
  for (int i = 0; i < VEC; i++) {
    mean[i] = first[i] + sum[i] * inverse;
    sq[i] = fmaxf(sq[i] - sum[i] * (sum[i] * inverse), 0.0f);
  }
}

template <typename T, int VEC>
static __global__ void __launch_bounds__(THREADS, 2)
    groupnorm_chunk_kernel(float2 *__restrict__ scratch, const T *__restrict__ x,
                           const T *__restrict__ shift, ti_groupnorm_shape s, cut a)
{
  /* [lanes, c] each */
  float *means = (float *)shared_memory(), *squares = means + a.lanes * s.c;
  const int per = s.c / s.groups, from = blockIdx.x * a.pixels;
  const int pixels = min(a.pixels, s.hw - from), lane = threadIdx.x / a.step;
  const int full = pixels / a.lanes, more = pixels % a.lanes; /* pixels of a lane; one more */

  x += ((size_t)blockIdx.y * s.hw + from + lane) * s.c;
  scratch += ((size_t)blockIdx.y * a.chunks + blockIdx.x) * s.groups;
  for (int column = threadIdx.x % a.step; lane < a.lanes && column < a.columns; column += a.step) {
    const int at = lane * s.c + column * VEC;
    float mean[VEC], sq[VEC];

    moments(mean, sq, x + column * VEC, (size_t)a.lanes * s.c, full + (lane < more));
    if (shift) {
      float v[VEC];

      load_vector(v, shift + blockIdx.y * s.c + column * VEC);
#pragma unroll
      for (int i = 0; i < VEC; i++)
        mean[i] += v[i];
    }
    keep_floats(means + at, mean);
    keep_floats(squares + at, sq);
  }
  __syncthreads();
  for (int base = 0; base < s.groups; base += blockDim.x / a.share) {
    const int g = base + threadIdx.x / a.share, t = threadIdx.x % a.share;
    const int lanes = g < s.groups ? a.lanes : 0;
    float sum = 0.0f, sq = 0.0f;

    for (int j = t; j < per; j += a.share) {
#pragma unroll 4
      for (int l = 0; l < lanes; l++)
        sum += means[l * s.c + g * per + j] * (full + (l < more));
    }
    const float mean = share_sum(sum, a.share) / ((float)per * pixels);

    for (int j = t; j < per; j += a.share) {
#pragma unroll 4
      for (int l = 0; l < lanes; l++) {
        const float d = means[l * s.c + g * per + j] - mean;

        sq += squares[l * s.c + g * per + j] + d * d * (full + (l < more));
      }
    }
    sq = share_sum(sq, a.share);
    if (g < s.groups && t == 0)
      scratch[g] = float2{ mean, sq };
  }
}

/* what chunks i, i + share .. left of a group, zeros behind the last; stride: between chunks */
static __device__ __forceinline__ void load_chunks(float2 (&part)[CHUNK_LOADS],
                                                   const float2 *__restrict__ scratch, int stride,
                                                   int i, int share, int chunks)
{
#pragma unroll
  for (int u = 0; u < CHUNK_LOADS; u++)
    part[u] = i + u * share < chunks ? scratch[(i + u * share) * stride] : float2{ 0.0f, 0.0f };
}

/* pixels of chunk i, none behind the last */
static __device__ __forceinline__ int pixels_of(int i, const ti_groupnorm_shape &s, const cut &a)
{
  return max(min(a.pixels, s.hw - i * a.pixels), 0);
}

template <typename T, int VEC>
static __global__ void __launch_bounds__(THREADS, 2)
    groupnorm_fwd_kernel(T *y, float *__restrict__ mean, float *__restrict__ rstd, const T *x,
                         const T *__restrict__ shift, const float *__restrict__ weight,
                         const float *__restrict__ bias, const float2 *__restrict__ scratch,
                         ti_groupnorm_shape s, cut a)
{
  float *means = (float *)shared_memory(), *rstds = means + s.groups; /* [groups] each */
  const int per = s.c / s.groups, from = blockIdx.x * a.pixels, n = blockIdx.y;
  const int pixels = min(a.pixels, s.hw - from), lane = threadIdx.x / a.step;
  const int count = (pixels - lane + a.lanes - 1) / a.lanes;
  const size_t stride = (size_t)a.lanes * s.c;

  scratch += (size_t)n * a.chunks * s.groups;
  for (int base = 0; base < s.groups; base += blockDim.x / a.share) {
    const int g = base + threadIdx.x / a.share, t = threadIdx.x % a.share;
    const int chunks = g < s.groups ? a.chunks : 0;
    float sum = 0.0f, sq = 0.0f;

    for (int i = t; i < chunks; i += CHUNK_LOADS * a.share) {
      float2 part[CHUNK_LOADS];

      load_chunks(part, scratch + g, s.groups, i, a.share, chunks);
#pragma unroll
      for (int u = 0; u < CHUNK_LOADS; u++)
        sum += part[u].x * pixels_of(i + u * a.share, s, a);
    }
    const float m = share_sum(sum, a.share) / s.hw;

    for (int i = t; i < chunks; i += CHUNK_LOADS * a.share) {
      float2 part[CHUNK_LOADS];

      load_chunks(part, scratch + g, s.groups, i, a.share, chunks);
#pragma unroll
      for (int u = 0; u < CHUNK_LOADS; u++) {
        const float d = part[u].x - m;

        sq += part[u].y + d * d * ((float)per * pixels_of(i + u * a.share, s, a));
      }
    }
    const float r = 1.0f / sqrtf(share_sum(sq, a.share) / ((float)per * s.hw) + s.eps);

    if (g < s.groups && t == 0) {
      means[g] = m;
      rstds[g] = r;
      if (blockIdx.x == 0) {
        mean[n * s.groups + g] = m;
        rstd[n * s.groups + g] = r;
      }
    }
  }
  __syncthreads();

  for (int column = threadIdx.x % a.step; lane < a.lanes && column < a.columns; column += a.step) {
    size_t at = ((size_t)n * s.hw + from + lane) * s.c + column * VEC;
    float m[VEC], slope[VEC], b[VEC], w[VEC];
    int k = 0;

    load_floats(w, weight + column * VEC);
    load_floats(b, bias + column * VEC);
    spread(m, means, column * VEC, per);
    take_shift(m, shift ? shift + n * s.c + column * VEC : NULL);
    spread(slope, rstds, column * VEC, per);
#pragma unroll
    for (int i = 0; i < VEC; i++)
      slope[i] *= w[i];
    for (; k + FWD_LOADS <= count; k += FWD_LOADS, at += FWD_LOADS * stride) {
      float f[FWD_LOADS][VEC];

#pragma unroll
      for (int u = 0; u < FWD_LOADS; u++)
        load_vector(f[u], x + at + u * stride);
#pragma unroll
      for (int u = 0; u < FWD_LOADS; u++) {
        normalise<T>(f[u], m, slope, b, s.silu);
        store_vector(y + at + u * stride, f[u]);
      }
    }
    for (; k < count; k++, at += stride) {
      float f[VEC];

      load_vector(f, x + at);
      normalise<T>(f, m, slope, b, s.silu);
      store_vector(y + at, f);
    }
  }
}

template <typename T, int VEC>
static __global__ void __launch_bounds__(THREADS, 2)
    groupnorm_bwd_chunk_kernel(float2 *__restrict__ scratch, const T *__restrict__ dy,
                               const T *__restrict__ x, const T *__restrict__ shift,
                               const float *__restrict__ mean, const float *__restrict__ rstd,
                               const float *__restrict__ weight, const float *__restrict__ bias,
                               ti_groupnorm_shape s, cut a)
{
  /* [lanes, c] each */
  float *g_part = (float *)shared_memory(), *gx_part = g_part + a.lanes * s.c;
  const int per = s.c / s.groups, from = blockIdx.x * a.pixels, n = blockIdx.y;
  const int pixels = min(a.pixels, s.hw - from), lane = threadIdx.x / a.step;
  const int count = (pixels - lane + a.lanes - 1) / a.lanes;
  const size_t stride = (size_t)a.lanes * s.c;

  scratch += ((size_t)n * a.chunks + blockIdx.x) * s.groups;
  for (int column = threadIdx.x % a.step; lane < a.lanes && column < a.columns; column += a.step) {
    size_t at = ((size_t)n * s.hw + from + lane) * s.c + column * VEC;
    float m[VEC], r[VEC], w[VEC], b[VEC], g_sum[VEC] = {}, gx_sum[VEC] = {};
    int k = 0;

    load_floats(w, weight + column * VEC);
    load_floats(b, bias + column * VEC);
    spread(m, mean + n * s.groups, column * VEC, per);
    take_shift(m, shift ? shift + n * s.c + column * VEC : NULL);
    spread(r, rstd + n * s.groups, column * VEC, per);
    for (; k + BWD_LOADS <= count; k += BWD_LOADS, at += BWD_LOADS * stride) {
      float f[BWD_LOADS][VEC], d[BWD_LOADS][VEC];

#pragma unroll
      for (int u = 0; u < BWD_LOADS; u++) {
        load_vector(f[u], x + at + u * stride);
        load_vector(d[u], dy + at + u * stride);
      }
#pragma unroll
      for (int u = 0; u < BWD_LOADS; u++) {
        unfold<T>(d[u], f[u], m, r, w, b, s.silu);
#pragma unroll
        for (int i = 0; i < VEC; i++) {
          g_sum[i] += d[u][i];
          gx_sum[i] += d[u][i] * f[u][i];
        }
      }
    }
    for (; k < count; k++, at += stride) {
      float f[VEC], d[VEC];

      load_vector(f, x + at);
      load_vector(d, dy + at);
      unfold<T>(d, f, m, r, w, b, s.silu);
#pragma unroll
      for (int i = 0; i < VEC; i++) {
        g_sum[i] += d[i];
        gx_sum[i] += d[i] * f[i];
      }
    }
#pragma unroll
    for (int i = 0; i < VEC; i++) {
      g_sum[i] = __fmul_rn(g_sum[i], w[i]);
      gx_sum[i] *= w[i];
    }
    keep_floats(g_part + lane * s.c + column * VEC, g_sum);
    keep_floats(gx_part + lane * s.c + column * VEC, gx_sum);
  }
  __syncthreads();
  for (int base = 0; base < s.groups; base += blockDim.x / a.share) {
    const int g = base + threadIdx.x / a.share, t = threadIdx.x % a.share;
    const int lanes = g < s.groups ? a.lanes : 0;
    float g_sum = 0.0f, gx_sum = 0.0f;

    for (int j = t; j < per; j += a.share) {
#pragma unroll 4
      for (int l = 0; l < lanes; l++) {
        g_sum += g_part[l * s.c + g * per + j];
        gx_sum += gx_part[l * s.c + g * per + j];
      }
    }
    g_sum = share_sum(g_sum, a.share);
    gx_sum = share_sum(gx_sum, a.share);
    if (g < s.groups && t == 0)
      scratch[g] = float2{ g_sum, gx_sum };
  }
}

template <typename T, int VEC>
static __global__ void __launch_bounds__(THREADS, 2)
    groupnorm_bwd_kernel(T *dx, const T *dy, const T *__restrict__ x, const T *__restrict__ shift,
                         const float *__restrict__ mean, const float *__restrict__ rstd,
                         const float *__restrict__ weight, const float *__restrict__ bias,
                         const T *other, const float2 *__restrict__ scratch, ti_groupnorm_shape s,
                         cut a)
{
  float *g_avgs = (float *)shared_memory(), *gx_avgs = g_avgs + s.groups; /* [groups] each */
  const int per = s.c / s.groups, from = blockIdx.x * a.pixels, n = blockIdx.y;
  const int pixels = min(a.pixels, s.hw - from), lane = threadIdx.x / a.step;
  const int count = (pixels - lane + a.lanes - 1) / a.lanes;
  const size_t stride = (size_t)a.lanes * s.c;

  scratch += (size_t)n * a.chunks * s.groups;
  for (int base = 0; base < s.groups; base += blockDim.x / a.share) {
    const int g = base + threadIdx.x / a.share, t = threadIdx.x % a.share;
    const int chunks = g < s.groups ? a.chunks : 0;
    float g_sum = 0.0f, gx_sum = 0.0f;

    for (int i = t; i < chunks; i += CHUNK_LOADS * a.share) {
      float2 part[CHUNK_LOADS];

      load_chunks(part, scratch + g, s.groups, i, a.share, chunks);
#pragma unroll
      for (int u = 0; u < CHUNK_LOADS; u++) {
        g_sum += part[u].x;
        gx_sum += part[u].y;
      }
    }
    g_sum = share_sum(g_sum, a.share);
    gx_sum = share_sum(gx_sum, a.share);
    if (g < s.groups && t == 0) {
      g_avgs[g] = g_sum / ((float)per * s.hw);
      gx_avgs[g] = gx_sum / ((float)per * s.hw);
    }
  }
  __syncthreads();

  for (int column = threadIdx.x % a.step; lane < a.lanes && column < a.columns; column += a.step) {
    size_t at = ((size_t)n * s.hw + from + lane) * s.c + column * VEC;
    float m[VEC], r[VEC], w[VEC], b[VEC], g_avg[VEC], gx_avg[VEC];
    int k = 0;

    load_floats(w, weight + column * VEC);
    load_floats(b, bias + column * VEC);
    spread(m, mean + n * s.groups, column * VEC, per);
    take_shift(m, shift ? shift + n * s.c + column * VEC : NULL);
    spread(r, rstd + n * s.groups, column * VEC, per);
    spread(g_avg, g_avgs, column * VEC, per);
    spread(gx_avg, gx_avgs, column * VEC, per);
    for (; k + BWD_LOADS <= count; k += BWD_LOADS, at += BWD_LOADS * stride) {
      float f[BWD_LOADS][VEC], d[BWD_LOADS][VEC];

#pragma unroll
      for (int u = 0; u < BWD_LOADS; u++) {
        load_vector(f[u], x + at + u * stride);
        load_vector(d[u], dy + at + u * stride);
      }
#pragma unroll
      for (int u = 0; u < BWD_LOADS; u++) {
        vector<T, VEC> o = {};

        if (other)
          o = *(const vector<T, VEC> *)(other + at + u * stride);
        unfold<T>(d[u], f[u], m, r, w, b, s.silu);
        fold(d[u], f[u], r, w, g_avg, gx_avg, o);
        store_vector(dx + at + u * stride, d[u]);
      }
    }
    for (; k < count; k++, at += stride) {
      float f[VEC], d[VEC];
      vector<T, VEC> o = {};

      load_vector(f, x + at);
      load_vector(d, dy + at);
      if (other)
        o = *(const vector<T, VEC> *)(other + at);
      unfold<T>(d, f, m, r, w, b, s.silu);
      fold(d, f, r, w, g_avg, gx_avg, o);
      store_vector(dx + at, d);
    }
  }
}

// ------------------------------------------------------------------ launchers

static int most_chunks(const ti_groupnorm_shape *s)
{
  const int most = s->n < ENOUGH_BLOCKS ? ENOUGH_BLOCKS / s->n : 1;

  return s->hw < most ? s->hw : most;
}

static cut chunks_of(const ti_groupnorm_shape *s, int count)
{
  cut a = {};

  a.columns = s->c / count;
  a.step = (int)ti_ceil_div(a.columns, ti_ceil_div(a.columns, THREADS));
  a.lanes = THREADS / a.step;
  a.pixels = (int)ti_ceil_div(s->hw, most_chunks(s));
  if (a.pixels < LEAST_PIXELS * a.lanes)
    a.pixels = LEAST_PIXELS * a.lanes;
  a.chunks = (int)ti_ceil_div(s->hw, a.pixels);
  a.share = 32;
  while (a.share > 1 && (unsigned)(a.share * s->groups) > a.threads())
    a.share /= 2;
  return a;
}

/* 16-byte vectors of values, or single ones */
template <typename T> static int is_vector(const ti_groupnorm_shape *s, const void *a,
                                           const void *b, const void *c)
{
  return s->c % lanes<T>::count == 0 && ti_aligned(a, 16) && ti_aligned(b, 16) && ti_aligned(c, 16);
}

static textinv_status check_scratch(ti_exec *e, const ti_groupnorm_shape *s)
{
  const size_t needed = ti_cuda_groupnorm_scratch(s);

  return e->scratch_bytes >= needed
           ? TEXTINV_OK
           : ti_fail(e->error, TEXTINV_E_INVALID,
                     "groupnorm: %zu bytes of scratch where %zu are needed", e->scratch_bytes,
                     needed);
}

template <typename T, int VEC>
static textinv_status fwd(ti_exec *e, T *y, float *mean, float *rstd, const T *x, const T *shift,
                          const float *weight, const float *bias, const ti_groupnorm_shape *s)
{
  float2 *scratch = (float2 *)e->scratch;
  const cut a = chunks_of(s, VEC);
  const dim3 grid((unsigned)a.chunks, (unsigned)s->n);
  textinv_status status;

  status = launch(e, "groupnorm_chunk", groupnorm_chunk_kernel<T, VEC>, grid, a.threads(),
                  2 * (size_t)a.lanes * s->c * sizeof(float), scratch, x, shift, *s, a);
  return status < 0 ? status
                    : launch(e, "groupnorm_fwd", groupnorm_fwd_kernel<T, VEC>, grid, a.threads(),
                             2 * s->groups * sizeof(float), y, mean, rstd, x, shift, weight, bias,
                             (const float2 *)scratch, *s, a);
}

template <typename T, int VEC>
static textinv_status bwd(ti_exec *e, T *dx, const T *dy, const T *x, const T *shift,
                          const float *mean, const float *rstd, const float *weight,
                          const float *bias, const T *other, const ti_groupnorm_shape *s)
{
  float2 *scratch = (float2 *)e->scratch;
  const cut a = chunks_of(s, VEC);
  const dim3 grid((unsigned)a.chunks, (unsigned)s->n);
  textinv_status status;

  status = launch(e, "groupnorm_bwd_chunk", groupnorm_bwd_chunk_kernel<T, VEC>, grid, a.threads(),
                  2 * (size_t)a.lanes * s->c * sizeof(float), scratch, dy, x, shift, mean, rstd,
                  weight, bias, *s, a);
  return status < 0 ? status
                    : launch(e, "groupnorm_bwd", groupnorm_bwd_kernel<T, VEC>, grid, a.threads(),
                             2 * s->groups * sizeof(float), dx, dy, x, shift, mean, rstd, weight,
                             bias, other, (const float2 *)scratch, *s, a);
}

extern "C" size_t ti_cuda_groupnorm_scratch(const ti_groupnorm_shape *s)
{
  return (size_t)s->n * most_chunks(s) * s->groups * sizeof(float2);
}

extern "C" textinv_status ti_cuda_groupnorm_fwd(ti_exec *e, ti_dtype dtype, void *y, float *mean,
                                                float *rstd, const void *x, const void *shift,
                                                const float *weight, const float *bias,
                                                const ti_groupnorm_shape *s)
{
  const textinv_status status = check_scratch(e, s);

  if (status < 0)
    return status;
  TI_WITH_DTYPE(
    dtype, const int wide = is_vector<T>(s, x, y, shift);
    if (wide && ti_cuda_groupnorm_is_whole(dtype, s)) return ti_cuda_groupnorm_whole_fwd(
      e, dtype, y, mean, rstd, x, shift, weight, bias, s);
    return wide
             ? fwd<T, lanes<T>::count>(e, (T *)y, mean, rstd, (const T *)x, (const T *)shift,
                                       weight, bias, s)
             : fwd<T, 1>(e, (T *)y, mean, rstd, (const T *)x, (const T *)shift, weight, bias, s));
}

extern "C" textinv_status ti_cuda_groupnorm_bwd(ti_exec *e, ti_dtype dtype, void *dx,
                                                const void *dy, const void *x, const void *shift,
                                                const float *mean, const float *rstd,
                                                const float *weight, const float *bias,
                                                const void *other, const ti_groupnorm_shape *s)
{
  const textinv_status status = check_scratch(e, s);

  if (status < 0)
    return status;
  TI_WITH_DTYPE(dtype,
                const int wide = is_vector<T>(s, x, dy, dx) && ti_aligned(shift, 16) &&
                                 ti_aligned(other, 16);
                if (wide && ti_cuda_groupnorm_is_whole(dtype, s))
                  return ti_cuda_groupnorm_whole_bwd(e, dtype, dx, dy, x, shift, mean, rstd,
                                                     weight, bias, other, s);
                return wide ? bwd<T, lanes<T>::count>(e, (T *)dx, (const T *)dy, (const T *)x,
                                                      (const T *)shift, mean, rstd, weight, bias,
                                                      (const T *)other, s)
                            : bwd<T, 1>(e, (T *)dx, (const T *)dy, (const T *)x, (const T *)shift,
                                        mean, rstd, weight, bias, (const T *)other, s));
}
