/* The vectors of simd.h with AVX2, FMA and F16C: eight floats; a mask is the number of lanes. */
#ifndef TI_SIMD_AVX2_H
#define TI_SIMD_AVX2_H

#include <immintrin.h>

#define TI_FN(name) ti_avx2_##name
#define TI_SIMD __attribute__((target("avx2,bmi2,fma,f16c")))

typedef float ti_vec __attribute__((vector_size(32)));
typedef int ti_mask;     /* the first lanes, which are read or written */
typedef __m256 ti_lanes; /* any lanes: those with the sign bit */

TI_SIMD_INLINE ti_mask ti_first(ptrdiff_t count)
{
  return count < 0 ? 0 : count < TI_LANES ? (int)count : TI_LANES;
}

TI_SIMD_INLINE __m256i ti_mask_bits(ti_mask m)
{
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(m), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* ------ memory */

TI_SIMD_INLINE ti_vec ti_get(const float *p)
{
  return _mm256_loadu_ps(p);
}

TI_SIMD_INLINE void ti_put(float *p, ti_vec x)
{
  _mm256_storeu_ps(p, x);
}

/* There are no masks for 16 bits. Weights of a mapped file may lie at odd addresses. */
TI_SIMD_INLINE __m128i ti_load_halves(const char *p, ti_mask m)
{
  uint16_t h[8] = { 0 };

  if (m == TI_LANES)
    return _mm_loadu_si128((const __m128i *)p);
  memcpy(h, p, (size_t)m * sizeof(*h));
  return _mm_loadu_si128((const __m128i *)h);
}

TI_SIMD_INLINE void ti_store_halves(char *p, ti_mask m, __m128i x)
{
  uint16_t h[8];

  if (m == TI_LANES) {
    _mm_storeu_si128((__m128i *)p, x);
    return;
  }
  _mm_storeu_si128((__m128i *)h, x);
  memcpy(p, h, (size_t)m * sizeof(*h));
}

TI_SIMD_INLINE ti_vec ti_load_mask(ti_dtype dtype, const void *p, size_t i, ti_mask m)
{
  if (dtype == TI_F32)
    return m == TI_LANES ? _mm256_loadu_ps((const float *)p + i)
                         : _mm256_maskload_ps((const float *)p + i, ti_mask_bits(m));

  const __m128i h = ti_load_halves((const char *)p + i * sizeof(uint16_t), m);

  if (dtype == TI_F16)
    return _mm256_cvtph_ps(h);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* to nearest, ties to even; a NaN stays a NaN */
TI_SIMD_INLINE __m128i ti_to_bf16(ti_vec x)
{
  const __m256i u = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);

  return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}

TI_SIMD_INLINE void ti_store_mask(ti_dtype dtype, void *p, size_t i, ti_mask m, ti_vec x)
{
  if (dtype == TI_F16)
    ti_store_halves((char *)p + i * sizeof(uint16_t), m,
                    _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  else if (dtype == TI_BF16)
    ti_store_halves((char *)p + i * sizeof(uint16_t), m, ti_to_bf16(x));
  else if (m == TI_LANES)
    _mm256_storeu_ps((float *)p + i, x);
  else
    _mm256_maskstore_ps((float *)p + i, ti_mask_bits(m), x);
}

/* sum[lanes] += x */
TI_SIMD_INLINE void ti_add_doubles(double *sum, ti_vec x)
{
  _mm256_storeu_pd(sum,
                   _mm256_add_pd(_mm256_loadu_pd(sum), _mm256_cvtps_pd(_mm256_castps256_ps128(x))));
  _mm256_storeu_pd(
    sum + 4, _mm256_add_pd(_mm256_loadu_pd(sum + 4), _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))));
}

/* sums of doubles as floats */
TI_SIMD_INLINE ti_vec ti_from_doubles(const double *sum)
{
  return _mm256_set_m128(_mm256_cvtpd_ps(_mm256_loadu_pd(sum + 4)),
                         _mm256_cvtpd_ps(_mm256_loadu_pd(sum)));
}

/* ------ arithmetic; + - * / are the language's */

TI_SIMD_INLINE ti_vec ti_set(float x)
{
  return _mm256_set1_ps(x);
}

/* a b + c */
TI_SIMD_INLINE ti_vec ti_fma(ti_vec a, ti_vec b, ti_vec c)
{
  return _mm256_fmadd_ps(a, b, c);
}

TI_SIMD_INLINE ti_vec ti_max(ti_vec a, ti_vec b)
{
  return _mm256_max_ps(a, b);
}

TI_SIMD_INLINE ti_vec ti_abs(ti_vec x)
{
  return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

TI_SIMD_INLINE ti_vec ti_round(ti_vec x)
{
  return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* the low bits of n, as an integer, added to the exponent of x */
TI_SIMD_INLINE ti_vec ti_add_exponent(ti_vec x, ti_vec n)
{
  return _mm256_castsi256_ps(
    _mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_castps_si256(n), 23)));
}

/* x 2^n, n whole, in two steps, for 2^n may not be a float; beyond 2^252 as if it were that */
TI_SIMD_INLINE ti_vec ti_scale(ti_vec x, ti_vec n)
{
  const ti_vec most = _mm256_set1_ps(252.0f), least = _mm256_set1_ps(-252.0f);
  const __m256i all = _mm256_cvtps_epi32(_mm256_max_ps(_mm256_min_ps(n, most), least));
  const __m256i half = _mm256_srai_epi32(all, 1), rest = _mm256_sub_epi32(all, half);
  const ti_vec one = _mm256_set1_ps(1.0f);

  return _mm256_mul_ps(_mm256_mul_ps(x, ti_add_exponent(one, _mm256_castsi256_ps(half))),
                       ti_add_exponent(one, _mm256_castsi256_ps(rest)));
}

TI_SIMD_INLINE float ti_sum(ti_vec x)
{
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));

  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* ------ choices */

TI_SIMD_INLINE ti_lanes ti_above(ti_vec a, ti_vec b)
{
  return _mm256_cmp_ps(a, b, _CMP_GT_OQ);
}

TI_SIMD_INLINE ti_lanes ti_below(ti_vec a, ti_vec b)
{
  return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}

TI_SIMD_INLINE ti_lanes ti_at_least(ti_vec a, ti_vec b)
{
  return _mm256_cmp_ps(a, b, _CMP_GE_OQ);
}

TI_SIMD_INLINE int ti_all_equal(ti_vec a, ti_vec b)
{
  return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NEQ_UQ)) == 0;
}

/* a in those lanes, else b */
TI_SIMD_INLINE ti_vec ti_select(ti_lanes l, ti_vec a, ti_vec b)
{
  return _mm256_blendv_ps(b, a, l);
}

TI_SIMD_INLINE ti_lanes ti_lanes_of(ti_mask m)
{
  return _mm256_castsi256_ps(ti_mask_bits(m));
}

/* lane i and those after it */
TI_SIMD_INLINE ti_lanes ti_lanes_from(int i)
{
  return _mm256_castsi256_ps(
    _mm256_cmpgt_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(i - 1)));
}

/* ------ transposition of TI_LANES vectors in place */

TI_SIMD_INLINE void ti_transpose(ti_vec *r)
{
  ti_vec t[8];

  TI_UNROLL
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  TI_UNROLL
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  TI_UNROLL
  for (int i = 0; i < 4; i++) {
    const ti_vec low = r[i], high = r[i + 4];

    r[i] = _mm256_permute2f128_ps(low, high, 0x20);
    r[i + 4] = _mm256_permute2f128_ps(low, high, 0x31);
  }
}

#endif /* TI_SIMD_AVX2_H */
