/* Running an operation over one of its inputs, for the tests of norms. */
#ifndef TI_IN_PLACE_H
#define TI_IN_PLACE_H

#include "harness.h"

/* run with its first output lying over input at; nothing is run where there is none */
static textinv_status run_over(op_run run, int at, const op *o, const ti_kernels *k, ti_exec *e,
                               ti_dtype dtype, void **out, void **in)
{
  void *inputs[MAX_TENSORS];

  if (!in[at])
    return TEXTINV_OK;
  memcpy(inputs, in, sizeof(inputs));
  memcpy(out[0], in[at], o->in[at].count * ti_dtype_size(dtype));
  inputs[at] = out[0];
  return run(o, k, e, dtype, out, inputs);
}

#endif /* TI_IN_PLACE_H */
