/* JSON configs: jansson behind limits, and getters that say what they met. */
#include "json.h"

#include <math.h>
#include <string.h>

#include "alloc.h"
#include "atomic_file.h"
#include "format.h"
#include "utf8.h"

enum { MAX_BYTES = 16 << 20, MAX_DEPTH = 64, MAX_VALUES = 1 << 21 };

/*
 * Depth and number of values, counted before a tree is built. What is no JSON is counted, too:
 * jansson refuses it afterwards, with line and column.
 */
static textinv_status check_size(ti_error *error, const char *name, const char *text, size_t size)
{
  size_t depth = 0, values = 0;
  int in_string = 0;

  for (size_t i = 0; i < size; i++) {
    const char c = text[i];

    if (in_string) {
      if (c == '\\')
        i++;
      else if (c == '"')
        in_string = 0;
      continue;
    }
    switch (c) {
    case '"': in_string = 1; break;
    case '[':
    case '{':
      if (++depth > MAX_DEPTH)
        return ti_fail(error, TEXTINV_E_LIMIT, "%s: byte %zu: nested deeper than %d", name, i,
                       MAX_DEPTH);
      values++;
      break;
    case ']':
    case '}': depth -= depth > 0; break;
    case ',':
    case ':': values++; break;
    default: break;
    }
  }
  if (values > MAX_VALUES)
    return ti_fail(error, TEXTINV_E_LIMIT, "%s: has over %d values", name, MAX_VALUES);
  return TEXTINV_OK;
}

/* an integer beyond 64 bits, which jansson refuses, as a real of the same length */
static size_t shorten_integer(char *text, size_t size)
{
  enum { KEPT = 16 };
  size_t len = 0;

  while (len < size && text[len] >= '0' && text[len] <= '9')
    len++;
  if ((len > 19 || (len == 19 && memcmp(text, "9223372036854775807", 19) > 0)) &&
      len < 100 + KEPT && *text != '0' &&
      !(len < size && (text[len] == '.' || text[len] == 'e' || text[len] == 'E'))) {
    memset(text + KEPT, ' ', len - KEPT);
    text[KEPT] = 'e';
    text[KEPT + 1] = (char)('0' + (len - KEPT) / 10);
    text[KEPT + 2] = (char)('0' + (len - KEPT) % 10);
  }
  return len;
}

/*
 * What Python writes and jansson does not read, in place: Infinity ("lambda_min_clipped" of
 * schedulers), of which null, the absent key, is made; and integers beyond 64 bits
 * ("model_max_length" of tokenizers).
 */
static void adapt(char *text, size_t size)
{
  static const char word[] = "Infinity";
  const size_t len = sizeof(word) - 1;
  int in_string = 0;

  for (size_t i = 0; i < size; i++) {
    const char c = text[i];

    if (c == '"') {
      in_string = !in_string;
    } else if (in_string) {
      i += c == '\\';
    } else if (c == 'I' && size - i >= len && memcmp(text + i, word, len) == 0) {
      if (i > 0 && text[i - 1] == '-')
        text[i - 1] = ' ';
      memcpy(text + i, "null    ", len);
      i += len - 1;
    } else if (c >= '0' && c <= '9') {
      const char before = i > 0 ? text[i - 1] : ' ';

      if (before == '.' || before == 'e' || before == 'E' || before == '+')
        while (i + 1 < size && text[i + 1] >= '0' && text[i + 1] <= '9')
          i++;
      else
        i += shorten_integer(text + i, size - i) - 1;
    }
  }
}

textinv_status ti_json_parse(ti_json *out, ti_error *error, const char *name, const char *text,
                             size_t size)
{
  textinv_status status;
  json_error_t why = { 0 }; /* jansson says nothing when it has no memory to begin */
  char *adapted;

  memset(out, 0, sizeof(*out));
  if (size > MAX_BYTES)
    return ti_fail(error, TEXTINV_E_LIMIT, "%s: has %zu bytes of JSON, at most %d are read", name,
                   size, MAX_BYTES);
  if ((status = check_size(error, name, text, size)) < 0)
    return status;
  out->path = ti_strdup(name);
  if (!out->path)
    return ti_fail_nomem(error, strlen(name) + 1, name);
  adapted = ti_strndup(text, size);
  if (!adapted) {
    ti_json_close(out);
    return ti_fail_nomem(error, size, name);
  }
  adapt(adapted, size);
  out->root = json_loadb(adapted, size, JSON_REJECT_DUPLICATES, &why);
  ti_free(adapted);
  if (!out->root) {
    status = json_error_code(&why) == json_error_out_of_memory || !*why.text
               ? ti_fail_nomem(error, size, name)
               : ti_fail(error, TEXTINV_E_FORMAT, "%s: line %d, column %d: %s", name, why.line,
                         why.column, why.text);
  } else if (!json_is_object(out->root)) {
    status = ti_fail(error, TEXTINV_E_FORMAT, "%s: holds a JSON array, expected an object", name);
  }
  if (status < 0)
    ti_json_close(out);
  return status;
}

textinv_status ti_json_open(ti_json *out, ti_error *error, const char *path)
{
  textinv_status status;
  void *bytes;
  size_t size;

  memset(out, 0, sizeof(*out));
  if ((status = ti_file_read(&bytes, &size, error, path, MAX_BYTES)) < 0)
    return status;
  status = ti_json_parse(out, error, path, bytes, size);
  ti_free(bytes);
  return status;
}

void ti_json_close(ti_json *json)
{
  json_decref(json->root);
  ti_free(json->path);
  memset(json, 0, sizeof(*json));
}

/* --- getters */

/* the value, NULL when it is absent or null */
static const json_t *get(const ti_json *json, const char *key)
{
  const json_t *v = json_object_get(json->root, key);

  return json_is_null(v) ? NULL : v;
}

/* a value as text, for messages */
static const char *show(char out[64], const json_t *v)
{
  switch (json_typeof(v)) {
  case JSON_INTEGER: ti_format(out, 64, "%lld", (long long)json_integer_value(v)); break;
  case JSON_REAL: ti_format(out, 64, "%g", json_real_value(v)); break;
  case JSON_STRING: {
    const char *text = json_string_value(v);

    ti_format(out, 64, "\"%.*s\"", ti_utf8_cut(text, 48), text);
    break;
  }
  case JSON_TRUE: return "true";
  case JSON_FALSE: return "false";
  case JSON_NULL: return "null";
  case JSON_ARRAY: ti_format(out, 64, "an array of %zu", json_array_size(v)); break;
  default: return "an object";
  }
  return out;
}

/* "key", or "key[i]" for i >= 0 */
static const char *place(char out[96], const char *key, int i)
{
  if (i < 0)
    ti_format(out, 96, "%s", key);
  else
    ti_format(out, 96, "%s[%d]", key, i);
  return out;
}

static textinv_status wrong_type(const ti_json *json, ti_error *error, const char *key, int i,
                                 const json_t *v, const char *expected)
{
  char at[96], met[64];

  return ti_fail(error, TEXTINV_E_FORMAT, "%s: \"%s\" is %s, expected %s", json->path,
                 place(at, key, i), show(met, v), expected);
}

static textinv_status one_int(const ti_json *json, ti_error *error, const char *key, int i,
                              const json_t *v, int min, int max, int *out)
{
  char at[96], expected[64], met[64];

  ti_format(expected, sizeof(expected), "an integer in %d..%d", min, max);
  if (!json_is_integer(v))
    return wrong_type(json, error, key, i, v, expected);
  if (json_integer_value(v) < min || json_integer_value(v) > max)
    return ti_fail(error, TEXTINV_E_LIMIT, "%s: \"%s\" is %s, expected %s", json->path,
                   place(at, key, i), show(met, v), expected);
  *out = (int)json_integer_value(v);
  return TEXTINV_OK;
}

/* refuse an array of no or of more than max_count entries */
static textinv_status array_count(const ti_json *json, ti_error *error, const char *key,
                                  const json_t *v, int max_count, int *count)
{
  const size_t n = json_array_size(v);

  if (n == 0 || n > (size_t)max_count)
    return ti_fail(error, TEXTINV_E_LIMIT, "%s: \"%s\" has %zu entries, expected 1..%d", json->path,
                   key, n, max_count);
  *count = (int)n;
  return TEXTINV_OK;
}

int ti_json_has(const ti_json *json, const char *key)
{
  return get(json, key) != NULL;
}

textinv_status ti_json_object(const ti_json *json, ti_error *error, const char *key, ti_json *out)
{
  json_t *v = json_object_get(json->root, key);
  const size_t size = strlen(json->path) + strlen(key) + 3;

  memset(out, 0, sizeof(*out));
  if (!v)
    return ti_fail(error, TEXTINV_E_FORMAT, "%s: \"%s\" is missing, expected an object", json->path,
                   key);
  if (!json_is_object(v))
    return wrong_type(json, error, key, -1, v, "an object");
  out->path = ti_realloc_array(NULL, size, 1);
  if (!out->path)
    return ti_fail_nomem(error, size, json->path);
  ti_format(out->path, size, "%s: %s", json->path, key);
  out->root = json_incref(v);
  return TEXTINV_OK;
}

textinv_status ti_json_int(const ti_json *json, ti_error *error, const char *key, int fallback,
                           int min, int max, int *out)
{
  const json_t *v = get(json, key);

  *out = fallback;
  return v ? one_int(json, error, key, -1, v, min, max, out) : TEXTINV_OK;
}

textinv_status ti_json_float(const ti_json *json, ti_error *error, const char *key, double fallback,
                             double min, double max, double *out)
{
  const json_t *v = get(json, key);
  char met[64];

  *out = fallback;
  if (!v)
    return TEXTINV_OK;
  if (!json_is_number(v))
    return wrong_type(json, error, key, -1, v, "a number");

  const double value = json_number_value(v);

  if (!(value >= min && value <= max))
    return ti_fail(error, TEXTINV_E_LIMIT, "%s: \"%s\" is %s, expected a number in %g..%g",
                   json->path, key, show(met, v), min, max);
  *out = value;
  return TEXTINV_OK;
}

textinv_status ti_json_bool(const ti_json *json, ti_error *error, const char *key, int fallback,
                            int *out)
{
  const json_t *v = get(json, key);

  *out = fallback;
  if (!v)
    return TEXTINV_OK;
  if (!json_is_boolean(v))
    return wrong_type(json, error, key, -1, v, "true or false");
  *out = json_is_true(v);
  return TEXTINV_OK;
}

textinv_status ti_json_string(const ti_json *json, ti_error *error, const char *key,
                              const char *fallback, const char **out)
{
  const json_t *v = get(json, key);

  *out = fallback;
  if (!v)
    return TEXTINV_OK;
  if (!json_is_string(v))
    return wrong_type(json, error, key, -1, v, "a string");
  *out = json_string_value(v);
  return TEXTINV_OK;
}

textinv_status ti_json_ints(const ti_json *json, ti_error *error, const char *key, int fallback,
                            int min, int max, int *out, int max_count, int *count)
{
  const json_t *v = get(json, key);
  textinv_status status;

  if (!v || json_is_integer(v)) {
    int value = fallback;

    if (*count < 0 || *count > max_count)
      return ti_fail(error, TEXTINV_E_LIMIT, "%s: \"%s\" stands for %d entries, expected 0..%d",
                     json->path, key, *count, max_count);
    if (v && (status = one_int(json, error, key, -1, v, min, max, &value)) < 0)
      return status;
    for (int i = 0; i < *count; i++)
      out[i] = value;
    return TEXTINV_OK;
  }
  if (!json_is_array(v))
    return wrong_type(json, error, key, -1, v, "an integer or an array of integers");
  if ((status = array_count(json, error, key, v, max_count, count)) < 0)
    return status;
  for (int i = 0; i < *count; i++) {
    if ((status = one_int(json, error, key, i, json_array_get(v, (size_t)i), min, max, out + i)) <
        0)
      return status;
  }
  return TEXTINV_OK;
}

textinv_status ti_json_floats(const ti_json *json, ti_error *error, const char *key, double *out,
                              int max_count, int *count)
{
  const json_t *v = get(json, key);
  textinv_status status;

  *count = 0;
  if (!v)
    return TEXTINV_OK;
  if (!json_is_array(v))
    return wrong_type(json, error, key, -1, v, "an array of numbers");
  if ((status = array_count(json, error, key, v, max_count, count)) < 0)
    return status;
  for (int i = 0; i < *count; i++) {
    const json_t *entry = json_array_get(v, (size_t)i);

    if (!json_is_number(entry))
      return wrong_type(json, error, key, i, entry, "a number");
    out[i] = json_number_value(entry);
  }
  return TEXTINV_OK;
}

textinv_status ti_json_strings(const ti_json *json, ti_error *error, const char *key,
                               const char **out, int max_count, int *count)
{
  const json_t *v = get(json, key);
  textinv_status status;

  *count = 0;
  if (!v)
    return TEXTINV_OK;
  if (!json_is_array(v))
    return wrong_type(json, error, key, -1, v, "an array of strings");
  if ((status = array_count(json, error, key, v, max_count, count)) < 0)
    return status;
  for (int i = 0; i < *count; i++) {
    const json_t *entry = json_array_get(v, (size_t)i);

    if (!json_is_string(entry))
      return wrong_type(json, error, key, i, entry, "a string");
    out[i] = json_string_value(entry);
  }
  return TEXTINV_OK;
}
