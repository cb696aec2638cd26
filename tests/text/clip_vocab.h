/* Folders with CLIP's real vocabulary, or with a small one, for tests. */
#ifndef TI_CLIP_VOCAB_H
#define TI_CLIP_VOCAB_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "testing.h"
#include "utf8.h"

static inline void write_file(const char *folder, const char *name, const char *text)
{
  char path[600];
  FILE *f;

  snprintf(path, sizeof(path), "%s/%s", folder, name);
  if (!text) {
    remove(path);
    return;
  }
  f = fopen(path, "wb");
  assert_non_null(f);
  fwrite(text, 1, strlen(text), f);
  assert_int_equal(fclose(f), 0);
}

/* the folder is made at the first use of its name */
static inline const char *new_folder(const char *name)
{
  const char *path = test_path(name);

  mkdir(path, 0777);
  return path;
}

static inline void add_token(json_t *vocab, const char *token)
{
  json_object_set_new(vocab, token, json_integer((json_int_t)json_object_size(vocab)));
}

/* the 256 byte symbols in CLIP's order, then each with </w> */
static inline json_t *byte_vocab(void)
{
  json_t *vocab = json_object();

  for (int end = 0; end < 2; end++) {
    for (int printable = 1; printable >= 0; printable--) {
      unsigned next = 256;

      for (unsigned b = 0; b < 256; b++) {
        const int self = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad);
        char name[16];
        size_t n;

        if (self != printable)
          continue;
        n = ti_utf8_put(name, self ? b : next++);
        strcpy(name + n, end ? "</w>" : "");
        add_token(vocab, name);
      }
    }
  }
  return vocab;
}

static inline void write_json(const char *folder, const char *name, json_t *json)
{
  char *text = json_dumps(json, JSON_COMPACT);

  write_file(folder, name, text);
  free(text);
  json_decref(json);
}

/* merges are lines "a b"; vocabulary and merges.txt */
static inline void write_vocab(const char *folder, const char *merges)
{
  json_t *vocab = byte_vocab();
  char token[512];

  write_file(folder, "merges.txt", merges);
  if (strncmp(merges, "#version", 8) == 0)
    merges = strchr(merges, '\n') + 1;
  while (*merges) {
    const size_t n = strcspn(merges, "\n"), a = strcspn(merges, " ");

    assert_true(n < sizeof(token) && a < n);
    memcpy(token, merges, a);
    memcpy(token + a, merges + a + 1, n - a - 1);
    token[n - 1] = 0;
    add_token(vocab, token);
    merges += n + (merges[n] == '\n');
  }
  add_token(vocab, "<|startoftext|>");
  add_token(vocab, "<|endoftext|>");
  write_json(folder, "vocab.json", vocab);
}

/* CLIP's own 49,408 tokens, of nothing but its merges */
static inline const char *clip_folder(void)
{
  static char path[512];
  char *merges = calloc(1, 1 << 20);
  FILE *f = fopen("models/clip-tokenizer/merges.txt", "rb");

  assert_non_null(f);
  assert_true(fread(merges, 1, (1 << 20) - 1, f) > 0);
  fclose(f);
  strcpy(path, new_folder("clip"));
  write_file(path, "merges.txt", merges);
  free(merges);
  return path;
}

#endif /* TI_CLIP_VOCAB_H */
