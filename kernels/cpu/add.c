/* Sums, the reference: y = a + b; v[n, c] = sum of x[n, hw, c] over hw. */
#include "cpu.h"

typedef struct job {
  ti_dtype dtype;
  void *y;
  const void *a, *b;
  size_t hw, c; /* of sum_pixels, whose source is a */
} job;

static void add_range(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;

  (void)thread;
  for (size_t i = from; i < to; i++)
    ti_store(j->dtype, j->y, i, ti_load(j->dtype, j->a, i) + ti_load(j->dtype, j->b, i));
}

static void sum_range(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;

  (void)thread;
  for (size_t i = from; i < to; i++) {
    const size_t at = i / j->c * j->hw * j->c + i % j->c;
    double sum = 0.0;

    for (size_t p = 0; p < j->hw; p++)
      sum += ti_load(j->dtype, j->a, at + p * j->c);
    ti_store(j->dtype, j->y, i, (float)sum);
  }
}

textinv_status ti_cpu_add(ti_exec *e, ti_dtype dtype, void *y, const void *a, const void *b,
                          size_t count)
{
  job j = { .dtype = dtype, .y = y, .a = a, .b = b };

  ti_for(e, count, count, add_range, &j);
  return TEXTINV_OK;
}

textinv_status ti_cpu_sum_pixels(ti_exec *e, ti_dtype dtype, void *v, const void *x,
                                 const ti_sum_pixels_shape *s)
{
  job j = { .dtype = dtype, .y = v, .a = x, .hw = s->hw, .c = s->c };

  ti_for(e, s->n * j.hw * j.c, s->n * j.c, sum_range, &j);
  return TEXTINV_OK;
}
