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

textinv_status ti_prompt_encode(const ti_tokenizer *t, ti_error *error, const ti_prompt_word *words,
                                size_t num_words, const char *text, uint32_t **ids, size_t *count)
{
  const size_t len = strnlen(text, (size_t)TI_PROMPT_MAX_BYTES + 1);
  matchers m = { 0 };
  uint32_t *body = NULL;
  textinv_status status;
  size_t n;

  *ids = NULL;
  *count = 0;
  if (len > TI_PROMPT_MAX_BYTES)
    return ti_fail(error, TEXTINV_E_LIMIT, "a prompt has over %d bytes, which is the most",
                   TI_PROMPT_MAX_BYTES);
  if ((status = make_matchers(&m, t, error, words, num_words)) < 0 ||
      (status = ti_tokenizer_encode_words(t, error, m.all, m.count, text, len, &body, &n)) < 0)
    goto out;
  *ids = ti_calloc(n + 2, sizeof(**ids));
  if (!*ids) {
    status = ti_fail_nomem(error, (n + 2) * sizeof(**ids), "token ids");
    goto out;
  }
  (*ids)[0] = ti_tokenizer_begin(t);
  memcpy(*ids + 1, body, n * sizeof(**ids));
  (*ids)[n + 1] = ti_tokenizer_end(t);
  *count = n + 2;
out:
  ti_free(body);
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
                             size_t *truncated, int32_t *eos)
{
  textinv_status status;
  uint32_t *all;
  size_t count, kept;

  *truncated = 0;
  *eos = 0;
  if (length < 2)
    return ti_fail(error, TEXTINV_E_INVALID,
                   "a prompt is fitted into %d positions, expected 2 or more", length);
  if ((status = ti_prompt_encode(t, error, words, num_words, text, &all, &count)) < 0)
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
  ti_free(all);
  return TEXTINV_OK;
}
