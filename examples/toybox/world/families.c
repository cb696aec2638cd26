/* parametric objects: every look is another member of its family */
#include "solids.h"

#include <string.h>

#define PI 3.14159265f

static void mug(builder *b, rng *r)
{
  int m = solid_any(b, r, 0.3f), in = solid_rgb(b, 0.9f, 0.88f, 0.84f, 0.1f);
  float h = uniform(r, 0.7f, 1.3f), w = uniform(r, 0.38f, 0.55f), t = uniform(r, 0.85f, 1.15f);
  knot k[6] = { { 0, 0 }, { 0, t * 0.9f }, { 0.05f, t }, { 1, 1 }, { 1, 0.9f }, { 0.15f, 0.85f } };
  solid_lathe(b, 0, 0, 0, k, 6, h, w, m);
  knot q[3] = { { 0.9f, 0 }, { 0.9f, 0.87f }, { 0.99f, 0.9f } };
  solid_lathe(b, 0, 0, 0, q, 3, h, w, in);
  solid_arc(b, w * 0.95f, h * 0.5f, w * uniform(r, 0.5f, 0.7f), h * uniform(r, 0.25f, 0.36f),
            -PI / 2, PI / 2, 0.06f, m);
}

static void vase(builder *b, rng *r)
{
  int m = solid_any(b, r, 0.35f);
  float belly = uniform(r, 0.7f, 1.2f), neck = uniform(r, 0.25f, 0.6f),
        lip = neck + uniform(r, 0.05f, 0.4f);
  float at = uniform(r, 0.25f, 0.55f);
  knot k[8] = { { 0, 0 },
                { 0, 0.5f },
                { at * 0.5f, mixf(0.5f, belly, 0.75f) },
                { at, belly },
                { mixf(at, 0.85f, 0.5f), mixf(belly, neck, 0.45f) },
                { 0.85f, neck },
                { 1, lip },
                { 0.86f, neck * 0.85f } };
  solid_lathe(b, 0, 0, 0, k, 8, uniform(r, 1.1f, 1.7f), 0.5f, m);
}

static void robot(builder *b, rng *r)
{
  int body = solid_any(b, r, 0.4f), limb = solid_any(b, r, 0.4f),
      dark = solid_rgb(b, 0.1f, 0.1f, 0.12f, 0.3f),
      eye = solid_plain(b, r, below(r, 2) ? COLOUR_YELLOW : COLOUR_WHITE);
  float w = uniform(r, 0.3f, 0.45f), h = uniform(r, 0.5f, 0.75f), hw = uniform(r, 0.2f, 0.34f),
        hh = uniform(r, 0.3f, 0.45f), leg = uniform(r, 0.25f, 0.5f);
  for (int s = -1; s <= 1; s += 2) {
    float f = (float)s;
    solid_block(b, f * w * 0.5f, 0, leg, 0, 0.11f, 0.13f, 1, 1, limb);
    solid_block(b, f * w * 0.55f, 0, 0.1f, 0.06f, 0.14f, 0.2f, 1, 1, dark);
    solid_bar(b, f * w, leg + h * 0.85f, 0, f * (w + 0.2f), leg + h * 0.3f, 0.12f, 0.075f, 0.075f,
              limb);
    solid_ball(b, f * (w + 0.2f), leg + h * 0.25f, 0.13f, 0.11f, 0.11f, 0.11f, dark);
  }
  solid_block(b, 0, leg, leg + h, 0, w, 0.22f, uniform(r, 0.8f, 1.1f), 1, body);
  solid_block(b, 0, leg + h * 0.4f, leg + h * 0.75f, 0.22f, w * 0.55f, 0.02f, 1, 1, limb);
  float y = leg + h + 0.05f;
  solid_bar(b, 0, leg + h, 0, 0, y, 0, 0.1f, 0.1f, dark);
  solid_block(b, 0, y, y + hh, 0, hw, 0.2f, 1, 1, below(r, 2) ? body : limb);
  for (int s = -1; s <= 1; s += 2)
    solid_ball(b, (float)s * hw * 0.45f, y + hh * 0.62f, 0.2f, 0.075f, 0.075f, 0.05f, eye);
  solid_block(b, 0, y + hh * 0.18f, y + hh * 0.3f, 0.2f, hw * 0.5f, 0.015f, 1, 1, dark);
  solid_bar(b, 0, y + hh, 0, 0, y + hh + 0.18f, 0, 0.02f, 0.02f, dark);
  solid_ball(b, 0, y + hh + 0.2f, 0, 0.055f, 0.055f, 0.055f, eye);
}

static void car(builder *b, rng *r)
{
  int body = solid_any(b, r, 0.5f), glass = solid_rgb(b, 0.45f, 0.65f, 0.78f, 0.6f),
      tyre = solid_rgb(b, 0.07f, 0.07f, 0.08f, 0.1f), hub = solid_rgb(b, 0.75f, 0.75f, 0.78f, 0.4f),
      lamp = solid_rgb(b, 1, 0.95f, 0.6f, 0.4f);
  float l = uniform(r, 0.8f, 1.15f), w = uniform(r, 0.38f, 0.46f), h = uniform(r, 0.24f, 0.36f),
        wr = uniform(r, 0.17f, 0.23f), cab = uniform(r, 0.26f, 0.4f);
  solid_block(b, 0, wr * 0.7f, wr * 0.7f + h, 0, w, l, 0.97f, 0.96f, body);
  float y = wr * 0.7f + h, cz = uniform(r, -0.25f, 0), cl = l * uniform(r, 0.45f, 0.62f);
  solid_block(b, 0, y, y + cab, cz, w * 0.9f, cl, 0.85f, 0.68f, glass);
  solid_block(b, 0, y + cab, y + cab + 0.035f, cz, w * 0.78f, cl * 0.7f, 1, 1, body);
  for (int s = -1; s <= 1; s += 2)
    for (int t = -1; t <= 1; t += 2)
      solid_wheel(b, (float)s * w, wr, (float)t * l * 0.6f, wr, 0.07f, tyre, hub);
  for (int s = -1; s <= 1; s += 2)
    solid_ball(b, (float)s * w * 0.65f, wr * 0.7f + h * 0.65f, l * 0.98f, 0.08f, 0.07f, 0.03f,
               lamp);
}

static void house(builder *b, rng *r)
{
  int wall = solid_any(b, r, 0), roof = solid_any(b, r, 0), door = solid_any(b, r, 0.1f),
      win = solid_rgb(b, 0.55f, 0.78f, 0.9f, 0.3f), frame = solid_rgb(b, 0.95f, 0.95f, 0.92f, 0);
  float w = uniform(r, 0.45f, 0.7f), d = uniform(r, 0.4f, 0.6f), h = uniform(r, 0.5f, 0.85f),
        t = uniform(r, 0.4f, 0.65f);
  solid_block(b, 0, 0, h, 0, w, d, 1, 1, wall);
  solid_block(b, 0, h, h + t, 0, w * 1.15f, d * 1.15f, below(r, 2) ? 1 : 0.05f, 0.05f, roof);
  solid_block(b, 0, 0, h * 0.55f, d, w * 0.18f, 0.02f, 1, 1, door);
  for (int s = -1; s <= 1; s += 2) {
    solid_block(b, (float)s * w * 0.58f, h * 0.4f, h * 0.75f, d, w * 0.2f, 0.015f, 1, 1, frame);
    solid_block(b, (float)s * w * 0.58f, h * 0.44f, h * 0.71f, d, w * 0.16f, 0.022f, 1, 1, win);
    solid_block(b, (float)s * w, h * 0.4f, h * 0.75f, 0, 0.015f, d * 0.3f, 1, 1, frame);
    solid_block(b, (float)s * w, h * 0.44f, h * 0.71f, 0, 0.022f, d * 0.25f, 1, 1, win);
  }
  solid_block(b, w * 0.5f, h, h + t * 1.05f, d * 0.3f, 0.08f, 0.08f, 1, 1, wall);
}

static void fish(builder *b, rng *r)
{
  int m = solid_any(b, r, 0.4f), fin = solid_any(b, r, 0.2f),
      white = solid_rgb(b, 0.97f, 0.97f, 0.97f, 0.2f),
      dark = solid_rgb(b, 0.03f, 0.03f, 0.04f, 0.4f);
  float l = uniform(r, 0.55f, 0.8f), h = uniform(r, 0.28f, 0.5f), w = uniform(r, 0.16f, 0.26f),
        y = 0.55f;
  solid_ball(b, 0, y, 0, l, h, w, m);
  solid_block(b, -l * 1.2f, y - h * 0.8f, y + h * 0.8f, 0, l * 0.25f, 0.03f, 1.2f, 1, fin);
  solid_bar(b, -l * 0.8f, y, 0, -l * 1.2f, y, 0, 0.12f, 0.06f, m);
  solid_block(b, 0, y + h * 0.8f, y + h * 1.35f, 0, l * 0.4f, 0.025f, 0.4f, 1, fin);
  for (int s = -1; s <= 1; s += 2) {
    solid_ball(b, l * 0.62f, y + h * 0.25f, (float)s * w * 0.7f, 0.09f, 0.09f, 0.05f, white);
    solid_ball(b, l * 0.65f, y + h * 0.25f, (float)s * (w * 0.7f + 0.04f), 0.045f, 0.045f, 0.03f,
               dark);
    solid_ball(b, l * 0.1f, y - h * 0.2f, (float)s * w, 0.17f, 0.09f, 0.05f, fin);
  }
}

static void cake(builder *b, rng *r)
{
  int flame = solid_rgb(b, 1, 0.75f, 0.2f, 0), tiers = 1 + below(r, 3);
  float y = 0, rad = uniform(r, 0.5f, 0.7f);
  knot k[5] = { { 0, 0 }, { 0, 1 }, { 0.9f, 1 }, { 1, 0.95f }, { 1, 0 } };
  int top = solid_any(b, r, 0.1f);
  for (int i = 0; i < tiers; i++) {
    int m = solid_any(b, r, 0.1f);
    float h = uniform(r, 0.22f, 0.36f);
    solid_lathe(b, 0, y, 0, k, 5, h, rad, m);
    solid_lathe(b, 0, y + h * 0.85f, 0, k, 5, h * 0.2f, rad * 1.03f, top);
    y += h * 1.05f;
    rad *= 0.68f;
  }
  int n = 1 + below(r, 5);
  for (int i = 0; i < n; i++) {
    float a = 2 * PI * (float)i / (float)n, q = n > 1 ? rad * 0.9f : 0;
    solid_bar(b, cosf(a) * q, y, sinf(a) * q, cosf(a) * q, y + 0.22f, sinf(a) * q, 0.03f, 0.03f,
              top);
    solid_ball(b, cosf(a) * q, y + 0.27f, sinf(a) * q, 0.03f, 0.06f, 0.03f, flame);
  }
}

static void lamp(builder *b, rng *r)
{
  int foot = solid_any(b, r, 0.4f), shade = solid_any(b, r, 0);
  float h = uniform(r, 0.6f, 1.1f), w = uniform(r, 0.3f, 0.45f), t = uniform(r, 0.45f, 0.9f);
  knot k[6] = { { 0, 0 },
                { 0, 1 },
                { 0.05f, 0.9f },
                { 0.12f, uniform(r, 0.15f, 0.7f) },
                { 0.5f, uniform(r, 0.12f, 0.6f) },
                { 1, 0.12f } };
  solid_lathe(b, 0, 0, 0, k, 6, h, 0.25f, foot);
  knot q[4] = { { 0, 1 }, { 1, t }, { 1, t * 0.96f }, { 0, 0.96f } };
  solid_lathe(b, 0, h * 0.92f, 0, q, 4, uniform(r, 0.35f, 0.5f), w, shade);
}

static void tree(builder *b, rng *r)
{
  int trunk = solid_rgb(b, 0.42f, 0.28f, 0.16f, 0),
      leaf = below(r, 4) ? solid_plain(b, r, COLOUR_GREEN) : solid_plain(b, r, below(r, 3));
  float h = uniform(r, 0.35f, 0.7f);
  solid_bar(b, 0, 0, 0, 0, h + 0.1f, 0, uniform(r, 0.07f, 0.12f), 0.07f, trunk);
  if (below(r, 2)) {
    knot k[3] = { { 0, 0 }, { 0, 1 }, { 1, 0.02f } };
    int n = 2 + below(r, 3);
    for (int i = 0; i < n; i++)
      solid_lathe(b, 0, h + (float)i * 0.28f, 0, k, 3, 0.5f, 0.5f - 0.1f * (float)i, leaf);
  } else {
    int n = 1 + below(r, 5);
    solid_ball(b, 0, h + 0.4f, 0, 0.42f, 0.42f, 0.42f, leaf);
    for (int i = 0; i < n; i++)
      solid_ball(b, uniform(r, -0.3f, 0.3f), h + uniform(r, 0.2f, 0.7f), uniform(r, -0.3f, 0.3f),
                 0.28f, 0.26f, 0.28f, leaf);
  }
}

static void teapot(builder *b, rng *r)
{
  int m = solid_any(b, r, 0.4f), lid = below(r, 2) ? m : solid_any(b, r, 0.4f);
  float h = uniform(r, 0.5f, 0.85f), w = uniform(r, 0.42f, 0.6f);
  knot k[7] = { { 0, 0 },         { 0, 0.55f },    { 0.15f, 0.85f }, { 0.45f, 1 },
                { 0.75f, 0.85f }, { 0.95f, 0.5f }, { 1, 0.42f } };
  solid_lathe(b, 0, 0, 0, k, 7, h, w, m);
  knot q[5] = { { 0, 0.5f }, { 0.4f, 0.35f }, { 0.6f, 0.08f }, { 0.8f, 0.13f }, { 1, 0 } };
  solid_lathe(b, 0, h, 0, q, 5, 0.25f, w, lid);
  solid_bar(b, -w * 0.8f, h * 0.35f, 0, -w * 1.5f, h * 0.9f, 0, 0.12f, 0.055f, m);
  solid_arc(b, w * 0.85f, h * 0.5f, w * 0.55f, h * 0.33f, -PI / 2, PI / 2, 0.055f, lid);
}

static void toy_animal(builder *b, rng *r)
{
  int m = solid_any(b, r, 0.1f), other = solid_any(b, r, 0.1f),
      dark = solid_rgb(b, 0.05f, 0.05f, 0.06f, 0.4f);
  float l = uniform(r, 0.4f, 0.6f), h = uniform(r, 0.22f, 0.36f), leg = uniform(r, 0.2f, 0.55f),
        neck = uniform(r, 0, 0.5f), head = uniform(r, 0.17f, 0.27f);
  float y = leg + h * 0.8f, hz = l + head * 0.5f, hy = y + h * 0.6f + neck;
  solid_ball(b, 0, y, 0, h * 0.9f, h, l, m);
  for (int s = -1; s <= 1; s += 2)
    for (int t = -1; t <= 1; t += 2)
      solid_bar(b, (float)s * h * 0.5f, y - h * 0.3f, (float)t * l * 0.6f, (float)s * h * 0.5f, 0,
                (float)t * l * 0.6f, 0.1f, 0.09f, m);
  solid_bar(b, 0, y, l * 0.7f, 0, hy, hz - head * 0.3f, h * 0.5f, head * 0.6f, m);
  solid_ball(b, 0, hy, hz, head, head, head * 1.1f, m);
  solid_ball(b, 0, hy - head * 0.25f, hz + head * 0.9f, head * 0.5f, head * 0.42f,
             head * uniform(r, 0.3f, 0.7f), other);
  float ear = uniform(r, 0.1f, 0.35f);
  for (int s = -1; s <= 1; s += 2) {
    solid_ball(b, (float)s * head * 0.45f, hy + head * 0.3f, hz + head * 0.85f, 0.04f, 0.045f,
               0.04f, dark);
    solid_ball(b, (float)s * head * 0.8f, hy + head * 0.7f + ear * 0.4f, hz - head * 0.2f, 0.08f,
               ear, 0.05f, other);
  }
  solid_bar(b, 0, y + h * 0.3f, -l * 0.9f, 0, y + h * uniform(r, -0.2f, 1.6f), -l * 1.4f, 0.06f,
            0.04f, other);
}

static void rocket(builder *b, rng *r)
{
  int m = solid_any(b, r, 0.4f), fin = solid_any(b, r, 0.3f),
      win = solid_rgb(b, 0.55f, 0.8f, 0.95f, 0.5f);
  float h = uniform(r, 1.2f, 1.8f), w = uniform(r, 0.24f, 0.38f);
  knot k[5] = { { 0.08f, 0 }, { 0.08f, 0.7f }, { 0.3f, 1 }, { 0.6f, 0.95f }, { 0.75f, 0.75f } };
  solid_lathe(b, 0, 0, 0, k, 5, h, w, m);
  knot n[3] = { { 0.75f, 0.75f }, { 0.88f, 0.45f }, { 1, 0.02f } };
  solid_lathe(b, 0, 0, 0, n, 3, h, w, fin);
  for (int i = 0; i < 4; i++) {
    float a = PI / 2 * (float)i + 0.4f, c = cosf(a), s = sinf(a);
    float p[4][3] = { { c * w * 0.7f, h * 0.4f, s * w * 0.7f },
                      { c * w * 1.9f, 0, s * w * 1.9f },
                      { c * w * 1.5f, 0, s * w * 1.5f },
                      { c * w * 0.6f, h * 0.1f, s * w * 0.6f } };
    solid_quad(b, (const float(*)[3])p, fin);
  }
  for (int i = 0; i < 2; i++)
    solid_ball(b, 0, h * (0.45f + 0.17f * (float)i), w * 0.9f, 0.1f, 0.1f, 0.06f, win);
}

static void boat(builder *b, rng *r)
{
  int hull = solid_any(b, r, 0.2f), sail = solid_any(b, r, 0),
      mast = solid_rgb(b, 0.5f, 0.35f, 0.2f, 0);
  float l = uniform(r, 0.6f, 0.85f), h = uniform(r, 0.2f, 0.3f), t = uniform(r, 0.9f, 1.3f);
  solid_block(b, 0, 0, h, 0, l * 0.75f, 0.18f, 1.3f, 1.5f, hull);
  solid_bar(b, 0, h, 0, 0, h + t, 0, 0.03f, 0.02f, mast);
  float p[4][3] = { { 0.04f, h + 0.08f, 0.02f },
                    { l * 0.8f, h + 0.1f, 0.1f },
                    { 0.04f, h + t * 0.97f, 0.02f },
                    { 0.04f, h + 0.5f * t, 0.01f } };
  solid_quad(b, (const float(*)[3])p, sail);
  float q[4][3] = { { -0.05f, h + t * 0.9f, 0 },
                    { -l * 0.75f, h + 0.08f, 0.06f },
                    { -0.05f, h + 0.08f, 0 },
                    { -0.05f, h + 0.4f * t, 0 } };
  solid_quad(b, (const float(*)[3])q, sail);
}

static void beach_ball(builder *b, rng *r)
{
  int m = solid_any(b, r, 0.3f);
  b->materials[m].pattern = 1 + below(r, PATTERN_COUNTS - 1);
  b->materials[m].pattern_scale = uniform(r, 5, 10);
  palette_colour(b->materials[m].kd2, below(r, COLOUR_COUNTS), r);
  solid_ball(b, 0, 0.5f, 0, 0.5f, 0.5f, 0.5f, m);
}

static void mushroom(builder *b, rng *r)
{
  int stem = solid_rgb(b, 0.93f, 0.88f, 0.78f, 0), cap = solid_any(b, r, 0.2f),
      dot = solid_rgb(b, 0.97f, 0.96f, 0.93f, 0);
  float h = uniform(r, 0.4f, 0.75f), w = uniform(r, 0.4f, 0.62f), ch = uniform(r, 0.3f, 0.55f);
  knot k[3] = { { 0, 1 }, { 0.5f, 0.75f }, { 1, 0.8f } };
  solid_lathe(b, 0, 0, 0, k, 3, h, uniform(r, 0.13f, 0.22f), stem);
  knot q[6] = {
    { 0, 0 }, { -0.05f, 1 }, { 0.2f, 0.97f }, { 0.6f, 0.75f }, { 0.9f, 0.35f }, { 1, 0 }
  };
  solid_lathe(b, 0, h, 0, q, 6, ch, w, cap);
  for (int i = 0; i < 7; i++) {
    float a = 2 * PI * (float)i / 7, e = i & 1 ? 0.3f : 0.62f, rr = w * (i & 1 ? 0.9f : 0.68f);
    solid_ball(b, cosf(a) * rr, h + ch * e, sinf(a) * rr, 0.07f, 0.06f, 0.07f, dot);
  }
}

static void ice_cream(builder *b, rng *r)
{
  int cone = solid_rgb(b, 0.85f, 0.62f, 0.32f, 0), n = 1 + below(r, 3);
  b->materials[cone].pattern = PATTERN_CHECKS;
  b->materials[cone].pattern_scale = 18;
  float d[3] = { 0.72f, 0.5f, 0.24f };
  memcpy(b->materials[cone].kd2, d, sizeof d);
  knot k[2] = { { 0, 0.05f }, { 1, 1 } };
  solid_lathe(b, 0, 0, 0, k, 2, 0.9f, 0.34f, cone);
  for (int i = 0; i < n; i++)
    solid_ball(b, 0, 0.98f + (float)i * 0.36f, 0, 0.38f - 0.04f * (float)i, 0.33f,
               0.38f - 0.04f * (float)i, solid_any(b, r, 0.1f));
}

static void bottle(builder *b, rng *r)
{
  int m = solid_any(b, r, 0.5f), label = solid_any(b, r, 0), cap = solid_any(b, r, 0.3f);
  float h = uniform(r, 1, 1.5f), w = uniform(r, 0.2f, 0.34f), s = uniform(r, 0.5f, 0.7f),
        n = uniform(r, 0.3f, 0.5f);
  knot k[6] = { { 0, 0 }, { 0, 1 }, { s, 1 }, { s + 0.12f, n }, { 0.93f, n }, { 0.93f, 0 } };
  solid_lathe(b, 0, 0, 0, k, 6, h, w, m);
  knot q[2] = { { 0.18f, 1.02f }, { s * 0.85f, 1.02f } };
  solid_lathe(b, 0, 0, 0, q, 2, h, w, label);
  knot c[4] = { { 0.9f, n * 1.15f }, { 1, n * 1.15f }, { 1, 0 }, { 1, 0 } };
  solid_lathe(b, 0, 0, 0, c, 4, h, w, cap);
}

static void plane(builder *b, rng *r)
{
  int m = solid_any(b, r, 0.4f), wing = solid_any(b, r, 0.3f),
      glass = solid_rgb(b, 0.5f, 0.75f, 0.9f, 0.6f), dark = solid_rgb(b, 0.15f, 0.15f, 0.16f, 0.2f);
  float l = uniform(r, 0.7f, 0.95f), w = uniform(r, 0.14f, 0.22f), span = uniform(r, 0.75f, 1.05f),
        y = 0.4f;
  solid_ball(b, 0, y, 0, w, w, l, m);
  solid_block(b, 0, y - 0.02f, y + 0.03f, 0.1f, span, 0.2f, 1, 0.9f, wing);
  solid_block(b, 0, y + 0.03f, y + 0.06f, -l * 0.85f, span * 0.38f, 0.11f, 1, 1, wing);
  solid_block(b, 0, y + 0.05f, y + 0.42f, -l * 0.85f, 0.025f, 0.15f, 1, 0.6f, wing);
  solid_ball(b, 0, y + w * 0.8f, l * 0.3f, w * 0.6f, w * 0.5f, l * 0.2f, glass);
  solid_block(b, 0, y - 0.22f, y + 0.22f, l * 1.02f, 0.03f, 0.012f, 1, 1, dark);
  for (int s = -1; s <= 1; s += 2) {
    solid_bar(b, (float)s * 0.1f, y - w * 0.5f, 0.2f, (float)s * 0.2f, 0.1f, 0.25f, 0.02f, 0.02f,
              dark);
    solid_wheel(b, (float)s * 0.22f, 0.09f, 0.25f, 0.09f, 0.03f, dark, wing);
  }
}

static void tower(builder *b, rng *r)
{
  int wall = solid_any(b, r, 0), roof = solid_any(b, r, 0.1f),
      dark = solid_rgb(b, 0.16f, 0.12f, 0.1f, 0);
  float h = uniform(r, 1, 1.5f), w = uniform(r, 0.26f, 0.38f);
  knot k[6] = {
    { 0, 0 }, { 0, 1.1f }, { 0.1f, 1 }, { 0.82f, 0.92f }, { 0.86f, 1.2f }, { 1, 1.2f }
  };
  solid_lathe(b, 0, 0, 0, k, 6, h, w, wall);
  knot q[3] = { { 0, 0 }, { 0, 1 }, { 1, 0.02f } };
  solid_lathe(b, 0, h, 0, q, 3, uniform(r, 0.4f, 0.7f), w * 1.35f, roof);
  solid_block(b, 0, 0, h * 0.25f, w * 0.98f, 0.1f, 0.05f, 1, 1, dark);
  for (int i = 0; i < 2; i++)
    solid_block(b, 0, h * (0.4f + 0.22f * (float)i), h * (0.5f + 0.22f * (float)i), w * 0.94f,
                0.05f, 0.03f, 1, 1, dark);
}

static void flower(builder *b, rng *r)
{
  int stem = solid_rgb(b, 0.2f, 0.5f, 0.18f, 0), petal = solid_any(b, r, 0),
      heart = below(r, 2) ? solid_plain(b, r, COLOUR_YELLOW) : solid_plain(b, r, COLOUR_BROWN),
      n = 5 + below(r, 5);
  float h = uniform(r, 0.8f, 1.2f), l = uniform(r, 0.16f, 0.28f);
  solid_bar(b, 0, 0, 0, 0, h, 0, 0.03f, 0.03f, stem);
  for (int s = -1; s <= 1; s += 2)
    solid_ball(b, (float)s * 0.16f, h * 0.35f, 0, 0.16f, 0.05f, 0.08f, stem);
  for (int i = 0; i < n; i++) {
    float a = 2 * PI * (float)i / (float)n;
    solid_ball(b, cosf(a) * l, h + sinf(a) * l, 0.03f, l * 0.62f, l * 0.62f, 0.04f, petal);
  }
  solid_ball(b, 0, h, 0.06f, l * 0.6f, l * 0.6f, 0.07f, heart);
}

static void gift(builder *b, rng *r)
{
  int m = solid_any(b, r, 0.1f), ribbon = solid_any(b, r, 0.3f);
  float w = uniform(r, 0.35f, 0.55f), d = uniform(r, 0.35f, 0.5f), h = uniform(r, 0.4f, 0.8f);
  solid_block(b, 0, 0, h, 0, w, d, 1, 1, m);
  solid_block(b, 0, 0, h * 1.01f, 0, w * 0.14f, d * 1.02f, 1, 1, ribbon);
  solid_block(b, 0, 0, h * 1.01f, 0, w * 1.02f, d * 0.14f, 1, 1, ribbon);
  for (int s = -1; s <= 1; s += 2)
    solid_ball(b, (float)s * 0.13f, h + 0.09f, 0, 0.14f, 0.09f, 0.06f, ribbon);
}

static void duck(builder *b, rng *r)
{
  int m = below(r, 2) ? solid_plain(b, r, COLOUR_YELLOW) : solid_any(b, r, 0.2f),
      beak = solid_plain(b, r, COLOUR_ORANGE), dark = solid_rgb(b, 0.03f, 0.03f, 0.03f, 0.5f);
  float l = uniform(r, 0.42f, 0.55f), h = uniform(r, 0.28f, 0.38f), hd = uniform(r, 0.2f, 0.28f),
        y = h + hd * 1.6f, z = l * 0.6f;
  solid_ball(b, 0, h, 0, h, h, l, m);
  solid_ball(b, 0, y, z, hd, hd, hd, m);
  solid_ball(b, 0, h * 1.4f, -l * 0.9f, h * 0.4f, h * 0.35f, l * 0.3f, m);
  solid_ball(b, 0, y - hd * 0.2f, z + hd * 1.05f, hd * 0.5f, hd * 0.2f, hd * 0.45f, beak);
  for (int s = -1; s <= 1; s += 2) {
    solid_ball(b, (float)s * hd * 0.55f, y + hd * 0.3f, z + hd * 0.75f, 0.045f, 0.05f, 0.04f, dark);
    solid_ball(b, (float)s * h * 0.9f, h * 1.1f, -l * 0.1f, h * 0.15f, h * 0.5f, l * 0.5f, m);
  }
}

static void pumpkin(builder *b, rng *r)
{
  int m = below(r, 3) ? solid_plain(b, r, COLOUR_ORANGE) : solid_any(b, r, 0.2f),
      stem = solid_rgb(b, 0.3f, 0.4f, 0.15f, 0), n = 7 + below(r, 4);
  float h = uniform(r, 0.32f, 0.5f), w = uniform(r, 0.3f, 0.42f);
  for (int i = 0; i < n; i++) {
    float a = 2 * PI * (float)i / (float)n;
    solid_ball(b, cosf(a) * w * 0.55f, h, sinf(a) * w * 0.55f, w * 0.62f, h, w * 0.62f, m);
  }
  solid_bar(b, 0, h * 1.7f, 0, 0.06f, h * 2.4f, 0, 0.06f, 0.04f, stem);
}

static void penguin(builder *b, rng *r)
{
  int m = below(r, 2) ? solid_plain(b, r, COLOUR_BLACK) : solid_any(b, r, 0.2f),
      white = solid_rgb(b, 0.96f, 0.96f, 0.95f, 0.1f), beak = solid_plain(b, r, COLOUR_ORANGE),
      dark = solid_rgb(b, 0.02f, 0.02f, 0.02f, 0.5f);
  float w = uniform(r, 0.3f, 0.42f), h = uniform(r, 0.5f, 0.68f), hd = uniform(r, 0.22f, 0.3f),
        y = h * 1.9f + hd * 0.3f;
  solid_ball(b, 0, h, 0, w, h, w * 0.9f, m);
  solid_ball(b, 0, h * 0.95f, w * 0.25f, w * 0.78f, h * 0.85f, w * 0.72f, white);
  solid_ball(b, 0, y, 0, hd, hd, hd, m);
  solid_ball(b, 0, y - hd * 0.15f, hd, 0.07f, 0.05f, 0.13f, beak);
  for (int s = -1; s <= 1; s += 2) {
    solid_ball(b, (float)s * hd * 0.42f, y + hd * 0.25f, hd * 0.75f, 0.075f, 0.08f, 0.06f, white);
    solid_ball(b, (float)s * hd * 0.42f, y + hd * 0.25f, hd * 0.97f, 0.035f, 0.04f, 0.03f, dark);
    solid_ball(b, (float)s * w * 1.02f, h * 1.05f, 0, 0.07f, h * 0.5f, 0.14f, m);
    solid_ball(b, (float)s * w * 0.45f, 0.05f, w * 0.5f, 0.13f, 0.05f, 0.2f, beak);
  }
}

static void windmill(builder *b, rng *r)
{
  int wall = solid_any(b, r, 0), roof = solid_any(b, r, 0),
      blade = solid_rgb(b, 0.93f, 0.91f, 0.86f, 0), door = solid_any(b, r, 0);
  float h = uniform(r, 0.9f, 1.2f), w = uniform(r, 0.3f, 0.4f), l = uniform(r, 0.6f, 0.8f),
        a0 = uniform(r, 0, PI / 2);
  knot k[2] = { { 0, 1 }, { 1, 0.65f } };
  solid_lathe(b, 0, 0, 0, k, 2, h, w, wall);
  knot q[3] = { { 0, 0.75f }, { 0.5f, 0.5f }, { 1, 0 } };
  solid_lathe(b, 0, h, 0, q, 3, 0.3f, w, roof);
  solid_block(b, 0, 0, h * 0.3f, w * 0.95f, 0.09f, 0.04f, 1, 1, door);
  for (int i = 0; i < 4; i++) {
    float a = a0 + PI / 2 * (float)i, c = cosf(a), s = sinf(a), z = w * 0.9f, g = 0.09f;
    float p[4][3] = { { c * 0.1f - s * g, h + s * 0.1f + c * g, z },
                      { c * l - s * g, h + s * l + c * g, z },
                      { c * l + s * g, h + s * l - c * g, z },
                      { c * 0.1f + s * g, h + s * 0.1f - c * g, z } };
    solid_quad(b, (const float(*)[3])p, blade);
  }
  solid_ball(b, 0, h, w * 0.85f, 0.08f, 0.08f, 0.08f, roof);
}

static void bell(builder *b, rng *r)
{
  int m = below(r, 2) ? solid_plain(b, r, COLOUR_YELLOW) : solid_any(b, r, 0.6f),
      dark = solid_rgb(b, 0.3f, 0.2f, 0.1f, 0.3f);
  b->materials[m].ks = 0.6f;
  knot k[6] = { { 0.02f, 0.9f },  { 0, 1 }, { 0.12f, 0.85f }, { 0.5f, uniform(r, 0.5f, 0.7f) },
                { 0.85f, 0.45f }, { 1, 0 } };
  solid_lathe(b, 0, 0.1f, 0, k, 6, uniform(r, 0.7f, 1), uniform(r, 0.42f, 0.55f), m);
  solid_ball(b, 0, 0.1f, 0, 0.1f, 0.1f, 0.1f, dark);
  solid_ball(b, 0, 1.0f, 0, 0.1f, 0.1f, 0.1f, dark);
}

static const struct {
  const char *name;
  void (*build)(builder *b, rng *r);
} families[] = {
  { "cup", mug },
  { "vase", vase },
  { "robot", robot },
  { "car", car },
  { "house", house },
  { "fish", fish },
  { "cake", cake },
  { "lamp", lamp },
  { "tree", tree },
  { "teapot", teapot },
  { "toy animal", toy_animal },
  { "rocket", rocket },
  { "sailing boat", boat },
  { "ball", beach_ball },
  { "mushroom", mushroom },
  { "ice cream", ice_cream },
  { "bottle", bottle },
  { "plane", plane },
  { "tower", tower },
  { "flower", flower },
  { "gift", gift },
  { "duck", duck },
  { "pumpkin", pumpkin },
  { "penguin", penguin },
  { "windmill", windmill },
  { "bell", bell },
};
const int family_counts = (int)(sizeof families / sizeof families[0]);

const char *family_name(int family)
{
  return families[family].name;
}

void family_build(builder *b, int family, uint64_t look)
{
  rng r = rng_of(look, 0xfa11 + (uint64_t)family);
  b->vertices = b->triangles = b->materials_count = 0;
  families[family].build(b, &r);
}
