/* Every entry of the CUDA backend, and what its files share. Plain C: no CUDA header is needed. */
#ifndef TI_CUDA_KERNELS_H
#define TI_CUDA_KERNELS_H

#include "kernels.h"
#include "plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ------ errors; code is a cudaError_t */

/* set the message and return TEXTINV_E_NOMEM or TEXTINV_E_BACKEND; what failed is named by what */
textinv_status ti_cuda_failed(ti_exec *e, int code, const char *what);
/* after a launch: report and clear the last error */
textinv_status ti_cuda_check(ti_exec *e, const char *what);

/* ------ contexts */

/* multiprocessors of the device behind e */
int ti_cuda_multiprocessors(const ti_exec *e);
/* whether kernels of hopper.cuh run on it, and are wanted */
int ti_cuda_hopper(const ti_exec *e);

/*
 * The device's copy of w, made at first use and kept until ti_cuda_plugin.trim(): the values in
 * dtype, in the order of the file, or for 4-dimensional weights with the input channels last.
 *
 * Tiled, in 16 bits: [kh kw, cin / 32, cout / 8] atoms of 8 output x 32 input channels, 512 bytes
 * each, whose chunks are exchanged as wgmma's 64-byte swizzle wants it. A tile of either direction
 * is a few whole pieces of it: forward the outputs are its rows and k is along memory, backward
 * they are k.
 *
 * Merged, of 3 x 3 behind an upsampling: the same of [4, 4] taps. A line of those is that of tap 2,
 * the sum of 1 and 2, that of 0 and 1, then 0; columns likewise.
 */
typedef enum { TI_CUDA_PLAIN, TI_CUDA_CHANNELS_LAST, TI_CUDA_TILED, TI_CUDA_MERGED } ti_cuda_layout;

textinv_status ti_cuda_weight(ti_exec *e, const void **out, ti_weight *w, ti_dtype dtype,
                              ti_cuda_layout layout);

/* ------ the table */
void ti_kernels_init_cuda(ti_kernels *k);

size_t ti_cuda_attention_scratch(const ti_exec *e, ti_dtype dtype, const ti_attention_shape *s,
                                 int backward);
size_t ti_cuda_groupnorm_scratch(const ti_groupnorm_shape *s);

textinv_status ti_cuda_weight_plain(ti_exec *e, const void **out, ti_weight *w, ti_dtype dtype);
textinv_status ti_cuda_conv2d_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                      size_t *scratch_bytes, ti_weight *w, ti_weight *bias,
                                      const ti_conv2d_shape *s, int has_residual, int backward);
textinv_status ti_cuda_linear_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                      size_t *scratch_bytes, ti_weight *w, ti_weight *bias,
                                      const ti_linear_shape *s, int has_residual, int backward);
void ti_cuda_release(void *prepared);

textinv_status ti_cuda_conv2d_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x, const void *w,
                                  const float *bias, const void *residual,
                                  const ti_conv2d_shape *s);
textinv_status ti_cuda_conv2d_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                  const void *w, const void *other, const ti_conv2d_shape *s);
textinv_status ti_cuda_linear_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x, const void *w,
                                  const float *bias, const void *residual,
                                  const ti_linear_shape *s);
textinv_status ti_cuda_linear_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                  const void *w, const void *other, const ti_linear_shape *s);
textinv_status ti_cuda_groupnorm_fwd(ti_exec *e, ti_dtype dtype, void *y, float *mean, float *rstd,
                                     const void *x, const void *shift, const float *weight,
                                     const float *bias, const ti_groupnorm_shape *s);
textinv_status ti_cuda_groupnorm_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                     const void *x, const void *shift, const float *mean,
                                     const float *rstd, const float *weight, const float *bias,
                                     const void *other, const ti_groupnorm_shape *s);
textinv_status ti_cuda_layernorm_fwd(ti_exec *e, ti_dtype dtype, void *y, float *mean, float *rstd,
                                     const void *x, const float *weight, const float *bias,
                                     const ti_layernorm_shape *s);
textinv_status ti_cuda_layernorm_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                     const void *x, const float *mean, const float *rstd,
                                     const float *weight, const void *other,
                                     const ti_layernorm_shape *s);
textinv_status ti_cuda_attention_fwd(ti_exec *e, ti_dtype dtype, void *o, float *lse, const void *q,
                                     const void *k, const void *v, const ti_attention_shape *s);
textinv_status ti_cuda_attention_bwd(ti_exec *e, ti_dtype dtype, void *dq, void *dk, void *dv,
                                     const void *do_, const void *o, const float *lse,
                                     const void *q, const void *k, const void *v,
                                     const ti_attention_shape *s);
textinv_status ti_cuda_activation_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                      const ti_activation_shape *s);
textinv_status ti_cuda_activation_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                      const void *x, const ti_activation_shape *s);
textinv_status ti_cuda_geglu_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                 const ti_geglu_shape *s);
textinv_status ti_cuda_geglu_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                 const void *x, const ti_geglu_shape *s);
textinv_status ti_cuda_add(ti_exec *e, ti_dtype dtype, void *y, const void *a, const void *b,
                           size_t count);
textinv_status ti_cuda_sum_pixels(ti_exec *e, ti_dtype dtype, void *v, const void *x,
                                  const ti_sum_pixels_shape *s);
textinv_status ti_cuda_copy_columns(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                    const ti_copy_columns_shape *s);
textinv_status ti_cuda_upsample_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                    const ti_upsample_shape *s);
textinv_status ti_cuda_upsample_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                    const ti_upsample_shape *s);
textinv_status ti_cuda_timestep_fwd(ti_exec *e, ti_dtype dtype, void *y, const float *t,
                                    const ti_timestep_shape *s);
textinv_status ti_cuda_embedding_fwd(ti_exec *e, ti_dtype dtype, void *y, const int32_t *ids,
                                     const void *table, const float *rows, const void *positions,
                                     const ti_embedding_shape *s);
textinv_status ti_cuda_embedding_bwd(ti_exec *e, ti_dtype dtype, float *drows, const void *dy,
                                     const int32_t *ids, const ti_embedding_shape *s);
textinv_status ti_cuda_gather_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                  const int32_t *index, const ti_gather_shape *s);
textinv_status ti_cuda_gather_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                  const int32_t *index, const ti_gather_shape *s);
textinv_status ti_cuda_mse_fwd(ti_exec *e, ti_dtype dtype, float *loss, const void *pred,
                               const float *target, const ti_mse_shape *s);
textinv_status ti_cuda_mse_bwd(ti_exec *e, ti_dtype dtype, void *dpred, const void *pred,
                               const float *target, float scale, const ti_mse_shape *s);
textinv_status ti_cuda_cast(ti_exec *e, ti_dtype y_dtype, void *y, ti_dtype x_dtype, const void *x,
                            size_t count);

/* ------ of a training step, not in the table: plugin.h has their meaning */
textinv_status ti_cuda_step_inputs(ti_exec *e, const ti_cuda_training *t);
textinv_status ti_cuda_step_update(ti_exec *e, const ti_cuda_training *t);
textinv_status ti_cuda_step_apply(ti_exec *e, const ti_cuda_training *t);
textinv_status ti_cuda_noise(ti_exec *e, ti_dtype dtype, void *noisy, float *target,
                             const float *latents, const ti_cuda_step *step,
                             const ti_cuda_sample *samples, const ti_cuda_noise_shape *s);

#ifdef __cplusplus
}
#endif

#endif /* TI_CUDA_KERNELS_H */
