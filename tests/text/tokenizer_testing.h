/* What tests of tokenizers have in common. */
#ifndef TI_TOKENIZER_TESTING_H
#define TI_TOKENIZER_TESTING_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alloc.h"
#include "testing.h"
#include "text_tokenizer.h"

static inline ti_tokenizer *open_folder(const char *folder)
{
  ti_error error = { "" };
  ti_tokenizer *t;

  if (ti_tokenizer_open(&t, &error, folder, NULL) < 0)
    fail_msg("%s", error.text);
  return t;
}

/* "a</w> cat</w>" of a text */
static inline const char *tokens(const ti_tokenizer *t, const char *text)
{
  static char out[4096];
  ti_error error;
  uint32_t *ids;
  size_t count, n = 0;

  assert_int_equal(ti_tokenizer_encode(t, &error, text, strlen(text), &ids, &count), 0);
  *out = 0;
  for (size_t i = 0; i < count; i++)
    n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%s", i ? " " : "",
                          ti_tokenizer_token(t, ids[i]));
  ti_free(ids);
  return out;
}

static inline uint32_t read_u32(FILE *f)
{
  unsigned char b[4];

  assert_int_equal(fread(b, 1, 4, f), 4);
  return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* ids of a file of prompts that tests/golden has made; how many prompts it has */
static inline int compare_prompts(const ti_tokenizer *t, const char *path)
{
  FILE *f = fopen(path, "rb");
  char text[8192];
  int prompts = 0, c;

  assert_non_null(f);
  while ((c = getc(f)) != EOF) {
    uint32_t len, expected, *ids;
    ti_error error;
    size_t count;

    ungetc(c, f);
    len = read_u32(f);
    expected = read_u32(f);
    assert_true(len <= sizeof(text));
    assert_int_equal(fread(text, 1, len, f), len);
    assert_int_equal(ti_tokenizer_encode(t, &error, text, len, &ids, &count), 0);
    if (count + 2 != expected)
      fail_msg("prompt %d: %zu ids, expected %u: %.*s", prompts, count, expected - 2, (int)len,
               text);
    for (size_t i = 0; i < expected; i++) {
      const uint32_t id = i == 0           ? ti_tokenizer_begin(t)
                          : i == count + 1 ? ti_tokenizer_end(t)
                                           : ids[i - 1];
      const int lo = getc(f), hi = getc(f);

      if (id != (uint32_t)(lo | hi << 8))
        fail_msg("prompt %d: id %zu is %u, expected %d: %.*s", prompts, i, id, lo | hi << 8,
                 (int)len, text);
    }
    ti_free(ids);
    prompts++;
  }
  fclose(f);
  return prompts;
}

/* a long text of this unit takes little more than its length; how many tokens it has */
static inline size_t encode_long(const ti_tokenizer *t, const char *unit)
{
  enum { COUNT = 1000000 };
  char *text = malloc(COUNT + 8);
  const clock_t start = clock();
  ti_error error;
  uint32_t *ids;
  size_t count, n = 0;

  assert_non_null(text);
  while (n < COUNT) {
    strcpy(text + n, unit);
    n += strlen(unit);
  }
  assert_int_equal(ti_tokenizer_encode(t, &error, text, n, &ids, &count), 0);
  ti_free(ids);
  free(text);
  print_message("%zu bytes of %s: %.2f s\n", n, unit, (double)(clock() - start) / CLOCKS_PER_SEC);
  assert_true((clock() - start) / CLOCKS_PER_SEC < 5); /* quadratic: minutes */
  return count;
}

#endif /* TI_TOKENIZER_TESTING_H */
