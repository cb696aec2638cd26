/* What the tests of masks share: pictures of the tiny models' size, and what is drawn over them. */
#ifndef TI_TESTING_MASK_H
#define TI_TESTING_MASK_H

#include <stdlib.h>

#include "testing_tiny.h"

enum { SIDE = TINY_SIZE, BYTES = SIDE * SIDE * 3, LATENTS = 4 * 8 * 8 };

static inline textinv_images *picture(const uint8_t *pixels)
{
  textinv_images *out;

  must(textinv_images_new(&out, session, pixels, 1, SIDE, SIDE));
  return out;
}

/* of a seed where keep is NULL or 1, 128 elsewhere */
static inline textinv_images *noise(uint64_t seed, const uint8_t *keep)
{
  uint8_t pixels[BYTES];

  test_seed(seed);
  for (int i = 0; i < BYTES; i++) {
    const uint8_t value = (uint8_t)test_u32();

    pixels[i] = keep && !keep[i / 3] ? 128 : value;
  }
  return picture(pixels);
}

/* light up to column white, dark behind it */
static inline textinv_images *columns(int white, uint8_t light, uint8_t dark)
{
  uint8_t pixels[BYTES];

  for (int i = 0; i < BYTES; i++)
    pixels[i] = i / 3 % SIDE < white ? light : dark;
  return picture(pixels);
}

static inline textinv_generate_params params(const textinv_images *init, const textinv_images *mask)
{
  textinv_generate_params p;

  must(textinv_generate_params_init(&p, sizeof(p)));
  p.prompt = "a photo of toy";
  p.steps = 5;
  p.seed = 42;
  p.strength = 1.0f;
  p.init_image = init;
  p.mask = mask;
  return p;
}

static inline textinv_images *draw(const textinv_model *m, const textinv_generate_params *p)
{
  textinv_images *images;

  must(textinv_generate(&images, session, m, NULL, p));
  return images;
}

static inline int equal(const textinv_model *m, const textinv_generate_params *p,
                        const textinv_generate_params *q)
{
  textinv_images *a = draw(m, p), *b = draw(m, q);
  const int same = !memcmp(textinv_images_pixels(a, 0), textinv_images_pixels(b, 0), BYTES);

  textinv_images_free(a);
  textinv_images_free(b);
  return same;
}

/* pictures of a batch are those that are drawn alone */
static inline void batches_are_alike(const textinv_model *m, textinv_generate_params p)
{
  textinv_images *together, *alone;

  p.images = 3;
  p.batch = 2;
  together = draw(m, &p);
  p.images = 1;
  for (uint32_t i = 0; i < 3; i++, p.seed++) {
    alone = draw(m, &p);
    for (int k = 0; k < BYTES; k++)
      assert_true(abs(textinv_images_pixels(together, i)[k] - textinv_images_pixels(alone, 0)[k]) <=
                  1);
    textinv_images_free(alone);
  }
  textinv_images_free(together);
}

#endif /* TI_TESTING_MASK_H */
