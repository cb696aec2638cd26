/*
 * The overrides with bf16 instructions (AVX-512 BF16): products of bf16 values with float sums. All
 * other types go on to the functions that were there before.
 */
#define TI_LANES 16
#define TI_PAIRS
#include "gemm_simd.h"

#ifdef TI_HAVE_SIMD

static textinv_status attention_fwd(ti_exec *e, ti_dtype dtype, void *o, float *lse, const void *q,
                                    const void *k, const void *v, const ti_attention_shape *s)
{
  return (dtype == TI_BF16 ? ti_bf16_attention_fwd : ti_avx512_attention_fwd)(e, dtype, o, lse, q,
                                                                              k, v, s);
}

static textinv_status attention_bwd(ti_exec *e, ti_dtype dtype, void *dq, void *dk, void *dv,
                                    const void *do_, const void *o, const float *lse, const void *q,
                                    const void *k, const void *v, const ti_attention_shape *s)
{
  return (dtype == TI_BF16 ? ti_bf16_attention_bwd : ti_avx512_attention_bwd)(
    e, dtype, dq, dk, dv, do_, o, lse, q, k, v, s);
}

static size_t attention_scratch(ti_dtype dtype, const ti_attention_shape *s, int threads,
                                int backward)
{
  return (dtype == TI_BF16 ? ti_bf16_attention_scratch : ti_avx512_attention_scratch)(
    dtype, s, threads, backward);
}

void ti_bf16_install(ti_kernels *k)
{
  k->attention_scratch = attention_scratch;
  k->attention_fwd = attention_fwd;
  k->attention_bwd = attention_bwd;
}

#endif /* TI_HAVE_SIMD */
