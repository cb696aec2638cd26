/* New words from and to files. */
#include <string.h>

#include "alloc.h"
#include "api.h"
#include "embedding_file.h"
#include "format.h"
#include "unicode.h"
#include "utf8.h"

/* which encoder a file's entry is for */
static textinv_status match_encoder(ti_error *error, const char *path,
                                    const ti_embedding_entry *entry, const textinv_model *model,
                                    int *encoder)
{
  *encoder = entry->encoder >= 0 ? entry->encoder : 0;
  if (!model)
    return TEXTINV_OK;
  /* a file of one encoder tells which by its width */
  for (int i = 0; entry->encoder < 0 && i < model->num_encoders; i++) {
    if (model->encoders[i].config.width == entry->dim) {
      *encoder = i;
      break;
    }
  }
  if (*encoder >= model->num_encoders)
    return ti_fail(error, TEXTINV_E_SHAPE, "%s is for two text encoders; the model has one", path);
  if (model->encoders[*encoder].config.width != entry->dim)
    return ti_fail(error, TEXTINV_E_SHAPE, "%s: vectors of width %d%s; the model needs %d", path,
                   entry->dim,
                   entry->dim == 768    ? " (made for SD 1.x)"
                   : entry->dim == 1024 ? " (made for SD 2.x)"
                   : entry->dim == 1280 ? " (made for LDM or SDXL's second encoder)"
                                        : "",
                   model->encoders[*encoder].config.width);
  return TEXTINV_OK;
}

/*
 * whether a word can be called so. What the caller chose, or learnt, is his business; a name that
 * only the file has may not take an ordinary word out of every prompt
 */
static textinv_status check_name_in(ti_error *error, const char *path, const textinv_model *model,
                                    const char *name, const ti_embedding_file *file, int alone)
{
  ti_error met;
  textinv_status status = ti_check_word(&met, name);

  if (status >= 0 && model && strcmp(file->layout, "checkpoint"))
    status = ti_check_vocabulary(&met, model, name);
  return status < 0 ? ti_fail(error, status, "%s: %s: %s", path, met.text,
                              alone ? "give it a word, as WORD=FILE" : "load it without a model")
                    : status;
}

/* name for words that their file does not name: that of the file, without folder and ending */
static void stem(char *out, size_t size, const char *path)
{
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path,
             *dot = strrchr(name, '.');
  const int len = dot && dot > name ? (int)(dot - name) : (int)strlen(name);

  ti_format(out, size, "%.*s", len, name);
}

/* '-' for white space, which no word has; 1 when there was some */
static int replace_spaces(char *name)
{
  char *to = name;
  int found = 0;

  if (!ti_utf8_valid(name, strlen(name)))
    return 0; /* ti_check_word() refuses it */
  for (size_t n; *name; name += n) {
    int32_t c;

    n = ti_text_next(&c, name);
    if (ti_unicode_is_space(c)) {
      *to++ = '-';
      found = 1;
    } else {
      memmove(to, name, n);
      to += n;
    }
  }
  *to = '\0';
  return found;
}

/* add an entry; a second file may bring the vectors of the other encoder */
static textinv_status add_entry(textinv_embeddings *e, ti_error *error, const char *path,
                                const ti_embedding_entry *entry, const char *name,
                                const textinv_model *model, long long step)
{
  const ti_word *have = ti_embeddings_find(e, name);
  textinv_status status;
  int encoder;

  if ((status = match_encoder(error, path, entry, model, &encoder)) < 0)
    return status;
  if (have && have->dim[encoder])
    return ti_fail(error, TEXTINV_E_CONFLICT, "%s: word \"%s\" was added already", path, name);
  if (have && have->vectors != entry->num_vectors)
    return ti_fail(error, TEXTINV_E_SHAPE,
                   "%s: word \"%s\" has %d vectors in the other encoder, %d in the file", path,
                   name, have->vectors, entry->num_vectors);
  if ((status = ti_embeddings_set_rows(e, error, name, encoder, entry->num_vectors, entry->dim,
                                       entry->rows)) < 0)
    return status;
  if (step > 0)
    ti_embeddings_find(e, name)->step = step;
  return TEXTINV_OK;
}

/* what a caller may want to know of a file that was loaded */
static void log_loaded(const textinv_session *session, const char *path, const textinv_model *model,
                       const ti_embedding_file *file, const char *spaced, const char *chosen)
{
  ti_error met;

  if (file->left_out)
    ti_log(session, TEXTINV_LOG_WARNING,
           "%s: left out, as it is not for the input of a CLIP text encoder: %s", path,
           file->left_out);
  if (spaced)
    ti_log(session, TEXTINV_LOG_WARNING,
           "%s: word \"%s\" has '-' in place of white space, which no word can have", path, spaced);
  if (chosen && model && ti_check_vocabulary(&met, model, chosen) == TEXTINV_E_CONFLICT)
    ti_log(session, TEXTINV_LOG_WARNING,
           "%s: word \"%s\" is in the vocabulary: in prompts it now stands for these vectors", path,
           chosen);
}

/* from here on the metadata are those of file, which has brought the words of loaded */
static void swap_metadata(textinv_embeddings *e, ti_embedding_file *file,
                          const textinv_embeddings *loaded)
{
  ti_key_value *const metadata = e->metadata;
  const size_t count = e->num_metadata;

  e->metadata = file->metadata, e->num_metadata = file->num_metadata;
  file->metadata = metadata, file->num_metadata = count;
  for (size_t i = 0; i < e->count; i++)
    e->words[i].described = ti_embeddings_find(loaded, e->words[i].name) != NULL;
}

/* all words of a file, or none */
static textinv_status add_words(textinv_session *session, textinv_embeddings *embeddings,
                                const textinv_model *model, const char *path,
                                ti_embedding_file *file, const char *word)
{
  ti_error *error = &session->error;
  const long long step = ti_embedding_step(file->metadata, file->num_metadata);
  textinv_embeddings next = { 0 }; /* the words of the file, and what is held of them */
  textinv_status status = TEXTINV_OK;
  const char *spaced = NULL; /* a name that had white space */
  size_t num_names = 0;
  char fallback[256];

  if (file->name && *file->name)
    ti_format(fallback, sizeof(fallback), "%s", file->name);
  else
    stem(fallback, sizeof(fallback), path);
  for (size_t i = 0; i < file->count; i++) {
    int known = 0;

    for (size_t k = 0; k < i && file->entries[i].word; k++)
      known |= file->entries[k].word && !strcmp(file->entries[k].word, file->entries[i].word);
    num_names += file->entries[i].word && !known;
  }
  for (size_t i = 0; i < file->count && !word; i++) {
    char *name = file->entries[i].word ? file->entries[i].word : fallback;

    spaced = replace_spaces(name) ? name : spaced;
  }
  if (!word && !strcmp(file->layout, "tensor"))
    return ti_fail(error, TEXTINV_E_INVALID,
                   "%s: is a bare tensor, which names no word: give it one, as WORD=FILE", path);
  if (word && num_names > 1)
    return ti_fail(error, TEXTINV_E_CONFLICT, "%s holds %zu words; name none of them to load all",
                   path, num_names);
  for (size_t i = 0; i < file->count && status >= 0; i++) {
    const ti_embedding_entry *entry = &file->entries[i];
    const char *name = word ? word : entry->word ? entry->word : fallback;
    const ti_word *held = ti_embeddings_find(embeddings, name);

    if (!word)
      status = check_name_in(error, path, model, name, file, num_names < 2);
    if (status >= 0 && held && !ti_embeddings_find(&next, name))
      status = ti_embeddings_copy_word(&next, error, held, name);
    if (status >= 0)
      status = add_entry(&next, error, path, entry, name, model, step);
  }
  if (status >= 0)
    status = ti_embeddings_replace(embeddings, error, &next);
  if (status >= 0) {
    log_loaded(session, path, model, file, spaced, word);
    swap_metadata(embeddings, file, &next);
  }
  ti_embeddings_free_words(&next);
  return status;
}

textinv_status textinv_embeddings_load(textinv_session *session, textinv_embeddings *embeddings,
                                       const textinv_model *model, const char *path,
                                       const char *word)
{
  ti_error *error = ti_begin(session);
  ti_embedding_file file;
  textinv_status status;

  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_changeable(error, embeddings)) < 0 ||
      (status = ti_check_null(error, path, "path")) < 0)
    return status;
  if (word && (status = ti_check_new_word(error, word)) < 0)
    return status;
  if ((status = ti_embedding_file_read(&file, error, path)) < 0)
    return status;
  if (!strcmp(file.layout, "checkpoint") && !ti_embedding_folder_check(path))
    status = ti_checkpoint_check(error, path, NULL, 0);
  if (status >= 0)
    status = add_words(session, embeddings, model, path, &file, word);
  ti_embedding_file_free(&file);
  return status;
}

textinv_status textinv_embeddings_load_memory(textinv_session *session,
                                              textinv_embeddings *embeddings,
                                              const textinv_model *model, const void *bytes,
                                              size_t size, const char *name, const char *word)
{
  ti_error *error = ti_begin(session);
  ti_embedding_file file;
  textinv_status status;

  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_changeable(error, embeddings)) < 0 ||
      (status = ti_check_null(error, bytes, "bytes")) < 0 ||
      (status = ti_check_null(error, name, "name")) < 0)
    return status;
  if (word && (status = ti_check_new_word(error, word)) < 0)
    return status;
  if ((status = ti_embedding_file_decode(&file, error, name, bytes, size)) < 0)
    return status;
  if (!strcmp(file.layout, "checkpoint"))
    status = ti_checkpoint_check(error, name, bytes, size);
  if (status >= 0)
    status = add_words(session, embeddings, model, name, &file, word);
  ti_embedding_file_free(&file);
  return status;
}

/*
 * What of a file's metadata other programs read, and stays true in another file: the model that
 * A1111 has learnt it with, and the Model Spec of kohya's scripts and OneTrainer, but for its hash
 * of the tensors
 */
static const char *const passed_on[] = {
  "sd_checkpoint",
  "sd_checkpoint_name",
  "modelspec.sai_model_spec",
  "modelspec.architecture",
  "modelspec.implementation",
  "modelspec.implementation_version",
  "modelspec.title",
  "modelspec.description",
  "modelspec.author",
  "modelspec.date",
  "modelspec.license",
  "modelspec.tags",
  "modelspec.usage_hint",
  "modelspec.trigger_phrase",
  "modelspec.thumbnail",
  "modelspec.merged_from",
  "modelspec.resolution",
  "modelspec.prediction_type",
  "modelspec.timestep_range",
  "modelspec.encoder_layer",
  "modelspec.preprocessor",
  "modelspec.is_negative_embedding",
};

enum { OWN_PAIRS = 3, PASSED_ON = sizeof(passed_on) / sizeof(*passed_on) };

/* those of the loaded file behind others; a trigger phrase without the word is another word's */
static size_t add_passed_on(ti_key_value *to, size_t count, const textinv_embeddings *e,
                            const char *word)
{
  for (size_t i = 0; i < PASSED_ON; i++) {
    size_t k = e->num_metadata;

    while (k > 0 &&
           strcmp(e->metadata[k - 1].key, passed_on[i])) /* of equal keys the last counts */
      k--;
    if (k && (strcmp(passed_on[i], "modelspec.trigger_phrase") ||
              strstr(e->metadata[k - 1].value, word)))
      to[count++] = e->metadata[k - 1];
  }
  return count;
}

static textinv_status save_to(ti_memory_file *memory, textinv_session *session,
                              const textinv_embeddings *embeddings, const char *path,
                              textinv_format format, const char *word)
{
  ti_error *error = &session->error;
  char version[32], step[24];
  ti_key_value metadata[OWN_PAIRS + PASSED_ON] = { { "format", "pt" }, { "producer", version } };
  ti_embedding_entry *entries;
  size_t count = 0, words = 0, num_metadata = 2;
  long long steps = 0;
  int two = 0; /* encoders */
  int together = 1, described = 1;
  textinv_status status;

  if (word && !ti_embeddings_find(embeddings, word))
    return ti_fail(error, TEXTINV_E_NOT_FOUND, "there is no word \"%s\"", word);
  if (!embeddings->count)
    return ti_fail(error, TEXTINV_E_INVALID, "there are no words to write to %s", path);
  entries = ti_calloc(embeddings->count * TI_MAX_ENCODERS, sizeof(*entries));
  if (!entries)
    return ti_fail_nomem(error, embeddings->count * sizeof(*entries), "words");
  for (size_t i = 0; i < embeddings->count; i++) {
    const ti_word *w = &embeddings->words[i];

    if (word && strcmp(w->name, word))
      continue;
    words++;
    two |= w->dim[1] > 0;
    described &= w->described;
    for (int k = 0; k < TI_MAX_ENCODERS; k++) {
      if (!w->dim[k])
        continue;
      entries[count++] = (ti_embedding_entry){ w->name, w->dim[1] ? k : -1, w->vectors, w->dim[k],
                                               w->rows[k] };
      /* one number for the file: of words that were learnt together */
      if (!w->step || (count > 1 && w->step != steps))
        together = 0;
      steps = w->step;
    }
  }
  ti_format(step, sizeof(step), "%lld", steps);
  ti_format(version, sizeof(version), "libtextinv %d.%d.%d", TEXTINV_VERSION_MAJOR,
            TEXTINV_VERSION_MINOR, TEXTINV_VERSION_PATCH);
  if (together)
    metadata[num_metadata++] = (ti_key_value){ "step", step };
  if (described)
    num_metadata = add_passed_on(metadata, num_metadata, embeddings, entries->word);
  if (format == TEXTINV_FORMAT_AUTO)
    format = two ? TEXTINV_FORMAT_SDXL : TEXTINV_FORMAT_DIFFUSERS;
  status = ti_embedding_file_write_to(memory, error, path, format, entries, count, metadata,
                                      num_metadata);
  if (status >= 0 && words > 1)
    ti_log(session, TEXTINV_LOG_WARNING,
           "%s holds %zu words: diffusers and AUTOMATIC1111 take files of one word", path, words);
  ti_free(entries);
  return status;
}

textinv_status textinv_embeddings_save(textinv_session *session,
                                       const textinv_embeddings *embeddings, const char *path,
                                       textinv_format format, const char *word)
{
  ti_error *error = ti_begin(session);
  textinv_status status;

  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, embeddings, "embeddings")) < 0 ||
      (status = ti_check_null(error, path, "path")) < 0)
    return status;
  return save_to(NULL, session, embeddings, path, format, word);
}

textinv_status textinv_embeddings_save_memory(textinv_session *session, void *bytes,
                                              size_t capacity, size_t *size,
                                              const textinv_embeddings *embeddings,
                                              textinv_format format, const char *word)
{
  ti_error *error = ti_begin(session);
  ti_memory_file memory = { bytes, capacity, 0 };
  textinv_status status;

  if (size)
    *size = 0;
  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, size, "size")) < 0 ||
      (status = ti_check_null(error, embeddings, "embeddings")) < 0 ||
      (capacity && (status = ti_check_null(error, bytes, "bytes")) < 0) ||
      (status = save_to(&memory, session, embeddings, "memory", format, word)) < 0)
    return status;
  *size = memory.size;
  return ti_check_capacity(error, capacity, memory.size);
}
