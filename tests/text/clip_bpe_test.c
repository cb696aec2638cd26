/* the tokenizer against transformers (tests/golden/make_prompts.py), its files in all layouts,
 * hostile ones */
#include "text_tokenizer.h"

#include "alloc.h"
#include "unicode.h"
#include "clip_vocab.h"
#include "tokenizer_testing.h"

static ti_tokenizer *clip;

static void equal_to_transformers(void **state)
{
  (void)state;
  assert_int_equal(compare_prompts(clip, "tests/golden/prompts.bin"), 2000);
}

static void properties(void **state)
{
  uint32_t id;

  (void)state;
  assert_int_equal(ti_tokenizer_size(clip), 49408);
  assert_int_equal(ti_tokenizer_begin(clip), 49406);
  assert_int_equal(ti_tokenizer_end(clip), 49407);
  assert_int_equal(ti_tokenizer_pad(clip), 49407);
  assert_int_equal(ti_tokenizer_max_length(clip), 77);
  assert_string_equal(ti_tokenizer_token(clip, 320), "a</w>");
  assert_null(ti_tokenizer_token(clip, 49408));
  assert_int_equal(ti_tokenizer_find(clip, "cat</w>", &id), 1);
  assert_int_equal(id, 2368);
  assert_int_equal(ti_tokenizer_find(clip, "<|endoftext|>", &id), 1);
  assert_int_equal(id, 49407);
  assert_int_equal(ti_tokenizer_find(clip, "catcatcat</w>", &id), 0);
  assert_int_equal(ti_tokenizer_find(clip, "", &id), 0);
}

static void normal_forms(void **state)
{
  static const struct {
    const char *text, *tokens;
  } cases[] = {
    { "", "" },
    { " \t\n\xc2\x85\xe3\x80\x80", "" },
    { "A  Cat,isn't it", "a</w> cat</w> ,</w> isn</w> 't</w> it</w>" },
    { "CAF\xc3\x89 cafe\xcc\x81", "caf\xc3\x83\xc2\xa9</w> caf\xc3\x83\xc2\xa9</w>" },
    { "2024", "2</w> 0</w> 2</w> 4</w>" },
    { "a<|endoftext|>b", "a</w> <|endoftext|> b</w>" },
    { "a<|ENDOFTEXT|>!", "a</w> < |</w> endof text</w> | ></w> !</w>" },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
    assert_string_equal(tokens(clip, cases[i].text), cases[i].tokens);
}

/* Unicode's practice: each maximal part of a sequence that cannot be completed is one U+FFFD */
static void invalid_utf8(void **state)
{
  static const struct {
    const char *text, *repaired;
  } cases[] = {
#define R "\xef\xbf\xbd"
    { "a\x80z", "a" R "z" },
    { "\xc0\xaf", R R },
    { "\xe0\x80\xaf", R R R },
    { "\xed\xa0\x80", R R R },
    { "\xf0\x8f\xbf\xbf", R R R R },
    { "\xf4\x90\x80\x80", R R R R },
    { "\xf0\x9f\x98", R },
    { "\xf0\x9f\x98x", R "x" },
    { "\xe2\x82\xe2\x82\xac", R "\xe2\x82\xac" },
    { "\xff\xfe", R R },
    { "\xc3", R },
#undef R
#define EDGES "\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"
    { EDGES, EDGES },
#undef EDGES
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    ti_error error;
    char *out;
    size_t len;

    assert_int_equal(ti_text_repair(&out, &len, &error, cases[i].text, strlen(cases[i].text)), 0);
    assert_int_equal(len, strlen(cases[i].repaired));
    assert_memory_equal(out, cases[i].repaired, len);
    ti_free(out);
  }
  assert_string_equal(tokens(clip, "a\x80 cat"), tokens(clip, "a\xef\xbf\xbd cat"));
}

/* by class, those of one class as they stood */
static void runs_of_marks_are_ordered(void **state)
{
  enum { MARKS = 20 };
  static const int32_t written[4] = { 0x301, 0x334, 0x300,
                                      0x316 }; /* of classes 230, 1, 230, 220 */
  char text[8 * MARKS] = "";
  ti_error error;
  int32_t *c;
  size_t n = 0, count;

  (void)state;
  for (int i = 0; i < 2 * MARKS; i++)
    n += ti_utf8_put(text + n, (unsigned)written[i % 4]);
  assert_int_equal(ti_text_decompose(&c, &count, &error, text, n), 0);
  assert_int_equal(count, 2 * MARKS);
  for (int i = 0; i < MARKS; i++) {
    assert_int_equal(c[i], i < MARKS / 2 ? 0x334 : 0x316);
    assert_int_equal(c[MARKS + i], i % 2 ? 0x300 : 0x301);
  }
  ti_free(c);
}

/* long words and long runs of marks take little more than their length */
static void long_words(void **state)
{
  static const char *const units[] = { "a", "ab", "\xcc\x80\xcc\xa0", "\xf0\x9f\x98\x80", "<",
                                       "'", "in" };

  (void)state;
  for (size_t k = 0; k < sizeof(units) / sizeof(*units); k++)
    assert_true(encode_long(clip, units[k]) > 0);
}

static void text_limit(void **state)
{
  const size_t size = (size_t)TI_TEXT_MAX_BYTES + 1;
  char *text = malloc(size);
  ti_error error = { "" };
  uint32_t *ids;
  size_t count;

  (void)state;
  memset(text, 'a', size);
  assert_int_equal(ti_tokenizer_encode(clip, &error, text, size, &ids, &count), TEXTINV_E_LIMIT);
  assert_null(ids);
  assert_non_null(strstr(error.text, "16777217"));
  free(text);
}

/* ------ layouts of files: one small vocabulary, written in every way */

#define MERGES "#version: 0.2\nc a\nca t</w>\n"
#define BEGIN "{\"content\":\"<|startoftext|>\",\"normalized\":true,\"lstrip\":false}"
#define END "{\"content\":\"<|endoftext|>\",\"normalized\":true}"

static json_t *vocab_of(const char *folder)
{
  char path[600];
  json_t *vocab;

  snprintf(path, sizeof(path), "%s/vocab.json", folder);
  vocab = json_load_file(path, 0, NULL);
  assert_non_null(vocab);
  return vocab;
}

/* tokenizer.json of the small vocabulary; merges and added are JSON text */
static void write_modern(const char *folder, const char *merges, const char *added)
{
  char *vocab, *text;
  json_t *json;

  write_vocab(folder, MERGES);
  json = vocab_of(folder);
  vocab = json_dumps(json, 0);
  json_decref(json);
  text = malloc(strlen(vocab) + strlen(merges) + strlen(added) + 200);
  sprintf(
    text,
    "{\"model\":{\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\",\"vocab\":%s,\"merges\":%s},"
    "\"added_tokens\":%s}",
    vocab, merges, added);
  write_file(folder, "tokenizer.json", text);
  write_file(folder, "vocab.json", NULL);
  write_file(folder, "merges.txt", NULL);
  free(vocab);
  free(text);
}

static void layouts(void **state)
{
  static const char *const names[] = { "tokenizer.json", "tokenizer_config.json",
                                       "special_tokens_map.json", "added_tokens.json" };
  static const struct {
    const char *merges_json, *added, *config, *map, *added_json;
    uint32_t size, pad;
    int max_length;
    const char *text, *tokens;
  } cases[] = {
    /* vocab.json and merges.txt alone, then with a config and a map */
    { NULL, NULL, NULL, NULL, NULL, 516, 515, 77, "Cat! CAT", "cat</w> !</w> cat</w>" },
    { NULL, NULL, "{\"model_max_length\": 77}", "{\"pad_token\":\"!\"}", NULL, 516, 0, 77, "cat!",
      "cat</w> !" },
    { NULL, NULL, "{\"model_max_length\":1000000000000000019884624838656,\"pad_token\":\"!\"}",
      NULL, NULL, 516, 0, 77, "cat!", "cat</w> !" },
    { NULL, NULL, "{\"model_max_length\": 64,\"pad_token\":null}", "{}", NULL, 516, 515, 64, "c",
      "c</w>" },
    /* normalized special tokens are found in the lowered text, others are not */
    { NULL, NULL, NULL, "{\"bos_token\":" BEGIN ",\"eos_token\":" END ",\"unk_token\":" END "}",
      NULL, 516, 515, 77, "c<|STARTOFTEXT|>c", "c</w> <|startoftext|> c</w>" },
    { NULL, NULL, NULL,
      "{\"bos_token\":\"<|endoftext|>\",\"eos_token\":" END ",\"unk_token\":" END
      ",\"pad_token\":" END "}",
      NULL, 516, 515, 77, "<|ENDOFTEXT|>c", "<|endoftext|> c</w>" },
    { NULL, NULL, "{\"added_tokens_decoder\":{\"515\":" END "}}",
      "{\"eos_token\":\"<|endoftext|>\"}", NULL, 516, 515, 77, "<|ENDOFTEXT|>c",
      "<|endoftext|> c</w>" },
    { NULL, NULL, NULL, "{\"eos_token\":" END ",\"pad_token\":\"<|endoftext|>\"}", NULL, 516, 515,
      77, "<|ENDOFTEXT|>", "< |</w> e n d o f t e x t</w> | ></w>" },
    /* further tokens */
    { NULL, NULL, NULL, NULL, "{\"<Dog>\":516,\"<cow>\":517}", 518, 515, 77, "a<dog><COW>",
      "a</w> <Dog> <cow>" },
    { NULL, NULL,
      "{\"added_tokens_decoder\":{\"516\":{\"content\":\"<Dog>\",\"normalized\":false}}}",
      "{\"pad_token\":\"!\"}", NULL, 517, 515, 77, "<Dog>!", "<Dog> !</w>" },
    /* lists of special tokens: in the config, in the map, ids of their own or of the vocabulary */
    { NULL, NULL, "{\"additional_special_tokens\":[\"<Dog>\",{\"content\":\"!\"}]}", NULL,
      "{\"<Dog>\":516}", 517, 515, 77, "<Dog><dog>c!", "<Dog> <</w> d o g</w> ></w> c</w> !" },
    { NULL, NULL, "{\"additional_special_tokens\":[\"<none>\"],\"extra_special_tokens\":[\"!\"]}",
      "{\"extra_special_tokens\":[\"<Dog>\"]}", "{\"<Dog>\":516}", 517, 515, 77, "<Dog><dog>c!",
      "<Dog> <</w> d o g</w> ></w> c</w> !" },
    /* <none> has no id: it is text */
    { NULL, NULL, "{\"additional_special_tokens\":[\"<none>\"]}", NULL, NULL, 516, 515, 77,
      "<none>!", "<</w> n o n e</w> > !</w>" },
    { NULL, NULL, NULL, "{\"additional_special_tokens\":[\"<Dog>\",\"!\"]}", "{\"<Dog>\":516}", 517,
      515, 77, "<dog>c!", "<Dog> c</w> !" },
    { NULL, NULL,
      "{\"added_tokens_decoder\":{\"516\":{\"content\":\"<Dog>\",\"normalized\":true}},"
      "\"extra_special_tokens\":[\"<Dog>\",\"!\"]}",
      "{\"extra_special_tokens\":[\"<none>\"]}", NULL, 517, 515, 77, "<dog>!c", "<Dog> ! c</w>" },
    /* tokenizer.json: merges as strings or as pairs */
    { "[\"c a\",\"ca t</w>\"]", "[]", NULL, NULL, NULL, 516, 515, 77, "cat", "cat</w>" },
    { "[[\"c\",\"a\"],[\"ca\",\"t</w>\"]]",
      "[{\"id\":515,\"content\":\"<|endoftext|>\",\"normalized\":false},"
      "{\"id\":516,\"content\":\"<x>\",\"normalized\":true}]",
      "{\"tokenizer_class\":\"CLIPTokenizer\"}", NULL, NULL, 517, 515, 77, "cat<X><|endoftext|>",
      "cat</w> <x> <|endoftext|>" },
    /* a token that is told twice; of the decoder only what tokenizer.json has not */
    { "[]",
      "[{\"id\":516,\"content\":\"<x>\"},{\"id\":516,\"content\":\"<x>\",\"normalized\":true}]",
      "{\"added_tokens_decoder\":{\"516\":{\"content\":\"<x>\",\"normalized\":true},"
      "\"517\":{\"content\":\"<y>\"}}}",
      NULL, NULL, 518, 515, 77, "<x><y>", "<x> <y>" },
    { NULL, NULL, "{\"pad_token\":\"!\"}", "{\"pad_token\":null}", NULL, 516, 0, 77, "c", "c</w>" },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    const char *folder = new_folder("layout");
    const char *files[4] = { NULL, cases[i].config, cases[i].map, cases[i].added_json };
    ti_tokenizer *bpe;

    for (int k = 0; k < 4; k++)
      write_file(folder, names[k], files[k]);
    if (cases[i].merges_json)
      write_modern(folder, cases[i].merges_json, cases[i].added);
    else
      write_vocab(folder, MERGES);
    bpe = open_folder(folder);
    assert_int_equal(ti_tokenizer_size(bpe), cases[i].size);
    assert_int_equal(ti_tokenizer_pad(bpe), cases[i].pad);
    assert_int_equal(ti_tokenizer_max_length(bpe), cases[i].max_length);
    assert_string_equal(tokens(bpe, cases[i].text), cases[i].tokens);
    ti_tokenizer_free(bpe);
    write_file(folder, "tokenizer.json", NULL);
  }
}

/* CRLF, several empty lines at the end, no line end */
static void odd_merges(void **state)
{
  static const char *const merges[] = { "#version: 0.2\r\nc a\r\nca t</w>\r\n",
                                        "c a\r\nca t</w>\r\n\r\n", "c a\nca t</w>\n\n\n",
                                        "c a\nca t</w>" };

  (void)state;
  for (size_t i = 0; i < sizeof(merges) / sizeof(*merges); i++) {
    const char *folder = new_folder("odd");
    ti_tokenizer *bpe;

    write_vocab(folder, MERGES);
    write_file(folder, "merges.txt", merges[i]);
    bpe = open_folder(folder);
    assert_string_equal(tokens(bpe, "cat"), "cat</w>");
    ti_tokenizer_free(bpe);
  }
}

/* of a pair that comes more than once the last place counts */
static void a_merge_that_comes_again(void **state)
{
  const char *folder = new_folder("again");
  ti_tokenizer *bpe;

  (void)state;
  write_vocab(folder, "c a\na t</w>\n");
  bpe = open_folder(folder);
  assert_string_equal(tokens(bpe, "cat"), "ca t</w>");
  ti_tokenizer_free(bpe);
  write_file(folder, "merges.txt", "c a\nc a\na t</w>\nc a\n");
  bpe = open_folder(folder);
  assert_string_equal(tokens(bpe, "cat"), "c at</w>");
  ti_tokenizer_free(bpe);
}

/* a byte without a symbol is the unknown token */
static void unknown_bytes(void **state)
{
  const char *folder = new_folder("unknown");
  ti_tokenizer *bpe;

  (void)state;
  write_file(folder, "vocab.json",
             "{\"a\":0,\"a</w>\":1,\"aa</w>\":2,\"<|startoftext|>\":3,\"<|endoftext|>\":4}");
  write_file(folder, "merges.txt", "a a</w>\n");
  bpe = open_folder(folder);
  assert_string_equal(tokens(bpe, "aa xa a"), "aa</w> <|endoftext|> a</w> a</w>");
  assert_string_equal(tokens(bpe, "ax"), "a <|endoftext|>");
  ti_tokenizer_free(bpe);
}

/* ------ hostile files */

static void refuses_files(void **state)
{
#define SPECIAL "\"<|startoftext|>\":900,\"<|endoftext|>\":901"
  static const struct {
    const char *vocab, *merges, *config, *modern;
    textinv_status status;
    const char *part;
  } cases[] = {
    { NULL, NULL, NULL, NULL, TEXTINV_E_NOT_FOUND, "neither tokenizer.json nor vocab.json" },
    { "{" SPECIAL "}", NULL, NULL, NULL, TEXTINV_E_NOT_FOUND, "merges.txt" },
    { NULL, "a b\n", NULL, NULL, TEXTINV_E_NOT_FOUND, "neither tokenizer.json nor vocab.json" },
    { NULL, "a b c\n", NULL, NULL, TEXTINV_E_FORMAT, "merges.txt: merge 1 is \"a b c\"" },
    { NULL, "ab\n", NULL, NULL, TEXTINV_E_FORMAT, "merges.txt: merge 1 is \"ab\"" },
    { NULL, "\xff a\n", NULL, NULL, TEXTINV_E_FORMAT, "merges.txt: has a line that is no UTF-8" },
    { "", "", NULL, NULL, TEXTINV_E_FORMAT, "vocab.json" },
    { "[]", "", NULL, NULL, TEXTINV_E_FORMAT, "vocab.json" },
    { "{}", "", NULL, NULL, TEXTINV_E_FORMAT, "empty" },
    { "{\"a\":1,\"b\":1," SPECIAL "}", "", NULL, NULL, TEXTINV_E_FORMAT, "same id 1" },
    { "{\"a\":1,\"a\":2," SPECIAL "}", "", NULL, NULL, TEXTINV_E_FORMAT, "vocab.json" },
    { "{\"a\":-1," SPECIAL "}", "", NULL, NULL, TEXTINV_E_FORMAT, "\"a\"" },
    { "{\"a\":1.0," SPECIAL "}", "", NULL, NULL, TEXTINV_E_FORMAT, "\"a\"" },
    { "{\"a\":\"1\"," SPECIAL "}", "", NULL, NULL, TEXTINV_E_FORMAT, "\"a\"" },
    { "{\"a\":2147483648," SPECIAL "}", "", NULL, NULL, TEXTINV_E_LIMIT, "2147483648" },
    { "{\"a\":4000000000," SPECIAL "}", "", NULL, NULL, TEXTINV_E_LIMIT, "4000000000" },
    { "{\"a\":99999999999999999999," SPECIAL "}", "", NULL, NULL, TEXTINV_E_FORMAT, "\"a\"" },
    { "{\"a\":1,\"<|startoftext|>\":2}", "", NULL, NULL, TEXTINV_E_FORMAT, "<|endoftext|>" },
    { "{\"a\":1,\"<|endoftext|>\":2}", "", NULL, NULL, TEXTINV_E_FORMAT, "<|startoftext|>" },
    { "{\"a\":1,\"b\":2,\"ab\":3," SPECIAL "}", "a b\na\n", NULL, NULL, TEXTINV_E_FORMAT,
      "merge 2 is \"a\"" },
    { "{\"a\":1,\"b\":2,\"ab\":3," SPECIAL "}", "a b c\n", NULL, NULL, TEXTINV_E_FORMAT,
      "merge 1" },
    { "{\"a\":1,\"b\":2,\"ab\":3," SPECIAL "}", "a b\n\na b\n", NULL, NULL, TEXTINV_E_FORMAT,
      "merge 2" },
    { "{\"a\":1,\"b\":2,\"ab\":3," SPECIAL "}", "a b\n#version: 0.2\n", NULL, NULL,
      TEXTINV_E_FORMAT, "#version:" },
    { "{\"a\":1,\"b\":2," SPECIAL "}", "a b\n", NULL, NULL, TEXTINV_E_FORMAT, "\"ab\"" },
    { "{\"a\":1,\"ab\":2," SPECIAL "}", "a b\n", NULL, NULL, TEXTINV_E_FORMAT, "\"b\"" },
    { "{\"a\":1," SPECIAL "}", " a\n", NULL, NULL, TEXTINV_E_FORMAT, "merge 1" },
    { "{\"a\":1," SPECIAL "}", "a \n", NULL, NULL, TEXTINV_E_FORMAT, "merge 1 is no pair" },
    { "{\"a\":1," SPECIAL "}", "#vers\n", NULL, NULL, TEXTINV_E_FORMAT, "merge 1 is \"#vers\"" },
    { "{\"a\":1," SPECIAL "}", "#Version:0.2\n", NULL, NULL, TEXTINV_E_FORMAT,
      "merge 1 is \"#Version:0.2\"" },
    { "{\"a\":1," SPECIAL "}", "", "{\"tokenizer_class\":7}", NULL, TEXTINV_E_FORMAT,
      "tokenizer_class" },
    { "{\"\":1," SPECIAL "}", "", "{\"extra_special_tokens\":[\"\"]}", NULL, TEXTINV_E_FORMAT,
      "an added token is empty" },
    { "{\"a\":1," SPECIAL "}", "", "{\"tokenizer_class\":\"BertTokenizer\"}", NULL,
      TEXTINV_E_UNSUPPORTED, "BertTokenizer" },
    { "{\"a\":1," SPECIAL "}", "", "{\"model_max_length\":1}", NULL, TEXTINV_E_LIMIT,
      "model_max_length" },
    { "{\"a\":1," SPECIAL "}", "", "{\"pad_token\":\"[PAD]\"}", NULL, TEXTINV_E_FORMAT, "[PAD]" },
    { "{\"a\":1," SPECIAL "}", "", "{\"pad_token\":7}", NULL, TEXTINV_E_FORMAT, "pad_token" },
    { "{\"a\":1," SPECIAL "}", "", "{\"extra_special_tokens\":[7]}", NULL, TEXTINV_E_FORMAT,
      "entry 0" },
    { "{\"a\":1," SPECIAL "}", "", "{\"added_tokens_decoder\":{\"x\":{\"content\":\"<x>\"}}}", NULL,
      TEXTINV_E_FORMAT, "<x>" },
#define DECODER(id) "{\"added_tokens_decoder\":{\"" id "\":{\"content\":\"<x>\"}}}"
    { "{\"a\":1," SPECIAL "}", "", DECODER(""), NULL, TEXTINV_E_FORMAT, "<x>" },
    { "{\"a\":1," SPECIAL "}", "", DECODER("90/"), NULL, TEXTINV_E_FORMAT, "<x>" },
    { "{\"a\":1," SPECIAL "}", "", DECODER("0000000902"), NULL, TEXTINV_E_FORMAT, "<x>" },
    { "{\"a\":1," SPECIAL "}", "", "{\"added_tokens_decoder\":{\"5\":{\"content\":7}}}", NULL,
      TEXTINV_E_FORMAT, "tokenizer_config.json: an added token has no \"content\"" },
    { "{\"a\":1," SPECIAL "}", "", "{\"added_tokens_decoder\":{\"4000000\":{\"content\":\"<x>\"}}}",
      NULL, TEXTINV_E_LIMIT, "4000000" },
    { "{\"a\":1," SPECIAL "}", "", "{\"added_tokens_decoder\":{\"1\":{\"content\":\"<x>\"}}}", NULL,
      TEXTINV_E_FORMAT, "contradicts" },
    { NULL, NULL, NULL, "{}", TEXTINV_E_FORMAT, "\"model\"" },
    { NULL, NULL, NULL, "{\"model\":7}", TEXTINV_E_FORMAT, "\"model\"" },
    { NULL, NULL, NULL, "{\"model\":{}}", TEXTINV_E_FORMAT, "\"vocab\"" },
    { NULL, NULL, NULL, "{\"model\":{\"vocab\":[]}}", TEXTINV_E_FORMAT, "\"vocab\"" },
    { NULL, NULL, NULL, "{\"model\":{\"end_of_word_suffix\":\"@@\",\"vocab\":{" SPECIAL "}}}",
      TEXTINV_E_UNSUPPORTED, "end_of_word_suffix" },
    { NULL, NULL, NULL, "{\"model\":{\"vocab\":{" SPECIAL "},\"merges\":{}}}", TEXTINV_E_FORMAT,
      "\"merges\" is no array" },
    { NULL, NULL, NULL, "{\"model\":{\"vocab\":{" SPECIAL "},\"merges\":[[\"a\",1]]}}",
      TEXTINV_E_FORMAT, "merge 1 is no pair" },
    { NULL, NULL, NULL, "{\"model\":{\"vocab\":{" SPECIAL "},\"merges\":[[1,\"a\"]]}}",
      TEXTINV_E_FORMAT, "merge 1 is no pair" },
    { NULL, NULL, NULL,
      "{\"model\":{\"vocab\":{\"a\":1,\"aa\":2," SPECIAL "},\"merges\":[[\"a\",\"a\",\"a\"]]}}",
      TEXTINV_E_FORMAT, "merge 1 is no pair" },
    { NULL, NULL, NULL, "{\"model\":{\"type\":\"Unigram\",\"vocab\":{" SPECIAL "}}}",
      TEXTINV_E_UNSUPPORTED, "Unigram" },
    { NULL, NULL, NULL, "{\"model\":{\"end_of_word_suffix\":null,\"vocab\":{" SPECIAL "}}}",
      TEXTINV_E_UNSUPPORTED, "end_of_word_suffix" },
    { NULL, NULL, NULL, "{\"model\":{\"vocab\":{" SPECIAL "}}}", TEXTINV_E_FORMAT, "merges" },
    { NULL, NULL, NULL, "{\"model\":{\"vocab\":{" SPECIAL "},\"merges\":[3]}}", TEXTINV_E_FORMAT,
      "merge 1" },
    { NULL, NULL, NULL, "{\"model\":{\"vocab\":{" SPECIAL "},\"merges\":[[\"a\"]]}}",
      TEXTINV_E_FORMAT, "merge 1" },
    { NULL, NULL, NULL,
      "{\"added_tokens\":[{\"id\":5,\"content\":\"x\",\"single_word\":true}],\"model\":{\"vocab\":{" SPECIAL
      "},\"merges\":[]}}",
      TEXTINV_E_UNSUPPORTED, "single_word" },
    { NULL, NULL, NULL, "{\"added_tokens\":[7],\"model\":{\"vocab\":{" SPECIAL "},\"merges\":[]}}",
      TEXTINV_E_FORMAT, "content" },
    { NULL, NULL, NULL,
      "{\"added_tokens\":[{\"id\":5,\"content\":\"\"}],\"model\":{\"vocab\":{" SPECIAL
      "},\"merges\":[]}}",
      TEXTINV_E_FORMAT, "empty" },
  };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    const char *folder = new_folder("hostile");
    ti_error error = { "" };
    ti_tokenizer *bpe = clip;
    textinv_status status;

    write_file(folder, "vocab.json", cases[i].vocab);
    write_file(folder, "merges.txt", cases[i].merges);
    write_file(folder, "tokenizer_config.json", cases[i].config);
    write_file(folder, "tokenizer.json", cases[i].modern);
    /* merges alone are CLIP's own */
    status = ti_tokenizer_open(&bpe, &error, folder,
                               strstr(cases[i].part, "merges.txt: ") ? "!" : NULL);
    if (status != cases[i].status || !strstr(error.text, cases[i].part) ||
        strncmp(error.text, folder, strlen(folder)) != 0)
      fail_msg("case %zu: %d, %s", i, status, error.text);
    assert_null(bpe);
  }
}

/* what stands in the other files, and more of it than is read */
static void refuses_further_files(void **state)
{
  enum { TOO_MANY = 8193 };
  static const char *const names[] = { "tokenizer.json", "added_tokens.json",
                                       "special_tokens_map.json", "merges.txt" };
  const char *folder = new_folder("further"), *message;
  char *many = malloc(32 * TOO_MANY), *end = many;
  char path[600];

  (void)state;
  assert_non_null(many);
  for (int i = 0; i < 4; i++) {
    ti_error error = { "" };
    ti_tokenizer *bpe = clip;
    textinv_status status = TEXTINV_E_LIMIT;

    write_vocab(folder, MERGES);
    switch (i) {
    case 0: /* one that is there already does not matter */
      write_modern(folder, "[]", "[{\"id\":516,\"content\":\"<x>\"}]");
      write_file(folder, "added_tokens.json", "{\"<x>\":-1,\"<y>\":-2}");
      status = TEXTINV_E_FORMAT;
      message = "added_tokens.json: the id of token \"<y>\"";
      break;
    case 1:
      for (int k = 0; k < TOO_MANY; k++)
        end += sprintf(end, "%c\"<%d>\":%d", k ? ',' : '{', k, 516 + k);
      strcpy(end, "}");
      write_file(folder, "added_tokens.json", many);
      message = "added_tokens.json: has over 8192 added tokens";
      break;
    case 2:
      end = many + sprintf(many, "{\"extra_special_tokens\":[\"x\"");
      for (int k = 1; k < TOO_MANY; k++)
        end += sprintf(end, ",\"x\"");
      strcpy(end, "]}");
      write_file(folder, "special_tokens_map.json", many);
      message = "special_tokens_map.json: \"extra_special_tokens\" has over 8192 entries";
      break;
    default:
      snprintf(path, sizeof(path), "%s/merges.txt", folder);
      FILE *f = fopen(path, "wb");

      assert_non_null(f);
      fwrite("c a\n\0", 1, 5, f);
      assert_int_equal(fclose(f), 0);
      status = TEXTINV_E_FORMAT;
      message = "merges.txt: has a zero byte";
      break;
    }
    assert_int_equal(ti_tokenizer_open(&bpe, &error, folder, NULL), status);
    if (!strstr(error.text, message))
      fail_msg("case %d: %s", i, error.text);
    assert_null(bpe);
    for (int k = 0; k < 4; k++)
      write_file(folder, names[k], NULL);
  }
  free(many);
}

/* a nesting that is too deep for a stack */
static void refuses_nesting(void **state)
{
  const char *folder = new_folder("bomb");
  char *text = malloc(1 << 20);
  ti_error error;
  ti_tokenizer *bpe;

  (void)state;
  memset(text, '[', 1 << 20);
  text[(1 << 20) - 1] = 0;
  write_file(folder, "tokenizer.json", text);
  assert_int_equal(ti_tokenizer_open(&bpe, &error, folder, NULL), TEXTINV_E_LIMIT);
  assert_null(bpe);
  free(text);
}

/* what models in one file are read with: the token that fills prompts is the caller's */
static void the_vocabulary_that_is_shipped(void **state)
{
  static const char text[] = "A cat!<|STARTOFTEXT|>";
  static const uint32_t expected[2][4] = { { 320, 2368, 256, 49406 }, { 320, 2368, 0, 49406 } };

  (void)state;
  for (int i = 0; i < 2; i++) {
    ti_error error = { "" };
    ti_tokenizer *bpe;
    uint32_t *ids = NULL;
    size_t count = 0;

    if (ti_tokenizer_open(&bpe, &error, "models/clip-tokenizer", i ? "!" : "<|endoftext|>") < 0 ||
        ti_tokenizer_encode(bpe, &error, text, strlen(text), &ids, &count) < 0)
      fail_msg("%s", error.text);
    assert_int_equal(ti_tokenizer_size(bpe), 49408);
    assert_int_equal(ti_tokenizer_max_length(bpe), 77);
    assert_int_equal(ti_tokenizer_end(bpe), 49407);
    assert_int_equal(ti_tokenizer_pad(bpe), i ? 0 : 49407);
    assert_int_equal(count, 4);
    assert_memory_equal(ids, expected[i], sizeof(expected[i]));
    ti_free(ids);
    ti_tokenizer_free(bpe);
  }
}

static int open_clip(void **state)
{
  (void)state;
  ti_error error;

  if (ti_tokenizer_open(&clip, &error, clip_folder(), "<|endoftext|>") < 0)
    fail_msg("%s", error.text);
  return 0;
}

static int close_clip(void **state)
{
  (void)state;
  ti_tokenizer_free(clip);
  return 0;
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(equal_to_transformers),
    cmocka_unit_test(properties),
    cmocka_unit_test(normal_forms),
    cmocka_unit_test(invalid_utf8),
    cmocka_unit_test(runs_of_marks_are_ordered),
    cmocka_unit_test(long_words),
    cmocka_unit_test(text_limit),
    cmocka_unit_test(layouts),
    cmocka_unit_test(odd_merges),
    cmocka_unit_test(a_merge_that_comes_again),
    cmocka_unit_test(unknown_bytes),
    cmocka_unit_test(refuses_files),
    cmocka_unit_test(refuses_further_files),
    cmocka_unit_test(refuses_nesting),
    cmocka_unit_test(the_vocabulary_that_is_shipped),
  };

  return cmocka_run_group_tests(tests, open_clip, close_clip);
}
