/*
 * Pictures of the AUTOMATIC1111 web UI that hold an embedding: the dict of its .pt file as JSON,
 * with {"TORCHTENSOR": nested lists} for a tensor.
 */
#ifndef TI_EMBEDDING_IMAGE_H
#define TI_EMBEDDING_IMAGE_H

#include "image.h"
#include "json.h"
#include "tensor_file.h"

#define TI_EMBEDDING_KEY "sd-ti-embedding" /* of the text in a PNG file */

/* the JSON of a PNG file, ti_free() it: from its text, else from its pixels; NULL and
 * TEXTINV_E_UNSUPPORTED for a picture that has none */
textinv_status ti_embedding_image_read(char **out, size_t *size, ti_error *error, const char *name,
                                       const void *bytes, size_t bytes_size);
/* what the pixels alone hide; NULL and TEXTINV_OK when that is nothing */
textinv_status ti_embedding_image_reveal(char **out, size_t *size, ti_error *error,
                                         const char *name, const ti_image *image);

/* the tensors of an object, whose keys are their names; ti_embedding_json_free() them, after a
 * failure as well. Other values are left */
textinv_status ti_embedding_json_tensors(ti_tensor **out, size_t *count, ti_error *error,
                                         const char *name, json_t *object);
void ti_embedding_json_free(ti_tensor *tensors, size_t count);

#endif /* TI_EMBEDDING_IMAGE_H */
