/*
 * Attention with vectors; the formulas are in attention.c.
 *
 * Nothing of size tq x tk exists. Lanes are queries: for two vectors of them and a block of keys
 *
 *   S [keys, q] = K Q^T        P = 2^(S - m)        O [d, q] = O 2^(m_old - m) + V^T P
 *
 * with S in units of log2(e) / scale and m the running maximum, so that maxima and sums run down
 * the rows and need no shuffles. K (transposed, by blocks of keys) and V are laid out once for a
 * head. With TI_PAIRS both products take bf16 values, P too; all else is float.
 */
#include "attention_simd.h"

#ifdef TI_HAVE_SIMD

#include <math.h>

/* where things lie in scratch, in floats */
typedef struct layout {
  int heads, at_once, key_blocks, query_blocks;
  size_t k, v, head;      /* sizes for a head */
  size_t q, o, p, thread; /* sizes for a thread */
} layout;

static layout layout_of(const ti_attention_shape *s, int threads)
{
  layout l = { .heads = s->n * s->heads,
               .key_blocks = ti_blocks(s->tk, TI_KEYS),
               .query_blocks = ti_blocks(s->tq, TI_QUERIES) };

  l.at_once = l.heads < threads ? l.heads : threads;
  l.k = (size_t)l.key_blocks * TI_KEYS * ti_depth(s->d);
  l.v = ti_room((size_t)l.key_blocks * ti_depth(TI_KEYS) * s->d);
  l.head = l.k + l.v;
  l.q = (size_t)ti_depth(s->d) * TI_QUERIES;
  l.o = (size_t)s->d * TI_QUERIES;
  l.p = (size_t)TI_KEYS * TI_QUERIES;
  l.thread = l.q + l.o + l.p;
  return l;
}

static size_t fwd_floats(const ti_attention_shape *s, int threads)
{
  const layout l = layout_of(s, threads);

  return l.at_once * l.head + threads * l.thread;
}

size_t TI_FN(attention_scratch)(const ti_exec *e, ti_dtype dtype, const ti_attention_shape *s,
                                int backward)
{
  const int threads = ti_team_size(e->team);

  (void)dtype;
  return sizeof(float) *
         (backward ? TI_FN(attention_bwd_floats)(s, threads) : fwd_floats(s, threads));
}

static TI_SIMD __attribute__((noinline)) void tile(TI_TILE_ARGUMENTS)
{
  switch (rows) {
    TI_TILE_CASES(2, 1)
  }
}

void TI_FN(tile_queries)(int rows, float *c, const float *a, size_t a_k, const float *b, int k,
                         int accumulate)
{
  const int step = ti_tile_rows(rows, TI_TILE_ROWS);

  for (int r = 0; r < rows; r += step)
    tile(rows - r < step ? rows - r : step, c + (size_t)r * TI_QUERIES, TI_QUERIES, a + r, a_k, b,
         TI_QUERIES, k, accumulate);
}

/* some heads at once, laid out in heads */
typedef struct job {
  ti_dtype dtype;
  void *o;
  float *lse;
  const void *q, *k, *v;
  const ti_attention_shape *s;
  layout l;
  float *heads, *work; /* [at once], [threads] */
  int first;           /* head */
} job;

TI_SIMD_INLINE void pack_worker(ti_dtype dtype, const job *j, size_t i)
{
  const ti_attention_shape *s = j->s;
  const size_t slot = i / j->l.key_blocks;
  const int head = j->first + (int)slot, from = (int)(i % j->l.key_blocks) * TI_KEYS;
  const int keys = s->tk - from < TI_KEYS ? s->tk - from : TI_KEYS;
  float *k = j->heads + slot * j->l.head, *v = k + j->l.k;

  ti_pack_transposed(dtype, TI_PER_LANE, k + (size_t)from * ti_depth(s->d), TI_KEYS, j->k,
                     ti_head_at(s, s->k_stride, s->tk, head, from), s->k_stride, keys, s->d);
  ti_pack_rows(dtype, v + (size_t)ti_depth(from) * s->d, s->d, j->v,
               ti_head_at(s, s->v_stride, s->tk, head, from), s->v_stride, keys, s->d);
}

static TI_SIMD void pack(const void *user, size_t i)
{
  const job *j = user;

  TI_DISPATCH(j->dtype, pack_worker, j, i);
}

/*
 * One vector of queries against a block of scores: s becomes p, operands of keys; m and l go on;
 * returns what sums so far are to be scaled by.
 */
TI_SIMD_INLINE ti_vec softmax_lanes(float *p, ti_vec *m, ti_vec *l, int keys,
                                    const ti_attention_shape *s, int q, int from)
{
  const ti_vec minus = ti_set(-INFINITY), k = ti_set(ti_score_scale(s));
  ti_vec max = *m, odd_max = max, scale, shift, sum[2] = { ti_set(0.0f), ti_set(0.0f) };

  /* two and two keys, for the chains of maxima and sums are what takes time */
  if (keys % 2)
    ti_put(p + keys * TI_QUERIES, minus);
  for (int j = 0; s->causal && j < keys; j++)
    ti_put(p + j * TI_QUERIES,
           ti_select(ti_sees(s, q, from + j), ti_get(p + j * TI_QUERIES), minus));
  for (int j = 0; j < keys; j += 2) {
    max = ti_max(max, ti_get(p + j * TI_QUERIES));
    odd_max = ti_max(odd_max, ti_get(p + (j + 1) * TI_QUERIES));
  }
  max = ti_max(max, odd_max);
  shift = ti_set(0.0f) - k * max;
  for (int j = 0; j < keys; j += 2) {
    ti_vec x[2];

    TI_UNROLL
    for (int i = 0; i < 2; i++) {
      x[i] = ti_exp2(ti_fma(ti_get(p + (j + i) * TI_QUERIES), k, shift));
      sum[i] += x[i];
    }
    for (int i = 0; i < 2; i += TI_PER_LANE)
      ti_put(p + ti_depth(j + i) * TI_QUERIES, ti_operand(x + i));
  }
  scale = ti_exp2(k * (*m - max)); /* exactly 1 where the maximum stays */
  *l = ti_fma(*l, scale, sum[0] + sum[1]);
  *m = max;
  return scale;
}

TI_SIMD_INLINE void rescale(float *o, int d, ti_vec a, ti_vec b)
{
  const ti_vec one = ti_set(1.0f);

  if (ti_all_equal(a, one) && ti_all_equal(b, one))
    return;
  for (int c = 0; c < d; c++, o += TI_QUERIES) {
    ti_put(o, ti_get(o) * a);
    ti_put(o + TI_LANES, ti_get(o + TI_LANES) * b);
  }
}

/* o [d, queries] and lse [queries] of a block of queries; q [d, queries], p [keys, queries] */
static TI_SIMD void query_block(float *o, float *p, float *lse, const float *q, const float *k,
                                const float *v, const ti_attention_shape *s, int first)
{
  ti_vec m[2], l[2], scale[2];
  const int last = first + TI_QUERIES < s->tq ? first + TI_QUERIES : s->tq;
  const int seen = s->causal && last < s->tk ? last : s->tk;
  _Alignas(64) float max[TI_QUERIES], sum[TI_QUERIES];

  memset(o, 0, (size_t)s->d * TI_QUERIES * sizeof(float));
  for (int h = 0; h < 2; h++) {
    m[h] = ti_set(-INFINITY);
    l[h] = ti_set(0.0f);
  }
  for (int from = 0; from < seen; from += TI_KEYS) {
    const int keys = s->tk - from < TI_KEYS ? s->tk - from : TI_KEYS;

    TI_FN(tile_queries)
    (keys, p, k + (size_t)from * ti_depth(s->d), TI_KEYS, q, ti_depth(s->d), 0);
    for (int h = 0; h < 2; h++)
      scale[h] = softmax_lanes(p + h * TI_LANES, &m[h], &l[h], keys, s, first + h * TI_LANES, from);
    rescale(o, s->d, scale[0], scale[1]);
    TI_FN(tile_queries)
    (s->d, o, v + (size_t)ti_depth(from) * s->d, s->d, p, ti_depth(keys), 1);
  }
  for (int h = 0; h < 2; h++) {
    ti_put(max + h * TI_LANES, m[h]);
    ti_put(sum + h * TI_LANES, l[h]);
  }
  for (int i = 0; i < TI_QUERIES; i++) {
    lse[i] = s->scale * max[i] + 0.693147181f * log2f(sum[i]);
    sum[i] = 1.0f / sum[i];
  }
  for (int c = 0; c < s->d; c++) {
    for (int h = 0; h < TI_QUERIES; h += TI_LANES) {
      float *at = o + (size_t)c * TI_QUERIES + h;

      ti_put(at, ti_get(at) * ti_get(sum + h));
    }
  }
}

TI_SIMD_INLINE void fwd_worker(ti_dtype dtype, const job *j, float *work, size_t i)
{
  const ti_attention_shape *s = j->s;
  const size_t slot = i / j->l.query_blocks;
  const int head = j->first + (int)slot, first = (int)(i % j->l.query_blocks) * TI_QUERIES;
  const int rows = s->tq - first < TI_QUERIES ? s->tq - first : TI_QUERIES;
  const float *k = j->heads + slot * j->l.head, *v = k + j->l.k;
  float *q = work, *o = q + j->l.q, *p = o + j->l.o;
  _Alignas(64) float lse[TI_QUERIES], one[TI_QUERIES];

  for (int r = 0; r < TI_QUERIES; r++)
    one[r] = 1.0f;
  if (rows < TI_QUERIES)
    memset(q, 0, j->l.q * sizeof(float));
  ti_pack_transposed(dtype, TI_PER_LANE, q, TI_QUERIES, j->q,
                     ti_head_at(s, s->q_stride, s->tq, head, first), s->q_stride, rows, s->d);
  query_block(o, p, lse, q, k, v, s, first);
  ti_unpack_transposed(dtype, j->o, ti_head_at(s, s->heads * s->d, s->tq, head, first),
                       (size_t)s->heads * s->d, o, TI_QUERIES, rows, s->d, one);
  if (j->lse)
    memcpy(j->lse + (size_t)head * s->tq + first, lse, rows * sizeof(float));
}

static TI_SIMD void fwd(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;

  for (size_t i = from; i < to; i++)
    TI_DISPATCH(j->dtype, fwd_worker, j, j->work + thread * j->l.thread, i);
}

textinv_status TI_FN(attention_fwd)(ti_exec *e, ti_dtype dtype, void *o, float *lse, const void *q,
                                    const void *k, const void *v, const ti_attention_shape *s)
{
  const size_t values = ti_attention_work(s);
  const int threads = ti_threads(e, values);
  job j = {
    dtype, o, lse, q, k, v, s, .l = layout_of(s, ti_team_size(e->team)), .heads = e->scratch
  };
  const layout *l = &j.l;

  j.work = j.heads + l->at_once * l->head;
  for (; j.first < l->heads; j.first += l->at_once) {
    const size_t count = l->heads - j.first < l->at_once ? l->heads - j.first : l->at_once;

    ti_for(e, values, count * l->key_blocks, pack, &j);
    ti_team_for(e->team, threads, count * l->query_blocks, fwd, &j);
  }
  return TEXTINV_OK;
}

#endif /* TI_HAVE_SIMD */
