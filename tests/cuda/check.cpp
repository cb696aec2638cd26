/* The checks' tensors, runs and comparisons. */
#include "check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>

#ifdef TI_EMULATE
#include "emulate.h"
#else
#include <dlfcn.h>
#include <signal.h>
#include <unistd.h>
#endif

/* tensors and scratch lie as in a plan: at multiples of 64, not of 128 */
enum { GUARD = 320, SCRATCH_AT = 64, CANARY = 0xa5 };

struct storage {
  ti_dtype dtype; /* integers are 4 bytes, as float */
  size_t count;
  bool is_output, is_integer;
  char *device; /* behind its guard */
  std::vector<unsigned char> plain;
  std::vector<float> truth;
  /* of an output: the columns that are written */
  int columns, stride, from;

  size_t bytes() const
  {
    return count * ti_dtype_size(dtype);
  }
};

static const ti_cuda_plugin *the_plugin;
static ti_cuda *the_context;
static ti_kernels cuda_kernels, reference;
static ti_error error;
static std::string filter;
static int num_tests, num_failed;
static uint64_t random_state;

extern "C" const ti_cuda_plugin *textinv_cuda_plugin(void);

const ti_kernels *cuda()
{
  return &cuda_kernels;
}

const ti_cuda_plugin *plugin()
{
  return the_plugin;
}

ti_cuda *context()
{
  return the_context;
}

static void must(textinv_status status, const char *what)
{
  if (status < 0) {
    fprintf(stderr, "%s: %s\n", what, error.text);
    exit(1);
  }
}

static float uniform()
{
  uint64_t z = random_state += 0x9e3779b97f4a7c15u;

  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return (float)(z >> 40) * 0x1p-24f;
}

static float normal()
{
  float sum = -6.0f;

  for (int i = 0; i < 12; i++)
    sum += uniform();
  return sum;
}

#ifndef TI_EMULATE
static char running[256]; /* the test's name, for when it never ends */

static void on_terminate(int)
{
  if (write(2, "stopped in ", 11) < 0 || write(2, running, strlen(running)) < 0 ||
      write(2, "\n", 1) < 0)
    _exit(2);
  _exit(1);
}
#endif

void check_open(const char *path, const char *wanted)
{
  const ti_cuda_host host = { ti_weight_pack, ti_weight_values };

#ifdef TI_EMULATE
  (void)path;
  the_plugin = textinv_cuda_plugin();
#else
  signal(SIGTERM, on_terminate);
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  ti_cuda_plugin_fn f = library ? (ti_cuda_plugin_fn)dlsym(library, TI_CUDA_PLUGIN_SYMBOL) : NULL;

  if (!f) {
    fprintf(stderr, "%s: %s\n", path, dlerror());
    exit(1);
  }
  the_plugin = f();
#endif
  filter = wanted;
  must(the_plugin->open(&error, &the_context, &host, 0, NULL), "open");
  the_plugin->init_kernels(&cuda_kernels);
  ti_kernels_init_cpu(&reference);
}

int check_close()
{
  the_plugin->close(the_context);
#ifdef TI_EMULATE
  check_emptied();
#endif
  printf("[==========] cuda: %d test(s) run.\n", num_tests);
  printf("[  PASSED  ] %d test(s).\n", num_tests - num_failed);
  if (num_failed)
    printf("[  FAILED  ] %d test(s).\n", num_failed);
  return num_failed != 0;
}

bool check_wanted(const char *name)
{
  const bool others = filter[0] == '-';

  for (size_t at = others, end; at <= filter.size(); at = end + 1) {
    end = std::min(filter.find(',', at), filter.size());
    if (strstr(name, filter.substr(at, end - at).c_str()))
      return !others;
  }
  return others;
}

void check_result(const char *name, const char *what)
{
  num_tests++;
  if (what) {
    num_failed++;
    printf("[  FAILED  ] %s: %s\n", name, what);
  }
}

void *backend::operator()(tensor t) const
{
  switch (side) {
  case CUDA_SIDE: return t->device;
  case TRUTH_SIDE: return t->is_integer ? (void *)t->plain.data() : (void *)t->truth.data();
  default: return t->plain.data();
  }
}

test::test(const char *format, ti_dtype dtype, ...)
    : scratch_data(NULL), prepared(NULL), scratch_bytes(0), failed(false)
{
  static const char *const names[] = { "f32 ", "f16 ", "bf16 " };
  char text[256];
  va_list ap;

  va_start(ap, dtype);
  vsnprintf(text, sizeof(text), format, ap);
  va_end(ap);
  name = std::string(names[dtype]) + text;
  skipped = !check_wanted(name.c_str());
#ifndef TI_EMULATE
  if (!skipped)
    snprintf(running, sizeof(running), "%s", name.c_str());
#endif
  random_state = 1;
  for (char c : name)
    random_state = random_state * 31 + (unsigned char)c;
}

void test::free_prepared()
{
  if (prepared)
    cuda_kernels.release(prepared);
  prepared = NULL;
}

test::~test()
{
  free_prepared();
  for (tensor t : all) {
    if (t->device) {
      std::vector<unsigned char> guard(GUARD);

      for (int side = 0; side < 2; side++) {
        must(the_plugin->download(the_context, &error, guard.data(),
                                  side ? t->device + t->bytes() : t->device - GUARD, GUARD),
             "guard");
        for (unsigned char c : guard) {
          if (c != CANARY && !failed)
            fail("written %s a tensor", side ? "behind" : "before");
        }
      }
      the_plugin->free(the_context, t->device - GUARD);
    }
    delete t;
  }
  the_plugin->free(the_context, scratch_data);
  if (!skipped) {
    num_tests++;
    num_failed += failed;
    fflush(stdout);
  }
}

void test::fail(const char *format, ...)
{
  char text[256];
  va_list ap;

  va_start(ap, format);
  vsnprintf(text, sizeof(text), format, ap);
  va_end(ap);
  printf("[  FAILED  ] %s: %s\n", name.c_str(), text);
  failed = true;
}

static void to_device(tensor t)
{
  std::vector<unsigned char> bytes(t->bytes() + 2 * GUARD, (unsigned char)CANARY);

  memcpy(bytes.data() + GUARD, t->plain.data(), t->bytes());
  if (!t->device) {
    void *p;

    must(the_plugin->allocate(the_context, &error, &p, bytes.size()), "memory");
    t->device = (char *)p + GUARD;
  }
  must(the_plugin->upload(the_context, &error, t->device - GUARD, bytes.data(), bytes.size()),
       "upload");
}

static tensor new_tensor(ti_dtype dtype, size_t count)
{
  storage *t = new storage{};

  t->dtype = dtype;
  t->count = count;
  t->plain.resize(t->bytes());
  t->truth.resize(count);
  t->columns = t->stride = 1;
  return t;
}

tensor test::input(ti_dtype dtype, size_t count, float deviation, float mean)
{
  tensor t = new_tensor(dtype, skipped ? 0 : count);

  all.push_back(t);
  if (skipped)
    return t;
  for (size_t i = 0; i < count; i++) {
    ti_store(dtype, t->plain.data(), i, mean + deviation * normal());
    t->truth[i] = ti_load(dtype, t->plain.data(), i);
  }
  to_device(t);
  return t;
}

tensor test::integers(size_t count, int below)
{
  tensor t = new_tensor(TI_F32, skipped ? 0 : count);

  all.push_back(t);
  t->is_integer = true;
  if (skipped)
    return t;
  for (size_t i = 0; i < count; i++) {
    const int32_t v = (int32_t)(uniform() * (float)below);

    memcpy(t->plain.data() + i * 4, &v, 4);
  }
  to_device(t);
  return t;
}

void test::reset(tensor t)
{
  if (skipped)
    return;
  memset(t->plain.data(), 0xff, t->bytes());
  for (float &f : t->truth)
    f = NAN;
  to_device(t);
}

tensor test::output(ti_dtype dtype, size_t count)
{
  tensor t = new_tensor(dtype, skipped ? 0 : count);

  all.push_back(t);
  t->is_output = true;
  reset(t);
  return t;
}

void test::columns(tensor t, int count, int stride, int from)
{
  t->columns = count;
  t->stride = stride;
  t->from = from;
}

void test::scratch(size_t bytes)
{
  if (skipped || bytes <= scratch_bytes)
    return;
  the_plugin->free(the_context, scratch_data);
  must(the_plugin->allocate(the_context, &error, &scratch_data, bytes + SCRATCH_AT), "scratch");
  scratch_bytes = bytes;
}

void test::prepare(const std::function<textinv_status(ti_exec *, void **, size_t *)> &f)
{
  ti_exec e = {};
  size_t bytes = 0;
  textinv_status status;

  if (skipped)
    return;
  free_prepared();
  e.device = the_context;
  e.stream = the_plugin->stream(the_context);
  e.error = &error;
  must(the_plugin->enter(the_context, &error), "enter");
  status = f(&e, &prepared, &bytes);
  the_plugin->leave(the_context);
  if (status < 0)
    fail("%s", error.text);
  scratch(bytes);
}

void test::run_cuda(const std::function<textinv_status(backend &)> &f)
{
  ti_exec e = {};
  backend b = { CUDA_SIDE, &e, &cuda_kernels };
  textinv_status status;

  e.device = the_context;
  e.stream = the_plugin->stream(the_context);
  e.error = &error;
  e.prepared = prepared;
  e.scratch = scratch_data ? (char *)scratch_data + SCRATCH_AT : NULL;
  e.scratch_bytes = scratch_bytes;
  must(the_plugin->enter(the_context, &error), "enter");
  status = f(b);
  the_plugin->leave(the_context);
  if (status < 0)
    fail("%s", error.text);
  must(the_plugin->synchronize(the_context, &error), name.c_str());
}

static std::vector<unsigned char> device_bytes(tensor t)
{
  std::vector<unsigned char> bytes(t->bytes());

  must(the_plugin->download(the_context, &error, bytes.data(), t->device, bytes.size()),
       "download");
  return bytes;
}

void test::run(const std::function<textinv_status(backend &)> &f)
{
  std::vector<std::vector<unsigned char>> first;

  if (skipped)
    return;
  for (check_side side : { TRUTH_SIDE, PLAIN_SIDE }) {
    ti_exec e = {};
    backend b = { side, &e, &reference };

    e.error = &error;
    if (f(b) < 0)
      fail("reference: %s", error.text);
  }
  for (int turn = 0; turn < 3 && !failed; turn++) {
#ifdef TI_EMULATE
    emulate_order = turn;
#endif
    run_cuda(f);
    size_t i = 0;
    for (tensor t : all) {
      if (!t->is_output)
        continue;
      if (turn == 0)
        first.push_back(device_bytes(t));
      else if (first[i++] != device_bytes(t))
        return fail("other bits in run %d", turn + 1);
    }
  }
}

void test::share(tensor t)
{
  if (skipped)
    return;
  for (size_t i = 0; i < t->count; i++) {
    ti_store(t->dtype, t->plain.data(), i, t->truth[i]);
    t->truth[i] = ti_load(t->dtype, t->plain.data(), i);
  }
  to_device(t);
}

void test::compare(tensor t, double factor)
{
  double cuda_error = 0.0, plain_error = 0.0, norm = 0.0;
  const int bits16 = t->dtype != TI_F32;
  /* a value alone may be off by half its last place */
  const double least = !bits16 ? 1e-5 : t->dtype == TI_F16 ? 0x1p-11 : 0x1p-8;

  if (skipped || failed)
    return;
  const std::vector<unsigned char> got = device_bytes(t);

  for (size_t i = 0; i < t->count; i++) {
    const int column = (int)(i % (size_t)t->stride) - t->from;
    const double value = ti_load(t->dtype, got.data(), i), truth = t->truth[i];
    const double plain = ti_load(t->dtype, t->plain.data(), i);

    if (column < 0 || column >= t->columns) {
      if (!isnan(value))
        return fail("value %zu is %g; it was not to be written", i, value);
      continue;
    }
    if (!isfinite(value))
      return fail("value %zu of %zu is %g, the reference's %g", i, t->count, value, truth);
    cuda_error += (value - truth) * (value - truth);
    plain_error += (plain - truth) * (plain - truth);
    norm += truth * truth;
  }
  norm = sqrt(norm > 0.0 ? norm : 1.0);
  cuda_error = sqrt(cuda_error) / norm;
  plain_error = sqrt(plain_error) / norm;
  const double bound = bits16 ? fmax(least, 2.0 * factor * plain_error) : factor * least;

  if (cuda_error > bound)
    fail("error %.3g, bound %.3g (plain formula %.3g)", cuda_error, bound, plain_error);
}

weight::weight(test &t, tensor values, std::initializer_list<int> dims) : w()
{
  (void)t;
  w.name = "weight";
  w.data = values->plain.data();
  w.count = values->count;
  w.dtype = values->dtype;
  for (int d : dims)
    w.dims[w.rank++] = d;
}

weight::~weight()
{
  ti_weight_drop(&w);
}
