/*
 * A tokenizer in use: tokens that are found whole split the text, what is left is normalised and
 * split again, and what is between those is for the kind of tokenizer.
 */
#include "text_tokenizer.h"

#include <string.h>

#include "alloc.h"
#include "clip_normal.h"
#include "tokenizer_state.h"
#include "unicode.h"

textinv_status ti_tokenizer_open(ti_tokenizer **out, ti_error *error, const char *folder,
                                 const char *pad)
{
  ti_tokenizer *t = ti_calloc(1, sizeof(*t));
  textinv_status status;

  *out = NULL;
  if (!t)
    return ti_fail_nomem(error, sizeof(*t), "the tokenizer");
  if ((status = ti_tokenizer_read(t, error, folder, pad)) < 0) {
    ti_tokenizer_free(t);
    return status;
  }
  *out = t;
  return TEXTINV_OK;
}

void ti_tokenizer_free(ti_tokenizer *t)
{
  if (!t)
    return;
  for (uint32_t i = 0; t->tokens && i < t->size; i++)
    ti_free(t->tokens[i]);
  for (size_t i = 0; i < t->num_raw; i++)
    ti_free((char *)t->raw[i].text);
  for (size_t i = 0; i < t->num_normal; i++)
    ti_free((char *)t->normal[i].text);
  ti_free(t->tokens);
  ti_free(t->sorted);
  ti_free(t->raw);
  ti_free(t->normal);
  ti_free(t->clip.merges);
  ti_free(t->clip.merge_start);
  ti_free(t->wordpiece.first);
  ti_free(t->wordpiece.rest);
  ti_free(t);
}

ti_tokenizer_kind ti_tokenizer_kind_of(const ti_tokenizer *t)
{
  return t->kind;
}

uint32_t ti_tokenizer_size(const ti_tokenizer *t)
{
  return t->size;
}

uint32_t ti_tokenizer_begin(const ti_tokenizer *t)
{
  return t->begin;
}

uint32_t ti_tokenizer_end(const ti_tokenizer *t)
{
  return t->end;
}

uint32_t ti_tokenizer_pad(const ti_tokenizer *t)
{
  return t->pad;
}

int ti_tokenizer_max_length(const ti_tokenizer *t)
{
  return t->max_length;
}

const char *ti_tokenizer_token(const ti_tokenizer *t, uint32_t id)
{
  return id < t->size ? t->tokens[id] : NULL;
}

int ti_tokenizer_find(const ti_tokenizer *t, const char *token, uint32_t *id)
{
  size_t lo = 0, hi = t->num_sorted;

  while (lo < hi) {
    const size_t mid = lo + (hi - lo) / 2;
    const int order = strcmp(token, t->sorted[mid].token);

    if (order == 0) {
      *id = t->sorted[mid].id;
      return 1;
    }
    if (order < 0)
      hi = mid;
    else
      lo = mid + 1;
  }
  return 0;
}

textinv_status ti_tokenizer_normalize(const ti_tokenizer *t, char **out, size_t *out_len,
                                      int32_t **written, ti_error *error, const char *text,
                                      size_t len)
{
  if (t->kind == TI_TOKENIZER_BERT)
    return ti_wordpiece_normalize(&t->wordpiece, out, out_len, written, error, text, len);
  return ti_clip_normalize(out, out_len, written, error, text, len);
}

/* ------ texts */

textinv_status ti_encoding_push(ti_encoding *e, uint32_t first, uint32_t count)
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

typedef textinv_status (*piece_fn)(ti_encoding *e, const char *text, size_t len);

/* the matches give their ids, what is between them goes to piece */
static textinv_status split(ti_encoding *e, const ti_match *matches, size_t count, const char *text,
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
    if ((status = ti_encoding_push(e, m->first_id, m->num_ids)) < 0)
      return status;
    begin = i += m->len;
  }
  return len > begin ? piece(e, text + begin, len - begin) : TEXTINV_OK;
}

static textinv_status encode_plain(ti_encoding *e, const char *text, size_t len)
{
  return e->t->kind == TI_TOKENIZER_BERT ? ti_wordpiece_encode(e, text, len)
                                         : ti_clip_bpe_encode(e, text, len);
}

static textinv_status encode_piece(ti_encoding *e, const char *text, size_t len)
{
  char *normal;
  int32_t *written;
  size_t normal_len;
  textinv_status status = ti_tokenizer_normalize(e->t, &normal, &normal_len, &written, e->error,
                                                 text, len);

  if (status >= 0)
    status = split(e, e->normal, e->num_normal, normal, written, normal_len, encode_plain);
  ti_free(normal);
  ti_free(written);
  return status;
}

textinv_status ti_tokenizer_encode_words(const ti_tokenizer *t, ti_error *error,
                                         const ti_match *normal, size_t num_normal,
                                         const char *text, size_t len, uint32_t **ids,
                                         size_t *count)
{
  ti_encoding e = { .t = t, .normal = normal, .num_normal = num_normal, .error = error };
  textinv_status status;
  char *valid;
  size_t valid_len;

  *ids = NULL;
  *count = 0;
  if ((status = ti_text_repair(&valid, &valid_len, error, text, len)) < 0 ||
      (status = ti_encoding_push(&e, 0, 0)) < 0 ||
      (status = split(&e, t->raw, t->num_raw, valid, NULL, valid_len, encode_piece)) < 0)
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

textinv_status ti_tokenizer_encode(const ti_tokenizer *t, ti_error *error, const char *text,
                                   size_t len, uint32_t **ids, size_t *count)
{
  return ti_tokenizer_encode_words(t, error, t->normal, t->num_normal, text, len, ids, count);
}
