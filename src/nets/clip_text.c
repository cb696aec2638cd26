/* CLIP's text encoder (Radford et al. 2021): causal, pre-norm, learnt positions. */
#include "clip_text.h"

#include <string.h>

textinv_status ti_clip_text_read(ti_clip_text_config *out, ti_error *error, const ti_json *json,
                                 int with_projection)
{
  textinv_status status;

  memset(out, 0, sizeof(*out));
  if ((status = ti_json_int(json, error, "vocab_size", 49408, 3, 1 << 20, &out->vocab)) < 0 ||
      (status = ti_json_int(json, error, "hidden_size", 512, 8, 16384, &out->width)) < 0 ||
      (status = ti_json_int(json, error, "num_hidden_layers", 12, 1, 128, &out->layers)) < 0 ||
      (status = ti_json_int(json, error, "max_position_embeddings", 77, 3, 4096, &out->positions)) <
        0 ||
      (status = ti_clip_layer_read(&out->layer, error, json, out->width, 2048, 8)) < 0)
    return status;
  out->layer.causal = 1;
  if (with_projection &&
      (status = ti_json_int(json, error, "projection_dim", 512, 1, 16384, &out->projection)) < 0)
    return status;
  return TEXTINV_OK;
}

ti_clip_text_outputs ti_clip_text(const ti_net *net, const ti_clip_text_config *c, ti_val ids,
                                  ti_val rows, ti_val eos, int skip, int final_norm)
{
  const int last = eos == TI_NONE ? c->layers - skip : c->layers;
  ti_clip_text_outputs out = { TI_NONE, TI_NONE };
  ti_weight *table = ti_net_weight(net, "embeddings.token_embedding", "weight");
  ti_weight *positions = ti_net_weight(net, "embeddings.position_embedding", "weight");
  ti_val x = ti_embedding(net->t, ids, rows, table, positions), final = TI_NONE;

  if (table && (table->rank != 2 || table->dims[0] != c->vocab || table->dims[1] != c->width)) {
    ti_tape_fail(net->t,
                 ti_fail(net->t->error, TEXTINV_E_SHAPE, "%s is [%d, %d]; the config says [%d, %d]",
                         table->name, table->dims[0], table->dims[1], c->vocab, c->width));
    return out;
  }
  for (int i = 0; i < last; i++) {
    if (i == c->layers - skip)
      out.hidden = x;
    x = ti_clip_layer(net, &c->layer, i, x);
  }
  if (out.hidden == TI_NONE)
    out.hidden = x;
  if (eos != TI_NONE) {
    final = ti_net_layernorm(net, "final_layer_norm", x, c->layer.eps);
    out.pooled = ti_gather(net->t, final, eos);
    if (c->projection)
      out.pooled = ti_net_expect(net, "text_projection",
                                 ti_net_linear(net, "text_projection", out.pooled, 0, TI_NONE),
                                 c->projection);
  }
  if (final_norm && out.hidden == x && final != TI_NONE)
    out.hidden = final;
  else if (final_norm)
    out.hidden = ti_net_layernorm(net, "final_layer_norm", out.hidden, c->layer.eps);
  return out;
}
