/* unet/config.json: what it says, what it leaves out, and what it says that we do not know. */
#include <stdlib.h>
#include <string.h>

#include "unet.h"

/* keys that must be absent, null or the value that SD and SDXL have */
typedef struct fixed_key {
  const char *key;
  enum { IS_NULL, IS_FALSE, IS_INT, IS_STRING } kind;
  int number;
  const char *text;
} fixed_key;

static const fixed_key fixed_keys[] = {
  { "class_embed_type", IS_NULL, 0, NULL },
  { "num_class_embeds", IS_NULL, 0, NULL },
  { "encoder_hid_dim", IS_NULL, 0, NULL },
  { "encoder_hid_dim_type", IS_NULL, 0, NULL },
  { "time_embedding_act_fn", IS_NULL, 0, NULL },
  { "timestep_post_act", IS_NULL, 0, NULL },
  { "time_cond_proj_dim", IS_NULL, 0, NULL },
  { "cross_attention_norm", IS_NULL, 0, NULL },
  { "num_attention_heads", IS_NULL, 0, NULL },
  { "reverse_transformer_layers_per_block", IS_NULL, 0, NULL },
  { "time_embedding_dim", IS_NULL, 0, NULL },
  { "center_input_sample", IS_FALSE, 0, NULL },
  { "dual_cross_attention", IS_FALSE, 0, NULL },
  { "resnet_skip_time_act", IS_FALSE, 0, NULL },
  { "class_embeddings_concat", IS_FALSE, 0, NULL },
  { "conv_in_kernel", IS_INT, 3, NULL },
  { "conv_out_kernel", IS_INT, 3, NULL },
  { "mid_block_scale_factor", IS_INT, 1, NULL },
  { "resnet_out_scale_factor", IS_INT, 1, NULL },
  { "mid_block_type", IS_STRING, 0, "UNetMidBlock2DCrossAttn" },
  { "resnet_time_scale_shift", IS_STRING, 0, "default" },
  { "time_embedding_type", IS_STRING, 0, "positional" },
  { "attention_type", IS_STRING, 0, "default" },
};

static textinv_status check_fixed(const ti_json *json, ti_error *error, const fixed_key *f)
{
  double number;
  int flag;
  const char *text;
  textinv_status status;

  switch (f->kind) {
  case IS_NULL:
    if (ti_json_has(json, f->key))
      return ti_fail(error, TEXTINV_E_UNSUPPORTED, "%s: %s is set; only null is supported",
                     json->path, f->key);
    return TEXTINV_OK;
  case IS_FALSE:
    if ((status = ti_json_bool(json, error, f->key, 0, &flag)) < 0)
      return status;
    return flag ? ti_fail(error, TEXTINV_E_UNSUPPORTED, "%s: %s is true; only false is supported",
                          json->path, f->key)
                : TEXTINV_OK;
  case IS_INT:
    if ((status = ti_json_float(json, error, f->key, f->number, -1e9, 1e9, &number)) < 0)
      return status;
    return number != f->number
             ? ti_fail(error, TEXTINV_E_UNSUPPORTED, "%s: %s is %g; only %d is supported",
                       json->path, f->key, number, f->number)
             : TEXTINV_OK;
  default:
    if ((status = ti_json_string(json, error, f->key, f->text, &text)) < 0)
      return status;
    return strcmp(text, f->text)
             ? ti_fail(error, TEXTINV_E_UNSUPPORTED, "%s: %s \"%s\"; known is \"%s\"", json->path,
                       f->key, text, f->text)
             : TEXTINV_OK;
  }
}

/* one int for all blocks, or a list with one for each */
static textinv_status read_blocks(const ti_json *json, ti_error *error, const char *key,
                                  int fallback, int max, int blocks, int *out)
{
  int count = blocks;
  const textinv_status status = ti_json_ints(json, error, key, fallback, 1, max, out,
                                             TI_UNET_MAX_BLOCKS, &count);

  if (status >= 0 && count != blocks)
    return ti_fail(error, TEXTINV_E_SHAPE, "%s: %s has %d entries, block_out_channels %d",
                   json->path, key, count, blocks);
  return status;
}

/* block types to flags: 1 = with attention */
static textinv_status read_types(const ti_json *json, ti_error *error, const char *key,
                                 const char *plain, const char *crossed,
                                 const char *const fallback[4], int blocks, int *flags)
{
  const char *types[TI_UNET_MAX_BLOCKS];
  int count;
  textinv_status status = ti_json_strings(json, error, key, types, TI_UNET_MAX_BLOCKS, &count);

  if (status < 0)
    return status;
  if (!count) {
    memcpy(types, fallback, 4 * sizeof(*fallback));
    count = 4;
  }
  if (count != blocks)
    return ti_fail(error, TEXTINV_E_SHAPE, "%s: %s has %d entries, block_out_channels %d",
                   json->path, key, count, blocks);
  for (int i = 0; i < count; i++) {
    flags[i] = !strcmp(types[i], crossed);
    if (!flags[i] && strcmp(types[i], plain))
      return ti_fail(error, TEXTINV_E_UNSUPPORTED, "%s: %s \"%s\"; known are \"%s\" and \"%s\"",
                     json->path, key, types[i], plain, crossed);
  }
  return TEXTINV_OK;
}

static textinv_status read_addition(ti_unet_config *out, ti_error *error, const ti_json *json)
{
  const char *type;
  textinv_status status;

  if ((status = ti_json_string(json, error, "addition_embed_type", NULL, &type)) < 0 || !type)
    return status;
  if (strcmp(type, "text_time"))
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: addition_embed_type \"%s\"; known are null and \"text_time\"", json->path,
                   type);
  out->text_time = 1;
  if ((status = ti_json_int(json, error, "addition_time_embed_dim", 0, 1, 16384,
                            &out->addition_dim)) < 0 ||
      (status = ti_json_int(json, error, "projection_class_embeddings_input_dim", 0, 1, 1 << 17,
                            &out->projection_dim)) < 0)
    return status;
  if (!out->addition_dim || out->projection_dim <= 6 * out->addition_dim)
    return ti_fail(error, TEXTINV_E_SHAPE,
                   "%s: projection_class_embeddings_input_dim %d must exceed 6 times "
                   "addition_time_embed_dim %d",
                   json->path, out->projection_dim, out->addition_dim);
  return TEXTINV_OK;
}

/*
 * A bool, or a list of bools, one a block. The middle block has self-attention in any case:
 * diffusers hands mid_block_only_cross_attention to another kind of middle block alone.
 */
static textinv_status read_only_cross(ti_unet_config *out, ti_error *error, const ti_json *json)
{
  const json_t *value = json_object_get(json->root, "only_cross_attention");
  textinv_status status;
  int flag;

  if (!json_is_array(value)) {
    if ((status = ti_json_bool(json, error, "only_cross_attention", 0, &flag)) < 0)
      return status;
    for (int i = 0; i < out->blocks; i++)
      out->only_cross_attention[i] = flag;
  } else {
    if (json_array_size(value) != (size_t)out->blocks)
      return ti_fail(error, TEXTINV_E_SHAPE,
                     "%s: only_cross_attention has %zu entries, %d are needed", json->path,
                     json_array_size(value), out->blocks);
    for (int i = 0; i < out->blocks; i++) {
      if (!json_is_boolean(json_array_get(value, (size_t)i)))
        return ti_fail(error, TEXTINV_E_FORMAT, "%s: only_cross_attention[%d] is no bool",
                       json->path, i);
      out->only_cross_attention[i] = json_is_true(json_array_get(value, (size_t)i));
    }
  }
  return TEXTINV_OK;
}

static textinv_status check_sizes(const ti_unet_config *c, ti_error *error, const ti_json *json)
{
  for (int i = 0; i < c->blocks; i++) {
    if (c->channels[i] % c->groups)
      return ti_fail(error, TEXTINV_E_SHAPE,
                     "%s: norm_num_groups %d does not divide block_out_channels %d", json->path,
                     c->groups, c->channels[i]);
    if (c->channels[i] % c->heads[i])
      return ti_fail(error, TEXTINV_E_SHAPE,
                     "%s: attention_head_dim %d (the number of heads) does not divide %d channels",
                     json->path, c->heads[i], c->channels[i]);
    if (c->context_dim[i] != c->context_dim[0])
      return ti_fail(error, TEXTINV_E_UNSUPPORTED, "%s: cross_attention_dim %d differs from %d",
                     json->path, c->context_dim[i], c->context_dim[0]);
  }
  return TEXTINV_OK;
}

textinv_status ti_unet_read(ti_unet_config *out, ti_error *error, const ti_json *json)
{
  static const char *const down[4] = { "CrossAttnDownBlock2D", "CrossAttnDownBlock2D",
                                       "CrossAttnDownBlock2D", "DownBlock2D" };
  static const char *const up[4] = { "UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D",
                                     "CrossAttnUpBlock2D" };
  static const int default_channels[4] = { 320, 640, 1280, 1280 };
  const char *activation;
  textinv_status status;

  memset(out, 0, sizeof(*out));
  for (size_t i = 0; i < sizeof(fixed_keys) / sizeof(*fixed_keys); i++) {
    if ((status = check_fixed(json, error, &fixed_keys[i])) < 0)
      return status;
  }
  /* null is not the default here */
  out->no_middle = json_is_null(json_object_get(json->root, "mid_block_type"));
  if (!ti_json_has(json, "block_out_channels")) {
    memcpy(out->channels, default_channels, sizeof(default_channels));
    out->blocks = 4;
  } else if ((out->blocks = 1,
              status = ti_json_ints(json, error, "block_out_channels", 0, 1, 16384, out->channels,
                                    TI_UNET_MAX_BLOCKS, &out->blocks)) < 0) {
    return status;
  }
  if ((status = ti_json_int(json, error, "in_channels", 4, 1, 1024, &out->in_channels)) < 0 ||
      (status = ti_json_int(json, error, "out_channels", 4, 1, 1024, &out->out_channels)) < 0 ||
      (status = ti_json_int(json, error, "sample_size", 64, 1, 4096, &out->sample_size)) < 0 ||
      (status = ti_json_int(json, error, "norm_num_groups", 32, 1, 4096, &out->groups)) < 0 ||
      (status = ti_json_int(json, error, "downsample_padding", 1, 0, 1, &out->downsample_padding)) <
        0 ||
      (status = ti_json_float(json, error, "norm_eps", 1e-5, 1e-12, 1.0, &out->eps)) < 0 ||
      (status = ti_json_float(json, error, "freq_shift", 0.0, -64.0, 64.0, &out->freq_shift)) < 0 ||
      (status = ti_json_bool(json, error, "flip_sin_to_cos", 1, &out->flip_sin_to_cos)) < 0 ||
      (status = ti_json_string(json, error, "act_fn", "silu", &activation)) < 0 ||
      (status = read_blocks(json, error, "layers_per_block", 2, 32, out->blocks, out->layers)) <
        0 ||
      (status = read_blocks(json, error, "transformer_layers_per_block", 1, 64, out->blocks,
                            out->transformer_layers)) < 0 ||
      (status = read_blocks(json, error, "attention_head_dim", 8, 1024, out->blocks, out->heads)) <
        0 ||
      (status = read_blocks(json, error, "cross_attention_dim", 1280, 16384, out->blocks,
                            out->context_dim)) < 0 ||
      (status = read_types(json, error, "down_block_types", "DownBlock2D", "CrossAttnDownBlock2D",
                           down, out->blocks, out->down_attention)) < 0 ||
      (status = read_types(json, error, "up_block_types", "UpBlock2D", "CrossAttnUpBlock2D", up,
                           out->blocks, out->up_attention)) < 0 ||
      (status = read_only_cross(out, error, json)) < 0 ||
      (status = read_addition(out, error, json)) < 0 ||
      (status = check_sizes(out, error, json)) < 0)
    return status;
  if (strcmp(activation, "silu") && strcmp(activation, "swish"))
    return ti_fail(error, TEXTINV_E_UNSUPPORTED, "%s: act_fn \"%s\"; known is \"silu\"", json->path,
                   activation);
  for (int i = 0; i < out->blocks; i++)
    out->up_transformer_layers[i] = out->transformer_layers[out->blocks - 1 - i];
  return TEXTINV_OK;
}

/*
 * diffusers' StableDiffusionPipeline takes a UNet that was saved before 0.9.0 for one of 64 latents
 * a side or more: the size in such configs was a default of its time.
 */
textinv_status ti_unet_update(ti_unet_config *c, ti_error *error, const ti_json *json)
{
  const char *version;
  char *end;
  textinv_status status = ti_json_string(json, error, "_diffusers_version", NULL, &version);

  if (status < 0 || !version || c->sample_size >= 64)
    return status;
  if (strtol(version, &end, 10) == 0 && *end == '.' && strtol(end + 1, NULL, 10) < 9)
    c->sample_size = 64;
  return TEXTINV_OK;
}

int ti_unet_pooled_dim(const ti_unet_config *c)
{
  return c->text_time ? c->projection_dim - 6 * c->addition_dim : 0;
}
