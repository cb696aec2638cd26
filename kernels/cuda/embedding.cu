/*
 * Embeddings of times and of tokens. Formulas: kernels/cpu/embedding.c.
 *
 * The gradient of the rows is deterministic without atomics: one thread a value of a row goes
 * through all tokens in order. A few rows and some hundred tokens: microseconds.
 */
#include "common.cuh"

enum { THREADS = 128 };

// ------------------------------------------------------------------ kernels

template <typename T>
static __global__ void timestep_fwd_kernel(T *__restrict__ y, const float *__restrict__ t,
                                           ti_timestep_shape s)
{
  const int half = s.dim / 2, sin_from = s.flip ? half : 0, cos_from = s.flip ? 0 : half;

  for (size_t i = grid_index(); i < (size_t)s.n * (half + 1); i += grid_step()) {
    const int n = (int)(i / (half + 1)), j = (int)(i % (half + 1));

    if (j == half) {
      if (s.dim % 2)
        from_float(&y[(size_t)n * s.dim + s.dim - 1], 0.0f);
      continue;
    }
    /* every step rounded to float, as the models were trained with */
    const float exponent =
        __fmul_rn(-(float)log((double)s.max_period), (float)j) / ((float)half - s.shift);
    const float angle = __fmul_rn(t[n], (float)exp((double)exponent));

    from_float(&y[(size_t)n * s.dim + sin_from + j], (float)sin((double)angle));
    from_float(&y[(size_t)n * s.dim + cos_from + j], (float)cos((double)angle));
  }
}

template <typename T>
static __global__ void embedding_fwd_kernel(T *__restrict__ y, const int32_t *__restrict__ ids,
                                            const T *__restrict__ table,
                                            const float *__restrict__ rows,
                                            const T *__restrict__ positions, ti_embedding_shape s)
{
  for (size_t i = grid_index(); i < (size_t)s.n * s.tokens * s.c; i += grid_step()) {
    const size_t token = i / s.c, c = i % s.c;
    const int id = ids[token];
    float f = id < s.vocab ? to_float(table[(size_t)id * s.c + c])
                           : rows[(size_t)(id - s.vocab) * s.c + c];

    if (positions)
      f += to_float(positions[token % s.tokens * s.c + c]);
    from_float(&y[i], f);
  }
}

template <typename T>
static __global__ void embedding_bwd_kernel(float *__restrict__ drows, const T *__restrict__ dy,
                                            const int32_t *__restrict__ ids, ti_embedding_shape s)
{
  const int c = blockIdx.y * THREADS + threadIdx.x, row = blockIdx.x;
  float sum = 0.0f;

  if (c >= s.c)
    return;
  for (int i = 0; i < s.n * s.tokens; i++) {
    if (ids[i] == s.vocab + row)
      sum += to_float(dy[(size_t)i * s.c + c]);
  }
  drows[(size_t)row * s.c + c] = sum;
}

// ------------------------------------------------------------------ launchers

extern "C" textinv_status ti_cuda_timestep_fwd(ti_exec *e, ti_dtype dtype, void *y, const float *t,
                                               const ti_timestep_shape *s)
{
  TI_WITH_DTYPE(dtype, return launch(e, "timestep_fwd", timestep_fwd_kernel<T>,
                                     ti_flat_blocks((size_t)s->n * (s->dim / 2 + 1)),
                                     TI_FLAT_THREADS, 0, (T *)y, t, *s));
}

extern "C" textinv_status ti_cuda_embedding_fwd(ti_exec *e, ti_dtype dtype, void *y,
                                                const int32_t *ids, const void *table,
                                                const float *rows, const void *positions,
                                                const ti_embedding_shape *s)
{
  TI_WITH_DTYPE(dtype, return launch(e, "embedding_fwd", embedding_fwd_kernel<T>,
                                     ti_flat_blocks((size_t)s->n * s->tokens * s->c),
                                     TI_FLAT_THREADS, 0, (T *)y, ids, (const T *)table, rows,
                                     (const T *)positions, *s));
}

extern "C" textinv_status ti_cuda_embedding_bwd(ti_exec *e, ti_dtype dtype, float *drows,
                                                const void *dy, const int32_t *ids,
                                                const ti_embedding_shape *s)
{
  const dim3 grid((unsigned)s->num_rows, (unsigned)ti_ceil_div((size_t)s->c, THREADS));

  TI_WITH_DTYPE(dtype, return launch(e, "embedding_bwd", embedding_bwd_kernel<T>, grid, THREADS, 0,
                                     drows, (const T *)dy, ids, *s));
}
