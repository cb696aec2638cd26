/*
 * Models as small as their groups of 32, 8 heads and heads of 64 allow, written twice. The two
 * names of each weight stand side by side here; tests/parity/check_single.py has diffusers judge
 * the names.
 */
#include "single_model.h"

#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "safetensors.h"
#include "text/clip_vocab.h"

enum {
  MAX_TENSORS = 600,
  WIDTH = 64,
  POOLED = 24,
  SIZE_DIM = 8,
  VOCAB = 49408,
  TIME = 4,
  LATENT = 4
};

typedef struct list {
  ti_tensor tensors[MAX_TENSORS];
  size_t count;
} list;

/* the two names of a layer: diffusers' and, behind the component's prefix, that of the file */
typedef struct at {
  char ours[256], theirs[256];
} at;

static list component, whole;
static const char *prefix; /* of the component in the file */
static single_kind made;   /* what is being written */

static int is_sd2(void)
{
  return made == SINGLE_SD2 || made == SINGLE_INPAINT;
}

static at join(at a, const char *ours, const char *theirs)
{
  at out;

  snprintf(out.ours, sizeof(out.ours), "%.120s%.120s", a.ours, ours);
  snprintf(out.theirs, sizeof(out.theirs), "%.120s%.120s", a.theirs, theirs);
  return out;
}

/* "a.b.": a block whose parts are joined to it */
static at block(const char *ours, const char *theirs)
{
  return join((at){ "", "" }, ours, theirs);
}

static size_t bytes_of(size_t count)
{
  return count * (made == SINGLE_SDXL ? 4 : 2);
}

static void append(list *l, const char *first, const char *name, int rank, const int *dims,
                   const void *data)
{
  static const ti_file_dtype types[] = { TI_FILE_F16, TI_FILE_BF16, TI_FILE_F32, TI_FILE_BF16 };
  static const char *const names[] = { "F16", "BF16", "F32", "BF16" };
  ti_tensor *t = &l->tensors[l->count++];
  char full[320];

  assert_true(l->count <= MAX_TENSORS);
  snprintf(full, sizeof(full), "%s%s", first, name);
  *t = (ti_tensor){
    .name = strdup(full), .dtype = types[made], .dtype_name = names[made], .rank = rank, .count = 1
  };
  for (int i = 0; i < rank; i++) {
    t->dims[i] = (uint64_t)dims[i];
    t->count *= t->dims[i];
  }
  t->bytes = bytes_of(t->count);
  t->data = memcpy(malloc(t->bytes), data, t->bytes);
}

static void *values(size_t count, float spread, float base)
{
  char *data = malloc(bytes_of(count));

  assert_non_null(data);
  for (size_t i = 0; i < count; i++) {
    const float x = base + spread * test_uniform();
    const uint16_t half = made == SINGLE_SD1 ? ti_f32_to_f16(x) : ti_f32_to_bf16(x);

    memcpy(data + bytes_of(i), made == SINGLE_SDXL ? (const void *)&x : &half, bytes_of(1));
  }
  return data;
}

/* in both lists; flat: a matrix in the folder */
static void add(at a, const char *kind, int rank, int n, int c, int k, float spread, float base,
                int flat)
{
  const int dims[4] = { n, c, k, k };
  size_t count = (size_t)n;
  void *data;
  at full = join(a, kind, kind);

  for (int i = 1; i < rank; i++)
    count *= (size_t)dims[i];
  data = values(count, spread, base);
  append(&component, "", full.ours, flat ? 2 : rank, dims, data);
  append(&whole, prefix, full.theirs, rank, dims, data);
  free(data);
}

static void linear(at a, int in, int out, int bias)
{
  add(a, "weight", 2, out, in, 0, sqrtf(3.0f / (float)in), 0.0f, 0);
  if (bias)
    add(a, "bias", 1, out, 0, 0, 0.1f, 0.0f, 0);
}

static void conv(at a, int in, int out, int k, int flat)
{
  add(a, "weight", 4, out, in, k, sqrtf(3.0f / (float)(in * k * k)), 0.0f, flat);
  add(a, "bias", 1, out, 0, 0, 0.1f, 0.0f, 0);
}

static void norm(at a, int c)
{
  add(a, "weight", 1, c, 0, 0, 0.2f, 1.0f, 0);
  /* by their size SD 2 with v prediction is told, but not when it is for inpainting */
  add(a, "bias", 1, c, 0, 0, is_sd2() ? 0.3f : 0.1f, 0.0f, 0);
}

/* ------ UNet: two levels of one layer */

static void resnet(at a, int in, int out, int time)
{
  norm(join(a, "norm1.", "in_layers.0."), in);
  conv(join(a, "conv1.", "in_layers.2."), in, out, 3, 0);
  linear(join(a, "time_emb_proj.", "emb_layers.1."), time, out, 1);
  norm(join(a, "norm2.", "out_layers.0."), out);
  conv(join(a, "conv2.", "out_layers.3."), out, out, 3, 0);
  if (in != out)
    conv(join(a, "conv_shortcut.", "skip_connection."), in, out, 1, 0);
}

static void attention(at a, int c, int context)
{
  linear(join(a, "to_q.", "to_q."), c, c, 0);
  linear(join(a, "to_k.", "to_k."), context, c, 0);
  linear(join(a, "to_v.", "to_v."), context, c, 0);
  linear(join(a, "to_out.0.", "to_out.0."), c, c, 1);
}

static void projection(at a, int c)
{
  if (made == SINGLE_SD1)
    conv(a, c, c, 1, 0);
  else
    linear(a, c, c, 1);
}

static void transformer(at a, int c, int depth, int context)
{
  norm(join(a, "norm.", "norm."), c);
  projection(join(a, "proj_in.", "proj_in."), c);
  for (int i = 0; i < depth; i++) {
    char name[64];
    at b;

    snprintf(name, sizeof(name), "transformer_blocks.%d.", i);
    b = join(a, name, name);
    norm(join(b, "norm1.", "norm1."), c);
    norm(join(b, "norm2.", "norm2."), c);
    norm(join(b, "norm3.", "norm3."), c);
    attention(join(b, "attn1.", "attn1."), c, c);
    attention(join(b, "attn2.", "attn2."), c, context);
    linear(join(b, "ff.net.0.proj.", "ff.net.0.proj."), c, 8 * c, 1);
    linear(join(b, "ff.net.2.", "ff.net.2."), 4 * c, c, 1);
  }
  projection(join(a, "proj_out.", "proj_out."), c);
}

static void write_unet(void)
{
  const int xl = made == SINGLE_SDXL, c = made == SINGLE_SD1 ? 32 : 64, time = TIME * c;
  const int context = xl ? 2 * WIDTH : WIDTH;
  const int first = !xl, last = xl ? 2 : 0; /* layers of the transformers of each level */

  prefix = "model.diffusion_model.";
  linear(block("time_embedding.linear_1.", "time_embed.0."), c, time, 1);
  linear(block("time_embedding.linear_2.", "time_embed.2."), time, time, 1);
  if (xl) {
    linear(block("add_embedding.linear_1.", "label_emb.0.0."), POOLED + 6 * SIZE_DIM, time, 1);
    linear(block("add_embedding.linear_2.", "label_emb.0.2."), time, time, 1);
  }
  conv(block("conv_in.", "input_blocks.0.0."), made == SINGLE_INPAINT ? 2 * LATENT + 1 : LATENT, c,
       3, 0);
  resnet(block("down_blocks.0.resnets.0.", "input_blocks.1.0."), c, c, time);
  if (first)
    transformer(block("down_blocks.0.attentions.0.", "input_blocks.1.1."), c, first, context);
  conv(block("down_blocks.0.downsamplers.0.conv.", "input_blocks.2.0.op."), c, c, 3, 0);
  resnet(block("down_blocks.1.resnets.0.", "input_blocks.3.0."), c, 2 * c, time);
  if (last)
    transformer(block("down_blocks.1.attentions.0.", "input_blocks.3.1."), 2 * c, last, context);
  resnet(block("mid_block.resnets.0.", "middle_block.0."), 2 * c, 2 * c, time);
  transformer(block("mid_block.attentions.0.", "middle_block.1."), 2 * c, last ? last : 1, context);
  resnet(block("mid_block.resnets.1.", "middle_block.2."), 2 * c, 2 * c, time);
  resnet(block("up_blocks.0.resnets.0.", "output_blocks.0.0."), 4 * c, 2 * c, time);
  resnet(block("up_blocks.0.resnets.1.", "output_blocks.1.0."), 3 * c, 2 * c, time);
  if (last) {
    transformer(block("up_blocks.0.attentions.0.", "output_blocks.0.1."), 2 * c, last, context);
    transformer(block("up_blocks.0.attentions.1.", "output_blocks.1.1."), 2 * c, last, context);
  }
  conv(block("up_blocks.0.upsamplers.0.conv.",
             last ? "output_blocks.1.2.conv." : "output_blocks.1.1.conv."),
       2 * c, 2 * c, 3, 0);
  resnet(block("up_blocks.1.resnets.0.", "output_blocks.2.0."), 3 * c, c, time);
  resnet(block("up_blocks.1.resnets.1.", "output_blocks.3.0."), 2 * c, c, time);
  if (first) {
    transformer(block("up_blocks.1.attentions.0.", "output_blocks.2.1."), c, first, context);
    transformer(block("up_blocks.1.attentions.1.", "output_blocks.3.1."), c, first, context);
  }
  norm(block("conv_norm_out.", "out.0."), c);
  conv(block("conv_out.", "out.2."), c, LATENT, 3, 0);
}

/* ------ VAE: the same */

static void vae_resnet(at a, int in, int out)
{
  norm(join(a, "norm1.", "norm1."), in);
  conv(join(a, "conv1.", "conv1."), in, out, 3, 0);
  norm(join(a, "norm2.", "norm2."), out);
  conv(join(a, "conv2.", "conv2."), out, out, 3, 0);
  if (in != out)
    conv(join(a, "conv_shortcut.", "nin_shortcut."), in, out, 1, 0);
}

static void vae_middle(at a, int c)
{
  const at attn = join(a, "mid_block.attentions.0.", "mid.attn_1.");

  vae_resnet(join(a, "mid_block.resnets.0.", "mid.block_1."), c, c);
  norm(join(attn, "group_norm.", "norm."), c);
  conv(join(attn, "to_q.", "q."), c, c, 1, 1);
  conv(join(attn, "to_k.", "k."), c, c, 1, 1);
  conv(join(attn, "to_v.", "v."), c, c, 1, 1);
  conv(join(attn, "to_out.0.", "proj_out."), c, c, 1, 1);
  vae_resnet(join(a, "mid_block.resnets.1.", "mid.block_2."), c, c);
}

static void write_vae(void)
{
  const at down = block("encoder.", "encoder."), up = block("decoder.", "decoder.");
  const int c = 32;

  prefix = "first_stage_model.";
  conv(join(down, "conv_in.", "conv_in."), 3, c, 3, 0);
  vae_resnet(join(down, "down_blocks.0.resnets.0.", "down.0.block.0."), c, c);
  conv(join(down, "down_blocks.0.downsamplers.0.conv.", "down.0.downsample.conv."), c, c, 3, 0);
  vae_resnet(join(down, "down_blocks.1.resnets.0.", "down.1.block.0."), c, 2 * c);
  vae_middle(down, 2 * c);
  norm(join(down, "conv_norm_out.", "norm_out."), 2 * c);
  conv(join(down, "conv_out.", "conv_out."), 2 * c, 2 * LATENT, 3, 0);
  conv(block("quant_conv.", "quant_conv."), 2 * LATENT, 2 * LATENT, 1, 0);
  conv(block("post_quant_conv.", "post_quant_conv."), LATENT, LATENT, 1, 0);
  conv(join(up, "conv_in.", "conv_in."), LATENT, 2 * c, 3, 0);
  vae_middle(up, 2 * c);
  vae_resnet(join(up, "up_blocks.0.resnets.0.", "up.1.block.0."), 2 * c, 2 * c);
  vae_resnet(join(up, "up_blocks.0.resnets.1.", "up.1.block.1."), 2 * c, 2 * c);
  conv(join(up, "up_blocks.0.upsamplers.0.conv.", "up.1.upsample.conv."), 2 * c, 2 * c, 3, 0);
  vae_resnet(join(up, "up_blocks.1.resnets.0.", "up.0.block.0."), 2 * c, c);
  vae_resnet(join(up, "up_blocks.1.resnets.1.", "up.0.block.1."), c, c);
  norm(join(up, "conv_norm_out.", "norm_out."), c);
  conv(join(up, "conv_out.", "conv_out."), c, 3, 3, 0);
}

/* ------ text encoders of two layers */

/* q, k and v: one tensor in the file, above each other */
static void fused(at layer, const char *kind, const char *theirs, int rank)
{
  const int third[2] = { WIDTH, WIDTH }, all[2] = { 3 * WIDTH, WIDTH };
  const size_t count = rank == 2 ? WIDTH * WIDTH : WIDTH;
  char *data = values(3 * count, 0.2f, 0.0f);

  for (int i = 0; i < 3; i++) {
    char name[64];

    snprintf(name, sizeof(name), "self_attn.%c_proj.%s", "qkv"[i], kind);
    append(&component, "", join(layer, name, "").ours, rank, third,
           data + bytes_of((size_t)i * count));
  }
  append(&whole, prefix, join(layer, "", theirs).theirs, rank, all, data);
  free(data);
}

/* one tensor in the file, transposed in the folder */
static void write_projection(void)
{
  const int ours[2] = { POOLED, WIDTH }, theirs[2] = { WIDTH, POOLED };
  char *data = values(WIDTH * POOLED, 0.2f, 0.0f), *turned = malloc(bytes_of(WIDTH * POOLED));

  for (size_t i = 0; i < WIDTH; i++) {
    for (size_t k = 0; k < POOLED; k++)
      memcpy(turned + bytes_of(k * WIDTH + i), data + bytes_of(i * POOLED + k), bytes_of(1));
  }
  append(&component, "", "text_projection.weight", 2, ours, turned);
  append(&whole, prefix, "text_projection", 2, theirs, data);
  free(data);
  free(turned);
}

static void write_text(int open_clip)
{
  const at text = block("text_model.", "");

  prefix = is_sd2()             ? "cond_stage_model.model."
           : made == SINGLE_SD1 ? "cond_stage_model.transformer.text_model."
           : open_clip          ? "conditioner.embedders.1.model."
                                : "conditioner.embedders.0.transformer.text_model.";
  add(join(text, "embeddings.token_embedding.",
           open_clip ? "token_embedding." : "embeddings.token_embedding."),
      "weight", 2, VOCAB, WIDTH, 0, 0.5f, 0.0f, 0);
  add(join(text, "embeddings.position_embedding.weight",
           open_clip ? "positional_embedding" : "embeddings.position_embedding.weight"),
      "", 2, 77, WIDTH, 0, 0.2f, 0.0f, 0);
  for (int i = 0; i < 2; i++) {
    char ours[64], theirs[64];
    at l;

    snprintf(ours, sizeof(ours), "encoder.layers.%d.", i);
    snprintf(theirs, sizeof(theirs), open_clip ? "transformer.resblocks.%d." : "encoder.layers.%d.",
             i);
    l = join(text, ours, theirs);
    norm(join(l, "layer_norm1.", open_clip ? "ln_1." : "layer_norm1."), WIDTH);
    norm(join(l, "layer_norm2.", open_clip ? "ln_2." : "layer_norm2."), WIDTH);
    if (open_clip) {
      fused(l, "weight", "attn.in_proj_weight", 2);
      fused(l, "bias", "attn.in_proj_bias", 1);
    } else {
      linear(join(l, "self_attn.q_proj.", "self_attn.q_proj."), WIDTH, WIDTH, 1);
      linear(join(l, "self_attn.k_proj.", "self_attn.k_proj."), WIDTH, WIDTH, 1);
      linear(join(l, "self_attn.v_proj.", "self_attn.v_proj."), WIDTH, WIDTH, 1);
    }
    linear(join(l, "self_attn.out_proj.", open_clip ? "attn.out_proj." : "self_attn.out_proj."),
           WIDTH, WIDTH, 1);
    linear(join(l, "mlp.fc1.", open_clip ? "mlp.c_fc." : "mlp.fc1."), WIDTH, 96, 1);
    linear(join(l, "mlp.fc2.", open_clip ? "mlp.c_proj." : "mlp.fc2."), 96, WIDTH, 1);
  }
  norm(join(text, "final_layer_norm.", open_clip ? "ln_final." : "final_layer_norm."), WIDTH);
  if (made == SINGLE_SDXL && open_clip)
    write_projection();
}

/* what SD 2 has and does not use: a further layer, of which these names are enough, and a
 * projection */
static void write_spare(void)
{
  static const float none[WIDTH * WIDTH];
  const int dims[2] = { WIDTH, WIDTH };

  append(&whole, prefix, "transformer.resblocks.2.ln_1.weight", 1, dims, none);
  append(&whole, prefix, "transformer.resblocks.2.attn.in_proj_weight", 2, dims, none);
  append(&whole, prefix, "text_projection", 2, dims, none);
  append(&whole, prefix, "logit_scale", 0, dims, none);
}

/* ------ files */

static void put_file(const char *path, list *l)
{
  ti_error error;

  if (ti_safetensors_write(&error, path, l->tensors, l->count, NULL, 0) < 0)
    fail_msg("%s", error.text);
  for (size_t i = 0; i < l->count; i++) {
    free((void *)(uintptr_t)l->tensors[i].name);
    free((void *)(uintptr_t)l->tensors[i].data);
  }
  l->count = 0;
}

static void put_text(const char *folder, const char *name, const char *text, size_t size)
{
  char path[1200];
  FILE *f;

  snprintf(path, sizeof(path), "%s/%s", folder, name);
  f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(text, 1, size, f), size);
  assert_int_equal(fclose(f), 0);
}

static void put_component(const char *folder, const char *name, const char *config)
{
  char path[600];

  snprintf(path, sizeof(path), "%s/%s", folder, name);
  assert_int_equal(mkdir(path, 0755), 0);
  if (component.count) {
    snprintf(path, sizeof(path), "%s/%s/model.safetensors", folder, name);
    put_file(path, &component);
  }
  snprintf(path, sizeof(path), "%s/%s", name,
           strcmp(name, "scheduler") ? "config.json" : "scheduler_config.json");
  put_text(folder, path, config, strlen(config));
}

static void put_tokenizer(const char *folder, const char *name, int pad_is_zero)
{
  static char text[1 << 20];
  char path[560];
  FILE *f = fopen("models/clip-tokenizer/merges.txt", "rb");

  assert_non_null(f);
  assert_true(fread(text, 1, sizeof(text) - 1, f) > 0);
  fclose(f);
  snprintf(path, sizeof(path), "%s/%s", folder, name);
  assert_int_equal(mkdir(path, 0755), 0);
  write_vocab(path, text);
  if (pad_is_zero)
    write_file(path, "special_tokens_map.json", "{\"pad_token\": \"!\"}");
}

#define SCHEDULE                                                                                   \
  "\"beta_schedule\": \"scaled_linear\", \"beta_start\": 0.00085, \"beta_end\": 0.012, "           \
  "\"num_train_timesteps\": 1000, \"set_alpha_to_one\": false, \"skip_prk_steps\": true, "         \
  "\"steps_offset\": 1, \"clip_sample\": false"
#define VAE                                                                                        \
  "{\"block_out_channels\": [32, 64], \"layers_per_block\": 1, \"latent_channels\": 4, "           \
  "\"down_block_types\": [\"DownEncoderBlock2D\", \"DownEncoderBlock2D\"], "                       \
  "\"up_block_types\": [\"UpDecoderBlock2D\", \"UpDecoderBlock2D\"], \"scaling_factor\": "
#define TEXT                                                                                       \
  "{\"hidden_size\": 64, \"intermediate_size\": 96, \"num_hidden_layers\": 2, "                    \
  "\"num_attention_heads\": 1, \"vocab_size\": 49408, \"hidden_act\": "
#define CROSSED_FIRST                                                                              \
  "\"down_block_types\": [\"CrossAttnDownBlock2D\", \"DownBlock2D\"], "                            \
  "\"up_block_types\": [\"UpBlock2D\", \"CrossAttnUpBlock2D\"], \"layers_per_block\": 1"
#define CLASSES                                                                                    \
  "{\"unet\": [\"diffusers\", \"UNet2DConditionModel\"], \"vae\": [\"diffusers\", "                \
  "\"AutoencoderKL\"], \"text_encoder\": [\"transformers\", \"CLIPTextModel\"], \"scheduler\": "

static const struct {
  const char *index, *unet, *vae, *text, *scheduler;
} configs[] = {
  { CLASSES "[\"diffusers\", \"PNDMScheduler\"]}",
    "{\"sample_size\": 256, \"block_out_channels\": [32, 64], \"cross_attention_dim\": 64, "
    "\"attention_head_dim\": 8, " CROSSED_FIRST "}",
    VAE "0.18215}", TEXT "\"quick_gelu\"}", "{" SCHEDULE "}" },
  { CLASSES "[\"diffusers\", \"DDIMScheduler\"]}",
    "{\"sample_size\": 384, \"block_out_channels\": [64, 128], \"cross_attention_dim\": 64, "
    "\"attention_head_dim\": [1, 2], " CROSSED_FIRST "}",
    VAE "0.18215}", TEXT "\"gelu\"}", "{\"prediction_type\": \"v_prediction\", " SCHEDULE "}" },
  { CLASSES "[\"diffusers\", \"EulerDiscreteScheduler\"], \"text_encoder_2\": [\"transformers\", "
            "\"CLIPTextModelWithProjection\"]}",
    "{\"sample_size\": 512, \"block_out_channels\": [64, 128], \"cross_attention_dim\": 128, "
    "\"attention_head_dim\": [1, 2], \"transformer_layers_per_block\": [1, 2], "
    "\"layers_per_block\": 1, \"addition_embed_type\": \"text_time\", "
    "\"addition_time_embed_dim\": 8, \"projection_class_embeddings_input_dim\": 72, "
    "\"down_block_types\": [\"DownBlock2D\", \"CrossAttnDownBlock2D\"], "
    "\"up_block_types\": [\"CrossAttnUpBlock2D\", \"UpBlock2D\"]}",
    VAE "0.13025}", TEXT "\"quick_gelu\"}", "{\"timestep_spacing\": \"leading\", " SCHEDULE "}" },
  { CLASSES "[\"diffusers\", \"PNDMScheduler\"]}",
    "{\"sample_size\": 256, \"block_out_channels\": [64, 128], \"cross_attention_dim\": 64, "
    "\"in_channels\": 9, \"attention_head_dim\": [1, 2], " CROSSED_FIRST "}",
    VAE "0.18215}", TEXT "\"gelu\"}", "{" SCHEDULE "}" },
};

static char folders[4][512], files[4][528];

static void write_model(single_kind kind)
{
  const int xl = kind == SINGLE_SDXL;
  char name[32];

  if (*folders[kind])
    return;
  made = kind;
  test_seed(7);
  snprintf(name, sizeof(name), "single-%d", (int)kind);
  snprintf(folders[kind], sizeof(folders[kind]), "%s", test_path(name));
  snprintf(files[kind], sizeof(files[kind]), "%s.safetensors", folders[kind]);
  assert_int_equal(mkdir(folders[kind], 0755), 0);
  put_text(folders[kind], "model_index.json", configs[kind].index, strlen(configs[kind].index));
  put_component(folders[kind], "scheduler", configs[kind].scheduler);
  put_tokenizer(folders[kind], "tokenizer", is_sd2());
  write_unet();
  put_component(folders[kind], "unet", configs[kind].unet);
  write_vae();
  put_component(folders[kind], "vae", configs[kind].vae);
  write_text(is_sd2());
  put_component(folders[kind], "text_encoder", configs[kind].text);
  if (is_sd2())
    write_spare();
  if (xl) {
    put_tokenizer(folders[kind], "tokenizer_2", 1);
    write_text(1);
    put_component(folders[kind], "text_encoder_2", TEXT "\"gelu\", \"projection_dim\": 24}");
  }
  put_file(files[kind], &whole);
}

const char *single_model_folder(single_kind kind)
{
  write_model(kind);
  return folders[kind];
}

const char *single_model_file(single_kind kind)
{
  write_model(kind);
  return files[kind];
}

const char *single_model_changed(single_kind kind, const char *name, const single_change *change)
{
  static const float one[1] = { 1.0f };
  static char path[512];
  const ti_key_value pair = { change->key, change->value };
  ti_safetensors *file;
  ti_error error;
  list *l = calloc(1, sizeof(*l));

  assert_non_null(l);
  snprintf(path, sizeof(path), "%s", test_path(name));
  if (ti_safetensors_open(&file, &error, single_model_file(kind)) < 0)
    fail_msg("%s", error.text);
  for (size_t i = 0; i < ti_safetensors_count(file); i++) {
    const ti_tensor *t = ti_safetensors_tensor(file, i);
    const char *met = change->rename ? strstr(t->name, change->rename) : NULL;
    char full[256];

    if (change->leave_out && !strncmp(t->name, change->leave_out, strlen(change->leave_out)))
      continue;
    if (met)
      snprintf(full, sizeof(full), "%.*s%s%s", (int)(met - t->name), t->name, change->to,
               met + strlen(change->rename));
    l->tensors[l->count] = *t;
    l->tensors[l->count++].name = strdup(met ? full : t->name);
  }
  if (change->extra)
    l->tensors[l->count++] = (ti_tensor){ .name = strdup(change->extra),
                                          .dtype = TI_FILE_F32,
                                          .dtype_name = "F32",
                                          .rank = 1,
                                          .dims = { 1 },
                                          .count = 1,
                                          .data = one,
                                          .bytes = 4 };
  if (ti_safetensors_write(&error, path, l->tensors, l->count, &pair, change->key != NULL) < 0)
    fail_msg("%s", error.text);
  for (size_t i = 0; i < l->count; i++)
    free((void *)(uintptr_t)l->tensors[i].name);
  free(l);
  ti_safetensors_close(file);
  return path;
}
