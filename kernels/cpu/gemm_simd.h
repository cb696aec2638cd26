/*
 * What the convolutions share: panels of activations and of weights, and their product.
 *
 * The reduction runs in units of as many channels as two vectors have lanes. A panel of activations
 * is [units, rows of a tile, unit], one of weights [units, unit, unit lanes]. Weights are read from
 * the file's own values (any type, any alignment) when they are needed and laid out in the cache,
 * so nothing is kept for them.
 */
#ifndef TI_GEMM_SIMD_H
#define TI_GEMM_SIMD_H

#include "simd_kernels.h"
#include "prepared.h"
#include "tile_simd.h"

#ifdef TI_HAVE_SIMD

enum {
  TI_UNIT = 2 * TI_LANES,             /* channels of a unit, lanes of a panel */
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
 * out [depths of a unit, taps, lanes of a unit] = the weights of those from d and from l on, zero
 * beyond the matrix
 */
void TI_FN(matrix_taps)(const ti_matrix *w, float *out, int d, int l);

/*
 * c [rows, unit] (rows c_r apart) (+)= units of a panel times units of weights; rows <=
 * TI_TILE_ROWS. The units are summed by themselves before they join c: the error of a sum grows
 * with the root of its length, and calls of a few units each make a sum of short sums.
 */
void TI_FN(panel_product)(int rows, float *c, size_t c_r, const float *a, const float *b, int units,
                          int accumulate);

/* the floats of a unit of channels from c on, zero beyond count; x NULL = all zero */
TI_SIMD_INLINE void ti_copy_unit(ti_dtype dtype, float *y, const void *x, size_t at, int c,
                                 int count)
{
  for (int v = 0; v < TI_UNIT; v += TI_LANES) {
    const ti_mask m = ti_first(count - c - v);

    ti_put(y + v, x ? ti_load_mask(dtype, x, at + c + v, m) : ti_set(0.0f));
  }
}

/* Winograd's share of the convolutions */
int TI_FN(winograd_suits)(const ti_conv2d_shape *s);
textinv_status TI_FN(winograd_prepare)(ti_exec *e, ti_dtype dtype, void **prepared,
                                       size_t *scratch_bytes, ti_weight *w,
                                       const ti_conv2d_shape *s, int backward);

#endif

#endif /* TI_GEMM_SIMD_H */
