/*
 * Mean squared error, the reference.
 *
 *   fwd: loss = avg((pred - target)^2)        bwd: dpred = 2 (pred - target) scale / count
 */
#include "cpu.h"

textinv_status ti_cpu_mse_fwd(ti_exec *e, ti_dtype dtype, float *loss, const void *pred,
                              const float *target, const ti_mse_shape *s)
{
  const size_t count = s->n * s->count;
  double sum = 0.0;

  (void)e;
  for (size_t i = 0; i < count; i++) {
    const double d = (double)ti_load(dtype, pred, i) - target[i];

    sum += d * d;
  }
  *loss = (float)(sum / count);
  return TEXTINV_OK;
}

textinv_status ti_cpu_mse_bwd(ti_exec *e, ti_dtype dtype, void *dpred, const void *pred,
                              const float *target, float scale, const ti_mse_shape *s)
{
  const size_t count = s->n * s->count;
  const double k = 2.0 * scale / count;

  (void)e;
  for (size_t i = 0; i < count; i++)
    ti_store(dtype, dpred, i, (float)(k * ((double)ti_load(dtype, pred, i) - target[i])));
  return TEXTINV_OK;
}
