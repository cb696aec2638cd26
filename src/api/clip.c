/* CLIP (Radford et al. 2021): the two towers that pictures and texts are compared with. */
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "alloc.h"
#include "api.h"
#include "format.h"
#include "library.h"

static const textinv_clip_info info_defaults = { .struct_size = sizeof(textinv_clip_info) };
static const size_t CLIP_INFO_MIN = sizeof(textinv_clip_info);

/* ------------------------------------------------------------------ reading */

static textinv_status open_config(ti_json *out, ti_error *error, const char *folder)
{
  char path[TI_PATH_SIZE];
  const char *type;
  textinv_status status;
  struct stat st;

  ti_format(path, sizeof(path), "%s/config.json", folder);
  if (stat(path, &st))
    return ti_fail(error, TEXTINV_E_NOT_FOUND,
                   "%s: there is no config.json, expected the folder of a CLIPModel", folder);
  if ((status = ti_json_open(out, error, path)) < 0 ||
      (status = ti_json_string(out, error, "model_type", "clip", &type)) < 0)
    return status;
  if (strcmp(type, "clip"))
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: model_type \"%s\"; known is \"clip\", a CLIPModel with both towers", path,
                   type);
  return TEXTINV_OK;
}

static textinv_status read_towers(textinv_model *m, ti_error *error)
{
  ti_text_encoder *e = &m->encoders[0];
  ti_json json = { NULL, NULL }, text = { NULL, NULL }, vision = { NULL, NULL };
  textinv_status status;

  /* transformers takes both projections from here, whatever the towers' own configs say */
  if ((status = open_config(&json, error, m->dir.path)) >= 0 &&
      (status = ti_json_object(&json, error, "text_config", &text)) >= 0 &&
      (status = ti_json_object(&json, error, "vision_config", &vision)) >= 0 &&
      (status = ti_clip_text_read(&e->config, &e->clip, error, &text, 0)) >= 0 &&
      (status = ti_clip_vision_read(&m->vision, error, &vision)) >= 0)
    status = ti_json_int(&json, error, "projection_dim", 512, 1, 16384, &m->vision.projection);
  e->clip.projection = m->vision.projection;
  ti_json_close(&vision);
  ti_json_close(&text);
  ti_json_close(&json);
  if (status < 0 || (status = ti_weights_open(&e->weights, error, &m->dir, "", "text_model.")) < 0)
    return status;
  return ti_clip_vision_flatten(&e->weights, error, &m->vision);
}

static textinv_status read_tokenizer(textinv_model *m, ti_error *error)
{
  ti_text_encoder *e = &m->encoders[0];
  textinv_status status;

  e->tokenizer = ti_calloc(1, sizeof(*e->tokenizer));
  if (!e->tokenizer)
    return ti_fail_nomem(error, sizeof(*e->tokenizer), "a tokenizer");
  if ((status = ti_tokenizer_open(&e->tokenizer->t, error, m->dir.path, NULL)) < 0)
    return status;
  if (ti_tokenizer_kind_of(e->tokenizer->t) != TI_TOKENIZER_CLIP)
    return ti_fail(error, TEXTINV_E_UNSUPPORTED, "%s: the tokenizer is BERT's, expected CLIP's",
                   m->dir.path);
  const int longest = ti_tokenizer_max_length(e->tokenizer->t);

  m->tokens = longest < e->config.positions ? longest : e->config.positions;
  if (m->tokens < 3)
    return ti_fail(error, TEXTINV_E_SHAPE, "%s: texts of %d tokens are too short", m->dir.path,
                   m->tokens);
  if (ti_tokenizer_size(e->tokenizer->t) > (uint32_t)e->config.vocab)
    return ti_fail(error, TEXTINV_E_SHAPE, "%s: the tokenizer has %u words, the table %d",
                   m->dir.path, ti_tokenizer_size(e->tokenizer->t), e->config.vocab);
  return TEXTINV_OK;
}

/* what transformers 5 writes has the settings of pictures in a file with those of texts */
static textinv_status read_image(textinv_clip *clip, ti_error *error)
{
  const int side = clip->model.vision.side;
  char path[TI_PATH_SIZE];
  ti_json json = { NULL, NULL }, image = { NULL, NULL };
  textinv_status status;
  struct stat st;

  ti_format(path, sizeof(path), "%s/preprocessor_config.json", clip->model.dir.path);
  if (!stat(path, &st)) {
    if ((status = ti_json_open(&json, error, path)) >= 0)
      status = ti_clip_image_read(&clip->image, error, &json, side);
  } else {
    ti_format(path, sizeof(path), "%s/processor_config.json", clip->model.dir.path);
    if (stat(path, &st))
      return ti_fail(error, TEXTINV_E_NOT_FOUND,
                     "%s: there is neither a preprocessor_config.json nor a processor_config.json",
                     clip->model.dir.path);
    if ((status = ti_json_open(&json, error, path)) >= 0 &&
        (status = ti_json_object(&json, error, "image_processor", &image)) >= 0)
      status = ti_clip_image_read(&clip->image, error, &image, side);
  }
  ti_json_close(&image);
  ti_json_close(&json);
  return status;
}

/* record both towers: builders check that each tensor is there and has its shape */
static textinv_status check_towers(const textinv_clip *clip, textinv_session *s)
{
  static const ti_plan_kind kinds[2] = { TI_PLAN_CLIP_TEXT, TI_PLAN_CLIP_IMAGE };

  for (int i = 0; i < 2; i++) {
    const ti_plan_key key = { .kind = kinds[i], .n = 1 };
    const textinv_status status = ti_model_check_network(&clip->model, s, "", &key);

    if (status < 0)
      return status;
  }
  return TEXTINV_OK;
}

textinv_status textinv_clip_open(textinv_clip **out, textinv_session *session, const char *path)
{
  ti_error *error = ti_begin(session);
  char default_path[TI_PATH_SIZE];
  textinv_clip *clip;
  textinv_status status;

  if (out)
    *out = NULL;
  if ((status = ti_check_null(error, out, "out")) < 0 ||
      (status = ti_check_null(error, session, "session")) < 0)
    return status;
  if (!path) {
    if ((status = ti_library_data(default_path, sizeof(default_path), error, "toybox-clip",
                                  "config.json", "the default CLIP model", "name one")) < 0)
      return status;
    path = default_path;
  }
  clip = ti_calloc(1, sizeof(*clip));
  if (!clip)
    return ti_fail_nomem(error, sizeof(*clip), "a CLIP model");
  clip->model.id = ti_model_new_id();
  clip->model.num_encoders = 1;
  clip->model.dir.path = ti_strdup(path);
  if (!clip->model.dir.path)
    status = ti_fail_nomem(error, strlen(path) + 1, path);
  if (status < 0 || (status = read_towers(&clip->model, error)) < 0 ||
      (status = read_tokenizer(&clip->model, error)) < 0 ||
      (status = read_image(clip, error)) < 0 || (status = check_towers(clip, session)) < 0) {
    textinv_clip_free(clip);
    return status;
  }
  *out = clip;
  return TEXTINV_OK;
}

void textinv_clip_free(textinv_clip *clip)
{
  if (!clip)
    return;
  ti_weights_close(&clip->model.encoders[0].weights);
  textinv_tokenizer_free(clip->model.encoders[0].tokenizer);
  ti_model_dir_close(&clip->model.dir);
  ti_free(clip);
}

textinv_status textinv_clip_info_init(textinv_clip_info *info, size_t size)
{
  return ti_params_init(info, size, &info_defaults, sizeof(info_defaults), CLIP_INFO_MIN);
}

textinv_status textinv_clip_get_info(const textinv_clip *clip, textinv_clip_info *info)
{
  ti_error *error = ti_begin(NULL);
  textinv_clip_info full = info_defaults;
  textinv_status status;

  if ((status = ti_check_null(error, clip, "clip")) < 0 ||
      (status = ti_check_null(error, info, "info")) < 0 ||
      (status = ti_struct_check(error, info, CLIP_INFO_MIN, "clip_info")) < 0)
    return status;
  full.path = clip->model.dir.path;
  full.parameters = ti_model_parameters(&clip->model);
  full.dim = textinv_clip_dim(clip);
  full.size = (uint32_t)clip->model.vision.side;
  full.patch = (uint32_t)clip->model.vision.patch;
  full.max_tokens = (uint32_t)clip->model.tokens;
  full.vocabulary = ti_tokenizer_size(clip->model.encoders[0].tokenizer->t);
  ti_struct_write(info, &full, sizeof(full));
  return TEXTINV_OK;
}

uint32_t textinv_clip_dim(const textinv_clip *clip)
{
  return clip ? (uint32_t)clip->model.vision.projection : 0;
}

/* ------------------------------------------------------------------ embeddings */

/* what a tower made of name, to unit length */
static textinv_status take_output(textinv_session *s, const textinv_clip *clip,
                                  const ti_net_plan *plan, const char *name, float *out)
{
  const int dim = clip->model.vision.projection;
  const float *values = ti_plan_at(s, plan, plan->out);
  double sum = 0.0;

  for (int i = 0; i < dim; i++)
    sum += (double)values[i] * values[i];
  if (!isfinite(sum) || sum == 0.0)
    return ti_fail(&s->error, TEXTINV_E_NONFINITE,
                   "%s: CLIP gave an embedding of length %g: check its weights%s", name, sqrt(sum),
                   ti_wider_types(plan->plan.tape.dtype));
  for (int i = 0; i < dim; i++)
    out[i] = (float)(values[i] / sqrt(sum));
  return TEXTINV_OK;
}

textinv_status ti_clip_encode_picture(textinv_session *s, const textinv_clip *clip,
                                      const char *name, const textinv_images *images, uint32_t i,
                                      float *out)
{
  const ti_plan_key key = { .kind = TI_PLAN_CLIP_IMAGE, .n = 1 };
  const ti_clip_vision_config *c = &clip->model.vision;
  const ti_image image = { images->width, images->height,
                           images->pixels +
                             (size_t)i * (size_t)images->width * (size_t)images->height * 3 };
  ti_net_plan *plan;
  ti_error met;
  textinv_status status = ti_plan_get(&plan, s, &clip->model, &key);

  if (status < 0)
    return status;
  int32_t *ids = ti_plan_at(s, plan, plan->ids[0]);

  for (int k = 0; k <= ti_clip_vision_patches(c); k++)
    ids[k] = k;
  if ((status = ti_clip_image_values(ti_plan_at(s, plan, plan->patches), &met, &clip->image, &image,
                                     c->patch)) < 0)
    return ti_fail(&s->error, status, "%s, of %d x %d: %s", name, image.width, image.height,
                   met.text);
  if ((status = ti_plan_execute(s, plan, 0)) < 0)
    return status;
  return take_output(s, clip, plan, name, out);
}

textinv_status ti_clip_encode_text(textinv_session *s, const textinv_clip *clip, const char *text,
                                   float *out, size_t *truncated)
{
  const ti_plan_key key = { .kind = TI_PLAN_CLIP_TEXT, .n = 1 };
  const textinv_model *m = &clip->model;
  ti_net_plan *plan;
  textinv_status status = ti_plan_get(&plan, s, m, &key);

  if (status < 0 ||
      (status = ti_prompt_fit(m->encoders[0].tokenizer->t, &s->error, NULL, 0, text, m->tokens,
                              ti_plan_at(s, plan, plan->ids[0]), NULL, truncated,
                              ti_plan_at(s, plan, plan->eos))) < 0 ||
      (status = ti_plan_execute(s, plan, 0)) < 0)
    return status;
  if (*truncated)
    ti_log(s, TEXTINV_LOG_WARNING, "%zu tokens of a text for CLIP are left out: %d fit", *truncated,
           m->tokens - 2);
  return take_output(s, clip, plan, "a text", out);
}

textinv_status textinv_clip_encode_image(textinv_session *session, float *out, size_t num_values,
                                         const textinv_clip *clip, const textinv_images *images,
                                         uint32_t i)
{
  ti_error *error = ti_begin(session);
  char name[32];
  textinv_status status;

  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, out, "out")) < 0 ||
      (status = ti_check_null(error, clip, "clip")) < 0 ||
      (status = ti_check_null(error, images, "images")) < 0 ||
      (status = ti_check_count(error, "out", num_values, textinv_clip_dim(clip))) < 0)
    return status;
  if (i >= (uint32_t)images->count)
    return ti_fail(error, TEXTINV_E_INVALID, "picture %u of %d", i, images->count);
  ti_format(name, sizeof(name), "picture %u", i);
  status = ti_clip_encode_picture(session, clip, name, images, i, out);
  return ti_session_end(session, status);
}

textinv_status textinv_clip_encode_text(textinv_session *session, float *out, size_t num_values,
                                        size_t *truncated, const textinv_clip *clip,
                                        const char *text)
{
  ti_error *error = ti_begin(session);
  size_t cut = 0;
  textinv_status status;

  if (truncated)
    *truncated = 0;
  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, out, "out")) < 0 ||
      (status = ti_check_null(error, clip, "clip")) < 0 ||
      (status = ti_check_null(error, text, "text")) < 0 ||
      (status = ti_check_count(error, "out", num_values, textinv_clip_dim(clip))) < 0)
    return status;
  status = ti_clip_encode_text(session, clip, text, out, &cut);
  if (truncated)
    *truncated = cut;
  return ti_session_end(session, status);
}
