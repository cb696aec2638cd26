/* Models in one file, of a few bytes each (tests/fuzz/seeds.py): names, configs, and whose bytes
 * the weights are. */
#include "io_testing.h"

#include <stdlib.h>

#include "safetensors.h"
#include "single_file.h"
#include "torch_file.h"

static unsigned char *bytes;
static size_t num_bytes;

static ti_single_file *open_seed(const char *name)
{
  ti_single_file *file;
  char path[128];

  snprintf(path, sizeof(path), "tests/fuzz/corpus/single/%s", name);
  bytes = read_file(path, &num_bytes);
  assert_succeeds(ti_single_file_parse(&file, &error, name, bytes, num_bytes));
  return file;
}

static void close_seed(ti_single_file *file)
{
  ti_single_file_close(file);
  free(bytes);
}

static void config_is(const ti_single_file *file, const char *component, const char *expected)
{
  ti_json json;
  char *text;

  if (component)
    assert_succeeds(ti_single_file_config(file, &error, component, &json));
  else
    assert_succeeds(ti_single_file_index(file, &error, &json));
  text = json_dumps(json.root, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(6));
  assert_string_equal(text, expected);
  free(text);
  ti_json_close(&json);
}

static ti_tensor_list list_of(ti_single_file *file, const char *component)
{
  ti_tensor_list list;

  assert_succeeds(ti_single_file_tensors(file, &error, component, &list));
  return list;
}

static const ti_tensor *tensor(const ti_tensor_list *list, const char *name)
{
  for (size_t i = 0; i < list->count; i++) {
    if (!strcmp(list->items[i].name, name))
      return list->items + i;
  }
  fail_msg("no tensor %s", name);
  return NULL;
}

/* the bytes of the file, but for what is said to be a copy */
static int in_file(const ti_tensor *t)
{
  const unsigned char *data = t->data;

  return data >= bytes && data + t->bytes <= bytes + num_bytes;
}

#define SCHEDULER(name, end)                                                                       \
  "{\"_class_name\":\"" name "\",\"beta_end\":0.012,\"beta_schedule\":\"scaled_linear\","          \
  "\"beta_start\":0.00085,\"clip_sample\":false,\"num_train_timesteps\":1000,"                     \
  "\"prediction_type\":" end
#define VAE(end)                                                                                   \
  "{\"block_out_channels\":[2,2],\"down_block_types\":[\"DownEncoderBlock2D\","                    \
  "\"DownEncoderBlock2D\"],\"in_channels\":3,\"latent_channels\":4,\"layers_per_block\":1,"        \
  "\"mid_block_add_attention\":true,\"out_channels\":3," end
#define VAE_END                                                                                    \
  "\"up_block_types\":[\"UpDecoderBlock2D\",\"UpDecoderBlock2D\"],\"use_post_quant_conv\":true,"   \
  "\"use_quant_conv\":true}"
#define TEXT(act)                                                                                  \
  "{\"hidden_act\":\"" act "\",\"hidden_size\":64,\"intermediate_size\":2,"                        \
  "\"max_position_embeddings\":2,\"num_attention_heads\":1,\"num_hidden_layers\":2,"
#define CROSSED_FIRST(channels)                                                                    \
  "\"block_out_channels\":[64,64],\"cross_attention_dim\":64,\"down_block_types\":["               \
  "\"CrossAttnDownBlock2D\",\"DownBlock2D\"],\"in_channels\":" channels                           \
  ",\"layers_per_block\":[1,1],"                                                                   \
  "\"out_channels\":4,\"sample_size\":256,\"transformer_layers_per_block\":[1,1],"                 \
  "\"up_block_types\":[\"UpBlock2D\",\"CrossAttnUpBlock2D\"]}"

static void configs_follow_from_shapes(void **state)
{
  ti_single_file *file = open_seed("sd1.ckpt");

  (void)state;
  config_is(file, NULL,
            "{\"scheduler\":[\"diffusers\",\"PNDMScheduler\"],\"text_encoder\":[\"transformers\","
            "\"CLIPTextModel\"],\"unet\":[\"diffusers\",\"UNet2DConditionModel\"],\"vae\":["
            "\"diffusers\",\"AutoencoderKL\"]}");
  config_is(file, "unet", "{\"attention_head_dim\":[8,8]," CROSSED_FIRST("4"));
  config_is(file, "vae", VAE("\"sample_size\":512,\"scaling_factor\":0.18215," VAE_END));
  config_is(file, "text_encoder", TEXT("quick_gelu") "\"vocab_size\":2}");
  config_is(file, "scheduler",
            SCHEDULER("PNDMScheduler", "\"epsilon\",\"set_alpha_to_one\":false,"
                                       "\"skip_prk_steps\":true,\"steps_offset\":1}"));
  assert_string_equal(ti_single_file_pad(file, 0), "<|endoftext|>");
  close_seed(file);

  file = open_seed("sd1"); /* with a mark */
  config_is(file, "scheduler",
            SCHEDULER("DDIMScheduler", "\"v_prediction\",\"set_alpha_to_one\":false,"
                                       "\"skip_prk_steps\":true,\"steps_offset\":1}"));
  close_seed(file);

  file = open_seed("sd2"); /* the norm that is asked has one value, which does not deviate */
  config_is(file, "unet", "{\"attention_head_dim\":[1,1]," CROSSED_FIRST("4"));
  config_is(file, "text_encoder", TEXT("gelu") "\"vocab_size\":2}");
  assert_string_equal(ti_single_file_pad(file, 0), "!");
  close_seed(file);

  file = open_seed("inpaint"); /* whatever the norm has, it predicts noise */
  config_is(file, "unet", "{\"attention_head_dim\":[1,1]," CROSSED_FIRST("9"));
  config_is(file, "scheduler",
            SCHEDULER("PNDMScheduler", "\"epsilon\",\"set_alpha_to_one\":false,"
                                       "\"skip_prk_steps\":true,\"steps_offset\":1}"));
  close_seed(file);

  file = open_seed("sdxl");
  config_is(file, NULL,
            "{\"scheduler\":[\"diffusers\",\"EulerDiscreteScheduler\"],\"text_encoder\":["
            "\"transformers\",\"CLIPTextModel\"],\"text_encoder_2\":[\"transformers\","
            "\"CLIPTextModelWithProjection\"],\"unet\":[\"diffusers\",\"UNet2DConditionModel\"],"
            "\"vae\":[\"diffusers\",\"AutoencoderKL\"]}");
  config_is(file, "unet",
            "{\"addition_embed_type\":\"text_time\",\"addition_time_embed_dim\":2,"
            "\"attention_head_dim\":[1,1],\"block_out_channels\":[64,64],"
            "\"cross_attention_dim\":128,\"down_block_types\":[\"DownBlock2D\","
            "\"CrossAttnDownBlock2D\"],\"in_channels\":4,\"layers_per_block\":[1,1],"
            "\"out_channels\":4,\"projection_class_embeddings_input_dim\":15,\"sample_size\":512,"
            "\"transformer_layers_per_block\":[1,2],\"up_block_types\":[\"CrossAttnUpBlock2D\","
            "\"UpBlock2D\"]}");
  config_is(file, "vae", VAE("\"sample_size\":1024,\"scaling_factor\":0.13025," VAE_END));
  config_is(file, "text_encoder", TEXT("quick_gelu") "\"vocab_size\":2}");
  config_is(file, "text_encoder_2", TEXT("gelu") "\"projection_dim\":3,\"vocab_size\":2}");
  config_is(
    file, "scheduler",
    SCHEDULER("EulerDiscreteScheduler",
              "\"v_prediction\",\"rescale_betas_zero_snr\":true,\"set_alpha_to_one\":false,"
              "\"skip_prk_steps\":true,\"steps_offset\":1,\"timestep_spacing\":\"trailing\"}"));
  assert_string_equal(ti_single_file_pad(file, 0), "<|endoftext|>");
  assert_string_equal(ti_single_file_pad(file, 1), "!");
  close_seed(file);
}

/* names in the bytes of a seed that begin so */
static size_t count_names(const char *prefix)
{
  ti_safetensors *seed;
  size_t count = 0;

  assert_succeeds(ti_safetensors_parse(&seed, &error, "seed", bytes, num_bytes));
  for (size_t i = 0; i < ti_safetensors_count(seed); i++)
    count += !strncmp(ti_safetensors_tensor(seed, i)->name, prefix, strlen(prefix));
  ti_safetensors_close(seed);
  return count;
}

/* all of UNet and autoencoder; of text encoders of two layers 4 + 2 x 16, and a projection */
static void every_weight_is_given_out(void **state)
{
  static const char *const names[] = { "sd2", "sdxl", "sd1", "sd1.ckpt" };
  static const char *const parts[] = { "unet", "vae", "text_encoder", "text_encoder_2" };
  size_t expected[4] = { 0, 0, 36, 37 };

  (void)state;
  for (int i = 0; i < 4; i++) {
    ti_single_file *file = open_seed(names[i]);

    if (i < 3) { /* the last is the third in another container */
      expected[0] = count_names("model.diffusion_model.");
      expected[1] = count_names("first_stage_model.");
      assert_true(expected[0] > 150 && expected[1] > 80);
    }
    for (int k = 0; k < (i == 1 ? 4 : 3); k++) {
      ti_tensor_list list = list_of(file, parts[k]);

      assert_int_equal(list.count, expected[k]);
      ti_tensor_list_free(&list);
    }
    close_seed(file);
  }
}

static void bytes_stay_where_they_are(void **state)
{
  ti_single_file *file = open_seed("sdxl");
  ti_tensor_list vae = list_of(file, "vae"), text = list_of(file, "text_encoder_2");
  const ti_tensor *q = tensor(&text, "text_model.encoder.layers.1.self_attn.q_proj.weight");
  const ti_tensor *k = tensor(&text, "text_model.encoder.layers.1.self_attn.k_proj.weight");
  const ti_tensor *v = tensor(&text, "text_model.encoder.layers.1.self_attn.v_proj.weight");
  const ti_tensor *bias = tensor(&text, "text_model.encoder.layers.0.self_attn.v_proj.bias");
  const ti_tensor *matrix = tensor(&vae, "encoder.mid_block.attentions.0.to_q.weight");
  const ti_tensor *turned = tensor(&text, "text_projection.weight");
  const uint16_t *values = turned->data;

  (void)state;
  for (size_t i = 0; i < vae.count; i++)
    assert_true(in_file(vae.items + i) && vae.items[i].mapped);
  for (size_t i = 0; i < text.count; i++)
    assert_int_equal(in_file(text.items + i), text.items + i != turned);
  assert_int_equal(q->rank, 2);
  assert_int_equal(q->dims[0], 2);
  assert_int_equal(q->bytes, 4);
  assert_ptr_equal(k->data, (const char *)q->data + 4);
  assert_ptr_equal(v->data, (const char *)q->data + 8);
  assert_int_equal(bias->dims[0], 1);
  assert_int_equal(matrix->rank, 2);
  assert_int_equal(matrix->dims[1], 2);
  assert_int_equal(tensor(&vae, "quant_conv.weight")->rank, 1); /* as the seed has it */
  /* [[x, x + 1, x + 2], [x + 3, ..]] as [[x, x + 3], [x + 1, ..], ..] */
  assert_int_equal(turned->dims[0], 3);
  assert_int_equal(turned->dims[1], 2);
  assert_false(turned->mapped);
  for (int i = 0; i < 3; i++) {
    assert_true(ti_f16_to_f32(values[2 * i]) == ti_f16_to_f32(values[0]) + (float)i);
    assert_true(ti_f16_to_f32(values[2 * i + 1]) == ti_f16_to_f32(values[0]) + (float)i + 3.0f);
  }
  ti_tensor_list_free(&vae);
  ti_tensor_list_free(&text);
  close_seed(file);
}

/* a seed whose tensors a test changes, in memory */
enum { MAX_TENSORS = 512 };

static ti_safetensors *source;
static ti_tensor tensors[MAX_TENSORS];
static size_t num_tensors;
static ti_memory_file memory;

static void take_seed(const char *path)
{
  bytes = read_file(path, &num_bytes);
  assert_succeeds(ti_safetensors_parse(&source, &error, "seed", bytes, num_bytes));
  num_tensors = ti_safetensors_count(source);
  assert_in_range(num_tensors, 1, MAX_TENSORS);
  for (size_t i = 0; i < num_tensors; i++)
    tensors[i] = *ti_safetensors_tensor(source, i);
  memory = (ti_memory_file){ calloc(1, 1 << 17), 1 << 17, 0 };
}

static void drop_seed(void)
{
  ti_safetensors_close(source);
  free(memory.bytes);
  free(bytes);
}

static ti_tensor *named(const char *name)
{
  for (size_t i = 0; i < num_tensors; i++) {
    if (!strcmp(tensors[i].name, name))
      return tensors + i;
  }
  fail_msg("no tensor %s", name);
  return NULL;
}

static ti_single_file *open_changed(void)
{
  ti_single_file *file;

  assert_succeeds(ti_safetensors_write_to(&memory, &error, NULL, tensors, num_tensors, NULL, 0));
  assert_succeeds(ti_single_file_parse(&file, &error, "changed", memory.bytes, memory.size));
  return file;
}

/* numbers of blocks and layers that are no numbers, too long, or beyond the network */
static void odd_numbers_have_no_place(void **state)
{
  static const char *const names[] = {
    "input_blocks.99999.0.op.weight",
    "input_blocks..0.op.weight",
    "input_blocks.1x.0.op.weight",
    "input_blocks.-1.0.op.weight",
    "input_blocks.4.0.op.weight",
    "input_blocks.2.1.op.weight",
    "input_blocks.1.2.norm.weight",
    "output_blocks.4.0.in_layers.0.weight",
    "output_blocks.3.1.conv.weight",
    "output_blocks.0.1.norm.weight",
    "output_blocks.0.2.norm.weight",
    "output_blocks.2.1.transformer_blocks.1.norm1.weight",
    "middle_block.1.transformer_blocks.7.norm1.weight",
    "middle_block.3.in_layers.0.weight",
    "out.1.weight",
  };

  ti_tensor *changed;

  (void)state;
  take_seed("tests/fuzz/corpus/single/sd1");
  changed = named("model.diffusion_model.out.0.bias");
  for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
    ti_single_file *file;
    ti_tensor_list list;
    char full[128];

    snprintf(full, sizeof(full), "model.diffusion_model.%s", names[i]);
    changed->name = full;
    file = open_changed();
    assert_fails(ti_single_file_tensors(file, &error, "unet", &list), TEXTINV_E_UNSUPPORTED, full,
                 "has no place");
    assert_null(list.items);
    ti_single_file_close(file);
  }
  drop_seed();
}

/* the same of the autoencoder */
static void odd_names_of_an_autoencoder(void **state)
{
  static const char *const names[] = {
    "encoder.conv.weight",
    "encoder.mid.block_0.norm1.weight",
    "encoder.mid.block_3.norm1.weight",
    "encoder.mid.block_1.norm3.weight",
    "encoder.mid.attn_1.qkv.weight",
    "encoder.downs.0.block.0.norm1.weight",
    "encoder.down.2.block.0.norm1.weight",
    "encoder.down.0.block.1.norm1.weight",
    "encoder.down.0.block.0.norm3.weight",
    "encoder.down.0.upsample.conv.weight",
    "encoder.down.1.downsample.conv.weight",
    "decoder.up.0.block.2.norm1.weight",
    "decoder.up.0.upsample.conv.weight",
  };
  ti_tensor *changed;

  (void)state;
  take_seed("tests/fuzz/corpus/single/sd1");
  changed = named("first_stage_model.encoder.norm_out.bias");
  for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
    ti_single_file *file;
    ti_tensor_list list;
    char full[128];

    snprintf(full, sizeof(full), "first_stage_model.%s", names[i]);
    changed->name = full;
    file = open_changed();
    assert_fails(ti_single_file_tensors(file, &error, "vae", &list), TEXTINV_E_UNSUPPORTED, full,
                 "has no place in an autoencoder");
    assert_null(list.items);
    ti_single_file_close(file);
  }
  drop_seed();
}

static const char zeros[1 << 12];

static void reshape(ti_tensor *t, int rank, const uint64_t *dims)
{
  t->dtype = TI_FILE_F16;
  t->rank = rank;
  t->bytes = 2;
  for (int i = 0; i < rank; i++)
    t->bytes *= t->dims[i] = dims[i];
  assert_true(t->bytes <= sizeof(zeros));
  t->data = zeros;
}

/* without those that begin so */
static void remove_all(const char *prefix)
{
  size_t kept = 0;

  for (size_t i = 0; i < num_tensors; i++) {
    if (strncmp(tensors[i].name, prefix, strlen(prefix)))
      tensors[kept++] = tensors[i];
  }
  assert_true(kept < num_tensors);
  num_tensors = kept;
}

/* a tensor of another shape, or a new one */
static void put_tensor(const char *name, int rank, const uint64_t *dims)
{
  ti_tensor *t = tensors;

  while (t < tensors + num_tensors && strcmp(t->name, name))
    t++;
  if (t == tensors + num_tensors)
    num_tensors++;
  assert_true(num_tensors <= MAX_TENSORS);
  t->name = name;
  reshape(t, rank, dims);
}

#define UNET "model.diffusion_model."
#define VAE_NAME "first_stage_model."
#define CLIP "cond_stage_model.transformer.text_model."
#define OPEN_CLIP "conditioner.embedders.1.model."

/* parts that are missing, too many, or do not fit each other */
static void what_is_no_model(void **state)
{
  enum { GONE = -1 };
  static const struct {
    const char *seed, *name; /* with a number from first to last */
    int first, last;
    int rank; /* GONE: all that begin so are left out */
    uint64_t dims[2];
    textinv_status status;
    const char *message;
  } cases[] = {
    { "sd1",
      UNET "input_blocks.4.0.in_layers.2.weight",
      0,
      0,
      1,
      { 32 },
      TEXTINV_E_UNSUPPORTED,
      "block 4 of the UNet has channels 32, expected 64" },
    { "sd1",
      UNET "input_blocks.3.1.transformer_blocks.%d.norm1.weight",
      0,
      1,
      1,
      { 1 },
      TEXTINV_E_UNSUPPORTED,
      "the middle of the UNet has 1 transformer layers, expected 2" },
    { "sd1",
      UNET "input_blocks.%d.0.op.weight",
      4,
      10,
      1,
      { 1 },
      TEXTINV_E_LIMIT,
      "the UNet has over 8 levels" },
    { "sd1",
      UNET "input_blocks.%d.0.in_layers.2.weight",
      4,
      36,
      1,
      { 64 },
      TEXTINV_E_LIMIT,
      "a level of the UNet has over 32 layers" },
    { "sd1",
      UNET "input_blocks.%d.",
      1,
      3,
      GONE,
      { 0 },
      TEXTINV_E_FORMAT,
      "the UNet has no blocks" },
    { "sd1",
      UNET "input_blocks.1.0.in_layers.2.weight",
      0,
      0,
      GONE,
      { 0 },
      TEXTINV_E_FORMAT,
      UNET "input_blocks.1.0.in_layers.2.weight is missing" },
    { "sd1",
      UNET "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
      0,
      0,
      1,
      { 64 },
      TEXTINV_E_FORMAT,
      "no attention to the prompt" },
    { "sd1",
      UNET "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
      0,
      0,
      2,
      { 1, 128 },
      TEXTINV_E_SHAPE,
      "prompts of 128 values a token, the text encoders give 64" },
    { "sd1",
      UNET "out.2.weight",
      0,
      0,
      1,
      { 5 },
      TEXTINV_E_UNSUPPORTED,
      "takes 4 channels and gives 5, the latents of the autoencoder have 4" },
    { "sd1",
      UNET "input_blocks.0.0.weight",
      0,
      0,
      2,
      { 2, 6 },
      TEXTINV_E_UNSUPPORTED,
      "takes 6 channels and gives 4" },
    { "sd1",
      VAE_NAME "encoder.down.%d.block.0.conv1.weight",
      2,
      8,
      1,
      { 2 },
      TEXTINV_E_LIMIT,
      "the autoencoder has over 8 levels" },
    { "sd1", VAE_NAME "encoder.down.", 0, 0, GONE, { 0 }, TEXTINV_E_FORMAT, "has no encoder" },
    { "sd1",
      VAE_NAME "decoder.conv_in.weight",
      0,
      0,
      GONE,
      { 0 },
      TEXTINV_E_FORMAT,
      "has no decoder" },
    { "sd1",
      CLIP "embeddings.token_embedding.weight",
      0,
      0,
      GONE,
      { 0 },
      TEXTINV_E_FORMAT,
      "has no table of tokens" },
    { "sd1",
      CLIP "embeddings.position_embedding.weight",
      0,
      0,
      GONE,
      { 0 },
      TEXTINV_E_FORMAT,
      "has no positions" },
    { "sd1",
      CLIP "encoder.layers.0.mlp.fc1.weight",
      0,
      0,
      GONE,
      { 0 },
      TEXTINV_E_FORMAT,
      "has no layers" },
    { "sd1",
      CLIP "encoder.layers.0.layer_norm1.weight",
      0,
      0,
      GONE,
      { 0 },
      TEXTINV_E_SHAPE,
      "has too few layers" },
    { "sd1",
      CLIP "embeddings.token_embedding.weight",
      0,
      0,
      2,
      { 2, 65 },
      TEXTINV_E_UNSUPPORTED,
      "is 65 wide, expected a multiple of 64" },
    { "sd2",
      UNET "input_blocks.1.0.in_layers.2.weight",
      0,
      0,
      1,
      { 32 },
      TEXTINV_E_UNSUPPORTED,
      "level 0 of the UNet has attention over 32 channels" },
    { "sd2",
      UNET "input_blocks.3.0.in_layers.2.weight",
      0,
      0,
      1,
      { 32 },
      TEXTINV_E_UNSUPPORTED,
      "level 1 of the UNet has attention over 32 channels" }, /* in the middle */
    { "sdxl",
      UNET "input_blocks.4.0.in_layers.2.weight",
      0,
      0,
      1,
      { 64 },
      TEXTINV_E_UNSUPPORTED,
      "block 4 of the UNet has transformer layers 0, expected 2" },
    { "sdxl",
      UNET "label_emb.0.0.weight",
      0,
      0,
      2,
      { 1, 16 },
      TEXTINV_E_SHAPE,
      "takes 16 values beside the prompt, the pooled text has 3" },
    { "sdxl", UNET "label_emb.0.0.weight", 0, 0, 2, { 1, 3 }, TEXTINV_E_SHAPE, "takes 3 values" },
    { "sdxl",
      OPEN_CLIP "text_projection",
      0,
      0,
      GONE,
      { 0 },
      TEXTINV_E_SHAPE,
      "the pooled text has 0" },
    { "sd1", "edm_mean", 0, 0, 1, { 1 }, TEXTINV_E_UNSUPPORTED, "a model of an EDM schedule" },
    { "sd1",
      "edm_vpred.sigma_max",
      0,
      0,
      1,
      { 1 },
      TEXTINV_E_UNSUPPORTED,
      "a model of an EDM schedule" },
  };
  static char names[40][96];

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    ti_single_file *file;
    char seed[64];

    snprintf(seed, sizeof(seed), "tests/fuzz/corpus/single/%s", cases[i].seed);
    take_seed(seed);
    for (int k = cases[i].first; k <= cases[i].last; k++) {
      snprintf(names[k], sizeof(names[k]), cases[i].name, k);
      if (cases[i].rank == GONE)
        remove_all(names[k]);
      else
        put_tensor(names[k], cases[i].rank, cases[i].dims);
    }
    assert_succeeds(ti_safetensors_write_to(&memory, &error, NULL, tensors, num_tensors, NULL, 0));
    assert_fails(ti_single_file_parse(&file, &error, "changed", memory.bytes, memory.size),
                 cases[i].status, "changed", cases[i].message);
    assert_null(file);
    drop_seed();
  }
}

/* weights of shapes that are not given out */
static void what_is_no_weight(void **state)
{
  static const uint64_t dims[] = { 2, 3, 1 }, kernel[] = { 2, 2, 3, 3 };
  ti_single_file *file;
  ti_tensor_list list;

  (void)state;
  take_seed("tests/fuzz/corpus/single/sdxl");
  put_tensor(VAE_NAME "encoder.mid.attn_1.q.weight", 4, kernel);
  put_tensor(OPEN_CLIP "text_projection", 3, dims);
  file = open_changed();
  assert_fails(ti_single_file_tensors(file, &error, "vae", &list), TEXTINV_E_SHAPE,
               "attn_1.q.weight\" is [2, 2, 3, 3], expected a matrix or a convolution of 1 x 1");
  assert_fails(ti_single_file_tensors(file, &error, "text_encoder_2", &list), TEXTINV_E_SHAPE,
               "text_projection\" is [2, 3, 1], expected a matrix");
  ti_single_file_close(file);
  put_tensor(OPEN_CLIP "text_projection", 2, dims);
  named(OPEN_CLIP "text_projection")->dtype = TI_FILE_I16; /* refused by who uses it */
  file = open_changed();
  list = list_of(file, "text_encoder_2");
  assert_int_equal(tensor(&list, "text_projection.weight")->dims[0], 2);
  ti_tensor_list_free(&list);
  ti_single_file_close(file);
  for (int rank = 0; rank < 2; rank++) {
    put_tensor(OPEN_CLIP "transformer.resblocks.0.attn.in_proj_bias", rank, dims);
    file = open_changed();
    assert_fails(ti_single_file_tensors(file, &error, "text_encoder_2", &list), TEXTINV_E_SHAPE,
                 rank ? "is [2], expected rows of q, k and v" : "is [], expected rows");
    ti_single_file_close(file);
  }
  drop_seed();
}

/* what the bias of a norm says of SD 2, in every type that weights have */
static void sd2_is_told_by_a_norm(void **state)
{
  static const float wide[2] = { 0.25f, -0.25f }, narrow[2] = { 0.05f, -0.05f };
  static const uint16_t wide_half[2] = { 0x3400, 0xb400 }, wide_brain[2] = { 0x3e80, 0xbe80 };
  /* no type of weights; wide, if it were taken for one */
  static const uint16_t other[8] = { 0x3e80, 0xbe80, 0xbe80, 0x3e80 };
  static const struct {
    ti_file_dtype dtype;
    uint64_t count;
    const void *data;
    int v;
  } cases[] = { { TI_FILE_F32, 2, wide, 1 },      { TI_FILE_F32, 2, narrow, 0 },
                { TI_FILE_F16, 2, wide_half, 1 }, { TI_FILE_BF16, 2, wide_brain, 1 },
                { TI_FILE_F64, 2, other, 0 },     { TI_FILE_F32, 0, wide, 0 } };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    ti_single_file *file;
    ti_tensor *bias;
    ti_json json;

    take_seed("tests/fuzz/corpus/single/sd2");
    bias = named(UNET "output_blocks.3.1.transformer_blocks.0.norm1.bias");
    bias->dtype = cases[i].dtype;
    bias->dims[0] = cases[i].count;
    bias->bytes = (size_t)cases[i].count * ti_file_dtype_size(cases[i].dtype);
    bias->data = cases[i].data;
    file = open_changed();
    assert_succeeds(ti_single_file_config(file, &error, "scheduler", &json));
    assert_string_equal(json_string_value(json_object_get(json.root, "prediction_type")),
                        cases[i].v ? "v_prediction" : "epsilon");
    ti_json_close(&json);
    ti_single_file_close(file);
    drop_seed();
  }
}

/* a configuration beside the file that cannot be read is not passed over */
static void a_configuration_that_cannot_be_read(void **state)
{
  ti_single_file *file;

  (void)state;
  take_seed("tests/fuzz/corpus/single/sd1");
  write_file(test_path("a.safetensors"), bytes, num_bytes);
  assert_succeeds(ti_single_file_open(&file, &error, test_path("a.safetensors")));
  ti_single_file_close(file);
  assert_int_equal(mkdir(test_path("a.yaml"), 0777), 0);
  assert_fails(ti_single_file_open(&file, &error, test_path("a.safetensors")), TEXTINV_E_IO,
               "a.yaml", "folder");
  assert_null(file);
  /* a point in the name of a folder begins no ending */
  assert_int_equal(mkdir(test_path("v1.5"), 0777), 0);
  write_file(test_path("v1.5/model"), bytes, num_bytes);
  assert_int_equal(mkdir(test_path("v1.5/model.yaml"), 0777), 0);
  assert_fails(ti_single_file_open(&file, &error, test_path("v1.5/model")), TEXTINV_E_IO,
               "v1.5/model.yaml", "folder");
  assert_null(file);
  drop_seed();
}

/* of SD 2's text encoder: all but the last of 24 layers, all of 23, else what the projection says
 */
static void layers_that_sd2_takes(void **state)
{
  static const struct {
    int layers, projection, taken;
  } cases[] = {
    { 24, 1, 23 }, { 24, 0, 23 }, { 23, 1, 23 }, { 23, 0, 23 }, { 3, 1, 2 }, { 3, 0, 3 }
  };
  static char full[24][96];

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    ti_single_file *file;
    ti_json json;

    take_seed("tests/fuzz/corpus/single/sd2");
    if (!cases[i].projection)
      named("cond_stage_model.model.text_projection")->name = "none";
    for (int k = 3; k < cases[i].layers; k++) { /* by this name they are counted */
      snprintf(full[k], sizeof(full[k]),
               "cond_stage_model.model.transformer.resblocks.%d.ln_1.weight", k);
      tensors[num_tensors] = *named("cond_stage_model.model.ln_final.bias");
      tensors[num_tensors++].name = full[k];
    }
    file = open_changed();
    assert_succeeds(ti_single_file_config(file, &error, "text_encoder", &json));
    assert_int_equal(json_integer_value(json_object_get(json.root, "num_hidden_layers")),
                     cases[i].taken);
    assert_null(json_object_get(json.root, "projection_dim"));
    ti_json_close(&json);
    ti_single_file_close(file);
    drop_seed();
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(configs_follow_from_shapes),
    cmocka_unit_test(every_weight_is_given_out),
    cmocka_unit_test(bytes_stay_where_they_are),
    cmocka_unit_test(odd_numbers_have_no_place),
    cmocka_unit_test(odd_names_of_an_autoencoder),
    cmocka_unit_test(what_is_no_model),
    cmocka_unit_test(what_is_no_weight),
    cmocka_unit_test(sd2_is_told_by_a_norm),
    cmocka_unit_test(layers_that_sd2_takes),
    cmocka_unit_test(a_configuration_that_cannot_be_read),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
