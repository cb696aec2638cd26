/* What the files of attention share. */
#ifndef TI_CUDA_ATTENTION_H
#define TI_CUDA_ATTENTION_H

#include "cuda_kernels.h"

struct attention_buffers {
  const void *q, *k, *v, *o, *d_o;
  const float *lse;
  void *out, *dq, *dk, *dv;
  float *lse_out;
  float *delta;   /* [n, heads, tq]: sum of do o, made first by the backward pass */
  float *partial; /* [2, splits, n, heads, tk, d]: dk and dv of a part of the queries */
  int splits;
};

/* tensor cores take it: 16-bit values in 16-byte vectors, heads of 160 at most */
int ti_cuda_attention_is_wide(ti_dtype dtype, const attention_buffers *b,
                              const ti_attention_shape *s);
/* into how many parts the queries are cut for dk and dv */
int ti_cuda_attention_splits(const ti_attention_shape *s);

/*
 * On tensor cores: attention_mma.cu, attention_mma_bwd.cu, of Hopper: attention_hopper.cu,
 * attention_hopper_bwd.cu; any shape: attention.cu. Backward: dq, dk and dv or their parts; delta is
 * there.
 */
textinv_status ti_cuda_attention_mma(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                     const ti_attention_shape *s);
textinv_status ti_cuda_attention_hopper(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                        const ti_attention_shape *s);
textinv_status ti_cuda_attention_mma_bwd(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                         const ti_attention_shape *s);
textinv_status ti_cuda_attention_hopper_bwd(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                            const ti_attention_shape *s);

#endif /* TI_CUDA_ATTENTION_H */
