/* What an inversion trains on: pictures as cached moments of their latents, prompts as ids. */
#ifndef TI_DATASET_H
#define TI_DATASET_H

#include "api.h"

/* a prompt in every encoder */
typedef struct ti_dataset_prompt {
  int32_t *ids[TI_MAX_ENCODERS]; /* [tokens] */
  int32_t eos;                   /* in the last encoder */
} ti_dataset_prompt;

typedef struct ti_dataset_picture {
  int concept;
  int caption; /* prompt of its own, -1 = one of the concept's templates */
  float *mean; /* [views, c, h, w]; view = 2 crop + mirrored, or crop without flips */
  float *deviation;
} ti_dataset_picture;

typedef struct ti_dataset {
  ti_dataset_picture *pictures;
  size_t num_pictures;
  ti_dataset_prompt *prompts;
  size_t num_prompts;
  int *first_prompt, *prompts_of; /* [num_concepts], of the templates */
  size_t num_concepts;
  int crops, flips; /* views = crops * (1 + flips) */
  int h, w;         /* of the latents */
  size_t chw;
  uint64_t hash;   /* of pixels and prompts */
  uint64_t owners; /* of the concept and the caption of each picture */
} ti_dataset;

/* a report of pictures encoded; non-zero stops */
typedef textinv_status (*ti_dataset_progress)(void *user, int done, int all);

/*
 * Read, crop, resize and encode everything. Every prompt must hold the placeholder of its concept
 * whole. What can be refused is refused before the first picture is encoded. tables: rows of all
 * words, placeholders included.
 */
textinv_status ti_dataset_load(ti_dataset *out, textinv_session *s, const textinv_model *model,
                               const textinv_embeddings *embeddings, const ti_row_table *tables,
                               const textinv_concept *concepts, size_t num_concepts,
                               const textinv_invert_params *p, ti_dataset_progress progress,
                               void *user);
void ti_dataset_free(ti_dataset *d); /* safe on a zeroed struct */

#endif /* TI_DATASET_H */
