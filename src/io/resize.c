/*
 * Bicubic resampling as Pillow does it: the filter (a = -0.5) is stretched by the scale when the
 * picture shrinks, weights are rounded to 22 bits, and the picture is rounded to 8 bits between
 * the horizontal and the vertical pass.
 *
 *   y[i] = sum_k w[i, k] x[first[i] + k],   sum_k w[i, k] = 1
 */
#include <math.h>
#include <string.h>

#include "alloc.h"
#include "image.h"
#include "image_codec.h"

enum { WEIGHT_BITS = 22, HALF = 1 << (WEIGHT_BITS - 1) };

typedef struct weights {
  int *first, *taps; /* [out] */
  int *values;       /* [out, stride] */
  int stride;
} weights;

static double cubic(double x)
{
  const double a = -0.5;

  x = fabs(x);
  if (x < 1.0)
    return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0)
    return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

static void weights_free(weights *w)
{
  ti_free(w->first);
  ti_free(w->taps);
  ti_free(w->values);
}

/* in and out are at most TI_IMAGE_MAX_SIDE, so out * stride stays below 2^31 */
static textinv_status weights_new(weights *w, ti_error *error, int in, int out)
{
  const double scale = (double)in / out, stretch = scale < 1.0 ? 1.0 : scale;
  const double support = 2.0 * stretch;
  double *raw = NULL;
  textinv_status status = TEXTINV_OK;

  w->stride = (int)ceil(support) * 2 + 1;
  w->first = ti_calloc((size_t)out, sizeof(int));
  w->taps = ti_calloc((size_t)out, sizeof(int));
  w->values = ti_calloc((size_t)out * (size_t)w->stride, sizeof(int));
  raw = ti_calloc((size_t)w->stride, sizeof(double));
  if (!w->first || !w->taps || !w->values || !raw) {
    status = ti_fail_nomem(error, (size_t)out * (size_t)w->stride * sizeof(int), "a resize");
    goto out;
  }
  for (int i = 0; i < out; i++) {
    const double centre = (i + 0.5) * scale;
    const int low = (int)(centre - support + 0.5), high = (int)(centre + support + 0.5);
    const int first = low < 0 ? 0 : low, taps = (high > in ? in : high) - first;
    double sum = 0.0;

    for (int k = 0; k < taps; k++) {
      raw[k] = cubic((k + first - centre + 0.5) / stretch);
      sum += raw[k];
    }
    for (int k = 0; k < taps; k++) {
      const double v = (sum != 0.0 ? raw[k] / sum : raw[k]) * (1 << WEIGHT_BITS);

      w->values[i * w->stride + k] = (int)(v < 0.0 ? v - 0.5 : v + 0.5);
    }
    w->first[i] = first;
    w->taps[i] = taps;
  }
out:
  ti_free(raw);
  return status;
}

static uint8_t clip8(int v)
{
  v >>= WEIGHT_BITS;
  return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* rows of width_in pixels, stride_in bytes apart, to rows of width pixels */
static void resample_rows(uint8_t *out, int width, const uint8_t *in, size_t stride_in, int rows,
                          const weights *w)
{
  for (int y = 0; y < rows; y++, in += stride_in) {
    for (int x = 0; x < width; x++, out += 3) {
      const uint8_t *p = in + 3 * (size_t)w->first[x];
      const int *v = w->values + (size_t)x * (size_t)w->stride;
      int r = HALF, g = HALF, b = HALF;

      for (int k = 0; k < w->taps[x]; k++, p += 3) {
        r += p[0] * v[k];
        g += p[1] * v[k];
        b += p[2] * v[k];
      }
      out[0] = clip8(r);
      out[1] = clip8(g);
      out[2] = clip8(b);
    }
  }
}

/* columns of a picture of row_bytes bytes a row; sums is [row_bytes] */
static void resample_columns(uint8_t *out, int height, const uint8_t *in, size_t stride_in,
                             size_t row_bytes, const weights *w, int *sums)
{
  for (int y = 0; y < height; y++, out += row_bytes) {
    const int *v = w->values + (size_t)y * (size_t)w->stride;
    const uint8_t *p = in + stride_in * (size_t)w->first[y];

    for (size_t i = 0; i < row_bytes; i++)
      sums[i] = HALF;
    for (int k = 0; k < w->taps[y]; k++, p += stride_in) {
      for (size_t i = 0; i < row_bytes; i++)
        sums[i] += p[i] * v[k];
    }
    for (size_t i = 0; i < row_bytes; i++)
      out[i] = clip8(sums[i]);
  }
}

textinv_status ti_image_resize(ti_image *out, ti_error *error, const ti_image *in, int left,
                               int top, int box_w, int box_h, int width, int height)
{
  textinv_status status;
  weights across = { 0 }, down = { 0 };
  const uint8_t *from;
  size_t stride;
  uint8_t *between = NULL;
  int *sums = NULL;

  memset(out, 0, sizeof(*out));
  if (left < 0 || top < 0 || box_w < 1 || box_h < 1 || box_w > in->width - left ||
      box_h > in->height - top)
    return ti_fail(error, TEXTINV_E_INVALID,
                   "box of %d x %d at %d, %d does not lie in a picture of %d x %d", box_w, box_h,
                   left, top, in->width, in->height);
  if (width < 1 || height < 1)
    return ti_fail(error, TEXTINV_E_INVALID, "a picture cannot be resized to %d x %d", width,
                   height);
  if ((status = ti_image_check_size(error, "resize", (uint64_t)width, (uint64_t)height)) < 0 ||
      (status = ti_image_alloc(out, error, "resize", width, height)) < 0)
    return status;

  from = in->pixels + 3 * ((size_t)top * (size_t)in->width + (size_t)left);
  stride = 3 * (size_t)in->width;
  if (width != box_w) {
    if ((status = weights_new(&across, error, box_w, width)) < 0)
      goto out;
    between = ti_realloc_array(NULL, 3 * (size_t)width, (size_t)box_h);
    if (!between) {
      status = ti_fail_nomem(error, 3 * (size_t)width * (size_t)box_h, "a resize");
      goto out;
    }
    resample_rows(between, width, from, stride, box_h, &across);
    from = between;
    stride = 3 * (size_t)width;
  }
  if (height != box_h) {
    if ((status = weights_new(&down, error, box_h, height)) < 0)
      goto out;
    sums = ti_calloc(3 * (size_t)width, sizeof(*sums));
    if (!sums) {
      status = ti_fail_nomem(error, 3 * (size_t)width * sizeof(*sums), "a resize");
      goto out;
    }
    resample_columns(out->pixels, height, from, stride, 3 * (size_t)width, &down, sums);
  } else {
    for (int y = 0; y < height; y++, from += stride)
      memcpy(out->pixels + 3 * (size_t)y * (size_t)width, from, 3 * (size_t)width);
  }
out:
  ti_free(sums);
  ti_free(between);
  weights_free(&across);
  weights_free(&down);
  if (status < 0)
    ti_image_free(out);
  return status;
}
