/*
 * 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3): a quarter of the multiplications.
 *
 *   y = A^T [ sum over channels of (G w G^T) * (B^T x B) ] A        for tiles of 4x4 outputs
 *
 * with the points 0, +-sqrt(1/2), +-sqrt(2) and infinity, so that the sums are 36 matrix products;
 * these points have half the error of the usual 0, +-1, +-2. The transformed image
 * and the transformed weights of a group of outputs lie in scratch; the latter are made anew in
 * every run, so that no copy of the weights is kept. The backward pass is the same with the taps
 * turned and the channels exchanged. Upsampling costs nothing forward (pixels are read at half
 * their position); backward its four are added.
 */
#include "gemm_simd.h"

#ifdef TI_HAVE_SIMD

#include "alloc.h"

enum {
  POINTS = 36,
  LEAST_PIXELS = 1024,       /* of an image, below which transforming weights costs too much */
  IMAGE_BYTES = 32 << 20,    /* of transformed image at once */
  WEIGHT_BYTES = 16 << 20,   /* of transformed weights at once */
  SHORT_SUM = 128 / TI_UNIT, /* units that are summed by themselves, for precision */
  MAX_TILES = 896 / TI_TILE_ROWS * TI_TILE_ROWS
};

typedef struct record {
  ti_prepared base;
  ti_matrix matrix;
  ti_dtype dtype;
  int src_h, src_w, src_c, dst_h, dst_w, dst_c; /* of the convolution: upsampled where up = 2 */
  int pad_top, pad_left;
  int src_up,
    dst_up; /* 2: the values in memory are those at half the position, or the sums of four */
  int tiles_x, tiles_y, num_tiles;
  int tiles_at_once;
  int depth, lanes_at_once; /* panels: units of source channels, of outputs */
} record;

int TI_FN(winograd_suits)(const ti_conv2d_shape *s)
{
  return s->kh == 3 && s->kw == 3 && s->stride == 1 && s->cin >= 32 && s->cout >= 32 &&
         s->oh * s->ow >= LEAST_PIXELS && s->pad_top <= 2 && s->pad_left <= 2 &&
         (s->up == 1 || (s->oh == 2 * s->h && s->ow == 2 * s->w));
}

/* a block of tiles, and of panels of outputs */
typedef struct job {
  const record *r;
  void *y;
  const void *x, *residual;
  const float *bias;
  float *image, *weights, *sums;
  size_t image_point, weight_point, row;
  int first, tiles, panels;
  int lane, lanes; /* the first panel, and how many */
} job;

/* ------ transforms of one axis; v[i * step] in place or from x to y */

static const float NEAR = 0.70710678f, FAR = 1.41421356f; /* the points, and their negatives */

TI_SIMD_INLINE ti_vec fma1(float k, ti_vec x, ti_vec y)
{
  return ti_fma(ti_set(k), x, y);
}

/* B^T */
TI_SIMD_INLINE void image_axis(ti_vec *v, int step)
{
  const ti_vec x0 = v[0], x1 = v[step], x2 = v[2 * step], x3 = v[3 * step], x4 = v[4 * step];
  const ti_vec x5 = v[5 * step];
  const ti_vec near_even = fma1(-2.0f, x2, x4), near_odd = fma1(-2.0f, x1, x3);
  const ti_vec far_even = fma1(-0.5f, x2, x4), far_odd = fma1(-0.5f, x1, x3);

  v[0] = x0 + fma1(-2.5f, x2, x4);
  v[step] = fma1(NEAR, near_odd, near_even);
  v[2 * step] = fma1(-NEAR, near_odd, near_even);
  v[3 * step] = fma1(FAR, far_odd, far_even);
  v[4 * step] = fma1(-FAR, far_odd, far_even);
  v[5 * step] = x1 + fma1(-2.5f, x3, x5);
}

/* G: three taps to six points */
TI_SIMD_INLINE void weight_axis(ti_vec *y, int y_step, ti_vec g0, ti_vec g1, ti_vec g2)
{
  const ti_vec even = fma1(-1.0f / 3.0f, g2, ti_set(-2.0f / 3.0f) * g0);
  const ti_vec odd = ti_set(-2.0f / 3.0f * NEAR) * g1;
  const ti_vec far_even = fma1(1.0f / 3.0f, g2, ti_set(1.0f / 6.0f) * g0);
  const ti_vec far_odd = ti_set(1.0f / 6.0f * FAR) * g1;

  y[0] = g0;
  y[y_step] = even + odd;
  y[2 * y_step] = even - odd;
  y[3 * y_step] = far_even + far_odd;
  y[4 * y_step] = far_even - far_odd;
  y[5 * y_step] = g2;
}

/* A^T: six points to four outputs */
TI_SIMD_INLINE void output_axis(ti_vec *y, int y_step, const ti_vec *x, int x_step)
{
  const ti_vec s1 = x[x_step] + x[2 * x_step];
  const ti_vec d1 = x[x_step] - x[2 * x_step];
  const ti_vec s2 = x[3 * x_step] + x[4 * x_step];
  const ti_vec d2 = x[3 * x_step] - x[4 * x_step];

  y[0] = x[0] + (s1 + s2);
  y[y_step] = fma1(FAR, d2, ti_set(NEAR) * d1);
  y[2 * y_step] = fma1(2.0f, s2, ti_set(0.5f) * s1);
  y[3 * y_step] = fma1(2.0f * FAR, d2, fma1(0.5f * NEAR, d1, x[5 * x_step]));
}

/* ------ the image: panels [points, panels of tiles, depth, tiles of a panel, unit] */

TI_SIMD_INLINE void image_worker(ti_dtype dtype, const job *k, size_t slot)
{
  const record *r = k->r;
  const void *x = k->x;
  const int tile = k->first + (int)slot;
  const int n = tile / (r->tiles_x * r->tiles_y), at = tile % (r->tiles_x * r->tiles_y);
  const int y0 = at / r->tiles_x * 4 - r->pad_top, x0 = at % r->tiles_x * 4 - r->pad_left;
  const size_t point = k->image_point;
  float *to = k->image + (slot / TI_TILE_ROWS * r->depth) * TI_PANEL +
              slot % TI_TILE_ROWS * TI_UNIT;
  const int h = r->src_h / r->src_up, w = r->src_w / r->src_up;

  for (int c = 0; c < r->depth * TI_UNIT; c += TI_LANES) {
    const ti_mask m = ti_first(r->src_c - c);
    ti_vec t[POINTS];

    TI_UNROLL
    for (int i = 0; i < 6; i++) {
      TI_UNROLL
      for (int j = 0; j < 6; j++) {
        const int sy = y0 + i, sx = x0 + j;
        const int inside = sy >= 0 && sy < r->src_h && sx >= 0 && sx < r->src_w;
        const size_t pixel = inside ? ((size_t)n * h + sy / r->src_up) * w + sx / r->src_up : 0;

        t[6 * i + j] = ti_load_mask(dtype, x, pixel * r->src_c + c, inside ? m : ti_first(0));
      }
    }
    TI_UNROLL
    for (int i = 0; i < 6; i++)
      image_axis(t + i, 6);
    TI_UNROLL
    for (int i = 0; i < 6; i++)
      image_axis(t + 6 * i, 1);
    float *out = to + (size_t)(c / TI_UNIT) * TI_PANEL + c % TI_UNIT;

    for (int p = 0; p < POINTS; p++)
      ti_put(out + p * point, t[p]);
  }
}

static TI_SIMD void transform_image(const void *user, size_t slot)
{
  const job *k = user;

  TI_DISPATCH(k->r->dtype, image_worker, k, slot);
}

/* ------ weights: [points, panels of lanes, depth, unit, unit] */

static TI_SIMD void transform_weights(const void *user, size_t at)
{
  const job *k = user;
  const record *r = k->r;
  const int unit = (int)(at % r->depth), lane = k->lane + (int)(at / r->depth);
  const size_t point = k->weight_point;
  float *u = k->weights + at * TI_WEIGHT_UNIT;
  _Alignas(64) float taps[TI_TAP_FLOATS];

  TI_FN(matrix_taps)(&r->matrix, taps, unit * TI_UNIT, lane * TI_UNIT);
  for (int i = 0; i < TI_WEIGHT_UNIT; i += TI_LANES) {
    const float *g = taps + (size_t)i / TI_UNIT * 9 * TI_UNIT + i % TI_UNIT;
    ti_vec t[18], y[6];

    TI_UNROLL
    for (int j = 0; j < 3; j++) {
      /* turned by half a turn backward */
      const int tap = r->matrix.backward ? 8 - j : j, step = r->matrix.backward ? -3 : 3;

      weight_axis(t + j, 3, ti_get(g + tap * TI_UNIT), ti_get(g + (tap + step) * TI_UNIT),
                  ti_get(g + (tap + 2 * step) * TI_UNIT));
    }
    TI_UNROLL
    for (int j = 0; j < 6; j++) {
      weight_axis(y, 1, t[3 * j], t[3 * j + 1], t[3 * j + 2]);
      TI_UNROLL
      for (int x = 0; x < 6; x++)
        ti_put(u + (6 * j + x) * point + i, y[x]);
    }
  }
}

/* ------ outputs of a group of lanes from sums [points, tiles, lanes] */

TI_SIMD_INLINE void store_pixel(ti_dtype dtype, void *y, size_t at, ti_mask m, ti_vec x,
                                ti_vec bias, const void *residual)
{
  x += bias;
  if (residual)
    x += ti_load_mask(dtype, residual, at, m);
  ti_store_mask(dtype, y, at, m, x);
}

TI_SIMD_INLINE void output_worker(ti_dtype dtype, const job *k, size_t slot)
{
  const record *r = k->r;
  const void *residual = k->residual;
  const float *bias = k->bias, *sums = k->sums + slot * k->row;
  const size_t point = k->tiles * k->row;
  const int tile = k->first + (int)slot, from = k->lane * TI_UNIT, lanes = (int)k->row;
  const int n = tile / (r->tiles_x * r->tiles_y), at = tile % (r->tiles_x * r->tiles_y);
  const int y0 = at / r->tiles_x * 4, x0 = at % r->tiles_x * 4, up = r->dst_up;
  const int h = r->dst_h / up, w = r->dst_w / up;

  for (int c = from; c < from + lanes && c < r->dst_c; c += TI_LANES) {
    const ti_mask m = ti_first(r->dst_c - c);
    const ti_vec b = bias ? ti_load_mask(TI_F32, bias, c, m) : ti_set(0.0f);
    ti_vec x[POINTS], t[24], o[16];

    for (int p = 0; p < POINTS; p++)
      x[p] = ti_get(sums + p * point + c - from);
    TI_UNROLL
    for (int j = 0; j < 6; j++)
      output_axis(t + j, 6, x + j, 6);
    TI_UNROLL
    for (int i = 0; i < 4; i++)
      output_axis(o + 4 * i, 1, t + 6 * i, 1);
    for (int i = 0; i < 4; i += up) {
      for (int j = 0; j < 4; j += up) {
        const size_t pixel = ((size_t)n * h + (y0 + i) / up) * w + (x0 + j) / up;
        ti_vec v = o[4 * i + j];

        if (y0 + i >= r->dst_h || x0 + j >= r->dst_w)
          continue;
        if (up == 2)
          v += o[4 * i + j + 1] + (o[4 * i + j + 4] + o[4 * i + j + 5]);
        store_pixel(dtype, k->y, pixel * r->dst_c + c, m, v, b, residual);
      }
    }
  }
}

static TI_SIMD void transform_output(const void *user, size_t slot)
{
  const job *k = user;

  TI_DISPATCH(k->r->dtype, output_worker, k, slot);
}

/* ------ the record */

/* floats of scratch */
typedef struct room {
  size_t image, weights, sums;
} room;

static room room_of(const record *r)
{
  const size_t panels = (size_t)(r->tiles_at_once + TI_TILE_ROWS - 1) / TI_TILE_ROWS;

  return (room){ .image = POINTS * panels * r->depth * TI_PANEL,
                 .weights = (size_t)POINTS * r->lanes_at_once * r->depth * TI_WEIGHT_UNIT,
                 .sums = (size_t)POINTS * r->tiles_at_once * r->lanes_at_once * TI_UNIT };
}

/*
 * The sums of one point, which are one thread's, as its image stays in the cache. A few units of
 * depth at a time: those of the image serve all panels of lanes from the second cache, those of one
 * panel of weights all tiles from the first; the next ones come meanwhile.
 */
static void sum_point(const void *user, size_t point)
{
  const job *k = user;
  const record *r = k->r;
  const size_t row = k->row, panel = (size_t)r->depth * TI_WEIGHT_UNIT;
  const int tiles = k->tiles, panels = k->panels;
  const float *image = k->image + point * k->image_point;
  const float *weights = k->weights + point * k->weight_point;
  float *sums = k->sums + point * tiles * row;

  for (int u = 0; u < r->depth; u += SHORT_SUM) {
    const int units = r->depth - u < SHORT_SUM ? r->depth - u : SHORT_SUM;
    const size_t share = (size_t)units * TI_WEIGHT_UNIT / panels;

    for (int l = 0; l < k->lanes; l++) {
      const float *b = weights + l * panel + (size_t)u * TI_WEIGHT_UNIT;

      for (int i = 0; i < panels; i++) {
        const int left = tiles - i * TI_TILE_ROWS;

        ti_prefetch(b + panel + i * share, share * sizeof(float));
        TI_FN(panel_product)
        (left < TI_TILE_ROWS ? left : TI_TILE_ROWS, sums + i * TI_TILE_ROWS * row + l * TI_UNIT,
         row, image + ((size_t)i * r->depth + u) * TI_PANEL, b, units, u > 0);
      }
    }
  }
}

static textinv_status run(const ti_prepared *base, ti_exec *e, void *y, const void *x,
                          const float *bias, const void *residual)
{
  const record *r = (const record *)base;
  const room m = room_of(r);
  const int panels = (r->dst_c + TI_UNIT - 1) / TI_UNIT, group = r->lanes_at_once;
  const size_t values = (size_t)r->num_tiles * 16 * r->dst_c;
  job j = { .r = r, .y = y, .x = x, .residual = residual, .bias = bias, .image = e->scratch };

  j.weights = j.image + m.image;
  j.sums = j.weights + m.weights;
  j.weight_point = (size_t)group * r->depth * TI_WEIGHT_UNIT;
  j.row = (size_t)group * TI_UNIT;
  for (; j.first < r->num_tiles; j.first += r->tiles_at_once) {
    const int left = r->num_tiles - j.first;

    j.tiles = left < r->tiles_at_once ? left : r->tiles_at_once;
    j.panels = (j.tiles + TI_TILE_ROWS - 1) / TI_TILE_ROWS;
    j.image_point = (size_t)j.panels * r->depth * TI_PANEL;
    ti_for(e, values, j.tiles, transform_image, &j);
    for (j.lane = 0; j.lane < panels; j.lane += group) {
      j.lanes = panels - j.lane < group ? panels - j.lane : group;
      ti_for(e, values, (size_t)j.lanes * r->depth, transform_weights, &j);
      ti_for(e, values, POINTS, sum_point, &j);
      ti_for(e, values, j.tiles, transform_output, &j);
    }
  }
  return TEXTINV_OK;
}

textinv_status TI_FN(winograd_prepare)(ti_exec *e, ti_dtype dtype, void **prepared,
                                       size_t *scratch_bytes, ti_weight *w,
                                       const ti_conv2d_shape *s, int backward)
{
  record *r = ti_calloc(1, sizeof(*r));
  size_t tile_bytes, lane_bytes, most, blocks, bytes;
  int lanes;
  room m;

  *prepared = NULL;
  if (!r)
    return ti_fail_nomem(e->error, sizeof(*r), w->name);
  r->base.run = run;
  r->dtype = dtype;
  r->matrix = (ti_matrix){ w->data, w->dtype, s->cout, s->cin, 9, backward };
  r->src_h = backward ? s->oh : s->h * s->up;
  r->src_w = backward ? s->ow : s->w * s->up;
  r->src_c = backward ? s->cout : s->cin;
  r->dst_h = backward ? s->h * s->up : s->oh;
  r->dst_w = backward ? s->w * s->up : s->ow;
  r->dst_c = backward ? s->cin : s->cout;
  r->pad_top = backward ? 2 - s->pad_top : s->pad_top;
  r->pad_left = backward ? 2 - s->pad_left : s->pad_left;
  r->src_up = backward ? 1 : s->up;
  r->dst_up = backward ? s->up : 1;
  r->tiles_y = (r->dst_h + 3) / 4;
  r->tiles_x = (r->dst_w + 3) / 4;
  r->num_tiles = s->n * r->tiles_y * r->tiles_x;
  r->depth = (r->src_c + TI_UNIT - 1) / TI_UNIT;
  tile_bytes = (size_t)POINTS * r->depth * TI_UNIT * sizeof(float);
  most = IMAGE_BYTES / tile_bytes;
  most = most < TI_TILE_ROWS ? TI_TILE_ROWS : most < MAX_TILES ? most : MAX_TILES;
  /* even blocks */
  blocks = ((size_t)r->num_tiles + most - 1) / most;
  r->tiles_at_once = (int)(((size_t)r->num_tiles + blocks - 1) / blocks);
  lane_bytes = (size_t)POINTS * r->depth * TI_WEIGHT_UNIT * sizeof(float);
  most = WEIGHT_BYTES / lane_bytes > 0 ? WEIGHT_BYTES / lane_bytes : 1;
  lanes = (r->dst_c + TI_UNIT - 1) / TI_UNIT;
  blocks = (lanes + most - 1) / most;
  r->lanes_at_once = (int)((lanes + blocks - 1) / blocks);
  m = room_of(r);
  bytes = (m.image + m.weights + m.sums) * sizeof(float);
  if (*scratch_bytes < bytes)
    *scratch_bytes = bytes;
  *prepared = r;
  return TEXTINV_OK;
}

#endif /* TI_HAVE_SIMD */
