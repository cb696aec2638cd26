/* CLIP's image encoder: transformers' CLIPVisionModelWithProjection. */
#ifndef TI_CLIP_VISION_H
#define TI_CLIP_VISION_H

#include "clip_layer.h"

typedef struct ti_clip_vision_config {
  int width, layers;
  int side, patch; /* pixels of a picture and of a patch */
  ti_clip_layer_config layer;
  int projection; /* width of what comes out; of CLIPModel's own config */
} ti_clip_vision_config;

/* of the names of its weights in a file that has both towers */
#define TI_CLIP_VISION_PREFIX "vision_model."

/* "vision_config" of a CLIPModel's config.json; sets all but projection */
textinv_status ti_clip_vision_read(ti_clip_vision_config *out, ti_error *error,
                                   const ti_json *json);
int ti_clip_vision_patches(const ti_clip_vision_config *c); /* of a picture */
/*
 * Once, before weights are used, whose names have the prefix: the kernels of the patches'
 * convolution become the rows of a matrix, as they do not overlap, and the class token a table of
 * one row.
 */
textinv_status ti_clip_vision_flatten(ti_weights *weights, ti_error *error,
                                      const ti_clip_vision_config *c);

/*
 * patches [n, 1, patches, 3 patch patch] in the order of a kernel's weights; ids [n, 1, 1 +
 * patches, 1]: 0 is the class token, 1 + i the i-th of all patches. Gives [n, 1, 1, projection].
 */
ti_val ti_clip_vision(const ti_net *net, const ti_clip_vision_config *c, ti_val patches,
                      ti_val ids);

#endif /* TI_CLIP_VISION_H */
