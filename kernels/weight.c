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

static textinv_status fill_plain(ti_error *error, void *out, const ti_weight *w, void *user)
{
  (void)error;
  ti_convert(*(const ti_dtype *)user, out, w->dtype, w->data, w->count);
  return TEXTINV_OK;
}

textinv_status ti_weight_plain(ti_error *error, const void **out, ti_weight *w, ti_dtype dtype)
{
  static const char *const keys[] = { "plain f32", "plain f16", "plain bf16" };

  if (w->dtype == dtype && (uintptr_t)w->data % ti_dtype_size(dtype) == 0) {
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
}
