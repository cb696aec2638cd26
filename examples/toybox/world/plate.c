/* brushes and measures on a plate, shared by the styles */
#include "plate.h"

#include <string.h>

float plate_knob(const plate *p, int i, float lo, float hi)
{
  return mixf(lo, hi, p->j->style_p[i]);
}

const float *plate_at(const plate *p, const float *img, int x, int y)
{
  x = x < 0 ? 0 : x >= p->w ? p->w - 1 : x;
  y = y < 0 ? 0 : y >= p->w ? p->w - 1 : y;
  return img + ((size_t)y * p->w + x) * 3;
}

void plate_set(plate *p, int i, float r, float g, float b)
{
  p->rgb[i * 3] = r;
  p->rgb[i * 3 + 1] = g;
  p->rgb[i * 3 + 2] = b;
}

void plate_mix(plate *p, int i, float r, float g, float b, float a)
{
  p->rgb[i * 3] += (r - p->rgb[i * 3]) * a;
  p->rgb[i * 3 + 1] += (g - p->rgb[i * 3 + 1]) * a;
  p->rgb[i * 3 + 2] += (b - p->rgb[i * 3 + 2]) * a;
}

void plate_keep(plate *p, float *to)
{
  memcpy(to, p->rgb, (size_t)p->w * p->w * 3 * sizeof(float));
}

void plate_blur(plate *p, float *img, float *tmp, int r)
{
  int w = p->w;
  if (r < 1)
    return;
  for (int axis = 0; axis < 2; axis++) {
    for (int y = 0; y < w; y++)
      for (int x = 0; x < w; x++) {
        float s[3] = { 0, 0, 0 };
        for (int d = -r; d <= r; d++) {
          const float *q = axis ? plate_at(p, img, x, y + d) : plate_at(p, img, x + d, y);
          for (int k = 0; k < 3; k++)
            s[k] += q[k];
        }
        for (int k = 0; k < 3; k++)
          tmp[(y * w + x) * 3 + k] = s[k] / (float)(2 * r + 1);
      }
    memcpy(img, tmp, (size_t)w * w * 3 * sizeof(float));
  }
}

void saturate(float *c, float s)
{
  float l = luma(c);
  for (int k = 0; k < 3; k++)
    c[k] = clamp(l + (c[k] - l) * s, 0, 1);
}

/* the contours of everything: the objects' exact outlines, and the scene's from its pixels; src is
 * [w, w, 3] */
void plate_contours(const plate *p, const float *src, float *out, float scene_gain)
{
  int w = p->w;
  float scale = (float)w / 64.0f;
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      float g = 0;
      const float *l = plate_at(p, src, x - 1, y), *r = plate_at(p, src, x + 1, y),
                  *u = plate_at(p, src, x, y - 1), *d = plate_at(p, src, x, y + 1);
      for (int k = 0; k < 3; k++)
        g += fabsf(r[k] - l[k]) + fabsf(d[k] - u[k]);
      g = smooth(0.3f, 0.9f, g * (0.6f + 0.4f * scale)) * scene_gain;
      float o = p->edge[y * w + x];
      out[y * w + x] = fmaxf(o, g * (1 - 0.5f * p->mask[y * w + x]));
    }
}

void plate_stroke(plate *p, const float *col, float x, float y, float dx, float dy, float rad,
                  float alpha)
{
  int w = p->w, x0 = (int)(x - fabsf(dx) - rad - 1), x1 = (int)(x + fabsf(dx) + rad + 1),
      y0 = (int)(y - fabsf(dy) - rad - 1), y1 = (int)(y + fabsf(dy) + rad + 1);
  float l2 = dx * dx + dy * dy + 1e-6f, l = sqrtf(l2);
  for (int v = y0 < 0 ? 0 : y0; v <= y1 && v < w; v++)
    for (int u = x0 < 0 ? 0 : x0; u <= x1 && u < w; u++) {
      float px = (float)u + 0.5f - x, py = (float)v + 0.5f - y,
            t = clamp((px * dx + py * dy) / l2, -1, 1);
      float ex = px - t * dx, ey = py - t * dy, d = sqrtf(ex * ex + ey * ey),
            a = clamp(rad - d + 0.5f, 0, 1) * alpha;
      if (a <= 0)
        continue;
      /* light on the ridge of the paint */
      float side = (ex * dy - ey * dx) / (l * rad), lit = 1 + 0.10f * side;
      plate_mix(p, v * w + u, col[0] * lit, col[1] * lit, col[2] * lit, a);
    }
}

void plate_cell_mean(const plate *p, const float *src, int x0, int y0, int x1, int y1, float out[3])
{
  int n = 0;
  out[0] = out[1] = out[2] = 0;
  for (int y = y0; y < y1 && y < p->w; y++)
    for (int x = x0; x < x1 && x < p->w; x++, n++)
      for (int k = 0; k < 3; k++)
        out[k] += src[(y * p->w + x) * 3 + k];
  for (int k = 0; k < 3; k++)
    out[k] /= (float)(n ? n : 1);
}
