/* The denoising network: diffusers' UNet2DConditionModel as SD 1.x, SD 2.x and SDXL use it. */
#ifndef TI_UNET_H
#define TI_UNET_H

#include "weights.h"

enum { TI_UNET_MAX_BLOCKS = 8 };

typedef struct ti_unet_config {
  int in_channels, out_channels, sample_size, blocks, groups;
  int channels[TI_UNET_MAX_BLOCKS];
  int layers[TI_UNET_MAX_BLOCKS]; /* resnets of a down block; up blocks have one more */
  int transformer_layers[TI_UNET_MAX_BLOCKS];
  int up_transformer_layers[TI_UNET_MAX_BLOCKS]; /* in the order of up blocks */
  int heads[TI_UNET_MAX_BLOCKS];
  int context_dim[TI_UNET_MAX_BLOCKS]; /* all equal */
  int down_attention[TI_UNET_MAX_BLOCKS], up_attention[TI_UNET_MAX_BLOCKS];
  int only_cross_attention[TI_UNET_MAX_BLOCKS];
  int flip_sin_to_cos, downsample_padding;
  int no_middle; /* up blocks follow down blocks: BK-SDM small and tiny */
  double freq_shift, eps;
  int text_time;                    /* SDXL: pooled text and size ids are added to t */
  int addition_dim, projection_dim; /* of text_time */
} ti_unet_config;

textinv_status ti_unet_read(ti_unet_config *out, ti_error *error, const ti_json *json);
/* what StableDiffusionPipeline makes of it, and no other pipeline */
textinv_status ti_unet_update(ti_unet_config *c, ti_error *error, const ti_json *json);
int ti_unet_pooled_dim(const ti_unet_config *c); /* 0 without text_time */

/*
 * latents and timesteps may have half as many samples as the rest: then each counts for two, n / 2
 * apart (the two halves of guidance), and what comes before their difference is computed once.
 */
typedef struct ti_unet_inputs {
  ti_val latents;   /* [n, h, w, in_channels]; to be trained, h and w multiples of 2^(blocks - 1) */
  ti_val timesteps; /* [n, 1, 1, 1] float */
  ti_val context;   /* [n, 1, tokens, context_dim] */
  ti_val pooled;    /* text_time: [n, 1, 1, pooled_dim] */
  ti_val size_ids;  /* text_time: [n, 1, 6, 1] float */
} ti_unet_inputs;

/* the model's output [n, h, w, out_channels] */
ti_val ti_unet(const ti_net *net, const ti_unet_config *c, const ti_unet_inputs *in);

#endif /* TI_UNET_H */
