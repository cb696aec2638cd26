/* The help of a command: one screen, or everything. Defaults are read from the values, so they are
 * the library's. */
#include <string.h>

#include "options.h"

enum { COLUMN = 27, COLUMNS = 80 };

static int print_default(FILE *out, const cli_option *o, const char *value)
{
  if (o->flags & CLI_QUIET_DEFAULT)
    return 0;
  switch (o->type) {
  case CLI_UINT: return fprintf(out, " (%u)", *(const uint32_t *)value);
  case CLI_UINT64: return fprintf(out, " (%llu)", (unsigned long long)*(const uint64_t *)value);
  case CLI_FLOAT: return fprintf(out, " (%g)", (double)*(const float *)value);
  case CLI_CHOICE:
    return fprintf(out, " (%s)", cli_choice_name(o->choices, *(const int32_t *)value));
  default: return 0;
  }
}

/* from column at, on further lines where one is full */
static void print_choices(FILE *out, const cli_option *o, int at)
{
  const size_t shown = cli_choices_shown(o->choices);

  for (size_t i = 0; i < shown; i++) {
    const int last = i + 1 == shown, length = (int)strlen(o->choices[i].name) + !last;

    if (at + length > COLUMNS)
      at = fprintf(out, "\n%*s", COLUMN, "") - 1;
    at += fprintf(out, "%s%s", o->choices[i].name, last ? "" : "|");
  }
}

void cli_help(FILE *out, const cli_command *command, const void *values, int all)
{
  const cli_option *o;
  size_t hidden = 0;

  fprintf(out, "textinv %s%s%s\n%s\n\n", command->name, *command->usage ? " " : "", command->usage,
          command->summary);
  for (size_t i = 0; (o = cli_option_at(command, i)); i++) {
    int on;

    if (o->flags & CLI_RARE && !all) {
      hidden++;
      continue;
    }
    on = o->type == CLI_FLAG && *(const int32_t *)((const char *)values + o->offset);
    int width = fprintf(out, "  --%s%s%s%s", on ? "no-" : "", o->name, o->arg ? " " : "",
                        o->arg ? o->arg : "");

    width += fprintf(out, "%*s%s", width < COLUMN ? COLUMN - width : 1, "", o->help);
    if (o->choices) {
      width += fprintf(out, "%s", *o->help ? ": " : "");
      print_choices(out, o, width);
    }
    print_default(out, o, (const char *)values + o->offset);
    fputc('\n', out);
  }
  if (hidden)
    fprintf(out, "\ntextinv %s --help-all lists %zu more.\n", command->name, hidden);
}
