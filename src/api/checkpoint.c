/*
 * Checkpoints: a safetensors file with the words' rows and moments, and as metadata what the run
 * was. The random state is a function of the seed and the step, so nothing else is needed to go on
 * exactly.
 */
#include <math.h>
#include <string.h>

#include "alloc.h"
#include "api.h"
#include "embedding_file.h"
#include "format.h"
#include "hash.h"
#include "safetensors.h"

static const char VERSION[] = "1";

enum { STATE_VALUES = 6, KINDS = 3 };
static const char *const kinds[KINDS] = { "rows", "m", "v" };

/* of what the file says, in a fixed order */
static uint64_t checksum(const textinv_embeddings *e, const float *m, const float *v,
                         const float *state, uint64_t step, const char *settings)
{
  uint64_t hash = TI_HASH_START;
  size_t at = 0;

  for (size_t i = 0; i < e->count; i++) {
    const ti_word *w = &e->words[i];

    hash = ti_hash(hash, w->name, strlen(w->name) + 1);
    for (int k = 0; k < TI_MAX_ENCODERS; k++) {
      const size_t count = ti_word_values(w, k);

      if (!count)
        continue;
      hash = ti_hash(hash, w->rows[k], count * sizeof(float));
      hash = ti_hash(hash, m + at, count * sizeof(float));
      hash = ti_hash(hash, v + at, count * sizeof(float));
      at += count;
    }
  }
  hash = ti_hash(hash, state, STATE_VALUES * sizeof(*state));
  hash = ti_hash(hash, &step, sizeof(step));
  return ti_hash(hash, settings, strlen(settings));
}

static ti_tensor tensor(char *name, size_t name_size, const char *kind, int encoder,
                        const ti_word *w, const float *values)
{
  const size_t count = ti_word_values(w, encoder);

  ti_format(name, name_size, "%s.%d.%s", kind, encoder, w->name);
  return (ti_tensor){ .name = name,
                      .dtype = TI_FILE_F32,
                      .dtype_name = "F32",
                      .rank = 2,
                      .dims = { (uint64_t)w->vectors, (uint64_t)w->dim[encoder] },
                      .count = count,
                      .data = values,
                      .bytes = count * sizeof(float) };
}

textinv_status ti_checkpoint_write(ti_error *error, const char *path, const textinv_embeddings *e,
                                   const float *m, const float *v, const ti_adamw *adamw,
                                   const ti_checkpoint_info *info)
{
  const float state[STATE_VALUES] = {
    adamw->learning_rate, adamw->beta1,        adamw->beta2,
    adamw->epsilon,       adamw->weight_decay, info->loss_average
  };
  const size_t max_tensors = e->count * TI_MAX_ENCODERS * KINDS + 1, name_size = 300;
  ti_tensor *tensors = ti_calloc(max_tensors, sizeof(*tensors));
  char *names = ti_calloc(max_tensors, name_size), *words = ti_calloc(e->count + 1, 257),
       *end = words;
  char step[24], sum[17];
  size_t count = 0, at = 0;
  textinv_status status;

  if (!tensors || !names || !words) {
    status = ti_fail_nomem(error, max_tensors * name_size, "a checkpoint");
    goto out;
  }
  for (size_t i = 0; i < e->count; i++) {
    const ti_word *w = &e->words[i];

    end += ti_format(end, 257, "%s%s", i ? " " : "", w->name);
    for (int k = 0; k < TI_MAX_ENCODERS; k++) {
      const float *values[KINDS] = { w->rows[k], m + at, v + at };

      for (int kind = 0; w->dim[k] && kind < KINDS; kind++, count++)
        tensors[count] = tensor(names + count * name_size, name_size, kinds[kind], k, w,
                                values[kind]);
      at += ti_word_values(w, k);
    }
  }
  tensors[count++] = (ti_tensor){ .name = "state",
                                  .dtype = TI_FILE_F32,
                                  .dtype_name = "F32",
                                  .rank = 1,
                                  .dims = { STATE_VALUES },
                                  .count = STATE_VALUES,
                                  .data = state,
                                  .bytes = sizeof(state) };
  ti_format(step, sizeof(step), "%llu", (unsigned long long)info->step);
  ti_format(sum, sizeof(sum), "%016llx",
            (unsigned long long)checksum(e, m, v, state, info->step, info->settings));
  const ti_key_value metadata[] = { { "textinv_checkpoint", VERSION },
                                    { "words", words },
                                    { "step", step },
                                    { "settings", info->settings },
                                    { "checksum", sum } };

  status = ti_safetensors_write(error, path, tensors, count, metadata,
                                sizeof(metadata) / sizeof(*metadata));
out:
  ti_free(tensors);
  ti_free(names);
  ti_free(words);
  return status;
}

/* the values of "kind.encoder.word"; NULL without a message when there is none */
static const ti_tensor *find(const ti_safetensors *file, const char *kind, int encoder,
                             const char *word)
{
  char name[300];

  ti_format(name, sizeof(name), "%s.%d.%s", kind, encoder, word);
  return ti_safetensors_find(file, name);
}

static int is_rows(const ti_tensor *t)
{
  return t && t->dtype == TI_FILE_F32 && t->rank == 2 && t->dims[0] >= 1 &&
         t->dims[0] <= TI_MAX_VECTORS && t->dims[1] >= 1 && t->dims[1] <= 65536;
}

/* the first value that no run leaves: one that is not finite, or a negative one of v */
static textinv_status check_moments(ti_error *error, const char *path, const char *name,
                                    const float *values, size_t count, int is_v)
{
  for (size_t i = 0; i < count; i++) {
    if (!isfinite(values[i]) || (is_v && values[i] < 0.0f))
      return ti_fail(error, isfinite(values[i]) ? TEXTINV_E_FORMAT : TEXTINV_E_NONFINITE,
                     "%s: tensor %s holds %g at %zu", path, name, (double)values[i], i);
  }
  return TEXTINV_OK;
}

/* rows of one word into the set, its moments behind those of the words before it */
static textinv_status read_word(ti_error *error, const char *path, const ti_safetensors *file,
                                const char *word, textinv_embeddings *e, float **m, float **v,
                                size_t *count)
{
  int found = 0;

  for (int k = 0; k < TI_MAX_ENCODERS; k++) {
    const ti_tensor *t[KINDS];
    float *rows, *grown;
    ti_error met;
    textinv_status status;

    for (int kind = 0; kind < KINDS; kind++)
      t[kind] = find(file, kinds[kind], k, word);
    if (!t[0])
      continue;
    for (int kind = 0; kind < KINDS; kind++) {
      if (!is_rows(t[kind]) || t[kind]->dims[0] != t[0]->dims[0] ||
          t[kind]->dims[1] != t[0]->dims[1])
        return ti_fail(error, TEXTINV_E_FORMAT,
                       "%s: tensor %s.%d.%s is missing or of another shape", path, kinds[kind], k,
                       word);
    }
    found = 1;
    rows = ti_calloc((size_t)t[0]->count, sizeof(*rows));
    if (!rows)
      return ti_fail_nomem(error, t[0]->bytes, "vectors");
    memcpy(rows, t[0]->data, t[0]->bytes);
    status = ti_embeddings_set_rows(e, &met, word, k, (int)t[0]->dims[0], (int)t[0]->dims[1], rows);
    ti_free(rows);
    if (status < 0)
      return ti_fail(error, status, "%s: %s", path, met.text);
    for (int kind = 1; kind < KINDS; kind++) {
      float **moments = kind == 1 ? m : v;

      grown = ti_realloc_array(*moments, *count + (size_t)t[0]->count, sizeof(*grown));
      if (!grown)
        return ti_fail_nomem(error, (*count + (size_t)t[0]->count) * sizeof(*grown), "moments");
      *moments = grown;
      memcpy(grown + *count, t[kind]->data, t[kind]->bytes);
      if ((status = check_moments(error, path, t[kind]->name, grown + *count,
                                  (size_t)t[kind]->count, kind == 2)) < 0)
        return status;
    }
    *count += (size_t)t[0]->count;
  }
  return found ? TEXTINV_OK
               : ti_fail(error, TEXTINV_E_FORMAT, "%s: tensor rows.0.%s is missing", path, word);
}

static textinv_status read_words(ti_error *error, const char *path, const ti_safetensors *file,
                                 const char *words, textinv_embeddings *e, float **m, float **v)
{
  size_t count = 0;

  while (*words) {
    const size_t len = strcspn(words, " ");
    char word[257];
    ti_error met;
    textinv_status status;

    if (len < 1 || len > 255)
      return ti_fail(error, TEXTINV_E_FORMAT, "%s: metadata \"words\" is damaged", path);
    ti_format(word, sizeof(word), "%.*s", (int)len, words);
    if (ti_check_word(&met, word) < 0)
      return ti_fail(error, TEXTINV_E_FORMAT, "%s: %s", path, met.text);
    if (ti_embeddings_find(e, word))
      return ti_fail(error, TEXTINV_E_FORMAT, "%s: word \"%s\" stands twice", path, word);
    if ((status = read_word(error, path, file, word, e, m, v, &count)) < 0)
      return status;
    words += len + (words[len] == ' ');
  }
  return count ? TEXTINV_OK : ti_fail(error, TEXTINV_E_FORMAT, "%s holds no words", path);
}

static textinv_status decode(ti_error *error, const char *path, const ti_safetensors *file,
                             textinv_embeddings *e, float **m, float **v, ti_adamw *adamw,
                             ti_checkpoint_info *info)
{
  const char *version = ti_safetensors_metadata(file, "textinv_checkpoint");
  const char *words = ti_safetensors_metadata(file, "words");
  const char *settings = ti_safetensors_metadata(file, "settings");
  const char *sum = ti_safetensors_metadata(file, "checksum");
  const ti_tensor *state = ti_safetensors_find(file, "state");
  const long long step = ti_embedding_parse_step(ti_safetensors_metadata(file, "step"));
  float values[STATE_VALUES];
  char expected[17];
  ti_error met;
  textinv_status status;

  if (!version)
    return ti_fail(error, TEXTINV_E_FORMAT,
                   "%s is no checkpoint: metadata \"textinv_checkpoint\" is missing", path);
  if (strcmp(version, VERSION))
    return ti_fail(error, TEXTINV_E_VERSION,
                   "%s is a checkpoint of version %s; this library reads %s", path, version,
                   VERSION);
  if (!words || !settings || !sum || !state || state->dtype != TI_FILE_F32 ||
      state->count != STATE_VALUES || step < 0 || strlen(settings) >= sizeof(info->settings))
    return ti_fail(
      error, TEXTINV_E_FORMAT,
      "%s: words, settings, checksum, step or state of the checkpoint is missing or damaged", path);
  memcpy(values, state->data, sizeof(values));
  *adamw = (ti_adamw){ values[0], values[1], values[2], values[3], values[4] };
  info->step = (uint64_t)step;
  info->loss_average = values[5];
  if (ti_check_adamw(&met, adamw, 1) < 0)
    return ti_fail(error, TEXTINV_E_FORMAT, "%s: %s", path, met.text);
  if (!isfinite(info->loss_average))
    return ti_fail(error, TEXTINV_E_NONFINITE, "%s: the average of the loss is %g", path,
                   (double)info->loss_average);
  strcpy(info->settings, settings);
  if ((status = read_words(error, path, file, words, e, m, v)) < 0)
    return status;
  ti_format(expected, sizeof(expected), "%016llx",
            (unsigned long long)checksum(e, *m, *v, values, info->step, info->settings));
  if (strcmp(sum, expected))
    return ti_fail(error, TEXTINV_E_FORMAT, "%s is damaged: checksum %.16s where %s is written",
                   path, expected, sum);
  return TEXTINV_OK;
}

textinv_status ti_checkpoint_decode(ti_error *error, const char *path, const ti_safetensors *file,
                                    textinv_embeddings *e, float **m, float **v, ti_adamw *adamw,
                                    ti_checkpoint_info *info)
{
  textinv_status status;

  *m = *v = NULL;
  memset(info, 0, sizeof(*info));
  status = decode(error, path, file, e, m, v, adamw, info);
  if (status < 0) {
    ti_free(*m);
    ti_free(*v);
    *m = *v = NULL;
  }
  return status;
}

static textinv_status read_from(ti_error *error, const char *path, const void *bytes, size_t size,
                                textinv_embeddings *e, float **m, float **v, ti_adamw *adamw,
                                ti_checkpoint_info *info)
{
  ti_safetensors *file;
  textinv_status status = bytes ? ti_safetensors_parse(&file, error, path, bytes, size)
                                : ti_safetensors_open(&file, error, path);

  *m = *v = NULL;
  if (status < 0)
    return status;
  status = ti_checkpoint_decode(error, path, file, e, m, v, adamw, info);
  ti_safetensors_close(file);
  return status;
}

textinv_status ti_checkpoint_read(ti_error *error, const char *path, textinv_embeddings *e,
                                  float **m, float **v, ti_adamw *adamw, ti_checkpoint_info *info)
{
  return read_from(error, path, NULL, 0, e, m, v, adamw, info);
}

textinv_status ti_checkpoint_check(ti_error *error, const char *path, const void *bytes,
                                   size_t size)
{
  textinv_embeddings *e = ti_calloc(1, sizeof(*e));
  float *m, *v;
  ti_adamw adamw;
  ti_checkpoint_info info;
  textinv_status status;

  if (!e)
    return ti_fail_nomem(error, sizeof(*e), "a checkpoint");
  status = read_from(error, path, bytes, size, e, &m, &v, &adamw, &info);
  ti_free(m);
  ti_free(v);
  textinv_embeddings_free(e);
  return status;
}
