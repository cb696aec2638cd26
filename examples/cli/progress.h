/* Progress on stderr: a bar on a terminal, a line every ten seconds elsewhere, or JSON for
 * programs. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <textinv/textinv.h>

#include "options.h"

enum { PROGRESS_AUTO, PROGRESS_BAR, PROGRESS_PLAIN, PROGRESS_JSON, PROGRESS_NONE };

extern const cli_choice progress_choices[];

typedef struct progress_state {
  int32_t mode;
  char phase[16];
  uint32_t first, last; /* steps before this process began the phase, and at the last call */
  double rate;          /* steps a second, averaged */
  double seconds;       /* at the last call */
  double drawn;         /* clock when something was last written */
  int open;             /* a bar stands on the current line */
} progress_state;

void progress_init(progress_state *p, int32_t mode, int quiet);

/* a textinv_progress_fn; user is a progress_state. Never cancels */
int32_t progress_update(void *user, const textinv_progress *progress);

/* leave the line of the bar, so that something else can be written */
void progress_end(progress_state *p);

#endif /* CLI_PROGRESS_H */
