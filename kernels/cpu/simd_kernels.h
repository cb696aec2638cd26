/* The overrides with vectors: every name stands for one function of each form of a vector. */
#ifndef TI_SIMD_KERNELS_H
#define TI_SIMD_KERNELS_H

#include "cpu.h"
#include "simd.h"

#ifdef TI_HAVE_SIMD

textinv_status TI_FN(groupnorm_fwd)(ti_exec *e, ti_dtype dtype, void *y, float *mean, float *rstd,
                                    const void *x, const void *shift, const float *weight,
                                    const float *bias, const ti_groupnorm_shape *s);
textinv_status TI_FN(groupnorm_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                    const void *x, const void *shift, const float *mean,
                                    const float *rstd, const float *weight, const float *bias,
                                    const void *other, const ti_groupnorm_shape *s);
textinv_status TI_FN(layernorm_fwd)(ti_exec *e, ti_dtype dtype, void *y, float *mean, float *rstd,
                                    const void *x, const float *weight, const float *bias,
                                    const ti_layernorm_shape *s);
textinv_status TI_FN(layernorm_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                    const void *x, const float *mean, const float *rstd,
                                    const float *weight, const void *other,
                                    const ti_layernorm_shape *s);
textinv_status TI_FN(activation_fwd)(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                     const ti_activation_shape *s);
textinv_status TI_FN(activation_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                     const void *x, const ti_activation_shape *s);
textinv_status TI_FN(geglu_fwd)(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                const ti_geglu_shape *s);
textinv_status TI_FN(geglu_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy, const void *x,
                                const ti_geglu_shape *s);
textinv_status TI_FN(add)(ti_exec *e, ti_dtype dtype, void *y, const void *a, const void *b,
                          size_t count);
textinv_status TI_FN(sum_pixels)(ti_exec *e, ti_dtype dtype, void *v, const void *x,
                                 const ti_sum_pixels_shape *s);
textinv_status TI_FN(upsample_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                   const ti_upsample_shape *s);

size_t TI_FN(attention_bwd_floats)(const ti_attention_shape *s, int threads);

/* products, which exist three times */
#define TI_DECLARE(name)                                                                           \
  textinv_status name(attention_fwd)(ti_exec *e, ti_dtype dtype, void *o, float *lse,              \
                                     const void *q, const void *k, const void *v,                  \
                                     const ti_attention_shape *s);                                 \
  textinv_status name(attention_bwd)(ti_exec *e, ti_dtype dtype, void *dq, void *dk, void *dv,     \
                                     const void *do_, const void *o, const float *lse,             \
                                     const void *q, const void *k, const void *v,                  \
                                     const ti_attention_shape *s);                                 \
  size_t name(attention_scratch)(const ti_exec *e, ti_dtype dtype, const ti_attention_shape *s,    \
                                 int backward);                                                    \
  textinv_status name(conv2d_prepare)(ti_exec *e, ti_dtype dtype, void **prepared,                 \
                                      size_t *scratch_bytes, ti_weight *w, ti_weight *bias,        \
                                      const ti_conv2d_shape *s, int has_residual, int backward);   \
  textinv_status name(linear_prepare)(ti_exec *e, ti_dtype dtype, void **prepared,                 \
                                      size_t *scratch_bytes, ti_weight *w, ti_weight *bias,        \
                                      const ti_linear_shape *s, int has_residual, int backward);
#ifdef TI_PAIRS
#define TI_AVX512(name) ti_avx512_##name
TI_DECLARE(TI_AVX512)
#endif
TI_DECLARE(TI_FN)

#endif

#endif /* TI_SIMD_KERNELS_H */
