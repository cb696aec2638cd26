/*
 * Speed of single operations at the shapes of the SD 1.5 UNet: kernel_bench [OP [THREADS
 * [BACKEND]]], BACKEND being reference, avx2, avx512, neon, onednn, avx2+onednn or all. avx512 and
 * all take bf16 instructions where the processor has them, unless TEXTINV_CPU=avx512 forbids it.
 *
 * Warm-up, then the median of 20 runs (of 5 at least, when they are long); next to it the part of
 * the machine's peak, which is measured in the same run by a large matrix product and by a copy.
 * With one thread it is the processor's time that counts, which other programs disturb least.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "alloc.h"
#include "kernels.h"

enum { RUNS = 20, LEAST_RUNS = 5, MAX_BUFFERS = 8 };

#define LONG 0.5 /* seconds of runs after which LEAST_RUNS are enough */

static ti_kernels k;
static ti_error error;
static ti_exec e = { .error = &error };
static double peak_flops[2], peak_bytes; /* of f32, of bf16 */

typedef struct bench bench;

struct bench {
  const char *op, *shape_text;
  ti_dtype dtype;
  double flops, bytes; /* of one run; flops 0: bound by memory */
  const void *shape;
  textinv_status (*run)(const bench *b);
  void *x[MAX_BUFFERS];
  const float *f[4];
  void *prepared;
};

static double seconds(void)
{
  struct timespec t;

  clock_gettime(ti_team_size(e.team) == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
  const double x = *(const double *)a, y = *(const double *)b;

  return (x > y) - (x < y);
}

static double median_time(const bench *b)
{
  double times[RUNS], total = 0.0;
  int count = 0;

  e.prepared = b->prepared;
  for (int i = -1; i < RUNS && (i < LEAST_RUNS || total < LONG); i++) {
    const double start = seconds();

    if (b->run(b) < 0) {
      fprintf(stderr, "%s: %s\n", b->op, error.text);
      exit(1);
    }
    if (i < 0)
      continue;
    times[count] = seconds() - start;
    total += times[count++];
  }
  qsort(times, count, sizeof(times[0]), ascending);
  return times[count / 2];
}

static void report(const bench *b)
{
  const double time = median_time(b);

  printf("%-14s %-26s %-4s %9.3f ms", b->op, b->shape_text, b->dtype == TI_F32 ? "f32" : "bf16",
         1e3 * time);
  if (b->flops > 0.0)
    printf(" %8.1f GFLOP/s %4.0f %%\n", 1e-9 * b->flops / time,
           100.0 * b->flops / time / peak_flops[b->dtype == TI_BF16]);
  else
    printf(" %8.1f GB/s    %4.0f %%\n", 1e-9 * b->bytes / time,
           100.0 * b->bytes / time / peak_bytes);
  fflush(stdout);
}

static void *buffer(ti_dtype dtype, size_t count)
{
  void *p = ti_calloc(count, ti_dtype_size(dtype));
  uint32_t r = 1;

  if (!p) {
    fprintf(stderr, "out of memory\n");
    exit(1);
  }
  for (size_t i = 0; i < count; i++) {
    r = r * 1664525u + 1013904223u;
    ti_store(dtype, p, i, (float)(r >> 8) * 0x1p-23f - 1.0f);
  }
  return p;
}

static void need_scratch(size_t bytes)
{
  if (bytes <= e.scratch_bytes)
    return;
  ti_free(e.scratch);
  e.scratch = buffer(TI_F32, bytes / 4 + 1);
  e.scratch_bytes = bytes;
}

static void finish(bench *b)
{
  if (b->prepared)
    k.release(b->prepared);
  for (int i = 0; i < MAX_BUFFERS; i++)
    ti_free(b->x[i]);
}

/* ------ matrices */

static textinv_status conv_fwd(const bench *b)
{
  return k.conv2d_fwd(&e, b->dtype, b->x[0], b->x[1], b->x[2], NULL, NULL, b->shape);
}

static textinv_status conv_bwd(const bench *b)
{
  return k.conv2d_bwd(&e, b->dtype, b->x[1], b->x[0], b->x[2], NULL, b->shape);
}

static textinv_status linear_fwd(const bench *b)
{
  return k.linear_fwd(&e, b->dtype, b->x[0], b->x[1], b->x[2], NULL, NULL, b->shape);
}

static textinv_status linear_bwd(const bench *b)
{
  return k.linear_bwd(&e, b->dtype, b->x[1], b->x[0], b->x[2], NULL, b->shape);
}

static void matrix(ti_dtype dtype, int backward, const ti_conv2d_shape *conv,
                   const ti_linear_shape *linear)
{
  const size_t y = conv ? (size_t)conv->n * conv->oh * conv->ow * conv->cout
                        : (size_t)linear->rows * linear->cout;
  const size_t x = conv ? (size_t)conv->n * conv->h * conv->w * conv->cin
                        : (size_t)linear->rows * linear->cin;
  const size_t count = conv ? (size_t)conv->cout * conv->cin * conv->kh * conv->kw
                            : (size_t)linear->cin * linear->cout;
  bench b = { .dtype = dtype, .x = { buffer(dtype, y), buffer(dtype, x), buffer(dtype, count) } };
  ti_weight w = { .name = "w",
                  .data = b.x[2],
                  .count = count,
                  .rank = conv ? 4 : 2,
                  .dims = { conv ? conv->cout : linear->cout, conv ? conv->cin : linear->cin,
                            conv ? conv->kh : 1, conv ? conv->kw : 1 },
                  .dtype = dtype };
  size_t scratch = 0;
  textinv_status status = TEXTINV_OK;
  char text[64];

  if (conv) {
    b.op = backward ? "conv2d bwd" : "conv2d fwd";
    b.run = backward ? conv_bwd : conv_fwd;
    b.shape = conv;
    b.flops = 2.0 * conv->oh * conv->ow * conv->n * (double)count;
    snprintf(text, sizeof(text), "%dx%d %d>%d k%d s%d u%d", conv->h, conv->w, conv->cin, conv->cout,
             conv->kh, conv->stride, conv->up);
    if (k.conv2d_prepare)
      status = k.conv2d_prepare(&e, dtype, &b.prepared, &scratch, &w, NULL, conv, 0, backward);
  } else {
    b.op = backward ? "linear bwd" : "linear fwd";
    b.run = backward ? linear_bwd : linear_fwd;
    b.shape = linear;
    b.flops = 2.0 * linear->rows * (double)count;
    snprintf(text, sizeof(text), "%d %d>%d", linear->rows, linear->cin, linear->cout);
    if (k.linear_prepare)
      status = k.linear_prepare(&e, dtype, &b.prepared, &scratch, &w, NULL, linear, 0, backward);
  }
  if (status < 0) {
    fprintf(stderr, "%s: %s\n", b.op, error.text);
    exit(1);
  }
  b.shape_text = text;
  need_scratch(scratch);
  if (peak_flops[dtype == TI_BF16] > 0.0)
    report(&b);
  else
    peak_flops[dtype == TI_BF16] = b.flops / median_time(&b);
  finish(&b);
  ti_weight_drop(&w);
}

static void bench_conv2d(ti_dtype dtype)
{
  /* h, cin, cout, k, stride, up */
  static const int shapes[][6] = {
    { 64, 320, 320, 3, 1, 1 },   { 64, 640, 320, 3, 1, 1 },  { 32, 640, 640, 3, 1, 1 },
    { 16, 1280, 1280, 3, 1, 1 }, { 8, 1280, 1280, 3, 1, 1 }, { 64, 320, 320, 1, 1, 1 },
    { 64, 320, 320, 3, 2, 1 },   { 32, 640, 640, 3, 1, 2 },
  };

  for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
    const int *c = shapes[i], pad = c[3] / 2, o = (c[0] * c[5] + 2 * pad - c[3]) / c[4] + 1;
    const ti_conv2d_shape s = { .n = 1,
                                .h = c[0],
                                .w = c[0],
                                .cin = c[1],
                                .cout = c[2],
                                .kh = c[3],
                                .kw = c[3],
                                .stride = c[4],
                                .pad_top = pad,
                                .pad_left = pad,
                                .pad_bottom = pad,
                                .pad_right = pad,
                                .up = c[5],
                                .oh = o,
                                .ow = o };

    matrix(dtype, 0, &s, NULL);
    matrix(dtype, 1, &s, NULL);
  }
}

static void bench_linear(ti_dtype dtype)
{
  static const ti_linear_shape shapes[] = {
    { 4096, 320, 320 },   { 4096, 320, 2560 }, { 4096, 1280, 320 }, { 1024, 640, 640 },
    { 256, 1280, 10240 }, { 64, 1280, 1280 },  { 77, 768, 320 },
  };

  for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
    matrix(dtype, 0, NULL, &shapes[i]);
    matrix(dtype, 1, NULL, &shapes[i]);
  }
}

/* ------ attention */

static textinv_status attention_fwd(const bench *b)
{
  return k.attention_fwd(&e, b->dtype, b->x[0], b->x[1], b->x[2], b->x[3], b->x[4], b->shape);
}

static textinv_status attention_bwd(const bench *b)
{
  return k.attention_bwd(&e, b->dtype, b->x[5], b->x[6], b->x[7], b->x[0], b->x[0], b->x[1],
                         b->x[2], b->x[3], b->x[4], b->shape);
}

static void bench_attention(ti_dtype dtype)
{
  static const int shapes[][3] = {
    { 4096, 4096, 40 }, { 4096, 77, 40 }, { 1024, 1024, 80 }, { 256, 256, 160 }
  };

  for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
    const int *c = shapes[i], heads = 8, row = heads * c[2];
    const ti_attention_shape s = { 1,   heads, c[0], c[1], c[2],
                                   row, row,   row,  0,    1.0f / sqrtf((float)c[2]) };
    const size_t q = (size_t)c[0] * row, kv = (size_t)c[1] * row;
    bench b = { .op = "attention fwd",
                .dtype = dtype,
                .shape = &s,
                .run = attention_fwd,
                .flops = 4.0 * heads * (double)c[0] * c[1] * c[2],
                .x = { buffer(dtype, q), buffer(TI_F32, (size_t)heads * c[0]), buffer(dtype, q),
                       buffer(dtype, kv), buffer(dtype, kv), buffer(dtype, q), buffer(dtype, kv),
                       buffer(dtype, kv) } };
    char text[64];

    snprintf(text, sizeof(text), "%dx%d d%d h%d", c[0], c[1], c[2], heads);
    b.shape_text = text;
    if (k.attention_scratch) {
      need_scratch(k.attention_scratch(&e, dtype, &s, 0));
      need_scratch(k.attention_scratch(&e, dtype, &s, 1));
    }
    report(&b);
    b.op = "attention bwd";
    b.run = attention_bwd;
    b.flops *= 2.5;
    report(&b);
    finish(&b);
  }
}

/* ------ bound by memory */

static textinv_status groupnorm_fwd(const bench *b)
{
  return k.groupnorm_fwd(&e, b->dtype, b->x[0], b->x[3], b->x[4], b->x[1], NULL, b->x[5],
                         b->x[6], b->shape);
}

static textinv_status groupnorm_bwd(const bench *b)
{
  return k.groupnorm_bwd(&e, b->dtype, b->x[0], b->x[2], b->x[1], NULL, b->x[3], b->x[4],
                         b->x[5], b->x[6], NULL, b->shape);
}

static textinv_status groupnorm_sum(const bench *b)
{
  return k.groupnorm_bwd(&e, b->dtype, b->x[0], b->x[2], b->x[1], NULL, b->x[3], b->x[4],
                         b->x[5], b->x[6], b->x[7], b->shape);
}

static textinv_status layernorm_fwd(const bench *b)
{
  return k.layernorm_fwd(&e, b->dtype, b->x[0], b->x[3], b->x[4], b->x[1], b->x[5], b->x[6],
                         b->shape);
}

static textinv_status layernorm_bwd(const bench *b)
{
  return k.layernorm_bwd(&e, b->dtype, b->x[0], b->x[2], b->x[1], b->x[3], b->x[4], b->x[5], NULL,
                         b->shape);
}

static textinv_status layernorm_sum(const bench *b)
{
  return k.layernorm_bwd(&e, b->dtype, b->x[0], b->x[2], b->x[1], b->x[3], b->x[4], b->x[5],
                         b->x[7], b->shape);
}

static textinv_status activation_fwd(const bench *b)
{
  return k.activation_fwd(&e, b->dtype, b->x[0], b->x[1], b->shape);
}

static textinv_status activation_bwd(const bench *b)
{
  return k.activation_bwd(&e, b->dtype, b->x[0], b->x[2], b->x[1], b->shape);
}

static textinv_status geglu_fwd(const bench *b)
{
  return k.geglu_fwd(&e, b->dtype, b->x[0], b->x[1], b->shape);
}

static textinv_status geglu_bwd(const bench *b)
{
  return k.geglu_bwd(&e, b->dtype, b->x[1], b->x[0], b->x[2], b->shape);
}

static textinv_status add(const bench *b)
{
  return k.add(&e, b->dtype, b->x[0], b->x[1], b->x[2], *(const size_t *)b->shape);
}

static textinv_status cast(const bench *b)
{
  return k.cast(&e, b->dtype, b->x[0], b->dtype == TI_F32 ? TI_F16 : TI_F32, b->x[1],
                *(const size_t *)b->shape);
}

static textinv_status copy(const bench *b)
{
  return k.copy_columns(&e, b->dtype, b->x[0], b->x[1], b->shape);
}

static textinv_status sum_pixels(const bench *b)
{
  return k.sum_pixels(&e, b->dtype, b->x[0], b->x[1], b->shape);
}

static textinv_status upsample_fwd(const bench *b)
{
  return k.upsample_fwd(&e, b->dtype, b->x[0], b->x[1], b->shape);
}

static textinv_status upsample_bwd(const bench *b)
{
  return k.upsample_bwd(&e, b->dtype, b->x[1], b->x[0], b->shape);
}

enum { VOCAB = 1000 };
static int32_t ids[4 * 77]; /* below VOCAB, and the new row behind it */

static textinv_status embedding_fwd(const bench *b)
{
  return k.embedding_fwd(&e, b->dtype, b->x[0], ids, b->x[1], b->x[3], b->x[2], b->shape);
}

static textinv_status embedding_bwd(const bench *b)
{
  return k.embedding_bwd(&e, b->dtype, b->x[3], b->x[1], ids, b->shape);
}

static textinv_status gather_fwd(const bench *b)
{
  static const int32_t last[4] = { 5, 9, 12, 76 };

  return k.gather_fwd(&e, b->dtype, b->x[0], b->x[1], last, b->shape);
}

static textinv_status gather_bwd(const bench *b)
{
  static const int32_t last[4] = { 5, 9, 12, 76 };

  return k.gather_bwd(&e, b->dtype, b->x[0], b->x[1], last, b->shape);
}

static textinv_status timestep_fwd(const bench *b)
{
  return k.timestep_fwd(&e, b->dtype, b->x[0], b->x[3], b->shape);
}

static textinv_status mse_fwd(const bench *b)
{
  return k.mse_fwd(&e, b->dtype, b->x[4], b->x[1], b->x[3], b->shape);
}

static textinv_status mse_bwd(const bench *b)
{
  return k.mse_bwd(&e, b->dtype, b->x[0], b->x[1], b->x[3], 1.0f, b->shape);
}

/* passes: times that count values are read or written */
static void by_memory(const char *op, const char *text, ti_dtype dtype, double passes, size_t count,
                      const void *shape, textinv_status (*run)(const bench *))
{
  bench b = { .op = op,
              .shape_text = text,
              .dtype = dtype,
              .shape = shape,
              .run = run,
              .bytes = passes * (double)count * (double)ti_dtype_size(dtype) };

  for (int i = 0; i < 3; i++)
    b.x[i] = buffer(dtype, count);
  for (int i = 3; i < 7; i++)
    b.x[i] = buffer(TI_F32, 1 << 16);
  b.x[7] = buffer(dtype, count);
  if (peak_bytes > 0.0)
    report(&b);
  else
    peak_bytes = b.bytes / median_time(&b);
  finish(&b);
}

static void bench_groupnorm(ti_dtype dtype)
{
  const ti_groupnorm_shape s = { 1, 4096, 320, 32, 1, 1e-5f }, t = { 1, 256, 2560, 32, 1, 1e-5f };
  const size_t count = 4096 * 320;

  by_memory("groupnorm fwd", "64x64x320 silu", dtype, 2, 4096 * 320, &s, groupnorm_fwd);
  by_memory("groupnorm bwd", "64x64x320 silu", dtype, 3, 4096 * 320, &s, groupnorm_bwd);
  by_memory("groupnorm bwd, sum", "64x64x320 silu", dtype, 4, 4096 * 320, &s, groupnorm_sum);
  by_memory("add", "64x64x320", dtype, 3, count, &count, add);
  by_memory("groupnorm fwd", "16x16x2560 silu", dtype, 2, 256 * 2560, &t, groupnorm_fwd);
}

static void bench_layernorm(ti_dtype dtype)
{
  const ti_layernorm_shape s = { 4096, 320, 1e-5f };
  const size_t count = 4096 * 320;

  by_memory("layernorm fwd", "4096x320", dtype, 2, 4096 * 320, &s, layernorm_fwd);
  by_memory("layernorm bwd", "4096x320", dtype, 3, 4096 * 320, &s, layernorm_bwd);
  by_memory("layernorm bwd, sum", "4096x320", dtype, 4, 4096 * 320, &s, layernorm_sum);
  by_memory("add", "4096x320", dtype, 3, count, &count, add);
}

static void bench_elementwise(ti_dtype dtype)
{
  static const char *const names[] = { "silu fwd", "silu bwd",       "gelu fwd",
                                       "gelu bwd", "quick gelu fwd", "quick gelu bwd" };
  const ti_geglu_shape g = { 4096, 1280 };
  const ti_sum_pixels_shape c = { 1, 4096, 1280 };
  const size_t count = 4096 * 1280;

  for (int i = 0; i < 6; i++) {
    const ti_activation_shape s = { count, (ti_activation)(i / 2) };

    by_memory(names[i], "4096x1280", dtype, 2 + i % 2, count, &s,
              i % 2 ? activation_bwd : activation_fwd);
  }
  by_memory("geglu fwd", "4096x1280", dtype, 1.5, 2 * count, &g, geglu_fwd);
  by_memory("geglu bwd", "4096x1280", dtype, 2.5, 2 * count, &g, geglu_bwd);
  by_memory("add", "4096x1280", dtype, 3, count, &count, add);
  by_memory("sum_pixels", "4096x1280", dtype, 1, count, &c, sum_pixels);
}

static void bench_layout(ti_dtype dtype)
{
  const ti_copy_columns_shape concat = { 4096, 640, 960, 0, 640, 0 };
  const ti_copy_columns_shape split = { 4096, 640, 640, 0, 960, 0 };
  const ti_upsample_shape up = { 1, 32, 32, 640 };

  by_memory("concat", "64x64x640 of 960", dtype, 4.0 / 3, 4096 * 960, &concat, copy);
  by_memory("split", "64x64x640 of 960", dtype, 4.0 / 3, 4096 * 960, &split, copy);
  by_memory("upsample fwd", "32x32x640", dtype, 1.25, 4096 * 640, &up, upsample_fwd);
  by_memory("upsample bwd", "32x32x640", dtype, 1.25, 4096 * 640, &up, upsample_bwd);
}

/* all of it is short: what a step does once */
static void bench_ends(ti_dtype dtype)
{
  const ti_embedding_shape s = { 4, 77, 768, VOCAB, 1 };
  const ti_gather_shape g = { 4, 77, 768 };
  const ti_timestep_shape t = { 4, 320, 1, 0.0f, 10000.0f };
  const ti_mse_shape m = { 4, 4 * 64 * 64 };
  const size_t table = VOCAB * 768, tokens = 4 * 77 * 768;

  for (int i = 0; i < 4 * 77; i++)
    ids[i] = i * 613 % (VOCAB + 1);
  ids[5] = VOCAB;
  by_memory("embedding fwd", "4x77x768", dtype, 3.0 * (double)tokens / (double)table, table, &s,
            embedding_fwd);
  by_memory("embedding bwd", "4x77x768", dtype, 1, tokens, &s, embedding_bwd);
  by_memory("gather fwd", "4x77x768", dtype, 2.0 / 77, tokens, &g, gather_fwd);
  by_memory("gather bwd", "4x77x768", dtype, 1, tokens, &g, gather_bwd);
  by_memory("timestep", "4x320", dtype, 1, 4 * 320, &t, timestep_fwd);
  by_memory("mse fwd", "4x4x64x64", dtype, 2, 4 * 16384, &m, mse_fwd);
  by_memory("mse bwd", "4x4x64x64", dtype, 3, 4 * 16384, &m, mse_bwd);
}

static void bench_cast(ti_dtype dtype)
{
  const size_t count = 1 << 24;

  by_memory("cast", dtype == TI_F32 ? "f16 to f32" : "f32 to bf16", dtype,
            dtype == TI_F32 ? 1.5 : 3.0, 2 * count, &count, cast);
}

int main(int argc, char **argv)
{
  static const struct {
    const char *name;
    void (*run)(ti_dtype dtype);
  } ops[] = { { "conv2d", bench_conv2d },
              { "linear", bench_linear },
              { "attention", bench_attention },
              { "groupnorm", bench_groupnorm },
              { "layernorm", bench_layernorm },
              { "elementwise", bench_elementwise },
              { "layout", bench_layout },
              { "ends", bench_ends },
              { "cast", bench_cast } };
  const char *wanted = argc > 1 ? argv[1] : "";
  const char *backend = argc > 3 ? argv[3] : "all";
  const ti_copy_columns_shape big = { 1 << 15, 1024, 1024, 0, 1024, 0 };
  int found = 0;

  e.team = ti_team_new(argc > 2 && atoi(argv[2]) > 0 ? atoi(argv[2])
                                                     : (int)sysconf(_SC_NPROCESSORS_ONLN));
  ti_team_enter(e.team);
  ti_kernels_init_cpu(&k);
  if (strstr(backend, "avx2"))
    setenv("TEXTINV_CPU", "avx2", 1);
  if (strstr(backend, "avx") || strstr(backend, "neon") || !strcmp(backend, "all"))
    ti_kernels_init_simd(&k);
  if (strstr(backend, "onednn") || !strcmp(backend, "all"))
    ti_kernels_init_onednn(&k);
  matrix(TI_F32, 0, NULL, &(ti_linear_shape){ 2048, 2048, 2048 });
  matrix(TI_BF16, 0, NULL, &(ti_linear_shape){ 2048, 2048, 2048 });
  by_memory("copy", "128 MiB", TI_F32, 2, (size_t)1 << 25, &big, copy);
  printf("%d threads; peak %.0f GFLOP/s (f32 product), %.0f (bf16), %.1f GB/s (copy)\n",
         ti_team_size(e.team), 1e-9 * peak_flops[0], 1e-9 * peak_flops[1], 1e-9 * peak_bytes);
  for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
    if (*wanted && strcmp(wanted, ops[i].name))
      continue;
    found = 1;
    ops[i].run(TI_F32);
    ops[i].run(TI_BF16);
  }
  if (!found)
    fprintf(stderr, "%s: no such operation\n", wanted);
  ti_free(e.scratch);
  ti_team_free(e.team);
  return !found;
}
