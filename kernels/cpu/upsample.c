/*
 * Nearest-neighbour upsampling by two over NHWC, the reference.
 *
 *   fwd: y[n, y, x, c] = x[n, y / 2, x / 2, c]        bwd: dx = sum of the four dy
 */
#include "cpu.h"

#include <string.h>

textinv_status ti_cpu_upsample_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                   const ti_upsample_shape *s)
{
  const size_t pixel = s->c * ti_dtype_size(dtype);

#pragma omp parallel for num_threads(ti_threads(e, 4 * s->n * s->h * (s->w * (size_t)s->c)))
  for (int r = 0; r < s->n * s->h * 2; r++) {
    char *to = (char *)y + (size_t)r * 2 * s->w * pixel;
    const char *from = (const char *)x + (size_t)(r / 2) * s->w * pixel;

    for (int i = 0; i < 2 * s->w; i++)
      memcpy(to + i * pixel, from + i / 2 * pixel, pixel);
  }
  return TEXTINV_OK;
}

textinv_status ti_cpu_upsample_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                   const ti_upsample_shape *s)
{
  const size_t c = s->c, row = 2 * s->w * c;

#pragma omp parallel for num_threads(ti_threads(e, 2 * s->n * s->h * row))
  for (int r = 0; r < s->n * s->h; r++) {
    for (size_t i = 0; i < s->w * c; i++) {
      const size_t at = 2 * r * row + i / c * 2 * c + i % c;
      const double sum = (double)ti_load(dtype, dy, at) + ti_load(dtype, dy, at + c) +
                         ti_load(dtype, dy, at + row) + ti_load(dtype, dy, at + row + c);

      ti_store(dtype, dx, r * s->w * c + i, (float)sum);
    }
  }
  return TEXTINV_OK;
}
