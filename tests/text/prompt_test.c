/* prompts with new words: matching, fitting into a number of positions, limits */
#include "prompt.h"

#include "alloc.h"
#include "clip_vocab.h"

enum { SIZE = 516, BOS = 514, EOS = 515 }; /* of the small vocabulary */

static ti_tokenizer *small;

/* the words of most tests; vectors are shown as word.0, word.1 */
static const ti_prompt_word words[] = {
  { "cat", SIZE, 1 },       { "<cat>", SIZE + 1, 1 }, { "<cat>_1", SIZE + 2, 2 },
  { "<Toy>", SIZE + 4, 3 }, { "S*", SIZE + 7, 2 },
};
enum { NUM_WORDS = sizeof(words) / sizeof(*words) };

static size_t show(char *out, size_t room, uint32_t id)
{
  for (size_t i = 0; i < NUM_WORDS; i++)
    if (id >= words[i].first_id && id < words[i].first_id + words[i].num_vectors)
      return (size_t)snprintf(out, room, "%s.%u", words[i].word, id - words[i].first_id);
  if (id == BOS || id == EOS)
    return (size_t)snprintf(out, room, "%s", id == BOS ? "[" : "]");
  return (size_t)snprintf(out, room, "%s", ti_tokenizer_token(small, id));
}

static const char *show_all(const uint32_t *ids, size_t count)
{
  static char out[4096];
  size_t n = 0;

  *out = 0;
  for (size_t i = 0; i < count; i++) {
    n += (size_t)snprintf(out + n, sizeof(out) - n, "%s", i ? " " : "");
    n += show(out + n, sizeof(out) - n, ids[i]);
  }
  return out;
}

static void matching(void **state)
{
  static const struct {
    const char *text, *ids;
  } cases[] = {
    { "", "[ ]" },
    { "a cat", "[ a</w> cat.0 ]" },
    { "a <cat>", "[ a</w> <cat>.0 ]" },
    { "a <cat>_1", "[ a</w> <cat>_1.0 <cat>_1.1 ]" },
    { "a <cat>_2", "[ a</w> <cat>.0 _</w> 2</w> ]" },
    { "<cat>, b", "[ <cat>.0 ,</w> b</w> ]" },
    { "b <Toy>", "[ b</w> <Toy>.0 <Toy>.1 <Toy>.2 ]" },
    { "<Toy><cat>cat", "[ <Toy>.0 <Toy>.1 <Toy>.2 <cat>.0 cat.0 ]" },
    { "<cat>  <cat>", "[ <cat>.0 <cat>.0 ]" },
    { "<cat", "[ <</w> cat.0 ]" },
    { "a S*,b", "[ a</w> S*.0 S*.1 ,</w> b</w> ]" },
    { "(S*)", "[ (</w> S*.0 S*.1 )</w> ]" },
    /* within letters, as transformers finds added tokens */
    { "concats", "[ c o n</w> cat.0 s</w> ]" },
    /* another case is found, too */
    { "<TOY> CAT s*", "[ <Toy>.0 <Toy>.1 <Toy>.2 cat.0 S*.0 S*.1 ]" },
    /* white space in any form, and characters that do not compose with what is before a word */
    { "\xc2\xa0<cat>\n\xe3\x80\x80", "[ <cat>.0 ]" },
    { "<|endoftext|><cat>", "[ ] <cat>.0 ]" },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    ti_error error;
    uint32_t *ids;
    size_t count;

    assert_int_equal(
      ti_prompt_encode(small, &error, words, NUM_WORDS, cases[i].text, &ids, NULL, &count), 0);
    assert_string_equal(show_all(ids, count), cases[i].ids);
    ti_free(ids);
  }
}

/* words that differ in case alone: each as it is written, and the first for any other case */
static void exact_case_goes_first(void **state)
{
  static const ti_prompt_word both[] = { { "<Toy>", 1000, 1 }, { "<toy>", 1001, 1 } };
  static const uint32_t expected[] = { BOS, 1001, 1000, 1000, EOS };
  ti_error error;
  uint32_t *ids;
  size_t count;

  (void)state;
  assert_int_equal(
    ti_prompt_encode(small, &error, both, 2, "<toy> <Toy> <TOY>", &ids, NULL, &count), 0);
  assert_int_equal(count, 5);
  assert_memory_equal(ids, expected, sizeof(expected));
  ti_free(ids);
}

/* and none of them takes a piece of a longer word */
static void longest_word_goes_first(void **state)
{
  static const ti_prompt_word alike[] = {
    { "toy", 1000, 1 },        { "Toy", 1001, 1 },     { "<toy>", 1002, 1 },
    { "<Toy>", 1003, 1 },      { "<Toy>_1", 1004, 1 }, { "\xc4\xb0x", 1005, 1 },
    { "i\xcc\x87X", 1006, 1 },
  };
  static const uint32_t expected[] = { BOS,  1002, 1001, 1000, 1000, 1004,
                                       1003, 1002, 1005, 1006, 1005, EOS };
  ti_error error;
  uint32_t *ids;
  size_t count;

  (void)state;
  assert_int_equal(ti_prompt_encode(small, &error, alike, 7,
                                    "<toy> Toy toy TOY <toy>_1 <Toy> <TOY> \xc4\xb0x i\xcc\x87X "
                                    "i\xcc\x87x",
                                    &ids, NULL, &count),
                   0);
  assert_int_equal(count, sizeof(expected) / sizeof(*expected));
  assert_memory_equal(ids, expected, sizeof(expected));
  ti_free(ids);
}

static void words_beyond_ascii(void **state)
{
  /* composed in the word, a letter with a mark in the prompt; a word of invalid bytes */
  static const ti_prompt_word odd[] = { { "<\xc3\x89t\xc3\xa9>", 1000, 1 },
                                        { "<\xff>", 1001, 1 },
                                        { "", 1002, 1 } };
  ti_error error;
  uint32_t *ids;
  size_t count;

  (void)state;
  assert_int_equal(
    ti_prompt_encode(small, &error, odd, 3, "<E\xcc\x81te\xcc\x81>b", &ids, NULL, &count), 0);
  assert_int_equal(count, 4);
  assert_int_equal(ids[1], 1000);
  ti_free(ids);
  assert_int_equal(ti_prompt_encode(small, &error, odd, 3, "<\xfe>", &ids, NULL, &count), 0);
  assert_int_equal(count, 3);
  assert_int_equal(ids[1], 1001);
  ti_free(ids);
}

static void fitting(void **state)
{
  static const struct {
    const char *text;
    int length;
    const char *ids;
    size_t truncated;
    int eos;
  } cases[] = {
    { "", 4, "[ ] ] ]", 0, 1 },
    { "a b", 6, "[ a</w> b</w> ] ] ]", 0, 3 },
    { "a b", 4, "[ a</w> b</w> ]", 0, 3 },
    { "a b", 3, "[ a</w> ]", 1, 2 },
    { "a b", 2, "[ ]", 2, 1 },
    { "a <Toy>", 6, "[ a</w> <Toy>.0 <Toy>.1 <Toy>.2 ]", 0, 5 },
    /* a word that does not fit is left out whole, and so is what follows it */
    { "a <Toy> b", 5, "[ a</w> ] ] ]", 4, 2 },
    { "a <Toy> b", 4, "[ a</w> ] ]", 4, 2 },
    { "a <Toy> b", 6, "[ a</w> <Toy>.0 <Toy>.1 <Toy>.2 ]", 1, 5 },
    { "<Toy><Toy>", 5, "[ <Toy>.0 <Toy>.1 <Toy>.2 ]", 3, 4 },
    { "<Toy><Toy>", 7, "[ <Toy>.0 <Toy>.1 <Toy>.2 ] ] ]", 3, 4 },
    { "<Toy>", 4, "[ ] ] ]", 3, 1 },
    { "S*S*", 5, "[ S*.0 S*.1 ] ]", 2, 3 },
    /* the first end token counts, also one in the text */
    { "a <|endoftext|> b", 6, "[ a</w> ] b</w> ] ]", 0, 2 },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    int32_t ids[8] = { -1, -1, -1, -1, -1, -1, -1, -1 }, eos;
    uint32_t copy[8];
    size_t truncated;
    ti_error error;

    assert_int_equal(ti_prompt_fit(small, &error, words, NUM_WORDS, cases[i].text, cases[i].length,
                                   ids, NULL, &truncated, &eos),
                     0);
    for (int k = 0; k < cases[i].length; k++)
      copy[k] = (uint32_t)ids[k];
    assert_string_equal(show_all(copy, (size_t)cases[i].length), cases[i].ids);
    assert_int_equal(truncated, cases[i].truncated);
    assert_int_equal(eos, cases[i].eos);
    assert_int_equal(ids[cases[i].length], -1);
  }
}

/* SD 2.x pads with "!", which is then found whole in the text as well */
static void other_padding(void **state)
{
  /* without merges the special tokens are 512 and 513 */
  static const int32_t expected[] = { 512, 64 + 256, 0, 513, 0, 0 };
  const char *folder = new_folder("padding");
  ti_tokenizer *bpe;
  ti_error error;
  int32_t ids[6], eos;
  size_t truncated;

  (void)state;
  write_vocab(folder, "");
  write_file(folder, "special_tokens_map.json", "{\"pad_token\":\"!\"}");
  assert_int_equal(ti_tokenizer_open(&bpe, &error, folder, NULL), 0);
  assert_int_equal(ti_prompt_fit(bpe, &error, NULL, 0, "a!", 6, ids, NULL, &truncated, &eos), 0);
  assert_memory_equal(ids, expected, sizeof(expected));
  assert_int_equal(eos, 3);
  ti_tokenizer_free(bpe);
}

/* tokens that are found in normalised text stay beside new words, which go first */
static void words_beside_added_tokens(void **state)
{
  static const ti_prompt_word both[] = { { "<toy>", 1000, 2 }, { "<x>", 1002, 1 } };
  static const uint32_t expected[] = { BOS, 1000, 1001, 517, 1002, EOS };
  const char *folder = new_folder("added");
  ti_tokenizer *bpe;
  ti_error error;
  uint32_t *ids;
  size_t count;

  (void)state;
  write_vocab(folder, "c a\nca t</w>\n");
  write_file(folder, "added_tokens.json", "{\"<x>\":516,\"<cow>\":517}");
  assert_int_equal(ti_tokenizer_open(&bpe, &error, folder, NULL), 0);
  assert_int_equal(ti_prompt_encode(bpe, &error, both, 2, "<toy><cow><x>", &ids, NULL, &count), 0);
  assert_int_equal(count, sizeof(expected) / sizeof(*expected));
  assert_memory_equal(ids, expected, sizeof(expected));
  ti_free(ids);
  ti_tokenizer_free(bpe);
}

static void limits(void **state)
{
  char *text = malloc(TI_PROMPT_MAX_BYTES + 2);
  ti_error error = { "" };
  uint32_t *ids;
  size_t count, truncated;
  int32_t fitted[77], eos;

  (void)state;
  memset(text, 'a', TI_PROMPT_MAX_BYTES + 1);
  text[TI_PROMPT_MAX_BYTES + 1] = 0;
  assert_int_equal(ti_prompt_encode(small, &error, words, NUM_WORDS, text, &ids, NULL, &count),
                   TEXTINV_E_LIMIT);
  assert_null(ids);
  assert_non_null(strstr(error.text, "1048576"));
  assert_int_equal(
    ti_prompt_fit(small, &error, words, NUM_WORDS, text, 77, fitted, NULL, &truncated, &eos),
    TEXTINV_E_LIMIT);
  text[TI_PROMPT_MAX_BYTES] = 0;
  assert_int_equal(ti_prompt_encode(small, &error, words, NUM_WORDS, text, &ids, NULL, &count), 0);
  assert_int_equal(count, TI_PROMPT_MAX_BYTES + 2);
  ti_free(ids);
  assert_int_equal(
    ti_prompt_fit(small, &error, words, NUM_WORDS, text, 77, fitted, NULL, &truncated, &eos), 0);
  assert_int_equal(truncated, TI_PROMPT_MAX_BYTES - 75);
  assert_int_equal(
    ti_prompt_fit(small, &error, words, NUM_WORDS, "a", 1, fitted, NULL, &truncated, &eos),
    TEXTINV_E_INVALID);

  /* invalid bytes are read as U+FFFD, which the small vocabulary spells in three tokens */
  assert_int_equal(
    ti_prompt_encode(small, &error, words, NUM_WORDS, "\xff<cat>\xc3", &ids, NULL, &count), 0);
  assert_int_equal(count, 2 + 3 + 1 + 3);
  assert_int_equal(ids[4], words[1].first_id);
  ti_free(ids);
  free(text);
}

/* many words that begin alike, and prompts of nothing but beginnings of words */
static void many_words(void **state)
{
  enum { MANY = 2000, LENGTH = 1 << 18 };
  ti_prompt_word *many = calloc(MANY, sizeof(*many));
  char *text = malloc(LENGTH + 1);
  ti_error error;
  uint32_t *ids;
  size_t count;

  (void)state;
  for (uint32_t i = 0; i < MANY; i++) {
    char *word = malloc(16);

    snprintf(word, 16, "<<<<word%u>", i);
    many[i] = (ti_prompt_word){ word, SIZE + i, 1 };
  }
  memset(text, '<', LENGTH);
  text[LENGTH] = 0;
  assert_int_equal(ti_prompt_encode(small, &error, many, MANY, text, &ids, NULL, &count), 0);
  assert_int_equal(count, LENGTH + 2);
  ti_free(ids);
  assert_int_equal(
    ti_prompt_encode(small, &error, many, MANY, "<<<<word1><<<<<word1999>", &ids, NULL, &count), 0);
  assert_int_equal(count, 5);
  assert_int_equal(ids[1], SIZE + 1);
  assert_int_equal(ids[3], SIZE + 1999);
  ti_free(ids);
  for (int i = 0; i < MANY; i++)
    free((char *)many[i].word);
  free(many);
  free(text);
}

static int open_small(void **state)
{
  const char *folder = new_folder("small");
  ti_error error = { "" };

  (void)state;
  write_vocab(folder, "#version: 0.2\nc a\nca t</w>\n");
  if (ti_tokenizer_open(&small, &error, folder, NULL) < 0) {
    print_error("%s\n", error.text);
    return -1;
  }
  return 0;
}

static int close_small(void **state)
{
  (void)state;
  ti_tokenizer_free(small);
  return 0;
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(matching),
    cmocka_unit_test(exact_case_goes_first),
    cmocka_unit_test(longest_word_goes_first),
    cmocka_unit_test(words_beyond_ascii),
    cmocka_unit_test(fitting),
    cmocka_unit_test(other_padding),
    cmocka_unit_test(words_beside_added_tokens),
    cmocka_unit_test(limits),
    cmocka_unit_test(many_words),
  };

  return cmocka_run_group_tests(tests, open_small, close_small);
}
