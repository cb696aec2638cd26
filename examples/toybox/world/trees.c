/* what several scenes grow */
#include "scenes.h"

#define PI 3.14159265f

void paint_tree_round(canvas *c, float x, float y, float h, uint32_t leaf, uint32_t trunk)
{
  paint_rect(c, x - h * 0.05f, y - h * 0.5f, x + h * 0.05f, y, trunk, 1);
  paint_disc(c, x, y - h * 0.72f, h * 0.27f, h * 0.27f, leaf, 1);
  paint_disc(c, x - h * 0.2f, y - h * 0.56f, h * 0.2f, h * 0.2f, leaf, 1);
  paint_disc(c, x + h * 0.2f, y - h * 0.56f, h * 0.2f, h * 0.2f, leaf, 1);
}

void paint_tree_fir(canvas *c, float x, float y, float h, uint32_t leaf, uint32_t snow)
{
  paint_rect(c, x - h * 0.04f, y - h * 0.2f, x + h * 0.04f, y, 0x5a3d28, 1);
  for (int i = 0; i < 3; i++) {
    float w = h * (0.30f - 0.07f * (float)i), b = y - h * (0.13f + 0.25f * (float)i),
          t = y - h * (0.55f + 0.22f * (float)i);
    float p[6] = { x, t, x + w, b, x - w, b };
    paint_poly(c, p, 3, leaf, 1);
    if (snow) {
      float q[6] = { x, t, x + w * 0.45f, t + (b - t) * 0.42f, x - w * 0.45f, t + (b - t) * 0.42f };
      paint_poly(c, q, 3, snow, 0.9f);
    }
  }
}

void paint_tree_palm(canvas *c, float x, float y, float h)
{
  float lean = uniform(&c->r, -0.15f, 0.15f) * h, px = x, py = y;
  for (int i = 1; i <= 5; i++) {
    float t = (float)i / 5, nx = x + lean * t * t, ny = y - h * t;
    paint_line(c, px, py, nx, ny, h * 0.07f, 0x8a6238, 1);
    px = nx;
    py = ny;
  }
  for (int i = 0; i < 7; i++) {
    float a = (float)i / 7 * 2 * PI, ex = px + cosf(a) * h * 0.4f,
          ey = py + sinf(a) * h * 0.18f + h * 0.08f;
    float mx = (px + ex) / 2, my = (py + ey) / 2 - h * 0.09f;
    paint_line(c, px, py, mx, my, h * 0.07f, 0x2f8a3a, 1);
    paint_line(c, mx, my, ex, ey, h * 0.05f, 0x3a9c42, 1);
  }
}
