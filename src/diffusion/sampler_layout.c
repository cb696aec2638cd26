/*
 * Where a sampler's steps are: timesteps by the spacings of Lin et al. 2023, table 2, and sigmas
 * = sqrt((1 - a) / a) of alphas_cumprod a, interpolated or on the ramp of Karras et al. 2022,
 * equation 5. Types and roundings are those of diffusers (numpy's doubles, torch's floats).
 */
#include <math.h>

#include "alloc.h"
#include "sampler_state.h"

/* timesteps of the schedule alone, without sigmas */
static int is_whole(const ti_sampler *s)
{
  return s->kind == TEXTINV_SAMPLER_DDIM || s->kind == TEXTINV_SAMPLER_PNDM ||
         s->kind == TI_SAMPLER_DDPM;
}

static ti_spacing spacing_of(const ti_sampler *s, const ti_schedule *schedule)
{
  if (s->by_default && schedule->has_fixed_spacing)
    return schedule->fixed_spacing;
  if (schedule->has_spacing)
    return schedule->spacing;
  return is_whole(s) ? TI_SPACING_LEADING : TI_SPACING_LINSPACE;
}

/* value i of numpy's linspace(0, last, count) */
static double ramp(double last, int count, int i)
{
  return i == 0 ? 0.0 : i == count - 1 ? last : i * (last / (count - 1));
}

/*
 * value i of numpy's arange(first, 0, -step): filled by the difference of its first two values,
 * whose rounding decides the ties of the spacing "trailing", first - i * step + 0.5. Where the
 * quotient first / step comes out above a whole number (61 steps of 1000), numpy has one value
 * more, 0 but for rounding. No timestep belongs to it, but Euler's ramp ends at its sigma.
 */
static double falling(double first, double step, int i)
{
  const double second = first - step;

  return i == 0 ? first : i == 1 ? second : first + i * (second - first);
}

/* ------ DDIM, DDPM and PNDM: whole timesteps */

/* step i of the spacing, from the noisiest */
static double spaced(ti_spacing spacing, int train, int steps, int i, int offset)
{
  switch (spacing) {
  case TI_SPACING_LINSPACE: return ramp(train - 1, steps, steps - 1 - i);
  case TI_SPACING_LEADING: return (double)(steps - 1 - i) * (train / steps) + offset;
  default: return rint(falling(train, (double)train / steps, i)) - 1; /* trailing */
  }
}

/* 7 timesteps between the 4 last ones, each twice but for the ends, after Liu et al. 2022 */
static void prk_layout(ti_sampler *s, ti_spacing spacing, int offset)
{
  const int half = s->train_timesteps / s->steps / 2;

  for (int i = 0; i < 12; i++) {
    const int k = 6 - (i + 1) / 2; /* 6 5 5 4 4 .. 1 1 0 */
    const double t = rint(spaced(spacing, s->train_timesteps, s->steps, 3 - k / 2, offset));

    s->timesteps[i] = (float)(t + (k % 2) * half);
  }
  for (int i = 3; i < s->steps; i++)
    s->timesteps[12 + i - 3] = (float)rint(
      spaced(spacing, s->train_timesteps, s->steps, i, offset));
}

static textinv_status whole_layout(ti_sampler *s, ti_error *error, const ti_schedule *schedule)
{
  const ti_spacing spacing = spacing_of(s, schedule);
  const int plms = s->kind == TEXTINV_SAMPLER_PNDM && !s->prk;

  if (s->prk && s->steps < 4)
    return ti_fail(error, TEXTINV_E_INVALID,
                   "steps is %d, expected 4 or more for pndm with \"skip_prk_steps\" false",
                   s->steps);
  if (s->prk) {
    prk_layout(s, spacing, s->steps_offset);
  } else {
    for (int i = 0; i < s->total; i++) {
      /* the second step of PLMS is done twice */
      const int step = plms && i > 1 ? i - 1 : i;

      s->timesteps[i] = (float)rint(
        spaced(spacing, s->train_timesteps, s->steps, step, s->steps_offset));
    }
  }
  for (int i = 0; i < s->total; i++) {
    if (!(s->timesteps[i] >= 0 && s->timesteps[i] < (float)s->train_timesteps))
      return ti_fail(error, TEXTINV_E_INVALID,
                     "steps is %d: with steps_offset %d the schedule's %d timesteps are left, "
                     "expected fewer steps",
                     s->steps, s->steps_offset, s->train_timesteps);
  }
  if (s->kind != TEXTINV_SAMPLER_PNDM && s->prediction == TI_PREDICT_EPSILON &&
      !(s->alphas[(int)s->timesteps[0]] > 0))
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "timestep %d is noise alone (\"rescale_betas_zero_snr\"), where epsilon "
                   "prediction says nothing of the picture; expected v_prediction or sample",
                   (int)s->timesteps[0]);
  s->init_sigma = 1.0f;
  return TEXTINV_OK;
}

/* ------ Euler, Euler a, DPM++ and UniPC: sigmas */

/* numpy's interp of the schedule's sigmas at t */
static double sigma_at(const float *sigmas, int count, double t)
{
  int j;

  if (t <= 0)
    return sigmas[0];
  if (t >= count - 1)
    return sigmas[count - 1];
  j = (int)t;
  return ((double)sigmas[j + 1] - sigmas[j]) * (t - j) + sigmas[j];
}

/* the inverse, along log sigma */
static double timestep_of(const float *log_sigmas, int count, double sigma)
{
  const double log_sigma = log(fmax(sigma, 1e-10));
  double w;
  int low = 0;

  if (count == 1)
    return 0;
  for (int j = 0; j < count; j++)
    low = log_sigma - log_sigmas[j] >= 0 ? j : low;
  if (low > count - 2)
    low = count - 2;
  w = (log_sigmas[low] - log_sigma) / (log_sigmas[low] - log_sigmas[low + 1]);
  w = fmin(fmax(w, 0), 1);
  return (1 - w) * low + w * (low + 1);
}

static double karras(double sigma_min, double sigma_max, int steps, int i)
{
  const double rho = 7.0, lo = pow(sigma_min, 1 / rho), hi = pow(sigma_max, 1 / rho);

  return pow(hi + ramp(1, steps, i) * (lo - hi), rho);
}

/* timesteps with a log signal-to-noise ratio under the clip are left out */
static int last_timestep(const ti_sampler *s, double lambda_min_clipped)
{
  int clipped = 0;

  for (int t = s->train_timesteps - 1; t >= 0; t--, clipped++) {
    const float a = s->alphas[t];

    if (logf(sqrtf(a)) - logf(sqrtf(1.0f - a)) >= (float)lambda_min_clipped)
      break;
  }
  return s->train_timesteps - clipped;
}

/* DPM++ and UniPC space one step more and leave out the cleanest */
static double dpmpp_spaced(const ti_sampler *s, ti_spacing spacing, int last, int i, int offset)
{
  switch (spacing) {
  case TI_SPACING_LINSPACE: return rint(ramp(last - 1, s->steps + 1, s->steps - i));
  case TI_SPACING_LEADING: return (double)(s->steps - i) * (last / (s->steps + 1)) + offset;
  default: return rint(falling(last, (double)s->train_timesteps / s->steps, i)) - 1;
  }
}

static textinv_status dpmpp_timesteps(ti_sampler *s, ti_error *error, const ti_schedule *schedule)
{
  const ti_spacing spacing = spacing_of(s, schedule);
  const int last = s->kind == TEXTINV_SAMPLER_UNIPC
                     ? s->train_timesteps
                     : last_timestep(s, schedule->lambda_min_clipped);
  const int most = spacing == TI_SPACING_LEADING || spacing == TI_SPACING_LINSPACE ? last - 1
                                                                                   : last;

  if (s->steps > most || dpmpp_spaced(s, spacing, last, s->steps - 1, 0) < 0)
    return ti_fail(error, TEXTINV_E_INVALID,
                   "steps is %d, which is more than the %d usable timesteps of the schedule allow",
                   s->steps, last);
  for (int i = 0; i < s->total; i++)
    s->timesteps[i] = (float)dpmpp_spaced(s, spacing, last, i, s->steps_offset);
  return TEXTINV_OK;
}

static textinv_status sigma_layout(ti_sampler *s, ti_error *error, const ti_schedule *schedule)
{
  const ti_spacing spacing = spacing_of(s, schedule);
  const int euler = s->kind == TEXTINV_SAMPLER_EULER, count = s->train_timesteps;
  const int unipc = s->kind == TEXTINV_SAMPLER_UNIPC;
  const int dpmpp = unipc || s->kind == TEXTINV_SAMPLER_DPMPP_2M ||
                    s->kind == TEXTINV_SAMPLER_DPMPP_2M_KARRAS;
  float *sigmas = ti_calloc((size_t)count, sizeof(*sigmas));
  float *log_sigmas = ti_calloc((size_t)count, sizeof(*log_sigmas));
  textinv_status status = TEXTINV_OK;
  float most = 0;

  if (!sigmas || !log_sigmas) {
    status = ti_fail_nomem(error, (size_t)count * sizeof(*sigmas), "the sampler's sigmas");
    goto out;
  }
  for (int t = 0; t < count; t++) {
    sigmas[t] = sqrtf((1.0f - s->alphas[t]) / s->alphas[t]);
    log_sigmas[t] = logf(sigmas[t]);
  }

  if (dpmpp) {
    if ((status = dpmpp_timesteps(s, error, schedule)) < 0)
      goto out;
  } else {
    for (int i = 0; i < s->total; i++)
      s->timesteps[i] = (float)spaced(spacing, count, s->steps, i, s->steps_offset);
  }
  for (int i = 0; i < s->total; i++)
    s->sigmas[i] = (float)sigma_at(sigmas, count, s->timesteps[i]);

  if (((euler || unipc) && schedule->use_karras_sigmas) ||
      s->kind == TEXTINV_SAMPLER_DPMPP_2M_KARRAS) {
    /* the ends are those of the steps (Euler) or of the whole schedule (DPM++, UniPC) */
    const int surplus = spacing == TI_SPACING_TRAILING &&
                        ceil(count / ((double)count / s->steps)) > s->steps;
    double first = euler ? sigma_at(sigmas, count, s->timesteps[0]) : sigmas[count - 1];
    double last = euler && !surplus ? sigma_at(sigmas, count, s->timesteps[s->total - 1])
                                    : sigmas[0];

    first = schedule->sigma_max > 0 ? schedule->sigma_max : first;
    last = schedule->sigma_min > 0 ? schedule->sigma_min : last;
    for (int i = 0; i < s->total; i++) {
      const double sigma = karras(last, first, s->steps, i);
      const double t = timestep_of(log_sigmas, count, sigma);

      s->sigmas[i] = (float)sigma;
      s->timesteps[i] = (float)(euler ? t : schedule->cosine && !unipc ? floor(t) : rint(t));
    }
  }
  s->sigmas[s->total] = !schedule->final_sigma_min || s->kind == TEXTINV_SAMPLER_EULER_A ? 0.0f
                        : unipc && schedule->use_karras_sigmas ? s->sigmas[s->total - 1]
                                                               : sigmas[0];

  for (int i = 0; i < s->total; i++)
    most = fmaxf(most, s->sigmas[i]);
  s->init_sigma = dpmpp ? 1.0f : spacing == TI_SPACING_LEADING ? sqrtf(most * most + 1.0f) : most;
out:
  ti_free(sigmas);
  ti_free(log_sigmas);
  return status;
}

textinv_status ti_sampler_lay_out(ti_sampler *s, ti_error *error, const ti_schedule *schedule)
{
  const int pndm = s->kind == TEXTINV_SAMPLER_PNDM;

  s->total = s->steps;
  if (s->prk)
    s->total = 12 + (s->steps > 3 ? s->steps - 3 : 0);
  else if (pndm && s->steps > 1)
    s->total = s->steps + 1;
  s->timesteps = ti_calloc((size_t)s->total, sizeof(*s->timesteps));
  s->sigmas = ti_calloc((size_t)s->total + 1, sizeof(*s->sigmas));
  if (!s->timesteps || !s->sigmas)
    return ti_fail_nomem(error, (size_t)s->total * sizeof(*s->sigmas), "the sampler's steps");
  if (is_whole(s))
    return whole_layout(s, error, schedule);
  return sigma_layout(s, error, schedule);
}
