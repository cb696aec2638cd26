/*
 * Matrix products through oneDNN, and the table of its entries. In f32 both directions read the
 * weights as the file has them, so nothing is packed; in bf16, which comes here only where there
 * are no vector kernels, each direction has its own packed form.
 */
#include "cpu.h"
#include "onednn.h"
#include "simd_tables.h"

#ifdef TI_ONEDNN

enum {
  TILE = 16,       /* parts are so many rows or columns, or a multiple */
  LEAST_ROWS = 256 /* of a part, unless threads would have nothing to do */
};

/* y[rows, n] = x[rows, k] matrix, cut into parts of [height, width] */
typedef struct product {
  dnnl_data_type_t type;
  size_t size; /* of a value */
  int rows, n, k, height, width, backward;
} product;

static int multiple(int count, int parts)
{
  return (count + parts * TILE - 1) / (parts * TILE) * TILE;
}

/* by rows, and by columns where there are few; a form that oneDNN packs is not cut */
static void cut(product *p, int threads)
{
  const int most = 4 * threads, parts = p->rows / LEAST_ROWS;

  p->height = p->rows;
  p->width = p->n;
  if (threads == 1)
    return;
  if (p->rows >= threads * TILE)
    p->height = multiple(p->rows, parts < threads ? threads : parts < most ? parts : most);
  else if (p->type == dnnl_f32)
    p->width = multiple(p->n, threads);
}

static textinv_status add_part(ti_exec *e, ti_dnnl_record *r, const product *p, int row, int column,
                               ti_weight *w, dnnl_primitive_attr_t attr, int *added)
{
  const int rows = p->rows - row < p->height ? p->rows - row : p->height;
  const int n = p->n - column < p->width ? p->n - column : p->width;
  const dnnl_dims_t x = { rows, p->k }, y = { rows, n }, matrix = { p->k, n }, line = { 1, n };
  const dnnl_dims_t x_strides = { p->k, 1 }, y_strides = { p->n, 1 };
  const dnnl_dims_t fwd = { 1, p->k }, bwd = { p->n, 1 };
  const ti_dnnl_place at = { .src = (size_t)row * p->k * p->size,
                             .dst = ((size_t)row * p->n + column) * p->size,
                             .weights = (size_t)column * (p->backward ? 1 : p->k) * p->size,
                             .bias = column * sizeof(float) };
  const ti_md src = ti_md_matrix(x, p->type, x_strides), dst = ti_md_matrix(y, p->type, y_strides);
  const ti_md plain = ti_md_matrix(matrix, p->type, p->backward ? bwd : fwd);
  const ti_md any = ti_md_new(2, matrix, p->type, dnnl_format_tag_any);
  const ti_md bias = p->backward ? NULL : ti_md_new(2, line, dnnl_f32, dnnl_ab);
  dnnl_primitive_desc_t pd = NULL;
  textinv_status status = TEXTINV_OK;

  *added = 0;
  if (!src || !dst || !plain || !any || !(p->backward || bias))
    status = ti_fail_nomem(e->error, 0, w->name);
  /* backward is a product like any other: dx = dy w */
  else if (ti_dnnl_matmul(&pd, ti_dnnl_engine(), src, p->type == dnnl_f32 ? plain : any, bias, dst,
                          attr) == dnnl_success)
    status = ti_dnnl_record_add(e, r, pd, w, plain, at, added);
  dnnl_primitive_desc_destroy(pd);
  ti_md_free(bias);
  ti_md_free(any);
  ti_md_free(plain);
  ti_md_free(dst);
  ti_md_free(src);
  return status;
}

textinv_status ti_onednn_linear_prepare(ti_exec *e, ti_dtype dtype, void **prepared,
                                        size_t *scratch_bytes, ti_weight *w, ti_weight *bias,
                                        const ti_linear_shape *s, int has_residual, int backward)
{
  product p = { .type = ti_dnnl_type(dtype),
                .size = ti_dtype_size(dtype),
                .rows = s->rows,
                .n = backward ? s->cin : s->cout,
                .k = backward ? s->cout : s->cin,
                .backward = backward };
  const int threads = ti_dnnl_alone();
  ti_dnnl_record *r = NULL;
  dnnl_primitive_attr_t attr = NULL;
  int added = 0;
  textinv_status status = TEXTINV_OK;

  (void)bias; /* given to each run */
  *prepared = NULL;
  if (!ti_dnnl_engine() || p.type == dnnl_data_type_undef)
    goto out;
  cut(&p, ti_threads(e, ti_matrix_work(s->rows, s->cin, s->cout)));
  r = ti_dnnl_record_new(dtype, 0, ((p.rows - 1) / p.height + 1) * ((p.n - 1) / p.width + 1), p.n,
                         (size_t)p.rows * p.n * p.size);
  attr = ti_dnnl_attr(has_residual);
  if (!r || !attr) {
    status = ti_fail_nomem(e->error, 0, w->name);
    goto out;
  }
  for (int row = 0; row < p.rows; row += p.height) {
    for (int column = 0; column < p.n; column += p.width) {
      if ((status = add_part(e, r, &p, row, column, w, attr, &added)) < 0 || !added)
        goto out;
    }
  }
  *prepared = ti_dnnl_record_done(r, e, scratch_bytes, NULL, 0);
  r = NULL;
out:
  ti_dnnl_together(threads);
  if (attr)
    dnnl_primitive_attr_destroy(attr);
  ti_dnnl_record_free(r);
  return status;
}

#endif /* TI_ONEDNN */

void ti_kernels_init_onednn(ti_kernels *k)
{
#ifdef TI_ONEDNN
  if (!ti_dnnl_engine())
    return;
#if defined(TI_HAVE_SIMD) && defined(__aarch64__)
  if (ti_neon_share_with_onednn(k))
    return;
#elif defined(TI_HAVE_SIMD)
  if (ti_bf16_share_with_onednn(k) || ti_avx512_share_with_onednn(k) ||
      ti_avx2_share_with_onednn(k))
    return;
#endif
  k->conv2d_prepare = ti_onednn_conv2d_prepare;
  k->linear_prepare = ti_onednn_linear_prepare;
  ti_prepared_install(k);
#else
  (void)k;
#endif
}
