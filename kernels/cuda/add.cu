/* Sums: of two tensors, of a vector to every pixel, and of gradients over pixels. */
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

template <typename T, int VEC>
static __global__ void add_channels_kernel(T *y, const T *x, const T *__restrict__ v,
                                           ti_add_channels_shape s)
{
  const int columns = s.c / VEC;

  for (size_t j = grid_index(); j < (size_t)s.n * s.hw * columns; j += grid_step()) {
    const size_t n = j / columns / s.hw;
    float p[VEC], q[VEC];

    load_vector(p, x + j * VEC);
    load_vector(q, v + n * s.c + j % columns * VEC);
#pragma unroll
    for (int i = 0; i < VEC; i++)
      p[i] += q[i];
    store_vector(y + j * VEC, p);
  }
}

/* one block 32 channels of a sample; 8 warps share the pixels */
template <typename T>
static __global__ void add_channels_bwd_kernel(T *__restrict__ dv, const T *__restrict__ dy,
                                               ti_add_channels_shape s)
{
  __shared__ float part[8][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, c = blockIdx.x * 32 + lane;
  float sum = 0.0f;

  dy += (size_t)blockIdx.y * s.hw * s.c;
  for (int p = warp; c < s.c && p < s.hw; p += 8)
    sum += to_float(dy[(size_t)p * s.c + c]);
  part[warp][lane] = sum;
  __syncthreads();
  if (warp == 0 && c < s.c) {
    for (int i = 1; i < 8; i++)
      sum += part[i][lane];
    from_float(&dv[(size_t)blockIdx.y * s.c + c], sum);
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

extern "C" textinv_status ti_cuda_add_channels_fwd(ti_exec *e, ti_dtype dtype, void *y,
                                                   const void *x, const void *v,
                                                   const ti_add_channels_shape *s)
{
  TI_WITH_DTYPE(dtype,
                const int wide = s->c % lanes<T>::count == 0 && ti_aligned(y, 16) &&
                                 ti_aligned(x, 16) && ti_aligned(v, 16);
                const size_t vectors = (size_t)s->n * s->hw * s->c / (wide ? lanes<T>::count : 1);
                return launch(e, "add_channels_fwd",
                              wide ? add_channels_kernel<T, lanes<T>::count>
                                   : add_channels_kernel<T, 1>,
                              ti_flat_blocks(vectors), TI_FLAT_THREADS, 0, (T *)y, (const T *)x,
                              (const T *)v, *s));
}

extern "C" textinv_status ti_cuda_add_channels_bwd(ti_exec *e, ti_dtype dtype, void *dv,
                                                   const void *dy, const ti_add_channels_shape *s)
{
  const dim3 grid((unsigned)ti_ceil_div((size_t)s->c, 32), (unsigned)s->n);

  TI_WITH_DTYPE(dtype, return launch(e, "add_channels_bwd", add_channels_bwd_kernel<T>, grid, 256,
                                     0, (T *)dv, (const T *)dy, *s));
}
