/* Inversion end to end on a tiny model: it learns, refuses, and leaves the model alone. */
#include "testing_invert.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api.h"

static uint64_t hash_weights(void)
{
  const ti_weights *all[] = { &model->unet_weights, &model->vae_weights,
                              &model->encoders[0].weights };
  uint64_t hash = 0xcbf29ce484222325u;

  for (size_t k = 0; k < sizeof(all) / sizeof(*all); k++) {
    for (size_t i = 0; i < all[k]->count; i++) {
      const unsigned char *p = all[k]->items[i].data;

      for (size_t b = 0; b < all[k]->items[i].count * 4; b++)
        hash = (hash ^ p[b]) * 0x100000001b3u;
    }
  }
  return hash;
}

static void it_learns_and_the_model_stays(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e = new_words();
  textinv_invert_report report;
  const uint64_t before = hash_weights();
  float other[TINY_WIDTH * TINY_TOKENS], again[TINY_WIDTH * TINY_TOKENS];

  (void)state;
  must(textinv_invert_report_init(&report, sizeof(report)));
  must(textinv_encode_prompt(session, other, TINY_WIDTH * TINY_TOKENS, NULL, 0, NULL, model, NULL,
                             "a photo of toy", 0));
  must(textinv_embeddings_add(session, e, model, "<toy>", 1, "toy", 0));
  must(textinv_embeddings_add(session, e, model, "<other>", 1, "photo", 0));
  const float loss = fixed_loss(e);
  float kept[TINY_WIDTH];

  memcpy(kept, textinv_embeddings_rows(e, "<other>", 0), sizeof(kept));
  p.steps = 60;
  p.learning_rate = 0.02f;
  textinv_generate_params large; /* than the training */
  textinv_images *drawn;

  must(textinv_generate_params_init(&large, sizeof(large)));
  large.prompt = "a";
  large.steps = 1;
  large.width = large.height = 16 * TINY_SIZE;
  must(textinv_generate(&drawn, session, model, NULL, &large));
  textinv_images_free(drawn);
  must(textinv_invert(session, model, e, &p, &report));
  assert_true(report.peak_bytes < textinv_session_peak_bytes(session));
  assert_true(fixed_loss(e) < loss);
  assert_int_equal(report.steps, 60);
  assert_int_equal(report.num_pictures, 3);
  assert_int_equal(report.skipped, 0);
  assert_true(report.peak_bytes > 100000 && report.seconds > 0.0);

  assert_true(hash_weights() == before);
  must(textinv_encode_prompt(session, again, TINY_WIDTH * TINY_TOKENS, NULL, 0, NULL, model, e,
                             "a photo of toy", 0));
  assert_memory_equal(other, again, sizeof(other));
  assert_memory_equal(kept, textinv_embeddings_rows(e, "<other>", 0), sizeof(kept));
  textinv_embeddings_free(e);
}

static int32_t not_yet(void *user, const textinv_progress *progress)
{
  (void)user;
  fail_msg("phase %s began", progress->phase);
  return 1;
}

static void threads_and_recomputation_do_not_matter(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_session_params sp;
  textinv_session *keep = session;
  float rows[TINY_WIDTH], other[TINY_WIDTH];

  (void)state;
  p.batch = 8; /* activations outweigh the kernels' scratch */
  p.steps = 5;
  run(rows, &p);
  must(textinv_session_params_init(&sp, sizeof(sp)));
  sp.threads = 1;
  must(textinv_session_new(&session, &sp));
  run(other, &p);
  const uint64_t peak = textinv_session_peak_bytes(session);

  textinv_session_free(session);
  for (int i = 0; i < TINY_WIDTH; i++)
    assert_true(fabsf(rows[i] - other[i]) <= 1e-4f * fabsf(rows[i]) + 1e-6f);

  /* a budget below the peak: parts are computed again, the result stays */
  sp.log = hear;
  sp.memory_budget = ti_model_parameters(model) * 4 + peak * 9 / 10;
  must(textinv_session_new(&session, &sp));
  run(rows, &p);
  assert_non_null(strstr(heard.told, "blocks are computed again"));
  assert_true(textinv_session_peak_bytes(session) <= peak * 9 / 10);
  assert_memory_equal(rows, other, sizeof(rows));
  textinv_session_free(session);

  /* where all of them are not enough the batch takes several passes */
  for (uint64_t share = 17; !strstr(heard.told, "memory is short"); share--) {
    sp.memory_budget = ti_model_parameters(model) * 4 + peak * share / 20;
    must(textinv_session_new(&session, &sp));
    run(rows, &p);
    assert_true(textinv_session_peak_bytes(session) <= peak * share / 20);
    textinv_session_free(session);
  }
  unsigned passes, samples;

  assert_int_equal(
    sscanf(heard.told, "memory is short: a step takes %u passes of %u samples", &passes, &samples),
    2);
  assert_true(passes > 1 && passes * samples == p.batch);
  for (int i = 0; i < TINY_WIDTH; i++)
    assert_true(fabsf(rows[i] - other[i]) <= 1e-4f * fabsf(rows[i]) + 1e-6f);

  sp.memory_budget = ti_model_parameters(model) * 4 + 1000;
  must(textinv_session_new(&session, &sp));
  textinv_embeddings *e = new_words();

  p.progress = not_yet; /* refused before any picture is encoded */
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_NOMEM,
          "memory budget: activations need");
  textinv_embeddings_free(e);
  textinv_session_free(session);
  session = keep;
}

static void several_words_in_one_run(void **state)
{
  textinv_concept c[2] = { concept("<toy>"), concept("<red>") };
  textinv_invert_params p = params(c, 2);
  textinv_embeddings *e = new_words();

  (void)state;
  c[0].num_vectors = 3;
  c[1].property = TEXTINV_PROPERTY_STYLE;
  c[1].initializer = NULL;
  must(textinv_invert(session, model, e, &p, NULL));
  assert_int_equal(textinv_embeddings_vectors(e, "<toy>"), 3);
  assert_int_equal(textinv_embeddings_vectors(e, "<red>"), 1);
  textinv_embeddings_free(e);
}

/* the host's pixels, of several sizes, in place of a folder: the same rows to the bit */
static void pictures_in_memory_are_as_good_as_files(void **state)
{
  enum { PICTURES = 3 };
  const char *folder = fresh_folder("sizes");
  textinv_images *held[PICTURES];
  textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  float by_path[TINY_WIDTH], by_pixels[TINY_WIDTH];
  uint8_t pixels[(16 + 2 * PICTURES) * 20 * 3];
  char path[600];

  (void)state;
  test_seed(31);
  for (uint32_t i = 0; i < PICTURES; i++) {
    for (size_t k = 0; k < sizeof(pixels); k++)
      pixels[k] = (uint8_t)test_u32();
    must(textinv_images_new(&held[i], session, pixels, 1, 16 + 2 * i, 20));
    snprintf(path, sizeof(path), "%s/%u.png", folder, i);
    must(textinv_images_save(session, held[i], 0, path, NULL));
  }
  c.images_path = folder;
  run(by_path, &p);
  c.images_path = NULL;
  c.pictures = (const textinv_images *const *)held;
  c.num_pictures = PICTURES;
  run(by_pixels, &p);
  assert_memory_equal(by_path, by_pixels, sizeof(by_path));
  for (int i = 0; i < PICTURES; i++)
    textinv_images_free(held[i]);
}

static void captions_are_used_and_checked(void **state)
{
  textinv_concept c = concept("<toy>");
  const textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e = new_words();
  char path[600];

  (void)state;
  c.images_path = tiny_pictures("captioned", 2, 20, 30);
  c.captions = 1;
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_NOT_FOUND, "0.txt");
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof(path), "%s/%d.txt", c.images_path, i);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(i ? "a photo of nothing\n" : " a photo of <toy>\n", f);
    fclose(f);
  }
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_INVALID,
          "1.txt: \"a photo of nothing\" does not hold the placeholder \"<toy>\"");
  assert_int_equal(textinv_embeddings_count(e), 0);
  FILE *f = fopen(path, "w");

  assert_non_null(f);
  fputs("a photo of <toy>", f);
  fclose(f);
  must(textinv_invert(session, model, e, &p, NULL));

  /* in place of the templates, as one template of the same text */
  static const char *const template[] = { "a photo of {}" };
  float by_template[TINY_WIDTH];

  c.prompts = template;
  c.num_prompts = 1;
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_INVALID,
          "word \"<toy>\" has both captions and prompts; give one");
  c.captions = 0;
  run(by_template, &p);
  assert_memory_equal(by_template, textinv_embeddings_rows(e, "<toy>", 0), sizeof(by_template));
  textinv_embeddings_free(e);
}

static void a_template_may_have_the_word_twice(void **state)
{
  static const char *const twice[] = { "a {} beside {}" }, *const written[] = {
    "a {} beside <toy>"
  };
  textinv_concept c = concept("<toy>");
  const textinv_invert_params p = params(&c, 1);
  float rows[2][TINY_WIDTH];

  (void)state;
  c.num_prompts = 1;
  c.prompts = twice;
  run(rows[0], &p);
  c.prompts = written;
  run(rows[1], &p);
  assert_memory_equal(rows[0], rows[1], sizeof(rows[0]));
}

static int32_t count_previews(void *user, uint32_t step, textinv_images *images)
{
  int *count = user;

  assert_int_equal(step % 4, 0);
  assert_int_equal(textinv_images_width(images), TINY_SIZE);
  refused(textinv_images_save(session, images, 0, "/nowhere/x.png", NULL), TEXTINV_E_NOT_FOUND,
          "/nowhere");
  ++*count;
  return 0;
}

enum { PREVIEWS = 2, PREVIEW_BYTES = PREVIEWS * TINY_SIZE * TINY_SIZE * 3 };

static int32_t keep_last(void *user, uint32_t step, textinv_images *images)
{
  assert_in_range(step, 1, 12);
  assert_int_equal(textinv_images_count(images), PREVIEWS);
  memcpy(user, textinv_images_pixels(images, 0), PREVIEW_BYTES);
  return 0;
}

/* the last one is of the words as they are returned */
static void previews_are_what_the_words_draw(void **state)
{
  static uint8_t kept[PREVIEW_BYTES];
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_generate_params g;
  textinv_embeddings *e = new_words();
  textinv_images *images;

  (void)state;
  p.learning_rate = 0.1f;
  p.preview_prompt = "a photo of <toy>";
  p.preview_every = 6;
  p.preview_images = PREVIEWS;
  p.preview_steps = 4;
  p.preview = keep_last;
  p.preview_user = kept;
  must(textinv_invert(session, model, e, &p, NULL));
  must(textinv_generate_params_init(&g, sizeof(g)));
  g.prompt = p.preview_prompt;
  g.images = PREVIEWS;
  g.steps = 4;
  must(textinv_generate(&images, session, model, e, &g));
  assert_memory_equal(textinv_images_pixels(images, 0), kept, PREVIEW_BYTES);
  textinv_images_free(images);
  assert_int_equal(ti_embeddings_find(e, "<toy>")->step, 12); /* what their file tells */
  textinv_embeddings_free(e);
}

static void nonsense_is_refused_before_any_work(void **state)
{
  textinv_concept c = concept("<toy>");
  const textinv_concept good = c;
  textinv_embeddings *e = new_words();
  textinv_invert_params p;
  const char *no_braces[] = { "a photo" };
  textinv_images *two;
  const textinv_images *held[2];

  (void)state;
#define REFUSED(change, status, part)                                                              \
  do {                                                                                             \
    c = good;                                                                                      \
    p = params(&c, 1);                                                                             \
    change;                                                                                        \
    refused(textinv_invert(session, model, e, &p, NULL), status, part);                            \
    assert_int_equal(textinv_embeddings_count(e), 0);                                              \
  } while (0)
  REFUSED(p.steps = 0, TEXTINV_E_INVALID, "steps is 0");
  REFUSED(p.batch = 0, TEXTINV_E_INVALID, "batch is 0");
  REFUSED(p.learning_rate = NAN, TEXTINV_E_INVALID, "learning_rate is nan");
  REFUSED(p.learning_rate = 0.0f, TEXTINV_E_INVALID, "learning_rate is 0; above 0 to 1000");
  REFUSED(p.learning_rate = -1.0f, TEXTINV_E_INVALID, "learning_rate is -1");
  REFUSED(p.resolution = 7, TEXTINV_E_INVALID, "a multiple of 4 is needed");
  REFUSED(p.resolution = 8192, TEXTINV_E_INVALID, "up to 4096");
  REFUSED(p.flip = 2.0f, TEXTINV_E_INVALID, "flip is 2");
  REFUSED(p.crop_scale = 0.1f, TEXTINV_E_INVALID, "crop_scale is 0.1");
  REFUSED(p.num_concepts = 0, TEXTINV_E_INVALID, "0 concepts");
  REFUSED(p.checkpoint_every = 5, TEXTINV_E_INVALID, "checkpoint_every needs output_dir");
  REFUSED(p.output_dir = "", TEXTINV_E_INVALID, "output_dir is empty");
  REFUSED(p.preview_every = 5, TEXTINV_E_INVALID, "preview_every needs");
  REFUSED((p.preview_every = 5, p.preview = count_previews, p.preview_prompt = "a",
           p.preview_steps = 1000),
          TEXTINV_E_INVALID, "preview_steps: steps is 1000");
  REFUSED((p.output_dir = "/nowhere", p.checkpoint_every = 1), TEXTINV_E_NOT_FOUND, "/nowhere");
  REFUSED(c.placeholder = NULL, TEXTINV_E_INVALID, "concepts[0].placeholder is NULL");
  REFUSED(c.placeholder = "two words", TEXTINV_E_INVALID, "white space");
  REFUSED(c.placeholder = "", TEXTINV_E_INVALID, "empty");
  REFUSED(c.placeholder = "photo", TEXTINV_E_CONFLICT, "in the vocabulary already");
  REFUSED(c.num_vectors = 33, TEXTINV_E_INVALID, "33 vectors");
  REFUSED(c.num_vectors = 30, TEXTINV_E_LIMIT, "do not fit into a prompt of 32 tokens");
  REFUSED(c.images_path = "/nowhere", TEXTINV_E_NOT_FOUND, "/nowhere");
  REFUSED(c.images_path = NULL, TEXTINV_E_INVALID, "neither images_path nor pictures");
  REFUSED(c.property = 9, TEXTINV_E_INVALID, "property of \"<toy>\" is 9");
  REFUSED((c.prompts = no_braces, c.num_prompts = 1), TEXTINV_E_INVALID, "has no \"{}\"");
  REFUSED(c.captions = 2, TEXTINV_E_INVALID, "captions is 2; 0 and 1 are possible");
  REFUSED(c.num_prompts = 2, TEXTINV_E_INVALID, "prompts of \"<toy>\" is NULL; 2 are promised");
  REFUSED((c.prompts = no_braces, c.num_prompts = 0), TEXTINV_E_INVALID, "has no prompts");
  must(textinv_images_new(&two, session, NULL, 2, TINY_SIZE, TINY_SIZE));
  held[0] = two;
  held[1] = NULL;
  REFUSED((c.images_path = NULL, c.pictures = held, c.num_pictures = 1), TEXTINV_E_INVALID,
          "pictures[0] of \"<toy>\" is not one picture");
  REFUSED((c.images_path = NULL, c.pictures = held + 1, c.num_pictures = 1), TEXTINV_E_INVALID,
          "pictures[0] of \"<toy>\" is not one picture");
  REFUSED((c.images_path = NULL, c.num_pictures = 1), TEXTINV_E_INVALID, "neither images_path nor");
  REFUSED((c.pictures = held, c.num_pictures = 1), TEXTINV_E_INVALID, "both images_path and");
  textinv_images_free(two);
  refused(textinv_invert(session, NULL, e, &p, NULL), TEXTINV_E_INVALID, "model is NULL");
  textinv_embeddings_free(e);
}

/* an empty word is refused behind the options */
static void options_reach_to_their_limits(void **state)
{
  textinv_concept many[257] = { { .struct_size = 0 } };
  textinv_embeddings *e = new_words();
  textinv_invert_params p;

  (void)state;
  for (int i = 0; i < 257; i++)
  many[i] = concept("");
#define LIMIT(change, status, part)                                                                \
  do {                                                                                             \
    p = params(many, 1);                                                                           \
    change;                                                                                        \
    refused(textinv_invert(session, model, e, &p, NULL), status, part);                            \
  } while (0)
#define POSSIBLE(change) LIMIT(change, TEXTINV_E_INVALID, "empty")
#define IMPOSSIBLE(change, part) LIMIT(change, TEXTINV_E_INVALID, part)
  POSSIBLE(p.num_concepts = 256);
  IMPOSSIBLE(p.num_concepts = 257, "257 concepts; 1 to 256");
  POSSIBLE(p.steps = 10000000);
  IMPOSSIBLE(p.steps = 10000001, "steps is 10000001");
  POSSIBLE(p.batch = 1024);
  IMPOSSIBLE(p.batch = 1025, "batch is 1025");
  POSSIBLE(p.accumulate = 1024);
  IMPOSSIBLE(p.accumulate = 1025, "accumulate 1025");
  IMPOSSIBLE(p.accumulate = 0, "accumulate 0");
  POSSIBLE(p.lr_schedule = TEXTINV_LR_COSINE);
  IMPOSSIBLE(p.lr_schedule = TEXTINV_LR_COSINE + 1, "lr_schedule is 3; 0 to 2");
  IMPOSSIBLE(p.lr_schedule = -1, "lr_schedule is -1");
  POSSIBLE(p.lr_warmup = p.steps);
  IMPOSSIBLE(p.lr_warmup = p.steps + 1, "lr_warmup is 13; at most the 12 steps");
  POSSIBLE(p.resolution = 4096);
  IMPOSSIBLE(p.resolution = 4100, "resolution is 4100; a multiple of 4 is needed, up to 4096");
  POSSIBLE(p.crop_scale = 0.5f);
  IMPOSSIBLE(p.crop_scale = 0.49f, "crop_scale is 0.49");
  IMPOSSIBLE(p.crop_scale = 1.01f, "crop_scale is 1.01");
  POSSIBLE(p.flip = 0.0f);
  POSSIBLE(p.flip = 1.0f);
  IMPOSSIBLE(p.flip = -0.01f, "flip is -0.01");
  POSSIBLE(p.center_crop = 0);
  IMPOSSIBLE(p.center_crop = 2, "center_crop is 2; 0 and 1");
  IMPOSSIBLE(p.scale_lr = -1, "scale_lr is -1; 0 and 1");

  const textinv_preview_fn preview = count_previews;

#define PREVIEWS(change) (p.preview_every = 1, p.preview = preview, p.preview_prompt = "a", change)
  POSSIBLE(PREVIEWS(p.preview_images = 16));
  IMPOSSIBLE(PREVIEWS(p.preview_images = 17), "preview_images of 1 to 16");
  IMPOSSIBLE(PREVIEWS(p.preview_images = 0), "preview_images of 1 to 16");
  POSSIBLE(PREVIEWS(p.preview_steps = 1));
  IMPOSSIBLE(PREVIEWS(p.preview_steps = 0), "preview_steps of 1 to 1000");
  IMPOSSIBLE(PREVIEWS(p.preview_steps = 1001), "preview_steps of 1 to 1000");
  IMPOSSIBLE(PREVIEWS(p.preview_prompt = NULL), "preview_every needs preview, preview_prompt");
  IMPOSSIBLE(PREVIEWS(p.preview = NULL), "preview_every needs preview, preview_prompt");
  textinv_embeddings_free(e);
}

/* no word is learnt from latents that are none */
static void an_autoencoder_that_overflows_is_told(void **state)
{
  static float overflow[256];
  textinv_model *const good = model;
  const textinv_concept c = concept("<toy>");
  const textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e = new_words();
  textinv_images *images;
  float mean[4 * 8 * 8];

  (void)state;
  for (int i = 0; i < 256; i++)
    overflow[i] = NAN;
  must(textinv_model_open(&model, session, tiny_model()));
  for (size_t i = 0; i < model->vae_weights.count; i++) {
    ti_weight *w = &model->vae_weights.items[i];

    if (strcmp(w->name, "encoder.conv_out.bias"))
      continue;
    assert_in_range(w->count, 1, 256);
    w->data = overflow;
  }
  must(textinv_images_new(&images, session, NULL, 1, TINY_SIZE, TINY_SIZE));
  refused(textinv_encode_image(session, mean, NULL, 4 * 8 * 8, model, images, 0),
          TEXTINV_E_NONFINITE,
          "picture 0: the VAE's encoder gave nan: check its input and weights");
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_NONFINITE,
          "0.png: the VAE's encoder gave nan");
  textinv_generate_params g;
  textinv_images *drawn;

  must(textinv_generate_params_init(&g, sizeof(g)));
  g.prompt = "a";
  g.init_image = images;
  refused(textinv_generate(&drawn, session, model, NULL, &g), TEXTINV_E_NONFINITE,
          "init_image: the VAE's encoder gave nan");
  assert_int_equal(textinv_embeddings_count(e), 0);
  textinv_images_free(images);
  textinv_embeddings_free(e);
  textinv_model_free(model);
  model = good;
}

enum { RATES = 10 };

typedef struct rates {
  const textinv_embeddings *words;
  float before[TINY_WIDTH], first_change, rate[RATES];
} rates;

static int32_t note_rate(void *user, const textinv_progress *progress)
{
  rates *r = user;

  if (strcmp(progress->phase, "train"))
    return 0;
  assert_in_range(progress->step, 1, RATES);
  assert_true(progress->loss > 0.0f && progress->gradient_norm > 0.0f);
  r->rate[progress->step - 1] = progress->learning_rate;
  for (int i = 0; i < TINY_WIDTH && progress->step == 1; i++)
    r->first_change = fmaxf(r->first_change,
                            fabsf(textinv_embeddings_rows(r->words, "<toy>", 0)[i] - r->before[i]));
  return 0;
}

/* shares of the full rate, by the formulas of diffusers.optimization for step index 0..9 */
static void learning_rates_are_those_of_diffusers(void **state)
{
  static const struct {
    textinv_lr_schedule schedule;
    uint32_t warmup;
    float rate[RATES];
  } cases[] = {
    { TEXTINV_LR_CONSTANT, 0, { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 } },
    { TEXTINV_LR_CONSTANT, 3, { 0, 1 / 3.0f, 2 / 3.0f, 1, 1, 1, 1, 1, 1, 1 } },
    { TEXTINV_LR_LINEAR, 0, { 1, 0.9f, 0.8f, 0.7f, 0.6f, 0.5f, 0.4f, 0.3f, 0.2f, 0.1f } },
    { TEXTINV_LR_LINEAR,
      3,
      { 0, 1 / 3.0f, 2 / 3.0f, 1, 6 / 7.0f, 5 / 7.0f, 4 / 7.0f, 3 / 7.0f, 2 / 7.0f, 1 / 7.0f } },
    { TEXTINV_LR_COSINE,
      0,
      { 1, 0.97552826f, 0.9045085f, 0.79389263f, 0.6545085f, 0.5f, 0.3454915f, 0.20610737f,
        0.0954915f, 0.02447174f } },
    { TEXTINV_LR_COSINE,
      3,
      { 0, 1 / 3.0f, 2 / 3.0f, 1, 0.95048443f, 0.8117449f, 0.61126047f, 0.38873953f, 0.1882551f,
        0.04951557f } },
  };
  const textinv_concept c = concept("<toy>");

  (void)state;
  for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(*cases); i++) {
    const int scaled = i % 2;
    textinv_invert_params p = params(&c, 1);
    textinv_embeddings *e = new_words();
    rates r = { .words = e };

    must(textinv_embeddings_add(session, e, model, "<toy>", 1, "toy", 0));
    memcpy(r.before, textinv_embeddings_rows(e, "<toy>", 0), sizeof(r.before));
    p.steps = RATES;
    p.accumulate = 3;
    p.learning_rate = 0.002f;
    p.scale_lr = scaled;
    p.lr_schedule = cases[i / 2].schedule;
    p.lr_warmup = cases[i / 2].warmup;
    p.progress = note_rate;
    p.progress_user = &r;
    must(textinv_invert(session, model, e, &p, NULL));
    for (int t = 0; t < RATES; t++) { /* batch 2, accumulate 3 */
      const float expected = cases[i / 2].rate[t] * (scaled ? 0.012f : 0.002f);

      if (!(fabsf(r.rate[t] - expected) <= 1e-8f))
        fail_msg("case %zu, step %d: %.9g, expected %.9g", i, t, (double)r.rate[t],
                 (double)expected);
    }
    assert_true(fabsf(r.first_change - r.rate[0]) < 1e-5f); /* as AdamW begins */
    textinv_embeddings_free(e);
  }
}

static void infinite_losses_stop_with_finite_rows(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e = new_words();
  textinv_invert_report report;
  float rows[TINY_WIDTH];

  (void)state;
  must(textinv_invert_report_init(&report, sizeof(report)));
  for (int i = 0; i < TINY_WIDTH; i++)
    rows[i] = 3e38f;
  must(textinv_embeddings_set(session, e, "<toy>", 0, 1, TINY_WIDTH, rows));
  refused(textinv_invert(session, model, e, &p, &report), TEXTINV_E_NONFINITE,
          "was not finite for 8 steps");
  assert_int_equal(report.skipped, 8);
  assert_memory_equal(rows, textinv_embeddings_rows(e, "<toy>", 0), sizeof(rows));
  textinv_embeddings_free(e);
}

static void previews_do_not_disturb(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  float plain[TINY_WIDTH], with[TINY_WIDTH];
  int count = 0;

  (void)state;
  run(plain, &p);
  p.preview_prompt = "a photo of <toy>";
  p.preview_every = 4;
  p.preview_steps = 3;
  p.preview = count_previews;
  p.preview_user = &count;
  run(with, &p);
  assert_int_equal(count, 3);
  assert_string_equal(textinv_session_error(session), "");
  assert_memory_equal(plain, with, sizeof(plain));
}

/* here the latents become NaN; the run ends for its own reason, not for the preview's */
static void previews_that_fail_are_left_out(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e = new_words();
  float rows[TINY_WIDTH];
  int count = 0;

  (void)state;
  for (int i = 0; i < TINY_WIDTH; i++)
    rows[i] = 3e38f;
  must(textinv_embeddings_set(session, e, "<toy>", 0, 1, TINY_WIDTH, rows));
  p.preview_prompt = "a photo of <toy>";
  p.preview_every = 4;
  p.preview_steps = 1;
  p.preview = count_previews;
  p.preview_user = &count;
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_NONFINITE, "for 8 steps");
  assert_int_equal(count, 0);
  textinv_embeddings_free(e);
}

typedef struct intruder {
  textinv_session *other; /* as a callback may not use the run's */
  textinv_embeddings *words;
  textinv_optimizer *optimizer; /* of the words */
  char file[512];
} intruder;

static int32_t change_words(void *user, const textinv_progress *progress)
{
  static const float rows[2 * TINY_WIDTH];
  static const char being[] = "the words are being trained";
  const intruder *i = user;
  textinv_session *const running = session;
  const textinv_concept c = concept("<toy>");
  const textinv_invert_params p = params(&c, 1);
  textinv_embeddings *e = i->words;
  textinv_optimizer *o;

  (void)progress;
  session = i->other;
  refused(textinv_embeddings_set(session, e, "<toy>", 0, 1, TINY_WIDTH, rows), TEXTINV_E_INVALID,
          being);
  refused(textinv_embeddings_add(session, e, model, "<new>", 1, NULL, 0), TEXTINV_E_INVALID, being);
  refused(textinv_embeddings_remove(session, e, "<toy>"), TEXTINV_E_INVALID, being);
  refused(textinv_embeddings_load(session, e, model, i->file, NULL), TEXTINV_E_INVALID, being);
  refused(textinv_embeddings_load_memory(session, e, model, rows, 8, "x", NULL), TEXTINV_E_INVALID,
          being);
  refused(textinv_optimizer_step(session, i->optimizer, e, rows, TINY_WIDTH), TEXTINV_E_INVALID,
          being);
  refused(textinv_optimizer_load(&o, session, e, i->file), TEXTINV_E_INVALID, being);
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_INVALID, being);
  textinv_embeddings_free(e);
  session = running;
  return 0;
}

/* the run holds pointers into them */
static void callbacks_leave_the_words_alone(void **state)
{
  const textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  float plain[TINY_WIDTH];
  intruder i = { .words = new_words() };

  (void)state;
  p.steps = 3;
  run(plain, &p);
  must(textinv_session_new(&i.other, NULL));
  must(textinv_embeddings_add(session, i.words, model, "<toy>", 1, "toy", 0));
  must(textinv_optimizer_new(&i.optimizer, session, i.words, NULL));
  snprintf(i.file, sizeof(i.file), "%s", test_path("words.safetensors"));
  must(textinv_optimizer_save(session, i.optimizer, i.words, i.file));
  p.progress = change_words;
  p.progress_user = &i;
  must(textinv_invert(session, model, i.words, &p, NULL));
  assert_memory_equal(plain, textinv_embeddings_rows(i.words, "<toy>", 0), sizeof(plain));
  must(textinv_embeddings_remove(session, i.words, "<toy>"));
  textinv_optimizer_free(i.optimizer);
  textinv_embeddings_free(i.words);
  textinv_session_free(i.other);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(it_learns_and_the_model_stays),
    cmocka_unit_test(threads_and_recomputation_do_not_matter),
    cmocka_unit_test(several_words_in_one_run),
    cmocka_unit_test(pictures_in_memory_are_as_good_as_files),
    cmocka_unit_test(captions_are_used_and_checked),
    cmocka_unit_test(a_template_may_have_the_word_twice),
    cmocka_unit_test(previews_are_what_the_words_draw),
    cmocka_unit_test(nonsense_is_refused_before_any_work),
    cmocka_unit_test(options_reach_to_their_limits),
    cmocka_unit_test(an_autoencoder_that_overflows_is_told),
    cmocka_unit_test(learning_rates_are_those_of_diffusers),
    cmocka_unit_test(infinite_losses_stop_with_finite_rows),
    cmocka_unit_test(previews_do_not_disturb),
    cmocka_unit_test(previews_that_fail_are_left_out),
    cmocka_unit_test(callbacks_leave_the_words_alone),
  };

  return cmocka_run_group_tests_name("invert", tests, open_invert, close_tiny);
}
