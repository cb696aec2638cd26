/* from a job to the pixels of its objects */
#ifndef TOYBOX_RASTER_H
#define TOYBOX_RASTER_H

#include "world.h"

typedef struct {
  const mesh *m;
  material materials[64];
  int materials_count;
  float azimuth;
  float scale[3], offset[3];
  int first; /* of its vertices among the screen's */
} actor;

typedef struct {
  float *screen; /* [vertices, 3]: x, y, 1/z */
  float *flat;   /* [vertices, 3]: the same of the shadow */
  int vertices_cap;
  int32_t *ids; /* [s, s], triangle + 1; bit 30 for the second actor */
  float *zbuf;
  float *big, *edge_big; /* [s, s, 4], [s, s] */
  float *shadow, *blur;
  int side_cap;
  builder build[2];
  mesh meshes[2];
  plate p;
  float *ink;
  int plate_cap;
} scratch;

/* actors.c */
int actor_cast(actor *a, scratch *s, const world *w, const job *j, int which);

/* raster.c */
int scratch_reserve(scratch *s, int vertices, int side, int size);
void scratch_free(scratch *s);
int draw_objects(scratch *s, const world *w, const job *j, const lighting *l, actor *actors,
                 int count, int ss, report *out);

#endif
