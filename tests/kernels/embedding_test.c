/* Embeddings of tokens and times, the loss and casts: gradients of the reference, values,
 * overrides. */
#include "harness.h"

enum { IDS_IN, TABLE, ROWS_IN, POSITIONS };
enum { DY, IDS_BWD };

static textinv_status embedding_fwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                                    void **out, void **in)
{
  return k->embedding_fwd(e, dtype, out[0], in[IDS_IN], in[TABLE], in[ROWS_IN], in[POSITIONS],
                          o->shape);
}

static textinv_status embedding_bwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                                    void **out, void **in)
{
  return k->embedding_bwd(e, dtype, out[0], in[DY], in[IDS_BWD], o->shape);
}

static void test_embedding(void **state)
{
  static const ti_embedding_shape shapes[] = { { 1, 1, 1, 1, 1 }, { 2, 9, 5, 4, 3 },
                                               { 2, 77, 64, 50, 2 }, { 1, 30, 33, 2, 20 } };

  (void)state;
  for (size_t i = 0; i < COUNT_OF(shapes); i++) {
    const ti_embedding_shape *s = &shapes[i];
    const size_t tokens = (size_t)s->n * s->tokens;
    const tensor y = { STORED, tokens * s->c, 1, 0 };
    const tensor ids = { IDS, tokens, (float)(s->vocab + s->num_rows), 0 };
    const tensor rows = { FLOAT, (size_t)s->num_rows * s->c, 1, 0 };
    const op fwd = { .name = "embedding fwd",
                     .run = embedding_fwd,
                     .shape = s,
                     .in = { [IDS_IN] = ids,
                             [TABLE] = { STORED, (size_t)s->vocab * s->c, 1, 0 },
                             [ROWS_IN] = rows,
                             [POSITIONS] = { i % 2 ? STORED : NONE, (size_t)s->tokens * s->c, 1,
                                             0 } },
                     .out = { y } };
    const op bwd = { .name = "embedding bwd", .run = embedding_bwd, .shape = s,
                     .in = { [DY] = y, [IDS_BWD] = ids }, .out = { rows } };

    check_gradient(&fwd, ROWS_IN, &bwd, DY, 0, (const int[]){ IDS_IN, IDS_BWD, -1 });
    check_overrides(&fwd);
    check_overrides(&bwd);
  }
}

enum { PRED, TARGET };

static textinv_status mse_fwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                              void **out, void **in)
{
  return k->mse_fwd(e, dtype, out[0], in[PRED], in[TARGET], o->shape);
}

/* the gradient of fwd times the one value of dy */
static textinv_status mse_bwd(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                              void **out, void **in)
{
  return k->mse_bwd(e, dtype, out[0], in[PRED], in[TARGET], *(float *)in[2], o->shape);
}

static void test_mse(void **state)
{
  static const ti_mse_shape shapes[] = { { 1, 1 }, { 2, 33 }, { 3, 256 } };

  (void)state;
  for (size_t i = 0; i < COUNT_OF(shapes); i++) {
    const ti_mse_shape *s = &shapes[i];
    const tensor pred = { STORED, s->n * s->count, 1, 0 }, target = { FLOAT, pred.count, 1, 0 };
    const tensor loss = { FLOAT, 1, 1, 2 };
    const op fwd = { .name = "mse fwd", .run = mse_fwd, .shape = s, .in = { pred, target },
                     .out = { loss } };
    const op bwd = { .name = "mse bwd", .run = mse_bwd, .shape = s, .in = { pred, target, loss },
                     .out = { pred } };

    check_gradient(&fwd, PRED, &bwd, 2, 0, (const int[]){ PRED, PRED, TARGET, TARGET, -1 });
    check_overrides(&fwd);
    check_overrides(&bwd);
  }
}

/* sines first or cosines first, the last of an odd width 0 */
static void test_timestep(void **state)
{
  static const ti_timestep_shape shapes[] = {
    { 3, 320, 1, 0, 10000 }, { 3, 64, 0, 1, 10000 }, { 3, 7, 0, 0, 100 }, { 3, 2, 1, 0, 10000 },
  };
  static const float t[] = { 0, 1, 981 };

  (void)state;
  for (size_t i = 0; i < COUNT_OF(shapes); i++) {
    const ti_timestep_shape *s = &shapes[i];
    const int half = s->dim / 2;
    float *y = test_buffer_new(TI_F32, (size_t)s->n * s->dim);
    ti_exec e = { 0 };
    ti_kernels k;

    ti_kernels_init_cpu(&k);
    init_all(&k);
    assert_int_equal(k.timestep_fwd(&e, TI_F32, y, t, s), TEXTINV_OK);
    for (int n = 0; n < s->n; n++) {
      for (int j = 0; j < half; j++) {
        const double a = t[n] * exp(-log(s->max_period) * j / (half - s->shift));
        const float *sines = y + n * s->dim + (s->flip ? half : 0);
        const float *cosines = y + n * s->dim + (s->flip ? 0 : half);

        /* an angle near 1000 is rounded to 6e-5 */
        assert_true(fabs(sines[j] - sin(a)) < 2e-4);
        assert_true(fabs(cosines[j] - cos(a)) < 2e-4);
      }
      if (s->dim % 2)
        assert_true(y[(n + 1) * s->dim - 1] == 0.0f);
    }
    test_buffer_free(y);
  }
}

/* a value for every exponent and some mantissas, both signs; odd addresses and tails */
static void test_cast(void **state)
{
  enum { COUNT = 1 << 16 };
  static const ti_dtype types[] = { TI_F32, TI_F16, TI_BF16 };
  static float x[COUNT], back[COUNT];
  static unsigned char from[4 * COUNT + 1], to[4 * COUNT + 1];
  ti_exec e = { .team = ti_team_new(2) };
  ti_kernels k;

  (void)state;
  ti_team_enter(e.team);
  ti_kernels_init_cpu(&k);
  init_all(&k);
  for (uint32_t i = 0; i < COUNT; i++) {
    const uint32_t bits = i << 16 | (i * 2654435761u) >> 16;

    memcpy(&x[i], &bits, 4);
  }
  for (int a = 0; a < 3; a++) {
    for (int b = 0; b < 3; b++) {
      const size_t count = COUNT - 3, size = ti_dtype_size(types[b]);

      for (size_t i = 0; i < count; i++) {
        unsigned char value[4];

        ti_store(types[a], value, 0, x[i]);
        memcpy(from + 1 + i * ti_dtype_size(types[a]), value, ti_dtype_size(types[a]));
      }
      memset(to, 0xa5, sizeof(to));
      k.cast(&e, types[b], to + 1, types[a], from + 1, count);
      assert_int_equal(to[0], 0xa5);
      assert_int_equal(to[1 + count * size], 0xa5);
      for (size_t i = 0; i < count; i++) {
        unsigned char value[4], expected[4], got[4];

        memcpy(value, from + 1 + i * ti_dtype_size(types[a]), ti_dtype_size(types[a]));
        ti_store(types[b], expected, 0, ti_load(types[a], value, 0));
        memcpy(got, to + 1 + i * size, size);
        back[i] = ti_load(types[b], got, 0);
        if (isnan(back[i]))
          assert_true(isnan(ti_load(types[b], expected, 0)));
        else
          assert_memory_equal(got, expected, size);
      }
    }
  }
  ti_team_free(e.team);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_embedding), cmocka_unit_test(test_mse), cmocka_unit_test(test_timestep),
    cmocka_unit_test(test_cast),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
