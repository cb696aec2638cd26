/* Activations and gated GELU with vectors; the formulas are in activation.c and geglu.c. */
#include "simd_kernels.h"

#include "simd.h"

#ifdef TI_HAVE_SIMD

TI_SIMD_INLINE ti_vec value(ti_activation kind, ti_vec x)
{
  ti_vec bell;

  if (kind == TI_GELU)
    return x * ti_normal_cdf(x, &bell);
  if (kind == TI_QUICK_GELU)
    return x * ti_sigmoid(x * ti_set(1.702f));
  return x * ti_sigmoid(x);
}

/* Phi(x) + x phi(x); *cdf = Phi(x) */
TI_SIMD_INLINE ti_vec gelu_slope(ti_vec x, ti_vec *cdf)
{
  ti_vec bell;

  *cdf = ti_normal_cdf(x, &bell);
  return ti_fma(x * bell, ti_set(0.39894228f), *cdf);
}

TI_SIMD_INLINE ti_vec slope(ti_activation kind, ti_vec x)
{
  const ti_vec one = ti_set(1.0f);
  const ti_vec kx = x * ti_set(kind == TI_QUICK_GELU ? 1.702f : 1.0f);
  ti_vec s;

  if (kind == TI_GELU)
    return gelu_slope(x, &s);
  s = ti_sigmoid(kx);
  return s * ti_fma(kx, one - s, one);
}

TI_SIMD_INLINE void fwd_worker(ti_dtype dtype, ti_activation kind, ti_args a, size_t from,
                               size_t to)
{
  for (size_t i = from; i < to; i += TI_LANES) {
    const ti_mask m = ti_first(to - i);

    ti_store_mask(dtype, a.out, i, m, value(kind, ti_load_mask(dtype, a.x, i, m)));
  }
}

TI_SIMD_INLINE void bwd_worker(ti_dtype dtype, ti_activation kind, ti_args a, size_t from,
                               size_t to)
{
  for (size_t i = from; i < to; i += TI_LANES) {
    const ti_mask m = ti_first(to - i);
    const ti_vec d = slope(kind, ti_load_mask(dtype, a.x, i, m));

    ti_store_mask(dtype, a.out, i, m, d * ti_load_mask(dtype, a.dy, i, m));
  }
}

static TI_SIMD void fwd_range(const void *user, size_t from, size_t to)
{
  const ti_args *a = user;

  switch (((const ti_activation_shape *)a->s)->kind) {
  case TI_GELU: TI_DISPATCH(a->dtype, fwd_worker, TI_GELU, *a, from, to); break;
  case TI_QUICK_GELU: TI_DISPATCH(a->dtype, fwd_worker, TI_QUICK_GELU, *a, from, to); break;
  default: TI_DISPATCH(a->dtype, fwd_worker, TI_SILU, *a, from, to); break;
  }
}

static TI_SIMD void bwd_range(const void *user, size_t from, size_t to)
{
  const ti_args *a = user;

  switch (((const ti_activation_shape *)a->s)->kind) {
  case TI_GELU: TI_DISPATCH(a->dtype, bwd_worker, TI_GELU, *a, from, to); break;
  case TI_QUICK_GELU: TI_DISPATCH(a->dtype, bwd_worker, TI_QUICK_GELU, *a, from, to); break;
  default: TI_DISPATCH(a->dtype, bwd_worker, TI_SILU, *a, from, to); break;
  }
}

textinv_status TI_FN(activation_fwd)(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                     const ti_activation_shape *s)
{
  ti_for_values(e, s->count, fwd_range, &(ti_args){ dtype, y, x, .s = s });
  return TEXTINV_OK;
}

textinv_status TI_FN(activation_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                     const void *x, const ti_activation_shape *s)
{
  ti_for_values(e, s->count, bwd_range, &(ti_args){ dtype, dx, x, .s = s, .dy = dy });
  return TEXTINV_OK;
}

TI_SIMD_INLINE void geglu_fwd_worker(ti_dtype dtype, ti_args args, size_t row)
{
  const size_t c = ((const ti_geglu_shape *)args.s)->c;

  for (size_t i = 0; i < c; i += TI_LANES) {
    const ti_mask m = ti_first(c - i);
    const ti_vec a = ti_load_mask(dtype, args.x, 2 * row * c + i, m);
    const ti_vec b = ti_load_mask(dtype, args.x, (2 * row + 1) * c + i, m);

    ti_store_mask(dtype, args.out, row * c + i, m, a * value(TI_GELU, b));
  }
}

TI_SIMD_INLINE void geglu_bwd_worker(ti_dtype dtype, ti_args args, size_t row)
{
  const size_t c = ((const ti_geglu_shape *)args.s)->c;

  for (size_t i = 0; i < c; i += TI_LANES) {
    const ti_mask m = ti_first(c - i);
    const size_t a_at = 2 * row * c + i, b_at = a_at + c;
    const ti_vec a = ti_load_mask(dtype, args.x, a_at, m);
    const ti_vec b = ti_load_mask(dtype, args.x, b_at, m);
    const ti_vec g = ti_load_mask(dtype, args.dy, row * c + i, m);
    ti_vec cdf;
    const ti_vec d = gelu_slope(b, &cdf);

    ti_store_mask(dtype, args.out, a_at, m, g * (b * cdf));
    ti_store_mask(dtype, args.out, b_at, m, g * (a * d));
  }
}

static TI_SIMD void geglu_fwd_row(const void *user, size_t row)
{
  const ti_args *a = user;

  TI_DISPATCH(a->dtype, geglu_fwd_worker, *a, row);
}

static TI_SIMD void geglu_bwd_row(const void *user, size_t row)
{
  const ti_args *a = user;

  TI_DISPATCH(a->dtype, geglu_bwd_worker, *a, row);
}

textinv_status TI_FN(geglu_fwd)(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                const ti_geglu_shape *s)
{
  ti_for(e, (size_t)2 * s->rows * s->c, s->rows, geglu_fwd_row, &(ti_args){ dtype, y, x, .s = s });
  return TEXTINV_OK;
}

textinv_status TI_FN(geglu_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy, const void *x,
                                const ti_geglu_shape *s)
{
  ti_for(e, (size_t)2 * s->rows * s->c, s->rows, geglu_bwd_row,
         &(ti_args){ dtype, dx, x, .s = s, .dy = dy });
  return TEXTINV_OK;
}

#endif /* TI_HAVE_SIMD */
