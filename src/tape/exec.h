/* Running a planned tape: prepared kernels, one arena, one switch from record to kernel table. */
#ifndef TI_EXEC_H
#define TI_EXEC_H

#include <stdatomic.h>

#include "device.h"
#include "tape.h"

/* memory of a session for all its plans, one at a time; grows to the largest */
typedef struct ti_arena {
  void *data;
  size_t bytes;
  int sparse; /* of a device: few pages are ever touched, so no memory is set aside */
} ti_arena;

typedef struct ti_plan {
  ti_tape tape;
  const ti_kernels *kernels;
  size_t scratch_bytes; /* behind the values in the arena */
  ti_team *team;
  ti_device *device; /* NULL = the CPU; set before ti_plan_prepare() */
  /* device: the whole plan and what follows the constants, each captured by its first run */
  ti_cuda_graph *graphs[2];
  const void *graph_arena; /* where the device's arena lay then */
} ti_plan;

/* plan->tape is recorded, with its backward pass where one is wanted; team runs it, NULL = the
 * caller alone, and stays the plan's */
textinv_status ti_plan_prepare(ti_plan *plan, const ti_kernels *kernels, ti_team *team);
void ti_plan_free(ti_plan *plan);          /* safe on a zeroed struct */
size_t ti_plan_bytes(const ti_plan *plan); /* arena that a run needs */

/* make room, to be called before ti_plan_data() */
textinv_status ti_arena_reserve(ti_arena *arena, ti_error *error, size_t bytes);
void ti_arena_free(ti_arena *arena);

/*
 * Where value v lies. Inputs are written before every run (their storage is used again during it),
 * constants only before one that is not `again`; outputs are read after it.
 */
void *ti_plan_data(const ti_plan *plan, const ti_arena *arena, ti_val v);

/*
 * On a device the values have the same offsets in its own arena: inputs are copied there before the
 * launch of the graph and outputs back behind it; of the host's arena no other page is touched.
 *
 * again: constants are those of the last run, and no other plan has used the arena since: what
 * depends on them alone is not computed again.
 * cancel may be NULL; polled between records, on a device before the launch.
 */
textinv_status ti_plan_run(ti_plan *plan, const ti_arena *arena, int again,
                           const atomic_int *cancel);

/* the kernels of the plan from record `first` on, without inputs and outputs, on its device's
 * stream, whose context is current; the arena is large enough */
textinv_status ti_plan_launch(const ti_plan *plan, int first);

#endif /* TI_EXEC_H */
