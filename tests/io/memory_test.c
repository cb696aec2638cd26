/*
 * Every allocation of every reader and writer fails once: an error with a message comes back, and
 * nothing stays allocated. This program's malloc stands before that of the C library, for the
 * libraries that read PNG, JPEG, zip and JSON, too.
 */
#include "io_testing.h"

#include <errno.h>

#include "embedding_file.h"
#include "image.h"
#include "json.h"
#include "torch_file.h"

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);

/* volatile: compilers take it that malloc changes no variable */
static volatile long countdown = -1; /* allocations until the one that fails; below 0: none does */
static volatile long live;           /* blocks allocated and not freed */

static int fails(void)
{
  if (countdown < 0 || countdown-- > 0)
    return 0;
  errno = ENOMEM;
  return 1;
}

static void *counted(void *p)
{
  live += p != NULL;
  return p;
}

void *malloc(size_t size)
{
  return fails() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
  return fails() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *p, size_t size)
{
  void *q = fails() ? NULL : __libc_realloc(p, size);

  live += q && !p;
  return q;
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
  void *p = fails() ? NULL : counted(__libc_memalign(alignment, size));

  if (!p)
    return ENOMEM;
  *out = p;
  return 0;
}

void free(void *p)
{
  live -= p != NULL;
  __libc_free(p);
}

static const ti_tensor *input; /* bytes of a file */

static textinv_status run_image(ti_error *error)
{
  ti_image image;
  const textinv_status status = ti_image_decode(&image, error, "x", input->data, input->bytes);

  ti_image_free(&image);
  return status;
}

static textinv_status run_embedding(ti_error *error)
{
  ti_embedding_file file;
  const textinv_status status = ti_embedding_file_decode(&file, error, "x", input->data,
                                                         input->bytes);

  ti_embedding_file_free(&file);
  return status;
}

static textinv_status run_torch(ti_error *error)
{
  ti_torch_file *file;
  textinv_status status = ti_torch_parse(&file, error, "x", input->data, input->bytes);

  if (status >= 0)
    status = ti_torch_load_all(file, error);
  ti_torch_close(file);
  return status;
}

static textinv_status run_json(ti_error *error)
{
  static const char text[] = "{\"a\":[1,2.5,{\"b\":\"text\"}],\"c\":null,\"d\":{\"e\":[[],[]]}}";
  ti_json json;
  const textinv_status status = ti_json_parse(&json, error, "x", text, sizeof(text) - 1);

  if (status >= 0)
    ti_json_close(&json);
  return status;
}

static char target[256];

static textinv_status run_write_png(ti_error *error)
{
  static const uint8_t pixels[48];

  return ti_image_write_png(error, target, 4, 4, pixels, "text");
}

static textinv_status run_resize(ti_error *error)
{
  static uint8_t pixels[48];
  const ti_image in = { 4, 4, pixels };
  ti_image out;
  const textinv_status status = ti_image_resize(&out, error, &in, TI_BICUBIC, 0, 0, 4, 3, 3, 5);

  ti_image_free(&out);
  return status;
}

static const float rows[6];
static const ti_embedding_entry entry = { (char *)"<toy>", 0, 2, 3, (float *)rows };

static textinv_status run_write_diffusers(ti_error *error)
{
  return ti_embedding_file_write(error, target, TEXTINV_FORMAT_DIFFUSERS, &entry, 1, NULL, 0);
}

static textinv_status run_write_a1111(ti_error *error)
{
  return ti_embedding_file_write(error, target, TEXTINV_FORMAT_A1111, &entry, 1, NULL, 0);
}

/* one run in which allocation n fails; the blocks that are left */
static long fail_one(const char *name, textinv_status (*run)(ti_error *), long n, int *is_over)
{
  ti_error error = { "" };
  const long before = live;

  countdown = n;
  const textinv_status status = run(&error);
  const int reached = countdown < 0;

  countdown = -1;
  *is_over = !reached;
  /* libraries do not always say why they failed */
  if (status < 0 &&
      (!reached || !*error.text ||
       (status != TEXTINV_E_NOMEM && status != TEXTINV_E_FORMAT && status != TEXTINV_E_IO)))
    fail_msg("%s: allocation %ld: status %d, \"%s\"", name, n, (int)status, error.text);
  return live - before;
}

/* fail allocation 0, 1, ... until a run needs no more */
static void fail_each(const char *name, textinv_status (*run)(ti_error *))
{
  /* libzip 1.7 loses a block of its own when zip_fopen_index() finds no memory */
  const long tolerated = strstr(name, ".pt") || strstr(name, ".bin") ? 1 : 0;
  int is_over = 0;
  long n;

  countdown = -1;
  assert_int_equal(run(&(ti_error){ "" }), TEXTINV_OK);
  for (n = 0; n < 5000 && !is_over; n++) {
    /* what a library keeps for the next time is kept once */
    if (fail_one(name, run, n, &is_over) > tolerated &&
        fail_one(name, run, n, &is_over) > tolerated)
      fail_msg("%s: allocation %ld: blocks are lost", name, n);
  }
  assert_true(n > 1 && is_over);
}

static void fail_each_file(const char *golden, const char *const *names,
                           textinv_status (*run)(ti_error *))
{
  ti_safetensors *file;

  assert_succeeds(ti_safetensors_open(&file, &error, golden));
  for (; *names; names++) {
    input = ti_safetensors_find(file, *names);
    assert_non_null(input);
    fail_each(*names, run);
  }
  ti_safetensors_close(file);
}

static void readers(void **state)
{
  static const char *const images[] = { "png.3.4.1.file",        "png.6.16.0.file",
                                        "orient.png.6.file",     "jpeg.420.file",
                                        "jpeg.progressive.file", "jpeg.cmyk.file",
                                        "orient.jpeg.5.file",    NULL };
  static const char *const words[] = { "a1111.pt.file", "compvis.pt.file", "sdxl.safetensors.file",
                                       "diffusers.transposed.bin.file", NULL };
  static const char *const torch[] = { "sdxl.pt.file", "diffusers.transposed.bin.file", NULL };

  (void)state;
  fail_each_file("tests/golden/images.safetensors", images, run_image);
  fail_each_file("tests/golden/embeddings.safetensors", words, run_embedding);
  fail_each_file("tests/golden/embeddings.safetensors", torch, run_torch);
  fail_each("json", run_json);
  fail_each("resize", run_resize);
}

static void writers(void **state)
{
  (void)state;
  strcpy(target, test_path("target"));
  fail_each("png", run_write_png);
  fail_each("diffusers", run_write_diffusers);
  fail_each("a1111", run_write_a1111);
}

#else

/* a sanitizer has its own malloc */
static void readers(void **state)
{
  (void)state;
  skip();
}

static void writers(void **state)
{
  (void)state;
  skip();
}

#endif

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(readers),
    cmocka_unit_test(writers),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
