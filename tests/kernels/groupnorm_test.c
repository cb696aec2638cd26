/* Group normalisation: the reference's gradient, and the overrides. */
#include "in_place.h"

static const ti_groupnorm_shape shapes[] = {
  { 1, 1, 1, 1, 0, 1e-5f },       { 2, 5, 6, 3, 0, 1e-5f },     { 2, 7, 6, 3, 1, 1e-5f },
  { 1, 64, 320, 32, 1, 1e-5f },   { 2, 33, 320, 32, 0, 1e-6f }, { 1, 256, 128, 32, 1, 1e-6f },
  { 1, 9, 1920, 32, 1, 1e-5f },   { 3, 1, 64, 32, 1, 1e-5f },   { 1, 65, 96, 5 + 1, 1, 1e-5f },
  { 1, 4, 1200, 2, 1, 1e-5f },    { 1, 30, 35, 7, 1, 1e-5f },   { 1, 16, 640, 32, 1, 1e-5f },
  { 1, 1024, 32, 32, 0, 1e-5f },  { 2, 150, 320, 32, 1, 1e-5f }, { 1, 1031, 66, 6, 0, 1e-5f },
};

/* OTHER: a gradient that is added */
enum { X, WEIGHT, BIAS, DY, MEAN, RSTD, OTHER, SHIFT };

static textinv_status run_fwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                              void **out, void **in)
{
  return k->groupnorm_fwd(e, dtype, out[0], out[1], out[2], in[X], in[SHIFT], in[WEIGHT], in[BIAS],
                          o->shape);
}

static textinv_status run_bwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                              void **out, void **in)
{
  return k->groupnorm_bwd(e, dtype, out[0], in[DY], in[X], in[SHIFT], in[MEAN], in[RSTD],
                          in[WEIGHT], in[BIAS], in[OTHER], o->shape);
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
  const textinv_status status = k->groupnorm_fwd(e, dtype, y, in[MEAN], in[RSTD], in[X], in[SHIFT],
                                                 in[WEIGHT], in[BIAS], o->shape);

  (void)out;
  test_buffer_free(y);
  return status;
}

static void test_all(void **state)
{
  (void)state;
  for (size_t i = 0; i < COUNT_OF(shapes); i++) {
    const ti_groupnorm_shape *s = &shapes[i];
    const size_t count = (size_t)s->n * s->hw * s->c, groups = (size_t)s->n * s->groups;
    const tensor x = { STORED, count, 1.5f, 0.7f }, y = { STORED, count, 1, 0 };
    const tensor weight = { FLOAT, s->c, 0.5f, 1 }, bias = { FLOAT, s->c, 0.5f, 0 };
    const tensor stats = { FLOAT, groups, 0, 0 };
    /* two values may lie so close that the rounding of mean - shift shows */
    const int shifted = i % 2 && s->hw > 1;
    const tensor shift = { shifted ? STORED : NONE, (size_t)s->n * s->c, 1, 0.3f };
    const op fwd = { .name = "groupnorm fwd", .run = run_fwd, .shape = s,
                     .in = { [X] = x, [WEIGHT] = weight, [BIAS] = bias, [SHIFT] = shift },
                     .out = { y, stats, stats } };
    op bwd = { .name = "groupnorm bwd", .run = run_bwd, .derive = derive, .shape = s,
               .in = { [X] = x, [WEIGHT] = weight, [BIAS] = bias, [DY] = y, [MEAN] = stats,
                       [RSTD] = stats, [SHIFT] = shift },
               .out = { y } }, in_place;

    check_overrides(&fwd);
    for (int other = 0; other < 2; other++) {
      check_overrides(&bwd);
      /* one value has no spread, and its gradient is a difference of equals */
      if (s->hw > 1)
        check_gradient(&fwd, X, &bwd, DY, 0,
                       (const int[]){ X, X, WEIGHT, WEIGHT, BIAS, BIAS, shifted ? SHIFT : -1,
                                      SHIFT, -1 });
      in_place = bwd;
      in_place.name = "groupnorm in place";
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
