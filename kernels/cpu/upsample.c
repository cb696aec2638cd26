/*
 * Nearest-neighbour upsampling by two over NHWC, the reference.
 *
 *   fwd: y[n, y, x, c] = x[n, y / 2, x / 2, c]        bwd: dx = sum of the four dy
 */
#include "cpu.h"

#include <string.h>

static void fwd_row(const void *user, size_t r)
{
  const ti_args *a = user;
  const ti_upsample_shape *s = a->s;
  const size_t w = s->w, pixel = s->c * ti_dtype_size(a->dtype);
  char *y = (char *)a->out + r * 2 * w * pixel;
  const char *x = (const char *)a->x + r / 2 * w * pixel;

  for (size_t i = 0; i < 2 * w; i++)
    memcpy(y + i * pixel, x + i / 2 * pixel, pixel);
}

static void bwd_row(const void *user, size_t r)
{
  const ti_args *a = user;
  const ti_upsample_shape *s = a->s;
  const size_t c = s->c, width = s->w * c, row = 2 * width;

  for (size_t i = 0; i < width; i++) {
    const size_t at = 2 * r * row + i / c * 2 * c + i % c;
    const double sum = (double)ti_load(a->dtype, a->dy, at) + ti_load(a->dtype, a->dy, at + c) +
                       ti_load(a->dtype, a->dy, at + row) + ti_load(a->dtype, a->dy, at + row + c);

    ti_store(a->dtype, a->out, r * width + i, (float)sum);
  }
}

textinv_status ti_cpu_upsample_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                   const ti_upsample_shape *s)
{
  const size_t rows = (size_t)2 * s->n * s->h;

  ti_for(e, 2 * rows * s->w * s->c, rows, fwd_row, &(ti_args){ dtype, y, x, .s = s });
  return TEXTINV_OK;
}

textinv_status ti_cpu_upsample_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                   const ti_upsample_shape *s)
{
  const size_t rows = (size_t)s->n * s->h;

  ti_for(e, 4 * rows * s->w * s->c, rows, bwd_row, &(ti_args){ dtype, dx, .s = s, .dy = dy });
  return TEXTINV_OK;
}
