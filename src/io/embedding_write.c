/* Files of learnt words, written. */
#include <math.h>
#include <string.h>

#include "alloc.h"
#include "embedding_file.h"
#include "torch_file.h"
#include "utf8.h"

static textinv_status check_entry(ti_error *error, const char *path, const ti_embedding_entry *e)
{
  const char *word = e->word ? e->word : "";
  const int cut = ti_utf8_cut(word, 80);

  if (!*word || !ti_utf8_valid(word, strlen(word)))
    return ti_fail(error, TEXTINV_E_INVALID, "%s: the word \"%.*s\" is empty or not UTF-8", path,
                   cut, word);
  if (e->num_vectors < 1 || e->dim < 1 || !e->rows)
    return ti_fail(error, TEXTINV_E_INVALID, "%s: \"%.*s\" has %d vectors of width %d", path, cut,
                   word, e->num_vectors, e->dim);
  for (size_t i = 0; i < (size_t)e->num_vectors * (size_t)e->dim; i++) {
    if (!isfinite(e->rows[i]))
      return ti_fail(error, TEXTINV_E_NONFINITE, "%s: \"%.*s\": vector %zu, column %zu is %s", path,
                     cut, word, i / (size_t)e->dim, i % (size_t)e->dim,
                     isnan(e->rows[i]) ? "NaN" : "infinite");
  }
  return TEXTINV_OK;
}

/* entries of one word stand beside each other */
static size_t count_words(const ti_embedding_entry *entries, size_t count)
{
  size_t words = count > 0;

  for (size_t i = 1; i < count; i++)
    words += strcmp(entries[i].word, entries[i - 1].word) != 0;
  return words;
}

/* what the format can hold */
static textinv_status check_set(ti_error *error, const char *path, textinv_format format,
                                const ti_embedding_entry *entries, size_t count)
{
  const size_t words = count_words(entries, count);

  if (!count)
    return ti_fail(error, TEXTINV_E_INVALID, "%s: there is no word to write", path);
  if (words > TI_EMBEDDING_MAX_WORDS)
    return ti_fail(
      error, TEXTINV_E_LIMIT,
      "%s: a file holds at most %d words, not %zu: name one, and write a file for each", path,
      TI_EMBEDDING_MAX_WORDS, words);
  for (size_t i = 0; i < count && format == TEXTINV_FORMAT_DIFFUSERS; i++) {
    if (ti_embedding_is_key(entries[i].word))
      return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                     "%s: a file of this format with the word \"%s\" would be read as one of "
                     "another; TEXTINV_FORMAT_A1111 holds it",
                     path, entries[i].word);
  }
  if (format != TEXTINV_FORMAT_DIFFUSERS && words > 1)
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: a file of this format holds one word, not %zu: name one, and write a file "
                   "for each",
                   path, words);
  for (size_t i = 0; i < count; i++) {
    const int known = entries[i].encoder == 0 || entries[i].encoder == 1;

    if (format == TEXTINV_FORMAT_SDXL && !known)
      return ti_fail(
        error, TEXTINV_E_UNSUPPORTED,
        "%s: a file of this format is for two encoders; word \"%s\" has vectors for one: "
        "TEXTINV_FORMAT_DIFFUSERS holds it",
        path, entries[i].word);
    if (format != TEXTINV_FORMAT_SDXL && entries[i].encoder != entries[0].encoder)
      return ti_fail(
        error, TEXTINV_E_UNSUPPORTED,
        "%s: a file of this format is for one encoder; word \"%s\" has vectors for two: "
        "TEXTINV_FORMAT_SDXL holds it, one word a file",
        path, entries[i].word);
  }
  if (format == TEXTINV_FORMAT_SDXL &&
      (count > 2 || (count == 2 && entries[0].encoder == entries[1].encoder)))
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: a file of this format holds one word in encoders 0 and 1", path);
  if (format == TEXTINV_FORMAT_SDXL && count == 2 &&
      entries[0].num_vectors != entries[1].num_vectors)
    return ti_fail(error, TEXTINV_E_SHAPE, "%s: %d vectors in one encoder, %d in the other", path,
                   entries[0].num_vectors, entries[1].num_vectors);
  if (format != TEXTINV_FORMAT_SDXL && format != TEXTINV_FORMAT_DIFFUSERS && count > 1)
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: a file of this format holds one word, not %zu tensors", path, count);
  return TEXTINV_OK;
}

static const char *lookup(const ti_key_value *metadata, size_t count, const char *key)
{
  for (size_t i = 0; i < count; i++) {
    if (!strcmp(metadata[i].key, key))
      return metadata[i].value;
  }
  return NULL;
}

long long ti_embedding_parse_step(const char *text)
{
  long long v = 0;

  if (!text || !*text || strlen(text) > 18 || text[strspn(text, "0123456789")])
    return -1;
  for (; *text; text++)
    v = v * 10 + (*text - '0');
  return v;
}

long long ti_embedding_step(const ti_key_value *metadata, size_t count)
{
  return ti_embedding_parse_step(lookup(metadata, count, "step"));
}

textinv_status ti_embedding_file_write_to(ti_memory_file *memory, ti_error *error, const char *path,
                                          textinv_format format, const ti_embedding_entry *entries,
                                          size_t count, const ti_key_value *metadata,
                                          size_t num_metadata)
{
  ti_memory_file counted = { NULL, 0, 0 };
  textinv_status status;
  ti_tensor *tensors = NULL;
  ti_key_value *all = NULL;
  size_t num_all = 0;

  if (format != TEXTINV_FORMAT_DIFFUSERS && format != TEXTINV_FORMAT_A1111 &&
      format != TEXTINV_FORMAT_KOHYA && format != TEXTINV_FORMAT_SDXL)
    return ti_fail(error, TEXTINV_E_INVALID, "%s: format %d is unknown", path, (int)format);
  for (size_t i = 0; i < count; i++) {
    if ((status = check_entry(error, path, entries + i)) < 0)
      return status;
  }
  if ((status = check_set(error, path, format, entries, count)) < 0)
    return status;
  if (format == TEXTINV_FORMAT_A1111)
    return ti_torch_write_a1111(memory, error, path, entries->word,
                                ti_embedding_step(metadata, num_metadata),
                                lookup(metadata, num_metadata, "sd_checkpoint"),
                                lookup(metadata, num_metadata, "sd_checkpoint_name"),
                                entries->num_vectors, entries->dim, entries->rows);

  tensors = ti_calloc(count, sizeof(*tensors));
  all = ti_calloc(num_metadata + 2, sizeof(*all));
  if (!tensors || !all) {
    status = ti_fail_nomem(error, count * sizeof(*tensors), path);
    goto out;
  }
  for (size_t i = 0; i < count; i++) {
    const ti_embedding_entry *e = entries + i;
    ti_tensor *t = tensors + i;

    t->name = format == TEXTINV_FORMAT_DIFFUSERS ? e->word
              : format == TEXTINV_FORMAT_KOHYA   ? "emb_params"
              : e->encoder                       ? "clip_g"
                                                 : "clip_l";
    t->dtype = TI_FILE_F32;
    t->rank = 2;
    t->dims[0] = (uint64_t)e->num_vectors;
    t->dims[1] = (uint64_t)e->dim;
    t->bytes = (size_t)e->num_vectors * (size_t)e->dim * sizeof(float);
    t->data = e->rows;
  }
  if (!lookup(metadata, num_metadata, "format"))
    all[num_all++] = (ti_key_value){ "format", "pt" };
  if (format != TEXTINV_FORMAT_DIFFUSERS && !lookup(metadata, num_metadata, "name"))
    all[num_all++] = (ti_key_value){ "name", entries->word };
  for (size_t i = 0; i < num_metadata; i++)
    all[num_all++] = metadata[i];
  /* nothing is written that could not be read again */
  if ((status = ti_safetensors_write_to(&counted, error, path, tensors, count, all, num_all)) < 0)
    goto out;
  if (counted.size > TI_EMBEDDING_MAX_BYTES)
    status = ti_fail(error, TEXTINV_E_LIMIT, "%s: would have %zu bytes, at most %d are read", path,
                     counted.size, TI_EMBEDDING_MAX_BYTES);
  else
    status = ti_safetensors_write_to(memory, error, path, tensors, count, all, num_all);
out:
  ti_free(all);
  ti_free(tensors);
  return status;
}

textinv_status ti_embedding_file_write(ti_error *error, const char *path, textinv_format format,
                                       const ti_embedding_entry *entries, size_t count,
                                       const ti_key_value *metadata, size_t num_metadata)
{
  return ti_embedding_file_write_to(NULL, error, path, format, entries, count, metadata,
                                    num_metadata);
}
