/*
 * Attention, the reference: one row of scores at a time.
 *
 *   fwd: s = scale q k^T    p = exp(s - lse)    o = p v
 *   bwd: dp = do v^T        ds = p (dp - sum(do o))
 *        dq = scale ds k    dk = scale ds^T q   dv = p^T do
 *
 * fwd keeps lse [n, heads, tq] = log(sum(exp(s))), from which bwd makes p again.
 */
#include "cpu.h"

#include <math.h>

#include "alloc.h"

/* one operand as floats */
typedef struct rows {
  const float *p;
  void *heap;
  int stride;
} rows;

static rows rows_of(ti_dtype dtype, const void *x, const ti_attention_shape *s, int tokens,
                    int stride)
{
  /* nothing may lie behind the last row: the stride can span q, k and v */
  const size_t count = ((size_t)s->n * tokens - 1) * stride + (size_t)s->heads * s->d;
  rows r = { .stride = stride };

  r.p = ti_cpu_floats(dtype, x, count, &r.heap);
  return r;
}

/* number of keys that row i sees */
static int visible(const ti_attention_shape *s, int i)
{
  return s->causal && i + 1 < s->tk ? i + 1 : s->tk;
}

/* o and lse of row i, with row [tk] and acc [d] to work in */
static double fwd_row(const ti_attention_shape *s, double *row, double *acc, const float *q, rows k,
                      rows v, int head, int keys)
{
  double max = -INFINITY, sum = 0.0;

  for (int j = 0; j < keys; j++) {
    row[j] = s->scale * ti_cpu_dot(q, k.p + ti_head_at(s, k.stride, s->tk, head, j), s->d);
    max = fmax(max, row[j]);
  }
  for (int c = 0; c < s->d; c++)
    acc[c] = 0.0;
  for (int j = 0; j < keys; j++) {
    const float *v_row = v.p + ti_head_at(s, v.stride, s->tk, head, j);
    const double p = exp(row[j] - max);

    sum += p;
    for (int c = 0; c < s->d; c++)
      acc[c] += p * v_row[c];
  }
  for (int c = 0; c < s->d; c++)
    acc[c] /= sum;
  return max + log(sum);
}

typedef struct forward {
  ti_dtype dtype;
  void *o;
  float *lse; /* or NULL */
  rows q, k, v;
  double *work; /* of each thread: a row of scores, and a sum */
  const ti_attention_shape *s;
} forward;

static void fwd_rows(void *user, int thread, size_t from, size_t to)
{
  const forward *f = user;
  const ti_attention_shape *s = f->s;
  double *row = f->work + (size_t)thread * (s->tk + s->d), *acc = row + s->tk;

  for (size_t r = from; r < to; r++) {
    const int head = (int)(r / s->tq), i = (int)(r % s->tq);
    const double l = fwd_row(s, row, acc, f->q.p + ti_head_at(s, f->q.stride, s->tq, head, i), f->k,
                             f->v, head, visible(s, i));

    if (f->lse)
      f->lse[r] = (float)l;
    for (int c = 0; c < s->d; c++)
      ti_store(f->dtype, f->o, ti_head_at(s, s->heads * s->d, s->tq, head, i) + c, (float)acc[c]);
  }
}

textinv_status ti_cpu_attention_fwd(ti_exec *e, ti_dtype dtype, void *o, float *lse, const void *q,
                                    const void *k, const void *v, const ti_attention_shape *s)
{
  const size_t room = ti_team_size(e->team) * ((size_t)s->tk + s->d);
  forward f = { .dtype = dtype,
                .o = o,
                .lse = lse,
                .q = rows_of(dtype, q, s, s->tq, s->q_stride),
                .k = rows_of(dtype, k, s, s->tk, s->k_stride),
                .v = rows_of(dtype, v, s, s->tk, s->v_stride),
                .work = ti_calloc(room, sizeof(double)),
                .s = s };
  textinv_status status = TEXTINV_OK;

  if (f.q.p && f.k.p && f.v.p && f.work)
    ti_team_for(e->team, ti_threads(e, ti_attention_work(s)), (size_t)s->n * s->heads * s->tq,
                fwd_rows, &f);
  else
    status = ti_fail_nomem(e->error, room * sizeof(double), "attention");
  ti_free(f.work);
  ti_free(f.v.heap);
  ti_free(f.k.heap);
  ti_free(f.q.heap);
  return status;
}

/* what both directions of the backward pass read, and write */
typedef struct gradients {
  ti_dtype dtype;
  void *dq, *dk, *dv;
  double *work; /* [threads, 2, d] */
  const ti_attention_shape *s;
  rows q, k, v, d_o;
  const float *lse;
  double *delta; /* [n, heads, tq] sum of do o */
} gradients;

/* p and ds of row i and key j */
static double weights_at(const gradients *g, int head, int i, int j, double *ds)
{
  const ti_attention_shape *s = g->s;
  const int r = head * s->tq + i;
  const double dot = ti_cpu_dot(g->q.p + ti_head_at(s, g->q.stride, s->tq, head, i),
                                g->k.p + ti_head_at(s, g->k.stride, s->tk, head, j), s->d);
  const double dp = ti_cpu_dot(g->d_o.p + ti_head_at(s, g->d_o.stride, s->tq, head, i),
                               g->v.p + ti_head_at(s, g->v.stride, s->tk, head, j), s->d);
  const double p = exp(s->scale * dot - g->lse[r]);

  *ds = p * (dp - g->delta[r]);
  return p;
}

static void bwd_q(void *user, int thread, size_t from, size_t to)
{
  const gradients *g = user;
  const ti_attention_shape *s = g->s;
  double *acc = g->work + (size_t)thread * 2 * s->d;

  for (size_t r = from; r < to; r++) {
    const int head = (int)(r / s->tq), i = (int)(r % s->tq);

    for (int c = 0; c < s->d; c++)
      acc[c] = 0.0;
    for (int j = 0; j < visible(s, i); j++) {
      const float *k = g->k.p + ti_head_at(s, g->k.stride, s->tk, head, j);
      double ds;

      weights_at(g, head, i, j, &ds);
      for (int c = 0; c < s->d; c++)
        acc[c] += ds * k[c];
    }
    for (int c = 0; c < s->d; c++)
      ti_store(g->dtype, g->dq, ti_head_at(s, s->q_stride, s->tq, head, i) + c,
               (float)(s->scale * acc[c]));
  }
}

static void bwd_kv(void *user, int thread, size_t from, size_t to)
{
  const gradients *g = user;
  const ti_attention_shape *s = g->s;
  double *k_acc = g->work + (size_t)thread * 2 * s->d, *v_acc = k_acc + s->d;

  for (size_t r = from; r < to; r++) {
    const int head = (int)(r / s->tk), j = (int)(r % s->tk);

    for (int c = 0; c < 2 * s->d; c++)
      k_acc[c] = 0.0;
    for (int i = s->causal ? j : 0; i < s->tq; i++) {
      const float *q = g->q.p + ti_head_at(s, g->q.stride, s->tq, head, i);
      const float *d_o = g->d_o.p + ti_head_at(s, g->d_o.stride, s->tq, head, i);
      double ds;
      const double p = weights_at(g, head, i, j, &ds);

      for (int c = 0; c < s->d; c++) {
        k_acc[c] += ds * q[c];
        v_acc[c] += p * d_o[c];
      }
    }
    for (int c = 0; c < s->d; c++) {
      ti_store(g->dtype, g->dk, ti_head_at(s, s->k_stride, s->tk, head, j) + c,
               (float)(s->scale * k_acc[c]));
      ti_store(g->dtype, g->dv, ti_head_at(s, s->v_stride, s->tk, head, j) + c, (float)v_acc[c]);
    }
  }
}

textinv_status ti_cpu_attention_bwd(ti_exec *e, ti_dtype dtype, void *dq, void *dk, void *dv,
                                    const void *do_, const void *o_, const float *lse,
                                    const void *q, const void *k, const void *v,
                                    const ti_attention_shape *s)
{
  const size_t num_rows = (size_t)s->n * s->heads * s->tq;
  const int threads = ti_threads(e, ti_attention_work(s));
  const rows o = rows_of(dtype, o_, s, s->tq, s->heads * s->d);
  gradients g = { .dtype = dtype,
                  .dq = dq,
                  .dk = dk,
                  .dv = dv,
                  .work = ti_calloc((size_t)ti_team_size(e->team) * 2 * s->d, sizeof(double)),
                  .s = s,
                  .q = rows_of(dtype, q, s, s->tq, s->q_stride),
                  .k = rows_of(dtype, k, s, s->tk, s->k_stride),
                  .v = rows_of(dtype, v, s, s->tk, s->v_stride),
                  .d_o = rows_of(dtype, do_, s, s->tq, s->heads * s->d),
                  .lse = lse,
                  .delta = ti_calloc(num_rows, sizeof(double)) };
  textinv_status status = TEXTINV_OK;

  if (!o.p || !g.q.p || !g.k.p || !g.v.p || !g.d_o.p || !g.delta || !g.work) {
    status = ti_fail_nomem(e->error, num_rows * sizeof(double), "attention");
    goto out;
  }
  for (size_t r = 0; r < num_rows; r++) {
    const size_t at = ti_head_at(s, o.stride, s->tq, (int)(r / s->tq), (int)(r % s->tq));

    g.delta[r] = ti_cpu_dot(o.p + at, g.d_o.p + at, s->d);
  }
  if (dq)
    ti_team_for(e->team, threads, num_rows, bwd_q, &g);
  if (dk && dv)
    ti_team_for(e->team, threads, (size_t)s->n * s->heads * s->tk, bwd_kv, &g);
out:
  ti_free(g.work);
  ti_free(g.delta);
  ti_free(g.d_o.heap);
  ti_free(g.v.heap);
  ti_free(g.k.heap);
  ti_free(g.q.heap);
  ti_free(o.heap);
  return status;
}
