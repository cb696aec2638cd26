/*
 * Group normalisation over NHWC, with or without SiLU behind it. Formulas: kernels/cpu/groupnorm.c.
 *
 * A thread keeps to one column, the same VEC channels of every pixel that it takes, and to what
 * those channels need in registers. Where all pixels of some groups fit into shared memory, a block
 * holds them there, and one launch does it all. Else blocks over chunks of pixels leave two numbers
 * a group in scratch (fwd: mean and sum of squared deviations of the chunk; bwd: sums of g and
 * g xhat), then every block merges the chunks of its sample, in the same order, and goes on.
 */
#include "common.cuh"

enum {
  THREADS = 320,        /* 40, 80, 160 and 320 columns fill them */
  WHOLE_THREADS = 512,
  WHOLE_VECTORS = 2560, /* of 16 bytes, of one tensor; two fit into 99 KiB, which all devices have */
  ENOUGH_BLOCKS = 264,
  LEAST_PIXELS = 8,     /* a thread, as every chunk has to be merged */
  FWD_LOADS = 4,        /* pixels that a thread loads at once */
  BWD_LOADS = 2,
  CHUNK_LOADS = 8       /* of what chunks left */
};

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

// ------------------------------------------------------------------ kernels

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
template <int VEC> static __device__ __forceinline__ void keep_floats(float *p, const float (&f)[VEC])
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

template <typename T, int VEC>
static __device__ __forceinline__ void normalise(float (&f)[VEC], const float (&centre)[VEC],
                                                 const float (&slope)[VEC], const float (&bias)[VEC],
                                                 int silu)
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
 * dx in place of what unfold() left. The product is rounded as it was when it was added up: averages
 * cancel it, all of it in a group of one value.
 */
template <int VEC>
static __device__ __forceinline__ void fold(float (&d)[VEC], const float (&f)[VEC],
                                            const float (&scale)[VEC], const float (&weight)[VEC],
                                            const float (&g_avg)[VEC], const float (&gx_avg)[VEC])
{
#pragma unroll
  for (int i = 0; i < VEC; i++)
    d[i] = scale[i] * (__fmul_rn(d[i], weight[i]) - g_avg[i] - f[i] * gx_avg[i]);
}

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
                           ti_groupnorm_shape s, cut a)
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

/* what chunks i, i + share .. left of a group, zeros behind the last; stride: from chunk to chunk */
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
                         const float *__restrict__ weight, const float *__restrict__ bias,
                         const float2 *__restrict__ scratch, ti_groupnorm_shape s, cut a)
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
                               const T *__restrict__ x, const float *__restrict__ mean,
                               const float *__restrict__ rstd, const float *__restrict__ weight,
                               const float *__restrict__ bias, ti_groupnorm_shape s, cut a)
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
    groupnorm_bwd_kernel(T *dx, const T *dy, const T *__restrict__ x, const float *__restrict__ mean,
                         const float *__restrict__ rstd, const float *__restrict__ weight,
                         const float *__restrict__ bias, const float2 *__restrict__ scratch,
                         ti_groupnorm_shape s, cut a)
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
        unfold<T>(d[u], f[u], m, r, w, b, s.silu);
        fold(d[u], f[u], r, w, g_avg, gx_avg);
        store_vector(dx + at + u * stride, d[u]);
      }
    }
    for (; k < count; k++, at += stride) {
      float f[VEC], d[VEC];

      load_vector(f, x + at);
      load_vector(d, dy + at);
      unfold<T>(d, f, m, r, w, b, s.silu);
      fold(d, f, r, w, g_avg, gx_avg);
      store_vector(dx + at, d);
    }
  }
}

// --- groups that a block holds whole

/* sums of v by the group of each channel, to out [groups]; part [groups, warps]; all threads call it */
template <int VEC>
static __device__ __forceinline__ void group_sums(float *out, float (*part)[WHOLE_THREADS / 32],
                                                  const float (&v)[VEC], int first, int per, int groups)
{
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;

  for (int g = 0; g < groups; g++) {
    float sum = 0.0f;

#pragma unroll
    for (int i = 0; i < VEC; i++)
      sum += (unsigned)(first + i - g * per) < (unsigned)per ? v[i] : 0.0f;
    sum = warp_sum(sum);
    if (lane == 0)
      part[g][warp] = sum;
  }
  __syncthreads();
  for (int g = warp; g < groups; g += warps) {
    const float sum = warp_sum(lane < warps ? part[g][lane] : 0.0f);

    if (lane == 0)
      out[g] = sum;
  }
  __syncthreads();
}

template <typename T, int VEC>
static __global__ void __launch_bounds__(WHOLE_THREADS)
    groupnorm_whole_fwd_kernel(T *y, float *__restrict__ mean, float *__restrict__ rstd, const T *x,
                               const float *__restrict__ weight, const float *__restrict__ bias,
                               ti_groupnorm_shape s, cut a)
{
  __shared__ float part[VEC][WHOLE_THREADS / 32], sums[VEC], squares[VEC];
  const int per = s.c / s.groups, lane = threadIdx.x / a.step, first = threadIdx.x % a.step * VEC;
  const int from = blockIdx.x * a.step * VEC, hop = a.lanes * a.step;
  const int end = lane < a.lanes ? s.hw : 0;
  const float count = (float)per * s.hw;
  T *held = (T *)shared_memory() + threadIdx.x * VEC; /* [hw, step, VEC] */
  float m[VEC], slope[VEC], w[VEC], b[VEC], sum[VEC] = {}, sq[VEC] = {};

  x += (size_t)blockIdx.y * s.hw * s.c + from + first;
  y += (size_t)blockIdx.y * s.hw * s.c + from + first;
  for (int p = lane, i = 0; p < end; p += a.lanes, i += hop)
    copy_async(held + i * VEC, x + (size_t)p * s.c, true);
  copy_commit();
  load_floats(w, weight + from + first);
  load_floats(b, bias + from + first);
  copy_wait<0>();
  /* every thread reads its own alone, so no barrier */
  for (int p = lane, i = 0; p < end; p += a.lanes, i += hop) {
    float f[VEC];

    load_vector(f, held + i * VEC);
#pragma unroll
    for (int j = 0; j < VEC; j++)
      sum[j] += f[j];
  }
  group_sums(sums, part, sum, first, per, a.groups);
  spread(m, sums, first, per);
#pragma unroll
  for (int j = 0; j < VEC; j++)
    m[j] /= count;
  for (int p = lane, i = 0; p < end; p += a.lanes, i += hop) {
    float f[VEC];

    load_vector(f, held + i * VEC);
#pragma unroll
    for (int j = 0; j < VEC; j++)
      sq[j] += (f[j] - m[j]) * (f[j] - m[j]);
  }
  group_sums(squares, part, sq, first, per, a.groups);
  spread(slope, squares, first, per);
#pragma unroll
  for (int j = 0; j < VEC; j++)
    slope[j] = 1.0f / sqrtf(slope[j] / count + s.eps) * w[j];
  for (int p = lane, i = 0; p < end; p += a.lanes, i += hop) {
    float f[VEC];

    load_vector(f, held + i * VEC);
    normalise<T>(f, m, slope, b, s.silu);
    store_vector(y + (size_t)p * s.c, f);
  }
  if ((int)threadIdx.x < a.groups) {
    const int at = blockIdx.y * s.groups + blockIdx.x * a.groups + threadIdx.x;

    mean[at] = sums[threadIdx.x] / count;
    rstd[at] = 1.0f / sqrtf(squares[threadIdx.x] / count + s.eps);
  }
}

template <typename T, int VEC>
static __global__ void __launch_bounds__(WHOLE_THREADS)
    groupnorm_whole_bwd_kernel(T *dx, const T *dy, const T *__restrict__ x,
                               const float *__restrict__ mean, const float *__restrict__ rstd,
                               const float *__restrict__ weight, const float *__restrict__ bias,
                               ti_groupnorm_shape s, cut a)
{
  __shared__ float part[VEC][WHOLE_THREADS / 32], g_sums[VEC], gx_sums[VEC];
  const int per = s.c / s.groups, lane = threadIdx.x / a.step, first = threadIdx.x % a.step * VEC;
  const int from = blockIdx.x * a.step * VEC, hop = a.lanes * a.step;
  const int end = lane < a.lanes ? s.hw : 0, at = blockIdx.y * s.groups + blockIdx.x * a.groups;
  const float count = (float)per * s.hw;
  /* [hw, step, VEC] each */
  T *x_held = (T *)shared_memory() + threadIdx.x * VEC;
  T *dy_held = x_held + s.hw * a.step * VEC;
  float m[VEC], r[VEC], w[VEC], b[VEC], g[VEC] = {}, gx[VEC] = {};

  x += (size_t)blockIdx.y * s.hw * s.c + from + first;
  dy += (size_t)blockIdx.y * s.hw * s.c + from + first;
  dx += (size_t)blockIdx.y * s.hw * s.c + from + first;
  for (int p = lane, i = 0; p < end; p += a.lanes, i += hop) {
    copy_async(x_held + i * VEC, x + (size_t)p * s.c, true);
    copy_async(dy_held + i * VEC, dy + (size_t)p * s.c, true);
  }
  copy_commit();
  load_floats(w, weight + from + first);
  load_floats(b, bias + from + first);
  spread(m, mean + at, first, per);
  spread(r, rstd + at, first, per);
  copy_wait<0>();
  for (int p = lane, i = 0; p < end; p += a.lanes, i += hop) {
    float f[VEC], d[VEC];

    load_vector(f, x_held + i * VEC);
    load_vector(d, dy_held + i * VEC);
    unfold<T>(d, f, m, r, w, b, s.silu);
#pragma unroll
    for (int j = 0; j < VEC; j++) {
      g[j] += d[j];
      gx[j] += d[j] * f[j];
    }
  }
#pragma unroll
  for (int j = 0; j < VEC; j++) {
    g[j] = __fmul_rn(g[j], w[j]);
    gx[j] *= w[j];
  }
  group_sums(g_sums, part, g, first, per, a.groups);
  group_sums(gx_sums, part, gx, first, per, a.groups);
  spread(g, g_sums, first, per);
  spread(gx, gx_sums, first, per);
#pragma unroll
  for (int j = 0; j < VEC; j++) {
    g[j] /= count;
    gx[j] /= count;
  }
  for (int p = lane, i = 0; p < end; p += a.lanes, i += hop) {
    float f[VEC], d[VEC];

    load_vector(f, x_held + i * VEC);
    load_vector(d, dy_held + i * VEC);
    unfold<T>(d, f, m, r, w, b, s.silu);
    fold(d, f, r, w, g, gx);
    store_vector(dx + (size_t)p * s.c, d);
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

/* false: a block cannot hold all pixels of as many groups as make up whole vectors */
static bool is_whole(cut *a, const ti_groupnorm_shape *s, int count)
{
  const int per = s->c / s->groups;

  *a = cut{};
  a->groups = 1;
  while (a->groups * per % count)
    a->groups++;
  a->columns = a->step = a->groups * per / count;
  if (count == 1 || a->columns > WHOLE_THREADS || (size_t)s->hw * a->columns > WHOLE_VECTORS)
    return false;
  const size_t turns = ti_ceil_div(s->hw, WHOLE_THREADS / a->columns);

  a->lanes = (int)ti_ceil_div(s->hw, turns);
  return true;
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

  return e->scratch_bytes >= needed ? TEXTINV_OK
                                    : ti_fail(e->error, TEXTINV_E_INVALID,
                                              "groupnorm: %zu bytes of scratch where %zu are needed",
                                              e->scratch_bytes, needed);
}

template <typename T, int VEC>
static textinv_status fwd(ti_exec *e, T *y, float *mean, float *rstd, const T *x,
                          const float *weight, const float *bias, const ti_groupnorm_shape *s)
{
  float2 *scratch = (float2 *)e->scratch;
  textinv_status status;
  cut a;

  if (is_whole(&a, s, VEC))
    return launch(e, "groupnorm_whole_fwd", groupnorm_whole_fwd_kernel<T, VEC>,
                  dim3((unsigned)(s->groups / a.groups), (unsigned)s->n), a.threads(),
                  (size_t)s->hw * a.columns * VEC * sizeof(T), y, mean, rstd, x, weight, bias, *s, a);
  a = chunks_of(s, VEC);
  const dim3 grid((unsigned)a.chunks, (unsigned)s->n);

  status = launch(e, "groupnorm_chunk", groupnorm_chunk_kernel<T, VEC>, grid, a.threads(),
                  2 * (size_t)a.lanes * s->c * sizeof(float), scratch, x, *s, a);
  return status < 0 ? status
                    : launch(e, "groupnorm_fwd", groupnorm_fwd_kernel<T, VEC>, grid, a.threads(),
                             2 * s->groups * sizeof(float), y, mean, rstd, x, weight, bias,
                             (const float2 *)scratch, *s, a);
}

template <typename T, int VEC>
static textinv_status bwd(ti_exec *e, T *dx, const T *dy, const T *x, const float *mean,
                          const float *rstd, const float *weight, const float *bias,
                          const ti_groupnorm_shape *s)
{
  float2 *scratch = (float2 *)e->scratch;
  textinv_status status;
  cut a;

  if (is_whole(&a, s, VEC))
    return launch(e, "groupnorm_whole_bwd", groupnorm_whole_bwd_kernel<T, VEC>,
                  dim3((unsigned)(s->groups / a.groups), (unsigned)s->n), a.threads(),
                  2 * (size_t)s->hw * a.columns * VEC * sizeof(T), dx, dy, x, mean, rstd, weight, bias,
                  *s, a);
  a = chunks_of(s, VEC);
  const dim3 grid((unsigned)a.chunks, (unsigned)s->n);

  status = launch(e, "groupnorm_bwd_chunk", groupnorm_bwd_chunk_kernel<T, VEC>, grid, a.threads(),
                  2 * (size_t)a.lanes * s->c * sizeof(float), scratch, dy, x, mean, rstd, weight, bias,
                  *s, a);
  return status < 0 ? status
                    : launch(e, "groupnorm_bwd", groupnorm_bwd_kernel<T, VEC>, grid, a.threads(),
                             2 * s->groups * sizeof(float), dx, dy, x, mean, rstd, weight, bias,
                             (const float2 *)scratch, *s, a);
}

extern "C" size_t ti_cuda_groupnorm_scratch(const ti_groupnorm_shape *s)
{
  return (size_t)s->n * most_chunks(s) * s->groups * sizeof(float2);
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
