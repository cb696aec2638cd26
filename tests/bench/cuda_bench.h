/*
 * What the parts of cuda_bench share: memory with random values, timing, and a line for each
 * operation. Only code that links nothing but libc++ and the base of the library: the plug-in is
 * opened at run time.
 */
#ifndef TI_CUDA_BENCH_H
#define TI_CUDA_BENCH_H

#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "cuda/plugin.h"

enum { MAX_SETS = 16 };

extern const ti_cuda_plugin *plugin;
extern ti_cuda *context;
extern ti_kernels kernels;
extern ti_error error;
extern bool tiny; /* sides, rows and widths of a few dozens, each operation run once or twice */
extern double peak_flops, peak_bytes;

/* ends the program with the message of error */
void must(textinv_status status);

/* device memory until drop_memory(): as it is, zeros, or random values of deviation 1 */
void *device(size_t bytes);
void *zeros(size_t bytes);
void *values(ti_dtype dtype, size_t count);
void drop_memory();

/* median seconds of one run; f launches through e, and gets the number of its set of inputs */
double time_of(ti_exec *e, int sets, const std::function<textinv_status(int)> &f);

/* ways to compute a product */
enum variant { PORTABLE, HOPPER, CUBLAS, CUDNN, VARIANTS };
extern const char *const variant_names[VARIANTS];

/* false: the device or the machine has it not, or it is not wanted */
bool choose(int variant);

std::string text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* one operation: sets of inputs are made until they exceed what a cache holds */
struct operation {
  std::string name;
  double flops, bytes;
  ti_exec e;
  int sets;

  operation(const std::string &name, double flops, double bytes);
  bool wanted() const;
  void scratch(size_t size);
  void run(const std::function<textinv_status(int)> &f, const char *how = "-");
};

/* a weight, and its copy on the device */
struct frozen {
  std::vector<float> host;
  ti_weight weight;

  frozen(std::initializer_list<int> dims);
  ~frozen();
};

void measure_peaks(); /* cuda_bench_products.cpp */

/* all operations of n samples in one direction; backward includes what ends a step */
void bench_products(ti_dtype dtype, int n, int backward);
void bench_by_memory(ti_dtype dtype, int n, int backward);

/* sizes of a shape of SD 1.5, or of its miniature */
static inline int side_of(int side)
{
  return tiny ? (side + 7) / 8 : side;
}

static inline int tokens_of(int tokens)
{
  return tiny ? (tokens + 63) / 64 : tokens;
}

/* of channels, which stay what kernels for whole tiles take */
static inline int width_of(int width)
{
  return tiny && width > 64 ? width < 1280 ? 64 : 128 : width;
}

#endif /* TI_CUDA_BENCH_H */
