/*
 * Vectors of floats. On x86-64 a file X_simd.c that includes this is compiled twice, with TI_LANES
 * 16 for AVX-512 and 8 for AVX2; TI_FN(name) is ti_avx512_name or ti_avx2_name. Files of products
 * are compiled a third time, with TI_PAIRS, for AVX-512 with bf16 instructions, and TI_FN(name) is
 * ti_bf16_name. Functions are compiled for those instructions one by one (TI_SIMD), so that the
 * library itself runs on any x86-64. On 64-bit ARM it is compiled once, with TI_LANES 4, and
 * TI_FN(name) is ti_neon_name.
 *
 * Memory is read and written through masks of the first lanes, lanes outside being 0; dtype is a
 * constant where these functions are inlined.
 */
#ifndef TI_SIMD_H
#define TI_SIMD_H

#include "simd_tables.h"

#ifdef TI_HAVE_SIMD

#include <string.h>

#include "dtype.h"

/* sanitizers check every index, which unrolled makes minutes of compilation */
#if defined(__SANITIZE_ADDRESS__)
#define TI_UNROLL
#elif defined(__clang__)
#define TI_UNROLL _Pragma("clang loop unroll(full)")
#else
#define TI_UNROLL _Pragma("GCC unroll 16")
#endif

#define TI_SIMD_INLINE static inline __attribute__((always_inline)) TI_SIMD

#if TI_LANES == 16
#include "simd_avx512.h"
#elif TI_LANES == 8
#include "simd_avx2.h"
#else
#include "simd_neon.h"
#endif

/*
 * The operands of products: values that follow each other in the sum, as many as a lane holds, all
 * of one type. With TI_PAIRS they are two of bf16, else one float.
 */
#ifdef TI_PAIRS
enum { TI_PER_LANE = 2 };
#else
enum { TI_PER_LANE = 1 };

TI_SIMD_INLINE ti_vec ti_fma_operands(ti_vec a, ti_vec b, ti_vec sum)
{
  return ti_fma(a, b, sum);
}

TI_SIMD_INLINE ti_vec ti_operand(const ti_vec *x)
{
  return x[0];
}

TI_SIMD_INLINE ti_vec ti_load_operands(ti_dtype dtype, const void *p, size_t i, ptrdiff_t count)
{
  return ti_load_mask(dtype, p, i, ti_first(count));
}
#endif

/* lanes that hold so many values */
static inline int ti_depth(int values)
{
  return (values + TI_PER_LANE - 1) / TI_PER_LANE;
}

/* x, or 0 outside the mask */
TI_SIMD_INLINE ti_vec ti_keep(ti_mask m, ti_vec x)
{
  return ti_select(ti_lanes_of(m), x, ti_set(0.0f));
}

/* relative error 2e-7; 0 below -87.3, infinity above 88.7 */
TI_SIMD_INLINE ti_vec ti_exp(ti_vec x)
{
  const ti_vec n = ti_round(x * ti_set(1.44269504f));
  ti_vec r = ti_fma(n, ti_set(-0.693359375f), x), p;

  r = ti_fma(n, ti_set(2.12194440e-4f), r);
  p = ti_set(1.9875691500e-4f);
  p = ti_fma(p, r, ti_set(1.3981999507e-3f));
  p = ti_fma(p, r, ti_set(8.3334519073e-3f));
  p = ti_fma(p, r, ti_set(4.1665795894e-2f));
  p = ti_fma(p, r, ti_set(1.6666665459e-1f));
  p = ti_fma(p, r, ti_set(5.0000001201e-1f));
  p = ti_fma(p, r * r, r + ti_set(1.0f));
  return ti_select(ti_below(x, ti_set(-87.3f)), ti_set(0.0f), ti_scale(p, n));
}

TI_SIMD_INLINE ti_vec ti_sigmoid(ti_vec x)
{
  const ti_vec one = ti_set(1.0f);

  return one / (one + ti_exp(ti_set(0.0f) - x));
}

/*
 * Phi(x), the normal distribution function, with a small relative error in the lower tail too:
 * exp(-x^2 / 2) times a polynomial in 1 / (1 + 0.35 z), z = |x| / sqrt(2), fitted to erfcx to 1e-8.
 * *bell = exp(-x^2 / 2).
 */
TI_SIMD_INLINE ti_vec ti_normal_cdf(ti_vec x, ti_vec *bell)
{
  static const float c[] = {
    0.197469589f, 0.197408108f,   0.185708809f, 0.161212664f, 0.117606738f,
    0.139010882f, -0.0891242542f, 0.226760159f, -0.17789621f, 0.0418435253f
  };
  const ti_vec one = ti_set(1.0f), a = ti_abs(x);
  const ti_vec t = one / ti_fma(a, ti_set(0.24748737f), one);
  ti_vec p = ti_set(c[9]), tail;

  for (int i = 8; i >= 0; i--)
    p = ti_fma(p, t, ti_set(c[i]));
  *bell = ti_exp(x * x * ti_set(-0.5f));
  tail = *bell * ti_set(0.5f) * (p * t);
  return ti_select(ti_above(x, ti_set(0.0f)), one - tail, tail);
}

/* call worker with dtype as a constant */
#define TI_DISPATCH(dtype, worker, ...)                                                            \
  do {                                                                                             \
    switch (dtype) {                                                                               \
    case TI_F32: worker(TI_F32, __VA_ARGS__); break;                                               \
    case TI_BF16: worker(TI_BF16, __VA_ARGS__); break;                                             \
    default: worker(TI_F16, __VA_ARGS__); break;                                                   \
    }                                                                                              \
  } while (0)

#endif

#endif /* TI_SIMD_H */
