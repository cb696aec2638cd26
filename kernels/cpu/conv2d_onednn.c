/* Convolution through oneDNN: direct, NHWC, weights packed once; nearest upsampling goes before it.
 */
#include "cpu.h"
#include "onednn.h"

#ifdef TI_ONEDNN

#include <omp.h>

textinv_status ti_onednn_conv2d_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                        size_t *scratch_bytes, ti_weight *w, ti_weight *bias,
                                        const ti_conv2d_shape *s, int has_residual, int backward)
{
  const dnnl_data_type_t type = ti_dnnl_type(dtype);
  const dnnl_engine_t engine = ti_dnnl_engine();
  const dnnl_dims_t x = { s->n, s->cin, s->h * s->up, s->w * s->up };
  const dnnl_dims_t y = { s->n, s->cout, s->oh, s->ow };
  const dnnl_dims_t weights = { s->cout, s->cin, s->kh, s->kw }, channels = { s->cout };
  ti_dnnl_conv c = { .strides = { s->stride, s->stride },
                     .pad_begin = { s->pad_top, s->pad_left },
                     .pad_end = { s->pad_bottom, s->pad_right } };
  dnnl_primitive_attr_t attr;
  dnnl_primitive_desc_t pd = NULL;
  ti_dnnl_record *r = NULL;
  ti_md plain;
  dnnl_status_t made = dnnl_unimplemented;
  textinv_status status = TEXTINV_OK;

  (void)bias;
  *prepared = NULL;
  if (!engine || type == dnnl_data_type_undef)
    return TEXTINV_OK;
  omp_set_num_threads(ti_threads(e, ti_conv2d_work(s)));
  c.src = ti_md_new(4, x, type, dnnl_nhwc);
  c.dst = ti_md_new(4, y, type, dnnl_nhwc);
  c.weights = ti_md_new(4, weights, type, dnnl_format_tag_any);
  c.bias = backward ? NULL : ti_md_new(1, channels, dnnl_f32, dnnl_a);
  plain = ti_md_new(4, weights, type, dnnl_oihw);
  attr = ti_dnnl_attr(has_residual && !backward);
  if (!c.src || !c.dst || !c.weights || !(backward || c.bias) || !plain || !attr) {
    status = ti_fail_nomem(e->error, 0, w->name);
    goto out;
  }
  made = backward ? ti_dnnl_conv_bwd(&pd, engine, &c, attr)
                  : ti_dnnl_conv_fwd(&pd, engine, &c, attr);
  if (made == dnnl_success)
    status = ti_dnnl_record_new(e, &r, scratch_bytes, pd, backward, dtype, w, plain,
                                dtype == TI_F32 ? "dnnl f32" : "dnnl bf16");
  if (r && s->up == 2)
    ti_dnnl_record_upsample(r, scratch_bytes, &(ti_upsample_shape){ s->n, s->h, s->w, s->cin });
  if (r && has_residual && backward)
    ti_dnnl_record_sum(r, scratch_bytes, (size_t)s->n * s->h * s->w * s->cin);
  *prepared = r;
out:
  omp_set_num_threads(e->threads);
  if (attr)
    dnnl_primitive_attr_destroy(attr);
  ti_md_free(plain);
  ti_md_free(c.bias);
  ti_md_free(c.weights);
  ti_md_free(c.dst);
  ti_md_free(c.src);
  return status;
}

#endif /* TI_ONEDNN */
