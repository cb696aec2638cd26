/* Samplers: from noise to latents in a few steps, each equal to the diffusers scheduler of its
 * name. */
#ifndef TI_SAMPLER_H
#define TI_SAMPLER_H

#include "schedule.h"

typedef struct ti_sampler ti_sampler;

/*
 * kind is TEXTINV_SAMPLER_* (DEFAULT = the schedule's). strength 1 runs all steps; less begins
 * later, as diffusers' image-to-image pipeline does. count = values of one sample batch. What the
 * schedule's left_out names for the sampler is not done.
 */
textinv_status ti_sampler_new(ti_sampler **out, ti_error *error, const ti_schedule *schedule,
                              textinv_sampler kind, int steps, float strength, size_t count);
void ti_sampler_free(ti_sampler *sampler);

const char *ti_sampler_name(textinv_sampler kind); /* "ddim", "euler_a", ... */
const char *ti_sampler_a1111_name(
  textinv_sampler kind); /* "DDIM", "Euler a", "DPM++ 2M Karras", ... */
int ti_sampler_evaluations(const ti_sampler *sampler); /* UNet evaluations in all */
float ti_sampler_timestep(const ti_sampler *sampler,
                          int i); /* timestep of evaluation i, may be fractional */
float ti_sampler_init_sigma(
  const ti_sampler *sampler); /* init_noise_sigma: noise is multiplied by it */
/* image to image: latents = x noised as evaluation i meets it */
void ti_sampler_add_noise(const ti_sampler *sampler, int i, float *latents, const float *x,
                          const float *noise);
/* what the UNet gets at evaluation i: latents scaled (out may be latents) */
void ti_sampler_scale_input(const ti_sampler *sampler, int i, float *out, const float *latents);
/* what the model takes the picture for: x0 of evaluation i, from its scaled input and its output */
void ti_sampler_denoise(const ti_sampler *sampler, int i, float *x0, const float *scaled,
                        const float *model_output);
int ti_sampler_needs_noise(const ti_sampler *sampler, int i); /* 1: step i adds fresh noise */
/* one step: latents updated in place from the model's output; noise [count] or NULL */
void ti_sampler_step(ti_sampler *sampler, int i, float *latents, const float *model_output,
                     const float *noise);

#endif /* TI_SAMPLER_H */
