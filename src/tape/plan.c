/*
 * The plan: which records are needed, how long each value lives, and where it lies in the arena.
 *
 * A value lives from the record that writes it to the last one that reads it; inputs from the
 * start, outputs to the end, and what is made of constants alone to the end, too, so that a later
 * run need not make it again. An operation that may work in place takes over the storage of an
 * input that dies with it. Storages are then placed largest first, each at the lowest offset that
 * is free during its life.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "tape.h"

enum { ALIGNMENT = 64 };

typedef struct storage {
  size_t bytes, offset;
  int first, last; /* records; first > last = unused */
  ti_val value;    /* base value */
} storage;

/* drop records none of whose outputs is used */
static textinv_status drop_dead(ti_tape *t)
{
  unsigned char *used = ti_calloc((size_t)t->num_values, 1);
  int kept = t->num_records;

  if (!used)
    return ti_fail_nomem(t->error, (size_t)t->num_values, "the plan");
  for (int v = 0; v < t->num_values; v++)
    used[v] = (unsigned char)t->values[v].is_output;
  for (int i = t->num_records - 1; i >= 0; i--) {
    const ti_record r = t->records[i];
    int live = 0;

    for (int k = 0; k < TI_MAX_OUT; k++)
      live |= r.out[k] != TI_NONE && used[t->values[r.out[k]].base];
    if (!live)
      continue;
    for (int k = 0; k < TI_MAX_IN; k++) {
      if (r.in[k] != TI_NONE)
        used[t->values[r.in[k]].base] = 1;
    }
    t->records[--kept] = r;
  }
  t->num_records -= kept;
  memmove(t->records, t->records + kept, (size_t)t->num_records * sizeof(*t->records));
  ti_free(used);
  return TEXTINV_OK;
}

/* records that read constants alone come first, in their order */
static textinv_status hoist_constants(ti_tape *t)
{
  const size_t bytes = (size_t)t->num_records * sizeof(ti_record);
  unsigned char *constant = ti_calloc((size_t)t->num_values, 1);
  ti_record *rest = ti_calloc(bytes ? bytes : 1, 1);
  int num_rest = 0;

  if (!constant || !rest) {
    ti_free(constant);
    ti_free(rest);
    return ti_fail_nomem(t->error, bytes, "the plan");
  }
  for (int v = 0; v < t->num_values; v++)
    constant[v] = (unsigned char)t->values[v].is_constant;
  t->num_constant = 0;
  for (int i = 0; i < t->num_records; i++) {
    const ti_record r = t->records[i];
    int all = 1;

    for (int k = 0; k < TI_MAX_IN; k++)
      all &= r.in[k] == TI_NONE || constant[t->values[r.in[k]].base];
    if (!all) {
      rest[num_rest++] = r;
      continue;
    }
    for (int k = 0; k < TI_MAX_OUT; k++) {
      if (r.out[k] != TI_NONE)
        constant[t->values[r.out[k]].base] = 1;
    }
    t->records[t->num_constant++] = r;
  }
  memcpy(t->records + t->num_constant, rest, (size_t)num_rest * sizeof(*rest));
  ti_free(constant);
  ti_free(rest);
  return TEXTINV_OK;
}

/* which inputs out[0] may overwrite: a bit for each */
static unsigned in_place_inputs(const ti_record *r)
{
  switch (r->op) {
  case TI_OP_CONV2D:
  case TI_OP_LINEAR:
  case TI_OP_CONV2D_BWD:
  case TI_OP_LINEAR_BWD: return 1u << 1; /* the residual, the other gradient */
  case TI_OP_GROUPNORM_BWD:
  case TI_OP_LAYERNORM_BWD:
  case TI_OP_ADD: return 1u << 0 | 1u << 1;
  case TI_OP_GROUPNORM:
  case TI_OP_LAYERNORM:
  case TI_OP_ACTIVATION:
  case TI_OP_ACTIVATION_BWD: return 1u << 0;
  default: return 0;
  }
}

/* the storage that value v lies in, after merges */
static ti_val root(const ti_val *merged, ti_val v)
{
  while (merged[v] != v)
    v = merged[v];
  return v;
}

static void set_lives(const ti_tape *t, storage *all)
{
  for (int v = 0; v < t->num_values; v++) {
    const ti_value *value = &t->values[v];

    all[v] = (storage){ value->bytes, 0, value->is_input ? -1 : t->num_records,
                        value->is_output ? t->num_records : -1, v };
  }
  for (int i = 0; i < t->num_records; i++) {
    const ti_record *r = &t->records[i];

    for (int k = 0; k < TI_MAX_OUT + TI_MAX_IN; k++) {
      const ti_val v = k < TI_MAX_OUT ? r->out[k] : r->in[k - TI_MAX_OUT];

      if (v == TI_NONE)
        continue;
      storage *s = &all[t->values[v].base];

      if (i < s->first)
        s->first = i;
      if (i > s->last)
        s->last = i;
      /* made once, read in every run */
      if (s->first < t->num_constant && i >= t->num_constant &&
          (!t->values[s->value].is_input || t->values[s->value].is_constant))
        s->last = t->num_records;
    }
  }
  /* written before every run, even where nothing reads it */
  for (int v = 0; v < t->num_values; v++) {
    if (t->values[v].is_input && !t->values[v].is_constant && all[v].last < t->num_constant)
      all[v].last = t->num_constant;
  }
}

/* how often record r mentions the storage of v */
static int mentions(const ti_tape *t, const ti_val *merged, const ti_record *r, ti_val v)
{
  int count = 0;

  for (int k = 0; k < TI_MAX_IN; k++)
    count += r->in[k] != TI_NONE && root(merged, t->values[r->in[k]].base) == v;
  return count;
}

static void merge_in_place(const ti_tape *t, storage *all, ti_val *merged)
{
  for (int i = 0; i < t->num_records; i++) {
    const ti_record *r = &t->records[i];
    const unsigned allowed = in_place_inputs(r);

    for (int k = 0; k < TI_MAX_IN && allowed; k++) {
      if (!(allowed >> k & 1) || r->in[k] == TI_NONE)
        continue;
      const ti_val y = t->values[r->out[0]].base;
      const ti_val x = root(merged, t->values[r->in[k]].base);

      /* x must end here, be mentioned once, and y must begin here */
      if (all[x].last != i || all[y].first != i || all[x].bytes != all[y].bytes ||
          mentions(t, merged, r, x) != 1)
        continue;
      merged[y] = x;
      all[x].last = all[y].last;
      break;
    }
  }
}

static int by_size(const void *a, const void *b)
{
  const storage *p = *(storage *const *)a, *q = *(storage *const *)b;

  if (p->bytes != q->bytes)
    return p->bytes < q->bytes ? 1 : -1;
  return p->value < q->value ? -1 : p->value > q->value; /* a fixed order */
}

/* placed[0..count) is sorted by offset */
static size_t place(storage **placed, int count, storage *s)
{
  size_t offset = 0;
  int at = count;

  for (int i = 0; i < count; i++) {
    const storage *p = placed[i];

    if (p->last < s->first || p->first > s->last)
      continue;
    if (p->offset >= offset + s->bytes)
      break;
    if (p->offset + p->bytes > offset)
      offset = p->offset + p->bytes;
  }
  s->offset = offset;
  while (at > 0 && placed[at - 1]->offset > offset) {
    placed[at] = placed[at - 1];
    at--;
  }
  placed[at] = s;
  return offset + s->bytes;
}

textinv_status ti_tape_plan(ti_tape *t)
{
  const size_t n = (size_t)t->num_values;
  storage *all = NULL, **order = NULL, **placed = NULL;
  ti_val *merged = NULL;
  int count = 0;

  if (t->status < 0)
    return t->status;
  if ((t->status = drop_dead(t)) < 0 || (t->status = hoist_constants(t)) < 0)
    return t->status;
  all = ti_calloc(n, sizeof(*all));
  order = ti_calloc(n, sizeof(*order));
  placed = ti_calloc(n, sizeof(*placed));
  merged = ti_calloc(n, sizeof(*merged));
  if (!all || !order || !placed || !merged) {
    t->status = ti_fail_nomem(t->error, n * sizeof(*all), "the plan");
    goto out;
  }
  set_lives(t, all);
  for (int v = 0; v < t->num_values; v++)
    merged[v] = v;
  merge_in_place(t, all, merged);

  for (int v = 0; v < t->num_values; v++) {
    if (merged[v] != v || all[v].first > all[v].last || t->values[v].base != v)
      continue;
    all[v].bytes = (all[v].bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    order[count++] = &all[v];
  }
  qsort(order, (size_t)count, sizeof(*order), by_size);
  t->arena_bytes = 0;
  for (int i = 0; i < count; i++) {
    const size_t end = place(placed, i, order[i]);

    if (end > t->arena_bytes)
      t->arena_bytes = end;
  }
  for (int v = 0; v < t->num_values; v++)
    t->values[v].offset = all[root(merged, t->values[v].base)].offset;
out:
  ti_free(all);
  ti_free(order);
  ti_free(placed);
  ti_free(merged);
  return t->status;
}
