/* scenes of nature */
#include "scenes.h"

#define PI 3.14159265f

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

void scene_beach(canvas *c)
{
  float h = c->horizon;
  paint_sky(c, 0x3f9fe6, 0xcfeaf9);
  paint_clouds(c, 0.8f, 0xffffff);
  paint_ground(c, 0xecd9a2, 0xdcc486, 8, 0xc8ab6c, 0.4f);
  paint_rect(c, 0, h, 1, h + 0.12f, 0x1f86c4, 1);
  paint_rect(c, 0, h + 0.05f, 1, h + 0.12f, 0x38a8d4, 0.8f);
  paint_rect(c, 0, h + 0.11f, 1, h + 0.135f, 0xf4fbff, 0.9f);
  float x = uniform(&c->r, 0.05f, 0.2f);
  paint_tree_palm(c, below(&c->r, 2) ? x : 1 - x, h + 0.2f, uniform(&c->r, 0.4f, 0.55f));
}

void scene_desert(canvas *c)
{
  paint_sky(c, 0x6db7e8, 0xf7e6bf);
  sun(c, uniform(&c->r, 0.15f, 0.85f), c->horizon * 0.4f, 0.05f, 0xfff4c2);
  paint_ridge(c, 0.06f, 0.09f, 3, 0xd99a4e, 0xe3ad62, 0);
  paint_ground(c, 0xe6b363, 0xd59a48, 3, 0xc2853a, 0.2f);
  for (int i = 0; i < 2; i++) {
    float x = i ? uniform(&c->r, 0.8f, 0.95f) : uniform(&c->r, 0.05f, 0.2f),
          y = c->horizon + uniform(&c->r, 0.02f, 0.1f);
    paint_line(c, x, y, x, y - 0.22f, 0.045f, 0x3f7d3c, 1);
    paint_line(c, x, y - 0.09f, x + 0.06f, y - 0.09f, 0.03f, 0x3f7d3c, 1);
    paint_line(c, x + 0.06f, y - 0.09f, x + 0.06f, y - 0.16f, 0.03f, 0x3f7d3c, 1);
  }
}

void scene_snow(canvas *c)
{
  paint_sky(c, 0xa9c4dc, 0xe6eff7);
  paint_ground(c, 0xf4f8fc, 0xdde8f3, 5, 0xffffff, 0);
  for (int i = 0; i < 7; i++)
    paint_tree_fir(c, ((float)i + uniform(&c->r, 0.1f, 0.9f)) / 7,
                   c->horizon + uniform(&c->r, 0, 0.03f), uniform(&c->r, 0.2f, 0.36f), 0x3c6a5c,
                   0xf2f7fb);
}

void scene_forest(canvas *c)
{
  paint_sky(c, 0x7fae6a, 0xb7d49a);
  for (int i = 0; i < 26; i++)
    paint_disc(c, uniform(&c->r, 0, 1), uniform(&c->r, 0, c->horizon * 0.8f), 0.13f, 0.1f,
               i & 1 ? 0x2f6a35 : 0x3f8040, 0.8f);
  for (int i = 0; i < 8; i++) {
    float x = ((float)i + uniform(&c->r, 0.1f, 0.9f)) / 8, w = uniform(&c->r, 0.015f, 0.035f);
    paint_rect(c, x - w, 0.04f, x + w, c->horizon + uniform(&c->r, 0.01f, 0.08f),
               i & 1 ? 0x4d3622 : 0x5f4429, 1);
  }
  paint_ground(c, 0x4f7a35, 0x66502f, 5, 0x2f5226, 0.5f);
}

void scene_jungle(canvas *c)
{
  paint_sky(c, 0x1d5a34, 0x57a04a);
  paint_ground(c, 0x3f6d2c, 0x574425, 5, 0x25451f, 0.5f);
  for (int i = 0; i < 4; i++) {
    float x = uniform(&c->r, 0, 1);
    paint_line(c, x, 0, x + uniform(&c->r, -0.1f, 0.1f), c->horizon, 0.02f, 0x3a4a1f, 1);
  }
  for (int i = 0; i < 24; i++) {
    float x = uniform(&c->r, -0.1f, 1.1f), y = uniform(&c->r, -0.05f, c->horizon + 0.06f),
          a = uniform(&c->r, 0, PI);
    uint32_t col = i % 3 == 0 ? 0x2aa045 : i % 3 == 1 ? 0x157a3c : 0x6cbf3f;
    paint_line(c, x, y, x + cosf(a) * 0.22f, y + sinf(a) * 0.14f, 0.055f, col, 1);
  }
}

void scene_mountains(canvas *c)
{
  paint_sky(c, 0x4b93dd, 0xcfe6f7);
  paint_clouds(c, 0.5f, 0xffffff);
  float x = uniform(&c->r, 0.15f, 0.4f), h = c->horizon;
  for (int i = 0; i < 3; i++) {
    float px = x + (float)i * 0.33f, t = uniform(&c->r, 0.03f, 0.12f),
          w = uniform(&c->r, 0.25f, 0.35f);
    float p[6] = { px, t, px + w, h, px - w, h }, k = 0.36f;
    paint_poly(c, p, 3, i & 1 ? 0x6f7c8f : 0x5c6a80, 1);
    float q[8] = {
      px, t, px + w * k, t + (h - t) * k, px, t + (h - t) * (k - 0.1f), px - w * k, t + (h - t) * k
    };
    paint_poly(c, q, 4, 0xf6f9fc, 1);
  }
  paint_ground(c, 0x6d9a4e, 0x84a85c, 4, 0x557c3d, 0.3f);
}

void scene_meadow(canvas *c)
{
  paint_sky(c, 0x57b0f0, 0xd8f0fc);
  paint_clouds(c, 0.9f, 0xffffff);
  paint_ridge(c, 0.03f, 0.05f, 2, 0x62b544, 0x6fc04c, 0);
  paint_ground(c, 0x55b13a, 0x6cc548, 7, 0x3f9a2c, 0.4f);
}

void scene_wheat(canvas *c)
{
  paint_sky(c, 0x6cb2e4, 0xf6edcf);
  paint_ground(c, 0xe0b53a, 0xf0cc58, 8, 0xb98a22, 0.5f);
  for (int i = 0; i < 60; i++) {
    float x = uniform(&c->r, 0, 1), y = c->horizon + uniform(&c->r, 0, 0.12f);
    paint_line(c, x, y, x + uniform(&c->r, -0.02f, 0.02f), y - uniform(&c->r, 0.06f, 0.12f), 0.012f,
               i & 1 ? 0xd6a52c : 0xf2d064, 1);
  }
}

void scene_night(canvas *c)
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

void scene_sunset(canvas *c)
{
  paint_sky(c, 0x59378c, 0xff8b3a);
  float x = uniform(&c->r, 0.25f, 0.75f);
  paint_clouds(c, 0.4f, 0xff6f6a);
  sun(c, x, c->horizon - 0.03f, 0.12f, 0xffe07a);
  paint_ridge(c, 0.015f, 0.03f, 3, 0x4a2a4f, 0x55304f, 0);
  paint_ground(c, 0x6b3c4c, 0x84493f, 4, 0x4c2b3e, 0.3f);
}

void scene_underwater(canvas *c)
{
  float h = c->horizon;
  c->horizon = 1;
  paint_sky(c, 0x3cc0dc, 0x0b5d8f);
  c->horizon = h;
  for (int i = 0; i < 4; i++) {
    float x = uniform(&c->r, 0, 1), w = uniform(&c->r, 0.04f, 0.09f),
          s = uniform(&c->r, -0.15f, 0.15f);
    float p[8] = { x, 0, x + w, 0, x + w * 2 + s, 0.8f, x - w + s, 0.8f };
    paint_poly(c, p, 4, 0xd8fbff, 0.16f);
  }
  paint_ground(c, 0x4aa0a0, 0x6db3a0, 6, 0x35858c, 0.4f);
  for (int i = 0; i < 7; i++) {
    float x = i < 4 ? uniform(&c->r, 0, 0.22f) : uniform(&c->r, 0.78f, 1),
          y = uniform(&c->r, h + 0.02f, h + 0.25f), px = x, py = y;
    uint32_t col = i % 3 == 0 ? 0xe0577a : i % 3 == 1 ? 0x1f9a5a : 0xf08a3c;
    for (int k = 1; k <= 5; k++) {
      float nx = x + 0.018f * sinf((float)k * 1.7f), ny = y - 0.055f * (float)k;
      paint_line(c, px, py, nx, ny, 0.026f, col, 0.95f);
      px = nx;
      py = ny;
    }
  }
}

void scene_moon(canvas *c)
{
  paint_sky(c, 0x000004, 0x06060e);
  stars(c, 40, c->horizon);
  float x = below(&c->r, 2) ? uniform(&c->r, 0.1f, 0.25f) : uniform(&c->r, 0.75f, 0.9f),
        y = uniform(&c->r, 0.12f, 0.2f);
  paint_disc(c, x, y, 0.09f, 0.09f, 0x2a6fd0, 1);
  paint_disc(c, x - 0.02f, y - 0.02f, 0.04f, 0.03f, 0x4caf50, 1);
  paint_disc(c, x + 0.04f, y + 0.03f, 0.025f, 0.025f, 0x4caf50, 1);
  paint_disc(c, x, y - 0.07f, 0.04f, 0.014f, 0xf0f6ff, 1);
  paint_ground(c, 0xb0b0b2, 0x96969a, 5, 0x808084, 0.2f);
  for (int i = 0; i < 9; i++) {
    float cx = uniform(&c->r, 0, 1), cy = c->horizon + uniform(&c->r, 0.04f, 0.5f),
          r = 0.02f + 0.14f * (cy - c->horizon) * uniform(&c->r, 0.6f, 1.4f);
    paint_disc(c, cx, cy, r, r * 0.4f, 0xc8c8ca, 1);
    paint_disc(c, cx, cy + r * 0.06f, r * 0.85f, r * 0.3f, 0x77777c, 1);
  }
}

void scene_volcano(canvas *c)
{
  paint_sky(c, 0x2c1a22, 0xb6502c);
  paint_clouds(c, 0.7f, 0x3a2c30);
  float h = c->horizon, x = uniform(&c->r, 0.3f, 0.7f), t = 0.12f;
  paint_glow(c, x, t, 0.24f, 0xffb040, 0.9f);
  float p[8] = { x - 0.08f, t, x + 0.08f, t, x + 0.46f, h, x - 0.46f, h };
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

void scene_rain(canvas *c)
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

void scene_autumn(canvas *c)
{
  static const uint32_t leaves[5] = { 0xd9531e, 0xf0a020, 0xb8321e, 0xe8c030, 0x9a4a1c };
  paint_sky(c, 0xe7c07a, 0xf6e0ae);
  for (int i = 0; i < 5; i++)
    paint_tree_round(c, ((float)i + uniform(&c->r, 0.2f, 0.8f)) / 5, c->horizon + 0.02f,
                     uniform(&c->r, 0.3f, 0.45f), leaves[below(&c->r, 4)], 0x5a3a22);
  paint_ground(c, 0xb5732e, 0xc98a3c, 6, 0x8a4a1e, 0.4f);
  for (int i = 0; i < 70; i++) {
    float y = c->horizon + uniform(&c->r, 0.01f, 1 - c->horizon),
          s = 0.008f + 0.03f * (y - c->horizon);
    paint_disc(c, uniform(&c->r, 0, 1), y, s, s * 0.6f, leaves[below(&c->r, 5)], 1);
  }
}

void scene_lake(canvas *c)
{
  paint_sky(c, 0x5aa9e6, 0xdff0fa);
  paint_ridge(c, 0.05f, 0.05f, 3, 0x3d7a4a, 0x4a8a52, 0);
  float h = c->horizon;
  paint_rect(c, 0, h, 1, h + 0.24f, 0x3a86b8, 1);
  for (int i = 0; i < 14; i++) {
    float y = h + uniform(&c->r, 0.01f, 0.23f), x = uniform(&c->r, 0, 1),
          w = uniform(&c->r, 0.05f, 0.15f);
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

void scene_cave(canvas *c)
{
  paint_wall(c, 0x2b2320, 0x443730);
  float x = uniform(&c->r, 0.3f, 0.7f);
  paint_disc(c, x, c->horizon - 0.04f, 0.26f, 0.3f, 0xdcebf5, 1);
  paint_glow(c, x, c->horizon, 0.5f, 0xe8f2f8, 0.3f);
  paint_ground(c, 0x51453c, 0x3d332c, 5, 0x2a221e, 0.5f);
  for (int i = 0; i < 7; i++) {
    float sx = ((float)i + uniform(&c->r, 0, 1)) / 7, l = uniform(&c->r, 0.1f, 0.3f),
          w = uniform(&c->r, 0.04f, 0.08f);
    float p[6] = { sx - w, 0, sx + w, 0, sx, l };
    paint_poly(c, p, 3, 0x1d1715, 1);
  }
}

void scene_rainbow(canvas *c)
{
  static const uint32_t bands[6] = { 0xe8413c, 0xf59a2c, 0xf7e03c, 0x4fb84a, 0x3c7fe0, 0x8a4bc0 };
  paint_sky(c, 0x7cc4f2, 0xe4f4fc);
  float r = 0.52f, x = uniform(&c->r, 0.4f, 0.6f);
  canvas above = *c;
  for (int i = 0; i < 6; i++)
    paint_disc(&above, x, c->horizon + 0.08f, r - (float)i * 0.035f, r - (float)i * 0.035f,
               bands[i], 1);
  paint_disc(&above, x, c->horizon + 0.08f, r - 0.21f, r - 0.21f, 0xc4e6f8, 1);
  paint_ground(c, 0x5fb446, 0x74c554, 5, 0x4a9a36, 0.3f);
}

void scene_ice(canvas *c)
{
  paint_sky(c, 0x9fd0ee, 0xf0f8fd);
  paint_ridge(c, 0.07f, 0.06f, 4, 0xd4ebf6, 0xb6dcef, 0);
  paint_ground(c, 0xa6dcf2, 0xc4eaf8, 3, 0xffffff, 0);
  for (int i = 0; i < 9; i++) {
    float x = uniform(&c->r, 0, 1), y = c->horizon + uniform(&c->r, 0.04f, 0.6f),
          a = uniform(&c->r, -0.5f, 0.5f);
    paint_line(c, x, y, x + 0.22f, y + a * 0.22f, 0.010f, 0xf6fdff, 1);
    paint_line(c, x + 0.1f, y + a * 0.1f, x + 0.16f, y - 0.08f, 0.008f, 0xf6fdff, 1);
  }
}

void scene_sky(canvas *c)
{
  float h = c->horizon;
  c->horizon = 1;
  paint_sky(c, 0x2f8fe6, 0xbfe4fb);
  paint_clouds(c, 0.5f, 0xffffff);
  for (int i = 0; i < 5; i++) {
    float x = uniform(&c->r, 0, 1), y = uniform(&c->r, 0.08f, 0.95f),
          s = uniform(&c->r, 0.05f, 0.1f);
    for (int k = -2; k <= 2; k++)
      paint_disc(c, x + (float)k * s * 0.8f, y - (k & 1 ? 0 : s * 0.25f), s, s * 0.7f, 0xffffff,
                 0.9f);
  }
  c->horizon = h;
}

void scene_space(canvas *c)
{
  float h = c->horizon;
  c->horizon = 1;
  paint_sky(c, 0x05030f, 0x0d0a24);
  paint_glow(c, uniform(&c->r, 0.1f, 0.9f), uniform(&c->r, 0.1f, 0.9f), 0.6f, 0x7a2c9c, 0.6f);
  paint_glow(c, uniform(&c->r, 0.1f, 0.9f), uniform(&c->r, 0.1f, 0.9f), 0.5f, 0x1c5ab0, 0.6f);
  stars(c, 70, 1);
  float x = below(&c->r, 2) ? 0.15f : 0.85f, y = uniform(&c->r, 0.12f, 0.25f),
        r = uniform(&c->r, 0.07f, 0.1f);
  paint_disc(c, x, y, r, r, 0xe0a050, 1);
  paint_disc(c, x, y + r * 0.2f, r * 0.95f, r * 0.2f, 0xc07a38, 1);
  paint_line(c, x - r * 1.8f, y + r * 0.4f, x + r * 1.8f, y - r * 0.4f, 0.022f, 0xf0dcae, 0.9f);
  c->horizon = h;
}

void scene_grass(canvas *c)
{
  float h = c->horizon;
  c->horizon = -0.6f;
  paint_ground(c, 0x3f9a2f, 0x5cb544, 9, 0x2f7d24, 0.7f);
  c->horizon = h;
}
