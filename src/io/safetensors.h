/* safetensors files: every rule of the reference reader, plus no duplicate names. */
#ifndef TI_SAFETENSORS_H
#define TI_SAFETENSORS_H

#include "atomic_file.h"
#include "tensor_file.h"

typedef struct ti_safetensors ti_safetensors;

typedef struct ti_key_value {
  const char *key, *value;
} ti_key_value;

/* map the file and check its header; no byte of it is trusted afterwards */
textinv_status ti_safetensors_open(ti_safetensors **out, ti_error *error, const char *path);
/* the same for bytes in memory, which must outlive it; name stands for the path in messages */
textinv_status ti_safetensors_parse(ti_safetensors **out, ti_error *error, const char *name,
                                    const void *bytes, size_t size);
void ti_safetensors_close(ti_safetensors *file);

size_t ti_safetensors_count(const ti_safetensors *file);
const ti_tensor *ti_safetensors_tensor(const ti_safetensors *file,
                                       size_t i); /* in the order of names */
const ti_tensor *ti_safetensors_find(const ti_safetensors *file, const char *name);
const char *ti_safetensors_metadata(const ti_safetensors *file,
                                    const char *key); /* NULL = absent */
/* all of it, in the order of keys; NULL and 0 when there is none */
const ti_key_value *ti_safetensors_pairs(const ti_safetensors *file, size_t *count);

/* write atomically; f32/f16/bf16/i64/u8 tensors, names unique; metadata may be empty */
textinv_status ti_safetensors_write(ti_error *error, const char *path, const ti_tensor *tensors,
                                    size_t count, const ti_key_value *metadata,
                                    size_t num_metadata);
/* the same, or into memory in place of path when it is not NULL */
textinv_status ti_safetensors_write_to(ti_memory_file *memory, ti_error *error, const char *path,
                                       const ti_tensor *tensors, size_t count,
                                       const ti_key_value *metadata, size_t num_metadata);

#endif /* TI_SAFETENSORS_H */
