/* Masked pictures: what is black stays, what is white is drawn, and nonsense is refused. That they
 * are diffusers' is shown in tests/nets and tests/parity. */
#include "testing_mask.h"

#include <math.h>
#include <stdlib.h>

#include "random.h"

/* of one colour */
static textinv_images *plain(uint8_t r, uint8_t g, uint8_t b)
{
  uint8_t pixels[BYTES];

  for (int i = 0; i < BYTES; i += 3) {
    pixels[i] = r;
    pixels[i + 1] = g;
    pixels[i + 2] = b;
  }
  return picture(pixels);
}

/* to be begun from the picture */
static textinv_generate_params halfway(const textinv_images *init, const textinv_images *mask)
{
  textinv_generate_params p = params(init, mask);

  p.steps = 10;
  p.strength = 0.6f;
  return p;
}

static void white_is_image_to_image(void **state)
{
  textinv_images *init = noise(1, NULL), *other = noise(2, NULL), *white = plain(255, 255, 255);
  textinv_generate_params p = halfway(init, white), q = halfway(init, NULL);

  (void)state;
  for (textinv_sampler kind = TEXTINV_SAMPLER_DEFAULT; kind <= TEXTINV_SAMPLER_UNIPC; kind++) {
    p.sampler = q.sampler = kind;
    /* before the steps, diffusers makes one draw more with a mask */
    assert_int_equal(equal(model, &p, &q), kind != TEXTINV_SAMPLER_EULER_A);
  }
  /* of strength 1 it begins with noise alone */
  p.strength = 1.0f;
  q = p;
  q.init_image = other;
  assert_true(equal(model, &p, &q));
  q.mask = NULL;
  assert_false(equal(model, &p, &q));
  textinv_images_free(init);
  textinv_images_free(other);
  textinv_images_free(white);
}

/* the VAE's round trip of a sample of the latents, whatever is asked for */
static void black_keeps_everything(void **state)
{
  float mean[LATENTS], deviation[LATENTS], sample[LATENTS];
  textinv_session *const quiet = listen();
  textinv_images *init = noise(1, NULL), *black = plain(0, 0, 0), *kept, *drawn;
  textinv_generate_params p = halfway(init, black);
  ti_torch_rng rng;

  (void)state;
  must(textinv_encode_image(session, mean, deviation, LATENTS, model, init, 0));
  ti_torch_rng_seed(&rng, 42, 0);
  ti_torch_randn(&rng, sample, LATENTS);
  for (int i = 0; i < LATENTS; i++)
    sample[i] = mean[i] + deviation[i] * sample[i];
  must(textinv_decode_latents(session, &kept, NULL, 0, model, sample, 1, 8, 8));
  for (textinv_sampler kind = TEXTINV_SAMPLER_DEFAULT; kind <= TEXTINV_SAMPLER_UNIPC; kind++) {
    p.sampler = kind;
    p.strength = kind % 2 ? 1.0f : 0.5f;
    p.prompt = kind % 2 ? "toy" : "of";
    drawn = draw(model, &p);
    assert_memory_equal(textinv_images_pixels(drawn, 0), textinv_images_pixels(kept, 0), BYTES);
    textinv_images_free(drawn);
  }
  assert_string_equal(
    heard.last, "mask keeps the whole picture: it needs white parts, of 2 x 2 pixels or more");
  /* to the bit, as it was given */
  p.keep_pixels = 1;
  drawn = draw(model, &p);
  assert_memory_equal(textinv_images_pixels(drawn, 0), textinv_images_pixels(init, 0), BYTES);
  textinv_images_free(drawn);
  textinv_images_free(kept);
  textinv_images_free(init);
  textinv_images_free(black);
  hush(quiet);
}

/* sum of differences of the columns from .. to - 1 */
static int distance(textinv_images *a, textinv_images *b, int from, int to)
{
  const uint8_t *p = textinv_images_pixels(a, 0), *q = textinv_images_pixels(b, 0);
  int sum = 0;

  for (int i = 0; i < BYTES; i++)
    sum += i / 3 % SIDE >= from && i / 3 % SIDE < to ? abs(p[i] - q[i]) : 0;
  return sum;
}

static void half_is_kept(void **state)
{
  textinv_images *init = noise(1, NULL), *half = columns(SIDE / 2, 255, 0), *black = plain(0, 0, 0);
  textinv_generate_params p = halfway(init, half);
  textinv_images *drawn, *exact, *kept;

  (void)state;
  p.strength = 1.0f;
  drawn = draw(model, &p);
  p.keep_pixels = 1;
  exact = draw(model, &p);
  p = halfway(init, black);
  kept = draw(model, &p);
  assert_true(distance(drawn, kept, SIDE / 2, SIDE) < distance(drawn, kept, 0, SIDE / 2));
  assert_true(distance(drawn, init, SIDE / 2, SIDE) > 0);
  assert_int_equal(distance(exact, init, SIDE / 2, SIDE), 0);
  assert_int_equal(distance(exact, drawn, 0, SIDE / 2), 0);
  assert_non_null(strstr(textinv_images_parameters(drawn, 0), ", Denoising strength: 1, RNG: "));
  textinv_images_free(drawn);
  textinv_images_free(exact);
  textinv_images_free(kept);
  textinv_images_free(init);
  textinv_images_free(half);
  textinv_images_free(black);
}

/* every mask that is white in the same places draws the same */
static void what_is_white(void **state)
{
  static const uint8_t two[] = { 255, 255, 255, 0, 0, 0 };
  textinv_images *init = noise(1, NULL);
  textinv_images *masks[9] = { plain(255, 255, 255),      plain(128, 128, 128),
                               plain(0, 218, 0),          plain(0, 0, 0),
                               plain(127, 127, 127),      plain(0, 217, 0),
                               columns(SIDE / 2, 255, 0), columns(SIDE / 2 - 1, 255, 0) };

  (void)state;
  must(textinv_images_new(&masks[8], session, two, 1, 2, 1));
  for (int i = 0; i < 9; i++) {
    for (int k = 0; k < i; k++) {
      const textinv_generate_params p = halfway(init, masks[i]), q = halfway(init, masks[k]);

      assert_int_equal(equal(model, &p, &q), i / 3 == k / 3);
    }
  }
  /* the pixels themselves are kept where mask is black, not where the latents are */
  for (int i = 6; i < 8; i++) {
    textinv_generate_params p = halfway(init, masks[i]);
    textinv_images *drawn;

    p.keep_pixels = 1;
    drawn = draw(model, &p);
    assert_int_equal(distance(drawn, init, SIDE / 2 + 6 - i, SIDE), 0);
    assert_true(distance(drawn, init, SIDE / 2 + 5 - i, SIDE / 2 + 6 - i) > 0);
    textinv_images_free(drawn);
  }
  for (int i = 0; i < 9; i++)
    textinv_images_free(masks[i]);
  textinv_images_free(init);
}

/* what is grey is of both */
static void pixels_are_mixed(void **state)
{
  textinv_images *init = noise(1, NULL);

  (void)state;
  for (int grey = 0; grey <= 255; grey += 51) {
    textinv_images *mask = plain((uint8_t)grey, (uint8_t)grey, (uint8_t)grey);
    textinv_generate_params p = halfway(init, mask);
    textinv_images *drawn = draw(model, &p), *mixed;

    p.keep_pixels = 1;
    mixed = draw(model, &p);
    for (int i = 0; i < BYTES; i++) {
      const double share = grey / 255.0, a = textinv_images_pixels(drawn, 0)[i];
      const double b = textinv_images_pixels(init, 0)[i];

      assert_true(fabs(textinv_images_pixels(mixed, 0)[i] - (share * a + (1 - share) * b)) < 0.51);
    }
    textinv_images_free(mask);
    textinv_images_free(drawn);
    textinv_images_free(mixed);
  }
  textinv_images_free(init);
}

static void batches_do_not_matter(void **state)
{
  textinv_images *init = noise(1, NULL), *half = columns(SIDE / 2, 255, 0);
  textinv_generate_params p = halfway(init, half);

  (void)state;
  p.sampler = TEXTINV_SAMPLER_EULER_A;
  for (textinv_rng rng = TEXTINV_RNG_TORCH_CPU; rng <= TEXTINV_RNG_NATIVE; rng++) {
    p.rng = rng;
    batches_are_alike(model, p);
  }
  textinv_images_free(init);
  textinv_images_free(half);
}

static void nonsense_is_refused(void **state)
{
  static const uint8_t pixels[2 * BYTES];
  textinv_images *init = noise(1, NULL), *half = columns(SIDE / 2, 255, 0), *images, *several;
  textinv_generate_params p = halfway(NULL, half), q;

  (void)state;
  refused(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_INVALID,
          "mask is given without init_image");
  must(textinv_images_new(&several, session, pixels, 2, SIDE, SIDE));
  p = halfway(init, several);
  refused(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_INVALID,
          "mask holds 2 pictures; 1 is expected");
  p = halfway(several, NULL);
  refused(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_INVALID,
          "init_image holds 2 pictures; 1 is expected");
  p = halfway(init, NULL);
  p.keep_pixels = 1;
  refused(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_INVALID,
          "keep_pixels is 1 without mask");
  /* for a caller of release 0.1, whose struct ends before them, they are not there */
  p = halfway(init, half);
  p.keep_pixels = 1;
  p.struct_size = 96;
  q = halfway(init, NULL);
  assert_true(equal(model, &p, &q));
  textinv_images_free(init);
  textinv_images_free(half);
  textinv_images_free(several);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(white_is_image_to_image),
    cmocka_unit_test(black_keeps_everything),
    cmocka_unit_test(half_is_kept),
    cmocka_unit_test(what_is_white),
    cmocka_unit_test(pixels_are_mixed),
    cmocka_unit_test(batches_do_not_matter),
    cmocka_unit_test(nonsense_is_refused),
  };

  return cmocka_run_group_tests_name("mask", tests, open_tiny, close_tiny);
}
