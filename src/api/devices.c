/* The devices that sessions may be opened on. */
#include <string.h>
#include <unistd.h>

#ifdef __x86_64__
#include <cpuid.h>
#endif

#include "api.h"
#include "arm_name.h"
#include "cores.h"
#include "format.h"

static const textinv_device_info empty = { .struct_size = sizeof(textinv_device_info) };

/* the first version ended at reason */
static const size_t DEVICE_INFO_MIN = sizeof(textinv_device_info);

textinv_status textinv_device_info_init(textinv_device_info *info, size_t size)
{
  return ti_params_init(info, size, &empty, sizeof(empty), DEVICE_INFO_MIN);
}

textinv_status ti_check_backend(ti_error *error, textinv_backend backend)
{
  if (backend != TEXTINV_BACKEND_CPU && backend != TEXTINV_BACKEND_CUDA)
    return ti_fail(error, TEXTINV_E_INVALID, "backend is %d; known are 0 (CPU) and 1 (CUDA)",
                   (int)backend);
  return TEXTINV_OK;
}

static textinv_status count_devices(int *out, ti_error *error, textinv_backend backend,
                                    const char *path)
{
  *out = backend == TEXTINV_BACKEND_CPU;
  return *out ? TEXTINV_OK : ti_device_count(out, error, path);
}

textinv_status textinv_device_count(uint32_t *count, textinv_backend backend,
                                    const char *backend_path)
{
  ti_error *error = ti_begin(NULL);
  textinv_status status;
  int found;

  if (count)
    *count = 0;
  if ((status = ti_check_null(error, count, "count")) < 0 ||
      (status = ti_check_backend(error, backend)) < 0 ||
      (status = count_devices(&found, error, backend, backend_path)) < 0)
    return status;
  *count = (uint32_t)found;
  return TEXTINV_OK;
}

/* an x86's own name for itself, without the spaces that surround it; an ARM's by its numbers */
static void processor_name(char *out, size_t size)
{
#ifdef __x86_64__
  enum { FIRST = 0x80000002, LEAVES = 3 };
  unsigned words[4 * LEAVES + 1] = { 0 };
  char text[sizeof(words)];
  size_t from = 0, to;

  for (unsigned i = 0; i < LEAVES; i++) {
    unsigned *w = words + 4 * i;

    if (!__get_cpuid(FIRST + i, w, w + 1, w + 2, w + 3))
      return;
  }
  memcpy(text, words, sizeof(text));
  to = strlen(text);
  while (text[from] == ' ')
    from++;
  while (to > from && text[to - 1] == ' ')
    to--;
  ti_format(out, size, "%.*s", (int)(to - from), text + from);
  ti_one_line(out);
#elif defined(__aarch64__)
  ti_arm_name(out, size, "/proc/cpuinfo");
#else
  (void)out;
  (void)size;
#endif
}

static void describe_cpu(textinv_device_info *info)
{
  const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

  info->usable = 1;
  info->units = (uint32_t)ti_usable_cores();
  info->memory = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
  processor_name(info->name, sizeof(info->name));
}

static void describe_cuda(textinv_device_info *info, const ti_cuda_device *d)
{
  info->usable = d->major >= TI_CUDA_MIN_MAJOR && d->pools;
  info->units = (uint32_t)d->multiprocessors;
  info->capability_major = (uint32_t)d->major;
  info->capability_minor = (uint32_t)d->minor;
  info->memory = d->total_bytes;
  ti_format(info->name, sizeof(info->name), "%s", d->name);
  if (!d->pools)
    ti_format(info->reason, sizeof(info->reason),
              "it has no memory pools (cudaMallocAsync), which are needed");
  if (d->major < TI_CUDA_MIN_MAJOR)
    ti_format(info->reason, sizeof(info->reason),
              "its compute capability is %d.%d; %d.0 or newer is needed", d->major, d->minor,
              TI_CUDA_MIN_MAJOR);
}

textinv_status textinv_device_get_info(textinv_device_info *info, textinv_backend backend,
                                       int32_t device, const char *backend_path)
{
  ti_error *error = ti_begin(NULL);
  textinv_device_info mine = empty;
  ti_cuda_device cuda;
  textinv_status status;
  int count;

  if ((status = ti_check_null(error, info, "info")) < 0 ||
      (status = ti_struct_check(error, info, DEVICE_INFO_MIN, "device_info")) < 0 ||
      (status = ti_check_backend(error, backend)) < 0 ||
      (status = count_devices(&count, error, backend, backend_path)) < 0)
    return status;
  if (device < 0 || device >= count)
    return ti_fail(error, TEXTINV_E_INVALID, "device is %d; 0 to %d are there", (int)device,
                   count - 1);
  mine.backend = backend;
  mine.device = device;
  if (backend == TEXTINV_BACKEND_CPU) {
    describe_cpu(&mine);
  } else {
    if ((status = ti_device_describe(&cuda, error, backend_path, device)) < 0)
      return status;
    describe_cuda(&mine, &cuda);
  }
  ti_struct_write(info, &mine, sizeof(mine));
  return TEXTINV_OK;
}
