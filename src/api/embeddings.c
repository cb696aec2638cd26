/* The new words and their vectors. */
#include <math.h>
#include <string.h>

#include "alloc.h"
#include "api.h"
#include "embedding_file.h"
#include "format.h"
#include "unicode.h"
#include "utf8.h"

textinv_status textinv_embeddings_new(textinv_embeddings **out, textinv_session *session)
{
  ti_error *error = ti_begin(session);
  textinv_status status;

  if (out)
    *out = NULL;
  if ((status = ti_check_null(error, out, "out")) < 0 ||
      (status = ti_check_null(error, session, "session")) < 0)
    return status;
  *out = ti_calloc(1, sizeof(**out));
  return *out ? TEXTINV_OK : ti_fail_nomem(error, sizeof(**out), "embeddings");
}

textinv_status ti_check_changeable(ti_error *error, const textinv_embeddings *e)
{
  const textinv_status status = ti_check_null(error, e, "embeddings");

  if (status >= 0 && e->busy)
    return ti_fail(
      error, TEXTINV_E_INVALID,
      "the words are being trained: they can be changed when textinv_invert() is back");
  return status;
}

static void free_word(ti_word *w)
{
  ti_free(w->name);
  for (int i = 0; i < TI_MAX_ENCODERS; i++)
    ti_free(w->rows[i]);
}

void ti_embeddings_free_words(textinv_embeddings *e)
{
  for (size_t i = 0; i < e->count; i++)
    free_word(&e->words[i]);
  ti_free(e->words);
}

void textinv_embeddings_free(textinv_embeddings *embeddings)
{
  if (!embeddings || embeddings->busy)
    return;
  ti_embeddings_free_words(embeddings);
  ti_embedding_metadata_free(embeddings->metadata, embeddings->num_metadata);
  ti_free(embeddings);
}

ti_word *ti_embeddings_find(const textinv_embeddings *e, const char *name)
{
  for (size_t i = 0; name && i < e->count; i++) {
    if (!strcmp(e->words[i].name, name))
      return &e->words[i];
  }
  return NULL;
}

/* C0, DEL and, as two bytes of UTF-8, C1: terminals obey them */
static int is_control(const char *p)
{
  const unsigned char c = (unsigned char)p[0], next = (unsigned char)p[1];

  return c < 0x20 || c == 0x7f || (c == 0xc2 && next >= 0x80 && next < 0xa0);
}

textinv_status ti_check_word(ti_error *error, const char *word)
{
  const size_t len = word ? strlen(word) : 0;

  if (!word || !len)
    return ti_fail(error, TEXTINV_E_INVALID, "a word is %s", word ? "empty" : "NULL");
  if (len > 255)
    return ti_fail(error, TEXTINV_E_INVALID, "a word of %zu bytes; at most 255 are possible", len);
  if (!ti_utf8_valid(word, len))
    return ti_fail(error, TEXTINV_E_INVALID, "word \"%s\" is not UTF-8", word);
  for (size_t i = 0, n; i < len; i += n) {
    int32_t c;

    n = ti_text_next(&c, word + i);
    if (ti_unicode_is_space(c) || is_control(word + i))
      return ti_fail(error, TEXTINV_E_INVALID,
                     "word \"%s\" has white space or a control character at byte %zu", word, i);
  }
  return TEXTINV_OK;
}

textinv_status ti_check_new_word(ti_error *error, const char *word)
{
  const textinv_status status = ti_check_word(error, word);

  if (status >= 0 && ti_embedding_is_key(word))
    return ti_fail(error, TEXTINV_E_INVALID,
                   "word \"%s\" stands for something else in embedding files; take another one "
                   "such as \"<%s>\"",
                   word, word);
  return status;
}

/* a new word without vectors */
static textinv_status append(ti_word **out, textinv_embeddings *e, ti_error *error,
                             const char *name, int vectors)
{
  ti_word *w;

  *out = NULL;
  if (e->count == TI_MAX_WORDS)
    return ti_fail(error, TEXTINV_E_LIMIT, "%d words are held already", TI_MAX_WORDS);
  if (e->count == e->room) {
    const size_t room = e->room ? e->room * 2 : 8;

    w = ti_realloc_array(e->words, room, sizeof(*w));
    if (!w)
      return ti_fail_nomem(error, room * sizeof(*w), "words");
    e->words = w;
    e->room = room;
  }
  w = &e->words[e->count];
  memset(w, 0, sizeof(*w));
  w->vectors = vectors;
  w->name = ti_strdup(name);
  if (!w->name)
    return ti_fail_nomem(error, strlen(name), "a word");
  e->count++;
  *out = w;
  return TEXTINV_OK;
}

static void remove_at(textinv_embeddings *e, size_t i)
{
  free_word(&e->words[i]);
  memmove(&e->words[i], &e->words[i + 1], (e->count - i - 1) * sizeof(*e->words));
  e->count--;
}

static textinv_status check_rows(ti_error *error, const char *word, int dim, const float *rows,
                                 size_t count)
{
  for (size_t i = 0; i < count; i++) {
    if (!isfinite(rows[i]))
      return ti_fail(error, TEXTINV_E_NONFINITE, "word \"%s\": vector %zu holds %g at %zu", word,
                     i / (size_t)dim, (double)rows[i], i % (size_t)dim);
  }
  return TEXTINV_OK;
}

textinv_status ti_embeddings_set_rows(textinv_embeddings *e, ti_error *error, const char *word,
                                      int encoder, int vectors, int dim, const float *rows)
{
  const size_t count = (size_t)vectors * (size_t)dim;
  ti_word *w = ti_embeddings_find(e, word);
  textinv_status status;
  float *copy;

  if (w && w->vectors != vectors && w->dim[1 - encoder])
    return ti_fail(error, TEXTINV_E_SHAPE,
                   "word \"%s\" has %d vectors in the other encoder; %d were given", word,
                   w->vectors, vectors);
  if ((status = check_rows(error, word, dim, rows, count)) < 0)
    return status;
  copy = ti_calloc(count, sizeof(*copy));
  if (!copy)
    return ti_fail_nomem(error, count * sizeof(*copy), "vectors");
  memcpy(copy, rows, count * sizeof(*copy));
  if (!w && (status = append(&w, e, error, word, vectors)) < 0) {
    ti_free(copy);
    return status;
  }
  ti_free(w->rows[encoder]);
  w->rows[encoder] = copy;
  w->dim[encoder] = dim;
  w->vectors = vectors;
  w->step = 0;
  w->described = 0;
  return TEXTINV_OK;
}

textinv_status ti_embeddings_copy_word(textinv_embeddings *e, ti_error *error, const ti_word *w,
                                       const char *name)
{
  textinv_status status = TEXTINV_OK;
  ti_word *copy;

  for (int k = 0; k < TI_MAX_ENCODERS && status >= 0; k++) {
    if (w->dim[k])
      status = ti_embeddings_set_rows(e, error, name, k, w->vectors, w->dim[k], w->rows[k]);
  }
  if (status >= 0) {
    copy = ti_embeddings_find(e, name);
    copy->step = w->step;
    copy->described = w->described;
  }
  return status;
}

textinv_status ti_embeddings_replace(textinv_embeddings *e, ti_error *error,
                                     const textinv_embeddings *from)
{
  textinv_embeddings next = { .metadata = e->metadata, .num_metadata = e->num_metadata };
  textinv_status status = TEXTINV_OK;

  for (size_t i = 0; i < e->count && status >= 0; i++) {
    const ti_word *w = &e->words[i], *newer = ti_embeddings_find(from, w->name);

    status = ti_embeddings_copy_word(&next, error, newer ? newer : w, w->name);
  }
  for (size_t i = 0; i < from->count && status >= 0; i++) {
    if (!ti_embeddings_find(&next, from->words[i].name))
      status = ti_embeddings_copy_word(&next, error, &from->words[i], from->words[i].name);
  }
  if (status >= 0) {
    const textinv_embeddings old = *e;

    *e = next;
    next = old;
  }
  ti_embeddings_free_words(&next);
  return status;
}

textinv_status textinv_embeddings_set(textinv_session *session, textinv_embeddings *embeddings,
                                      const char *word, uint32_t encoder, uint32_t num_vectors,
                                      uint32_t dim, const float *rows)
{
  ti_error *error = ti_begin(session);
  textinv_status status;

  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_changeable(error, embeddings)) < 0 ||
      (status = ti_check_null(error, rows, "rows")) < 0 ||
      (status = ti_check_new_word(error, word)) < 0)
    return status;
  if (encoder >= TI_MAX_ENCODERS || num_vectors < 1 || num_vectors > TI_MAX_VECTORS || dim < 1 ||
      dim > 65536)
    return ti_fail(
      error, TEXTINV_E_INVALID,
      "encoder %u, %u vectors of %u; encoder 0 or 1, 1 to %d vectors of 1 to 65536 are "
      "possible",
      encoder, num_vectors, dim, TI_MAX_VECTORS);
  return ti_embeddings_set_rows(embeddings, error, word, (int)encoder, (int)num_vectors, (int)dim,
                                rows);
}

/* the words of from, or one of them, as a set that embeddings has no word of */
static textinv_status gather(textinv_embeddings *out, ti_error *error,
                             const textinv_embeddings *embeddings, const textinv_embeddings *from,
                             const char *word, const char *name)
{
  textinv_status status = TEXTINV_OK;

  for (size_t i = 0; i < from->count && status >= 0; i++) {
    const ti_word *w = &from->words[i];
    const char *as = name ? name : w->name;

    if (word && strcmp(w->name, word))
      continue;
    if (ti_embeddings_find(embeddings, as))
      return ti_fail(error, TEXTINV_E_CONFLICT, "word \"%s\" was added already", as);
    status = ti_embeddings_copy_word(out, error, w, as);
  }
  return status;
}

textinv_status textinv_embeddings_copy(textinv_session *session, textinv_embeddings *embeddings,
                                       const textinv_embeddings *from, const char *word,
                                       const char *name)
{
  ti_error *error = ti_begin(session);
  textinv_embeddings words = { 0 };
  textinv_status status;
  int alone; /* what a file said goes along to where it cannot seem to speak of other words */

  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_changeable(error, embeddings)) < 0 ||
      (status = ti_check_null(error, from, "from")) < 0 ||
      (name && (status = ti_check_new_word(error, name)) < 0))
    return status;
  if (name && !word)
    return ti_fail(error, TEXTINV_E_INVALID, "name is \"%s\" without word, the one to call so",
                   name);
  if (word && !ti_embeddings_find(from, word))
    return ti_fail(error, TEXTINV_E_NOT_FOUND, "there is no word \"%s\"", word);
  alone = !embeddings->count;
  status = gather(&words, error, embeddings, from, word, name);
  for (size_t i = 0; i < words.count && !alone; i++)
    words.words[i].described = 0;
  if (status >= 0 && alone)
    status = ti_embedding_metadata_copy(&words.metadata, error, from->metadata, from->num_metadata);
  if (status >= 0)
    status = ti_embeddings_replace(embeddings, error, &words);
  if (status >= 0 && alone) {
    ti_embedding_metadata_free(embeddings->metadata, embeddings->num_metadata);
    embeddings->metadata = words.metadata;
    embeddings->num_metadata = from->num_metadata;
  } else if (words.metadata) {
    ti_embedding_metadata_free(words.metadata, from->num_metadata);
  }
  ti_embeddings_free_words(&words);
  return status;
}

/* ------------------------------------------------------------------ initializers */

typedef struct moments {
  double mean, spread;
} moments;

/* of all values of an embedding table */
static moments table_moments(const ti_weight *table)
{
  enum { PART = 1024 };
  const char *data = table->data;
  const size_t size = ti_dtype_size(table->dtype);
  double sum = 0.0, squares = 0.0;
  float part[PART];

  for (size_t at = 0; at < table->count; at += PART) {
    const size_t count = table->count - at < PART ? table->count - at : PART;

    ti_convert(TI_F32, part, table->dtype, data + at * size, count);
    for (size_t i = 0; i < count; i++) {
      sum += part[i];
      squares += (double)part[i] * part[i];
    }
  }
  const double mean = sum / (double)table->count;

  return (moments){ mean, sqrt(fmax(0.0, squares / (double)table->count - mean * mean)) };
}

static const ti_weight *table_of(const textinv_model *model, int encoder)
{
  ti_tape none;
  ti_net net = { &none, &model->encoders[encoder].weights };

  memset(&none, 0, sizeof(none));
  return ti_net_optional(&net, model->encoders[encoder].config.table, "weight");
}

/* rows [vectors, dim] of an initializer's ids, in turn, or random */
static void fill_rows(float *rows, const ti_weight *table, int vectors, const uint32_t *ids,
                      size_t num_ids, uint64_t seed, int encoder)
{
  const int dim = table->dims[1];
  const size_t size = ti_dtype_size(table->dtype);
  const moments m = (size_t)vectors > num_ids ? table_moments(table) : (moments){ 0.0, 0.0 };

  for (int v = 0; v < vectors; v++) {
    float *row = rows + (size_t)v * (size_t)dim;
    const ti_draw_key key = { seed, TI_DRAW_INIT, (uint32_t)encoder, (uint32_t)v };
    const int copied = num_ids > 0, repeated = copied && (size_t)v >= num_ids;

    ti_draw_normal(&key, row, (size_t)dim);
    for (int i = 0; i < dim; i++) {
      float base = (float)m.mean;

      if (copied)
        ti_convert(TI_F32, &base, table->dtype,
                   (const char *)table->data +
                     ((size_t)ids[(size_t)v % num_ids] * (size_t)dim + (size_t)i) * size,
                   1);
      row[i] = base + (copied ? (repeated ? 0.01f : 0.0f) : 1.0f) * (float)m.spread * row[i];
    }
  }
}

textinv_status ti_check_vocabulary(ti_error *error, const textinv_model *model, const char *word)
{
  char whole[2 * TI_ERROR_SIZE];
  textinv_status status = TEXTINV_OK;
  uint32_t id;

  for (int i = 0; i < model->num_encoders && status >= 0; i++) {
    const ti_tokenizer *t = model->encoders[i].tokenizer->t;
    const char *forms[2] = { word, NULL };
    char *normal;
    size_t length;

    status = ti_tokenizer_normalize(t, &normal, &length, NULL, error, word, strlen(word));
    forms[1] = normal;
    for (int k = 0; k < 2 && status >= 0; k++) {
      ti_format(whole, sizeof(whole), "%s</w>", forms[k]);
      if (ti_tokenizer_find(t, forms[k], &id) || ti_tokenizer_find(t, whole, &id))
        status = ti_fail(error, TEXTINV_E_CONFLICT,
                         "word \"%s\" is in the vocabulary already (\"%s\", id %u); take a new one "
                         "such as \"<%s>\"",
                         word, forms[k], id, word);
    }
    ti_free(normal);
  }
  return status;
}

textinv_status textinv_embeddings_add(textinv_session *session, textinv_embeddings *embeddings,
                                      const textinv_model *model, const char *word,
                                      uint32_t num_vectors, const char *initializer, uint64_t seed)
{
  ti_error *error = ti_begin(session);
  uint32_t *ids[TI_MAX_ENCODERS] = { NULL, NULL };
  size_t num_ids[TI_MAX_ENCODERS] = { 0, 0 };
  float *rows = NULL;
  textinv_status status;

  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_changeable(error, embeddings)) < 0 ||
      (status = ti_check_null(error, model, "model")) < 0 ||
      (status = ti_check_new_word(error, word)) < 0)
    return status;
  if (num_vectors > TI_MAX_NEW_VECTORS)
    return ti_fail(error, TEXTINV_E_INVALID, "%u vectors; 0 to %d are possible", num_vectors,
                   TI_MAX_NEW_VECTORS);
  if (ti_embeddings_find(embeddings, word))
    return ti_fail(error, TEXTINV_E_CONFLICT, "word \"%s\" was added already", word);
  if ((status = ti_check_vocabulary(error, model, word)) < 0)
    return status;
  for (int i = 0; i < model->num_encoders && initializer && *initializer; i++) {
    status = ti_tokenizer_encode(model->encoders[i].tokenizer->t, error, initializer,
                                 strlen(initializer), &ids[i], &num_ids[i]);
    if (status >= 0 && !num_ids[i])
      status = ti_fail(error, TEXTINV_E_INVALID, "initializer \"%s\" has no tokens", initializer);
    if (status < 0)
      goto out;
  }
  if (!num_vectors)
    num_vectors = num_ids[0]
                    ? (uint32_t)(num_ids[0] < TI_MAX_NEW_VECTORS ? num_ids[0] : TI_MAX_NEW_VECTORS)
                    : 1;
  if ((int)num_vectors > model->tokens - 3) {
    status = ti_fail(error, TEXTINV_E_LIMIT, "%u vectors do not fit into a prompt of %d tokens",
                     num_vectors, model->tokens);
    goto out;
  }
  if (num_ids[0] > num_vectors)
    ti_log(session, TEXTINV_LOG_WARNING,
           "initializer \"%s\" has %zu tokens: word \"%s\" starts from the first %u", initializer,
           num_ids[0], word, num_vectors);
  for (int i = 0; i < model->num_encoders; i++) {
    const ti_weight *table = table_of(model, i);

    ti_free(rows);
    rows = ti_calloc((size_t)num_vectors * (size_t)table->dims[1], sizeof(*rows));
    if (!rows) {
      status = ti_fail_nomem(error, (size_t)num_vectors * (size_t)table->dims[1] * 4, "vectors");
      break;
    }
    fill_rows(rows, table, (int)num_vectors, ids[i], num_ids[i], seed, i);
    if ((status = ti_embeddings_set_rows(embeddings, error, word, i, (int)num_vectors,
                                         table->dims[1], rows)) < 0)
      break;
  }
  if (status < 0 && ti_embeddings_find(embeddings, word))
    remove_at(embeddings, (size_t)(ti_embeddings_find(embeddings, word) - embeddings->words));
out:
  for (int i = 0; i < TI_MAX_ENCODERS; i++)
    ti_free(ids[i]);
  ti_free(rows);
  return status;
}

/* ------------------------------------------------------------------ queries */

textinv_status textinv_embeddings_remove(textinv_session *session, textinv_embeddings *embeddings,
                                         const char *word)
{
  ti_error *error = ti_begin(session);
  textinv_status status;
  ti_word *w;

  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_changeable(error, embeddings)) < 0 ||
      (status = ti_check_null(error, word, "word")) < 0)
    return status;
  w = ti_embeddings_find(embeddings, word);
  if (!w)
    return ti_fail(error, TEXTINV_E_NOT_FOUND, "there is no word \"%s\"", word);
  remove_at(embeddings, (size_t)(w - embeddings->words));
  return TEXTINV_OK;
}

size_t textinv_embeddings_count(const textinv_embeddings *embeddings)
{
  return embeddings ? embeddings->count : 0;
}

const char *textinv_embeddings_word(const textinv_embeddings *embeddings, size_t i)
{
  return embeddings && i < embeddings->count ? embeddings->words[i].name : NULL;
}

static const ti_word *lookup(const textinv_embeddings *e, const char *word)
{
  return e && word ? ti_embeddings_find(e, word) : NULL;
}

uint32_t textinv_embeddings_vectors(const textinv_embeddings *embeddings, const char *word)
{
  const ti_word *w = lookup(embeddings, word);

  return w ? (uint32_t)w->vectors : 0;
}

uint32_t textinv_embeddings_dim(const textinv_embeddings *embeddings, const char *word,
                                uint32_t encoder)
{
  const ti_word *w = lookup(embeddings, word);

  return w && encoder < TI_MAX_ENCODERS ? (uint32_t)w->dim[encoder] : 0;
}

const float *textinv_embeddings_rows(const textinv_embeddings *embeddings, const char *word,
                                     uint32_t encoder)
{
  const ti_word *w = lookup(embeddings, word);

  return w && encoder < TI_MAX_ENCODERS ? w->rows[encoder] : NULL;
}

size_t textinv_embeddings_num_values(const textinv_embeddings *embeddings)
{
  size_t count = 0;

  for (size_t i = 0; embeddings && i < embeddings->count; i++)
    count += ti_word_all_values(&embeddings->words[i]);
  return count;
}

const char *textinv_embeddings_metadata(const textinv_embeddings *embeddings, size_t i,
                                        const char **key)
{
  const int found = embeddings && i < embeddings->num_metadata;

  if (key)
    *key = found ? embeddings->metadata[i].key : NULL;
  return found ? embeddings->metadata[i].value : NULL;
}
