/* Sums and the gradient of upsampling with vectors; the formulas are in add.c and upsample.c. */
#include "simd_kernels.h"

#include "simd.h"

#ifdef TI_HAVE_SIMD

enum { BLOCK = 128 }; /* channels that are summed at once */

TI_SIMD_INLINE void add_worker(ti_dtype dtype, ti_args a, size_t from, size_t to)
{
  for (size_t i = from; i < to; i += TI_LANES) {
    const ti_mask m = ti_first(to - i);

    ti_store_mask(dtype, a.out, i, m,
                  ti_load_mask(dtype, a.x, i, m) + ti_load_mask(dtype, a.other, i, m));
  }
}

static TI_SIMD void add_range(const void *user, size_t from, size_t to)
{
  const ti_args *a = user;

  TI_DISPATCH(a->dtype, add_worker, *a, from, to);
}

static size_t blocks_of(const ti_sum_pixels_shape *s)
{
  return ((size_t)s->c + BLOCK - 1) / BLOCK;
}

/* neighbouring channels: 64 rows in float, those sums in double */
TI_SIMD_INLINE void sum_worker(ti_dtype dtype, ti_args a, size_t block)
{
  const ti_sum_pixels_shape *s = a.s;
  const size_t n = block / blocks_of(s), first = block % blocks_of(s) * BLOCK;
  const size_t stride = s->c, rows = s->hw, end = stride - first < BLOCK ? stride : first + BLOCK;

  for (size_t c = first; c < end; c += TI_LANES) {
    const ti_mask m = ti_first(end - c);
    double total[TI_LANES] = { 0 };

    for (size_t r = 0; r < rows;) {
      const size_t last = rows - r < 64 ? rows : r + 64;
      ti_vec sum = ti_set(0.0f);

      for (; r < last; r++)
        sum += ti_load_mask(dtype, a.x, (n * rows + r) * stride + c, m);
      ti_add_doubles(total, sum);
    }
    ti_store_mask(dtype, a.out, n * stride + c, m, ti_from_doubles(total));
  }
}

static TI_SIMD void sum_block(const void *user, size_t block)
{
  const ti_args *a = user;

  TI_DISPATCH(a->dtype, sum_worker, *a, block);
}

/* a row of dx: sums of four of dy */
TI_SIMD_INLINE void upsample_worker(ti_dtype dtype, ti_args a, size_t r)
{
  const ti_upsample_shape *s = a.s;
  const size_t w = s->w, c = s->c, row = 2 * w * c;

  for (size_t x = 0; x < w; x++) {
    const size_t to = (r * w + x) * c, from = 2 * (r * row + x * c);

    for (size_t i = 0; i < c; i += TI_LANES) {
      const ti_mask m = ti_first(c - i);
      const ti_vec top = ti_load_mask(dtype, a.dy, from + i, m) +
                         ti_load_mask(dtype, a.dy, from + c + i, m);
      const ti_vec bottom = ti_load_mask(dtype, a.dy, from + row + i, m) +
                            ti_load_mask(dtype, a.dy, from + row + c + i, m);

      ti_store_mask(dtype, a.out, to + i, m, top + bottom);
    }
  }
}

static TI_SIMD void upsample_row(const void *user, size_t r)
{
  const ti_args *a = user;

  TI_DISPATCH(a->dtype, upsample_worker, *a, r);
}

textinv_status TI_FN(add)(ti_exec *e, ti_dtype dtype, void *y, const void *a, const void *b,
                          size_t count)
{
  ti_for_values(e, count, add_range, &(ti_args){ dtype, y, a, .other = b });
  return TEXTINV_OK;
}

textinv_status TI_FN(sum_pixels)(ti_exec *e, ti_dtype dtype, void *v, const void *x,
                                 const ti_sum_pixels_shape *s)
{
  ti_for(e, (size_t)s->n * s->hw * s->c, s->n * blocks_of(s), sum_block,
         &(ti_args){ dtype, v, x, .s = s });
  return TEXTINV_OK;
}

textinv_status TI_FN(upsample_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                   const ti_upsample_shape *s)
{
  const size_t rows = (size_t)s->n * s->h;

  ti_for(e, 4 * rows * s->w * s->c, rows, upsample_row, &(ti_args){ dtype, dx, .s = s, .dy = dy });
  return TEXTINV_OK;
}

#endif /* TI_HAVE_SIMD */
