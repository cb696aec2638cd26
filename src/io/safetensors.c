/*
 * safetensors files, read.
 *
 *   u64 header size N, little-endian | N bytes of JSON | data
 *
 * The tensors tile the data exactly: no hole, no overlap, no byte left.
 */
#include "safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "atomic_file.h"
#include "safetensors_header.h"
#include "utf8.h"

struct ti_safetensors {
  ti_safetensors_header header; /* entries and metadata in the order of names */
  const void *map;              /* NULL when the bytes are the caller's */
  size_t map_size;
};

static const char lfs_pointer[] = "version https://git-lfs";

static int by_offset(const void *a, const void *b)
{
  const ti_header_entry *x = a, *y = b;

  if (x->begin != y->begin)
    return x->begin < y->begin ? -1 : 1;
  return x->end < y->end ? -1 : x->end > y->end;
}

static int by_name(const void *a, const void *b)
{
  return strcmp(((const ti_header_entry *)a)->tensor.name,
                ((const ti_header_entry *)b)->tensor.name);
}

static int by_key(const void *a, const void *b)
{
  return strcmp(((const ti_key_value *)a)->key, ((const ti_key_value *)b)->key);
}

/* one tensor whose data have to begin at expected */
static textinv_status check_entry(ti_error *error, const char *name, ti_header_entry *entry,
                                  uint64_t expected, const unsigned char *data, uint64_t data_size)
{
  ti_tensor *t = &entry->tensor;
  const int cut = ti_utf8_cut(t->name, 80);
  size_t count = 1, bits;

  if (entry->begin != expected || entry->end < entry->begin)
    return ti_fail(error, TEXTINV_E_FORMAT,
                   "%s: tensor \"%.*s\": data_offsets are [%llu, %llu], expected to begin at %llu",
                   name, cut, t->name, (unsigned long long)entry->begin,
                   (unsigned long long)entry->end, (unsigned long long)expected);
  for (int i = 0; i < t->rank; i++) {
    if (t->dims[i] > SIZE_MAX || ti_mul_size(&count, count, (size_t)t->dims[i]))
      return ti_fail(error, TEXTINV_E_FORMAT, "%s: tensor \"%.*s\": the shape has over 2^64 values",
                     name, cut, t->name);
  }
  if (ti_mul_size(&bits, count, entry->bits))
    return ti_fail(error, TEXTINV_E_FORMAT, "%s: tensor \"%.*s\": %zu values of %s are too many",
                   name, cut, t->name, count, t->dtype_name);
  if (bits % 8)
    return ti_fail(error, TEXTINV_E_FORMAT,
                   "%s: tensor \"%.*s\": %zu values of %s do not fill whole bytes", name, cut,
                   t->name, count, t->dtype_name);
  if (entry->end - entry->begin != bits / 8)
    return ti_fail(error, TEXTINV_E_FORMAT,
                   "%s: tensor \"%.*s\": data_offsets hold %llu bytes, %zu values of %s need %zu",
                   name, cut, t->name, (unsigned long long)(entry->end - entry->begin), count,
                   t->dtype_name, bits / 8);
  if (entry->end > data_size)
    return ti_fail(error, TEXTINV_E_FORMAT,
                   "%s: tensor \"%.*s\": data end at %llu, the file has %llu bytes of data", name,
                   cut, t->name, (unsigned long long)entry->end, (unsigned long long)data_size);
  t->count = count;
  t->bytes = bits / 8;
  t->data = data + entry->begin;
  t->mapped = 1;
  return TEXTINV_OK;
}

/* a name that is there twice is refused */
static textinv_status sort_by_name(ti_safetensors_header *h, ti_error *error, const char *name)
{
  if (h->count)
    qsort(h->entries, h->count, sizeof(*h->entries), by_name);
  for (size_t i = 1; i < h->count; i++) {
    const char *s = h->entries[i].tensor.name;

    if (!strcmp(s, h->entries[i - 1].tensor.name))
      return ti_fail(error, TEXTINV_E_FORMAT, "%s: tensor \"%.*s\" is there twice", name,
                     ti_utf8_cut(s, 80), s);
  }
  return TEXTINV_OK;
}

static textinv_status check_layout(ti_safetensors_header *h, ti_error *error, const char *name,
                                   const unsigned char *data, size_t data_size)
{
  textinv_status status;
  uint64_t end = 0;

  if ((status = sort_by_name(h, error, name)) < 0)
    return status;
  if (h->count)
    qsort(h->entries, h->count, sizeof(*h->entries), by_offset);
  for (size_t i = 0; i < h->count; i++) {
    if ((status = check_entry(error, name, h->entries + i, end, data, data_size)) < 0)
      return status;
    end = h->entries[i].end;
  }
  if (end != data_size)
    return ti_fail(error, TEXTINV_E_FORMAT, "%s: the tensors have %llu bytes, the file %zu", name,
                   (unsigned long long)end, data_size);
  if (h->num_metadata)
    qsort(h->metadata, h->num_metadata, sizeof(*h->metadata), by_key);
  for (size_t i = 1; i < h->num_metadata; i++) {
    const char *s = h->metadata[i].key;

    if (!strcmp(s, h->metadata[i - 1].key))
      return ti_fail(error, TEXTINV_E_FORMAT, "%s: metadata key \"%.*s\" is there twice", name,
                     ti_utf8_cut(s, 80), s);
  }
  return sort_by_name(h, error, name);
}

textinv_status ti_safetensors_parse(ti_safetensors **out, ti_error *error, const char *name,
                                    const void *bytes, size_t size)
{
  const unsigned char *p = bytes;
  textinv_status status;
  uint64_t header_size = 0;
  ti_safetensors *file;

  *out = NULL;
  if (size < 8)
    return ti_fail(error, TEXTINV_E_FORMAT, "%s: has %zu bytes, a safetensors file at least 8",
                   name, size);
  if (size >= sizeof(lfs_pointer) && !memcmp(p, lfs_pointer, sizeof(lfs_pointer) - 1))
    return ti_fail(error, TEXTINV_E_FORMAT,
                   "%s: is a git-lfs pointer, not the file itself: fetch it with git lfs pull",
                   name);
  for (int i = 7; i >= 0; i--)
    header_size = header_size << 8 | p[i];
  if (header_size > TI_SAFETENSORS_MAX_HEADER)
    return ti_fail(
      error, TEXTINV_E_LIMIT,
      "%s: is no safetensors file: its header would have %llu bytes, at most %d are read", name,
      (unsigned long long)header_size, TI_SAFETENSORS_MAX_HEADER);
  if (header_size > size - 8)
    return ti_fail(error, TEXTINV_E_FORMAT,
                   "%s: claims a header of %llu bytes, the file has %zu in all", name,
                   (unsigned long long)header_size, size);

  file = ti_calloc(1, sizeof(*file));
  if (!file)
    return ti_fail_nomem(error, sizeof(*file), name);
  status = ti_safetensors_header_parse(&file->header, error, name, p + 8, (size_t)header_size);
  if (status >= 0)
    status = check_layout(&file->header, error, name, p + 8 + header_size,
                          size - 8 - (size_t)header_size);
  if (status < 0) {
    ti_safetensors_close(file);
    return status;
  }
  *out = file;
  return TEXTINV_OK;
}

textinv_status ti_safetensors_open(ti_safetensors **out, ti_error *error, const char *path)
{
  textinv_status status;
  const void *map;
  size_t size;

  *out = NULL;
  if ((status = ti_file_map(&map, &size, error, path)) < 0)
    return status;
  if ((status = ti_safetensors_parse(out, error, path, map, size)) < 0) {
    ti_file_unmap(map, size);
    return status;
  }
  (*out)->map = map;
  (*out)->map_size = size;
  return TEXTINV_OK;
}

void ti_safetensors_close(ti_safetensors *file)
{
  if (!file)
    return;
  ti_safetensors_header_free(&file->header);
  ti_file_unmap(file->map, file->map_size);
  ti_free(file);
}

size_t ti_safetensors_count(const ti_safetensors *file)
{
  return file->header.count;
}

const ti_tensor *ti_safetensors_tensor(const ti_safetensors *file, size_t i)
{
  return i < file->header.count ? &file->header.entries[i].tensor : NULL;
}

const ti_tensor *ti_safetensors_find(const ti_safetensors *file, const char *name)
{
  const ti_header_entry key = { .tensor.name = name };
  const ti_header_entry *found;

  if (!file->header.count)
    return NULL;
  found = bsearch(&key, file->header.entries, file->header.count, sizeof(key), by_name);
  return found ? &found->tensor : NULL;
}

const char *ti_safetensors_metadata(const ti_safetensors *file, const char *key)
{
  const ti_key_value wanted = { key, NULL };
  const ti_key_value *found;

  if (!file->header.num_metadata)
    return NULL;
  found = bsearch(&wanted, file->header.metadata, file->header.num_metadata, sizeof(wanted),
                  by_key);
  return found ? found->value : NULL;
}

const ti_key_value *ti_safetensors_pairs(const ti_safetensors *file, size_t *count)
{
  *count = file->header.num_metadata;
  return file->header.metadata;
}
