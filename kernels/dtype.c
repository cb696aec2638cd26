/* Conversions between storage types. */
#include "dtype.h"

#include "cpu/simd_tables.h"
#define TI_LANES TI_FEWEST_LANES
#include "cpu/simd.h"

#ifdef TI_HAVE_SIMD

#ifdef __x86_64__
#include <cpuid.h>
#include <stdatomic.h>
#endif

/* a vector at a time; returns how many values were done */
TI_SIMD_INLINE size_t convert_worker(ti_dtype y_dtype, void *y, ti_dtype x_dtype, const void *x,
                                       size_t count)
{
  size_t i = 0;

  for (; i + TI_LANES <= count; i += TI_LANES)
    ti_store_mask(y_dtype, y, i, TI_LANES, ti_load_mask(x_dtype, x, i, TI_LANES));
  return i;
}

static TI_SIMD size_t convert_vectors(ti_dtype y_dtype, void *y, ti_dtype x_dtype, const void *x,
                                        size_t count)
{
  switch (3 * (int)y_dtype + (int)x_dtype) {
  case 3 * TI_F32 + TI_F16: return convert_worker(TI_F32, y, TI_F16, x, count);
  case 3 * TI_F32 + TI_BF16: return convert_worker(TI_F32, y, TI_BF16, x, count);
  case 3 * TI_F16 + TI_F32: return convert_worker(TI_F16, y, TI_F32, x, count);
  case 3 * TI_F16 + TI_BF16: return convert_worker(TI_F16, y, TI_BF16, x, count);
  case 3 * TI_BF16 + TI_F32: return convert_worker(TI_BF16, y, TI_F32, x, count);
  case 3 * TI_BF16 + TI_F16: return convert_worker(TI_BF16, y, TI_F16, x, count);
  default: return 0;
  }
}

#else

static size_t convert_vectors(ti_dtype y_dtype, void *y, ti_dtype x_dtype, const void *x,
                              size_t count)
{
  (void)y_dtype;
  (void)y;
  (void)x_dtype;
  (void)x;
  (void)count;
  return 0;
}

#endif

#if defined(TI_HAVE_SIMD) && defined(__x86_64__)

/* asked once: in a virtual machine cpuid takes tens of microseconds */
static int vectors_usable(void)
{
  static atomic_int known = -1;
  unsigned eax, ebx, ecx, edx;
  int usable = atomic_load_explicit(&known, memory_order_relaxed);

  if (usable < 0) {
    usable = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
             __builtin_cpu_supports("fma") && __get_cpuid(1, &eax, &ebx, &ecx, &edx) &&
             (ecx & bit_F16C);
    atomic_store_explicit(&known, usable, memory_order_relaxed);
  }
  return usable;
}

#else

static int vectors_usable(void)
{
  return 1;
}

#endif

void ti_convert(ti_dtype y_dtype, void *y, ti_dtype x_dtype, const void *x, size_t count)
{
  const unsigned char *from = x;
  unsigned char *to = y;
  size_t done = 0;

  if (y_dtype == x_dtype) {
    memcpy(y, x, count * ti_dtype_size(x_dtype));
    return;
  }
  if (vectors_usable())
    done = convert_vectors(y_dtype, y, x_dtype, x, count);
  /* mapped values need not be aligned */
  for (size_t i = done; i < count; i++) {
    float f;

    if (x_dtype == TI_F32) {
      memcpy(&f, from + 4 * i, 4);
    } else {
      uint16_t h;

      memcpy(&h, from + 2 * i, 2);
      f = x_dtype == TI_F16 ? ti_f16_to_f32(h) : ti_bf16_to_f32(h);
    }
    if (y_dtype == TI_F32) {
      memcpy(to + 4 * i, &f, 4);
    } else {
      const uint16_t h = y_dtype == TI_F16 ? ti_f32_to_f16(f) : ti_f32_to_bf16(f);

      memcpy(to + 2 * i, &h, 2);
    }
  }
}
