/*
 * Gated GELU, the reference: x = [a | b], 2 c values a row.
 *
 *   fwd: y = a gelu(b)
 *   bwd: da = dy gelu(b)        db = dy a (Phi(b) + b phi(b))        x is saved
 */
#include "cpu.h"

#include <math.h>

static double normal_cdf(double b)
{
  return 0.5 * erfc(-b * 0.70710678118654752);
}

typedef struct job {
  ti_dtype dtype;
  void *out;
  const void *dy, *x;
  size_t c;
} job;

static void fwd_rows(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;
  const size_t c = j->c;

  (void)thread;
  for (size_t r = from; r < to; r++) {
    for (size_t i = 0; i < c; i++) {
      const double a = ti_load(j->dtype, j->x, 2 * r * c + i);
      const double b = ti_load(j->dtype, j->x, 2 * r * c + c + i);

      ti_store(j->dtype, j->out, r * c + i, (float)(a * b * normal_cdf(b)));
    }
  }
}

static void bwd_rows(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;
  const size_t c = j->c;

  (void)thread;
  for (size_t r = from; r < to; r++) {
    for (size_t i = 0; i < c; i++) {
      const size_t a_at = 2 * r * c + i, b_at = a_at + c;
      const double a = ti_load(j->dtype, j->x, a_at), b = ti_load(j->dtype, j->x, b_at);
      const double g = ti_load(j->dtype, j->dy, r * c + i), cdf = normal_cdf(b);

      ti_store(j->dtype, j->out, a_at, (float)(g * b * cdf));
      ti_store(j->dtype, j->out, b_at,
               (float)(g * a * (cdf + b * 0.39894228040143268 * exp(-0.5 * b * b))));
    }
  }
}

textinv_status ti_cpu_geglu_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                const ti_geglu_shape *s)
{
  job j = { dtype, y, NULL, x, s->c };

  ti_for(e, 2 * s->rows * j.c, s->rows, fwd_rows, &j);
  return TEXTINV_OK;
}

textinv_status ti_cpu_geglu_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy, const void *x,
                                const ti_geglu_shape *s)
{
  job j = { dtype, dx, dy, x, s->c };

  ti_for(e, 2 * s->rows * j.c, s->rows, bwd_rows, &j);
  return TEXTINV_OK;
}
