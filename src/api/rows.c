/* The new words as one text encoder of a model sees them: ids behind its table, and their rows. */
#include <string.h>

#include "alloc.h"
#include "api.h"

void ti_row_table_update(ti_row_table *t, const textinv_embeddings *embeddings, int encoder)
{
  float *row = t->rows;

  for (size_t i = 0; i < t->num_words; i++) {
    const ti_word *w = &embeddings->words[i];
    const size_t count = (size_t)w->vectors * (size_t)t->dim;

    /* a word of another width has zeros here, and encode refuses it */
    if (w->dim[encoder] == t->dim)
      memcpy(row, w->rows[encoder], count * sizeof(*row));
    row += count;
  }
}

textinv_status ti_row_table_init(ti_row_table *out, ti_error *error, const textinv_model *model,
                                 int encoder, const textinv_embeddings *embeddings)
{
  const ti_text_config *c = &model->encoders[encoder].config;

  memset(out, 0, sizeof(*out));
  out->dim = c->width;
  out->vocab = c->vocab;
  out->num_words = embeddings ? embeddings->count : 0;
  out->words = ti_calloc(out->num_words, sizeof(*out->words));
  if (!out->words)
    return ti_fail_nomem(error, out->num_words * sizeof(*out->words), "words");
  for (size_t i = 0; i < out->num_words; i++) {
    const ti_word *w = &embeddings->words[i];

    out->words[i] = (ti_prompt_word){ w->name, (uint32_t)(out->vocab + out->num_rows),
                                      (uint32_t)w->vectors };
    out->num_rows += w->vectors;
  }
  out->rows = ti_calloc((size_t)out->num_rows * (size_t)out->dim, sizeof(*out->rows));
  if (!out->rows) {
    ti_row_table_free(out);
    return ti_fail_nomem(error, (size_t)out->num_rows * (size_t)out->dim * 4, "vectors");
  }
  if (embeddings)
    ti_row_table_update(out, embeddings, encoder);
  return TEXTINV_OK;
}

void ti_row_table_free(ti_row_table *t)
{
  ti_free(t->words);
  ti_free(t->rows);
  memset(t, 0, sizeof(*t));
}

textinv_status ti_row_table_encode(const ti_row_table *t, ti_error *error,
                                   const textinv_model *model, int encoder,
                                   const textinv_embeddings *embeddings, const char *text,
                                   int32_t *ids, float *weights, int32_t *eos, size_t *truncated)
{
  const textinv_status status = ti_prompt_fit(model->encoders[encoder].tokenizer->t, error,
                                              t->words, t->num_words, text, model->tokens, ids,
                                              weights, truncated, eos);

  if (status < 0)
    return status;
  for (int i = 0; i < model->tokens; i++) {
    for (size_t k = 0; ids[i] >= t->vocab && k < t->num_words; k++) {
      const ti_word *w = &embeddings->words[k];

      if ((uint32_t)ids[i] >= t->words[k].first_id &&
          (uint32_t)ids[i] < t->words[k].first_id + t->words[k].num_vectors &&
          w->dim[encoder] != t->dim)
        return ti_fail(
          error, TEXTINV_E_SHAPE,
          "word \"%s\" has vectors of width %d for text encoder %d; the model needs %d", w->name,
          w->dim[encoder], encoder, t->dim);
    }
  }
  return TEXTINV_OK;
}
