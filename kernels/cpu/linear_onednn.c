/*
 * Matrix products through oneDNN, and the table of its entries. In f32 both directions read the
 * weights as the file has them, so nothing is packed; in bf16 each direction has its own packed
 * form.
 */
#include "cpu.h"
#include "gemm_avx512.h"
#include "onednn.h"

#ifdef TI_ONEDNN

#include <omp.h>

textinv_status ti_onednn_linear_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                        size_t *scratch_bytes, ti_weight *w,
                                        const ti_linear_shape *s, int has_residual, int backward)
{
  const dnnl_data_type_t type = ti_dnnl_type(dtype);
  const dnnl_engine_t engine = ti_dnnl_engine();
  const int k = backward ? s->cout : s->cin, n = backward ? s->cin : s->cout;
  const dnnl_dims_t x = { s->rows, k }, y = { s->rows, n }, matrix = { k, n }, row = { 1, n };
  const dnnl_format_tag_t tag = backward ? dnnl_ab : dnnl_ba;
  ti_md src, dst, weights, bias, plain;
  dnnl_primitive_attr_t attr;
  dnnl_primitive_desc_t pd = NULL;
  ti_dnnl_record *r = NULL;
  textinv_status status = TEXTINV_OK;

  *prepared = NULL;
  if (!engine || type == dnnl_data_type_undef)
    return TEXTINV_OK;
  omp_set_num_threads(ti_threads(e, ti_matrix_work(s->rows, s->cin, s->cout)));
  src = ti_md_new(2, x, type, dnnl_ab);
  dst = ti_md_new(2, y, type, dnnl_ab);
  weights = ti_md_new(2, matrix, type, dtype == TI_F32 ? tag : dnnl_format_tag_any);
  bias = backward ? NULL : ti_md_new(2, row, dnnl_f32, dnnl_ab);
  plain = ti_md_new(2, matrix, type, tag);
  attr = ti_dnnl_attr(has_residual);
  if (!src || !dst || !weights || !(backward || bias) || !plain || !attr) {
    status = ti_fail_nomem(e->error, 0, w->name);
    goto out;
  }
  /* a matmul has no backward form of its own: dx = dy w is a product like any other */
  if (ti_dnnl_matmul(&pd, engine, src, weights, bias, dst, attr) == dnnl_success)
    status = ti_dnnl_record_new(e, &r, scratch_bytes, pd, 0, dtype, w, plain,
                                dtype == TI_F32 ? "dnnl f32" : "dnnl bf16");
  *prepared = r;
out:
  omp_set_num_threads(e->threads);
  if (attr)
    dnnl_primitive_attr_destroy(attr);
  ti_md_free(plain);
  ti_md_free(bias);
  ti_md_free(weights);
  ti_md_free(dst);
  ti_md_free(src);
  return status;
}

#endif /* TI_ONEDNN */

#if defined(TI_ONEDNN) && defined(TI_HAVE_AVX512)

/*
 * Where both are there. Convolutions go to Winograd and to the products that keep no copy of the
 * weights. Matrix products in f32 go to oneDNN where it can read the file's values as they are: it
 * is a tenth faster. In bf16 oneDNN wins where the processor multiplies that itself and Winograd
 * does not apply.
 */
static int native_bf16(ti_dtype dtype)
{
  return dtype == TI_BF16 && dnnl_get_effective_cpu_isa() >= dnnl_cpu_isa_avx512_core_bf16;
}

static textinv_status either_linear_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                            size_t *scratch_bytes, ti_weight *w,
                                            const ti_linear_shape *s, int has_residual,
                                            int backward)
{
  const int as_it_is = w->dtype == TI_F32 && (uintptr_t)w->data % sizeof(float) == 0;

  if (native_bf16(dtype) || (dtype == TI_F32 && as_it_is)) {
    const textinv_status status = ti_onednn_linear_prepare(e, dtype, prepared, scratch_bytes, w, s,
                                                           has_residual, backward);

    if (status < 0 || *prepared)
      return status;
  }
  return ti_avx512_linear_prepare(e, dtype, prepared, scratch_bytes, w, s, has_residual, backward);
}

static textinv_status either_conv2d_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                            size_t *scratch_bytes, ti_weight *w,
                                            const ti_conv2d_shape *s, int has_residual,
                                            int backward)
{
  textinv_status status;

  if (s->kh == 1 && s->kw == 1 && s->stride == 1 && s->up == 1 && s->oh == s->h && s->ow == s->w)
    return either_linear_prepare(e, dtype, prepared, scratch_bytes, w,
                                 &(ti_linear_shape){ s->n * s->h * s->w, s->cin, s->cout },
                                 has_residual, backward);
  if (native_bf16(dtype) && !ti_winograd_suits(s)) {
    status = ti_onednn_conv2d_prepare(e, dtype, prepared, scratch_bytes, w, s, has_residual,
                                      backward);
    if (status < 0 || *prepared)
      return status;
  }
  status = ti_avx512_conv2d_prepare(e, dtype, prepared, scratch_bytes, w, s, has_residual,
                                    backward);
  if (status < 0 || *prepared)
    return status;
  return ti_onednn_conv2d_prepare(e, dtype, prepared, scratch_bytes, w, s, has_residual, backward);
}

#endif

void ti_kernels_init_onednn(ti_kernels *k)
{
#ifdef TI_ONEDNN
  if (!ti_dnnl_engine())
    return;
#ifdef TI_HAVE_AVX512
  if (k->conv2d_prepare == ti_avx512_conv2d_prepare) {
    k->conv2d_prepare = either_conv2d_prepare;
    k->linear_prepare = either_linear_prepare;
    return;
  }
#endif
  k->conv2d_prepare = ti_onednn_conv2d_prepare;
  k->linear_prepare = ti_onednn_linear_prepare;
  ti_prepared_install(k);
#else
  (void)k;
#endif
}
