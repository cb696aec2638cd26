/*
 * The training loop of an inversion: draws, gradient, AdamW, checkpoints, previews.
 *
 * The draws of step t (counted from 0), sample i of ranks * batch * accumulate, are functions of
 * (seed, t, i):
 *
 *   TI_DRAW_PICTURE   below(pictures)          which picture, of all concepts
 *   TI_DRAW_CROP      below(crops), element 3  which of its cached crops
 *   TI_DRAW_FLIP      uniform < flip           mirrored or not
 *   TI_DRAW_PROMPT    below(templates)         which template of its concept
 *   TI_DRAW_TIMESTEP  below(train_timesteps)
 *   TI_DRAW_LATENT    normal [c, h, w]         latents = mean + deviation * normal
 *   TI_DRAW_NOISE     normal [c, h, w]
 *
 * so that a resumed run draws what the whole run would have drawn, and several processes what one
 * would have drawn: rank r has the samples from r * batch * accumulate on.
 */
#include <math.h>
#include <string.h>

#include "alloc.h"
#include "format.h"
#include "resume.h"
#include "run.h"

enum { MAX_SKIPS = 8, AVERAGE_WINDOW = 50 };

/* ------------------------------------------------------------------ checkpoints */

static textinv_status fetch(ti_run *r);

/* copy the rows of all words out to, or in from, a flat array */
static void copy_rows(const textinv_embeddings *e, float *flat, int out)
{
  for (size_t i = 0; i < e->count; i++) {
    const ti_word *w = &e->words[i];

    for (int k = 0; k < TI_MAX_ENCODERS; k++) {
      const size_t count = ti_word_values(w, k);

      if (!count)
        continue;
      memcpy(out ? flat : w->rows[k], out ? w->rows[k] : flat, count * sizeof(float));
      flat += count;
    }
  }
}

/* goes on from a named file: older ones in output_dir may be of another run */
static int is_from_named(const ti_run *r)
{
  return r->p.resume && strcmp(r->p.resume, "latest");
}

/* behind the settings of a checkpoint; those of earlier releases do not have it */
static const char START[] = "; start=";

static textinv_status save(ti_run *r)
{
  const ti_checkpoint_info info = { .step = r->step, .loss_average = r->loss_average };
  ti_checkpoint_info full = info;
  char path[TI_PATH_SIZE];
  textinv_status status;

  if (!r->p.output_dir || r->group.rank || r->step == r->saved_step)
    return TEXTINV_OK;
  if ((status = fetch(r)) < 0)
    return status;
  ti_format(full.settings, sizeof(full.settings), "%s%s%s", r->settings, START, r->start);
  if (r->saved_step == r->first_step)
    ti_checkpoint_set_aside(r->s, r->p.output_dir, r->first_step);
  ti_checkpoint_path(path, sizeof(path), r->p.output_dir, r->step);
  status = ti_checkpoint_write(&r->s->error, path, &r->learnt, r->m, r->v, &r->adamw, &full);
  if (status < 0)
    return status;
  r->saved_step = r->step;
  ti_checkpoint_prune(r->s, r->p.output_dir, is_from_named(r) ? r->first_step : 0, r->step,
                      r->p.checkpoint_keep);
  return TEXTINV_OK;
}

/* that a checkpoint is one of this run, but for its rows */
static textinv_status check_saved(const ti_run *r, const char *path,
                                  const textinv_embeddings *saved, const ti_adamw *adamw,
                                  const ti_checkpoint_info *info)
{
  ti_error *error = &r->s->error;
  const size_t num_values = textinv_embeddings_num_values(saved);
  const textinv_status status = ti_settings_match(error, path, info->settings, r->settings);

  if (status < 0)
    return status;
  if (adamw->beta1 != r->adamw.beta1 || adamw->beta2 != r->adamw.beta2 ||
      adamw->epsilon != r->adamw.epsilon)
    return ti_fail(error, TEXTINV_E_CONFLICT,
                   "%s was made with beta1 %g, beta2 %g, epsilon %g; this run has %g, %g, %g", path,
                   (double)adamw->beta1, (double)adamw->beta2, (double)adamw->epsilon,
                   (double)r->adamw.beta1, (double)r->adamw.beta2, (double)r->adamw.epsilon);
  if (info->step > r->p.steps)
    return ti_fail(error, TEXTINV_E_CONFLICT, "%s is of step %llu; this run ends at step %u", path,
                   (unsigned long long)info->step, r->p.steps);
  if (num_values != r->num_values || saved->count != r->learnt.count)
    return ti_fail(error, TEXTINV_E_CONFLICT,
                   "%s holds %zu values of %zu words; this run has %zu of %zu", path, num_values,
                   saved->count, r->num_values, r->learnt.count);
  for (size_t i = 0; i < saved->count; i++) {
    const ti_word *from = &saved->words[i], *to = &r->learnt.words[i];

    if (from->vectors != to->vectors || memcmp(from->dim, to->dim, sizeof(to->dim)))
      return ti_fail(error, TEXTINV_E_CONFLICT,
                     "%s: word \"%s\" has another shape than in this run", path, from->name);
  }
  return TEXTINV_OK;
}

/* rows, moments and step of a checkpoint that belongs to this run */
static textinv_status load(ti_run *r, const char *path)
{
  ti_error *error = &r->s->error;
  textinv_embeddings *saved = ti_calloc(1, sizeof(*saved));
  float *rows = r->next, *held = rows + r->num_values, *m = NULL, *v = NULL;
  ti_adamw adamw;
  ti_checkpoint_info info;
  char *start;
  textinv_status status;

  if (!saved)
    return ti_fail_nomem(error, sizeof(*saved), "a checkpoint");
  if ((status = ti_checkpoint_read(error, path, saved, &m, &v, &adamw, &info)) < 0)
    goto out;
  if ((start = strstr(info.settings, START))) {
    *start = '\0';
    start += sizeof(START) - 1;
  }
  if ((status = check_saved(r, path, saved, &adamw, &info)) < 0)
    goto out;
  copy_rows(saved, rows, 1);
  copy_rows(&r->learnt, held, 1);
  /* where a run goes on with the set of words that it left, they hold what it learnt */
  if (start && strcmp(start, r->start) && memcmp(held, rows, r->num_values * sizeof(*rows))) {
    status = ti_fail(error, TEXTINV_E_CONFLICT,
                     "%s was begun with other vectors of the words: use the same initializers and "
                     "the same words to start from, or another output folder",
                     path);
    goto out;
  }
  if (start)
    ti_format(r->start, sizeof(r->start), "%s", start);
  copy_rows(&r->learnt, rows, 0);
  memcpy(r->m, m, r->num_values * sizeof(*m));
  memcpy(r->v, v, r->num_values * sizeof(*v));
  r->step = r->saved_step = (uint32_t)info.step;
  r->loss_average = info.loss_average;
  ti_log(r->s, TEXTINV_LOG_INFO, "going on from step %u of %s", r->step, path);
out:
  ti_free(m);
  ti_free(v);
  textinv_embeddings_free(saved);
  return status;
}

textinv_status ti_run_resume(ti_run *r)
{
  char path[TI_PATH_SIZE];
  int found;
  textinv_status status;

  if (!r->p.resume || r->group.rank)
    return TEXTINV_OK;
  if (is_from_named(r))
    return load(r, r->p.resume);
  if ((status = ti_checkpoint_latest(r->s, r->p.output_dir, path, sizeof(path), &found)) < 0)
    return status;
  if (found)
    return load(r, path);
  if (ti_checkpoint_aside(r->p.output_dir, path, sizeof(path)))
    ti_log(r->s, TEXTINV_LOG_WARNING,
           "no checkpoint but what was set aside, such as %s: starting anew; resume from that file "
           "to go on with it",
           path);
  else
    ti_log(r->s, TEXTINV_LOG_INFO, "%s holds no checkpoint: starting anew", r->p.output_dir);
  return TEXTINV_OK;
}

/* ------------------------------------------------------------------ steps */

ti_run_draw ti_run_draw_of(const ti_run *r, uint32_t step, uint32_t sample)
{
  const ti_dataset *d = &r->data;
  ti_draw_key key = { r->p.seed, TI_DRAW_PICTURE, step, sample };
  ti_run_draw out;

  out.picture = ti_draw_below(&key, 0, (uint32_t)d->num_pictures);
  const ti_dataset_picture *picture = &d->pictures[out.picture];

  key.purpose = TI_DRAW_CROP;
  out.view = ti_draw_below(&key, 3, (uint32_t)d->crops) * (size_t)(1 + d->flips);
  key.purpose = TI_DRAW_FLIP;
  out.view += d->flips && ti_draw_uniform(&key, 0) < r->p.flip;
  key.purpose = TI_DRAW_PROMPT;
  out.prompt = picture->caption >= 0
                 ? (size_t)picture->caption
                 : (size_t)d->first_prompt[picture->concept] +
                     ti_draw_below(&key, 0, (uint32_t)d->prompts_of[picture->concept]);
  key.purpose = TI_DRAW_TIMESTEP;
  out.timestep = (int)ti_draw_below(&key, 0, (uint32_t)r->model->schedule.timesteps);
  return out;
}

uint32_t ti_run_first_sample(const ti_run *r)
{
  return r->group.rank * r->passes * r->samples;
}

float ti_run_share(const ti_run *r)
{
  return 1.0f / (float)(r->passes * r->group.ranks);
}

/* latents, noise, timestep and prompt of one sample into place b of the pass */
static void draw_sample(ti_run *r, uint32_t sample, uint32_t b)
{
  const ti_dataset *d = &r->data;
  const ti_schedule *schedule = &r->model->schedule;
  const size_t tokens = (size_t)r->model->tokens;
  const ti_run_draw draw = ti_run_draw_of(r, r->step, sample);
  const float *mean = d->pictures[draw.picture].mean + draw.view * d->chw;
  const float *deviation = d->pictures[draw.picture].deviation + draw.view * d->chw;
  ti_draw_key key = { r->p.seed, TI_DRAW_LATENT, r->step, sample };

  ti_draw_normal(&key, r->latents, d->chw);
  for (size_t i = 0; i < d->chw; i++)
    r->latents[i] = mean[i] + deviation[i] * r->latents[i];
  key.purpose = TI_DRAW_NOISE;
  ti_draw_normal(&key, r->noise, d->chw);

  ti_schedule_add_noise(schedule, draw.timestep, r->noisy + b * d->chw, r->latents, r->noise,
                        d->chw);
  ti_schedule_target(schedule, draw.timestep, r->target + b * d->chw, r->latents, r->noise, d->chw);
  r->timesteps[b] = (float)draw.timestep;
  r->eos[b] = d->prompts[draw.prompt].eos;
  for (int k = 0; k < r->model->num_encoders; k++)
    memcpy(r->ids[k] + b * tokens, d->prompts[draw.prompt].ids[k], tokens * sizeof(int32_t));
}

/* the values of the learnt words out of a gradient of all words, added to r->gradient */
static void add_gradient(ti_run *r, float scale)
{
  float *to = r->gradient;

  for (size_t i = 0; i < r->learnt.count; i++) {
    const float *from = r->pass_gradient;

    for (const ti_word *w = r->embeddings->words; strcmp(w->name, r->learnt.words[i].name); w++)
      from += ti_word_all_values(w);
    const ti_word *w = &r->learnt.words[i];
    const size_t count = ti_word_all_values(w);

    for (size_t k = 0; k < count; k++)
      *to++ += from[k] * scale;
  }
}

/* this process's part of them, and of the loss behind it */
static textinv_status compute_gradient(ti_run *r)
{
  const float share = ti_run_share(r);
  const uint32_t first = ti_run_first_sample(r);
  const ti_samples samples = { .n = (int)r->samples,
                               .h = r->data.h,
                               .w = r->data.w,
                               .ids = { r->ids[0], r->ids[1] },
                               .eos = r->eos,
                               .size_ids = r->size_ids,
                               .noisy = r->noisy,
                               .target = r->target,
                               .timesteps = r->timesteps };
  float *loss_sum = r->gradient + r->num_values;
  textinv_status status;

  memset(r->gradient, 0, (r->num_values + 1) * sizeof(float));
  for (uint32_t pass = 0; pass < r->passes; pass++) {
    float loss;

    for (uint32_t b = 0; b < r->samples; b++)
      draw_sample(r, first + pass * r->samples + b, b);
    if ((status = ti_train_pass(r->s, r->model, r->tables, &samples, &loss, r->rows)) < 0)
      return status;
    ti_gradient_of_rows(r->pass_gradient, r->embeddings, r->tables, r->rows);
    add_gradient(r, share);
    *loss_sum += loss * share;
  }
  return TEXTINV_OK;
}

/* as diffusers.optimization.get_scheduler() has it for the step with this index; its "constant" is
 * without a warm-up, as ours with one of 0 steps */
static float learning_rate(const ti_run *r, uint32_t step)
{
  const double base = r->adamw.learning_rate, t = step, warmup = r->p.lr_warmup;
  const double rest = r->p.steps > r->p.lr_warmup ? (t - warmup) / (r->p.steps - warmup) : 0.0;

  if (t < warmup)
    return (float)(base * t / warmup);
  if (r->p.lr_schedule == TEXTINV_LR_LINEAR)
    return (float)(base * (1.0 - rest));
  if (r->p.lr_schedule == TEXTINV_LR_COSINE)
    return (float)(base * 0.5 * (1.0 + cos(3.14159265358979323846 * rest)));
  return (float)base;
}

static int all_finite(const float *values, size_t count)
{
  for (size_t i = 0; i < count; i++) {
    if (!isfinite(values[i]))
      return 0;
  }
  return 1;
}

/* rows and moments as r->next has them */
static void take_next(ti_run *r)
{
  const size_t bytes = r->num_values * sizeof(float);

  copy_rows(&r->learnt, r->next, 0);
  memcpy(r->m, r->next + r->num_values, bytes);
  memcpy(r->v, r->next + 2 * r->num_values, bytes);
  for (int k = 0; k < r->model->num_encoders; k++)
    ti_row_table_update(&r->tables[k], r->embeddings, k);
}

/* AdamW; moments and rows stay as they were when a result would not be finite */
static int update(ti_run *r, float rate)
{
  const size_t bytes = r->num_values * sizeof(float);
  float *rows = r->next, *m = rows + r->num_values, *v = m + r->num_values;
  ti_adamw adamw = r->adamw;

  adamw.learning_rate = rate;
  copy_rows(&r->learnt, rows, 1);
  memcpy(m, r->m, bytes);
  memcpy(v, r->v, bytes);
  ti_adamw_step(&adamw, (uint64_t)r->step + 1, rows, m, v, r->gradient, r->num_values);
  if (!all_finite(r->next, 3 * r->num_values))
    return 0;
  take_next(r);
  return 1;
}

static textinv_status step_from_host(ti_run *r, float rate, int *applied)
{
  const textinv_status status = ti_run_meet(r, compute_gradient(r));
  double sum = 0.0;

  if (status < 0)
    return status;
  for (size_t i = 0; i < r->num_values; i++)
    sum += (double)r->gradient[i] * r->gradient[i];
  r->loss = r->gradient[r->num_values];
  r->gradient_norm = (float)sqrt(sum);
  *applied = isfinite(r->loss) && isfinite(r->gradient_norm) && update(r, rate);
  return TEXTINV_OK;
}

static int preview_is_due(const ti_run *r, uint32_t step)
{
  return r->p.preview_every && !r->group.rank && step % r->p.preview_every == 0;
}

/* the step after this one is begun, too, unless other work comes between them */
static textinv_status step_on_device(ti_run *r, int *applied)
{
  const int ahead = r->step + 1 < r->p.steps && !preview_is_due(r, r->step + 1);

  while (ti_run_device_begun(r->device) <= r->step + (uint32_t)ahead) {
    const float rate = learning_rate(r, ti_run_device_begun(r->device));
    const textinv_status status = ti_run_device_begin(r->device, r, rate);

    if (status < 0)
      return status;
  }
  return ti_run_device_end(r->device, r, applied);
}

static textinv_status step_on_device_with_others(ti_run *r, float rate, int *applied)
{
  textinv_status status = ti_run_device_begin(r->device, r, rate);

  if (status >= 0)
    status = ti_run_device_fetch_gradient(r->device, r);
  if ((status = ti_run_meet(r, status)) < 0)
    return status;
  if ((status = ti_run_device_apply(r->device, r)) >= 0)
    status = ti_run_device_end(r->device, r, applied);
  /* the others have taken the step, and look next behind the one after it */
  return status < 0 ? ti_run_meet(r, status) : status;
}

/* rows and moments from the device, where they are newer */
static textinv_status fetch(ti_run *r)
{
  textinv_status status;

  if (!r->device)
    return TEXTINV_OK;
  if ((status = ti_run_device_fetch(r->device, r->next)) < 0)
    return status;
  take_next(r);
  r->fetched_step = r->step;
  r->fetched_average = r->loss_average;
  return TEXTINV_OK;
}

static textinv_status one_step(ti_run *r, float rate)
{
  int applied;
  const textinv_status status = !r->device  ? step_from_host(r, rate, &applied)
                                : r->places ? step_on_device_with_others(r, rate, &applied)
                                            : step_on_device(r, &applied);

  if (status < 0)
    return status;
  if (!applied) {
    r->skips++;
    ti_log(r->s, TEXTINV_LOG_WARNING, "step %u is skipped: loss %g, norm of the gradient %g",
           r->step, (double)r->loss, (double)r->gradient_norm);
    if (++r->skips_in_row == MAX_SKIPS)
      return ti_fail(
        &r->s->error, TEXTINV_E_NONFINITE,
        "loss or gradient was not finite for %d steps up to step %u; the words hold their last "
        "finite vectors: lower the learning rate%s",
        MAX_SKIPS, r->step, ti_wider_types((ti_dtype)r->s->dtype));
  } else {
    const float weight = 1.0f / AVERAGE_WINDOW;

    r->skips_in_row = 0;
    r->loss_average = r->loss_average > 0.0f
                        ? r->loss_average + (r->loss - r->loss_average) * weight
                        : r->loss;
  }
  r->step++;
  return TEXTINV_OK;
}

textinv_status ti_run_report(ti_run *r, const char *phase, uint32_t step, uint32_t steps,
                             float rate)
{
  const double seconds = ti_seconds() - r->began;
  const int training = !strcmp(phase, "train");
  const uint32_t done = step - (training ? r->first_step : 0);
  const textinv_progress progress = { .struct_size = sizeof(progress),
                                      .phase = phase,
                                      .step = step,
                                      .steps = steps,
                                      .loss = training ? r->loss : 0.0f,
                                      .loss_average = training ? r->loss_average : 0.0f,
                                      .learning_rate = rate,
                                      .gradient_norm = training ? r->gradient_norm : 0.0f,
                                      .seconds = seconds,
                                      .eta = done ? seconds / done * (steps - step) : 0.0 };

  if (r->p.progress && r->p.progress(r->p.progress_user, &progress))
    return ti_fail(&r->s->error, TEXTINV_E_CANCELLED, "stopped at step %u of %u", step, steps);
  if (atomic_load(&r->s->cancel))
    return ti_fail(&r->s->error, TEXTINV_E_CANCELLED, "cancelled at step %u of %u", step, steps);
  return TEXTINV_OK;
}

/* the run goes on without what failed */
static textinv_status warn(ti_run *r, const char *what)
{
  ti_log(r->s, TEXTINV_LOG_WARNING, "no %s at step %u: %s", what, r->step, r->s->error.text);
  r->s->error.text[0] = '\0';
  return TEXTINV_OK;
}

static textinv_status preview(ti_run *r)
{
  textinv_generate_params g;
  textinv_images *images;
  textinv_status status = fetch(r);

  if (status < 0)
    return status;
  if (r->device)
    ti_run_device_release_graph(r->device);
  textinv_generate_params_init(&g, sizeof(g));
  g.prompt = r->p.preview_prompt;
  g.images = r->p.preview_images;
  g.steps = r->p.preview_steps;
  if ((status = textinv_generate(&images, r->s, r->model, r->embeddings, &g)) < 0)
    return status == TEXTINV_E_CANCELLED ? status : warn(r, "preview");
  if (r->p.preview(r->p.preview_user, r->step, images))
    status = ti_fail(&r->s->error, TEXTINV_E_CANCELLED, "stopped at step %u of %u", r->step,
                     r->p.steps);
  textinv_images_free(images);
  return status;
}

/* a checkpoint that cannot be written does not stop the run: the one before it is still there */
static void save_or_warn(ti_run *r)
{
  if (save(r) < 0)
    warn(r, "checkpoint");
}

/*
 * The samples of a pass: the batch, or the largest part of it that fits into memory. A step draws
 * the same samples then, in more passes.
 */
static textinv_status fit(ti_run *r)
{
  const uint32_t batch = r->p.batch;
  ti_net_plan *plan;
  textinv_status status;

  r->samples = batch;
  for (;;) {
    status = ti_train_plan(&plan, r->s, r->model, r->tables, (int)r->samples, r->data.h, r->data.w,
                           1);
    if (status != TEXTINV_E_NOMEM || r->samples == 1)
      break;
    do {
      r->samples--;
    } while (batch % r->samples);
  }
  r->passes = r->p.accumulate * (batch / r->samples);
  r->peak_bytes = status < 0 ? 0 : ti_plan_bytes(&plan->plan);
  if (status >= 0 && r->samples < batch) {
    ti_log(r->s, TEXTINV_LOG_INFO, "memory is short: a step takes %u passes of %u samples",
           r->passes, r->samples);
    r->s->error.text[0] = '\0';
  }
  return status;
}

/* at the last step, too: the words are the host's then, but more steps go on from the moments */
static int checkpoint_is_due(const ti_run *r, uint32_t step)
{
  return r->p.checkpoint_every && (step % r->p.checkpoint_every == 0 || step == r->p.steps);
}

/* a process that must stop says so where the others look next: at the meeting of the next step */
static textinv_status run_steps(ti_run *r)
{
  textinv_status status = TEXTINV_OK;

  while (r->step < r->p.steps && status >= 0) {
    const float rate = learning_rate(r, r->step);

    if ((status = one_step(r, rate)) < 0)
      return status;
    if (checkpoint_is_due(r, r->step))
      save_or_warn(r);
    status = ti_run_report(r, "train", r->step, r->p.steps, rate);
    if (status >= 0 && preview_is_due(r, r->step))
      status = preview(r);
  }
  return ti_run_meet(r, status);
}

/* r->next, rows and moments as rank 0 has them: to its own the others add zeros */
static textinv_status take_first_state(ti_run *r)
{
  const size_t count = r->num_values;
  textinv_status status;

  memset(r->next, 0, 3 * count * sizeof(float));
  if (!r->group.rank) {
    copy_rows(&r->learnt, r->next, 1);
    memcpy(r->next + count, r->m, count * sizeof(float));
    memcpy(r->next + 2 * count, r->v, count * sizeof(float));
  }
  if (r->places && (status = ti_run_sum(r, TEXTINV_OK, r->next, 3 * count)) < 0)
    return status;
  take_next(r);
  return TEXTINV_OK;
}

/* a run that stopped early: its checkpoint, of rows that are worth going on from */
static textinv_status save_stopped(ti_run *r, textinv_status status)
{
  if (status == TEXTINV_E_NONFINITE)
    return TEXTINV_OK;
  if (status != TEXTINV_E_CANCELLED) {
    save_or_warn(r);
    return TEXTINV_OK;
  }
  return save(r) < 0 ? TEXTINV_E_IO : TEXTINV_OK; /* the caller must know that nothing is kept */
}

textinv_status ti_run_train(ti_run *r)
{
  textinv_status status, fetched, kept = TEXTINV_OK;

  r->began = ti_seconds();
  r->fetched_step = r->step;
  r->fetched_average = r->loss_average;
  if ((status = take_first_state(r)) < 0)
    return status;
  if ((status = fit(r)) < 0 || (status = ti_run_device_new(&r->device, r)) < 0)
    return ti_run_meet(r, status);
  status = run_steps(r);
  const int cancelled = status == TEXTINV_E_CANCELLED;
  ti_error first = r->s->error;

  fetched = fetch(r);
  ti_run_device_free(r->device);
  r->device = NULL;
  if (fetched < 0) { /* rows and moments are those of the last fetch */
    r->step = r->fetched_step;
    r->loss_average = r->fetched_average;
    if (status >= 0 || cancelled) {
      status = fetched;
      first = r->s->error;
    }
  }
  if (status < 0)
    kept = save_stopped(r, status);
  if (cancelled)
    atomic_store(&r->s->cancel, 0); /* it was asked for and done, whatever is returned */
  if (kept < 0)
    return kept;
  r->s->error = first;
  return status;
}
