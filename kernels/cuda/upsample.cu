/* Nearest neighbour upsampling by two, and its gradient. Formulas: kernels/cpu/upsample.c. */
#include "common.cuh"

// ------------------------------------------------------------------ kernels

template <typename T, int VEC>
static __global__ void upsample_fwd_kernel(T *__restrict__ y, const T *__restrict__ x,
                                           ti_upsample_shape s)
{
  const size_t columns = s.c / VEC, width = 2 * (size_t)s.w;

  for (size_t v = grid_index(); v < s.n * 2 * (size_t)s.h * width * columns; v += grid_step()) {
    const size_t c = v % columns * VEC, column = v / columns % width, row = v / columns / width;
    float f[VEC];

    /* rows of all samples: 2 h is even, so row / 2 never mixes two samples */
    load_vector(f, x + (row / 2 * s.w + column / 2) * s.c + c);
    store_vector(y + v * VEC, f);
  }
}

template <typename T, int VEC>
static __global__ void upsample_bwd_kernel(T *__restrict__ dx, const T *__restrict__ dy,
                                           ti_upsample_shape s)
{
  const size_t columns = s.c / VEC, width = 2 * (size_t)s.w;

  for (size_t v = grid_index(); v < (size_t)s.n * s.h * s.w * columns; v += grid_step()) {
    const size_t c = v % columns * VEC, column = v / columns % s.w, row = v / columns / s.w;
    float sum[VEC] = {};

#pragma unroll
    for (int k = 0; k < 4; k++) {
      float f[VEC];

      load_vector(f, dy + ((2 * row + k / 2) * width + 2 * column + k % 2) * s.c + c);
#pragma unroll
      for (int i = 0; i < VEC; i++)
        sum[i] += f[i];
    }
    store_vector(dx + v * VEC, sum);
  }
}

// ------------------------------------------------------------------ launchers

template <typename T> static int is_vector(const ti_upsample_shape *s, const void *a, const void *b)
{
  return s->c % lanes<T>::count == 0 && ti_aligned(a, 16) && ti_aligned(b, 16);
}

extern "C" textinv_status ti_cuda_upsample_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                               const ti_upsample_shape *s)
{
  const size_t count = 4 * (size_t)s->n * s->h * s->w * s->c;

  TI_WITH_DTYPE(dtype, return is_vector<T>(s, x, y)
                                  ? launch(e, "upsample_fwd",
                                           upsample_fwd_kernel<T, lanes<T>::count>,
                                           ti_flat_blocks(count / lanes<T>::count),
                                           TI_FLAT_THREADS, 0, (T *)y, (const T *)x, *s)
                                  : launch(e, "upsample_fwd", upsample_fwd_kernel<T, 1>,
                                           ti_flat_blocks(count), TI_FLAT_THREADS, 0, (T *)y,
                                           (const T *)x, *s));
}

extern "C" textinv_status ti_cuda_upsample_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                               const ti_upsample_shape *s)
{
  const size_t count = (size_t)s->n * s->h * s->w * s->c;

  TI_WITH_DTYPE(dtype, return is_vector<T>(s, dx, dy)
                                  ? launch(e, "upsample_bwd",
                                           upsample_bwd_kernel<T, lanes<T>::count>,
                                           ti_flat_blocks(count / lanes<T>::count),
                                           TI_FLAT_THREADS, 0, (T *)dx, (const T *)dy, *s)
                                  : launch(e, "upsample_bwd", upsample_bwd_kernel<T, 1>,
                                           ti_flat_blocks(count), TI_FLAT_THREADS, 0, (T *)dx,
                                           (const T *)dy, *s));
}
