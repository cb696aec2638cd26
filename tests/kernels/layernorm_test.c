/* Layer normalisation: the reference's gradient, and the overrides. */
#include "in_place.h"

static const ti_layernorm_shape shapes[] = {
  { 1, 1, 1e-5f },  { 3, 5, 1e-5f },    { 1, 16, 1e-5f },   { 77, 768, 1e-5f },
  { 7, 33, 1e-5f }, { 64, 320, 1e-5f }, { 5, 1280, 1e-5f }, { 2, 2049, 1e-6f },
  { 131, 320, 1e-5f },
};

/* OTHER: a gradient that is added */
enum { X, WEIGHT, BIAS, DY, MEAN, RSTD, OTHER };

static textinv_status run_fwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                              void **out, void **in)
{
  return k->layernorm_fwd(e, dtype, out[0], out[1], out[2], in[X], in[WEIGHT], in[BIAS], o->shape);
}

static textinv_status run_bwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                              void **out, void **in)
{
  return k->layernorm_bwd(e, dtype, out[0], in[DY], in[X], in[MEAN], in[RSTD], in[WEIGHT],
                          in[OTHER], o->shape);
}

/* y over x, dx over dy, dx over the other gradient */
static textinv_status run_in_place(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                                   void **out, void **in)
{
  void *y[] = { out[0], in[MEAN], in[RSTD] };
  textinv_status status = run_over(run_fwd, X, o, k, e, dtype, y, in);

  if (status >= 0)
    status = run_over(run_bwd, DY, o, k, e, dtype, &out[1], in);
  return status < 0 ? status : run_over(run_bwd, OTHER, o, k, e, dtype, &out[2], in);
}

static textinv_status derive(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                             void **out, void **in)
{
  void *y = test_buffer_new(dtype, o->in[X].count);
  const textinv_status status = k->layernorm_fwd(e, dtype, y, in[MEAN], in[RSTD], in[X], in[WEIGHT],
                                                 in[BIAS], o->shape);

  (void)out;
  test_buffer_free(y);
  return status;
}

static void test_all(void **state)
{
  (void)state;
  for (size_t i = 0; i < COUNT_OF(shapes); i++) {
    const ti_layernorm_shape *s = &shapes[i];
    const size_t count = (size_t)s->rows * s->c;
    const tensor x = { STORED, count, 1.5f, 0.7f }, y = { STORED, count, 1, 0 };
    const tensor weight = { FLOAT, s->c, 0.5f, 1 }, bias = { FLOAT, s->c, 0.5f, 0 };
    const tensor stats = { FLOAT, s->rows, 0, 0 };
    const op fwd = { .name = "layernorm fwd", .run = run_fwd, .shape = s,
                     .in = { [X] = x, [WEIGHT] = weight, [BIAS] = bias },
                     .out = { y, stats, stats } };
    op bwd = { .name = "layernorm bwd", .run = run_bwd, .derive = derive, .shape = s,
               .in = { [X] = x, [WEIGHT] = weight, [BIAS] = bias, [DY] = y, [MEAN] = stats,
                       [RSTD] = stats },
               .out = { y } }, in_place;

    check_overrides(&fwd);
    for (int other = 0; other < 2; other++) {
      check_overrides(&bwd);
      if (s->c > 1)
        check_gradient(&fwd, X, &bwd, DY, 0, (const int[]){ X, X, WEIGHT, WEIGHT, BIAS, BIAS, -1 });
      in_place = bwd;
      in_place.name = "layernorm in place";
      in_place.run = run_in_place;
      in_place.out[1] = y;
      if (other)
        in_place.out[2] = y;
      check_overrides(&in_place);
      bwd.in[OTHER] = y;
      bwd.other = OTHER;
    }
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = { cmocka_unit_test(test_all) };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
