/* CLIP models: what they see, their embeddings and the scores that are made of them, against
 * transformers (tests/golden/clip.py); folders that are none */
#include "testing_api.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api.h"
#include "tiny_model.h"

static const char golden[] = "tests/golden/tiny-clip";
enum { DIM = 12, SIDE = 32 };

static textinv_clip *clip;
static ti_safetensors *expected;
static textinv_images *pictures[2];

static const ti_tensor *tensor(const char *name, int i)
{
  char full[32];

  snprintf(full, sizeof(full), "%s.%d", name, i);
  const ti_tensor *t = ti_safetensors_find(expected, full);

  assert_non_null(t);
  return t;
}

static int open_all(void **state)
{
  ti_error error;
  char path[64];

  (void)state;
  if (textinv_session_new(&session, NULL) < 0)
    return -1;
  must(textinv_clip_open(&clip, session, golden));
  snprintf(path, sizeof(path), "%s/expected.safetensors", golden);
  assert_int_equal(ti_safetensors_open(&expected, &error, path), TEXTINV_OK);
  for (int i = 0; i < 2; i++) {
    const ti_tensor *t = tensor("picture", i);

    must(textinv_images_new(&pictures[i], session, t->data, 1, (uint32_t)t->dims[1],
                            (uint32_t)t->dims[0]));
  }
  return 0;
}

static int close_all(void **state)
{
  (void)state;
  for (int i = 0; i < 2; i++)
    textinv_images_free(pictures[i]);
  ti_safetensors_close(expected);
  textinv_clip_free(clip);
  textinv_session_free(session);
  return 0;
}

static double cosine(const float *a, const float *b)
{
  double sum = 0.0;

  for (int i = 0; i < DIM; i++)
    sum += (double)a[i] * b[i];
  return sum;
}

/* the whole picture as one patch is laid out as torch does it */
static void pictures_are_seen_as_by_the_image_processor(void **state)
{
  (void)state;
  for (int i = 0; i < 2; i++) {
    const ti_image image = { pictures[i]->width, pictures[i]->height, pictures[i]->pixels };
    float values[3 * SIDE * SIDE];

    assert_int_equal(ti_clip_image_values(values, &session->error, &clip->image, &image, SIDE),
                     TEXTINV_OK);
    assert_memory_equal(values, tensor("values", i)->data, sizeof(values));
  }
}

/* [side / patch, side / patch, 3, patch, patch]; what does not fill a patch is left out */
static void patches_are_cut_out_of_pictures(void **state)
{
  enum { PATCH = 5, GRID = 6 };
  const ti_image image = { pictures[0]->width, pictures[0]->height, pictures[0]->pixels };
  const float *all = tensor("values", 0)->data;
  float values[GRID][GRID][3][PATCH][PATCH];

  (void)state;
  assert_int_equal(
    ti_clip_image_values(&values[0][0][0][0][0], &session->error, &clip->image, &image, PATCH),
    TEXTINV_OK);
  for (int y = 0; y < GRID * PATCH; y++) {
    for (int x = 0; x < GRID * PATCH; x++) {
      for (int k = 0; k < 3; k++)
        assert_true(values[y / PATCH][x / PATCH][k][y % PATCH][x % PATCH] ==
                    all[(k * SIDE + y) * SIDE + x]);
    }
  }
}

static void sizes_are_those_of_the_config(void **state)
{
  textinv_clip_info info;

  (void)state;
  must(textinv_clip_info_init(&info, sizeof(info)));
  must(textinv_clip_get_info(clip, &info));
  assert_string_equal(info.path, golden);
  assert_int_equal(info.parameters, 38048);
  assert_int_equal(info.dim, DIM);
  assert_int_equal(info.size, SIDE);
  assert_int_equal(info.patch, 8);
  assert_int_equal(info.max_tokens, 77);
  assert_int_equal(info.vocabulary, 717);
}

static void embeddings_are_those_of_transformers(void **state)
{
  float out[DIM];
  size_t truncated = 7;

  (void)state;
  assert_int_equal(textinv_clip_dim(clip), DIM);
  for (int i = 0; i < 2; i++) {
    must(textinv_clip_encode_image(session, out, DIM, clip, pictures[i], 0));
    assert_true(test_relative_error(TI_F32, out, tensor("image", i)->data, DIM) < 1e-5);
  }
  must(textinv_clip_encode_text(session, out, DIM, &truncated, clip, "a photo of  on the beach"));
  assert_true(test_relative_error(TI_F32, out, ti_safetensors_find(expected, "text")->data, DIM) <
              1e-5);
  assert_int_equal(truncated, 0);
}

static void texts_that_do_not_fit_are_cut(void **state)
{
  char text[400] = "";
  textinv_session *quiet = listen();
  size_t truncated;
  float out[DIM];

  (void)state;
  for (int i = 0; i < 80; i++)
    strcat(text, "a ");
  must(textinv_clip_encode_text(session, out, DIM, &truncated, clip, text));
  assert_int_equal(truncated, 5);
  assert_int_equal(heard.count, 1);
  hush(quiet);
}

/* a session of its own takes the place of the one that is returned, until hush() */
static textinv_session *open_another(textinv_dtype dtype, uint64_t memory_budget)
{
  textinv_session *const before = session;
  textinv_session_params p;

  must(textinv_session_params_init(&p, sizeof(p)));
  p.dtype = dtype;
  p.memory_budget = memory_budget;
  must(textinv_session_new(&session, &p));
  return before;
}

static void bf16_is_near(void **state)
{
  textinv_session *const f32 = open_another(TEXTINV_BF16, 0);
  float out[DIM];

  (void)state;
  must(textinv_clip_encode_image(session, out, DIM, clip, pictures[0], 0));
  const double error = test_relative_error(TI_F32, out, tensor("image", 0)->data, DIM);

  assert_true(error > 1e-5 && error < 2e-2);
  hush(f32);
}

/* ------------------------------------------------------------------ scores */

static textinv_evaluate_params params(void)
{
  static const char *const placeholders[] = { "<toy", "<toy>" }; /* the longest is taken out */
  static const char *prompt;
  textinv_evaluate_params p;

  prompt = ti_safetensors_metadata(expected, "prompt");
  must(textinv_evaluate_params_init(&p, sizeof(p)));
  p.pictures = (const textinv_images *const *)pictures;
  p.num_pictures = 2;
  p.references = (const textinv_images *const *)pictures;
  p.num_references = 2;
  p.prompts = &prompt;
  p.num_prompts = 1;
  p.placeholders = placeholders;
  p.num_placeholders = 2;
  return p;
}

static textinv_scores empty_scores(void)
{
  textinv_scores scores;

  must(textinv_scores_init(&scores, sizeof(scores)));
  return scores;
}

static int32_t count_calls(void *user, const textinv_progress *progress)
{
  assert_string_equal(progress->phase, "evaluate");
  assert_int_equal(progress->step, ++*(uint32_t *)user);
  assert_int_equal(progress->steps, 4);
  assert_true(progress->eta > 0.0 || progress->step == 4);
  assert_true(progress->eta == 0.0 || progress->step < 4);
  return 0;
}

static void scores_are_means_of_cosines(void **state)
{
  const float *const images[2] = { tensor("image", 0)->data, tensor("image", 1)->data };
  const float *text = ti_safetensors_find(expected, "text")->data;
  const double between = cosine(images[0], images[1]);
  textinv_scores scores = empty_scores();
  textinv_evaluate_params p = params();
  uint32_t calls = 0;
  float each[2][2];

  (void)state;
  p.progress = count_calls;
  p.progress_user = &calls;
  must(textinv_evaluate(session, &scores, each[0], 4, clip, &p));
  assert_int_equal(calls, 4);
  assert_int_equal(scores.num_pictures, 2);
  assert_int_equal(scores.num_references, 2);
  assert_float_equal(scores.image_similarity, (1.0 + between) / 2.0, 1e-5);
  assert_float_equal(scores.text_similarity,
                     (cosine(images[0], text) + cosine(images[1], text)) / 2.0, 1e-5);
  for (int i = 0; i < 2; i++) {
    assert_float_equal(each[i][0], (1.0 + between) / 2.0, 1e-5);
    assert_float_equal(each[i][1], cosine(images[i], text), 1e-5);
  }

  /* one reference; no prompt */
  p.num_references = 1;
  p.num_prompts = p.num_placeholders = 0;
  p.progress = NULL;
  must(textinv_evaluate(session, &scores, each[0], 4, clip, &p));
  assert_float_equal(each[0][0], 1.0, 1e-5);
  assert_float_equal(each[1][0], between, 1e-5);
  assert_true(scores.text_similarity == 0.0f && each[0][1] == 0.0f);

  /* no reference; a prompt for each handle, of which one has two pictures */
  const char *const prompts[2] = { "a photo of  on the beach", "a dog" };
  textinv_images *both;
  float dog[DIM];

  must(textinv_clip_encode_text(session, dog, DIM, NULL, clip, prompts[1]));
  must(textinv_images_new(&both, session, NULL, 2, (uint32_t)pictures[1]->width,
                          (uint32_t)pictures[1]->height));
  for (uint32_t i = 0; i < 2; i++)
    memcpy(textinv_images_pixels(both, i), textinv_images_pixels(pictures[1], 0),
           tensor("picture", 1)->bytes);
  const textinv_images *const handles[2] = { pictures[0], both };
  float three[3][2];

  p.pictures = handles;
  p.num_references = 0;
  p.prompts = prompts;
  p.num_prompts = 2;
  must(textinv_evaluate(session, &scores, three[0], 6, clip, &p));
  assert_int_equal(scores.num_pictures, 3);
  assert_float_equal(three[0][1], cosine(images[0], text), 1e-5);
  assert_float_equal(three[1][1], cosine(images[1], dog), 1e-5);
  assert_true(three[2][1] == three[1][1]);
  assert_float_equal(scores.text_similarity, (three[0][1] + 2.0 * three[1][1]) / 3.0, 1e-6);
  assert_true(scores.image_similarity == 0.0f && three[0][0] == 0.0f);
  must(textinv_evaluate(session, &scores, NULL, 0, clip, &p));
  textinv_images_free(both);
}

static void every_picture_of_a_handle_is_its_own(void **state)
{
  enum { W = 20, H = 12, BYTES = W * H * 3 };
  uint8_t pixels[2 * BYTES];
  float alone[DIM], held[DIM], first[DIM];
  textinv_images *both, *one;

  (void)state;
  test_seed(23);
  for (size_t i = 0; i < sizeof(pixels); i++)
    pixels[i] = (uint8_t)test_u32();
  must(textinv_images_new(&both, session, pixels, 2, W, H));
  for (uint32_t i = 0; i < 2; i++) {
    must(textinv_images_new(&one, session, pixels + i * BYTES, 1, W, H));
    must(textinv_clip_encode_image(session, alone, DIM, clip, one, 0));
    must(textinv_clip_encode_image(session, held, DIM, clip, both, i));
    assert_memory_equal(held, alone, sizeof(held));
    textinv_images_free(one);
    if (!i)
      memcpy(first, held, sizeof(first));
  }
  assert_memory_not_equal(held, first, sizeof(held));
  textinv_images_free(both);
}

static void a_placeholder_that_no_prompt_has_is_told(void **state)
{
  static const char *const mistyped[] = { "<tyo>" };
  textinv_session *quiet = listen();
  textinv_scores scores = empty_scores();
  textinv_evaluate_params p = params();

  (void)state;
  must(textinv_evaluate(session, &scores, NULL, 0, clip, &p));
  assert_int_equal(heard.count, 0);
  p.placeholders = mistyped;
  p.num_placeholders = 1;
  must(textinv_evaluate(session, &scores, NULL, 0, clip, &p));
  assert_int_equal(heard.count, 1);
  assert_string_equal(heard.last, "no prompt has the word \"<tyo>\"");
  hush(quiet);
}

static int32_t stop_at_3(void *user, const textinv_progress *progress)
{
  (void)user;
  return progress->step == 3;
}

static void a_call_that_fails_changes_no_score(void **state)
{
  textinv_scores scores = empty_scores();
  textinv_evaluate_params p = params();

  (void)state;
  scores.image_similarity = 7.0f;
  p.progress = stop_at_3;
  refused(textinv_evaluate(session, &scores, NULL, 0, clip, &p), TEXTINV_E_CANCELLED, "3 of 4");
  textinv_session_cancel(session);
  p.progress = NULL;
  refused(textinv_evaluate(session, &scores, NULL, 0, clip, &p), TEXTINV_E_CANCELLED, "");
  assert_true(scores.image_similarity == 7.0f);
  must(textinv_evaluate(session, &scores, NULL, 0, clip, &p));
  assert_true(scores.image_similarity < 1.0f);
}

static void arguments_are_checked(void **state)
{
  const textinv_images *const hole[2] = { pictures[0], NULL };
  textinv_scores scores = empty_scores(), raw;
  textinv_session *const s = session;
  const textinv_images *const one = pictures[0];
  textinv_evaluate_params p = params();
  textinv_clip_info info = { 0 };
  textinv_images *narrow;
  textinv_clip *c;
  float out[DIM];

  (void)state;
  refused(textinv_clip_open(NULL, s, golden), TEXTINV_E_INVALID, "out is NULL");
  assert_int_equal(textinv_clip_open(&c, NULL, golden), TEXTINV_E_INVALID);
  assert_string_equal(textinv_session_error(NULL), "session is NULL");
  textinv_clip_free(NULL);
  assert_int_equal(textinv_clip_dim(NULL), 0);
  assert_int_equal(textinv_clip_get_info(NULL, &info), TEXTINV_E_INVALID);
  assert_string_equal(textinv_session_error(NULL), "clip is NULL");
  assert_int_equal(textinv_clip_get_info(clip, &info), TEXTINV_E_INVALID); /* not made ready */

  refused(textinv_clip_encode_image(s, NULL, DIM, clip, one, 0), TEXTINV_E_INVALID, "out is NULL");
  refused(textinv_clip_encode_image(s, out, DIM, NULL, one, 0), TEXTINV_E_INVALID, "clip is NULL");
  refused(textinv_clip_encode_image(s, out, DIM, clip, NULL, 0), TEXTINV_E_INVALID, "images");
  refused(textinv_clip_encode_image(s, out, DIM, clip, one, 1), TEXTINV_E_INVALID,
          "picture 1 of 1");
  refused(textinv_clip_encode_image(s, out, 7, clip, one, 0), TEXTINV_E_SHAPE, "7 values; 12");
  assert_int_equal(textinv_clip_encode_image(NULL, out, DIM, clip, one, 0), TEXTINV_E_INVALID);
  must(textinv_images_new(&narrow, s, NULL, 1, 1, 1000));
  refused(textinv_clip_encode_image(s, out, DIM, clip, narrow, 0), TEXTINV_E_LIMIT, "40 x 40000");
  p.pictures = (const textinv_images *const[]){ one, narrow };
  refused(textinv_evaluate(s, &scores, NULL, 0, clip, &p), TEXTINV_E_LIMIT,
          "picture 1, of 1 x 1000: resize: the picture is 40 x 40000");
  p = params();
  textinv_images_free(narrow);

  refused(textinv_clip_encode_text(s, NULL, DIM, NULL, clip, "a"), TEXTINV_E_INVALID, "out");
  refused(textinv_clip_encode_text(s, out, DIM, NULL, NULL, "a"), TEXTINV_E_INVALID, "clip");
  refused(textinv_clip_encode_text(s, out, DIM, NULL, clip, NULL), TEXTINV_E_INVALID, "text");
  refused(textinv_clip_encode_text(s, out, 13, NULL, clip, "a"), TEXTINV_E_SHAPE, "13 values; 12");
  assert_int_equal(textinv_clip_encode_text(NULL, out, DIM, NULL, clip, "a"), TEXTINV_E_INVALID);

  memset(&raw, 0, sizeof(raw));
  assert_int_equal(textinv_evaluate(NULL, &scores, NULL, 0, clip, &p), TEXTINV_E_INVALID);
  refused(textinv_evaluate(s, NULL, NULL, 0, clip, &p), TEXTINV_E_INVALID, "textinv_scores_init");
  refused(textinv_evaluate(s, &raw, NULL, 0, clip, &p), TEXTINV_E_INVALID, "textinv_scores_init");
  refused(textinv_evaluate(s, &scores, NULL, 0, NULL, &p), TEXTINV_E_INVALID, "clip is NULL");
  refused(textinv_evaluate(s, &scores, NULL, 0, clip, NULL), TEXTINV_E_INVALID, "evaluate_params");
  refused(textinv_evaluate(s, &scores, out, 5, clip, &p), TEXTINV_E_SHAPE, "5 values; 4");

  p.pictures = hole;
  refused(textinv_evaluate(s, &scores, NULL, 0, clip, &p), TEXTINV_E_INVALID,
          "pictures[1] is NULL");
  p.num_pictures = 0;
  refused(textinv_evaluate(s, &scores, NULL, 0, clip, &p), TEXTINV_E_INVALID, "no pictures");
  p = params();
  p.references = NULL;
  refused(textinv_evaluate(s, &scores, NULL, 0, clip, &p), TEXTINV_E_INVALID, "references is NULL");
  p.num_references = p.num_prompts = 0;
  refused(textinv_evaluate(s, &scores, NULL, 0, clip, &p), TEXTINV_E_INVALID, "neither");
  p = params();
  p.prompts = p.placeholders;
  p.num_prompts = 2;
  p.num_pictures = 1;
  refused(textinv_evaluate(s, &scores, NULL, 0, clip, &p), TEXTINV_E_INVALID, "num_prompts is 2");
  const textinv_images *many[257];
  textinv_images *dots;

  must(textinv_images_new(&dots, s, NULL, 4096, 1, 1));
  for (int i = 0; i < 257; i++)
    many[i] = dots;
  for (int references = 0; references < 2; references++) {
    p = params();
    *(references ? &p.references : &p.pictures) = many;
    *(references ? &p.num_references : &p.num_pictures) = 257;
    refused(textinv_evaluate(s, &scores, NULL, 0, clip, &p), TEXTINV_E_LIMIT,
            references ? "references has 1052672 pictures; at most 1048576"
                       : "pictures has 1052672 pictures; at most 1048576");
  }
  textinv_images_free(dots);
  p = params();
  p.placeholders = (const char *const[]){ "<toy>", "" };
  refused(textinv_evaluate(s, &scores, NULL, 0, clip, &p), TEXTINV_E_INVALID, "a word is empty");
}

/* ------------------------------------------------------------------ folders */

/* a copy of the golden folder */
static const char *copy(const char *name)
{
  static const char *const files[] = {
    "config.json", "model.safetensors",     "vocab.json",
    "merges.txt",  "tokenizer_config.json", "preprocessor_config.json"
  };
  static char folder[256], bytes[1 << 17];

  snprintf(folder, sizeof(folder), "%s", test_path(name));
  assert_int_equal(mkdir(folder, 0755), 0);
  for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
    char path[400];

    snprintf(path, sizeof(path), "%s/%s", golden, files[i]);
    FILE *f = fopen(path, "rb");

    assert_non_null(f);
    const size_t size = fread(bytes, 1, sizeof(bytes), f);

    assert_true(size < sizeof(bytes));
    fclose(f);
    snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    fclose(f);
  }
  return folder;
}

static void not_opened(const char *folder, textinv_status status, const char *part)
{
  textinv_clip *c = (textinv_clip *)1;

  refused(textinv_clip_open(&c, session, folder), status, part);
  assert_null(c);
  if (!strstr(textinv_session_error(session), folder))
    fail_msg("\"%s\" does not name %s", textinv_session_error(session), folder);
}

static void folders_that_are_none_are_refused(void **state)
{
  static const struct {
    const char *file, *old, *new_text; /* old NULL: the file goes */
    textinv_status status;
    const char *part;
  } cases[] = {
    { "config.json", "\"model_type\": \"clip\"", "\"model_type\": \"siglip\"",
      TEXTINV_E_UNSUPPORTED, "model_type \"siglip\"" },
    { "config.json", "\"vision_config\"", "\"no_config\"", TEXTINV_E_FORMAT,
      "\"vision_config\" is missing" },
    { "config.json", "\"text_config\": {", "\"text_config\": [], \"other\": {", TEXTINV_E_FORMAT,
      "\"text_config\" is an array" },
    { "config.json", "\"patch_size\": 8", "\"patch_size\": 16", TEXTINV_E_SHAPE,
      "patch_embedding.weight has another shape than hidden_size 24 and patch_size 16" },
    { "config.json", "\"patch_size\": 8", "\"patch_size\": 33", TEXTINV_E_SHAPE,
      "patch_size 33 is more than image_size 32" },
    { "config.json", "\"image_size\": 32", "\"image_size\": 40", TEXTINV_E_UNSUPPORTED,
      "not cut to 40 x 40" },
    { "config.json", "\"num_channels\": 3", "\"num_channels\": 4", TEXTINV_E_UNSUPPORTED,
      "vision_config: num_channels 4" },
    { "config.json", "\"projection_dim\": 12", "\"projection_dim\": 13", TEXTINV_E_SHAPE,
      "text_projection has 12 channels; the config says 13" },
    { "config.json", "\"hidden_act\": \"gelu\"", "\"hidden_act\": \"relu\"", TEXTINV_E_UNSUPPORTED,
      "vision_config: hidden_act \"relu\"" },
    { "config.json", "\"num_attention_heads\": 3", "\"num_attention_heads\": 5", TEXTINV_E_SHAPE,
      "5 does not divide hidden_size 24" },
    { "config.json", "\"vocab_size\": ", "\"vocab_size\": 1", TEXTINV_E_SHAPE, "the config says" },
    { "config.json", NULL, NULL, TEXTINV_E_NOT_FOUND, "no config.json" },
    { "model.safetensors", NULL, NULL, TEXTINV_E_NOT_FOUND, "no weights" },
    { "model.safetensors", "vision_model.pre_layrnorm.bias", "vision_model.pre_layrnorm.bios",
      TEXTINV_E_FORMAT, "tensor vision_model.pre_layrnorm.bias is missing" },
    { "model.safetensors", "visual_projection.weight", "visual_projection.weighs", TEXTINV_E_FORMAT,
      "visual_projection.weight is missing" },
    { "model.safetensors", "vision_model.embeddings.class_embedding",
      "vision_model.embeddings.glass_embedding", TEXTINV_E_FORMAT, "class_embedding is missing" },
    { "model.safetensors", "text_projection.weight", "text_projection.weighs", TEXTINV_E_FORMAT,
      "text_projection.weight is missing" },
    { "model.safetensors", "text_model.final_layer_norm.bias", "text_model.final_layer_norm.bios",
      TEXTINV_E_FORMAT, "text_model.final_layer_norm.bias is missing" },
    { "vocab.json", NULL, NULL, TEXTINV_E_NOT_FOUND, "vocab.json" },
    { "preprocessor_config.json", NULL, NULL, TEXTINV_E_NOT_FOUND, "processor_config.json" },
    { "preprocessor_config.json", "\"do_resize\": true", "\"do_resize\": false",
      TEXTINV_E_UNSUPPORTED, "do_resize is false" },
    { "preprocessor_config.json", "\"do_rescale\": true", "\"do_rescale\": false",
      TEXTINV_E_UNSUPPORTED, "do_rescale is false" },
    { "preprocessor_config.json", "\"do_normalize\": true", "\"do_normalize\": false",
      TEXTINV_E_UNSUPPORTED, "do_normalize is false" },
    { "preprocessor_config.json", "\"do_center_crop\": true", "\"do_center_crop\": false",
      TEXTINV_E_UNSUPPORTED, "not cut to 32 x 32" },
    { "preprocessor_config.json", "\"resample\": 3", "\"resample\": 2", TEXTINV_E_UNSUPPORTED,
      "resample 2" },
    { "preprocessor_config.json", "\"shortest_edge\": 40", "\"shortest_edge\": 31",
      TEXTINV_E_UNSUPPORTED, "size 31 is less than crop_size 32" },
    { "preprocessor_config.json", "\"shortest_edge\": 40",
      "\"shortest_edge\": 40, \"longest_edge\": 60", TEXTINV_E_UNSUPPORTED, "size: known are" },
    { "preprocessor_config.json", "\"shortest_edge\": 40", "\"height\": 40, \"width\": 50",
      TEXTINV_E_UNSUPPORTED, "size: known are" },
    { "preprocessor_config.json", "\"shortest_edge\": 40", "", TEXTINV_E_UNSUPPORTED,
      "size: known are" },
    { "preprocessor_config.json", "0.48145466,", "", TEXTINV_E_FORMAT, "image_mean has 2 entries" },
    { "preprocessor_config.json", "0.26862954,", "0.0,", TEXTINV_E_LIMIT, "image_std[0] is 0" },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    char name[32], path[400];

    snprintf(name, sizeof(name), "case-%zu", i);
    const char *folder = copy(name);

    snprintf(path, sizeof(path), "%s/%s", folder, cases[i].file);
    if (cases[i].old)
      tiny_model_edit(folder, cases[i].file, cases[i].old, cases[i].new_text);
    else
      assert_int_equal(unlink(path), 0);
    not_opened(folder, cases[i].status, cases[i].part);
  }
  not_opened("tests/golden/tiny-sd", TEXTINV_E_NOT_FOUND, "expected the folder of a CLIPModel");
  not_opened("tests/golden/tiny-sd/text_encoder", TEXTINV_E_UNSUPPORTED, "clip_text_model");
  not_opened("tests/golden/nowhere", TEXTINV_E_NOT_FOUND, "no config.json");
  not_opened("tests/golden/clip.py", TEXTINV_E_NOT_FOUND, "no config.json");
}

static void a_tokenizer_of_bert_is_refused(void **state)
{
  static const char *const clips[] = { "vocab.json", "merges.txt", "tokenizer_config.json" };
  char path[400], *vocab = realpath("tests/golden/tiny-ldm/tokenizer/vocab.txt", NULL);
  const char *folder = copy("bert");

  (void)state;
  for (int i = 0; i < 3; i++) {
    snprintf(path, sizeof(path), "%s/%s", folder, clips[i]);
    assert_int_equal(unlink(path), 0);
  }
  snprintf(path, sizeof(path), "%s/vocab.txt", folder);
  assert_non_null(vocab);
  assert_int_equal(symlink(vocab, path), 0);
  free(vocab);
  not_opened(folder, TEXTINV_E_UNSUPPORTED, "the tokenizer is BERT's, expected CLIP's");
}

/* what older and newer versions of transformers write, and what is not in a file */
static void settings_of_pictures_are_found(void **state)
{
  static const char file[] = "preprocessor_config.json";
  static const struct {
    const char *old, *new_text;
  } cases[] = {
    { "\"size\": {\n    \"shortest_edge\": 40\n  }", "\"size\": 40" },
    { "\"crop_size\": {\n    \"height\": 32,\n    \"width\": 32\n  }", "\"crop_size\": 32" },
    { "\"do_rescale\": true,", "" },
    { "\"resample\": 3,", "" },
    { "\"image_mean\": [\n    0.48145466,\n    0.4578275,\n    0.40821073\n  ],", "" },
    { "\"image_std\": [\n    0.26862954,\n    0.26130258,\n    0.27577711\n  ],", "" },
    { "{", "{\"image_processor\": {" },
  };
  const char *folder = copy("old");
  char path[400], moved[400];
  textinv_clip *c;

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    tiny_model_edit(folder, file, cases[i].old, cases[i].new_text);
    if (i + 1 == sizeof(cases) / sizeof(*cases)) { /* the last one: all of it in the other file */
      snprintf(path, sizeof(path), "%s/%s", folder, file);
      snprintf(moved, sizeof(moved), "%s/processor_config.json", folder);
      assert_int_equal(rename(path, moved), 0);
      FILE *f = fopen(moved, "a");

      assert_non_null(f);
      fprintf(f, "}\n");
      fclose(f);
    }
    must(textinv_clip_open(&c, session, folder));
    assert_memory_equal(&c->image, &clip->image, sizeof(c->image));
    textinv_clip_free(c);
  }

  /* both sides at once, without a cut */
  folder = copy("square");
  tiny_model_edit(folder, file, "\"shortest_edge\": 40", "\"height\": 32, \"width\": 32");
  tiny_model_edit(folder, file, "\"do_center_crop\": true", "\"do_center_crop\": false");
  tiny_model_edit(folder, file, "\"resample\": 3", "\"resample\": 1");
  must(textinv_clip_open(&c, session, folder));
  assert_int_equal(c->image.square, 1);
  assert_int_equal(c->image.size, 32);
  assert_int_equal(c->image.filter, TI_LANCZOS);
  textinv_clip_free(c);
}

static void the_budget_is_kept(void **state)
{
  textinv_session *const roomy = open_another(TEXTINV_F32, 1 << 16);
  float out[DIM];

  (void)state;
  refused(textinv_clip_encode_image(session, out, DIM, clip, pictures[0], 0), TEXTINV_E_NOMEM,
          "memory budget");
  hush(roomy);
}

/* ------------------------------------------------------------------ what goes with the library */

enum { OBJECTS = 6, VIEWS = 5 };

/* two pictures of an object beside three of the same or another one */
static float similarity_of(const textinv_clip *toybox, textinv_images *const *pair,
                           textinv_images *const *three)
{
  textinv_scores scores = empty_scores();
  textinv_evaluate_params p;

  must(textinv_evaluate_params_init(&p, sizeof(p)));
  p.pictures = (const textinv_images *const *)pair;
  p.num_pictures = 2;
  p.references = (const textinv_images *const *)three;
  p.num_references = 3;
  must(textinv_evaluate(session, &scores, NULL, 0, toybox, &p));
  return scores.image_similarity;
}

/* pictures of a held-out object are more like its others than other objects' are, in the mean */
static void things_are_told_apart(void **state)
{
  static const char *const objects[OBJECTS] = { "vase",         "backpack",  "teddy-bear",
                                                "red-sneakers", "toy-train", "yellow-scooter" };
  textinv_images *views[OBJECTS][VIEWS];
  float own = 0.0f, others = 0.0f;
  textinv_clip *toybox;

  (void)state;
  must(textinv_clip_open(&toybox, session, "models/toybox-clip"));
  for (int i = 0; i < OBJECTS; i++) {
    for (int k = 0; k < VIEWS; k++) {
      char path[128];

      snprintf(path, sizeof(path), "examples/toybox/heldout/%s/%d.png", objects[i], k);
      must(textinv_image_read(&views[i][k], session, path));
    }
  }
  for (int i = 0; i < OBJECTS; i++) {
    for (int k = 0; k < OBJECTS; k++) {
      const float similarity = similarity_of(toybox, views[k], views[i] + 2);

      if (k == i)
        own += similarity / OBJECTS;
      else
        others += similarity / (OBJECTS * (OBJECTS - 1));
    }
  }
  if (!(own > others + 0.08f))
    fail_msg("own pictures %g, others %g", (double)own, (double)others);
  for (int i = 0; i < OBJECTS; i++) {
    for (int k = 0; k < VIEWS; k++)
      textinv_images_free(views[i][k]);
  }
  textinv_clip_free(toybox);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(pictures_are_seen_as_by_the_image_processor),
    cmocka_unit_test(patches_are_cut_out_of_pictures),
    cmocka_unit_test(sizes_are_those_of_the_config),
    cmocka_unit_test(embeddings_are_those_of_transformers),
    cmocka_unit_test(texts_that_do_not_fit_are_cut),
    cmocka_unit_test(bf16_is_near),
    cmocka_unit_test(scores_are_means_of_cosines),
    cmocka_unit_test(every_picture_of_a_handle_is_its_own),
    cmocka_unit_test(a_placeholder_that_no_prompt_has_is_told),
    cmocka_unit_test(a_call_that_fails_changes_no_score),
    cmocka_unit_test(arguments_are_checked),
    cmocka_unit_test(folders_that_are_none_are_refused),
    cmocka_unit_test(a_tokenizer_of_bert_is_refused),
    cmocka_unit_test(settings_of_pictures_are_found),
    cmocka_unit_test(the_budget_is_kept),
    cmocka_unit_test(things_are_told_apart),
  };

  return cmocka_run_group_tests(tests, open_all, close_all);
}
