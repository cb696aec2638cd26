/*
 * libFuzzer: the tokenizers' files and their texts. The first byte tells what the rest is:
 *
 *   0  a text, encoded with a small vocabulary of CLIP's kind and new words
 *   1  tokenizer.json
 *   2  vocab.json, a zero byte, merges.txt, and then as many more as there are, each after a zero
 *      byte: tokenizer_config.json, special_tokens_map.json, added_tokens.json
 *   3  a text for BERT
 *   4  vocab.txt, a zero byte, and the same three
 *
 * What opens is used on a text, and whatever is encoded must be fit for the model.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc.h"
#include "prompt.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const char *const files[] = { "vocab.json",
                                     "merges.txt",
                                     "tokenizer_config.json",
                                     "special_tokens_map.json",
                                     "added_tokens.json",
                                     "tokenizer.json",
                                     "vocab.txt" };
enum { NUM_FILES = sizeof(files) / sizeof(*files), MODERN = NUM_FILES - 2, VOCAB = NUM_FILES - 1 };

static char folder[64];
static ti_tokenizer *small, *bert;

static void put(const char *name, const void *bytes, size_t size)
{
  char path[128];
  FILE *f;

  snprintf(path, sizeof(path), "%s/%s", folder, name);
  f = fopen(path, "wb");
  if (!f || fwrite(bytes, 1, size, f) != size || fclose(f) != 0)
    exit(1);
}

static void clear(void)
{
  char path[128];

  for (int i = 0; i < NUM_FILES; i++) {
    snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
    unlink(path);
  }
}

static void clean_up(void)
{
  clear();
  rmdir(folder);
  ti_tokenizer_free(small);
  ti_tokenizer_free(bert);
}

static void use(const ti_tokenizer *t, const char *text, size_t len)
{
  const uint32_t first = ti_tokenizer_size(t);
  const ti_prompt_word words[] = { { "<toy>", first, 2 },
                                   { "S*", first + 2, 1 },
                                   { "<Toy>", first + 3, 1 } };
  const uint32_t most = first + 4;
  ti_error error = { "" };
  uint32_t *ids;
  size_t count, truncated;
  int32_t fitted[20], eos;
  float weights[20];
  char *copy;

  if (ti_tokenizer_encode(t, &error, text, len, &ids, &count) >= 0) {
    for (size_t i = 0; i < count; i++)
      if (ids[i] >= first)
        __builtin_trap();
    ti_free(ids);
  }
  copy = ti_strndup(text, len);
  if (!copy)
    return;
  for (int weighted = 0; weighted < 2; weighted++) {
    if (ti_prompt_fit(t, &error, words, 3, copy, 20, fitted, weighted ? weights : NULL, &truncated,
                      &eos) < 0)
      continue;
    for (int i = 0; i < 20; i++)
      if ((uint32_t)fitted[i] >= most || (weighted && !(weights[i] >= -1000 && weights[i] <= 1000)))
        __builtin_trap();
    if (eos < 1 || eos > 19)
      __builtin_trap();
  }
  ti_free(copy);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  static const char vocab[] =
    "{\"a\":0,\"c\":1,\"t\":2,\"a</w>\":3,\"t</w>\":4,\"ca\":5,\"cat</w>\":6,\"\xc4\xa0\":7,"
    "\"<|startoftext|>\":8,\"<|endoftext|>\":9,\"aa\":10,\"aaaa\":11}";
  static const char merges[] = "#version: 0.2\nc a\nca t</w>\na a\naa aa\n";
  static const char lines[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##a\ncat\n##cats\n##t\n<\ni\n\xe7\x8c\xab\n";
  ti_error error;

  (void)argc;
  (void)argv;
  strcpy(folder, "/tmp/textinv-fuzz-XXXXXX");
  if (!mkdtemp(folder))
    return -1;
  atexit(clean_up);
  put(files[0], vocab, sizeof(vocab) - 1);
  put(files[1], merges, sizeof(merges) - 1);
  if (ti_tokenizer_open(&small, &error, folder, NULL) < 0)
    return -1;
  clear();
  put(files[VOCAB], lines, sizeof(lines) - 1);
  if (ti_tokenizer_open(&bert, &error, folder, NULL) < 0)
    return -1;
  clear();
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
  ti_error error = { "" };
  ti_tokenizer *t;
  textinv_status status;

  if (size < 1)
    return 0;
  if (*bytes == 0 || *bytes == 3) {
    use(*bytes ? bert : small, (const char *)bytes + 1, size - 1);
    return 0;
  }
  if (*bytes == 1) {
    put(files[MODERN], bytes + 1, size - 1);
  } else {
    const uint8_t *at = bytes + 1, *end = bytes + size;

    for (int i = *bytes == 4; i < MODERN && at < end; i++) {
      const uint8_t *zero = memchr(at, 0, (size_t)(end - at));
      const size_t n = (size_t)((zero ? zero : end) - at);

      put(*bytes == 4 && i == 1 ? files[VOCAB] : files[i], at, n);
      at += n + 1;
    }
  }
  status = ti_tokenizer_open(&t, &error, folder, NULL);
  if ((status < 0) != (t == NULL) || (status < 0) != (*error.text != 0))
    __builtin_trap();
  if (t)
    use(t, "A cat<|endoftext|>, <toy> on the beach", 38);
  ti_tokenizer_free(t);
  clear();
  return 0;
}
