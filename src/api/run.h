/* One inversion under way: what textinv_invert() sets up and the training loop changes. */
#ifndef TI_RUN_H
#define TI_RUN_H

#include "api.h"
#include "dataset.h"

typedef struct ti_run {
  textinv_session *s;
  const textinv_model *model;
  textinv_embeddings *embeddings;
  textinv_invert_params p;
  textinv_concept *concepts;
  ti_row_table tables[TI_MAX_ENCODERS];
  ti_dataset data;
  ti_adamw adamw;
  textinv_embeddings learnt; /* the words of the concepts: copies of the structs, not of the rows */
  size_t num_values;         /* of learnt */
  float *m, *v, *gradient;   /* [num_values] */
  float *pass_gradient;      /* of all words of embeddings */
  float *next;               /* [3, num_values]: rows, m and v after a step */
  float *rows[TI_MAX_ENCODERS]; /* gradients of one pass, [num_rows, dim] */
  int32_t *ids[TI_MAX_ENCODERS], *eos;
  float *noisy, *target, *timesteps, *size_ids, *latents, *noise;
  char settings[512];
  uint32_t step, saved_step, skips, skips_in_row;
  float loss, loss_average, gradient_norm;
  double began;
  uint32_t first_step;
} ti_run;

/* rows, moments and step of params.resume, when there is a checkpoint to go on from */
textinv_status ti_run_resume(ti_run *r);

/* the steps from r->step on; stops early as textinv_invert() says */
textinv_status ti_run_train(ti_run *r);

/* tell the caller; TEXTINV_E_CANCELLED when the callback or the session asks to stop */
textinv_status ti_run_report(ti_run *r, const char *phase, uint32_t step, uint32_t steps,
                             float rate);

#endif /* TI_RUN_H */
