/* Classifier-free guidance: one output of a model's two, without and with the prompt. */
#ifndef TI_GUIDANCE_H
#define TI_GUIDANCE_H

#include <stddef.h>

/*
 * outputs [2 n, count]: those without the prompt, which are replaced, then those with it. Equation
 * 6 of Ho and Salimans 2022 as diffusers writes it; with rescale above 0 then equations 15 and 16
 * of Lin et al. 2023.
 */
void ti_guide(float *outputs, size_t n, size_t count, float scale, float rescale);

#endif /* TI_GUIDANCE_H */
