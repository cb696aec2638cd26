/*
 * Files of torch.save(), read. The archive has to be as torch writes it: nothing compressed, no
 * member larger than what is stored, nothing before, behind or between that another reader might
 * take for the archive.
 */
#include "torch_file.h"

#include <string.h>
#include <zip.h>

#include "alloc.h"
#include "atomic_file.h"
#include "format.h"
#include "utf8.h"

enum {
  MAX_TENSORS = 65536,
  MAX_MEMBERS = MAX_TENSORS + 16,
  MAX_PICKLE = 32 << 20,
  MAX_COPIED = 32 << 20, /* bytes of tensors that are not contiguous, in a smaller file */
  END_RECORD = 22
};

struct ti_torch_file {
  char *name;
  const void *map; /* NULL when the bytes are the caller's */
  size_t map_size;
  zip_t *zip;
  char *prefix; /* of data.pkl, with '/' at the end */
  void *bytes;  /* of data.pkl */
  ti_pickle *pickle;
  void **storages; /* bytes of the members that were read, by their place in the archive */
  size_t num_members, size;
  void **copies;             /* of tensors that were not contiguous */
  size_t num_copies, copied; /* bytes */
  ti_tensor *tensors;
  size_t count;
};

int ti_torch_check(const void *bytes, size_t size)
{
  return size >= 4 && !memcmp(bytes, "PK\3\4", 4);
}

/* a header of safetensors may begin with the same two bytes: its length is theirs */
int ti_torch_check_old(const void *bytes, size_t size)
{
  const unsigned char *p = bytes;
  uint64_t header = 0;

  for (size_t i = 0; i < 8 && i < size; i++)
    header |= (uint64_t)p[i] << 8 * i;
  return size >= 2 && p[0] == 0x80 && p[1] && p[1] <= 5 && (size < 8 || header > size - 8);
}

static textinv_status not_an_archive(ti_error *error, const char *name, const void *bytes,
                                     size_t size)
{
  static const char lfs_pointer[] = "version https://git-lfs";
  const unsigned char *p = bytes;

  if (size >= sizeof(lfs_pointer) && !memcmp(p, lfs_pointer, sizeof(lfs_pointer) - 1))
    return ti_fail(error, TEXTINV_E_FORMAT,
                   "%s: is a git-lfs pointer, not the file itself: fetch it with git lfs pull",
                   name);
  if (ti_torch_check_old(p, size))
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: is a torch file older than torch 1.6, or a bare pickle: load and save it "
                   "with a newer torch, or convert it to safetensors",
                   name);
  if (size >= 262 && !memcmp(p + 257, "ustar", 5))
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "%s: is a tar archive of an ancient torch: convert it to safetensors", name);
  return ti_fail(error, TEXTINV_E_FORMAT, "%s: is no file of torch.save()", name);
}

static textinv_status zip_failure(const ti_torch_file *file, ti_error *error, zip_error_t *why)
{
  const textinv_status status = zip_error_code_zip(why) == ZIP_ER_MEMORY ? TEXTINV_E_NOMEM
                                                                         : TEXTINV_E_FORMAT;

  return ti_fail(error, status, "%s: zip archive: %s", file->name, zip_error_strerror(why));
}

static textinv_status open_archive(ti_torch_file *file, ti_error *error, const void *bytes,
                                   size_t size)
{
  const unsigned char *end = (const unsigned char *)bytes + size - END_RECORD;
  zip_source_t *source;
  zip_error_t why;
  textinv_status status = TEXTINV_OK;

  if (size < END_RECORD || memcmp(end, "PK\5\6", 4) || end[20] || end[21])
    return ti_fail(error, TEXTINV_E_FORMAT,
                   "%s: zip archive: does not end with its end record: cut short?", file->name);
  zip_error_init(&why);
  source = zip_source_buffer_create(bytes, size, 0, &why);
  if (source) {
    file->zip = zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &why);
    if (!file->zip)
      zip_source_free(source);
  }
  if (!file->zip)
    status = zip_failure(file, error, &why);
  zip_error_fini(&why);
  return status;
}

/* stored members alone, no more bytes than the file has, one data.pkl */
static textinv_status check_members(ti_torch_file *file, ti_error *error, size_t size,
                                    zip_uint64_t *index)
{
  const zip_int64_t count = zip_get_num_entries(file->zip, 0);
  size_t total = 0;
  int found = 0;

  if (count > MAX_MEMBERS)
    return ti_fail(error, TEXTINV_E_LIMIT, "%s: zip archive: has over %d members", file->name,
                   MAX_MEMBERS);
  file->size = size;
  file->num_members = (size_t)count;
  file->storages = ti_calloc(file->num_members, sizeof(*file->storages));
  if (!file->storages)
    return ti_fail_nomem(error, file->num_members * sizeof(*file->storages), file->name);
  for (zip_int64_t i = 0; i < count; i++) {
    const zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE |
                                ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    const char *slash;
    zip_stat_t st;

    if (zip_stat_index(file->zip, (zip_uint64_t)i, ZIP_FL_ENC_RAW, &st) ||
        (st.valid & needed) != needed)
      return ti_fail(error, TEXTINV_E_FORMAT, "%s: zip archive: member %lld is damaged", file->name,
                     (long long)i);
    if (st.comp_method != ZIP_CM_STORE || st.encryption_method != ZIP_EM_NONE)
      return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                     "%s: zip archive: \"%.*s\" is compressed or encrypted, which torch.save "
                     "never does",
                     file->name, ti_utf8_cut(st.name, 80), st.name);
    if (st.size != st.comp_size || ti_add_size(&total, total, (size_t)st.size) || total > size)
      return ti_fail(error, TEXTINV_E_FORMAT,
                     "%s: zip archive: \"%.*s\" has %llu bytes, more than the file has room for",
                     file->name, ti_utf8_cut(st.name, 80), st.name, (unsigned long long)st.size);
    slash = strchr(st.name, '/');
    if (slash && !strcmp(slash, "/constants.pkl"))
      return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                     "%s: is a TorchScript program: convert its weights to safetensors",
                     file->name);
    if (slash && !strcmp(slash, "/data.pkl")) {
      if (found++)
        return ti_fail(error, TEXTINV_E_FORMAT, "%s: zip archive: has two data.pkl", file->name);
      *index = (zip_uint64_t)i;
      file->prefix = ti_strndup(st.name, (size_t)(slash + 1 - st.name));
      if (!file->prefix)
        return ti_fail_nomem(error, strlen(st.name), file->name);
    }
  }
  if (!found)
    return ti_fail(error, TEXTINV_E_FORMAT,
                   "%s: zip archive: has no data.pkl, so torch.save did not write it", file->name);
  return TEXTINV_OK;
}

/*
 * all bytes of a member, checked against its sum; ti_free() them. The sum 0 is none: torch writes
 * it for every member after set_crc32_options(False)
 */
static textinv_status read_member(const ti_torch_file *file, ti_error *error, zip_uint64_t index,
                                  size_t limit, void **out, size_t *size)
{
  textinv_status status = TEXTINV_OK;
  zip_file_t *member = NULL;
  char *bytes = NULL, extra;
  zip_stat_t st;

  *out = NULL;
  if (zip_stat_index(file->zip, index, 0, &st))
    return zip_failure(file, error, zip_get_error(file->zip));
  if (st.size > limit)
    return ti_fail(error, TEXTINV_E_LIMIT, "%s: \"%.*s\" has %llu bytes, at most %zu are read",
                   file->name, ti_utf8_cut(st.name, 80), st.name, (unsigned long long)st.size,
                   limit);
  bytes = ti_realloc_array(NULL, (size_t)st.size, 1);
  if (!bytes)
    return ti_fail_nomem(error, (size_t)st.size, file->name);
  member = zip_fopen_index(file->zip, index, 0);
  if (!member) {
    status = zip_failure(file, error, zip_get_error(file->zip));
    goto out;
  }
  /* the sum is compared when the end is read */
  if (zip_fread(member, bytes, st.size) != (zip_int64_t)st.size ||
      (zip_fread(member, &extra, 1) != 0 && st.crc)) {
    status = ti_fail(error, TEXTINV_E_FORMAT, "%s: \"%.*s\" is damaged: %s", file->name,
                     ti_utf8_cut(st.name, 80), st.name, zip_file_strerror(member));
    goto out;
  }
  *out = bytes;
  *size = (size_t)st.size;
  bytes = NULL;
out:
  if (member)
    zip_fclose(member);
  ti_free(bytes);
  return status;
}

/* the place of a member; -1 when there is none */
static textinv_status find_member(const ti_torch_file *file, ti_error *error, const char *folder,
                                  const char *key, zip_int64_t *out)
{
  const size_t size = strlen(file->prefix) + strlen(folder) + strlen(key) + 1;
  char *name = ti_realloc_array(NULL, size, 1);

  *out = -1;
  if (!name)
    return ti_fail_nomem(error, size, file->name);
  ti_format(name, size, "%s%s%s", file->prefix, folder, key);
  *out = zip_name_locate(file->zip, name, ZIP_FL_ENC_RAW);
  ti_free(name);
  return TEXTINV_OK;
}

static textinv_status check_byteorder(const ti_torch_file *file, ti_error *error)
{
  textinv_status status;
  zip_int64_t i;
  void *bytes;
  size_t size;
  int is_little;

  if ((status = find_member(file, error, "byteorder", "", &i)) < 0 || i < 0)
    return status;
  if ((status = read_member(file, error, (zip_uint64_t)i, 64, &bytes, &size)) < 0)
    return status;
  is_little = size == 6 && !memcmp(bytes, "little", 6);
  ti_free(bytes);
  return is_little ? TEXTINV_OK
                   : ti_fail(error, TEXTINV_E_UNSUPPORTED,
                             "%s: was written on a machine of another byte order", file->name);
}

textinv_status ti_torch_parse(ti_torch_file **out, ti_error *error, const char *name,
                              const void *bytes, size_t size)
{
  textinv_status status;
  zip_uint64_t index = 0;
  ti_torch_file *file;
  size_t pickle_size;

  *out = NULL;
  if (!ti_torch_check(bytes, size))
    return not_an_archive(error, name, bytes, size);
  file = ti_calloc(1, sizeof(*file));
  if (!file)
    return ti_fail_nomem(error, sizeof(*file), name);
  file->name = ti_strdup(name);
  if (!file->name) {
    status = ti_fail_nomem(error, strlen(name), name);
    goto out;
  }
  if ((status = open_archive(file, error, bytes, size)) < 0 ||
      (status = check_members(file, error, size, &index)) < 0 ||
      (status = check_byteorder(file, error)) < 0 ||
      (status = read_member(file, error, index, MAX_PICKLE, &file->bytes, &pickle_size)) < 0 ||
      (status = ti_pickle_parse(&file->pickle, error, name, file->bytes, pickle_size)) < 0)
    goto out;
  *out = file;
  file = NULL;
out:
  ti_torch_close(file);
  return status;
}

textinv_status ti_torch_open(ti_torch_file **out, ti_error *error, const char *path)
{
  textinv_status status;
  const void *map;
  size_t size;

  *out = NULL;
  if ((status = ti_file_map(&map, &size, error, path)) < 0)
    return status;
  if ((status = ti_torch_parse(out, error, path, map, size)) < 0) {
    ti_file_unmap(map, size);
    return status;
  }
  (*out)->map = map;
  (*out)->map_size = size;
  return TEXTINV_OK;
}

void ti_torch_close(ti_torch_file *file)
{
  if (!file)
    return;
  for (size_t i = 0; i < file->num_copies; i++)
    ti_free(file->copies[i]);
  ti_free(file->copies);
  for (size_t i = 0; file->storages && i < file->num_members; i++)
    ti_free(file->storages[i]);
  ti_free(file->storages);
  ti_free(file->tensors);
  ti_pickle_free(file->pickle);
  ti_free(file->bytes);
  ti_free(file->prefix);
  if (file->zip)
    zip_discard(file->zip);
  ti_file_unmap(file->map, file->map_size);
  ti_free(file->name);
  ti_free(file);
}

const ti_pickle_value *ti_torch_root(const ti_torch_file *file)
{
  return ti_pickle_root(file->pickle);
}

/* --- tensors */

/* room for one more entry; capacity is a power of two, so it follows from the count */
static int grow(void **array, size_t count, size_t size)
{
  void *larger;

  if (count & (count - 1))
    return 0;
  larger = ti_realloc_array(*array, count ? count * 2 : 1, size);
  if (!larger)
    return -1;
  *array = larger;
  return 0;
}

/* the bytes of a storage, read at first use */
static textinv_status load_storage(ti_torch_file *file, ti_error *error, const ti_pickle_tensor *t,
                                   const unsigned char **out)
{
  const size_t expected = (size_t)t->numel * ti_file_dtype_size(t->dtype);
  textinv_status status;
  zip_int64_t i;
  zip_stat_t st;
  size_t size;

  *out = NULL;
  if ((status = find_member(file, error, "data/", t->key, &i)) < 0)
    return status;
  if (i < 0 || (size_t)i >= file->num_members)
    return ti_fail(error, TEXTINV_E_FORMAT, "%s: zip archive: has no storage \"data/%s\"",
                   file->name, t->key);
  if (zip_stat_index(file->zip, (zip_uint64_t)i, 0, &st))
    return zip_failure(file, error, zip_get_error(file->zip));
  if (st.size != expected)
    return ti_fail(error, TEXTINV_E_FORMAT, "%s: storage \"data/%s\" has %llu bytes, expected %zu",
                   file->name, t->key, (unsigned long long)st.size, expected);
  if (!file->storages[i]) {
    status = read_member(file, error, (zip_uint64_t)i, SIZE_MAX, file->storages + i, &size);
    if (status < 0)
      return status;
  }
  *out = file->storages[i];
  return TEXTINV_OK;
}

static int is_contiguous(const ti_pickle_tensor *t)
{
  uint64_t expected = 1;

  for (int i = t->rank; i-- > 0;) {
    if (t->dims[i] != 1 && t->strides[i] != expected)
      return 0;
    expected *= t->dims[i];
  }
  return 1;
}

/* element after element in row-major order */
static void gather(unsigned char *out, const unsigned char *data, const ti_pickle_tensor *t,
                   uint64_t count)
{
  const size_t size = ti_file_dtype_size(t->dtype);
  uint64_t index[TI_TENSOR_MAX_RANK] = { 0 }, at = t->offset;

  for (uint64_t n = 0; n < count; n++, out += size) {
    memcpy(out, data + at * size, size);
    for (int i = t->rank; i-- > 0;) {
      at += t->strides[i];
      if (++index[i] < t->dims[i])
        break;
      at -= t->strides[i] * t->dims[i];
      index[i] = 0;
    }
  }
}

void ti_torch_describe(const char *name, const ti_pickle_value *value, ti_tensor *out)
{
  static const char *const names[] = { "F32", "F16", "BF16", "F64", "I64",
                                       "I32", "I16", "I8",   "U8",  "BOOL" };
  const ti_pickle_tensor *t = value->u.tensor;

  memset(out, 0, sizeof(*out));
  out->name = name;
  out->dtype = t->dtype;
  out->dtype_name = names[t->dtype];
  out->rank = t->rank;
  out->count = 1;
  for (int i = 0; i < t->rank; i++) {
    out->dims[i] = t->dims[i];
    out->count *= t->dims[i];
  }
}

textinv_status ti_torch_load(ti_torch_file *file, ti_error *error, const char *name,
                             const ti_pickle_value *value, ti_tensor *out)
{
  const ti_pickle_tensor *t = value->u.tensor;
  const size_t size = ti_file_dtype_size(t->dtype);
  const size_t most = file->size > MAX_COPIED ? file->size : MAX_COPIED;
  const unsigned char *data;
  textinv_status status;
  void *array = file->copies, *copy;

  ti_torch_describe(name, value, out);
  if ((status = load_storage(file, error, t, &data)) < 0)
    return status;
  if (is_contiguous(t) || !out->count) {
    out->bytes = (size_t)out->count * size;
    out->data = data + (out->count ? (size_t)t->offset * size : 0);
    return TEXTINV_OK;
  }
  if (out->count > (most - file->copied) / size)
    return ti_fail(error, TEXTINV_E_LIMIT,
                   "%s: tensor \"%.*s\": the transposed and expanded tensors have over %zu bytes",
                   file->name, ti_utf8_cut(name, 80), name, most);
  out->bytes = (size_t)out->count * size;
  file->copied += out->bytes;
  if (grow(&array, file->num_copies, sizeof(void *)))
    return ti_fail_nomem(error, 2 * file->num_copies * sizeof(void *), file->name);
  file->copies = array;
  copy = ti_realloc_array(NULL, (size_t)out->count, size);
  if (!copy)
    return ti_fail_nomem(error, out->bytes, file->name);
  gather(copy, data, t, out->count);
  file->copies[file->num_copies++] = copy;
  out->data = copy;
  return TEXTINV_OK;
}

textinv_status ti_torch_dict(const ti_torch_file *file, ti_error *error,
                             const ti_pickle_value **out)
{
  const ti_pickle_value *root = ti_torch_root(file), *inner = ti_pickle_get(root, "state_dict");
  const ti_pickle_value *dict = inner ? inner : root;

  *out = NULL;
  if (dict->kind != TI_PICKLE_DICT)
    return ti_fail(error, TEXTINV_E_FORMAT, "%s: holds no dict of tensors", file->name);
  if (dict->u.list.count / 2 > MAX_TENSORS)
    return ti_fail(error, TEXTINV_E_LIMIT, "%s: has %zu tensors, at most %d are read", file->name,
                   dict->u.list.count / 2, MAX_TENSORS);
  *out = dict;
  return TEXTINV_OK;
}

textinv_status ti_torch_load_all(ti_torch_file *file, ti_error *error)
{
  const ti_pickle_value *dict;
  textinv_status status;

  if ((status = ti_torch_dict(file, error, &dict)) < 0)
    return status;
  ti_free(file->tensors);
  file->count = 0;
  file->tensors = ti_calloc(dict->u.list.count / 2, sizeof(*file->tensors));
  if (!file->tensors)
    return ti_fail_nomem(error, dict->u.list.count / 2 * sizeof(*file->tensors), file->name);
  for (size_t i = 0; i + 1 < dict->u.list.count; i += 2) {
    const ti_pickle_value *key = dict->u.list.items[i], *value = dict->u.list.items[i + 1];

    if (key->kind != TI_PICKLE_STRING || value->kind != TI_PICKLE_TENSOR)
      continue;
    status = ti_torch_load(file, error, key->u.string, value, file->tensors + file->count);
    if (status < 0)
      return status;
    file->count++;
  }
  return TEXTINV_OK;
}

size_t ti_torch_count(const ti_torch_file *file)
{
  return file->count;
}

const ti_tensor *ti_torch_tensor(const ti_torch_file *file, size_t i)
{
  return i < file->count ? file->tensors + i : NULL;
}
