/* Fibers: stacks of their own within one host thread, known to the sanitizers. */
#ifndef TI_FIBERS_H
#define TI_FIBERS_H

#include <stddef.h>

typedef struct fiber fiber;

/* a fiber that runs entry(argument) when first resumed; entry never returns but by fiber_exit */
fiber *fiber_new(size_t stack_bytes);
void fiber_start(fiber *f, void (*entry)(void *), void *argument);

/* from the scheduler: run f until it yields or ends */
void fiber_resume(fiber *f);
/* from a fiber: back to the scheduler */
void fiber_yield(void);
int fiber_done(const fiber *f);

/* for the race detector: what happened before a release of sync happens before a later acquire */
void fiber_release(void *sync);
void fiber_acquire(void *sync);

#endif /* TI_FIBERS_H */
