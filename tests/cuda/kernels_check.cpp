/*
 * Every CUDA kernel against the CPU reference: on the emulated device, or on a real one.
 *
 *   kernels_emulated [NAMES]            cases whose name contains one of NAMES, which are separated
 *                                       by commas; with '-' before them, the other cases
 *   kernels_check PLUGIN [NAMES]        the same through libtextinv-cuda.so
 *
 * The truth is the reference in double precision on the rounded inputs. Float must agree to 1e-5.
 * For 16 bits the error may be twice that of the plain formula in the same type, which rounds what
 * it stores. Outputs stand between guards and hold NaN before. A case runs several times (emulated:
 * with threads in another order each time) and must give the same bits.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "check.h"

/* ------ cases */

static void check_groupnorm(ti_dtype dtype, ti_groupnorm_shape s)
{
  test t("groupnorm n %d hw %d c %d groups %d silu %d", dtype, s.n, s.hw, s.c, s.groups, s.silu);
  const size_t count = (size_t)s.n * s.hw * s.c, stats = (size_t)s.n * s.groups;
  const tensor x = t.input(dtype, count, 1.0f, 3.0f), w = t.input(TI_F32, s.c),
               b = t.input(TI_F32, s.c);
  const tensor dy = t.input(dtype, count), other = t.input(dtype, count);
  const tensor shift = t.input(dtype, (size_t)s.n * s.c);
  /* one value has no spread, and a shift would be what is left of a difference of equals */
  const bool has_spread = s.hw * s.c > s.groups;
  tensor mean = t.output(TI_F32, stats), rstd = t.output(TI_F32, stats), y = t.output(dtype, count);
  tensor dx = t.output(dtype, count);

  t.scratch(cuda()->groupnorm_scratch(&s));
  for (int sums = 0; sums < 2; sums++) {
    t.run([&](backend &k) {
      return k->groupnorm_fwd(k.exec(), k.type(dtype), k(y), (float *)k(mean), (float *)k(rstd),
                              k(x), sums && has_spread ? k(shift) : NULL, (float *)k(w),
                              (float *)k(b), &s);
    });
    t.compare(mean);
    t.compare(rstd);
    t.compare(y);
    t.run([&](backend &k) {
      return k->groupnorm_bwd(k.exec(), k.type(dtype), k(dx), k(dy), k(x),
                              sums && has_spread ? k(shift) : NULL, (float *)k(mean),
                              (float *)k(rstd), (float *)k(w), (float *)k(b),
                              sums ? k(other) : NULL, &s);
    });
    t.compare(dx);
  }
}

static void check_layernorm(ti_dtype dtype, ti_layernorm_shape s)
{
  test t("layernorm rows %d c %d", dtype, s.rows, s.c);
  const size_t count = (size_t)s.rows * s.c;
  const tensor x = t.input(dtype, count, 1.0f, 3.0f), w = t.input(TI_F32, s.c),
               b = t.input(TI_F32, s.c);
  const tensor dy = t.input(dtype, count), other = t.input(dtype, count);
  tensor mean = t.output(TI_F32, s.rows), rstd = t.output(TI_F32, s.rows),
         y = t.output(dtype, count);
  tensor dx = t.output(dtype, count);

  t.run([&](backend &k) {
    return k->layernorm_fwd(k.exec(), k.type(dtype), k(y), (float *)k(mean), (float *)k(rstd), k(x),
                            (float *)k(w), (float *)k(b), &s);
  });
  t.compare(mean);
  t.compare(rstd);
  t.compare(y);
  for (int sum = 0; sum < 2; sum++) {
    t.run([&](backend &k) {
      return k->layernorm_bwd(k.exec(), k.type(dtype), k(dx), k(dy), k(x), (float *)k(mean),
                              (float *)k(rstd), (float *)k(w), sum ? k(other) : NULL, &s);
    });
    t.compare(dx);
  }
}

static void check_attention(ti_dtype dtype, int n, int heads, int tq, int tk, int d, int causal,
                            int packed, const char *by)
{
  test t("attention%s n %d heads %d tq %d tk %d d %d causal %d packed %d", dtype, by, n, heads, tq,
         tk, d, causal, packed);
  const int width = heads * d, stride = packed ? 3 * width : width;
  ti_attention_shape s = { n, heads, tq, tk, d, stride, stride, stride, causal,
                           1.0f / sqrtf((float)d) };
  const size_t rows = (size_t)n * heads * tq;
  const tensor q = t.input(dtype, (size_t)n * tq * stride),
               k = t.input(dtype, (size_t)n * tk * stride);
  const tensor v = t.input(dtype, (size_t)n * tk * stride);
  const tensor d_o = t.input(dtype, (size_t)n * tq * width);
  tensor o = t.output(dtype, (size_t)n * tq * width), lse = t.output(TI_F32, rows);
  tensor dq = t.output(dtype, (size_t)n * tq * stride),
         dk = t.output(dtype, (size_t)n * tk * stride);
  tensor dv = t.output(dtype, (size_t)n * tk * stride);

  /* what a packed row holds of the other two stays as it was */
  t.columns(dq, width, stride);
  t.columns(dk, width, stride);
  t.columns(dv, width, stride);
  t.prepare([&](ti_exec *e, void **, size_t *bytes) {
    *bytes = cuda()->attention_scratch(e, dtype, &s, 1);
    return TEXTINV_OK;
  });
  t.run([&](backend &b) {
    return b->attention_fwd(b.exec(), b.type(dtype), b(o), (float *)b(lse), b(q), b(k), b(v), &s);
  });
  t.compare(o);
  t.compare(lse, dtype == TI_BF16 ? 8.0 : 1.0); /* Hopper adds up what is rounded for the product */
  /* o and lse of the truth, so that what is compared is this direction alone */
  t.share(o);
  t.share(lse);
  t.run([&](backend &b) {
    return b->attention_bwd(b.exec(), b.type(dtype), b(dq), b(dk), b(dv), b(d_o), b(o),
                            (float *)b(lse), b(q), b(k), b(v), &s);
  });
  /* p and ds are rounded before the second product, as PyTorch and the plain formula do */
  t.compare(dq, 1.5);
  t.compare(dk, 1.5);
  t.compare(dv, 1.5);
  t.reset(dk);
  t.reset(dv);
  t.run([&](backend &b) {
    return b->attention_bwd(b.exec(), b.type(dtype), NULL, b(dk), b(dv), b(d_o), b(o),
                            (float *)b(lse), b(q), b(k), b(v), &s);
  });
  t.compare(dk, 1.5);
  t.compare(dv, 1.5);
}

static void check_conv2d(ti_dtype dtype, ti_conv2d_shape s, int has_bias, int has_residual,
                         const char *by)
{
  s.oh = (s.h * s.up + s.pad_top + s.pad_bottom - s.kh) / s.stride + 1;
  s.ow = (s.w * s.up + s.pad_left + s.pad_right - s.kw) / s.stride + 1;
  test t("conv2d%s n %d %dx%d %d->%d k %dx%d stride %d pad %d %d %d %d up %d bias %d residual %d",
         dtype, by, s.n, s.h, s.w, s.cin, s.cout, s.kh, s.kw, s.stride, s.pad_top, s.pad_left,
         s.pad_bottom, s.pad_right, s.up, has_bias, has_residual);
  const size_t x_count = (size_t)s.n * s.h * s.w * s.cin,
               y_count = (size_t)s.n * s.oh * s.ow * s.cout;
  const float deviation = 1.0f / sqrtf((float)s.kh * s.kw * s.cin);
  const tensor x = t.input(dtype, x_count), dy = t.input(dtype, y_count);
  const tensor w = t.input(dtype, (size_t)s.cout * s.cin * s.kh * s.kw, deviation);
  const tensor bias = t.input(TI_F32, s.cout), residual = t.input(dtype, y_count);
  const tensor other = t.input(dtype, x_count);
  tensor y = t.output(dtype, y_count), dx = t.output(dtype, x_count);
  weight weights(t, w, { s.cout, s.cin, s.kh, s.kw }), biases(t, bias, { s.cout });
  size_t kept = 0; /* of weights, on the device */

  for (int backward = 0; backward < 2; backward++) {
    t.prepare([&](ti_exec *e, void **prepared, size_t *scratch) {
      return cuda()->conv2d_prepare(e, dtype, prepared, scratch, weights.get(),
                                    has_bias && !backward ? biases.get() : NULL, &s, has_residual,
                                    backward);
    });
    if (backward && plugin()->weight_bytes(context()) != kept)
      t.fail("the directions do not share the weight");
    kept = plugin()->weight_bytes(context());
    t.run([&](backend &k) {
      return backward ? k->conv2d_bwd(k.exec(), k.type(dtype), k(dx), k(dy), k(w),
                                      has_residual ? k(other) : NULL, &s)
                      : k->conv2d_fwd(k.exec(), k.type(dtype), k(y), k(x), k(w),
                                      has_bias ? (float *)k(bias) : NULL,
                                      has_residual ? k(residual) : NULL, &s);
    });
    t.compare(backward ? dx : y);
  }
}

static void check_linear(ti_dtype dtype, ti_linear_shape s, int has_bias, int has_residual,
                         const char *by)
{
  test t("linear%s rows %d %d->%d bias %d residual %d", dtype, by, s.rows, s.cin, s.cout, has_bias,
         has_residual);
  const size_t y_count = (size_t)s.rows * s.cout, x_count = (size_t)s.rows * s.cin;
  const tensor x = t.input(dtype, x_count), dy = t.input(dtype, y_count);
  const tensor w = t.input(dtype, (size_t)s.cout * s.cin, 1.0f / sqrtf((float)s.cin));
  const tensor bias = t.input(TI_F32, s.cout), residual = t.input(dtype, y_count);
  const tensor other = t.input(dtype, x_count);
  tensor y = t.output(dtype, y_count), dx = t.output(dtype, x_count);
  weight weights(t, w, { s.cout, s.cin }), biases(t, bias, { s.cout });

  for (int backward = 0; backward < 2; backward++) {
    t.prepare([&](ti_exec *e, void **prepared, size_t *scratch) {
      return cuda()->linear_prepare(e, dtype, prepared, scratch, weights.get(),
                                    has_bias && !backward ? biases.get() : NULL, &s, has_residual,
                                    backward);
    });
    t.run([&](backend &k) {
      return backward ? k->linear_bwd(k.exec(), k.type(dtype), k(dx), k(dy), k(w),
                                      has_residual ? k(other) : NULL, &s)
                      : k->linear_fwd(k.exec(), k.type(dtype), k(y), k(x), k(w),
                                      has_bias ? (float *)k(bias) : NULL,
                                      has_residual ? k(residual) : NULL, &s);
    });
    t.compare(backward ? dx : y);
  }
}

static void check_activation(ti_dtype dtype, size_t count, ti_activation kind)
{
  test t("activation %d count %zu", dtype, (int)kind, count);
  const ti_activation_shape s = { count, kind };
  const tensor x = t.input(dtype, count, 3.0f), dy = t.input(dtype, count);
  tensor y = t.output(dtype, count), dx = t.output(dtype, count);

  t.run([&](backend &k) { return k->activation_fwd(k.exec(), k.type(dtype), k(y), k(x), &s); });
  t.compare(y);
  t.run([&](backend &k) {
    return k->activation_bwd(k.exec(), k.type(dtype), k(dx), k(dy), k(x), &s);
  });
  t.compare(dx);
}

static void check_geglu(ti_dtype dtype, int rows, int c)
{
  test t("geglu rows %d c %d", dtype, rows, c);
  const ti_geglu_shape s = { rows, c };
  const size_t count = (size_t)rows * c;
  const tensor x = t.input(dtype, 2 * count, 2.0f), dy = t.input(dtype, count);
  tensor y = t.output(dtype, count), dx = t.output(dtype, 2 * count);

  t.run([&](backend &k) { return k->geglu_fwd(k.exec(), k.type(dtype), k(y), k(x), &s); });
  t.compare(y);
  t.run([&](backend &k) { return k->geglu_bwd(k.exec(), k.type(dtype), k(dx), k(dy), k(x), &s); });
  t.compare(dx);
}

static void check_sums(ti_dtype dtype, int n, int hw, int c)
{
  test t("add n %d hw %d c %d", dtype, n, hw, c);
  const ti_sum_pixels_shape s = { n, hw, c };
  const size_t count = (size_t)n * hw * c;
  const tensor a = t.input(dtype, count), b = t.input(dtype, count);
  tensor y = t.output(dtype, count), v = t.output(dtype, (size_t)n * c);

  t.run([&](backend &k) { return k->add(k.exec(), k.type(dtype), k(y), k(a), k(b), count); });
  t.compare(y);
  t.run([&](backend &k) { return k->sum_pixels(k.exec(), k.type(dtype), k(v), k(a), &s); });
  t.compare(v);
}

static void check_copies(ti_dtype dtype, ti_copy_columns_shape s)
{
  test t("copy_columns rows %d count %d y %d+%d x %d+%d", dtype, s.rows, s.count, s.y_c, s.y_from,
         s.x_c, s.x_from);
  const tensor x = t.input(dtype, (size_t)s.rows * s.x_c);
  tensor y = t.output(dtype, (size_t)s.rows * s.y_c);

  t.columns(y, s.count, s.y_c, s.y_from);
  t.run([&](backend &k) { return k->copy_columns(k.exec(), k.type(dtype), k(y), k(x), &s); });
  t.compare(y);
}

static void check_gather(ti_dtype dtype, int n, int tokens, int c)
{
  test t("gather n %d tokens %d c %d", dtype, n, tokens, c);
  const ti_gather_shape s = { n, tokens, c };
  const size_t count = (size_t)n * tokens * c;
  const tensor x = t.input(dtype, count), dy = t.input(dtype, (size_t)n * c);
  const tensor index = t.integers(n, tokens);
  tensor y = t.output(dtype, (size_t)n * c), dx = t.output(dtype, count);

  t.run([&](backend &k) {
    return k->gather_fwd(k.exec(), k.type(dtype), k(y), k(x), (int32_t *)k(index), &s);
  });
  t.compare(y);
  t.run([&](backend &k) {
    return k->gather_bwd(k.exec(), k.type(dtype), k(dx), k(dy), (int32_t *)k(index), &s);
  });
  t.compare(dx);
}

static void check_cast(ti_dtype to, ti_dtype from, size_t count)
{
  test t("cast from %d count %zu", to, (int)from, count);
  const tensor x = t.input(from, count);
  tensor y = t.output(to, count);

  t.run([&](backend &k) { return k->cast(k.exec(), k.type(to), k(y), k.type(from), k(x), count); });
  t.compare(y);
}

static void check_upsample(ti_dtype dtype, int n, int h, int w, int c)
{
  test t("upsample n %d %dx%d c %d", dtype, n, h, w, c);
  const ti_upsample_shape s = { n, h, w, c };
  const size_t count = (size_t)n * h * w * c;
  const tensor x = t.input(dtype, count), dy = t.input(dtype, 4 * count);
  tensor y = t.output(dtype, 4 * count), dx = t.output(dtype, count);

  t.run([&](backend &k) { return k->upsample_fwd(k.exec(), k.type(dtype), k(y), k(x), &s); });
  t.compare(y);
  t.run([&](backend &k) { return k->upsample_bwd(k.exec(), k.type(dtype), k(dx), k(dy), &s); });
  t.compare(dx);
}

static void check_timestep(ti_dtype dtype, int n, int dim, int flip, float shift)
{
  test t("timestep n %d dim %d flip %d", dtype, n, dim, flip);
  const ti_timestep_shape s = { n, dim, flip, shift, 10000.0f };
  const tensor times = t.input(TI_F32, n, 300.0f, 500.0f);
  tensor y = t.output(dtype, (size_t)n * dim);

  t.run([&](backend &k) {
    return k->timestep_fwd(k.exec(), k.type(dtype), k(y), (float *)k(times), &s);
  });
  t.compare(y);
}

static void check_embedding(ti_dtype dtype, int n, int tokens, int c, int vocab, int rows,
                            int has_positions)
{
  test t("embedding n %d tokens %d c %d vocab %d rows %d positions %d", dtype, n, tokens, c, vocab,
         rows, has_positions);
  const ti_embedding_shape s = { n, tokens, c, vocab, rows };
  const size_t count = (size_t)n * tokens * c;
  const tensor ids = t.integers((size_t)n * tokens, vocab + rows);
  const tensor table = t.input(dtype, (size_t)vocab * c),
               learnt = t.input(TI_F32, (size_t)rows * c);
  const tensor positions = t.input(dtype, (size_t)tokens * c), dy = t.input(dtype, count);
  tensor y = t.output(dtype, count), drows = t.output(TI_F32, (size_t)rows * c);

  t.run([&](backend &k) {
    return k->embedding_fwd(k.exec(), k.type(dtype), k(y), (int32_t *)k(ids), k(table),
                            (float *)k(learnt), has_positions ? k(positions) : NULL, &s);
  });
  t.compare(y);
  t.run([&](backend &k) {
    return k->embedding_bwd(k.exec(), k.type(dtype), (float *)k(drows), k(dy), (int32_t *)k(ids),
                            &s);
  });
  t.compare(drows);
}

static void check_mse(ti_dtype dtype, int n, size_t count)
{
  test t("mse n %d count %zu", dtype, n, count);
  const ti_mse_shape s = { n, count };
  const tensor pred = t.input(dtype, n * count), target = t.input(TI_F32, n * count);
  tensor loss = t.output(TI_F32, 1), dpred = t.output(dtype, n * count);

  t.run([&](backend &k) {
    return k->mse_fwd(k.exec(), k.type(dtype), (float *)k(loss), k(pred), (float *)k(target), &s);
  });
  t.compare(loss);
  t.run([&](backend &k) {
    return k->mse_bwd(k.exec(), k.type(dtype), k(dpred), k(pred), (float *)k(target), 128.0f, &s);
  });
  t.compare(dpred);
}

/* ------ tables */

static void check_dtype(ti_dtype dtype)
{
  static const ti_groupnorm_shape groupnorms[] = {
    { 1, 1, 32, 32, 0, 1e-5f },  { 2, 9, 48, 4, 1, 1e-5f },  { 1, 20, 320, 32, 1, 1e-5f },
    { 3, 16, 64, 32, 0, 1e-6f }, { 1, 300, 131, 1, 1, 1e-5f }, { 1, 2, 2560, 32, 1, 1e-5f },
    { 50, 20, 16, 2, 1, 1e-5f },
    /* more than a block holds: lanes without a pixel, two turns of columns, one group of all */
    { 1, 540, 40, 4, 1, 1e-5f }, { 1, 17, 2576, 2, 0, 1e-5f }, { 2, 70, 328, 1, 1, 1e-6f },
  };
  static const ti_layernorm_shape layernorms[] = {
    { 1, 1, 1e-5f }, { 5, 320, 1e-5f }, { 3, 77, 1e-5f }, { 9, 768, 1e-6f }, { 3, 2600, 1e-5f },
  };
  /* n, h, w, cin, cout, kh, kw, stride, pads, up */
  static const ti_conv2d_shape convs[] = {
    { 1, 8, 8, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0 },   /* same */
    { 2, 5, 7, 24, 40, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0 },   /* odd sides */
    { 1, 6, 6, 4, 32, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0 },    /* first */
    { 1, 6, 6, 32, 4, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0 },    /* last */
    { 1, 5, 6, 7, 3, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0 },     /* nothing aligned */
    { 2, 8, 8, 32, 32, 3, 3, 2, 1, 1, 1, 1, 1, 0, 0 },   /* down */
    { 1, 9, 8, 16, 24, 3, 3, 2, 0, 0, 1, 1, 1, 0, 0 },   /* the autoencoder's down */
    { 1, 4, 4, 32, 16, 3, 3, 1, 1, 1, 1, 1, 2, 0, 0 },   /* up */
    { 1, 3, 5, 8, 8, 3, 3, 1, 1, 1, 1, 1, 2, 0, 0 },
    { 1, 4, 4, 72, 8, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0 },
    { 1, 8, 8, 16, 16, 4, 4, 4 / 2, 0, 0, 0, 0, 1, 0, 0 },
    { 1, 2, 2, 320, 64, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0 },  /* split */
    { 1, 14, 20, 8, 136, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0 }, /* large tiles */
    { 1, 9, 15, 136, 12, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0 }, /* few columns, split */
  };
  /* the same for Hopper: 64 channels lie within one tap */
  static const ti_conv2d_shape hopper_convs[] = {
    { 1, 8, 8, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0 },     /* same, split */
    { 2, 9, 7, 64, 192, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0 },    /* odd sides, an odd tile of n */
    { 3, 9, 8, 128, 72, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0 },
    { 2, 16, 16, 64, 64, 3, 3, 2, 1, 1, 1, 1, 1, 0, 0 },   /* down */
    { 1, 21, 18, 64, 128, 3, 3, 2, 0, 0, 1, 1, 1, 0, 0 },  /* the autoencoder's down */
    { 1, 8, 9, 128, 64, 3, 3, 1, 1, 1, 1, 1, 2, 0, 0 },    /* up */
    { 3, 7, 16, 64, 320, 3, 3, 1, 1, 1, 1, 1, 2, 0, 0 },   /* up, several tiles of each parity */
    { 5, 8, 8, 320, 64, 3, 3, 1, 1, 1, 1, 1, 2, 0, 0 },    /* the same, the last without all its patches */
    { 1, 8, 8, 64, 64, 3, 3, 1, 1, 1, 0, 0, 2, 0, 0 },     /* up, a smaller image */
    { 1, 14, 15, 320, 64, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0 },  /* patches of 8 x 8 that stand over */
    { 5, 8, 16, 64, 320, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0 },   /* tiles of 256, several of a block */
    { 1, 8, 8, 384, 320, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0 },   /* split tiles of 128 */
    { 7, 8, 8, 128, 128, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0 },   /* a last tile without all its patches */
    { 1, 10, 10, 64, 64, 3, 3, 1, 0, 0, 0, 0, 1, 0, 0 },   /* a smaller image */
    { 1, 14, 6, 64, 64, 3, 3, 1, 2, 1, 2, 2, 1, 0, 0 },    /* a larger one */
    { 1, 4, 4, 64, 128, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0 },    /* a few rows */
    { 4, 9, 16, 64, 320, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0 },   /* gathered, with tiled weights */
    { 1, 35, 32, 128, 128, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0 },
    { 1, 20, 12, 64, 128, 3, 3, 2, 0, 0, 1, 1, 1, 0, 0 },  /* down, of even sides */
    { 1, 8, 8, 64, 448, 3, 3, 2, 1, 1, 1, 1, 1, 0, 0 },    /* backward split, within taps */
    { 3, 16, 22, 320, 64, 3, 3, 2, 2, 1, 0, 1, 1, 0, 0 },  /* other paddings, several tiles */
  };
  static const ti_linear_shape linears[] = {
    { 1, 8, 8 }, { 77, 768, 64 }, { 3, 5, 7 }, { 200, 40, 136 }, { 20, 640, 24 },
  };
  static const ti_linear_shape cublas_linears[] = {
    { 2, 320, 1280 }, { 154, 768, 320 }, { 308, 768, 640 }, { 256, 1280, 1280 }, { 64, 5120, 1280 },
  };
  static const ti_linear_shape hopper_linears[] = { { 77, 768, 64 },
                                                    { 100, 128, 320 },
                                                    { 300, 320, 640 } };
  struct attention_case {
    int n, heads, tq, tk, d, causal, packed;
  };
  static const attention_case attentions[] = {
    { 1, 2, 64, 64, 40, 0, 0 },   { 2, 1, 70, 77, 40, 0, 0 },  { 1, 2, 100, 100, 64, 1, 1 },
    { 1, 1, 16, 77, 80, 0, 0 },   { 1, 1, 65, 33, 32, 0, 1 },  { 1, 1, 64, 64, 96, 0, 0 },
    { 1, 1, 40, 130, 128, 0, 0 }, { 1, 1, 66, 66, 160, 0, 0 }, { 1, 1, 1, 1, 8, 0, 0 },
    { 1, 3, 5, 9, 7, 0, 0 },      { 1, 1, 12, 12, 200, 0, 0 }, { 2, 2, 77, 77, 56, 1, 1 },
    { 1, 1, 300, 77, 40, 0, 0 },  { 1, 2, 6, 6, 512, 0, 0 },   { 1, 1, 129, 129, 40, 1, 1 },
    { 1, 2, 63, 257, 40, 0, 1 },  { 1, 1, 70, 300, 136, 0, 1 }, { 2, 1, 128, 192, 160, 0, 0 },
  };
  /* of kernels for Hopper alone */
  static const attention_case hopper_attentions[] = {
    /* few keys: several steps a block, parts of the queries, several tiles of keys */
    { 1, 8, 560, 9, 8, 0, 0 },    { 1, 8, 330, 24, 72, 0, 1 }, { 1, 8, 200, 17, 88, 1, 0 },
    { 1, 2, 700, 77, 40, 0, 0 },  { 1, 2, 300, 77, 80, 0, 1 }, { 2, 1, 256, 77, 160, 0, 0 },
    { 1, 2, 64, 64, 160, 0, 1 },  { 1, 2, 65, 1, 40, 0, 0 },   { 1, 1, 1, 65, 80, 0, 0 },
    { 1, 2, 140, 80, 64, 1, 0 },  { 1, 1, 256, 256, 160, 0, 0 }, { 2, 1, 150, 130, 128, 1, 1 },
    { 1, 4, 130, 81, 96, 0, 0 },
    /* long ones: a ring used several times, tiles at an end and whole ones */
    { 2, 1, 257, 800, 40, 0, 0 }, { 1, 2, 800, 260, 40, 0, 1 }, { 1, 1, 384, 480, 40, 0, 0 },
    { 1, 1, 530, 400, 64, 0, 0 }, { 1, 2, 256, 401, 80, 0, 1 }, { 1, 1, 560, 580, 80, 0, 0 },
    { 1, 1, 256, 300, 56, 0, 0 }, { 1, 1, 300, 256, 72, 0, 0 },
  };
  static const ti_copy_columns_shape copies[] = {
    { 5, 8, 24, 8, 16, 0 }, { 3, 5, 9, 2, 7, 1 },  { 7, 320, 640, 320, 320, 0 },
    { 1, 1, 1, 0, 1, 0 },   { 4, 6, 12, 2, 8, 2 },
  };

  for (const auto &s : groupnorms)
    check_groupnorm(dtype, s);
  for (const auto &s : layernorms)
    check_layernorm(dtype, s);
  plugin()->use_hopper(context(), 0);
  for (const auto &s : convs) {
    check_conv2d(dtype, s, 1, 0, "");
    check_conv2d(dtype, s, 1, 1, "");
  }
  check_conv2d(dtype, convs[0], 0, 0, "");
  for (int cublas = 0; cublas < 2; cublas++) {
    if (plugin()->use_cublas(context(), cublas) != cublas)
      continue; /* not installed */
    for (const auto &s : linears) {
      check_linear(dtype, s, 1, 0, cublas ? " cublas" : "");
      check_linear(dtype, s, 0, 1, cublas ? " cublas" : "");
    }
    check_linear(dtype, linears[4], 1, 1, cublas ? " cublas" : "");
    for (const auto &s : cublas_linears) {
      if (cublas)
        check_linear(dtype, s, 1, 1, " cublas");
    }
  }
  if (dtype != TI_F32 && plugin()->use_cudnn(context(), 1)) {
    for (const auto &s : convs) {
      for (int with = 0; with < 4; with++)
        check_conv2d(dtype, s, with % 2, with / 2, " cudnn");
    }
    for (const auto &s : hopper_convs)
      check_conv2d(dtype, s, 1, (&s - hopper_convs) % 2, " cudnn");
    plugin()->use_cudnn(context(), 0);
  }
  if (plugin()->use_hopper(context(), 1) && dtype != TI_F32) {
    plugin()->use_cublas(context(), 0);
    for (const auto &s : hopper_convs)
      check_conv2d(dtype, s, 1, (&s - hopper_convs) % 2, " hopper");
    check_conv2d(dtype, hopper_convs[0], 0, 1, " hopper");
    for (const auto &s : hopper_linears)
      check_linear(dtype, s, 1, 1, " hopper");
    plugin()->use_cublas(context(), 1);
  }
  for (int hopper = 0; hopper < 2; hopper++) {
    if (plugin()->use_hopper(context(), hopper) != hopper || (hopper && dtype == TI_F32))
      continue;
    for (const auto &a : attentions)
      check_attention(dtype, a.n, a.heads, a.tq, a.tk, a.d, a.causal, a.packed,
                      hopper ? " hopper" : "");
    for (const auto &a : hopper_attentions) {
      if (hopper)
        check_attention(dtype, a.n, a.heads, a.tq, a.tk, a.d, a.causal, a.packed, " hopper");
    }
  }
  for (const auto &s : copies)
    check_copies(dtype, s);
  for (size_t count : { (size_t)1, (size_t)37, (size_t)4096 }) {
    for (ti_activation kind : { TI_SILU, TI_GELU, TI_QUICK_GELU })
      check_activation(dtype, count, kind);
  }
  for (int c : { 1, 40, 77 }) {
    check_geglu(dtype, 5, c);
    check_sums(dtype, 2, 9, c);
    check_gather(dtype, 3, 7, c);
    check_upsample(dtype, 2, 3, 5, c);
  }
  for (ti_dtype from : { TI_F32, TI_F16, TI_BF16 })
    check_cast(dtype, from, 1000);
  check_timestep(dtype, 3, 320, 1, 0.0f);
  check_timestep(dtype, 2, 15, 0, 1.0f);
  check_timestep(dtype, 1, 1, 0, 0.0f);
  check_embedding(dtype, 2, 77, 48, 20, 3, 1);
  check_embedding(dtype, 1, 9, 5, 4, 1, 0);
  check_mse(dtype, 2, 256);
  check_mse(dtype, 1, 4097);
}

static int check(const char *plugin, const char *names)
{
  check_open(plugin, names);
  for (ti_dtype dtype : { TI_F32, TI_F16, TI_BF16 })
    check_dtype(dtype);
  check_emulator();
  check_step();
  check_host_side();
  return check_close();
}

#ifdef TI_EMULATE
int main(int argc, char **argv)
{
  int status;

  if (argc > 1)
    return check(NULL, argv[1]);
  /* attention of 16 bits takes half of the time: in a process of its own */
  const pid_t child = fork();

  if (child < 0) {
    perror("fork");
    return 1;
  }
  const int failed = check(NULL, child ? "-f16 attention" : "f16 attention");

  return failed || (child && (waitpid(child, &status, 0) != child || status));
}
#else
int main(int argc, char **argv)
{
  if (argc < 2) {
    fprintf(stderr, "usage: %s PLUGIN [NAMES]\n", argv[0]);
    return 2;
  }
  return check(argv[1], argc > 2 ? argv[2] : "");
}
#endif
