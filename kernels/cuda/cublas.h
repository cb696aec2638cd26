/* Matrix products through cuBLASLt, where it is installed: cublas.cu. */
#ifndef TI_CUDA_CUBLAS_H
#define TI_CUDA_CUBLAS_H

#include "context.h"
#include "gemm.h"

/*
 * What ti_cublas_run() needs of a product; *out is NULL where the own kernel is to be taken:
 * without the library, in float, with rows that are not multiples of 16 bytes. w, and bias (of
 * dtype, or NULL): of the device. Raises scratch_bytes. To be freed.
 */
textinv_status ti_cublas_prepare(ti_exec *e, ti_dtype dtype, void **out, size_t *scratch_bytes,
                                 const void *w, const void *bias, const gemm_problem *p,
                                 int backward);

/*
 * e->prepared is of ti_cublas_prepare(), and has a bias where io has; io->b is not read; addresses
 * are multiples of 16. The own kernel takes what the library refuses; TEXTINV_CUDA=log in the
 * environment tells of it.
 */
textinv_status ti_cublas_run(ti_exec *e, const char *name, ti_dtype dtype, const gemm_buffers *io,
                             const gemm_problem *p);

/* whether linear layers may take it: the library is there, and the switch is on */
int ti_cublas_is_on(ti_cuda *c);
void ti_cublas_close(ti_cuda *c);

#endif /* TI_CUDA_CUBLAS_H */
