/* What reading a tokenizer and using it share. */
#ifndef TI_TOKENIZER_STATE_H
#define TI_TOKENIZER_STATE_H

#include "clip_bpe.h"
#include "matcher.h"
#include "text_tokenizer.h"
#include "wordpiece.h"

typedef struct ti_vocab_entry {
  const char *token;
  uint32_t id;
} ti_vocab_entry;

struct ti_tokenizer {
  ti_tokenizer_kind kind;
  char **tokens; /* [size], owned; NULL where no token has the id */
  uint32_t size;
  ti_vocab_entry *sorted; /* [num_sorted], by token */
  size_t num_sorted;

  /* tokens found whole, before and after normalisation */
  ti_match *raw, *normal;
  size_t num_raw, num_normal;

  uint32_t begin, end, pad, unk;
  int max_length;

  ti_clip_bpe clip; /* of the two one is in use */
  ti_wordpiece wordpiece;
};

/* fill a zeroed struct; what was filled is freed by ti_tokenizer_free() on failure, too */
textinv_status ti_tokenizer_read(ti_tokenizer *t, ti_error *error, const char *folder,
                                 const char *pad);

/* one text on its way to ids */
typedef struct ti_encoding {
  const ti_tokenizer *t;
  const ti_match *normal; /* in place of the tokenizer's own */
  size_t num_normal;
  ti_error *error;
  uint32_t *ids;
  size_t count, capacity;
  struct ti_clip_symbol *symbols; /* [room], of clip_bpe.c */
  struct ti_clip_waiting *heap;   /* [2 room]: each of less than room merges adds at most one */
  size_t room, heap_count;
} ti_encoding;

textinv_status ti_encoding_push(ti_encoding *e, uint32_t first, uint32_t count);

/* ids of normalised text that holds no token to be found whole */
textinv_status ti_clip_bpe_encode(ti_encoding *e, const char *text, size_t len);
textinv_status ti_wordpiece_encode(ti_encoding *e, const char *text, size_t len);

/* ids of text with these matches in its normalised form in place of the tokenizer's own */
textinv_status ti_tokenizer_encode_words(const ti_tokenizer *t, ti_error *error,
                                         const ti_match *normal, size_t num_normal,
                                         const char *text, size_t len, uint32_t **ids,
                                         size_t *count);

#endif /* TI_TOKENIZER_STATE_H */
