/* What reading a tokenizer and using it share. */
#ifndef TI_CLIP_BPE_STATE_H
#define TI_CLIP_BPE_STATE_H

#include <jansson.h>

#include "clip_bpe.h"
#include "json.h"
#include "matcher.h"

enum { TI_CLIP_MAX_IDS = 1 << 20, TI_CLIP_MAX_ADDED = 1 << 13 };

typedef struct ti_clip_merge {
  uint32_t first, second; /* the pair */
  uint32_t rank, result;
} ti_clip_merge;

typedef struct ti_clip_entry {
  const char *token;
  uint32_t id;
} ti_clip_entry;

struct ti_clip_bpe {
  char **tokens; /* [size], owned; NULL where no token has the id */
  uint32_t size;
  ti_clip_entry *sorted; /* [num_sorted], by token */
  size_t num_sorted;

  /* a byte as a symbol within and at the end of a word; unk when the vocabulary lacks it */
  uint32_t bytes[256], end_bytes[256];
  ti_clip_merge *merges; /* by first, then second */
  size_t num_merges;
  uint32_t *merge_start; /* [size + 1]: merges of first id i are merge_start[i] .. [i + 1] - 1 */

  /* tokens found whole, before and after normalisation */
  ti_match *raw, *normal;
  size_t num_raw, num_normal;

  uint32_t bos, eos, pad, unk;
  int max_length;
};

/* fill a zeroed struct; what was filled is freed by ti_clip_bpe_free() on failure, too */
textinv_status ti_clip_bpe_read(ti_clip_bpe *bpe, ti_error *error, const char *folder,
                                const char *pad);

/* the code point that stands for a byte: printable Latin-1 is itself, the rest follows from U+0100
 */
unsigned ti_clip_symbol(unsigned byte);

/* the id of a token, 0 = there is none; the values of vocab are checked */
int ti_clip_vocab_id(const json_t *vocab, const char *token, uint32_t *id);

/* bpe's merges from a list of tokenizer.json, or from merges.txt; bpe->size is set before */
textinv_status ti_clip_merges_read(ti_clip_bpe *bpe, ti_error *error, const char *path,
                                   const json_t *vocab, const json_t *list);
textinv_status ti_clip_merges_read_file(ti_clip_bpe *bpe, ti_error *error, const char *folder,
                                        const json_t *vocab);
/* the vocabulary that FOLDER/merges.txt makes */
textinv_status ti_clip_vocab_of_merges(ti_json *out, ti_error *error, const char *folder);

/* ids of text with these matches in its normalised form in place of the tokenizer's own */
textinv_status ti_clip_bpe_encode_words(const ti_clip_bpe *bpe, ti_error *error,
                                        const ti_match *normal, size_t num_normal, const char *text,
                                        size_t len, uint32_t **ids, size_t *count);

#endif /* TI_CLIP_BPE_STATE_H */
