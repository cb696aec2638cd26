/* The autoencoder (Kingma and Welling 2013; Rombach et al. 2022): residual blocks, one attention in
 * the middle. */
#include "vae.h"

#include <string.h>

#include "format.h"

static const double EPS = 1e-6; /* of every norm of diffusers' AutoencoderKL */

static textinv_status check_types(ti_error *error, const ti_json *json, const char *key,
                                  const char *expected, int blocks)
{
  const char *types[TI_MAX_BLOCKS];
  int count;
  textinv_status status = ti_json_strings(json, error, key, types, TI_MAX_BLOCKS, &count);

  if (status < 0)
    return status;
  if (count && count != blocks)
    return ti_fail(error, TEXTINV_E_SHAPE, "%s: %s has %d entries, block_out_channels %d",
                   json->path, key, count, blocks);
  if (!count && blocks != 1)
    return ti_fail(error, TEXTINV_E_FORMAT, "%s: %s is missing", json->path, key);
  for (int i = 0; i < count; i++) {
    if (strcmp(types[i], expected))
      return ti_fail(error, TEXTINV_E_UNSUPPORTED, "%s: %s \"%s\"; known is \"%s\"", json->path,
                     key, types[i], expected);
  }
  return TEXTINV_OK;
}

textinv_status ti_vae_read(ti_vae_config *out, ti_error *error, const ti_json *json)
{
  const char *activation;
  textinv_status status;

  memset(out, 0, sizeof(*out));
  out->blocks = 1;
  if ((status = ti_json_int(json, error, "in_channels", 3, 1, 64, &out->in_channels)) < 0 ||
      (status = ti_json_int(json, error, "out_channels", 3, 1, 64, &out->out_channels)) < 0 ||
      (status = ti_json_int(json, error, "latent_channels", 4, 1, 256, &out->latent_channels)) <
        0 ||
      (status = ti_json_int(json, error, "layers_per_block", 1, 1, 32, &out->layers)) < 0 ||
      (status = ti_json_int(json, error, "norm_num_groups", 32, 1, 4096, &out->groups)) < 0 ||
      (status = ti_json_int(json, error, "sample_size", 32, 1, 16384, &out->sample_size)) < 0 ||
      (status = ti_json_ints(json, error, "block_out_channels", 64, 1, 16384, out->channels,
                             TI_MAX_BLOCKS, &out->blocks)) < 0 ||
      (status = ti_json_bool(json, error, "use_quant_conv", 1, &out->quant_conv)) < 0 ||
      (status = ti_json_bool(json, error, "use_post_quant_conv", 1, &out->post_quant_conv)) < 0 ||
      (status = ti_json_bool(json, error, "mid_block_add_attention", 1, &out->mid_attention)) < 0 ||
      (status = ti_json_bool(json, error, "force_upcast", 1, &out->force_upcast)) < 0 ||
      (status = ti_json_float(json, error, "scaling_factor", 0.18215, 1e-6, 1e6,
                              &out->scaling_factor)) < 0 ||
      (status = ti_json_string(json, error, "act_fn", "silu", &activation)) < 0 ||
      (status = check_types(error, json, "down_block_types", "DownEncoderBlock2D", out->blocks)) <
        0 ||
      (status = check_types(error, json, "up_block_types", "UpDecoderBlock2D", out->blocks)) < 0)
    return status;
  if (strcmp(activation, "silu") && strcmp(activation, "swish"))
    return ti_fail(error, TEXTINV_E_UNSUPPORTED, "%s: act_fn \"%s\"; known is \"silu\"", json->path,
                   activation);
  if (out->in_channels != 3 || out->out_channels != 3)
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: in_channels %d, out_channels %d; pictures have 3", json->path,
                   out->in_channels, out->out_channels);
  if (ti_json_has(json, "latents_mean") || ti_json_has(json, "latents_std"))
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: latents_mean and latents_std are not supported", json->path);
  for (int i = 0; i < out->blocks; i++) {
    if (out->channels[i] % out->groups)
      return ti_fail(error, TEXTINV_E_SHAPE,
                     "%s: norm_num_groups %d does not divide block_out_channels %d", json->path,
                     out->groups, out->channels[i]);
  }
  return TEXTINV_OK;
}

int ti_vae_scale(const ti_vae_config *c)
{
  return 1 << (c->blocks - 1);
}

static ti_val resnet(const ti_net *net, const ti_vae_config *c, const char *prefix, ti_val x)
{
  char name[TI_NAME_SIZE];
  ti_val h, shortcut = x;

  ti_format(name, sizeof(name), "%s.norm1", prefix);
  h = ti_net_groupnorm(net, name, x, TI_NONE, c->groups, EPS, 1);
  ti_format(name, sizeof(name), "%s.conv1", prefix);
  h = ti_net_conv(net, name, h, TI_NONE);
  ti_format(name, sizeof(name), "%s.norm2", prefix);
  h = ti_net_groupnorm(net, name, h, TI_NONE, c->groups, EPS, 1);
  ti_format(name, sizeof(name), "%s.conv_shortcut", prefix);
  if (ti_net_optional(net, name, "weight"))
    shortcut = ti_net_linear(net, name, x, 1, TI_NONE);
  ti_format(name, sizeof(name), "%s.conv2", prefix);
  return ti_net_conv(net, name, h, shortcut);
}

/* a projection of the attention under its name of today or of before diffusers 0.18 */
static ti_val project(const ti_net *net, const char *prefix, const char *name, const char *old_name,
                      ti_val x, ti_val residual)
{
  char full[TI_NAME_SIZE];

  ti_format(full, sizeof(full), "%s.%s", prefix, name);
  if (!ti_net_optional(net, full, "weight"))
    ti_format(full, sizeof(full), "%s.%s", prefix, old_name);
  return ti_net_linear(net, full, x, 1, residual);
}

static ti_val attention(const ti_net *net, const ti_vae_config *c, const char *prefix, ti_val x)
{
  char name[TI_NAME_SIZE];
  ti_val h, q, k, v;

  ti_format(name, sizeof(name), "%s.group_norm", prefix);
  h = ti_net_groupnorm(net, name, x, TI_NONE, c->groups, EPS, 0);
  q = project(net, prefix, "to_q", "query", h, TI_NONE);
  k = project(net, prefix, "to_k", "key", h, TI_NONE);
  v = project(net, prefix, "to_v", "value", h, TI_NONE);
  h = ti_attention(net->t, q, k, v, 1, 0);
  return project(net, prefix, "to_out.0", "proj_attn", h, x);
}

static ti_val middle(const ti_net *net, const ti_vae_config *c, const char *side, ti_val x)
{
  char name[TI_NAME_SIZE];

  ti_format(name, sizeof(name), "%s.mid_block.resnets.0", side);
  x = resnet(net, c, name, x);
  if (c->mid_attention) {
    ti_format(name, sizeof(name), "%s.mid_block.attentions.0", side);
    x = attention(net, c, name, x);
  }
  ti_format(name, sizeof(name), "%s.mid_block.resnets.1", side);
  return resnet(net, c, name, x);
}

ti_val ti_vae_encoder(const ti_net *net, const ti_vae_config *c, ti_val x)
{
  char name[TI_NAME_SIZE];

  x = ti_net_conv(net, "encoder.conv_in", x, TI_NONE);
  for (int i = 0; i < c->blocks; i++) {
    for (int k = 0; k < c->layers; k++) {
      ti_format(name, sizeof(name), "encoder.down_blocks.%d.resnets.%d", i, k);
      x = ti_net_expect(net, name, resnet(net, c, name, x), c->channels[i]);
    }
    if (i + 1 < c->blocks) { /* padded below and to the right only */
      ti_format(name, sizeof(name), "encoder.down_blocks.%d.downsamplers.0.conv", i);
      x = ti_net_conv_padded(net, name, x, 2, (int[]){ 0, 0, 1, 1 }, 1);
    }
  }
  x = middle(net, c, "encoder", x);
  x = ti_net_groupnorm(net, "encoder.conv_norm_out", x, TI_NONE, c->groups, EPS, 1);
  x = ti_net_conv(net, "encoder.conv_out", x, TI_NONE);
  if (c->quant_conv)
    x = ti_net_linear(net, "quant_conv", x, 1, TI_NONE);
  return ti_net_expect(net, "encoder.conv_out", x, 2 * c->latent_channels);
}

ti_val ti_vae_decoder(const ti_net *net, const ti_vae_config *c, ti_val z)
{
  char name[TI_NAME_SIZE];
  ti_val x = c->post_quant_conv ? ti_net_linear(net, "post_quant_conv", z, 1, TI_NONE) : z;

  x = ti_net_conv(net, "decoder.conv_in", x, TI_NONE);
  x = middle(net, c, "decoder", x);
  for (int i = 0; i < c->blocks; i++) {
    for (int k = 0; k < c->layers + 1; k++) {
      ti_format(name, sizeof(name), "decoder.up_blocks.%d.resnets.%d", i, k);
      x = ti_net_expect(net, name, resnet(net, c, name, x), c->channels[c->blocks - 1 - i]);
    }
    if (i + 1 < c->blocks) {
      ti_format(name, sizeof(name), "decoder.up_blocks.%d.upsamplers.0.conv", i);
      x = ti_net_conv_padded(net, name, x, 1, (int[]){ 1, 1, 1, 1 }, 2);
    }
  }
  x = ti_net_groupnorm(net, "decoder.conv_norm_out", x, TI_NONE, c->groups, EPS, 1);
  x = ti_net_conv(net, "decoder.conv_out", x, TI_NONE);
  return ti_net_expect(net, "decoder.conv_out", x, c->out_channels);
}
