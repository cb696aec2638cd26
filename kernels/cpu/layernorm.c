/*
 * Layer normalisation, the reference.
 *
 *   fwd: xhat = (x - mean) rstd             y = xhat weight + bias
 *   bwd: g = dy weight                      dx = rstd (g - avg(g) - xhat avg(g xhat)) (+ other)
 *
 * Statistics and averages are over a row; fwd keeps mean and rstd [rows] for bwd.
 */
#include "cpu.h"

#include <math.h>

static void fwd_row(const void *user, size_t r)
{
  const ti_args *a = user;
  const ti_layernorm_shape *s = a->s;
  const size_t at = r * s->c;
  double sum = 0.0, sq = 0.0, avg;

  for (int c = 0; c < s->c; c++)
    sum += ti_load(a->dtype, a->x, at + c);
  avg = sum / s->c;
  for (int c = 0; c < s->c; c++) {
    const double d = ti_load(a->dtype, a->x, at + c) - avg;

    sq += d * d;
  }
  a->mean[r] = (float)avg;
  a->rstd[r] = (float)(1.0 / sqrt(sq / s->c + s->eps));
  for (int c = 0; c < s->c; c++) {
    const double xhat = ((double)ti_load(a->dtype, a->x, at + c) - a->mean[r]) * a->rstd[r];

    ti_store(a->dtype, a->out, at + c, (float)(xhat * a->weight[c] + a->bias[c]));
  }
}

static void bwd_row(const void *user, size_t r)
{
  const ti_args *a = user;
  const ti_layernorm_shape *s = a->s;
  const size_t at = r * s->c;
  double g_sum = 0.0, gx_sum = 0.0;

  for (int pass = 0; pass < 2; pass++) {
    for (int c = 0; c < s->c; c++) {
      const double xhat = ((double)ti_load(a->dtype, a->x, at + c) - a->mean[r]) * a->rstd[r];
      const double g = (double)ti_load(a->dtype, a->dy, at + c) * a->weight[c];

      if (pass == 0) {
        g_sum += g;
        gx_sum += g * xhat;
      } else {
        double d = a->rstd[r] * (g - g_sum / s->c - xhat * (gx_sum / s->c));

        if (a->other)
          d += ti_load(a->dtype, a->other, at + c);
        ti_store(a->dtype, a->out, at + c, (float)d);
      }
    }
  }
}

textinv_status ti_cpu_layernorm_fwd(ti_exec *e, ti_dtype dtype, void *y, float *mean, float *rstd,
                                    const void *x, const float *weight, const float *bias,
                                    const ti_layernorm_shape *s)
{
  ti_args a = { dtype, y, x, s, weight, bias, mean, .rstd = rstd };

  ti_for(e, (size_t)s->rows * s->c, s->rows, fwd_row, &a);
  return TEXTINV_OK;
}

textinv_status ti_cpu_layernorm_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                    const void *x, const float *mean, const float *rstd,
                                    const float *weight, const void *other,
                                    const ti_layernorm_shape *s)
{
  ti_args a = { dtype, dx, x, s, weight, NULL, (float *)mean, (float *)rstd, NULL, dy, other };

  ti_for(e, (size_t)s->rows * s->c, s->rows, bwd_row, &a);
  return TEXTINV_OK;
}
