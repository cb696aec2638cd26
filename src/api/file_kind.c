/* What a file or folder is, from its first bytes. */
#include <string.h>
#include <sys/stat.h>

#include "api.h"
#include "atomic_file.h"
#include "format.h"
#include "safetensors.h"

static textinv_kind kind_of_bytes(const unsigned char *bytes, size_t size, const char *path)
{
  ti_safetensors *file;
  textinv_kind kind;

  if (size >= 8 && !memcmp(bytes, "\x89PNG\r\n\x1a\n", 8))
    return TEXTINV_KIND_IMAGE;
  if (size >= 3 && !memcmp(bytes, "\xff\xd8\xff", 3))
    return TEXTINV_KIND_IMAGE;
  if (size >= 4 && !memcmp(bytes, "PK\x03\x04", 4)) /* torch.save */
    return TEXTINV_KIND_EMBEDDING;
  if (ti_safetensors_parse(&file, NULL, path, bytes, size) < 0)
    return TEXTINV_KIND_UNKNOWN;
  kind = ti_safetensors_metadata(file, "textinv_checkpoint") ? TEXTINV_KIND_CHECKPOINT
                                                             : TEXTINV_KIND_EMBEDDING;
  ti_safetensors_close(file);
  return kind;
}

textinv_status textinv_file_kind(textinv_kind *out, textinv_session *session, const char *path)
{
  ti_error *error = ti_begin(session);
  char index[TI_ERROR_SIZE * 8];
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
    return TEXTINV_OK;
  }
  if ((status = ti_file_map(&bytes, &size, error, path)) < 0)
    return status;
  if (size)
    *out = kind_of_bytes(bytes, size, path);
  ti_file_unmap(bytes, size);
  return TEXTINV_OK;
}
