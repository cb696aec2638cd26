/* A session of the fuzzed calls: zeroed memory that keeps the last error. */
#include "api.h"

ti_error *ti_begin(textinv_session *s)
{
  s->error.text[0] = '\0';
  return &s->error;
}

void ti_log(const textinv_session *s, textinv_log_level level, const char *fmt, ...)
{
  (void)s;
  (void)level;
  (void)fmt;
}
