/* The noise schedule of a model, read from scheduler_config.json with the defaults of its class. */
#ifndef TI_SCHEDULE_H
#define TI_SCHEDULE_H

#include "error.h"
#include "json.h"

typedef enum { TI_PREDICT_EPSILON, TI_PREDICT_V, TI_PREDICT_SAMPLE } ti_prediction;
typedef enum { TI_SPACING_LEADING, TI_SPACING_TRAILING, TI_SPACING_LINSPACE } ti_spacing;

/* drawing with a DDPMScheduler: the schedule's own sampler, which no TEXTINV_SAMPLER_* names */
enum { TI_SAMPLER_DDPM = TEXTINV_SAMPLER_UNIPC + 1, TI_NUM_SAMPLERS };

typedef enum { TI_VARIANCE_SMALL, TI_VARIANCE_SMALL_LOG, TI_VARIANCE_LARGE } ti_variance;

typedef struct ti_schedule {
  int timesteps;         /* num_train_timesteps */
  float *alphas_cumprod; /* [timesteps], computed as torch computes it in float32 */
  ti_prediction prediction;
  int has_spacing; /* 0: each sampler class takes its own default */
  ti_spacing spacing;
  int has_steps_offset, steps_offset;
  int has_clip_sample, clip_sample;
  int named_steps_offset, named_clip_sample; /* of a sampler that is not the schedule's */
  double clip_sample_range;
  int has_set_alpha_to_one, set_alpha_to_one; /* absent: true for DDIM, false for PNDM */
  int has_skip_prk_steps, skip_prk_steps;
  textinv_sampler sampler; /* of the class, or TI_SAMPLER_DDPM */
  char class_name[64];     /* diffusers' name of the scheduler */
  int stands_in;           /* sampler is not of this class but the nearest to it */
  int has_fixed_spacing;   /* a class that stands_in reads no timestep_spacing: it has this one */
  ti_spacing fixed_spacing;
  int distilled; /* the class is one of models that were distilled to draw in a few steps */

  /* what single samplers take from the file */
  float *alphas_cumprod_plain; /* [timesteps], as if rescale_betas_zero_snr were false (PNDM) */
  int rescale_zero_snr;        /* alphas_cumprod ends with 0 */
  int cosine;                  /* beta_schedule is squaredcos_cap_v2 */
  int use_karras_sigmas;       /* Euler, UniPC; the two DPM++ 2M samplers decide for themselves */
  double sigma_min, sigma_max; /* ends of the Karras sigmas, 0: those of the schedule */
  int final_sigma_min;         /* final_sigmas_type: 1 sigma_min, 0 zero */
  int solver_order, lower_order_final;         /* DPM++, UniPC */
  int solver_heun, euler_at_final, solver_bh1; /* DPM++; DPM++; UniPC */
  double lambda_min_clipped;
  ti_variance variance; /* DDPM */
  const char *left_out[TI_NUM_SAMPLERS]; /* by sampler: the key that it draws without, or NULL */
} ti_schedule;

/*
 * class_name is what model_index.json at index_path says, NULL: the config's _class_name. Any class
 * will do that has a schedule of betas; one that is not known needs all keys of it in the config.
 * beta_schedule, prediction_type and timestep_spacing must be known; otherwise UNSUPPORTED lists
 * them.
 */
textinv_status ti_schedule_read(ti_schedule *out, ti_error *error, const ti_json *config,
                                const char *class_name, const char *index_path);
/*
 * What diffusers' pipelines make of an older config: steps_offset 1, and StableDiffusionPipeline
 * clip_sample false, StableDiffusionInpaintPipeline skip_prk_steps true. Another sampler made from
 * that config takes them only where the file has the keys, or the class the last of them.
 */
void ti_schedule_update(ti_schedule *schedule, int inpainting);
void ti_schedule_free(ti_schedule *schedule); /* safe on a zeroed struct */

/* noisy = sqrt(a) x + sqrt(1 - a) noise, and what the model should predict there; all [count] */
void ti_schedule_add_noise(const ti_schedule *s, int timestep, float *noisy, const float *x,
                           const float *noise, size_t count);
void ti_schedule_target(const ti_schedule *s, int timestep, float *target, const float *x,
                        const float *noise, size_t count);

#endif /* TI_SCHEDULE_H */
