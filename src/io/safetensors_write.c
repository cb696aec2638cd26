/*
 * safetensors files, written: '{' first, tensors by the size of their elements (largest first) and
 * then by name, the header padded with spaces to a multiple of 8.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "atomic_file.h"
#include "format.h"
#include "safetensors_header.h"
#include "utf8.h"

typedef struct text {
  char *bytes;
  size_t used, capacity;
  int failed; /* out of memory */
} text;

static void put(text *t, const char *s, size_t len)
{
  if (t->failed)
    return;
  if (len > t->capacity - t->used) {
    size_t wanted;
    char *larger = NULL;

    if (!ti_add_size(&wanted, t->used, len) && !ti_mul_size(&wanted, wanted + 64, 2))
      larger = ti_realloc_array(t->bytes, wanted, 1);
    if (!larger) {
      t->failed = 1;
      return;
    }
    t->bytes = larger;
    t->capacity = wanted;
  }
  memcpy(t->bytes + t->used, s, len);
  t->used += len;
}

static void put_text(text *t, const char *s)
{
  put(t, s, strlen(s));
}

static void put_number(text *t, uint64_t v)
{
  char s[24];

  put(t, s, ti_format(s, sizeof(s), "%llu", (unsigned long long)v));
}

static void put_string(text *t, const char *s)
{
  put_text(t, "\"");
  for (; *s; s++) {
    char escape[8];

    if (*s == '"' || *s == '\\') {
      put(t, "\\", 1);
      put(t, s, 1);
    } else if ((unsigned char)*s < 0x20) {
      put(t, escape, ti_format(escape, sizeof(escape), "\\u00%02x", (unsigned)*s));
    } else {
      put(t, s, 1);
    }
  }
  put_text(t, "\"");
}

static unsigned element_bits(const ti_tensor *t)
{
  unsigned bits = 0;

  ti_safetensors_dtype(t->dtype, &bits);
  return bits;
}

static int by_name(const void *a, const void *b)
{
  return strcmp((*(const ti_tensor *const *)a)->name, (*(const ti_tensor *const *)b)->name);
}

static int in_file_order(const void *a, const void *b)
{
  const ti_tensor *x = *(const ti_tensor *const *)a, *y = *(const ti_tensor *const *)b;
  const unsigned p = element_bits(x), q = element_bits(y);

  return p != q ? (p < q) - (p > q) : strcmp(x->name, y->name);
}

/* a tensor that can be written: its size follows from type and shape */
static textinv_status check_tensor(ti_error *error, const char *path, const ti_tensor *t)
{
  size_t bytes = 1;
  unsigned bits;

  if (!ti_utf8_valid(t->name, strlen(t->name)) || !strcmp(t->name, "__metadata__"))
    return ti_fail(error, TEXTINV_E_INVALID, "%s: \"%.*s\" is no name for a tensor", path,
                   ti_utf8_cut(t->name, 80), t->name);
  if (!ti_safetensors_dtype(t->dtype, &bits))
    return ti_fail(error, TEXTINV_E_INVALID, "%s: tensor \"%.*s\" has a type that is not written",
                   path, ti_utf8_cut(t->name, 80), t->name);
  for (int i = 0; i < t->rank; i++) {
    if (ti_mul_size(&bytes, bytes, (size_t)t->dims[i]))
      return ti_fail(error, TEXTINV_E_INVALID, "%s: tensor \"%.*s\" is too large", path,
                     ti_utf8_cut(t->name, 80), t->name);
  }
  if (ti_mul_size(&bytes, bytes, bits / 8) || bytes != t->bytes)
    return ti_fail(error, TEXTINV_E_INVALID,
                   "%s: tensor \"%.*s\" has %zu bytes, its shape needs %zu", path,
                   ti_utf8_cut(t->name, 80), t->name, t->bytes, bytes);
  return TEXTINV_OK;
}

static textinv_status check_metadata(ti_error *error, const char *path,
                                     const ti_key_value *metadata, size_t count)
{
  for (size_t i = 0; i < count; i++) {
    const char *key = metadata[i].key, *value = metadata[i].value;

    if (!ti_utf8_valid(key, strlen(key)) || !ti_utf8_valid(value, strlen(value)))
      return ti_fail(error, TEXTINV_E_INVALID, "%s: metadata entry %zu is not UTF-8", path, i);
    for (size_t k = 0; k < i; k++) {
      if (!strcmp(key, metadata[k].key))
        return ti_fail(error, TEXTINV_E_CONFLICT, "%s: metadata key \"%.*s\" is given twice", path,
                       ti_utf8_cut(key, 80), key);
    }
  }
  return TEXTINV_OK;
}

/* the tensors, checked, in the order of the file */
static textinv_status sort(const ti_tensor **order, ti_error *error, const char *path,
                           const ti_tensor *tensors, size_t count)
{
  textinv_status status;

  for (size_t i = 0; i < count; i++) {
    if ((status = check_tensor(error, path, tensors + i)) < 0)
      return status;
    order[i] = tensors + i;
  }
  if (count)
    qsort(order, count, sizeof(*order), by_name);
  for (size_t i = 1; i < count; i++) {
    if (!strcmp(order[i]->name, order[i - 1]->name))
      return ti_fail(error, TEXTINV_E_CONFLICT, "%s: tensor \"%.*s\" is given twice", path,
                     ti_utf8_cut(order[i]->name, 80), order[i]->name);
  }
  if (count)
    qsort(order, count, sizeof(*order), in_file_order);
  return TEXTINV_OK;
}

static void put_header(text *h, const ti_tensor *const *order, size_t count,
                       const ti_key_value *metadata, size_t num_metadata)
{
  uint64_t at = 0;
  unsigned bits;

  put_text(h, "{");
  if (num_metadata) {
    put_text(h, "\"__metadata__\":{");
    for (size_t i = 0; i < num_metadata; i++) {
      put_text(h, i ? "," : "");
      put_string(h, metadata[i].key);
      put_text(h, ":");
      put_string(h, metadata[i].value);
    }
    put_text(h, "}");
  }
  for (size_t i = 0; i < count; i++) {
    const ti_tensor *t = order[i];

    put_text(h, i || num_metadata ? "," : "");
    put_string(h, t->name);
    put_text(h, ":{\"dtype\":\"");
    put_text(h, ti_safetensors_dtype(t->dtype, &bits));
    put_text(h, "\",\"shape\":[");
    for (int k = 0; k < t->rank; k++) {
      put_text(h, k ? "," : "");
      put_number(h, t->dims[k]);
    }
    put_text(h, "],\"data_offsets\":[");
    put_number(h, at);
    put_text(h, ",");
    put_number(h, at += t->bytes);
    put_text(h, "]}");
  }
  put_text(h, "}");
  while (!h->failed && h->used % 8)
    put(h, " ", 1);
}

textinv_status ti_safetensors_write_to(ti_memory_file *memory, ti_error *error, const char *path,
                                       const ti_tensor *tensors, size_t count,
                                       const ti_key_value *metadata, size_t num_metadata)
{
  textinv_status status;
  const ti_tensor **order = ti_calloc(count, sizeof(*order));
  ti_atomic_file *file;
  text header = { NULL, 0, 0, 0 };
  unsigned char size[8];

  if (!order)
    return ti_fail_nomem(error, count * sizeof(*order), path);
  if ((status = sort(order, error, path, tensors, count)) < 0 ||
      (status = check_metadata(error, path, metadata, num_metadata)) < 0)
    goto out;
  put_header(&header, order, count, metadata, num_metadata);
  if (header.failed) {
    status = ti_fail_nomem(error, header.used * 2, path);
    goto out;
  }
  if (header.used > TI_SAFETENSORS_MAX_HEADER) {
    status = ti_fail(error, TEXTINV_E_LIMIT, "%s: the header would have %zu bytes, at most %d",
                     path, header.used, TI_SAFETENSORS_MAX_HEADER);
    goto out;
  }
  if ((status = ti_atomic_open_to(&file, error, path, memory)) < 0)
    goto out;
  for (int i = 0; i < 8; i++)
    size[i] = (unsigned char)((uint64_t)header.used >> 8 * i);
  ti_atomic_write(file, size, sizeof(size));
  ti_atomic_write(file, header.bytes, header.used);
  for (size_t i = 0; i < count; i++)
    ti_atomic_write(file, order[i]->data, order[i]->bytes);
  status = ti_atomic_commit(file, error);
out:
  ti_free(header.bytes);
  ti_free(order);
  return status;
}

textinv_status ti_safetensors_write(ti_error *error, const char *path, const ti_tensor *tensors,
                                    size_t count, const ti_key_value *metadata, size_t num_metadata)
{
  return ti_safetensors_write_to(NULL, error, path, tensors, count, metadata, num_metadata);
}
