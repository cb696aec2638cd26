/*
 * Nearest-neighbour upsampling by two over NHWC, the reference.
 *
 *   fwd: y[n, y, x, c] = x[n, y / 2, x / 2, c]        bwd: dx = sum of the four dy
 */
#include "cpu.h"

#include <string.h>

typedef struct job {
  ti_dtype dtype;
  void *out;
  const void *in;
  size_t w, c; /* of x */
} job;

static void fwd_rows(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;
  const size_t pixel = j->c * ti_dtype_size(j->dtype);

  (void)thread;
  for (size_t r = from; r < to; r++) {
    char *y = (char *)j->out + r * 2 * j->w * pixel;
    const char *x = (const char *)j->in + r / 2 * j->w * pixel;

    for (size_t i = 0; i < 2 * j->w; i++)
      memcpy(y + i * pixel, x + i / 2 * pixel, pixel);
  }
}

static void bwd_rows(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;
  const size_t c = j->c, row = 2 * j->w * c;

  (void)thread;
  for (size_t r = from; r < to; r++) {
    for (size_t i = 0; i < j->w * c; i++) {
      const size_t at = 2 * r * row + i / c * 2 * c + i % c;
      const double sum = (double)ti_load(j->dtype, j->in, at) + ti_load(j->dtype, j->in, at + c) +
                         ti_load(j->dtype, j->in, at + row) +
                         ti_load(j->dtype, j->in, at + row + c);

      ti_store(j->dtype, j->out, r * j->w * c + i, (float)sum);
    }
  }
}

textinv_status ti_cpu_upsample_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                   const ti_upsample_shape *s)
{
  const size_t rows = (size_t)2 * s->n * s->h;
  job j = { dtype, y, x, s->w, s->c };

  ti_for(e, rows * 2 * j.w * j.c, rows, fwd_rows, &j);
  return TEXTINV_OK;
}

textinv_status ti_cpu_upsample_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                   const ti_upsample_shape *s)
{
  const size_t rows = (size_t)s->n * s->h;
  job j = { dtype, dx, dy, s->w, s->c };

  ti_for(e, rows * 4 * j.w * j.c, rows, bwd_rows, &j);
  return TEXTINV_OK;
}
