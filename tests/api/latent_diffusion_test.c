/* Latent diffusion models, with a BERT for CLIP: how they are read, their words, and an inversion.
 * tests/nets/golden_test.c has their numbers. */
#include "testing_invert.h"

#include <math.h>
#include <stdlib.h>

#include "api.h"
#include "sampler_state.h"

/* tiny-ldm in a folder of its own */
static const char *copy_of_ldm(const char *name)
{
  static char folder[512];
  char command[1200];

  snprintf(folder, sizeof(folder), "%s", test_path(name));
  snprintf(command, sizeof(command), "cp -R tests/golden/tiny-ldm '%s'", folder);
  assert_int_equal(system(command), 0);
  return folder;
}

/* LDMTextToImagePipeline takes its configs as they are */
static void models_are_read_as_their_pipeline_reads_them(void **state)
{
  static const char config[] = "scheduler/scheduler_config.json";
  const char *folder = copy_of_ldm("ldm");
  textinv_model_info info;
  ti_sampler *sampler;
  ti_error error;
  textinv_model *ldm;

  (void)state;
  tiny_model_edit(folder, config, "\"clip_sample\": false", "\"clip_sample\": true");
  tiny_model_edit(folder, "unet/config.json", "\"_diffusers_version\": \"0.42.1\"",
                  "\"_diffusers_version\": \"0.0.4\"");
  tiny_model_edit(folder, "tokenizer/tokenizer_config.json", "\"model_max_length\": 512",
                  "\"model_max_length\": 16");
  must(textinv_model_open(&ldm, session, folder));
  must(textinv_model_info_init(&info, sizeof(info)));
  must(textinv_model_get_info(ldm, &info));
  assert_int_equal(info.num_encoders, 1);
  assert_int_equal(info.embedding_dim[0], 16);
  assert_int_equal(info.max_tokens, 77);
  assert_int_equal(info.size, 16);
  assert_string_equal(info.sampler, "ddim");
  if (ti_sampler_new(&sampler, &error, &ldm->schedule, TEXTINV_SAMPLER_DEFAULT, 10, 1.0f, 1) < 0)
    fail_msg("%s", error.text);
  assert_true(ti_sampler_timestep(sampler, 0) == 900.0f && sampler->clip);
  ti_sampler_free(sampler);
  textinv_model_free(ldm);
}

static void broken_models_are_refused(void **state)
{
  static const struct {
    const char *file, *old, *new_text;
    textinv_status status;
    const char *message;
  } cases[] = {
    { "bert/config.json", "\"gelu\"", "\"relu\"", TEXTINV_E_UNSUPPORTED,
      "bert/config.json: activation_function \"relu\"" },
    { "bert/config.json", "\"head_dim\": 4", "\"head_dim\": 8", TEXTINV_E_SHAPE,
      "layers.0.self_attn has 12 channels; the config says 24" },
    { "bert/config.json", "\"encoder_ffn_dim\": 64", "\"encoder_ffn_dim\": 32", TEXTINV_E_SHAPE,
      "layers.0.fc1 has 64 channels; the config says 32" },
    { "bert/config.json", "\"d_model\": 16", "\"d_model\": 24", TEXTINV_E_SHAPE, "24" },
    { "bert/config.json", "\"vocab_size\": 339", "\"vocab_size\": 340", TEXTINV_E_SHAPE,
      "/bert: model.embed_tokens.weight is [339, 16]; the config says [340, 16]" },
    { "bert/config.json", "\"vocab_size\": 339", "\"vocab_size\": 338", TEXTINV_E_SHAPE,
      "tokenizer has 339 words, the table of " },
    { "bert/config.json", "\"encoder_layers\": 2", "\"encoder_layers\": 3", TEXTINV_E_FORMAT,
      "layers.2.self_attn_layer_norm.weight is missing" },
    { "bert/config.json", "\"encoder_attention_heads\": 3", "\"encoder_attention_heads\": 0",
      TEXTINV_E_LIMIT, "encoder_attention_heads" },
    { "model_index.json", "\"LDMBertModel\"", "\"BertModel\"", TEXTINV_E_UNSUPPORTED,
      "bert is a BertModel; known is LDMBertModel" },
    { "model_index.json", "\"AutoencoderKL\"", "\"VQModel\"", TEXTINV_E_UNSUPPORTED,
      "vqvae is a VQModel; known is AutoencoderKL" },
    { "unet/config.json", "\"cross_attention_dim\": 16", "\"cross_attention_dim\": 24",
      TEXTINV_E_SHAPE, "cross_attention_dim 24; the text encoders give 16" },
    { "tokenizer/vocab.txt", "[CLS]", "[cls]", TEXTINV_E_FORMAT, "\"cls_token\" is \"[CLS]\"" },
  };
  textinv_model *ldm;

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    char name[32];
    const char *folder;

    snprintf(name, sizeof(name), "broken-%zu", i);
    folder = copy_of_ldm(name);
    tiny_model_edit(folder, cases[i].file, cases[i].old, cases[i].new_text);
    refused(textinv_model_open(&ldm, session, folder), cases[i].status, cases[i].message);
    assert_null(ldm);
  }
}

/* with the UNet of SDXL, which needs a pooled text */
static void text_is_not_pooled(void **state)
{
  const char *folder = copy_of_ldm("pooled");
  textinv_model *ldm;

  (void)state;
  tiny_model_edit(folder, "unet/config.json", "\"addition_embed_type\": null",
                  "\"addition_embed_type\": \"text_time\"");
  tiny_model_edit(folder, "unet/config.json", "\"addition_time_embed_dim\": null",
                  "\"addition_time_embed_dim\": 8");
  tiny_model_edit(folder, "unet/config.json", "\"projection_class_embeddings_input_dim\": null",
                  "\"projection_class_embeddings_input_dim\": 64");
  refused(textinv_model_open(&ldm, session, folder), TEXTINV_E_UNSUPPORTED,
          "unet/config.json: addition_embed_type \"text_time\" with a BERT");
}

/* the tokenizer of the other kind of model */
static void tokenizers_go_with_their_encoders(void **state)
{
  static const char *const moves[2][2] = { { "tiny-sd", "ldm-with-clip" }, { "tiny-ldm", "bert" } };
  textinv_model *ldm;

  (void)state;
  for (int i = 0; i < 2; i++) {
    const char *folder = i ? tiny_model_copy(moves[i][1]) : copy_of_ldm(moves[i][1]);
    char command[1200];

    snprintf(command, sizeof(command),
             "rm -r '%s/tokenizer' && cp -R tests/golden/%s/tokenizer '%s/tokenizer'", folder,
             moves[i][0], folder);
    assert_int_equal(system(command), 0);
    refused(textinv_model_open(&ldm, session, folder), TEXTINV_E_UNSUPPORTED,
            i ? "/tokenizer is not the tokenizer of a CLIP model"
              : "/tokenizer is not the tokenizer of a BERT model");
  }
}

/* of a vocabulary without "</w>", of words in lower case and without accents */
static void words_are_those_of_bert(void **state)
{
  static const char *const ordinary[] = { "robot", "ROBOT", "rob\xc3\xb2t", "##ing", "[SEP]" };
  textinv_embeddings *e = new_words();
  textinv_model *ldm;
  const textinv_tokenizer *t;
  uint32_t ids[8];
  size_t count;

  (void)state;
  must(textinv_model_open(&ldm, session, "tests/golden/tiny-ldm"));
  t = textinv_model_tokenizer(ldm, 0);
  for (size_t i = 0; i < sizeof(ordinary) / sizeof(*ordinary); i++)
    refused(textinv_embeddings_add(session, e, ldm, ordinary[i], 1, NULL, 0), TEXTINV_E_CONFLICT,
            "is in the vocabulary already");
  must(textinv_embeddings_add(session, e, ldm, "<toy>", 0, "toy robot", 0));
  assert_int_equal(textinv_embeddings_vectors(e, "<toy>"), 2);
  assert_int_equal(textinv_embeddings_dim(e, "<toy>", 0), 16);
  must(textinv_tokenizer_encode(session, ids, 8, &count, t, NULL, "toy robot"));
  assert_int_equal(count, 4);
  for (int v = 0; v < 2; v++) {
    const ti_weight *table = ti_weights_find(&ldm->encoders[0].weights,
                                             "model.embed_tokens.weight");
    float row[16];

    ti_convert(TI_F32, row, table->dtype,
               (const char *)table->data + ids[1 + v] * 16 * ti_dtype_size(table->dtype), 16);
    assert_memory_equal(row, textinv_embeddings_rows(e, "<toy>", 0) + 16 * v, sizeof(row));
  }
  must(textinv_tokenizer_encode(session, ids, 8, &count, t, e, "a <TOY>"));
  assert_int_equal(count, 5);
  assert_int_equal(ids[2], textinv_tokenizer_size(t));
  assert_int_equal(ids[3], textinv_tokenizer_size(t) + 1);
  textinv_embeddings_free(e);
  textinv_model_free(ldm);
}

/* as a model that ends one layer earlier */
static void layers_are_left_out(void **state)
{
  enum { VALUES = 77 * 16 };
  static float whole[VALUES], skipped[VALUES], shorter[VALUES];
  const char *folder = copy_of_ldm("shorter");
  textinv_model *ldm;

  (void)state;
  must(textinv_model_open(&ldm, session, folder));
  must(textinv_encode_prompt(session, whole, VALUES, NULL, 0, NULL, ldm, NULL, "a toy", 0));
  must(textinv_encode_prompt(session, skipped, VALUES, NULL, 0, NULL, ldm, NULL, "a toy", 1));
  textinv_model_free(ldm);
  tiny_model_edit(folder, "bert/config.json", "\"encoder_layers\": 2", "\"encoder_layers\": 1");
  must(textinv_model_open(&ldm, session, folder));
  must(textinv_encode_prompt(session, shorter, VALUES, NULL, 0, NULL, ldm, NULL, "a toy", 0));
  textinv_model_free(ldm);
  assert_memory_equal(skipped, shorter, sizeof(shorter));
  assert_memory_not_equal(skipped, whole, sizeof(whole));
}

static void words_are_learnt(void **state)
{
  textinv_embeddings *e = new_words();
  textinv_concept c = concept("<toy>");
  textinv_invert_params p = params(&c, 1);
  textinv_generate_params g;
  textinv_images *images;
  textinv_model *ldm;
  float before[2 * 16];
  const float *rows;
  double change = 0.0;

  (void)state;
  must(textinv_model_open(&ldm, session, "tests/golden/tiny-ldm"));
  must(textinv_embeddings_add(session, e, ldm, "<toy>", 2, "toy", 5));
  memcpy(before, textinv_embeddings_rows(e, "<toy>", 0), sizeof(before));
  c.num_vectors = 2;
  must(textinv_invert(session, ldm, e, &p, NULL));
  rows = textinv_embeddings_rows(e, "<toy>", 0);
  for (int i = 0; i < 2 * 16; i++)
    change += fabs((double)rows[i] - (double)before[i]);
  assert_true(change > 0.01);
  must(textinv_generate_params_init(&g, sizeof(g)));
  g.prompt = "a photo of <toy>";
  g.steps = 2;
  must(textinv_generate(&images, session, ldm, e, &g));
  assert_int_equal(textinv_images_width(images), 16);
  textinv_images_free(images);
  textinv_embeddings_free(e);
  textinv_model_free(ldm);
}

static int open_all(void **state)
{
  pictures = tiny_pictures("pictures", 3, 16, 16);
  return open_tiny(state);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(models_are_read_as_their_pipeline_reads_them),
    cmocka_unit_test(broken_models_are_refused),
    cmocka_unit_test(text_is_not_pooled),
    cmocka_unit_test(tokenizers_go_with_their_encoders),
    cmocka_unit_test(words_are_those_of_bert),
    cmocka_unit_test(layers_are_left_out),
    cmocka_unit_test(words_are_learnt),
  };

  return cmocka_run_group_tests_name("latent diffusion", tests, open_all, close_tiny);
}
