/* Prompts in which brackets weigh, in the notation of AUTOMATIC1111's web UI. */
#ifndef TI_WEIGHTED_TEXT_H
#define TI_WEIGHTED_TEXT_H

#include <stddef.h>

#include "error.h"

/* a piece of text that weighs the same */
typedef struct ti_text_run {
  size_t from, len;
  double weight;
} ti_text_run;

typedef struct ti_weighted_text {
  char *text; /* without what is notation */
  ti_text_run *runs;
  size_t count;
} ti_weighted_text;

/*
 * (text) weighs 1.1 times as much, (text:1.3) 1.3 times, [text] 1 / 1.1 times, each within others;
 * \( \) \[ \] \\ are the characters. A bracket that is not closed weighs all that follows, one that
 * was not opened is text. A weight beyond -1000..1000 is INVALID. out is freed by
 * ti_weighted_text_free() after a success.
 */
textinv_status ti_weighted_text_parse(ti_weighted_text *out, ti_error *error, const char *text,
                                      size_t len);
void ti_weighted_text_free(ti_weighted_text *t);

#endif /* TI_WEIGHTED_TEXT_H */
