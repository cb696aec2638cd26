/* Sums and the gradient of upsampling with vectors; the formulas are in add.c and upsample.c. */
#include "simd_kernels.h"

#include "simd.h"

#ifdef TI_HAVE_SIMD

enum { CHUNK = 1 << 13, BLOCK = 128 }; /* values, channels that a worker takes at once */

TI_SIMD_INLINE void add_worker(ti_dtype dtype, void *y, const void *a, const void *b, size_t y_at,
                               size_t b_at, size_t count)
{
  for (size_t i = 0; i < count; i += TI_LANES) {
    const ti_mask m = ti_first(count - i);

    ti_store_mask(dtype, y, y_at + i, m,
                  ti_load_mask(dtype, a, y_at + i, m) + ti_load_mask(dtype, b, b_at + i, m));
  }
}

/* y[y_at...] = a[y_at...] + b[b_at...] */
static TI_SIMD void add_range(ti_dtype dtype, void *y, const void *a, const void *b, size_t y_at,
                              size_t b_at, size_t count)
{
  TI_DISPATCH(dtype, add_worker, y, a, b, y_at, b_at, count);
}

/* sums over rows of up to BLOCK neighbouring channels; 64 rows in float, those sums in double */
TI_SIMD_INLINE void sum_worker(ti_dtype dtype, void *dv, const void *dy, size_t to, size_t from,
                               size_t rows, size_t stride, size_t count)
{
  for (size_t i = 0; i < count; i += TI_LANES) {
    const ti_mask m = ti_first(count - i);
    double total[TI_LANES] = { 0 };

    for (size_t r = 0; r < rows;) {
      const size_t end = rows - r < 64 ? rows : r + 64;
      ti_vec sum = ti_set(0.0f);

      for (; r < end; r++)
        sum += ti_load_mask(dtype, dy, from + r * stride + i, m);
      ti_add_doubles(total, sum);
    }
    ti_store_mask(dtype, dv, to + i, m, ti_from_doubles(total));
  }
}

static TI_SIMD void sum_rows(ti_dtype dtype, void *dv, const void *dy, size_t to, size_t from,
                             size_t rows, size_t stride, size_t count)
{
  TI_DISPATCH(dtype, sum_worker, dv, dy, to, from, rows, stride, count);
}

/* one pixel: dx[to...] = the four of dy */
TI_SIMD_INLINE void pixel_worker(ti_dtype dtype, void *dx, const void *dy, size_t to, size_t from,
                                 size_t row, size_t c)
{
  for (size_t i = 0; i < c; i += TI_LANES) {
    const ti_mask m = ti_first(c - i);
    const ti_vec top = ti_load_mask(dtype, dy, from + i, m) +
                       ti_load_mask(dtype, dy, from + c + i, m);
    const ti_vec bottom = ti_load_mask(dtype, dy, from + row + i, m) +
                          ti_load_mask(dtype, dy, from + row + c + i, m);

    ti_store_mask(dtype, dx, to + i, m, top + bottom);
  }
}

static TI_SIMD void sum_quads(ti_dtype dtype, void *dx, const void *dy, const ti_upsample_shape *s,
                              size_t r)
{
  const size_t c = s->c, row = 2 * s->w * c;

  for (int x = 0; x < s->w; x++)
    TI_DISPATCH(dtype, pixel_worker, dx, dy, (r * s->w + x) * c, 2 * r * row + 2 * x * c, row, c);
}

textinv_status TI_FN(add)(ti_exec *e, ti_dtype dtype, void *y, const void *a, const void *b,
                          size_t count)
{
#pragma omp parallel for num_threads(ti_threads(e, count))
  for (size_t i = 0; i < count; i += CHUNK)
    add_range(dtype, y, a, b, i, i, count - i < CHUNK ? count - i : CHUNK);
  return TEXTINV_OK;
}

textinv_status TI_FN(sum_pixels)(ti_exec *e, ti_dtype dtype, void *v, const void *x,
                                 const ti_sum_pixels_shape *s)
{
  const size_t c = s->c, hw = s->hw;
  const int blocks = (s->c + BLOCK - 1) / BLOCK;

#pragma omp parallel for num_threads(ti_threads(e, s->n *hw *c))
  for (int i = 0; i < s->n * blocks; i++) {
    const size_t n = i / blocks, from = (size_t)(i % blocks) * BLOCK;

    sum_rows(dtype, v, x, n * c + from, n * hw * c + from, hw, c,
             c - from < BLOCK ? c - from : BLOCK);
  }
  return TEXTINV_OK;
}

textinv_status TI_FN(upsample_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                   const ti_upsample_shape *s)
{
#pragma omp parallel for num_threads(ti_threads(e, (size_t)4 * s->n * s->h * s->w * s->c))
  for (int r = 0; r < s->n * s->h; r++)
    sum_quads(dtype, dx, dy, s, r);
  return TEXTINV_OK;
}

#endif /* TI_HAVE_SIMD */
