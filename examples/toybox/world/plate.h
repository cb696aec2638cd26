/* what the styles share: brushes and measures on a plate, and the styles themselves */
#ifndef TOYBOX_PLATE_H
#define TOYBOX_PLATE_H

#include "world.h"

/* plate.c; pictures are [w, w, 3] */
float plate_knob(const plate *p, int i, float lo, float hi);
const float *plate_at(const plate *p, const float *img, int x, int y);
void plate_set(plate *p, int i, float r, float g, float b);
void plate_mix(plate *p, int i, float r, float g, float b, float a);
void plate_keep(plate *p, float *to);
void plate_blur(plate *p, float *img, float *tmp, int r);
void saturate(float *c, float s);
void plate_contours(const plate *p, const float *src, float *out, float scene_gain);
void plate_stroke(plate *p, const float *col, float x, float y, float dx, float dy, float rad,
                  float alpha);
void plate_cell_mean(const plate *p, const float *src, int x0, int y0, int x1, int y1,
                     float out[3]);

/* styles_paint.c, styles_tile.c, styles_line.c */
void style_photo(plate *p);
void style_oil(plate *p);
void style_watercolour(plate *p);
void style_pointillist(plate *p);
void style_crayon(plate *p);
void style_low_poly(plate *p);
void style_sepia(plate *p);
void style_black_and_white(plate *p);
void style_pixel_art(plate *p);
void style_stained_glass(plate *p);
void style_cross_stitch(plate *p);
void style_mosaic(plate *p);
void style_pencil(plate *p);
void style_ink(plate *p);
void style_cartoon(plate *p);
void style_engraving(plate *p);
void style_blueprint(plate *p);
void style_neon(plate *p);
void style_chalk(plate *p);
void style_pop_art(plate *p);

#endif
