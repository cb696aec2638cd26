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

static void fwd_row(const void *user, size_t r)
{
  const ti_args *args = user;
  const size_t c = ((const ti_geglu_shape *)args->s)->c;

  for (size_t i = 0; i < c; i++) {
    const double a = ti_load(args->dtype, args->x, 2 * r * c + i);
    const double b = ti_load(args->dtype, args->x, 2 * r * c + c + i);

    ti_store(args->dtype, args->out, r * c + i, (float)(a * b * normal_cdf(b)));
  }
}

static void bwd_row(const void *user, size_t r)
{
  const ti_args *args = user;
  const size_t c = ((const ti_geglu_shape *)args->s)->c;

  for (size_t i = 0; i < c; i++) {
    const size_t a_at = 2 * r * c + i, b_at = a_at + c;
    const double a = ti_load(args->dtype, args->x, a_at), b = ti_load(args->dtype, args->x, b_at);
    const double g = ti_load(args->dtype, args->dy, r * c + i), cdf = normal_cdf(b);

    ti_store(args->dtype, args->out, a_at, (float)(g * b * cdf));
    ti_store(args->dtype, args->out, b_at,
             (float)(g * a * (cdf + b * 0.39894228040143268 * exp(-0.5 * b * b))));
  }
}

textinv_status ti_cpu_geglu_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                const ti_geglu_shape *s)
{
  ti_for(e, (size_t)2 * s->rows * s->c, s->rows, fwd_row, &(ti_args){ dtype, y, x, .s = s });
  return TEXTINV_OK;
}

textinv_status ti_cpu_geglu_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy, const void *x,
                                const ti_geglu_shape *s)
{
  ti_for(e, (size_t)2 * s->rows * s->c, s->rows, bwd_row,
         &(ti_args){ dtype, dx, x, .s = s, .dy = dy });
  return TEXTINV_OK;
}
