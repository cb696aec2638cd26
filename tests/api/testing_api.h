/* What the tests of the API share: one session, and checks of status and message. */
#ifndef TI_TESTING_API_H
#define TI_TESTING_API_H

#include "testing.h"

#include <stdio.h>
#include <string.h>

#include "textinv/textinv.h"

static textinv_session *session;

static inline int session_setup(void **state)
{
  (void)state;
  return textinv_session_new(&session, NULL) < 0 ? -1 : 0;
}

static inline int session_teardown(void **state)
{
  (void)state;
  textinv_session_free(session);
  return 0;
}

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

/* warnings since listen(), and the last line that is none */
static struct {
  int count;
  char last[1024], told[1024];
} heard;

static inline void hear(void *user, textinv_log_level level, const char *line)
{
  (void)user;
  if (level == TEXTINV_LOG_WARNING) {
    heard.count++;
    snprintf(heard.last, sizeof(heard.last), "%s", line);
  } else {
    snprintf(heard.told, sizeof(heard.told), "%s", line);
  }
}

/* a session whose warnings are heard takes the place of the one that is returned */
static inline textinv_session *listen(void)
{
  textinv_session *const quiet = session;
  textinv_session_params p;

  must(textinv_session_params_init(&p, sizeof(p)));
  p.log = hear;
  must(textinv_session_new(&session, &p));
  memset(&heard, 0, sizeof(heard));
  return quiet;
}

/* the end of that */
static inline void hush(textinv_session *quiet)
{
  textinv_session_free(session);
  session = quiet;
}

static inline textinv_model *open_model(const char *folder)
{
  textinv_model *model;

  must(textinv_model_open(&model, session, folder));
  return model;
}

static inline textinv_embeddings *new_words(void)
{
  textinv_embeddings *e;

  must(textinv_embeddings_new(&e, session));
  return e;
}

#endif /* TI_TESTING_API_H */
