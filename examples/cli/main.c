/* textinv: textual inversion from the command line. Uses the library through its public header
 * alone. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static const cli_command *const commands[] = { &cli_invert,  &cli_generate, &cli_evaluate,
                                               &cli_inspect, &cli_convert,  &cli_tokenize,
                                               &cli_sheet,   &cli_devices };

enum { NUM_COMMANDS = sizeof(commands) / sizeof(*commands) };

/* the names that diffusers' training script gives its options */
static const cli_alias aliases[] = { { "pretrained-model-name-or-path", "model" },
                                     { "train-data-dir", "images" },
                                     { "placeholder-token", "placeholder" },
                                     { "initializer-token", "initializer" },
                                     { "learnable-property", "property" },
                                     { "num-vectors", "vectors" },
                                     { "max-train-steps", "steps" },
                                     { "train-batch-size", "batch" },
                                     { "gradient-accumulation-steps", "accumulate" },
                                     { "learning-rate", "lr" },
                                     { "lr-scheduler", "lr-schedule" },
                                     { "lr-warmup", "warmup" },
                                     { "lr-warmup-steps", "warmup" },
                                     { "adam-beta1", "beta1" },
                                     { "adam-beta2", "beta2" },
                                     { "adam-epsilon", "epsilon" },
                                     { "adam-weight-decay", "weight-decay" },
                                     { "mixed-precision", "dtype" },
                                     { "validation-prompt", "preview" },
                                     { "validation-steps", "preview-every" },
                                     { "num-validation-images", "preview-images" },
                                     { "checkpointing-steps", "checkpoint-every" },
                                     { "save-steps", "checkpoint-every" },
                                     { "checkpoints-total-limit", "checkpoint-keep" },
                                     { "resume-from-checkpoint", "resume" },
                                     { "negative-prompt", "negative" },
                                     { "guidance-scale", "guidance" },
                                     { NULL, NULL } };

static void print_version(void)
{
  const uint32_t v = textinv_version();

  printf("textinv %u.%u.%u\n", v >> 16, v >> 8 & 255, v & 255);
}

static void print_help(FILE *out)
{
  fputs("textinv - new words for a frozen text-to-image model\n\n", out);
  for (size_t i = 0; i < NUM_COMMANDS; i++)
    fprintf(out, *commands[i]->usage ? "  textinv %-9s %s\n" : "  textinv %s%s\n",
            commands[i]->name, commands[i]->usage);
  fputs("\ntextinv COMMAND --help says more about a command, textinv --version which release this "
        "is.\n"
        "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted: once with the work saved, "
        "twice without.\n",
        out);
}

static const cli_command *find(const char *name)
{
  for (size_t i = 0; i < NUM_COMMANDS; i++) {
    if (!strcmp(commands[i]->name, name))
      return commands[i];
  }
  return NULL;
}

static int unknown(const char *name)
{
  const char *names[NUM_COMMANDS], *near;

  for (size_t i = 0; i < NUM_COMMANDS; i++)
    names[i] = commands[i]->name;
  near = cli_nearest(name, names, NUM_COMMANDS);
  return near ? cli_usage(NULL, "unknown command %s; did you mean %s?", name, near)
              : cli_usage(NULL, "unknown command %s; textinv --help lists the commands", name);
}

/* what was printed must have arrived: a full disk or a closed pipe is a failure, the latter a quiet
 * one */
static int finish(int status)
{
  if (fflush(stdout) || ferror(stdout)) {
    if (errno != EPIPE)
      perror("textinv: stdout");
    return status == CLI_OK ? CLI_FAILED : status;
  }
  return status;
}

static int run(const cli_command *command, int argc, char **argv)
{
  cli_arguments arguments = { NULL, 0 };
  void *values = calloc(1, command->size);
  int status;

  if (!values)
    return cli_usage(command->name, "out of memory");
  cli_common_init(values);
  if (command->init)
    command->init(values);
  status = cli_parse(command, aliases, argc, argv, values, &arguments);
  if (status == CLI_OK)
    status = command->run(values, &arguments);
  cli_options_free(command, values, &arguments);
  free(values);
  return status < 0 ? CLI_OK : status;
}

int main(int argc, char **argv)
{
  const char *first = argc > 1 ? argv[1] : NULL;
  const cli_command *command;
  char *help[] = { "--help" };

  if (!first) {
    print_help(stderr);
    return CLI_USAGE;
  }
  if (!strcmp(first, "--version")) {
    print_version();
    return finish(CLI_OK);
  }
  if (!strcmp(first, "--help") || !strcmp(first, "-h") || (!strcmp(first, "help") && argc == 2)) {
    print_help(stdout);
    return finish(CLI_OK);
  }
  if (!strcmp(first, "help"))
    return (command = find(argv[2])) ? finish(run(command, 1, help)) : unknown(argv[2]);
  if (!(command = find(first)))
    return unknown(first);
  return finish(run(command, argc - 2, argv + 2));
}
