/*
 * Convolutions and matrix products through oneDNN: the record that runs primitives. Each is run by
 * one thread: the team is the library's own, and OpenMP's, which oneDNN would take, belongs to the
 * host.
 */
#include "onednn.h"

#ifdef TI_ONEDNN

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "alloc.h"
#include "cpu.h"

/* of the run time that oneDNN is linked with, whichever this compiler would take */
int omp_get_max_threads(void);
void omp_set_num_threads(int threads);

typedef struct part {
  dnnl_stream_t stream;
  dnnl_primitive_t primitive;
  dnnl_memory_t src, weights, bias, dst, pad; /* src is x or dy, dst is y or dx */
  ti_dnnl_place at;
} part;

struct ti_dnnl_record {
  ti_prepared base;
  part *parts;
  int num_parts;
  float *zeros; /* [cout], stands for a bias that is NULL */
  size_t dst_bytes, pad_bytes, pads_bytes;
  size_t sum_at, sum_count; /* of dx in scratch before the residual is added; 0 = none */
  int backward;
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

int ti_dnnl_alone(void)
{
  const int threads = omp_get_max_threads();

  omp_set_num_threads(1);
  return threads;
}

void ti_dnnl_together(int threads)
{
  omp_set_num_threads(threads);
}

static void release(ti_prepared *base)
{
  ti_dnnl_record *r = (ti_dnnl_record *)base;

  for (int i = 0; i < r->num_parts; i++) {
    const part *p = &r->parts[i];

    dnnl_memory_destroy(p->pad);
    dnnl_memory_destroy(p->dst);
    dnnl_memory_destroy(p->bias);
    dnnl_memory_destroy(p->weights);
    dnnl_memory_destroy(p->src);
    dnnl_primitive_destroy(p->primitive);
    dnnl_stream_destroy(p->stream);
  }
  ti_free(r->parts);
  ti_free(r->zeros);
  ti_free(r);
}

typedef struct job {
  const ti_dnnl_record *r;
  const char *src;
  char *dst, *pads; /* a scratchpad for each thread */
  const float *bias;
  atomic_int status;
} job;

static dnnl_status_t run_part(const job *j, const part *p, int thread)
{
  const ti_dnnl_record *r = j->r;
  dnnl_exec_arg_t args[5] = { { r->backward ? DNNL_ARG_DIFF_DST : DNNL_ARG_SRC, p->src },
                              { r->backward ? DNNL_ARG_DIFF_SRC : DNNL_ARG_DST, p->dst },
                              { DNNL_ARG_WEIGHTS, p->weights } };
  int count = 3;
  dnnl_status_t status;

  dnnl_memory_set_data_handle(p->src, (void *)(j->src + p->at.src));
  dnnl_memory_set_data_handle(p->dst, j->dst + p->at.dst);
  if (p->bias) {
    dnnl_memory_set_data_handle(p->bias, (char *)j->bias + p->at.bias);
    args[count++] = (dnnl_exec_arg_t){ DNNL_ARG_BIAS, p->bias };
  }
  if (p->pad) {
    dnnl_memory_set_data_handle(p->pad, j->pads + thread * r->pad_bytes);
    args[count++] = (dnnl_exec_arg_t){ DNNL_ARG_SCRATCHPAD, p->pad };
  }
  status = dnnl_primitive_execute(p->primitive, p->stream, count, args);
  return status ? status : dnnl_stream_wait(p->stream);
}

static void run_parts(void *user, int thread, size_t from, size_t to)
{
  job *j = user;
  const int threads = ti_dnnl_alone();

  for (size_t i = from; i < to; i++) {
    const dnnl_status_t status = run_part(j, &j->r->parts[i], thread);

    if (status)
      atomic_store(&j->status, (int)status);
  }
  ti_dnnl_together(threads);
}

static textinv_status run(const ti_prepared *base, ti_exec *e, void *y, const void *x,
                          const float *bias, const void *residual)
{
  const ti_dnnl_record *r = (const ti_dnnl_record *)base;
  void *wide = r->up.n ? (char *)e->scratch + r->pads_bytes : NULL;
  void *own = r->sum_count ? (char *)e->scratch + r->sum_at : y;
  job j = { .r = r,
            .src = wide && !r->backward ? wide : x,
            .dst = wide && r->backward ? wide : own,
            .pads = e->scratch,
            .bias = bias ? bias : r->zeros };

  if (wide && !r->backward)
    ti_cpu_upsample_fwd(e, r->dtype, wide, x, &r->up);
  if (residual && residual != y && !r->sum_count)
    ti_cpu_cast(e, r->dtype, y, r->dtype, residual, r->dst_bytes / ti_dtype_size(r->dtype));
  ti_team_for(e->team, ti_team_size(e->team), r->num_parts, run_parts, &j);
  if (j.status)
    return ti_fail(e->error, TEXTINV_E_BACKEND, "oneDNN: running a primitive: status %d", j.status);
  if (wide && r->backward)
    ti_cpu_upsample_bwd(e, r->dtype, own, wide, &r->up);
  return r->sum_count ? ti_cpu_add(e, r->dtype, y, own, residual, r->sum_count) : TEXTINV_OK;
}

ti_dnnl_record *ti_dnnl_record_new(ti_dtype dtype, int backward, int parts, size_t cout,
                                   size_t dst_bytes)
{
  ti_dnnl_record *r = ti_calloc(1, sizeof(*r));

  if (!r)
    return NULL;
  r->base.run = run;
  r->base.release = release;
  r->dtype = dtype;
  r->backward = backward;
  r->dst_bytes = dst_bytes;
  r->parts = ti_calloc((size_t)parts, sizeof(*r->parts));
  r->zeros = ti_calloc(cout, sizeof(*r->zeros));
  if (r->parts && r->zeros)
    return r;
  release(&r->base);
  return NULL;
}

void ti_dnnl_record_free(ti_dnnl_record *r)
{
  if (r)
    release(&r->base);
}

textinv_status ti_dnnl_record_add(ti_exec *e, ti_dnnl_record *r, dnnl_primitive_desc_t pd,
                                  ti_weight *w, ti_md plain, ti_dnnl_place at, int *added)
{
  /* a matrix product has no backward form of its own */
  const int is_bwd = r->backward;
  const dnnl_engine_t engine = ti_dnnl_engine();
  const ti_md src = dnnl_primitive_desc_query_md(
    pd, is_bwd ? dnnl_query_diff_dst_md : dnnl_query_src_md, 0);
  const ti_md dst = dnnl_primitive_desc_query_md(
    pd, is_bwd ? dnnl_query_diff_src_md : dnnl_query_dst_md, 0);
  const ti_md weights = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
  const ti_md bias = is_bwd ? NULL : dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 1);
  const ti_md pad = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
  const size_t pad_bytes = (dnnl_memory_desc_get_size(pad) + 63) / 64 * 64;
  part *p = &r->parts[r->num_parts];
  const void *data;
  dnnl_status_t s;
  textinv_status status = weights_of(e, &data, w, plain, weights, r->dtype,
                                     r->dtype == TI_F32 ? "dnnl f32" : "dnnl bf16");

  *added = status >= 0 && data;
  if (!*added)
    return status;
  p->at = at;
  r->num_parts++;
  if ((s = dnnl_primitive_create(&p->primitive, pd)) ||
      (s = dnnl_stream_create(&p->stream, engine, dnnl_stream_default_flags)) ||
      (s = dnnl_memory_create(&p->src, src, engine, DNNL_MEMORY_NONE)) ||
      (s = dnnl_memory_create(&p->dst, dst, engine, DNNL_MEMORY_NONE)) ||
      (s = dnnl_memory_create(&p->weights, weights, engine, (char *)data + at.weights)) ||
      (bias && dnnl_memory_desc_get_size(bias) &&
       (s = dnnl_memory_create(&p->bias, bias, engine, DNNL_MEMORY_NONE))) ||
      (pad_bytes && (s = dnnl_memory_create(&p->pad, pad, engine, DNNL_MEMORY_NONE))))
    return s == dnnl_out_of_memory
             ? ti_fail_nomem(e->error, 0, w->name)
             : ti_fail(e->error, TEXTINV_E_BACKEND, "%s: oneDNN: making a primitive: status %d",
                       w->name, (int)s);
  if (r->pad_bytes < pad_bytes)
    r->pad_bytes = pad_bytes;
  return TEXTINV_OK;
}

static void need(size_t *scratch_bytes, size_t bytes)
{
  if (*scratch_bytes < bytes)
    *scratch_bytes = bytes;
}

ti_prepared *ti_dnnl_record_done(ti_dnnl_record *r, const ti_exec *e, size_t *scratch_bytes,
                                 const ti_upsample_shape *up, size_t sum_count)
{
  const size_t size = ti_dtype_size(r->dtype);
  const size_t wide = up ? (size_t)4 * up->n * up->h * up->w * up->c * size : 0;

  r->pads_bytes = ti_team_size(e->team) * r->pad_bytes;
  if (up)
    r->up = *up;
  r->sum_at = r->pads_bytes + wide;
  r->sum_count = sum_count;
  need(scratch_bytes, r->sum_at + sum_count * size);
  return &r->base;
}

#endif /* TI_ONEDNN */
