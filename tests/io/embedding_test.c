/*
 * Files of learnt words: those of tests/golden/embeddings.py, what is written, what is refused.
 */
#include "io_testing.h"

#include <math.h>

#include "embedding_file.h"
#include "torch_file.h"

static ti_safetensors *golden;
static ti_embedding_file file;

static int open_golden(void **state)
{
  ti_error error;

  (void)state;
  return ti_safetensors_open(&golden, &error, "tests/golden/embeddings.safetensors") < 0;
}

static int close_golden(void **state)
{
  (void)state;
  ti_safetensors_close(golden);
  return 0;
}

static const ti_tensor *find(const char *name)
{
  const ti_tensor *t = ti_safetensors_find(golden, name);

  if (!t)
    fail_msg("%s", name);
  return t;
}

static void check_rows(const ti_embedding_entry *e, const ti_tensor *rows)
{
  assert_int_equal(e->num_vectors, rows->dims[0]);
  assert_int_equal(e->dim, rows->dims[1]);
  assert_memory_equal(e->rows, rows->data, rows->bytes);
}

static void check_text(const char *text, const char *expected)
{
  if (!expected)
    assert_null(text);
  else
    assert_string_equal(text ? text : "(null)", expected);
}

static void every_layout_is_read(void **state)
{
  static const struct {
    const char *file, *layout, *word, *name;
    long long step;
  } cases[] = {
    { "diffusers.bin", "diffusers", "<toy>", NULL, -1 },
    { "diffusers.1d.bin", "diffusers", "<toy>", NULL, -1 },
    { "diffusers.parameter.bin", "diffusers", "<toy>", NULL, -1 },
    { "diffusers.ordered.bin", "diffusers", "<toy>", NULL, -1 },
    { "diffusers.f16.bin", "diffusers", "<toy>", NULL, -1 },
    { "diffusers.bf16.bin", "diffusers", "<toy>", NULL, -1 },
    { "diffusers.f64.bin", "diffusers", "<toy>", NULL, -1 },
    { "diffusers.transposed.bin", "diffusers", "<toy>", NULL, -1 },
    { "diffusers.slice.bin", "diffusers", "<toy>", NULL, -1 },
    { "diffusers.protocol4.bin", "diffusers", "<toy>", NULL, -1 },
    { "diffusers.safetensors", "diffusers", "<toy>", NULL, -1 },
    { "diffusers.f16.safetensors", "diffusers", "<toy>", NULL, -1 },
    { "diffusers.1d.safetensors", "diffusers", "<toy>", NULL, -1 },
    { "a1111.pt", "a1111", "toy", "toy", 500 },
    { "compvis.pt", "compvis", NULL, NULL, -1 },
    { "compvis.named.pt", "compvis", "<toy>", NULL, -1 },
    { "kohya.safetensors", "kohya", NULL, NULL, -1 },
    { "kohya.named.safetensors", "kohya", "toy", "toy", 77 },
    { "kohya.pt", "kohya", NULL, NULL, -1 },
    { "onetrainer.safetensors", "onetrainer", NULL, NULL, -1 },
    { "sdxl.safetensors", "sdxl", NULL, NULL, -1 },
    { "sdxl.pt", "sdxl", NULL, NULL, -1 },
    { "sdxl.cog", "sdxl", NULL, NULL, -1 },
    { "tensor.pt", "tensor", NULL, NULL, -1 },
    { "parameter.pt", "tensor", NULL, NULL, -1 },
    { "text.png", "a1111", "toy", "toy", 499 },
    { "pixels.png", "a1111", "toy", "toy", 499 },
    { "border.png", "diffusers", "<toy>", NULL, -1 },
    { "sdxl.png", "sdxl", NULL, NULL, -1 },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    const int is_sdxl = !strcmp(cases[i].layout, "sdxl");
    char name[64];

    sprintf(name, "%s.file", cases[i].file);
    const ti_tensor *t = find(name);

    assert_succeeds(ti_embedding_file_decode(&file, &error, name, t->data, t->bytes));
    sprintf(name, "%s.rows", cases[i].file);
    assert_int_equal(file.count, is_sdxl ? 2 : 1);
    assert_string_equal(file.layout, cases[i].layout);
    check_text(file.entries[0].word, cases[i].word);
    check_text(file.name, cases[i].name);
    assert_true(file.step == cases[i].step);
    assert_int_equal(file.entries[0].encoder, is_sdxl ? 0 : -1);
    check_rows(file.entries, find(name));
    check_text(file.left_out, strcmp(cases[i].layout, "onetrainer") ? NULL : "\"emp_params_out\"");
    if (is_sdxl) {
      assert_int_equal(file.entries[1].encoder, 1);
      check_rows(file.entries + 1, find("big"));
    }
    ti_embedding_file_free(&file);
  }
}

/* pairs "key=value\n" of a golden file */
static const char *metadata_of(const char *name)
{
  static char text[1024];
  const ti_tensor *t = find(name);
  size_t length = 0;

  assert_succeeds(ti_embedding_file_decode(&file, &error, name, t->data, t->bytes));
  *text = '\0';
  for (size_t i = 0; i < file.num_metadata; i++)
    length += (size_t)sprintf(text + length, "%s=%s\n", file.metadata[i].key,
                              file.metadata[i].value);
  ti_embedding_file_free(&file);
  return text;
}

static void files_say_what_they_are(void **state)
{
  (void)state;
  assert_string_equal(metadata_of("a1111.pt.file"), "layout=a1111\nname=toy\nstep=500\n"
                                                    "sd_checkpoint=81761151\n"
                                                    "sd_checkpoint_name=v1-5\n");
  assert_string_equal(metadata_of("kohya.named.safetensors.file"),
                      "layout=kohya\nname=toy\nstep=77\n");
  assert_string_equal(metadata_of("diffusers.safetensors.file"), "layout=diffusers\nformat=pt\n");
  assert_string_equal(metadata_of("compvis.pt.file"), "layout=compvis\n");
  assert_string_equal(metadata_of("sdxl.cog.file"), "layout=sdxl\n");
  assert_string_equal(metadata_of("text.png.file"), "layout=a1111\nname=toy\nstep=499\n");
  assert_string_equal(metadata_of("border.png.file"), "layout=diffusers\n");
}

static void metadata_is_bounded(void **state)
{
  enum { SIZE = 16 << 20 };
  const ti_tensor tensor = {
    .name = "<toy>", .rank = 1, .dims = { 1 }, .dtype = TI_FILE_F32, .bytes = 4, .data = "\0\0\0"
  };
  const char *path = test_path("long.safetensors");
  char *value = malloc(SIZE);

  (void)state;
  assert_non_null(value);
  memset(value, 'x', SIZE);
  /* with "layout", "diffusers" and a key of one letter: 16 MiB to the byte, then one more */
  for (int more = 0; more < 2; more++) {
    value[SIZE - sizeof("layout") - sizeof("diffusers") - sizeof("k") - 1 + more] = '\0';
    const ti_key_value pair = { "k", value };

    assert_succeeds(ti_safetensors_write(&error, path, &tensor, 1, &pair, 1));
    if (more)
      assert_fails(ti_embedding_file_read(&file, &error, path), TEXTINV_E_LIMIT, "16777216 bytes");
    else
      assert_succeeds(ti_embedding_file_read(&file, &error, path));
    ti_embedding_file_free(&file);
    value[SIZE - sizeof("layout") - sizeof("diffusers") - sizeof("k") - 1] = 'x';
  }
  free(value);
}

/* --- writing */

static float rows[12], wide[20];
static ti_embedding_entry toy = { (char *)"<toy>", 0, 2, 6, rows };

static void fill(void)
{
  for (int i = 0; i < 12; i++)
    rows[i] = (float)i / 8;
  for (int i = 0; i < 20; i++)
    wide[i] = (float)-i;
}

static void a1111_file_is_the_one_that_torch_read(void **state)
{
  const ti_key_value step = { "step", "500" };
  const char *path = test_path("toy.pt");
  unsigned char *written, *expected;
  size_t size, expected_size;

  (void)state;
  fill();
  assert_succeeds(ti_embedding_file_write(&error, path, TEXTINV_FORMAT_A1111, &toy, 1, &step, 1));
  written = read_file(path, &size);
  expected = read_file("tests/golden/a1111.pt", &expected_size);
  assert_int_equal(size, expected_size);
  assert_memory_equal(written, expected, size);
  free(written);
  free(expected);
}

/* what a file says of its model may be of any length */
static void a_model_that_is_no_name_is_left_out(void **state)
{
  static char text[8000];
  const ti_key_value model[] = { { "sd_checkpoint", text }, { "sd_checkpoint_name", "v1-5" } };
  const char *path = test_path("named.pt");

  (void)state;
  fill();
  memset(text, 'x', sizeof(text) - 1);
  assert_succeeds(ti_embedding_file_write(&error, path, TEXTINV_FORMAT_A1111, &toy, 1, model, 2));
  assert_succeeds(ti_embedding_file_read(&file, &error, path));
  assert_int_equal(file.num_metadata, 3); /* layout, name and the other one */
  assert_string_equal(file.metadata[2].value, "v1-5");
  ti_embedding_file_free(&file);
}

static void what_is_written_reads_back(void **state)
{
  static const struct {
    textinv_format format;
    const char *layout, *name;
  } cases[] = { { TEXTINV_FORMAT_DIFFUSERS, "diffusers", NULL },
                { TEXTINV_FORMAT_A1111, "a1111", "<toy>" },
                { TEXTINV_FORMAT_KOHYA, "kohya", "<toy>" },
                { TEXTINV_FORMAT_SDXL, "sdxl", "<toy>" } };
  const ti_key_value metadata[] = { { "step", "12345678901" }, { "model", "caf\xc3\xa9" } };
  const ti_embedding_entry both[] = { { (char *)"<toy>", 1, 2, 10, wide },
                                      { (char *)"<toy>", 0, 2, 6, rows } };
  const ti_embedding_entry two[] = { { (char *)"<b>", 0, 1, 6, rows },
                                     { (char *)"<a>", 0, 2, 6, rows } };
  const char *path = test_path("out");

  (void)state;
  fill();
  for (int i = 0; i < 4; i++) {
    assert_succeeds(ti_embedding_file_write(&error, path, cases[i].format, &toy, 1, metadata, 2));
    assert_succeeds(ti_embedding_file_read(&file, &error, path));
    assert_int_equal(file.count, 1);
    assert_string_equal(file.layout, cases[i].layout);
    assert_string_equal(file.entries->word, "<toy>");
    check_text(file.name, cases[i].name);
    assert_true(file.step == 12345678901);
    assert_true(file.entries->num_vectors == 2 && file.entries->dim == 6);
    assert_memory_equal(file.entries->rows, rows, sizeof(rows));
    ti_embedding_file_free(&file);
  }
  assert_succeeds(ti_embedding_file_write(&error, path, TEXTINV_FORMAT_SDXL, both, 2, NULL, 0));
  assert_succeeds(ti_embedding_file_read(&file, &error, path));
  assert_int_equal(file.count, 2);
  assert_int_equal(file.entries[1].encoder, 1);
  assert_memory_equal(file.entries[0].rows, rows, sizeof(rows));
  assert_memory_equal(file.entries[1].rows, wide, sizeof(wide));
  ti_embedding_file_free(&file);
  assert_succeeds(ti_embedding_file_write(&error, path, TEXTINV_FORMAT_DIFFUSERS, two, 2, NULL, 0));
  assert_succeeds(ti_embedding_file_read(&file, &error, path));
  assert_int_equal(file.count, 2);
  assert_string_equal(file.entries[0].word, "<a>");
  assert_int_equal(file.entries[1].num_vectors, 1);
  ti_embedding_file_free(&file);
}

/* digits alone are a number of steps, and what is said already is not said again */
static void metadata_that_is_odd(void **state)
{
  static const char *const steps[] = { "", "5 ", "+5", "0.5", "1234567890123456789", "/", ":" };
  const ti_key_value said[] = { { "format", "mine" }, { "name", "other" } };
  const char *path = test_path("odd");
  char long_name[300] = "";

  (void)state;
  fill();
  for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
    const ti_key_value step = { "step", steps[i] };

    for (int f = 0; f < 2; f++) {
      assert_succeeds(ti_embedding_file_write(
        &error, path, f ? TEXTINV_FORMAT_A1111 : TEXTINV_FORMAT_KOHYA, &toy, 1, &step, 1));
      assert_succeeds(ti_embedding_file_read(&file, &error, path));
      assert_int_equal(file.step, -1);
      ti_embedding_file_free(&file);
    }
  }
  assert_succeeds(ti_embedding_file_write(&error, path, TEXTINV_FORMAT_KOHYA, &toy, 1, said, 2));
  assert_succeeds(ti_embedding_file_read(&file, &error, path));
  assert_int_equal(file.num_metadata, 3);
  assert_string_equal(file.metadata[1].value, "mine");
  assert_string_equal(file.name, "other");
  ti_embedding_file_free(&file);
  memset(long_name, 'n', 256);
  const ti_key_value name = { "name", long_name };

  assert_succeeds(ti_embedding_file_write(&error, path, TEXTINV_FORMAT_KOHYA, &toy, 1, &name, 1));
  assert_succeeds(ti_embedding_file_read(&file, &error, path));
  assert_null(file.name);
  assert_int_equal(strlen(file.metadata[2].value), 256);
  ti_embedding_file_free(&file);
}

static void what_cannot_be_written(void **state)
{
  const char *path = test_path("never");
  char longest[1026] = "";
  ti_embedding_entry e[3] = { toy, toy, toy };

#define write_entries(format, count)                                                               \
  ti_embedding_file_write(&error, path, format, e, count, NULL, 0)
  (void)state;
  fill();
  assert_fails(write_entries(TEXTINV_FORMAT_DIFFUSERS, 0), TEXTINV_E_INVALID, "never", "no word");
  assert_fails(write_entries(TEXTINV_FORMAT_DIFFUSERS, 2), TEXTINV_E_CONFLICT, "<toy>", "twice");
  assert_fails(write_entries(TEXTINV_FORMAT_A1111, 2), TEXTINV_E_UNSUPPORTED, "one word");
  assert_fails(write_entries(TEXTINV_FORMAT_KOHYA, 2), TEXTINV_E_UNSUPPORTED, "one word");
  assert_fails(write_entries(TEXTINV_FORMAT_SDXL, 2), TEXTINV_E_UNSUPPORTED, "encoders 0 and 1");
  assert_fails(write_entries(9, 1), TEXTINV_E_INVALID, "format 9");
  e[1].encoder = 1;
  assert_fails(write_entries(TEXTINV_FORMAT_DIFFUSERS, 2), TEXTINV_E_UNSUPPORTED, "for one encoder",
               "\"<toy>\" has vectors for two");
  assert_fails(write_entries(TEXTINV_FORMAT_KOHYA, 2), TEXTINV_E_UNSUPPORTED, "for one encoder");
  e[1].word = "<red>";
  assert_fails(write_entries(TEXTINV_FORMAT_SDXL, 2), TEXTINV_E_UNSUPPORTED, "one word, not 2");
  e[1].word = e[0].word;
  e[2].encoder = 2;
  assert_fails(write_entries(TEXTINV_FORMAT_SDXL, 3), TEXTINV_E_UNSUPPORTED, "vectors for one");
  e[2].encoder = 1;
  assert_fails(write_entries(TEXTINV_FORMAT_SDXL, 3), TEXTINV_E_UNSUPPORTED, "encoders 0 and 1");
  e[0].encoder = -1;
  assert_fails(write_entries(TEXTINV_FORMAT_SDXL, 1), TEXTINV_E_UNSUPPORTED, "for two encoders",
               "\"<toy>\" has vectors for one");
  e[0].encoder = 0;
  e[1].num_vectors = 1;
  assert_fails(write_entries(TEXTINV_FORMAT_SDXL, 2), TEXTINV_E_SHAPE, "2 vectors",
               "1 in the other");
  e[0].word = NULL;
  assert_fails(write_entries(TEXTINV_FORMAT_DIFFUSERS, 1), TEXTINV_E_INVALID, "word");
  e[0].word = (char *)"\xff";
  assert_fails(write_entries(TEXTINV_FORMAT_DIFFUSERS, 1), TEXTINV_E_INVALID, "not UTF-8");
  e[0] = toy;
  e[0].num_vectors = 0;
  assert_fails(write_entries(TEXTINV_FORMAT_KOHYA, 1), TEXTINV_E_INVALID, "0 vectors of width 6");
  e[0] = toy;
  e[0].dim = 0;
  assert_fails(write_entries(TEXTINV_FORMAT_KOHYA, 1), TEXTINV_E_INVALID, "2 vectors of width 0");
  e[0] = toy;
  e[0].rows = NULL;
  assert_fails(write_entries(TEXTINV_FORMAT_KOHYA, 1), TEXTINV_E_INVALID, "2 vectors of width 6");
  e[0] = toy;
  memset(longest, 'w', sizeof(longest) - 1);
  e[0].word = longest;
  assert_fails(write_entries(TEXTINV_FORMAT_A1111, 1), TEXTINV_E_INVALID,
               "1025 bytes, at most 1024");
  assert_fails(ti_torch_write_a1111(NULL, &error, path, "a", 0, NULL, NULL, 1 << 16, 1 << 13, NULL),
               TEXTINV_E_LIMIT, "never", "65536 vectors of 8192 values");
  e[0] = toy;
  rows[7] = INFINITY;
  assert_fails(write_entries(TEXTINV_FORMAT_KOHYA, 1), TEXTINV_E_NONFINITE, "column 1 is infinite");
  rows[7] = NAN;
  for (textinv_format f = 0; f < 4; f++)
    assert_fails(write_entries(f, 1), TEXTINV_E_NONFINITE, "<toy>", "vector 1, column 1", "NaN");
  fill();
  assert_int_equal(access(path, F_OK), -1);
}

/* --- refusals */

/* one tensor, in a safetensors file */
static const char *make(const char *name, ti_file_dtype dtype, int rank, const uint64_t *dims,
                        const void *data)
{
  const char *path = test_path("made.safetensors");
  ti_tensor t = {
    .name = name, .dtype = dtype, .rank = rank, .data = data, .bytes = ti_file_dtype_size(dtype)
  };
  ti_error error;

  for (int i = 0; i < rank; i++) {
    t.dims[i] = dims[i];
    t.bytes *= dims[i];
  }
  assert_int_equal(ti_safetensors_write(&error, path, &t, 1, NULL, 0), TEXTINV_OK);
  return path;
}

#define assert_made_fails(status, dtype, rank, dims, ...)                                          \
  assert_fails(ti_embedding_file_read(&file, &error, make("<toy>", dtype, rank, dims, values)),    \
               status, "made.safetensors", "<toy>", __VA_ARGS__)

static void shapes_and_types_are_checked(void **state)
{
  static double values[1 << 18];
  char long_word[300];

  (void)state;
  assert_made_fails(TEXTINV_E_SHAPE, TI_FILE_F32, 0, NULL, "0 dimensions");
  assert_made_fails(TEXTINV_E_SHAPE, TI_FILE_F32, 3, ((uint64_t[]){ 1, 2, 3 }), "3 dimensions");
  assert_made_fails(TEXTINV_E_SHAPE, TI_FILE_F32, 2, ((uint64_t[]){ 0, 6 }), "0 vectors");
  assert_made_fails(TEXTINV_E_SHAPE, TI_FILE_F32, 1, ((uint64_t[]){ 0 }), "width 0");
  assert_made_fails(TEXTINV_E_LIMIT, TI_FILE_F32, 2, ((uint64_t[]){ 76, 6 }), "76 vectors",
                    "at most 75");
  assert_made_fails(TEXTINV_E_LIMIT, TI_FILE_F32, 2, ((uint64_t[]){ 1000, 6 }), "1000 vectors");
  assert_made_fails(TEXTINV_E_LIMIT, TI_FILE_F32, 1, ((uint64_t[]){ 65537 }), "width 65537");
  assert_made_fails(TEXTINV_E_UNSUPPORTED, TI_FILE_I64, 2, ((uint64_t[]){ 1, 6 }), "I64");
  assert_made_fails(TEXTINV_E_UNSUPPORTED, TI_FILE_BOOL, 2, ((uint64_t[]){ 1, 6 }), "BOOL");
  memset(long_word, 'w', sizeof(long_word));
  long_word[256] = '\0';
  assert_fails(ti_embedding_file_read(&file, &error,
                                      make(long_word, TI_FILE_F32, 1, (uint64_t[]){ 6 }, values)),
               TEXTINV_E_LIMIT, "256 bytes");
  assert_fails(
    ti_embedding_file_read(&file, &error, make("", TI_FILE_F32, 1, (uint64_t[]){ 6 }, values)),
    TEXTINV_E_LIMIT, "0 bytes");
}

static void values_are_finite(void **state)
{
  const uint64_t dims[] = { 2, 3 };
  float single[6] = { 0 };
  uint16_t half[6] = { 0 };
  double twice[6] = { 0 };
  const void *values;

  (void)state;
  single[4] = NAN;
  values = single;
  assert_made_fails(TEXTINV_E_NONFINITE, TI_FILE_F32, 2, dims, "vector 1, column 1 is NaN");
  single[4] = -INFINITY;
  assert_made_fails(TEXTINV_E_NONFINITE, TI_FILE_F32, 2, dims, "vector 1, column 1 is infinite");
  half[2] = 0x7c00;
  values = half;
  assert_made_fails(TEXTINV_E_NONFINITE, TI_FILE_F16, 2, dims, "vector 0, column 2 is infinite");
  half[2] = 0x7fc0;
  assert_made_fails(TEXTINV_E_NONFINITE, TI_FILE_BF16, 2, dims, "vector 0, column 2 is NaN");
  twice[5] = 1e39;
  values = twice;
  assert_made_fails(TEXTINV_E_NONFINITE, TI_FILE_F64, 2, dims, "vector 1, column 2 is infinite");
  twice[5] = NAN;
  assert_made_fails(TEXTINV_E_NONFINITE, TI_FILE_F64, 2, dims, "vector 1, column 2 is NaN");
}

/* a safetensors file of several tensors [1, 6] */
static const char *make_keys(const char *const *keys, int count, int first_vectors)
{
  static const float values[76 * 6];
  const char *path = test_path("keys.safetensors");
  ti_tensor t[16];
  ti_error error;

  for (int i = 0; i < count; i++) {
    const uint64_t n = i ? 1 : (uint64_t)first_vectors;

    t[i] = (ti_tensor){ .name = keys[i],
                        .dtype = TI_FILE_F32,
                        .rank = 2,
                        .dims = { n, 6 },
                        .data = values,
                        .bytes = n * 24 };
  }
  assert_int_equal(ti_safetensors_write(&error, path, t, (size_t)count, NULL, 0), TEXTINV_OK);
  return path;
}

static void what_is_no_embedding(void **state)
{
  static const char *const layers[] = { "IN01",  "IN02",  "IN04",  "IN05",  "IN07",  "IN08",
                                        "MID",   "OUT03", "OUT04", "OUT05", "OUT06", "OUT07",
                                        "OUT08", "OUT09", "OUT10", "OUT11" };
  static const char *const behind[] = { "emp_params_out" }, *const encoders[] = { "clip_g",
                                                                                  "clip_l" };
  static const char *const out[] = { "clip_l_out", "clip_g_out" };
  char path[512];

#define read_path() ti_embedding_file_read(&file, &error, path)
  (void)state;
  assert_fails(ti_embedding_file_read(&file, &error, make_keys(layers, 16, 1)),
               TEXTINV_E_UNSUPPORTED, "IN01", "layer");
  assert_fails(ti_embedding_file_read(&file, &error, make_keys(behind, 1, 1)),
               TEXTINV_E_UNSUPPORTED, "emp_params_out");
  for (int i = 0; i < 2; i++)
    assert_fails(ti_embedding_file_read(&file, &error, make_keys(out + i, 1, 1)),
                 TEXTINV_E_UNSUPPORTED, out[i]);
  assert_succeeds(ti_embedding_file_read(&file, &error, make_keys(layers, 1, 1)));
  assert_string_equal(file.entries->word, "IN01"); /* alone it is a word */
  ti_embedding_file_free(&file);
  assert_fails(ti_embedding_file_read(&file, &error, make_keys(encoders, 2, 76)), TEXTINV_E_LIMIT,
               "\"clip_g\" has 76 vectors");
  assert_fails(ti_embedding_file_read(&file, &error, make_keys(encoders + 1, 1, 76)),
               TEXTINV_E_LIMIT, "\"clip_l\" has 76 vectors");
  assert_fails(ti_embedding_file_read(&file, &error, make_keys(encoders, 2, 2)), TEXTINV_E_SHAPE,
               "\"clip_l\" has 1 vectors", "\"clip_g\" 2");
  assert_fails(ti_embedding_file_read(&file, &error, make_keys(NULL, 0, 0)), TEXTINV_E_FORMAT,
               "no tensor");
  strcpy(path, test_path("other"));
  write_file(path, "", 0);
  assert_fails(read_path(), TEXTINV_E_FORMAT, "other", "0 bytes");
  write_file(path, "\x89PNG\r\n\x1a\n", 8);
  assert_fails(read_path(), TEXTINV_E_FORMAT, "other", "PNG", "cut short");
  write_file(path, "\xff\xd8\xff\xe0 and so on", 14);
  assert_fails(read_path(), TEXTINV_E_UNSUPPORTED, "other", "JPEG picture", "PNG");
  write_file(path, "\x80\2}q\0.", 6);
  assert_fails(read_path(), TEXTINV_E_UNSUPPORTED, "other", "older than torch 1.6");
  write_file(path, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", 64);
  assert_fails(read_path(), TEXTINV_E_FORMAT, "other", "git lfs pull");
  write_file(path, "just some text, long enough", 27);
  assert_fails(read_path(), TEXTINV_E_LIMIT, "other", "no safetensors file");
  assert_fails(ti_embedding_file_read(&file, &error, test_path("absent")), TEXTINV_E_NOT_FOUND,
               "absent");
  assert_fails(ti_embedding_file_read(&file, &error, "/dev"), TEXTINV_E_NOT_FOUND,
               "/dev: is a folder without learned_embeds.safetensors");
  assert_fails(ti_embedding_file_read(&file, &error, "/dev/null"), TEXTINV_E_IO, "/dev/null");
  assert_null(file.entries);
  ti_embedding_file_free(&file);
}

/* of a checkpoint, told by its metadata, what is named as rows are */
static void rows_of_a_checkpoint(void **state)
{
  static const char *const names[] = { "rows", "rows.2.a", "rows.0a", "rows./.a", "m.0.a" };
  static const float values[77];
  const ti_key_value mark = { "textinv_checkpoint", "1" };
  const char *path = test_path("checkpoint");
  ti_tensor t[6] = { { .rank = 2, .dims = { 1, 1 }, .data = values, .bytes = 4 } };

  (void)state;
  for (int i = 0; i < 6; i++) {
    t[i] = t[0];
    t[i].name = i < 5 ? names[i] : "rows.1.<toy>";
  }
  assert_succeeds(ti_safetensors_write(&error, path, t, 5, &mark, 1));
  assert_fails(ti_embedding_file_read(&file, &error, path), TEXTINV_E_FORMAT, "checkpoint",
               "without rows");
  assert_succeeds(ti_safetensors_write(&error, path, t, 6, &mark, 1));
  assert_succeeds(ti_embedding_file_read(&file, &error, path));
  assert_int_equal(file.count, 1);
  assert_string_equal(file.layout, "checkpoint");
  assert_string_equal(file.entries->word, "<toy>");
  assert_int_equal(file.entries->encoder, 1);
  ti_embedding_file_free(&file);
  t[5].dims[0] = 77;
  t[5].bytes = sizeof(values);
  assert_succeeds(ti_safetensors_write(&error, path, t, 6, &mark, 1));
  assert_fails(ti_embedding_file_read(&file, &error, path), TEXTINV_E_LIMIT, "77 vectors");
}

static void words_are_counted(void **state)
{
  enum { TOO_MANY = 1025 };
  static char names[TOO_MANY][8];
  static const float value;
  const char *path = test_path("many");
  ti_tensor *t = calloc(TOO_MANY, sizeof(*t));

  (void)state;
  assert_non_null(t);
  for (int i = 0; i < TOO_MANY; i++) {
    sprintf(names[i], "%d", i);
    t[i] = (ti_tensor){ .name = names[i], .rank = 1, .dims = { 1 }, .data = &value, .bytes = 4 };
  }
  assert_succeeds(ti_safetensors_write(&error, path, t, TOO_MANY - 1, NULL, 0));
  assert_succeeds(ti_embedding_file_read(&file, &error, path));
  assert_int_equal(file.count, TOO_MANY - 1);
  ti_embedding_file_free(&file);
  assert_succeeds(ti_safetensors_write(&error, path, t, TOO_MANY, NULL, 0));
  assert_fails(ti_embedding_file_read(&file, &error, path), TEXTINV_E_LIMIT, "many",
               "1025 tensors, an embedding at most 1024");
  free(t);
}

static void what_is_not_read_is_not_written(void **state)
{
  enum { TOO_MANY = 1025, VECTORS = 75, WIDTH = 65536, TOO_MUCH = 14 };
  static float much[VECTORS * WIDTH];
  static char names[TOO_MANY][8];
  static ti_embedding_entry e[TOO_MANY];
  const char *path = test_path("unread");
  ti_memory_file memory = { NULL, 0, 0 };

  (void)state;
  for (int i = 0; i < TOO_MANY; i++) {
    sprintf(names[i], "%d", i);
    e[i] = (ti_embedding_entry){ names[i], -1, 1, 1, much };
  }
  assert_fails(write_entries(TEXTINV_FORMAT_DIFFUSERS, TOO_MANY), TEXTINV_E_LIMIT, "unread",
               "at most 1024 words, not 1025");
  for (int i = 0; i < TOO_MUCH; i++)
    e[i] = (ti_embedding_entry){ names[i], -1, VECTORS, WIDTH, much };
  assert_fails(write_entries(TEXTINV_FORMAT_DIFFUSERS, TOO_MUCH), TEXTINV_E_LIMIT, "unread",
               "at most 268435456 are read");
  assert_int_equal(access(path, F_OK), -1);
  assert_succeeds(ti_embedding_file_write_to(&memory, &error, path, TEXTINV_FORMAT_DIFFUSERS, e,
                                             TOO_MUCH - 1, NULL, 0));
  assert_in_range(memory.size, (TOO_MUCH - 1) * sizeof(much), TI_EMBEDDING_MAX_BYTES);
}

/* bytes of a golden file under a name in that folder */
static void place(const char *folder, const char *name, const char *from)
{
  const ti_tensor *t = find(from);
  char path[600];

  sprintf(path, "%s/%s", folder, name);
  write_file(path, t->data, t->bytes);
}

/* a header of 384 bytes begins as a pickle of protocol 1 does */
static void a_header_is_no_pickle(void **state)
{
  static const float values[6];
  const ti_tensor tensor = {
    .name = "<toy>", .rank = 1, .dims = { 6 }, .dtype = TI_FILE_F32, .bytes = 24, .data = values
  };
  const char *path = test_path("header.safetensors");
  char text[301] = "";
  const ti_key_value pair = { "k", text };
  unsigned char *bytes;
  size_t size;

  (void)state;
  memset(text, 'x', sizeof(text) - 1);
  assert_succeeds(ti_safetensors_write(&error, path, &tensor, 1, &pair, 1));
  bytes = read_file(path, &size);
  assert_memory_equal(bytes, "\x80\1\0\0\0\0\0\0", 8);
  free(bytes);
  assert_succeeds(ti_embedding_file_read(&file, &error, path));
  assert_string_equal(file.layout, "diffusers");
  ti_embedding_file_free(&file);
}

static void a_folder_is_looked_into(void **state)
{
  const char *folder = test_path("concept");
  char path[600];

  (void)state;
  assert_false(ti_embedding_folder_check(folder));
  assert_int_equal(mkdir(folder, 0777), 0);
  assert_false(ti_embedding_folder_check(folder));
  place(folder, "learned_embeds.bin", "diffusers.1d.bin.file");
  assert_true(ti_embedding_folder_check(folder));
  assert_succeeds(ti_embedding_file_read(&file, &error, folder));
  assert_int_equal(file.count, 1);
  assert_string_equal(file.entries->word, "<toy>");
  assert_int_equal(file.entries->encoder, -1);
  check_rows(file.entries, find("diffusers.1d.bin.rows"));
  ti_embedding_file_free(&file);
  /* safetensors come first, a second file is the second encoder's */
  place(folder, "learned_embeds.safetensors", "diffusers.safetensors.file");
  place(folder, "learned_embeds_2.bin", "diffusers.slice.bin.file");
  assert_succeeds(ti_embedding_file_read(&file, &error, folder));
  assert_int_equal(file.count, 2);
  assert_int_equal(file.entries[0].encoder, 0);
  check_rows(file.entries, find("diffusers.safetensors.rows"));
  assert_int_equal(file.entries[1].encoder, 1);
  assert_string_equal(file.entries[1].word, "<toy>");
  check_rows(file.entries + 1, find("diffusers.slice.bin.rows"));
  ti_embedding_file_free(&file);
  /* one that tells its encoders keeps them */
  place(folder, "learned_embeds_2.bin", "sdxl.pt.file");
  assert_succeeds(ti_embedding_file_read(&file, &error, folder));
  assert_int_equal(file.count, 3);
  assert_int_equal(file.entries[1].encoder, 0);
  assert_int_equal(file.entries[2].encoder, 1);
  ti_embedding_file_free(&file);
  place(folder, "learned_embeds_2.bin", "plain.png.file");
  assert_fails(ti_embedding_file_read(&file, &error, folder), TEXTINV_E_UNSUPPORTED,
               "concept/learned_embeds_2.bin");
  sprintf(path, "%s/learned_embeds.safetensors", folder);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(mkdir(path, 0777), 0); /* is no file: the torch file is read */
  place(folder, "learned_embeds_2.bin", "diffusers.bin.file");
  assert_succeeds(ti_embedding_file_read(&file, &error, folder));
  check_rows(file.entries, find("diffusers.1d.bin.rows"));
  ti_embedding_file_free(&file);
}

static void what_is_left_out_is_named(void **state)
{
  static const char *const four[] = { "clip_l", "clip_l_out", "t5", "t5xxl" };
  static const char *const five[] = { "emb_params", "a", "b", "c", "d" };

  (void)state;
  assert_succeeds(ti_embedding_file_read(&file, &error, make_keys(four, 4, 1)));
  assert_string_equal(file.left_out, "\"clip_l_out\", \"t5\", \"t5xxl\"");
  ti_embedding_file_free(&file);
  assert_succeeds(ti_embedding_file_read(&file, &error, make_keys(five, 5, 1)));
  assert_string_equal(file.left_out, "\"a\", \"b\", \"c\" and 1 more");
  ti_embedding_file_free(&file);
}

static void a_cut_file_is_refused_wherever_it_is_cut(void **state)
{
  static const char *const names[] = { "a1111.pt.file", "sdxl.safetensors.file", "text.png.file",
                                       "border.png.file" };

  (void)state;
  for (int i = 0; i < 4; i++) {
    const ti_tensor *t = find(names[i]);

    for (size_t size = 0; size < t->bytes; size++)
      assert_fails(ti_embedding_file_decode(&file, &error, "cut", t->data, size), TEXTINV_E_FORMAT,
                   "cut");
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_layout_is_read),
    cmocka_unit_test(files_say_what_they_are),
    cmocka_unit_test(metadata_is_bounded),
    cmocka_unit_test(a1111_file_is_the_one_that_torch_read),
    cmocka_unit_test(a_model_that_is_no_name_is_left_out),
    cmocka_unit_test(what_is_written_reads_back),
    cmocka_unit_test(metadata_that_is_odd),
    cmocka_unit_test(what_cannot_be_written),
    cmocka_unit_test(shapes_and_types_are_checked),
    cmocka_unit_test(values_are_finite),
    cmocka_unit_test(what_is_no_embedding),
    cmocka_unit_test(rows_of_a_checkpoint),
    cmocka_unit_test(words_are_counted),
    cmocka_unit_test(what_is_not_read_is_not_written),
    cmocka_unit_test(a_header_is_no_pickle),
    cmocka_unit_test(a_folder_is_looked_into),
    cmocka_unit_test(what_is_left_out_is_named),
    cmocka_unit_test(a_cut_file_is_refused_wherever_it_is_cut),
  };

  return cmocka_run_group_tests(tests, open_golden, close_golden);
}
