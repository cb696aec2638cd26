/* Pictures for CLIP: v = (pixel * scale - mean) / deviation, rounded to float after each step as
 * numpy does it. */
#include "clip_image.h"

#include <math.h>
#include <string.h>

enum { PIL_LANCZOS = 1, PIL_BICUBIC = 3, MAX_SIDE = 2048 };

/* a step that must not be turned off */
static textinv_status check_step(ti_error *error, const ti_json *json, const char *key)
{
  int on;
  const textinv_status status = ti_json_bool(json, error, key, 1, &on);

  if (status < 0 || on)
    return status;
  return ti_fail(error, TEXTINV_E_UNSUPPORTED, "%s: %s is false; only true is supported",
                 json->path, key);
}

/* N, {"shortest_edge": N}, or with *square {"height": N, "width": N} */
static textinv_status read_size(ti_error *error, const ti_json *json, const char *key, int *out,
                                int *square)
{
  ti_json edges;
  int height, width;
  textinv_status status;

  *square = 0;
  if (!json_is_object(json_object_get(json->root, key)))
    return ti_json_int(json, error, key, 224, 1, MAX_SIDE, out);
  if ((status = ti_json_object(json, error, key, &edges)) < 0)
    return status;
  *square = !ti_json_has(&edges, "shortest_edge");
  if ((status = ti_json_int(&edges, error, "shortest_edge", 0, 1, MAX_SIDE, out)) < 0 ||
      (status = ti_json_int(&edges, error, "height", 0, 1, MAX_SIDE, &height)) < 0 ||
      (status = ti_json_int(&edges, error, "width", 0, 1, MAX_SIDE, &width)) < 0)
    goto out;
  if (*square ? !height || height != width : height || width || ti_json_has(&edges, "longest_edge"))
    status = ti_fail(error, TEXTINV_E_UNSUPPORTED,
                     "%s: known are shortest_edge alone, or a height that is the width",
                     edges.path);
  if (*square)
    *out = height;
out:
  ti_json_close(&edges);
  return status;
}

/* what comes out has the model's size, without padding */
static textinv_status read_sizes(ti_clip_image *out, ti_error *error, const ti_json *json)
{
  int crops, crop = 0, square;
  textinv_status status;

  if ((status = read_size(error, json, "size", &out->size, &out->square)) < 0 ||
      (status = ti_json_bool(json, error, "do_center_crop", 1, &crops)) < 0 ||
      (crops && (status = read_size(error, json, "crop_size", &crop, &square)) < 0))
    return status;
  if (!crops && out->square)
    crop = out->size;
  if (crop != out->side)
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: pictures are not cut to %d x %d; the model's image_size is %d", json->path,
                   out->side, out->side, out->side);
  if (out->size < out->side)
    return ti_fail(error, TEXTINV_E_UNSUPPORTED, "%s: size %d is less than crop_size %d",
                   json->path, out->size, out->side);
  return TEXTINV_OK;
}

/* three numbers; those of OpenAI's models where there are none */
static textinv_status read_channels(float out[3], ti_error *error, const ti_json *json,
                                    const char *key, const double fallback[3], double min)
{
  double values[3];
  int count;
  const textinv_status status = ti_json_floats(json, error, key, values, 3, &count);

  if (status < 0)
    return status;
  if (count && count != 3)
    return ti_fail(error, TEXTINV_E_FORMAT, "%s: %s has %d entries, expected 3", json->path, key,
                   count);
  for (int i = 0; i < 3; i++) {
    const double v = count ? values[i] : fallback[i];

    if (!(v >= min && v <= 1e3))
      return ti_fail(error, TEXTINV_E_LIMIT, "%s: %s[%d] is %g, expected %g..1000", json->path, key,
                     i, v, min);
    out[i] = (float)v;
  }
  return TEXTINV_OK;
}

textinv_status ti_clip_image_read(ti_clip_image *out, ti_error *error, const ti_json *json,
                                  int side)
{
  static const double mean[3] = { 0.48145466, 0.4578275, 0.40821073 };
  static const double deviation[3] = { 0.26862954, 0.26130258, 0.27577711 };
  textinv_status status;
  int filter;

  out->side = side;
  if ((status = check_step(error, json, "do_resize")) < 0 ||
      (status = check_step(error, json, "do_rescale")) < 0 ||
      (status = check_step(error, json, "do_normalize")) < 0 ||
      (status = read_sizes(out, error, json)) < 0 ||
      (status = ti_json_int(json, error, "resample", PIL_BICUBIC, 0, 5, &filter)) < 0 ||
      (status = ti_json_float(json, error, "rescale_factor", 1.0 / 255.0, 1e-6, 1e3, &out->scale)) <
        0 ||
      (status = read_channels(out->mean, error, json, "image_mean", mean, -1e3)) < 0 ||
      (status = read_channels(out->deviation, error, json, "image_std", deviation, 1e-6)) < 0)
    return status;
  if (filter != PIL_BICUBIC && filter != PIL_LANCZOS)
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: resample %d; known are 1 (Lanczos) and 3 (bicubic)", json->path, filter);
  out->filter = filter == PIL_LANCZOS ? TI_LANCZOS : TI_BICUBIC;
  return TEXTINV_OK;
}

textinv_status ti_clip_image_values(float *values, ti_error *error, const ti_clip_image *c,
                                    const ti_image *in, int patch)
{
  const int less = in->width < in->height ? in->width : in->height, grid = c->side / patch;
  /* the longer side is rounded down; at most MAX_SIDE * TI_IMAGE_MAX_SIDE */
  const int width = c->square ? c->size : c->size * in->width / less;
  const int height = c->square ? c->size : c->size * in->height / less;
  ti_image image;
  const textinv_status status = ti_image_resize(&image, error, in, c->filter, 0, 0, in->width,
                                                in->height, width, height);

  if (status < 0)
    return status;
  const uint8_t *from = image.pixels + 3 * ((height - c->side) / 2 * width + (width - c->side) / 2);

  for (int row = 0; row < grid; row++) {
    for (int column = 0; column < grid; column++) {
      for (int k = 0; k < 3; k++) {
        for (int y = row * patch; y < (row + 1) * patch; y++) {
          for (int x = column * patch; x < (column + 1) * patch; x++) {
            const float v = (float)(from[3 * (y * width + x) + k] * c->scale);

            *values++ = (v - c->mean[k]) / c->deviation[k];
          }
        }
      }
    }
  }
  ti_image_free(&image);
  return TEXTINV_OK;
}
