/*
 * Prompts with new words, matched in the normalised text as transformers matches the tokens that
 * load_textual_inversion() adds: wherever they stand, also within other letters, in any case. Words
 * that have the same normal form are told apart by their exact spelling, which is looked for
 * before.
 */
#include "prompt.h"

#include <string.h>

#include "alloc.h"
#include "clip_bpe_state.h"
#include "clip_normal.h"

typedef struct matchers {
  ti_match *raw, *normal; /* the tokenizer's own and the words */
  size_t num_raw, num_normal;
  char **texts; /* [num_words], normalised words */
} matchers;

static void free_matchers(matchers *m, size_t num_words)
{
  for (size_t i = 0; m->texts && i < num_words; i++)
    ti_free(m->texts[i]);
  ti_free(m->texts);
  ti_free(m->raw);
  ti_free(m->normal);
}

static int same_text(const ti_match *a, const ti_match *b)
{
  return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

static textinv_status make_matchers(matchers *m, const ti_clip_bpe *bpe, ti_error *error,
                                    const ti_prompt_word *words, size_t num_words)
{
  textinv_status status;

  m->raw = ti_calloc(bpe->num_raw + num_words, sizeof(*m->raw));
  m->normal = ti_calloc(bpe->num_normal + num_words, sizeof(*m->normal));
  m->texts = ti_calloc(num_words, sizeof(*m->texts));
  if (!m->raw || !m->normal || !m->texts)
    return ti_fail_nomem(error, (bpe->num_raw + num_words) * sizeof(*m->raw), "the new words");

  for (size_t i = 0; i < num_words; i++) {
    const ti_prompt_word *w = &words[i];
    ti_match match = { NULL, 0, w->first_id, w->num_vectors, i };
    char *valid;

    if ((status = ti_clip_repair(&valid, &match.len, error, w->word, strlen(w->word))) < 0)
      return status;
    status = ti_clip_normalize(&m->texts[i], &match.len, error, valid, match.len);
    ti_free(valid);
    if (status < 0)
      return status;
    match.text = m->texts[i];
    if (match.len > 0)
      m->normal[m->num_normal++] = match;
  }
  ti_match_sort(m->normal, m->num_normal);
  for (size_t i = 0; i < m->num_normal; i++) {
    const ti_match *one = &m->normal[i];
    const int as_before = i > 0 && same_text(one, one - 1);
    const int as_after = i + 1 < m->num_normal && same_text(one, one + 1);

    if (as_before || as_after) {
      m->raw[m->num_raw] = *one;
      m->raw[m->num_raw].text = words[one->order].word;
      m->raw[m->num_raw++].len = strlen(words[one->order].word);
    }
  }

  /* a word goes before a token of the same text */
  for (size_t i = 0; i < bpe->num_raw; i++) {
    m->raw[m->num_raw] = bpe->raw[i];
    m->raw[m->num_raw++].order += num_words;
  }
  for (size_t i = 0; i < bpe->num_normal; i++) {
    m->normal[m->num_normal] = bpe->normal[i];
    m->normal[m->num_normal++].order += num_words;
  }
  ti_match_sort(m->raw, m->num_raw);
  ti_match_sort(m->normal, m->num_normal);
  return TEXTINV_OK;
}

textinv_status ti_prompt_encode(const ti_clip_bpe *bpe, ti_error *error,
                                const ti_prompt_word *words, size_t num_words, const char *text,
                                uint32_t **ids, size_t *count)
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
  if ((status = make_matchers(&m, bpe, error, words, num_words)) < 0 ||
      (status = ti_clip_bpe_encode_words(bpe, error, m.raw, m.num_raw, m.normal, m.num_normal, text,
                                         len, &body, &n)) < 0)
    goto out;
  *ids = ti_calloc(n + 2, sizeof(**ids));
  if (!*ids) {
    status = ti_fail_nomem(error, (n + 2) * sizeof(**ids), "token ids");
    goto out;
  }
  (*ids)[0] = ti_clip_bpe_bos(bpe);
  memcpy(*ids + 1, body, n * sizeof(**ids));
  (*ids)[n + 1] = ti_clip_bpe_eos(bpe);
  *count = n + 2;
out:
  ti_free(body);
  free_matchers(&m, num_words);
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

textinv_status ti_prompt_fit(const ti_clip_bpe *bpe, ti_error *error, const ti_prompt_word *words,
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
  if ((status = ti_prompt_encode(bpe, error, words, num_words, text, &all, &count)) < 0)
    return status;

  kept = count - 2; /* between begin and end */
  if (kept > (size_t)length - 2) {
    kept = (size_t)length - 2;
    kept -= vector_of(words, num_words, all[1 + kept]);
    *truncated = count - 2 - kept;
  }
  for (size_t i = 0; i < 1 + kept; i++)
    ids[i] = (int32_t)all[i];
  ids[1 + kept] = (int32_t)ti_clip_bpe_eos(bpe);
  for (int i = (int)kept + 2; i < length; i++)
    ids[i] = (int32_t)ti_clip_bpe_pad(bpe);
  while (ids[*eos] != (int32_t)ti_clip_bpe_eos(bpe))
    ++*eos;
  ti_free(all);
  return TEXTINV_OK;
}
