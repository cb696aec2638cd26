/*
 * Symbols of bytes, and merges: lines "a b" of merges.txt, or a list of such strings or of pairs in
 * tokenizer.json. Their rank is their place; of a pair that comes twice the later place counts.
 * Where there is nothing else they make the vocabulary, as in CLIP's: bytes, bytes that end a word,
 * what the merges give, <|startoftext|> and <|endoftext|>.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "atomic_file.h"
#include "clip_bpe.h"
#include "format.h"
#include "tokenizer_files.h"
#include "utf8.h"

enum { MAX_MERGES_BYTES = 16 << 20 };

typedef struct merges_of {
  ti_clip_bpe *bpe;
  ti_error *error;
  const char *path;
  const json_t *vocab;
} merges_of;

static textinv_status add_merge(const merges_of *r, size_t rank, const char *a, size_t len_a,
                                const char *b, size_t len_b)
{
  ti_clip_merge *m = &r->bpe->merges[rank];
  const struct {
    size_t len_a, len_b;
    uint32_t *id;
  } parts[3] = { { len_a, 0, &m->first }, { 0, len_b, &m->second }, { len_a, len_b, &m->result } };
  textinv_status status = TEXTINV_OK;
  char *text;

  if (len_a == 0 || len_b == 0)
    return ti_fail(r->error, TEXTINV_E_FORMAT, "%s: merge %zu is no pair of tokens", r->path,
                   rank + 1);
  text = ti_calloc(len_a + len_b + 1, 1);
  if (!text)
    return ti_fail_nomem(r->error, len_a + len_b + 1, "a merge");
  for (int i = 0; i < 3 && status >= 0; i++) {
    memcpy(text, a, parts[i].len_a);
    memcpy(text + parts[i].len_a, b, parts[i].len_b);
    text[parts[i].len_a + parts[i].len_b] = 0;
    if (!ti_vocab_id(r->vocab, text, parts[i].id))
      status = ti_fail(r->error, TEXTINV_E_FORMAT,
                       "%s: merge %zu needs the token \"%.*s\", which the vocabulary lacks",
                       r->path, rank + 1, ti_utf8_cut(text, 60), text);
  }
  m->rank = (uint32_t)rank;
  r->bpe->num_merges = rank + 1;
  ti_free(text);
  return status;
}

/* "a b" */
static textinv_status split_merge(const merges_of *r, size_t rank, const char *line, size_t len)
{
  const char *space = memchr(line, ' ', len);

  if (!space || memchr(space + 1, ' ', (size_t)(line + len - space - 1)))
    return ti_fail(r->error, TEXTINV_E_FORMAT, "%s: merge %zu is \"%.*s\", expected two tokens",
                   r->path, rank + 1, ti_utf8_cut(line, len < 60 ? len : 60), line);
  return add_merge(r, rank, line, (size_t)(space - line), space + 1,
                   (size_t)(line + len - space - 1));
}

static textinv_status merges_of_json(const merges_of *r, const json_t *merges)
{
  const size_t count = json_array_size(merges);
  textinv_status status;

  if (!json_is_array(merges))
    return ti_fail(r->error, TEXTINV_E_FORMAT, "%s: \"merges\" is no array", r->path);
  r->bpe->merges = ti_calloc(count, sizeof(*r->bpe->merges));
  if (!r->bpe->merges)
    return ti_fail_nomem(r->error, count * sizeof(*r->bpe->merges), "the merges");
  for (size_t i = 0; i < count; i++) {
    const json_t *m = json_array_get(merges, i);
    const json_t *a = json_array_get(m, 0), *b = json_array_get(m, 1);

    if (json_is_string(m))
      status = split_merge(r, i, json_string_value(m), json_string_length(m));
    else if (json_array_size(m) == 2) /* what is no string has no length */
      status = add_merge(r, i, json_string_value(a), json_string_length(a), json_string_value(b),
                         json_string_length(b));
    else
      status = ti_fail(r->error, TEXTINV_E_FORMAT, "%s: merge %zu is no pair of tokens", r->path,
                       i + 1);
    if (status < 0)
      return status;
  }
  return TEXTINV_OK;
}

/* every line of merges.txt but its header */
static textinv_status each_line(const merges_of *r, const char *text, size_t size,
                                textinv_status (*use)(const merges_of *r, size_t rank,
                                                      const char *line, size_t len))
{
  textinv_status status;
  size_t rank = 0;

  while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r'))
    size--;
  for (size_t i = 0; i < size;) {
    const char *end = memchr(text + i, '\n', size - i);
    size_t len = end ? (size_t)(end - (text + i)) : size - i;
    const size_t next = i + len + 1;

    if (len > 0 && text[i + len - 1] == '\r')
      len--;
    if (!(i == 0 && len >= 8 && memcmp(text, "#version", 8) == 0)) {
      if ((status = use(r, rank, text + i, len)) < 0)
        return status;
      rank++;
    }
    i = next;
  }
  return TEXTINV_OK;
}

static textinv_status merges_of_lines(const merges_of *r, const char *text, size_t size)
{
  size_t lines = 1;

  for (size_t i = 0; i < size; i++)
    lines += text[i] == '\n';
  r->bpe->merges = ti_calloc(lines, sizeof(*r->bpe->merges));
  if (!r->bpe->merges)
    return ti_fail_nomem(r->error, lines * sizeof(*r->bpe->merges), "the merges");
  return each_line(r, text, size, split_merge);
}

static int by_pair(const void *a_, const void *b_)
{
  const ti_clip_merge *a = a_, *b = b_;

  if (a->first != b->first)
    return a->first < b->first ? -1 : 1;
  if (a->second != b->second)
    return a->second < b->second ? -1 : 1;
  return a->rank < b->rank ? -1 : a->rank > b->rank;
}

/* sort them, of the same pair keep the last, and index them by the first id */
static textinv_status index_merges(const merges_of *r, uint32_t size)
{
  ti_clip_bpe *bpe = r->bpe;
  size_t n = 0;

  if (bpe->num_merges > 1)
    qsort(bpe->merges, bpe->num_merges, sizeof(*bpe->merges), by_pair);
  for (size_t i = 0; i < bpe->num_merges; i++) {
    const ti_clip_merge *m = &bpe->merges[i];

    n -= n > 0 && bpe->merges[n - 1].first == m->first && bpe->merges[n - 1].second == m->second;
    bpe->merges[n++] = *m;
  }
  bpe->merge_start = ti_calloc((size_t)size + 1, sizeof(*bpe->merge_start));
  if (!bpe->merge_start)
    return ti_fail_nomem(r->error, ((size_t)size + 1) * sizeof(*bpe->merge_start), "the merges");
  for (size_t i = 0; i < n; i++)
    bpe->merge_start[bpe->merges[i].first + 1]++;
  for (uint32_t i = 0; i < size; i++)
    bpe->merge_start[i + 1] += bpe->merge_start[i];
  return TEXTINV_OK;
}

textinv_status ti_clip_merges_read(ti_clip_bpe *bpe, uint32_t size, ti_error *error,
                                   const char *path, const json_t *vocab, const json_t *list)
{
  const merges_of r = { bpe, error, path, vocab };
  textinv_status status;

  if (list)
    return (status = merges_of_json(&r, list)) < 0 ? status : index_merges(&r, size);
  return ti_fail(error, TEXTINV_E_FORMAT, "%s: model has no \"merges\"", path);
}

/* FOLDER/merges.txt and its path, the caller's to ti_free() whatever comes of it */
static textinv_status read_text(char **path, void **text, size_t *bytes, ti_error *error,
                                const char *folder)
{
  const size_t size = strlen(folder) + sizeof("/merges.txt");
  textinv_status status;

  *text = NULL;
  *path = ti_calloc(size, 1);
  if (!*path)
    return ti_fail_nomem(error, size, "a path");
  ti_format(*path, size, "%s/merges.txt", folder);
  if ((status = ti_file_read(text, bytes, error, *path, MAX_MERGES_BYTES)) < 0)
    return status;
  if (memchr(*text, 0, *bytes))
    return ti_fail(error, TEXTINV_E_FORMAT, "%s: has a zero byte, expected lines of text", *path);
  return TEXTINV_OK;
}

textinv_status ti_clip_merges_read_file(ti_clip_bpe *bpe, uint32_t size, ti_error *error,
                                        const char *folder, const json_t *vocab)
{
  char *path;
  void *text;
  size_t bytes;
  textinv_status status = read_text(&path, &text, &bytes, error, folder);
  const merges_of r = { bpe, error, path, vocab };

  if (status >= 0 && (status = merges_of_lines(&r, text, bytes)) >= 0)
    status = index_merges(&r, size);
  ti_free(text);
  ti_free(path);
  return status;
}

/* ------ bytes */

/* the code point that stands for a byte: printable Latin-1 is itself, the rest follows from U+0100
 */
static unsigned symbol_of(unsigned byte)
{
  unsigned next = 256;

  for (unsigned b = 0;; b++) {
    const int self = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad);

    if (b == byte)
      return self ? b : next;
    next += !self;
  }
}

void ti_clip_symbols_read(ti_clip_bpe *bpe, const json_t *vocab, uint32_t unk)
{
  for (unsigned byte = 0; byte < 256; byte++) {
    char name[16];
    const size_t n = ti_utf8_put(name, symbol_of(byte));

    name[n] = 0;
    if (!ti_vocab_id(vocab, name, &bpe->bytes[byte]))
      bpe->bytes[byte] = unk;
    memcpy(name + n, "</w>", 5);
    if (!ti_vocab_id(vocab, name, &bpe->end_bytes[byte]))
      bpe->end_bytes[byte] = unk;
  }
}

/* ------ the vocabulary that merges make */

/* the next id, where it is new */
static textinv_status add_token(const merges_of *r, const char *token)
{
  json_t *vocab = (json_t *)(uintptr_t)r->vocab;

  if (json_object_get(vocab, token) ||
      !json_object_set_new(vocab, token, json_integer((json_int_t)json_object_size(vocab))))
    return TEXTINV_OK;
  return ti_utf8_valid(token, strlen(token))
           ? ti_fail_nomem(r->error, strlen(token), "a token")
           : ti_fail(r->error, TEXTINV_E_FORMAT, "%s: has a line that is no UTF-8", r->path);
}

static textinv_status add_joined(const merges_of *r, size_t rank, const char *line, size_t len)
{
  char *token = ti_strndup(line, len), *space;
  textinv_status status;

  (void)rank;
  if (!token)
    return ti_fail_nomem(r->error, len, "a token");
  if ((space = strchr(token, ' ')))
    memmove(space, space + 1, strlen(space));
  status = add_token(r, token);
  ti_free(token);
  return status;
}

/* of the symbols that stand for bytes the printable ones come first */
static textinv_status add_bytes(const merges_of *r, const char *end)
{
  textinv_status status;

  for (int printable = 1; printable >= 0; printable--) {
    for (unsigned byte = 0; byte < 256; byte++) {
      const unsigned symbol = symbol_of(byte);
      char token[16];

      if ((symbol == byte) != printable)
        continue;
      strcpy(token + ti_utf8_put(token, symbol), end);
      if ((status = add_token(r, token)) < 0)
        return status;
    }
  }
  return TEXTINV_OK;
}

textinv_status ti_clip_vocab_of_merges(ti_json *out, ti_error *error, const char *folder)
{
  char *path;
  void *text;
  size_t bytes;
  textinv_status status = read_text(&path, &text, &bytes, error, folder);
  const merges_of r = { NULL, error, path, json_object() };

  *out = (ti_json){ (json_t *)(uintptr_t)r.vocab, path };
  if (status >= 0 && !r.vocab)
    status = ti_fail_nomem(error, bytes, path);
  if (status < 0 || (status = add_bytes(&r, "")) < 0 || (status = add_bytes(&r, "</w>")) < 0 ||
      (status = each_line(&r, text, bytes, add_joined)) < 0 ||
      (status = add_token(&r, "<|startoftext|>")) < 0 ||
      (status = add_token(&r, "<|endoftext|>")) < 0)
    ti_json_close(out);
  ti_free(text);
  return status;
}
