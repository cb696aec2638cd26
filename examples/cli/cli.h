/* What the commands share: session and model, signals, checks of paths, messages. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <textinv/textinv.h>

#include "options.h"
#include "progress.h"

/* what is in a file; CLI_UNWRITTEN: nothing that any command writes */
typedef enum cli_file { CLI_ANY, CLI_PNG, CLI_SAFETENSORS, CLI_TORCH, CLI_UNWRITTEN } cli_file;

/* first member of the values of every command */
typedef struct cli_common {
  const char *model; /* NULL = the default model */
  uint32_t threads;
  int32_t backend;
  uint32_t device;
  int32_t dtype;
  uint64_t memory_budget;
  int32_t quiet, verbose;
  int32_t progress;
} cli_common;

/* shared options: of commands that compute (--model comes first), that only read a model, and that
 * need no model */
extern const cli_option cli_compute_options[], cli_model_options[], cli_talk_options[];

/* defaults of cli_common, those of the library */
void cli_common_init(cli_common *common);

/* CLI_OK, or CLI_FAILED and a message */
int cli_open_session(textinv_session **out, const char *command, const cli_common *common);
void cli_close_session(textinv_session *session);
/* SIGINT, SIGTERM and SIGHUP, unless ignored, and SIGPIPE cancel the session's call from now on; a
 * second one, or one without a session, ends the process and removes FOLDER when it is empty. Both
 * may be NULL */
void cli_catch_signals(textinv_session *session, const char *folder);

int cli_open_model(textinv_model **out, textinv_session *session, const char *command,
                   const cli_common *common);

/* FILE of "FILE" or "WORD=FILE" */
const char *cli_embedding_file(const char *text);
/* add its words */
int cli_load_embedding(textinv_session *session, textinv_embeddings *embeddings,
                       const textinv_model *model, const char *command, const char *text);

/* FILE's folder must exist and be writable, and FILE must be a file when it is there; option, such
 * as "--out", begins the message. CLI_OK, or CLI_FAILED after a message */
int cli_check_output(const char *command, const char *option, const char *path);
/* PATH must be a folder that can be written */
int cli_check_output_folder(const char *command, const char *option, const char *path);
/* PATH must be there */
int cli_check_input(const char *command, const char *option, const char *path);
/* what the ending of PATH promises */
cli_file cli_promised(const char *path);
/* an ending that promises something else than is written is a usage error: CLI_USAGE after a
 * message */
int cli_check_ending(const char *command, const char *option, const char *path, cli_file written);
/* and so is an --out that is the file IN */
int cli_check_apart(const char *command, const char *out, const char *in);
/* bytes of PATH without its ending: 3 of out.png */
size_t cli_stem(const char *path);
/* out.png -> out-007.png; the caller frees it, NULL without memory */
char *cli_numbered(const char *out, size_t i);
/* what must not be lost where *out cannot be written, as on a disk that became full: save it as a
 * file of the same name in a new folder in TMPDIR or /tmp, which the message names: "what was WHAT
 * is kept in". save() finds that path in *out. CLI_OK, or after a message what save() returned or
 * CLI_FAILED */
int cli_save_elsewhere(const char *command, const char *what, const char **out,
                       int (*save)(void *user), void *user);
/* a required option */
int cli_require(const char *command, const char *option, int given);

/* the session's error on stderr; returns CLI_FAILED, or CLI_INTERRUPTED for TEXTINV_E_CANCELLED */
int cli_report(const char *command, textinv_session *session, textinv_status status);
/* text of a file or a path, which may hold anything, on stdout: no control character reaches the
 * terminal or divides a line, not even C1, which is two bytes of UTF-8 */
void cli_print_text(const char *text);
/* the same of its first bytes */
void cli_print_part(const char *text, size_t length);
/* "textinv COMMAND: message" on stderr; returns CLI_FAILED */
int cli_fail(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* a warning is printed once until this is called, as what comes is about something else */
void cli_forget_warnings(void);
/* a line on stderr unless --quiet or --progress json */
void cli_say(const cli_common *common, const char *format, ...)
  __attribute__((format(printf, 2, 3)));

extern const cli_command cli_invert, cli_generate, cli_inspect, cli_convert, cli_tokenize,
  cli_sheet, cli_evaluate, cli_devices;

#endif /* CLI_CLI_H */
