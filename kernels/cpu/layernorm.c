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

textinv_status ti_cpu_layernorm_fwd(ti_exec *e, ti_dtype dtype, void *y, float *mean, float *rstd,
                                    const void *x, const float *weight, const float *bias,
                                    const ti_layernorm_shape *s)
{
#pragma omp parallel for num_threads(ti_threads(e, (size_t)s->rows * s->c))
  for (int r = 0; r < s->rows; r++) {
    const size_t from = (size_t)r * s->c;
    double sum = 0.0, sq = 0.0, avg;

    for (int c = 0; c < s->c; c++)
      sum += ti_load(dtype, x, from + c);
    avg = sum / s->c;
    for (int c = 0; c < s->c; c++) {
      const double d = ti_load(dtype, x, from + c) - avg;

      sq += d * d;
    }
    mean[r] = (float)avg;
    rstd[r] = (float)(1.0 / sqrt(sq / s->c + s->eps));
    for (int c = 0; c < s->c; c++) {
      const double xhat = ((double)ti_load(dtype, x, from + c) - mean[r]) * rstd[r];

      ti_store(dtype, y, from + c, (float)(xhat * weight[c] + bias[c]));
    }
  }
  return TEXTINV_OK;
}

textinv_status ti_cpu_layernorm_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                    const void *x, const float *mean, const float *rstd,
                                    const float *weight, const void *other,
                                    const ti_layernorm_shape *s)
{
#pragma omp parallel for num_threads(ti_threads(e, (size_t)s->rows * s->c))
  for (int r = 0; r < s->rows; r++) {
    const size_t from = (size_t)r * s->c;
    double g_sum = 0.0, gx_sum = 0.0;

    for (int pass = 0; pass < 2; pass++) {
      for (int c = 0; c < s->c; c++) {
        const double xhat = ((double)ti_load(dtype, x, from + c) - mean[r]) * rstd[r];
        const double g = (double)ti_load(dtype, dy, from + c) * weight[c];

        if (pass == 0) {
          g_sum += g;
          gx_sum += g * xhat;
        } else {
          double d = rstd[r] * (g - g_sum / s->c - xhat * (gx_sum / s->c));

          if (other)
            d += ti_load(dtype, other, from + c);
          ti_store(dtype, dx, from + c, (float)d);
        }
      }
    }
  }
  return TEXTINV_OK;
}
