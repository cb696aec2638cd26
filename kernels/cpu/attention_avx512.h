/* What both directions of the AVX-512 attention share: blocks of 64 keys and 32 queries. */
#ifndef TI_ATTENTION_AVX512_H
#define TI_ATTENTION_AVX512_H

#include "avx512.h"
#include "tile_avx512.h"

#ifdef TI_HAVE_AVX512

enum { TI_KEYS = 64, TI_QUERIES = 32 };

static inline int ti_blocks(int count, int size)
{
  return (count + size - 1) / size;
}

/* floats, a multiple of a cache line */
static inline size_t ti_room(size_t floats)
{
  return (floats + 15) / 16 * 16;
}

/* first element of row i of a head; head_index counts through all samples */
static inline size_t ti_head_at(const ti_attention_shape *s, int stride, int tokens, int head_index,
                                int i)
{
  const int n = head_index / s->heads, head = head_index % s->heads;

  return ((size_t)n * tokens + i) * stride + (size_t)head * s->d;
}

/* 2^x to 2e-7; 0 below -126 */
TI_AVX512_INLINE __m512 ti_exp2(__m512 x)
{
  const __mmask16 in = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0f), _CMP_GE_OQ);
  const __m512 magic = _mm512_set1_ps(0x1.8p23f);
  const __m512 t = _mm512_add_ps(x, magic); /* the integer sits in the low bits */
  const __m512 r = _mm512_sub_ps(x, _mm512_sub_ps(t, magic));
  __m512 p = _mm512_set1_ps(0.00132764715f);

  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.00967554159f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.0555071328f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.240221197f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.693146967f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  return _mm512_castsi512_ps(_mm512_maskz_add_epi32(
      in, _mm512_castps_si512(p), _mm512_slli_epi32(_mm512_castps_si512(t), 23)));
}

/* lanes of the queries from q on that may see key j */
TI_AVX512_INLINE __mmask16 ti_sees(const ti_attention_shape *s, int q, int j)
{
  const int first = j - q; /* the first lane that does */

  if (!s->causal || first <= 0)
    return 0xffff;
  return (__mmask16)~ti_mask(first < TI_LANES ? first : TI_LANES);
}

/* c[rows, 32 queries] (+)= sum over k of a[k, r] b[k, 32 queries] */
void ti_tile_queries(int rows, float *c, const float *a, size_t a_k, const float *b, int k,
                     int accumulate);

#endif

#endif /* TI_ATTENTION_AVX512_H */
