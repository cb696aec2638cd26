/*
 * Names of LDM, SGM and OpenCLIP as diffusers and transformers have them. LDM numbers the blocks of
 * its UNet through; here, as in diffusers, they are counted level by level. A number beyond what
 * the network has gives no name, so that no weight is left aside in silence.
 */
#include <string.h>

#include "format.h"
#include "single_file_state.h"

typedef struct renaming {
  const char *from, *to;
} renaming;

/* what stands in s behind word, NULL when it does not begin so */
static const char *after(const char *s, const char *word)
{
  const size_t len = strlen(word);

  return strncmp(s, word, len) ? NULL : s + len;
}

/* a number below limit and the point behind it; NULL when there is something else */
static const char *number(const char *s, int *out, int limit)
{
  int n = 0, digits = 0;

  for (; *s >= '0' && *s <= '9' && digits < 4; s++, digits++)
    n = 10 * n + (*s - '0');
  *out = n;
  return digits && *s == '.' && n < limit ? s + 1 : NULL;
}

/* "a.b" + "c"; a name that is too long is none */
static int put(char out[TI_SINGLE_NAME], const char *a, const char *b, const char *c)
{
  return ti_format(out, TI_SINGLE_NAME, "%s%s%s%s", a, *a ? "." : "", b, c) < TI_SINGLE_NAME;
}

/* prefix, and name with its beginning replaced */
static int rename_by(char out[TI_SINGLE_NAME], const renaming *table, const char *prefix,
                     const char *name)
{
  for (; table->from; table++) {
    const char *rest = after(name, table->from);

    if (rest)
      return put(out, prefix, table->to, rest);
  }
  return 0;
}

/* ------ UNet */

static const renaming unet_ends[] = {
  { "time_embed.0.", "time_embedding.linear_1." },
  { "time_embed.2.", "time_embedding.linear_2." },
  { "label_emb.0.0.", "add_embedding.linear_1." },
  { "label_emb.0.2.", "add_embedding.linear_2." },
  { "input_blocks.0.0.", "conv_in." },
  { "out.0.", "conv_norm_out." },
  { "out.2.", "conv_out." },
  { NULL, NULL },
};

static const renaming unet_resnet[] = {
  { "in_layers.0.", "norm1." },
  { "in_layers.2.", "conv1." },
  { "out_layers.0.", "norm2." },
  { "out_layers.3.", "conv2." },
  { "emb_layers.1.", "time_emb_proj." },
  { "skip_connection.", "conv_shortcut." },
  { NULL, NULL },
};

static const renaming unet_transformer[] = {
  { "norm.", "norm." },
  { "proj_in.", "proj_in." },
  { "proj_out.", "proj_out." },
  { "transformer_blocks.", "transformer_blocks." },
  { NULL, NULL },
};

static int transformer(char out[TI_SINGLE_NAME], const char *block, int depth, const char *rest)
{
  const char *layers = after(rest, "transformer_blocks.");
  int i;

  return depth && (!layers || number(layers, &i, depth)) &&
         rename_by(out, unet_transformer, block, rest);
}

/* block i of input_blocks, counted from the first behind conv_in */
static int down(char out[TI_SINGLE_NAME], const ti_single_unet *u, int i, int part,
                const char *rest)
{
  char block[64];
  int level = 0;

  while (level < u->blocks && i > u->layers[level])
    i -= u->layers[level++] + 1;
  if (level == u->blocks || part > 1)
    return 0;
  if (i == u->layers[level]) {
    ti_format(block, sizeof(block), "down_blocks.%d.downsamplers.0", level);
    rest = level + 1 < u->blocks && !part ? after(rest, "op.") : NULL;
    return rest && put(out, block, "conv.", rest);
  }
  ti_format(block, sizeof(block), "down_blocks.%d.%s.%d", level, part ? "attentions" : "resnets",
            i);
  return part ? transformer(out, block, u->depth[level], rest)
              : rename_by(out, unet_resnet, block, rest);
}

/* block i of output_blocks: the levels backwards, each with a layer more */
static int up(char out[TI_SINGLE_NAME], const ti_single_unet *u, int i, int part, const char *rest)
{
  const char *sampler = part ? after(rest, "conv.") : NULL;
  char block[64];
  int n = 0;

  while (n < u->blocks && i > u->layers[u->blocks - 1 - n])
    i -= u->layers[u->blocks - 1 - n++] + 1;
  if (n == u->blocks)
    return 0;
  const int level = u->blocks - 1 - n;

  if (sampler) {
    ti_format(block, sizeof(block), "up_blocks.%d.upsamplers.0", n);
    return level && i == u->layers[level] && put(out, block, "conv.", sampler);
  }
  ti_format(block, sizeof(block), "up_blocks.%d.%s.%d", n, part ? "attentions" : "resnets", i);
  if (part > 1)
    return 0;
  return part ? transformer(out, block, u->depth[level], rest)
              : rename_by(out, unet_resnet, block, rest);
}

ti_single_use ti_single_unet_name(char out[TI_SINGLE_NAME], const ti_single_unet *unet,
                                  const char *name)
{
  const char *rest;
  int i, part, known = rename_by(out, unet_ends, "", name);

  if (known) {
    ;
  } else if ((rest = after(name, "input_blocks."))) {
    known = (rest = number(rest, &i, 10000)) && i && (rest = number(rest, &part, 3)) &&
            down(out, unet, i - 1, part, rest);
  } else if ((rest = after(name, "output_blocks."))) {
    known = (rest = number(rest, &i, 10000)) && (rest = number(rest, &part, 3)) &&
            up(out, unet, i, part, rest);
  } else if ((rest = after(name, "middle_block.")) && (rest = number(rest, &part, 3))) {
    known = part == 1 ? transformer(out, "mid_block.attentions.0", unet->middle, rest)
                      : rename_by(out, unet_resnet,
                                  part ? "mid_block.resnets.1" : "mid_block.resnets.0", rest);
  }
  return known ? TI_SINGLE_SAME : TI_SINGLE_UNKNOWN;
}

/* ------ VAE */

static const renaming vae_ends[] = {
  { "encoder.conv_in.", "encoder.conv_in." },
  { "encoder.conv_out.", "encoder.conv_out." },
  { "encoder.norm_out.", "encoder.conv_norm_out." },
  { "decoder.conv_in.", "decoder.conv_in." },
  { "decoder.conv_out.", "decoder.conv_out." },
  { "decoder.norm_out.", "decoder.conv_norm_out." },
  { "quant_conv.", "quant_conv." },
  { "post_quant_conv.", "post_quant_conv." },
  { NULL, NULL },
};

static const renaming vae_resnet[] = {
  { "norm1.", "norm1." },
  { "conv1.", "conv1." },
  { "norm2.", "norm2." },
  { "conv2.", "conv2." },
  { "nin_shortcut.", "conv_shortcut." },
  { NULL, NULL },
};

static const renaming vae_attention[] = {
  { "norm.", "group_norm." },   { "q.", "to_q." }, { "k.", "to_k." }, { "v.", "to_v." },
  { "proj_out.", "to_out.0." }, { NULL, NULL },
};

/* what stands behind "encoder." or "decoder." */
static ti_single_use vae_side(char out[TI_SINGLE_NAME], const ti_single_vae *v, const char *name,
                              int decoder)
{
  const char *side = decoder ? "decoder" : "encoder", *way = decoder ? "up" : "down", *rest;
  char block[64];
  int level, i;

  ti_format(block, sizeof(block), "%s.mid_block.attentions.0", side);
  if ((rest = after(name, "mid.attn_1.")))
    return !v->attention || !rename_by(out, vae_attention, block, rest) ? TI_SINGLE_UNKNOWN
           : after(rest, "norm.")                                       ? TI_SINGLE_SAME
                                                                        : TI_SINGLE_MATRIX;
  if ((rest = after(name, "mid.block_"))) {
    if (!(rest = number(rest, &i, 3)) || !i)
      return TI_SINGLE_UNKNOWN;
    ti_format(block, sizeof(block), "%s.mid_block.resnets.%d", side, i - 1);
    return rename_by(out, vae_resnet, block, rest) ? TI_SINGLE_SAME : TI_SINGLE_UNKNOWN;
  }
  if (!(rest = after(name, way)) || !(rest = after(rest, ".")) ||
      !(rest = number(rest, &level, v->blocks)))
    return TI_SINGLE_UNKNOWN;
  name = rest;
  if (decoder) /* it counts from the pictures, diffusers from the latents */
    level = v->blocks - 1 - level;
  if ((rest = after(name, "block."))) {
    if (!(rest = number(rest, &i, v->layers + decoder)))
      return TI_SINGLE_UNKNOWN;
    ti_format(block, sizeof(block), "%s.%s_blocks.%d.resnets.%d", side, way, level, i);
    return rename_by(out, vae_resnet, block, rest) ? TI_SINGLE_SAME : TI_SINGLE_UNKNOWN;
  }
  rest = after(name, decoder ? "upsample.conv." : "downsample.conv.");
  ti_format(block, sizeof(block), "%s.%s_blocks.%d.%ssamplers.0", side, way, level, way);
  return rest && level + 1 < v->blocks && put(out, block, "conv.", rest) ? TI_SINGLE_SAME
                                                                         : TI_SINGLE_UNKNOWN;
}

ti_single_use ti_single_vae_name(char out[TI_SINGLE_NAME], const ti_single_vae *vae,
                                 const char *name)
{
  const char *rest;

  if (rename_by(out, vae_ends, "", name))
    return TI_SINGLE_SAME;
  if ((rest = after(name, "encoder.")))
    return vae_side(out, vae, rest, 0);
  if ((rest = after(name, "decoder.")))
    return vae_side(out, vae, rest, 1);
  return TI_SINGLE_UNKNOWN;
}

/* ------ text encoders */

static const renaming clip_ends[] = {
  { "embeddings.token_embedding.weight", "embeddings.token_embedding.weight" },
  { "embeddings.position_embedding.weight", "embeddings.position_embedding.weight" },
  { "encoder.layers.", "encoder.layers." },
  { "final_layer_norm.", "final_layer_norm." },
  { NULL, NULL },
};

static const renaming open_clip_ends[] = {
  { "token_embedding.weight", "embeddings.token_embedding.weight" },
  { "positional_embedding", "embeddings.position_embedding.weight" },
  { "ln_final.", "final_layer_norm." },
  { NULL, NULL },
};

static const renaming open_clip_layer[] = {
  { "ln_1.", "layer_norm1." },
  { "ln_2.", "layer_norm2." },
  { "mlp.c_fc.", "mlp.fc1." },
  { "mlp.c_proj.", "mlp.fc2." },
  { "attn.out_proj.", "self_attn.out_proj." },
  { NULL, NULL },
};

static const renaming open_clip_fused[] = {
  { "attn.in_proj_", "self_attn.q_proj." },
  { NULL, NULL },
};

ti_single_use ti_single_text_name(char out[TI_SINGLE_NAME], const ti_single_text *text,
                                  const char *name)
{
  const char *rest;
  char layer[64];
  int i;

  if (!text->open_clip)
    return rename_by(out, clip_ends, "text_model", name) ? TI_SINGLE_SAME : TI_SINGLE_UNKNOWN;
  if (rename_by(out, open_clip_ends, "text_model", name))
    return TI_SINGLE_SAME;
  if (text->projection && !strcmp(name, "text_projection"))
    return put(out, "", "text_projection.weight", "") ? TI_SINGLE_TRANSPOSED : TI_SINGLE_UNKNOWN;
  if (!(rest = after(name, "transformer.resblocks.")) || !(rest = number(rest, &i, text->layers)))
    return TI_SINGLE_UNKNOWN;
  ti_format(layer, sizeof(layer), "text_model.encoder.layers.%d", i);
  if (rename_by(out, open_clip_layer, layer, rest))
    return TI_SINGLE_SAME;
  return rename_by(out, open_clip_fused, layer, rest) ? TI_SINGLE_THIRDS : TI_SINGLE_UNKNOWN;
}
