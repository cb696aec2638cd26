/* textinv convert: an embedding into another format. */
#include "cli.h"

static const char name[] = "convert";

typedef struct values {
  cli_common common;
  int32_t format;
  const char *word;
} values;

static const cli_choice formats[] = { { "diffusers", TEXTINV_FORMAT_DIFFUSERS },
                                      { "a1111", TEXTINV_FORMAT_A1111 },
                                      { "kohya", TEXTINV_FORMAT_KOHYA },
                                      { "sdxl", TEXTINV_FORMAT_SDXL },
                                      { NULL, 0 } };

#define AT(member) offsetof(values, member)

enum { BY_ENDING = -1 };

static const cli_option options[] = {
  { "format", "KIND", CLI_CHOICE, AT(format), 0, 0, formats, CLI_QUIET_DEFAULT, "" },
  { "word", "WORD", CLI_TEXT, AT(word), 0, 0, NULL, 0, "the one to write, of a file with several" },
  { NULL, NULL, CLI_FLAG, 0, 0, 0, NULL, 0, NULL }
};

static void init(void *p)
{
  values *v = p;

  v->format = BY_ENDING;
}

static int run_convert(void *p, const cli_arguments *arguments)
{
  values *v = p;
  const char *in = arguments->items[0], *out = arguments->items[1];
  textinv_session *session = NULL;
  textinv_embeddings *embeddings = NULL;
  cli_file written;
  textinv_status status;
  int result;

  /* diffusers' own .bin is a torch file, too, and diffusers reads a1111's */
  if (v->format == BY_ENDING)
    v->format = cli_promised(out) == CLI_TORCH ? TEXTINV_FORMAT_A1111 : TEXTINV_FORMAT_AUTO;
  written = v->format == TEXTINV_FORMAT_A1111 ? CLI_TORCH : CLI_SAFETENSORS;
  if ((result = cli_check_ending(name, "OUT", out, written)) != CLI_OK ||
      (result = cli_check_output(name, "OUT", out)) != CLI_OK ||
      (result = cli_open_session(&session, name, &v->common)) != CLI_OK)
    return result;
  if ((status = textinv_embeddings_new(&embeddings, session)) < 0)
    result = cli_report(name, session, status);
  else
    result = cli_load_embedding(session, embeddings, NULL, name, in);
  if (result == CLI_OK &&
      (status = textinv_embeddings_save(session, embeddings, out, v->format, v->word)) < 0)
    result = cli_report(name, session, status);
  if (result == CLI_OK)
    cli_say(&v->common, "wrote %s", out);
  textinv_embeddings_free(embeddings);
  cli_close_session(session);
  return result;
}

static const char summary[] =
  "Write an embedding in another format. IN may be WORD=FILE, which renames it.\n"
  "Without --format, an OUT that ends in .pt or .bin is a1111, any other diffusers\n"
  "(sdxl for a word of two text encoders).";

const cli_command cli_convert = { .name = name,
                                  .summary = summary,
                                  .usage = "IN OUT [--format KIND] [--word WORD]",
                                  .options = options,
                                  .shared = cli_talk_options,
                                  .size = sizeof(values),
                                  .min_arguments = 2,
                                  .max_arguments = 2,
                                  .init = init,
                                  .run = run_convert };
