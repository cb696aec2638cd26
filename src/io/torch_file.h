/* Files of torch.save(): zip archives with a pickle and the storages of its tensors. */
#ifndef TI_TORCH_FILE_H
#define TI_TORCH_FILE_H

#include "atomic_file.h"
#include "torch_pickle.h"

typedef struct ti_torch_file ti_torch_file;

int ti_torch_check(const void *bytes, size_t size); /* begins like a file of torch.save() */
/* begins like one of torch before 1.6, or like a bare pickle: neither is read */
int ti_torch_check_old(const void *bytes, size_t size);

textinv_status ti_torch_open(ti_torch_file **out, ti_error *error, const char *path);
/* the same for bytes in memory, which must outlive it; name stands for the path in messages */
textinv_status ti_torch_parse(ti_torch_file **out, ti_error *error, const char *name,
                              const void *bytes, size_t size);
void ti_torch_close(ti_torch_file *file);

const ti_pickle_value *ti_torch_root(const ti_torch_file *file);

/* a value of kind TENSOR without its data */
void ti_torch_describe(const char *name, const ti_pickle_value *value, ti_tensor *out);
/* the contiguous tensor of a value of kind TENSOR; its data are owned by the file */
textinv_status ti_torch_load(ti_torch_file *file, ti_error *error, const char *name,
                             const ti_pickle_value *value, ti_tensor *out);

/* a dict {name: tensor}, or the one under "state_dict" */
textinv_status ti_torch_dict(const ti_torch_file *file, ti_error *error,
                             const ti_pickle_value **out);
/* read all of it; entries that are no tensors are left */
textinv_status ti_torch_load_all(ti_torch_file *file, ti_error *error);
size_t ti_torch_count(const ti_torch_file *file);
const ti_tensor *ti_torch_tensor(const ti_torch_file *file, size_t i);

/*
 * Write {"string_to_token": {"*": 265}, "string_to_param": {"*": [num_vectors, dim]}, "name": word,
 * "step": step or None, "sd_checkpoint": model, "sd_checkpoint_name": model_name} atomically, the
 * layout of the AUTOMATIC1111 web UI. Both may be NULL for None, as over 1024 bytes are. No member
 * that its loader does not know ("byteorder") is written. Into memory in place of path when it is
 * not NULL.
 */
textinv_status ti_torch_write_a1111(ti_memory_file *memory, ti_error *error, const char *path,
                                    const char *word, long long step, const char *model,
                                    const char *model_name, int num_vectors, int dim,
                                    const float *rows);

#endif /* TI_TORCH_FILE_H */
