/* BERT's tokenizer, equal to transformers' BertTokenizer. */
#ifndef TI_WORDPIECE_H
#define TI_WORDPIECE_H

#include "error.h"
#include "json.h"
#include "matcher.h"

typedef struct ti_wordpiece {
  int lower, strip_accents, split_han;
  ti_match *first, *rest; /* tokens as a word begins and, without "##", goes on; sorted */
  size_t num_first, num_rest;
} ti_wordpiece;

/* FOLDER/vocab.txt as an object */
textinv_status ti_wordpiece_vocab(ti_json *out, ti_error *error, const char *folder);
/* from tokenizer_config.json, which may be empty, and those of the tokens, whose texts are
 * borrowed, that are in the vocabulary */
textinv_status ti_wordpiece_read(ti_wordpiece *w, ti_error *error, const ti_json *config,
                                 const json_t *vocab, char *const *tokens, uint32_t size);

/* as ti_tokenizer_normalize() */
textinv_status ti_wordpiece_normalize(const ti_wordpiece *w, char **out, size_t *out_len,
                                      int32_t **written, ti_error *error, const char *text,
                                      size_t len);
/* whether a character is a word of its own */
int ti_wordpiece_is_punctuation(int32_t c);

#endif /* TI_WORDPIECE_H */
