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
typedef struct ti_joined ti_joined;

enum { TI_MAX_PARTS = 3 };

typedef struct ti_weight {
  const char *name; /* as in the file, for messages */
  const void *data; /* dtype values, row-major, not aligned; NULL: the rows of parts */
  size_t count;     /* product of dims */
  int rank;         /* 1..4 */
  int dims[4];
  ti_dtype dtype;    /* of data */
  int mapped;        /* data lies in a mapped file: pages can be given back and come again */
  ti_packed *packed; /* list, guarded by a lock in weight.c */
  ti_joined *joined; /* the same: weights whose first part this is */
  const struct ti_weight *parts[TI_MAX_PARTS];
  int num_parts;
} ti_weight;

/* fill out (bytes, aligned to 64) from w */
typedef textinv_status (*ti_pack_fn)(ti_error *error, void *out, const ti_weight *w, void *user);

/* the form of w that key (under 96 bytes) names, made by fill when it is not there yet */
textinv_status ti_weight_pack(ti_error *error, const void **out, ti_weight *w, const char *key,
                              size_t bytes, ti_pack_fn fill, void *user);

/*
 * The rows of parts[0..count), which have one shape, below each other as one weight, which lives as
 * long as parts[0]. It has no data of its own: what reads it goes through ti_weight_values().
 */
textinv_status ti_weight_join(ti_error *error, ti_weight **out, ti_weight *const *parts, int count);

/* out = the values of w as dtype */
void ti_weight_values(void *out, ti_dtype dtype, const ti_weight *w);

/* w as plain values of dtype, aligned: the mapped values themselves when they are so already */
textinv_status ti_weight_plain(ti_error *error, const void **out, ti_weight *w, ti_dtype dtype);

/* free every packed form, and what was joined to w */
void ti_weight_drop(ti_weight *w);

#ifdef __cplusplus
}
#endif

#endif /* TI_WEIGHT_H */
