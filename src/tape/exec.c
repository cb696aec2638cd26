/* Running a planned tape. */
#include "exec.h"

#include <string.h>
#include <sys/mman.h>

#include "alloc.h"
#include "host.h"

textinv_status ti_arena_reserve(ti_arena *arena, ti_error *error, size_t bytes)
{
  void *p;

  if (bytes <= arena->bytes)
    return TEXTINV_OK;
  ti_arena_free(arena);
  p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | (arena->sparse ? MAP_NORESERVE : 0), -1, 0);
  if (p == MAP_FAILED)
    return ti_fail_nomem(error, bytes, "activations");
  /* fewer page faults; a refusal changes nothing */
  if (!arena->sparse)
    (void)madvise(p, bytes, MADV_HUGEPAGE);
  arena->data = p;
  arena->bytes = bytes;
  return TEXTINV_OK;
}

void ti_arena_free(ti_arena *arena)
{
  if (arena->data)
    munmap(arena->data, arena->bytes);
  arena->data = NULL;
  arena->bytes = 0;
}

size_t ti_plan_bytes(const ti_plan *plan)
{
  return plan->tape.arena_bytes + plan->scratch_bytes;
}

void *ti_plan_data(const ti_plan *plan, const ti_arena *arena, ti_val v)
{
  return (char *)arena->data + plan->tape.values[v].offset;
}

static void free_graphs(ti_plan *plan)
{
  for (int i = 0; i < 2; i++) {
    if (plan->graphs[i])
      plan->device->plugin->graph_free(plan->device->context, plan->graphs[i]);
    plan->graphs[i] = NULL;
  }
}

void ti_plan_free(ti_plan *plan)
{
  free_graphs(plan);
  for (int i = 0; i < plan->tape.num_records; i++) {
    if (plan->tape.records[i].prepared)
      plan->kernels->release(plan->tape.records[i].prepared);
  }
  ti_tape_free(&plan->tape);
  memset(plan, 0, sizeof(*plan));
}

static int is_matrix(ti_op op)
{
  return op == TI_OP_CONV2D || op == TI_OP_CONV2D_BWD || op == TI_OP_LINEAR ||
         op == TI_OP_LINEAR_BWD;
}

static textinv_status plain_weight(const ti_kernels *k, ti_exec *e, const void **out, ti_weight *w,
                                   ti_dtype dtype)
{
  return k->weight_plain ? k->weight_plain(e, out, w, dtype)
                         : ti_weight_plain(e->error, out, w, dtype);
}

static textinv_status prepare_record(ti_plan *plan, ti_exec *e, ti_record *r)
{
  const ti_kernels *k = plan->kernels;
  const ti_dtype dtype = plan->tape.dtype;
  const int residual = r->in[1] != TI_NONE;
  ti_weight *bias = r->op == TI_OP_LINEAR || r->op == TI_OP_CONV2D ? r->bias : NULL;
  size_t scratch = 0;
  textinv_status status = TEXTINV_OK;

  switch (r->op) {
  case TI_OP_CONV2D:
  case TI_OP_CONV2D_BWD:
    if (k->conv2d_prepare)
      status = k->conv2d_prepare(e, dtype, &r->prepared, &scratch, r->weight, bias,
                                 &r->s.conv2d, residual, r->op == TI_OP_CONV2D_BWD);
    break;
  case TI_OP_LINEAR:
  case TI_OP_LINEAR_BWD:
    if (k->linear_prepare)
      status = k->linear_prepare(e, dtype, &r->prepared, &scratch, r->weight, bias,
                                 &r->s.linear, residual, r->op == TI_OP_LINEAR_BWD);
    break;
  case TI_OP_ATTENTION:
  case TI_OP_ATTENTION_BWD:
    if (k->attention_scratch)
      scratch = k->attention_scratch(e, dtype, &r->s.attention, r->op == TI_OP_ATTENTION_BWD);
    break;
  case TI_OP_GROUPNORM:
  case TI_OP_GROUPNORM_BWD:
    if (k->groupnorm_scratch)
      scratch = k->groupnorm_scratch(&r->s.groupnorm);
    break;
  default: break;
  }
  if (status < 0)
    return status;
  if (scratch > plan->scratch_bytes)
    plan->scratch_bytes = scratch;
  if (r->weight && !r->prepared) {
    const int plain = is_matrix(r->op) || r->op == TI_OP_EMBEDDING;

    if (r->op == TI_OP_EMBEDDING_BWD)
      return TEXTINV_OK;
    status = plain_weight(k, e, &r->weight_data, r->weight, plain ? dtype : TI_F32);
  }
  if (status >= 0 && r->bias)
    status = plain_weight(k, e, &r->bias_data, r->bias, r->op == TI_OP_EMBEDDING ? dtype : TI_F32);
  return status;
}

textinv_status ti_plan_prepare(ti_plan *plan, const ti_kernels *kernels, ti_team *team)
{
  ti_exec e = { .team = team, .error = plan->tape.error };
  ti_device *d = plan->device;
  ti_host host;
  textinv_status status;

  plan->kernels = kernels;
  plan->team = team;
  plan->scratch_bytes = 0;
  if ((status = ti_tape_plan(&plan->tape)) < 0)
    return status;
  /* for a device, too: the host converts its weights */
  ti_host_enter(&host, team);
  if (d) {
    e.device = d->context;
    e.stream = d->plugin->stream(d->context);
    if ((status = d->plugin->enter(d->context, e.error)) < 0) {
      ti_host_leave(&host);
      return status;
    }
  }
  for (int i = 0; i < plan->tape.num_records && status >= 0; i++)
    status = prepare_record(plan, &e, &plan->tape.records[i]);
  if (d)
    d->plugin->leave(d->context);
  ti_host_leave(&host);
  return status;
}

/* q, k and v, or their gradients, in the rows of their values */
static void to_columns(void *p[3], const int from[3], ti_dtype dtype)
{
  for (int i = 0; i < 3; i++)
    p[i] = p[i] ? (char *)p[i] + (size_t)from[i] * ti_dtype_size(dtype) : NULL;
}

static textinv_status run_record(const ti_kernels *k, ti_exec *e, const ti_tape *t, char *arena,
                                 const ti_record *r)
{
  const ti_dtype d = t->dtype;
  void *in[TI_MAX_IN], *out[TI_MAX_OUT];

  for (int i = 0; i < TI_MAX_IN; i++)
    in[i] = r->in[i] == TI_NONE ? NULL : arena + t->values[r->in[i]].offset;
  for (int i = 0; i < TI_MAX_OUT; i++)
    out[i] = r->out[i] == TI_NONE ? NULL : arena + t->values[r->out[i]].offset;
  e->prepared = r->prepared;

  switch (r->op) {
  case TI_OP_CONV2D:
    return k->conv2d_fwd(e, d, out[0], in[0], r->weight_data, r->bias_data, in[1], &r->s.conv2d);
  case TI_OP_CONV2D_BWD:
    return k->conv2d_bwd(e, d, out[0], in[0], r->weight_data, in[1], &r->s.conv2d);
  case TI_OP_LINEAR:
    return k->linear_fwd(e, d, out[0], in[0], r->weight_data, r->bias_data, in[1], &r->s.linear);
  case TI_OP_LINEAR_BWD:
    return k->linear_bwd(e, d, out[0], in[0], r->weight_data, in[1], &r->s.linear);
  case TI_OP_GROUPNORM:
    return k->groupnorm_fwd(e, d, out[0], out[1], out[2], in[0], in[1], r->weight_data,
                            r->bias_data, &r->s.groupnorm);
  case TI_OP_GROUPNORM_BWD:
    return k->groupnorm_bwd(e, d, out[0], in[0], in[2], in[5], in[3], in[4], r->weight_data,
                            r->bias_data, in[1], &r->s.groupnorm);
  case TI_OP_LAYERNORM:
    return k->layernorm_fwd(e, d, out[0], out[1], out[2], in[0], r->weight_data, r->bias_data,
                            &r->s.layernorm);
  case TI_OP_LAYERNORM_BWD:
    return k->layernorm_bwd(e, d, out[0], in[0], in[2], in[3], in[4], r->weight_data, in[1],
                            &r->s.layernorm);
  case TI_OP_ATTENTION:
    to_columns(in, r->s.from, d);
    return k->attention_fwd(e, d, out[0], out[1], in[0], in[1], in[2], &r->s.attention);
  case TI_OP_ATTENTION_BWD:
    to_columns(in + 3, r->s.from, d);
    to_columns(out, r->s.from, d);
    return k->attention_bwd(e, d, out[0], out[1], out[2], in[0], in[1], in[2], in[3], in[4], in[5],
                            &r->s.attention);
  case TI_OP_ACTIVATION: return k->activation_fwd(e, d, out[0], in[0], &r->s.activation);
  case TI_OP_ACTIVATION_BWD: return k->activation_bwd(e, d, out[0], in[0], in[1], &r->s.activation);
  case TI_OP_GEGLU: return k->geglu_fwd(e, d, out[0], in[0], &r->s.geglu);
  case TI_OP_GEGLU_BWD: return k->geglu_bwd(e, d, out[0], in[0], in[1], &r->s.geglu);
  case TI_OP_ADD:
    return k->add(e, (ti_dtype)t->values[r->out[0]].type, out[0], in[0], in[1], r->s.count);
  case TI_OP_SUM_PIXELS: return k->sum_pixels(e, d, out[0], in[0], &r->s.sum_pixels);
  case TI_OP_CONCAT: {
    const ti_copy_columns_shape a = r->s.columns;
    const int c = a.y_c - a.count;
    const ti_copy_columns_shape b = { a.rows, c, a.y_c, a.count, c, 0 };
    const textinv_status status = k->copy_columns(e, d, out[0], in[0], &a);

    return status < 0 ? status : k->copy_columns(e, d, out[0], in[1], &b);
  }
  case TI_OP_SLICE: return k->copy_columns(e, d, out[0], in[0], &r->s.columns);
  case TI_OP_UPSAMPLE: return k->upsample_fwd(e, d, out[0], in[0], &r->s.upsample);
  case TI_OP_UPSAMPLE_BWD: return k->upsample_bwd(e, d, out[0], in[0], &r->s.upsample);
  case TI_OP_TIMESTEP: return k->timestep_fwd(e, d, out[0], in[0], &r->s.timestep);
  case TI_OP_EMBEDDING:
    return k->embedding_fwd(e, d, out[0], in[0], r->weight_data, in[1], r->bias_data,
                            &r->s.embedding);
  case TI_OP_EMBEDDING_BWD: return k->embedding_bwd(e, d, out[0], in[0], in[1], &r->s.embedding);
  case TI_OP_GATHER: return k->gather_fwd(e, d, out[0], in[0], in[1], &r->s.gather);
  case TI_OP_GATHER_BWD: return k->gather_bwd(e, d, out[0], in[0], in[1], &r->s.gather);
  case TI_OP_MSE:
    return k->mse_fwd(e, (ti_dtype)t->values[r->in[0]].type, out[0], in[0], in[1], &r->s.mse);
  case TI_OP_MSE_BWD:
    return k->mse_bwd(e, (ti_dtype)t->values[r->in[0]].type, out[0], in[0], in[1], t->loss_scale,
                      &r->s.mse);
  case TI_OP_CAST:
    return k->cast(e, (ti_dtype)t->values[r->out[0]].type, out[0],
                   (ti_dtype)t->values[r->in[0]].type, in[0], r->s.count);
  }
  return ti_fail(e->error, TEXTINV_E_UNSUPPORTED, "operation %d has no kernel", (int)r->op);
}

textinv_status ti_plan_launch(const ti_plan *plan, int first)
{
  const ti_device *d = plan->device;
  ti_exec e = { .device = d->context,
                .stream = d->plugin->stream(d->context),
                .error = plan->tape.error,
                .scratch = (char *)d->arena + plan->tape.arena_bytes,
                .scratch_bytes = plan->scratch_bytes };
  textinv_status status = TEXTINV_OK;

  for (int i = first; i < plan->tape.num_records && status >= 0; i++)
    status = run_record(plan->kernels, &e, &plan->tape, d->arena, &plan->tape.records[i]);
  return status;
}

static textinv_status launch_all(const void *plan)
{
  return ti_plan_launch(plan, 0);
}

static textinv_status launch_again(const void *plan)
{
  return ti_plan_launch(plan, ((const ti_plan *)plan)->tape.num_constant);
}

static textinv_status run_on_device(ti_plan *plan, const ti_arena *arena, int first)
{
  const ti_tape *t = &plan->tape;
  ti_device *d = plan->device;
  textinv_status status = ti_device_reserve(d, t->error, ti_plan_bytes(plan));

  if (plan->graph_arena != d->arena)
    free_graphs(plan);
  plan->graph_arena = d->arena;
  for (int v = 0; v < t->num_values && status >= 0; v++) {
    const ti_value *value = &t->values[v];

    if (value->is_input && !(first && value->is_constant))
      status = d->plugin->upload(d->context, t->error, (char *)d->arena + value->offset,
                                 (char *)arena->data + value->offset, value->bytes);
  }
  if (status >= 0)
    status = ti_device_start(d, t->error, &plan->graphs[first > 0],
                             first ? launch_again : launch_all, plan);
  for (int v = 0; v < t->num_values && status >= 0; v++) {
    const ti_value *value = &t->values[v];

    if (value->is_output)
      status = d->plugin->download(d->context, t->error, (char *)arena->data + value->offset,
                                   (char *)d->arena + value->offset, value->bytes);
  }
  return status;
}

textinv_status ti_plan_run(ti_plan *plan, const ti_arena *arena, int again,
                           const atomic_int *cancel)
{
  ti_exec e = { .team = plan->team,
                .error = plan->tape.error,
                .scratch = (char *)arena->data + plan->tape.arena_bytes,
                .scratch_bytes = plan->scratch_bytes };
  const int first = again ? plan->tape.num_constant : 0;
  ti_host host;
  textinv_status status = TEXTINV_OK;

  if (plan->device) {
    if (cancel && atomic_load_explicit(cancel, memory_order_relaxed))
      return ti_fail(e.error, TEXTINV_E_CANCELLED, "cancelled");
    return run_on_device(plan, arena, first);
  }
  ti_host_enter(&host, plan->team);
  for (int i = first; i < plan->tape.num_records && status >= 0; i++) {
    if (cancel && atomic_load_explicit(cancel, memory_order_relaxed))
      status = ti_fail(e.error, TEXTINV_E_CANCELLED, "cancelled");
    else
      status = run_record(plan->kernels, &e, &plan->tape, arena->data, &plan->tape.records[i]);
  }
  ti_host_leave(&host);
  return status;
}
