/* Pictures of a prompt: text, noise, sampler with guidance, decoder. */
#include <math.h>
#include <string.h>

#include "alloc.h"
#include "api.h"
#include "guidance.h"

static const textinv_generate_params generate_defaults = {
  .struct_size = sizeof(textinv_generate_params),
  .images = 1,
  .steps = 30,
  .guidance_scale = 7.5f,
  .strength = 0.8f,
};
static const size_t GENERATE_PARAMS_MIN = offsetof(textinv_generate_params, guidance_rescale);

textinv_status textinv_generate_params_init(textinv_generate_params *params, size_t size)
{
  return ti_params_init(params, size, &generate_defaults, sizeof(generate_defaults),
                        GENERATE_PARAMS_MIN);
}

typedef struct job {
  textinv_session *s;
  const textinv_model *model;
  const textinv_embeddings *embeddings;
  textinv_generate_params p;
  textinv_images *images;
  int h, w, batch; /* of the latents; pictures at once */
  int guided;
  size_t chw, context_size;
  float *context; /* [2 batch, tokens, context_dim]: without, then with the prompt */
  float *pooled;  /* [2 batch, pooled_dim] */
  float *latents, *noise, *scaled, *output; /* [batch, c, h, w]; the last [2 batch, c, h, w] */
  float *preview;                           /* [batch, c, h, w], with preview_every */
  int evaluated;                            /* the contexts have been used as they are */
  ti_torch_rng *torch;                      /* [batch] */
  ti_image init;                            /* as large as the result */
  uint8_t *mask;                            /* as large: luminances */
  float *redrawn;                           /* [batch, h, w]: 1 where mask is white, else 0 */
  float *init_mean, *init_deviation;        /* of init_image */
  float *init_latents, *init_noise; /* [batch, c, h, w], what the first latents are made of */
  float *masked_mean, *masked_deviation; /* of init_image without what is white in mask */
  float *masked_latents;                 /* [batch, c, h, w], which some UNets read */
  double began;
} job;

/* for count values of latents; the caller frees it */
static textinv_status make_sampler(ti_sampler **out, const job *j, ti_error *error, size_t count)
{
  return ti_sampler_new(out, error, &j->model->schedule, j->p.sampler, (int)j->p.steps,
                        j->p.init_image ? j->p.strength : 1.0f, count);
}

void ti_warn_of_sampler(textinv_session *s, const textinv_model *model, textinv_sampler kind)
{
  const ti_schedule *schedule = &model->schedule;
  const textinv_sampler drawing = kind ? kind : schedule->sampler;
  const int stands_in = !kind && schedule->stands_in;

  if ((!stands_in && !schedule->left_out[drawing]) ||
      (s->warned_model == model->id && s->warned_sampler == kind))
    return;
  s->warned_model = model->id;
  s->warned_sampler = kind;
  if (stands_in)
    ti_log(s, TEXTINV_LOG_WARNING,
           "the model's scheduler is %s, which this library does not have: the sampler nearest to "
           "it, %s, draws, unless another one is named",
           schedule->class_name, ti_sampler_name(drawing));
  else
    ti_log(s, TEXTINV_LOG_WARNING,
           "the model's scheduler config asks for a \"%s\" that the sampler %s does not have: it "
           "draws without",
           schedule->left_out[drawing], ti_sampler_name(drawing));
}

/* sides that are not given: those of the picture to start from, as diffusers takes them */
static textinv_status take_init_size(job *j, ti_error *error, uint32_t scale)
{
  textinv_generate_params *p = &j->p;
  const textinv_images *init = p->init_image;
  const uint32_t limit = 2 * (uint32_t)j->model->size;
  const int taken_width = !p->width, taken_height = !p->height;

  if (!p->width)
    p->width = (uint32_t)init->width / scale * scale;
  if (!p->height)
    p->height = (uint32_t)init->height / scale * scale;
  if (!p->width || !p->height)
    return ti_fail(error, TEXTINV_E_INVALID,
                   "init_image is a picture of %d x %d; %u pixels a side are needed at least",
                   init->width, init->height, scale);
  if ((taken_width && p->width > limit) || (taken_height && p->height > limit))
    ti_log(j->s, TEXTINV_LOG_WARNING,
           "the picture will have %u x %u pixels, as init_image has; the model's own size is %d x "
           "%d: set width and height for less time and memory",
           p->width, p->height, j->model->size, j->model->size);
  return TEXTINV_OK;
}

static textinv_status check_numbers(const textinv_generate_params *p, ti_error *error,
                                    int timesteps)
{
  if (!p->prompt)
    return ti_fail(error, TEXTINV_E_INVALID, "prompt is NULL");
  if (p->negative_prompt && strlen(p->negative_prompt) > TI_PROMPT_MAX_BYTES)
    return ti_fail(error, TEXTINV_E_LIMIT,
                   "negative_prompt: a prompt has over %d bytes, which is the most",
                   TI_PROMPT_MAX_BYTES);
  if (p->images < 1 || p->images > 1024)
    return ti_fail(error, TEXTINV_E_INVALID, "images is %u; 1 to 1024 are possible", p->images);
  if (p->batch > 1024)
    return ti_fail(error, TEXTINV_E_INVALID, "batch is %u; 0 to 1024 are possible", p->batch);
  if (p->steps < 1 || p->steps > 1000 || p->steps > (uint32_t)timesteps)
    return ti_fail(error, TEXTINV_E_INVALID, "steps is %u; 1 to %d are possible", p->steps,
                   timesteps < 1000 ? timesteps : 1000);
  if (!(p->guidance_scale >= 0.0f && p->guidance_scale <= 1000.0f))
    return ti_fail(error, TEXTINV_E_INVALID, "guidance_scale is %g; 0 to 1000 are possible",
                   (double)p->guidance_scale);
  if (!(p->guidance_rescale >= 0.0f && p->guidance_rescale <= 1.0f))
    return ti_fail(error, TEXTINV_E_INVALID, "guidance_rescale is %g; 0 to 1 are possible",
                   (double)p->guidance_rescale);
  if (p->sampler < TEXTINV_SAMPLER_DEFAULT || p->sampler > TEXTINV_SAMPLER_UNIPC)
    return ti_fail(error, TEXTINV_E_INVALID, "sampler is %d; 0 to %d are possible", (int)p->sampler,
                   TEXTINV_SAMPLER_UNIPC);
  if (p->rng < TEXTINV_RNG_TORCH_CPU || p->rng > TEXTINV_RNG_TORCH_CPU_SCALAR)
    return ti_fail(error, TEXTINV_E_INVALID, "rng is %d; 0 to %d are possible", (int)p->rng,
                   TEXTINV_RNG_TORCH_CPU_SCALAR);
  if (!(p->strength > 0.0f && p->strength <= 1.0f))
    return ti_fail(error, TEXTINV_E_INVALID, "strength is %g; above 0 to 1 is possible",
                   (double)p->strength);
  if (p->preview_every && !p->preview)
    return ti_fail(error, TEXTINV_E_INVALID, "preview_every is %u without preview",
                   p->preview_every);
  return ti_check_flag(error, "prompt_weights", p->prompt_weights);
}

static textinv_status check_pictures(const textinv_generate_params *p, ti_error *error,
                                     int needs_mask)
{
  textinv_status status;

  if (p->init_image && p->init_image->count != 1)
    return ti_fail(error, TEXTINV_E_INVALID, "init_image holds %d pictures; 1 is expected",
                   p->init_image->count);
  if (p->mask && !p->init_image)
    return ti_fail(error, TEXTINV_E_INVALID,
                   "mask is given without init_image, the picture whose black part is kept");
  if (p->mask && p->mask->count != 1)
    return ti_fail(error, TEXTINV_E_INVALID, "mask holds %d pictures; 1 is expected",
                   p->mask->count);
  if ((status = ti_check_flag(error, "keep_pixels", p->keep_pixels)) < 0)
    return status;
  if (p->keep_pixels && !p->mask)
    return ti_fail(error, TEXTINV_E_INVALID, "keep_pixels is %d without mask", p->keep_pixels);
  if (needs_mask && !p->mask)
    return ti_fail(error, TEXTINV_E_INVALID,
                   "%s is NULL: the model was made for inpainting and redraws what is white in "
                   "mask of init_image; a white mask is all of it",
                   p->init_image ? "mask" : "init_image");
  return TEXTINV_OK;
}

static textinv_status check(job *j, ti_error *error)
{
  textinv_generate_params *p = &j->p;
  const uint32_t scale = (uint32_t)ti_vae_scale(&j->model->vae);
  ti_sampler *sampler;
  textinv_status status;
  uint32_t w, h;

  if ((status = check_numbers(p, error, j->model->schedule.timesteps)) < 0 ||
      (status = check_pictures(p, error, ti_model_needs_mask(j->model))) < 0 ||
      (p->init_image && (status = take_init_size(j, error, scale)) < 0))
    return status;
  if (p->width % scale || p->height % scale || p->width > 2048 * scale || p->height > 2048 * scale)
    return ti_fail(error, TEXTINV_E_INVALID,
                   "width is %u, height %u; multiples of %u up to %u are possible", p->width,
                   p->height, scale, 2048 * scale);
  w = p->width / scale;
  h = p->height / scale;
  if ((status = ti_check_clip_skip(error, j->model, p->clip_skip)) < 0 ||
      (status = ti_check_latents(error, j->model, 1, 1, &w, &h)) < 0 ||
      (status = make_sampler(&sampler, j, error, 1)) < 0)
    return status;
  ti_sampler_free(sampler);
  ti_warn_of_sampler(j->s, j->model, p->sampler);
  j->w = (int)w;
  j->h = (int)h;
  /* as diffusers' pipelines */
  j->guided = j->model->ldm ? p->guidance_scale != 1.0f : p->guidance_scale > 1.0f;
  return TEXTINV_OK;
}

/* as many pictures at once as budget and device allow, at most 4: more gain nothing on a CPU */
static textinv_status choose_batch(job *j)
{
  const size_t budget = ti_activation_budget(j->s, j->model);
  const uint32_t want = j->p.batch ? j->p.batch : 4;
  ti_net_plan *plan;
  size_t bytes;
  textinv_status status;

  for (j->batch = (int)(want < j->p.images ? want : j->p.images); j->batch > 1; j->batch--) {
    const ti_plan_key key = {
      .kind = TI_PLAN_UNET, .n = j->batch << j->guided, .h = j->h, .w = j->w, .guided = j->guided
    };

    if (j->p.batch || (budget == SIZE_MAX && !j->s->device))
      break;
    if (j->s->device) {
      if ((status = ti_plan_get(&plan, j->s, j->model, &key)) != TEXTINV_E_NOMEM)
        return status;
      j->s->error.text[0] = '\0';
      continue;
    }
    if ((status = ti_plan_measure(&bytes, j->s, j->model, &key)) < 0)
      return status;
    if (bytes <= budget)
      break;
  }
  return TEXTINV_OK;
}

/* what does not fit into memory is refused before anything is drawn: decoding comes last, and needs
 * the most */
static textinv_status reserve(job *j)
{
  const ti_plan_key keys[] = {
    { .kind = TI_PLAN_UNET, .n = j->batch << j->guided, .h = j->h, .w = j->w, .guided = j->guided },
    { .kind = TI_PLAN_DECODE, .n = 1, .h = j->h, .w = j->w },
    { .kind = TI_PLAN_ENCODE, .n = 1, .h = j->h, .w = j->w }
  };
  textinv_status status = TEXTINV_OK;

  for (int i = 0; i < (j->p.init_image ? 3 : 2) && status >= 0; i++)
    status = ti_plan_reserve(j->s, j->model, &keys[i]);
  return status;
}

static float *floats(size_t count, int *failed)
{
  float *p = ti_calloc(count, sizeof(*p));

  *failed |= !p;
  return p;
}

static textinv_status allocate(job *j)
{
  const textinv_model *m = j->model;
  const size_t batch = (size_t)j->batch, doubled = batch << j->guided;
  const size_t hw = (size_t)j->h * (size_t)j->w, chw = (size_t)m->vae.latent_channels * hw;
  const int scale = ti_vae_scale(&m->vae);
  int failed = 0;

  j->chw = chw;
  j->context_size = (size_t)m->tokens * (size_t)m->context_dim;
  j->context = floats(doubled * j->context_size, &failed);
  j->pooled = floats(doubled * (size_t)m->pooled_dim, &failed);
  j->latents = floats(batch * chw, &failed);
  j->noise = floats(batch * chw, &failed);
  j->scaled = floats(batch * chw, &failed);
  j->output = floats(doubled * chw, &failed);
  j->preview = floats(j->p.preview_every ? batch * chw : 0, &failed);
  j->redrawn = floats(batch * hw, &failed);
  j->init_mean = floats(chw, &failed);
  j->init_deviation = floats(chw, &failed);
  j->init_latents = floats(batch * chw, &failed);
  j->init_noise = floats(batch * chw, &failed);
  j->masked_mean = floats(chw, &failed);
  j->masked_deviation = floats(chw, &failed);
  j->masked_latents = floats(batch * chw, &failed);
  j->torch = ti_calloc(batch, sizeof(*j->torch));
  if (failed || !j->torch)
    return ti_fail_nomem(&j->s->error, doubled * j->context_size * sizeof(float),
                         "latents and context");
  return ti_images_new(&j->images, &j->s->error, (int)j->p.images, j->w * scale, j->h * scale);
}

static void release(job *j)
{
  float *buffers[] = { j->context,     j->pooled,           j->latents,       j->noise,
                       j->scaled,      j->output,           j->preview,       j->redrawn,
                       j->init_mean,   j->init_deviation,   j->init_latents,  j->init_noise,
                       j->masked_mean, j->masked_deviation, j->masked_latents };

  for (size_t i = 0; i < sizeof(buffers) / sizeof(*buffers); i++)
    ti_free(buffers[i]);
  ti_free(j->torch);
  ti_free(j->mask);
  ti_image_free(&j->init);
  textinv_images_free(j->images);
}

/* contexts of both halves: [0, batch) without the prompt when guided, the rest with it */
static textinv_status encode_prompts(job *j)
{
  const textinv_model *m = j->model;
  const size_t pooled = (size_t)m->pooled_dim, first = j->guided ? (size_t)j->batch : 0;
  const char *negative = j->p.negative_prompt;
  size_t truncated;
  textinv_status status;

  status = ti_encode_text(j->s, m, j->embeddings, j->p.prompt, j->p.prompt_weights,
                          (int)j->p.clip_skip, j->context + first * j->context_size,
                          j->pooled + first * pooled, &truncated);
  if (status < 0)
    return status;
  /* SDXL was trained with zeros for "no text"; layers are left out of the prompt's encoding alone
   */
  if (j->guided && (negative || !m->zero_no_negative)) {
    status = ti_encode_text(j->s, m, j->embeddings, negative ? negative : "", j->p.prompt_weights,
                            0, j->context, j->pooled, &truncated);
    if (status < 0)
      return status;
  }
  for (int half = 0; half <= j->guided; half++) {
    const size_t from = (size_t)half * (size_t)j->batch;

    for (size_t i = from + 1; i < from + (size_t)j->batch; i++) {
      memcpy(j->context + i * j->context_size, j->context + from * j->context_size,
             j->context_size * sizeof(float));
      memcpy(j->pooled + i * pooled, j->pooled + from * pooled, pooled * sizeof(float));
    }
  }
  return TEXTINV_OK;
}

/* fresh noise [count, c, h, w], of each picture's own; draw counts the draws so far */
static void draw_noise(job *j, float *out, int first, int count, int draw)
{
  for (int i = 0; i < count; i++) {
    float *noise = out + (size_t)i * j->chw;

    if (j->p.rng == TEXTINV_RNG_NATIVE) {
      const ti_draw_key key = { j->p.seed + (uint64_t)(first + i), TI_DRAW_SAMPLER, (uint32_t)draw,
                                0 };

      ti_draw_normal(&key, noise, j->chw);
    } else {
      ti_torch_randn(&j->torch[i], noise, j->chw);
    }
  }
}

/* to the size of the result */
static textinv_status fit(ti_image *out, job *j, const textinv_images *picture)
{
  const ti_image in = { picture->width, picture->height, picture->pixels };

  return ti_image_resize(out, &j->s->error, &in, TI_LANCZOS, 0, 0, in.width, in.height,
                         j->images->width, j->images->height);
}

/* as Pillow's convert("L") */
static uint8_t luminance(const uint8_t *rgb)
{
  return (uint8_t)((19595 * rgb[0] + 38470 * rgb[1] + 7471 * rgb[2] + 0x8000) >> 16);
}

static textinv_status read_mask(job *j)
{
  const size_t scale = (size_t)ti_vae_scale(&j->model->vae), w = (size_t)j->w;
  const size_t places = (size_t)j->h * w, width = w * scale, pixels = places * scale * scale;
  ti_image fitted = { 0, 0, NULL };
  const textinv_status status = fit(&fitted, j, j->p.mask);
  int any = 0;

  if (status < 0)
    return status;
  j->mask = fitted.pixels;
  for (size_t i = 0; i < pixels; i++)
    j->mask[i] = luminance(fitted.pixels + 3 * i);
  for (size_t i = 0; i < (size_t)j->batch * places; i++) {
    /* the pixel nearest to a place of the latents is its top left one in diffusers */
    const size_t k = i % places, pixel = k / w * scale * width + k % w * scale;
    const int white = j->mask[pixel] >= 128;

    j->redrawn[i] = (float)white;
    any |= white;
  }
  if (!any)
    ti_log(j->s, TEXTINV_LOG_WARNING,
           "mask keeps the whole picture: it needs white parts, of %d x %d pixels or more",
           ti_vae_scale(&j->model->vae), ti_vae_scale(&j->model->vae));
  return TEXTINV_OK;
}

/* diffusers samples no latents of init_image where a UNet that reads a mask begins with noise */
static int starts_from_init(const job *j)
{
  return j->p.init_image && !(ti_model_needs_mask(j->model) && j->p.strength == 1.0f);
}

static textinv_status encode(job *j, const uint8_t *mask, float *mean, float *deviation)
{
  return ti_encode_pixels(j->s, j->model, "init_image", j->init.pixels, mask, j->init.width,
                          j->init.height, mean, deviation);
}

static textinv_status read_pictures(job *j)
{
  textinv_status status;

  if (!j->p.init_image)
    return TEXTINV_OK;
  if ((status = fit(&j->init, j, j->p.init_image)) < 0 ||
      (j->p.mask && (status = read_mask(j)) < 0) ||
      (starts_from_init(j) && (status = encode(j, NULL, j->init_mean, j->init_deviation)) < 0))
    return status;
  return ti_model_needs_mask(j->model) ? encode(j, j->mask, j->masked_mean, j->masked_deviation)
                                       : TEXTINV_OK;
}

/* samples of a picture's latents, by a draw of noise */
static void sample(job *j, float *latents, const float *mean, const float *deviation, int first,
                   int count, int draw)
{
  draw_noise(j, j->noise, first, count, draw);
  for (size_t i = 0; i < (size_t)count * j->chw; i++)
    latents[i] = mean[i % j->chw] + deviation[i % j->chw] * j->noise[i];
}

/* latents to start from; returns the number of noise draws made */
static int start(job *j, const ti_sampler *sampler, int first, int count)
{
  const size_t total = (size_t)count * j->chw;
  const float sigma = ti_sampler_init_sigma(sampler);
  /* with a mask strength 1 leaves nothing of the picture where it is white, as in diffusers */
  const int from_noise = !j->p.init_image || (j->p.mask && j->p.strength == 1.0f);
  int draws = 0;

  for (int i = 0; i < count; i++)
    ti_torch_rng_seed(&j->torch[i], j->p.seed + (uint64_t)(first + i),
                      j->p.rng == TEXTINV_RNG_TORCH_CPU_SCALAR);
  if (starts_from_init(j))
    sample(j, j->init_latents, j->init_mean, j->init_deviation, first, count, draws++);
  draw_noise(j, j->init_noise, first, count, draws++);
  if (!from_noise)
    ti_sampler_add_noise(sampler, 0, j->latents, j->init_latents, j->init_noise);
  for (size_t i = 0; from_noise && i < total; i++)
    j->latents[i] = j->init_noise[i] * sigma;
  /* diffusers samples the latents of the masked picture whether or not the UNet reads them */
  if (j->p.mask)
    sample(j, j->masked_latents, j->masked_mean, j->masked_deviation, first, count, draws++);
  return draws;
}

/* where mask is black, those that are kept take the place of latents */
static void keep_latents(const job *j, float *latents, const float *kept, size_t total)
{
  const size_t places = (size_t)j->h * (size_t)j->w;

  for (size_t k = 0; k < total; k++) {
    if (j->redrawn[k % places] == 0.0f)
      latents[k] = kept[k];
  }
}

static textinv_status report(job *j, const char *phase, int step, int steps)
{
  const double seconds = ti_seconds() - j->began;
  const textinv_progress progress = { .struct_size = sizeof(progress),
                                      .phase = phase,
                                      .step = (uint32_t)step,
                                      .steps = (uint32_t)steps,
                                      .seconds = seconds,
                                      .eta = step ? seconds / step * (steps - step) : 0.0 };

  if (j->p.progress && j->p.progress(j->p.progress_user, &progress))
    return ti_fail(&j->s->error, TEXTINV_E_CANCELLED, "stopped at step %d of %d", step, steps);
  return TEXTINV_OK;
}

/* the model's output with guidance, in j->output[0 .. count) */
static textinv_status evaluate(job *j, const ti_sampler *sampler, int i, int count)
{
  const size_t skipped = (size_t)(j->batch - count); /* unused places at the end of a half */
  textinv_status status;

  ti_sampler_scale_input(sampler, i, j->scaled, j->latents);
  /* contexts lie at [0, batch) and [batch, 2 batch): a smaller last batch moves the second half
   * down */
  if (j->guided && skipped) {
    memmove(j->context + (size_t)count * j->context_size,
            j->context + (size_t)j->batch * j->context_size,
            (size_t)count * j->context_size * sizeof(float));
    memmove(j->pooled + (size_t)count * (size_t)j->model->pooled_dim,
            j->pooled + (size_t)j->batch * (size_t)j->model->pooled_dim,
            (size_t)count * (size_t)j->model->pooled_dim * sizeof(float));
    j->batch = count;
    j->evaluated = 0;
  }
  const ti_evaluation e = { .batch = count << j->guided,
                            .h = j->h,
                            .w = j->w,
                            .guided = j->guided,
                            .timestep = ti_sampler_timestep(sampler, i),
                            .latents = j->scaled,
                            .context = j->context,
                            .pooled = j->pooled,
                            .mask = j->redrawn,
                            .masked = j->masked_latents,
                            .same_context = j->evaluated };

  status = ti_predict(j->s, j->model, &e, j->output);
  j->evaluated = 1;
  if (status >= 0 && j->guided)
    ti_guide(j->output, (size_t)count, j->chw, j->p.guidance_scale, j->p.guidance_rescale);
  return status;
}

static textinv_status check_finite(job *j, int first, size_t count)
{
  for (size_t i = 0; i < count; i++) {
    if (!isfinite(j->latents[i]))
      return ti_fail(&j->s->error, TEXTINV_E_NONFINITE,
                     "picture %zu: the latents became %g: check the embeddings%s",
                     (size_t)first + i / j->chw, (double)j->latents[i],
                     ti_wider_types((ti_dtype)j->s->dtype));
  }
  return TEXTINV_OK;
}

/* init_image shows through where mask is not white */
static void keep_pixels(const job *j, uint8_t *pixels)
{
  const size_t values = (size_t)j->init.width * (size_t)j->init.height * 3;

  for (size_t i = 0; i < values; i++) {
    const int drawn = j->mask[i / 3];

    pixels[i] = (uint8_t)((drawn * pixels[i] + (255 - drawn) * j->init.pixels[i] + 127) / 255);
  }
}

/* pictures first .. first + count - 1 of the run, to place at and on of images */
static textinv_status decode(const job *j, textinv_images *images, int at, const float *latents,
                             int first, int count)
{
  const size_t values = (size_t)images->width * (size_t)images->height * 3;
  float *picture = ti_calloc(values, sizeof(*picture));
  textinv_status status = TEXTINV_OK;

  if (!picture)
    return ti_fail_nomem(&j->s->error, values * sizeof(*picture), "a picture");
  for (int i = 0; i < count && status >= 0; i++) {
    uint8_t *pixels = images->pixels + (size_t)(at + i) * values;

    status = ti_decode_one(j->s, j->model, (uint32_t)(first + i), latents + (size_t)i * j->chw,
                           j->h, j->w, picture);
    if (status < 0)
      break;
    ti_values_to_pixels(pixels, picture, images->width, images->height);
    if (j->p.keep_pixels)
      keep_pixels(j, pixels);
    images->seeds[at + i] = j->p.seed + (uint64_t)(first + i);
  }
  ti_free(picture);
  return status;
}

/* step is that of progress; the drawing goes on without a preview that fails */
static textinv_status show_preview(const job *j, int first, int count, int step, int steps)
{
  ti_error *error = &j->s->error;
  textinv_images *images;
  textinv_status status = ti_images_new(&images, error, count, j->images->width, j->images->height);

  if (status >= 0)
    status = decode(j, images, 0, j->preview, first, count);
  if (status >= 0 && j->p.preview(j->p.preview_user, (uint32_t)step, images))
    status = ti_fail(error, TEXTINV_E_CANCELLED, "stopped at step %d of %d", step, steps);
  textinv_images_free(images);
  if (status >= 0 || status == TEXTINV_E_CANCELLED)
    return status;
  ti_log(j->s, TEXTINV_LOG_WARNING, "no preview at step %d: %s", step, error->text);
  error->text[0] = '\0';
  return TEXTINV_OK;
}

/* pictures first .. first + count - 1 */
static textinv_status draw(job *j, int first, int count)
{
  const size_t total = (size_t)count * j->chw;
  ti_sampler *sampler = NULL;
  textinv_status status;
  int draws;

  if ((status = make_sampler(&sampler, j, &j->s->error, total)) < 0)
    return status;
  draws = start(j, sampler, first, count);
  const int steps = ti_sampler_evaluations(sampler);
  const int batches = ((int)j->p.images + j->batch - 1) / j->batch, done = first / j->batch;
  const int keeps = j->p.mask && !ti_model_needs_mask(j->model);

  for (int i = 0; i < steps; i++) {
    const int fresh = ti_sampler_needs_noise(sampler, i), last = i + 1 == steps;
    const int previews = j->p.preview_every && !last && (i + 1) % j->p.preview_every == 0;
    const int step = done * steps + i + 1;

    if ((status = evaluate(j, sampler, i, count)) < 0)
      goto out;
    if (previews) {
      ti_sampler_denoise(sampler, i, j->preview, j->scaled, j->output);
      if (keeps)
        keep_latents(j, j->preview, j->init_latents, total);
    }
    if (fresh)
      draw_noise(j, j->noise, first, count, draws++);
    ti_sampler_step(sampler, i, j->latents, j->output, fresh ? j->noise : NULL);
    /* what the next evaluation meets of init_image; after the last one its latents */
    if (keeps && !last)
      ti_sampler_add_noise(sampler, i + 1, j->scaled, j->init_latents, j->init_noise);
    if (keeps)
      keep_latents(j, j->latents, last ? j->init_latents : j->scaled, total);
    if ((status = report(j, "sample", step, batches * steps)) < 0 ||
        (previews && (status = show_preview(j, first, count, step, batches * steps)) < 0))
      goto out;
  }
  if ((status = check_finite(j, first, total)) < 0)
    goto out;
  status = decode(j, j->images, first, j->latents, first, count);
  for (int i = first; i < first + count && status >= 0; i++)
    status = ti_parameters_text(j->images, (uint32_t)i, &j->s->error, j->model, &j->p);
out:
  ti_sampler_free(sampler);
  return status;
}

textinv_status textinv_generate(textinv_images **out, textinv_session *session,
                                const textinv_model *model, const textinv_embeddings *embeddings,
                                const textinv_generate_params *params)
{
  ti_error *error = ti_begin(session);
  job j = { .s = session, .model = model, .embeddings = embeddings, .p = generate_defaults };
  textinv_status status;

  if (out)
    *out = NULL;
  if ((status = ti_check_null(error, out, "out")) < 0 ||
      (status = ti_check_null(error, session, "session")) < 0 ||
      (status = ti_check_null(error, model, "model")) < 0 ||
      (status = ti_params_read(error, &j.p, sizeof(j.p), GENERATE_PARAMS_MIN, params,
                               "generate_params")) < 0 ||
      (status = check(&j, error)) < 0 || (status = choose_batch(&j)) < 0 ||
      (status = reserve(&j)) < 0 || (status = allocate(&j)) < 0)
    goto out;
  j.began = ti_seconds();
  if ((status = encode_prompts(&j)) < 0 || (status = read_pictures(&j)) < 0)
    goto out;
  const int batch = j.batch;

  for (int i = 0; i < (int)j.p.images; i += batch) {
    const int left = (int)j.p.images - i;

    if ((status = draw(&j, i, left < batch ? left : batch)) < 0)
      goto out;
  }
  *out = j.images;
  j.images = NULL;
out:
  release(&j);
  return ti_session_end(session, status);
}
