/* The plug-in's host side: devices, memory, graphs, weights, errors. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#ifdef TI_EMULATE
#include "cuda_runtime.h"
#include "runtime.h"
#endif

static ti_error error;

static const char *check_devices()
{
  ti_cuda_device info;
  int count;

  if (plugin()->version != TI_CUDA_PLUGIN_VERSION || plugin()->exec_size != sizeof(ti_exec) ||
      plugin()->kernels_size != sizeof(ti_kernels))
    return "version or sizes differ";
  if (plugin()->device_count(&error, &count) < 0 || count < 1)
    return "no device";
  if (plugin()->device_info(&error, &info, 0) < 0 || !*info.name || !info.total_bytes)
    return "device 0 has no name or memory";
  if (plugin()->device_info(&error, &info, 1000) != TEXTINV_E_BACKEND ||
      !strstr(error.text, "1000"))
    return "device 1000 is accepted";
  return NULL;
}

static const char *check_memory()
{
  size_t available, total;
  void *p = (void *)1;
  const char text[] = "sixteen letters";
  char back[sizeof(text)];

  if (plugin()->free_bytes(context(), &error, &available, &total) < 0 || available > total)
    return "free_bytes";
  if (plugin()->allocate(context(), &error, &p, total * 2) != TEXTINV_E_NOMEM || p)
    return "twice the device's memory was given";
  if (!strstr(error.text, "out of memory") || !strstr(error.text, "are free"))
    return "the message does not tell needed and free bytes";
  if (plugin()->allocate(context(), &error, &p, 100) < 0)
    return "nothing can be allocated after running out of memory";
  if ((uintptr_t)p % 256)
    return "memory is not aligned to 256";
  if (plugin()->upload(context(), &error, p, text, sizeof(text)) < 0 ||
      plugin()->download(context(), &error, back, p, sizeof(text)) < 0 ||
      memcmp(text, back, sizeof(text)))
    return "what was uploaded does not come back";
  plugin()->free(context(), p);
  plugin()->free(context(), NULL);
  return NULL;
}

/* bytes there and back while the host goes on, and what was marked is there after waiting */
static const char *check_without_waiting()
{
  const size_t bytes = 1000;
  void *host, *there;
  char *text;

  if (plugin()->host_allocate(context(), &error, &host, 3 * bytes) < 0 ||
      plugin()->allocate(context(), &error, &there, 2 * bytes) < 0)
    return error.text;
  text = (char *)host;
  for (size_t i = 0; i < 2 * bytes; i++)
    text[i] = (char)(i % 101);
  if (plugin()->send(context(), &error, there, text, bytes) < 0 ||
      plugin()->mark(context(), &error, 0) < 0 ||
      plugin()->send(context(), &error, (char *)there + bytes, text + bytes, bytes) < 0 ||
      plugin()->fetch(context(), &error, text + 2 * bytes, (char *)there + 1, bytes) < 0 ||
      plugin()->mark(context(), &error, 1) < 0 || plugin()->wait(context(), &error, 0) < 0)
    return error.text;
  memset(text, 0, bytes); /* was sent */
  if (plugin()->wait(context(), &error, 1) < 0)
    return error.text;
  for (size_t i = 0; i < bytes; i++) {
    if (text[2 * bytes + i] != (char)((i + 1) % 101))
      return "what was sent does not come back";
  }
  plugin()->free(context(), there);
  plugin()->host_free(context(), host);
  plugin()->host_free(context(), NULL);
  return NULL;
}

/* y = silu(a + b), twice through one graph with other values, and once without it */
static const char *check_graph()
{
  enum { COUNT = 1000 };
  std::vector<float> a(COUNT), b(COUNT), from_graph(COUNT), from_stream(COUNT);
  const ti_activation_shape s = { COUNT, TI_SILU };
  void *d[3];
  ti_exec e = {};
  ti_cuda_graph *graph;

  e.device = context();
  e.error = &error;
  for (void *&p : d) {
    if (plugin()->allocate(context(), &error, &p, COUNT * 4) < 0)
      return "no memory";
  }
  const auto work = [&]() {
    textinv_status status = plugin()->enter(context(), &error);

    e.stream = plugin()->stream(context());
    if (status >= 0)
      status = cuda()->add(&e, TI_F32, d[2], d[0], d[1], COUNT);
    if (status >= 0)
      status = cuda()->activation_fwd(&e, TI_F32, d[2], d[2], &s);
    plugin()->leave(context());
    return status;
  };

  if (plugin()->graph_begin(context(), &error) < 0 || work() < 0 ||
      plugin()->graph_end(context(), &error, &graph) < 0)
    return error.text;
  for (int turn = 0; turn < 2; turn++) {
    for (int i = 0; i < COUNT; i++) {
      a[i] = (float)(i - 500) * 0.01f * (float)(turn + 1);
      b[i] = (float)(i % 7);
    }
    plugin()->upload(context(), &error, d[0], a.data(), COUNT * 4);
    plugin()->upload(context(), &error, d[1], b.data(), COUNT * 4);
    if (plugin()->graph_launch(context(), &error, graph) < 0 ||
        plugin()->download(context(), &error, from_graph.data(), d[2], COUNT * 4) < 0)
      return error.text;
    if (work() < 0 ||
        plugin()->download(context(), &error, from_stream.data(), d[2], COUNT * 4) < 0)
      return error.text;
    if (memcmp(from_graph.data(), from_stream.data(), COUNT * 4))
      return "the graph gives other bits than the stream";
    const float z = a[700] + b[700];

    if (fabsf(from_graph[700] - z / (1.0f + expf(-z))) > 1e-5f * fabsf(z))
      return "the graph gives other values than the formula";
  }
  plugin()->graph_free(context(), graph);
  plugin()->graph_free(context(), NULL);
  for (void *p : d)
    plugin()->free(context(), p);
  return NULL;
}

static const char *check_weights()
{
  const float values[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
  const uint16_t wanted[] = { 0x3f80, 0x40a0, 0x4000, 0x40c0, 0x4040, 0x40e0, 0x4080, 0x4100 };
  const ti_conv2d_shape s = { 1, 2, 2, 2, 1, 2, 2, 1, 0, 0, 0, 0, 1, 1, 1 };
  ti_weight w = {}, other = {};
  ti_exec e = {};
  const void *first, *second, *third;
  void *prepared;
  size_t scratch = 0;
  uint16_t back[8];
  const size_t before = plugin()->weight_bytes(context());

  w.name = "w";
  w.data = values;
  w.count = 8;
  w.rank = 4;
  w.dims[0] = 1;
  w.dims[1] = w.dims[2] = w.dims[3] = 2;
  w.dtype = TI_F32;
  other = w;
  e.device = context();
  e.stream = plugin()->stream(context());
  e.error = &error;
  plugin()->enter(context(), &error);
  const textinv_status status =
      cuda()->weight_plain(&e, &first, &w, TI_F32) | cuda()->weight_plain(&e, &second, &w, TI_F32) |
      cuda()->weight_plain(&e, &third, &other, TI_F32) |
      cuda()->conv2d_prepare(&e, TI_BF16, &prepared, &scratch, &w, NULL, &s, 0, 0);
  plugin()->leave(context());
  ti_weight_drop(&w);
  ti_weight_drop(&other);
  if (status < 0)
    return error.text;
  if (first != second)
    return "a weight is kept twice";
  if (first == third)
    return "two weights share their memory";
  if (plugin()->weight_bytes(context()) - before != 2 * 32 + 16)
    return "weight_bytes is not the sum of what was made";
  /* [cin, kh, kw] to [kh, kw, cin]; the prepared record begins with the pointer */
  plugin()->download(context(), &error, back, *(void **)prepared, sizeof(back));
  if (memcmp(back, wanted, sizeof(back)))
    return "channels are not last";
  cuda()->release(prepared);
  plugin()->trim(context());
  return plugin()->weight_bytes(context()) ? "trim keeps weights" : NULL;
}

/* a session does not work in a forked child, and the child may end it */
static const char *check_fork()
{
  const pid_t child = fork();
  int status;

  if (child == 0) {
    const textinv_status s = plugin()->synchronize(context(), &error);

    _exit(s == TEXTINV_E_BACKEND && strstr(error.text, "fork") ? 0 : 1);
  }
  if (child < 0 || waitpid(child, &status, 0) != child)
    return "no child";
  return status ? "a child may use its parent's session" : NULL;
}

#ifdef TI_EMULATE
static const char *check_limits()
{
  const ti_cuda_host host = { ti_weight_pack, ti_weight_values };
  const float values[64] = {};
  ti_weight w = {};
  ti_cuda *c;
  ti_exec e = {};
  const void *p;
  size_t before, available, total;
  const int allocations = emulate_allocations;

  w.name = "unet.conv_in.weight";
  w.data = values;
  w.count = 64;
  w.rank = 1;
  w.dims[0] = 64;
  if (plugin()->open(&error, &c, &host, 0, NULL) < 0)
    return error.text;
  e.device = c;
  e.stream = plugin()->stream(c);
  e.error = &error;
  if (plugin()->free_bytes(c, &error, &before, &total) < 0)
    return error.text;
  emulate_kept = 1 << 20;
  if (plugin()->free_bytes(c, &error, &available, &total) < 0 || available != before)
    return "what the pool keeps is not free";
  emulate_kept = 0;
  emulate_memory_limit = 100;
  plugin()->enter(c, &error);
  const textinv_status status = cuda()->weight_plain(&e, &p, &w, TI_F32);

  plugin()->leave(c);
  emulate_memory_limit = 0;
  ti_weight_drop(&w);
  if (status != TEXTINV_E_NOMEM || p || !strstr(error.text, w.name) || !strstr(error.text, "256"))
    return "running out of memory does not name the weight and its bytes";
  if (plugin()->lost(c))
    return "running out of memory loses the device";

  /* an illegal address poisons the context: reported once as lost, then refused */
  emulate_set_error(cudaErrorIllegalAddress);
  if (plugin()->synchronize(c, &error) != TEXTINV_E_BACKEND || !strstr(error.text, "lost"))
    return "a poisoned context is not reported as lost";
  emulate_set_error(cudaSuccess);
  if (!plugin()->lost(c) || plugin()->synchronize(c, &error) != TEXTINV_E_BACKEND)
    return "a lost device is used again";
  plugin()->close(c);
  if (plugin()->open(&error, &c, &host, 7, NULL) != TEXTINV_E_BACKEND || c)
    return "device 7 is opened";
  for (void *stream : { cudaStreamLegacy, cudaStreamPerThread }) {
    if (plugin()->open(&error, &c, &host, 0, stream) != TEXTINV_E_INVALID || c)
      return "a default stream is taken";
  }
  return emulate_allocations != allocations ? "memory is lost" : NULL;
}

void check_emptied()
{
  check_result("host: everything is given back",
               emulate_allocations ? "device memory is not freed"
               : emulate_contexts  ? "the context stack is not as it was"
                                   : NULL);
}
#endif

void check_host_side()
{
  if (!check_wanted("host"))
    return;
  check_result("host: devices", check_devices());
  check_result("host: memory", check_memory());
  check_result("host: without waiting", check_without_waiting());
  check_result("host: graph", check_graph());
  check_result("host: weights", check_weights());
  check_result("host: fork", check_fork());
#ifdef TI_EMULATE
  check_result("host: limits", check_limits());
#endif
}
