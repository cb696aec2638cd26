/*
 * Convolutions and matrix products with vectors: products of panels that are gathered from the
 * image tap by tap, for float arithmetic on values of any type, or with TI_PAIRS on bf16.
 *
 * A pass computes the outputs (y out_step + y0, x out_step + x0) as a sum over taps, each a source
 * pixel (y step + dy, x step + dx) times the sum of some weights:
 *
 *   stride 1, 2 forward    one pass, kh kw taps, step = stride
 *   stride 2 backward      four passes, one for each parity of the pixel, with the taps that reach
 * it upsampling forward     four passes of 2x2 taps: the weights that meet the same source pixel
 * are added upsampling backward    one pass of 4x4 taps, step 2
 *
 * so no product with a zero or with a repeated pixel is computed, and nothing is upsampled.
 */
#include "gemm_simd.h"

#ifdef TI_HAVE_SIMD

#include "alloc.h"

enum {
  MAX_PASSES = 4,
  MAX_PASS_TAPS = 16,
  ROWS = 336,                          /* of a block, whole tiles */
  COLUMNS = 640,                       /* of a block */
  UNITS = 256 * TI_PER_LANE / TI_UNIT, /* of a step of the reduction, about */
  AHEAD = 8                            /* rows */
};

typedef struct tap {
  int dy, dx;
  unsigned weights; /* bit k: weight k is part of the sum */
  int plane;        /* of that sum */
} tap;

typedef struct pass {
  int step, out_step, y0, x0;
  int h, w; /* outputs of the pass */
  int num_taps;
  tap taps[MAX_PASS_TAPS];
} pass;

typedef struct record {
  ti_prepared base;
  ti_planes planes;
  ti_dtype dtype;
  int backward;
  int n, src_h, src_w, src_c, dst_h, dst_w, dst_c;
  int num_passes;
  pass passes[MAX_PASSES];
} record;

/* floor(a / b) and the remainder, b > 0 */
static int floor_div(int a, int b)
{
  return a >= 0 ? a / b : -((-a + b - 1) / b);
}

/* one axis of a pass: offsets and, for each, the set of kernel positions that meet it */
typedef struct axis {
  int count, offset[4];
  unsigned set[4];
} axis;

static void axis_add(axis *a, int offset, int k)
{
  int i = 0;

  while (i < a->count && a->offset[i] != offset)
    i++;
  if (i == a->count) {
    a->offset[a->count] = offset;
    a->set[a->count++] = 0;
  }
  a->set[i] |= 1u << k;
}

/* phase: the parity of the output where a pass takes every second one */
static axis axis_of(int k, int stride, int up, int pad, int backward, int phase)
{
  axis a = { 0 };

  for (int i = 0; i < k; i++) {
    if (!backward) {
      axis_add(&a, floor_div(phase + i - pad, up), i);
    } else if (up == 2) {
      axis_add(&a, pad - i, i);
      axis_add(&a, 1 + pad - i, i);
    } else if (floor_div(phase + pad - i, stride) * stride == phase + pad - i) {
      axis_add(&a, floor_div(phase + pad - i, stride), i);
    }
  }
  return a;
}

static pass pass_taps(const ti_conv2d_shape *s, int backward, int py, int px)
{
  const axis y = axis_of(s->kh, s->stride, s->up, s->pad_top, backward, py);
  const axis x = axis_of(s->kw, s->stride, s->up, s->pad_left, backward, px);
  pass p = { .y0 = py, .x0 = px };

  for (int i = 0; i < y.count; i++) {
    for (int j = 0; j < x.count; j++) {
      tap *t = &p.taps[p.num_taps++];

      t->dy = y.offset[i];
      t->dx = x.offset[j];
      for (int k = 0; k < s->kh * s->kw; k++) {
        if (y.set[i] >> k / s->kw & 1 && x.set[j] >> k % s->kw & 1)
          t->weights |= 1u << k;
      }
    }
  }
  return p;
}

/* the sums of the forward direction, in its order; the backward one needs no others */
static void list_planes(ti_planes *planes, const ti_conv2d_shape *s)
{
  for (int i = 0; i < s->up * s->up; i++) {
    const pass p = pass_taps(s, 0, i / s->up, i % s->up);

    planes->group = p.num_taps;
    for (int t = 0; t < p.num_taps; t++)
      planes->sets[planes->count++] = p.taps[t].weights;
  }
}

static void add_pass(record *r, const ti_conv2d_shape *s, int backward, int py, int px)
{
  const int phases = backward ? s->stride : s->up;
  pass *p = &r->passes[r->num_passes++];

  *p = pass_taps(s, backward, py, px);
  p->out_step = phases;
  p->step = backward ? s->up : s->up == 2 ? 1 : s->stride;
  p->h = (r->dst_h - py + phases - 1) / phases;
  p->w = (r->dst_w - px + phases - 1) / phases;
  for (int t = 0; t < p->num_taps; t++) {
    while (r->planes.sets[p->taps[t].plane] != p->taps[t].weights)
      p->taps[t].plane++;
  }
}

/* ------ a block of outputs: rows of one pass and some columns */

typedef struct block {
  const record *r;
  const pass *p;
  int first, rows, from, columns; /* rows count through n, h, w */
  float *a, *b, *c;
  int source[ROWS][3]; /* n, y, x of a row before a tap's offset */
} block;

/* units of one step: channels of a unit times taps */
static int step_channels(const pass *p)
{
  const int channels = p->num_taps ? (UNITS + p->num_taps / 2) / p->num_taps : 1;

  return channels ? channels : 1;
}

TI_SIMD_INLINE void pack_rows_worker(ti_dtype dtype, block *k, const void *x, int channel,
                                     int channels)
{
  const record *r = k->r;
  const pass *p = k->p;
  const int units = channels * p->num_taps;
  const size_t ahead = (size_t)AHEAD * p->step * r->src_c;

  for (int row = 0; row < k->rows; row++) {
    const int *at = k->source[row];
    float *to = k->a + ((size_t)row / TI_TILE_ROWS * units) * TI_PANEL +
                row % TI_TILE_ROWS * TI_ROW;

    for (int t = 0; t < p->num_taps; t++) {
      const int y = at[1] + p->taps[t].dy, px = at[2] + p->taps[t].dx;
      const int inside = y >= 0 && y < r->src_h && px >= 0 && px < r->src_w;
      const size_t from = inside ? (((size_t)at[0] * r->src_h + y) * r->src_w + px) * r->src_c : 0;

      for (int c = 0; c < channels; c++) {
        const size_t at_unit = from + (size_t)(channel + c) * TI_UNIT;

        __builtin_prefetch((const char *)x + (at_unit + ahead) * ti_dtype_size(dtype));
        ti_copy_unit(dtype, to + (size_t)(c * p->num_taps + t) * TI_PANEL, inside ? x : NULL, from,
                     (channel + c) * TI_UNIT, r->src_c);
      }
    }
  }
}

static TI_SIMD void pack_rows(ti_dtype dtype, block *k, const void *x, int channel, int channels)
{
  TI_DISPATCH(dtype, pack_rows_worker, k, x, channel, channels);
}

/* unit i of a panel of columns, which is [channels, taps of the pass] from a channel on */
static const void *unit_at(const block *k, int channel, int column, int i)
{
  const int depth = channel + i / k->p->num_taps, plane = k->p->taps[i % k->p->num_taps].plane;
  const int lanes = k->from / TI_UNIT + column;

  return ti_planes_unit(&k->r->planes, plane, k->r->backward ? depth : lanes,
                        k->r->backward ? lanes : depth);
}

/* operands forward: they lie where they were packed, one after the other */
static int in_place(const record *r)
{
  return !r->backward && r->planes.dtype == TI_F32;
}

static const float *panel_at(const block *k, int channel, int column, int units)
{
  if (in_place(k->r))
    return unit_at(k, channel, column, 0);
  for (int i = 0; i < units; i++)
    TI_FN(planes_get)
  (&k->r->planes, k->b + (size_t)i * TI_WEIGHT_UNIT, unit_at(k, channel, column, i),
   k->r->backward);
  return k->b;
}

/* one of so many parts of the panel after this one: it comes from memory meanwhile */
static void prefetch(const block *k, int channel, int column, int channels, int part, int parts)
{
  const int units = channels * k->p->num_taps;

  for (int i = units * part / parts; i < units * (part + 1) / parts; i++)
    ti_prefetch(unit_at(k, channel, column, i), ti_unit_bytes(&k->r->planes));
}

TI_SIMD_INLINE void finish_worker(ti_dtype dtype, const block *k, void *y, const float *bias,
                                  const void *residual)
{
  const record *r = k->r;
  const pass *p = k->p;
  const size_t stride = (size_t)(k->columns + TI_UNIT - 1) / TI_UNIT * TI_UNIT;
  const size_t ahead = (size_t)AHEAD * p->out_step * r->dst_c;

  for (int row = 0; row < k->rows; row++) {
    const int i = k->first + row, n = i / (p->h * p->w), pixel = i % (p->h * p->w);
    const int oy = pixel / p->w * p->out_step + p->y0, ox = pixel % p->w * p->out_step + p->x0;
    const size_t at = (((size_t)n * r->dst_h + oy) * r->dst_w + ox) * r->dst_c + k->from;

    for (int c = 0; c < k->columns; c += TI_LANES) {
      const ti_mask m = ti_first(k->columns - c);
      const size_t next = (at + c + ahead) * ti_dtype_size(dtype);
      ti_vec sum = ti_get(k->c + row * stride + c);

      __builtin_prefetch((const char *)y + next, 1);
      if (bias)
        sum += ti_load_mask(TI_F32, bias, k->from + c, m);
      if (residual) {
        __builtin_prefetch((const char *)residual + next);
        sum += ti_load_mask(dtype, residual, at + c, m);
      }
      ti_store_mask(dtype, y, at + c, m, sum);
    }
  }
}

static TI_SIMD void finish(ti_dtype dtype, const block *k, void *y, const float *bias,
                           const void *residual)
{
  TI_DISPATCH(dtype, finish_worker, k, y, bias, residual);
}

static void run_block(block *k, void *y, const void *x, const float *bias, const void *residual)
{
  const record *r = k->r;
  const pass *p = k->p;
  const int depth = (r->src_c + TI_UNIT - 1) / TI_UNIT, at_once = step_channels(p);
  const int panels = (k->columns + TI_UNIT - 1) / TI_UNIT;
  const int tiles = (k->rows + TI_TILE_ROWS - 1) / TI_TILE_ROWS;
  const size_t stride = (size_t)panels * TI_UNIT;

  for (int row = 0; row < k->rows; row++) {
    const int i = k->first + row, pixel = i % (p->h * p->w);

    k->source[row][0] = i / (p->h * p->w);
    k->source[row][1] = pixel / p->w * p->step;
    k->source[row][2] = pixel % p->w * p->step;
  }
  for (int channel = 0; channel < depth; channel += at_once) {
    const int channels = depth - channel < at_once ? depth - channel : at_once;
    const int units = channels * p->num_taps;

    pack_rows(r->dtype, k, x, channel, channels);
    for (int column = 0; column < panels; column++) {
      const int last = column + 1 == panels, next = last ? channel + channels : channel;
      const int left = depth - next < at_once ? depth - next : at_once;
      const float *b = panel_at(k, channel, column, units);

      for (int i = 0; i < tiles; i++) {
        const int row = i * TI_TILE_ROWS, rows = k->rows - row;

        prefetch(k, next, last ? 0 : column + 1, left, i, tiles);
        TI_FN(panel_product)
        (rows < TI_TILE_ROWS ? rows : TI_TILE_ROWS, k->c + row * stride + column * TI_UNIT, stride,
         k->a + (size_t)i * units * TI_PANEL, b, units, channel > 0);
      }
    }
  }
  finish(r->dtype, k, y, bias, residual);
}

/* ------ the record */

/* floats of scratch of a thread */
typedef struct room {
  size_t a, b, c, all;
} room;

static int max_units(const record *r)
{
  int most = 1;

  for (int i = 0; i < r->num_passes; i++) {
    const int units = step_channels(&r->passes[i]) * r->passes[i].num_taps;

    most = units > most ? units : most;
  }
  return most;
}

static room room_of(const record *r)
{
  const size_t units = (size_t)max_units(r);
  room m = { .a = ROWS / TI_TILE_ROWS * units * TI_PANEL,
             .b = in_place(r) ? 0 : units * TI_WEIGHT_UNIT,
             .c = (size_t)ROWS * COLUMNS };

  m.all = m.a + m.b + m.c;
  return m;
}

/* blocks of a pass, each [height, width] */
typedef struct job {
  const record *r;
  const pass *p;
  void *y;
  const void *x, *residual;
  const float *bias;
  float *scratch;
  room room;
  int rows, height, width, column_blocks;
} job;

static void run_blocks(void *user, int thread, size_t from, size_t to)
{
  const job *j = user;
  float *at = j->scratch + thread * j->room.all;

  for (size_t i = from; i < to; i++) {
    const int row = (int)(i / j->column_blocks) * j->height;
    const int column = (int)(i % j->column_blocks) * j->width;
    block k = { .r = j->r,
                .p = j->p,
                .first = row,
                .from = column,
                .rows = j->rows - row < j->height ? j->rows - row : j->height,
                .columns = j->r->dst_c - column < j->width ? j->r->dst_c - column : j->width,
                .a = at,
                .b = at + j->room.a,
                .c = at + j->room.a + j->room.b };

    if (k.rows > 0)
      run_block(&k, j->y, j->x, j->bias, j->residual);
  }
}

static textinv_status run(const ti_prepared *base, ti_exec *e, void *y, const void *x,
                          const float *bias, const void *residual)
{
  const record *r = (const record *)base;
  job j = { .r = r,
            .y = y,
            .x = x,
            .residual = residual,
            .bias = bias,
            .scratch = e->scratch,
            .room = room_of(r) };

  for (int i = 0; i < r->num_passes; i++) {
    const pass *p = &r->passes[i];
    const int rows = r->n * p->h * p->w, row_blocks = (rows + ROWS - 1) / ROWS;
    const int threads = ti_threads(e, ti_matrix_work(rows, r->src_c * p->num_taps, r->dst_c));
    /* whole panels, spread evenly over blocks and rows over blocks alike */
    const int panels = (r->dst_c + TI_UNIT - 1) / TI_UNIT;
    const int wanted = threads == 1 || row_blocks >= 2 * threads
                         ? 1
                         : (2 * threads + row_blocks - 1) / (row_blocks ? row_blocks : 1);
    const int least = (panels * TI_UNIT + COLUMNS - 1) / COLUMNS;
    const int parts = wanted < least ? least : wanted < panels ? wanted : panels;

    j.p = p;
    j.rows = rows;
    j.width = (panels + parts - 1) / parts * TI_UNIT;
    j.column_blocks = (r->dst_c + j.width - 1) / j.width;
    j.height = row_blocks ? ((rows + row_blocks - 1) / row_blocks + TI_TILE_ROWS - 1) /
                              TI_TILE_ROWS * TI_TILE_ROWS
                          : 0;
    ti_team_for(e->team, threads, (size_t)row_blocks * j.column_blocks, run_blocks, &j);
  }
  return TEXTINV_OK;
}

textinv_status TI_FN(conv2d_prepare)(ti_exec *e, ti_dtype dtype, void **prepared,
                                     size_t *scratch_bytes, ti_weight *w, ti_weight *bias,
                                     const ti_conv2d_shape *s, int has_residual, int backward)
{
  const int phases = backward ? s->stride : s->up;
  textinv_status status;
  record *r;
  size_t bytes;

  (void)bias;
  (void)has_residual;
  *prepared = NULL;
  /* what the passes describe; anything else takes the plain path */
  if (s->kh * s->kw > TI_MAX_TAPS || s->kh > 3 || s->kw > 3 ||
      (s->up == 2 && (s->stride != 1 || s->kh % 2 == 0 || s->kw % 2 == 0)))
    return TEXTINV_OK;
#ifndef TI_PAIRS
  if (TI_FN(winograd_suits)(s))
    return TI_FN(winograd_prepare)(e, dtype, prepared, scratch_bytes, w, s, backward);
#endif
  if (!(r = ti_calloc(1, sizeof(*r))))
    return ti_fail_nomem(e->error, sizeof(*r), w->name);
  r->base.run = run;
  r->dtype = dtype;
  r->backward = backward;
  r->planes.cout = (s->cout + TI_UNIT - 1) / TI_UNIT;
  r->planes.cin = (s->cin + TI_UNIT - 1) / TI_UNIT;
  list_planes(&r->planes, s);
  if ((status = TI_FN(planes_pack)(e, &r->planes, w)) < 0) {
    ti_free(r);
    return status;
  }
  r->n = s->n;
  r->src_h = backward ? s->oh : s->h;
  r->src_w = backward ? s->ow : s->w;
  r->src_c = backward ? s->cout : s->cin;
  r->dst_h = backward ? s->h : s->oh;
  r->dst_w = backward ? s->w : s->ow;
  r->dst_c = backward ? s->cin : s->cout;
  for (int i = 0; i < phases * phases; i++)
    add_pass(r, s, backward, i / phases, i % phases);
  bytes = ti_team_size(e->team) * room_of(r).all * sizeof(float);
  if (*scratch_bytes < bytes)
    *scratch_bytes = bytes;
  *prepared = r;
  return TEXTINV_OK;
}

textinv_status TI_FN(linear_prepare)(ti_exec *e, ti_dtype dtype, void **prepared,
                                     size_t *scratch_bytes, ti_weight *w, ti_weight *bias,
                                     const ti_linear_shape *s, int has_residual, int backward)
{
  const ti_conv2d_shape conv = { .n = 1,
                                 .h = 1,
                                 .w = s->rows,
                                 .cin = s->cin,
                                 .cout = s->cout,
                                 .kh = 1,
                                 .kw = 1,
                                 .stride = 1,
                                 .up = 1,
                                 .oh = 1,
                                 .ow = s->rows };

  return TI_FN(conv2d_prepare)(e, dtype, prepared, scratch_bytes, w, bias, &conv, has_residual,
                               backward);
}

#endif /* TI_HAVE_SIMD */
