/*
 * The steps of a run on a CUDA device, without the host in them.
 *
 * The moments of the pictures, the ids of the prompts, rows, moments and gradient lie on the
 * device. A pass (inputs, noise, forward, backward, sum of gradients, and AdamW behind the last
 * one) is captured once; a step uploads its numbers and draws and starts the graph for every pass.
 * Its loss comes back while the step after it runs. With other processes the gradient goes to the
 * host behind the last pass, and AdamW waits until the sum of all is back.
 *
 * There are two states of rows and moments: step t reads state t % 2 and writes the other, so that
 * what step t left can still be fetched while step t + 1 runs.
 */
#include <math.h>
#include <string.h>

#include "alloc.h"
#include "run.h"

enum { ALIGNMENT = 256 };

struct ti_run_device {
  ti_device *device;
  ti_error *error;
  ti_net_plan *plan;
  ti_cuda_graph *graph, *apply; /* of a pass; of AdamW, with other processes */
  ti_cuda_training t;
  void *memory; /* all that t points to, but the values of the plan */
  /* in the device's pinned memory, for step % 2 */
  ti_cuda_step *steps[2]; /* with the samples behind it */
  ti_cuda_result *results[2];
  size_t step_bytes;
  uint32_t begun, ended; /* the first step that has not begun, and not ended */
};

/* ------------------------------------------------------------------ memory */

/* the next bytes of a block that is laid out from 0 on */
static size_t take(size_t *end, size_t bytes)
{
  const size_t at = *end;

  *end += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  return at;
}

static size_t views_of(const ti_dataset *data)
{
  return (size_t)data->crops * (size_t)(1 + data->flips);
}

static textinv_status allocate(ti_run_device *d, const ti_run *r)
{
  const ti_cuda_plugin *plugin = d->device->plugin;
  const ti_dataset *data = &r->data;
  const size_t pictures = data->num_pictures * views_of(data);
  const size_t ids = data->num_prompts * (size_t)d->t.encoders * (size_t)d->t.tokens;
  const size_t step_bytes = sizeof(ti_cuda_step) +
                            (size_t)r->passes * r->samples * sizeof(ti_cuda_sample);
  size_t end = 0, pinned = 0, room, table[TI_MAX_ENCODERS], learnt[TI_MAX_ENCODERS];
  const size_t step = take(&end, step_bytes), result = take(&end, sizeof(ti_cuda_result));
  const size_t latents = take(&end, pictures * 2 * data->chw * sizeof(float));
  const size_t prompts = take(&end, ids * sizeof(int32_t));
  const size_t ends = take(&end, data->num_prompts * sizeof(int32_t));
  const size_t states = take(&end, 6 * r->num_values * sizeof(float));
  const size_t gradient = take(&end, (r->num_values + 1) * sizeof(float)); /* and the loss */
  textinv_status status;

  for (int k = 0; k < TI_MAX_ENCODERS; k++) {
    table[k] = take(&end, d->t.num_table[k] * sizeof(float));
    learnt[k] = take(&end, d->t.num_table[k] * sizeof(int32_t));
  }
  if ((status = ti_device_room(&room, r->s)) < 0)
    return status;
  room -= room < d->device->arena_bytes ? room : d->device->arena_bytes;
  if (end > room)
    return ti_fail(d->error, TEXTINV_E_NOMEM,
                   "device memory: pictures and rows need %zu bytes, %zu are free", end, room);
  status = plugin->allocate(d->device->context, d->error, &d->memory, end);
  if (status < 0)
    return status;
  char *const m = d->memory;

  d->t.step = (ti_cuda_step *)(m + step);
  d->t.samples = (const ti_cuda_sample *)(d->t.step + 1);
  d->t.result = (ti_cuda_result *)(m + result);
  d->t.latents = (float *)(m + latents);
  d->t.prompts = (int32_t *)(m + prompts);
  d->t.ends = (int32_t *)(m + ends);
  d->t.states = (float *)(m + states);
  d->t.gradient = (float *)(m + gradient);
  d->t.loss_sum = d->t.gradient + r->num_values;
  for (int k = 0; k < TI_MAX_ENCODERS; k++) {
    d->t.table[k] = (float *)(m + table[k]);
    d->t.learnt[k] = (int32_t *)(m + learnt[k]);
  }
  d->step_bytes = step_bytes;
  const size_t places[] = { take(&pinned, step_bytes), take(&pinned, step_bytes),
                            take(&pinned, sizeof(ti_cuda_result)),
                            take(&pinned, sizeof(ti_cuda_result)) };

  status = ti_device_pin(d->device, d->error, pinned);
  for (int i = 0; i < 2 && status >= 0; i++) {
    d->steps[i] = (ti_cuda_step *)((char *)d->device->pinned + places[i]);
    d->results[i] = (ti_cuda_result *)((char *)d->device->pinned + places[2 + i]);
  }
  return status;
}

static textinv_status upload(ti_run_device *d, const void *dst, const void *src, size_t bytes)
{
  /* const is for the kernels */
  return bytes ? d->device->plugin->upload(d->device->context, d->error, (void *)dst, src, bytes)
               : TEXTINV_OK;
}

static textinv_status upload_pictures(ti_run_device *d, const ti_dataset *data)
{
  const size_t views = views_of(data), bytes = data->chw * sizeof(float);
  const float *to = d->t.latents;
  textinv_status status = TEXTINV_OK;

  for (size_t i = 0; i < data->num_pictures * views && status >= 0; i++, to += 2 * data->chw) {
    const ti_dataset_picture *picture = &data->pictures[i / views];
    const size_t at = i % views * data->chw;

    status = upload(d, to, picture->mean + at, bytes);
    if (status >= 0)
      status = upload(d, to + data->chw, picture->deviation + at, bytes);
  }
  return status;
}

static textinv_status upload_prompts(ti_run_device *d, const ti_dataset *data)
{
  const size_t tokens = (size_t)d->t.tokens, encoders = (size_t)d->t.encoders;
  int32_t *all = ti_calloc(data->num_prompts * (encoders * tokens + 1), sizeof(*all));
  int32_t *ends = all ? all + data->num_prompts * encoders * tokens : NULL, *to = all;
  textinv_status status;

  if (!all)
    return ti_fail_nomem(d->error, data->num_prompts * encoders * tokens * sizeof(*all), "prompts");
  for (size_t i = 0; i < data->num_prompts; i++) {
    for (size_t k = 0; k < encoders; k++, to += tokens)
      memcpy(to, data->prompts[i].ids[k], tokens * sizeof(*to));
    ends[i] = data->prompts[i].eos;
  }
  status = upload(d, d->t.prompts, all, data->num_prompts * encoders * tokens * sizeof(*all));
  if (status >= 0)
    status = upload(d, d->t.ends, ends, data->num_prompts * sizeof(*ends));
  ti_free(all);
  return status;
}

/* the rows of all words, and which of their values lie where among the learnt ones */
static textinv_status upload_table(ti_run_device *d, const ti_run *r, int k)
{
  const size_t count = d->t.num_table[k];
  int32_t *learnt = ti_calloc(count, sizeof(*learnt));
  size_t at = 0;
  textinv_status status;

  if (!learnt)
    return ti_fail_nomem(d->error, count * sizeof(*learnt), "words");
  memset(learnt, 0xff, count * sizeof(*learnt));
  for (size_t i = 0; i < r->learnt.count; i++) {
    const ti_word *w = &r->learnt.words[i];
    const size_t before = k ? ti_word_values(w, 0) : 0;
    const size_t values = ti_word_values(w, k);
    size_t row = 0;

    for (const ti_word *other = r->embeddings->words; strcmp(other->name, w->name); other++)
      row += (size_t)other->vectors;
    for (size_t j = 0; j < values; j++)
      learnt[row * (size_t)w->dim[k] + j] = (int32_t)(at + before + j);
    at += ti_word_all_values(w);
  }
  status = upload(d, d->t.table[k], r->tables[k].rows, count * sizeof(float));
  if (status >= 0)
    status = upload(d, d->t.learnt[k], learnt, count * sizeof(*learnt));
  ti_free(learnt);
  return status;
}

/* ------------------------------------------------------------------ the captured pass */

static void *at(const ti_run_device *d, ti_val v)
{
  return v == TI_NONE ? NULL : (char *)d->device->arena + d->plan->plan.tape.values[v].offset;
}

/* the plan of a pass, which others may have pushed out, and where its values lie now */
static textinv_status bind_plan(ti_run_device *d, ti_run *r)
{
  ti_cuda_training *t = &d->t;
  textinv_status status = ti_train_plan(&d->plan, r->s, r->model, r->tables, (int)r->samples,
                                        r->data.h, r->data.w, 1);

  if (status < 0)
    return status;
  status = ti_device_reserve(d->device, d->error, ti_plan_bytes(&d->plan->plan));
  if (status < 0)
    return status;
  t->noisy = at(d, d->plan->latents);
  t->target = at(d, d->plan->target);
  t->timesteps = at(d, d->plan->timesteps);
  t->size_ids = at(d, d->plan->size_ids);
  t->eos = at(d, d->plan->eos);
  t->loss = at(d, d->plan->out);
  t->unscale = 1.0f / d->plan->plan.tape.loss_scale;
  for (int k = 0; k < t->encoders; k++) {
    t->ids[k] = at(d, d->plan->ids[k]);
    t->rows[k] = at(d, d->plan->rows[k]);
    t->drows[k] = at(d, d->plan->drows[k]);
  }
  return TEXTINV_OK;
}

static ti_exec exec_of(const ti_run_device *d)
{
  return (ti_exec){ .device = d->device->context,
                    .stream = d->device->plugin->stream(d->device->context),
                    .error = d->error };
}

static textinv_status launch_pass(const void *user)
{
  const ti_run_device *d = user;
  const ti_cuda_plugin *plugin = d->device->plugin;
  ti_exec e = exec_of(d);
  textinv_status status = plugin->step_inputs(&e, &d->t);

  if (status >= 0)
    status = ti_plan_launch(&d->plan->plan, 0);
  return status < 0 ? status : plugin->step_update(&e, &d->t);
}

static textinv_status launch_apply(const void *user)
{
  const ti_run_device *d = user;
  ti_exec e = exec_of(d);

  return d->device->plugin->step_apply(&e, &d->t);
}

/* ------------------------------------------------------------------ what the loop calls */

/* words whose vectors for another model would be decayed here, too, are the host's business */
static int has_other_vectors(const ti_run *r)
{
  for (size_t i = 0; i < r->learnt.count; i++) {
    for (int k = r->model->num_encoders; k < TI_MAX_ENCODERS; k++) {
      if (r->learnt.words[i].dim[k])
        return 1;
    }
  }
  return 0;
}

static textinv_status fill(ti_run_device *d, ti_run *r)
{
  const size_t bytes = r->num_values * sizeof(float);
  textinv_status status;

  if ((status = upload_pictures(d, &r->data)) < 0 || (status = upload_prompts(d, &r->data)) < 0)
    return status;
  for (int k = 0; k < d->t.encoders; k++) {
    if ((status = upload_table(d, r, k)) < 0)
      return status;
  }
  for (size_t i = 0; i < 2 && status >= 0; i++) {
    float *state = d->t.states + i * 3 * r->num_values;

    if ((status = upload(d, state, r->next, bytes)) >= 0 &&
        (status = upload(d, state + r->num_values, r->m, bytes)) >= 0)
      status = upload(d, state + 2 * r->num_values, r->v, bytes);
  }
  return status;
}

textinv_status ti_run_device_new(ti_run_device **out, ti_run *r)
{
  ti_run_device *d;
  textinv_status status;

  *out = NULL;
  if (!r->s->device || has_other_vectors(r))
    return TEXTINV_OK;
  d = ti_calloc(1, sizeof(*d));
  if (!d)
    return ti_fail_nomem(&r->s->error, sizeof(*d), "training");
  d->device = r->s->device;
  d->error = &r->s->error;
  d->begun = d->ended = r->step;
  d->t.n = (int)r->samples;
  d->t.c = r->model->unet.in_channels;
  d->t.hw = r->data.h * r->data.w;
  d->t.tokens = r->model->tokens;
  d->t.encoders = r->model->num_encoders;
  d->t.shared = r->places != NULL;
  d->t.count = r->num_values;
  for (int k = 0; k < d->t.encoders; k++)
    d->t.num_table[k] = (size_t)r->tables[k].num_rows * (size_t)r->tables[k].dim;
  memcpy(d->t.sizes, r->size_ids, sizeof(d->t.sizes));
  if ((status = bind_plan(d, r)) < 0 || (status = allocate(d, r)) < 0 ||
      (status = fill(d, r)) < 0) {
    ti_run_device_free(d);
    if (status != TEXTINV_E_NOMEM)
      return status;
    ti_log(r->s, TEXTINV_LOG_INFO, "noise and optimiser stay on the host: %s", r->s->error.text);
    r->s->error.text[0] = '\0';
    return TEXTINV_OK;
  }
  if (ti_plan_bytes(&d->plan->plan) > r->s->peak_bytes)
    r->s->peak_bytes = ti_plan_bytes(&d->plan->plan);
  *out = d;
  return TEXTINV_OK;
}

void ti_run_device_free(ti_run_device *d)
{
  if (!d)
    return;
  d->device->plugin->graph_free(d->device->context, d->graph);
  d->device->plugin->graph_free(d->device->context, d->apply);
  d->device->plugin->free(d->device->context, d->memory);
  ti_free(d);
}

uint32_t ti_run_device_begun(const ti_run_device *d)
{
  return d->begun;
}

/* the result of a step that has all its launches */
static textinv_status send_result(ti_run_device *d, uint32_t step)
{
  const ti_cuda_plugin *plugin = d->device->plugin;
  const textinv_status status = plugin->fetch(d->device->context, d->error, d->results[step % 2],
                                              d->t.result, sizeof(ti_cuda_result));

  return status < 0 ? status : plugin->mark(d->device->context, d->error, (int)(step % 2));
}

textinv_status ti_run_device_begin(ti_run_device *d, ti_run *r, float rate)
{
  const uint32_t step = d->begun, count = r->passes * r->samples, first = ti_run_first_sample(r);
  const ti_cuda_plugin *plugin = d->device->plugin;
  ti_cuda_step *to = d->steps[step % 2];
  ti_cuda_sample *samples = (ti_cuda_sample *)(to + 1);
  const size_t views = views_of(&r->data);
  ti_adamw adamw = r->adamw;
  textinv_status status = TEXTINV_OK;

  if (atomic_load(&r->s->cancel))
    return ti_fail(d->error, TEXTINV_E_CANCELLED, "cancelled");
  adamw.learning_rate = rate;
  const ti_adamw_scale scale = ti_adamw_scale_of(&adamw, (uint64_t)step + 1);

  *to = (ti_cuda_step){ .seed = r->p.seed,
                        .step = step,
                        .prediction = (int32_t)r->model->schedule.prediction,
                        .passes = r->passes,
                        .from = step % 2,
                        .share = ti_run_share(r),
                        .beta1 = adamw.beta1,
                        .beta2 = adamw.beta2,
                        .epsilon = adamw.epsilon,
                        .size = scale.size,
                        .root = scale.root,
                        .decay = scale.decay };
  for (uint32_t i = 0; i < count; i++) {
    const ti_run_draw draw = ti_run_draw_of(r, step, first + i);
    const float alpha = r->model->schedule.alphas_cumprod[draw.timestep];

    samples[i] = (ti_cuda_sample){ .sample = first + i,
                                   .picture = (uint32_t)(draw.picture * views + draw.view),
                                   .prompt = (uint32_t)draw.prompt,
                                   .timestep = (float)draw.timestep,
                                   .signal = sqrtf(alpha),
                                   .sigma = sqrtf(1.0f - alpha) };
  }
  r->s->last = NULL; /* the arena's values are no longer those of the last plan */
  if (!d->graph && (status = bind_plan(d, r)) < 0)
    return status;
  status = plugin->send(d->device->context, d->error, d->t.step, to, d->step_bytes);
  for (uint32_t pass = 0; pass < r->passes && status >= 0; pass++)
    status = ti_device_start(d->device, d->error, &d->graph, launch_pass, d);
  if (status >= 0 && !d->t.shared)
    status = send_result(d, step);
  d->begun += status >= 0;
  return status;
}

textinv_status ti_run_device_fetch_gradient(ti_run_device *d, ti_run *r)
{
  return d->device->plugin->download(d->device->context, d->error, r->gradient, d->t.gradient,
                                     (d->t.count + 1) * sizeof(float));
}

textinv_status ti_run_device_apply(ti_run_device *d, const ti_run *r)
{
  textinv_status status = upload(d, d->t.gradient, r->gradient, (d->t.count + 1) * sizeof(float));

  if (status >= 0)
    status = ti_device_start(d->device, d->error, &d->apply, launch_apply, d);
  return status < 0 ? status : send_result(d, r->step);
}

textinv_status ti_run_device_end(ti_run_device *d, ti_run *r, int *applied)
{
  const textinv_status status = d->device->plugin->wait(d->device->context, d->error,
                                                        (int)(r->step % 2));

  if (status < 0)
    return status;
  r->loss = d->results[r->step % 2]->loss;
  r->gradient_norm = d->results[r->step % 2]->gradient_norm;
  *applied = d->results[r->step % 2]->applied;
  d->ended = r->step + 1;
  return TEXTINV_OK;
}

textinv_status ti_run_device_fetch(ti_run_device *d, float *next)
{
  return d->device->plugin->download(d->device->context, d->error, next,
                                     d->t.states + d->ended % 2 * 3 * d->t.count,
                                     3 * d->t.count * sizeof(float));
}

void ti_run_device_release_graph(ti_run_device *d)
{
  d->device->plugin->graph_free(d->device->context, d->graph);
  d->graph = NULL;
}
