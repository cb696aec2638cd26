/* The tables of table_simd.c, for those who choose between them. */
#ifndef TI_SIMD_TABLES_H
#define TI_SIMD_TABLES_H

#include "kernels.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define TI_HAVE_SIMD 1
#define TI_FEWEST_LANES 8

/* set the entries of k that have a form with vectors; the processor must know them */
void ti_avx2_install(ti_kernels *k);
void ti_avx512_install(ti_kernels *k);

/* then: the products of bf16 with the processor's own */
void ti_bf16_install(ti_kernels *k);

/* where the matrix products of k are this table's: divide them with oneDNN, and say so */
int ti_avx2_share_with_onednn(ti_kernels *k);
int ti_avx512_share_with_onednn(ti_kernels *k);
int ti_bf16_share_with_onednn(ti_kernels *k);

#elif defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#define TI_HAVE_SIMD 1
#define TI_FEWEST_LANES 4

/* the same for the vectors that every 64-bit ARM has */
void ti_neon_install(ti_kernels *k);
int ti_neon_share_with_onednn(ti_kernels *k);

#endif

#endif /* TI_SIMD_TABLES_H */
