/* The handles, and what the files of this folder share. */
#ifndef TI_API_H
#define TI_API_H

#include <stdatomic.h>

#include "bert_text.h"
#include "clip_image.h"
#include "clip_text.h"
#include "clip_vision.h"
#include "exec.h"
#include "image.h"
#include "prompt.h"
#include "random.h"
#include "sampler.h"
#include "safetensors.h"
#include "schedule.h"
#include "textinv/textinv.h"
#include "unet.h"
#include "vae.h"

enum {
  TI_PATH_SIZE = 4352, /* more than the system opens */
  TI_MAX_ENCODERS = 2,
  TI_MAX_NEW_VECTORS = 32, /* of a word that is added to be learnt */
  TI_MAX_WORDS = 4096,
  TI_MAX_BATCH = 1024,
  TI_MAX_SCORED = 1 << 20 /* pictures of textinv_evaluate() */
};

/* ------------------------------------------------------------------ arguments */

/* what is the argument's name */
textinv_status ti_check_null(ti_error *error, const void *p, const char *what);
/* a yes or no: 1 or 0 */
textinv_status ti_check_flag(ti_error *error, const char *what, int32_t flag);
/* a buffer that must have exactly so many values */
textinv_status ti_check_count(ti_error *error, const char *what, size_t met, size_t needed);
/* whether what was written fits; capacity 0 only asked for its size */
textinv_status ti_check_capacity(ti_error *error, size_t capacity, size_t size);

textinv_status ti_check_backend(ti_error *error, textinv_backend backend);

/* ------------------------------------------------------------------ sized structs */

/* a struct_size that some release may have, past or to come; min is that of the first one */
textinv_status ti_struct_check(ti_error *error, const void *p, size_t min, const char *what);
/* copy the caller's struct, checked, over defaults of ours; bytes that we do not know must be zero
 */
textinv_status ti_params_read(ti_error *error, void *dst, size_t size, size_t min, const void *src,
                              const char *what);
/* a member that a later release may use */
textinv_status ti_check_reserved(ti_error *error, uint32_t reserved, const char *what);
/* copy defaults into the caller's struct */
textinv_status ti_params_init(void *params, size_t size, const void *defaults, size_t full,
                              size_t min);
/* copy our struct into the caller's, which was checked before any work */
void ti_struct_write(void *dst, const void *src, size_t size);

/* ------------------------------------------------------------------ model */

typedef struct ti_text_encoder {
  ti_text_config config;
  ti_clip_text_config clip;
  ti_bert_text_config bert; /* of a latent diffusion model, instead */
  ti_weights weights;
  textinv_tokenizer *tokenizer;
} ti_text_encoder;

struct textinv_tokenizer {
  ti_tokenizer *t;
};

struct textinv_model {
  uint64_t id; /* never used twice in a process */
  ti_model_dir dir;
  int ldm; /* latent diffusion: LDMBertModel for CLIP, and folders of other names */
  int num_encoders;
  ti_text_encoder encoders[TI_MAX_ENCODERS];
  ti_unet_config unet;
  ti_weights unet_weights;
  ti_vae_config vae;
  ti_weights vae_weights;
  ti_schedule schedule;
  int tokens; /* positions of a prompt */
  int context_dim, pooled_dim;
  int size;             /* pixels */
  int zero_no_negative; /* SDXL: no negative prompt is zeros */
  char fingerprint[17];
  ti_clip_vision_config vision; /* of a textinv_clip */
};

/* the two towers as a model without UNet and autoencoder: encoders[0] is the text's, and its
 * weights are those of both */
struct textinv_clip {
  textinv_model model;
  ti_clip_image image;
};

uint64_t ti_model_new_id(void);
/* SDXL takes the state before the last layer, without the final norm */
int ti_model_is_xl(const textinv_model *model);
/* made for inpainting: behind the latents the UNet takes a mask and the masked picture's latents */
int ti_model_needs_mask(const textinv_model *model);
uint64_t ti_model_parameters(const textinv_model *model);
uint64_t ti_model_bytes(const textinv_model *model); /* of its weights in the files */

/* ------------------------------------------------------------------ session and plans */

typedef enum {
  TI_PLAN_TEXT,
  TI_PLAN_UNET,
  TI_PLAN_DECODE,
  TI_PLAN_ENCODE,
  TI_PLAN_TRAIN,
  TI_PLAN_CLIP_TEXT,
  TI_PLAN_CLIP_IMAGE
} ti_plan_kind;

typedef struct ti_plan_key {
  uint64_t model;
  ti_plan_kind kind;
  int n, h, w;               /* samples; of the latents */
  int rows[TI_MAX_ENCODERS]; /* new rows of each encoder */
  int skip;                  /* text: layers left out */
  int encoder;               /* text: which */
  int learn;                 /* train: 1 = with the backward pass */
  int guided;                /* UNet: n / 2 latents, each with two contexts */
} ti_plan_key;

/* a network ready to run, and the values that a call writes and reads */
typedef struct ti_net_plan {
  ti_plan plan;
  ti_plan_key key;
  uint64_t used; /* for the least recently used */
  ti_val ids[TI_MAX_ENCODERS], eos, rows[TI_MAX_ENCODERS], drows[TI_MAX_ENCODERS];
  ti_val hidden, pooled;
  ti_val latents, timesteps, context, size_ids, target, out;
  ti_val patches;
} ti_net_plan;

enum { TI_MAX_PLANS = 8 };

struct textinv_session {
  ti_error error;
  atomic_int cancel;
  textinv_dtype dtype;
  ti_team *team; /* of the CPU; NULL with a device */
  uint64_t budget;
  textinv_log_fn log;
  void *log_user;
  ti_kernels kernels;
  ti_device *device; /* NULL = the CPU */
  int joins;         /* of the tapes of this session */
  ti_arena arena;
  uint64_t peak_bytes, clock;
  ti_net_plan *plans[TI_MAX_PLANS];
  const ti_net_plan *last; /* whose values the arena still holds, or NULL */
  uint64_t warned_model;   /* of the last ti_warn_of_sampler() that said something; 0 = none */
  textinv_sampler warned_sampler;
};

/* clear and return the session's error, the thread's when s is NULL; every call begins with it */
ti_error *ti_begin(textinv_session *s);
/* after TEXTINV_E_CANCELLED: clear the flag; after success: clear the error */
textinv_status ti_session_end(textinv_session *s, textinv_status status);
void ti_log(const textinv_session *s, textinv_log_level level, const char *fmt, ...);
/* once: what TEXTINV_SAMPLER_* kind draws is not all that the model's scheduler config asks for */
void ti_warn_of_sampler(textinv_session *s, const textinv_model *model, textinv_sampler kind);
double ti_seconds(void); /* monotonic */
/* for messages about values of dtype that are not finite: ", or use .." or "" */
const char *ti_wider_types(ti_dtype dtype);

/* the plan of key, made and prepared when the session does not have it; the arena is large enough
 * for it */
textinv_status ti_plan_get(ti_net_plan **out, textinv_session *s, const textinv_model *model,
                           const ti_plan_key *key);
/*
 * The tape of a plan, laid out but not prepared, whatever *p was; ti_plan_free(&p->plan) also after
 * a failure. level: how much is computed again, 0 = nothing
 */
textinv_status ti_plan_record(ti_net_plan *p, textinv_session *s, const textinv_model *model,
                              const ti_plan_key *key, int level);
/* bytes of activations that a plan of key would take, without making it */
textinv_status ti_plan_measure(size_t *bytes, textinv_session *s, const textinv_model *model,
                               const ti_plan_key *key);
/* record a network of a model; a message that names a tensor alone gets the folder in front, with
 * that of the component, which may be "" */
textinv_status ti_model_check_network(const textinv_model *m, textinv_session *s,
                                      const char *component, const ti_plan_key *key);
/* TEXTINV_E_NOMEM when there is no memory to run the plan, before anything is prepared for it */
textinv_status ti_plan_reserve(textinv_session *s, const textinv_model *model,
                               const ti_plan_key *key);
/* TEXTINV_E_NOMEM when a training plan exceeds the memory budget, whatever is computed again */
textinv_status ti_plan_check(textinv_session *s, const textinv_model *model,
                             const ti_plan_key *key);
/* again: as in ti_plan_run(); only for the plan that is s->last */
textinv_status ti_plan_execute(textinv_session *s, ti_net_plan *plan, int again);
void *ti_plan_at(const textinv_session *s, const ti_net_plan *plan, ti_val v);
/* bytes that activations may take; SIZE_MAX without a budget */
size_t ti_activation_budget(const textinv_session *s, const textinv_model *model);
/* bytes of the device that activations may take now, those that they take included */
textinv_status ti_device_room(size_t *room, textinv_session *s);
/* all plans, and what the device holds for them */
void ti_session_drop_plans(textinv_session *s);

/* one sample, planes [c, hw] of torch, to and from the tape's [hw, all], of which they are the
 * first c channels */
void ti_to_nhwc(float *nhwc, int all, const float *chw, int c, size_t hw);
void ti_from_nhwc(float *chw, const float *nhwc, int c, size_t hw);

/* ------------------------------------------------------------------ embeddings */

typedef struct ti_word {
  char *name;
  int vectors;
  int dim[TI_MAX_ENCODERS]; /* 0 = none */
  float *rows[TI_MAX_ENCODERS];
  long long step; /* steps of the run that learnt it; 0 = not known */
  int described;  /* as it is now it comes from the file that the set's metadata are of */
} ti_word;

/* how many values a word has: in one encoder, and in both */
static inline size_t ti_word_values(const ti_word *w, int encoder)
{
  return (size_t)w->vectors * (size_t)w->dim[encoder];
}

static inline size_t ti_word_all_values(const ti_word *w)
{
  return (size_t)w->vectors * (size_t)(w->dim[0] + w->dim[1]);
}

struct textinv_embeddings {
  ti_word *words;
  size_t count, room;
  ti_key_value *metadata; /* of the file that was loaded last */
  size_t num_metadata;
  int busy; /* a call that trains them holds pointers into them */
};

/* that embeddings are there and may be changed */
textinv_status ti_check_changeable(ti_error *error, const textinv_embeddings *e);

/* 1 to 255 bytes of UTF-8, no white space, no control character */
textinv_status ti_check_word(ti_error *error, const char *word);
/* the same of a word that is to be learnt or set, and that every format can hold */
textinv_status ti_check_new_word(ti_error *error, const char *word);
/* that no vocabulary has it, as it is written or in the form in which prompts are searched for it
 */
textinv_status ti_check_vocabulary(ti_error *error, const textinv_model *model, const char *word);
ti_word *ti_embeddings_find(const textinv_embeddings *e, const char *name);
/* of a set that is not used again */
void ti_embeddings_free_words(textinv_embeddings *e);
/* a word of another set, with all that is known of it; e does not have that name */
textinv_status ti_embeddings_copy_word(textinv_embeddings *e, ti_error *error, const ti_word *w,
                                       const char *name);
/* words of from take the place of those of the same name in e, or are added; all or none */
textinv_status ti_embeddings_replace(textinv_embeddings *e, ti_error *error,
                                     const textinv_embeddings *from);
/* vectors of a word in one encoder, checked and copied; the word is added when it is new */
textinv_status ti_embeddings_set_rows(textinv_embeddings *e, ti_error *error, const char *word,
                                      int encoder, int vectors, int dim, const float *rows);

/* the new words as one encoder of a model sees them */
typedef struct ti_row_table {
  ti_prompt_word *words; /* of the prompt's parser */
  size_t num_words;
  float *rows; /* [num_rows, dim] */
  int num_rows, dim;
  int vocab; /* ids below it are the table's */
} ti_row_table;

textinv_status ti_row_table_init(ti_row_table *out, ti_error *error, const textinv_model *model,
                                 int encoder, const textinv_embeddings *embeddings);
void ti_row_table_free(ti_row_table *t); /* safe on a zeroed struct */
/* copy the rows again after they changed */
void ti_row_table_update(ti_row_table *t, const textinv_embeddings *embeddings, int encoder);
/* ids [tokens], weights [tokens] or NULL, which takes brackets for text, and the position of the
 * end token; a word without vectors for this model fails */
textinv_status ti_row_table_encode(const ti_row_table *t, ti_error *error,
                                   const textinv_model *model, int encoder,
                                   const textinv_embeddings *embeddings, const char *text,
                                   int32_t *ids, float *weights, int32_t *eos, size_t *truncated);

/* ------------------------------------------------------------------ images */

struct textinv_images {
  int count, width, height;
  uint8_t *pixels; /* [count, height, width, 3] */
  uint64_t *seeds; /* [count] */
  char **texts;    /* [count], entries may be NULL */
};

textinv_status ti_images_new(textinv_images **out, ti_error *error, int count, int width,
                             int height);
/* what picture i, whose seed is set, was drawn with */
textinv_status ti_parameters_text(textinv_images *images, uint32_t i, ti_error *error,
                                  const textinv_model *model, const textinv_generate_params *p);

/* moments of one picture [c, h, w], scaled; pixels [height, width, 3]; mask [height, width]: what
 * is white in it, from 128 on, is not seen; or NULL; name is for messages */
textinv_status ti_encode_pixels(textinv_session *s, const textinv_model *model, const char *name,
                                const uint8_t *pixels, const uint8_t *mask, int width, int height,
                                float *mean, float *deviation);
/* latents [c, h, w] to [3, height, width]; number is that of the picture, for messages */
textinv_status ti_decode_one(textinv_session *s, const textinv_model *model, uint32_t number,
                             const float *latents, int h, int w, float *values);
/* of finite values */
void ti_values_to_pixels(uint8_t *pixels, const float *values, int width, int height);

/* context [tokens, context_dim] and pooled [pooled_dim] (may be NULL) of a prompt, in which
 * brackets weigh or are text */
textinv_status ti_encode_text(textinv_session *s, const textinv_model *model,
                              const textinv_embeddings *embeddings, const char *prompt,
                              int weighted, int clip_skip, float *context, float *pooled,
                              size_t *truncated);

textinv_status ti_check_clip_skip(ti_error *error, const textinv_model *model, uint32_t clip_skip);
/* sides of latents: 0 becomes the model's own; to be trained, multiples of 2^(blocks - 1) */
textinv_status ti_check_latents(ti_error *error, const textinv_model *model, uint32_t batch,
                                uint32_t multiple, uint32_t *width, uint32_t *height);

/* embeddings [projection] of unit length, of picture i and of a text; name is for messages */
textinv_status ti_clip_encode_picture(textinv_session *s, const textinv_clip *clip,
                                      const char *name, const textinv_images *images, uint32_t i,
                                      float *out);
textinv_status ti_clip_encode_text(textinv_session *s, const textinv_clip *clip, const char *text,
                                   float *out, size_t *truncated);

/* one evaluation of the UNet; arrays as in textinv_predict_params */
typedef struct ti_evaluation {
  int batch, h, w; /* samples that come out; of the latents */
  int guided;      /* batch / 2 latents, each with the contexts i and i + batch / 2 */
  float timestep;
  const float *latents, *context, *pooled, *size_ids;
  const float *mask, *masked; /* as many as latents, for a model that needs a mask */
  int same_context; /* context, pooled and size_ids are those of the evaluation before */
} ti_evaluation;

textinv_status ti_predict(textinv_session *s, const textinv_model *model, const ti_evaluation *e,
                          float *out);

/* ------------------------------------------------------------------ inversion */

typedef struct ti_adamw {
  float learning_rate, beta1, beta2, epsilon, weight_decay;
} ti_adamw;

/* what a step's number makes of them: rate / (1 - beta1^step), sqrt(1 - beta2^step), and what decay
 * leaves of a row */
typedef struct ti_adamw_scale {
  float size, root, decay;
} ti_adamw_scale;

ti_adamw_scale ti_adamw_scale_of(const ti_adamw *a, uint64_t step);
/* step counts from 1; as torch.optim.AdamW with its defaults */
void ti_adamw_step(const ti_adamw *a, uint64_t step, float *rows, float *m, float *v,
                   const float *gradient, size_t count);

/* zero_rate: a learning rate of 0 is allowed, as a schedule may have it for a step */
textinv_status ti_check_adamw(ti_error *error, const ti_adamw *a, int zero_rate);

struct textinv_optimizer {
  ti_adamw adamw;
  uint64_t steps;
  size_t count;    /* values of all words */
  uint64_t layout; /* a hash of names and sizes of the words, in their order */
  float *m, *v;
};

/* samples of one pass, made by the caller */
typedef struct ti_samples {
  int n, h, w;                         /* of the latents */
  const int32_t *ids[TI_MAX_ENCODERS]; /* [n, tokens] */
  const int32_t *eos;                  /* [n], of the last encoder */
  const float *size_ids;               /* SDXL: [n, 6] */
  const float *noisy, *target;         /* [n, c, h, w] */
  const float *timesteps;              /* [n] */
} ti_samples;

/* that the model is one to learn with */
textinv_status ti_check_learns(ti_error *error, const textinv_model *model);

ti_plan_key ti_train_key(const textinv_model *model, const ti_row_table *tables, int n, int h,
                         int w, int learn);
/* the plan of a pass of n samples of h x w; learn: with the backward pass */
textinv_status ti_train_plan(ti_net_plan **out, textinv_session *s, const textinv_model *model,
                             const ti_row_table *tables, int n, int h, int w, int learn);
/* loss and, where gradient is not NULL, d loss / d rows [num_rows, dim] of each encoder */
textinv_status ti_train_pass(textinv_session *s, const textinv_model *model,
                             const ti_row_table *tables, const ti_samples *samples, float *loss,
                             float *const *gradient);
/* rows of each encoder to the layout of textinv_loss(): word by word, encoder by encoder */
void ti_gradient_of_rows(float *out, const textinv_embeddings *embeddings,
                         const ti_row_table *tables, float *const *rows);

/* one checkpoint: words with their moments, and texts that must agree when it is resumed */
typedef struct ti_checkpoint_info {
  uint64_t step;
  char settings[512]; /* of the run; "" for textinv_optimizer_save() */
  float loss_average;
} ti_checkpoint_info;

/* m and v are laid out as a gradient of embeddings */
textinv_status ti_checkpoint_write(ti_error *error, const char *path,
                                   const textinv_embeddings *embeddings, const float *m,
                                   const float *v, const ti_adamw *adamw,
                                   const ti_checkpoint_info *info);
/* embeddings: an empty set, filled; m, v: ti_free() */
textinv_status ti_checkpoint_read(ti_error *error, const char *path, textinv_embeddings *embeddings,
                                  float **m, float **v, ti_adamw *adamw, ti_checkpoint_info *info);
/* whether it can be read whole: a file, or its bytes where they are not NULL */
textinv_status ti_checkpoint_check(ti_error *error, const char *path, const void *bytes,
                                   size_t size);
/* the same of a file that is open; path is for messages */
textinv_status ti_checkpoint_decode(ti_error *error, const char *path, const ti_safetensors *file,
                                    textinv_embeddings *embeddings, float **m, float **v,
                                    ti_adamw *adamw, ti_checkpoint_info *info);

#endif /* TI_API_H */
