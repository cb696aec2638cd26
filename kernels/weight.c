/* Packed forms of frozen weights, built once and shared by every plan. */
#include "weight.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc.h"

struct ti_packed {
  ti_packed *next;
  char key[96];
  void *data;
};

struct ti_joined {
  ti_joined *next;
  ti_weight weight;
};

/* packing is rare (once a weight and form), so one lock serves all weights */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const ti_packed *find(const ti_weight *w, const char *key)
{
  for (const ti_packed *p = w->packed; p; p = p->next) {
    if (!strcmp(p->key, key))
      return p;
  }
  return NULL;
}

/* the packed form is read from now on: the file's pages need not stay in memory beside it */
static void leave_pages(const ti_weight *w)
{
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), data = (uintptr_t)w->data;
  const uintptr_t from = (data + page - 1) / page * page;
  const uintptr_t to = (data + w->count * ti_dtype_size(w->dtype)) / page * page;

  for (int i = 0; i < w->num_parts; i++)
    leave_pages(w->parts[i]);
  if (w->mapped && from < to)
    (void)madvise((void *)from, to - from, MADV_DONTNEED);
}

textinv_status ti_weight_pack(ti_error *error, const void **out, ti_weight *w, const char *key,
                              size_t bytes, ti_pack_fn fill, void *user)
{
  textinv_status status = TEXTINV_OK;
  const ti_packed *have;
  ti_packed *p = NULL;

  *out = NULL;
  if (strlen(key) >= sizeof(p->key))
    return ti_fail(error, TEXTINV_E_LIMIT, "%s: key of a packed form is too long: %s", w->name,
                   key);
  pthread_mutex_lock(&lock);
  have = find(w, key);
  if (!have) {
    p = ti_calloc(1, sizeof(*p));
    if (!p || !(p->data = ti_calloc(bytes, 1))) {
      status = ti_fail_nomem(error, bytes, w->name);
      goto out;
    }
    strcpy(p->key, key);
    if ((status = fill(error, p->data, w, user)) < 0)
      goto out;
    leave_pages(w);
    p->next = w->packed;
    w->packed = p;
    have = p;
    p = NULL;
  }
  *out = have->data;
out:
  pthread_mutex_unlock(&lock);
  if (p)
    ti_free(p->data);
  ti_free(p);
  return status;
}

static ti_weight *find_joined(const ti_weight *first, ti_weight *const *parts, int count)
{
  for (ti_joined *j = first->joined; j; j = j->next) {
    int same = j->weight.num_parts == count;

    for (int i = 0; same && i < count; i++)
      same = j->weight.parts[i] == parts[i];
    if (same)
      return &j->weight;
  }
  return NULL;
}

textinv_status ti_weight_join(ti_error *error, ti_weight **out, ti_weight *const *parts, int count)
{
  ti_weight *first = parts[0];
  ti_weight w = { .name = first->name, .rank = first->rank, .dtype = first->dtype };
  textinv_status status = TEXTINV_OK;
  ti_joined *j = NULL;

  *out = NULL;
  memcpy(w.dims, first->dims, sizeof(w.dims));
  w.dims[0] = 0;
  w.num_parts = count;
  for (int i = 0; i < count; i++) {
    const ti_weight *part = w.parts[i] = parts[i];

    if (part->rank != first->rank)
      return ti_fail(error, TEXTINV_E_SHAPE, "%s: rank %d where %d is needed, as of %s", part->name,
                     part->rank, first->rank, first->name);
    for (int k = 0; k < w.rank; k++) {
      if (part->dims[k] != first->dims[k])
        return ti_fail(error, TEXTINV_E_SHAPE, "%s: width %d where %d is needed, as of %s",
                       part->name, part->dims[k], first->dims[k], first->name);
    }
    w.count += part->count;
    w.dims[0] += part->dims[0];
  }
  pthread_mutex_lock(&lock);
  *out = find_joined(first, parts, count);
  if (!*out && !(j = ti_calloc(1, sizeof(*j)))) {
    status = ti_fail_nomem(error, sizeof(*j), first->name);
  } else if (!*out) {
    j->weight = w;
    j->next = first->joined;
    first->joined = j;
    *out = &j->weight;
  }
  pthread_mutex_unlock(&lock);
  return status;
}

void ti_weight_values(void *out, ti_dtype dtype, const ti_weight *w)
{
  if (w->data)
    ti_convert(dtype, out, w->dtype, w->data, w->count);
  for (int i = 0; i < w->num_parts; i++) {
    ti_weight_values(out, dtype, w->parts[i]);
    out = (char *)out + w->parts[i]->count * ti_dtype_size(dtype);
  }
}

static textinv_status fill_plain(ti_error *error, void *out, const ti_weight *w, void *user)
{
  (void)error;
  ti_weight_values(out, *(const ti_dtype *)user, w);
  return TEXTINV_OK;
}

textinv_status ti_weight_plain(ti_error *error, const void **out, ti_weight *w, ti_dtype dtype)
{
  static const char *const keys[] = { "plain f32", "plain f16", "plain bf16" };

  if (w->data && w->dtype == dtype && (uintptr_t)w->data % ti_dtype_size(dtype) == 0) {
    *out = w->data;
    return TEXTINV_OK;
  }
  return ti_weight_pack(error, out, w, keys[dtype], w->count * ti_dtype_size(dtype), fill_plain,
                        &dtype);
}

void ti_weight_drop(ti_weight *w)
{
  while (w->packed) {
    ti_packed *p = w->packed;

    w->packed = p->next;
    ti_free(p->data);
    ti_free(p);
  }
  while (w->joined) {
    ti_joined *j = w->joined;

    w->joined = j->next;
    ti_weight_drop(&j->weight);
    ti_free(j);
  }
}
