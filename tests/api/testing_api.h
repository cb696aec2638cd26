/* What the tests of the API share: one session, and checks of status and message. */
#ifndef TI_TESTING_API_H
#define TI_TESTING_API_H

#include "testing.h"

#include <string.h>

#include "textinv/textinv.h"

static textinv_session *session;

static inline void must(textinv_status status)
{
  if (status < 0)
    fail_msg("%s: %s", textinv_status_name(status), textinv_session_error(session));
}

/* the call failed with this status, and its message has this part */
static inline void refused(textinv_status met, textinv_status expected, const char *part)
{
  if (met != expected || !strstr(textinv_session_error(session), part))
    fail_msg("%s: \"%s\"; expected %s with \"%s\"", textinv_status_name(met),
             textinv_session_error(session), textinv_status_name(expected), part);
}

static inline textinv_embeddings *new_words(void)
{
  textinv_embeddings *e;

  must(textinv_embeddings_new(&e, session));
  return e;
}

#endif /* TI_TESTING_API_H */
