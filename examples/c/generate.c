/*
 * Draws a prompt, in which a learnt word may stand:
 *
 *   generate 'a photo of <toy> on the beach' beach.png [EMBEDDING [MODEL]]
 *
 * cc generate.c $(pkg-config --cflags --libs textinv) -o generate
 */
#include <stdio.h>

#include <textinv/textinv.h>

int main(int argc, char **argv)
{
  textinv_session *session = NULL;
  textinv_model *model = NULL;
  textinv_embeddings *words = NULL;
  textinv_images *images = NULL;
  textinv_generate_params params;
  textinv_status status;

  if (argc < 3) {
    fprintf(stderr, "usage: %s PROMPT OUT.png [EMBEDDING [MODEL]]\n", argv[0]);
    return 2;
  }
  textinv_generate_params_init(&params, sizeof(params));
  params.prompt = argv[1];
  params.seed = 42;

  if ((status = textinv_session_new(&session, NULL)) < 0 ||
      (status = textinv_model_open(&model, session, argc > 4 ? argv[4] : NULL)) < 0 ||
      (status = textinv_embeddings_new(&words, session)) < 0 ||
      (argc > 3 && (status = textinv_embeddings_load(session, words, model, argv[3], NULL)) < 0) ||
      (status = textinv_generate(&images, session, model, words, &params)) < 0 ||
      (status = textinv_images_save(session, images, 0, argv[2], NULL)) < 0)
    fprintf(stderr, "%s: %s\n", argv[0], textinv_session_error(session));

  textinv_images_free(images);
  textinv_embeddings_free(words);
  textinv_model_free(model);
  textinv_session_free(session);
  return status < 0;
}
