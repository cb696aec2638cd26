/* Command-line options from a table. '-' and '_' are the same in names; "--name=value" is "--name
 * value". */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 64 };

typedef struct parser {
  const cli_command *command;
  const cli_alias *aliases;
  char *values;
  cli_arguments *arguments;
  size_t room; /* of lists: no list can be longer than argv */
} parser;

void cli_vprint(const char *format, va_list ap)
{
  char line[4096];

  vsnprintf(line, sizeof(line), format, ap);
  for (char *p = line; *p; p++) {
    const unsigned char c = (unsigned char)p[0], next = (unsigned char)p[1];

    if (c == 0xc2 && next >= 0x80 && next < 0xa0) /* C1, as two bytes of UTF-8 */
      p[0] = p[1] = '?';
    else if (c < 0x20 || c == 0x7f)
      p[0] = '?';
  }
  fprintf(stderr, "%s\n", line);
}

int cli_usage(const char *command, const char *format, ...)
{
  va_list ap;

  fprintf(stderr, "textinv%s%s: ", command ? " " : "", command ? command : "");
  va_start(ap, format);
  cli_vprint(format, ap);
  va_end(ap);
  return CLI_USAGE;
}

const cli_option *cli_option_at(const cli_command *command, size_t i)
{
  size_t own = 0;

  while (command->options[own].name)
    own++;
  if (i < own)
    return &command->options[i];
  for (const cli_option *o = command->shared; o && o->name; o++) {
    if (own++ == i)
      return o;
  }
  return NULL;
}

const char *cli_choice_name(const cli_choice *choices, int32_t value)
{
  for (const cli_choice *c = choices; c->name; c++) {
    if (c->value == value)
      return c->name;
  }
  return "?";
}

size_t cli_choices_shown(const cli_choice *choices)
{
  size_t shown = 0;

  for (; choices[shown].name; shown++) {
    for (size_t i = 0; i < shown; i++) {
      if (choices[i].value == choices[shown].value)
        return shown;
    }
  }
  return shown;
}

/* ------------------------------------------------------------------ names */

/* edits between two names: insertion, deletion, substitution, swap of neighbours */
static int distance(const char *a, const char *b)
{
  const int m = (int)strlen(a), n = (int)strlen(b);
  int rows[3][NAME_SIZE + 1];
  int *before = rows[0], *last = rows[1], *row = rows[2];

  if (m > NAME_SIZE || n > NAME_SIZE)
    return NAME_SIZE;
  for (int j = 0; j <= n; j++)
    last[j] = j;
  for (int i = 1; i <= m; i++) {
    int *spare = before;

    row[0] = i;
    for (int j = 1; j <= n; j++) {
      int best = last[j - 1] + (a[i - 1] != b[j - 1]);

      best = last[j] + 1 < best ? last[j] + 1 : best;
      best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
          before[j - 2] + 1 < best)
        best = before[j - 2] + 1;
      row[j] = best;
    }
    before = last;
    last = row;
    row = spare;
  }
  return last[n];
}

const char *cli_nearest(const char *text, const char *const *names, size_t count)
{
  const size_t length = strlen(text);
  const char *best = NULL;
  int least = length < 4 ? 2 : length < 8 ? 3 : 4; /* must be less */

  for (size_t i = 0; i < count; i++) {
    /* a beginning of a name is nearer than any typing error */
    const int d = length >= 3 && !strncmp(text, names[i], length) ? 0 : distance(text, names[i]);

    if (d < least) {
      least = d;
      best = names[i];
    }
  }
  return best;
}

/* copy a name with '_' as '-'; 0 when it is too long for any name */
static int normalise(char *out, const char *name, size_t length)
{
  if (length >= NAME_SIZE)
    return 0;
  for (size_t i = 0; i < length; i++)
    out[i] = name[i] == '_' ? '-' : name[i];
  out[length] = '\0';
  return 1;
}

/* negated: set when name is "no-" and the name of a flag */
static const cli_option *find(const parser *p, const char *name, int *negated)
{
  const cli_option *o;

  *negated = 0;
  for (const cli_alias *a = p->aliases; a && a->name; a++) {
    if (!strcmp(a->name, name))
      name = a->option;
  }
  for (size_t i = 0; (o = cli_option_at(p->command, i)); i++) {
    if (!strcmp(o->name, name))
      return o;
    if (o->type == CLI_FLAG && !strncmp(name, "no-", 3) && !strcmp(o->name, name + 3)) {
      *negated = 1;
      return o;
    }
  }
  return NULL;
}

static int unknown(const parser *p, const char *given, const char *name)
{
  const char *names[128], *near;
  const cli_option *o;
  size_t count = 0;

  for (size_t i = 0; (o = cli_option_at(p->command, i)) && count < 126; i++)
    names[count++] = o->name;
  names[count++] = "help";
  names[count++] = "help-all";
  near = cli_nearest(name, names, count);
  if (near)
    return cli_usage(p->command->name, "unknown option %s; did you mean --%s?", given, near);
  return cli_usage(p->command->name, "unknown option %s; textinv %s --help-all lists the options",
                   given, p->command->name);
}

/* ------------------------------------------------------------------ values */

static int bad_number(const parser *p, const cli_option *o, const char *text)
{
  const char *kind = o->type == CLI_FLOAT ? "a number" : "a whole number";

  if (o->type == CLI_BYTES)
    return cli_usage(p->command->name,
                     "--%s %s: a number of bytes is expected, such as 800M or 4G, at most %.0fT",
                     o->name, text, o->max / 0x1p40);
  if (o->type == CLI_UINT64)
    return cli_usage(p->command->name,
                     "--%s %s: a whole number from 0 to 18446744073709551615 is expected", o->name,
                     text);
  if (o->flags & CLI_ABOVE_MIN)
    return cli_usage(p->command->name, "--%s %s: %s above %.10g and at most %.10g is expected",
                     o->name, text, kind, o->min, o->max);
  return cli_usage(p->command->name, "--%s %s: %s from %.10g to %.10g is expected", o->name, text,
                   kind, o->min, o->max);
}

static int in_range(const cli_option *o, double value)
{
  return value <= o->max && (o->flags & CLI_ABOVE_MIN ? value > o->min : value >= o->min);
}

static int set_whole(const parser *p, const cli_option *o, const char *text, void *value)
{
  unsigned long long n;
  char *end;

  errno = 0;
  n = strtoull(text, &end, 10);
  if (*text < '0' || *text > '9' || *end || errno ||
      (o->type == CLI_UINT && !in_range(o, (double)n)))
    return bad_number(p, o, text);
  if (o->type == CLI_UINT)
    *(uint32_t *)value = (uint32_t)n;
  else
    *(uint64_t *)value = n;
  return CLI_OK;
}

static int set_float(const parser *p, const cli_option *o, const char *text, void *value)
{
  char *end;
  const double x = strtod(text, &end);

  if (end == text || *end || !isfinite(x) || strpbrk(text, " \txX") || !in_range(o, x) ||
      (x > 0.0 && (float)x == 0.0f))
    return bad_number(p, o, text);
  *(float *)value = (float)x;
  return CLI_OK;
}

static int set_bytes(const parser *p, const cli_option *o, const char *text, void *value)
{
  static const char suffixes[] = "KMGT";
  char *end;
  double x = strtod(text, &end);
  const char *suffix = *end ? strchr(suffixes, *end >= 'a' ? *end - 'a' + 'A' : *end) : NULL;

  if (suffix) {
    x = ldexp(x, 10 * (int)(suffix - suffixes + 1));
    end++;
    if (*end == 'i')
      end++;
    if (*end == 'B')
      end++;
  }
  if (*text < '0' || *text > '9' || *end || !isfinite(x) || !in_range(o, x) || strpbrk(text, "xX"))
    return bad_number(p, o, text);
  *(uint64_t *)value = (uint64_t)x;
  return CLI_OK;
}

static int set_choice(const parser *p, const cli_option *o, const char *text, void *value)
{
  char known[256] = "", name[NAME_SIZE];
  const size_t shown = cli_choices_shown(o->choices);
  size_t used = 0;

  for (const cli_choice *c = o->choices; c->name; c++) {
    char ours[NAME_SIZE];

    normalise(ours, c->name, strlen(c->name));
    if (normalise(name, text, strlen(text)) && !strcmp(ours, name)) {
      *(int32_t *)value = c->value;
      return CLI_OK;
    }
  }
  for (size_t i = 0; i < shown; i++)
    used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s",
                             !i              ? ""
                             : i + 1 < shown ? ", "
                                             : " or ",
                             o->choices[i].name);
  return cli_usage(p->command->name, "--%s %s: %s is expected", o->name, text, known);
}

static int append(const parser *p, const char *text, cli_list *list)
{
  if (!list->items && !(list->items = calloc(p->room, sizeof(*list->items))))
    return cli_usage(p->command->name, "out of memory");
  list->items[list->count++] = (cli_item){ text, p->arguments->count };
  return CLI_OK;
}

static int set(const parser *p, const cli_option *o, const char *text)
{
  void *value = p->values + o->offset;

  switch (o->type) {
  case CLI_UINT:
  case CLI_UINT64: return set_whole(p, o, text, value);
  case CLI_FLOAT: return set_float(p, o, text, value);
  case CLI_BYTES: return set_bytes(p, o, text, value);
  case CLI_CHOICE: return set_choice(p, o, text, value);
  case CLI_TEXT: *(const char **)value = text; return CLI_OK;
  case CLI_LIST: return append(p, text, value);
  case CLI_FLAG: break;
  }
  return CLI_USAGE;
}

/* ------------------------------------------------------------------ the line */

/* is text one of our options, so that it cannot be meant as the value of another */
static int is_option(const parser *p, const char *text)
{
  char name[NAME_SIZE];
  int negated;

  return !strncmp(text, "--", 2) && normalise(name, text + 2, strcspn(text + 2, "=")) &&
         find(p, name, &negated) != NULL;
}

/* one option at argv[*i], which moves to its value when that is the next argument */
static int parse_option(const parser *p, int argc, char **argv, int *i)
{
  const char *given = argv[*i], *equals = strchr(given, '=');
  const size_t length = equals ? (size_t)(equals - given) - 2 : strlen(given) - 2;
  char name[NAME_SIZE];
  const cli_option *o = NULL;
  int negated;

  if (given[1] != '-') {
    const char *bare = given + 1;

    if (normalise(name, bare, strcspn(bare, "=")) && (o = find(p, name, &negated)))
      return cli_usage(p->command->name, "unknown option %s; did you mean -%s?", given, given);
    return cli_usage(p->command->name,
                     "unknown option %s; options begin with --, a file of that name is ./%s", given,
                     given);
  }
  if (!normalise(name, given + 2, length))
    return cli_usage(p->command->name, "unknown option %.40s...", given);
  if (!(o = find(p, name, &negated)))
    return unknown(p, given, name);
  if (o->type == CLI_FLAG) {
    if (equals)
      return cli_usage(p->command->name, "--%s takes no value; --no-%s turns it off", o->name,
                       o->name);
    *(int32_t *)(p->values + o->offset) = !negated;
    return CLI_OK;
  }
  if (equals)
    return set(p, o, equals + 1);
  if (*i + 1 >= argc)
    return cli_usage(p->command->name, "--%s needs a value: --%s %s", o->name, o->name, o->arg);
  if (is_option(p, argv[*i + 1]))
    return cli_usage(p->command->name,
                     "--%s needs a value, but %s follows; write --%s=%s if that is the value",
                     o->name, argv[*i + 1], o->name, argv[*i + 1]);
  int status = set(p, o, argv[++*i]);

  while (status == CLI_OK && o->flags & CLI_MORE && *i + 1 < argc && *argv[*i + 1] != '-')
    status = set(p, o, argv[++*i]);
  return status;
}

static int check_count(const parser *p)
{
  const cli_command *c = p->command;
  const size_t count = p->arguments->count;

  if (count >= c->min_arguments && count <= c->max_arguments)
    return CLI_OK;
  if (!c->max_arguments)
    return cli_usage(c->name, "unexpected argument %s; usage: textinv %s%s%s",
                     p->arguments->items[0], c->name, *c->usage ? " " : "", c->usage);
  return cli_usage(c->name, "%zu argument%s; usage: textinv %s %s", count, count == 1 ? "" : "s",
                   c->name, c->usage);
}

int cli_parse(const cli_command *command, const cli_alias *aliases, int argc, char **argv,
              void *values, cli_arguments *arguments)
{
  parser p = { command, aliases, values, arguments, (size_t)argc + 1 };
  int only_arguments = 0, status;

  arguments->count = 0;
  arguments->items = calloc(p.room, sizeof(*arguments->items));
  if (!arguments->items)
    return cli_usage(command->name, "out of memory");
  for (int i = 0; i < argc; i++) {
    const char *text = argv[i];

    if (only_arguments || text[0] != '-' || !text[1]) {
      arguments->items[arguments->count++] = text;
    } else if (!strcmp(text, "--")) {
      only_arguments = 1;
    } else if (!strcmp(text, "--help") || !strcmp(text, "-h") || !strcmp(text, "--help-all") ||
               !strcmp(text, "--help_all")) {
      cli_help(stdout, command, values, strlen(text) > 6);
      return -1;
    } else if ((status = parse_option(&p, argc, argv, &i)) != CLI_OK) {
      return status;
    }
  }
  return check_count(&p);
}

void cli_options_free(const cli_command *command, void *values, cli_arguments *arguments)
{
  const cli_option *o;

  for (size_t i = 0; (o = cli_option_at(command, i)); i++) {
    if (o->type == CLI_LIST)
      free(((cli_list *)((char *)values + o->offset))->items);
  }
  free(arguments->items);
}
