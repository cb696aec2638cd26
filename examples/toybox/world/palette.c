/* colours with names: drawing one, and naming a pixel */
#include "world.h"

static const float palette[COLOUR_COUNTS][3] = {
  { 0.82f, 0.10f, 0.10f }, { 0.95f, 0.50f, 0.08f }, { 0.96f, 0.83f, 0.12f },
  { 0.16f, 0.62f, 0.20f }, { 0.13f, 0.33f, 0.82f }, { 0.50f, 0.18f, 0.66f },
  { 0.95f, 0.50f, 0.70f }, { 0.45f, 0.27f, 0.13f }, { 0.07f, 0.07f, 0.08f },
  { 0.52f, 0.52f, 0.54f }, { 0.94f, 0.94f, 0.93f },
};

void palette_colour(float out[3], int colour, rng *r)
{
  for (int k = 0; k < 3; k++)
    out[k] = clamp(palette[colour][k] + uniform(r, -0.06f, 0.06f), 0.02f, 0.98f);
}

int colour_of(const float rgb[3])
{
  float hi = fmaxf(rgb[0], fmaxf(rgb[1], rgb[2])), lo = fminf(rgb[0], fminf(rgb[1], rgb[2]));
  float chroma = hi - lo;
  if (hi < 0.16f)
    return COLOUR_BLACK;
  if (chroma < 0.10f + 0.08f * hi) {
    return hi < 0.22f ? COLOUR_BLACK : hi < 0.70f ? COLOUR_GREY : COLOUR_WHITE;
  }
  float h;
  if (hi == rgb[0])
    h = (rgb[1] - rgb[2]) / chroma;
  else if (hi == rgb[1])
    h = 2 + (rgb[2] - rgb[0]) / chroma;
  else
    h = 4 + (rgb[0] - rgb[1]) / chroma;
  h *= 60;
  if (h < 0)
    h += 360;
  float s = chroma / hi;
  if ((h < 14 || h >= 350) && hi < 0.62f && s < 0.58f)
    return COLOUR_BROWN;
  if (h < 14 || h >= 342)
    return hi > 0.75f && s < 0.55f         ? COLOUR_PINK
           : hi < 0.35f && h > 4 && h < 20 ? COLOUR_BROWN
                                           : COLOUR_RED;
  if (h < 42)
    return hi < 0.62f || s < 0.5f ? COLOUR_BROWN : COLOUR_ORANGE;
  if (h < 68)
    return hi < 0.48f ? COLOUR_BROWN : COLOUR_YELLOW;
  if (h < 170)
    return COLOUR_GREEN;
  if (h < 255)
    return COLOUR_BLUE;
  if (h < 300)
    return COLOUR_PURPLE;
  return hi > 0.6f ? COLOUR_PINK : COLOUR_PURPLE;
}
