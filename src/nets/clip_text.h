/* CLIP's text encoder: transformers' CLIPTextModel and CLIPTextModelWithProjection. */
#ifndef TI_CLIP_TEXT_H
#define TI_CLIP_TEXT_H

#include "clip_layer.h"
#include "text_embedding.h"

typedef struct ti_clip_text_config {
  ti_clip_layer_config layer;
  int projection; /* width of the projected pooled output; 0 = the model has none */
} ti_clip_text_config;

/* config.json; with_projection: the class is CLIPTextModelWithProjection */
textinv_status ti_clip_text_read(ti_text_config *out, ti_clip_text_config *clip, ti_error *error,
                                 const ti_json *json, int with_projection);

typedef struct ti_clip_text_outputs {
  ti_val hidden; /* [n, 1, tokens, width] */
  ti_val pooled; /* [n, 1, 1, projection], of the state at eos; TI_NONE when not asked for */
} ti_clip_text_outputs;

/*
 * ids [n, 1, tokens, 1] and eos [n, 1, 1, 1] (TI_NONE: no pooled output) are ids; rows [num_rows,
 * width] are the new words. hidden is the state after layers - skip layers, through the final norm
 * when final_norm.
 */
ti_clip_text_outputs ti_clip_text(const ti_net *net, const ti_text_config *c,
                                  const ti_clip_text_config *clip, ti_val ids, ti_val rows,
                                  ti_val eos, int skip, int final_norm);

#endif /* TI_CLIP_TEXT_H */
