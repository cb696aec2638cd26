/* Files of learnt words: every layout of notes on peers that textinv.h lists. */
#ifndef TI_EMBEDDING_FILE_H
#define TI_EMBEDDING_FILE_H

#include "error.h"
#include "safetensors.h"

enum {
  TI_MAX_VECTORS = 75,           /* of a word: a prompt of 77 tokens without its begin and end */
  TI_EMBEDDING_MAX_WORDS = 1024, /* of a file */
  TI_EMBEDDING_MAX_BYTES = 256 << 20
};

/* one word in one encoder */
typedef struct ti_embedding_entry {
  char *word;  /* NULL when the file gives none ("emb_params" or "*" without a name in the
                  metadata, a bare tensor): the caller names it */
  int encoder; /* 0 or 1 when the file tells ("clip_l", "rows.1.WORD"), -1 when it does not */
  int num_vectors, dim;
  float *rows; /* [num_vectors, dim], finite */
} ti_embedding_entry;

typedef struct ti_embedding_file {
  ti_embedding_entry *entries;
  size_t count;
  char *layout;           /* "diffusers", "a1111", "kohya", "sdxl", "onetrainer", "compvis",
                             "checkpoint", "tensor" */
  char *name;             /* "name" of an A1111 file or of safetensors metadata, or NULL */
  char *left_out;         /* names of tensors that are for no CLIP text encoder, or NULL */
  long long step;         /* training steps, -1 = not told */
  ti_key_value *metadata; /* "layout", then what the file says of itself, "name" and "step" too */
  size_t num_metadata;
} ti_embedding_file;

/* a file, or learned_embeds.safetensors or .bin in a folder, with learned_embeds_2.* where it is */
textinv_status ti_embedding_file_read(ti_embedding_file *out, ti_error *error, const char *path);
/* bytes in memory; name stands for the path in messages */
textinv_status ti_embedding_file_decode(ti_embedding_file *out, ti_error *error, const char *name,
                                        const void *bytes, size_t size);
int ti_embedding_folder_check(const char *path);      /* a folder with such a file */
void ti_embedding_file_free(ti_embedding_file *file); /* safe on a zeroed struct */
/* a word that diffusers' layout cannot name: its file would be read as one of another layout */
int ti_embedding_is_key(const char *word);
/* a step as text: up to 18 digits alone; -1 for anything else, and for NULL */
long long ti_embedding_parse_step(const char *text);
/* the metadata's step, -1 when there is none that is a number */
long long ti_embedding_step(const ti_key_value *metadata, size_t count);
/* out: as many as there are, of its own; NULL of none */
textinv_status ti_embedding_metadata_copy(ti_key_value **out, ti_error *error,
                                          const ti_key_value *metadata, size_t count);
void ti_embedding_metadata_free(ti_key_value *metadata, size_t count); /* of one taken out */

/*
 * format is TEXTINV_FORMAT_*. DIFFUSERS: any number of words of one encoder. A1111, KOHYA: one
 * entry. SDXL: one or two entries of one word, encoders 0 and 1. Metadata goes into safetensors
 * files, with "format" and, where the layout has no room for the word, "name" added; "step",
 * "sd_checkpoint" and "sd_checkpoint_name" into A1111 files.
 */
textinv_status ti_embedding_file_write(ti_error *error, const char *path, textinv_format format,
                                       const ti_embedding_entry *entries, size_t count,
                                       const ti_key_value *metadata, size_t num_metadata);
/* the same, or into memory in place of path when it is not NULL */
textinv_status ti_embedding_file_write_to(ti_memory_file *memory, ti_error *error, const char *path,
                                          textinv_format format, const ti_embedding_entry *entries,
                                          size_t count, const ti_key_value *metadata,
                                          size_t num_metadata);

#endif /* TI_EMBEDDING_FILE_H */
