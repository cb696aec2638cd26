/* What the two halves of the samplers share: where the steps are, and how one is taken. */
#ifndef TI_SAMPLER_STATE_H
#define TI_SAMPLER_STATE_H

#include "sampler.h"

enum { TI_SAMPLER_HISTORY = 6 };

struct ti_sampler {
  textinv_sampler kind;
  int by_default; /* as the schedule's, not by its name */
  ti_prediction prediction;
  int steps;        /* as asked for */
  int total, begin; /* evaluations at strength 1; the first one that is done */
  float *timesteps; /* [total] */
  float *sigmas;    /* [total + 1]; of Euler, Euler a, DPM++ and UniPC */
  float init_sigma;
  size_t count;

  int train_timesteps;
  float *alphas;     /* [train_timesteps], alphas_cumprod of this sampler */
  float final_alpha; /* before timestep 0 */
  int steps_offset;
  int clip;
  float clip_range;
  ti_variance variance; /* DDPM */
  int prk;              /* PNDM: the first evaluations are Runge-Kutta's, 4 a step */
  int lower_order_final, final_sigma_min, order; /* DPM++, UniPC */
  int heun, euler_at_final;                      /* DPM++ */
  int bh1, last_order;                           /* UniPC: of the step before */

  float *history[TI_SAMPLER_HISTORY]; /* [count] each: earlier outputs and samples */
  int num_outputs;                    /* PNDM: outputs kept, the newest in history[0] */
};

/* timesteps and sigmas of all steps */
textinv_status ti_sampler_lay_out(ti_sampler *s, ti_error *error, const ti_schedule *schedule);

void ti_ddim_step(ti_sampler *s, int i, float *latents, const float *model_output);
void ti_ddpm_step(ti_sampler *s, int i, float *latents, const float *model_output,
                  const float *noise);
void ti_pndm_step(ti_sampler *s, int i, float *latents, const float *model_output);
void ti_euler_step(ti_sampler *s, int i, float *latents, const float *model_output,
                   const float *noise);
void ti_dpmpp_step(ti_sampler *s, int i, float *latents, const float *model_output);
void ti_unipc_step(ti_sampler *s, int i, float *latents, const float *model_output);

#endif /* TI_SAMPLER_STATE_H */
