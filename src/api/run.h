/* One inversion under way: what textinv_invert() sets up and the training loop changes. */
#ifndef TI_RUN_H
#define TI_RUN_H

#include "api.h"
#include "dataset.h"

typedef struct ti_run_device ti_run_device;
typedef struct ti_place ti_place;

typedef struct ti_run {
  textinv_session *s;
  const textinv_model *model;
  textinv_embeddings *embeddings;
  textinv_invert_params p;
  textinv_parallel group; /* of p.parallel */
  ti_place *places;       /* [ranks], of parallel.c; NULL = this process alone */
  textinv_concept *concepts;
  ti_row_table tables[TI_MAX_ENCODERS];
  ti_dataset data;
  ti_adamw adamw;
  textinv_embeddings learnt; /* the words of the concepts: copies of the structs, not of the rows */
  size_t num_values;         /* of learnt */
  float *m, *v;              /* [num_values] */
  float *gradient;           /* [num_values]; then the loss, and the status of each rank */
  float *pass_gradient;      /* of all words of embeddings */
  float *next;               /* [3, num_values]: rows, m and v after a step */
  float *rows[TI_MAX_ENCODERS]; /* gradients of one pass, [num_rows, dim] */
  int32_t *ids[TI_MAX_ENCODERS], *eos;
  float *noisy, *target, *timesteps, *size_ids, *latents, *noise;
  uint32_t samples, passes; /* samples of a pass, passes of a step */
  uint64_t peak_bytes;      /* of the plan of a pass */
  ti_run_device *device;    /* the steps run on it; NULL = from the host */
  char settings[480];
  char start[17]; /* a hash of what the rows of the words began with */
  uint32_t step, saved_step, skips, skips_in_row;
  uint32_t fetched_step; /* on a device: that of the rows here */
  float fetched_average; /* loss_average then */
  float loss, loss_average, gradient_norm;
  double began;
  uint32_t first_step;
} ti_run;

/* rows, moments and step of params.resume, when there is a checkpoint to go on from */
textinv_status ti_run_resume(ti_run *r);

/* what a sample of a step draws, beside its noise */
typedef struct ti_run_draw {
  size_t picture, view, prompt;
  int timestep;
} ti_run_draw;

ti_run_draw ti_run_draw_of(const ti_run *r, uint32_t step, uint32_t sample);

/* the first sample of this process, and the share of a pass of it in loss and gradient */
uint32_t ti_run_first_sample(const ti_run *r);
float ti_run_share(const ti_run *r);

/* ------ with other processes: parallel.c */

/* read params.parallel */
textinv_status ti_run_join(ti_run *r);

/* add up values over all processes; mine, when it is a failure, is returned all the same */
textinv_status ti_run_sum(ti_run *r, textinv_status mine, float *values, size_t count);

/*
 * Before the first step, also when mine is a failure: that of any process becomes the status of
 * all. They must have the same settings, and begin with the step of rank 0.
 */
textinv_status ti_run_agree(ti_run *r, textinv_status mine);

/*
 * At each step, and once more behind the last: r->gradient and the loss behind it are added up.
 * mine, when it is a failure, becomes the status of all, and what was added up does not count.
 */
textinv_status ti_run_meet(ti_run *r, textinv_status mine);

/* ------ steps */

/* the steps from r->step on; stops early as textinv_invert() says */
textinv_status ti_run_train(ti_run *r);

/* tell the caller; TEXTINV_E_CANCELLED when the callback or the session asks to stop */
textinv_status ti_run_report(ti_run *r, const char *phase, uint32_t step, uint32_t steps,
                             float rate);

/* ------ steps on a device: train_device.c */

/*
 * Everything that the steps from r->step on need; r->next holds the rows. *out is NULL where the
 * session has no device, or this run must go on from the host.
 */
textinv_status ti_run_device_new(ti_run_device **out, ti_run *r);
void ti_run_device_free(ti_run_device *d); /* waits for what was begun; NULL is allowed */

/*
 * Start the next step without waiting; at most two may be begun and not ended. With other processes
 * one, whose gradient and loss go to r->gradient and, when theirs are added, come back from there.
 */
textinv_status ti_run_device_begin(ti_run_device *d, ti_run *r, float rate);
textinv_status ti_run_device_fetch_gradient(ti_run_device *d, ti_run *r);
textinv_status ti_run_device_apply(ti_run_device *d, const ti_run *r);
/* the step that the next begin will start */
uint32_t ti_run_device_begun(const ti_run_device *d);

/* wait for step r->step; sets its loss and norm. *applied = 0: not finite, and the state stayed */
textinv_status ti_run_device_end(ti_run_device *d, ti_run *r, int *applied);

/* rows, m and v [3, num_values] after the last step that ended */
textinv_status ti_run_device_fetch(ti_run_device *d, float *next);

/* before other plans run in the session: the next step captures its pass again */
void ti_run_device_release_graph(ti_run_device *d);

#endif /* TI_RUN_H */
