/* What the commands share. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------------ options */

static const cli_choice backends[] = { { "cpu", TEXTINV_BACKEND_CPU },
                                       { "cuda", TEXTINV_BACKEND_CUDA },
                                       { NULL, 0 } };
/* and as --mixed_precision of diffusers has them */
static const cli_choice dtypes[] = { { "f32", TEXTINV_F32 },  { "bf16", TEXTINV_BF16 },
                                     { "f16", TEXTINV_F16 },  { "no", TEXTINV_F32 },
                                     { "fp16", TEXTINV_F16 }, { NULL, 0 } };

#define MODEL                                                                                      \
  {                                                                                                \
    "model", "PATH", CLI_TEXT, offsetof(cli_common, model), 0, 0, NULL, 0,                         \
      "diffusers folder or single file (the default model)"                                        \
  }
#define TALK                                                                                       \
  { "progress",       "KIND",   CLI_CHOICE, offsetof(cli_common, progress), 0, 0,                  \
    progress_choices, CLI_RARE, "" },                                                              \
    { "quiet", NULL, CLI_FLAG, offsetof(cli_common, quiet),   0,                                   \
      0,       NULL, CLI_RARE, "no talk on stderr but errors" },                                   \
    { "verbose", NULL, CLI_FLAG, offsetof(cli_common, verbose),     0,                             \
      0,         NULL, CLI_RARE, "everything that the library logs" },                             \
  {                                                                                                \
    NULL, NULL, CLI_FLAG, 0, 0, 0, NULL, 0, NULL                                                   \
  }

const cli_option cli_compute_options[] = {
  MODEL,
  { "threads", "N", CLI_UINT, offsetof(cli_common, threads), 0, 1024, NULL,
    CLI_RARE | CLI_QUIET_DEFAULT, "CPU threads; 0 = the cores it may use (0)" },
  { "dtype", "TYPE", CLI_CHOICE, offsetof(cli_common, dtype), 0, 0, dtypes, CLI_RARE,
    "storage; f16 needs CUDA" },
  { "backend", "KIND", CLI_CHOICE, offsetof(cli_common, backend), 0, 0, backends, CLI_RARE, "" },
  { "device", "N", CLI_UINT, offsetof(cli_common, device), 0, 1023, NULL, CLI_RARE,
    "number of the CUDA device" },
  { "memory-budget", "BYTES", CLI_BYTES, offsetof(cli_common, memory_budget), 0, 0x1p50, NULL,
    CLI_RARE, "limit for weights and activations, such as 2G" },
  TALK
};

const cli_option cli_model_options[] = { MODEL, TALK };

const cli_option cli_talk_options[] = { TALK };

void cli_common_init(cli_common *common)
{
  textinv_session_params p;

  textinv_session_params_init(&p, sizeof(p));
  common->threads = p.threads;
  common->dtype = p.dtype;
  common->memory_budget = p.memory_budget;
  common->backend = p.backend;
}

/* ------------------------------------------------------------------ messages */

int cli_fail(const char *command, const char *format, ...)
{
  va_list ap;

  fprintf(stderr, "textinv %s: ", command);
  va_start(ap, format);
  cli_vprint(format, ap);
  va_end(ap);
  return CLI_FAILED;
}

void cli_print_text(const char *text)
{
  cli_print_part(text, strlen(text));
}

void cli_print_part(const char *text, size_t length)
{
  for (const char *end = text + length; text < end; text++) {
    const unsigned char c = (unsigned char)*text, next = (unsigned char)text[1];

    if (c < 0x20 || c == 0x7f)
      printf("\\x%02x", c);
    else if (c == 0xc2 && next >= 0x80 && next < 0xa0)
      printf("\\x%02x", (unsigned char)*++text);
    else
      putchar(c);
  }
}

void cli_say(const cli_common *common, const char *format, ...)
{
  va_list ap;

  if (common->quiet || common->progress == PROGRESS_JSON)
    return;
  va_start(ap, format);
  cli_vprint(format, ap);
  va_end(ap);
}

int cli_report(const char *command, textinv_session *session, textinv_status status)
{
  const char *text = textinv_session_error(session);

  cli_fail(command, "%s", *text ? text : textinv_status_name(status));
  return status == TEXTINV_E_CANCELLED ? CLI_INTERRUPTED : CLI_FAILED;
}

static char warnings[8192]; /* those printed, each between line feeds */

void cli_forget_warnings(void)
{
  *warnings = '\0';
}

/* what every call of a command says anew is printed once */
static int is_new_warning(const char *line)
{
  char entry[1024];

  snprintf(entry, sizeof(entry), "\n%s\n", line);
  if (strstr(warnings, entry))
    return 0;
  strncat(warnings, entry, sizeof(warnings) - strlen(warnings) - 1);
  return 1;
}

static void print_log(void *user, textinv_log_level level, const char *line)
{
  if ((level > TEXTINV_LOG_INFO && !*(const int *)user) ||
      (level == TEXTINV_LOG_WARNING && !is_new_warning(line)))
    return;
  fprintf(stderr, "%s%s\n", level == TEXTINV_LOG_WARNING ? "warning: " : "", line);
}

/* ------------------------------------------------------------------ session */

static textinv_session *volatile current; /* its call can be cancelled, with something to save */
static const char *volatile spare;        /* a folder that goes when nothing is in it */
static volatile sig_atomic_t signals;

static void on_signal(int number)
{
  static const char text[] = "\nstopping; once more leaves at once, without saving\n";
  const int saved = errno;

  if (number == SIGPIPE) { /* nobody reads what is printed: no more to say than that */
    textinv_session_cancel(current);
    return;
  }
  if (signals++ || !current) {
    if (spare)
      rmdir(spare);
    _exit(CLI_INTERRUPTED);
  }
  textinv_session_cancel(current);
  if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0) {
    /* nobody listens: the call is cancelled all the same */
  }
  errno = saved;
}

/* as the command says, a lost terminal or reader stops a run as Ctrl-C does; what is ignored stays
 * so, as under nohup or of a script's job in the background */
void cli_catch_signals(textinv_session *session, const char *folder)
{
  static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
  struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART }, met;

  current = session;
  spare = folder;
  sigemptyset(&action.sa_mask);
  sigaction(SIGPIPE, &action, NULL);
  for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
    if (!sigaction(numbers[i], NULL, &met) && met.sa_handler != SIG_IGN)
      sigaction(numbers[i], &action, NULL);
  }
}

int cli_open_session(textinv_session **out, const char *command, const cli_common *common)
{
  static int verbose;
  textinv_session_params p;

  verbose = common->verbose;
  textinv_session_params_init(&p, sizeof(p));
  p.threads = common->threads;
  p.dtype = common->dtype;
  p.memory_budget = common->memory_budget;
  p.backend = common->backend;
  p.device = (int32_t)common->device;
  p.log = common->quiet ? NULL : print_log;
  p.log_user = &verbose;
  /* failures to write are errors */
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  if (textinv_session_new(out, &p) < 0)
    return cli_fail(command, "%s", textinv_session_error(NULL));
  return CLI_OK;
}

void cli_close_session(textinv_session *session)
{
  current = NULL;
  spare = NULL;
  textinv_session_free(session);
}

int cli_open_model(textinv_model **out, textinv_session *session, const char *command,
                   const cli_common *common)
{
  const textinv_status status = textinv_model_open(out, session, common->model);

  return status < 0 ? cli_report(command, session, status) : CLI_OK;
}

const char *cli_embedding_file(const char *text)
{
  const char *equals = strchr(text, '=');

  return equals && access(text, F_OK) ? equals + 1 : text;
}

int cli_load_embedding(textinv_session *session, textinv_embeddings *embeddings,
                       const textinv_model *model, const char *command, const char *text)
{
  const char *path = cli_embedding_file(text);
  char *word = NULL;
  textinv_status status;

  if (path > text && !(word = strndup(text, (size_t)(path - text) - 1)))
    return cli_fail(command, "out of memory");
  status = textinv_embeddings_load(session, embeddings, model, path, word);
  free(word);
  return status < 0 ? cli_report(command, session, status) : CLI_OK;
}

/* ------------------------------------------------------------------ paths */

cli_file cli_promised(const char *path)
{
  static const struct {
    const char *ending;
    cli_file file;
  } known[] = { { ".png", CLI_PNG },       { ".safetensors", CLI_SAFETENSORS },
                { ".pt", CLI_TORCH },      { ".bin", CLI_TORCH },
                { ".jpg", CLI_UNWRITTEN }, { ".jpeg", CLI_UNWRITTEN },
                { ".gif", CLI_UNWRITTEN }, { ".webp", CLI_UNWRITTEN },
                { ".ckpt", CLI_UNWRITTEN } };

  for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
    if (!strcasecmp(path + cli_stem(path), known[i].ending))
      return known[i].file;
  }
  return CLI_ANY;
}

int cli_check_ending(const char *command, const char *option, const char *path, cli_file written)
{
  static const char *const texts[] = {
    [CLI_PNG] = "a PNG picture; .png is expected",
    [CLI_SAFETENSORS] =
      "a safetensors file; .safetensors is expected (.pt is for convert --format a1111)",
    [CLI_TORCH] = "a torch file; .pt is expected"
  };
  const cli_file promised = cli_promised(path);

  if (promised == CLI_ANY || promised == written)
    return CLI_OK;
  return cli_usage(command, "%s %s: what is written is %s", option, path, texts[written]);
}

int cli_check_apart(const char *command, const char *out, const char *in)
{
  struct stat a, b;

  if (stat(out, &a) || stat(in, &b) || a.st_dev != b.st_dev || a.st_ino != b.st_ino)
    return CLI_OK;
  return cli_usage(command, "--out %s: is read, too, as %s; another name is expected", out, in);
}

size_t cli_stem(const char *path)
{
  const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');

  return dot && dot > (slash ? slash + 1 : path) ? (size_t)(dot - path) : strlen(path);
}

char *cli_numbered(const char *out, size_t i)
{
  const size_t stem = cli_stem(out), size = strlen(out) + 32;
  char *path = calloc(size, 1);

  if (path)
    snprintf(path, size, "%.*s-%03zu%s", (int)stem, out, i, out + stem);
  return path;
}

/* a new folder in TMPDIR, or in /tmp where that is not given or does not take it */
static char *make_folder(size_t size, const char *place)
{
  char *folder = calloc(size, 1);

  if (!folder)
    return NULL;
  snprintf(folder, size, "%s/textinv-XXXXXX", place);
  if (*place && mkdtemp(folder))
    return folder;
  snprintf(folder, size, "/tmp/textinv-XXXXXX");
  if (mkdtemp(folder))
    return folder;
  free(folder);
  return NULL;
}

int cli_save_elsewhere(const char *command, const char *what, const char **out,
                       int (*save)(void *user), void *user)
{
  const char *const given = *out, *const slash = strrchr(given, '/');
  const char *const place = getenv("TMPDIR") ? getenv("TMPDIR") : "";
  const size_t size = strlen(place) + strlen(given) + 32;
  char *path = calloc(size, 1), *folder = path ? make_folder(size, place) : NULL;
  int result;

  if (!folder) {
    free(path);
    return cli_fail(command, "no folder to keep the result in: %s%s/tmp: %s", place,
                    *place ? ", " : "", strerror(errno));
  }
  snprintf(path, size, "%s/%s", folder, slash ? slash + 1 : given);
  *out = path;
  if ((result = save(user)) == CLI_OK)
    cli_fail(command, "what was %s is kept in %s", what, folder);
  *out = given;
  rmdir(folder); /* stays when something is in it */
  free(folder);
  free(path);
  return result;
}

int cli_require(const char *command, const char *option, int given)
{
  if (given)
    return CLI_OK;
  return cli_usage(command, "--%s is required; textinv %s --help lists the options", option,
                   command);
}

int cli_check_input(const char *command, const char *option, const char *path)
{
  if (!access(path, R_OK))
    return CLI_OK;
  return cli_fail(command, "%s %s: %s", option, path, strerror(errno));
}

static int check_folder(const char *command, const char *option, const char *path,
                        const char *folder)
{
  struct stat st;

  if (stat(folder, &st))
    return cli_fail(command, "%s %s: the folder %s: %s", option, path, folder, strerror(errno));
  if (!S_ISDIR(st.st_mode))
    return cli_fail(command, "%s %s: %s is not a folder", option, path, folder);
  if (access(folder, W_OK | X_OK))
    return cli_fail(command, "%s %s: the folder %s cannot be written: %s", option, path, folder,
                    strerror(errno));
  return CLI_OK;
}

int cli_check_output_folder(const char *command, const char *option, const char *path)
{
  return check_folder(command, option, path, path);
}

int cli_check_output(const char *command, const char *option, const char *path)
{
  const char *slash = strrchr(path, '/');
  struct stat st;
  char *folder;
  int result;

  if (!*path || !strcmp(path, "-") || (slash && !slash[1]))
    return cli_fail(command, "%s %s: the name of a file is expected", option,
                    *path ? path : "\"\"");
  if (!stat(path, &st) && S_ISDIR(st.st_mode))
    return cli_fail(command, "%s %s: is a folder, the name of a file is expected", option, path);
  if (!stat(path, &st) && !S_ISREG(st.st_mode))
    return cli_fail(command, "%s %s: is a device, pipe or socket, the name of a file is expected",
                    option, path);
  folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
  if (!folder)
    return cli_fail(command, "out of memory");
  result = check_folder(command, option, path, folder);
  free(folder);
  return result;
}
