/* Masked pictures: what is black stays, what is white is drawn, and nonsense is refused. That they
 * are diffusers' is shown in tests/nets and tests/parity. */
#include "testing_tiny.h"

#include <math.h>
#include <stdlib.h>

#include "random.h"

enum { SIDE = TINY_SIZE, BYTES = SIDE * SIDE * 3, LATENTS = 4 * 8 * 8 };

static textinv_images *picture(const uint8_t *pixels, uint32_t width, uint32_t height)
{
  textinv_images *out;

  must(textinv_images_new(&out, session, pixels, 1, width, height));
  return out;
}

/* of one colour */
static textinv_images *plain(uint8_t r, uint8_t g, uint8_t b)
{
  uint8_t pixels[BYTES];

  for (int i = 0; i < BYTES; i += 3) {
    pixels[i] = r;
    pixels[i + 1] = g;
    pixels[i + 2] = b;
  }
  return picture(pixels, SIDE, SIDE);
}

static textinv_images *noise(uint64_t seed)
{
  uint8_t pixels[BYTES];

  test_seed(seed);
  for (int i = 0; i < BYTES; i++)
    pixels[i] = (uint8_t)test_u32();
  return picture(pixels, SIDE, SIDE);
}

/* white up to column white, black from there */
static textinv_images *columns(int white)
{
  uint8_t pixels[BYTES];

  for (int i = 0; i < BYTES; i++)
    pixels[i] = i / 3 % SIDE < white ? 255 : 0;
  return picture(pixels, SIDE, SIDE);
}

static textinv_generate_params params(const textinv_images *init, const textinv_images *mask)
{
  textinv_generate_params p;

  must(textinv_generate_params_init(&p, sizeof(p)));
  p.prompt = "a photo of toy";
  p.steps = 10;
  p.seed = 42;
  p.strength = 0.6f;
  p.init_image = init;
  p.mask = mask;
  return p;
}

static textinv_images *draw(const textinv_generate_params *p)
{
  textinv_images *images;

  must(textinv_generate(&images, session, model, NULL, p));
  return images;
}

static int equal(const textinv_generate_params *p, const textinv_generate_params *q)
{
  textinv_images *a = draw(p), *b = draw(q);
  const int same = !memcmp(textinv_images_pixels(a, 0), textinv_images_pixels(b, 0), BYTES);

  textinv_images_free(a);
  textinv_images_free(b);
  return same;
}

static void white_is_image_to_image(void **state)
{
  textinv_images *init = noise(1), *other = noise(2), *white = plain(255, 255, 255);
  textinv_generate_params p = params(init, white), q = params(init, NULL);

  (void)state;
  for (textinv_sampler kind = TEXTINV_SAMPLER_DEFAULT; kind <= TEXTINV_SAMPLER_UNIPC; kind++) {
    p.sampler = q.sampler = kind;
    /* before the steps, diffusers makes one draw more with a mask */
    assert_int_equal(equal(&p, &q), kind != TEXTINV_SAMPLER_EULER_A);
  }
  /* of strength 1 it begins with noise alone */
  p.strength = 1.0f;
  q = p;
  q.init_image = other;
  assert_true(equal(&p, &q));
  q.mask = NULL;
  assert_false(equal(&p, &q));
  textinv_images_free(init);
  textinv_images_free(other);
  textinv_images_free(white);
}

/* the VAE's round trip of a sample of the latents, whatever is asked for */
static void black_keeps_everything(void **state)
{
  float mean[LATENTS], deviation[LATENTS], sample[LATENTS];
  textinv_session *const quiet = listen();
  textinv_images *init = noise(1), *black = plain(0, 0, 0), *kept, *drawn;
  textinv_generate_params p = params(init, black);
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
    drawn = draw(&p);
    assert_memory_equal(textinv_images_pixels(drawn, 0), textinv_images_pixels(kept, 0), BYTES);
    textinv_images_free(drawn);
  }
  assert_string_equal(
    heard.last, "mask keeps the whole picture: it needs white parts, of 2 x 2 pixels or more");
  /* to the bit, as it was given */
  p.keep_pixels = 1;
  drawn = draw(&p);
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
  textinv_images *init = noise(1), *half = columns(SIDE / 2), *black = plain(0, 0, 0);
  textinv_generate_params p = params(init, half);
  textinv_images *drawn, *exact, *kept;

  (void)state;
  p.strength = 1.0f;
  drawn = draw(&p);
  p.keep_pixels = 1;
  exact = draw(&p);
  p = params(init, black);
  kept = draw(&p);
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
  textinv_images *init = noise(1);
  textinv_images *masks[] = { plain(255, 255, 255), plain(128, 128, 128),  plain(0, 218, 0),
                              plain(0, 0, 0),       plain(127, 127, 127),  plain(0, 217, 0),
                              columns(SIDE / 2),    columns(SIDE / 2 - 1), picture(two, 2, 1) };

  (void)state;
  for (int i = 0; i < 9; i++) {
    for (int k = 0; k < i; k++) {
      const textinv_generate_params p = params(init, masks[i]), q = params(init, masks[k]);

      assert_int_equal(equal(&p, &q), i / 3 == k / 3);
    }
  }
  /* the pixels themselves are kept where mask is black, not where the latents are */
  for (int i = 6; i < 8; i++) {
    textinv_generate_params p = params(init, masks[i]);
    textinv_images *drawn;

    p.keep_pixels = 1;
    drawn = draw(&p);
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
  textinv_images *init = noise(1);

  (void)state;
  for (int grey = 0; grey <= 255; grey += 51) {
    textinv_images *mask = plain((uint8_t)grey, (uint8_t)grey, (uint8_t)grey);
    textinv_generate_params p = params(init, mask);
    textinv_images *drawn = draw(&p), *mixed;

    p.keep_pixels = 1;
    mixed = draw(&p);
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
  textinv_images *init = noise(1), *half = columns(SIDE / 2);
  textinv_generate_params p = params(init, half);

  (void)state;
  p.sampler = TEXTINV_SAMPLER_EULER_A;
  for (textinv_rng rng = TEXTINV_RNG_TORCH_CPU; rng <= TEXTINV_RNG_NATIVE; rng++) {
    textinv_images *together, *alone;

    p.rng = rng;
    p.images = 3;
    p.batch = 2;
    p.seed = 42;
    together = draw(&p);
    p.images = 1;
    for (uint32_t i = 0; i < 3; i++) {
      p.seed = 42 + i;
      alone = draw(&p);
      for (int k = 0; k < BYTES; k++)
        assert_true(
          abs(textinv_images_pixels(together, i)[k] - textinv_images_pixels(alone, 0)[k]) <= 1);
      textinv_images_free(alone);
    }
    textinv_images_free(together);
  }
  textinv_images_free(init);
  textinv_images_free(half);
}

static void nonsense_is_refused(void **state)
{
  static const uint8_t pixels[2 * BYTES];
  textinv_images *init = noise(1), *half = columns(SIDE / 2), *images, *several;
  textinv_generate_params p = params(NULL, half), q;

  (void)state;
  refused(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_INVALID,
          "mask is given without init_image");
  must(textinv_images_new(&several, session, pixels, 2, SIDE, SIDE));
  p = params(init, several);
  refused(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_INVALID,
          "mask holds 2 pictures; 1 is expected");
  p = params(several, NULL);
  refused(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_INVALID,
          "init_image holds 2 pictures; 1 is expected");
  p = params(init, NULL);
  p.keep_pixels = 1;
  refused(textinv_generate(&images, session, model, NULL, &p), TEXTINV_E_INVALID,
          "keep_pixels is 1 without mask");
  /* for a caller of release 0.1, whose struct ends before them, they are not there */
  p = params(init, half);
  p.keep_pixels = 1;
  p.struct_size = 96;
  q = params(init, NULL);
  assert_true(equal(&p, &q));
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
