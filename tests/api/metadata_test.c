/* What files of words say of themselves, and what of it goes on into others. */
#include "testing_tiny.h"

#include <stdio.h>
#include <string.h>

/* value of a key in what the last load found; NULL when it is not there */
static const char *metadata_of(const textinv_embeddings *e, const char *wanted)
{
  const char *key, *value;

  for (size_t i = 0; (value = textinv_embeddings_metadata(e, i, &key)); i++) {
    if (!strcmp(key, wanted))
      return value;
  }
  return NULL;
}

static void the_last_file_says_what_it_is(void **state)
{
  textinv_embeddings *e = new_words();
  const char *key = "unset";
  char path[512];

  (void)state;
  assert_null(textinv_embeddings_metadata(e, 0, &key));
  assert_null(key);
  assert_null(textinv_embeddings_metadata(NULL, 0, NULL));
  must(textinv_embeddings_add(session, e, model, "<toy>", 1, NULL, 3));
  snprintf(path, sizeof(path), "%s", test_path("said"));
  must(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_KOHYA, NULL));
  assert_null(textinv_embeddings_metadata(e, 0, NULL)); /* nothing was loaded yet */
  must(textinv_embeddings_load(session, e, model, path, "<kohya>"));
  assert_string_equal(textinv_embeddings_metadata(e, 0, &key), "kohya");
  assert_string_equal(key, "layout");
  assert_string_equal(metadata_of(e, "name"), "<toy>");
  assert_memory_equal(metadata_of(e, "producer"), "libtextinv ", 11);
  /* a load that fails leaves what the one before it found, a load that succeeds does not */
  refused(textinv_embeddings_load(session, e, model, path, "<kohya>"), TEXTINV_E_CONFLICT, "added");
  assert_string_equal(metadata_of(e, "layout"), "kohya");
  must(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_A1111, "<toy>"));
  must(textinv_embeddings_load(session, e, model, path, "<a1111>"));
  assert_string_equal(metadata_of(e, "layout"), "a1111");
  assert_string_equal(metadata_of(e, "name"), "<toy>");
  assert_null(metadata_of(e, "producer"));
  textinv_embeddings_free(e);
}

/* bytes of a kohya file with metadata; returns how many */
static size_t kohya_file(unsigned char *bytes, const char *metadata)
{
  const int length = sprintf(
    (char *)bytes + 8,
    "{\"__metadata__\":{%s},\"emb_params\":{\"dtype\":\"F32\",\"shape\":[1,2],"
    "\"data_offsets\":[0,8]}}",
    metadata);

  memset(bytes, 0, 8);
  bytes[0] = (unsigned char)(length & 0xff);
  bytes[1] = (unsigned char)(length >> 8);
  memset(bytes + 8 + length, 0, 8);
  return (size_t)length + 16;
}

/* e as a file of format, read again */
static textinv_embeddings *saved_as(const textinv_embeddings *e, textinv_format format)
{
  textinv_embeddings *back = new_words();
  unsigned char bytes[8192];
  size_t size;

  must(textinv_embeddings_save_memory(session, bytes, sizeof(bytes), &size, e, format, NULL));
  must(textinv_embeddings_load_memory(session, back, NULL, bytes, size, "x", "<back>"));
  return back;
}

static void check_metadata(const textinv_embeddings *e, const char *key, const char *expected)
{
  const char *met = metadata_of(e, key);

  if (expected)
    assert_non_null(met);
  else
    assert_null(met);
  if (expected)
    assert_string_equal(met, expected);
}

static void a_conversion_keeps_what_others_read(void **state)
{
  static const char metadata[] =
    "\"step\":\"77\",\"sd_checkpoint\":\"81761151\",\"sd_checkpoint_name\":\"v1-5 \\\"x\\\"\","
    "\"modelspec.title\":\"a toy\",\"modelspec.hash_sha256\":\"0x1\","
    "\"modelspec.trigger_phrase\":\"a <toy>\",\"producer\":\"another\",\"other\":\"x\"";
  static const textinv_format formats[] = { TEXTINV_FORMAT_DIFFUSERS, TEXTINV_FORMAT_KOHYA,
                                            TEXTINV_FORMAT_A1111 };
  static const float rows[2] = { 1, 2 };
  unsigned char bytes[1024];
  const size_t size = kohya_file(bytes, metadata);

  (void)state;
  for (int i = 0; i < 3; i++) {
    const int a1111 = formats[i] == TEXTINV_FORMAT_A1111;
    textinv_embeddings *e = new_words(), *back;

    must(textinv_embeddings_load_memory(session, e, NULL, bytes, size, "x", "<toy>"));
    back = saved_as(e, formats[i]);
    check_metadata(back, "step", "77");
    check_metadata(back, "sd_checkpoint", "81761151");
    check_metadata(back, "sd_checkpoint_name", "v1-5 \"x\"");
    check_metadata(back, "modelspec.title", a1111 ? NULL : "a toy");
    check_metadata(back, "modelspec.trigger_phrase", a1111 ? NULL : "a <toy>");
    check_metadata(back, "modelspec.hash_sha256", NULL);
    check_metadata(back, "other", NULL);
    textinv_embeddings_free(back);
    /* another word, and other vectors */
    textinv_embeddings_free(e);
    e = new_words();
    must(textinv_embeddings_load_memory(session, e, NULL, bytes, size, "x", "<other>"));
    back = saved_as(e, formats[i]);
    check_metadata(back, "modelspec.title", a1111 ? NULL : "a toy");
    check_metadata(back, "modelspec.trigger_phrase", NULL);
    textinv_embeddings_free(back);
    must(textinv_embeddings_set(session, e, "<other>", 0, 1, 2, rows));
    back = saved_as(e, formats[i]);
    check_metadata(back, "sd_checkpoint", NULL);
    check_metadata(back, "modelspec.title", NULL);
    textinv_embeddings_free(back);
    textinv_embeddings_free(e);
  }
}

/* of words of several files none is that of the metadata, and a learnt one is new */
static void only_the_last_file_describes_its_words(void **state)
{
  textinv_embeddings *e = new_words(), *back;
  textinv_optimizer *o;
  unsigned char bytes[512];
  size_t size = kohya_file(bytes, "\"sd_checkpoint\":\"first\"");
  float gradient[2] = { 1, 1 };

  (void)state;
  must(textinv_embeddings_load_memory(session, e, NULL, bytes, size, "x", "<first>"));
  size = kohya_file(bytes, "\"sd_checkpoint\":\"last\"");
  must(textinv_embeddings_load_memory(session, e, NULL, bytes, size, "x", "<last>"));
  must(textinv_embeddings_save_memory(session, NULL, 0, &size, e, TEXTINV_FORMAT_KOHYA, "<last>"));
  assert_in_range(size, 1, sizeof(bytes));
  must(textinv_embeddings_save_memory(session, bytes, size, &size, e, TEXTINV_FORMAT_KOHYA,
                                      "<first>"));
  back = new_words();
  must(textinv_embeddings_load_memory(session, back, NULL, bytes, size, "x", NULL));
  check_metadata(back, "sd_checkpoint", NULL);
  textinv_embeddings_free(back);
  must(textinv_embeddings_remove(session, e, "<first>"));
  back = saved_as(e, TEXTINV_FORMAT_A1111);
  check_metadata(back, "sd_checkpoint", "last");
  textinv_embeddings_free(back);
  must(textinv_optimizer_new(&o, session, e, NULL));
  must(textinv_optimizer_step(session, o, e, gradient, 2));
  textinv_optimizer_free(o);
  back = saved_as(e, TEXTINV_FORMAT_A1111);
  check_metadata(back, "sd_checkpoint", NULL);
  check_metadata(back, "step", "1");
  textinv_embeddings_free(back);
  textinv_embeddings_free(e);
}

/* what a file said goes along to where there are no words that it does not speak of */
static void copies_are_described(void **state)
{
  textinv_embeddings *e = new_words(), *copy = new_words(), *back;
  const float rows[2] = { 1, 2 };
  unsigned char bytes[512];
  size_t size = kohya_file(bytes, "\"sd_checkpoint\":\"first\"");

  (void)state;
  must(textinv_embeddings_load_memory(session, e, NULL, bytes, size, "x", "<first>"));
  must(textinv_embeddings_copy(session, copy, e, NULL, NULL));
  textinv_embeddings_free(e);
  check_metadata(copy, "layout", "kohya");
  back = saved_as(copy, TEXTINV_FORMAT_A1111);
  check_metadata(back, "sd_checkpoint", "first");
  textinv_embeddings_free(back);

  e = new_words();
  must(textinv_embeddings_set(session, e, "<own>", 0, 1, 2, rows));
  must(textinv_embeddings_copy(session, e, copy, "<first>", NULL));
  textinv_embeddings_free(copy);
  check_metadata(e, "layout", NULL);
  must(textinv_embeddings_remove(session, e, "<own>"));
  back = saved_as(e, TEXTINV_FORMAT_A1111);
  check_metadata(back, "sd_checkpoint", NULL);
  textinv_embeddings_free(back);
  textinv_embeddings_free(e);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_last_file_says_what_it_is),
    cmocka_unit_test(a_conversion_keeps_what_others_read),
    cmocka_unit_test(only_the_last_file_describes_its_words),
    cmocka_unit_test(copies_are_described),
  };

  return cmocka_run_group_tests_name("metadata", tests, open_tiny, close_tiny);
}
