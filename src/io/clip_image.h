/* What CLIP sees of a picture: transformers' CLIPImageProcessor. */
#ifndef TI_CLIP_IMAGE_H
#define TI_CLIP_IMAGE_H

#include "image.h"
#include "json.h"

typedef struct ti_clip_image {
  int side;         /* of the square that is cut out of the middle */
  int size, square; /* before: the shorter side, or with square both */
  ti_filter filter;
  double scale;
  float mean[3], deviation[3];
} ti_clip_image;

/* preprocessor_config.json, or the "image_processor" of processor_config.json; side is the model's
 */
textinv_status ti_clip_image_read(ti_clip_image *out, ti_error *error, const ti_json *json,
                                  int side);

/* resized, cut, normalised; values are [side / patch, side / patch, 3, patch, patch], and what does
 * not fill a patch is left out */
textinv_status ti_clip_image_values(float *values, ti_error *error, const ti_clip_image *c,
                                    const ti_image *in, int patch);

#endif /* TI_CLIP_IMAGE_H */
