/* What all text encoders begin with: the rows of ids in a table, and learnt positions. */
#ifndef TI_TEXT_EMBEDDING_H
#define TI_TEXT_EMBEDDING_H

#include "weights.h"

typedef struct ti_text_config {
  int vocab, width, layers, positions;
  const char *table, *places; /* the weights of rows and positions, by name */
} ti_text_config;

/* of ids [n, 1, tokens, 1]; rows [num_rows, width] are the new words, TI_NONE: there are none */
ti_val ti_text_embedding(const ti_net *net, const ti_text_config *c, ti_val ids, ti_val rows);

#endif /* TI_TEXT_EMBEDDING_H */
