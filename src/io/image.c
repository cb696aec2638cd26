/* Pictures of any format: recognised by content, turned upright; lists of folders. */
#include "image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc.h"
#include "atomic_file.h"
#include "format.h"
#include "image_codec.h"

enum { MAX_LISTED = 65536 };

textinv_status ti_image_check_size(ti_error *error, const char *name, uint64_t width,
                                   uint64_t height)
{
  if (width < 1 || height < 1)
    return ti_fail(error, TEXTINV_E_FORMAT, "%s: the picture is %llu x %llu", name,
                   (unsigned long long)width, (unsigned long long)height);
  if (width > TI_IMAGE_MAX_SIDE || height > TI_IMAGE_MAX_SIDE ||
      width * height > TI_IMAGE_MAX_PIXELS)
    return ti_fail(error, TEXTINV_E_LIMIT,
                   "%s: the picture is %llu x %llu, at most %d a side and %d pixels in all", name,
                   (unsigned long long)width, (unsigned long long)height, TI_IMAGE_MAX_SIDE,
                   TI_IMAGE_MAX_PIXELS);
  return TEXTINV_OK;
}

textinv_status ti_image_alloc(ti_image *out, ti_error *error, const char *name, int width,
                              int height)
{
  const size_t bytes = (size_t)width * (size_t)height * 3; /* at most 3 * 2^26 */

  out->pixels = ti_realloc_array(NULL, bytes, 1);
  if (!out->pixels)
    return ti_fail_nomem(error, bytes, name);
  out->width = width;
  out->height = height;
  return TEXTINV_OK;
}

void ti_image_free(ti_image *image)
{
  ti_free(image->pixels);
  memset(image, 0, sizeof(*image));
}

/* --- orientation */

static unsigned read16(const unsigned char *p, int big)
{
  return big ? (unsigned)p[0] << 8 | p[1] : (unsigned)p[1] << 8 | p[0];
}

static unsigned long read32(const unsigned char *p, int big)
{
  const unsigned long a = read16(p, big), b = read16(p + 2, big);

  return big ? a << 16 | b : b << 16 | a;
}

int ti_exif_orientation(const void *tiff, size_t size)
{
  enum { ORIENTATION = 0x0112, SHORT = 3, ENTRY = 12 };
  const unsigned char *p = tiff;
  size_t at, entries;
  int big;

  if (size < 8 || (memcmp(p, "II*\0", 4) && memcmp(p, "MM\0*", 4)))
    return 1;
  big = *p == 'M';
  at = read32(p + 4, big);
  if (at > size - 2)
    return 1;
  entries = read16(p + at, big);
  at += 2;
  for (; entries && size - at >= ENTRY; entries--, at += ENTRY) {
    const unsigned value = read16(p + at + 8, big);

    if (read16(p + at, big) != ORIENTATION)
      continue;
    return read16(p + at + 2, big) == SHORT && read32(p + at + 4, big) == 1 && value >= 1 &&
               value <= 8
             ? (int)value
             : 1;
  }
  return 1;
}

/*
 * Undo an EXIF orientation. The pixel (x, y) of the result comes from (sx, sy), each of which is a
 * step along x and y of the result: the file's origin plus x times one step plus y times the other.
 */
static textinv_status turn_upright(ti_image *image, ti_error *error, const char *name,
                                   int orientation)
{
  const ptrdiff_t w = image->width, h = image->height;
  const int swaps = orientation >= 5;
  const int mirrors_x = orientation == 2 || orientation == 3 || orientation == 7 ||
                        orientation == 8;
  const int mirrors_y = orientation == 3 || orientation == 4 || orientation == 6 ||
                        orientation == 7;
  const ptrdiff_t along = mirrors_x ? -3 : 3, down = mirrors_y ? -3 * w : 3 * w;
  const ptrdiff_t step_x = swaps ? down : along, step_y = swaps ? along : down;
  const uint8_t *origin = image->pixels + (mirrors_x ? 3 * (w - 1) : 0) +
                          (mirrors_y ? 3 * w * (h - 1) : 0);
  textinv_status status;
  ti_image turned;
  uint8_t *to;

  if (orientation <= 1)
    return TEXTINV_OK;
  status = ti_image_alloc(&turned, error, name, (int)(swaps ? h : w), (int)(swaps ? w : h));
  if (status < 0)
    return status;
  to = turned.pixels;
  for (ptrdiff_t y = 0; y < turned.height; y++) {
    for (ptrdiff_t x = 0; x < turned.width; x++, to += 3)
      memcpy(to, origin + x * step_x + y * step_y, 3);
  }
  ti_image_free(image);
  *image = turned;
  return TEXTINV_OK;
}

/* --- reading */

textinv_status ti_image_decode(ti_image *out, ti_error *error, const char *name, const void *bytes,
                               size_t size)
{
  textinv_status status;
  int orientation = 1;

  memset(out, 0, sizeof(*out));
  if ((status = ti_file_check_size(error, name, size, TI_IMAGE_MAX_BYTES)) < 0)
    return status;
  if (ti_png_check(bytes, size))
    status = ti_png_decode(out, &orientation, error, name, bytes, size);
  else if (ti_jpeg_check(bytes, size))
    status = ti_jpeg_decode(out, &orientation, error, name, bytes, size);
  else
    return ti_fail(error, size ? TEXTINV_E_UNSUPPORTED : TEXTINV_E_FORMAT,
                   size ? "%s: is neither a PNG nor a JPEG picture"
                        : "%s: is empty, expected a PNG or JPEG picture",
                   name);
  if (status >= 0)
    status = turn_upright(out, error, name, orientation);
  if (status < 0)
    ti_image_free(out);
  return status;
}

textinv_status ti_image_read(ti_image *out, ti_error *error, const char *path)
{
  textinv_status status;
  void *bytes;
  size_t size;

  memset(out, 0, sizeof(*out));
  if ((status = ti_file_read(&bytes, &size, error, path, TI_IMAGE_MAX_BYTES)) < 0)
    return status;
  status = ti_image_decode(out, error, path, bytes, size);
  ti_free(bytes);
  return status;
}

void ti_image_parameters(const char **text, size_t *length, int *is_latin1, const void *bytes,
                         size_t size)
{
  *text = NULL;
  if (ti_png_check(bytes, size))
    ti_png_parameters(text, length, is_latin1, bytes, size);
}

/* --- folders */

/* 1 when path is a regular file that begins like a picture, 0 when it is not, -1 with error set */
static int is_picture(ti_error *error, const char *path)
{
  unsigned char head[8];
  struct stat st;
  ssize_t n;
  int fd;

  if (stat(path, &st) || !S_ISREG(st.st_mode))
    return 0;
  fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) {
    ti_fail_errno(error, errno, path, "cannot be opened");
    return -1;
  }
  do
    n = read(fd, head, sizeof(head));
  while (n < 0 && errno == EINTR);
  if (n < 0)
    ti_fail_errno(error, errno, path, "cannot be read");
  close(fd);
  return n < 0 ? -1 : n > 0 && (ti_png_check(head, (size_t)n) || ti_jpeg_check(head, (size_t)n));
}

/* whether a file's name promises a picture; hidden files promise nothing */
static int named_picture(const char *name)
{
  static const char *const endings[] = { "png", "jpg",  "jpeg", "webp", "gif",
                                         "bmp", "tiff", "tif",  "heic", "avif" };
  const char *dot = *name == '.' ? NULL : strrchr(name, '.');

  for (size_t i = 0; dot && i < sizeof(endings) / sizeof(*endings); i++) {
    size_t k = 0;

    while (endings[i][k] && (dot[1 + k] | 0x20) == endings[i][k])
      k++;
    if (!endings[i][k] && !dot[1 + k])
      return 1;
  }
  return 0;
}

static int by_text(const void *a, const void *b)
{
  return strcmp(*(char *const *)a, *(char *const *)b);
}

/* append a path to an array that doubles */
static int append(char ***paths, size_t *count, char *path)
{
  if (!(*count & (*count - 1))) {
    char **larger = ti_realloc_array(*paths, *count ? *count * 2 : 1, sizeof(*larger));

    if (!larger)
      return -1;
    *paths = larger;
  }
  (*paths)[(*count)++] = path;
  return 0;
}

textinv_status ti_image_list(char ***paths, size_t *count, size_t *left_out, ti_error *error,
                             const char *folder)
{
  textinv_status status = TEXTINV_OK;
  DIR *dir = opendir(folder);
  struct dirent *entry;
  char **list = NULL, *path = NULL;
  size_t n = 0;

  *paths = NULL;
  *count = *left_out = 0;
  if (!dir)
    return ti_fail_errno(error, errno, folder, "cannot be opened as a folder");
  while ((errno = 0, entry = readdir(dir))) {
    const size_t size = strlen(folder) + strlen(entry->d_name) + 2;
    int found;

    path = ti_realloc_array(NULL, size, 1);
    if (!path) {
      status = ti_fail_nomem(error, size, folder);
      goto out;
    }
    ti_format(path, size, "%s/%s", folder, entry->d_name);
    if ((found = is_picture(error, path)) < 0) {
      status = TEXTINV_E_IO;
      goto out;
    }
    if (found && n == MAX_LISTED) {
      status = ti_fail(error, TEXTINV_E_LIMIT, "%s: holds over %d pictures", folder, MAX_LISTED);
      goto out;
    }
    if (found && append(&list, &n, path)) {
      status = ti_fail_nomem(error, n * sizeof(*list), folder);
      goto out;
    }
    if (!found) {
      *left_out += (size_t)named_picture(entry->d_name);
      ti_free(path);
    }
    path = NULL;
  }
  if (errno) {
    status = ti_fail_errno(error, errno, folder, "cannot be read");
    goto out;
  }
  if (n)
    qsort(list, n, sizeof(*list), by_text);
  *paths = list;
  *count = n;
  list = NULL;
out:
  closedir(dir);
  ti_free(path);
  for (size_t i = 0; list && i < n; i++)
    ti_free(list[i]);
  ti_free(list);
  return status;
}
