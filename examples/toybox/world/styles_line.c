/* styles made of lines: pencil, ink, comics, engraving, chalk, neon */
#include "plate.h"

#include <string.h>

#define PI 3.14159265f

void style_pencil(plate *p)
{
  int w = p->w;
  float pitch = plate_knob(p, 0, 2.6f, 3.8f) * sqrtf((float)w / 64),
        angle = plate_knob(p, 1, 0.5f, 1.1f), hard = plate_knob(p, 2, 0.7f, 0.95f);
  plate_contours(p, p->rgb, p->tmp, 0.8f);
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      int i = y * w + x;
      float l = luma(p->rgb + i * 3), grain = noise2((float)x * 0.9f, (float)y * 0.9f, p->seed);
      float h1 =
          0.5f + 0.5f * sinf(((float)x * cosf(angle) + (float)y * sinf(angle)) * 2 * PI / pitch);
      float h2 =
          0.5f + 0.5f * sinf(((float)x * cosf(angle + 1.3f) + (float)y * sinf(angle + 1.3f)) * 2 *
                             PI / pitch);
      float d = clamp((0.75f - l) * 1.3f, 0, 1),
            t = d * (0.4f + 0.6f * h1) * 0.65f + clamp(0.35f - l, 0, 1) * h2;
      t = clamp(t * (0.7f + 0.6f * grain) + p->tmp[i] * hard, 0, 0.95f);
      plate_set(p, i, 0.95f - t * 0.80f, 0.94f - t * 0.79f, 0.91f - t * 0.75f);
    }
}

void style_ink(plate *p)
{
  int w = p->w;
  plate_keep(p, p->tmp2);
  plate_blur(p, p->tmp2, p->tmp, w / 64);
  plate_contours(p, p->tmp2, p->tmp, 0.9f);
  float cut = plate_knob(p, 0, 0.22f, 0.36f), tint = plate_knob(p, 1, 0, 1),
        pitch = plate_knob(p, 2, 3, 4.4f) * sqrtf((float)w / 64);
  for (int i = 0; i < w * w; i++) {
    float l = luma(p->tmp2 + i * 3);
    float hatch = smooth(-0.2f, 0.3f, sinf((float)(i % w + i / w) * 2 * PI / pitch)) *
                  smooth(cut + 0.2f, cut + 0.08f, l) * (0.4f + 0.6f * p->mask[i]);
    float t =
        clamp(fmaxf(fmaxf(p->tmp[i] * 1.3f, smooth(cut + 0.03f, cut - 0.03f, l)), hatch), 0, 1);
    plate_set(p, i, mixf(0.98f, 0.06f + 0.03f * tint, t), mixf(0.97f - 0.02f * tint, 0.05f, t),
              mixf(0.95f - 0.06f * tint, 0.08f + 0.14f * tint, t));
  }
}

void style_cartoon(plate *p)
{
  int w = p->w;
  float levels = floorf(plate_knob(p, 0, 3, 5.9f)), line = plate_knob(p, 1, 0.8f, 1);
  plate_keep(p, p->tmp2);
  plate_blur(p, p->tmp2, p->tmp, w / 64);
  plate_contours(p, p->tmp2, p->tmp, 0.8f);
  for (int i = 0; i < w * w; i++) {
    float c[3], l = luma(p->tmp2 + i * 3) + 1e-4f, q = floorf(l * levels + 0.5f) / levels;
    for (int k = 0; k < 3; k++)
      c[k] = clamp(p->tmp2[i * 3 + k] / l * mixf(l, q, 0.85f) * 1.06f, 0, 1);
    saturate(c, 1.45f);
    float t = clamp(p->tmp[i] * 1.2f, 0, 1) * line;
    plate_set(p, i, c[0] * (1 - t), c[1] * (1 - t), c[2] * (1 - t));
  }
}

void style_engraving(plate *p)
{
  int w = p->w;
  float pitch = plate_knob(p, 0, 2.6f, 3.6f) * sqrtf((float)w / 64),
        angle = plate_knob(p, 1, -0.5f, 0.5f), bend = plate_knob(p, 2, 0, 2.5f),
        warm = p->j->style_p[3];
  plate_keep(p, p->tmp2);
  plate_blur(p, p->tmp2, p->tmp, w / 96);
  plate_contours(p, p->tmp2, p->tmp, 0.8f);
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      int i = y * w + x;
      float l = luma(p->tmp2 + i * 3), m = p->mask[i] > 0.5f ? 1.0f : 0.0f;
      /* the ground is cut lighter, so that the object stands out */
      float d = m > 0 ? clamp(1.02f - l * 1.15f, 0, 0.85f) : clamp(0.62f - l * 0.72f, 0, 0.45f);
      float a = angle + m * 0.9f, u = (float)x * sinf(a) + (float)y * cosf(a) +
                                      bend * sinf((float)x / (float)w * 6) + m * 3 * (l - 0.5f);
      float f = u / pitch - floorf(u / pitch), aa = 0.8f / pitch;
      float line = smooth(d * 0.5f + aa * 0.5f, d * 0.5f - aa * 0.5f, fabsf(f - 0.5f));
      float c = (float)x * cosf(a) - (float)y * sinf(a), g = c / pitch - floorf(c / pitch),
            deep = clamp((d - 0.6f) * 1.6f, 0, 1);
      line = fmaxf(line, smooth(deep * 0.5f + aa * 0.5f, deep * 0.5f - aa * 0.5f, fabsf(g - 0.5f)) *
                             (deep > 0.02f));
      float t = clamp(fmaxf(line * (d > 0.05f), p->tmp[i] * 0.95f), 0, 1);
      plate_set(p, i, mixf(0.95f, 0.10f + 0.1f * warm, t), mixf(0.92f, 0.09f, t),
                mixf(0.82f, 0.08f, t));
    }
}

void style_blueprint(plate *p)
{
  int w = p->w, step = (int)(plate_knob(p, 0, 6, 10) * (float)w / 64);
  float base[3] = { plate_knob(p, 1, 0.04f, 0.12f), plate_knob(p, 1, 0.20f, 0.32f),
                    plate_knob(p, 1, 0.55f, 0.70f) };
  plate_contours(p, p->rgb, p->tmp, 0.8f);
  for (int i = 0; i < w * w; i++) {
    float grid = (i % w) % step == 0 || (i / w) % step == 0 ? 0.12f : 0, l = luma(p->rgb + i * 3);
    float t = clamp(p->tmp[i] * 1.1f + grid + 0.12f * l * p->mask[i], 0, 1);
    plate_set(p, i, mixf(base[0], 0.93f, t), mixf(base[1], 0.96f, t), mixf(base[2], 1, t));
  }
}

void style_neon(plate *p)
{
  int w = p->w;
  float hue = plate_knob(p, 0, 0, 6.28f), spread = plate_knob(p, 1, 0.5f, 2);
  plate_contours(p, p->rgb, p->tmp, 0.55f);
  for (int i = 0; i < w * w; i++) {
    float c[3] = { p->rgb[i * 3], p->rgb[i * 3 + 1], p->rgb[i * 3 + 2] }, l = luma(c) + 0.05f;
    float tube[3] = { 0.55f + 0.45f * sinf(hue + spread * p->mask[i] * 2),
                      0.5f + 0.45f * sinf(hue + 2.1f + spread * p->mask[i] * 2),
                      0.6f + 0.4f * sinf(hue + 4.2f + spread * p->mask[i] * 2) };
    for (int k = 0; k < 3; k++)
      c[k] = clamp(0.5f * clamp(c[k] / l * 0.5f, 0, 1) + 0.6f * tube[k], 0, 1);
    saturate(c, 1.8f);
    for (int k = 0; k < 3; k++)
      p->tmp2[i * 3 + k] = c[k] * p->tmp[i];
  }
  memcpy(p->rgb, p->tmp2, (size_t)w * w * 3 * sizeof(float));
  float *halo = p->tmp2;
  float *scratch = p->rgb;
  /* halo = blurred tubes; the tubes themselves are drawn again from the contours */
  plate_blur(p, halo, scratch, w / 32);
  plate_blur(p, halo, scratch, w / 32);
  for (int i = 0; i < w * w; i++) {
    float t = p->tmp[i];
    for (int k = 0; k < 3; k++) {
      float h = halo[i * 3 + k];
      float peak = fmaxf(halo[i * 3], fmaxf(halo[i * 3 + 1], halo[i * 3 + 2])) + 0.02f;
      p->rgb[i * 3 + k] = clamp(0.03f + 1.6f * h + t * (0.45f + 0.6f * h / peak), 0, 1);
    }
  }
}

void style_chalk(plate *p)
{
  int w = p->w;
  float green = p->j->style_p[0] < 0.6f ? 1.0f : 0.0f, fill = plate_knob(p, 1, 0.35f, 0.6f);
  plate_contours(p, p->rgb, p->tmp, 0.75f);
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      int i = y * w + x;
      float g = noise2((float)x * 0.8f, (float)y * 0.8f, p->seed),
            dust = fbm((float)x / (float)w * 4, (float)y / (float)w * 4, p->seed + 7, 2);
      float hatch = 0.5f + 0.5f * sinf((float)(x + y) * 2 * PI / (3.2f * sqrtf((float)w / 64)));
      float c[3] = { p->rgb[i * 3], p->rgb[i * 3 + 1], p->rgb[i * 3 + 2] }, l = luma(c);
      float board[3] = { mixf(0.09f, 0.10f, green) + 0.04f * dust,
                         mixf(0.10f, 0.21f, green) + 0.04f * dust,
                         mixf(0.11f, 0.16f, green) + 0.04f * dust };
      float a = l * fill * (0.45f + 0.55f * hatch) * (0.35f + 0.9f * g);
      for (int k = 0; k < 3; k++)
        c[k] = mixf(c[k], 1, 0.35f);
      float t = clamp(p->tmp[i] * (0.55f + 0.8f * g), 0, 0.95f);
      for (int k = 0; k < 3; k++)
        p->rgb[i * 3 + k] = clamp(mixf(mixf(board[k], c[k], a), 0.94f, t), 0, 1);
    }
}

void style_pop_art(plate *p)
{
  static const float inks[4][5][3] = {
    { { 0.10f, 0.05f, 0.25f },
      { 0.93f, 0.10f, 0.45f },
      { 0.98f, 0.55f, 0.10f },
      { 0.99f, 0.88f, 0.15f },
      { 1, 0.98f, 0.85f } },
    { { 0.05f, 0.10f, 0.35f },
      { 0.10f, 0.45f, 0.85f },
      { 0.10f, 0.75f, 0.75f },
      { 0.98f, 0.90f, 0.25f },
      { 1, 1, 0.9f } },
    { { 0.25f, 0.02f, 0.20f },
      { 0.80f, 0.10f, 0.20f },
      { 0.95f, 0.45f, 0.65f },
      { 0.55f, 0.85f, 0.95f },
      { 1, 0.97f, 0.95f } },
    { { 0.02f, 0.20f, 0.15f },
      { 0.10f, 0.60f, 0.35f },
      { 0.95f, 0.35f, 0.25f },
      { 0.98f, 0.80f, 0.30f },
      { 0.98f, 1, 0.9f } },
  };
  int w = p->w, set_object = (int)plate_knob(p, 0, 0, 3.99f),
      set_ground = (set_object + 1 + (int)plate_knob(p, 1, 0, 2.99f)) % 4;
  float pitch = plate_knob(p, 2, 3.2f, 4.4f) * (float)w / 64;
  plate_keep(p, p->tmp2);
  plate_blur(p, p->tmp2, p->tmp, w / 64);
  plate_contours(p, p->tmp2, p->tmp, 0.7f);
  for (int y = 0; y < w; y++)
    for (int x = 0; x < w; x++) {
      int i = y * w + x, inside = p->mask[i] > 0.5f;
      float l = luma(p->tmp2 + i * 3) * 4.2f;
      int q = (int)clamp(l, 0, 4);
      float u = ((float)x + (float)y) / pitch * 0.7071f,
            v = ((float)x - (float)y) / pitch * 0.7071f;
      u -= floorf(u) + 0.5f;
      v -= floorf(v) + 0.5f;
      /* halftone dots carry the next tone */
      float part = l - (float)q,
            dot = smooth(0.08f, -0.08f, sqrtf(u * u + v * v) - 0.62f * sqrtf(clamp(part, 0, 1)));
      const float *a = inks[inside ? set_object : set_ground][q],
                  *b = inks[inside ? set_object : set_ground][q < 4 ? q + 1 : 4];
      float t = clamp(p->tmp[i] * 1.2f, 0, 1);
      for (int k = 0; k < 3; k++)
        p->rgb[i * 3 + k] = mixf(mixf(a[k], b[k], inside ? (part > 0.6f) : dot), 0.04f, t);
    }
}
