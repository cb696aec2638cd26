/* What both directions of attention share: blocks of keys and two vectors of queries. */
#ifndef TI_ATTENTION_SIMD_H
#define TI_ATTENTION_SIMD_H

#include "simd_kernels.h"
#include "tile_simd.h"

#ifdef TI_HAVE_SIMD

enum { TI_KEYS = 64 * TI_PER_LANE, TI_QUERIES = 2 * TI_LANES };

static inline int ti_blocks(int count, int size)
{
  return (count + size - 1) / size;
}

/* floats, a multiple of a cache line */
static inline size_t ti_room(size_t floats)
{
  return (floats + 15) / 16 * 16;
}

/* scores are powers of e of q k times scale, and here of 2 */
static inline float ti_score_scale(const ti_attention_shape *s)
{
  return s->scale * 1.44269504f;
}

/* 2^x to 2e-7; 0 below -126 */
TI_SIMD_INLINE ti_vec ti_exp2(ti_vec x)
{
  const ti_vec magic = ti_set(0x1.8p23f);
  const ti_vec t = x + magic; /* the integer sits in the low bits */
  const ti_vec r = x - (t - magic);
  ti_vec p = ti_set(0.00132764715f);

  p = ti_fma(p, r, ti_set(0.00967554159f));
  p = ti_fma(p, r, ti_set(0.0555071328f));
  p = ti_fma(p, r, ti_set(0.240221197f));
  p = ti_fma(p, r, ti_set(0.693146967f));
  p = ti_fma(p, r, ti_set(1.0f));
  return ti_select(ti_at_least(x, ti_set(-126.0f)), ti_add_exponent(p, t), ti_set(0.0f));
}

/* lanes of the queries from q on that may see key j */
TI_SIMD_INLINE ti_lanes ti_sees(const ti_attention_shape *s, int q, int j)
{
  return ti_lanes_from(s->causal ? j - q : 0);
}

/* c[rows, queries] (+)= sum over k of a[k, r] b[k, queries], a and b operands */
void TI_FN(tile_queries)(int rows, float *c, const float *a, size_t a_k, const float *b, int k,
                         int accumulate);

#endif

#endif /* TI_ATTENTION_SIMD_H */
