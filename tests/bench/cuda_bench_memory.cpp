/* cuda_bench: what moves memory: norms, activations, sums, copies, embeddings, and the ends of a
 * step. */
#include "cuda_bench.h"

#include <math.h>
#include <string.h>

#include <algorithm>

/* an operand of an operation; shared: small, one for all sets, and none of its bytes */
struct tensor {
  ti_dtype dtype;
  size_t count;
  bool shared;
};

typedef std::function<textinv_status(ti_exec *, void *const *)> call;

/* f gets the tensors of a set; each is read or written once */
static void bench(const std::string &name, double flops, const std::vector<tensor> &tensors,
                  const call &f, size_t scratch = 0)
{
  std::vector<void *> sets[MAX_SETS];
  double bytes = 0.0;

  for (const tensor &t : tensors)
    bytes += t.shared ? 0.0 : (double)t.count * (double)ti_dtype_size(t.dtype);
  operation o(name, flops, bytes);

  if (!o.wanted())
    return;
  for (int i = 0; i < o.sets; i++) {
    for (size_t k = 0; k < tensors.size(); k++)
      sets[i].push_back(i && tensors[k].shared ? sets[0][k]
                                               : values(tensors[k].dtype, tensors[k].count));
  }
  o.scratch(scratch);
  o.run([&](int i) { return f(&o.e, sets[i].data()); });
  drop_memory();
}

static void bench_groupnorm(ti_dtype dtype, int n, int hw, int c, int backward, int sum)
{
  const ti_groupnorm_shape s = { n, hw, c, 32, 1, 1e-5f };
  const size_t count = (size_t)n * hw * c, stats = (size_t)n * 32;
  std::vector<tensor> t = { { TI_F32, (size_t)c, true }, { TI_F32, (size_t)c, true },
                            { TI_F32, stats, true },     { TI_F32, stats, true },
                            { dtype, count, false },     { dtype, count, false } };

  for (int more = 0; more < backward + sum; more++)
    t.push_back({ dtype, count, false });
  bench(
    text("groupnorm%s silu %d x %d x %d%s", backward ? "_bwd" : "", n, hw, c,
         sum ? " + other" : ""),
    10.0 * (double)count, t,
    [=](ti_exec *e, void *const *p) {
      float *w = (float *)p[0], *b = (float *)p[1], *mean = (float *)p[2], *rstd = (float *)p[3];

      return backward ? kernels.groupnorm_bwd(e, dtype, p[4], p[6], p[5], NULL, mean, rstd, w, b,
                                              sum ? p[7] : NULL, &s)
                      : kernels.groupnorm_fwd(e, dtype, p[4], mean, rstd, p[5], NULL, w, b, &s);
    },
    kernels.groupnorm_scratch(&s));
}

static void bench_layernorm(ti_dtype dtype, int rows, int c, int backward, int sum)
{
  const ti_layernorm_shape s = { rows, c, 1e-5f };
  const size_t count = (size_t)rows * c;
  std::vector<tensor> t = { { TI_F32, (size_t)c, true },    { TI_F32, (size_t)rows, true },
                            { TI_F32, (size_t)rows, true }, { dtype, count, false },
                            { dtype, count, false } };

  for (int more = 0; more < backward + sum; more++)
    t.push_back({ dtype, count, false });
  bench(text("layernorm%s %d x %d%s", backward ? "_bwd" : "", rows, c, sum ? " + other" : ""),
        8.0 * (double)count, t, [=](ti_exec *e, void *const *p) {
          float *w = (float *)p[0], *mean = (float *)p[1], *rstd = (float *)p[2];

          return backward ? kernels.layernorm_bwd(e, dtype, p[3], p[5], p[4], mean, rstd, w,
                                                  sum ? p[6] : NULL, &s)
                          : kernels.layernorm_fwd(e, dtype, p[3], mean, rstd, p[4], w, w, &s);
        });
}

static void bench_geglu(ti_dtype dtype, int rows, int c, int backward)
{
  const ti_geglu_shape s = { rows, c };
  const size_t count = (size_t)rows * c;

  if (backward)
    bench(text("geglu_bwd %d x %d", rows, c), 10.0 * (double)count,
          { { dtype, 2 * count, false }, { dtype, count, false }, { dtype, 2 * count, false } },
          [=](ti_exec *e, void *const *p) {
            return kernels.geglu_bwd(e, dtype, p[0], p[1], p[2], &s);
          });
  else
    bench(text("geglu %d x %d", rows, c), 10.0 * (double)count,
          { { dtype, count, false }, { dtype, 2 * count, false } },
          [=](ti_exec *e, void *const *p) { return kernels.geglu_fwd(e, dtype, p[0], p[1], &s); });
}

static void bench_activation(ti_dtype dtype, ti_activation kind, int rows, int c, int backward)
{
  static const char *const names[] = { "silu", "gelu", "quick_gelu" };
  const ti_activation_shape s = { (size_t)rows * c, kind };
  std::vector<tensor> t(backward ? 3 : 2, { dtype, s.count, false });

  bench(text("activation%s %s %d x %d", backward ? "_bwd" : "", names[kind], rows, c),
        8.0 * (double)s.count, t, [=](ti_exec *e, void *const *p) {
          return backward ? kernels.activation_bwd(e, dtype, p[0], p[1], p[2], &s)
                          : kernels.activation_fwd(e, dtype, p[0], p[1], &s);
        });
}

/* of two tensors, and (backward) over pixels */
static void bench_sums(ti_dtype dtype, int n, int hw, int c, int backward)
{
  const ti_sum_pixels_shape s = { n, hw, c };
  const size_t count = (size_t)n * hw * c, of_vector = (size_t)n * c;

  if (backward) {
    bench(text("sum_pixels %d x %d x %d", n, hw, c), (double)count,
          { { dtype, of_vector, false }, { dtype, count, false } },
          [=](ti_exec *e, void *const *p) { return kernels.sum_pixels(e, dtype, p[0], p[1], &s); });
    return;
  }
  bench(text("add %d x %d x %d", n, hw, c), (double)count, { 3, { dtype, count, false } },
        [=](ti_exec *e, void *const *p) { return kernels.add(e, dtype, p[0], p[1], p[2], count); });
}

/* rows of a + b channels, or (split) back again */
static void bench_concat(ti_dtype dtype, int rows, int a, int b, int backward)
{
  const ti_copy_columns_shape join[2] = { { rows, a, a + b, 0, a, 0 },
                                          { rows, b, a + b, a, b, 0 } };
  const ti_copy_columns_shape split[2] = { { rows, a, a, 0, a + b, 0 },
                                           { rows, b, b, 0, a + b, a } };
  const size_t p_count = (size_t)rows * a, q_count = (size_t)rows * b;

  bench(
    text("%s %d x %d + %d", backward ? "split" : "concat", rows, a, b), 0.0,
    { { dtype, p_count + q_count, false }, { dtype, p_count, false }, { dtype, q_count, false } },
    [=](ti_exec *e, void *const *p) {
      textinv_status status = TEXTINV_OK;

      for (int i = 0; i < 2 && status >= 0; i++)
        status = backward ? kernels.copy_columns(e, dtype, p[1 + i], p[0], &split[i])
                          : kernels.copy_columns(e, dtype, p[0], p[1 + i], &join[i]);
      return status;
    });
}

static void bench_upsample(ti_dtype dtype, int n, int side, int c, int backward)
{
  const ti_upsample_shape s = { n, side, side, c };
  const size_t count = (size_t)n * side * side * c;

  bench(text("upsample%s %d %dx%d %d", backward ? "_bwd" : "", n, side, side, c),
        backward ? 4.0 * (double)count : 0.0,
        { { dtype, count, false }, { dtype, 4 * count, false } }, [=](ti_exec *e, void *const *p) {
          return backward ? kernels.upsample_bwd(e, dtype, p[0], p[1], &s)
                          : kernels.upsample_fwd(e, dtype, p[1], p[0], &s);
        });
}

static void bench_cast(ti_dtype dtype, size_t count, int backward)
{
  bench(text("cast %s %zu", backward ? "to f32" : "from f32", count), 0.0,
        { { dtype, count, false }, { TI_F32, count, false } }, [=](ti_exec *e, void *const *p) {
          return backward ? kernels.cast(e, TI_F32, p[1], dtype, p[0], count)
                          : kernels.cast(e, dtype, p[0], TI_F32, p[1], count);
        });
}

/* ------ what has integers, or lies at an end of a step */

/* on the device: what f makes of every index */
static int32_t *integers(size_t count, const std::function<size_t(size_t)> &f)
{
  std::vector<int32_t> host(count);
  void *p = device(count * sizeof(int32_t));

  for (size_t i = 0; i < count; i++)
    host[i] = (int32_t)f(i);
  must(plugin->upload(context, &error, p, host.data(), count * sizeof(int32_t)));
  return (int32_t *)p;
}

/* prompts of 77 tokens, of which every eighth is a learnt row */
static void bench_embedding(ti_dtype dtype, int n, int c, int rows, int backward)
{
  const ti_embedding_shape s = { n, 77, c, tiny ? 500 : 49408, rows };
  const size_t tokens = (size_t)n * s.tokens, of_rows = (size_t)rows * c;
  operation o(text("embedding%s %d x 77 x %d, %d rows", backward ? "_bwd" : "", n, c, rows), 0.0,
              backward ? 2.0 * (double)tokens * c + 4.0 * (double)of_rows
                       : 4.0 * (double)tokens * c + 2.0 * s.tokens * c);

  if (!o.wanted())
    return;
  const int32_t *ids = integers(tokens, [&](size_t i) {
    return i % 8 == 5 ? (size_t)s.vocab + i / 8 % rows : i * 7919 % s.vocab;
  });
  void *y = values(dtype, tokens * c), *learnt = values(TI_F32, of_rows);

  if (backward) {
    o.run([&](int) { return kernels.embedding_bwd(&o.e, dtype, (float *)learnt, y, ids, &s); });
  } else {
    const void *table = values(dtype, (size_t)s.vocab * c),
               *positions = values(dtype, (size_t)s.tokens * c);

    o.run([&](int) {
      return kernels.embedding_fwd(&o.e, dtype, y, ids, table, (float *)learnt, positions, &s);
    });
  }
  drop_memory();
}

/* the end token's state of each prompt */
static void bench_gather(ti_dtype dtype, int n, int c, int backward)
{
  const ti_gather_shape s = { n, 77, c };
  const size_t of_all = (size_t)n * s.tokens * c, of_one = (size_t)n * c;
  operation o(text("gather%s %d x 77 x %d", backward ? "_bwd" : "", n, c), 0.0,
              2.0 * (double)(of_one + (backward ? of_all : of_one)));

  if (!o.wanted())
    return;
  const int32_t *index = integers((size_t)n, [](size_t i) { return 5 + i % 72; });
  void *all = values(dtype, of_all), *one = values(dtype, of_one);

  o.run([&](int) {
    return backward ? kernels.gather_bwd(&o.e, dtype, all, one, index, &s)
                    : kernels.gather_fwd(&o.e, dtype, one, all, index, &s);
  });
  drop_memory();
}

static void bench_timestep(ti_dtype dtype, int n, int dim)
{
  const ti_timestep_shape s = { n, dim, 1, 0.0f, 10000.0f };

  bench(text("timestep %d x %d", n, dim), 0.0,
        { { dtype, (size_t)n * dim, false }, { TI_F32, (size_t)n, false } },
        [=](ti_exec *e, void *const *p) {
          return kernels.timestep_fwd(e, dtype, p[0], (const float *)p[1], &s);
        });
}

static void bench_mse(ti_dtype dtype, int n, size_t count, int backward)
{
  const ti_mse_shape s = { n, count };
  std::vector<tensor> t = { { TI_F32, 1, true },
                            { dtype, n * count, false },
                            { TI_F32, n * count, false } };

  if (backward)
    t.push_back({ dtype, n * count, false });
  bench(text("mse%s %d x %zu", backward ? "_bwd" : "", n, count), 3.0 * (double)(n * count), t,
        [=](ti_exec *e, void *const *p) {
          return backward ? kernels.mse_bwd(e, dtype, p[3], p[1], (float *)p[2], 1.0f, &s)
                          : kernels.mse_fwd(e, dtype, (float *)p[0], p[1], (float *)p[2], &s);
        });
}

/* pictures' moments and two draws a value to noisy latents and their target */
static void bench_noise(int n, int hw, int c)
{
  const ti_cuda_noise_shape s = { n, hw, c };
  const size_t count = (size_t)n * hw * c;
  operation o(text("noise %d x %d x %d", n, hw, c), 0.0, 4.0 * 4.0 * (double)count);
  std::vector<ti_cuda_sample> samples((size_t)n);
  ti_cuda_step step = {};

  if (!o.wanted())
    return;
  for (int i = 0; i < n; i++)
    samples[i] = { (uint32_t)i, (uint32_t)i, 0, 500.0f, 0.8f, 0.6f };
  void *d_step = device(sizeof(step)), *d_samples = device(n * sizeof(samples[0]));
  void *noisy = device(count * 4), *target = device(count * 4),
       *latents = values(TI_F32, 2 * count);

  must(plugin->upload(context, &error, d_step, &step, sizeof(step)));
  must(plugin->upload(context, &error, d_samples, samples.data(), n * sizeof(samples[0])));
  o.run([&](int) {
    return plugin->noise(&o.e, TI_F32, noisy, (float *)target, (const float *)latents,
                         (const ti_cuda_step *)d_step, (const ti_cuda_sample *)d_samples, &s);
  });
  drop_memory();
}

/* gradients of the rows added up, their norm, and AdamW, where all rows are learnt */
static void bench_update(int rows, int c)
{
  const size_t count = (size_t)rows * c;
  /* read: gradient, rows, two moments, places; written: the sum, rows, two moments */
  operation o(text("adamw %d x %d", rows, c), 20.0 * (double)count, 4.0 * 9.0 * (double)count);
  ti_cuda_training t = {};
  ti_cuda_step step = {};

  if (!o.wanted())
    return;
  step.passes = 1;
  step.share = 1.0f;
  step.beta1 = 0.9f;
  step.beta2 = 0.999f;
  step.epsilon = 1e-8f;
  step.size = 5e-3f;
  step.root = step.decay = 1.0f;
  t.encoders = 1;
  t.unscale = 1.0f;
  t.count = t.num_table[0] = count;
  t.step = (ti_cuda_step *)device(sizeof(step));
  t.result = (ti_cuda_result *)device(sizeof(*t.result));
  t.loss_sum = (float *)zeros(sizeof(float));
  t.loss = (float *)zeros(sizeof(float));
  t.states = (float *)zeros(6 * count * sizeof(float));
  t.gradient = (float *)device(count * sizeof(float));
  t.learnt[0] = integers(count, [](size_t i) { return i; });
  t.drows[0] = (float *)values(TI_F32, count);
  must(plugin->upload(context, &error, t.step, &step, sizeof(step)));
  o.run([&](int) { return plugin->step_update(&o.e, &t); });
  drop_memory();
}

void bench_by_memory(ti_dtype dtype, int n, int backward)
{
  static const int levels[][2] = { { 4096, 320 }, { 1024, 640 }, { 256, 1280 } };
  static const int norms[][2] = {
    { 4096, 320 }, { 4096, 640 }, { 1024, 640 }, { 256, 1280 }, { 64, 2560 }
  };
  static const int concats[][3] = { { 4096, 320, 320 }, { 4096, 640, 320 }, { 1024, 1280, 640 },
                                    { 256, 1280, 1280 } };
  static const int upsamples[][2] = { { 32, 640 }, { 16, 1280 }, { 8, 1280 } };
  const size_t latents = (size_t)4 * side_of(64) * side_of(64);

  for (int sum = 0; sum <= backward; sum++) {
    for (const auto &g : norms)
      bench_groupnorm(dtype, n, tokens_of(g[0]), width_of(g[1]), backward, sum);
    for (const auto &l : levels)
      bench_layernorm(dtype, n * tokens_of(l[0]), width_of(l[1]), backward, sum);
  }
  for (const auto &l : levels)
    bench_geglu(dtype, n * tokens_of(l[0]), width_of(4 * l[1]), backward);
  for (ti_activation kind : { TI_SILU, TI_GELU, TI_QUICK_GELU })
    bench_activation(dtype, kind, n * tokens_of(4096), width_of(320), backward);
  bench_activation(dtype, TI_QUICK_GELU, n * 77, width_of(3072), backward); /* the text encoder */
  bench_activation(dtype, TI_SILU, n, width_of(1280), backward);            /* the time */
  for (const auto &l : levels)
    bench_sums(dtype, n, tokens_of(l[0]), width_of(l[1]), backward);
  for (const auto &c : concats)
    bench_concat(dtype, n * tokens_of(c[0]), width_of(c[1]), width_of(c[2]), backward);
  for (const auto &u : upsamples)
    bench_upsample(dtype, n, side_of(u[0]), width_of(u[1]), backward);
  bench_cast(dtype, n * latents, backward);
  for (int rows : { 1, 10 })
    bench_embedding(dtype, n, width_of(768), rows, backward);
  bench_gather(dtype, n, width_of(1280), backward);
  bench_mse(dtype, n, latents, backward);
  if (backward) {
    for (int rows : { 1, 10 })
      bench_update(rows, width_of(768));
  } else {
    bench_timestep(dtype, n, width_of(320));
    bench_noise(n, side_of(64) * side_of(64), 4);
  }
}
