/* A context, for the files of the host side. */
#ifndef TI_CUDA_CONTEXT_H
#define TI_CUDA_CONTEXT_H

#include <cuda_runtime.h>
#include <sys/types.h>

#include "cuda_kernels.h"

/* the device's copy of a weight */
struct device_weight {
  device_weight *next;
  uint64_t id; /* of the weight, never used twice */
  ti_dtype dtype;
  ti_cuda_layout layout;
  void *data;
};

enum { TI_CUDA_BUCKETS = 1024 };

struct ti_cuda {
  int device, multiprocessors;
  int is_hopper, hopper_off; /* compute capability 9.0, for which this was built; not wanted */
  void *driver_context; /* CUcontext */
  int retained;         /* it is the primary context, and released at the end */
  cudaStream_t stream;
  int own_stream;
  cudaStream_t capture; /* of graphs: a caller's may be one that the default stream waits for */
  int capturing;
  cudaEvent_t marks[TI_CUDA_MARKS];
  int lost;
  pid_t process;
  ti_cuda_host host;
  struct ti_cublas *cublas; /* of cublas.cu: NULL = not installed, or not tried yet */
  int cublas_tried, cublas_off;
  struct ti_cudnn *cudnn; /* of conv2d_cudnn.cu, in the same way */
  int cudnn_tried, cudnn_on;
  size_t weight_bytes;
  device_weight *weights[TI_CUDA_BUCKETS];
};

textinv_status ti_cuda_context_failed(ti_cuda *c, ti_error *error, int code, const char *what);
/* device memory for what; a failure tells needed and free bytes */
textinv_status ti_cuda_allocate(ti_cuda *c, ti_error *error, void **out, size_t bytes,
                                const char *what);
void ti_cuda_drop_weights(ti_cuda *c);

#endif /* TI_CUDA_CONTEXT_H */
