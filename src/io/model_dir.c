/* Pipelines in the diffusers folder layout. */
#include "model_dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "alloc.h"
#include "format.h"
#include "safetensors.h"
#include "torch_file.h"
#include "utf8.h"

enum { MAX_SHARDS = 1024, MAX_TENSORS = 65536 };

/* one of the three is set */
typedef struct shard {
  char *path;
  ti_safetensors *file;
  ti_torch_file *torch;
  ti_tensor_list list; /* of a single file */
} shard;

typedef struct named_tensor {
  const ti_tensor *tensor;
  const char *path; /* of its shard */
} named_tensor;

struct ti_tensor_set {
  shard *shards;
  size_t num_shards;
  named_tensor *tensors; /* by name */
  size_t count;
};

/* "A/B" or "A/B/C", where B may be "" and is left out then; NULL when memory runs out */
static char *join(const char *a, const char *b, const char *c)
{
  if (!*b)
    return c ? join(a, c, NULL) : ti_strdup(a);
  const size_t size = strlen(a) + strlen(b) + (c ? strlen(c) + 1 : 0) + 2;
  char *path = ti_realloc_array(NULL, size, 1);

  if (path)
    ti_format(path, size, c ? "%s/%s/%s" : "%s/%s", a, b, c);
  return path;
}

static textinv_status no_memory(ti_error *error, const char *path)
{
  return ti_fail_nomem(error, strlen(path), path);
}

static int is_file(const char *path)
{
  struct stat st;

  return !stat(path, &st) && S_ISREG(st.st_mode);
}

textinv_status ti_model_dir_open(ti_model_dir *out, ti_error *error, const char *path)
{
  textinv_status status;
  struct stat st;
  char *index;

  memset(out, 0, sizeof(*out));
  if (stat(path, &st))
    return errno == ENOENT || errno == ENOTDIR
             ? ti_fail(error, TEXTINV_E_NOT_FOUND,
                       "%s: no such file or folder, expected a diffusers pipeline or a single file",
                       path)
             : ti_fail_errno(error, errno, path, "cannot be opened");
  index = join(path, "model_index.json", NULL);
  out->path = ti_strdup(path);
  if (!index || !out->path) {
    status = no_memory(error, path);
  } else if (!S_ISDIR(st.st_mode)) {
    if ((status = ti_single_file_open(&out->file, error, path)) >= 0)
      status = ti_single_file_index(out->file, error, &out->index);
  } else if (!is_file(index)) {
    status = ti_fail(error, TEXTINV_E_NOT_FOUND,
                     "%s: has no model_index.json, expected the folder of a diffusers pipeline",
                     path);
  } else {
    status = ti_json_open(&out->index, error, index);
  }
  ti_free(index);
  if (status < 0)
    ti_model_dir_close(out);
  return status;
}

void ti_model_dir_close(ti_model_dir *dir)
{
  ti_json_close(&dir->index);
  ti_single_file_close(dir->file);
  ti_free(dir->path);
  memset(dir, 0, sizeof(*dir));
}

textinv_status ti_model_dir_class(const ti_model_dir *dir, ti_error *error, const char *component,
                                  const char **class_name)
{
  const json_t *v = json_object_get(dir->index.root, component), *name;

  *class_name = NULL;
  if (!v || json_is_null(v))
    return TEXTINV_OK;
  name = json_array_get(v, 1);
  if (json_array_size(v) != 2 || !(json_is_string(name) || json_is_null(name)))
    return ti_fail(error, TEXTINV_E_FORMAT,
                   "%s: \"%s\" is not [library, class], both strings or null", dir->index.path,
                   component);
  if (!json_is_null(json_array_get(v, 0)))
    *class_name = json_string_value(name);
  return TEXTINV_OK;
}

textinv_status ti_model_dir_config(const ti_model_dir *dir, ti_error *error, const char *component,
                                   ti_json *out)
{
  textinv_status status;
  char *path;

  memset(out, 0, sizeof(*out));
  if (dir->file)
    return ti_single_file_config(dir->file, error, component, out);
  path = join(dir->path, component,
              strcmp(component, "scheduler") ? "config.json" : "scheduler_config.json");
  if (!path)
    return no_memory(error, dir->path);
  status = ti_json_open(out, error, path);
  ti_free(path);
  return status;
}

/* --- weights */

/* open one more file of the set, which owns path from here on */
static textinv_status open_shard(ti_tensor_set *set, ti_error *error, char *path)
{
  shard *s = set->shards + set->num_shards++;
  const size_t len = strlen(path);
  textinv_status status;

  s->path = path;
  if (len < 4 || strcmp(path + len - 4, ".bin"))
    return ti_safetensors_open(&s->file, error, path);
  status = ti_torch_open(&s->torch, error, path);
  return status < 0 ? status : ti_torch_load_all(s->torch, error);
}

static size_t shard_count(const shard *s)
{
  return s->file    ? ti_safetensors_count(s->file)
         : s->torch ? ti_torch_count(s->torch)
                    : s->list.count;
}

static const ti_tensor *shard_tensor(const shard *s, size_t i)
{
  return s->file    ? ti_safetensors_tensor(s->file, i)
         : s->torch ? ti_torch_tensor(s->torch, i)
                    : s->list.items + i;
}

static int by_name(const void *a, const void *b)
{
  return strcmp(((const named_tensor *)a)->tensor->name, ((const named_tensor *)b)->tensor->name);
}

/* one list of all files' tensors, by name */
static textinv_status merge(ti_tensor_set *set, ti_error *error)
{
  size_t count = 0;

  for (size_t i = 0; i < set->num_shards; i++)
    count += shard_count(set->shards + i);
  set->tensors = ti_calloc(count, sizeof(*set->tensors));
  if (!set->tensors)
    return ti_fail_nomem(error, count * sizeof(*set->tensors), "a list of tensors");
  for (size_t i = 0; i < set->num_shards; i++) {
    for (size_t k = 0; k < shard_count(set->shards + i); k++)
      set->tensors[set->count++] = (named_tensor){ shard_tensor(set->shards + i, k),
                                                   set->shards[i].path };
  }
  if (count)
    qsort(set->tensors, count, sizeof(*set->tensors), by_name);
  for (size_t i = 1; i < count; i++) {
    const named_tensor *a = set->tensors + i - 1, *b = set->tensors + i;

    if (!strcmp(a->tensor->name, b->tensor->name))
      return ti_fail(error, TEXTINV_E_CONFLICT, "%s: tensor \"%.*s\" is also in %s", b->path,
                     ti_utf8_cut(b->tensor->name, 80), b->tensor->name, a->path);
  }
  return TEXTINV_OK;
}

/* a file's name that stays within its folder */
static int is_plain_name(const char *s)
{
  return *s && *s != '.' && strlen(s) < 256 && !strpbrk(s, "/\\");
}

/* the distinct file names of a weight map, in order of appearance */
static textinv_status list_shards(ti_error *error, const ti_json *index, const json_t *map,
                                  const char **names, size_t *count)
{
  const char *key;
  json_t *value;

  *count = 0;
  if (json_object_size(map) > MAX_TENSORS)
    return ti_fail(error, TEXTINV_E_LIMIT, "%s: the weight map has %zu tensors, at most %d",
                   index->path, json_object_size(map), MAX_TENSORS);
  json_object_foreach((json_t *)(uintptr_t)map, key, value)
  {
    const char *name = json_string_value(value);
    size_t i = 0;

    if (!name || !is_plain_name(name))
      return ti_fail(error, TEXTINV_E_FORMAT,
                     "%s: the weight map puts \"%.*s\" into \"%.*s\", expected a file's name "
                     "without a folder",
                     index->path, ti_utf8_cut(key, 80), key, name ? ti_utf8_cut(name, 80) : 9,
                     name ? name : "no string");
    while (i < *count && strcmp(names[i], name))
      i++;
    if (i == MAX_SHARDS)
      return ti_fail(error, TEXTINV_E_LIMIT, "%s: the weight map names over %d files", index->path,
                     MAX_SHARDS);
    if (i == *count)
      names[(*count)++] = name;
  }
  return TEXTINV_OK;
}

/* every tensor of the weight map is where the map says */
static textinv_status check_map(const ti_tensor_set *set, ti_error *error, const ti_json *index,
                                const json_t *map)
{
  const char *key;
  json_t *value;

  json_object_foreach((json_t *)(uintptr_t)map, key, value)
  {
    const ti_tensor *t = ti_tensor_set_find(set, key);
    const char *path = t ? ti_tensor_set_path(set, t) : "";
    const char *slash = strrchr(path, '/');

    if (!t || strcmp(slash ? slash + 1 : path, json_string_value(value)))
      return ti_fail(error, TEXTINV_E_FORMAT, "%s: tensor \"%.*s\" is not in %s", index->path,
                     ti_utf8_cut(key, 80), key, json_string_value(value));
  }
  return TEXTINV_OK;
}

/* the files that DIR/COMPONENT/NAME.index.json names */
static textinv_status open_sharded(ti_tensor_set *set, ti_error *error, const char *folder,
                                   const char *path)
{
  const char *names[MAX_SHARDS];
  textinv_status status;
  const json_t *map;
  ti_json index;
  size_t count;

  if ((status = ti_json_open(&index, error, path)) < 0)
    return status;
  map = json_object_get(index.root, "weight_map");
  if (!json_is_object(map) || !json_object_size(map)) {
    status = ti_fail(error, TEXTINV_E_FORMAT, "%s: \"weight_map\" is not an object with entries",
                     path);
    goto out;
  }
  if ((status = list_shards(error, &index, map, names, &count)) < 0)
    goto out;
  set->shards = ti_calloc(count, sizeof(*set->shards));
  if (!set->shards) {
    status = no_memory(error, path);
    goto out;
  }
  for (size_t i = 0; i < count; i++) {
    char *shard_path = join(folder, names[i], NULL);

    status = shard_path ? open_shard(set, error, shard_path) : no_memory(error, path);
    if (status < 0)
      goto out;
  }
  if ((status = merge(set, error)) >= 0)
    status = check_map(set, error, &index, map);
out:
  ti_json_close(&index);
  return status;
}

static textinv_status open_single(ti_tensor_set *set, ti_error *error, char *path)
{
  textinv_status status;

  set->shards = ti_calloc(1, sizeof(*set->shards));
  if (!set->shards) {
    status = no_memory(error, path);
    ti_free(path);
    return status;
  }
  status = open_shard(set, error, path);
  return status < 0 ? status : merge(set, error);
}

/* a component's part of a single file */
static textinv_status open_part(ti_tensor_set *set, ti_error *error, const ti_model_dir *dir,
                                const char *component)
{
  textinv_status status;

  set->shards = ti_calloc(1, sizeof(*set->shards));
  if (!set->shards || !(set->shards->path = ti_strdup(dir->path)))
    return no_memory(error, dir->path);
  set->num_shards = 1;
  status = ti_single_file_tensors(dir->file, error, component, &set->shards->list);
  return status < 0 ? status : merge(set, error);
}

/*
 * Names that weights may have, best first: safetensors, whole files, no variant. "%s%s" is the stem
 * with the variant. That of a sharded set was spelt in three ways.
 */
static const char *const variants[] = { "", ".fp16", ".bf16" };
static const char *const spellings[] = {
  "%s%s.safetensors",
  "%s.safetensors.index%s.json",
  "%s.safetensors%s.index.json",
  "%s%s.safetensors.index.json",
  "%s%s.bin",
  "%s.bin.index%s.json",
  "%s.bin%s.index.json",
  "%s%s.bin.index.json",
};

enum { NUM_VARIANTS = 3, SAFETENSORS_SPELLINGS = 4, NUM_SPELLINGS = 8 };

/* the first of some spellings that is a file; *out = NULL when none is */
static textinv_status look_for(char **out, ti_error *error, const char *folder, int from, int to)
{
  /* as diffusers and transformers call them; the latter has another name for torch files */
  const char *const stems[] = { "diffusion_pytorch_model",
                                from < SAFETENSORS_SPELLINGS ? "model" : "pytorch_model" };
  char name[96];

  *out = NULL;
  for (int v = 0; v < NUM_VARIANTS; v++) {
    for (int s = from; s < to; s++) {
      for (int i = 0; i < 2; i++) {
        char *path;

        ti_format(name, sizeof(name), spellings[s], stems[i], variants[v]);
        path = join(folder, name, NULL);
        if (!path)
          return no_memory(error, folder);
        if (is_file(path)) {
          *out = path;
          return TEXTINV_OK;
        }
        ti_free(path);
      }
    }
  }
  return TEXTINV_OK;
}

textinv_status ti_model_dir_weights(const ti_model_dir *dir, ti_error *error, const char *component,
                                    ti_tensor_set **out)
{
  textinv_status status;
  char *folder = join(dir->path, component, NULL), *path = NULL;
  ti_tensor_set *set = ti_calloc(1, sizeof(*set));

  *out = NULL;
  if (!folder || !set) {
    status = no_memory(error, dir->path);
    goto out;
  }
  if (dir->file) {
    status = open_part(set, error, dir, component);
    goto done;
  }
  status = look_for(&path, error, folder, 0, SAFETENSORS_SPELLINGS);
  if (status >= 0 && !path)
    status = look_for(&path, error, folder, SAFETENSORS_SPELLINGS, NUM_SPELLINGS);
  if (status < 0)
    goto out;
  if (!path) {
    status = ti_fail(
      error, TEXTINV_E_NOT_FOUND,
      "%s: no weights; looked for diffusion_pytorch_model.safetensors, "
      "model.safetensors, diffusion_pytorch_model.bin and pytorch_model.bin, also as "
      ".fp16 and .bf16 variants and in parts with an .index.json",
      folder);
    goto out;
  }
  if (strstr(path + strlen(folder), ".json")) {
    status = open_sharded(set, error, folder, path);
  } else {
    status = open_single(set, error, path);
    path = NULL;
  }
done:
  if (status >= 0) {
    *out = set;
    set = NULL;
  }
out:
  ti_tensor_set_free(set);
  ti_free(path);
  ti_free(folder);
  return status;
}

size_t ti_tensor_set_count(const ti_tensor_set *set)
{
  return set->count;
}

const ti_tensor *ti_tensor_set_tensor(const ti_tensor_set *set, size_t i)
{
  return i < set->count ? set->tensors[i].tensor : NULL;
}

static const named_tensor *find(const ti_tensor_set *set, const char *name)
{
  const ti_tensor wanted = { .name = name };
  const named_tensor key = { &wanted, NULL };

  if (!set->count)
    return NULL;
  return bsearch(&key, set->tensors, set->count, sizeof(key), by_name);
}

const ti_tensor *ti_tensor_set_find(const ti_tensor_set *set, const char *name)
{
  const named_tensor *found = find(set, name);

  return found ? found->tensor : NULL;
}

const char *ti_tensor_set_path(const ti_tensor_set *set, const ti_tensor *tensor)
{
  const named_tensor *found = find(set, tensor->name);

  return found ? found->path : NULL;
}

void ti_tensor_set_free(ti_tensor_set *set)
{
  if (!set)
    return;
  for (size_t i = 0; i < set->num_shards; i++) {
    ti_safetensors_close(set->shards[i].file);
    ti_torch_close(set->shards[i].torch);
    ti_tensor_list_free(&set->shards[i].list);
    ti_free(set->shards[i].path);
  }
  ti_free(set->shards);
  ti_free(set->tensors);
  ti_free(set);
}
