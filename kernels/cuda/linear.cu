/*
 * Linear layers: a product of cuBLASLt where it is installed, else a convolution of one pixel.
 * Formulas: kernels/cpu/linear.c; products: cublas.cu, gemm.cu.
 */
#include "cublas.h"

static gemm_problem problem_of(const ti_linear_shape *s, int backward)
{
  gemm_problem p = {};

  p.m = s->rows;
  p.n = backward ? s->cin : s->cout;
  p.k = p.channels = backward ? s->cout : s->cin;
  p.h = p.w = p.out_h = p.out_w = p.kh = p.kw = p.stride = p.up = 1;
  return p;
}

/* the weights are used as they lie: [cout, cin] is right for both directions */
extern "C" textinv_status ti_cuda_linear_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                                 size_t *scratch_bytes, ti_weight *w,
                                                 ti_weight *bias, const ti_linear_shape *s,
                                                 int has_residual, int backward)
{
  const gemm_problem p = problem_of(s, backward);
  const void *data, *rounded = NULL;
  size_t scratch;
  textinv_status status;

  (void)has_residual;
  *prepared = NULL;
  if (dtype != TI_F32 && ti_cublas_is_on((ti_cuda *)e->device)) {
    if ((status = ti_cuda_weight(e, &data, w, dtype, TI_CUDA_PLAIN)) < 0 ||
        (bias && (status = ti_cuda_weight(e, &rounded, bias, dtype, TI_CUDA_PLAIN)) < 0) ||
        (status = ti_cublas_prepare(e, dtype, prepared, scratch_bytes, data, rounded, &p,
                                    backward)) < 0 ||
        *prepared)
      return status;
  }
  if ((scratch = ti_cuda_gemm_scratch(e, dtype, &p)) > *scratch_bytes)
    *scratch_bytes = scratch;
  return TEXTINV_OK;
}

static textinv_status run(ti_exec *e, const char *name, ti_dtype dtype, const gemm_buffers &io,
                          const gemm_problem &p, int backward)
{
  return e->prepared ? ti_cublas_run(e, name, dtype, &io, &p)
                     : ti_cuda_gemm(e, name, dtype, io, p, backward);
}

extern "C" textinv_status ti_cuda_linear_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                             const void *w, const float *bias,
                                             const void *residual, const ti_linear_shape *s)
{
  gemm_buffers io = {};

  io.a = x;
  io.b = w;
  io.y = y;
  io.bias = bias;
  io.residual = residual;
  return run(e, "linear_fwd", dtype, io, problem_of(s, 0), 0);
}

extern "C" textinv_status ti_cuda_linear_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                             const void *w, const void *other,
                                             const ti_linear_shape *s)
{
  gemm_buffers io = {};

  io.a = dy;
  io.b = w;
  io.y = dx;
  io.residual = other;
  return run(e, "linear_bwd", dtype, io, problem_of(s, 1), 1);
}
