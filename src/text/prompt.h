/* Prompts with new words: matched longest first and never split, then the tokenizer for the rest.
 */
#ifndef TI_PROMPT_H
#define TI_PROMPT_H

#include "text_tokenizer.h"

/* a new word and its ids: first_id .. first_id + num_vectors - 1 */
typedef struct ti_prompt_word {
  const char *word;
  uint32_t first_id;
  uint32_t num_vectors;
} ti_prompt_word;

enum { TI_PROMPT_MAX_BYTES = 1 << 20 };

/*
 * ids with begin and end token, no padding, any length; *ids: ti_free(). A word is found wherever
 * it stands, also within letters, in any case and Unicode form, for BERT with accents or without,
 * as transformers finds added tokens; of words that differ in case alone each is found as it is
 * written, and the first otherwise. text over TI_PROMPT_MAX_BYTES is refused with LIMIT.
 * weights: NULL, or brackets weigh as in weighted_text.h; then *weights [count]: ti_free().
 */
textinv_status ti_prompt_encode(const ti_tokenizer *t, ti_error *error, const ti_prompt_word *words,
                                size_t num_words, const char *text, uint32_t **ids, float **weights,
                                size_t *count);

/*
 * The same into exactly length positions: cut (the last is then the end token; a word that does not
 * fit whole is left out whole) or padded. *truncated = tokens left out, *eos = position of the
 * first end token. weights [length], likewise, or NULL; begin, end and padding have 1.
 */
textinv_status ti_prompt_fit(const ti_tokenizer *t, ti_error *error, const ti_prompt_word *words,
                             size_t num_words, const char *text, int length, int32_t *ids,
                             float *weights, size_t *truncated, int32_t *eos);

#endif /* TI_PROMPT_H */
