/* What the tests of drawing share: five steps of the tiny model. */
#ifndef TI_TESTING_GENERATE_H
#define TI_TESTING_GENERATE_H

#include "testing_tiny.h"

static inline textinv_generate_params params(void)
{
  textinv_generate_params p;

  must(textinv_generate_params_init(&p, sizeof(p)));
  p.prompt = "a photo of toy";
  p.steps = 5;
  p.seed = 42;
  return p;
}

static inline textinv_images *draw(const textinv_generate_params *p)
{
  textinv_images *images;

  must(textinv_generate(&images, session, model, NULL, p));
  return images;
}

#endif /* TI_TESTING_GENERATE_H */
