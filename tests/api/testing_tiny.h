/* For tests of the API that work on the tiny model: it and a session, open for a whole group. */
#ifndef TI_TESTING_TINY_H
#define TI_TESTING_TINY_H

#include "testing_api.h"
#include "tiny_model.h"

static textinv_model *model;

static int open_tiny(void **state)
{
  (void)state;
  if (textinv_session_new(&session, NULL) < 0)
    return -1;
  must(textinv_model_open(&model, session, tiny_model()));
  return 0;
}

static int close_tiny(void **state)
{
  (void)state;
  textinv_model_free(model);
  textinv_session_free(session);
  return 0;
}

#endif /* TI_TESTING_TINY_H */
