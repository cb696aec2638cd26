/* Loading the CUDA plug-in. */
#include "device.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "alloc.h"
#include "format.h"
#include "library.h"

enum { PATH_SIZE = 4096 };

/* the plug-in's file beside this library */
static textinv_status default_path(char path[PATH_SIZE], ti_error *error)
{
  const char *folder = ti_library_folder();

  if (!*folder)
    return ti_fail(error, TEXTINV_E_BACKEND,
                   "the folder of libtextinv is not known; name " TI_CUDA_PLUGIN_FILE
                   " in backend_path");
  if (ti_format(path, PATH_SIZE, "%s/%s", folder, TI_CUDA_PLUGIN_FILE) >= PATH_SIZE)
    return ti_fail(error, TEXTINV_E_LIMIT, "the path of libtextinv is too long");
  return TEXTINV_OK;
}

/* the library's handle is not kept: see ti_device_close() */
static textinv_status load(const ti_cuda_plugin **out, ti_error *error, const char *path)
{
  char beside[PATH_SIZE];
  ti_cuda_plugin_fn get;
  const ti_cuda_plugin *plugin;
  void *library, *symbol;
  textinv_status status;

  *out = NULL;
  if (!path) {
    if ((status = default_path(beside, error)) < 0)
      return status;
    path = beside;
  }
  /* a name without a slash would be searched for */
  if (!strchr(path, '/'))
    return ti_fail(error, TEXTINV_E_INVALID, "%s: backend_path must contain a '/'", path);
  library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return ti_fail(error, TEXTINV_E_BACKEND, "the CUDA plug-in cannot be loaded: %s%s", dlerror(),
                   access(path, F_OK) ? "; `make cuda` builds it" : "");
  symbol = dlsym(library, TI_CUDA_PLUGIN_SYMBOL);
  if (!symbol)
    return ti_fail(error, TEXTINV_E_BACKEND, "%s: is not libtextinv's CUDA plug-in", path);
  memcpy(&get, &symbol, sizeof(get));
  plugin = get();
  if (plugin->version != TI_CUDA_PLUGIN_VERSION)
    return ti_fail(error, TEXTINV_E_VERSION, "%s: version %u of the plug-in, %u is needed", path,
                   (unsigned)plugin->version, TI_CUDA_PLUGIN_VERSION);
  if (plugin->exec_size != sizeof(ti_exec) || plugin->kernels_size != sizeof(ti_kernels))
    return ti_fail(error, TEXTINV_E_VERSION, "%s: was built from other sources than libtextinv",
                   path);
  *out = plugin;
  return TEXTINV_OK;
}

textinv_status ti_device_count(int *out, ti_error *error, const char *path)
{
  const ti_cuda_plugin *plugin;
  const textinv_status status = load(&plugin, error, path);

  *out = 0;
  return status < 0 ? status : plugin->device_count(error, out);
}

textinv_status ti_device_describe(ti_cuda_device *out, ti_error *error, const char *path,
                                  int ordinal)
{
  const ti_cuda_plugin *plugin;
  const textinv_status status = load(&plugin, error, path);

  return status < 0 ? status : plugin->device_info(error, out, ordinal);
}

textinv_status ti_device_open(ti_device **out, ti_error *error, const char *path, int ordinal,
                              void *stream)
{
  const ti_cuda_host host = { ti_weight_pack, ti_weight_values };
  ti_device *d = ti_calloc(1, sizeof(*d));
  textinv_status status;

  *out = NULL;
  if (!d)
    return ti_fail_nomem(error, sizeof(*d), "a device");
  if ((status = load(&d->plugin, error, path)) < 0)
    goto fail;
  if ((status = d->plugin->open(error, &d->context, &host, ordinal, stream)) < 0)
    goto fail;
  *out = d;
  return TEXTINV_OK;
fail:
  ti_device_close(d);
  return status;
}

void ti_device_close(ti_device *device)
{
  if (!device)
    return;
  if (device->context) {
    ti_device_drop_arena(device);
    device->plugin->host_free(device->context, device->pinned);
    device->plugin->close(device->context);
  }
  /* the library stays: the CUDA runtime in it has thread state that does not survive unloading */
  ti_free(device);
}

void ti_device_drop_arena(ti_device *device)
{
  device->plugin->free(device->context, device->arena);
  device->arena = NULL;
  device->arena_bytes = 0;
}

textinv_status ti_device_reserve(ti_device *device, ti_error *error, size_t bytes)
{
  textinv_status status;

  if (bytes <= device->arena_bytes)
    return TEXTINV_OK;
  ti_device_drop_arena(device);
  status = device->plugin->allocate(device->context, error, &device->arena, bytes);
  if (status >= 0)
    device->arena_bytes = bytes;
  return status;
}

textinv_status ti_device_pin(ti_device *device, ti_error *error, size_t bytes)
{
  textinv_status status;

  if (bytes <= device->pinned_bytes)
    return TEXTINV_OK;
  device->plugin->host_free(device->context, device->pinned);
  device->pinned_bytes = 0;
  status = device->plugin->host_allocate(device->context, error, &device->pinned, bytes);
  if (status >= 0)
    device->pinned_bytes = bytes;
  return status;
}

/* all that launches does, as a graph */
static textinv_status capture(ti_device *device, ti_error *error, ti_cuda_graph **out,
                              ti_device_launches launches, const void *user)
{
  const ti_cuda_plugin *plugin = device->plugin;
  textinv_status status = plugin->graph_begin(device->context, error), ended;

  if (status < 0)
    return status;
  status = launches(user);
  /* the capture ends even when a launch failed, whose message stays */
  ended = plugin->graph_end(device->context, status < 0 ? NULL : error, out);
  if (status >= 0)
    return ended;
  if (ended >= 0)
    plugin->graph_free(device->context, *out);
  *out = NULL;
  return status;
}

textinv_status ti_device_start(ti_device *device, ti_error *error, ti_cuda_graph **graph,
                               ti_device_launches launches, const void *user)
{
  const ti_cuda_plugin *plugin = device->plugin;
  textinv_status status = plugin->enter(device->context, error);

  if (status < 0)
    return status;
  if (!device->no_graphs) {
    if (!*graph)
      status = capture(device, error, graph, launches, user);
    if (status >= 0)
      status = plugin->graph_launch(device->context, error, *graph);
    if (status == TEXTINV_E_NOMEM) {
      plugin->graph_free(device->context, *graph);
      *graph = NULL;
      device->no_graphs = 1;
      error->text[0] = '\0';
    }
  }
  if (device->no_graphs)
    status = launches(user);
  plugin->leave(device->context);
  return status;
}
