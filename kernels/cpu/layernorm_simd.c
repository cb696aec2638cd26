/* Layer normalisation with vectors; the formulas are in layernorm.c. A row stays in the first
 * cache. */
#include "simd_kernels.h"

#include <math.h>

#include "simd.h"

#ifdef TI_HAVE_SIMD

TI_SIMD_INLINE void fwd_worker(ti_dtype dtype, void *y, float *mean, float *rstd, const void *x,
                               const float *weight, const float *bias, size_t row, size_t c,
                               float eps)
{
  const size_t from = row * c;
  ti_vec sum = ti_set(0.0f), sq = ti_set(0.0f), avg, scale;

  for (size_t i = 0; i < c; i += TI_LANES)
    sum += ti_load_mask(dtype, x, from + i, ti_first(c - i));
  mean[row] = ti_sum(sum) / (float)c;
  avg = ti_set(mean[row]);
  for (size_t i = 0; i < c; i += TI_LANES) {
    const ti_mask m = ti_first(c - i);
    const ti_vec d = ti_keep(m, ti_load_mask(dtype, x, from + i, m) - avg);

    sq = ti_fma(d, d, sq);
  }
  rstd[row] = 1.0f / sqrtf(ti_sum(sq) / (float)c + eps);
  scale = ti_set(rstd[row]);
  for (size_t i = 0; i < c; i += TI_LANES) {
    const ti_mask m = ti_first(c - i);
    const ti_vec d = ti_load_mask(dtype, x, from + i, m) - avg;
    const ti_vec w = ti_load_mask(TI_F32, weight, i, m), b = ti_load_mask(TI_F32, bias, i, m);

    ti_store_mask(dtype, y, from + i, m, ti_fma(d * scale, w, b));
  }
}

TI_SIMD_INLINE void bwd_worker(ti_dtype dtype, void *dx, const void *dy, const void *x, float mean,
                               float rstd, const float *weight, const void *other, size_t from,
                               size_t c)
{
  const ti_vec avg = ti_set(mean), scale = ti_set(rstd);
  ti_vec g_sum = ti_set(0.0f), gx_sum = ti_set(0.0f), g_avg, gx_avg;

  for (size_t i = 0; i < c; i += TI_LANES) {
    const ti_mask m = ti_first(c - i);
    const ti_vec xhat = (ti_load_mask(dtype, x, from + i, m) - avg) * scale;
    const ti_vec g = ti_load_mask(dtype, dy, from + i, m) * ti_load_mask(TI_F32, weight, i, m);

    g_sum += g;
    gx_sum = ti_fma(g, xhat, gx_sum);
  }
  g_avg = ti_set(ti_sum(g_sum) / (float)c);
  gx_avg = ti_set(ti_sum(gx_sum) / (float)c);
  for (size_t i = 0; i < c; i += TI_LANES) {
    const ti_mask m = ti_first(c - i);
    const ti_vec xhat = (ti_load_mask(dtype, x, from + i, m) - avg) * scale;
    const ti_vec g = ti_load_mask(dtype, dy, from + i, m) * ti_load_mask(TI_F32, weight, i, m);
    const ti_vec d = g - g_avg - xhat * gx_avg;
    const ti_vec more = other ? ti_load_mask(dtype, other, from + i, m) : ti_set(0.0f);

    ti_store_mask(dtype, dx, from + i, m, ti_fma(d, scale, more));
  }
}

static TI_SIMD void fwd_row(ti_dtype dtype, void *y, float *mean, float *rstd, const void *x,
                            const float *weight, const float *bias, size_t row,
                            const ti_layernorm_shape *s)
{
  TI_DISPATCH(dtype, fwd_worker, y, mean, rstd, x, weight, bias, row, s->c, s->eps);
}

static TI_SIMD void bwd_row(ti_dtype dtype, void *dx, const void *dy, const void *x, float mean,
                            float rstd, const float *weight, const void *other, size_t from,
                            size_t c)
{
  TI_DISPATCH(dtype, bwd_worker, dx, dy, x, mean, rstd, weight, other, from, c);
}

typedef struct job {
  ti_dtype dtype;
  void *out;
  float *mean, *rstd; /* written by fwd */
  const void *dy, *x, *other;
  const float *weight, *bias;
  const ti_layernorm_shape *s;
} job;

static void fwd_rows(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;

  (void)thread;
  for (size_t r = from; r < to; r++)
    fwd_row(j->dtype, j->out, j->mean, j->rstd, j->x, j->weight, j->bias, (int)r, j->s);
}

static void bwd_rows(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;
  const size_t c = j->s->c;

  (void)thread;
  for (size_t r = from; r < to; r++)
    bwd_row(j->dtype, j->out, j->dy, j->x, j->mean[r], j->rstd[r], j->weight, j->other, r * c, c);
}

textinv_status TI_FN(layernorm_fwd)(ti_exec *e, ti_dtype dtype, void *y, float *mean, float *rstd,
                                    const void *x, const float *weight, const float *bias,
                                    const ti_layernorm_shape *s)
{
  job j = { .dtype = dtype,
            .out = y,
            .mean = mean,
            .rstd = rstd,
            .x = x,
            .weight = weight,
            .bias = bias,
            .s = s };

  ti_for(e, (size_t)s->rows * s->c, s->rows, fwd_rows, &j);
  return TEXTINV_OK;
}

textinv_status TI_FN(layernorm_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                    const void *x, const float *mean, const float *rstd,
                                    const float *weight, const void *other,
                                    const ti_layernorm_shape *s)
{
  job j = { .dtype = dtype,
            .out = dx,
            .mean = (float *)mean,
            .rstd = (float *)rstd,
            .dy = dy,
            .x = x,
            .other = other,
            .weight = weight,
            .s = s };

  ti_for(e, (size_t)s->rows * s->c, s->rows, bwd_rows, &j);
  return TEXTINV_OK;
}

#endif /* TI_HAVE_SIMD */
