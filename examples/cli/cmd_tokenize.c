/* textinv tokenize: the ids and tokens of a text, one a line, on stdout. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static const char name[] = "tokenize";

typedef struct values {
  cli_common common;
  cli_list embeddings;
  uint32_t encoder;
} values;

#define AT(member) offsetof(values, member)

static const cli_option options[] = {
  { "embedding", "FILE", CLI_LIST, AT(embeddings), 0, 0, NULL, 0, "learnt words; may be repeated" },
  { "encoder", "N", CLI_UINT, AT(encoder), 0, 1, NULL, 0, "which text encoder's tokenizer" },
  { NULL, NULL, CLI_FLAG, 0, 0, 0, NULL, 0, NULL }
};

/* the learnt word that id is a vector of */
static void print_learnt(const textinv_embeddings *e, uint32_t id)
{
  uint32_t first = 0;

  for (size_t i = 0; i < textinv_embeddings_count(e); i++) {
    const char *word = textinv_embeddings_word(e, i);
    const uint32_t vectors = textinv_embeddings_vectors(e, word);

    if (id - first < vectors) {
      printf("%s vector %u of %u\n", word, id - first, vectors);
      return;
    }
    first += vectors;
  }
  puts("?");
}

static int print_ids(textinv_session *session, const values *v, const textinv_model *model,
                     const textinv_embeddings *embeddings, const char *text)
{
  const textinv_tokenizer *t = textinv_model_tokenizer(model, v->encoder);
  textinv_model_info info;
  uint32_t *ids = NULL;
  size_t count = 0;
  textinv_status status;

  if (!t)
    return cli_usage(name, "--encoder %u: the model has 1 text encoder, number 0", v->encoder);
  textinv_model_info_init(&info, sizeof(info));
  if ((status = textinv_model_get_info(model, &info)) < 0 ||
      (status = textinv_tokenizer_encode(session, NULL, 0, &count, t, embeddings, text)) < 0)
    return cli_report(name, session, status);
  if (!(ids = calloc(count, sizeof(*ids))))
    return cli_fail(name, "out of memory");
  if ((status = textinv_tokenizer_encode(session, ids, count, &count, t, embeddings, text)) < 0) {
    free(ids);
    return cli_report(name, session, status);
  }
  for (size_t i = 0; i < count; i++) {
    const char *token = textinv_tokenizer_token(t, ids[i]);

    printf("%u\t", ids[i]);
    if (token) {
      cli_print_text(token);
      putchar('\n');
    } else {
      print_learnt(embeddings, ids[i] - textinv_tokenizer_size(t));
    }
  }
  free(ids);
  if (count > info.max_tokens)
    cli_say(&v->common, "%zu tokens, %u fit into a prompt: the last %zu would be cut", count,
            info.max_tokens, count - info.max_tokens);
  return CLI_OK;
}

static int run_tokenize(void *p, const cli_arguments *arguments)
{
  values *v = p;
  textinv_session *session = NULL;
  textinv_model *model = NULL;
  textinv_embeddings *embeddings = NULL;
  textinv_status status;
  int result;

  if ((result = cli_open_session(&session, name, &v->common)) != CLI_OK ||
      (result = cli_open_model(&model, session, name, &v->common)) != CLI_OK)
    goto out;
  if ((status = textinv_embeddings_new(&embeddings, session)) < 0)
    result = cli_report(name, session, status);
  for (size_t i = 0; i < v->embeddings.count && result == CLI_OK; i++)
    result = cli_load_embedding(session, embeddings, model, name, v->embeddings.items[i].text);
  if (result == CLI_OK)
    result = print_ids(session, v, model, embeddings, arguments->items[0]);
out:
  textinv_embeddings_free(embeddings);
  textinv_model_free(model);
  cli_close_session(session);
  return result;
}

static const char summary[] = "Print the ids and tokens of a text, one a line.";

const cli_command cli_tokenize = { .name = name,
                                   .summary = summary,
                                   .usage = "[--model PATH] TEXT",
                                   .options = options,
                                   .shared = cli_model_options,
                                   .size = sizeof(values),
                                   .min_arguments = 1,
                                   .max_arguments = 1,
                                   .run = run_tokenize };
