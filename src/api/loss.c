/* One pass of training: loss of given samples and the gradient of the new rows. */
#include <string.h>

#include "alloc.h"
#include "api.h"

textinv_status ti_check_learns(ti_error *error, const textinv_model *model)
{
  if (ti_model_needs_mask(model))
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: the model was made for inpainting: learn words with the model that it was "
                   "made from, and draw with them here",
                   model->dir.path);
  return TEXTINV_OK;
}

ti_plan_key ti_train_key(const textinv_model *model, const ti_row_table *tables, int n, int h,
                         int w, int learn)
{
  ti_plan_key key = { .kind = TI_PLAN_TRAIN, .n = n, .h = h, .w = w, .learn = learn };

  for (int i = 0; i < model->num_encoders; i++)
    key.rows[i] = tables[i].num_rows;
  return key;
}

textinv_status ti_train_plan(ti_net_plan **out, textinv_session *s, const textinv_model *model,
                             const ti_row_table *tables, int n, int h, int w, int learn)
{
  const ti_plan_key key = ti_train_key(model, tables, n, h, w, learn);

  return ti_plan_get(out, s, model, &key);
}

textinv_status ti_train_pass(textinv_session *s, const textinv_model *model,
                             const ti_row_table *tables, const ti_samples *samples, float *loss,
                             float *const *gradient)
{
  const int n = samples->n, c = model->unet.in_channels;
  const size_t hw = (size_t)samples->h * (size_t)samples->w, chw = (size_t)c * hw;
  ti_net_plan *plan;
  textinv_status status;

  if ((status = ti_train_plan(&plan, s, model, tables, n, samples->h, samples->w,
                              gradient != NULL)) < 0)
    return status;
  for (int i = 0; i < model->num_encoders; i++) {
    memcpy(ti_plan_at(s, plan, plan->ids[i]), samples->ids[i],
           (size_t)n * (size_t)model->tokens * sizeof(int32_t));
    if (plan->rows[i] != TI_NONE)
      memcpy(ti_plan_at(s, plan, plan->rows[i]), tables[i].rows,
             (size_t)tables[i].num_rows * (size_t)tables[i].dim * sizeof(float));
  }
  if (plan->eos != TI_NONE)
    memcpy(ti_plan_at(s, plan, plan->eos), samples->eos, (size_t)n * sizeof(int32_t));
  if (plan->size_ids != TI_NONE)
    memcpy(ti_plan_at(s, plan, plan->size_ids), samples->size_ids, (size_t)n * 6 * sizeof(float));
  memcpy(ti_plan_at(s, plan, plan->timesteps), samples->timesteps, (size_t)n * sizeof(float));
  float *noisy = ti_plan_at(s, plan, plan->latents), *target = ti_plan_at(s, plan, plan->target);

  for (int i = 0; i < n; i++) {
    ti_to_nhwc(noisy + (size_t)i * chw, c, samples->noisy + (size_t)i * chw, c, hw);
    ti_to_nhwc(target + (size_t)i * chw, c, samples->target + (size_t)i * chw, c, hw);
  }
  if ((status = ti_plan_execute(s, plan, 0)) < 0)
    return status;
  *loss = *(const float *)ti_plan_at(s, plan, plan->out);
  for (int i = 0; gradient && i < model->num_encoders; i++) {
    const size_t count = (size_t)tables[i].num_rows * (size_t)tables[i].dim;
    const float unscale = 1.0f / plan->plan.tape.loss_scale;

    if (plan->drows[i] == TI_NONE) {
      memset(gradient[i], 0, count * sizeof(float));
      continue;
    }
    const float *drows = ti_plan_at(s, plan, plan->drows[i]);

    for (size_t k = 0; k < count; k++)
      gradient[i][k] = drows[k] * unscale;
  }
  return TEXTINV_OK;
}

void ti_gradient_of_rows(float *out, const textinv_embeddings *embeddings,
                         const ti_row_table *tables, float *const *rows)
{
  size_t first = 0;

  for (size_t i = 0; i < embeddings->count; i++) {
    const ti_word *w = &embeddings->words[i];

    for (int k = 0; k < TI_MAX_ENCODERS; k++) {
      const size_t count = ti_word_values(w, k);

      if (w->dim[k] && w->dim[k] == tables[k].dim)
        memcpy(out, rows[k] + first * (size_t)tables[k].dim, count * sizeof(float));
      else
        memset(out, 0, count * sizeof(float));
      out += count;
    }
    first += (size_t)w->vectors;
  }
}

static const textinv_loss_params loss_defaults = { .struct_size = sizeof(textinv_loss_params) };
static const size_t LOSS_PARAMS_MIN = sizeof(textinv_loss_params);

textinv_status textinv_loss_params_init(textinv_loss_params *params, size_t size)
{
  return ti_params_init(params, size, &loss_defaults, sizeof(loss_defaults), LOSS_PARAMS_MIN);
}

/* what a call holds, freed together */
typedef struct buffers {
  ti_row_table tables[TI_MAX_ENCODERS];
  int32_t *ids[TI_MAX_ENCODERS], *eos;
  float *rows[TI_MAX_ENCODERS]; /* gradients */
  float *noisy, *target, *timesteps, *size_ids;
} buffers;

static void release(buffers *b)
{
  for (int i = 0; i < TI_MAX_ENCODERS; i++) {
    ti_row_table_free(&b->tables[i]);
    ti_free(b->ids[i]);
    ti_free(b->rows[i]);
  }
  ti_free(b->eos);
  ti_free(b->noisy);
  ti_free(b->target);
  ti_free(b->timesteps);
  ti_free(b->size_ids);
}

static textinv_status prepare(buffers *b, ti_error *error, const textinv_model *model,
                              const textinv_embeddings *embeddings, const textinv_loss_params *p)
{
  const size_t n = p->batch, chw = (size_t)model->unet.in_channels * p->width * p->height;
  const float scale = (float)ti_vae_scale(&model->vae);
  textinv_status status;

  b->eos = ti_calloc(n, sizeof(*b->eos));
  b->noisy = ti_calloc(n * chw, sizeof(float));
  b->target = ti_calloc(n * chw, sizeof(float));
  b->timesteps = ti_calloc(n, sizeof(float));
  b->size_ids = ti_calloc(n * 6, sizeof(float));
  if (!b->eos || !b->noisy || !b->target || !b->timesteps || !b->size_ids)
    return ti_fail_nomem(error, 2 * n * chw * sizeof(float), "samples");
  for (int i = 0; i < model->num_encoders; i++) {
    if ((status = ti_row_table_init(&b->tables[i], error, model, i, embeddings)) < 0)
      return status;
    b->ids[i] = ti_calloc(n * (size_t)model->tokens, sizeof(int32_t));
    b->rows[i] = ti_calloc((size_t)b->tables[i].num_rows * (size_t)b->tables[i].dim, sizeof(float));
    if (!b->ids[i] || !b->rows[i])
      return ti_fail_nomem(error, n * (size_t)model->tokens * sizeof(int32_t), "ids");
  }
  for (size_t k = 0; k < n; k++) {
    const float sizes[6] = { (float)p->height * scale, (float)p->width * scale, 0.0f, 0.0f,
                             (float)p->height * scale, (float)p->width * scale };
    const int t = (int)p->timesteps[k];
    size_t truncated;

    if (p->timesteps[k] >= (uint32_t)model->schedule.timesteps)
      return ti_fail(error, TEXTINV_E_INVALID, "timesteps[%zu] is %u; 0 to %d are possible", k,
                     p->timesteps[k], model->schedule.timesteps - 1);
    if (!p->prompts[k])
      return ti_fail(error, TEXTINV_E_INVALID, "prompts[%zu] is NULL", k);
    for (int i = 0; i < model->num_encoders; i++) {
      status = ti_row_table_encode(&b->tables[i], error, model, i, embeddings, p->prompts[k],
                                   b->ids[i] + k * (size_t)model->tokens, NULL, &b->eos[k],
                                   &truncated);
      if (status < 0)
        return status;
    }
    ti_schedule_add_noise(&model->schedule, t, b->noisy + k * chw, p->latents + k * chw,
                          p->noise + k * chw, chw);
    ti_schedule_target(&model->schedule, t, b->target + k * chw, p->latents + k * chw,
                       p->noise + k * chw, chw);
    b->timesteps[k] = (float)t;
    memcpy(b->size_ids + 6 * k, sizes, sizeof(sizes));
  }
  return TEXTINV_OK;
}

textinv_status textinv_loss(textinv_session *session, float *loss, float *gradient,
                            size_t num_values, const textinv_model *model,
                            const textinv_embeddings *embeddings, const textinv_loss_params *params)
{
  ti_error *error = ti_begin(session);
  textinv_loss_params p = loss_defaults;
  buffers b;
  textinv_status status;

  memset(&b, 0, sizeof(b));
  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, loss, "loss")) < 0 ||
      (status = ti_check_null(error, model, "model")) < 0 ||
      (status = ti_check_null(error, embeddings, "embeddings")) < 0 ||
      (status = ti_params_read(error, &p, sizeof(p), LOSS_PARAMS_MIN, params, "loss_params")) < 0 ||
      (status = ti_check_null(error, p.latents, "latents")) < 0 ||
      (status = ti_check_null(error, p.noise, "noise")) < 0 ||
      (status = ti_check_null(error, p.timesteps, "timesteps")) < 0 ||
      (status = ti_check_null(error, p.prompts, "prompts")) < 0 ||
      (status = ti_check_learns(error, model)) < 0 ||
      (status = ti_check_latents(error, model, p.batch, 1u << (model->unet.blocks - 1), &p.width,
                                 &p.height)) < 0)
    return status;
  if (gradient && num_values != textinv_embeddings_num_values(embeddings))
    return ti_fail(error, TEXTINV_E_SHAPE, "gradient has room for %zu values; %zu are needed",
                   num_values, textinv_embeddings_num_values(embeddings));
  if ((status = prepare(&b, error, model, embeddings, &p)) >= 0) {
    const ti_samples samples = { .n = (int)p.batch,
                                 .h = (int)p.height,
                                 .w = (int)p.width,
                                 .ids = { b.ids[0], b.ids[1] },
                                 .eos = b.eos,
                                 .size_ids = b.size_ids,
                                 .noisy = b.noisy,
                                 .target = b.target,
                                 .timesteps = b.timesteps };

    status = ti_train_pass(session, model, b.tables, &samples, loss, gradient ? b.rows : NULL);
  }
  if (status >= 0 && gradient)
    ti_gradient_of_rows(gradient, embeddings, b.tables, b.rows);
  release(&b);
  return ti_session_end(session, status);
}
