/* Models in one file: the same model as the folder, what is read off marks, and what is refused. */
#include "testing_api.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "library.h"
#include "safetensors.h"
#include "single_model.h"

/* ------ CLIP's vocabulary where the library of this program looks for it */

static char data_folder[4096], vocabulary[4200];

static int open_session(void **state)
{
  (void)state;
  snprintf(data_folder, sizeof(data_folder), "%s/../../models", ti_library_folder());
  snprintf(vocabulary, sizeof(vocabulary), "%s/clip-tokenizer", data_folder);
  unlink(vocabulary);
  return textinv_session_new(&session, NULL) < 0 ? -1 : 0;
}

static int close_session(void **state)
{
  (void)state;
  textinv_session_free(session);
  unlink(vocabulary);
  rmdir(data_folder);
  return 0;
}

static void install_vocabulary(void)
{
  char *path = realpath("models/clip-tokenizer", NULL);

  assert_non_null(path);
  if (mkdir(data_folder, 0755))
    assert_int_equal(errno, EEXIST);
  if (symlink(path, vocabulary))
    assert_int_equal(errno, EEXIST);
  free(path);
}

static void the_vocabulary_may_be_missing(void **state)
{
  textinv_model *model;

  (void)state;
  if (textinv_model_open(&model, session, single_model_file(SINGLE_SD1)) >= 0) { /* installed */
    textinv_model_free(model);
    skip();
  }
  refused(textinv_model_open(&model, session, single_model_file(SINGLE_SD1)), TEXTINV_E_NOT_FOUND,
          "CLIP's vocabulary, which no model in one file has, is not installed: clip-tokenizer is "
          "neither in ");
}

/* ------ the same model */

static textinv_model *open_it(const char *path, textinv_model_info *info)
{
  textinv_model *model;

  must(textinv_model_open(&model, session, path));
  must(textinv_model_info_init(info, sizeof(*info)));
  must(textinv_model_get_info(model, info));
  return model;
}

/* where a picture is light, which every model can */
static textinv_images *draw(const textinv_model *model)
{
  textinv_generate_params p;
  textinv_images *images, *picture;
  uint8_t pixels[3 * 16 * 16];

  for (size_t i = 0; i < sizeof(pixels); i++)
    pixels[i] = (uint8_t)(i * 255 / sizeof(pixels));
  must(textinv_images_new(&picture, session, pixels, 1, 16, 16));

  must(textinv_generate_params_init(&p, sizeof(p)));
  p.prompt = "A photo of a toy!";
  p.negative_prompt = "snow";
  p.steps = 3;
  p.width = p.height = 16;
  p.seed = 11;
  p.init_image = p.mask = picture;
  must(textinv_generate(&images, session, model, NULL, &p));
  textinv_images_free(picture);
  return images;
}

static void same_model(single_kind kind, const char *path, const char *sampler, uint32_t size)
{
  textinv_model_info a, b;
  textinv_model *folder = open_it(single_model_folder(kind), &a), *file = open_it(path, &b);
  textinv_images *drawn = draw(folder), *again = draw(file);

  assert_string_equal(b.path, path);
  assert_string_equal(b.fingerprint, a.fingerprint);
  assert_string_equal(b.prediction, a.prediction);
  assert_string_equal(b.sampler, a.sampler);
  assert_string_equal(b.sampler, sampler);
  assert_int_equal(b.size, size);
  b.path = a.path, b.fingerprint = a.fingerprint, b.prediction = a.prediction,
  b.sampler = a.sampler;
  assert_memory_equal(&a, &b, sizeof(a));
  for (uint32_t i = 0; i < a.num_encoders; i++) {
    assert_int_equal(textinv_tokenizer_size(textinv_model_tokenizer(file, i)), 49408);
    assert_string_equal(textinv_tokenizer_token(textinv_model_tokenizer(file, i), 2368),
                        textinv_tokenizer_token(textinv_model_tokenizer(folder, i), 2368));
  }
  assert_memory_equal(textinv_images_pixels(drawn, 0), textinv_images_pixels(again, 0),
                      3 * 16 * 16);
  textinv_images_free(drawn);
  textinv_images_free(again);
  textinv_model_free(folder);
  textinv_model_free(file);
}

static void sd1_is_the_model_of_its_folder(void **state)
{
  static const single_change old = { .rename = "transformer.text_model.", .to = "transformer." };

  (void)state;
  install_vocabulary();
  same_model(SINGLE_SD1, single_model_file(SINGLE_SD1), "pndm", 512);
  same_model(SINGLE_SD1, single_model_changed(SINGLE_SD1, "old", &old), "pndm", 512);
}

static void sd2_is_the_model_of_its_folder(void **state)
{
  static const char last[] = "cond_stage_model.model.transformer.resblocks.2.";
  static const single_change cut = { .leave_out = last, .rename = "text_projection", .to = "none" };
  static const single_change half_cut = { .rename = "text_projection", .to = "none" };
  textinv_model *model;

  (void)state;
  same_model(SINGLE_SD2, single_model_file(SINGLE_SD2), "ddim", 768);
  /* as diffusers' script saves it: what is not used is not there */
  same_model(SINGLE_SD2, single_model_changed(SINGLE_SD2, "cut", &cut), "ddim", 768);
  /* the projection tells that the last layer is one too many */
  refused(textinv_model_open(&model, session, single_model_changed(SINGLE_SD2, "cut", &half_cut)),
          TEXTINV_E_SHAPE, "resblocks.2.attn.in_proj_weight\" is [64, 64], expected rows of q, k");
}

static void sdxl_is_the_model_of_its_folder(void **state)
{
  /* weights that are left aside */
  static const single_change ema = { .extra = "model_ema.diffusion_modelout2bias" };

  (void)state;
  same_model(SINGLE_SDXL, single_model_file(SINGLE_SDXL), "euler", 1024);
  same_model(SINGLE_SDXL, single_model_changed(SINGLE_SDXL, "ema", &ema), "euler", 1024);
}

static void inpainting_is_the_model_of_its_folder(void **state)
{
  textinv_model_info info;
  textinv_model *model = open_it(single_model_file(SINGLE_INPAINT), &info);

  (void)state;
  assert_int_equal(info.needs_mask, 1);
  assert_int_equal(info.latent_channels, 4);
  assert_string_equal(info.prediction, "epsilon"); /* though its norms are as those for v */
  textinv_model_free(model);
  same_model(SINGLE_INPAINT, single_model_file(SINGLE_INPAINT), "pndm", 512);
}

/* ------ noise or v */

static const struct {
  single_kind kind;
  single_change change;
  const char *yaml;
  const char *prediction, *sampler;
  uint32_t size;
} predictions[] = {
  { SINGLE_SD1, { .extra = "v_pred" }, NULL, "v_prediction", "ddim", 512 },
  { SINGLE_SDXL, { .extra = "v_pred" }, NULL, "v_prediction", "euler", 1024 },
  { SINGLE_SDXL,
    { .key = "modelspec.prediction_type", .value = "v" },
    NULL,
    "v_prediction",
    "euler",
    1024 },
  { SINGLE_SD2,
    { .key = "modelspec.prediction_type", .value = "epsilon" },
    NULL,
    "epsilon",
    "pndm",
    512 },
  { SINGLE_SD1,
    { .extra = "v_pred" },
    "model:\n  base_learning_rate: 1.0e-4\n",
    "epsilon",
    "pndm",
    512 },
  { SINGLE_SD2, { 0 }, "parameterization: eps", "epsilon", "pndm", 512 },
  { SINGLE_SD2,
    { .key = "modelspec.prediction_type", .value = "epsilon" },
    "model:\n  params:\n    parameterization: \"v\"\n",
    "v_prediction",
    "ddim",
    768 },
};

static void marks_tell_what_is_predicted(void **state)
{
  (void)state;
  for (size_t i = 0; i < sizeof(predictions) / sizeof(*predictions); i++) {
    char yaml[520];
    textinv_model_info info;
    textinv_model *model;
    const char *path = single_model_changed(predictions[i].kind, "mark.safetensors",
                                            &predictions[i].change);

    snprintf(yaml, sizeof(yaml), "%.*s.yaml", (int)(strlen(path) - strlen(".safetensors")), path);
    if (predictions[i].yaml) {
      FILE *f = fopen(yaml, "w");

      assert_non_null(f);
      assert_true(fputs(predictions[i].yaml, f) >= 0);
      assert_int_equal(fclose(f), 0);
    }
    model = open_it(path, &info);
    unlink(yaml);
    if (strcmp(info.prediction, predictions[i].prediction) ||
        strcmp(info.sampler, predictions[i].sampler) || info.size != predictions[i].size)
      fail_msg("case %zu: %s, %s, %u", i, info.prediction, info.sampler, info.size);
    textinv_model_free(model);
  }
}

/* of a model that predicts noise it counts for nothing */
static void a_mark_tells_of_zero_snr(void **state)
{
  static const char *const types[] = { "v", "epsilon" };

  (void)state;
  for (int i = 0; i < 2; i++) {
    const single_change change = { .extra = "ztsnr",
                                   .key = "modelspec.prediction_type",
                                   .value = types[i] };
    textinv_model_info info;
    textinv_model *model = open_it(single_model_changed(SINGLE_SDXL, "zero", &change), &info);

    assert_int_equal(textinv_model_alphas_cumprod(model)[999] == 0.0f, i == 0);
    textinv_model_free(model);
  }
}

/* ------ what is refused */

static const struct {
  single_kind kind;
  single_change change;
  textinv_status status;
  const char *message;
} refusals[] = {
  { SINGLE_SD1,
    { .leave_out = "model.diffusion_model." },
    TEXTINV_E_UNSUPPORTED,
    "is an autoencoder (VAE) alone, expected a whole checkpoint" },
  { SINGLE_SD1,
    { .leave_out = "model.diffusion_model.out.2.bias" },
    TEXTINV_E_FORMAT,
    "tensor conv_out.bias is missing" },
  { SINGLE_SD1,
    { .leave_out = "model.diffusion_model.input_blocks.3.0.in_layers.2." },
    TEXTINV_E_FORMAT,
    "tensor model.diffusion_model.input_blocks.3.0.in_layers.2.weight is missing" },
  { SINGLE_SD1,
    { .leave_out = "model.diffusion_model.input_blocks.1." },
    TEXTINV_E_FORMAT,
    "the UNet has no blocks: is the file whole?" },
  { SINGLE_SD1,
    { .leave_out = "model.diffusion_model.input_blocks.2." },
    TEXTINV_E_UNSUPPORTED,
    "has no place in a UNet as Stable Diffusion has it, or those before it are missing" },
  { SINGLE_SD1,
    { .leave_out = "model.diffusion_model.input_blocks." },
    TEXTINV_E_UNSUPPORTED,
    "is a model whose network is no UNet" },
  { SINGLE_SD1,
    { .leave_out = "first_stage_model." },
    TEXTINV_E_FORMAT,
    "has no autoencoder (first_stage_model.*): save the checkpoint with it" },
  { SINGLE_SD1,
    { .leave_out = "first_stage_model.encoder." },
    TEXTINV_E_FORMAT,
    "the autoencoder has no encoder" },
  { SINGLE_SD1,
    { .leave_out = "first_stage_model.decoder." },
    TEXTINV_E_FORMAT,
    "the autoencoder has no decoder" },
  { SINGLE_SD1, { .leave_out = "cond_stage_model." }, TEXTINV_E_FORMAT, "has no text encoder" },
  { SINGLE_SD1,
    { .rename = "text_model.embeddings.token", .to = "text_model.embeddings.other" },
    TEXTINV_E_FORMAT,
    "has no table of tokens: is the file whole?" },
  { SINGLE_SD1,
    { .rename = "token_embedding", .to = "token_emb" },
    TEXTINV_E_FORMAT,
    "has no table of tokens" },
  { SINGLE_SD1, { .rename = "text_model.", .to = "token_emb." }, TEXTINV_E_UNSUPPORTED, "BERT" },
  { SINGLE_SD1,
    { .rename = "transformer.text_model.", .to = "roberta." },
    TEXTINV_E_UNSUPPORTED,
    "is a model whose text encoder is no CLIP" },
  { SINGLE_SD1,
    { .extra = "control_model.input_hint_block.0.bias" },
    TEXTINV_E_UNSUPPORTED,
    "ControlNet" },
  { SINGLE_SD1,
    { .extra = "model.diffusion_model.label_emb.0.0.bias" },
    TEXTINV_E_UNSUPPORTED,
    "unCLIP" },
  { SINGLE_SD1,
    { .extra = "model.diffusion_model.joint_blocks.0.bias" },
    TEXTINV_E_UNSUPPORTED,
    "Stable Diffusion 3" },
  { SINGLE_SD1,
    { .extra = "model.diffusion_model.double_blocks.0.bias" },
    TEXTINV_E_UNSUPPORTED,
    "Flux" },
  { SINGLE_SD1,
    { .extra = "model.diffusion_model.time_embed.cond_proj.weight" },
    TEXTINV_E_UNSUPPORTED,
    "cond_proj.weight\" has no place in a UNet" },
  { SINGLE_SD1,
    { .extra = "first_stage_model.encoder.down.0.attn.0.q.weight" },
    TEXTINV_E_UNSUPPORTED,
    "has no place in an autoencoder" },
  { SINGLE_SD1,
    { .rename = "input_blocks.0.0.bias", .to = "input_blocks.1.1.norm.bias2" },
    TEXTINV_E_FORMAT,
    "tensor conv_in.bias is missing" },
  { SINGLE_SD1,
    { .extra = "model.diffusion_model.input_blocks.3.1.transformer_blocks.0.norm1.weight" },
    TEXTINV_E_FORMAT,
    "is missing" },
  { SINGLE_SD1,
    { .extra = "model.diffusion_model.output_blocks.2.1.transformer_blocks.1.norm1.weight" },
    TEXTINV_E_UNSUPPORTED,
    "transformer_blocks.1.norm1.weight\" has no place" },
  { SINGLE_SD1,
    { .rename = "middle_block.1.transformer_blocks.0.", .to = "middle_block.1.other." },
    TEXTINV_E_UNSUPPORTED,
    "middle_block.1." },
  { SINGLE_SD2,
    { .leave_out = "cond_stage_model.model.positional" },
    TEXTINV_E_FORMAT,
    "a text encoder (cond_stage_model.model.*) has no positions" },
  { SINGLE_SD2,
    { .leave_out = "cond_stage_model.model.transformer.resblocks.1." },
    TEXTINV_E_SHAPE,
    "has too few layers: the state before the last is needed" },
  { SINGLE_SDXL,
    { .leave_out = "conditioner.embedders.1." },
    TEXTINV_E_FORMAT,
    "has no second text encoder" },
  { SINGLE_SDXL,
    { .leave_out = "conditioner.embedders.0." },
    TEXTINV_E_FORMAT,
    "has no first text encoder" },
  { SINGLE_SDXL,
    { .rename = "embedders.0.transformer.", .to = "embedders.0.model." },
    TEXTINV_E_UNSUPPORTED,
    "is the refiner of SDXL; supported are" },
  { SINGLE_SDXL, { .extra = "edm_mean" }, TEXTINV_E_UNSUPPORTED, "EDM" },
  { SINGLE_SDXL,
    { .leave_out = "conditioner.embedders.1.model.text_projection" },
    TEXTINV_E_SHAPE,
    "takes 72 values beside the prompt, the pooled text has 0" },
  { SINGLE_SDXL,
    { .leave_out = "model.diffusion_model.middle_block.1.transformer_blocks.1." },
    TEXTINV_E_UNSUPPORTED,
    "the middle of the UNet has 1 transformer layers, expected 2" },
  { SINGLE_SDXL,
    { .rename = "middle_block.0.in_layers", .to = "middle_block.3.in_layers" },
    TEXTINV_E_UNSUPPORTED,
    "\"model.diffusion_model.middle_block.3.in_layers.0.bias\"" },
};

static void what_is_refused(void **state)
{
  (void)state;
  for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
    const char *path = single_model_changed(refusals[i].kind, "refused.safetensors",
                                            &refusals[i].change);
    textinv_model *model = (void *)1;
    const textinv_status status = textinv_model_open(&model, session, path);
    const char *text = textinv_session_error(session);

    if (status != refusals[i].status || !strstr(text, refusals[i].message) ||
        strncmp(text, path, strlen(path)))
      fail_msg("case %zu: %s: %s", i, textinv_status_name(status), text);
    assert_null(model);
  }
}

/* tensors of any names and of one value each, or of these dims */
static const char *put_tensors(const char *names, int rank, uint64_t second)
{
  static float data[4096];
  static char path[512], copy[512];
  ti_tensor tensors[8];
  size_t count = 0;
  ti_error error;

  snprintf(copy, sizeof(copy), "%s", names);
  snprintf(path, sizeof(path), "%s", test_path("part.safetensors"));
  for (char *name = strtok(copy, " "); name; name = strtok(NULL, " "))
    tensors[count++] = (ti_tensor){ .name = name,
                                    .dtype = TI_FILE_F32,
                                    .dtype_name = "F32",
                                    .rank = rank,
                                    .dims = { 4, second, 3, 3 },
                                    .count = rank < 4 ? 4 * second : 36 * second,
                                    .data = data,
                                    .bytes = (rank < 4 ? 4 : 36) * second * 4 };
  if (ti_safetensors_write(&error, path, tensors, count, NULL, 0) < 0)
    fail_msg("%s", error.text);
  return path;
}

static void parts_are_named(void **state)
{
  static const char unet[] = "model.diffusion_model.input_blocks.0.0.weight";
  static const struct {
    const char *names;
    int rank;
    uint64_t second;
    textinv_status status;
    const char *message;
  } cases[] = {
    { unet, 4, 8, TEXTINV_E_UNSUPPORTED, "(InstructPix2Pix); supported are SD 1.x, SD 2.x and" },
    { unet, 4, 7, TEXTINV_E_UNSUPPORTED, "enlarges" },
    { unet, 4, 5, TEXTINV_E_UNSUPPORTED, "depth" },
    { unet, 4, 4, TEXTINV_E_FORMAT, "has no text encoder" },
    { unet, 4, 9, TEXTINV_E_FORMAT, "has no text encoder" },
    { "lora_unet_down.lora_up.weight lora_te.alpha", 2, 4, TEXTINV_E_UNSUPPORTED, "is a LoRA" },
    { "unet.down_blocks.0.attn1.to_q.lora_A.weight", 2, 4, TEXTINV_E_UNSUPPORTED, "is a LoRA" },
    { "lycoris_unet.hada_w1_a", 2, 4, TEXTINV_E_UNSUPPORTED, "is a LoRA" },
    { "<toy>", 2, 4, TEXTINV_E_FORMAT, "is an embedding: it is loaded beside a model" },
    { "clip_l clip_g", 2, 4, TEXTINV_E_FORMAT, "is an embedding" },
    { "encoder.conv_in.weight", 4, 3, TEXTINV_E_UNSUPPORTED, "VAE" },
    { "input_blocks.0.0.weight", 4, 4, TEXTINV_E_UNSUPPORTED, "is a UNet alone" },
    { "down_blocks.0.resnets.0.conv1.weight", 4, 4, TEXTINV_E_UNSUPPORTED, "UNet of diffusers" },
    { "double_blocks.0.x", 4, 4, TEXTINV_E_UNSUPPORTED, "transformer of Flux" },
    { "something.weight", 4, 4, TEXTINV_E_FORMAT, "none of its 1 tensors begins with model." },
    { "", 1, 1, TEXTINV_E_FORMAT, "none of its 0 tensors" },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    const char *path = put_tensors(cases[i].names, cases[i].rank, cases[i].second);
    textinv_model *model;

    refused(textinv_model_open(&model, session, path), cases[i].status, cases[i].message);
  }
}

static void torch_files_are_told_apart(void **state)
{
  textinv_model *model;

  (void)state;
  refused(textinv_model_open(&model, session, "tests/golden/a1111.pt"), TEXTINV_E_FORMAT,
          "a1111.pt: is an embedding");
  refused(textinv_model_open(&model, session, "tests/fuzz/corpus/embedding/plain.png"),
          TEXTINV_E_LIMIT, "plain.png: is no safetensors file");
  refused(textinv_model_open(&model, session, "/dev/null"), TEXTINV_E_IO, "/dev/null");
}

static void kinds_are_told(void **state)
{
  static const char cut[] = "PK\3\4 and 22 bytes more... \12\0\0\0a/data.pkl";
  const char *path = test_path("large.ckpt");
  textinv_kind kind;
  FILE *f;

  (void)state;
  must(textinv_file_kind(&kind, session, single_model_file(SINGLE_SD1)));
  assert_int_equal(kind, TEXTINV_KIND_MODEL);
  must(textinv_file_kind(&kind, session,
                         put_tensors("model.diffusion_model.double_blocks.0.x", 4, 4)));
  assert_int_equal(kind, TEXTINV_KIND_MODEL);
  must(textinv_file_kind(&kind, session, put_tensors("first_stage_model.x", 4, 4)));
  assert_int_equal(kind, TEXTINV_KIND_UNKNOWN);
  /* no embedding is as large, so opening is to tell what is wrong */
  f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(cut, 1, sizeof(cut) - 1, f), sizeof(cut) - 1);
  assert_int_equal(ftruncate(fileno(f), 257 << 20), 0);
  assert_int_equal(fclose(f), 0);
  must(textinv_file_kind(&kind, session, path));
  assert_int_equal(kind, TEXTINV_KIND_MODEL);
  unlink(path);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_vocabulary_may_be_missing),
    cmocka_unit_test(sd1_is_the_model_of_its_folder),
    cmocka_unit_test(sd2_is_the_model_of_its_folder),
    cmocka_unit_test(sdxl_is_the_model_of_its_folder),
    cmocka_unit_test(inpainting_is_the_model_of_its_folder),
    cmocka_unit_test(marks_tell_what_is_predicted),
    cmocka_unit_test(a_mark_tells_of_zero_snr),
    cmocka_unit_test(what_is_refused),
    cmocka_unit_test(parts_are_named),
    cmocka_unit_test(torch_files_are_told_apart),
    cmocka_unit_test(kinds_are_told),
  };

  return cmocka_run_group_tests(tests, open_session, close_session);
}
