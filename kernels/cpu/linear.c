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
typedef struct product {
  ti_dtype dtype;
  void *y;
  const float *x, *w, *bias;
  const void *residual;
  size_t rows, n, k;
} product;

static void product_block(const void *user, size_t block)
{
  const product *p = user;
  const size_t first = block * ROWS, end = p->rows - first < ROWS ? p->rows : first + ROWS;

  for (size_t j = 0; j < p->n; j++) {
    for (size_t r = first; r < end; r++) {
      const size_t at = r * p->n + j;
      double sum = ti_cpu_dot(p->x + r * p->k, p->w + j * p->k, p->k);

      if (p->bias)
        sum += p->bias[j];
      if (p->residual)
        sum += ti_load(p->dtype, p->residual, at);
      ti_store(p->dtype, p->y, at, (float)sum);
    }
  }
}

static void multiply(ti_exec *e, const product *p)
{
  ti_for(e, ti_matrix_work(p->rows, p->k, p->n), (p->rows + ROWS - 1) / ROWS, product_block, p);
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
    multiply(e, &(product){ dtype, y, x, w, bias, residual, s->rows, s->cout, s->cin });
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
  multiply(e, &(product){ dtype, dx, dy, wt, NULL, other, s->rows, s->cin, s->cout });
out:
  ti_free(wt);
  ti_free(heap);
  return status;
}
