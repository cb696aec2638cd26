/* The text encoder of latent diffusion (Rombach et al. 2022): diffusers' LDMBertModel. */
#ifndef TI_BERT_TEXT_H
#define TI_BERT_TEXT_H

#include "text_embedding.h"

typedef struct ti_bert_text_config {
  int inner, heads, head_width; /* heads need not be as wide together as the states */
} ti_bert_text_config;

textinv_status ti_bert_text_read(ti_text_config *out, ti_bert_text_config *bert, ti_error *error,
                                 const ti_json *json);

/* states [n, 1, tokens, width] after layers - skip layers and the final norm */
ti_val ti_bert_text(const ti_net *net, const ti_text_config *c, const ti_bert_text_config *bert,
                    ti_val ids, ti_val rows, int skip);

#endif /* TI_BERT_TEXT_H */
