/* Where this library lies: asked when it is loaded, as chdir() makes a relative path untrue. */
#include "library.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format.h"

#ifndef TI_DATADIR
#define TI_DATADIR "/usr/local/share/textinv"
#endif

static char folder[PATH_MAX];

const char *ti_library_folder(void)
{
  return folder;
}

__attribute__((constructor)) static void find_folder(void)
{
  const char *slash;
  char path[PATH_MAX];
  Dl_info info;

  if (!dladdr((void *)(uintptr_t)&ti_library_folder, &info) || !info.dli_fname ||
      !(slash = strrchr(info.dli_fname, '/')))
    return;
  ti_format(path, sizeof(path), "%.*s", (int)(slash - info.dli_fname) + 1, info.dli_fname);
  if (!realpath(path, folder))
    folder[0] = '\0';
}

static int has_file(const char *path, const char *file)
{
  char full[PATH_MAX + 256];
  struct stat st;

  ti_format(full, sizeof(full), "%s/%s", path, file);
  return !stat(full, &st) && S_ISREG(st.st_mode);
}

textinv_status ti_library_data(char *out, size_t size, ti_error *error, const char *name,
                               const char *file, const char *what, const char *remedy)
{
  static const char *const beside[] = { "../share/textinv", "../../share/textinv", "../models",
                                        "../../models" };

  for (size_t i = 0; *folder && i < sizeof(beside) / sizeof(*beside); i++) {
    ti_format(out, size, "%s/%s/%s", folder, beside[i], name);
    if (has_file(out, file))
      return TEXTINV_OK;
  }
  ti_format(out, size, "%s/%s", TI_DATADIR, name);
  if (has_file(out, file))
    return TEXTINV_OK;
  return ti_fail(error, TEXTINV_E_NOT_FOUND,
                 "%s is not installed: %s is neither in %s, %s, %s or %s of %s nor in %s; %s", what,
                 name, beside[0], beside[1], beside[2], beside[3],
                 *folder ? folder : "the library's folder, which is not known", TI_DATADIR, remedy);
}
