/* scenes made by people, under the open sky */
#include "scenes.h"

static void flowers(canvas *c, int n, float y0)
{
  static const uint32_t colours[5] = { 0xe8384f, 0xffd93b, 0xffffff, 0xd65fd0, 0xff8a3c };
  for (int i = 0; i < n; i++) {
    float x = uniform(&c->r, 0, 1), y = uniform(&c->r, y0, 1),
          s = 0.007f + 0.02f * (y - c->horizon);
    uint32_t col = colours[below(&c->r, 5)];
    paint_disc(c, x, y, s, s * 0.8f, col, 1);
    paint_disc(c, x, y, s * 0.4f, s * 0.3f, 0xfff2a0, 1);
  }
}

void scene_city(canvas *c)
{
  static const uint32_t walls[5] = { 0x8c5a4a, 0x6d7c92, 0xb09a78, 0x58647a, 0xa8705a };
  paint_sky(c, 0x8fc0e8, 0xdce9f2);
  float x = -0.03f;
  for (int i = 0; x < 1.02f; i++) {
    float w = uniform(&c->r, 0.12f, 0.2f), top = uniform(&c->r, 0.02f, c->horizon * 0.55f);
    paint_rect(c, x, top, x + w, c->horizon, walls[below(&c->r, 5)], 1);
    for (float wy = top + 0.03f; wy < c->horizon - 0.05f; wy += 0.06f)
      for (float wx = x + 0.02f; wx < x + w - 0.025f; wx += 0.045f)
        paint_rect(c, wx, wy, wx + 0.022f, wy + 0.032f, below(&c->r, 4) ? 0xe8eef2 : 0xffd873,
                   0.9f);
    x += w;
  }
  paint_ground(c, 0x5d6066, 0x686b71, 6, 0x505359, 0.2f);
  paint_rect(c, 0, c->horizon - 0.005f, 1, c->horizon + 0.05f, 0xb4b4b0, 1);
  for (int i = 0; i < 3; i++) {
    float y = c->horizon + 0.1f + (float)(i * i) * 0.1f, w = 0.012f + 0.02f * (float)i;
    paint_rect(c, 0.5f - w, y, 0.5f + w, y + 0.05f + 0.04f * (float)i, 0xf2f0e6, 1);
  }
}

void scene_garden(canvas *c)
{
  paint_sky(c, 0x74bdf0, 0xdaf0fb);
  for (int i = 0; i < 6; i++)
    paint_disc(c, uniform(&c->r, 0, 1), c->horizon - 0.16f, 0.14f, 0.13f,
               i & 1 ? 0x3f8f3a : 0x54a548, 1);
  for (int i = 0; i < 11; i++) {
    float x = (float)i / 11 + 0.01f, t = c->horizon - 0.22f;
    float p[10] = { x,         t + 0.04f, x + 0.035f,         t, x + 0.07f,
                    t + 0.04f, x + 0.07f, c->horizon + 0.02f, x, c->horizon + 0.02f };
    paint_poly(c, p, 5, 0xf8f8f4, 1);
  }
  paint_rect(c, 0, c->horizon - 0.14f, 1, c->horizon - 0.11f, 0xe4e4de, 1);
  paint_ground(c, 0x5aa83e, 0x6bb84a, 7, 0x438c2e, 0.4f);
}

void scene_farm(canvas *c)
{
  paint_sky(c, 0x66b4ee, 0xdff1fb);
  paint_ridge(c, 0.03f, 0.03f, 2, 0x7db84e, 0x8ac45a, 0);
  float x = uniform(&c->r, 0.12f, 0.6f), h = c->horizon;
  paint_rect(c, x, h - 0.2f, x + 0.3f, h + 0.01f, 0xb0302a, 1);
  float p[10] = { x - 0.02f, h - 0.2f,  x + 0.05f, h - 0.31f, x + 0.15f,
                  h - 0.36f, x + 0.25f, h - 0.31f, x + 0.32f, h - 0.2f };
  paint_poly(c, p, 5, 0x6d2320, 1);
  paint_rect(c, x + 0.1f, h - 0.13f, x + 0.2f, h + 0.01f, 0xf6f2ea, 1);
  paint_rect(c, x + 0.115f, h - 0.115f, x + 0.185f, h + 0.01f, 0x8a2a24, 1);
  paint_ground(c, 0x8fb04a, 0xa8bf58, 5, 0x6f8f38, 0.4f);
}

void scene_bridge(canvas *c)
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
  for (int i = 0; i < 16; i++)
    paint_rect(c, (float)i / 16, h - 0.05f, (float)i / 16 + 0.012f, h + 0.01f, 0xa93226, 1);
  paint_ground(c, 0x8f9498, 0x9da2a6, 5, 0x7f8488, 0.2f);
}

void scene_castle(canvas *c)
{
  paint_sky(c, 0x6ea8dc, 0xe0eef8);
  paint_clouds(c, 0.6f, 0xffffff);
  float x = uniform(&c->r, 0.1f, 0.3f), h = c->horizon, w = 0.6f;
  paint_rect(c, x, h - 0.2f, x + w, h + 0.01f, 0xa7a39a, 1);
  for (int i = 0; i < 6; i++)
    paint_rect(c, x + (float)i * 0.105f, h - 0.24f, x + (float)i * 0.105f + 0.06f, h - 0.19f,
               0xa7a39a, 1);
  for (int i = 0; i < 3; i++) {
    float tx = x + (i == 0 ? 0 : i == 1 ? w / 2 : w), t = i == 1 ? 0.1f : 0.16f, r = 0.07f;
    paint_rect(c, tx - r, t, tx + r, h + 0.01f, i == 1 ? 0x98948b : 0xb4b0a7, 1);
    float p[6] = { tx, t - 0.13f, tx + r * 1.25f, t, tx - r * 1.25f, t };
    paint_poly(c, p, 3, 0x3d57a8, 1);
  }
  paint_disc(c, x + w / 2, h, 0.05f, 0.09f, 0x4a3626, 1);
  paint_ground(c, 0x66a548, 0x7ab556, 5, 0x4f8a36, 0.3f);
}

void scene_park(canvas *c)
{
  paint_sky(c, 0x76bdf0, 0xe0f2fc);
  for (int i = 0; i < 4; i++)
    paint_tree_round(c, ((float)i + uniform(&c->r, 0.2f, 0.8f)) / 4, c->horizon + 0.02f,
                     uniform(&c->r, 0.3f, 0.42f), 0x3f9440, 0x6a4628);
  paint_ground(c, 0x4fa63c, 0x62b84a, 6, 0x3f8f30, 0.2f);
  flowers(c, 70, c->horizon + 0.03f);
}

void scene_cobbles(canvas *c)
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

void scene_road(canvas *c)
{
  paint_sky(c, 0x6fb6ea, 0xe2f1fa);
  paint_ridge(c, 0.03f, 0.04f, 3, 0x6a9a58, 0x7aa862, 0);
  paint_ground(c, 0x7fae52, 0x90bb5e, 5, 0x679444, 0.3f);
  float h = c->horizon, p[8] = { 0.47f, h, 0.53f, h, 1.1f, 1.02f, -0.1f, 1.02f };
  paint_poly(c, p, 4, 0x4b4d52, 1);
  for (int i = 0; i < 5; i++) {
    float t = 0.06f + 0.2f * (float)i, y = h + t * t * (1 - h) * 1.3f, w = 0.003f + 0.018f * t;
    paint_rect(c, 0.5f - w, y, 0.5f + w, y + 0.02f + 0.08f * t, 0xf6e04a, 1);
  }
}
