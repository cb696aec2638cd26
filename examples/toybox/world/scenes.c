/*
 * the scenes: a table of painters, each with the light that falls on the objects
 *
 * A scene is recognisable at 64 pixels by its colours and by one or two large shapes.
 */
#include "world.h"

#define PI 3.14159265f

enum { LIGHT_DAY, LIGHT_ROOM, LIGHT_NIGHT, LIGHT_SUNSET, LIGHT_WATER, LIGHT_SPACE, LIGHT_GREY, LIGHT_FIRE, LIGHT_STAGE,
  LIGHT_STUDIO, LIGHT_AIR };

typedef struct {
  const char *name, *phrase;
  void (*paint)(canvas *c);
  int light;
  int shade;
} scene;

static void tree_round(canvas *c, float x, float y, float h, uint32_t leaf, uint32_t trunk)
{
  paint_rect(c, x - h * 0.05f, y - h * 0.5f, x + h * 0.05f, y, trunk, 1);
  paint_disc(c, x, y - h * 0.72f, h * 0.27f, h * 0.27f, leaf, 1);
  paint_disc(c, x - h * 0.2f, y - h * 0.56f, h * 0.2f, h * 0.2f, leaf, 1);
  paint_disc(c, x + h * 0.2f, y - h * 0.56f, h * 0.2f, h * 0.2f, leaf, 1);
}

static void tree_fir(canvas *c, float x, float y, float h, uint32_t leaf, uint32_t snow)
{
  paint_rect(c, x - h * 0.04f, y - h * 0.2f, x + h * 0.04f, y, 0x5a3d28, 1);
  for (int i = 0; i < 3; i++) {
    float w = h * (0.30f - 0.07f * (float)i), b = y - h * (0.13f + 0.25f * (float)i), t = y - h * (0.55f + 0.22f * (float)i);
    float p[6] = {x, t, x + w, b, x - w, b};
    paint_poly(c, p, 3, leaf, 1);
    if (snow) {
      float q[6] = {x, t, x + w * 0.45f, t + (b - t) * 0.42f, x - w * 0.45f, t + (b - t) * 0.42f};
      paint_poly(c, q, 3, snow, 0.9f);
    }
  }
}

static void tree_palm(canvas *c, float x, float y, float h)
{
  float lean = uniform(&c->r, -0.15f, 0.15f) * h, px = x, py = y;
  for (int i = 1; i <= 5; i++) {
    float t = (float)i / 5, nx = x + lean * t * t, ny = y - h * t;
    paint_line(c, px, py, nx, ny, h * 0.07f, 0x8a6238, 1);
    px = nx;
    py = ny;
  }
  for (int i = 0; i < 7; i++) {
    float a = (float)i / 7 * 2 * PI, ex = px + cosf(a) * h * 0.4f, ey = py + sinf(a) * h * 0.18f + h * 0.08f;
    float mx = (px + ex) / 2, my = (py + ey) / 2 - h * 0.09f;
    paint_line(c, px, py, mx, my, h * 0.07f, 0x2f8a3a, 1);
    paint_line(c, mx, my, ex, ey, h * 0.05f, 0x3a9c42, 1);
  }
}

static void stars(canvas *c, int n, float y1)
{
  for (int i = 0; i < n; i++) {
    float x = uniform(&c->r, 0, 1), y = uniform(&c->r, 0, y1), s = uniform(&c->r, 0.003f, 0.009f);
    paint_disc(c, x, y, s, s, 0xfffbe0, uniform(&c->r, 0.5f, 1));
  }
}

static void sun(canvas *c, float x, float y, float r, uint32_t colour)
{
  paint_glow(c, x, y, r * 3, colour, 0.5f);
  paint_disc(c, x, y, r, r, colour, 1);
}

static void flowers(canvas *c, int n, float y0)
{
  static const uint32_t colours[5] = {0xe8384f, 0xffd93b, 0xffffff, 0xd65fd0, 0xff8a3c};
  for (int i = 0; i < n; i++) {
    float x = uniform(&c->r, 0, 1), y = uniform(&c->r, y0, 1), s = 0.007f + 0.02f * (y - c->horizon);
    uint32_t col = colours[below(&c->r, 5)];
    paint_disc(c, x, y, s, s * 0.8f, col, 1);
    paint_disc(c, x, y, s * 0.4f, s * 0.3f, 0xfff2a0, 1);
  }
}

static void skirting(canvas *c, uint32_t colour)
{
  paint_rect(c, 0, c->horizon - 0.025f, 1, c->horizon + 0.008f, colour, 1);
}

static void beach(canvas *c)
{
  float h = c->horizon;
  paint_sky(c, 0x3f9fe6, 0xcfeaf9);
  paint_clouds(c, 0.8f, 0xffffff);
  paint_ground(c, 0xecd9a2, 0xdcc486, 8, 0xc8ab6c, 0.4f);
  paint_rect(c, 0, h, 1, h + 0.12f, 0x1f86c4, 1);
  paint_rect(c, 0, h + 0.05f, 1, h + 0.12f, 0x38a8d4, 0.8f);
  paint_rect(c, 0, h + 0.11f, 1, h + 0.135f, 0xf4fbff, 0.9f);
  float x = uniform(&c->r, 0.05f, 0.2f);
  tree_palm(c, below(&c->r, 2) ? x : 1 - x, h + 0.2f, uniform(&c->r, 0.4f, 0.55f));
}

static void desert(canvas *c)
{
  paint_sky(c, 0x6db7e8, 0xf7e6bf);
  sun(c, uniform(&c->r, 0.15f, 0.85f), c->horizon * 0.4f, 0.05f, 0xfff4c2);
  paint_ridge(c, 0.06f, 0.09f, 3, 0xd99a4e, 0xe3ad62, 0);
  paint_ground(c, 0xe6b363, 0xd59a48, 3, 0xc2853a, 0.2f);
  for (int i = 0; i < 2; i++) {
    float x = i ? uniform(&c->r, 0.8f, 0.95f) : uniform(&c->r, 0.05f, 0.2f), y = c->horizon + uniform(&c->r, 0.02f, 0.1f);
    paint_line(c, x, y, x, y - 0.22f, 0.045f, 0x3f7d3c, 1);
    paint_line(c, x, y - 0.09f, x + 0.06f, y - 0.09f, 0.03f, 0x3f7d3c, 1);
    paint_line(c, x + 0.06f, y - 0.09f, x + 0.06f, y - 0.16f, 0.03f, 0x3f7d3c, 1);
  }
}

static void snow(canvas *c)
{
  paint_sky(c, 0xa9c4dc, 0xe6eff7);
  paint_ground(c, 0xf4f8fc, 0xdde8f3, 5, 0xffffff, 0);
  for (int i = 0; i < 7; i++)
    tree_fir(c, ((float)i + uniform(&c->r, 0.1f, 0.9f)) / 7, c->horizon + uniform(&c->r, 0, 0.03f),
             uniform(&c->r, 0.2f, 0.36f), 0x3c6a5c, 0xf2f7fb);
}

static void forest(canvas *c)
{
  paint_sky(c, 0x7fae6a, 0xb7d49a);
  for (int i = 0; i < 26; i++)
    paint_disc(c, uniform(&c->r, 0, 1), uniform(&c->r, 0, c->horizon * 0.8f), 0.13f, 0.1f, i & 1 ? 0x2f6a35 : 0x3f8040, 0.8f);
  for (int i = 0; i < 8; i++) {
    float x = ((float)i + uniform(&c->r, 0.1f, 0.9f)) / 8, w = uniform(&c->r, 0.015f, 0.035f);
    paint_rect(c, x - w, 0.04f, x + w, c->horizon + uniform(&c->r, 0.01f, 0.08f), i & 1 ? 0x4d3622 : 0x5f4429, 1);
  }
  paint_ground(c, 0x4f7a35, 0x66502f, 5, 0x2f5226, 0.5f);
}

static void jungle(canvas *c)
{
  paint_sky(c, 0x1d5a34, 0x57a04a);
  paint_ground(c, 0x3f6d2c, 0x574425, 5, 0x25451f, 0.5f);
  for (int i = 0; i < 4; i++) {
    float x = uniform(&c->r, 0, 1);
    paint_line(c, x, 0, x + uniform(&c->r, -0.1f, 0.1f), c->horizon, 0.02f, 0x3a4a1f, 1);
  }
  for (int i = 0; i < 24; i++) {
    float x = uniform(&c->r, -0.1f, 1.1f), y = uniform(&c->r, -0.05f, c->horizon + 0.06f), a = uniform(&c->r, 0, PI);
    uint32_t col = i % 3 == 0 ? 0x2aa045 : i % 3 == 1 ? 0x157a3c : 0x6cbf3f;
    paint_line(c, x, y, x + cosf(a) * 0.22f, y + sinf(a) * 0.14f, 0.055f, col, 1);
  }
}

static void mountains(canvas *c)
{
  paint_sky(c, 0x4b93dd, 0xcfe6f7);
  paint_clouds(c, 0.5f, 0xffffff);
  float x = uniform(&c->r, 0.15f, 0.4f), h = c->horizon;
  for (int i = 0; i < 3; i++) {
    float px = x + (float)i * 0.33f, t = uniform(&c->r, 0.03f, 0.12f), w = uniform(&c->r, 0.25f, 0.35f);
    float p[6] = {px, t, px + w, h, px - w, h}, k = 0.36f;
    paint_poly(c, p, 3, i & 1 ? 0x6f7c8f : 0x5c6a80, 1);
    float q[8] = {px, t, px + w * k, t + (h - t) * k, px, t + (h - t) * (k - 0.1f), px - w * k, t + (h - t) * k};
    paint_poly(c, q, 4, 0xf6f9fc, 1);
  }
  paint_ground(c, 0x6d9a4e, 0x84a85c, 4, 0x557c3d, 0.3f);
}

static void meadow(canvas *c)
{
  paint_sky(c, 0x57b0f0, 0xd8f0fc);
  paint_clouds(c, 0.9f, 0xffffff);
  paint_ridge(c, 0.03f, 0.05f, 2, 0x62b544, 0x6fc04c, 0);
  paint_ground(c, 0x55b13a, 0x6cc548, 7, 0x3f9a2c, 0.4f);
}

static void wheat(canvas *c)
{
  paint_sky(c, 0x6cb2e4, 0xf6edcf);
  paint_ground(c, 0xe0b53a, 0xf0cc58, 8, 0xb98a22, 0.5f);
  for (int i = 0; i < 60; i++) {
    float x = uniform(&c->r, 0, 1), y = c->horizon + uniform(&c->r, 0, 0.12f);
    paint_line(c, x, y, x + uniform(&c->r, -0.02f, 0.02f), y - uniform(&c->r, 0.06f, 0.12f), 0.012f, i & 1 ? 0xd6a52c : 0xf2d064, 1);
  }
}

static void city(canvas *c)
{
  static const uint32_t walls[5] = {0x8c5a4a, 0x6d7c92, 0xb09a78, 0x58647a, 0xa8705a};
  paint_sky(c, 0x8fc0e8, 0xdce9f2);
  float x = -0.03f;
  for (int i = 0; x < 1.02f; i++) {
    float w = uniform(&c->r, 0.12f, 0.2f), top = uniform(&c->r, 0.02f, c->horizon * 0.55f);
    paint_rect(c, x, top, x + w, c->horizon, walls[below(&c->r, 5)], 1);
    for (float wy = top + 0.03f; wy < c->horizon - 0.05f; wy += 0.06f)
      for (float wx = x + 0.02f; wx < x + w - 0.025f; wx += 0.045f)
        paint_rect(c, wx, wy, wx + 0.022f, wy + 0.032f, below(&c->r, 4) ? 0xe8eef2 : 0xffd873, 0.9f);
    x += w;
  }
  paint_ground(c, 0x5d6066, 0x686b71, 6, 0x505359, 0.2f);
  paint_rect(c, 0, c->horizon - 0.005f, 1, c->horizon + 0.05f, 0xb4b4b0, 1);
  for (int i = 0; i < 3; i++) {
    float y = c->horizon + 0.1f + (float)(i * i) * 0.1f, w = 0.012f + 0.02f * (float)i;
    paint_rect(c, 0.5f - w, y, 0.5f + w, y + 0.05f + 0.04f * (float)i, 0xf2f0e6, 1);
  }
}

static void night(canvas *c)
{
  paint_sky(c, 0x070b26, 0x1d2a5c);
  stars(c, 60, c->horizon);
  float x = uniform(&c->r, 0.12f, 0.88f), y = uniform(&c->r, 0.1f, 0.16f);
  paint_glow(c, x, y, 0.24f, 0xfff3c0, 0.35f);
  paint_disc(c, x, y, 0.075f, 0.075f, 0xfff6d0, 1);
  paint_disc(c, x + 0.035f, y - 0.02f, 0.065f, 0.065f, 0x0c1233, 1);
  paint_ridge(c, 0.04f, 0.06f, 3, 0x0c1430, 0x101a38, 0);
  paint_ground(c, 0x16233f, 0x1c2c4a, 5, 0x101a30, 0.3f);
}

static void sunset(canvas *c)
{
  paint_sky(c, 0x59378c, 0xff8b3a);
  float x = uniform(&c->r, 0.25f, 0.75f);
  paint_clouds(c, 0.4f, 0xff6f6a);
  sun(c, x, c->horizon - 0.03f, 0.12f, 0xffe07a);
  paint_ridge(c, 0.015f, 0.03f, 3, 0x4a2a4f, 0x55304f, 0);
  paint_ground(c, 0x6b3c4c, 0x84493f, 4, 0x4c2b3e, 0.3f);
}

static void underwater(canvas *c)
{
  float h = c->horizon;
  c->horizon = 1;
  paint_sky(c, 0x3cc0dc, 0x0b5d8f);
  c->horizon = h;
  for (int i = 0; i < 4; i++) {
    float x = uniform(&c->r, 0, 1), w = uniform(&c->r, 0.04f, 0.09f), s = uniform(&c->r, -0.15f, 0.15f);
    float p[8] = {x, 0, x + w, 0, x + w * 2 + s, 0.8f, x - w + s, 0.8f};
    paint_poly(c, p, 4, 0xd8fbff, 0.16f);
  }
  paint_ground(c, 0x4aa0a0, 0x6db3a0, 6, 0x35858c, 0.4f);
  for (int i = 0; i < 7; i++) {
    float x = i < 4 ? uniform(&c->r, 0, 0.22f) : uniform(&c->r, 0.78f, 1), y = uniform(&c->r, h + 0.02f, h + 0.25f), px = x, py = y;
    uint32_t col = i % 3 == 0 ? 0xe0577a : i % 3 == 1 ? 0x1f9a5a : 0xf08a3c;
    for (int k = 1; k <= 5; k++) {
      float nx = x + 0.018f * sinf((float)k * 1.7f), ny = y - 0.055f * (float)k;
      paint_line(c, px, py, nx, ny, 0.026f, col, 0.95f);
      px = nx;
      py = ny;
    }
  }
}

static void underwater_front(canvas *c)
{
  for (int i = 0; i < 14; i++) {
    float x = uniform(&c->r, 0, 1), y = uniform(&c->r, 0, 0.9f), r = uniform(&c->r, 0.008f, 0.022f);
    paint_disc(c, x, y, r, r, 0xeaffff, 0.35f);
    paint_disc(c, x - r * 0.3f, y - r * 0.3f, r * 0.4f, r * 0.4f, 0xffffff, 0.7f);
  }
}

static void moon(canvas *c)
{
  paint_sky(c, 0x000004, 0x06060e);
  stars(c, 40, c->horizon);
  float x = below(&c->r, 2) ? uniform(&c->r, 0.1f, 0.25f) : uniform(&c->r, 0.75f, 0.9f), y = uniform(&c->r, 0.12f, 0.2f);
  paint_disc(c, x, y, 0.09f, 0.09f, 0x2a6fd0, 1);
  paint_disc(c, x - 0.02f, y - 0.02f, 0.04f, 0.03f, 0x4caf50, 1);
  paint_disc(c, x + 0.04f, y + 0.03f, 0.025f, 0.025f, 0x4caf50, 1);
  paint_disc(c, x, y - 0.07f, 0.04f, 0.014f, 0xf0f6ff, 1);
  paint_ground(c, 0xb0b0b2, 0x96969a, 5, 0x808084, 0.2f);
  for (int i = 0; i < 9; i++) {
    float cx = uniform(&c->r, 0, 1), cy = c->horizon + uniform(&c->r, 0.04f, 0.5f), r = 0.02f + 0.14f * (cy - c->horizon) * uniform(&c->r, 0.6f, 1.4f);
    paint_disc(c, cx, cy, r, r * 0.4f, 0xc8c8ca, 1);
    paint_disc(c, cx, cy + r * 0.06f, r * 0.85f, r * 0.3f, 0x77777c, 1);
  }
}

static void volcano(canvas *c)
{
  paint_sky(c, 0x2c1a22, 0xb6502c);
  paint_clouds(c, 0.7f, 0x3a2c30);
  float h = c->horizon, x = uniform(&c->r, 0.3f, 0.7f), t = 0.12f;
  paint_glow(c, x, t, 0.24f, 0xffb040, 0.9f);
  float p[8] = {x - 0.08f, t, x + 0.08f, t, x + 0.46f, h, x - 0.46f, h};
  paint_poly(c, p, 4, 0x39292b, 1);
  paint_disc(c, x, t, 0.08f, 0.02f, 0xffd040, 1);
  for (int i = 0; i < 3; i++) {
    float px = x + ((float)i - 1) * 0.05f, py = t, dir = ((float)i - 1) * 0.05f;
    for (int k = 0; k < 4; k++) {
      float nx = px + dir + uniform(&c->r, -0.02f, 0.02f), ny = py + (h - t) / 4;
      paint_line(c, px, py, nx, ny, 0.025f, 0xff5a1a, 1);
      px = nx;
      py = ny;
    }
  }
  paint_ground(c, 0x3d2f30, 0x524044, 5, 0xff5a1e, 0.5f);
}

static void rain(canvas *c)
{
  paint_sky(c, 0x59646f, 0x8d98a3);
  paint_clouds(c, 0.8f, 0x434c56);
  paint_ridge(c, 0.03f, 0.04f, 3, 0x4a5a5c, 0x526264, 0);
  paint_ground(c, 0x5c6a72, 0x6d7c86, 6, 0x9db2c0, 0.5f);
  for (int i = 0; i < 6; i++) {
    float y = c->horizon + uniform(&c->r, 0.06f, 0.5f), r = 0.03f + 0.15f * (y - c->horizon);
    paint_disc(c, uniform(&c->r, 0, 1), y, r, r * 0.3f, 0xa9bccb, 0.8f);
  }
}

static void rain_front(canvas *c)
{
  for (int i = 0; i < 34; i++) {
    float x = uniform(&c->r, 0, 1.1f), y = uniform(&c->r, -0.1f, 1), l = uniform(&c->r, 0.07f, 0.14f);
    paint_line(c, x, y, x - l * 0.25f, y + l, 0.010f, 0xdfeaf5, 0.6f);
  }
}

static void autumn(canvas *c)
{
  static const uint32_t leaves[5] = {0xd9531e, 0xf0a020, 0xb8321e, 0xe8c030, 0x9a4a1c};
  paint_sky(c, 0xe7c07a, 0xf6e0ae);
  for (int i = 0; i < 5; i++)
    tree_round(c, ((float)i + uniform(&c->r, 0.2f, 0.8f)) / 5, c->horizon + 0.02f, uniform(&c->r, 0.3f, 0.45f),
               leaves[below(&c->r, 4)], 0x5a3a22);
  paint_ground(c, 0xb5732e, 0xc98a3c, 6, 0x8a4a1e, 0.4f);
  for (int i = 0; i < 70; i++) {
    float y = c->horizon + uniform(&c->r, 0.01f, 1 - c->horizon), s = 0.008f + 0.03f * (y - c->horizon);
    paint_disc(c, uniform(&c->r, 0, 1), y, s, s * 0.6f, leaves[below(&c->r, 5)], 1);
  }
}

static void lake(canvas *c)
{
  paint_sky(c, 0x5aa9e6, 0xdff0fa);
  paint_ridge(c, 0.05f, 0.05f, 3, 0x3d7a4a, 0x4a8a52, 0);
  float h = c->horizon;
  paint_rect(c, 0, h, 1, h + 0.24f, 0x3a86b8, 1);
  for (int i = 0; i < 14; i++) {
    float y = h + uniform(&c->r, 0.01f, 0.23f), x = uniform(&c->r, 0, 1), w = uniform(&c->r, 0.05f, 0.15f);
    paint_rect(c, x, y, x + w, y + 0.012f, 0x9fd2ee, 0.8f);
  }
  canvas shore = *c;
  shore.horizon = h + 0.24f;
  paint_ground(&shore, 0x6b9a4a, 0x84ab58, 6, 0x4f7a35, 0.4f);
  for (int i = 0; i < 8; i++) {
    float x = i & 1 ? uniform(&c->r, 0, 0.15f) : uniform(&c->r, 0.85f, 1);
    paint_line(c, x, h + 0.3f, x + 0.01f, h + 0.08f, 0.014f, 0x3f6d2c, 1);
    paint_line(c, x + 0.01f, h + 0.1f, x + 0.01f, h + 0.03f, 0.026f, 0x6b4423, 1);
  }
}

static void cave(canvas *c)
{
  paint_wall(c, 0x2b2320, 0x443730);
  float x = uniform(&c->r, 0.3f, 0.7f);
  paint_disc(c, x, c->horizon - 0.04f, 0.26f, 0.3f, 0xdcebf5, 1);
  paint_glow(c, x, c->horizon, 0.5f, 0xe8f2f8, 0.3f);
  paint_ground(c, 0x51453c, 0x3d332c, 5, 0x2a221e, 0.5f);
  for (int i = 0; i < 7; i++) {
    float sx = ((float)i + uniform(&c->r, 0, 1)) / 7, l = uniform(&c->r, 0.1f, 0.3f), w = uniform(&c->r, 0.04f, 0.08f);
    float p[6] = {sx - w, 0, sx + w, 0, sx, l};
    paint_poly(c, p, 3, 0x1d1715, 1);
  }
}

static void rainbow(canvas *c)
{
  static const uint32_t bands[6] = {0xe8413c, 0xf59a2c, 0xf7e03c, 0x4fb84a, 0x3c7fe0, 0x8a4bc0};
  paint_sky(c, 0x7cc4f2, 0xe4f4fc);
  float r = 0.52f, x = uniform(&c->r, 0.4f, 0.6f);
  canvas above = *c;
  for (int i = 0; i < 6; i++) paint_disc(&above, x, c->horizon + 0.08f, r - (float)i * 0.035f, r - (float)i * 0.035f, bands[i], 1);
  paint_disc(&above, x, c->horizon + 0.08f, r - 0.21f, r - 0.21f, 0xc4e6f8, 1);
  paint_ground(c, 0x5fb446, 0x74c554, 5, 0x4a9a36, 0.3f);
}

static void garden(canvas *c)
{
  paint_sky(c, 0x74bdf0, 0xdaf0fb);
  for (int i = 0; i < 6; i++)
    paint_disc(c, uniform(&c->r, 0, 1), c->horizon - 0.16f, 0.14f, 0.13f, i & 1 ? 0x3f8f3a : 0x54a548, 1);
  for (int i = 0; i < 11; i++) {
    float x = (float)i / 11 + 0.01f, t = c->horizon - 0.22f;
    float p[10] = {x, t + 0.04f, x + 0.035f, t, x + 0.07f, t + 0.04f, x + 0.07f, c->horizon + 0.02f, x, c->horizon + 0.02f};
    paint_poly(c, p, 5, 0xf8f8f4, 1);
  }
  paint_rect(c, 0, c->horizon - 0.14f, 1, c->horizon - 0.11f, 0xe4e4de, 1);
  paint_ground(c, 0x5aa83e, 0x6bb84a, 7, 0x438c2e, 0.4f);
}

static void farm(canvas *c)
{
  paint_sky(c, 0x66b4ee, 0xdff1fb);
  paint_ridge(c, 0.03f, 0.03f, 2, 0x7db84e, 0x8ac45a, 0);
  float x = uniform(&c->r, 0.12f, 0.6f), h = c->horizon;
  paint_rect(c, x, h - 0.2f, x + 0.3f, h + 0.01f, 0xb0302a, 1);
  float p[10] = {x - 0.02f, h - 0.2f, x + 0.05f, h - 0.31f, x + 0.15f, h - 0.36f, x + 0.25f, h - 0.31f, x + 0.32f, h - 0.2f};
  paint_poly(c, p, 5, 0x6d2320, 1);
  paint_rect(c, x + 0.1f, h - 0.13f, x + 0.2f, h + 0.01f, 0xf6f2ea, 1);
  paint_rect(c, x + 0.115f, h - 0.115f, x + 0.185f, h + 0.01f, 0x8a2a24, 1);
  paint_ground(c, 0x8fb04a, 0xa8bf58, 5, 0x6f8f38, 0.4f);
}

static void bridge(canvas *c)
{
  paint_sky(c, 0x86bfe8, 0xe2eff8);
  float h = c->horizon;
  paint_rect(c, 0, h - 0.1f, 1, h, 0x3f8fc0, 1);
  for (int i = 0; i < 2; i++) {
    float x = i ? 0.86f : 0.14f;
    paint_rect(c, x - 0.03f, 0.04f, x + 0.03f, h + 0.02f, 0xc0392b, 1);
    paint_line(c, x, 0.06f, 0.5f, h - 0.08f, 0.016f, 0xc0392b, 1);
    paint_line(c, x, 0.06f, i ? 1.1f : -0.1f, h - 0.08f, 0.016f, 0xc0392b, 1);
  }
  paint_rect(c, 0, h - 0.06f, 1, h - 0.035f, 0xa93226, 1);
  for (int i = 0; i < 16; i++) paint_rect(c, (float)i / 16, h - 0.05f, (float)i / 16 + 0.012f, h + 0.01f, 0xa93226, 1);
  paint_ground(c, 0x8f9498, 0x9da2a6, 5, 0x7f8488, 0.2f);
}

static void castle(canvas *c)
{
  paint_sky(c, 0x6ea8dc, 0xe0eef8);
  paint_clouds(c, 0.6f, 0xffffff);
  float x = uniform(&c->r, 0.1f, 0.3f), h = c->horizon, w = 0.6f;
  paint_rect(c, x, h - 0.2f, x + w, h + 0.01f, 0xa7a39a, 1);
  for (int i = 0; i < 6; i++) paint_rect(c, x + (float)i * 0.105f, h - 0.24f, x + (float)i * 0.105f + 0.06f, h - 0.19f, 0xa7a39a, 1);
  for (int i = 0; i < 3; i++) {
    float tx = x + (i == 0 ? 0 : i == 1 ? w / 2 : w), t = i == 1 ? 0.1f : 0.16f, r = 0.07f;
    paint_rect(c, tx - r, t, tx + r, h + 0.01f, i == 1 ? 0x98948b : 0xb4b0a7, 1);
    float p[6] = {tx, t - 0.13f, tx + r * 1.25f, t, tx - r * 1.25f, t};
    paint_poly(c, p, 3, 0x3d57a8, 1);
  }
  paint_disc(c, x + w / 2, h, 0.05f, 0.09f, 0x4a3626, 1);
  paint_ground(c, 0x66a548, 0x7ab556, 5, 0x4f8a36, 0.3f);
}

static void park(canvas *c)
{
  paint_sky(c, 0x76bdf0, 0xe0f2fc);
  for (int i = 0; i < 4; i++)
    tree_round(c, ((float)i + uniform(&c->r, 0.2f, 0.8f)) / 4, c->horizon + 0.02f, uniform(&c->r, 0.3f, 0.42f), 0x3f9440, 0x6a4628);
  paint_ground(c, 0x4fa63c, 0x62b84a, 6, 0x3f8f30, 0.2f);
  flowers(c, 70, c->horizon + 0.03f);
}

static void ice(canvas *c)
{
  paint_sky(c, 0x9fd0ee, 0xf0f8fd);
  paint_ridge(c, 0.07f, 0.06f, 4, 0xd4ebf6, 0xb6dcef, 0);
  paint_ground(c, 0xa6dcf2, 0xc4eaf8, 3, 0xffffff, 0);
  for (int i = 0; i < 9; i++) {
    float x = uniform(&c->r, 0, 1), y = c->horizon + uniform(&c->r, 0.04f, 0.6f), a = uniform(&c->r, -0.5f, 0.5f);
    paint_line(c, x, y, x + 0.22f, y + a * 0.22f, 0.010f, 0xf6fdff, 1);
    paint_line(c, x + 0.1f, y + a * 0.1f, x + 0.16f, y - 0.08f, 0.008f, 0xf6fdff, 1);
  }
}

static void cobbles(canvas *c)
{
  paint_wall(c, 0xd8b98a, 0xcaa878);
  for (int i = 0; i < 3; i++) {
    float x = 0.08f + (float)i * 0.32f;
    paint_rect(c, x, c->horizon - 0.24f, x + 0.16f, c->horizon - 0.06f, 0x5d7a8c, 1);
    paint_rect(c, x - 0.05f, c->horizon - 0.24f, x, c->horizon - 0.06f, 0x3f7d5a, 1);
    paint_rect(c, x + 0.16f, c->horizon - 0.24f, x + 0.21f, c->horizon - 0.06f, 0x3f7d5a, 1);
  }
  paint_ground(c, 0x55504c, 0x5d5854, 4, 0x4a4642, 0);
  float z = 0.016f;
  for (float y = c->horizon + 0.015f; y < 1.05f; y += z * 1.5f) {
    z = 0.012f + 0.075f * (y - c->horizon);
    for (float x = -uniform(&c->r, 0, z * 2); x < 1.05f; x += z * 2.3f) {
      uint32_t g = 0x80u + (uint32_t)below(&c->r, 44);
      paint_disc(c, x, y, z, z * 0.62f, (g << 16) | ((g - 6) << 8) | (g - 12), 1);
    }
  }
}

static void sky(canvas *c)
{
  float h = c->horizon;
  c->horizon = 1;
  paint_sky(c, 0x2f8fe6, 0xbfe4fb);
  paint_clouds(c, 0.5f, 0xffffff);
  for (int i = 0; i < 5; i++) {
    float x = uniform(&c->r, 0, 1), y = uniform(&c->r, 0.08f, 0.95f), s = uniform(&c->r, 0.05f, 0.1f);
    for (int k = -2; k <= 2; k++) paint_disc(c, x + (float)k * s * 0.8f, y - (k & 1 ? 0 : s * 0.25f), s, s * 0.7f, 0xffffff, 0.9f);
  }
  c->horizon = h;
}

static void space(canvas *c)
{
  float h = c->horizon;
  c->horizon = 1;
  paint_sky(c, 0x05030f, 0x0d0a24);
  paint_glow(c, uniform(&c->r, 0.1f, 0.9f), uniform(&c->r, 0.1f, 0.9f), 0.6f, 0x7a2c9c, 0.6f);
  paint_glow(c, uniform(&c->r, 0.1f, 0.9f), uniform(&c->r, 0.1f, 0.9f), 0.5f, 0x1c5ab0, 0.6f);
  stars(c, 70, 1);
  float x = below(&c->r, 2) ? 0.15f : 0.85f, y = uniform(&c->r, 0.12f, 0.25f), r = uniform(&c->r, 0.07f, 0.1f);
  paint_disc(c, x, y, r, r, 0xe0a050, 1);
  paint_disc(c, x, y + r * 0.2f, r * 0.95f, r * 0.2f, 0xc07a38, 1);
  paint_line(c, x - r * 1.8f, y + r * 0.4f, x + r * 1.8f, y - r * 0.4f, 0.022f, 0xf0dcae, 0.9f);
  c->horizon = h;
}

static void road(canvas *c)
{
  paint_sky(c, 0x6fb6ea, 0xe2f1fa);
  paint_ridge(c, 0.03f, 0.04f, 3, 0x6a9a58, 0x7aa862, 0);
  paint_ground(c, 0x7fae52, 0x90bb5e, 5, 0x679444, 0.3f);
  float h = c->horizon, p[8] = {0.47f, h, 0.53f, h, 1.1f, 1.02f, -0.1f, 1.02f};
  paint_poly(c, p, 4, 0x4b4d52, 1);
  for (int i = 0; i < 5; i++) {
    float t = 0.06f + 0.2f * (float)i, y = h + t * t * (1 - h) * 1.3f, w = 0.003f + 0.018f * t;
    paint_rect(c, 0.5f - w, y, 0.5f + w, y + 0.02f + 0.08f * t, 0xf6e04a, 1);
  }
}

static void wooden_table(canvas *c)
{
  paint_wall(c, 0xe3d6c0, 0xd8c9b0);
  paint_planks(c, 0x9a6232, 0xb97d45, 3);
  paint_rect(c, 0, c->horizon - 0.006f, 1, c->horizon + 0.02f, 0x6b4220, 1);
}

static void checkered_floor(canvas *c)
{
  paint_wall(c, 0xcfd8cf, 0xc4cec6);
  paint_tiles(c, 0x1c1c1e, 0xf4f4f0, 2.6f, 0x808080);
  skirting(c, 0xf2f2ee);
}

static void brick_wall(canvas *c)
{
  paint_wall_grid(c, 0xa8472f, 0xc05f40, 0xd9cfc2, 7, 15, 1);
  paint_ground(c, 0x8d8a86, 0x9b9894, 6, 0x7b7874, 0.3f);
}

static void kitchen(canvas *c)
{
  float h = c->horizon;
  paint_wall_grid(c, 0x9fd6e0, 0xb8e4ea, 0xffffff, 9, 9, 0);
  paint_rect(c, 0, 0, 1, 0.13f, 0xc98f4e, 1);
  for (int i = 0; i <= 4; i++) paint_rect(c, (float)i * 0.25f - 0.006f, 0, (float)i * 0.25f + 0.006f, 0.13f, 0x8a5c2c, 1);
  for (int i = 0; i < 4; i++) paint_disc(c, 0.2f + (float)i * 0.25f, 0.1f, 0.01f, 0.01f, 0xf0e6d0, 1);
  float x = uniform(&c->r, 0.05f, 0.15f);
  paint_line(c, x, 0.18f, 1 - x, 0.18f, 0.012f, 0x777777, 1);
  for (int i = 0; i < 5; i++) {
    float px = x + 0.1f + (float)i * 0.17f;
    paint_line(c, px, 0.18f, px, 0.24f, 0.012f, 0x555555, 1);
    paint_disc(c, px, 0.265f, 0.032f, 0.032f, i & 1 ? 0x444444 : 0xb0b0b0, 1);
  }
  paint_planks(c, 0xd9c7a4, 0xcab58e, 2);
  paint_rect(c, 0, h - 0.02f, 1, h + 0.02f, 0xf6f4ee, 1);
}

static void living_room(canvas *c)
{
  paint_wall_stripes(c, 0xd9c3d2, 0xcdb3c5, 12);
  float x = uniform(&c->r, 0.08f, 0.55f);
  paint_rect(c, x, 0.05f, x + 0.34f, 0.26f, 0x8a5a30, 1);
  paint_rect(c, x + 0.025f, 0.075f, x + 0.315f, 0.235f, 0xaed8f2, 1);
  float p[6] = {x + 0.14f, 0.11f, x + 0.28f, 0.235f, x + 0.03f, 0.235f};
  paint_poly(c, p, 3, 0x4f8a4a, 1);
  float lx = x > 0.3f ? 0.12f : 0.88f;
  paint_line(c, lx, c->horizon, lx, 0.2f, 0.014f, 0x55483c, 1);
  float q[8] = {lx - 0.05f, 0.12f, lx + 0.05f, 0.12f, lx + 0.09f, 0.22f, lx - 0.09f, 0.22f};
  paint_poly(c, q, 4, 0xffe9b0, 1);
  paint_planks(c, 0x8a5a34, 0xa06d42, 5);
  skirting(c, 0xf4eef0);
}

static void red_carpet(canvas *c)
{
  paint_wall_stripes(c, 0x3a2026, 0x54303a, 7);
  paint_ground(c, 0xb5121f, 0xc8202c, 9, 0x98101a, 0.3f);
  for (int i = 0; i < 2; i++) {
    float x = i ? 0.9f : 0.1f;
    paint_line(c, x, c->horizon + 0.14f, x, c->horizon - 0.1f, 0.022f, 0xe0b040, 1);
    paint_disc(c, x, c->horizon - 0.11f, 0.025f, 0.025f, 0xf4d060, 1);
  }
  paint_line(c, -0.05f, c->horizon - 0.04f, 0.1f, c->horizon - 0.09f, 0.022f, 0xd8a838, 1);
  paint_line(c, 0.9f, c->horizon - 0.09f, 1.05f, c->horizon - 0.04f, 0.022f, 0xd8a838, 1);
}

static void library(canvas *c)
{
  static const uint32_t books[6] = {0x9a2f2a, 0x2f5a8a, 0x3d7a45, 0xc79a3c, 0x6a3d7a, 0xd8cfc0};
  paint_wall(c, 0x4a2f1c, 0x553820);
  for (float y = 0.02f; y < c->horizon - 0.04f; y += 0.125f) {
    for (float x = 0; x < 1;) {
      float w = uniform(&c->r, 0.022f, 0.045f), t = uniform(&c->r, 0, 0.03f);
      paint_rect(c, x, y + t, x + w - 0.004f, y + 0.105f, books[below(&c->r, 6)], 1);
      x += w;
    }
    paint_rect(c, 0, y + 0.105f, 1, y + 0.125f, 0x6b4526, 1);
  }
  paint_planks(c, 0x7a4f2c, 0x8a5c36, 5);
  skirting(c, 0x5a3a20);
}

static void bathroom(canvas *c)
{
  paint_wall_grid(c, 0xf2f6f6, 0xe4eeee, 0x9fc4cc, 8, 8, 0);
  paint_rect(c, 0, c->horizon * 0.5f, 1, c->horizon * 0.5f + 0.05f, 0x3fa7b8, 1);
  paint_tiles(c, 0x9fd0d8, 0xd4ecf0, 3.2f, 0xf4fafa);
}

static void bedroom(canvas *c)
{
  paint_wall(c, 0xaebfe0, 0xa3b5d8);
  float h = c->horizon, x = uniform(&c->r, 0.1f, 0.5f);
  paint_rect(c, x, 0.03f, x + 0.36f, 0.25f, 0xf8f8f8, 1);
  paint_rect(c, x + 0.02f, 0.05f, x + 0.17f, 0.23f, 0x28407a, 1);
  paint_rect(c, x + 0.19f, 0.05f, x + 0.34f, 0.23f, 0x28407a, 1);
  paint_disc(c, x + 0.28f, 0.1f, 0.025f, 0.025f, 0xfff2b0, 1);
  paint_ground(c, 0xe0d2c0, 0xd4c4b0, 8, 0xc8b8a4, 0.3f);
  paint_rect(c, 0, h - 0.15f, 1, h + 0.03f, 0x6b4a8a, 1);
  paint_rect(c, 0, h - 0.15f, 1, h - 0.09f, 0xf4eef8, 1);
  for (int i = 0; i < 2; i++) paint_disc(c, i ? 0.8f : 0.2f, h - 0.15f, 0.14f, 0.05f, 0xffffff, 1);
}

static void stage(canvas *c)
{
  float h = c->horizon;
  paint_wall(c, 0x18090c, 0x220d12);
  for (int i = 0; i < 14; i++) {
    float x = i < 7 ? (float)i * 0.035f : 1 - (float)(i - 6) * 0.035f;
    paint_rect(c, x, 0, x + 0.035f, h + 0.03f, i & 1 ? 0xa01522 : 0x7c0f1a, 1);
  }
  paint_rect(c, 0, 0, 1, 0.09f, 0x8c111d, 1);
  for (int i = 0; i < 8; i++) paint_disc(c, ((float)i + 0.5f) / 8, 0.09f, 0.0625f, 0.03f, 0x8c111d, 1);
  paint_planks(c, 0x6b4526, 0x7d5430, 5);
  float p[8] = {0.42f, 0, 0.58f, 0, 0.95f, 0.9f, 0.05f, 0.9f};
  paint_poly(c, p, 4, 0xfff2c0, 0.18f);
  paint_disc(c, 0.5f, 0.82f, 0.44f, 0.14f, 0xfff2c0, 0.35f);
}

static void shelf(canvas *c)
{
  float h = c->horizon;
  paint_wall(c, 0xf3ead8, 0xece1cc);
  paint_rect(c, 0, 0, 0.035f, 1, 0x9c6b3c, 1);
  paint_rect(c, 0.965f, 0, 1, 1, 0x9c6b3c, 1);
  paint_rect(c, 0, 0, 1, 0.05f, 0xb07d48, 1);
  paint_rect(c, 0, 0.05f, 1, 0.075f, 0x8a5c30, 1);
  float f = c->horizon;
  c->horizon = fmaxf(h, 0.62f);
  paint_planks(c, 0xb98650, 0xc4925a, 1);
  c->horizon = f;
  paint_rect(c, 0, 0.95f, 1, 1, 0x8a5c30, 1);
}

static void grass(canvas *c)
{
  float h = c->horizon;
  c->horizon = -0.6f;
  paint_ground(c, 0x3f9a2f, 0x5cb544, 9, 0x2f7d24, 0.7f);
  c->horizon = h;
}

static void plain(canvas *c)
{
  static const uint32_t tops[10] = {0xf4f4f4, 0x2f62d8, 0xf4d030, 0xd42a2a, 0x35a04a, 0xf39cc0, 0x1a1a1c, 0x7d3fa8, 0x9a9a9c, 0xf08a28};
  static const uint32_t lows[10] = {0xe2e2e2, 0x2450b8, 0xe2bc1c, 0xb81f20, 0x2a883c, 0xe486ae, 0x0c0c0e, 0x692f92, 0x868688, 0xda7818};
  float h = c->horizon;
  c->horizon = 1;
  paint_sky(c, tops[c->shade], lows[c->shade]);
  paint_glow(c, uniform(&c->r, 0.3f, 0.7f), uniform(&c->r, 0.1f, 0.6f), 0.8f, 0xffffff, c->shade == 6 ? 0.06f : 0.12f);
  c->horizon = h;
}

static const scene scenes[] = {
  {"beach", "on the beach", beach, LIGHT_DAY, 0},
  {"desert", "in the desert", desert, LIGHT_DAY, 0},
  {"snow", "in the snow", snow, LIGHT_DAY, 0},
  {"forest", "in a forest", forest, LIGHT_DAY, 0},
  {"jungle", "in the jungle", jungle, LIGHT_DAY, 0},
  {"mountains", "with a mountain in the background", mountains, LIGHT_DAY, 0},
  {"meadow", "in a meadow", meadow, LIGHT_DAY, 0},
  {"wheat field", "in a wheat field", wheat, LIGHT_DAY, 0},
  {"city street", "on a city street", city, LIGHT_DAY, 0},
  {"night", "at night under the stars", night, LIGHT_NIGHT, 0},
  {"sunset", "at sunset", sunset, LIGHT_SUNSET, 0},
  {"underwater", "under water", underwater, LIGHT_WATER, 0},
  {"moon", "on the moon", moon, LIGHT_SPACE, 0},
  {"volcano", "in front of a volcano", volcano, LIGHT_FIRE, 0},
  {"rain", "in the rain", rain, LIGHT_GREY, 0},
  {"autumn leaves", "among autumn leaves", autumn, LIGHT_SUNSET, 0},
  {"lake", "by a lake", lake, LIGHT_DAY, 0},
  {"cave", "in a cave", cave, LIGHT_GREY, 0},
  {"rainbow", "under a rainbow", rainbow, LIGHT_DAY, 0},
  {"garden fence", "in front of a garden fence", garden, LIGHT_DAY, 0},
  {"farm", "on a farm", farm, LIGHT_DAY, 0},
  {"bridge", "on a bridge", bridge, LIGHT_DAY, 0},
  {"castle", "in front of a castle", castle, LIGHT_DAY, 0},
  {"park", "in a park full of flowers", park, LIGHT_DAY, 0},
  {"ice", "on the ice", ice, LIGHT_DAY, 0},
  {"cobblestones", "on a cobblestone street", cobbles, LIGHT_DAY, 0},
  {"sky", "in the sky", sky, LIGHT_AIR, 0},
  {"space", "in space", space, LIGHT_AIR, 0},
  {"road", "on a country road", road, LIGHT_DAY, 0},
  {"grass", "on the grass", grass, LIGHT_DAY, 0},
  {"wooden table", "on a wooden table", wooden_table, LIGHT_ROOM, 0},
  {"checkered floor", "on a checkered floor", checkered_floor, LIGHT_ROOM, 0},
  {"brick wall", "in front of a brick wall", brick_wall, LIGHT_DAY, 0},
  {"kitchen", "in the kitchen", kitchen, LIGHT_ROOM, 0},
  {"living room", "in the living room", living_room, LIGHT_ROOM, 0},
  {"red carpet", "on a red carpet", red_carpet, LIGHT_ROOM, 0},
  {"library", "in a library", library, LIGHT_ROOM, 0},
  {"bathroom", "in the bathroom", bathroom, LIGHT_ROOM, 0},
  {"bedroom", "in the bedroom", bedroom, LIGHT_ROOM, 0},
  {"stage", "on a stage", stage, LIGHT_STAGE, 0},
  {"shelf", "on a shelf", shelf, LIGHT_ROOM, 0},
  {"white background", "on a white background", plain, LIGHT_STUDIO, 0},
  {"blue background", "on a blue background", plain, LIGHT_STUDIO, 1},
  {"yellow background", "on a yellow background", plain, LIGHT_STUDIO, 2},
  {"red background", "on a red background", plain, LIGHT_STUDIO, 3},
  {"green background", "on a green background", plain, LIGHT_STUDIO, 4},
  {"pink background", "on a pink background", plain, LIGHT_STUDIO, 5},
  {"black background", "on a black background", plain, LIGHT_STUDIO, 6},
  {"purple background", "on a purple background", plain, LIGHT_STUDIO, 7},
  {"grey background", "on a grey background", plain, LIGHT_STUDIO, 8},
  {"orange background", "on an orange background", plain, LIGHT_STUDIO, 9},
};
const int scene_counts = (int)(sizeof scenes / sizeof scenes[0]);

const char *scene_name(int scene)
{
  return scenes[scene].name;
}

const char *scene_phrase(int scene)
{
  return scenes[scene].phrase;
}

void scene_light(lighting *l, int scene, rng *r)
{
  static const float sun[11][3] = {
    {0.78f, 0.75f, 0.68f}, {0.62f, 0.58f, 0.52f}, {0.36f, 0.40f, 0.56f}, {0.80f, 0.56f, 0.38f}, {0.40f, 0.62f, 0.68f},
    {0.90f, 0.90f, 0.90f}, {0.38f, 0.40f, 0.42f}, {0.74f, 0.52f, 0.40f}, {0.86f, 0.80f, 0.64f}, {0.66f, 0.66f, 0.66f},
    {0.72f, 0.72f, 0.72f}};
  static const float ambient[11][3] = {
    {0.46f, 0.49f, 0.55f}, {0.50f, 0.47f, 0.44f}, {0.26f, 0.30f, 0.42f}, {0.46f, 0.38f, 0.42f}, {0.34f, 0.50f, 0.56f},
    {0.26f, 0.26f, 0.28f}, {0.50f, 0.53f, 0.56f}, {0.42f, 0.36f, 0.34f}, {0.30f, 0.28f, 0.28f}, {0.50f, 0.50f, 0.50f},
    {0.48f, 0.50f, 0.54f}};
  static const float shadow[11] = {0.45f, 0.38f, 0.45f, 0.45f, 0.25f, 0.75f, 0.25f, 0.5f, 0.6f, 0.30f, 0};
  int kind = scenes[scene].light;
  float side = below(r, 2) ? 1.0f : -1.0f;
  vec3 d = {side * uniform(r, 0.25f, 0.75f), uniform(r, 0.75f, 1.1f), uniform(r, 0.25f, 0.7f)};
  float n = 1 / sqrtf(d.x * d.x + d.y * d.y + d.z * d.z);
  l->light = (vec3){d.x * n, d.y * n, d.z * n};
  for (int k = 0; k < 3; k++) {
    l->sun[k] = sun[kind][k];
    l->ambient[k] = ambient[kind][k];
  }
  l->shadow = shadow[kind];
  l->floating = kind == LIGHT_AIR;
}

void scene_paint(canvas *c, int scene)
{
  c->shade = scenes[scene].shade;
  scenes[scene].paint(c);
}

/* what falls or floats in front of the objects */
void scene_front(canvas *c, int scene)
{
  if (scenes[scene].paint == rain) rain_front(c);
  else if (scenes[scene].paint == underwater) underwater_front(c);
  else if (scenes[scene].paint == snow) {
    for (int i = 0; i < 30; i++) {
      float s = uniform(&c->r, 0.005f, 0.012f);
      paint_disc(c, uniform(&c->r, 0, 1), uniform(&c->r, 0, 1), s, s, 0xffffff, 0.9f);
    }
  }
}
