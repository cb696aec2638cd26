/* Files of learnt words: every layout of notes on peers that textinv.h lists. */
#ifndef TI_EMBEDDING_FILE_H
#define TI_EMBEDDING_FILE_H

#include "error.h"
#include "safetensors.h"

/* one word in one encoder */
typedef struct ti_embedding_entry {
  char *word;       /* NULL when the file gives none ("emb_params", "clip_l"): the caller names it */
  int encoder;      /* 0 or 1 when the file tells ("clip_l", "clip_g"), -1 when it does not */
  int num_vectors, dim;
  float *rows;      /* [num_vectors, dim], finite */
} ti_embedding_entry;

typedef struct ti_embedding_file {
  ti_embedding_entry *entries;
  size_t count;
  char *layout;     /* "diffusers", "a1111", "kohya", "sdxl", "onetrainer", "compvis" */
  char *name;       /* the name that A1111 files carry, or NULL */
  long long step;   /* training steps, -1 = not told */
} ti_embedding_file;

textinv_status ti_embedding_file_read(ti_embedding_file *out, ti_error *error, const char *path);
void ti_embedding_file_free(ti_embedding_file *file); /* safe on a zeroed struct */

/* format is TEXTINV_FORMAT_*; metadata goes into formats that have room for it */
textinv_status ti_embedding_file_write(ti_error *error, const char *path, textinv_format format,
                                       const ti_embedding_entry *entries, size_t count,
                                       const ti_key_value *metadata, size_t num_metadata);

#endif /* TI_EMBEDDING_FILE_H */
