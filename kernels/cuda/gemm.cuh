/* What the kernels of the matrix product share: where a and b lie, and the sum over splits of k. */
#ifndef TI_CUDA_GEMM_CUH
#define TI_CUDA_GEMM_CUH

#include "common.cuh"
#include "gemm.h"

// ------------------------------------------------------------------ addresses

/* first value of the sample of row m of a, and where its window begins */
struct gemm_row {
  size_t from;
  int y, x;
  bool inside;
};

/* m < 0: outside */
template <bool BWD>
static __device__ __forceinline__ gemm_row row_of(const gemm_problem &p, int m)
{
  const int x = m % p.out_w, y = m / p.out_w % p.out_h, n = m / p.out_w / p.out_h;
  gemm_row r;

  r.from = (size_t)n * p.h * p.w * p.channels;
  r.y = BWD ? y * p.up + p.pad_top : y * p.stride - p.pad_top;
  r.x = BWD ? x * p.up + p.pad_left : x * p.stride - p.pad_left;
  r.inside = m >= 0 && m < p.m;
  return r;
}

/*
 * Offset of channel c of the pixel that tap of row r reads; false outside the image. Backward there
 * are up * up windows one after the other: an input pixel was read through each of its copies.
 */
template <bool BWD>
static __device__ __forceinline__ bool offset_of(size_t *at, const gemm_problem &p,
                                                 const gemm_row &r, int tap, int c)
{
  int y, x;

  if (BWD) {
    const int window = tap / (p.kh * p.kw), t = tap % (p.kh * p.kw);

    y = r.y + window / p.up - t / p.kw;
    x = r.x + window % p.up - t % p.kw;
    if (y < 0 || x < 0 || y % p.stride || x % p.stride)
      return false;
    y /= p.stride;
    x /= p.stride;
    if (y >= p.h || x >= p.w)
      return false;
  } else {
    y = r.y + tap / p.kw;
    x = r.x + tap % p.kw;
    if (y < 0 || x < 0 || y >= p.h * p.up || x >= p.w * p.up)
      return false;
    y /= p.up;
    x /= p.up;
  }
  *at = r.from + ((size_t)y * p.w + x) * p.channels + c;
  return r.inside;
}

/* offset of b[n, k] */
template <bool BWD>
static __device__ __forceinline__ size_t weight_at(const gemm_problem &p, int n, int k)
{
  const int taps = p.kh * p.kw;

  return BWD ? ((size_t)(k % p.channels) * taps + k / p.channels % taps) * p.n + n
             : (size_t)n * p.k + k;
}

// ------------------------------------------------------------------ splits

/* y = f + bias + residual for four values of a row from at = m p.n + n; p.n is a multiple of 4 */
template <typename T>
static __device__ __forceinline__ void write_four(const gemm_buffers &io, size_t at, int n,
                                                  float4 f)
{
  if (io.bias) {
    const float4 bias = *(const float4 *)(io.bias + n);

    f.x += bias.x;
    f.y += bias.y;
    f.z += bias.z;
    f.w += bias.w;
  }
  if (io.residual) {
    const uint2 four = *(const uint2 *)((const T *)io.residual + at);
    const T *r = (const T *)&four;

    f.x += to_float(r[0]);
    f.y += to_float(r[1]);
    f.z += to_float(r[2]);
    f.w += to_float(r[3]);
  }
  *(uint2 *)((T *)io.y + at) = uint2{ pack(f.x, f.y, T()), pack(f.z, f.w, T()) };
}

template <typename T>
static __global__ void gemm_sum_four_kernel(gemm_buffers io, gemm_problem p)
{
  const size_t count = (size_t)p.m * p.n;

  for (size_t i = grid_index() * 4; i < count; i += grid_step() * 4) {
    float4 f = *(const float4 *)(io.partial + i);

    for (int s = 1; s < p.splits; s++) {
      const float4 part = *(const float4 *)(io.partial + s * count + i);

      f.x += part.x;
      f.y += part.y;
      f.z += part.z;
      f.w += part.w;
    }
    write_four<T>(io, i, (int)((unsigned)(i / 4) % (unsigned)(p.n / 4)) * 4, f);
  }
}

template <typename T>
static __global__ void gemm_sum_kernel(gemm_buffers io, gemm_problem p)
{
  const size_t count = (size_t)p.m * p.n;

  for (size_t i = grid_index(); i < count; i += grid_step()) {
    float f = 0.0f;

    for (int s = 0; s < p.splits; s++)
      f += io.partial[s * count + i];
    if (io.bias)
      f += io.bias[i % p.n];
    if (io.residual)
      f += to_float(((const T *)io.residual)[i]);
    from_float((T *)io.y + i, f);
  }
}

/* four values a thread, where they are aligned */
template <typename T>
static textinv_status gemm_sum(ti_exec *e, const gemm_buffers &io, const gemm_problem &p)
{
  const bool wide = p.n % 4 == 0 && ti_aligned(io.y, 8) && ti_aligned(io.residual, 8) &&
                    ti_aligned(io.bias, 16);

  return launch(e, "gemm_sum", wide ? gemm_sum_four_kernel<T> : gemm_sum_kernel<T>,
                ti_flat_blocks((size_t)p.m * p.n / (wide ? 4 : 1)), TI_FLAT_THREADS, 0, io, p);
}

#endif /* TI_CUDA_GEMM_CUH */
