/*
 * The web UI writes an embedding into a picture twice.
 *
 *   text     chunk tEXt "sd-ti-embedding": base64 of the JSON
 *   pixels   [low | black column | the picture | black column | high], black around it or not:
 *            blocks of one width, whose values hold a zlib stream of the JSON from row to row and
 *            from left to right: 4 bits each in the low half of a value, xor a fixed sequence
 *
 * The text goes when a picture is sent through a service that drops such chunks; the pixels stay.
 */
#include "embedding_image.h"

#include <string.h>
#include <zlib.h>

#include "alloc.h"
#include "image_codec.h"
#include "utf8.h"

enum { MAX_JSON = 16 << 20, CHANNELS = 3 };

/* --- text */

static int base64_digit(unsigned char c)
{
  if (c >= 'A' && c <= 'Z')
    return c - 'A';
  if (c >= 'a' && c <= 'z')
    return c - 'a' + 26;
  if (c >= '0' && c <= '9')
    return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 4648, section 4; returns the bytes written, at most 3 for 4 digits, or -1 */
static long long decode_base64(char *out, const char *text, size_t length)
{
  uint32_t bits = 0;
  int held = 0;
  char *const begin = out;

  if (length % 4)
    return -1;
  for (int i = 0; i < 2 && length && text[length - 1] == '='; i++)
    length--;
  for (size_t i = 0; i < length; i++) {
    const int digit = base64_digit((unsigned char)text[i]);

    if (digit < 0)
      return -1;
    bits = bits << 6 | (uint32_t)digit;
    held += 6;
    if (held >= 8) {
      held -= 8;
      *out++ = (char)(bits >> held & 255);
    }
  }
  return out - begin;
}

static textinv_status read_text(char **out, size_t *size, ti_error *error, const char *name,
                                const char *text, size_t length)
{
  char *json = ti_calloc(length / 4 * 3 + 1, 1);
  long long decoded;

  if (!json)
    return ti_fail_nomem(error, length / 4 * 3 + 1, name);
  decoded = decode_base64(json, text, length);
  if (decoded < 0) {
    ti_free(json);
    return ti_fail(error, TEXTINV_E_FORMAT, "%s: PNG: the text \"%s\" is no base64", name,
                   TI_EMBEDDING_KEY);
  }
  *out = json;
  *size = (size_t)decoded;
  return TEXTINV_OK;
}

/* --- pixels */

/* part of a picture: columns x0..x1, rows y0..y1, the ends excluded */
typedef struct box {
  int x0, y0, x1, y1;
} box;

static const uint8_t *pixel(const ti_image *image, int x, int y)
{
  return image->pixels + CHANNELS * ((size_t)y * (size_t)image->width + (size_t)x);
}

/* the smallest box around all pixels without a zero; empty when there are none */
static box crop_black(const ti_image *image)
{
  box b = { image->width, image->height, 0, 0 };

  for (int y = 0; y < image->height; y++) {
    for (int x = 0; x < image->width; x++) {
      const uint8_t *p = pixel(image, x, y);

      if (!p[0] || !p[1] || !p[2])
        continue;
      b.x0 = x < b.x0 ? x : b.x0;
      b.x1 = x >= b.x1 ? x + 1 : b.x1;
      b.y0 = y < b.y0 ? y : b.y0;
      b.y1 = y + 1;
    }
  }
  return b;
}

/* nothing in the low half of any value */
static int is_clear(const ti_image *image, const box *b, int x)
{
  for (int y = b->y0; y < b->y1; y++) {
    const uint8_t *p = pixel(image, x, y);

    if ((p[0] | p[1] | p[2]) & 15)
      return 0;
  }
  return 1;
}

/* a generator of Numerical Recipes, from 0 */
static unsigned next_mask(uint32_t *state)
{
  *state = *state * 1664525u + 1013904223u;
  return *state % 255 & 15;
}

/* 4 bits of each byte from the values of a block of [height, width, 3] */
static void merge_block(unsigned char *bytes, int shift, const ti_image *image, const box *b)
{
  uint32_t state = 0;

  for (int y = b->y0; y < b->y1; y++) {
    for (int x = b->x0; x < b->x1; x++) {
      for (int c = 0; c < CHANNELS; c++, bytes++)
        *bytes |= (unsigned char)(((pixel(image, x, y)[c] & 15u) ^ next_mask(&state)) << shift);
    }
  }
}

/* a zlib stream at the beginning of bytes; TEXTINV_OK without *out when there is none */
static textinv_status inflate_all(char **out, size_t *size, ti_error *error, const char *name,
                                  const unsigned char *bytes, size_t bytes_size)
{
  z_stream z = { .next_in = (unsigned char *)bytes, .avail_in = (uInt)bytes_size };
  size_t room = 0;
  char *text = NULL;
  int result = Z_OK;

  if (inflateInit(&z) != Z_OK)
    return ti_fail_nomem(error, bytes_size, name);
  while (result == Z_OK && room < MAX_JSON) {
    const size_t more = room ? 2 * room : 1 << 16;
    char *grown = ti_realloc_array(text, more, 1);

    if (!grown) {
      result = Z_MEM_ERROR;
      break;
    }
    text = grown;
    z.next_out = (unsigned char *)text + z.total_out;
    z.avail_out = (uInt)(more - z.total_out);
    room = more;
    result = inflate(&z, Z_NO_FLUSH);
  }
  *size = z.total_out;
  inflateEnd(&z);
  if (result == Z_STREAM_END) {
    *out = text;
    return TEXTINV_OK;
  }
  ti_free(text);
  if (result == Z_MEM_ERROR)
    return ti_fail_nomem(error, 2 * room, name);
  return result == Z_OK && *size == MAX_JSON
           ? ti_fail(error, TEXTINV_E_LIMIT, "%s: hides over %d bytes", name, MAX_JSON)
           : TEXTINV_OK;
}

textinv_status ti_embedding_image_reveal(char **out, size_t *size, ti_error *error,
                                         const char *name, const ti_image *image)
{
  const box b = crop_black(image);
  box low = b, high = b;
  unsigned char *bytes;
  size_t count;
  textinv_status status;

  *out = NULL;
  /* the first clear column ends the low block, the last one begins the high block */
  for (low.x1 = b.x0; low.x1 < b.x1 && !is_clear(image, &b, low.x1);)
    low.x1++;
  for (high.x0 = b.x1; high.x0 > b.x0 && !is_clear(image, &b, high.x0 - 1);)
    high.x0--;
  if (low.x1 >= high.x0 - 1 || low.x1 <= low.x0 || low.x1 - low.x0 != high.x1 - high.x0)
    return TEXTINV_OK;
  count = CHANNELS * (size_t)(low.x1 - low.x0) * (size_t)(b.y1 - b.y0);
  bytes = ti_calloc(count, 1);
  if (!bytes)
    return ti_fail_nomem(error, count, name);
  merge_block(bytes, 0, image, &low);
  merge_block(bytes, 4, image, &high);
  status = inflate_all(out, size, error, name, bytes, count);
  ti_free(bytes);
  return status;
}

textinv_status ti_embedding_image_read(char **out, size_t *size, ti_error *error, const char *name,
                                       const void *bytes, size_t bytes_size)
{
  ti_image image;
  const char *text;
  size_t length;
  int orientation = 1;
  textinv_status status;

  *out = NULL;
  if ((status = ti_png_text(&text, &length, error, name, bytes, bytes_size, TI_EMBEDDING_KEY)) < 0)
    return status;
  if (text)
    return read_text(out, size, error, name, text, length);
  memset(&image, 0, sizeof(image));
  if ((status = ti_png_decode(&image, &orientation, error, name, bytes, bytes_size)) < 0)
    return status;
  status = ti_embedding_image_reveal(out, size, error, name, &image);
  ti_image_free(&image);
  if (status >= 0 && !*out)
    status = ti_fail(error, TEXTINV_E_UNSUPPORTED, "%s: is a picture that holds no embedding",
                     name);
  return status;
}

/* --- tensors */

/* numbers of a list, which fails at the first that is none */
static textinv_status read_numbers(double *out, ti_error *error, const char *name, const char *key,
                                   const json_t *list, size_t count, size_t row)
{
  for (size_t i = 0; i < count; i++) {
    const json_t *value = json_array_get(list, i);

    if (!json_is_number(value))
      return ti_fail(error, TEXTINV_E_FORMAT, "%s: \"%.*s\": vector %zu, column %zu is no number",
                     name, ti_utf8_cut(key, 80), key, row, i);
    out[i] = json_number_value(value);
  }
  return TEXTINV_OK;
}

/* [n, d] or [d] */
static textinv_status read_tensor(ti_tensor *out, ti_error *error, const char *name,
                                  const char *key, const json_t *list)
{
  const json_t *first = json_array_get(list, 0); /* NULL when list is none */
  const int rank = json_is_array(first) ? 2 : 1;
  const size_t n = rank == 2 ? json_array_size(list) : 1;
  const size_t dim = json_array_size(rank == 2 ? first : list);
  textinv_status status;
  double *data;

  if (!first || !dim)
    return ti_fail(error, TEXTINV_E_FORMAT, "%s: \"%.*s\" has no numbers", name,
                   ti_utf8_cut(key, 80), key);
  for (size_t i = 0; rank == 2 && i < n; i++) {
    if (json_array_size(json_array_get(list, i)) != dim)
      return ti_fail(error, TEXTINV_E_FORMAT,
                     "%s: \"%.*s\": vector %zu has %zu values, vector 0 has %zu", name,
                     ti_utf8_cut(key, 80), key, i, json_array_size(json_array_get(list, i)), dim);
  }
  data = ti_calloc(n * dim, sizeof(*data)); /* no wrap: each is in the text */
  if (!data)
    return ti_fail_nomem(error, n * dim * sizeof(*data), name);
  *out = (ti_tensor){ .name = key,
                      .dtype = TI_FILE_F64,
                      .dtype_name = "F64",
                      .rank = rank,
                      .dims = { rank == 2 ? n : dim, dim },
                      .count = n * dim,
                      .data = data,
                      .bytes = n * dim * sizeof(*data) };
  for (size_t i = 0; i < n; i++) {
    status = read_numbers(data + i * dim, error, name, key,
                          rank == 2 ? json_array_get(list, i) : list, dim, i);
    if (status < 0)
      return status;
  }
  return TEXTINV_OK;
}

textinv_status ti_embedding_json_tensors(ti_tensor **out, size_t *count, ti_error *error,
                                         const char *name, json_t *object)
{
  const size_t room = json_object_size(object);
  const char *key;
  json_t *value;

  *count = 0;
  *out = ti_calloc(room, sizeof(**out));
  if (!*out)
    return ti_fail_nomem(error, room * sizeof(**out), name);
  json_object_foreach(object, key, value)
  {
    const json_t *list = json_object_get(value, "TORCHTENSOR");
    textinv_status status;

    if (!list)
      continue;
    status = read_tensor(*out + *count, error, name, key, list);
    *count += (*out)[*count].data != NULL;
    if (status < 0)
      return status;
  }
  return TEXTINV_OK;
}

void ti_embedding_json_free(ti_tensor *tensors, size_t count)
{
  for (size_t i = 0; i < count; i++)
    ti_free((void *)tensors[i].data);
  ti_free(tensors);
}
