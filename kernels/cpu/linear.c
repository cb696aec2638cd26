/*
 * Matrix product with a frozen matrix, the reference.
 *
 *   fwd: y[r, o] = bias[o] + sum over i of x[r, i] w[o, i] (+ residual[r, o])
 *   bwd: dx[r, i] = sum over o of dy[r, o] w[o, i] (+ other[r, i])
 */
#include "cpu.h"

#include "alloc.h"

enum { ROWS = 32 }; /* rows that read one row of the matrix while it is in the cache */

/* y[rows, n] = x[rows, k] w[n, k]^T + bias + residual */
static void product(ti_exec *e, ti_dtype dtype, void *y, const float *x, const float *w,
                    const float *bias, const void *residual, int rows, int n, int k)
{
#pragma omp parallel for num_threads(ti_threads(e, ti_matrix_work(rows, k, n)))
  for (int from = 0; from < rows; from += ROWS) {
    const int to = from + ROWS < rows ? from + ROWS : rows;

    for (int j = 0; j < n; j++) {
      for (int r = from; r < to; r++) {
        const size_t at = (size_t)r * n + j;
        double sum = ti_cpu_dot(x + (size_t)r * k, w + (size_t)j * k, k);

        if (bias)
          sum += bias[j];
        if (residual)
          sum += ti_load(dtype, residual, at);
        ti_store(dtype, y, at, (float)sum);
      }
    }
  }
}

textinv_status ti_cpu_linear_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x_,
                                 const void *w_, const float *bias, const void *residual,
                                 const ti_linear_shape *s)
{
  void *x_heap, *w_heap;
  const float *x = ti_cpu_floats(dtype, x_, (size_t)s->rows * s->cin, &x_heap);
  const float *w = ti_cpu_floats(dtype, w_, (size_t)s->cout * s->cin, &w_heap);
  textinv_status status = TEXTINV_OK;

  if (x && w)
    product(e, dtype, y, x, w, bias, residual, s->rows, s->cout, s->cin);
  else
    status = ti_fail_nomem(e->error, (size_t)s->cout * s->cin * sizeof(float), "matrix product");
  ti_free(w_heap);
  ti_free(x_heap);
  return status;
}

textinv_status ti_cpu_linear_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy_,
                                 const void *w, const void *other, const ti_linear_shape *s)
{
  void *heap;
  const float *dy = ti_cpu_floats(dtype, dy_, (size_t)s->rows * s->cout, &heap);
  float *wt = ti_calloc((size_t)s->cin * s->cout, sizeof(float));
  textinv_status status = TEXTINV_OK;

  if (!dy || !wt) {
    status = ti_fail_nomem(e->error, (size_t)s->cout * s->cin * sizeof(float), "matrix product");
    goto out;
  }
  for (int o = 0; o < s->cout; o++) {
    for (int i = 0; i < s->cin; i++)
      wt[(size_t)i * s->cout + o] = ti_load(dtype, w, (size_t)o * s->cin + i);
  }
  product(e, dtype, dx, dy, wt, NULL, other, s->rows, s->cin, s->cout);
out:
  ti_free(wt);
  ti_free(heap);
  return status;
}
