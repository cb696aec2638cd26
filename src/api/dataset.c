/* What an inversion trains on. */
#include "dataset.h"

#include <string.h>

#include "alloc.h"
#include "atomic_file.h"
#include "format.h"
#include "hash.h"
#include "templates.h"

enum { CROPS = 8, MAX_PICTURES = 65536, MAX_CAPTION = 65536 };

typedef struct loader {
  ti_dataset *d;
  textinv_session *s;
  const textinv_model *model;
  const textinv_embeddings *embeddings;
  const ti_row_table *tables;
  const textinv_concept *concepts;
  const textinv_invert_params *p;
  ti_dataset_progress progress;
  void *user;
  char **paths;                  /* [num_pictures], NULL for pictures in memory */
  const textinv_images **memory; /* [num_pictures] */
  int done;
} loader;

/* one item more, of zeros */
static void *append(ti_error *error, void **items, size_t *count, size_t size, const char *what)
{
  char *grown = ti_realloc_array(*items, *count + 1, size);

  if (!grown) {
    ti_fail_nomem(error, (*count + 1) * size, what);
    return NULL;
  }
  *items = grown;
  return memset(grown + (*count)++ * size, 0, size);
}

/* ------------------------------------------------------------------ prompts */

/* 1 when ids hold all vectors of the word in a row */
static int holds_word(const int32_t *ids, int tokens, const ti_prompt_word *word)
{
  for (int i = 0; i + (int)word->num_vectors <= tokens; i++) {
    uint32_t k = 0;

    while (k < word->num_vectors && (uint32_t)ids[i + (int)k] == word->first_id + k)
      k++;
    if (k == word->num_vectors)
      return 1;
  }
  return 0;
}

static textinv_status add_prompt(loader *l, const char *placeholder, const char *text,
                                 const char *where)
{
  ti_error *error = &l->s->error;
  const textinv_model *m = l->model;
  const size_t word = (size_t)(ti_embeddings_find(l->embeddings, placeholder) -
                               l->embeddings->words);
  ti_dataset_prompt *prompt = append(error, (void **)&l->d->prompts, &l->d->num_prompts,
                                     sizeof(*prompt), "prompts");
  size_t truncated;
  textinv_status status;

  if (!prompt)
    return TEXTINV_E_NOMEM;
  for (int i = 0; i < m->num_encoders; i++) {
    prompt->ids[i] = ti_calloc((size_t)m->tokens, sizeof(int32_t));
    if (!prompt->ids[i])
      return ti_fail_nomem(error, (size_t)m->tokens * sizeof(int32_t), "prompts");
    if ((status = ti_row_table_encode(&l->tables[i], error, m, i, l->embeddings, text,
                                      prompt->ids[i], NULL, &prompt->eos, &truncated)) < 0)
      return status;
    if (!holds_word(prompt->ids[i], m->tokens, &l->tables[i].words[word]))
      return ti_fail(
        error, TEXTINV_E_INVALID,
        "%s: \"%.80s\" does not hold the placeholder \"%s\"%s; nothing could be learnt from it",
        where, text, placeholder, strstr(text, placeholder) ? " within the tokens that fit" : "");
  }
  l->d->hash = ti_hash(l->d->hash, text, strlen(text) + 1);
  return TEXTINV_OK;
}

/* template with the word in place of every "{}" */
static textinv_status add_template(loader *l, const char *placeholder, const char *template)
{
  const char *from = template, *braces = strstr(template, "{}");
  size_t size = strlen(template) + 1;
  char *text, *end;
  textinv_status status;

  if (!braces)
    return ti_fail(&l->s->error, TEXTINV_E_INVALID,
                   "prompt \"%.80s\" has no \"{}\" for the word \"%s\"", template, placeholder);
  for (const char *p = braces; p; p = strstr(p + 2, "{}"))
    size += strlen(placeholder);
  text = end = ti_calloc(size, 1);
  if (!text)
    return ti_fail_nomem(&l->s->error, size, "a prompt");
  for (; braces; from = braces + 2, braces = strstr(from, "{}"))
    end += ti_format(end, size - (size_t)(end - text), "%.*s%s", (int)(braces - from), from,
                     placeholder);
  ti_format(end, size - (size_t)(end - text), "%s", from);
  status = add_prompt(l, placeholder, text, "prompts");
  ti_free(text);
  return status;
}

static textinv_status add_templates(loader *l, size_t concept)
{
  const textinv_concept *c = &l->concepts[concept];
  size_t count = c->num_prompts;
  const char *const *templates = c->prompts ? c->prompts : ti_templates(c->property, &count);
  textinv_status status = TEXTINV_OK;

  l->d->first_prompt[concept] = (int)l->d->num_prompts;
  l->d->prompts_of[concept] = (int)count;
  for (size_t i = 0; i < count && status >= 0; i++)
    status = templates[i] ? add_template(l, c->placeholder, templates[i])
                          : ti_fail(&l->s->error, TEXTINV_E_INVALID, "prompts[%zu] is NULL", i);
  return status;
}

/* the text of PICTURE.txt, without white space at its ends */
static textinv_status add_caption(loader *l, const textinv_concept *c, const char *picture,
                                  int *index)
{
  const char *dot = strrchr(picture, '.'), *slash = strrchr(picture, '/');
  const int len = dot && (!slash || dot > slash) ? (int)(dot - picture) : (int)strlen(picture);
  char path[TI_PATH_SIZE];
  void *bytes;
  size_t size;
  textinv_status status;

  ti_format(path, sizeof(path), "%.*s.txt", len, picture);
  if ((status = ti_file_read(&bytes, &size, &l->s->error, path, MAX_CAPTION)) < 0)
    return status;
  char *text = bytes;

  while (size && (unsigned char)text[size - 1] <= ' ')
    text[--size] = '\0';
  while ((unsigned char)*text <= ' ' && *text)
    text++;
  *index = (int)l->d->num_prompts;
  status = add_prompt(l, c->placeholder, text, path);
  ti_free(bytes);
  return status;
}

/* ------------------------------------------------------------------ pictures */

static textinv_status add_picture(loader *l, size_t concept, char *path,
                                  const textinv_images *memory)
{
  ti_error *error = &l->s->error;
  size_t paths = l->d->num_pictures, pointers = l->d->num_pictures;
  ti_dataset_picture *picture;

  if (!append(error, (void **)&l->paths, &paths, sizeof(*l->paths), "pictures") ||
      !append(error, (void **)&l->memory, &pointers, sizeof(*l->memory), "pictures") ||
      !(picture = append(error, (void **)&l->d->pictures, &l->d->num_pictures, sizeof(*picture),
                         "pictures")))
    return TEXTINV_E_NOMEM;
  picture->concept = (int)concept;
  picture->caption = -1;
  l->paths[paths - 1] = path;
  l->memory[paths - 1] = memory;
  if (path && l->concepts[concept].captions)
    return add_caption(l, &l->concepts[concept], path, &picture->caption);
  return TEXTINV_OK;
}

static textinv_status add_folder(loader *l, size_t concept)
{
  const textinv_concept *c = &l->concepts[concept];
  char **found = NULL;
  size_t count = 0, left_out = 0, taken = 0;
  textinv_status status = ti_image_list(&found, &count, &left_out, &l->s->error, c->images_path);

  if (status < 0)
    return status;
  if (left_out)
    ti_log(l->s, TEXTINV_LOG_WARNING,
           "%s: %zu of the files named like pictures are neither PNG nor JPEG and are left out",
           c->images_path, left_out);
  if (!count)
    status = ti_fail(&l->s->error, TEXTINV_E_NOT_FOUND, "%s holds no PNG or JPEG pictures",
                     c->images_path);
  else if (count > MAX_PICTURES)
    status = ti_fail(&l->s->error, TEXTINV_E_LIMIT,
                     "%s holds %zu pictures; at most %d are possible", c->images_path, count,
                     MAX_PICTURES);
  while (taken < count && status >= 0) {
    status = add_picture(l, concept, found[taken], NULL);
    if (l->d->num_pictures && l->paths[l->d->num_pictures - 1] == found[taken])
      found[taken] = NULL; /* the loader owns it now */
    taken++;
  }
  for (size_t i = 0; i < count; i++)
    ti_free(found[i]);
  ti_free(found);
  return status;
}

static textinv_status add_pictures(loader *l, size_t concept)
{
  const textinv_concept *c = &l->concepts[concept];
  textinv_status status = TEXTINV_OK;

  if (c->images_path && c->num_pictures)
    return ti_fail(&l->s->error, TEXTINV_E_INVALID,
                   "word \"%s\" has both images_path and pictures; give one", c->placeholder);
  if (c->images_path)
    return add_folder(l, concept);
  if (!c->num_pictures || !c->pictures)
    return ti_fail(&l->s->error, TEXTINV_E_INVALID,
                   "word \"%s\" has neither images_path nor pictures", c->placeholder);
  if (c->captions)
    return ti_fail(&l->s->error, TEXTINV_E_INVALID,
                   "captions need images_path, where their files are");
  for (size_t i = 0; i < c->num_pictures && status >= 0; i++) {
    if (!c->pictures[i] || c->pictures[i]->count != 1)
      return ti_fail(&l->s->error, TEXTINV_E_INVALID, "pictures[%zu] of \"%s\" is not one picture",
                     i, c->placeholder);
    status = add_picture(l, concept, NULL, c->pictures[i]);
  }
  return status;
}

/* ------------------------------------------------------------------ latents */

typedef struct box {
  int left, top, w, h;
} box;

/* what of a picture crop number i shows */
static box choose_box(const loader *l, const ti_image *image, uint32_t picture, int crop)
{
  const int side = image->width < image->height ? image->width : image->height;
  const ti_draw_key key = { l->p->seed, TI_DRAW_CROP, (uint32_t)crop, picture };
  int s;

  if (l->d->crops == 1 && !l->p->center_crop)
    return (box){ 0, 0, image->width, image->height };
  if (l->d->crops == 1)
    return (box){ (image->width - side) / 2, (image->height - side) / 2, side, side };
  s = (int)((float)side *
            (l->p->crop_scale + (1.0f - l->p->crop_scale) * ti_draw_uniform(&key, 0)));
  s = s < 1 ? 1 : s;
  return (box){ (int)ti_draw_below(&key, 1, (uint32_t)(image->width - s + 1)),
                (int)ti_draw_below(&key, 2, (uint32_t)(image->height - s + 1)), s, s };
}

static void mirror(ti_image *image)
{
  for (int y = 0; y < image->height; y++) {
    uint8_t *row = image->pixels + (size_t)y * (size_t)image->width * 3;

    for (int a = 0, b = image->width - 1; a < b; a++, b--) {
      uint8_t pixel[3];

      memcpy(pixel, row + 3 * a, 3);
      memcpy(row + 3 * a, row + 3 * b, 3);
      memcpy(row + 3 * b, pixel, 3);
    }
  }
}

/* all views of one picture; name is for messages */
static textinv_status encode_views(loader *l, uint32_t index, const char *name,
                                   const ti_image *image)
{
  ti_dataset *d = l->d;
  ti_dataset_picture *picture = &d->pictures[index];
  const int scale = ti_vae_scale(&l->model->vae), views = d->crops * (1 + d->flips);
  textinv_status status = TEXTINV_OK;

  picture->mean = ti_calloc((size_t)views * d->chw, sizeof(float));
  picture->deviation = ti_calloc((size_t)views * d->chw, sizeof(float));
  if (!picture->mean || !picture->deviation)
    return ti_fail_nomem(&l->s->error, 2 * (size_t)views * d->chw * sizeof(float), "latents");
  for (int crop = 0; crop < d->crops && status >= 0; crop++) {
    const box b = choose_box(l, image, index, crop);
    ti_image fitted = { 0, 0, NULL };

    status = ti_image_resize(&fitted, &l->s->error, image, TI_BICUBIC, b.left, b.top, b.w, b.h,
                             d->w * scale, d->h * scale);
    if (status < 0)
      return status;
    d->hash = ti_hash(d->hash, fitted.pixels, (size_t)fitted.width * (size_t)fitted.height * 3);
    for (int flip = 0; flip <= d->flips && status >= 0; flip++) {
      const size_t view = (size_t)(crop * (1 + d->flips) + flip) * d->chw;

      if (flip)
        mirror(&fitted);
      status = ti_encode_pixels(l->s, l->model, name, fitted.pixels, NULL, fitted.width,
                                fitted.height, picture->mean + view, picture->deviation + view);
      if (status >= 0)
        status = l->progress(l->user, ++l->done, (int)d->num_pictures * views);
    }
    ti_image_free(&fitted);
  }
  return status;
}

/* decode all pictures once, so that a broken one is refused before any is encoded */
static textinv_status check_pictures(loader *l)
{
  textinv_status status = TEXTINV_OK;

  for (size_t i = 0; i < l->d->num_pictures && status >= 0; i++) {
    ti_image image = { 0, 0, NULL };

    if (l->paths[i])
      status = ti_image_read(&image, &l->s->error, l->paths[i]);
    ti_image_free(&image);
  }
  return status;
}

static textinv_status encode_pictures(loader *l)
{
  textinv_status status = TEXTINV_OK;

  for (size_t i = 0; i < l->d->num_pictures && status >= 0; i++) {
    ti_image image = { 0, 0, NULL };
    char name[32];

    if (l->paths[i]) {
      status = ti_image_read(&image, &l->s->error, l->paths[i]);
      if (status >= 0)
        status = encode_views(l, (uint32_t)i, l->paths[i], &image);
      ti_image_free(&image);
    } else {
      ti_format(name, sizeof(name), "picture %zu", i);
      image = (ti_image){ l->memory[i]->width, l->memory[i]->height, l->memory[i]->pixels };
      status = encode_views(l, (uint32_t)i, name, &image);
    }
  }
  return status;
}

textinv_status ti_dataset_load(ti_dataset *out, textinv_session *s, const textinv_model *model,
                               const textinv_embeddings *embeddings, const ti_row_table *tables,
                               const textinv_concept *concepts, size_t num_concepts,
                               const textinv_invert_params *p, ti_dataset_progress progress,
                               void *user)
{
  loader l = { .d = out,
               .s = s,
               .model = model,
               .embeddings = embeddings,
               .tables = tables,
               .concepts = concepts,
               .p = p,
               .progress = progress,
               .user = user };
  textinv_status status = TEXTINV_OK;

  memset(out, 0, sizeof(*out));
  out->h = out->w = (int)p->resolution / ti_vae_scale(&model->vae);
  out->chw = (size_t)model->vae.latent_channels * (size_t)out->h * (size_t)out->w;
  out->crops = p->crop_scale < 1.0f ? CROPS : 1;
  out->flips = p->flip > 0.0f;
  out->hash = out->owners = TI_HASH_START;
  out->num_concepts = num_concepts;
  out->first_prompt = ti_calloc(num_concepts, sizeof(*out->first_prompt));
  out->prompts_of = ti_calloc(num_concepts, sizeof(*out->prompts_of));
  if (!out->first_prompt || !out->prompts_of)
    status = ti_fail_nomem(&s->error, num_concepts * sizeof(int), "prompts");
  for (size_t i = 0; i < num_concepts && status >= 0; i++) {
    if ((status = add_templates(&l, i)) >= 0)
      status = add_pictures(&l, i);
  }
  if (status >= 0)
    status = check_pictures(&l);
  if (status >= 0)
    status = encode_pictures(&l);
  for (size_t i = 0; i < out->num_pictures; i++) {
    const int owners[] = { out->pictures[i].concept, out->pictures[i].caption };

    out->owners = ti_hash(out->owners, owners, sizeof(owners));
  }
  for (size_t i = 0; i < out->num_pictures && l.paths; i++)
    ti_free(l.paths[i]);
  ti_free(l.paths);
  ti_free(l.memory);
  if (status < 0)
    ti_dataset_free(out);
  return status;
}

void ti_dataset_free(ti_dataset *d)
{
  for (size_t i = 0; i < d->num_pictures; i++) {
    ti_free(d->pictures[i].mean);
    ti_free(d->pictures[i].deviation);
  }
  for (size_t i = 0; i < d->num_prompts; i++) {
    for (int k = 0; k < TI_MAX_ENCODERS; k++)
      ti_free(d->prompts[i].ids[k]);
  }
  ti_free(d->pictures);
  ti_free(d->prompts);
  ti_free(d->first_prompt);
  ti_free(d->prompts_of);
  memset(d, 0, sizeof(*d));
}
