/* Files whose bytes the host has in memory: the same as by path, and what is refused. */
#include "testing_tiny.h"

#include <stdio.h>
#include <stdlib.h>

enum { GUARD = 0xa5 };

/* the whole file, one byte behind the beginning of what was allocated: of no alignment */
static unsigned char *read_file(const char *path, size_t *size)
{
  FILE *f = fopen(path, "rb");
  unsigned char *bytes;

  assert_non_null(f);
  assert_int_equal(fseek(f, 0, SEEK_END), 0);
  *size = (size_t)ftell(f);
  rewind(f);
  bytes = malloc(*size + 1);
  assert_non_null(bytes);
  assert_int_equal(fread(bytes + 1, 1, *size, f), *size);
  fclose(f);
  return bytes + 1;
}

static void free_file(unsigned char *bytes)
{
  free(bytes - 1);
}

static void same_words(const textinv_embeddings *a, const textinv_embeddings *b)
{
  const char *key, *other;

  assert_int_equal(textinv_embeddings_count(a), textinv_embeddings_count(b));
  for (size_t i = 0; i < textinv_embeddings_count(a); i++) {
    const char *word = textinv_embeddings_word(a, i);

    assert_string_equal(word, textinv_embeddings_word(b, i));
    assert_int_equal(textinv_embeddings_vectors(a, word), textinv_embeddings_vectors(b, word));
    for (uint32_t k = 0; k < 2; k++) {
      const uint32_t dim = textinv_embeddings_dim(a, word, k);

      assert_int_equal(dim, textinv_embeddings_dim(b, word, k));
      if (dim)
        assert_memory_equal(textinv_embeddings_rows(a, word, k),
                            textinv_embeddings_rows(b, word, k),
                            textinv_embeddings_vectors(a, word) * (size_t)dim * sizeof(float));
    }
  }
  for (size_t i = 0; textinv_embeddings_metadata(a, i, &key); i++) {
    assert_string_equal(textinv_embeddings_metadata(a, i, NULL),
                        textinv_embeddings_metadata(b, i, &other));
    assert_string_equal(key, other);
  }
}

typedef struct held {
  const char *name;
  textinv_format format;
  int encoders;
} held;

static const held formats[] = { { "diffusers.safetensors", TEXTINV_FORMAT_DIFFUSERS, 1 },
                                { "a1111.pt", TEXTINV_FORMAT_A1111, 1 },
                                { "kohya.safetensors", TEXTINV_FORMAT_KOHYA, 1 },
                                { "sdxl.safetensors", TEXTINV_FORMAT_SDXL, 2 } };

/* what is saved into memory is the file, and loads as the file does */
static void memory_holds_what_a_file_holds(void **state)
{
  (void)state;
  for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++) {
    textinv_embeddings *e = new_words(), *by_path = new_words(), *by_bytes = new_words();
    const char *path = test_path(formats[i].name);
    size_t file_size, size = 1;
    unsigned char *file, *bytes;
    float rows[2 * TINY_WIDTH];

    test_seed(i);
    for (int k = 0; k < formats[i].encoders; k++) {
      for (int j = 0; j < 2 * TINY_WIDTH; j++)
        rows[j] = test_normal();
      must(textinv_embeddings_set(session, e, "<toy>", (uint32_t)k, 2, TINY_WIDTH, rows));
    }
    must(textinv_embeddings_save(session, e, path, formats[i].format, "<toy>"));
    file = read_file(path, &file_size);

    must(textinv_embeddings_save_memory(session, NULL, 0, &size, e, formats[i].format, NULL));
    assert_int_equal(size, file_size);
    bytes = malloc(size + 8);
    memset(bytes, GUARD, size + 8);
    must(textinv_embeddings_save_memory(session, bytes + 1, size, &size, e, formats[i].format,
                                        "<toy>"));
    assert_int_equal(size, file_size);
    assert_memory_equal(bytes + 1, file, size);
    assert_int_equal(bytes[0], GUARD);
    assert_int_equal(bytes[size + 1], GUARD);

    must(textinv_embeddings_load(session, by_path, NULL, path, NULL));
    must(textinv_embeddings_load_memory(session, by_bytes, NULL, file, file_size, path, NULL));
    same_words(by_path, by_bytes);
    same_words(by_bytes, by_path);
    must(textinv_embeddings_remove(session, by_bytes, "<toy>"));
    must(textinv_embeddings_load_memory(session, by_bytes, NULL, bytes + 1, size, "x", "<other>"));
    assert_string_equal(textinv_embeddings_word(by_bytes, 0), "<other>");
    free(bytes);
    free_file(file);
    textinv_embeddings_free(e);
    textinv_embeddings_free(by_path);
    textinv_embeddings_free(by_bytes);
  }
}

static void too_little_room_is_told(void **state)
{
  textinv_embeddings *e = new_words();
  unsigned char bytes[4096];
  char part[64];
  size_t whole = 0, size = 1;

  (void)state;
  must(textinv_embeddings_add(session, e, model, "<toy>", 1, "toy", 0));
  must(textinv_embeddings_save_memory(session, NULL, 0, &whole, e, TEXTINV_FORMAT_KOHYA, NULL));
  assert_true(whole > 64 && whole < sizeof(bytes));
  memset(bytes, GUARD, sizeof(bytes));
  snprintf(part, sizeof(part), "bytes has room for %zu; %zu are needed", whole - 1, whole);
  refused(
    textinv_embeddings_save_memory(session, bytes, whole - 1, &size, e, TEXTINV_FORMAT_KOHYA, NULL),
    TEXTINV_E_SHAPE, part);
  assert_int_equal(size, whole);
  assert_int_equal(bytes[whole - 1], GUARD);
  refused(textinv_embeddings_save_memory(session, bytes, 1, &size, e, TEXTINV_FORMAT_KOHYA, NULL),
          TEXTINV_E_SHAPE, "room for 1;");
  assert_int_equal(bytes[whole - 1], GUARD);
  must(textinv_embeddings_save_memory(session, bytes, sizeof(bytes), &size, e, TEXTINV_FORMAT_KOHYA,
                                      NULL));
  assert_int_equal(size, whole);
  assert_int_equal(bytes[whole], GUARD);
  textinv_embeddings_free(e);
}

/* one that fails: its status and message are those of the path, and nothing was added */
static void fails_alike(const void *bytes, size_t size, const char *name, const char *word,
                        textinv_status expected, const char *part)
{
  textinv_embeddings *e = new_words();
  const char *path = test_path(name);
  char message[512];
  FILE *f = fopen(path, "wb");

  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, size, f), size);
  fclose(f);
  refused(textinv_embeddings_load(session, e, model, path, word), expected, part);
  snprintf(message, sizeof(message), "%s", textinv_session_error(session));
  refused(textinv_embeddings_load_memory(session, e, model, bytes, size, path, word), expected,
          part);
  assert_string_equal(message, textinv_session_error(session));
  assert_int_equal(textinv_embeddings_count(e), 0);
  assert_null(textinv_embeddings_metadata(e, 0, NULL));
  textinv_embeddings_free(e);
}

static void what_a_file_may_not_be_memory_may_not_be(void **state)
{
  textinv_embeddings *e = new_words();
  const float row[TINY_WIDTH + 1] = { 0.5f };
  unsigned char bytes[4096];
  size_t size;

  (void)state;
  fails_alike("", 0, "empty", NULL, TEXTINV_E_FORMAT, "empty");
  fails_alike("nothing of the kind", 19, "text", NULL, TEXTINV_E_LIMIT, "no safetensors file");
  fails_alike("\x89PNG\r\n\x1a\n", 8, "picture", NULL, TEXTINV_E_FORMAT, "cut short");
  must(textinv_embeddings_set(session, e, "<wide>", 0, 1, TINY_WIDTH + 1, row));
  must(textinv_embeddings_save_memory(session, bytes, sizeof(bytes), &size, e,
                                      TEXTINV_FORMAT_DIFFUSERS, NULL));
  fails_alike(bytes, size, "wide", NULL, TEXTINV_E_SHAPE, "the model needs 16");
  fails_alike(bytes, size - 1, "cut", NULL, TEXTINV_E_FORMAT, "cut");
  must(textinv_embeddings_set(session, e, "<toy>", 0, 1, TINY_WIDTH, row));
  must(textinv_embeddings_save_memory(session, bytes, sizeof(bytes), &size, e,
                                      TEXTINV_FORMAT_DIFFUSERS, NULL));
  fails_alike(bytes, size, "two", "<x>", TEXTINV_E_CONFLICT, "holds 2 words");

  /* not read: no bytes are so many */
  refused(textinv_embeddings_load_memory(session, e, NULL, bytes, ((size_t)1 << 28) + 1, "x", NULL),
          TEXTINV_E_LIMIT, "x: has 268435457 bytes, at most 268435456 are read");
  refused(textinv_embeddings_load_memory(session, e, NULL, bytes, size, "x", "a b"),
          TEXTINV_E_INVALID, "at byte 1");
  size = 1;
  refused(textinv_embeddings_save_memory(session, bytes, sizeof(bytes), &size, e,
                                         TEXTINV_FORMAT_KOHYA, NULL),
          TEXTINV_E_UNSUPPORTED, "memory: a file of this format holds one word, not 2");
  assert_int_equal(size, 0);
  refused(textinv_embeddings_save_memory(session, bytes, sizeof(bytes), &size, e,
                                         TEXTINV_FORMAT_DIFFUSERS, "<none>"),
          TEXTINV_E_NOT_FOUND, "<none>");
  refused(textinv_embeddings_save_memory(session, bytes, sizeof(bytes), &size, e, 9, NULL),
          TEXTINV_E_INVALID, "format 9 is unknown");
  textinv_embeddings_free(e);
  e = new_words();
  refused(
    textinv_embeddings_save_memory(session, NULL, 0, &size, e, TEXTINV_FORMAT_DIFFUSERS, NULL),
    TEXTINV_E_INVALID, "there are no words to write");
  textinv_embeddings_free(e);
}

/* a word that neither the call nor the bytes name has the name's, as that of a path */
static void a_name_stands_for_a_path(void **state)
{
  static const char header[] = "{\"emb_params\":{\"dtype\":\"F32\",\"shape\":[1,16],"
                               "\"data_offsets\":[0,64]}}";
  unsigned char bytes[8 + sizeof(header) - 1 + 64] = { sizeof(header) - 1 };
  textinv_embeddings *e = new_words();

  (void)state;
  memcpy(bytes + 8, header, sizeof(header) - 1);
  must(textinv_embeddings_load_memory(session, e, model, bytes, sizeof(bytes),
                                      "/no/where/my toy.pt", NULL));
  assert_string_equal(textinv_embeddings_word(e, 0), "my-toy");
  refused(textinv_embeddings_load_memory(session, e, model, bytes, sizeof(bytes), "", NULL),
          TEXTINV_E_INVALID, "a word is empty");
  assert_int_equal(textinv_embeddings_count(e), 1);
  textinv_embeddings_free(e);
}

static void pictures_go_through_memory(void **state)
{
  enum { W = 7, H = 5 };
  const char *path = test_path("picture.png"), *text = "a toy\nSteps: 20, caf\xc3\xa9";
  textinv_images *images, *by_path, *by_bytes;
  uint8_t pixels[2 * W * H * 3];
  size_t file_size, size = 0;
  unsigned char *file, *bytes;

  (void)state;
  test_seed(9);
  for (size_t i = 0; i < sizeof(pixels); i++)
    pixels[i] = (uint8_t)test_u32();
  must(textinv_images_new(&images, session, pixels, 2, W, H));
  must(textinv_images_save(session, images, 1, path, text));
  file = read_file(path, &file_size);
  must(textinv_images_save_memory(session, NULL, 0, &size, images, 1, text));
  assert_int_equal(size, file_size);
  bytes = malloc(size + 1);
  bytes[size] = GUARD;
  must(textinv_images_save_memory(session, bytes, size, &size, images, 1, text));
  assert_memory_equal(bytes, file, size);
  assert_int_equal(bytes[size], GUARD);
  must(textinv_image_read(&by_path, session, path));
  must(textinv_image_read_memory(&by_bytes, session, file, file_size, "picture"));
  assert_int_equal(textinv_images_count(by_bytes), 1);
  assert_int_equal(textinv_images_width(by_bytes), W);
  assert_int_equal(textinv_images_height(by_bytes), H);
  assert_memory_equal(textinv_images_pixels(by_bytes, 0), pixels + W * H * 3, W * H * 3);
  assert_memory_equal(textinv_images_pixels(by_path, 0), pixels + W * H * 3, W * H * 3);
  textinv_images_free(by_path);
  textinv_images_free(by_bytes);

  refused(textinv_images_save_memory(session, bytes, 10, &size, images, 1, text), TEXTINV_E_SHAPE,
          "bytes has room for 10;");
  assert_int_equal(size, file_size);
  refused(textinv_images_save_memory(session, bytes, size, &size, images, 2, text),
          TEXTINV_E_INVALID, "picture 2 of 2");
  assert_int_equal(size, 0);
  refused(textinv_images_save_memory(session, bytes, file_size, &size, images, 0, "\xff"),
          TEXTINV_E_INVALID, "memory: the text to write is not UTF-8");
  refused(textinv_image_read_memory(&by_bytes, session, file, file_size - 1, "cut"),
          TEXTINV_E_FORMAT, "cut: PNG");
  assert_null(by_bytes);
  refused(textinv_image_read_memory(&by_bytes, session, file, 0, "none"), TEXTINV_E_FORMAT,
          "none: is empty");
  refused(textinv_image_read_memory(&by_bytes, session, "GIF89a", 6, "x.gif"),
          TEXTINV_E_UNSUPPORTED, "x.gif: is neither a PNG nor a JPEG picture");
  refused(textinv_image_read_memory(&by_bytes, session, file, ((size_t)1 << 28) + 1, "x"),
          TEXTINV_E_LIMIT, "268435457 bytes");
  free_file(file);
  free(bytes);
  textinv_images_free(images);
}

static void all_pictures_are_resized(void **state)
{
  enum { W = 7, H = 5, BYTES = W * H * 3, W2 = 4, H2 = 9, BYTES2 = W2 * H2 * 3 };
  textinv_images *both, *one;
  uint8_t pixels[2 * BYTES];

  (void)state;
  test_seed(10);
  for (size_t i = 0; i < sizeof(pixels); i++)
    pixels[i] = (uint8_t)test_u32();
  must(textinv_images_new(&both, session, pixels, 2, W, H));
  must(textinv_images_resize(session, both, W2, H2));
  assert_int_equal(textinv_images_count(both), 2);
  for (uint32_t i = 0; i < 2; i++) {
    must(textinv_images_new(&one, session, pixels + i * BYTES, 1, W, H));
    must(textinv_images_resize(session, one, W2, H2));
    assert_int_equal(textinv_images_width(one), W2);
    assert_int_equal(textinv_images_height(one), H2);
    assert_memory_equal(textinv_images_pixels(one, 0), textinv_images_pixels(both, i), BYTES2);
    textinv_images_free(one);
  }
  assert_ptr_equal(textinv_images_pixels(both, 1), textinv_images_pixels(both, 0) + BYTES2);

  refused(textinv_images_resize(session, both, 0, 4), TEXTINV_E_INVALID, "a picture of 0 x 4");
  refused(textinv_images_resize(session, both, 4, 0), TEXTINV_E_INVALID, "a picture of 4 x 0");
  refused(textinv_images_resize(session, both, 16385, 1), TEXTINV_E_INVALID,
          "a picture of 16385 x 1; sides of 1 to 16384");
  refused(textinv_images_resize(session, both, 1, 16385), TEXTINV_E_INVALID,
          "a picture of 1 x 16385; sides of 1 to 16384");
  refused(textinv_images_resize(session, both, 16384, 4097), TEXTINV_E_LIMIT,
          "a picture of 16384 x 4097; at most 67108864 pixels");
  assert_int_equal(textinv_images_width(both), W2);
  textinv_images_free(both);

  must(textinv_images_new(&one, session, NULL, 4096, 1, 1));
  textinv_images_free(one);
  must(textinv_images_new(&one, session, NULL, 1, 16384, 1));
  textinv_images_free(one);
  refused(textinv_images_new(&one, session, NULL, 4097, 1, 1), TEXTINV_E_INVALID,
          "4097 pictures; 1 to 4096");
  refused(textinv_images_new(&one, session, NULL, 0, 1, 1), TEXTINV_E_INVALID,
          "0 pictures; 1 to 4096");
  refused(textinv_images_new(&one, session, NULL, 1, 1, 0), TEXTINV_E_INVALID,
          "a picture of 1 x 0");
  assert_null(one);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(memory_holds_what_a_file_holds),
    cmocka_unit_test(too_little_room_is_told),
    cmocka_unit_test(what_a_file_may_not_be_memory_may_not_be),
    cmocka_unit_test(a_name_stands_for_a_path),
    cmocka_unit_test(pictures_go_through_memory),
    cmocka_unit_test(all_pictures_are_resized),
  };

  return cmocka_run_group_tests_name("bytes", tests, open_tiny, close_tiny);
}
