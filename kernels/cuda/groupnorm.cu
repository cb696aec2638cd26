/*
 * Group normalisation over NHWC, with or without SiLU behind it. Formulas: kernels/cpu/groupnorm.c.
 *
 * Two launches each way, so that one sample fills the device: blocks over chunks of pixels leave
 * two numbers a group in scratch (fwd: mean and sum of squared deviations of the chunk; bwd: sums
 * of g and g xhat), then every block that writes pixels merges the chunks of its sample, in the
 * same order, and goes on. Rows of pixels are read whole, whatever the size of a group.
 */
#include "common.cuh"

enum { THREADS = 256, MAX_CHUNKS = 128, ENOUGH_BLOCKS = 264 };

/* how a sample is cut */
struct chunks {
  int count, pixels;
};

static __host__ __device__ chunks chunks_of(const ti_groupnorm_shape &s)
{
  const int wanted = ENOUGH_BLOCKS / s.n < 1 ? 1
                     : ENOUGH_BLOCKS / s.n > MAX_CHUNKS ? MAX_CHUNKS : ENOUGH_BLOCKS / s.n;
  const int pixels = (s.hw + wanted - 1) / wanted;

  return chunks{ (s.hw + pixels - 1) / pixels, pixels };
}

// ------------------------------------------------------------------ kernels

static __device__ __forceinline__ float sigmoid(float z)
{
  return 1.0f / (1.0f + expf(-z));
}

static __device__ __forceinline__ float silu_slope(float z)
{
  const float p = sigmoid(z);

  return p * (1.0f + z * (1.0f - p));
}

/* which vectors of a pixel a thread takes, and which pixels of the chunk */
struct place {
  int columns; /* vectors a pixel */
  int lanes;   /* pixels read at once */
  int column, lane;

  __device__ place(int c, int count)
  {
    columns = c / count;
    lanes = columns < THREADS ? THREADS / columns : 1;
    column = columns < THREADS ? threadIdx.x % columns : threadIdx.x;
    lane = columns < THREADS ? threadIdx.x / columns : 0;
  }
  __device__ int step() const
  {
    return columns < THREADS ? columns : THREADS;
  }
};

/* the sum over lanes and over the channels of group g of part [lanes, c], in every lane of a warp */
static __device__ float group_sum(const float *part, int lanes, int c, int per, int g)
{
  float sum = 0.0f;

  for (int i = threadIdx.x % 32; i < lanes * per; i += 32)
    sum += part[i / per * c + g * per + i % per];
  return warp_sum(sum);
}

template <typename T, int VEC>
static __global__ void groupnorm_chunk_kernel(float *__restrict__ scratch, const T *__restrict__ x,
                                              ti_groupnorm_shape s)
{
  float *part = (float *)shared_memory(); /* [lanes, c] */
  const chunks all = chunks_of(s);
  const place at(s.c, VEC);
  const int per = s.c / s.groups, warp = threadIdx.x / 32;
  const int from = blockIdx.x * all.pixels, to = min(from + all.pixels, s.hw);
  const float count = (float)per * (to - from);
  float *averages = part + at.lanes * s.c;

  x += (size_t)blockIdx.y * s.hw * s.c;
  scratch += ((size_t)blockIdx.y * all.count + blockIdx.x) * s.groups * 2;

  /* the average first: E[x^2] - mean^2 cancels when |mean| is large */
  for (int pass = 0; pass < 2; pass++) {
    for (int column = at.column; at.lane < at.lanes && column < at.columns; column += at.step()) {
      float sum[VEC] = {};

      for (int p = from + at.lane; p < to; p += at.lanes) {
        float f[VEC];

        load_vector(f, x + (size_t)p * s.c + column * VEC);
#pragma unroll
        for (int i = 0; i < VEC; i++) {
          const float d = pass ? f[i] - averages[(column * VEC + i) / per] : 0.0f;

          sum[i] += pass ? d * d : f[i];
        }
      }
#pragma unroll
      for (int i = 0; i < VEC; i++)
        part[at.lane * s.c + column * VEC + i] = sum[i];
    }
    __syncthreads();
    for (int g = warp; g < s.groups; g += THREADS / 32) {
      const float sum = group_sum(part, at.lanes, s.c, per, g);

      if (threadIdx.x % 32 == 0) {
        if (pass == 0)
          averages[g] = sum / count;
        scratch[g * 2 + pass] = pass ? sum : sum / count;
      }
    }
    __syncthreads();
  }
}

template <typename T, int VEC>
static __global__ void groupnorm_fwd_kernel(T *y, float *__restrict__ mean,
                                            float *__restrict__ rstd, const T *x,
                                            const float *__restrict__ weight,
                                            const float *__restrict__ bias,
                                            const float *__restrict__ scratch,
                                            ti_groupnorm_shape s)
{
  float *centre = (float *)shared_memory(), *slope = centre + s.c; /* [c] each */
  const chunks all = chunks_of(s);
  const int per = s.c / s.groups, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int n = blockIdx.y, columns = s.c / VEC;

  scratch += (size_t)n * all.count * s.groups * 2;
  for (int g = warp; g < s.groups; g += THREADS / 32) {
    float sum = 0.0f, sq = 0.0f;

    for (int i = lane; i < all.count; i += 32)
      sum += scratch[(i * s.groups + g) * 2] * min(all.pixels, s.hw - i * all.pixels);
    const float m = warp_sum(sum) / s.hw;

    for (int i = lane; i < all.count; i += 32) {
      const float d = scratch[(i * s.groups + g) * 2] - m;

      sq += scratch[(i * s.groups + g) * 2 + 1] +
            d * d * ((float)per * min(all.pixels, s.hw - i * all.pixels));
    }
    const float r = 1.0f / sqrtf(warp_sum(sq) / ((float)per * s.hw) + s.eps);

    for (int i = lane; i < per; i += 32) {
      centre[g * per + i] = m;
      slope[g * per + i] = r * weight[g * per + i];
    }
    if (blockIdx.x == 0 && lane == 0) {
      mean[n * s.groups + g] = m;
      rstd[n * s.groups + g] = r;
    }
  }
  __syncthreads();

  x += (size_t)n * s.hw * s.c;
  y += (size_t)n * s.hw * s.c;
  for (size_t v = grid_index(); v < (size_t)s.hw * columns; v += grid_step()) {
    const int c = (int)(v % columns) * VEC;
    float f[VEC];

    load_vector(f, x + v * VEC);
#pragma unroll
    for (int i = 0; i < VEC; i++) {
      const float z = (f[i] - centre[c + i]) * slope[c + i] + bias[c + i];

      f[i] = s.silu ? z * sigmoid(z) : z;
    }
    store_vector(y + v * VEC, f);
  }
}

/* g and xhat of one value */
static __device__ __forceinline__ float slope_of(float dy, float xhat, float weight, float bias,
                                                 int silu)
{
  return dy * weight * (silu ? silu_slope(xhat * weight + bias) : 1.0f);
}

template <typename T, int VEC>
static __global__ void groupnorm_bwd_chunk_kernel(float *__restrict__ scratch,
                                                  const T *__restrict__ dy,
                                                  const T *__restrict__ x,
                                                  const float *__restrict__ mean,
                                                  const float *__restrict__ rstd,
                                                  const float *__restrict__ weight,
                                                  const float *__restrict__ bias,
                                                  ti_groupnorm_shape s)
{
  const chunks all = chunks_of(s);
  const place at(s.c, VEC);
  float *g_part = (float *)shared_memory(), *gx_part = g_part + at.lanes * s.c;
  const int per = s.c / s.groups, warp = threadIdx.x / 32;
  const int from = blockIdx.x * all.pixels, to = min(from + all.pixels, s.hw);

  x += (size_t)blockIdx.y * s.hw * s.c;
  dy += (size_t)blockIdx.y * s.hw * s.c;
  mean += blockIdx.y * s.groups;
  rstd += blockIdx.y * s.groups;
  scratch += ((size_t)blockIdx.y * all.count + blockIdx.x) * s.groups * 2;

  for (int column = at.column; at.lane < at.lanes && column < at.columns; column += at.step()) {
    float g_sum[VEC] = {}, gx_sum[VEC] = {};

    for (int p = from + at.lane; p < to; p += at.lanes) {
      float f[VEC], d[VEC];

      load_vector(f, x + (size_t)p * s.c + column * VEC);
      load_vector(d, dy + (size_t)p * s.c + column * VEC);
#pragma unroll
      for (int i = 0; i < VEC; i++) {
        const int c = column * VEC + i;
        const float xhat = (f[i] - mean[c / per]) * rstd[c / per];
        const float g = slope_of(d[i], xhat, weight[c], bias[c], s.silu);

        g_sum[i] += g;
        gx_sum[i] += g * xhat;
      }
    }
#pragma unroll
    for (int i = 0; i < VEC; i++) {
      g_part[at.lane * s.c + column * VEC + i] = g_sum[i];
      gx_part[at.lane * s.c + column * VEC + i] = gx_sum[i];
    }
  }
  __syncthreads();
  for (int g = warp; g < s.groups; g += THREADS / 32) {
    const float g_sum = group_sum(g_part, at.lanes, s.c, per, g);
    const float gx_sum = group_sum(gx_part, at.lanes, s.c, per, g);

    if (threadIdx.x % 32 == 0) {
      scratch[g * 2] = g_sum;
      scratch[g * 2 + 1] = gx_sum;
    }
  }
}

template <typename T, int VEC>
static __global__ void groupnorm_bwd_kernel(T *dx, const T *dy, const T *__restrict__ x,
                                            const float *__restrict__ mean,
                                            const float *__restrict__ rstd,
                                            const float *__restrict__ weight,
                                            const float *__restrict__ bias,
                                            const float *__restrict__ scratch,
                                            ti_groupnorm_shape s)
{
  /* [c] each */
  float *centre = (float *)shared_memory(), *scale = centre + s.c, *g_avg = scale + s.c,
        *gx_avg = g_avg + s.c;
  const chunks all = chunks_of(s);
  const int per = s.c / s.groups, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int n = blockIdx.y, columns = s.c / VEC;
  const float count = (float)per * s.hw;

  scratch += (size_t)n * all.count * s.groups * 2;
  for (int g = warp; g < s.groups; g += THREADS / 32) {
    float g_sum = 0.0f, gx_sum = 0.0f;

    for (int i = lane; i < all.count; i += 32) {
      g_sum += scratch[(i * s.groups + g) * 2];
      gx_sum += scratch[(i * s.groups + g) * 2 + 1];
    }
    g_sum = warp_sum(g_sum) / count;
    gx_sum = warp_sum(gx_sum) / count;
    for (int i = lane; i < per; i += 32) {
      centre[g * per + i] = mean[n * s.groups + g];
      scale[g * per + i] = rstd[n * s.groups + g];
      g_avg[g * per + i] = g_sum;
      gx_avg[g * per + i] = gx_sum;
    }
  }
  __syncthreads();

  x += (size_t)n * s.hw * s.c;
  dy += (size_t)n * s.hw * s.c;
  dx += (size_t)n * s.hw * s.c;
  for (size_t v = grid_index(); v < (size_t)s.hw * columns; v += grid_step()) {
    const int c = (int)(v % columns) * VEC;
    float f[VEC], d[VEC];

    load_vector(f, x + v * VEC);
    load_vector(d, dy + v * VEC);
#pragma unroll
    for (int i = 0; i < VEC; i++) {
      const float xhat = (f[i] - centre[c + i]) * scale[c + i];
      const float g = slope_of(d[i], xhat, weight[c + i], bias[c + i], s.silu);

      d[i] = scale[c + i] * (g - g_avg[c + i] - xhat * gx_avg[c + i]);
    }
    store_vector(dx + v * VEC, d);
  }
}

// ------------------------------------------------------------------ launchers

static size_t part_bytes(const ti_groupnorm_shape *s, int count)
{
  const int columns = s->c / count, lanes = columns < THREADS ? THREADS / columns : 1;

  return (size_t)lanes * s->c * sizeof(float);
}

/* 16-byte vectors of values, or single ones */
template <typename T> static int is_vector(const ti_groupnorm_shape *s, const void *a,
                                           const void *b, const void *c)
{
  return s->c % lanes<T>::count == 0 && ti_aligned(a, 16) && ti_aligned(b, 16) && ti_aligned(c, 16);
}

static dim3 write_grid(const ti_groupnorm_shape *s, int count)
{
  const size_t blocks = ti_ceil_div((size_t)s->hw * (s->c / count), THREADS * 4);
  const size_t most = ti_ceil_div(4 * ENOUGH_BLOCKS, (size_t)s->n);

  return dim3((unsigned)(blocks < most ? blocks : most), (unsigned)s->n);
}

static textinv_status check_scratch(ti_exec *e, const ti_groupnorm_shape *s)
{
  const size_t needed = ti_cuda_groupnorm_scratch(s);

  return e->scratch_bytes >= needed ? TEXTINV_OK
                                    : ti_fail(e->error, TEXTINV_E_INVALID,
                                              "groupnorm: %zu bytes of scratch where %zu are needed",
                                              e->scratch_bytes, needed);
}

template <typename T, int VEC>
static textinv_status fwd(ti_exec *e, T *y, float *mean, float *rstd, const T *x,
                          const float *weight, const float *bias, const ti_groupnorm_shape *s)
{
  const dim3 grid((unsigned)chunks_of(*s).count, (unsigned)s->n);
  const size_t shared = (part_bytes(s, VEC) + s->groups * sizeof(float) + 15) / 16 * 16;
  const textinv_status status = launch(e, "groupnorm_chunk", groupnorm_chunk_kernel<T, VEC>, grid,
                                       THREADS, shared, (float *)e->scratch, x, *s);

  if (status < 0)
    return status;
  return launch(e, "groupnorm_fwd", groupnorm_fwd_kernel<T, VEC>, write_grid(s, VEC), THREADS,
                2 * s->c * sizeof(float), y, mean, rstd, x, weight, bias,
                (const float *)e->scratch, *s);
}

template <typename T, int VEC>
static textinv_status bwd(ti_exec *e, T *dx, const T *dy, const T *x, const float *mean,
                          const float *rstd, const float *weight, const float *bias,
                          const ti_groupnorm_shape *s)
{
  const dim3 grid((unsigned)chunks_of(*s).count, (unsigned)s->n);
  const textinv_status status =
      launch(e, "groupnorm_bwd_chunk", groupnorm_bwd_chunk_kernel<T, VEC>, grid, THREADS,
             2 * part_bytes(s, VEC), (float *)e->scratch, dy, x, mean, rstd, weight, bias, *s);

  if (status < 0)
    return status;
  return launch(e, "groupnorm_bwd", groupnorm_bwd_kernel<T, VEC>, write_grid(s, VEC), THREADS,
                4 * s->c * sizeof(float), dx, dy, x, mean, rstd, weight, bias,
                (const float *)e->scratch, *s);
}

extern "C" size_t ti_cuda_groupnorm_scratch(const ti_groupnorm_shape *s)
{
  return (size_t)s->n * chunks_of(*s).count * s->groups * 2 * sizeof(float);
}

extern "C" textinv_status ti_cuda_groupnorm_fwd(ti_exec *e, ti_dtype dtype, void *y, float *mean,
                                                float *rstd, const void *x, const float *weight,
                                                const float *bias, const ti_groupnorm_shape *s)
{
  const textinv_status status = check_scratch(e, s);

  if (status < 0)
    return status;
  TI_WITH_DTYPE(dtype, return is_vector<T>(s, x, y, y)
                                  ? fwd<T, lanes<T>::count>(e, (T *)y, mean, rstd, (const T *)x,
                                                            weight, bias, s)
                                  : fwd<T, 1>(e, (T *)y, mean, rstd, (const T *)x, weight, bias, s));
}

extern "C" textinv_status ti_cuda_groupnorm_bwd(ti_exec *e, ti_dtype dtype, void *dx,
                                                const void *dy, const void *x, const float *mean,
                                                const float *rstd, const float *weight,
                                                const float *bias, const ti_groupnorm_shape *s)
{
  const textinv_status status = check_scratch(e, s);

  if (status < 0)
    return status;
  TI_WITH_DTYPE(dtype, return is_vector<T>(s, x, dy, dx)
                                  ? bwd<T, lanes<T>::count>(e, (T *)dx, (const T *)dy,
                                                            (const T *)x, mean, rstd, weight, bias,
                                                            s)
                                  : bwd<T, 1>(e, (T *)dx, (const T *)dy, (const T *)x, mean, rstd,
                                              weight, bias, s));
}
