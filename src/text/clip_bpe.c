/*
 * Text to ids, as CLIPTokenizer does it: tokens that are found whole split the text, what is left
 * is normalised and split into words, each byte of a word is a symbol (the last one with "</w>"),
 * and the pair with the lowest rank is merged until none is left, of equal ranks the leftmost
 * first. Pairs wait in a heap, so a word of n bytes takes O(n log n).
 */
#include "clip_bpe.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "clip_bpe_state.h"
#include "clip_normal.h"

static const uint32_t none = UINT32_MAX;

textinv_status ti_clip_bpe_open(ti_clip_bpe **out, ti_error *error, const char *folder,
                                const char *pad)
{
  ti_clip_bpe *bpe = ti_calloc(1, sizeof(*bpe));
  textinv_status status;

  *out = NULL;
  if (!bpe)
    return ti_fail_nomem(error, sizeof(*bpe), "the tokenizer");
  if ((status = ti_clip_bpe_read(bpe, error, folder, pad)) < 0) {
    ti_clip_bpe_free(bpe);
    return status;
  }
  *out = bpe;
  return TEXTINV_OK;
}

void ti_clip_bpe_free(ti_clip_bpe *bpe)
{
  if (!bpe)
    return;
  for (uint32_t i = 0; bpe->tokens && i < bpe->size; i++)
    ti_free(bpe->tokens[i]);
  for (size_t i = 0; i < bpe->num_raw; i++)
    ti_free((char *)bpe->raw[i].text);
  for (size_t i = 0; i < bpe->num_normal; i++)
    ti_free((char *)bpe->normal[i].text);
  ti_free(bpe->tokens);
  ti_free(bpe->sorted);
  ti_free(bpe->merges);
  ti_free(bpe->merge_start);
  ti_free(bpe->raw);
  ti_free(bpe->normal);
  ti_free(bpe);
}

uint32_t ti_clip_bpe_size(const ti_clip_bpe *bpe)
{
  return bpe->size;
}

uint32_t ti_clip_bpe_bos(const ti_clip_bpe *bpe)
{
  return bpe->bos;
}

uint32_t ti_clip_bpe_eos(const ti_clip_bpe *bpe)
{
  return bpe->eos;
}

uint32_t ti_clip_bpe_pad(const ti_clip_bpe *bpe)
{
  return bpe->pad;
}

int ti_clip_bpe_max_length(const ti_clip_bpe *bpe)
{
  return bpe->max_length;
}

const char *ti_clip_bpe_token(const ti_clip_bpe *bpe, uint32_t id)
{
  return id < bpe->size ? bpe->tokens[id] : NULL;
}

int ti_clip_bpe_find(const ti_clip_bpe *bpe, const char *token, uint32_t *id)
{
  size_t lo = 0, hi = bpe->num_sorted;

  while (lo < hi) {
    const size_t mid = lo + (hi - lo) / 2;
    const int order = strcmp(token, bpe->sorted[mid].token);

    if (order == 0) {
      *id = bpe->sorted[mid].id;
      return 1;
    }
    if (order < 0)
      hi = mid;
    else
      lo = mid + 1;
  }
  return 0;
}

/* ------ one word */

typedef struct symbol {
  uint32_t id; /* none = merged into the one before */
  uint32_t before, after;
} symbol;

typedef struct waiting {
  uint32_t rank, at, result;
} waiting;

typedef struct encoder {
  const ti_clip_bpe *bpe;
  const ti_match *normal;
  size_t num_normal;
  ti_error *error;
  symbol *symbols; /* [room] */
  waiting *heap;   /* [3 room] */
  size_t room, heap_count;
  uint32_t *ids;
  size_t count, capacity;
} encoder;

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

static void heap_push(encoder *e, waiting w)
{
  size_t i = e->heap_count++;

  while (i > 0 && sooner(&w, &e->heap[(i - 1) / 2])) {
    e->heap[i] = e->heap[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  e->heap[i] = w;
}

static waiting heap_pop(encoder *e)
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
static void consider(encoder *e, uint32_t at)
{
  const symbol *s = &e->symbols[at];
  const ti_clip_merge *m;

  if (s->after == none)
    return;
  m = find_merge(e->bpe, s->id, e->symbols[s->after].id);
  if (m)
    heap_push(e, (waiting){ m->rank, at, m->result });
}

static textinv_status push_ids(encoder *e, uint32_t first, uint32_t count)
{
  if (!e->ids || e->capacity - e->count < count) {
    const size_t capacity = (e->count + count) * 2 + 16;
    uint32_t *grown = ti_realloc_array(e->ids, capacity, sizeof(*grown));

    if (!grown)
      return ti_fail_nomem(e->error, capacity * sizeof(*grown), "token ids");
    e->ids = grown;
    e->capacity = capacity;
  }
  for (uint32_t i = 0; i < count; i++)
    e->ids[e->count++] = first + i;
  return TEXTINV_OK;
}

static textinv_status make_room(encoder *e, size_t len)
{
  const size_t room = len * 2 + 64;

  if (len <= e->room)
    return TEXTINV_OK;
  e->room = 0;
  ti_free(e->symbols);
  ti_free(e->heap);
  e->symbols = ti_calloc(room, sizeof(*e->symbols));
  e->heap = ti_calloc(room, 3 * sizeof(*e->heap));
  if (!e->symbols || !e->heap)
    return ti_fail_nomem(e->error, room * 3 * sizeof(*e->heap), "a long word");
  e->room = room;
  return TEXTINV_OK;
}

static textinv_status encode_word(encoder *e, const char *word, size_t len)
{
  textinv_status status = make_room(e, len);
  symbol *s = e->symbols;

  if (status < 0)
    return status;
  for (size_t i = 0; i < len; i++) {
    const unsigned char byte = (unsigned char)word[i];
    const int last = i == len - 1;

    s[i].id = last ? e->bpe->end_bytes[byte] : e->bpe->bytes[byte];
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
    m = find_merge(e->bpe, left->id, right->id);
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
    if ((status = push_ids(e, s[i].id, 1)) < 0)
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

  n = ti_clip_next(&c, text);
  class = ti_clip_class_of(c);
  if (class == TI_CLIP_SPACE)
    return 0;
  while (class != TI_CLIP_NUMBER && n < len) {
    const size_t bytes = ti_clip_next(&c, text + n);

    if (ti_clip_class_of(c) != class)
      break;
    n += bytes;
  }
  return n;
}

static textinv_status encode_plain(encoder *e, const char *text, size_t len)
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

/* ------ texts */

typedef textinv_status (*piece_fn)(encoder *e, const char *text, size_t len);

/* the matches give their ids, what is between them goes to piece */
static textinv_status split(encoder *e, const ti_match *matches, size_t count, const char *text,
                            const int32_t *written, size_t len, piece_fn piece)
{
  textinv_status status;
  size_t begin = 0, i = 0;

  while (i < len) {
    const ti_match *m = ti_match_longest(matches, count, text + i, len - i);

    if (!m) {
      i++;
      continue;
    }
    if (written)
      m = ti_match_written(m, matches + count, written + i);
    if (i > begin && (status = piece(e, text + begin, i - begin)) < 0)
      return status;
    if ((status = push_ids(e, m->first_id, m->num_ids)) < 0)
      return status;
    begin = i += m->len;
  }
  return len > begin ? piece(e, text + begin, len - begin) : TEXTINV_OK;
}

static textinv_status encode_piece(encoder *e, const char *text, size_t len)
{
  char *normal;
  int32_t *written;
  size_t normal_len;
  textinv_status status = ti_clip_normalize(&normal, &normal_len, &written, e->error, text, len);

  if (status >= 0)
    status = split(e, e->normal, e->num_normal, normal, written, normal_len, encode_plain);
  ti_free(normal);
  ti_free(written);
  return status;
}

textinv_status ti_clip_bpe_encode_words(const ti_clip_bpe *bpe, ti_error *error,
                                        const ti_match *normal, size_t num_normal, const char *text,
                                        size_t len, uint32_t **ids, size_t *count)
{
  encoder e = { .bpe = bpe, .normal = normal, .num_normal = num_normal, .error = error };
  textinv_status status;
  char *valid;
  size_t valid_len;

  *ids = NULL;
  *count = 0;
  if ((status = ti_clip_repair(&valid, &valid_len, error, text, len)) < 0 ||
      (status = push_ids(&e, 0, 0)) < 0 ||
      (status = split(&e, bpe->raw, bpe->num_raw, valid, NULL, valid_len, encode_piece)) < 0)
    goto out;
  *ids = e.ids;
  *count = e.count;
  e.ids = NULL;
out:
  ti_free(e.ids);
  ti_free(e.symbols);
  ti_free(e.heap);
  ti_free(valid);
  return status;
}

textinv_status ti_clip_bpe_encode(const ti_clip_bpe *bpe, ti_error *error, const char *text,
                                  size_t len, uint32_t **ids, size_t *count)
{
  return ti_clip_bpe_encode_words(bpe, error, bpe->normal, bpe->num_normal, text, len, ids, count);
}
