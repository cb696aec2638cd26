/* Arguments. Sized structs: old callers and new libraries, new callers and old libraries. */
#include <string.h>

#include "api.h"

textinv_status ti_check_null(ti_error *error, const void *p, const char *what)
{
  return p ? TEXTINV_OK : ti_fail(error, TEXTINV_E_INVALID, "%s is NULL", what);
}

/* other values are free for what a later release may offer */
textinv_status ti_check_flag(ti_error *error, const char *what, int32_t flag)
{
  return flag == 0 || flag == 1
           ? TEXTINV_OK
           : ti_fail(error, TEXTINV_E_INVALID, "%s is %d; 0 and 1 are possible", what, (int)flag);
}

textinv_status ti_check_count(ti_error *error, const char *what, size_t met, size_t needed)
{
  if (met != needed)
    return ti_fail(error, TEXTINV_E_SHAPE, "%s has room for %zu values; %zu are needed", what, met,
                   needed);
  return TEXTINV_OK;
}

textinv_status ti_check_capacity(ti_error *error, size_t capacity, size_t size)
{
  if (capacity && capacity < size)
    return ti_fail(error, TEXTINV_E_SHAPE, "bytes has room for %zu; %zu are needed", capacity,
                   size);
  return TEXTINV_OK;
}

/* more than any struct of any release has: what lies above was never set */
enum { MAX_STRUCT = 4096 };

static size_t struct_size_of(const void *p)
{
  size_t size;

  memcpy(&size, p, sizeof(size));
  return size;
}

static int is_size(size_t size, size_t min)
{
  return size >= min && size <= MAX_STRUCT;
}

textinv_status ti_struct_check(ti_error *error, const void *p, size_t min, const char *what)
{
  if (!p || !is_size(struct_size_of(p), min))
    return ti_fail(error, TEXTINV_E_INVALID, "%s was not initialised: use textinv_%s_init()", what,
                   what);
  return TEXTINV_OK;
}

textinv_status ti_params_read(ti_error *error, void *dst, size_t size, size_t min, const void *src,
                              const char *what)
{
  const unsigned char *bytes = src;
  textinv_status status;

  if ((status = ti_struct_check(error, src, min, what)) < 0)
    return status;
  for (size_t i = size; i < struct_size_of(src); i++) {
    if (bytes[i])
      return ti_fail(error, TEXTINV_E_VERSION, "%s uses an option newer than this library", what);
  }
  memcpy(dst, src, struct_size_of(src) < size ? struct_size_of(src) : size);
  memcpy(dst, &size, sizeof(size));
  return TEXTINV_OK;
}

textinv_status ti_check_reserved(ti_error *error, uint32_t reserved, const char *what)
{
  return reserved
           ? ti_fail(error, TEXTINV_E_VERSION, "%s uses an option newer than this library", what)
           : TEXTINV_OK;
}

textinv_status ti_params_init(void *params, size_t size, const void *defaults, size_t full,
                              size_t min)
{
  if (!params)
    return ti_fail(ti_begin(NULL), TEXTINV_E_INVALID, "the struct is NULL");
  if (!is_size(size, min))
    return ti_fail(ti_begin(NULL), TEXTINV_E_INVALID,
                   "size is %zu; %zu to %d are possible: pass the sizeof of the struct", size, min,
                   MAX_STRUCT);
  memset(params, 0, size);
  memcpy(params, defaults, size < full ? size : full);
  memcpy(params, &size, sizeof(size));
  return TEXTINV_OK;
}

void ti_struct_write(void *dst, const void *src, size_t size)
{
  const size_t theirs = struct_size_of(dst);

  memset((char *)dst + sizeof(size_t), 0, theirs - sizeof(size_t));
  memcpy((char *)dst + sizeof(size_t), (const char *)src + sizeof(size_t),
         (theirs < size ? theirs : size) - sizeof(size_t));
}
