/*
 * Whether cuDNN has kernels, as conv2d_cudnn.cu asks for them, for the convolutions of the
 * networks: for devices that are described, not there. What they compute is the business of `make
 * check-cuda`.
 */
#include "../../kernels/cuda/conv2d_cudnn.cu"

#include <stdio.h>

#include <string>

/* never called: nothing runs here */
cudaError_t cudaMemcpyAsync(void *, const void *, size_t, cudaMemcpyKind, cudaStream_t)
{
  return cudaErrorNotSupported;
}

extern "C" textinv_status ti_cuda_failed(ti_exec *, int, const char *)
{
  return TEXTINV_E_BACKEND;
}

extern "C" textinv_status ti_cuda_check(ti_exec *, const char *)
{
  return TEXTINV_E_BACKEND;
}

/* what cuDNN asks a device for, in its own names */
struct described {
  const char *name;
  int version, multiprocessors, shared_optin, l2, clock, memory_clock;
};

static std::string json_of(const described &d)
{
  char text[2048];

  snprintf(
    text, sizeof(text),
    "{\"deviceName\": \"%s\", \"deviceVer\": %d, \"driverVer\": 13000, \"cudaDeviceId\": 0, "
    "\"multiProcessorCount\": %d, \"maxSharedMemoryPerBlockOptin\": %d, \"l2CacheSize\": %d, "
    "\"smClockRateKHz\": %d, \"memClockRateKHz\": %d, \"totalGlobalMem\": 85899345920, "
    "\"maxGridSize\": [2147483647, 65535, 65535], \"maxBlockSize\": [1024, 1024, 64], "
    "\"regsPerBlock\": 65536, \"warpSize\": 32, \"maxSharedMemoryPerBlock\": 49152, "
    "\"reservedSharedMemoryPerBlock\": 1024, \"maxRegistersPerSM\": 65536, "
    "\"pciDeviceId\": 0, \"maxCtasPerSM\": 32, \"maxThreadsPerBlock\": 1024, "
    "\"maxThreadsPerSM\": 2048, \"isTccDriver\": 0, \"supportCoopLaunch\": 1}",
    d.name, d.version, d.multiprocessors, d.shared_optin, d.l2, d.clock, d.memory_clock);
  return text;
}

/* a device that library can make plans for; false: it has not the means */
static bool describe(ti_cudnn *library, const described &d)
{
  const std::string json = json_of(d);

  return library->new_descriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &library->device) ==
             CUDNN_STATUS_SUCCESS &&
         library->set(library->device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                      (int64_t)json.size(), json.data()) == CUDNN_STATUS_SUCCESS &&
         library->finalize(library->device) == CUDNN_STATUS_SUCCESS;
}

struct layer {
  int n, side, cin, cout, stride, pad_before;
};

/* false: it has no kernel for the layer */
static bool has_kernel(ti_cudnn *library, const layer &l, ti_dtype dtype, int has_residual,
                       int backward)
{
  cudnn_key key = {};
  ti_conv2d_shape *s = &key.shape;

  s->n = l.n;
  s->h = s->w = l.side;
  s->cin = l.cin;
  s->cout = l.cout;
  s->kh = s->kw = 3;
  s->stride = l.stride;
  s->pad_top = s->pad_left = l.pad_before;
  s->pad_bottom = s->pad_right = s->up = 1;
  s->oh = s->ow = (l.side + l.pad_before + 1 - 3) / l.stride + 1;
  key.dtype = dtype;
  key.backward = backward;
  key.has_bias = !backward;
  key.has_residual = has_residual;

  const ti_cudnn_plan *p = plan_of(library, &key);

  return p && !p->failed && plan_of(library, &key) == p;
}

int main()
{
  static const described devices[] = {
    { "NVIDIA H100 80GB HBM3", 900, 132, 232448, 52428800, 1980000, 2619000 },
    { "NVIDIA A100-SXM4-80GB", 800, 108, 166912, 41943040, 1410000, 1593000 },
  };
  static const layer layers[] = {
    { 4, 64, 320, 320, 1, 1 },   { 4, 64, 640, 320, 1, 1 },   { 4, 64, 320, 320, 2, 1 },
    { 4, 32, 640, 640, 1, 1 },   { 4, 32, 1280, 640, 1, 1 },  { 1, 32, 640, 640, 2, 1 },
    { 4, 16, 1280, 1280, 1, 1 }, { 1, 16, 2560, 1280, 1, 1 }, { 4, 8, 1280, 1280, 1, 1 },
    { 1, 128, 320, 320, 1, 1 },  { 1, 512, 128, 128, 2, 0 },
  };
  int num_tests = 0, num_failed = 0;

  for (const described &d : devices) {
    ti_cudnn *library = open_library();

    if (!library || !describe(library, d)) {
      printf("[  SKIPPED ] libcudnn.so.%d, 9.8 or newer, is not here\n", CUDNN_MAJOR);
      printf("[  PASSED  ] 0 test(s).\n");
      printf("[  SKIPPED ] 1 test(s).\n");
      return 0;
    }
    for (const layer &l : layers) {
      for (int with = 0; with < 8; with++) {
        const int is_half = with & 1, has_residual = with >> 1 & 1, backward = with >> 2;

        num_tests++;
        if (has_kernel(library, l, is_half ? TI_F16 : TI_BF16, has_residual, backward))
          continue;
        num_failed++;
        printf(
          "[  FAILED  ] %s: conv2d%s %s n %d %dx%d %d -> %d stride %d residual %d: no kernel\n",
          d.name, backward ? "_bwd" : "", is_half ? "f16" : "bf16", l.n, l.side, l.side, l.cin,
          l.cout, l.stride, has_residual);
      }
    }
    (void)library->free_descriptor(library->device);
    close_library(library);
  }
  printf("[==========] cudnn: %d test(s) run.\n", num_tests);
  printf("[  PASSED  ] %d test(s).\n", num_tests - num_failed);
  return num_failed != 0;
}
