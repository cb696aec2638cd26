/*
 * LDMBertModel: pre-norm as CLIP's towers are, but every token sees every other, padding too, and
 * the heads have a width of their own and projections without a bias.
 */
#include "bert_text.h"

#include <string.h>

#include "format.h"

static const double NORM_EPS = 1e-5; /* torch's own: no config tells */

textinv_status ti_bert_text_read(ti_text_config *out, ti_bert_text_config *bert, ti_error *error,
                                 const ti_json *json)
{
  const char *activation;
  textinv_status status;

  *out = (ti_text_config){ .table = "embed_tokens", .places = "embed_positions" };
  memset(bert, 0, sizeof(*bert));
  if ((status = ti_json_int(json, error, "vocab_size", 30522, 3, 1 << 20, &out->vocab)) < 0 ||
      (status = ti_json_int(json, error, "d_model", 1280, 8, 16384, &out->width)) < 0 ||
      (status = ti_json_int(json, error, "encoder_layers", 32, 1, 128, &out->layers)) < 0 ||
      (status = ti_json_int(json, error, "max_position_embeddings", 77, 3, 4096, &out->positions)) <
        0 ||
      (status = ti_json_int(json, error, "encoder_ffn_dim", 5120, 8, 65536, &bert->inner)) < 0 ||
      (status = ti_json_int(json, error, "encoder_attention_heads", 8, 1, 256, &bert->heads)) < 0 ||
      (status = ti_json_int(json, error, "head_dim", 64, 1, 1024, &bert->head_width)) < 0 ||
      (status = ti_json_string(json, error, "activation_function", "gelu", &activation)) < 0)
    return status;
  if (strcmp(activation, "gelu"))
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: activation_function \"%s\"; known is \"gelu\"", json->path, activation);
  return TEXTINV_OK;
}

static ti_val layer(const ti_net *net, const ti_bert_text_config *c, int i, ti_val x)
{
  static const char *const projections[3] = { "q_proj", "k_proj", "v_proj" };
  char attn[64], norm[64], name[TI_NAME_SIZE];
  ti_val h;

  ti_format(attn, sizeof(attn), "layers.%d.self_attn", i);

  ti_block_begin(net->t);
  ti_format(norm, sizeof(norm), "%s_layer_norm", attn);
  h = ti_net_layernorm(net, norm, x, NORM_EPS);
  h = ti_net_attention(net, attn, projections, h, h, 0, c->heads, 0);
  h = ti_net_expect(net, attn, h, c->heads * c->head_width);
  ti_format(name, sizeof(name), "%s.out_proj", attn);
  x = ti_net_linear(net, name, h, 1, x);

  ti_format(norm, sizeof(norm), "layers.%d.final_layer_norm", i);
  h = ti_net_layernorm(net, norm, x, NORM_EPS);
  ti_format(name, sizeof(name), "layers.%d.fc1", i);
  h = ti_net_expect(net, name, ti_net_linear(net, name, h, 1, TI_NONE), c->inner);
  h = ti_activate(net->t, h, TI_GELU);
  ti_format(name, sizeof(name), "layers.%d.fc2", i);
  x = ti_net_linear(net, name, h, 1, x);
  ti_block_end(net->t);
  return x;
}

ti_val ti_bert_text(const ti_net *net, const ti_text_config *c, const ti_bert_text_config *bert,
                    ti_val ids, ti_val rows, int skip)
{
  ti_val x = ti_text_embedding(net, c, ids, rows);

  for (int i = 0; i < c->layers - skip; i++)
    x = layer(net, bert, i, x);
  return ti_net_layernorm(net, "layer_norm", x, NORM_EPS);
}
