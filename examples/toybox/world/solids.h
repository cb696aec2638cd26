/* the solids that parametric objects are put together from */
#ifndef TOYBOX_SOLIDS_H
#define TOYBOX_SOLIDS_H

#include "world.h"

typedef struct {
  float x, r;
} knot; /* height and radius of a turned profile */

int solid_colour(builder *b, const float rgb[3], float shine);
int solid_rgb(builder *b, float r, float g, float bl, float shine);
int solid_any(builder *b, rng *r, float shine);
int solid_plain(builder *b, rng *r, int c);
void solid_ball(builder *b, float x, float y, float z, float rx, float ry, float rz, int mat);
void solid_quad(builder *b, const float p[4][3], int mat);
void solid_block(builder *b, float x, float y0, float y1, float z, float sx, float sz, float tx,
                 float tz, int mat);
void solid_lathe(builder *b, float x, float y, float z, const knot *k, int n, float height,
                 float radius, int mat);
void solid_bar(builder *b, float x0, float y0, float z0, float x1, float y1, float z1, float r0,
               float r1, int mat);
void solid_wheel(builder *b, float x, float y, float z, float r, float w, int tyre, int hub);
void solid_arc(builder *b, float x, float y, float rx, float ry, float a0, float a1, float thick,
               int mat);

#endif
