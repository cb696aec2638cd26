/* textinv devices: what --backend and --device may be on this machine, one a line, on stdout. */
#include "cli.h"

static const char name[] = "devices";

static const cli_option options[] = { { NULL, NULL, CLI_FLAG, 0, 0, 0, NULL, 0, NULL } };

/* what follows the options that choose the device */
static void print_info(const textinv_device_info *d)
{
  const int cuda = d->backend == TEXTINV_BACKEND_CUDA;

  printf(": %s", *d->name ? d->name : "unknown");
  if (cuda)
    printf(", compute capability %u.%u", d->capability_major, d->capability_minor);
  printf(", %u %s%s", d->units, cuda ? "multiprocessor" : "core", d->units == 1 ? "" : "s");
  if (d->memory)
    printf(", %.1f GiB", (double)d->memory / 0x1p30);
  if (!d->usable)
    printf("; not usable: %s", d->reason);
  putchar('\n');
}

static int run_devices(void *p, const cli_arguments *arguments)
{
  textinv_device_info d;
  textinv_status status;
  uint32_t count;

  (void)p;
  (void)arguments;
  if ((status = textinv_device_info_init(&d, sizeof(d))) < 0 ||
      (status = textinv_device_get_info(&d, TEXTINV_BACKEND_CPU, 0, NULL)) < 0)
    return cli_report(name, NULL, status);
  printf("--backend cpu");
  print_info(&d);
  /* a machine without CUDA is no failure */
  if (textinv_device_count(&count, TEXTINV_BACKEND_CUDA, NULL) < 0)
    printf("--backend cuda: not usable: %s\n", textinv_session_error(NULL));
  for (uint32_t i = 0; i < count; i++) {
    if ((status = textinv_device_get_info(&d, TEXTINV_BACKEND_CUDA, (int32_t)i, NULL)) < 0)
      return cli_report(name, NULL, status);
    printf("--backend cuda --device %u", i);
    print_info(&d);
  }
  return CLI_OK;
}

static const char summary[] =
  "List what --backend and --device may be on this machine, one a line, and why\n"
  "what is not usable is not.";

const cli_command cli_devices = { .name = name,
                                  .summary = summary,
                                  .usage = "",
                                  .options = options,
                                  .size = sizeof(cli_common),
                                  .run = run_devices };
