/* JPEG files that are cut or hostile, in colours of ink, or turned. */
#include "image_testing.h"

#include <stdio.h>
#include <jpeglib.h>

#include "image.h"
#include "image_codec.h"

/* a golden file that a test changes */
static struct {
  unsigned char p[1 << 17];
  size_t size;
} file;

static void jpeg(const char *name)
{
  const ti_tensor *t = ti_safetensors_find(golden, name);

  assert_non_null(t);
  assert_true(t->bytes <= sizeof(file.p));
  memcpy(file.p, t->data, t->bytes);
  file.size = t->bytes;
}

#define assert_jpeg_fails(status, ...)                                                             \
  assert_fails(ti_image_decode(&image, &error, "a.jpg", file.p, file.size), status, "a.jpg",       \
               __VA_ARGS__)

/* position of a marker, before its 0xff */
static size_t find_marker(int marker)
{
  for (size_t i = 0; i + 1 < file.size; i++) {
    if (file.p[i] == 0xff && file.p[i + 1] == marker)
      return i;
  }
  fail();
  return 0;
}

static void a_cut_jpeg_is_refused_wherever_it_is_cut(void **state)
{
  static const char *const names[] = { "jpeg.420.file", "jpeg.progressive.file" };
  ti_image image;

  (void)state;
  for (int i = 0; i < 2; i++) {
    jpeg(names[i]);
    for (size_t size = file.size - 1; size >= 3; size--)
      assert_fails(ti_image_decode(&image, &error, "cut.jpg", file.p, size), TEXTINV_E_FORMAT,
                   "cut.jpg");
  }
}

static void hostile_jpegs(void **state)
{
  size_t at;
  ti_image image;

  (void)state;
  jpeg("jpeg.444.file");
  at = find_marker(0xc0) + 5; /* height, width */
  memset(file.p + at, 0xff, 4);
  assert_jpeg_fails(TEXTINV_E_LIMIT, "JPEG");
  memcpy(file.p + at, "\x20\x00\x20\x00", 4); /* 8192 x 8192 */
  assert_jpeg_fails(TEXTINV_E_FORMAT, "8192 x 8192");
  memcpy(file.p + at, "\x40\x01\x00\x01", 4);
  assert_jpeg_fails(TEXTINV_E_LIMIT, "1 x 16385");
  memcpy(file.p + at, "\0\0\0\1", 4);
  assert_jpeg_fails(TEXTINV_E_FORMAT, "JPEG");

  jpeg("jpeg.444.file");
  file.p[find_marker(0xc0) + 4] = 12; /* bits a sample */
  assert_jpeg_fails(TEXTINV_E_UNSUPPORTED, "recision");
  jpeg("jpeg.444.file");
  file.p[find_marker(0xc0) + 1] = 0xc3; /* lossless */
  assert_jpeg_fails(TEXTINV_E_UNSUPPORTED, "SOF");
  jpeg("jpeg.444.file");
  file.p[find_marker(0xc0) + 11] = 0xff; /* sampling 15 x 15 */
  assert_jpeg_fails(TEXTINV_E_FORMAT, "ampling");
  jpeg("jpeg.444.file");
  file.p[find_marker(0xdb) + 1] = 0xec; /* the table of a quantiser is not there */
  assert_jpeg_fails(TEXTINV_E_FORMAT, "uantization");
  jpeg("jpeg.restarts.file");
  file.p[find_marker(0xd1) + 1] = 0xd5;
  assert_jpeg_fails(TEXTINV_E_FORMAT, "JPEG"); /* a restart out of order */
  jpeg("orient.jpeg.6.file");
  at = find_marker(0xe1) + 4 + 6;
  memset(file.p + at + 4, 0xff, 4); /* offset of the first folder */
  assert_succeeds(ti_image_decode(&image, &error, "a.jpg", file.p, file.size));
  assert_int_equal(image.width, 40);
  ti_image_free(&image);
  jpeg("orient.jpeg.6.file");
  file.p[find_marker(0xe1) + 4] = 'X'; /* no longer Exif */
  assert_succeeds(ti_image_decode(&image, &error, "a.jpg", file.p, file.size));
  assert_int_equal(image.width, 40);
  ti_image_free(&image);
}

/* the entry of a folder among others, of one number of 16 bits from 1 to 8 */
static void orientations_of_exif(void **state)
{
#define TIFF "II*\0\x08\0\0\0"
#define OTHER "\0\1\3\0\1\0\0\0\7\0\0\0"
  static const struct {
    const char *tiff;
    size_t size;
    int orientation;
  } cases[] = {
#define CASE(tiff, orientation) { tiff, sizeof(tiff) - 1, orientation }
    CASE(TIFF "\2\0" OTHER "\x12\1\3\0\1\0\0\0\6\0\0\0", 6),
    CASE("MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\5\0\0", 5),
    CASE(TIFF "\1\0" OTHER "\x12\1\3\0\1\0\0\0\6\0\0\0", 1), /* behind the last */
    CASE(TIFF "\2\0" OTHER "\x12\1\3\0\1\0\0\0\6\0\0", 1),
    CASE(TIFF "\1\0\x12\1\4\0\1\0\0\0\6\0\0\0", 1),
    CASE(TIFF "\1\0\x12\1\3\0\2\0\0\0\6\0\0\0", 1),
    CASE(TIFF "\1\0\x12\1\3\0\1\0\0\0\0\0\0\0", 1),
    CASE(TIFF "\1\0\x12\1\3\0\1\0\0\0\x09\0\0\0", 1),
    CASE("II*\0\x07\0\0\0", 1),
    CASE("MM*\0\0\0\0\x08\0\0", 1),
    CASE("II*\0\0\0\0", 1),
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
    assert_int_equal(ti_exif_orientation(cases[i].tiff, cases[i].size), cases[i].orientation);
}

/* ink as it is and, as Adobe's programs write it, its complement: white paper and a colour */
static void pictures_for_printers(void **state)
{
  static const unsigned char inks[2][4] = { { 0, 0, 0, 0 }, { 51, 204, 0, 85 } };
  static const int colours[2][3] = { { 255, 255, 255 }, { 136, 34, 170 } };

  (void)state;
  for (int i = 0; i < 6; i++) {
    const int kind = i % 3, colour = i / 3;
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL, row[64];
    unsigned long size = 0;
    JSAMPROW rows = row;
    ti_image image;

    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &bytes, &size);
    jpeg.image_width = jpeg.image_height = 16;
    jpeg.input_components = 4;
    jpeg.in_color_space = JCS_CMYK;
    jpeg_set_defaults(&jpeg);
    jpeg_set_colorspace(&jpeg, kind == 2 ? JCS_YCCK : JCS_CMYK);
    jpeg_set_quality(&jpeg, 100, TRUE);
    jpeg.write_Adobe_marker = kind > 0;
    for (size_t k = 0; k < sizeof(row); k++)
      row[k] = (unsigned char)(kind ? 255 - inks[colour][k % 4] : inks[colour][k % 4]);
    jpeg_start_compress(&jpeg, TRUE);
    for (int y = 0; y < 16; y++)
      jpeg_write_scanlines(&jpeg, &rows, 1);
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    assert_succeeds(ti_image_decode(&image, &error, "ink.jpg", bytes, size));
    for (int k = 0; k < 16 * 16 * 3; k++)
      assert_in_range(image.pixels[k], colours[colour][k % 3] - 2, colours[colour][k % 3] + 2);
    ti_image_free(&image);
    free(bytes);
  }
}

/* a valid file: each coefficient bit by bit in scans of its own */
static void a_bomb_of_scans_is_refused(void **state)
{
  enum { BITS = 9, SCANS = 1 + 63 * BITS };
  static jpeg_scan_info scans[SCANS];
  struct jpeg_compress_struct jpeg;
  struct jpeg_error_mgr errors;
  unsigned char *bomb = NULL, row[16] = { 0 };
  unsigned long size = 0;
  JSAMPROW rows = row;
  ti_image image;

  (void)state;
  scans[0].comps_in_scan = 1;
  for (int i = 1; i < SCANS; i++) {
    const int bit = (i - 1) % BITS;

    scans[i].comps_in_scan = 1;
    scans[i].Ss = scans[i].Se = 1 + (i - 1) / BITS;
    scans[i].Ah = bit ? BITS - bit : 0;
    scans[i].Al = BITS - 1 - bit;
  }
  jpeg.err = jpeg_std_error(&errors);
  for (int num_scans = 400; num_scans <= SCANS; num_scans += SCANS - 400) {
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &bomb, &size);
    jpeg.image_width = jpeg.image_height = 16;
    jpeg.input_components = 1;
    jpeg.in_color_space = JCS_GRAYSCALE;
    jpeg_set_defaults(&jpeg);
    jpeg.scan_info = scans;
    jpeg.num_scans = num_scans;
    jpeg_start_compress(&jpeg, TRUE);
    for (int y = 0; y < 16; y++)
      jpeg_write_scanlines(&jpeg, &rows, 1);
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    if (num_scans == SCANS) {
      assert_fails(ti_image_decode(&image, &error, "bomb.jpg", bomb, size), TEXTINV_E_LIMIT,
                   "bomb.jpg", "500 scans");
    } else {
      assert_succeeds(ti_image_decode(&image, &error, "many.jpg", bomb, size));
      ti_image_free(&image);
    }
    free(bomb);
    bomb = NULL;
    size = 0;
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_cut_jpeg_is_refused_wherever_it_is_cut),
    cmocka_unit_test(hostile_jpegs),
    cmocka_unit_test(orientations_of_exif),
    cmocka_unit_test(pictures_for_printers),
    cmocka_unit_test(a_bomb_of_scans_is_refused),
  };

  return cmocka_run_group_tests(tests, open_golden, close_golden);
}
