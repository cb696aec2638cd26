/* schedules and samplers against diffusers (tests/golden/samplers.py), and the number of steps */
#include "sampler.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guidance.h"
#include "safetensors.h"
#include "testing.h"
#include "testing_schedule.h"

enum { COUNT = 8 };

static ti_safetensors *golden;

static const float *values(const char *name, size_t *count)
{
  const ti_tensor *t = ti_safetensors_find(golden, name);

  assert_non_null(t);
  assert_int_equal(t->dtype, TI_FILE_F32);
  *count = t->count;
  return t->data;
}

static textinv_sampler kind_of(const char *name)
{
  for (textinv_sampler kind = TEXTINV_SAMPLER_DEFAULT; kind < TI_NUM_SAMPLERS; kind++)
    if (strcmp(name, ti_sampler_name(kind)) == 0)
      return kind;
  fail_msg("no sampler %s", name);
  return 0;
}

static double relative_error(const float *a, const float *b)
{
  double difference = 0, norm = 0;

  for (int i = 0; i < COUNT; i++) {
    difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    norm += (double)b[i] * b[i];
  }
  return sqrt(difference / norm);
}

static double run_case(const char *name, const float *pool)
{
  char key[64], what[200];
  const char *text, *kind;
  const float *timesteps, *latents, *sigma;
  float x[COUNT + 1], input[COUNT + 1], output[COUNT]; /* and one that no sampler may touch */
  size_t count, evaluations;
  ti_schedule schedule;
  textinv_sampler sampler_kind;
  ti_sampler *sampler;
  ti_json json;
  ti_error error;
  double strength, worst = 0;
  int steps, masked;

  snprintf(key, sizeof(key), "%s.config", name);
  read_schedule(&schedule, ti_safetensors_metadata(golden, key));
  snprintf(key, sizeof(key), "%s.case", name);
  text = ti_safetensors_metadata(golden, key);
  snprintf(what, sizeof(what), "%s %s", name, text);
  assert_int_equal(ti_json_parse(&json, &error, key, text, strlen(text)), 0);
  assert_int_equal(ti_json_string(&json, &error, "kind", NULL, &kind), 0);
  assert_int_equal(ti_json_int(&json, &error, "steps", 0, 1, 1000, &steps), 0);
  assert_int_equal(ti_json_float(&json, &error, "strength", 0, 0, 1, &strength), 0);
  assert_int_equal(ti_json_bool(&json, &error, "masked", 0, &masked), 0);
  sampler_kind = kind_of(kind);
  if (sampler_kind == TI_SAMPLER_DDPM) /* only as the schedule's own */
    sampler_kind = TEXTINV_SAMPLER_DEFAULT;
  if (ti_sampler_new(&sampler, &error, &schedule, sampler_kind, steps, (float)strength, COUNT) < 0)
    fail_msg("%s: %s", what, error.text);
  ti_schedule_free(&schedule);

  snprintf(key, sizeof(key), "%s.timesteps", name);
  timesteps = values(key, &evaluations);
  if (ti_sampler_evaluations(sampler) != (int)evaluations)
    fail_msg("%s: %d evaluations", what, ti_sampler_evaluations(sampler));
  for (size_t i = 0; i < evaluations; i++)
    if (!(fabsf(ti_sampler_timestep(sampler, (int)i) - timesteps[i]) <= 1e-3f))
      fail_msg("%s: timestep %zu is %g, expected %g", what, i, ti_sampler_timestep(sampler, (int)i),
               timesteps[i]);
  snprintf(key, sizeof(key), "%s.init_sigma", name);
  sigma = values(key, &count);
  if (!(fabsf(ti_sampler_init_sigma(sampler) - *sigma) <= 1e-6f * *sigma))
    fail_msg("%s: init sigma %.9g, expected %.9g", what, ti_sampler_init_sigma(sampler), *sigma);

  snprintf(key, sizeof(key), "%s.latents", name);
  latents = values(key, &count);
  assert_int_equal(count, (evaluations + 1) * COUNT);
  if (strength < 1) {
    ti_sampler_add_noise(sampler, 0, x, pool, pool + COUNT);
  } else {
    for (int j = 0; j < COUNT; j++)
      x[j] = pool[COUNT + j] * ti_sampler_init_sigma(sampler);
  }
  x[COUNT] = input[COUNT] = 7.0f;
  for (size_t i = 0; i <= evaluations; i++) {
    const double distance = relative_error(x, latents + i * COUNT);

    if (!(distance < 1e-5))
      fail_msg("%s: after %zu steps off by %g", what, i, distance);
    worst = fmax(worst, distance);
    if (i == evaluations)
      break;
    ti_sampler_scale_input(sampler, (int)i, input, x);
    for (int j = 0; j < COUNT; j++)
      output[j] = pool[(2 + i) % 64 * COUNT + j] + 0.1f * input[j];
    ti_sampler_step(sampler, (int)i, x, output,
                    ti_sampler_needs_noise(sampler, (int)i) ? pool + (17 + i) % 64 * COUNT : NULL);
    if (ti_sampler_needs_noise(sampler, (int)i) && strcmp(kind, "euler_a") && strcmp(kind, "ddpm"))
      fail_msg("%s: noise in step %zu", what, i);
    if (masked && i + 1 < evaluations)
      ti_sampler_add_noise(sampler, (int)i + 1, input, pool, pool + COUNT);
    if (masked)
      memcpy(x, i + 1 < evaluations ? input : pool, COUNT / 2 * sizeof(*x));
  }
  ti_sampler_free(sampler);
  ti_json_close(&json);
  assert_true(x[COUNT] == 7.0f && input[COUNT] == 7.0f);
  return worst;
}

static void guidance(void **state)
{
  enum { N = 4 };
  static const int percents[] = { 0, 70, 100 };
  size_t count;
  const float *pool = values("pool", &count);

  (void)state;
  for (int k = 0; k < 3; k++) {
    float outputs[2 * N * COUNT];
    char key[64];

    snprintf(key, sizeof(key), "guidance.%d", percents[k]);
    const float *expected = values(key, &count);

    assert_int_equal(count, N * COUNT);
    for (size_t i = 0; i < count; i++) {
      outputs[i] = pool[i] + 2.0f;
      outputs[count + i] = pool[count + i] / 2.0f;
    }
    ti_guide(outputs, N, COUNT, 7.5f, (float)percents[k] / 100.0f);
    for (int i = 0; i < N; i++)
      assert_true(relative_error(outputs + i * COUNT, expected + i * COUNT) < 1e-6);
  }

  /* nothing to scale */
  float same[4] = { 1.0f, 1.0f, 3.0f, 3.0f };

  ti_guide(same, 1, 2, 2.0f, 0.7f);
  assert_float_equal(same[0], 5.0f, 1e-6f);
  assert_float_equal(same[1], 5.0f, 1e-6f);
}

static void equal_to_diffusers(void **state)
{
  size_t count;
  const float *pool = values("pool", &count);
  double worst = 0;
  int cases = 0;

  (void)state;
  for (;; cases++) {
    char key[64];

    snprintf(key, sizeof(key), "%03d.case", cases);
    if (!ti_safetensors_metadata(golden, key))
      break;
    key[3] = 0;
    worst = fmax(worst, run_case(key, pool));
  }
  assert_true(cases > 200);
  print_message("%d cases, largest relative error %.2g\n", cases, worst);
}

static void schedules_have_torchs_bits(void **state)
{
  static const char *const names[] = {
    "sd",
    "linear",
    "cosine",
    "zero_snr",
    "short",
    "DEISMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "UniPCMultistepScheduler",
    "LMSDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "LCMScheduler",
    "TCDScheduler",
  };

  (void)state;
  for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
    char key[64];
    const float *expected;
    ti_schedule schedule;
    size_t count, off = 0;
    /* torch's square root is MKL's where that is built in, and that one is not always the nearest
     */
    const int exact = strcmp(names[i], "zero_snr") != 0;

    snprintf(key, sizeof(key), "schedule.%s", names[i]);
    expected = values(key, &count);
    read_schedule(&schedule, ti_safetensors_metadata(golden, key));
    assert_int_equal(schedule.timesteps, count);
    for (size_t t = 0; t < count; t++) {
      const float difference = fabsf(schedule.alphas_cumprod[t] - expected[t]);

      off += !(difference <= (exact ? 0 : 1e-6f * expected[t]));
    }
    if (off > 0)
      fail_msg("%s: %zu of %zu differ", names[i], off, count);
    ti_schedule_free(&schedule);
  }
}

static void noise_and_targets(void **state)
{
  static const char *const kinds[] = { "epsilon", "v_prediction", "sample" };
  const float x[2] = { 0.5f, -1.25f }, noise[2] = { 1.5f, 0.25f };

  (void)state;
  for (int k = 0; k < 3; k++) {
    char text[200];
    float noisy[2], target[2];
    ti_schedule s;

    snprintf(text, sizeof(text),
             "{\"_class_name\": \"DDIMScheduler\", \"beta_schedule\": \"scaled_linear\", "
             "\"prediction_type\": \"%s\"}",
             kinds[k]);
    read_schedule(&s, text);
    ti_schedule_add_noise(&s, 500, noisy, x, noise, 2);
    ti_schedule_target(&s, 500, target, x, noise, 2);
    for (int i = 0; i < 2; i++) {
      const double a = sqrt(s.alphas_cumprod[500]), b = sqrt(1.0 - s.alphas_cumprod[500]);
      const double expected[3] = { noise[i], a * noise[i] - b * x[i], x[i] };

      assert_true(fabs(noisy[i] - (a * x[i] + b * noise[i])) < 1e-6);
      assert_true(fabs(target[i] - expected[k]) < 1e-6);
    }
    ti_schedule_free(&s);
  }
}

/* an output that knows the noise gives the picture back, at every step of every sampler */
static void denoises(void **state)
{
  static const char *const predictions[] = { "epsilon", "v_prediction", "sample" };
  const float x0[COUNT] = { 1, -2, 0.5f, 0, 3, -0.25f, 1.5f, -1 };
  const float noise[COUNT] = { -0.5f, 1, 2, -1.5f, 0.25f, 0, 1, -3 };
  const float ones[COUNT] = { 1, 1, 1, 1, 1, 1, 1, 1 }, zeros[COUNT] = { 0 };

  (void)state;
  for (int k = 0; k < 3; k++) {
    ti_schedule schedule;
    char config[256];

    snprintf(config, sizeof(config),
             "{\"_class_name\": \"DDPMScheduler\", \"beta_schedule\": \"scaled_linear\", "
             "\"beta_start\": 0.00085, \"beta_end\": 0.012, \"prediction_type\": \"%s\"}",
             predictions[k]);
    read_schedule(&schedule, config);
    for (textinv_sampler kind = TEXTINV_SAMPLER_DEFAULT; kind < TI_SAMPLER_DDPM; kind++) {
      ti_sampler *sampler;
      ti_error error;

      if (ti_sampler_new(&sampler, &error, &schedule, kind, 20, 0.8f, COUNT) < 0)
        fail_msg("%s", error.text);
      for (int i = 0; i < ti_sampler_evaluations(sampler); i++) {
        float scaled[COUNT], output[COUNT], out[COUNT], a[COUNT], b[COUNT];

        /* what the UNet gets is a x0 + b noise */
        ti_sampler_add_noise(sampler, i, a, ones, zeros);
        ti_sampler_scale_input(sampler, i, a, a);
        ti_sampler_add_noise(sampler, i, b, zeros, ones);
        ti_sampler_scale_input(sampler, i, b, b);
        ti_sampler_add_noise(sampler, i, scaled, x0, noise);
        ti_sampler_scale_input(sampler, i, scaled, scaled);
        for (int j = 0; j < COUNT; j++)
          output[j] = k == 0 ? noise[j] : k == 1 ? a[j] * noise[j] - b[j] * x0[j] : x0[j];
        ti_sampler_denoise(sampler, i, out, scaled, output);
        for (int j = 0; j < COUNT; j++) {
          if (!(fabsf(out[j] - x0[j]) < 1e-4f))
            fail_msg("%s, %s, evaluation %d: %g, expected %g", predictions[k],
                     ti_sampler_name(kind), i, (double)out[j], (double)x0[j]);
        }
      }
      ti_sampler_free(sampler);
    }
    ti_schedule_free(&schedule);
  }
}

/* a run from the start gives the same again: nothing is left of the one before */
static void samplers_start_anew(void **state)
{
  (void)state;
  for (textinv_sampler kind = 1; kind <= TEXTINV_SAMPLER_UNIPC; kind++) {
    float x[2][COUNT], out[COUNT];
    ti_schedule schedule;
    ti_sampler *sampler;
    ti_error error;

    read_schedule(&schedule, "{\"_class_name\": \"DDIMScheduler\", \"clip_sample\": false}");
    assert_int_equal(ti_sampler_new(&sampler, &error, &schedule, kind, 7, 1, COUNT), 0);
    for (int run = 0; run < 2; run++) {
      for (int j = 0; j < COUNT; j++)
        x[run][j] = (float)(j - 3) * ti_sampler_init_sigma(sampler);
      for (int i = 0; i < ti_sampler_evaluations(sampler); i++) {
        ti_sampler_scale_input(sampler, i, out, x[run]);
        ti_sampler_step(sampler, i, x[run], out, x[run]);
      }
    }
    assert_memory_equal(x[0], x[1], sizeof(x[0]));
    ti_sampler_free(sampler);
    ti_schedule_free(&schedule);
  }
}

/* a schedule of one timestep: what has a step at all makes one that is finite */
static void a_single_timestep(void **state)
{
  int samplers = 0;

  (void)state;
  for (int karras = 0; karras < 2; karras++) {
    for (textinv_sampler kind = 0; kind < TI_NUM_SAMPLERS - 1; kind++) {
      const float output[COUNT] = { 0.5f, -0.5f };
      float x[COUNT] = { 1, -1 };
      ti_schedule schedule;
      ti_sampler *sampler;
      ti_error error = { "" };

      read_schedule(&schedule, karras
                                 ? "{\"_class_name\":\"EulerDiscreteScheduler\",\"beta_start\":0.5,"
                                   "\"num_train_timesteps\":1,\"use_karras_sigmas\":true,"
                                   "\"timestep_spacing\":\"trailing\",\"skip_prk_steps\":true}"
                                 : "{\"_class_name\":\"DDIMScheduler\",\"beta_start\":0.5,"
                                   "\"num_train_timesteps\":1,\"skip_prk_steps\":true}");
      if (ti_sampler_new(&sampler, &error, &schedule, kind, 1, 1, COUNT) >= 0) {
        samplers++;
        assert_true(ti_sampler_timestep(sampler, 0) == 0);
        ti_sampler_step(sampler, 0, x, output, output);
        for (int j = 0; j < COUNT; j++)
          assert_true(isfinite(x[j]));
      } else {
        assert_non_null(strstr(error.text, "usable timesteps"));
      }
      ti_sampler_free(sampler);
      ti_schedule_free(&schedule);
    }
  }
  assert_in_range(samplers, 10, 16);
}

/* of the same noise, as epsilon and as the sample that it leaves, the first step is the same */
static void pndm_takes_samples(void **state)
{
  float x[2][COUNT], output[COUNT];

  (void)state;
  for (int sample = 0; sample < 2; sample++) {
    ti_schedule schedule;
    ti_sampler *sampler;
    ti_error error;

    read_schedule(&schedule, sample
                               ? "{\"_class_name\":\"PNDMScheduler\",\"skip_prk_steps\":true,"
                                 "\"prediction_type\":\"sample\"}"
                               : "{\"_class_name\":\"PNDMScheduler\",\"skip_prk_steps\":true}");
    assert_int_equal(
      ti_sampler_new(&sampler, &error, &schedule, TEXTINV_SAMPLER_PNDM, 10, 1, COUNT), 0);
    const float a = schedule.alphas_cumprod[(int)ti_sampler_timestep(sampler, 0)];

    for (int j = 0; j < COUNT; j++) {
      const float noise = 0.1f * (float)j - 0.4f;

      x[sample][j] = 1.0f - 0.3f * (float)j;
      output[j] = sample ? (x[sample][j] - sqrtf(1.0f - a) * noise) / sqrtf(a) : noise;
    }
    ti_sampler_step(sampler, 0, x[sample], output, NULL);
    ti_sampler_free(sampler);
    ti_schedule_free(&schedule);
  }
  assert_true(relative_error(x[1], x[0]) < 1e-5);
}

static void refuses_steps(void **state)
{
  static const struct {
    const char *more;
    textinv_sampler kind;
    int steps;
    float strength;
    textinv_status status;
    const char *part;
  } cases[] = {
    { "", TEXTINV_SAMPLER_DDIM, 0, 1, TEXTINV_E_INVALID, "steps is 0" },
    { "", TEXTINV_SAMPLER_DDIM, 1001, 1, TEXTINV_E_INVALID, "steps is 1001" },
    { "", TEXTINV_SAMPLER_EULER, 10, 0, TEXTINV_E_INVALID, "strength is 0" },
    { "", TEXTINV_SAMPLER_EULER, 10, 1.5f, TEXTINV_E_INVALID, "strength is 1.5" },
    { "", TEXTINV_SAMPLER_EULER, 10, NAN, TEXTINV_E_INVALID, "strength" },
    { "", TEXTINV_SAMPLER_EULER, 10, 0.05f, TEXTINV_E_INVALID, "less than one step" },
    { "", 8, 10, 1, TEXTINV_E_INVALID, "sampler is 8" },
    { "", -1, 10, 1, TEXTINV_E_INVALID, "sampler is -1" },
    { "", TEXTINV_SAMPLER_PNDM, 3, 1, TEXTINV_E_INVALID, "steps is 3" },
    { ", \"steps_offset\": 1", TEXTINV_SAMPLER_DDIM, 1000, 1, TEXTINV_E_INVALID, "steps is 1000" },
    { ", \"timestep_spacing\": \"leading\"", TEXTINV_SAMPLER_DPMPP_2M, 1000, 1, TEXTINV_E_INVALID,
      "steps is 1000" },
    { ", \"rescale_betas_zero_snr\": true, \"timestep_spacing\": \"trailing\"",
      TEXTINV_SAMPLER_DDIM, 10, 1, TEXTINV_E_UNSUPPORTED, "v_prediction" },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    char text[300];
    ti_schedule schedule;
    ti_sampler *sampler;
    ti_error error = { "" };
    textinv_status status;

    snprintf(text, sizeof(text), "{\"_class_name\": \"%s\"%s}",
             cases[i].kind == TEXTINV_SAMPLER_DEFAULT ? "DDPMScheduler" : "DDIMScheduler",
             cases[i].more);
    read_schedule(&schedule, text);
    status = ti_sampler_new(&sampler, &error, &schedule, cases[i].kind, cases[i].steps,
                            cases[i].strength, COUNT);
    if (status != cases[i].status || !strstr(error.text, cases[i].part))
      fail_msg("case %zu: %d, %s", i, status, error.text);
    assert_null(sampler);
    ti_schedule_free(&schedule);
  }
}

/* a strength of two decimals gives Python's int(steps * strength), though it comes as a float */
static void every_strength_keeps_the_steps_of_diffusers(void **state)
{
  ti_schedule schedule;
  ti_sampler *sampler;
  ti_error error;

  (void)state;
  read_schedule(&schedule, "{\"_class_name\": \"DDIMScheduler\"}");
  for (int k = 1; k <= 100; k++) {
    for (int steps = 1; steps <= 100; steps++) {
      const int kept = (int)(steps * (k / 100.0)); /* the double that Python reads */
      const float strength = (float)(k / 100.0);

      if (ti_sampler_new(&sampler, &error, &schedule, TEXTINV_SAMPLER_DDIM, steps, strength, 1) >=
          0) {
        if (ti_sampler_evaluations(sampler) != kept)
          fail_msg("strength 0.%02d of %d steps: %d, expected %d", k, steps,
                   ti_sampler_evaluations(sampler), kept);
        ti_sampler_free(sampler);
      } else if (kept) {
        fail_msg("strength 0.%02d of %d steps: %s", k, steps, error.text);
      }
    }
  }
  /* more digits than a decimal has stay as they are */
  assert_int_equal(
    ti_sampler_new(&sampler, &error, &schedule, TEXTINV_SAMPLER_DDIM, 3, nextafterf(1.0f, 0.0f), 1),
    0);
  assert_int_equal(ti_sampler_evaluations(sampler), 2);
  ti_sampler_free(sampler);
  ti_schedule_free(&schedule);
}

/* every number of steps that is let in stays inside the schedule and finite */
static void all_step_counts(void **state)
{
  static const char *const spacings[] = { "leading", "trailing", "linspace" };

  (void)state;
  for (int k = 0; k < 3; k++) {
    char text[200];
    ti_schedule schedule;

    snprintf(text, sizeof(text),
             "{\"_class_name\": \"DDIMScheduler\", \"num_train_timesteps\": 130, "
             "\"timestep_spacing\": \"%s\", \"clip_sample\": false}",
             spacings[k]);
    read_schedule(&schedule, text);
    for (textinv_sampler kind = 1; kind <= TEXTINV_SAMPLER_UNIPC; kind++) {
      for (int steps = kind == TEXTINV_SAMPLER_PNDM ? 4 : 1; steps <= 128; steps++) {
        float x[COUNT] = { 1, -1, 2, -2, 0.5f, -0.5f, 3, -3 }, out[COUNT];
        ti_sampler *sampler;
        ti_error error;

        if (ti_sampler_new(&sampler, &error, &schedule, kind, steps, 1, COUNT) < 0)
          fail_msg("%s %s %d: %s", spacings[k], ti_sampler_name(kind), steps, error.text);
        for (int i = 0; i < ti_sampler_evaluations(sampler); i++) {
          assert_true(ti_sampler_timestep(sampler, i) >= 0);
          assert_true(ti_sampler_timestep(sampler, i) < 130);
          ti_sampler_scale_input(sampler, i, out, x);
          ti_sampler_step(sampler, i, x, out, out);
        }
        for (int j = 0; j < COUNT; j++)
          assert_true(isfinite(x[j]));
        ti_sampler_free(sampler);
      }
    }
    ti_schedule_free(&schedule);
  }
}

/* ties are decided by how numpy's arange fills */
static void trailing_timesteps_are_numpys(void **state)
{
  static const textinv_sampler kinds[] = { TEXTINV_SAMPLER_DDIM, TEXTINV_SAMPLER_EULER,
                                           TEXTINV_SAMPLER_DPMPP_2M };
  ti_schedule schedule;

  (void)state;
  read_schedule(&schedule,
                "{\"_class_name\": \"DDIMScheduler\", \"timestep_spacing\": \"trailing\"}");
  for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
    uint32_t hash = 0x811c9dc5;
    char met[16];

    for (int steps = 1; steps <= 1000; steps++) {
      ti_sampler *sampler;
      ti_error error;

      if (ti_sampler_new(&sampler, &error, &schedule, kinds[k], steps, 1, 1) < 0)
        fail_msg("%d steps: %s", steps, error.text);
      for (int i = 0; i < steps; i++)
        hash = (hash ^ (uint32_t)ti_sampler_timestep(sampler, i)) * 0x01000193;
      ti_sampler_free(sampler);
    }
    snprintf(met, sizeof(met), "%08x", (unsigned)hash);
    assert_string_equal(met, ti_safetensors_metadata(golden, "trailing"));
  }
  ti_schedule_free(&schedule);
}

/* at sigmas[0] where numpy's arange has one value more, as diffusers 0.42.1 does */
static void euler_ramps_end_in_a_surplus_value(void **state)
{
  static const struct {
    int steps;
    float middle, last; /* timesteps 30 and steps - 1 */
  } cases[] = {
    { 60, 551.27783f, 16.0f }, { 61, 427.48978f, 0.0f },  { 103, 735.96252f, 0.0f },
    { 121, 785.95398f, 0.0f }, { 122, 788.17798f, 0.0f },
  };
  ti_schedule schedule;

  (void)state;
  read_schedule(&schedule, "{\"_class_name\": \"EulerDiscreteScheduler\", \"beta_start\": 0.00085, "
                           "\"beta_end\": 0.012, \"beta_schedule\": \"scaled_linear\", "
                           "\"timestep_spacing\": \"trailing\", \"use_karras_sigmas\": true}");
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    const int steps = cases[i].steps;
    ti_sampler *sampler;
    ti_error error;

    assert_int_equal(
      ti_sampler_new(&sampler, &error, &schedule, TEXTINV_SAMPLER_EULER, steps, 1, 1), 0);
    assert_int_equal(ti_sampler_evaluations(sampler), steps);
    assert_true(fabsf(ti_sampler_timestep(sampler, 30) - cases[i].middle) < 1e-3f);
    assert_true(fabsf(ti_sampler_timestep(sampler, steps - 1) - cases[i].last) < 1e-3f);
    ti_sampler_free(sampler);
  }
  ti_schedule_free(&schedule);
}

static void sampler_names(void **state)
{
  (void)state;
  assert_string_equal(ti_sampler_name(TEXTINV_SAMPLER_DPMPP_2M_KARRAS), "dpmpp_2m_karras");
  assert_string_equal(ti_sampler_name(99), "unknown");
  assert_string_equal(ti_sampler_a1111_name(TEXTINV_SAMPLER_EULER_A), "Euler a");
  assert_string_equal(ti_sampler_a1111_name(TEXTINV_SAMPLER_PNDM), "PLMS");
}

static int open_golden(void **state)
{
  ti_error error = { "" };

  (void)state;
  if (ti_safetensors_open(&golden, &error, "tests/golden/samplers.safetensors") < 0) {
    print_error("%s\n", error.text);
    return -1;
  }
  return 0;
}

static int close_golden(void **state)
{
  (void)state;
  ti_safetensors_close(golden);
  return 0;
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(equal_to_diffusers),
    cmocka_unit_test(schedules_have_torchs_bits),
    cmocka_unit_test(noise_and_targets),
    cmocka_unit_test(guidance),
    cmocka_unit_test(denoises),
    cmocka_unit_test(samplers_start_anew),
    cmocka_unit_test(a_single_timestep),
    cmocka_unit_test(pndm_takes_samples),
    cmocka_unit_test(refuses_steps),
    cmocka_unit_test(every_strength_keeps_the_steps_of_diffusers),
    cmocka_unit_test(all_step_counts),
    cmocka_unit_test(trailing_timesteps_are_numpys),
    cmocka_unit_test(euler_ramps_end_in_a_surplus_value),
    cmocka_unit_test(sampler_names),
  };

  return cmocka_run_group_tests(tests, open_golden, close_golden);
}
