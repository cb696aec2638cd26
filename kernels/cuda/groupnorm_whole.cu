/*
 * Group normalisation where a block holds all pixels of some groups in shared memory: the fewest
 * groups that make up whole vectors. Every thread reads back what it copied there itself.
 */
#include "groupnorm.cuh"

enum {
  WHOLE_THREADS = 512,
  WHOLE_VECTORS = 2560 /* of 16 bytes, of one tensor; two fit into 99 KiB, which all devices have */
};
static_assert(2 * WHOLE_VECTORS * 16 <= TI_SHARED_VARYING, "of the launch");

// ------------------------------------------------------------------ kernels

/* sums of v by the group of each channel, to out [groups]; part [groups, warps]; all threads call
 * it */
template <int VEC>
static __device__ __forceinline__ void group_sums(float *out, float (*part)[WHOLE_THREADS / 32],
                                                  const float (&v)[VEC], int first, int per,
                                                  int groups)
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
                               const T *__restrict__ shift, const float *__restrict__ weight,
                               const float *__restrict__ bias, ti_groupnorm_shape s, cut a)
{
  __shared__ float part[VEC][WHOLE_THREADS / 32], sums[VEC], squares[VEC];
  const int per = s.c / s.groups, lane = threadIdx.x / a.step, first = threadIdx.x % a.step * VEC;
  const int from = blockIdx.x * a.step * VEC, hop = a.lanes * a.step;
  const int end = lane < a.lanes ? s.hw : 0;
  const float count = (float)per * s.hw;
  T *held = (T *)shared_memory() + threadIdx.x * VEC; /* [hw, step, VEC] */
  float m[VEC], slope[VEC], w[VEC], b[VEC], sum[VEC] = {}, sq[VEC] = {}, v[VEC] = {};

  x += (size_t)blockIdx.y * s.hw * s.c + from + first;
  y += (size_t)blockIdx.y * s.hw * s.c + from + first;
  for (int p = lane, i = 0; p < end; p += a.lanes, i += hop)
    copy_async(held + i * VEC, x + (size_t)p * s.c, true);
  copy_commit();
  load_floats(w, weight + from + first);
  load_floats(b, bias + from + first);
  if (shift)
    load_vector(v, shift + blockIdx.y * s.c + from + first);
  copy_wait<0>();
  /* every thread reads its own alone, so no barrier */
  for (int p = lane, i = 0; p < end; p += a.lanes, i += hop) {
    float f[VEC];

    load_vector(f, held + i * VEC);
#pragma unroll
    for (int j = 0; j < VEC; j++)
      sum[j] += f[j] + v[j];
  }
  group_sums(sums, part, sum, first, per, a.groups);
  spread(m, sums, first, per);
#pragma unroll
  for (int j = 0; j < VEC; j++)
    m[j] = m[j] / count - v[j];
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
                               const T *__restrict__ shift, const float *__restrict__ mean,
                               const float *__restrict__ rstd, const float *__restrict__ weight,
                               const float *__restrict__ bias, const T *other, ti_groupnorm_shape s,
                               cut a)
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
  take_shift(m, shift ? shift + blockIdx.y * s.c + from + first : NULL);
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
  other += other ? (size_t)blockIdx.y * s.hw * s.c + from + first : 0;
  for (int p = lane, i = 0; p < end; p += a.lanes, i += hop) {
    float f[VEC], d[VEC];
    vector<T, VEC> o = {};

    if (other)
      o = *(const vector<T, VEC> *)(other + (size_t)p * s.c);
    load_vector(f, x_held + i * VEC);
    load_vector(d, dy_held + i * VEC);
    unfold<T>(d, f, m, r, w, b, s.silu);
    fold(d, f, r, w, g, gx, o);
    store_vector(dx + (size_t)p * s.c, d);
  }
}

// ------------------------------------------------------------------ launchers

/* false: a block cannot hold all pixels of as many groups as make up whole vectors */
static bool cut_whole(cut *a, const ti_groupnorm_shape *s, int count)
{
  const int per = s->c / s->groups;

  *a = cut{};
  a->groups = 1;
  while (a->groups * per % count)
    a->groups++;
  a->columns = a->step = a->groups * per / count;
  if (a->columns > WHOLE_THREADS || (size_t)s->hw * a->columns > WHOLE_VECTORS)
    return false;
  const size_t turns = ti_ceil_div(s->hw, WHOLE_THREADS / a->columns);

  a->lanes = (int)ti_ceil_div(s->hw, turns);
  return true;
}

static dim3 whole_grid(const ti_groupnorm_shape *s, const cut &a)
{
  return dim3((unsigned)(s->groups / a.groups), (unsigned)s->n);
}

bool ti_cuda_groupnorm_is_whole(ti_dtype dtype, const ti_groupnorm_shape *s)
{
  cut a;

  return cut_whole(&a, s, 16 / (int)ti_dtype_size(dtype));
}

textinv_status ti_cuda_groupnorm_whole_fwd(ti_exec *e, ti_dtype dtype, void *y, float *mean,
                                           float *rstd, const void *x, const void *shift,
                                           const float *weight, const float *bias,
                                           const ti_groupnorm_shape *s)
{
  cut a;

  cut_whole(&a, s, 16 / (int)ti_dtype_size(dtype));
  TI_WITH_DTYPE(dtype, return launch(e, "groupnorm_whole_fwd",
                                     groupnorm_whole_fwd_kernel<T, lanes<T>::count>,
                                     whole_grid(s, a), a.threads(), (size_t)s->hw * a.columns * 16,
                                     (T *)y, mean, rstd, (const T *)x, (const T *)shift, weight,
                                     bias, *s, a));
}

textinv_status ti_cuda_groupnorm_whole_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                           const void *x, const void *shift, const float *mean,
                                           const float *rstd, const float *weight,
                                           const float *bias, const void *other,
                                           const ti_groupnorm_shape *s)
{
  cut a;

  cut_whole(&a, s, 16 / (int)ti_dtype_size(dtype));
  TI_WITH_DTYPE(dtype, return launch(e, "groupnorm_whole_bwd",
                                     groupnorm_whole_bwd_kernel<T, lanes<T>::count>,
                                     whole_grid(s, a), a.threads(),
                                     2 * (size_t)s->hw * a.columns * 16, (T *)dx, (const T *)dy,
                                     (const T *)x, (const T *)shift, mean, rstd, weight, bias,
                                     (const T *)other, *s, a));
}
