/* UTF-8: strict checks, and cuts that leave characters whole. */
#ifndef TI_UTF8_H
#define TI_UTF8_H

#include <stddef.h>

/* 1 when bytes are UTF-8 without overlong forms, surrogates or values above 10FFFF */
int ti_utf8_valid(const void *bytes, size_t size);

/* length of s cut to at most limit bytes, not within a character; for "%.*s" */
int ti_utf8_cut(const char *s, size_t limit);

/* write code point c (no surrogate, at most 10FFFF), return the bytes written: 1..4 */
size_t ti_utf8_put(char *out, unsigned c);

#endif /* TI_UTF8_H */
