/* BERT's tokenizer against transformers (tests/golden/wordpiece.py), its files, hostile ones */
#include <stdlib.h>
#include <sys/stat.h>

#include "prompt.h"
#include "tokenizer_testing.h"

#define SPECIAL "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"

static const char *const names[] = { "vocab.txt", "tokenizer_config.json", "tokenizer.json" };
enum { NUM_NAMES = 3 };

/* a folder with these files, NULL = none */
static const char *folder_of(const char *const texts[NUM_NAMES], size_t vocab_size)
{
  const char *folder = test_path("wordpiece");
  char path[600];

  mkdir(folder, 0777);
  for (int i = 0; i < NUM_NAMES; i++) {
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
    remove(path);
    if (!texts[i])
      continue;
    f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(texts[i], 1, i || !vocab_size ? strlen(texts[i]) : vocab_size, f);
    assert_int_equal(fclose(f), 0);
  }
  return folder;
}

static ti_tokenizer *open_vocab(const char *vocab, const char *config)
{
  return open_folder(folder_of((const char *const[]){ vocab, config, NULL }, 0));
}

static void equal_to_transformers(void **state)
{
  ti_tokenizer *t = open_folder("tests/golden/wordpiece");

  (void)state;
  assert_int_equal(ti_tokenizer_kind_of(t), TI_TOKENIZER_BERT);
  assert_int_equal(ti_tokenizer_begin(t), 11);
  assert_int_equal(ti_tokenizer_end(t), 12);
  assert_int_equal(ti_tokenizer_pad(t), 0);
  assert_int_equal(compare_prompts(t, "tests/golden/wordpiece/prompts.bin"), 503);
  ti_tokenizer_free(t);
}

static void options(void **state)
{
  static const char vocab[] = SPECIAL
    "a\nA\ne\n\xc3\xa9\n##a\n\xe7\x8c\xab\n##\xe7\x8c\xab\n[cat]\n"
    "\xf0\x91\xa4\xb8\n\xe1\x99\xad\n\xf0\x91\x87\x89\n";
  static const struct {
    const char *config, *text, *tokens;
  } cases[] = {
    { NULL, "aA E\xc3\x89,a\xe7\x8c\xab", "a ##a [UNK] [UNK] a \xe7\x8c\xab" },
    { NULL,
      "\xc3\x89 e\xcc\x81 a\xc2\xad"
      "a\ta\x01",
      "e e a ##a a" },
    { NULL, "a[SEP]a [sep] [cat]", "a [SEP] a [UNK] [UNK] [UNK] [UNK] [UNK] [UNK]" },
    /* U+11938 is one character, U+1734 an accent, U+166D and U+111C9 punctuation */
    { NULL, "\xf0\x91\xa4\xb8 a\xe1\x9c\xb4\x61", "\xf0\x91\xa4\xb8 a ##a" },
    { NULL, "a\xe1\x99\xad\x61\xf0\x91\x87\x89", "a \xe1\x99\xad a \xf0\x91\x87\x89" },
    { "{\"do_lower_case\":false}", "a A \xc3\xa9 Aa", "a A \xc3\xa9 A ##a" },
    { "{\"do_lower_case\":false,\"strip_accents\":true}", "A \xc3\xa9", "A e" },
    { "{\"strip_accents\":false}", "A \xc3\x89", "a \xc3\xa9" },
    { "{\"strip_accents\":null}", "A \xc3\x89", "a e" },
    { "{\"tokenize_chinese_chars\":false}", "a\xe7\x8c\xab", "a ##\xe7\x8c\xab" },
    { "{\"added_tokens_decoder\":{\"16\":{\"content\":\"toy\"}}}", "toy atoya Toy toya",
      "toy a toy a [UNK] toy a" },
    { "{\"mask_token\":\"[cat]\"}", "a[cat]a", "a [cat] a" },
    { "{\"additional_special_tokens\":[\"[cat]\"]}", "a[cat]a", "a [cat] a" },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    ti_tokenizer *t = open_vocab(vocab, cases[i].config);

    if (strcmp(tokens(t, cases[i].text), cases[i].tokens))
      fail_msg("case %zu: %s, expected %s", i, tokens(t, cases[i].text), cases[i].tokens);
    ti_tokenizer_free(t);
  }
}

/* white space at the end of lines, a token that comes twice, an empty one, no line end */
static void odd_vocabularies(void **state)
{
  ti_tokenizer *t = open_vocab(SPECIAL "a \r\nb\t\n\nc\xc2\xa0\na\n##\nd", NULL);
  uint32_t id;

  (void)state;
  assert_int_equal(ti_tokenizer_size(t), 12);
  assert_null(ti_tokenizer_token(t, 5));
  assert_string_equal(ti_tokenizer_token(t, 7), "");
  assert_int_equal(ti_tokenizer_find(t, "a", &id), 1);
  assert_int_equal(id, 9);
  assert_string_equal(tokens(t, "a b c d dd"), "a b c d [UNK]");
  ti_tokenizer_free(t);
}

/* words of several vectors, in any case, cut and padded as LDMTextToImagePipeline asks for */
static void new_words(void **state)
{
  static const ti_prompt_word words[] = { { "<Toy>", 100, 2 },
                                          { "<toy>", 102, 1 },
                                          { "S*", 103, 1 } };
  static const struct {
    const char *text;
    int32_t ids[8];
    size_t truncated;
  } cases[] = {
    { "", { 2, 3, 0, 0, 0, 0, 0, 0 }, 0 },
    { "a <Toy>a", { 2, 5, 100, 101, 5, 3, 0, 0 }, 0 },
    { "<toy> <TOY> s*", { 2, 102, 100, 101, 103, 3, 0, 0 }, 0 },
    { "a a a a a <Toy>", { 2, 5, 5, 5, 5, 5, 3, 0 }, 2 },
    { "a a a a a a a", { 2, 5, 5, 5, 5, 5, 5, 3 }, 1 },
  };
  ti_tokenizer *t = open_vocab(SPECIAL "a\n##a\n", NULL);

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    ti_error error = { "" };
    int32_t ids[8], eos;
    size_t truncated;

    assert_int_equal(
      ti_prompt_fit(t, &error, words, 3, cases[i].text, 8, ids, NULL, &truncated, &eos), 0);
    for (int k = 0; k < 8; k++)
      if (ids[k] != cases[i].ids[k])
        fail_msg("case %zu: id %d is %d, expected %d", i, k, ids[k], cases[i].ids[k]);
    assert_int_equal(truncated, cases[i].truncated);
  }
  ti_tokenizer_free(t);
}

/* texts without an end of a word take little more than their length */
static void long_texts(void **state)
{
  static const char *const units[] = {
    "a", "ab", "\xcc\x80\xcc\xa0", "\xe7\x8c\xab", "<", "aaaa "
  };
  ti_tokenizer *t = open_vocab(SPECIAL "a\n##a\n##aaa\n", NULL);

  (void)state;
  for (size_t k = 0; k < sizeof(units) / sizeof(*units); k++)
    encode_long(t, units[k]);
  ti_tokenizer_free(t);
}

static void refuses_files(void **state)
{
#define TOKENS "\"[PAD]\":0,\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":3,\"[MASK]\":4"
  static const struct {
    const char *vocab, *config, *modern;
    size_t size; /* of vocab, where it has a zero byte */
    textinv_status status;
    const char *part;
  } cases[] = {
    { NULL, NULL, NULL, 0, TEXTINV_E_NOT_FOUND, "nor vocab.txt" },
    { "", NULL, NULL, 0, TEXTINV_E_FORMAT, "vocab.txt: the vocabulary is empty" },
    { SPECIAL "\xff\n", NULL, NULL, 0, TEXTINV_E_FORMAT, "vocab.txt: is no UTF-8 text" },
    { SPECIAL "a\0b\n", NULL, NULL, sizeof(SPECIAL) + 3, TEXTINV_E_FORMAT,
      "vocab.txt: is no UTF-8 text" },
    { "[PAD]\n[UNK]\n[CLS]\n[MASK]\n", NULL, NULL, 0, TEXTINV_E_FORMAT, "\"sep_token\"" },
    { SPECIAL, "{\"tokenizer_class\":\"CLIPTokenizer\"}", NULL, 0, TEXTINV_E_UNSUPPORTED,
      "expected BertTokenizer" },
    { SPECIAL, "{\"do_lower_case\":1}", NULL, 0, TEXTINV_E_FORMAT, "do_lower_case" },
    { SPECIAL, "{\"strip_accents\":\"no\"}", NULL, 0, TEXTINV_E_FORMAT, "strip_accents" },
    { SPECIAL, "{\"tokenize_chinese_chars\":1}", NULL, 0, TEXTINV_E_FORMAT, "chinese" },
    { NULL, NULL, "{\"model\":{\"type\":\"WordPiece\"}}", 0, TEXTINV_E_FORMAT, "\"vocab\"" },
    { NULL, NULL, "{\"model\":{\"type\":\"WordPiece\",\"vocab\":{" TOKENS ",\"a\":2000000}}}", 0,
      TEXTINV_E_LIMIT, "2000000" },
    { NULL, "{\"added_tokens_decoder\":{\"3\":{\"content\":\"<x>\"}}}",
      "{\"model\":{\"type\":\"WordPiece\",\"vocab\":{" TOKENS "}}}", 0, TEXTINV_E_FORMAT,
      "contradicts" },
    { SPECIAL, "{\"added_tokens_decoder\":{\"5\":{\"content\":\"\xcc\x81\",\"normalized\":true}}}",
      NULL, 0, TEXTINV_E_UNSUPPORTED, "added token 5 " },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    const char *folder = folder_of(
      (const char *const[]){ cases[i].vocab, cases[i].config, cases[i].modern }, cases[i].size);
    ti_error error = { "" };
    ti_tokenizer *t;
    const textinv_status status = ti_tokenizer_open(&t, &error, folder, NULL);

    if (status != cases[i].status || !strstr(error.text, cases[i].part) ||
        strncmp(error.text, folder, strlen(folder)) != 0)
      fail_msg("case %zu: %d, %s", i, status, error.text);
    assert_null(t);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(equal_to_transformers),
    cmocka_unit_test(options),
    cmocka_unit_test(odd_vocabularies),
    cmocka_unit_test(new_words),
    cmocka_unit_test(long_texts),
    cmocka_unit_test(refuses_files),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
