/* Convolutions and matrix products through oneDNN: the record that runs a primitive. */
#include "onednn.h"

#ifdef TI_ONEDNN

#include <omp.h>
#include <pthread.h>
#include <string.h>

#include "alloc.h"
#include "cpu.h"

struct ti_dnnl_record {
  ti_prepared base;
  dnnl_stream_t stream;
  dnnl_primitive_t primitive;
  dnnl_memory_t src, weights, bias, dst, pad; /* src is x or dy, dst is y or dx */
  float *zeros;                               /* [cout], stands for a bias that is NULL */
  size_t dst_bytes, pad_bytes;
  size_t sum_at, sum_count; /* of dx in scratch before the residual is added; 0 = none */
  int backward, threads;
  ti_dtype dtype;
  ti_upsample_shape up; /* n = 0: none */
};

static dnnl_engine_t the_engine;

static void make_engine(void)
{
  if (dnnl_engine_create(&the_engine, dnnl_cpu, 0))
    the_engine = NULL;
}

dnnl_engine_t ti_dnnl_engine(void)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;

  pthread_once(&once, make_engine);
  return the_engine;
}

dnnl_primitive_attr_t ti_dnnl_attr(int has_residual)
{
  dnnl_primitive_attr_t attr;
  dnnl_post_ops_t ops;
  dnnl_status_t status;

  if (dnnl_primitive_attr_create(&attr))
    return NULL;
  status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
  if (!status && has_residual && !(status = dnnl_post_ops_create(&ops))) {
    if (!(status = ti_dnnl_append_sum(ops)))
      status = dnnl_primitive_attr_set_post_ops(attr, ops);
    dnnl_post_ops_destroy(ops);
  }
  if (status) {
    dnnl_primitive_attr_destroy(attr);
    attr = NULL;
  }
  return attr;
}

dnnl_data_type_t ti_dnnl_type(ti_dtype dtype)
{
  return dtype == TI_F32 ? dnnl_f32 : dtype == TI_BF16 ? dnnl_bf16 : dnnl_data_type_undef;
}

/* ------ weights */

typedef struct packing {
  ti_md plain, packed;
  ti_dtype dtype;
} packing;

static textinv_status reorder(ti_error *error, ti_md from, const void *x, ti_md to, void *y)
{
  const dnnl_engine_t engine = ti_dnnl_engine();
  dnnl_primitive_desc_t pd = NULL;
  dnnl_primitive_t primitive = NULL;
  dnnl_memory_t x_memory = NULL, y_memory = NULL;
  dnnl_stream_t stream = NULL;
  dnnl_status_t status;

  if ((status = dnnl_reorder_primitive_desc_create(&pd, from, engine, to, engine, NULL)) ||
      (status = dnnl_primitive_create(&primitive, pd)) ||
      (status = dnnl_memory_create(&x_memory, from, engine, (void *)x)) ||
      (status = dnnl_memory_create(&y_memory, to, engine, y)) ||
      (status = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags)))
    goto out;
  if (!(status = dnnl_primitive_execute(
          primitive, stream, 2,
          (const dnnl_exec_arg_t[]){ { DNNL_ARG_FROM, x_memory }, { DNNL_ARG_TO, y_memory } })))
    status = dnnl_stream_wait(stream);
out:
  dnnl_stream_destroy(stream);
  dnnl_memory_destroy(y_memory);
  dnnl_memory_destroy(x_memory);
  dnnl_primitive_destroy(primitive);
  dnnl_primitive_desc_destroy(pd);
  return status
           ? ti_fail(error, TEXTINV_E_BACKEND, "oneDNN: packing weights: status %d", (int)status)
           : TEXTINV_OK;
}

static textinv_status fill_packed(ti_error *error, void *out, const ti_weight *w, void *user)
{
  const packing *p = user;
  const size_t size = ti_dtype_size(p->dtype);
  void *plain = NULL;
  textinv_status status;

  if (w->dtype != p->dtype || (uintptr_t)w->data % size) {
    if (!(plain = ti_calloc(w->count, size)))
      return ti_fail_nomem(error, w->count * size, w->name);
    ti_convert(p->dtype, plain, w->dtype, w->data, w->count);
  }
  status = reorder(error, p->plain, plain ? plain : w->data, p->packed, out);
  ti_free(plain);
  return status;
}

/* *out = NULL when the layout has no name to share it by */
static textinv_status weights_of(ti_exec *e, const void **out, ti_weight *w, ti_md plain,
                                 ti_md packed, ti_dtype dtype, const char *prefix)
{
  packing p = { plain, packed, dtype };
  char key[96], plain_key[96];

  *out = NULL;
  if (ti_md_name(key, sizeof(key), prefix, packed) ||
      ti_md_name(plain_key, sizeof(plain_key), prefix, plain))
    return TEXTINV_OK;
  if (!strcmp(key, plain_key))
    return ti_weight_plain(e->error, out, w, dtype);
  return ti_weight_pack(e->error, out, w, key, dnnl_memory_desc_get_size(packed), fill_packed, &p);
}

/* ------ the record */

static void release(ti_prepared *base)
{
  ti_dnnl_record *r = (ti_dnnl_record *)base;

  dnnl_memory_destroy(r->pad);
  dnnl_memory_destroy(r->dst);
  dnnl_memory_destroy(r->bias);
  dnnl_memory_destroy(r->weights);
  dnnl_memory_destroy(r->src);
  dnnl_primitive_destroy(r->primitive);
  dnnl_stream_destroy(r->stream);
  ti_free(r->zeros);
  ti_free(r);
}

static void copy(ti_exec *e, void *y, const void *x, size_t bytes)
{
  enum { CHUNK = 1 << 16 };

#pragma omp parallel for num_threads(ti_threads(e, bytes / sizeof(float)))
  for (size_t from = 0; from < bytes; from += CHUNK)
    memcpy((char *)y + from, (const char *)x + from, bytes - from < CHUNK ? bytes - from : CHUNK);
}

static textinv_status run(const ti_prepared *base, ti_exec *e, void *y, const void *x,
                          const float *bias, const void *residual)
{
  const ti_dnnl_record *r = (const ti_dnnl_record *)base;
  void *wide = r->up.n ? (char *)e->scratch + r->pad_bytes : NULL;
  const void *src = wide && !r->backward ? wide : x;
  void *own = r->sum_count ? (char *)e->scratch + r->sum_at : y;
  void *dst = wide && r->backward ? wide : own;
  dnnl_exec_arg_t args[5] = { { r->backward ? DNNL_ARG_DIFF_DST : DNNL_ARG_SRC, r->src },
                              { r->backward ? DNNL_ARG_DIFF_SRC : DNNL_ARG_DST, r->dst },
                              { DNNL_ARG_WEIGHTS, r->weights } };
  int count = 3;
  dnnl_status_t status;

  if (r->bias) {
    dnnl_memory_set_data_handle(r->bias, (void *)(bias ? bias : r->zeros));
    args[count++] = (dnnl_exec_arg_t){ DNNL_ARG_BIAS, r->bias };
  }
  if (r->pad) {
    dnnl_memory_set_data_handle(r->pad, e->scratch);
    args[count++] = (dnnl_exec_arg_t){ DNNL_ARG_SCRATCHPAD, r->pad };
  }
  if (wide && !r->backward)
    ti_cpu_upsample_fwd(e, r->dtype, wide, x, &r->up);
  if (residual && residual != y && !r->sum_count)
    copy(e, y, residual, r->dst_bytes);
  dnnl_memory_set_data_handle(r->src, (void *)src);
  dnnl_memory_set_data_handle(r->dst, dst);
  omp_set_num_threads(r->threads);
  if (!(status = dnnl_primitive_execute(r->primitive, r->stream, count, args)))
    status = dnnl_stream_wait(r->stream);
  omp_set_num_threads(e->threads);
  if (status)
    return ti_fail(e->error, TEXTINV_E_BACKEND, "oneDNN: running a primitive: status %d",
                   (int)status);
  if (wide && r->backward)
    ti_cpu_upsample_bwd(e, r->dtype, own, wide, &r->up);
  return r->sum_count ? ti_cpu_add(e, r->dtype, y, own, residual, r->sum_count) : TEXTINV_OK;
}

textinv_status ti_dnnl_record_new(ti_exec *e, ti_dnnl_record **out, size_t *scratch_bytes,
                                  dnnl_primitive_desc_t pd, int backward, ti_dtype dtype,
                                  ti_weight *w, ti_md plain, const char *prefix)
{
  const dnnl_engine_t engine = ti_dnnl_engine();
  const ti_md src = dnnl_primitive_desc_query_md(
    pd, backward ? dnnl_query_diff_dst_md : dnnl_query_src_md, 0);
  const ti_md dst = dnnl_primitive_desc_query_md(
    pd, backward ? dnnl_query_diff_src_md : dnnl_query_dst_md, 0);
  const ti_md weights = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
  const ti_md bias = backward ? NULL : dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 1);
  const ti_md pad = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
  const size_t bias_bytes = bias ? dnnl_memory_desc_get_size(bias) : 0;
  ti_dnnl_record *r = ti_calloc(1, sizeof(*r));
  const void *data;
  dnnl_status_t s = dnnl_success;
  textinv_status status = TEXTINV_OK;

  *out = NULL;
  if (!r) {
    status = ti_fail_nomem(e->error, sizeof(*r), w->name);
    goto out;
  }
  r->base.run = run;
  r->base.release = release;
  r->backward = backward;
  r->threads = omp_get_max_threads();
  r->dtype = dtype;
  r->dst_bytes = dnnl_memory_desc_get_size(dst);
  r->pad_bytes = (dnnl_memory_desc_get_size(pad) + 63) / 64 * 64;
  if (bias_bytes && !(r->zeros = ti_calloc(bias_bytes, 1))) {
    status = ti_fail_nomem(e->error, bias_bytes, w->name);
    goto out;
  }
  if ((status = weights_of(e, &data, w, plain, weights, dtype, prefix)) < 0 || !data)
    goto out;
  if ((s = dnnl_primitive_create(&r->primitive, pd)) ||
      (s = dnnl_stream_create(&r->stream, engine, dnnl_stream_default_flags)) ||
      (s = dnnl_memory_create(&r->src, src, engine, DNNL_MEMORY_NONE)) ||
      (s = dnnl_memory_create(&r->dst, dst, engine, DNNL_MEMORY_NONE)) ||
      (s = dnnl_memory_create(&r->weights, weights, engine, (void *)data)) ||
      (bias_bytes && (s = dnnl_memory_create(&r->bias, bias, engine, DNNL_MEMORY_NONE))) ||
      (r->pad_bytes && (s = dnnl_memory_create(&r->pad, pad, engine, DNNL_MEMORY_NONE)))) {
    status = s == dnnl_out_of_memory
               ? ti_fail_nomem(e->error, 0, w->name)
               : ti_fail(e->error, TEXTINV_E_BACKEND, "%s: oneDNN: making a primitive: status %d",
                         w->name, (int)s);
    goto out;
  }
  if (*scratch_bytes < r->pad_bytes)
    *scratch_bytes = r->pad_bytes;
  *out = r;
  r = NULL;
out:
  if (r)
    release(&r->base);
  dnnl_primitive_desc_destroy(pd);
  return status;
}

void ti_dnnl_record_upsample(ti_dnnl_record *r, size_t *scratch_bytes, const ti_upsample_shape *s)
{
  const size_t wide = (size_t)4 * s->n * s->h * s->w * s->c * ti_dtype_size(r->dtype);

  r->up = *s;
  if (*scratch_bytes < r->pad_bytes + wide)
    *scratch_bytes = r->pad_bytes + wide;
}

void ti_dnnl_record_sum(ti_dnnl_record *r, size_t *scratch_bytes, size_t count)
{
  const size_t size = ti_dtype_size(r->dtype);

  r->sum_at = r->pad_bytes + (r->up.n ? 4 * count * size : 0);
  r->sum_count = count;
  if (*scratch_bytes < r->sum_at + count * size)
    *scratch_bytes = r->sum_at + count * size;
}

#endif /* TI_ONEDNN */
