/* What CLIP's two towers have in common. */
#ifndef TI_CLIP_LAYER_H
#define TI_CLIP_LAYER_H

#include "weights.h"

typedef struct ti_clip_layer_config {
  int inner, heads;
  int causal; /* text: no token sees those behind it */
  ti_activation activation;
  double eps; /* of every norm of the tower */
} ti_clip_layer_config;

/* all but causal, from the config of a tower that is width wide; inner and heads: where it does not
 * tell */
textinv_status ti_clip_layer_read(ti_clip_layer_config *out, ti_error *error, const ti_json *json,
                                  int width, int inner, int heads);

/* encoder.layers.i: attention and two linear layers, each behind a norm */
ti_val ti_clip_layer(const ti_net *net, const ti_clip_layer_config *c, int i, ti_val x);

#endif /* TI_CLIP_LAYER_H */
