/*
 * A frozen weight: a view into a mapped file, and what kernels have made of it.
 *
 * Packed forms are built once and kept with the weight, so that every plan and every session that
 * uses the model shares them. All functions may be called from several threads at once.
 */
#ifndef TI_WEIGHT_H
#define TI_WEIGHT_H

#include <stddef.h>

#include "dtype.h"
#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ti_packed ti_packed;

typedef struct ti_weight {
  const char *name; /* as in the file, for messages */
  const void *data; /* dtype values, row-major, not aligned */
  size_t count;     /* product of dims */
  int rank;         /* 1..4 */
  int dims[4];
  ti_dtype dtype;    /* of data */
  int mapped;        /* data lies in a mapped file: pages can be given back and come again */
  ti_packed *packed; /* list, guarded by a lock in weight.c */
} ti_weight;

/* fill out (bytes, aligned to 64) from w */
typedef textinv_status (*ti_pack_fn)(ti_error *error, void *out, const ti_weight *w, void *user);

/* the form of w that key (under 96 bytes) names, made by fill when it is not there yet */
textinv_status ti_weight_pack(ti_error *error, const void **out, ti_weight *w, const char *key,
                              size_t bytes, ti_pack_fn fill, void *user);

/* w as plain values of dtype, aligned: the mapped values themselves when they are so already */
textinv_status ti_weight_plain(ti_error *error, const void **out, ti_weight *w, ti_dtype dtype);

/* free every packed form */
void ti_weight_drop(ti_weight *w);

#ifdef __cplusplus
}
#endif

#endif /* TI_WEIGHT_H */
