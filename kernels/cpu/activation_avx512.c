/* Activations and gated GELU with AVX-512; the formulas are in activation.c and geglu.c. */
#include "avx512.h"

#include "simd_avx512.h"

#ifdef TI_HAVE_AVX512

enum { CHUNK = 1 << 13 }; /* values that a worker takes at once */

TI_AVX512_INLINE __m512 value(ti_activation kind, __m512 x)
{
  __m512 bell;

  if (kind == TI_GELU)
    return _mm512_mul_ps(x, ti_normal_cdf(x, &bell));
  if (kind == TI_QUICK_GELU)
    return _mm512_mul_ps(x, ti_sigmoid(_mm512_mul_ps(x, _mm512_set1_ps(1.702f))));
  return _mm512_mul_ps(x, ti_sigmoid(x));
}

/* Phi(x) + x phi(x); *cdf = Phi(x) */
TI_AVX512_INLINE __m512 gelu_slope(__m512 x, __m512 *cdf)
{
  __m512 bell;

  *cdf = ti_normal_cdf(x, &bell);
  return _mm512_fmadd_ps(_mm512_mul_ps(x, bell), _mm512_set1_ps(0.39894228f), *cdf);
}

TI_AVX512_INLINE __m512 slope(ti_activation kind, __m512 x)
{
  const __m512 one = _mm512_set1_ps(1.0f);
  const __m512 kx = kind == TI_QUICK_GELU ? _mm512_mul_ps(x, _mm512_set1_ps(1.702f)) : x;
  __m512 s;

  if (kind == TI_GELU)
    return gelu_slope(x, &s);
  s = ti_sigmoid(kx);
  return _mm512_mul_ps(s, _mm512_fmadd_ps(kx, _mm512_sub_ps(one, s), one));
}

TI_AVX512_INLINE void fwd_worker(ti_dtype dtype, ti_activation kind, void *y, const void *x,
                                 size_t from, size_t to)
{
  for (size_t i = from; i < to; i += TI_LANES) {
    const __mmask16 m = ti_mask(to - i < TI_LANES ? to - i : TI_LANES);

    ti_store_mask(dtype, y, i, m, value(kind, ti_load_mask(dtype, x, i, m)));
  }
}

TI_AVX512_INLINE void bwd_worker(ti_dtype dtype, ti_activation kind, void *dx, const void *dy,
                                 const void *x, size_t from, size_t to)
{
  for (size_t i = from; i < to; i += TI_LANES) {
    const __mmask16 m = ti_mask(to - i < TI_LANES ? to - i : TI_LANES);
    const __m512 d = slope(kind, ti_load_mask(dtype, x, i, m));

    ti_store_mask(dtype, dx, i, m, _mm512_mul_ps(d, ti_load_mask(dtype, dy, i, m)));
  }
}

static TI_AVX512 void fwd_range(ti_dtype dtype, ti_activation kind, void *y, const void *x,
                                size_t from, size_t to)
{
  switch (kind) {
  case TI_GELU: TI_DISPATCH(dtype, fwd_worker, TI_GELU, y, x, from, to); break;
  case TI_QUICK_GELU: TI_DISPATCH(dtype, fwd_worker, TI_QUICK_GELU, y, x, from, to); break;
  default: TI_DISPATCH(dtype, fwd_worker, TI_SILU, y, x, from, to); break;
  }
}

static TI_AVX512 void bwd_range(ti_dtype dtype, ti_activation kind, void *dx, const void *dy,
                                const void *x, size_t from, size_t to)
{
  switch (kind) {
  case TI_GELU: TI_DISPATCH(dtype, bwd_worker, TI_GELU, dx, dy, x, from, to); break;
  case TI_QUICK_GELU: TI_DISPATCH(dtype, bwd_worker, TI_QUICK_GELU, dx, dy, x, from, to); break;
  default: TI_DISPATCH(dtype, bwd_worker, TI_SILU, dx, dy, x, from, to); break;
  }
}

TI_AVX512_INLINE void geglu_fwd_worker(ti_dtype dtype, void *y, const void *x, size_t row, size_t c)
{
  for (size_t i = 0; i < c; i += TI_LANES) {
    const __mmask16 m = ti_mask(c - i < TI_LANES ? c - i : TI_LANES);
    const __m512 a = ti_load_mask(dtype, x, 2 * row * c + i, m);
    const __m512 b = ti_load_mask(dtype, x, (2 * row + 1) * c + i, m);

    ti_store_mask(dtype, y, row * c + i, m, _mm512_mul_ps(a, value(TI_GELU, b)));
  }
}

TI_AVX512_INLINE void geglu_bwd_worker(ti_dtype dtype, void *dx, const void *dy, const void *x,
                                       size_t row, size_t c)
{
  for (size_t i = 0; i < c; i += TI_LANES) {
    const __mmask16 m = ti_mask(c - i < TI_LANES ? c - i : TI_LANES);
    const size_t a_at = 2 * row * c + i, b_at = a_at + c;
    const __m512 a = ti_load_mask(dtype, x, a_at, m), b = ti_load_mask(dtype, x, b_at, m);
    const __m512 g = ti_load_mask(dtype, dy, row * c + i, m);
    __m512 cdf;
    const __m512 d = gelu_slope(b, &cdf);

    ti_store_mask(dtype, dx, a_at, m, _mm512_mul_ps(g, _mm512_mul_ps(b, cdf)));
    ti_store_mask(dtype, dx, b_at, m, _mm512_mul_ps(g, _mm512_mul_ps(a, d)));
  }
}

static TI_AVX512 void geglu_fwd_row(ti_dtype dtype, void *y, const void *x, size_t row, size_t c)
{
  TI_DISPATCH(dtype, geglu_fwd_worker, y, x, row, c);
}

static TI_AVX512 void geglu_bwd_row(ti_dtype dtype, void *dx, const void *dy, const void *x,
                                    size_t row, size_t c)
{
  TI_DISPATCH(dtype, geglu_bwd_worker, dx, dy, x, row, c);
}

textinv_status ti_avx512_activation_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                        const ti_activation_shape *s)
{
#pragma omp parallel for num_threads(ti_threads(e, s->count))
  for (size_t i = 0; i < s->count; i += CHUNK)
    fwd_range(dtype, s->kind, y, x, i, s->count - i < CHUNK ? s->count : i + CHUNK);
  return TEXTINV_OK;
}

textinv_status ti_avx512_activation_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                        const void *x, const ti_activation_shape *s)
{
#pragma omp parallel for num_threads(ti_threads(e, s->count))
  for (size_t i = 0; i < s->count; i += CHUNK)
    bwd_range(dtype, s->kind, dx, dy, x, i, s->count - i < CHUNK ? s->count : i + CHUNK);
  return TEXTINV_OK;
}

textinv_status ti_avx512_geglu_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                   const ti_geglu_shape *s)
{
#pragma omp parallel for num_threads(ti_threads(e, 2 * (size_t)s->rows * s->c))
  for (int r = 0; r < s->rows; r++)
    geglu_fwd_row(dtype, y, x, r, s->c);
  return TEXTINV_OK;
}

textinv_status ti_avx512_geglu_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                   const void *x, const ti_geglu_shape *s)
{
#pragma omp parallel for num_threads(ti_threads(e, 2 * (size_t)s->rows * s->c))
  for (int r = 0; r < s->rows; r++)
    geglu_bwd_row(dtype, dx, dy, x, r, s->c);
  return TEXTINV_OK;
}

#endif /* TI_HAVE_AVX512 */
