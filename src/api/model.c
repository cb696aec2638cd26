/* Models: the networks, tokenizers and schedule of one folder or file, checked whole before
 * anything runs.
 */
#include <stdatomic.h>
#include <string.h>

#include "alloc.h"
#include "api.h"
#include "format.h"
#include "hash.h"
#include "library.h"

static const textinv_model_info info_defaults = { .struct_size = sizeof(textinv_model_info) };
static const size_t MODEL_INFO_MIN = offsetof(textinv_model_info, needs_mask);

static const char *const encoder_names[] = { "text_encoder", "text_encoder_2" };
static const char *const tokenizer_names[] = { "tokenizer", "tokenizer_2" };

/* LDMTextToImagePipeline asks for so many, whatever its tokenizer says */
enum { LDM_TOKENS = 77 };

static const char *encoder_name(const textinv_model *m, int i)
{
  return m->ldm ? "bert" : encoder_names[i];
}

static const char *vae_name(const textinv_model *m)
{
  return m->ldm ? "vqvae" : "vae";
}

/* what StableDiffusionPipeline changes in a model's configs, others leave */
static int is_updated(const textinv_model *m)
{
  return !m->ldm && !ti_model_is_xl(m);
}

int ti_model_is_xl(const textinv_model *model)
{
  return model->unet.text_time;
}

int ti_model_needs_mask(const textinv_model *model)
{
  return model->unet.in_channels > model->vae.latent_channels;
}

uint64_t ti_model_parameters(const textinv_model *model)
{
  uint64_t sum = model->unet_weights.parameters + model->vae_weights.parameters;

  for (int i = 0; i < model->num_encoders; i++)
    sum += model->encoders[i].weights.parameters;
  return sum;
}

uint64_t ti_model_bytes(const textinv_model *model)
{
  uint64_t sum = model->unet_weights.bytes + model->vae_weights.bytes;

  for (int i = 0; i < model->num_encoders; i++)
    sum += model->encoders[i].weights.bytes;
  return sum;
}

uint64_t ti_model_new_id(void)
{
  static atomic_uint_least64_t next_id = 1;

  return atomic_fetch_add(&next_id, 1);
}

/* ------------------------------------------------------------------ reading */

static textinv_status check_class(const ti_model_dir *dir, ti_error *error, const char *component,
                                  const char *known, const char *known_too, const char **found)
{
  const char *name;
  textinv_status status = ti_model_dir_class(dir, error, component, &name);

  if (status < 0)
    return status;
  if (!name)
    return ti_fail(error, TEXTINV_E_FORMAT, "%s/model_index.json: %s is missing", dir->path,
                   component);
  if (strcmp(name, known) && (!known_too || strcmp(name, known_too)))
    return ti_fail(error, TEXTINV_E_UNSUPPORTED, "%s/model_index.json: %s is a %s; known %s %s%s%s",
                   dir->path, component, name, known_too ? "are" : "is", known,
                   known_too ? " and " : "", known_too ? known_too : "");
  *found = name;
  return TEXTINV_OK;
}

static textinv_status read_kind(textinv_model *m, ti_error *error)
{
  const char *name;
  const textinv_status status = ti_model_dir_class(&m->dir, error, "bert", &name);

  m->ldm = name != NULL;
  return status;
}

/* diffusers hides the padding from the encoder where its config says so, but for SDXL */
static textinv_status check_mask(const textinv_model *m, ti_error *error, const ti_json *json)
{
  textinv_status status;
  int masked;

  if ((status = ti_json_bool(json, error, "use_attention_mask", 0, &masked)) < 0)
    return status;
  if (masked && !ti_model_is_xl(m))
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: use_attention_mask is true; only false is supported", json->path);
  return TEXTINV_OK;
}

/* a single file has none: it is CLIP's, and the token that fills prompts that of its encoder */
static textinv_status open_tokenizer(textinv_model *m, ti_error *error, int i)
{
  ti_text_encoder *e = &m->encoders[i];
  const ti_single_file *file = m->dir.file;
  char folder[TI_PATH_SIZE];
  textinv_status status;

  e->tokenizer = ti_calloc(1, sizeof(*e->tokenizer));
  if (!e->tokenizer)
    return ti_fail_nomem(error, sizeof(*e->tokenizer), "a tokenizer");
  if (!file)
    ti_format(folder, sizeof(folder), "%s/%s", m->dir.path, tokenizer_names[i]);
  else if ((status = ti_library_data(folder, sizeof(folder), error, "clip-tokenizer", "merges.txt",
                                     "CLIP's vocabulary, which no model in one file has,",
                                     "\"make install\" puts it there")) < 0)
    return status;
  if ((status = ti_tokenizer_open(&e->tokenizer->t, error, folder,
                                  file ? ti_single_file_pad(file, i) : NULL)) < 0)
    return status;
  if (ti_tokenizer_kind_of(e->tokenizer->t) != (m->ldm ? TI_TOKENIZER_BERT : TI_TOKENIZER_CLIP))
    return ti_fail(error, TEXTINV_E_UNSUPPORTED, "%s is not the tokenizer of a %s model", folder,
                   m->ldm ? "BERT" : "CLIP");
  if (ti_tokenizer_size(e->tokenizer->t) > (uint32_t)e->config.vocab)
    return ti_fail(error, TEXTINV_E_SHAPE, "%s has %u words, the table of %s/%s %d", folder,
                   ti_tokenizer_size(e->tokenizer->t), m->dir.path, encoder_name(m, i),
                   e->config.vocab);
  return TEXTINV_OK;
}

static textinv_status read_encoder(textinv_model *m, ti_error *error, int i)
{
  static const char clip[] = "CLIPTextModel", projected[] = "CLIPTextModelWithProjection";
  ti_text_encoder *e = &m->encoders[i];
  const char *name = encoder_name(m, i), *class_name = NULL;
  ti_json json = { NULL, NULL };
  textinv_status status;

  if ((status = check_class(&m->dir, error, name, m->ldm ? "LDMBertModel" : clip,
                            m->ldm ? NULL : projected, &class_name)) < 0 ||
      (status = ti_model_dir_config(&m->dir, error, name, &json)) < 0)
    return status;
  if (m->ldm)
    status = ti_bert_text_read(&e->config, &e->bert, error, &json);
  else if ((status = check_mask(m, error, &json)) >= 0)
    status = ti_clip_text_read(&e->config, &e->clip, error, &json, !strcmp(class_name, projected));
  ti_json_close(&json);
  if (status < 0 || (status = ti_weights_open(&e->weights, error, &m->dir, name,
                                              m->ldm ? "model." : "text_model.")) < 0)
    return status;
  return open_tokenizer(m, error, i);
}

static textinv_status read_encoders(textinv_model *m, ti_error *error)
{
  const char *second;
  textinv_status status = ti_model_dir_class(&m->dir, error, encoder_names[1], &second);

  if (status < 0)
    return status;
  m->num_encoders = second && !m->ldm ? 2 : 1;
  for (int i = 0; i < m->num_encoders; i++) {
    const ti_text_encoder *e = &m->encoders[i];

    if ((status = read_encoder(m, error, i)) < 0)
      return status;
    const int longest = m->ldm ? LDM_TOKENS : ti_tokenizer_max_length(e->tokenizer->t);
    const int tokens = longest < e->config.positions ? longest : e->config.positions;

    if (tokens < 3)
      return ti_fail(error, TEXTINV_E_SHAPE, "%s/%s: prompts of %d tokens are too short",
                     m->dir.path, tokenizer_names[i], tokens);
    if (!m->tokens || tokens < m->tokens)
      m->tokens = tokens;
    m->context_dim += e->config.width;
  }
  return TEXTINV_OK;
}

static textinv_status read_unet(textinv_model *m, ti_error *error)
{
  const char *class_name;
  ti_json json = { NULL, NULL };
  textinv_status status;

  if ((status = check_class(&m->dir, error, "unet", "UNet2DConditionModel", NULL, &class_name)) <
        0 ||
      (status = ti_model_dir_config(&m->dir, error, "unet", &json)) < 0)
    return status;
  if ((status = ti_unet_read(&m->unet, error, &json)) >= 0 && is_updated(m))
    status = ti_unet_update(&m->unet, error, &json);
  ti_json_close(&json);
  m->pooled_dim = ti_unet_pooled_dim(&m->unet);
  return status < 0 ? status : ti_weights_open(&m->unet_weights, error, &m->dir, "unet", NULL);
}

static textinv_status read_vae(textinv_model *m, ti_error *error)
{
  const char *class_name;
  ti_json json = { NULL, NULL };
  textinv_status status;

  if ((status = check_class(&m->dir, error, vae_name(m), "AutoencoderKL", NULL, &class_name)) < 0 ||
      (status = ti_model_dir_config(&m->dir, error, vae_name(m), &json)) < 0)
    return status;
  status = ti_vae_read(&m->vae, error, &json);
  ti_json_close(&json);
  return status < 0 ? status : ti_weights_open(&m->vae_weights, error, &m->dir, vae_name(m), NULL);
}

static textinv_status read_schedule(textinv_model *m, ti_error *error)
{
  ti_json json = { NULL, NULL };
  const char *class_name;
  textinv_status status;

  if ((status = ti_model_dir_class(&m->dir, error, "scheduler", &class_name)) < 0 ||
      (status = ti_model_dir_config(&m->dir, error, "scheduler", &json)) < 0)
    return status;
  status = ti_schedule_read(&m->schedule, error, &json, class_name, m->dir.index.path);
  ti_json_close(&json);
  if (status >= 0 && is_updated(m))
    ti_schedule_update(&m->schedule, ti_model_needs_mask(m));
  return status;
}

/* do the parts fit each other? */
static textinv_status check_parts(const textinv_model *m, ti_error *error)
{
  const char *path = m->dir.path;
  const int xl = ti_model_is_xl(m), in = m->unet.in_channels, c = m->vae.latent_channels;

  if (in != c && in != 2 * c + 1)
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s/unet/config.json: in_channels %d; the autoencoder has %d latent channels, "
                   "so %d are expected, or %d for inpainting (models that take depth, or a picture "
                   "to edit or enlarge, are not supported)",
                   path, in, c, c, 2 * c + 1);
  if (m->unet.out_channels != m->vae.latent_channels)
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s/unet/config.json: out_channels %d; the autoencoder has %d latent channels",
                   path, m->unet.out_channels, m->vae.latent_channels);
  if (m->unet.context_dim[0] != m->context_dim)
    return ti_fail(error, TEXTINV_E_SHAPE,
                   "%s/unet/config.json: cross_attention_dim %d; the text encoders give %d", path,
                   m->unet.context_dim[0], m->context_dim);
  if (!xl && m->num_encoders != 1)
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: two text encoders without addition_embed_type \"text_time\"", path);
  const ti_text_encoder *last = &m->encoders[m->num_encoders - 1];

  if (xl && m->ldm)
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s/unet/config.json: addition_embed_type \"text_time\" with a BERT", path);
  if (xl && m->pooled_dim != last->clip.projection)
    return ti_fail(
      error, TEXTINV_E_SHAPE,
      "%s/unet/config.json: projection_class_embeddings_input_dim leaves %d values for the "
      "pooled text; %s gives %d",
      path, m->pooled_dim, encoder_names[m->num_encoders - 1], last->clip.projection);
  for (int i = 0; xl && i < m->num_encoders; i++) {
    if (m->encoders[i].config.layers < 2)
      return ti_fail(error, TEXTINV_E_SHAPE,
                     "%s/%s: one layer; the state before the last is needed", path,
                     encoder_names[i]);
  }
  return TEXTINV_OK;
}

textinv_status ti_model_check_network(const textinv_model *m, textinv_session *s,
                                      const char *component, const ti_plan_key *key)
{
  size_t bytes;
  const textinv_status status = ti_plan_measure(&bytes, s, m, key);
  const ti_error met = s->error;

  if (status < 0 && status != TEXTINV_E_NOMEM &&
      strncmp(met.text, m->dir.path, strlen(m->dir.path)))
    return ti_fail(&s->error, status, "%s%s%s: %s", m->dir.path, *component ? "/" : "", component,
                   met.text);
  return status;
}

/*
 * Record every network at its smallest size: builders check that each tensor is there and has the
 * shape that the configs ask for. Nothing is allocated for values.
 */
static textinv_status check_networks(const textinv_model *m, textinv_session *s)
{
  const int least = 1 << (m->unet.blocks - 1);
  textinv_status status;
  ti_plan_key key = { .n = 1, .h = least, .w = least };

  key.kind = TI_PLAN_UNET;
  if ((status = ti_model_check_network(m, s, "unet", &key)) < 0)
    return status;
  key.kind = TI_PLAN_DECODE;
  if ((status = ti_model_check_network(m, s, vae_name(m), &key)) < 0)
    return status;
  key.kind = TI_PLAN_ENCODE;
  if ((status = ti_model_check_network(m, s, vae_name(m), &key)) < 0)
    return status;
  key.kind = TI_PLAN_TEXT;
  for (key.encoder = 0; key.encoder < m->num_encoders; key.encoder++) {
    if ((status = ti_model_check_network(m, s, encoder_name(m, key.encoder), &key)) < 0)
      return status;
  }
  return TEXTINV_OK;
}

/* ------------------------------------------------------------------ fingerprint */

/* names, shapes and 64 bytes from each of 16 places of every tensor */
static uint64_t hash_weights(uint64_t hash, const ti_weights *w)
{
  for (size_t i = 0; i < w->count; i++) {
    const ti_weight *item = &w->items[i];
    const size_t bytes = item->count * ti_dtype_size(item->dtype);

    hash = ti_hash(hash, item->name, strlen(item->name) + 1);
    hash = ti_hash(hash, item->dims, sizeof(item->dims));
    for (size_t k = 0; k < 16; k++) {
      const size_t at = bytes / 16 * k, len = bytes - at < 64 ? bytes - at : 64;

      hash = ti_hash(hash, (const char *)item->data + at, len);
    }
  }
  return hash;
}

static void set_fingerprint(textinv_model *m)
{
  uint64_t hash = TI_HASH_START;

  for (int i = 0; i < m->num_encoders; i++)
    hash = hash_weights(hash, &m->encoders[i].weights);
  hash = hash_weights(hash, &m->unet_weights);
  hash = hash_weights(hash, &m->vae_weights);
  hash = ti_hash(hash, m->schedule.alphas_cumprod,
                 (size_t)m->schedule.timesteps * sizeof(*m->schedule.alphas_cumprod));
  hash = ti_hash(hash, &m->schedule.prediction, sizeof(m->schedule.prediction));
  ti_format(m->fingerprint, sizeof(m->fingerprint), "%016llx", (unsigned long long)hash);
}

/* ------------------------------------------------------------------ exported */

textinv_status textinv_model_open(textinv_model **out, textinv_session *session, const char *path)
{
  ti_error *error = ti_begin(session);
  char default_path[TI_PATH_SIZE];
  textinv_model *m;
  textinv_status status;

  if (out)
    *out = NULL;
  if ((status = ti_check_null(error, out, "out")) < 0 ||
      (status = ti_check_null(error, session, "session")) < 0)
    return status;
  if (!path) {
    if ((status = ti_library_data(default_path, sizeof(default_path), error, "toybox",
                                  "model_index.json", "the default model", "name a model")) < 0)
      return status;
    path = default_path;
  }
  m = ti_calloc(1, sizeof(*m));
  if (!m)
    return ti_fail_nomem(error, sizeof(*m), "a model");
  m->id = ti_model_new_id();
  if ((status = ti_model_dir_open(&m->dir, error, path)) < 0 ||
      (status = read_kind(m, error)) < 0 || (status = read_unet(m, error)) < 0 ||
      (status = read_vae(m, error)) < 0 || (status = read_schedule(m, error)) < 0 ||
      (status = ti_json_bool(&m->dir.index, error, "force_zeros_for_empty_prompt",
                             ti_model_is_xl(m), &m->zero_no_negative)) < 0 ||
      (status = read_encoders(m, error)) < 0 || (status = check_parts(m, error)) < 0 ||
      (status = check_networks(m, session)) < 0) {
    textinv_model_free(m);
    return status;
  }
  m->size = m->unet.sample_size * ti_vae_scale(&m->vae);
  set_fingerprint(m);
  *out = m;
  return TEXTINV_OK;
}

void textinv_model_free(textinv_model *model)
{
  if (!model)
    return;
  for (int i = 0; i < TI_MAX_ENCODERS; i++) {
    ti_weights_close(&model->encoders[i].weights);
    textinv_tokenizer_free(model->encoders[i].tokenizer);
  }
  ti_weights_close(&model->unet_weights);
  ti_weights_close(&model->vae_weights);
  ti_schedule_free(&model->schedule);
  ti_model_dir_close(&model->dir);
  ti_free(model);
}

textinv_status textinv_model_info_init(textinv_model_info *info, size_t size)
{
  return ti_params_init(info, size, &info_defaults, sizeof(info_defaults), MODEL_INFO_MIN);
}

textinv_status textinv_model_get_info(const textinv_model *model, textinv_model_info *info)
{
  static const char *const predictions[] = { "epsilon", "v_prediction", "sample" };
  ti_error *error = ti_begin(NULL);
  textinv_model_info full = info_defaults;
  textinv_status status;

  if ((status = ti_check_null(error, model, "model")) < 0 ||
      (status = ti_check_null(error, info, "info")) < 0 ||
      (status = ti_struct_check(error, info, MODEL_INFO_MIN, "model_info")) < 0)
    return status;
  full.path = model->dir.path;
  full.fingerprint = model->fingerprint;
  full.prediction = predictions[model->schedule.prediction];
  full.sampler = ti_sampler_name(model->schedule.sampler);
  full.num_encoders = (uint32_t)model->num_encoders;
  for (int i = 0; i < model->num_encoders; i++)
    full.embedding_dim[i] = (uint32_t)model->encoders[i].config.width;
  full.context_dim = (uint32_t)model->context_dim;
  full.pooled_dim = (uint32_t)model->pooled_dim;
  full.max_tokens = (uint32_t)model->tokens;
  full.latent_channels = (uint32_t)model->vae.latent_channels;
  full.latent_scale = (uint32_t)ti_vae_scale(&model->vae);
  full.size = (uint32_t)model->size;
  full.train_timesteps = (uint32_t)model->schedule.timesteps;
  full.parameters = ti_model_parameters(model);
  full.needs_mask = (uint32_t)ti_model_needs_mask(model);
  ti_struct_write(info, &full, sizeof(full));
  return TEXTINV_OK;
}

const float *textinv_model_alphas_cumprod(const textinv_model *model)
{
  return model ? model->schedule.alphas_cumprod : NULL;
}
