/* The files of a tokenizer: what all kinds have in common. */
#ifndef TI_TOKENIZER_FILES_H
#define TI_TOKENIZER_FILES_H

#include <stdint.h>

#include <jansson.h>

enum { TI_TOKENIZER_MAX_IDS = 1 << 20, TI_TOKENIZER_MAX_ADDED = 1 << 13 };

/* the id of a token, 0 = there is none; the values of vocab are checked */
int ti_vocab_id(const json_t *vocab, const char *token, uint32_t *id);

#endif /* TI_TOKENIZER_FILES_H */
