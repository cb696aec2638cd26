/* Brackets that weigh in prompts: what becomes of the states of tokens, and of pictures. */
#include "testing_api.h"

#include <math.h>
#include <stdlib.h>

#include "api.h"
#include "tiny_model.h"

/* context [tokens, context_dim] and pooled; the caller frees them */
static float *encode(const textinv_model *m, const char *prompt, int weighted, float **pooled)
{
  float *context = calloc((size_t)m->tokens * (size_t)m->context_dim, sizeof(float));
  size_t truncated;

  *pooled = calloc((size_t)m->pooled_dim + 1, sizeof(float));
  assert_non_null(context);
  assert_non_null(*pooled);
  must(ti_encode_text(session, m, NULL, prompt, weighted, 0, context, *pooled, &truncated));
  assert_int_equal(truncated, 0);
  return context;
}

/* prompt, whose token 2 weighs so much, against the states of plain, by the formula of the web UI
 */
static void weighs(const textinv_model *m, const char *prompt, const char *plain, float weight)
{
  float *pooled, *plain_pooled;
  float *met = encode(m, prompt, 1, &pooled), *expected = encode(m, plain, 0, &plain_pooled);
  size_t column = 0;

  for (int e = 0; e < m->num_encoders; e++) {
    const size_t width = (size_t)m->encoders[e].config.width;
    double before = 0.0, after = 0.0, largest = 0.0;

    for (int pass = 0; pass < 2; pass++) {
      for (size_t i = 0; i < (size_t)m->tokens; i++) {
        for (size_t k = 0; k < width; k++) {
          float *x = &expected[i * (size_t)m->context_dim + column + k];
          const double y = met[i * (size_t)m->context_dim + column + k];

          if (pass) {
            *x *= (float)(before / after);
            largest = fmax(largest, fabs(*x - y) / fmax(1.0, fabs(*x)));
            continue;
          }
          before += *x;
          *x *= i == 2 ? weight : 1.0f;
          after += *x;
        }
      }
    }
    if (!(largest < 1e-5))
      fail_msg("\"%s\", encoder %d: off by %g", prompt, e, largest);
    column += width;
  }
  assert_memory_equal(pooled, plain_pooled, (size_t)m->pooled_dim * sizeof(float));
  free(met);
  free(expected);
  free(pooled);
  free(plain_pooled);
}

static void states_are_multiplied_and_keep_their_mean(void **state)
{
  const char *const folders[] = { tiny_model(), "tests/golden/tiny-sdxl" };

  (void)state;
  for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
    textinv_model *model = open_model(folders[i]);

    weighs(model, "a (b:1.5) c", "a b c", 1.5f);
    weighs(model, "a [b] c", "a b c", (float)(1 / 1.1));
    weighs(model, "a (b:0) c", "a b c", 0.0f);
    weighs(model, "a (b:1) c", "a b c", 1.0f);
    textinv_model_free(model);
  }
}

static textinv_images *draw(const textinv_model *model, const char *prompt, const char *negative,
                            int32_t weighted)
{
  textinv_generate_params p;
  textinv_images *images;

  must(textinv_generate_params_init(&p, sizeof(p)));
  p.prompt = prompt;
  p.negative_prompt = negative;
  p.prompt_weights = weighted;
  p.steps = 2;
  must(textinv_generate(&images, session, model, NULL, &p));
  return images;
}

static void pictures_follow(void **state)
{
  static const struct {
    const char *prompt, *negative;
    int32_t weighted;
    int same; /* as the first */
  } cases[] = {
    { "a cat", "a dog", 0, 1 },           { "a cat", "a dog", 1, 1 },
    { "a (cat:1.0)", "[(a dog)]", 1, 1 }, { "a (cat:1.0)", "a (dog:1)", 1, 1 },
    { "a (cat:1.4)", "a dog", 1, 0 },     { "a cat", "a (dog:1.4)", 1, 0 },
    { "a (cat:1.0)", "a dog", 0, 0 },
  };
  textinv_model *model = open_model(tiny_model());
  textinv_images *first = draw(model, "a cat", "a dog", 0);

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    textinv_images *images = draw(model, cases[i].prompt, cases[i].negative, cases[i].weighted);
    const int differ = memcmp(textinv_images_pixels(first, 0), textinv_images_pixels(images, 0),
                              TINY_SIZE * TINY_SIZE * 3);

    if ((differ == 0) != cases[i].same)
      fail_msg("\"%s\" without \"%s\" draws %s picture", cases[i].prompt, cases[i].negative,
               differ ? "another" : "the same");
    textinv_images_free(images);
  }
  textinv_images_free(first);
  textinv_model_free(model);
}

static void what_cannot_be_is_refused(void **state)
{
  textinv_model *model = open_model(tiny_model());
  textinv_generate_params p;
  textinv_images *images;

  (void)state;
  must(textinv_generate_params_init(&p, sizeof(p)));
  p.prompt = "a (cat:2000)";
  p.prompt_weights = 1;
  refused(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_INVALID,
          "a part of the prompt has the weight 2000; -1000 to 1000 are possible");
  p.prompt_weights = -1;
  refused(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_INVALID,
          "prompt_weights is -1");
  textinv_model_free(model);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(states_are_multiplied_and_keep_their_mean),
    cmocka_unit_test(pictures_follow),
    cmocka_unit_test(what_cannot_be_is_refused),
  };

  return cmocka_run_group_tests_name("prompt_weights", tests, session_setup, session_teardown);
}
