/*
 * the scenes: a table of painters, each with the light that falls on the objects
 *
 * A scene is recognisable at 64 pixels by its colours and by one or two large shapes.
 */
#include "scenes.h"

enum {
  LIGHT_DAY,
  LIGHT_ROOM,
  LIGHT_NIGHT,
  LIGHT_SUNSET,
  LIGHT_WATER,
  LIGHT_SPACE,
  LIGHT_GREY,
  LIGHT_FIRE,
  LIGHT_STAGE,
  LIGHT_STUDIO,
  LIGHT_AIR
};

typedef struct {
  const char *name, *phrase;
  void (*paint)(canvas *c);
  int light;
  int shade;
} scene;

static const scene scenes[] = {
  { "beach", "on the beach", scene_beach, LIGHT_DAY, 0 },
  { "desert", "in the desert", scene_desert, LIGHT_DAY, 0 },
  { "snow", "in the snow", scene_snow, LIGHT_DAY, 0 },
  { "forest", "in a forest", scene_forest, LIGHT_DAY, 0 },
  { "jungle", "in the jungle", scene_jungle, LIGHT_DAY, 0 },
  { "mountains", "with a mountain in the background", scene_mountains, LIGHT_DAY, 0 },
  { "meadow", "in a meadow", scene_meadow, LIGHT_DAY, 0 },
  { "wheat field", "in a wheat field", scene_wheat, LIGHT_DAY, 0 },
  { "city street", "on a city street", scene_city, LIGHT_DAY, 0 },
  { "night", "at night under the stars", scene_night, LIGHT_NIGHT, 0 },
  { "sunset", "at sunset", scene_sunset, LIGHT_SUNSET, 0 },
  { "underwater", "under water", scene_underwater, LIGHT_WATER, 0 },
  { "moon", "on the moon", scene_moon, LIGHT_SPACE, 0 },
  { "volcano", "in front of a volcano", scene_volcano, LIGHT_FIRE, 0 },
  { "rain", "in the rain", scene_rain, LIGHT_GREY, 0 },
  { "autumn leaves", "among autumn leaves", scene_autumn, LIGHT_SUNSET, 0 },
  { "lake", "by a lake", scene_lake, LIGHT_DAY, 0 },
  { "cave", "in a cave", scene_cave, LIGHT_GREY, 0 },
  { "rainbow", "under a rainbow", scene_rainbow, LIGHT_DAY, 0 },
  { "garden fence", "in front of a garden fence", scene_garden, LIGHT_DAY, 0 },
  { "farm", "on a farm", scene_farm, LIGHT_DAY, 0 },
  { "bridge", "on a bridge", scene_bridge, LIGHT_DAY, 0 },
  { "castle", "in front of a castle", scene_castle, LIGHT_DAY, 0 },
  { "park", "in a park full of flowers", scene_park, LIGHT_DAY, 0 },
  { "ice", "on the ice", scene_ice, LIGHT_DAY, 0 },
  { "cobblestones", "on a cobblestone street", scene_cobbles, LIGHT_DAY, 0 },
  { "sky", "in the sky", scene_sky, LIGHT_AIR, 0 },
  { "space", "in space", scene_space, LIGHT_AIR, 0 },
  { "road", "on a country road", scene_road, LIGHT_DAY, 0 },
  { "grass", "on the grass", scene_grass, LIGHT_DAY, 0 },
  { "wooden table", "on a wooden table", scene_wooden_table, LIGHT_ROOM, 0 },
  { "checkered floor", "on a checkered floor", scene_checkered_floor, LIGHT_ROOM, 0 },
  { "brick wall", "in front of a brick wall", scene_brick_wall, LIGHT_DAY, 0 },
  { "kitchen", "in the kitchen", scene_kitchen, LIGHT_ROOM, 0 },
  { "living room", "in the living room", scene_living_room, LIGHT_ROOM, 0 },
  { "red carpet", "on a red carpet", scene_red_carpet, LIGHT_ROOM, 0 },
  { "library", "in a library", scene_library, LIGHT_ROOM, 0 },
  { "bathroom", "in the bathroom", scene_bathroom, LIGHT_ROOM, 0 },
  { "bedroom", "in the bedroom", scene_bedroom, LIGHT_ROOM, 0 },
  { "stage", "on a stage", scene_stage, LIGHT_STAGE, 0 },
  { "shelf", "on a shelf", scene_shelf, LIGHT_ROOM, 0 },
  { "white background", "on a white background", scene_plain, LIGHT_STUDIO, 0 },
  { "blue background", "on a blue background", scene_plain, LIGHT_STUDIO, 1 },
  { "yellow background", "on a yellow background", scene_plain, LIGHT_STUDIO, 2 },
  { "red background", "on a red background", scene_plain, LIGHT_STUDIO, 3 },
  { "green background", "on a green background", scene_plain, LIGHT_STUDIO, 4 },
  { "pink background", "on a pink background", scene_plain, LIGHT_STUDIO, 5 },
  { "black background", "on a black background", scene_plain, LIGHT_STUDIO, 6 },
  { "purple background", "on a purple background", scene_plain, LIGHT_STUDIO, 7 },
  { "grey background", "on a grey background", scene_plain, LIGHT_STUDIO, 8 },
  { "orange background", "on an orange background", scene_plain, LIGHT_STUDIO, 9 },
};
const int scene_counts = (int)(sizeof scenes / sizeof scenes[0]);

const char *scene_name(int scene)
{
  return scenes[scene].name;
}

const char *scene_phrase(int scene)
{
  return scenes[scene].phrase;
}

void scene_light(lighting *l, int scene, rng *r)
{
  static const float sun[11][3] = { { 0.78f, 0.75f, 0.68f }, { 0.62f, 0.58f, 0.52f },
                                    { 0.36f, 0.40f, 0.56f }, { 0.80f, 0.56f, 0.38f },
                                    { 0.40f, 0.62f, 0.68f }, { 0.90f, 0.90f, 0.90f },
                                    { 0.38f, 0.40f, 0.42f }, { 0.74f, 0.52f, 0.40f },
                                    { 0.86f, 0.80f, 0.64f }, { 0.66f, 0.66f, 0.66f },
                                    { 0.72f, 0.72f, 0.72f } };
  static const float ambient[11][3] = { { 0.46f, 0.49f, 0.55f }, { 0.50f, 0.47f, 0.44f },
                                        { 0.26f, 0.30f, 0.42f }, { 0.46f, 0.38f, 0.42f },
                                        { 0.34f, 0.50f, 0.56f }, { 0.26f, 0.26f, 0.28f },
                                        { 0.50f, 0.53f, 0.56f }, { 0.42f, 0.36f, 0.34f },
                                        { 0.30f, 0.28f, 0.28f }, { 0.50f, 0.50f, 0.50f },
                                        { 0.48f, 0.50f, 0.54f } };
  static const float shadow[11] = { 0.45f, 0.38f, 0.45f, 0.45f, 0.25f, 0.75f,
                                    0.25f, 0.5f,  0.6f,  0.30f, 0 };
  int kind = scenes[scene].light;
  float side = below(r, 2) ? 1.0f : -1.0f;
  vec3 d = { side * uniform(r, 0.25f, 0.75f), uniform(r, 0.75f, 1.1f), uniform(r, 0.25f, 0.7f) };
  float n = 1 / sqrtf(d.x * d.x + d.y * d.y + d.z * d.z);
  l->light = (vec3){ d.x * n, d.y * n, d.z * n };
  for (int k = 0; k < 3; k++) {
    l->sun[k] = sun[kind][k];
    l->ambient[k] = ambient[kind][k];
  }
  l->shadow = shadow[kind];
  l->floating = kind == LIGHT_AIR;
}

void scene_paint(canvas *c, int scene)
{
  c->shade = scenes[scene].shade;
  scenes[scene].paint(c);
}

static void underwater_front(canvas *c)
{
  for (int i = 0; i < 14; i++) {
    float x = uniform(&c->r, 0, 1), y = uniform(&c->r, 0, 0.9f), r = uniform(&c->r, 0.008f, 0.022f);
    paint_disc(c, x, y, r, r, 0xeaffff, 0.35f);
    paint_disc(c, x - r * 0.3f, y - r * 0.3f, r * 0.4f, r * 0.4f, 0xffffff, 0.7f);
  }
}

static void rain_front(canvas *c)
{
  for (int i = 0; i < 34; i++) {
    float x = uniform(&c->r, 0, 1.1f), y = uniform(&c->r, -0.1f, 1),
          l = uniform(&c->r, 0.07f, 0.14f);
    paint_line(c, x, y, x - l * 0.25f, y + l, 0.010f, 0xdfeaf5, 0.6f);
  }
}

/* what falls or floats in front of the objects */
void scene_front(canvas *c, int scene)
{
  if (scenes[scene].paint == scene_rain)
    rain_front(c);
  else if (scenes[scene].paint == scene_underwater)
    underwater_front(c);
  else if (scenes[scene].paint == scene_snow) {
    for (int i = 0; i < 30; i++) {
      float s = uniform(&c->r, 0.005f, 0.012f);
      paint_disc(c, uniform(&c->r, 0, 1), uniform(&c->r, 0, 1), s, s, 0xffffff, 0.9f);
    }
  }
}
