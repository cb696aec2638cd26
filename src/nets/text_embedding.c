/* The first layer of a text encoder. */
#include "text_embedding.h"

ti_val ti_text_embedding(const ti_net *net, const ti_text_config *c, ti_val ids, ti_val rows)
{
  ti_weight *table = ti_net_weight(net, c->table, "weight");
  ti_weight *places = ti_net_weight(net, c->places, "weight");

  if (table && (table->rank != 2 || table->dims[0] != c->vocab || table->dims[1] != c->width)) {
    ti_tape_fail(net->t,
                 ti_fail(net->t->error, TEXTINV_E_SHAPE, "%s is [%d, %d]; the config says [%d, %d]",
                         table->name, table->dims[0], table->dims[1], c->vocab, c->width));
    return TI_NONE;
  }
  return ti_embedding(net->t, ids, rows, table, places);
}
