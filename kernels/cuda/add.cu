/* Sums: of two tensors, and over pixels. */
#include "common.cuh"

// ------------------------------------------------------------------ kernels

template <typename T, int VEC>
static __global__ void add_kernel(T *y, const T *a, const T *b, size_t vectors)
{
  for (size_t v = grid_index(); v < vectors; v += grid_step()) {
    float p[VEC], q[VEC];

    load_vector(p, a + v * VEC);
    load_vector(q, b + v * VEC);
#pragma unroll
    for (int i = 0; i < VEC; i++)
      p[i] += q[i];
    store_vector(y + v * VEC, p);
  }
}

/* one block 32 channels of a sample; 8 warps share the pixels */
template <typename T>
static __global__ void sum_pixels_kernel(T *__restrict__ v, const T *__restrict__ x,
                                         ti_sum_pixels_shape s)
{
  __shared__ float part[8][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, c = blockIdx.x * 32 + lane;
  float sum = 0.0f;

  x += (size_t)blockIdx.y * s.hw * s.c;
  for (int p = warp; c < s.c && p < s.hw; p += 8)
    sum += to_float(x[(size_t)p * s.c + c]);
  part[warp][lane] = sum;
  __syncthreads();
  if (warp == 0 && c < s.c) {
    for (int i = 1; i < 8; i++)
      sum += part[i][lane];
    from_float(&v[(size_t)blockIdx.y * s.c + c], sum);
  }
}

// ------------------------------------------------------------------ launchers

extern "C" textinv_status ti_cuda_add(ti_exec *e, ti_dtype dtype, void *y, const void *a,
                                      const void *b, size_t count)
{
  TI_WITH_DTYPE(dtype,
                const int wide = count % lanes<T>::count == 0 && ti_aligned(y, 16) &&
                                 ti_aligned(a, 16) && ti_aligned(b, 16);
                const size_t vectors = wide ? count / lanes<T>::count : count;
                return launch(e, "add", wide ? add_kernel<T, lanes<T>::count> : add_kernel<T, 1>,
                              ti_flat_blocks(vectors), TI_FLAT_THREADS, 0, (T *)y, (const T *)a,
                              (const T *)b, vectors));
}

extern "C" textinv_status ti_cuda_sum_pixels(ti_exec *e, ti_dtype dtype, void *v, const void *x,
                                             const ti_sum_pixels_shape *s)
{
  const dim3 grid((unsigned)ti_ceil_div((size_t)s->c, 32), (unsigned)s->n);

  TI_WITH_DTYPE(dtype, return launch(e, "sum_pixels", sum_pixels_kernel<T>, grid, 256, 0, (T *)v,
                                     (const T *)x, *s));
}
