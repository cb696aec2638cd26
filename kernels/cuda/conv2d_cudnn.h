/* Convolutions through cuDNN, where it is installed and wanted: conv2d_cudnn.cu. */
#ifndef TI_CUDA_CONV2D_CUDNN_H
#define TI_CUDA_CONV2D_CUDNN_H

#include "context.h"
#include "gemm.h"

struct ti_cudnn_plan;

/* whether convolutions may take it: the switch is on, and the library is there */
int ti_cudnn_is_on(ti_cuda *c);

/*
 * How the library computes a convolution: of a context, kept for others of the same shape. *out is
 * NULL where it does not, and the own kernel is to be taken. Raises scratch_bytes.
 */
textinv_status ti_cudnn_prepare(ti_exec *e, ti_dtype dtype, const ti_cudnn_plan **out,
                                size_t *scratch_bytes, const ti_conv2d_shape *s, int has_bias,
                                int has_residual, int backward);

/*
 * Weights are channels last, the bias is of the storage type (io->bias is not read) or NULL; there
 * is a bias and a residual where the plan was prepared with them; addresses are multiples of 16.
 */
textinv_status ti_cudnn_run(ti_exec *e, const char *name, const ti_cudnn_plan *plan,
                            const gemm_buffers *io, const void *bias);

void ti_cudnn_close(ti_cuda *c);

#endif /* TI_CUDA_CONV2D_CUDNN_H */
