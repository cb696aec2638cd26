/* What the parts of the reader of single files share. */
#ifndef TI_SINGLE_FILE_STATE_H
#define TI_SINGLE_FILE_STATE_H

#include "safetensors.h"
#include "single_file.h"
#include "torch_file.h"

enum { TI_SINGLE_BLOCKS = 8, TI_SINGLE_LAYERS = 32, TI_SINGLE_NAME = 160 };

#define TI_SINGLE_UNET "model.diffusion_model."
#define TI_SINGLE_VAE "first_stage_model."

typedef enum { TI_SINGLE_SD1, TI_SINGLE_SD2, TI_SINGLE_SDXL } ti_single_kind;

/* sizes, as the shapes of the tensors tell them */
typedef struct ti_single_unet {
  int in_channels, out_channels, blocks, context_dim;
  int label_dim; /* of what SDXL adds to t; 0 = nothing */
  int channels[TI_SINGLE_BLOCKS];
  int layers[TI_SINGLE_BLOCKS]; /* of a down block; up blocks have one more */
  int depth[TI_SINGLE_BLOCKS];  /* layers of its transformers; 0 = it has none */
  int middle;                   /* the same of the middle block */
} ti_single_unet;

typedef struct ti_single_vae {
  int in_channels, out_channels, latent_channels, blocks, layers;
  int channels[TI_SINGLE_BLOCKS];
  int quant_conv, post_quant_conv, attention;
} ti_single_vae;

typedef struct ti_single_text {
  const char *prefix;
  int open_clip; /* names of OpenCLIP; else those of transformers */
  int vocab, width, inner, positions, projection;
  int layers; /* that are used */
} ti_single_text;

typedef struct ti_single_entry {
  ti_tensor tensor;             /* without data in a torch file */
  const ti_pickle_value *value; /* of a torch file */
} ti_single_entry;

struct ti_single_file {
  char *name;
  const void *map; /* NULL when the bytes are the caller's */
  size_t map_size;
  ti_safetensors *file; /* one of the two is set */
  ti_torch_file *torch;
  ti_single_entry *entries; /* by name */
  size_t count;
  ti_single_kind kind;
  ti_single_unet unet;
  ti_single_vae vae;
  ti_single_text texts[2];
  int num_texts;
  int v_prediction, zero_snr;
};

/* whether a name begins with prefix */
int ti_single_any(const ti_single_file *file, const char *prefix);
/* the tensor of a name that is formatted as ti_format() does; NULL = there is none */
const ti_single_entry *ti_single_find(const ti_single_file *file, const char *fmt, ...);
/* its size along an axis; 0 when there is no such tensor or axis */
int ti_single_dim(const ti_single_file *file, int axis, const char *fmt, ...);
/* the tensor of an entry with its data */
textinv_status ti_single_load(const ti_single_file *file, ti_error *error,
                              const ti_single_entry *entry, ti_tensor *out);

/* kind, texts' prefixes: what the names say */
textinv_status ti_single_recognise(ti_single_file *file, ti_error *error);
/* unet, vae, texts: what the shapes say, and whether they fit each other */
textinv_status ti_single_measure(ti_single_file *file, ti_error *error);
/* v_prediction, zero_snr: what path.yaml (for NULL: nothing), marks, metadata and weights say */
textinv_status ti_single_predict(ti_single_file *file, ti_error *error, const char *path);

/* what becomes of a tensor */
typedef enum {
  TI_SINGLE_UNKNOWN, /* it is no weight of this network */
  TI_SINGLE_SAME,
  TI_SINGLE_MATRIX, /* a convolution of 1 x 1, given out as a matrix */
  TI_SINGLE_TRANSPOSED,
  TI_SINGLE_THIRDS /* q, k and v above each other; out has the name of q */
} ti_single_use;

/* diffusers' name of a tensor of each network, whose prefix name leaves out */
ti_single_use ti_single_unet_name(char out[TI_SINGLE_NAME], const ti_single_unet *unet,
                                  const char *name);
ti_single_use ti_single_vae_name(char out[TI_SINGLE_NAME], const ti_single_vae *vae,
                                 const char *name);
ti_single_use ti_single_text_name(char out[TI_SINGLE_NAME], const ti_single_text *text,
                                  const char *name);

#endif /* TI_SINGLE_FILE_STATE_H */
