/*
 * What the convolutions share: panels of activations and of weights, and their product.
 *
 * The reduction runs in units of as many channels as two vectors have lanes. A panel of activations
 * is [units, rows of a tile, operands of a unit], one of weights [units, operands of a unit, unit
 * lanes].
 */
#ifndef TI_GEMM_SIMD_H
#define TI_GEMM_SIMD_H

#include "simd_kernels.h"
#include "prepared.h"
#include "tile_simd.h"

#ifdef TI_HAVE_SIMD

enum {
  TI_UNIT = 2 * TI_LANES,            /* channels of a unit, lanes of a panel */
  TI_ROW = TI_UNIT / TI_PER_LANE,    /* operands of a unit */
  TI_PANEL = TI_TILE_ROWS * TI_ROW,  /* floats of a unit of activations */
  TI_WEIGHT_UNIT = TI_ROW * TI_UNIT, /* operands of a unit of weights */
  TI_MAX_TAPS = 9,
  TI_MAX_PLANES = 16,
  TI_TAP_FLOATS = TI_UNIT * TI_MAX_TAPS * TI_UNIT
};

/* a frozen matrix [cout, cin, taps] as the file has it (any type, any alignment) */
typedef struct ti_matrix {
  const void *data;
  ti_dtype dtype;
  int cout, cin, taps;
  int backward; /* lanes are cin, depth is cout; else the other way round */
} ti_matrix;

/*
 * out [depths of a unit, taps, lanes of a unit] = the weights of those from d and from l on, zero
 * beyond the matrix
 */
void TI_FN(matrix_taps)(const ti_matrix *w, float *out, int d, int l);

/*
 * The matrix as units of weights [groups, units of cout, units of cin, planes of a group], lanes
 * being cout: one form for both directions. A plane is the sum of some taps. Where no plane has
 * more than one, values of 16 bits stay what they are (not with TI_PAIRS, whose operands are bf16).
 */
typedef struct ti_planes {
  const void *units;
  ti_dtype dtype; /* of the operands; TI_F32 for pairs, too */
  int cout, cin; /* units of them */
  int count, group;
  unsigned sets[TI_MAX_PLANES]; /* bit k: tap k is part of the sum */
} ti_planes;

/* p is complete but for its units: those of w, packed by the team if there are none yet */
textinv_status TI_FN(planes_pack)(const ti_exec *e, ti_planes *p, ti_weight *w);

static inline size_t ti_unit_bytes(const ti_planes *p)
{
  return TI_WEIGHT_UNIT * ti_dtype_size(p->dtype);
}

static inline const void *ti_planes_unit(const ti_planes *p, int plane, int cout, int cin)
{
  const size_t at = ((size_t)plane / p->group * p->cout + cout) * p->cin + cin;

  return (const char *)p->units + (at * p->group + plane % p->group) * ti_unit_bytes(p);
}

/* out = a unit that is not read in place, as operands; turned: with cin in the lanes */
void TI_FN(planes_get)(const ti_planes *p, float *out, const void *unit, int turned);

/* bring so many bytes from p on into the second cache */
static inline void ti_prefetch(const void *p, size_t bytes)
{
  for (size_t i = 0; i < bytes; i += 64)
    __builtin_prefetch((const char *)p + i, 0, 2);
}

/*
 * c [rows, unit] (rows c_r apart) (+)= units of a panel times units of weights; rows <=
 * TI_TILE_ROWS. The units are summed by themselves before they join c: the error of a sum grows
 * with the root of its length, and calls of a few units each make a sum of short sums.
 */
void TI_FN(panel_product)(int rows, float *c, size_t c_r, const float *a, const float *b, int units,
                          int accumulate);

/* the operands of a unit of channels from c on, zero beyond count; x NULL = all zero */
TI_SIMD_INLINE void ti_copy_unit(ti_dtype dtype, float *y, const void *x, size_t at, int c,
                                 int count)
{
  for (int v = 0; v < TI_ROW; v += TI_LANES) {
    const int from = c + v * TI_PER_LANE;

    ti_put(y + v, x ? ti_load_operands(dtype, x, at + from, count - from) : ti_set(0.0f));
  }
}

/* Winograd's share of the convolutions */
int TI_FN(winograd_suits)(const ti_conv2d_shape *s);
textinv_status TI_FN(winograd_prepare)(ti_exec *e, ti_dtype dtype, void **prepared,
                                       size_t *scratch_bytes, ti_weight *w,
                                       const ti_conv2d_shape *s, int backward);

#endif

#endif /* TI_GEMM_SIMD_H */
