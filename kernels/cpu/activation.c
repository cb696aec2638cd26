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

typedef struct job {
  ti_dtype dtype;
  ti_activation kind;
  void *out;
  const void *dy, *x;
} job;

static void fwd_range(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;

  (void)thread;
  for (size_t i = from; i < to; i++)
    ti_store(j->dtype, j->out, i, (float)value(j->kind, ti_load(j->dtype, j->x, i)));
}

static void bwd_range(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;

  (void)thread;
  for (size_t i = from; i < to; i++)
    ti_store(j->dtype, j->out, i,
             (float)(ti_load(j->dtype, j->dy, i) * slope(j->kind, ti_load(j->dtype, j->x, i))));
}

textinv_status ti_cpu_activation_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                     const ti_activation_shape *s)
{
  job j = { dtype, s->kind, y, NULL, x };

  ti_for(e, s->count, s->count, fwd_range, &j);
  return TEXTINV_OK;
}

textinv_status ti_cpu_activation_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                     const void *x, const ti_activation_shape *s)
{
  job j = { dtype, s->kind, dx, dy, x };

  ti_for(e, s->count, s->count, bwd_range, &j);
  return TEXTINV_OK;
}
