/* 8-bit RGB pictures: PNG and JPEG files, and Pillow's resize. */
#ifndef TI_IMAGE_H
#define TI_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "atomic_file.h"

enum { TI_IMAGE_MAX_SIDE = 16384, TI_IMAGE_MAX_PIXELS = 1 << 26, TI_IMAGE_MAX_BYTES = 256 << 20 };

typedef struct ti_image {
  int width, height;
  uint8_t *pixels; /* [height, width, 3]; ti_free() */
} ti_image;

/* by content; upright; alpha over white; grey and palette expanded; 16 bits rounded */
textinv_status ti_image_read(ti_image *out, ti_error *error, const char *path);
/* bytes in memory; name stands for the path in messages */
textinv_status ti_image_decode(ti_image *out, ti_error *error, const char *name, const void *bytes,
                               size_t size);
/* of a PNG that was decoded; as ti_png_parameters(), NULL for any other picture */
void ti_image_parameters(const char **text, size_t *length, int *is_latin1, const void *bytes,
                         size_t size);
void ti_image_free(ti_image *image); /* safe on a zeroed struct */

/* PNG, atomically; parameters = text of the chunk of that name (tEXt, or iTXt when it is not
 * latin-1), NULL = none */
textinv_status ti_image_write_png(ti_error *error, const char *path, int width, int height,
                                  const uint8_t *pixels, const char *parameters);
/* the same, or into memory in place of path when it is not NULL */
textinv_status ti_image_write_png_to(ti_memory_file *memory, ti_error *error, const char *path,
                                     int width, int height, const uint8_t *pixels,
                                     const char *parameters);

typedef enum { TI_BICUBIC, TI_LANCZOS } ti_filter;

/* Pillow's Image.crop(box).resize(size, filter), antialiased, bit for bit; the box is [left, top,
   left + box_w, top + box_h) and lies in the picture */
textinv_status ti_image_resize(ti_image *out, ti_error *error, const ti_image *in, ti_filter filter,
                               int left, int top, int box_w, int box_h, int width, int height);

/* sorted paths of the regular files in a folder whose content is PNG or JPEG; ti_free() each and
 * the array. left_out counts files that are named like pictures and hold neither */
textinv_status ti_image_list(char ***paths, size_t *count, size_t *left_out, ti_error *error,
                             const char *folder);

#endif /* TI_IMAGE_H */
