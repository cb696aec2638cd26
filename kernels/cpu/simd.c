/* What this processor and system can, and the tables that follow from it. */
#include "simd_tables.h"

#include <stdlib.h>
#include <string.h>

#include "format.h"

/* what TEXTINV_CPU in the environment may be; each but the first is a table */
#if !defined(TI_HAVE_SIMD)
static const char *const levels[] = { "reference" };
#elif defined(__x86_64__)
static const char *const levels[] = { "reference", "avx2", "avx512", "bf16" };
#else
static const char *const levels[] = { "reference", "neon" };
#endif

enum { LEVELS = sizeof(levels) / sizeof(levels[0]) };

static int named(const char *level)
{
  const char *limit = getenv("TEXTINV_CPU");

  return limit && !strcmp(limit, level);
}

textinv_status ti_check_cpu(ti_error *error)
{
  const char *limit = getenv("TEXTINV_CPU");
  char known[64];
  size_t len = 0;

  if (!limit || !*limit)
    return TEXTINV_OK;
  for (int i = 0; i < LEVELS; i++) {
    if (named(levels[i]))
      return TEXTINV_OK;
    len += ti_format(known + len, sizeof(known) - len, "%s%s", i ? ", " : "", levels[i]);
  }
  return ti_fail(error, TEXTINV_E_INVALID,
                 "TEXTINV_CPU in the environment is %s; known on this kind of processor: %s", limit,
                 known);
}

#ifdef TI_HAVE_SIMD

/* TEXTINV_CPU keeps from all levels beyond the one it names */
static int wanted(const char *level)
{
  for (int i = 0; strcmp(level, levels[i]); i++) {
    if (named(levels[i]))
      return 0;
  }
  return 1;
}

#endif

#if defined(TI_HAVE_SIMD) && defined(__x86_64__)

#include <cpuid.h>

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

void ti_kernels_init_simd(ti_kernels *k)
{
  if (wanted("avx2") && has(AVX2, SAVES_AVX))
    ti_avx2_install(k);
  if (!wanted("avx512") || !has(AVX2 | AVX512, SAVES_AVX512))
    return;
  ti_avx512_install(k);
  /* named, it is taken where it is slow, too */
  if (wanted("bf16") && has_bf16() && (named("bf16") || !is_slow_in_bf16()))
    ti_bf16_install(k);
}

#else

void ti_kernels_init_simd(ti_kernels *k)
{
#ifdef TI_HAVE_SIMD
  if (wanted("neon"))
    ti_neon_install(k);
#else
  (void)k;
#endif
}

#endif
