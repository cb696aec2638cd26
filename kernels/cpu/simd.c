/* What this processor and system can, and the tables that follow from it. */
#include "simd_tables.h"

#ifdef TI_HAVE_SIMD

#include <cpuid.h>
#include <stdlib.h>
#include <string.h>

/*
 * leaf 1 of CPUID, ECX: FMA, OSXSAVE, F16C; leaf 7, EBX: AVX2 and BMI2, then AVX-512 F, DQ, BW, VL;
 * its second part, EAX: AVX-512 BF16; XCR0: the system saves SSE and AVX registers, then masks and
 * both kinds of 512-bit registers
 */
enum { LEAF1 = 1 << 12 | 1 << 27 | 1 << 29, AVX2 = 1 << 5 | 1 << 8, SAVES_AVX = 0x6 };
static const unsigned AVX512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
enum { SAVES_AVX512 = 0xe6, BF16 = 1 << 5 };

static int has(unsigned leaf7, unsigned saved)
{
  unsigned eax, ebx, ecx, edx, low, high;

  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & LEAF1) != LEAF1)
    return 0;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || (ebx & leaf7) != leaf7)
    return 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & saved) == saved;
}

static int has_bf16(void)
{
  unsigned eax, ebx, ecx, edx;

  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & BF16);
}

/*
 * Intel's cores multiply pairs of bf16 at half the rate of floats, AMD's at twice that rate. A clock
 * would tell, too, but then the bits of a result depended on the moment
 */
static int is_slow_in_bf16(void)
{
  unsigned eax, name[3];

  return __get_cpuid(0, &eax, &name[0], &name[2], &name[1]) && !memcmp(name, "GenuineIntel", 12);
}

/* whether TEXTINV_CPU in the environment is so */
static int named(const char *level)
{
  const char *limit = getenv("TEXTINV_CPU");

  return limit && !strcmp(limit, level);
}

/*
 * TEXTINV_CPU=reference, avx2 or avx512 in the environment keeps from more than that; bf16 takes
 * the instructions for it where they are slow, too
 */
static int wanted(const char *level)
{
  static const char *const levels[] = { "reference", "avx2", "avx512" };

  for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
    if (!strcmp(level, levels[i]))
      break;
    if (named(levels[i]))
      return 0;
  }
  return 1;
}

void ti_kernels_init_avx2(ti_kernels *k)
{
  if (wanted("avx2") && has(AVX2, SAVES_AVX))
    ti_avx2_install(k);
}

void ti_kernels_init_avx512(ti_kernels *k)
{
  if (!wanted("avx512") || !has(AVX2 | AVX512, SAVES_AVX512))
    return;
  ti_avx512_install(k);
  if (wanted("bf16") && has_bf16() && (named("bf16") || !is_slow_in_bf16()))
    ti_bf16_install(k);
}

#else

void ti_kernels_init_avx2(ti_kernels *k)
{
  (void)k;
}

void ti_kernels_init_avx512(ti_kernels *k)
{
  (void)k;
}

#endif
