/*
 * The binary interface that release 0.1 froze: values, offsets, and callers built against a shorter
 * or a longer struct than the library's. A new member goes to the end of its struct, a new value
 * behind the others; then a line is added here and none is changed.
 */
#include "testing.h"

#include <string.h>

#include <textinv/textinv.h>

#define FREEZE(condition) _Static_assert(condition, #condition)
/* of the 64-bit ABIs, whose pointers have eight bytes */
#define OFFSET(type, member, bytes) FREEZE(sizeof(void *) != 8 || offsetof(type, member) == (bytes))
#define SIZE(type, bytes) FREEZE(sizeof(void *) != 8 || sizeof(type) >= (bytes))
#define LAST(type, member)                                                                         \
  FREEZE(sizeof(type) == offsetof(type, member) + sizeof(((type *)NULL)->member))

/* ------------------------------------------------------------------ values */

FREEZE(TEXTINV_OK == 0);
FREEZE(TEXTINV_E_INVALID == -1);
FREEZE(TEXTINV_E_NOMEM == -2);
FREEZE(TEXTINV_E_CANCELLED == -3);
FREEZE(TEXTINV_E_BACKEND == -4);
FREEZE(TEXTINV_E_VERSION == -5);
FREEZE(TEXTINV_E_IO == -6);
FREEZE(TEXTINV_E_FORMAT == -7);
FREEZE(TEXTINV_E_LIMIT == -8);
FREEZE(TEXTINV_E_UNSUPPORTED == -9);
FREEZE(TEXTINV_E_SHAPE == -10);
FREEZE(TEXTINV_E_NONFINITE == -11);
FREEZE(TEXTINV_E_CONFLICT == -12);
FREEZE(TEXTINV_E_NOT_FOUND == -13);
FREEZE(TEXTINV_BACKEND_CPU == 0);
FREEZE(TEXTINV_BACKEND_CUDA == 1);
FREEZE(TEXTINV_F32 == 0);
FREEZE(TEXTINV_F16 == 1);
FREEZE(TEXTINV_BF16 == 2);
FREEZE(TEXTINV_LOG_ERROR == 0);
FREEZE(TEXTINV_LOG_WARNING == 1);
FREEZE(TEXTINV_LOG_INFO == 2);
FREEZE(TEXTINV_LOG_DEBUG == 3);
FREEZE(TEXTINV_PROPERTY_OBJECT == 0);
FREEZE(TEXTINV_PROPERTY_STYLE == 1);
FREEZE(TEXTINV_LR_CONSTANT == 0);
FREEZE(TEXTINV_LR_LINEAR == 1);
FREEZE(TEXTINV_LR_COSINE == 2);
FREEZE(TEXTINV_SAMPLER_DEFAULT == 0);
FREEZE(TEXTINV_SAMPLER_DDIM == 1);
FREEZE(TEXTINV_SAMPLER_PNDM == 2);
FREEZE(TEXTINV_SAMPLER_EULER == 3);
FREEZE(TEXTINV_SAMPLER_EULER_A == 4);
FREEZE(TEXTINV_SAMPLER_DPMPP_2M == 5);
FREEZE(TEXTINV_SAMPLER_DPMPP_2M_KARRAS == 6);
FREEZE(TEXTINV_SAMPLER_UNIPC == 7);
FREEZE(TEXTINV_RNG_TORCH_CPU == 0);
FREEZE(TEXTINV_RNG_NATIVE == 1);
FREEZE(TEXTINV_RNG_TORCH_CPU_SCALAR == 2);
FREEZE(TEXTINV_FORMAT_DIFFUSERS == 0);
FREEZE(TEXTINV_FORMAT_A1111 == 1);
FREEZE(TEXTINV_FORMAT_KOHYA == 2);
FREEZE(TEXTINV_FORMAT_SDXL == 3);
FREEZE(TEXTINV_FORMAT_AUTO == 4);
FREEZE(TEXTINV_KIND_UNKNOWN == 0);
FREEZE(TEXTINV_KIND_MODEL == 1);
FREEZE(TEXTINV_KIND_EMBEDDING == 2);
FREEZE(TEXTINV_KIND_CHECKPOINT == 3);
FREEZE(TEXTINV_KIND_IMAGE == 4);
FREEZE(TEXTINV_KIND_CLIP == 5);

FREEZE(sizeof(textinv_status) == 4);
FREEZE(sizeof(textinv_backend) == 4);
FREEZE(sizeof(textinv_dtype) == 4);
FREEZE(sizeof(textinv_log_level) == 4);
FREEZE(sizeof(textinv_property) == 4);
FREEZE(sizeof(textinv_lr_schedule) == 4);
FREEZE(sizeof(textinv_sampler) == 4);
FREEZE(sizeof(textinv_rng) == 4);
FREEZE(sizeof(textinv_format) == 4);
FREEZE(sizeof(textinv_kind) == 4);

/* ------------------------------------------------------------------ structs, of 64-bit machines */

#if SIZE_MAX == UINT64_MAX
OFFSET(textinv_progress, struct_size, 0);
OFFSET(textinv_progress, phase, 8);
OFFSET(textinv_progress, step, 16);
OFFSET(textinv_progress, steps, 20);
OFFSET(textinv_progress, loss, 24);
OFFSET(textinv_progress, loss_average, 28);
OFFSET(textinv_progress, learning_rate, 32);
OFFSET(textinv_progress, gradient_norm, 36);
OFFSET(textinv_progress, seconds, 40);
OFFSET(textinv_progress, eta, 48);
SIZE(textinv_progress, 56);

OFFSET(textinv_session_params, struct_size, 0);
OFFSET(textinv_session_params, backend, 8);
OFFSET(textinv_session_params, device, 12);
OFFSET(textinv_session_params, dtype, 16);
OFFSET(textinv_session_params, threads, 20);
OFFSET(textinv_session_params, memory_budget, 24);
OFFSET(textinv_session_params, stream, 32);
OFFSET(textinv_session_params, log, 40);
OFFSET(textinv_session_params, log_user, 48);
OFFSET(textinv_session_params, backend_path, 56);
SIZE(textinv_session_params, 64);

OFFSET(textinv_device_info, struct_size, 0);
OFFSET(textinv_device_info, backend, 8);
OFFSET(textinv_device_info, device, 12);
OFFSET(textinv_device_info, usable, 16);
OFFSET(textinv_device_info, units, 20);
OFFSET(textinv_device_info, capability_major, 24);
OFFSET(textinv_device_info, capability_minor, 28);
OFFSET(textinv_device_info, memory, 32);
OFFSET(textinv_device_info, name, 40);
OFFSET(textinv_device_info, reason, 296);
SIZE(textinv_device_info, 808);

OFFSET(textinv_model_info, struct_size, 0);
OFFSET(textinv_model_info, path, 8);
OFFSET(textinv_model_info, fingerprint, 16);
OFFSET(textinv_model_info, prediction, 24);
OFFSET(textinv_model_info, sampler, 32);
OFFSET(textinv_model_info, num_encoders, 40);
OFFSET(textinv_model_info, embedding_dim, 44);
OFFSET(textinv_model_info, context_dim, 52);
OFFSET(textinv_model_info, pooled_dim, 56);
OFFSET(textinv_model_info, max_tokens, 60);
OFFSET(textinv_model_info, latent_channels, 64);
OFFSET(textinv_model_info, latent_scale, 68);
OFFSET(textinv_model_info, size, 72);
OFFSET(textinv_model_info, train_timesteps, 76);
OFFSET(textinv_model_info, parameters, 80);
OFFSET(textinv_model_info, needs_mask, 88);
OFFSET(textinv_model_info, reserved, 92);
SIZE(textinv_model_info, 96);

OFFSET(textinv_concept, struct_size, 0);
OFFSET(textinv_concept, placeholder, 8);
OFFSET(textinv_concept, initializer, 16);
OFFSET(textinv_concept, num_vectors, 24);
OFFSET(textinv_concept, property, 28);
OFFSET(textinv_concept, images_path, 32);
OFFSET(textinv_concept, pictures, 40);
OFFSET(textinv_concept, num_pictures, 48);
OFFSET(textinv_concept, captions, 56);
OFFSET(textinv_concept, prompts, 64);
OFFSET(textinv_concept, num_prompts, 72);
SIZE(textinv_concept, 80);

OFFSET(textinv_invert_params, struct_size, 0);
OFFSET(textinv_invert_params, concepts, 8);
OFFSET(textinv_invert_params, num_concepts, 16);
OFFSET(textinv_invert_params, steps, 24);
OFFSET(textinv_invert_params, batch, 28);
OFFSET(textinv_invert_params, accumulate, 32);
OFFSET(textinv_invert_params, learning_rate, 36);
OFFSET(textinv_invert_params, scale_lr, 40);
OFFSET(textinv_invert_params, lr_schedule, 44);
OFFSET(textinv_invert_params, lr_warmup, 48);
OFFSET(textinv_invert_params, beta1, 52);
OFFSET(textinv_invert_params, beta2, 56);
OFFSET(textinv_invert_params, epsilon, 60);
OFFSET(textinv_invert_params, weight_decay, 64);
OFFSET(textinv_invert_params, resolution, 68);
OFFSET(textinv_invert_params, center_crop, 72);
OFFSET(textinv_invert_params, crop_scale, 76);
OFFSET(textinv_invert_params, flip, 80);
OFFSET(textinv_invert_params, seed, 88);
OFFSET(textinv_invert_params, output_dir, 96);
OFFSET(textinv_invert_params, checkpoint_every, 104);
OFFSET(textinv_invert_params, checkpoint_keep, 108);
OFFSET(textinv_invert_params, resume, 112);
OFFSET(textinv_invert_params, preview_prompt, 120);
OFFSET(textinv_invert_params, preview_every, 128);
OFFSET(textinv_invert_params, preview_images, 132);
OFFSET(textinv_invert_params, preview_steps, 136);
OFFSET(textinv_invert_params, preview, 144);
OFFSET(textinv_invert_params, preview_user, 152);
OFFSET(textinv_invert_params, progress, 160);
OFFSET(textinv_invert_params, progress_user, 168);
OFFSET(textinv_invert_params, parallel, 176);
SIZE(textinv_invert_params, 184);

OFFSET(textinv_parallel, struct_size, 0);
OFFSET(textinv_parallel, rank, 8);
OFFSET(textinv_parallel, ranks, 12);
OFFSET(textinv_parallel, all_reduce, 16);
OFFSET(textinv_parallel, user, 24);
SIZE(textinv_parallel, 32);

OFFSET(textinv_invert_report, struct_size, 0);
OFFSET(textinv_invert_report, steps, 8);
OFFSET(textinv_invert_report, first_step, 12);
OFFSET(textinv_invert_report, skipped, 16);
OFFSET(textinv_invert_report, num_pictures, 20);
OFFSET(textinv_invert_report, loss, 24);
OFFSET(textinv_invert_report, loss_average, 28);
OFFSET(textinv_invert_report, seconds, 32);
OFFSET(textinv_invert_report, peak_bytes, 40);
SIZE(textinv_invert_report, 48);

OFFSET(textinv_loss_params, struct_size, 0);
OFFSET(textinv_loss_params, batch, 8);
OFFSET(textinv_loss_params, width, 12);
OFFSET(textinv_loss_params, height, 16);
OFFSET(textinv_loss_params, latents, 24);
OFFSET(textinv_loss_params, noise, 32);
OFFSET(textinv_loss_params, timesteps, 40);
OFFSET(textinv_loss_params, prompts, 48);
SIZE(textinv_loss_params, 56);

OFFSET(textinv_optimizer_params, struct_size, 0);
OFFSET(textinv_optimizer_params, learning_rate, 8);
OFFSET(textinv_optimizer_params, beta1, 12);
OFFSET(textinv_optimizer_params, beta2, 16);
OFFSET(textinv_optimizer_params, epsilon, 20);
OFFSET(textinv_optimizer_params, weight_decay, 24);
OFFSET(textinv_optimizer_params, reserved, 28);
SIZE(textinv_optimizer_params, 32);

OFFSET(textinv_generate_params, struct_size, 0);
OFFSET(textinv_generate_params, prompt, 8);
OFFSET(textinv_generate_params, negative_prompt, 16);
OFFSET(textinv_generate_params, images, 24);
OFFSET(textinv_generate_params, batch, 28);
OFFSET(textinv_generate_params, seed, 32);
OFFSET(textinv_generate_params, steps, 40);
OFFSET(textinv_generate_params, guidance_scale, 44);
OFFSET(textinv_generate_params, sampler, 48);
OFFSET(textinv_generate_params, width, 52);
OFFSET(textinv_generate_params, height, 56);
OFFSET(textinv_generate_params, rng, 60);
OFFSET(textinv_generate_params, init_image, 64);
OFFSET(textinv_generate_params, strength, 72);
OFFSET(textinv_generate_params, clip_skip, 76);
OFFSET(textinv_generate_params, progress, 80);
OFFSET(textinv_generate_params, progress_user, 88);
OFFSET(textinv_generate_params, guidance_rescale, 96);
OFFSET(textinv_generate_params, keep_pixels, 100);
OFFSET(textinv_generate_params, mask, 104);
OFFSET(textinv_generate_params, preview, 112);
OFFSET(textinv_generate_params, preview_user, 120);
OFFSET(textinv_generate_params, preview_every, 128);
OFFSET(textinv_generate_params, prompt_weights, 132);
SIZE(textinv_generate_params, 136);

OFFSET(textinv_predict_params, struct_size, 0);
OFFSET(textinv_predict_params, batch, 8);
OFFSET(textinv_predict_params, width, 12);
OFFSET(textinv_predict_params, height, 16);
OFFSET(textinv_predict_params, latents, 24);
OFFSET(textinv_predict_params, timestep, 32);
OFFSET(textinv_predict_params, context, 40);
OFFSET(textinv_predict_params, pooled, 48);
OFFSET(textinv_predict_params, size_ids, 56);
OFFSET(textinv_predict_params, mask, 64);
OFFSET(textinv_predict_params, masked, 72);
SIZE(textinv_predict_params, 80);

OFFSET(textinv_evaluate_params, struct_size, 0);
OFFSET(textinv_evaluate_params, pictures, 8);
OFFSET(textinv_evaluate_params, num_pictures, 16);
OFFSET(textinv_evaluate_params, references, 24);
OFFSET(textinv_evaluate_params, num_references, 32);
OFFSET(textinv_evaluate_params, prompts, 40);
OFFSET(textinv_evaluate_params, num_prompts, 48);
OFFSET(textinv_evaluate_params, placeholders, 56);
OFFSET(textinv_evaluate_params, num_placeholders, 64);
OFFSET(textinv_evaluate_params, progress, 72);
OFFSET(textinv_evaluate_params, progress_user, 80);
SIZE(textinv_evaluate_params, 88);

OFFSET(textinv_scores, struct_size, 0);
OFFSET(textinv_scores, num_pictures, 8);
OFFSET(textinv_scores, num_references, 12);
OFFSET(textinv_scores, image_similarity, 16);
OFFSET(textinv_scores, text_similarity, 20);
SIZE(textinv_scores, 24);

OFFSET(textinv_clip_info, struct_size, 0);
OFFSET(textinv_clip_info, path, 8);
OFFSET(textinv_clip_info, parameters, 16);
OFFSET(textinv_clip_info, dim, 24);
OFFSET(textinv_clip_info, size, 28);
OFFSET(textinv_clip_info, patch, 32);
OFFSET(textinv_clip_info, max_tokens, 36);
OFFSET(textinv_clip_info, vocabulary, 40);
OFFSET(textinv_clip_info, reserved, 44);
SIZE(textinv_clip_info, 48);

/* no padding at the end: an option added there would not change the size, and an older library
 * would ignore it in silence */
LAST(textinv_progress, eta);
LAST(textinv_session_params, backend_path);
LAST(textinv_device_info, reason);
LAST(textinv_model_info, reserved);
LAST(textinv_concept, num_prompts);
LAST(textinv_invert_params, parallel);
LAST(textinv_parallel, user);
LAST(textinv_invert_report, peak_bytes);
LAST(textinv_loss_params, prompts);
LAST(textinv_optimizer_params, reserved);
LAST(textinv_generate_params, prompt_weights);
LAST(textinv_predict_params, masked);
LAST(textinv_evaluate_params, progress_user);
LAST(textinv_scores, text_similarity);
LAST(textinv_clip_info, reserved);
#endif

/* ------------------------------------------------------------------ sized structs */

typedef textinv_status (*init_fn)(void *params, size_t size);

typedef struct sized {
  const char *name;
  init_fn init;
  size_t first; /* its size in release 0.1 */
  size_t size;  /* its size now */
} sized;

#define INIT(kind)                                                                                 \
  static textinv_status kind##_init(void *params, size_t size)                                     \
  {                                                                                                \
    return textinv_##kind##_init(params, size);                                                    \
  }
INIT(session_params)
INIT(model_info)
INIT(device_info)
INIT(concept)
INIT(invert_params)
INIT(invert_report)
INIT(loss_params)
INIT(optimizer_params)
INIT(generate_params)
INIT(predict_params)
INIT(evaluate_params)
INIT(scores)
INIT(parallel)
INIT(clip_info)

#define SIZED(kind, first)                                                                         \
  {                                                                                                \
#kind, kind##_init, first, sizeof(textinv_##kind)                                              \
  }
static const sized structs[] = {
  SIZED(session_params, 64), SIZED(concept, 80),          SIZED(invert_params, 176),
  SIZED(loss_params, 56),    SIZED(optimizer_params, 32), SIZED(generate_params, 96),
  SIZED(predict_params, 64), SIZED(model_info, 88),       SIZED(invert_report, 48),
  SIZED(device_info, 808),   SIZED(evaluate_params, 88),  SIZED(scores, 24),
  SIZED(parallel, 32),       SIZED(clip_info, 48),
};

enum { NUM_STRUCTS = sizeof(structs) / sizeof(*structs), ROOM = 1024, CANARY = 0xaa };

static size_t size_in(const void *params)
{
  size_t size;

  memcpy(&size, params, sizeof(size));
  return size;
}

/* a caller built with release 0.1: its struct is filled and nothing behind it is touched */
static void test_old_caller(void **state)
{
  (void)state;
  for (size_t i = 0; i < NUM_STRUCTS; i++) {
    unsigned char memory[ROOM];

    memset(memory, CANARY, sizeof(memory));
    assert_int_equal(structs[i].init(memory, structs[i].first), TEXTINV_OK);
    assert_int_equal(size_in(memory), structs[i].first);
    for (size_t k = structs[i].first; k < ROOM; k++)
      assert_int_equal(memory[k], CANARY);
  }
}

/* a caller built with a later release: what this library does not know is zeroed */
static void test_new_caller(void **state)
{
  (void)state;
  for (size_t i = 0; i < NUM_STRUCTS; i++) {
    unsigned char memory[ROOM];
    const size_t longer = structs[i].size + 24;

    memset(memory, CANARY, sizeof(memory));
    assert_int_equal(structs[i].init(memory, longer), TEXTINV_OK);
    assert_int_equal(size_in(memory), longer);
    for (size_t k = structs[i].size; k < longer; k++)
      assert_int_equal(memory[k], 0);
    assert_int_equal(memory[longer], CANARY);
  }
}

/* defaults are the same for every size, and a struct shorter than the first release's is refused */
static void test_bounds(void **state)
{
  (void)state;
  for (size_t i = 0; i < NUM_STRUCTS; i++) {
    unsigned char shorter[ROOM], now[ROOM];

    assert_int_equal(structs[i].init(shorter, structs[i].first), TEXTINV_OK);
    assert_int_equal(structs[i].init(now, structs[i].size), TEXTINV_OK);
    assert_memory_equal(shorter + sizeof(size_t), now + sizeof(size_t),
                        structs[i].first - sizeof(size_t));
    assert_int_equal(structs[i].init(now, structs[i].first - 1), TEXTINV_E_INVALID);
    assert_non_null(strstr(textinv_session_error(NULL), "pass the sizeof of the struct"));
    assert_int_equal(structs[i].init(now, 0), TEXTINV_E_INVALID);
    assert_int_equal(structs[i].init(now, 4097), TEXTINV_E_INVALID);
    assert_int_equal(structs[i].init(NULL, structs[i].size), TEXTINV_E_INVALID);
    assert_string_equal(textinv_session_error(NULL), "the struct is NULL");
  }
}

/* an option of a later release that is left at zero is not in the way; one that is set is refused
 */
static void test_unknown_option(void **state)
{
  struct {
    textinv_session_params known;
    uint64_t added;
  } later;
  textinv_session *session;

  (void)state;
  assert_int_equal(textinv_session_params_init(&later.known, sizeof(later)), TEXTINV_OK);
  assert_int_equal(textinv_session_new(&session, &later.known), TEXTINV_OK);
  textinv_session_free(session);
  later.added = 1;
  assert_int_equal(textinv_session_new(&session, &later.known), TEXTINV_E_VERSION);
  assert_null(session);
  assert_non_null(strstr(textinv_session_error(NULL), "newer"));
}

/* options that were never initialised are refused, not read */
static void test_not_initialised(void **state)
{
  textinv_session_params params;
  textinv_session *session = (textinv_session *)&params;

  (void)state;
  memset(&params, 0, sizeof(params));
  assert_int_equal(textinv_session_new(&session, &params), TEXTINV_E_INVALID);
  assert_null(session);
}

static void test_version(void **state)
{
  (void)state;
  assert_int_equal(textinv_version(), TEXTINV_VERSION_MAJOR << 16 | TEXTINV_VERSION_MINOR << 8 |
                                          TEXTINV_VERSION_PATCH);
}

static void test_status_names(void **state)
{
  (void)state;
#define NAMED(code) assert_string_equal(textinv_status_name(code), #code)
  NAMED(TEXTINV_OK);
  NAMED(TEXTINV_E_INVALID);
  NAMED(TEXTINV_E_NOMEM);
  NAMED(TEXTINV_E_CANCELLED);
  NAMED(TEXTINV_E_BACKEND);
  NAMED(TEXTINV_E_VERSION);
  NAMED(TEXTINV_E_IO);
  NAMED(TEXTINV_E_FORMAT);
  NAMED(TEXTINV_E_LIMIT);
  NAMED(TEXTINV_E_UNSUPPORTED);
  NAMED(TEXTINV_E_SHAPE);
  NAMED(TEXTINV_E_NONFINITE);
  NAMED(TEXTINV_E_CONFLICT);
  NAMED(TEXTINV_E_NOT_FOUND);
  assert_string_equal(textinv_status_name(TEXTINV_E_NOT_FOUND - 1), "unknown status");
  assert_string_equal(textinv_status_name(1), "unknown status");
  assert_string_equal(textinv_status_name(-1000), "unknown status");
}

/* as the header tells them; a caller that sets nothing gets what it got in release 0.1 */
static void test_defaults(void **state)
{
  textinv_generate_params g;
  textinv_invert_params v;
  textinv_concept c;
  textinv_optimizer_params o;

  (void)state;
  assert_int_equal(textinv_generate_params_init(&g, sizeof(g)), TEXTINV_OK);
  assert_int_equal(g.images, 1);
  assert_int_equal(g.steps, 30);
  assert_true(g.guidance_scale == 7.5f && g.strength == 0.8f && g.guidance_rescale == 0.0f);

  assert_int_equal(textinv_invert_params_init(&v, sizeof(v)), TEXTINV_OK);
  assert_int_equal(v.steps, 500);
  assert_int_equal(v.batch, 4);
  assert_int_equal(v.accumulate, 1);
  assert_int_equal(v.center_crop, 1);
  assert_int_equal(v.checkpoint_keep, 2);
  assert_int_equal(v.preview_images, 1);
  assert_int_equal(v.preview_steps, 25);
  assert_true(v.learning_rate == 5e-3f && v.beta1 == 0.9f && v.beta2 == 0.999f &&
              v.epsilon == 1e-8f && v.weight_decay == 0.0f);
  assert_true(v.crop_scale == 1.0f && v.flip == 0.5f);

  assert_int_equal(textinv_concept_init(&c, sizeof(c)), TEXTINV_OK);
  assert_int_equal(c.num_vectors, 1);
  assert_int_equal(c.property, TEXTINV_PROPERTY_OBJECT);

  assert_int_equal(textinv_optimizer_params_init(&o, sizeof(o)), TEXTINV_OK);
  assert_true(o.learning_rate == 5e-3f && o.beta1 == 0.9f && o.beta2 == 0.999f &&
              o.epsilon == 1e-8f && o.weight_decay == 0.0f);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_old_caller),      cmocka_unit_test(test_new_caller),
    cmocka_unit_test(test_bounds),          cmocka_unit_test(test_unknown_option),
    cmocka_unit_test(test_not_initialised), cmocka_unit_test(test_version),
    cmocka_unit_test(test_status_names),    cmocka_unit_test(test_defaults),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
