/* Matrix products: the reference's gradient, and the overrides. */
#include "matrix.h"

static const struct linear_case {
  int rows, cin, cout, residual, bias;
} cases[] = {
  { 1, 1, 1, 0, 0 },      { 1, 320, 1280, 0, 1 }, { 3, 7, 5, 1, 1 },     { 77, 96, 40, 0, 0 },
  { 64, 40, 320, 0, 1 },  { 33, 31, 65, 1, 0 },   { 128, 64, 64, 1, 1 }, { 100, 129, 48, 0, 1 },
  { 256, 320, 80, 1, 1 }, { 2, 1280, 320, 0, 1 }, { 701, 97, 650, 1, 1 }, { 1500, 600, 33, 0, 1 },
};

static textinv_status prepare(const ti_kernels *k, ti_exec *e, ti_dtype dtype, void **prepared,
                              size_t *scratch, ti_weight *w, const void *shape, int has_residual,
                              int backward)
{
  const ti_linear_shape *s = shape;

  w->rank = 2;
  memcpy(w->dims, (int[]){ s->cout, s->cin }, 2 * sizeof(int));
  return k->linear_prepare
           ? k->linear_prepare(e, dtype, prepared, scratch, w, NULL, s, has_residual, backward)
           : TEXTINV_OK;
}

static textinv_status run(const ti_kernels *k, ti_exec *e, ti_dtype dtype, void *y, void **in,
                          const void *w, const void *residual, const void *shape, int backward)
{
  return backward ? k->linear_bwd(e, dtype, y, in[X], w, residual, shape)
                  : k->linear_fwd(e, dtype, y, in[X], w, in[BIAS], residual, shape);
}

static const matrix linear = { prepare, run };

static textinv_status run_fwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                              void **out, void **in)
{
  return run_matrix(&linear, o, k, e, dtype, out, in, 0);
}

static textinv_status run_bwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                              void **out, void **in)
{
  return run_matrix(&linear, o, k, e, dtype, out, in, 1);
}

static void test_all(void **state)
{
  (void)state;
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    const struct linear_case *c = &cases[i];
    const ti_linear_shape s = { c->rows, c->cin, c->cout };
    const size_t x = (size_t)s.rows * s.cin, y = (size_t)s.rows * s.cout;
    const tensor w = { STORED, (size_t)s.cin * s.cout, 1.0f / sqrtf((float)s.cin), 0 };
    const op fwd = { .name = "linear fwd", .run = run_fwd, .shape = &s,
                     .in = { [X] = { STORED, x, 1, 0 }, [W] = w,
                             [BIAS] = { c->bias ? FLOAT : NONE, s.cout, 1, 0 },
                             [RESIDUAL] = { c->residual ? STORED : NONE, y, 1, 0 } },
                     .out = { { STORED, y, 0, 0 } } };
    op bwd = { .name = "linear bwd", .run = run_bwd, .shape = &s,
               .in = { [X] = { STORED, y, 1, 0 }, [W] = w }, .out = { { STORED, x, 0, 0 } } };

    check_overrides(&fwd);
    for (int other = 0; other < 2; other++) {
      check_gradient(&fwd, X, &bwd, X, 0, (const int[]){ W, W, -1 });
      check_overrides(&bwd);
      bwd.in[RESIDUAL] = (tensor){ STORED, x, 1, 0 };
      bwd.other = RESIDUAL;
    }
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = { cmocka_unit_test(test_all) };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
