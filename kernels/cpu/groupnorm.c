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
static double input(const ti_args *a, size_t at, int c)
{
  const ti_groupnorm_shape *s = a->s;
  const size_t n = at / ((size_t)s->hw * s->c);

  return (double)ti_load(a->dtype, a->x, at) +
         (a->shift ? ti_load(a->dtype, a->shift, n * s->c + c) : 0.0f);
}

static double silu_slope(double z)
{
  const double sigmoid = 1.0 / (1.0 + exp(-z));

  return sigmoid * (1.0 + z * (1.0 - sigmoid));
}

static void fwd_group(const void *user, size_t i)
{
  const ti_args *a = user;
  const ti_groupnorm_shape *s = a->s;
  const int per = s->c / s->groups, len = per * s->hw, c0 = (int)(i % s->groups) * per;
  const size_t from = i / s->groups * s->hw * s->c + c0;
  double sum = 0.0, sq = 0.0, avg;

  for (int j = 0; j < len; j++)
    sum += input(a, value_at(s, from, j), c0 + j % per);
  avg = sum / len;
  /* a second pass: E[x^2] - mean^2 cancels when |mean| is large */
  for (int j = 0; j < len; j++) {
    const double d = input(a, value_at(s, from, j), c0 + j % per) - avg;

    sq += d * d;
  }
  a->mean[i] = (float)avg;
  a->rstd[i] = (float)(1.0 / sqrt(sq / len + s->eps));
  for (int j = 0; j < len; j++) {
    const size_t at = value_at(s, from, j);
    const int c = c0 + j % per;
    const double xhat = (input(a, at, c) - a->mean[i]) * a->rstd[i];
    double z = xhat * a->weight[c] + a->bias[c];

    if (s->silu)
      z /= 1.0 + exp(-z);
    ti_store(a->dtype, a->out, at, (float)z);
  }
}

static void bwd_group(const void *user, size_t i)
{
  const ti_args *a = user;
  const ti_groupnorm_shape *s = a->s;
  const int per = s->c / s->groups, len = per * s->hw, c0 = (int)(i % s->groups) * per;
  const size_t from = i / s->groups * s->hw * s->c + c0;
  double g_sum = 0.0, gx_sum = 0.0;

  for (int pass = 0; pass < 2; pass++) {
    for (int j = 0; j < len; j++) {
      const size_t at = value_at(s, from, j);
      const int c = c0 + j % per;
      const double xhat = (input(a, at, c) - a->mean[i]) * a->rstd[i];
      double g = (double)ti_load(a->dtype, a->dy, at) * a->weight[c];

      if (s->silu)
        g *= silu_slope(xhat * a->weight[c] + a->bias[c]);
      if (pass == 0) {
        g_sum += g;
        gx_sum += g * xhat;
      } else {
        double d = a->rstd[i] * (g - g_sum / len - xhat * (gx_sum / len));

        if (a->other)
          d += ti_load(a->dtype, a->other, at);
        ti_store(a->dtype, a->out, at, (float)d);
      }
    }
  }
}

textinv_status ti_cpu_groupnorm_fwd(ti_exec *e, ti_dtype dtype, void *y, float *mean, float *rstd,
                                    const void *x, const void *shift, const float *weight,
                                    const float *bias, const ti_groupnorm_shape *s)
{
  ti_args a = { dtype, y, x, s, weight, bias, mean, rstd, .shift = shift };

  ti_for(e, (size_t)s->n * s->hw * s->c, (size_t)s->n * s->groups, fwd_group, &a);
  return TEXTINV_OK;
}

textinv_status ti_cpu_groupnorm_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                    const void *x, const void *shift, const float *mean,
                                    const float *rstd, const float *weight, const float *bias,
                                    const void *other, const ti_groupnorm_shape *s)
{
  ti_args a = { dtype, dx, x, s, weight, bias, (float *)mean, (float *)rstd, shift, dy, other };

  ti_for(e, (size_t)s->n * s->hw * s->c, (size_t)s->n * s->groups, bwd_group, &a);
  return TEXTINV_OK;
}
