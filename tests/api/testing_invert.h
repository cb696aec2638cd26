/* For tests of inversion: pictures beside the tiny model, short runs, and what they learn. */
#ifndef TI_TESTING_INVERT_H
#define TI_TESTING_INVERT_H

#include "testing_tiny.h"

#include <stdio.h>
#include <sys/stat.h>

static const char *pictures;

static inline textinv_concept concept(const char *word)
{
  textinv_concept c;

  must(textinv_concept_init(&c, sizeof(c)));
  c.placeholder = word;
  c.initializer = "toy";
  c.images_path = pictures;
  return c;
}

static inline textinv_invert_params params(const textinv_concept *c, size_t count)
{
  textinv_invert_params p;

  must(textinv_invert_params_init(&p, sizeof(p)));
  p.concepts = c;
  p.num_concepts = count;
  p.steps = 12;
  p.batch = 2;
  p.seed = 5;
  return p;
}

/* an uninterrupted run's rows of "<toy>" */
static inline void run(float *rows, const textinv_invert_params *p)
{
  textinv_embeddings *e = new_words();

  must(textinv_invert(session, model, e, p, NULL));
  memcpy(rows, textinv_embeddings_rows(e, "<toy>", 0), TINY_WIDTH * sizeof(*rows));
  textinv_embeddings_free(e);
}

static inline const char *fresh_folder(const char *name)
{
  const char *path = test_path(name);

  assert_int_equal(mkdir(path, 0755), 0);
  return path;
}

/* of what was learnt, with fixed noise at fixed timesteps */
static inline float fixed_loss(const textinv_embeddings *e)
{
  enum { COUNT = 4 * 8 * 8, BATCH = 4 };
  static float latents[BATCH * COUNT], noise[BATCH * COUNT];
  const char *prompts[BATCH] = { "a photo of <toy>", "a photo of <toy>", "my <toy>", "<toy>" };
  uint32_t timesteps[BATCH] = { 100, 350, 600, 900 };
  textinv_loss_params p;
  textinv_images *images;
  float loss;
  char path[600];

  for (int i = 0; i < BATCH; i++) {
    snprintf(path, sizeof(path), "%s/%d.png", pictures, i % 3);
    must(textinv_image_read(&images, session, path));
    must(textinv_images_resize(session, images, TINY_SIZE, TINY_SIZE));
    must(textinv_encode_image(session, latents + i * COUNT, NULL, COUNT, model, images, 0));
    textinv_images_free(images);
  }
  test_seed(21);
  for (int i = 0; i < BATCH * COUNT; i++)
    noise[i] = test_normal();
  must(textinv_loss_params_init(&p, sizeof(p)));
  p.batch = BATCH;
  p.latents = latents;
  p.noise = noise;
  p.timesteps = timesteps;
  p.prompts = prompts;
  must(textinv_loss(session, &loss, NULL, 0, model, e, &p));
  return loss;
}

static inline int open_invert(void **state)
{
  if (open_tiny(state) < 0)
    return -1;
  pictures = tiny_pictures("pictures", 3, 24, 20);
  return 0;
}

#endif /* TI_TESTING_INVERT_H */
