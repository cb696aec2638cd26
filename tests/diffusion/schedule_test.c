/* what a scheduler's config may say, and what draws where there is no sampler of its class */
#include "schedule.h"

#include <stdio.h>
#include <string.h>

#include "sampler.h"
#include "testing.h"
#include "testing_schedule.h"

/* text of a config, status and a part of the message */
static void refuses_configs(void **state)
{
  static const struct {
    const char *text;
    textinv_status status;
    const char *part;
  } cases[] = {
    { "{}", TEXTINV_E_FORMAT, "_class_name" },
    { "{\"_class_name\": 3}", TEXTINV_E_FORMAT, "_class_name" },
    { "{\"_class_name\": \"EDMEulerScheduler\"}", TEXTINV_E_UNSUPPORTED,
      "\"_class_name\" is \"EDMEulerScheduler\", expected a class with a schedule of betas" },
    { "{\"_class_name\": \"FlowMatchEulerDiscreteScheduler\", \"trained_betas\": [0.1]}",
      TEXTINV_E_UNSUPPORTED, "FlowMatchEulerDiscreteScheduler" },
    { "{\"_class_name\": \"NewScheduler\", \"beta_start\": 0.001, \"beta_end\": 0.01}",
      TEXTINV_E_UNSUPPORTED, "NewScheduler" },
    { "{\"_class_name\": \"UniPCMultistepScheduler\", \"use_flow_sigmas\": true}",
      TEXTINV_E_UNSUPPORTED, "\"use_flow_sigmas\" is true" },
    { "{\"_class_name\": \"EulerDiscreteScheduler\", \"prediction_type\": \"v_prediction\", "
      "\"timestep_type\": \"continuous\"}",
      TEXTINV_E_UNSUPPORTED, "\"timestep_type\" is \"continuous\"" },
    { "{\"_class_name\": \"DDIMScheduler\", \"beta_schedule\": \"sigmoid\"}", TEXTINV_E_UNSUPPORTED,
      "\"beta_schedule\" is \"sigmoid\", expected one of linear, scaled_linear" },
    { "{\"_class_name\": \"DDIMScheduler\", \"prediction_type\": \"flow\"}", TEXTINV_E_UNSUPPORTED,
      "v_prediction" },
    { "{\"_class_name\": \"DDIMScheduler\", \"timestep_spacing\": \"even\"}", TEXTINV_E_UNSUPPORTED,
      "trailing" },
    { "{\"_class_name\": \"DDIMScheduler\", \"num_train_timesteps\": 2000000000}", TEXTINV_E_LIMIT,
      "num_train_timesteps" },
    { "{\"_class_name\": \"DDIMScheduler\", \"num_train_timesteps\": 0}", TEXTINV_E_LIMIT,
      "num_train_timesteps" },
    { "{\"_class_name\": \"DDIMScheduler\", \"steps_offset\": 1000}", TEXTINV_E_LIMIT,
      "steps_offset" },
    { "{\"_class_name\": \"DDIMScheduler\", \"beta_end\": 1.5}", TEXTINV_E_LIMIT, "beta_end" },
    { "{\"_class_name\": \"DDIMScheduler\", \"beta_start\": -1}", TEXTINV_E_LIMIT, "beta_start" },
    { "{\"_class_name\": \"DDIMScheduler\", \"beta_start\": 0, \"beta_end\": 0}", TEXTINV_E_FORMAT,
      "signal" },
    { "{\"_class_name\": \"DDIMScheduler\", \"beta_start\": 0.9, \"beta_end\": 0.99}",
      TEXTINV_E_FORMAT, "signal" },
    { "{\"_class_name\": \"DDIMScheduler\", \"trained_betas\": [0.1, 0.2]}", TEXTINV_E_FORMAT,
      "trained_betas" },
    { "{\"_class_name\": \"DDIMScheduler\", \"num_train_timesteps\": 2, \"trained_betas\": [0.1, "
      "7]}",
      TEXTINV_E_FORMAT, "beta of timestep 1 is 7" },
    { "{\"_class_name\": \"DDIMScheduler\", \"num_train_timesteps\": 1, "
      "\"rescale_betas_zero_snr\": true}",
      TEXTINV_E_FORMAT, "rescale_betas_zero_snr" },
    { "{\"_class_name\": \"DDIMScheduler\", \"num_train_timesteps\": 2, \"trained_betas\": [0.5, "
      "0], \"rescale_betas_zero_snr\": true}",
      TEXTINV_E_FORMAT, "cannot be rescaled" },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    ti_schedule schedule;
    ti_error error = { "" };
    ti_json json;
    textinv_status status;

    assert_int_equal(ti_json_parse(&json, &error, "s.json", cases[i].text, strlen(cases[i].text)),
                     0);
    status = ti_schedule_read(&schedule, &error, &json, NULL, NULL);
    if (status != cases[i].status || !strstr(error.text, cases[i].part) ||
        strncmp(error.text, "s.json: ", 8) != 0)
      fail_msg("%s: %d, %s", cases[i].text, status, error.text);
    assert_null(schedule.alphas_cumprod);
    ti_json_close(&json);
  }
}

/* every key with a value of a type that it does not have */
static void refuses_types(void **state)
{
  static const char *const keys[] = {
    "prediction_type",   "timestep_spacing",   "num_train_timesteps",
    "steps_offset",      "clip_sample",        "clip_sample_range",
    "set_alpha_to_one",  "skip_prk_steps",     "rescale_betas_zero_snr",
    "beta_schedule",     "beta_start",         "beta_end",
    "trained_betas",     "use_karras_sigmas",  "sigma_min",
    "sigma_max",         "final_sigmas_type",  "solver_order",
    "lower_order_final", "euler_at_final",     "lambda_min_clipped",
    "solver_type",       "thresholding",       "use_exponential_sigmas",
    "use_beta_sigmas",   "use_lu_lambdas",     "use_flow_sigmas",
    "algorithm_type",    "interpolation_type", "timestep_type",
    "predict_x0",        "variance_type",
  };

  (void)state;
  for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
    ti_schedule schedule;
    ti_error error = { "" };
    ti_json json;
    char text[160];

    snprintf(text, sizeof(text), "{\"_class_name\": \"EulerDiscreteScheduler\", \"%s\": {}%s}",
             keys[i], i ? ", \"prediction_type\": \"v_prediction\"" : "");
    assert_int_equal(ti_json_parse(&json, &error, "s.json", text, strlen(text)), 0);
    if (ti_schedule_read(&schedule, &error, &json, NULL, NULL) != TEXTINV_E_FORMAT ||
        !strstr(error.text, keys[i]) || !strstr(error.text, "is an object"))
      fail_msg("%s: %s", text, error.text);
    assert_null(schedule.alphas_cumprod);
    ti_json_close(&json);
  }
}

static int same_text(const char *a, const char *b)
{
  return a && b ? !strcmp(a, b) : a == b;
}

/* class and further keys, the sampler that draws, whether it stands in, and what it draws without
 */
static void other_classes_have_the_nearest_sampler(void **state)
{
  static const struct {
    const char *class_name, *more;
    textinv_sampler sampler;
    int stands_in, first; /* timestep of five steps */
    const char *left_out;
  } cases[] = {
    { "DDIMParallelScheduler", "", TEXTINV_SAMPLER_DDIM, 0, 800, NULL },
    { "DDPMParallelScheduler", "", TI_SAMPLER_DDPM, 0, 800, NULL },
    { "DEISMultistepScheduler", "\"algorithm_type\": \"deis\", \"solver_type\": \"logrho\", ",
      TEXTINV_SAMPLER_DPMPP_2M, 1, 999, NULL },
    { "DEISMultistepScheduler", "\"timestep_spacing\": \"leading\", ", TEXTINV_SAMPLER_DPMPP_2M, 1,
      830, NULL },
    { "UniPCMultistepScheduler", "", TEXTINV_SAMPLER_UNIPC, 0, 999, NULL },
    { "UniPCMultistepScheduler", "\"disable_corrector\": [0], ", TEXTINV_SAMPLER_UNIPC, 0, 999,
      "disable_corrector" },
    { "UniPCMultistepScheduler", "\"predict_x0\": false, ", TEXTINV_SAMPLER_UNIPC, 0, 999,
      "predict_x0" },
    { "UniPCMultistepScheduler", "\"solver_order\": 3, ", TEXTINV_SAMPLER_UNIPC, 0, 999,
      "solver_order" },
    { "DEISMultistepScheduler", "\"use_karras_sigmas\": true, ", TEXTINV_SAMPLER_DPMPP_2M_KARRAS, 1,
      999, NULL },
    { "DPMSolverSinglestepScheduler", "\"timestep_spacing\": \"leading\", ",
      TEXTINV_SAMPLER_DPMPP_2M, 1, 999, NULL },
    { "SASolverScheduler", "", TEXTINV_SAMPLER_DPMPP_2M, 1, 999, NULL },
    { "LMSDiscreteScheduler", "", TEXTINV_SAMPLER_DPMPP_2M, 1, 999, NULL },
    { "HeunDiscreteScheduler", "", TEXTINV_SAMPLER_DPMPP_2M, 1, 999, NULL },
    { "KDPM2DiscreteScheduler", "", TEXTINV_SAMPLER_DPMPP_2M, 1, 999, NULL },
    { "KDPM2AncestralDiscreteScheduler", "", TEXTINV_SAMPLER_EULER_A, 1, 999, NULL },
    { "DPMSolverSDEScheduler", "", TEXTINV_SAMPLER_EULER_A, 1, 999, NULL },
    { "LCMScheduler", "\"timestep_spacing\": \"leading\", ", TEXTINV_SAMPLER_EULER_A, 1, 999,
      NULL },
    { "TCDScheduler", "", TEXTINV_SAMPLER_EULER_A, 1, 999, NULL },
    { "NewScheduler", "\"beta_start\": 0.001, \"beta_end\": 0.01, \"beta_schedule\": \"linear\", ",
      TEXTINV_SAMPLER_DPMPP_2M, 1, 999, NULL },
    { "DDIMScheduler", "\"thresholding\": true, ", TEXTINV_SAMPLER_DDIM, 0, 800, "thresholding" },
    { "DDPMScheduler", "\"variance_type\": \"learned\", ", TI_SAMPLER_DDPM, 0, 800,
      "variance_type" },
    { "EulerDiscreteScheduler", "\"use_beta_sigmas\": true, ", TEXTINV_SAMPLER_EULER, 0, 999,
      "use_beta_sigmas" },
    { "DPMSolverMultistepScheduler", "\"algorithm_type\": \"sde-dpmsolver++\", ",
      TEXTINV_SAMPLER_DPMPP_2M, 0, 999, "algorithm_type" },
    { "DPMSolverMultistepScheduler", "\"solver_order\": 3, ", TEXTINV_SAMPLER_DPMPP_2M, 0, 999,
      "solver_order" },
    { "DPMSolverMultistepScheduler", "\"thresholding\": true, \"use_karras_sigmas\": true, ",
      TEXTINV_SAMPLER_DPMPP_2M_KARRAS, 0, 999, "thresholding" },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    char text[300];
    ti_schedule schedule;

    snprintf(text, sizeof(text), "{%s\"_class_name\": \"%s\"}", cases[i].more, cases[i].class_name);
    read_schedule(&schedule, text);
    assert_string_equal(schedule.class_name, cases[i].class_name);
    if (schedule.sampler != cases[i].sampler || schedule.stands_in != cases[i].stands_in ||
        !same_text(schedule.left_out[schedule.sampler], cases[i].left_out))
      fail_msg("%s: %s, stands in %d", text, ti_sampler_name(schedule.sampler), schedule.stands_in);
    /* whatever is named draws as well */
    for (textinv_sampler kind = 0; kind <= TEXTINV_SAMPLER_UNIPC; kind++) {
      ti_sampler *sampler;
      ti_error error;

      if (ti_sampler_new(&sampler, &error, &schedule, kind, 5, 1, 1) < 0)
        fail_msg("%s, %s: %s", text, ti_sampler_name(kind), error.text);
      if (!kind && ti_sampler_timestep(sampler, 0) != (float)cases[i].first)
        fail_msg("%s: begins at %g", text, (double)ti_sampler_timestep(sampler, 0));
      ti_sampler_free(sampler);
    }
    ti_schedule_free(&schedule);
  }
}

/* the samplers whose class in diffusers has the key, which they do not have here */
static void samplers_say_what_they_draw_without(void **state)
{
  static const struct {
    const char *key, *value, *samplers;
  } cases[] = {
    { "thresholding", "true", "ddim ddpm dpmpp_2m dpmpp_2m_karras unipc" },
    { "use_exponential_sigmas", "true", "dpmpp_2m dpmpp_2m_karras euler unipc" },
    { "use_beta_sigmas", "true", "dpmpp_2m dpmpp_2m_karras euler unipc" },
    { "use_lu_lambdas", "true", "dpmpp_2m dpmpp_2m_karras" },
    { "use_flow_sigmas", "true", "dpmpp_2m dpmpp_2m_karras unipc" },
    { "algorithm_type", "\"sde-dpmsolver++\"", "dpmpp_2m dpmpp_2m_karras" },
    { "interpolation_type", "\"log_linear\"", "euler" },
    { "timestep_type", "\"continuous\"", "euler" },
    { "predict_x0", "false", "unipc" },
    { "disable_corrector", "[0]", "unipc" },
    { "solver_order", "3", "dpmpp_2m dpmpp_2m_karras unipc" },
    { "variance_type", "\"learned\"", "ddpm dpmpp_2m dpmpp_2m_karras" },
    { "variance_type", "\"learned_range\"", "ddpm dpmpp_2m dpmpp_2m_karras" },
    { "variance_type", "\"fixed_large_log\"", "ddpm" },
    { "variance_type", "\"fixed_small_log\"", "" },
    { "variance_type", "\"fixed_large\"", "" },
    { "variance_type", "null", "" },
    { "thresholding", "false", "" },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    char text[200], all[200];
    ti_schedule schedule;

    snprintf(text, sizeof(text),
             "{\"_class_name\": \"DDIMScheduler\", \"prediction_type\": \"v_prediction\", "
             "\"%s\": %s}",
             cases[i].key, cases[i].value);
    snprintf(all, sizeof(all), " %s ", cases[i].samplers);
    read_schedule(&schedule, text);
    for (textinv_sampler kind = 1; kind < TI_NUM_SAMPLERS; kind++) {
      char name[32];

      snprintf(name, sizeof(name), " %s ", ti_sampler_name(kind));
      if (!same_text(schedule.left_out[kind], strstr(all, name) ? cases[i].key : NULL))
        fail_msg("%s: %s draws without %s", text, ti_sampler_name(kind),
                 schedule.left_out[kind] ? schedule.left_out[kind] : "nothing");
    }
    ti_schedule_free(&schedule);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(refuses_configs),
    cmocka_unit_test(refuses_types),
    cmocka_unit_test(other_classes_have_the_nearest_sampler),
    cmocka_unit_test(samplers_say_what_they_draw_without),
  };

  return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
