/* Layer normalisation with vectors; the formulas are in layernorm.c. A row stays in the first
 * cache. */
#include "simd_kernels.h"

#include <math.h>

#include "simd.h"

#ifdef TI_HAVE_SIMD

TI_SIMD_INLINE void fwd_worker(ti_dtype dtype, ti_args a, size_t row)
{
  const ti_layernorm_shape *s = a.s;
  const size_t c = s->c, from = row * c;
  ti_vec sum = ti_set(0.0f), sq = ti_set(0.0f), avg, scale;

  for (size_t i = 0; i < c; i += TI_LANES)
    sum += ti_load_mask(dtype, a.x, from + i, ti_first(c - i));
  a.mean[row] = ti_sum(sum) / (float)c;
  avg = ti_set(a.mean[row]);
  for (size_t i = 0; i < c; i += TI_LANES) {
    const ti_mask m = ti_first(c - i);
    const ti_vec d = ti_keep(m, ti_load_mask(dtype, a.x, from + i, m) - avg);

    sq = ti_fma(d, d, sq);
  }
  a.rstd[row] = 1.0f / sqrtf(ti_sum(sq) / (float)c + s->eps);
  scale = ti_set(a.rstd[row]);
  for (size_t i = 0; i < c; i += TI_LANES) {
    const ti_mask m = ti_first(c - i);
    const ti_vec d = ti_load_mask(dtype, a.x, from + i, m) - avg;
    const ti_vec w = ti_load_mask(TI_F32, a.weight, i, m), b = ti_load_mask(TI_F32, a.bias, i, m);

    ti_store_mask(dtype, a.out, from + i, m, ti_fma(d * scale, w, b));
  }
}

TI_SIMD_INLINE void bwd_worker(ti_dtype dtype, ti_args a, size_t row)
{
  const size_t c = ((const ti_layernorm_shape *)a.s)->c, from = row * c;
  const ti_vec avg = ti_set(a.mean[row]), scale = ti_set(a.rstd[row]);
  ti_vec g_sum = ti_set(0.0f), gx_sum = ti_set(0.0f), g_avg, gx_avg;

  for (size_t i = 0; i < c; i += TI_LANES) {
    const ti_mask m = ti_first(c - i);
    const ti_vec xhat = (ti_load_mask(dtype, a.x, from + i, m) - avg) * scale;
    const ti_vec g = ti_load_mask(dtype, a.dy, from + i, m) * ti_load_mask(TI_F32, a.weight, i, m);

    g_sum += g;
    gx_sum = ti_fma(g, xhat, gx_sum);
  }
  g_avg = ti_set(ti_sum(g_sum) / (float)c);
  gx_avg = ti_set(ti_sum(gx_sum) / (float)c);
  for (size_t i = 0; i < c; i += TI_LANES) {
    const ti_mask m = ti_first(c - i);
    const ti_vec xhat = (ti_load_mask(dtype, a.x, from + i, m) - avg) * scale;
    const ti_vec g = ti_load_mask(dtype, a.dy, from + i, m) * ti_load_mask(TI_F32, a.weight, i, m);
    const ti_vec d = g - g_avg - xhat * gx_avg;
    const ti_vec more = a.other ? ti_load_mask(dtype, a.other, from + i, m) : ti_set(0.0f);

    ti_store_mask(dtype, a.out, from + i, m, ti_fma(d, scale, more));
  }
}

static TI_SIMD void fwd_row(const void *user, size_t row)
{
  const ti_args *a = user;

  TI_DISPATCH(a->dtype, fwd_worker, *a, row);
}

static TI_SIMD void bwd_row(const void *user, size_t row)
{
  const ti_args *a = user;

  TI_DISPATCH(a->dtype, bwd_worker, *a, row);
}

textinv_status TI_FN(layernorm_fwd)(ti_exec *e, ti_dtype dtype, void *y, float *mean, float *rstd,
                                    const void *x, const float *weight, const float *bias,
                                    const ti_layernorm_shape *s)
{
  ti_args a = { dtype, y, x, s, weight, bias, mean, .rstd = rstd };

  ti_for(e, (size_t)s->rows * s->c, s->rows, fwd_row, &a);
  return TEXTINV_OK;
}

textinv_status TI_FN(layernorm_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                    const void *x, const float *mean, const float *rstd,
                                    const float *weight, const void *other,
                                    const ti_layernorm_shape *s)
{
  ti_args a = { dtype, dx, x, s, weight, NULL, (float *)mean, (float *)rstd, NULL, dy, other };

  ti_for(e, (size_t)s->rows * s->c, s->rows, bwd_row, &a);
  return TEXTINV_OK;
}

#endif /* TI_HAVE_SIMD */
