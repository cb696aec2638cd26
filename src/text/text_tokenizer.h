/* Text to ids and back, equal to the tokenizers of transformers. */
#ifndef TI_TEXT_TOKENIZER_H
#define TI_TEXT_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

typedef struct ti_tokenizer ti_tokenizer;

typedef enum { TI_TOKENIZER_CLIP, TI_TOKENIZER_BERT } ti_tokenizer_kind;

/*
 * A folder with vocab.json + merges.txt (CLIP), vocab.txt (BERT) or tokenizer.json;
 * special_tokens_map.json and tokenizer_config.json too. With pad it may be CLIP's own vocabulary,
 * of which merges.txt alone does; pad fills prompts where the files name no token for it.
 */
textinv_status ti_tokenizer_open(ti_tokenizer **out, ti_error *error, const char *folder,
                                 const char *pad);
void ti_tokenizer_free(ti_tokenizer *t);

ti_tokenizer_kind ti_tokenizer_kind_of(const ti_tokenizer *t);
uint32_t ti_tokenizer_size(const ti_tokenizer *t); /* largest id + 1 */
/* before and behind every text: bos and eos, or [CLS] and [SEP] */
uint32_t ti_tokenizer_begin(const ti_tokenizer *t);
uint32_t ti_tokenizer_end(const ti_tokenizer *t);
uint32_t ti_tokenizer_pad(const ti_tokenizer *t);
/* model_max_length, 77 when the files do not tell */
int ti_tokenizer_max_length(const ti_tokenizer *t);
const char *ti_tokenizer_token(const ti_tokenizer *t, uint32_t id); /* NULL = no such id */
/* 1 = found, as in the vocabulary */
int ti_tokenizer_find(const ti_tokenizer *t, const char *token, uint32_t *id);

/*
 * Text as the tokenizer sees it, of valid UTF-8; ti_free() it. *written, where it is asked for,
 * [*out_len]: the code points before they became lower case, where the bytes of each begin, 0
 * elsewhere; ti_free() it, too.
 */
textinv_status ti_tokenizer_normalize(const ti_tokenizer *t, char **out, size_t *out_len,
                                      int32_t **written, ti_error *error, const char *text,
                                      size_t len);

/* ids of text, without begin and end; invalid UTF-8 is read as U+FFFD; *ids: ti_free() */
textinv_status ti_tokenizer_encode(const ti_tokenizer *t, ti_error *error, const char *text,
                                   size_t len, uint32_t **ids, size_t *count);

#endif /* TI_TEXT_TOKENIZER_H */
