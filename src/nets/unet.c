/*
 * The denoising network (Ronneberger et al. 2015; Rombach et al. 2022): down blocks, a middle, up
 * blocks with skips; residual blocks that are told the time, transformers that read the context.
 */
#include "unet.h"

#include "format.h"

static const double TRANSFORMER_EPS = 1e-6, LAYERNORM_EPS = 1e-5;

typedef struct builder {
  ti_net net;
  const ti_unet_config *c;
  ti_val context;
  ti_val time; /* silu of the time embedding [n, 1, 1, 4 channels[0]] */
  char name[TI_NAME_SIZE];
} builder;

static const char *join(builder *b, const char *prefix, const char *suffix)
{
  ti_format(b->name, sizeof(b->name), "%s.%s", prefix, suffix);
  return b->name;
}

static ti_val resnet(builder *b, const char *prefix, ti_val x)
{
  const ti_net *net = &b->net;
  ti_val h, time, shortcut = x;

  ti_block_begin(net->t);
  h = ti_net_groupnorm(net, join(b, prefix, "norm1"), x, TI_NONE, b->c->groups, b->c->eps, 1);
  h = ti_net_conv(net, join(b, prefix, "conv1"), h, TI_NONE);
  time = ti_net_linear(net, join(b, prefix, "time_emb_proj"), b->time, 1, TI_NONE);
  h = ti_as_many(b->net.t, h, time);
  h = ti_net_groupnorm(net, join(b, prefix, "norm2"), h, ti_as_many(b->net.t, time, h),
                       b->c->groups, b->c->eps, 1);
  if (ti_net_optional(net, join(b, prefix, "conv_shortcut"), "weight"))
    shortcut = ti_net_linear(net, b->name, x, 1, TI_NONE);
  h = ti_net_conv(net, join(b, prefix, "conv2"), h, ti_as_many(b->net.t, shortcut, h));
  ti_block_end(net->t);
  return h;
}

static ti_val attention(builder *b, const char *prefix, ti_val x, ti_val context, int heads,
                        ti_val residual)
{
  static const char *const names[3] = { "to_q", "to_k", "to_v" };
  const ti_net *net = &b->net;
  const ti_val o = ti_net_attention(net, prefix, names, x, context, 0, heads, 0);

  return ti_net_linear(net, join(b, prefix, "to_out.0"), o, 1, ti_as_many(net->t, residual, o));
}

static ti_val transformer_block(builder *b, const char *prefix, ti_val x, int heads, int only_cross)
{
  const ti_net *net = &b->net;
  char part[TI_NAME_SIZE];
  ti_val h;

  ti_block_begin(net->t);
  h = ti_net_layernorm(net, join(b, prefix, "norm1"), x, LAYERNORM_EPS);
  ti_format(part, sizeof(part), "%s.attn1", prefix);
  x = attention(b, part, h, only_cross ? b->context : h, heads, x);
  h = ti_net_layernorm(net, join(b, prefix, "norm2"), x, LAYERNORM_EPS);
  ti_format(part, sizeof(part), "%s.attn2", prefix);
  x = attention(b, part, h, b->context, heads, x);
  h = ti_net_layernorm(net, join(b, prefix, "norm3"), x, LAYERNORM_EPS);
  h = ti_net_linear(net, join(b, prefix, "ff.net.0.proj"), h, 1, TI_NONE);
  h = ti_geglu(net->t, h);
  x = ti_net_linear(net, join(b, prefix, "ff.net.2"), h, 1, x);
  ti_block_end(net->t);
  return x;
}

static ti_val transformer(builder *b, const char *prefix, ti_val x, int layers, int heads,
                          int only_cross)
{
  const ti_net *net = &b->net;
  char part[TI_NAME_SIZE];
  ti_val h = ti_net_groupnorm(net, join(b, prefix, "norm"), x, TI_NONE, b->c->groups,
                              TRANSFORMER_EPS, 0);

  h = ti_net_linear(net, join(b, prefix, "proj_in"), h, 1, TI_NONE);
  for (int i = 0; i < layers; i++) {
    ti_format(part, sizeof(part), "%s.transformer_blocks.%d", prefix, i);
    h = transformer_block(b, part, h, heads, only_cross);
  }
  return ti_net_linear(net, join(b, prefix, "proj_out"), h, 1, ti_as_many(b->net.t, x, h));
}

/* linear, silu, linear */
static ti_val time_mlp(builder *b, const char *prefix, ti_val x, ti_val residual)
{
  x = ti_net_linear(&b->net, join(b, prefix, "linear_1"), x, 1, TI_NONE);
  x = ti_activate(b->net.t, x, TI_SILU);
  return ti_net_linear(&b->net, join(b, prefix, "linear_2"), x, 1,
                       ti_as_many(b->net.t, residual, x));
}

static ti_val time_embedding(builder *b, const ti_unet_inputs *in)
{
  const ti_unet_config *c = b->c;
  ti_tape *t = b->net.t;
  ti_val x = ti_timestep(t, in->timesteps, c->channels[0], c->flip_sin_to_cos, c->freq_shift);

  x = time_mlp(b, "time_embedding", x, TI_NONE);
  if (c->text_time && x != TI_NONE) {
    const int n = ti_tape_value(t, in->size_ids)->n;
    ti_val sizes = ti_timestep(t, in->size_ids, c->addition_dim, c->flip_sin_to_cos, c->freq_shift);

    sizes = ti_reshape(t, sizes, n, 1, 1, 6 * c->addition_dim);
    x = time_mlp(b, "add_embedding", ti_concat(t, in->pooled, sizes), x);
  }
  return ti_activate(t, x, TI_SILU);
}

/* twice the size, or that of the skip where halving has rounded up */
static ti_val upsample(builder *b, const char *prefix, ti_val x, ti_val skip)
{
  ti_tape *t = b->net.t;

  if (x == TI_NONE || skip == TI_NONE)
    return TI_NONE;
  const int h = ti_tape_value(t, skip)->h, w = ti_tape_value(t, skip)->w;

  if (h == 2 * ti_tape_value(t, x)->h && w == 2 * ti_tape_value(t, x)->w)
    return ti_net_conv_padded(&b->net, prefix, x, 1, (int[]){ 1, 1, 1, 1 }, 2);
  if (h > 2 * ti_tape_value(t, x)->h || w > 2 * ti_tape_value(t, x)->w) {
    ti_tape_fail(t, ti_fail(t->error, TEXTINV_E_UNSUPPORTED,
                            "downsample_padding 0 takes latents whose sides can be halved at every "
                            "level; a level is %d x %d",
                            h, w));
    return TI_NONE;
  }
  return ti_net_conv(&b->net, prefix, ti_crop(t, ti_upsample(t, x), h, w), TI_NONE);
}

ti_val ti_unet(const ti_net *net, const ti_unet_config *c, const ti_unet_inputs *in)
{
  builder b = { .net = *net, .c = c, .context = in->context };
  ti_tape *t = net->t;
  char part[TI_NAME_SIZE];
  ti_val skips[TI_UNET_MAX_BLOCKS * 33 + 1], x;
  int num_skips = 0;

  b.time = time_embedding(&b, in);
  x = ti_net_conv(net, "conv_in", in->latents, TI_NONE);
  skips[num_skips++] = x;
  for (int i = 0; i < c->blocks; i++) {
    for (int k = 0; k < c->layers[i]; k++) {
      ti_format(part, sizeof(part), "down_blocks.%d.resnets.%d", i, k);
      x = ti_net_expect(net, part, resnet(&b, part, x), c->channels[i]);
      if (c->down_attention[i]) {
        ti_format(part, sizeof(part), "down_blocks.%d.attentions.%d", i, k);
        x = transformer(&b, part, x, c->transformer_layers[i], c->heads[i],
                        c->only_cross_attention[i]);
      }
      skips[num_skips++] = x;
    }
    if (i + 1 < c->blocks) {
      const int p = c->downsample_padding;

      ti_format(part, sizeof(part), "down_blocks.%d.downsamplers.0.conv", i);
      x = ti_net_conv_padded(net, part, x, 2, (int[]){ p, p, 1, 1 }, 1);
      skips[num_skips++] = x;
    }
  }

  if (!c->no_middle) {
    x = resnet(&b, "mid_block.resnets.0", x);
    x = transformer(&b, "mid_block.attentions.0", x, c->transformer_layers[c->blocks - 1],
                    c->heads[c->blocks - 1], 0);
    x = resnet(&b, "mid_block.resnets.1", x);
  }

  for (int i = 0; i < c->blocks; i++) {
    const int level = c->blocks - 1 - i;

    for (int k = 0; k < c->layers[level] + 1; k++) {
      ti_format(part, sizeof(part), "up_blocks.%d.resnets.%d", i, k);
      x = resnet(&b, part, ti_concat(t, x, ti_as_many(t, skips[--num_skips], x)));
      x = ti_net_expect(net, part, x, c->channels[level]);
      if (c->up_attention[i]) {
        ti_format(part, sizeof(part), "up_blocks.%d.attentions.%d", i, k);
        x = transformer(&b, part, x, c->up_transformer_layers[i], c->heads[level],
                        c->only_cross_attention[level]);
      }
    }
    if (i + 1 < c->blocks) {
      ti_format(part, sizeof(part), "up_blocks.%d.upsamplers.0.conv", i);
      x = upsample(&b, part, x, skips[num_skips - 1]);
    }
  }
  x = ti_net_groupnorm(net, "conv_norm_out", x, TI_NONE, c->groups, c->eps, 1);
  x = ti_as_many(t, ti_net_conv(net, "conv_out", x, TI_NONE), in->context); /* none has attended */
  return ti_net_expect(net, "conv_out", x, c->out_channels);
}
