/*
 * objects by a z-buffer with supersampling
 *
 * An object has unit diagonal and stands on y = 0. The camera looks at it from the side and the
 * projected box is fitted to a given part of the frame; the shadow is the object flattened onto the
 * floor along the light.
 */
#include "raster.h"

#include <stdlib.h>
#include <string.h>

#define CAMERA 2.4f

typedef struct {
  float k, u0, v0, cx, cy, ce, se, target;
} view;

int scratch_reserve(scratch *s, int vertices, int side, int size)
{
  if (vertices > s->vertices_cap) {
    free(s->screen);
    free(s->flat);
    s->screen = malloc((size_t)vertices * 3 * sizeof(float));
    s->flat = malloc((size_t)vertices * 3 * sizeof(float));
    s->vertices_cap = s->screen && s->flat ? vertices : 0;
    if (!s->vertices_cap)
      return 0;
  }
  if (side > s->side_cap) {
    size_t n = (size_t)side * side;
    free(s->ids);
    free(s->zbuf);
    free(s->big);
    free(s->edge_big);
    s->ids = malloc(n * sizeof(int32_t));
    s->zbuf = malloc(n * sizeof(float));
    s->big = malloc(n * 4 * sizeof(float));
    s->edge_big = malloc(n * sizeof(float));
    s->side_cap = s->ids && s->zbuf && s->big && s->edge_big ? side : 0;
    if (!s->side_cap)
      return 0;
  }
  if (size > s->plate_cap) {
    size_t n = (size_t)size * size;
    float **all[9] = { &s->p.rgb, &s->p.edge, &s->p.mask, &s->p.tmp, &s->p.tmp2,
                       &s->ink,   &s->shadow, &s->blur,   NULL };
    s->plate_cap = size;
    for (int i = 0; all[i]; i++) {
      free(*all[i]);
      *all[i] = malloc(n * 4 * sizeof(float));
      if (!*all[i])
        s->plate_cap = 0;
    }
    if (!s->plate_cap)
      return 0;
  }
  return 1;
}

void scratch_free(scratch *s)
{
  float *all[14] = { s->screen, s->flat,  s->zbuf,   s->big, s->edge_big, s->p.rgb, s->p.edge,
                     s->p.mask, s->p.tmp, s->p.tmp2, s->ink, s->shadow,   s->blur,  NULL };
  for (int i = 0; i < 13; i++)
    free(all[i]);
  free(s->ids);
  builder_free(&s->build[0]);
  builder_free(&s->build[1]);
}

static void project(const view *v, const float *p, float out[3])
{
  float y = p[1] - v->target, depth = CAMERA - y * v->se - p[2] * v->ce;
  if (depth < 0.3f)
    depth = 0.3f;
  out[2] = 1 / depth;
  out[0] = (p[0] * out[2] - v->u0) * v->k + v->cx;
  out[1] = (-(y * v->ce - p[2] * v->se) * out[2] - v->v0) * v->k + v->cy;
}

static void placed(const actor *a, float *out, const mesh *m)
{
  float ca = cosf(a->azimuth), sa = sinf(a->azimuth);
  for (int i = 0; i < m->vertices; i++) {
    const float *p = m->p + i * 3;
    float x = p[0] * a->scale[0], z = p[2] * a->scale[2];
    out[i * 3] = ca * x + sa * z + a->offset[0];
    out[i * 3 + 1] = p[1] * a->scale[1] + a->offset[1];
    out[i * 3 + 2] = -sa * x + ca * z + a->offset[2];
  }
}

static void bounds(const float *p, int n, float lo[3], float hi[3])
{
  for (int k = 0; k < 3; k++) {
    lo[k] = 1e9f;
    hi[k] = -1e9f;
  }
  for (int i = 0; i < n; i++)
    for (int k = 0; k < 3; k++) {
      lo[k] = fminf(lo[k], p[i * 3 + k]);
      hi[k] = fmaxf(hi[k], p[i * 3 + k]);
    }
}

static const uint8_t *texel(const uint8_t *base, const material *m, float u, float v)
{
  float fu = u - floorf(u), fv = v - floorf(v);
  int x = (int)(fu * (float)m->w), y = (int)((1 - fv) * (float)m->h);
  if (x >= m->w)
    x = m->w - 1;
  if (y >= m->h)
    y = m->h - 1;
  if (y < 0)
    y = 0;
  return base + m->texture + ((size_t)y * m->w + x) * 4;
}

/* fills ids and zbuf; cut-out textures and thin materials are decided here */
static void raster(scratch *s, const actor *a, int which, const uint8_t *texels,
                   const float *screen, int side, int shadow)
{
  static const uint8_t dither[16] = { 0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5 };
  const mesh *m = a->m;
  for (int t = 0; t < m->triangles; t++) {
    const uint32_t *ix = m->index + (size_t)t * 3;
    const float *A = screen + ix[0] * 3, *B = screen + ix[1] * 3, *C = screen + ix[2] * 3;
    float x0 = fminf(A[0], fminf(B[0], C[0])), x1 = fmaxf(A[0], fmaxf(B[0], C[0]));
    float y0 = fminf(A[1], fminf(B[1], C[1])), y1 = fmaxf(A[1], fmaxf(B[1], C[1]));
    int ix0 = (int)ceilf(x0 - 0.5f), ix1 = (int)floorf(x1 - 0.5f), iy0 = (int)ceilf(y0 - 0.5f),
        iy1 = (int)floorf(y1 - 0.5f);
    if (ix0 < 0)
      ix0 = 0;
    if (iy0 < 0)
      iy0 = 0;
    if (ix1 >= side)
      ix1 = side - 1;
    if (iy1 >= side)
      iy1 = side - 1;
    if (ix0 > ix1 || iy0 > iy1)
      continue;
    float area = (B[0] - A[0]) * (C[1] - A[1]) - (C[0] - A[0]) * (B[1] - A[1]);
    if (fabsf(area) < 1e-6f)
      continue;
    float ia = 1 / area;
    int mi = m->mat[t] < a->materials_count ? m->mat[t] : 0;
    const material *q = &a->materials[mi];
    int cut = q->texture >= 0, thin = q->alpha < 0.95f;
    float w0dx = (B[1] - C[1]) * ia, w1dx = (C[1] - A[1]) * ia;
    for (int y = iy0; y <= iy1; y++) {
      float px = (float)ix0 + 0.5f, py = (float)y + 0.5f;
      float w0 = ((B[0] - px) * (C[1] - py) - (C[0] - px) * (B[1] - py)) * ia;
      float w1 = ((C[0] - px) * (A[1] - py) - (A[0] - px) * (C[1] - py)) * ia;
      size_t k = (size_t)y * side + ix0;
      for (int x = ix0; x <= ix1; x++, k++, w0 += w0dx, w1 += w1dx) {
        float w2 = 1 - w0 - w1;
        if (w0 < -1e-4f || w1 < -1e-4f || w2 < -1e-4f)
          continue;
        float iz = w0 * A[2] + w1 * B[2] + w2 * C[2];
        if (iz <= s->zbuf[k])
          continue;
        if (thin && q->alpha * 16 <= dither[(y & 3) * 4 + (x & 3)])
          continue;
        if (cut) {
          const float *ua = m->uv + ix[0] * 2, *ub = m->uv + ix[1] * 2, *uc = m->uv + ix[2] * 2;
          float q0 = w0 * A[2] / iz, q1 = w1 * B[2] / iz, q2 = w2 * C[2] / iz;
          if (texel(texels, q, q0 * ua[0] + q1 * ub[0] + q2 * uc[0],
                    q0 * ua[1] + q1 * ub[1] + q2 * uc[1])[3] < 110)
            continue;
        }
        s->zbuf[k] = iz;
        s->ids[k] = shadow ? 1 : (t + 1) | (which << 30);
      }
    }
  }
}

static int pattern_at(const material *m, const float *p)
{
  float s = m->pattern_scale, x = p[0] * s, y = p[1] * s, z = p[2] * s;
  switch (m->pattern) {
  case PATTERN_STRIPES:
    return (int)floorf(y) & 1;
  case PATTERN_CHECKS:
    return ((int)floorf(x) + (int)floorf(y) + (int)floorf(z)) & 1;
  case PATTERN_DOTS: {
    x -= floorf(x) + 0.5f;
    y -= floorf(y) + 0.5f;
    z -= floorf(z) + 0.5f;
    return x * x + y * y + z * z < 0.16f;
  }
  default: {
    float f = (x + z) * 0.5f - floorf((x + z) * 0.5f);
    return (int)floorf(y + 1.2f * fabsf(2 * f - 1)) & 1;
  }
  }
}

static void shade(scratch *s, const actor *actors, const world *w, const lighting *l, int side,
                  float brightness, report *out)
{
  float total = 0;
  for (int y = 0; y < side; y++)
    for (int x = 0; x < side; x++) {
      size_t k = (size_t)y * side + x;
      float *px = s->big + k * 4;
      int id = s->ids[k];
      if (!id) {
        px[0] = px[1] = px[2] = px[3] = 0;
        continue;
      }
      int which = id >> 30, t = (id & 0x3fffffff) - 1;
      const actor *a = &actors[which];
      const mesh *m = a->m;
      const uint32_t *ix = m->index + (size_t)t * 3;
      const float *A = s->screen + (a->first + (int)ix[0]) * 3,
                  *B = s->screen + (a->first + (int)ix[1]) * 3,
                  *C = s->screen + (a->first + (int)ix[2]) * 3;
      float area = (B[0] - A[0]) * (C[1] - A[1]) - (C[0] - A[0]) * (B[1] - A[1]),
            fx = (float)x + 0.5f, fy = (float)y + 0.5f;
      float w0 = ((B[0] - fx) * (C[1] - fy) - (C[0] - fx) * (B[1] - fy)) / area;
      float w1 = ((C[0] - fx) * (A[1] - fy) - (A[0] - fx) * (C[1] - fy)) / area, w2 = 1 - w0 - w1;
      float iz = w0 * A[2] + w1 * B[2] + w2 * C[2];
      float q[3] = { w0 * A[2] / iz, w1 * B[2] / iz, w2 * C[2] / iz };
      int mi = m->mat[t] < a->materials_count ? m->mat[t] : 0;
      const material *mat = &a->materials[mi];
      float n[3] = { 0, 0, 0 }, p[3] = { 0, 0, 0 }, u = 0, v = 0;
      for (int i = 0; i < 3; i++) {
        const float *pn = m->n + ix[i] * 3, *pp = m->p + ix[i] * 3, *pu = m->uv + ix[i] * 2;
        for (int c = 0; c < 3; c++) {
          n[c] += q[i] * pn[c];
          p[c] += q[i] * pp[c];
        }
        u += q[i] * pu[0];
        v += q[i] * pu[1];
      }
      float kd[3] = { mat->kd[0], mat->kd[1], mat->kd[2] };
      if (mat->texture >= 0) {
        const uint8_t *e = texel(mat->unlit ? w->sprites : w->texels, mat, u, v);
        float tex[3] = { (float)e[0] / 255, (float)e[1] / 255, (float)e[2] / 255 };
        float g = mat->tint ? 0.35f + 0.9f * luma(tex) : 0;
        for (int c = 0; c < 3; c++)
          kd[c] = mat->tint ? kd[c] * g : tex[c];
      }
      if (mat->pattern && pattern_at(mat, p))
        memcpy(kd, mat->kd2, sizeof kd);
      if (!mat->unlit)
        for (int c = 0; c < 3; c++)
          kd[c] = 0.04f + 0.93f * kd[c];
      if (mat->unlit) {
        for (int c = 0; c < 3; c++)
          px[c] = kd[c] * clamp(0.35f + 0.65f * (l->sun[c] * 0.75f + l->ambient[c]), 0.3f, 1) *
                  brightness;
        px[3] = 1;
      } else {
        float ca = cosf(a->azimuth), sa = sinf(a->azimuth);
        for (int c = 0; c < 3; c++)
          n[c] /= a->scale[c];
        float nx = ca * n[0] + sa * n[2], ny = n[1], nz = -sa * n[0] + ca * n[2],
              nl = 1 / sqrtf(nx * nx + ny * ny + nz * nz + 1e-12f);
        nx *= nl;
        ny *= nl;
        nz *= nl;
        if (nz * 0.97f + ny * 0.25f < 0) {
          nx = -nx;
          ny = -ny;
          nz = -nz;
        }
        float d = nx * l->light.x + ny * l->light.y + nz * l->light.z, up = 0.5f + 0.5f * ny;
        float hx = l->light.x, hy = l->light.y + 0.25f, hz = l->light.z + 0.97f,
              hl = 1 / sqrtf(hx * hx + hy * hy + hz * hz);
        float h = (nx * hx + ny * hy + nz * hz) * hl, spec = 0;
        if (d < 0)
          d = 0;
        else if (h > 0 && mat->ks > 0.01f)
          spec = clamp(mat->ks, 0, 0.5f) * powf(h, clamp(mat->ns, 8, 90));
        float low = 0.72f + 0.28f * smooth(0, 0.2f, p[1]);
        for (int c = 0; c < 3; c++)
          px[c] = (kd[c] * (l->ambient[c] * (0.55f + 0.45f * up) * low + l->sun[c] * d) +
                   spec * l->sun[c]) *
                  brightness;
        px[3] = 1;
      }
      if (which == 0) {
        float white[3];
        for (int c = 0; c < 3; c++)
          white[c] =
              clamp(px[c] / (brightness * (0.75f * l->ambient[c] + 0.62f * l->sun[c])), 0, 1);
        out->colours[colour_of(white)] += 1;
        out->patterns[mat->pattern] += 1;
        total += 1;
        float u0 = fx / (float)side, v0 = fy / (float)side;
        out->box[0] = fminf(out->box[0], u0);
        out->box[1] = fminf(out->box[1], v0);
        out->box[2] = fmaxf(out->box[2], u0);
        out->box[3] = fmaxf(out->box[3], v0);
      }
    }
  out->coverage = total / ((float)side * (float)side);
  if (total > 0) {
    for (int i = 0; i < COLOUR_COUNTS; i++)
      out->colours[i] /= total;
    for (int i = 0; i < PATTERN_COUNTS; i++)
      out->patterns[i] /= total;
  }
}

/* lines where the depth jumps or the surface turns */
static void outline(scratch *s, int side)
{
  for (int y = 0; y < side; y++)
    for (int x = 0; x < side; x++) {
      size_t k = (size_t)y * side + x;
      float e = 0, z = s->zbuf[k];
      const float *c = s->big + k * 4;
      for (int d = 0; d < 2; d++) {
        int nx = x + !d, ny = y + d;
        if (nx >= side || ny >= side)
          continue;
        size_t q = (size_t)ny * side + nx;
        if ((s->ids[k] != 0) != (s->ids[q] != 0))
          e = 1;
        else if (s->ids[k]) {
          float dz = fabsf(1 / z - 1 / s->zbuf[q]);
          e = fmaxf(e, smooth(0.02f, 0.05f, dz));
          const float *o = s->big + q * 4;
          float dl = fabsf(c[0] - o[0]) + fabsf(c[1] - o[1]) + fabsf(c[2] - o[2]);
          e = fmaxf(e, 0.8f * smooth(0.35f, 0.8f, dl));
        }
      }
      s->edge_big[k] = e;
    }
}

static void box_blur(float *img, float *tmp, int w, int radius)
{
  for (int pass = 0; pass < 2; pass++)
    for (int axis = 0; axis < 2; axis++) {
      for (int y = 0; y < w; y++) {
        float sum = 0;
        int step = axis ? w : 1, base = axis ? y : y * w;
        for (int x = -radius; x <= radius; x++)
          sum += img[base + (x < 0 ? 0 : x >= w ? w - 1 : x) * step];
        for (int x = 0; x < w; x++) {
          tmp[base + x * step] = sum / (float)(2 * radius + 1);
          int in = x + radius + 1, out = x - radius;
          sum += img[base + (in >= w ? w - 1 : in) * step] - img[base + (out < 0 ? 0 : out) * step];
        }
      }
      memcpy(img, tmp, (size_t)w * w * sizeof *img);
    }
}

int draw_objects(scratch *s, const world *w, const job *j, const lighting *l, actor *actors,
                 int count, int ss, report *out)
{
  int size = j->size, side = size * ss, vertices = 0;
  for (int i = 0; i < count; i++) {
    actors[i].first = vertices;
    vertices += actors[i].m->vertices;
  }
  if (!scratch_reserve(s, vertices, side, size))
    return 0;
  float lo[3], hi[3];
  for (int i = 0; i < count; i++)
    placed(&actors[i], s->screen + actors[i].first * 3, actors[i].m);
  if (count == 2) {
    float lo2[3], hi2[3];
    bounds(s->screen, actors[0].m->vertices, lo, hi);
    bounds(s->screen + actors[1].first * 3, actors[1].m->vertices, lo2, hi2);
    actor *b = &actors[1];
    if (j->relation == RELATION_NEXT_TO) {
      b->offset[0] = hi[0] - lo2[0] + 0.06f;
    } else {
      /* the first stands on the second, which is shrunk to a pedestal of the same width */
      float k = 1.1f * (hi[0] - lo[0]) / fmaxf(hi2[0] - lo2[0], 0.05f);
      k = clamp(k, 0.5f, 1.6f);
      for (int c = 0; c < 3; c++)
        b->scale[c] *= k;
      actors[0].offset[1] = hi2[1] * k;
    }
    for (int i = 0; i < count; i++)
      placed(&actors[i], s->screen + actors[i].first * 3, actors[i].m);
  }
  bounds(s->screen, vertices, lo, hi);
  for (int i = 0; i < vertices; i++)
    s->screen[i * 3] -= (lo[0] + hi[0]) / 2;
  for (int i = 0; i < vertices; i++) {
    float *p = s->screen + i * 3, *f = s->flat + i * 3;
    f[0] = p[0] - l->light.x * p[1] / l->light.y;
    f[1] = 0.0005f * p[1];
    f[2] = p[2] - l->light.z * p[1] / l->light.y;
  }
  view v = { 1, 0, 0, 0, 0, cosf(j->elevation), sinf(j->elevation), (hi[1] - lo[1]) / 2 };
  float x0 = 1e9f, x1 = -1e9f, y0 = 1e9f, y1 = -1e9f;
  for (int i = 0; i < vertices; i++) {
    float *p = s->screen + i * 3, q[3];
    project(&v, p, q);
    memcpy(p, q, sizeof q);
    x0 = fminf(x0, q[0]);
    x1 = fmaxf(x1, q[0]);
    y0 = fminf(y0, q[1]);
    y1 = fmaxf(y1, q[1]);
  }
  float extent = fmaxf(fmaxf(x1 - x0, y1 - y0), 1e-6f), k = j->fit * (float)side / extent;
  float bottom = l->floating ? 0.5f + 0.5f * k * (y1 - y0) / (float)side
                             : fminf(0.93f, 0.5f + 0.5f * k * (y1 - y0) / (float)side + 0.12f);
  v.k = k;
  v.u0 = (x0 + x1) / 2;
  v.v0 = y1;
  v.cx = (float)side * (0.5f + j->shift);
  v.cy = (float)side * bottom;
  for (int i = 0; i < vertices; i++) {
    float *p = s->screen + i * 3, *f = s->flat + i * 3, q[3];
    p[0] = (p[0] - v.u0) * k + v.cx;
    p[1] = (p[1] - v.v0) * k + v.cy;
    project(&v, f, q);
    memcpy(f, q, sizeof q);
  }
  size_t n = (size_t)side * side;
  if (!l->floating && l->shadow > 0) {
    /* the shadow is soft, so one sample a pixel does */
    for (int i = 0; i < vertices; i++) {
      s->flat[i * 3] /= (float)ss;
      s->flat[i * 3 + 1] /= (float)ss;
    }
    memset(s->ids, 0, (size_t)size * size * sizeof(int32_t));
    memset(s->zbuf, 0, (size_t)size * size * sizeof(float));
    for (int i = 0; i < count; i++)
      raster(s, &actors[i], i, actors[i].materials[0].unlit ? w->sprites : w->texels,
             s->flat + actors[i].first * 3, size, 1);
    for (int i = 0; i < size * size; i++)
      s->shadow[i] = s->ids[i] ? 1.0f : 0.0f;
    box_blur(s->shadow, s->blur, size, size / 64 > 0 ? size / 64 : 1);
  } else {
    memset(s->shadow, 0, (size_t)size * size * sizeof(float));
  }
  memset(s->ids, 0, n * sizeof(int32_t));
  memset(s->zbuf, 0, n * sizeof(float));
  for (int i = 0; i < count; i++)
    raster(s, &actors[i], i, actors[i].materials[0].unlit ? w->sprites : w->texels,
           s->screen + actors[i].first * 3, side, 0);
  shade(s, actors, w, l, side, j->brightness, out);
  outline(s, side);
  return 1;
}
