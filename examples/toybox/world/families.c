/* parametric objects: every look is another member of its family */
#include "world.h"

#include <stdlib.h>
#include <string.h>

#define PI 3.14159265f

typedef struct { float x, r; } knot;  /* height and radius of a turned profile */

static int grow(builder *b, int vertices, int triangles)
{
  if (b->vertices + vertices > b->vertices_cap) {
    int cap = (b->vertices + vertices) * 2;
    float *p = realloc(b->p, (size_t)cap * 3 * sizeof *p);
    if (p) b->p = p;
    float *n = realloc(b->n, (size_t)cap * 3 * sizeof *n);
    if (n) b->n = n;
    float *uv = realloc(b->uv, (size_t)cap * 2 * sizeof *uv);
    if (uv) b->uv = uv;
    if (!p || !n || !uv) b->failed = 1;
    else b->vertices_cap = cap;
  }
  if (b->triangles + triangles > b->triangles_cap) {
    int cap = (b->triangles + triangles) * 2;
    uint32_t *i = realloc(b->index, (size_t)cap * 3 * sizeof *i);
    if (i) b->index = i;
    uint8_t *m = realloc(b->mat, (size_t)cap);
    if (m) b->mat = m;
    if (!i || !m) b->failed = 1;
    else b->triangles_cap = cap;
  }
  return !b->failed;
}

void builder_free(builder *b)
{
  free(b->p);
  free(b->n);
  free(b->uv);
  free(b->index);
  free(b->mat);
  memset(b, 0, sizeof *b);
}

static int vertex(builder *b, float x, float y, float z, float nx, float ny, float nz)
{
  int i = b->vertices++;
  float p[3] = {x, y, z}, n[3] = {nx, ny, nz};
  memcpy(b->p + i * 3, p, sizeof p);
  memcpy(b->n + i * 3, n, sizeof n);
  b->uv[i * 2] = b->uv[i * 2 + 1] = 0;
  return i;
}

static void triangle(builder *b, int i, int j, int k, int mat)
{
  int t = b->triangles++;
  b->index[t * 3] = (uint32_t)i;
  b->index[t * 3 + 1] = (uint32_t)j;
  b->index[t * 3 + 2] = (uint32_t)k;
  b->mat[t] = (uint8_t)mat;
}

static int colour(builder *b, const float rgb[3], float shine)
{
  material *m = &b->materials[b->materials_count];
  memset(m, 0, sizeof *m);
  memcpy(m->kd, rgb, sizeof m->kd);
  m->ks = shine;
  m->ns = 40;
  m->alpha = 1;
  m->texture = -1;
  return b->materials_count++;
}

static int rgb(builder *b, float r, float g, float bl, float shine)
{
  float c[3] = {r, g, bl};
  return colour(b, c, shine);
}

static int any(builder *b, rng *r, float shine)
{
  float c[3];
  palette_colour(c, below(r, COLOUR_COUNTS), r);
  int m = colour(b, c, shine);
  if (below(r, 3) == 0) {
    b->materials[m].pattern = 1 + below(r, PATTERN_COUNTS - 1);
    b->materials[m].pattern_scale = uniform(r, 8, 16);
    palette_colour(b->materials[m].kd2, below(r, COLOUR_COUNTS), r);
  }
  return m;
}

static int plain(builder *b, rng *r, int c)
{
  float v[3];
  palette_colour(v, c, r);
  return colour(b, v, 0.15f);
}

/* an ellipsoid; squash > 1 makes it boxier */
static void ball(builder *b, float x, float y, float z, float rx, float ry, float rz, int mat)
{
  enum { U = 16, V = 9 };
  if (!grow(b, (U + 1) * (V + 1), U * V * 2)) return;
  int base = b->vertices;
  for (int j = 0; j <= V; j++)
    for (int i = 0; i <= U; i++) {
      float a = 2 * PI * (float)i / U, e = PI * ((float)j / V - 0.5f);
      float nx = cosf(e) * cosf(a), ny = sinf(e), nz = cosf(e) * sinf(a);
      float l = 1 / sqrtf(nx * nx / rx / rx + ny * ny / ry / ry + nz * nz / rz / rz + 1e-9f);
      vertex(b, x + rx * nx, y + ry * ny, z + rz * nz, nx / rx * l, ny / ry * l, nz / rz * l);
    }
  for (int j = 0; j < V; j++)
    for (int i = 0; i < U; i++) {
      int q = base + j * (U + 1) + i;
      triangle(b, q, q + 1, q + U + 2, mat);
      triangle(b, q, q + U + 2, q + U + 1, mat);
    }
}

static void quad(builder *b, const float p[4][3], int mat)
{
  if (!grow(b, 4, 2)) return;
  float u[3], v[3], n[3];
  for (int k = 0; k < 3; k++) {
    u[k] = p[1][k] - p[0][k];
    v[k] = p[3][k] - p[0][k];
  }
  if (u[0] * u[0] + u[1] * u[1] + u[2] * u[2] < 1e-9f)
    for (int k = 0; k < 3; k++) u[k] = p[2][k] - p[1][k];
  n[0] = u[1] * v[2] - u[2] * v[1];
  n[1] = u[2] * v[0] - u[0] * v[2];
  n[2] = u[0] * v[1] - u[1] * v[0];
  float l = 1 / (sqrtf(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + 1e-9f);
  int q = b->vertices;
  for (int i = 0; i < 4; i++) vertex(b, p[i][0], p[i][1], p[i][2], n[0] * l, n[1] * l, n[2] * l);
  triangle(b, q, q + 1, q + 2, mat);
  triangle(b, q, q + 2, q + 3, mat);
}

/* a box of half sizes sx sz from y0 to y1, its top shrunk by tx and tz */
static void block(builder *b, float x, float y0, float y1, float z, float sx, float sz, float tx, float tz, int mat)
{
  float v[8][3];
  for (int i = 0; i < 8; i++) {
    float kx = i & 4 ? tx : 1, kz = i & 4 ? tz : 1;
    v[i][0] = x + (i & 1 ? sx : -sx) * kx;
    v[i][1] = i & 4 ? y1 : y0;
    v[i][2] = z + (i & 2 ? sz : -sz) * kz;
  }
  static const int f[6][4] = {{0, 1, 5, 4}, {1, 3, 7, 5}, {3, 2, 6, 7}, {2, 0, 4, 6}, {4, 5, 7, 6}, {0, 2, 3, 1}};
  for (int i = 0; i < 6; i++) {
    float p[4][3];
    for (int k = 0; k < 4; k++) memcpy(p[k], v[f[i][k]], sizeof p[k]);
    quad(b, (const float (*)[3])p, mat);
  }
}

/* turned on the lathe about the vertical through (x, z) */
static void lathe(builder *b, float x, float y, float z, const knot *k, int n, float height, float radius, int mat)
{
  enum { U = 20 };
  if (!grow(b, (U + 1) * n, U * (n - 1) * 2)) return;
  int base = b->vertices;
  for (int j = 0; j < n; j++) {
    int a = j > 0 ? j - 1 : 0, c = j < n - 1 ? j + 1 : n - 1;
    float dy = (k[c].x - k[a].x) * height, dr = (k[c].r - k[a].r) * radius, l = sqrtf(dy * dy + dr * dr) + 1e-9f;
    for (int i = 0; i <= U; i++) {
      float t = 2 * PI * (float)i / U, ca = cosf(t), sa = sinf(t), r = k[j].r * radius;
      vertex(b, x + ca * r, y + k[j].x * height, z + sa * r, ca * dy / l, -dr / l, sa * dy / l);
    }
  }
  for (int j = 0; j < n - 1; j++)
    for (int i = 0; i < U; i++) {
      int q = base + j * (U + 1) + i;
      triangle(b, q, q + 1, q + U + 2, mat);
      triangle(b, q, q + U + 2, q + U + 1, mat);
    }
}

/* a round bar from one point to another */
static void bar(builder *b, float x0, float y0, float z0, float x1, float y1, float z1, float r0, float r1, int mat)
{
  enum { U = 10 };
  if (!grow(b, (U + 1) * 2, U * 2)) return;
  float d[3] = {x1 - x0, y1 - y0, z1 - z0}, l = sqrtf(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]) + 1e-9f;
  float h[3] = {0, 0, 0};
  h[fabsf(d[1]) > 0.8f * l ? 0 : 1] = 1;
  float u[3] = {d[1] * h[2] - d[2] * h[1], d[2] * h[0] - d[0] * h[2], d[0] * h[1] - d[1] * h[0]};
  float lu = sqrtf(u[0] * u[0] + u[1] * u[1] + u[2] * u[2]) + 1e-9f;
  for (int k = 0; k < 3; k++) {
    u[k] /= lu;
    d[k] /= l;
  }
  float v[3] = {d[1] * u[2] - d[2] * u[1], d[2] * u[0] - d[0] * u[2], d[0] * u[1] - d[1] * u[0]};
  int base = b->vertices;
  for (int i = 0; i <= U; i++) {
    float t = 2 * PI * (float)i / U, ca = cosf(t), sa = sinf(t), n[3];
    for (int k = 0; k < 3; k++) n[k] = u[k] * ca + v[k] * sa;
    vertex(b, x0 + n[0] * r0, y0 + n[1] * r0, z0 + n[2] * r0, n[0], n[1], n[2]);
    vertex(b, x1 + n[0] * r1, y1 + n[1] * r1, z1 + n[2] * r1, n[0], n[1], n[2]);
  }
  for (int i = 0; i < U; i++) {
    int q = base + i * 2;
    triangle(b, q, q + 1, q + 3, mat);
    triangle(b, q, q + 3, q + 2, mat);
  }
}

/* a wheel standing across x */
static void wheel(builder *b, float x, float y, float z, float r, float w, int tyre, int hub)
{
  bar(b, x - w, y, z, x + w, y, z, r, r, tyre);
  for (int s = -1; s <= 1; s += 2) {
    ball(b, x + (float)s * w, y, z, w * 0.1f, r, r, tyre);
    ball(b, x + (float)s * w * 1.08f, y, z, w * 0.12f, r * 0.55f, r * 0.55f, hub);
  }
}

/* a bar bent to an arc in the plane z: handles, hoops */
static void arc(builder *b, float x, float y, float rx, float ry, float a0, float a1, float thick, int mat)
{
  for (int i = 0; i < 10; i++) {
    float s = mixf(a0, a1, (float)i / 10), t = mixf(a0, a1, (float)(i + 1) / 10);
    bar(b, x + cosf(s) * rx, y + sinf(s) * ry, 0, x + cosf(t) * rx, y + sinf(t) * ry, 0, thick, thick, mat);
  }
}

static void mug(builder *b, rng *r)
{
  int m = any(b, r, 0.3f), in = rgb(b, 0.9f, 0.88f, 0.84f, 0.1f);
  float h = uniform(r, 0.7f, 1.3f), w = uniform(r, 0.38f, 0.55f), t = uniform(r, 0.85f, 1.15f);
  knot k[6] = {{0, 0}, {0, t * 0.9f}, {0.05f, t}, {1, 1}, {1, 0.9f}, {0.15f, 0.85f}};
  lathe(b, 0, 0, 0, k, 6, h, w, m);
  knot q[3] = {{0.9f, 0}, {0.9f, 0.87f}, {0.99f, 0.9f}};
  lathe(b, 0, 0, 0, q, 3, h, w, in);
  arc(b, w * 0.95f, h * 0.5f, w * uniform(r, 0.5f, 0.7f), h * uniform(r, 0.25f, 0.36f), -PI / 2, PI / 2, 0.06f, m);
}

static void vase(builder *b, rng *r)
{
  int m = any(b, r, 0.35f);
  float belly = uniform(r, 0.7f, 1.2f), neck = uniform(r, 0.25f, 0.6f), lip = neck + uniform(r, 0.05f, 0.4f);
  float at = uniform(r, 0.25f, 0.55f);
  knot k[8] = {{0, 0}, {0, 0.5f}, {at * 0.5f, mixf(0.5f, belly, 0.75f)}, {at, belly}, {mixf(at, 0.85f, 0.5f), mixf(belly, neck, 0.45f)},
               {0.85f, neck}, {1, lip}, {0.86f, neck * 0.85f}};
  lathe(b, 0, 0, 0, k, 8, uniform(r, 1.1f, 1.7f), 0.5f, m);
}

static void robot(builder *b, rng *r)
{
  int body = any(b, r, 0.4f), limb = any(b, r, 0.4f), dark = rgb(b, 0.1f, 0.1f, 0.12f, 0.3f), eye = plain(b, r, below(r, 2) ? COLOUR_YELLOW : COLOUR_WHITE);
  float w = uniform(r, 0.3f, 0.45f), h = uniform(r, 0.5f, 0.75f), hw = uniform(r, 0.2f, 0.34f), hh = uniform(r, 0.3f, 0.45f), leg = uniform(r, 0.25f, 0.5f);
  for (int s = -1; s <= 1; s += 2) {
    float f = (float)s;
    block(b, f * w * 0.5f, 0, leg, 0, 0.11f, 0.13f, 1, 1, limb);
    block(b, f * w * 0.55f, 0, 0.1f, 0.06f, 0.14f, 0.2f, 1, 1, dark);
    bar(b, f * w, leg + h * 0.85f, 0, f * (w + 0.2f), leg + h * 0.3f, 0.12f, 0.075f, 0.075f, limb);
    ball(b, f * (w + 0.2f), leg + h * 0.25f, 0.13f, 0.11f, 0.11f, 0.11f, dark);
  }
  block(b, 0, leg, leg + h, 0, w, 0.22f, uniform(r, 0.8f, 1.1f), 1, body);
  block(b, 0, leg + h * 0.4f, leg + h * 0.75f, 0.22f, w * 0.55f, 0.02f, 1, 1, limb);
  float y = leg + h + 0.05f;
  bar(b, 0, leg + h, 0, 0, y, 0, 0.1f, 0.1f, dark);
  block(b, 0, y, y + hh, 0, hw, 0.2f, 1, 1, below(r, 2) ? body : limb);
  for (int s = -1; s <= 1; s += 2) ball(b, (float)s * hw * 0.45f, y + hh * 0.62f, 0.2f, 0.075f, 0.075f, 0.05f, eye);
  block(b, 0, y + hh * 0.18f, y + hh * 0.3f, 0.2f, hw * 0.5f, 0.015f, 1, 1, dark);
  bar(b, 0, y + hh, 0, 0, y + hh + 0.18f, 0, 0.02f, 0.02f, dark);
  ball(b, 0, y + hh + 0.2f, 0, 0.055f, 0.055f, 0.055f, eye);
}

static void car(builder *b, rng *r)
{
  int body = any(b, r, 0.5f), glass = rgb(b, 0.45f, 0.65f, 0.78f, 0.6f), tyre = rgb(b, 0.07f, 0.07f, 0.08f, 0.1f), hub = rgb(b, 0.75f, 0.75f, 0.78f, 0.4f), lamp = rgb(b, 1, 0.95f, 0.6f, 0.4f);
  float l = uniform(r, 0.8f, 1.15f), w = uniform(r, 0.38f, 0.46f), h = uniform(r, 0.24f, 0.36f), wr = uniform(r, 0.17f, 0.23f), cab = uniform(r, 0.26f, 0.4f);
  block(b, 0, wr * 0.7f, wr * 0.7f + h, 0, w, l, 0.97f, 0.96f, body);
  float y = wr * 0.7f + h, cz = uniform(r, -0.25f, 0), cl = l * uniform(r, 0.45f, 0.62f);
  block(b, 0, y, y + cab, cz, w * 0.9f, cl, 0.85f, 0.68f, glass);
  block(b, 0, y + cab, y + cab + 0.035f, cz, w * 0.78f, cl * 0.7f, 1, 1, body);
  for (int s = -1; s <= 1; s += 2)
    for (int t = -1; t <= 1; t += 2) wheel(b, (float)s * w, wr, (float)t * l * 0.6f, wr, 0.07f, tyre, hub);
  for (int s = -1; s <= 1; s += 2) ball(b, (float)s * w * 0.65f, wr * 0.7f + h * 0.65f, l * 0.98f, 0.08f, 0.07f, 0.03f, lamp);
}

static void house(builder *b, rng *r)
{
  int wall = any(b, r, 0), roof = any(b, r, 0), door = any(b, r, 0.1f), win = rgb(b, 0.55f, 0.78f, 0.9f, 0.3f), frame = rgb(b, 0.95f, 0.95f, 0.92f, 0);
  float w = uniform(r, 0.45f, 0.7f), d = uniform(r, 0.4f, 0.6f), h = uniform(r, 0.5f, 0.85f), t = uniform(r, 0.4f, 0.65f);
  block(b, 0, 0, h, 0, w, d, 1, 1, wall);
  block(b, 0, h, h + t, 0, w * 1.15f, d * 1.15f, below(r, 2) ? 1 : 0.05f, 0.05f, roof);
  block(b, 0, 0, h * 0.55f, d, w * 0.18f, 0.02f, 1, 1, door);
  for (int s = -1; s <= 1; s += 2) {
    block(b, (float)s * w * 0.58f, h * 0.4f, h * 0.75f, d, w * 0.2f, 0.015f, 1, 1, frame);
    block(b, (float)s * w * 0.58f, h * 0.44f, h * 0.71f, d, w * 0.16f, 0.022f, 1, 1, win);
    block(b, (float)s * w, h * 0.4f, h * 0.75f, 0, 0.015f, d * 0.3f, 1, 1, frame);
    block(b, (float)s * w, h * 0.44f, h * 0.71f, 0, 0.022f, d * 0.25f, 1, 1, win);
  }
  block(b, w * 0.5f, h, h + t * 1.05f, d * 0.3f, 0.08f, 0.08f, 1, 1, wall);
}

static void fish(builder *b, rng *r)
{
  int m = any(b, r, 0.4f), fin = any(b, r, 0.2f), white = rgb(b, 0.97f, 0.97f, 0.97f, 0.2f), dark = rgb(b, 0.03f, 0.03f, 0.04f, 0.4f);
  float l = uniform(r, 0.55f, 0.8f), h = uniform(r, 0.28f, 0.5f), w = uniform(r, 0.16f, 0.26f), y = 0.55f;
  ball(b, 0, y, 0, l, h, w, m);
  block(b, -l * 1.2f, y - h * 0.8f, y + h * 0.8f, 0, l * 0.25f, 0.03f, 1.2f, 1, fin);
  bar(b, -l * 0.8f, y, 0, -l * 1.2f, y, 0, 0.12f, 0.06f, m);
  block(b, 0, y + h * 0.8f, y + h * 1.35f, 0, l * 0.4f, 0.025f, 0.4f, 1, fin);
  for (int s = -1; s <= 1; s += 2) {
    ball(b, l * 0.62f, y + h * 0.25f, (float)s * w * 0.7f, 0.09f, 0.09f, 0.05f, white);
    ball(b, l * 0.65f, y + h * 0.25f, (float)s * (w * 0.7f + 0.04f), 0.045f, 0.045f, 0.03f, dark);
    ball(b, l * 0.1f, y - h * 0.2f, (float)s * w, 0.17f, 0.09f, 0.05f, fin);
  }
}

static void cake(builder *b, rng *r)
{
  int flame = rgb(b, 1, 0.75f, 0.2f, 0), tiers = 1 + below(r, 3);
  float y = 0, rad = uniform(r, 0.5f, 0.7f);
  knot k[5] = {{0, 0}, {0, 1}, {0.9f, 1}, {1, 0.95f}, {1, 0}};
  int top = any(b, r, 0.1f);
  for (int i = 0; i < tiers; i++) {
    int m = any(b, r, 0.1f);
    float h = uniform(r, 0.22f, 0.36f);
    lathe(b, 0, y, 0, k, 5, h, rad, m);
    lathe(b, 0, y + h * 0.85f, 0, k, 5, h * 0.2f, rad * 1.03f, top);
    y += h * 1.05f;
    rad *= 0.68f;
  }
  int n = 1 + below(r, 5);
  for (int i = 0; i < n; i++) {
    float a = 2 * PI * (float)i / (float)n, q = n > 1 ? rad * 0.9f : 0;
    bar(b, cosf(a) * q, y, sinf(a) * q, cosf(a) * q, y + 0.22f, sinf(a) * q, 0.03f, 0.03f, top);
    ball(b, cosf(a) * q, y + 0.27f, sinf(a) * q, 0.03f, 0.06f, 0.03f, flame);
  }
}

static void lamp(builder *b, rng *r)
{
  int foot = any(b, r, 0.4f), shade = any(b, r, 0);
  float h = uniform(r, 0.6f, 1.1f), w = uniform(r, 0.3f, 0.45f), t = uniform(r, 0.45f, 0.9f);
  knot k[6] = {{0, 0}, {0, 1}, {0.05f, 0.9f}, {0.12f, uniform(r, 0.15f, 0.7f)}, {0.5f, uniform(r, 0.12f, 0.6f)}, {1, 0.12f}};
  lathe(b, 0, 0, 0, k, 6, h, 0.25f, foot);
  knot q[4] = {{0, 1}, {1, t}, {1, t * 0.96f}, {0, 0.96f}};
  lathe(b, 0, h * 0.92f, 0, q, 4, uniform(r, 0.35f, 0.5f), w, shade);
}

static void tree(builder *b, rng *r)
{
  int trunk = rgb(b, 0.42f, 0.28f, 0.16f, 0), leaf = below(r, 4) ? plain(b, r, COLOUR_GREEN) : plain(b, r, below(r, 3));
  float h = uniform(r, 0.35f, 0.7f);
  bar(b, 0, 0, 0, 0, h + 0.1f, 0, uniform(r, 0.07f, 0.12f), 0.07f, trunk);
  if (below(r, 2)) {
    knot k[3] = {{0, 0}, {0, 1}, {1, 0.02f}};
    int n = 2 + below(r, 3);
    for (int i = 0; i < n; i++) lathe(b, 0, h + (float)i * 0.28f, 0, k, 3, 0.5f, 0.5f - 0.1f * (float)i, leaf);
  } else {
    int n = 1 + below(r, 5);
    ball(b, 0, h + 0.4f, 0, 0.42f, 0.42f, 0.42f, leaf);
    for (int i = 0; i < n; i++)
      ball(b, uniform(r, -0.3f, 0.3f), h + uniform(r, 0.2f, 0.7f), uniform(r, -0.3f, 0.3f), 0.28f, 0.26f, 0.28f, leaf);
  }
}

static void teapot(builder *b, rng *r)
{
  int m = any(b, r, 0.4f), lid = below(r, 2) ? m : any(b, r, 0.4f);
  float h = uniform(r, 0.5f, 0.85f), w = uniform(r, 0.42f, 0.6f);
  knot k[7] = {{0, 0}, {0, 0.55f}, {0.15f, 0.85f}, {0.45f, 1}, {0.75f, 0.85f}, {0.95f, 0.5f}, {1, 0.42f}};
  lathe(b, 0, 0, 0, k, 7, h, w, m);
  knot q[5] = {{0, 0.5f}, {0.4f, 0.35f}, {0.6f, 0.08f}, {0.8f, 0.13f}, {1, 0}};
  lathe(b, 0, h, 0, q, 5, 0.25f, w, lid);
  bar(b, -w * 0.8f, h * 0.35f, 0, -w * 1.5f, h * 0.9f, 0, 0.12f, 0.055f, m);
  arc(b, w * 0.85f, h * 0.5f, w * 0.55f, h * 0.33f, -PI / 2, PI / 2, 0.055f, lid);
}

static void toy_animal(builder *b, rng *r)
{
  int m = any(b, r, 0.1f), other = any(b, r, 0.1f), dark = rgb(b, 0.05f, 0.05f, 0.06f, 0.4f);
  float l = uniform(r, 0.4f, 0.6f), h = uniform(r, 0.22f, 0.36f), leg = uniform(r, 0.2f, 0.55f), neck = uniform(r, 0, 0.5f), head = uniform(r, 0.17f, 0.27f);
  float y = leg + h * 0.8f, hz = l + head * 0.5f, hy = y + h * 0.6f + neck;
  ball(b, 0, y, 0, h * 0.9f, h, l, m);
  for (int s = -1; s <= 1; s += 2)
    for (int t = -1; t <= 1; t += 2) bar(b, (float)s * h * 0.5f, y - h * 0.3f, (float)t * l * 0.6f, (float)s * h * 0.5f, 0, (float)t * l * 0.6f, 0.1f, 0.09f, m);
  bar(b, 0, y, l * 0.7f, 0, hy, hz - head * 0.3f, h * 0.5f, head * 0.6f, m);
  ball(b, 0, hy, hz, head, head, head * 1.1f, m);
  ball(b, 0, hy - head * 0.25f, hz + head * 0.9f, head * 0.5f, head * 0.42f, head * uniform(r, 0.3f, 0.7f), other);
  float ear = uniform(r, 0.1f, 0.35f);
  for (int s = -1; s <= 1; s += 2) {
    ball(b, (float)s * head * 0.45f, hy + head * 0.3f, hz + head * 0.85f, 0.04f, 0.045f, 0.04f, dark);
    ball(b, (float)s * head * 0.8f, hy + head * 0.7f + ear * 0.4f, hz - head * 0.2f, 0.08f, ear, 0.05f, other);
  }
  bar(b, 0, y + h * 0.3f, -l * 0.9f, 0, y + h * uniform(r, -0.2f, 1.6f), -l * 1.4f, 0.06f, 0.04f, other);
}

static void rocket(builder *b, rng *r)
{
  int m = any(b, r, 0.4f), fin = any(b, r, 0.3f), win = rgb(b, 0.55f, 0.8f, 0.95f, 0.5f);
  float h = uniform(r, 1.2f, 1.8f), w = uniform(r, 0.24f, 0.38f);
  knot k[5] = {{0.08f, 0}, {0.08f, 0.7f}, {0.3f, 1}, {0.6f, 0.95f}, {0.75f, 0.75f}};
  lathe(b, 0, 0, 0, k, 5, h, w, m);
  knot n[3] = {{0.75f, 0.75f}, {0.88f, 0.45f}, {1, 0.02f}};
  lathe(b, 0, 0, 0, n, 3, h, w, fin);
  for (int i = 0; i < 4; i++) {
    float a = PI / 2 * (float)i + 0.4f, c = cosf(a), s = sinf(a);
    float p[4][3] = {{c * w * 0.7f, h * 0.4f, s * w * 0.7f}, {c * w * 1.9f, 0, s * w * 1.9f}, {c * w * 1.5f, 0, s * w * 1.5f}, {c * w * 0.6f, h * 0.1f, s * w * 0.6f}};
    quad(b, (const float (*)[3])p, fin);
  }
  for (int i = 0; i < 2; i++) ball(b, 0, h * (0.45f + 0.17f * (float)i), w * 0.9f, 0.1f, 0.1f, 0.06f, win);
}

static void boat(builder *b, rng *r)
{
  int hull = any(b, r, 0.2f), sail = any(b, r, 0), mast = rgb(b, 0.5f, 0.35f, 0.2f, 0);
  float l = uniform(r, 0.6f, 0.85f), h = uniform(r, 0.2f, 0.3f), t = uniform(r, 0.9f, 1.3f);
  block(b, 0, 0, h, 0, l * 0.75f, 0.18f, 1.3f, 1.5f, hull);
  bar(b, 0, h, 0, 0, h + t, 0, 0.03f, 0.02f, mast);
  float p[4][3] = {{0.04f, h + 0.08f, 0.02f}, {l * 0.8f, h + 0.1f, 0.1f}, {0.04f, h + t * 0.97f, 0.02f}, {0.04f, h + 0.5f * t, 0.01f}};
  quad(b, (const float (*)[3])p, sail);
  float q[4][3] = {{-0.05f, h + t * 0.9f, 0}, {-l * 0.75f, h + 0.08f, 0.06f}, {-0.05f, h + 0.08f, 0}, {-0.05f, h + 0.4f * t, 0}};
  quad(b, (const float (*)[3])q, sail);
}

static void beach_ball(builder *b, rng *r)
{
  int m = any(b, r, 0.3f);
  b->materials[m].pattern = 1 + below(r, PATTERN_COUNTS - 1);
  b->materials[m].pattern_scale = uniform(r, 5, 10);
  palette_colour(b->materials[m].kd2, below(r, COLOUR_COUNTS), r);
  ball(b, 0, 0.5f, 0, 0.5f, 0.5f, 0.5f, m);
}

static void mushroom(builder *b, rng *r)
{
  int stem = rgb(b, 0.93f, 0.88f, 0.78f, 0), cap = any(b, r, 0.2f), dot = rgb(b, 0.97f, 0.96f, 0.93f, 0);
  float h = uniform(r, 0.4f, 0.75f), w = uniform(r, 0.4f, 0.62f), ch = uniform(r, 0.3f, 0.55f);
  knot k[3] = {{0, 1}, {0.5f, 0.75f}, {1, 0.8f}};
  lathe(b, 0, 0, 0, k, 3, h, uniform(r, 0.13f, 0.22f), stem);
  knot q[6] = {{0, 0}, {-0.05f, 1}, {0.2f, 0.97f}, {0.6f, 0.75f}, {0.9f, 0.35f}, {1, 0}};
  lathe(b, 0, h, 0, q, 6, ch, w, cap);
  for (int i = 0; i < 7; i++) {
    float a = 2 * PI * (float)i / 7, e = i & 1 ? 0.3f : 0.62f, rr = w * (i & 1 ? 0.9f : 0.68f);
    ball(b, cosf(a) * rr, h + ch * e, sinf(a) * rr, 0.07f, 0.06f, 0.07f, dot);
  }
}

static void ice_cream(builder *b, rng *r)
{
  int cone = rgb(b, 0.85f, 0.62f, 0.32f, 0), n = 1 + below(r, 3);
  b->materials[cone].pattern = PATTERN_CHECKS;
  b->materials[cone].pattern_scale = 18;
  float d[3] = {0.72f, 0.5f, 0.24f};
  memcpy(b->materials[cone].kd2, d, sizeof d);
  knot k[2] = {{0, 0.05f}, {1, 1}};
  lathe(b, 0, 0, 0, k, 2, 0.9f, 0.34f, cone);
  for (int i = 0; i < n; i++) ball(b, 0, 0.98f + (float)i * 0.36f, 0, 0.38f - 0.04f * (float)i, 0.33f, 0.38f - 0.04f * (float)i, any(b, r, 0.1f));
}

static void bottle(builder *b, rng *r)
{
  int m = any(b, r, 0.5f), label = any(b, r, 0), cap = any(b, r, 0.3f);
  float h = uniform(r, 1, 1.5f), w = uniform(r, 0.2f, 0.34f), s = uniform(r, 0.5f, 0.7f), n = uniform(r, 0.3f, 0.5f);
  knot k[6] = {{0, 0}, {0, 1}, {s, 1}, {s + 0.12f, n}, {0.93f, n}, {0.93f, 0}};
  lathe(b, 0, 0, 0, k, 6, h, w, m);
  knot q[2] = {{0.18f, 1.02f}, {s * 0.85f, 1.02f}};
  lathe(b, 0, 0, 0, q, 2, h, w, label);
  knot c[4] = {{0.9f, n * 1.15f}, {1, n * 1.15f}, {1, 0}, {1, 0}};
  lathe(b, 0, 0, 0, c, 4, h, w, cap);
}

static void plane(builder *b, rng *r)
{
  int m = any(b, r, 0.4f), wing = any(b, r, 0.3f), glass = rgb(b, 0.5f, 0.75f, 0.9f, 0.6f), dark = rgb(b, 0.15f, 0.15f, 0.16f, 0.2f);
  float l = uniform(r, 0.7f, 0.95f), w = uniform(r, 0.14f, 0.22f), span = uniform(r, 0.75f, 1.05f), y = 0.4f;
  ball(b, 0, y, 0, w, w, l, m);
  block(b, 0, y - 0.02f, y + 0.03f, 0.1f, span, 0.2f, 1, 0.9f, wing);
  block(b, 0, y + 0.03f, y + 0.06f, -l * 0.85f, span * 0.38f, 0.11f, 1, 1, wing);
  block(b, 0, y + 0.05f, y + 0.42f, -l * 0.85f, 0.025f, 0.15f, 1, 0.6f, wing);
  ball(b, 0, y + w * 0.8f, l * 0.3f, w * 0.6f, w * 0.5f, l * 0.2f, glass);
  block(b, 0, y - 0.22f, y + 0.22f, l * 1.02f, 0.03f, 0.012f, 1, 1, dark);
  for (int s = -1; s <= 1; s += 2) {
    bar(b, (float)s * 0.1f, y - w * 0.5f, 0.2f, (float)s * 0.2f, 0.1f, 0.25f, 0.02f, 0.02f, dark);
    wheel(b, (float)s * 0.22f, 0.09f, 0.25f, 0.09f, 0.03f, dark, wing);
  }
}

static void tower(builder *b, rng *r)
{
  int wall = any(b, r, 0), roof = any(b, r, 0.1f), dark = rgb(b, 0.16f, 0.12f, 0.1f, 0);
  float h = uniform(r, 1, 1.5f), w = uniform(r, 0.26f, 0.38f);
  knot k[6] = {{0, 0}, {0, 1.1f}, {0.1f, 1}, {0.82f, 0.92f}, {0.86f, 1.2f}, {1, 1.2f}};
  lathe(b, 0, 0, 0, k, 6, h, w, wall);
  knot q[3] = {{0, 0}, {0, 1}, {1, 0.02f}};
  lathe(b, 0, h, 0, q, 3, uniform(r, 0.4f, 0.7f), w * 1.35f, roof);
  block(b, 0, 0, h * 0.25f, w * 0.98f, 0.1f, 0.05f, 1, 1, dark);
  for (int i = 0; i < 2; i++) block(b, 0, h * (0.4f + 0.22f * (float)i), h * (0.5f + 0.22f * (float)i), w * 0.94f, 0.05f, 0.03f, 1, 1, dark);
}

static void flower(builder *b, rng *r)
{
  int stem = rgb(b, 0.2f, 0.5f, 0.18f, 0), petal = any(b, r, 0), heart = below(r, 2) ? plain(b, r, COLOUR_YELLOW) : plain(b, r, COLOUR_BROWN), n = 5 + below(r, 5);
  float h = uniform(r, 0.8f, 1.2f), l = uniform(r, 0.16f, 0.28f);
  bar(b, 0, 0, 0, 0, h, 0, 0.03f, 0.03f, stem);
  for (int s = -1; s <= 1; s += 2) ball(b, (float)s * 0.16f, h * 0.35f, 0, 0.16f, 0.05f, 0.08f, stem);
  for (int i = 0; i < n; i++) {
    float a = 2 * PI * (float)i / (float)n;
    ball(b, cosf(a) * l, h + sinf(a) * l, 0.03f, l * 0.62f, l * 0.62f, 0.04f, petal);
  }
  ball(b, 0, h, 0.06f, l * 0.6f, l * 0.6f, 0.07f, heart);
}

static void gift(builder *b, rng *r)
{
  int m = any(b, r, 0.1f), ribbon = any(b, r, 0.3f);
  float w = uniform(r, 0.35f, 0.55f), d = uniform(r, 0.35f, 0.5f), h = uniform(r, 0.4f, 0.8f);
  block(b, 0, 0, h, 0, w, d, 1, 1, m);
  block(b, 0, 0, h * 1.01f, 0, w * 0.14f, d * 1.02f, 1, 1, ribbon);
  block(b, 0, 0, h * 1.01f, 0, w * 1.02f, d * 0.14f, 1, 1, ribbon);
  for (int s = -1; s <= 1; s += 2) ball(b, (float)s * 0.13f, h + 0.09f, 0, 0.14f, 0.09f, 0.06f, ribbon);
}

static void duck(builder *b, rng *r)
{
  int m = below(r, 2) ? plain(b, r, COLOUR_YELLOW) : any(b, r, 0.2f), beak = plain(b, r, COLOUR_ORANGE), dark = rgb(b, 0.03f, 0.03f, 0.03f, 0.5f);
  float l = uniform(r, 0.42f, 0.55f), h = uniform(r, 0.28f, 0.38f), hd = uniform(r, 0.2f, 0.28f), y = h + hd * 1.6f, z = l * 0.6f;
  ball(b, 0, h, 0, h, h, l, m);
  ball(b, 0, y, z, hd, hd, hd, m);
  ball(b, 0, h * 1.4f, -l * 0.9f, h * 0.4f, h * 0.35f, l * 0.3f, m);
  ball(b, 0, y - hd * 0.2f, z + hd * 1.05f, hd * 0.5f, hd * 0.2f, hd * 0.45f, beak);
  for (int s = -1; s <= 1; s += 2) {
    ball(b, (float)s * hd * 0.55f, y + hd * 0.3f, z + hd * 0.75f, 0.045f, 0.05f, 0.04f, dark);
    ball(b, (float)s * h * 0.9f, h * 1.1f, -l * 0.1f, h * 0.15f, h * 0.5f, l * 0.5f, m);
  }
}

static void pumpkin(builder *b, rng *r)
{
  int m = below(r, 3) ? plain(b, r, COLOUR_ORANGE) : any(b, r, 0.2f), stem = rgb(b, 0.3f, 0.4f, 0.15f, 0), n = 7 + below(r, 4);
  float h = uniform(r, 0.32f, 0.5f), w = uniform(r, 0.3f, 0.42f);
  for (int i = 0; i < n; i++) {
    float a = 2 * PI * (float)i / (float)n;
    ball(b, cosf(a) * w * 0.55f, h, sinf(a) * w * 0.55f, w * 0.62f, h, w * 0.62f, m);
  }
  bar(b, 0, h * 1.7f, 0, 0.06f, h * 2.4f, 0, 0.06f, 0.04f, stem);
}

static void penguin(builder *b, rng *r)
{
  int m = below(r, 2) ? plain(b, r, COLOUR_BLACK) : any(b, r, 0.2f), white = rgb(b, 0.96f, 0.96f, 0.95f, 0.1f), beak = plain(b, r, COLOUR_ORANGE), dark = rgb(b, 0.02f, 0.02f, 0.02f, 0.5f);
  float w = uniform(r, 0.3f, 0.42f), h = uniform(r, 0.5f, 0.68f), hd = uniform(r, 0.22f, 0.3f), y = h * 1.9f + hd * 0.3f;
  ball(b, 0, h, 0, w, h, w * 0.9f, m);
  ball(b, 0, h * 0.95f, w * 0.25f, w * 0.78f, h * 0.85f, w * 0.72f, white);
  ball(b, 0, y, 0, hd, hd, hd, m);
  ball(b, 0, y - hd * 0.15f, hd, 0.07f, 0.05f, 0.13f, beak);
  for (int s = -1; s <= 1; s += 2) {
    ball(b, (float)s * hd * 0.42f, y + hd * 0.25f, hd * 0.75f, 0.075f, 0.08f, 0.06f, white);
    ball(b, (float)s * hd * 0.42f, y + hd * 0.25f, hd * 0.97f, 0.035f, 0.04f, 0.03f, dark);
    ball(b, (float)s * w * 1.02f, h * 1.05f, 0, 0.07f, h * 0.5f, 0.14f, m);
    ball(b, (float)s * w * 0.45f, 0.05f, w * 0.5f, 0.13f, 0.05f, 0.2f, beak);
  }
}

static void windmill(builder *b, rng *r)
{
  int wall = any(b, r, 0), roof = any(b, r, 0), blade = rgb(b, 0.93f, 0.91f, 0.86f, 0), door = any(b, r, 0);
  float h = uniform(r, 0.9f, 1.2f), w = uniform(r, 0.3f, 0.4f), l = uniform(r, 0.6f, 0.8f), a0 = uniform(r, 0, PI / 2);
  knot k[2] = {{0, 1}, {1, 0.65f}};
  lathe(b, 0, 0, 0, k, 2, h, w, wall);
  knot q[3] = {{0, 0.75f}, {0.5f, 0.5f}, {1, 0}};
  lathe(b, 0, h, 0, q, 3, 0.3f, w, roof);
  block(b, 0, 0, h * 0.3f, w * 0.95f, 0.09f, 0.04f, 1, 1, door);
  for (int i = 0; i < 4; i++) {
    float a = a0 + PI / 2 * (float)i, c = cosf(a), s = sinf(a), z = w * 0.9f, g = 0.09f;
    float p[4][3] = {{c * 0.1f - s * g, h + s * 0.1f + c * g, z}, {c * l - s * g, h + s * l + c * g, z}, {c * l + s * g, h + s * l - c * g, z}, {c * 0.1f + s * g, h + s * 0.1f - c * g, z}};
    quad(b, (const float (*)[3])p, blade);
  }
  ball(b, 0, h, w * 0.85f, 0.08f, 0.08f, 0.08f, roof);
}

static void bell(builder *b, rng *r)
{
  int m = below(r, 2) ? plain(b, r, COLOUR_YELLOW) : any(b, r, 0.6f), dark = rgb(b, 0.3f, 0.2f, 0.1f, 0.3f);
  b->materials[m].ks = 0.6f;
  knot k[6] = {{0.02f, 0.9f}, {0, 1}, {0.12f, 0.85f}, {0.5f, uniform(r, 0.5f, 0.7f)}, {0.85f, 0.45f}, {1, 0}};
  lathe(b, 0, 0.1f, 0, k, 6, uniform(r, 0.7f, 1), uniform(r, 0.42f, 0.55f), m);
  ball(b, 0, 0.1f, 0, 0.1f, 0.1f, 0.1f, dark);
  ball(b, 0, 1.0f, 0, 0.1f, 0.1f, 0.1f, dark);
}

static const struct { const char *name; void (*build)(builder *b, rng *r); } families[] = {
  {"cup", mug}, {"vase", vase}, {"robot", robot}, {"car", car}, {"house", house}, {"fish", fish}, {"cake", cake}, {"lamp", lamp},
  {"tree", tree}, {"teapot", teapot}, {"toy animal", toy_animal}, {"rocket", rocket}, {"sailing boat", boat}, {"ball", beach_ball},
  {"mushroom", mushroom}, {"ice cream", ice_cream}, {"bottle", bottle}, {"plane", plane}, {"tower", tower}, {"flower", flower},
  {"gift", gift}, {"duck", duck}, {"pumpkin", pumpkin}, {"penguin", penguin}, {"windmill", windmill}, {"bell", bell},
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
