/* Tokenizers: the model's own, and those opened alone. */
#include <string.h>

#include "alloc.h"
#include "api.h"

const textinv_tokenizer *textinv_model_tokenizer(const textinv_model *model, uint32_t encoder)
{
  if (!model || encoder >= (uint32_t)model->num_encoders)
    return NULL;
  return model->encoders[encoder].tokenizer;
}

textinv_status textinv_tokenizer_open(textinv_tokenizer **out, textinv_session *session,
                                      const char *path)
{
  ti_error *error = ti_begin(session);
  textinv_tokenizer *t;
  textinv_status status;

  if (out)
    *out = NULL;
  if ((status = ti_check_null(error, out, "out")) < 0 ||
      (status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, path, "path")) < 0)
    return status;
  t = ti_calloc(1, sizeof(*t));
  if (!t)
    return ti_fail_nomem(error, sizeof(*t), "a tokenizer");
  if ((status = ti_tokenizer_open(&t->t, error, path, NULL)) < 0) {
    ti_free(t);
    return status;
  }
  *out = t;
  return TEXTINV_OK;
}

void textinv_tokenizer_free(textinv_tokenizer *tokenizer)
{
  if (!tokenizer)
    return;
  ti_tokenizer_free(tokenizer->t);
  ti_free(tokenizer);
}

uint32_t textinv_tokenizer_size(const textinv_tokenizer *tokenizer)
{
  return tokenizer ? ti_tokenizer_size(tokenizer->t) : 0;
}

const char *textinv_tokenizer_token(const textinv_tokenizer *tokenizer, uint32_t id)
{
  return tokenizer ? ti_tokenizer_token(tokenizer->t, id) : NULL;
}

textinv_status textinv_tokenizer_encode(textinv_session *session, uint32_t *ids, size_t capacity,
                                        size_t *count, const textinv_tokenizer *tokenizer,
                                        const textinv_embeddings *embeddings, const char *text)
{
  ti_error *error = ti_begin(session);
  const size_t num_words = embeddings ? embeddings->count : 0;
  ti_prompt_word *words = NULL;
  uint32_t *all = NULL, next;
  textinv_status status;

  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, count, "count")) < 0 ||
      (status = ti_check_null(error, tokenizer, "tokenizer")) < 0 ||
      (status = ti_check_null(error, text, "text")) < 0 ||
      (capacity && (status = ti_check_null(error, ids, "ids")) < 0))
    return status;
  *count = 0;
  words = ti_calloc(num_words, sizeof(*words));
  if (!words)
    return ti_fail_nomem(error, num_words * sizeof(*words), "words");
  next = ti_tokenizer_size(tokenizer->t);
  for (size_t i = 0; i < num_words; i++) {
    words[i] = (ti_prompt_word){ embeddings->words[i].name, next,
                                 (uint32_t)embeddings->words[i].vectors };
    next += words[i].num_vectors;
  }
  status = ti_prompt_encode(tokenizer->t, error, words, num_words, text, &all, NULL, count);
  if (status >= 0 && ids)
    memcpy(ids, all, (*count < capacity ? *count : capacity) * sizeof(*ids));
  ti_free(all);
  ti_free(words);
  return status;
}
