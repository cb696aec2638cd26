/* Folders of pipelines: which file is taken, sharded sets, names that leave the folder, what is
 * missing. */
#include "io_testing.h"

#include <errno.h>

#include "model_dir.h"
#include "safetensors.h"

static char root[256];
static ti_model_dir dir;
static ti_tensor_set *set;

static const char *in(const char *name)
{
  static char path[4][512];
  static int next;

  next = (next + 1) % 4;
  snprintf(path[next], sizeof(path[next]), "%s/%s", root, name);
  return path[next];
}

static void put_text(const char *name, const char *text)
{
  write_file(in(name), text, strlen(text));
}

/* a safetensors file of tensors NAME = value, NULL at the end */
static void put_weights(const char *file, float value, const char *const *names)
{
  ti_tensor t[8];
  size_t count = 0;
  ti_error error = { "" };

  for (; names[count]; count++)
    t[count] = (ti_tensor){ .name = names[count],
                            .dtype = TI_FILE_F32,
                            .rank = 1,
                            .dims = { 1 },
                            .data = &value,
                            .bytes = 4 };
  if (ti_safetensors_write(&error, in(file), t, count, NULL, 0) < 0)
    fail_msg("%s", error.text);
}
#define PUT(file, value, ...) put_weights(file, value, (const char *const[]){ __VA_ARGS__, NULL })

/* a new pipeline, opened */
static void open_new(const char *index)
{
  static int number;
  char name[32];

  sprintf(name, "model-%d", number++);
  strcpy(root, test_path(name));
  assert_int_equal(mkdir(root, 0777), 0);
  mkdir(in("unet"), 0777);
  mkdir(in("text_encoder"), 0777);
  mkdir(in("scheduler"), 0777);
  put_text("model_index.json", index);
  assert_succeeds(ti_model_dir_open(&dir, &error, root));
}

#define weights(component) ti_model_dir_weights(&dir, &error, component, &set)

static void check_value(const char *name, float expected, const char *file)
{
  const ti_tensor *t = ti_tensor_set_find(set, name);
  float value;

  assert_non_null(t);
  memcpy(&value, t->data, sizeof(value));
  assert_true(value == expected);
  assert_non_null(strstr(ti_tensor_set_path(set, t), file));
}

/* the weights of the unet have "a" with that value from that file */
static void check_unet(float expected, const char *file)
{
  assert_succeeds(weights("unet"));
  check_value("a", expected, file);
  ti_tensor_set_free(set);
}

static void the_index(void **state)
{
  const char *name = "?";

  (void)state;
  open_new(
    "{\"_class_name\":\"StableDiffusionPipeline\",\"unet\":[\"diffusers\","
    "\"UNet2DConditionModel\"],"
    "\"safety_checker\":[null,null],\"feature_extractor\":null,\"odd\":[\"one\"],\"number\":5,"
    "\"mixed\":[\"a\",5]}");
  assert_succeeds(ti_model_dir_class(&dir, &error, "unet", &name));
  assert_string_equal(name, "UNet2DConditionModel");
  assert_succeeds(ti_model_dir_class(&dir, &error, "safety_checker", &name));
  assert_null(name);
  assert_succeeds(ti_model_dir_class(&dir, &error, "feature_extractor", &name));
  assert_null(name);
  assert_succeeds(ti_model_dir_class(&dir, &error, "vae", &name));
  assert_null(name);
  assert_fails(ti_model_dir_class(&dir, &error, "odd", &name), TEXTINV_E_FORMAT, "model_index.json",
               "\"odd\"");
  assert_fails(ti_model_dir_class(&dir, &error, "number", &name), TEXTINV_E_FORMAT, "\"number\"");
  assert_fails(ti_model_dir_class(&dir, &error, "mixed", &name), TEXTINV_E_FORMAT, "\"mixed\"");
  ti_model_dir_close(&dir);
  ti_model_dir_close(&dir);
}

static void configs(void **state)
{
  ti_json json;

  (void)state;
  open_new("{}");
  put_text("unet/config.json", "{\"a\":1}");
  put_text("scheduler/scheduler_config.json", "{\"b\":2}");
  assert_succeeds(ti_model_dir_config(&dir, &error, "unet", &json));
  assert_true(ti_json_has(&json, "a"));
  ti_json_close(&json);
  assert_succeeds(ti_model_dir_config(&dir, &error, "scheduler", &json));
  assert_true(ti_json_has(&json, "b"));
  ti_json_close(&json);
  put_text("config.json", "{\"c\":3}"); /* a network that is no part of a pipeline */
  assert_succeeds(ti_model_dir_config(&dir, &error, "", &json));
  assert_true(ti_json_has(&json, "c"));
  ti_json_close(&json);
  assert_fails(ti_model_dir_config(&dir, &error, "vae", &json), TEXTINV_E_NOT_FOUND,
               "vae/config.json");
  put_text("unet/config.json", "{\"a\":1");
  assert_fails(ti_model_dir_config(&dir, &error, "unet", &json), TEXTINV_E_FORMAT,
               "unet/config.json", "line 1");
  ti_model_dir_close(&dir);
}

static void what_is_no_pipeline(void **state)
{
  (void)state;
  assert_fails(ti_model_dir_open(&dir, &error, test_path("nowhere")), TEXTINV_E_NOT_FOUND,
               "nowhere", "no such file or folder");
  assert_int_equal(symlink("loop", test_path("loop")), 0);
  assert_fails(ti_model_dir_open(&dir, &error, test_path("loop")), TEXTINV_E_IO, "loop",
               "cannot be opened", strerror(ELOOP));
  open_new("{}");
  ti_model_dir_close(&dir);
  assert_fails(ti_model_dir_open(&dir, &error, in("model_index.json/x")), TEXTINV_E_NOT_FOUND,
               "no such file or folder");
  assert_fails(ti_model_dir_open(&dir, &error, in("model_index.json")), TEXTINV_E_FORMAT,
               "model_index.json", "safetensors");
  assert_fails(ti_model_dir_open(&dir, &error, in("unet")), TEXTINV_E_NOT_FOUND, "unet",
               "no model_index.json");
  put_text("model_index.json", "[]");
  assert_fails(ti_model_dir_open(&dir, &error, root), TEXTINV_E_FORMAT, "model_index.json",
               "array");
}

static void the_best_file_is_taken(void **state)
{
  size_t size;
  unsigned char *bytes = read_file("tests/golden/embeddings.safetensors", &size);
  ti_safetensors *golden;
  const ti_tensor *torch;

  (void)state;
  open_new("{}");
  assert_fails(weights("unet"), TEXTINV_E_NOT_FOUND, "/unet", "diffusion_pytorch_model.safetensors",
               "model.safetensors", "pytorch_model.bin", ".fp16", ".index.json");
  assert_null(set);
  assert_fails(weights("vae"), TEXTINV_E_NOT_FOUND, "/vae");

  assert_succeeds(ti_safetensors_parse(&golden, &error, "golden", bytes, size));
  torch = ti_safetensors_find(golden, "diffusers.bin.file");
  assert_non_null(torch);
  write_file(in("unet/diffusion_pytorch_model.fp16.bin"), torch->data, torch->bytes);
  assert_succeeds(weights("unet"));
  assert_int_equal(ti_tensor_set_count(set), 1);
  assert_non_null(ti_tensor_set_find(set, "<toy>"));
  ti_tensor_set_free(set);
  write_file(in("text_encoder/pytorch_model.bin"), torch->data, torch->bytes);
  assert_succeeds(weights("text_encoder"));
  assert_int_equal(ti_tensor_set_find(set, "<toy>")->dims[1], 6);
  ti_tensor_set_free(set);
  put_text("text_encoder/pytorch_model.bin", "version https://git-lfs.github.com/spec/v1");
  assert_fails(weights("text_encoder"), TEXTINV_E_FORMAT, "pytorch_model.bin", "git lfs pull");
  PUT("text_encoder/model.safetensors", 9, "a");
  assert_succeeds(weights("text_encoder"));
  check_value("a", 9, "text_encoder/model.safetensors");
  ti_tensor_set_free(set);

  PUT("unet/diffusion_pytorch_model.bf16.safetensors", 1, "a");
  check_unet(1, "diffusion_pytorch_model.bf16.safetensors");
  PUT("unet/diffusion_pytorch_model.fp16.safetensors", 2, "a");
  check_unet(2, "diffusion_pytorch_model.fp16.safetensors");
  PUT("unet/diffusion_pytorch_model.safetensors", 3, "a");
  check_unet(3, "diffusion_pytorch_model.safetensors");
  PUT("model.safetensors", 4, "a");
  assert_succeeds(weights(""));
  check_value("a", 4, "/model.safetensors");
  ti_tensor_set_free(set);
  PUT("model.safetensors", 5, NULL);
  assert_succeeds(weights(""));
  assert_int_equal(ti_tensor_set_count(set), 0);
  assert_null(ti_tensor_set_find(set, "a"));
  ti_tensor_set_free(set);
  put_text("unet/diffusion_pytorch_model.safetensors", "broken");
  assert_fails(weights("unet"), TEXTINV_E_FORMAT,
               "unet/diffusion_pytorch_model.safetensors"); /* no other instead */
  ti_safetensors_close(golden);
  free(bytes);
  ti_model_dir_close(&dir);
}

static void sharded_sets_of_every_spelling(void **state)
{
  static const char *const spellings[] = {
    "unet/diffusion_pytorch_model.safetensors.index.json",
    "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
    "unet/diffusion_pytorch_model.safetensors.fp16.index.json",
    "unet/diffusion_pytorch_model.fp16.safetensors.index.json",
    "unet/model.safetensors.index.json",
    "unet/model.safetensors.index.fp16.json",
  };

  (void)state;
  for (size_t i = 0; i < sizeof(spellings) / sizeof(*spellings); i++) {
    open_new("{}");
    PUT("unet/x-00001-of-00002.safetensors", 1, "b", "c");
    PUT("unet/x-00002-of-00002.safetensors", 2, "a");
    put_text(
      spellings[i],
      "{\"metadata\":{\"total_size\":12},\"weight_map\":{\"a\":\"x-00002-of-00002.safetensors\","
      "\"b\":\"x-00001-of-00002.safetensors\",\"c\":\"x-00001-of-00002.safetensors\"}}");
    assert_succeeds(weights("unet"));
    assert_int_equal(ti_tensor_set_count(set), 3);
    assert_string_equal(ti_tensor_set_tensor(set, 0)->name, "a");
    assert_string_equal(ti_tensor_set_tensor(set, 2)->name, "c");
    assert_null(ti_tensor_set_tensor(set, 3));
    assert_null(ti_tensor_set_find(set, "d"));
    check_value("a", 2, "x-00002-of-00002.safetensors");
    check_value("c", 1, "x-00001-of-00002.safetensors");
    ti_tensor_set_free(set);
    ti_model_dir_close(&dir);
  }
}

static void broken_sets(void **state)
{
  static char longest[257] = "";
  static const char *const names[] = {
    "../model_index.json", "/etc/passwd", "..", "", ".hidden", "a/b", "a\\\\b", longest
  };
  static char text[64 * 65600];
  char *p = text;

  (void)state;
  open_new("{}");
  PUT("unet/1.safetensors", 1, "a", "b");
  PUT("unet/2.safetensors", 2, "c");
  PUT("unet/3.safetensors", 3, "a");
#define INDEX "unet/model.safetensors.index.json"
  memset(longest, 'n', 256);
  for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
    char index[512];

    sprintf(index, "{\"weight_map\":{\"a\":\"%s\"}}", names[i]);
    put_text(INDEX, index);
    assert_fails(weights("unet"), TEXTINV_E_FORMAT, "index.json", "\"a\"", "without a folder");
  }
  put_text(INDEX, "{\"weight_map\":{\"a\":5}}");
  assert_fails(weights("unet"), TEXTINV_E_FORMAT, "\"a\"", "no string");
  put_text(INDEX, "{\"weight_map\":{}}");
  assert_fails(weights("unet"), TEXTINV_E_FORMAT, "weight_map");
  put_text(INDEX, "{\"weight_map\":[]}");
  assert_fails(weights("unet"), TEXTINV_E_FORMAT, "weight_map");
  put_text(INDEX, "{}");
  assert_fails(weights("unet"), TEXTINV_E_FORMAT, "weight_map");
  put_text(INDEX, "{\"weight_map\":{\"a\":\"1.safetensors\",\"c\":\"4.safetensors\"}}");
  assert_fails(weights("unet"), TEXTINV_E_NOT_FOUND, "4.safetensors");
  put_text(INDEX, "{\"weight_map\":{\"a\":\"1.safetensors\",\"d\":\"2.safetensors\"}}");
  assert_fails(weights("unet"), TEXTINV_E_FORMAT, "\"d\"", "2.safetensors");
  put_text(INDEX, "{\"weight_map\":{\"a\":\"2.safetensors\",\"c\":\"1.safetensors\"}}");
  assert_fails(weights("unet"), TEXTINV_E_FORMAT, "is not in");
  put_text(INDEX, "{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"3.safetensors\"}}");
  assert_fails(weights("unet"), TEXTINV_E_CONFLICT, "\"a\"", "1.safetensors", "3.safetensors");
  put_text(INDEX, "{\"weight_map\":");
  assert_fails(weights("unet"), TEXTINV_E_FORMAT, INDEX, "line 1");
  p += sprintf(p, "{\"weight_map\":{");
  for (int i = 0; i < 1025; i++)
    p += sprintf(p, "%s\"%d\":\"%d.safetensors\"", i ? "," : "", i, i);
  strcpy(p, "}}");
  put_text(INDEX, text);
  assert_fails(weights("unet"), TEXTINV_E_LIMIT, "1024 files");
  for (int i = 1025; i < 65537; i++)
    p += sprintf(p, ",\"%d\":\"1.safetensors\"", i);
  strcpy(p, "}}");
  put_text(INDEX, text);
  assert_fails(weights("unet"), TEXTINV_E_LIMIT, INDEX, "65537 tensors, at most 65536");
  assert_null(set);
  ti_model_dir_close(&dir);
}

/* the hub's cache has a link for every file */
static void linked_files_are_read(void **state)
{
  (void)state;
  open_new("{}");
  PUT("blob", 4, "a");
  assert_int_equal(symlink("../blob", in("unet/model.safetensors")), 0);
  check_unet(4, "unet/model.safetensors");
  ti_model_dir_close(&dir);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_index),
    cmocka_unit_test(configs),
    cmocka_unit_test(what_is_no_pipeline),
    cmocka_unit_test(the_best_file_is_taken),
    cmocka_unit_test(sharded_sets_of_every_spelling),
    cmocka_unit_test(broken_sets),
    cmocka_unit_test(linked_files_are_read),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
