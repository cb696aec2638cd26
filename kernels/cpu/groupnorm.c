/*
 * Group normalisation over NHWC, with or without SiLU behind it, the reference.
 *
 *   fwd: xhat = (x + shift - mean) rstd     z = xhat weight + bias       y = z or silu(z)
 *   bwd: g = dy weight (dz weight)          dx = rstd (g - avg(g) - xhat avg(g xhat)) (+ other)
 *
 * shift is a vector of channels for each sample, or zero. mean, rstd and both averages are over one
 * (sample, group). fwd keeps mean and rstd [n, groups] for bwd; x is the only saved activation.
 */
#include "cpu.h"

#include <math.h>

/* value j of the group that starts at from */
static size_t value_at(const ti_groupnorm_shape *s, size_t from, int j)
{
  const int per = s->c / s->groups;

  return from + (size_t)(j / per) * s->c + j % per;
}

/* x + shift at value `at` of channel c */
static double input(ti_dtype dtype, const void *x, const void *shift, const ti_groupnorm_shape *s,
                    size_t at, int c)
{
  const size_t n = at / ((size_t)s->hw * s->c);

  return (double)ti_load(dtype, x, at) + (shift ? ti_load(dtype, shift, n * s->c + c) : 0.0f);
}

static double silu_slope(double z)
{
  const double sigmoid = 1.0 / (1.0 + exp(-z));

  return sigmoid * (1.0 + z * (1.0 - sigmoid));
}

typedef struct job {
  ti_dtype dtype;
  void *out;
  float *mean, *rstd; /* written by fwd */
  const void *dy, *x, *shift, *other;
  const float *weight, *bias;
  const ti_groupnorm_shape *s;
} job;

static void fwd_group(const job *k, size_t i)
{
  const ti_groupnorm_shape *s = k->s;
  const int per = s->c / s->groups, len = per * s->hw, c0 = (int)(i % s->groups) * per;
  const size_t from = i / s->groups * s->hw * s->c + c0;
  double sum = 0.0, sq = 0.0, avg;

  for (int j = 0; j < len; j++)
    sum += input(k->dtype, k->x, k->shift, s, value_at(s, from, j), c0 + j % per);
  avg = sum / len;
  /* a second pass: E[x^2] - mean^2 cancels when |mean| is large */
  for (int j = 0; j < len; j++) {
    const double d = input(k->dtype, k->x, k->shift, s, value_at(s, from, j), c0 + j % per) - avg;

    sq += d * d;
  }
  k->mean[i] = (float)avg;
  k->rstd[i] = (float)(1.0 / sqrt(sq / len + s->eps));
  for (int j = 0; j < len; j++) {
    const size_t at = value_at(s, from, j);
    const int c = c0 + j % per;
    const double xhat = (input(k->dtype, k->x, k->shift, s, at, c) - k->mean[i]) * k->rstd[i];
    double z = xhat * k->weight[c] + k->bias[c];

    if (s->silu)
      z /= 1.0 + exp(-z);
    ti_store(k->dtype, k->out, at, (float)z);
  }
}

static void bwd_group(const job *k, size_t i)
{
  const ti_groupnorm_shape *s = k->s;
  const int per = s->c / s->groups, len = per * s->hw, c0 = (int)(i % s->groups) * per;
  const size_t from = i / s->groups * s->hw * s->c + c0;
  double g_sum = 0.0, gx_sum = 0.0;

  for (int pass = 0; pass < 2; pass++) {
    for (int j = 0; j < len; j++) {
      const size_t at = value_at(s, from, j);
      const int c = c0 + j % per;
      const double xhat = (input(k->dtype, k->x, k->shift, s, at, c) - k->mean[i]) * k->rstd[i];
      double g = (double)ti_load(k->dtype, k->dy, at) * k->weight[c];

      if (s->silu)
        g *= silu_slope(xhat * k->weight[c] + k->bias[c]);
      if (pass == 0) {
        g_sum += g;
        gx_sum += g * xhat;
      } else {
        double d = k->rstd[i] * (g - g_sum / len - xhat * (gx_sum / len));

        if (k->other)
          d += ti_load(k->dtype, k->other, at);
        ti_store(k->dtype, k->out, at, (float)d);
      }
    }
  }
}

static void fwd_groups(void *user, int thread, size_t from, size_t to)
{
  (void)thread;
  for (size_t i = from; i < to; i++)
    fwd_group(user, i);
}

static void bwd_groups(void *user, int thread, size_t from, size_t to)
{
  (void)thread;
  for (size_t i = from; i < to; i++)
    bwd_group(user, i);
}

textinv_status ti_cpu_groupnorm_fwd(ti_exec *e, ti_dtype dtype, void *y, float *mean, float *rstd,
                                    const void *x, const void *shift, const float *weight,
                                    const float *bias, const ti_groupnorm_shape *s)
{
  job k = { .dtype = dtype,
            .out = y,
            .mean = mean,
            .rstd = rstd,
            .x = x,
            .shift = shift,
            .weight = weight,
            .bias = bias,
            .s = s };

  ti_for(e, (size_t)s->n * s->hw * s->c, (size_t)s->n * s->groups, fwd_groups, &k);
  return TEXTINV_OK;
}

textinv_status ti_cpu_groupnorm_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                    const void *x, const void *shift, const float *mean,
                                    const float *rstd, const float *weight, const float *bias,
                                    const void *other, const ti_groupnorm_shape *s)
{
  job k = { .dtype = dtype,
            .out = dx,
            .mean = (float *)mean,
            .rstd = (float *)rstd,
            .dy = dy,
            .x = x,
            .shift = shift,
            .other = other,
            .weight = weight,
            .bias = bias,
            .s = s };

  ti_for(e, (size_t)s->n * s->hw * s->c, (size_t)s->n * s->groups, bwd_groups, &k);
  return TEXTINV_OK;
}
