/* Activations and gated GELU with vectors; the formulas are in activation.c and geglu.c. */
#include "simd_kernels.h"

#include "simd.h"

#ifdef TI_HAVE_SIMD

enum { CHUNK = 1 << 13 }; /* values that a worker takes at once */

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

TI_SIMD_INLINE void fwd_worker(ti_dtype dtype, ti_activation kind, void *y, const void *x,
                               size_t from, size_t to)
{
  for (size_t i = from; i < to; i += TI_LANES) {
    const ti_mask m = ti_first(to - i);

    ti_store_mask(dtype, y, i, m, value(kind, ti_load_mask(dtype, x, i, m)));
  }
}

TI_SIMD_INLINE void bwd_worker(ti_dtype dtype, ti_activation kind, void *dx, const void *dy,
                               const void *x, size_t from, size_t to)
{
  for (size_t i = from; i < to; i += TI_LANES) {
    const ti_mask m = ti_first(to - i);
    const ti_vec d = slope(kind, ti_load_mask(dtype, x, i, m));

    ti_store_mask(dtype, dx, i, m, d * ti_load_mask(dtype, dy, i, m));
  }
}

static TI_SIMD void fwd_range(ti_dtype dtype, ti_activation kind, void *y, const void *x,
                              size_t from, size_t to)
{
  switch (kind) {
  case TI_GELU: TI_DISPATCH(dtype, fwd_worker, TI_GELU, y, x, from, to); break;
  case TI_QUICK_GELU: TI_DISPATCH(dtype, fwd_worker, TI_QUICK_GELU, y, x, from, to); break;
  default: TI_DISPATCH(dtype, fwd_worker, TI_SILU, y, x, from, to); break;
  }
}

static TI_SIMD void bwd_range(ti_dtype dtype, ti_activation kind, void *dx, const void *dy,
                              const void *x, size_t from, size_t to)
{
  switch (kind) {
  case TI_GELU: TI_DISPATCH(dtype, bwd_worker, TI_GELU, dx, dy, x, from, to); break;
  case TI_QUICK_GELU: TI_DISPATCH(dtype, bwd_worker, TI_QUICK_GELU, dx, dy, x, from, to); break;
  default: TI_DISPATCH(dtype, bwd_worker, TI_SILU, dx, dy, x, from, to); break;
  }
}

TI_SIMD_INLINE void geglu_fwd_worker(ti_dtype dtype, void *y, const void *x, size_t row, size_t c)
{
  for (size_t i = 0; i < c; i += TI_LANES) {
    const ti_mask m = ti_first(c - i);
    const ti_vec a = ti_load_mask(dtype, x, 2 * row * c + i, m);
    const ti_vec b = ti_load_mask(dtype, x, (2 * row + 1) * c + i, m);

    ti_store_mask(dtype, y, row * c + i, m, a * value(TI_GELU, b));
  }
}

TI_SIMD_INLINE void geglu_bwd_worker(ti_dtype dtype, void *dx, const void *dy, const void *x,
                                     size_t row, size_t c)
{
  for (size_t i = 0; i < c; i += TI_LANES) {
    const ti_mask m = ti_first(c - i);
    const size_t a_at = 2 * row * c + i, b_at = a_at + c;
    const ti_vec a = ti_load_mask(dtype, x, a_at, m), b = ti_load_mask(dtype, x, b_at, m);
    const ti_vec g = ti_load_mask(dtype, dy, row * c + i, m);
    ti_vec cdf;
    const ti_vec d = gelu_slope(b, &cdf);

    ti_store_mask(dtype, dx, a_at, m, g * (b * cdf));
    ti_store_mask(dtype, dx, b_at, m, g * (a * d));
  }
}

static TI_SIMD void geglu_fwd_row(ti_dtype dtype, void *y, const void *x, size_t row, size_t c)
{
  TI_DISPATCH(dtype, geglu_fwd_worker, y, x, row, c);
}

static TI_SIMD void geglu_bwd_row(ti_dtype dtype, void *dx, const void *dy, const void *x,
                                  size_t row, size_t c)
{
  TI_DISPATCH(dtype, geglu_bwd_worker, dx, dy, x, row, c);
}

typedef struct job {
  ti_dtype dtype;
  ti_activation kind;
  void *out;
  const void *dy, *x;
  size_t count; /* of values, or of channels in a row */
} job;

static void fwd_chunks(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;

  (void)thread;
  fwd_range(j->dtype, j->kind, j->out, j->x, from * CHUNK,
            to * CHUNK < j->count ? to * CHUNK : j->count);
}

static void bwd_chunks(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;

  (void)thread;
  bwd_range(j->dtype, j->kind, j->out, j->dy, j->x, from * CHUNK,
            to * CHUNK < j->count ? to * CHUNK : j->count);
}

static void geglu_fwd_rows(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;

  (void)thread;
  for (size_t r = from; r < to; r++)
    geglu_fwd_row(j->dtype, j->out, j->x, r, j->count);
}

static void geglu_bwd_rows(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;

  (void)thread;
  for (size_t r = from; r < to; r++)
    geglu_bwd_row(j->dtype, j->out, j->dy, j->x, r, j->count);
}

textinv_status TI_FN(activation_fwd)(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                     const ti_activation_shape *s)
{
  job j = { dtype, s->kind, y, NULL, x, s->count };

  ti_for(e, s->count, (s->count + CHUNK - 1) / CHUNK, fwd_chunks, &j);
  return TEXTINV_OK;
}

textinv_status TI_FN(activation_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                     const void *x, const ti_activation_shape *s)
{
  job j = { dtype, s->kind, dx, dy, x, s->count };

  ti_for(e, s->count, (s->count + CHUNK - 1) / CHUNK, bwd_chunks, &j);
  return TEXTINV_OK;
}

textinv_status TI_FN(geglu_fwd)(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                const ti_geglu_shape *s)
{
  job j = { .dtype = dtype, .out = y, .x = x, .count = s->c };

  ti_for(e, 2 * s->rows * j.count, s->rows, geglu_fwd_rows, &j);
  return TEXTINV_OK;
}

textinv_status TI_FN(geglu_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy, const void *x,
                                const ti_geglu_shape *s)
{
  job j = { .dtype = dtype, .out = dx, .dy = dy, .x = x, .count = s->c };

  ti_for(e, 2 * s->rows * j.count, s->rows, geglu_bwd_rows, &j);
  return TEXTINV_OK;
}

#endif /* TI_HAVE_SIMD */
