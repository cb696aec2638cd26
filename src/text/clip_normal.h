/* CLIP's text before it is split: NFC, white space runs as one space, lower case. */
#ifndef TI_CLIP_NORMAL_H
#define TI_CLIP_NORMAL_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

typedef enum { TI_CLIP_SPACE, TI_CLIP_LETTER, TI_CLIP_NUMBER, TI_CLIP_OTHER } ti_clip_class;

/* what \s \p{L} \p{N} say of a code point */
ti_clip_class ti_clip_class_of(int32_t c);

/*
 * of valid UTF-8; ti_free() it. *written, where it is asked for, [*out_len]: the code points before
 * they became lower case, where the bytes of each begin, 0 elsewhere; ti_free() it, too.
 */
textinv_status ti_clip_normalize(char **out, size_t *out_len, int32_t **written, ti_error *error,
                                 const char *text, size_t len);

#endif /* TI_CLIP_NORMAL_H */
