/* The engine on a network that uses every kind of path: gradients, recomputation, plan, cancel. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exec.h"

enum { N = 2, H = 4, W = 4, C = 8, TOKENS = 5, ROWS = 2, VOCAB = 7, MAX_WEIGHTS = 64 };

static ti_weight weights[MAX_WEIGHTS];
static int num_weights;
static ti_error error;

static ti_weight *weight(int rank, const int *dims)
{
  ti_weight *w = &weights[num_weights];
  size_t count = 1;
  float *data;

  assert_true(num_weights < MAX_WEIGHTS);
  for (int i = 0; i < rank; i++)
    count *= (size_t)dims[i];
  data = malloc(count * sizeof(*data));
  assert_non_null(data);
  for (size_t i = 0; i < count; i++)
    data[i] = test_uniform() * (rank == 1 ? 0.5f : 0.3f) + (rank == 1 ? 0.6f : 0.0f);
  *w = (ti_weight){ .name = "weight", .data = data, .count = count, .rank = rank, .dtype = TI_F32 };
  memcpy(w->dims, dims, (size_t)rank * sizeof(*dims));
  num_weights++;
  return w;
}

static void drop_weights(void)
{
  for (int i = 0; i < num_weights; i++) {
    ti_weight_drop(&weights[i]);
    free((void *)(uintptr_t)weights[i].data);
  }
  num_weights = 0;
}

#define WEIGHT(...) weight(sizeof((int[]){ __VA_ARGS__ }) / sizeof(int), (int[]){ __VA_ARGS__ })

typedef struct net {
  ti_val x, rows, ids, t, index, target, loss;
  int forward_records; /* before the backward pass */
} net;

/* deterministic weights: the same network at every call */
static net record(ti_tape *t, int recompute, int num_of)
{
  net n;
  ti_val h, context, time, skip, pooled, halved, filtered;
  const int same[4] = { 1, 1, 1, 1 };

  test_seed(5);
  drop_weights();
  n.x = ti_input(t, TI_TYPE_F32, N, H, W, 4);
  n.rows = ti_want_grad(t, ti_input(t, TI_TYPE_F32, ROWS, 1, 1, C));
  n.ids = ti_input(t, TI_TYPE_I32, N, 1, TOKENS, 1);
  n.t = ti_input(t, TI_TYPE_F32, N, 1, 1, 1);
  n.index = ti_input(t, TI_TYPE_I32, N, 1, 1, 1);
  n.target = ti_input(t, TI_TYPE_F32, N, H, W, 4);

  ti_block_begin(t);
  context = ti_embedding(t, n.ids, n.rows, WEIGHT(VOCAB, C), WEIGHT(TOKENS, C));
  h = ti_layernorm(t, context, WEIGHT(C), WEIGHT(C), 1e-5);
  h = ti_attention(t, ti_linear(t, h, WEIGHT(C, C), WEIGHT(C), TI_NONE), h, h, 2, 1);
  context = ti_activate(t, ti_linear(t, h, WEIGHT(C, C), WEIGHT(C), context), TI_QUICK_GELU);
  ti_block_end(t);
  pooled = ti_linear(t, ti_gather(t, context, n.index), WEIGHT(C, C), NULL, TI_NONE);

  time = ti_activate(t, ti_timestep(t, n.t, C, 1, 0.0), TI_SILU);
  h = ti_conv2d_same(t, n.x, WEIGHT(C, 4, 3, 3), WEIGHT(C), TI_NONE);
  skip = h;
  ti_block_begin(t);
  h = ti_groupnorm(t, h, time, WEIGHT(C), WEIGHT(C), 2, 1e-5, 1);
  h = ti_attention(t, ti_linear(t, h, WEIGHT(C, C), NULL, TI_NONE), context, context, 2, 0);
  h = ti_linear(t, h, WEIGHT(C, C), WEIGHT(C), skip);
  h = ti_add(t, ti_groupnorm(t, h, pooled, WEIGHT(C), WEIGHT(C), 2, 1e-5, 0), h);
  h = ti_geglu(t, ti_linear(t, h, WEIGHT(2 * C, C), WEIGHT(2 * C), TI_NONE));
  ti_block_end(t);
  ti_block_begin(t);
  halved = ti_conv2d(t, h, WEIGHT(C, C, 3, 3), WEIGHT(C), 2, same, 1, TI_NONE);
  h = ti_reshape(t, halved, N, 1, H * W / 4, C);
  h = ti_groupnorm(t, h, TI_NONE, WEIGHT(C), WEIGHT(C), 4, 1e-5, 1);
  h = ti_reshape(t, h, N, H / 2, W / 2, C);
  h = ti_add(t, ti_add(t, ti_activate(t, h, TI_GELU), h), halved);
  filtered = ti_conv2d_same(t, h, WEIGHT(C, C, 3, 3), NULL, TI_NONE);
  h = ti_add(t, filtered, ti_activate(t, h, TI_SILU));
  h = ti_conv2d(t, h, WEIGHT(C, C, 3, 3), WEIGHT(C), 1, same, 2, TI_NONE);
  ti_block_end(t);
  h = ti_concat(t, h, skip);
  h = ti_upsample(t, h);
  h = ti_conv2d(t, h, WEIGHT(4, 2 * C, 3, 3), WEIGHT(4), 2, same, 1, TI_NONE);
  n.loss = ti_mse(t, h, n.target);
  ti_output(t, n.loss);
  n.forward_records = t->num_records;
  if (num_of > 0) {
    assert_int_equal(ti_tape_backward(t, recompute, num_of), TEXTINV_OK);
    ti_output(t, ti_tape_grad(t, n.rows));
  }
  if (ti_tape_status(t) < 0)
    fail_msg("%s", error.text);
  return n;
}

static void fill(const ti_plan *plan, const ti_arena *arena, const net *n, const float *rows)
{
  float *x = ti_plan_data(plan, arena, n->x), *target = ti_plan_data(plan, arena, n->target);
  float *t = ti_plan_data(plan, arena, n->t);
  int32_t *ids = ti_plan_data(plan, arena, n->ids), *index = ti_plan_data(plan, arena, n->index);

  test_seed(9);
  for (int i = 0; i < N * H * W * 4; i++) {
    x[i] = test_normal();
    target[i] = test_normal();
  }
  for (int i = 0; i < N; i++) {
    t[i] = (float)(100 * i + 7);
    index[i] = i + 2;
  }
  for (int i = 0; i < N * TOKENS; i++)
    ids[i] = i % 3 ? test_below(VOCAB) : VOCAB + i % ROWS;
  memcpy(ti_plan_data(plan, arena, n->rows), rows, ROWS * C * sizeof(*rows));
}

typedef struct result {
  float loss, gradient[ROWS * C];
  size_t bytes;
} result;

static result run(const float *rows, int recompute, int num_of)
{
  ti_kernels kernels;
  ti_team *team = ti_team_new(2);
  ti_plan plan;
  ti_arena arena = { 0 };
  result r;
  net n;

  memset(&plan, 0, sizeof(plan));
  memset(&r, 0, sizeof(r));
  ti_kernels_init_cpu(&kernels);
  ti_tape_init(&plan.tape, TI_F32, &error);
  n = record(&plan.tape, recompute, num_of);
  assert_int_equal(ti_plan_prepare(&plan, &kernels, team), TEXTINV_OK);
  r.bytes = ti_plan_bytes(&plan);
  assert_int_equal(ti_arena_reserve(&arena, &error, r.bytes), TEXTINV_OK);
  memset(arena.data, 0xff, arena.bytes); /* NaN: a value read before it is written shows */
  fill(&plan, &arena, &n, rows);
  assert_int_equal(ti_plan_run(&plan, &arena, 0, NULL), TEXTINV_OK);
  r.loss = *(float *)ti_plan_data(&plan, &arena, n.loss);
  if (num_of > 0)
    memcpy(r.gradient, ti_plan_data(&plan, &arena, ti_tape_grad(&plan.tape, n.rows)),
           sizeof(r.gradient));
  ti_plan_free(&plan);
  ti_arena_free(&arena);
  ti_team_free(team);
  return r;
}

static void make_rows(float *rows)
{
  test_seed(3);
  for (int i = 0; i < ROWS * C; i++)
    rows[i] = test_normal();
}

static void gradient_matches_differences(void **state)
{
  float rows[ROWS * C];
  double difference = 0.0, norm = 0.0;

  (void)state;
  make_rows(rows);
  const result r = run(rows, 0, 1);

  for (int i = 0; i < ROWS * C; i++) {
    const float h = 4e-3f, keep = rows[i];

    rows[i] = keep + h;
    const double up = run(rows, 0, 0).loss;
    rows[i] = keep - h;
    const double down = run(rows, 0, 0).loss;
    rows[i] = keep;
    const double d = (up - down) / (2.0 * h) - r.gradient[i];

    difference += d * d;
    norm += (double)r.gradient[i] * r.gradient[i];
  }
  assert_true(norm > 0.0);
  if (!(sqrt(difference / norm) <= 5e-3))
    fail_msg("relative error %g", sqrt(difference / norm));
}

static void recomputation_changes_nothing_but_memory(void **state)
{
  static const int levels[][2] = { { 1, 4 }, { 1, 2 }, { 3, 4 }, { 1, 1 } };
  float rows[ROWS * C];

  (void)state;
  make_rows(rows);
  const result whole = run(rows, 0, 1);

  for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++) {
    const result r = run(rows, levels[i][0], levels[i][1]);

    assert_memory_equal(r.gradient, whole.gradient, sizeof(r.gradient));
    assert_true(r.loss == whole.loss);
    /* every fourth is none of the three blocks */
    assert_true(i ? r.bytes < whole.bytes : r.bytes == whole.bytes);
  }
}

/* whether a forward record outside of the block of record p reads what that one writes */
static int leaves_its_block(const ti_tape *t, int forward, int p, ti_val base)
{
  for (int i = 0; i < forward; i++) {
    for (int k = 0; k < TI_MAX_IN; k++) {
      const ti_val v = t->records[i].in[k];

      if (v != TI_NONE && t->values[v].base == base && t->records[i].block != t->records[p].block)
        return 1;
    }
  }
  return 0;
}

/* what a block keeps to itself would take memory until the backward pass; every block is computed
 * again once */
static void what_is_computed_again_is_not_kept(void **state)
{
  ti_tape t;
  int in_blocks = 0;

  (void)state;
  ti_tape_init(&t, TI_F32, &error);
  record(&t, 0, 1);
  const int plain = t.num_records;

  ti_tape_free(&t);
  ti_tape_init(&t, TI_F32, &error);
  const net n = record(&t, 1, 1);

  for (int i = 0; i < n.forward_records; i++)
    in_blocks += t.records[i].block != 0;
  assert_int_equal(t.num_records - plain, in_blocks);

  for (int i = n.forward_records; i < t.num_records; i++) {
    for (int k = 0; k < TI_MAX_IN; k++) {
      const ti_val v = t.records[i].in[k];

      for (int p = 0; p < n.forward_records && v != TI_NONE; p++) {
        for (int o = 0; o < TI_MAX_OUT; o++) {
          const ti_val out = t.records[p].out[o];

          if (out == TI_NONE || out != t.values[v].base || !t.records[p].block)
            continue;
          if (!leaves_its_block(&t, n.forward_records, p, out))
            fail_msg("record %d reads output %d of record %d, in block %d", i, o, p,
                     t.records[p].block);
        }
      }
    }
  }
  ti_tape_free(&t);
}

static void nothing_before_the_rows_is_differentiated(void **state)
{
  ti_tape t;
  int convolutions = 0;

  (void)state;
  ti_tape_init(&t, TI_F32, &error);
  const net n = record(&t, 0, 1);

  for (int i = n.forward_records; i < t.num_records; i++)
    convolutions += t.records[i].op == TI_OP_CONV2D_BWD;
  assert_int_equal(convolutions, 4); /* not the first, which sees x alone */
  assert_int_equal(ti_tape_grad(&t, n.x), TI_NONE);
  assert_int_equal(ti_tape_grad(&t, n.t), TI_NONE);
  ti_tape_free(&t);
}

/* a gradient that a product or a norm ends is added up by it, in place; what ends elsewhere by a
 * record */
static void products_and_norms_add_up_gradients(void **state)
{
  ti_tape t;
  int convolutions = 0, matrices = 0, groupnorms = 0, layernorms = 0, sums = 0;

  (void)state;
  ti_tape_init(&t, TI_F32, &error);
  record(&t, 0, 1);
  assert_int_equal(ti_tape_plan(&t), TEXTINV_OK);
  for (int i = 0; i < t.num_records; i++) {
    const ti_record *r = &t.records[i];
    const int conv = r->op == TI_OP_CONV2D_BWD, matrix = r->op == TI_OP_LINEAR_BWD;
    const int groupnorm = r->op == TI_OP_GROUPNORM_BWD, layernorm = r->op == TI_OP_LAYERNORM_BWD;

    sums += r->op == TI_OP_ADD;
    if (!(conv || matrix || groupnorm || layernorm) || r->in[1] == TI_NONE)
      continue;
    convolutions += conv;
    matrices += matrix;
    groupnorms += groupnorm;
    layernorms += layernorm;
    /* a norm may work in place of either */
    assert_true(t.values[r->out[0]].offset == t.values[r->in[1]].offset ||
                ((groupnorm || layernorm) &&
                 t.values[r->out[0]].offset == t.values[r->in[0]].offset));
  }
  assert_int_equal(convolutions, 1);
  assert_int_equal(matrices, 1);
  assert_int_equal(groupnorms, 1);
  assert_int_equal(layernorms, 1);
  assert_int_equal(sums, 9); /* four of them forward */
  ti_tape_free(&t);
}

/* the largest power of two up to half of the values that the loss is a mean of */
static void halves_scale_the_loss(void **state)
{
  static const struct {
    ti_dtype dtype;
    int n, w;
    float scale;
  } cases[] = { { TI_F32, 2, 32, 1.0f },  { TI_BF16, 2, 32, 1.0f }, { TI_F16, 2, 32, 128.0f },
                { TI_F16, 1, 33, 64.0f }, { TI_F16, 1, 31, 32.0f }, { TI_F16, 1, 1, 2.0f } };

  (void)state;
  for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
    ti_tape t;

    ti_tape_init(&t, cases[i].dtype, &error);
    const ti_val x = ti_want_grad(&t, ti_input(&t, TI_TYPE_F32, cases[i].n, 1, cases[i].w, 4));

    ti_mse(&t, x, ti_input(&t, TI_TYPE_F32, cases[i].n, 1, cases[i].w, 4));
    assert_int_equal(ti_tape_backward(&t, 0, 1), TEXTINV_OK);
    assert_float_equal(t.loss_scale, cases[i].scale, 0.0f);
    ti_tape_free(&t);
  }
}

enum { WIDTH = 8, KEYS = 5 };

/* x to itself, then to a context, both learnt; loss, and the gradients of x and of the context */
static void attend(float out[1 + 2 * KEYS * WIDTH], ti_weight *const *w, ti_weight *const *b,
                   int joins)
{
  ti_kernels kernels;
  ti_plan plan;
  ti_arena arena = { 0 };
  ti_weight *matrix[2], *bias;
  ti_val in[2], y, target;

  memset(&plan, 0, sizeof(plan));
  ti_kernels_init_cpu(&kernels);
  ti_tape_init(&plan.tape, TI_F32, &error);
  ti_tape *t = &plan.tape;

  for (int i = 0; i < 2; i++)
    in[i] = ti_want_grad(t, ti_input(t, TI_TYPE_F32, 1, 1, KEYS, WIDTH));
  target = ti_input(t, TI_TYPE_F32, 1, 1, KEYS, WIDTH);
  if (joins) {
    for (int i = 0; i < 2; i++) /* asked for twice, made once */
      assert_int_equal(ti_weight_join(&error, &matrix[0], w, 3), TEXTINV_OK);
    assert_int_equal(ti_weight_join(&error, &bias, b, 3), TEXTINV_OK);
    assert_int_equal(ti_weight_join(&error, &matrix[1], w + 4, 2), TEXTINV_OK);
    assert_int_equal(matrix[0]->dims[0], 3 * WIDTH);
    y = ti_attention_joined(t, TI_NONE, ti_linear(t, in[0], matrix[0], bias, TI_NONE), 2, 1);
    y = ti_attention_joined(t, ti_linear(t, y, w[3], NULL, TI_NONE),
                            ti_linear(t, in[1], matrix[1], NULL, TI_NONE), 2, 0);
  } else {
    y = ti_attention(t, ti_linear(t, in[0], w[0], b[0], TI_NONE),
                     ti_linear(t, in[0], w[1], b[1], TI_NONE),
                     ti_linear(t, in[0], w[2], b[2], TI_NONE), 2, 1);
    y = ti_attention(t, ti_linear(t, y, w[3], NULL, TI_NONE),
                     ti_linear(t, in[1], w[4], NULL, TI_NONE),
                     ti_linear(t, in[1], w[5], NULL, TI_NONE), 2, 0);
  }
  y = ti_mse(t, y, target);
  ti_output(t, y);
  assert_int_equal(ti_tape_backward(t, 0, 1), TEXTINV_OK);
  for (int i = 0; i < 2; i++)
    ti_output(t, ti_tape_grad(t, in[i]));
  assert_int_equal(ti_plan_prepare(&plan, &kernels, NULL), TEXTINV_OK);
  assert_int_equal(ti_arena_reserve(&arena, &error, ti_plan_bytes(&plan)), TEXTINV_OK);
  test_seed(8);
  for (int k = 0; k < 3; k++) {
    float *values = ti_plan_data(&plan, &arena, k < 2 ? in[k] : target);

    for (int i = 0; i < KEYS * WIDTH; i++)
      values[i] = test_normal();
  }
  assert_int_equal(ti_plan_run(&plan, &arena, 0, NULL), TEXTINV_OK);
  out[0] = *(float *)ti_plan_data(&plan, &arena, y);
  for (int i = 0; i < 2; i++)
    memcpy(out + 1 + i * KEYS * WIDTH, ti_plan_data(&plan, &arena, ti_tape_grad(t, in[i])),
           KEYS * WIDTH * sizeof(*out));
  ti_plan_free(&plan);
  ti_arena_free(&arena);
}

static void joined_products_give_what_single_ones_give(void **state)
{
  float single[1 + 2 * KEYS * WIDTH], joined[1 + 2 * KEYS * WIDTH];
  ti_weight *w[6], *b[3], *odd;

  (void)state;
  drop_weights();
  for (int i = 0; i < 6; i++)
    w[i] = WEIGHT(WIDTH, WIDTH);
  for (int i = 0; i < 3; i++)
    b[i] = WEIGHT(WIDTH);
  attend(single, w, b, 0);
  attend(joined, w, b, 1);
  for (size_t i = 0; i < sizeof(single) / sizeof(*single); i++)
    assert_true(fabsf(single[i] - joined[i]) <= 1e-6f * (1.0f + fabsf(single[i])));
  assert_true(single[1] != 0.0f && single[1 + KEYS * WIDTH] != 0.0f);
  w[2] = WEIGHT(WIDTH, WIDTH + 1);
  assert_int_equal(ti_weight_join(&error, &odd, w, 3), TEXTINV_E_SHAPE);
}

static void unused_records_are_dropped(void **state)
{
  ti_tape t;

  (void)state;
  ti_tape_init(&t, TI_F32, &error);
  record(&t, 0, 0);
  assert_int_equal(ti_tape_plan(&t), TEXTINV_OK);
  const size_t bytes = t.arena_bytes;

  ti_tape_free(&t);
  ti_tape_init(&t, TI_F32, &error);
  const net n = record(&t, 0, 0);
  const int before = t.num_records;

  ti_activate(&t, n.x, TI_SILU);
  assert_int_equal(t.num_records, before + 1);
  assert_int_equal(ti_tape_plan(&t), TEXTINV_OK);
  assert_int_equal(t.num_records, before);
  assert_int_equal(t.arena_bytes, bytes);
  ti_tape_free(&t);
}

/* a sum takes the place of what ends with it, and two values are all that ever lives; what nothing
 * reads takes no place */
static void sums_work_in_place(void **state)
{
  enum { BYTES = 16 * 16 * 4 * sizeof(float) };

  (void)state;
  for (int kept = -1; kept < 2; kept++) {
    ti_val x, parts[2], sum;
    ti_tape t;

    ti_tape_init(&t, TI_F32, &error);
    x = ti_input(&t, TI_TYPE_F32, 1, 16, 16, 4);
    parts[0] = ti_activate(&t, x, TI_SILU);
    parts[1] = ti_activate(&t, x, TI_GELU);
    sum = ti_add(&t, parts[0], parts[1]);
    ti_output(&t, ti_activate(&t, sum, TI_SILU));
    ti_upsample(&t, x);
    if (kept >= 0)
      ti_output(&t, parts[kept]);
    assert_int_equal(ti_tape_plan(&t), TEXTINV_OK);
    assert_int_equal(t.arena_bytes, 2 * BYTES);
    for (int i = 0; i < 2; i++) {
      if (kept == i || kept == 1 - i)
        assert_int_equal(t.values[sum].offset == t.values[parts[i]].offset, kept != i);
    }
    ti_tape_free(&t);
  }
}

/* a product reads all of its input for every value of its output */
static void a_residual_that_is_the_input_stays(void **state)
{
  ti_val x, y;
  ti_tape t;

  (void)state;
  drop_weights();
  ti_tape_init(&t, TI_F32, &error);
  x = ti_activate(&t, ti_input(&t, TI_TYPE_F32, 1, 1, 16, C), TI_SILU);
  y = ti_linear(&t, x, WEIGHT(C, C), NULL, x);
  ti_output(&t, y);
  assert_int_equal(ti_tape_plan(&t), TEXTINV_OK);
  assert_true(t.values[x].offset != t.values[y].offset);
  ti_tape_free(&t);
}

/* records from the one that writes a storage to the last that reads it */
typedef struct life {
  int first, last;
} life;

static life life_of(const ti_tape *t, ti_val base)
{
  life l = { t->values[base].is_input ? -1 : t->num_records, -2 };

  for (int v = 0; v < t->num_values; v++) {
    if (t->values[v].base == base && t->values[v].is_output)
      l.last = t->num_records;
  }
  for (int i = 0; i < t->num_records; i++) {
    const ti_record *r = &t->records[i];

    for (int k = 0; k < TI_MAX_OUT + TI_MAX_IN; k++) {
      const ti_val v = k < TI_MAX_OUT ? r->out[k] : r->in[k - TI_MAX_OUT];

      if (v == TI_NONE || t->values[v].base != base)
        continue;
      l.first = i < l.first ? i : l.first;
      l.last = i > l.last ? i : l.last;
    }
  }
  return l;
}

/* no two values that live at the same time share bytes, but for one that takes the place of another
 * in the record that is the first of it and the last of the other */
static void values_do_not_overlap(void **state)
{
  static const int levels[][2] = { { 0, 1 }, { 1, 2 }, { 1, 1 } };
  int in_place = 0;

  (void)state;
  for (int level = 0; level < 3; level++) {
    ti_tape t;

    ti_tape_init(&t, TI_F32, &error);
    record(&t, levels[level][0], levels[level][1]);
    assert_int_equal(ti_tape_plan(&t), TEXTINV_OK);
    for (ti_val p = 0; p < t.num_values; p++) {
      const life a = life_of(&t, p);

      assert_true(t.values[p].offset + t.values[p].bytes <= t.arena_bytes);
      for (ti_val q = 0; q < t.num_values; q++) {
        const life b = life_of(&t, q);
        const size_t start = t.values[p].offset, other = t.values[q].offset;

        if (p == q || t.values[p].base != p || t.values[q].base != q || a.first > a.last ||
            b.first > b.last || a.last < b.first || b.last < a.first ||
            start + t.values[p].bytes <= other || other + t.values[q].bytes <= start)
          continue;
        if (start != other || (a.last != b.first && b.last != a.first))
          fail_msg("level %d: value %d, of records %d to %d, and %d, of %d to %d", level, p,
                   a.first, a.last, q, b.first, b.last);
        in_place++;
      }
    }
    ti_tape_free(&t);
  }
  assert_true(in_place > 0);
}

static long resident_pages(void)
{
  long total = 0, resident = 0;
  FILE *f = fopen("/proc/self/statm", "r");

  assert_non_null(f);
  assert_int_equal(fscanf(f, "%ld %ld", &total, &resident), 2);
  fclose(f);
  return resident;
}

/* a plan of 200 MB takes 200 MB */
static void peak_is_what_the_process_uses(void **state)
{
  ti_kernels kernels;
  ti_team *team = ti_team_new(2);
  ti_plan plan;
  ti_arena arena = { 0 };
  ti_val x, y;

  (void)state;
  memset(&plan, 0, sizeof(plan));
  ti_kernels_init_cpu(&kernels);
  ti_tape_init(&plan.tape, TI_F32, &error);
  x = ti_input(&plan.tape, TI_TYPE_F32, 1, 512, 512, 64);
  y = ti_concat(&plan.tape, ti_activate(&plan.tape, x, TI_SILU),
                ti_activate(&plan.tape, x, TI_GELU));
  ti_output(&plan.tape, ti_activate(&plan.tape, y, TI_SILU));
  assert_int_equal(ti_plan_prepare(&plan, &kernels, team), TEXTINV_OK);
  assert_true(plan.tape.arena_bytes ==
              4u * 512 * 512 * 64 * 4); /* a, b and their concat, in place after */

  const long before = resident_pages();

  assert_int_equal(ti_arena_reserve(&arena, &error, ti_plan_bytes(&plan)), TEXTINV_OK);
  memset(ti_plan_data(&plan, &arena, x), 0, 512u * 512 * 64 * 4);
  assert_int_equal(ti_plan_run(&plan, &arena, 0, NULL), TEXTINV_OK);
  const double used = (double)(resident_pages() - before) * (double)sysconf(_SC_PAGESIZE);

  assert_true(used < 1.05 * (double)ti_plan_bytes(&plan) + (4 << 20));
  assert_true(used > 0.95 * (double)ti_plan_bytes(&plan));
  ti_plan_free(&plan);
  ti_arena_free(&arena);
  ti_team_free(team);
}

/* a context that stays, latents that change: a run that is `again` gives what a whole run gives */
static void constants_are_computed_once(void **state)
{
  enum { SIDE = 3, WIDE = 8, MANY = 64 };
  ti_kernels kernels;
  ti_plan plan;
  ti_arena arena = { 0 };
  float whole[2][2 * SIDE * SIDE * WIDE];

  (void)state;
  ti_kernels_init_cpu(&kernels);
  for (int again = 0; again < 2; again++) {
    memset(&plan, 0, sizeof(plan));
    ti_tape_init(&plan.tape, TI_F32, &error);
    ti_tape *t = &plan.tape;
    const ti_val x = ti_input(t, TI_TYPE_F32, 1, SIDE, SIDE, WIDE);
    const ti_val context = ti_constant(t, ti_input(t, TI_TYPE_F32, 2, 1, 5, WIDE));
    /* the largest, so that all others could lie in it */
    const ti_val unread = ti_input(t, TI_TYPE_F32, MANY, 1, 5, WIDE);
    const ti_val q = ti_twice(t, ti_activate(t, x, TI_SILU));
    const ti_val keys = ti_activate(t, ti_activate(t, context, TI_SILU), TI_GELU);
    const ti_val y = ti_add(t, ti_attention(t, q, keys, context, 2, 0), ti_twice(t, x));

    ti_output(t, y);
    assert_int_equal(ti_plan_prepare(&plan, &kernels, NULL), TEXTINV_OK);
    assert_int_equal(plan.tape.num_constant, 2);
    assert_int_equal(ti_arena_reserve(&arena, &error, ti_plan_bytes(&plan)), TEXTINV_OK);
    for (int step = 0; step < 3; step++) {
      float *values = ti_plan_data(&plan, &arena, x), *held;

      test_seed(20 + (unsigned)step);
      for (int i = 0; i < SIDE * SIDE * WIDE; i++)
        values[i] = test_normal();
      memset(ti_plan_data(&plan, &arena, unread), 1, MANY * 5 * WIDE * sizeof(float));
      if (!again || !step) {
        test_seed(30);
        held = ti_plan_data(&plan, &arena, context);
        for (int i = 0; i < 2 * 5 * WIDE; i++)
          held[i] = test_normal();
      }
      assert_int_equal(ti_plan_run(&plan, &arena, again && step, NULL), TEXTINV_OK);
    }
    memcpy(whole[again], ti_plan_data(&plan, &arena, y), sizeof(whole[again]));
    ti_plan_free(&plan);
    ti_arena_free(&arena);
  }
  assert_memory_equal(whole[0], whole[1], sizeof(whole[0]));
  /* the two contexts differ */
  assert_memory_not_equal(whole[0], whole[0] + SIDE * SIDE * WIDE, sizeof(whole[0]) / 2);
}

static void a_crop_keeps_the_upper_left(void **state)
{
  ti_kernels kernels;
  ti_plan plan;
  ti_arena arena = { 0 };

  (void)state;
  memset(&plan, 0, sizeof(plan));
  ti_kernels_init_cpu(&kernels);
  ti_tape_init(&plan.tape, TI_F32, &error);
  ti_tape *t = &plan.tape;
  const ti_val x = ti_input(t, TI_TYPE_F32, 2, 4, 6, 3), y = ti_crop(t, x, 3, 5);

  ti_output(t, y);
  assert_int_equal(ti_plan_prepare(&plan, &kernels, NULL), TEXTINV_OK);
  assert_int_equal(ti_arena_reserve(&arena, &error, ti_plan_bytes(&plan)), TEXTINV_OK);
  float *from = ti_plan_data(&plan, &arena, x);

  for (int i = 0; i < 2 * 4 * 6 * 3; i++)
    from[i] = (float)i;
  assert_int_equal(ti_plan_run(&plan, &arena, 0, NULL), TEXTINV_OK);
  const float *met = ti_plan_data(&plan, &arena, y);

  for (int n = 0; n < 2; n++) {
    for (int row = 0; row < 3; row++) {
      for (int i = 0; i < 5 * 3; i++)
        assert_true(*met++ == (float)(((n * 4 + row) * 6) * 3 + i));
    }
  }
  ti_plan_free(&plan);
  ti_arena_free(&arena);

  /* what is trained cannot be cut: there is no gradient of it */
  ti_tape_init(&plan.tape, TI_F32, &error);
  ti_crop(t, ti_want_grad(t, ti_input(t, TI_TYPE_F32, 1, 4, 4, 3)), 3, 4);
  assert_int_equal(ti_tape_status(t), TEXTINV_E_SHAPE);
  ti_tape_free(t);
}

static void cancel_stops_a_run(void **state)
{
  ti_kernels kernels;
  ti_plan plan;
  ti_arena arena = { 0 };
  atomic_int cancel = 1;
  float rows[ROWS * C] = { 0.0f };

  (void)state;
  memset(&plan, 0, sizeof(plan));
  ti_kernels_init_cpu(&kernels);
  ti_tape_init(&plan.tape, TI_F32, &error);
  const net n = record(&plan.tape, 0, 1);

  assert_int_equal(ti_plan_prepare(&plan, &kernels, NULL), TEXTINV_OK);
  assert_int_equal(ti_arena_reserve(&arena, &error, ti_plan_bytes(&plan)), TEXTINV_OK);
  fill(&plan, &arena, &n, rows);
  assert_int_equal(ti_plan_run(&plan, &arena, 0, &cancel), TEXTINV_E_CANCELLED);
  ti_plan_free(&plan);
  ti_arena_free(&arena);
}

static void a_wrong_shape_kills_the_tape(void **state)
{
  ti_tape t;
  ti_val x;

  (void)state;
  ti_tape_init(&t, TI_F32, &error);
  x = ti_input(&t, TI_TYPE_F32, 1, 4, 4, 5);
  assert_int_equal(ti_conv2d_same(&t, x, WEIGHT(8, 4, 3, 3), NULL, TI_NONE), TI_NONE);
  assert_int_equal(ti_tape_status(&t), TEXTINV_E_SHAPE);
  assert_non_null(strstr(error.text, "input channels: 4 where 5 is needed"));
  assert_int_equal(ti_activate(&t, x, TI_SILU), TI_NONE);
  ti_tape_free(&t);
  ti_tape_init(&t, TI_F32, &error);
  assert_int_equal(ti_input(&t, TI_TYPE_F32, 1 << 20, 1 << 20, 1 << 20, 1 << 20), TI_NONE);
  assert_int_equal(ti_tape_status(&t), TEXTINV_E_LIMIT);
  ti_tape_free(&t);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(gradient_matches_differences),
    cmocka_unit_test(recomputation_changes_nothing_but_memory),
    cmocka_unit_test(what_is_computed_again_is_not_kept),
    cmocka_unit_test(nothing_before_the_rows_is_differentiated),
    cmocka_unit_test(halves_scale_the_loss),
    cmocka_unit_test(products_and_norms_add_up_gradients),
    cmocka_unit_test(joined_products_give_what_single_ones_give),
    cmocka_unit_test(unused_records_are_dropped),
    cmocka_unit_test(sums_work_in_place),
    cmocka_unit_test(a_residual_that_is_the_input_stays),
    cmocka_unit_test(values_do_not_overlap),
    cmocka_unit_test(peak_is_what_the_process_uses),
    cmocka_unit_test(constants_are_computed_once),
    cmocka_unit_test(a_crop_keeps_the_upper_left),
    cmocka_unit_test(cancel_stops_a_run),
    cmocka_unit_test(a_wrong_shape_kills_the_tape),
  };

  return cmocka_run_group_tests_name("tape", tests, NULL, NULL);
}
