/*
 * The toybox world: types shared by its C files.
 *
 * A job describes one picture; world_render() draws a batch of them. Everything in a picture is a
 * function of its job: no clock, no global state, no order of threads.
 */
#ifndef TOYBOX_WORLD_H
#define TOYBOX_WORLD_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

enum { KIND_MESH, KIND_EMOJI, KIND_DRAWING, KIND_FAMILY };
enum { RELATION_NONE, RELATION_NEXT_TO, RELATION_ON_TOP };
enum {
  PATTERN_PLAIN,
  PATTERN_STRIPES,
  PATTERN_CHECKS,
  PATTERN_DOTS,
  PATTERN_ZIGZAG,
  PATTERN_COUNTS
};
enum {
  COLOUR_RED,
  COLOUR_ORANGE,
  COLOUR_YELLOW,
  COLOUR_GREEN,
  COLOUR_BLUE,
  COLOUR_PURPLE,
  COLOUR_PINK,
  COLOUR_BROWN,
  COLOUR_BLACK,
  COLOUR_GREY,
  COLOUR_WHITE,
  COLOUR_COUNTS
};

typedef struct {
  float x, y, z;
} vec3;
typedef struct {
  uint64_t state;
} rng;

typedef struct {
  float kd[3];
  float ks, ns, alpha;
  int32_t texture; /* byte offset of RGBA texels, or -1 */
  int32_t w, h;
  int32_t pattern;
  float kd2[3]; /* the pattern's second colour */
  float pattern_scale;
  int32_t tint; /* multiply the texture's lightness by kd instead of replacing kd */
  int32_t unlit;
} material;

typedef struct {
  const float *p, *n, *uv; /* [vertices, 3], [vertices, 3], [vertices, 2] */
  const uint32_t *index;   /* [triangles, 3] */
  const uint8_t *mat;      /* [triangles] */
  const material *materials;
  int32_t vertices, triangles, materials_count, pad;
} mesh;

typedef struct {
  const mesh *meshes;
  const uint8_t *texels;
  const uint8_t *sprites; /* an emoji's or drawing's object is its byte offset in here */
  int32_t meshes_count, sprite_side;
} world;

typedef struct {
  uint64_t seed;              /* ground, light, strokes */
  uint64_t look[2];           /* recolouring and proportions of each object; 0: as it came */
  int32_t kind[2], object[2]; /* the second is used when relation is not RELATION_NONE */
  float azimuth[2];           /* radians */
  int32_t relation;
  int32_t scene, style, size;
  float elevation, fit; /* radians; part of the frame that the objects fill */
  float shift;          /* to the side, in frames */
  float brightness;
  float style_p[4]; /* each style's own, 0..1 */
} job;

typedef struct {
  float colours[COLOUR_COUNTS]; /* share of the first object's pixels */
  float patterns[PATTERN_COUNTS];
  float coverage; /* part of the frame */
  float box[4];   /* x0 y0 x1 y1, 0..1 */
} report;

typedef struct {
  vec3 light; /* towards the light */
  float sun[3], ambient[3];
  float shadow; /* 0..1 */
  int floating; /* no ground: nothing casts a shadow */
} lighting;

typedef struct {
  float *rgb; /* [w, w, 3], 0..1 */
  int w;
  float horizon; /* 0..1 from the top */
  rng r;
  uint32_t seed;
  int shade; /* index into the plain grounds' colours */
} canvas;

/* pictures of one job on their way through the styles, all [w, w] */
typedef struct {
  int w;
  float *rgb;        /* [w, w, 3] */
  float *edge;       /* outlines and creases of the objects, 0..1 */
  float *mask;       /* objects, 0..1 */
  float *tmp, *tmp2; /* [w, w, 4] */
  const job *j;
  rng r;
  uint32_t seed;
} plate;

/* a growing mesh, for the parametric families */
typedef struct {
  float *p, *n, *uv;
  uint32_t *index;
  uint8_t *mat;
  int vertices, triangles, vertices_cap, triangles_cap, failed;
  material materials[12];
  int materials_count;
} builder;

static inline uint64_t splitmix(uint64_t x)
{
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

static inline rng rng_of(uint64_t seed, uint64_t purpose)
{
  rng r = { splitmix(seed ^ splitmix(purpose)) };
  return r;
}

static inline uint64_t rng_next(rng *r)
{
  r->state += 0x9e3779b97f4a7c15u;
  return splitmix(r->state);
}

static inline float uniform(rng *r, float lo, float hi)
{
  return lo + (hi - lo) * ((float)(rng_next(r) >> 40) * (1.0f / 16777216.0f));
}

static inline int below(rng *r, int n)
{
  return (int)(rng_next(r) % (uint64_t)n);
}

static inline float clamp(float x, float lo, float hi)
{
  return x < lo ? lo : x > hi ? hi : x;
}

static inline float mixf(float a, float b, float t)
{
  return a + (b - a) * t;
}

static inline float smooth(float lo, float hi, float x)
{
  float t = clamp((x - lo) / (hi - lo), 0, 1);
  return t * t * (3 - 2 * t);
}

static inline float luma(const float *c)
{
  return 0.30f * c[0] + 0.59f * c[1] + 0.11f * c[2];
}

static inline float hash2(int x, int y, uint32_t seed)
{
  uint32_t h = (uint32_t)x * 0x9e3779b1u + (uint32_t)y * 0x85ebca77u + seed * 0xc2b2ae3du;
  h = (h ^ (h >> 15)) * 0x2c1b3c6du;
  h = (h ^ (h >> 12)) * 0x297a2d39u;
  h ^= h >> 15;
  return (float)(h >> 8) * (1.0f / 16777216.0f);
}

static inline float noise2(float x, float y, uint32_t seed)
{
  float fx = floorf(x), fy = floorf(y);
  int ix = (int)fx, iy = (int)fy;
  fx = x - fx;
  fy = y - fy;
  fx = fx * fx * (3 - 2 * fx);
  fy = fy * fy * (3 - 2 * fy);
  float a = mixf(hash2(ix, iy, seed), hash2(ix + 1, iy, seed), fx);
  float b = mixf(hash2(ix, iy + 1, seed), hash2(ix + 1, iy + 1, seed), fx);
  return mixf(a, b, fy);
}

static inline float fbm(float x, float y, uint32_t seed, int octaves)
{
  float sum = 0, a = 0.5f, total = 0;
  for (int o = 0; o < octaves; o++) {
    sum += a * noise2(x, y, seed + (uint32_t)o * 17u);
    total += a;
    a *= 0.5f;
    x *= 2.03f;
    y *= 2.03f;
  }
  return sum / total;
}

/* scenes.c */
extern const int scene_counts;
const char *scene_name(int scene);
const char *scene_phrase(int scene);
void scene_light(lighting *l, int scene, rng *r);
void scene_paint(canvas *c, int scene);
void scene_front(canvas *c, int scene);

/* paint.c */
void paint_sky(canvas *c, uint32_t top, uint32_t bottom);
void paint_clouds(canvas *c, float amount, uint32_t colour);
void paint_ridge(canvas *c, float height, float amp, float freq, uint32_t a, uint32_t b,
                 float snow);
void paint_ground(canvas *c, uint32_t a, uint32_t b, float freq, uint32_t speckle, float amount);
void paint_planks(canvas *c, uint32_t a, uint32_t b, float n);
void paint_tiles(canvas *c, uint32_t a, uint32_t b, float n, uint32_t grout);
void paint_wall(canvas *c, uint32_t a, uint32_t b);
void paint_wall_stripes(canvas *c, uint32_t a, uint32_t b, float n);
void paint_wall_grid(canvas *c, uint32_t a, uint32_t b, uint32_t line, float nx, float ny,
                     int brick);
void paint_disc(canvas *c, float x, float y, float rx, float ry, uint32_t colour, float alpha);
void paint_glow(canvas *c, float x, float y, float r, uint32_t colour, float alpha);
void paint_rect(canvas *c, float x0, float y0, float x1, float y1, uint32_t colour, float alpha);
void paint_poly(canvas *c, const float *xy, int n, uint32_t colour, float alpha);
void paint_line(canvas *c, float x0, float y0, float x1, float y1, float width, uint32_t colour,
                float alpha);

/* families.c */
extern const int family_counts;
const char *family_name(int family);
void family_build(builder *b, int family, uint64_t look);
void builder_free(builder *b);

/* palette.c */
void palette_colour(float out[3], int colour, rng *r);
int colour_of(const float rgb[3]);

/* styles.c */
extern const int style_counts;
const char *style_name(int style);
void style_apply(plate *p, int style);
void style_drawing(plate *p, int style, const float *ink);

#endif
