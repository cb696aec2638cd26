/* Sums, the reference: y = a + b; v[n, c] = sum of x[n, hw, c] over hw. */
#include "cpu.h"

textinv_status ti_cpu_add(ti_exec *e, ti_dtype dtype, void *y, const void *a, const void *b,
                          size_t count)
{
#pragma omp parallel for num_threads(ti_threads(e, count))
  for (size_t i = 0; i < count; i++)
    ti_store(dtype, y, i, ti_load(dtype, a, i) + ti_load(dtype, b, i));
  return TEXTINV_OK;
}

textinv_status ti_cpu_sum_pixels(ti_exec *e, ti_dtype dtype, void *v, const void *x,
                                 const ti_sum_pixels_shape *s)
{
  const size_t c = s->c, hw = s->hw;

#pragma omp parallel for num_threads(ti_threads(e, s->n * hw * c))
  for (size_t i = 0; i < s->n * c; i++) {
    const size_t from = i / c * hw * c + i % c;
    double sum = 0.0;

    for (size_t p = 0; p < hw; p++)
      sum += ti_load(dtype, x, from + p * c);
    ti_store(dtype, v, i, (float)sum);
  }
  return TEXTINV_OK;
}
