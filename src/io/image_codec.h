/* The picture formats behind image.h. */
#ifndef TI_IMAGE_CODEC_H
#define TI_IMAGE_CODEC_H

#include "image.h"

int ti_png_check(const void *bytes, size_t size); /* begins like a PNG file */
int ti_jpeg_check(const void *bytes, size_t size);

/* as the file has them: not yet turned upright; *orientation is that of EXIF, 1..8 */
textinv_status ti_png_decode(ti_image *out, int *orientation, ti_error *error, const char *name,
                             const void *bytes, size_t size);
textinv_status ti_jpeg_decode(ti_image *out, int *orientation, ti_error *error, const char *name,
                              const void *bytes, size_t size);

/* the text of the first tEXt chunk with that key, in place and without a final 0; NULL when there
 * is none. All chunks are checked */
textinv_status ti_png_text(const char **text, size_t *length, ti_error *error, const char *name,
                           const void *bytes, size_t size, const char *key);

/* the text "parameters" that web UIs and ti_image_write_png() write, in place and without a final
 * 0: a tEXt chunk, which is latin-1, or an iTXt chunk that is not compressed; NULL when there is
 * none */
void ti_png_parameters(const char **text, size_t *length, int *is_latin1, const void *bytes,
                       size_t size);

/* TEXTINV_E_LIMIT beyond TI_IMAGE_MAX_SIDE or TI_IMAGE_MAX_PIXELS, TEXTINV_E_FORMAT below 1 */
textinv_status ti_image_check_size(ti_error *error, const char *name, uint64_t width,
                                   uint64_t height);

/* room for the pixels, not set; the size has been checked */
textinv_status ti_image_alloc(ti_image *out, ti_error *error, const char *name, int width,
                              int height);

/* value of the orientation tag in a TIFF header with its first folder; 1 for anything odd */
int ti_exif_orientation(const void *tiff, size_t size);

#endif /* TI_IMAGE_CODEC_H */
