/* Models: what they say of themselves, and what is refused with file, key, value and expectation.
 */
#include "testing_api.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api.h"
#include "tiny_model.h"

/* of a copy in which this file differs, NULL = none: a resumed run compares it */
static void fingerprint_of(char out[17], int number, const char *file)
{
  char name[32], path[700];
  textinv_model_info info;

  snprintf(name, sizeof(name), "print-%d", number);
  const char *folder = tiny_model_copy(name);

  if (file && strstr(file, ".json")) {
    tiny_model_edit(folder, file, "\"beta_end\": 0.012", "\"beta_end\": 0.013");
  } else if (file) { /* the lowest bit of the first value */
    uint64_t header;
    int first;

    snprintf(path, sizeof(path), "%s/%s", folder, file);
    FILE *f = fopen(path, "r+b");

    assert_non_null(f);
    assert_int_equal(fread(&header, sizeof(header), 1, f), 1);
    assert_int_equal(fseek(f, (long)(8 + header), SEEK_SET), 0);
    first = fgetc(f);
    assert_int_equal(fseek(f, (long)(8 + header), SEEK_SET), 0);
    fputc(first ^ 1, f);
    fclose(f);
  }
  textinv_model *model = open_model(folder);

  must(textinv_model_info_init(&info, sizeof(info)));
  must(textinv_model_get_info(model, &info));
  snprintf(out, 17, "%s", info.fingerprint);
  textinv_model_free(model);
}

static void every_part_is_in_the_fingerprint(void **state)
{
  static const char *const files[] = { "unet/diffusion_pytorch_model.safetensors",
                                       "vae/diffusion_pytorch_model.safetensors",
                                       "text_encoder/model.safetensors",
                                       "scheduler/scheduler_config.json" };
  char same[17], again[17], other[17];

  (void)state;
  fingerprint_of(same, 0, NULL);
  fingerprint_of(again, 1, NULL);
  assert_string_equal(same, again);
  for (int i = 0; i < 4; i++) {
    fingerprint_of(other, 2 + i, files[i]);
    if (!strcmp(other, same))
      fail_msg("%s is not in the fingerprint", files[i]);
  }
}

static void a_model_describes_itself(void **state)
{
  textinv_model *model = open_model(tiny_model());
  textinv_model_info info;

  (void)state;
  must(textinv_model_info_init(&info, sizeof(info)));
  assert_int_equal(textinv_model_get_info(model, &info), TEXTINV_OK);
  assert_string_equal(info.path, tiny_model());
  assert_int_equal(strlen(info.fingerprint), 16);
  assert_string_equal(info.prediction, "epsilon");
  assert_string_equal(info.sampler, "ddim");
  assert_int_equal(info.num_encoders, 1);
  assert_int_equal(info.embedding_dim[0], TINY_WIDTH);
  assert_int_equal(info.context_dim, TINY_WIDTH);
  assert_int_equal(info.pooled_dim, 0);
  assert_int_equal(info.max_tokens, TINY_TOKENS);
  assert_int_equal(info.latent_channels, 4);
  assert_int_equal(info.latent_scale, 2);
  assert_int_equal(info.size, TINY_SIZE);
  assert_int_equal(info.train_timesteps, 1000);
  assert_int_equal(info.parameters, 121835);
  assert_int_equal(ti_model_bytes(model), 4 * info.parameters);
  assert_int_equal(textinv_model_get_info(NULL, &info), TEXTINV_E_INVALID);
  assert_string_equal(textinv_session_error(NULL), "model is NULL");
  assert_true(fabsf(textinv_model_alphas_cumprod(model)[0] - (1.0f - 0.00085f)) < 1e-6f);
  for (uint32_t t = 1; t < info.train_timesteps; t++)
    assert_true(textinv_model_alphas_cumprod(model)[t] <
                textinv_model_alphas_cumprod(model)[t - 1]);
  assert_null(textinv_model_alphas_cumprod(NULL));
  assert_non_null(textinv_model_tokenizer(model, 0));
  assert_null(textinv_model_tokenizer(model, 1));
  textinv_model_free(model);
}

/* a path that just fits is a path like others */
static void models_lie_deep(void **state)
{
  enum { LENGTH = 505 };
  char path[LENGTH + 1];
  size_t at = (size_t)snprintf(path, sizeof(path), "%s", test_path("deep"));

  (void)state;
  assert_int_equal(mkdir(path, 0755), 0);
  while (at < LENGTH) {
    const size_t more = LENGTH - at > 250 ? 100 : LENGTH - at;

    path[at++] = '/';
    memset(path + at, 'm', more - 1);
    path[at += more - 1] = '\0';
    assert_int_equal(at < LENGTH ? mkdir(path, 0755) : symlink(tiny_model(), path), 0);
  }
  textinv_model_free(open_model(path));
}

/* where it was looked for: beside the library, here the program, by an absolute path */
static void a_default_model_that_is_missing_is_told(void **state)
{
  char folder[4096];
  const ssize_t length = readlink("/proc/self/exe", folder, sizeof(folder) - 1);
  textinv_model *model;

  (void)state;
  assert_in_range(length, 1, sizeof(folder) - 1);
  folder[length] = '\0';
  *strrchr(folder, '/') = '\0';
  if (textinv_model_open(&model, session, NULL) >= 0) { /* that of an installation */
    textinv_model_free(model);
    skip();
  }
  refused(textinv_model_open(&model, session, NULL), TEXTINV_E_NOT_FOUND, folder);
}

static void kinds_are_told_by_content(void **state)
{
  textinv_kind kind;
  char path[600];

  (void)state;
  must(textinv_file_kind(&kind, session, tiny_model()));
  assert_int_equal(kind, TEXTINV_KIND_MODEL);
  snprintf(path, sizeof(path), "%s/unet/config.json", tiny_model());
  must(textinv_file_kind(&kind, session, path));
  assert_int_equal(kind, TEXTINV_KIND_UNKNOWN);
  snprintf(path, sizeof(path), "%s/0.png", tiny_pictures("kinds", 1, 8, 8));
  must(textinv_file_kind(&kind, session, path));
  assert_int_equal(kind, TEXTINV_KIND_IMAGE);
  must(textinv_file_kind(&kind, session, "tests/golden/tiny-clip"));
  assert_int_equal(kind, TEXTINV_KIND_CLIP);
  snprintf(path, sizeof(path), "%s/text_encoder", tiny_model()); /* one tower alone */
  must(textinv_file_kind(&kind, session, path));
  assert_int_equal(kind, TEXTINV_KIND_UNKNOWN);
  refused(textinv_file_kind(&kind, session, "/nowhere"), TEXTINV_E_NOT_FOUND, "/nowhere");
}

/* an embedding is what loads as one, or fails to with a message that helps */
static void kinds_of_embeddings(void **state)
{
  static const struct {
    const char *path;
    textinv_kind kind;
  } files[] = {
    { "embedding/diffusers.safetensors", TEXTINV_KIND_EMBEDDING },
    { "embedding/a1111.pt", TEXTINV_KIND_EMBEDDING },
    { "embedding/compvis.pt", TEXTINV_KIND_EMBEDDING },
    { "embedding/sdxl.pt", TEXTINV_KIND_EMBEDDING },
    { "embedding/onetrainer.safetensors", TEXTINV_KIND_EMBEDDING },
    { "embedding/tensor.pt", TEXTINV_KIND_EMBEDDING },
    { "embedding/diffusers.1d.bin", TEXTINV_KIND_EMBEDDING },
    { "embedding/text.png", TEXTINV_KIND_EMBEDDING },
    { "embedding/plain.png", TEXTINV_KIND_IMAGE },
    { "embedding/checkpoint", TEXTINV_KIND_CHECKPOINT },
    { "single/sd1.ckpt", TEXTINV_KIND_MODEL },
    { "safetensors/empty", TEXTINV_KIND_UNKNOWN },
    { "safetensors/types", TEXTINV_KIND_UNKNOWN },
    { "json/unet", TEXTINV_KIND_UNKNOWN },
  };
  static const struct {
    const char *bytes;
    size_t size;
    textinv_kind kind;
  } made[] = {
    { "\x80\2\x8a\nl\xfc\x9c"
      "F\xf9 j\xa8P\x19.",
      16, TEXTINV_KIND_EMBEDDING }, /* old torch */
    { "PK\3\4 and 22 bytes more... \3\0\0\0a/b", 33, TEXTINV_KIND_UNKNOWN },
    { "PK\3\4 and 22 bytes more... \12\0\0\0a/data.pkl", 40, TEXTINV_KIND_EMBEDDING }, /* cut */
    { "version https://git-lfs.github.com/spec/v1", 42, TEXTINV_KIND_UNKNOWN },
#define ONE_TENSOR(size, name, type)                                                               \
  size "\0\0\0\0\0\0\0{\"" name "\":{\"dtype\":\"" type                                            \
       "\",\"shape\":[1,1],\"data_offsets\":[0,8]}}12345678"
    { ONE_TENSOR("\x38", "a", "F64"), 0x48, TEXTINV_KIND_EMBEDDING },
    { ONE_TENSOR("\x38", "a", "I64"), 0x48, TEXTINV_KIND_UNKNOWN },
    { ONE_TENSOR("\x3b", "IN01", "I64"), 0x4b,
      TEXTINV_KIND_EMBEDDING }, /* nothing else has the key */
  };
  const char *const made_path = test_path("kind"), *const folder = test_path("folder");
  char path[600];
  textinv_kind kind;
  FILE *f;

  (void)state;
  for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
    snprintf(path, sizeof(path), "tests/fuzz/corpus/%s", files[i].path);
    must(textinv_file_kind(&kind, session, path));
    if (kind != files[i].kind)
      fail_msg("%s: %d", path, kind);
  }
  for (size_t i = 0; i < sizeof(made) / sizeof(*made); i++) {
    f = fopen(made_path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(made[i].bytes, 1, made[i].size, f), made[i].size);
    fclose(f);
    must(textinv_file_kind(&kind, session, made_path));
    assert_int_equal(kind, made[i].kind);
  }
  /* weights of a model are none */
  snprintf(path, sizeof(path), "%s/unet/diffusion_pytorch_model.safetensors", tiny_model());
  must(textinv_file_kind(&kind, session, path));
  assert_int_equal(kind, TEXTINV_KIND_UNKNOWN);
  assert_int_equal(mkdir(folder, 0777), 0);
  must(textinv_file_kind(&kind, session, folder));
  assert_int_equal(kind, TEXTINV_KIND_UNKNOWN);
  snprintf(path, sizeof(path), "%s/learned_embeds.bin", folder);
  f = fopen(path, "wb");
  assert_non_null(f);
  fclose(f);
  must(textinv_file_kind(&kind, session, folder));
  assert_int_equal(kind, TEXTINV_KIND_EMBEDDING);
}

typedef struct breakage {
  const char *file, *old, *new_text;
  textinv_status status;
  const char *message;
} breakage;

static const breakage breakages[] = {
  { "unet/config.json", "\"sample_size\": 8", "\"sample_size\": 0", TEXTINV_E_LIMIT,
    "sample_size" },
  { "unet/config.json", "[8, 16]", "[8, 1e9]", TEXTINV_E_FORMAT, "block_out_channels" },
  { "unet/config.json", "[8, 16]", "[8, 12]", TEXTINV_E_SHAPE,
    "down_blocks.1.resnets.0 has 16 channels; the config says 12" },
  { "unet/config.json", "[8, 16]", "[8, 10]", TEXTINV_E_SHAPE,
    "norm_num_groups 4 does not divide" },
  { "unet/config.json", "\"attention_head_dim\": 2", "\"attention_head_dim\": 3", TEXTINV_E_SHAPE,
    "attention_head_dim 3" },
  { "unet/config.json", "\"attention_head_dim\": 2", "\"attention_head_dim\": [2]", TEXTINV_E_SHAPE,
    "attention_head_dim has 1 entries, block_out_channels 2" },
  { "unet/config.json", "\"CrossAttnDownBlock2D\"", "\"AttnDownBlock2D\"", TEXTINV_E_UNSUPPORTED,
    "\"AttnDownBlock2D\"; known are \"DownBlock2D\" and \"CrossAttnDownBlock2D\"" },
  { "unet/config.json", "{", "{\"act_fn\": \"mish\", ", TEXTINV_E_UNSUPPORTED, "act_fn \"mish\"" },
  { "unet/config.json", "{", "{\"class_embed_type\": \"timestep\", ", TEXTINV_E_UNSUPPORTED,
    "class_embed_type" },
  { "unet/config.json", "\"cross_attention_dim\": 16", "\"cross_attention_dim\": 24",
    TEXTINV_E_SHAPE, "cross_attention_dim 24; the text encoders give 16" },
  { "unet/config.json", "\"in_channels\": 4", "\"in_channels\": 5", TEXTINV_E_UNSUPPORTED,
    "in_channels 5; the autoencoder has 4 latent channels, so 4 are expected, or 9 for inpainting" },
  { "unet/config.json", "\"in_channels\": 4", "\"in_channels\": 9", TEXTINV_E_SHAPE, "conv_in" },
  { "unet/config.json", "\"out_channels\": 4", "\"out_channels\": 8", TEXTINV_E_UNSUPPORTED,
    "unet/config.json: out_channels 8; the autoencoder has 4 latent channels" },
  { "unet/config.json", "{", "{\"sample_size\": 8, ", TEXTINV_E_FORMAT, "unet/config.json" },
  { "unet/config.json", "}", "", TEXTINV_E_FORMAT, "unet/config.json" },
  /* as many values, another kernel */
  { "unet/diffusion_pytorch_model.safetensors", "[4,8,3,3]", "[4,8,9,1]", TEXTINV_E_SHAPE,
    "conv_out.weight is no kernel of 3 x 3 (9 x 1)" },
  { "vae/diffusion_pytorch_model.safetensors", "[3,8,3,3]", "[3,8,1,9]", TEXTINV_E_SHAPE,
    "decoder.conv_out.weight is no kernel of 3 x 3 (1 x 9)" },
  { "vae/config.json", "\"latent_channels\": 4", "\"latent_channels\": -4", TEXTINV_E_LIMIT,
    "latent_channels" },
  { "vae/config.json", "\"DownEncoderBlock2D\"", "\"AttnDownEncoderBlock2D\"",
    TEXTINV_E_UNSUPPORTED, "AttnDownEncoderBlock2D" },
  { "text_encoder/config.json", "\"hidden_size\": 16", "\"hidden_size\": 32", TEXTINV_E_SHAPE, "" },
  { "text_encoder/config.json", "\"intermediate_size\": 32", "\"intermediate_size\": 64",
    TEXTINV_E_SHAPE, "encoder.layers.0.mlp.fc1 has 32 channels; the config says 64" },
  { "text_encoder/config.json", "\"vocab_size\": 521", "\"vocab_size\": 522", TEXTINV_E_SHAPE,
    "/text_encoder: text_model.embeddings.token_embedding.weight is [521, 16]; "
    "the config says [522, 16]" },
  { "text_encoder/config.json", "quick_gelu", "relu", TEXTINV_E_UNSUPPORTED,
    "hidden_act \"relu\"" },
  { "text_encoder/config.json", "\"num_attention_heads\": 2", "\"num_attention_heads\": 0",
    TEXTINV_E_LIMIT, "num_attention_heads" },
  { "text_encoder/config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3",
    TEXTINV_E_FORMAT, "encoder.layers.2.layer_norm1.weight is missing" },
  { "text_encoder/config.json", "\"vocab_size\": 521", "\"vocab_size\": 520", TEXTINV_E_SHAPE,
    "520" },
  { "text_encoder/config.json", "{", "{\"use_attention_mask\": true, ", TEXTINV_E_UNSUPPORTED,
    "text_encoder/config.json: use_attention_mask is true" },
  { "scheduler/scheduler_config.json", "scaled_linear", "sigmoid", TEXTINV_E_UNSUPPORTED,
    "sigmoid" },
  { "scheduler/scheduler_config.json", "\"epsilon\"", "\"flow\"", TEXTINV_E_UNSUPPORTED, "flow" },
  { "model_index.json", "\"UNet2DConditionModel\"", "\"UNet3DConditionModel\"",
    TEXTINV_E_UNSUPPORTED, "unet is a UNet3DConditionModel; known is UNet2DConditionModel" },
  { "model_index.json", "\"DDIMScheduler\"", "\"FlowMatchEulerDiscreteScheduler\"",
    TEXTINV_E_UNSUPPORTED,
    "/model_index.json: \"scheduler\" is \"FlowMatchEulerDiscreteScheduler\", expected a class with a "
    "schedule of betas, such as DDIMScheduler" },
};

static void broken_models_are_refused(void **state)
{
  int failures = 0;

  (void)state;
  for (size_t i = 0; i < sizeof(breakages) / sizeof(*breakages); i++) {
    const breakage *b = &breakages[i];
    char name[32];
    const char *folder;
    textinv_model *model;
    textinv_status status;

    snprintf(name, sizeof(name), "broken-%zu", i);
    folder = tiny_model_copy(name);
    tiny_model_edit(folder, b->file, b->old, b->new_text);
    status = textinv_model_open(&model, session, folder);
    textinv_model_free(model);
    if (model || status != b->status || !strstr(textinv_session_error(session), b->message)) {
      print_error("%s -> %s: %s \"%s\"; expected %s \"%s\"\n", b->old, b->new_text,
                  textinv_status_name(status), textinv_session_error(session),
                  textinv_status_name(b->status), b->message);
      failures++;
    }
  }
  assert_int_equal(failures, 0);
}

static void missing_files_are_named(void **state)
{
  textinv_model *model;
  char path[600];
  const char *folder = tiny_model_copy("missing");

  (void)state;
  snprintf(path, sizeof(path), "%s/vae/diffusion_pytorch_model.safetensors", folder);
  assert_int_equal(unlink(path), 0);
  assert_true(textinv_model_open(&model, session, folder) < 0);
  refused(TEXTINV_OK, TEXTINV_OK, "diffusion_pytorch_model");
  assert_true(textinv_model_open(&model, session, "/nowhere") < 0);
  refused(TEXTINV_OK, TEXTINV_OK, "/nowhere");
}

static void cut_weights_are_refused(void **state)
{
  textinv_model *model;
  char path[600];
  const char *folder = tiny_model_copy("cut");
  struct stat st;

  (void)state;
  snprintf(path, sizeof(path), "%s/unet/diffusion_pytorch_model.safetensors", folder);
  assert_int_equal(stat(path, &st), 0);
  for (off_t size = st.st_size - 1; size > 0; size /= 2) {
    assert_int_equal(truncate(path, size), 0);
    refused(textinv_model_open(&model, session, folder), TEXTINV_E_FORMAT,
            "unet/diffusion_pytorch_model.safetensors");
  }
}

/* as the pipelines of diffusers, where model_index.json does not say */
static void no_negative_prompt_is_zeros_for_sdxl(void **state)
{
  const char *folder = tiny_sdxl_copy("sdxl");
  textinv_model *model;

  (void)state;
  model = open_model(tiny_model());
  assert_int_equal(model->zero_no_negative, 0);
  textinv_model_free(model);

  tiny_model_edit(folder, "model_index.json", "  \"force_zeros_for_empty_prompt\": true,\n", "");
  model = open_model(folder);
  assert_int_equal(model->zero_no_negative, 1);
  textinv_model_free(model);
  tiny_model_edit(folder, "model_index.json", "\"scheduler\"",
                  "\"force_zeros_for_empty_prompt\": false, \"scheduler\"");
  model = open_model(folder);
  assert_int_equal(model->zero_no_negative, 0);
  textinv_model_free(model);
}

static void the_pooled_text_of_sdxl_is_projected(void **state)
{
  const char *folder = tiny_sdxl_copy("unprojected");
  textinv_model *model;

  (void)state;
  tiny_model_edit(folder, "model_index.json", "CLIPTextModelWithProjection", "CLIPTextModel");
  refused(textinv_model_open(&model, session, folder), TEXTINV_E_SHAPE, "text_encoder_2 gives 0");
}

/* diffusers' pipelines for SD and SDXL, and its training script, use scaling_factor alone */
static void a_shift_factor_is_not_of_these_models(void **state)
{
  enum { LATENTS = 4 * 8 * 8 };
  static const uint8_t pixels[TINY_SIZE * TINY_SIZE * 3];
  float mean[2][LATENTS], decoded[2][TINY_SIZE * TINY_SIZE * 3];
  textinv_images *images;

  (void)state;
  must(textinv_images_new(&images, session, pixels, 1, TINY_SIZE, TINY_SIZE));
  for (int i = 0; i < 2; i++) {
    const char *folder = tiny_model_copy(i ? "shifted" : "not-shifted");
    textinv_model *model;

    if (i)
      tiny_model_edit(folder, "vae/config.json", "{", "{\"shift_factor\": 0.25, ");
    model = open_model(folder);
    must(textinv_encode_image(session, mean[i], NULL, LATENTS, model, images, 0));
    must(textinv_decode_latents(session, NULL, decoded[i], TINY_SIZE * TINY_SIZE * 3, model,
                                mean[0], 1, 8, 8));
    textinv_model_free(model);
  }
  assert_memory_equal(mean[0], mean[1], sizeof(mean[0]));
  assert_memory_equal(decoded[0], decoded[1], sizeof(decoded[0]));
  textinv_images_free(images);
}

/* as StableDiffusionPipeline: sample_size 8 of a UNet by its version */
static void old_unets_have_64_latents_a_side(void **state)
{
  static const struct {
    const char *version;
    int latents;
  } cases[] = {
    { "0.6.0", 64 }, { "0.8.1.dev0", 64 }, { "0.9.0.dev0", 8 }, { "0.10.2", 8 }, { "1.0.0", 8 }
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    textinv_model *model;
    const char *folder;
    char text[64];

    snprintf(text, sizeof(text), "version-%zu", i);
    folder = tiny_model_copy(text);
    snprintf(text, sizeof(text), "{\"_diffusers_version\": \"%s\", ", cases[i].version);
    tiny_model_edit(folder, "unet/config.json", "{", text);
    model = open_model(folder);
    assert_int_equal(model->unet.sample_size, cases[i].latents);
    textinv_model_free(model);
  }
}

static void sessions_check_their_options(void **state)
{
  textinv_session_params p;
  textinv_session *s;

  (void)state;
  assert_int_equal(textinv_session_params_init(&p, sizeof(p)), TEXTINV_OK);
  assert_int_equal(textinv_session_params_init(NULL, sizeof(p)), TEXTINV_E_INVALID);
  assert_int_equal(textinv_session_params_init(&p, 3), TEXTINV_E_INVALID);
  textinv_session_params_init(&p, sizeof(p));
  p.threads = 100000;
  assert_int_equal(textinv_session_new(&s, &p), TEXTINV_E_INVALID);
  assert_non_null(strstr(textinv_session_error(NULL), "threads is 100000"));
  textinv_session_params_init(&p, sizeof(p));
  p.dtype = TEXTINV_F16;
  assert_int_equal(textinv_session_new(&s, &p), TEXTINV_E_UNSUPPORTED);
  p.dtype = 17;
  assert_int_equal(textinv_session_new(&s, &p), TEXTINV_E_INVALID);
  assert_int_equal(textinv_session_new(NULL, NULL), TEXTINV_E_INVALID);
  assert_string_equal(textinv_status_name(TEXTINV_E_SHAPE), "TEXTINV_E_SHAPE");
  assert_string_equal(textinv_status_name(-1000), "unknown status");
  textinv_session_free(NULL);
  textinv_session_cancel(NULL);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_model_describes_itself),
    cmocka_unit_test(every_part_is_in_the_fingerprint),
    cmocka_unit_test(models_lie_deep),
    cmocka_unit_test(a_default_model_that_is_missing_is_told),
    cmocka_unit_test(kinds_are_told_by_content),
    cmocka_unit_test(kinds_of_embeddings),
    cmocka_unit_test(broken_models_are_refused),
    cmocka_unit_test(missing_files_are_named),
    cmocka_unit_test(cut_weights_are_refused),
    cmocka_unit_test(no_negative_prompt_is_zeros_for_sdxl),
    cmocka_unit_test(the_pooled_text_of_sdxl_is_projected),
    cmocka_unit_test(a_shift_factor_is_not_of_these_models),
    cmocka_unit_test(old_unets_have_64_latents_a_side),
    cmocka_unit_test(sessions_check_their_options),
  };

  return cmocka_run_group_tests_name("model", tests, session_setup, session_teardown);
}
