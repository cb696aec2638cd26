/* The matrix product behind convolutions and linear layers: gemm.cu. */
#ifndef TI_CUDA_GEMM_H
#define TI_CUDA_GEMM_H

#include "cuda_kernels.h"

/* everything that a product needs; pointers are of the storage type */
struct gemm_problem {
  int m, n, k;
  int channels;        /* of a pixel of the source of a */
  int h, w;            /* of the source */
  int out_h, out_w;    /* of the grid that m runs over */
  int kh, kw;
  int stride, up, pad_top, pad_left;
  int tiled;           /* b is of TI_CUDA_TILED, which Hopper's kernels read */
  int parity;          /* backward, 3 x 3 at stride 2 of even sides: gemm_hopper.cu */
  int splits, split_k; /* k of one split, a multiple of the kernel's step; splits = 1: all */
};

struct gemm_buffers {
  const void *a, *b, *residual;
  void *y;
  const float *bias;
  float *partial; /* [splits, m, n], when splits > 1 */
};

/* scratch for the best split of k, which ti_cuda_gemm() then takes */
size_t ti_cuda_gemm_scratch(const ti_exec *e, ti_dtype dtype, const gemm_problem *p);

/* splits and split_k of p and partial of io are set here */
textinv_status ti_cuda_gemm(ti_exec *e, const char *name, ti_dtype dtype, gemm_buffers io,
                            gemm_problem p, int backward);

/* the same on Hopper: gemm_hopper.cu; shapes that it takes, addresses that it takes */
int ti_gemm_hopper_takes(const ti_exec *e, ti_dtype dtype, const gemm_problem *p);
int ti_gemm_hopper_fits(const gemm_buffers *io);
size_t ti_gemm_hopper_scratch(const ti_exec *e, const gemm_problem *p);
textinv_status ti_gemm_hopper(ti_exec *e, const char *name, ti_dtype dtype, gemm_buffers io,
                              gemm_problem p, int backward);

/*
 * Convolutions of 3 x 3 and stride 1 on Hopper: conv2d_hopper.cu. Their weights are TI_CUDA_TILED,
 * or TI_CUDA_MERGED where the image is upsampled before. What decides is the same in both
 * directions, so that a weight is on the device once; addresses are multiples of 16.
 */
int ti_conv2d_hopper_takes(const ti_exec *e, ti_dtype dtype, const ti_conv2d_shape *s);
size_t ti_conv2d_hopper_scratch(const ti_exec *e, gemm_problem p, int backward);
textinv_status ti_conv2d_hopper(ti_exec *e, const char *name, ti_dtype dtype, gemm_buffers io,
                                gemm_problem p, int backward);

#endif /* TI_CUDA_GEMM_H */
