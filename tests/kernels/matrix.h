/* Running a convolution or a matrix product of a table, prepared where it can be. */
#ifndef TI_MATRIX_H
#define TI_MATRIX_H

#include "harness.h"

/* backward: X is dy, RESIDUAL the gradient that is added */
enum { X, W, BIAS, RESIDUAL };

/* what the two differ in */
typedef struct matrix {
  /* fills rank and dims of w, and prepares it where the table can */
  textinv_status (*prepare)(const ti_kernels *k, ti_exec *e, ti_dtype dtype, void **prepared,
                            size_t *scratch, ti_weight *w, const void *shape, int has_residual,
                            int backward);
  textinv_status (*run)(const ti_kernels *k, ti_exec *e, ti_dtype dtype, void *y, void **in,
                        const void *w, const void *residual, const void *shape, int backward);
} matrix;

/* one direction; again with y over the residual where there is one. The weights lie anywhere, as in
 * a file */
static textinv_status run_matrix(const matrix *m, const op *o, const ti_kernels *k, ti_exec *e,
                                 ti_dtype dtype, void **out, void **in, int backward)
{
  const size_t count = o->in[W].count, size = ti_dtype_size(dtype);
  const size_t offset = o->out[0].count % 2;
  char *file = malloc(count * size + 1);
  ti_weight w = { .name = "w", .data = file + offset, .count = count, .dtype = dtype };
  void *prepared = NULL;
  const void *plain = NULL;
  size_t scratch = 0;
  textinv_status status;

  assert_non_null(file);
  memcpy(file + offset, in[W], count * size);
  status = m->prepare(k, e, dtype, &prepared, &scratch, &w, o->shape, !!in[RESIDUAL], backward);
  if (status >= 0 && !prepared)
    status = ti_weight_plain(e->error, &plain, &w, dtype);
  assert_int_equal(status, TEXTINV_OK);
  scratch_new(e, scratch);
  e->prepared = prepared;
  status = m->run(k, e, dtype, out[0], in, plain, in[RESIDUAL], o->shape, backward);
  if (status >= 0 && in[RESIDUAL]) {
    const size_t bytes = o->out[0].count * size;
    void *y = test_buffer_new(dtype, o->out[0].count);

    memcpy(y, in[RESIDUAL], bytes);
    status = m->run(k, e, dtype, y, in, plain, y, o->shape, backward);
    assert_memory_equal(y, out[0], bytes);
    test_buffer_free(y);
  }
  test_buffer_free(e->scratch);
  if (prepared)
    k->release(prepared);
  ti_weight_drop(&w);
  free(file);
  return status;
}

#endif /* TI_MATRIX_H */
