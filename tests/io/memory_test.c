/*
 * Every allocation of every reader and writer fails once: an error with a message comes back, or
 * the work is done all the same, and nothing stays allocated. This program's malloc stands before
 * that of the C library, for the libraries that read PNG, JPEG, zip and JSON, too.
 */
#include "io_testing.h"

#include <errno.h>
#include <jansson.h>

#include "alloc.h"
#include "api.h"
#include "embedding_file.h"
#include "image.h"
#include "json.h"
#include "model_dir.h"
#include "prompt.h"
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

/* hidden ones would serve this program alone */
#pragma GCC visibility push(default)

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

#pragma GCC visibility pop

static void *steady_malloc(size_t size)
{
  return counted(__libc_malloc(size));
}

static const ti_tensor *input; /* bytes of a file */
static char target[256];

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

/* target: a folder of pictures */
static textinv_status run_list(ti_error *error)
{
  char **paths;
  size_t count, left_out;
  const textinv_status status = ti_image_list(&paths, &count, &left_out, error, target);

  for (size_t i = 0; i < count; i++)
    ti_free(paths[i]);
  ti_free(paths);
  return status;
}

static textinv_status run_folder(ti_error *error)
{
  ti_embedding_file file;
  const textinv_status status = ti_embedding_file_read(&file, error, target);

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

/* a/data.pkl: an empty dict; a/byteorder: "big" */
static const char big_endian[] =
  "PK\3\4\24\0\0\0\0\0\0\0!\0\213\30\236\7\2\0\0\0\2\0\0\0\12\0\0\0a/data.pkl}.PK\3\4\24\0\0"
  "\0\0\0\0\0!\0I\342\373\323\3\0\0\0\3\0\0\0\13\0\0\0a/byteorderbigPK\1\2\24\3\24\0\0\0\0\0"
  "\0\0!\0\213\30\236\7\2\0\0\0\2\0\0\0\12\0\0\0\0\0\0\0\0\0\0\0\200\1\0\0\0\0a/data.pklPK\1"
  "\2\24\3\24\0\0\0\0\0\0\0!\0I\342\373\323\3\0\0\0\3\0\0\0\13\0\0\0\0\0\0\0\0\0\0\0\200\1*\0"
  "\0\0a/byteorderPK\5\6\0\0\0\0\2\0\2\0q\0\0\0V\0\0\0\0\0";

/* when memory runs out while the byte order is looked for, it is not taken for this machine's */
static textinv_status run_big_endian(ti_error *error)
{
  ti_torch_file *file;
  const textinv_status status = ti_torch_parse(&file, error, "x", big_endian,
                                               sizeof(big_endian) - 1);

  if (status >= 0)
    fail_msg("a file of another byte order is read");
  return status == TEXTINV_E_UNSUPPORTED ? TEXTINV_OK : status;
}

/* target: a model in one file, and what it gives out */
static textinv_status run_single(ti_error *error)
{
  static const char *const parts[] = { "unet", "vae", "text_encoder", "text_encoder_2" };
  const int num_parts = strstr(target, "sdxl") ? 4 : 3;
  ti_single_file *file;
  ti_tensor_list list;
  ti_json json;
  textinv_status status = ti_single_file_open(&file, error, target);

  if (status >= 0 && (status = ti_single_file_index(file, error, &json)) >= 0)
    ti_json_close(&json);
  for (int i = 0; i < num_parts && status >= 0; i++) {
    if ((status = ti_single_file_config(file, error, parts[i], &json)) >= 0)
      ti_json_close(&json);
    if (status >= 0 && (status = ti_single_file_tensors(file, error, parts[i], &list)) >= 0)
      ti_tensor_list_free(&list);
  }
  ti_single_file_close(file);
  return status;
}

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

static textinv_status run_write_kohya(ti_error *error)
{
  return ti_embedding_file_write(error, target, TEXTINV_FORMAT_KOHYA, &entry, 1, NULL, 0);
}

static textinv_status run_write_sdxl(ti_error *error)
{
  const ti_embedding_entry both[] = { entry, { entry.word, 1, 2, 3, (float *)rows } };

  return ti_embedding_file_write(error, target, TEXTINV_FORMAT_SDXL, both, 2, NULL, 0);
}

static textinv_status run_write_memory(ti_error *error)
{
  char bytes[64];
  ti_memory_file memory = { bytes, sizeof(bytes), 0 };

  return ti_embedding_file_write_to(&memory, error, "x", TEXTINV_FORMAT_KOHYA, &entry, 1, NULL, 0);
}

static textinv_status run_write_checkpoint(ti_error *error)
{
  ti_word words[] = { { entry.word, 2, { 3, 0 }, { (float *)rows, NULL }, 0, 0 },
                      { (char *)"<other>", 1, { 3, 3 }, { (float *)rows, (float *)rows }, 0, 0 } };
  const textinv_embeddings e = { .words = words, .count = 2, .room = 2 };
  const ti_adamw adamw = { 5e-3f, 0.9f, 0.999f, 1e-8f, 0.01f };
  const ti_checkpoint_info info = { 7, "seed=3", 0.5f };
  static const float moments[12];

  return ti_checkpoint_write(error, target, &e, moments, moments, &adamw, &info);
}

static textinv_status run_read_checkpoint(ti_error *error)
{
  return ti_checkpoint_check(error, target, NULL, 0);
}

/* a session, and in it what open opens */
static textinv_status run_session(ti_error *error, textinv_status (*open)(textinv_session *s))
{
  textinv_session_params params;
  textinv_session *s;
  textinv_status status;

  textinv_session_params_init(&params, sizeof(params));
  params.threads = 1;
  status = textinv_session_new(&s, &params);
  if (status >= 0 && open)
    status = open(s);
  strcpy(error->text, textinv_session_error(s));
  textinv_session_free(s);
  return status;
}

static textinv_status open_model(textinv_session *s)
{
  textinv_model *model;
  const textinv_status status = textinv_model_open(&model, s, "tests/golden/tiny-sd");

  textinv_model_free(model);
  return status;
}

static textinv_status open_ldm(textinv_session *s)
{
  textinv_model *model;
  const textinv_status status = textinv_model_open(&model, s, "tests/golden/tiny-ldm");

  textinv_model_free(model);
  return status;
}

static textinv_status open_tokenizer(textinv_session *s)
{
  textinv_tokenizer *t;
  const textinv_status status = textinv_tokenizer_open(&t, s, "tests/golden/tiny-sd/tokenizer");

  textinv_tokenizer_free(t);
  return status;
}

static textinv_status open_clip(textinv_session *s)
{
  textinv_clip *clip;
  const textinv_status status = textinv_clip_open(&clip, s, "tests/golden/tiny-clip");

  textinv_clip_free(clip);
  return status;
}

/* of the calls below, which are made in a session that has computed nothing yet; by the kernels of
 * the reference, as oneDNN is C++, where no memory is an exception that it does not catch */
static textinv_model *model;
static textinv_clip *clip;
static textinv_images *picture, *mask;

static int32_t sum_of_one(void *user, float *values, size_t count)
{
  (void)user;
  (void)values;
  (void)count;
  return 0;
}

static textinv_status draw(textinv_session *s)
{
  textinv_generate_params p;
  textinv_images *images;
  textinv_status status;

  ti_kernels_init_cpu(&s->kernels);
  textinv_generate_params_init(&p, sizeof(p));
  p.prompt = "a photo";
  p.steps = 2;
  p.init_image = picture;
  p.mask = mask;
  p.strength = 1.0f;
  p.keep_pixels = 1;
  status = textinv_generate(&images, s, model, NULL, &p);
  textinv_images_free(images);
  return status;
}

static textinv_status evaluate(textinv_session *s)
{
  const textinv_images *const pictures[] = { picture, mask };
  const char *const prompts[] = { "a photo of <toy>" }, *const words[] = { "<toy>" };
  textinv_evaluate_params p;
  textinv_scores scores;

  ti_kernels_init_cpu(&s->kernels);
  textinv_evaluate_params_init(&p, sizeof(p));
  textinv_scores_init(&scores, sizeof(scores));
  p.pictures = p.references = pictures;
  p.num_pictures = p.num_references = 2;
  p.prompts = prompts;
  p.placeholders = words;
  p.num_prompts = p.num_placeholders = 1;
  return textinv_evaluate(s, &scores, NULL, 0, clip, &p);
}

static textinv_status learn(textinv_session *s)
{
  const textinv_images *const pictures[] = { picture };
  textinv_parallel parallel;
  textinv_concept concept;
  textinv_invert_params p;
  textinv_embeddings *e;
  textinv_status status;

  ti_kernels_init_cpu(&s->kernels);
  textinv_parallel_init(&parallel, sizeof(parallel));
  parallel.all_reduce = sum_of_one;
  textinv_concept_init(&concept, sizeof(concept));
  concept.placeholder = "<toy>";
  concept.initializer = "toy";
  concept.pictures = pictures;
  concept.num_pictures = 1;
  textinv_invert_params_init(&p, sizeof(p));
  p.concepts = &concept;
  p.num_concepts = 1;
  p.steps = 1;
  p.batch = 1;
  p.parallel = &parallel;
  if ((status = textinv_embeddings_new(&e, s)) >= 0)
    status = textinv_invert(s, model, e, &p, NULL);
  textinv_embeddings_free(e);
  return status;
}

static textinv_status run_draw(ti_error *error)
{
  return run_session(error, draw);
}

static textinv_status run_evaluate(ti_error *error)
{
  return run_session(error, evaluate);
}

static textinv_status run_learn(ti_error *error)
{
  return run_session(error, learn);
}

/* target: a folder with nothing but merges */
static textinv_status run_open_merges(ti_error *error)
{
  ti_tokenizer *bpe;
  const textinv_status status = ti_tokenizer_open(&bpe, error, target, "!");

  ti_tokenizer_free(bpe);
  return status;
}

/* target: a model, of which the UNet is read */
static textinv_status run_model_dir(ti_error *error)
{
  ti_tensor_set *set = NULL;
  ti_model_dir dir;
  textinv_status status = ti_model_dir_open(&dir, error, target);

  if (status < 0)
    return status;
  status = ti_model_dir_weights(&dir, error, "unet", &set);
  ti_tensor_set_free(set);
  ti_model_dir_close(&dir);
  return status;
}

static ti_tokenizer *tokenizer;

static textinv_status run_encode(ti_error *error)
{
  static const ti_prompt_word words[] = { { "<toy>", 100000, 2 }, { "\xff*", 100002, 1 } };
  uint32_t *ids;
  float *weights;
  size_t count;
  const textinv_status status = ti_prompt_encode(
    tokenizer, error, words, 2,
    "A (caf\xc3\xa9 of:1.2) [<Toy>] it's \xff* a a a a a a a a a a a a a a a a <|STARTOFTEXT|> 1 2 \xe7\x8c\xab.",
    &ids, &weights, &count);

  if (status >= 0) {
    ti_free(ids);
    ti_free(weights);
  }
  return status;
}

static textinv_status run_open_session(ti_error *error)
{
  return run_session(error, NULL);
}

static textinv_status run_open_model(ti_error *error)
{
  return run_session(error, open_model);
}

static textinv_status run_open_ldm(ti_error *error)
{
  return run_session(error, open_ldm);
}

static textinv_status run_open_tokenizer(ti_error *error)
{
  return run_session(error, open_tokenizer);
}

static textinv_status run_open_clip(ti_error *error)
{
  return run_session(error, open_clip);
}

/* of a writer: what target holds when nothing fails; NULL for the others */
static unsigned char *whole;
static size_t whole_size;

/* the file of a writer is as it should be where that says so, else there is none */
static void check_target(const char *name, long n, textinv_status status)
{
  unsigned char *bytes;
  size_t size;

  if (access(target, F_OK) != (status < 0 ? -1 : 0))
    fail_msg("%s: allocation %ld: status %d and %s", name, n, (int)status,
             status < 0 ? "a file" : "no file");
  if (status < 0)
    return;
  bytes = read_file(target, &size);
  if (size != whole_size || memcmp(bytes, whole, size))
    fail_msg("%s: allocation %ld: another file", name, n);
  free(bytes);
}

/* one run in which allocation n fails; the blocks that are left */
static long fail_one(const char *name, textinv_status (*run)(ti_error *), long n, int *is_over)
{
  ti_error error = { "" };
  const long before = live;

  if (whole)
    unlink(target);
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
  if (whole)
    check_target(name, n, status);
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

static void fail_each_write(const char *name, textinv_status (*run)(ti_error *))
{
  unlink(target);
  assert_succeeds(run(&error));
  whole = read_file(target, &whole_size);
  fail_each(name, run);
  free(whole);
  whole = NULL;
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
  static const char *const words[] = { "a1111.pt.file",
                                       "compvis.pt.file",
                                       "sdxl.safetensors.file",
                                       "diffusers.transposed.bin.file",
                                       "kohya.named.safetensors.file",
                                       "tensor.pt.file",
                                       NULL };
  static const char *const pictures[] = { "text.png.file", "border.png.file", "sdxl.png.file",
                                          NULL };
  static const char *const torch[] = { "sdxl.pt.file", "diffusers.transposed.bin.file", NULL };

  (void)state;
  fail_each_file("tests/golden/images.safetensors", images, run_image);
  fail_each_file("tests/golden/embeddings.safetensors", words, run_embedding);
  fail_each_file("tests/golden/embeddings.safetensors", torch, run_torch);
  fail_each("big endian .pt", run_big_endian);
  fail_each("json", run_json);
  fail_each("resize", run_resize);
  json_set_alloc_funcs(steady_malloc, free); /* see below */
  fail_each_file("tests/golden/embeddings.safetensors", pictures, run_embedding);
  json_set_alloc_funcs(malloc, free);
}

static void folders(void **state)
{
  static const char *const names[] = { "learned_embeds", "learned_embeds_2" };
  char path[300];

  (void)state;
  strcpy(target, test_path("folder"));
  assert_int_equal(mkdir(target, 0777), 0);
  for (int i = 0; i < 2; i++) {
    sprintf(path, "%s/%s.safetensors", target, names[i]);
    assert_succeeds(
      ti_embedding_file_write(&error, path, TEXTINV_FORMAT_DIFFUSERS, &entry, 1, NULL, 0));
  }
  fail_each("folder", run_folder);
  strcpy(target, test_path("pictures"));
  assert_int_equal(mkdir(target, 0777), 0);
  for (int i = 0; i < 3; i++) {
    sprintf(path, "%s/%d", target, i);
    write_file(path, "\x89PNG\r\n\x1a\n", 8);
  }
  fail_each("pictures", run_list);
}

/* a UNet of two files and their index */
static void make_sharded(void)
{
  static const char index[] = "{\"weight_map\":{\"a\":\"1\",\"b\":\"2\"}}";
  char path[300];

  strcpy(target, test_path("sharded"));
  assert_int_equal(mkdir(target, 0777), 0);
  sprintf(path, "%s/model_index.json", target);
  write_file(path, "{}", 2);
  sprintf(path, "%s/unet", target);
  assert_int_equal(mkdir(path, 0777), 0);
  sprintf(path, "%s/unet/model.safetensors.index.json", target);
  write_file(path, index, sizeof(index) - 1);
  for (int i = 1; i <= 2; i++) {
    const ti_tensor t = {
      .name = i == 1 ? "a" : "b", .rank = 1, .dims = { 1 }, .bytes = 4, .data = rows
    };

    sprintf(path, "%s/unet/%d", target, i);
    assert_succeeds(ti_safetensors_write(&error, path, &t, 1, NULL, 0));
  }
}

static void single_files(void **state)
{
  static const char *const names[] = { "sd1", "sd2", "sdxl", "sd1.ckpt" };

  (void)state;
  for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
    sprintf(target, "tests/fuzz/corpus/single/%s", names[i]);
    fail_each(strcmp(names[i], "sd1.ckpt") ? names[i] : "sd1 as .pt", run_single);
  }
}

static void writers(void **state)
{
  (void)state;
  strcpy(target, test_path("target"));
  fail_each_write("png", run_write_png);
  fail_each_write("diffusers", run_write_diffusers);
  fail_each_write("a1111", run_write_a1111);
  fail_each_write("kohya", run_write_kohya);
  fail_each_write("sdxl", run_write_sdxl);
  fail_each("memory", run_write_memory);
  fail_each_write("checkpoint", run_write_checkpoint);
  fail_each("resumed checkpoint", run_read_checkpoint);
  fail_each("words of a checkpoint", run_folder);
}

static void openings(void **state)
{
  (void)state;
  fail_each("session", run_open_session);
  /* jansson 2.14 writes beyond its buffer when that cannot grow, in tokens of over 15 bytes */
  json_set_alloc_funcs(steady_malloc, free);
  fail_each("tokenizer", run_open_tokenizer);
  fail_each("model", run_open_model);
  fail_each("latent diffusion", run_open_ldm);
  fail_each("clip", run_open_clip);
  make_sharded();
  fail_each("sharded", run_model_dir);
  strcpy(target, "tests/fuzz/corpus/single/sd1");
  fail_each("single file", run_model_dir);
  strcpy(target, test_path("merges"));
  assert_int_equal(mkdir(target, 0777), 0);
  FILE *f = fopen(test_path("merges/merges.txt"), "w");

  assert_non_null(f);
  assert_true(fputs("#version: 0.2\na b\n", f) >= 0);
  assert_int_equal(fclose(f), 0);
  fail_each("merges", run_open_merges);
  json_set_alloc_funcs(malloc, free);
}

static void texts(void **state)
{
  static const char *const folders[] = { "tests/golden/tiny-sd/tokenizer",
                                         "tests/golden/wordpiece" };

  (void)state;
  for (int i = 0; i < 2; i++) {
    assert_succeeds(ti_tokenizer_open(&tokenizer, &error, folders[i], NULL));
    fail_each(folders[i], run_encode);
    ti_tokenizer_free(tokenizer);
  }
}

static void calls(void **state)
{
  textinv_session *s;

  (void)state;
  assert_succeeds(textinv_session_new(&s, NULL));
  assert_succeeds(textinv_model_open(&model, s, "tests/golden/tiny-sd"));
  assert_succeeds(textinv_clip_open(&clip, s, "tests/golden/tiny-clip"));
  assert_succeeds(textinv_images_new(&picture, s, NULL, 1, 24, 16));
  assert_succeeds(textinv_images_new(&mask, s, NULL, 1, 5, 7));
  memset(textinv_images_pixels(mask, 0), 255, 60);
  fail_each("draw", run_draw);
  fail_each("evaluate", run_evaluate);
  fail_each("learn", run_learn);
  textinv_images_free(mask);
  textinv_images_free(picture);
  textinv_clip_free(clip);
  textinv_model_free(model);
  textinv_session_free(s);
}

#else

/* a sanitizer has its own malloc */
static void readers(void **state)
{
  (void)state;
  skip();
}

static void folders(void **state)
{
  (void)state;
  skip();
}

static void single_files(void **state)
{
  (void)state;
  skip();
}

static void writers(void **state)
{
  (void)state;
  skip();
}

static void openings(void **state)
{
  (void)state;
  skip();
}

static void texts(void **state)
{
  (void)state;
  skip();
}

static void calls(void **state)
{
  (void)state;
  skip();
}

#endif

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(readers), cmocka_unit_test(folders),  cmocka_unit_test(single_files),
    cmocka_unit_test(writers), cmocka_unit_test(openings), cmocka_unit_test(texts),
    cmocka_unit_test(calls),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
