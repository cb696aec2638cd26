/* What a file or folder is, from what is in it. */
#include <string.h>
#include <sys/stat.h>

#include "api.h"
#include "atomic_file.h"
#include "embedding_file.h"
#include "embedding_image.h"
#include "format.h"
#include "image_codec.h"
#include "safetensors.h"
#include "torch_file.h"

enum { LOCAL_HEADER = 30 /* bytes of a zip member before its name */ };

/* the tensors of a file, and those that no embedding has */
typedef struct tally {
  size_t count, others;
  int known; /* a key that nothing else has */
  int unet;  /* a weight of a single file's UNet */
} tally;

static int is_unet(const char *key)
{
  static const char prefix[] = "model.diffusion_model.";

  return !strncmp(key, prefix, sizeof(prefix) - 1);
}

/* a word's vectors are few rows of floats; weights have more rows, or other shapes */
static void count_tensor(tally *t, const char *key, ti_file_dtype dtype, int rank,
                         const uint64_t *dims)
{
  static const char *const keys[] = { "emb_params",      "emp_params",     "clip_l",
                                      "clip_g",          "IN01",           "OUT11",
                                      "text_encoders_0", "text_encoders_1" };
  const int is_float = dtype == TI_FILE_F32 || dtype == TI_FILE_F16 || dtype == TI_FILE_BF16 ||
                       dtype == TI_FILE_F64;

  for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
    t->known |= !strcmp(key, keys[i]);
  t->unet |= is_unet(key);
  t->count++;
  t->others += !is_float || rank < 1 || rank > 2 || (rank == 2 && dims[0] > TI_MAX_VECTORS);
}

static textinv_kind kind_of_tally(const tally *t)
{
  if (t->unet)
    return TEXTINV_KIND_MODEL;
  return t->known || (t->count && !t->others && t->count <= TI_EMBEDDING_MAX_WORDS)
           ? TEXTINV_KIND_EMBEDDING
           : TEXTINV_KIND_UNKNOWN;
}

static textinv_kind kind_of_safetensors(const void *bytes, size_t size, const char *path)
{
  tally t = { 0, 0, 0, 0 };
  ti_safetensors *file;
  textinv_kind kind = TEXTINV_KIND_CHECKPOINT;

  if (ti_safetensors_parse(&file, NULL, path, bytes, size) < 0)
    return TEXTINV_KIND_UNKNOWN;
  if (!ti_safetensors_metadata(file, "textinv_checkpoint")) {
    for (size_t i = 0; i < ti_safetensors_count(file); i++) {
      const ti_tensor *tensor = ti_safetensors_tensor(file, i);

      count_tensor(&t, tensor->name, tensor->dtype, tensor->rank, tensor->dims);
    }
    kind = kind_of_tally(&t);
  }
  ti_safetensors_close(file);
  return kind;
}

/* the pickle is the first member that torch writes */
static int begins_like_torch(const unsigned char *bytes, size_t size)
{
  static const char name[] = "/data.pkl";
  const size_t length = size < LOCAL_HEADER ? 0 : bytes[26] | (size_t)bytes[27] << 8;

  return length >= sizeof(name) - 1 && length <= size - LOCAL_HEADER &&
         !memcmp(bytes + LOCAL_HEADER + length - (sizeof(name) - 1), name, sizeof(name) - 1);
}

static textinv_kind kind_of_torch(const void *bytes, size_t size, const char *path)
{
  tally t = { 0, 0, 0, 0 };
  const ti_pickle_value *root;
  ti_torch_file *file;

  if (ti_torch_parse(&file, NULL, path, bytes, size) < 0) /* loading tells why */
    return begins_like_torch(bytes, size) ? TEXTINV_KIND_EMBEDDING : TEXTINV_KIND_UNKNOWN;
  root = ti_torch_root(file);
  t.known = ti_pickle_get(root, "string_to_param") != NULL;
  if (root->kind == TI_PICKLE_TENSOR)
    count_tensor(&t, "", root->u.tensor->dtype, root->u.tensor->rank, root->u.tensor->dims);
  for (size_t i = 0; root->kind == TI_PICKLE_DICT && i + 1 < root->u.list.count; i += 2) {
    const ti_pickle_value *key = root->u.list.items[i], *value = root->u.list.items[i + 1];

    if (key->kind == TI_PICKLE_STRING && value->kind == TI_PICKLE_TENSOR)
      count_tensor(&t, key->u.string, value->u.tensor->dtype, value->u.tensor->rank,
                   value->u.tensor->dims);
  }
  if (ti_torch_dict(file, NULL, &root) >= 0) { /* a checkpoint has its weights one level below */
    for (size_t i = 0; i + 1 < root->u.list.count; i += 2)
      t.unet |= root->u.list.items[i]->kind == TI_PICKLE_STRING &&
                is_unet(root->u.list.items[i]->u.string);
  }
  ti_torch_close(file);
  return kind_of_tally(&t);
}

static textinv_kind kind_of_bytes(const unsigned char *bytes, size_t size, const char *path)
{
  const char *text;
  size_t length;
  textinv_kind kind;
  int torch;

  if (ti_png_check(bytes, size)) {
    return ti_png_text(&text, &length, NULL, path, bytes, size, TI_EMBEDDING_KEY) >= 0 && text
             ? TEXTINV_KIND_EMBEDDING
             : TEXTINV_KIND_IMAGE;
  }
  if (ti_jpeg_check(bytes, size))
    return TEXTINV_KIND_IMAGE;
  torch = ti_torch_check(bytes, size) || ti_torch_check_old(bytes, size);
  if (!torch)
    kind = kind_of_safetensors(bytes, size, path);
  else if (ti_torch_check(bytes, size))
    kind = kind_of_torch(bytes, size, path);
  else
    kind = TEXTINV_KIND_EMBEDDING; /* loading tells what to do with it */
  if (size <= TI_EMBEDDING_MAX_BYTES || kind == TEXTINV_KIND_MODEL)
    return kind;
  /* of torch's files models alone are as large: opening tells what is wrong with it */
  return torch && kind == TEXTINV_KIND_EMBEDDING ? TEXTINV_KIND_MODEL : TEXTINV_KIND_UNKNOWN;
}

/* a CLIPModel's config has those of two towers */
static int is_clip(const char *folder)
{
  char path[TI_PATH_SIZE];
  struct stat st;
  ti_json json;
  int towers;

  ti_format(path, sizeof(path), "%s/config.json", folder);
  if (stat(path, &st) || !S_ISREG(st.st_mode) || ti_json_open(&json, NULL, path) < 0)
    return 0;
  towers = json_is_object(json_object_get(json.root, "text_config")) &&
           json_is_object(json_object_get(json.root, "vision_config"));
  ti_json_close(&json);
  return towers;
}

textinv_status textinv_file_kind(textinv_kind *out, textinv_session *session, const char *path)
{
  ti_error *error = ti_begin(session);
  char index[TI_PATH_SIZE];
  const void *bytes;
  struct stat st;
  size_t size;
  textinv_status status;

  if ((status = ti_check_null(error, out, "out")) < 0 ||
      (status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, path, "path")) < 0)
    return status;
  *out = TEXTINV_KIND_UNKNOWN;
  ti_format(index, sizeof(index), "%s/model_index.json", path);
  if (!stat(path, &st) && S_ISDIR(st.st_mode)) {
    if (!stat(index, &st) && S_ISREG(st.st_mode))
      *out = TEXTINV_KIND_MODEL;
    else if (ti_embedding_folder_check(path))
      *out = TEXTINV_KIND_EMBEDDING;
    else if (is_clip(path))
      *out = TEXTINV_KIND_CLIP;
    return TEXTINV_OK;
  }
  if ((status = ti_file_map(&bytes, &size, error, path)) < 0)
    return status;
  if (size)
    *out = kind_of_bytes(bytes, size, path);
  ti_file_unmap(bytes, size);
  return TEXTINV_OK;
}
