/* How well words were learnt: pictures against the pictures they were learnt from, and against
 * their prompts (Gal et al. 2022, section 5). */
#include <string.h>

#include "alloc.h"
#include "api.h"
#include "format.h"

static const textinv_evaluate_params params_defaults = { .struct_size = sizeof(
                                                           textinv_evaluate_params) };
static const textinv_scores scores_defaults = { .struct_size = sizeof(textinv_scores) };
static const size_t EVALUATE_PARAMS_MIN = sizeof(textinv_evaluate_params);
static const size_t SCORES_MIN = sizeof(textinv_scores);

textinv_status textinv_evaluate_params_init(textinv_evaluate_params *params, size_t size)
{
  return ti_params_init(params, size, &params_defaults, sizeof(params_defaults),
                        EVALUATE_PARAMS_MIN);
}

textinv_status textinv_scores_init(textinv_scores *scores, size_t size)
{
  return ti_params_init(scores, size, &scores_defaults, sizeof(scores_defaults), SCORES_MIN);
}

/* ------------------------------------------------------------------ arguments */

static textinv_status check_list(ti_error *error, const void *const *items, size_t count,
                                 const char *what)
{
  if (count && !items)
    return ti_fail(error, TEXTINV_E_INVALID, "%s is NULL; %zu are promised", what, count);
  for (size_t i = 0; i < count; i++) {
    if (!items[i])
      return ti_fail(error, TEXTINV_E_INVALID, "%s[%zu] is NULL", what, i);
  }
  return TEXTINV_OK;
}

static textinv_status count_pictures(ti_error *error, const textinv_images *const *images,
                                     size_t count, const char *what, uint32_t *out)
{
  uint64_t sum = 0;

  for (size_t i = 0; i < count; i++)
    sum += (uint64_t)images[i]->count;
  if (sum > TI_MAX_SCORED)
    return ti_fail(error, TEXTINV_E_LIMIT, "%s has %llu pictures; at most %d are possible", what,
                   (unsigned long long)sum, TI_MAX_SCORED);
  *out = (uint32_t)sum;
  return TEXTINV_OK;
}

static textinv_status check_params(ti_error *error, const textinv_evaluate_params *p,
                                   textinv_scores *scores)
{
  textinv_status status;

  if ((status = check_list(error, (const void *const *)p->pictures, p->num_pictures, "pictures")) <
        0 ||
      (status = check_list(error, (const void *const *)p->references, p->num_references,
                           "references")) < 0 ||
      (status = check_list(error, (const void *const *)p->prompts, p->num_prompts, "prompts")) <
        0 ||
      (status = check_list(error, (const void *const *)p->placeholders, p->num_placeholders,
                           "placeholders")) < 0)
    return status;
  if (!p->num_pictures)
    return ti_fail(error, TEXTINV_E_INVALID, "there are no pictures to evaluate");
  if (!p->num_references && !p->num_prompts)
    return ti_fail(error, TEXTINV_E_INVALID,
                   "there are neither references nor prompts to compare the pictures with");
  if (p->num_prompts > 1 && p->num_prompts != p->num_pictures)
    return ti_fail(error, TEXTINV_E_INVALID,
                   "num_prompts is %zu; 0, 1 or, as of pictures, %zu are possible", p->num_prompts,
                   p->num_pictures);
  for (size_t i = 0; i < p->num_placeholders; i++) {
    if ((status = ti_check_word(error, p->placeholders[i])) < 0)
      return status;
  }
  if ((status = count_pictures(error, p->pictures, p->num_pictures, "pictures",
                               &scores->num_pictures)) < 0)
    return status;
  return count_pictures(error, p->references, p->num_references, "references",
                        &scores->num_references);
}

/* ------------------------------------------------------------------ the run */

typedef struct run {
  textinv_session *s;
  const textinv_clip *clip;
  const textinv_evaluate_params *p;
  float *one, *text; /* [dim] */
  double *mean;      /* [dim] of the references: its product with a picture is the mean of theirs */
  uint32_t step, steps;
  double began;
} run;

static textinv_status report(run *r)
{
  const double seconds = ti_seconds() - r->began;
  const textinv_progress progress = { .struct_size = sizeof(progress),
                                      .phase = "evaluate",
                                      .step = ++r->step,
                                      .steps = r->steps,
                                      .seconds = seconds,
                                      .eta = seconds / r->step * (r->steps - r->step) };

  if (r->p->progress && r->p->progress(r->p->progress_user, &progress))
    return ti_fail(&r->s->error, TEXTINV_E_CANCELLED, "cancelled after %u of %u pictures", r->step,
                   r->steps);
  return TEXTINV_OK;
}

/* r->one of picture k of images, which is number n of all that are called what */
static textinv_status encode(run *r, const textinv_images *images, int k, const char *what,
                             uint32_t n)
{
  char name[32];
  textinv_status status;

  ti_format(name, sizeof(name), "%s %u", what, n);
  status = ti_clip_encode_picture(r->s, r->clip, name, images, (uint32_t)k, r->one);
  return status < 0 ? status : report(r);
}

static textinv_status add_references(run *r, uint32_t count)
{
  const uint32_t dim = textinv_clip_dim(r->clip);
  textinv_status status;
  uint32_t n = 0;

  for (size_t i = 0; i < r->p->num_references; i++) {
    for (int k = 0; k < r->p->references[i]->count; k++) {
      if ((status = encode(r, r->p->references[i], k, "reference", n++)) < 0)
        return status;
      for (uint32_t d = 0; d < dim; d++)
        r->mean[d] += (double)r->one[d] / count;
    }
  }
  return TEXTINV_OK;
}

/* bytes of the longest placeholder that text begins with; 0 = it begins with none */
static size_t placeholder_at(const textinv_evaluate_params *p, const char *text)
{
  size_t longest = 0;

  for (size_t i = 0; i < p->num_placeholders; i++) {
    const size_t length = strlen(p->placeholders[i]);

    if (length > longest && !strncmp(text, p->placeholders[i], length))
      longest = length;
  }
  return longest;
}

static textinv_status encode_prompt(run *r, const char *prompt)
{
  const size_t length = strlen(prompt);
  char *text = ti_strdup(prompt), *to = text;
  size_t truncated;
  textinv_status status;

  if (!text)
    return ti_fail_nomem(&r->s->error, length + 1, "a prompt");
  for (const char *from = prompt; *from;) {
    const size_t skip = placeholder_at(r->p, from);

    if (skip)
      from += skip;
    else
      *to++ = *from++;
  }
  *to = '\0';
  status = ti_clip_encode_text(r->s, r->clip, text, r->text, &truncated);
  ti_free(text);
  return status;
}

/* mistyped, it would stay in the prompt in silence */
static void warn_of_placeholders(const run *r)
{
  const textinv_evaluate_params *p = r->p;

  for (size_t i = 0; i < p->num_placeholders; i++) {
    size_t k = 0;

    while (k < p->num_prompts && !strstr(p->prompts[k], p->placeholders[i]))
      k++;
    if (k == p->num_prompts)
      ti_log(r->s, TEXTINV_LOG_WARNING, "no prompt has the word \"%s\"", p->placeholders[i]);
  }
}

/* each may be NULL */
static textinv_status score(run *r, textinv_scores *scores, float *each)
{
  const textinv_evaluate_params *p = r->p;
  const uint32_t dim = textinv_clip_dim(r->clip);
  double images = 0.0, texts = 0.0;
  textinv_status status;
  uint32_t n = 0;

  warn_of_placeholders(r);
  if ((status = add_references(r, scores->num_references)) < 0)
    return status;
  for (size_t i = 0; i < p->num_pictures; i++) {
    if (i < p->num_prompts && (status = encode_prompt(r, p->prompts[i])) < 0)
      return status;
    for (int k = 0; k < p->pictures[i]->count; k++, n++) {
      double image = 0.0, text = 0.0;

      if ((status = encode(r, p->pictures[i], k, "picture", n)) < 0)
        return status;
      for (uint32_t d = 0; d < dim; d++) {
        image += r->mean[d] * r->one[d];
        text += (double)r->text[d] * r->one[d];
      }
      if (each) {
        each[2 * n] = (float)image;
        each[2 * n + 1] = (float)text;
      }
      images += image / scores->num_pictures;
      texts += text / scores->num_pictures;
    }
  }
  scores->image_similarity = (float)images;
  scores->text_similarity = (float)texts;
  return TEXTINV_OK;
}

textinv_status textinv_evaluate(textinv_session *session, textinv_scores *scores, float *each,
                                size_t num_each, const textinv_clip *clip,
                                const textinv_evaluate_params *params)
{
  ti_error *error = ti_begin(session);
  textinv_evaluate_params p = params_defaults;
  textinv_scores full = scores_defaults;
  textinv_status status;

  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_struct_check(error, scores, SCORES_MIN, "scores")) < 0 ||
      (status = ti_check_null(error, clip, "clip")) < 0 ||
      (status = ti_params_read(error, &p, sizeof(p), EVALUATE_PARAMS_MIN, params,
                               "evaluate_params")) < 0 ||
      (status = check_params(error, &p, &full)) < 0 ||
      (each &&
       (status = ti_check_count(error, "each", num_each, 2 * (size_t)full.num_pictures)) < 0))
    return status;
  const size_t dim = textinv_clip_dim(clip);
  run r = { .s = session,
            .clip = clip,
            .p = &p,
            .one = ti_calloc(dim, sizeof(*r.one)),
            .text = ti_calloc(dim, sizeof(*r.text)),
            .mean = ti_calloc(dim, sizeof(*r.mean)),
            .steps = full.num_references + full.num_pictures,
            .began = ti_seconds() };

  if (!r.one || !r.text || !r.mean)
    status = ti_fail_nomem(error, dim * sizeof(*r.mean), "embeddings");
  else
    status = score(&r, &full, each);
  if (status >= 0)
    ti_struct_write(scores, &full, sizeof(full));
  ti_free(r.one);
  ti_free(r.text);
  ti_free(r.mean);
  return ti_session_end(session, status);
}
