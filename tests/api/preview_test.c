/* Previews of what is being drawn. */
#include "testing_generate.h"

#include <stdlib.h>
#include <string.h>

enum { BYTES = TINY_SIZE * TINY_SIZE * 3 };

/* mean difference of a value */
static double distance(textinv_images *images, const uint8_t *pixels)
{
  double sum = 0.0;

  for (int i = 0; i < BYTES; i++)
    sum += abs(textinv_images_pixels(images, 0)[i] - pixels[i]);
  return sum / BYTES;
}

typedef struct seen {
  int calls, stop_at;   /* 0 = never */
  uint32_t evaluations; /* in all, as progress tells them */
  uint32_t steps[16], counts[16];
  uint64_t seeds[16];
  double change; /* from the one before */
  uint8_t newest[BYTES];
} seen;

static int32_t look(void *user, uint32_t step, textinv_images *images)
{
  seen *s = user;

  assert_true(s->calls < 16);
  s->steps[s->calls] = step;
  s->counts[s->calls] = textinv_images_count(images);
  s->seeds[s->calls] = textinv_images_seed(images, 0);
  s->change = distance(images, s->newest);
  memcpy(s->newest, textinv_images_pixels(images, 0), BYTES);
  assert_string_equal(textinv_images_parameters(images, 0), "");
  /* the host may keep it */
  must(textinv_images_save(session, images, 0, test_path("preview.png"), NULL));
  return ++s->calls == s->stop_at;
}

static int32_t count_evaluations(void *user, const textinv_progress *progress)
{
  ((seen *)user)->evaluations = progress->steps;
  return 0;
}

static void previews_show_what_it_becomes(void **state)
{
  textinv_generate_params p = params();
  textinv_images *plain, *watched;

  (void)state;
  p.images = 3;
  p.batch = 2;
  for (textinv_sampler kind = TEXTINV_SAMPLER_DEFAULT; kind <= TEXTINV_SAMPLER_UNIPC; kind++) {
    seen s = { 0 };

    p.sampler = kind;
    p.preview_every = 0;
    plain = draw(&p);
    p.preview = look;
    p.preview_every = 2;
    p.progress = count_evaluations;
    p.preview_user = p.progress_user = &s;
    watched = draw(&p);
    for (uint32_t i = 0; i < 3; i++)
      assert_memory_equal(textinv_images_pixels(plain, i), textinv_images_pixels(watched, i),
                          BYTES);
    textinv_images_free(plain);
    textinv_images_free(watched);
    /* of two groups, and none behind the last step of either */
    const uint32_t steps = s.evaluations / 2, each = (steps - 1) / 2;

    assert_true(steps >= 5);
    assert_int_equal(s.calls, 2 * each);
    for (uint32_t i = 0; i < 2 * each; i++) {
      const uint32_t group = i / each;

      assert_int_equal(s.steps[i], group * steps + (i % each + 1) * 2);
      assert_int_equal(s.counts[i], 2 - group);
      assert_true(s.seeds[i] == 42 + group * 2);
    }
    assert_true(s.change > 0.0);
  }
}

/* the last one differs from the picture by what the last step does, which comes close to it */
static void previews_come_close(void **state)
{
  textinv_generate_params p = params();
  seen s = { 0 };
  textinv_images *images;

  (void)state;
  p.sampler = TEXTINV_SAMPLER_DDIM;
  p.steps = 100;
  p.preview = look;
  p.preview_user = &s;
  p.preview_every = 99;
  images = draw(&p);
  assert_true(distance(images, s.newest) < 2.0);
  textinv_images_free(images);
}

static void a_preview_stops_the_drawing(void **state)
{
  textinv_generate_params p = params();
  textinv_images *images;
  seen s = { .stop_at = 2 };

  (void)state;
  p.preview = look;
  p.preview_user = &s;
  p.preview_every = 1;
  refused(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_CANCELLED,
          "stopped at step 2 of 5");
  assert_null(images);
  assert_int_equal(s.calls, 2);
}

/* what a mask keeps is in every preview */
static void previews_keep_what_is_kept(void **state)
{
  textinv_generate_params p = params();
  textinv_images *init = draw(&p), *mask, *images;
  seen s = { 0 };

  (void)state;
  must(textinv_images_new(&mask, session, NULL, 1, TINY_SIZE, TINY_SIZE));
  /* the right half is white */
  for (int i = 0; i < BYTES; i++)
    textinv_images_pixels(mask, 0)[i] = i / 3 % TINY_SIZE < TINY_SIZE / 2 ? 0 : 255;
  p.seed = 7;
  p.init_image = init;
  p.mask = mask;
  p.strength = 1.0f;
  p.keep_pixels = 1;
  p.preview = look;
  p.preview_user = &s;
  p.preview_every = 1;
  images = draw(&p);
  assert_int_equal(s.calls, 4);
  for (int i = 0; i < BYTES; i++) {
    if (i / 3 % TINY_SIZE < TINY_SIZE / 2)
      assert_int_equal(s.newest[i], textinv_images_pixels(init, 0)[i]);
  }
  assert_true(distance(init, s.newest) > 0.0);
  textinv_images_free(images);
  textinv_images_free(mask);
  textinv_images_free(init);
}

static void nonsense_is_refused(void **state)
{
  textinv_generate_params p = params();
  textinv_images *images;

  (void)state;
  p.preview_every = 3;
  refused(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_INVALID,
          "preview_every is 3 without preview");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(previews_show_what_it_becomes), cmocka_unit_test(previews_come_close),
    cmocka_unit_test(previews_keep_what_is_kept),    cmocka_unit_test(a_preview_stops_the_drawing),
    cmocka_unit_test(nonsense_is_refused),
  };

  return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
