/* PNG files: libpng's row interface behind limits, and strict. */
#include <png.h>
#include <string.h>
#include <zlib.h>

#include "alloc.h"
#include "atomic_file.h"
#include "image_codec.h"
#include "utf8.h"

enum {
  SIGNATURE = 8,
  INFLATE_RATIO = 1032, /* what deflate can make of one byte, at most */
  MAX_CHUNK = 8 << 20
};

/* all that lives across a jump out of libpng */
typedef struct reader {
  png_structp png;
  png_infop info;
  const unsigned char *bytes;
  size_t size, at;
  ti_image *out;
  int *orientation;
  ti_error *error;
  const char *name;
  textinv_status status;
  unsigned char *raw; /* one row, or all of them when interlaced */
  size_t row_bytes;
  uint32_t height; /* as the header has it, before libpng looks */
  int passes;
  png_colorp palette;
  png_bytep alphas; /* of the palette's entries */
  int color_type, num_palette, num_alphas;
} reader;

int ti_png_check(const void *bytes, size_t size)
{
  return size >= SIGNATURE && !memcmp(bytes, "\x89PNG\r\n\x1a\n", SIGNATURE);
}

static void on_error(png_structp png, png_const_charp message)
{
  reader *r = png_get_error_ptr(png);

  r->status = ti_fail(r->error, TEXTINV_E_FORMAT, "%s: PNG: %s", r->name, message);
  png_longjmp(png, 1);
}

/* of the chunks that are looked at, those that change pixels have to be right */
static void on_warning(png_structp png, png_const_charp message)
{
  if (!strncmp(message, "PLTE", 4) || !strncmp(message, "tRNS", 4))
    on_error(png, message);
}

/* After the last row libpng inflates what is left of the data, which may be a thousand times the
 * file: it gets no more, and the jump ends the reading of rows. */
static void read_bytes(png_structp png, png_bytep out, size_t size)
{
  reader *r = png_get_io_ptr(png);

  if (png_get_current_row_number(png) >= r->height || png_get_current_pass_number(png) > 6)
    png_longjmp(png, 1);
  if (size > r->size - r->at)
    png_error(png, "the file is cut short");
  memcpy(out, r->bytes + r->at, size);
  r->at += size;
}

static unsigned long big32(const unsigned char *p)
{
  return (unsigned long)p[0] << 24 | (unsigned long)p[1] << 16 | (unsigned long)p[2] << 8 | p[3];
}

/* sizes and plausibility from the first chunk alone */
static textinv_status check_header(reader *r)
{
  static const unsigned char channels[8] = { 1, 0, 3, 1, 2, 0, 4, 0 };
  const unsigned char *p = r->bytes + SIGNATURE;
  textinv_status status;
  uint64_t width, height, raw;

  if (r->size < SIGNATURE + 8 + 13 + 4)
    return ti_fail(r->error, TEXTINV_E_FORMAT, "%s: PNG: the file is cut short after %zu bytes",
                   r->name, r->size);
  if (big32(p) != 13 || memcmp(p + 4, "IHDR", 4))
    return ti_fail(r->error, TEXTINV_E_FORMAT, "%s: PNG: does not begin with an IHDR of 13 bytes",
                   r->name);
  width = big32(p + 8);
  height = big32(p + 12);
  if (width >= 1u << 31 || height >= 1u << 31)
    return ti_fail(r->error, TEXTINV_E_FORMAT, "%s: PNG: the picture is %llu x %llu", r->name,
                   (unsigned long long)width, (unsigned long long)height);
  if ((status = ti_image_check_size(r->error, r->name, width, height)) < 0)
    return status;
  r->height = (uint32_t)height;
  raw = (width * p[16] * channels[p[17] & 7] / 8 + 1) * height;
  if (raw / INFLATE_RATIO > r->size)
    return ti_fail(r->error, TEXTINV_E_FORMAT,
                   "%s: PNG: %zu bytes cannot hold a picture of %llu x %llu: cut short?", r->name,
                   r->size, (unsigned long long)width, (unsigned long long)height);
  return TEXTINV_OK;
}

static uint8_t over_white(unsigned c, unsigned alpha)
{
  return (uint8_t)((c * alpha + 255 * (255 - alpha) + 127) / 255);
}

/* one row of RGBA, RGB or palette entries to RGB */
static void convert_row(reader *r, uint8_t *out, const unsigned char *in, int width)
{
  if (r->color_type != PNG_COLOR_TYPE_PALETTE) {
    if (r->row_bytes == 3 * (size_t)width) {
      memcpy(out, in, r->row_bytes);
      return;
    }
    for (int x = 0; x < width; x++, in += 4, out += 3) {
      for (int c = 0; c < 3; c++)
        out[c] = over_white(in[c], in[3]);
    }
    return;
  }
  for (int x = 0; x < width; x++, out += 3) {
    const int i = in[x];
    const unsigned alpha = i < r->num_alphas ? r->alphas[i] : 255;

    if (i >= r->num_palette)
      png_error(r->png, "a pixel is outside of the palette");
    out[0] = over_white(r->palette[i].red, alpha);
    out[1] = over_white(r->palette[i].green, alpha);
    out[2] = over_white(r->palette[i].blue, alpha);
  }
}

/* ask libpng for 8-bit RGB or RGBA, or for palette entries: their range is checked here */
static void set_transforms(reader *r)
{
  r->color_type = png_get_color_type(r->png, r->info);
  if (r->color_type == PNG_COLOR_TYPE_PALETTE) {
    png_set_packing(r->png);
    png_get_PLTE(r->png, r->info, &r->palette, &r->num_palette);
    if (png_get_valid(r->png, r->info, PNG_INFO_tRNS))
      png_get_tRNS(r->png, r->info, &r->alphas, &r->num_alphas, NULL);
    return;
  }
  png_set_expand_gray_1_2_4_to_8(r->png);
  if (png_get_valid(r->png, r->info, PNG_INFO_tRNS))
    png_set_tRNS_to_alpha(r->png);
  png_set_scale_16(r->png);
  png_set_gray_to_rgb(r->png);
}

/* row y of the last pass, as libpng left it */
static void take_row(reader *r, int y)
{
  const size_t at = (size_t)y * (size_t)r->out->width;

  convert_row(r, r->out->pixels + 3 * at, r->raw + (r->passes > 1 ? (size_t)y * r->row_bytes : 0),
              r->out->width);
}

static void read_rows(reader *r)
{
  int width, height;
  size_t bytes;

  png_read_info(r->png, r->info);
  width = (int)png_get_image_width(r->png, r->info);
  height = (int)png_get_image_height(r->png, r->info);
  set_transforms(r);
  r->passes = png_set_interlace_handling(r->png);
  png_read_update_info(r->png, r->info);
  r->row_bytes = png_get_rowbytes(r->png, r->info);
  if ((r->status = ti_image_alloc(r->out, r->error, r->name, width, height)) < 0)
    return;
  bytes = r->row_bytes * (r->passes > 1 ? (size_t)height : 1);
  r->raw = ti_calloc(bytes, 1);
  if (!r->raw) {
    r->status = ti_fail_nomem(r->error, bytes, r->name);
    return;
  }
  for (int pass = 0; pass < r->passes; pass++) {
    for (int y = 0; y < height; y++) {
      png_read_row(r->png, r->raw + (r->passes > 1 ? (size_t)y * r->row_bytes : 0), NULL);
      if (pass == r->passes - 1 && y < height - 1)
        take_row(r, y);
    }
  }
}

/* what is wrong with the chunk at p, or NULL; it takes 12 bytes more than its length */
static const char *check_chunk(const unsigned char *p, const unsigned char *end, size_t *length)
{
  const size_t left = (size_t)(end - p);

  *length = left < 12 ? 0 : big32(p);
  if (left < 12 || *length > left - 12)
    return "the file is cut short";
  return crc32(0, p + 4, (uInt)*length + 4) == big32(p + 8 + *length) ? NULL : "CRC error";
}

/* the row at which the reading ended; and the chunks, which must be whole up to IEND. eXIf may
 * stand behind the pixels */
static void finish(reader *r)
{
  const unsigned char *p = r->bytes + SIGNATURE, *end = r->bytes + r->size;

  take_row(r, r->out->height - 1);
  for (;;) {
    size_t length;
    const char *wrong = check_chunk(p, end, &length);

    if (wrong)
      png_error(r->png, wrong);
    if (!memcmp(p + 4, "eXIf", 4))
      *r->orientation = ti_exif_orientation(p + 8, length);
    if (!memcmp(p + 4, "IEND", 4))
      return;
    p += 12 + length;
  }
}

textinv_status ti_png_decode(ti_image *out, int *orientation, ti_error *error, const char *name,
                             const void *bytes, size_t size)
{
  /* never looked at, and so never inflated */
  static const png_byte ignored[] = "bKGD\0cHRM\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0sBIT\0sCAL\0"
                                    "sPLT\0sRGB\0tEXt\0tIME\0zTXt\0pHYs";
  reader r = { .bytes = bytes,
               .size = size,
               .out = out,
               .orientation = orientation,
               .error = error,
               .name = name };

  if ((r.status = check_header(&r)) < 0)
    return r.status;
  r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, on_error, on_warning);
  r.info = r.png ? png_create_info_struct(r.png) : NULL;
  if (!r.info) {
    png_destroy_read_struct(&r.png, NULL, NULL);
    return ti_fail_nomem(error, sizeof(r), name);
  }
  if (!setjmp(png_jmpbuf(r.png))) {
    png_set_read_fn(r.png, &r, read_bytes);
    png_set_user_limits(r.png, TI_IMAGE_MAX_SIDE, TI_IMAGE_MAX_SIDE);
    png_set_chunk_malloc_max(r.png, MAX_CHUNK);
    png_set_crc_action(r.png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_keep_unknown_chunks(r.png, PNG_HANDLE_CHUNK_NEVER, ignored,
                                (int)((sizeof(ignored) + 4) / 5));
    read_rows(&r);
  }
  if (r.status >= 0 && !setjmp(png_jmpbuf(r.png)))
    finish(&r);
  png_destroy_read_struct(&r.png, &r.info, NULL);
  ti_free(r.raw);
  if (r.status < 0)
    ti_image_free(out);
  return r.status;
}

textinv_status ti_png_text(const char **text, size_t *length, ti_error *error, const char *name,
                           const void *bytes, size_t size, const char *key)
{
  const unsigned char *p = (const unsigned char *)bytes + SIGNATURE;
  const unsigned char *const end = (const unsigned char *)bytes + size;
  const size_t key_size = strlen(key) + 1;
  const char *found = NULL;
  size_t chunk;

  *text = NULL;
  for (;; p += 12 + chunk) {
    const char *wrong = check_chunk(p, end, &chunk);

    if (wrong)
      return ti_fail(error, TEXTINV_E_FORMAT, "%s: PNG: %s", name, wrong);
    if (!memcmp(p + 4, "IEND", 4)) {
      *text = found;
      return TEXTINV_OK;
    }
    if (!found && !memcmp(p + 4, "tEXt", 4) && chunk >= key_size && !memcmp(p + 8, key, key_size)) {
      found = (const char *)p + 8 + key_size;
      *length = chunk - key_size;
    }
  }
}

/* what stands behind the next 0, or NULL */
static const char *behind_zero(const char *p, const char *end)
{
  p = p ? memchr(p, 0, (size_t)(end - p)) : NULL;
  return p ? p + 1 : NULL;
}

void ti_png_parameters(const char **text, size_t *length, int *is_latin1, const void *bytes,
                       size_t size)
{
  static const char key[] = "parameters";
  const unsigned char *p = (const unsigned char *)bytes + SIGNATURE;
  const unsigned char *const end = (const unsigned char *)bytes + size;
  size_t chunk;

  *text = NULL;
  for (; !*text && !check_chunk(p, end, &chunk) && memcmp(p + 4, "IEND", 4); p += 12 + chunk) {
    const char *body = (const char *)p + 8 + sizeof(key), *last = (const char *)p + 8 + chunk;

    if (chunk < sizeof(key) || memcmp(p + 8, key, sizeof(key)))
      continue;
    *is_latin1 = !memcmp(p + 4, "tEXt", 4);
    if (*is_latin1)
      *text = body;
    else if (!memcmp(p + 4, "iTXt", 4) && last - body > 2 && !*body)
      *text = behind_zero(behind_zero(body + 2, last), last); /* language, translated key */
    *length = *text ? (size_t)(last - *text) : 0;
  }
}

/* --- writing */

typedef struct writer {
  ti_atomic_file *file;
  char *text; /* UTF-8 or latin-1, NULL = none */
  int is_latin1;
  ti_error *error;
  const char *path;
  textinv_status status;
} writer;

static void on_write_error(png_structp png, png_const_charp message)
{
  writer *w = png_get_error_ptr(png);

  w->status = ti_fail(w->error, TEXTINV_E_IO, "%s: PNG: %s", w->path, message);
  png_longjmp(png, 1);
}

static void on_write_warning(png_structp png, png_const_charp message)
{
  (void)png;
  (void)message;
}

static void write_bytes(png_structp png, png_bytep bytes, size_t size)
{
  ti_atomic_write(((writer *)png_get_io_ptr(png))->file, bytes, size);
}

static void flush_nothing(png_structp png)
{
  (void)png;
}

/* UTF-8 as latin-1, in place; 0 when it has other characters */
static int to_latin1(char *text)
{
  unsigned char *to = (unsigned char *)text;

  for (const unsigned char *p = to; *p; p++) {
    if (*p < 0x80)
      continue;
    if (*p > 0xc3 || (*p == 0xc2 && p[1] < 0xa0))
      return 0; /* beyond U+00FF, or a control character that latin-1 text may not have */
    p++;
  }
  for (const unsigned char *p = to; *p; p++) {
    if (*p < 0x80) {
      *to++ = *p;
    } else {
      *to++ = (unsigned char)((p[0] & 3) << 6 | (p[1] & 0x3f));
      p++;
    }
  }
  *to = '\0';
  return 1;
}

static void encode(const writer *w, png_structp png, png_infop info, int width, int height,
                   const uint8_t *pixels)
{
  png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, 8, PNG_COLOR_TYPE_RGB,
               PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (w->text) {
    char key[] = "parameters", empty[] = "";
    png_text chunk = { .compression = w->is_latin1 ? PNG_TEXT_COMPRESSION_NONE
                                                   : PNG_ITXT_COMPRESSION_NONE,
                       .key = key,
                       .text = w->text,
                       .lang = empty,
                       .lang_key = empty };

    png_set_text(png, info, &chunk, 1);
  }
  png_write_info(png, info);
  for (int y = 0; y < height; y++)
    png_write_row(png, pixels + 3 * (size_t)y * (size_t)width);
  png_write_end(png, NULL);
}

textinv_status ti_image_write_png_to(ti_memory_file *memory, ti_error *error, const char *path,
                                     int width, int height, const uint8_t *pixels,
                                     const char *parameters)
{
  writer w = { .error = error, .path = path };
  png_structp png = NULL;
  png_infop info = NULL;

  if ((w.status = ti_image_check_size(error, path, (uint64_t)(width < 0 ? 0 : width),
                                      (uint64_t)(height < 0 ? 0 : height))) < 0)
    return w.status == TEXTINV_E_FORMAT ? TEXTINV_E_INVALID : w.status;
  if (parameters && !ti_utf8_valid(parameters, strlen(parameters)))
    return ti_fail(error, TEXTINV_E_INVALID, "%s: the text to write is not UTF-8", path);
  if (parameters && !(w.text = ti_strdup(parameters)))
    return ti_fail_nomem(error, strlen(parameters), path);
  w.is_latin1 = w.text && to_latin1(w.text);
  if ((w.status = ti_atomic_open_to(&w.file, error, path, memory)) < 0)
    goto out;
  png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &w, on_write_error, on_write_warning);
  info = png ? png_create_info_struct(png) : NULL;
  if (!info) {
    w.status = ti_fail_nomem(error, sizeof(w), path);
    goto out;
  }
  if (!setjmp(png_jmpbuf(png))) {
    png_set_write_fn(png, &w, write_bytes, flush_nothing);
    encode(&w, png, info, width, height, pixels);
  }
  if (w.status >= 0) {
    w.status = ti_atomic_commit(w.file, error);
    w.file = NULL;
  }
out:
  png_destroy_write_struct(&png, &info);
  ti_atomic_abandon(w.file);
  ti_free(w.text);
  return w.status;
}

textinv_status ti_image_write_png(ti_error *error, const char *path, int width, int height,
                                  const uint8_t *pixels, const char *parameters)
{
  return ti_image_write_png_to(NULL, error, path, width, height, pixels, parameters);
}
