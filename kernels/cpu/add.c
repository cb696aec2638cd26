/* Sums, the reference: y = a + b; v[n, c] = sum of x[n, hw, c] over hw. */
#include "cpu.h"

static void add_range(const void *user, size_t from, size_t to)
{
  const ti_args *a = user;

  for (size_t i = from; i < to; i++)
    ti_store(a->dtype, a->out, i, ti_load(a->dtype, a->x, i) + ti_load(a->dtype, a->other, i));
}

static void sum_channel(const void *user, size_t i)
{
  const ti_args *a = user;
  const ti_sum_pixels_shape *s = a->s;
  const size_t c = s->c, from = i / c * s->hw * c + i % c;
  double sum = 0.0;

  for (int p = 0; p < s->hw; p++)
    sum += ti_load(a->dtype, a->x, from + p * c);
  ti_store(a->dtype, a->out, i, (float)sum);
}

textinv_status ti_cpu_add(ti_exec *e, ti_dtype dtype, void *y, const void *a, const void *b,
                          size_t count)
{
  ti_for_values(e, count, add_range, &(ti_args){ dtype, y, a, .other = b });
  return TEXTINV_OK;
}

textinv_status ti_cpu_sum_pixels(ti_exec *e, ti_dtype dtype, void *v, const void *x,
                                 const ti_sum_pixels_shape *s)
{
  const size_t vectors = (size_t)s->n * s->c;

  ti_for(e, vectors * s->hw, vectors, sum_channel, &(ti_args){ dtype, v, x, .s = s });
  return TEXTINV_OK;
}
