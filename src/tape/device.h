/*
 * A CUDA device as the executor sees it: the plug-in libtextinv-cuda.so, loaded at run time, one
 * context of it, and the arena on the device.
 *
 * libtextinv.so needs neither CUDA nor a driver: without the file, opening fails with a message.
 */
#ifndef TI_DEVICE_H
#define TI_DEVICE_H

#include "cuda/plugin.h"

typedef struct ti_device {
  const ti_cuda_plugin *plugin;
  ti_cuda *context;
  void *arena;
  size_t arena_bytes;
  void *pinned; /* of the host; kept, as making and freeing it may wait for the whole device */
  size_t pinned_bytes;
  int no_graphs; /* kernels are launched one by one: a graph had no room, or a test wants it */
} ti_device;

/* devices there are, or the one of a number, without opening it; path as in ti_device_open(). *out
 * is 0 on failure */
textinv_status ti_device_count(int *out, ti_error *error, const char *path);
textinv_status ti_device_describe(ti_cuda_device *out, ti_error *error, const char *path,
                                  int ordinal);

/*
 * path: file of the plug-in, or NULL for the one beside this library. The current folder and the
 * loader's search path are never looked at. stream: a cudaStream_t of the caller, or NULL.
 */
textinv_status ti_device_open(ti_device **out, ti_error *error, const char *path, int ordinal,
                              void *stream);
void ti_device_close(ti_device *device); /* NULL is allowed */

/* room for bytes at device->arena, which moves when it grows */
textinv_status ti_device_reserve(ti_device *device, ti_error *error, size_t bytes);
void ti_device_drop_arena(ti_device *device);
/* the same at device->pinned, until the device is closed */
textinv_status ti_device_pin(ti_device *device, ti_error *error, size_t bytes);

/* launches kernels on the device's stream, and does nothing else */
typedef textinv_status (*ti_device_launches)(const void *user);

/*
 * Start what `launches` launches, without waiting. The first call captures it as *graph, which the
 * next ones start again: user is read in the first call alone. The caller frees the graph. Where
 * there is no memory for it, kernels are launched one by one, with the same results.
 */
textinv_status ti_device_start(ti_device *device, ti_error *error, ti_cuda_graph **graph,
                               ti_device_launches launches, const void *user);

#endif /* TI_DEVICE_H */
