/*
 * Every CUDA operation at the shapes of SD 1.5: time, TFLOP/s, GB/s, percent of the measured peaks.
 *
 *   cuda_bench PLUGIN [NAMES] [BATCH] [WAYS]   operations whose name contains one of NAMES, which are
 *                                              separated by commas; WAYS: of computing products, "all"
 *                                              (default) or "fast", without the portable one where the
 *                                              device has another
 *
 * An operation is captured into a graph that runs it on several sets of random inputs, one after the
 * other, so that no run finds its data in cache; the graph is warmed up and launched 5 times; the
 * median counts. Floating point operations and bytes are the fewest that the operation needs. The
 * peaks are measured first: a copy, and the fastest matrix product of 8192. A matrix product has a
 * line for each way to compute it. tests/bench/cuda_peers.py sets other libraries' times beside these.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "cuda/plugin.h"

enum { LAUNCHES = 5, RUNS = 32, MAX_SETS = 16 }; /* RUNS: of a launch, at least */

static const ti_cuda_plugin *plugin;
static ti_cuda *context;
static ti_kernels kernels;
static ti_error error;
static std::string filter;
static bool fast_only;
static double peak_flops, peak_bytes;
static std::vector<void *> memory;

static void must(textinv_status status)
{
  if (status < 0) {
    fprintf(stderr, "cuda_bench: %s\n", error.text);
    exit(1);
  }
}

static double seconds()
{
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *device(size_t bytes)
{
  void *p;

  must(plugin->allocate(context, &error, &p, bytes));
  memory.push_back(p);
  return p;
}

enum { POOL = 1 << 22, HOP = 1000008 }; /* values; where the next tensor begins: a multiple of 8 further */

/* random values of deviation 1; zeros would flatter */
static const std::vector<unsigned char> &pool(ti_dtype dtype)
{
  static std::vector<unsigned char> pools[3];
  std::vector<unsigned char> &p = pools[dtype];
  uint32_t state = 1;

  if (!p.empty())
    return p;
  p.resize(POOL * ti_dtype_size(dtype));
  for (size_t i = 0; i < POOL; i++) {
    float sum = 0.0f;

    for (int k = 0; k < 4; k++) {
      state = state * 1664525u + 1013904223u;
      sum += (float)(state >> 8) * 0x1p-24f - 0.5f;
    }
    ti_store(dtype, p.data(), i, sum * 1.7320508f);
  }
  return p;
}

/* a tensor of them on the device, copied there from one upload; every one starts elsewhere in the pool */
static void *values(ti_dtype dtype, size_t count)
{
  static size_t begin;
  static void *pools[3];
  const size_t size = ti_dtype_size(dtype);
  char *p = (char *)device(count * size);
  ti_exec e = {};

  e.device = context;
  e.stream = plugin->stream(context);
  e.error = &error;
  if (!pools[dtype]) {
    must(plugin->allocate(context, &error, &pools[dtype], POOL * size));
    must(plugin->upload(context, &error, pools[dtype], pool(dtype).data(), POOL * size));
  }
  must(plugin->enter(context, &error));
  for (size_t done = 0, some; done < count; done += some) {
    begin = (begin + HOP) % POOL;
    some = std::min(count - done, POOL - begin);
    const ti_copy_columns_shape s = { 1, (int)some, (int)some, 0, (int)some, 0 };

    must(kernels.copy_columns(&e, dtype, p + done * size, (char *)pools[dtype] + begin * size, &s));
  }
  plugin->leave(context);
  return p;
}

static void drop_memory()
{
  for (void *p : memory)
    plugin->free(context, p);
  memory.clear();
}

/* median seconds of one run; f gets the number of its set of inputs */
static double time_of(int sets, const std::function<textinv_status(int)> &f)
{
  const int runs = (RUNS + sets - 1) / sets * sets;
  ti_cuda_graph *graph;
  std::vector<double> times;

  must(plugin->enter(context, &error));
  must(f(0)); /* loads the kernel */
  must(plugin->graph_begin(context, &error));
  for (int i = 0; i < runs; i++)
    must(f(i % sets));
  must(plugin->graph_end(context, &error, &graph));
  plugin->leave(context);
  for (int i = 0; i < LAUNCHES + 2; i++) {
    const double begin = seconds();

    must(plugin->graph_launch(context, &error, graph));
    must(plugin->synchronize(context, &error));
    if (i >= 2)
      times.push_back((seconds() - begin) / runs);
  }
  plugin->graph_free(context, graph);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

/* ways to compute a product */
enum variant { PORTABLE, HOPPER, CUBLAS, VARIANTS };
static const char *const variant_names[] = { "portable", "hopper", "cublas" };

/* false: the device or the machine has it not, or it is not wanted */
static bool choose(int v)
{
  if (v == PORTABLE && fast_only && plugin->use_hopper(context, 1))
    return false;
  return plugin->use_hopper(context, v == HOPPER) == (v == HOPPER) &&
         plugin->use_cublas(context, v == CUBLAS) == (v == CUBLAS);
}

/* one operation: sets of inputs are made until they exceed what a cache holds */
struct operation {
  std::string name;
  double flops, bytes;
  ti_exec e;
  int sets;

  operation(const char *text, double flops_, double bytes_) : name(text), flops(flops_), bytes(bytes_), e()
  {
    sets = (int)std::min<double>(MAX_SETS, std::max(4.0, ceil(200e6 / bytes)));
    e.device = context;
    e.stream = plugin->stream(context);
    e.error = &error;
    e.threads = 1;
  }
  bool wanted() const
  {
    for (size_t from = 0, to; from <= filter.size(); from = to + 1) {
      to = std::min(filter.find(',', from), filter.size());
      if (name.find(filter.substr(from, to - from)) != std::string::npos)
        return true;
    }
    return false;
  }
  void scratch(size_t size)
  {
    if (size)
      e.scratch = device(size);
    e.scratch_bytes = size;
  }
  void run(const std::function<textinv_status(int)> &f, const char *how = "-")
  {
    const double t = time_of(sets, f), floor = std::max(flops / peak_flops, bytes / peak_bytes);

    printf("%-44s %-8s %9.1f %8.1f %8.0f %6.1f %6.1f %6.1f\n", name.c_str(), how, t * 1e6,
           flops / t * 1e-12, bytes / t * 1e-9, 100.0 * flops / t / peak_flops,
           100.0 * bytes / t / peak_bytes, 100.0 * floor / t);
    fflush(stdout);
  }
};

static std::string text(const char *format, ...) __attribute__((format(printf, 1, 2)));
static std::string text(const char *format, ...)
{
  char s[128];
  va_list ap;

  va_start(ap, format);
  vsnprintf(s, sizeof(s), format, ap);
  va_end(ap);
  return s;
}

/* a weight, and its copy on the device */
struct frozen {
  std::vector<float> host;
  ti_weight weight;

  frozen(std::initializer_list<int> dims) : weight()
  {
    weight.name = "w";
    weight.count = 1;
    for (int d : dims) {
      weight.dims[weight.rank++] = d;
      weight.count *= (size_t)d;
    }
    host.resize(weight.count);
    for (size_t done = 0; done < host.size(); done += POOL)
      memcpy(&host[done], pool(TI_F32).data(),
             std::min<size_t>(POOL, host.size() - done) * sizeof(float));
    weight.data = host.data();
  }
  ~frozen()
  {
    ti_weight_drop(&weight);
    plugin->trim(context);
  }
};

static void bench_linear(ti_dtype dtype, int rows, int cin, int cout, int backward)
{
  const ti_linear_shape s = { rows, cin, cout };
  const double x = (double)rows * cin, y = (double)rows * cout, w = (double)cin * cout;
  operation o(text("linear%s %d x %d -> %d", backward ? "_bwd" : "", rows, cin, cout).c_str(),
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

    if (!choose(v))
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

static void bench_conv(ti_dtype dtype, int n, int side, int cin, int cout, int k, int stride, int up,
                       int backward)
{
  ti_conv2d_shape s = { n, side, side, cin, cout, k, k, stride, k / 2, k / 2, k / 2, k / 2, up, 0, 0 };

  s.oh = s.ow = (side * up + k / 2 * 2 - k) / stride + 1;
  const double x = (double)n * side * side * cin, y = (double)n * s.oh * s.ow * cout;
  const double w = (double)cin * cout * k * k;
  operation o(text("conv2d%s %d %dx%d %d -> %d k%d s%d u%d", backward ? "_bwd" : "", n, side, side, cin,
                   cout, k, stride, up).c_str(),
              2.0 * y * cin * k * k, 2.0 * (x + y + w));
  void *in[MAX_SETS], *out[MAX_SETS];

  if (!o.wanted())
    return;
  frozen weight({ cout, cin, k, k });

  for (int i = 0; i < o.sets; i++) {
    in[i] = values(dtype, (size_t)(backward ? y : x));
    out[i] = device((size_t)(backward ? x : y) * 2);
  }
  float *bias = (float *)values(TI_F32, (size_t)cout);

  for (int v = 0; v < VARIANTS; v++) {
    void *prepared = NULL;
    size_t scratch = 0;

    if (v == CUBLAS || !choose(v))
      continue;
    must(plugin->enter(context, &error));
    must(kernels.conv2d_prepare(&o.e, dtype, &prepared, &scratch, &weight.weight, &s, 0, backward));
    plugin->leave(context);
    o.scratch(scratch);
    o.e.prepared = prepared;
    o.run([&](int i) {
      return backward ? kernels.conv2d_bwd(&o.e, dtype, out[i], in[i], NULL, NULL, &s)
                      : kernels.conv2d_fwd(&o.e, dtype, out[i], in[i], NULL, bias, NULL, &s);
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
  operation o(text("attention%s %d x %d heads %d x %d d %d", backward ? "_bwd" : "", n, heads, tq, tk, d)
                  .c_str(),
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
  o.scratch(kernels.attention_scratch(dtype, &s, 1, 1));
  must(plugin->enter(context, &error));
  for (int i = 0; i < o.sets; i++)
    must(kernels.attention_fwd(&o.e, dtype, p[i][4], lse[i], p[i][0], p[i][1], p[i][2], &s));
  plugin->leave(context);
  for (int v = 0; v < VARIANTS; v++) {
    if (v == CUBLAS || !choose(v))
      continue;
    o.run([&](int i) {
      return backward ? kernels.attention_bwd(&o.e, dtype, p[i][5], p[i][6], p[i][7], p[i][3], p[i][4],
                                              lse[i], p[i][0], p[i][1], p[i][2], &s)
                      : kernels.attention_fwd(&o.e, dtype, p[i][4], lse[i], p[i][0], p[i][1], p[i][2],
                                              &s);
    }, variant_names[v]);
  }
  drop_memory();
}

static void bench_groupnorm(ti_dtype dtype, int n, int hw, int c, int backward)
{
  const ti_groupnorm_shape s = { n, hw, c, 32, 1, 1e-5f };
  const size_t count = (size_t)n * hw * c;
  operation o(text("groupnorm%s silu %d x %d x %d", backward ? "_bwd" : "", n, hw, c).c_str(), 10.0 * count,
              2.0 * (backward ? 3 : 2) * (double)count);
  void *x[MAX_SETS], *dy[MAX_SETS], *y[MAX_SETS];

  if (!o.wanted())
    return;
  for (int i = 0; i < o.sets; i++) {
    x[i] = values(dtype, count);
    dy[i] = values(dtype, count);
    y[i] = device(count * 2);
  }
  float *w = (float *)values(TI_F32, (size_t)c), *b = (float *)values(TI_F32, (size_t)c);
  float *mean = (float *)values(TI_F32, (size_t)n * 32), *rstd = (float *)values(TI_F32, (size_t)n * 32);

  o.scratch(kernels.groupnorm_scratch(&s));
  o.run([&](int i) {
    return backward ? kernels.groupnorm_bwd(&o.e, dtype, y[i], dy[i], x[i], mean, rstd, w, b,
                                            NULL, &s)
                    : kernels.groupnorm_fwd(&o.e, dtype, y[i], mean, rstd, x[i], w, b, &s);
  });
  drop_memory();
}

static void bench_layernorm(ti_dtype dtype, int rows, int c, int backward)
{
  const ti_layernorm_shape s = { rows, c, 1e-5f };
  const size_t count = (size_t)rows * c;
  operation o(text("layernorm%s %d x %d", backward ? "_bwd" : "", rows, c).c_str(), 8.0 * count,
              2.0 * (backward ? 3 : 2) * (double)count);
  void *x[MAX_SETS], *dy[MAX_SETS], *y[MAX_SETS];

  if (!o.wanted())
    return;
  for (int i = 0; i < o.sets; i++) {
    x[i] = values(dtype, count);
    dy[i] = values(dtype, count);
    y[i] = device(count * 2);
  }
  float *w = (float *)values(TI_F32, (size_t)c);
  float *mean = (float *)values(TI_F32, (size_t)rows), *rstd = (float *)values(TI_F32, (size_t)rows);

  o.run([&](int i) {
    return backward ? kernels.layernorm_bwd(&o.e, dtype, y[i], dy[i], x[i], mean, rstd, w, NULL, &s)
                    : kernels.layernorm_fwd(&o.e, dtype, y[i], mean, rstd, x[i], w, w, &s);
  });
  drop_memory();
}

static void bench_geglu(ti_dtype dtype, int rows, int c, int backward)
{
  const ti_geglu_shape s = { rows, c };
  const size_t count = (size_t)rows * c;
  operation o(text("geglu%s %d x %d", backward ? "_bwd" : "", rows, c).c_str(), 10.0 * count,
              2.0 * (backward ? 5 : 3) * (double)count);
  void *x[MAX_SETS], *dy[MAX_SETS], *y[MAX_SETS];

  if (!o.wanted())
    return;
  for (int i = 0; i < o.sets; i++) {
    x[i] = values(dtype, 2 * count);
    dy[i] = values(dtype, count);
    y[i] = device(2 * count * 2);
  }
  o.run([&](int i) {
    return backward ? kernels.geglu_bwd(&o.e, dtype, y[i], dy[i], x[i], &s)
                    : kernels.geglu_fwd(&o.e, dtype, y[i], x[i], &s);
  });
  drop_memory();
}

static void measure_peaks()
{
  const size_t bytes = (size_t)1 << 30;
  const ti_copy_columns_shape copy = { 1 << 16, 8192, 8192, 0, 8192, 0 };
  const ti_linear_shape s = { 8192, 8192, 8192 };
  const double flops = 2.0 * 8192 * 8192 * 8192;
  frozen weight({ 8192, 8192 });
  ti_exec e = {};

  e.device = context;
  e.stream = plugin->stream(context);
  e.error = &error;
  void *x = device(bytes), *y = device(bytes);

  peak_bytes = 2.0 * (double)bytes /
               time_of(2, [&](int) { return kernels.copy_columns(&e, TI_BF16, y, x, &copy); });
  printf("copy %.0f GB/s; bf16 matrix product of 8192 in TFLOP/s:", peak_bytes * 1e-9);
  drop_memory();
  x = values(TI_BF16, (size_t)8192 * 8192);
  y = device((size_t)8192 * 8192 * 2);
  for (int v = 0; v < VARIANTS; v++) {
    void *prepared = NULL;
    const void *plain;
    size_t scratch = 0;

    if (!choose(v))
      continue;
    must(plugin->enter(context, &error));
    must(kernels.linear_prepare(&e, TI_BF16, &prepared, &scratch, &weight.weight, NULL, &s, 0, 0));
    must(kernels.weight_plain(&e, &plain, &weight.weight, TI_BF16));
    plugin->leave(context);
    e.scratch = scratch ? device(scratch) : NULL;
    e.scratch_bytes = scratch;
    e.prepared = prepared;
    const double rate = flops / time_of(1, [&](int) {
      return kernels.linear_fwd(&e, TI_BF16, y, x, plain, NULL, NULL, &s);
    });

    kernels.release(prepared);
    printf(" %s %.1f", variant_names[v], rate * 1e-12);
    peak_flops = std::max(peak_flops, rate);
  }
  printf("\n");
  drop_memory();
}

int main(int argc, char **argv)
{
  const ti_cuda_host host = { ti_weight_pack };
  ti_cuda_device info;

  if (argc < 2) {
    fprintf(stderr, "usage: %s PLUGIN [NAMES] [BATCH] [all|fast]\n", argv[0]);
    return 2;
  }
  void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  ti_cuda_plugin_fn get = library ? (ti_cuda_plugin_fn)dlsym(library, TI_CUDA_PLUGIN_SYMBOL) : NULL;

  if (!get) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  plugin = get();
  filter = argc > 2 ? argv[2] : "";
  const int n = argc > 3 ? atoi(argv[3]) : 4;

  fast_only = argc > 4 && !strcmp(argv[4], "fast");

  must(plugin->device_info(&error, &info, 0));
  must(plugin->open(&error, &context, &host, 0, NULL));
  plugin->init_kernels(&kernels);
  printf("%s, %d multiprocessors, compute capability %d.%d, batch %d, bf16\n", info.name,
         info.multiprocessors, info.major, info.minor, n);
  measure_peaks();
  printf("%-44s %-8s %9s %8s %8s %6s %6s %6s\n", "operation", "how", "us", "TFLOP/s", "GB/s", "%mat",
         "%mem", "%floor");
  for (int backward = 0; backward < 2; backward++) {
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
    static const int rows[][2] = { { 4096, 320 }, { 1024, 640 }, { 256, 1280 } };
    static const int norms[][2] = { { 4096, 320 }, { 4096, 640 }, { 1024, 640 }, { 256, 1280 }, { 64, 2560 } };

    for (const auto &c : convs)
      bench_conv(TI_BF16, n, c[0], c[1], c[2], c[3], c[4], c[5], backward);
    for (const auto &l : linears)
      bench_linear(TI_BF16, n * l[0], l[1], l[2], backward);
    for (const auto &a : attentions)
      bench_attention(TI_BF16, n, 8, a[0], a[1], a[2], backward);
    for (const auto &g : norms)
      bench_groupnorm(TI_BF16, n, g[0], g[1], backward);
    for (const auto &r : rows) {
      bench_layernorm(TI_BF16, n * r[0], r[1], backward);
      bench_geglu(TI_BF16, n * r[0], 4 * r[1], backward);
    }
  }
  plugin->close(context);
  return 0;
}
