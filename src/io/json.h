/*
 * JSON configs: strict (no duplicates, no trailing bytes, depth and size limited), and getters that
 * name file, key, value met and range expected. A key that is absent or null takes the default.
 */
#ifndef TI_JSON_H
#define TI_JSON_H

#include <jansson.h>

#include "error.h"

typedef struct ti_json {
  json_t *root; /* an object */
  char *path;   /* for messages */
} ti_json;

textinv_status ti_json_open(ti_json *out, ti_error *error, const char *path);
/* an object of a larger document; path is copied */
textinv_status ti_json_parse(ti_json *out, ti_error *error, const char *name, const char *text,
                             size_t size);
void ti_json_close(ti_json *json); /* safe on a zeroed struct */

int ti_json_has(const ti_json *json, const char *key); /* present and not null */
/* an object in it, which messages call "PATH: KEY"; ti_json_close() */
textinv_status ti_json_object(const ti_json *json, ti_error *error, const char *key, ti_json *out);
textinv_status ti_json_int(const ti_json *json, ti_error *error, const char *key, int fallback,
                           int min, int max, int *out);
textinv_status ti_json_float(const ti_json *json, ti_error *error, const char *key, double fallback,
                             double min, double max, double *out);
textinv_status ti_json_bool(const ti_json *json, ti_error *error, const char *key, int fallback,
                            int *out);
/* out is owned by the document; fallback may be NULL */
textinv_status ti_json_string(const ti_json *json, ti_error *error, const char *key,
                              const char *fallback, const char **out);
/* an array of ints, or one int repeated; *count in: entries when it is one int or absent (fallback)
 */
textinv_status ti_json_ints(const ti_json *json, ti_error *error, const char *key, int fallback,
                            int min, int max, int *out, int max_count, int *count);
textinv_status ti_json_floats(const ti_json *json, ti_error *error, const char *key, double *out,
                              int max_count, int *count); /* absent: *count = 0 */
/* an array of strings; absent: *count = 0 */
textinv_status ti_json_strings(const ti_json *json, ti_error *error, const char *key,
                               const char **out, int max_count, int *count);

#endif /* TI_JSON_H */
