/* Copies: columns of rows (concat and split), a row of each sample, another storage type. */
#include "common.cuh"

// ------------------------------------------------------------------ kernels

/* U is what one thread moves: 1, 2, 4, 8 or 16 bytes; sizes and offsets are in U */
template <typename U>
static __global__ void copy_columns_kernel(U *__restrict__ y, const U *__restrict__ x,
                                           ti_copy_columns_shape s)
{
  for (size_t i = grid_index(); i < (size_t)s.rows * s.count; i += grid_step()) {
    const size_t row = i / s.count, c = i % s.count;

    y[row * s.y_c + s.y_from + c] = x[row * s.x_c + s.x_from + c];
  }
}

template <typename U>
static __global__ void gather_fwd_kernel(U *__restrict__ y, const U *__restrict__ x,
                                         const int32_t *__restrict__ index, ti_gather_shape s)
{
  for (size_t i = grid_index(); i < (size_t)s.n * s.c; i += grid_step()) {
    const size_t n = i / s.c, c = i % s.c;

    y[i] = x[(n * s.tokens + index[n]) * s.c + c];
  }
}

template <typename U>
static __global__ void gather_bwd_kernel(U *__restrict__ dx, const U *__restrict__ dy,
                                         const int32_t *__restrict__ index, ti_gather_shape s)
{
  const size_t sample = (size_t)s.tokens * s.c;

  for (size_t i = grid_index(); i < s.n * sample; i += grid_step()) {
    const size_t n = i / sample, token = i % sample / s.c;

    dx[i] = token == (size_t)index[n] ? dy[n * s.c + i % s.c] : U();
  }
}

template <typename Y, typename X>
static __global__ void cast_kernel(Y *__restrict__ y, const X *__restrict__ x, size_t count)
{
  for (size_t i = grid_index(); i < count; i += grid_step())
    from_float(&y[i], to_float(x[i]));
}

// ------------------------------------------------------------------ launchers

/* the widest unit that divides a, in values of size bytes; 16 bytes at most */
static int unit_of(size_t size, const void *p, const void *q, size_t a)
{
  int unit = 1;

  while (unit * size < 16 && a % (2 * unit) == 0 && ti_aligned(p, 2 * unit * size) &&
         ti_aligned(q, 2 * unit * size))
    unit *= 2;
  return unit;
}

/* run a statement with U bound to an unsigned type of bytes */
#define WITH_UNIT(bytes, ...)                              \
  switch (bytes) {                                         \
  case 2:  { typedef uint16_t U; __VA_ARGS__; break; }     \
  case 4:  { typedef uint32_t U; __VA_ARGS__; break; }     \
  case 8:  { typedef uint2 U; __VA_ARGS__; break; }        \
  default: { typedef uint4 U; __VA_ARGS__; break; }        \
  }

extern "C" textinv_status ti_cuda_copy_columns(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                               const ti_copy_columns_shape *s)
{
  const size_t size = ti_dtype_size(dtype);
  const int unit = unit_of(size, y, x,
                           (size_t)(s->count | s->y_c | s->y_from | s->x_c | s->x_from));
  const ti_copy_columns_shape u = { s->rows,          s->count / unit, s->y_c / unit,
                                    s->y_from / unit, s->x_c / unit,   s->x_from / unit };

  WITH_UNIT(unit * size, return launch(e, "copy_columns", copy_columns_kernel<U>,
                                       ti_flat_blocks((size_t)u.rows * u.count), TI_FLAT_THREADS, 0,
                                       (U *)y, (const U *)x, u));
}

extern "C" textinv_status ti_cuda_gather_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                             const int32_t *index, const ti_gather_shape *s)
{
  const size_t size = ti_dtype_size(dtype);
  const int unit = unit_of(size, y, x, (size_t)s->c);
  const ti_gather_shape u = { s->n, s->tokens, s->c / unit };

  WITH_UNIT(unit * size, return launch(e, "gather_fwd", gather_fwd_kernel<U>,
                                       ti_flat_blocks((size_t)u.n * u.c), TI_FLAT_THREADS, 0,
                                       (U *)y, (const U *)x, index, u));
}

extern "C" textinv_status ti_cuda_gather_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                             const int32_t *index, const ti_gather_shape *s)
{
  const size_t size = ti_dtype_size(dtype);
  const int unit = unit_of(size, dx, dy, (size_t)s->c);
  const ti_gather_shape u = { s->n, s->tokens, s->c / unit };

  WITH_UNIT(unit * size, return launch(e, "gather_bwd", gather_bwd_kernel<U>,
                                       ti_flat_blocks((size_t)u.n * u.tokens * u.c),
                                       TI_FLAT_THREADS, 0, (U *)dx, (const U *)dy, index, u));
}

template <typename Y>
static textinv_status cast_to(ti_exec *e, Y *y, ti_dtype x_dtype, const void *x, size_t count)
{
  TI_WITH_DTYPE(x_dtype, return launch(e, "cast", cast_kernel<Y, T>, ti_flat_blocks(count),
                                       TI_FLAT_THREADS, 0, y, (const T *)x, count));
}

extern "C" textinv_status ti_cuda_cast(ti_exec *e, ti_dtype y_dtype, void *y, ti_dtype x_dtype,
                                       const void *x, size_t count)
{
  TI_WITH_DTYPE(y_dtype, return cast_to(e, (T *)y, x_dtype, x, count));
}
