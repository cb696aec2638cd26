/* A pipeline of a few thousand random weights. */
#include "tiny_model.h"

#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image.h"
#include "safetensors.h"

enum { MAX_TENSORS = 400, GROUPS = 4, LATENT = 4, C0 = 8, C1 = 16, HEADS = 2 };

typedef struct writer {
  ti_tensor tensors[MAX_TENSORS];
  size_t count;
} writer;

static void add(writer *w, const char *name, int rank, int a, int b, int c, int d, float spread,
                float base)
{
  const int dims[4] = { a, b, c, d };
  ti_tensor *t = &w->tensors[w->count++];
  float *data;

  assert_true(w->count <= MAX_TENSORS);
  memset(t, 0, sizeof(*t));
  t->rank = rank;
  t->count = 1;
  for (int i = 0; i < rank; i++) {
    t->dims[i] = (uint64_t)dims[i];
    t->count *= t->dims[i];
  }
  data = malloc(t->count * sizeof(*data));
  assert_non_null(data);
  for (uint64_t i = 0; i < t->count; i++)
    data[i] = base + spread * test_uniform();
  t->name = strdup(name);
  t->dtype = TI_FILE_F32;
  t->dtype_name = "F32";
  t->data = data;
  t->bytes = t->count * sizeof(*data);
}

static char *name(const char *prefix, const char *suffix)
{
  static char buffer[256];

  snprintf(buffer, sizeof(buffer), "%s.%s", prefix, suffix);
  return buffer;
}

static void linear(writer *w, const char *prefix, int in, int out, int bias)
{
  add(w, name(prefix, "weight"), 2, out, in, 0, 0, sqrtf(3.0f / (float)in), 0.0f);
  if (bias)
    add(w, name(prefix, "bias"), 1, out, 0, 0, 0, 0.1f, 0.0f);
}

static void conv(writer *w, const char *prefix, int in, int out, int k)
{
  add(w, name(prefix, "weight"), 4, out, in, k, k, sqrtf(3.0f / (float)(in * k * k)), 0.0f);
  add(w, name(prefix, "bias"), 1, out, 0, 0, 0, 0.1f, 0.0f);
}

static void norm(writer *w, const char *prefix, int c)
{
  add(w, name(prefix, "weight"), 1, c, 0, 0, 0, 0.2f, 1.0f);
  add(w, name(prefix, "bias"), 1, c, 0, 0, 0, 0.1f, 0.0f);
}

static void save(writer *w, const char *folder, const char *component, const char *file)
{
  char path[512];
  ti_error error;

  snprintf(path, sizeof(path), "%s/%s/%s", folder, component, file);
  if (ti_safetensors_write(&error, path, w->tensors, w->count, NULL, 0) < 0)
    fail_msg("%s", error.text);
  for (size_t i = 0; i < w->count; i++) {
    free((void *)(uintptr_t)w->tensors[i].name);
    free((void *)(uintptr_t)w->tensors[i].data);
  }
  w->count = 0;
}

static void write_text(const char *folder, const char *file, const char *text)
{
  char path[512];
  FILE *f;

  snprintf(path, sizeof(path), "%s/%s", folder, file);
  f = fopen(path, "w");
  assert_non_null(f);
  assert_true(fputs(text, f) >= 0);
  assert_int_equal(fclose(f), 0);
}

static void resnet(writer *w, const char *prefix, int in, int out, int time)
{
  char part[128];

  snprintf(part, sizeof(part), "%s.norm1", prefix);
  norm(w, part, in);
  snprintf(part, sizeof(part), "%s.conv1", prefix);
  conv(w, part, in, out, 3);
  if (time) {
    snprintf(part, sizeof(part), "%s.time_emb_proj", prefix);
    linear(w, part, time, out, 1);
  }
  snprintf(part, sizeof(part), "%s.norm2", prefix);
  norm(w, part, out);
  snprintf(part, sizeof(part), "%s.conv2", prefix);
  conv(w, part, out, out, 3);
  if (in != out) {
    snprintf(part, sizeof(part), "%s.conv_shortcut", prefix);
    conv(w, part, in, out, 1);
  }
}

static void attention(writer *w, const char *prefix, int c, int context)
{
  static const char *const parts[] = { "to_q", "to_k", "to_v" };
  char part[128];

  for (int i = 0; i < 3; i++) {
    snprintf(part, sizeof(part), "%s.%s", prefix, parts[i]);
    linear(w, part, i ? context : c, c, 0);
  }
  snprintf(part, sizeof(part), "%s.to_out.0", prefix);
  linear(w, part, c, c, 1);
}

static void transformer(writer *w, const char *prefix, int c)
{
  char part[128];

  snprintf(part, sizeof(part), "%s.norm", prefix);
  norm(w, part, c);
  snprintf(part, sizeof(part), "%s.proj_in", prefix);
  conv(w, part, c, c, 1);
  for (int i = 1; i <= 3; i++) {
    snprintf(part, sizeof(part), "%s.transformer_blocks.0.norm%d", prefix, i);
    norm(w, part, c);
  }
  snprintf(part, sizeof(part), "%s.transformer_blocks.0.attn1", prefix);
  attention(w, part, c, c);
  snprintf(part, sizeof(part), "%s.transformer_blocks.0.attn2", prefix);
  attention(w, part, c, TINY_WIDTH);
  snprintf(part, sizeof(part), "%s.transformer_blocks.0.ff.net.0.proj", prefix);
  linear(w, part, c, 8 * c, 1);
  snprintf(part, sizeof(part), "%s.transformer_blocks.0.ff.net.2", prefix);
  linear(w, part, 4 * c, c, 1);
  snprintf(part, sizeof(part), "%s.proj_out", prefix);
  conv(w, part, c, c, 1);
}

static void write_unet(const char *folder, int in_channels)
{
  static writer w;

  linear(&w, "time_embedding.linear_1", C0, 4 * C0, 1);
  linear(&w, "time_embedding.linear_2", 4 * C0, 4 * C0, 1);
  conv(&w, "conv_in", in_channels, C0, 3);
  resnet(&w, "down_blocks.0.resnets.0", C0, C0, 4 * C0);
  conv(&w, "down_blocks.0.downsamplers.0.conv", C0, C0, 3);
  resnet(&w, "down_blocks.1.resnets.0", C0, C1, 4 * C0);
  transformer(&w, "down_blocks.1.attentions.0", C1);
  resnet(&w, "mid_block.resnets.0", C1, C1, 4 * C0);
  transformer(&w, "mid_block.attentions.0", C1);
  resnet(&w, "mid_block.resnets.1", C1, C1, 4 * C0);
  resnet(&w, "up_blocks.0.resnets.0", C1 + C1, C1, 4 * C0);
  transformer(&w, "up_blocks.0.attentions.0", C1);
  resnet(&w, "up_blocks.0.resnets.1", C1 + C0, C1, 4 * C0);
  transformer(&w, "up_blocks.0.attentions.1", C1);
  conv(&w, "up_blocks.0.upsamplers.0.conv", C1, C1, 3);
  resnet(&w, "up_blocks.1.resnets.0", C1 + C0, C0, 4 * C0);
  resnet(&w, "up_blocks.1.resnets.1", C0 + C0, C0, 4 * C0);
  norm(&w, "conv_norm_out", C0);
  conv(&w, "conv_out", C0, LATENT, 3);
  save(&w, folder, "unet", "diffusion_pytorch_model.safetensors");
  write_text(folder, "unet/config.json",
             "{\"_class_name\": \"UNet2DConditionModel\", \"sample_size\": 8, \"in_channels\": 4, "
             "\"out_channels\": 4, \"block_out_channels\": [8, 16], \"layers_per_block\": 1, "
             "\"norm_num_groups\": 4, \"cross_attention_dim\": 16, \"attention_head_dim\": 2, "
             "\"down_block_types\": [\"DownBlock2D\", \"CrossAttnDownBlock2D\"], "
             "\"up_block_types\": [\"CrossAttnUpBlock2D\", \"UpBlock2D\"]}\n");
}

static void vae_middle(writer *w, const char *side)
{
  static const char *const parts[] = { "to_q", "to_k", "to_v", "to_out.0" };
  char part[128];

  snprintf(part, sizeof(part), "%s.mid_block.resnets.0", side);
  resnet(w, part, C1, C1, 0);
  snprintf(part, sizeof(part), "%s.mid_block.attentions.0.group_norm", side);
  norm(w, part, C1);
  for (int i = 0; i < 4; i++) {
    snprintf(part, sizeof(part), "%s.mid_block.attentions.0.%s", side, parts[i]);
    linear(w, part, C1, C1, 1);
  }
  snprintf(part, sizeof(part), "%s.mid_block.resnets.1", side);
  resnet(w, part, C1, C1, 0);
  snprintf(part, sizeof(part), "%s.conv_norm_out", side);
  norm(w, part, !strcmp(side, "encoder") ? C1 : C0);
}

static void write_vae(const char *folder)
{
  static writer w;

  conv(&w, "encoder.conv_in", 3, C0, 3);
  resnet(&w, "encoder.down_blocks.0.resnets.0", C0, C0, 0);
  conv(&w, "encoder.down_blocks.0.downsamplers.0.conv", C0, C0, 3);
  resnet(&w, "encoder.down_blocks.1.resnets.0", C0, C1, 0);
  vae_middle(&w, "encoder");
  conv(&w, "encoder.conv_out", C1, 2 * LATENT, 3);
  conv(&w, "quant_conv", 2 * LATENT, 2 * LATENT, 1);
  conv(&w, "post_quant_conv", LATENT, LATENT, 1);
  conv(&w, "decoder.conv_in", LATENT, C1, 3);
  vae_middle(&w, "decoder");
  for (int i = 0; i < 2; i++) {
    char part[64];

    for (int k = 0; k < 2; k++) {
      snprintf(part, sizeof(part), "decoder.up_blocks.%d.resnets.%d", i, k);
      resnet(&w, part, i == 0 || k == 0 ? C1 : C0, i ? C0 : C1, 0);
    }
  }
  conv(&w, "decoder.up_blocks.0.upsamplers.0.conv", C1, C1, 3);
  conv(&w, "decoder.conv_out", C0, 3, 3);
  save(&w, folder, "vae", "diffusion_pytorch_model.safetensors");
  write_text(
    folder, "vae/config.json",
    "{\"_class_name\": \"AutoencoderKL\", \"block_out_channels\": [8, 16], \"layers_per_block\": 1, "
    "\"latent_channels\": 4, \"norm_num_groups\": 4, \"sample_size\": 16, \"scaling_factor\": 0.5, "
    "\"down_block_types\": [\"DownEncoderBlock2D\", \"DownEncoderBlock2D\"], "
    "\"up_block_types\": [\"UpDecoderBlock2D\", \"UpDecoderBlock2D\"]}\n");
}

/* bytes as CLIP's tokenizer writes them: printable ones stand for themselves */
static void byte_token(char *out, int byte)
{
  int code = byte, extra = 256;

  for (int b = 0; b < 256; b++) {
    const int printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;

    if (b == byte && !printable)
      code = extra;
    extra += !printable;
  }
  if (code < 0x80) {
    *out++ = (char)code;
  } else {
    *out++ = (char)(0xc0 | code >> 6);
    *out++ = (char)(0x80 | (code & 0x3f));
  }
  *out = '\0';
}

enum { MERGES = 7, VOCAB = 512 + MERGES + 2 };

static void write_tokenizer(const char *folder)
{
  static const char *const merges[MERGES][3] = {
    { "o", "f</w>", "of</w>" },
    { "p", "h", "ph" },
    { "o", "t", "ot" },
    { "ot", "o</w>", "oto</w>" },
    { "ph", "oto</w>", "photo</w>" },
    { "o", "y</w>", "oy</w>" },
    { "t", "oy</w>", "toy</w>" },
  };
  char path[512], token[8];
  FILE *f;
  int id = 0;

  snprintf(path, sizeof(path), "%s/tokenizer/vocab.json", folder);
  f = fopen(path, "w");
  assert_non_null(f);
  fprintf(f, "{");
  for (int end = 0; end < 2; end++) {
    for (int b = 0; b < 256; b++) {
      byte_token(token, b);
      fprintf(f, "\"%s%s%s\": %d, ", *token == '"' || *token == '\\' ? "\\" : "", token,
              end ? "</w>" : "", id++);
    }
  }
  for (int i = 0; i < MERGES; i++)
    fprintf(f, "\"%s\": %d, ", merges[i][2], id++);
  fprintf(f, "\"<|startoftext|>\": %d, \"<|endoftext|>\": %d}\n", id, id + 1);
  fclose(f);
  assert_int_equal(id + 2, VOCAB);

  snprintf(path, sizeof(path), "%s/tokenizer/merges.txt", folder);
  f = fopen(path, "w");
  assert_non_null(f);
  fprintf(f, "#version: 0.2\n");
  for (int i = 0; i < MERGES; i++)
    fprintf(f, "%s %s\n", merges[i][0], merges[i][1]);
  fclose(f);
  write_text(
    folder, "tokenizer/tokenizer_config.json",
    "{\"model_max_length\": 32, \"pad_token\": \"<|endoftext|>\", \"bos_token\": \"<|startoftext|>\", "
    "\"eos_token\": \"<|endoftext|>\", \"unk_token\": \"<|endoftext|>\"}\n");
}

static void write_text_encoder(const char *folder)
{
  static const char *const parts[] = { "q_proj", "k_proj", "v_proj", "out_proj" };
  static writer w;
  char part[128];

  add(&w, "text_model.embeddings.token_embedding.weight", 2, VOCAB, TINY_WIDTH, 0, 0, 0.5f, 0.0f);
  add(&w, "text_model.embeddings.position_embedding.weight", 2, TINY_TOKENS, TINY_WIDTH, 0, 0, 0.2f,
      0.0f);
  for (int i = 0; i < 2; i++) {
    for (int k = 0; k < 4; k++) {
      snprintf(part, sizeof(part), "text_model.encoder.layers.%d.self_attn.%s", i, parts[k]);
      linear(&w, part, TINY_WIDTH, TINY_WIDTH, 1);
    }
    snprintf(part, sizeof(part), "text_model.encoder.layers.%d.layer_norm1", i);
    norm(&w, part, TINY_WIDTH);
    snprintf(part, sizeof(part), "text_model.encoder.layers.%d.layer_norm2", i);
    norm(&w, part, TINY_WIDTH);
    snprintf(part, sizeof(part), "text_model.encoder.layers.%d.mlp.fc1", i);
    linear(&w, part, TINY_WIDTH, 32, 1);
    snprintf(part, sizeof(part), "text_model.encoder.layers.%d.mlp.fc2", i);
    linear(&w, part, 32, TINY_WIDTH, 1);
  }
  norm(&w, "text_model.final_layer_norm", TINY_WIDTH);
  save(&w, folder, "text_encoder", "model.safetensors");
  write_text(folder, "text_encoder/config.json",
             "{\"architectures\": [\"CLIPTextModel\"], \"vocab_size\": 521, \"hidden_size\": 16, "
             "\"intermediate_size\": 32, \"num_hidden_layers\": 2, \"num_attention_heads\": 2, "
             "\"max_position_embeddings\": 32, \"hidden_act\": \"quick_gelu\"}\n");
}

static void make_folders(const char *folder)
{
  static const char *const parts[] = {
    "", "unet", "vae", "text_encoder", "tokenizer", "scheduler"
  };
  char path[512];

  for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
    snprintf(path, sizeof(path), "%s/%s", folder, parts[i]);
    assert_int_equal(mkdir(path, 0755), 0);
  }
}

static void write_model(const char *folder, int in_channels)
{
  make_folders(folder);
  test_seed(77);
  write_unet(folder, in_channels);
  write_vae(folder);
  write_text_encoder(folder);
  write_tokenizer(folder);
  write_text(
    folder, "scheduler/scheduler_config.json",
    "{\"_class_name\": \"DDIMScheduler\", \"num_train_timesteps\": 1000, \"beta_start\": 0.00085, "
    "\"beta_end\": 0.012, \"beta_schedule\": \"scaled_linear\", \"clip_sample\": false, "
    "\"set_alpha_to_one\": false, \"steps_offset\": 1, \"prediction_type\": \"epsilon\"}\n");
  write_text(
    folder, "model_index.json",
    "{\"_class_name\": \"StableDiffusionPipeline\", \"text_encoder\": [\"transformers\", "
    "\"CLIPTextModel\"], \"tokenizer\": [\"transformers\", \"CLIPTokenizer\"], \"unet\": "
    "[\"diffusers\", \"UNet2DConditionModel\"], \"vae\": [\"diffusers\", \"AutoencoderKL\"], "
    "\"scheduler\": [\"diffusers\", \"DDIMScheduler\"], \"safety_checker\": [null, null]}\n");
}

const char *tiny_model(void)
{
  static char folder[512];

  if (!*folder) {
    snprintf(folder, sizeof(folder), "%s", test_path("tiny-sd"));
    write_model(folder, LATENT);
  }
  return folder;
}

const char *tiny_inpainting_model(void)
{
  static char folder[512];

  if (!*folder) {
    snprintf(folder, sizeof(folder), "%s", test_path("tiny-inpainting"));
    write_model(folder, 2 * LATENT + 1);
    tiny_model_edit(folder, "unet/config.json", "\"in_channels\": 4", "\"in_channels\": 9");
  }
  return folder;
}

const char *tiny_model_copy(const char *copy)
{
  static char folder[512];

  snprintf(folder, sizeof(folder), "%s", test_path(copy));
  write_model(folder, LATENT);
  return folder;
}

void tiny_model_edit(const char *folder, const char *file, const char *old, const char *new_text)
{
  static char text[1 << 19];
  char path[512], *at;
  size_t size, rest;
  FILE *f;

  snprintf(path, sizeof(path), "%s/%s", folder, file);
  f = fopen(path, "r");
  assert_non_null(f);
  size = fread(text, 1, sizeof(text), f);
  fclose(f);
  assert_true(size < sizeof(text));
  at = memmem(text, size, old, strlen(old));
  assert_non_null(at);
  rest = size - (size_t)(at - text) - strlen(old);
  f = fopen(path, "w");
  assert_non_null(f);
  assert_int_equal(fwrite(text, 1, (size_t)(at - text), f), at - text);
  assert_true(fputs(new_text, f) >= 0);
  assert_int_equal(fwrite(at + strlen(old), 1, rest, f), rest);
  assert_int_equal(fclose(f), 0);
}

const char *tiny_pictures(const char *folder_name, int count, int width, int height)
{
  static char folder[512];
  uint8_t *pixels = malloc((size_t)width * (size_t)height * 3);
  char path[600];
  ti_error error;

  assert_non_null(pixels);
  snprintf(folder, sizeof(folder), "%s", test_path(folder_name));
  assert_int_equal(mkdir(folder, 0755), 0);
  test_seed(4);
  for (int i = 0; i < count; i++) {
    for (int p = 0; p < width * height * 3; p++)
      pixels[p] = (uint8_t)((p / 3 % width * 255 / width + i * 40 + test_below(32)) & 255);
    snprintf(path, sizeof(path), "%s/%d.png", folder, i);
    if (ti_image_write_png(&error, path, width, height, pixels, NULL) < 0)
      fail_msg("%s", error.text);
  }
  free(pixels);
  return folder;
}

const char *tiny_sdxl_copy(const char *name)
{
  static const char *const links[] = { "text_encoder", "text_encoder_2", "tokenizer",
                                       "tokenizer_2",  "unet",           "vae" };
  static const char *const copies[] = { "model_index.json", "scheduler/scheduler_config.json" };
  static char folder[512];
  char path[700], target[4096 + 64], text[4096], *golden = realpath("tests/golden/tiny-sdxl", NULL);
  FILE *f;

  assert_non_null(golden);
  snprintf(folder, sizeof(folder), "%s", test_path(name));
  assert_int_equal(mkdir(folder, 0755), 0);
  snprintf(path, sizeof(path), "%s/scheduler", folder);
  assert_int_equal(mkdir(path, 0755), 0);
  for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++) {
    snprintf(path, sizeof(path), "%s/%s", folder, links[i]);
    snprintf(target, sizeof(target), "%s/%s", golden, links[i]);
    assert_int_equal(symlink(target, path), 0);
  }
  for (size_t i = 0; i < sizeof(copies) / sizeof(*copies); i++) {
    snprintf(target, sizeof(target), "%s/%s", golden, copies[i]);
    f = fopen(target, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    snprintf(path, sizeof(path), "%s/%s", folder, copies[i]);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "%s", text);
    fclose(f);
  }
  free(golden);
  return folder;
}
