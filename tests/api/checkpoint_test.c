/* Damaged and forged checkpoints: refused, with nothing changed, or read as they were written. */
#include "testing_api.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "api.h"

enum { DIM = 3, VALUES = 2 * DIM + 2 * DIM + DIM, MAX_BYTES = 8192, MAX_TENSORS = 32 };

static char path[512];
static uint8_t good[MAX_BYTES];
static size_t good_size;
static textinv_embeddings *words, *mine; /* what was saved, and what is loaded into */
static textinv_optimizer *optimizer;

static void set(textinv_embeddings *e, const char *word, uint32_t encoder, uint32_t vectors)
{
  float rows[2 * DIM];

  for (uint32_t i = 0; i < vectors * DIM; i++)
    rows[i] = test_normal();
  must(textinv_embeddings_set(session, e, word, encoder, vectors, DIM, rows));
}

static void put(const uint8_t *bytes, size_t size)
{
  FILE *f;

  remove(path); /* some file systems wait for the disk when a file is written over */
  f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, size, f), size);
  assert_int_equal(fclose(f), 0);
}

/* one word of two vectors in both encoders, one word of one vector; two steps */
static int open_all(void **state)
{
  float gradient[VALUES];
  FILE *f;

  (void)state;
  test_seed(31);
  if (textinv_session_new(&session, NULL) < 0)
    return -1;
  must(textinv_embeddings_new(&words, session));
  set(words, "<toy>", 0, 2);
  set(words, "<toy>", 1, 2);
  set(words, "<red>", 0, 1);
  must(textinv_optimizer_new(&optimizer, session, words, NULL));
  for (int step = 0; step < 2; step++) {
    for (int i = 0; i < VALUES; i++)
      gradient[i] = test_normal();
    must(textinv_optimizer_step(session, optimizer, words, gradient, VALUES));
  }
  snprintf(path, sizeof(path), "%s", test_path("checkpoint.safetensors"));
  must(textinv_optimizer_save(session, optimizer, words, path));
  f = fopen(path, "rb");
  assert_non_null(f);
  good_size = fread(good, 1, sizeof(good), f);
  fclose(f);
  assert_in_range(good_size, 500, MAX_BYTES - 1);

  must(textinv_embeddings_new(&mine, session));
  set(mine, "<mine>", 0, 1);
  set(mine, "<red>", 0, 2);
  return 0;
}

static int close_all(void **state)
{
  (void)state;
  textinv_optimizer_free(optimizer);
  textinv_embeddings_free(words);
  textinv_embeddings_free(mine);
  textinv_session_free(session);
  return 0;
}

/* the rows of all words, one behind the other, and the bytes that they take */
static size_t rows_of(uint8_t *out, const textinv_embeddings *e)
{
  size_t bytes = 0;

  for (size_t i = 0; i < textinv_embeddings_count(e); i++) {
    const char *word = textinv_embeddings_word(e, i);

    memcpy(out + bytes, word, strlen(word));
    bytes += strlen(word);
    for (uint32_t k = 0; k < 2; k++) {
      const size_t values = textinv_embeddings_vectors(e, word) *
                            (size_t)textinv_embeddings_dim(e, word, k);

      if (values)
        memcpy(out + bytes, textinv_embeddings_rows(e, word, k), values * sizeof(float));
      bytes += values * sizeof(float);
    }
  }
  assert_in_range(bytes, 1, 1024);
  return bytes;
}

/* load the file: its status; that of a file that is read is the one that was written */
static textinv_status load(void)
{
  textinv_optimizer *o = optimizer;
  textinv_embeddings *e;
  uint8_t before[1024], after[1024];
  const size_t bytes = rows_of(before, mine);
  const textinv_status status = textinv_optimizer_load(&o, session, mine, path);

  if (status < 0) {
    assert_null(o);
    assert_true(*textinv_session_error(session));
    assert_int_equal(rows_of(after, mine), bytes);
    assert_memory_equal(after, before, bytes);
    return status;
  }
  textinv_optimizer_free(o);
  must(textinv_embeddings_new(&e, session));
  must(textinv_optimizer_load(&o, session, e, path));
  const size_t saved = rows_of(before, words);

  assert_int_equal(rows_of(after, e), saved);
  assert_memory_equal(after, before, saved);
  assert_int_equal(o->count, VALUES);
  assert_memory_equal(o->m, optimizer->m, VALUES * sizeof(float));
  assert_memory_equal(o->v, optimizer->v, VALUES * sizeof(float));
  assert_memory_equal(&o->adamw, &optimizer->adamw, sizeof(o->adamw));
  assert_int_equal(o->steps, 2);
  textinv_optimizer_free(o);
  textinv_embeddings_free(e);
  return status;
}

static size_t header_size(void)
{
  size_t size = 8;

  for (int i = 0; i < 8; i++)
    size += (size_t)good[i] << (8 * i);
  assert_in_range(size, 100, good_size);
  return size;
}

static void a_flipped_bit_is_noticed(void **state)
{
  const size_t header = header_size();
  uint8_t bytes[MAX_BYTES];

  (void)state;
  memcpy(bytes, good, good_size);
  for (size_t i = 0; i < good_size; i++) {
    for (int bit = i % 2; bit < 8; bit += 2) {
      bytes[i] ^= (uint8_t)(1 << bit);
      put(bytes, good_size);
      if (load() >= 0 && i >= header) /* a name nobody reads may change, a value may not */
        fail_msg("bit %d of byte %zu is not noticed", bit, i);
      bytes[i] = good[i];
    }
  }
}

static void a_cut_file_is_noticed(void **state)
{
  uint8_t bytes[MAX_BYTES] = { 0 };

  (void)state;
  for (size_t size = 0; size < good_size; size += size < 64 || size + 64 > good_size ? 1 : 5) {
    put(good, size);
    assert_true(load() < 0);
  }
  memcpy(bytes, good, good_size);
  put(bytes, good_size + 1);
  assert_true(load() < 0);
}

/* ------------------------------------------------------------------ */

/* the parts of the good file, to be changed and written again */
typedef struct forged {
  ti_safetensors *file;
  ti_tensor tensors[MAX_TENSORS];
  ti_key_value pairs[8];
  size_t num_tensors, num_pairs;
} forged;

static forged take_apart(void)
{
  forged f = { .file = NULL };
  const ti_key_value *pairs;

  must(ti_safetensors_parse(&f.file, &session->error, "good", good, good_size));
  f.num_tensors = ti_safetensors_count(f.file);
  assert_in_range(f.num_tensors, 1, MAX_TENSORS);
  for (size_t i = 0; i < f.num_tensors; i++)
    f.tensors[i] = *ti_safetensors_tensor(f.file, i);
  pairs = ti_safetensors_pairs(f.file, &f.num_pairs);
  assert_int_equal(f.num_pairs, 5);
  memcpy(f.pairs, pairs, f.num_pairs * sizeof(*pairs));
  return f;
}

static ti_tensor *tensor(forged *f, const char *name)
{
  for (size_t i = 0; i < f->num_tensors; i++) {
    if (!strcmp(f->tensors[i].name, name))
      return &f->tensors[i];
  }
  fail_msg("no tensor %s", name);
  return NULL;
}

static void drop(forged *f, const char *name)
{
  *tensor(f, name) = f->tensors[f->num_tensors - 1];
  f->num_tensors--;
}

static void shape(forged *f, const char *name, int rank, uint64_t a, uint64_t b)
{
  ti_tensor *t = tensor(f, name);

  t->rank = rank;
  t->dims[0] = a;
  t->dims[1] = b;
  t->count = rank > 1 ? a * b : a;
  t->bytes = t->count * sizeof(float);
}

/* value NULL: the pair is left out */
static void say(forged *f, const char *key, const char *value)
{
  for (size_t i = 0; i < f->num_pairs; i++) {
    if (strcmp(f->pairs[i].key, key))
      continue;
    f->pairs[i].value = value;
    if (!value)
      f->pairs[i] = f->pairs[--f->num_pairs];
    return;
  }
  fail_msg("no metadata %s", key);
}

static void forged_checkpoints_are_refused(void **state)
{
  static char long_word[300], long_text[4096];
  static float changed[VALUES], nans[VALUES];
  forged f;

  (void)state;
  memset(long_word, 'x', sizeof(long_word) - 1);
  for (int i = 0; i < VALUES; i++)
    nans[i] = NAN;
  memset(long_text, 'x', sizeof(long_text) - 1);
#define FORGED(change, expected, part)                                                             \
  do {                                                                                             \
    f = take_apart();                                                                              \
    change;                                                                                        \
    must(ti_safetensors_write(&session->error, path, f.tensors, f.num_tensors, f.pairs,            \
                              f.num_pairs));                                                       \
    refused(load(), expected, part);                                                               \
    assert_non_null(strstr(textinv_session_error(session), "checkpoint.safetensors"));             \
    ti_safetensors_close(f.file);                                                                  \
  } while (0)
  FORGED(say(&f, "textinv_checkpoint", "2"), TEXTINV_E_VERSION,
         "is a checkpoint of version 2; this library reads 1");
  FORGED(say(&f, "textinv_checkpoint", NULL), TEXTINV_E_FORMAT, "is no checkpoint");

  static const char *const keys[] = { "words", "step", "settings", "checksum" };

  for (int i = 0; i < 4; i++)
    FORGED(say(&f, keys[i], NULL), TEXTINV_E_FORMAT, "is missing or damaged");

  static const char *const steps[] = { "", "-2", "2x", "0x2", "2.0", "1000000000000000002" };

  for (int i = 0; i < 6; i++)
    FORGED(say(&f, "step", steps[i]), TEXTINV_E_FORMAT, "is missing or damaged");
  FORGED(say(&f, "step", "3"), TEXTINV_E_FORMAT, "is damaged: checksum");
  FORGED(say(&f, "settings", long_text), TEXTINV_E_FORMAT, "is missing or damaged");
  FORGED(say(&f, "settings", "seed=6"), TEXTINV_E_FORMAT, "is damaged: checksum");
  FORGED(say(&f, "checksum", ""), TEXTINV_E_FORMAT, "is damaged: checksum");

  FORGED(say(&f, "words", ""), TEXTINV_E_FORMAT, "holds no words");
  FORGED(say(&f, "words", " <toy> <red>"), TEXTINV_E_FORMAT, "\"words\" is damaged");
  FORGED(say(&f, "words", "<toy>  <red>"), TEXTINV_E_FORMAT, "\"words\" is damaged");
  FORGED(say(&f, "words", long_word), TEXTINV_E_FORMAT, "\"words\" is damaged");
  FORGED(say(&f, "words", "<toy> <red> <toy>"), TEXTINV_E_FORMAT, "word \"<toy>\" stands twice");
  FORGED(say(&f, "words", "<toy> <blue>"), TEXTINV_E_FORMAT, "tensor rows.0.<blue> is missing");
  FORGED(say(&f, "words", "<red> <toy>"), TEXTINV_E_FORMAT, "is damaged: checksum");
  FORGED(say(&f, "words", "<red>"), TEXTINV_E_FORMAT, "is damaged: checksum");

  FORGED(drop(&f, "state"), TEXTINV_E_FORMAT, "is missing or damaged");
  FORGED(shape(&f, "state", 1, 5, 0), TEXTINV_E_FORMAT, "is missing or damaged");
  FORGED(drop(&f, "rows.0.<red>"), TEXTINV_E_FORMAT, "tensor rows.0.<red> is missing");
  FORGED(drop(&f, "rows.1.<toy>"), TEXTINV_E_FORMAT, "is damaged: checksum");
  FORGED(drop(&f, "m.0.<red>"), TEXTINV_E_FORMAT, "tensor m.0.<red> is missing");
  FORGED(drop(&f, "v.1.<toy>"), TEXTINV_E_FORMAT, "tensor v.1.<toy> is missing");
  FORGED(shape(&f, "m.0.<toy>", 1, 2 * DIM, 0), TEXTINV_E_FORMAT, "or of another shape");
  FORGED(shape(&f, "m.0.<toy>", 2, 1, DIM), TEXTINV_E_FORMAT, "m.0.<toy> is missing or of another");
  FORGED(shape(&f, "v.0.<toy>", 2, DIM, 2), TEXTINV_E_FORMAT, "v.0.<toy> is missing or of another");
  FORGED(shape(&f, "rows.0.<toy>", 2, DIM, 2), TEXTINV_E_FORMAT, "of another shape");
  FORGED(shape(&f, "rows.0.<red>", 2, 1, 0), TEXTINV_E_FORMAT, "of another shape");
  FORGED((shape(&f, "rows.1.<toy>", 2, 1, DIM), shape(&f, "m.1.<toy>", 2, 1, DIM),
          shape(&f, "v.1.<toy>", 2, 1, DIM)),
         TEXTINV_E_SHAPE, "has 2 vectors in the other encoder; 1 were given");
  FORGED(tensor(&f, "rows.0.<red>")->data = changed, TEXTINV_E_FORMAT, "is damaged: checksum");
  FORGED(tensor(&f, "rows.1.<toy>")->data = nans, TEXTINV_E_NONFINITE, "nan");
  FORGED(tensor(&f, "m.0.<red>")->data = changed, TEXTINV_E_FORMAT, "is damaged: checksum");
  FORGED(tensor(&f, "v.1.<toy>")->data = changed, TEXTINV_E_FORMAT, "is damaged: checksum");
#undef FORGED
}

/* what no run writes, under a checksum that is right */
static void what_no_run_writes_is_refused(void **state)
{
  const ti_adamw usual = { 5e-3f, 0.9f, 0.999f, 1e-8f, 0.0f };
  const float rows[DIM] = { 1.0f };
  textinv_embeddings *e, *loaded;
  textinv_optimizer *o;
  float m[DIM], v[DIM];
  ti_checkpoint_info info;
  ti_adamw adamw;

  (void)state;
  must(textinv_embeddings_new(&e, session));
  must(textinv_embeddings_new(&loaded, session));
  must(textinv_embeddings_set(session, e, "<toy>", 0, 1, DIM, rows));
#define FORGED(change, status, part)                                                               \
  do {                                                                                             \
    memset(m, 0, sizeof(m));                                                                       \
    memset(v, 0, sizeof(v));                                                                       \
    info = (ti_checkpoint_info){ .step = 3 };                                                      \
    adamw = usual;                                                                                  \
    change;                                                                                        \
    must(ti_checkpoint_write(&session->error, path, e, m, v, &adamw, &info));                      \
    refused(textinv_optimizer_load(&o, session, loaded, path), status, part);                      \
    assert_int_equal(textinv_embeddings_count(loaded), 0);                                         \
  } while (0)
  FORGED(m[1] = NAN, TEXTINV_E_NONFINITE, "checkpoint.safetensors: tensor m.0.<toy> holds nan at 1");
  FORGED(v[2] = INFINITY, TEXTINV_E_NONFINITE, "tensor v.0.<toy> holds inf at 2");
  FORGED(v[0] = -1.0f, TEXTINV_E_FORMAT, "tensor v.0.<toy> holds -1 at 0");
  FORGED(info.loss_average = NAN, TEXTINV_E_NONFINITE, "average of the loss is nan");
  FORGED(adamw.learning_rate = -1.0f, TEXTINV_E_FORMAT, "learning_rate is -1");
  FORGED(adamw.beta1 = NAN, TEXTINV_E_FORMAT, "beta1 is nan");
  FORGED(adamw.beta2 = 1.0f, TEXTINV_E_FORMAT, "beta2 1");
  FORGED(adamw.epsilon = 0.0f, TEXTINV_E_FORMAT, "epsilon is 0");
  FORGED(adamw.weight_decay = INFINITY, TEXTINV_E_FORMAT, "weight_decay is inf");
  must(textinv_embeddings_remove(session, e, "<toy>"));
  must(ti_embeddings_set_rows(e, &session->error, "x\x1b[2J", 0, 1, DIM, rows));
  FORGED((void)0, TEXTINV_E_FORMAT, "has white space or a control character at byte 1");
#undef FORGED
  textinv_embeddings_free(e);
  textinv_embeddings_free(loaded);
}

/* as large as a word of a host may be, and one more */
static void the_largest_words_are_read(void **state)
{
  enum { VECTORS = 75, WIDTH = 65536 };
  static const uint32_t shapes[][2] = { { VECTORS, 1 }, { 1, WIDTH } };
  static float rows[WIDTH + 1];
  const ti_adamw adamw = { 5e-3f, 0.9f, 0.999f, 1e-8f, 0.0f };
  const ti_checkpoint_info info = { .step = 3 };

  (void)state;
  for (int i = 0; i < 4; i++) {
    const int more = i / 2, tall = i % 2 == 0;
    const uint32_t vectors = shapes[i % 2][0], width = shapes[i % 2][1];
    textinv_embeddings *e, *loaded;
    textinv_optimizer *o;

    must(textinv_embeddings_new(&e, session));
    must(textinv_embeddings_new(&loaded, session));
    must(ti_embeddings_set_rows(e, &session->error, "<toy>", 0, (int)vectors + (more && tall),
                                (int)width + (more && !tall), rows));
    must(ti_checkpoint_write(&session->error, path, e, rows, rows, &adamw, &info));
    if (more) {
      refused(textinv_optimizer_load(&o, session, loaded, path), TEXTINV_E_FORMAT,
              "tensor rows.0.<toy> is missing or of another shape");
    } else {
      must(textinv_optimizer_load(&o, session, loaded, path));
      assert_int_equal(textinv_embeddings_vectors(loaded, "<toy>"), vectors);
      textinv_optimizer_free(o);
    }
    textinv_embeddings_free(e);
    textinv_embeddings_free(loaded);
  }
}

/* where its words alone are wanted, too */
static void words_of_a_damaged_one_are_not_loaded(void **state)
{
  textinv_embeddings *e;
  uint8_t bytes[MAX_BYTES];

  (void)state;
  must(textinv_embeddings_new(&e, session));
  memcpy(bytes, good, good_size);
  bytes[header_size() + 4] ^= 1;
  put(bytes, good_size);
  refused(textinv_embeddings_load(session, e, NULL, path, NULL), TEXTINV_E_FORMAT,
          "is damaged: checksum");
  refused(textinv_embeddings_load_memory(session, e, NULL, bytes, good_size, "x", NULL),
          TEXTINV_E_FORMAT, "x is damaged: checksum");
  must(textinv_embeddings_load_memory(session, e, NULL, good, good_size, "x", NULL));
  textinv_embeddings_free(e);
}

static void the_good_one_is_read(void **state)
{
  (void)state;
  put(good, good_size);
  textinv_optimizer *o;
  textinv_embeddings *e;

  must(textinv_embeddings_new(&e, session));
  set(e, "<mine>", 0, 1);
  set(e, "<red>", 0, 2);
  must(textinv_optimizer_load(&o, session, e, path));
  assert_int_equal(textinv_embeddings_count(e), 3);
  assert_string_equal(textinv_embeddings_word(e, 0), "<mine>");
  assert_int_equal(textinv_embeddings_vectors(e, "<red>"), 1);
  textinv_optimizer_free(o);
  textinv_embeddings_free(e);
  must(load());
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_flipped_bit_is_noticed),
    cmocka_unit_test(a_cut_file_is_noticed),
    cmocka_unit_test(forged_checkpoints_are_refused),
    cmocka_unit_test(what_no_run_writes_is_refused),
    cmocka_unit_test(the_largest_words_are_read),
    cmocka_unit_test(words_of_a_damaged_one_are_not_loaded),
    cmocka_unit_test(the_good_one_is_read),
  };

  return cmocka_run_group_tests_name("checkpoint", tests, open_all, close_all);
}
