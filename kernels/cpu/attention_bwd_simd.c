/*
 * The backward pass of attention with vectors; the formulas are in attention.c.
 *
 * A unit of work is one head and a range of its keys. For a block of keys against two vectors of
 * queries at a time, queries in the lanes,
 *
 *   S = K Q^T    dP = V dO^T    P = 2^(S - lse)    dS = P (dP - delta)
 *   dV += P dO    dK += dS Q    dQ^T [d, q] += K^T dS
 *
 * With TI_PAIRS the products take bf16 values, P and dS too. dQ is summed in scratch, one copy a
 * range; the ranges follow from the shape alone and are added in order, so that the bits do not
 * depend on threads.
 */
#include "attention_simd.h"

#ifdef TI_HAVE_SIMD

#include <math.h>

enum {
  UNITS = 16,                    /* to aim at */
  LEAST_BLOCKS = 8,              /* of keys that are worth a unit */
  ROW = TI_QUERIES / TI_PER_LANE /* floats of operands of queries */
};

/* sizes in floats */
typedef struct layout {
  int heads, at_once, key_blocks, query_blocks;
  int ranges, blocks_per_range;
  size_t width;          /* d, whole vectors */
  size_t kt, k;          /* K^T, V^T of a head, each; K */
  size_t qt, q;          /* Q^T, dO^T of a head, each; Q, dO, each */
  size_t scalars;        /* lse, delta of a head, each */
  size_t dqt;            /* dQ^T of a range */
  size_t head;           /* all of those */
  size_t p, acc, thread; /* P, dS and its operands of keys; dK, dV, each */
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
  l.kt = (size_t)l.key_blocks * TI_KEYS * ti_depth(s->d);
  l.k = (size_t)l.key_blocks * ti_depth(TI_KEYS) * s->d;
  l.qt = (size_t)l.query_blocks * TI_QUERIES * ti_depth(s->d);
  l.q = (size_t)l.query_blocks * ti_depth(TI_QUERIES) * l.width;
  l.scalars = (size_t)l.query_blocks * TI_QUERIES;
  l.dqt = (size_t)l.query_blocks * TI_QUERIES * s->d;
  l.head = 2 * l.kt + ti_room(l.k) + 2 * l.qt + 2 * l.q + 2 * l.scalars + l.ranges * l.dqt;
  l.p = (size_t)TI_KEYS * TI_QUERIES;
  l.acc = TI_KEYS * l.width;
  l.thread = (1 + TI_PER_LANE) * l.p + 2 * l.acc;
  return l;
}

size_t TI_FN(attention_bwd_floats)(const ti_attention_shape *s, int threads)
{
  const layout l = layout_of(s, threads);

  return l.at_once * l.head + threads * l.thread;
}

/* some heads at once, laid out in heads */
typedef struct job {
  ti_dtype dtype;
  void *dq, *dk, *dv;
  const void *d_o, *o;
  const float *lse;
  const void *q, *k, *v;
  const ti_attention_shape *s;
  layout l;
  float *heads, *work; /* [at once], [threads] */
  int first;           /* head */
} job;

/* one head, laid out */
typedef struct head_data {
  int head;
  float *kt, *vt, *k; /* operands of d [blocks, d, keys], twice; of keys [tk, d] */
  float *qt, *dot;    /* of d [blocks, d, queries] */
  float *q, *d_o;     /* of queries [tq, width] */
  float *lse, *delta; /* [tq], lse times log2(e) */
  float *dqt;         /* [ranges, blocks, d, queries] */
} head_data;

static head_data head_of(const job *j, size_t slot)
{
  const layout *l = &j->l;
  head_data h = { .head = j->first + (int)slot, .kt = j->heads + slot * l->head };

  h.vt = h.kt + l->kt;
  h.k = h.vt + l->kt;
  h.qt = h.k + ti_room(l->k);
  h.dot = h.qt + l->qt;
  h.q = h.dot + l->qt;
  h.d_o = h.q + l->q;
  h.lse = h.d_o + l->q;
  h.delta = h.lse + l->scalars;
  h.dqt = h.delta + l->scalars;
  return h;
}

TI_SIMD_INLINE void pack_keys_worker(ti_dtype dtype, const job *j, size_t i)
{
  const ti_attention_shape *s = j->s;
  const head_data h = head_of(j, i / j->l.key_blocks);
  const int from = (int)(i % j->l.key_blocks) * TI_KEYS;
  const int keys = s->tk - from < TI_KEYS ? s->tk - from : TI_KEYS;
  const size_t k_at = ti_head_at(s, s->k_stride, s->tk, h.head, from);
  const size_t v_at = ti_head_at(s, s->v_stride, s->tk, h.head, from);
  const size_t to = (size_t)from * ti_depth(s->d);

  ti_pack_transposed(dtype, TI_PER_LANE, h.kt + to, TI_KEYS, j->k, k_at, s->k_stride, keys, s->d);
  ti_pack_transposed(dtype, TI_PER_LANE, h.vt + to, TI_KEYS, j->v, v_at, s->v_stride, keys, s->d);
  ti_pack_rows(dtype, h.k + (size_t)ti_depth(from) * s->d, s->d, j->k, k_at, s->k_stride, keys,
               s->d);
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

TI_SIMD_INLINE void pack_queries_worker(ti_dtype dtype, const job *j, size_t i)
{
  const ti_attention_shape *s = j->s;
  const head_data h = head_of(j, i / j->l.query_blocks);
  const int from = (int)(i % j->l.query_blocks) * TI_QUERIES, all = s->tq - from;
  const int rows = all < TI_QUERIES ? all : TI_QUERIES;
  const size_t q_at = ti_head_at(s, s->q_stride, s->tq, h.head, from);
  const size_t o_stride = (size_t)s->heads * s->d,
               o_at = ti_head_at(s, o_stride, s->tq, h.head, from);
  const size_t width = j->l.width;
  const size_t lanes = (size_t)from * ti_depth(s->d), to = ti_depth(from) * width;

  if (rows < TI_QUERIES) {
    memset(h.qt + lanes, 0, (size_t)TI_QUERIES * ti_depth(s->d) * sizeof(float));
    memset(h.dot + lanes, 0, (size_t)TI_QUERIES * ti_depth(s->d) * sizeof(float));
    memset(h.q + to, 0, ti_depth(TI_QUERIES) * width * sizeof(float));
    memset(h.d_o + to, 0, ti_depth(TI_QUERIES) * width * sizeof(float));
  }
  ti_pack_transposed(dtype, TI_PER_LANE, h.qt + lanes, TI_QUERIES, j->q, q_at, s->q_stride, rows,
                     s->d);
  ti_pack_transposed(dtype, TI_PER_LANE, h.dot + lanes, TI_QUERIES, j->d_o, o_at, o_stride, rows,
                     s->d);
  ti_pack_rows(dtype, h.q + to, width, j->q, q_at, s->q_stride, rows, s->d);
  ti_pack_rows(dtype, h.d_o + to, width, j->d_o, o_at, o_stride, rows, s->d);
  for (int r = 0; r < TI_QUERIES; r++) {
    /* queries beyond the last one get p = 0 */
    h.lse[from + r] = r < rows ? 1.44269504f * j->lse[(size_t)h.head * s->tq + from + r] : 1e30f;
    h.delta[from + r] = r < rows ? row_dot(dtype, j->o, j->d_o, o_at + r * o_stride, s->d) : 0.0f;
  }
}

static TI_SIMD void pack_keys(const void *user, size_t i)
{
  const job *j = user;

  TI_DISPATCH(j->dtype, pack_keys_worker, j, i);
}

static TI_SIMD void pack_queries(const void *user, size_t i)
{
  const job *j = user;

  TI_DISPATCH(j->dtype, pack_queries_worker, j, i);
}

static TI_SIMD __attribute__((noinline)) void tile_1(TI_TILE_ARGUMENTS)
{
  switch (rows) {
    TI_TILE_CASES(1, ROW)
  }
}

static TI_SIMD __attribute__((noinline)) void tile_2(TI_TILE_ARGUMENTS)
{
  switch (rows) {
    TI_TILE_CASES(2, ROW)
  }
}

static TI_SIMD __attribute__((noinline)) void tile_3(TI_TILE_ARGUMENTS)
{
  switch (rows) {
    TI_TILE_CASES_3(ROW)
  }
}

/* acc[keys, width] += p[keys, queries] x[queries, width], operands of queries */
static void add_keys(float *acc, const float *p, const float *x, size_t width, int keys)
{
  for (size_t c = 0; c < width;) {
    const size_t left = (width - c) / TI_LANES;
    /* two and two rather than three and one */
    const int vecs = left == 4 ? 2 : left > 3 ? 3 : (int)left;
    const int step = ti_tile_rows(keys, vecs == 3 ? TI_TILE_ROWS_3 : TI_TILE_ROWS);

    for (int j = 0; j < keys; j += step) {
      const int rows = keys - j < step ? keys - j : step;
      const float *a = p + (size_t)j * ROW;
      float *to = acc + j * width + c;

      switch (vecs) {
      case 1: tile_1(rows, to, width, a, 1, x + c, width, ROW, 1); break;
      case 2: tile_2(rows, to, width, a, 1, x + c, width, ROW, 1); break;
      default: tile_3(rows, to, width, a, 1, x + c, width, ROW, 1); break;
      }
    }
    c += (size_t)vecs * TI_LANES;
  }
}

/* the operands of queries of a row */
TI_SIMD_INLINE void put_row(float *y, ti_vec low, ti_vec high)
{
#ifdef TI_PAIRS
  ti_put(y, ti_narrow(low, high));
#else
  ti_put(y, low);
  ti_put(y + TI_LANES, high);
#endif
}

/*
 * p: S becomes P; ds: dP becomes dS, both operands of queries, row by row before the next ones are
 * read; by_keys: dS as operands of keys, which is ds itself where these are floats
 */
static TI_SIMD void gradient_of_scores(float *p, float *ds, float *by_keys, const float *lse,
                                       const float *delta, const ti_attention_shape *s, int keys,
                                       int from, int q)
{
  const ti_vec scale = ti_set(ti_score_scale(s));

  for (int j = 0; j < keys; j += TI_PER_LANE) {
    ti_vec x[2][TI_PER_LANE], dx[2][TI_PER_LANE];

    TI_UNROLL
    for (int h = 0; h < 2; h++) {
      const ti_vec l = ti_get(lse + h * TI_LANES), d = ti_get(delta + h * TI_LANES);

      TI_UNROLL
      for (int i = 0; i < TI_PER_LANE; i++) {
        const size_t at = (size_t)(j + i) * TI_QUERIES + h * TI_LANES;
        const ti_vec e = ti_exp2(ti_fma(ti_get(p + at), scale, ti_set(0.0f) - l));

        x[h][i] = dx[h][i] = ti_set(0.0f);
        if (j + i < keys) {
          x[h][i] = ti_select(ti_sees(s, q + h * TI_LANES, from + j + i), e, ti_set(0.0f));
          dx[h][i] = x[h][i] * (ti_get(ds + at) - d);
        }
      }
      if (TI_PER_LANE > 1)
        ti_put(by_keys + ti_depth(j) * TI_QUERIES + h * TI_LANES, ti_operand(dx[h]));
    }
    TI_UNROLL
    for (int i = 0; i < TI_PER_LANE; i++) {
      put_row(p + (j + i) * ROW, x[0][i], x[1][i]);
      put_row(ds + (j + i) * ROW, dx[0][i], dx[1][i]);
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
static void unit(const job *j, float *work, size_t i)
{
  const ti_attention_shape *s = j->s;
  const layout *l = &j->l;
  const head_data h = head_of(j, i / l->ranges);
  const int range = (int)(i % l->ranges), want_kv = j->dk && j->dv;
  float *p = work, *ds = p + l->p, *by_keys = ds + (TI_PER_LANE - 1) * l->p;
  float *dk_acc = by_keys + l->p, *dv_acc = dk_acc + l->acc;
  float *dqt = h.dqt + range * l->dqt;
  const int first = range * l->blocks_per_range * TI_KEYS;
  const int end = first + l->blocks_per_range * TI_KEYS, last = end < s->tk ? end : s->tk;

  if (j->dq)
    memset(dqt, 0, l->dqt * sizeof(float));
  for (int from = first; from < last; from += TI_KEYS) {
    const int keys = s->tk - from < TI_KEYS ? s->tk - from : TI_KEYS;
    const size_t at = (size_t)from * ti_depth(s->d);

    memset(dk_acc, 0, 2 * l->acc * sizeof(float));
    for (int b = s->causal ? from / TI_QUERIES : 0; b < l->query_blocks; b++) {
      const int q = b * TI_QUERIES;
      const size_t lanes = (size_t)q * ti_depth(s->d), rows = ti_depth(q) * l->width;

      TI_FN(tile_queries)(keys, p, h.kt + at, TI_KEYS, h.qt + lanes, ti_depth(s->d), 0);
      TI_FN(tile_queries)(keys, ds, h.vt + at, TI_KEYS, h.dot + lanes, ti_depth(s->d), 0);
      gradient_of_scores(p, ds, by_keys, h.lse + q, h.delta + q, s, keys, from, q);
      if (want_kv) {
        add_keys(dv_acc, p, h.d_o + rows, l->width, keys);
        add_keys(dk_acc, ds, h.q + rows, l->width, keys);
      }
      if (j->dq)
        TI_FN(tile_queries)
      (s->d, dqt + (size_t)q * s->d, h.k + (size_t)ti_depth(from) * s->d, s->d, by_keys,
       ti_depth(keys), 1);
    }
    if (want_kv) {
      store_keys(j->dtype, j->dk, ti_head_at(s, s->k_stride, s->tk, h.head, from), s->k_stride,
                 dk_acc, l->width, keys, s->d, s->scale);
      store_keys(j->dtype, j->dv, ti_head_at(s, s->v_stride, s->tk, h.head, from), s->v_stride,
                 dv_acc, l->width, keys, s->d, 1.0f);
    }
  }
}

static void units(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;

  for (size_t i = from; i < to; i++)
    unit(j, j->work + thread * j->l.thread, i);
}

TI_SIMD_INLINE void store_queries_worker(ti_dtype dtype, const job *j, size_t i)
{
  const ti_attention_shape *s = j->s;
  const head_data h = head_of(j, i / j->l.query_blocks);
  const int from = (int)(i % j->l.query_blocks) * TI_QUERIES;
  const int rows = s->tq - from < TI_QUERIES ? s->tq - from : TI_QUERIES;
  float *sum = h.dqt + (size_t)from * s->d, scale[TI_QUERIES];

  for (int r = 1; r < j->l.ranges; r++) {
    for (int c = 0; c < s->d * TI_QUERIES; c += TI_LANES)
      ti_put(sum + c, ti_get(sum + c) + ti_get(sum + r * j->l.dqt + c));
  }
  for (int q = 0; q < TI_QUERIES; q++)
    scale[q] = s->scale;
  ti_unpack_transposed(dtype, j->dq, ti_head_at(s, s->q_stride, s->tq, h.head, from), s->q_stride,
                       sum, TI_QUERIES, rows, s->d, scale);
}

static TI_SIMD void store_queries(const void *user, size_t i)
{
  const job *j = user;

  TI_DISPATCH(j->dtype, store_queries_worker, j, i);
}

textinv_status TI_FN(attention_bwd)(ti_exec *e, ti_dtype dtype, void *dq, void *dk, void *dv,
                                    const void *do_, const void *o, const float *lse, const void *q,
                                    const void *k, const void *v, const ti_attention_shape *s)
{
  const size_t values = ti_attention_work(s);
  const int threads = ti_threads(e, values);
  job j = { dtype, dq, dk, dv, do_, o, lse, q, k, v, s, .l = layout_of(s, ti_team_size(e->team)) };
  const layout *l = &j.l;

  j.heads = e->scratch;
  j.work = j.heads + l->at_once * l->head;
  for (; j.first < l->heads; j.first += l->at_once) {
    const size_t count = l->heads - j.first < l->at_once ? l->heads - j.first : l->at_once;

    ti_for(e, values, count * l->key_blocks, pack_keys, &j);
    ti_for(e, values, count * l->query_blocks, pack_queries, &j);
    ti_team_for(e->team, threads, count * l->ranges, units, &j);
    if (dq)
      ti_for(e, values, count * l->query_blocks, store_queries, &j);
  }
  return TEXTINV_OK;
}

#endif /* TI_HAVE_SIMD */
