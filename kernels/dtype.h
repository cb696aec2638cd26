/* Storage types and the conversions between them. */
#ifndef TI_DTYPE_H
#define TI_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* the values of textinv_dtype */
typedef enum { TI_F32 = 0, TI_F16 = 1, TI_BF16 = 2 } ti_dtype;

static inline size_t ti_dtype_size(ti_dtype dtype)
{
  return dtype == TI_F32 ? 4 : 2;
}

static inline float ti_bf16_to_f32(uint16_t h)
{
  const uint32_t u = (uint32_t)h << 16;
  float f;

  memcpy(&f, &u, sizeof(f));
  return f;
}

/* to nearest, ties to even; a NaN stays a NaN */
static inline uint16_t ti_f32_to_bf16(float f)
{
  uint32_t u;

  memcpy(&u, &f, sizeof(u));
  if ((u & 0x7fffffffu) > 0x7f800000u)
    return (uint16_t)(u >> 16 | 0x40);
  return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static inline float ti_f16_to_f32(uint16_t h)
{
  const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
  uint32_t exponent = h >> 10 & 31, mantissa = h & 0x3ff, u;
  float f;

  if (exponent == 31) {
    u = sign | 0x7f800000u | mantissa << 13;
  } else if (exponent) {
    u = sign | (exponent + 112) << 23 | mantissa << 13;
  } else if (!mantissa) {
    u = sign;
  } else {
    exponent = 113;
    while (!(mantissa & 0x400)) {
      mantissa <<= 1;
      exponent--;
    }
    u = sign | exponent << 23 | (mantissa & 0x3ff) << 13;
  }
  memcpy(&f, &u, sizeof(f));
  return f;
}

/* to nearest, ties to even; overflow gives an infinity */
static inline uint16_t ti_f32_to_f16(float f)
{
  uint32_t u;

  memcpy(&u, &f, sizeof(u));
  const uint32_t sign = u >> 16 & 0x8000, a = u & 0x7fffffffu;

  if (a > 0x7f800000u)
    return (uint16_t)(sign | 0x7e00);
  if (a >= 0x477ff000u) /* 65520 and above */
    return (uint16_t)(sign | 0x7c00);
  if (a >= 0x38800000u) { /* normal */
    const uint32_t r = a - 0x38000000u;

    return (uint16_t)(sign | (r + 0xfff + (r >> 13 & 1)) >> 13);
  }
  if (a < 0x33000000u) /* below half the least subnormal */
    return (uint16_t)sign;

  const uint32_t m = (a & 0x7fffffu) | 0x800000u, shift = 126 - (a >> 23);
  const uint32_t half = 1u << (shift - 1), odd = m >> shift & 1;

  return (uint16_t)(sign | (m + half - 1 + odd) >> shift);
}

static inline float ti_load(ti_dtype dtype, const void *p, size_t i)
{
  switch (dtype) {
  case TI_F16: return ti_f16_to_f32(((const uint16_t *)p)[i]);
  case TI_BF16: return ti_bf16_to_f32(((const uint16_t *)p)[i]);
  default: return ((const float *)p)[i];
  }
}

static inline void ti_store(ti_dtype dtype, void *p, size_t i, float f)
{
  switch (dtype) {
  case TI_F16: ((uint16_t *)p)[i] = ti_f32_to_f16(f); break;
  case TI_BF16: ((uint16_t *)p)[i] = ti_f32_to_bf16(f); break;
  default: ((float *)p)[i] = f; break;
  }
}

/* count values of x_dtype into y_dtype; the buffers do not overlap */
void ti_convert(ti_dtype y_dtype, void *y, ti_dtype x_dtype, const void *x, size_t count);

#ifdef __cplusplus
}
#endif

#endif /* TI_DTYPE_H */
