/*
 * Words in pictures: what the text of a PNG file says, and what its pixels hide. Pictures of the
 * web UI are read by embedding_test.c.
 */
#include "io_testing.h"

#include <math.h>
#include <zlib.h>

#include "alloc.h"
#include "embedding_file.h"
#include "embedding_image.h"
#include "format.h"
#include "safetensors.h"

static ti_embedding_file file;

/* --- text */

/* a PNG file of no pixels, with a text; free() it */
static unsigned char *make_picture(const char *text, size_t *size)
{
  const size_t length = strlen(text) + sizeof("sd-ti-embedding");
  unsigned char *p = calloc(length + 32, 1);
  uLong sum;

  assert_non_null(p);
  memcpy(p, "\x89PNG\r\n\x1a\n", 8);
  for (int i = 0; i < 4; i++)
    p[8 + i] = (unsigned char)(length >> (24 - 8 * i));
  strcpy((char *)p + 12, "tEXtsd-ti-embedding");
  memcpy(p + 16 + sizeof("sd-ti-embedding"), text, strlen(text));
  sum = crc32(0, p + 12, (uInt)length + 4);
  for (int i = 0; i < 4; i++)
    p[16 + length + i] = (unsigned char)(sum >> (24 - 8 * i));
  memcpy(p + 20 + length, "\0\0\0\0IEND\xae\x42\x60\x82", 12);
  *size = length + 32;
  return p;
}

static void what_a_picture_says_is_checked(void **state)
{
  static const struct {
    const char *text; /* base64 */
    textinv_status status;
    const char *message;
  } cases[] = {
    { "", TEXTINV_E_FORMAT, "line 1" },
    { "e30", TEXTINV_E_FORMAT, "no base64" },
    { "e3\n0", TEXTINV_E_FORMAT, "no base64" },
    { "e3{0", TEXTINV_E_FORMAT, "no base64" },
    { "e3-0", TEXTINV_E_FORMAT, "no base64" },
    { "====", TEXTINV_E_FORMAT, "no base64" },
    { "e30=", TEXTINV_E_FORMAT, "no tensor" },                                        /* {} */
    { "WzFd", TEXTINV_E_FORMAT, "JSON array" },                                       /* [1] */
    { "eyJ3Ijp7IlRPUkNIVEVOU09SIjoyfX0=", TEXTINV_E_FORMAT, "\"w\" has no numbers" }, /* 2 */
    { "eyJ3Ijp7IlRPUkNIVEVOU09SIjpbXX19", TEXTINV_E_FORMAT, "has no numbers" },       /* [] */
    { "eyJ3Ijp7IlRPUkNIVEVOU09SIjpbW11dfX0=", TEXTINV_E_FORMAT, "has no numbers" },   /* [[]] */
    { "eyJ3Ijp7IlRPUkNIVEVOU09SIjpbW1sxXV1dfX0=", TEXTINV_E_FORMAT,                   /* [[[1]]] */
      "vector 0, column 0 is no number" },
    { "eyJ3Ijp7IlRPUkNIVEVOU09SIjpbWzEsMl0sWzNdXX19", TEXTINV_E_FORMAT, /* [[1,2],[3]] */
      "vector 1 has 1 values, vector 0 has 2" },
    { "eyJ3Ijp7IlRPUkNIVEVOU09SIjpbMSwxZTM5XX19", TEXTINV_E_NONFINITE, /* [1,1e39] */
      "column 1 is infinite" },
    { "eyJ3Ijp7IlRPUkNIVEVOU09SIjpbMSxudWxsXX19", TEXTINV_E_FORMAT, /* [1,null] */
      "vector 0, column 1 is no number" },
    { "eyJzdHJpbmdfdG9fcGFyYW0iOjF9", TEXTINV_E_FORMAT, /* {"string_to_param":1} */
      "\"string_to_param\" holds no tensor" },
  };
  ti_safetensors *golden;
  const ti_tensor *plain;
  unsigned char *damaged, short_text[33] = "\x89PNG\r\n\x1a\n";
  size_t size;

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    unsigned char *bytes = make_picture(cases[i].text, &size);

    assert_fails(ti_embedding_file_decode(&file, &error, "x.png", bytes, size), cases[i].status,
                 "x.png", cases[i].message);
    free(bytes);
  }
  assert_succeeds(ti_safetensors_open(&golden, &error, "tests/golden/embeddings.safetensors"));
  plain = ti_safetensors_find(golden, "plain.png.file");
  assert_non_null(plain);
  assert_fails(ti_embedding_file_decode(&file, &error, "x.png", plain->data, plain->bytes),
               TEXTINV_E_UNSUPPORTED, "x.png", "a picture that holds no embedding");
  ti_safetensors_close(golden);
  /* a text that is shorter than the key is no embedding: pixels are looked for */
  memcpy(short_text + 8, "\0\0\0\1tEXtx", 9);
  for (int i = 0; i < 4; i++)
    short_text[17 + i] = (unsigned char)(crc32(0, short_text + 12, 5) >> (24 - 8 * i));
  memcpy(short_text + 21, "\0\0\0\0IEND\xae\x42\x60\x82", 12);
  assert_fails(ti_embedding_file_decode(&file, &error, "x.png", short_text, sizeof(short_text)),
               TEXTINV_E_FORMAT, "x.png", "does not begin with an IHDR");
  damaged = make_picture("e30=", &size);
  damaged[20] ^= 1;
  assert_fails(ti_embedding_file_decode(&file, &error, "x.png", damaged, size), TEXTINV_E_FORMAT,
               "x.png", "CRC error");
  free(damaged);
}

/* {"a":true,"b":false,"c":null,"d":"~~>??>","step":-1,"name":7,"w":{"TORCHTENSOR":[1]}} */
static void what_stands_beside_the_words(void **state)
{
  static const char text[] =
    "eyJhIjp0cnVlLCJiIjpmYWxzZSwiYyI6bnVsbCwiZCI6In5+Pj8/PiIsInN0ZXAiOi0xLCJuYW1l"
    "Ijo3LCJ3Ijp7IlRPUkNIVEVOU09SIjpbMV19fQ==";
  static const char *const expected[] = { "diffusers", "true", "false", "~~>?\?>", "-1", "7" };
  size_t size;
  unsigned char *bytes = make_picture(text, &size);

  (void)state;
  assert_succeeds(ti_embedding_file_decode(&file, &error, "x.png", bytes, size));
  assert_int_equal(file.num_metadata, 6);
  for (int i = 0; i < 6; i++)
    assert_string_equal(file.metadata[i].value, expected[i]);
  assert_int_equal(file.step, -1);
  assert_null(file.name);
  ti_embedding_file_free(&file);
  free(bytes);
}

/* {"a": 0.3333333333333333, "b": 0.1, "c": -2.5e-300, "w": {"TORCHTENSOR": [1]}} */
static void numbers_read_back(void **state)
{
  static const char text[] = "eyJhIjowLjMzMzMzMzMzMzMzMzMzMzMsImIiOjAuMSwiYyI6LTIuNWUtMzAw"
                             "LCJ3Ijp7IlRPUkNIVEVOU09SIjpbMV19fQ==";
  static const char *const expected[] = { "0.3333333333333333", "0.1", "-2.5e-300" };
  size_t size;
  unsigned char *bytes = make_picture(text, &size);
  char out[32];

  (void)state;
  assert_succeeds(ti_embedding_file_decode(&file, &error, "x.png", bytes, size));
  assert_int_equal(file.num_metadata, 4);
  for (int i = 0; i < 3; i++)
    assert_string_equal(file.metadata[1 + i].value, expected[i]);
  ti_embedding_file_free(&file);
  free(bytes);
  for (int i = 0; i < 100000; i++) {
    const double value = ldexp((double)test_uniform() + test_u32() * 0x1p-60,
                               test_below(2000) - 1000);

    ti_format_double(out, value);
    assert_true(strtod(out, NULL) == value);
  }
}

/* --- pixels */

enum { WIDTH = 256 }; /* of a block */

static ti_image image;

static void set_pixel(int x, int y, int c, unsigned value)
{
  image.pixels[3 * (y * image.width + x) + c] = (uint8_t)value;
}

/*
 * A picture that hides bytes as the web UI does, gap columns apart: four bits of each in the left
 * block, four in the right one, which are low and high wide, columns without bits at their inner
 * sides
 */
static void hide(const unsigned char *bytes, size_t size, int low, int high, int gap)
{
  const int height = (int)(size / (3 * WIDTH)) + 1;
  uint32_t mask = 0;

  image = (ti_image){ low + gap + high, height, NULL };
  image.pixels = malloc((size_t)image.width * (size_t)height * 3);
  assert_non_null(image.pixels);
  memset(image.pixels, 0x75, (size_t)image.width * (size_t)height * 3);
  for (int y = 0; y < height; y++) {
    for (int x = 0; x<gap; x += gap> 1 ? gap - 1 : 1) {
      for (int c = 0; c < 3; c++)
        set_pixel(low + x, y, c, 0x70);
    }
    for (int x = 0; x < WIDTH; x++) {
      for (int c = 0; c < 3; c++) {
        const size_t i = (size_t)(3 * (y * WIDTH + x) + c);
        const unsigned byte = i < size ? bytes[i] : 0;

        mask = mask * 1664525u + 1013904223u;
        if (x < low)
          set_pixel(x, y, c, 0x70 | ((byte & 15) ^ (mask % 255 & 15)));
        if (x < high)
          set_pixel(low + gap + x, y, c, 0x70 | ((byte >> 4) ^ (mask % 255 & 15)));
      }
    }
  }
}

/* size bytes of little order, and their zlib stream, which is kept */
static unsigned char *make_stream(size_t size, size_t *stream_size, unsigned char **text)
{
  uLongf room = compressBound((uLong)size);
  unsigned char *stream = malloc(room);

  *text = malloc(size + 1);
  assert_true(stream && *text);
  for (size_t i = 0; i < size; i++)
    (*text)[i] = (unsigned char)(i * i / 64 >> 3);
  assert_int_equal(compress(stream, &room, *text, (uLong)size), Z_OK);
  *stream_size = room;
  return stream;
}

#define reveal() ti_embedding_image_reveal(&found, &found_size, &error, "x.png", &image)

/* buffers double: less than the first, all of it, more, and more than is read */
static void streams_of_any_size(void **state)
{
  static const size_t sizes[] = { 1, 65535, 65536, 65537, 1000000, (16 << 20) + 1 };
  char *found;
  size_t found_size;

  (void)state;
  for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
    size_t size;
    unsigned char *text, *stream = make_stream(sizes[i], &size, &text);

    hide(stream, size, WIDTH, WIDTH, 2 + (int)i % 2);
    if (sizes[i] > 16 << 20) {
      assert_fails(reveal(), TEXTINV_E_LIMIT, "x.png", "hides over 16777216 bytes");
      assert_null(found);
    } else {
      assert_succeeds(reveal());
      assert_int_equal(found_size, sizes[i]);
      assert_memory_equal(found, text, found_size);
      ti_free(found);
    }
    ti_image_free(&image);
    free(stream);
    free(text);
  }
}

/* a pixel that is 0 in one colour alone is of the border */
static void a_border_is_black_in_any_colour(void **state)
{
  char *found;
  size_t found_size, size;
  unsigned char *text, *stream = make_stream(1000, &size, &text);

  (void)state;
  for (int colour = 0; colour < 3; colour++) {
    size_t row;
    uint8_t *framed;

    hide(stream, size, WIDTH, WIDTH, 2);
    row = 3 * (size_t)image.width;
    framed = malloc(row * (size_t)(image.height + 1));
    assert_non_null(framed);
    memcpy(framed + row, image.pixels, row * (size_t)image.height);
    memset(framed, 0x75, row);
    for (size_t i = (size_t)colour; i < row; i += 3)
      framed[i] = 0;
    ti_image_free(&image);
    image = (ti_image){ (int)row / 3, (int)(size / (3 * WIDTH)) + 2, framed };
    assert_succeeds(reveal());
    assert_non_null(found);
    assert_memory_equal(found, text, 1000);
    ti_free(found);
    ti_image_free(&image);
  }
  free(stream);
  free(text);
}

/* a stream that is cut or damaged, and blocks that are not two of one width with two columns
 * between
 */
static void pictures_that_hide_nothing(void **state)
{
  char *found;
  size_t found_size, size;
  unsigned char *text, *stream = make_stream(100000, &size, &text);

  (void)state;
  for (int i = 0; i < 6; i++) {
    stream[size / 2] ^= i == 1;
    hide(stream, i ? size : size / 2,
         i == 2   ? WIDTH - 1
         : i == 3 ? 0
                  : WIDTH,
         WIDTH - (i == 4), i == 5 ? 1 : 3);
    stream[size / 2] ^= i == 1;
    assert_succeeds(reveal());
    assert_null(found);
    ti_image_free(&image);
  }
  free(stream);
  free(text);
  /* the last buffer is not full, as the stream ends too early */
  stream = make_stream(12 << 20, &size, &text);
  hide(stream, size - size / 16, WIDTH, WIDTH, 3);
  assert_succeeds(reveal());
  assert_null(found);
  ti_image_free(&image);
  free(stream);
  free(text);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_a_picture_says_is_checked),
    cmocka_unit_test(what_stands_beside_the_words),
    cmocka_unit_test(numbers_read_back),
    cmocka_unit_test(streams_of_any_size),
    cmocka_unit_test(a_border_is_black_in_any_colour),
    cmocka_unit_test(pictures_that_hide_nothing),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
