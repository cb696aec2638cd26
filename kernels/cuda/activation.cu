/* SiLU, GELU and quick GELU of single values, and GEGLU. Formulas: kernels/cpu/activation.c. */
#include "common.cuh"

// ------------------------------------------------------------------ kernels

static __device__ __forceinline__ float gelu_cdf(float x)
{
  return 0.5f * erfcf(-x * 0.70710678118654752f);
}

static __device__ __forceinline__ float gelu_slope(float x)
{
  return gelu_cdf(x) + x * 0.39894228040143268f * expf(-0.5f * x * x);
}

static __device__ __forceinline__ float activate(float x, int kind)
{
  if (kind == TI_GELU)
    return x * gelu_cdf(x);
  return x / (1.0f + expf(kind == TI_SILU ? -x : -1.702f * x));
}

static __device__ __forceinline__ float activation_slope(float x, int kind)
{
  if (kind == TI_GELU)
    return gelu_slope(x);
  const float a = kind == TI_SILU ? 1.0f : 1.702f, p = 1.0f / (1.0f + expf(-a * x));

  return p * (1.0f + a * x * (1.0f - p));
}

template <typename T, int VEC>
static __global__ void activation_fwd_kernel(T *y, const T *x, size_t vectors, int kind)
{
  for (size_t v = grid_index(); v < vectors; v += grid_step()) {
    float f[VEC];

    load_vector(f, x + v * VEC);
#pragma unroll
    for (int i = 0; i < VEC; i++)
      f[i] = activate(f[i], kind);
    store_vector(y + v * VEC, f);
  }
}

template <typename T, int VEC>
static __global__ void activation_bwd_kernel(T *dx, const T *dy, const T *x, size_t vectors,
                                             int kind)
{
  for (size_t v = grid_index(); v < vectors; v += grid_step()) {
    float f[VEC], d[VEC];

    load_vector(f, x + v * VEC);
    load_vector(d, dy + v * VEC);
#pragma unroll
    for (int i = 0; i < VEC; i++)
      d[i] *= activation_slope(f[i], kind);
    store_vector(dx + v * VEC, d);
  }
}

template <typename T, int VEC>
static __global__ void geglu_fwd_kernel(T *__restrict__ y, const T *__restrict__ x,
                                        ti_geglu_shape s)
{
  const int columns = s.c / VEC;

  for (size_t v = grid_index(); v < (size_t)s.rows * columns; v += grid_step()) {
    const T *row = x + v / columns * 2 * s.c + v % columns * VEC;
    float a[VEC], b[VEC];

    load_vector(a, row);
    load_vector(b, row + s.c);
#pragma unroll
    for (int i = 0; i < VEC; i++)
      a[i] *= activate(b[i], TI_GELU);
    store_vector(y + v * VEC, a);
  }
}

template <typename T, int VEC>
static __global__ void geglu_bwd_kernel(T *__restrict__ dx, const T *__restrict__ dy,
                                        const T *__restrict__ x, ti_geglu_shape s)
{
  const int columns = s.c / VEC;

  for (size_t v = grid_index(); v < (size_t)s.rows * columns; v += grid_step()) {
    const size_t at = v / columns * 2 * s.c + v % columns * VEC;
    float a[VEC], b[VEC], d[VEC];

    load_vector(a, x + at);
    load_vector(b, x + at + s.c);
    load_vector(d, dy + v * VEC);
#pragma unroll
    for (int i = 0; i < VEC; i++) {
      const float gate = activate(b[i], TI_GELU);

      b[i] = d[i] * a[i] * gelu_slope(b[i]);
      a[i] = d[i] * gate;
    }
    store_vector(dx + at, a);
    store_vector(dx + at + s.c, b);
  }
}

// ------------------------------------------------------------------ launchers

template <typename T> static int is_vector(size_t count, const void *a, const void *b,
                                           const void *c)
{
  return count % lanes<T>::count == 0 && ti_aligned(a, 16) && ti_aligned(b, 16) &&
         ti_aligned(c, 16);
}

extern "C" textinv_status ti_cuda_activation_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                                 const ti_activation_shape *s)
{
  TI_WITH_DTYPE(dtype,
                const int wide = is_vector<T>(s->count, x, y, y);
                const size_t vectors = wide ? s->count / lanes<T>::count : s->count;
                return launch(e, "activation_fwd",
                              wide ? activation_fwd_kernel<T, lanes<T>::count>
                                   : activation_fwd_kernel<T, 1>,
                              ti_flat_blocks(vectors), TI_FLAT_THREADS, 0, (T *)y, (const T *)x,
                              vectors, (int)s->kind));
}

extern "C" textinv_status ti_cuda_activation_bwd(ti_exec *e, ti_dtype dtype, void *dx,
                                                 const void *dy, const void *x,
                                                 const ti_activation_shape *s)
{
  TI_WITH_DTYPE(dtype,
                const int wide = is_vector<T>(s->count, x, dy, dx);
                const size_t vectors = wide ? s->count / lanes<T>::count : s->count;
                return launch(e, "activation_bwd",
                              wide ? activation_bwd_kernel<T, lanes<T>::count>
                                   : activation_bwd_kernel<T, 1>,
                              ti_flat_blocks(vectors), TI_FLAT_THREADS, 0, (T *)dx, (const T *)dy,
                              (const T *)x, vectors, (int)s->kind));
}

extern "C" textinv_status ti_cuda_geglu_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                            const ti_geglu_shape *s)
{
  TI_WITH_DTYPE(dtype,
                const int wide = is_vector<T>((size_t)s->c, x, y, y);
                const size_t vectors = (size_t)s->rows * s->c / (wide ? lanes<T>::count : 1);
                return launch(e, "geglu_fwd",
                              wide ? geglu_fwd_kernel<T, lanes<T>::count> : geglu_fwd_kernel<T, 1>,
                              ti_flat_blocks(vectors), TI_FLAT_THREADS, 0, (T *)y, (const T *)x,
                              *s));
}

extern "C" textinv_status ti_cuda_geglu_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                            const void *x, const ti_geglu_shape *s)
{
  TI_WITH_DTYPE(dtype,
                const int wide = is_vector<T>((size_t)s->c, x, dy, dx);
                const size_t vectors = (size_t)s->rows * s->c / (wide ? lanes<T>::count : 1);
                return launch(e, "geglu_bwd",
                              wide ? geglu_bwd_kernel<T, lanes<T>::count> : geglu_bwd_kernel<T, 1>,
                              ti_flat_blocks(vectors), TI_FLAT_THREADS, 0, (T *)dx, (const T *)dy,
                              (const T *)x, *s));
}
