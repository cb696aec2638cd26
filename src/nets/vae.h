/* The autoencoder: diffusers' AutoencoderKL. */
#ifndef TI_VAE_H
#define TI_VAE_H

#include "weights.h"

enum { TI_MAX_BLOCKS = 8 };

typedef struct ti_vae_config {
  int in_channels, out_channels, latent_channels, layers, groups, blocks;
  int channels[TI_MAX_BLOCKS];
  int quant_conv, post_quant_conv, mid_attention;
  int force_upcast; /* does not do in f16; 1 where the config does not say, as in diffusers */
  int sample_size;
  double scaling_factor; /* shift_factor is not of these pipelines: they leave it out */
} ti_vae_config;

textinv_status ti_vae_read(ti_vae_config *out, ti_error *error, const ti_json *json);
int ti_vae_scale(const ti_vae_config *c); /* pixels a latent */

/* x [n, h, w, in_channels], -1..1; gives [n, h / scale, w / scale, 2 latent_channels]: mean, log
 * variance */
ti_val ti_vae_encoder(const ti_net *net, const ti_vae_config *c, ti_val x);
/* z [n, h, w, latent_channels], not scaled; gives [n, h scale, w scale, out_channels] */
ti_val ti_vae_decoder(const ti_net *net, const ti_vae_config *c, ti_val z);

#endif /* TI_VAE_H */
