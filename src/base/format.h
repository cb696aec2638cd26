/*
 * Text from values, in the C locale whatever the host's locale is.
 *
 *   %s %.*s  string (NULL = "(null)")       %c  character      %%  percent sign
 *   %d %u    int, unsigned                  %ld %lu %lld %llu %zu  wider integers
 *   %x %llx  hexadecimal, also %08x %016llx
 *   %g       double, shortest of up to 6 significant digits; %.Ng N digits
 *
 * A width pads on the left with spaces, or with zeros when it begins with 0.
 */
#ifndef TI_FORMAT_H
#define TI_FORMAT_H

#include <stdarg.h>
#include <stddef.h>

/* write at most size bytes with the final 0, return the length that the whole text has */
size_t ti_format(char *out, size_t size, const char *fmt, ...);
size_t ti_vformat(char *out, size_t size, const char *fmt, va_list ap);

/* shortest decimal text that reads back as the same value; returns its length (< 32) */
size_t ti_format_float(char out[32], float value);
size_t ti_format_double(char out[32], double value);

#endif /* TI_FORMAT_H */
