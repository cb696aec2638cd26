/* The AVX-512 overrides. */
#ifndef TI_AVX512_H
#define TI_AVX512_H

#include "cpu.h"

textinv_status ti_avx512_groupnorm_fwd(ti_exec *e, ti_dtype dtype, void *y, float *mean,
                                       float *rstd, const void *x, const float *weight,
                                       const float *bias, const ti_groupnorm_shape *s);
textinv_status ti_avx512_groupnorm_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                       const void *x, const float *mean, const float *rstd,
                                       const float *weight, const float *bias,
                                       const ti_groupnorm_shape *s);
textinv_status ti_avx512_layernorm_fwd(ti_exec *e, ti_dtype dtype, void *y, float *mean,
                                       float *rstd, const void *x, const float *weight,
                                       const float *bias, const ti_layernorm_shape *s);
textinv_status ti_avx512_layernorm_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                       const void *x, const float *mean, const float *rstd,
                                       const float *weight, const ti_layernorm_shape *s);
textinv_status ti_avx512_attention_fwd(ti_exec *e, ti_dtype dtype, void *o, float *lse,
                                       const void *q, const void *k, const void *v,
                                       const ti_attention_shape *s);
textinv_status ti_avx512_attention_bwd(ti_exec *e, ti_dtype dtype, void *dq, void *dk, void *dv,
                                       const void *do_, const void *o, const float *lse,
                                       const void *q, const void *k, const void *v,
                                       const ti_attention_shape *s);
textinv_status ti_avx512_activation_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                        const ti_activation_shape *s);
textinv_status ti_avx512_activation_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                        const void *x, const ti_activation_shape *s);
textinv_status ti_avx512_geglu_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                   const ti_geglu_shape *s);
textinv_status ti_avx512_geglu_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                   const void *x, const ti_geglu_shape *s);
textinv_status ti_avx512_add(ti_exec *e, ti_dtype dtype, void *y, const void *a, const void *b,
                             size_t count);
textinv_status ti_avx512_add_channels_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                          const void *v, const ti_add_channels_shape *s);
textinv_status ti_avx512_add_channels_bwd(ti_exec *e, ti_dtype dtype, void *dv, const void *dy,
                                          const ti_add_channels_shape *s);
textinv_status ti_avx512_upsample_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                      const ti_upsample_shape *s);

size_t ti_avx512_attention_scratch(ti_dtype dtype, const ti_attention_shape *s, int threads,
                                   int backward);
size_t ti_avx512_attention_bwd_floats(const ti_attention_shape *s, int threads);

#endif /* TI_AVX512_H */
