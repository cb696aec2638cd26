/* The vectors of simd.h with the NEON of every 64-bit ARM: four floats; a mask is a number. */
#ifndef TI_SIMD_NEON_H
#define TI_SIMD_NEON_H

#include <arm_neon.h>

#define TI_FN(name) ti_neon_##name
#define TI_SIMD

typedef float32x4_t ti_vec;
typedef int ti_mask;         /* the first lanes, which are read or written */
typedef uint32x4_t ti_lanes; /* any lanes: those with every bit */

TI_SIMD_INLINE ti_mask ti_first(ptrdiff_t count)
{
  return count < 0 ? 0 : count < TI_LANES ? (int)count : TI_LANES;
}

TI_SIMD_INLINE int32x4_t ti_lane_numbers(void)
{
  return (int32x4_t){ 0, 1, 2, 3 };
}

/* ------ memory */

TI_SIMD_INLINE ti_vec ti_get(const float *p)
{
  return vld1q_f32(p);
}

TI_SIMD_INLINE void ti_put(float *p, ti_vec x)
{
  vst1q_f32(p, x);
}

/* There are no masks: m values, which may lie at odd addresses in a mapped file. */
TI_SIMD_INLINE void ti_copy_lanes(void *to, const void *from, ti_mask m, size_t size)
{
  const size_t done = (size_t)(m & 2) * size;

  if (m == TI_LANES)
    memcpy(to, from, TI_LANES * size);
  if (m & 2)
    memcpy(to, from, 2 * size);
  if (m & 1)
    memcpy((char *)to + done, (const char *)from + done, size);
}

TI_SIMD_INLINE ti_vec ti_load_mask(ti_dtype dtype, const void *p, size_t i, ti_mask m)
{
  const size_t size = ti_dtype_size(dtype);
  const char *from = (const char *)p + i * size;
  uint16x4_t h = vdup_n_u16(0);
  ti_vec x = vdupq_n_f32(0.0f);

  if (dtype == TI_F32) {
    ti_copy_lanes(&x, from, m, size);
    return x;
  }
  ti_copy_lanes(&h, from, m, size);
  if (dtype == TI_F16)
    return vcvt_f32_f16(vreinterpret_f16_u16(h));
  return vreinterpretq_f32_u32(vshll_n_u16(h, 16));
}

/* to nearest, ties to even; a NaN stays a NaN */
TI_SIMD_INLINE uint16x4_t ti_to_bf16(ti_vec x)
{
  const uint32x4_t u = vreinterpretq_u32_f32(x);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  const uint32x4_t quiet = vorrq_u32(u, vdupq_n_u32(0x400000));

  return vshrn_n_u32(vbslq_u32(vceqq_f32(x, x), rounded, quiet), 16);
}

TI_SIMD_INLINE void ti_store_mask(ti_dtype dtype, void *p, size_t i, ti_mask m, ti_vec x)
{
  const size_t size = ti_dtype_size(dtype);
  char *to = (char *)p + i * size;
  uint16x4_t h;

  if (dtype == TI_F32) {
    ti_copy_lanes(to, &x, m, size);
    return;
  }
  h = dtype == TI_F16 ? vreinterpret_u16_f16(vcvt_f16_f32(x)) : ti_to_bf16(x);
  ti_copy_lanes(to, &h, m, size);
}

/* sum[lanes] += x */
TI_SIMD_INLINE void ti_add_doubles(double *sum, ti_vec x)
{
  vst1q_f64(sum, vaddq_f64(vld1q_f64(sum), vcvt_f64_f32(vget_low_f32(x))));
  vst1q_f64(sum + 2, vaddq_f64(vld1q_f64(sum + 2), vcvt_high_f64_f32(x)));
}

/* sums of doubles as floats */
TI_SIMD_INLINE ti_vec ti_from_doubles(const double *sum)
{
  return vcvt_high_f32_f64(vcvt_f32_f64(vld1q_f64(sum)), vld1q_f64(sum + 2));
}

/* ------ arithmetic; + - * / are the language's */

TI_SIMD_INLINE ti_vec ti_set(float x)
{
  return vdupq_n_f32(x);
}

/* a b + c */
TI_SIMD_INLINE ti_vec ti_fma(ti_vec a, ti_vec b, ti_vec c)
{
  return vfmaq_f32(c, a, b);
}

TI_SIMD_INLINE ti_vec ti_max(ti_vec a, ti_vec b)
{
  return vmaxq_f32(a, b);
}

TI_SIMD_INLINE ti_vec ti_abs(ti_vec x)
{
  return vabsq_f32(x);
}

TI_SIMD_INLINE ti_vec ti_round(ti_vec x)
{
  return vrndnq_f32(x);
}

/* the low bits of n, as an integer, added to the exponent of x */
TI_SIMD_INLINE ti_vec ti_add_exponent(ti_vec x, ti_vec n)
{
  return vreinterpretq_f32_s32(
    vaddq_s32(vreinterpretq_s32_f32(x), vshlq_n_s32(vreinterpretq_s32_f32(n), 23)));
}

/* x 2^n, n whole, in two steps, for 2^n may not be a float; beyond 2^252 as if it were that */
TI_SIMD_INLINE ti_vec ti_scale(ti_vec x, ti_vec n)
{
  const ti_vec most = vdupq_n_f32(252.0f), least = vdupq_n_f32(-252.0f), one = vdupq_n_f32(1.0f);
  const int32x4_t all = vcvtq_s32_f32(vmaxq_f32(vminq_f32(n, most), least));
  const int32x4_t half = vshrq_n_s32(all, 1), rest = vsubq_s32(all, half);

  return x * ti_add_exponent(one, vreinterpretq_f32_s32(half)) *
         ti_add_exponent(one, vreinterpretq_f32_s32(rest));
}

TI_SIMD_INLINE float ti_sum(ti_vec x)
{
  return vaddvq_f32(x);
}

/* ------ choices */

TI_SIMD_INLINE ti_lanes ti_above(ti_vec a, ti_vec b)
{
  return vcgtq_f32(a, b);
}

TI_SIMD_INLINE ti_lanes ti_below(ti_vec a, ti_vec b)
{
  return vcltq_f32(a, b);
}

TI_SIMD_INLINE ti_lanes ti_at_least(ti_vec a, ti_vec b)
{
  return vcgeq_f32(a, b);
}

TI_SIMD_INLINE int ti_all_equal(ti_vec a, ti_vec b)
{
  return vminvq_u32(vceqq_f32(a, b)) != 0;
}

/* a in those lanes, else b */
TI_SIMD_INLINE ti_vec ti_select(ti_lanes l, ti_vec a, ti_vec b)
{
  return vbslq_f32(l, a, b);
}

TI_SIMD_INLINE ti_lanes ti_lanes_of(ti_mask m)
{
  return vcltq_s32(ti_lane_numbers(), vdupq_n_s32(m));
}

/* lane i and those after it */
TI_SIMD_INLINE ti_lanes ti_lanes_from(int i)
{
  return vcgeq_s32(ti_lane_numbers(), vdupq_n_s32(i));
}

/* ------ transposition of TI_LANES vectors in place */

TI_SIMD_INLINE ti_vec ti_low_halves(ti_vec a, ti_vec b)
{
  return vreinterpretq_f32_f64(vzip1q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}

TI_SIMD_INLINE ti_vec ti_high_halves(ti_vec a, ti_vec b)
{
  return vreinterpretq_f32_f64(vzip2q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)));
}

TI_SIMD_INLINE void ti_transpose(ti_vec *r)
{
  const ti_vec even_low = vtrn1q_f32(r[0], r[1]), odd_low = vtrn2q_f32(r[0], r[1]);
  const ti_vec even_high = vtrn1q_f32(r[2], r[3]), odd_high = vtrn2q_f32(r[2], r[3]);

  r[0] = ti_low_halves(even_low, even_high);
  r[1] = ti_low_halves(odd_low, odd_high);
  r[2] = ti_high_halves(even_low, even_high);
  r[3] = ti_high_halves(odd_low, odd_high);
}

#endif /* TI_SIMD_NEON_H */
