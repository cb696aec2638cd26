/*
 * One step of each sampler. x is the sample, m the model's output, a = alphas_cumprod, b = 1 - a;
 * x0 is the picture and eps the noise that m stands for. Scalars are floats, as in diffusers.
 */
#include <math.h>
#include <string.h>

#include "sampler_state.h"

static float alpha_at(const ti_sampler *s, int t)
{
  if (t < 0)
    return s->final_alpha;
  return s->alphas[t < s->train_timesteps ? t : s->train_timesteps - 1];
}

/* Song et al. 2020, equation 12 with eta 0: x' = sqrt(a') x0 + sqrt(1 - a') eps */
void ti_ddim_step(ti_sampler *s, int i, float *latents, const float *model_output)
{
  const int t = (int)s->timesteps[s->begin + i];
  const float a = alpha_at(s, t), a_prev = alpha_at(s, t - s->train_timesteps / s->steps);
  const float sqrt_a = sqrtf(a), sqrt_b = sqrtf(1.0f - a);
  const float sqrt_a_prev = sqrtf(a_prev), sqrt_b_prev = sqrtf(1.0f - a_prev);

  for (size_t j = 0; j < s->count; j++) {
    const float x = latents[j], m = model_output[j];
    float x0, eps;

    switch (s->prediction) {
    case TI_PREDICT_V:
      x0 = sqrt_a * x - sqrt_b * m;
      eps = sqrt_a * m + sqrt_b * x;
      break;
    case TI_PREDICT_SAMPLE:
      x0 = m;
      eps = (x - sqrt_a * x0) / sqrt_b;
      break;
    default:
      x0 = (x - sqrt_b * m) / sqrt_a;
      eps = m;
      break;
    }
    if (s->clip)
      x0 = x0 < -s->clip_range ? -s->clip_range : x0 > s->clip_range ? s->clip_range : x0;
    latents[j] = sqrt_a_prev * x0 + sqrt_b_prev * eps;
  }
}

/* Ho et al. 2020, equation 7, from one timestep of the run to the next; noise but for timestep 0 */
void ti_ddpm_step(ti_sampler *s, int i, float *latents, const float *model_output,
                  const float *noise)
{
  const int at = s->begin + i, t = (int)s->timesteps[at];
  const float a = alpha_at(s, t);
  const float a_prev = at + 1 < s->total ? alpha_at(s, (int)s->timesteps[at + 1]) : 1.0f;
  const float b = 1.0f - a, b_prev = 1.0f - a_prev;
  const float alpha = a / a_prev, beta = 1.0f - alpha;
  const float sqrt_a = sqrtf(a), sqrt_b = sqrtf(b);
  const float of_x0 = sqrtf(a_prev) * beta / b, of_x = sqrtf(alpha) * b_prev / b;
  const float small = fmaxf(b_prev / b * beta, 1e-20f);
  const float deviation = s->variance == TI_VARIANCE_LARGE       ? sqrtf(beta)
                          : s->variance == TI_VARIANCE_SMALL_LOG ? expf(0.5f * logf(small))
                                                                 : sqrtf(small);

  for (size_t j = 0; j < s->count; j++) {
    const float x = latents[j], m = model_output[j];
    float x0;

    if (s->prediction == TI_PREDICT_V)
      x0 = sqrt_a * x - sqrt_b * m;
    else
      x0 = s->prediction == TI_PREDICT_SAMPLE ? m : (x - sqrt_b * m) / sqrt_a;
    if (s->clip)
      x0 = x0 < -s->clip_range ? -s->clip_range : x0 > s->clip_range ? s->clip_range : x0;
    latents[j] = of_x0 * x0 + of_x * x;
    if (noise)
      latents[j] += deviation * noise[j];
  }
}

/* ------ PNDM, Liu et al. 2022: history[0..3] the newest outputs, [4] a sample, [5] a sum */

/* equation 9 from t to t_prev; out may be x or m */
static void pndm_transfer(const ti_sampler *s, int t, int t_prev, float *out, const float *x,
                          const float *m)
{
  const float a = alpha_at(s, t), a_prev = alpha_at(s, t_prev);
  const float b = 1.0f - a, b_prev = 1.0f - a_prev;
  const float sqrt_a = sqrtf(a), sqrt_b = sqrtf(b);
  const float keep = sqrtf(a_prev / a);
  const float denominator = a * sqrtf(b_prev) + sqrtf(a * b * a_prev);

  for (size_t j = 0; j < s->count; j++) {
    float eps = m[j];

    if (s->prediction == TI_PREDICT_V)
      eps = sqrt_a * m[j] + sqrt_b * x[j];
    else if (s->prediction == TI_PREDICT_SAMPLE)
      eps = (x[j] - sqrt_a * m[j]) / sqrt_b;
    out[j] = keep * x[j] - (a_prev - a) * eps / denominator;
  }
}

static void pndm_remember(ti_sampler *s, const float *model_output)
{
  float *oldest = s->history[3];

  s->history[3] = s->history[2];
  s->history[2] = s->history[1];
  s->history[1] = s->history[0];
  s->history[0] = oldest;
  memcpy(oldest, model_output, s->count * sizeof(*oldest));
  s->num_outputs += s->num_outputs < 4;
}

/* Runge-Kutta: four evaluations a step, weights 1/6 1/3 1/3 1/6 */
static void pndm_prk(ti_sampler *s, int i, float *latents, const float *model_output)
{
  const int half = s->train_timesteps / s->steps / 2;
  const int t = (int)s->timesteps[i / 4 * 4];
  const int t_prev = (int)s->timesteps[s->begin + i] - (i % 2 ? 0 : half);
  const float weight = i % 4 == 0 || i % 4 == 3 ? (float)(1.0 / 6) : (float)(1.0 / 3);
  float *start = s->history[4], *sum = s->history[5];

  if (i % 4 == 0) {
    memset(sum, 0, s->count * sizeof(*sum));
    memcpy(start, latents, s->count * sizeof(*start));
    pndm_remember(s, model_output);
  }
  for (size_t j = 0; j < s->count; j++)
    sum[j] += weight * model_output[j];
  pndm_transfer(s, t, t_prev, latents, start, i % 4 == 3 ? sum : model_output);
}

/* linear multistep over the last outputs, the first step done twice */
static void pndm_plms(ti_sampler *s, int i, float *latents, const float *model_output)
{
  const int ratio = s->train_timesteps / s->steps;
  int t = (int)s->timesteps[s->begin + i], t_prev = t - ratio;
  float *mix = s->history[5], **h = s->history;

  if (i != 1) {
    pndm_remember(s, model_output);
  } else {
    t_prev = t;
    t += ratio;
  }
  if (i == 0)
    memcpy(h[4], latents, s->count * sizeof(**h));
  if (i == 1)
    memcpy(latents, h[4], s->count * sizeof(**h));

  for (size_t j = 0; j < s->count; j++) {
    if (i == 0)
      mix[j] = model_output[j];
    else if (i == 1)
      mix[j] = (model_output[j] + h[0][j]) / 2;
    else if (s->num_outputs == 2)
      mix[j] = (3 * h[0][j] - h[1][j]) / 2;
    else if (s->num_outputs == 3)
      mix[j] = (23 * h[0][j] - 16 * h[1][j] + 5 * h[2][j]) / 12;
    else
      mix[j] = (float)(1.0 / 24) * (55 * h[0][j] - 59 * h[1][j] + 37 * h[2][j] - 9 * h[3][j]);
  }
  pndm_transfer(s, t, t_prev, latents, latents, mix);
}

void ti_pndm_step(ti_sampler *s, int i, float *latents, const float *model_output)
{
  if (i == 0)
    s->num_outputs = 0;
  if (s->prk && i < 12)
    pndm_prk(s, i, latents, model_output);
  else
    pndm_plms(s, i, latents, model_output);
}

/* ------ Karras et al. 2022, algorithm 2 without churn; with noise the ancestral step of
 * k-diffusion */

void ti_euler_step(ti_sampler *s, int i, float *latents, const float *model_output,
                   const float *noise)
{
  const float sigma = s->sigmas[s->begin + i], to = s->sigmas[s->begin + i + 1];
  const float square = sigma * sigma, norm = square + 1.0f;
  const float skip = -sigma / sqrtf(norm);
  float up = 0, down = to;

  if (s->kind == TEXTINV_SAMPLER_EULER_A) {
    up = sqrtf(fmaxf(to * to * (square - to * to) / square, 0.0f));
    down = sqrtf(fmaxf(to * to - up * up, 0.0f));
  }
  for (size_t j = 0; j < s->count; j++) {
    const float x = latents[j], m = model_output[j];
    float x0;

    if (s->prediction == TI_PREDICT_V)
      x0 = m * skip + x / norm;
    else
      x0 = s->prediction == TI_PREDICT_SAMPLE ? m : x - sigma * m;
    latents[j] = x + (x - x0) / sigma * (down - sigma);
    if (noise)
      latents[j] += noise[j] * up;
  }
}

/* x0 = what the model thinks the picture is, of latents alpha x0 + sigma noise */
static void denoise(const ti_sampler *s, float *x0, const float *latents, const float *model_output,
                    float alpha, float sigma)
{
  for (size_t j = 0; j < s->count; j++) {
    const float x = latents[j], m = model_output[j];

    if (s->prediction == TI_PREDICT_V)
      x0[j] = alpha * x - sigma * m;
    else
      x0[j] = s->prediction == TI_PREDICT_SAMPLE ? m : (x - sigma * m) / alpha;
  }
}

void ti_sampler_denoise(const ti_sampler *sampler, int i, float *x0, const float *scaled,
                        const float *model_output)
{
  const int at = sampler->begin + i;
  const float sigma = sampler->sigmas[at];
  float a;

  switch (sampler->kind) {
  case TEXTINV_SAMPLER_DDIM:
  case TEXTINV_SAMPLER_PNDM:
  case TI_SAMPLER_DDPM:
    a = alpha_at(sampler, (int)sampler->timesteps[at]);
    denoise(sampler, x0, scaled, model_output, sqrtf(a), sqrtf(1.0f - a));
    break;
  default:
    a = 1.0f / sqrtf(sigma * sigma + 1.0f);
    denoise(sampler, x0, scaled, model_output, a, sigma * a);
    break;
  }
}

/* ------ DPM-Solver++(2M), Lu et al. 2022, algorithm 2: history[0] the newest x0, [1] the one
 * before */

void ti_dpmpp_step(ti_sampler *s, int i, float *latents, const float *model_output)
{
  const int at = s->begin + i, last = at == s->total - 1;
  const int few = s->lower_order_final && s->total < 15;
  const int first_order = s->order == 1 || i == 0 ||
                          (last && (s->euler_at_final || few || !s->final_sigma_min));
  const float from = s->sigmas[at], to = s->sigmas[at + 1];
  const float alpha_s = 1.0f / sqrtf(from * from + 1.0f), sigma_s = from * alpha_s;
  const float alpha_t = 1.0f / sqrtf(to * to + 1.0f), sigma_t = to * alpha_t;
  const float lambda_s = logf(alpha_s) - logf(sigma_s);
  const float h = logf(alpha_t) - logf(sigma_t) - lambda_s; /* infinite when to is 0 */
  const float step = alpha_t * (expf(-h) - 1.0f), keep = sigma_t / sigma_s;
  float *x0 = s->history[1], *x0_prev = s->history[0];
  float slope = 0, weight = 0;

  s->history[0] = x0;
  s->history[1] = x0_prev;
  denoise(s, x0, latents, model_output, alpha_s, sigma_s);
  if (from == to) /* two equal sigmas: nothing to do between them */
    return;
  if (!first_order) {
    const float before = s->sigmas[at - 1];
    const float alpha_b = 1.0f / sqrtf(before * before + 1.0f);
    const float h_before = lambda_s - (logf(alpha_b) - logf(before * alpha_b));

    /* two equal sigmas before this one leave no slope to go by */
    slope = h_before != 0 ? 1.0f / (h_before / h) : 0.0f;
    weight = s->heun ? alpha_t * ((expf(-h) - 1.0f) / h + 1.0f) : -0.5f * step;
  }
  for (size_t j = 0; j < s->count; j++) {
    latents[j] = keep * latents[j] - step * x0[j];
    if (!first_order)
      latents[j] += weight * (slope * (x0[j] - x0_prev[j]));
  }
}

/* ------ UniPC, Zhao et al. 2023, with B(h) of equation 11: history[0], [1] the newest x0 and the
 * one before, [2] the sample that the last step began from, [3] room for another x0 */

/* from sigmas[at] to the next: x' = keep x - step m0 - weight (what the differences of x0 say) */
typedef struct unipc_terms {
  float keep, step, weight;
  float ratio;  /* of order 2: the earlier step, against this one */
  float b1, b2; /* right-hand sides of equation 9 */
} unipc_terms;

static float lambda_of(float sigma, float *alpha)
{
  *alpha = 1.0f / sqrtf(sigma * sigma + 1.0f);
  return logf(*alpha) - logf(sigma * *alpha);
}

static unipc_terms unipc_between(const ti_sampler *s, int at, int order)
{
  const float from = s->sigmas[at], to = s->sigmas[at + 1];
  float alpha_s, alpha_t, alpha;
  const float lambda_s = lambda_of(from, &alpha_s);
  const float h = lambda_of(to, &alpha_t) - lambda_s; /* infinite when to is 0 */
  const float phi_1 = expm1f(-h), phi_2 = phi_1 / -h - 1.0f, phi_3 = phi_2 / -h - 0.5f;
  const float b = s->bh1 ? -h : phi_1;

  return (unipc_terms){ .keep = to * alpha_t / (from * alpha_s),
                        .step = alpha_t * phi_1,
                        .weight = alpha_t * b,
                        .ratio = order > 1 ? (lambda_of(s->sigmas[at - 1], &alpha) - lambda_s) / h
                                           : 1.0f,
                        .b1 = phi_2 / b,
                        .b2 = phi_3 * 2.0f / b };
}

/* the sample that the step before came to, once more with the x0 that the model sees there */
static void unipc_correct(ti_sampler *s, int at, float *latents, const float *x0)
{
  const unipc_terms u = unipc_between(s, at - 1, s->last_order);
  const float rho = s->last_order > 1 ? (u.b1 - u.b2) / (1.0f - u.ratio) : 0.0f;
  const float rho_t = s->last_order > 1 ? u.b1 - rho : 0.5f;
  const float *m0 = s->history[0], *m1 = s->history[1], *x = s->history[2];

  for (size_t j = 0; j < s->count; j++) {
    float change = rho_t * (x0[j] - m0[j]);

    if (s->last_order > 1)
      change += rho * ((m1[j] - m0[j]) / u.ratio);
    latents[j] = u.keep * x[j] - u.step * m0[j] - u.weight * change;
  }
}

static void unipc_predict(ti_sampler *s, int at, float *latents)
{
  const unipc_terms u = unipc_between(s, at, s->last_order);
  const float *m0 = s->history[0], *m1 = s->history[1];

  for (size_t j = 0; j < s->count; j++) {
    latents[j] = u.keep * latents[j] - u.step * m0[j];
    if (s->last_order > 1)
      latents[j] -= u.weight * (0.5f * ((m1[j] - m0[j]) / u.ratio));
  }
}

void ti_unipc_step(ti_sampler *s, int i, float *latents, const float *model_output)
{
  const int at = s->begin + i;
  const float sigma = s->sigmas[at], alpha_s = 1.0f / sqrtf(sigma * sigma + 1.0f);
  const float sigma_s = sigma * alpha_s;
  float *x0 = s->history[3];

  denoise(s, x0, latents, model_output, alpha_s, sigma_s);
  if (i > 0 && s->sigmas[at - 1] != sigma) /* nothing to do between equal ones */
    unipc_correct(s, at, latents, x0);
  s->history[3] = s->history[1];
  s->history[1] = s->history[0];
  s->history[0] = x0;
  memcpy(s->history[2], latents, s->count * sizeof(*latents));

  s->last_order = i > 0 && s->order > 1 && s->sigmas[at + 1] > 0 && s->sigmas[at - 1] != sigma &&
                      !(s->lower_order_final && at + 1 == s->total)
                    ? 2
                    : 1;
  if (s->sigmas[at + 1] != sigma)
    unipc_predict(s, at, latents);
}
