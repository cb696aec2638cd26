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
  void (*release)(ti_prepared *p);
};

/* the entries of a table with prepared records; records without one go to the reference */
textinv_status ti_prepared_conv2d_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                      const void *w, const float *bias, const void *residual,
                                      const ti_conv2d_shape *s);
textinv_status ti_prepared_conv2d_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                      const void *w, const void *other, const ti_conv2d_shape *s);
textinv_status ti_prepared_linear_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                      const void *w, const float *bias, const void *residual,
                                      const ti_linear_shape *s);
textinv_status ti_prepared_linear_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                      const void *w, const void *other, const ti_linear_shape *s);

/* set them in k, behind prepare entries that are set already */
void ti_prepared_install(ti_kernels *k);

#endif /* TI_PREPARED_H */
