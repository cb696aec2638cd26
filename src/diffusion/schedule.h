/* The noise schedule of a model, read from scheduler_config.json with the defaults of its class. */
#ifndef TI_SCHEDULE_H
#define TI_SCHEDULE_H

#include "error.h"
#include "json.h"

typedef enum { TI_PREDICT_EPSILON, TI_PREDICT_V, TI_PREDICT_SAMPLE } ti_prediction;
typedef enum { TI_SPACING_LEADING, TI_SPACING_TRAILING, TI_SPACING_LINSPACE } ti_spacing;

typedef struct ti_schedule {
  int timesteps;          /* num_train_timesteps */
  float *alphas_cumprod;  /* [timesteps], computed as torch computes it in float32 */
  ti_prediction prediction;
  int has_spacing;        /* 0: each sampler class takes its own default */
  ti_spacing spacing;
  int steps_offset;
  int clip_sample;
  double clip_sample_range;
  int has_set_alpha_to_one, set_alpha_to_one; /* absent: true for DDIM, false for PNDM */
  int skip_prk_steps;
  textinv_sampler sampler; /* of _class_name */
  /* further keys that samplers need (final_sigmas_type, use_karras_sigmas, thresholding, ...) may be added */
} ti_schedule;

/* _class_name, beta_schedule, prediction_type, timestep_spacing must be known; otherwise UNSUPPORTED lists them */
textinv_status ti_schedule_read(ti_schedule *out, ti_error *error, const ti_json *config);
void ti_schedule_free(ti_schedule *schedule); /* safe on a zeroed struct */

/* noisy = sqrt(a) x + sqrt(1 - a) noise, and what the model should predict there; all [count] */
void ti_schedule_add_noise(const ti_schedule *s, int timestep, float *noisy, const float *x, const float *noise,
                           size_t count);
void ti_schedule_target(const ti_schedule *s, int timestep, float *target, const float *x, const float *noise,
                        size_t count);

#endif /* TI_SCHEDULE_H */
