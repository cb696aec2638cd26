/* The emulated CUDA runtime. */
#include "runtime.h"

#include <deque>
#include <map>
#include <vector>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_runtime.h"

struct emulate_stream {
  bool capturing;
  std::vector<std::function<void()>> kept; /* of a capture */
  std::deque<std::function<void()>> waiting;
  unsigned long long submitted, done;
};

struct emulate_event {
  cudaStream_t stream;
  unsigned long long submitted; /* of the stream, when it was recorded */
};

struct emulate_graph {
  std::vector<std::function<void()>> work;
};

size_t emulate_memory_limit, emulate_kept;
int emulate_multiprocessors = 4, emulate_allocations, emulate_contexts;

static int last_error;
static size_t allocated;
static std::map<void *, size_t> blocks, host_blocks;
static char primary_context;

/* 8 GB, or what the environment asks for */
static size_t device_bytes()
{
  const char *text = getenv("TEXTINV_EMULATED_BYTES");

  return emulate_memory_limit ? emulate_memory_limit : text ? (size_t)atoll(text) : (size_t)8 << 30;
}

void emulate_set_error(int code)
{
  last_error = code;
}

static void submit(emulate_stream *s, const std::function<void()> &work)
{
  s->submitted++;
  s->waiting.push_back(work);
}

/* do what was submitted first, up to count in all */
static void work_off(emulate_stream *s, unsigned long long count)
{
  while (s->done < count) {
    s->waiting.front()();
    s->waiting.pop_front();
    s->done++;
  }
}

static void work_off(emulate_stream *s)
{
  work_off(s, s->submitted);
}

static bool is_pinned(const void *p)
{
  for (const auto &block : host_blocks) {
    if (p >= block.first && p < (char *)block.first + block.second)
      return true;
  }
  return false;
}

static bool poisoned()
{
  return last_error >= 700 && last_error < 900;
}

bool emulate_record(void *stream, const std::function<void()> &work)
{
  emulate_stream *s = (emulate_stream *)stream;

  if (!s)
    return false;
  if (s->capturing)
    s->kept.push_back(work);
  else
    submit(s, work);
  return true;
}

cudaError_t cudaGetLastError(void)
{
  const int code = last_error;

  /* what poisons a context stays */
  if (!poisoned())
    last_error = cudaSuccess;
  return code;
}

const char *cudaGetErrorString(cudaError_t code)
{
  return code == cudaErrorMemoryAllocation ? "out of memory" : "emulated error";
}

const char *cudaGetErrorName(cudaError_t code)
{
  return code == cudaErrorIllegalAddress ? "cudaErrorIllegalAddress" : "cudaError";
}

/* a number in the environment, in whole sessions' place of the variables below */
static int number_of(const char *name, int otherwise)
{
  const char *text = getenv(name);

  return text ? atoi(text) : otherwise;
}

int emulate_capability()
{
  return number_of("TEXTINV_EMULATED_CAPABILITY", 90);
}

cudaError_t cudaDriverGetVersion(int *version)
{
  *version = number_of("TEXTINV_EMULATED_DRIVER", 12050);
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
  *version = 12050;
  return cudaSuccess;
}

/* a driver that is missing or of another major version is not enough, as CUDA has it */
cudaError_t cudaGetDeviceCount(int *count)
{
  int driver;

  *count = 0;
  (void)cudaDriverGetVersion(&driver);
  if (driver < 12000)
    return last_error = cudaErrorInsufficientDriver;
  *count = number_of("TEXTINV_EMULATED_DEVICES", 1);
  return *count ? cudaSuccess : last_error = cudaErrorNoDevice;
}

cudaError_t cudaGetDevice(int *device)
{
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
  memset(p, 0, sizeof(*p));
  strcpy(p->name, "emulated");
  p->major = emulate_capability() / 10;
  p->minor = emulate_capability() % 10;
  p->multiProcessorCount = emulate_multiprocessors;
  p->memoryPoolsSupported = number_of("TEXTINV_EMULATED_POOLS", 1);
  p->totalGlobalMem = device_bytes();
  return device >= number_of("TEXTINV_EMULATED_DEVICES", 1) ? cudaErrorInvalidValue : cudaSuccess;
}

static int context_push(void *context)
{
  if (context != &primary_context)
    return 1;
  emulate_contexts++;
  return 0;
}

static int context_pop(void **context)
{
  *context = &primary_context;
  emulate_contexts--;
  return 0;
}

static int primary_retain(void **context, int)
{
  *context = &primary_context;
  return 0;
}

static int primary_release(int)
{
  return 0;
}

static int stream_context(void *, void **context)
{
  *context = &primary_context;
  return 0;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **f, unsigned,
                                             unsigned long long, void *)
{
  static const struct {
    const char *name;
    void *f;
  } all[] = { { "cuCtxPushCurrent", (void *)context_push },
              { "cuCtxPopCurrent", (void *)context_pop },
              { "cuDevicePrimaryCtxRetain", (void *)primary_retain },
              { "cuDevicePrimaryCtxRelease", (void *)primary_release },
              { "cuStreamGetCtx", (void *)stream_context } };

  for (const auto &entry : all) {
    if (!strcmp(entry.name, name)) {
      *f = entry.f;
      return cudaSuccess;
    }
  }
  return cudaErrorSymbolNotFound;
}

cudaError_t cudaMallocAsync(void **p, size_t bytes, cudaStream_t stream)
{
  *p = NULL;
  if (stream->capturing)
    return last_error = cudaErrorStreamCaptureUnsupported;
  if (allocated + bytes > device_bytes())
    return last_error = cudaErrorMemoryAllocation;
  /* an address aligned to 256 whose end is exact, for the address sanitizer */
  if (posix_memalign(p, 256, bytes))
    return last_error = cudaErrorMemoryAllocation;
  memset(*p, 0xff, bytes); /* NaN in every type */
  allocated += bytes;
  blocks[*p] = bytes;
  emulate_allocations++;
  return cudaSuccess;
}

cudaError_t cudaFreeAsync(void *p, cudaStream_t stream)
{
  if (stream->capturing)
    return last_error = cudaErrorStreamCaptureUnsupported;
  if (!blocks.count(p))
    return last_error = cudaErrorInvalidValue;
  work_off(stream);
  allocated -= blocks[p];
  blocks.erase(p);
  free(p);
  emulate_allocations--;
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
  *total = device_bytes();
  *available = *total > allocated + emulate_kept ? *total - allocated - emulate_kept : 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetMemPool(cudaMemPool_t *pool, int)
{
  *pool = NULL;
  return cudaSuccess;
}

cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, int attribute, void *value)
{
  *(uint64_t *)value = allocated + (attribute == cudaMemPoolAttrUsedMemCurrent ? 0 : emulate_kept);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream)
{
  const char *from = (const char *)src;

  if (stream->capturing)
    return last_error = cudaErrorStreamCaptureUnsupported;
  if (is_pinned(kind == cudaMemcpyHostToDevice ? src : dst)) {
    submit(stream, [=] { memcpy(dst, src, bytes); });
  } else if (kind == cudaMemcpyHostToDevice) {
    const std::vector<char> taken(from, from + bytes);

    submit(stream, [=] { memcpy(dst, taken.data(), bytes); });
  } else {
    work_off(stream);
    memcpy(dst, src, bytes);
  }
  return poisoned() ? last_error : cudaSuccess;
}

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned)
{
  *p = malloc(bytes);
  host_blocks[*p] = bytes;
  emulate_allocations++;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void *p)
{
  if (!host_blocks.erase(p))
    return last_error = cudaErrorInvalidValue;
  free(p);
  emulate_allocations--;
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
  *event = new emulate_event{};
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
  if (stream->capturing)
    return last_error = cudaErrorStreamCaptureUnsupported;
  *event = emulate_event{ stream, stream->submitted };
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
  if (event->stream)
    work_off(event->stream, event->submitted);
  return poisoned() ? last_error : cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
  *stream = NULL;
  if (flags != cudaStreamNonBlocking)
    return last_error = cudaErrorInvalidValue;
  *stream = new emulate_stream{};
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
  work_off(stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
  if (stream->capturing)
    return last_error = cudaErrorStreamCaptureUnsupported;
  work_off(stream);
  return poisoned() ? last_error : cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, int)
{
  if (stream->capturing)
    return last_error = cudaErrorInvalidValue;
  stream->capturing = true;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
  *graph = NULL;
  if (!stream->capturing)
    return last_error = cudaErrorInvalidValue;
  stream->capturing = false;
  *graph = new emulate_graph{ stream->kept };
  stream->kept.clear();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
  if (!number_of("TEXTINV_EMULATED_GRAPHS", 1))
    return last_error = cudaErrorMemoryAllocation;
  *exec = new emulate_graph{ graph->work };
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
  if (stream->capturing)
    return last_error = cudaErrorStreamCaptureUnsupported;
  for (const auto &work : exec->work)
    submit(stream, work);
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
  delete exec;
  return cudaSuccess;
}
