/* Activations and gated GELU: the reference's gradient, and the overrides. */
#include "harness.h"

enum { X, DY };

static textinv_status activation_fwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                                     void **out, void **in)
{
  return k->activation_fwd(e, dtype, out[0], in[X], o->shape);
}

static textinv_status activation_bwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                                     void **out, void **in)
{
  return k->activation_bwd(e, dtype, out[0], in[DY], in[X], o->shape);
}

static textinv_status geglu_fwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                                void **out, void **in)
{
  return k->geglu_fwd(e, dtype, out[0], in[X], o->shape);
}

static textinv_status geglu_bwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                                void **out, void **in)
{
  return k->geglu_bwd(e, dtype, out[0], in[DY], in[X], o->shape);
}

static void check(const op *fwd, const op *bwd)
{
  check_gradient(fwd, X, bwd, DY, 0, (const int[]){ X, X, -1 });
  check_overrides(fwd);
  check_overrides(bwd);
}

static void test_activation(void **state)
{
  static const size_t counts[] = { 1, 15, 16, 31, 1000, 50001 };

  (void)state;
  for (int kind = TI_SILU; kind <= TI_QUICK_GELU; kind++) {
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
      const ti_activation_shape s = { counts[i], (ti_activation)kind };
      const tensor x = { STORED, counts[i], 2, 0 };

      check(&(op){ .name = "activation fwd", .run = activation_fwd, .shape = &s, .in = { x },
                   .out = { x } },
            &(op){ .name = "activation bwd", .run = activation_bwd, .shape = &s, .in = { x, x },
                   .out = { x } });
    }
  }
}

static void test_geglu(void **state)
{
  static const ti_geglu_shape shapes[] = {
    { 1, 1 }, { 3, 17 }, { 64, 1280 }, { 5, 160 }, { 9, 7 }
  };

  (void)state;
  for (size_t i = 0; i < COUNT_OF(shapes); i++) {
    const ti_geglu_shape *s = &shapes[i];
    const tensor y = { STORED, (size_t)s->rows * s->c, 1, 0 }, x = { STORED, 2 * y.count, 2, 0 };

    check(&(op){ .name = "geglu fwd", .run = geglu_fwd, .shape = s, .in = { x }, .out = { y } },
          &(op){ .name = "geglu bwd", .run = geglu_bwd, .shape = s, .in = { x, y }, .out = { x } });
  }
}

/* far from zero: no overflow, no NaN, exact limits */
static void check_limits(const backend *b)
{
  static const float xs[] = { -INFINITY, -1e30f, -200, -90, -88, -20, 0, 20, 88, 90, 200, 1e30f };
  ti_error error = { "" };
  ti_exec e = { .error = &error };
  ti_kernels k;

  backend_init(b, &k);
  for (int kind = TI_SILU; kind <= TI_QUICK_GELU; kind++) {
    const ti_activation_shape s = { COUNT_OF(xs), (ti_activation)kind };
    float y[COUNT_OF(xs)];

    /* without -infinity, whose product with 0 is NaN in the formula too */
    k.activation_fwd(&e, TI_F32, y, xs, &s);
    for (size_t i = 1; i < COUNT_OF(xs); i++) {
      const float limit = xs[i] > 0 ? xs[i] : 0.0f;

      assert_true(isfinite(y[i]));
      assert_true(fabsf(y[i] - limit) <= 1e-5f * fabsf(limit) + 1e-7f);
    }
  }
}

static void test_limits(void **state)
{
  (void)state;
  for (size_t i = 0; i < COUNT_OF(backends); i++)
    check_limits(&backends[i]);
}

/* a place of the table that vectors have code for and that is left to the reference is only slow */
static void vectors_are_installed(void **state)
{
  ti_kernels reference;
  int here = 0;

  (void)state;
  ti_kernels_init_cpu(&reference);
  for (size_t i = 0; i < COUNT_OF(backends); i++) {
    ti_kernels k;

    if (backends[i].init != ti_kernels_init_simd || !backend_is_here(&backends[i]))
      continue;
    here++;
    backend_init(&backends[i], &k);
#define OVERRIDES(member)                                                                          \
  if (k.member == reference.member)                                                                \
  fail_msg("%s: " #member " is the reference's", backends[i].name)
    OVERRIDES(conv2d_prepare);
    OVERRIDES(conv2d_fwd);
    OVERRIDES(conv2d_bwd);
    OVERRIDES(linear_prepare);
    OVERRIDES(linear_fwd);
    OVERRIDES(linear_bwd);
    OVERRIDES(groupnorm_fwd);
    OVERRIDES(groupnorm_bwd);
    OVERRIDES(layernorm_fwd);
    OVERRIDES(layernorm_bwd);
    OVERRIDES(attention_fwd);
    OVERRIDES(attention_bwd);
    OVERRIDES(activation_fwd);
    OVERRIDES(activation_bwd);
    OVERRIDES(geglu_fwd);
    OVERRIDES(geglu_bwd);
    OVERRIDES(add);
    OVERRIDES(sum_pixels);
    OVERRIDES(upsample_bwd);
#undef OVERRIDES
  }
  if (!here)
    skip();
}

int main(void)
{
  const struct CMUnitTest tests[] = { cmocka_unit_test(test_activation),
                                      cmocka_unit_test(test_geglu), cmocka_unit_test(test_limits),
                                      cmocka_unit_test(vectors_are_installed) };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
