/* draws a batch of jobs: objects on a painted scene, through a style */
#include "raster.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void compose(scratch *s, const job *j, const lighting *l, int ss)
{
  int w = j->size, side = w * ss;
  float inv = 1 / (float)(ss * ss);
  plate *p = &s->p;
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      float c[4] = { 0, 0, 0, 0 }, e = 0;
      for (int v = 0; v < ss; v++)
        for (int u = 0; u < ss; u++) {
          size_t q = (size_t)(y * ss + v) * side + x * ss + u;
          for (int i = 0; i < 4; i++)
            c[i] += s->big[q * 4 + i];
          e += s->edge_big[q];
        }
      size_t k = (size_t)y * w + x;
      float a = c[3] * inv, dark = 1 - l->shadow * s->shadow[k];
      for (int i = 0; i < 3; i++)
        p->rgb[k * 3 + i] = clamp(p->rgb[k * 3 + i] * dark * (1 - a) + c[i] * inv, 0, 1);
      p->mask[k] = a;
      p->edge[k] = clamp(e * inv * (float)ss * 0.9f, 0, 1);
    }
}

static void sprite_ink(float *ink, const uint8_t *mask, int side, int w, float fit, float shift)
{
  int ss = 3;
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      float a = 0;
      for (int i = 0; i < ss * ss; i++) {
        float u =
            (((float)x + ((float)(i % ss) + 0.5f) / (float)ss) / (float)w - 0.5f - shift) / fit +
            0.5f;
        float v =
            (((float)y + ((float)(i / ss) + 0.5f) / (float)ss) / (float)w - 0.5f) / fit + 0.5f;
        if (u < 0 || v < 0 || u >= 1 || v >= 1)
          continue;
        a += (float)mask[(int)(v * (float)side) * side + (int)(u * (float)side)];
      }
      ink[y * w + x] = a / (255.0f * (float)(ss * ss));
    }
}

static int draw(scratch *s, const world *w, const job *j, uint8_t *out, report *rep)
{
  lighting l;
  memset(rep, 0, sizeof *rep);
  rep->box[0] = rep->box[1] = 1;
  rng light = rng_of(j->seed, 1);
  scene_light(&l, j->scene, &light);
  plate *p = &s->p;
  int ss = j->size <= 96 ? 3 : 2, w2 = j->size * j->size;
  p->w = j->size;
  p->j = j;
  p->r = rng_of(j->seed, 3);
  p->seed = (uint32_t)splitmix(j->seed ^ 77);
  if (j->kind[0] == KIND_DRAWING) {
    if (!scratch_reserve(s, 4, j->size * ss, j->size))
      return 0;
    sprite_ink(s->ink, w->sprites + j->object[0], w->sprite_side, j->size, j->fit, j->shift);
    float total = 0;
    for (int i = 0; i < w2; i++)
      total += s->ink[i];
    rep->coverage = total / (float)w2;
    style_drawing(p, j->style, s->ink);
  } else {
    actor actors[2];
    int count = j->relation != RELATION_NONE ? 2 : 1;
    for (int i = 0; i < count; i++)
      if (!actor_cast(&actors[i], s, w, j, i))
        return 0;
    if (!draw_objects(s, w, j, &l, actors, count, ss, rep))
      return 0;
    canvas c = { p->rgb, j->size, 0, rng_of(j->seed, 2), (uint32_t)splitmix(j->seed), 0 };
    /* the higher the camera, the higher the horizon */
    c.horizon = 0.45f - 0.25f * j->elevation + uniform(&c.r, -0.05f, 0.05f);
    memset(p->rgb, 0, (size_t)w2 * 3 * sizeof(float));
    scene_paint(&c, j->scene);
    for (int i = 0; i < w2 * 3; i++)
      p->rgb[i] *= j->brightness;
    compose(s, j, &l, ss);
    scene_front(&c, j->scene);
    style_apply(p, j->style);
  }
  for (int i = 0; i < w2 * 3; i++)
    out[i] = (uint8_t)(clamp(p->rgb[i], 0, 1) * 255.0f + 0.5f);
  return 1;
}

typedef struct {
  const world *w;
  const job *jobs;
  const int64_t *offsets;
  uint8_t *out;
  report *reports;
  int n, first, step, failed;
} share;

static void *work(void *user)
{
  share *sh = user;
  scratch *s = calloc(1, sizeof *s);
  sh->failed = !s;
  if (!s)
    return NULL;
  for (int i = sh->first; i < sh->n; i += sh->step)
    if (!draw(s, sh->w, &sh->jobs[i], sh->out + sh->offsets[i], &sh->reports[i]))
      sh->failed = 1;
  scratch_free(s);
  free(s);
  return NULL;
}

static int valid(const world *w, const job *j)
{
  if (j->scene < 0 || j->scene >= scene_counts || j->style < 0 || j->style >= style_counts ||
      j->size < 8 || j->size > 1024)
    return 0;
  for (int i = 0; i < (j->relation != RELATION_NONE ? 2 : 1); i++) {
    int n = j->kind[i] == KIND_MESH     ? w->meshes_count
            : j->kind[i] == KIND_FAMILY ? family_counts
                                        : INT32_MAX;
    if (j->object[i] < 0 || j->object[i] >= n)
      return 0;
  }
  return 1;
}

/*
 * draws n jobs on the given number of threads; image i goes to out + offsets[i], [size, size, 3]
 *
 * returns 0, or -1 when memory ran out, or i + 1 when job i is malformed
 */
int world_render(const world *w, const job *jobs, int n, int threads, const int64_t *offsets,
                 uint8_t *out, report *reports)
{
  enum { MAX = 256 };
  pthread_t ids[MAX];
  share shares[MAX];
  int started = 0, failed = 0;
  for (int i = 0; i < n; i++)
    if (!valid(w, &jobs[i]))
      return i + 1;
  if (threads > MAX)
    threads = MAX;
  if (threads > n)
    threads = n;
  for (int i = 0; i < threads; i++) {
    shares[i] = (share){ w, jobs, offsets, out, reports, n, i, threads, 0 };
    if (i == threads - 1 || pthread_create(&ids[started], NULL, work, &shares[i]) != 0)
      work(&shares[i]);
    else
      started++;
  }
  for (int i = 0; i < started; i++)
    pthread_join(ids[i], NULL);
  for (int i = 0; i < threads; i++)
    failed |= shares[i].failed;
  return failed ? -1 : 0;
}

size_t world_job_bytes(void)
{
  return sizeof(job);
}

int world_scenes(void)
{
  return scene_counts;
}

int world_styles(void)
{
  return style_counts;
}

int world_families(void)
{
  return family_counts;
}
