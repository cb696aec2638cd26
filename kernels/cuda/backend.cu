/*
 * The plug-in's host side: devices, contexts, memory, graphs, errors. The meaning of every function
 * is in plugin.h.
 *
 * The driver's context functions are looked up through the runtime, so that the plug-in links
 * neither libcuda nor a shared runtime and loads on a machine without a driver.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conv2d_cudnn.h"
#include "cublas.h"
#include "hopper.cuh"

/* whether the kernels of hopper.cuh that this device runs have bodies */
#ifdef TI_HOPPER
static __device__ int has_hopper = 1;
#else
static __device__ int has_hopper = 0;
#endif

struct ti_cuda_graph {
  cudaGraphExec_t exec;
};

/* ------ the driver's functions; a status other than 0 is a failure */

typedef int (*context_fn)(void *);
typedef int (*out_fn)(void **);
typedef int (*retain_fn)(void **, int);
typedef int (*release_fn)(int);
typedef int (*stream_fn)(void *, void **);

static void *driver_function(const char *name)
{
  void *f = NULL;

  if (cudaGetDriverEntryPointByVersion(name, &f, 12000, cudaEnableDefault, NULL) != cudaSuccess) {
    (void)cudaGetLastError();
    return NULL;
  }
  return f;
}

static int push_context(void *context)
{
  const context_fn f = (context_fn)driver_function("cuCtxPushCurrent");

  return f ? f(context) : -1;
}

static void pop_context(void)
{
  const out_fn f = (out_fn)driver_function("cuCtxPopCurrent");
  void *context;

  if (f)
    (void)f(&context);
}

/* ------ errors */

/* the context is poisoned: nothing in it will ever work again */
static int is_fatal(int code)
{
  switch (code) {
  case cudaErrorECCUncorrectable:
  case cudaErrorNvlinkUncorrectable:
  case cudaErrorIllegalAddress:
  case cudaErrorLaunchTimeout:
  case cudaErrorContextIsDestroyed:
  case cudaErrorAssert:
  case cudaErrorHardwareStackError:
  case cudaErrorIllegalInstruction:
  case cudaErrorMisalignedAddress:
  case cudaErrorInvalidAddressSpace:
  case cudaErrorInvalidPc:
  case cudaErrorLaunchFailure:
  case cudaErrorUnknown:
  case 226: /* cudaErrorContained; this and the others are not in every toolkit */
  case 721: /* cudaErrorTensorMemoryLeak */
  case 810: /* cudaErrorMpsClientTerminated */
  case 911: /* cudaErrorExternalDevice */
    return 1;
  default:
    return 0;
  }
}

textinv_status ti_cuda_context_failed(ti_cuda *c, ti_error *error, int code, const char *what)
{
  (void)cudaGetLastError(); /* the host's next call is not to see it */
  if (is_fatal(code)) {
    if (c)
      c->lost = 1;
    return ti_fail(error, TEXTINV_E_BACKEND,
                   "%s: device lost: %s (%s); the process must start again to use it", what,
                   cudaGetErrorString((cudaError_t)code), cudaGetErrorName((cudaError_t)code));
  }
  return ti_fail(error, code == cudaErrorMemoryAllocation ? TEXTINV_E_NOMEM : TEXTINV_E_BACKEND,
                 "%s: %s (%s)", what, cudaGetErrorString((cudaError_t)code),
                 cudaGetErrorName((cudaError_t)code));
}

extern "C" textinv_status ti_cuda_failed(ti_exec *e, int code, const char *what)
{
  return ti_cuda_context_failed((ti_cuda *)e->device, e->error, code, what);
}

extern "C" textinv_status ti_cuda_check(ti_exec *e, const char *what)
{
  const cudaError_t code = cudaGetLastError();

  return code == cudaSuccess ? TEXTINV_OK : ti_cuda_failed(e, code, what);
}

extern "C" int ti_cuda_multiprocessors(const ti_exec *e)
{
  return ((const ti_cuda *)e->device)->multiprocessors;
}

extern "C" int ti_cuda_hopper(const ti_exec *e)
{
  const ti_cuda *c = (const ti_cuda *)e->device;

  return c->is_hopper && !c->hopper_off;
}

static int use_hopper(ti_cuda *c, int on)
{
  c->hopper_off = !on;
  return c->is_hopper && on;
}

/* ------ devices */

static textinv_status device_count(ti_error *error, int *out)
{
  int driver = 0, runtime = 0; /* 12050 is CUDA 12.5; a driver that is not there is 0 */
  const cudaError_t code = cudaGetDeviceCount(out);

  if (code == cudaSuccess && *out > 0)
    return TEXTINV_OK;
  *out = 0;
  (void)cudaGetLastError();
  if (code == cudaSuccess || code == cudaErrorNoDevice)
    return ti_fail(error, TEXTINV_E_BACKEND, "the CUDA driver shows no device to this process");
  (void)cudaDriverGetVersion(&driver);
  (void)cudaRuntimeGetVersion(&runtime);
  (void)cudaGetLastError();
  if (!driver)
    return ti_fail(error, TEXTINV_E_BACKEND, "no CUDA driver is installed");
  if (code == cudaErrorInsufficientDriver)
    return ti_fail(error, TEXTINV_E_BACKEND,
                   "the driver is of CUDA %d.%d, too old for the plug-in, which is of CUDA %d.%d",
                   driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
  return ti_cuda_context_failed(NULL, error, code, "counting CUDA devices");
}

static textinv_status device_info(ti_error *error, ti_cuda_device *out, int device)
{
  cudaDeviceProp p;
  cudaError_t code;
  textinv_status status;
  int count;

  memset(out, 0, sizeof(*out));
  if ((status = device_count(error, &count)) < 0)
    return status;
  if (device < 0 || device >= count)
    return ti_fail(error, TEXTINV_E_BACKEND, "device %d: %d CUDA devices are there", device, count);
  code = cudaGetDeviceProperties(&p, device);
  if (code != cudaSuccess)
    return ti_cuda_context_failed(NULL, error, code, "device properties");
  memcpy(out->name, p.name, sizeof(out->name) - 1);
  out->major = p.major;
  out->minor = p.minor;
  out->multiprocessors = p.multiProcessorCount;
  out->pools = p.memoryPoolsSupported;
  out->total_bytes = p.totalGlobalMem;
  return TEXTINV_OK;
}

/* ------ contexts */

static void leave(ti_cuda *c)
{
  (void)c;
  pop_context();
}

static textinv_status enter(ti_cuda *c, ti_error *error)
{
  if (c->process != getpid())
    return ti_fail(error, TEXTINV_E_BACKEND,
                   "the CUDA session was opened before a fork; open another one in this process");
  if (c->lost)
    return ti_fail(error, TEXTINV_E_BACKEND,
                   "device lost by an earlier call; the process must start again to use it");
  if (push_context(c->driver_context))
    return ti_fail(error, TEXTINV_E_BACKEND, "device %d: its context cannot be made current",
                   c->device);
  return TEXTINV_OK;
}

/* asked in the context, where the library is opened */
static int inside(ti_cuda *c, int (*is_on)(ti_cuda *))
{
  int on;

  if (enter(c, NULL) < 0)
    return 0;
  on = is_on(c);
  leave(c);
  return on;
}

static int use_cublas(ti_cuda *c, int on)
{
  c->cublas_off = !on;
  return inside(c, ti_cublas_is_on);
}

static int use_cudnn(ti_cuda *c, int on)
{
  c->cudnn_on = on;
  return inside(c, ti_cudnn_is_on);
}

static void close_context(ti_cuda *c)
{
  const release_fn release = (release_fn)driver_function("cuDevicePrimaryCtxRelease");

  if (!c)
    return;
  if (c->driver_context && c->process == getpid() && !push_context(c->driver_context)) {
    if (c->stream)
      (void)cudaStreamSynchronize(c->stream);
    ti_cuda_drop_weights(c);
    ti_cublas_close(c);
    ti_cudnn_close(c);
    for (cudaEvent_t mark : c->marks) {
      if (mark)
        (void)cudaEventDestroy(mark);
    }
    if (c->own_stream && c->stream)
      (void)cudaStreamDestroy(c->stream);
    if (c->capture)
      (void)cudaStreamDestroy(c->capture);
    (void)cudaGetLastError();
    pop_context();
  }
  if (c->retained && c->process == getpid() && release)
    (void)release(c->device);
  free(c);
}

/* driver_context: of the caller's stream, or the device's primary one */
static textinv_status find_context(ti_cuda *c, ti_error *error, void *stream)
{
  const stream_fn of_stream = (stream_fn)driver_function("cuStreamGetCtx");
  const retain_fn retain = (retain_fn)driver_function("cuDevicePrimaryCtxRetain");
  int failed;

  if (stream) {
    failed = !of_stream || of_stream(stream, &c->driver_context);
    if (failed)
      return ti_fail(error, TEXTINV_E_BACKEND, "the stream given has no context");
    return TEXTINV_OK;
  }
  failed = !retain || retain(&c->driver_context, c->device);
  if (failed)
    return ti_fail(error, TEXTINV_E_BACKEND, "device %d: no context can be made on it", c->device);
  c->retained = 1;
  return TEXTINV_OK;
}

static textinv_status open_context(ti_error *error, ti_cuda **out, const ti_cuda_host *host,
                                   int device, void *stream)
{
  /* "portable": none of one architecture's own kernels; "cudnn": convolutions by cuDNN */
  const char *ways = getenv("TEXTINV_CUDA");
  ti_cuda_device info;
  ti_cuda *c;
  cudaError_t code;
  textinv_status status = device_info(error, &info, device);

  *out = NULL;
  if (status < 0)
    return status;
  if (info.major < TI_CUDA_MIN_MAJOR)
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "device %d (%s) has compute capability %d.%d; %d.0 or newer is needed", device,
                   info.name, info.major, info.minor, TI_CUDA_MIN_MAJOR);
  if (!info.pools)
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "device %d (%s) has no memory pools (cudaMallocAsync), which are needed", device,
                   info.name);
  if (stream == (void *)cudaStreamLegacy || stream == (void *)cudaStreamPerThread)
    return ti_fail(error, TEXTINV_E_INVALID,
                   "the stream given is a default stream, which others use or which is another one "
                   "on each thread; give one that was created, or NULL");
  c = (ti_cuda *)calloc(1, sizeof(*c));
  if (!c)
    return ti_fail_nomem(error, sizeof(*c), "a CUDA session");
  c->device = device;
  c->multiprocessors = info.multiprocessors;
  c->is_hopper = info.major == 9 && info.minor == 0;
  c->hopper_off = ways && !strcmp(ways, "portable");
  c->cudnn_on = ways && !strcmp(ways, "cudnn");
  c->process = getpid();
  c->host = *host;
  if ((status = find_context(c, error, stream)) < 0)
    goto fail;
  if ((status = enter(c, error)) < 0)
    goto fail;
  if (stream) {
    int current = device;

    c->stream = (cudaStream_t)stream;
    code = cudaGetDevice(&current);
    if (code == cudaSuccess && current != device)
      status = ti_fail(error, TEXTINV_E_INVALID, "the stream given is of device %d, not of %d",
                       current, device);
  } else {
    code = cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking);
    c->own_stream = code == cudaSuccess;
  }
  if (code == cudaSuccess)
    code = cudaStreamCreateWithFlags(&c->capture, cudaStreamNonBlocking);
  if (code == cudaSuccess && c->is_hopper) {
    code = cudaMemcpyFromSymbolAsync(&c->is_hopper, has_hopper, sizeof(has_hopper), 0,
                                     cudaMemcpyDeviceToHost, c->capture);
    if (code == cudaSuccess)
      code = cudaStreamSynchronize(c->capture);
  }
  /* a thread that waits for a mark sleeps */
  for (int i = 0; i < TI_CUDA_MARKS && code == cudaSuccess; i++)
    code = cudaEventCreateWithFlags(&c->marks[i], cudaEventBlockingSync | cudaEventDisableTiming);
  if (code != cudaSuccess)
    status = ti_cuda_context_failed(c, error, code, "a session");
  leave(c);
  if (status < 0)
    goto fail;
  *out = c;
  return TEXTINV_OK;
fail:
  close_context(c);
  return status;
}

static void *stream_of(const ti_cuda *c)
{
  return c->capturing ? c->capture : c->stream;
}

static int is_lost(const ti_cuda *c)
{
  return c->lost;
}

/* ------ memory */

/* with what the host lets the device's pool keep, which is for us, too */
static cudaError_t find_free(const ti_cuda *c, size_t *available, size_t *total)
{
  cudaMemPool_t pool = NULL;
  uint64_t kept = 0, used = 0;
  cudaError_t code = cudaMemGetInfo(available, total);

  if (code == cudaSuccess)
    code = cudaDeviceGetMemPool(&pool, c->device);
  if (code == cudaSuccess)
    code = cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &kept);
  if (code == cudaSuccess)
    code = cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used);
  if (kept > used)
    *available += (size_t)(kept - used);
  return code;
}

textinv_status ti_cuda_allocate(ti_cuda *c, ti_error *error, void **out, size_t bytes,
                                const char *what)
{
  /* in order with the stream: neither this nor freeing waits for the device */
  const cudaError_t code = cudaMallocAsync(out, bytes ? bytes : 1, c->stream);
  size_t available = 0, total = 0;

  if (code == cudaSuccess)
    return TEXTINV_OK;
  *out = NULL;
  if (code != cudaErrorMemoryAllocation)
    return ti_cuda_context_failed(c, error, code, what);
  (void)cudaGetLastError();
  (void)find_free(c, &available, &total);
  return ti_fail(error, TEXTINV_E_NOMEM,
                 "out of memory on device %d: %zu bytes for %s, %zu are free of %zu", c->device,
                 bytes, what, available, total);
}

static textinv_status allocate(ti_cuda *c, ti_error *error, void **out, size_t bytes)
{
  textinv_status status = enter(c, error);

  *out = NULL;
  if (status < 0)
    return status;
  status = ti_cuda_allocate(c, error, out, bytes, "activations");
  leave(c);
  return status;
}

static void free_memory(ti_cuda *c, void *p)
{
  if (!p || c->process != getpid() || push_context(c->driver_context))
    return;
  (void)cudaFreeAsync(p, c->stream);
  (void)cudaStreamSynchronize(c->stream); /* gives the memory back to the device */
  (void)cudaGetLastError();
  pop_context();
}

static textinv_status free_bytes(ti_cuda *c, ti_error *error, size_t *available, size_t *total)
{
  textinv_status status = enter(c, error);
  cudaError_t code;

  if (status < 0)
    return status;
  code = find_free(c, available, total);
  if (code != cudaSuccess)
    status = ti_cuda_context_failed(c, error, code, "memory");
  leave(c);
  return status;
}

static void trim(ti_cuda *c)
{
  if (c->process != getpid() || push_context(c->driver_context))
    return;
  (void)cudaStreamSynchronize(c->stream);
  ti_cuda_drop_weights(c);
  (void)cudaGetLastError();
  pop_context();
}

static size_t weight_bytes(const ti_cuda *c)
{
  return c->weight_bytes;
}

static textinv_status start_copy(ti_cuda *c, ti_error *error, void *dst, const void *src,
                                 size_t bytes, cudaMemcpyKind kind)
{
  textinv_status status = enter(c, error);
  cudaError_t code;

  if (status < 0)
    return status;
  code = cudaMemcpyAsync(dst, src, bytes, kind, c->stream);
  if (code != cudaSuccess)
    status = ti_cuda_context_failed(c, error, code, "copy");
  leave(c);
  return status;
}

static textinv_status synchronize(ti_cuda *c, ti_error *error)
{
  textinv_status status = enter(c, error);
  cudaError_t code;

  if (status < 0)
    return status;
  code = cudaStreamSynchronize(c->stream);
  if (code != cudaSuccess)
    status = ti_cuda_context_failed(c, error, code, "kernels");
  leave(c);
  return status;
}

static textinv_status copy(ti_cuda *c, ti_error *error, void *dst, const void *src, size_t bytes,
                           cudaMemcpyKind kind)
{
  const textinv_status status = start_copy(c, error, dst, src, bytes, kind);

  return status < 0 ? status : synchronize(c, error);
}

static textinv_status upload(ti_cuda *c, ti_error *error, void *dst, const void *src, size_t bytes)
{
  return copy(c, error, dst, src, bytes, cudaMemcpyHostToDevice);
}

static textinv_status download(ti_cuda *c, ti_error *error, void *dst, const void *src,
                               size_t bytes)
{
  return copy(c, error, dst, src, bytes, cudaMemcpyDeviceToHost);
}

/* ------ without waiting */

static textinv_status host_allocate(ti_cuda *c, ti_error *error, void **out, size_t bytes)
{
  textinv_status status = enter(c, error);
  cudaError_t code;

  *out = NULL;
  if (status < 0)
    return status;
  code = cudaHostAlloc(out, bytes, cudaHostAllocDefault);
  if (code != cudaSuccess) {
    *out = NULL;
    status = ti_cuda_context_failed(c, error, code, "host memory");
  }
  leave(c);
  return status;
}

static void host_free(ti_cuda *c, void *p)
{
  if (!p || c->process != getpid() || push_context(c->driver_context))
    return;
  (void)cudaStreamSynchronize(c->stream);
  (void)cudaFreeHost(p);
  (void)cudaGetLastError();
  pop_context();
}

static textinv_status send(ti_cuda *c, ti_error *error, void *dst, const void *src, size_t bytes)
{
  return start_copy(c, error, dst, src, bytes, cudaMemcpyHostToDevice);
}

static textinv_status fetch(ti_cuda *c, ti_error *error, void *dst, const void *src, size_t bytes)
{
  return start_copy(c, error, dst, src, bytes, cudaMemcpyDeviceToHost);
}

static textinv_status set_mark(ti_cuda *c, ti_error *error, int mark)
{
  textinv_status status = enter(c, error);
  cudaError_t code;

  if (status < 0)
    return status;
  code = cudaEventRecord(c->marks[mark], c->stream);
  if (code != cudaSuccess)
    status = ti_cuda_context_failed(c, error, code, "mark");
  leave(c);
  return status;
}

static textinv_status wait_for_mark(ti_cuda *c, ti_error *error, int mark)
{
  textinv_status status = enter(c, error);
  cudaError_t code;

  if (status < 0)
    return status;
  code = cudaEventSynchronize(c->marks[mark]);
  if (code != cudaSuccess)
    status = ti_cuda_context_failed(c, error, code, "kernels");
  leave(c);
  return status;
}

/* ------ graphs */

static textinv_status graph_begin(ti_cuda *c, ti_error *error)
{
  textinv_status status = enter(c, error);
  cudaError_t code;

  if (status < 0)
    return status;
  code = cudaStreamBeginCapture(c->capture, cudaStreamCaptureModeThreadLocal);
  c->capturing = code == cudaSuccess;
  if (code != cudaSuccess)
    status = ti_cuda_context_failed(c, error, code, "capture");
  leave(c);
  return status;
}

static textinv_status graph_end(ti_cuda *c, ti_error *error, ti_cuda_graph **out)
{
  textinv_status status = enter(c, error);
  cudaGraph_t graph = NULL;
  ti_cuda_graph *g = NULL;
  cudaError_t code;

  *out = NULL;
  if (status < 0)
    return status;
  c->capturing = 0;
  code = cudaStreamEndCapture(c->capture, &graph);
  if (code != cudaSuccess) {
    status = ti_cuda_context_failed(c, error, code, "capture");
    goto out;
  }
  g = (ti_cuda_graph *)calloc(1, sizeof(*g));
  if (!g) {
    status = ti_fail_nomem(error, sizeof(*g), "a graph");
    goto out;
  }
  code = cudaGraphInstantiate(&g->exec, graph, 0);
  if (code != cudaSuccess) {
    status = ti_cuda_context_failed(c, error, code, "graph");
    goto out;
  }
  *out = g;
  g = NULL;
out:
  if (graph)
    (void)cudaGraphDestroy(graph);
  free(g);
  leave(c);
  return status;
}

static textinv_status graph_launch(ti_cuda *c, ti_error *error, ti_cuda_graph *graph)
{
  textinv_status status = enter(c, error);
  cudaError_t code;

  if (status < 0)
    return status;
  code = cudaGraphLaunch(graph->exec, c->stream);
  if (code != cudaSuccess)
    status = ti_cuda_context_failed(c, error, code, "graph");
  leave(c);
  return status;
}

static void graph_free(ti_cuda *c, ti_cuda_graph *graph)
{
  if (!graph)
    return;
  if (c->process == getpid() && !push_context(c->driver_context)) {
    (void)cudaStreamSynchronize(c->stream);
    (void)cudaGraphExecDestroy(graph->exec);
    (void)cudaGetLastError();
    pop_context();
  }
  free(graph);
}

/* ------ the exported function */

extern "C" __attribute__((visibility("default"))) const ti_cuda_plugin *textinv_cuda_plugin(void);

extern "C" const ti_cuda_plugin *textinv_cuda_plugin(void)
{
  static const ti_cuda_plugin plugin = { TI_CUDA_PLUGIN_VERSION,
                                         sizeof(ti_exec),
                                         sizeof(ti_kernels),
                                         device_count,
                                         device_info,
                                         open_context,
                                         close_context,
                                         ti_kernels_init_cuda,
                                         stream_of,
                                         is_lost,
                                         enter,
                                         leave,
                                         allocate,
                                         free_memory,
                                         free_bytes,
                                         trim,
                                         weight_bytes,
                                         upload,
                                         download,
                                         synchronize,
                                         host_allocate,
                                         host_free,
                                         send,
                                         fetch,
                                         set_mark,
                                         wait_for_mark,
                                         graph_begin,
                                         graph_end,
                                         graph_launch,
                                         graph_free,
                                         ti_cuda_step_inputs,
                                         ti_cuda_step_update,
                                         ti_cuda_step_apply,
                                         ti_cuda_noise,
                                         use_cublas,
                                         use_cudnn,
                                         use_hopper };

  return &plugin;
}
