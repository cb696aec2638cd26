/* The table of the AVX-512 overrides, where this processor and system have it. */
#include "avx512.h"

#include "gemm_avx512.h"

#ifdef TI_HAVE_AVX512

#include <cpuid.h>

static int usable(void)
{
  /* F, DQ, BW, VL and AVX2, BMI2 in EBX of leaf 7; FMA, F16C, OSXSAVE in ECX of leaf 1 */
  const unsigned leaf7 = 1u << 5 | 1u << 8 | 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
  const unsigned leaf1 = 1u << 12 | 1u << 27 | 1u << 29;
  unsigned eax, ebx, ecx, edx, low, high;

  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & leaf1) != leaf1)
    return 0;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || (ebx & leaf7) != leaf7)
    return 0;
  /* the system saves SSE, AVX, mask and both kinds of 512-bit registers */
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & 0xe6) == 0xe6;
}

/* before ti_kernels_init_onednn, which then decides between the two */
void ti_kernels_init_avx512(ti_kernels *k)
{
  if (!usable())
    return;
  k->conv2d_prepare = ti_avx512_conv2d_prepare;
  k->linear_prepare = ti_avx512_linear_prepare;
  ti_prepared_install(k);
  k->groupnorm_fwd = ti_avx512_groupnorm_fwd;
  k->groupnorm_bwd = ti_avx512_groupnorm_bwd;
  k->layernorm_fwd = ti_avx512_layernorm_fwd;
  k->layernorm_bwd = ti_avx512_layernorm_bwd;
  k->attention_scratch = ti_avx512_attention_scratch;
  k->attention_fwd = ti_avx512_attention_fwd;
  k->attention_bwd = ti_avx512_attention_bwd;
  k->activation_fwd = ti_avx512_activation_fwd;
  k->activation_bwd = ti_avx512_activation_bwd;
  k->geglu_fwd = ti_avx512_geglu_fwd;
  k->geglu_bwd = ti_avx512_geglu_bwd;
  k->add = ti_avx512_add;
  k->add_channels_fwd = ti_avx512_add_channels_fwd;
  k->add_channels_bwd = ti_avx512_add_channels_bwd;
  k->upsample_bwd = ti_avx512_upsample_bwd;
}

#else

void ti_kernels_init_avx512(ti_kernels *k)
{
  (void)k;
}

#endif
