/* Convolution: the reference's gradient, and the overrides. */
#include "matrix.h"

/* n, h, w, cin, cout, kernel, stride, pads top left bottom right, up, residual, bias */
typedef struct conv_case {
  int n, h, w, cin, cout, k, stride, pad[4], up, residual, bias;
} conv_case;

static const conv_case cases[] = {
  { 1, 1, 1, 1, 1, 1, 1, { 0, 0, 0, 0 }, 1, 0, 0 },
  { 1, 1, 1, 3, 5, 3, 1, { 1, 1, 1, 1 }, 1, 0, 1 },
  { 2, 5, 7, 3, 33, 3, 1, { 1, 1, 1, 1 }, 1, 1, 1 },
  { 1, 9, 6, 17, 31, 3, 2, { 1, 1, 1, 1 }, 1, 0, 1 },
  { 1, 8, 8, 32, 32, 3, 2, { 0, 0, 1, 1 }, 1, 0, 1 },  /* the VAE encoder's */
  { 1, 8, 8, 4, 64, 3, 1, { 1, 1, 1, 1 }, 1, 0, 1 },   /* conv_in */
  { 2, 8, 8, 9, 64, 3, 1, { 1, 1, 1, 1 }, 1, 0, 1 },   /* that of inpainting */
  { 1, 16, 16, 64, 4, 3, 1, { 1, 1, 1, 1 }, 1, 0, 1 }, /* conv_out */
  { 2, 16, 16, 64, 64, 3, 1, { 1, 1, 1, 1 }, 1, 1, 1 },
  { 1, 13, 18, 80, 48, 3, 1, { 1, 1, 1, 1 }, 1, 1, 0 },
  { 1, 16, 16, 96, 64, 1, 1, { 0, 0, 0, 0 }, 1, 1, 1 },
  { 1, 8, 8, 64, 64, 3, 1, { 1, 1, 1, 1 }, 2, 0, 1 },
  { 2, 3, 5, 19, 7, 3, 1, { 1, 1, 1, 1 }, 2, 1, 1 },
  { 1, 16, 16, 32, 32, 2, 1, { 1, 1, 1, 1 }, 2, 0, 1 }, /* an even side: the phases differ */
  { 1, 16, 16, 32, 32, 3, 2, { 1, 1, 1, 1 }, 1, 0, 1 },
  { 1, 4, 4, 320, 320, 3, 1, { 1, 1, 1, 1 }, 1, 0, 1 },
  { 1, 32, 32, 40, 40, 3, 1, { 1, 1, 1, 1 }, 1, 0, 1 },
  { 1, 37, 25, 35, 70, 3, 1, { 1, 1, 1, 1 }, 1, 1, 1 },  /* more than a block of rows */
  { 2, 20, 20, 24, 400, 3, 1, { 1, 1, 1, 1 }, 2, 0, 1 }, /* and of columns */
  { 1, 38, 39, 48, 20, 3, 2, { 0, 0, 1, 1 }, 1, 0, 1 },
  { 2, 10, 12, 64, 40, 3, 2, { 2, 1, 0, 1 }, 1, 0, 1 },
};

static textinv_status prepare(const ti_kernels *k, ti_exec *e, ti_dtype dtype, void **prepared,
                              size_t *scratch, ti_weight *w, const void *shape, int has_residual,
                              int backward)
{
  const ti_conv2d_shape *s = shape;

  w->rank = 4;
  memcpy(w->dims, (int[]){ s->cout, s->cin, s->kh, s->kw }, 4 * sizeof(int));
  return k->conv2d_prepare
           ? k->conv2d_prepare(e, dtype, prepared, scratch, w, NULL, s, has_residual, backward)
           : TEXTINV_OK;
}

static textinv_status run(const ti_kernels *k, ti_exec *e, ti_dtype dtype, void *y, void **in,
                          const void *w, const void *residual, const void *shape, int backward)
{
  return backward ? k->conv2d_bwd(e, dtype, y, in[X], w, residual, shape)
                  : k->conv2d_fwd(e, dtype, y, in[X], w, in[BIAS], residual, shape);
}

static const matrix conv2d = { prepare, run };

static textinv_status run_fwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                              void **out, void **in)
{
  return run_matrix(&conv2d, o, k, e, dtype, out, in, 0);
}

static textinv_status run_bwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                              void **out, void **in)
{
  return run_matrix(&conv2d, o, k, e, dtype, out, in, 1);
}

static void describe(const conv_case *c, int other, ti_conv2d_shape *s, op *fwd, op *bwd)
{
  *s = (ti_conv2d_shape){ .n = c->n, .h = c->h, .w = c->w, .cin = c->cin, .cout = c->cout,
                          .kh = c->k, .kw = c->k, .stride = c->stride, .pad_top = c->pad[0],
                          .pad_left = c->pad[1], .pad_bottom = c->pad[2], .pad_right = c->pad[3],
                          .up = c->up };
  s->oh = (s->h * s->up + s->pad_top + s->pad_bottom - s->kh) / s->stride + 1;
  s->ow = (s->w * s->up + s->pad_left + s->pad_right - s->kw) / s->stride + 1;

  const size_t x = (size_t)s->n * s->h * s->w * s->cin, y = (size_t)s->n * s->oh * s->ow * s->cout;
  const size_t w = (size_t)s->cout * s->cin * s->kh * s->kw;
  const float w_scale = 1.0f / sqrtf((float)(s->cin * s->kh * s->kw));

  *fwd = (op){ .name = "conv2d fwd", .run = run_fwd, .shape = s, .f32_bound = 1e-5,
               .in = { [X] = { STORED, x, 1, 0 }, [W] = { STORED, w, w_scale, 0 },
                       [BIAS] = { c->bias ? FLOAT : NONE, s->cout, 1, 0 },
                       [RESIDUAL] = { c->residual ? STORED : NONE, y, 1, 0 } },
               .out = { { STORED, y, 0, 0 } } };
  *bwd = (op){ .name = "conv2d bwd", .run = run_bwd, .shape = s, .f32_bound = 1e-5,
               .other = other ? RESIDUAL : 0,
               .in = { [X] = { STORED, y, 1, 0 }, [W] = { STORED, w, w_scale, 0 },
                       [RESIDUAL] = { other ? STORED : NONE, x, 1, 0 } },
               .out = { { STORED, x, 0, 0 } } };
}

static void test_gradient(void **state)
{
  (void)state;
  for (size_t i = 0; i < 2 * COUNT_OF(cases); i++) {
    ti_conv2d_shape s;
    op fwd, bwd;

    describe(&cases[i / 2], i % 2, &s, &fwd, &bwd);
    if (fwd.in[W].count < 20000)
      check_gradient(&fwd, X, &bwd, X, 0, (const int[]){ W, W, -1 });
  }
}

static void test_overrides(void **state)
{
  (void)state;
  for (size_t i = 0; i < 2 * COUNT_OF(cases); i++) {
    ti_conv2d_shape s;
    op fwd, bwd;

    describe(&cases[i / 2], i % 2, &s, &fwd, &bwd);
    if (i % 2 == 0)
      check_overrides(&fwd);
    check_overrides(&bwd);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = { cmocka_unit_test(test_gradient),
                                      cmocka_unit_test(test_overrides) };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
