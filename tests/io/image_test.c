/*
 * Pictures: every kind against the pixels that tests/golden/images.py gives, Pillow's resizes,
 * hostile files, and what is written read back. This program's open, read and readdir stand before
 * those of the C library, to fail at will.
 */
#include "image_testing.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <zlib.h>

#include "alloc.h"
#include "image.h"

/* the call of the C library that fails, when, and why */
static const char *failing;
static int passing, failing_errno;

static int fails(const char *call)
{
  if (!failing || strcmp(call, failing) || passing-- > 0)
    return 0;
  failing = NULL;
  errno = failing_errno;
  return 1;
}

int open(const char *path, int flags, ...)
{
  return fails("open") ? -1 : openat(AT_FDCWD, path, flags);
}

ssize_t read(int fd, void *bytes, size_t size)
{
  return fails("read") ? -1 : syscall(SYS_read, fd, bytes, size);
}

static const char *repeated; /* the one name in a folder, without end */

struct dirent *readdir(DIR *dir)
{
  static struct dirent *(*next)(DIR *);
  static struct dirent entry;

  if (!next)
    *(void **)&next = dlsym(RTLD_NEXT, "readdir");
  if (fails("readdir"))
    return NULL;
  errno = 0;
  return repeated ? strcpy(entry.d_name, repeated), &entry : next(dir);
}

/* --- making PNG files */

typedef struct bytes {
  unsigned char p[1 << 17];
  size_t size;
} bytes;

static void put(bytes *b, const void *p, size_t size)
{
  assert_true(size <= sizeof(b->p) - b->size);
  memcpy(b->p + b->size, p, size);
  b->size += size;
}

static void put32(bytes *b, uint32_t v)
{
  const unsigned char p[4] = { (unsigned char)(v >> 24), (unsigned char)(v >> 16),
                               (unsigned char)(v >> 8), (unsigned char)v };

  put(b, p, 4);
}

static void put_chunk(bytes *b, const char *kind, const void *data, size_t size)
{
  put32(b, (uint32_t)size);
  const size_t start = b->size;

  put(b, kind, 4);
  put(b, data, size);
  put32(b, (uint32_t)crc32(0, b->p + start, (unsigned)(b->size - start)));
}

static void put_header(bytes *b, uint32_t width, uint32_t height, int depth, int color)
{
  bytes *h = calloc(1, sizeof(*h));
  const unsigned char rest[5] = { (unsigned char)depth, (unsigned char)color, 0, 0, 0 };

  b->size = 0;
  put(b, "\x89PNG\r\n\x1a\n", 8);
  put32(h, width);
  put32(h, height);
  put(h, rest, 5);
  put_chunk(b, "IHDR", h->p, h->size);
  free(h);
}

static void put_data(bytes *b, const void *rows, size_t size)
{
  static unsigned char packed[1 << 16];
  unsigned long packed_size = sizeof(packed);

  assert_int_equal(compress(packed, &packed_size, rows, size), Z_OK);
  put_chunk(b, "IDAT", packed, packed_size);
}

static bytes file;
static const unsigned char rows_2x2[] = { 0, 10, 20, 30, 40, 50, 60, 0, 70, 80, 90, 1, 2, 3 };

/* an RGB picture of 2 x 2 with an extra chunk before its data, NULL = none */
static void make_2x2(const char *kind, const void *data, size_t size)
{
  put_header(&file, 2, 2, 8, 2);
  if (kind)
    put_chunk(&file, kind, data, size);
  put_data(&file, rows_2x2, sizeof(rows_2x2));
  put_chunk(&file, "IEND", "", 0);
}

#define assert_png_fails(status, ...)                                                              \
  assert_fails(ti_image_decode(&image, &error, "a.png", file.p, file.size), status, "a.png",       \
               __VA_ARGS__)
#define assert_png_reads()                                                                         \
  assert_succeeds(ti_image_decode(&image, &error, "a.png", file.p, file.size))

static void check_2x2(const ti_image *image)
{
  const unsigned char expected[] = { 10, 20, 30, 40, 50, 60, 70, 80, 90, 1, 2, 3 };

  assert_int_equal(image->width, 2);
  assert_int_equal(image->height, 2);
  assert_memory_equal(image->pixels, expected, sizeof(expected));
}

/* --- tests */

static void every_kind_has_its_pixels(void **state)
{
  int files = 0;

  (void)state;
  for (size_t i = 0; i < ti_safetensors_count(golden); i++) {
    const ti_tensor *t = ti_safetensors_tensor(golden, i), *pixels;
    const char *dot = strstr(t->name, ".file");
    const int tolerance = strstr(t->name, "jpeg") ? 2 : 0; /* other versions of libjpeg */
    char name[64];
    ti_image image;

    if (!dot)
      continue;
    sprintf(name, "%.*s.pixels", (int)(dot - t->name), t->name);
    pixels = ti_safetensors_find(golden, name);
    assert_non_null(pixels);
    assert_succeeds(ti_image_decode(&image, &error, t->name, t->data, t->bytes));
    assert_int_equal(image.height, pixels->dims[0]);
    assert_int_equal(image.width, pixels->dims[1]);
    for (size_t k = 0; k < pixels->bytes; k++) {
      const int difference = image.pixels[k] - ((const unsigned char *)pixels->data)[k];

      if (abs(difference) > tolerance)
        fail_msg("%s: byte %zu is %d, expected %d", t->name, k, image.pixels[k],
                 image.pixels[k] - difference);
    }
    ti_image_free(&image);
    files++;
  }
  assert_int_equal(files, 30 + 1 + 16 + 6);
}

static void resize_is_pillows(void **state)
{
  const ti_tensor *in = ti_safetensors_find(golden, "resize.in");
  const ti_image source = { (int)in->dims[1], (int)in->dims[0], (uint8_t *)(uintptr_t)in->data };
  int cases = 0;

  (void)state;
  for (size_t i = 0; i < ti_safetensors_count(golden); i++) {
    const ti_tensor *t = ti_safetensors_tensor(golden, i);
    const unsigned char *expected = t->data;
    const ti_filter filter = strncmp(t->name, "lanczos.", 8) ? TI_BICUBIC : TI_LANCZOS;
    int left, top, w, h, width, height;
    ti_image out;

    if (sscanf(t->name, "%*[a-z].%d.%d.%d.%d.%d.%d", &left, &top, &w, &h, &width, &height) != 6)
      continue;
    assert_succeeds(ti_image_resize(&out, &error, &source, filter, left, top, w, h, width, height));
    assert_int_equal(out.width, width);
    assert_int_equal(out.height, height);
    for (size_t k = 0; k < t->bytes; k++) {
      if (out.pixels[k] != expected[k])
        fail_msg("%s: byte %zu is %d, expected %d", t->name, k, out.pixels[k], expected[k]);
    }
    ti_image_free(&out);
    cases++;
  }
  assert_int_equal(cases, 2 * 14);
}

static void resize_refuses(void **state)
{
  uint8_t pixels[12] = { 0 };
  const ti_image in = { 2, 2, pixels };
  ti_image out;

  (void)state;
  assert_fails(ti_image_resize(&out, &error, &in, TI_BICUBIC, 1, 0, 2, 2, 4, 4), TEXTINV_E_INVALID,
               "box of 2 x 2");
  assert_fails(ti_image_resize(&out, &error, &in, TI_BICUBIC, -1, 0, 1, 1, 4, 4), TEXTINV_E_INVALID,
               "at -1, 0");
  assert_fails(ti_image_resize(&out, &error, &in, TI_BICUBIC, 0, -1, 1, 1, 4, 4), TEXTINV_E_INVALID,
               "at 0, -1");
  assert_fails(ti_image_resize(&out, &error, &in, TI_BICUBIC, 0, 0, 0, 1, 4, 4), TEXTINV_E_INVALID,
               "box of 0 x 1");
  assert_fails(ti_image_resize(&out, &error, &in, TI_BICUBIC, 0, 0, 1, 0, 4, 4), TEXTINV_E_INVALID,
               "box of 1 x 0");
  assert_fails(ti_image_resize(&out, &error, &in, TI_BICUBIC, 0, 1, 2, 2, 4, 4), TEXTINV_E_INVALID,
               "box of 2 x 2 at 0, 1");
  assert_fails(ti_image_resize(&out, &error, &in, TI_BICUBIC, 0, 0, 2, 2, 0, 4), TEXTINV_E_INVALID,
               "0 x 4");
  assert_fails(ti_image_resize(&out, &error, &in, TI_BICUBIC, 0, 0, 2, 2, 4, 0), TEXTINV_E_INVALID,
               "4 x 0");
  assert_fails(ti_image_resize(&out, &error, &in, TI_BICUBIC, 0, 0, 2, 2, 16385, 1),
               TEXTINV_E_LIMIT, "16385");
  assert_null(out.pixels);
}

static void sizes_are_limited_before_memory_is_taken(void **state)
{
  static const struct {
    uint32_t width, height;
    textinv_status status;
  } cases[] = {
    { 0, 1, TEXTINV_E_FORMAT },           { 1, 0, TEXTINV_E_FORMAT },
    { 20000, 20000, TEXTINV_E_LIMIT },    { 16385, 1, TEXTINV_E_LIMIT },
    { 8193, 8192, TEXTINV_E_LIMIT },      { 0x7fffffff, 1, TEXTINV_E_LIMIT },
    { 0x80000000u, 1, TEXTINV_E_FORMAT }, { 8192, 8192, TEXTINV_E_FORMAT },
  };
  ti_image image;

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    char size[32];

    put_header(&file, cases[i].width, cases[i].height, 16, 6);
    put_data(&file, "", 1);
    put_chunk(&file, "IEND", "", 0);
    sprintf(size, "%u x %u", cases[i].width, cases[i].height);
    assert_png_fails(cases[i].status, size);
  }
}

static void broken_headers_are_refused(void **state)
{
  static const int pairs[][2] = { { 3, 0 }, { 4, 2 }, { 16, 3 }, { 1, 6 }, { 8, 1 },
                                  { 8, 5 }, { 8, 7 }, { 32, 0 }, { 0, 0 } };
  ti_image image;

  (void)state;
  for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
    put_header(&file, 2, 2, pairs[i][0], pairs[i][1]);
    put_data(&file, rows_2x2, sizeof(rows_2x2));
    put_chunk(&file, "IEND", "", 0);
    assert_png_fails(TEXTINV_E_FORMAT, "PNG");
  }
  make_2x2(NULL, NULL, 0);
  file.p[11] = 12; /* length of IHDR */
  assert_png_fails(TEXTINV_E_FORMAT, "IHDR");
  assert_fails(ti_image_decode(&image, &error, "b", "GIF89a", 6), TEXTINV_E_UNSUPPORTED,
               "b: is neither");
  assert_fails(ti_image_decode(&image, &error, "b", "", 0), TEXTINV_E_FORMAT, "b: is empty");
}

static void a_cut_png_is_refused_wherever_it_is_cut(void **state)
{
  ti_image image;

  (void)state;
  make_2x2(NULL, NULL, 0);
  for (size_t size = file.size - 1; size >= 8; size--) {
    assert_fails(ti_image_decode(&image, &error, "cut.png", file.p, size), TEXTINV_E_FORMAT,
                 "cut.png");
    assert_null(image.pixels);
  }
  assert_png_reads();
  check_2x2(&image);
  ti_image_free(&image);
}

static void a_flipped_bit_is_noticed(void **state)
{
  ti_image image;

  (void)state;
  make_2x2("tEXt", "a\0b", 3);
  for (size_t i = 8; i < file.size; i++) {
    ti_error error = { "" };

    file.p[i] ^= 4;
    if (ti_image_decode(&image, &error, "flip.png", file.p, file.size) >= 0) {
      ti_image_free(&image);
      fail_msg("byte %zu", i);
    }
    assert_non_null(strstr(error.text, "flip.png"));
    file.p[i] ^= 4;
  }
}

static void odd_chunks(void **state)
{
  static unsigned char zeros[1 << 20];
  unsigned char *bomb = malloc(1 << 16);
  unsigned long size = (1 << 16) - 3;
  ti_image image;

  (void)state;
  memcpy(bomb, "k\0", 3); /* key, method 0 */
  assert_int_equal(compress(bomb + 3, &size, zeros, sizeof(zeros)), Z_OK);
  make_2x2("zTXt", bomb, size + 3);
  assert_png_reads();
  check_2x2(&image);
  ti_image_free(&image);
  make_2x2("iCCP", bomb, size + 3);
  assert_png_reads();
  ti_image_free(&image);
  make_2x2("iTXt", "k\0\0\0\0\0\xff\xfe", 8);
  assert_png_reads();
  ti_image_free(&image);
  make_2x2("eXIf", "II*\0\xff\xff\xff\xff", 8); /* offset past the end */
  assert_png_reads();
  check_2x2(&image);
  ti_image_free(&image);
  make_2x2("eXIf", "garbage", 7);
  assert_png_reads();
  ti_image_free(&image);
  make_2x2("ABCD", "x", 1); /* critical and unknown */
  assert_png_fails(TEXTINV_E_FORMAT, "ABCD");
  make_2x2("fcTL", "x", 1); /* of an animation: the first picture counts */
  assert_png_reads();
  ti_image_free(&image);
  make_2x2(NULL, NULL, 0);
  put(&file, "trailing", 8);
  assert_png_reads();
  ti_image_free(&image);
  make_2x2(NULL, NULL, 0);
  memcpy(file.p + 33, "\x7f\xff\xff\xff", 4); /* length of IDAT */
  assert_png_fails(TEXTINV_E_FORMAT, "PNG");
  free(bomb);
}

static void broken_palettes_are_refused(void **state)
{
  static const unsigned char row[] = { 0, 0, 1, 2, 3 }; /* filter, four pixels */
  unsigned char palette[3 * 257] = { 0 };
  ti_image image;

  (void)state;
  for (int bad = 0; bad < 5; bad++) {
    put_header(&file, 4, 1, 8, 3);
    if (bad != 1)
      put_chunk(&file, "PLTE", palette,
                bad == 2   ? 3 * 257
                : bad == 3 ? 3 * 3
                : bad == 4 ? 10
                           : 3 * 4);
    if (bad == 0)
      put_chunk(&file, "tRNS", palette, 4);
    put_data(&file, row, sizeof(row));
    put_chunk(&file, "IEND", "", 0);
    if (bad) {
      assert_png_fails(TEXTINV_E_FORMAT, bad == 3 ? "outside of the palette" : "PNG");
    } else {
      assert_png_reads();
      assert_int_equal(image.pixels[0], 255); /* transparent black over white */
      ti_image_free(&image);
    }
  }
  put_header(&file, 4, 1, 8, 3);
  put_chunk(&file, "PLTE", palette, 3 * 4);
  put_chunk(&file, "tRNS", palette, 5);
  put_data(&file, row, sizeof(row));
  put_chunk(&file, "IEND", "", 0);
  assert_png_fails(TEXTINV_E_FORMAT, "tRNS");
}

static void too_little_and_too_much_data(void **state)
{
  unsigned char rows[64];
  ti_image image;

  (void)state;
  memcpy(rows, rows_2x2, sizeof(rows_2x2));
  memset(rows + sizeof(rows_2x2), 0, sizeof(rows) - sizeof(rows_2x2));
  put_header(&file, 2, 2, 8, 2);
  put_data(&file, rows, sizeof(rows_2x2) - 1);
  put_chunk(&file, "IEND", "", 0);
  assert_png_fails(TEXTINV_E_FORMAT, "PNG");
  put_header(&file, 2, 2, 8, 2);
  put_data(&file, rows, sizeof(rows));
  put_chunk(&file, "IEND", "", 0);
  assert_png_reads();
  check_2x2(&image);
  ti_image_free(&image);
}

/* a picture of 2 x 2, and behind its rows a thousand times the file: it is not inflated */
static void a_bomb_behind_the_rows(void **state)
{
  enum { BOMB = 1 << 27, PACKED = 1 << 18 };
  unsigned char *zeros = calloc(BOMB, 1), *packed = malloc(PACKED);
  unsigned long size = PACKED;
  ti_image image;

  (void)state;
  assert_non_null(zeros);
  assert_non_null(packed);
  memcpy(zeros, rows_2x2, sizeof(rows_2x2));
  assert_int_equal(compress(packed, &size, zeros, BOMB), Z_OK);
  put_header(&file, 2, 2, 8, 2);
  put_chunk(&file, "IDAT", packed, size);
  put_chunk(&file, "eXIf", "II*\0\b\0\0\0\1\0\x12\1\3\0\1\0\0\0\3\0\0\0", 22); /* upside down */
  put_chunk(&file, "IEND", "", 0);
  const clock_t began = clock();

  assert_png_reads();
  assert_true(clock() - began < CLOCKS_PER_SEC / 10);
  assert_int_equal(image.pixels[0], rows_2x2[11]);
  ti_image_free(&image);
  free(zeros);
  free(packed);
}

/* --- files */

static void what_is_written_reads_back(void **state)
{
  const char *path = test_path("out.png");
  const ti_tensor *in = ti_safetensors_find(golden, "resize.in");
  const int width = (int)in->dims[1], height = (int)in->dims[0];
  unsigned char *raw;
  size_t size;
  ti_image image;

  (void)state;
  assert_succeeds(
    ti_image_write_png(&error, path, width, height, in->data, "a toy\nSteps: 20, caf\xc3\xa9"));
  assert_succeeds(ti_image_read(&image, &error, path));
  assert_int_equal(image.width, width);
  assert_memory_equal(image.pixels, in->data, in->bytes);
  ti_image_free(&image);
  raw = read_file(path, &size);
  assert_non_null(memmem(raw, size, "tEXtparameters\0a toy\nSteps: 20, caf\xe9", 36));
  free(raw);

  assert_succeeds(
    ti_image_write_png(&error, path, width, height, in->data, "\xe7\x8e\xa9\xe5\x85\xb7"));
  raw = read_file(path, &size);
  assert_non_null(memmem(raw, size, "iTXtparameters\0\0\0\0\0\xe7\x8e\xa9\xe5\x85\xb7", 25));
  free(raw);
  assert_succeeds(ti_image_write_png(&error, path, width, height, in->data, "\xc2\xa9"));
  raw = read_file(path, &size);
  assert_non_null(memmem(raw, size, "tEXtparameters\0\xa9", 16));
  free(raw);
  assert_succeeds(ti_image_write_png(&error, path, width, height, in->data, "\xc2\x85"));
  raw = read_file(path, &size); /* a control character, which latin-1 text may not have */
  assert_non_null(memmem(raw, size, "iTXtparameters\0\0\0\0\0\xc2\x85", 21));
  free(raw);
  assert_succeeds(ti_image_write_png(&error, path, width, height, in->data, NULL));
  raw = read_file(path, &size);
  assert_null(memmem(raw, size, "parameters", 10));
  free(raw);
  assert_fails(ti_image_write_png(&error, path, width, height, in->data, "\xff"), TEXTINV_E_INVALID,
               "UTF-8");
  assert_fails(ti_image_write_png(&error, path, 0, height, in->data, NULL), TEXTINV_E_INVALID,
               "0 x 47");
  assert_fails(ti_image_write_png(&error, path, width, -1, in->data, NULL), TEXTINV_E_INVALID,
               "x 0");
  assert_fails(ti_image_write_png(&error, path, 20000, 1, in->data, NULL), TEXTINV_E_LIMIT,
               "20000 x 1");
  assert_fails(ti_image_write_png(&error, test_path("no/x.png"), width, height, in->data, NULL),
               TEXTINV_E_NOT_FOUND, "no/x.png", "folder");
}

static void parameters_are_found(void **state)
{
  static const struct {
    const char *kind, *data;
    size_t size;
    const char *text; /* NULL = none */
    int is_latin1;
  } cases[] = {
#define CHUNK(data) data, sizeof(data) - 1
    { "tEXt", CHUNK("parameters\0caf\xe9"), "caf\xe9", 1 },
    { "tEXt", CHUNK("parameters\0"), "", 1 },
    { "tEXt", CHUNK("parameters"), NULL, 0 },
    { "tEXt", CHUNK("parameter\0x"), NULL, 0 },
    { "tEXt", CHUNK("Comment\0x"), NULL, 0 },
    { "iTXt", CHUNK("parameters\0\0\0en\0Parameter\0caf\xc3\xa9"), "caf\xc3\xa9", 0 },
    { "iTXt", CHUNK("parameters\0\0\0\0\0"), "", 0 },
    { "iTXt", CHUNK("parameters\0\0\0\0"), NULL, 0 },
    { "iTXt", CHUNK("parameters\0\0\0en"), NULL, 0 },
    { "iTXt", CHUNK("parameters\0\0"), NULL, 0 },
    { "iTXt", CHUNK("parameters\0"), NULL, 0 },
    { "iTXt", CHUNK("parameters\0\1\0\0\0packed"), NULL, 0 },
    { "zTXt", CHUNK("parameters\0\0packed"), NULL, 0 },
#undef CHUNK
  };
  const char *text;
  size_t length;
  int is_latin1;

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    make_2x2(cases[i].kind, cases[i].data, cases[i].size);
    ti_image_parameters(&text, &length, &is_latin1, file.p, file.size);
    if (!text != !cases[i].text)
      fail_msg("case %zu: %s", i, text ? "a text" : "no text");
    if (!text)
      continue;
    assert_int_equal(length, strlen(cases[i].text));
    assert_memory_equal(text, cases[i].text, length);
    assert_int_equal(is_latin1, cases[i].is_latin1);
    file.size -= 13; /* IEND is cut short, which is found behind the text */
    ti_image_parameters(&text, &length, &is_latin1, file.p, file.size);
    assert_non_null(text);
    file.p[33 + 8]++; /* a chunk that is not as it was written */
    ti_image_parameters(&text, &length, &is_latin1, file.p, file.size);
    assert_null(text);
  }
  ti_image_parameters(&text, &length, &is_latin1, "\xff\xd8\xff", 3);
  assert_null(text);
}

static void files_that_cannot_be_read(void **state)
{
  ti_image image;

  (void)state;
  assert_fails(ti_image_read(&image, &error, test_path("absent.png")), TEXTINV_E_NOT_FOUND,
               "absent.png");
  assert_fails(ti_image_read(&image, &error, "/dev"), TEXTINV_E_IO, "/dev", "folder");
  assert_fails(ti_image_read(&image, &error, "/dev/zero"), TEXTINV_E_IO, "/dev/zero");
}

static void folders_are_listed_by_content(void **state)
{
  char folder[256], path[300], **paths;
  size_t count, left_out;

  (void)state;
  strcpy(folder, test_path("pictures"));
  mkdir(folder, 0777);
  assert_succeeds(ti_image_list(&paths, &count, &left_out, &error, folder));
  assert_int_equal(count, 0);
  ti_free(paths);
  make_2x2(NULL, NULL, 0);
  for (int i = 9; i > 0; i--) {
    sprintf(path, "%s/%d.txt", folder, i);
    write_file(path, file.p, file.size);
  }
  sprintf(path, "%s/%s", folder, "0");
  write_file(path, "\xff\xd8\xff", 3);
  sprintf(path, "%s/%s", folder, "caption.png");
  write_file(path, "no picture", 10);
  sprintf(path, "%s/%s", folder, "empty.png");
  write_file(path, "", 0);
  sprintf(path, "%s/%s", folder, "photo.WebP");
  write_file(path, "RIFF", 4);
  sprintf(path, "%s/%s", folder, "._photo.jpg");
  write_file(path, "", 0);
  sprintf(path, "%s/%s", folder, "folder.png");
  mkdir(path, 0777);
  sprintf(path, "%s/%s", folder, "pipe.png");
  assert_int_equal(mkfifo(path, 0666), 0);
  sprintf(path, "%s/%s", folder, "loop.png");
  assert_int_equal(symlink("loop.png", path), 0);
  assert_succeeds(ti_image_list(&paths, &count, &left_out, &error, folder));
  assert_int_equal(count, 10);
  assert_int_equal(left_out, 6); /* and none of those that are hidden */
  for (size_t i = 0; i < count; i++) {
    sprintf(path, i ? "%s/%zu.txt" : "%s/%zu", folder, i);
    assert_string_equal(paths[i], path);
    ti_free(paths[i]);
  }
  ti_free(paths);
  assert_fails(ti_image_list(&paths, &count, &left_out, &error, test_path("nowhere")),
               TEXTINV_E_NOT_FOUND, "nowhere");
}

/* nothing is left out in silence */
static void folders_that_cannot_be_listed(void **state)
{
  static const struct {
    const char *call;
    int after, error_number;
    const char *message;
  } faults[] = { { "readdir", 0, EIO, "cannot be read" },
                 { "readdir", 9, EIO, "cannot be read" },
                 { "open", 3, EACCES, "cannot be opened" },
                 { "read", 3, EIO, "cannot be read" } };
  char folder[256], path[300], **paths;
  size_t count, left_out;

  (void)state;
  strcpy(folder, test_path("listed"));
  mkdir(folder, 0777);
  make_2x2(NULL, NULL, 0);
  for (int i = 0; i < 9; i++) {
    sprintf(path, "%s/%d", folder, i);
    write_file(path, file.p, file.size);
  }
  for (int i = 0; i < 4; i++) {
    failing = faults[i].call;
    passing = faults[i].after;
    failing_errno = faults[i].error_number;
    assert_fails(ti_image_list(&paths, &count, &left_out, &error, folder), TEXTINV_E_IO, folder,
                 faults[i].message, strerror(faults[i].error_number));
    assert_null(failing);
    assert_null(paths);
  }
  failing = "read";
  passing = 3;
  failing_errno = EINTR;
  assert_succeeds(ti_image_list(&paths, &count, &left_out, &error, folder));
  assert_null(failing);
  assert_int_equal(count, 9);
  for (size_t i = 0; i < count; i++)
    ti_free(paths[i]);
  ti_free(paths);
  repeated = "1";
  assert_fails(ti_image_list(&paths, &count, &left_out, &error, folder), TEXTINV_E_LIMIT, folder,
               "over 65536");
  repeated = NULL;
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_kind_has_its_pixels),
    cmocka_unit_test(resize_is_pillows),
    cmocka_unit_test(resize_refuses),
    cmocka_unit_test(sizes_are_limited_before_memory_is_taken),
    cmocka_unit_test(broken_headers_are_refused),
    cmocka_unit_test(a_cut_png_is_refused_wherever_it_is_cut),
    cmocka_unit_test(a_flipped_bit_is_noticed),
    cmocka_unit_test(odd_chunks),
    cmocka_unit_test(broken_palettes_are_refused),
    cmocka_unit_test(too_little_and_too_much_data),
    cmocka_unit_test(a_bomb_behind_the_rows),
    cmocka_unit_test(what_is_written_reads_back),
    cmocka_unit_test(parameters_are_found),
    cmocka_unit_test(files_that_cannot_be_read),
    cmocka_unit_test(folders_are_listed_by_content),
    cmocka_unit_test(folders_that_cannot_be_listed),
  };

  return cmocka_run_group_tests(tests, open_golden, close_golden);
}
