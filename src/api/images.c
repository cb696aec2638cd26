/* Pictures that go in and out. */
#include <math.h>
#include <string.h>

#include "alloc.h"
#include "api.h"
#include "unicode.h"

/* pixels: taken over by a call that succeeds; NULL = black ones */
static textinv_status new_images(textinv_images **out, ti_error *error, int count, int width,
                                 int height, uint8_t *pixels)
{
  textinv_images *images = ti_calloc(1, sizeof(*images));
  size_t bytes;

  *out = NULL;
  if (!images)
    return ti_fail_nomem(error, sizeof(*images), "images");
  if (ti_mul_size(&bytes, (size_t)width * 3, (size_t)height) ||
      ti_mul_size(&bytes, bytes, (size_t)count))
    bytes = SIZE_MAX;
  images->count = count;
  images->width = width;
  images->height = height;
  images->pixels = pixels ? pixels : ti_calloc(bytes, 1);
  images->seeds = ti_calloc((size_t)count, sizeof(*images->seeds));
  images->texts = ti_calloc((size_t)count, sizeof(*images->texts));
  if (!images->pixels || !images->seeds || !images->texts) {
    images->pixels = pixels ? NULL : images->pixels;
    textinv_images_free(images);
    return ti_fail_nomem(error, bytes, "pictures");
  }
  *out = images;
  return TEXTINV_OK;
}

textinv_status ti_images_new(textinv_images **out, ti_error *error, int count, int width,
                             int height)
{
  return new_images(out, error, count, width, height, NULL);
}

/* the text "parameters" that a picture's file holds, as UTF-8; none where it is very long */
static textinv_status read_parameters(char **out, ti_error *error, const void *bytes, size_t size)
{
  enum { MAX_TEXT = 1 << 20 };
  const char *text;
  char *end;
  size_t length;
  int is_latin1;

  *out = NULL;
  ti_image_parameters(&text, &length, &is_latin1, bytes, size);
  if (!text || length > MAX_TEXT)
    return TEXTINV_OK;
  if (!is_latin1)
    return ti_text_repair(out, &length, error, text, length);
  end = *out = ti_calloc(2 * length + 1, 1);
  if (!end)
    return ti_fail_nomem(error, 2 * length + 1, "the parameters text");
  for (size_t i = 0; i < length; i++) {
    const unsigned char c = (unsigned char)text[i];

    if (c >= 0x80)
      *end++ = (char)(0xc0 | c >> 6);
    *end++ = (char)(c < 0x80 ? c : 0x80 | (c & 0x3f));
  }
  return TEXTINV_OK;
}

/* bytes of the file that messages call name */
static textinv_status read_picture(textinv_images **out, ti_error *error, const char *name,
                                   const void *bytes, size_t size)
{
  ti_image image = { 0, 0, NULL };
  textinv_status status = ti_image_decode(&image, error, name, bytes, size);

  if (status >= 0)
    status = new_images(out, error, 1, image.width, image.height, image.pixels);
  if (status >= 0) {
    image.pixels = NULL;
    status = read_parameters((*out)->texts, error, bytes, size);
  }
  if (status < 0) {
    textinv_images_free(*out);
    *out = NULL;
  }
  ti_image_free(&image);
  return status;
}

textinv_status textinv_image_read(textinv_images **out, textinv_session *session, const char *path)
{
  ti_error *error = ti_begin(session);
  textinv_status status;
  void *bytes;
  size_t size;

  if (out)
    *out = NULL;
  if ((status = ti_check_null(error, out, "out")) < 0 ||
      (status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, path, "path")) < 0 ||
      (status = ti_file_read(&bytes, &size, error, path, TI_IMAGE_MAX_BYTES)) < 0)
    return status;
  status = read_picture(out, error, path, bytes, size);
  ti_free(bytes);
  return status;
}

textinv_status textinv_image_read_memory(textinv_images **out, textinv_session *session,
                                         const void *bytes, size_t size, const char *name)
{
  ti_error *error = ti_begin(session);
  textinv_status status;

  if (out)
    *out = NULL;
  if ((status = ti_check_null(error, out, "out")) < 0 ||
      (status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, bytes, "bytes")) < 0 ||
      (status = ti_check_null(error, name, "name")) < 0)
    return status;
  return read_picture(out, error, name, bytes, size);
}

static textinv_status check_size(ti_error *error, uint32_t width, uint32_t height)
{
  if (width < 1 || width > TI_IMAGE_MAX_SIDE || height < 1 || height > TI_IMAGE_MAX_SIDE)
    return ti_fail(error, TEXTINV_E_INVALID, "a picture of %u x %u; sides of 1 to %d are possible",
                   width, height, TI_IMAGE_MAX_SIDE);
  if ((uint64_t)width * height > TI_IMAGE_MAX_PIXELS)
    return ti_fail(error, TEXTINV_E_LIMIT, "a picture of %u x %u; at most %d pixels are possible",
                   width, height, TI_IMAGE_MAX_PIXELS);
  return TEXTINV_OK;
}

textinv_status textinv_images_new(textinv_images **out, textinv_session *session,
                                  const uint8_t *pixels, uint32_t count, uint32_t width,
                                  uint32_t height)
{
  ti_error *error = ti_begin(session);
  textinv_status status;

  if (out)
    *out = NULL;
  if ((status = ti_check_null(error, out, "out")) < 0 ||
      (status = ti_check_null(error, session, "session")) < 0)
    return status;
  if (count < 1 || count > 4096)
    return ti_fail(error, TEXTINV_E_INVALID, "%u pictures; 1 to 4096 are possible", count);
  if ((status = check_size(error, width, height)) < 0 ||
      (status = ti_images_new(out, error, (int)count, (int)width, (int)height)) < 0)
    return status;
  if (pixels)
    memcpy((*out)->pixels, pixels, (size_t)count * width * height * 3);
  return TEXTINV_OK;
}

void textinv_images_free(textinv_images *images)
{
  if (!images)
    return;
  for (int i = 0; images->texts && i < images->count; i++)
    ti_free(images->texts[i]);
  ti_free(images->texts);
  ti_free(images->seeds);
  ti_free(images->pixels);
  ti_free(images);
}

uint32_t textinv_images_count(const textinv_images *images)
{
  return images ? (uint32_t)images->count : 0;
}

uint32_t textinv_images_width(const textinv_images *images)
{
  return images ? (uint32_t)images->width : 0;
}

uint32_t textinv_images_height(const textinv_images *images)
{
  return images ? (uint32_t)images->height : 0;
}

static size_t picture_bytes(const textinv_images *images)
{
  return (size_t)images->width * (size_t)images->height * 3;
}

uint8_t *textinv_images_pixels(textinv_images *images, uint32_t i)
{
  return images && i < (uint32_t)images->count ? images->pixels + i * picture_bytes(images) : NULL;
}

uint64_t textinv_images_seed(const textinv_images *images, uint32_t i)
{
  return images && i < (uint32_t)images->count ? images->seeds[i] : 0;
}

const char *textinv_images_parameters(const textinv_images *images, uint32_t i)
{
  return images && i < (uint32_t)images->count && images->texts[i] ? images->texts[i] : "";
}

textinv_status textinv_images_resize(textinv_session *session, textinv_images *images,
                                     uint32_t width, uint32_t height)
{
  ti_error *error = ti_begin(session);
  textinv_images *resized;
  textinv_status status;

  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, images, "images")) < 0 ||
      (status = check_size(error, width, height)) < 0 ||
      (status = ti_images_new(&resized, error, images->count, (int)width, (int)height)) < 0)
    return status;
  for (int i = 0; i < images->count && status >= 0; i++) {
    const ti_image in = { images->width, images->height,
                          images->pixels + (size_t)i * picture_bytes(images) };
    ti_image out = { 0, 0, NULL };

    status = ti_image_resize(&out, error, &in, TI_BICUBIC, 0, 0, in.width, in.height, (int)width,
                             (int)height);
    if (status >= 0)
      memcpy(resized->pixels + (size_t)i * picture_bytes(resized), out.pixels,
             picture_bytes(resized));
    ti_image_free(&out);
  }
  if (status >= 0) {
    uint8_t *old = images->pixels;

    images->pixels = resized->pixels;
    images->width = (int)width;
    images->height = (int)height;
    resized->pixels = old;
  }
  textinv_images_free(resized);
  return status;
}

static textinv_status save_to(ti_memory_file *memory, ti_error *error, const textinv_images *images,
                              uint32_t i, const char *path, const char *parameters)
{
  if (i >= (uint32_t)images->count)
    return ti_fail(error, TEXTINV_E_INVALID, "picture %u of %d", i, images->count);
  if (!parameters)
    parameters = images->texts[i];
  return ti_image_write_png_to(memory, error, path, images->width, images->height,
                               images->pixels + i * picture_bytes(images),
                               parameters && *parameters ? parameters : NULL);
}

textinv_status textinv_images_save(textinv_session *session, const textinv_images *images,
                                   uint32_t i, const char *path, const char *parameters)
{
  ti_error *error = ti_begin(session);
  textinv_status status;

  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, images, "images")) < 0 ||
      (status = ti_check_null(error, path, "path")) < 0)
    return status;
  return save_to(NULL, error, images, i, path, parameters);
}

textinv_status textinv_images_save_memory(textinv_session *session, void *bytes, size_t capacity,
                                          size_t *size, const textinv_images *images, uint32_t i,
                                          const char *parameters)
{
  ti_error *error = ti_begin(session);
  ti_memory_file memory = { bytes, capacity, 0 };
  textinv_status status;

  if (size)
    *size = 0;
  if ((status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, size, "size")) < 0 ||
      (status = ti_check_null(error, images, "images")) < 0 ||
      (capacity && (status = ti_check_null(error, bytes, "bytes")) < 0) ||
      (status = save_to(&memory, error, images, i, "memory", parameters)) < 0)
    return status;
  *size = memory.size;
  return ti_check_capacity(error, capacity, memory.size);
}

void ti_values_to_pixels(uint8_t *pixels, const float *values, int width, int height)
{
  const size_t hw = (size_t)width * (size_t)height;

  for (size_t i = 0; i < hw; i++) {
    for (size_t k = 0; k < 3; k++) {
      const float v = fminf(fmaxf(values[k * hw + i] * 0.5f + 0.5f, 0.0f), 1.0f);

      pixels[i * 3 + k] = (uint8_t)lrintf(v * 255.0f);
    }
  }
}
