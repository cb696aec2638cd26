/* brushes for the scenes: skies, grounds in perspective, walls, and antialiased shapes; x and y run
 * 0..1 */
#include "world.h"

static void unpack(float out[3], uint32_t colour)
{
  out[0] = (float)(colour >> 16 & 255) / 255.0f;
  out[1] = (float)(colour >> 8 & 255) / 255.0f;
  out[2] = (float)(colour & 255) / 255.0f;
}

static void blend(float *px, const float *c, float a)
{
  for (int k = 0; k < 3; k++)
    px[k] += (c[k] - px[k]) * a;
}

/* how much of the pixel row lies under the horizon */
static float below_horizon(const canvas *c, float y)
{
  return clamp((y - c->horizon) * (float)c->w + 0.5f, 0, 1);
}

void paint_sky(canvas *c, uint32_t top, uint32_t bottom)
{
  float a[3], b[3];
  unpack(a, top);
  unpack(b, bottom);
  float h = fmaxf(c->horizon, 0.05f);
  for (int y = 0; y < c->w; y++) {
    float t = clamp(((float)y + 0.5f) / (float)c->w / h, 0, 1);
    float *row = c->rgb + (size_t)y * c->w * 3;
    for (int x = 0; x < c->w; x++)
      for (int k = 0; k < 3; k++)
        row[x * 3 + k] = mixf(a[k], b[k], t);
  }
}

void paint_clouds(canvas *c, float amount, uint32_t colour)
{
  float cc[3];
  unpack(cc, colour);
  float ox = uniform(&c->r, 0, 50), f = uniform(&c->r, 2.5f, 4.5f);
  int rows = (int)(c->horizon * (float)c->w);
  for (int y = 0; y < rows && y < c->w; y++)
    for (int x = 0; x < c->w; x++) {
      float n =
          fbm(ox + (float)x / (float)c->w * f, (float)y / (float)c->w * f * 2.2f, c->seed + 3, 4);
      blend(c->rgb + ((size_t)y * c->w + x) * 3, cc, clamp((n - 0.5f) * 4, 0, 1) * amount);
    }
}

void paint_ridge(canvas *c, float height, float amp, float freq, uint32_t a, uint32_t b, float snow)
{
  float ca[3], cb[3], white[3] = { 0.95f, 0.97f, 1.0f }, col[3];
  unpack(ca, a);
  unpack(cb, b);
  float ox = uniform(&c->r, 0, 90);
  for (int x = 0; x < c->w; x++) {
    float fx = ((float)x + 0.5f) / (float)c->w;
    float r = c->horizon - height - amp * (fbm(ox + fx * freq, 0.5f, c->seed + 7, 5) - 0.5f) * 2;
    int y0 = (int)(r * (float)c->w), y1 = (int)(c->horizon * (float)c->w);
    for (int y = y0 < 0 ? 0 : y0; y <= y1 && y < c->w; y++) {
      float fy = ((float)y + 0.5f) / (float)c->w;
      float t = clamp(fbm(ox + fx * 14, fy * 14, c->seed + 11, 3) * 1.6f - 0.3f, 0, 1);
      for (int k = 0; k < 3; k++)
        col[k] = mixf(ca[k], cb[k], t);
      if (snow > 0) {
        float s =
            (height * snow - (fy - r) + 0.09f * (noise2(fx * 22, fy * 9, c->seed + 13) - 0.5f)) *
            30;
        blend(col, white, clamp(s, 0, 1));
      }
      blend(c->rgb + ((size_t)y * c->w + x) * 3, col, clamp((fy - r) * (float)c->w + 0.5f, 0, 1));
    }
  }
}

/* calls for every ground pixel come through here: (gx, gz) on the floor, fade 1 near and 0 at the
 * horizon */
typedef struct {
  float gx, gz, fade;
} floor_point;

static floor_point floor_at(const canvas *c, float x, float y)
{
  float dz = fmaxf(y - c->horizon, 0.012f);
  floor_point f = { (x - 0.5f) * 0.5f / dz, 0.5f / dz, clamp(dz * 7, 0, 1) };
  return f;
}

void paint_ground(canvas *c, uint32_t a, uint32_t b, float freq, uint32_t speckle, float amount)
{
  float ca[3], cb[3], cs[3], col[3];
  unpack(ca, a);
  unpack(cb, b);
  unpack(cs, speckle);
  for (int y = (int)fmaxf(c->horizon * (float)c->w, 0); y < c->w; y++) {
    float fy = ((float)y + 0.5f) / (float)c->w, cover = below_horizon(c, fy);
    for (int x = 0; x < c->w; x++) {
      floor_point f = floor_at(c, ((float)x + 0.5f) / (float)c->w, fy);
      float n = fbm(f.gx * freq + 50, f.gz * freq, c->seed + 40, 3);
      float t = mixf(0.5f, clamp(n * 2 - 0.5f, 0, 1), f.fade);
      for (int k = 0; k < 3; k++)
        col[k] = mixf(ca[k], cb[k], t);
      if (amount > 0) {
        float s = noise2(f.gx * freq * 4 + 9, f.gz * freq * 4, c->seed + 44);
        blend(col, cs, clamp((s - 0.66f) * 7, 0, 1) * amount * f.fade);
      }
      blend(c->rgb + ((size_t)y * c->w + x) * 3, col, cover);
    }
  }
}

void paint_planks(canvas *c, uint32_t a, uint32_t b, float n)
{
  float ca[3], cb[3], col[3];
  unpack(ca, a);
  unpack(cb, b);
  for (int y = (int)fmaxf(c->horizon * (float)c->w, 0); y < c->w; y++) {
    float fy = ((float)y + 0.5f) / (float)c->w, cover = below_horizon(c, fy);
    for (int x = 0; x < c->w; x++) {
      floor_point f = floor_at(c, ((float)x + 0.5f) / (float)c->w, fy);
      float u = f.gx * n, k0 = floorf(u), fr = u - k0;
      float t = fbm(u * 5, f.gz * 1.5f + k0 * 7, c->seed + 60, 2) * 0.7f +
                0.5f * hash2((int)k0, 1, c->seed) - 0.1f;
      float gap = 1 - 0.45f * (1 - smooth(0.0f, 0.07f, fminf(fr, 1 - fr))) * f.fade * f.fade;
      for (int k = 0; k < 3; k++)
        col[k] = mixf(ca[k], cb[k], mixf(0.5f, clamp(t, 0, 1), f.fade)) * gap;
      blend(c->rgb + ((size_t)y * c->w + x) * 3, col, cover);
    }
  }
}

void paint_tiles(canvas *c, uint32_t a, uint32_t b, float n, uint32_t grout)
{
  float ca[3], cb[3], cg[3], col[3];
  unpack(ca, a);
  unpack(cb, b);
  unpack(cg, grout);
  float ox = uniform(&c->r, 0, 1), oz = uniform(&c->r, 0, 1);
  for (int y = (int)fmaxf(c->horizon * (float)c->w, 0); y < c->w; y++) {
    float fy = ((float)y + 0.5f) / (float)c->w, cover = below_horizon(c, fy);
    for (int x = 0; x < c->w; x++) {
      floor_point f = floor_at(c, ((float)x + 0.5f) / (float)c->w, fy);
      float u = f.gx * n + ox, v = f.gz * n * 0.8f + oz, ku = floorf(u), kv = floorf(v);
      float line = fminf(fminf(u - ku, ku + 1 - u), fminf(v - kv, kv + 1 - v));
      int odd = ((int)ku + (int)kv) & 1;
      for (int k = 0; k < 3; k++)
        col[k] = mixf((ca[k] + cb[k]) / 2, odd ? ca[k] : cb[k], f.fade);
      blend(col, cg, (1 - smooth(0.02f, 0.06f, line)) * f.fade);
      blend(c->rgb + ((size_t)y * c->w + x) * 3, col, cover);
    }
  }
}

void paint_wall(canvas *c, uint32_t a, uint32_t b)
{
  float ca[3], cb[3];
  unpack(ca, a);
  unpack(cb, b);
  for (int y = 0; y < c->w; y++)
    for (int x = 0; x < c->w; x++) {
      float fx = ((float)x + 0.5f) / (float)c->w, fy = ((float)y + 0.5f) / (float)c->w;
      float t = fbm(fx * 4, fy * 4, c->seed + 80, 2), *px = c->rgb + ((size_t)y * c->w + x) * 3;
      for (int k = 0; k < 3; k++)
        px[k] = mixf(ca[k], cb[k], t) * (0.88f + 0.12f * fy);
    }
}

void paint_wall_stripes(canvas *c, uint32_t a, uint32_t b, float n)
{
  float ca[3], cb[3];
  unpack(ca, a);
  unpack(cb, b);
  for (int y = 0; y < c->w; y++)
    for (int x = 0; x < c->w; x++) {
      float u = ((float)x + 0.5f) / (float)c->w * n;
      float t = smooth(-0.12f, 0.12f, sinf(u * 6.2832f)), *px = c->rgb + ((size_t)y * c->w + x) * 3;
      for (int k = 0; k < 3; k++)
        px[k] = mixf(ca[k], cb[k], t);
    }
}

void paint_wall_grid(canvas *c, uint32_t a, uint32_t b, uint32_t line, float nx, float ny,
                     int brick)
{
  float ca[3], cb[3], cl[3], col[3];
  unpack(ca, a);
  unpack(cb, b);
  unpack(cl, line);
  float pixel = 1.0f / (float)c->w;
  for (int y = 0; y < c->w; y++)
    for (int x = 0; x < c->w; x++) {
      float v = ((float)y + 0.5f) * pixel * ny, kv = floorf(v);
      float u = ((float)x + 0.5f) * pixel * nx + (brick && ((int)kv & 1) ? 0.5f : 0),
            ku = floorf(u);
      float d = fminf(fminf(u - ku, ku + 1 - u) / nx, fminf(v - kv, kv + 1 - v) / ny);
      float t = hash2((int)ku, (int)kv, c->seed + 5);
      for (int k = 0; k < 3; k++)
        col[k] = mixf(ca[k], cb[k], t);
      blend(col, cl, clamp((0.007f - d) / pixel + 0.5f, 0, 1));
      float *px = c->rgb + ((size_t)y * c->w + x) * 3;
      for (int k = 0; k < 3; k++)
        px[k] = col[k];
    }
}

static int bound(const canvas *c, float v)
{
  float x = v * (float)c->w;
  return x < 0 ? 0 : x > (float)c->w - 1 ? c->w - 1 : (int)x;
}

void paint_disc(canvas *c, float cx, float cy, float rx, float ry, uint32_t colour, float alpha)
{
  float col[3], px = 1.0f / (float)c->w;
  unpack(col, colour);
  if (cx + rx < 0 || cy + ry < 0 || cx - rx > 1 || cy - ry > 1)
    return;
  for (int y = bound(c, cy - ry - px); y <= bound(c, cy + ry + px); y++)
    for (int x = bound(c, cx - rx - px); x <= bound(c, cx + rx + px); x++) {
      float dx = (((float)x + 0.5f) * px - cx) / rx, dy = (((float)y + 0.5f) * px - cy) / ry;
      float d = (1 - sqrtf(dx * dx + dy * dy)) * fminf(rx, ry) * (float)c->w;
      blend(c->rgb + ((size_t)y * c->w + x) * 3, col, clamp(d + 0.5f, 0, 1) * alpha);
    }
}

void paint_glow(canvas *c, float cx, float cy, float r, uint32_t colour, float alpha)
{
  float col[3], px = 1.0f / (float)c->w;
  unpack(col, colour);
  for (int y = bound(c, cy - r); y <= bound(c, cy + r); y++)
    for (int x = bound(c, cx - r); x <= bound(c, cx + r); x++) {
      float dx = ((float)x + 0.5f) * px - cx, dy = ((float)y + 0.5f) * px - cy;
      float t = clamp(1 - sqrtf(dx * dx + dy * dy) / r, 0, 1);
      blend(c->rgb + ((size_t)y * c->w + x) * 3, col, t * t * alpha);
    }
}

void paint_rect(canvas *c, float x0, float y0, float x1, float y1, uint32_t colour, float alpha)
{
  float xy[8] = { x0, y0, x1, y0, x1, y1, x0, y1 };
  paint_poly(c, xy, 4, colour, alpha);
}

/* a convex polygon, clockwise on the screen */
void paint_poly(canvas *c, const float *xy, int n, uint32_t colour, float alpha)
{
  float col[3], px = 1.0f / (float)c->w, lo[2] = { 9, 9 }, hi[2] = { -9, -9 }, nx[8], ny[8], nd[8];
  unpack(col, colour);
  for (int i = 0; i < n; i++) {
    int j = (i + 1) % n;
    float ex = xy[j * 2] - xy[i * 2], ey = xy[j * 2 + 1] - xy[i * 2 + 1],
          l = sqrtf(ex * ex + ey * ey) + 1e-9f;
    nx[i] = -ey / l;
    ny[i] = ex / l;
    nd[i] = nx[i] * xy[i * 2] + ny[i] * xy[i * 2 + 1];
    for (int k = 0; k < 2; k++) {
      lo[k] = fminf(lo[k], xy[i * 2 + k]);
      hi[k] = fmaxf(hi[k], xy[i * 2 + k]);
    }
  }
  if (hi[0] < 0 || hi[1] < 0 || lo[0] > 1 || lo[1] > 1)
    return;
  for (int y = bound(c, lo[1] - px); y <= bound(c, hi[1] + px); y++)
    for (int x = bound(c, lo[0] - px); x <= bound(c, hi[0] + px); x++) {
      float fx = ((float)x + 0.5f) * px, fy = ((float)y + 0.5f) * px, d = 9;
      for (int i = 0; i < n; i++)
        d = fminf(d, nx[i] * fx + ny[i] * fy - nd[i]);
      blend(c->rgb + ((size_t)y * c->w + x) * 3, col, clamp(d * (float)c->w + 0.5f, 0, 1) * alpha);
    }
}

void paint_line(canvas *c, float x0, float y0, float x1, float y1, float width, uint32_t colour,
                float alpha)
{
  float col[3], px = 1.0f / (float)c->w, dx = x1 - x0, dy = y1 - y0, l2 = dx * dx + dy * dy + 1e-9f,
                r = width / 2;
  float lox = fminf(x0, x1) - r, hix = fmaxf(x0, x1) + r, loy = fminf(y0, y1) - r,
        hiy = fmaxf(y0, y1) + r;
  unpack(col, colour);
  if (hix < 0 || hiy < 0 || lox > 1 || loy > 1)
    return;
  for (int y = bound(c, loy - px); y <= bound(c, hiy + px); y++)
    for (int x = bound(c, lox - px); x <= bound(c, hix + px); x++) {
      float fx = ((float)x + 0.5f) * px - x0, fy = ((float)y + 0.5f) * px - y0;
      float t = clamp((fx * dx + fy * dy) / l2, 0, 1);
      float ex = fx - t * dx, ey = fy - t * dy, d = r - sqrtf(ex * ex + ey * ey);
      blend(c->rgb + ((size_t)y * c->w + x) * 3, col, clamp(d * (float)c->w + 0.5f, 0, 1) * alpha);
    }
}
