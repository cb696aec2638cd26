/* Where this library lies: asked when it is loaded, as chdir() makes a relative path untrue. */
#include "library.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"

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
