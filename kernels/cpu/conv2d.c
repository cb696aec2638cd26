/*
 * Convolution over NHWC, the reference.
 *
 *   fwd: y[n, oy, ox, o] = bias[o] + sum x[n, iy / up, ix / up, i] w[o, i, ky, kx] (+ residual)
 *        iy = oy stride + ky - pad_top, ix alike; outside the image x is 0
 *   bwd: dx[n, y, x, i] = sum of dy w over every (oy, ky), (ox, kx) that read it (+ other)
 *
 * Both gather: the weights are first laid out so that the inner sum runs over neighbours.
 */
#include "cpu.h"

#include "alloc.h"

/* fwd: [cout, kh, kw, cin], bwd: [cin, kh, kw, cout], as floats */
static float *permuted_weights(ti_dtype dtype, const void *w, const ti_conv2d_shape *s,
                               int backward)
{
  const size_t taps = (size_t)s->kh * s->kw, cin = s->cin, cout = s->cout;
  float *p = ti_calloc(cout * cin * taps, sizeof(float));

  if (!p)
    return NULL;
  for (size_t o = 0; o < cout; o++) {
    for (size_t i = 0; i < cin; i++) {
      for (size_t t = 0; t < taps; t++) {
        const size_t at = backward ? (i * taps + t) * cout + o : (o * taps + t) * cin + i;

        p[at] = ti_load(dtype, w, (o * cin + i) * taps + t);
      }
    }
  }
  return p;
}

static double fwd_pixel(const float *x, const float *w, const ti_conv2d_shape *s, int n, int oy,
                        int ox)
{
  double sum = 0.0;

  for (int ky = 0; ky < s->kh; ky++) {
    const int iy = oy * s->stride + ky - s->pad_top;

    if (iy < 0 || iy >= s->h * s->up)
      continue;
    for (int kx = 0; kx < s->kw; kx++) {
      const int ix = ox * s->stride + kx - s->pad_left;

      if (ix < 0 || ix >= s->w * s->up)
        continue;
      sum += ti_cpu_dot(x + (((size_t)n * s->h + iy / s->up) * s->w + ix / s->up) * s->cin,
                        w + ((size_t)ky * s->kw + kx) * s->cin, s->cin);
    }
  }
  return sum;
}

/* all outputs that read the (upsampled) pixel iy, ix */
static double bwd_pixel(const float *dy, const float *w, const ti_conv2d_shape *s, int n, int iy,
                        int ix)
{
  double sum = 0.0;

  for (int ky = 0; ky < s->kh; ky++) {
    const int y = iy + s->pad_top - ky;

    if (y < 0 || y % s->stride || y / s->stride >= s->oh)
      continue;
    for (int kx = 0; kx < s->kw; kx++) {
      const int x = ix + s->pad_left - kx;

      if (x < 0 || x % s->stride || x / s->stride >= s->ow)
        continue;
      sum += ti_cpu_dot(
          dy + (((size_t)n * s->oh + y / s->stride) * s->ow + x / s->stride) * s->cout,
          w + ((size_t)ky * s->kw + kx) * s->cout, s->cout);
    }
  }
  return sum;
}

static void fwd_row(const void *user, size_t r)
{
  const ti_args *a = user;
  const ti_conv2d_shape *s = a->s;
  const size_t row = (size_t)s->ow * s->cout, per = (size_t)s->kh * s->kw * s->cin;

  for (int o = 0; o < s->cout; o++) {
    for (int ox = 0; ox < s->ow; ox++) {
      const size_t at = r * row + (size_t)ox * s->cout + o;
      double sum = fwd_pixel(a->x, a->weight + o * per, s, (int)(r / s->oh), (int)(r % s->oh), ox);

      if (a->bias)
        sum += a->bias[o];
      if (a->other)
        sum += ti_load(a->dtype, a->other, at);
      ti_store(a->dtype, a->out, at, (float)sum);
    }
  }
}

static void bwd_row(const void *user, size_t r)
{
  const ti_args *a = user;
  const ti_conv2d_shape *s = a->s;
  const size_t row = (size_t)s->w * s->cin, per = (size_t)s->kh * s->kw * s->cout;

  for (int i = 0; i < s->cin; i++) {
    for (int x = 0; x < s->w; x++) {
      const size_t at = r * row + (size_t)x * s->cin + i;
      double sum = 0.0;

      for (int u = 0; u < s->up * s->up; u++)
        sum += bwd_pixel(a->dy, a->weight + i * per, s, (int)(r / s->h),
                         (int)(r % s->h) * s->up + u / s->up, x * s->up + u % s->up);
      if (a->other)
        sum += ti_load(a->dtype, a->other, at);
      ti_store(a->dtype, a->out, at, (float)sum);
    }
  }
}

textinv_status ti_cpu_conv2d_fwd(ti_exec *e, ti_dtype dtype, void *y, const void *x_,
                                 const void *w_, const float *bias, const void *residual,
                                 const ti_conv2d_shape *s)
{
  const size_t count = (size_t)s->n * s->h * s->w * s->cin;
  void *heap;
  const float *x = ti_cpu_floats(dtype, x_, count, &heap);
  float *w = permuted_weights(dtype, w_, s, 0);
  ti_args a = { dtype, y, x, .s = s, .other = residual, .weight = w, .bias = bias };
  textinv_status status = TEXTINV_OK;

  if (x && w)
    ti_for(e, ti_conv2d_work(s), (size_t)s->n * s->oh, fwd_row, &a);
  else
    status = ti_fail_nomem(e->error, count * sizeof(float), "convolution");
  ti_free(w);
  ti_free(heap);
  return status;
}

textinv_status ti_cpu_conv2d_bwd(ti_exec *e, ti_dtype dtype, void *dx, const void *dy_,
                                 const void *w_, const void *other, const ti_conv2d_shape *s)
{
  const size_t count = (size_t)s->n * s->oh * s->ow * s->cout;
  void *heap;
  const float *dy = ti_cpu_floats(dtype, dy_, count, &heap);
  float *w = permuted_weights(dtype, w_, s, 1);
  ti_args a = { dtype, dx, .s = s, .dy = dy, .other = other, .weight = w };
  textinv_status status = TEXTINV_OK;

  if (dy && w)
    ti_for(e, ti_conv2d_work(s), (size_t)s->n * s->h, bwd_row, &a);
  else
    status = ti_fail_nomem(e->error, count * sizeof(float), "convolution");
  ti_free(w);
  ti_free(heap);
  return status;
}
