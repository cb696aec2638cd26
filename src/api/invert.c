/*
 * Textual inversion: AdamW on the rows of new words, everything else frozen.
 *
 * The draws of step t (counted from 0), sample i = pass * batch + b, are functions of (seed, t, i):
 *   TI_DRAW_PICTURE   below(pictures)             which picture, of all concepts
 *   TI_DRAW_CROP      below(crops), element 3     which of its cached crops
 *   TI_DRAW_FLIP      uniform < flip              mirrored or not
 *   TI_DRAW_PROMPT    below(templates)            which template of its concept
 *   TI_DRAW_TIMESTEP  below(train_timesteps)
 *   TI_DRAW_LATENT    normal [c, h, w]            latents = mean + deviation * normal
 *   TI_DRAW_NOISE     normal [c, h, w]
 * so that a resumed run draws what the whole run would have drawn.
 */
#include <math.h>
#include <string.h>

#include "alloc.h"
#include "api.h"
#include "atomic_file.h"
#include "dataset.h"
#include "format.h"
#include "hash.h"
#include "resume.h"

enum { MAX_CONCEPTS = 256, MAX_SKIPS = 8, AVERAGE_WINDOW = 50 };

static const textinv_concept concept_defaults = {
  .struct_size = sizeof(textinv_concept),
  .num_vectors = 1,
};
static const size_t CONCEPT_MIN = sizeof(textinv_concept);

static const textinv_invert_params invert_defaults = {
  .struct_size = sizeof(textinv_invert_params),
  .steps = 500,
  .batch = 4,
  .accumulate = 1,
  .learning_rate = 5e-3f,
  .beta1 = 0.9f,
  .beta2 = 0.999f,
  .epsilon = 1e-8f,
  .center_crop = 1,
  .crop_scale = 1.0f,
  .flip = 0.5f,
  .checkpoint_keep = 2,
  .preview_images = 1,
  .preview_steps = 25,
};
static const size_t INVERT_PARAMS_MIN = sizeof(textinv_invert_params);

textinv_status textinv_concept_init(textinv_concept *params, size_t size)
{
  return ti_params_init(params, size, &concept_defaults, sizeof(concept_defaults), CONCEPT_MIN);
}

textinv_status textinv_invert_params_init(textinv_invert_params *params, size_t size)
{
  return ti_params_init(params, size, &invert_defaults, sizeof(invert_defaults), INVERT_PARAMS_MIN);
}

typedef struct run {
  textinv_session *s;
  const textinv_model *model;
  textinv_embeddings *embeddings;
  textinv_invert_params p;
  textinv_concept *concepts;
  ti_row_table tables[TI_MAX_ENCODERS];
  ti_dataset data;
  ti_adamw adamw;
  textinv_embeddings learnt; /* the words of the concepts: copies of the structs, not of the rows */
  size_t num_values;         /* of learnt */
  float *m, *v, *gradient;   /* [num_values] */
  float *pass_gradient;      /* of all words of embeddings */
  float *next;               /* [3, num_values]: rows, m and v after a step */
  float *rows[TI_MAX_ENCODERS]; /* gradients of one pass, [num_rows, dim] */
  int32_t *ids[TI_MAX_ENCODERS], *eos;
  float *noisy, *target, *timesteps, *size_ids, *latents, *noise;
  char settings[512];
  uint32_t step, saved_step, skips, skips_in_row;
  float loss, loss_average, gradient_norm;
  double began;
  uint32_t first_step;
} run;

/* ------------------------------------------------------------------ checks */

static textinv_status check_params(run *r)
{
  ti_error *error = &r->s->error;
  const textinv_invert_params *p = &r->p;
  const uint32_t multiple = (uint32_t)ti_vae_scale(&r->model->vae) << (r->model->unet.blocks - 1);

  if (!p->concepts || p->num_concepts < 1 || p->num_concepts > MAX_CONCEPTS)
    return ti_fail(error, TEXTINV_E_INVALID, "%zu concepts; 1 to %d are possible",
                   p->concepts ? p->num_concepts : 0, MAX_CONCEPTS);
  if (p->steps < 1 || p->steps > 10000000)
    return ti_fail(error, TEXTINV_E_INVALID, "steps is %u; 1 to 10000000 are possible", p->steps);
  if (p->batch < 1 || p->batch > TI_MAX_BATCH || p->accumulate < 1 || p->accumulate > TI_MAX_BATCH)
    return ti_fail(error, TEXTINV_E_INVALID, "batch is %u, accumulate %u; 1 to %d are possible",
                   p->batch, p->accumulate, TI_MAX_BATCH);
  if (p->lr_schedule < TEXTINV_LR_CONSTANT || p->lr_schedule > TEXTINV_LR_COSINE)
    return ti_fail(error, TEXTINV_E_INVALID, "lr_schedule is %d; 0 to %d are possible",
                   (int)p->lr_schedule, TEXTINV_LR_COSINE);
  if (p->lr_warmup > p->steps)
    return ti_fail(error, TEXTINV_E_INVALID, "lr_warmup is %u; at most the %u steps are possible",
                   p->lr_warmup, p->steps);
  if (!r->p.resolution)
    r->p.resolution = (uint32_t)r->model->size;
  if (p->resolution % multiple || p->resolution > 2048u * (uint32_t)ti_vae_scale(&r->model->vae))
    return ti_fail(error, TEXTINV_E_INVALID, "resolution is %u; a multiple of %u is needed",
                   p->resolution, multiple);
  if (!(p->crop_scale >= 0.5f && p->crop_scale <= 1.0f))
    return ti_fail(error, TEXTINV_E_INVALID, "crop_scale is %g; 0.5 to 1 is possible",
                   (double)p->crop_scale);
  if (!(p->flip >= 0.0f && p->flip <= 1.0f))
    return ti_fail(error, TEXTINV_E_INVALID, "flip is %g; 0 to 1 is possible", (double)p->flip);
  if (p->preview_every &&
      (!p->preview || !p->preview_prompt || p->preview_images < 1 || p->preview_images > 16 ||
       p->preview_steps < 1 || p->preview_steps > 1000))
    return ti_fail(error, TEXTINV_E_INVALID,
                   "preview_every needs preview, preview_prompt, preview_images of 1 to 16 and "
                   "preview_steps of 1 to 1000");
  if ((p->checkpoint_every || (p->resume && !strcmp(p->resume, "latest"))) && !p->output_dir)
    return ti_fail(error, TEXTINV_E_INVALID, "%s needs output_dir",
                   p->checkpoint_every ? "checkpoint_every" : "resume \"latest\"");
  r->adamw = (ti_adamw){ p->learning_rate *
                           (p->scale_lr ? (float)p->batch * (float)p->accumulate : 1.0f),
                         p->beta1, p->beta2, p->epsilon, p->weight_decay };
  return ti_check_adamw(error, &r->adamw);
}

static textinv_status check_output(run *r)
{
  char path[TI_PATH_SIZE];

  if (!r->p.output_dir)
    return TEXTINV_OK;
  ti_checkpoint_path(path, sizeof(path), r->p.output_dir, 1);
  return ti_check_writable(&r->s->error, path);
}

/* the caller's concepts may be longer or shorter than ours: their own size is the stride */
static textinv_status read_concepts(run *r)
{
  const char *at = (const char *)r->p.concepts;
  textinv_status status;

  r->concepts = ti_calloc(r->p.num_concepts, sizeof(*r->concepts));
  if (!r->concepts)
    return ti_fail_nomem(&r->s->error, r->p.num_concepts * sizeof(*r->concepts), "concepts");
  for (size_t i = 0; i < r->p.num_concepts; i++) {
    textinv_concept *c = &r->concepts[i];

    *c = concept_defaults;
    if ((status = ti_params_read(&r->s->error, c, sizeof(*c), CONCEPT_MIN, at, "concept")) < 0)
      return status;
    if (!c->placeholder)
      return ti_fail(&r->s->error, TEXTINV_E_INVALID, "concepts[%zu].placeholder is NULL", i);
    if (c->property != TEXTINV_PROPERTY_OBJECT && c->property != TEXTINV_PROPERTY_STYLE)
      return ti_fail(&r->s->error, TEXTINV_E_INVALID,
                     "property of \"%s\" is %d; known are 0 (object) and 1 (style)", c->placeholder,
                     (int)c->property);
    if (c->prompts && !c->num_prompts)
      return ti_fail(&r->s->error, TEXTINV_E_INVALID, "word \"%s\" has no prompts", c->placeholder);
    for (size_t k = 0; k < i; k++) {
      if (!strcmp(r->concepts[k].placeholder, c->placeholder))
        return ti_fail(&r->s->error, TEXTINV_E_CONFLICT, "word \"%s\" stands twice in concepts",
                       c->placeholder);
    }
    at += ((const textinv_concept *)(const void *)r->p.concepts)->struct_size;
  }
  return TEXTINV_OK;
}

/* ------------------------------------------------------------------ setting up */

/* add the words that are new; those of an earlier run go on from their vectors */
static textinv_status add_words(run *r)
{
  for (size_t i = 0; i < r->p.num_concepts; i++) {
    const textinv_concept *c = &r->concepts[i];
    const ti_word *w = ti_embeddings_find(r->embeddings, c->placeholder);
    textinv_status status;

    for (int k = 0; w && k < r->model->num_encoders; k++) {
      if (w->dim[k] != r->model->encoders[k].config.width)
        return ti_fail(
          &r->s->error, TEXTINV_E_SHAPE,
          "word \"%s\" has vectors of width %d for text encoder %d; the model needs %d", w->name,
          w->dim[k], k, r->model->encoders[k].config.width);
    }
    if (!w && (status = textinv_embeddings_add(r->s, r->embeddings, r->model, c->placeholder,
                                               c->num_vectors, c->initializer, r->p.seed)) < 0)
      return status;
  }
  return TEXTINV_OK;
}

/* the learnt words, after the last change of the set */
static textinv_status select_words(run *r)
{
  ti_free(r->learnt.words);
  r->learnt.count = 0;
  r->learnt.words = ti_calloc(r->p.num_concepts, sizeof(*r->learnt.words));
  if (!r->learnt.words)
    return ti_fail_nomem(&r->s->error, r->p.num_concepts * sizeof(ti_word), "words");
  for (size_t i = 0; i < r->p.num_concepts; i++)
    r->learnt.words[r->learnt.count++] = *ti_embeddings_find(r->embeddings,
                                                             r->concepts[i].placeholder);
  r->num_values = textinv_embeddings_num_values(&r->learnt);
  return TEXTINV_OK;
}

static void *zeros(run *r, size_t count, size_t size, int *failed)
{
  void *p = ti_calloc(count, size);

  if (!p) {
    ti_fail_nomem(&r->s->error, count * size, "training");
    *failed = 1;
  }
  return p;
}

static textinv_status allocate(run *r)
{
  const size_t n = r->p.batch, samples = n * r->data.chw;
  int failed = 0;

  r->m = zeros(r, r->num_values, sizeof(float), &failed);
  r->v = zeros(r, r->num_values, sizeof(float), &failed);
  r->gradient = zeros(r, r->num_values, sizeof(float), &failed);
  r->pass_gradient = zeros(r, textinv_embeddings_num_values(r->embeddings), sizeof(float), &failed);
  r->next = zeros(r, 3 * r->num_values, sizeof(float), &failed);
  r->eos = zeros(r, n, sizeof(int32_t), &failed);
  r->noisy = zeros(r, samples, sizeof(float), &failed);
  r->target = zeros(r, samples, sizeof(float), &failed);
  r->timesteps = zeros(r, n, sizeof(float), &failed);
  r->size_ids = zeros(r, 6 * n, sizeof(float), &failed);
  r->latents = zeros(r, r->data.chw, sizeof(float), &failed);
  r->noise = zeros(r, r->data.chw, sizeof(float), &failed);
  for (int k = 0; k < r->model->num_encoders; k++) {
    r->ids[k] = zeros(r, n * (size_t)r->model->tokens, sizeof(int32_t), &failed);
    r->rows[k] = zeros(r, (size_t)r->tables[k].num_rows * (size_t)r->tables[k].dim, sizeof(float),
                       &failed);
  }
  for (size_t i = 0; i < 6 * n && !failed; i++)
    r->size_ids[i] = i % 6 == 2 || i % 6 == 3 ? 0.0f : (float)r->p.resolution;
  return failed ? TEXTINV_E_NOMEM : TEXTINV_OK;
}

static void release(run *r)
{
  float *floats[] = { r->m,      r->v,         r->gradient, r->pass_gradient, r->next, r->noisy,
                      r->target, r->timesteps, r->size_ids, r->latents,       r->noise };

  for (size_t i = 0; i < sizeof(floats) / sizeof(*floats); i++)
    ti_free(floats[i]);
  for (int k = 0; k < TI_MAX_ENCODERS; k++) {
    ti_row_table_free(&r->tables[k]);
    ti_free(r->ids[k]);
    ti_free(r->rows[k]);
  }
  ti_free(r->eos);
  ti_free(r->concepts);
  ti_free(r->learnt.words);
  ti_dataset_free(&r->data);
}

/* what a checkpoint must agree with to be gone on from */
static void describe(run *r)
{
  static const char *const schedules[] = { "constant", "linear", "cosine" };
  uint64_t words = TI_HASH_START;
  char lr[32], decay[32], *end = r->settings;
  const char *const limit = r->settings + sizeof(r->settings);

  for (size_t i = 0; i < r->p.num_concepts; i++)
    words = ti_hash(words, r->concepts[i].placeholder, strlen(r->concepts[i].placeholder) + 1);
  ti_format_float(lr, r->adamw.learning_rate);
  ti_format_float(decay, r->adamw.weight_decay);
  end += ti_format(
    end, (size_t)(limit - end),
    "model=%s; words=%016llx; dtype=%d; seed=%llu; batch=%u; accumulate=%u; learning rate=%s; "
    "weight decay=%s; schedule=%s; warmup=%u; resolution=%u; crop scale=%g; flip=%g; ",
    r->model->fingerprint, (unsigned long long)words, (int)r->s->dtype,
    (unsigned long long)r->p.seed, r->p.batch, r->p.accumulate, lr, decay,
    schedules[r->p.lr_schedule], r->p.lr_warmup, r->p.resolution, (double)r->p.crop_scale,
    (double)r->p.flip);
  if (r->p.lr_schedule != TEXTINV_LR_CONSTANT)
    end += ti_format(end, (size_t)(limit - end), "steps=%u; ", r->p.steps);
  ti_format(end, (size_t)(limit - end), "pictures and prompts=%016llx",
            (unsigned long long)r->data.hash);
}

/* ------------------------------------------------------------------ checkpoints */

static textinv_status save(run *r)
{
  const ti_checkpoint_info info = { .step = r->step, .loss_average = r->loss_average };
  ti_checkpoint_info full = info;
  char path[TI_PATH_SIZE];
  textinv_status status;

  if (!r->p.output_dir || r->step == r->saved_step)
    return TEXTINV_OK;
  strcpy(full.settings, r->settings);
  ti_checkpoint_path(path, sizeof(path), r->p.output_dir, r->step);
  status = ti_checkpoint_write(&r->s->error, path, &r->learnt, r->m, r->v, &r->adamw, &full);
  if (status < 0)
    return status;
  r->saved_step = r->step;
  ti_checkpoint_prune(r->s, r->p.output_dir, r->p.checkpoint_keep);
  return TEXTINV_OK;
}

/* rows, moments and step of a checkpoint that belongs to this run */
static textinv_status load(run *r, const char *path)
{
  ti_error *error = &r->s->error;
  textinv_embeddings *saved = ti_calloc(1, sizeof(*saved));
  float *m = NULL, *v = NULL;
  ti_adamw adamw;
  ti_checkpoint_info info;
  textinv_status status;

  if (!saved)
    return ti_fail_nomem(error, sizeof(*saved), "a checkpoint");
  if ((status = ti_checkpoint_read(error, path, saved, &m, &v, &adamw, &info)) < 0)
    goto out;
  if ((status = ti_settings_match(error, path, info.settings, r->settings)) < 0)
    goto out;
  if (textinv_embeddings_num_values(saved) != r->num_values || saved->count != r->learnt.count) {
    status = ti_fail(
      error, TEXTINV_E_CONFLICT, "%s holds %zu values of %zu words; this run has %zu of %zu", path,
      textinv_embeddings_num_values(saved), saved->count, r->num_values, r->learnt.count);
    goto out;
  }
  for (size_t i = 0; i < saved->count; i++) {
    const ti_word *from = &saved->words[i], *to = &r->learnt.words[i];

    for (int k = 0; k < TI_MAX_ENCODERS; k++) {
      if (from->dim[k] != to->dim[k] || from->vectors != to->vectors) {
        status = ti_fail(error, TEXTINV_E_CONFLICT,
                         "%s: word \"%s\" has another shape than in this run", path, from->name);
        goto out;
      }
      if (to->dim[k])
        memcpy(to->rows[k], from->rows[k],
               (size_t)to->vectors * (size_t)to->dim[k] * sizeof(float));
    }
  }
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

static textinv_status resume(run *r)
{
  char path[TI_PATH_SIZE];
  int found;
  textinv_status status;

  if (!r->p.resume)
    return TEXTINV_OK;
  if (strcmp(r->p.resume, "latest"))
    return load(r, r->p.resume);
  if ((status = ti_checkpoint_latest(r->s, r->p.output_dir, path, sizeof(path), &found)) < 0)
    return status;
  if (found)
    return load(r, path);
  ti_log(r->s, TEXTINV_LOG_INFO, "%s holds no checkpoint: starting anew", r->p.output_dir);
  return TEXTINV_OK;
}

/* ------------------------------------------------------------------ steps */

/* latents, noise, timestep and prompt of one sample into place b of the pass */
static void draw_sample(run *r, uint32_t sample, uint32_t b)
{
  const ti_dataset *d = &r->data;
  const ti_schedule *schedule = &r->model->schedule;
  const size_t tokens = (size_t)r->model->tokens;
  ti_draw_key key = { r->p.seed, TI_DRAW_PICTURE, r->step, sample };
  const ti_dataset_picture *picture =
    &d->pictures[ti_draw_below(&key, 0, (uint32_t)d->num_pictures)];
  size_t prompt, view;

  key.purpose = TI_DRAW_CROP;
  view = ti_draw_below(&key, 3, (uint32_t)d->crops) * (size_t)(1 + d->flips);
  key.purpose = TI_DRAW_FLIP;
  view += d->flips && ti_draw_uniform(&key, 0) < r->p.flip;
  key.purpose = TI_DRAW_PROMPT;
  prompt = picture->caption >= 0
             ? (size_t)picture->caption
             : (size_t)d->first_prompt[picture->concept] +
                 ti_draw_below(&key, 0, (uint32_t)d->prompts_of[picture->concept]);
  key.purpose = TI_DRAW_TIMESTEP;
  const int t = (int)ti_draw_below(&key, 0, (uint32_t)schedule->timesteps);

  key.purpose = TI_DRAW_LATENT;
  ti_draw_normal(&key, r->latents, d->chw);
  for (size_t i = 0; i < d->chw; i++)
    r->latents[i] = picture->mean[view * d->chw + i] +
                    picture->deviation[view * d->chw + i] * r->latents[i];
  key.purpose = TI_DRAW_NOISE;
  ti_draw_normal(&key, r->noise, d->chw);

  ti_schedule_add_noise(schedule, t, r->noisy + b * d->chw, r->latents, r->noise, d->chw);
  ti_schedule_target(schedule, t, r->target + b * d->chw, r->latents, r->noise, d->chw);
  r->timesteps[b] = (float)t;
  r->eos[b] = d->prompts[prompt].eos;
  for (int k = 0; k < r->model->num_encoders; k++)
    memcpy(r->ids[k] + b * tokens, d->prompts[prompt].ids[k], tokens * sizeof(int32_t));
}

/* the values of the learnt words out of a gradient of all words, added to r->gradient */
static void add_gradient(run *r, float scale)
{
  float *to = r->gradient;

  for (size_t i = 0; i < r->learnt.count; i++) {
    const float *from = r->pass_gradient;

    for (const ti_word *w = r->embeddings->words; strcmp(w->name, r->learnt.words[i].name); w++)
      from += (size_t)w->vectors * (size_t)(w->dim[0] + w->dim[1]);
    const ti_word *w = &r->learnt.words[i];
    const size_t count = (size_t)w->vectors * (size_t)(w->dim[0] + w->dim[1]);

    for (size_t k = 0; k < count; k++)
      *to++ += from[k] * scale;
  }
}

static textinv_status compute_gradient(run *r)
{
  const float share = 1.0f / (float)r->p.accumulate;
  const ti_samples samples = { .n = (int)r->p.batch,
                               .h = r->data.h,
                               .w = r->data.w,
                               .ids = { r->ids[0], r->ids[1] },
                               .eos = r->eos,
                               .size_ids = r->size_ids,
                               .noisy = r->noisy,
                               .target = r->target,
                               .timesteps = r->timesteps };
  double sum = 0.0;
  textinv_status status;

  r->loss = 0.0f;
  memset(r->gradient, 0, r->num_values * sizeof(float));
  for (uint32_t pass = 0; pass < r->p.accumulate; pass++) {
    float loss;

    for (uint32_t b = 0; b < r->p.batch; b++)
      draw_sample(r, pass * r->p.batch + b, b);
    if ((status = ti_train_pass(r->s, r->model, r->tables, &samples, &loss, r->rows)) < 0)
      return status;
    ti_gradient_of_rows(r->pass_gradient, r->embeddings, r->tables, r->rows);
    add_gradient(r, share);
    r->loss += loss * share;
  }
  for (size_t i = 0; i < r->num_values; i++)
    sum += (double)r->gradient[i] * r->gradient[i];
  r->gradient_norm = (float)sqrt(sum);
  return TEXTINV_OK;
}

static float learning_rate(const run *r)
{
  const double base = r->adamw.learning_rate, t = r->step, warmup = r->p.lr_warmup;
  const double rest = r->p.steps > r->p.lr_warmup ? (t - warmup) / (r->p.steps - warmup) : 0.0;

  if (t < warmup)
    return (float)(base * (t + 1.0) / warmup);
  if (r->p.lr_schedule == TEXTINV_LR_LINEAR)
    return (float)(base * (1.0 - rest));
  if (r->p.lr_schedule == TEXTINV_LR_COSINE)
    return (float)(base * 0.5 * (1.0 + cos(3.14159265358979323846 * rest)));
  return (float)base;
}

/* copy the learnt rows out to, or in from, a flat array */
static void copy_rows(run *r, float *flat, int out)
{
  for (size_t i = 0; i < r->learnt.count; i++) {
    const ti_word *w = &r->learnt.words[i];

    for (int k = 0; k < TI_MAX_ENCODERS; k++) {
      const size_t count = (size_t)w->vectors * (size_t)w->dim[k];

      if (!count)
        continue;
      memcpy(out ? flat : w->rows[k], out ? w->rows[k] : flat, count * sizeof(float));
      flat += count;
    }
  }
}

static int all_finite(const float *values, size_t count)
{
  for (size_t i = 0; i < count; i++) {
    if (!isfinite(values[i]))
      return 0;
  }
  return 1;
}

/* AdamW; moments and rows stay as they were when a result would not be finite */
static int update(run *r, float rate)
{
  const size_t bytes = r->num_values * sizeof(float);
  float *rows = r->next, *m = rows + r->num_values, *v = m + r->num_values;
  ti_adamw adamw = r->adamw;

  adamw.learning_rate = rate;
  copy_rows(r, rows, 1);
  memcpy(m, r->m, bytes);
  memcpy(v, r->v, bytes);
  ti_adamw_step(&adamw, (uint64_t)r->step + 1, rows, m, v, r->gradient, r->num_values);
  if (!all_finite(r->next, 3 * r->num_values))
    return 0;
  memcpy(r->m, m, bytes);
  memcpy(r->v, v, bytes);
  copy_rows(r, rows, 0);
  for (int k = 0; k < r->model->num_encoders; k++)
    ti_row_table_update(&r->tables[k], r->embeddings, k);
  return 1;
}

static textinv_status one_step(run *r, float rate)
{
  textinv_status status = compute_gradient(r);

  if (status < 0)
    return status;
  if (!isfinite(r->loss) || !isfinite(r->gradient_norm) || !update(r, rate)) {
    r->skips++;
    ti_log(r->s, TEXTINV_LOG_WARNING, "step %u is skipped: loss %g, norm of the gradient %g",
           r->step, (double)r->loss, (double)r->gradient_norm);
    if (++r->skips_in_row == MAX_SKIPS)
      return ti_fail(
        &r->s->error, TEXTINV_E_NONFINITE,
        "loss or gradient was not finite for %d steps up to step %u; the words hold their last "
        "finite vectors: lower the learning rate, or use f32",
        MAX_SKIPS, r->step);
  } else {
    const float weight = 1.0f / AVERAGE_WINDOW;

    r->skips_in_row = 0;
    r->loss_average = r->step ? r->loss_average + (r->loss - r->loss_average) * weight : r->loss;
  }
  r->step++;
  return TEXTINV_OK;
}

static textinv_status report(run *r, const char *phase, uint32_t step, uint32_t steps, float rate)
{
  const double seconds = ti_seconds() - r->began;
  const uint32_t done = step - (rate > 0.0f ? r->first_step : 0);
  const textinv_progress progress = { .struct_size = sizeof(progress),
                                      .phase = phase,
                                      .step = step,
                                      .steps = steps,
                                      .loss = rate > 0.0f ? r->loss : 0.0f,
                                      .loss_average = rate > 0.0f ? r->loss_average : 0.0f,
                                      .learning_rate = rate,
                                      .gradient_norm = rate > 0.0f ? r->gradient_norm : 0.0f,
                                      .seconds = seconds,
                                      .eta = done ? seconds / done * (steps - step) : 0.0 };

  if (r->p.progress && r->p.progress(r->p.progress_user, &progress))
    return ti_fail(&r->s->error, TEXTINV_E_CANCELLED, "stopped at step %u of %u", step, steps);
  if (atomic_load(&r->s->cancel))
    return ti_fail(&r->s->error, TEXTINV_E_CANCELLED, "cancelled at step %u of %u", step, steps);
  return TEXTINV_OK;
}

static textinv_status report_encode(void *user, int done, int all)
{
  return report(user, "encode", (uint32_t)done, (uint32_t)all, 0.0f);
}

static textinv_status preview(run *r)
{
  textinv_generate_params g;
  textinv_images *images;
  textinv_status status;

  textinv_generate_params_init(&g, sizeof(g));
  g.prompt = r->p.preview_prompt;
  g.images = r->p.preview_images;
  g.steps = r->p.preview_steps;
  if ((status = textinv_generate(&images, r->s, r->model, r->embeddings, &g)) < 0)
    return status;
  if (r->p.preview(r->p.preview_user, r->step, images))
    status = ti_fail(&r->s->error, TEXTINV_E_CANCELLED, "stopped at step %u of %u", r->step,
                     r->p.steps);
  textinv_images_free(images);
  return status;
}

/* a checkpoint that cannot be written does not stop the run: the one before it is still there */
static void save_or_warn(run *r)
{
  if (save(r) < 0)
    ti_log(r->s, TEXTINV_LOG_WARNING, "no checkpoint at step %u: %s", r->step, r->s->error.text);
}

static textinv_status train(run *r)
{
  textinv_status status = TEXTINV_OK;

  r->began = ti_seconds();
  while (r->step < r->p.steps && status >= 0) {
    const float rate = learning_rate(r);

    if ((status = one_step(r, rate)) < 0)
      break;
    if (r->p.checkpoint_every && r->step % r->p.checkpoint_every == 0 && r->step < r->p.steps)
      save_or_warn(r);
    status = report(r, "train", r->step, r->p.steps, rate);
    if (status >= 0 && r->p.preview_every && r->step % r->p.preview_every == 0)
      status = preview(r);
  }
  if (status == TEXTINV_E_CANCELLED) {
    const ti_error cancelled = r->s->error;

    if (save(r) < 0)
      return TEXTINV_E_IO; /* the caller must know that the work is not on disk */
    r->s->error = cancelled;
  }
  return status;
}

static void fill_report(const run *r, textinv_invert_report *report_, double began)
{
  const textinv_invert_report full = { .struct_size = sizeof(full),
                                       .steps = r->step,
                                       .first_step = r->first_step,
                                       .skipped = r->skips,
                                       .num_pictures = (uint32_t)r->data.num_pictures,
                                       .loss = r->loss,
                                       .loss_average = r->loss_average,
                                       .seconds = ti_seconds() - began,
                                       .peak_bytes = r->s->peak_bytes };

  if (report_)
    ti_struct_write(report_, &full, sizeof(full), sizeof(full));
}

/* words that this call added and that a refused run leaves behind are taken out again */
static void remove_added(run *r, size_t before)
{
  while (r->embeddings->count > before)
    textinv_embeddings_remove(r->s, r->embeddings,
                              r->embeddings->words[r->embeddings->count - 1].name);
}

textinv_status textinv_invert(textinv_session *session, const textinv_model *model,
                              textinv_embeddings *embeddings, const textinv_invert_params *params,
                              textinv_invert_report *report_)
{
  ti_error *error = ti_begin(session);
  const double began = ti_seconds();
  run r;
  textinv_status status;
  int training = 0;

  memset(&r, 0, sizeof(r));
  if (!session || !model || !embeddings)
    return ti_fail(error, TEXTINV_E_INVALID, "%s is NULL",
                   !session ? "session"
                   : !model ? "model"
                            : "embeddings");
  const size_t words_before = embeddings->count;

  r.s = session;
  r.model = model;
  r.embeddings = embeddings;
  r.p = invert_defaults;
  r.began = began;
  if ((status = ti_params_read(error, &r.p, sizeof(r.p), INVERT_PARAMS_MIN, params,
                               "invert_params")) < 0 ||
      (status = check_params(&r)) < 0 || (status = check_output(&r)) < 0 ||
      (status = read_concepts(&r)) < 0 || (status = add_words(&r)) < 0 ||
      (status = select_words(&r)) < 0)
    goto out;
  for (int k = 0; k < model->num_encoders && status >= 0; k++)
    status = ti_row_table_init(&r.tables[k], error, model, k, embeddings);
  if (status < 0 ||
      (status = ti_dataset_load(&r.data, session, model, embeddings, r.tables, r.concepts,
                                r.p.num_concepts, &r.p, report_encode, &r)) < 0 ||
      (status = allocate(&r)) < 0)
    goto out;
  describe(&r);
  if ((status = resume(&r)) < 0)
    goto out;
  for (int k = 0; k < model->num_encoders; k++)
    ti_row_table_update(&r.tables[k], embeddings, k);
  r.first_step = r.step;
  training = 1;
  status = train(&r);
out:
  if (status < 0 && !training) {
    const ti_error first = *error;

    remove_added(&r, words_before);
    *error = first;
  }
  fill_report(&r, report_, began);
  release(&r);
  return ti_session_end(session, status);
}
