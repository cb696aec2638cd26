/* Named tensors of a file, whatever its container is. */
#ifndef TI_TENSOR_FILE_H
#define TI_TENSOR_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensors are read where files hold them, little-endian: this processor is big-endian"
#endif

/* element types that files may hold; the first three have the values of textinv_dtype */
typedef enum {
  TI_FILE_F32 = 0,
  TI_FILE_F16 = 1,
  TI_FILE_BF16 = 2,
  TI_FILE_F64,
  TI_FILE_I64,
  TI_FILE_I32,
  TI_FILE_I16,
  TI_FILE_I8,
  TI_FILE_U8,
  TI_FILE_BOOL,
  TI_FILE_OTHER /* a known type whose values the library does not read */
} ti_file_dtype;

enum { TI_TENSOR_MAX_RANK = 8 }; /* safetensors: of more the last is the product */

typedef struct ti_tensor {
  const char *name; /* owned by the file */
  ti_file_dtype dtype;
  const char *dtype_name; /* as written in the file: "F32", "U16" */
  int rank;               /* 0 = scalar */
  uint64_t dims[TI_TENSOR_MAX_RANK];
  uint64_t count;   /* product of dims */
  const void *data; /* row-major, little-endian, may be unaligned; valid while the file is open */
  size_t bytes;
  int mapped; /* data lies in the mapped file itself */
} ti_tensor;

#endif /* TI_TENSOR_FILE_H */
