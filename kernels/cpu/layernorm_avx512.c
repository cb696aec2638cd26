/* Layer normalisation with AVX-512; the formulas are in layernorm.c. A row stays in the first cache. */
#include "avx512.h"

#include <math.h>

#include "simd_avx512.h"

#ifdef TI_HAVE_AVX512

TI_AVX512_INLINE void fwd_worker(ti_dtype dtype, void *y, float *mean, float *rstd, const void *x,
                                 const float *weight, const float *bias, size_t row, size_t c,
                                 float eps)
{
  const size_t from = row * c;
  __m512 sum = _mm512_setzero_ps(), sq = _mm512_setzero_ps(), avg, scale;

  for (size_t i = 0; i < c; i += TI_LANES)
    sum = _mm512_add_ps(
        sum, ti_load_mask(dtype, x, from + i, ti_mask(c - i < TI_LANES ? c - i : TI_LANES)));
  mean[row] = _mm512_reduce_add_ps(sum) / (float)c;
  avg = _mm512_set1_ps(mean[row]);
  for (size_t i = 0; i < c; i += TI_LANES) {
    const __mmask16 m = ti_mask(c - i < TI_LANES ? c - i : TI_LANES);
    const __m512 d = _mm512_maskz_sub_ps(m, ti_load_mask(dtype, x, from + i, m), avg);

    sq = _mm512_fmadd_ps(d, d, sq);
  }
  rstd[row] = 1.0f / sqrtf(_mm512_reduce_add_ps(sq) / (float)c + eps);
  scale = _mm512_set1_ps(rstd[row]);
  for (size_t i = 0; i < c; i += TI_LANES) {
    const __mmask16 m = ti_mask(c - i < TI_LANES ? c - i : TI_LANES);
    const __m512 d = _mm512_sub_ps(ti_load_mask(dtype, x, from + i, m), avg);
    const __m512 w = _mm512_maskz_loadu_ps(m, weight + i), b = _mm512_maskz_loadu_ps(m, bias + i);

    ti_store_mask(dtype, y, from + i, m, _mm512_fmadd_ps(_mm512_mul_ps(d, scale), w, b));
  }
}

TI_AVX512_INLINE void bwd_worker(ti_dtype dtype, void *dx, const void *dy, const void *x, float mean,
                                 float rstd, const float *weight, size_t from, size_t c)
{
  const __m512 avg = _mm512_set1_ps(mean), scale = _mm512_set1_ps(rstd);
  __m512 g_sum = _mm512_setzero_ps(), gx_sum = _mm512_setzero_ps(), g_avg, gx_avg;

  for (size_t i = 0; i < c; i += TI_LANES) {
    const __mmask16 m = ti_mask(c - i < TI_LANES ? c - i : TI_LANES);
    const __m512 xhat = _mm512_mul_ps(_mm512_sub_ps(ti_load_mask(dtype, x, from + i, m), avg), scale);
    const __m512 g = _mm512_mul_ps(ti_load_mask(dtype, dy, from + i, m),
                                   _mm512_maskz_loadu_ps(m, weight + i));

    g_sum = _mm512_add_ps(g_sum, g);
    gx_sum = _mm512_fmadd_ps(g, xhat, gx_sum);
  }
  g_avg = _mm512_set1_ps(_mm512_reduce_add_ps(g_sum) / (float)c);
  gx_avg = _mm512_set1_ps(_mm512_reduce_add_ps(gx_sum) / (float)c);
  for (size_t i = 0; i < c; i += TI_LANES) {
    const __mmask16 m = ti_mask(c - i < TI_LANES ? c - i : TI_LANES);
    const __m512 xhat = _mm512_mul_ps(_mm512_sub_ps(ti_load_mask(dtype, x, from + i, m), avg), scale);
    const __m512 g = _mm512_mul_ps(ti_load_mask(dtype, dy, from + i, m),
                                   _mm512_maskz_loadu_ps(m, weight + i));
    const __m512 d = _mm512_sub_ps(_mm512_sub_ps(g, g_avg), _mm512_mul_ps(xhat, gx_avg));

    ti_store_mask(dtype, dx, from + i, m, _mm512_mul_ps(d, scale));
  }
}

static TI_AVX512 void fwd_row(ti_dtype dtype, void *y, float *mean, float *rstd, const void *x,
                              const float *weight, const float *bias, size_t row,
                              const ti_layernorm_shape *s)
{
  TI_DISPATCH(dtype, fwd_worker, y, mean, rstd, x, weight, bias, row, s->c, s->eps);
}

static TI_AVX512 void bwd_row(ti_dtype dtype, void *dx, const void *dy, const void *x, float mean,
                              float rstd, const float *weight, size_t from, size_t c)
{
  TI_DISPATCH(dtype, bwd_worker, dx, dy, x, mean, rstd, weight, from, c);
}

textinv_status ti_avx512_layernorm_fwd(ti_exec *e, ti_dtype dtype, void *y, float *mean, float *rstd,
                                       const void *x, const float *weight, const float *bias,
                                       const ti_layernorm_shape *s)
{
#pragma omp parallel for num_threads(ti_threads(e, (size_t)s->rows * s->c))
  for (int r = 0; r < s->rows; r++)
    fwd_row(dtype, y, mean, rstd, x, weight, bias, r, s);
  return TEXTINV_OK;
}

textinv_status ti_avx512_layernorm_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                       const void *x, const float *mean, const float *rstd,
                                       const float *weight, const ti_layernorm_shape *s)
{
  const size_t c = s->c;

#pragma omp parallel for num_threads(ti_threads(e, (size_t)s->rows * s->c))
  for (int r = 0; r < s->rows; r++)
    bwd_row(dtype, dx, dy, x, mean[r], rstd[r], weight, r * c, c);
  return TEXTINV_OK;
}

#endif /* TI_HAVE_AVX512 */
