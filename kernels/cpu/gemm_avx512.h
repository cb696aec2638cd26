/*
 * What the AVX-512 convolutions share: panels of activations and of weights, and their product.
 *
 * The reduction runs in units of 32 channels. A panel of activations is [units, 14 rows, 32], one
 * of weights [units, 32, 32 lanes]. Weights are read from the file's own values (any type, any
 * alignment) when they are needed and laid out in the cache, so nothing is kept for them.
 */
#ifndef TI_GEMM_AVX512_H
#define TI_GEMM_AVX512_H

#include "avx512.h"
#include "prepared.h"
#include "tile_avx512.h"

#ifdef TI_HAVE_AVX512

enum {
  TI_UNIT = 32,                       /* channels of a unit, lanes of a panel */
  TI_PANEL = TI_TILE_ROWS * TI_UNIT,  /* floats of a unit of activations */
  TI_WEIGHT_UNIT = TI_UNIT * TI_UNIT, /* floats of a unit of weights */
  TI_MAX_TAPS = 9,
  TI_TAP_FLOATS = TI_UNIT * TI_MAX_TAPS * TI_UNIT
};

/* a frozen matrix [cout, cin, taps] seen from one direction: lanes are outputs, depth is summed
 * over */
typedef struct ti_matrix {
  const void *data;
  ti_dtype dtype;
  int cout, cin, taps;
  int backward; /* lanes are cin, depth is cout */
} ti_matrix;

/*
 * out [depth 32, taps, lanes 32] = the weights of 32 depths from d on and 32 lanes from l on, zero
 * beyond the matrix
 */
void ti_matrix_taps(const ti_matrix *w, float *out, int d, int l);

/*
 * c [rows, 32] (rows c_r apart) (+)= units of a panel times units of weights; rows <= 14. The units
 * are summed by themselves before they join c: the error of a sum grows with the root of its
 * length, and calls of a few units each make a sum of short sums.
 */
void ti_panel_product(int rows, float *c, size_t c_r, const float *a, const float *b, int units,
                      int accumulate);

/* 32 floats of channels from c on, zero beyond count; x NULL = all zero */
TI_AVX512_INLINE void ti_copy_unit(ti_dtype dtype, float *y, const void *x, size_t at, int c,
                                   int count)
{
  for (int v = 0; v < TI_UNIT; v += TI_LANES) {
    const int left = count - c - v;
    const __mmask16 m = ti_mask(left < 0 ? 0 : left < TI_LANES ? left : TI_LANES);

    _mm512_store_ps(y + v, x ? ti_load_mask(dtype, x, at + c + v, m) : _mm512_setzero_ps());
  }
}

/* the prepare entries, and Winograd's share of the former */
textinv_status ti_avx512_conv2d_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                        size_t *scratch_bytes, ti_weight *w,
                                        const ti_conv2d_shape *s, int has_residual, int backward);
textinv_status ti_avx512_linear_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                        size_t *scratch_bytes, ti_weight *w,
                                        const ti_linear_shape *s, int has_residual, int backward);
int ti_winograd_suits(const ti_conv2d_shape *s);
textinv_status ti_winograd_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                   size_t *scratch_bytes, ti_weight *w, const ti_conv2d_shape *s,
                                   int backward);

#endif

#endif /* TI_GEMM_AVX512_H */
