/* Pictures: the same seed gives the same picture however it is asked for, and nonsense is refused.
 */
#include "testing_generate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "random.h"
#include "safetensors.h"

enum { BYTES = TINY_SIZE * TINY_SIZE * 3, LATENTS = 4 * 8 * 8 };

static void batches_do_not_matter(void **state)
{
  textinv_generate_params p = params();
  textinv_images *together, *one_by_one;

  (void)state;
  for (textinv_sampler kind = TEXTINV_SAMPLER_DEFAULT; kind <= TEXTINV_SAMPLER_UNIPC; kind++) {
    p.sampler = kind;
    p.images = 5;
    p.batch = 3; /* and a rest of two */
    together = draw(&p);
    assert_int_equal(textinv_images_count(together), 5);
    p.batch = 1;
    one_by_one = draw(&p);
    for (uint32_t i = 0; i < 5; i++) {
      const uint8_t *a = textinv_images_pixels(together, i),
                    *b = textinv_images_pixels(one_by_one, i);

      assert_true(textinv_images_seed(together, i) == 42 + i);
      for (int k = 0; k < BYTES; k++)
        assert_true(abs(a[k] - b[k]) <= 1);
    }
    /* picture 2 alone, by its own seed */
    p.images = 1;
    p.seed = 44;
    textinv_images *alone = draw(&p);

    assert_memory_equal(textinv_images_pixels(alone, 0), textinv_images_pixels(one_by_one, 2),
                        BYTES);
    p.seed = 42;
    textinv_images_free(alone);
    textinv_images_free(together);
    textinv_images_free(one_by_one);
  }
}

static double distance(textinv_images *a, textinv_images *b)
{
  const uint8_t *p = textinv_images_pixels(a, 0), *q = textinv_images_pixels(b, 0);
  double sum = 0.0;

  for (int i = 0; i < BYTES; i++)
    sum += abs(p[i] - q[i]);
  return sum / BYTES;
}

static void options_change_the_picture(void **state)
{
  textinv_generate_params p = params();
  textinv_images *plain = draw(&p), *other;

  (void)state;
#define CHANGES(change)                                                                            \
  do {                                                                                             \
    p = params();                                                                                  \
    change;                                                                                        \
    other = draw(&p);                                                                              \
    assert_true(distance(plain, other) > 0.0);                                                     \
    textinv_images_free(other);                                                                    \
  } while (0)
  CHANGES(p.seed = 43);
  CHANGES(p.prompt = "of toy");
  CHANGES(p.negative_prompt = "photo");
  CHANGES(p.guidance_scale = 1.0f);
  CHANGES(p.guidance_scale = 3.0f);
  CHANGES(p.guidance_rescale = 0.5f);
  CHANGES(p.steps = 6);
  CHANGES(p.sampler = TEXTINV_SAMPLER_EULER);
  CHANGES(p.rng = TEXTINV_RNG_NATIVE);
  CHANGES(p.clip_skip = 1);
  p = params();
  other = draw(&p);
  assert_true(distance(plain, other) == 0.0);
  textinv_images_free(other);
  textinv_images_free(plain);
}

static void guidance_is_rescaled(void **state)
{
  textinv_generate_params p = params();
  textinv_images *plain = draw(&p), *together, *alone;

  (void)state;
  assert_null(strstr(textinv_images_parameters(plain, 0), "CFG Rescale"));
  /* in every picture by its own deviation */
  p.guidance_rescale = 0.7f;
  p.images = 2;
  together = draw(&p);
  assert_non_null(strstr(textinv_images_parameters(together, 1), ", CFG Rescale: 0.7, RNG: "));
  p.images = 1;
  p.seed = 43;
  alone = draw(&p);
  for (int k = 0; k < BYTES; k++)
    assert_true(abs(textinv_images_pixels(together, 1)[k] - textinv_images_pixels(alone, 0)[k]) <=
                1);
  textinv_images_free(together);
  textinv_images_free(alone);

  /* not without guidance */
  p.guidance_scale = 1.0f;
  together = draw(&p);
  p.guidance_rescale = 0.0f;
  alone = draw(&p);
  assert_true(distance(together, alone) == 0.0);
  textinv_images_free(together);
  textinv_images_free(alone);

  /* nor for a caller of release 0.1, whose struct ends before it */
  p = params();
  p.struct_size = 96;
  p.guidance_rescale = 0.7f;
  alone = draw(&p);
  assert_true(distance(plain, alone) == 0.0);
  textinv_images_free(alone);
  textinv_images_free(plain);
}

/* no block of it sees the prompt, so guidance between the two halves changes nothing */
static void a_model_without_cross_attention(void **state)
{
  const char *folder = tiny_model_copy("unconditional");
  textinv_model *blind;
  textinv_generate_params p = params();
  textinv_images *plain, *guided;

  (void)state;
  tiny_model_edit(folder, "unet/config.json", "CrossAttnDownBlock2D", "DownBlock2D");
  tiny_model_edit(folder, "unet/config.json", "CrossAttnUpBlock2D", "UpBlock2D");
  tiny_model_edit(folder, "unet/config.json", "{", "{\"mid_block_type\": null, ");
  must(textinv_model_open(&blind, session, folder));
  p.guidance_scale = 1.0f;
  must(textinv_generate(&plain, session, blind, NULL, &p));
  p.guidance_scale = 5.0f;
  must(textinv_generate(&guided, session, blind, NULL, &p));
  assert_true(distance(plain, guided) == 0.0);
  textinv_images_free(plain);
  textinv_images_free(guided);
  textinv_model_free(blind);
}

/* weights of the autoencoder's attention as diffusers named them before 0.18 */
static void old_names_of_attention(void **state)
{
  static const char *const names[4][2] = {
    { "to_q", "query" }, { "to_k", "key" }, { "to_v", "value" }, { "to_out.0", "proj_attn" }
  };
  const char *folder = tiny_model_copy("old-names");
  static ti_tensor tensors[256];
  static char renamed[256][128];
  char path[600];
  textinv_generate_params p = params();
  textinv_images *init, *images, *other;
  textinv_model *old;
  ti_safetensors *file;
  ti_error error;
  size_t count;
  int found = 0;

  (void)state;
  snprintf(path, sizeof(path), "%s/vae/diffusion_pytorch_model.safetensors", folder);
  assert_int_equal(ti_safetensors_open(&file, &error, path), TEXTINV_OK);
  count = ti_safetensors_count(file);
  assert_in_range(count, 1, 256);
  for (size_t i = 0; i < count; i++) {
    tensors[i] = *ti_safetensors_tensor(file, i);
    for (int k = 0; k < 4; k++) {
      const char *at = strstr(tensors[i].name, names[k][0]);

      if (!at)
        continue;
      snprintf(renamed[i], sizeof(renamed[i]), "%.*s%s%s", (int)(at - tensors[i].name),
               tensors[i].name, names[k][1], at + strlen(names[k][0]));
      tensors[i].name = renamed[i];
      found++;
    }
  }
  assert_int_equal(found, 2 * 4 * 2);
  assert_int_equal(ti_safetensors_write(&error, path, tensors, count, NULL, 0), TEXTINV_OK);
  ti_safetensors_close(file);
  must(textinv_model_open(&old, session, folder));
  p.init_image = init = draw(&p);
  images = draw(&p);
  must(textinv_generate(&other, session, old, NULL, &p));
  assert_true(distance(images, other) == 0.0);
  textinv_images_free(init);
  textinv_images_free(images);
  textinv_images_free(other);
  textinv_model_free(old);
}

/* downsampling whose padding is on one side, with which diffusers cannot halve an odd size */
static void a_model_without_padding(void **state)
{
  const char *folder = tiny_model_copy("unpadded");
  textinv_model *unpadded;
  textinv_generate_params p = params();
  textinv_images *images, *other;

  (void)state;
  tiny_model_edit(folder, "unet/config.json", "{", "{\"downsample_padding\": 0, ");
  must(textinv_model_open(&unpadded, session, folder));
  images = draw(&p);
  must(textinv_generate(&other, session, unpadded, NULL, &p));
  assert_true(distance(images, other) > 0.0);
  textinv_images_free(images);
  textinv_images_free(other);
  p.width = 26;
  refused(textinv_generate(&other, session, unpadded, NULL, &p), TEXTINV_E_UNSUPPORTED,
          "sides can be halved at every level; a level is 8 x 13");
  p.width = 0;
  p.height = 14;
  refused(textinv_generate(&other, session, unpadded, NULL, &p), TEXTINV_E_UNSUPPORTED,
          "sides can be halved at every level; a level is 7 x 8");
  textinv_model_free(unpadded);
}

static void a_picture_to_start_from(void **state)
{
  textinv_generate_params p = params();
  textinv_images *init = draw(&p), *weak, *strong, *whole;

  (void)state;
  p.init_image = init;
  p.seed = 7;
  p.steps = 20;
  p.strength = 0.1f;
  weak = draw(&p);
  p.strength = 0.9f;
  strong = draw(&p);
  /* one step of 20 hardly moves it */
  p.strength = 0.05f;
  whole = draw(&p);
  assert_true(distance(whole, weak) < distance(whole, strong));
  textinv_images_free(init);
  textinv_images_free(weak);
  textinv_images_free(strong);
  textinv_images_free(whole);
}

/* a photo as a camera makes it is not what the model draws */
static void a_large_picture_to_start_from_is_told(void **state)
{
  enum { WIDTH = 2 * TINY_SIZE + 2, HEIGHT = 8 };
  static const uint8_t pixels[WIDTH * HEIGHT * 3];
  textinv_session *const quiet = listen();
  textinv_generate_params p = params();
  textinv_images *init;

  (void)state;
  must(textinv_images_new(&init, session, pixels, 1, WIDTH, HEIGHT));
  p.init_image = init;
  p.steps = 1;
  p.strength = 1.0f;
  p.width = WIDTH; /* asked for */
  textinv_images_free(draw(&p));
  assert_string_equal(heard.last, "");
  p.width = 0;
  textinv_images_free(draw(&p));
  assert_string_equal(heard.last,
                      "the picture will have 34 x 8 pixels, as init_image has; the model's "
                      "own size is 16 x 16: set width and height for less time and memory");
  textinv_images_free(init);
  hush(quiet);
}

static void sizes_and_parameters(void **state)
{
  textinv_generate_params p = params();
  textinv_images *images;

  (void)state;
  p.width = 24;
  p.height = 32;
  p.negative_prompt = "red";
  p.sampler = TEXTINV_SAMPLER_EULER_A;
  images = draw(&p);
  assert_int_equal(textinv_images_width(images), 24);
  assert_int_equal(textinv_images_height(images), 32);
  const char *text = textinv_images_parameters(images, 0);

  assert_non_null(strstr(
    text, "a photo of toy\nNegative prompt: red\nSteps: 5, Sampler: Euler a, CFG scale: 7.5, "
          "Seed: 42, Size: 24x32, Model hash: "));
  assert_non_null(strstr(text, ", RNG: CPU, Version: libtextinv "));
  assert_null(strstr(text, "Clip skip"));
  textinv_images_free(images);
  p.clip_skip = 1; /* which others count from 1 */
  for (p.rng = TEXTINV_RNG_TORCH_CPU; p.rng <= TEXTINV_RNG_TORCH_CPU_SCALAR; p.rng++) {
    images = draw(&p);
    assert_non_null(strstr(textinv_images_parameters(images, 0),
                           p.rng == TEXTINV_RNG_NATIVE      ? ", Clip skip: 2, RNG: native, "
                           : p.rng == TEXTINV_RNG_TORCH_CPU ? ", Clip skip: 2, RNG: CPU, "
                                                            : ", Clip skip: 2, RNG: CPU scalar, "));
    textinv_images_free(images);
  }
  p.clip_skip = 0;
  p.rng = TEXTINV_RNG_TORCH_CPU;

  /* of the model's path its name alone */
  textinv_model *const same = model;
  char path[512];

  snprintf(path, sizeof(path), "%s//", tiny_model());
  must(textinv_model_open(&model, session, path));
  p.steps = 1;
  images = draw(&p);
  snprintf(path, sizeof(path), ", Model: %s, ", strrchr(tiny_model(), '/') + 1);
  assert_non_null(strstr(textinv_images_parameters(images, 0), path));
  textinv_images_free(images);
  textinv_model_free(model);
  model = same;

  /* what is not UTF-8 is told as it was read, and can be written */
  p.negative_prompt = "caf\xe9";
  images = draw(&p);
  assert_non_null(
    strstr(textinv_images_parameters(images, 0), "Negative prompt: caf\xef\xbf\xbd\n"));
  must(textinv_images_save(session, images, 0, test_path("repaired.png"), NULL));

  /* the file tells it, and one that is written of it does */
  textinv_images *read, *again;
  unsigned char bytes[4096];
  size_t size;

  must(textinv_image_read(&read, session, test_path("repaired.png")));
  assert_string_equal(textinv_images_parameters(read, 0), textinv_images_parameters(images, 0));
  must(textinv_images_save_memory(session, bytes, sizeof(bytes), &size, read, 0, NULL));
  must(textinv_image_read_memory(&again, session, bytes, size, "again"));
  assert_string_equal(textinv_images_parameters(again, 0), textinv_images_parameters(images, 0));
  textinv_images_free(again);
  must(textinv_images_save_memory(session, bytes, sizeof(bytes), &size, read, 0, ""));
  must(textinv_image_read_memory(&again, session, bytes, size, "again"));
  assert_string_equal(textinv_images_parameters(again, 0), "");
  textinv_images_free(again);
  must(textinv_images_save_memory(session, bytes, sizeof(bytes), &size, read, 0, "caf\xc3\xa9"));
  must(textinv_image_read_memory(&again, session, bytes, size, "again"));
  assert_string_equal(textinv_images_parameters(again, 0), "caf\xc3\xa9"); /* as latin-1 */
  textinv_images_free(again);
  textinv_images_free(read);
  textinv_images_free(images);

  /* latents that do not halve evenly */
  p.width = 26;
  p.height = 14;
  images = draw(&p);
  assert_int_equal(textinv_images_width(images), 26);
  assert_int_equal(textinv_images_height(images), 14);
  textinv_images_free(images);
}

static void nonsense_is_refused(void **state)
{
  static const uint8_t pixel[3];
  textinv_generate_params p;
  textinv_images *images, *dot;

  (void)state;
#define REFUSED(change, part)                                                                      \
  do {                                                                                             \
    p = params();                                                                                  \
    change;                                                                                        \
    refused(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_INVALID, part);         \
    assert_null(images);                                                                           \
  } while (0)
  REFUSED(p.prompt = NULL, "prompt is NULL");
  REFUSED(p.images = 0, "images is 0");
  REFUSED(p.steps = 0, "steps is 0");
  REFUSED(p.steps = 1001, "steps is 1001");
  REFUSED(p.steps = 1000, "1000 timesteps are left");
  REFUSED(p.width = 13, "width is 13, height 0; multiples of 2 up to 4096 are possible");
  REFUSED(p.height = 8192, "width is 0, height 8192; multiples of 2 up to 4096 are possible");
  REFUSED(p.guidance_scale = NAN, "guidance_scale is nan");
  REFUSED(p.guidance_rescale = NAN, "guidance_rescale is nan; 0 to 1 are possible");
  REFUSED(p.guidance_rescale = -0.1f, "guidance_rescale is -0.1");
  REFUSED(p.guidance_rescale = 1.01f, "guidance_rescale is 1.01");
  REFUSED(p.strength = 1.5f, "strength is 1.5");
  must(textinv_images_new(&dot, session, pixel, 1, 1, 1));
  REFUSED(p.init_image = dot, "init_image is a picture of 1 x 1; 2 pixels a side are needed");
  textinv_images_free(dot);
  REFUSED(p.sampler = 99, "sampler is 99");
  REFUSED(p.rng = -1, "rng is -1");
  REFUSED(p.clip_skip = 2, "clip_skip is 2; 0 to 1 are possible");
  p = params();
  p.struct_size = 4;
  refused(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_INVALID,
          "was not initialised");
  refused(textinv_generate(&images, session, model, NULL, NULL), TEXTINV_E_INVALID,
          "was not initialised");
  refused(textinv_generate(&images, session, NULL, NULL, &p), TEXTINV_E_INVALID, "model is NULL");
}

/* clip_skip is looked at behind them */
static void options_reach_to_their_limits(void **state)
{
  textinv_generate_params p;
  textinv_images *images, *two;

  (void)state;
#define LIMIT(change, part)                                                                        \
  do {                                                                                             \
    p = params();                                                                                  \
    p.clip_skip = 2;                                                                               \
    change;                                                                                        \
    refused(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_INVALID, part);         \
  } while (0)
#define POSSIBLE(change) LIMIT(change, "clip_skip is 2; 0 to 1")
  POSSIBLE(p.images = 1024);
  LIMIT(p.images = 1025, "images is 1025; 1 to 1024");
  POSSIBLE(p.batch = 1024);
  LIMIT(p.batch = 1025, "batch is 1025; 0 to 1024");
  POSSIBLE(p.steps = 1000);
  POSSIBLE(p.guidance_scale = 0.0f);
  POSSIBLE(p.guidance_scale = 1000.0f);
  LIMIT(p.guidance_scale = -0.1f, "guidance_scale is -0.1");
  LIMIT(p.guidance_scale = 1000.1f, "guidance_scale is 1000.1");
  POSSIBLE(p.guidance_rescale = 1.0f);
  POSSIBLE(p.sampler = TEXTINV_SAMPLER_UNIPC);
  LIMIT(p.sampler = -1, "sampler is -1");
  POSSIBLE(p.rng = TEXTINV_RNG_TORCH_CPU_SCALAR);
  LIMIT(p.rng = TEXTINV_RNG_TORCH_CPU_SCALAR + 1, "rng is ");
  POSSIBLE(p.strength = 1.0f);
  POSSIBLE(p.strength = 0.001f);
  LIMIT(p.strength = 0.0f, "strength is 0; above 0 to 1");
  POSSIBLE((p.width = 4096, p.height = 4096));
  LIMIT(p.width = 4098, "width is 4098, height 0; multiples of 2 up to 4096");
  LIMIT(p.height = 4098, "width is 0, height 4098; multiples of 2 up to 4096");
  LIMIT(p.height = 15, "width is 0, height 15; multiples of 2 up to 4096");
  must(textinv_images_new(&two, session, NULL, 2, TINY_SIZE, TINY_SIZE));
  LIMIT(p.init_image = two, "init_image holds 2 pictures; 1 is expected");
  LIMIT(p.mask = two, "mask is given without init_image");
  LIMIT(p.keep_pixels = 1, "keep_pixels is 1 without mask");
  LIMIT(p.keep_pixels = 2, "keep_pixels is 2; 0 and 1");
  LIMIT(p.prompt_weights = 2, "prompt_weights is 2; 0 and 1");
  textinv_images_free(two);

  /* no more steps than the model was trained with, and never more than 1000 */
  static const char *const trained[] = { "400", "2000" };
  static const uint32_t limits[] = { 400, 1000 };
  textinv_model *const same = model;

  for (int i = 0; i < 2; i++) {
    const char *folder = tiny_model_copy(trained[i]);
    char change[64], part[64];

    snprintf(change, sizeof(change), "\"num_train_timesteps\": %s", trained[i]);
    tiny_model_edit(folder, "scheduler/scheduler_config.json", "\"num_train_timesteps\": 1000",
                    change);
    must(textinv_model_open(&model, session, folder));
    snprintf(part, sizeof(part), "steps is %u; 1 to %u are possible", limits[i] + 1, limits[i]);
    POSSIBLE(p.steps = limits[i]);
    LIMIT(p.steps = limits[i] + 1, part);
    textinv_model_free(model);
  }
  model = same;
}

static int32_t count_calls(void *user, const textinv_progress *progress)
{
  (void)progress;
  ++*(int *)user;
  return 0;
}

/* the decoder, which comes last, needs more than the UNet */
static void what_does_not_fit_is_refused_first(void **state)
{
  const ti_plan_key unet = { .kind = TI_PLAN_UNET, .n = 2, .h = 32, .w = 32, .guided = 1 };
  const ti_plan_key decode = { .kind = TI_PLAN_DECODE, .n = 1, .h = 32, .w = 32 };
  textinv_generate_params p = params();
  textinv_session *const roomy = session;
  textinv_session_params sp;
  textinv_images *images;
  size_t least, most;
  int calls = 0;

  (void)state;
  must(ti_plan_measure(&least, session, model, &unet));
  must(ti_plan_measure(&most, session, model, &decode));
  assert_true(least < most);
  must(textinv_session_params_init(&sp, sizeof(sp)));
  sp.memory_budget = ti_model_parameters(model) * sizeof(float) + most - 1;
  must(textinv_session_new(&session, &sp));
  p.width = p.height = 64;
  p.progress = count_calls;
  p.progress_user = &calls;
  refused(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_NOMEM,
          "memory budget: activations need");
  assert_int_equal(calls, 0);
  textinv_session_free(session);
  session = roomy;
}

static ti_net_plan *plan_of(int h)
{
  const ti_plan_key key = { .kind = TI_PLAN_DECODE, .n = 1, .h = h, .w = 1 };
  ti_net_plan *plan;

  must(ti_plan_get(&plan, session, model, &key));
  return plan;
}

/* the one that was not used for longest makes room for another */
static void plans_are_kept_by_their_use(void **state)
{
  const ti_plan_key large = { .kind = TI_PLAN_DECODE, .n = 1, .h = 64, .w = 64 };
  textinv_session *const other = session;
  ti_net_plan *plans[TI_MAX_PLANS], *failed;

  (void)state;
  must(textinv_session_new(&session, NULL));
  for (int i = 0; i < TI_MAX_PLANS; i++)
    plans[i] = plan_of(i + 1);
  for (int i = TI_MAX_PLANS - 1; i >= 0; i--)
    assert_ptr_equal(plan_of(i + 1), plans[i]);
  for (int more = 1; more <= 2; more++) {
    plan_of(TI_MAX_PLANS + more);
    for (int i = 0; i < TI_MAX_PLANS; i++) {
      const int h = session->plans[i]->key.h;

      /* the last used lie lowest */
      assert_true(h <= TI_MAX_PLANS - more || (h > TI_MAX_PLANS && h <= TI_MAX_PLANS + more));
    }
  }
  assert_ptr_equal(plan_of(1), plans[0]);
  session->budget = 1;
  failed = plans[0];
  assert_int_equal(ti_plan_get(&failed, session, model, &large), TEXTINV_E_NOMEM);
  assert_null(failed);
  textinv_session_free(session);
  session = other;
}

static int32_t stop(void *user, const textinv_progress *progress)
{
  ++*(int *)user;
  assert_string_equal(progress->phase, "sample");
  assert_true(progress->eta > 0.0);
  return progress->step == 2;
}

static int32_t follow(void *user, const textinv_progress *progress)
{
  assert_int_equal(progress->step, ++*(int *)user);
  assert_int_equal(progress->steps, 10);
  assert_true(progress->step == 10 ? progress->eta == 0.0 : progress->eta > 0.0);
  return 0;
}

static void a_callback_stops_it(void **state)
{
  textinv_generate_params p = params();
  textinv_images *images;
  int calls = 0;

  (void)state;
  p.progress = stop;
  p.progress_user = &calls;
  refused(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_CANCELLED,
          "stopped at step 2 of 5");
  assert_int_equal(calls, 2);
  textinv_session_cancel(session);
  p.progress = NULL;
  assert_int_equal(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_CANCELLED);
  images = draw(&p); /* the flag is cleared */
  textinv_images_free(images);
  p.images = 3; /* as one run of steps */
  p.batch = 2;
  p.progress = follow;
  p.progress_user = &calls;
  calls = 0;
  textinv_images_free(draw(&p));
  assert_int_equal(calls, 10);
}

/* one that came when nothing was running; what is asked for after that counts */
static void a_cancel_can_be_taken_back(void **state)
{
  const textinv_generate_params p = params();
  textinv_images *images;

  (void)state;
  textinv_session_cancel(session);
  textinv_session_clear_cancel(session);
  images = draw(&p);
  textinv_images_free(images);
  textinv_session_clear_cancel(session); /* there is none */
  textinv_session_cancel(session);
  refused(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_CANCELLED, "cancelled");
}

/* a host's own sampler: DDIM by hand from the single steps gives the library's picture */
static void a_sampler_of_ones_own(void **state)
{
  enum { CONTEXT = TINY_TOKENS * TINY_WIDTH, STEPS = 5 };
  const float *alphas = textinv_model_alphas_cumprod(model);
  float context[2 * CONTEXT], latents[2 * LATENTS], output[2 * LATENTS];
  const textinv_generate_params drawn = params();
  textinv_images *theirs = draw(&drawn), *ours;
  textinv_predict_params p;
  ti_torch_rng rng;

  (void)state;
  ti_torch_rng_seed(&rng, 42, 0);
  ti_torch_randn(&rng, latents, LATENTS);
  must(textinv_encode_prompt(session, context, CONTEXT, NULL, 0, NULL, model, NULL, "", 0));
  must(textinv_encode_prompt(session, context + CONTEXT, CONTEXT, NULL, 0, NULL, model, NULL,
                             drawn.prompt, 0));
  must(textinv_predict_params_init(&p, sizeof(p)));
  p.batch = 2;
  p.latents = latents;
  p.context = context;
  for (int i = STEPS - 1; i >= 0; i--) {
    const int t = i * 1000 / STEPS + 1, next = t - 1000 / STEPS;
    const float a = alphas[t], b = alphas[next > 0 ? next : 0];

    memcpy(latents + LATENTS, latents, LATENTS * sizeof(*latents));
    p.timestep = (float)t;
    must(textinv_predict_noise(session, output, 2 * LATENTS, model, &p));
    for (int k = 0; k < LATENTS; k++) {
      const float noise = output[k] + 7.5f * (output[LATENTS + k] - output[k]);

      latents[k] = sqrtf(b) * (latents[k] - sqrtf(1.0f - a) * noise) / sqrtf(a) +
                   sqrtf(1.0f - b) * noise;
    }
  }
  must(textinv_decode_latents(session, &ours, NULL, 0, model, latents, 1, 8, 8));
  for (int i = 0; i < BYTES; i++)
    assert_true(abs(textinv_images_pixels(ours, 0)[i] - textinv_images_pixels(theirs, 0)[i]) <= 1);
  textinv_images_free(ours);
  textinv_images_free(theirs);
}

static void steps_one_by_one(void **state)
{
  enum { CONTEXT = TINY_TOKENS * TINY_WIDTH };
  float context[2 * CONTEXT], latents[2 * LATENTS], noise[2 * LATENTS], values[BYTES];
  textinv_predict_params p;
  textinv_images *images;

  (void)state;
  must(textinv_encode_prompt(session, context, CONTEXT, NULL, 0, NULL, model, NULL, "", 0));
  must(textinv_encode_prompt(session, context + CONTEXT, CONTEXT, NULL, 0, NULL, model, NULL,
                             "a photo", 0));
  test_seed(1);
  for (int i = 0; i < LATENTS; i++)
    latents[i] = latents[LATENTS + i] = test_normal();
  must(textinv_predict_params_init(&p, sizeof(p)));
  p.batch = 2;
  p.latents = latents;
  p.context = context;
  p.timestep = 500.0f;
  must(textinv_predict_noise(session, noise, 2 * LATENTS, model, &p));
  /* one sample alone is one of the batch */
  float alone[LATENTS];

  p.batch = 1;
  p.context = context + CONTEXT;
  must(textinv_predict_noise(session, alone, LATENTS, model, &p));
  assert_true(test_relative_error(TI_F32, alone, noise + LATENTS, LATENTS) < 1e-5);
  assert_true(test_relative_error(TI_F32, noise, noise + LATENTS, LATENTS) > 1e-6);
  p.timestep = 1000.0f;
  refused(textinv_predict_noise(session, noise, LATENTS, model, &p), TEXTINV_E_INVALID,
          "timestep is 1000");
  p.timestep = 500.0f;
  refused(textinv_predict_noise(session, noise, 5, model, &p), TEXTINV_E_SHAPE, "256 are needed");

  must(textinv_decode_latents(session, &images, values, BYTES, model, latents, 1, 8, 8));
  for (int i = 0; i < BYTES / 3; i++) {
    const float v = fminf(fmaxf(values[i] * 0.5f + 0.5f, 0.0f), 1.0f) * 255.0f;

    assert_true(fabsf(v - textinv_images_pixels(images, 0)[3 * i]) <= 0.5001f);
  }
  textinv_images_free(images);
  latents[7] = NAN;
  refused(textinv_decode_latents(session, &images, NULL, 0, model, latents, 1, 8, 8),
          TEXTINV_E_NONFINITE, "latents hold nan at 7");
  assert_null(images);
  latents[7] = 3e38f;
  refused(textinv_decode_latents(session, &images, NULL, 0, model, latents, 1, 8, 8),
          TEXTINV_E_NONFINITE,
          "picture 0: the VAE's decoder gave nan: check its input and weights");
  assert_null(images);
}

static void long_prompts_are_reported(void **state)
{
  float context[TINY_TOKENS * TINY_WIDTH];
  size_t truncated = 7;

  (void)state;
  must(textinv_encode_prompt(session, context, TINY_TOKENS * TINY_WIDTH, NULL, 0, &truncated, model,
                             NULL,
                             "toy toy toy toy toy toy toy toy toy toy toy toy toy toy toy toy "
                             "toy toy toy toy toy toy toy toy toy toy toy toy toy toy toy toy",
                             0));
  assert_int_equal(truncated, 2);
  must(textinv_encode_prompt(session, context, TINY_TOKENS * TINY_WIDTH, NULL, 0, &truncated, model,
                             NULL, "toy", 0));
  assert_int_equal(truncated, 0);
  refused(textinv_encode_prompt(session, context, TINY_TOKENS * TINY_WIDTH - 1, NULL, 0, NULL,
                                model, NULL, "toy", 0),
          TEXTINV_E_SHAPE, "511 values; 512 are needed");

  /* neither of the two hides what the other one met */
  char *prompt = malloc((1 << 20) + 2);
  textinv_images *images;

  assert_non_null(prompt);
  memset(prompt, 'a', (1 << 20) + 1);
  prompt[(1 << 20) + 1] = '\0';
  for (int i = 0; i < 3; i++) {
    textinv_generate_params p = params();

    *(i ? &p.negative_prompt : &p.prompt) = prompt;
    if (i == 2) /* nothing is guided away from it, but the text in the picture has it */
      p.guidance_scale = 1.0f;
    refused(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_LIMIT,
            "a prompt has over 1048576 bytes");
  }
  free(prompt);
}

static void bf16_is_close(void **state)
{
  textinv_generate_params p = params();
  textinv_images *exact = draw(&p), *images;
  textinv_session_params sp;
  textinv_session *bf16;

  (void)state;
  must(textinv_session_params_init(&sp, sizeof(sp)));
  sp.dtype = TEXTINV_BF16;
  must(textinv_session_new(&bf16, &sp));
  assert_int_equal(textinv_generate(&images, bf16, model, NULL, &p), TEXTINV_OK);
  assert_true(distance(exact, images) < 8.0);
  textinv_images_free(images);
  textinv_session_free(bf16);
  textinv_images_free(exact);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(batches_do_not_matter),
    cmocka_unit_test(options_change_the_picture),
    cmocka_unit_test(guidance_is_rescaled),
    cmocka_unit_test(a_model_without_cross_attention),
    cmocka_unit_test(old_names_of_attention),
    cmocka_unit_test(a_model_without_padding),
    cmocka_unit_test(a_picture_to_start_from),
    cmocka_unit_test(a_large_picture_to_start_from_is_told),
    cmocka_unit_test(sizes_and_parameters),
    cmocka_unit_test(nonsense_is_refused),
    cmocka_unit_test(options_reach_to_their_limits),
    cmocka_unit_test(what_does_not_fit_is_refused_first),
    cmocka_unit_test(plans_are_kept_by_their_use),
    cmocka_unit_test(a_callback_stops_it),
    cmocka_unit_test(a_cancel_can_be_taken_back),
    cmocka_unit_test(a_sampler_of_ones_own),
    cmocka_unit_test(steps_one_by_one),
    cmocka_unit_test(long_prompts_are_reported),
    cmocka_unit_test(bf16_is_close),
  };

  return cmocka_run_group_tests_name("generate", tests, open_tiny, close_tiny);
}
