/* rooms, tables and plain grounds */
#include "scenes.h"

static void skirting(canvas *c, uint32_t colour)
{
  paint_rect(c, 0, c->horizon - 0.025f, 1, c->horizon + 0.008f, colour, 1);
}

void scene_wooden_table(canvas *c)
{
  paint_wall(c, 0xe3d6c0, 0xd8c9b0);
  paint_planks(c, 0x9a6232, 0xb97d45, 3);
  paint_rect(c, 0, c->horizon - 0.006f, 1, c->horizon + 0.02f, 0x6b4220, 1);
}

void scene_checkered_floor(canvas *c)
{
  paint_wall(c, 0xcfd8cf, 0xc4cec6);
  paint_tiles(c, 0x1c1c1e, 0xf4f4f0, 2.6f, 0x808080);
  skirting(c, 0xf2f2ee);
}

void scene_brick_wall(canvas *c)
{
  paint_wall_grid(c, 0xa8472f, 0xc05f40, 0xd9cfc2, 7, 15, 1);
  paint_ground(c, 0x8d8a86, 0x9b9894, 6, 0x7b7874, 0.3f);
}

void scene_kitchen(canvas *c)
{
  float h = c->horizon;
  paint_wall_grid(c, 0x9fd6e0, 0xb8e4ea, 0xffffff, 9, 9, 0);
  paint_rect(c, 0, 0, 1, 0.13f, 0xc98f4e, 1);
  for (int i = 0; i <= 4; i++)
    paint_rect(c, (float)i * 0.25f - 0.006f, 0, (float)i * 0.25f + 0.006f, 0.13f, 0x8a5c2c, 1);
  for (int i = 0; i < 4; i++)
    paint_disc(c, 0.2f + (float)i * 0.25f, 0.1f, 0.01f, 0.01f, 0xf0e6d0, 1);
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

void scene_living_room(canvas *c)
{
  paint_wall_stripes(c, 0xd9c3d2, 0xcdb3c5, 12);
  float x = uniform(&c->r, 0.08f, 0.55f);
  paint_rect(c, x, 0.05f, x + 0.34f, 0.26f, 0x8a5a30, 1);
  paint_rect(c, x + 0.025f, 0.075f, x + 0.315f, 0.235f, 0xaed8f2, 1);
  float p[6] = { x + 0.14f, 0.11f, x + 0.28f, 0.235f, x + 0.03f, 0.235f };
  paint_poly(c, p, 3, 0x4f8a4a, 1);
  float lx = x > 0.3f ? 0.12f : 0.88f;
  paint_line(c, lx, c->horizon, lx, 0.2f, 0.014f, 0x55483c, 1);
  float q[8] = { lx - 0.05f, 0.12f, lx + 0.05f, 0.12f, lx + 0.09f, 0.22f, lx - 0.09f, 0.22f };
  paint_poly(c, q, 4, 0xffe9b0, 1);
  paint_planks(c, 0x8a5a34, 0xa06d42, 5);
  skirting(c, 0xf4eef0);
}

void scene_red_carpet(canvas *c)
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

void scene_library(canvas *c)
{
  static const uint32_t books[6] = { 0x9a2f2a, 0x2f5a8a, 0x3d7a45, 0xc79a3c, 0x6a3d7a, 0xd8cfc0 };
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

void scene_bathroom(canvas *c)
{
  paint_wall_grid(c, 0xf2f6f6, 0xe4eeee, 0x9fc4cc, 8, 8, 0);
  paint_rect(c, 0, c->horizon * 0.5f, 1, c->horizon * 0.5f + 0.05f, 0x3fa7b8, 1);
  paint_tiles(c, 0x9fd0d8, 0xd4ecf0, 3.2f, 0xf4fafa);
}

void scene_bedroom(canvas *c)
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
  for (int i = 0; i < 2; i++)
    paint_disc(c, i ? 0.8f : 0.2f, h - 0.15f, 0.14f, 0.05f, 0xffffff, 1);
}

void scene_stage(canvas *c)
{
  float h = c->horizon;
  paint_wall(c, 0x18090c, 0x220d12);
  for (int i = 0; i < 14; i++) {
    float x = i < 7 ? (float)i * 0.035f : 1 - (float)(i - 6) * 0.035f;
    paint_rect(c, x, 0, x + 0.035f, h + 0.03f, i & 1 ? 0xa01522 : 0x7c0f1a, 1);
  }
  paint_rect(c, 0, 0, 1, 0.09f, 0x8c111d, 1);
  for (int i = 0; i < 8; i++)
    paint_disc(c, ((float)i + 0.5f) / 8, 0.09f, 0.0625f, 0.03f, 0x8c111d, 1);
  paint_planks(c, 0x6b4526, 0x7d5430, 5);
  float p[8] = { 0.42f, 0, 0.58f, 0, 0.95f, 0.9f, 0.05f, 0.9f };
  paint_poly(c, p, 4, 0xfff2c0, 0.18f);
  paint_disc(c, 0.5f, 0.82f, 0.44f, 0.14f, 0xfff2c0, 0.35f);
}

void scene_shelf(canvas *c)
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

void scene_plain(canvas *c)
{
  static const uint32_t tops[10] = { 0xf4f4f4, 0x2f62d8, 0xf4d030, 0xd42a2a, 0x35a04a,
                                     0xf39cc0, 0x1a1a1c, 0x7d3fa8, 0x9a9a9c, 0xf08a28 };
  static const uint32_t lows[10] = { 0xe2e2e2, 0x2450b8, 0xe2bc1c, 0xb81f20, 0x2a883c,
                                     0xe486ae, 0x0c0c0e, 0x692f92, 0x868688, 0xda7818 };
  float h = c->horizon;
  c->horizon = 1;
  paint_sky(c, tops[c->shade], lows[c->shade]);
  paint_glow(c, uniform(&c->r, 0.3f, 0.7f), uniform(&c->r, 0.1f, 0.6f), 0.8f, 0xffffff,
             c->shade == 6 ? 0.06f : 0.12f);
  c->horizon = h;
}
