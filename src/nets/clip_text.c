/* CLIP's text encoder (Radford et al. 2021): causal, pre-norm, learnt positions. */
#include "clip_text.h"

#include <string.h>

textinv_status ti_clip_text_read(ti_text_config *out, ti_clip_text_config *clip, ti_error *error,
                                 const ti_json *json, int with_projection)
{
  textinv_status status;

  *out = (ti_text_config){ .table = "embeddings.token_embedding",
                           .places = "embeddings.position_embedding" };
  memset(clip, 0, sizeof(*clip));
  if ((status = ti_json_int(json, error, "vocab_size", 49408, 3, 1 << 20, &out->vocab)) < 0 ||
      (status = ti_json_int(json, error, "hidden_size", 512, 8, 16384, &out->width)) < 0 ||
      (status = ti_json_int(json, error, "num_hidden_layers", 12, 1, 128, &out->layers)) < 0 ||
      (status = ti_json_int(json, error, "max_position_embeddings", 77, 3, 4096, &out->positions)) <
        0 ||
      (status = ti_clip_layer_read(&clip->layer, error, json, out->width, 2048, 8)) < 0)
    return status;
  clip->layer.causal = 1;
  if (with_projection &&
      (status = ti_json_int(json, error, "projection_dim", 512, 1, 16384, &clip->projection)) < 0)
    return status;
  return TEXTINV_OK;
}

ti_clip_text_outputs ti_clip_text(const ti_net *net, const ti_text_config *c,
                                  const ti_clip_text_config *clip, ti_val ids, ti_val rows,
                                  ti_val eos, int skip, int final_norm)
{
  const int last = eos == TI_NONE ? c->layers - skip : c->layers;
  ti_clip_text_outputs out = { TI_NONE, TI_NONE };
  ti_val x = ti_text_embedding(net, c, ids, rows);

  for (int i = 0; i < last; i++) {
    if (i == c->layers - skip)
      out.hidden = x;
    x = ti_clip_layer(net, &clip->layer, i, x);
  }
  if (out.hidden == TI_NONE)
    out.hidden = x;
  if (eos != TI_NONE) {
    x = ti_net_layernorm(net, "final_layer_norm", x, clip->layer.eps);
    out.pooled = ti_gather(net->t, x, eos);
    out.pooled = ti_net_expect(net, "text_projection",
                               ti_net_linear(net, "text_projection", out.pooled, 0, TI_NONE),
                               clip->projection);
  }
  if (final_norm)
    out.hidden = ti_net_layernorm(net, "final_layer_norm", out.hidden, clip->layer.eps);
  return out;
}
