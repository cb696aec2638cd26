/* The vectors of simd.h with AVX-512: sixteen floats, and masks of the processor's own. */
#ifndef TI_SIMD_AVX512_H
#define TI_SIMD_AVX512_H

#include <immintrin.h>

#ifdef TI_PAIRS
#define TI_FN(name) ti_bf16_##name
#define TI_SIMD                                                                                    \
  __attribute__((target("avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi2,fma,f16c")))
#else
#define TI_FN(name) ti_avx512_##name
#define TI_SIMD __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi2,fma,f16c")))
#endif

typedef float ti_vec __attribute__((vector_size(64)));
typedef __mmask16 ti_mask;  /* the first lanes, which are read or written */
typedef __mmask16 ti_lanes; /* any lanes */

TI_SIMD_INLINE ti_mask ti_first(ptrdiff_t count)
{
  return (ti_mask)_bzhi_u32(0xffffu, count < 0 ? 0 : count < TI_LANES ? (unsigned)count : TI_LANES);
}

/* ------ memory */

TI_SIMD_INLINE ti_vec ti_get(const float *p)
{
  return _mm512_loadu_ps(p);
}

TI_SIMD_INLINE void ti_put(float *p, ti_vec x)
{
  _mm512_storeu_ps(p, x);
}

TI_SIMD_INLINE ti_vec ti_load_mask(ti_dtype dtype, const void *p, size_t i, ti_mask m)
{
  if (dtype == TI_F32)
    return _mm512_maskz_loadu_ps(m, (const float *)p + i);

  const __m256i h = _mm256_maskz_loadu_epi16(m, (const uint16_t *)p + i);

  if (dtype == TI_F16)
    return _mm512_cvtph_ps(h);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* to nearest, ties to even; a NaN stays a NaN */
TI_SIMD_INLINE __m256i ti_to_bf16(ti_vec x)
{
#ifdef TI_PAIRS
  return (__m256i)_mm512_cvtneps_pbh(x);
#else
  const __m512i u = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i quiet = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);

  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_blend_epi32(nan, rounded, quiet), 16));
#endif
}

TI_SIMD_INLINE void ti_store_mask(ti_dtype dtype, void *p, size_t i, ti_mask m, ti_vec x)
{
  if (dtype == TI_F32)
    _mm512_mask_storeu_ps((float *)p + i, m, x);
  else if (dtype == TI_F16)
    _mm256_mask_storeu_epi16((uint16_t *)p + i, m, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  else
    _mm256_mask_storeu_epi16((uint16_t *)p + i, m, ti_to_bf16(x));
}

/* sum[lanes] += x */
TI_SIMD_INLINE void ti_add_doubles(double *sum, ti_vec x)
{
  _mm512_storeu_pd(sum,
                   _mm512_add_pd(_mm512_loadu_pd(sum), _mm512_cvtps_pd(_mm512_castps512_ps256(x))));
  _mm512_storeu_pd(sum + 8, _mm512_add_pd(_mm512_loadu_pd(sum + 8),
                                          _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1))));
}

/* sums of doubles as floats */
TI_SIMD_INLINE ti_vec ti_from_doubles(const double *sum)
{
  const __m256 low = _mm512_cvtpd_ps(_mm512_loadu_pd(sum));

  return _mm512_insertf32x8(_mm512_castps256_ps512(low), _mm512_cvtpd_ps(_mm512_loadu_pd(sum + 8)),
                            1);
}

/* ------ arithmetic; + - * / are the language's */

TI_SIMD_INLINE ti_vec ti_set(float x)
{
  return _mm512_set1_ps(x);
}

/* a b + c */
TI_SIMD_INLINE ti_vec ti_fma(ti_vec a, ti_vec b, ti_vec c)
{
  return _mm512_fmadd_ps(a, b, c);
}

TI_SIMD_INLINE ti_vec ti_max(ti_vec a, ti_vec b)
{
  return _mm512_max_ps(a, b);
}

TI_SIMD_INLINE ti_vec ti_abs(ti_vec x)
{
  return _mm512_abs_ps(x);
}

TI_SIMD_INLINE ti_vec ti_round(ti_vec x)
{
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* x 2^n, n whole */
TI_SIMD_INLINE ti_vec ti_scale(ti_vec x, ti_vec n)
{
  return _mm512_scalef_ps(x, n);
}

/* the low bits of n, as an integer, added to the exponent of x */
TI_SIMD_INLINE ti_vec ti_add_exponent(ti_vec x, ti_vec n)
{
  return _mm512_castsi512_ps(
    _mm512_add_epi32(_mm512_castps_si512(x), _mm512_slli_epi32(_mm512_castps_si512(n), 23)));
}

TI_SIMD_INLINE float ti_sum(ti_vec x)
{
  return _mm512_reduce_add_ps(x);
}

#ifdef TI_PAIRS

/* sum + the products of both values of a pair */
TI_SIMD_INLINE ti_vec ti_fma_operands(ti_vec a, ti_vec b, ti_vec sum)
{
  return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

/* the values of low, then those of high */
TI_SIMD_INLINE ti_vec ti_narrow(ti_vec low, ti_vec high)
{
  return (ti_vec)_mm512_cvtne2ps_pbh(high, low);
}

/* pairs of a value of first and one of second */
TI_SIMD_INLINE ti_vec ti_pairs(ti_vec first, ti_vec second)
{
  static const uint16_t order[32] = {
    0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
    8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
  };

  return _mm512_castsi512_ps(_mm512_permutexvar_epi16(
    _mm512_loadu_si512(order), _mm512_castps_si512(ti_narrow(first, second))));
}

/* the operand of values that lie in one vector each */
TI_SIMD_INLINE ti_vec ti_operand(const ti_vec *x)
{
  return ti_pairs(x[0], x[1]);
}

/* values i to i + count, the rest 0 */
TI_SIMD_INLINE ti_vec ti_load_operands(ti_dtype dtype, const void *p, size_t i, ptrdiff_t count)
{
  if (dtype == TI_BF16)
    return _mm512_castsi512_ps(
      _mm512_maskz_loadu_epi16(_bzhi_u32(0xffffffffu, count < 0    ? 0
                                                      : count < 32 ? (unsigned)count
                                                                   : 32),
                               (const uint16_t *)p + i));
  return ti_narrow(ti_load_mask(dtype, p, i, ti_first(count)),
                   ti_load_mask(dtype, p, i + TI_LANES, ti_first(count - TI_LANES)));
}

#endif

/* ------ choices */

TI_SIMD_INLINE ti_lanes ti_above(ti_vec a, ti_vec b)
{
  return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}

TI_SIMD_INLINE ti_lanes ti_below(ti_vec a, ti_vec b)
{
  return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

TI_SIMD_INLINE ti_lanes ti_at_least(ti_vec a, ti_vec b)
{
  return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
}

TI_SIMD_INLINE int ti_all_equal(ti_vec a, ti_vec b)
{
  return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ) == 0;
}

/* a in those lanes, else b */
TI_SIMD_INLINE ti_vec ti_select(ti_lanes l, ti_vec a, ti_vec b)
{
  return _mm512_mask_blend_ps(l, b, a);
}

TI_SIMD_INLINE ti_lanes ti_lanes_of(ti_mask m)
{
  return m;
}

/* lane i and those after it */
TI_SIMD_INLINE ti_lanes ti_lanes_from(int i)
{
  return (ti_lanes)~ti_first(i);
}

/* ------ transposition of TI_LANES vectors in place */

TI_SIMD_INLINE void ti_transpose(ti_vec *r)
{
  ti_vec t[16];

  TI_UNROLL
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  TI_UNROLL
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  TI_UNROLL
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
  }
  TI_UNROLL
  for (int i = 0; i < 4; i++) {
    r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

#endif /* TI_SIMD_AVX512_H */
