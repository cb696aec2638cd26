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
#include <omp.h>

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

static size_t row_at(const ti_attention_shape *s, int stride, int tokens, int head_index, int i)
{
  const int n = head_index / s->heads, head = head_index % s->heads;

  return ((size_t)n * tokens + i) * stride + (size_t)head * s->d;
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
    row[j] = s->scale * ti_cpu_dot(q, k.p + row_at(s, k.stride, s->tk, head, j), s->d);
    max = fmax(max, row[j]);
  }
  for (int c = 0; c < s->d; c++)
    acc[c] = 0.0;
  for (int j = 0; j < keys; j++) {
    const float *v_row = v.p + row_at(s, v.stride, s->tk, head, j);
    const double p = exp(row[j] - max);

    sum += p;
    for (int c = 0; c < s->d; c++)
      acc[c] += p * v_row[c];
  }
  for (int c = 0; c < s->d; c++)
    acc[c] /= sum;
  return max + log(sum);
}

textinv_status ti_cpu_attention_fwd(ti_exec *e, ti_dtype dtype, void *o, float *lse, const void *q_,
                                    const void *k_, const void *v_, const ti_attention_shape *s)
{
  const rows q = rows_of(dtype, q_, s, s->tq, s->q_stride);
  const rows k = rows_of(dtype, k_, s, s->tk, s->k_stride);
  const rows v = rows_of(dtype, v_, s, s->tk, s->v_stride);
  const size_t room = (size_t)s->tk + s->d;
  double *work = ti_calloc((size_t)e->threads * room, sizeof(double));
  textinv_status status = TEXTINV_OK;

  if (!q.p || !k.p || !v.p || !work) {
    status = ti_fail_nomem(e->error, (size_t)e->threads * room * sizeof(double), "attention");
    goto out;
  }
#pragma omp parallel for num_threads(ti_threads(e, ti_attention_work(s)))
  for (int r = 0; r < s->n * s->heads * s->tq; r++) {
    const int head = r / s->tq, i = r % s->tq;
    double *row = work + (size_t)omp_get_thread_num() * room, *acc = row + s->tk;
    const double l = fwd_row(s, row, acc, q.p + row_at(s, q.stride, s->tq, head, i), k, v, head,
                             visible(s, i));

    if (lse)
      lse[r] = (float)l;
    for (int c = 0; c < s->d; c++)
      ti_store(dtype, o, row_at(s, s->heads * s->d, s->tq, head, i) + c, (float)acc[c]);
  }
out:
  ti_free(work);
  ti_free(v.heap);
  ti_free(k.heap);
  ti_free(q.heap);
  return status;
}

/* what both directions of the backward pass read */
typedef struct gradients {
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
  const double dot = ti_cpu_dot(g->q.p + row_at(s, g->q.stride, s->tq, head, i),
                                g->k.p + row_at(s, g->k.stride, s->tk, head, j), s->d);
  const double dp = ti_cpu_dot(g->d_o.p + row_at(s, g->d_o.stride, s->tq, head, i),
                               g->v.p + row_at(s, g->v.stride, s->tk, head, j), s->d);
  const double p = exp(s->scale * dot - g->lse[r]);

  *ds = p * (dp - g->delta[r]);
  return p;
}

static void bwd_q(ti_exec *e, ti_dtype dtype, void *dq, const gradients *g, double *work)
{
  const ti_attention_shape *s = g->s;

#pragma omp parallel for num_threads(ti_threads(e, ti_attention_work(s)))
  for (int r = 0; r < s->n * s->heads * s->tq; r++) {
    const int head = r / s->tq, i = r % s->tq;
    double *acc = work + (size_t)omp_get_thread_num() * 2 * s->d;

    for (int c = 0; c < s->d; c++)
      acc[c] = 0.0;
    for (int j = 0; j < visible(s, i); j++) {
      const float *k = g->k.p + row_at(s, g->k.stride, s->tk, head, j);
      double ds;

      weights_at(g, head, i, j, &ds);
      for (int c = 0; c < s->d; c++)
        acc[c] += ds * k[c];
    }
    for (int c = 0; c < s->d; c++)
      ti_store(dtype, dq, row_at(s, s->q_stride, s->tq, head, i) + c, (float)(s->scale * acc[c]));
  }
}

static void bwd_kv(ti_exec *e, ti_dtype dtype, void *dk, void *dv, const gradients *g, double *work)
{
  const ti_attention_shape *s = g->s;

#pragma omp parallel for num_threads(ti_threads(e, ti_attention_work(s)))
  for (int r = 0; r < s->n * s->heads * s->tk; r++) {
    const int head = r / s->tk, j = r % s->tk;
    double *k_acc = work + (size_t)omp_get_thread_num() * 2 * s->d, *v_acc = k_acc + s->d;

    for (int c = 0; c < 2 * s->d; c++)
      k_acc[c] = 0.0;
    for (int i = s->causal ? j : 0; i < s->tq; i++) {
      const float *q = g->q.p + row_at(s, g->q.stride, s->tq, head, i);
      const float *d_o = g->d_o.p + row_at(s, g->d_o.stride, s->tq, head, i);
      double ds;
      const double p = weights_at(g, head, i, j, &ds);

      for (int c = 0; c < s->d; c++) {
        k_acc[c] += ds * q[c];
        v_acc[c] += p * d_o[c];
      }
    }
    for (int c = 0; c < s->d; c++) {
      ti_store(dtype, dk, row_at(s, s->k_stride, s->tk, head, j) + c, (float)(s->scale * k_acc[c]));
      ti_store(dtype, dv, row_at(s, s->v_stride, s->tk, head, j) + c, (float)v_acc[c]);
    }
  }
}

textinv_status ti_cpu_attention_bwd(ti_exec *e, ti_dtype dtype, void *dq, void *dk, void *dv,
                                    const void *do_, const void *o_, const float *lse,
                                    const void *q, const void *k, const void *v,
                                    const ti_attention_shape *s)
{
  const size_t num_rows = (size_t)s->n * s->heads * s->tq;
  const rows o = rows_of(dtype, o_, s, s->tq, s->heads * s->d);
  gradients g = { .s = s,
                  .q = rows_of(dtype, q, s, s->tq, s->q_stride),
                  .k = rows_of(dtype, k, s, s->tk, s->k_stride),
                  .v = rows_of(dtype, v, s, s->tk, s->v_stride),
                  .d_o = rows_of(dtype, do_, s, s->tq, s->heads * s->d),
                  .lse = lse,
                  .delta = ti_calloc(num_rows, sizeof(double)) };
  double *work = ti_calloc((size_t)e->threads * 2 * s->d, sizeof(double));
  textinv_status status = TEXTINV_OK;

  if (!o.p || !g.q.p || !g.k.p || !g.v.p || !g.d_o.p || !g.delta || !work) {
    status = ti_fail_nomem(e->error, num_rows * sizeof(double), "attention");
    goto out;
  }
  for (size_t r = 0; r < num_rows; r++) {
    const size_t at = row_at(s, o.stride, s->tq, (int)(r / s->tq), (int)(r % s->tq));

    g.delta[r] = ti_cpu_dot(o.p + at, g.d_o.p + at, s->d);
  }
  if (dq)
    bwd_q(e, dtype, dq, &g, work);
  if (dk && dv)
    bwd_kv(e, dtype, dk, dv, &g, work);
out:
  ti_free(work);
  ti_free(g.delta);
  ti_free(g.d_o.heap);
  ti_free(g.v.heap);
  ti_free(g.k.heap);
  ti_free(g.q.heap);
  ti_free(o.heap);
  return status;
}
