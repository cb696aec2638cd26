/* Attention: the reference's gradient, and the overrides. */
#include "harness.h"

static const struct attention_case {
  int n, heads, tq, tk, d, causal;
  int packed; /* q, k and v side by side in rows of 3 heads d */
} cases[] = {
  { 1, 1, 1, 1, 1, 0, 0 },      { 1, 2, 3, 5, 4, 0, 0 },     { 2, 2, 7, 7, 5, 1, 1 },
  { 1, 8, 64, 77, 40, 0, 0 },   { 1, 2, 130, 130, 40, 0, 1 }, { 2, 3, 77, 77, 64, 1, 0 },
  { 1, 2, 65, 200, 80, 0, 0 },  { 1, 1, 70, 66, 160, 0, 0 }, { 1, 2, 33, 64, 32, 0, 0 },
  { 1, 1, 96, 129, 96, 0, 0 },  { 1, 1, 40, 63, 128, 0, 0 }, { 1, 1, 31, 17, 33, 0, 0 },
  { 1, 1, 100, 1500, 16, 0, 0 }, { 1, 2, 1100, 1100, 8, 1, 1 }, { 1, 1, 5, 3, 48, 1, 0 },
  { 1, 3, 333, 301, 40, 0, 0 }, { 1, 3, 260, 260, 21, 1, 1 },
};

enum { Q, K, V, DO, O, LSE };

static textinv_status with_scratch(const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                                   const ti_attention_shape *s, int backward, void **out, void **in)
{
  textinv_status status;

  scratch_new(e, k->attention_scratch ? k->attention_scratch(e, dtype, s, backward) : 0);
  if (backward)
    status = k->attention_bwd(e, dtype, out[0], out[1], out[2], in[DO], in[O], in[LSE], in[Q],
                              in[K], in[V], s);
  else
    status = k->attention_fwd(e, dtype, out[0], out[1], in[Q], in[K], in[V], s);
  test_buffer_free(e->scratch);
  return status;
}

static textinv_status run_fwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                              void **out, void **in)
{
  return with_scratch(k, e, dtype, o->shape, 0, out, in);
}

/* columns between the heads of a packed gradient belong to others: give them values to compare */
static textinv_status run_bwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                              void **out, void **in)
{
  for (int i = 0; i < 3; i++) {
    for (size_t j = 0; out[i] && j < o->out[i].count; j++)
      ti_store(dtype, out[i], j, 1e-3f);
  }
  return with_scratch(k, e, dtype, o->shape, 1, out, in);
}

static textinv_status derive(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                             void **out, void **in)
{
  (void)out;
  return with_scratch(k, e, dtype, o->shape, 0, (void *[]){ in[O], in[LSE] }, in);
}

static size_t rows_of(const ti_attention_shape *s, int tokens, int stride)
{
  return ((size_t)s->n * tokens - 1) * stride + (size_t)s->heads * s->d;
}

static void test_all(void **state)
{
  (void)state;
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    const struct attention_case *c = &cases[i];
    const int stride = c->heads * c->d * (c->packed ? 3 : 1);
    const ti_attention_shape s = { .n = c->n, .heads = c->heads, .tq = c->tq, .tk = c->tk,
                                   .d = c->d, .q_stride = stride, .k_stride = stride,
                                   .v_stride = stride, .causal = c->causal,
                                   .scale = 1.0f / sqrtf((float)c->d) };
    const tensor q = { STORED, rows_of(&s, s.tq, stride), 1.5f, 0 };
    const tensor k = { STORED, rows_of(&s, s.tk, stride), 1.5f, 0 };
    const tensor o = { STORED, (size_t)s.n * s.tq * s.heads * s.d, 1, 0 };
    const tensor lse = { FLOAT, (size_t)s.n * s.heads * s.tq, 0, 0 };
    const op fwd = { .name = "attention fwd", .run = run_fwd, .shape = &s,
                     .in = { [Q] = q, [K] = k, [V] = k }, .out = { o, lse }, .f32_bound = 5e-6 };
    op bwd = { .name = "attention bwd", .run = run_bwd, .derive = derive, .shape = &s,
               .in = { [Q] = q, [K] = k, [V] = k, [DO] = o, [O] = o, [LSE] = lse },
               .out = { q, k, k }, .f32_bound = 1e-5 };
    static const int same[] = { Q, Q, K, K, V, V, -1 };

    check_overrides(&fwd);
    check_overrides(&bwd);
    if (c->tk > 1 && c->tk < 150 && !c->packed) {
      check_gradient(&fwd, Q, &bwd, DO, 0, same);
      check_gradient(&fwd, K, &bwd, DO, 1, same);
      check_gradient(&fwd, V, &bwd, DO, 2, same);
    }
    /* only some of the gradients */
    bwd.out[0].kind = NONE;
    check_overrides(&bwd);
    bwd.out[0].kind = STORED;
    bwd.out[1].kind = bwd.out[2].kind = NONE;
    check_overrides(&bwd);
  }
}

/* large scores: the softmax must not overflow, and lse says where they lie */
static void check_large_scores(const backend *b)
{
  enum { T = 40, D = 16 };
  const ti_attention_shape s = { 1, 1, T, T, D, D, D, D, 0, 1.0f };
  static float q[T * D], o[T * D], lse[T];
  ti_error error = { "" };
  ti_exec e = { .error = &error };
  ti_kernels k;

  backend_init(b, &k);
  test_seed(5);
  for (int i = 0; i < T * D; i++)
    q[i] = 30.0f * test_uniform();
  assert_int_equal(with_scratch(&k, &e, TI_F32, &s, 0, (void *[]){ o, lse }, (void *[]){ q, q, q }),
                   TEXTINV_OK);
  for (int i = 0; i < T * D; i++)
    assert_true(isfinite(o[i]) && fabsf(o[i]) <= 30.0f);
  for (int i = 0; i < T; i++)
    assert_true(lse[i] > 500.0f && lse[i] < 15000.0f);
}

static void test_large_scores(void **state)
{
  (void)state;
  for (size_t i = 0; i < COUNT_OF(backends); i++)
    check_large_scores(&backends[i]);
}

int main(void)
{
  const struct CMUnitTest tests[] = { cmocka_unit_test(test_all),
                                      cmocka_unit_test(test_large_scores) };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
