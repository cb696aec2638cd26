/* The builders: each checks shapes, infers its output and appends one record. */
#include "tape.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include "alloc.h"

void ti_tape_init(ti_tape *t, ti_dtype dtype, ti_error *error)
{
  memset(t, 0, sizeof(*t));
  t->dtype = dtype;
  t->error = error;
  t->loss_scale = 1.0f;
}

void ti_tape_free(ti_tape *t)
{
  ti_free(t->values);
  ti_free(t->records);
  memset(t, 0, sizeof(*t));
}

textinv_status ti_tape_status(const ti_tape *t)
{
  return t->status;
}

void ti_tape_fail(ti_tape *t, textinv_status status)
{
  if (t->status == TEXTINV_OK)
    t->status = status;
}

ti_value *ti_tape_value(const ti_tape *t, ti_val v)
{
  return &t->values[v];
}

/* room for one more element; *items may move */
static int grow(ti_tape *t, void **items, int count, int *room, size_t size)
{
  void *p;
  int larger;

  if (count < *room)
    return 0;
  larger = *room ? *room * 2 : 256;
  p = ti_realloc_array(*items, (size_t)larger, size);
  if (!p) {
    ti_tape_fail(t, ti_fail_nomem(t->error, (size_t)larger * size, "the tape"));
    return -1;
  }
  *items = p;
  *room = larger;
  return 0;
}

static size_t type_size(ti_type type)
{
  return type == TI_TYPE_I32 ? sizeof(int32_t) : ti_dtype_size((ti_dtype)type);
}

ti_val ti_tape_new_value(ti_tape *t, ti_type type, int n, int h, int w, int c)
{
  ti_value *v;
  size_t bytes = type_size(type);
  const int dims[4] = { n, h, w, c };
  long long rows = 1; /* kernels count rows in an int */

  if (t->status < 0)
    return TI_NONE;
  for (int i = 0; i < 4; i++) {
    rows *= i < 3 ? dims[i] : 1;
    if (dims[i] < 1 || rows > INT_MAX || ti_mul_size(&bytes, bytes, (size_t)dims[i])) {
      ti_tape_fail(
        t, ti_fail(t->error, TEXTINV_E_LIMIT, "a value of [%d, %d, %d, %d] cannot be", n, h, w, c));
      return TI_NONE;
    }
  }
  if (grow(t, (void **)&t->values, t->num_values, &t->room_values, sizeof(*v)))
    return TI_NONE;
  v = &t->values[t->num_values];
  *v = (ti_value){ .n = n,
                   .h = h,
                   .w = w,
                   .c = c,
                   .type = type,
                   .bytes = bytes,
                   .base = t->num_values,
                   .grad = TI_NONE };
  return t->num_values++;
}

ti_record *ti_tape_append(ti_tape *t, ti_op op)
{
  ti_record *r;

  if (t->status < 0)
    return NULL;
  if (grow(t, (void **)&t->records, t->num_records, &t->room_records, sizeof(*r)))
    return NULL;
  r = &t->records[t->num_records++];
  memset(r, 0, sizeof(*r));
  r->op = op;
  r->block = t->block;
  for (int i = 0; i < TI_MAX_IN; i++)
    r->in[i] = TI_NONE;
  for (int i = 0; i < TI_MAX_OUT; i++)
    r->out[i] = TI_NONE;
  return r;
}

static int alive(const ti_tape *t, ti_val v)
{
  return t->status >= 0 && v != TI_NONE;
}

static ti_type act_type(const ti_tape *t)
{
  return (ti_type)t->dtype;
}

static int wants_grad(const ti_tape *t, ti_val v)
{
  return v != TI_NONE && t->values[v].wants_grad;
}

/* an output of op that depends on in[0..count) */
static ti_val derive(ti_tape *t, ti_type type, int n, int h, int w, int c, const ti_val *in,
                     int count)
{
  const ti_val y = ti_tape_new_value(t, type, n, h, w, c);

  for (int i = 0; y != TI_NONE && i < count; i++)
    t->values[y].wants_grad |= wants_grad(t, in[i]);
  return y;
}

/* a record of op that makes y of a and, where there is one, b */
static ti_record *append(ti_tape *t, ti_op op, ti_val y, ti_val a, ti_val b)
{
  ti_record *r = ti_tape_append(t, op);

  if (r) {
    r->in[0] = a;
    r->in[1] = b;
    r->out[0] = y;
  }
  return r;
}

static ti_val fail_shape(ti_tape *t, const char *what, const ti_weight *w, int met, int expected)
{
  ti_tape_fail(t, ti_fail(t->error, TEXTINV_E_SHAPE, "%s%s%s: %d where %d is needed",
                          w ? w->name : what, w ? ": " : "", w ? what : "", met, expected));
  return TI_NONE;
}

static int rows_of(const ti_value *v)
{
  return v->n * v->h * v->w;
}

static size_t count_of(const ti_value *v)
{
  return (size_t)rows_of(v) * (size_t)v->c;
}

static int same_shape(const ti_value *a, const ti_value *b)
{
  return rows_of(a) == rows_of(b) && a->c == b->c && a->type == b->type;
}

ti_val ti_input(ti_tape *t, ti_type type, int n, int h, int w, int c)
{
  const ti_val v = ti_tape_new_value(t, type, n, h, w, c);

  if (v != TI_NONE)
    t->values[v].is_input = 1;
  return v;
}

ti_val ti_want_grad(ti_tape *t, ti_val v)
{
  if (alive(t, v))
    t->values[v].wants_grad = 1;
  return v;
}

ti_val ti_constant(ti_tape *t, ti_val v)
{
  if (alive(t, v))
    t->values[v].is_constant = 1;
  return v;
}

void ti_output(ti_tape *t, ti_val v)
{
  if (alive(t, v))
    t->values[t->values[v].base].is_output = 1;
}

/* a length-c float vector */
static int check_vector(ti_tape *t, const char *what, const ti_weight *w, int c)
{
  if (w && (w->rank != 1 || w->dims[0] != c)) {
    fail_shape(t, what, w, w->dims[0], c);
    return -1;
  }
  return 0;
}

ti_val ti_conv2d(ti_tape *t, ti_val x, ti_weight *w, ti_weight *b, int stride, const int pads[4],
                 int up, ti_val residual)
{
  ti_conv2d_shape s;
  ti_record *r;
  ti_val y;

  if (!alive(t, x) || !w)
    return TI_NONE;
  const ti_value v = t->values[x];

  if (w->rank != 4)
    return fail_shape(t, "rank of the convolution", w, w->rank, 4);
  if (w->dims[1] != v.c)
    return fail_shape(t, "input channels", w, w->dims[1], v.c);
  if (check_vector(t, "bias", b, w->dims[0]))
    return TI_NONE;
  if (w->dims[2] == 1 && w->dims[3] == 1 && stride == 1 && up == 1 && !pads[0] && !pads[1] &&
      !pads[2] && !pads[3])
    return ti_linear(t, x, w, b, residual);

  s = (ti_conv2d_shape){ .n = v.n,
                         .h = v.h,
                         .w = v.w,
                         .cin = v.c,
                         .cout = w->dims[0],
                         .kh = w->dims[2],
                         .kw = w->dims[3],
                         .stride = stride,
                         .up = up,
                         .pad_top = pads[0],
                         .pad_left = pads[1],
                         .pad_bottom = pads[2],
                         .pad_right = pads[3] };
  s.oh = (s.h * up + s.pad_top + s.pad_bottom - s.kh) / stride + 1;
  s.ow = (s.w * up + s.pad_left + s.pad_right - s.kw) / stride + 1;
  if (s.h * up + s.pad_top + s.pad_bottom < s.kh || s.w * up + s.pad_left + s.pad_right < s.kw)
    return fail_shape(t, "height of a convolution's input", w, v.h, s.kh);
  y = derive(t, act_type(t), s.n, s.oh, s.ow, s.cout, (ti_val[]){ x, residual }, 2);
  if (y == TI_NONE)
    return TI_NONE;
  if (residual != TI_NONE && !same_shape(&t->values[residual], &t->values[y]))
    return fail_shape(t, "channels of the residual", w, t->values[residual].c, s.cout);
  if (!(r = append(t, TI_OP_CONV2D, y, x, residual)))
    return TI_NONE;
  r->weight = w;
  r->bias = b;
  r->s.conv2d = s;
  return y;
}

ti_val ti_conv2d_same(ti_tape *t, ti_val x, ti_weight *w, ti_weight *b, ti_val residual)
{
  if (!w)
    return TI_NONE;
  const int p = w->rank == 4 ? w->dims[2] / 2 : 0;

  return ti_conv2d(t, x, w, b, 1, (int[]){ p, p, p, p }, 1, residual);
}

ti_val ti_linear(ti_tape *t, ti_val x, ti_weight *w, ti_weight *b, ti_val residual)
{
  ti_record *r;
  ti_val y;

  if (!alive(t, x) || !w)
    return TI_NONE;
  const ti_value v = t->values[x];

  /* a 1x1 convolution is a matrix, too */
  if (!(w->rank == 2 || (w->rank == 4 && w->dims[2] == 1 && w->dims[3] == 1)))
    return fail_shape(t, "rank of the matrix", w, w->rank, 2);
  if (w->dims[1] != v.c)
    return fail_shape(t, "input width", w, w->dims[1], v.c);
  if (check_vector(t, "bias", b, w->dims[0]))
    return TI_NONE;
  y = derive(t, act_type(t), v.n, v.h, v.w, w->dims[0], (ti_val[]){ x, residual }, 2);
  if (y == TI_NONE)
    return TI_NONE;
  if (residual != TI_NONE && !same_shape(&t->values[residual], &t->values[y]))
    return fail_shape(t, "width of the residual", w, t->values[residual].c, w->dims[0]);
  if (!(r = append(t, TI_OP_LINEAR, y, x, residual)))
    return TI_NONE;
  r->weight = w;
  r->bias = b;
  r->s.linear = (ti_linear_shape){ rows_of(&v), v.c, w->dims[0] };
  return y;
}

ti_val ti_groupnorm(ti_tape *t, ti_val x, ti_val shift, ti_weight *w, ti_weight *b, int groups,
                    double eps, int silu)
{
  ti_record *r;
  ti_val y, mean, rstd;

  if (!alive(t, x) || !w || !b)
    return TI_NONE;
  const ti_value v = t->values[x];

  if (check_vector(t, "channels", w, v.c) || check_vector(t, "channels", b, v.c))
    return TI_NONE;
  if (groups < 1 || v.c % groups)
    return fail_shape(t, "groups that do not divide the channels", w, groups, v.c);
  if (shift != TI_NONE && (rows_of(&t->values[shift]) != v.n || t->values[shift].c != v.c))
    return fail_shape(t, "channels of a sum", NULL, t->values[shift].c, v.c);
  y = derive(t, act_type(t), v.n, v.h, v.w, v.c, (ti_val[]){ x, shift }, 2);
  mean = ti_tape_new_value(t, TI_TYPE_F32, v.n, 1, 1, groups);
  rstd = ti_tape_new_value(t, TI_TYPE_F32, v.n, 1, 1, groups);
  if (!(r = append(t, TI_OP_GROUPNORM, y, x, shift)))
    return TI_NONE;
  r->out[1] = mean;
  r->out[2] = rstd;
  r->weight = w;
  r->bias = b;
  r->s.groupnorm = (ti_groupnorm_shape){ v.n, v.h * v.w, v.c, groups, silu, (float)eps };
  return y;
}

ti_val ti_layernorm(ti_tape *t, ti_val x, ti_weight *w, ti_weight *b, double eps)
{
  ti_record *r;
  ti_val y, mean, rstd;

  if (!alive(t, x) || !w || !b)
    return TI_NONE;
  const ti_value v = t->values[x];

  if (check_vector(t, "width", w, v.c) || check_vector(t, "width", b, v.c))
    return TI_NONE;
  y = derive(t, act_type(t), v.n, v.h, v.w, v.c, &x, 1);
  mean = ti_tape_new_value(t, TI_TYPE_F32, v.n, v.h, v.w, 1);
  rstd = ti_tape_new_value(t, TI_TYPE_F32, v.n, v.h, v.w, 1);
  if (!(r = append(t, TI_OP_LAYERNORM, y, x, TI_NONE)))
    return TI_NONE;
  r->out[1] = mean;
  r->out[2] = rstd;
  r->weight = w;
  r->bias = b;
  r->s.layernorm = (ti_layernorm_shape){ rows_of(&v), v.c, (float)eps };
  return y;
}

/* of columns [from, from + width) of q, k and v */
static ti_val attention(ti_tape *t, const ti_val in[3], const int from[3], int width, int heads,
                        int causal)
{
  const ti_value a = t->values[in[0]], b = t->values[in[1]], c = t->values[in[2]];
  ti_record *r;
  ti_val o, lse = TI_NONE;

  if (heads < 1 || width % heads)
    return fail_shape(t, "attention width that the heads divide", NULL, width, heads);
  if (b.n != a.n)
    return fail_shape(t, "samples of the keys", NULL, b.n, a.n);
  o = derive(t, act_type(t), a.n, a.h, a.w, width, in, 3);
  if (o != TI_NONE && t->values[o].wants_grad)
    lse = ti_tape_new_value(t, TI_TYPE_F32, a.n, 1, heads, a.h * a.w);
  if (!(r = ti_tape_append(t, TI_OP_ATTENTION)))
    return TI_NONE;
  r->out[0] = o;
  r->out[1] = lse;
  r->s.attention = (ti_attention_shape){
    a.n, heads, a.h * a.w, b.h * b.w, width / heads,
    a.c, b.c,   c.c,       causal,    (float)(1.0 / sqrt((double)width / heads))
  };
  for (int i = 0; i < 3; i++) {
    r->in[i] = in[i];
    r->s.from[i] = from[i];
  }
  return o;
}

ti_val ti_attention(ti_tape *t, ti_val q, ti_val k, ti_val v, int heads, int causal)
{
  if (!alive(t, q) || !alive(t, k) || !alive(t, v))
    return TI_NONE;
  const ti_value a = t->values[q], b = t->values[k], c = t->values[v];

  if (b.c != a.c || c.c != a.c || c.n != b.n || b.h * b.w != c.h * c.w)
    return fail_shape(t, "width of the keys", NULL, b.c, a.c);
  return attention(t, (ti_val[]){ q, k, v }, (int[]){ 0, 0, 0 }, a.c, heads, causal);
}

ti_val ti_attention_joined(ti_tape *t, ti_val q, ti_val joined, int heads, int causal)
{
  const int parts = q == TI_NONE ? 3 : 2, keys = q == TI_NONE;

  if (!alive(t, joined))
    return TI_NONE;
  const int width = t->values[joined].c / parts;

  if (t->values[joined].c % parts || (!keys && t->values[q].c != width))
    return fail_shape(t, "width of the keys", NULL, width, keys ? width + 1 : t->values[q].c);
  return attention(t, (ti_val[]){ keys ? joined : q, joined, joined },
                   (int[]){ 0, keys * width, (keys + 1) * width }, width, heads, causal);
}

ti_val ti_activate(ti_tape *t, ti_val x, ti_activation kind)
{
  ti_record *r;
  ti_val y;

  if (!alive(t, x))
    return TI_NONE;
  const ti_value v = t->values[x];

  y = derive(t, act_type(t), v.n, v.h, v.w, v.c, &x, 1);
  if (!(r = append(t, TI_OP_ACTIVATION, y, x, TI_NONE)))
    return TI_NONE;
  r->s.activation = (ti_activation_shape){ count_of(&v), kind };
  return y;
}

ti_val ti_geglu(ti_tape *t, ti_val x)
{
  ti_record *r;
  ti_val y;

  if (!alive(t, x))
    return TI_NONE;
  const ti_value v = t->values[x];

  if (v.c % 2)
    return fail_shape(t, "even width of a gated layer", NULL, v.c, v.c + 1);
  y = derive(t, act_type(t), v.n, v.h, v.w, v.c / 2, &x, 1);
  if (!(r = append(t, TI_OP_GEGLU, y, x, TI_NONE)))
    return TI_NONE;
  r->s.geglu = (ti_geglu_shape){ rows_of(&v), v.c / 2 };
  return y;
}

ti_val ti_add(ti_tape *t, ti_val a, ti_val b)
{
  ti_record *r;
  ti_val y;

  if (!alive(t, a) || !alive(t, b))
    return TI_NONE;
  const ti_value v = t->values[a];

  if (!same_shape(&v, &t->values[b]))
    return fail_shape(t, "channels of a sum", NULL, t->values[b].c, v.c);
  y = derive(t, v.type, v.n, v.h, v.w, v.c, (ti_val[]){ a, b }, 2);
  if (!(r = append(t, TI_OP_ADD, y, a, b)))
    return TI_NONE;
  r->s.count = count_of(&v);
  return y;
}

ti_val ti_concat(ti_tape *t, ti_val a, ti_val b)
{
  ti_record *r;
  ti_val y;

  if (!alive(t, a) || !alive(t, b))
    return TI_NONE;
  const ti_value p = t->values[a], q = t->values[b];

  if (rows_of(&p) != rows_of(&q) || p.c > INT_MAX - q.c)
    return fail_shape(t, "rows to join", NULL, rows_of(&q), rows_of(&p));
  y = derive(t, act_type(t), p.n, p.h, p.w, p.c + q.c, (ti_val[]){ a, b }, 2);
  if (!(r = append(t, TI_OP_CONCAT, y, a, b)))
    return TI_NONE;
  r->s.columns = (ti_copy_columns_shape){ rows_of(&p), p.c, p.c + q.c, 0, p.c, 0 };
  return y;
}

ti_val ti_upsample(ti_tape *t, ti_val x)
{
  ti_record *r;
  ti_val y;

  if (!alive(t, x))
    return TI_NONE;
  const ti_value v = t->values[x];

  y = derive(t, act_type(t), v.n, 2 * v.h, 2 * v.w, v.c, &x, 1);
  if (!(r = append(t, TI_OP_UPSAMPLE, y, x, TI_NONE)))
    return TI_NONE;
  r->s.upsample = (ti_upsample_shape){ v.n, v.h, v.w, v.c };
  return y;
}

/* columns [0, count) of x as rows of y_c */
static ti_val cut(ti_tape *t, ti_val x, int n, int h, int w, int c, int rows)
{
  ti_record *r;
  const ti_val y = derive(t, act_type(t), n, h, w, c, &x, 1);

  if (y == TI_NONE || !(r = append(t, TI_OP_SLICE, y, x, TI_NONE)))
    return TI_NONE;
  const int from = (int)(count_of(&t->values[x]) / (size_t)rows);
  const int to = (int)(count_of(&t->values[y]) / (size_t)rows);

  r->s.columns = (ti_copy_columns_shape){ rows, to, to, 0, from, 0 };
  return y;
}

ti_val ti_crop(ti_tape *t, ti_val x, int h, int w)
{
  if (!alive(t, x))
    return TI_NONE;
  const ti_value v = t->values[x];

  if (h > v.h || w > v.w)
    return fail_shape(t, "a side to cut", NULL, h > v.h ? v.h : v.w, h > v.h ? h : w);
  if (v.wants_grad)
    return fail_shape(t, "a side that halves evenly, to be trained with", NULL, h < v.h ? h : w,
                      h < v.h ? v.h : v.w);
  if (h < v.h)
    x = cut(t, x, v.n, h, v.w, v.c, v.n);
  if (w < v.w)
    x = cut(t, x, v.n, h, w, v.c, v.n * h);
  return x;
}

ti_val ti_twice(ti_tape *t, ti_val x)
{
  if (!alive(t, x))
    return TI_NONE;
  const ti_value v = t->values[x];

  if (count_of(&v) > INT_MAX / 2)
    return fail_shape(t, "values of a sample", NULL, INT_MAX, INT_MAX / 2);
  x = ti_reshape(t, x, 1, 1, 1, (int)count_of(&v));
  return ti_reshape(t, ti_concat(t, x, x), 2 * v.n, v.h, v.w, v.c);
}

ti_val ti_as_many(ti_tape *t, ti_val x, ti_val other)
{
  if (!alive(t, x) || !alive(t, other) || t->values[x].n >= t->values[other].n)
    return x;
  return ti_twice(t, x);
}

ti_val ti_timestep(ti_tape *t, ti_val timesteps, int dim, int flip, double shift)
{
  ti_record *r;
  ti_val y;

  if (!alive(t, timesteps))
    return TI_NONE;
  const ti_value v = t->values[timesteps];

  y = ti_tape_new_value(t, act_type(t), v.n, v.h, v.w, dim);
  if (!(r = append(t, TI_OP_TIMESTEP, y, timesteps, TI_NONE)))
    return TI_NONE;
  r->s.timestep = (ti_timestep_shape){ rows_of(&v), dim, flip, (float)shift, 10000.0f };
  return y;
}

ti_val ti_embedding(ti_tape *t, ti_val ids, ti_val rows, ti_weight *table, ti_weight *positions)
{
  ti_record *r;
  ti_val y;

  if (!alive(t, ids) || !table)
    return TI_NONE;
  const ti_value v = t->values[ids];
  const int tokens = v.h * v.w, num_rows = rows == TI_NONE ? 0 : rows_of(&t->values[rows]);

  if (table->rank != 2)
    return fail_shape(t, "rank of the table", table, table->rank, 2);
  if (rows != TI_NONE && t->values[rows].c != table->dims[1])
    return fail_shape(t, "width of the new rows", table, t->values[rows].c, table->dims[1]);
  if (positions &&
      (positions->rank != 2 || positions->dims[0] < tokens || positions->dims[1] != table->dims[1]))
    return fail_shape(t, "positions", positions, positions->dims[0], tokens);
  y = derive(t, act_type(t), v.n, 1, tokens, table->dims[1], &rows, 1);
  if (!(r = append(t, TI_OP_EMBEDDING, y, ids, rows)))
    return TI_NONE;
  r->weight = table;
  r->bias = positions;
  r->s.embedding = (ti_embedding_shape){ v.n, tokens, table->dims[1], table->dims[0], num_rows };
  return y;
}

ti_val ti_gather(ti_tape *t, ti_val x, ti_val index)
{
  ti_record *r;
  ti_val y;

  if (!alive(t, x) || !alive(t, index))
    return TI_NONE;
  const ti_value v = t->values[x];

  y = derive(t, act_type(t), v.n, 1, 1, v.c, &x, 1);
  if (!(r = append(t, TI_OP_GATHER, y, x, index)))
    return TI_NONE;
  r->s.gather = (ti_gather_shape){ v.n, v.h * v.w, v.c };
  return y;
}

ti_val ti_mse(ti_tape *t, ti_val pred, ti_val target)
{
  ti_record *r;
  ti_val loss;

  if (!alive(t, pred) || !alive(t, target))
    return TI_NONE;
  const ti_value v = t->values[pred];

  if (rows_of(&v) != rows_of(&t->values[target]) || v.c != t->values[target].c)
    return fail_shape(t, "channels of the target", NULL, t->values[target].c, v.c);
  loss = derive(t, TI_TYPE_F32, 1, 1, 1, 1, &pred, 1);
  if (!(r = append(t, TI_OP_MSE, loss, pred, target)))
    return TI_NONE;
  r->s.mse = (ti_mse_shape){ v.n, count_of(&v) / (size_t)v.n };
  return loss;
}

ti_val ti_cast(ti_tape *t, ti_val x, ti_type type)
{
  ti_record *r;
  ti_val y;

  if (!alive(t, x))
    return TI_NONE;
  const ti_value v = t->values[x];

  if (v.type == type)
    return x;
  y = derive(t, type, v.n, v.h, v.w, v.c, &x, 1);
  if (!(r = append(t, TI_OP_CAST, y, x, TI_NONE)))
    return TI_NONE;
  r->s.count = count_of(&v);
  return y;
}

ti_val ti_reshape(ti_tape *t, ti_val x, int n, int h, int w, int c)
{
  ti_val y;

  if (!alive(t, x))
    return TI_NONE;
  y = derive(t, t->values[x].type, n, h, w, c, &x, 1);
  if (y == TI_NONE)
    return TI_NONE;
  if (t->values[y].bytes != t->values[x].bytes)
    return fail_shape(t, "width after a reshape", NULL, c, t->values[x].c);
  t->values[y].base = t->values[x].base;
  return y;
}

void ti_block_begin(ti_tape *t)
{
  t->block = ++t->num_blocks;
}

void ti_block_end(ti_tape *t)
{
  t->block = 0;
}
