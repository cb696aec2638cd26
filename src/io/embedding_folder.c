/*
 * Learnt words by their path: a file, or a folder as diffusers' training scripts leave it and as
 * the SD concepts library has them. Of SDXL a second file holds the vectors for the second encoder.
 */
#include <string.h>
#include <sys/stat.h>

#include "alloc.h"
#include "atomic_file.h"
#include "embedding_file.h"
#include "format.h"

/* the path of FOLDER/STEM.safetensors, else .bin, ti_free() it; NULL when there is neither */
static textinv_status find_in(char **out, ti_error *error, const char *folder, const char *stem)
{
  static const char *const endings[] = { "safetensors", "bin" };
  const size_t size = strlen(folder) + strlen(stem) + sizeof("/.safetensors");
  char *path = ti_calloc(size, 1);
  struct stat st;

  *out = NULL;
  if (!path)
    return ti_fail_nomem(error, size, folder);
  for (int i = 0; i < 2 && !*out; i++) {
    ti_format(path, size, "%s/%s.%s", folder, stem, endings[i]);
    if (!stat(path, &st) && S_ISREG(st.st_mode))
      *out = path;
  }
  if (!*out)
    ti_free(path);
  return TEXTINV_OK;
}

int ti_embedding_folder_check(const char *path)
{
  char *found;
  const textinv_status status = find_in(&found, NULL, path, "learned_embeds");

  ti_free(found);
  return status >= 0 && found;
}

static textinv_status read_file(ti_embedding_file *out, ti_error *error, const char *path)
{
  textinv_status status;
  void *bytes;
  size_t size;

  if ((status = ti_file_read(&bytes, &size, error, path, TI_EMBEDDING_MAX_BYTES)) < 0)
    return status;
  status = ti_embedding_file_decode(out, error, path, bytes, size);
  ti_free(bytes);
  return status;
}

/* entries whose encoder is not told are for that one */
static void set_encoder(ti_embedding_file *file, int encoder)
{
  for (size_t i = 0; i < file->count; i++) {
    if (file->entries[i].encoder < 0)
      file->entries[i].encoder = encoder;
  }
}

/* the entries of second behind those of out */
static textinv_status append(ti_embedding_file *out, ti_error *error, const char *path,
                             ti_embedding_file *second)
{
  ti_embedding_entry *entries = ti_realloc_array(out->entries, out->count + second->count,
                                                 sizeof(*entries));

  if (!entries)
    return ti_fail_nomem(error, (out->count + second->count) * sizeof(*entries), path);
  memcpy(entries + out->count, second->entries, second->count * sizeof(*entries));
  out->entries = entries;
  out->count += second->count;
  second->count = 0;
  return TEXTINV_OK;
}

static textinv_status read_folder(ti_embedding_file *out, ti_error *error, const char *folder)
{
  char *first = NULL, *also = NULL;
  ti_embedding_file second;
  textinv_status status;

  memset(&second, 0, sizeof(second));
  if ((status = find_in(&first, error, folder, "learned_embeds")) < 0 ||
      (status = find_in(&also, error, folder, "learned_embeds_2")) < 0)
    goto out;
  if (!first) {
    status = ti_fail(error, TEXTINV_E_NOT_FOUND,
                     "%s: is a folder without learned_embeds.safetensors or learned_embeds.bin; "
                     "name a file",
                     folder);
    goto out;
  }
  if ((status = read_file(out, error, first)) < 0 || !also)
    goto out;
  if ((status = read_file(&second, error, also)) < 0)
    goto out;
  set_encoder(out, 0);
  set_encoder(&second, 1);
  status = append(out, error, folder, &second);
out:
  ti_embedding_file_free(&second);
  if (status < 0)
    ti_embedding_file_free(out);
  ti_free(first);
  ti_free(also);
  return status;
}

textinv_status ti_embedding_file_read(ti_embedding_file *out, ti_error *error, const char *path)
{
  struct stat st;

  memset(out, 0, sizeof(*out));
  return !stat(path, &st) && S_ISDIR(st.st_mode) ? read_folder(out, error, path)
                                                 : read_file(out, error, path);
}
