/*
 * Convolution over NHWC as a matrix product. Formulas: kernels/cpu/conv2d.c; products: gemm.cu,
 * conv2d_hopper.cu; cuDNN: conv2d_cudnn.cu.
 */
#include <assert.h>
#include <stdlib.h>

#include "conv2d_cudnn.h"

/* the weights on the device: as conv2d_hopper.cu wants them, or as [cout, kh, kw, cin] */
struct prepared_conv2d {
  const void *w;
  int hopper;
  const ti_cudnn_plan *cudnn; /* NULL: own kernels */
  const void *bias;           /* of the storage type, for cuDNN */
};

static gemm_problem problem_of(const ti_conv2d_shape *s, int backward)
{
  gemm_problem p = {};

  p.n = backward ? s->cin : s->cout;
  p.channels = backward ? s->cout : s->cin;
  p.h = backward ? s->oh : s->h;
  p.w = backward ? s->ow : s->w;
  p.out_h = backward ? s->h : s->oh;
  p.out_w = backward ? s->w : s->ow;
  p.m = s->n * p.out_h * p.out_w;
  p.kh = s->kh;
  p.kw = s->kw;
  p.k = s->kh * s->kw * p.channels * (backward ? s->up * s->up : 1);
  p.stride = s->stride;
  p.up = s->up;
  p.pad_top = s->pad_top;
  p.pad_left = s->pad_left;
  p.parity = backward && s->kh == 3 && s->kw == 3 && s->stride == 2 && s->up == 1 &&
             s->h % 2 == 0 && s->w % 2 == 0;
  return p;
}

extern "C" textinv_status ti_cuda_conv2d_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                                 size_t *scratch_bytes, ti_weight *w,
                                                 ti_weight *bias, const ti_conv2d_shape *s,
                                                 int has_residual, int backward)
{
  const gemm_problem p = problem_of(s, backward);
  const int cudnn = dtype != TI_F32 && s->up == 1 && ti_cudnn_is_on((ti_cuda *)e->device);
  ti_cuda_layout layout = TI_CUDA_CHANNELS_LAST;
  size_t scratch;
  prepared_conv2d *c;
  textinv_status status;

  *prepared = NULL;
  c = (prepared_conv2d *)calloc(1, sizeof(*c));
  if (!c)
    return ti_fail_nomem(e->error, sizeof(*c), w->name);
  c->hopper = !cudnn && ti_conv2d_hopper_takes(e, dtype, s);
  if (c->hopper)
    layout = s->up > 1 ? TI_CUDA_MERGED : TI_CUDA_TILED;
  status = ti_cuda_weight(e, &c->w, w, dtype, layout);
  if (status >= 0 && cudnn)
    status = ti_cudnn_prepare(e, dtype, &c->cudnn, scratch_bytes, s, bias != NULL, has_residual,
                              backward);
  if (status >= 0 && c->cudnn && bias)
    status = ti_cuda_weight(e, &c->bias, bias, dtype, TI_CUDA_PLAIN);
  if (status < 0) {
    free(c);
    return status;
  }
  scratch = c->hopper ? ti_conv2d_hopper_scratch(e, p, backward)
                      : ti_cuda_gemm_scratch(e, dtype, &p);
  if (scratch > *scratch_bytes)
    *scratch_bytes = scratch;
  *prepared = c;
  return TEXTINV_OK;
}

extern "C" void ti_cuda_release(void *prepared)
{
  free(prepared);
}

static textinv_status run(ti_exec *e, const char *name, ti_dtype dtype, gemm_buffers io,
                          const ti_conv2d_shape *s, int backward)
{
  const prepared_conv2d *c = (const prepared_conv2d *)e->prepared;

  if (!c)
    return ti_fail(e->error, TEXTINV_E_INVALID, "%s: the record was not prepared", name);
  io.b = c->w;
  assert(!c->cudnn || !io.bias == !c->bias);
  if (c->cudnn)
    return ti_cudnn_run(e, name, c->cudnn, &io, c->bias);
  assert(!c->hopper || ti_gemm_hopper_fits(&io));
  return c->hopper ? ti_conv2d_hopper(e, name, dtype, io, problem_of(s, backward), backward)
                   : ti_cuda_gemm(e, name, dtype, io, problem_of(s, backward), backward);
}

extern "C" textinv_status ti_cuda_conv2d_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                             const void *w, const float *bias,
                                             const void *residual, const ti_conv2d_shape *s)
{
  gemm_buffers io = {};

  (void)w; /* the prepared form is used */
  io.a = x;
  io.y = y;
  io.bias = bias;
  io.residual = residual;
  return run(e, "conv2d_fwd", dtype, io, s, 0);
}

extern "C" textinv_status ti_cuda_conv2d_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                             const void *w, const void *other,
                                             const ti_conv2d_shape *s)
{
  gemm_buffers io = {};

  (void)w;
  io.a = dy;
  io.y = dx;
  io.residual = other;
  return run(e, "conv2d_bwd", dtype, io, s, 1);
}
