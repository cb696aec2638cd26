/* networks, gradients and pictures of tiny models against diffusers (tests/golden/networks.py) */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "safetensors.h"
#include "testing.h"
#include "textinv/textinv.h"
#include "tiny_model.h"

typedef struct fixture {
  textinv_session *session;
  textinv_model *model;
  textinv_embeddings *words;
  textinv_model_info info;
  ti_safetensors *expected;
} fixture;

static const double ALLOWED = 1e-5, ALLOWED_GRADIENT = 1e-4;

static void must(const fixture *f, textinv_status status)
{
  if (status < 0)
    fail_msg("%s: %s", textinv_status_name(status), textinv_session_error(f->session));
}

static const ti_tensor *tensor(const fixture *f, const char *name)
{
  const ti_tensor *t = ti_safetensors_find(f->expected, name);

  if (!t)
    fail_msg("no tensor %s", name);
  return t;
}

static void close_to(const fixture *f, const char *name, const float *met, size_t count,
                     double allowed)
{
  const ti_tensor *t = tensor(f, name);
  const double error = test_relative_error(TI_F32, met, t->data, count);

  assert_int_equal(t->count, count);
  if (!(error <= allowed))
    fail_msg("%s: relative error %g, allowed %g", name, error, allowed);
}

static float *floats(size_t count)
{
  return test_buffer_new(TI_F32, count);
}

static void open_model(fixture *f, const char *folder)
{
  char path[256];
  ti_error error;
  textinv_session_params params;

  memset(f, 0, sizeof(*f));
  textinv_session_params_init(&params, sizeof(params));
  params.threads = 2;
  if (textinv_session_new(&f->session, &params) < 0)
    fail_msg("%s", textinv_session_error(NULL));
  must(f, textinv_model_open(&f->model, f->session, folder));
  must(f, textinv_model_info_init(&f->info, sizeof(f->info)));
  must(f, textinv_model_get_info(f->model, &f->info));
  snprintf(path, sizeof(path), "%s/expected.safetensors", folder);
  if (ti_safetensors_open(&f->expected, &error, path) < 0)
    fail_msg("%s", error.text);
  must(f, textinv_embeddings_new(&f->words, f->session));
  for (uint32_t i = 0; i < f->info.num_encoders; i++) {
    const ti_tensor *rows = tensor(f, i ? "rows.1" : "rows.0");

    must(f, textinv_embeddings_set(f->session, f->words, "<toy>", i, (uint32_t)rows->dims[0],
                                   (uint32_t)rows->dims[1], rows->data));
  }
}

static int open_sd(void **state)
{
  static fixture f;

  open_model(&f, "tests/golden/tiny-sd");
  *state = &f;
  return 0;
}

static int open_sdxl(void **state)
{
  static fixture f;

  open_model(&f, "tests/golden/tiny-sdxl");
  *state = &f;
  return 0;
}

static int open_ldm(void **state)
{
  static fixture f;

  open_model(&f, "tests/golden/tiny-ldm");
  *state = &f;
  return 0;
}

static int open_inpaint(void **state)
{
  static fixture f;

  open_model(&f, "tests/golden/tiny-inpaint");
  *state = &f;
  return 0;
}

static int close_model(void **state)
{
  fixture *f = *state;

  textinv_embeddings_free(f->words);
  textinv_model_free(f->model);
  textinv_session_free(f->session);
  ti_safetensors_close(f->expected);
  return 0;
}

static const char *text(const fixture *f, const char *key)
{
  const char *value = ti_safetensors_metadata(f->expected, key);

  assert_non_null(value);
  return value;
}

static void text_encoder(void **state)
{
  const fixture *f = *state;
  const size_t count = (size_t)f->info.max_tokens * f->info.context_dim,
               num_pooled = f->info.pooled_dim;
  float *context = floats(count), *pooled = num_pooled ? floats(num_pooled) : NULL;
  size_t truncated;

  must(f, textinv_encode_prompt(f->session, context, count, pooled, num_pooled, &truncated,
                                f->model, f->words, text(f, "prompt"), 0));
  assert_int_equal(truncated, 0);
  close_to(f, "context", context, count, ALLOWED);
  if (pooled)
    close_to(f, "pooled", pooled, num_pooled, ALLOWED);
  test_buffer_free(context);
  test_buffer_free(pooled);
}

/* the UNet of a model with the fixture's inputs */
static void predicts(const fixture *f, const textinv_model *model, const char *name)
{
  const ti_tensor *latents = tensor(f, "latents"), *context = tensor(f, "context");
  const size_t count = latents->count, num_pooled = f->info.pooled_dim;
  float *out = floats(count), *contexts = floats(2 * context->count), *pooled = NULL;
  textinv_predict_params p;

  textinv_predict_params_init(&p, sizeof(p));
  p.batch = 2;
  p.height = (uint32_t)latents->dims[2];
  p.width = (uint32_t)latents->dims[3];
  p.latents = latents->data;
  p.timestep = *(const float *)tensor(f, "timesteps")->data;
  p.context = contexts;
  for (size_t i = 0; i < 2; i++)
    memcpy(contexts + i * context->count, context->data, context->bytes);
  if (num_pooled) {
    pooled = floats(2 * num_pooled);
    for (size_t i = 0; i < 2; i++)
      memcpy(pooled + i * num_pooled, tensor(f, "pooled")->data, num_pooled * sizeof(float));
    p.pooled = pooled;
  }
  must(f, textinv_predict_noise(f->session, out, count, model, &p));
  close_to(f, name, out, count, ALLOWED);
  test_buffer_free(out);
  test_buffer_free(contexts);
  test_buffer_free(pooled);
}

static void unet(void **state)
{
  const fixture *f = *state;

  predicts(f, f->model, "predicted");
}

/* tiny-sd whose config has "mid_block_type": null */
static void unet_without_middle(void **state)
{
  static const char *const links[] = {
    "model_index.json", "scheduler", "text_encoder",
    "tokenizer",        "vae",       "unet/diffusion_pytorch_model.safetensors"
  };
  const fixture *f = *state;
  char folder[512], path[700], target[PATH_MAX + 64], text[4096];
  textinv_model *model;
  FILE *file;

  snprintf(folder, sizeof(folder), "%s", test_path("no-middle"));
  snprintf(path, sizeof(path), "%s/unet", folder);
  assert_int_equal(mkdir(folder, 0755), 0);
  assert_int_equal(mkdir(path, 0755), 0);
  for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++) {
    snprintf(path, sizeof(path), "tests/golden/tiny-sd/%s", links[i]);
    assert_non_null(realpath(path, target));
    snprintf(path, sizeof(path), "%s/%s", folder, links[i]);
    assert_int_equal(symlink(target, path), 0);
  }
  file = fopen("tests/golden/tiny-sd/unet/config.json", "r");
  assert_non_null(file);
  text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
  fclose(file);
  snprintf(path, sizeof(path), "%s/unet/config.json", folder);
  file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
  tiny_model_edit(folder, "unet/config.json", "\"UNetMidBlock2DCrossAttn\"", "null");
  must(f, textinv_model_open(&model, f->session, folder));
  predicts(f, model, "predicted.no_middle");
  textinv_model_free(model);
}

static void autoencoder(void **state)
{
  const fixture *f = *state;
  const ti_tensor *pixels = tensor(f, "pixels"), *latents = tensor(f, "latents");
  const size_t count = tensor(f, "mean")->count, values = tensor(f, "decoded")->count;
  float *mean = floats(count), *deviation = floats(count), *decoded = floats(values);
  textinv_images *images;

  must(f, textinv_images_new(&images, f->session, pixels->data, 1, (uint32_t)pixels->dims[1],
                             (uint32_t)pixels->dims[0]));
  must(f, textinv_encode_image(f->session, mean, deviation, count, f->model, images, 0));
  close_to(f, "mean", mean, count, ALLOWED);
  close_to(f, "deviation", deviation, count, ALLOWED);
  must(f, textinv_decode_latents(f->session, NULL, decoded, values, f->model, latents->data, 1,
                                 (uint32_t)latents->dims[3], (uint32_t)latents->dims[2]));
  close_to(f, "decoded", decoded, values, ALLOWED);
  textinv_images_free(images);
  test_buffer_free(mean);
  test_buffer_free(deviation);
  test_buffer_free(decoded);
}

static void gradient(void **state)
{
  const fixture *f = *state;
  const ti_tensor *latents = tensor(f, "latents");
  const float *times = tensor(f, "timesteps")->data;
  const uint32_t timesteps[2] = { (uint32_t)times[0], (uint32_t)times[1] };
  const char *const prompts[2] = { text(f, "prompt"), text(f, "negative") };
  const size_t count = textinv_embeddings_num_values(f->words);
  float *rows = floats(count), *loss = floats(1);
  textinv_loss_params p;

  textinv_loss_params_init(&p, sizeof(p));
  p.batch = 2;
  p.height = (uint32_t)latents->dims[2];
  p.width = (uint32_t)latents->dims[3];
  p.latents = latents->data;
  p.noise = tensor(f, "noise")->data;
  p.timesteps = timesteps;
  p.prompts = prompts;
  must(f, textinv_loss(f->session, loss, rows, count, f->model, f->words, &p));
  close_to(f, "loss", loss, 1, ALLOWED);
  close_to(f, "gradient", rows, count, ALLOWED_GRADIENT);
  test_buffer_free(rows);
  test_buffer_free(loss);
}

/* what all pictures of tests/golden/networks.py have in common */
static textinv_generate_params options(const fixture *f)
{
  textinv_generate_params p;

  textinv_generate_params_init(&p, sizeof(p));
  p.prompt = text(f, "prompt");
  p.negative_prompt = text(f, "negative");
  p.strength = 0.6f;
  p.steps = 30;
  p.guidance_scale = 5.0f;
  p.seed = 42;
  p.sampler = TEXTINV_SAMPLER_DDIM;
  return p;
}

/* at most one grey level apart in 99.9 % of the values */
static void draws(const fixture *f, const textinv_generate_params *p, const char *name)
{
  const ti_tensor *expected = tensor(f, name);
  const uint8_t *values = expected->data;
  textinv_images *images;
  size_t far = 0;

  must(f, textinv_generate(&images, f->session, f->model, f->words, p));
  assert_int_equal(textinv_images_height(images), expected->dims[0]);
  assert_int_equal(textinv_images_width(images), expected->dims[1]);
  for (size_t i = 0; i < expected->count; i++) {
    const int difference = textinv_images_pixels(images, 0)[i] - values[i];

    far += difference > 1 || difference < -1;
  }
  if ((double)far > 0.001 * (double)expected->count)
    fail_msg("%s: %zu of %zu values are more than one grey level apart", name, far,
             (size_t)expected->count);
  textinv_images_free(images);
}

static void pictures(void **state)
{
  textinv_generate_params p = options(*state);

  draws(*state, &p, "picture.ddim");
  p.sampler = TEXTINV_SAMPLER_EULER;
  draws(*state, &p, "picture.euler");
}

/* as its pipeline draws them: below 1, too, guidance is what it says */
static void ldm_pictures(void **state)
{
  textinv_generate_params p = options(*state);

  p.negative_prompt = NULL;
  draws(*state, &p, "picture.none");
  p.guidance_scale = 0.5f;
  draws(*state, &p, "picture.half");
}

static void rescaled_guidance(void **state)
{
  textinv_generate_params p = options(*state);

  p.guidance_scale = 15.0f;
  p.guidance_rescale = 0.7f;
  draws(*state, &p, "picture.rescale");
}

static textinv_images *picture(const fixture *f, const char *name)
{
  const ti_tensor *t = tensor(f, name);
  textinv_images *out;

  must(f, textinv_images_new(&out, f->session, t->data, 1, (uint32_t)t->dims[1],
                             (uint32_t)t->dims[0]));
  return out;
}

/* of a size of its own, which is not one of latents */
static void from_a_picture(void **state)
{
  const fixture *f = *state;
  textinv_images *const init = picture(f, "init"), *const mask = picture(f, "mask");
  textinv_generate_params p = options(f);

  p.init_image = init;
  draws(f, &p, "picture.init");
  p.mask = mask;
  p.width = 24;
  p.height = 16;
  p.sampler = TEXTINV_SAMPLER_EULER_A;
  p.strength = 1.0f;
  draws(f, &p, "picture.mask");
  textinv_images_free(init);
  textinv_images_free(mask);
}

/* with nine channels, from noise and from the picture */
static void inpainting(void **state)
{
  const fixture *f = *state;
  textinv_images *const init = picture(f, "init"), *const mask = picture(f, "mask");
  textinv_generate_params p = options(f);

  p.init_image = init;
  p.mask = mask;
  p.width = 24;
  p.height = 16;
  p.steps = 20;
  p.guidance_scale = 7.5f;
  draws(f, &p, "picture.redraw");
  p.sampler = TEXTINV_SAMPLER_EULER_A;
  p.strength = 1.0f;
  draws(f, &p, "picture.mask");
  textinv_images_free(init);
  textinv_images_free(mask);
}

static void negative_prompts(void **state)
{
  const fixture *f = *state;
  textinv_generate_params p = options(f);

  p.negative_prompt = NULL;
  draws(f, &p, "picture.none");
  p.negative_prompt = "";
  draws(f, &p, "picture.empty");
  p = options(f);
  p.clip_skip = 1;
  if (f->info.num_encoders == 1) /* those of tiny-sdxl have no layer to leave out */
    draws(f, &p, "picture.skip");
}

int main(void)
{
  const struct CMUnitTest sd[] = {
    cmocka_unit_test(text_encoder),   cmocka_unit_test(unet),
    cmocka_unit_test(autoencoder),    cmocka_unit_test(gradient),
    cmocka_unit_test(pictures),       cmocka_unit_test(negative_prompts),
    cmocka_unit_test(from_a_picture), cmocka_unit_test(rescaled_guidance),
  };
  const struct CMUnitTest once[] = { cmocka_unit_test(unet_without_middle) };
  const struct CMUnitTest ldm[] = { cmocka_unit_test(text_encoder), cmocka_unit_test(unet),
                                    cmocka_unit_test(autoencoder), cmocka_unit_test(gradient),
                                    cmocka_unit_test(ldm_pictures) };
  const struct CMUnitTest inpaint[] = { cmocka_unit_test(inpainting) };
  int failed = cmocka_run_group_tests_name("tiny-sd", sd, open_sd, close_model);

  failed += cmocka_run_group_tests_name("tiny-sd, changed", once, open_sd, close_model);
  failed += cmocka_run_group_tests_name("tiny-ldm", ldm, open_ldm, close_model);
  failed += cmocka_run_group_tests_name("tiny-inpaint", inpaint, open_inpaint, close_model);
  return failed + cmocka_run_group_tests_name("tiny-sdxl", sd, open_sdxl, close_model);
}
