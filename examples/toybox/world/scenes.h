/* the painters of scenes; what a painter does not set keeps the sky of its canvas */
#ifndef TOYBOX_SCENES_H
#define TOYBOX_SCENES_H

#include "world.h"

/* trees.c */
void paint_tree_round(canvas *c, float x, float y, float h, uint32_t leaf, uint32_t trunk);
void paint_tree_fir(canvas *c, float x, float y, float h, uint32_t leaf, uint32_t snow);
void paint_tree_palm(canvas *c, float x, float y, float h);

void scene_beach(canvas *c);
void scene_desert(canvas *c);
void scene_snow(canvas *c);
void scene_forest(canvas *c);
void scene_jungle(canvas *c);
void scene_mountains(canvas *c);
void scene_meadow(canvas *c);
void scene_wheat(canvas *c);
void scene_night(canvas *c);
void scene_sunset(canvas *c);
void scene_underwater(canvas *c);
void scene_moon(canvas *c);
void scene_volcano(canvas *c);
void scene_rain(canvas *c);
void scene_autumn(canvas *c);
void scene_lake(canvas *c);
void scene_cave(canvas *c);
void scene_rainbow(canvas *c);
void scene_ice(canvas *c);
void scene_sky(canvas *c);
void scene_space(canvas *c);
void scene_grass(canvas *c);
void scene_city(canvas *c);
void scene_garden(canvas *c);
void scene_farm(canvas *c);
void scene_bridge(canvas *c);
void scene_castle(canvas *c);
void scene_park(canvas *c);
void scene_cobbles(canvas *c);
void scene_road(canvas *c);
void scene_wooden_table(canvas *c);
void scene_checkered_floor(canvas *c);
void scene_brick_wall(canvas *c);
void scene_kitchen(canvas *c);
void scene_living_room(canvas *c);
void scene_red_carpet(canvas *c);
void scene_library(canvas *c);
void scene_bathroom(canvas *c);
void scene_bedroom(canvas *c);
void scene_stage(canvas *c);
void scene_shelf(canvas *c);
void scene_plain(canvas *c);

#endif
