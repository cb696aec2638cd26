/*
 * Textual inversion: AdamW on the rows of new words, everything else frozen.
 */
#include <string.h>

#include "alloc.h"
#include "api.h"
#include "atomic_file.h"
#include "format.h"
#include "hash.h"
#include "resume.h"
#include "run.h"

enum { MAX_CONCEPTS = 256 };

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
static const size_t INVERT_PARAMS_MIN = offsetof(textinv_invert_params, parallel);

static const textinv_invert_report report_defaults = { .struct_size = sizeof(
                                                         textinv_invert_report) };
static const size_t INVERT_REPORT_MIN = sizeof(textinv_invert_report);

textinv_status textinv_concept_init(textinv_concept *params, size_t size)
{
  return ti_params_init(params, size, &concept_defaults, sizeof(concept_defaults), CONCEPT_MIN);
}

textinv_status textinv_invert_params_init(textinv_invert_params *params, size_t size)
{
  return ti_params_init(params, size, &invert_defaults, sizeof(invert_defaults), INVERT_PARAMS_MIN);
}

textinv_status textinv_invert_report_init(textinv_invert_report *report, size_t size)
{
  return ti_params_init(report, size, &report_defaults, sizeof(report_defaults), INVERT_REPORT_MIN);
}

/* ------------------------------------------------------------------ checks */

/* what textinv_generate() would refuse when the first one is due */
static textinv_status check_previews(const ti_run *r)
{
  const textinv_invert_params *p = &r->p;
  ti_sampler *sampler;
  ti_error met;
  textinv_status status;

  if (!p->preview_every)
    return TEXTINV_OK;
  if (!p->preview || !p->preview_prompt || p->preview_images < 1 || p->preview_images > 16 ||
      p->preview_steps < 1 || p->preview_steps > 1000)
    return ti_fail(&r->s->error, TEXTINV_E_INVALID,
                   "preview_every needs preview, preview_prompt, preview_images of 1 to 16 and "
                   "preview_steps of 1 to 1000");
  status = ti_sampler_new(&sampler, &met, &r->model->schedule, TEXTINV_SAMPLER_DEFAULT,
                          (int)p->preview_steps, 1.0f, 1);
  if (status < 0)
    return ti_fail(&r->s->error, status, "preview_steps: %s", met.text);
  ti_sampler_free(sampler);
  ti_warn_of_sampler(r->s, r->model, TEXTINV_SAMPLER_DEFAULT);
  return TEXTINV_OK;
}

/* a distilled model has nothing in its files that says so but the scheduler it is drawn with */
static void warn_of_model(const ti_run *r)
{
  if (r->model->schedule.distilled)
    ti_log(r->s, TEXTINV_LOG_WARNING,
           "the model's scheduler is %s: one that was distilled to draw in a few steps does not "
           "predict what is learnt from here; a word learnt with the model that it was made from "
           "serves it better",
           r->model->schedule.class_name);
}

static textinv_status check_params(ti_run *r)
{
  ti_error *error = &r->s->error;
  const textinv_invert_params *p = &r->p;
  const uint32_t scale = (uint32_t)ti_vae_scale(&r->model->vae);
  const uint32_t multiple = scale << (r->model->unet.blocks - 1);
  textinv_status status;

  if ((status = ti_check_learns(error, r->model)) < 0)
    return status;
  if ((status = ti_check_flag(error, "scale_lr", p->scale_lr)) < 0 ||
      (status = ti_check_flag(error, "center_crop", p->center_crop)) < 0)
    return status;
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
  if (p->resolution % multiple || p->resolution > 2048 * scale)
    return ti_fail(error, TEXTINV_E_INVALID,
                   "resolution is %u; a multiple of %u is needed, up to %u", p->resolution,
                   multiple, 2048 * scale);
  if (!(p->crop_scale >= 0.5f && p->crop_scale <= 1.0f))
    return ti_fail(error, TEXTINV_E_INVALID, "crop_scale is %g; 0.5 to 1 is possible",
                   (double)p->crop_scale);
  if (!(p->flip >= 0.0f && p->flip <= 1.0f))
    return ti_fail(error, TEXTINV_E_INVALID, "flip is %g; 0 to 1 is possible", (double)p->flip);
  if (p->output_dir && !*p->output_dir)
    return ti_fail(error, TEXTINV_E_INVALID, "output_dir is empty; \".\" is the current folder");
  if ((p->checkpoint_every || (p->resume && !strcmp(p->resume, "latest"))) && !p->output_dir)
    return ti_fail(error, TEXTINV_E_INVALID, "%s needs output_dir",
                   p->checkpoint_every ? "checkpoint_every" : "resume \"latest\"");
  r->adamw = (ti_adamw){ p->learning_rate *
                           (p->scale_lr ? (float)(p->batch * r->group.ranks) * (float)p->accumulate
                                        : 1.0f),
                         p->beta1, p->beta2, p->epsilon, p->weight_decay };
  return (status = check_previews(r)) < 0 ? status : ti_check_adamw(error, &r->adamw, 0);
}

static textinv_status check_output(ti_run *r)
{
  char path[TI_PATH_SIZE];

  if (!r->p.output_dir || r->group.rank)
    return TEXTINV_OK;
  ti_checkpoint_path(path, sizeof(path), r->p.output_dir, 1);
  return ti_check_writable(&r->s->error, path);
}

/* a checkpoint that is named must be one before any picture is read; that it is of this run is seen
 * when they are */
static textinv_status check_resume(const ti_run *r)
{
  if (!r->p.resume || !strcmp(r->p.resume, "latest") || r->group.rank)
    return TEXTINV_OK;
  return ti_checkpoint_check(&r->s->error, r->p.resume, NULL, 0);
}

/* the caller's concepts may be longer or shorter than ours: their own size is the stride */
static textinv_status read_concepts(ti_run *r)
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
    if ((status = ti_check_new_word(&r->s->error, c->placeholder)) < 0)
      return status;
    if (c->property != TEXTINV_PROPERTY_OBJECT && c->property != TEXTINV_PROPERTY_STYLE)
      return ti_fail(&r->s->error, TEXTINV_E_INVALID,
                     "property of \"%s\" is %d; known are 0 (object) and 1 (style)", c->placeholder,
                     (int)c->property);
    if ((status = ti_check_flag(&r->s->error, "captions", c->captions)) < 0)
      return status;
    if (c->prompts && !c->num_prompts)
      return ti_fail(&r->s->error, TEXTINV_E_INVALID, "word \"%s\" has no prompts", c->placeholder);
    if (!c->prompts && c->num_prompts)
      return ti_fail(&r->s->error, TEXTINV_E_INVALID, "prompts of \"%s\" is NULL; %zu are promised",
                     c->placeholder, c->num_prompts);
    if (c->prompts && c->captions)
      return ti_fail(&r->s->error, TEXTINV_E_INVALID,
                     "word \"%s\" has both captions and prompts; give one", c->placeholder);
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
static textinv_status add_words(ti_run *r)
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
static textinv_status select_words(ti_run *r)
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

/* a pass of one sample must fit into the memory budget */
static textinv_status check_memory(ti_run *r)
{
  const int side = (int)r->p.resolution / ti_vae_scale(&r->model->vae);
  const ti_plan_key key = ti_train_key(r->model, r->tables, 1, side, side, 1);

  return ti_plan_check(r->s, r->model, &key);
}

static void *zeros(ti_run *r, size_t count, size_t size, int *failed)
{
  void *p = ti_calloc(count, size);

  if (!p) {
    ti_fail_nomem(&r->s->error, count * size, "training");
    *failed = 1;
  }
  return p;
}

static textinv_status allocate(ti_run *r)
{
  const size_t n = r->p.batch, samples = n * r->data.chw;
  int failed = 0;

  r->m = zeros(r, r->num_values, sizeof(float), &failed);
  r->v = zeros(r, r->num_values, sizeof(float), &failed);
  r->gradient = zeros(r, r->num_values + 1 + r->group.ranks, sizeof(float), &failed);
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

static void release(ti_run *r)
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
  ti_free(r->places);
  ti_free(r->concepts);
  ti_free(r->learnt.words);
  ti_dataset_free(&r->data);
}

/* what the rows began with: of the words that were held before they themselves, of others their
 * initializer, whose rows may differ in the last bit from machine to machine */
static void describe_start(ti_run *r, size_t num_held)
{
  uint64_t hash = TI_HASH_START;

  for (size_t i = 0; i < r->p.num_concepts; i++) {
    const char *initializer = r->concepts[i].initializer ? r->concepts[i].initializer : "";
    const ti_word *w = ti_embeddings_find(r->embeddings, r->concepts[i].placeholder);

    if (w >= r->embeddings->words + num_held)
      hash = ti_hash(hash, initializer, strlen(initializer) + 1);
    for (int k = 0; k < TI_MAX_ENCODERS && w < r->embeddings->words + num_held; k++)
      hash = ti_hash(hash, w->rows[k], ti_word_values(w, k) * sizeof(float));
  }
  ti_format(r->start, sizeof(r->start), "%016llx", (unsigned long long)hash);
}

/* what a checkpoint must agree with to be gone on from */
static void describe(ti_run *r)
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
    (unsigned long long)r->p.seed, r->p.batch * r->group.ranks, r->p.accumulate, lr, decay,
    schedules[r->p.lr_schedule], r->p.lr_warmup, r->p.resolution, (double)r->p.crop_scale,
    (double)r->p.flip);
  if (r->p.lr_schedule != TEXTINV_LR_CONSTANT)
    end += ti_format(end, (size_t)(limit - end), "steps=%u; ", r->p.steps);
  ti_format(end, (size_t)(limit - end), "pictures and prompts=%016llx; pictures of words=%016llx",
            (unsigned long long)r->data.hash, (unsigned long long)r->data.owners);
}

static textinv_status report_encode(void *user, int done, int all)
{
  return ti_run_report(user, "encode", (uint32_t)done, (uint32_t)all, 0.0f);
}

static void fill_report(const ti_run *r, textinv_invert_report *report_, double began)
{
  const textinv_invert_report full = { .struct_size = sizeof(full),
                                       .steps = r->step,
                                       .first_step = r->first_step,
                                       .skipped = r->skips,
                                       .num_pictures = (uint32_t)r->data.num_pictures,
                                       .loss = r->loss,
                                       .loss_average = r->loss_average,
                                       .seconds = ti_seconds() - began,
                                       .peak_bytes = r->peak_bytes };

  if (report_)
    ti_struct_write(report_, &full, sizeof(full));
}

/* for the files that will hold the words */
static void note_step(ti_run *r)
{
  for (size_t i = 0; i < r->p.num_concepts; i++) {
    ti_word *w = ti_embeddings_find(r->embeddings, r->concepts[i].placeholder);

    w->step = r->step;
    w->described = 0;
  }
}

/* words that this call added and that a refused run leaves behind are taken out again */
static void remove_added(ti_run *r, size_t before)
{
  while (r->embeddings->count > before)
    textinv_embeddings_remove(r->s, r->embeddings,
                              r->embeddings->words[r->embeddings->count - 1].name);
}

/* all that can be refused */
static textinv_status set_up(ti_run *r, size_t words_before)
{
  textinv_status status;

  if ((status = check_params(r)) < 0 || (status = check_output(r)) < 0 ||
      (status = check_resume(r)) < 0 || (status = read_concepts(r)) < 0 ||
      (status = add_words(r)) < 0)
    return status;
  r->embeddings->busy = 1;
  if ((status = select_words(r)) < 0)
    return status;
  warn_of_model(r);
  for (int k = 0; k < r->model->num_encoders && status >= 0; k++)
    status = ti_row_table_init(&r->tables[k], &r->s->error, r->model, k, r->embeddings);
  if (status < 0 || (status = check_memory(r)) < 0 ||
      (status = ti_dataset_load(&r->data, r->s, r->model, r->embeddings, r->tables, r->concepts,
                                r->p.num_concepts, &r->p, report_encode, r)) < 0 ||
      (status = allocate(r)) < 0)
    return status;
  describe(r);
  describe_start(r, words_before);
  return ti_run_resume(r);
}

textinv_status textinv_invert(textinv_session *session, const textinv_model *model,
                              textinv_embeddings *embeddings, const textinv_invert_params *params,
                              textinv_invert_report *report_)
{
  ti_error *error = ti_begin(session);
  const double began = ti_seconds();
  ti_run r;
  textinv_status status;
  int kept = 0; /* what was learnt */

  memset(&r, 0, sizeof(r));
  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, model, "model")) < 0 ||
      (status = ti_check_changeable(error, embeddings)) < 0 ||
      (report_ &&
       (status = ti_struct_check(error, report_, INVERT_REPORT_MIN, "invert_report")) < 0))
    return status;
  const size_t words_before = embeddings->count;

  r.s = session;
  r.model = model;
  r.embeddings = embeddings;
  r.p = invert_defaults;
  r.began = began;
  if ((status = ti_params_read(error, &r.p, sizeof(r.p), INVERT_PARAMS_MIN, params,
                               "invert_params")) < 0 ||
      (status = ti_run_join(&r)) < 0 || (status = ti_run_agree(&r, set_up(&r, words_before))) < 0)
    goto out;
  r.first_step = r.step;
  status = ti_run_train(&r);
  kept = status == TEXTINV_E_CANCELLED || r.step > r.first_step;
  note_step(&r);
out:
  embeddings->busy = 0;
  if (status < 0 && !kept) {
    const ti_error first = *error;

    remove_added(&r, words_before);
    *error = first;
  }
  fill_report(&r, report_, began);
  release(&r);
  return ti_session_end(session, status);
}
