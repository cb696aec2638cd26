/* A pipeline of a few thousand random weights in the diffusers layout, written into the test's
 * temporary folder. */
#ifndef TI_TINY_MODEL_H
#define TI_TINY_MODEL_H

#include "textinv/textinv.h"

enum { TINY_SIZE = 16, TINY_WIDTH = 16, TINY_TOKENS = 32 };

/* the folder, made at the first call; epsilon prediction, 16 px, latents 8 x 8 x 4, DDIM */
const char *tiny_model(void);

/* the same whose UNet takes nine channels */
const char *tiny_inpainting_model(void);

/* a copy of it below the temporary folder, to be broken by a test */
const char *tiny_model_copy(const char *name);

/* tests/golden/tiny-sdxl in a folder of its own, with links to all but the configs of pipeline and
 * scheduler */
const char *tiny_sdxl_copy(const char *name);

/* replace old by new in a file of a folder, of text or with a header of it; fails the test when old
 * is not there */
void tiny_model_edit(const char *folder, const char *file, const char *old, const char *new_text);

/* a folder with count PNG pictures of noise and shapes, width x height */
const char *tiny_pictures(const char *name, int count, int width, int height);

#endif /* TI_TINY_MODEL_H */
