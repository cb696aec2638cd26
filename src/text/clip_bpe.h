/* CLIP's byte-pair tokenizer, equal to transformers' CLIPTokenizer. */
#ifndef TI_CLIP_BPE_H
#define TI_CLIP_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

typedef struct ti_clip_bpe ti_clip_bpe;

/*
 * A folder with vocab.json + merges.txt, or tokenizer.json; special_tokens_map.json and
 * tokenizer_config.json too. With pad it may be CLIP's own vocabulary, of which merges.txt alone
 * does; pad fills prompts where the files name no token for it.
 */
textinv_status ti_clip_bpe_open(ti_clip_bpe **out, ti_error *error, const char *folder,
                                const char *pad);
void ti_clip_bpe_free(ti_clip_bpe *bpe);

uint32_t ti_clip_bpe_size(const ti_clip_bpe *bpe); /* largest id + 1 */
uint32_t ti_clip_bpe_bos(const ti_clip_bpe *bpe);
uint32_t ti_clip_bpe_eos(const ti_clip_bpe *bpe);
uint32_t ti_clip_bpe_pad(const ti_clip_bpe *bpe);
int ti_clip_bpe_max_length(
  const ti_clip_bpe *bpe); /* model_max_length, 77 when the files do not tell */
const char *ti_clip_bpe_token(const ti_clip_bpe *bpe, uint32_t id); /* NULL = no such id */
int ti_clip_bpe_find(const ti_clip_bpe *bpe, const char *token,
                     uint32_t *id); /* 1 = found, as in the vocabulary */

/* ids of text, without begin and end; invalid UTF-8 is read as U+FFFD; *ids: ti_free() */
textinv_status ti_clip_bpe_encode(const ti_clip_bpe *bpe, ti_error *error, const char *text,
                                  size_t len, uint32_t **ids, size_t *count);

#endif /* TI_CLIP_BPE_H */
