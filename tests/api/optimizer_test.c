/* A host's own loop: an optimizer steps over words, and its checkpoint goes on with the same bytes. */
#include "testing_tiny.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api.h"

/* what the file of the words says */
static void assert_step_in_file(const textinv_embeddings *e, const char *expected)
{
  textinv_embeddings *back = new_words();
  const char *key, *value, *path = test_path("step.safetensors");

  must(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_DIFFUSERS, NULL));
  must(textinv_embeddings_load(session, back, NULL, path, "<again>"));
  for (size_t i = 0; (value = textinv_embeddings_metadata(back, i, &key)); i++) {
    if (!strcmp(key, "step"))
      break;
  }
  assert_non_null(value);
  assert_string_equal(value, expected);
  textinv_embeddings_free(back);
}

static void a_loop_of_ones_own(void **state)
{
  textinv_embeddings *e = new_words(), *copy = new_words();
  textinv_optimizer *o, *loaded;
  float gradient[TINY_WIDTH], rows[TINY_WIDTH];
  char path[512];

  (void)state;
  must(textinv_embeddings_add(session, e, model, "<toy>", 1, "toy", 0));
  must(textinv_optimizer_new(&o, session, e, NULL));
  for (int i = 0; i < TINY_WIDTH; i++)
    gradient[i] = i % 2 ? 1.0f : -2.0f;
  memcpy(rows, textinv_embeddings_rows(e, "<toy>", 0), sizeof(rows));
  must(textinv_optimizer_step(session, o, e, gradient, TINY_WIDTH));
  for (int i = 0; i < TINY_WIDTH; i++) /* the first step of AdamW is the rate, against the sign */
    assert_true(fabsf(textinv_embeddings_rows(e, "<toy>", 0)[i] -
                      (rows[i] + (i % 2 ? -5e-3f : 5e-3f))) < 1e-6f);
  refused(textinv_optimizer_step(session, o, e, gradient, 3), TEXTINV_E_SHAPE, "3 values");
  gradient[3] = INFINITY;
  refused(textinv_optimizer_step(session, o, e, gradient, TINY_WIDTH), TEXTINV_E_NONFINITE,
          "inf at 3");
  gradient[3] = 1e30f; /* its square would stay in the moments for good */
  refused(textinv_optimizer_step(session, o, e, gradient, TINY_WIDTH), TEXTINV_E_NONFINITE,
          "1e+30 at 3; word \"<toy>\" would not stay finite");
  assert_true(textinv_optimizer_steps(o) == 1);
  gradient[3] = 0.5f;

  snprintf(path, sizeof(path), "%s", test_path("own.safetensors"));
  must(textinv_optimizer_save(session, o, e, path));
  must(textinv_optimizer_load(&loaded, session, copy, path));
  assert_true(textinv_optimizer_steps(loaded) == 1);
  assert_step_in_file(copy, "1");
  must(textinv_optimizer_step(session, o, e, gradient, TINY_WIDTH));
  must(textinv_optimizer_step(session, loaded, copy, gradient, TINY_WIDTH));
  assert_memory_equal(textinv_embeddings_rows(e, "<toy>", 0),
                      textinv_embeddings_rows(copy, "<toy>", 0), sizeof(rows));

  assert_step_in_file(e, "2");
  textinv_optimizer_free(o);
  textinv_optimizer_free(loaded);
  textinv_embeddings_free(e);
  textinv_embeddings_free(copy);
}

/* the caller's words may be in another order than the checkpoint's */
static void every_word_gets_its_own_moments_back(void **state)
{
  enum { COUNT = 3 * TINY_WIDTH };
  textinv_embeddings *e = new_words(), *other = new_words();
  textinv_optimizer *o, *loaded;
  float gradient[COUNT], swapped[COUNT];
  char path[512];

  (void)state;
  for (int i = 0; i < COUNT; i++)
    gradient[i] = (float)i - 20.0f;
  memcpy(swapped, gradient + TINY_WIDTH, 2 * TINY_WIDTH * sizeof(*swapped));
  memcpy(swapped + 2 * TINY_WIDTH, gradient, TINY_WIDTH * sizeof(*swapped));
  must(textinv_embeddings_add(session, e, model, "<toy>", 1, "toy", 0));
  must(textinv_embeddings_add(session, e, model, "<red>", 2, "red", 0));
  must(textinv_optimizer_new(&o, session, e, NULL));
  must(textinv_optimizer_step(session, o, e, gradient, COUNT));
  snprintf(path, sizeof(path), "%s", test_path("two.safetensors"));
  must(textinv_optimizer_save(session, o, e, path));

  must(textinv_embeddings_add(session, other, model, "<red>", 2, "red", 0));
  must(textinv_optimizer_load(&loaded, session, other, path));
  assert_string_equal(textinv_embeddings_word(other, 0), "<red>");
  must(textinv_optimizer_step(session, o, e, gradient, COUNT));
  must(textinv_optimizer_step(session, loaded, other, swapped, COUNT));
  assert_memory_equal(loaded->m, o->m + TINY_WIDTH, 2 * TINY_WIDTH * sizeof(float));
  assert_memory_equal(textinv_embeddings_rows(e, "<toy>", 0),
                      textinv_embeddings_rows(other, "<toy>", 0), TINY_WIDTH * sizeof(float));
  assert_memory_equal(textinv_embeddings_rows(e, "<red>", 0),
                      textinv_embeddings_rows(other, "<red>", 0), 2 * TINY_WIDTH * sizeof(float));
  textinv_optimizer_free(o);
  textinv_optimizer_free(loaded);
  textinv_embeddings_free(e);
  textinv_embeddings_free(other);
}

/* the same number of values, but the moments are of others */
static void words_are_those_of_the_optimizer(void **state)
{
  enum { COUNT = 2 * TINY_WIDTH };
  textinv_embeddings *e = new_words();
  textinv_optimizer *o;
  float gradient[COUNT] = { 1.0f }, rows[COUNT];
  char path[512];

  (void)state;
  snprintf(path, sizeof(path), "%s", test_path("others.safetensors"));
  must(textinv_embeddings_add(session, e, model, "<toy>", 1, "toy", 0));
  must(textinv_embeddings_add(session, e, model, "<red>", 1, "red", 0));
  must(textinv_optimizer_new(&o, session, e, NULL));
  must(textinv_optimizer_step(session, o, e, gradient, COUNT));
  memcpy(rows, textinv_embeddings_rows(e, "<toy>", 0), TINY_WIDTH * sizeof(*rows));
  must(textinv_embeddings_remove(session, e, "<toy>"));
  must(textinv_embeddings_set(session, e, "<toy>", 0, 1, TINY_WIDTH, rows));
  for (int other = 0; other < 2; other++) { /* another order, then another shape */
    refused(textinv_optimizer_step(session, o, e, gradient, COUNT), TEXTINV_E_SHAPE,
            "not those of the optimizer");
    refused(textinv_optimizer_save(session, o, e, path), TEXTINV_E_SHAPE,
            "not those of the optimizer");
    if (!other) {
      must(textinv_embeddings_remove(session, e, "<red>"));
      must(textinv_embeddings_set(session, e, "<toy>", 0, 2, TINY_WIDTH, gradient));
    }
  }
  assert_true(textinv_optimizer_steps(o) == 1);
  textinv_optimizer_free(o);
  textinv_embeddings_free(e);
}

static void words_may_not_overflow(void **state)
{
  textinv_embeddings *e = new_words();
  textinv_optimizer_params p;
  textinv_optimizer *o;
  float gradient[TINY_WIDTH] = { 0.0f }, rows[TINY_WIDTH] = { 0.0f };

  (void)state;
  rows[5] = 1e35f;
  must(textinv_embeddings_set(session, e, "<toy>", 0, 1, TINY_WIDTH, rows));
  must(textinv_optimizer_params_init(&p, sizeof(p)));
  p.learning_rate = p.weight_decay = 1000.0f;
  must(textinv_optimizer_new(&o, session, e, &p));
  refused(textinv_optimizer_step(session, o, e, gradient, TINY_WIDTH), TEXTINV_E_NONFINITE,
          "0 at 5; word \"<toy>\" would not stay finite");
  assert_memory_equal(textinv_embeddings_rows(e, "<toy>", 0), rows, sizeof(rows));
  must(textinv_optimizer_set_learning_rate(o, 0.0f));
  must(textinv_optimizer_step(session, o, e, gradient, TINY_WIDTH));
  assert_memory_equal(textinv_embeddings_rows(e, "<toy>", 0), rows, sizeof(rows));

  must(textinv_embeddings_set(session, e, "<red>", 0, 1, TINY_WIDTH, rows));
  refused(textinv_optimizer_step(session, o, e, gradient, TINY_WIDTH), TEXTINV_E_SHAPE,
          "the optimizer has 16 values, the embeddings 32");
  textinv_optimizer_free(o);
  textinv_embeddings_free(e);
}

static void options_reach_to_their_limits(void **state)
{
  textinv_embeddings *e = new_words();
  textinv_optimizer_params p;
  textinv_optimizer *o;

  (void)state;
  refused(textinv_optimizer_new(&o, session, e, NULL), TEXTINV_E_INVALID, "there are no words");
  assert_null(o);
  must(textinv_embeddings_add(session, e, model, "<toy>", 1, "toy", 0));
#define POSSIBLE(change)                                                                           \
  do {                                                                                             \
    must(textinv_optimizer_params_init(&p, sizeof(p)));                                            \
    change;                                                                                        \
    must(textinv_optimizer_new(&o, session, e, &p));                                               \
    textinv_optimizer_free(o);                                                                     \
  } while (0)
#define IMPOSSIBLE(change, part)                                                                   \
  do {                                                                                             \
    must(textinv_optimizer_params_init(&p, sizeof(p)));                                            \
    change;                                                                                        \
    refused(textinv_optimizer_new(&o, session, e, &p), TEXTINV_E_INVALID, part);                   \
  } while (0)
  POSSIBLE(p.learning_rate = 1000.0f);
  IMPOSSIBLE(p.learning_rate = 1000.1f, "learning_rate is 1000.1");
  IMPOSSIBLE(p.learning_rate = 0.0f, "learning_rate is 0; above 0 to 1000");
  POSSIBLE(p.beta1 = p.beta2 = 0.0f);
  IMPOSSIBLE(p.beta1 = -0.1f, "beta1 is -0.1");
  IMPOSSIBLE(p.beta1 = 1.0f, "beta1 is 1");
  IMPOSSIBLE(p.beta2 = -0.1f, "beta2 -0.1");
  IMPOSSIBLE(p.beta2 = 1.0f, "beta2 1");
  POSSIBLE(p.epsilon = 1.0f);
  IMPOSSIBLE(p.epsilon = 1.1f, "epsilon is 1.1");
  IMPOSSIBLE(p.epsilon = 0.0f, "epsilon is 0");
  POSSIBLE(p.weight_decay = 1000.0f);
  IMPOSSIBLE(p.weight_decay = 1000.1f, "weight_decay is 1000.1");
  IMPOSSIBLE(p.weight_decay = -0.1f, "weight_decay is -0.1");

  must(textinv_optimizer_new(&o, session, e, NULL));
  must(textinv_optimizer_set_learning_rate(o, 1000.0f));
  assert_int_equal(textinv_optimizer_set_learning_rate(o, 1000.1f), TEXTINV_E_INVALID);
  assert_int_equal(textinv_optimizer_set_learning_rate(o, -0.1f), TEXTINV_E_INVALID);
  textinv_optimizer_free(o);
  textinv_embeddings_free(e);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_loop_of_ones_own),
    cmocka_unit_test(every_word_gets_its_own_moments_back),
    cmocka_unit_test(words_are_those_of_the_optimizer),
    cmocka_unit_test(words_may_not_overflow),
    cmocka_unit_test(options_reach_to_their_limits),
  };

  return cmocka_run_group_tests_name("optimizer", tests, open_tiny, close_tiny);
}
