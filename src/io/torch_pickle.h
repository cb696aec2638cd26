/*
 * The pickle of a torch file, read without running anything: the result consists of None, bool,
 * int, float, str, tuple, list, dict, references to tensors and a few names. A set is a list, an
 * int of over 64 bits None. Every other Python object is refused by name.
 */
#ifndef TI_TORCH_PICKLE_H
#define TI_TORCH_PICKLE_H

#include "tensor_file.h"

typedef enum {
  TI_PICKLE_NONE,
  TI_PICKLE_BOOL,
  TI_PICKLE_INT,
  TI_PICKLE_FLOAT,
  TI_PICKLE_STRING,
  TI_PICKLE_TUPLE,
  TI_PICKLE_LIST,
  TI_PICKLE_DICT,
  TI_PICKLE_TENSOR,
  TI_PICKLE_STORAGE,
  TI_PICKLE_GLOBAL,
  TI_PICKLE_MARK /* never in a result's place of interest */
} ti_pickle_kind;

/* part of a storage; every element it names lies within numel */
typedef struct ti_pickle_tensor {
  const char *key; /* of the storage: letters and digits */
  ti_file_dtype dtype;
  uint64_t numel; /* of the storage */
  uint64_t offset;
  int rank;
  uint64_t dims[TI_TENSOR_MAX_RANK], strides[TI_TENSOR_MAX_RANK];
} ti_pickle_tensor;

/* values may be shared, and containers may contain themselves: do not recurse without a bound */
typedef struct ti_pickle_value {
  ti_pickle_kind kind;
  int is_parameter_dict; /* a dict that was a torch.nn.ParameterDict */
  union {
    long long integer;  /* BOOL, INT */
    double real;        /* FLOAT */
    const char *string; /* UTF-8 without NUL */
    int global;
    struct {
      struct ti_pickle_value **items; /* of a dict: key, value, key, value, ... */
      size_t count, capacity;         /* of items */
    } list;
    ti_pickle_tensor *tensor; /* TENSOR, STORAGE */
  } u;
} ti_pickle_value;

typedef struct ti_pickle ti_pickle;

/* name stands for the file in messages */
textinv_status ti_pickle_parse(ti_pickle **out, ti_error *error, const char *name,
                               const void *bytes, size_t size);
void ti_pickle_free(ti_pickle *pickle); /* NULL is allowed */
const ti_pickle_value *ti_pickle_root(const ti_pickle *pickle);

/* value of a string key, the last of equal ones; NULL when absent or when dict is no dict */
const ti_pickle_value *ti_pickle_get(const ti_pickle_value *dict, const char *key);

size_t ti_file_dtype_size(ti_file_dtype dtype); /* bytes of an element, 0 for TI_FILE_OTHER */

#endif /* TI_TORCH_PICKLE_H */
