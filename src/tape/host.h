/*
 * What a run borrows from the thread that calls it, and gives back: OpenMP's settings and the
 * floating-point environment, which a host may have changed (rounding, flushed denormals, traps).
 */
#ifndef TI_HOST_H
#define TI_HOST_H

#include <fenv.h>

#include "error.h"

typedef struct ti_host {
  int threads, dynamic;
  fenv_t environment; /* of the thread that calls */
} ti_host;

/* as many of the threads asked for as the system allows, at least 1: OpenMP's runtime would end the
 * process where one cannot be made */
int ti_host_threads(int wanted);

/* from here on teams have so many threads, with the default floating-point environment */
textinv_status ti_host_enter(ti_host *host, ti_error *error, int threads);
void ti_host_leave(const ti_host *host);

#endif /* TI_HOST_H */
