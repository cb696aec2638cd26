/* The table of the overrides with vectors. */
#include "gemm_simd.h"

#ifdef TI_HAVE_SIMD

#include "onednn.h"
#include "simd_tables.h"

void TI_FN(install)(ti_kernels *k)
{
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
  k->add_channels_fwd = TI_FN(add_channels_fwd);
  k->add_channels_bwd = TI_FN(add_channels_bwd);
  k->upsample_bwd = TI_FN(upsample_bwd);
}

#ifdef TI_ONEDNN

/*
 * Where oneDNN is there, too. Convolutions go to Winograd and to the products that keep no copy of
 * the weights. Matrix products in f32 go to oneDNN where it can read the file's values as they are:
 * it is a tenth faster. In bf16 oneDNN wins where the processor multiplies that itself and Winograd
 * does not apply.
 */
static int native_bf16(ti_dtype dtype)
{
  return dtype == TI_BF16 && dnnl_get_effective_cpu_isa() >= dnnl_cpu_isa_avx512_core_bf16;
}

static textinv_status linear_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                     size_t *scratch_bytes, ti_weight *w, const ti_linear_shape *s,
                                     int has_residual, int backward)
{
  const int as_it_is = w->dtype == TI_F32 && (uintptr_t)w->data % sizeof(float) == 0;

  if (native_bf16(dtype) || (dtype == TI_F32 && as_it_is)) {
    const textinv_status status = ti_onednn_linear_prepare(e, dtype, prepared, scratch_bytes, w, s,
                                                           has_residual, backward);

    if (status < 0 || *prepared)
      return status;
  }
  return TI_FN(linear_prepare)(e, dtype, prepared, scratch_bytes, w, s, has_residual, backward);
}

static textinv_status conv2d_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                     size_t *scratch_bytes, ti_weight *w, const ti_conv2d_shape *s,
                                     int has_residual, int backward)
{
  textinv_status status;

  if (s->kh == 1 && s->kw == 1 && s->stride == 1 && s->up == 1 && s->oh == s->h && s->ow == s->w)
    return linear_prepare(e, dtype, prepared, scratch_bytes, w,
                          &(ti_linear_shape){ s->n * s->h * s->w, s->cin, s->cout }, has_residual,
                          backward);
  if (native_bf16(dtype) && !TI_FN(winograd_suits)(s)) {
    status = ti_onednn_conv2d_prepare(e, dtype, prepared, scratch_bytes, w, s, has_residual,
                                      backward);
    if (status < 0 || *prepared)
      return status;
  }
  status = TI_FN(conv2d_prepare)(e, dtype, prepared, scratch_bytes, w, s, has_residual, backward);
  if (status < 0 || *prepared)
    return status;
  return ti_onednn_conv2d_prepare(e, dtype, prepared, scratch_bytes, w, s, has_residual, backward);
}

int TI_FN(share_with_onednn)(ti_kernels *k)
{
  if (k->conv2d_prepare != TI_FN(conv2d_prepare))
    return 0;
  k->conv2d_prepare = conv2d_prepare;
  k->linear_prepare = linear_prepare;
  return 1;
}

#endif /* TI_ONEDNN */

#endif /* TI_HAVE_SIMD */
