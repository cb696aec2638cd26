/*
 * Every CUDA operation at the shapes of SD 1.5: time, TFLOP/s, GB/s, percent of the measured peaks.
 *
 *   cuda_bench PLUGIN [NAMES] [BATCH] [WAYS]
 *
 *   NAMES   operations whose name contains one of them; separated by commas
 *   WAYS    of computing products: "all" (default); "fast": without cuDNN, and without the
 *           portable one where the device has another; "tiny": all, at sizes that the emulated
 *           device runs in seconds, to run this program
 *
 * An operation is captured into a graph that runs it on several sets of random inputs, one after
 * the other, so that no run finds its data in cache; the graph is warmed up and launched 5 times;
 * the median counts. Floating point operations and bytes are the fewest that the operation needs.
 * The peaks are measured first: a copy, and the fastest matrix product of 8192. A matrix product
 * has a line for each way to compute it. tests/bench/cuda_peers.py sets other libraries' times
 * beside these.
 */
#include "cuda_bench.h"

#include <dlfcn.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <algorithm>

/* times that are taken, each of some graphs, in each so many runs at least: a host that wakes up
 * late is seen little */
enum { LAUNCHES = 5, TOGETHER = 8, RUNS = 32 };

const ti_cuda_plugin *plugin;
ti_cuda *context;
ti_kernels kernels;
ti_error error;
bool tiny;
double peak_flops, peak_bytes;
const char *const variant_names[] = { "portable", "hopper", "cublas", "cudnn" };

static std::string filter;
static bool fast_only;
static std::vector<void *> memory;

void must(textinv_status status)
{
  if (status < 0) {
    fprintf(stderr, "cuda_bench: %s\n", error.text);
    exit(1);
  }
}

/* ------ memory */

void *device(size_t bytes)
{
  void *p;

  must(plugin->allocate(context, &error, &p, bytes));
  memory.push_back(p);
  return p;
}

void *zeros(size_t bytes)
{
  const std::vector<unsigned char> none(bytes);
  void *p = device(bytes);

  must(plugin->upload(context, &error, p, none.data(), bytes));
  return p;
}

/* values; where the next tensor begins: a multiple of 8 further */
enum { POOL = 1 << 22, HOP = 1000008 };

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

/* a tensor of them on the device, copied there from one upload; every one starts elsewhere in the
 * pool */
void *values(ti_dtype dtype, size_t count)
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

void drop_memory()
{
  for (void *p : memory)
    plugin->free(context, p);
  memory.clear();
}

/* ------ time */

static double seconds()
{
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double time_of(ti_exec *e, int sets, const std::function<textinv_status(int)> &f)
{
  const int runs = tiny ? sets : (RUNS + sets - 1) / sets * sets, launches = tiny ? 1 : LAUNCHES;
  const int warm = tiny ? 0 : 2, together = tiny ? 1 : TOGETHER;
  ti_cuda_graph *graph;
  std::vector<double> times;

  must(plugin->enter(context, &error));
  must(f(0)); /* loads the kernel */
  must(plugin->graph_begin(context, &error));
  e->stream = plugin->stream(context);
  for (int i = 0; i < runs; i++)
    must(f(i % sets));
  must(plugin->graph_end(context, &error, &graph));
  e->stream = plugin->stream(context);
  plugin->leave(context);
  for (int i = 0; i < launches + warm; i++) {
    const double begin = seconds();

    for (int k = 0; k < together; k++)
      must(plugin->graph_launch(context, &error, graph));
    must(plugin->synchronize(context, &error));
    if (i >= warm)
      times.push_back((seconds() - begin) / (runs * together));
  }
  plugin->graph_free(context, graph);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

bool choose(int v)
{
  if (fast_only && (v == CUDNN || (v == PORTABLE && plugin->use_hopper(context, 1))))
    return false;
  return plugin->use_hopper(context, v == HOPPER) == (v == HOPPER) &&
         plugin->use_cublas(context, v == CUBLAS) == (v == CUBLAS) &&
         plugin->use_cudnn(context, v == CUDNN) == (v == CUDNN);
}

/* ------ operations */

std::string text(const char *format, ...)
{
  char s[128];
  va_list ap;

  va_start(ap, format);
  vsnprintf(s, sizeof(s), format, ap);
  va_end(ap);
  return s;
}

operation::operation(const std::string &name_, double flops_, double bytes_)
    : name(name_), flops(flops_), bytes(bytes_), e()
{
  sets = tiny ? 2 : (int)std::min<double>(MAX_SETS, std::max(4.0, ceil(200e6 / bytes)));
  e.device = context;
  e.stream = plugin->stream(context);
  e.error = &error;
}

bool operation::wanted() const
{
  for (size_t from = 0, to; from <= filter.size(); from = to + 1) {
    to = std::min(filter.find(',', from), filter.size());
    if (name.find(filter.substr(from, to - from)) != std::string::npos)
      return true;
  }
  return false;
}

void operation::scratch(size_t size)
{
  if (size)
    e.scratch = device(size);
  e.scratch_bytes = size;
}

void operation::run(const std::function<textinv_status(int)> &f, const char *how)
{
  const double t = time_of(&e, sets, f), floor = std::max(flops / peak_flops, bytes / peak_bytes);

  printf("%-44s %-8s %9.1f %8.1f %8.0f %6.1f %6.1f %6.1f\n", name.c_str(), how, t * 1e6,
         flops / t * 1e-12, bytes / t * 1e-9, 100.0 * flops / t / peak_flops,
         100.0 * bytes / t / peak_bytes, 100.0 * floor / t);
  fflush(stdout);
}

frozen::frozen(std::initializer_list<int> dims) : weight()
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

frozen::~frozen()
{
  ti_weight_drop(&weight);
  plugin->trim(context);
}

int main(int argc, char **argv)
{
  const ti_cuda_host host = { ti_weight_pack, ti_weight_values };
  ti_cuda_device info;

  if (argc < 2) {
    fprintf(stderr, "usage: %s PLUGIN [NAMES] [BATCH] [all|fast|tiny]\n", argv[0]);
    return 2;
  }
  void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  ti_cuda_plugin_fn get = library ? (ti_cuda_plugin_fn)dlsym(library, TI_CUDA_PLUGIN_SYMBOL) : NULL;

  if (!get) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  plugin = get();
  if (plugin->version != TI_CUDA_PLUGIN_VERSION) {
    fprintf(stderr, "%s: version %u, this program is of %u\n", argv[1], (unsigned)plugin->version,
            TI_CUDA_PLUGIN_VERSION);
    return 1;
  }
  filter = argc > 2 ? argv[2] : "";
  const int n = argc > 3 ? atoi(argv[3]) : 4;

  fast_only = argc > 4 && !strcmp(argv[4], "fast");
  tiny = argc > 4 && !strcmp(argv[4], "tiny");

  must(plugin->device_info(&error, &info, 0));
  must(plugin->open(&error, &context, &host, 0, NULL));
  plugin->init_kernels(&kernels);
  printf("%s, %d multiprocessors, compute capability %d.%d, batch %d, bf16\n", info.name,
         info.multiprocessors, info.major, info.minor, n);
  measure_peaks();
  printf("%-44s %-8s %9s %8s %8s %6s %6s %6s\n", "operation", "how", "us", "TFLOP/s", "GB/s",
         "%mat", "%mem", "%floor");
  for (int backward = 0; backward < 2; backward++) {
    bench_products(TI_BF16, n, backward);
    bench_by_memory(TI_BF16, n, backward);
  }
  plugin->close(context);
  return 0;
}
