/* What checks of the CUDA kernels are written with: tensors on both sides, runs, comparisons. */
#ifndef TI_CUDA_CHECK_H
#define TI_CUDA_CHECK_H

#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "cpu.h"
#include "plugin.h"

/* one value on the device and two on the host: the truth in float, the plain formula in its type */
struct storage;
typedef storage *tensor;

/* which side a call runs on */
enum check_side { CUDA_SIDE, TRUTH_SIDE, PLAIN_SIDE };

struct backend {
  check_side side;
  ti_exec *e;
  const ti_kernels *kernels;

  const ti_kernels *operator->() const
  {
    return kernels;
  }
  ti_exec *exec() const
  {
    return e;
  }
  ti_dtype type(ti_dtype dtype) const
  {
    return side == TRUTH_SIDE ? TI_F32 : dtype;
  }
  void *operator()(tensor t) const;
};

class test
{
public:
  test(const char *format, ti_dtype dtype, ...);
  ~test();
  tensor input(ti_dtype dtype, size_t count, float deviation = 1.0f, float mean = 0.0f);
  tensor integers(size_t count, int below);
  tensor output(ti_dtype dtype, size_t count);
  /* of rows of stride values only count from one on are written */
  void columns(tensor t, int count, int stride, int from = 0);
  void scratch(size_t bytes);
  void prepare(const std::function<textinv_status(ti_exec *, void **, size_t *)> &f);
  void run(const std::function<textinv_status(backend &)> &f);
  /* fails the test when the error of t is too large; factor: of what 16 bits may differ by */
  void compare(tensor t, double factor = 1.0);
  /* let the device go on from the truth's values of t */
  void share(tensor t);
  void reset(tensor t); /* NaN again */
  void fail(const char *format, ...);

private:
  void run_cuda(const std::function<textinv_status(backend &)> &f);
  void free_prepared();
  std::string name;
  std::vector<tensor> all;
  void *scratch_data, *prepared;
  size_t scratch_bytes;
  bool skipped, failed;
};

/* a frozen weight with the values of a tensor */
class weight
{
public:
  weight(test &t, tensor values, std::initializer_list<int> dims);
  ~weight();
  ti_weight *get()
  {
    return &w;
  }

private:
  ti_weight w;
};

const ti_kernels *cuda();
const ti_cuda_plugin *plugin();
ti_cuda *context();

void check_open(const char *plugin_path, const char *filter);
int check_close();
bool check_wanted(const char *name);
/* count a check that is not of a table; what is NULL when it holds */
void check_result(const char *name, const char *what);

void check_step();      /* step_check.cpp */
void check_emulator();  /* emulate_check.cpp */
void check_host_side(); /* host_check.cpp */
void check_emptied();   /* emulated: nothing is left on the device */

#endif /* TI_CUDA_CHECK_H */
