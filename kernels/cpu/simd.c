/* What this processor and system can, and the tables that follow from it. */
#include "simd_tables.h"

#ifdef TI_HAVE_SIMD

#include <cpuid.h>
#include <stdlib.h>
#include <string.h>

/*
 * leaf 1 of CPUID, ECX: FMA, OSXSAVE, F16C; leaf 7, EBX: AVX2 and BMI2, then AVX-512 F, DQ, BW, VL;
 * XCR0: the system saves SSE and AVX registers, then masks and both kinds of 512-bit registers
 */
enum { LEAF1 = 1 << 12 | 1 << 27 | 1 << 29, AVX2 = 1 << 5 | 1 << 8, SAVES_AVX = 0x6 };
static const unsigned AVX512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
enum { SAVES_AVX512 = 0xe6 };

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

/* TEXTINV_CPU=reference or avx2 in the environment keeps from more than that */
static int wanted(const char *most)
{
  const char *limit = getenv("TEXTINV_CPU");

  return !limit || (strcmp(limit, "reference") && (strcmp(limit, "avx2") || !strcmp(most, "avx2")));
}

void ti_kernels_init_avx2(ti_kernels *k)
{
  if (wanted("avx2") && has(AVX2, SAVES_AVX))
    ti_avx2_install(k);
}

void ti_kernels_init_avx512(ti_kernels *k)
{
  if (wanted("avx512") && has(AVX2 | AVX512, SAVES_AVX512))
    ti_avx512_install(k);
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
