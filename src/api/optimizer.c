/* AdamW on the new rows. */
#include <math.h>
#include <string.h>

#include "alloc.h"
#include "api.h"
#include "hash.h"

/*
 * Loshchilov and Hutter 2019, in the order of torch.optim.AdamW:
 *   w -= lr wd w;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
 *   w -= lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
 */
ti_adamw_scale ti_adamw_scale_of(const ti_adamw *a, uint64_t step)
{
  const double correction1 = 1.0 - pow((double)a->beta1, (double)step);
  const double correction2 = 1.0 - pow((double)a->beta2, (double)step);

  return (
    ti_adamw_scale){ .size = (float)((double)a->learning_rate / correction1),
                     .root = (float)sqrt(correction2),
                     .decay = (float)(1.0 - (double)a->learning_rate * (double)a->weight_decay) };
}

static inline void step_one(const ti_adamw *a, const ti_adamw_scale *scale, float *row, float *m,
                            float *v, float g)
{
  *m += (g - *m) * (1.0f - a->beta1);
  *v = *v * a->beta2 + (1.0f - a->beta2) * g * g;
  *row = *row * scale->decay - scale->size * (*m / (sqrtf(*v) / scale->root + a->epsilon));
}

void ti_adamw_step(const ti_adamw *a, uint64_t step, float *rows, float *m, float *v,
                   const float *gradient, size_t count)
{
  const ti_adamw_scale scale = ti_adamw_scale_of(a, step);

  for (size_t i = 0; i < count; i++)
    step_one(a, &scale, &rows[i], &m[i], &v[i], gradient[i]);
}

static const textinv_optimizer_params optimizer_defaults = {
  .struct_size = sizeof(textinv_optimizer_params),
  .learning_rate = 5e-3f,
  .beta1 = 0.9f,
  .beta2 = 0.999f,
  .epsilon = 1e-8f,
};
static const size_t OPTIMIZER_PARAMS_MIN = sizeof(textinv_optimizer_params);

textinv_status textinv_optimizer_params_init(textinv_optimizer_params *params, size_t size)
{
  return ti_params_init(params, size, &optimizer_defaults, sizeof(optimizer_defaults),
                        OPTIMIZER_PARAMS_MIN);
}

textinv_status ti_check_adamw(ti_error *error, const ti_adamw *a, int zero_rate)
{
  if (!(a->learning_rate >= 0.0f && a->learning_rate <= 1e3f) ||
      (!zero_rate && a->learning_rate == 0.0f))
    return ti_fail(error, TEXTINV_E_INVALID, "learning_rate is %g; %s0 to 1000 is possible",
                   (double)a->learning_rate, zero_rate ? "" : "above ");
  if (!(a->beta1 >= 0.0f && a->beta1 < 1.0f) || !(a->beta2 >= 0.0f && a->beta2 < 1.0f))
    return ti_fail(error, TEXTINV_E_INVALID, "beta1 is %g, beta2 %g; 0 to below 1 is possible",
                   (double)a->beta1, (double)a->beta2);
  if (!(a->epsilon > 0.0f && a->epsilon <= 1.0f))
    return ti_fail(error, TEXTINV_E_INVALID, "epsilon is %g; above 0 to 1 is possible",
                   (double)a->epsilon);
  if (!(a->weight_decay >= 0.0f && a->weight_decay <= 1e3f))
    return ti_fail(error, TEXTINV_E_INVALID, "weight_decay is %g; 0 to 1000 is possible",
                   (double)a->weight_decay);
  return TEXTINV_OK;
}

/* names, vectors and widths of the words of e, of those that are in among where it is not NULL */
static uint64_t layout_of(const textinv_embeddings *e, const textinv_embeddings *among)
{
  uint64_t hash = TI_HASH_START;

  for (size_t i = 0; i < e->count; i++) {
    const ti_word *w = &e->words[i];

    if (among && !ti_embeddings_find(among, w->name))
      continue;
    hash = ti_hash(hash, w->name, strlen(w->name) + 1);
    hash = ti_hash(hash, &w->vectors, sizeof(w->vectors));
    hash = ti_hash(hash, w->dim, sizeof(w->dim));
  }
  return hash;
}

static textinv_status check_words(const textinv_optimizer *o, ti_error *error,
                                  const textinv_embeddings *e)
{
  if (o->count != textinv_embeddings_num_values(e))
    return ti_fail(error, TEXTINV_E_SHAPE, "the optimizer has %zu values, the embeddings %zu",
                   o->count, textinv_embeddings_num_values(e));
  if (o->layout != layout_of(e, NULL))
    return ti_fail(error, TEXTINV_E_SHAPE,
                   "the words are not those of the optimizer: it needs the same names and sizes in "
                   "the same order");
  return TEXTINV_OK;
}

static textinv_status allocate(textinv_optimizer **out, ti_error *error, size_t count)
{
  textinv_optimizer *o = ti_calloc(1, sizeof(*o));

  if (!o)
    return ti_fail_nomem(error, sizeof(*o), "an optimizer");
  o->count = count;
  o->m = ti_calloc(count, sizeof(*o->m));
  o->v = ti_calloc(count, sizeof(*o->v));
  if (!o->m || !o->v) {
    textinv_optimizer_free(o);
    return ti_fail_nomem(error, 2 * count * sizeof(float), "moments");
  }
  *out = o;
  return TEXTINV_OK;
}

textinv_status textinv_optimizer_new(textinv_optimizer **out, textinv_session *session,
                                     const textinv_embeddings *embeddings,
                                     const textinv_optimizer_params *params)
{
  ti_error *error = ti_begin(session);
  textinv_optimizer_params p = optimizer_defaults;
  textinv_status status;

  if (out)
    *out = NULL;
  if ((status = ti_check_null(error, out, "out")) < 0 ||
      (status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, embeddings, "embeddings")) < 0)
    return status;
  if (params && ((status = ti_params_read(error, &p, sizeof(p), OPTIMIZER_PARAMS_MIN, params,
                                          "optimizer_params")) < 0 ||
                 (status = ti_check_reserved(error, p.reserved, "optimizer_params")) < 0))
    return status;
  const ti_adamw adamw = { p.learning_rate, p.beta1, p.beta2, p.epsilon, p.weight_decay };

  if ((status = ti_check_adamw(error, &adamw, 0)) < 0)
    return status;
  if (!embeddings->count)
    return ti_fail(error, TEXTINV_E_INVALID, "there are no words to optimise");
  if ((status = allocate(out, error, textinv_embeddings_num_values(embeddings))) < 0)
    return status;
  (*out)->adamw = adamw;
  (*out)->layout = layout_of(embeddings, NULL);
  return TEXTINV_OK;
}

void textinv_optimizer_free(textinv_optimizer *optimizer)
{
  if (!optimizer)
    return;
  ti_free(optimizer->m);
  ti_free(optimizer->v);
  ti_free(optimizer);
}

uint64_t textinv_optimizer_steps(const textinv_optimizer *optimizer)
{
  return optimizer ? optimizer->steps : 0;
}

textinv_status textinv_optimizer_set_learning_rate(textinv_optimizer *optimizer,
                                                   float learning_rate)
{
  ti_error *error = ti_begin(NULL);
  textinv_status status = ti_check_null(error, optimizer, "optimizer");

  if (status < 0)
    return status;
  ti_adamw a = optimizer->adamw;

  a.learning_rate = learning_rate;
  if ((status = ti_check_adamw(error, &a, 1)) >= 0)
    optimizer->adamw = a;
  return status;
}

/* refuse a gradient whose step would not leave rows and moments finite, as its square may not be */
static textinv_status check_step(const textinv_optimizer *o, ti_error *error,
                                 const textinv_embeddings *e, const float *gradient)
{
  const ti_adamw_scale scale = ti_adamw_scale_of(&o->adamw, o->steps + 1);
  size_t at = 0;

  for (size_t i = 0; i < e->count; i++) {
    for (int k = 0; k < TI_MAX_ENCODERS; k++) {
      const size_t count = ti_word_values(&e->words[i], k);

      for (size_t j = 0; j < count; j++, at++) {
        float row = e->words[i].rows[k][j], m = o->m[at], v = o->v[at];

        step_one(&o->adamw, &scale, &row, &m, &v, gradient[at]);
        if (!isfinite(row) || !isfinite(m) || !isfinite(v))
          return ti_fail(error, TEXTINV_E_NONFINITE,
                         "the gradient holds %g at %zu; word \"%s\" would not stay finite",
                         (double)gradient[at], at, e->words[i].name);
      }
    }
  }
  return TEXTINV_OK;
}

textinv_status textinv_optimizer_step(textinv_session *session, textinv_optimizer *optimizer,
                                      textinv_embeddings *embeddings, const float *gradient,
                                      size_t num_values)
{
  ti_error *error = ti_begin(session);
  size_t at = 0;
  textinv_status status;

  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, optimizer, "optimizer")) < 0 ||
      (status = ti_check_null(error, embeddings, "embeddings")) < 0 ||
      (status = ti_check_null(error, gradient, "gradient")) < 0)
    return status;
  if (num_values != optimizer->count)
    return ti_fail(error, TEXTINV_E_SHAPE, "the gradient has %zu values, the optimizer %zu",
                   num_values, optimizer->count);
  if ((status = ti_check_changeable(error, embeddings)) < 0 ||
      (status = check_words(optimizer, error, embeddings)) < 0 ||
      (status = check_step(optimizer, error, embeddings, gradient)) < 0)
    return status;
  optimizer->steps++;
  for (size_t i = 0; i < embeddings->count; i++) {
    for (int k = 0; k < TI_MAX_ENCODERS; k++) {
      const size_t count = ti_word_values(&embeddings->words[i], k);

      ti_adamw_step(&optimizer->adamw, optimizer->steps, embeddings->words[i].rows[k],
                    optimizer->m + at, optimizer->v + at, gradient + at, count);
      at += count;
    }
    embeddings->words[i].step = (long long)optimizer->steps;
    embeddings->words[i].described = 0;
  }
  return TEXTINV_OK;
}

textinv_status textinv_optimizer_save(textinv_session *session, const textinv_optimizer *optimizer,
                                      const textinv_embeddings *embeddings, const char *path)
{
  ti_error *error = ti_begin(session);
  textinv_status status;

  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, optimizer, "optimizer")) < 0 ||
      (status = ti_check_null(error, embeddings, "embeddings")) < 0 ||
      (status = ti_check_null(error, path, "path")) < 0)
    return status;
  if ((status = check_words(optimizer, error, embeddings)) < 0)
    return status;
  const ti_checkpoint_info info = { .step = optimizer->steps };

  return ti_checkpoint_write(error, path, embeddings, optimizer->m, optimizer->v, &optimizer->adamw,
                             &info);
}

/* values of the words of from, which are in its order, into the order that e has them in */
static void reorder(float *to, const textinv_embeddings *e, const float *values,
                    const textinv_embeddings *from)
{
  for (size_t i = 0; i < e->count; i++) {
    const ti_word *w = ti_embeddings_find(from, e->words[i].name);
    const float *at = values;

    if (!w)
      continue;
    for (const ti_word *before = from->words; before < w; before++)
      at += ti_word_all_values(before);
    const size_t count = ti_word_all_values(w);

    memcpy(to, at, count * sizeof(*to));
    to += count;
  }
}

textinv_status textinv_optimizer_load(textinv_optimizer **out, textinv_session *session,
                                      textinv_embeddings *embeddings, const char *path)
{
  ti_error *error = ti_begin(session);
  textinv_embeddings *loaded = NULL;
  textinv_optimizer *o = NULL;
  float *m = NULL, *v = NULL;
  ti_adamw adamw;
  ti_checkpoint_info info;
  textinv_status status;

  if (out)
    *out = NULL;
  if ((status = ti_check_null(error, out, "out")) < 0 ||
      (status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, embeddings, "embeddings")) < 0 ||
      (status = ti_check_null(error, path, "path")) < 0 ||
      (status = ti_check_changeable(error, embeddings)) < 0)
    return status;
  loaded = ti_calloc(1, sizeof(*loaded));
  if (!loaded) {
    status = ti_fail_nomem(error, sizeof(*loaded), "an optimizer");
    goto out;
  }
  if ((status = ti_checkpoint_read(error, path, loaded, &m, &v, &adamw, &info)) < 0)
    goto out;
  for (size_t i = 0; i < loaded->count; i++)
    loaded->words[i].step = (long long)info.step;
  if ((status = allocate(&o, error, textinv_embeddings_num_values(loaded))) < 0 ||
      (status = ti_embeddings_replace(embeddings, error, loaded)) < 0)
    goto out;
  o->adamw = adamw;
  o->steps = info.step;
  o->layout = layout_of(embeddings, loaded);
  reorder(o->m, embeddings, m, loaded);
  reorder(o->v, embeddings, v, loaded);
  *out = o;
  o = NULL;
out:
  ti_free(m);
  ti_free(v);
  textinv_optimizer_free(o);
  textinv_embeddings_free(loaded);
  return status;
}
