/* One layer of CLIP's towers (Radford et al. 2021): pre-norm. */
#include "clip_layer.h"

#include <string.h>

#include "format.h"

textinv_status ti_clip_layer_read(ti_clip_layer_config *out, ti_error *error, const ti_json *json,
                                  int width, int inner, int heads)
{
  const char *activation;
  textinv_status status;

  if ((status = ti_json_int(json, error, "intermediate_size", inner, 8, 65536, &out->inner)) < 0 ||
      (status = ti_json_int(json, error, "num_attention_heads", heads, 1, 256, &out->heads)) < 0 ||
      (status = ti_json_float(json, error, "layer_norm_eps", 1e-5, 1e-12, 1.0, &out->eps)) < 0 ||
      (status = ti_json_string(json, error, "hidden_act", "quick_gelu", &activation)) < 0)
    return status;
  if (width % out->heads)
    return ti_fail(error, TEXTINV_E_SHAPE,
                   "%s: num_attention_heads %d does not divide hidden_size %d", json->path,
                   out->heads, width);
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

ti_val ti_clip_layer(const ti_net *net, const ti_clip_layer_config *c, int i, ti_val x)
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
  h = ti_net_attention(net, attn, projections, h, h, 1, c->heads, c->causal);
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
