/* The JSON header of a safetensors file, parsed without building a tree. */
#ifndef TI_SAFETENSORS_HEADER_H
#define TI_SAFETENSORS_HEADER_H

#include "safetensors.h"

enum {
  TI_SAFETENSORS_MAX_HEADER = 100000000, /* bytes, as in the reference reader */
  TI_SAFETENSORS_MAX_TENSORS = 65536,
  TI_SAFETENSORS_MAX_METADATA = 65536
};

typedef struct ti_header_entry {
  ti_tensor tensor;    /* count, data and bytes are not set */
  uint64_t begin, end; /* as written */
  unsigned bits;       /* of one element */
} ti_header_entry;

typedef struct ti_header_chunk ti_header_chunk;

typedef struct ti_safetensors_header {
  ti_header_entry *entries; /* in the order of the file, names may repeat */
  size_t count, capacity;
  ti_key_value *metadata; /* the same */
  size_t num_metadata, metadata_capacity;
  ti_header_chunk *chunks; /* the strings */
} ti_safetensors_header;

/* out is zeroed by the caller and freed by it on failure, too */
textinv_status ti_safetensors_header_parse(ti_safetensors_header *out, ti_error *error,
                                           const char *name, const void *bytes, size_t size);
void ti_safetensors_header_free(ti_safetensors_header *header);

/* name and bits of a type that can be written; NULL for TI_FILE_OTHER */
const char *ti_safetensors_dtype(ti_file_dtype dtype, unsigned *bits);

#endif /* TI_SAFETENSORS_HEADER_H */
