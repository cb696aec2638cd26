/* cuBLAS on the same data; without it (TI_CUBLAS not defined) nothing is measured. */
#include "yardstick.h"

#ifdef TI_CUBLAS

#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <time.h>

#include <algorithm>
#include <vector>

double yardstick_gemm(const ti_cuda_plugin *plugin, ti_cuda *context, ti_dtype dtype, int m, int n,
                      int k, int transposed, void *const *a, void *const *w, void *const *y, int sets)
{
  const cudaDataType_t type = dtype == TI_F16 ? CUDA_R_16F : dtype == TI_BF16 ? CUDA_R_16BF : CUDA_R_32F;
  const cudaStream_t stream = (cudaStream_t)plugin->stream(context);
  const float one = 1.0f, zero = 0.0f;
  cublasHandle_t handle;
  cudaEvent_t begin, end;
  std::vector<float> times;
  ti_error error;
  bool good = true;

  if (plugin->enter(context, &error) < 0)
    return 0.0;
  good = cublasCreate(&handle) == CUBLAS_STATUS_SUCCESS &&
         cublasSetStream(handle, stream) == CUBLAS_STATUS_SUCCESS;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  for (int i = 0; i < 25 && good; i++) {
    float ms = 0.0f;

    cudaEventRecord(begin, stream);
    /* column-major: y^T = w a^T */
    for (int j = 0; j < sets && good; j++)
      good = cublasGemmEx(handle, transposed ? CUBLAS_OP_N : CUBLAS_OP_T, CUBLAS_OP_N, n, m, k, &one,
                          w[j], type, transposed ? n : k, a[j], type, k, &zero, y[j], type, n,
                          CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT) == CUBLAS_STATUS_SUCCESS;
    cudaEventRecord(end, stream);
    cudaEventSynchronize(end);
    cudaEventElapsedTime(&ms, begin, end);
    if (i >= 5)
      times.push_back(ms * 1e-3f / (float)sets);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cublasDestroy(handle);
  plugin->leave(context);
  if (!good)
    return 0.0;
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

#else

double yardstick_gemm(const ti_cuda_plugin *, ti_cuda *, ti_dtype, int, int, int, int, void *const *,
                      void *const *, void *const *, int)
{
  return 0.0;
}

#endif
