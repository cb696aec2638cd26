/*
 * Products of small tiles that stay in registers, and the transpositions that prepare them: what
 * attention and the matrix products are made of.
 */
#ifndef TI_TILE_AVX512_H
#define TI_TILE_AVX512_H

#include <string.h>

#include "simd_avx512.h"

#ifdef TI_HAVE_AVX512

/* sanitizers check every index, which unrolled makes minutes of compilation */
#if defined(__SANITIZE_ADDRESS__)
#define TI_UNROLL
#elif defined(__clang__)
#define TI_UNROLL _Pragma("clang loop unroll(full)")
#else
#define TI_UNROLL _Pragma("GCC unroll 16")
#endif

enum { TI_TILE_ROWS = 14 }; /* rows of a tile of two vectors: 28 sums, and room for b */

/*
 * c[r, lanes] (+)= sum over k of a[k a_k + r a_r] b[k b_k + lanes]; rows, vecs and a_r are constants,
 * so that the sums live in registers.
 */
TI_AVX512_INLINE void ti_tile_fixed(int rows, int vecs, int a_r, float *c, size_t c_r,
                                    const float *a, size_t a_k, const float *b, size_t b_k, int k,
                                    int accumulate)
{
  __m512 sum[TI_TILE_ROWS][3];

  TI_UNROLL
  for (int r = 0; r < rows; r++) {
    TI_UNROLL
    for (int v = 0; v < vecs; v++)
      sum[r][v] = accumulate ? _mm512_loadu_ps(c + r * c_r + v * TI_LANES) : _mm512_setzero_ps();
  }
  for (int i = 0; i < k; i++, a += a_k, b += b_k) {
    __m512 row[3];

    TI_UNROLL
    for (int v = 0; v < vecs; v++)
      row[v] = _mm512_loadu_ps(b + v * TI_LANES);
    TI_UNROLL
    for (int r = 0; r < rows; r++) {
      const __m512 x = _mm512_set1_ps(a[r * a_r]);

      TI_UNROLL
      for (int v = 0; v < vecs; v++)
        sum[r][v] = _mm512_fmadd_ps(x, row[v], sum[r][v]);
    }
  }
  TI_UNROLL
  for (int r = 0; r < rows; r++) {
    TI_UNROLL
    for (int v = 0; v < vecs; v++)
      _mm512_storeu_ps(c + r * c_r + v * TI_LANES, sum[r][v]);
  }
}

/* one case a number of rows */
#define TI_TILE_CASE(n, vecs, a_r) \
  case n: ti_tile_fixed(n, vecs, a_r, c, c_r, a, a_k, b, b_k, k, accumulate); break;
#define TI_TILE_CASES_9(vecs, a_r) \
  TI_TILE_CASE(1, vecs, a_r) TI_TILE_CASE(2, vecs, a_r) TI_TILE_CASE(3, vecs, a_r) \
  TI_TILE_CASE(4, vecs, a_r) TI_TILE_CASE(5, vecs, a_r) TI_TILE_CASE(6, vecs, a_r) \
  TI_TILE_CASE(7, vecs, a_r) TI_TILE_CASE(8, vecs, a_r) TI_TILE_CASE(9, vecs, a_r)
#define TI_TILE_CASES_14(vecs, a_r) \
  TI_TILE_CASES_9(vecs, a_r) TI_TILE_CASE(10, vecs, a_r) TI_TILE_CASE(11, vecs, a_r) \
  TI_TILE_CASE(12, vecs, a_r) TI_TILE_CASE(13, vecs, a_r) TI_TILE_CASE(14, vecs, a_r)
#define TI_TILE_ARGUMENTS \
  int rows, float *c, size_t c_r, const float *a, size_t a_k, const float *b, size_t b_k, int k, \
      int accumulate

/* as even as possible, at most most rows */
static inline int ti_tile_rows(int rows, int most)
{
  const int tiles = (rows + most - 1) / most;

  return (rows + tiles - 1) / tiles;
}

/* transposes 16 vectors in place */
TI_AVX512_INLINE void ti_transpose16(__m512 *r)
{
  __m512 t[16];

  TI_UNROLL
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  TI_UNROLL
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  TI_UNROLL
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
  }
  TI_UNROLL
  for (int i = 0; i < 4; i++) {
    r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

/*
 * y[c, i] (rows of y_c floats) = scale x[at + i x_r + c] for c < columns, i < rows; i runs on to the
 * next multiple of 16 with zeros
 */
TI_AVX512_INLINE void ti_pack_transposed(ti_dtype dtype, float *y, size_t y_c, const void *x,
                                         size_t at, size_t x_r, int rows, int columns, float scale)
{
  const __m512 k = _mm512_set1_ps(scale);

  for (int i = 0; i < rows; i += 16) {
    for (int c = 0; c < columns; c += 16) {
      const int width = columns - c < 16 ? columns - c : 16;
      const __mmask16 m = ti_mask(width);
      __m512 r[16];

      TI_UNROLL
      for (int j = 0; j < 16; j++)
        r[j] = i + j < rows
                   ? _mm512_mul_ps(k, ti_load_mask(dtype, x, at + (size_t)(i + j) * x_r + c, m))
                   : _mm512_setzero_ps();
      ti_transpose16(r);
      TI_UNROLL
      for (int j = 0; j < 16; j++) {
        if (j < width)
          _mm512_storeu_ps(y + (size_t)(c + j) * y_c + i, r[j]);
      }
    }
  }
}

/* y[at + i y_r + c] = scale x[c x_c + i]: the way back, rows of x multiples of 16 long */
TI_AVX512_INLINE void ti_unpack_transposed(ti_dtype dtype, void *y, size_t at, size_t y_r,
                                           const float *x, size_t x_c, int rows, int columns,
                                           const float *scale)
{
  for (int i = 0; i < rows; i += 16) {
    for (int c = 0; c < columns; c += 16) {
      const int width = columns - c < 16 ? columns - c : 16;
      const __m512 k = _mm512_loadu_ps(scale + i);
      __m512 r[16];

      TI_UNROLL
      for (int j = 0; j < 16; j++)
        r[j] = j < width ? _mm512_mul_ps(k, _mm512_loadu_ps(x + (size_t)(c + j) * x_c + i))
                         : _mm512_setzero_ps();
      ti_transpose16(r);
      TI_UNROLL
      for (int j = 0; j < 16; j++) {
        if (i + j < rows)
          ti_store_mask(dtype, y, at + (size_t)(i + j) * y_r + c, ti_mask(width), r[j]);
      }
    }
  }
}

/* y[i, c] (rows of y_r floats) = scale x[at + i x_r + c], c on to y_r with zeros */
TI_AVX512_INLINE void ti_pack_rows(ti_dtype dtype, float *y, size_t y_r, const void *x, size_t at,
                                   size_t x_r, int rows, int columns)
{
  for (int i = 0; i < rows; i++) {
    for (size_t c = 0; c < y_r; c += TI_LANES) {
      const size_t left = (size_t)columns > c ? (size_t)columns - c : 0;
      const size_t room = y_r - c < TI_LANES ? y_r - c : TI_LANES;

      _mm512_mask_storeu_ps(
          y + i * y_r + c, ti_mask(room),
          ti_load_mask(dtype, x, at + i * x_r + c, ti_mask(left < TI_LANES ? left : TI_LANES)));
    }
  }
}

#endif

#endif /* TI_TILE_AVX512_H */
