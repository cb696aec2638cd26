/*
 * The plans of a session: each network recorded for one size, prepared once, kept while it is used.
 */
#include <string.h>

#include "alloc.h"
#include "api.h"

static ti_val input(ti_tape *t, int n, int h, int w, int c)
{
  return ti_input(t, TI_TYPE_F32, n, h, w, c);
}

/* a value as the type that networks work in */
static ti_val act(ti_tape *t, ti_val v)
{
  return ti_cast(t, v, (ti_type)t->dtype);
}

/* one that a call reads when the plan has run */
static ti_val output(ti_tape *t, ti_val v)
{
  v = ti_cast(t, v, TI_TYPE_F32);
  ti_output(t, v);
  return v;
}

/* ids and new rows of one encoder; gives its states */
static ti_clip_text_outputs text_encoder(ti_net_plan *p, const textinv_model *model, int encoder,
                                         int learn)
{
  ti_tape *t = &p->plan.tape;
  const ti_text_encoder *e = &model->encoders[encoder];
  const ti_net net = { t, &e->weights };
  const int xl = ti_model_is_xl(model), pools = xl && encoder == model->num_encoders - 1;
  const int n = p->key.n;

  p->ids[encoder] = ti_input(t, TI_TYPE_I32, n, 1, model->tokens, 1);
  p->rows[encoder] = TI_NONE;
  if (p->key.rows[encoder] > 0) {
    p->rows[encoder] = input(t, p->key.rows[encoder], 1, 1, e->config.width);
    if (learn)
      ti_want_grad(t, p->rows[encoder]);
  }
  if (pools)
    p->eos = ti_input(t, TI_TYPE_I32, n, 1, 1, 1);
  if (model->ldm)
    return (ti_clip_text_outputs){ ti_bert_text(&net, &e->config, &e->bert, p->ids[encoder],
                                                p->rows[encoder], p->key.skip),
                                   TI_NONE };
  return ti_clip_text(&net, &e->config, &e->clip, p->ids[encoder], p->rows[encoder],
                      pools ? p->eos : TI_NONE, xl ? p->key.skip + 1 : p->key.skip, !xl);
}

static void record_text(ti_net_plan *p, const textinv_model *model)
{
  ti_tape *t = &p->plan.tape;
  const ti_clip_text_outputs out = text_encoder(p, model, p->key.encoder, 0);

  p->hidden = output(t, out.hidden);
  p->pooled = output(t, out.pooled);
}

static void unet_inputs(ti_net_plan *p, const textinv_model *model)
{
  ti_tape *t = &p->plan.tape;
  const ti_plan_key *k = &p->key;

  p->latents = input(t, k->n >> k->guided, k->h, k->w, model->unet.in_channels);
  p->timesteps = input(t, k->n >> k->guided, 1, 1, 1);
  if (model->unet.text_time)
    p->size_ids = input(t, k->n, 1, 6, 1);
}

static ti_val unet(ti_net_plan *p, const textinv_model *model, ti_val context, ti_val pooled)
{
  ti_tape *t = &p->plan.tape;
  const ti_net net = { t, &model->unet_weights };
  const ti_unet_inputs in = { act(t, p->latents), p->timesteps, act(t, context), act(t, pooled),
                              p->size_ids };

  return ti_unet(&net, &model->unet, &in);
}

static void record_unet(ti_net_plan *p, const textinv_model *model)
{
  ti_tape *t = &p->plan.tape;

  unet_inputs(p, model);
  p->context = ti_constant(t, input(t, p->key.n, 1, model->tokens, model->context_dim));
  if (model->pooled_dim) {
    p->pooled = ti_constant(t, input(t, p->key.n, 1, 1, model->pooled_dim));
    ti_constant(t, p->size_ids);
  }
  p->out = output(t, unet(p, model, p->context, p->pooled));
}

static void record_decode(ti_net_plan *p, const textinv_model *model)
{
  ti_tape *t = &p->plan.tape;
  const ti_net net = { t, &model->vae_weights };

  p->latents = input(t, p->key.n, p->key.h, p->key.w, model->vae.latent_channels);
  p->out = output(t, ti_vae_decoder(&net, &model->vae, act(t, p->latents)));
}

static void record_encode(ti_net_plan *p, const textinv_model *model)
{
  ti_tape *t = &p->plan.tape;
  const ti_net net = { t, &model->vae_weights };
  const int scale = ti_vae_scale(&model->vae);

  p->latents = input(t, p->key.n, p->key.h * scale, p->key.w * scale, 3);
  p->out = output(t, ti_vae_encoder(&net, &model->vae, act(t, p->latents)));
}

/* text encoders, UNet, loss, and back to the new rows; recompute of num_of blocks are computed
 * again */
static void record_train(ti_net_plan *p, const textinv_model *model, int recompute, int num_of)
{
  ti_tape *t = &p->plan.tape;
  ti_val context = TI_NONE, pooled = TI_NONE;

  for (int i = 0; i < model->num_encoders; i++) {
    const ti_clip_text_outputs text = text_encoder(p, model, i, p->key.learn);

    context = i ? ti_concat(t, context, text.hidden) : text.hidden;
    pooled = text.pooled;
  }
  unet_inputs(p, model);
  p->target = input(t, p->key.n, p->key.h, p->key.w, model->unet.out_channels);
  p->out = ti_mse(t, unet(p, model, context, pooled), p->target);
  ti_output(t, p->out);
  if (!p->key.learn)
    return;
  ti_tape_backward(t, recompute, num_of);
  for (int i = 0; i < model->num_encoders; i++) {
    p->drows[i] = ti_tape_grad(t, p->rows[i]);
    ti_output(t, p->drows[i]);
  }
}

static void record_clip_text(ti_net_plan *p, const textinv_model *clip)
{
  ti_tape *t = &p->plan.tape;
  const ti_text_encoder *e = &clip->encoders[0];
  const ti_net net = { t, &e->weights };

  p->ids[0] = ti_input(t, TI_TYPE_I32, p->key.n, 1, clip->tokens, 1);
  p->eos = ti_input(t, TI_TYPE_I32, p->key.n, 1, 1, 1);
  p->out = output(
    t, ti_clip_text(&net, &e->config, &e->clip, p->ids[0], TI_NONE, p->eos, 0, 0).pooled);
}

static void record_clip_image(ti_net_plan *p, const textinv_model *clip)
{
  ti_tape *t = &p->plan.tape;
  const ti_clip_vision_config *c = &clip->vision;
  const int patches = ti_clip_vision_patches(c);
  ti_weights weights = clip->encoders[0].weights;
  const ti_net net = { t, &weights };

  weights.prefix = TI_CLIP_VISION_PREFIX;
  p->ids[0] = ti_input(t, TI_TYPE_I32, p->key.n, 1, 1 + patches, 1);
  p->patches = input(t, p->key.n, 1, patches, 3 * c->patch * c->patch);
  p->out = output(t, ti_clip_vision(&net, c, act(t, p->patches), p->ids[0]));
}

/*
 * Storage type of a plan. The autoencoder of SDXL overflows in f16: as in diffusers' pipelines it
 * runs in f32 then, unless its config says that it need not. The pipelines of SD 1.x and 2.x never
 * look at that key.
 */
static ti_dtype dtype_of(const textinv_session *s, const textinv_model *model, ti_plan_kind kind)
{
  const int vae = kind == TI_PLAN_DECODE || kind == TI_PLAN_ENCODE;

  return vae && s->dtype == TEXTINV_F16 && ti_model_is_xl(model) && model->vae.force_upcast
           ? TI_F32
           : (ti_dtype)s->dtype;
}

static textinv_status record(ti_net_plan *p, textinv_session *s, const textinv_model *model,
                             const ti_plan_key *key, int recompute, int num_of)
{
  ti_tape_init(&p->plan.tape, dtype_of(s, model, key->kind), &s->error);
  p->plan.tape.joins = s->joins;
  p->key = *key;
  for (int i = 0; i < TI_MAX_ENCODERS; i++)
    p->ids[i] = p->rows[i] = p->drows[i] = TI_NONE;
  p->eos = p->hidden = p->pooled = p->latents = p->timesteps = p->context = TI_NONE;
  p->size_ids = p->target = p->out = p->patches = TI_NONE;
  switch (key->kind) {
  case TI_PLAN_TEXT: record_text(p, model); break;
  case TI_PLAN_UNET: record_unet(p, model); break;
  case TI_PLAN_DECODE: record_decode(p, model); break;
  case TI_PLAN_ENCODE: record_encode(p, model); break;
  case TI_PLAN_TRAIN: record_train(p, model, recompute, num_of); break;
  case TI_PLAN_CLIP_TEXT: record_clip_text(p, model); break;
  case TI_PLAN_CLIP_IMAGE: record_clip_image(p, model); break;
  }
  return ti_tape_status(&p->plan.tape);
}

static uint64_t weight_bytes(const textinv_session *s, const textinv_model *model)
{
  const size_t size = ti_dtype_size((ti_dtype)s->dtype);
  const size_t vae_size = ti_dtype_size(dtype_of(s, model, TI_PLAN_DECODE));

  return s->kernels.file_weights >> s->dtype & 1
           ? ti_model_bytes(model)
           : ti_model_parameters(model) * size + model->vae_weights.parameters * (vae_size - size);
}

size_t ti_activation_budget(const textinv_session *s, const textinv_model *model)
{
  const uint64_t weights = weight_bytes(s, model);

  if (!s->budget)
    return SIZE_MAX;
  return s->budget > weights ? (size_t)(s->budget - weights) : 0;
}

/* how much of a training plan is computed again, from nothing to everything: recompute of num_of
 * blocks */
enum { NUM_LEVELS = 5 };
static const int recompute_levels[NUM_LEVELS][2] = { { 0, 1 },
                                                     { 1, 4 },
                                                     { 1, 2 },
                                                     { 3, 4 },
                                                     { 1, 1 } };

textinv_status ti_plan_record(ti_net_plan *p, textinv_session *s, const textinv_model *model,
                              const ti_plan_key *key, int level)
{
  const int *part = recompute_levels[level];
  textinv_status status;

  memset(p, 0, sizeof(*p));
  status = record(p, s, model, key, part[0], part[1]);
  return status < 0 ? status : ti_tape_plan(&p->plan.tape);
}

static textinv_status measure(size_t *bytes, textinv_session *s, const textinv_model *model,
                              const ti_plan_key *key, int level)
{
  ti_net_plan p;
  const textinv_status status = ti_plan_record(&p, s, model, key, level);

  *bytes = p.plan.tape.arena_bytes;
  ti_plan_free(&p.plan);
  return status;
}

textinv_status ti_plan_measure(size_t *bytes, textinv_session *s, const textinv_model *model,
                               const ti_plan_key *key)
{
  return measure(bytes, s, model, key, 0);
}

static textinv_status check_budget(textinv_session *s, const textinv_model *model, size_t need)
{
  const uint64_t weights = weight_bytes(s, model);

  if (need > ti_activation_budget(s, model))
    return ti_fail(&s->error, TEXTINV_E_NOMEM,
                   "memory budget: activations need %zu bytes and weights %llu, %llu together, of "
                   "%llu: raise the budget or lower batch or size",
                   need, (unsigned long long)weights, (unsigned long long)(weights + need),
                   (unsigned long long)s->budget);
  return TEXTINV_OK;
}

textinv_status ti_plan_reserve(textinv_session *s, const textinv_model *model,
                               const ti_plan_key *key)
{
  size_t bytes;
  textinv_status status = ti_plan_measure(&bytes, s, model, key);

  if (status < 0 || (status = check_budget(s, model, bytes)) < 0 || s->device)
    return status;
  s->last = NULL; /* the arena may move */
  return ti_arena_reserve(&s->arena, &s->error, bytes);
}

textinv_status ti_plan_check(textinv_session *s, const textinv_model *model, const ti_plan_key *key)
{
  const int levels = s->budget ? NUM_LEVELS : 0;
  textinv_status status = TEXTINV_OK;
  size_t bytes;

  for (int i = 0; i < levels; i++) {
    if ((status = measure(&bytes, s, model, key, i)) < 0 ||
        (status = check_budget(s, model, bytes)) != TEXTINV_E_NOMEM)
      break;
  }
  return status;
}

textinv_status ti_device_room(size_t *room, textinv_session *s)
{
  const ti_device *d = s->device;
  size_t available, total, margin;
  const textinv_status status = d->plugin->free_bytes(d->context, &s->error, &available, &total);

  if (status < 0)
    return status;
  available += d->arena_bytes;
  /* for the graph, and for what is lost between blocks */
  margin = total / 64 < (size_t)256 << 20 ? total / 64 : (size_t)256 << 20;
  *room = available > margin ? available - margin : 0;
  return TEXTINV_OK;
}

/* the plan with one of the levels; TEXTINV_E_NOMEM when it does not fit */
static textinv_status make_level(ti_net_plan *p, textinv_session *s, const textinv_model *model,
                                 const ti_plan_key *key, int level)
{
  const int *part = recompute_levels[level];
  const size_t budget = ti_activation_budget(s, model);
  size_t room = SIZE_MAX, need;
  textinv_status status;

  ti_plan_free(&p->plan);
  status = record(p, s, model, key, part[0], part[1]);
  p->plan.device = s->device;
  if (status < 0 || (status = ti_plan_prepare(&p->plan, &s->kernels, s->team)) < 0)
    return status;
  if (s->device && (status = ti_device_room(&room, s)) < 0)
    return status;
  need = ti_plan_bytes(&p->plan);
  if (need > room && room < budget)
    return ti_fail(&s->error, TEXTINV_E_NOMEM,
                   "device memory: activations need %zu bytes, %zu are free beside the weights; "
                   "lower batch or size",
                   need, room);
  if ((status = check_budget(s, model, need)) < 0)
    return status;
  /* now, so that no weight takes the place */
  if (s->device && (status = ti_device_reserve(s->device, &s->error, need)) < 0)
    return status;
  if (level)
    ti_log(s, TEXTINV_LOG_INFO, "%d of %d blocks are computed again: activations take %zu bytes",
           part[0], part[1], need);
  return TEXTINV_OK;
}

static textinv_status make(ti_net_plan *p, textinv_session *s, const textinv_model *model,
                           const ti_plan_key *key)
{
  const int levels = key->learn ? NUM_LEVELS : 1;
  textinv_status status = make_level(p, s, model, key, 0);

  if (status == TEXTINV_E_NOMEM && s->device) {
    /* what other plans keep on the device goes first: their weights, graphs and values */
    ti_plan_free(&p->plan);
    ti_session_drop_plans(s);
    status = make_level(p, s, model, key, 0);
  }
  for (int i = 1; i < levels && status == TEXTINV_E_NOMEM; i++)
    status = make_level(p, s, model, key, i);
  return status;
}

static void drop(textinv_session *s, int i)
{
  if (!s->plans[i])
    return;
  if (s->last == s->plans[i])
    s->last = NULL;
  ti_plan_free(&s->plans[i]->plan);
  ti_free(s->plans[i]);
  s->plans[i] = NULL;
}

void ti_session_drop_plans(textinv_session *s)
{
  for (int i = 0; i < TI_MAX_PLANS; i++)
    drop(s, i);
  if (s->device) {
    ti_device_drop_arena(s->device);
    s->device->plugin->trim(s->device->context);
  }
}

static int same_key(const ti_plan_key *a, const ti_plan_key *b)
{
  return a->model == b->model && a->kind == b->kind && a->n == b->n && a->h == b->h &&
         a->w == b->w && !memcmp(a->rows, b->rows, sizeof(a->rows)) && a->skip == b->skip &&
         a->encoder == b->encoder && a->learn == b->learn && a->guided == b->guided;
}

/* also for a plan that had room before: a larger one may have failed to get its own since */
static textinv_status make_room(textinv_session *s, const ti_net_plan *p)
{
  const size_t bytes = ti_plan_bytes(&p->plan);

  if (bytes > s->arena.bytes)
    s->last = NULL;
  return ti_arena_reserve(&s->arena, &s->error, bytes);
}

textinv_status ti_plan_get(ti_net_plan **out, textinv_session *s, const textinv_model *model,
                           const ti_plan_key *key)
{
  ti_plan_key full = *key;
  ti_net_plan *p;
  textinv_status status;
  int slot = 0;

  *out = NULL;
  full.model = model->id;
  for (int i = 0; i < TI_MAX_PLANS; i++) {
    if (s->plans[i] && same_key(&s->plans[i]->key, &full)) {
      s->plans[i]->used = ++s->clock;
      *out = s->plans[i];
      return make_room(s, *out);
    }
    /* a free slot, else the one not used for longest */
    if (s->plans[slot] && (!s->plans[i] || s->plans[i]->used < s->plans[slot]->used))
      slot = i;
  }
  drop(s, slot);
  p = ti_calloc(1, sizeof(*p));
  if (!p)
    return ti_fail_nomem(&s->error, sizeof(*p), "a plan");
  s->last = NULL; /* the arena may move */
  status = make(p, s, model, &full);
  if (status >= 0)
    status = make_room(s, p);
  if (status < 0) {
    ti_plan_free(&p->plan);
    ti_free(p);
    return status;
  }
  p->used = ++s->clock;
  s->plans[slot] = p;
  *out = p;
  return TEXTINV_OK;
}

textinv_status ti_plan_execute(textinv_session *s, ti_net_plan *plan, int again)
{
  const uint64_t bytes = ti_plan_bytes(&plan->plan);

  if (bytes > s->peak_bytes)
    s->peak_bytes = bytes;
  textinv_status status;

  s->last = NULL;
  status = ti_plan_run(&plan->plan, &s->arena, again, &s->cancel);
  if (status >= 0)
    s->last = plan;
  return status;
}

void *ti_plan_at(const textinv_session *s, const ti_net_plan *plan, ti_val v)
{
  return ti_plan_data(&plan->plan, &s->arena, v);
}

void ti_to_nhwc(float *nhwc, int all, const float *chw, int c, size_t hw)
{
  for (size_t i = 0; i < hw; i++) {
    for (int k = 0; k < c; k++)
      nhwc[i * (size_t)all + (size_t)k] = chw[(size_t)k * hw + i];
  }
}

void ti_from_nhwc(float *chw, const float *nhwc, int c, size_t hw)
{
  for (size_t i = 0; i < hw; i++) {
    for (int k = 0; k < c; k++)
      chw[(size_t)k * hw + i] = nhwc[i * (size_t)c + (size_t)k];
  }
}
