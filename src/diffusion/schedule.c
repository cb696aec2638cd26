/*
 * Noise schedules. Every number is rounded where torch rounds it, so alphas_cumprod has the bits
 * that diffusers' schedulers have: linspace is a fused multiply-add from the nearer end, cumprod
 * sums up in double.
 */
#include "schedule.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "alloc.h"
#include "format.h"

enum { MAX_TIMESTEPS = 100000 };

typedef struct name {
  const char *name;
  int value;
} name;

/* what a config without the keys means */
typedef struct beta_defaults {
  const char *kind;
  double start, end;
} beta_defaults;

static const beta_defaults ddpm_betas = { "linear", 0.0001, 0.02 };
static const beta_defaults karras_betas = { "linear", 0.00085, 0.012 };
static const beta_defaults sd_betas = { "scaled_linear", 0.00085, 0.012 };

/* a class of diffusers whose noise is that of betas, and what draws for it */
typedef struct scheduler_class {
  const char *name;
  textinv_sampler sampler;
  const beta_defaults *betas;
  int stands_in; /* the library has no sampler of this class: the nearest draws */
  int spacing;   /* that the class has whatever the config says, or -1 */
  int distilled;
} scheduler_class;

static const scheduler_class classes[] = {
  { "DDIMScheduler", TEXTINV_SAMPLER_DDIM, &ddpm_betas, 0, -1, 0 },
  { "DDIMParallelScheduler", TEXTINV_SAMPLER_DDIM, &ddpm_betas, 0, -1, 0 },
  { "DDPMScheduler", TI_SAMPLER_DDPM, &ddpm_betas, 0, -1, 0 },
  { "DDPMParallelScheduler", TI_SAMPLER_DDPM, &ddpm_betas, 0, -1, 0 },
  { "PNDMScheduler", TEXTINV_SAMPLER_PNDM, &ddpm_betas, 0, -1, 0 },
  { "EulerDiscreteScheduler", TEXTINV_SAMPLER_EULER, &ddpm_betas, 0, -1, 0 },
  { "EulerAncestralDiscreteScheduler", TEXTINV_SAMPLER_EULER_A, &ddpm_betas, 0, -1, 0 },
  { "DPMSolverMultistepScheduler", TEXTINV_SAMPLER_DPMPP_2M, &ddpm_betas, 0, -1, 0 },
  { "UniPCMultistepScheduler", TEXTINV_SAMPLER_UNIPC, &ddpm_betas, 0, -1, 0 },
  /* solvers of higher order without noise, or of the same family */
  { "DEISMultistepScheduler", TEXTINV_SAMPLER_DPMPP_2M, &ddpm_betas, 1, -1, 0 },
  { "DPMSolverSinglestepScheduler", TEXTINV_SAMPLER_DPMPP_2M, &ddpm_betas, 1, TI_SPACING_LINSPACE,
    0 },
  { "SASolverScheduler", TEXTINV_SAMPLER_DPMPP_2M, &ddpm_betas, 1, -1, 0 },
  { "LMSDiscreteScheduler", TEXTINV_SAMPLER_DPMPP_2M, &ddpm_betas, 1, -1, 0 },
  { "HeunDiscreteScheduler", TEXTINV_SAMPLER_DPMPP_2M, &karras_betas, 1, -1, 0 },
  { "KDPM2DiscreteScheduler", TEXTINV_SAMPLER_DPMPP_2M, &karras_betas, 1, -1, 0 },
  /* with fresh noise in every step */
  { "KDPM2AncestralDiscreteScheduler", TEXTINV_SAMPLER_EULER_A, &karras_betas, 1, -1, 0 },
  { "DPMSolverSDEScheduler", TEXTINV_SAMPLER_EULER_A, &karras_betas, 1, -1, 0 },
  { "LCMScheduler", TEXTINV_SAMPLER_EULER_A, &sd_betas, 1, TI_SPACING_TRAILING, 1 },
  { "TCDScheduler", TEXTINV_SAMPLER_EULER_A, &sd_betas, 1, TI_SPACING_TRAILING, 1 },
};
static const scheduler_class unknown_class = {
  NULL, TEXTINV_SAMPLER_DPMPP_2M, &ddpm_betas, 1, -1, 0
};
/* beginnings of classes with other noise, whose configs may have keys of betas left over */
static const char *const foreign[] = { "Flow", "EDM" };

enum { LINEAR, SCALED_LINEAR, SQUAREDCOS };
static const name beta_schedules[] = {
  { "linear", LINEAR },
  { "scaled_linear", SCALED_LINEAR },
  { "squaredcos_cap_v2", SQUAREDCOS },
  { NULL, 0 },
};
static const name predictions[] = {
  { "epsilon", TI_PREDICT_EPSILON },
  { "v_prediction", TI_PREDICT_V },
  { "sample", TI_PREDICT_SAMPLE },
  { NULL, 0 },
};
static const name spacings[] = {
  { "leading", TI_SPACING_LEADING },
  { "trailing", TI_SPACING_TRAILING },
  { "linspace", TI_SPACING_LINSPACE },
  { NULL, 0 },
};
static const name final_sigmas[] = { { "zero", 0 }, { "sigma_min", 1 }, { NULL, 0 } };

/* one of the names; what is met and all names are in the message */
static textinv_status find_name(ti_error *error, const char *path, const char *key, const char *met,
                                const name *names, int *out)
{
  char known[256] = "";
  size_t len = 0;

  for (const name *n = names; n->name; n++) {
    if (strcmp(met, n->name) == 0) {
      *out = n->value;
      return TEXTINV_OK;
    }
    len += ti_format(known + len, sizeof(known) - len, "%s%s", len ? ", " : "", n->name);
  }
  return ti_fail(error, TEXTINV_E_UNSUPPORTED, "%s: \"%s\" is \"%s\", expected one of %s", path,
                 key, met, known);
}

static textinv_status read_name(const ti_json *config, ti_error *error, const char *key,
                                const char *fallback, const name *names, int *out)
{
  textinv_status status;
  const char *met;

  if ((status = ti_json_string(config, error, key, fallback, &met)) < 0)
    return status;
  return find_name(error, config->path, key, met, names, out);
}

/* ------ the class */

static int tells_all_betas(const ti_json *config)
{
  return ti_json_has(config, "trained_betas") ||
         (ti_json_has(config, "beta_schedule") && ti_json_has(config, "beta_start") &&
          ti_json_has(config, "beta_end"));
}

/* met: its name, owned by the caller or the config */
static textinv_status find_class(const scheduler_class **out, const char **met, ti_error *error,
                                 const ti_json *config, const char *class_name,
                                 const char *index_path)
{
  int other = 0;
  textinv_status status;

  *met = class_name;
  if (!class_name && (status = ti_json_string(config, error, "_class_name", NULL, met)) < 0)
    return status;
  if (!*met)
    return ti_fail(error, TEXTINV_E_FORMAT, "%s: key \"_class_name\" is missing", config->path);
  for (size_t i = 0; i < sizeof(classes) / sizeof(*classes); i++) {
    if (!strcmp(*met, classes[i].name)) {
      *out = &classes[i];
      return TEXTINV_OK;
    }
  }
  for (size_t i = 0; i < sizeof(foreign) / sizeof(*foreign); i++)
    other |= !strncmp(*met, foreign[i], strlen(foreign[i]));
  if (other || !tells_all_betas(config))
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: \"%s\" is \"%s\", expected a class with a schedule of betas, such as %s",
                   class_name ? index_path : config->path, class_name ? "scheduler" : "_class_name",
                   *met, classes[0].name);
  *out = &unknown_class;
  return TEXTINV_OK;
}

/* ------ betas */

static void linspace(float *out, int count, double first, double last)
{
  const float start = (float)first, end = (float)last;
  const float step = count > 1 ? (end - start) / (float)(count - 1) : 0.0f;

  for (int i = 0; i < count; i++)
    out[i] = i < count / 2 ? fmaf(step, (float)i, start) : fmaf(-step, (float)(count - 1 - i), end);
  if (count == 1)
    out[0] = start;
}

static double cosine_alpha_bar(double t)
{
  const double c = cos((t + 0.008) / 1.008 * 3.14159265358979323846 / 2);

  return c * c;
}

static void cumprod_of_alphas(float *out, const float *betas, int count)
{
  double product = 1.0;

  for (int i = 0; i < count; i++) {
    product *= 1.0f - betas[i];
    out[i] = (float)product;
  }
}

/* Lin et al. 2023, algorithm 1: shift and scale sqrt(alphas_cumprod) so that it ends with 0 */
static void rescale_zero_snr(float *betas, float *scratch, int count)
{
  float first, last, scale;

  cumprod_of_alphas(scratch, betas, count);
  for (int i = 0; i < count; i++)
    scratch[i] = sqrtf(scratch[i]);
  first = scratch[0];
  last = scratch[count - 1];
  scale = first / (first - last);
  for (int i = 0; i < count; i++) {
    scratch[i] = (scratch[i] - last) * scale;
    scratch[i] = scratch[i] * scratch[i];
  }
  betas[0] = 1.0f - scratch[0];
  for (int i = 1; i < count; i++)
    betas[i] = 1.0f - scratch[i] / scratch[i - 1];
}

static textinv_status trained_betas(float *betas, ti_error *error, const ti_json *config, int count)
{
  double *values = ti_calloc((size_t)count, sizeof(*values));
  textinv_status status;
  int met;

  if (!values)
    return ti_fail_nomem(error, (size_t)count * sizeof(*values), "betas");
  if ((status = ti_json_floats(config, error, "trained_betas", values, count, &met)) < 0)
    goto out;
  if (met != count) {
    status = ti_fail(error, TEXTINV_E_FORMAT,
                     "%s: \"trained_betas\" has %d values, expected %d as num_train_timesteps says",
                     config->path, met, count);
    goto out;
  }
  for (int i = 0; i < count; i++)
    betas[i] = (float)values[i];
out:
  ti_free(values);
  return status;
}

/* [out->timesteps] */
static textinv_status read_betas(float *betas, ti_schedule *out, ti_error *error,
                                 const ti_json *config, const beta_defaults *defaults)
{
  const int count = out->timesteps;
  double first, last;
  textinv_status status;
  int kind;

  if ((status = read_name(config, error, "beta_schedule", defaults->kind, beta_schedules, &kind)) <
        0 ||
      (status = ti_json_float(config, error, "beta_start", defaults->start, 0, 1, &first)) < 0 ||
      (status = ti_json_float(config, error, "beta_end", defaults->end, 0, 1, &last)) < 0)
    return status;
  out->cosine = kind == SQUAREDCOS;

  if (ti_json_has(config, "trained_betas")) {
    if ((status = trained_betas(betas, error, config, count)) < 0)
      return status;
  } else if (kind == LINEAR) {
    linspace(betas, count, first, last);
  } else if (kind == SCALED_LINEAR) {
    linspace(betas, count, sqrt(first), sqrt(last));
    for (int i = 0; i < count; i++)
      betas[i] = betas[i] * betas[i];
  } else {
    for (int i = 0; i < count; i++) {
      const double a = cosine_alpha_bar((double)i / count);
      const double b = cosine_alpha_bar((double)(i + 1) / count);

      betas[i] = (float)fmin(1 - b / a, 0.999);
    }
  }

  for (int i = 0; i < count; i++) {
    if (!(betas[i] >= 0 && betas[i] < 1))
      return ti_fail(error, TEXTINV_E_FORMAT, "%s: beta of timestep %d is %g, expected 0..1",
                     config->path, i, betas[i]);
  }
  return TEXTINV_OK;
}

static textinv_status read_alphas(ti_schedule *out, ti_error *error, const ti_json *config,
                                  const beta_defaults *defaults)
{
  const int count = out->timesteps;
  float *betas = ti_calloc((size_t)count, sizeof(*betas));
  textinv_status status;

  out->alphas_cumprod = ti_calloc((size_t)count, sizeof(float));
  out->alphas_cumprod_plain = ti_calloc((size_t)count, sizeof(float));
  if (!betas || !out->alphas_cumprod || !out->alphas_cumprod_plain) {
    status = ti_fail_nomem(error, (size_t)count * sizeof(float), "the noise schedule");
    goto out;
  }
  if ((status = read_betas(betas, out, error, config, defaults)) < 0)
    goto out;
  cumprod_of_alphas(out->alphas_cumprod_plain, betas, count);
  if (!(out->alphas_cumprod_plain[count - 1] > 0 && out->alphas_cumprod_plain[count - 1] < 1)) {
    status = ti_fail(
      error, TEXTINV_E_FORMAT,
      "%s: the betas leave a signal of %g at the last timestep, expected one between "
      "0 and 1",
      config->path, out->alphas_cumprod_plain[count - 1]);
    goto out;
  }
  if (out->rescale_zero_snr) {
    if (count < 2) {
      status = ti_fail(error, TEXTINV_E_FORMAT,
                       "%s: \"rescale_betas_zero_snr\" needs 2 timesteps or more, "
                       "\"num_train_timesteps\" is %d",
                       config->path, count);
      goto out;
    }
    rescale_zero_snr(betas, out->alphas_cumprod, count);
  }
  cumprod_of_alphas(out->alphas_cumprod, betas, count);
  /* equal sqrt(alphas) at both ends: nothing to scale by */
  if (!isfinite(out->alphas_cumprod[count - 1]))
    status = ti_fail(error, TEXTINV_E_FORMAT,
                     "%s: the betas cannot be rescaled to a zero signal at the last timestep",
                     config->path);
out:
  ti_free(betas);
  return status;
}

/* ------ keys that change what samplers do */

/* samplers that draw without this key */
static textinv_status note_flag(ti_schedule *out, ti_error *error, const ti_json *config,
                                const char *key, unsigned samplers)
{
  textinv_status status;
  int set;

  if ((status = ti_json_bool(config, error, key, 0, &set)) < 0)
    return status;
  for (int i = 0; set && i < TI_NUM_SAMPLERS; i++) {
    if (samplers & (1u << i))
      out->left_out[i] = key;
  }
  return status;
}

static textinv_status note_other(ti_schedule *out, ti_error *error, const ti_json *config,
                                 const char *key, const char *known, const char *known2,
                                 unsigned samplers)
{
  textinv_status status;
  const char *met;

  if ((status = ti_json_string(config, error, key, known, &met)) < 0)
    return status;
  for (int i = 0; strcmp(met, known) != 0 && strcmp(met, known2) != 0 && i < TI_NUM_SAMPLERS; i++) {
    if (samplers & (1u << i))
      out->left_out[i] = key;
  }
  return status;
}

static textinv_status read_sampler_keys(ti_schedule *out, ti_error *error, const ti_json *config)
{
  const unsigned ddim = 1u << TEXTINV_SAMPLER_DDIM, ddpm = 1u << TI_SAMPLER_DDPM;
  const unsigned euler = 1u << TEXTINV_SAMPLER_EULER;
  const unsigned dpmpp = 1u << TEXTINV_SAMPLER_DPMPP_2M | 1u << TEXTINV_SAMPLER_DPMPP_2M_KARRAS;
  const unsigned unipc = 1u << TEXTINV_SAMPLER_UNIPC;
  const double inf = INFINITY;
  const char *solver, *variance;
  textinv_status status;
  int predict_x0;

  if ((status = ti_json_bool(config, error, "use_karras_sigmas", 0, &out->use_karras_sigmas)) < 0 ||
      (status = ti_json_float(config, error, "sigma_min", 0, 0, 1e6, &out->sigma_min)) < 0 ||
      (status = ti_json_float(config, error, "sigma_max", 0, 0, 1e6, &out->sigma_max)) < 0 ||
      (status = read_name(config, error, "final_sigmas_type", "zero", final_sigmas,
                          &out->final_sigma_min)) < 0 ||
      (status = ti_json_int(config, error, "solver_order", 2, 1, 100, &out->solver_order)) < 0 ||
      (status = ti_json_bool(config, error, "lower_order_final", 1, &out->lower_order_final)) < 0 ||
      (status = ti_json_bool(config, error, "euler_at_final", 0, &out->euler_at_final)) < 0 ||
      (status = ti_json_float(config, error, "lambda_min_clipped", -inf, -inf, inf,
                              &out->lambda_min_clipped)) < 0 ||
      (status = ti_json_string(config, error, "solver_type", "midpoint", &solver)) < 0)
    return status;
  out->solver_heun = strcmp(solver, "heun") == 0;
  out->solver_bh1 = strcmp(solver, "bh1") == 0;
  if (out->solver_order > 2) {
    out->solver_order = 2;
    out->left_out[TEXTINV_SAMPLER_DPMPP_2M] = "solver_order";
    out->left_out[TEXTINV_SAMPLER_DPMPP_2M_KARRAS] = "solver_order";
    out->left_out[TEXTINV_SAMPLER_UNIPC] = "solver_order";
  }

  if ((status = note_flag(out, error, config, "thresholding", ddim | ddpm | dpmpp | unipc)) < 0 ||
      (status = note_flag(out, error, config, "use_exponential_sigmas", euler | dpmpp | unipc)) <
        0 ||
      (status = note_flag(out, error, config, "use_beta_sigmas", euler | dpmpp | unipc)) < 0 ||
      (status = note_flag(out, error, config, "use_lu_lambdas", dpmpp)) < 0 ||
      (status = note_flag(out, error, config, "use_flow_sigmas", dpmpp | unipc)) < 0 ||
      (status = note_other(out, error, config, "algorithm_type", "dpmsolver++", "deis", dpmpp)) <
        0 ||
      (status = note_other(out, error, config, "interpolation_type", "linear", "linear", euler)) <
        0 ||
      (out->prediction == TI_PREDICT_V && (status = note_other(out, error, config, "timestep_type",
                                                               "discrete", "discrete", euler)) < 0))
    return status;
  if ((status = ti_json_bool(config, error, "predict_x0", 1, &predict_x0)) < 0 ||
      (status = ti_json_string(config, error, "variance_type", "fixed_small", &variance)) < 0)
    return status;
  if (!predict_x0)
    out->left_out[TEXTINV_SAMPLER_UNIPC] = "predict_x0";
  if (json_array_size(json_object_get(config->root, "disable_corrector")) > 0)
    out->left_out[TEXTINV_SAMPLER_UNIPC] = "disable_corrector";
  if (strcmp(variance, "fixed_small_log") == 0)
    out->variance = TI_VARIANCE_SMALL_LOG;
  else if (strcmp(variance, "fixed_large") == 0)
    out->variance = TI_VARIANCE_LARGE;
  else if (strcmp(variance, "fixed_small") != 0)
    out->left_out[TI_SAMPLER_DDPM] = "variance_type";
  /* the others say what noise a step adds, and these add none */
  if (strcmp(variance, "learned") == 0 || strcmp(variance, "learned_range") == 0) {
    out->left_out[TEXTINV_SAMPLER_DPMPP_2M] = "variance_type";
    out->left_out[TEXTINV_SAMPLER_DPMPP_2M_KARRAS] = "variance_type";
  }
  return TEXTINV_OK;
}

/*
 * Not a matter of samplers: the noise is not that of the betas, or the model takes timesteps of
 * another kind.
 */
static textinv_status refuse_other_noise(const ti_schedule *s, ti_error *error,
                                         const ti_json *config)
{
  const char *type;
  textinv_status status;
  int flow;

  if ((status = ti_json_bool(config, error, "use_flow_sigmas", 0, &flow)) < 0 ||
      (status = ti_json_string(config, error, "timestep_type", "discrete", &type)) < 0)
    return status;
  if (flow && (s->sampler == TEXTINV_SAMPLER_DPMPP_2M || s->sampler == TEXTINV_SAMPLER_UNIPC))
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: \"use_flow_sigmas\" is true, expected false: a schedule of betas",
                   config->path);
  if (s->sampler == TEXTINV_SAMPLER_EULER && s->prediction == TI_PREDICT_V &&
      strcmp(type, "discrete") != 0)
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: \"timestep_type\" is \"%s\", expected discrete", config->path, type);
  return TEXTINV_OK;
}

textinv_status ti_schedule_read(ti_schedule *out, ti_error *error, const ti_json *config,
                                const char *class_name, const char *index_path)
{
  const scheduler_class *found = NULL;
  const char *met;
  textinv_status status;
  int value;

  memset(out, 0, sizeof(*out));
  if ((status = find_class(&found, &met, error, config, class_name, index_path)) < 0)
    goto out;
  ti_format(out->class_name, sizeof(out->class_name), "%s", met);
  out->sampler = found->sampler;
  out->stands_in = found->stands_in;
  out->distilled = found->distilled;
  out->has_fixed_spacing = found->spacing >= 0;
  if (out->has_fixed_spacing)
    out->fixed_spacing = (ti_spacing)found->spacing;
  if ((status = read_name(config, error, "prediction_type", "epsilon", predictions, &value)) < 0)
    goto out;
  out->prediction = (ti_prediction)value;
  if ((status = read_name(config, error, "timestep_spacing", "leading", spacings, &value)) < 0)
    goto out;
  out->spacing = (ti_spacing)value;
  out->has_spacing = ti_json_has(config, "timestep_spacing");
  out->has_set_alpha_to_one = ti_json_has(config, "set_alpha_to_one");

  if ((status = ti_json_int(config, error, "num_train_timesteps", 1000, 1, MAX_TIMESTEPS,
                            &out->timesteps)) < 0 ||
      (status = ti_json_int(config, error, "steps_offset", 0, 0, out->timesteps - 1,
                            &out->steps_offset)) < 0 ||
      (status = ti_json_bool(config, error, "clip_sample", 1, &out->clip_sample)) < 0 ||
      (status = ti_json_float(config, error, "clip_sample_range", 1.0, 0, 1e6,
                              &out->clip_sample_range)) < 0 ||
      (status = ti_json_bool(config, error, "set_alpha_to_one", 1, &out->set_alpha_to_one)) < 0 ||
      (status = ti_json_bool(config, error, "skip_prk_steps", 0, &out->skip_prk_steps)) < 0 ||
      (status = ti_json_bool(config, error, "rescale_betas_zero_snr", 0, &out->rescale_zero_snr)) <
        0 ||
      (status = read_alphas(out, error, config, found->betas)) < 0 ||
      (status = read_sampler_keys(out, error, config)) < 0 ||
      (status = refuse_other_noise(out, error, config)) < 0)
    goto out;

  out->named_steps_offset = out->steps_offset;
  out->named_clip_sample = out->clip_sample;
  out->has_steps_offset = ti_json_has(config, "steps_offset");
  out->has_clip_sample = ti_json_has(config, "clip_sample");
  out->has_skip_prk_steps = ti_json_has(config, "skip_prk_steps") ||
                            (out->sampler == TEXTINV_SAMPLER_PNDM && !out->stands_in);

  if (out->sampler == TEXTINV_SAMPLER_DPMPP_2M && out->use_karras_sigmas)
    out->sampler = TEXTINV_SAMPLER_DPMPP_2M_KARRAS;
out:
  if (status < 0)
    ti_schedule_free(out);
  return status;
}

void ti_schedule_update(ti_schedule *s, int inpainting)
{
  s->steps_offset = 1;
  if (s->has_steps_offset)
    s->named_steps_offset = 1;
  if (inpainting) {
    s->skip_prk_steps |= s->has_skip_prk_steps;
    return;
  }
  s->clip_sample = 0;
  if (s->has_clip_sample)
    s->named_clip_sample = 0;
}

void ti_schedule_free(ti_schedule *schedule)
{
  ti_free(schedule->alphas_cumprod);
  ti_free(schedule->alphas_cumprod_plain);
  memset(schedule, 0, sizeof(*schedule));
}

void ti_schedule_add_noise(const ti_schedule *s, int timestep, float *noisy, const float *x,
                           const float *noise, size_t count)
{
  const float a = sqrtf(s->alphas_cumprod[timestep]);
  const float b = sqrtf(1.0f - s->alphas_cumprod[timestep]);

  for (size_t i = 0; i < count; i++)
    noisy[i] = a * x[i] + b * noise[i];
}

void ti_schedule_target(const ti_schedule *s, int timestep, float *target, const float *x,
                        const float *noise, size_t count)
{
  const float a = sqrtf(s->alphas_cumprod[timestep]);
  const float b = sqrtf(1.0f - s->alphas_cumprod[timestep]);

  for (size_t i = 0; i < count; i++) {
    switch (s->prediction) {
    case TI_PREDICT_EPSILON: target[i] = noise[i]; break;
    case TI_PREDICT_V: target[i] = a * noise[i] - b * x[i]; break;
    case TI_PREDICT_SAMPLE: target[i] = x[i]; break;
    }
  }
}
