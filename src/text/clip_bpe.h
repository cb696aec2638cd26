/* CLIP's byte-pair tokenizer, equal to transformers' CLIPTokenizer. */
#ifndef TI_CLIP_BPE_H
#define TI_CLIP_BPE_H

#include <jansson.h>

#include "error.h"
#include "json.h"

typedef struct ti_clip_merge {
  uint32_t first, second; /* the pair */
  uint32_t rank, result;
} ti_clip_merge;

typedef struct ti_clip_bpe {
  /* a byte as a symbol within and at the end of a word; the unknown token when there is none */
  uint32_t bytes[256], end_bytes[256];
  ti_clip_merge *merges; /* by first, then second */
  size_t num_merges;
  uint32_t *merge_start; /* [size + 1]: merges of first id i are merge_start[i] .. [i + 1] - 1 */
} ti_clip_bpe;

/* symbols of bytes; unk: of those that the vocabulary lacks */
void ti_clip_symbols_read(ti_clip_bpe *bpe, const json_t *vocab, uint32_t unk);
/* merges from a list of tokenizer.json, or from FOLDER/merges.txt; size: of the vocabulary */
textinv_status ti_clip_merges_read(ti_clip_bpe *bpe, uint32_t size, ti_error *error,
                                   const char *path, const json_t *vocab, const json_t *list);
textinv_status ti_clip_merges_read_file(ti_clip_bpe *bpe, uint32_t size, ti_error *error,
                                        const char *folder, const json_t *vocab);
/* the vocabulary that FOLDER/merges.txt makes */
textinv_status ti_clip_vocab_of_merges(ti_json *out, ti_error *error, const char *folder);

#endif /* TI_CLIP_BPE_H */
