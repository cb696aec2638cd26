/*
 * The tables of the overrides with vectors. That of bf16 instructions (TI_PAIRS) replaces products
 * of bf16 in the table of AVX-512; all other types go on to the functions that were there.
 */
#include "gemm_simd.h"

#ifdef TI_HAVE_SIMD

#include "onednn.h"
#include "simd_tables.h"

#ifdef TI_PAIRS

#define OWN(name) name

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

static size_t attention_scratch(const ti_exec *e, ti_dtype dtype, const ti_attention_shape *s,
                                int backward)
{
  return (dtype == TI_BF16 ? ti_bf16_attention_scratch
                           : ti_avx512_attention_scratch)(e, dtype, s, backward);
}

static textinv_status conv2d_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                     size_t *scratch_bytes, ti_weight *w, ti_weight *bias,
                                     const ti_conv2d_shape *s, int has_residual, int backward)
{
  return (dtype == TI_BF16 ? ti_bf16_conv2d_prepare : ti_avx512_conv2d_prepare)(
    e, dtype, prepared, scratch_bytes, w, bias, s, has_residual, backward);
}

static textinv_status linear_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                     size_t *scratch_bytes, ti_weight *w, ti_weight *bias,
                                     const ti_linear_shape *s, int has_residual, int backward)
{
  return (dtype == TI_BF16 ? ti_bf16_linear_prepare : ti_avx512_linear_prepare)(
    e, dtype, prepared, scratch_bytes, w, bias, s, has_residual, backward);
}

void ti_bf16_install(ti_kernels *k)
{
  k->file_weights &= ~(1u << TI_BF16);
  k->conv2d_prepare = conv2d_prepare;
  k->linear_prepare = linear_prepare;
  k->attention_scratch = attention_scratch;
  k->attention_fwd = attention_fwd;
  k->attention_bwd = attention_bwd;
}

#else

#define OWN(name) TI_FN(name)

void TI_FN(install)(ti_kernels *k)
{
  k->file_weights = 1u << TI_F32 | 1u << TI_BF16;
  k->conv2d_prepare = TI_FN(conv2d_prepare);
  k->linear_prepare = TI_FN(linear_prepare);
  ti_prepared_install(k);
  k->groupnorm_fwd = TI_FN(groupnorm_fwd);
  k->groupnorm_bwd = TI_FN(groupnorm_bwd);
  k->layernorm_fwd = TI_FN(layernorm_fwd);
  k->layernorm_bwd = TI_FN(layernorm_bwd);
  k->attention_scratch = TI_FN(attention_scratch);
  k->attention_fwd = TI_FN(attention_fwd);
  k->attention_bwd = TI_FN(attention_bwd);
  k->activation_fwd = TI_FN(activation_fwd);
  k->activation_bwd = TI_FN(activation_bwd);
  k->geglu_fwd = TI_FN(geglu_fwd);
  k->geglu_bwd = TI_FN(geglu_bwd);
  k->add = TI_FN(add);
  k->sum_pixels = TI_FN(sum_pixels);
  k->upsample_bwd = TI_FN(upsample_bwd);
}

#endif /* TI_PAIRS */

#ifdef TI_ONEDNN

/* on 64-bit ARM distributions build oneDNN without the library that it would take products from */
enum { SHARES_PRODUCTS = TI_LANES > 4 };

/*
 * Where oneDNN is there, too: matrix products in f32 go to it where it can read the file's values
 * as they are, which is a tenth faster, and so do convolutions that the passes do not describe.
 */
static textinv_status shared_linear(ti_exec *e, ti_dtype dtype, void **prepared,
                                    size_t *scratch_bytes, ti_weight *w, ti_weight *bias,
                                    const ti_linear_shape *s, int has_residual, int backward)
{
  if (SHARES_PRODUCTS && dtype == TI_F32 && w->dtype == TI_F32 &&
      (uintptr_t)w->data % sizeof(float) == 0) {
    const textinv_status status = ti_onednn_linear_prepare(e, dtype, prepared, scratch_bytes, w,
                                                           bias, s, has_residual, backward);

    if (status < 0 || *prepared)
      return status;
  }
  return OWN(linear_prepare)(e, dtype, prepared, scratch_bytes, w, bias, s, has_residual, backward);
}

static textinv_status shared_conv2d(ti_exec *e, ti_dtype dtype, void **prepared,
                                    size_t *scratch_bytes, ti_weight *w, ti_weight *bias,
                                    const ti_conv2d_shape *s, int has_residual, int backward)
{
  textinv_status status;

  if (s->kh == 1 && s->kw == 1 && s->stride == 1 && s->up == 1 && s->oh == s->h && s->ow == s->w)
    return shared_linear(e, dtype, prepared, scratch_bytes, w, bias,
                         &(ti_linear_shape){ s->n * s->h * s->w, s->cin, s->cout }, has_residual,
                         backward);
  status = OWN(conv2d_prepare)(e, dtype, prepared, scratch_bytes, w, bias, s, has_residual,
                               backward);
  if (status < 0 || *prepared)
    return status;
  return ti_onednn_conv2d_prepare(e, dtype, prepared, scratch_bytes, w, bias, s, has_residual,
                                  backward);
}

int TI_FN(share_with_onednn)(ti_kernels *k)
{
  if (k->conv2d_prepare != OWN(conv2d_prepare))
    return 0;
  k->conv2d_prepare = shared_conv2d;
  k->linear_prepare = shared_linear;
  return 1;
}

#endif /* TI_ONEDNN */

#endif /* TI_HAVE_SIMD */
