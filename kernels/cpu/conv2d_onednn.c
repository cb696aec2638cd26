/*
 * Convolution through oneDNN: direct, NHWC, weights packed once; nearest upsampling goes before it.
 * A part is a sample, so that a thread has one of them. This is for processors without vector
 * kernels, and for shapes that those do not describe.
 */
#include "cpu.h"
#include "onednn.h"

#ifdef TI_ONEDNN

textinv_status ti_onednn_conv2d_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                        size_t *scratch_bytes, ti_weight *w, ti_weight *bias,
                                        const ti_conv2d_shape *s, int has_residual, int backward)
{
  const dnnl_data_type_t type = ti_dnnl_type(dtype);
  const dnnl_engine_t engine = ti_dnnl_engine();
  const dnnl_dims_t x = { 1, s->cin, s->h * s->up, s->w * s->up };
  const dnnl_dims_t y = { 1, s->cout, s->oh, s->ow };
  const dnnl_dims_t weights = { s->cout, s->cin, s->kh, s->kw }, channels = { s->cout };
  const size_t size = ti_dtype_size(dtype), small = (size_t)s->h * s->w * s->cin;
  const size_t x_bytes = small * s->up * s->up * size;
  const size_t y_bytes = (size_t)s->oh * s->ow * s->cout * size;
  const ti_upsample_shape up = { s->n, s->h, s->w, s->cin };
  ti_dnnl_conv c = { .strides = { s->stride, s->stride },
                     .pad_begin = { s->pad_top, s->pad_left },
                     .pad_end = { s->pad_bottom, s->pad_right } };
  const int threads = ti_dnnl_alone();
  dnnl_primitive_attr_t attr = NULL;
  dnnl_primitive_desc_t pd = NULL;
  ti_dnnl_record *r = NULL;
  ti_md plain = NULL;
  int added = 1;
  textinv_status status = TEXTINV_OK;

  (void)bias;
  *prepared = NULL;
  if (!engine || type == dnnl_data_type_undef)
    goto out;
  c.src = ti_md_new(4, x, type, dnnl_nhwc);
  c.dst = ti_md_new(4, y, type, dnnl_nhwc);
  c.weights = ti_md_new(4, weights, type, dnnl_format_tag_any);
  c.bias = backward ? NULL : ti_md_new(1, channels, dnnl_f32, dnnl_a);
  plain = ti_md_new(4, weights, type, dnnl_oihw);
  attr = ti_dnnl_attr(has_residual && !backward);
  r = ti_dnnl_record_new(dtype, backward, s->n, s->cout, s->n * (backward ? x_bytes : y_bytes));
  if (!c.src || !c.dst || !c.weights || !(backward || c.bias) || !plain || !attr || !r) {
    status = ti_fail_nomem(e->error, 0, w->name);
    goto out;
  }
  if ((backward ? ti_dnnl_conv_bwd : ti_dnnl_conv_fwd)(&pd, engine, &c, attr) != dnnl_success)
    goto out;
  for (int i = 0; i < s->n && status >= 0 && added; i++)
    status = ti_dnnl_record_add(e, r, pd, w, plain,
                                (ti_dnnl_place){ .src = i * (backward ? y_bytes : x_bytes),
                                                 .dst = i * (backward ? x_bytes : y_bytes) },
                                &added);
  if (status < 0 || !added)
    goto out;
  *prepared = ti_dnnl_record_done(r, e, scratch_bytes, s->up == 2 ? &up : NULL,
                                  has_residual && backward ? s->n * small : 0);
  r = NULL;
out:
  ti_dnnl_together(threads);
  ti_dnnl_record_free(r);
  dnnl_primitive_desc_destroy(pd);
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
