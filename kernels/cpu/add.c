/* Sums, the reference: y = a + b; y[n, hw, c] = x[n, hw, c] + v[n, c], bwd: dv = sum of dy over hw. */
#include "cpu.h"

textinv_status ti_cpu_add(ti_exec *e, ti_dtype dtype, void *y, const void *a, const void *b,
                          size_t count)
{
#pragma omp parallel for num_threads(ti_threads(e, count))
  for (size_t i = 0; i < count; i++)
    ti_store(dtype, y, i, ti_load(dtype, a, i) + ti_load(dtype, b, i));
  return TEXTINV_OK;
}

textinv_status ti_cpu_add_channels_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                       const void *v, const ti_add_channels_shape *s)
{
  const size_t c = s->c;

#pragma omp parallel for num_threads(ti_threads(e, s->n * s->hw * c))
  for (int r = 0; r < s->n * s->hw; r++) {
    for (size_t i = 0; i < c; i++)
      ti_store(dtype, y, r * c + i,
               ti_load(dtype, x, r * c + i) + ti_load(dtype, v, r / s->hw * c + i));
  }
  return TEXTINV_OK;
}

textinv_status ti_cpu_add_channels_bwd(ti_exec *e, ti_dtype dtype, void *dv, const void *dy,
                                       const ti_add_channels_shape *s)
{
  const size_t c = s->c, hw = s->hw;

#pragma omp parallel for num_threads(ti_threads(e, s->n * hw * c))
  for (size_t i = 0; i < s->n * c; i++) {
    const size_t from = i / c * hw * c + i % c;
    double sum = 0.0;

    for (size_t p = 0; p < hw; p++)
      sum += ti_load(dtype, dy, from + p * c);
    ti_store(dtype, dv, i, (float)sum);
  }
  return TEXTINV_OK;
}
