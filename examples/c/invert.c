/*
 * Learns a word from a folder of pictures, with its own progress line:
 *
 *   invert PICTURES '<toy>' 'toy' toy.safetensors [MODEL]
 *
 * cc invert.c $(pkg-config --cflags --libs textinv) -o invert
 */
#include <stdio.h>

#include <textinv/textinv.h>

/* return anything but 0 to stop */
static int32_t show(void *user, const textinv_progress *p)
{
  (void)user;
  if (p->step % 50 == 0 || p->step == p->steps)
    fprintf(stderr, "%s: step %u of %u, %.0f s to go\n", p->phase, p->step, p->steps, p->eta);
  return 0;
}

int main(int argc, char **argv)
{
  textinv_session *session = NULL;
  textinv_model *model = NULL;
  textinv_embeddings *words = NULL;
  textinv_concept concept;
  textinv_invert_params params;
  textinv_status status;

  if (argc < 5) {
    fprintf(stderr, "usage: %s PICTURES WORD INITIALIZER OUT [MODEL]\n", argv[0]);
    return 2;
  }
  textinv_concept_init(&concept, sizeof(concept));
  concept.images_path = argv[1];
  concept.placeholder = argv[2];
  concept.initializer = argv[3];
  textinv_invert_params_init(&params, sizeof(params));
  params.concepts = &concept;
  params.num_concepts = 1;
  params.steps = 300;
  params.progress = show;

  if ((status = textinv_session_new(&session, NULL)) < 0 ||
      (status = textinv_model_open(&model, session, argc > 5 ? argv[5] : NULL)) < 0 ||
      (status = textinv_embeddings_new(&words, session)) < 0 ||
      (status = textinv_invert(session, model, words, &params, NULL)) < 0 ||
      (status = textinv_embeddings_save(session, words, argv[4], TEXTINV_FORMAT_AUTO, NULL)) < 0)
    fprintf(stderr, "%s: %s\n", argv[0], textinv_session_error(session));

  textinv_embeddings_free(words);
  textinv_model_free(model);
  textinv_session_free(session);
  return status < 0;
}
