/*
 * The kernel table: one entry an operation and direction.
 *
 * Arguments run exec, dtype, outputs, inputs, shape. Activations are NHWC and contiguous unless a
 * shape carries a row stride; a sequence [n, tokens, c] is the same thing. dtype is the storage
 * type of activations and of the weights of conv2d and linear; arithmetic is float or better.
 * Biases, norm parameters, statistics, losses and learnt rows are float.
 *
 * bwd entries set dx (=), and add only what conv2d, linear and the norms are given for that.
 * Weights are frozen, so no entry computes a weight gradient. An output may be the same buffer as
 * an input only where a comment says so.
 */
#ifndef TI_KERNELS_H
#define TI_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "team.h"
#include "textinv/textinv.h"
#include "weight.h"

#ifdef __cplusplus
extern "C" {
#endif

/* where a kernel runs */
typedef struct ti_exec {
  void *stream;         /* CUDA: cudaStream_t; CPU: NULL */
  void *device;         /* CUDA: the ti_cuda of cuda/plugin.h; CPU: NULL */
  ti_team *team;        /* CPU: the threads that share a loop; NULL = the caller alone */
  const void *prepared; /* what the record's prepare entry made, or NULL */
  void *scratch; /* CPU: scratch_bytes aligned to 64, shared by all records, dead between them */
  size_t scratch_bytes;
  ti_error *error;
} ti_exec;

/* y = conv(up(x), w) + bias (+ residual); x [n, h, w, cin], y [n, oh, ow, cout], w [cout, cin, kh,
 * kw] */
typedef struct ti_conv2d_shape {
  int n, h, w, cin, cout, kh, kw;
  int stride; /* 1 or 2, both directions */
  int pad_top, pad_left, pad_bottom, pad_right;
  int up;     /* 1, or 2: nearest 2x upsampling of x comes first */
  int oh, ow; /* (h * up + pad_top + pad_bottom - kh) / stride + 1, ... */
} ti_conv2d_shape;

/* y = x w^T + bias (+ residual); x [rows, cin], y [rows, cout], w [cout, cin] */
typedef struct ti_linear_shape {
  int rows, cin, cout;
} ti_linear_shape;

/* y = norm(x + shift), shift [n, c] or NULL; statistics over one (sample, group): hw * c / groups
 * values; silu = 1: y = silu(norm) */
typedef struct ti_groupnorm_shape {
  int n, hw, c, groups;
  int silu;
  float eps;
} ti_groupnorm_shape;

typedef struct ti_layernorm_shape {
  int rows, c;
  float eps;
} ti_layernorm_shape;

/*
 * o = softmax(scale q k^T) v for each head; q, o [n, tq, heads * d], k, v [n, tk, heads * d]. A row
 * of q, k, v starts q_stride, k_stride, v_stride elements after the one before (at least heads * d,
 * so that the three may lie side by side); gradients have the strides of their values; o is
 * contiguous. causal: row i sees keys 0..i. lse [n, heads, tq] = log(sum(exp(scale q k^T))) is kept
 * for bwd.
 */
typedef struct ti_attention_shape {
  int n, heads, tq, tk, d;
  int q_stride, k_stride, v_stride;
  int causal;
  float scale;
} ti_attention_shape;

typedef enum {
  TI_SILU,      /* x sigmoid(x) */
  TI_GELU,      /* x Phi(x), exact */
  TI_QUICK_GELU /* x sigmoid(1.702 x) */
} ti_activation;

typedef struct ti_activation_shape {
  size_t count;
  ti_activation kind;
} ti_activation_shape;

/* y = a gelu(b) (exact), x = [a | b] of 2 c channels a row */
typedef struct ti_geglu_shape {
  int rows, c;
} ti_geglu_shape;

/* v[n, c] = sum of x[n, hw, c] over hw */
typedef struct ti_sum_pixels_shape {
  int n, hw, c;
} ti_sum_pixels_shape;

/* columns [x_from, x_from + count) of rows of x_c into columns [y_from, y_from + count) of rows of
 * y_c */
typedef struct ti_copy_columns_shape {
  int rows, count;
  int y_c, y_from, x_c, x_from;
} ti_copy_columns_shape;

/* nearest neighbour, x [n, h, w, c], y [n, 2 h, 2 w, c] */
typedef struct ti_upsample_shape {
  int n, h, w, c;
} ti_upsample_shape;

/*
 * y[n, dim] of t[n]: half = dim / 2, f_j = exp(-ln(max_period) j / (half - shift)); [sin(t f),
 * cos(t f)], or [cos, sin] with flip; an odd dim ends with a zero
 */
typedef struct ti_timestep_shape {
  int n, dim;
  int flip;
  float shift, max_period;
} ti_timestep_shape;

/*
 * y[n, tokens, c] = row(ids[n, tokens]) + positions[tokens, c]; row(id) is table[id] for id <
 * vocab, else rows[id - vocab], rows float [num_rows, c]. table and positions have the type of
 * weights (dtype).
 */
typedef struct ti_embedding_shape {
  int n, tokens, c, vocab, num_rows;
} ti_embedding_shape;

/* y[n, c] = x[n, index[n], c] of x [n, tokens, c] */
typedef struct ti_gather_shape {
  int n, tokens, c;
} ti_gather_shape;

/* loss = mean((pred - target)^2) over n * count, target float [n, count] */
typedef struct ti_mse_shape {
  int n;
  size_t count;
} ti_mse_shape;

typedef struct ti_kernels {
  unsigned file_weights; /* bit i: in sessions of dtype i packed weights keep their file's type */

  /*
   * Optional (NULL in the reference): build what a record needs once: a primitive, packed weights
   * (kept with the weight by ti_weight_pack, so plans share them). *prepared = NULL means that the
   * plain path is taken and w is then passed as plain values of dtype; otherwise w is passed as
   * NULL. bias is what forward gets as floats, or NULL. scratch_bytes may be
   * raised.
   */
  textinv_status (*conv2d_prepare)(ti_exec *e, ti_dtype dtype, void **prepared,
                                   size_t *scratch_bytes, ti_weight *w, ti_weight *bias,
                                   const ti_conv2d_shape *s, int has_residual, int backward);
  textinv_status (*linear_prepare)(ti_exec *e, ti_dtype dtype, void **prepared,
                                   size_t *scratch_bytes, ti_weight *w, ti_weight *bias,
                                   const ti_linear_shape *s, int has_residual, int backward);
  void (*release)(void *prepared);

  /* optional: *out = w as plain values of dtype where kernels can read them; NULL =
   * ti_weight_plain() */
  textinv_status (*weight_plain)(ti_exec *e, const void **out, ti_weight *w, ti_dtype dtype);

  /* scratch that an entry needs beyond what prepare asked for; NULL = none */
  size_t (*groupnorm_scratch)(const ti_groupnorm_shape *s);
  size_t (*attention_scratch)(const ti_exec *e, ti_dtype dtype, const ti_attention_shape *s,
                              int backward);

  /* bias, residual and other (a gradient of x that is added) may be NULL; y may be the same buffer
   * as residual, dx as other */
  textinv_status (*conv2d_fwd)(ti_exec *e, ti_dtype dtype, void *y, const void *x, const void *w,
                               const float *bias, const void *residual, const ti_conv2d_shape *s);
  textinv_status (*conv2d_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy, const void *w,
                               const void *other, const ti_conv2d_shape *s);
  textinv_status (*linear_fwd)(ti_exec *e, ti_dtype dtype, void *y, const void *x, const void *w,
                               const float *bias, const void *residual, const ti_linear_shape *s);
  textinv_status (*linear_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy, const void *w,
                               const void *other, const ti_linear_shape *s);
  /* mean, rstd [n, groups]; y may be x, dx may be dy or other, which may be NULL and is added */
  textinv_status (*groupnorm_fwd)(ti_exec *e, ti_dtype dtype, void *y, float *mean, float *rstd,
                                  const void *x, const void *shift, const float *weight,
                                  const float *bias, const ti_groupnorm_shape *s);
  textinv_status (*groupnorm_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                  const void *x, const void *shift, const float *mean,
                                  const float *rstd, const float *weight, const float *bias,
                                  const void *other, const ti_groupnorm_shape *s);
  /* mean, rstd [rows]; y may be x, dx may be dy or other, which may be NULL and is added */
  textinv_status (*layernorm_fwd)(ti_exec *e, ti_dtype dtype, void *y, float *mean, float *rstd,
                                  const void *x, const float *weight, const float *bias,
                                  const ti_layernorm_shape *s);
  textinv_status (*layernorm_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                  const void *x, const float *mean, const float *rstd,
                                  const float *weight, const void *other,
                                  const ti_layernorm_shape *s);
  /* lse may be NULL in fwd; dq, or dk and dv together, may be NULL in bwd; o is the output of fwd,
   * do_ its gradient */
  textinv_status (*attention_fwd)(ti_exec *e, ti_dtype dtype, void *o, float *lse, const void *q,
                                  const void *k, const void *v, const ti_attention_shape *s);
  textinv_status (*attention_bwd)(ti_exec *e, ti_dtype dtype, void *dq, void *dk, void *dv,
                                  const void *do_, const void *o, const float *lse, const void *q,
                                  const void *k, const void *v, const ti_attention_shape *s);
  /* y may be x, dx may be dy */
  textinv_status (*activation_fwd)(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                   const ti_activation_shape *s);
  textinv_status (*activation_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                   const void *x, const ti_activation_shape *s);
  textinv_status (*geglu_fwd)(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                              const ti_geglu_shape *s);
  textinv_status (*geglu_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy, const void *x,
                              const ti_geglu_shape *s);
  /* y = a + b; y may be a or b */
  textinv_status (*add)(ti_exec *e, ti_dtype dtype, void *y, const void *a, const void *b,
                        size_t count);
  /* the gradient of a vector that was added to every pixel */
  textinv_status (*sum_pixels)(ti_exec *e, ti_dtype dtype, void *v, const void *x,
                               const ti_sum_pixels_shape *s);
  /* concat, split and their gradients are copies of columns */
  textinv_status (*copy_columns)(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                 const ti_copy_columns_shape *s);
  textinv_status (*upsample_fwd)(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                 const ti_upsample_shape *s);
  textinv_status (*upsample_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                 const ti_upsample_shape *s);
  textinv_status (*timestep_fwd)(ti_exec *e, ti_dtype dtype, void *y, const float *t,
                                 const ti_timestep_shape *s);
  /* positions may be NULL; ids below vocab + num_rows were checked by the caller */
  textinv_status (*embedding_fwd)(ti_exec *e, ti_dtype dtype, void *y, const int32_t *ids,
                                  const void *table, const float *rows, const void *positions,
                                  const ti_embedding_shape *s);
  /* drows float [num_rows, c], zero where no id names the row; summed in the order of n, tokens */
  textinv_status (*embedding_bwd)(ti_exec *e, ti_dtype dtype, float *drows, const void *dy,
                                  const int32_t *ids, const ti_embedding_shape *s);
  textinv_status (*gather_fwd)(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                               const int32_t *index, const ti_gather_shape *s);
  /* zero everywhere else */
  textinv_status (*gather_bwd)(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                               const int32_t *index, const ti_gather_shape *s);
  textinv_status (*mse_fwd)(ti_exec *e, ti_dtype dtype, float *loss, const void *pred,
                            const float *target, const ti_mse_shape *s);
  /* dpred = 2 (pred - target) scale / (n * count) */
  textinv_status (*mse_bwd)(ti_exec *e, ti_dtype dtype, void *dpred, const void *pred,
                            const float *target, float scale, const ti_mse_shape *s);
  /* y (y_dtype) = x (x_dtype) */
  textinv_status (*cast)(ti_exec *e, ti_dtype y_dtype, void *y, ti_dtype x_dtype, const void *x,
                         size_t count);
} ti_kernels;

void ti_kernels_init_cpu(
  ti_kernels *k); /* the plain C reference: fills every entry but the prepare ones */
/* these replace entries where this CPU can, and change nothing otherwise; in this order */
void ti_kernels_init_simd(ti_kernels *k); /* with vectors, no further than TEXTINV_CPU says */
void ti_kernels_init_onednn(
  ti_kernels *k); /* conv2d and linear through oneDNN; nothing when built without it */

/* fails where TEXTINV_CPU in the environment names what this kind of processor never has */
textinv_status ti_check_cpu(ti_error *error);

#ifdef __cplusplus
}
#endif

#endif /* TI_KERNELS_H */
