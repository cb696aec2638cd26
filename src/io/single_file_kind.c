/*
 * What a single file is, from the names in it; and which of two things it predicts, which its
 * shapes do not tell.
 */
#include <math.h>
#include <string.h>

#include "alloc.h"
#include "atomic_file.h"
#include "dtype.h"
#include "format.h"
#include "single_file_state.h"

/* ------ files that are no whole model */

typedef struct known_part {
  const char *prefix;
  const char *what;
} known_part;

static const known_part parts[] = {
  { TI_SINGLE_VAE, "an autoencoder (VAE) alone" },
  { "encoder.", "an autoencoder (VAE) alone" },
  { "decoder.", "an autoencoder (VAE) alone" },
  { "control_model.", "a ControlNet" },
  { "controlnet_", "a ControlNet" },
  { "input_blocks.", "a UNet alone" },
  { "down_blocks.", "a UNet of diffusers alone" },
  { "double_blocks.", "a transformer of Flux" },
  { "joint_blocks.", "a transformer of Stable Diffusion 3" },
  { "text_model.", "a text encoder alone" },
  { "cond_stage_model.", "a text encoder alone" },
  { "text_encoders.", "a text encoder alone" },
};

static int has_part(const ti_single_file *f, const char *part)
{
  for (size_t i = 0; i < f->count; i++) {
    if (strstr(f->entries[i].tensor.name, part))
      return 1;
  }
  return 0;
}

/* words are few vectors, and the pickle of the web UI has a key of its own */
static int has_words(const ti_single_file *f)
{
  enum { MAX_WORDS = 64 };
  int vectors = f->count > 0 && f->count <= MAX_WORDS;

  for (size_t i = 0; i < f->count && vectors; i++)
    vectors = f->entries[i].tensor.rank <= 2;
  return vectors || (f->torch && ti_pickle_get(ti_torch_root(f->torch), "string_to_param"));
}

static textinv_status refuse_part(const ti_single_file *f, ti_error *error)
{
  if (has_part(f, "lora_") || has_part(f, "hada_w") || has_part(f, "lokr_w"))
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: is a LoRA, which changes a model: merge it into one with the program that "
                   "you use, and open the whole",
                   f->name);
  if (has_words(f))
    return ti_fail(error, TEXTINV_E_FORMAT,
                   "%s: is an embedding: it is loaded beside a model (--embedding), not as one",
                   f->name);
  for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
    if (ti_single_any(f, parts[i].prefix))
      return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                     "%s: is %s, expected a whole checkpoint of Stable Diffusion with UNet, "
                     "autoencoder and text encoder, or the folder of a diffusers pipeline",
                     f->name, parts[i].what);
  }
  return ti_fail(error, TEXTINV_E_FORMAT,
                 "%s: is no model: none of its %zu tensors begins with " TI_SINGLE_UNET
                 ", as in checkpoints of Stable Diffusion",
                 f->name, f->count);
}

static textinv_status refuse(const ti_single_file *f, ti_error *error, const char *what)
{
  return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                 "%s: is %s; supported are SD 1.x, SD 2.x and SDXL base, and models that were made "
                 "of them for inpainting",
                 f->name, what);
}

static textinv_status incomplete(const ti_single_file *f, ti_error *error, const char *part,
                                 const char *names)
{
  return ti_fail(error, TEXTINV_E_FORMAT,
                 "%s: has no %s (%s): save the checkpoint with it, or open the folder of a "
                 "diffusers pipeline",
                 f->name, part, names);
}

/* ------ models */

static textinv_status check_unet(const ti_single_file *f, ti_error *error)
{
  if (ti_single_any(f, TI_SINGLE_UNET "double_blocks."))
    return refuse(f, error, "a model of Flux");
  if (ti_single_any(f, TI_SINGLE_UNET "joint_blocks."))
    return refuse(f, error, "a model of Stable Diffusion 3");
  if (!ti_single_any(f, TI_SINGLE_UNET "input_blocks."))
    return refuse(f, error, "a model whose network is no UNet");
  if (ti_single_any(f, "control_model."))
    return refuse(f, error, "a model with a ControlNet");
  if (ti_single_find(f, "edm_mean") || ti_single_find(f, "edm_vpred.sigma_max"))
    return refuse(f, error, "a model of an EDM schedule");
  switch (ti_single_dim(f, 1, TI_SINGLE_UNET "input_blocks.0.0.weight")) {
  case 8: return refuse(f, error, "a model that edits pictures (InstructPix2Pix)");
  case 7: return refuse(f, error, "a model that enlarges pictures");
  case 5: return refuse(f, error, "a model that takes depth");
  default: return TEXTINV_OK;
  }
}

static void set_text(ti_single_file *f, const char *prefix, int open_clip)
{
  f->texts[f->num_texts++] = (ti_single_text){ .prefix = prefix, .open_clip = open_clip };
}

static textinv_status find_texts(ti_single_file *f, ti_error *error)
{
  static const char clip[] = "cond_stage_model.transformer.text_model.",
                    old_clip[] = "cond_stage_model.transformer.",
                    open_clip[] = "cond_stage_model.model.",
                    xl_clip[] = "conditioner.embedders.0.transformer.text_model.",
                    xl_open_clip[] = "conditioner.embedders.1.model.";
  const int labels = ti_single_any(f, TI_SINGLE_UNET "label_emb.");

  if (ti_single_any(f, "conditioner.embedders.")) {
    if (ti_single_any(f, "conditioner.embedders.0.model.") && labels)
      return refuse(f, error, "the refiner of SDXL");
    if (!ti_single_any(f, xl_clip))
      return incomplete(f, error, "first text encoder", "conditioner.embedders.0.transformer.*");
    if (!ti_single_any(f, xl_open_clip))
      return incomplete(f, error, "second text encoder", "conditioner.embedders.1.model.*");
    f->kind = TI_SINGLE_SDXL;
    set_text(f, xl_clip, 0);
    set_text(f, xl_open_clip, 1);
    return TEXTINV_OK;
  }
  if (!ti_single_any(f, "cond_stage_model."))
    return incomplete(f, error, "text encoder", "cond_stage_model.* or conditioner.embedders.*");
  if (labels)
    return refuse(f, error, "a model that takes more than a prompt (unCLIP)");
  if (ti_single_any(f, open_clip)) {
    f->kind = TI_SINGLE_SD2;
    set_text(f, open_clip, 1);
  } else if (!ti_single_any(f, old_clip) ||
             ti_single_any(f, "cond_stage_model.transformer.token_emb.")) {
    return refuse(f, error, "a model whose text encoder is no CLIP (AltDiffusion, LDM with BERT)");
  } else {
    f->kind = TI_SINGLE_SD1;
    set_text(f, ti_single_any(f, clip) ? clip : old_clip, 0);
  }
  return TEXTINV_OK;
}

textinv_status ti_single_recognise(ti_single_file *file, ti_error *error)
{
  textinv_status status;

  if (!ti_single_any(file, TI_SINGLE_UNET))
    return refuse_part(file, error);
  if ((status = check_unet(file, error)) < 0 || (status = find_texts(file, error)) < 0)
    return status;
  if (!ti_single_any(file, TI_SINGLE_VAE))
    return incomplete(file, error, "autoencoder", TI_SINGLE_VAE "*");
  return TEXTINV_OK;
}

/* ------ noise or v */

/* "parameterization:" of the configuration that the web UI and LDM read; 0 = there is none */
static int parameterization(const char *text, int *v)
{
  static const char key[] = "parameterization:";
  const char *at = strstr(text, key);

  if (!at)
    return 0;
  at += sizeof(key) - 1;
  at += strspn(at, " \t\"'");
  *v = *at == 'v';
  return 1;
}

/* NAME.yaml beside NAME.safetensors; *known = 0 when it is not there */
static textinv_status read_yaml(ti_single_file *f, ti_error *error, const char *path, int *known)
{
  enum { MAX_BYTES = 1 << 20 };
  const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
  const size_t stem = dot && dot > (slash ? slash : path) ? (size_t)(dot - path) : strlen(path);
  char *name = ti_calloc(stem + sizeof(".yaml"), 1);
  void *text = NULL;
  ti_error quiet;
  size_t size;
  textinv_status status;

  *known = 0;
  if (!name)
    return ti_fail_nomem(error, stem, path);
  memcpy(name, path, stem);
  strcpy(name + stem, ".yaml");
  status = ti_file_read(&text, &size, &quiet, name, MAX_BYTES);
  if (status == TEXTINV_E_NOT_FOUND) {
    status = TEXTINV_OK;
  } else if (status < 0) {
    ti_fail(error, status, "%s", quiet.text);
  } else {
    *known = 1;
    if (!parameterization(text, &f->v_prediction))
      f->v_prediction = 0;
  }
  ti_free(text);
  ti_free(name);
  return status;
}

static double value(const ti_tensor *t, size_t i)
{
  uint16_t half;
  float x;

  if (t->dtype == TI_FILE_F32) {
    memcpy(&x, (const char *)t->data + 4 * i, 4);
    return (double)x;
  }
  memcpy(&half, (const char *)t->data + 2 * i, 2);
  return (double)(t->dtype == TI_FILE_F16 ? ti_f16_to_f32(half) : ti_bf16_to_f32(half));
}

/*
 * SD 2 is there with both, and in the same shapes. ComfyUI tells them by the deviation of the bias
 * of one norm, which training for v at 768 pixels has left larger. Inpainting predicts noise.
 */
static textinv_status guess(ti_single_file *f, ti_error *error)
{
  static const double least = 0.09;
  const ti_single_entry *bias;
  double sum = 0, squares = 0;
  textinv_status status;
  ti_tensor t;
  int last = -1;

  for (int i = 0; i < f->unet.blocks; i++)
    last += f->unet.layers[i] + 1;
  bias = ti_single_find(f, TI_SINGLE_UNET "output_blocks.%d.1.transformer_blocks.0.norm1.bias",
                        last);
  if (!bias || bias->tensor.dtype > TI_FILE_BF16 || !bias->tensor.count)
    return TEXTINV_OK;
  if ((status = ti_single_load(f, error, bias, &t)) < 0)
    return status;
  for (size_t i = 0; i < t.count; i++)
    sum += value(&t, i);
  for (size_t i = 0; i < t.count; i++) {
    const double d = value(&t, i) - sum / (double)t.count;

    squares += d * d;
  }
  f->v_prediction = sqrt(squares / (double)t.count) > least;
  return TEXTINV_OK;
}

static textinv_status read_prediction(ti_single_file *file, ti_error *error, const char *path)
{
  const char *type = file->file ? ti_safetensors_metadata(file->file, "modelspec.prediction_type")
                                : NULL;
  textinv_status status;
  int known = 0;

  if (path && (status = read_yaml(file, error, path, &known)) < 0)
    return status;
  if (known)
    return TEXTINV_OK;
  file->v_prediction = ti_single_find(file, "v_pred") != NULL;
  if (file->v_prediction)
    return TEXTINV_OK;
  if (type)
    file->v_prediction = *type == 'v';
  else if (file->kind == TI_SINGLE_SD2 && file->unet.in_channels == file->unet.out_channels)
    return guess(file, error);
  return TEXTINV_OK;
}

textinv_status ti_single_predict(ti_single_file *file, ti_error *error, const char *path)
{
  const textinv_status status = read_prediction(file, error, path);

  /* mere noise says nothing to a model that predicts it; as in ComfyUI it is a mark of v alone */
  file->zero_snr = file->v_prediction && ti_single_find(file, "ztsnr");
  return status;
}
