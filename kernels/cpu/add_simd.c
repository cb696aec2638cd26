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

typedef struct job {
  ti_dtype dtype;
  void *out;
  const void *a, *b;
  size_t count, hw, c, blocks; /* of values; of pixels, channels and their blocks */
  const ti_upsample_shape *up;
} job;

static void add_chunks(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;
  const size_t first = from * CHUNK, end = to * CHUNK < j->count ? to * CHUNK : j->count;

  (void)thread;
  add_range(j->dtype, j->out, j->a, j->b, first, first, end - first);
}

static void sum_blocks(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;

  (void)thread;
  for (size_t i = from; i < to; i++) {
    const size_t n = i / j->blocks, c = i % j->blocks * BLOCK;

    sum_rows(j->dtype, j->out, j->a, n * j->c + c, n * j->hw * j->c + c, j->hw, j->c,
             j->c - c < BLOCK ? j->c - c : BLOCK);
  }
}

static void quad_rows(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;

  (void)thread;
  for (size_t r = from; r < to; r++)
    sum_quads(j->dtype, j->out, j->a, j->up, r);
}

textinv_status TI_FN(add)(ti_exec *e, ti_dtype dtype, void *y, const void *a, const void *b,
                          size_t count)
{
  job j = { .dtype = dtype, .out = y, .a = a, .b = b, .count = count };

  ti_for(e, count, (count + CHUNK - 1) / CHUNK, add_chunks, &j);
  return TEXTINV_OK;
}

textinv_status TI_FN(sum_pixels)(ti_exec *e, ti_dtype dtype, void *v, const void *x,
                                 const ti_sum_pixels_shape *s)
{
  job j = { .dtype = dtype,
            .out = v,
            .a = x,
            .hw = s->hw,
            .c = s->c,
            .blocks = ((size_t)s->c + BLOCK - 1) / BLOCK };

  ti_for(e, s->n * j.hw * j.c, s->n * j.blocks, sum_blocks, &j);
  return TEXTINV_OK;
}

textinv_status TI_FN(upsample_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                   const ti_upsample_shape *s)
{
  const size_t rows = (size_t)s->n * s->h;
  job j = { .dtype = dtype, .out = dx, .a = dy, .up = s };

  ti_for(e, 4 * rows * s->w * s->c, rows, quad_rows, &j);
  return TEXTINV_OK;
}

#endif /* TI_HAVE_SIMD */
