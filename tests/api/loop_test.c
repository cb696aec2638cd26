/* A run is the loop that a host can write: the draws that src/api/train.c documents, textinv_loss()
 * and an optimizer. */
#include "testing_api.h"
#include "tiny_model.h"

#include <math.h>
#include <string.h>

#include "api.h"
#include "random.h"
#include "templates.h"

enum {
  WIDTH = 24, /* of the pictures */
  HEIGHT = 20,
  SIDE = 16, /* of the models */
  LATENTS = 4 * 8 * 8,
  BATCH = 2,
  ACCUMULATE = 3,
  PICTURES = 3,
  STEPS = 3,
  MAX_VALUES = 256
};
static const uint64_t SEED = 77;
static const char *const red_prompts[] = { "{} and a toy", "a {}", "{}" };

typedef enum { CENTRE, SQUASH, CROPS } views;

typedef struct loop {
  const textinv_model *model;
  uint8_t pixels[PICTURES][HEIGHT * WIDTH * 3]; /* the last is of "<red>" */
  views views;
  textinv_embeddings *words;
  textinv_optimizer *optimizer;
  size_t values;
} loop;

typedef struct told {
  float loss[STEPS], average[STEPS], norm[STEPS];
} told;

/* what a sample shows of a picture: crop is one of 8 */
static textinv_images *view(const loop *l, uint32_t picture, uint32_t crop, int mirrored)
{
  const ti_draw_key key = { SEED, TI_DRAW_CROP, crop, picture };
  uint8_t part[HEIGHT * WIDTH * 3], turned[SIDE * SIDE * 3];
  uint32_t left = (WIDTH - HEIGHT) / 2, top = 0, w = HEIGHT, h = HEIGHT;
  textinv_images *out;

  if (l->views == SQUASH) {
    left = 0;
    w = WIDTH;
  } else if (l->views == CROPS) { /* half the side at least */
    w = h = (uint32_t)(HEIGHT * (0.5f + 0.5f * ti_draw_uniform(&key, 0)));
    left = ti_draw_below(&key, 1, WIDTH - w + 1);
    top = ti_draw_below(&key, 2, HEIGHT - h + 1);
  }
  for (uint32_t y = 0; y < h; y++)
    memcpy(part + y * w * 3, l->pixels[picture] + ((top + y) * WIDTH + left) * 3, w * 3);
  must(textinv_images_new(&out, session, part, 1, w, h));
  must(textinv_images_resize(session, out, SIDE, SIDE));
  if (mirrored) {
    uint8_t *pixels = textinv_images_pixels(out, 0);

    for (int i = 0; i < SIDE * SIDE * 3; i++)
      turned[i] = pixels[(i / 3 / SIDE * SIDE + SIDE - 1 - i / 3 % SIDE) * 3 + i % 3];
    memcpy(pixels, turned, sizeof(turned));
  }
  return out;
}

/* sample i of step t */
static void draw(const loop *l, uint32_t t, uint32_t i, float *latents, float *noise,
                 uint32_t *timestep, char prompt[128])
{
  ti_draw_key key = { SEED, TI_DRAW_PICTURE, t, i };
  const uint32_t picture = ti_draw_below(&key, 0, PICTURES);
  float mean[LATENTS], deviation[LATENTS];
  const char *const *templates = red_prompts;
  size_t count = 3;

  key.purpose = TI_DRAW_CROP;
  const uint32_t crop = ti_draw_below(&key, 3, 8);

  key.purpose = TI_DRAW_FLIP;
  textinv_images *seen = view(l, picture, crop, ti_draw_uniform(&key, 0) < 0.5f);

  must(textinv_encode_image(session, mean, deviation, LATENTS, l->model, seen, 0));
  textinv_images_free(seen);
  key.purpose = TI_DRAW_LATENT;
  ti_draw_normal(&key, latents, LATENTS);
  for (int k = 0; k < LATENTS; k++)
    latents[k] = mean[k] + deviation[k] * latents[k];
  key.purpose = TI_DRAW_NOISE;
  ti_draw_normal(&key, noise, LATENTS);
  key.purpose = TI_DRAW_TIMESTEP;
  *timestep = ti_draw_below(&key, 0, 1000);
  key.purpose = TI_DRAW_PROMPT;
  if (picture < PICTURES - 1)
    templates = ti_templates(TEXTINV_PROPERTY_OBJECT, &count);
  const char *text = templates[ti_draw_below(&key, 0, (uint32_t)count)];
  const int before = (int)(strstr(text, "{}") - text);

  snprintf(prompt, 128, "%.*s%s%s", before, text, picture < PICTURES - 1 ? "<toy>" : "<red>",
           text + before + 2);
}

/* loss and norm of the gradient of step t */
static void step(const loop *l, uint32_t t, float *loss, float *norm)
{
  float gradient[MAX_VALUES] = { 0.0f }, part[MAX_VALUES], of_pass;
  double sum = 0.0;

  *loss = 0.0f;
  for (uint32_t pass = 0; pass < ACCUMULATE; pass++) {
    float latents[BATCH][LATENTS], noise[BATCH][LATENTS];
    char texts[BATCH][128];
    const char *const prompts[BATCH] = { texts[0], texts[1] };
    uint32_t timesteps[BATCH];
    textinv_loss_params p;

    for (uint32_t i = 0; i < BATCH; i++)
      draw(l, t, pass * BATCH + i, latents[i], noise[i], &timesteps[i], texts[i]);
    must(textinv_loss_params_init(&p, sizeof(p)));
    p.batch = BATCH;
    p.latents = latents[0];
    p.noise = noise[0];
    p.timesteps = timesteps;
    p.prompts = prompts;
    must(textinv_loss(session, &of_pass, part, l->values, l->model, l->words, &p));
    *loss += of_pass / ACCUMULATE;
    for (size_t i = 0; i < l->values; i++)
      gradient[i] += part[i] / ACCUMULATE;
  }
  for (size_t i = 0; i < l->values; i++)
    sum += (double)gradient[i] * gradient[i];
  *norm = (float)sqrt(sum);
  must(textinv_optimizer_step(session, l->optimizer, l->words, gradient, l->values));
}

static int32_t note(void *user, const textinv_progress *progress)
{
  told *t = user;

  assert_true(progress->step == progress->steps ? progress->eta == 0.0 : progress->eta > 0.0);
  if (!strcmp(progress->phase, "train")) {
    t->loss[progress->step - 1] = progress->loss;
    t->average[progress->step - 1] = progress->loss_average;
    t->norm[progress->step - 1] = progress->gradient_norm;
  }
  return 0;
}

static void add_words(loop *l)
{
  l->words = new_words();
  must(textinv_embeddings_add(session, l->words, l->model, "<toy>", 2, "toy", SEED));
  must(textinv_embeddings_add(session, l->words, l->model, "<red>", 1, "red", SEED));
}

/* the words of the run behind one that is not learnt */
static void run(const loop *l, textinv_embeddings *words, told *t, textinv_invert_report *report)
{
  textinv_concept c[2];
  textinv_invert_params p;
  textinv_images *pictures[PICTURES];

  for (int i = 0; i < PICTURES; i++)
    must(textinv_images_new(&pictures[i], session, l->pixels[i], 1, WIDTH, HEIGHT));
  for (int i = 0; i < 2; i++) {
    must(textinv_concept_init(&c[i], sizeof(c[i])));
    c[i].placeholder = i ? "<red>" : "<toy>";
    c[i].initializer = i ? "red" : "toy";
    c[i].num_vectors = i ? 1 : 2;
    c[i].pictures = (const textinv_images *const *)pictures + (i ? PICTURES - 1 : 0);
    c[i].num_pictures = i ? 1 : PICTURES - 1;
  }
  c[1].prompts = red_prompts;
  c[1].num_prompts = 3;
  must(textinv_invert_params_init(&p, sizeof(p)));
  p.concepts = c;
  p.num_concepts = 2;
  p.steps = STEPS;
  p.batch = BATCH;
  p.accumulate = ACCUMULATE;
  p.learning_rate = 0.01f;
  p.beta1 = 0.8f;
  p.beta2 = 0.99f;
  p.epsilon = 1e-6f;
  p.weight_decay = 0.5f;
  p.center_crop = l->views == CENTRE;
  p.crop_scale = l->views == CROPS ? 0.5f : 1.0f;
  p.seed = SEED;
  p.progress = note;
  p.progress_user = t;
  must(textinv_invert(session, l->model, words, &p, report));
  for (int i = 0; i < PICTURES; i++)
    textinv_images_free(pictures[i]);
}

static void compare(const char *folder, views what)
{
  static const char *const names[] = { "<toy>", "<red>" };
  textinv_optimizer_params op;
  textinv_embeddings *words = new_words();
  textinv_model *model;
  loop l = { .views = what };
  textinv_invert_report report;
  told t;

  test_seed(13);
  must(textinv_model_open(&model, session, folder));
  l.model = model;
  for (int i = 0; i < PICTURES; i++) {
    for (size_t k = 0; k < sizeof(l.pixels[i]); k++)
      l.pixels[i][k] = (uint8_t)test_u32();
  }
  must(textinv_embeddings_add(session, words, model, "<other>", 3, "a", SEED));
  must(textinv_invert_report_init(&report, sizeof(report)));
  run(&l, words, &t, &report);
  assert_float_equal(report.loss, t.loss[STEPS - 1], 0.0);
  assert_float_equal(report.loss_average, t.average[STEPS - 1], 0.0);

  add_words(&l);
  l.values = textinv_embeddings_num_values(l.words);
  assert_in_range(l.values, 1, MAX_VALUES);
  must(textinv_optimizer_params_init(&op, sizeof(op)));
  op.learning_rate = 0.01f;
  op.beta1 = 0.8f;
  op.beta2 = 0.99f;
  op.epsilon = 1e-6f;
  op.weight_decay = 0.5f;
  must(textinv_optimizer_new(&l.optimizer, session, l.words, &op));
  float average = t.loss[0];

  for (uint32_t i = 0; i < STEPS; i++) {
    float loss, norm;

    average += (t.loss[i] - average) / 50.0f;
    assert_float_equal(t.average[i], average, 1e-6);

    step(&l, i, &loss, &norm);
    if (!(fabsf(t.loss[i] - loss) <= 1e-5f * loss) || !(fabsf(t.norm[i] - norm) <= 1e-4f * norm))
      fail_msg("%s, step %u: loss %.9g, norm %.9g; of the run %.9g, %.9g", folder, i, (double)loss,
               (double)norm, (double)t.loss[i], (double)t.norm[i]);
  }
  for (uint32_t k = 0; k < 2; k++) {
    for (int i = 0; i < 2; i++) {
      const float *a = textinv_embeddings_rows(words, names[i], k);
      const float *b = textinv_embeddings_rows(l.words, names[i], k);
      const uint32_t count = textinv_embeddings_dim(words, names[i], k) * (i ? 1 : 2);

      assert_int_equal(textinv_embeddings_dim(l.words, names[i], k) * (i ? 1 : 2), count);
      for (uint32_t v = 0; v < count; v++) {
        if (!(fabsf(a[v] - b[v]) <= 1e-5f))
          fail_msg("%s: %s, encoder %u, value %u: %.9g and %.9g", folder, names[i], k, v,
                   (double)a[v], (double)b[v]);
      }
    }
  }
  textinv_optimizer_free(l.optimizer);
  textinv_embeddings_free(l.words);
  textinv_embeddings_free(words);
  textinv_model_free(model);
}

static void a_run_is_a_loop_of_steps(void **state)
{
  (void)state;
  compare(tiny_model(), CENTRE);
}

static void whole_pictures_are_squashed(void **state)
{
  (void)state;
  compare(tiny_model(), SQUASH);
}

static void crops_are_random(void **state)
{
  (void)state;
  compare(tiny_model(), CROPS);
}

static void with_two_encoders_and_sizes_too(void **state)
{
  (void)state;
  compare("tests/golden/tiny-sdxl", CENTRE);
}

/* of samples that are wider than high: the mean square between the noise and its prediction */
static void a_loss_is_that_of_a_prediction(void **state)
{
  enum { W = 12, H = 8, COUNT = 4 * H * W };
  static const char *const prompts[BATCH] = { "a photo of a toy", "red" };
  static const uint32_t timesteps[BATCH] = { 250, 800 };
  static float latents[BATCH][COUNT], noise[BATCH][COUNT], noisy[COUNT], predicted[COUNT];
  textinv_embeddings *const none_learnt = new_words();
  textinv_predict_params pp;
  textinv_loss_params p;
  textinv_model *model;
  double sum = 0.0;
  float loss;

  (void)state;
  must(textinv_model_open(&model, session, tiny_model()));
  const float *alphas = textinv_model_alphas_cumprod(model);

  test_seed(17);
  for (int i = 0; i < BATCH; i++) {
    for (int k = 0; k < COUNT; k++) {
      latents[i][k] = test_normal();
      noise[i][k] = test_normal();
    }
  }
  for (int i = 0; i < BATCH; i++) {
    const float a = sqrtf(alphas[timesteps[i]]), b = sqrtf(1.0f - alphas[timesteps[i]]);
    float context[TINY_TOKENS * TINY_WIDTH];

    for (int k = 0; k < COUNT; k++)
      noisy[k] = a * latents[i][k] + b * noise[i][k];
    must(textinv_encode_prompt(session, context, TINY_TOKENS * TINY_WIDTH, NULL, 0, NULL, model,
                               NULL, prompts[i], 0));
    must(textinv_predict_params_init(&pp, sizeof(pp)));
    pp.batch = 1;
    pp.width = W;
    pp.height = H;
    pp.latents = noisy;
    pp.timestep = (float)timesteps[i];
    pp.context = context;
    must(textinv_predict_noise(session, predicted, COUNT, model, &pp));
    for (int k = 0; k < COUNT; k++)
      sum += (predicted[k] - noise[i][k]) * (double)(predicted[k] - noise[i][k]);
  }
  must(textinv_loss_params_init(&p, sizeof(p)));
  p.batch = BATCH;
  p.width = W;
  p.height = H;
  p.latents = latents[0];
  p.noise = noise[0];
  p.timesteps = timesteps;
  p.prompts = prompts;
  const textinv_loss_params good = p;

  must(textinv_loss(session, &loss, NULL, 0, model, none_learnt, &p));
  assert_true(fabs(loss - sum / (BATCH * COUNT)) < 1e-5 * loss);

#define REFUSED(change, part)                                                                      \
  do {                                                                                             \
    p = good;                                                                                      \
    change;                                                                                        \
    refused(textinv_loss(session, &loss, NULL, 0, model, none_learnt, &p), TEXTINV_E_INVALID,      \
            part);                                                                                 \
  } while (0)
  REFUSED(p.latents = NULL, "latents is NULL");
  REFUSED(p.noise = NULL, "noise is NULL");
  REFUSED(p.timesteps = NULL, "timesteps is NULL");
  REFUSED(p.prompts = NULL, "prompts is NULL");
  REFUSED((p.prompts = (const char *const[]){ "a", NULL }), "prompts[1] is NULL");
  REFUSED((p.timesteps = (const uint32_t[]){ 999, 1000 }),
          "timesteps[1] is 1000; 0 to 999 are possible");
  REFUSED(p.batch = 0, "batch is 0; 1 to 1024");
  REFUSED(p.batch = 1025, "batch is 1025; 1 to 1024");
  REFUSED(p.width = 11, "latents of 11 x 8; sides must be multiples of 2, up to 2048");
  REFUSED(p.height = 7, "latents of 12 x 7; sides must be multiples of 2, up to 2048");
  REFUSED(p.width = 2050, "latents of 2050 x 8;");
  REFUSED(p.height = 2050, "latents of 12 x 2050;");
  p = good;
  refused(textinv_loss(session, &loss, &loss, 1, model, none_learnt, &p), TEXTINV_E_SHAPE,
          "gradient has room for 1 values; 0 are needed");
  textinv_embeddings_free(none_learnt);
  textinv_model_free(model);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_run_is_a_loop_of_steps),
    cmocka_unit_test(whole_pictures_are_squashed),
    cmocka_unit_test(crops_are_random),
    cmocka_unit_test(a_loss_is_that_of_a_prediction),
    cmocka_unit_test(with_two_encoders_and_sizes_too),
  };

  return cmocka_run_group_tests_name("loop", tests, session_setup, session_teardown);
}
