/* The networks one by one, for hosts with their own samplers and for the calls above them. */
#include <math.h>
#include <string.h>

#include "alloc.h"
#include "api.h"
#include "format.h"

static textinv_status check_finite(ti_error *error, const char *what, const float *values,
                                   size_t count)
{
  for (size_t i = 0; i < count; i++) {
    if (!isfinite(values[i]))
      return ti_fail(error, TEXTINV_E_NONFINITE, "%s hold %g at %zu", what, (double)values[i], i);
  }
  return TEXTINV_OK;
}

/* ------------------------------------------------------------------ text */

/* as the web UI: states of tokens times their weights, and all so that their mean is what it was */
static void weigh(float *hidden, const float *weights, int tokens, int width)
{
  double before = 0.0, after = 0.0;
  int weighs = 0;

  for (int i = 0; i < tokens; i++) {
    weighs |= weights[i] != 1.0f;
    for (int k = 0; k < width; k++) {
      const float value = hidden[(size_t)i * (size_t)width + (size_t)k];

      before += value;
      after += value * weights[i];
    }
  }
  const float scale = after != 0.0 ? (float)(before / after) : 1.0f;

  for (size_t i = 0; weighs && i < (size_t)tokens * (size_t)width; i++)
    hidden[i] *= weights[i / (size_t)width] * scale;
}

/* states of one encoder into the columns of context that are its own */
static textinv_status encode_one(textinv_session *s, const textinv_model *model,
                                 const textinv_embeddings *embeddings, int encoder, int column,
                                 const char *prompt, int weighted, int clip_skip, float *context,
                                 float *pooled, size_t *truncated)
{
  const int width = model->encoders[encoder].config.width;
  ti_plan_key key = { .kind = TI_PLAN_TEXT, .n = 1, .skip = clip_skip, .encoder = encoder };
  ti_row_table table;
  ti_net_plan *plan;
  int32_t eos, *ids = NULL;
  float *weights = NULL;
  textinv_status status;

  if ((status = ti_row_table_init(&table, &s->error, model, encoder, embeddings)) < 0)
    return status;
  ids = ti_calloc((size_t)model->tokens, sizeof(*ids));
  weights = ti_calloc((size_t)model->tokens, sizeof(*weights));
  if (!ids || !weights) {
    status = ti_fail_nomem(&s->error, (size_t)model->tokens * sizeof(*ids), "ids");
    goto out;
  }
  key.rows[encoder] = table.num_rows;
  if ((status = ti_row_table_encode(&table, &s->error, model, encoder, embeddings, prompt, ids,
                                    weighted ? weights : NULL, &eos, truncated)) < 0 ||
      (status = ti_plan_get(&plan, s, model, &key)) < 0)
    goto out;
  memcpy(ti_plan_at(s, plan, plan->ids[encoder]), ids, (size_t)model->tokens * sizeof(*ids));
  if (plan->rows[encoder] != TI_NONE)
    memcpy(ti_plan_at(s, plan, plan->rows[encoder]), table.rows,
           (size_t)table.num_rows * (size_t)table.dim * sizeof(*table.rows));
  if (plan->eos != TI_NONE)
    memcpy(ti_plan_at(s, plan, plan->eos), &eos, sizeof(eos));
  if ((status = ti_plan_execute(s, plan, 0)) < 0)
    goto out;
  float *hidden = ti_plan_at(s, plan, plan->hidden);

  if (weighted)
    weigh(hidden, weights, model->tokens, width);
  for (int i = 0; i < model->tokens; i++)
    memcpy(context + (size_t)i * (size_t)model->context_dim + column,
           hidden + (size_t)i * (size_t)width, (size_t)width * sizeof(*context));
  if (pooled && plan->pooled != TI_NONE)
    memcpy(pooled, ti_plan_at(s, plan, plan->pooled), (size_t)model->pooled_dim * sizeof(*pooled));
out:
  ti_free(weights);
  ti_free(ids);
  ti_row_table_free(&table);
  return status;
}

textinv_status ti_encode_text(textinv_session *s, const textinv_model *model,
                              const textinv_embeddings *embeddings, const char *prompt,
                              int weighted, int clip_skip, float *context, float *pooled,
                              size_t *truncated)
{
  int column = 0;
  textinv_status status = TEXTINV_OK;

  *truncated = 0;
  for (int i = 0; i < model->num_encoders && status >= 0; i++) {
    size_t cut = 0;

    status = encode_one(s, model, embeddings, i, column, prompt, weighted, clip_skip, context,
                        pooled, &cut);
    column += model->encoders[i].config.width;
    if (cut > *truncated)
      *truncated = cut;
  }
  if (status >= 0 && *truncated)
    ti_log(s, TEXTINV_LOG_WARNING, "%zu tokens of the prompt are left out: %d fit", *truncated,
           model->tokens - 2);
  return status;
}

/* layers that may be left out so that one remains */
static int max_clip_skip(const textinv_model *model)
{
  int least = 11;

  for (int i = 0; i < model->num_encoders; i++) {
    const int layers = model->encoders[i].config.layers - ti_model_is_xl(model) - 1;

    least = layers < least ? layers : least;
  }
  return least;
}

textinv_status ti_check_clip_skip(ti_error *error, const textinv_model *model, uint32_t clip_skip)
{
  if (clip_skip > (uint32_t)max_clip_skip(model))
    return ti_fail(error, TEXTINV_E_INVALID,
                   "clip_skip is %u; 0 to %d are possible with this model", clip_skip,
                   max_clip_skip(model));
  return TEXTINV_OK;
}

textinv_status textinv_encode_prompt(textinv_session *session, float *context, size_t num_context,
                                     float *pooled, size_t num_pooled, size_t *truncated,
                                     const textinv_model *model,
                                     const textinv_embeddings *embeddings, const char *prompt,
                                     uint32_t clip_skip)
{
  ti_error *error = ti_begin(session);
  size_t cut;
  textinv_status status;

  if (truncated)
    *truncated = 0;
  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, context, "context")) < 0 ||
      (status = ti_check_null(error, model, "model")) < 0 ||
      (status = ti_check_null(error, prompt, "prompt")) < 0 ||
      (status = ti_check_count(error, "context", num_context,
                               (size_t)model->tokens * (size_t)model->context_dim)) < 0 ||
      (pooled &&
       (status = ti_check_count(error, "pooled", num_pooled, (size_t)model->pooled_dim)) < 0) ||
      (status = ti_check_clip_skip(error, model, clip_skip)) < 0)
    return status;
  status = ti_encode_text(session, model, embeddings, prompt, 0, (int)clip_skip, context, pooled,
                          &cut);
  if (truncated)
    *truncated = cut;
  return ti_session_end(session, status);
}

/* ------------------------------------------------------------------ autoencoder */

/* what a network made of finite values; dtype is its storage type */
static textinv_status check_output(ti_error *error, const char *name, const char *network,
                                   ti_dtype dtype, const float *values, size_t count)
{
  for (size_t i = 0; i < count; i++) {
    if (!isfinite(values[i]))
      return ti_fail(error, TEXTINV_E_NONFINITE,
                     "%s: the VAE's %s gave %g: check its input and weights%s", name, network,
                     (double)values[i], ti_wider_types(dtype));
  }
  return TEXTINV_OK;
}

textinv_status ti_encode_pixels(textinv_session *s, const textinv_model *model, const char *name,
                                const uint8_t *pixels, const uint8_t *mask, int width, int height,
                                float *mean, float *deviation)
{
  const int scale = ti_vae_scale(&model->vae), c = model->vae.latent_channels;
  const int h = height / scale, w = width / scale;
  const ti_plan_key key = { .kind = TI_PLAN_ENCODE, .n = 1, .h = h, .w = w };
  const double factor = model->vae.scaling_factor;
  ti_net_plan *plan;
  textinv_status status = ti_plan_get(&plan, s, model, &key);

  if (status < 0)
    return status;
  float *x = ti_plan_at(s, plan, plan->latents);

  for (size_t i = 0; i < (size_t)width * (size_t)height * 3; i++)
    x[i] = mask && mask[i / 3] >= 128 ? 0.0f : (float)pixels[i] / 255.0f * 2.0f - 1.0f;
  if ((status = ti_plan_execute(s, plan, 0)) < 0)
    return status;
  const float *moments = ti_plan_at(s, plan, plan->out);
  const size_t hw = (size_t)h * (size_t)w;

  if ((status = check_output(&s->error, name, "encoder", plan->plan.tape.dtype, moments,
                             hw * (size_t)(2 * c))) < 0)
    return status;
  for (size_t i = 0; i < hw; i++) {
    for (int k = 0; k < c; k++) {
      const float log_variance = moments[i * (size_t)(2 * c) + (size_t)(c + k)];

      mean[(size_t)k * hw + i] = (float)(moments[i * (size_t)(2 * c) + (size_t)k] * factor);
      if (deviation)
        deviation[(size_t)k * hw + i] =
          (float)(expf(0.5f * fminf(fmaxf(log_variance, -30.0f), 20.0f)) * factor);
    }
  }
  return TEXTINV_OK;
}

textinv_status textinv_encode_image(textinv_session *session, float *mean, float *deviation,
                                    size_t num_values, const textinv_model *model,
                                    const textinv_images *images, uint32_t i)
{
  ti_error *error = ti_begin(session);
  char name[32];
  textinv_status status;

  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, mean, "mean")) < 0 ||
      (status = ti_check_null(error, model, "model")) < 0 ||
      (status = ti_check_null(error, images, "images")) < 0)
    return status;
  const int scale = ti_vae_scale(&model->vae);

  if (i >= (uint32_t)images->count)
    return ti_fail(error, TEXTINV_E_INVALID, "picture %u of %d", i, images->count);
  if (images->width % scale || images->height % scale)
    return ti_fail(error, TEXTINV_E_INVALID,
                   "a picture of %d x %d; its sides must be multiples of %d", images->width,
                   images->height, scale);
  if ((status = ti_check_count(error, "mean", num_values,
                               (size_t)model->vae.latent_channels *
                                 (size_t)(images->width / scale) *
                                 (size_t)(images->height / scale))) < 0)
    return status;
  const size_t bytes = (size_t)images->width * (size_t)images->height * 3;

  ti_format(name, sizeof(name), "picture %u", i);
  status = ti_encode_pixels(session, model, name, images->pixels + i * bytes, NULL, images->width,
                            images->height, mean, deviation);
  return ti_session_end(session, status);
}

textinv_status ti_decode_one(textinv_session *s, const textinv_model *model, uint32_t number,
                             const float *latents, int h, int w, float *values)
{
  const int scale = ti_vae_scale(&model->vae), c = model->vae.latent_channels;
  const size_t hw = (size_t)h * (size_t)w, pixels = hw * (size_t)(scale * scale);
  const ti_plan_key key = { .kind = TI_PLAN_DECODE, .n = 1, .h = h, .w = w };
  char name[32];
  ti_net_plan *plan;
  textinv_status status = ti_plan_get(&plan, s, model, &key);

  if (status < 0)
    return status;
  float *z = ti_plan_at(s, plan, plan->latents);

  ti_to_nhwc(z, c, latents, c, hw);
  for (size_t i = 0; i < (size_t)c * hw; i++)
    z[i] = (float)(z[i] / model->vae.scaling_factor);
  if ((status = ti_plan_execute(s, plan, 0)) < 0)
    return status;
  const float *out = ti_plan_at(s, plan, plan->out);

  ti_format(name, sizeof(name), "picture %u", number);
  if ((status = check_output(&s->error, name, "decoder", plan->plan.tape.dtype, out, 3 * pixels)) <
      0)
    return status;
  ti_from_nhwc(values, out, 3, pixels);
  return TEXTINV_OK;
}

textinv_status textinv_decode_latents(textinv_session *session, textinv_images **images,
                                      float *values, size_t num_values, const textinv_model *model,
                                      const float *latents, uint32_t batch, uint32_t width,
                                      uint32_t height)
{
  ti_error *error = ti_begin(session);
  float *picture = NULL;
  textinv_images *out = NULL;
  textinv_status status;

  if (images)
    *images = NULL;
  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, model, "model")) < 0 ||
      (status = ti_check_null(error, latents, "latents")) < 0)
    return status;
  const size_t scale = (size_t)ti_vae_scale(&model->vae), c = (size_t)model->vae.latent_channels;
  const size_t hw = (size_t)width * height, count = 3 * hw * scale * scale;

  if (batch < 1 || batch > TI_MAX_BATCH || width < 1 || width > 2048 || height < 1 || height > 2048)
    return ti_fail(error, TEXTINV_E_INVALID,
                   "batch %u, latents of %u x %u; 1 to %d samples of 1 to 2048 a side are possible",
                   batch, width, height, TI_MAX_BATCH);
  if ((values && (status = ti_check_count(error, "values", num_values, batch * count)) < 0) ||
      (status = check_finite(error, "latents", latents, batch * c * hw)) < 0)
    return status;
  picture = ti_calloc(count, sizeof(*picture));
  if (!picture)
    return ti_fail_nomem(error, count * sizeof(*picture), "a picture");
  if (images && (status = ti_images_new(&out, error, (int)batch, (int)(width * scale),
                                        (int)(height * scale))) < 0)
    goto out;
  for (uint32_t i = 0; i < batch; i++) {
    if ((status = ti_decode_one(session, model, i, latents + i * c * hw, (int)height, (int)width,
                                picture)) < 0)
      goto out;
    if (values)
      memcpy(values + i * count, picture, count * sizeof(*picture));
    if (out)
      ti_values_to_pixels(out->pixels + i * count, picture, out->width, out->height);
  }
  if (images) {
    *images = out;
    out = NULL;
  }
out:
  textinv_images_free(out);
  ti_free(picture);
  return ti_session_end(session, status);
}

/* ------------------------------------------------------------------ UNet */

static const textinv_predict_params predict_defaults = { .struct_size = sizeof(
                                                           textinv_predict_params) };
static const size_t PREDICT_PARAMS_MIN = offsetof(textinv_predict_params, mask);

textinv_status textinv_predict_params_init(textinv_predict_params *params, size_t size)
{
  return ti_params_init(params, size, &predict_defaults, sizeof(predict_defaults),
                        PREDICT_PARAMS_MIN);
}

textinv_status ti_check_latents(ti_error *error, const textinv_model *model, uint32_t batch,
                                uint32_t multiple, uint32_t *width, uint32_t *height)
{
  if (!*width)
    *width = (uint32_t)model->unet.sample_size;
  if (!*height)
    *height = (uint32_t)model->unet.sample_size;
  if (batch < 1 || batch > TI_MAX_BATCH)
    return ti_fail(error, TEXTINV_E_INVALID, "batch is %u; 1 to %d are possible", batch,
                   TI_MAX_BATCH);
  if (*width % multiple || *height % multiple || *width > 2048 || *height > 2048)
    return multiple == 1
             ? ti_fail(error, TEXTINV_E_INVALID,
                       "latents of %u x %u; 1 to 2048 a side are possible", *width, *height)
             : ti_fail(error, TEXTINV_E_INVALID,
                       "latents of %u x %u; sides must be multiples of %u, up to 2048", *width,
                       *height, multiple);
  return TEXTINV_OK;
}

/* latents and timestep, which change from evaluation to evaluation; behind the latents a mask */
static void write_latents(textinv_session *s, const ti_net_plan *plan, const textinv_model *model,
                          const ti_evaluation *e)
{
  const int c = model->vae.latent_channels, all = model->unet.in_channels;
  const size_t hw = (size_t)e->h * (size_t)e->w, chw = (size_t)c * hw;
  float *x = ti_plan_at(s, plan, plan->latents), *t = ti_plan_at(s, plan, plan->timesteps);

  for (size_t i = 0; i < (size_t)(e->batch >> e->guided); i++, x += (size_t)all * hw) {
    ti_to_nhwc(x, all, e->latents + i * chw, c, hw);
    if (ti_model_needs_mask(model)) {
      ti_to_nhwc(x + c, all, e->mask + i * hw, 1, hw);
      ti_to_nhwc(x + c + 1, all, e->masked + i * chw, c, hw);
    }
    t[i] = e->timestep;
  }
}

static void write_context(textinv_session *s, const ti_net_plan *plan, const textinv_model *model,
                          const ti_evaluation *e)
{
  const size_t n = (size_t)e->batch;
  const float height = (float)(e->h * ti_vae_scale(&model->vae));
  const float width = (float)(e->w * ti_vae_scale(&model->vae));
  const float whole[6] = { height, width, 0.0f, 0.0f, height, width };

  memcpy(ti_plan_at(s, plan, plan->context), e->context,
         n * (size_t)model->tokens * (size_t)model->context_dim * sizeof(float));
  if (!model->pooled_dim)
    return;
  float *sizes = ti_plan_at(s, plan, plan->size_ids);

  memcpy(ti_plan_at(s, plan, plan->pooled), e->pooled,
         n * (size_t)model->pooled_dim * sizeof(float));
  for (size_t i = 0; i < n; i++)
    memcpy(sizes + 6 * i, e->size_ids ? e->size_ids + 6 * i : whole, sizeof(whole));
}

textinv_status ti_predict(textinv_session *s, const textinv_model *model, const ti_evaluation *e,
                          float *out)
{
  const int c = model->unet.out_channels;
  const size_t hw = (size_t)e->h * (size_t)e->w, chw = (size_t)c * hw;
  const ti_plan_key key = {
    .kind = TI_PLAN_UNET, .n = e->batch, .h = e->h, .w = e->w, .guided = e->guided
  };
  ti_net_plan *plan;
  textinv_status status = ti_plan_get(&plan, s, model, &key);

  if (status < 0)
    return status;
  const int again = e->same_context && s->last == plan;

  write_latents(s, plan, model, e);
  if (!again)
    write_context(s, plan, model, e);
  if ((status = ti_plan_execute(s, plan, again)) < 0)
    return status;
  const float *y = ti_plan_at(s, plan, plan->out);

  for (int i = 0; i < e->batch; i++)
    ti_from_nhwc(out + (size_t)i * chw, y + (size_t)i * chw, c, hw);
  return TEXTINV_OK;
}

textinv_status textinv_predict_noise(textinv_session *session, float *out, size_t num_values,
                                     const textinv_model *model,
                                     const textinv_predict_params *params)
{
  ti_error *error = ti_begin(session);
  textinv_predict_params p = predict_defaults;
  textinv_status status;

  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, out, "out")) < 0 ||
      (status = ti_check_null(error, model, "model")) < 0 ||
      (status = ti_params_read(error, &p, sizeof(p), PREDICT_PARAMS_MIN, params,
                               "predict_params")) < 0 ||
      (status = ti_check_null(error, p.latents, "latents")) < 0 ||
      (status = ti_check_null(error, p.context, "context")) < 0 ||
      (model->pooled_dim && (status = ti_check_null(error, p.pooled, "pooled")) < 0) ||
      (status = ti_check_latents(error, model, p.batch, 1, &p.width, &p.height)) < 0 ||
      (status = ti_check_count(error, "out", num_values,
                               (size_t)p.batch * (size_t)model->unet.out_channels * p.width *
                                 p.height)) < 0)
    return status;
  if (!(p.timestep >= 0.0f && p.timestep <= (float)(model->schedule.timesteps - 1)))
    return ti_fail(error, TEXTINV_E_INVALID, "timestep is %g; 0 to %d are possible",
                   (double)p.timestep, model->schedule.timesteps - 1);
  if (ti_model_needs_mask(model)) {
    if ((status = ti_check_null(error, p.mask, "mask")) < 0 ||
        (status = ti_check_null(error, p.masked, "masked")) < 0)
      return status;
  } else if (p.mask || p.masked) {
    return ti_fail(error, TEXTINV_E_INVALID,
                   "%s is given; the UNet of this model takes no mask, as it was not made for "
                   "inpainting",
                   p.mask ? "mask" : "masked");
  }
  const ti_evaluation e = { .batch = (int)p.batch,
                            .h = (int)p.height,
                            .w = (int)p.width,
                            .latents = p.latents,
                            .timestep = p.timestep,
                            .context = p.context,
                            .pooled = p.pooled,
                            .size_ids = p.size_ids,
                            .mask = p.mask,
                            .masked = p.masked };

  status = ti_predict(session, model, &e, out);
  return ti_session_end(session, status);
}
