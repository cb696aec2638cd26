/* Schedulers of models: old configs, classes that are told elsewhere, and those that the library
 * does not have. */
#include "testing_api.h"

#include "api.h"
#include "sampler_state.h"
#include "tiny_model.h"

/* of ten steps of a sampler: the first timestep, and whether DDIM clips */
static void steps_of(const textinv_model *model, textinv_sampler kind, int first, int clip)
{
  ti_sampler *sampler;
  ti_error error;

  if (ti_sampler_new(&sampler, &error, &model->schedule, kind, 10, 1.0f, 1) < 0)
    fail_msg("%s", error.text);
  if (ti_sampler_timestep(sampler, 0) != (float)first || sampler->clip != clip)
    fail_msg("sampler %d: timestep %g, clip %d", kind, (double)ti_sampler_timestep(sampler, 0),
             sampler->clip);
  ti_sampler_free(sampler);
}

/*
 * StableDiffusionPipeline of diffusers 0.42.1 on such configs; timesteps and clip_sample are those
 * of pipe.scheduler and of DDIMScheduler and PNDMScheduler.from_config(pipe.scheduler.config)
 */
static void old_configs_are_read_as_diffusers_reads_them(void **state)
{
  static const struct {
    const char *offset, *clip;
    int named_first, named_clip;
  } cases[] = {
    { "\"steps_offset\": 0, ", "\"clip_sample\": true, ", 901, 0 },
    { "\"steps_offset\": 3, ", "\"clip_sample\": false, ", 901, 0 },
    { "", "", 900, 1 },
  };
  static const char *const classes[] = { "DDIMScheduler", "PNDMScheduler" };
  static const char config[] = "scheduler/scheduler_config.json";
  textinv_model *model;
  const char *folder;

  (void)state;
  for (size_t i = 0; i < 6; i++) {
    const int pndm = i % 2;
    char name[32];

    snprintf(name, sizeof(name), "old-%zu", i);
    folder = tiny_model_copy(name);
    tiny_model_edit(folder, config, "\"steps_offset\": 1, ", cases[i / 2].offset);
    tiny_model_edit(folder, config, "\"clip_sample\": false, ", cases[i / 2].clip);
    tiny_model_edit(folder, config, "DDIMScheduler", classes[pndm]);
    tiny_model_edit(folder, config, "\"beta_end\"", "\"skip_prk_steps\": true, \"beta_end\"");
    tiny_model_edit(folder, "model_index.json", "DDIMScheduler", classes[pndm]);
    model = open_model(folder);
    steps_of(model, TEXTINV_SAMPLER_DEFAULT, 901, 0);
    steps_of(model, TEXTINV_SAMPLER_DDIM, pndm ? cases[i / 2].named_first : 901,
             pndm && cases[i / 2].named_clip);
    steps_of(model, TEXTINV_SAMPLER_PNDM, pndm ? 901 : cases[i / 2].named_first, 0);
    textinv_model_free(model);
  }

  /* StableDiffusionXLPipeline takes its config as it is */
  folder = tiny_sdxl_copy("old-sdxl");
  tiny_model_edit(folder, config, "EulerDiscreteScheduler", "DDIMScheduler");
  tiny_model_edit(folder, config, "\"steps_offset\": 1", "\"steps_offset\": 0");
  tiny_model_edit(folder, config, "\"clip_sample\": false", "\"clip_sample\": true");
  tiny_model_edit(folder, "model_index.json", "EulerDiscreteScheduler", "DDIMScheduler");
  model = open_model(folder);
  steps_of(model, TEXTINV_SAMPLER_DEFAULT, 900, 1);
  textinv_model_free(model);
}

static int begins_with_runge_kutta(const textinv_model *model)
{
  ti_sampler *sampler;
  ti_error error;

  assert_int_equal(
    ti_sampler_new(&sampler, &error, &model->schedule, TEXTINV_SAMPLER_PNDM, 10, 1.0f, 1), 0);
  const int prk = sampler->prk;

  ti_sampler_free(sampler);
  return prk;
}

/* StableDiffusionInpaintPipeline of diffusers 0.42.1 likewise: it lets DDIM clip */
static void old_configs_for_inpainting_are_read_as_diffusers_reads_them(void **state)
{
  static const char config[] = "scheduler/scheduler_config.json";
  const char *folder = tiny_inpainting_model();
  textinv_model *model;

  (void)state;
  tiny_model_edit(folder, config, "\"steps_offset\": 1, ", "");
  tiny_model_edit(folder, config, "\"clip_sample\": false, ", "");
  for (int pndm = 0; pndm < 2; pndm++) {
    for (int key = 0; key < 2; key++) {
      if (key)
        tiny_model_edit(folder, config, "\"beta_end\"", "\"skip_prk_steps\": false, \"beta_end\"");
      model = open_model(folder);
      steps_of(model, TEXTINV_SAMPLER_DEFAULT, 901, !pndm);
      steps_of(model, TEXTINV_SAMPLER_DDIM, pndm ? 900 : 901, 1);
      assert_int_equal(begins_with_runge_kutta(model), !pndm && !key);
      textinv_model_free(model);
    }
    tiny_model_edit(folder, config, "\"skip_prk_steps\": false, ", "");
    if (!pndm) {
      tiny_model_edit(folder, config, "DDIMScheduler", "PNDMScheduler");
      tiny_model_edit(folder, "model_index.json", "DDIMScheduler", "PNDMScheduler");
    }
  }
}

/* of model_index.json, then that of the config */
static void the_scheduler_has_the_class_of_the_pipeline(void **state)
{
  static const char config[] = "scheduler/scheduler_config.json", index[] = "model_index.json";
  static const char key[] = "\"_class_name\": \"DDIMScheduler\", ";
  static const char entry[] = "\"scheduler\": [\"diffusers\", \"DDIMScheduler\"], ";
  textinv_model *model;
  const char *folder = tiny_model_copy("other-class");

  (void)state;
  tiny_model_edit(folder, index, "DDIMScheduler", "EulerDiscreteScheduler");
  model = open_model(folder);
  assert_int_equal(model->schedule.sampler, TEXTINV_SAMPLER_EULER);
  textinv_model_free(model);
  tiny_model_edit(folder, config, key, "");
  model = open_model(folder);
  assert_int_equal(model->schedule.sampler, TEXTINV_SAMPLER_EULER);
  textinv_model_free(model);
  folder = tiny_model_copy("no-class");
  tiny_model_edit(folder, index, entry, "");
  model = open_model(folder);
  assert_int_equal(model->schedule.sampler, TEXTINV_SAMPLER_DDIM);
  textinv_model_free(model);
  tiny_model_edit(folder, config, key, "");
  refused(textinv_model_open(&model, session, folder), TEXTINV_E_FORMAT,
          "scheduler_config.json: key \"_class_name\" is missing");
}

/* not another one in silence */
static void a_ddpm_scheduler_draws_as_itself(void **state)
{
  textinv_model_info info;
  textinv_generate_params p;
  textinv_images *by_default, *by_ddim;
  textinv_model *model;
  const char *folder = tiny_model_copy("ddpm");

  (void)state;
  must(textinv_model_info_init(&info, sizeof(info)));
  tiny_model_edit(folder, "model_index.json", "DDIMScheduler", "DDPMScheduler");
  model = open_model(folder);
  must(textinv_model_get_info(model, &info));
  assert_string_equal(info.sampler, "ddpm");
  must(textinv_generate_params_init(&p, sizeof(p)));
  p.prompt = "a photo";
  p.steps = 5;
  must(textinv_generate(&by_default, session, model, NULL, &p));
  assert_non_null(strstr(textinv_images_parameters(by_default, 0), "Sampler: DDPM, "));
  p.sampler = TEXTINV_SAMPLER_DDIM;
  must(textinv_generate(&by_ddim, session, model, NULL, &p));
  assert_memory_not_equal(textinv_images_pixels(by_default, 0), textinv_images_pixels(by_ddim, 0),
                          TINY_SIZE * TINY_SIZE * 3);
  textinv_images_free(by_default);
  textinv_images_free(by_ddim);
  textinv_model_free(model);
}

static void draw(const textinv_model *model, textinv_sampler sampler, const char *name)
{
  textinv_generate_params p;
  textinv_images *images;
  char part[64];

  must(textinv_generate_params_init(&p, sizeof(p)));
  p.prompt = "a photo";
  p.steps = 3;
  p.sampler = sampler;
  must(textinv_generate(&images, session, model, NULL, &p));
  snprintf(part, sizeof(part), "Sampler: %s, ", name);
  assert_non_null(strstr(textinv_images_parameters(images, 0), part));
  textinv_images_free(images);
}

static void a_scheduler_that_is_not_there_has_a_stand_in(void **state)
{
  textinv_model_info info = { .struct_size = sizeof(info) };
  textinv_session *const quiet = listen();
  textinv_model *model;
  const char *folder = tiny_model_copy("unknown");

  (void)state;
  tiny_model_edit(folder, "model_index.json", "DDIMScheduler", "DEISMultistepScheduler");
  model = open_model(folder);
  must(textinv_model_get_info(model, &info));
  assert_string_equal(info.sampler, "dpmpp_2m");
  draw(model, TEXTINV_SAMPLER_DEFAULT, "DPM++ 2M");
  assert_non_null(strstr(heard.last, "is DEISMultistepScheduler, which"));
  assert_non_null(strstr(heard.last, "dpmpp_2m"));
  draw(model, TEXTINV_SAMPLER_DEFAULT, "DPM++ 2M");
  draw(model, TEXTINV_SAMPLER_DPMPP_2M, "DPM++ 2M");
  draw(model, TEXTINV_SAMPLER_DDIM, "DDIM");
  assert_int_equal(heard.count, 1); /* once, and not when a sampler is named */
  textinv_model_free(model);

  folder = tiny_model_copy("unknown-option");
  tiny_model_edit(folder, "model_index.json", "DDIMScheduler", "DPMSolverMultistepScheduler");
  tiny_model_edit(folder, "scheduler/scheduler_config.json", "{",
                  "{\"algorithm_type\": \"sde-dpmsolver++\", ");
  model = open_model(folder);
  draw(model, TEXTINV_SAMPLER_DEFAULT, "DPM++ 2M");
  assert_non_null(strstr(heard.last, "asks for a \"algorithm_type\" that the sampler dpmpp_2m"));
  draw(model, TEXTINV_SAMPLER_EULER, "Euler");
  assert_int_equal(heard.count, 2);
  textinv_model_free(model);
  hush(quiet);
}

static int32_t count_preview(void *user, uint32_t step, textinv_images *images)
{
  (void)step;
  (void)images;
  ++*(int *)user;
  return 0;
}

/* such models are learnt from as well; what they are for is said */
static void a_distilled_model_is_learnt_from_with_a_warning(void **state)
{
  textinv_session *const quiet = listen();
  const char *folder = tiny_model_copy("lcm");
  textinv_embeddings *e;
  textinv_invert_params p;
  textinv_concept c;
  textinv_model *model;
  int previews = 0;

  (void)state;
  tiny_model_edit(folder, "model_index.json", "DDIMScheduler", "LCMScheduler");
  model = open_model(folder);
  must(textinv_embeddings_new(&e, session));
  must(textinv_concept_init(&c, sizeof(c)));
  c.placeholder = "<x>";
  c.images_path = tiny_pictures("lcm-pictures", 2, TINY_SIZE, TINY_SIZE);
  must(textinv_invert_params_init(&p, sizeof(p)));
  p.concepts = &c;
  p.num_concepts = 1;
  p.steps = 2;
  p.batch = 2;
  must(textinv_invert(session, model, e, &p, NULL));
  assert_int_equal(heard.count, 1);
  assert_non_null(strstr(heard.last, "LCMScheduler"));
  assert_non_null(strstr(heard.last, "distilled"));

  p.preview = count_preview;
  p.preview_user = &previews;
  p.preview_prompt = "<x>";
  p.preview_every = 1;
  p.preview_steps = 2;
  must(textinv_invert(session, model, e, &p, NULL));
  assert_int_equal(previews, 2);
  assert_int_equal(heard.count, 3); /* and once that another sampler draws the previews */
  assert_non_null(strstr(heard.last, "distilled"));
  textinv_embeddings_free(e);
  textinv_model_free(model);
  hush(quiet);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(old_configs_are_read_as_diffusers_reads_them),
    cmocka_unit_test(old_configs_for_inpainting_are_read_as_diffusers_reads_them),
    cmocka_unit_test(the_scheduler_has_the_class_of_the_pipeline),
    cmocka_unit_test(a_ddpm_scheduler_draws_as_itself),
    cmocka_unit_test(a_scheduler_that_is_not_there_has_a_stand_in),
    cmocka_unit_test(a_distilled_model_is_learnt_from_with_a_warning),
  };

  return cmocka_run_group_tests_name("scheduler", tests, session_setup, session_teardown);
}
