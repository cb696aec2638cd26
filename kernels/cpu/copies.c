/* Operations that only move values, the reference: columns of rows, rows by index, casts. */
#include "cpu.h"

#include <string.h>

static void copy_row(const void *user, size_t r)
{
  const ti_args *a = user;
  const ti_copy_columns_shape *s = a->s;
  const size_t size = ti_dtype_size(a->dtype);

  memcpy((char *)a->out + (r * s->y_c + s->y_from) * size,
         (const char *)a->x + (r * s->x_c + s->x_from) * size, s->count * size);
}

textinv_status ti_cpu_copy_columns(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                   const ti_copy_columns_shape *s)
{
  ti_for(e, (size_t)s->rows * s->count, s->rows, copy_row, &(ti_args){ dtype, y, x, .s = s });
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

typedef struct conversion {
  ti_dtype y_dtype, x_dtype;
  char *y;
  const char *x;
} conversion;

static void convert_range(const void *user, size_t from, size_t to)
{
  const conversion *k = user;

  ti_convert(k->y_dtype, k->y + from * ti_dtype_size(k->y_dtype), k->x_dtype,
             k->x + from * ti_dtype_size(k->x_dtype), to - from);
}

textinv_status ti_cpu_cast(ti_exec *e, ti_dtype y_dtype, void *y, ti_dtype x_dtype, const void *x,
                           size_t count)
{
  ti_for_values(e, count, convert_range, &(conversion){ y_dtype, x_dtype, y, x });
  return TEXTINV_OK;
}
