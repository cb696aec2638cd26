/*
 * Prompts with new words, matched in the normalised text as transformers matches the tokens that
 * load_textual_inversion() adds: wherever they stand, also within other letters, in any case. Words
 * that differ in case alone are told apart by how the text at a match was written.
 */
#include "prompt.h"

#include <string.h>

#include "alloc.h"
#include "tokenizer_state.h"
#include "unicode.h"
#include "weighted_text.h"

typedef struct matchers {
  ti_match *all; /* the words and the tokenizer's own */
  size_t count, num_words;
} matchers;

static void free_matchers(matchers *m)
{
  for (size_t i = 0; i < m->count; i++) {
    if (m->all[i].order < m->num_words) {
      ti_free((char *)m->all[i].text);
      ti_free((int32_t *)m->all[i].written);
    }
  }
  ti_free(m->all);
}

static textinv_status make_matchers(matchers *m, const ti_tokenizer *t, ti_error *error,
                                    const ti_prompt_word *words, size_t num_words)
{
  const size_t room = num_words + t->num_normal;

  m->all = ti_calloc(room, sizeof(*m->all));
  if (!m->all)
    return ti_fail_nomem(error, room * sizeof(*m->all), "the new words");
  m->num_words = num_words;
  for (size_t i = 0; i < num_words; i++) {
    const ti_prompt_word *w = &words[i];
    textinv_status status;
    char *valid, *text;
    int32_t *written;
    size_t len;

    if ((status = ti_text_repair(&valid, &len, error, w->word, strlen(w->word))) < 0)
      return status;
    status = ti_tokenizer_normalize(t, &text, &len, &written, error, valid, len);
    ti_free(valid);
    if (status >= 0 && len > 0) {
      m->all[m->count++] = (ti_match){ text, len, written, w->first_id, w->num_vectors, i };
      continue;
    }
    ti_free(text);
    ti_free(written);
    if (status < 0)
      return status;
  }
  /* a word goes before a token of the same text */
  for (size_t i = 0; i < t->num_normal; i++) {
    m->all[m->count] = t->normal[i];
    m->all[m->count++].order += num_words;
  }
  ti_match_sort(m->all, m->count);
  return TEXTINV_OK;
}

/* n tokens of one weight; weights may be NULL */
static textinv_status append(uint32_t **ids, float **weights, size_t *count, ti_error *error,
                             const uint32_t *body, size_t n, float weight)
{
  const size_t room = *count + n + (n == 0);
  uint32_t *more = ti_realloc_array(*ids, room, sizeof(*more));
  float *weigh = weights && more ? ti_realloc_array(*weights, room, sizeof(*weigh)) : NULL;

  *ids = more ? more : *ids;
  if (weights && weigh)
    *weights = weigh;
  if (!more || (weights && !weigh))
    return ti_fail_nomem(error, room * sizeof(*more), "token ids");
  for (size_t i = 0; i < n; i++) {
    more[*count + i] = body[i];
    if (weights)
      weigh[*count + i] = weight;
  }
  *count += n;
  return TEXTINV_OK;
}

textinv_status ti_prompt_encode(const ti_tokenizer *t, ti_error *error, const ti_prompt_word *words,
                                size_t num_words, const char *text, uint32_t **ids, float **weights,
                                size_t *count)
{
  const size_t len = strnlen(text, (size_t)TI_PROMPT_MAX_BYTES + 1);
  const uint32_t begin = ti_tokenizer_begin(t), end = ti_tokenizer_end(t);
  ti_text_run whole = { 0, len, 1.0 };
  ti_weighted_text parsed = { NULL, &whole, 1 };
  matchers m = { 0 };
  textinv_status status;

  *ids = NULL;
  if (weights)
    *weights = NULL;
  *count = 0;
  if (len > TI_PROMPT_MAX_BYTES)
    return ti_fail(error, TEXTINV_E_LIMIT, "a prompt has over %d bytes, which is the most",
                   TI_PROMPT_MAX_BYTES);
  if (weights && (status = ti_weighted_text_parse(&parsed, error, text, len)) < 0)
    return status;
  if ((status = make_matchers(&m, t, error, words, num_words)) < 0 ||
      (status = append(ids, weights, count, error, &begin, 1, 1.0f)) < 0)
    goto out;
  for (size_t i = 0; i < parsed.count && status >= 0; i++) {
    const ti_text_run *run = &parsed.runs[i];
    uint32_t *body = NULL;
    size_t n;

    status = ti_tokenizer_encode_words(
      t, error, m.all, m.count, (weights ? parsed.text : text) + run->from, run->len, &body, &n);
    if (status >= 0)
      status = append(ids, weights, count, error, body, n, (float)run->weight);
    ti_free(body);
  }
  if (status >= 0)
    status = append(ids, weights, count, error, &end, 1, 1.0f);
out:
  if (status < 0) {
    ti_free(*ids);
    *ids = NULL;
    *count = 0;
    if (weights) {
      ti_free(*weights);
      *weights = NULL;
    }
  }
  if (weights)
    ti_weighted_text_free(&parsed);
  free_matchers(&m);
  return status;
}

/* which vector of its word id is; 0 for the first one and for ordinary tokens */
static uint32_t vector_of(const ti_prompt_word *words, size_t num_words, uint32_t id)
{
  for (size_t i = 0; i < num_words; i++)
    if (id >= words[i].first_id && id - words[i].first_id < words[i].num_vectors)
      return id - words[i].first_id;
  return 0;
}

textinv_status ti_prompt_fit(const ti_tokenizer *t, ti_error *error, const ti_prompt_word *words,
                             size_t num_words, const char *text, int length, int32_t *ids,
                             float *weights, size_t *truncated, int32_t *eos)
{
  textinv_status status;
  float *all_weights = NULL;
  uint32_t *all;
  size_t count, kept;

  *truncated = 0;
  *eos = 0;
  if (length < 2)
    return ti_fail(error, TEXTINV_E_INVALID,
                   "a prompt is fitted into %d positions, expected 2 or more", length);
  if ((status = ti_prompt_encode(t, error, words, num_words, text, &all,
                                 weights ? &all_weights : NULL, &count)) < 0)
    return status;

  kept = count - 2; /* between begin and end */
  if (kept > (size_t)length - 2) {
    kept = (size_t)length - 2;
    kept -= vector_of(words, num_words, all[1 + kept]);
    *truncated = count - 2 - kept;
  }
  for (size_t i = 0; i < 1 + kept; i++)
    ids[i] = (int32_t)all[i];
  ids[1 + kept] = (int32_t)ti_tokenizer_end(t);
  for (int i = (int)kept + 2; i < length; i++)
    ids[i] = (int32_t)ti_tokenizer_pad(t);
  while (ids[*eos] != (int32_t)ti_tokenizer_end(t))
    ++*eos;
  for (int i = 0; weights && i < length; i++)
    weights[i] = i <= (int)kept ? all_weights[i] : 1.0f;
  ti_free(all_weights);
  ti_free(all);
  return TEXTINV_OK;
}
