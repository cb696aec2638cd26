/*
 * Products of small tiles that stay in registers, and the transpositions that prepare them: what
 * attention and the matrix products are made of.
 */
#ifndef TI_TILE_SIMD_H
#define TI_TILE_SIMD_H

#include <string.h>

#include "simd.h"

#ifdef TI_HAVE_SIMD

/* rows of a tile of two and of three vectors: as many sums as registers, and room for b */
#if TI_LANES == 16
enum { TI_TILE_ROWS = 14, TI_TILE_ROWS_3 = 9 };
#elif TI_LANES == 4
enum { TI_TILE_ROWS = 8, TI_TILE_ROWS_3 = 6 };
#else
enum { TI_TILE_ROWS = 6, TI_TILE_ROWS_3 = 4 };
#endif

/*
 * c[r, lanes] (+)= sum over k of a[k a_k + r a_r] b[k b_k + lanes], a and b operands; rows, vecs
 * and a_r are constants, so that the sums live in registers.
 */
TI_SIMD_INLINE void ti_tile_fixed(int rows, int vecs, int a_r, float *c, size_t c_r, const float *a,
                                  size_t a_k, const float *b, size_t b_k, int k, int accumulate)
{
  ti_vec sum[TI_TILE_ROWS][3];

  TI_UNROLL
  for (int r = 0; r < rows; r++) {
    TI_UNROLL
    for (int v = 0; v < vecs; v++)
      sum[r][v] = accumulate ? ti_get(c + r * c_r + v * TI_LANES) : ti_set(0.0f);
  }
  for (int i = 0; i < k; i++, a += a_k, b += b_k) {
    ti_vec row[3];

    TI_UNROLL
    for (int v = 0; v < vecs; v++)
      row[v] = ti_get(b + v * TI_LANES);
    TI_UNROLL
    for (int r = 0; r < rows; r++) {
      const ti_vec x = ti_set(a[r * a_r]);

      TI_UNROLL
      for (int v = 0; v < vecs; v++)
        sum[r][v] = ti_fma_operands(x, row[v], sum[r][v]);
    }
  }
  TI_UNROLL
  for (int r = 0; r < rows; r++) {
    TI_UNROLL
    for (int v = 0; v < vecs; v++)
      ti_put(c + r * c_r + v * TI_LANES, sum[r][v]);
  }
}

/* X(rows, ...) for every height of a tile of two vectors, and of three */
#define TI_EACH_4(X, ...) X(1, __VA_ARGS__) X(2, __VA_ARGS__) X(3, __VA_ARGS__) X(4, __VA_ARGS__)
#define TI_EACH_6(X, ...) TI_EACH_4(X, __VA_ARGS__) X(5, __VA_ARGS__) X(6, __VA_ARGS__)
#define TI_EACH_8(X, ...) TI_EACH_6(X, __VA_ARGS__) X(7, __VA_ARGS__) X(8, __VA_ARGS__)
#define TI_EACH_9(X, ...) TI_EACH_8(X, __VA_ARGS__) X(9, __VA_ARGS__)
#define TI_EACH_14(X, ...)                                                                         \
  TI_EACH_9(X, __VA_ARGS__)                                                                        \
  X(10, __VA_ARGS__) X(11, __VA_ARGS__) X(12, __VA_ARGS__) X(13, __VA_ARGS__) X(14, __VA_ARGS__)
#if TI_LANES == 16
#define TI_EACH_HEIGHT(X, ...) TI_EACH_14(X, __VA_ARGS__)
#define TI_EACH_HEIGHT_3(X, ...) TI_EACH_9(X, __VA_ARGS__)
#elif TI_LANES == 4
#define TI_EACH_HEIGHT(X, ...) TI_EACH_8(X, __VA_ARGS__)
#define TI_EACH_HEIGHT_3(X, ...) TI_EACH_6(X, __VA_ARGS__)
#else
#define TI_EACH_HEIGHT(X, ...) TI_EACH_6(X, __VA_ARGS__)
#define TI_EACH_HEIGHT_3(X, ...) TI_EACH_4(X, __VA_ARGS__)
#endif

/* the cases of a switch over the rows of TI_TILE_ARGUMENTS */
#define TI_TILE_CASE(n, vecs, a_r)                                                                 \
  case n:                                                                                          \
    ti_tile_fixed(n, vecs, a_r, c, c_r, a, a_k, b, b_k, k, accumulate);                            \
    break;
#define TI_TILE_CASES(vecs, a_r) TI_EACH_HEIGHT(TI_TILE_CASE, vecs, a_r)
#define TI_TILE_CASES_3(a_r) TI_EACH_HEIGHT_3(TI_TILE_CASE, 3, a_r)
#define TI_TILE_ARGUMENTS                                                                          \
  int rows, float *c, size_t c_r, const float *a, size_t a_k, const float *b, size_t b_k, int k,   \
    int accumulate

/* as even as possible, at most most rows */
static inline int ti_tile_rows(int rows, int most)
{
  const int tiles = (rows + most - 1) / most;

  return (rows + tiles - 1) / tiles;
}

/*
 * y[c, i] (rows of y_c floats) = x[at + i x_r + c] for c < columns, i < rows; i runs on to the next
 * multiple of TI_LANES with zeros. per_lane = TI_PER_LANE: as operands, each of so many columns; 1:
 * as floats.
 */
TI_SIMD_INLINE void ti_pack_transposed(ti_dtype dtype, int per_lane, float *y, size_t y_c,
                                       const void *x, size_t at, size_t x_r, int rows, int columns)
{
  const int lanes = (columns + per_lane - 1) / per_lane;

  for (int i = 0; i < rows; i += TI_LANES) {
    for (int c = 0; c < lanes; c += TI_LANES) {
      const int width = lanes - c < TI_LANES ? lanes - c : TI_LANES;
      const int from = c * per_lane, left = columns - from;
      ti_vec r[TI_LANES];

      TI_UNROLL
      for (int j = 0; j < TI_LANES; j++) {
        const size_t row = at + (size_t)(i + j) * x_r + from;

        r[j] = i + j >= rows   ? ti_set(0.0f)
               : per_lane == 1 ? ti_load_mask(dtype, x, row, ti_first(left))
                               : ti_load_operands(dtype, x, row, left);
      }
      ti_transpose(r);
      TI_UNROLL
      for (int j = 0; j < TI_LANES; j++) {
        if (j < width)
          ti_put(y + (size_t)(c + j) * y_c + i, r[j]);
      }
    }
  }
}

/* y[at + i y_r + c] = scale x[c x_c + i]: the way back, rows of x multiples of TI_LANES long */
TI_SIMD_INLINE void ti_unpack_transposed(ti_dtype dtype, void *y, size_t at, size_t y_r,
                                         const float *x, size_t x_c, int rows, int columns,
                                         const float *scale)
{
  for (int i = 0; i < rows; i += TI_LANES) {
    for (int c = 0; c < columns; c += TI_LANES) {
      const int width = columns - c < TI_LANES ? columns - c : TI_LANES;
      const ti_vec k = ti_get(scale + i);
      ti_vec r[TI_LANES];

      TI_UNROLL
      for (int j = 0; j < TI_LANES; j++)
        r[j] = j < width ? k * ti_get(x + (size_t)(c + j) * x_c + i) : ti_set(0.0f);
      ti_transpose(r);
      TI_UNROLL
      for (int j = 0; j < TI_LANES; j++) {
        if (i + j < rows)
          ti_store_mask(dtype, y, at + (size_t)(i + j) * y_r + c, ti_first(width), r[j]);
      }
    }
  }
}

/*
 * y[i, c] (rows of y_r floats) = the operand of rows i TI_PER_LANE and on of x[at + row x_r + c], c
 * on to y_r with zeros
 */
TI_SIMD_INLINE void ti_pack_rows(ti_dtype dtype, float *y, size_t y_r, const void *x, size_t at,
                                 size_t x_r, int rows, int columns)
{
  for (int i = 0; i < rows; i += TI_PER_LANE, y += y_r) {
    for (size_t c = 0; c < y_r; c += TI_LANES) {
      const ti_mask room = ti_first((ptrdiff_t)(y_r - c)), m = ti_first(columns - (ptrdiff_t)c);
      ti_vec r[TI_PER_LANE];

      for (int j = 0; j < TI_PER_LANE; j++)
        r[j] = i + j < rows ? ti_load_mask(dtype, x, at + (size_t)(i + j) * x_r + c, m)
                            : ti_set(0.0f);
      ti_store_mask(TI_F32, y, c, room, ti_operand(r));
    }
  }
}

#endif

#endif /* TI_TILE_SIMD_H */
