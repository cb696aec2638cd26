/*
 * Text to ids, as BertTokenizer does it: words between white space, every punctuation mark a word
 * of its own, and of each word the longest token that it begins with, then of what is left the
 * longest that goes on with it ("##"). A word that comes to no end, or is too long, is the unknown
 * token.
 */
#include "wordpiece.h"

#include <string.h>

#include "alloc.h"
#include "atomic_file.h"
#include "format.h"
#include "tokenizer_files.h"
#include "tokenizer_state.h"
#include "unicode.h"
#include "utf8.h"

enum { MAX_VOCAB_BYTES = 16 << 20, MAX_WORD = 100 };

/* ------ files */

/* without the white space at its end */
static size_t trimmed(const char *line, size_t len)
{
  size_t end = 0;

  for (size_t i = 0; i < len;) {
    int32_t c;

    i += ti_text_next(&c, line + i);
    if (!ti_unicode_is_space(c))
      end = i;
  }
  return end;
}

/* a token a line, its number the id; of tokens that come twice the later counts */
static textinv_status read_lines(json_t *vocab, ti_error *error, const char *path, char *text,
                                 size_t size)
{
  json_int_t id = 0;

  if (memchr(text, 0, size) || !ti_utf8_valid(text, size))
    return ti_fail(error, TEXTINV_E_FORMAT, "%s: is no UTF-8 text, expected a token a line", path);
  for (size_t i = 0; i < size;) {
    const char *end = memchr(text + i, '\n', size - i);
    const size_t len = end ? (size_t)(end - (text + i)) : size - i;

    text[i + trimmed(text + i, len)] = 0;
    if (json_object_set_new(vocab, text + i, json_integer(id++)))
      return ti_fail_nomem(error, len, "a token");
    i += len + 1;
  }
  return TEXTINV_OK;
}

textinv_status ti_wordpiece_vocab(ti_json *out, ti_error *error, const char *folder)
{
  const size_t size = strlen(folder) + sizeof("/vocab.txt");
  char *path = ti_calloc(size, 1);
  json_t *vocab = json_object();
  void *text = NULL;
  size_t bytes;
  textinv_status status;

  *out = (ti_json){ vocab, path };
  if (!path || !vocab) {
    status = ti_fail_nomem(error, size, "a path");
  } else {
    ti_format(path, size, "%s/vocab.txt", folder);
    if ((status = ti_file_read(&text, &bytes, error, path, MAX_VOCAB_BYTES)) >= 0)
      status = read_lines(vocab, error, path, text, bytes);
  }
  if (status < 0)
    ti_json_close(out);
  ti_free(text);
  return status;
}

textinv_status ti_wordpiece_read(ti_wordpiece *w, ti_error *error, const ti_json *config,
                                 const json_t *vocab, char *const *tokens, uint32_t size)
{
  textinv_status status;
  uint32_t known;

  if ((status = ti_json_bool(config, error, "do_lower_case", 1, &w->lower)) < 0 ||
      (status = ti_json_bool(config, error, "strip_accents", w->lower, &w->strip_accents)) < 0 ||
      (status = ti_json_bool(config, error, "tokenize_chinese_chars", 1, &w->split_han)) < 0)
    return status;
  w->first = ti_calloc(size, sizeof(*w->first));
  w->rest = ti_calloc(size, sizeof(*w->rest));
  if (!w->first || !w->rest)
    return ti_fail_nomem(error, size * sizeof(*w->first), "the vocabulary");
  for (uint32_t id = 0; id < size; id++) {
    const char *text = tokens[id];

    if (!text || !*text || !ti_vocab_id(vocab, text, &known))
      continue; /* an added token is found whole or not at all */
    w->first[w->num_first++] = (ti_match){ text, strlen(text), NULL, id, 1, id };
    if (!strncmp(text, "##", 2) && text[2])
      w->rest[w->num_rest++] = (ti_match){ text + 2, strlen(text + 2), NULL, id, 1, id };
  }
  ti_match_sort(w->first, w->num_first);
  ti_match_sort(w->rest, w->num_rest);
  return TEXTINV_OK;
}

/* ------ texts */

static textinv_status encode_word(ti_encoding *e, const char *word, size_t len, size_t characters)
{
  const ti_wordpiece *w = &e->t->wordpiece;
  const size_t count = e->count;
  textinv_status status = TEXTINV_OK;

  for (size_t i = 0; i < len && status >= 0;) {
    const ti_match *m = i ? ti_match_longest(w->rest, w->num_rest, word + i, len - i)
                          : ti_match_longest(w->first, w->num_first, word, len);

    if (!m || characters > MAX_WORD) {
      e->count = count;
      return ti_encoding_push(e, e->t->unk, 1);
    }
    status = ti_encoding_push(e, m->first_id, 1);
    i += m->len;
  }
  return status;
}

textinv_status ti_wordpiece_encode(ti_encoding *e, const char *text, size_t len)
{
  textinv_status status;
  int32_t c;

  for (size_t i = 0; i < len;) {
    size_t n = ti_text_next(&c, text + i), characters = 1;

    if (ti_unicode_is_space(c)) {
      i += n;
      continue;
    }
    while (!ti_wordpiece_is_punctuation(c) && i + n < len) {
      const size_t bytes = ti_text_next(&c, text + i + n);

      if (ti_unicode_is_space(c) || ti_wordpiece_is_punctuation(c))
        break;
      n += bytes;
      characters++;
    }
    if ((status = encode_word(e, text + i, n, characters)) < 0)
      return status;
    i += n;
  }
  return TEXTINV_OK;
}
