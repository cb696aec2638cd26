/* Sums, upsampling and copies: gradients of the reference, and the overrides. */
#include "harness.h"

enum { A, B };

static textinv_status add(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype, void **out,
                          void **in)
{
  return k->add(e, dtype, out[0], in[A], in[B], o->in[A].count);
}

/* y[n, hw, c] = x[n, hw, c] + v[n, c], whose gradient for v is sum_pixels */
static textinv_status add_vector(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                                 void **out, void **in)
{
  const ti_sum_pixels_shape *s = o->shape;

  (void)k, (void)e;
  for (int i = 0; i < s->n * s->hw * s->c; i++) {
    const size_t of_vector = (size_t)(i / s->c / s->hw * s->c + i % s->c);

    ti_store(dtype, out[0], i, ti_load(dtype, in[A], i) + ti_load(dtype, in[B], of_vector));
  }
  return TEXTINV_OK;
}

static textinv_status sum_pixels(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                                 void **out, void **in)
{
  return k->sum_pixels(e, dtype, out[0], in[A], o->shape);
}

static textinv_status upsample_fwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                                   void **out, void **in)
{
  return k->upsample_fwd(e, dtype, out[0], in[A], o->shape);
}

static textinv_status upsample_bwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                                   void **out, void **in)
{
  return k->upsample_bwd(e, dtype, out[0], in[A], o->shape);
}

static textinv_status gather_fwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                                 void **out, void **in)
{
  return k->gather_fwd(e, dtype, out[0], in[A], in[B], o->shape);
}

static textinv_status gather_bwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                                 void **out, void **in)
{
  return k->gather_bwd(e, dtype, out[0], in[A], in[B], o->shape);
}

static void test_add(void **state)
{
  static const size_t counts[] = { 1, 17, 8191, 8192, 8193, 70001 };

  (void)state;
  for (size_t i = 0; i < COUNT_OF(counts); i++) {
    const tensor x = { STORED, counts[i], 1, 0 };

    check_overrides(&(op){ .name = "add", .run = add, .in = { x, x }, .out = { x } });
  }
}

static void test_sum_pixels(void **state)
{
  static const ti_sum_pixels_shape shapes[] = { { 1, 1, 1 }, { 2, 9, 33 }, { 1, 200, 320 },
                                                { 3, 64, 16 }, { 1, 7, 130 }, { 2, 150, 131 } };

  (void)state;
  for (size_t i = 0; i < COUNT_OF(shapes); i++) {
    const ti_sum_pixels_shape *s = &shapes[i];
    const tensor x = { STORED, (size_t)s->n * s->hw * s->c, 1, 0 };
    const tensor v = { STORED, (size_t)s->n * s->c, 1, 0 };
    const op fwd = { .name = "add a vector", .run = add_vector, .shape = s, .in = { x, v },
                     .out = { x } };
    const op bwd = { .name = "sum_pixels", .run = sum_pixels, .shape = s, .in = { x },
                     .out = { v } };

    check_gradient(&fwd, B, &bwd, A, 0, NULL);
    check_overrides(&bwd);
  }
}

static void test_upsample(void **state)
{
  static const ti_upsample_shape shapes[] = { { 1, 1, 1, 1 }, { 2, 3, 5, 7 }, { 1, 8, 8, 64 },
                                              { 1, 4, 6, 33 }, { 2, 17, 9, 40 } };

  (void)state;
  for (size_t i = 0; i < COUNT_OF(shapes); i++) {
    const ti_upsample_shape *s = &shapes[i];
    const tensor x = { STORED, (size_t)s->n * s->h * s->w * s->c, 1, 0 };
    const tensor y = { STORED, 4 * x.count, 1, 0 };
    const op fwd = { .name = "upsample fwd", .run = upsample_fwd, .shape = s, .in = { x },
                     .out = { y } };
    const op bwd = { .name = "upsample bwd", .run = upsample_bwd, .shape = s, .in = { y },
                     .out = { x } };

    check_gradient(&fwd, A, &bwd, A, 0, NULL);
    check_overrides(&fwd);
    check_overrides(&bwd);
  }
}

static void test_gather(void **state)
{
  static const ti_gather_shape shapes[] = { { 1, 1, 1 }, { 3, 5, 7 }, { 2, 77, 64 } };

  (void)state;
  for (size_t i = 0; i < COUNT_OF(shapes); i++) {
    const ti_gather_shape *s = &shapes[i];
    const tensor x = { STORED, (size_t)s->n * s->tokens * s->c, 1, 0 };
    const tensor y = { STORED, (size_t)s->n * s->c, 1, 0 };
    const tensor index = { IDS, s->n, (float)s->tokens, 0 };
    const op fwd = { .name = "gather fwd", .run = gather_fwd, .shape = s, .in = { x, index },
                     .out = { y } };
    const op bwd = { .name = "gather bwd", .run = gather_bwd, .shape = s, .in = { y, index },
                     .out = { x } };

    check_gradient(&fwd, A, &bwd, A, 0, (const int[]){ B, B, -1 });
    check_overrides(&fwd);
    check_overrides(&bwd);
  }
}

/* concatenation and back again gives the parts, whatever lay in the other columns */
static void test_copy_columns(void **state)
{
  static const int widths[][2] = { { 1, 1 }, { 3, 5 }, { 320, 640 }, { 17, 16 } };

  (void)state;
  for (size_t i = 0; i < COUNT_OF(widths); i++) {
    for (int d = TI_F32; d <= TI_BF16; d++) {
      const int a_c = widths[i][0], b_c = widths[i][1], c = a_c + b_c, rows = 9;
      const ti_dtype dtype = (ti_dtype)d;
      void *a = test_buffer_new(dtype, (size_t)rows * a_c), *y = test_buffer_new(dtype, rows * c);
      void *b = test_buffer_new(dtype, (size_t)rows * b_c);
      ti_exec e = { .team = ti_team_new(2) };
      ti_kernels k;

      ti_team_enter(e.team);
      ti_kernels_init_cpu(&k);
      init_all(&k);
      for (int j = 0; j < rows * a_c; j++)
        ti_store(dtype, a, j, (float)(j % 128));
      for (int j = 0; j < rows * b_c; j++)
        ti_store(dtype, b, j, (float)-(j % 128));
      k.copy_columns(&e, dtype, y, a, &(ti_copy_columns_shape){ rows, a_c, c, 0, a_c, 0 });
      k.copy_columns(&e, dtype, y, b, &(ti_copy_columns_shape){ rows, b_c, c, a_c, b_c, 0 });
      for (int j = 0; j < rows * c; j++) {
        const int row = j / c, col = j % c;
        const int from = col < a_c ? row * a_c + col : row * b_c + col - a_c;

        assert_true(ti_load(dtype, y, j) == (float)(col < a_c ? from % 128 : -(from % 128)));
      }
      k.copy_columns(&e, dtype, b, y, &(ti_copy_columns_shape){ rows, b_c, b_c, 0, c, a_c });
      for (int j = 0; j < rows * b_c; j++)
        assert_true(ti_load(dtype, b, j) == (float)-(j % 128));
      test_buffer_free(a);
      test_buffer_free(b);
      test_buffer_free(y);
      ti_team_free(e.team);
    }
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_add),    cmocka_unit_test(test_sum_pixels),
    cmocka_unit_test(test_upsample), cmocka_unit_test(test_gather),
    cmocka_unit_test(test_copy_columns),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
