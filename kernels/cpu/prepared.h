/*
 * What the prepare entries make, whichever backend made it: conv2d and linear, forward and
 * backward, are all "y from x with weights fixed at prepare time".
 */
#ifndef TI_PREPARED_H
#define TI_PREPARED_H

#include "kernels.h"

typedef struct ti_prepared ti_prepared;

struct ti_prepared {
  /* backward: bias is NULL, residual the gradient that is added */
  textinv_status (*run)(const ti_prepared *p, ti_exec *e, void *y, const void *x,
                        const float *bias, const void *residual);
  void (*release)(ti_prepared *p); /* NULL: it is freed as it is */
};

/* set the entries that run prepared records in k, behind prepare entries that are set already; what
 * has no record goes to the reference */
void ti_prepared_install(ti_kernels *k);

#endif /* TI_PREPARED_H */
