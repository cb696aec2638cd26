/* cuda_bench: convolutions, linear layers, attention, and the peaks of the device. */
#include "cuda_bench.h"

#include <math.h>
#include <stdio.h>

#include <algorithm>

void measure_peaks()
{
  const int rows = tiny ? 1 << 6 : 1 << 16, side = tiny ? 128 : 8192;
  const ti_copy_columns_shape copy = { rows, side, side, 0, side, 0 };
  const ti_linear_shape s = { side, side, side };
  const size_t bytes = (size_t)rows * side * 2;
  const double flops = 2.0 * side * side * side;
  frozen weight({ side, side });
  ti_exec e = {};

  e.device = context;
  e.stream = plugin->stream(context);
  e.error = &error;
  void *x = device(bytes), *y = device(bytes);

  peak_bytes = 2.0 * (double)bytes /
               time_of(&e, 2, [&](int) { return kernels.copy_columns(&e, TI_BF16, y, x, &copy); });
  printf("copy %.0f GB/s; bf16 matrix product of %d in TFLOP/s:", peak_bytes * 1e-9, side);
  drop_memory();
  x = values(TI_BF16, (size_t)side * side);
  y = device((size_t)side * side * 2);
  for (int v = 0; v < VARIANTS; v++) {
    void *prepared = NULL;
    const void *plain;
    size_t scratch = 0;

    if (v == CUDNN || !choose(v))
      continue;
    must(plugin->enter(context, &error));
    must(kernels.linear_prepare(&e, TI_BF16, &prepared, &scratch, &weight.weight, NULL, &s, 0, 0));
    must(kernels.weight_plain(&e, &plain, &weight.weight, TI_BF16));
    plugin->leave(context);
    e.scratch = scratch ? device(scratch) : NULL;
    e.scratch_bytes = scratch;
    e.prepared = prepared;
    const double rate = flops / time_of(&e, 1, [&](int) {
      return kernels.linear_fwd(&e, TI_BF16, y, x, plain, NULL, NULL, &s);
    });

    kernels.release(prepared);
    printf(" %s %.1f", variant_names[v], rate * 1e-12);
    peak_flops = std::max(peak_flops, rate);
  }
  printf("\n");
  drop_memory();
}

static void bench_linear(ti_dtype dtype, int rows, int cin, int cout, int backward)
{
  const ti_linear_shape s = { rows, cin, cout };
  const double x = (double)rows * cin, y = (double)rows * cout, w = (double)cin * cout;
  operation o(text("linear%s %d x %d -> %d", backward ? "_bwd" : "", rows, cin, cout),
              2.0 * rows * w, 2.0 * (x + y + w));
  void *in[MAX_SETS], *out[MAX_SETS];

  if (!o.wanted())
    return;
  frozen weight({ cout, cin }), frozen_bias({ cout });
  const void *plain, *bias;

  for (int i = 0; i < o.sets; i++) {
    in[i] = values(dtype, (size_t)(backward ? y : x));
    out[i] = device((size_t)(backward ? x : y) * 2);
  }

  for (int v = 0; v < VARIANTS; v++) {
    void *prepared = NULL;
    size_t scratch = 0;

    if (v == CUDNN || !choose(v))
      continue;
    must(plugin->enter(context, &error));
    must(kernels.linear_prepare(&o.e, dtype, &prepared, &scratch, &weight.weight,
                                backward ? NULL : &frozen_bias.weight, &s, 0, backward));
    must(kernels.weight_plain(&o.e, &plain, &weight.weight, dtype));
    must(kernels.weight_plain(&o.e, &bias, &frozen_bias.weight, TI_F32));
    plugin->leave(context);
    o.scratch(scratch);
    o.e.prepared = prepared;
    o.run([&](int i) {
      return backward ? kernels.linear_bwd(&o.e, dtype, out[i], in[i], plain, NULL, &s)
                      : kernels.linear_fwd(&o.e, dtype, out[i], in[i], plain, (const float *)bias,
                                           NULL, &s);
    }, variant_names[v]);
    kernels.release(prepared);
  }
  drop_memory();
}

static void bench_conv(ti_dtype dtype, int n, int side, int cin, int cout, int k, int stride,
                       int up, int backward)
{
  ti_conv2d_shape s = {
    n, side, side, cin, cout, k, k, stride, k / 2, k / 2, k / 2, k / 2, up, 0, 0
  };

  s.oh = s.ow = (side * up + k / 2 * 2 - k) / stride + 1;
  const double x = (double)n * side * side * cin, y = (double)n * s.oh * s.ow * cout;
  const double w = (double)cin * cout * k * k;
  operation o(text("conv2d%s %d %dx%d %d -> %d k%d s%d u%d", backward ? "_bwd" : "", n, side, side,
                   cin, cout, k, stride, up),
              2.0 * y * cin * k * k, 2.0 * (x + y + w));
  void *in[MAX_SETS], *out[MAX_SETS];

  if (!o.wanted())
    return;
  frozen weight({ cout, cin, k, k }), frozen_bias({ cout });
  const void *bias;

  for (int i = 0; i < o.sets; i++) {
    in[i] = values(dtype, (size_t)(backward ? y : x));
    out[i] = device((size_t)(backward ? x : y) * 2);
  }
  for (int v = 0; v < VARIANTS; v++) {
    void *prepared = NULL;
    size_t scratch = 0;

    if (v == CUBLAS || !choose(v))
      continue;
    must(plugin->enter(context, &error));
    must(kernels.conv2d_prepare(&o.e, dtype, &prepared, &scratch, &weight.weight,
                                backward ? NULL : &frozen_bias.weight, &s, 0, backward));
    must(kernels.weight_plain(&o.e, &bias, &frozen_bias.weight, TI_F32));
    plugin->leave(context);
    o.scratch(scratch);
    o.e.prepared = prepared;
    o.run([&](int i) {
      return backward ? kernels.conv2d_bwd(&o.e, dtype, out[i], in[i], NULL, NULL, &s)
                      : kernels.conv2d_fwd(&o.e, dtype, out[i], in[i], NULL, (const float *)bias,
                                           NULL, &s);
    }, variant_names[v]);
    kernels.release(prepared);
  }
  drop_memory();
}

static void bench_attention(ti_dtype dtype, int n, int heads, int tq, int tk, int d, int backward)
{
  const ti_attention_shape s = { n, heads, tq, tk, d, heads * d, heads * d, heads * d, 0,
                                 1.0f / sqrtf((float)d) };
  const double q = (double)n * tq * heads * d, k = (double)n * tk * heads * d;
  /* backward: five products, and q, k, v, o, do read, dq, dk, dv written */
  operation o(
    text("attention%s %d x %d heads %d x %d d %d", backward ? "_bwd" : "", n, heads, tq, tk, d),
    (backward ? 10.0 : 4.0) * q * tk, 2.0 * (backward ? 4 * q + 4 * k : 2 * q + 2 * k));
  void *p[MAX_SETS][8];
  float *lse[MAX_SETS];

  if (!o.wanted())
    return;
  for (int i = 0; i < o.sets; i++) {
    for (int j = 0; j < 8; j++) {
      const int of_keys = j == 1 || j == 2 || j == 6 || j == 7; /* q k v do | o dq dk dv */

      p[i][j] = values(dtype, (size_t)(of_keys ? k : q));
    }
    lse[i] = (float *)device((size_t)n * heads * tq * 4);
  }
  plugin->use_hopper(context, 1); /* needs the most */
  o.scratch(kernels.attention_scratch(&o.e, dtype, &s, 1));
  must(plugin->enter(context, &error));
  for (int i = 0; i < o.sets; i++)
    must(kernels.attention_fwd(&o.e, dtype, p[i][4], lse[i], p[i][0], p[i][1], p[i][2], &s));
  plugin->leave(context);
  for (int v = 0; v < VARIANTS; v++) {
    if (v == CUBLAS || v == CUDNN || !choose(v))
      continue;
    o.run(
      [&](int i) {
        return backward ? kernels.attention_bwd(&o.e, dtype, p[i][5], p[i][6], p[i][7], p[i][3],
                                                p[i][4], lse[i], p[i][0], p[i][1], p[i][2], &s)
                        : kernels.attention_fwd(&o.e, dtype, p[i][4], lse[i], p[i][0], p[i][1],
                                                p[i][2], &s);
      },
      variant_names[v]);
  }
  drop_memory();
}

void bench_products(ti_dtype dtype, int n, int backward)
{
  static const int convs[][6] = { { 64, 320, 320, 3, 1, 1 },  { 64, 640, 320, 3, 1, 1 },
                                  { 64, 320, 320, 3, 2, 1 },  { 32, 640, 640, 3, 1, 1 },
                                  { 32, 1280, 640, 3, 1, 1 }, { 32, 640, 640, 3, 1, 2 },
                                  { 16, 1280, 1280, 3, 1, 1 }, { 16, 2560, 1280, 3, 1, 1 },
                                  { 8, 1280, 1280, 3, 1, 1 }, { 64, 4, 320, 3, 1, 1 },
                                  { 64, 320, 4, 3, 1, 1 } };
  static const int linears[][3] = { { 4096, 320, 320 },  { 4096, 320, 2560 }, { 4096, 1280, 320 },
                                    { 1024, 640, 640 },  { 1024, 640, 5120 }, { 1024, 2560, 640 },
                                    { 256, 1280, 1280 }, { 256, 1280, 10240 }, { 256, 5120, 1280 },
                                    { 77, 768, 320 } };
  static const int attentions[][3] = { { 4096, 4096, 40 }, { 4096, 77, 40 }, { 1024, 1024, 80 },
                                       { 1024, 77, 80 },   { 256, 256, 160 }, { 256, 77, 160 } };

  for (const auto &c : convs)
    bench_conv(dtype, n, side_of(c[0]), width_of(c[1]), width_of(c[2]), c[3], c[4], c[5], backward);
  for (const auto &l : linears)
    bench_linear(dtype, n * tokens_of(l[0]), width_of(l[1]), width_of(l[2]), backward);
  for (const auto &a : attentions)
    bench_attention(dtype, n, tiny ? 1 : 8, tokens_of(a[0]), tokens_of(a[1]), a[2], backward);
}
