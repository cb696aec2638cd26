/* Command-line options from a table: parsing, messages, help. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_INTERRUPTED = 130 };

typedef enum cli_type {
  CLI_FLAG,   /* int32_t; --name sets 1, --no-name 0 */
  CLI_UINT,   /* uint32_t */
  CLI_UINT64, /* uint64_t */
  CLI_FLOAT,  /* float */
  CLI_BYTES,  /* uint64_t; suffixes K, M, G, T of 1024 */
  CLI_CHOICE, /* int32_t, one of choices */
  CLI_TEXT,   /* const char *; the last one counts */
  CLI_LIST    /* cli_list; every one counts */
} cli_type;

/* at the end of a table may stand other spellings: a value that came before. They are understood
 * but not shown */
typedef struct cli_choice {
  const char *name; /* NULL ends the table */
  int32_t value;
} cli_choice;

/* one occurrence, and how many plain arguments stood before it */
typedef struct cli_item {
  const char *text;
  size_t arguments;
} cli_item;

typedef struct cli_list {
  cli_item *items;
  size_t count;
} cli_list;

enum {
  CLI_RARE = 1,          /* in --help-all, not in --help */
  CLI_ABOVE_MIN = 2,     /* min itself is not allowed */
  CLI_QUIET_DEFAULT = 4, /* the help text says what happens without the option */
  CLI_MORE =
    8 /* of a command without plain arguments: those that follow the value are values, too */
};

typedef struct cli_option {
  const char *name; /* words joined by '-'; NULL ends the table */
  const char *arg;  /* name of the value in the help */
  cli_type type;
  size_t offset; /* of the value in the command's struct */
  double min, max;
  const cli_choice *choices;
  int flags;
  const char *help;
} cli_option;

/* another spelling of an option */
typedef struct cli_alias {
  const char *name; /* NULL ends the table */
  const char *option;
} cli_alias;

typedef struct cli_arguments {
  const char **items;
  size_t count;
} cli_arguments;

typedef struct cli_command {
  const char *name, *summary;
  const char *usage;         /* what follows "textinv NAME" */
  const cli_option *options; /* its own */
  const cli_option *shared;  /* further ones, or NULL */
  size_t size;               /* of its struct of values, which begins with a cli_common */
  size_t min_arguments, max_arguments;
  void (*init)(void *values); /* defaults of the rest; the struct is zeroed before. May be NULL */
  int (*run)(void *values, const cli_arguments *arguments);
} cli_command;

/* number of the option NAME in command, own ones first; NULL past the end */
const cli_option *cli_option_at(const cli_command *command, size_t i);

/*
 * Parse what follows the command's name. CLI_OK, or CLI_USAGE after a message, or -1 when help was
 * asked for and printed. Texts are borrowed from argv; cli_options_free() frees the rest.
 */
int cli_parse(const cli_command *command, const cli_alias *aliases, int argc, char **argv,
              void *values, cli_arguments *arguments);
void cli_options_free(const cli_command *command, void *values, cli_arguments *arguments);

/* all = 0: one screen */
void cli_help(FILE *out, const cli_command *command, const void *values, int all);

/* the nearest of names to text, or NULL when none is near */
const char *cli_nearest(const char *text, const char *const *names, size_t count);

/* entries of a table that are shown */
size_t cli_choices_shown(const cli_choice *choices);

/* name of a value; "?" when the table has none */
const char *cli_choice_name(const cli_choice *choices, int32_t value);

/* a line on stderr; control characters, which a path may hold, become question marks */
void cli_vprint(const char *format, va_list ap);

/* "textinv COMMAND: message" on stderr; returns CLI_USAGE */
int cli_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif /* CLI_OPTIONS_H */
