/* What the builders refuse: a model's file may hold weights of any shape. */
#include "testing.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "tape.h"

enum { C = 8, MAX_WEIGHTS = 64 };

static ti_weight weights[MAX_WEIGHTS];
static int num_weights;
static ti_error error;

/* shapes alone are looked at */
static ti_weight *weight(int rank, const int *dims)
{
  ti_weight *w = &weights[num_weights++ % MAX_WEIGHTS];

  *w = (ti_weight){ .name = "net.weight", .rank = rank, .dtype = TI_F32 };
  memcpy(w->dims, dims, (size_t)rank * sizeof(*dims));
  return w;
}

#define WEIGHT(...) weight(sizeof((int[]){ __VA_ARGS__ }) / sizeof(int), (int[]){ __VA_ARGS__ })

static ti_tape tape;
static ti_tape *const t = &tape;

static ti_val image(int n, int h, int w, int c)
{
  return ti_input(t, TI_TYPE_F32, n, h, w, c);
}

/* the tape failed with this status, the message has this part, and nothing is recorded from then on
 */
static void failed(const char *call, textinv_status status, const char *part)
{
  const int records = t->num_records, values = t->num_values;

  if (ti_tape_status(t) != status || !strstr(error.text, part))
    fail_msg("%s: status %d, \"%s\"; expected \"%s\"", call, ti_tape_status(t), error.text, part);
  assert_int_equal(image(0, 0, 0, 0), TI_NONE);
  assert_non_null(strstr(error.text, part));
  assert_int_equal(ti_tape_backward(t, 0, 1), status);
  assert_int_equal(ti_tape_plan(t), status);
  assert_true(t->num_records == records && t->num_values == values);
  ti_tape_free(t);
}

#define REFUSED(call, part)                                                                        \
  do {                                                                                             \
    ti_tape_init(t, TI_F32, &error);                                                               \
    x = image(2, 4, 6, C);                                                                         \
    assert_int_equal(call, TI_NONE);                                                               \
    failed(#call, TEXTINV_E_SHAPE, part);                                                          \
  } while (0)

static const int none[4] = { 0, 0, 0, 0 };

static void products_need_weights_that_fit(void **state)
{
  ti_weight *const w = WEIGHT(5, C, 3, 3), *const m = WEIGHT(5, C);
  ti_val x;

  (void)state;
  REFUSED(ti_conv2d(t, x, m, NULL, 1, none, 1, TI_NONE),
          "net.weight: rank of the convolution: 2 where 4");
  REFUSED(ti_conv2d_same(t, x, m, NULL, TI_NONE), "rank of the convolution: 2 where 4");
  REFUSED(ti_conv2d_same(t, x, WEIGHT(5, C + 1, 3, 3), NULL, TI_NONE), "input channels: 9 where 8");
  REFUSED(ti_conv2d_same(t, x, w, WEIGHT(6), TI_NONE), "bias: 6 where 5");
  REFUSED(ti_conv2d_same(t, x, w, WEIGHT(5, 1), TI_NONE), "bias");
  REFUSED(ti_conv2d(t, x, WEIGHT(5, C, 5, 1), NULL, 1, none, 1, TI_NONE),
          "height of a convolution's input: 4 where 5");
  REFUSED(ti_conv2d(t, x, WEIGHT(5, C, 1, 7), NULL, 1, none, 1, TI_NONE),
          "height of a convolution's input");
  REFUSED(ti_conv2d_same(t, x, w, NULL, image(2, 4, 6, 6)), "channels of the residual: 6 where 5");
  REFUSED(ti_conv2d_same(t, x, w, NULL, image(2, 4, 5, 5)), "channels of the residual");
  REFUSED(ti_conv2d_same(t, x, w, NULL, ti_input(t, TI_TYPE_I32, 2, 4, 6, 5)),
          "channels of the residual");

  REFUSED(ti_linear(t, x, WEIGHT(5), NULL, TI_NONE), "rank of the matrix: 1 where 2");
  REFUSED(ti_linear(t, x, WEIGHT(5, C, 1), NULL, TI_NONE), "rank of the matrix: 3 where 2");
  REFUSED(ti_linear(t, x, WEIGHT(5, C, 3, 1), NULL, TI_NONE), "rank of the matrix: 4 where 2");
  REFUSED(ti_linear(t, x, WEIGHT(5, C, 1, 3), NULL, TI_NONE), "rank of the matrix: 4 where 2");
  REFUSED(ti_linear(t, x, WEIGHT(5, C - 1), NULL, TI_NONE), "input width: 7 where 8");
  REFUSED(ti_linear(t, x, m, WEIGHT(4), TI_NONE), "bias: 4 where 5");
  REFUSED(ti_linear(t, x, m, NULL, image(2, 4, 6, 4)), "width of the residual: 4 where 5");
  REFUSED(ti_linear(t, x, m, NULL, image(1, 4, 6, 5)), "width of the residual");
}

static void norms_need_channels_that_fit(void **state)
{
  ti_weight *const w = WEIGHT(C), *const wide = WEIGHT(C + 1), *const matrix = WEIGHT(C, 1);
  ti_val x;

  (void)state;
  REFUSED(ti_groupnorm(t, x, TI_NONE, wide, w, 2, 1e-5, 0), "channels: 9 where 8");
  REFUSED(ti_groupnorm(t, x, TI_NONE, w, wide, 2, 1e-5, 0), "channels: 9 where 8");
  REFUSED(ti_groupnorm(t, x, TI_NONE, w, matrix, 2, 1e-5, 0), "channels");
  REFUSED(ti_groupnorm(t, x, TI_NONE, w, w, 0, 1e-5, 0), "groups that do not divide");
  REFUSED(ti_groupnorm(t, x, TI_NONE, w, w, 3, 1e-5, 0), "groups that do not divide");
  REFUSED(ti_groupnorm(t, x, image(2, 1, 1, C + 1), w, w, 2, 1e-5, 0), "channels of a sum: 9");
  REFUSED(ti_groupnorm(t, x, image(1, 1, 1, C), w, w, 2, 1e-5, 0), "channels of a sum");
  REFUSED(ti_layernorm(t, x, wide, w, 1e-5), "width: 9 where 8");
  REFUSED(ti_layernorm(t, x, w, wide, 1e-5), "width: 9 where 8");
}

static void attention_needs_keys_that_fit(void **state)
{
  ti_val x, k;

  (void)state;
  REFUSED((k = image(2, 1, 5, C + 1), ti_attention(t, x, k, k, 2, 0)), "width of the keys: 9");
  REFUSED((k = image(2, 1, 5, C), ti_attention(t, x, k, image(2, 1, 5, 9), 2, 0)), "width of the");
  REFUSED((k = image(2, 1, 5, C), ti_attention(t, x, k, image(2, 1, 4, C), 2, 0)), "width of the");
  REFUSED((k = image(2, 1, 5, C), ti_attention(t, x, k, image(1, 1, 5, C), 2, 0)), "width of the");
  REFUSED((k = image(1, 1, 5, C), ti_attention(t, x, k, k, 2, 0)),
          "samples of the keys: 1 where 2");
  REFUSED(ti_attention(t, x, x, x, 0, 0), "attention width that the heads divide: 8 where 0");
  REFUSED(ti_attention(t, x, x, x, 3, 0), "attention width that the heads divide: 8 where 3");
  REFUSED(ti_attention_joined(t, TI_NONE, x, 2, 0), "width of the keys: 2 where 3");
  REFUSED(ti_attention_joined(t, x, image(2, 1, 5, 2 * C + 2), 2, 0), "width of the keys: 9");
  REFUSED(ti_attention_joined(t, x, image(2, 1, 5, 2 * C + 1), 2, 0), "width of the keys");
}

static void values_that_meet_need_one_shape(void **state)
{
  ti_weight *const table = WEIGHT(7, C);
  ti_val x, ids;

  (void)state;
  REFUSED(ti_add(t, x, image(2, 4, 6, C + 1)), "channels of a sum: 9 where 8");
  REFUSED(ti_add(t, x, image(2, 4, 7, C)), "channels of a sum");
  REFUSED(ti_add(t, x, ti_input(t, TI_TYPE_I32, 2, 4, 6, C)), "channels of a sum");
  REFUSED(ti_concat(t, x, image(2, 4, 5, C)), "rows to join: 40 where 48");
  REFUSED(ti_concat(t, image(1, 1, 1, INT_MAX), image(1, 1, 1, 1)), "rows to join");
  REFUSED(ti_geglu(t, image(2, 4, 6, 7)), "even width of a gated layer: 7 where 8");
  REFUSED(ti_mse(t, x, image(2, 4, 6, C + 1)), "channels of the target: 9 where 8");
  REFUSED(ti_mse(t, x, image(2, 4, 5, C)), "channels of the target");
  REFUSED(ti_reshape(t, x, 2, 4, 6, C - 1), "width after a reshape: 7 where 8");
  REFUSED(ti_crop(t, x, 5, 6), "a side to cut: 4 where 5");
  REFUSED(ti_crop(t, x, 4, 7), "a side to cut: 6 where 7");
  REFUSED(ti_twice(t, image(1, 1, 32768, 32769)), "values of a sample");

  REFUSED(
    (ids = ti_input(t, TI_TYPE_I32, 2, 1, 5, 1), ti_embedding(t, ids, TI_NONE, WEIGHT(C), NULL)),
    "rank of the table: 1 where 2");
  REFUSED((ids = ti_input(t, TI_TYPE_I32, 2, 1, 5, 1),
           ti_embedding(t, ids, image(3, 1, 1, C + 1), table, NULL)),
          "width of the new rows: 9 where 8");
  REFUSED((ids = ti_input(t, TI_TYPE_I32, 2, 1, 5, 1),
           ti_embedding(t, ids, TI_NONE, table, WEIGHT(4, C))),
          "positions: 4 where 5");
  REFUSED((ids = ti_input(t, TI_TYPE_I32, 2, 1, 5, 1),
           ti_embedding(t, ids, TI_NONE, table, WEIGHT(5, C + 1))),
          "positions");
  REFUSED(
    (ids = ti_input(t, TI_TYPE_I32, 2, 1, 5, 1), ti_embedding(t, ids, TI_NONE, table, WEIGHT(5))),
    "positions");
}

static void values_have_limits(void **state)
{
  static const int possible[][4] = {
    { 1, 1, 1, 1 }, { INT_MAX, 1, 1, 1 }, { 1, 32767, 65537, 1 }, { 1, 1, 1, INT_MAX }
  };
  static const int impossible[][4] = { { 0, 1, 1, 1 },       { 1, 0, 1, 1 },
                                       { 1, 1, 0, 1 },       { 1, 1, 1, 0 },
                                       { 1, 1, 1, -1 },      { -1, -1, 1, 1 },
                                       { INT_MAX, 2, 1, 1 }, { 32768, 1, 65536, 1 } };

  (void)state;
  for (size_t i = 0; i < sizeof(possible) / sizeof(*possible); i++) {
    const int *d = possible[i];

    ti_tape_init(t, TI_F32, &error);
    assert_int_equal(image(d[0], d[1], d[2], d[3]), 0);
    ti_tape_free(t);
  }
  for (size_t i = 0; i < sizeof(impossible) / sizeof(*impossible); i++) {
    const int *d = impossible[i];

    ti_tape_init(t, TI_F32, &error);
    assert_int_equal(image(d[0], d[1], d[2], d[3]), TI_NONE);
    failed("ti_input", TEXTINV_E_LIMIT, "a value of [");
  }
  ti_tape_init(t, TI_F32, &error);
  ti_upsample(t, image(1, 32768, 32767, 1));
  assert_int_equal(t->num_records, 0);
  failed("ti_upsample", TEXTINV_E_LIMIT, "a value of [1, 65536, 65534, 1]");
}

/* one that could not be made, or a weight that was not found, has been told already */
static void what_is_missing_is_passed_on(void **state)
{
  ti_weight *const v = WEIGHT(C), *const m = WEIGHT(C, C);
  ti_val x;

  (void)state;
  ti_tape_init(t, TI_F32, &error);
  x = image(2, 4, 6, C);
  const ti_val met[] = {
    ti_conv2d(t, TI_NONE, WEIGHT(C, C, 3, 3), v, 1, none, 1, TI_NONE),
    ti_conv2d(t, x, NULL, v, 1, none, 1, TI_NONE),
    ti_conv2d_same(t, x, NULL, v, TI_NONE),
    ti_linear(t, TI_NONE, m, v, TI_NONE),
    ti_linear(t, x, NULL, v, TI_NONE),
    ti_groupnorm(t, TI_NONE, TI_NONE, v, v, 2, 1e-5, 0),
    ti_groupnorm(t, x, TI_NONE, NULL, v, 2, 1e-5, 0),
    ti_groupnorm(t, x, TI_NONE, v, NULL, 2, 1e-5, 0),
    ti_layernorm(t, TI_NONE, v, v, 1e-5),
    ti_layernorm(t, x, NULL, v, 1e-5),
    ti_layernorm(t, x, v, NULL, 1e-5),
    ti_attention(t, TI_NONE, x, x, 2, 0),
    ti_attention(t, x, TI_NONE, x, 2, 0),
    ti_attention(t, x, x, TI_NONE, 2, 0),
    ti_attention_joined(t, x, TI_NONE, 2, 0),
    ti_activate(t, TI_NONE, TI_SILU),
    ti_geglu(t, TI_NONE),
    ti_add(t, x, TI_NONE),
    ti_add(t, TI_NONE, x),
    ti_concat(t, x, TI_NONE),
    ti_concat(t, TI_NONE, x),
    ti_upsample(t, TI_NONE),
    ti_crop(t, TI_NONE, 1, 1),
    ti_twice(t, TI_NONE),
    ti_timestep(t, TI_NONE, 4, 1, 0.0),
    ti_embedding(t, TI_NONE, TI_NONE, m, NULL),
    ti_embedding(t, x, TI_NONE, NULL, NULL),
    ti_gather(t, x, TI_NONE),
    ti_gather(t, TI_NONE, x),
    ti_mse(t, x, TI_NONE),
    ti_mse(t, TI_NONE, x),
    ti_cast(t, TI_NONE, TI_TYPE_F32),
    ti_reshape(t, TI_NONE, 2, 4, 6, C),
  };

  for (size_t i = 0; i < sizeof(met) / sizeof(*met); i++)
    assert_int_equal(met[i], TI_NONE);
  ti_output(t, ti_constant(t, ti_want_grad(t, TI_NONE)));
  assert_int_equal(t->num_records, 0);
  assert_int_equal(t->num_values, 1);
  assert_int_equal(ti_tape_status(t), TEXTINV_OK);
  ti_tape_free(t);
}

/* the record that a call appended last */
static ti_op last_op(void)
{
  return t->records[t->num_records - 1].op;
}

static void convolutions_of_one_pixel_are_products(void **state)
{
  ti_weight *const one = WEIGHT(5, C, 1, 1);
  ti_val x, y;

  (void)state;
  ti_tape_init(t, TI_F32, &error);
  x = image(2, 4, 6, C);
  ti_conv2d_same(t, x, one, WEIGHT(5), TI_NONE);
  assert_int_equal(last_op(), TI_OP_LINEAR);
  for (int i = 0; i < 4; i++) {
    int pads[4] = { 0 };

    pads[i] = 1;
    ti_conv2d(t, x, one, NULL, 1, pads, 1, TI_NONE);
    assert_int_equal(last_op(), TI_OP_CONV2D);
  }
  y = ti_conv2d(t, x, one, NULL, 2, none, 1, TI_NONE);
  assert_int_equal(last_op(), TI_OP_CONV2D);
  assert_int_equal(t->values[y].h, 2);
  assert_int_equal(t->values[y].w, 3);
  y = ti_conv2d(t, x, one, NULL, 1, none, 2, TI_NONE);
  assert_int_equal(last_op(), TI_OP_CONV2D);
  assert_int_equal(t->values[y].h, 8);
  assert_int_equal(t->values[y].w, 12);
  ti_conv2d(t, x, WEIGHT(5, C, 3, 1), NULL, 1, none, 1, TI_NONE);
  assert_int_equal(last_op(), TI_OP_CONV2D);
  ti_conv2d(t, x, WEIGHT(5, C, 1, 3), NULL, 1, none, 1, TI_NONE);
  assert_int_equal(last_op(), TI_OP_CONV2D);
  y = ti_conv2d(t, x, WEIGHT(5, C, 4, 6), NULL, 1, none, 1, TI_NONE); /* all of it */
  assert_int_equal(t->values[y].h * t->values[y].w, 1);
  assert_int_equal(ti_tape_status(t), TEXTINV_OK);
  ti_tape_free(t);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(products_need_weights_that_fit),
    cmocka_unit_test(norms_need_channels_that_fit),
    cmocka_unit_test(attention_needs_keys_that_fit),
    cmocka_unit_test(values_that_meet_need_one_shape),
    cmocka_unit_test(values_have_limits),
    cmocka_unit_test(what_is_missing_is_passed_on),
    cmocka_unit_test(convolutions_of_one_pixel_are_products),
  };

  return cmocka_run_group_tests_name("builders", tests, NULL, NULL);
}
