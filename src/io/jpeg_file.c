/* JPEG files: libjpeg-turbo, its warnings about damaged data taken as errors. */
#include <stdio.h> /* jpeglib.h needs FILE */
#include <jpeglib.h>
#include <jerror.h>
#include <setjmp.h>
#include <string.h>

#include "alloc.h"
#include "image_codec.h"

enum { MAX_SCANS = 500, MAX_MARKER = 65533, EXIF_HEADER = 6 };

/* all that lives across a jump out of libjpeg */
typedef struct reader {
  struct jpeg_decompress_struct jpeg;
  struct jpeg_error_mgr errors;
  struct jpeg_progress_mgr progress;
  jmp_buf jump;
  ti_image *out;
  int *orientation;
  ti_error *error;
  const char *name;
  size_t size;
  textinv_status status;
  unsigned char *row; /* of CMYK */
} reader;

int ti_jpeg_check(const void *bytes, size_t size)
{
  return size >= 3 && !memcmp(bytes, "\xff\xd8\xff", 3);
}

static void stop(reader *r)
{
  char message[JMSG_LENGTH_MAX];
  textinv_status status;

  switch (r->errors.msg_code) {
  case JERR_OUT_OF_MEMORY: status = TEXTINV_E_NOMEM; break;
  case JERR_IMAGE_TOO_BIG: status = TEXTINV_E_LIMIT; break;
  case JERR_ARITH_NOTIMPL:
  case JERR_BAD_PRECISION:
  case JERR_CONVERSION_NOTIMPL:
  case JERR_SOF_UNSUPPORTED: status = TEXTINV_E_UNSUPPORTED; break;
  default: status = TEXTINV_E_FORMAT; break;
  }
  r->errors.format_message((j_common_ptr)&r->jpeg, message);
  r->status = ti_fail(r->error, status, "%s: JPEG: %s", r->name, message);
  longjmp(r->jump, 1);
}

static void on_error(j_common_ptr jpeg)
{
  stop(jpeg->client_data);
}

/* level -1 is a warning, others are traces; some files in use have a few bytes too many */
static void on_message(j_common_ptr jpeg, int level)
{
  if (level >= 0)
    return;
  switch (jpeg->err->msg_code) {
  case JWRN_ADOBE_XFORM:
  case JWRN_BOGUS_ICC:
  case JWRN_EXTRANEOUS_DATA:
  case JWRN_JFIF_MAJOR:
  case JWRN_TOO_MUCH_DATA: return;
  default: stop(jpeg->client_data);
  }
}

/* a file of few bytes may ask for a pass over the whole picture with each of them */
static void on_progress(j_common_ptr jpeg)
{
  reader *r = jpeg->client_data;

  if (r->jpeg.input_scan_number > MAX_SCANS) {
    r->status = ti_fail(r->error, TEXTINV_E_LIMIT, "%s: JPEG: has over %d scans", r->name,
                        MAX_SCANS);
    longjmp(r->jump, 1);
  }
}

static void read_orientation(reader *r)
{
  for (jpeg_saved_marker_ptr m = r->jpeg.marker_list; m; m = m->next) {
    if (m->marker == JPEG_APP0 + 1 && m->data_length >= EXIF_HEADER &&
        !memcmp(m->data, "Exif\0\0", EXIF_HEADER)) {
      *r->orientation = ti_exif_orientation(m->data + EXIF_HEADER, m->data_length - EXIF_HEADER);
      return;
    }
  }
}

/* Adobe's programs write the complement */
static void cmyk_to_rgb(uint8_t *out, const unsigned char *in, int width, int is_complement)
{
  for (int x = 0; x < width; x++, in += 4, out += 3) {
    for (int c = 0; c < 3; c++) {
      const unsigned ink = is_complement ? in[c] : 255u - in[c];
      const unsigned black = is_complement ? in[3] : 255u - in[3];

      out[c] = (uint8_t)((ink * black + 127) / 255);
    }
  }
}

static void decode(reader *r, const unsigned char *bytes)
{
  struct jpeg_decompress_struct *jpeg = &r->jpeg;
  uint64_t blocks;
  int is_cmyk;

  jpeg_mem_src(jpeg, bytes, (unsigned long)r->size);
  jpeg_save_markers(jpeg, JPEG_APP0 + 1, MAX_MARKER);
  jpeg_read_header(jpeg, TRUE);
  if ((r->status = ti_image_check_size(r->error, r->name, jpeg->image_width, jpeg->image_height)) <
      0)
    return;
  /* every block of 8 x 8 takes a bit at least */
  blocks = ((uint64_t)jpeg->image_width + 7) / 8 * (((uint64_t)jpeg->image_height + 7) / 8);
  if (blocks / 8 > r->size) {
    r->status = ti_fail(r->error, TEXTINV_E_FORMAT,
                        "%s: JPEG: %zu bytes cannot hold a picture of %u x %u: cut short?", r->name,
                        r->size, jpeg->image_width, jpeg->image_height);
    return;
  }
  is_cmyk = jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK;
  jpeg->out_color_space = is_cmyk ? JCS_CMYK : JCS_RGB;
  jpeg->dct_method = JDCT_ISLOW;
  jpeg->progress = &r->progress;
  read_orientation(r);
  r->status = ti_image_alloc(r->out, r->error, r->name, (int)jpeg->image_width,
                             (int)jpeg->image_height);
  if (r->status < 0)
    return;
  if (is_cmyk && !(r->row = ti_calloc(jpeg->image_width, 4))) {
    r->status = ti_fail_nomem(r->error, 4 * (size_t)jpeg->image_width, r->name);
    return;
  }
  jpeg_start_decompress(jpeg);
  while (jpeg->output_scanline < jpeg->output_height) {
    uint8_t *to = r->out->pixels + 3 * (size_t)jpeg->output_scanline * jpeg->output_width;
    JSAMPROW row = is_cmyk ? r->row : to;

    jpeg_read_scanlines(jpeg, &row, 1);
    if (is_cmyk)
      cmyk_to_rgb(to, r->row, r->out->width, jpeg->saw_Adobe_marker);
  }
  jpeg_finish_decompress(jpeg);
}

textinv_status ti_jpeg_decode(ti_image *out, int *orientation, ti_error *error, const char *name,
                              const void *bytes, size_t size)
{
  reader *r = ti_calloc(1, sizeof(*r));
  textinv_status status;

  if (!r)
    return ti_fail_nomem(error, sizeof(*r), name);
  r->out = out;
  r->orientation = orientation;
  r->error = error;
  r->name = name;
  r->size = size;
  r->jpeg.err = jpeg_std_error(&r->errors);
  r->errors.error_exit = on_error;
  r->errors.emit_message = on_message;
  r->progress.progress_monitor = on_progress;
  r->jpeg.client_data = r;
  if (!setjmp(r->jump)) {
    jpeg_create_decompress(&r->jpeg);
    decode(r, bytes);
  }
  jpeg_destroy_decompress(&r->jpeg);
  status = r->status;
  ti_free(r->row);
  ti_free(r);
  if (status < 0)
    ti_image_free(out);
  return status;
}
