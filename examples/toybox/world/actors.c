/* the things of a job, dressed: meshes, parametric families, and drawings on a card */
#include "raster.h"

#include <string.h>

static const float card_p[12] = { -0.5f, 0, 0, 0.5f, 0, 0, 0.5f, 1, 0, -0.5f, 1, 0 };
static const float card_n[12] = { 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1 };
static const float card_uv[8] = { 0, 0, 1, 0, 1, 1, 0, 1 };
static const uint32_t card_index[6] = { 0, 1, 2, 0, 2, 3 };
static const uint8_t card_mat[2] = { 0, 0 };

/* random colours and patterns on the materials, random proportions on the whole */
static void dress(actor *a, uint64_t look)
{
  rng r = rng_of(look, 0xd5e55);
  float main_colour[3], second[3], third[3];
  palette_colour(main_colour, below(&r, COLOUR_COUNTS), &r);
  palette_colour(second, below(&r, COLOUR_COUNTS), &r);
  palette_colour(third, below(&r, COLOUR_COUNTS), &r);
  int pattern = below(&r, 5) < 2 ? 1 + below(&r, PATTERN_COUNTS - 1) : PATTERN_PLAIN;
  float scale = uniform(&r, 9, 18);
  for (int i = 0; i < a->materials_count; i++) {
    material *m = &a->materials[i];
    int pick = i == 0 ? 0 : below(&r, 10);
    int keep_light = m->texture >= 0 && below(&r, 2);
    if (pick >= 8)
      continue;
    const float *c = pick < 5 ? main_colour : pick < 7 ? second : third;
    memcpy(m->kd, c, sizeof m->kd);
    m->alpha = fmaxf(m->alpha, 0.6f);
    m->tint = keep_light;
    if (m->texture >= 0 && !keep_light)
      m->texture = -1 - m->texture - 1;
    if (pick < 5 && pattern != PATTERN_PLAIN) {
      m->pattern = pattern;
      m->pattern_scale = scale;
      memcpy(m->kd2, second, sizeof m->kd2);
    }
  }
  for (int k = 0; k < 3; k++)
    a->scale[k] = uniform(&r, 0.85f, 1.18f);
}

static void normalise(builder *b)
{
  float lo[3] = { 1e9f, 1e9f, 1e9f }, hi[3] = { -1e9f, -1e9f, -1e9f }, d = 0;
  for (int i = 0; i < b->vertices * 3; i++) {
    lo[i % 3] = fminf(lo[i % 3], b->p[i]);
    hi[i % 3] = fmaxf(hi[i % 3], b->p[i]);
  }
  for (int k = 0; k < 3; k++)
    d += (hi[k] - lo[k]) * (hi[k] - lo[k]);
  d = 1 / sqrtf(d);
  for (int i = 0; i < b->vertices * 3; i++) {
    int k = i % 3;
    b->p[i] = (b->p[i] - (k == 1 ? lo[1] : (lo[k] + hi[k]) / 2)) * d;
  }
}

int actor_cast(actor *a, scratch *s, const world *w, const job *j, int which)
{
  int kind = j->kind[which], object = j->object[which];
  memset(a, 0, sizeof *a);
  a->azimuth = j->azimuth[which];
  a->scale[0] = a->scale[1] = a->scale[2] = 1;
  if (kind == KIND_MESH) {
    a->m = &w->meshes[object];
  } else if (kind == KIND_FAMILY) {
    builder *b = &s->build[which];
    family_build(b, object, j->look[which]);
    if (b->failed)
      return 0;
    normalise(b);
    s->meshes[which] = (mesh){ b->p,         b->n,        b->uv,        b->index,           b->mat,
                               b->materials, b->vertices, b->triangles, b->materials_count, 0 };
    a->m = &s->meshes[which];
  } else {
    s->meshes[which] = (mesh){ card_p, card_n, card_uv, card_index, card_mat, NULL, 4, 2, 1, 0 };
    a->m = &s->meshes[which];
    material *m = &a->materials[0];
    m->alpha = 1;
    m->texture = object;
    m->w = m->h = w->sprite_side;
    m->unlit = 1;
    a->materials_count = 1;
    a->azimuth = 0;
    return 1;
  }
  a->materials_count = a->m->materials_count < 64 ? a->m->materials_count : 64;
  memcpy(a->materials, a->m->materials, (size_t)a->materials_count * sizeof(material));
  if (kind == KIND_MESH && j->look[which])
    dress(a, j->look[which]);
  return 1;
}
