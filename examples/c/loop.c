/*
 * Learns a word with a loop of its own, from pictures that are square already:
 *
 *   loop MODEL '<toy>' 'toy' toy.safetensors PICTURE...
 *
 * textinv_invert() does this and more. A loop of one's own is for another loss, other timesteps or
 * another schedule, or where the host has something to do between two steps.
 *
 * cc loop.c $(pkg-config --cflags --libs textinv) -lm -o loop
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <textinv/textinv.h>

enum { STEPS = 300 };

typedef struct sample {
  float *latents, *noise; /* [count] */
  size_t count;
  uint32_t timestep;
} sample;

static double uniform(void)
{
  return (rand() + 0.5) / (RAND_MAX + 1.0);
}

/* Box and Muller 1958 */
static float normal(void)
{
  return (float)(sqrt(-2 * log(uniform())) * cos(2 * 3.14159265358979 * uniform()));
}

/* latents of a picture, noise and a timestep; moments: mean [count] and deviation [count] */
static void draw(sample *s, const float *moments, uint32_t timesteps)
{
  for (size_t i = 0; i < s->count; i++) {
    s->latents[i] = moments[i] + moments[s->count + i] * normal();
    s->noise[i] = normal();
  }
  s->timestep = (uint32_t)(uniform() * timesteps);
}

static textinv_status encode(float *moments, size_t count, textinv_session *session,
                             const textinv_model *model, uint32_t size, const char *path)
{
  textinv_images *image;
  textinv_status status = textinv_image_read(&image, session, path);

  if (status >= 0)
    status = textinv_images_resize(session, image, size, size);
  if (status >= 0)
    status = textinv_encode_image(session, moments, moments + count, count, model, image, 0);
  textinv_images_free(image);
  return status;
}

/* one step; a loss that is not finite changes nothing, and the next one has other draws */
static textinv_status step(textinv_session *session, textinv_optimizer *optimizer,
                           textinv_embeddings *words, const textinv_model *model, const sample *s,
                           const char *prompt, float *loss, float *gradient)
{
  const size_t count = textinv_embeddings_num_values(words);
  textinv_loss_params params;
  textinv_status status;

  textinv_loss_params_init(&params, sizeof(params));
  params.batch = 1;
  params.latents = s->latents;
  params.noise = s->noise;
  params.timesteps = &s->timestep;
  params.prompts = &prompt;
  status = textinv_loss(session, loss, gradient, count, model, words, &params);
  if (status >= 0)
    status = textinv_optimizer_step(session, optimizer, words, gradient, count);
  return status == TEXTINV_E_NONFINITE ? TEXTINV_OK : status;
}

int main(int argc, char **argv)
{
  textinv_session *session = NULL;
  textinv_model *model = NULL;
  textinv_embeddings *words = NULL;
  textinv_optimizer *optimizer = NULL;
  textinv_model_info info;
  sample s = { 0 };
  float *moments = NULL, *gradient = NULL, loss;
  char prompt[300];
  textinv_status status;
  const size_t pictures = argc > 5 ? (size_t)argc - 5 : 0;

  if (!pictures) {
    fprintf(stderr, "usage: %s MODEL WORD INITIALIZER OUT PICTURE...\n", argv[0]);
    return 2;
  }
  snprintf(prompt, sizeof(prompt), "a photo of a %s", argv[2]);
  textinv_model_info_init(&info, sizeof(info));
  if ((status = textinv_session_new(&session, NULL)) < 0 ||
      (status = textinv_model_open(&model, session, argv[1])) < 0 ||
      (status = textinv_model_get_info(model, &info)) < 0 ||
      (status = textinv_embeddings_new(&words, session)) < 0 ||
      (status = textinv_embeddings_add(session, words, model, argv[2], 1, argv[3], 0)) < 0 ||
      (status = textinv_optimizer_new(&optimizer, session, words, NULL)) < 0)
    goto out;

  s.count = (size_t)info.latent_channels * (info.size / info.latent_scale) *
            (info.size / info.latent_scale);
  s.latents = malloc(s.count * sizeof(float));
  s.noise = malloc(s.count * sizeof(float));
  moments = malloc(pictures * 2 * s.count * sizeof(float));
  gradient = malloc(textinv_embeddings_num_values(words) * sizeof(float));
  if (!s.latents || !s.noise || !moments || !gradient) {
    fprintf(stderr, "%s: no memory\n", argv[0]);
    status = TEXTINV_E_NOMEM;
    goto free;
  }
  for (size_t i = 0; i < pictures && status >= 0; i++)
    status = encode(moments + 2 * s.count * i, s.count, session, model, info.size, argv[5 + i]);
  for (int i = 1; i <= STEPS && status >= 0; i++) {
    draw(&s, moments + 2 * s.count * ((size_t)rand() % pictures), info.train_timesteps);
    status = step(session, optimizer, words, model, &s, prompt, &loss, gradient);
    if (i % 50 == 0)
      printf("step %d: loss %.3f\n", i, loss);
  }
  if (status >= 0)
    status = textinv_embeddings_save(session, words, argv[4], TEXTINV_FORMAT_AUTO, NULL);
out:
  if (status < 0)
    fprintf(stderr, "%s: %s\n", argv[0], textinv_session_error(session));
free:
  free(gradient);
  free(moments);
  free(s.noise);
  free(s.latents);
  textinv_optimizer_free(optimizer);
  textinv_embeddings_free(words);
  textinv_model_free(model);
  textinv_session_free(session);
  return status < 0;
}
