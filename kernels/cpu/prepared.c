/* Running prepared records. */
#include "prepared.h"

#include "alloc.h"
#include "cpu.h"

static textinv_status run(ti_exec *e, void *y, const void *x, const float *bias,
                          const void *residual)
{
  const ti_prepared *p = e->prepared;

  return p->run(p, e, y, x, bias, residual);
}

static textinv_status conv2d_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x, const void *w,
                                 const float *bias, const void *residual, const ti_conv2d_shape *s)
{
  return e->prepared ? run(e, y, x, bias, residual)
                     : ti_cpu_conv2d_fwd(e, dtype, y, x, w, bias, residual, s);
}

static textinv_status conv2d_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                 const void *w, const void *other, const ti_conv2d_shape *s)
{
  return e->prepared ? run(e, dx, dy, NULL, other)
                     : ti_cpu_conv2d_bwd(e, dtype, dx, dy, w, other, s);
}

static textinv_status linear_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x, const void *w,
                                 const float *bias, const void *residual, const ti_linear_shape *s)
{
  return e->prepared ? run(e, y, x, bias, residual)
                     : ti_cpu_linear_fwd(e, dtype, y, x, w, bias, residual, s);
}

static textinv_status linear_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                 const void *w, const void *other, const ti_linear_shape *s)
{
  return e->prepared ? run(e, dx, dy, NULL, other)
                     : ti_cpu_linear_bwd(e, dtype, dx, dy, w, other, s);
}

static void release(void *prepared)
{
  ti_prepared *p = prepared;

  if (p && p->release)
    p->release(p);
  else
    ti_free(p);
}

void ti_prepared_install(ti_kernels *k)
{
  k->release = release;
  k->conv2d_fwd = conv2d_fwd;
  k->conv2d_bwd = conv2d_bwd;
  k->linear_fwd = linear_fwd;
  k->linear_bwd = linear_bwd;
}
