/*
 * A model in one file, as people pass them on: a safetensors file or one of torch (.ckpt) with the
 * names of the programs that trained it, LDM for SD 1.x and SD 2.x, SGM for SDXL. These calls give
 * it out as if it were a folder of diffusers: the configs follow from the shapes of its tensors.
 */
#ifndef TI_SINGLE_FILE_H
#define TI_SINGLE_FILE_H

#include "json.h"
#include "tensor_file.h"

typedef struct ti_single_file ti_single_file;

/* refuses whatever is no whole SD 1.x, SD 2.x or SDXL base, and says what it is */
textinv_status ti_single_file_open(ti_single_file **out, ti_error *error, const char *path);
/* the same for bytes in memory, which must outlive it; name stands for the path in messages */
textinv_status ti_single_file_parse(ti_single_file **out, ti_error *error, const char *name,
                                    const void *bytes, size_t size);
void ti_single_file_close(ti_single_file *file); /* NULL is allowed */

/* what model_index.json would say */
textinv_status ti_single_file_index(const ti_single_file *file, ti_error *error, ti_json *out);
/* what the config of "unet", "vae", "text_encoder", "text_encoder_2" or "scheduler" would say */
textinv_status ti_single_file_config(const ti_single_file *file, ti_error *error,
                                     const char *component, ti_json *out);
/* the token that fills prompts of a text encoder */
const char *ti_single_file_pad(const ti_single_file *file, int encoder);

/* tensors that lie in an open file, but for their names and for copy */
typedef struct ti_tensor_list {
  ti_tensor *items;
  size_t count;
  void *copy; /* of one that is transposed */
} ti_tensor_list;

/* the weights of "unet", "vae", "text_encoder" or "text_encoder_2" under diffusers' names; they are
 * valid while file is open */
textinv_status ti_single_file_tensors(ti_single_file *file, ti_error *error, const char *component,
                                      ti_tensor_list *out);
void ti_tensor_list_free(ti_tensor_list *list); /* safe on a zeroed struct */

#endif /* TI_SINGLE_FILE_H */
