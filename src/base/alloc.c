/* Heap and checked sizes. */
#include "alloc.h"

#include <stdlib.h>
#include <string.h>

int ti_mul_size(size_t *out, size_t a, size_t b)
{
  if (__builtin_mul_overflow(a, b, out)) {
    *out = SIZE_MAX;
    return -1;
  }
  return 0;
}

int ti_add_size(size_t *out, size_t a, size_t b)
{
  if (__builtin_add_overflow(a, b, out)) {
    *out = SIZE_MAX;
    return -1;
  }
  return 0;
}

void *ti_calloc(size_t count, size_t size)
{
  size_t bytes;
  void *p;

  if (ti_mul_size(&bytes, count, size) || bytes > SIZE_MAX / 2)
    return NULL;
  if (posix_memalign(&p, 64, bytes ? bytes : 1))
    return NULL;
  memset(p, 0, bytes);
  return p;
}

void *ti_realloc_array(void *p, size_t count, size_t size)
{
  size_t bytes;

  if (ti_mul_size(&bytes, count, size) || bytes > SIZE_MAX / 2)
    return NULL;
  return realloc(p, bytes ? bytes : 1);
}

void ti_free(void *p)
{
  free(p);
}

char *ti_strndup(const char *s, size_t len)
{
  size_t bytes;
  char *copy;

  if (ti_add_size(&bytes, len, 1))
    return NULL;
  copy = malloc(bytes);
  if (!copy)
    return NULL;
  memcpy(copy, s, len);
  copy[len] = '\0';
  return copy;
}

char *ti_strdup(const char *s)
{
  return ti_strndup(s, strlen(s));
}
