/* Matrix products: the reference's gradient, and the overrides. */
#include "harness.h"

static const struct linear_case {
  int rows, cin, cout, residual, bias;
} cases[] = {
  { 1, 1, 1, 0, 0 },      { 1, 320, 1280, 0, 1 }, { 3, 7, 5, 1, 1 },     { 77, 96, 40, 0, 0 },
  { 64, 40, 320, 0, 1 },  { 33, 31, 65, 1, 0 },   { 128, 64, 64, 1, 1 }, { 100, 129, 48, 0, 1 },
  { 256, 320, 80, 1, 1 }, { 2, 1280, 320, 0, 1 }, { 701, 97, 650, 1, 1 }, { 1500, 600, 33, 0, 1 },
};

/* backward: X is dy, RESIDUAL the gradient that is added */
enum { X, W, BIAS, RESIDUAL };

static textinv_status run_once(const ti_kernels *k, ti_exec *e, ti_dtype dtype, void *y, void **in,
                               const void *w, const void *residual, const ti_linear_shape *s,
                               int backward)
{
  return backward ? k->linear_bwd(e, dtype, y, in[X], w, residual, s)
                  : k->linear_fwd(e, dtype, y, in[X], w, in[BIAS], residual, s);
}

static textinv_status run(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype, void **out,
                          void **in, int backward)
{
  const ti_linear_shape *s = o->shape;
  const size_t count = o->in[W].count, size = ti_dtype_size(dtype);
  /* as in a file: anywhere */
  const int offset = s->rows % 2;
  char *file = malloc(count * size + 1);
  ti_weight w = { .name = "w", .data = file + offset, .count = count, .rank = 2,
                  .dims = { s->cout, s->cin }, .dtype = dtype };
  void *prepared = NULL;
  const void *plain = NULL;
  size_t scratch = 0;
  textinv_status status = TEXTINV_OK;

  assert_non_null(file);
  memcpy(file + offset, in[W], count * size);
  if (k->linear_prepare)
    status = k->linear_prepare(e, dtype, &prepared, &scratch, &w, NULL, s, !!in[RESIDUAL],
                               backward);
  if (status >= 0 && !prepared)
    status = ti_weight_plain(e->error, &plain, &w, dtype);
  assert_int_equal(status, TEXTINV_OK);
  scratch_new(e, scratch);
  e->prepared = prepared;
  status = run_once(k, e, dtype, out[0], in, plain, in[RESIDUAL], s, backward);
  /* the same where the residual lies */
  if (status >= 0 && in[RESIDUAL]) {
    const size_t bytes = o->out[0].count * size;
    void *y = test_buffer_new(dtype, o->out[0].count);

    memcpy(y, in[RESIDUAL], bytes);
    status = run_once(k, e, dtype, y, in, plain, y, s, backward);
    assert_memory_equal(y, out[0], bytes);
    test_buffer_free(y);
  }
  test_buffer_free(e->scratch);
  if (prepared)
    k->release(prepared);
  ti_weight_drop(&w);
  free(file);
  return status;
}

static textinv_status run_fwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                              void **out, void **in)
{
  return run(o, k, e, dtype, out, in, 0);
}

static textinv_status run_bwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                              void **out, void **in)
{
  return run(o, k, e, dtype, out, in, 1);
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
