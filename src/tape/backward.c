/*
 * The backward pass: walk the records in reverse and append those that compute gradients.
 *
 * A gradient belongs to the value whose storage counts (the base). Where a value fans out, the
 * partial gradients are summed in the order in which they arise: by the product or norm that makes
 * the next one, else by an add record. The gradient of a residual is dy itself, so no record
 * computes it.
 */
#include <string.h>

#include "alloc.h"
#include "tape.h"

typedef struct walk {
  ti_tape *t;
  ti_val
    *again; /* value -> its copy computed again, or TI_NONE; [num_values of the forward pass] */
  int num_forward_values;
} walk;

static ti_val like(walk *b, ti_val v)
{
  const ti_value s = b->t->values[v];

  return ti_tape_new_value(b->t, s.type, s.n, s.h, s.w, s.c);
}

/* the value that holds v's contents during the backward pass */
static ti_val saved(walk *b, ti_val v)
{
  if (v == TI_NONE || v >= b->num_forward_values)
    return v;
  const ti_val base = b->t->values[v].base;

  if (b->again[base] == TI_NONE)
    return v;
  /* a reshape of something computed again: the same view of the copy */
  if (b->again[v] == TI_NONE) {
    const ti_val view = like(b, v);

    if (view == TI_NONE)
      return v;
    b->t->values[view].base = b->again[base];
    b->again[v] = view;
  }
  return b->again[v];
}

static int wanted(const walk *b, ti_val v)
{
  return v != TI_NONE && b->t->values[v].wants_grad;
}

static ti_record *append(walk *b, const ti_record *like_record, ti_op op)
{
  ti_record *r = ti_tape_append(b->t, op);

  if (r) {
    r->s = like_record->s;
    r->weight = like_record->weight;
    r->bias = like_record->bias;
    r->block = 0;
  }
  return r;
}

/* add g to the gradient of v */
static void contribute(walk *b, ti_val v, ti_val g)
{
  ti_val sum;
  ti_record *r;

  if (!wanted(b, v) || g == TI_NONE)
    return;
  const ti_val base = b->t->values[v].base, old = b->t->values[base].grad;

  if (old == TI_NONE) {
    b->t->values[base].grad = g;
    return;
  }
  sum = like(b, old);
  if (!(r = ti_tape_append(b->t, TI_OP_ADD)))
    return;
  r->block = 0;
  r->in[0] = old;
  r->in[1] = g;
  r->out[0] = sum;
  r->s.count = b->t->values[sum].bytes / (b->t->values[sum].type == TI_TYPE_F32 ? 4 : 2);
  b->t->values[base].grad = sum;
}

/* whether op adds to its gradient, in[1], what x has already */
static int adds(ti_op op)
{
  return op == TI_OP_CONV2D_BWD || op == TI_OP_LINEAR_BWD || op == TI_OP_GROUPNORM_BWD ||
         op == TI_OP_LAYERNORM_BWD;
}

/* a record of op with in = { dy, saved... } whose single output is the gradient of x */
static void unary(walk *b, const ti_record *f, ti_op op, ti_val x, const ti_val *in, int count)
{
  ti_record *r;
  ti_val dx;

  if (!wanted(b, x))
    return;
  dx = like(b, x);
  if (!(r = append(b, f, op)))
    return;
  memcpy(r->in, in, (size_t)count * sizeof(*in));
  r->out[0] = dx;
  if (adds(op)) {
    ti_val *grad = &b->t->values[b->t->values[x].base].grad;

    r->in[1] = *grad;
    *grad = TI_NONE;
  }
  contribute(b, x, dx);
}

/* the gradient of the shift is that of x, summed over pixels, so it is made before others join */
static void groupnorm(walk *b, const ti_record *f, ti_val dy)
{
  const ti_val x = f->in[0], shift = f->in[1];
  const ti_val in[] = { dy, TI_NONE, saved(b, x), saved(b, f->out[1]), saved(b, f->out[2]),
                        saved(b, shift) };
  const ti_groupnorm_shape s = f->s.groupnorm;
  ti_record of_sum = *f, *r;
  ti_val dx;

  if (!wanted(b, shift)) {
    unary(b, f, TI_OP_GROUPNORM_BWD, x, in, 6);
    return;
  }
  dx = like(b, x);
  if (!(r = append(b, f, TI_OP_GROUPNORM_BWD)))
    return;
  memcpy(r->in, in, sizeof(in));
  r->out[0] = dx;
  of_sum.s.sum_pixels = (ti_sum_pixels_shape){ s.n, s.hw, s.c };
  unary(b, &of_sum, TI_OP_SUM_PIXELS, shift, &dx, 1);
  contribute(b, x, dx);
}

static void attention(walk *b, const ti_record *f, ti_val dy)
{
  const int want_q = wanted(b, f->in[0]), want_kv = wanted(b, f->in[1]) || wanted(b, f->in[2]);
  const ti_val in[] = { dy,
                        saved(b, f->out[0]),
                        saved(b, f->out[1]),
                        saved(b, f->in[0]),
                        saved(b, f->in[1]),
                        saved(b, f->in[2]) };
  const ti_val dq = want_q ? like(b, f->in[0]) : TI_NONE;
  /* what lies beside the one before has its gradient beside that one's */
  const ti_val dk = !want_kv ? TI_NONE : f->s.from[1] ? dq : like(b, f->in[1]);
  const ti_val dv = !want_kv ? TI_NONE : f->s.from[2] ? dk : like(b, f->in[2]);
  ti_record *r = append(b, f, TI_OP_ATTENTION_BWD);

  if (!r)
    return;
  memcpy(r->in, in, sizeof(in));
  r->out[0] = dq;
  r->out[1] = dk;
  r->out[2] = dv;
  contribute(b, f->in[0], dq);
  if (dk != dq)
    contribute(b, f->in[1], dk);
  if (dv != dk)
    contribute(b, f->in[2], dv);
}

/* the columns of dy that belong to one side of a concat */
static void slice(walk *b, const ti_record *f, ti_val x, ti_val dy, int from)
{
  ti_record *r;
  ti_val dx;

  if (!wanted(b, x))
    return;
  dx = like(b, x);
  if (!(r = append(b, f, TI_OP_SLICE)))
    return;
  const int c = b->t->values[x].c;

  r->in[0] = dy;
  r->out[0] = dx;
  r->s.columns = (ti_copy_columns_shape){ f->s.columns.rows, c, c, 0, f->s.columns.y_c, from };
  contribute(b, x, dx);
}

static void backward(walk *b, const ti_record *f)
{
  const ti_val x = f->in[0];
  const ti_val dy = f->op == TI_OP_MSE ? TI_NONE : b->t->values[b->t->values[f->out[0]].base].grad;

  if (f->op != TI_OP_MSE && dy == TI_NONE)
    return;
  switch (f->op) {
  case TI_OP_CONV2D:
    unary(b, f, TI_OP_CONV2D_BWD, x, (ti_val[]){ dy }, 1);
    contribute(b, f->in[1], dy);
    break;
  case TI_OP_LINEAR:
    unary(b, f, TI_OP_LINEAR_BWD, x, (ti_val[]){ dy }, 1);
    contribute(b, f->in[1], dy);
    break;
  case TI_OP_GROUPNORM: groupnorm(b, f, dy); break;
  case TI_OP_LAYERNORM:
    unary(b, f, TI_OP_LAYERNORM_BWD, x,
          (ti_val[]){ dy, TI_NONE, saved(b, x), saved(b, f->out[1]), saved(b, f->out[2]) }, 5);
    break;
  case TI_OP_ATTENTION: attention(b, f, dy); break;
  case TI_OP_ACTIVATION:
    unary(b, f, TI_OP_ACTIVATION_BWD, x, (ti_val[]){ dy, saved(b, x) }, 2);
    break;
  case TI_OP_GEGLU: unary(b, f, TI_OP_GEGLU_BWD, x, (ti_val[]){ dy, saved(b, x) }, 2); break;
  case TI_OP_ADD:
    contribute(b, x, dy);
    contribute(b, f->in[1], dy);
    break;
  case TI_OP_CONCAT:
    slice(b, f, x, dy, 0);
    slice(b, f, f->in[1], dy, f->s.columns.count);
    break;
  case TI_OP_UPSAMPLE: unary(b, f, TI_OP_UPSAMPLE_BWD, x, (ti_val[]){ dy }, 1); break;
  case TI_OP_EMBEDDING:
    unary(b, f, TI_OP_EMBEDDING_BWD, f->in[1], (ti_val[]){ dy, f->in[0] }, 2);
    break;
  case TI_OP_GATHER: unary(b, f, TI_OP_GATHER_BWD, x, (ti_val[]){ dy, f->in[1] }, 2); break;
  case TI_OP_MSE: unary(b, f, TI_OP_MSE_BWD, x, (ti_val[]){ saved(b, x), f->in[1] }, 2); break;
  case TI_OP_CAST: unary(b, f, TI_OP_CAST, x, (ti_val[]){ dy }, 1); break;
  default: /* timesteps and the backward operations themselves have no gradient */ break;
  }
}

/* append the records [first, last] of a block once more, with outputs of their own */
static void compute_again(walk *b, int first, int last)
{
  for (int i = first; i <= last; i++) {
    ti_record r = b->t->records[i], *copy;

    for (int k = 0; k < TI_MAX_IN; k++)
      r.in[k] = saved(b, r.in[k]);
    for (int k = 0; k < TI_MAX_OUT; k++) {
      if (r.out[k] == TI_NONE)
        continue;
      const ti_val v = like(b, r.out[k]);

      if (v == TI_NONE)
        return;
      b->again[r.out[k]] = v;
      r.out[k] = v;
    }
    if (!(copy = ti_tape_append(b->t, r.op)))
      return;
    *copy = r;
    copy->block = 0;
  }
}

/*
 * 2 (pred - target) / count is a subnormal of f16, or 0, for a few pictures already. The largest
 * power of two up to count / 2 makes it between half of pred - target and all of it. For a picture
 * of SD or SDXL that is less than the 2^16 that PyTorch's GradScaler begins with.
 */
static float loss_scale(ti_dtype dtype, const ti_mse_shape *s)
{
  const size_t count = (size_t)s->n * s->count;
  size_t scale = 1;

  while (dtype == TI_F16 && scale <= count / 4)
    scale *= 2;
  return (float)scale;
}

textinv_status ti_tape_backward(ti_tape *t, int recompute, int num_of)
{
  const int num_records = t->num_records;
  walk b = { t, NULL, t->num_values };

  if (t->status < 0)
    return t->status;
  b.again = ti_calloc((size_t)b.num_forward_values, sizeof(*b.again));
  if (!b.again) {
    ti_tape_fail(t, ti_fail_nomem(t->error, (size_t)b.num_forward_values * 4, "the tape"));
    return t->status;
  }
  for (int i = 0; i < b.num_forward_values; i++)
    b.again[i] = TI_NONE;
  for (int i = num_records - 1; i >= 0 && t->status >= 0; i--) {
    const int block = t->records[i].block;

    if (block && block % (num_of > 0 ? num_of : 1) < recompute &&
        (i == num_records - 1 || t->records[i + 1].block != block)) {
      int first = i;

      while (first > 0 && t->records[first - 1].block == block)
        first--;
      compute_again(&b, first, i);
    }
    const ti_record f = t->records[i];

    if (f.op == TI_OP_MSE)
      t->loss_scale = loss_scale(t->dtype, &f.s.mse);
    backward(&b, &f);
  }
  ti_free(b.again);
  return t->status;
}

ti_val ti_tape_grad(const ti_tape *t, ti_val v)
{
  return v == TI_NONE ? TI_NONE : t->values[t->values[v].base].grad;
}
