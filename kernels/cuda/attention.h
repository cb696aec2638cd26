/* What the files of attention share. */
#ifndef TI_CUDA_ATTENTION_H
#define TI_CUDA_ATTENTION_H

#include "cuda_kernels.h"

enum {
  TI_SHORT_KEYS = 80, /* at most of attention_short*.cu, in one tile */
  TI_SHORT_TILE = 64, /* keys of a tile of the backward pass where there are more */
#ifdef TI_EMULATE
  TI_ENOUGH_BLOCKS = 8 /* a small device, on which blocks have several steps */
#else
  TI_ENOUGH_BLOCKS = 132 /* one on each multiprocessor */
#endif
};

struct attention_buffers {
  const void *q, *k, *v, *o, *d_o;
  const float *lse;
  void *out, *dq, *dk, *dv;
  float *lse_out;
  float *delta;   /* [n, heads, tq]: sum of do o, made first by the backward pass */
  float *partial; /* [2, splits, n, heads, tk, d]: dk and dv of a part of the queries */
  int splits;
  float *dq_partial; /* [tiles of keys, n, tq, heads, d], of attention_short_bwd.cu */
  void *packed_keys, *packed_queries; /* of attention_ring.cuh */
};

/* tensor cores take it: 16-bit values in 16-byte vectors, heads of 160 at most */
int ti_cuda_attention_is_wide(ti_dtype dtype, const attention_buffers *b,
                              const ti_attention_shape *s);
/* into how many parts the queries are cut for dk and dv */
int ti_cuda_attention_splits(const ti_attention_shape *s);

/*
 * On tensor cores: attention_mma.cu, attention_mma_bwd.cu, of Hopper: attention_short.cu,
 * attention_short_bwd.cu for few keys, attention_ring.cu, attention_ring_bwd.cu for long sequences;
 * any shape: attention.cu. Backward: dq, dk and dv, or parts of dk and dv; delta is there where
 * it is needed.
 */
textinv_status ti_cuda_attention_mma(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                     const ti_attention_shape *s);
textinv_status ti_cuda_attention_mma_bwd(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                         const ti_attention_shape *s);

/* whether attention_short*.cu take it on Hopper: a prompt's keys; backward, wide heads of 256 too
 */
static inline int ti_cuda_attention_is_short(ti_dtype dtype, const ti_attention_shape *s,
                                             int backward)
{
  return dtype != TI_F32 && s->d <= 160 && s->d % 8 == 0 &&
         (s->tk <= TI_SHORT_KEYS || (backward && s->d > 80 && s->tk <= 4 * TI_SHORT_TILE));
}

int ti_cuda_attention_short_splits(const ti_attention_shape *s);
size_t ti_cuda_attention_short_bwd_scratch(const ti_attention_shape *s);
textinv_status ti_cuda_attention_short(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                       const ti_attention_shape *s);
textinv_status ti_cuda_attention_short_bwd(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                           const ti_attention_shape *s);

/* whether attention_ring*.cu take it on Hopper, and the scratch that they need, behind delta */
static inline int ti_cuda_attention_is_long(ti_dtype dtype, const ti_attention_shape *s)
{
  return dtype != TI_F32 && !s->causal && s->tq >= 256 && s->tk >= 256 && s->d >= 40 &&
         s->d <= 80 && s->d % 8 == 0;
}

size_t ti_cuda_attention_ring_scratch(const ti_attention_shape *s);
size_t ti_cuda_attention_ring_bwd_scratch(const ti_attention_shape *s);
textinv_status ti_cuda_attention_ring(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                      const ti_attention_shape *s);
/* scratch: behind delta, aligned to 256 */
textinv_status ti_cuda_attention_ring_bwd(ti_exec *e, ti_dtype dtype, const attention_buffers *b,
                                          const ti_attention_shape *s, void *scratch);

#endif /* TI_CUDA_ATTENTION_H */
