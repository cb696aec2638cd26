/* New words: adding, initializers, files, prompts, and what is refused. */
#include "testing_tiny.h"

#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "utf8.h"

static void initializers_give_rows(void **state)
{
  textinv_embeddings *e = new_words();
  const float *toy, *photo, *both, *three;

  (void)state;
  must(textinv_embeddings_add(session, e, model, "<toy>", 1, "toy", 1));
  must(textinv_embeddings_add(session, e, model, "<photo>", 1, "photo", 1));
  must(textinv_embeddings_add(session, e, model, "<both>", 0, "photo toy", 1));
  must(textinv_embeddings_add(session, e, model, "<three>", 3, "toy", 1));
  must(textinv_embeddings_add(session, e, model, "<random>", 4, NULL, 1));
  toy = textinv_embeddings_rows(e, "<toy>", 0);
  photo = textinv_embeddings_rows(e, "<photo>", 0);
  both = textinv_embeddings_rows(e, "<both>", 0);
  three = textinv_embeddings_rows(e, "<three>", 0);
  assert_int_equal(textinv_embeddings_vectors(e, "<both>"), 2);
  assert_memory_equal(both, photo, TINY_WIDTH * sizeof(float));
  assert_memory_equal(both + TINY_WIDTH, toy, TINY_WIDTH * sizeof(float));
  /* repeated vectors begin close to each other, not equal */
  assert_memory_equal(three, toy, TINY_WIDTH * sizeof(float));
  for (int i = 0; i < TINY_WIDTH; i++) {
    assert_true(fabsf(three[TINY_WIDTH + i] - toy[i]) < 0.05f);
    assert_true(three[TINY_WIDTH + i] != three[2 * TINY_WIDTH + i]);
  }
  /* random rows have the spread of the table: uniform in -0.5..0.5 */
  const float *random = textinv_embeddings_rows(e, "<random>", 0);
  double squares = 0.0;

  for (int i = 0; i < 4 * TINY_WIDTH; i++)
    squares += (double)random[i] * random[i];
  assert_true(sqrt(squares / (4 * TINY_WIDTH)) > 0.2 && sqrt(squares / (4 * TINY_WIDTH)) < 0.4);

  assert_int_equal(textinv_embeddings_count(e), 5);
  assert_string_equal(textinv_embeddings_word(e, 1), "<photo>");
  assert_null(textinv_embeddings_word(e, 5));
  assert_int_equal(textinv_embeddings_dim(e, "<toy>", 0), TINY_WIDTH);
  assert_int_equal(textinv_embeddings_dim(e, "<toy>", 1), 0);
  assert_int_equal(textinv_embeddings_dim(e, "none", 0), 0);
  assert_int_equal(textinv_embeddings_num_values(e), (1 + 1 + 2 + 3 + 4) * TINY_WIDTH);
  must(textinv_embeddings_remove(session, e, "<photo>"));
  assert_string_equal(textinv_embeddings_word(e, 1), "<both>");
  refused(textinv_embeddings_remove(session, e, "<photo>"), TEXTINV_E_NOT_FOUND, "\"<photo>\"");
  textinv_embeddings_free(e);
}

static void a_phrase_that_is_cut_is_told(void **state)
{
  textinv_session *const quiet = listen();
  textinv_embeddings *e = new_words();

  (void)state;
  must(textinv_embeddings_add(session, e, model, "<x>", 2, "photo toy", 0));
  assert_string_equal(heard.last, "");
  must(textinv_embeddings_add(session, e, model, "<y>", 1, "photo toy", 0));
  assert_string_equal(
    heard.last, "initializer \"photo toy\" has 2 tokens: word \"<y>\" starts from the first 1");
  for (int shift = 0; shift < 3; shift++) { /* a long line ends with a whole character */
    char phrase[3 + 3 * 200 + 1] = "xx", word[] = "<0>";

    for (int i = 0; i < 200; i++)
      strcpy(phrase + shift + 3 * i, "\xe2\x82\xac");
    word[1] = (char)('0' + shift);
    must(textinv_embeddings_add(session, e, model, word, 1, phrase, 0));
    assert_in_range(strlen(heard.last), 500, 511);
    assert_true(ti_utf8_valid(heard.last, strlen(heard.last)));
  }
  textinv_embeddings_free(e);
  hush(quiet);
}

static void words_are_checked(void **state)
{
  textinv_embeddings *e = new_words();
  float rows[TINY_WIDTH] = { 0.0f };
  char longest[300];

  (void)state;
  memset(longest, 'x', sizeof(longest));
  longest[256] = '\0';
  refused(textinv_embeddings_add(session, e, model, "photo", 1, NULL, 0), TEXTINV_E_CONFLICT,
          "take a new one");
  refused(textinv_embeddings_add(session, e, model, "a b", 1, NULL, 0), TEXTINV_E_INVALID,
          "at byte 1");
  refused(textinv_embeddings_add(session, e, model, NULL, 1, NULL, 0), TEXTINV_E_INVALID, "NULL");
  refused(textinv_embeddings_add(session, e, model, longest, 1, NULL, 0), TEXTINV_E_INVALID,
          "256 bytes");
  must(textinv_embeddings_add(session, e, model, longest + 1, 1, NULL, 0));
  must(textinv_embeddings_remove(session, e, longest + 1));
  refused(textinv_embeddings_add(session, e, model, "\xff", 1, NULL, 0), TEXTINV_E_INVALID,
          "not UTF-8");
  refused(textinv_embeddings_add(session, e, model, "x\xc2\x9bm", 1, NULL, 0), TEXTINV_E_INVALID,
          "word \"x??m\" has white space or a control character at byte 1");
  refused(textinv_embeddings_add(session, e, model,
                                 "<a\xe3\x80\x80"
                                 "b>",
                                 1, NULL, 0),
          TEXTINV_E_INVALID, "white space or a control character at byte 2");
  refused(textinv_embeddings_add(session, e, model, "<x>", 40, NULL, 0), TEXTINV_E_INVALID,
          "40 vectors");
  refused(textinv_embeddings_add(session, e, model, "<x>", 1, "  ", 0), TEXTINV_E_INVALID,
          "has no tokens");
  must(textinv_embeddings_add(session, e, model, "<x>", 1, NULL, 0));
  refused(textinv_embeddings_add(session, e, model, "<x>", 1, NULL, 0), TEXTINV_E_CONFLICT,
          "added already");
  rows[7] = NAN;
  refused(textinv_embeddings_set(session, e, "<y>", 0, 1, TINY_WIDTH, rows), TEXTINV_E_NONFINITE,
          "vector 0 holds nan at 7");
  rows[7] = 1.0f;
  refused(textinv_embeddings_set(session, e, "<y>", 2, 1, TINY_WIDTH, rows), TEXTINV_E_INVALID,
          "encoder 2");
  must(textinv_embeddings_set(session, e, "<y>", 0, 1, TINY_WIDTH, rows));
  must(textinv_embeddings_set(session, e, "<y>", 1, 1, 4, rows));
  refused(textinv_embeddings_set(session, e, "<y>", 1, 2, 4, rows), TEXTINV_E_SHAPE,
          "1 vectors in the other");
  assert_int_equal(textinv_embeddings_count(e), 2);
  textinv_embeddings_free(e);
}

/* one vector in kohya's layout; stored: its name in JSON, or NULL */
static const char *write_kohya(const char *file_name, const char *stored)
{
  const float values[TINY_WIDTH] = { 1.0f };
  const char *path = test_path(file_name);
  FILE *f = fopen(path, "wb");
  char header[512];
  uint64_t size;

  snprintf(header, sizeof(header),
           "{\"emb_params\":{\"dtype\":\"F32\",\"shape\":[1,16],\"data_offsets\":[0,64]}%s%s%s}",
           stored ? ",\"__metadata__\":{\"name\":\"" : "", stored ? stored : "",
           stored ? "\"}" : "");
  size = strlen(header);
  assert_non_null(f);
  assert_int_equal(
    fwrite(&size, 8, 1, f) + fwrite(header, size, 1, f) + fwrite(values, sizeof(values), 1, f), 3);
  assert_int_equal(fclose(f), 0);
  return path;
}

/* words that stand for something else in a file of words: nobody learns them in vain */
static void keys_of_files_are_no_words(void **state)
{
  static const char *const keys[] = {
    "__metadata__",   "IN01",           "OUT11",           "clip_g",
    "clip_g_out",     "clip_l",         "clip_l_out",      "emb_params",
    "emp_params",     "emp_params_out", "string_to_param", "text_encoders_0",
    "text_encoders_1"
  };
  const float rows[TINY_WIDTH] = { 1.0f };
  textinv_embeddings *e = new_words();
  textinv_concept c;
  textinv_invert_params p;
  char path[512];

  (void)state;
  must(textinv_concept_init(&c, sizeof(c)));
  must(textinv_invert_params_init(&p, sizeof(p)));
  c.images_path = "/nowhere";
  p.concepts = &c;
  p.num_concepts = 1;
  snprintf(path, sizeof(path), "%s", write_kohya("unnamed.safetensors", NULL));
  for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
    char expected[128];

    snprintf(expected, sizeof(expected), "word \"%s\" stands for something else in embedding files",
             keys[i]);
    refused(textinv_embeddings_add(session, e, model, keys[i], 1, NULL, 0), TEXTINV_E_INVALID,
            expected);
    refused(textinv_embeddings_set(session, e, keys[i], 0, 1, TINY_WIDTH, rows), TEXTINV_E_INVALID,
            expected);
    refused(textinv_embeddings_load(session, e, model, path, keys[i]), TEXTINV_E_INVALID, expected);
    c.placeholder = keys[i];
    refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_INVALID, expected);
  }
  assert_int_equal(textinv_embeddings_count(e), 0);
  textinv_embeddings_free(e);
}

/* a file's own name may be one: the word can be used, but is not learnt, and not written where it
 * would be lost */
static void a_file_may_be_named_like_a_key(void **state)
{
  textinv_embeddings *e = new_words();
  textinv_concept c;
  textinv_invert_params p;
  char path[512];

  (void)state;
  must(textinv_concept_init(&c, sizeof(c)));
  must(textinv_invert_params_init(&p, sizeof(p)));
  c.placeholder = "clip_l";
  c.images_path = "/nowhere";
  p.concepts = &c;
  p.num_concepts = 1;
  must(textinv_embeddings_load(session, e, model, write_kohya("clip_l.safetensors", NULL), NULL));
  assert_string_equal(textinv_embeddings_word(e, 0), "clip_l");
  refused(textinv_invert(session, model, e, &p, NULL), TEXTINV_E_INVALID,
          "word \"clip_l\" stands for something else in embedding files");
  snprintf(path, sizeof(path), "%s", test_path("again"));
  refused(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_DIFFUSERS, NULL),
          TEXTINV_E_UNSUPPORTED, "the word \"clip_l\" would be read as one of another");
  must(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_A1111, NULL));
  textinv_embeddings_free(e);
}

static void words_are_counted(void **state)
{
  textinv_embeddings *e = new_words();
  const float row = 1.0f;
  char word[16];

  (void)state;
  for (int i = 0; i < 4096; i++) {
    snprintf(word, sizeof(word), "<%d>", i);
    must(textinv_embeddings_set(session, e, word, 0, 1, 1, &row));
  }
  refused(textinv_embeddings_set(session, e, "<x>", 0, 1, 1, &row), TEXTINV_E_LIMIT,
          "4096 words are held already");
  refused(textinv_embeddings_add(session, e, model, "<x>", 1, "toy", 0), TEXTINV_E_LIMIT,
          "4096 words are held already");
  must(textinv_embeddings_set(session, e, "<0>", 0, 1, 1, &row));
  assert_int_equal(textinv_embeddings_count(e), 4096);
  textinv_embeddings_free(e);
}

static void prompts_know_the_words(void **state)
{
  const textinv_tokenizer *t = textinv_model_tokenizer(model, 0);
  const uint32_t size = textinv_tokenizer_size(t);
  textinv_embeddings *e = new_words();
  uint32_t ids[16];
  size_t count;

  (void)state;
  must(textinv_embeddings_add(session, e, model, "<toy>", 1, NULL, 0));
  must(textinv_embeddings_add(session, e, model, "<toy>2", 3, NULL, 0));
  must(textinv_tokenizer_encode(session, ids, 16, &count, t, e, "photo of <toy>2 <toy>, <toy>"));
  assert_int_equal(count, 10);
  assert_string_equal(textinv_tokenizer_token(t, ids[0]), "<|startoftext|>");
  assert_string_equal(textinv_tokenizer_token(t, ids[1]), "photo</w>");
  assert_string_equal(textinv_tokenizer_token(t, ids[2]), "of</w>");
  for (uint32_t i = 0; i < 3; i++)
    assert_int_equal(ids[3 + i], size + 1 + i);
  assert_int_equal(ids[6], size);
  assert_string_equal(textinv_tokenizer_token(t, ids[7]), ",</w>");
  assert_int_equal(ids[8], size);
  assert_string_equal(textinv_tokenizer_token(t, ids[9]), "<|endoftext|>");
  assert_null(textinv_tokenizer_token(t, size));
  /* without room the count is told all the same */
  must(textinv_tokenizer_encode(session, NULL, 0, &count, t, NULL, "photo"));
  assert_int_equal(count, 3);
  textinv_embeddings_free(e);
}

static void a_word_changes_its_prompts_alone(void **state)
{
  enum { CONTEXT = TINY_TOKENS * TINY_WIDTH };
  textinv_embeddings *e = new_words();
  float with[CONTEXT], without[CONTEXT], row[TINY_WIDTH + 1] = { 0.1f };

  (void)state;
  must(textinv_embeddings_add(session, e, model, "<toy>", 1, "toy", 0));
  must(textinv_encode_prompt(session, with, CONTEXT, NULL, 0, NULL, model, e, "a <toy>", 0));
  must(textinv_encode_prompt(session, without, CONTEXT, NULL, 0, NULL, model, NULL, "a toy", 0));
  assert_true(test_relative_error(TI_F32, with, without, CONTEXT) < 1e-6); /* it still is "toy" */
  must(textinv_embeddings_set(session, e, "<toy>", 0, 1, TINY_WIDTH, row));
  must(textinv_encode_prompt(session, with, CONTEXT, NULL, 0, NULL, model, e, "a <toy>", 0));
  assert_true(test_relative_error(TI_F32, with, without, CONTEXT) > 1e-2);
  must(textinv_encode_prompt(session, with, CONTEXT, NULL, 0, NULL, model, e, "a toy", 0));
  assert_memory_equal(with, without, sizeof(with));
  /* a word of another model's width is refused where it is used, not where it is not */
  must(textinv_embeddings_set(session, e, "<wide>", 0, 1, TINY_WIDTH + 1, row));
  must(textinv_encode_prompt(session, with, CONTEXT, NULL, 0, NULL, model, e, "a toy", 0));
  refused(textinv_encode_prompt(session, with, CONTEXT, NULL, 0, NULL, model, e, "a <wide>", 0),
          TEXTINV_E_SHAPE,
          "word \"<wide>\" has vectors of width 17 for text encoder 0; the model needs 16");
  textinv_embeddings_free(e);
}

static void files_bring_the_words_back(void **state)
{
  static const textinv_format formats[] = { TEXTINV_FORMAT_DIFFUSERS, TEXTINV_FORMAT_A1111,
                                            TEXTINV_FORMAT_KOHYA };
  textinv_embeddings *e = new_words(), *back;
  char path[512];
  textinv_kind kind;

  (void)state;
  must(textinv_embeddings_add(session, e, model, "<toy>", 2, NULL, 3));
  snprintf(path, sizeof(path), "%s", test_path("word"));
  for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++) {
    must(textinv_embeddings_save(session, e, path, formats[i], NULL));
    must(textinv_file_kind(&kind, session, path));
    assert_int_equal(kind, TEXTINV_KIND_EMBEDDING);
    back = new_words();
    must(textinv_embeddings_load(session, back, model, path, "<again>"));
    assert_int_equal(textinv_embeddings_count(back), 1);
    assert_int_equal(textinv_embeddings_vectors(back, "<again>"), 2);
    assert_memory_equal(textinv_embeddings_rows(back, "<again>", 0),
                        textinv_embeddings_rows(e, "<toy>", 0), 2 * TINY_WIDTH * sizeof(float));
    textinv_embeddings_free(back);
  }
  must(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_DIFFUSERS, NULL));
  back = new_words();
  must(textinv_embeddings_load(session, back, model, path, NULL));
  assert_string_equal(textinv_embeddings_word(back, 0), "<toy>");
  refused(textinv_embeddings_load(session, back, model, path, NULL), TEXTINV_E_CONFLICT,
          "added already");
  assert_int_equal(textinv_embeddings_count(back), 1);

  must(textinv_embeddings_add(session, e, model, "<red>", 1, NULL, 4));
  must(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_DIFFUSERS, NULL));
  refused(textinv_embeddings_load(session, back, model, path, "<one>"), TEXTINV_E_CONFLICT,
          "2 words");
  refused(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_KOHYA, NULL),
          TEXTINV_E_UNSUPPORTED, "one word");
  refused(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_DIFFUSERS, "<none>"),
          TEXTINV_E_NOT_FOUND, "<none>");
  refused(textinv_embeddings_save(session, e, "/nowhere/x", TEXTINV_FORMAT_DIFFUSERS, NULL),
          TEXTINV_E_NOT_FOUND, "/nowhere");
  textinv_embeddings_free(back);
  textinv_embeddings_free(e);
}

/* as many vectors as a prompt of 77 tokens has room for */
static void the_largest_words_are_held(void **state)
{
  enum { VECTORS = 75, COUNT = VECTORS * TINY_WIDTH };
  static const textinv_format formats[] = { TEXTINV_FORMAT_DIFFUSERS, TEXTINV_FORMAT_A1111,
                                            TEXTINV_FORMAT_KOHYA };
  const textinv_tokenizer *t = textinv_model_tokenizer(model, 0);
  textinv_embeddings *e = new_words(), *back = new_words();
  textinv_optimizer *o, *loaded;
  static float rows[COUNT + TINY_WIDTH];
  float context[TINY_TOKENS * TINY_WIDTH];
  uint32_t ids[VECTORS + 2];
  size_t count;
  char path[512];

  (void)state;
  for (int i = 0; i < COUNT; i++)
    rows[i] = (float)i / COUNT;
  refused(textinv_embeddings_set(session, e, "<x>", 0, 76, TINY_WIDTH, rows), TEXTINV_E_INVALID,
          "1 to 75 vectors");
  refused(textinv_embeddings_add(session, e, model, "<x>", 33, NULL, 0), TEXTINV_E_INVALID,
          "33 vectors; 0 to 32");
  must(textinv_embeddings_set(session, e, "<x>", 0, VECTORS, TINY_WIDTH, rows));
  must(textinv_tokenizer_encode(session, ids, VECTORS + 2, &count, t, e, "<x>"));
  assert_int_equal(count, VECTORS + 2);
  assert_int_equal(ids[VECTORS], textinv_tokenizer_size(t) + VECTORS - 1);
  /* the tiny model has 32 tokens: the word is left out of its prompts whole */
  must(textinv_encode_prompt(session, context, TINY_TOKENS * TINY_WIDTH, NULL, 0, &count, model, e,
                             "a <x>", 0));
  assert_int_equal(count, VECTORS);
  snprintf(path, sizeof(path), "%s", test_path("largest"));
  for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++) {
    must(textinv_embeddings_save(session, e, path, formats[i], NULL));
    must(textinv_embeddings_load(session, back, model, path, "<again>"));
    assert_int_equal(textinv_embeddings_vectors(back, "<again>"), VECTORS);
    assert_memory_equal(textinv_embeddings_rows(back, "<again>", 0), rows, COUNT * sizeof(float));
    must(textinv_embeddings_remove(session, back, "<again>"));
  }
  must(textinv_optimizer_new(&o, session, e, NULL));
  must(textinv_optimizer_step(session, o, e, rows, COUNT));
  must(textinv_optimizer_save(session, o, e, path));
  must(textinv_optimizer_load(&loaded, session, back, path));
  assert_memory_equal(textinv_embeddings_rows(back, "<x>", 0), textinv_embeddings_rows(e, "<x>", 0),
                      COUNT * sizeof(float));
  textinv_optimizer_free(o);
  textinv_optimizer_free(loaded);
  textinv_embeddings_free(e);
  textinv_embeddings_free(back);
}

static void a_checkpoint_is_a_file_of_words(void **state)
{
  const float wide[] = { 1.0f, 2.0f, 3.0f, 4.0f };
  textinv_embeddings *e = new_words(), *back = new_words();
  const char *path = test_path("checkpoint");
  textinv_optimizer *o;
  textinv_kind kind;

  (void)state;
  must(textinv_embeddings_add(session, e, model, "<toy>", 2, NULL, 3));
  must(textinv_embeddings_add(session, e, model, "m.0.red", 1, NULL, 4));
  must(textinv_embeddings_set(session, e, "m.0.red", 1, 1, 4, wide));
  must(textinv_optimizer_new(&o, session, e, NULL));
  must(textinv_optimizer_save(session, o, e, path));
  must(textinv_file_kind(&kind, session, path));
  assert_int_equal(kind, TEXTINV_KIND_CHECKPOINT);
  must(textinv_embeddings_load(session, back, NULL, path, NULL));
  assert_int_equal(textinv_embeddings_count(back), 2);
  assert_string_equal(textinv_embeddings_metadata(back, 0, NULL), "checkpoint");
  assert_memory_equal(textinv_embeddings_rows(back, "<toy>", 0),
                      textinv_embeddings_rows(e, "<toy>", 0), 2 * TINY_WIDTH * sizeof(float));
  assert_memory_equal(textinv_embeddings_rows(back, "m.0.red", 1), wide, sizeof(wide));
  assert_int_equal(textinv_embeddings_dim(back, "<toy>", 1), 0);
  refused(textinv_embeddings_load(session, back, model, path, "<one>"), TEXTINV_E_CONFLICT,
          "2 words");
  textinv_optimizer_free(o);
  textinv_embeddings_free(back);
  textinv_embeddings_free(e);
}

/* a set that has one encoder's vectors gets nothing from a file that brings both */
static void a_file_is_added_whole_or_not(void **state)
{
  const float rows[TINY_WIDTH] = { 1.0f };
  textinv_embeddings *e = new_words(), *half = new_words();
  const char *path = test_path("both.safetensors");

  (void)state;
  must(textinv_embeddings_set(session, e, "<w>", 0, 1, 4, rows));
  must(textinv_embeddings_set(session, e, "<w>", 1, 1, 6, rows));
  must(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_SDXL, NULL));
  must(textinv_embeddings_set(session, half, "<w>", 1, 1, 6, rows));
  refused(textinv_embeddings_load(session, half, NULL, path, NULL), TEXTINV_E_CONFLICT,
          "added already");
  assert_int_equal(textinv_embeddings_dim(half, "<w>", 0), 0);

  /* nor does one whose model has no second encoder */
  must(textinv_embeddings_set(session, e, "<v>", 0, 1, TINY_WIDTH, rows));
  must(textinv_embeddings_set(session, e, "<v>", 1, 1, 6, rows));
  must(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_SDXL, "<v>"));
  refused(textinv_embeddings_load(session, half, model, path, "<v>"), TEXTINV_E_SHAPE,
          "both.safetensors is for two text encoders; the model has one");
  assert_int_equal(textinv_embeddings_count(half), 1);
  textinv_embeddings_free(e);
  textinv_embeddings_free(half);
}

/* layout of a file that was just written */
static void wrote(const char *path, const char *layout, size_t words)
{
  textinv_embeddings *back = new_words();

  must(textinv_embeddings_load(session, back, NULL, path, NULL));
  assert_string_equal(textinv_embeddings_metadata(back, 0, NULL), layout);
  assert_int_equal(textinv_embeddings_count(back), words);
  textinv_embeddings_free(back);
}

/* the words decide, and what cannot be done says what can */
static void a_format_is_found_for_every_word(void **state)
{
  const float rows[TINY_WIDTH] = { 1.0f };
  textinv_session *const quiet = listen();
  textinv_embeddings *e = new_words();
  char path[512];

  (void)state;
  snprintf(path, sizeof(path), "%s", test_path("auto"));
  must(textinv_embeddings_set(session, e, "<one>", 0, 1, 4, rows));
  must(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_AUTO, NULL));
  wrote(path, "diffusers", 1);
  refused(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_SDXL, NULL),
          TEXTINV_E_UNSUPPORTED,
          "word \"<one>\" has vectors for one: TEXTINV_FORMAT_DIFFUSERS holds it");
  must(textinv_embeddings_set(session, e, "<two>", 0, 1, 4, rows));
  must(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_AUTO, "<two>"));
  assert_string_equal(heard.last, "");
  must(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_AUTO, NULL));
  wrote(path, "diffusers", 2);
  assert_non_null(
    strstr(heard.last, "auto holds 2 words: diffusers and AUTOMATIC1111 take files of one"));

  must(textinv_embeddings_set(session, e, "<two>", 1, 1, 6, rows));
  must(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_AUTO, "<two>"));
  wrote(path, "sdxl", 1);
  must(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_AUTO, "<one>"));
  wrote(path, "diffusers", 1);
  refused(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_DIFFUSERS, "<two>"),
          TEXTINV_E_UNSUPPORTED,
          "word \"<two>\" has vectors for two: TEXTINV_FORMAT_SDXL holds it, one word a file");
  for (int i = 0; i < 2; i++) { /* of one and of two encoders; of two encoders each */
    refused(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_AUTO, NULL),
            TEXTINV_E_UNSUPPORTED, "holds one word, not 2: name one, and write a file for each");
    must(textinv_embeddings_set(session, e, "<one>", 1, 1, 6, rows));
  }
  refused(textinv_embeddings_save(session, e, path, 5, NULL), TEXTINV_E_INVALID, "format 5");
  textinv_embeddings_free(e);
  hush(quiet);
}

static void names_become_words(void **state)
{
  textinv_session *const quiet = listen();
  textinv_embeddings *e = new_words();
  char longest[257];

  (void)state;
  must(textinv_embeddings_load(session, e, model, write_kohya("my style.safetensors", NULL), NULL));
  assert_string_equal(textinv_embeddings_word(e, 0), "my-style");
  assert_non_null(strstr(heard.last, "my style.safetensors: word \"my-style\" has '-'"));
  must(textinv_embeddings_load(session, e, model, write_kohya("x", "her own\\tstyle"), NULL));
  assert_string_equal(textinv_embeddings_word(e, 1), "her-own-style");
  refused(textinv_embeddings_load(session, e, model, write_kohya("x", "a\\u001bb"), NULL),
          TEXTINV_E_INVALID, "x: word \"a?b\" has white space or a control character at byte 1");
  refused(textinv_embeddings_load(session, e, model, write_kohya("x", "a\\u001bb"), NULL),
          TEXTINV_E_INVALID, "WORD=FILE");
  memset(longest, 'n', 256);
  longest[256] = '\0';
  must(textinv_embeddings_load(session, e, model, write_kohya("long-name", longest), NULL));
  assert_string_equal(textinv_embeddings_word(e, 2), "long-name");
  must(textinv_embeddings_load(
    session, e, model, write_kohya("a\xc2\xa0z\xe2\x80\xa8\xc3\xa9.safetensors", NULL), NULL));
  assert_string_equal(textinv_embeddings_word(e, 3), "a-z-\xc3\xa9");
  *heard.last = '\0';
  must(textinv_embeddings_load(session, e, model, write_kohya("x", "a\\u001bb c"), "<x>"));
  assert_string_equal(heard.last, "");
  textinv_embeddings_free(e);
  hush(quiet);
}

/* a name that a file has is refused where it is a word already, one that the caller gives is not */
static void ordinary_words_are_kept(void **state)
{
  textinv_session *const quiet = listen();
  textinv_embeddings *e = new_words();
  const char *path = write_kohya("photo.safetensors", NULL);

  (void)state;
  refused(textinv_embeddings_load(session, e, model, path, NULL), TEXTINV_E_CONFLICT,
          "photo.safetensors: word \"photo\" is in the vocabulary already");
  refused(textinv_embeddings_load(session, e, model, path, NULL), TEXTINV_E_CONFLICT, "WORD=FILE");
  refused(textinv_embeddings_load(session, e, model, write_kohya("x", "toy"), NULL),
          TEXTINV_E_CONFLICT, "x: word \"toy\" is in the vocabulary already");
  refused(textinv_embeddings_load(session, e, model, write_kohya("x", "Toy"), NULL),
          TEXTINV_E_CONFLICT, "x: word \"Toy\" is in the vocabulary already (\"toy\", id ");
  refused(textinv_embeddings_add(session, e, model, "TOY", 1, NULL, 0), TEXTINV_E_CONFLICT,
          "word \"TOY\" is in the vocabulary already (\"toy\", id ");
  refused(textinv_embeddings_add(session, e, model, "\xe2\x84\xaa", 1, NULL, 0), TEXTINV_E_CONFLICT,
          "(\"k\", id "); /* the Kelvin sign */
  assert_int_equal(textinv_embeddings_count(e), 0);
  assert_string_equal(heard.last, "");
  must(textinv_embeddings_load(session, e, model, path, "photo"));
  assert_non_null(
    strstr(heard.last, "word \"photo\" is in the vocabulary: in prompts it now stands for"));
  must(textinv_embeddings_load(session, e, model, path, "Photo"));
  assert_non_null(strstr(heard.last, "word \"Photo\" is in the vocabulary"));
  must(textinv_embeddings_load(session, e, NULL, write_kohya("x", "toy"), NULL));
  assert_string_equal(textinv_embeddings_word(e, 2), "toy");
  textinv_embeddings_free(e);
  hush(quiet);
}

/* a safetensors file of two words of one vector */
static size_t two_words(char *out, const char *one, const char *other)
{
  const int row = TINY_WIDTH * (int)sizeof(float);
  char text[512];
  const uint64_t len = (uint64_t)snprintf(
    text, sizeof(text),
    "{\"%s\":{\"dtype\":\"F32\",\"shape\":[1,%d],\"data_offsets\":[0,%d]},"
    "\"%s\":{\"dtype\":\"F32\",\"shape\":[1,%d],\"data_offsets\":[%d,%d]}}",
    one, TINY_WIDTH, row, other, TINY_WIDTH, row, 2 * row);

  memcpy(out, &len, sizeof(len));
  memcpy(out + sizeof(len), text, len);
  memset(out + sizeof(len) + len, 0, 2 * (size_t)row);
  return sizeof(len) + len + 2 * (size_t)row;
}

/* the words of one file that become the same, where one was held with its other encoder alone */
static void a_failed_load_adds_nothing(void **state)
{
  textinv_embeddings *e = new_words();
  const float row[6] = { 1.0f };
  char bytes[2048];
  size_t size = two_words(bytes, "a-b", "a b");

  (void)state;
  must(textinv_embeddings_set(session, e, "a-b", 1, 1, 6, row));
  refused(textinv_embeddings_load_memory(session, e, model, bytes, size, "x", NULL),
          TEXTINV_E_CONFLICT, "x: word \"a-b\" was added already");
  assert_int_equal(textinv_embeddings_count(e), 1);
  assert_int_equal(textinv_embeddings_dim(e, "a-b", 0), 0);
  size = two_words(bytes, "<x>", "photo");
  refused(textinv_embeddings_load_memory(session, e, model, bytes, size, "x", NULL),
          TEXTINV_E_CONFLICT, "load it without a model");
  assert_int_equal(textinv_embeddings_count(e), 1);
  must(textinv_embeddings_load_memory(session, e, NULL, bytes, size, "x", NULL));
  assert_int_equal(textinv_embeddings_count(e), 3);
  textinv_embeddings_free(e);
}

static void a_bare_tensor_is_named_by_the_caller(void **state)
{
  static const char path[] = "tests/fuzz/corpus/embedding/tensor.pt";
  textinv_embeddings *e = new_words();

  (void)state;
  refused(textinv_embeddings_load(session, e, NULL, path, NULL), TEXTINV_E_INVALID,
          "tensor.pt: is a bare tensor, which names no word: give it one, as WORD=FILE");
  must(textinv_embeddings_load(session, e, NULL, path, "<toy>"));
  assert_int_equal(textinv_embeddings_vectors(e, "<toy>"), 2);
  assert_int_equal(textinv_embeddings_dim(e, "<toy>", 0), 6);
  assert_string_equal(textinv_embeddings_metadata(e, 0, NULL), "tensor");
  textinv_embeddings_free(e);
}

static void what_is_left_out_is_told(void **state)
{
  textinv_session *const quiet = listen();
  textinv_embeddings *e = new_words();

  (void)state;
  must(textinv_embeddings_load(session, e, NULL,
                               "tests/fuzz/corpus/embedding/onetrainer.safetensors", NULL));
  assert_non_null(strstr(heard.last, "onetrainer.safetensors: left out"));
  assert_non_null(strstr(heard.last, "\"emp_params_out\""));
  textinv_embeddings_free(e);
  hush(quiet);
}

static void a_file_names_its_word(void **state)
{
  textinv_embeddings *e = new_words();
  const char *path = write_kohya("\xff.safetensors", NULL);

  (void)state;
  refused(textinv_embeddings_load(session, e, model, path, NULL), TEXTINV_E_INVALID,
          "\xff.safetensors: word");
  must(textinv_embeddings_load(session, e, model, path, "<named>"));
  assert_string_equal(textinv_embeddings_word(e, 0), "<named>");
  textinv_embeddings_free(e);
}

static void missing_files_and_folders_are_not_found(void **state)
{
  textinv_embeddings *e = new_words();
  textinv_optimizer *o, *loaded;
  textinv_images *images;

  (void)state;
  must(textinv_embeddings_add(session, e, model, "<toy>", 1, NULL, 3));
  must(textinv_optimizer_new(&o, session, e, NULL));
  must(textinv_images_new(&images, session, NULL, 1, 8, 8));
#define NOT_FOUND(call) refused(call, TEXTINV_E_NOT_FOUND, "/nowhere")
  NOT_FOUND(textinv_embeddings_load(session, e, model, "/nowhere/x", NULL));
  NOT_FOUND(textinv_embeddings_save(session, e, "/nowhere/x", TEXTINV_FORMAT_DIFFUSERS, NULL));
  NOT_FOUND(textinv_optimizer_load(&loaded, session, e, "/nowhere/x"));
  NOT_FOUND(textinv_optimizer_save(session, o, e, "/nowhere/x"));
  NOT_FOUND(textinv_images_save(session, images, 0, "/nowhere/x.png", NULL));
  textinv_images_free(images);
  NOT_FOUND(textinv_image_read(&images, session, "/nowhere/x.png"));
  textinv_optimizer_free(o);
  textinv_embeddings_free(e);
}

static void other_widths_say_whose_they_are(void **state)
{
  static float rows[768];
  textinv_embeddings *e = new_words();
  char path[512];

  (void)state;
  snprintf(path, sizeof(path), "%s", test_path("sd15"));
  must(textinv_embeddings_set(session, e, "<sd>", 0, 1, 768, rows));
  must(textinv_embeddings_save(session, e, path, TEXTINV_FORMAT_DIFFUSERS, NULL));
  refused(textinv_embeddings_load(session, e, model, path, "<other>"), TEXTINV_E_SHAPE,
          "vectors of width 768 (made for SD 1.x); the model needs 16");
  must(textinv_embeddings_load(session, e, NULL, path, "<other>"));
  textinv_embeddings_free(e);
}

static void words_are_copied(void **state)
{
  const float first[4] = { 1, 2, 3, 4 }, wide[6] = { 5, 6, 7, 8, 9, 10 }, other[2] = { -1, -2 };
  textinv_embeddings *e = new_words(), *copy = new_words();

  (void)state;
  must(textinv_embeddings_copy(session, copy, e, NULL, NULL)); /* of none */
  assert_int_equal(textinv_embeddings_count(copy), 0);
  must(textinv_embeddings_set(session, e, "<z>", 0, 2, 2, first));
  must(textinv_embeddings_set(session, e, "<z>", 1, 2, 3, wide));
  must(textinv_embeddings_set(session, e, "<a>", 0, 1, 2, other));
  must(textinv_embeddings_copy(session, copy, e, NULL, NULL));

  /* what happens to the one does not happen to the other */
  must(textinv_embeddings_set(session, e, "<a>", 0, 1, 2, first));
  must(textinv_embeddings_remove(session, e, "<z>"));
  assert_int_equal(textinv_embeddings_count(copy), 2);
  assert_string_equal(textinv_embeddings_word(copy, 0), "<z>");
  assert_string_equal(textinv_embeddings_word(copy, 1), "<a>");
  assert_int_equal(textinv_embeddings_vectors(copy, "<z>"), 2);
  assert_int_equal(textinv_embeddings_dim(copy, "<z>", 1), 3);
  assert_memory_equal(textinv_embeddings_rows(copy, "<z>", 0), first, sizeof(first));
  assert_memory_equal(textinv_embeddings_rows(copy, "<z>", 1), wide, sizeof(wide));
  assert_memory_equal(textinv_embeddings_rows(copy, "<a>", 0), other, sizeof(other));

  /* all or none; e still has its <a> */
  refused(textinv_embeddings_copy(session, e, copy, NULL, NULL), TEXTINV_E_CONFLICT,
          "word \"<a>\" was added already");
  assert_int_equal(textinv_embeddings_count(e), 1);
  must(textinv_embeddings_copy(session, e, copy, "<z>", NULL));
  must(textinv_embeddings_copy(session, e, copy, "<a>", "<b>"));
  assert_int_equal(textinv_embeddings_count(e), 3);
  assert_memory_equal(textinv_embeddings_rows(e, "<a>", 0), first, sizeof(other));
  assert_memory_equal(textinv_embeddings_rows(e, "<b>", 0), other, sizeof(other));

  /* another name in the same set */
  must(textinv_embeddings_copy(session, e, e, "<b>", "<c>"));
  must(textinv_embeddings_remove(session, e, "<b>"));
  assert_memory_equal(textinv_embeddings_rows(e, "<c>", 0), other, sizeof(other));
  refused(textinv_embeddings_copy(session, e, e, "<c>", NULL), TEXTINV_E_CONFLICT, "<c>");
  refused(textinv_embeddings_copy(session, e, e, "<b>", "<d>"), TEXTINV_E_NOT_FOUND,
          "there is no word \"<b>\"");
  refused(textinv_embeddings_copy(session, e, copy, NULL, "<d>"), TEXTINV_E_INVALID,
          "name is \"<d>\" without word");
  refused(textinv_embeddings_copy(session, e, copy, "<a>", "two words"), TEXTINV_E_INVALID,
          "white space");
  assert_int_equal(textinv_embeddings_count(e), 3);
  textinv_embeddings_free(e);
  textinv_embeddings_free(copy);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(initializers_give_rows),
    cmocka_unit_test(words_are_checked),
    cmocka_unit_test(a_phrase_that_is_cut_is_told),
    cmocka_unit_test(keys_of_files_are_no_words),
    cmocka_unit_test(a_file_may_be_named_like_a_key),
    cmocka_unit_test(words_are_counted),
    cmocka_unit_test(prompts_know_the_words),
    cmocka_unit_test(a_word_changes_its_prompts_alone),
    cmocka_unit_test(files_bring_the_words_back),
    cmocka_unit_test(the_largest_words_are_held),
    cmocka_unit_test(missing_files_and_folders_are_not_found),
    cmocka_unit_test(a_checkpoint_is_a_file_of_words),
    cmocka_unit_test(a_file_is_added_whole_or_not),
    cmocka_unit_test(a_format_is_found_for_every_word),
    cmocka_unit_test(a_file_names_its_word),
    cmocka_unit_test(names_become_words),
    cmocka_unit_test(ordinary_words_are_kept),
    cmocka_unit_test(a_failed_load_adds_nothing),
    cmocka_unit_test(a_bare_tensor_is_named_by_the_caller),
    cmocka_unit_test(what_is_left_out_is_told),
    cmocka_unit_test(other_widths_say_whose_they_are),
    cmocka_unit_test(words_are_copied),
  };

  return cmocka_run_group_tests_name("embeddings", tests, open_tiny, close_tiny);
}
