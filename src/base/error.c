/* Errors: the message is set once, where it arises. */
#include "error.h"

#include <string.h>

#include "format.h"

void ti_one_line(char *text)
{
  for (; *text; text++) {
    const unsigned char c = (unsigned char)text[0], next = (unsigned char)text[1];

    if (c == 0xc2 && next >= 0x80 && next < 0xa0) /* C1, as two bytes of UTF-8 */
      text[0] = text[1] = '?';
    else if (c < 0x20 || c == 0x7f)
      text[0] = '?';
  }
}

void ti_format_line(char line[TI_ERROR_SIZE], const char *fmt, va_list ap)
{
  /* a cut line ends before the character that did not fit */
  if (ti_vformat(line, TI_ERROR_SIZE, fmt, ap) >= TI_ERROR_SIZE) {
    size_t end = TI_ERROR_SIZE - 1;

    while (end > 0 && ((unsigned char)line[end - 1] & 0xc0) == 0x80)
      end--;
    if (end > 0 && (unsigned char)line[end - 1] >= 0xc0)
      end--;
    else
      end = TI_ERROR_SIZE - 1;
    line[end] = '\0';
  }
  ti_one_line(line);
}

textinv_status ti_fail(ti_error *e, textinv_status status, const char *fmt, ...)
{
  va_list ap;

  if (!e)
    return status;
  va_start(ap, fmt);
  ti_format_line(e->text, fmt, ap);
  va_end(ap);
  return status;
}

textinv_status ti_fail_nomem(ti_error *e, size_t bytes, const char *what)
{
  return ti_fail(e, TEXTINV_E_NOMEM, "out of memory: %zu bytes for %s", bytes, what);
}

textinv_status ti_fail_errno(ti_error *e, int error_number, const char *path, const char *what)
{
  char buffer[128];
  const textinv_status status = error_number == 2 /* ENOENT */ ? TEXTINV_E_NOT_FOUND : TEXTINV_E_IO;

  return ti_fail(e, status, "%s: %s: %s", path, what,
                 strerror_r(error_number, buffer, sizeof(buffer)));
}
