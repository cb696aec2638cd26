/* Configs of networks: what they may leave out, what has to fit, and keys of other networks. */
#include <stdio.h>
#include <string.h>

#include "bert_text.h"
#include "clip_text.h"
#include "clip_vision.h"
#include "testing.h"
#include "unet.h"
#include "vae.h"

static ti_unet_config unet;
static ti_vae_config vae;
static ti_text_config text;
static ti_clip_text_config clip;
static ti_clip_vision_config vision;
static ti_bert_text_config bert;

typedef textinv_status (*reader)(ti_error *error, const ti_json *json);

static textinv_status read_unet(ti_error *error, const ti_json *json)
{
  return ti_unet_read(&unet, error, json);
}

static textinv_status read_vae(ti_error *error, const ti_json *json)
{
  return ti_vae_read(&vae, error, json);
}

static textinv_status read_clip(ti_error *error, const ti_json *json)
{
  return ti_clip_text_read(&text, &clip, error, json, 1);
}

static textinv_status read_vision(ti_error *error, const ti_json *json)
{
  return ti_clip_vision_read(&vision, error, json);
}

static textinv_status read_bert(ti_error *error, const ti_json *json)
{
  return ti_bert_text_read(&text, &bert, error, json);
}

static textinv_status read_config(ti_error *error, reader read, const char *config)
{
  ti_json json;
  textinv_status status = ti_json_parse(&json, error, "c.json", config, strlen(config));

  if (status < 0)
    fail_msg("%s", error->text);
  *error->text = '\0';
  status = read(error, &json);
  ti_json_close(&json);
  return status;
}

static void accept(reader read, const char *config)
{
  ti_error error;

  if (read_config(&error, read, config) < 0)
    fail_msg("%s: %s", config, error.text);
}

static void refuse(reader read, const char *config, textinv_status expected, const char *part)
{
  ti_error error;
  const textinv_status status = read_config(&error, read, config);

  if (status != expected || strncmp(error.text, "c.json", 6) || !strstr(error.text, part))
    fail_msg("%s: %d, %s", config, status, error.text);
}

/* {"KEY": VALUE}, and the key is named */
static void refuse_value(reader read, const char *key, const char *value, textinv_status expected)
{
  char config[128];

  snprintf(config, sizeof(config), "{\"%s\":%s}", key, value);
  refuse(read, config, expected, key);
}

/* every key with a value of a type that it does not have */
static void types_are_checked(void **state)
{
  static const struct {
    reader read;
    const char *keys[24];
  } cases[] = {
    { read_unet,
      { "block_out_channels",
        "in_channels",
        "out_channels",
        "sample_size",
        "norm_num_groups",
        "downsample_padding",
        "norm_eps",
        "freq_shift",
        "flip_sin_to_cos",
        "act_fn",
        "layers_per_block",
        "transformer_layers_per_block",
        "attention_head_dim",
        "cross_attention_dim",
        "down_block_types",
        "up_block_types",
        "only_cross_attention",
        "addition_embed_type",
        "center_input_sample",
        "conv_in_kernel",
        "mid_block_type" } },
    { read_vae,
      { "in_channels", "out_channels", "latent_channels", "layers_per_block", "norm_num_groups",
        "sample_size", "block_out_channels", "use_quant_conv", "use_post_quant_conv",
        "mid_block_add_attention", "force_upcast", "scaling_factor", "act_fn", "down_block_types",
        "up_block_types" } },
    { read_clip,
      { "vocab_size", "hidden_size", "num_hidden_layers", "max_position_embeddings",
        "intermediate_size", "num_attention_heads", "layer_norm_eps", "hidden_act",
        "projection_dim" } },
    { read_vision,
      { "hidden_size", "num_hidden_layers", "num_channels", "image_size", "patch_size",
        "intermediate_size", "num_attention_heads", "layer_norm_eps", "hidden_act" } },
    { read_bert,
      { "vocab_size", "d_model", "encoder_layers", "max_position_embeddings", "encoder_ffn_dim",
        "encoder_attention_heads", "head_dim", "activation_function" } },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    accept(cases[i].read, "{}");
    for (int k = 0; cases[i].keys[k]; k++)
      refuse_value(cases[i].read, cases[i].keys[k], "{}", TEXTINV_E_FORMAT);
  }
}

/* as transformers and diffusers have them */
static void defaults(void **state)
{
  (void)state;
  accept(read_clip, "{}");
  assert_int_equal(text.vocab, 49408);
  assert_int_equal(text.width, 512);
  assert_int_equal(text.layers, 12);
  assert_int_equal(text.positions, 77);
  assert_int_equal(clip.layer.inner, 2048);
  assert_int_equal(clip.layer.heads, 8);
  assert_true(clip.layer.eps == 1e-5);
  assert_true(clip.layer.causal);
  assert_int_equal(clip.layer.activation, TI_QUICK_GELU);
  assert_int_equal(clip.projection, 512);

  accept(read_vision, "{}");
  assert_int_equal(vision.width, 768);
  assert_int_equal(vision.layers, 12);
  assert_int_equal(vision.side, 224);
  assert_int_equal(vision.patch, 32);
  assert_int_equal(vision.layer.inner, 3072);
  assert_int_equal(vision.layer.heads, 12);
  assert_false(vision.layer.causal);

  accept(read_bert, "{}");
  assert_int_equal(text.vocab, 30522);
  assert_int_equal(text.width, 1280);
  assert_int_equal(text.layers, 32);
  assert_int_equal(text.positions, 77);
  assert_int_equal(bert.inner, 5120);
  assert_int_equal(bert.heads, 8);
  assert_int_equal(bert.head_width, 64);

  accept(read_unet, "{}");
  assert_int_equal(unet.in_channels, 4);
  assert_int_equal(unet.out_channels, 4);
  assert_int_equal(unet.sample_size, 64);
  assert_int_equal(unet.groups, 32);
  assert_int_equal(unet.downsample_padding, 1);
  assert_int_equal(unet.flip_sin_to_cos, 1);
  assert_true(unet.eps == 1e-5);
  assert_true(unet.freq_shift == 0.0);
  assert_false(unet.no_middle);
  assert_int_equal(unet.blocks, 4);
  for (int i = 0; i < 4; i++) {
    static const int channels[4] = { 320, 640, 1280, 1280 };

    assert_int_equal(unet.channels[i], channels[i]);
    assert_int_equal(unet.layers[i], 2);
    assert_int_equal(unet.transformer_layers[i], 1);
    assert_int_equal(unet.up_transformer_layers[i], 1);
    assert_int_equal(unet.heads[i], 8);
    assert_int_equal(unet.context_dim[i], 1280);
    assert_int_equal(unet.down_attention[i], i < 3);
    assert_int_equal(unet.up_attention[i], i > 0);
    assert_int_equal(unet.only_cross_attention[i], 0);
  }

  accept(read_vae, "{}");
  assert_int_equal(vae.latent_channels, 4);
  assert_int_equal(vae.layers, 1);
  assert_int_equal(vae.groups, 32);
  assert_int_equal(vae.sample_size, 32);
  assert_int_equal(vae.blocks, 1);
  assert_int_equal(vae.channels[0], 64);
  assert_int_equal(vae.quant_conv, 1);
  assert_int_equal(vae.post_quant_conv, 1);
  assert_int_equal(vae.mid_attention, 1);
  assert_int_equal(vae.force_upcast, 1);
  assert_true(vae.scaling_factor == 0.18215);
}

/* the smallest and the largest value; one less and one more are named with them */
static void limits(void **state)
{
  static const struct {
    reader read;
    const char *key;
    int min, max;
  } cases[] = {
    { read_unet, "in_channels", 1, 1024 },
    { read_unet, "out_channels", 1, 1024 },
    { read_unet, "sample_size", 1, 4096 },
    { read_unet, "norm_num_groups", 1, 4096 },
    { read_unet, "downsample_padding", 0, 1 },
    { read_unet, "block_out_channels", 1, 16384 },
    { read_unet, "layers_per_block", 1, 32 },
    { read_unet, "transformer_layers_per_block", 1, 64 },
    { read_unet, "attention_head_dim", 1, 1024 },
    { read_unet, "cross_attention_dim", 1, 16384 },
    { read_vae, "in_channels", 1, 64 },
    { read_vae, "out_channels", 1, 64 },
    { read_vae, "latent_channels", 1, 256 },
    { read_vae, "layers_per_block", 1, 32 },
    { read_vae, "norm_num_groups", 1, 4096 },
    { read_vae, "sample_size", 1, 16384 },
    { read_vae, "block_out_channels", 1, 16384 },
    { read_clip, "vocab_size", 3, 1 << 20 },
    { read_clip, "hidden_size", 8, 16384 },
    { read_clip, "num_hidden_layers", 1, 128 },
    { read_clip, "max_position_embeddings", 3, 4096 },
    { read_clip, "intermediate_size", 8, 65536 },
    { read_clip, "num_attention_heads", 1, 256 },
    { read_clip, "projection_dim", 1, 16384 },
    { read_vision, "hidden_size", 8, 16384 },
    { read_vision, "num_hidden_layers", 1, 128 },
    { read_vision, "num_channels", 1, 64 },
    { read_vision, "image_size", 1, 2048 },
    { read_vision, "patch_size", 1, 256 },
    { read_bert, "vocab_size", 3, 1 << 20 },
    { read_bert, "d_model", 8, 16384 },
    { read_bert, "encoder_layers", 1, 128 },
    { read_bert, "max_position_embeddings", 3, 4096 },
    { read_bert, "encoder_ffn_dim", 8, 65536 },
    { read_bert, "encoder_attention_heads", 1, 256 },
    { read_bert, "head_dim", 1, 1024 },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    const int values[4] = { cases[i].min - 1, cases[i].min, cases[i].max, cases[i].max + 1 };

    for (int k = 0; k < 4; k++) {
      const int outside = k == 0 || k == 3;
      char config[128];
      ti_error error;

      snprintf(config, sizeof(config), "{\"%s\":%d}", cases[i].key, values[k]);
      if ((read_config(&error, cases[i].read, config) == TEXTINV_E_LIMIT) != outside)
        fail_msg("%s: %s", config, error.text);
    }
  }
}

static void keys_of_other_unets(void **state)
{
  static const char *const null[] = {
    "class_embed_type",      "num_class_embeds",
    "encoder_hid_dim",       "encoder_hid_dim_type",
    "time_embedding_act_fn", "timestep_post_act",
    "time_cond_proj_dim",    "cross_attention_norm",
    "num_attention_heads",   "reverse_transformer_layers_per_block",
    "time_embedding_dim"
  };
  static const char *const off[] = { "center_input_sample", "dual_cross_attention",
                                     "resnet_skip_time_act", "class_embeddings_concat" };
  static const char *const numbers[] = { "conv_in_kernel", "conv_out_kernel",
                                         "mid_block_scale_factor", "resnet_out_scale_factor" };
  static const char *const texts[] = { "mid_block_type", "resnet_time_scale_shift",
                                       "time_embedding_type", "attention_type" };

  (void)state;
  for (size_t i = 0; i < sizeof(null) / sizeof(*null); i++)
    refuse_value(read_unet, null[i], "1", TEXTINV_E_UNSUPPORTED);
  for (int i = 0; i < 4; i++) {
    refuse_value(read_unet, off[i], "true", TEXTINV_E_UNSUPPORTED);
    refuse_value(read_unet, numbers[i], "2.5", TEXTINV_E_UNSUPPORTED);
    refuse_value(read_unet, texts[i], "\"other\"", TEXTINV_E_UNSUPPORTED);
  }
  refuse_value(read_unet, "act_fn", "\"mish\"", TEXTINV_E_UNSUPPORTED);
  refuse_value(read_unet, "addition_embed_type", "\"text\"", TEXTINV_E_UNSUPPORTED);
  accept(read_unet, "{\"center_input_sample\":false,\"conv_in_kernel\":3,\"act_fn\":\"swish\","
                    "\"mid_block_scale_factor\":1.0,\"attention_type\":\"default\"}");
  assert_false(unet.no_middle);
  accept(read_unet, "{\"mid_block_type\":null}");
  assert_true(unet.no_middle);
}

static void blocks_of_a_unet(void **state)
{
#define ONE_BLOCK                                                                                  \
  "\"block_out_channels\":[32],\"down_block_types\":[\"DownBlock2D\"],"                            \
  "\"up_block_types\":[\"UpBlock2D\"]"
  (void)state;
  accept(read_unet, "{}");
  assert_int_equal(unet.blocks, 4);
  assert_int_equal(unet.channels[2], 1280);
  assert_true(unet.down_attention[0] && !unet.down_attention[3] && !unet.up_attention[0]);
  accept(read_unet, "{" ONE_BLOCK ",\"only_cross_attention\":[true]}");
  assert_int_equal(unet.blocks, 1);
  assert_true(unet.only_cross_attention[0]);
  refuse(read_unet, "{" ONE_BLOCK ",\"only_cross_attention\":[1]}", TEXTINV_E_FORMAT,
         "only_cross_attention[0] is no bool");
  refuse(read_unet, "{" ONE_BLOCK ",\"only_cross_attention\":[true,true]}", TEXTINV_E_SHAPE,
         "only_cross_attention has 2 entries, 1 are needed");
  refuse(read_unet, "{\"block_out_channels\":[32]}", TEXTINV_E_SHAPE,
         "down_block_types has 4 entries, block_out_channels 1");
  refuse(read_unet, "{\"layers_per_block\":[1,2,3]}", TEXTINV_E_SHAPE,
         "layers_per_block has 3 entries, block_out_channels 4");
  refuse(read_unet, "{\"cross_attention_dim\":[8,8,8,9]}", TEXTINV_E_UNSUPPORTED,
         "cross_attention_dim 9 differs from 8");
  refuse(read_unet, "{\"norm_num_groups\":7}", TEXTINV_E_SHAPE,
         "norm_num_groups 7 does not divide block_out_channels 320");
  refuse(read_unet, "{\"attention_head_dim\":7}", TEXTINV_E_SHAPE, "does not divide 320 channels");
  refuse(read_unet, "{\"down_block_types\":[\"a\",\"a\",\"a\",\"a\"]}", TEXTINV_E_UNSUPPORTED,
         "down_block_types \"a\"");
}

/* what SDXL adds to the timestep */
static void additions_to_a_timestep(void **state)
{
#define TEXT_TIME(rest) "{\"addition_embed_type\":\"text_time\"" rest "}"
#define DIM ",\"addition_time_embed_dim\":"
#define INPUT ",\"projection_class_embeddings_input_dim\":"
  (void)state;
  accept(read_unet, TEXT_TIME(DIM "256" INPUT "2816"));
  assert_int_equal(ti_unet_pooled_dim(&unet), 1280);
  refuse(read_unet, TEXT_TIME(), TEXTINV_E_SHAPE, "must exceed 6 times");
  refuse(read_unet, TEXT_TIME(DIM "2" INPUT "12"), TEXTINV_E_SHAPE, "must exceed 6 times");
  refuse(read_unet, TEXT_TIME(DIM "\"2\""), TEXTINV_E_FORMAT, "addition_time_embed_dim");
  refuse(read_unet, TEXT_TIME(DIM "2" INPUT "131073"), TEXTINV_E_LIMIT, "input_dim");
  accept(read_unet, "{}");
  assert_int_equal(ti_unet_pooled_dim(&unet), 0);
}

static textinv_status read_and_update(ti_error *error, const ti_json *json)
{
  const textinv_status status = ti_unet_read(&unet, error, json);

  return status < 0 ? status : ti_unet_update(&unet, error, json);
}

/* before 0.9.0 of diffusers a size below 64 was a default */
static void sizes_of_their_time(void **state)
{
  static const struct {
    const char *version;
    int size;
  } cases[] = { { "0.8.1", 64 }, { "0.8.0.dev0", 64 }, { "0.9.0", 32 }, { "0.10.2", 32 },
                { "1.0.0", 32 }, { "x", 32 },          { "0-8", 32 } };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    char config[128];

    snprintf(config, sizeof(config), "{\"sample_size\":32,\"_diffusers_version\":\"%s\"}",
             cases[i].version);
    accept(read_and_update, config);
    assert_int_equal(unet.sample_size, cases[i].size);
  }
  accept(read_and_update, "{\"sample_size\":32}");
  assert_int_equal(unet.sample_size, 32);
  accept(read_and_update, "{\"sample_size\":96,\"_diffusers_version\":\"0.6.0\"}");
  assert_int_equal(unet.sample_size, 96);
  refuse(read_and_update, "{\"_diffusers_version\":6}", TEXTINV_E_FORMAT, "_diffusers_version");
}

static void autoencoders(void **state)
{
#define TYPES(n) "\"down_block_types\":[" n "],\"up_block_types\":[\"UpDecoderBlock2D\"]"
  (void)state;
  accept(read_vae, "{\"act_fn\":\"swish\"," TYPES("\"DownEncoderBlock2D\"") "}");
  assert_int_equal(ti_vae_scale(&vae), 1);
  refuse(read_vae, "{" TYPES("\"DownEncoderBlock2D\",\"DownEncoderBlock2D\"") "}", TEXTINV_E_SHAPE,
         "down_block_types has 2 entries, block_out_channels 1");
  refuse(read_vae, "{" TYPES("\"AttnDownEncoderBlock2D\"") "}", TEXTINV_E_UNSUPPORTED,
         "down_block_types \"AttnDownEncoderBlock2D\"");
  refuse(read_vae, "{\"block_out_channels\":[32,32]}", TEXTINV_E_FORMAT,
         "down_block_types is missing");
  refuse_value(read_vae, "act_fn", "\"mish\"", TEXTINV_E_UNSUPPORTED);
  refuse_value(read_vae, "in_channels", "4", TEXTINV_E_UNSUPPORTED);
  refuse_value(read_vae, "out_channels", "1", TEXTINV_E_UNSUPPORTED);
  refuse_value(read_vae, "latents_mean", "[0]", TEXTINV_E_UNSUPPORTED);
  refuse_value(read_vae, "latents_std", "[1]", TEXTINV_E_UNSUPPORTED);
  refuse_value(read_vae, "norm_num_groups", "48", TEXTINV_E_SHAPE);
}

static void towers(void **state)
{
  (void)state;
  accept(read_clip, "{\"hidden_act\":\"gelu\"}");
  assert_int_equal(clip.projection, 512);
  refuse_value(read_clip, "hidden_act", "\"relu\"", TEXTINV_E_UNSUPPORTED);
  refuse_value(read_clip, "num_attention_heads", "7", TEXTINV_E_SHAPE);
  refuse_value(read_vision, "num_channels", "1", TEXTINV_E_UNSUPPORTED);
  accept(read_vision, "{\"image_size\":32,\"patch_size\":32}");
  refuse(read_vision, "{\"image_size\":32,\"patch_size\":33}", TEXTINV_E_SHAPE,
         "patch_size 33 is more than image_size 32");
  refuse_value(read_bert, "activation_function", "\"relu\"", TEXTINV_E_UNSUPPORTED);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(types_are_checked),
    cmocka_unit_test(defaults),
    cmocka_unit_test(limits),
    cmocka_unit_test(keys_of_other_unets),
    cmocka_unit_test(blocks_of_a_unet),
    cmocka_unit_test(additions_to_a_timestep),
    cmocka_unit_test(sizes_of_their_time),
    cmocka_unit_test(autoencoders),
    cmocka_unit_test(towers),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
