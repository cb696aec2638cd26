/*
 * Embeddings of times and of tokens, the reference. The learnt rows are float and stand behind the
 * frozen table: id >= vocab names rows[id - vocab]; bwd gives their gradient alone.
 */
#include "cpu.h"

#include <math.h>

textinv_status ti_cpu_timestep_fwd(ti_exec *e, ti_dtype dtype, void *y, const float *t,
                                   const ti_timestep_shape *s)
{
  const int half = s->dim / 2, sin_from = s->flip ? half : 0, cos_from = s->flip ? 0 : half;

  (void)e;
  for (int n = 0; n < s->n; n++) {
    const size_t from = (size_t)n * s->dim;

    for (int j = 0; j < half; j++) {
      /* every step rounded to float: at t = 1000 the models know these roundings, not the exact
       * angle */
      const float exponent = -(float)log(s->max_period) * (float)j / ((float)half - s->shift);
      const float angle = t[n] * (float)exp(exponent);

      ti_store(dtype, y, from + sin_from + j, (float)sin(angle));
      ti_store(dtype, y, from + cos_from + j, (float)cos(angle));
    }
    if (s->dim % 2)
      ti_store(dtype, y, from + s->dim - 1, 0.0f);
  }
  return TEXTINV_OK;
}

textinv_status ti_cpu_embedding_fwd(ti_exec *e, ti_dtype dtype, void *y, const int32_t *ids,
                                    const void *table, const float *rows, const void *positions,
                                    const ti_embedding_shape *s)
{
  const size_t c = s->c;

  (void)e;
  for (int i = 0; i < s->n * s->tokens; i++) {
    const int id = ids[i];

    for (size_t j = 0; j < c; j++) {
      float f = id < s->vocab ? ti_load(dtype, table, id * c + j) : rows[(id - s->vocab) * c + j];

      if (positions)
        f += ti_load(dtype, positions, i % s->tokens * c + j);
      ti_store(dtype, y, i * c + j, f);
    }
  }
  return TEXTINV_OK;
}

textinv_status ti_cpu_embedding_bwd(ti_exec *e, ti_dtype dtype, float *drows, const void *dy,
                                    const int32_t *ids, const ti_embedding_shape *s)
{
  const size_t c = s->c;

  (void)e;
  for (int r = 0; r < s->num_rows; r++) {
    for (size_t j = 0; j < c; j++) {
      double sum = 0.0;

      for (int i = 0; i < s->n * s->tokens; i++) {
        if (ids[i] == s->vocab + r)
          sum += ti_load(dtype, dy, i * c + j);
      }
      drows[r * c + j] = (float)sum;
    }
  }
  return TEXTINV_OK;
}
