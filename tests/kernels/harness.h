/*
 * The one harness of the kernel tests. An operation is described once: its tensors and how to call
 * it. From that come the checks: backward against central differences of the reference, every
 * override against the reference in f32 and bf16, canaries, and the same bits for any number of
 * threads.
 */
#ifndef TI_HARNESS_H
#define TI_HARNESS_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "testing.h"

#include "alloc.h"
#include "kernels.h"

enum { MAX_TENSORS = 8 };

/* for loops over tables */
#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

typedef enum { NONE, STORED, FLOAT, IDS } tensor_kind; /* STORED: of the dtype under test */

typedef struct tensor {
  tensor_kind kind;
  size_t count;
  float scale, shift; /* values are normal * scale + shift; of IDS: below (int)scale */
} tensor;

typedef struct op op;

/* in and out as described; NULL for NONE */
typedef textinv_status (*op_run)(const op *o, const ti_kernels *k, ti_exec *e, ti_dtype dtype,
                                 void **out, void **in);

struct op {
  const char *name;
  op_run run;
  op_run derive; /* fills inputs that follow from others (statistics, outputs of fwd), or NULL */
  const void *shape;
  tensor in[MAX_TENSORS], out[MAX_TENSORS];
  double f32_bound; /* relative error of an override; 0 = 2e-6 */
  int other;        /* bwd: input that holds a gradient to be added; 0 = none */
};

typedef struct backend {
  const char *name;
  void (*init)(ti_kernels *k);
  int any_threads; /* the same bits for any number of threads; oneDNN splits sums by that */
  const char *cpu; /* TEXTINV_CPU; NULL = what the processor has */
} backend;

static void init_all(ti_kernels *k)
{
  ti_kernels_init_simd(k);
  ti_kernels_init_onednn(k);
}

static const backend backends[] = {
#ifdef __aarch64__
  { "neon", ti_kernels_init_simd, 1, "neon" },
  { "onednn", ti_kernels_init_onednn, 0, NULL },
  { "neon and onednn", init_all, 0, "neon" }
#else
  { "avx2", ti_kernels_init_simd, 1, "avx2" }, { "avx512", ti_kernels_init_simd, 1, "avx512" },
  { "bf16", ti_kernels_init_simd, 1, "bf16" }, { "onednn", ti_kernels_init_onednn, 0, NULL },
  { "avx2 and onednn", init_all, 0, "avx2" },  { "avx512 and onednn", init_all, 0, "avx512" },
  { "bf16 and onednn", init_all, 0, "bf16" }
#endif
};

static void backend_init(const backend *b, ti_kernels *k)
{
  ti_kernels_init_cpu(k);
  if (b->cpu)
    setenv("TEXTINV_CPU", b->cpu, 1);
  b->init(k);
  unsetenv("TEXTINV_CPU");
}

/* whether it installs what neither the reference nor a backend before it is: elsewhere it would be
 * compared with itself. Said once of each that is not here, as cmocka says it of a test */
static int backend_is_here(const backend *b)
{
  static int said[COUNT_OF(backends)];
  ti_kernels k, other;
  int is_new;

  backend_init(b, &k);
  ti_kernels_init_cpu(&other);
  is_new = memcmp(&k, &other, sizeof(k)) != 0;
  for (const backend *before = backends; before < b && is_new; before++) {
    backend_init(before, &other);
    is_new = memcmp(&k, &other, sizeof(k)) != 0;
  }
  if (!is_new && !said[b - backends]++)
    print_message("[  SKIPPED ] backend %s\n", b->name);
  return is_new;
}

static void fail_with(const char *what, const op *o, const backend *b, ti_dtype dtype, double got,
                      double bound)
{
  fail_msg("%s: %s %s %s: %.3g, at most %.3g is allowed", o->name, b ? b->name : "reference",
           dtype == TI_F32 ? "f32" : "bf16", what, got, bound);
}

static ti_dtype type_of(const tensor *t, ti_dtype dtype)
{
  return t->kind == STORED ? dtype : TI_F32;
}

static void *tensor_new(const tensor *t, ti_dtype dtype)
{
  return t->kind == NONE ? NULL : test_buffer_new(type_of(t, dtype), t->count);
}

/* bf16 values, so that one input serves every dtype */
static void tensor_fill(const tensor *t, ti_dtype dtype, void *p)
{
  for (size_t i = 0; i < t->count && t->kind != NONE; i++) {
    if (t->kind == IDS)
      ((int32_t *)p)[i] = test_below((int)t->scale);
    else
      ti_store(type_of(t, dtype), p, i,
               ti_bf16_to_f32(ti_f32_to_bf16(test_normal() * t->scale + t->shift)));
  }
}

/* the inputs of o in dtype, derived ones made by the reference */
static void inputs_new(const op *o, ti_dtype dtype, uint64_t seed, void **in)
{
  ti_kernels reference;
  ti_error error = { "" };
  ti_exec e = { .error = &error };

  test_seed(seed);
  for (int i = 0; i < MAX_TENSORS; i++) {
    in[i] = tensor_new(&o->in[i], dtype);
    tensor_fill(&o->in[i], dtype, in[i]);
  }
  ti_kernels_init_cpu(&reference);
  if (o->derive)
    assert_int_equal(o->derive(o, &reference, &e, dtype, NULL, in), TEXTINV_OK);
}

static void tensors_free(void **p)
{
  for (int i = 0; i < MAX_TENSORS; i++)
    test_buffer_free(p[i]);
}

static void outputs_new(const op *o, ti_dtype dtype, const ti_kernels *k, ti_team *team, void **in,
                        void **out)
{
  ti_error error = { "" };
  ti_exec e = { .team = team, .error = &error };
  textinv_status status;

  for (int i = 0; i < MAX_TENSORS; i++)
    out[i] = tensor_new(&o->out[i], dtype);
  status = o->run(o, k, &e, dtype, out, in);
  if (status < 0)
    fail_msg("%s: %s", o->name, error.text);
  for (int i = 0; i < MAX_TENSORS; i++) {
    if (out[i])
      test_buffer_check(out[i]);
  }
}

static float *as_floats(const tensor *t, ti_dtype dtype, const void *p)
{
  float *f = malloc(t->count * sizeof(float));

  assert_non_null(f);
  ti_convert(TI_F32, f, type_of(t, dtype), p, t->count);
  return f;
}

/* truth and plain: what the reference makes of it in f32 and in dtype */
static void check_override(const op *o, const backend *b, ti_dtype dtype, void **in, void **truth,
                           void **plain)
{
  ti_kernels k;
  ti_team *two = ti_team_new(2);
  void *got[MAX_TENSORS], *again[MAX_TENSORS];

  backend_init(b, &k);
  ti_team_enter(two);
  outputs_new(o, dtype, &k, NULL, in, got);
  outputs_new(o, dtype, &k, two, in, again);
  for (int i = 0; i < MAX_TENSORS; i++) {
    const tensor *t = &o->out[i];

    if (t->kind == NONE)
      continue;
    const ti_dtype type = type_of(t, dtype);
    const double error = test_relative_error(type, got[i], truth[i], t->count);
    const double twice = 2.0 * test_relative_error(type, plain[i], truth[i], t->count);
    const double f32_bound = o->f32_bound > 0.0 ? o->f32_bound : 2e-6;
    const double bound = dtype == TI_F32 ? f32_bound : fmax(twice, f32_bound);

    if (!(error <= bound))
      fail_with("error", o, b, dtype, error, bound);
    if (b->any_threads && memcmp(got[i], again[i], t->count * ti_dtype_size(type)))
      fail_with("bits differ between 1 and 2 threads", o, b, dtype, 1, 0);
    if (!(test_relative_error(type, again[i], truth[i], t->count) <= bound))
      fail_with("error with 2 threads", o, b, dtype, error, bound);
  }
  tensors_free(got);
  tensors_free(again);
  ti_team_free(two);
}

/* every backend, f32 and bf16 */
static void check_overrides(const op *o)
{
  ti_kernels k;
  void *in[2][MAX_TENSORS], *plain[2][MAX_TENSORS];

  ti_kernels_init_cpu(&k);
  for (int i = 0; i < 2; i++) {
    const ti_dtype dtype = i ? TI_BF16 : TI_F32;

    inputs_new(o, dtype, 7, in[i]);
    outputs_new(o, dtype, &k, NULL, in[i], plain[i]);
    for (size_t j = 0; j < COUNT_OF(backends); j++) {
      if (backend_is_here(&backends[j]))
        check_override(o, &backends[j], dtype, in[i], plain[0], plain[i]);
    }
  }
  for (int i = 0; i < 2; i++) {
    tensors_free(in[i]);
    tensors_free(plain[i]);
  }
}

/* sum of out[0] times weights */
static double weighted_sum(const op *o, const ti_kernels *k, void **in, const float *weights)
{
  void *out[MAX_TENSORS];
  double sum = 0.0;

  outputs_new(o, TI_F32, k, NULL, in, out);
  for (size_t i = 0; i < o->out[0].count; i++)
    sum += (double)((float *)out[0])[i] * weights[i];
  tensors_free(out);
  return sum;
}

/*
 * The backward pass of the reference: the derivative of sum(dy fwd(in)) along random directions of
 * in[x] must be that of bwd.out[dx]. bwd.in[dy] is the gradient of fwd.out[0]; other inputs of bwd
 * that share a place in same[] (pairs of indices: fwd in, bwd in, ended by -1) hold the same
 * values. What bwd adds is the gradient of sum(other in[x]).
 */
static void check_gradient(const op *fwd, int x, const op *bwd, int dy, int dx, const int *same)
{
  ti_kernels k;
  void *in[MAX_TENSORS], *bwd_in[MAX_TENSORS], *out[MAX_TENSORS];
  const size_t count = fwd->in[x].count;
  float *values, *keep, *direction = malloc(count * sizeof(float));
  ti_error error = { "" };
  ti_exec e = { .error = &error };

  assert_non_null(direction);
  ti_kernels_init_cpu(&k);
  inputs_new(fwd, TI_F32, 3, in);
  inputs_new(bwd, TI_F32, 4, bwd_in);
  for (; same && *same >= 0; same += 2)
    memcpy(bwd_in[same[1]], in[same[0]],
           fwd->in[same[0]].count * (fwd->in[same[0]].kind == IDS ? 4 : sizeof(float)));
  if (bwd->derive)
    assert_int_equal(bwd->derive(bwd, &k, &e, TI_F32, NULL, bwd_in), TEXTINV_OK);
  outputs_new(bwd, TI_F32, &k, NULL, bwd_in, out);
  values = in[x];
  keep = as_floats(&fwd->in[x], TI_F32, values);
  for (int trial = 0; trial < 6; trial++) {
    const float h = 1e-2f;
    double up, down, slope, expected = 0.0, dx_norm = 0.0, d_norm = 0.0;

    /* half of the trials move one value only */
    for (size_t i = 0; i < count; i++)
      direction[i] = trial % 2 ? 0.0f : test_normal() / sqrtf((float)count);
    if (trial % 2)
      direction[test_below((int)count)] = 1.0f;
    for (size_t i = 0; i < count; i++) {
      expected += (double)((float *)out[dx])[i] * direction[i];
      dx_norm += (double)((float *)out[dx])[i] * ((float *)out[dx])[i];
      d_norm += (double)direction[i] * direction[i];
      values[i] = keep[i] + h * direction[i];
    }
    up = weighted_sum(fwd, &k, in, bwd_in[dy]);
    for (size_t i = 0; i < count; i++)
      values[i] = keep[i] - h * direction[i];
    down = weighted_sum(fwd, &k, in, bwd_in[dy]);
    memcpy(values, keep, count * sizeof(float));
    slope = (up - down) / (2.0 * h);
    for (size_t i = 0; i < count && bwd->other; i++)
      slope += (double)((float *)bwd_in[bwd->other])[i] * direction[i];
    if (!(fabs(slope - expected) <= 3e-3 * sqrt(dx_norm * d_norm) + 1e-5))
      fail_with("gradient against differences", bwd, NULL, TI_F32, fabs(slope - expected),
                3e-3 * sqrt(dx_norm * d_norm));
  }
  free(direction);
  free(keep);
  tensors_free(in);
  tensors_free(bwd_in);
  tensors_free(out);
}

/* scratch of a record, guarded; free with test_buffer_free */
static inline void scratch_new(ti_exec *e, size_t bytes)
{
  e->scratch = bytes ? test_buffer_new(TI_F32, (bytes + 3) / 4) : NULL;
  e->scratch_bytes = bytes;
}

#endif /* TI_HARNESS_H */
