/* textinv inspect: what is in an embedding, a checkpoint, a model, a CLIP model or a picture.
 * Prints to stdout. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "cli.h"

static const char name[] = "inspect";

typedef struct values {
  cli_common common;
} values;

static const cli_option options[] = { { NULL, NULL, CLI_FLAG, 0, 0, 0, NULL, 0, NULL } };

/* one line a vector: its norm, its extremes */
static void print_vectors(const textinv_embeddings *e, const char *word, uint32_t encoder)
{
  const uint32_t dim = textinv_embeddings_dim(e, word, encoder);
  const float *rows = textinv_embeddings_rows(e, word, encoder);

  for (uint32_t i = 0; rows && i < textinv_embeddings_vectors(e, word); i++) {
    double norm = 0.0, least = INFINITY, most = -INFINITY;

    for (uint32_t j = 0; j < dim; j++) {
      const double x = (double)rows[(size_t)i * dim + j];

      norm += x * x;
      least = x < least ? x : least;
      most = x > most ? x : most;
    }
    printf("    vector %u: norm %.4f, values %.4f to %.4f\n", i, sqrt(norm), least, most);
  }
}

static void print_words(const textinv_embeddings *e)
{
  printf("words: %zu\n", textinv_embeddings_count(e));
  for (size_t i = 0; i < textinv_embeddings_count(e); i++) {
    const char *word = textinv_embeddings_word(e, i);
    const uint32_t vectors = textinv_embeddings_vectors(e, word);

    for (uint32_t encoder = 0; encoder < 2; encoder++) {
      const uint32_t dim = textinv_embeddings_dim(e, word, encoder);

      if (!dim)
        continue;
      printf("  %s: %u vector%s of %u values", word, vectors, vectors == 1 ? "" : "s", dim);
      if (encoder || textinv_embeddings_dim(e, word, 1))
        printf(", encoder %u", encoder);
      putchar('\n');
      print_vectors(e, word, encoder);
    }
  }
}

/* "kind: path" */
static void print_path(const char *kind, const char *path)
{
  printf("%s: ", kind);
  cli_print_text(path);
  putchar('\n');
}

static void print_metadata(const textinv_embeddings *e)
{
  const char *key, *value;

  puts("file:");
  for (size_t i = 0; (value = textinv_embeddings_metadata(e, i, &key)); i++) {
    printf("  ");
    cli_print_text(key);
    printf(": ");
    cli_print_text(value);
    putchar('\n');
  }
}

static textinv_status print_embedding(textinv_session *session, const char *path)
{
  textinv_embeddings *e = NULL;
  textinv_status status = textinv_embeddings_new(&e, session);

  if (status >= 0)
    status = textinv_embeddings_load(session, e, NULL, path, NULL);
  if (status == TEXTINV_E_INVALID && textinv_embeddings_load(session, e, NULL, path, "?") >= 0)
    status = TEXTINV_OK; /* neither it nor its name is a word */
  if (status >= 0) {
    print_path("embedding", path);
    print_metadata(e);
    print_words(e);
  }
  textinv_embeddings_free(e);
  return status;
}

static textinv_status print_checkpoint(textinv_session *session, const char *path)
{
  textinv_embeddings *e = NULL;
  textinv_optimizer *optimizer = NULL;
  textinv_status status = textinv_embeddings_new(&e, session);

  if (status >= 0 && (status = textinv_optimizer_load(&optimizer, session, e, path)) >= 0) {
    print_path("checkpoint", path);
    printf("step: %" PRIu64 "\n", textinv_optimizer_steps(optimizer));
    print_words(e);
  }
  textinv_optimizer_free(optimizer);
  textinv_embeddings_free(e);
  return status;
}

static textinv_status print_model(textinv_session *session, const char *path)
{
  textinv_model *model = NULL;
  textinv_model_info info;
  textinv_status status = textinv_model_open(&model, session, path);

  textinv_model_info_init(&info, sizeof(info));
  if (status >= 0 && (status = textinv_model_get_info(model, &info)) >= 0) {
    print_path("model", info.path);
    printf("fingerprint: %s\nparameters: %" PRIu64 "\n", info.fingerprint, info.parameters);
    printf("text encoders: %u\n", info.num_encoders);
    for (uint32_t i = 0; i < info.num_encoders; i++)
      printf("  encoder %u: vectors of %u values, vocabulary of %u\n", i, info.embedding_dim[i],
             textinv_tokenizer_size(textinv_model_tokenizer(model, i)));
    printf("tokens of a prompt: %u\ncontext: %u values", info.max_tokens, info.context_dim);
    if (info.pooled_dim)
      printf(", pooled %u", info.pooled_dim);
    printf("\nlatents: %u channels, one for %u x %u pixels\nsize: %u x %u pixels\n",
           info.latent_channels, info.latent_scale, info.latent_scale, info.size, info.size);
    if (info.needs_mask)
      puts("made for: inpainting, with --init-image and --mask");
    printf("predicts: %s\nschedule: %u timesteps\nsampler: %s\n", info.prediction,
           info.train_timesteps, info.sampler);
  }
  textinv_model_free(model);
  return status;
}

static textinv_status print_clip(textinv_session *session, const char *path)
{
  textinv_clip *clip = NULL;
  textinv_clip_info info;
  textinv_status status = textinv_clip_open(&clip, session, path);

  textinv_clip_info_init(&info, sizeof(info));
  if (status >= 0 && (status = textinv_clip_get_info(clip, &info)) >= 0) {
    print_path("CLIP model", info.path);
    printf("parameters: %" PRIu64 "\nembeddings: %u values\n", info.parameters, info.dim);
    printf("pictures: %u x %u pixels, in patches of %u x %u\n", info.size, info.size, info.patch,
           info.patch);
    printf("tokens of a text: %u, vocabulary of %u\n", info.max_tokens, info.vocabulary);
  }
  textinv_clip_free(clip);
  return status;
}

/* what it was drawn with, line by line */
static void print_parameters(const char *text)
{
  if (*text)
    puts("parameters:");
  for (size_t length; *text; text += length + (text[length] == '\n')) {
    length = strcspn(text, "\n");
    printf("  ");
    cli_print_part(text, length);
    putchar('\n');
  }
}

static textinv_status print_image(textinv_session *session, const char *path)
{
  textinv_images *images = NULL;
  const textinv_status status = textinv_image_read(&images, session, path);

  if (status >= 0) {
    print_path("picture", path);
    printf("size: %u x %u pixels\n", textinv_images_width(images), textinv_images_height(images));
    print_parameters(textinv_images_parameters(images, 0));
  }
  textinv_images_free(images);
  return status;
}

/* path: NULL = the default model */
static int inspect(textinv_session *session, const char *path)
{
  textinv_kind kind = TEXTINV_KIND_MODEL;
  textinv_status status = TEXTINV_OK;

  if (path)
    status = textinv_file_kind(&kind, session, path);
  if (status >= 0) {
    switch (kind) {
    case TEXTINV_KIND_MODEL: status = print_model(session, path); break;
    case TEXTINV_KIND_EMBEDDING: status = print_embedding(session, path); break;
    case TEXTINV_KIND_CHECKPOINT: status = print_checkpoint(session, path); break;
    case TEXTINV_KIND_IMAGE: status = print_image(session, path); break;
    case TEXTINV_KIND_CLIP: status = print_clip(session, path); break;
    default:
      return cli_fail(name, "%s: is no model, CLIP model, embedding, checkpoint or picture", path);
    }
  }
  return status < 0 ? cli_report(name, session, status) : CLI_OK;
}

static int run_inspect(void *p, const cli_arguments *arguments)
{
  values *v = p;
  textinv_session *session = NULL;
  int result;

  if (arguments->count && v->common.model)
    return cli_usage(name, "%s and --model %s: one of them is expected", arguments->items[0],
                     v->common.model);
  if ((result = cli_open_session(&session, name, &v->common)) != CLI_OK)
    return result;
  if (!arguments->count)
    result = inspect(session, v->common.model);
  for (size_t i = 0; i < arguments->count; i++) {
    const int met = inspect(session, arguments->items[i]);

    result = met == CLI_OK ? result : met;
    if (i + 1 < arguments->count)
      putchar('\n');
  }
  cli_close_session(session);
  return result;
}

static const char summary[] =
  "Say what is in embeddings, checkpoints, models, CLIP models and pictures;\n"
  "without an argument what the default model is.";

const cli_command cli_inspect = { .name = name,
                                  .summary = summary,
                                  .usage = "[FILE|DIR] ...",
                                  .options = options,
                                  .shared = cli_model_options,
                                  .size = sizeof(values),
                                  .max_arguments = 4096,
                                  .run = run_inspect };
