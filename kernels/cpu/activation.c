/*
 * Activations, the reference.
 *
 *   silu: x s(x)      gelu: x Phi(x)      quick gelu: x s(1.702 x)      s(x) = 1 / (1 + exp(-x))
 *   bwd:  dx = dy f'(x); x is saved
 */
#include "cpu.h"

#include <math.h>

static double value(ti_activation kind, double x)
{
  switch (kind) {
  case TI_GELU: return 0.5 * x * erfc(-x * 0.70710678118654752);
  case TI_QUICK_GELU: return x / (1.0 + exp(-1.702 * x));
  default: return x / (1.0 + exp(-x));
  }
}

static double slope(ti_activation kind, double x)
{
  const double k = kind == TI_QUICK_GELU ? 1.702 : 1.0;
  double s;

  if (kind == TI_GELU)
    return 0.5 * erfc(-x * 0.70710678118654752) + x * 0.39894228040143268 * exp(-0.5 * x * x);
  s = 1.0 / (1.0 + exp(-k * x));
  return s * (1.0 + k * x * (1.0 - s));
}

static void fwd_range(const void *user, size_t from, size_t to)
{
  const ti_args *a = user;
  const ti_activation_shape *s = a->s;

  for (size_t i = from; i < to; i++)
    ti_store(a->dtype, a->out, i, (float)value(s->kind, ti_load(a->dtype, a->x, i)));
}

static void bwd_range(const void *user, size_t from, size_t to)
{
  const ti_args *a = user;
  const ti_activation_shape *s = a->s;

  for (size_t i = from; i < to; i++)
    ti_store(a->dtype, a->out, i,
             (float)(ti_load(a->dtype, a->dy, i) * slope(s->kind, ti_load(a->dtype, a->x, i))));
}

textinv_status ti_cpu_activation_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                     const ti_activation_shape *s)
{
  ti_for_values(e, s->count, fwd_range, &(ti_args){ dtype, y, x, .s = s });
  return TEXTINV_OK;
}

textinv_status ti_cpu_activation_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                     const void *x, const ti_activation_shape *s)
{
  ti_for_values(e, s->count, bwd_range, &(ti_args){ dtype, dx, x, .s = s, .dy = dy });
  return TEXTINV_OK;
}
