/* Random numbers: PyTorch's CPU generator bit for bit, and our own counter-based ones. */
#ifndef TI_RANDOM_H
#define TI_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* ------ torch: MT19937, torch.randn of float32 tensors; scalar = 1 is the path without AVX2 */
typedef struct ti_torch_rng {
  uint32_t state[624];
  int index;
  int scalar;
  int has_next; /* a cached normal of a short (< 16) draw */
  double next;
} ti_torch_rng;

void ti_torch_rng_seed(ti_torch_rng *rng, uint64_t seed, int scalar);
void ti_torch_randn(ti_torch_rng *rng, float *out, size_t count);

/*
 * ------ ours: Philox4x32-10 keyed by the seed, counter (element block, step, purpose, sample); a
 * draw is a pure function of its coordinates, the same on every backend and in any order
 */
typedef enum {
  TI_DRAW_NOISE,
  TI_DRAW_LATENT,
  TI_DRAW_TIMESTEP,
  TI_DRAW_PICTURE,
  TI_DRAW_PROMPT,
  TI_DRAW_FLIP,
  TI_DRAW_CROP,
  TI_DRAW_INIT,
  TI_DRAW_SAMPLER
} ti_draw;

typedef struct ti_draw_key {
  uint64_t seed;
  ti_draw purpose;
  uint32_t step, sample;
} ti_draw_key;

uint32_t ti_draw_u32(const ti_draw_key *key, uint32_t element);
float ti_draw_uniform(const ti_draw_key *key, uint32_t element); /* [0, 1), 24 bits */
uint32_t ti_draw_below(const ti_draw_key *key, uint32_t element,
                       uint32_t n); /* 0..n-1, unbiased to 2^-32 */
void ti_draw_normal(const ti_draw_key *key, float *out,
                    size_t count); /* elements 0..count-1, < 2^32 */

#endif /* TI_RANDOM_H */
