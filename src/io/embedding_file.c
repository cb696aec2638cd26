/*
 * Files of learnt words, read. The container is told by the first bytes, the layout by the keys.
 *
 *   diffusers   {WORD: [n, d] or [d], ...}
 *   sdxl        {"clip_l": [n, d], "clip_g": [n, e]}; "text_encoders_0" and "_1" are the same
 *   kohya       {"emb_params": [n, d]}
 *   onetrainer  {"emp_params": [n, d]}, as its author spelt it
 *   a1111       {"string_to_param": {"*": [n, d]}, "name": NAME, "step": N, ...}, also in a PNG
 *   compvis     {"string_to_param": ParameterDict {WORD: [n, d], ...}, ...}
 *   tensor      [n, d] or [d], not in a dict
 *   checkpoint  {"rows.K.WORD": [n, d] of encoder K, ...}, moments and state beside them, which are
 *               left: metadata "textinv_checkpoint" tells it from diffusers' layout
 */
#include "embedding_file.h"

#include <math.h>
#include <string.h>

#include "alloc.h"
#include "atomic_file.h"
#include "dtype.h"
#include "embedding_image.h"
#include "format.h"
#include "image_codec.h"
#include "torch_file.h"
#include "utf8.h"

enum {
  MAX_WORD = 255,
  MAX_DIM = 65536,
  /* as float: any number of names may stand for the same bytes */
  MAX_ROWS = 2 * TI_EMBEDDING_MAX_BYTES,
  MAX_METADATA = 16 << 20 /* bytes: a pickle may name one long string any number of times */
};

typedef struct source {
  const char *path;
  ti_error *error;
  ti_tensor *tensors; /* under their keys */
  size_t count;
  size_t metadata_bytes;
} source;

/* --- one tensor */

static float element(const ti_tensor *t, size_t i)
{
  const unsigned char *p = t->data; /* may be unaligned */
  uint16_t half;
  double d;
  float f;

  switch (t->dtype) {
  case TI_FILE_F32: memcpy(&f, p + 4 * i, 4); return f;
  case TI_FILE_F16: memcpy(&half, p + 2 * i, 2); return ti_f16_to_f32(half);
  case TI_FILE_BF16: memcpy(&half, p + 2 * i, 2); return ti_bf16_to_f32(half);
  default:
    memcpy(&d, p + 8 * i, 8);
    return fabs(d) <= 3.4028234663852886e38 ? (float)d : isnan(d) ? NAN : INFINITY;
  }
}

static textinv_status check_tensor(const source *s, const ti_tensor *t)
{
  const int cut = ti_utf8_cut(t->name, 80);
  const uint64_t n = t->rank == 2 ? t->dims[0] : 1, dim = t->rank ? t->dims[t->rank - 1] : 0;

  if (t->dtype != TI_FILE_F32 && t->dtype != TI_FILE_F16 && t->dtype != TI_FILE_BF16 &&
      t->dtype != TI_FILE_F64)
    return ti_fail(s->error, TEXTINV_E_UNSUPPORTED,
                   "%s: \"%.*s\" has values of type %s, expected F32, F16, BF16 or F64", s->path,
                   cut, t->name, t->dtype_name);
  if (t->rank != 1 && t->rank != 2)
    return ti_fail(s->error, TEXTINV_E_SHAPE,
                   "%s: \"%.*s\" has %d dimensions, an embedding is [vectors, width] or [width]",
                   s->path, cut, t->name, t->rank);
  if (n < 1 || dim < 1)
    return ti_fail(s->error, TEXTINV_E_SHAPE, "%s: \"%.*s\" has %llu vectors of width %llu",
                   s->path, cut, t->name, (unsigned long long)n, (unsigned long long)dim);
  if (n > TI_MAX_VECTORS || dim > MAX_DIM)
    return ti_fail(s->error, TEXTINV_E_LIMIT,
                   "%s: \"%.*s\" has %llu vectors of width %llu, at most %d of %d are read",
                   s->path, cut, t->name, (unsigned long long)n, (unsigned long long)dim,
                   TI_MAX_VECTORS, MAX_DIM);
  return TEXTINV_OK;
}

/* append an entry; word may be NULL; the arrays have room */
static textinv_status add_entry(ti_embedding_file *out, const source *s, const ti_tensor *t,
                                const char *word, int encoder)
{
  ti_embedding_entry *entry = out->entries + out->count;
  const char *shown = word ? word : t->name;
  textinv_status status = check_tensor(s, t);

  if (status < 0)
    return status;
  if (word && (!*word || strlen(word) > MAX_WORD))
    return ti_fail(s->error, TEXTINV_E_LIMIT, "%s: a word has %zu bytes, expected 1..%d", s->path,
                   strlen(word), MAX_WORD);
  entry->encoder = encoder;
  entry->num_vectors = t->rank == 2 ? (int)t->dims[0] : 1;
  entry->dim = (int)t->dims[t->rank - 1];
  entry->rows = ti_calloc((size_t)t->count, sizeof(*entry->rows));
  entry->word = word ? ti_strdup(word) : NULL;
  out->count++;
  if (!entry->rows || (word && !entry->word))
    return ti_fail_nomem(s->error, (size_t)t->count * sizeof(*entry->rows), s->path);
  for (size_t i = 0; i < t->count; i++) {
    const float v = element(t, i);

    if (!isfinite(v))
      return ti_fail(s->error, TEXTINV_E_NONFINITE, "%s: \"%.*s\": vector %zu, column %zu is %s",
                     s->path, ti_utf8_cut(shown, 80), shown, i / (size_t)entry->dim,
                     i % (size_t)entry->dim, isnan(v) ? "NaN" : "infinite");
    entry->rows[i] = v;
  }
  return TEXTINV_OK;
}

static textinv_status make_room(ti_embedding_file *out, const source *s, size_t count)
{
  uint64_t bytes = 0;

  if (count > TI_EMBEDDING_MAX_WORDS)
    return ti_fail(s->error, TEXTINV_E_LIMIT, "%s: has %zu tensors, an embedding at most %d",
                   s->path, count, TI_EMBEDDING_MAX_WORDS);
  for (size_t i = 0; i < s->count; i++)
    bytes += s->tensors[i].count * sizeof(*out->entries->rows); /* no wrap: each is in the file */
  if (bytes > MAX_ROWS)
    return ti_fail(s->error, TEXTINV_E_LIMIT,
                   "%s: its %zu tensors take %llu bytes of memory, at most %d are possible",
                   s->path, s->count, (unsigned long long)bytes, MAX_ROWS);
  out->entries = ti_calloc(count, sizeof(*out->entries));
  return out->entries ? TEXTINV_OK
                      : ti_fail_nomem(s->error, count * sizeof(*out->entries), s->path);
}

static textinv_status set_text(char **to, const source *s, const char *text)
{
  ti_free(*to);
  *to = ti_strdup(text);
  return *to ? TEXTINV_OK : ti_fail_nomem(s->error, strlen(text) + 1, s->path);
}

/* what a file calls its word; a name too long for one is metadata alone */
static textinv_status set_name(ti_embedding_file *out, const source *s, const char *name)
{
  return name && *name && strlen(name) <= MAX_WORD ? set_text(&out->name, s, name) : TEXTINV_OK;
}

/* --- metadata */

/* room for that many pairs, and for the layout before them */
static textinv_status make_metadata_room(ti_embedding_file *out, const source *s, size_t count)
{
  out->metadata = ti_calloc(count + 1, sizeof(*out->metadata));
  out->num_metadata = out->metadata ? 1 : 0;
  return out->metadata ? TEXTINV_OK
                       : ti_fail_nomem(s->error, (count + 1) * sizeof(*out->metadata), s->path);
}

/* one block holds key and value */
static textinv_status set_metadata(ti_key_value *to, source *s, const char *key, const char *value)
{
  const size_t key_size = strlen(key) + 1, value_size = strlen(value) + 1;
  char *block;

  s->metadata_bytes += key_size + value_size;
  if (s->metadata_bytes > MAX_METADATA)
    return ti_fail(s->error, TEXTINV_E_LIMIT, "%s: has over %d bytes of metadata", s->path,
                   MAX_METADATA);
  block = ti_calloc(key_size + value_size, 1);
  if (!block)
    return ti_fail_nomem(s->error, key_size + value_size, s->path);
  memcpy(block, key, key_size);
  memcpy(block + key_size, value, value_size);
  *to = (ti_key_value){ block, block + key_size };
  return TEXTINV_OK;
}

static textinv_status add_metadata(ti_embedding_file *out, source *s, const char *key,
                                   const char *value)
{
  return set_metadata(out->metadata + out->num_metadata++, s, key, value);
}

static textinv_status read_pairs(ti_embedding_file *out, source *s, const ti_safetensors *file)
{
  size_t count;
  const ti_key_value *pairs = ti_safetensors_pairs(file, &count);
  textinv_status status = make_metadata_room(out, s, count);

  for (size_t i = 0; i < count && status >= 0; i++)
    status = add_metadata(out, s, pairs[i].key, pairs[i].value);
  return status;
}

/* the text of a value; NULL for one that is no metadata */
static const char *text_of(const ti_pickle_value *value, char room[32])
{
  switch (value->kind) {
  case TI_PICKLE_STRING: return value->u.string;
  case TI_PICKLE_BOOL: return value->u.integer ? "true" : "false";
  case TI_PICKLE_INT: ti_format(room, 32, "%lld", value->u.integer); return room;
  case TI_PICKLE_FLOAT: ti_format_double(room, value->u.real); return room;
  default: return NULL;
  }
}

/* what stands in a dict beside the tensors */
static textinv_status read_dict(ti_embedding_file *out, source *s, const ti_pickle_value *dict)
{
  const size_t count = dict->u.list.count / 2;
  textinv_status status = make_metadata_room(out, s, count);

  for (size_t i = 0; i < count && status >= 0; i++) {
    const ti_pickle_value *key = dict->u.list.items[2 * i], *value = dict->u.list.items[2 * i + 1];
    char room[32];
    const char *text = text_of(value, room);

    if (key->kind == TI_PICKLE_STRING && text)
      status = add_metadata(out, s, key->u.string, text);
  }
  return status;
}

/* --- keys at the top level */

static const ti_tensor *find(const source *s, const char *key)
{
  for (size_t i = 0; i < s->count; i++) {
    if (!strcmp(s->tensors[i].name, key))
      return s->tensors + i;
  }
  return NULL;
}

static const ti_tensor *find_either(const source *s, const char *key, const char *other)
{
  const ti_tensor *t = find(s, key);

  return t ? t : find(s, other);
}

/* refuse what is known and is no embedding that can be used */
static textinv_status check_kind(const source *s)
{
  if (find(s, "IN01") && find(s, "OUT11"))
    return ti_fail(s->error, TEXTINV_E_UNSUPPORTED,
                   "%s: has a vector for every layer (\"IN01\" .. \"OUT11\"), which no prompt can "
                   "use",
                   s->path);
  if (s->count == 1 &&
      (find(s, "emp_params_out") || find(s, "clip_l_out") || find(s, "clip_g_out")))
    return ti_fail(s->error, TEXTINV_E_UNSUPPORTED,
                   "%s: has only vectors for behind the text encoder (\"%s\")", s->path,
                   s->tensors->name);
  return s->count ? TEXTINV_OK
                  : ti_fail(s->error, TEXTINV_E_FORMAT, "%s: holds no embedding: it has no tensor",
                            s->path);
}

/* the names of all tensors but those two, a few of them in full; out->left_out stays NULL when
 * there are none */
static textinv_status note_left_out(ti_embedding_file *out, const source *s, const ti_tensor *read,
                                    const ti_tensor *also)
{
  enum { SHOWN = 3 };
  char text[256] = "";
  size_t used = 0, count = 0;

  for (size_t i = 0; i < s->count; i++) {
    const ti_tensor *t = s->tensors + i;

    if (t != read && t != also && count++ < SHOWN)
      used += ti_format(text + used, sizeof(text) - used, "%s\"%.*s\"", count > 1 ? ", " : "",
                        ti_utf8_cut(t->name, 40), t->name);
  }
  if (count > SHOWN)
    ti_format(text + used, sizeof(text) - used, " and %zu more", count - SHOWN);
  return count ? set_text(&out->left_out, s, text) : TEXTINV_OK;
}

/* tensors under their keys, out->name and out->step already set */
static textinv_status read_keys(ti_embedding_file *out, const source *s)
{
  const ti_tensor *l = find_either(s, "clip_l", "text_encoders_0");
  const ti_tensor *g = find_either(s, "clip_g", "text_encoders_1");
  const ti_tensor *kohya = find(s, "emb_params"), *onetrainer = find(s, "emp_params");
  textinv_status status;

  if ((status = check_kind(s)) < 0 || (status = make_room(out, s, s->count)) < 0)
    return status;
  if (l || g) {
    if ((status = set_text(&out->layout, s, "sdxl")) < 0 ||
        (status = note_left_out(out, s, l, g)) < 0 ||
        (l && (status = add_entry(out, s, l, out->name, 0)) < 0) ||
        (g && (status = add_entry(out, s, g, out->name, 1)) < 0))
      return status;
    if (l && g && out->entries[0].num_vectors != out->entries[1].num_vectors)
      return ti_fail(s->error, TEXTINV_E_SHAPE,
                     "%s: \"%s\" has %d vectors and \"%s\" %d, expected as many", s->path, l->name,
                     out->entries[0].num_vectors, g->name, out->entries[1].num_vectors);
    return TEXTINV_OK;
  }
  if (kohya || onetrainer) {
    const ti_tensor *t = kohya ? kohya : onetrainer;

    if ((status = set_text(&out->layout, s, kohya ? "kohya" : "onetrainer")) < 0 ||
        (status = note_left_out(out, s, t, t)) < 0)
      return status;
    return add_entry(out, s, t, out->name, -1);
  }
  if ((status = set_text(&out->layout, s, "diffusers")) < 0)
    return status;
  for (size_t i = 0; i < s->count; i++) {
    if ((status = add_entry(out, s, s->tensors + i, s->tensors[i].name, -1)) < 0)
      return status;
  }
  return TEXTINV_OK;
}

/* tensors of "string_to_param": {WORD: tensor}; "*" says nothing about the word, "name" may */
static textinv_status read_params(ti_embedding_file *out, const source *s, const char *layout)
{
  textinv_status status;

  if (!s->count)
    return ti_fail(s->error, TEXTINV_E_FORMAT, "%s: \"string_to_param\" holds no tensor", s->path);
  if ((status = make_room(out, s, s->count)) < 0 ||
      (status = set_text(&out->layout, s, layout)) < 0)
    return status;
  for (size_t i = 0; i < s->count; i++) {
    const char *key = s->tensors[i].name;

    status = add_entry(out, s, s->tensors + i, strcmp(key, "*") ? key : out->name, -1);
    if (status < 0)
      return status;
  }
  return TEXTINV_OK;
}

/* "rows.0.<toy>" and its like, in a checkpoint */
static int is_rows(const char *name)
{
  return !strncmp(name, "rows.", 5) && (name[5] == '0' || name[5] == '1') && name[6] == '.';
}

/* the words of a checkpoint of textinv_invert(); what a run needs to go on is not looked at */
static textinv_status read_checkpoint(ti_embedding_file *out, const source *s)
{
  textinv_status status;
  size_t count = 0;

  for (size_t i = 0; i < s->count; i++)
    count += is_rows(s->tensors[i].name);
  if (!count)
    return ti_fail(s->error, TEXTINV_E_FORMAT, "%s: a checkpoint without rows", s->path);
  if ((status = make_room(out, s, count)) < 0 ||
      (status = set_text(&out->layout, s, "checkpoint")) < 0)
    return status;
  for (size_t i = 0; i < s->count && status >= 0; i++) {
    const char *name = s->tensors[i].name;

    if (is_rows(name))
      status = add_entry(out, s, s->tensors + i, name + 7, name[5] - '0');
  }
  return status;
}

/* --- containers */

static textinv_status read_safetensors(ti_embedding_file *out, source *s, const void *bytes,
                                       size_t size)
{
  ti_safetensors *file;
  textinv_status status = ti_safetensors_parse(&file, s->error, s->path, bytes, size);

  if (status < 0)
    return status;
  s->count = ti_safetensors_count(file);
  s->tensors = ti_calloc(s->count, sizeof(*s->tensors));
  if (!s->tensors) {
    status = ti_fail_nomem(s->error, s->count * sizeof(*s->tensors), s->path);
    goto out;
  }
  for (size_t i = 0; i < s->count; i++)
    s->tensors[i] = *ti_safetensors_tensor(file, i);
  if ((status = read_pairs(out, s, file)) < 0)
    goto out;
  out->step = ti_embedding_parse_step(ti_safetensors_metadata(file, "step"));
  if ((status = set_name(out, s, ti_safetensors_metadata(file, "name"))) < 0)
    goto out;
  status = ti_safetensors_metadata(file, "textinv_checkpoint") ? read_checkpoint(out, s)
                                                               : read_keys(out, s);
out:
  ti_safetensors_close(file);
  return status;
}

/* load the tensors of a dict under their string keys */
static textinv_status load_tensors(source *s, ti_torch_file *file, const ti_pickle_value *dict)
{
  textinv_status status;

  if (dict->u.list.count / 2 > TI_EMBEDDING_MAX_WORDS)
    return ti_fail(s->error, TEXTINV_E_LIMIT, "%s: has %zu entries, an embedding at most %d",
                   s->path, dict->u.list.count / 2, TI_EMBEDDING_MAX_WORDS);
  s->tensors = ti_calloc(dict->u.list.count / 2, sizeof(*s->tensors));
  if (!s->tensors)
    return ti_fail_nomem(s->error, dict->u.list.count / 2 * sizeof(*s->tensors), s->path);
  for (size_t i = 0; i + 1 < dict->u.list.count; i += 2) {
    const ti_pickle_value *key = dict->u.list.items[i], *value = dict->u.list.items[i + 1];

    if (key->kind != TI_PICKLE_STRING || value->kind != TI_PICKLE_TENSOR)
      continue;
    status = ti_torch_load(file, s->error, key->u.string, value, s->tensors + s->count);
    if (status < 0)
      return status;
    s->count++;
  }
  return TEXTINV_OK;
}

static textinv_status read_string_to_param(ti_embedding_file *out, source *s, ti_torch_file *file,
                                           const ti_pickle_value *dict)
{
  textinv_status status;

  if (dict->kind != TI_PICKLE_DICT)
    return ti_fail(s->error, TEXTINV_E_FORMAT, "%s: \"string_to_param\" is no dict", s->path);
  if ((status = load_tensors(s, file, dict)) < 0)
    return status;
  return read_params(out, s, dict->is_parameter_dict ? "compvis" : "a1111");
}

/* a tensor that is all of the file */
static textinv_status read_bare(ti_embedding_file *out, source *s, ti_torch_file *file)
{
  textinv_status status;

  s->tensors = ti_calloc(1, sizeof(*s->tensors));
  if (!s->tensors)
    return ti_fail_nomem(s->error, sizeof(*s->tensors), s->path);
  if ((status = ti_torch_load(file, s->error, "tensor", ti_torch_root(file), s->tensors)) < 0)
    return status;
  s->count = 1;
  if ((status = make_room(out, s, 1)) < 0 || (status = make_metadata_room(out, s, 0)) < 0 ||
      (status = set_text(&out->layout, s, "tensor")) < 0)
    return status;
  return add_entry(out, s, s->tensors, NULL, -1);
}

static textinv_status read_torch(ti_embedding_file *out, source *s, const void *bytes, size_t size)
{
  const ti_pickle_value *root, *value;
  ti_torch_file *file;
  textinv_status status = ti_torch_parse(&file, s->error, s->path, bytes, size);

  if (status < 0)
    return status;
  root = ti_torch_root(file);
  if (root->kind == TI_PICKLE_TENSOR) {
    status = read_bare(out, s, file);
    goto out;
  }
  if (root->kind != TI_PICKLE_DICT) {
    status = ti_fail(s->error, TEXTINV_E_FORMAT,
                     "%s: holds no embedding: it is no dict and no tensor", s->path);
    goto out;
  }
  if ((status = read_dict(out, s, root)) < 0)
    goto out;
  value = ti_pickle_get(root, "step");
  if (value && value->kind == TI_PICKLE_INT && value->u.integer >= 0)
    out->step = value->u.integer;
  value = ti_pickle_get(root, "name");
  if (value && value->kind == TI_PICKLE_STRING && (status = set_name(out, s, value->u.string)) < 0)
    goto out;
  value = ti_pickle_get(root, "string_to_param");
  if (value)
    status = read_string_to_param(out, s, file, value);
  else if ((status = load_tensors(s, file, root)) >= 0)
    status = read_keys(out, s);
out:
  ti_torch_close(file);
  return status;
}

/* what stands in an object beside the tensors */
static textinv_status read_object(ti_embedding_file *out, source *s, json_t *object)
{
  textinv_status status = make_metadata_room(out, s, json_object_size(object));
  const char *key;
  json_t *value;

  json_object_foreach(object, key, value)
  {
    char room[32];
    const char *text = room;

    if (json_is_string(value))
      text = json_string_value(value);
    else if (json_is_integer(value))
      ti_format(room, sizeof(room), "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
      ti_format_double(room, json_real_value(value));
    else if (json_is_boolean(value))
      text = json_is_true(value) ? "true" : "false";
    else
      continue;
    if (status >= 0)
      status = add_metadata(out, s, key, text);
  }
  return status;
}

/* the dict of an A1111 file as JSON */
static textinv_status read_json(ti_embedding_file *out, source *s, const char *text, size_t size)
{
  ti_json json;
  json_t *params, *step;
  textinv_status status = ti_json_parse(&json, s->error, s->path, text, size);

  if (status < 0)
    return status;
  params = json_object_get(json.root, "string_to_param");
  step = json_object_get(json.root, "step");
  if ((status = read_object(out, s, json.root)) < 0 ||
      (status = set_name(out, s, json_string_value(json_object_get(json.root, "name")))) < 0)
    goto out;
  if (json_is_integer(step) && json_integer_value(step) >= 0)
    out->step = json_integer_value(step);
  status = ti_embedding_json_tensors(&s->tensors, &s->count, s->error, s->path,
                                     params ? params : json.root);
  if (status >= 0)
    status = params ? read_params(out, s, "a1111") : read_keys(out, s);
out:
  ti_embedding_json_free(s->tensors, s->count);
  s->tensors = NULL;
  ti_json_close(&json);
  return status;
}

static textinv_status read_picture(ti_embedding_file *out, source *s, const void *bytes,
                                   size_t size)
{
  char *json;
  size_t length;
  textinv_status status = ti_embedding_image_read(&json, &length, s->error, s->path, bytes, size);

  if (status >= 0)
    status = read_json(out, s, json, length);
  ti_free(json);
  return status;
}

textinv_status ti_embedding_file_decode(ti_embedding_file *out, ti_error *error, const char *name,
                                        const void *bytes, size_t size)
{
  const unsigned char *p = bytes;
  source s = { name, error, NULL, 0, 0 };
  textinv_status status;

  memset(out, 0, sizeof(*out));
  out->step = -1;
  if ((status = ti_file_check_size(error, name, size, TI_EMBEDDING_MAX_BYTES)) < 0)
    return status;
  if (ti_png_check(p, size))
    status = read_picture(out, &s, bytes, size);
  else if (ti_jpeg_check(p, size))
    status = ti_fail(error, TEXTINV_E_UNSUPPORTED,
                     "%s: is a JPEG picture; of pictures, PNG files alone hold an embedding", name);
  else if (ti_torch_check(p, size) || ti_torch_check_old(p, size))
    status = read_torch(out, &s, bytes, size);
  else
    status = read_safetensors(out, &s, bytes, size);
  if (status >= 0)
    status = set_metadata(out->metadata, &s, "layout", out->layout);
  ti_free(s.tensors);
  if (status < 0)
    ti_embedding_file_free(out);
  return status;
}

/* what read_keys(), check_kind() and read_torch() look for, and safetensors keeps for itself */
int ti_embedding_is_key(const char *word)
{
  static const char *const keys[] = {
    "__metadata__",   "IN01",           "OUT11",           "clip_g",
    "clip_g_out",     "clip_l",         "clip_l_out",      "emb_params",
    "emp_params",     "emp_params_out", "string_to_param", "text_encoders_0",
    "text_encoders_1"
  };

  for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
    if (!strcmp(word, keys[i]))
      return 1;
  }
  return 0;
}

textinv_status ti_embedding_metadata_copy(ti_key_value **out, ti_error *error,
                                          const ti_key_value *metadata, size_t count)
{
  source s = { .error = error, .path = "the other words" };
  ti_key_value *copy = count ? ti_calloc(count, sizeof(*copy)) : NULL;
  textinv_status status = TEXTINV_OK;
  size_t done = 0;

  *out = NULL;
  if (count && !copy)
    return ti_fail_nomem(error, count * sizeof(*copy), "metadata");
  while (done < count && status >= 0) {
    const ti_key_value *pair = &metadata[done];

    status = set_metadata(&copy[done], &s, pair->key, pair->value);
    done += status >= 0;
  }
  if (status < 0) {
    ti_embedding_metadata_free(copy, done);
    return status;
  }
  *out = copy;
  return TEXTINV_OK;
}

void ti_embedding_metadata_free(ti_key_value *metadata, size_t count)
{
  for (size_t i = 0; i < count; i++)
    ti_free((char *)metadata[i].key);
  ti_free(metadata);
}

void ti_embedding_file_free(ti_embedding_file *file)
{
  for (size_t i = 0; i < file->count; i++) {
    ti_free(file->entries[i].word);
    ti_free(file->entries[i].rows);
  }
  ti_free(file->entries);
  ti_free(file->layout);
  ti_free(file->name);
  ti_free(file->left_out);
  ti_embedding_metadata_free(file->metadata, file->num_metadata);
  memset(file, 0, sizeof(*file));
}
