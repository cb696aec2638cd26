/* Inside of the pickle interpreter: torch_pickle.c runs opcodes, torch_pickle_objects.c knows
 * names. */
#ifndef TI_TORCH_PICKLE_MACHINE_H
#define TI_TORCH_PICKLE_MACHINE_H

#include "torch_pickle.h"

typedef struct ti_pickle_chunk {
  struct ti_pickle_chunk *next;
  size_t used, size;
  _Alignas(16) unsigned char bytes[];
} ti_pickle_chunk;

struct ti_pickle {
  ti_pickle_chunk *chunks;
  ti_pickle_value *root;
  ti_pickle_value none, yes, no, empty, mark; /* shared by all who need them */
};

typedef struct ti_pickle_machine {
  const unsigned char *bytes;
  size_t size, at, start; /* start of the opcode at hand */
  const char *name;
  ti_error *error;
  ti_pickle *pickle;
  ti_pickle_value **stack, **memo;
  size_t depth, stack_capacity, memo_size, memoized, values, taken;
  int stopped;
} ti_pickle_machine;

/* "PATH: pickle byte N: ..." */
textinv_status ti_pickle_fail(const ti_pickle_machine *m, textinv_status status, const char *fmt,
                              ...);

/* zeroed; TEXTINV_E_LIMIT when all that is taken is out of proportion to the bytes of the pickle */
textinv_status ti_pickle_take(ti_pickle_machine *m, void **out, size_t size);
textinv_status ti_pickle_new(ti_pickle_machine *m, ti_pickle_kind kind, ti_pickle_value **out);
textinv_status ti_pickle_add(ti_pickle_machine *m, ti_pickle_value *list, ti_pickle_value *item);
textinv_status ti_pickle_push(ti_pickle_machine *m, ti_pickle_value *v);
textinv_status ti_pickle_top(const ti_pickle_machine *m, ti_pickle_value **out); /* no mark */
textinv_status ti_pickle_pop(ti_pickle_machine *m, ti_pickle_value **out);

/* GLOBAL, BINPERSID, REDUCE, NEWOBJ and BUILD */
textinv_status ti_pickle_global(ti_pickle_machine *m, const char *module, const char *name);
textinv_status ti_pickle_storage(ti_pickle_machine *m);
textinv_status ti_pickle_reduce(ti_pickle_machine *m);
textinv_status ti_pickle_object(ti_pickle_machine *m);
textinv_status ti_pickle_build(ti_pickle_machine *m);

#endif /* TI_TORCH_PICKLE_MACHINE_H */
