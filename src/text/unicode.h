/* Text as code points, and what the tokenizers library says of them. */
#ifndef TI_UNICODE_H
#define TI_UNICODE_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum { TI_TEXT_MAX_BYTES = 1 << 24 };

/* code points, for tables in rising order; shift is the table's own matter */
typedef struct ti_range {
  int32_t first, last, shift;
} ti_range;

#define TI_RANGES(table) (sizeof(table) / sizeof(*(table)))

/* NULL = c is in none */
const ti_range *ti_range_find(const ti_range *table, size_t count, int32_t c);

int ti_unicode_is_space(int32_t c);
/* a mark that the library's canonical order and composition do not know */
int ti_unicode_is_new_mark(int32_t c);

/* next code point of valid UTF-8, returns its bytes */
size_t ti_text_next(int32_t *c, const char *text);
/* c in lower case, returns the bytes written: at most 4 */
size_t ti_text_put_lower(char *out, int32_t c);

/* a copy in which every maximal invalid part is U+FFFD; ti_free() it */
textinv_status ti_text_repair(char **out, size_t *out_len, ti_error *error, const char *text,
                              size_t len);
/* NFD of valid UTF-8; ti_free() it */
textinv_status ti_text_decompose(int32_t **out, size_t *count, ti_error *error, const char *text,
                                 size_t len);

#endif /* TI_UNICODE_H */
