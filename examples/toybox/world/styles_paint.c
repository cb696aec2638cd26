/* styles of paint and of the darkroom */
#include "plate.h"

#include <string.h>

void style_photo(plate *p)
{
  float v = plate_knob(p, 1, 0, 0.10f);
  for (int y = 0; y < p->w; y++)
    for (int x = 0; x < p->w; x++) {
      float u = ((float)x + 0.5f) / (float)p->w - 0.5f, t = ((float)y + 0.5f) / (float)p->w - 0.5f;
      for (int k = 0; k < 3; k++)
        p->rgb[(y * p->w + x) * 3 + k] *= 1 - v * (u * u + t * t) * 2;
    }
}

void style_oil(plate *p)
{
  int w = p->w;
  float scale = (float)w / 64, base = plate_knob(p, 0, 1.1f, 2.0f) * scale,
        jitter = plate_knob(p, 1, 0.04f, 0.10f);
  plate_keep(p, p->tmp);
  for (int layer = 0; layer < 2; layer++) {
    float rad = layer ? base * 0.5f : base, len = rad * plate_knob(p, 2, 2.2f, 4.0f);
    int n = (int)((float)(w * w) / (rad * len) * (layer ? 1.5f : 1.8f));
    for (int i = 0; i < n; i++) {
      float x = uniform(&p->r, 0, (float)w), y = uniform(&p->r, 0, (float)w);
      int xi = (int)x, yi = (int)y;
      if (xi >= w || yi >= w)
        continue;
      const float *c0 = plate_at(p, p->tmp, xi, yi);
      float near_edge = 0;
      for (int d = 0; d < 4; d++) {
        const float *q = plate_at(p, p->tmp, xi + (d < 2 ? (d ? 2 : -2) : 0),
                                  yi + (d >= 2 ? (d == 3 ? 2 : -2) : 0));
        near_edge += fabsf(luma(q) - luma(c0));
      }
      if (layer && near_edge < 0.12f && p->edge[yi * w + xi] < 0.2f)
        continue;
      float gx = luma(plate_at(p, p->tmp, xi + 1, yi)) - luma(plate_at(p, p->tmp, xi - 1, yi)),
            gy = luma(plate_at(p, p->tmp, xi, yi + 1)) - luma(plate_at(p, p->tmp, xi, yi - 1));
      float g = sqrtf(gx * gx + gy * gy),
            a = g > 0.04f ? atan2f(gx, -gy)
                          : 4 * noise2(x / (float)w * 3, y / (float)w * 3, p->seed);
      float j = uniform(&p->r, -jitter, jitter), col[3];
      for (int k = 0; k < 3; k++)
        col[k] = clamp(c0[k] + j + uniform(&p->r, -jitter, jitter) * 0.4f, 0, 1);
      saturate(col, 1.2f);
      plate_stroke(p, col, x, y, cosf(a) * len / 2, sinf(a) * len / 2,
                   rad * uniform(&p->r, 0.7f, 1.1f), 0.95f);
    }
  }
}

void style_watercolour(plate *p)
{
  int w = p->w;
  float scale = (float)w / 64, wobble = plate_knob(p, 0, 0.5f, 1.3f) * scale,
        pale = plate_knob(p, 1, 0.12f, 0.26f), line = plate_knob(p, 2, 0, 0.55f);
  plate_keep(p, p->tmp);
  /* pigment runs: the colours come from a displaced spot, slowly varying, so that shapes keep their
   * rims */
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      float u = (float)x / (float)w, v = (float)y / (float)w;
      float dx = (fbm(u * 7, v * 7, p->seed, 2) - 0.5f) * 3 * wobble,
            dy = (fbm(u * 7 + 30, v * 7, p->seed + 5, 2) - 0.5f) * 3 * wobble;
      memcpy(p->rgb + (y * w + x) * 3,
             plate_at(p, p->tmp, (int)((float)x + dx + 0.5f), (int)((float)y + dy + 0.5f)),
             3 * sizeof(float));
    }
  plate_keep(p, p->tmp2);
  if (w >= 96)
    plate_blur(p, p->tmp2, p->tmp, w / 96);
  for (int i = 0; i < w * w; i++) {
    /* few washes: each step of lightness is one layer */
    float *c = p->tmp2 + i * 3, l = luma(c) + 0.02f, q = floorf(l * 6 + 0.5f) / 6 + 0.04f;
    for (int k = 0; k < 3; k++)
      c[k] = clamp(c[k] / l * mixf(l, q, 0.7f), 0, 1);
    saturate(c, 1.7f);
  }
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      int i = y * w + x;
      float u = (float)x / (float)w, v = (float)y / (float)w;
      const float *s = p->tmp2 + i * 3, *a = plate_at(p, p->tmp2, x + 1, y),
                  *b = plate_at(p, p->tmp2, x, y + 1);
      /* the pool's rim is darker than its middle */
      float rim = clamp((fabsf(luma(a) - luma(s)) + fabsf(luma(b) - luma(s))) * 3, 0, 1);
      float bloom = fbm(u * 4, v * 4, p->seed + 9, 3),
            grain = noise2((float)x * 0.45f / sqrtf(scale), (float)y * 0.45f / sqrtf(scale),
                           p->seed + 3);
      float t = clamp(pale + (bloom - 0.45f) * 0.7f + (grain - 0.5f) * 0.10f, 0.02f, 0.75f) *
                (1 - 0.35f * p->mask[i]);
      float border = fminf(fminf(u, 1 - u), fminf(v, 1 - v)) +
                     0.05f * (fbm(u * 8, v * 8, p->seed + 21, 2) - 0.5f);
      float paper = 1 - smooth(0.01f, 0.04f, border), sketch = p->edge[i] * line;
      for (int k = 0; k < 3; k++) {
        float q = mixf(s[k], 0.985f - 0.015f * (float)k, t) * (1 - 0.28f * rim);
        q = mixf(q, q * 0.35f, sketch);
        p->rgb[i * 3 + k] = clamp(mixf(q, 0.985f - 0.015f * (float)k, paper), 0, 1);
      }
    }
}

void style_pointillist(plate *p)
{
  int w = p->w;
  float rad = plate_knob(p, 0, 0.9f, 1.5f) * (float)w / 64, jitter = plate_knob(p, 1, 0.05f, 0.11f);
  plate_keep(p, p->tmp);
  for (int i = 0; i < w * w; i++)
    plate_set(p, i, 0.93f, 0.90f, 0.82f);
  int n = (int)((float)(w * w) / (rad * rad) * 1.3f);
  for (int i = 0; i < n; i++) {
    float x = uniform(&p->r, 0, (float)w), y = uniform(&p->r, 0, (float)w), c[3],
          j = uniform(&p->r, -jitter, jitter);
    const float *s = plate_at(p, p->tmp, (int)x, (int)y);
    for (int k = 0; k < 3; k++)
      c[k] = clamp(s[k] + j + uniform(&p->r, -jitter, jitter) * 0.8f, 0, 1);
    saturate(c, 1.4f);
    plate_stroke(p, c, x, y, 0.01f, 0, rad * uniform(&p->r, 0.7f, 1), 1);
  }
}

void style_crayon(plate *p)
{
  int w = p->w;
  float angle = plate_knob(p, 0, 0.4f, 1.2f), rough = plate_knob(p, 1, 0.3f, 0.6f);
  plate_contours(p, p->rgb, p->tmp, 0.6f);
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      int i = y * w + x;
      float u = (float)x * cosf(angle) + (float)y * sinf(angle),
            v = (float)y * cosf(angle) - (float)x * sinf(angle);
      float s = 64.0f / (float)w,
            g = 0.6f * noise2(u * 0.9f * sqrtf(s), v * 0.16f * sqrtf(s), p->seed) +
                0.4f * noise2((float)x * 0.9f, (float)y * 0.9f, p->seed + 3);
      float c[3] = { p->rgb[i * 3], p->rgb[i * 3 + 1], p->rgb[i * 3 + 2] };
      saturate(c, 1.5f);
      float a = clamp(1.15f - rough * 2 * clamp(g - 0.25f, 0, 1), 0.15f, 1),
            t = clamp(p->tmp[i] * (0.4f + 0.8f * g), 0, 0.8f);
      for (int k = 0; k < 3; k++)
        p->rgb[i * 3 + k] = clamp(mixf(mixf(0.98f, c[k], a), c[k] * 0.25f, t), 0, 1);
    }
}

void style_low_poly(plate *p)
{
  int w = p->w, n = (int)plate_knob(p, 0, 15, 21.9f);
  float cell = (float)w / (float)n;
  plate_keep(p, p->tmp);
  plate_keep(p, p->tmp2);
  plate_blur(p, p->tmp2, p->rgb, w / 48);
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      float u = ((float)x + 0.5f) / cell, v = ((float)y + 0.5f) / cell;
      u += 0.45f * (noise2(u * 0.9f, v * 0.9f, p->seed) - 0.5f);
      v += 0.45f * (noise2(u * 0.9f + 40, v * 0.9f, p->seed + 3) - 0.5f);
      int cx = (int)floorf(u), cy = (int)floorf(v), flip = (cx + cy) & 1;
      float fu = u - (float)cx, fv = v - (float)cy;
      int upper = flip ? fu + fv < 1 : fu > fv;
      float px = ((float)cx + (flip ? (upper ? 0.33f : 0.67f) : (upper ? 0.67f : 0.33f))) * cell,
            py = ((float)cy + (upper ? 0.33f : 0.67f)) * cell;
      const float *c = plate_at(p, p->tmp2, (int)px, (int)py);
      int i = y * w + x, xi = (int)clamp(px, 0, (float)w - 1), yi = (int)clamp(py, 0, (float)w - 1);
      if ((p->mask[yi * w + xi] > 0.5f) != (p->mask[i] > 0.5f))
        c = p->tmp2 + i * 3;
      float lit = 0.93f + 0.14f * hash2(cx * 2 + upper, cy, p->seed);
      float q[3] = { c[0] * lit, c[1] * lit, c[2] * lit };
      saturate(q, 1.25f);
      plate_set(p, i, q[0], q[1], q[2]);
    }
}

void style_sepia(plate *p)
{
  float fade = plate_knob(p, 0, 0, 0.2f), warm = plate_knob(p, 1, 0.8f, 1.1f);
  for (int i = 0; i < p->w * p->w; i++) {
    float l = fade + (1 - fade) * luma(p->rgb + i * 3);
    plate_set(p, i, clamp(l * 1.06f + 0.06f * warm, 0, 1), clamp(l * 0.87f + 0.03f, 0, 1),
              clamp(l * 0.62f, 0, 1));
  }
}

void style_black_and_white(plate *p)
{
  float contrast = plate_knob(p, 0, 0.9f, 1.5f), grain = plate_knob(p, 1, 0, 0.08f);
  for (int i = 0; i < p->w * p->w; i++) {
    float l = clamp(
        (luma(p->rgb + i * 3) - 0.45f) * contrast + 0.47f + uniform(&p->r, -grain, grain), 0, 1);
    plate_set(p, i, l, l, l);
  }
}
