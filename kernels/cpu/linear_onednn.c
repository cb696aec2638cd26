/*
 * Matrix products through oneDNN, and the table of its entries. In f32 both directions read the
 * weights as the file has them, so nothing is packed; in bf16, which comes here only where there
 * are no vector kernels, each direction has its own packed form.
 */
#include "cpu.h"
#include "onednn.h"
#include "simd_tables.h"

#ifdef TI_ONEDNN

#include <omp.h>

textinv_status ti_onednn_linear_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                        size_t *scratch_bytes, ti_weight *w, ti_weight *bias,
                                        const ti_linear_shape *s, int has_residual, int backward)
{
  const dnnl_data_type_t type = ti_dnnl_type(dtype);
  const dnnl_engine_t engine = ti_dnnl_engine();
  const int k = backward ? s->cout : s->cin, n = backward ? s->cin : s->cout;
  const dnnl_dims_t x = { s->rows, k }, y = { s->rows, n }, matrix = { k, n }, row = { 1, n };
  const dnnl_format_tag_t tag = backward ? dnnl_ab : dnnl_ba;
  ti_md src, dst, weights, bias_row, plain;
  dnnl_primitive_attr_t attr;
  dnnl_primitive_desc_t pd = NULL;
  ti_dnnl_record *r = NULL;
  textinv_status status = TEXTINV_OK;

  (void)bias; /* given to each run */
  *prepared = NULL;
  if (!engine || type == dnnl_data_type_undef)
    return TEXTINV_OK;
  omp_set_num_threads(ti_threads(e, ti_matrix_work(s->rows, s->cin, s->cout)));
  src = ti_md_new(2, x, type, dnnl_ab);
  dst = ti_md_new(2, y, type, dnnl_ab);
  weights = ti_md_new(2, matrix, type, dtype == TI_F32 ? tag : dnnl_format_tag_any);
  bias_row = backward ? NULL : ti_md_new(2, row, dnnl_f32, dnnl_ab);
  plain = ti_md_new(2, matrix, type, tag);
  attr = ti_dnnl_attr(has_residual);
  if (!src || !dst || !weights || !(backward || bias_row) || !plain || !attr) {
    status = ti_fail_nomem(e->error, 0, w->name);
    goto out;
  }
  /* a matmul has no backward form of its own: dx = dy w is a product like any other */
  if (ti_dnnl_matmul(&pd, engine, src, weights, bias_row, dst, attr) == dnnl_success)
    status = ti_dnnl_record_new(e, &r, scratch_bytes, pd, 0, dtype, w, plain,
                                dtype == TI_F32 ? "dnnl f32" : "dnnl bf16");
  *prepared = r;
out:
  omp_set_num_threads(e->threads);
  if (attr)
    dnnl_primitive_attr_destroy(attr);
  ti_md_free(plain);
  ti_md_free(bias_row);
  ti_md_free(weights);
  ti_md_free(dst);
  ti_md_free(src);
  return status;
}

#endif /* TI_ONEDNN */

void ti_kernels_init_onednn(ti_kernels *k)
{
#ifdef TI_ONEDNN
  if (!ti_dnnl_engine())
    return;
#if defined(TI_HAVE_SIMD) && defined(__aarch64__)
  if (ti_neon_share_with_onednn(k))
    return;
#elif defined(TI_HAVE_SIMD)
  if (ti_bf16_share_with_onednn(k) || ti_avx512_share_with_onednn(k) ||
      ti_avx2_share_with_onednn(k))
    return;
#endif
  k->conv2d_prepare = ti_onednn_conv2d_prepare;
  k->linear_prepare = ti_onednn_linear_prepare;
  ti_prepared_install(k);
#else
  (void)k;
#endif
}
