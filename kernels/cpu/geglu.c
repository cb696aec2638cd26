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

textinv_status ti_cpu_geglu_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                const ti_geglu_shape *s)
{
  const size_t c = s->c;

#pragma omp parallel for num_threads(ti_threads(e, 2 * s->rows * c))
  for (int r = 0; r < s->rows; r++) {
    for (size_t i = 0; i < c; i++) {
      const double a = ti_load(dtype, x, 2 * r * c + i), b = ti_load(dtype, x, 2 * r * c + c + i);

      ti_store(dtype, y, r * c + i, (float)(a * b * normal_cdf(b)));
    }
  }
  return TEXTINV_OK;
}

textinv_status ti_cpu_geglu_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy, const void *x,
                                const ti_geglu_shape *s)
{
  const size_t c = s->c;

#pragma omp parallel for num_threads(ti_threads(e, 2 * s->rows * c))
  for (int r = 0; r < s->rows; r++) {
    for (size_t i = 0; i < c; i++) {
      const size_t a_at = 2 * r * c + i, b_at = a_at + c;
      const double a = ti_load(dtype, x, a_at), b = ti_load(dtype, x, b_at);
      const double g = ti_load(dtype, dy, r * c + i), cdf = normal_cdf(b);

      ti_store(dtype, dx, a_at, (float)(g * b * cdf));
      ti_store(dtype, dx, b_at,
               (float)(g * a * (cdf + b * 0.39894228040143268 * exp(-0.5 * b * b))));
    }
  }
  return TEXTINV_OK;
}
