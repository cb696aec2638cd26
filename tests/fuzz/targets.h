/*
 * What is fuzzed: each reader of files, on bytes in memory. A target reads all that a successful
 * result says is there, so that a sanitizer sees it.
 */
#ifndef TI_FUZZ_TARGETS_H
#define TI_FUZZ_TARGETS_H

#include <string.h>

#include "alloc.h"
#include "api.h"
#include "clip_image.h"
#include "embedding_file.h"
#include "embedding_image.h"
#include "image.h"
#include "json.h"
#include "safetensors.h"
#include "sampler.h"
#include "schedule.h"
#include "single_file.h"
#include "torch_file.h"

static volatile unsigned char fuzz_sink;

static inline void fuzz_touch(const void *bytes, size_t size)
{
  const unsigned char *p = bytes;
  unsigned char sum = 0;

  for (size_t i = 0; i < size; i++)
    sum ^= p[i];
  fuzz_sink = sum;
}

static inline void fuzz_touch_tensor(const ti_tensor *t)
{
  fuzz_touch(t->name, strlen(t->name));
  fuzz_touch(t->dtype_name, strlen(t->dtype_name));
  fuzz_touch(t->data, t->bytes);
}

/* a failure has a message, and a success has none */
static inline void fuzz_check(textinv_status status, const ti_error *error)
{
  if ((status < 0) != (*error->text != '\0'))
    __builtin_trap();
}

static inline void fuzz_safetensors(const uint8_t *bytes, size_t size)
{
  ti_error error = { "" };
  ti_safetensors *file;
  const ti_key_value *pairs;
  size_t count;
  const textinv_status status = ti_safetensors_parse(&file, &error, "fuzz", bytes, size);

  fuzz_check(status, &error);
  if (status < 0)
    return;
  for (size_t i = 0; i < ti_safetensors_count(file); i++) {
    const ti_tensor *t = ti_safetensors_tensor(file, i);

    fuzz_touch_tensor(t);
    if (ti_safetensors_find(file, t->name) != t)
      __builtin_trap();
  }
  pairs = ti_safetensors_pairs(file, &count);
  for (size_t i = 0; i < count; i++) {
    if (ti_safetensors_metadata(file, pairs[i].key) != pairs[i].value)
      __builtin_trap();
    fuzz_touch(pairs[i].value, strlen(pairs[i].value));
  }
  ti_safetensors_close(file);
}

static inline void fuzz_json(const uint8_t *bytes, size_t size)
{
  ti_error error = { "" };
  ti_json json;
  const textinv_status status = ti_json_parse(&json, &error, "fuzz", (const char *)bytes, size);
  int ints[8], count = 4, value;
  double floats[8], real;
  const char *strings[8], *string;

  fuzz_check(status, &error);
  if (status < 0)
    return;
  ti_json_int(&json, &error, "i", 1, 1, 100, &value);
  ti_json_float(&json, &error, "f", 0.5, 0.0, 1.0, &real);
  ti_json_bool(&json, &error, "b", 1, &value);
  if (ti_json_string(&json, &error, "s", "x", &string) >= 0)
    fuzz_touch(string, strlen(string));
  ti_json_ints(&json, &error, "n", 1, 1, 100, ints, 8, &count);
  ti_json_floats(&json, &error, "m", floats, 8, &count);
  if (ti_json_strings(&json, &error, "t", strings, 8, &count) >= 0) {
    for (int i = 0; i < count; i++)
      fuzz_touch(strings[i], strlen(strings[i]));
  }
  ti_json_close(&json);
}

static inline void fuzz_image(const uint8_t *bytes, size_t size)
{
  ti_error error = { "" };
  ti_image image;
  const textinv_status status = ti_image_decode(&image, &error, "fuzz", bytes, size);
  const char *text;
  size_t text_length;
  int is_latin1;

  fuzz_check(status, &error);
  ti_image_parameters(&text, &text_length, &is_latin1, bytes, size);
  if (text)
    fuzz_touch(text, text_length);
  if (status >= 0) {
    char *hidden;
    size_t length;

    fuzz_touch(image.pixels, 3 * (size_t)image.width * (size_t)image.height);
    fuzz_check(ti_embedding_image_reveal(&hidden, &length, &error, "fuzz", &image), &error);
    if (hidden)
      fuzz_touch(hidden, length);
    ti_free(hidden);
  }
  ti_image_free(&image);
}

static inline void fuzz_torch(const uint8_t *bytes, size_t size)
{
  ti_error error = { "" };
  ti_torch_file *file;
  textinv_status status = ti_torch_parse(&file, &error, "fuzz", bytes, size);

  fuzz_check(status, &error);
  if (status < 0)
    return;
  status = ti_torch_load_all(file, &error);
  fuzz_check(status, &error);
  for (size_t i = 0; i < ti_torch_count(file); i++)
    fuzz_touch_tensor(ti_torch_tensor(file, i));
  ti_torch_close(file);
}

static inline void fuzz_pickle(const uint8_t *bytes, size_t size)
{
  ti_error error = { "" };
  ti_pickle *pickle;
  const textinv_status status = ti_pickle_parse(&pickle, &error, "fuzz", bytes, size);

  fuzz_check(status, &error);
  if (status >= 0)
    ti_pickle_get(ti_pickle_root(pickle), "state_dict");
  ti_pickle_free(pickle);
}

/* words into memory in one format, and from there */
static inline void fuzz_words(textinv_session *session, const textinv_embeddings *words,
                              textinv_format format)
{
  textinv_embeddings *back;
  size_t size, again;
  void *bytes;

  if (textinv_embeddings_save_memory(session, NULL, 0, &size, words, format, NULL) < 0 ||
      !(bytes = ti_calloc(size, 1)))
    return;
  if (textinv_embeddings_new(&back, session) >= 0) {
    const textinv_status status = textinv_embeddings_save_memory(session, bytes, size, &again,
                                                                 words, format, NULL);

    if (status >= 0 && again != size)
      __builtin_trap();
    if (status >= 0)
      textinv_embeddings_load_memory(session, back, NULL, bytes, size, "fuzz", NULL);
    textinv_embeddings_free(back);
  }
  ti_free(bytes);
}

/* as a host calls it; decoded: what the file's reader says, which is asked first */
static inline void fuzz_load_memory(const uint8_t *bytes, size_t size, textinv_status decoded)
{
  textinv_session *session = ti_calloc(1, sizeof(*session));
  textinv_embeddings *words = ti_calloc(1, sizeof(*words));

  if (session && words) {
    const textinv_status status = textinv_embeddings_load_memory(session, words, NULL, bytes, size,
                                                                 "fuzz", NULL);

    fuzz_check(status, &session->error);
    if (decoded < 0 && decoded != TEXTINV_E_NOMEM && status != decoded)
      __builtin_trap();
    for (textinv_format f = TEXTINV_FORMAT_DIFFUSERS; f <= TEXTINV_FORMAT_SDXL && status >= 0; f++)
      fuzz_words(session, words, f);
  }
  textinv_embeddings_free(words);
  ti_free(session);
}

/* what a picture holds; in the picture itself a check sum would stop nearly every change */
static inline void fuzz_embedding_json(const uint8_t *bytes, size_t size)
{
  ti_error error = { "" };
  ti_tensor *tensors;
  ti_json json;
  size_t count;
  textinv_status status = ti_json_parse(&json, &error, "fuzz", (const char *)bytes, size);

  fuzz_check(status, &error);
  if (status < 0)
    return;
  status = ti_embedding_json_tensors(&tensors, &count, &error, "fuzz", json.root);
  fuzz_check(status, &error);
  for (size_t i = 0; i < count; i++)
    fuzz_touch_tensor(tensors + i);
  ti_embedding_json_free(tensors, count);
  ti_json_close(&json);
}

static inline void fuzz_embedding(const uint8_t *bytes, size_t size)
{
  ti_error error = { "" };
  ti_embedding_file file;
  const textinv_status status = ti_embedding_file_decode(&file, &error, "fuzz", bytes, size);

  fuzz_check(status, &error);
  for (size_t i = 0; i < file.count; i++) {
    const ti_embedding_entry *e = file.entries + i;

    fuzz_touch(e->rows, (size_t)e->num_vectors * (size_t)e->dim * sizeof(float));
    if (e->word)
      fuzz_touch(e->word, strlen(e->word));
  }
  for (size_t i = 0; i < file.num_metadata; i++) {
    fuzz_touch(file.metadata[i].key, strlen(file.metadata[i].key));
    fuzz_touch(file.metadata[i].value, strlen(file.metadata[i].value));
  }
  ti_embedding_file_free(&file);
  fuzz_load_memory(bytes, size, status);
  if (size && *bytes == '{')
    fuzz_embedding_json(bytes, size);
}

static inline void fuzz_checkpoint(const uint8_t *bytes, size_t size)
{
  ti_error error = { "" };
  ti_safetensors *file;
  textinv_embeddings *e;
  float *m, *v;
  ti_adamw adamw;
  ti_checkpoint_info info;
  textinv_status status = ti_safetensors_parse(&file, &error, "fuzz", bytes, size);

  fuzz_check(status, &error);
  if (status < 0)
    return;
  e = ti_calloc(1, sizeof(*e));
  if (e) {
    status = ti_checkpoint_decode(&error, "fuzz", file, e, &m, &v, &adamw, &info);
    fuzz_check(status, &error);
    if (status >= 0) {
      fuzz_touch(m, textinv_embeddings_num_values(e) * sizeof(*m));
      fuzz_touch(v, textinv_embeddings_num_values(e) * sizeof(*v));
      fuzz_touch(info.settings, strlen(info.settings));
    }
    ti_free(m);
    ti_free(v);
  }
  textinv_embeddings_free(e);
  ti_safetensors_close(file);
}

static inline void fuzz_schedule(const uint8_t *bytes, size_t size)
{
  ti_error error = { "" };
  ti_json json;
  ti_schedule schedule;
  textinv_status status = ti_json_parse(&json, &error, "fuzz", (const char *)bytes, size);

  fuzz_check(status, &error);
  if (status < 0)
    return;
  status = ti_schedule_read(&schedule, &error, &json, NULL, NULL);
  fuzz_check(status, &error);
  for (int i = 0; i < schedule.timesteps && status >= 0; i++) {
    const float a = schedule.alphas_cumprod[i], plain = schedule.alphas_cumprod_plain[i];

    if (!(a >= 0.0f && a <= 1.0f && plain > 0.0f && plain <= 1.0f))
      __builtin_trap();
  }
  for (int kind = 0; kind < 8 && status >= 0; kind++) {
    ti_error refused = { "" };
    ti_sampler *sampler;

    fuzz_check(ti_sampler_new(&sampler, &refused, &schedule, kind, 5, 1.0f, 1), &refused);
    ti_sampler_free(sampler);
  }
  ti_schedule_free(&schedule);
  ti_json_close(&json);
}

/* what the settings make of a small picture, seen by a model of 8 x 8 pixels */
static inline void fuzz_clip_image(const uint8_t *bytes, size_t size)
{
  static uint8_t pixels[5 * 3 * 3];
  const ti_image picture = { 5, 3, pixels };
  ti_error error = { "" };
  ti_clip_image settings;
  float values[3 * 8 * 8];
  ti_json json;
  textinv_status status = ti_json_parse(&json, &error, "fuzz", (const char *)bytes, size);

  fuzz_check(status, &error);
  if (status < 0)
    return;
  status = ti_clip_image_read(&settings, &error, &json, 8);
  fuzz_check(status, &error);
  ti_json_close(&json);
  if (status < 0)
    return;
  status = ti_clip_image_values(values, &error, &settings, &picture, 4);
  fuzz_check(status, &error);
  if (status >= 0)
    fuzz_touch(values, sizeof(values));
}

static inline void fuzz_single(const uint8_t *bytes, size_t size)
{
  static const char *const parts[] = { "unet", "vae", "text_encoder", "text_encoder_2",
                                       "scheduler" };
  ti_error error = { "" };
  ti_single_file *file;
  ti_json json;
  textinv_status status = ti_single_file_parse(&file, &error, "fuzz", bytes, size);

  fuzz_check(status, &error);
  if (status < 0)
    return;
  fuzz_check(ti_single_file_index(file, &error, &json), &error);
  const int two = json_object_get(json.root, "text_encoder_2") != NULL;

  ti_json_close(&json);
  for (int i = 0; i < 5; i++) {
    ti_error refused = { "" };
    ti_tensor_list list;

    if (i == 3 && !two)
      continue;
    status = ti_single_file_config(file, &refused, parts[i], &json);
    fuzz_check(status, &refused);
    ti_json_close(&json);
    if (i == 4)
      break;
    status = ti_single_file_tensors(file, &refused, parts[i], &list);
    fuzz_check(status, &refused);
    for (size_t k = 0; k < list.count; k++)
      fuzz_touch_tensor(list.items + k);
    ti_tensor_list_free(&list);
  }
  fuzz_touch(ti_single_file_pad(file, two), 1);
  ti_single_file_close(file);
}

#endif /* TI_FUZZ_TARGETS_H */
