/* Errors: the message is set once, where it arises, and the status is passed up. */
#ifndef TI_ERROR_H
#define TI_ERROR_H

#include <stdarg.h>

#include "textinv/textinv.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TI_ERROR_SIZE 512

/* one line, "" when nothing failed */
typedef struct ti_error {
  char text[TI_ERROR_SIZE];
} ti_error;

/*
 * Set the message and return status. fmt is that of ti_format(). e may be NULL. A message too long
 * is cut at a character boundary; control characters become '?'.
 */
textinv_status ti_fail(ti_error *e, textinv_status status, const char *fmt, ...);

/* "out of memory: N bytes for WHAT" */
textinv_status ti_fail_nomem(ti_error *e, size_t bytes, const char *what);

/* control characters, which a path may hold, become '?' */
void ti_one_line(char *text);

/* one line of at most TI_ERROR_SIZE bytes, cut and cleaned as ti_fail() does */
void ti_format_line(char line[TI_ERROR_SIZE], const char *fmt, va_list ap);

/* "PATH: WHAT: text of errno", TEXTINV_E_NOT_FOUND for ENOENT, else TEXTINV_E_IO */
textinv_status ti_fail_errno(ti_error *e, int error_number, const char *path, const char *what);

#ifdef __cplusplus
}
#endif

#endif /* TI_ERROR_H */
