/* Samplers: construction and what is the same for all of them. */
#include "sampler.h"

#include <math.h>
#include <string.h>

#include "alloc.h"
#include "sampler_state.h"

static const char *const names[] = { "default",         "ddim",    "pndm",
                                     "euler",           "euler_a", "dpmpp_2m",
                                     "dpmpp_2m_karras", "unipc",   "ddpm" };
static const char *const a1111_names[] = { "Default",         "DDIM",    "PLMS",
                                           "Euler",           "Euler a", "DPM++ 2M",
                                           "DPM++ 2M Karras", "UniPC",   "DDPM" };

static int is_kind(textinv_sampler kind)
{
  return kind >= TEXTINV_SAMPLER_DEFAULT && kind < TI_NUM_SAMPLERS;
}

const char *ti_sampler_name(textinv_sampler kind)
{
  return is_kind(kind) ? names[kind] : "unknown";
}

const char *ti_sampler_a1111_name(textinv_sampler kind)
{
  return is_kind(kind) ? a1111_names[kind] : "Unknown";
}

/* arrays of earlier outputs that a kind keeps */
static int history_of(textinv_sampler kind)
{
  switch (kind) {
  case TEXTINV_SAMPLER_PNDM: return TI_SAMPLER_HISTORY;
  case TEXTINV_SAMPLER_DPMPP_2M:
  case TEXTINV_SAMPLER_DPMPP_2M_KARRAS: return 2;
  case TEXTINV_SAMPLER_UNIPC: return 4;
  default: return 0;
  }
}

static textinv_status take_schedule(ti_sampler *s, ti_error *error, const ti_schedule *schedule)
{
  const int own = s->by_default || (s->kind == schedule->sampler && !schedule->stands_in);
  const int pndm = s->kind == TEXTINV_SAMPLER_PNDM, ddim = s->kind == TEXTINV_SAMPLER_DDIM;
  const int ddpm = s->kind == TI_SAMPLER_DDPM;
  const float *alphas = pndm ? schedule->alphas_cumprod_plain : schedule->alphas_cumprod;
  const size_t bytes = (size_t)schedule->timesteps * sizeof(*alphas);

  s->train_timesteps = schedule->timesteps;
  s->prediction = schedule->prediction;
  s->alphas = ti_calloc((size_t)schedule->timesteps, sizeof(*s->alphas));
  if (!s->alphas)
    return ti_fail_nomem(error, bytes, "the sampler's schedule");
  memcpy(s->alphas, alphas, bytes);
  /* a signal of exactly 0 has no finite sigma: the smallest half number stands for it */
  if (schedule->rescale_zero_snr && !pndm && !ddim && !ddpm)
    s->alphas[s->train_timesteps - 1] = 0x1p-24f;

  s->final_alpha = s->alphas[0];
  if (schedule->has_set_alpha_to_one ? schedule->set_alpha_to_one : ddim)
    s->final_alpha = 1.0f;
  s->steps_offset = own ? schedule->steps_offset : schedule->named_steps_offset;
  s->clip = (ddim || ddpm) && (own ? schedule->clip_sample : schedule->named_clip_sample);
  s->clip_range = (float)schedule->clip_sample_range;
  s->prk = pndm && !schedule->skip_prk_steps;
  s->variance = schedule->variance;
  s->heun = schedule->solver_heun;
  s->bh1 = schedule->solver_bh1;
  s->order = schedule->solver_order;
  s->lower_order_final = schedule->lower_order_final;
  s->euler_at_final = schedule->euler_at_final;
  s->final_sigma_min = schedule->final_sigma_min;
  return TEXTINV_OK;
}

/* the decimal of up to six digits that x was made from: 0.7f is 0.69999999, ten times that 6 */
static double decimal_of(float x)
{
  const double decimal = round((double)x * 1e6) / 1e6;

  return (float)decimal == x ? decimal : (double)x;
}

textinv_status ti_sampler_new(ti_sampler **out, ti_error *error, const ti_schedule *schedule,
                              textinv_sampler kind, int steps, float strength, size_t count)
{
  textinv_status status;
  ti_sampler *s = NULL;
  int kept;

  *out = NULL;
  if (!is_kind(kind) || kind == TI_SAMPLER_DDPM)
    return ti_fail(error, TEXTINV_E_INVALID, "sampler is %d, expected 0..%d", kind,
                   TEXTINV_SAMPLER_UNIPC);
  if (steps < 1 || steps > schedule->timesteps)
    return ti_fail(error, TEXTINV_E_INVALID, "steps is %d, expected 1..%d", steps,
                   schedule->timesteps);
  if (!(strength > 0 && strength <= 1))
    return ti_fail(error, TEXTINV_E_INVALID, "strength is %g, expected over 0 and at most 1",
                   (double)strength);
  /* steps done, cut as Python's int() does */
  kept = (int)(steps * decimal_of(strength));
  if (kept < 1)
    return ti_fail(error, TEXTINV_E_INVALID,
                   "strength %g of %d steps is less than one step, expected %g or more",
                   (double)strength, steps, 1.0 / steps);

  s = ti_calloc(1, sizeof(*s));
  if (!s)
    return ti_fail_nomem(error, sizeof(*s), "the sampler");
  s->by_default = kind == TEXTINV_SAMPLER_DEFAULT;
  s->kind = s->by_default ? schedule->sampler : kind;
  s->steps = steps;
  s->count = count;
  if ((status = take_schedule(s, error, schedule)) < 0 ||
      (status = ti_sampler_lay_out(s, error, schedule)) < 0)
    goto out;
  s->begin = steps - kept;
  for (int i = 0; i < history_of(s->kind); i++) {
    s->history[i] = ti_calloc(count, sizeof(float));
    if (!s->history[i]) {
      status = ti_fail_nomem(error, count * sizeof(float), "the sampler's earlier steps");
      goto out;
    }
  }
  *out = s;
  return TEXTINV_OK;
out:
  ti_sampler_free(s);
  return status;
}

void ti_sampler_free(ti_sampler *sampler)
{
  if (!sampler)
    return;
  for (int i = 0; i < TI_SAMPLER_HISTORY; i++)
    ti_free(sampler->history[i]);
  ti_free(sampler->alphas);
  ti_free(sampler->timesteps);
  ti_free(sampler->sigmas);
  ti_free(sampler);
}

int ti_sampler_evaluations(const ti_sampler *sampler)
{
  return sampler->total - sampler->begin;
}

float ti_sampler_timestep(const ti_sampler *sampler, int i)
{
  return sampler->timesteps[sampler->begin + i];
}

float ti_sampler_init_sigma(const ti_sampler *sampler)
{
  return sampler->init_sigma;
}

void ti_sampler_add_noise(const ti_sampler *sampler, int i, float *latents, const float *x,
                          const float *noise)
{
  const int at = sampler->begin + i;
  float a = 1.0f, b;

  switch (sampler->kind) {
  case TEXTINV_SAMPLER_EULER:
  case TEXTINV_SAMPLER_EULER_A: b = sampler->sigmas[at]; break;
  case TEXTINV_SAMPLER_DPMPP_2M:
  case TEXTINV_SAMPLER_DPMPP_2M_KARRAS:
  case TEXTINV_SAMPLER_UNIPC:
    b = sampler->sigmas[at];
    a = 1.0f / sqrtf(b * b + 1.0f);
    b = b * a;
    break;
  default:
    a = sampler->alphas[(int)sampler->timesteps[at]];
    b = sqrtf(1.0f - a);
    a = sqrtf(a);
    break;
  }
  for (size_t j = 0; j < sampler->count; j++)
    latents[j] = a * x[j] + b * noise[j];
}

void ti_sampler_scale_input(const ti_sampler *sampler, int i, float *out, const float *latents)
{
  if (sampler->kind == TEXTINV_SAMPLER_EULER || sampler->kind == TEXTINV_SAMPLER_EULER_A) {
    const float sigma = sampler->sigmas[sampler->begin + i];
    const float scale = sqrtf(sigma * sigma + 1.0f);

    for (size_t j = 0; j < sampler->count; j++)
      out[j] = latents[j] / scale;
  } else if (out != latents) {
    memcpy(out, latents, sampler->count * sizeof(*out));
  }
}

int ti_sampler_needs_noise(const ti_sampler *sampler, int i)
{
  if (sampler->kind == TI_SAMPLER_DDPM)
    return sampler->timesteps[sampler->begin + i] > 0;
  return sampler->kind == TEXTINV_SAMPLER_EULER_A && sampler->sigmas[sampler->begin + i + 1] > 0;
}

void ti_sampler_step(ti_sampler *sampler, int i, float *latents, const float *model_output,
                     const float *noise)
{
  switch (sampler->kind) {
  case TEXTINV_SAMPLER_DDIM: ti_ddim_step(sampler, i, latents, model_output); break;
  case TI_SAMPLER_DDPM: ti_ddpm_step(sampler, i, latents, model_output, noise); break;
  case TEXTINV_SAMPLER_PNDM: ti_pndm_step(sampler, i, latents, model_output); break;
  case TEXTINV_SAMPLER_EULER: ti_euler_step(sampler, i, latents, model_output, NULL); break;
  case TEXTINV_SAMPLER_EULER_A: ti_euler_step(sampler, i, latents, model_output, noise); break;
  case TEXTINV_SAMPLER_UNIPC: ti_unipc_step(sampler, i, latents, model_output); break;
  default: ti_dpmpp_step(sampler, i, latents, model_output); break;
  }
}
