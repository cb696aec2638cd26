/* Operations that only move values, the reference: columns of rows, rows by index, casts. */
#include "cpu.h"

#include <string.h>

textinv_status ti_cpu_copy_columns(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                   const ti_copy_columns_shape *s)
{
  const size_t size = ti_dtype_size(dtype);

#pragma omp parallel for num_threads(ti_threads(e, (size_t)s->rows * s->count))
  for (int r = 0; r < s->rows; r++)
    memcpy((char *)y + ((size_t)r * s->y_c + s->y_from) * size,
           (const char *)x + ((size_t)r * s->x_c + s->x_from) * size, s->count * size);
  return TEXTINV_OK;
}

textinv_status ti_cpu_gather_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                 const int32_t *index, const ti_gather_shape *s)
{
  const size_t row = s->c * ti_dtype_size(dtype);

  (void)e;
  for (int n = 0; n < s->n; n++)
    memcpy((char *)y + n * row, (const char *)x + ((size_t)n * s->tokens + index[n]) * row, row);
  return TEXTINV_OK;
}

textinv_status ti_cpu_gather_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                 const int32_t *index, const ti_gather_shape *s)
{
  const size_t row = s->c * ti_dtype_size(dtype);

  (void)e;
  memset(dx, 0, (size_t)s->n * s->tokens * row);
  for (int n = 0; n < s->n; n++)
    memcpy((char *)dx + ((size_t)n * s->tokens + index[n]) * row, (const char *)dy + n * row, row);
  return TEXTINV_OK;
}

textinv_status ti_cpu_cast(ti_exec *e, ti_dtype y_dtype, void *y, ti_dtype x_dtype, const void *x,
                           size_t count)
{
  enum { CHUNK = 1 << 16 };
  const size_t y_size = ti_dtype_size(y_dtype), x_size = ti_dtype_size(x_dtype);

#pragma omp parallel for num_threads(ti_threads(e, count))
  for (size_t i = 0; i < count; i += CHUNK)
    ti_convert(y_dtype, (char *)y + i * y_size, x_dtype, (const char *)x + i * x_size,
               count - i < CHUNK ? count - i : CHUNK);
  return TEXTINV_OK;
}
