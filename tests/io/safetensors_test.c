/* safetensors files: the rules of the reference reader one by one, limits, and what is written. */
#include "io_testing.h"

#include <sys/resource.h>
#include <time.h>

#include "alloc.h"
#include "safetensors.h"

static ti_safetensors *file;
static unsigned char *file_bytes;
static size_t file_size;

/* a file of a header and zero data */
static void make(const char *header, size_t header_size, size_t data_size)
{
  file_size = 8 + header_size + data_size;
  free(file_bytes);
  file_bytes = calloc(file_size, 1);
  assert_non_null(file_bytes);
  for (int i = 0; i < 8; i++)
    file_bytes[i] = (unsigned char)((uint64_t)header_size >> 8 * i);
  memcpy(file_bytes + 8, header, header_size);
}

static void make_text(const char *header, size_t data_size)
{
  make(header, strlen(header), data_size);
}

static int free_bytes(void **state)
{
  (void)state;
  free(file_bytes);
  file_bytes = NULL;
  return 0;
}

#define parse() ti_safetensors_parse(&file, &error, "x.st", file_bytes, file_size)
#define assert_refused(status, ...)                                                                \
  do {                                                                                             \
    file = (void *)1;                                                                              \
    assert_fails(parse(), status, "x.st", __VA_ARGS__);                                            \
    assert_null(file);                                                                             \
  } while (0)
#define assert_text_refused(status, data_size, header, ...)                                        \
  do {                                                                                             \
    make_text(header, data_size);                                                                  \
    assert_refused(status, __VA_ARGS__);                                                           \
  } while (0)
#define assert_text_accepted(data_size, header)                                                    \
  do {                                                                                             \
    make_text(header, data_size);                                                                  \
    assert_succeeds(parse());                                                                      \
    ti_safetensors_close(file);                                                                    \
  } while (0)

/* {"a": {"dtype": D, "shape": S, "data_offsets": O}} */
#define ONE(dtype, shape, offsets)                                                                 \
  "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void header_sizes(void **state)
{
  const unsigned char sizes[][9] = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
                                     { 1, 0xe1, 0xf5, 5, 0, 0, 0, 0 }, /* 100,000,001 */
                                     { 0, 0, 0, 0, 0, 0, 0, 0x80 } };
  char bytes[60] = { 0 };

  (void)state;
  assert_fails(ti_safetensors_parse(&file, &error, "x.st", NULL, 0), TEXTINV_E_FORMAT, "x.st",
               "0 bytes");
  assert_fails(ti_safetensors_parse(&file, &error, "x.st", bytes, 7), TEXTINV_E_FORMAT, "x.st",
               "7 bytes");
  assert_fails(ti_safetensors_parse(&file, &error, "x.st", bytes, 8), TEXTINV_E_FORMAT, "byte 8",
               "expected '{'");
  for (int i = 0; i < 3; i++)
    assert_fails(ti_safetensors_parse(&file, &error, "x.st", sizes[i], 9), TEXTINV_E_LIMIT, "x.st",
                 "100000000");
  bytes[0] = (char)0xe8;
  bytes[1] = 3;
  assert_fails(ti_safetensors_parse(&file, &error, "x.st", bytes, 60), TEXTINV_E_FORMAT,
               "1000 bytes", "60 in all");
  assert_fails(
    ti_safetensors_parse(&file, &error, "x.st", "version https://git-lfs.github.com/spec/v1\n", 43),
    TEXTINV_E_FORMAT, "git lfs pull");
}

static void what_is_no_json(void **state)
{
  static const char *const headers[] = { "\xff",
                                         "{",
                                         "[]",
                                         "{}x",
                                         "{} {}",
                                         "{,}",
                                         "{\"a\"}",
                                         "{\"a\":}",
                                         "{'a':{}}",
                                         "\"a\"",
                                         "{\"a\":{}",
                                         "// c\n{}",
                                         "{\"__metadata__\":{\"a\":\"b\"},}",
                                         "{\"\xc0\x80\":{}}",
                                         "{\"\xed\xa0\x80\":{}}",
                                         "{\"\\x\":{}}",
                                         "{\"a\nb\":{}}",
                                         "\xef\xbb\xbf{}" };

  (void)state;
  for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++)
    assert_text_refused(TEXTINV_E_FORMAT, 0, headers[i], "x.st");
  make("{}\0", 3, 0);
  assert_refused(TEXTINV_E_FORMAT, "byte 10", "0x00");
  make("{}\0{}", 5, 0);
  assert_refused(TEXTINV_E_FORMAT, "byte 10", "0x00");
}

static void white_space_and_nothing(void **state)
{
  (void)state;
  assert_text_accepted(0, "{}");
  assert_text_accepted(0, " \t\r\n{}");
  assert_text_accepted(0, "{}\r\t \n");
  assert_text_accepted(0, "{ \"__metadata__\" : { \"a\" : \"b\" } }");
  assert_text_accepted(0, "{\"__metadata__\":null}");
  assert_text_accepted(0, "{\"__metadata__\":{}}");
}

static void data_tile_the_file(void **state)
{
  (void)state;
  assert_text_refused(TEXTINV_E_FORMAT, 4,
                      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                      "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                      "begin at 4");
  assert_text_refused(TEXTINV_E_FORMAT, 9,
                      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                      "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[5,9]}}",
                      "\"b\"", "[5, 9]", "begin at 4");
  assert_text_refused(TEXTINV_E_FORMAT, 4, ONE("\"F32\"", "[1]", "[4,0]"), "\"a\"", "[4, 0]");
  assert_text_refused(TEXTINV_E_FORMAT, 5, ONE("\"F32\"", "[1]", "[1,5]"), "begin at 0");
  assert_text_refused(TEXTINV_E_FORMAT, 5, ONE("\"F32\"", "[1]", "[0,4]"), "have 4 bytes",
                      "the file 5");
  assert_text_refused(TEXTINV_E_FORMAT, 2, ONE("\"F32\"", "[1]", "[0,4]"), "end at 4",
                      "2 bytes of data");
  assert_text_refused(TEXTINV_E_FORMAT, 1, "{}", "have 0 bytes", "the file 1");
  /* in any order, one without data before or behind another */
  assert_text_accepted(8, "{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]},"
                          "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]},"
                          "\"c\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}");
  assert_text_accepted(4, "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                          "\"b\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}");
  assert_text_refused(TEXTINV_E_FORMAT, 4, ONE("\"F32\"", "[2]", "[0,4]"), "hold 4 bytes",
                      "need 8");
  assert_text_refused(TEXTINV_E_FORMAT, 4, ONE("\"F32\"", "[]", "[0,18446744073709551615]"),
                      "\"a\"");
}

static void shapes(void **state)
{
  static const char *const bad[] = { "[-1]",    "[1.0]",
                                     "[\"1\"]", "[true]",
                                     "[1e3]",   "[18446744073709551616]",
                                     "[01]",    "{}",
                                     "1",       "null",
                                     "[1,]",    "[+1]",
                                     "[-0]",    "[0x1]",
                                     "[1E3]",   "[99999999999999999999]" };
  char header[256];

  (void)state;
  for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
    sprintf(header, "{\"a\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[0,4]}}", bad[i]);
    assert_text_refused(TEXTINV_E_FORMAT, 4, header, "\"a\"", "expected");
  }
  assert_text_refused(TEXTINV_E_FORMAT, 4, ONE("\"F32\"", "[2,18446744073709551614]", "[0,4]"),
                      "2^64");
  assert_text_refused(TEXTINV_E_FORMAT, 4, ONE("\"I32\"", "[2,9223372036854775807]", "[0,4]"),
                      "too many");
  assert_text_refused(TEXTINV_E_FORMAT, 0,
                      ONE("\"F32\"", "[9223372036854775808,9223372036854775808,0]", "[0,0]"),
                      "2^64");
  assert_text_accepted(0, ONE("\"F32\"", "[2,0]", "[0,0]"));
  assert_text_accepted(4, ONE("\"F32\"", "[]", "[0,4]"));
  assert_text_accepted(4, ONE("\"F32\"", "[1,1,1,1,1,1,1,1]", "[0,4]"));
  make_text(ONE("\"F32\"", "[1,1,1,1,1,1,1,2,3,1]", "[0,24]"), 24);
  assert_succeeds(parse());
  assert_int_equal(ti_safetensors_tensor(file, 0)->rank, TI_TENSOR_MAX_RANK);
  assert_int_equal(ti_safetensors_tensor(file, 0)->dims[TI_TENSOR_MAX_RANK - 1], 6);
  ti_safetensors_close(file);
  assert_text_refused(TEXTINV_E_FORMAT, 4,
                      ONE("\"F32\"", "[1,1,1,1,1,1,1,2,9223372036854775808]", "[0,4]"), "2^64");
}

static void types(void **state)
{
  static const char *const names[] = { "BOOL",    "U8",      "I8",          "F8_E5M2",
                                       "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ",
                                       "I16",     "U16",     "F16",         "BF16",
                                       "I32",     "U32",     "F32",         "C64",
                                       "F64",     "I64",     "U64" };
  static const int sizes[] = { 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 8, 8, 8, 8 };
  char header[256];

  (void)state;
  for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
    sprintf(header, "{\"a\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%d]}}", names[i],
            3 * sizes[i]);
    assert_text_accepted((size_t)(3 * sizes[i]), header);
  }
  assert_text_accepted(3, ONE("\"F6_E2M3\"", "[4]", "[0,3]"));
  assert_text_accepted(1, ONE("\"F4\"", "[2]", "[0,1]"));
  assert_text_refused(TEXTINV_E_FORMAT, 2, ONE("\"F4\"", "[3]", "[0,2]"), "whole bytes");
  assert_text_refused(TEXTINV_E_FORMAT, 4, ONE("\"f32\"", "[1]", "[0,4]"), "\"f32\" is unknown");
  assert_text_refused(TEXTINV_E_FORMAT, 16, ONE("\"F128\"", "[1]", "[0,16]"), "\"F128\"");
  assert_text_refused(TEXTINV_E_FORMAT, 4, ONE("7", "[1]", "[0,4]"), "'7'", "dtype");
  assert_text_refused(
    TEXTINV_E_FORMAT, 4,
    ONE("\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"", "[1]", "[0,4]"), "unknown");
}

static void fields(void **state)
{
  /* values of a field that is not known */
  static const char *const bad[] = {
    "-", "1.", "1.x", "1e", "1e+", "1E-x", "01", ".5", "+1", "tru"
  };
  static const char *const good[] = { "0", "-0.0", "19.29", "1e5", "1E+5", "1e-05", "\"\\u00eF\"" };
  char header[256];

  (void)state;
  assert_text_refused(TEXTINV_E_FORMAT, 4, ONE("\"F32\"", "[1]", "[4]"), "\"a\"");
  assert_text_refused(TEXTINV_E_FORMAT, 4, ONE("\"F32\"", "[1]", "[0,4,4]"), "\"a\"");
  assert_text_refused(TEXTINV_E_FORMAT, 4, ONE("\"F32\"", "[1]", "{}"), "\"a\"");
  assert_text_refused(TEXTINV_E_FORMAT, 4, ONE("\"F32\"", "[1]", "null"), "\"a\"");
  assert_text_refused(TEXTINV_E_FORMAT, 4, ONE("\"F32\"", "[1]", "[-4,0]"), "\"a\"");
  assert_text_refused(TEXTINV_E_FORMAT, 0, "{\"a\":{}}", "\"dtype\" is missing");
  assert_text_refused(TEXTINV_E_FORMAT, 0, "{\"a\":{\"dtype\":\"F32\",\"shape\":[0]}}",
                      "\"data_offsets\" is missing");
  assert_text_refused(TEXTINV_E_FORMAT, 0, "{\"a\":1}", "expected '{'");
  assert_text_refused(
    TEXTINV_E_FORMAT, 4,
    "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "twice");
  assert_text_accepted(
    4, "{\"a\":{\"other\":[{\"x\":[-1.5e+3,true,false,null,\"\\u00e9\"]},{},[]],\"a_rather_long_"
       "field\":{},\"data_offsets\":[0,4],\"shape\":[1],\"dtype\":\"F32\"}}");
  assert_text_refused(TEXTINV_E_FORMAT, 4, ONE("\"F32\"", "[1]", "[0,4],\"x\":[1,]"), "\"a\"");
  assert_text_refused(TEXTINV_E_FORMAT, 4, ONE("\"F32\"", "[1]", "[0,4],\"x\":[1}"), "\"a\"");
  assert_text_refused(TEXTINV_E_FORMAT, 4, ONE("\"F32\"", "[1]", "[0,4],\"x\":nul"), "\"a\"");
  for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
    sprintf(header, ONE("\"F32\"", "[1]", "[0,4],\"x\":%s"), bad[i]);
    assert_text_refused(TEXTINV_E_FORMAT, 4, header, "\"a\"", "expected");
  }
  for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
    sprintf(header, ONE("\"F32\"", "[1]", "[0,4],\"x\":%s"), good[i]);
    assert_text_accepted(4, header);
  }
}

static void names_and_metadata(void **state)
{
  (void)state;
  assert_text_refused(TEXTINV_E_FORMAT, 8,
                      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                      "\"\\u0061\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
                      "\"a\" is there twice");
  assert_text_refused(TEXTINV_E_FORMAT, 4,
                      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                      "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                      "\"a\" is there twice");
  assert_text_refused(TEXTINV_E_FORMAT, 0, "{\"__metadata__\":{\"a\":1}}", "expected");
  assert_text_refused(TEXTINV_E_FORMAT, 0, "{\"__metadata__\":{\"a\":{}}}", "expected");
  assert_text_refused(TEXTINV_E_FORMAT, 0, "{\"__metadata__\":[]}", "expected '{'");
  assert_text_refused(TEXTINV_E_FORMAT, 0, "{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}",
                      "\"a\" is there twice");
  assert_text_refused(TEXTINV_E_FORMAT, 0, "{\"__metadata__\":{},\"__metadata__\":{}}", "twice");
  assert_text_refused(TEXTINV_E_FORMAT, 0, "{\"\\ud800\":{}}", "escape");
  assert_text_refused(TEXTINV_E_FORMAT, 0, "{\"\\udc00x\":{}}", "escape");
  assert_text_refused(TEXTINV_E_FORMAT, 0, "{\"\\ud800\\u0041\":{}}", "escape");
  assert_text_refused(TEXTINV_E_FORMAT, 0, "{\"\\ud800\\ue000\":{}}", "escape");
  assert_text_refused(TEXTINV_E_FORMAT, 0, "{\"\\ud800x", "escape");
  assert_text_refused(TEXTINV_E_FORMAT, 0, "{\"\\ud800xudc00\":{}}", "escape");
  assert_text_refused(TEXTINV_E_FORMAT, 0, "{\"\\ud800\\n", "escape");
  assert_text_refused(TEXTINV_E_FORMAT, 0, "{\"\\u00G0\":{}}", "escape");
  assert_text_refused(TEXTINV_E_FORMAT, 0, "{\"\\", "escape");
  make("{\"\\\0\":{}}", 8, 0);
  assert_refused(TEXTINV_E_FORMAT, "escape");

  make_text(
    "{\"../\\ud83e\\uddf8\\n\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[2,6]},"
    "\"\xd7\x90\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
    "\"__metadata__\":{\"k\":\"v\\\"\",\"a\":\"\",\"nul\":\"a\\u0000b\",\"last\":\"\\uE000\\uFfff\"}}",
    6);
  assert_succeeds(parse());
  assert_int_equal(ti_safetensors_count(file), 2);
  assert_string_equal(ti_safetensors_tensor(file, 0)->name, "../\xf0\x9f\xa7\xb8\n");
  assert_string_equal(ti_safetensors_tensor(file, 1)->name, "\xd7\x90");
  assert_null(ti_safetensors_tensor(file, 2));
  assert_ptr_equal(ti_safetensors_find(file, "\xd7\x90"), ti_safetensors_tensor(file, 1));
  assert_null(ti_safetensors_find(file, "a"));
  assert_int_equal(ti_safetensors_tensor(file, 0)->bytes, 4);
  assert_ptr_equal(ti_safetensors_tensor(file, 0)->data, file_bytes + file_size - 4);
  assert_string_equal(ti_safetensors_metadata(file, "k"), "v\"");
  assert_string_equal(ti_safetensors_metadata(file, "a"), "");
  assert_string_equal(ti_safetensors_metadata(file, "nul"), "a\xef\xbf\xbd"
                                                            "b");
  assert_string_equal(ti_safetensors_metadata(file, "last"), "\xee\x80\x80\xef\xbf\xbf");
  assert_null(ti_safetensors_metadata(file, "b"));
  ti_safetensors_close(file);
}

/* many entries of one text; returns the header */
static char *repeat(const char *first, const char *format, int count, const char *last,
                    size_t *size)
{
  char *s = malloc(strlen(first) + (size_t)count * (strlen(format) + 16) + strlen(last) + 1),
       *p = s;

  assert_non_null(s);
  p += sprintf(p, "%s", first);
  for (int i = 0; i < count; i++) {
    if (i)
      *p++ = ',';
    p += sprintf(p, format, i);
  }
  p += sprintf(p, "%s", last);
  *size = (size_t)(p - s);
  return s;
}

/* of this process alone: other work on the machine does not count */
static double seconds(void)
{
  struct timespec t;

  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static long peak_kilobytes(void)
{
  struct rusage r;

  getrusage(RUSAGE_SELF, &r);
  return r.ru_maxrss;
}

static void limits_hold_in_time_and_memory(void **state)
{
  static const char entry[] = "\"%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}";
  size_t size;
  char *header = repeat("{", entry, 1500000, "}", &size), *end;

  (void)state;
  assert_true(size < 100000000);
  make(header, size, 0);
  free(header);
  const double start = seconds();
  const long memory = peak_kilobytes();

  assert_refused(TEXTINV_E_LIMIT, "65536 tensors");
#if !defined(__SANITIZE_ADDRESS__) /* which takes its own time and memory */
  assert_true(seconds() - start < 10.0);
  assert_true(peak_kilobytes() - memory < 100 * 1024);
#else
  (void)start;
  (void)memory;
#endif
  header = repeat("{", entry, 65536, "}", &size);
  make(header, size, 0);
  free(header);
  assert_succeeds(parse());
  assert_int_equal(ti_safetensors_count(file), 65536);
  assert_non_null(ti_safetensors_find(file, "65535"));
  ti_safetensors_close(file);

  header = repeat("{\"__metadata__\":{", "\"%d\":\"\"", 100000, "}}", &size);
  make(header, size, 0);
  free(header);
  assert_refused(TEXTINV_E_LIMIT, "65536 entries");

  header = calloc(1, 200100);
  end = header + sprintf(header, "{\"a\":{\"x\":");
  memset(end, '[', 100000);
  memset(end + 100000, ']', 100000);
  make(header, strlen(header), 0);
  assert_refused(TEXTINV_E_FORMAT, "nested deeper");
  free(header);

  header = calloc(1, (1 << 20) + 100);
  header[0] = '{';
  header[1] = '"';
  memset(header + 2, 'n', 1 << 20);
  strcat(header, "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}");
  make(header, strlen(header), 0);
  assert_succeeds(parse());
  assert_int_equal(strlen(ti_safetensors_tensor(file, 0)->name), 1 << 20);
  ti_safetensors_close(file);
  make(header, strlen(header), 1);
  assert_refused(TEXTINV_E_FORMAT, "x.st"); /* a name of 1 MB in a message */
  free(header);
}

static void a_cut_file_is_refused_wherever_it_is_cut(void **state)
{
  (void)state;
  make_text(ONE("\"F32\"", "[2,3]", "[0,24]"), 24);
  for (size_t size = 0; size < file_size; size++) {
    unsigned char *cut = malloc(size ? size : 1);

    memcpy(cut, file_bytes, size);
    assert_fails(ti_safetensors_parse(&file, &error, "x.st", cut, size), TEXTINV_E_FORMAT, "x.st");
    free(cut);
  }
}

static void what_is_written_reads_back(void **state)
{
  const float values[6] = { 1, -2, 3.5f, 0, 1e-40f, 3e38f };
  const uint16_t halves[2] = { 0x3c00, 0xbc00 };
  const int64_t ids[1] = { -5 };
  const ti_tensor tensors[] = {
    { .name = "half", .dtype = TI_FILE_F16, .rank = 1, .dims = { 2 }, .data = halves, .bytes = 4 },
    { .name = "z\"\\\n\x01",
      .dtype = TI_FILE_F32,
      .rank = 2,
      .dims = { 2, 3 },
      .data = values,
      .bytes = 24 },
    { .name = "ids", .dtype = TI_FILE_I64, .rank = 0, .data = ids, .bytes = 8 },
    { .name = "<toy>",
      .dtype = TI_FILE_F32,
      .rank = 1,
      .dims = { 6 },
      .data = values,
      .bytes = 24 },
    { .name = "none", .dtype = TI_FILE_U8, .rank = 1, .dims = { 0 }, .data = NULL, .bytes = 0 },
  };
  /* the largest values first, then by name */
  static const char *const in_file[] = { "ids", "<toy>", "z\"\\\n\x01", "half", "none" };
  const ti_key_value metadata[] = { { "format", "pt" }, { "\xc3\xa9", "a\tb" } };
  const char *path = test_path("out.safetensors");
  unsigned char *raw, *again;
  size_t size, size_again;

  (void)state;
  assert_succeeds(ti_safetensors_write(&error, path, tensors, 5, metadata, 2));
  raw = read_file(path, &size);
  assert_int_equal(raw[8], '{');
  assert_int_equal(raw[0] % 8, 0);
  assert_succeeds(ti_safetensors_open(&file, &error, path));
  assert_int_equal(ti_safetensors_count(file), 5);
  for (int i = 0; i < 5; i++) {
    const ti_tensor *t = ti_safetensors_find(file, tensors[i].name);

    assert_non_null(t);
    assert_int_equal(t->dtype, tensors[i].dtype);
    assert_int_equal(t->rank, tensors[i].rank);
    assert_int_equal(t->bytes, tensors[i].bytes);
    assert_int_equal(t->mapped, 1);
    assert_memory_equal(t->data, tensors[i].data ? tensors[i].data : "", t->bytes);
    assert_memory_equal(t->dims, tensors[i].dims, sizeof(t->dims));
  }
  assert_string_equal(ti_safetensors_metadata(file, "\xc3\xa9"), "a\tb");
  for (int i = 1; i < 5; i++)
    assert_true(ti_safetensors_find(file, in_file[i])->data >=
                ti_safetensors_find(file, in_file[i - 1])->data);
  ti_safetensors_close(file);
  assert_succeeds(ti_safetensors_write(&error, path, tensors, 5, metadata, 2));
  again = read_file(path, &size_again);
  assert_int_equal(size, size_again);
  assert_memory_equal(raw, again, size);
  free(raw);
  free(again);

  assert_succeeds(ti_safetensors_write(&error, path, NULL, 0, NULL, 0));
  assert_succeeds(ti_safetensors_open(&file, &error, path));
  assert_null(ti_safetensors_find(file, "a"));
  assert_null(ti_safetensors_metadata(file, "a"));
  ti_safetensors_close(file);
}

static void what_cannot_be_written(void **state)
{
  const float value = 0;
  const ti_tensor good = {
    .name = "a", .dtype = TI_FILE_F32, .rank = 1, .dims = { 1 }, .data = &value, .bytes = 4
  };
  const ti_key_value twice[] = { { "a", "1" }, { "a", "2" } }, latin = { "\xe9", "" },
                     value_of_latin = { "a", "\xe9" };
  const char *path = test_path("never.safetensors");
  ti_tensor bad[2] = { good, good };

  (void)state;
  assert_fails(ti_safetensors_write(&error, path, bad, 2, NULL, 0), TEXTINV_E_CONFLICT, "\"a\"",
               "twice");
  assert_fails(ti_safetensors_write(&error, path, bad, 1, twice, 2), TEXTINV_E_CONFLICT, "\"a\"");
  assert_fails(ti_safetensors_write(&error, path, bad, 1, &latin, 1), TEXTINV_E_INVALID, "UTF-8");
  assert_fails(ti_safetensors_write(&error, path, bad, 1, &value_of_latin, 1), TEXTINV_E_INVALID,
               "UTF-8");
  bad[0].rank = 2;
  bad[0].dims[0] = (uint64_t)1 << 63;
  bad[0].dims[1] = 4;
  assert_fails(ti_safetensors_write(&error, path, bad, 1, NULL, 0), TEXTINV_E_INVALID, "\"a\"",
               "too large");
  bad[0].dims[1] = 1;
  assert_fails(ti_safetensors_write(&error, path, bad, 1, NULL, 0), TEXTINV_E_INVALID, "4 bytes");
  bad[0] = good;
  bad[0].bytes = 8;
  assert_fails(ti_safetensors_write(&error, path, bad, 1, NULL, 0), TEXTINV_E_INVALID, "8 bytes",
               "needs 4");
  bad[0] = good;
  bad[0].dtype = TI_FILE_OTHER;
  assert_fails(ti_safetensors_write(&error, path, bad, 1, NULL, 0), TEXTINV_E_INVALID, "type");
  bad[0] = good;
  bad[0].name = "__metadata__";
  assert_fails(ti_safetensors_write(&error, path, bad, 1, NULL, 0), TEXTINV_E_INVALID,
               "__metadata__");
  bad[0].name = "\xff";
  assert_fails(ti_safetensors_write(&error, path, bad, 1, NULL, 0), TEXTINV_E_INVALID, "name");
  assert_int_equal(access(path, F_OK), -1);
}

static void files_that_cannot_be_read(void **state)
{
  (void)state;
  assert_fails(ti_safetensors_open(&file, &error, test_path("absent")), TEXTINV_E_NOT_FOUND,
               "absent");
  assert_fails(ti_safetensors_open(&file, &error, "/dev"), TEXTINV_E_IO, "/dev", "folder");
  write_file(test_path("empty"), "", 0);
  assert_fails(ti_safetensors_open(&file, &error, test_path("empty")), TEXTINV_E_FORMAT, "empty",
               "0 bytes");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(header_sizes),
    cmocka_unit_test(what_is_no_json),
    cmocka_unit_test(white_space_and_nothing),
    cmocka_unit_test(data_tile_the_file),
    cmocka_unit_test(shapes),
    cmocka_unit_test(types),
    cmocka_unit_test(fields),
    cmocka_unit_test(names_and_metadata),
    cmocka_unit_test(limits_hold_in_time_and_memory),
    cmocka_unit_test(a_cut_file_is_refused_wherever_it_is_cut),
    cmocka_unit_test(what_is_written_reads_back),
    cmocka_unit_test(what_cannot_be_written),
    cmocka_unit_test(files_that_cannot_be_read),
  };

  return cmocka_run_group_tests(tests, NULL, free_bytes);
}
