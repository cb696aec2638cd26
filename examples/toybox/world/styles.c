/*
 * the styles: filters over a finished picture, steered by its outlines and by continuous parameters
 *
 * job.style_p are each style's own knobs in 0..1: usually scale, strength, palette, paper.
 */
#include "world.h"

#include <string.h>

#define PI 3.14159265f

static float knob(const plate *p, int i, float lo, float hi)
{
  return mixf(lo, hi, p->j->style_p[i]);
}

static const float *at(const plate *p, const float *img, int x, int y)
{
  x = x < 0 ? 0 : x >= p->w ? p->w - 1 : x;
  y = y < 0 ? 0 : y >= p->w ? p->w - 1 : y;
  return img + ((size_t)y * p->w + x) * 3;
}

static void set(plate *p, int i, float r, float g, float b)
{
  p->rgb[i * 3] = r;
  p->rgb[i * 3 + 1] = g;
  p->rgb[i * 3 + 2] = b;
}

static void mix_in(plate *p, int i, float r, float g, float b, float a)
{
  p->rgb[i * 3] += (r - p->rgb[i * 3]) * a;
  p->rgb[i * 3 + 1] += (g - p->rgb[i * 3 + 1]) * a;
  p->rgb[i * 3 + 2] += (b - p->rgb[i * 3 + 2]) * a;
}

static void keep(plate *p, float *to)
{
  memcpy(to, p->rgb, (size_t)p->w * p->w * 3 * sizeof(float));
}

static void blur3(plate *p, float *img, float *tmp, int r)
{
  int w = p->w;
  if (r < 1) return;
  for (int axis = 0; axis < 2; axis++) {
    for (int y = 0; y < w; y++)
      for (int x = 0; x < w; x++) {
        float s[3] = {0, 0, 0};
        for (int d = -r; d <= r; d++) {
          const float *q = axis ? at(p, img, x, y + d) : at(p, img, x + d, y);
          for (int k = 0; k < 3; k++) s[k] += q[k];
        }
        for (int k = 0; k < 3; k++) tmp[(y * w + x) * 3 + k] = s[k] / (float)(2 * r + 1);
      }
    memcpy(img, tmp, (size_t)w * w * 3 * sizeof(float));
  }
}

static void saturate(float *c, float s)
{
  float l = luma(c);
  for (int k = 0; k < 3; k++) c[k] = clamp(l + (c[k] - l) * s, 0, 1);
}

/* the contours of everything: the objects' exact outlines, and the scene's from its pixels; src is [w, w, 3] */
static void contours(const plate *p, const float *src, float *out, float scene_gain)
{
  int w = p->w;
  float scale = (float)w / 64.0f;
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      float g = 0;
      const float *l = at(p, src, x - 1, y), *r = at(p, src, x + 1, y), *u = at(p, src, x, y - 1), *d = at(p, src, x, y + 1);
      for (int k = 0; k < 3; k++) g += fabsf(r[k] - l[k]) + fabsf(d[k] - u[k]);
      g = smooth(0.3f, 0.9f, g * (0.6f + 0.4f * scale)) * scene_gain;
      float o = p->edge[y * w + x];
      out[y * w + x] = fmaxf(o, g * (1 - 0.5f * p->mask[y * w + x]));
    }
}

static void photo(plate *p)
{
  float v = knob(p, 1, 0, 0.10f);
  for (int y = 0; y < p->w; y++)
    for (int x = 0; x < p->w; x++) {
      float u = ((float)x + 0.5f) / (float)p->w - 0.5f, t = ((float)y + 0.5f) / (float)p->w - 0.5f;
      for (int k = 0; k < 3; k++) p->rgb[(y * p->w + x) * 3 + k] *= 1 - v * (u * u + t * t) * 2;
    }
}

static void stroke(plate *p, const float *col, float x, float y, float dx, float dy, float rad, float alpha)
{
  int w = p->w, x0 = (int)(x - fabsf(dx) - rad - 1), x1 = (int)(x + fabsf(dx) + rad + 1), y0 = (int)(y - fabsf(dy) - rad - 1), y1 = (int)(y + fabsf(dy) + rad + 1);
  float l2 = dx * dx + dy * dy + 1e-6f, l = sqrtf(l2);
  for (int v = y0 < 0 ? 0 : y0; v <= y1 && v < w; v++)
    for (int u = x0 < 0 ? 0 : x0; u <= x1 && u < w; u++) {
      float px = (float)u + 0.5f - x, py = (float)v + 0.5f - y, t = clamp((px * dx + py * dy) / l2, -1, 1);
      float ex = px - t * dx, ey = py - t * dy, d = sqrtf(ex * ex + ey * ey), a = clamp(rad - d + 0.5f, 0, 1) * alpha;
      if (a <= 0) continue;
      /* light on the ridge of the paint */
      float side = (ex * dy - ey * dx) / (l * rad), lit = 1 + 0.10f * side;
      mix_in(p, v * w + u, col[0] * lit, col[1] * lit, col[2] * lit, a);
    }
}

static void oil(plate *p)
{
  int w = p->w;
  float scale = (float)w / 64, base = knob(p, 0, 1.1f, 2.0f) * scale, jitter = knob(p, 1, 0.04f, 0.10f);
  keep(p, p->tmp);
  for (int layer = 0; layer < 2; layer++) {
    float rad = layer ? base * 0.5f : base, len = rad * knob(p, 2, 2.2f, 4.0f);
    int n = (int)((float)(w * w) / (rad * len) * (layer ? 1.5f : 1.8f));
    for (int i = 0; i < n; i++) {
      float x = uniform(&p->r, 0, (float)w), y = uniform(&p->r, 0, (float)w);
      int xi = (int)x, yi = (int)y;
      if (xi >= w || yi >= w) continue;
      const float *c0 = at(p, p->tmp, xi, yi);
      float near_edge = 0;
      for (int d = 0; d < 4; d++) {
        const float *q = at(p, p->tmp, xi + (d < 2 ? (d ? 2 : -2) : 0), yi + (d >= 2 ? (d == 3 ? 2 : -2) : 0));
        near_edge += fabsf(luma(q) - luma(c0));
      }
      if (layer && near_edge < 0.12f && p->edge[yi * w + xi] < 0.2f) continue;
      float gx = luma(at(p, p->tmp, xi + 1, yi)) - luma(at(p, p->tmp, xi - 1, yi)), gy = luma(at(p, p->tmp, xi, yi + 1)) - luma(at(p, p->tmp, xi, yi - 1));
      float g = sqrtf(gx * gx + gy * gy), a = g > 0.04f ? atan2f(gx, -gy) : 4 * noise2(x / (float)w * 3, y / (float)w * 3, p->seed);
      float j = uniform(&p->r, -jitter, jitter), col[3];
      for (int k = 0; k < 3; k++) col[k] = clamp(c0[k] + j + uniform(&p->r, -jitter, jitter) * 0.4f, 0, 1);
      saturate(col, 1.2f);
      stroke(p, col, x, y, cosf(a) * len / 2, sinf(a) * len / 2, rad * uniform(&p->r, 0.7f, 1.1f), 0.95f);
    }
  }
}

static void watercolour(plate *p)
{
  int w = p->w;
  float scale = (float)w / 64, wobble = knob(p, 0, 0.5f, 1.3f) * scale, pale = knob(p, 1, 0.12f, 0.26f), line = knob(p, 2, 0, 0.55f);
  keep(p, p->tmp);
  /* pigment runs: the colours come from a displaced spot, slowly varying, so that shapes keep their rims */
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      float u = (float)x / (float)w, v = (float)y / (float)w;
      float dx = (fbm(u * 7, v * 7, p->seed, 2) - 0.5f) * 3 * wobble, dy = (fbm(u * 7 + 30, v * 7, p->seed + 5, 2) - 0.5f) * 3 * wobble;
      memcpy(p->rgb + (y * w + x) * 3, at(p, p->tmp, (int)((float)x + dx + 0.5f), (int)((float)y + dy + 0.5f)), 3 * sizeof(float));
    }
  keep(p, p->tmp2);
  if (w >= 96) blur3(p, p->tmp2, p->tmp, w / 96);
  for (int i = 0; i < w * w; i++) {
    /* few washes: each step of lightness is one layer */
    float *c = p->tmp2 + i * 3, l = luma(c) + 0.02f, q = floorf(l * 6 + 0.5f) / 6 + 0.04f;
    for (int k = 0; k < 3; k++) c[k] = clamp(c[k] / l * mixf(l, q, 0.7f), 0, 1);
    saturate(c, 1.7f);
  }
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      int i = y * w + x;
      float u = (float)x / (float)w, v = (float)y / (float)w;
      const float *s = p->tmp2 + i * 3, *a = at(p, p->tmp2, x + 1, y), *b = at(p, p->tmp2, x, y + 1);
      /* the pool's rim is darker than its middle */
      float rim = clamp((fabsf(luma(a) - luma(s)) + fabsf(luma(b) - luma(s))) * 3, 0, 1);
      float bloom = fbm(u * 4, v * 4, p->seed + 9, 3), grain = noise2((float)x * 0.45f / sqrtf(scale), (float)y * 0.45f / sqrtf(scale), p->seed + 3);
      float t = clamp(pale + (bloom - 0.45f) * 0.7f + (grain - 0.5f) * 0.10f, 0.02f, 0.75f) * (1 - 0.35f * p->mask[i]);
      float border = fminf(fminf(u, 1 - u), fminf(v, 1 - v)) + 0.05f * (fbm(u * 8, v * 8, p->seed + 21, 2) - 0.5f);
      float paper = 1 - smooth(0.01f, 0.04f, border), sketch = p->edge[i] * line;
      for (int k = 0; k < 3; k++) {
        float q = mixf(s[k], 0.985f - 0.015f * (float)k, t) * (1 - 0.28f * rim);
        q = mixf(q, q * 0.35f, sketch);
        p->rgb[i * 3 + k] = clamp(mixf(q, 0.985f - 0.015f * (float)k, paper), 0, 1);
      }
    }
}

static void pencil(plate *p)
{
  int w = p->w;
  float pitch = knob(p, 0, 2.6f, 3.8f) * sqrtf((float)w / 64), angle = knob(p, 1, 0.5f, 1.1f), hard = knob(p, 2, 0.7f, 0.95f);
  contours(p, p->rgb, p->tmp, 0.8f);
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      int i = y * w + x;
      float l = luma(p->rgb + i * 3), grain = noise2((float)x * 0.9f, (float)y * 0.9f, p->seed);
      float h1 = 0.5f + 0.5f * sinf(((float)x * cosf(angle) + (float)y * sinf(angle)) * 2 * PI / pitch);
      float h2 = 0.5f + 0.5f * sinf(((float)x * cosf(angle + 1.3f) + (float)y * sinf(angle + 1.3f)) * 2 * PI / pitch);
      float d = clamp((0.75f - l) * 1.3f, 0, 1), t = d * (0.4f + 0.6f * h1) * 0.65f + clamp(0.35f - l, 0, 1) * h2;
      t = clamp(t * (0.7f + 0.6f * grain) + p->tmp[i] * hard, 0, 0.95f);
      set(p, i, 0.95f - t * 0.80f, 0.94f - t * 0.79f, 0.91f - t * 0.75f);
    }
}

static void ink(plate *p)
{
  int w = p->w;
  keep(p, p->tmp2);
  blur3(p, p->tmp2, p->tmp, w / 64);
  contours(p, p->tmp2, p->tmp, 0.9f);
  float cut = knob(p, 0, 0.22f, 0.36f), tint = knob(p, 1, 0, 1), pitch = knob(p, 2, 3, 4.4f) * sqrtf((float)w / 64);
  for (int i = 0; i < w * w; i++) {
    float l = luma(p->tmp2 + i * 3);
    float hatch = smooth(-0.2f, 0.3f, sinf((float)(i % w + i / w) * 2 * PI / pitch)) * smooth(cut + 0.2f, cut + 0.08f, l) * (0.4f + 0.6f * p->mask[i]);
    float t = clamp(fmaxf(fmaxf(p->tmp[i] * 1.3f, smooth(cut + 0.03f, cut - 0.03f, l)), hatch), 0, 1);
    set(p, i, mixf(0.98f, 0.06f + 0.03f * tint, t), mixf(0.97f - 0.02f * tint, 0.05f, t), mixf(0.95f - 0.06f * tint, 0.08f + 0.14f * tint, t));
  }
}

static void cartoon(plate *p)
{
  int w = p->w;
  float levels = floorf(knob(p, 0, 3, 5.9f)), line = knob(p, 1, 0.8f, 1);
  keep(p, p->tmp2);
  blur3(p, p->tmp2, p->tmp, w / 64);
  contours(p, p->tmp2, p->tmp, 0.8f);
  for (int i = 0; i < w * w; i++) {
    float c[3], l = luma(p->tmp2 + i * 3) + 1e-4f, q = floorf(l * levels + 0.5f) / levels;
    for (int k = 0; k < 3; k++) c[k] = clamp(p->tmp2[i * 3 + k] / l * mixf(l, q, 0.85f) * 1.06f, 0, 1);
    saturate(c, 1.45f);
    float t = clamp(p->tmp[i] * 1.2f, 0, 1) * line;
    set(p, i, c[0] * (1 - t), c[1] * (1 - t), c[2] * (1 - t));
  }
}

static void cell_mean(const plate *p, const float *src, int x0, int y0, int x1, int y1, float out[3])
{
  int n = 0;
  out[0] = out[1] = out[2] = 0;
  for (int y = y0; y < y1 && y < p->w; y++)
    for (int x = x0; x < x1 && x < p->w; x++, n++)
      for (int k = 0; k < 3; k++) out[k] += src[(y * p->w + x) * 3 + k];
  for (int k = 0; k < 3; k++) out[k] /= (float)(n ? n : 1);
}

static void pixel_art(plate *p)
{
  int w = p->w, cells = (int)knob(p, 0, 20, 30.9f);
  float levels = knob(p, 1, 5, 8);
  keep(p, p->tmp);
  for (int j = 0; j < cells; j++)
    for (int i = 0; i < cells; i++) {
      int x0 = i * w / cells, x1 = (i + 1) * w / cells, y0 = j * w / cells, y1 = (j + 1) * w / cells;
      float c[3];
      cell_mean(p, p->tmp, x0, y0, x1, y1, c);
      saturate(c, 1.3f);
      for (int k = 0; k < 3; k++) c[k] = floorf(c[k] * levels + 0.5f) / levels;
      for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++) set(p, y * w + x, clamp(c[0], 0, 1), clamp(c[1], 0, 1), clamp(c[2], 0, 1));
    }
}

/* the two nearest sites of a jittered grid of n x n cells */
static void voronoi(const plate *p, float n, float x, float y, float *sx, float *sy, float *gap)
{
  float u = x / (float)p->w * n, v = y / (float)p->w * n, best = 9, second = 9;
  for (int dy = -1; dy <= 1; dy++)
    for (int dx = -1; dx <= 1; dx++) {
      int cx = (int)floorf(u) + dx, cy = (int)floorf(v) + dy;
      float px = (float)cx + 0.15f + 0.7f * hash2(cx, cy, p->seed), py = (float)cy + 0.15f + 0.7f * hash2(cx, cy, p->seed + 91);
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

static void stained_glass(plate *p)
{
  int w = p->w;
  float n = knob(p, 0, 10, 14), lead = knob(p, 1, 0.35f, 0.55f) * (float)w / 64;
  keep(p, p->tmp);
  keep(p, p->tmp2);
  blur3(p, p->tmp2, p->rgb, w / 64);
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      float sx = 0, sy = 0, gap;
      voronoi(p, n, (float)x + 0.5f, (float)y + 0.5f, &sx, &sy, &gap);
      /* a pane keeps to its side of the object's outline */
      int i = y * w + x, xi = (int)sx, yi = (int)sy;
      xi = xi < 0 ? 0 : xi >= w ? w - 1 : xi;
      yi = yi < 0 ? 0 : yi >= w ? w - 1 : yi;
      const float *s = (p->mask[yi * w + xi] > 0.5f) == (p->mask[i] > 0.5f) ? p->tmp2 + (yi * w + xi) * 3 : p->tmp2 + i * 3;
      float c[3] = {s[0], s[1], s[2]}, l = luma(c) + 0.02f, lit = clamp(0.28f + 0.85f * l, 0, 0.95f) / l;
      for (int k = 0; k < 3; k++) c[k] = clamp(c[k] * lit, 0, 1);
      saturate(c, 1.7f);
      float glow = 0.9f + 0.2f * hash2((int)(sx * 7), (int)(sy * 7), p->seed + 3);
      /* the lead follows the object: wide between panes of the ground, thin inside the object */
      float wide = lead * (p->mask[i] > 0.5f ? 0.6f : 1);
      float t = fmaxf((1 - smooth(wide * 0.5f, wide * 1.5f + 0.4f, gap)) * 0.92f, smooth(0.25f, 0.6f, p->edge[i]) * 0.95f);
      set(p, i, mixf(clamp(c[0] * glow, 0, 1), 0.05f, t), mixf(clamp(c[1] * glow, 0, 1), 0.05f, t), mixf(clamp(c[2] * glow, 0, 1), 0.06f, t));
    }
}

static void pointillist(plate *p)
{
  int w = p->w;
  float rad = knob(p, 0, 0.9f, 1.5f) * (float)w / 64, jitter = knob(p, 1, 0.05f, 0.11f);
  keep(p, p->tmp);
  for (int i = 0; i < w * w; i++) set(p, i, 0.93f, 0.90f, 0.82f);
  int n = (int)((float)(w * w) / (rad * rad) * 1.3f);
  for (int i = 0; i < n; i++) {
    float x = uniform(&p->r, 0, (float)w), y = uniform(&p->r, 0, (float)w), c[3], j = uniform(&p->r, -jitter, jitter);
    const float *s = at(p, p->tmp, (int)x, (int)y);
    for (int k = 0; k < 3; k++) c[k] = clamp(s[k] + j + uniform(&p->r, -jitter, jitter) * 0.8f, 0, 1);
    saturate(c, 1.4f);
    stroke(p, c, x, y, 0.01f, 0, rad * uniform(&p->r, 0.7f, 1), 1);
  }
}

static void engraving(plate *p)
{
  int w = p->w;
  float pitch = knob(p, 0, 2.6f, 3.6f) * sqrtf((float)w / 64), angle = knob(p, 1, -0.5f, 0.5f), bend = knob(p, 2, 0, 2.5f), warm = p->j->style_p[3];
  keep(p, p->tmp2);
  blur3(p, p->tmp2, p->tmp, w / 96);
  contours(p, p->tmp2, p->tmp, 0.8f);
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      int i = y * w + x;
      float l = luma(p->tmp2 + i * 3), m = p->mask[i] > 0.5f ? 1.0f : 0.0f;
      /* the ground is cut lighter, so that the object stands out */
      float d = m > 0 ? clamp(1.02f - l * 1.15f, 0, 0.85f) : clamp(0.62f - l * 0.72f, 0, 0.45f);
      float a = angle + m * 0.9f, u = (float)x * sinf(a) + (float)y * cosf(a) + bend * sinf((float)x / (float)w * 6) + m * 3 * (l - 0.5f);
      float f = u / pitch - floorf(u / pitch), aa = 0.8f / pitch;
      float line = smooth(d * 0.5f + aa * 0.5f, d * 0.5f - aa * 0.5f, fabsf(f - 0.5f));
      float c = (float)x * cosf(a) - (float)y * sinf(a), g = c / pitch - floorf(c / pitch), deep = clamp((d - 0.6f) * 1.6f, 0, 1);
      line = fmaxf(line, smooth(deep * 0.5f + aa * 0.5f, deep * 0.5f - aa * 0.5f, fabsf(g - 0.5f)) * (deep > 0.02f));
      float t = clamp(fmaxf(line * (d > 0.05f), p->tmp[i] * 0.95f), 0, 1);
      set(p, i, mixf(0.95f, 0.10f + 0.1f * warm, t), mixf(0.92f, 0.09f, t), mixf(0.82f, 0.08f, t));
    }
}

static void blueprint(plate *p)
{
  int w = p->w, step = (int)(knob(p, 0, 6, 10) * (float)w / 64);
  float base[3] = {knob(p, 1, 0.04f, 0.12f), knob(p, 1, 0.20f, 0.32f), knob(p, 1, 0.55f, 0.70f)};
  contours(p, p->rgb, p->tmp, 0.8f);
  for (int i = 0; i < w * w; i++) {
    float grid = (i % w) % step == 0 || (i / w) % step == 0 ? 0.12f : 0, l = luma(p->rgb + i * 3);
    float t = clamp(p->tmp[i] * 1.1f + grid + 0.12f * l * p->mask[i], 0, 1);
    set(p, i, mixf(base[0], 0.93f, t), mixf(base[1], 0.96f, t), mixf(base[2], 1, t));
  }
}

static void neon(plate *p)
{
  int w = p->w;
  float hue = knob(p, 0, 0, 6.28f), spread = knob(p, 1, 0.5f, 2);
  contours(p, p->rgb, p->tmp, 0.55f);
  for (int i = 0; i < w * w; i++) {
    float c[3] = {p->rgb[i * 3], p->rgb[i * 3 + 1], p->rgb[i * 3 + 2]}, l = luma(c) + 0.05f;
    float tube[3] = {0.55f + 0.45f * sinf(hue + spread * p->mask[i] * 2), 0.5f + 0.45f * sinf(hue + 2.1f + spread * p->mask[i] * 2), 0.6f + 0.4f * sinf(hue + 4.2f + spread * p->mask[i] * 2)};
    for (int k = 0; k < 3; k++) c[k] = clamp(0.5f * clamp(c[k] / l * 0.5f, 0, 1) + 0.6f * tube[k], 0, 1);
    saturate(c, 1.8f);
    for (int k = 0; k < 3; k++) p->tmp2[i * 3 + k] = c[k] * p->tmp[i];
  }
  memcpy(p->rgb, p->tmp2, (size_t)w * w * 3 * sizeof(float));
  float *halo = p->tmp2;
  float *scratch = p->rgb;
  /* halo = blurred tubes; the tubes themselves are drawn again from the contours */
  blur3(p, halo, scratch, w / 32);
  blur3(p, halo, scratch, w / 32);
  for (int i = 0; i < w * w; i++) {
    float t = p->tmp[i];
    for (int k = 0; k < 3; k++) {
      float h = halo[i * 3 + k];
      float peak = fmaxf(halo[i * 3], fmaxf(halo[i * 3 + 1], halo[i * 3 + 2])) + 0.02f;
      p->rgb[i * 3 + k] = clamp(0.03f + 1.6f * h + t * (0.45f + 0.6f * h / peak), 0, 1);
    }
  }
}

static void sepia(plate *p)
{
  float fade = knob(p, 0, 0, 0.2f), warm = knob(p, 1, 0.8f, 1.1f);
  for (int i = 0; i < p->w * p->w; i++) {
    float l = fade + (1 - fade) * luma(p->rgb + i * 3);
    set(p, i, clamp(l * 1.06f + 0.06f * warm, 0, 1), clamp(l * 0.87f + 0.03f, 0, 1), clamp(l * 0.62f, 0, 1));
  }
}

static void black_and_white(plate *p)
{
  float contrast = knob(p, 0, 0.9f, 1.5f), grain = knob(p, 1, 0, 0.08f);
  for (int i = 0; i < p->w * p->w; i++) {
    float l = clamp((luma(p->rgb + i * 3) - 0.45f) * contrast + 0.47f + uniform(&p->r, -grain, grain), 0, 1);
    set(p, i, l, l, l);
  }
}

static void chalk(plate *p)
{
  int w = p->w;
  float green = p->j->style_p[0] < 0.6f ? 1.0f : 0.0f, fill = knob(p, 1, 0.35f, 0.6f);
  contours(p, p->rgb, p->tmp, 0.75f);
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      int i = y * w + x;
      float g = noise2((float)x * 0.8f, (float)y * 0.8f, p->seed), dust = fbm((float)x / (float)w * 4, (float)y / (float)w * 4, p->seed + 7, 2);
      float hatch = 0.5f + 0.5f * sinf((float)(x + y) * 2 * PI / (3.2f * sqrtf((float)w / 64)));
      float c[3] = {p->rgb[i * 3], p->rgb[i * 3 + 1], p->rgb[i * 3 + 2]}, l = luma(c);
      float board[3] = {mixf(0.09f, 0.10f, green) + 0.04f * dust, mixf(0.10f, 0.21f, green) + 0.04f * dust, mixf(0.11f, 0.16f, green) + 0.04f * dust};
      float a = l * fill * (0.45f + 0.55f * hatch) * (0.35f + 0.9f * g);
      for (int k = 0; k < 3; k++) c[k] = mixf(c[k], 1, 0.35f);
      float t = clamp(p->tmp[i] * (0.55f + 0.8f * g), 0, 0.95f);
      for (int k = 0; k < 3; k++) p->rgb[i * 3 + k] = clamp(mixf(mixf(board[k], c[k], a), 0.94f, t), 0, 1);
    }
}

static void low_poly(plate *p)
{
  int w = p->w, n = (int)knob(p, 0, 15, 21.9f);
  float cell = (float)w / (float)n;
  keep(p, p->tmp);
  keep(p, p->tmp2);
  blur3(p, p->tmp2, p->rgb, w / 48);
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      float u = ((float)x + 0.5f) / cell, v = ((float)y + 0.5f) / cell;
      u += 0.45f * (noise2(u * 0.9f, v * 0.9f, p->seed) - 0.5f);
      v += 0.45f * (noise2(u * 0.9f + 40, v * 0.9f, p->seed + 3) - 0.5f);
      int cx = (int)floorf(u), cy = (int)floorf(v), flip = (cx + cy) & 1;
      float fu = u - (float)cx, fv = v - (float)cy;
      int upper = flip ? fu + fv < 1 : fu > fv;
      float px = ((float)cx + (flip ? (upper ? 0.33f : 0.67f) : (upper ? 0.67f : 0.33f))) * cell, py = ((float)cy + (upper ? 0.33f : 0.67f)) * cell;
      const float *c = at(p, p->tmp2, (int)px, (int)py);
      int i = y * w + x, xi = (int)clamp(px, 0, (float)w - 1), yi = (int)clamp(py, 0, (float)w - 1);
      if ((p->mask[yi * w + xi] > 0.5f) != (p->mask[i] > 0.5f)) c = p->tmp2 + i * 3;
      float lit = 0.93f + 0.14f * hash2(cx * 2 + upper, cy, p->seed);
      float q[3] = {c[0] * lit, c[1] * lit, c[2] * lit};
      saturate(q, 1.25f);
      set(p, i, q[0], q[1], q[2]);
    }
}

static void crayon(plate *p)
{
  int w = p->w;
  float angle = knob(p, 0, 0.4f, 1.2f), rough = knob(p, 1, 0.3f, 0.6f);
  contours(p, p->rgb, p->tmp, 0.6f);
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      int i = y * w + x;
      float u = (float)x * cosf(angle) + (float)y * sinf(angle), v = (float)y * cosf(angle) - (float)x * sinf(angle);
      float s = 64.0f / (float)w, g = 0.6f * noise2(u * 0.9f * sqrtf(s), v * 0.16f * sqrtf(s), p->seed) + 0.4f * noise2((float)x * 0.9f, (float)y * 0.9f, p->seed + 3);
      float c[3] = {p->rgb[i * 3], p->rgb[i * 3 + 1], p->rgb[i * 3 + 2]};
      saturate(c, 1.5f);
      float a = clamp(1.15f - rough * 2 * clamp(g - 0.25f, 0, 1) , 0.15f, 1), t = clamp(p->tmp[i] * (0.4f + 0.8f * g), 0, 0.8f);
      for (int k = 0; k < 3; k++) p->rgb[i * 3 + k] = clamp(mixf(mixf(0.98f, c[k], a), c[k] * 0.25f, t), 0, 1);
    }
}

static void pop_art(plate *p)
{
  static const float inks[4][5][3] = {
    {{0.10f, 0.05f, 0.25f}, {0.93f, 0.10f, 0.45f}, {0.98f, 0.55f, 0.10f}, {0.99f, 0.88f, 0.15f}, {1, 0.98f, 0.85f}},
    {{0.05f, 0.10f, 0.35f}, {0.10f, 0.45f, 0.85f}, {0.10f, 0.75f, 0.75f}, {0.98f, 0.90f, 0.25f}, {1, 1, 0.9f}},
    {{0.25f, 0.02f, 0.20f}, {0.80f, 0.10f, 0.20f}, {0.95f, 0.45f, 0.65f}, {0.55f, 0.85f, 0.95f}, {1, 0.97f, 0.95f}},
    {{0.02f, 0.20f, 0.15f}, {0.10f, 0.60f, 0.35f}, {0.95f, 0.35f, 0.25f}, {0.98f, 0.80f, 0.30f}, {0.98f, 1, 0.9f}},
  };
  int w = p->w, set_object = (int)knob(p, 0, 0, 3.99f), set_ground = (set_object + 1 + (int)knob(p, 1, 0, 2.99f)) % 4;
  float pitch = knob(p, 2, 3.2f, 4.4f) * (float)w / 64;
  keep(p, p->tmp2);
  blur3(p, p->tmp2, p->tmp, w / 64);
  contours(p, p->tmp2, p->tmp, 0.7f);
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      int i = y * w + x, inside = p->mask[i] > 0.5f;
      float l = luma(p->tmp2 + i * 3) * 4.2f;
      int q = (int)clamp(l, 0, 4);
      float u = ((float)x + (float)y) / pitch * 0.7071f, v = ((float)x - (float)y) / pitch * 0.7071f;
      u -= floorf(u) + 0.5f;
      v -= floorf(v) + 0.5f;
      /* halftone dots carry the next tone */
      float part = l - (float)q, dot = smooth(0.08f, -0.08f, sqrtf(u * u + v * v) - 0.62f * sqrtf(clamp(part, 0, 1)));
      const float *a = inks[inside ? set_object : set_ground][q], *b = inks[inside ? set_object : set_ground][q < 4 ? q + 1 : 4];
      float t = clamp(p->tmp[i] * 1.2f, 0, 1);
      for (int k = 0; k < 3; k++) p->rgb[i * 3 + k] = mixf(mixf(a[k], b[k], inside ? (part > 0.6f) : dot), 0.04f, t);
    }
}

static void cross_stitch(plate *p)
{
  int w = p->w, cells = (int)knob(p, 0, 24, 32.9f);
  keep(p, p->tmp);
  for (int j = 0; j < cells; j++)
    for (int i = 0; i < cells; i++) {
      int x0 = i * w / cells, x1 = (i + 1) * w / cells, y0 = j * w / cells, y1 = (j + 1) * w / cells;
      float c[3];
      cell_mean(p, p->tmp, x0, y0, x1, y1, c);
      saturate(c, 1.25f);
      for (int k = 0; k < 3; k++) c[k] = floorf(c[k] * 6 + 0.5f) / 6;
      for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++) {
          float u = ((float)(x - x0) + 0.5f) / (float)(x1 - x0), v = ((float)(y - y0) + 0.5f) / (float)(y1 - y0);
          float d1 = fabsf(u - v), d2 = fabsf(u + v - 1), t = smooth(0.42f, 0.2f, fminf(d1, d2)), lit = d1 < d2 ? 1.08f : 0.88f;
          int q = y * w + x;
          for (int k = 0; k < 3; k++) p->rgb[q * 3 + k] = clamp(mixf(0.93f - 0.03f * (float)k, c[k] * lit, 0.15f + 0.85f * t), 0, 1);
        }
    }
}

static void mosaic(plate *p)
{
  int w = p->w, cells = (int)knob(p, 0, 14, 19.9f);
  float tone = knob(p, 1, 0.35f, 0.8f);
  keep(p, p->tmp);
  for (int j = 0; j < cells; j++)
    for (int i = 0; i < cells; i++) {
      int x0 = i * w / cells, x1 = (i + 1) * w / cells, y0 = j * w / cells, y1 = (j + 1) * w / cells;
      float c[3], lit = 0.85f + 0.3f * hash2(i, j, p->seed);
      cell_mean(p, p->tmp, x0, y0, x1, y1, c);
      saturate(c, 1.3f);
      for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++) {
          int rim = x == x1 - 1 || y == y1 - 1, q = y * w + x;
          float sheen = 1.06f - 0.12f * (float)(x - x0 + y - y0) / (float)(x1 - x0 + y1 - y0);
          for (int k = 0; k < 3; k++) p->rgb[q * 3 + k] = rim ? mixf(c[k] * 0.6f, tone - 0.03f * (float)k, 0.5f) : clamp(c[k] * lit * sheen, 0, 1);
        }
    }
}

typedef struct {
  const char *name;
  void (*apply)(plate *p);
} style;

static const style styles[] = {
  {"photo", photo}, {"oil painting", oil}, {"watercolor", watercolour}, {"pencil drawing", pencil}, {"ink drawing", ink},
  {"cartoon", cartoon}, {"pixel art", pixel_art}, {"stained glass", stained_glass}, {"pointillist painting", pointillist},
  {"engraving", engraving}, {"blueprint", blueprint}, {"neon sign", neon}, {"sepia photo", sepia}, {"black and white photo", black_and_white},
  {"chalk drawing", chalk}, {"low poly", low_poly}, {"crayon drawing", crayon}, {"emoji", photo}, {"flat icon", photo},
  {"line drawing", NULL}, {"woodcut", NULL}, {"pop art", pop_art}, {"cross-stitch", cross_stitch}, {"mosaic", mosaic},
};
const int style_counts = (int)(sizeof styles / sizeof styles[0]);

const char *style_name(int style_index)
{
  return styles[style_index].name;
}

void style_apply(plate *p, int style_index)
{
  if (styles[style_index].apply) styles[style_index].apply(p);
}

/* a drawing on paper: the ink mask is all there is */
void style_drawing(plate *p, int style_index, const float *mask)
{
  const char *name = styles[style_index].name;
  float paper[3] = {0.97f, 0.96f, 0.93f}, line[3] = {0.06f, 0.06f, 0.08f}, rough = 0, warm = p->j->style_p[0];
  if (!strcmp(name, "woodcut")) {
    float a[3] = {0.86f, 0.70f, 0.46f}, b[3] = {0.24f, 0.11f, 0.04f};
    memcpy(paper, a, sizeof a);
    memcpy(line, b, sizeof b);
  } else if (!strcmp(name, "chalk drawing")) {
    float a[3] = {0.10f, 0.21f, 0.16f}, b[3] = {0.94f, 0.94f, 0.92f};
    memcpy(paper, a, sizeof a);
    memcpy(line, b, sizeof b);
    rough = 0.7f;
  } else if (!strcmp(name, "blueprint")) {
    float a[3] = {0.08f, 0.26f, 0.62f}, b[3] = {0.93f, 0.96f, 1.0f};
    memcpy(paper, a, sizeof a);
    memcpy(line, b, sizeof b);
  } else {
    for (int k = 0; k < 3; k++) paper[k] -= 0.06f * warm * (float)k;
    for (int k = 0; k < 3; k++) line[k] += 0.2f * p->j->style_p[1] * (k == 2);
  }
  for (int y = 0; y < p->w; y++)
    for (int x = 0; x < p->w; x++) {
      int i = y * p->w + x;
      float u = (float)x / (float)p->w, v = (float)y / (float)p->w, g = noise2((float)x * 0.8f, (float)y * 0.8f, p->seed);
      float grain = !strcmp(name, "woodcut") ? 0.10f * (fbm(u * 3, v * 26, p->seed + 3, 2) - 0.5f) : 0.02f * (g - 0.5f);
      float t = mask[i] * (1 - rough * 0.7f * g);
      for (int k = 0; k < 3; k++) p->rgb[i * 3 + k] = clamp(mixf(paper[k] + grain, line[k], t), 0, 1);
    }
}
