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

typedef struct job {
  ti_dtype dtype;
  void *out;
  float *mean, *rstd; /* written by fwd */
  const void *dy, *x, *other;
  const float *weight, *bias;
  const ti_layernorm_shape *s;
} job;

static void fwd_row(const job *j, size_t r)
{
  const int width = j->s->c;
  const size_t at = r * width;
  double sum = 0.0, sq = 0.0, avg;

  for (int c = 0; c < width; c++)
    sum += ti_load(j->dtype, j->x, at + c);
  avg = sum / width;
  for (int c = 0; c < width; c++) {
    const double d = ti_load(j->dtype, j->x, at + c) - avg;

    sq += d * d;
  }
  j->mean[r] = (float)avg;
  j->rstd[r] = (float)(1.0 / sqrt(sq / width + j->s->eps));
  for (int c = 0; c < width; c++) {
    const double xhat = ((double)ti_load(j->dtype, j->x, at + c) - j->mean[r]) * j->rstd[r];

    ti_store(j->dtype, j->out, at + c, (float)(xhat * j->weight[c] + j->bias[c]));
  }
}

static void bwd_row(const job *j, size_t r)
{
  const int width = j->s->c;
  const size_t at = r * width;
  double g_sum = 0.0, gx_sum = 0.0;

  for (int pass = 0; pass < 2; pass++) {
    for (int c = 0; c < width; c++) {
      const double xhat = ((double)ti_load(j->dtype, j->x, at + c) - j->mean[r]) * j->rstd[r];
      const double g = (double)ti_load(j->dtype, j->dy, at + c) * j->weight[c];

      if (pass == 0) {
        g_sum += g;
        gx_sum += g * xhat;
      } else {
        double d = j->rstd[r] * (g - g_sum / width - xhat * (gx_sum / width));

        if (j->other)
          d += ti_load(j->dtype, j->other, at + c);
        ti_store(j->dtype, j->out, at + c, (float)d);
      }
    }
  }
}

static void fwd_rows(void *user, int thread, size_t from, size_t to)
{
  (void)thread;
  for (size_t r = from; r < to; r++)
    fwd_row(user, r);
}

static void bwd_rows(void *user, int thread, size_t from, size_t to)
{
  (void)thread;
  for (size_t r = from; r < to; r++)
    bwd_row(user, r);
}

textinv_status ti_cpu_layernorm_fwd(ti_exec *e, ti_dtype dtype, void *y, float *mean, float *rstd,
                                    const void *x, const float *weight, const float *bias,
                                    const ti_layernorm_shape *s)
{
  job j = { .dtype = dtype,
            .out = y,
            .mean = mean,
            .rstd = rstd,
            .x = x,
            .weight = weight,
            .bias = bias,
            .s = s };

  ti_for(e, (size_t)s->rows * s->c, s->rows, fwd_rows, &j);
  return TEXTINV_OK;
}

textinv_status ti_cpu_layernorm_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                    const void *x, const float *mean, const float *rstd,
                                    const float *weight, const void *other,
                                    const ti_layernorm_shape *s)
{
  job j = { .dtype = dtype,
            .out = dx,
            .mean = (float *)mean,
            .rstd = (float *)rstd,
            .dy = dy,
            .x = x,
            .other = other,
            .weight = weight,
            .s = s };

  ti_for(e, (size_t)s->rows * s->c, s->rows, bwd_rows, &j);
  return TEXTINV_OK;
}
