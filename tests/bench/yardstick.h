/* The vendor's library on the same data, for cuda_bench. */
#ifndef TI_YARDSTICK_H
#define TI_YARDSTICK_H

#include "cuda/plugin.h"

/*
 * Median seconds of cuBLAS for y[m, n] = a[m, k] w, where w is [n, k], or [k, n] when transposed; one
 * run an entry of a, w, y. 0 when it was not linked or fails.
 */
double yardstick_gemm(const ti_cuda_plugin *plugin, ti_cuda *context, ti_dtype dtype, int m, int n,
                      int k, int transposed, void *const *a, void *const *w, void *const *y, int sets);

#endif /* TI_YARDSTICK_H */
