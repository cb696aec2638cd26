/* Mean squared error, and its gradient. One block sums in a fixed order: latents are small. */
#include "common.cuh"

enum { THREADS = 1024 };

// ------------------------------------------------------------------ kernels

template <typename T>
static __global__ void mse_fwd_kernel(float *__restrict__ loss, const T *__restrict__ pred,
                                      const float *__restrict__ target, size_t count)
{
  float sum = 0.0f;

  for (size_t i = threadIdx.x; i < count; i += THREADS) {
    const float d = to_float(pred[i]) - target[i];

    sum += d * d;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0)
    *loss = sum / (float)count;
}

template <typename T>
static __global__ void mse_bwd_kernel(T *__restrict__ dpred, const T *__restrict__ pred,
                                      const float *__restrict__ target, float factor, size_t count)
{
  for (size_t i = grid_index(); i < count; i += grid_step())
    from_float(&dpred[i], (to_float(pred[i]) - target[i]) * factor);
}

// ------------------------------------------------------------------ launchers

extern "C" textinv_status ti_cuda_mse_fwd(ti_exec *e, ti_dtype dtype, float *loss, const void *pred,
                                          const float *target, const ti_mse_shape *s)
{
  TI_WITH_DTYPE(dtype, return launch(e, "mse_fwd", mse_fwd_kernel<T>, 1, THREADS, 0, loss,
                                     (const T *)pred, target, (size_t)s->n * s->count));
}

extern "C" textinv_status ti_cuda_mse_bwd(ti_exec *e, ti_dtype dtype, void *dpred, const void *pred,
                                          const float *target, float scale, const ti_mse_shape *s)
{
  const size_t count = (size_t)s->n * s->count;

  TI_WITH_DTYPE(dtype, return launch(e, "mse_bwd", mse_bwd_kernel<T>, ti_flat_blocks(count),
                                     TI_FLAT_THREADS, 0, (T *)dpred, (const T *)pred, target,
                                     2.0f * scale / (float)count, count));
}
