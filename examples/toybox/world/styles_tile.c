/* styles that cut the picture into pieces: pixels, panes, stitches, tiles */
#include "plate.h"

void style_pixel_art(plate *p)
{
  int w = p->w, cells = (int)plate_knob(p, 0, 20, 30.9f);
  float levels = plate_knob(p, 1, 5, 8);
  plate_keep(p, p->tmp);
  for (int j = 0; j < cells; j++)
    for (int i = 0; i < cells; i++) {
      int x0 = i * w / cells, x1 = (i + 1) * w / cells, y0 = j * w / cells,
          y1 = (j + 1) * w / cells;
      float c[3];
      plate_cell_mean(p, p->tmp, x0, y0, x1, y1, c);
      saturate(c, 1.3f);
      for (int k = 0; k < 3; k++)
        c[k] = floorf(c[k] * levels + 0.5f) / levels;
      for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++)
          plate_set(p, y * w + x, clamp(c[0], 0, 1), clamp(c[1], 0, 1), clamp(c[2], 0, 1));
    }
}

/* the two nearest sites of a jittered grid of n x n cells */
static void voronoi(const plate *p, float n, float x, float y, float *sx, float *sy, float *gap)
{
  float u = x / (float)p->w * n, v = y / (float)p->w * n, best = 9, second = 9;
  for (int dy = -1; dy <= 1; dy++)
    for (int dx = -1; dx <= 1; dx++) {
      int cx = (int)floorf(u) + dx, cy = (int)floorf(v) + dy;
      float px = (float)cx + 0.15f + 0.7f * hash2(cx, cy, p->seed),
            py = (float)cy + 0.15f + 0.7f * hash2(cx, cy, p->seed + 91);
      float d = sqrtf((px - u) * (px - u) + (py - v) * (py - v));
      if (d < best) {
        second = best;
        best = d;
        *sx = px / n * (float)p->w;
        *sy = py / n * (float)p->w;
      } else if (d < second) {
        second = d;
      }
    }
  *gap = (second - best) / n * (float)p->w;
}

void style_stained_glass(plate *p)
{
  int w = p->w;
  float n = plate_knob(p, 0, 10, 14), lead = plate_knob(p, 1, 0.35f, 0.55f) * (float)w / 64;
  plate_keep(p, p->tmp);
  plate_keep(p, p->tmp2);
  plate_blur(p, p->tmp2, p->rgb, w / 64);
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      float sx = 0, sy = 0, gap;
      voronoi(p, n, (float)x + 0.5f, (float)y + 0.5f, &sx, &sy, &gap);
      /* a pane keeps to its side of the object's outline */
      int i = y * w + x, xi = (int)sx, yi = (int)sy;
      xi = xi < 0 ? 0 : xi >= w ? w - 1 : xi;
      yi = yi < 0 ? 0 : yi >= w ? w - 1 : yi;
      const float *s = (p->mask[yi * w + xi] > 0.5f) == (p->mask[i] > 0.5f)
                           ? p->tmp2 + (yi * w + xi) * 3
                           : p->tmp2 + i * 3;
      float c[3] = { s[0], s[1], s[2] }, l = luma(c) + 0.02f,
            lit = clamp(0.28f + 0.85f * l, 0, 0.95f) / l;
      for (int k = 0; k < 3; k++)
        c[k] = clamp(c[k] * lit, 0, 1);
      saturate(c, 1.7f);
      float glow = 0.9f + 0.2f * hash2((int)(sx * 7), (int)(sy * 7), p->seed + 3);
      /* the lead follows the object: wide between panes of the ground, thin inside the object */
      float wide = lead * (p->mask[i] > 0.5f ? 0.6f : 1);
      float t = fmaxf((1 - smooth(wide * 0.5f, wide * 1.5f + 0.4f, gap)) * 0.92f,
                      smooth(0.25f, 0.6f, p->edge[i]) * 0.95f);
      plate_set(p, i, mixf(clamp(c[0] * glow, 0, 1), 0.05f, t),
                mixf(clamp(c[1] * glow, 0, 1), 0.05f, t), mixf(clamp(c[2] * glow, 0, 1), 0.06f, t));
    }
}

void style_cross_stitch(plate *p)
{
  int w = p->w, cells = (int)plate_knob(p, 0, 24, 32.9f);
  plate_keep(p, p->tmp);
  for (int j = 0; j < cells; j++)
    for (int i = 0; i < cells; i++) {
      int x0 = i * w / cells, x1 = (i + 1) * w / cells, y0 = j * w / cells,
          y1 = (j + 1) * w / cells;
      float c[3];
      plate_cell_mean(p, p->tmp, x0, y0, x1, y1, c);
      saturate(c, 1.25f);
      for (int k = 0; k < 3; k++)
        c[k] = floorf(c[k] * 6 + 0.5f) / 6;
      for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++) {
          float u = ((float)(x - x0) + 0.5f) / (float)(x1 - x0),
                v = ((float)(y - y0) + 0.5f) / (float)(y1 - y0);
          float d1 = fabsf(u - v), d2 = fabsf(u + v - 1), t = smooth(0.42f, 0.2f, fminf(d1, d2)),
                lit = d1 < d2 ? 1.08f : 0.88f;
          int q = y * w + x;
          for (int k = 0; k < 3; k++)
            p->rgb[q * 3 + k] =
                clamp(mixf(0.93f - 0.03f * (float)k, c[k] * lit, 0.15f + 0.85f * t), 0, 1);
        }
    }
}

void style_mosaic(plate *p)
{
  int w = p->w, cells = (int)plate_knob(p, 0, 17, 22.9f);
  float tone = plate_knob(p, 1, 0.35f, 0.8f);
  plate_keep(p, p->tmp);
  for (int j = 0; j < cells; j++)
    for (int i = 0; i < cells; i++) {
      int x0 = i * w / cells, x1 = (i + 1) * w / cells, y0 = j * w / cells,
          y1 = (j + 1) * w / cells;
      float c[3], lit = 0.85f + 0.3f * hash2(i, j, p->seed);
      plate_cell_mean(p, p->tmp, x0, y0, x1, y1, c);
      saturate(c, 1.3f);
      for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++) {
          int rim = x == x1 - 1 || y == y1 - 1, q = y * w + x;
          float sheen = 1.06f - 0.12f * (float)(x - x0 + y - y0) / (float)(x1 - x0 + y1 - y0);
          for (int k = 0; k < 3; k++)
            p->rgb[q * 3 + k] = rim ? mixf(c[k] * 0.6f, tone - 0.03f * (float)k, 0.5f)
                                    : clamp(c[k] * lit * sheen, 0, 1);
        }
    }
}
