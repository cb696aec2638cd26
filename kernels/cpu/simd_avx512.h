/*
 * Sixteen floats at a time. Everything here is compiled for AVX-512 function by function, so that
 * the library itself runs on any x86-64. OpenMP regions stay outside such functions: they call workers
 * that take a range.
 */
#ifndef TI_SIMD_AVX512_H
#define TI_SIMD_AVX512_H

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define TI_HAVE_AVX512 1

#include <immintrin.h>

#include "dtype.h"

#define TI_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi2,fma,f16c")))
#define TI_AVX512_INLINE static inline __attribute__((always_inline)) TI_AVX512

enum { TI_LANES = 16 };

/* the first count lanes, count in 0..16 */
TI_AVX512_INLINE __mmask16 ti_mask(size_t count)
{
  return (__mmask16)_bzhi_u32(0xffffu, (unsigned)count);
}

/* lanes outside the mask are 0 and not read; dtype is a constant where this is inlined */
TI_AVX512_INLINE __m512 ti_load_mask(ti_dtype dtype, const void *p, size_t i, __mmask16 m)
{
  if (dtype == TI_F32)
    return _mm512_maskz_loadu_ps(m, (const float *)p + i);

  const __m256i h = _mm256_maskz_loadu_epi16(m, (const uint16_t *)p + i);

  if (dtype == TI_F16)
    return _mm512_cvtph_ps(h);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* to nearest, ties to even; a NaN stays a NaN */
TI_AVX512_INLINE __m256i ti_to_bf16(__m512 x)
{
  const __m512i u = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i quiet = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);

  return _mm512_cvtepi32_epi16(
      _mm512_srli_epi32(_mm512_mask_blend_epi32(nan, rounded, quiet), 16));
}

TI_AVX512_INLINE void ti_store_mask(ti_dtype dtype, void *p, size_t i, __mmask16 m, __m512 x)
{
  if (dtype == TI_F32)
    _mm512_mask_storeu_ps((float *)p + i, m, x);
  else if (dtype == TI_F16)
    _mm256_mask_storeu_epi16((uint16_t *)p + i, m, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  else
    _mm256_mask_storeu_epi16((uint16_t *)p + i, m, ti_to_bf16(x));
}

/* relative error 2e-7; 0 below -87.3, infinity above 88.7 */
TI_AVX512_INLINE __m512 ti_exp(__m512 x)
{
  const __m512 low = _mm512_set1_ps(-87.3f);
  const __mmask16 in = _mm512_cmp_ps_mask(x, low, _CMP_NLT_UQ);
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x), p;

  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  p = _mm512_set1_ps(1.9875691500e-4f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
  p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.0f)));
  return _mm512_maskz_scalef_ps(in, p, n);
}

TI_AVX512_INLINE __m512 ti_sigmoid(__m512 x)
{
  const __m512 one = _mm512_set1_ps(1.0f);

  return _mm512_div_ps(one, _mm512_add_ps(one, ti_exp(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

/*
 * Phi(x), the normal distribution function, with a small relative error in the lower tail too:
 * exp(-x^2 / 2) times a polynomial in 1 / (1 + 0.35 z), z = |x| / sqrt(2), fitted to erfcx to 1e-8.
 * *bell = exp(-x^2 / 2).
 */
TI_AVX512_INLINE __m512 ti_normal_cdf(__m512 x, __m512 *bell)
{
  static const float c[] = { 0.197469589f,   0.197408108f, 0.185708809f, 0.161212664f,
                             0.117606738f,   0.139010882f, -0.0891242542f, 0.226760159f,
                             -0.17789621f,   0.0418435253f };
  const __m512 one = _mm512_set1_ps(1.0f), a = _mm512_abs_ps(x);
  const __m512 t = _mm512_div_ps(one, _mm512_fmadd_ps(a, _mm512_set1_ps(0.24748737f), one));
  __m512 p = _mm512_set1_ps(c[9]), tail;

  for (int i = 8; i >= 0; i--)
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(c[i]));
  *bell = ti_exp(_mm512_mul_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(-0.5f)));
  tail = _mm512_mul_ps(_mm512_mul_ps(*bell, _mm512_set1_ps(0.5f)), _mm512_mul_ps(p, t));
  return _mm512_mask_sub_ps(tail, _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ), one,
                            tail);
}

/* call worker with dtype as a constant */
#define TI_DISPATCH(dtype, worker, ...) \
  do { \
    switch (dtype) { \
    case TI_F32: worker(TI_F32, __VA_ARGS__); break; \
    case TI_BF16: worker(TI_BF16, __VA_ARGS__); break; \
    default: worker(TI_F16, __VA_ARGS__); break; \
    } \
  } while (0)

#endif

#endif /* TI_SIMD_AVX512_H */
