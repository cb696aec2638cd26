/* A model made for inpainting: what its UNet sees, and that it neither draws without a mask nor
 * learns. That its pictures are diffusers' is shown in tests/nets and tests/parity. */
#include "testing_mask.h"

#include <math.h>
#include <stdlib.h>

#include "random.h"

enum { PLACES = 8 * 8 }; /* of latents */

static textinv_model *painter;

static int open_both(void **state)
{
  return open_tiny(state) < 0 || textinv_model_open(&painter, session, tiny_inpainting_model()) < 0
           ? -1
           : 0;
}

static int close_both(void **state)
{
  textinv_model_free(painter);
  return close_tiny(state);
}

/* white up to a column, but hardly */
static textinv_images *faint_columns(int white)
{
  return columns(white, 128, 127);
}

static void what_it_is(void **state)
{
  textinv_model_info info;

  (void)state;
  must(textinv_model_info_init(&info, sizeof(info)));
  must(textinv_model_get_info(painter, &info));
  assert_int_equal(info.needs_mask, 1);
  assert_int_equal(info.latent_channels, 4);
  must(textinv_model_get_info(model, &info));
  assert_int_equal(info.needs_mask, 0);
}

/* the loop of a host: DDIM on the latents alone, mask and masked picture as they are */
static textinv_images *paint(const textinv_generate_params *p, const float *mask,
                             const float *masked, float *latents)
{
  enum { CONTEXT = TINY_TOKENS * TINY_WIDTH, STEPS = 5 };
  const float *alphas = textinv_model_alphas_cumprod(painter);
  float context[2 * CONTEXT], masks[2 * PLACES], both[2 * LATENTS], output[2 * LATENTS];
  float twice[2 * LATENTS];
  textinv_predict_params e;
  textinv_images *out;

  must(textinv_encode_prompt(session, context, CONTEXT, NULL, 0, NULL, painter, NULL, "", 0));
  must(textinv_encode_prompt(session, context + CONTEXT, CONTEXT, NULL, 0, NULL, painter, NULL,
                             p->prompt, 0));
  must(textinv_predict_params_init(&e, sizeof(e)));
  e.batch = 2;
  e.latents = twice;
  e.context = context;
  e.mask = masks;
  e.masked = both;
  for (int half = 0; half < 2; half++) {
    memcpy(masks + half * PLACES, mask, PLACES * sizeof(*mask));
    memcpy(both + half * LATENTS, masked, LATENTS * sizeof(*masked));
  }
  for (int i = STEPS - 1; i >= 0; i--) {
    const int t = i * 1000 / STEPS + 1, next = t - 1000 / STEPS;
    const float a = alphas[t], b = alphas[next > 0 ? next : 0];

    memcpy(twice, latents, LATENTS * sizeof(*latents));
    memcpy(twice + LATENTS, latents, LATENTS * sizeof(*latents));
    e.timestep = (float)t;
    must(textinv_predict_noise(session, output, 2 * LATENTS, painter, &e));
    for (int k = 0; k < LATENTS; k++) {
      const float eps = output[k] + 7.5f * (output[LATENTS + k] - output[k]);

      latents[k] = sqrtf(b) * (latents[k] - sqrtf(1.0f - a) * eps) / sqrtf(a) +
                   sqrtf(1.0f - b) * eps;
    }
  }
  must(textinv_decode_latents(session, &out, NULL, 0, painter, latents, 1, 8, 8));
  return out;
}

/* grey 128 is 1/255 from the grey that is put in place of what is redrawn: near, but not the same
 */
static void single_steps_paint_the_same(void **state)
{
  float mask[PLACES], mean[LATENTS], deviation[LATENTS], masked[LATENTS], latents[LATENTS];
  uint8_t keep[SIDE * SIDE];
  textinv_images *init = noise(1, NULL), *half = faint_columns(SIDE / 2), *seen, *theirs, *ours;
  const textinv_generate_params p = params(init, half);
  ti_torch_rng rng;
  double sum = 0.0;

  (void)state;
  for (int i = 0; i < SIDE * SIDE; i++)
    keep[i] = i % SIDE >= SIDE / 2;
  for (int i = 0; i < PLACES; i++)
    mask[i] = i % 8 < 4;
  seen = noise(1, keep);
  must(textinv_encode_image(session, mean, deviation, LATENTS, painter, seen, 0));
  /* the picture itself is not drawn from: the first draw is what the latents begin with */
  ti_torch_rng_seed(&rng, 42, 0);
  ti_torch_randn(&rng, latents, LATENTS);
  ti_torch_randn(&rng, masked, LATENTS);
  for (int i = 0; i < LATENTS; i++)
    masked[i] = mean[i] + deviation[i] * masked[i];
  theirs = draw(painter, &p);
  ours = paint(&p, mask, masked, latents);
  for (int i = 0; i < BYTES; i++)
    sum += abs(textinv_images_pixels(ours, 0)[i] - textinv_images_pixels(theirs, 0)[i]);
  if (!(sum / BYTES < 1.0))
    fail_msg("%g grey levels apart in the mean", sum / BYTES);
  textinv_images_free(init);
  textinv_images_free(half);
  textinv_images_free(seen);
  textinv_images_free(theirs);
  textinv_images_free(ours);
}

/* what is white is not seen, unless the picture is begun from; what is black is, however little */
static void what_is_seen(void **state)
{
  uint8_t left[SIDE * SIDE], all_but_one[SIDE * SIDE];
  textinv_images *init = noise(1, NULL), *half = faint_columns(SIDE / 2), *others[2];
  textinv_generate_params p, q;

  (void)state;
  for (int i = 0; i < SIDE * SIDE; i++) {
    left[i] = i % SIDE >= SIDE / 2;
    all_but_one[i] = i != 3 * SIDE + SIDE - 1; /* one pixel at the right */
  }
  others[0] = noise(1, left);
  others[1] = noise(1, all_but_one);
  for (textinv_sampler kind = TEXTINV_SAMPLER_DEFAULT; kind <= TEXTINV_SAMPLER_UNIPC; kind++) {
    p = q = params(init, half);
    p.sampler = q.sampler = kind;
    q.init_image = others[0];
    assert_true(equal(painter, &p, &q));
    p.strength = q.strength = 0.6f;
    assert_false(equal(painter, &p, &q));
    p.strength = q.strength = 1.0f;
    q.init_image = others[1];
    assert_false(equal(painter, &p, &q));
  }
  textinv_images_free(init);
  textinv_images_free(half);
  textinv_images_free(others[0]);
  textinv_images_free(others[1]);
}

/* the VAE's rows, too, are drawn: nothing is put back, unless the pixels are */
static void pixels_are_kept(void **state)
{
  textinv_images *init = noise(1, NULL), *black = faint_columns(0), *drawn;
  textinv_generate_params p = params(init, black), q = p;

  (void)state;
  q.prompt = "toy";
  assert_false(equal(painter, &p, &q));
  p.keep_pixels = 1;
  p.mask = faint_columns(SIDE / 2);
  drawn = draw(painter, &p);
  for (int i = 0; i < BYTES; i++) {
    const int share = i / 3 % SIDE < SIDE / 2 ? 128 : 127;
    const int least = (255 - share) * textinv_images_pixels(init, 0)[i] / 255;

    /* half of it is there whatever was drawn */
    assert_true(textinv_images_pixels(drawn, 0)[i] >= least &&
                textinv_images_pixels(drawn, 0)[i] <= least + share + 1);
  }
  textinv_images_free((textinv_images *)(uintptr_t)p.mask);
  textinv_images_free(drawn);
  textinv_images_free(black);
  textinv_images_free(init);
}

static void batches_do_not_matter(void **state)
{
  textinv_images *init = noise(1, NULL), *half = faint_columns(SIDE / 2);
  textinv_generate_params p = params(init, half);

  (void)state;
  p.sampler = TEXTINV_SAMPLER_EULER_A;
  for (int i = 0; i < 4; i++) {
    p.rng = i % 2 ? TEXTINV_RNG_NATIVE : TEXTINV_RNG_TORCH_CPU;
    p.strength = i / 2 ? 0.7f : 1.0f;
    batches_are_alike(painter, p);
  }
  textinv_images_free(init);
  textinv_images_free(half);
}

static void it_draws_with_a_mask_alone(void **state)
{
  textinv_images *init = noise(1, NULL), *half = faint_columns(SIDE / 2), *images;
  textinv_generate_params p = params(NULL, NULL);

  (void)state;
  refused(textinv_generate(&images, session, painter, NULL, &p), TEXTINV_E_INVALID,
          "init_image is NULL: the model was made for inpainting and redraws what is white in");
  p.init_image = init;
  refused(textinv_generate(&images, session, painter, NULL, &p), TEXTINV_E_INVALID,
          "mask is NULL: the model was made for inpainting");
  /* for a caller of release 0.1 it is not there */
  p.mask = half;
  p.struct_size = 96;
  refused(textinv_generate(&images, session, painter, NULL, &p), TEXTINV_E_INVALID, "mask is NULL");
  textinv_images_free(init);
  textinv_images_free(half);
}

static void single_steps_need_both(void **state)
{
  static float zeros[TINY_TOKENS * TINY_WIDTH + LATENTS];
  float out[LATENTS];
  textinv_predict_params p;

  (void)state;
  must(textinv_predict_params_init(&p, sizeof(p)));
  p.batch = 1;
  p.latents = p.context = zeros;
  refused(textinv_predict_noise(session, out, LATENTS, painter, &p), TEXTINV_E_INVALID,
          "mask is NULL");
  p.mask = zeros;
  refused(textinv_predict_noise(session, out, LATENTS, painter, &p), TEXTINV_E_INVALID,
          "masked is NULL");
  refused(textinv_predict_noise(session, out, LATENTS, model, &p), TEXTINV_E_INVALID,
          "mask is given; the UNet of this model takes no mask");
  p.masked = zeros;
  must(textinv_predict_noise(session, out, LATENTS, painter, &p));
  /* a host of release 0.1 knows neither */
  p.struct_size = 64;
  refused(textinv_predict_noise(session, out, LATENTS, painter, &p), TEXTINV_E_INVALID,
          "mask is NULL");
  must(textinv_predict_noise(session, out, LATENTS, model, &p));
}

static void it_does_not_learn(void **state)
{
  static const char *const prompts[] = { "a <toy>" };
  static const uint32_t timesteps[] = { 500 };
  static float latents[LATENTS];
  const textinv_images *pictures[1];
  textinv_images *init = noise(1, NULL);
  textinv_embeddings *words;
  textinv_concept c;
  textinv_invert_params v;
  textinv_loss_params l;
  float loss;

  (void)state;
  pictures[0] = init;
  must(textinv_embeddings_new(&words, session));
  must(textinv_concept_init(&c, sizeof(c)));
  must(textinv_invert_params_init(&v, sizeof(v)));
  c.placeholder = "<toy>";
  c.initializer = "toy";
  c.pictures = pictures;
  c.num_pictures = 1;
  v.concepts = &c;
  v.num_concepts = 1;
  refused(textinv_invert(session, painter, words, &v, NULL), TEXTINV_E_UNSUPPORTED,
          "tiny-inpainting: the model was made for inpainting: learn words with the model that it "
          "was made from");
  assert_int_equal(textinv_embeddings_count(words), 0);
  must(textinv_embeddings_add(session, words, painter, "<toy>", 1, "toy", 0));
  must(textinv_loss_params_init(&l, sizeof(l)));
  l.batch = 1;
  l.latents = l.noise = latents;
  l.timesteps = timesteps;
  l.prompts = prompts;
  refused(textinv_loss(session, &loss, NULL, 0, painter, words, &l), TEXTINV_E_UNSUPPORTED,
          "made for inpainting");
  must(textinv_loss(session, &loss, NULL, 0, model, words, &l));
  textinv_embeddings_free(words);
  textinv_images_free(init);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_it_is),
    cmocka_unit_test(single_steps_paint_the_same),
    cmocka_unit_test(what_is_seen),
    cmocka_unit_test(pixels_are_kept),
    cmocka_unit_test(batches_do_not_matter),
    cmocka_unit_test(it_draws_with_a_mask_alone),
    cmocka_unit_test(single_steps_need_both),
    cmocka_unit_test(it_does_not_learn),
  };

  return cmocka_run_group_tests_name("inpaint", tests, open_both, close_both);
}
