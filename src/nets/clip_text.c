/* CLIP's text encoder (Radford et al. 2021): causal, pre-norm, learnt positions. */
#include "clip_text.h"

#include <string.h>

#include "format.h"

textinv_status ti_clip_text_read(ti_clip_text_config *out, ti_error *error, const ti_json *json,
                                 int with_projection)
{
  const char *activation;
  textinv_status status;

  memset(out, 0, sizeof(*out));
  if ((status = ti_json_int(json, error, "vocab_size", 49408, 3, 1 << 20, &out->vocab)) < 0 ||
      (status = ti_json_int(json, error, "hidden_size", 512, 8, 16384, &out->width)) < 0 ||
      (status = ti_json_int(json, error, "intermediate_size", 2048, 8, 65536, &out->inner)) < 0 ||
      (status = ti_json_int(json, error, "num_hidden_layers", 12, 1, 128, &out->layers)) < 0 ||
      (status = ti_json_int(json, error, "num_attention_heads", 8, 1, 256, &out->heads)) < 0 ||
      (status = ti_json_int(json, error, "max_position_embeddings", 77, 3, 4096, &out->positions)) <
        0 ||
      (status = ti_json_float(json, error, "layer_norm_eps", 1e-5, 1e-12, 1.0, &out->eps)) < 0 ||
      (status = ti_json_string(json, error, "hidden_act", "quick_gelu", &activation)) < 0)
    return status;
  if (with_projection &&
      (status = ti_json_int(json, error, "projection_dim", 512, 1, 16384, &out->projection)) < 0)
    return status;
  if (out->width % out->heads)
    return ti_fail(error, TEXTINV_E_SHAPE,
                   "%s: num_attention_heads %d does not divide hidden_size %d", json->path,
                   out->heads, out->width);
  if (!strcmp(activation, "quick_gelu"))
    out->activation = TI_QUICK_GELU;
  else if (!strcmp(activation, "gelu"))
    out->activation = TI_GELU;
  else
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: hidden_act \"%s\"; known are \"quick_gelu\" and \"gelu\"", json->path,
                   activation);
  return TEXTINV_OK;
}

static ti_val layer(const ti_net *net, const ti_clip_text_config *c, int i, ti_val x)
{
  static const char *const projections[3] = { "q_proj", "k_proj", "v_proj" };
  char attn[64], mlp[64], norm1[64], norm2[64], name[TI_NAME_SIZE];
  ti_val h;

  ti_format(attn, sizeof(attn), "encoder.layers.%d.self_attn", i);
  ti_format(mlp, sizeof(mlp), "encoder.layers.%d.mlp", i);
  ti_format(norm1, sizeof(norm1), "encoder.layers.%d.layer_norm1", i);
  ti_format(norm2, sizeof(norm2), "encoder.layers.%d.layer_norm2", i);

  ti_block_begin(net->t);
  h = ti_net_layernorm(net, norm1, x, c->eps);
  h = ti_net_attention(net, attn, projections, h, h, 1, c->heads, 1);
  ti_format(name, sizeof(name), "%s.out_proj", attn);
  x = ti_net_linear(net, name, h, 1, x);

  h = ti_net_layernorm(net, norm2, x, c->eps);
  ti_format(name, sizeof(name), "%s.fc1", mlp);
  h = ti_net_expect(net, name, ti_net_linear(net, name, h, 1, TI_NONE), c->inner);
  h = ti_activate(net->t, h, c->activation);
  ti_format(name, sizeof(name), "%s.fc2", mlp);
  x = ti_net_linear(net, name, h, 1, x);
  ti_block_end(net->t);
  return x;
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
    x = layer(net, c, i, x);
  }
  if (out.hidden == TI_NONE)
    out.hidden = x;
  if (eos != TI_NONE) {
    final = ti_net_layernorm(net, "final_layer_norm", x, c->eps);
    out.pooled = ti_gather(net->t, final, eos);
    if (c->projection)
      out.pooled = ti_net_expect(net, "text_projection",
                                 ti_net_linear(net, "text_projection", out.pooled, 0, TI_NONE),
                                 c->projection);
  }
  if (final_norm && out.hidden == x && final != TI_NONE)
    out.hidden = final;
  else if (final_norm)
    out.hidden = ti_net_layernorm(net, "final_layer_norm", out.hidden, c->eps);
  return out;
}
