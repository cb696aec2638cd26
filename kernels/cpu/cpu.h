/* Every entry of the CPU backend's reference, and what its files share. */
#ifndef TI_CPU_H
#define TI_CPU_H

#include "kernels.h"

/*
 * count values of dtype as floats: x itself, or a copy in *heap that the caller frees with ti_free;
 * NULL when memory ran out
 */
const float *ti_cpu_floats(ti_dtype dtype, const void *x, size_t count, void **heap);

/*
 * Threads for an operation that touches so many values: one where starting the others would take
 * longer than they save. A value takes a nanosecond, a start some microseconds, and milliseconds
 * where the cores are busy.
 */
static inline int ti_threads(const ti_exec *e, size_t values)
{
  enum { LEAST_VALUES = 1 << 15 };

  return values < LEAST_VALUES ? 1 : ti_team_size(e->team);
}

/* iteration i of a loop; iterations from .. to - 1 */
typedef void (*ti_row)(const void *user, size_t i);
typedef void (*ti_range)(const void *user, size_t from, size_t to);

/* loop over 0 .. count - 1, an operation that touches so many values */
void ti_for(const ti_exec *e, size_t values, size_t count, ti_row row, const void *user);

/* loop over so many values, cut between cache lines */
void ti_for_values(const ti_exec *e, size_t count, ti_range range, const void *user);

/* the arguments of an entry, as its loop gets them; 0 where it has none of the kind */
typedef struct ti_args {
  ti_dtype dtype;
  void *out;         /* y or dx */
  const void *x, *s; /* s: the operation's shape */
  const float *weight, *bias;
  float *mean, *rstd; /* written by fwd, read by bwd */
  const void *shift, *dy;
  const void *other; /* what is added */
} ti_args;

/* the values that take as long as a matrix product, or attention, which is two */
static inline size_t ti_matrix_work(size_t rows, size_t depth, size_t columns)
{
  return rows * depth * columns / 32;
}

static inline size_t ti_conv2d_work(const ti_conv2d_shape *s)
{
  return ti_matrix_work((size_t)s->n * s->oh * s->ow, (size_t)s->cin * s->kh * s->kw, s->cout);
}

static inline size_t ti_attention_work(const ti_attention_shape *s)
{
  return ti_matrix_work((size_t)s->n * s->heads * s->tq, 2 * (size_t)s->d, s->tk);
}

/* first element of row i of a head of attention; head_index counts through all samples */
static inline size_t ti_head_at(const ti_attention_shape *s, int stride, int tokens, int head_index,
                                int i)
{
  const int n = head_index / s->heads, head = head_index % s->heads;

  return ((size_t)n * tokens + i) * stride + (size_t)head * s->d;
}

static inline double ti_cpu_dot(const float *a, const float *b, size_t count)
{
  double sum = 0.0;

#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < count; i++)
    sum += (double)a[i] * b[i];
  return sum;
}

textinv_status ti_cpu_conv2d_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x, const void *w,
                                 const float *bias, const void *residual, const ti_conv2d_shape *s);
textinv_status ti_cpu_conv2d_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                 const void *w, const void *other, const ti_conv2d_shape *s);
textinv_status ti_cpu_linear_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x, const void *w,
                                 const float *bias, const void *residual, const ti_linear_shape *s);
textinv_status ti_cpu_linear_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                 const void *w, const void *other, const ti_linear_shape *s);
textinv_status ti_cpu_groupnorm_fwd(ti_exec *e, ti_dtype dtype, void *y, float *mean, float *rstd,
                                    const void *x, const void *shift, const float *weight,
                                    const float *bias, const ti_groupnorm_shape *s);
textinv_status ti_cpu_groupnorm_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                    const void *x, const void *shift, const float *mean,
                                    const float *rstd, const float *weight, const float *bias,
                                    const void *other, const ti_groupnorm_shape *s);
textinv_status ti_cpu_layernorm_fwd(ti_exec *e, ti_dtype dtype, void *y, float *mean, float *rstd,
                                    const void *x, const float *weight, const float *bias,
                                    const ti_layernorm_shape *s);
textinv_status ti_cpu_layernorm_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                    const void *x, const float *mean, const float *rstd,
                                    const float *weight, const void *other,
                                    const ti_layernorm_shape *s);
textinv_status ti_cpu_attention_fwd(ti_exec *e, ti_dtype dtype, void *o, float *lse, const void *q,
                                    const void *k, const void *v, const ti_attention_shape *s);
textinv_status ti_cpu_attention_bwd(ti_exec *e, ti_dtype dtype, void *dq, void *dk, void *dv,
                                    const void *do_, const void *o, const float *lse, const void *q,
                                    const void *k, const void *v, const ti_attention_shape *s);
textinv_status ti_cpu_activation_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                     const ti_activation_shape *s);
textinv_status ti_cpu_activation_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                     const void *x, const ti_activation_shape *s);
textinv_status ti_cpu_geglu_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                const ti_geglu_shape *s);
textinv_status ti_cpu_geglu_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy, const void *x,
                                const ti_geglu_shape *s);
textinv_status ti_cpu_add(ti_exec *e, ti_dtype dtype, void *y, const void *a, const void *b,
                          size_t count);
textinv_status ti_cpu_sum_pixels(ti_exec *e, ti_dtype dtype, void *v, const void *x,
                                 const ti_sum_pixels_shape *s);
textinv_status ti_cpu_copy_columns(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                   const ti_copy_columns_shape *s);
textinv_status ti_cpu_upsample_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                   const ti_upsample_shape *s);
textinv_status ti_cpu_upsample_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                   const ti_upsample_shape *s);
textinv_status ti_cpu_timestep_fwd(ti_exec *e, ti_dtype dtype, void *y, const float *t,
                                   const ti_timestep_shape *s);
textinv_status ti_cpu_embedding_fwd(ti_exec *e, ti_dtype dtype, void *y, const int32_t *ids,
                                    const void *table, const float *rows, const void *positions,
                                    const ti_embedding_shape *s);
textinv_status ti_cpu_embedding_bwd(ti_exec *e, ti_dtype dtype, float *drows, const void *dy,
                                    const int32_t *ids, const ti_embedding_shape *s);
textinv_status ti_cpu_gather_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x,
                                 const int32_t *index, const ti_gather_shape *s);
textinv_status ti_cpu_gather_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy,
                                 const int32_t *index, const ti_gather_shape *s);
textinv_status ti_cpu_mse_fwd(ti_exec *e, ti_dtype dtype, float *loss, const void *pred,
                              const float *target, const ti_mse_shape *s);
textinv_status ti_cpu_mse_bwd(ti_exec *e, ti_dtype dtype, void *dpred, const void *pred,
                              const float *target, float scale, const ti_mse_shape *s);
textinv_status ti_cpu_cast(ti_exec *e, ti_dtype y_dtype, void *y, ti_dtype x_dtype, const void *x,
                           size_t count);

#endif /* TI_CPU_H */
