/* Weights as the file has them, laid out, and the product of panels. */
#include "gemm_simd.h"

#ifdef TI_HAVE_SIMD

/* lanes are cout: rows of cin * taps values, turned */
TI_SIMD_INLINE void taps_fwd_worker(ti_dtype dtype, const ti_matrix *w, float *out, int d, int l)
{
  const int depth = w->cin - d < TI_UNIT ? w->cin - d : TI_UNIT;
  const int lanes = w->cout - l < TI_UNIT ? w->cout - l : TI_UNIT;
  const size_t row = (size_t)w->cin * w->taps;

  ti_pack_transposed(dtype, 1, out, TI_UNIT, w->data, l * row + (size_t)d * w->taps, row, lanes,
                     depth * w->taps);
}

/* lanes are cin: for each cout a small matrix [cin, taps], turned */
TI_SIMD_INLINE void taps_bwd_worker(ti_dtype dtype, const ti_matrix *w, float *out, int d, int l)
{
  const int depth = w->cout - d < TI_UNIT ? w->cout - d : TI_UNIT;
  const int lanes = w->cin - l < TI_UNIT ? w->cin - l : TI_UNIT;

  for (int i = 0; i < depth; i++)
    ti_pack_transposed(dtype, 1, out + (size_t)i * w->taps * TI_UNIT, TI_UNIT, w->data,
                       ((size_t)(d + i) * w->cin + l) * w->taps, w->taps, lanes, w->taps);
}

static TI_SIMD void taps_fwd(ti_dtype dtype, const ti_matrix *w, float *out, int d, int l)
{
  TI_DISPATCH(dtype, taps_fwd_worker, w, out, d, l);
}

static TI_SIMD void taps_bwd(ti_dtype dtype, const ti_matrix *w, float *out, int d, int l)
{
  TI_DISPATCH(dtype, taps_bwd_worker, w, out, d, l);
}

void TI_FN(matrix_taps)(const ti_matrix *w, float *out, int d, int l)
{
  const int depth = w->backward ? w->cout : w->cin, lanes = w->backward ? w->cin : w->cout;

  if (depth - d < TI_UNIT || lanes - l < TI_UNIT)
    memset(out, 0, (size_t)TI_UNIT * w->taps * TI_UNIT * sizeof(float));
  if (w->backward)
    taps_bwd(w->dtype, w, out, d, l);
  else
    taps_fwd(w->dtype, w, out, d, l);
}

TI_SIMD_INLINE void product_fixed(int rows, float *c, size_t c_r, const float *a, const float *b,
                                  int units, int accumulate)
{
  ti_vec sum[TI_TILE_ROWS][2];

  TI_UNROLL
  for (int r = 0; r < rows; r++)
    sum[r][0] = sum[r][1] = ti_set(0.0f);
  for (int u = 0; u < units; u++, a += TI_PANEL) {
    for (int i = 0; i < TI_ROW; i++, b += TI_UNIT) {
      const ti_vec low = ti_get(b), high = ti_get(b + TI_LANES);

      TI_UNROLL
      for (int r = 0; r < rows; r++) {
        const ti_vec x = ti_set(a[r * TI_ROW + i]);

        sum[r][0] = ti_fma_operands(x, low, sum[r][0]);
        sum[r][1] = ti_fma_operands(x, high, sum[r][1]);
      }
    }
  }
  TI_UNROLL
  for (int r = 0; r < rows; r++) {
    float *at = c + r * c_r;

    if (accumulate) {
      sum[r][0] = sum[r][0] + ti_get(at);
      sum[r][1] = sum[r][1] + ti_get(at + TI_LANES);
    }
    ti_put(at, sum[r][0]);
    ti_put(at + TI_LANES, sum[r][1]);
  }
}

#define CASE(n, ...)                                                                               \
  case n: product_fixed(n, c, c_r, a, b, units, accumulate); break;

static TI_SIMD void product(int rows, float *c, size_t c_r, const float *a, const float *b,
                            int units, int accumulate)
{
  switch (rows) {
    TI_EACH_HEIGHT(CASE, 0)
  }
}

void TI_FN(panel_product)(int rows, float *c, size_t c_r, const float *a, const float *b, int units,
                          int accumulate)
{
  product(rows, c, c_r, a, b, units, accumulate);
}

#endif /* TI_HAVE_SIMD */
