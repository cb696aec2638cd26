/*
 * What the oneDNN overrides share. onednn_compat.c holds every difference between oneDNN 2 and 3;
 * onednn.c holds the record that runs a primitive.
 */
#ifndef TI_ONEDNN_H
#define TI_ONEDNN_H

#include "prepared.h"

/* the prepare entries; they exist only where TI_ONEDNN is defined */
textinv_status ti_onednn_conv2d_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                        size_t *scratch_bytes, ti_weight *w, ti_weight *bias,
                                        const ti_conv2d_shape *s, int has_residual, int backward);
textinv_status ti_onednn_linear_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                        size_t *scratch_bytes, ti_weight *w, ti_weight *bias,
                                        const ti_linear_shape *s, int has_residual, int backward);

#ifdef TI_ONEDNN

#include <dnnl.h>

/* ------ onednn_compat.c */
#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t ti_md;
#else
typedef const dnnl_memory_desc_t *ti_md;
#endif

/* a convolution as oneDNN wants it */
typedef struct ti_dnnl_conv {
  ti_md src, weights, bias, dst; /* bias NULL = none */
  dnnl_dims_t strides, pad_begin, pad_end;
} ti_dnnl_conv;

ti_md ti_md_new(int rank, const dnnl_dims_t dims, dnnl_data_type_t type, dnnl_format_tag_t tag);
/* a matrix, or a part of one */
ti_md ti_md_matrix(const dnnl_dims_t dims, dnnl_data_type_t type, const dnnl_dims_t strides);
void ti_md_free(ti_md md); /* accepts NULL */

/* text that names the layout; -1 when it has no plain description */
int ti_md_name(char *out, size_t size, const char *prefix, ti_md md);

dnnl_status_t ti_dnnl_conv_fwd(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                               const ti_dnnl_conv *c, dnnl_primitive_attr_t attr);
dnnl_status_t ti_dnnl_conv_bwd(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                               const ti_dnnl_conv *c, dnnl_primitive_attr_t attr);
dnnl_status_t ti_dnnl_matmul(dnnl_primitive_desc_t *out, dnnl_engine_t engine, ti_md src,
                             ti_md weights, ti_md bias, ti_md dst, dnnl_primitive_attr_t attr);
dnnl_status_t ti_dnnl_append_sum(dnnl_post_ops_t ops);

/* ------ onednn.c */
dnnl_engine_t ti_dnnl_engine(void); /* of the process; NULL when oneDNN has none */

/* user scratchpad, and the sum of what dst holds when has_residual */
dnnl_primitive_attr_t ti_dnnl_attr(int has_residual);

dnnl_data_type_t ti_dnnl_type(ti_dtype dtype); /* dnnl_data_type_undef when there is none */

/* primitives are made and run between these two, with one thread; returns what the second is given
 * back: the host's number of OpenMP's threads */
int ti_dnnl_alone(void);
void ti_dnnl_together(int threads);

/* a record is one primitive or several parts of one, which the team shares */
typedef struct ti_dnnl_record ti_dnnl_record;

/* where a part begins, in bytes */
typedef struct ti_dnnl_place {
  size_t src, dst, weights, bias;
} ti_dnnl_place;

/* NULL when memory ran out; dst_bytes are those of all parts */
ti_dnnl_record *ti_dnnl_record_new(ti_dtype dtype, int backward, int parts, size_t cout,
                                   size_t dst_bytes);
void ti_dnnl_record_free(ti_dnnl_record *r); /* accepts NULL */

/*
 * One part more. weights are w in the layout that pd asks for, reordered from plain, the layout of
 * the file. *added = 0 without an error when oneDNN cannot do it after all.
 */
textinv_status ti_dnnl_record_add(ti_exec *e, ti_dnnl_record *r, dnnl_primitive_desc_t pd,
                                  ti_weight *w, ti_md plain, ti_dnnl_place at, int *added);

/*
 * All parts are there. up, or NULL: y = conv(up(x)) through a buffer in scratch, before the
 * primitives forward, after them backward. sum_count, or 0: for primitives that cannot add, so many
 * values of dx go to scratch first, and from there with the residual to memory.
 */
ti_prepared *ti_dnnl_record_done(ti_dnnl_record *r, const ti_exec *e, size_t *scratch_bytes,
                                 const ti_upsample_shape *up, size_t sum_count);

#endif /* TI_ONEDNN */

#endif /* TI_ONEDNN_H */
