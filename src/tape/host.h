/*
 * What a run borrows from the thread that calls it, and gives back: the floating-point environment,
 * which a host may have changed (rounding, flushed denormals, traps).
 */
#ifndef TI_HOST_H
#define TI_HOST_H

#include <fenv.h>

#include "team.h"

typedef fenv_t ti_host;

/* from here on the thread has the default environment, as the team's threads have; team may be NULL
 */
static inline void ti_host_enter(ti_host *host, ti_team *team)
{
  fegetenv(host);
  fesetenv(FE_DFL_ENV);
  ti_team_enter(team);
}

static inline void ti_host_leave(const ti_host *host)
{
  fesetenv(host);
}

#endif /* TI_HOST_H */
