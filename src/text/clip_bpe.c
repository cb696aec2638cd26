/*
 * Text to ids, as CLIPTokenizer does it: normalised text is split into words, each byte of a word
 * is a symbol (the last one with "</w>"), and the pair with the lowest rank is merged until none is
 * left, of equal ranks the leftmost first. Pairs wait in a heap, so a word of n bytes takes
 * O(n log n).
 */
#include "clip_bpe.h"

#include <string.h>

#include "alloc.h"
#include "clip_normal.h"
#include "tokenizer_state.h"
#include "unicode.h"

static const uint32_t none = UINT32_MAX;

/* ------ one word */

struct ti_clip_symbol {
  uint32_t id; /* none = merged into the one before */
  uint32_t before, after;
};

struct ti_clip_waiting {
  uint32_t rank, at, result;
};

typedef struct ti_clip_symbol symbol;
typedef struct ti_clip_waiting waiting;

static const ti_clip_merge *find_merge(const ti_clip_bpe *bpe, uint32_t first, uint32_t second)
{
  size_t lo = bpe->merge_start[first], hi = bpe->merge_start[first + 1];

  while (lo < hi) {
    const size_t mid = lo + (hi - lo) / 2;
    const ti_clip_merge *m = &bpe->merges[mid];

    if (m->second == second)
      return m;
    if (m->second < second)
      lo = mid + 1;
    else
      hi = mid;
  }
  return NULL;
}

static int sooner(const waiting *a, const waiting *b)
{
  return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(ti_encoding *e, waiting w)
{
  size_t i = e->heap_count++;

  while (i > 0 && sooner(&w, &e->heap[(i - 1) / 2])) {
    e->heap[i] = e->heap[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  e->heap[i] = w;
}

static waiting heap_pop(ti_encoding *e)
{
  const waiting top = e->heap[0], last = e->heap[--e->heap_count];
  size_t i = 0;

  for (;;) {
    size_t child = 2 * i + 1;

    if (child >= e->heap_count)
      break;
    if (child + 1 < e->heap_count && sooner(&e->heap[child + 1], &e->heap[child]))
      child++;
    if (!sooner(&e->heap[child], &last))
      break;
    e->heap[i] = e->heap[child];
    i = child;
  }
  e->heap[i] = last;
  return top;
}

/* the pair that begins at symbol at may be merged */
static void consider(ti_encoding *e, uint32_t at)
{
  const symbol *s = &e->symbols[at];
  const ti_clip_merge *m;

  if (s->after == none)
    return;
  m = find_merge(&e->t->clip, s->id, e->symbols[s->after].id);
  if (m)
    heap_push(e, (waiting){ m->rank, at, m->result });
}

static textinv_status make_room(ti_encoding *e, size_t len)
{
  const size_t room = len * 2 + 64;

  if (len <= e->room)
    return TEXTINV_OK;
  e->room = 0;
  ti_free(e->symbols);
  ti_free(e->heap);
  e->symbols = ti_calloc(room, sizeof(*e->symbols));
  e->heap = ti_calloc(room, 2 * sizeof(*e->heap));
  if (!e->symbols || !e->heap)
    return ti_fail_nomem(e->error, room * 2 * sizeof(*e->heap), "a long word");
  e->room = room;
  return TEXTINV_OK;
}

static textinv_status encode_word(ti_encoding *e, const char *word, size_t len)
{
  textinv_status status = make_room(e, len);
  symbol *s = e->symbols;

  if (status < 0)
    return status;
  for (size_t i = 0; i < len; i++) {
    const unsigned char byte = (unsigned char)word[i];
    const int last = i == len - 1;

    s[i].id = last ? e->t->clip.end_bytes[byte] : e->t->clip.bytes[byte];
    s[i].before = i > 0 ? (uint32_t)i - 1 : none;
    s[i].after = last ? none : (uint32_t)i + 1;
  }
  e->heap_count = 0;
  for (size_t i = 0; i + 1 < len; i++)
    consider(e, (uint32_t)i);

  while (e->heap_count > 0) {
    const waiting w = heap_pop(e);
    symbol *left = &s[w.at], *right;
    const ti_clip_merge *m;

    if (left->id == none || left->after == none)
      continue;
    right = &s[left->after];
    m = find_merge(&e->t->clip, left->id, right->id);
    if (!m || m->result != w.result) /* one of the two has changed since */
      continue;
    left->id = w.result;
    right->id = none;
    left->after = right->after;
    if (left->after != none)
      s[left->after].before = w.at;
    if (left->before != none)
      consider(e, left->before);
    consider(e, w.at);
  }
  for (uint32_t i = 0; i != none; i = s[i].after)
    if ((status = ti_encoding_push(e, s[i].id, 1)) < 0)
      return status;
  return TEXTINV_OK;
}

/* ------ words of normalised text */

static int begins(const char *text, size_t len, const char *with)
{
  const size_t n = strlen(with);

  return len >= n && memcmp(text, with, n) == 0;
}

/*
 * Length of the word that text begins with, from the expression
 * <\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
 * 0 for a space. *marker is set for the first two: their parts are words, as byte-level's own
 * expression splits them again, but the run of signs does not go on behind them.
 */
static size_t word_length(const char *text, size_t len, int *marker)
{
  static const char *const endings[] = { "'s", "'t", "'re", "'ve", "'m", "'ll", "'d" };
  static const char *const markers[] = { "<|startoftext|>", "<|endoftext|>" };
  ti_clip_class class;
  size_t n;
  int32_t c;

  *marker = 0;
  for (size_t i = 0; *text == '<' && i < 2; i++) {
    if (begins(text, len, markers[i])) {
      *marker = 1;
      return strlen(markers[i]);
    }
  }
  for (size_t i = 0; *text == '\'' && i < 7; i++)
    if (begins(text, len, endings[i]))
      return strlen(endings[i]);

  n = ti_text_next(&c, text);
  class = ti_clip_class_of(c);
  if (class == TI_CLIP_SPACE)
    return 0;
  while (class != TI_CLIP_NUMBER && n < len) {
    const size_t bytes = ti_text_next(&c, text + n);

    if (ti_clip_class_of(c) != class)
      break;
    n += bytes;
  }
  return n;
}

textinv_status ti_clip_bpe_encode(ti_encoding *e, const char *text, size_t len)
{
  textinv_status status;

  for (size_t i = 0; i < len;) {
    int marker;
    const size_t n = word_length(text + i, len - i, &marker);

    if (n == 0) {
      i++;
    } else if (marker) {
      if ((status = encode_word(e, text + i, 2)) < 0 ||
          (status = encode_word(e, text + i + 2, n - 4)) < 0 ||
          (status = encode_word(e, text + i + n - 2, 2)) < 0)
        return status;
    } else if ((status = encode_word(e, text + i, n)) < 0) {
      return status;
    }
    i += n;
  }
  return TEXTINV_OK;
}
