/* The sizes of a single file's networks from the shapes of its tensors, and the configs they make.
 */
#include <string.h>

#include "alloc.h"
#include "format.h"
#include "single_file_state.h"

enum { HEAD = 64 /* width of a head of every network but the UNet of SD 1, which has 8 heads */ };

/* ------ shapes */

static textinv_status odd(const ti_single_file *f, ti_error *error, const char *what, int block,
                          int met, int expected)
{
  return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                 "%s: block %d of the UNet has %s %d, expected %d as in others of its level",
                 f->name, block, what, met, expected);
}

/* layers of the transformer at a block; 0 = it has none */
static int depth_of(const ti_single_file *f, const char *block)
{
  int n = 0;

  while (n <= 2 * TI_SINGLE_LAYERS &&
         ti_single_find(f, "%s.1.transformer_blocks.%d.norm1.weight", block, n))
    n++;
  return n;
}

static textinv_status measure_unet(ti_single_file *f, ti_error *error)
{
  static const char unet[] = TI_SINGLE_UNET;
  ti_single_unet *u = &f->unet;
  char block[64];

  u->in_channels = ti_single_dim(f, 1, "%sinput_blocks.0.0.weight", unet);
  u->out_channels = ti_single_dim(f, 0, "%sout.2.weight", unet);
  u->label_dim = ti_single_dim(f, 1, "%slabel_emb.0.0.weight", unet);
  for (int i = 1, level = 0;; i++) {
    int channels, depth;

    ti_format(block, sizeof(block), "%sinput_blocks.%d", unet, i);
    if (ti_single_find(f, "%s.0.op.weight", block)) {
      if (++level == TI_SINGLE_BLOCKS)
        return ti_fail(error, TEXTINV_E_LIMIT, "%s: the UNet has over %d levels", f->name,
                       TI_SINGLE_BLOCKS);
      continue;
    }
    if (!(channels = ti_single_dim(f, 0, "%s.0.in_layers.2.weight", block))) {
      ti_format(block, sizeof(block), "%sinput_blocks.%d.", unet, i);
      if (!ti_single_any(f, block))
        break;
      return ti_fail(error, TEXTINV_E_FORMAT, "%s: tensor %s0.in_layers.2.weight is missing",
                     f->name, block);
    }
    depth = depth_of(f, block);
    if (!u->layers[level]++) {
      u->channels[level] = channels;
      u->depth[level] = depth;
    }
    if (channels != u->channels[level])
      return odd(f, error, "channels", i, channels, u->channels[level]);
    if (depth != u->depth[level])
      return odd(f, error, "transformer layers", i, depth, u->depth[level]);
    if (depth && !u->context_dim)
      u->context_dim = ti_single_dim(f, 1, "%s.1.transformer_blocks.0.attn2.to_k.weight", block);
    if (u->layers[level] > TI_SINGLE_LAYERS)
      return ti_fail(error, TEXTINV_E_LIMIT, "%s: a level of the UNet has over %d layers", f->name,
                     TI_SINGLE_LAYERS);
    u->blocks = level + 1;
  }
  if (!u->blocks || !u->context_dim)
    return ti_fail(error, TEXTINV_E_FORMAT, "%s: the UNet has no %s: is the file whole?", f->name,
                   u->blocks ? "attention to the prompt" : "blocks");
  ti_format(block, sizeof(block), "%smiddle_block", unet);
  u->middle = depth_of(f, block);
  if (u->depth[u->blocks - 1] && u->depth[u->blocks - 1] != u->middle)
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: the middle of the UNet has %d transformer layers, expected %d as in the "
                   "level before it",
                   f->name, u->middle, u->depth[u->blocks - 1]);
  return TEXTINV_OK;
}

static textinv_status measure_vae(ti_single_file *f, ti_error *error)
{
  static const char vae[] = TI_SINGLE_VAE;
  ti_single_vae *v = &f->vae;
  int channels;

  v->in_channels = ti_single_dim(f, 1, "%sencoder.conv_in.weight", vae);
  v->out_channels = ti_single_dim(f, 0, "%sdecoder.conv_out.weight", vae);
  v->latent_channels = ti_single_dim(f, 1, "%sdecoder.conv_in.weight", vae);
  v->quant_conv = ti_single_find(f, "%squant_conv.weight", vae) != NULL;
  v->post_quant_conv = ti_single_find(f, "%spost_quant_conv.weight", vae) != NULL;
  v->attention = ti_single_find(f, "%sdecoder.mid.attn_1.q.weight", vae) != NULL;
  while (
    (channels = ti_single_dim(f, 0, "%sencoder.down.%d.block.0.conv1.weight", vae, v->blocks))) {
    if (v->blocks == TI_SINGLE_BLOCKS)
      return ti_fail(error, TEXTINV_E_LIMIT, "%s: the autoencoder has over %d levels", f->name,
                     TI_SINGLE_BLOCKS);
    v->channels[v->blocks++] = channels;
  }
  while (v->layers < TI_SINGLE_LAYERS &&
         ti_single_find(f, "%sencoder.down.0.block.%d.conv1.weight", vae, v->layers))
    v->layers++;
  if (!v->blocks || !v->latent_channels)
    return ti_fail(error, TEXTINV_E_FORMAT, "%s: the autoencoder has no %s: is the file whole?",
                   f->name, v->blocks ? "decoder" : "encoder");
  return TEXTINV_OK;
}

static textinv_status measure_text(ti_single_file *f, ti_error *error, int i)
{
  enum { MAX_LAYERS = 128, VIT_H_LAYERS = 24 };
  ti_single_text *t = &f->texts[i];
  const char *p = t->prefix;

  if (t->open_clip) {
    t->vocab = ti_single_dim(f, 0, "%stoken_embedding.weight", p);
    t->width = ti_single_dim(f, 1, "%stoken_embedding.weight", p);
    t->positions = ti_single_dim(f, 0, "%spositional_embedding", p);
    t->inner = ti_single_dim(f, 0, "%stransformer.resblocks.0.mlp.c_fc.weight", p);
    t->projection = ti_single_dim(f, 1, "%stext_projection", p);
    while (t->layers < MAX_LAYERS &&
           ti_single_find(f, "%stransformer.resblocks.%d.ln_1.weight", p, t->layers))
      t->layers++;
    if (f->kind == TI_SINGLE_SD2) {
      /* it takes the state before the last of 24 layers; what diffusers has saved is without that
       * layer. In other sizes the projection tells, which is lost with it */
      t->layers -= t->layers == VIT_H_LAYERS || (t->projection && t->layers != VIT_H_LAYERS - 1);
      t->projection = 0;
    }
  } else {
    t->vocab = ti_single_dim(f, 0, "%sembeddings.token_embedding.weight", p);
    t->width = ti_single_dim(f, 1, "%sembeddings.token_embedding.weight", p);
    t->positions = ti_single_dim(f, 0, "%sembeddings.position_embedding.weight", p);
    t->inner = ti_single_dim(f, 0, "%sencoder.layers.0.mlp.fc1.weight", p);
    while (t->layers < MAX_LAYERS &&
           ti_single_find(f, "%sencoder.layers.%d.layer_norm1.weight", p, t->layers))
      t->layers++;
  }
  if (!t->width || !t->positions || !t->inner)
    return ti_fail(error, TEXTINV_E_FORMAT,
                   "%s: a text encoder (%s*) has no %s: is the file whole?", f->name, p,
                   !t->width       ? "table of tokens"
                   : !t->positions ? "positions"
                                   : "layers");
  if (t->layers < (f->kind == TI_SINGLE_SDXL ? 2 : 1))
    return ti_fail(error, TEXTINV_E_SHAPE,
                   "%s: a text encoder (%s*) has too few layers: the state before the last is "
                   "needed",
                   f->name, p);
  if (t->width % HEAD)
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: a text encoder (%s*) is %d wide, expected a multiple of %d", f->name, p,
                   t->width, HEAD);
  return TEXTINV_OK;
}

/* do the parts fit each other? */
static textinv_status check_fit(const ti_single_file *f, ti_error *error)
{
  const ti_single_unet *u = &f->unet;
  const int pooled = f->texts[1].projection, sizes = u->label_dim - pooled;
  const int c = f->vae.latent_channels;
  int width = 0;

  /* for inpainting it takes a mask and the latents of the masked picture, too */
  if ((u->in_channels != c && u->in_channels != 2 * c + 1) || u->out_channels != c)
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: the UNet takes %d channels and gives %d, the latents of the autoencoder "
                   "have %d",
                   f->name, u->in_channels, u->out_channels, c);
  for (int i = 0; i < f->num_texts; i++)
    width += f->texts[i].width;
  if (u->context_dim != width)
    return ti_fail(error, TEXTINV_E_SHAPE,
                   "%s: the UNet takes prompts of %d values a token, the text encoders give %d",
                   f->name, u->context_dim, width);
  for (int i = 0; i < u->blocks && f->kind != TI_SINGLE_SD1; i++) {
    if ((u->depth[i] || (i + 1 == u->blocks && u->middle)) && u->channels[i] % HEAD)
      return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                     "%s: level %d of the UNet has attention over %d channels, expected a "
                     "multiple of %d",
                     f->name, i, u->channels[i], HEAD);
  }
  if (f->kind == TI_SINGLE_SDXL && (!pooled || sizes <= 0 || sizes % 6))
    return ti_fail(error, TEXTINV_E_SHAPE,
                   "%s: the UNet takes %d values beside the prompt, the pooled text has %d: the "
                   "rest is not that of six numbers",
                   f->name, u->label_dim, pooled);
  return TEXTINV_OK;
}

textinv_status ti_single_measure(ti_single_file *file, ti_error *error)
{
  textinv_status status;

  if ((status = measure_unet(file, error)) < 0 || (status = measure_vae(file, error)) < 0)
    return status;
  for (int i = 0; i < file->num_texts; i++) {
    if ((status = measure_text(file, error, i)) < 0)
      return status;
  }
  return check_fit(file, error);
}

/* ------ configs */

/* how many of the calls that put something into an object have failed */
static int put(json_t *object, const char *key, json_t *value)
{
  return json_object_set_new(object, key, value) != 0;
}

static int put_int(json_t *object, const char *key, int value)
{
  return put(object, key, json_integer(value));
}

static int put_string(json_t *object, const char *key, const char *value)
{
  return put(object, key, json_string(value));
}

static int put_ints(json_t *object, const char *key, const int *values, int count)
{
  json_t *array = json_array();
  int failed = 0;

  for (int i = 0; i < count; i++)
    failed |= json_array_append_new(array, json_integer(values[i])) != 0;
  return failed | put(object, key, array);
}

/* for every block one of two strings */
static int put_types(json_t *object, const char *key, const char *plain, const char *crossed,
                     const int *flags, int count, int backwards)
{
  json_t *array = json_array();
  int failed = 0;

  for (int i = 0; i < count; i++) {
    const int flag = flags && flags[backwards ? count - 1 - i : i];

    failed |= json_array_append_new(array, json_string(flag ? crossed : plain)) != 0;
  }
  return failed | put(object, key, array);
}

static int put_class(json_t *object, const char *component, const char *library, const char *name)
{
  return put(object, component, json_pack("[s,s]", library, name));
}

/* width and height that it was trained for */
static int pixels(const ti_single_file *f)
{
  if (f->kind == TI_SINGLE_SDXL)
    return 1024;
  return f->kind == TI_SINGLE_SD2 && f->v_prediction ? 768 : 512;
}

static int describe_unet(json_t *o, const ti_single_file *f)
{
  static const char down[] = "DownBlock2D", down_crossed[] = "CrossAttnDownBlock2D",
                    up[] = "UpBlock2D", up_crossed[] = "CrossAttnUpBlock2D";
  const ti_single_unet *u = &f->unet;
  const int size = pixels(f) >> (f->vae.blocks - 1);
  int heads[TI_SINGLE_BLOCKS], depth[TI_SINGLE_BLOCKS], failed;

  for (int i = 0; i < u->blocks; i++) {
    /* a level without attention may have any width */
    heads[i] = f->kind == TI_SINGLE_SD1 ? 8 : u->channels[i] % HEAD ? 1 : u->channels[i] / HEAD;
    depth[i] = u->depth[i] ? u->depth[i] : i + 1 == u->blocks && u->middle ? u->middle : 1;
  }
  failed = put_int(o, "in_channels", u->in_channels) | put_int(o, "out_channels", u->out_channels) |
           put_int(o, "sample_size", size) | put_int(o, "cross_attention_dim", u->context_dim) |
           put_ints(o, "block_out_channels", u->channels, u->blocks) |
           put_ints(o, "layers_per_block", u->layers, u->blocks) |
           put_ints(o, "attention_head_dim", heads, u->blocks) |
           put_ints(o, "transformer_layers_per_block", depth, u->blocks) |
           put_types(o, "down_block_types", down, down_crossed, u->depth, u->blocks, 0) |
           put_types(o, "up_block_types", up, up_crossed, u->depth, u->blocks, 1);
  if (f->kind == TI_SINGLE_SDXL)
    failed |= put_string(o, "addition_embed_type", "text_time") |
              put_int(o, "addition_time_embed_dim", (u->label_dim - f->texts[1].projection) / 6) |
              put_int(o, "projection_class_embeddings_input_dim", u->label_dim);
  return failed;
}

static int describe_vae(json_t *o, const ti_single_file *f)
{
  const ti_single_vae *v = &f->vae;

  return put_int(o, "in_channels", v->in_channels) | put_int(o, "out_channels", v->out_channels) |
         put_int(o, "latent_channels", v->latent_channels) |
         put_int(o, "layers_per_block", v->layers) | put_int(o, "sample_size", pixels(f)) |
         put_ints(o, "block_out_channels", v->channels, v->blocks) |
         put_types(o, "down_block_types", "DownEncoderBlock2D", NULL, NULL, v->blocks, 0) |
         put_types(o, "up_block_types", "UpDecoderBlock2D", NULL, NULL, v->blocks, 0) |
         put(o, "use_quant_conv", json_boolean(v->quant_conv)) |
         put(o, "use_post_quant_conv", json_boolean(v->post_quant_conv)) |
         put(o, "mid_block_add_attention", json_boolean(v->attention)) |
         put(o, "scaling_factor", json_real(f->kind == TI_SINGLE_SDXL ? 0.13025 : 0.18215));
}

static int describe_text(json_t *o, const ti_single_text *t)
{
  return put_int(o, "vocab_size", t->vocab) | put_int(o, "hidden_size", t->width) |
         put_int(o, "intermediate_size", t->inner) | put_int(o, "num_hidden_layers", t->layers) |
         put_int(o, "num_attention_heads", t->width / HEAD) |
         put_int(o, "max_position_embeddings", t->positions) |
         put_string(o, "hidden_act", t->open_clip ? "gelu" : "quick_gelu") |
         (t->projection ? put_int(o, "projection_dim", t->projection) : 0);
}

static const char *scheduler(const ti_single_file *f)
{
  if (f->kind == TI_SINGLE_SDXL)
    return "EulerDiscreteScheduler";
  return f->v_prediction ? "DDIMScheduler" : "PNDMScheduler";
}

/* as the published folders of these models have it */
static int describe_scheduler(json_t *o, const ti_single_file *f)
{
  int failed = put_string(o, "_class_name", scheduler(f)) |
               put_string(o, "beta_schedule", "scaled_linear") |
               put(o, "beta_start", json_real(0.00085)) | put(o, "beta_end", json_real(0.012)) |
               put_int(o, "num_train_timesteps", 1000) | put_int(o, "steps_offset", 1) |
               put(o, "clip_sample", json_false()) | put(o, "set_alpha_to_one", json_false()) |
               put(o, "skip_prk_steps", json_true()) |
               put_string(o, "prediction_type", f->v_prediction ? "v_prediction" : "epsilon");

  if (f->zero_snr) /* which counts only when drawing begins with the last timestep */
    failed |= put(o, "rescale_betas_zero_snr", json_true()) |
              put_string(o, "timestep_spacing", "trailing");
  else if (f->kind == TI_SINGLE_SDXL)
    failed |= put_string(o, "timestep_spacing", "leading");
  return failed;
}

/* a config that is complete unless something has failed; component is for messages */
static textinv_status finish(ti_json *out, ti_error *error, const ti_single_file *f,
                             const char *component, json_t *object, int failed)
{
  const size_t size = strlen(f->name) + strlen(component) + 3;

  *out = (ti_json){ object, ti_calloc(size, 1) };
  if (!object || !out->path || failed) {
    ti_json_close(out);
    return ti_fail_nomem(error, size, f->name);
  }
  ti_format(out->path, size, "%s: %s", f->name, component);
  return TEXTINV_OK;
}

textinv_status ti_single_file_index(const ti_single_file *file, ti_error *error, ti_json *out)
{
  json_t *o = json_object();
  int failed = put_class(o, "unet", "diffusers", "UNet2DConditionModel") |
               put_class(o, "vae", "diffusers", "AutoencoderKL") |
               put_class(o, "scheduler", "diffusers", scheduler(file)) |
               put_class(o, "text_encoder", "transformers", "CLIPTextModel");

  if (file->num_texts > 1)
    failed |= put_class(o, "text_encoder_2", "transformers", "CLIPTextModelWithProjection");
  return finish(out, error, file, "pipeline", o, failed);
}

textinv_status ti_single_file_config(const ti_single_file *file, ti_error *error,
                                     const char *component, ti_json *out)
{
  json_t *o = json_object();
  const int failed = !strcmp(component, "unet")  ? describe_unet(o, file)
                     : !strcmp(component, "vae") ? describe_vae(o, file)
                     : !strcmp(component, "scheduler")
                       ? describe_scheduler(o, file)
                       : describe_text(o, file->texts + !strcmp(component, "text_encoder_2"));

  return finish(out, error, file, component, o, failed);
}
