/*
 * the styles: filters over a finished picture, steered by its outlines and by continuous parameters
 *
 * job.style_p are each style's own knobs in 0..1: usually scale, strength, palette, paper.
 */
#include "plate.h"

#include <string.h>

typedef struct {
  const char *name;
  void (*apply)(plate *p);
} style;

static const style styles[] = {
  { "photo", style_photo },
  { "oil painting", style_oil },
  { "watercolor", style_watercolour },
  { "pencil drawing", style_pencil },
  { "ink drawing", style_ink },
  { "cartoon", style_cartoon },
  { "pixel art", style_pixel_art },
  { "stained glass", style_stained_glass },
  { "pointillist painting", style_pointillist },
  { "engraving", style_engraving },
  { "blueprint", style_blueprint },
  { "neon sign", style_neon },
  { "sepia photo", style_sepia },
  { "black and white photo", style_black_and_white },
  { "chalk drawing", style_chalk },
  { "low poly", style_low_poly },
  { "crayon drawing", style_crayon },
  { "emoji", style_photo },
  { "flat icon", style_photo },
  { "line drawing", NULL },
  { "woodcut", NULL },
  { "pop art", style_pop_art },
  { "cross-stitch", style_cross_stitch },
  { "mosaic", style_mosaic },
};
const int style_counts = (int)(sizeof styles / sizeof styles[0]);

const char *style_name(int style_index)
{
  return styles[style_index].name;
}

void style_apply(plate *p, int style_index)
{
  if (styles[style_index].apply)
    styles[style_index].apply(p);
}

/* a drawing on paper: the ink mask is all there is */
void style_drawing(plate *p, int style_index, const float *mask)
{
  const char *name = styles[style_index].name;
  float paper[3] = { 0.97f, 0.96f, 0.93f }, line[3] = { 0.06f, 0.06f, 0.08f }, rough = 0,
        warm = p->j->style_p[0];
  if (!strcmp(name, "woodcut")) {
    float a[3] = { 0.86f, 0.70f, 0.46f }, b[3] = { 0.24f, 0.11f, 0.04f };
    memcpy(paper, a, sizeof a);
    memcpy(line, b, sizeof b);
  } else if (!strcmp(name, "chalk drawing")) {
    float a[3] = { 0.10f, 0.21f, 0.16f }, b[3] = { 0.94f, 0.94f, 0.92f };
    memcpy(paper, a, sizeof a);
    memcpy(line, b, sizeof b);
    rough = 0.7f;
  } else if (!strcmp(name, "blueprint")) {
    float a[3] = { 0.08f, 0.26f, 0.62f }, b[3] = { 0.93f, 0.96f, 1.0f };
    memcpy(paper, a, sizeof a);
    memcpy(line, b, sizeof b);
  } else {
    for (int k = 0; k < 3; k++)
      paper[k] -= 0.06f * warm * (float)k;
    for (int k = 0; k < 3; k++)
      line[k] += 0.2f * p->j->style_p[1] * (k == 2);
  }
  for (int y = 0; y < p->w; y++)
    for (int x = 0; x < p->w; x++) {
      int i = y * p->w + x;
      float u = (float)x / (float)p->w, v = (float)y / (float)p->w,
            g = noise2((float)x * 0.8f, (float)y * 0.8f, p->seed);
      float grain = !strcmp(name, "woodcut") ? 0.10f * (fbm(u * 3, v * 26, p->seed + 3, 2) - 0.5f)
                                             : 0.02f * (g - 0.5f);
      float t = mask[i] * (1 - rough * 0.7f * g);
      for (int k = 0; k < 3; k++)
        p->rgb[i * 3 + k] = clamp(mixf(paper[k] + grain, line[k], t), 0, 1);
    }
}
