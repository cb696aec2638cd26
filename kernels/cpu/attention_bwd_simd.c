/*
 * The backward pass of attention with vectors; the formulas are in attention.c.
 *
 * A unit of work is one head and a range of its keys. For 64 keys against two vectors of queries at
 * a time, queries in the lanes,
 *
 *   S = K Q^T    dP = V dO^T    P = 2^(S - lse)    dS = P (dP - delta)
 *   dV += P dO    dK += dS Q    dQ^T [d, q] += K^T dS
 *
 * dQ is summed in scratch, one copy a range; the ranges follow from the shape alone and are added
 * in order, so that the bits do not depend on threads.
 */
#include "attention_simd.h"

#ifdef TI_HAVE_SIMD

#include <math.h>
#include <omp.h>

enum { UNITS = 16, LEAST_BLOCKS = 8 }; /* units to aim at; blocks of keys that are worth one */

/* sizes in floats */
typedef struct layout {
  int heads, at_once, key_blocks, query_blocks;
  int ranges, blocks_per_range;
  size_t width;          /* d, whole vectors */
  size_t keys;           /* K^T, V^T, K of a head, each */
  size_t lanes, rows;    /* Q^T, dO^T; Q, dO of a head, each */
  size_t scalars;        /* lse, delta of a head, each */
  size_t head;           /* all of those and dQ */
  size_t p, acc, thread; /* P, dS; dK, dV, each */
} layout;

static layout layout_of(const ti_attention_shape *s, int threads)
{
  layout l = { .heads = s->n * s->heads,
               .key_blocks = ti_blocks(s->tk, TI_KEYS),
               .query_blocks = ti_blocks(s->tq, TI_QUERIES),
               .width = ti_room(s->d) };
  const int most = l.key_blocks / LEAST_BLOCKS, wanted = ti_blocks(UNITS, l.heads);
  const int ranges = wanted < most ? wanted : most > 1 ? most : 1;

  l.blocks_per_range = ti_blocks(l.key_blocks, ranges);
  l.ranges = ti_blocks(l.key_blocks, l.blocks_per_range);
  l.at_once = l.heads < threads ? l.heads : threads;
  l.keys = (size_t)l.key_blocks * TI_KEYS * s->d;
  l.lanes = (size_t)l.query_blocks * TI_QUERIES * s->d;
  l.rows = (size_t)l.query_blocks * TI_QUERIES * l.width;
  l.scalars = (size_t)l.query_blocks * TI_QUERIES;
  l.head = 3 * l.keys + 2 * l.lanes + 2 * l.rows + 2 * l.scalars + l.ranges * l.lanes;
  l.p = (size_t)TI_KEYS * TI_QUERIES;
  l.acc = TI_KEYS * l.width;
  l.thread = 2 * l.p + 2 * l.acc;
  return l;
}

size_t TI_FN(attention_bwd_floats)(const ti_attention_shape *s, int threads)
{
  const layout l = layout_of(s, threads);

  return l.at_once * l.head + threads * l.thread;
}

/* one head, laid out */
typedef struct head_data {
  float *kt, *vt, *k; /* [blocks, d, 64], twice; [tk, d] */
  float *qt, *dot;    /* [blocks, d, queries] */
  float *q, *d_o;     /* [tq, width] */
  float *lse, *delta; /* [tq], lse times log2(e) */
  float *dqt;         /* [ranges, blocks, d, queries] */
} head_data;

static head_data head_of(const layout *l, float *at)
{
  head_data h;

  h.kt = at;
  h.vt = h.kt + l->keys;
  h.k = h.vt + l->keys;
  h.qt = h.k + l->keys;
  h.dot = h.qt + l->lanes;
  h.q = h.dot + l->lanes;
  h.d_o = h.q + l->rows;
  h.lse = h.d_o + l->rows;
  h.delta = h.lse + l->scalars;
  h.dqt = h.delta + l->scalars;
  return h;
}

TI_SIMD_INLINE void pack_keys_worker(ti_dtype dtype, const head_data *h, const void *k,
                                     const void *v, const ti_attention_shape *s, int head,
                                     int block)
{
  const int from = block * TI_KEYS, keys = s->tk - from < TI_KEYS ? s->tk - from : TI_KEYS;
  const size_t k_at = ti_head_at(s, s->k_stride, s->tk, head, from);
  const size_t v_at = ti_head_at(s, s->v_stride, s->tk, head, from);
  const size_t to = (size_t)from * s->d;

  ti_pack_transposed(dtype, h->kt + to, TI_KEYS, k, k_at, s->k_stride, keys, s->d, 1.0f);
  ti_pack_transposed(dtype, h->vt + to, TI_KEYS, v, v_at, s->v_stride, keys, s->d, 1.0f);
  ti_pack_rows(dtype, h->k + to, s->d, k, k_at, s->k_stride, keys, s->d);
}

TI_SIMD_INLINE float row_dot(ti_dtype dtype, const void *a, const void *b, size_t at, int d)
{
  ti_vec sum = ti_set(0.0f);

  for (int c = 0; c < d; c += TI_LANES) {
    const ti_mask m = ti_first(d - c);

    sum = ti_fma(ti_load_mask(dtype, a, at + c, m), ti_load_mask(dtype, b, at + c, m), sum);
  }
  return ti_sum(sum);
}

TI_SIMD_INLINE void pack_queries_worker(ti_dtype dtype, const head_data *h, const void *q,
                                        const void *o, const void *d_o, const float *lse,
                                        const ti_attention_shape *s, size_t width, int head,
                                        int block)
{
  const int from = block * TI_QUERIES, all = s->tq - from;
  const int rows = all < TI_QUERIES ? all : TI_QUERIES;
  const size_t q_at = ti_head_at(s, s->q_stride, s->tq, head, from);
  const size_t o_stride = (size_t)s->heads * s->d,
               o_at = ti_head_at(s, o_stride, s->tq, head, from);
  const size_t to = (size_t)from * s->d;

  if (rows < TI_QUERIES) {
    memset(h->qt + to, 0, (size_t)TI_QUERIES * s->d * sizeof(float));
    memset(h->dot + to, 0, (size_t)TI_QUERIES * s->d * sizeof(float));
    memset(h->q + from * width, 0, TI_QUERIES * width * sizeof(float));
    memset(h->d_o + from * width, 0, TI_QUERIES * width * sizeof(float));
  }
  ti_pack_transposed(dtype, h->qt + to, TI_QUERIES, q, q_at, s->q_stride, rows, s->d,
                     s->scale * 1.44269504f);
  ti_pack_transposed(dtype, h->dot + to, TI_QUERIES, d_o, o_at, o_stride, rows, s->d, 1.0f);
  ti_pack_rows(dtype, h->q + from * width, width, q, q_at, s->q_stride, rows, s->d);
  ti_pack_rows(dtype, h->d_o + from * width, width, d_o, o_at, o_stride, rows, s->d);
  for (int i = 0; i < TI_QUERIES; i++) {
    /* queries beyond the last one get p = 0 */
    h->lse[from + i] = i < rows ? 1.44269504f * lse[(size_t)head * s->tq + from + i] : 1e30f;
    h->delta[from + i] = i < rows ? row_dot(dtype, o, d_o, o_at + i * o_stride, s->d) : 0.0f;
  }
}

static TI_SIMD void pack_keys(ti_dtype dtype, const head_data *h, const void *k, const void *v,
                              const ti_attention_shape *s, int head, int block)
{
  TI_DISPATCH(dtype, pack_keys_worker, h, k, v, s, head, block);
}

static TI_SIMD void pack_queries(ti_dtype dtype, const head_data *h, const void *q, const void *o,
                                 const void *d_o, const float *lse, const ti_attention_shape *s,
                                 size_t width, int head, int block)
{
  TI_DISPATCH(dtype, pack_queries_worker, h, q, o, d_o, lse, s, width, head, block);
}

static TI_SIMD __attribute__((noinline)) void tile_1(TI_TILE_ARGUMENTS)
{
  switch (rows) {
    TI_TILE_CASES(1, TI_QUERIES)
  }
}

static TI_SIMD __attribute__((noinline)) void tile_2(TI_TILE_ARGUMENTS)
{
  switch (rows) {
    TI_TILE_CASES(2, TI_QUERIES)
  }
}

static TI_SIMD __attribute__((noinline)) void tile_3(TI_TILE_ARGUMENTS)
{
  switch (rows) {
    TI_TILE_CASES_3(TI_QUERIES)
  }
}

/* acc[keys, width] += p[keys, queries] x[queries, width] */
static void add_keys(float *acc, const float *p, const float *x, size_t width, int keys)
{
  for (size_t c = 0; c < width;) {
    const size_t left = (width - c) / TI_LANES;
    /* two and two rather than three and one */
    const int vecs = left == 4 ? 2 : left > 3 ? 3 : (int)left;
    const int step = ti_tile_rows(keys, vecs == 3 ? TI_TILE_ROWS_3 : TI_TILE_ROWS);

    for (int j = 0; j < keys; j += step) {
      const int rows = keys - j < step ? keys - j : step;
      const float *a = p + (size_t)j * TI_QUERIES;
      float *to = acc + j * width + c;

      switch (vecs) {
      case 1: tile_1(rows, to, width, a, 1, x + c, width, TI_QUERIES, 1); break;
      case 2: tile_2(rows, to, width, a, 1, x + c, width, TI_QUERIES, 1); break;
      default: tile_3(rows, to, width, a, 1, x + c, width, TI_QUERIES, 1); break;
      }
    }
    c += (size_t)vecs * TI_LANES;
  }
}

/* p: S becomes P; ds: dP becomes dS */
static TI_SIMD void gradient_of_scores(float *p, float *ds, const float *lse, const float *delta,
                                       const ti_attention_shape *s, int keys, int from, int q)
{
  for (int h = 0; h < TI_QUERIES; h += TI_LANES) {
    const ti_vec l = ti_get(lse + h), d = ti_get(delta + h);

    for (int j = 0; j < keys; j++) {
      float *p_at = p + j * TI_QUERIES + h, *ds_at = ds + j * TI_QUERIES + h;
      const ti_vec x = ti_select(ti_sees(s, q + h, from + j), ti_exp2(ti_get(p_at) - l),
                                 ti_set(0.0f));

      ti_put(p_at, x);
      ti_put(ds_at, x * (ti_get(ds_at) - d));
    }
  }
}

TI_SIMD_INLINE void store_keys_worker(ti_dtype dtype, void *y, size_t at, size_t stride,
                                      const float *x, size_t width, int keys, int d, float scale)
{
  const ti_vec k = ti_set(scale);

  for (int j = 0; j < keys; j++) {
    for (int c = 0; c < d; c += TI_LANES)
      ti_store_mask(dtype, y, at + j * stride + c, ti_first(d - c), k * ti_get(x + j * width + c));
  }
}

static TI_SIMD void store_keys(ti_dtype dtype, void *y, size_t at, size_t stride, const float *x,
                               size_t width, int keys, int d, float scale)
{
  TI_DISPATCH(dtype, store_keys_worker, y, at, stride, x, width, keys, d, scale);
}

/* dk and dv of a range of keys, and its part of dq */
static void unit(ti_dtype dtype, void *dk, void *dv, int want_q, const head_data *h, float *work,
                 const layout *l, const ti_attention_shape *s, int head, int range)
{
  float *p = work, *ds = p + l->p, *dk_acc = ds + l->p, *dv_acc = dk_acc + l->acc;
  float *dqt = h->dqt + range * l->lanes;
  const int first = range * l->blocks_per_range * TI_KEYS;
  const int end = first + l->blocks_per_range * TI_KEYS, last = end < s->tk ? end : s->tk;

  if (want_q)
    memset(dqt, 0, l->lanes * sizeof(float));
  for (int from = first; from < last; from += TI_KEYS) {
    const int keys = s->tk - from < TI_KEYS ? s->tk - from : TI_KEYS;
    const size_t at = (size_t)from * s->d;

    memset(dk_acc, 0, 2 * l->acc * sizeof(float));
    for (int b = s->causal ? from / TI_QUERIES : 0; b < l->query_blocks; b++) {
      const size_t q = (size_t)b * TI_QUERIES, lanes = q * s->d;

      TI_FN(tile_queries)(keys, p, h->kt + at, TI_KEYS, h->qt + lanes, s->d, 0);
      TI_FN(tile_queries)(keys, ds, h->vt + at, TI_KEYS, h->dot + lanes, s->d, 0);
      gradient_of_scores(p, ds, h->lse + q, h->delta + q, s, keys, from, (int)q);
      if (dk) {
        add_keys(dv_acc, p, h->d_o + q * l->width, l->width, keys);
        add_keys(dk_acc, ds, h->q + q * l->width, l->width, keys);
      }
      if (want_q)
        TI_FN(tile_queries)(s->d, dqt + lanes, h->k + at, s->d, ds, keys, 1);
    }
    if (dk) {
      store_keys(dtype, dk, ti_head_at(s, s->k_stride, s->tk, head, from), s->k_stride, dk_acc,
                 l->width, keys, s->d, s->scale);
      store_keys(dtype, dv, ti_head_at(s, s->v_stride, s->tk, head, from), s->v_stride, dv_acc,
                 l->width, keys, s->d, 1.0f);
    }
  }
}

TI_SIMD_INLINE void store_queries_worker(ti_dtype dtype, void *dq, const head_data *h,
                                         const layout *l, const ti_attention_shape *s, int head,
                                         int block)
{
  const int from = block * TI_QUERIES;
  const int rows = s->tq - from < TI_QUERIES ? s->tq - from : TI_QUERIES;
  float *sum = h->dqt + (size_t)from * s->d, scale[TI_QUERIES];

  for (int r = 1; r < l->ranges; r++) {
    for (int c = 0; c < s->d * TI_QUERIES; c += TI_LANES)
      ti_put(sum + c, ti_get(sum + c) + ti_get(sum + r * l->lanes + c));
  }
  for (int i = 0; i < TI_QUERIES; i++)
    scale[i] = s->scale;
  ti_unpack_transposed(dtype, dq, ti_head_at(s, s->q_stride, s->tq, head, from), s->q_stride, sum,
                       TI_QUERIES, rows, s->d, scale);
}

static TI_SIMD void store_queries(ti_dtype dtype, void *dq, const head_data *h, const layout *l,
                                  const ti_attention_shape *s, int head, int block)
{
  TI_DISPATCH(dtype, store_queries_worker, dq, h, l, s, head, block);
}

textinv_status TI_FN(attention_bwd)(ti_exec *e, ti_dtype dtype, void *dq, void *dk, void *dv,
                                    const void *do_, const void *o, const float *lse, const void *q,
                                    const void *k, const void *v, const ti_attention_shape *s)
{
  const layout l = layout_of(s, e->threads);
  float *heads = e->scratch, *threads = heads + l.at_once * l.head;

  for (int from = 0; from < l.heads; from += l.at_once) {
    const int count = l.heads - from < l.at_once ? l.heads - from : l.at_once;

#pragma omp parallel num_threads(ti_threads(e, ti_attention_work(s)))
    {
      float *work = threads + omp_get_thread_num() * l.thread;

#pragma omp for schedule(dynamic, 4) nowait
      for (int i = 0; i < count * l.key_blocks; i++) {
        const head_data h = head_of(&l, heads + i / l.key_blocks * l.head);

        pack_keys(dtype, &h, k, v, s, from + i / l.key_blocks, i % l.key_blocks);
      }
#pragma omp for schedule(dynamic, 4)
      for (int i = 0; i < count * l.query_blocks; i++) {
        const head_data h = head_of(&l, heads + i / l.query_blocks * l.head);

        pack_queries(dtype, &h, q, o, do_, lse, s, l.width, from + i / l.query_blocks,
                     i % l.query_blocks);
      }
#pragma omp for schedule(dynamic, 1)
      for (int i = 0; i < count * l.ranges; i++) {
        const head_data h = head_of(&l, heads + i / l.ranges * l.head);

        unit(dtype, dk && dv ? dk : NULL, dv, dq != NULL, &h, work, &l, s, from + i / l.ranges,
             i % l.ranges);
      }
#pragma omp for schedule(dynamic, 4)
      for (int i = 0; i < count * l.query_blocks; i++) {
        const head_data h = head_of(&l, heads + i / l.query_blocks * l.head);

        if (dq)
          store_queries(dtype, dq, &h, &l, s, from + i / l.query_blocks, i % l.query_blocks);
      }
    }
  }
  return TEXTINV_OK;
}

#endif /* TI_HAVE_SIMD */
