/* growing meshes: balls, blocks, bars and turned profiles */
#include "solids.h"

#include <stdlib.h>
#include <string.h>

#define PI 3.14159265f

static int grow(builder *b, int vertices, int triangles)
{
  if (b->vertices + vertices > b->vertices_cap) {
    int cap = (b->vertices + vertices) * 2;
    float *p = realloc(b->p, (size_t)cap * 3 * sizeof *p);
    if (p)
      b->p = p;
    float *n = realloc(b->n, (size_t)cap * 3 * sizeof *n);
    if (n)
      b->n = n;
    float *uv = realloc(b->uv, (size_t)cap * 2 * sizeof *uv);
    if (uv)
      b->uv = uv;
    if (!p || !n || !uv)
      b->failed = 1;
    else
      b->vertices_cap = cap;
  }
  if (b->triangles + triangles > b->triangles_cap) {
    int cap = (b->triangles + triangles) * 2;
    uint32_t *i = realloc(b->index, (size_t)cap * 3 * sizeof *i);
    if (i)
      b->index = i;
    uint8_t *m = realloc(b->mat, (size_t)cap);
    if (m)
      b->mat = m;
    if (!i || !m)
      b->failed = 1;
    else
      b->triangles_cap = cap;
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
  float p[3] = { x, y, z }, n[3] = { nx, ny, nz };
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

int solid_colour(builder *b, const float rgb[3], float shine)
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

int solid_rgb(builder *b, float r, float g, float bl, float shine)
{
  float c[3] = { r, g, bl };
  return solid_colour(b, c, shine);
}

int solid_any(builder *b, rng *r, float shine)
{
  float c[3];
  palette_colour(c, below(r, COLOUR_COUNTS), r);
  int m = solid_colour(b, c, shine);
  if (below(r, 3) == 0) {
    b->materials[m].pattern = 1 + below(r, PATTERN_COUNTS - 1);
    b->materials[m].pattern_scale = uniform(r, 8, 16);
    palette_colour(b->materials[m].kd2, below(r, COLOUR_COUNTS), r);
  }
  return m;
}

int solid_plain(builder *b, rng *r, int c)
{
  float v[3];
  palette_colour(v, c, r);
  return solid_colour(b, v, 0.15f);
}

/* an ellipsoid; squash > 1 makes it boxier */
void solid_ball(builder *b, float x, float y, float z, float rx, float ry, float rz, int mat)
{
  enum { U = 16, V = 9 };
  if (!grow(b, (U + 1) * (V + 1), U * V * 2))
    return;
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

void solid_quad(builder *b, const float p[4][3], int mat)
{
  if (!grow(b, 4, 2))
    return;
  float u[3], v[3], n[3];
  for (int k = 0; k < 3; k++) {
    u[k] = p[1][k] - p[0][k];
    v[k] = p[3][k] - p[0][k];
  }
  if (u[0] * u[0] + u[1] * u[1] + u[2] * u[2] < 1e-9f)
    for (int k = 0; k < 3; k++)
      u[k] = p[2][k] - p[1][k];
  n[0] = u[1] * v[2] - u[2] * v[1];
  n[1] = u[2] * v[0] - u[0] * v[2];
  n[2] = u[0] * v[1] - u[1] * v[0];
  float l = 1 / (sqrtf(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + 1e-9f);
  int q = b->vertices;
  for (int i = 0; i < 4; i++)
    vertex(b, p[i][0], p[i][1], p[i][2], n[0] * l, n[1] * l, n[2] * l);
  triangle(b, q, q + 1, q + 2, mat);
  triangle(b, q, q + 2, q + 3, mat);
}

/* a box of half sizes sx sz from y0 to y1, its top shrunk by tx and tz */
void solid_block(builder *b, float x, float y0, float y1, float z, float sx, float sz, float tx,
                 float tz, int mat)
{
  float v[8][3];
  for (int i = 0; i < 8; i++) {
    float kx = i & 4 ? tx : 1, kz = i & 4 ? tz : 1;
    v[i][0] = x + (i & 1 ? sx : -sx) * kx;
    v[i][1] = i & 4 ? y1 : y0;
    v[i][2] = z + (i & 2 ? sz : -sz) * kz;
  }
  static const int f[6][4] = { { 0, 1, 5, 4 }, { 1, 3, 7, 5 }, { 3, 2, 6, 7 },
                               { 2, 0, 4, 6 }, { 4, 5, 7, 6 }, { 0, 2, 3, 1 } };
  for (int i = 0; i < 6; i++) {
    float p[4][3];
    for (int k = 0; k < 4; k++)
      memcpy(p[k], v[f[i][k]], sizeof p[k]);
    solid_quad(b, (const float(*)[3])p, mat);
  }
}

/* turned on the lathe about the vertical through (x, z) */
void solid_lathe(builder *b, float x, float y, float z, const knot *k, int n, float height,
                 float radius, int mat)
{
  enum { U = 20 };
  if (!grow(b, (U + 1) * n, U * (n - 1) * 2))
    return;
  int base = b->vertices;
  for (int j = 0; j < n; j++) {
    int a = j > 0 ? j - 1 : 0, c = j < n - 1 ? j + 1 : n - 1;
    float dy = (k[c].x - k[a].x) * height, dr = (k[c].r - k[a].r) * radius,
          l = sqrtf(dy * dy + dr * dr) + 1e-9f;
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
void solid_bar(builder *b, float x0, float y0, float z0, float x1, float y1, float z1, float r0,
               float r1, int mat)
{
  enum { U = 10 };
  if (!grow(b, (U + 1) * 2, U * 2))
    return;
  float d[3] = { x1 - x0, y1 - y0, z1 - z0 },
        l = sqrtf(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]) + 1e-9f;
  float h[3] = { 0, 0, 0 };
  h[fabsf(d[1]) > 0.8f * l ? 0 : 1] = 1;
  float u[3] = { d[1] * h[2] - d[2] * h[1], d[2] * h[0] - d[0] * h[2], d[0] * h[1] - d[1] * h[0] };
  float lu = sqrtf(u[0] * u[0] + u[1] * u[1] + u[2] * u[2]) + 1e-9f;
  for (int k = 0; k < 3; k++) {
    u[k] /= lu;
    d[k] /= l;
  }
  float v[3] = { d[1] * u[2] - d[2] * u[1], d[2] * u[0] - d[0] * u[2], d[0] * u[1] - d[1] * u[0] };
  int base = b->vertices;
  for (int i = 0; i <= U; i++) {
    float t = 2 * PI * (float)i / U, ca = cosf(t), sa = sinf(t), n[3];
    for (int k = 0; k < 3; k++)
      n[k] = u[k] * ca + v[k] * sa;
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
void solid_wheel(builder *b, float x, float y, float z, float r, float w, int tyre, int hub)
{
  solid_bar(b, x - w, y, z, x + w, y, z, r, r, tyre);
  for (int s = -1; s <= 1; s += 2) {
    solid_ball(b, x + (float)s * w, y, z, w * 0.1f, r, r, tyre);
    solid_ball(b, x + (float)s * w * 1.08f, y, z, w * 0.12f, r * 0.55f, r * 0.55f, hub);
  }
}

/* a bar bent to an arc in the plane z: handles, hoops */
void solid_arc(builder *b, float x, float y, float rx, float ry, float a0, float a1, float thick,
               int mat)
{
  for (int i = 0; i < 10; i++) {
    float s = mixf(a0, a1, (float)i / 10), t = mixf(a0, a1, (float)(i + 1) / 10);
    solid_bar(b, x + cosf(s) * rx, y + sinf(s) * ry, 0, x + cosf(t) * rx, y + sinf(t) * ry, 0,
              thick, thick, mat);
  }
}
