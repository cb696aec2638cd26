/*
 * Models in one file: its tensors by name, what it is when it is none of the known models, and its
 * weights under the names that the networks ask for.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "atomic_file.h"
#include "format.h"
#include "single_file_state.h"
#include "utf8.h"

/* ------ tensors by name */

static int by_name(const void *a, const void *b)
{
  return strcmp(((const ti_single_entry *)a)->tensor.name,
                ((const ti_single_entry *)b)->tensor.name);
}

/* the first entry whose name is not less than name */
static size_t lower(const ti_single_file *file, const char *name)
{
  size_t low = 0, high = file->count;

  while (low < high) {
    const size_t mid = low + (high - low) / 2;

    if (strcmp(file->entries[mid].tensor.name, name) < 0)
      low = mid + 1;
    else
      high = mid;
  }
  return low;
}

static int begins(const ti_single_file *file, size_t i, const char *prefix)
{
  return i < file->count && !strncmp(file->entries[i].tensor.name, prefix, strlen(prefix));
}

int ti_single_any(const ti_single_file *file, const char *prefix)
{
  return begins(file, lower(file, prefix), prefix);
}

static const ti_single_entry *find(const ti_single_file *file, const char *fmt, va_list ap)
{
  char name[TI_SINGLE_NAME];
  size_t i;

  ti_vformat(name, sizeof(name), fmt, ap);
  i = lower(file, name);
  return i < file->count && !strcmp(file->entries[i].tensor.name, name) ? file->entries + i : NULL;
}

const ti_single_entry *ti_single_find(const ti_single_file *file, const char *fmt, ...)
{
  const ti_single_entry *found;
  va_list ap;

  va_start(ap, fmt);
  found = find(file, fmt, ap);
  va_end(ap);
  return found;
}

int ti_single_dim(const ti_single_file *file, int axis, const char *fmt, ...)
{
  enum { MOST = 1 << 24 }; /* what is larger is refused as this is */
  const ti_single_entry *found;
  va_list ap;

  va_start(ap, fmt);
  found = find(file, fmt, ap);
  va_end(ap);
  if (!found || axis >= found->tensor.rank)
    return 0;
  return found->tensor.dims[axis] < MOST ? (int)found->tensor.dims[axis] : MOST;
}

textinv_status ti_single_load(const ti_single_file *file, ti_error *error,
                              const ti_single_entry *entry, ti_tensor *out)
{
  *out = entry->tensor;
  return file->torch ? ti_torch_load(file->torch, error, out->name, entry->value, out) : TEXTINV_OK;
}

static textinv_status list_tensors(ti_single_file *f, ti_error *error)
{
  const ti_pickle_value *dict = NULL;
  textinv_status status;
  size_t count;

  if (f->torch && (status = ti_torch_dict(f->torch, error, &dict)) < 0)
    return status;
  count = dict ? dict->u.list.count / 2 : ti_safetensors_count(f->file);
  f->entries = ti_calloc(count, sizeof(*f->entries));
  if (!f->entries)
    return ti_fail_nomem(error, count * sizeof(*f->entries), f->name);
  for (size_t i = 0; i < count; i++) {
    ti_single_entry *e = f->entries + f->count;

    if (!dict) {
      e->tensor = *ti_safetensors_tensor(f->file, i);
    } else {
      const ti_pickle_value *key = dict->u.list.items[2 * i];

      e->value = dict->u.list.items[2 * i + 1];
      if (key->kind != TI_PICKLE_STRING || e->value->kind != TI_PICKLE_TENSOR)
        continue;
      ti_torch_describe(key->u.string, e->value, &e->tensor);
    }
    f->count++;
  }
  if (f->count)
    qsort(f->entries, f->count, sizeof(*f->entries), by_name);
  return TEXTINV_OK;
}

/* ------ open */

/* path: beside which the configuration of other programs may lie; NULL = nowhere */
static textinv_status parse(ti_single_file **out, ti_error *error, const char *name,
                            const char *path, const void *bytes, size_t size)
{
  ti_single_file *f = ti_calloc(1, sizeof(*f));
  textinv_status status;

  *out = NULL;
  if (!f || !(f->name = ti_strdup(name)))
    status = ti_fail_nomem(error, sizeof(*f), name);
  else if (ti_torch_check(bytes, size) || ti_torch_check_old(bytes, size))
    status = ti_torch_parse(&f->torch, error, name, bytes, size);
  else
    status = ti_safetensors_parse(&f->file, error, name, bytes, size);
  if (status < 0 || (status = list_tensors(f, error)) < 0 ||
      (status = ti_single_recognise(f, error)) < 0 || (status = ti_single_measure(f, error)) < 0 ||
      (status = ti_single_predict(f, error, path)) < 0) {
    ti_single_file_close(f);
    return status;
  }
  *out = f;
  return TEXTINV_OK;
}

textinv_status ti_single_file_parse(ti_single_file **out, ti_error *error, const char *name,
                                    const void *bytes, size_t size)
{
  return parse(out, error, name, NULL, bytes, size);
}

textinv_status ti_single_file_open(ti_single_file **out, ti_error *error, const char *path)
{
  textinv_status status;
  const void *map;
  size_t size;

  *out = NULL;
  if ((status = ti_file_map(&map, &size, error, path)) < 0)
    return status;
  if ((status = parse(out, error, path, path, map, size)) < 0) {
    ti_file_unmap(map, size);
    return status;
  }
  (*out)->map = map;
  (*out)->map_size = size;
  return TEXTINV_OK;
}

void ti_single_file_close(ti_single_file *file)
{
  if (!file)
    return;
  ti_free(file->entries);
  ti_safetensors_close(file->file);
  ti_torch_close(file->torch);
  ti_file_unmap(file->map, file->map_size);
  ti_free(file->name);
  ti_free(file);
}

const char *ti_single_file_pad(const ti_single_file *file, int encoder)
{
  return file->texts[encoder].open_clip ? "!" : "<|endoftext|>";
}

/* ------ weights */

static size_t element_size(const ti_tensor *t)
{
  return t->dtype == TI_FILE_F32 ? 4 : 2;
}

static textinv_status shape_error(const ti_single_file *f, ti_error *error, const ti_tensor *t,
                                  const char *expected)
{
  char shape[TI_TENSOR_MAX_RANK * 24] = "";
  size_t at = 0;

  for (int i = 0; i < t->rank; i++)
    at += ti_format(shape + at, sizeof(shape) - at, "%s%llu", i ? ", " : "",
                    (unsigned long long)t->dims[i]);
  return ti_fail(error, TEXTINV_E_SHAPE, "%s: tensor \"%.*s\" is [%s], expected %s", f->name,
                 ti_utf8_cut(t->name, 80), t->name, shape, expected);
}

/* [rows, columns] as [columns, rows] */
static textinv_status transpose(ti_tensor_list *list, ti_error *error, ti_tensor *t)
{
  const size_t rows = (size_t)t->dims[0], columns = (size_t)t->dims[1], size = element_size(t);
  const unsigned char *from = t->data;
  unsigned char *to = ti_realloc_array(NULL, t->bytes, 1);

  if (!to)
    return ti_fail_nomem(error, t->bytes, t->name);
  ti_free(list->copy);
  list->copy = to;
  for (size_t c = 0; c < columns; c++) {
    for (size_t r = 0; r < rows; r++, to += size)
      memcpy(to, from + (r * columns + c) * size, size);
  }
  t->dims[0] = columns;
  t->dims[1] = rows;
  t->data = list->copy;
  t->mapped = 0;
  return TEXTINV_OK;
}

static textinv_status add(ti_tensor_list *list, ti_error *error, const ti_tensor *t,
                          const char *name)
{
  ti_tensor *item = list->items + list->count;

  *item = *t;
  item->name = ti_strdup(name);
  if (!item->name)
    return ti_fail_nomem(error, strlen(name), "a tensor's name");
  list->count++;
  return TEXTINV_OK;
}

/* rows of q, of k and of v, each as a tensor */
static textinv_status add_thirds(ti_tensor_list *list, ti_error *error, const ti_tensor *t,
                                 char *name)
{
  char *letter = strstr(name, "q_proj");
  textinv_status status;
  ti_tensor third = *t;

  third.dims[0] /= 3;
  third.count /= 3;
  third.bytes /= 3;
  for (int i = 0; i < 3; i++) {
    *letter = "qkv"[i];
    if ((status = add(list, error, &third, name)) < 0)
      return status;
    third.data = (const char *)third.data + third.bytes;
  }
  return TEXTINV_OK;
}

/* one tensor of the file, as the network's builder asks for it */
static textinv_status give(const ti_single_file *f, ti_tensor_list *list, ti_error *error,
                           const ti_single_entry *entry, ti_single_use use, char *name)
{
  textinv_status status;
  ti_tensor t;

  if ((status = ti_single_load(f, error, entry, &t)) < 0)
    return status;
  if (use == TI_SINGLE_MATRIX && t.rank > 2) {
    for (int i = 2; i < t.rank; i++) {
      if (t.dims[i] != 1)
        return shape_error(f, error, &t, "a matrix or a convolution of 1 x 1");
    }
    t.rank = 2;
  }
  if (use == TI_SINGLE_TRANSPOSED) {
    if (t.rank != 2)
      return shape_error(f, error, &t, "a matrix");
    if (t.dtype <= TI_FILE_BF16 && (status = transpose(list, error, &t)) < 0)
      return status;
  }
  if (use != TI_SINGLE_THIRDS)
    return add(list, error, &t, name);
  if (t.rank < 1 || t.dims[0] % 3)
    return shape_error(f, error, &t, "rows of q, k and v");
  return add_thirds(list, error, &t, name);
}

textinv_status ti_single_file_tensors(ti_single_file *file, ti_error *error, const char *component,
                                      ti_tensor_list *out)
{
  const int unet = !strcmp(component, "unet"), vae = !strcmp(component, "vae");
  const ti_single_text *text = file->texts + !strcmp(component, "text_encoder_2");
  const char *prefix = unet ? TI_SINGLE_UNET : vae ? TI_SINGLE_VAE : text->prefix;
  const size_t first = lower(file, prefix);
  size_t end = first;
  textinv_status status;

  memset(out, 0, sizeof(*out));
  while (begins(file, end, prefix))
    end++;
  out->items = ti_calloc(3 * (end - first), sizeof(*out->items));
  if (!out->items)
    return ti_fail_nomem(error, 3 * (end - first) * sizeof(*out->items), component);
  for (size_t i = first; i < end; i++) {
    const char *full = file->entries[i].tensor.name, *name = full + strlen(prefix);
    char given[TI_SINGLE_NAME];
    const ti_single_use use = unet  ? ti_single_unet_name(given, &file->unet, name)
                              : vae ? ti_single_vae_name(given, &file->vae, name)
                                    : ti_single_text_name(given, text, name);

    /* beside the weights lie buffers, what a loss needs, and layers that are not used */
    if (use == TI_SINGLE_UNKNOWN &&
        (unet || (vae && (!strncmp(name, "encoder.", 8) || !strncmp(name, "decoder.", 8))))) {
      status = ti_fail(error, TEXTINV_E_UNSUPPORTED,
                       "%s: tensor \"%.*s\" has no place in %s as Stable Diffusion has it, or "
                       "those before it are missing",
                       file->name, ti_utf8_cut(full, 100), full,
                       unet ? "a UNet" : "an autoencoder");
      goto fail;
    }
    if (use != TI_SINGLE_UNKNOWN &&
        (status = give(file, out, error, file->entries + i, use, given)) < 0)
      goto fail;
  }
  return TEXTINV_OK;
fail:
  ti_tensor_list_free(out);
  return status;
}

void ti_tensor_list_free(ti_tensor_list *list)
{
  for (size_t i = 0; i < list->count; i++)
    ti_free((void *)(uintptr_t)list->items[i].name);
  ti_free(list->items);
  ti_free(list->copy);
  memset(list, 0, sizeof(*list));
}
