/* oneDNN 2 and 3 behind one face: descriptors are structs in the former, handles in the latter. */
#include "onednn.h"

#ifdef TI_ONEDNN

#include "alloc.h"
#include "format.h"

typedef struct layout {
  int rank, num_blocks;
  const dnnl_dim_t *strides, *blocks, *indices;
} layout;

#if DNNL_VERSION_MAJOR >= 3

ti_md ti_md_new(int rank, const dnnl_dims_t dims, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
  dnnl_memory_desc_t md = NULL;

  return dnnl_memory_desc_create_with_tag(&md, rank, dims, type, tag) ? NULL : md;
}

ti_md ti_md_matrix(const dnnl_dims_t dims, dnnl_data_type_t type, const dnnl_dims_t strides)
{
  dnnl_memory_desc_t md = NULL;

  return dnnl_memory_desc_create_with_strides(&md, 2, dims, type, strides) ? NULL : md;
}

void ti_md_free(ti_md md)
{
  if (md)
    dnnl_memory_desc_destroy((dnnl_memory_desc_t)md);
}

static int layout_of(layout *l, ti_md md)
{
  dnnl_format_kind_t kind;
  int32_t rank, num_blocks;
  const dnnl_dims_t *strides, *blocks, *indices;

  if (dnnl_memory_desc_query(md, dnnl_query_format_kind, &kind) || kind != dnnl_blocked ||
      dnnl_memory_desc_query(md, dnnl_query_ndims_s32, &rank) ||
      dnnl_memory_desc_query(md, dnnl_query_strides, &strides) ||
      dnnl_memory_desc_query(md, dnnl_query_inner_nblks_s32, &num_blocks) ||
      dnnl_memory_desc_query(md, dnnl_query_inner_blks, &blocks) ||
      dnnl_memory_desc_query(md, dnnl_query_inner_idxs, &indices))
    return -1;
  *l = (layout){ rank, num_blocks, *strides, *blocks, *indices };
  return 0;
}

dnnl_status_t ti_dnnl_conv_fwd(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                               const ti_dnnl_conv *c, dnnl_primitive_attr_t attr)
{
  const dnnl_dims_t dense = { 0, 0 };

  return dnnl_convolution_forward_primitive_desc_create(
      out, engine, dnnl_forward_inference, dnnl_convolution_direct, c->src, c->weights, c->bias,
      c->dst, c->strides, dense, c->pad_begin, c->pad_end, attr);
}

dnnl_status_t ti_dnnl_conv_bwd(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                               const ti_dnnl_conv *c, dnnl_primitive_attr_t attr)
{
  const dnnl_dims_t dense = { 0, 0 };
  dnnl_primitive_desc_t hint;
  dnnl_status_t status = dnnl_convolution_forward_primitive_desc_create(
      &hint, engine, dnnl_forward_training, dnnl_convolution_direct, c->src, c->weights, NULL,
      c->dst, c->strides, dense, c->pad_begin, c->pad_end, NULL);

  if (status)
    return status;
  status = dnnl_convolution_backward_data_primitive_desc_create(
      out, engine, dnnl_convolution_direct, c->src, c->weights, c->dst, c->strides, dense,
      c->pad_begin, c->pad_end, hint, attr);
  dnnl_primitive_desc_destroy(hint);
  return status;
}

dnnl_status_t ti_dnnl_matmul(dnnl_primitive_desc_t *out, dnnl_engine_t engine, ti_md src,
                             ti_md weights, ti_md bias, ti_md dst, dnnl_primitive_attr_t attr)
{
  return dnnl_matmul_primitive_desc_create(out, engine, src, weights, bias, dst, attr);
}

dnnl_status_t ti_dnnl_append_sum(dnnl_post_ops_t ops)
{
  return dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
}

#else /* oneDNN 2 */

ti_md ti_md_new(int rank, const dnnl_dims_t dims, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
  dnnl_memory_desc_t *md = ti_calloc(1, sizeof(*md));

  if (md && dnnl_memory_desc_init_by_tag(md, rank, dims, type, tag)) {
    ti_free(md);
    md = NULL;
  }
  return md;
}

ti_md ti_md_matrix(const dnnl_dims_t dims, dnnl_data_type_t type, const dnnl_dims_t strides)
{
  dnnl_memory_desc_t *md = ti_calloc(1, sizeof(*md));

  if (md && dnnl_memory_desc_init_by_strides(md, 2, dims, type, strides)) {
    ti_free(md);
    md = NULL;
  }
  return md;
}

void ti_md_free(ti_md md)
{
  ti_free((void *)md);
}

static int layout_of(layout *l, ti_md md)
{
  const dnnl_blocking_desc_t *b = &md->format_desc.blocking;

  if (md->format_kind != dnnl_blocked || md->extra.flags)
    return -1;
  *l = (layout){ md->ndims, b->inner_nblks, b->strides, b->inner_blks, b->inner_idxs };
  return 0;
}

dnnl_status_t ti_dnnl_conv_fwd(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                               const ti_dnnl_conv *c, dnnl_primitive_attr_t attr)
{
  dnnl_convolution_desc_t d;
  const dnnl_status_t status = dnnl_convolution_forward_desc_init(
      &d, dnnl_forward_inference, dnnl_convolution_direct, c->src, c->weights, c->bias, c->dst,
      c->strides, c->pad_begin, c->pad_end);

  return status ? status : dnnl_primitive_desc_create(out, &d, attr, engine, NULL);
}

dnnl_status_t ti_dnnl_conv_bwd(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                               const ti_dnnl_conv *c, dnnl_primitive_attr_t attr)
{
  dnnl_convolution_desc_t d;
  dnnl_primitive_desc_t hint;
  dnnl_status_t status = dnnl_convolution_forward_desc_init(
      &d, dnnl_forward_training, dnnl_convolution_direct, c->src, c->weights, NULL, c->dst,
      c->strides, c->pad_begin, c->pad_end);

  if (status || (status = dnnl_primitive_desc_create(&hint, &d, NULL, engine, NULL)))
    return status;
  status = dnnl_convolution_backward_data_desc_init(&d, dnnl_convolution_direct, c->src,
                                                    c->weights, c->dst, c->strides, c->pad_begin,
                                                    c->pad_end);
  if (!status)
    status = dnnl_primitive_desc_create(out, &d, attr, engine, hint);
  dnnl_primitive_desc_destroy(hint);
  return status;
}

dnnl_status_t ti_dnnl_matmul(dnnl_primitive_desc_t *out, dnnl_engine_t engine, ti_md src,
                             ti_md weights, ti_md bias, ti_md dst, dnnl_primitive_attr_t attr)
{
  dnnl_matmul_desc_t d;
  const dnnl_status_t status = dnnl_matmul_desc_init(&d, src, weights, bias, dst);

  return status ? status : dnnl_primitive_desc_create(out, &d, attr, engine, NULL);
}

dnnl_status_t ti_dnnl_append_sum(dnnl_post_ops_t ops)
{
  return dnnl_post_ops_append_sum(ops, 1.0f);
}

#endif

int ti_md_name(char *out, size_t size, const char *prefix, ti_md md)
{
  layout l;
  size_t len;

  if (layout_of(&l, md))
    return -1;
  len = ti_format(out, size, "%s", prefix);
  for (int i = 0; i < l.num_blocks && len < size; i++)
    len += ti_format(out + len, size - len, " %d*%d", (int)l.indices[i], (int)l.blocks[i]);
  for (int i = 0; i < l.rank && len < size; i++)
    len += ti_format(out + len, size - len, " %lld", (long long)l.strides[i]);
  return len < size ? 0 : -1;
}

#endif /* TI_ONEDNN */
