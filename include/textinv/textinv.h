/*
 * libtextinv - textual inversion for frozen text-to-image diffusion models.
 *
 * From three to five pictures of a thing, textinv_invert() finds embedding vectors for a new
 * word; textinv_generate() draws prompts in which that word stands like any other. The model is
 * never changed.
 *
 * Handles
 *   textinv_session     device, threads, memory, log, cancel flag, last error. One a running call.
 *   textinv_model       frozen weights and schedule of one pipeline. Constant once open.
 *   textinv_tokenizer   text to ids and back. Borrowed from the model, or opened alone. Constant.
 *   textinv_embeddings  the new words and their vectors.
 *   textinv_optimizer   AdamW state of the rows of one textinv_embeddings.
 *   textinv_images      8-bit RGB pictures returned by a call.
 *   textinv_clip        frozen weights of a CLIP model, which pictures are scored with. Constant.
 *
 * Threads: a textinv_model, a textinv_tokenizer and a textinv_clip may be used by any number of
 * threads at once.
 * Every other handle belongs to one thread at a time; textinv_session_cancel() is the only call
 * allowed on a session that is in use by another thread. Callbacks run on the thread that made the
 * call. In a preview callback the session may serve calls on pictures, textinv_images_*; otherwise
 * no callback may use it but for textinv_session_cancel().
 *
 * A session on the CPU has threads of its own, which take no signals and sleep between its calls. A
 * child of fork() may go on with a session: it gets threads of its own there. fork() while another
 * thread is in a call is not supported, nor is pthread_cancel() of a thread that is in one; for that
 * there is textinv_session_cancel(). The host's settings of OpenMP and of floating point (rounding,
 * flushed denormals, traps) neither matter to what a network computes nor are changed by it.
 *
 * Errors: a call returns TEXTINV_OK or a negative TEXTINV_E_* code. When a call that takes a
 * session fails, textinv_session_error() gives one line that names the file, tensor, key or
 * argument, the value met and the value expected. On failure an out handle is set to NULL. No call
 * ends the process, prints, installs a signal handler, or changes the locale or the current folder.
 *
 * Structs that carry options start with struct_size. Fill them with their _init function, then
 * set what differs; an option that is newer than the library fails with TEXTINV_E_VERSION. A struct
 * that a call fills is made ready by its _init function, too.
 *
 * Arrays are row-major; [n, c, h, w] is the order of PyTorch. Text is UTF-8.
 */
#ifndef TEXTINV_TEXTINV_H
#define TEXTINV_TEXTINV_H

#include <stddef.h>
#include <stdint.h>

#include "version.h"

#ifndef TEXTINV_API
#if defined(_WIN32) && defined(TEXTINV_BUILD)
#define TEXTINV_API __declspec(dllexport)
#elif defined(_WIN32)
#define TEXTINV_API __declspec(dllimport)
#elif defined(__GNUC__)
#define TEXTINV_API __attribute__((visibility("default")))
#else
#define TEXTINV_API
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct textinv_session textinv_session;
typedef struct textinv_model textinv_model;
typedef struct textinv_tokenizer textinv_tokenizer;
typedef struct textinv_embeddings textinv_embeddings;
typedef struct textinv_optimizer textinv_optimizer;
typedef struct textinv_images textinv_images;
typedef struct textinv_clip textinv_clip;

/* ------------------------------------------------------------------ values */

/* Result of a call: TEXTINV_OK or a negative TEXTINV_E_* code. */
typedef int32_t textinv_status;
enum {
  TEXTINV_OK            = 0,
  TEXTINV_E_INVALID     = -1,  /* an argument is out of its documented range */
  TEXTINV_E_NOMEM       = -2,  /* memory, or the session's memory budget, does not suffice */
  TEXTINV_E_CANCELLED   = -3,  /* a callback or textinv_session_cancel() asked to stop */
  TEXTINV_E_BACKEND     = -4,  /* the backend is absent or the device failed */
  TEXTINV_E_VERSION     = -5,  /* an option or a file is newer than this library */
  TEXTINV_E_IO          = -6,  /* a file could not be opened, read or written */
  TEXTINV_E_FORMAT      = -7,  /* a file is not what it claims to be */
  TEXTINV_E_LIMIT       = -8,  /* a size is beyond what the library accepts */
  TEXTINV_E_UNSUPPORTED = -9,  /* well formed, but of a kind the library does not know */
  TEXTINV_E_SHAPE       = -10, /* a tensor, an embedding or a buffer has another size than needed */
  TEXTINV_E_NONFINITE   = -11, /* a value is NaN or infinite */
  TEXTINV_E_CONFLICT    = -12, /* a name is taken, or two things contradict each other */
  TEXTINV_E_NOT_FOUND   = -13  /* a word or a file is not there */
};

typedef int32_t textinv_backend;
enum {
  TEXTINV_BACKEND_CPU  = 0,
  TEXTINV_BACKEND_CUDA = 1
};

/*
 * Storage type of weights and activations; sums and the learnt rows are always float.
 *
 * F16 has three bits more than BF16, but ends at 65504. For it the loss of training is scaled, so
 * that small gradients last, by a power of two that follows from batch and size; what calls return
 * and report is not scaled. A step whose gradient becomes infinite all the same is skipped, as with
 * PyTorch's GradScaler, but the scale stays: when that goes on, textinv_invert() stops with
 * TEXTINV_E_NONFINITE, and BF16 or F32 will do. SDXL's autoencoder overflows in F16; as in
 * diffusers it runs in F32 then, which takes time and memory, unless its config has "force_upcast":
 * false. A picture that another one makes infinite is refused with TEXTINV_E_NONFINITE.
 */
typedef int32_t textinv_dtype;
enum {
  TEXTINV_F32  = 0,
  TEXTINV_F16  = 1, /* CUDA only */
  TEXTINV_BF16 = 2
};

typedef int32_t textinv_log_level;
enum {
  TEXTINV_LOG_ERROR   = 0,
  TEXTINV_LOG_WARNING = 1,
  TEXTINV_LOG_INFO    = 2,
  TEXTINV_LOG_DEBUG   = 3
};

/* What the pictures of a word have in common; chooses the prompt templates. */
typedef int32_t textinv_property;
enum {
  TEXTINV_PROPERTY_OBJECT = 0,
  TEXTINV_PROPERTY_STYLE  = 1
};

/*
 * Learning rate of step t = 0..steps - 1: t / warmup of the full rate during the warm-up, so that
 * its first step leaves the rows as they are; then, with x = (t - warmup) / (steps - warmup), which
 * stays below 1, as each schedule says. So computes diffusers' get_scheduler() what it calls
 * "constant_with_warmup", "linear" and "cosine"; its "constant" ignores a warm-up.
 */
typedef int32_t textinv_lr_schedule;
enum {
  TEXTINV_LR_CONSTANT = 0, /* the full rate */
  TEXTINV_LR_LINEAR   = 1, /* 1 - x of it */
  TEXTINV_LR_COSINE   = 2  /* (1 + cos(pi x)) / 2 of it */
};

/*
 * Sampler of textinv_generate(). DEFAULT is the class that the model's model_index.json names, or,
 * where it names none, its scheduler_config.json. That is one of these, or DDPMScheduler (Ho et al.
 * 2020), which no other value asks for, or a class that this library does not have, where the
 * nearest of these stands in: EULER_A for KDPM2AncestralDiscreteScheduler, DPMSolverSDEScheduler,
 * LCMScheduler and TCDScheduler, DPMPP_2M (or DPMPP_2M_KARRAS where the config says so) for any
 * other, such as DEISMultistepScheduler. An option of the config that a sampler does not have
 * (solver_order 3, thresholding, algorithm_type "sde-dpmsolver++", ...) is left out. The log has a
 * warning of either, once for a model and sampler.
 */
typedef int32_t textinv_sampler;
enum {
  TEXTINV_SAMPLER_DEFAULT         = 0,
  TEXTINV_SAMPLER_DDIM            = 1, /* Song et al. 2020, eta 0 */
  TEXTINV_SAMPLER_PNDM            = 2, /* Liu et al. 2022 */
  TEXTINV_SAMPLER_EULER           = 3, /* Karras et al. 2022, algorithm 2 without churn */
  TEXTINV_SAMPLER_EULER_A         = 4, /* with ancestral noise */
  TEXTINV_SAMPLER_DPMPP_2M        = 5, /* Lu et al. 2022, second order, multistep */
  TEXTINV_SAMPLER_DPMPP_2M_KARRAS = 6, /* on the sigmas of Karras et al. 2022 */
  TEXTINV_SAMPLER_UNIPC           = 7  /* Zhao et al. 2023, second order, multistep */
};

/* Source of the noise of textinv_generate(). */
typedef int32_t textinv_rng;
enum {
  TEXTINV_RNG_TORCH_CPU        = 0, /* the bits of torch.randn on a CPU generator (x86 with AVX2) */
  TEXTINV_RNG_NATIVE           = 1, /* counter based: a value follows from seed, draw and its
                                       number in [c, h, w] alone */
  TEXTINV_RNG_TORCH_CPU_SCALAR = 2  /* the bits of torch.randn where AVX2 is not used: on ARM */
};

/*
 * Format of an embedding file: one word a file. DIFFUSERS may hold several for this library alone;
 * diffusers and AUTOMATIC1111 refuse such a file, and others take its first word.
 */
typedef int32_t textinv_format;
enum {
  TEXTINV_FORMAT_DIFFUSERS = 0, /* safetensors {"<word>": [vectors, width]}, one encoder a file */
  TEXTINV_FORMAT_A1111     = 1, /* .pt with string_to_param, one word of one encoder */
  TEXTINV_FORMAT_KOHYA     = 2, /* safetensors {"emb_params"}, one word of one encoder */
  TEXTINV_FORMAT_SDXL      = 3, /* safetensors {"clip_l", "clip_g"}, one word of two encoders */
  TEXTINV_FORMAT_AUTO      = 4  /* what the word needs: SDXL for two encoders, else DIFFUSERS */
};

/* What textinv_file_kind() recognises. */
typedef int32_t textinv_kind;
enum {
  TEXTINV_KIND_UNKNOWN    = 0,
  TEXTINV_KIND_MODEL      = 1, /* a diffusers folder, or a single file with a UNet */
  TEXTINV_KIND_EMBEDDING  = 2,
  TEXTINV_KIND_CHECKPOINT = 3, /* a checkpoint of textinv_invert() */
  TEXTINV_KIND_IMAGE      = 4,
  TEXTINV_KIND_CLIP       = 5  /* a CLIPModel's folder */
};

/**
 * Version of the library in use.
 *
 * @return (MAJOR << 16) | (MINOR << 8) | PATCH, to compare with TEXTINV_VERSION_*.
 */
TEXTINV_API uint32_t textinv_version(void);

/**
 * Name of a status code, such as "TEXTINV_E_SHAPE".
 *
 * @return a constant string; "unknown status" for any other number.
 */
TEXTINV_API const char *textinv_status_name(textinv_status status);

/* ------------------------------------------------------------------ session */

/* A finished line of the log, without a newline; valid only during the callback. */
typedef void (*textinv_log_fn)(void *user, textinv_log_level level, const char *line);

/* State of a running call; valid only during the callback. */
typedef struct textinv_progress {
  size_t      struct_size;
  const char *phase;         /* "encode", "train", "sample" or "evaluate" */
  uint32_t    step;          /* steps done in this phase */
  uint32_t    steps;         /* steps of this phase */
  float       loss;          /* train: loss of this step; otherwise 0 */
  float       loss_average;  /* train: exponential average of the loss, window about 50 steps */
  float       learning_rate; /* train: rate of this step; otherwise 0 */
  float       gradient_norm; /* train: norm of the gradient of this step; otherwise 0 */
  double      seconds;       /* since the phase began */
  double      eta;           /* estimated seconds to the end of the phase; 0 when unknown */
} textinv_progress;

/* Return 0 to go on, anything else to stop the call with TEXTINV_E_CANCELLED. */
typedef int32_t (*textinv_progress_fn)(void *user, const textinv_progress *progress);

/* Options of textinv_session_new(). */
typedef struct textinv_session_params {
  size_t          struct_size;
  textinv_backend backend;       /* default TEXTINV_BACKEND_CPU */
  int32_t         device;        /* CUDA: ordinal of the device (default 0) */
  textinv_dtype   dtype;         /* default TEXTINV_F32 */
  uint32_t        threads;       /* CPU: 1..1024, 0 = the cores that this process may use and
                                    its cgroup has time for (default);
                                    fewer where the system makes fewer */
  uint64_t        memory_budget; /* bytes for weights and activations together; rather than exceed
                                    it learning computes parts again, drawing takes fewer pictures
                                    at once, and what cannot fit fails; 0 = no limit (default) */
  void           *stream;        /* CUDA: the caller's cudaStream_t, not the default stream (1);
                                    NULL = a stream of our own */
  textinv_log_fn  log;           /* may be NULL */
  void           *log_user;      /* passed to log */
  const char     *backend_path;  /* CUDA: file of the plug-in; NULL = beside this library */
} textinv_session_params;

/**
 * Fill params with defaults.
 *
 * @param[out] params the struct
 * @param      size   sizeof(textinv_session_params) as the caller compiled it
 * @return TEXTINV_OK, or TEXTINV_E_INVALID when params is NULL, or size is less than the struct had
 *         in the first release or more than 4096; textinv_session_error(NULL) says which.
 */
TEXTINV_API textinv_status textinv_session_params_init(textinv_session_params *params, size_t size);

/**
 * Open a session.
 *
 * @param[out] out    the session; the caller frees it with textinv_session_free()
 * @param      params options, or NULL for the defaults
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_VERSION, TEXTINV_E_BACKEND,
 *         TEXTINV_E_UNSUPPORTED (the device or dtype) or TEXTINV_E_LIMIT (the library's own path is
 *         too long); on failure textinv_session_error(NULL) says why.
 */
TEXTINV_API textinv_status textinv_session_new(textinv_session **out,
                                               const textinv_session_params *params);

/** Free a session and its arena. NULL is allowed. */
TEXTINV_API void textinv_session_free(textinv_session *session);

/**
 * Why the last call on the session failed.
 *
 * @param session a session, or NULL for the calling thread's last failed call without one
 * @return one line, owned by the session or the thread, valid until the next such call; "" if none
 *         failed.
 */
TEXTINV_API const char *textinv_session_error(const textinv_session *session);

/**
 * Ask the running call on the session to stop with TEXTINV_E_CANCELLED. Safe from any thread and
 * from a signal handler.
 *
 * The wish is kept until a call stops for it, so that one which comes just before its call is not
 * lost. One which comes too late, when the call is at its end or none is running, stops the next
 * call that can be stopped, unless textinv_session_clear_cancel() takes it back: a program that
 * lets its user stop calls one by one clears it before it offers to stop the next one.
 */
TEXTINV_API void textinv_session_cancel(textinv_session *session);

/**
 * Take back what textinv_session_cancel() asked for and no call has stopped for yet, if anything.
 * For the thread that makes the session's calls, between two of them. NULL is allowed.
 */
TEXTINV_API void textinv_session_clear_cancel(textinv_session *session);

/**
 * Bytes of the largest plan that the session has run: activations and scratch, without weights.
 */
TEXTINV_API uint64_t textinv_session_peak_bytes(const textinv_session *session);

/* ------------------------------------------------------------------ devices */

/* A device that a session may be opened on. Fill with textinv_device_info_init(). */
typedef struct textinv_device_info {
  size_t          struct_size;
  textinv_backend backend;          /* as textinv_session_params takes it */
  int32_t         device;           /* likewise */
  int32_t         usable;           /* 1, or 0 = textinv_session_new() will refuse it */
  uint32_t        units;            /* CPU: cores this process may use; CUDA: multiprocessors */
  uint32_t        capability_major; /* CUDA: compute capability, 9 of 9.0; CPU: 0 */
  uint32_t        capability_minor; /* CUDA: 0 of 9.0 */
  uint64_t        memory;           /* bytes of the machine or on the device, those in use counted;
                                       0 when not known */
  char            name[256];        /* of the processor or the device; "" when not known */
  char            reason[512];      /* why the device is not usable, one line; "" when it is */
} textinv_device_info;

/** Empty info. See textinv_session_params_init(). */
TEXTINV_API textinv_status textinv_device_info_init(textinv_device_info *info, size_t size);

/**
 * Count the devices of a backend: 0..count - 1 are what textinv_session_params takes as device.
 * TEXTINV_BACKEND_CPU has one, which is always usable. TEXTINV_BACKEND_CUDA has those that the
 * driver shows to this process, usable or not. For them the plug-in is loaded, which stays loaded,
 * and the driver is initialised, after which a child of fork() cannot use CUDA; no context is
 * created on any device. Any number of threads may call this at once.
 *
 * @param[out] count        devices, 1 or more; 0 on failure
 * @param      backend      a TEXTINV_BACKEND_* value
 * @param      backend_path CUDA: file of the plug-in; NULL = beside this library
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_LIMIT (the library's own path is
 *         too long), TEXTINV_E_BACKEND (the plug-in cannot be loaded, there is no driver, it is too
 *         old, or it shows no device) or TEXTINV_E_VERSION (the plug-in is of another release);
 *         textinv_session_error(NULL) says which and why.
 */
TEXTINV_API textinv_status textinv_device_count(uint32_t *count, textinv_backend backend,
                                                const char *backend_path);

/**
 * Describe a device. See textinv_device_count() for what that loads. Free memory is not told:
 * asking for it would create a context.
 *
 * @param[out] info         the device, initialised by the caller; not changed on failure
 * @param      backend      a TEXTINV_BACKEND_* value
 * @param      device       0..count - 1 of textinv_device_count()
 * @param      backend_path CUDA: file of the plug-in; NULL = beside this library
 * @return TEXTINV_OK, with usable 0 too, TEXTINV_E_INVALID or what textinv_device_count() returns;
 *         on failure textinv_session_error(NULL) says why.
 */
TEXTINV_API textinv_status textinv_device_get_info(textinv_device_info *info,
                                                   textinv_backend backend, int32_t device,
                                                   const char *backend_path);

/* ------------------------------------------------------------------ model */

/* What a model is. Made ready by textinv_model_info_init(). */
typedef struct textinv_model_info {
  size_t      struct_size;
  const char *path;             /* the folder or file; owned by the model */
  const char *fingerprint; /* 16 hex digits of schedule, tensor names and shapes, and samples of
                              the weights; owned by the model */
  const char *prediction;       /* "epsilon", "v_prediction" or "sample" */
  const char *sampler;          /* what TEXTINV_SAMPLER_DEFAULT draws with: "ddim", .. "ddpm" */
  uint32_t    num_encoders;     /* text encoders: 1 or 2 */
  uint32_t    embedding_dim[2]; /* width of a word's vector in each encoder; 0 = no such encoder */
  uint32_t    context_dim;      /* width of the UNet's context */
  uint32_t    pooled_dim;       /* width of the pooled text, 0 when the UNet takes none */
  uint32_t    max_tokens;       /* positions of a prompt, begin and end tokens counted */
  uint32_t    latent_channels;  /* channels of the latents */
  uint32_t    latent_scale;     /* pixels a latent, in each direction */
  uint32_t    size;             /* width and height the model was trained for, in pixels */
  uint32_t    train_timesteps;  /* length of the noise schedule */
  uint64_t    parameters;       /* weights of all its networks */
  uint32_t    needs_mask;       /* 1 = made for inpainting: it redraws a part of a picture, and
                                   textinv_generate() needs init_image and mask; 0 = any other */
  uint32_t    reserved;         /* 0 */
} textinv_model_info;

/**
 * Open a pipeline in the diffusers folder layout or in a single file: SD 1.x, SD 2.x, SDXL and any
 * other size of the same networks, the UNet with or without a middle block (BK-SDM); and as a
 * folder the latent diffusion model of Rombach et al. 2022 (LDMTextToImagePipeline, an
 * AutoencoderKL as its "vqvae"). Weights stay memory mapped; the files must not change while the
 * model is open.
 *
 * A UNet may take a mask and the latents of the masked picture beside its own, as those of SD 1.5,
 * SD 2 and SDXL inpainting: 9 channels for 4. Such a model draws with words that were learnt with
 * the model it was made from; it does not learn any itself.
 *
 * Configs count as diffusers' pipelines take them. For SD 1.x and SD 2.x steps_offset is 1 and
 * clip_sample is false, or for inpainting skip_prk_steps is true, whatever the scheduler's config
 * says, and the sample_size of a UNet saved before diffusers 0.9.0 is at least 64.
 *
 * The scheduler may be of any class with a schedule of betas, whether or not there is a sampler for
 * it (see textinv_sampler); one that diffusers 0.42 does not have must spell out beta_schedule,
 * beta_start and beta_end, or trained_betas. Models of flow matching and of EDM are refused.
 *
 * A single file is safetensors, or a zip archive of torch.save(), whose weights are read into
 * memory. It has the names of LDM (SD 1.x, SD 2.x) or SGM (SDXL base), and all of UNet, autoencoder
 * and text encoders; "model_ema" is left aside. Sizes follow from its shapes, the rest is as in the
 * published folders of these models, and the tokenizer is that of CLIP, which is installed with the
 * library. Whether it predicts v or noise is told by the first of these: a file of the same name
 * that ends in .yaml, with "parameterization: v" or without; a tensor "v_pred", which stands for v;
 * the metadata "modelspec.prediction_type"; for SD 2.x the weights, as ComfyUI tells them. Else,
 * and for SD 2 inpainting, it is noise. A tensor "ztsnr" stands for rescale_betas_zero_snr where v
 * is predicted.
 *
 * @param[out] out     the model; the caller frees it with textinv_model_free()
 * @param      session reports errors and log lines; not kept
 * @param      path    the folder that holds model_index.json, a single file, or NULL for the
 *                     default model
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_IO, TEXTINV_E_FORMAT,
 *         TEXTINV_E_LIMIT, TEXTINV_E_UNSUPPORTED, TEXTINV_E_SHAPE, TEXTINV_E_CONFLICT (two files of
 *         a network have the same tensor) or TEXTINV_E_NOT_FOUND.
 */
TEXTINV_API textinv_status textinv_model_open(textinv_model **out, textinv_session *session,
                                              const char *path);

/** Free a model. No session may be using it. NULL is allowed. */
TEXTINV_API void textinv_model_free(textinv_model *model);

/** Make info ready to be filled. See textinv_session_params_init(). */
TEXTINV_API textinv_status textinv_model_info_init(textinv_model_info *info, size_t size);

/**
 * Fill info, which textinv_model_info_init() has made ready.
 *
 * @return TEXTINV_OK, or TEXTINV_E_INVALID when an argument is NULL or info was not made ready;
 *         textinv_session_error(NULL) says which.
 */
TEXTINV_API textinv_status textinv_model_get_info(const textinv_model *model,
                                                  textinv_model_info *info);

/**
 * The noise schedule, for hosts with their own samplers: at timestep t, latents x and noise n the
 * model sees sqrt(a[t]) x + sqrt(1 - a[t]) n (Ho et al. 2020, equation 4).
 *
 * @return a[train_timesteps], falling, 0..1, owned by the model; NULL when model is NULL.
 */
TEXTINV_API const float *textinv_model_alphas_cumprod(const textinv_model *model);

/**
 * Say what a file or folder is, from what is in it and never from its name. An embedding is a file
 * that textinv_embeddings_load() can read, or a PyTorch file of which it says what is wrong; a PNG
 * picture that has one in its text; a folder with diffusers' learned_embeds. A single file is a
 * model when it has a UNet, whether or not textinv_model_open() takes it, and a folder a CLIP model
 * when its config.json has two towers, whether or not textinv_clip_open() takes it; other weights
 * of a model are unknown.
 *
 * @param[out] out a TEXTINV_KIND_* value
 * @return TEXTINV_OK (with TEXTINV_KIND_UNKNOWN for anything else), TEXTINV_E_INVALID,
 *         TEXTINV_E_IO or TEXTINV_E_NOT_FOUND.
 */
TEXTINV_API textinv_status textinv_file_kind(textinv_kind *out, textinv_session *session,
                                             const char *path);

/* ------------------------------------------------------------------ tokenizer */

/**
 * The tokenizer of one of the model's text encoders.
 *
 * @param encoder 0 or 1, less than num_encoders
 * @return the tokenizer, owned by the model; NULL when there is no such encoder.
 */
TEXTINV_API const textinv_tokenizer *textinv_model_tokenizer(const textinv_model *model,
                                                             uint32_t encoder);

/**
 * Open a tokenizer alone: CLIP's or BERT's.
 *
 * @param[out] out  the tokenizer; the caller frees it with textinv_tokenizer_free()
 * @param      path a folder with vocab.json and merges.txt, with vocab.txt, or with tokenizer.json
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_IO, TEXTINV_E_FORMAT,
 *         TEXTINV_E_LIMIT, TEXTINV_E_UNSUPPORTED (a tokenizer of another kind) or
 *         TEXTINV_E_NOT_FOUND.
 */
TEXTINV_API textinv_status textinv_tokenizer_open(textinv_tokenizer **out, textinv_session *session,
                                                  const char *path);

/** Free a tokenizer of textinv_tokenizer_open(). NULL is allowed. */
TEXTINV_API void textinv_tokenizer_free(textinv_tokenizer *tokenizer);

/** Number of ids of the tokenizer: 0..size-1 are its own, larger ones are rows of new words. */
TEXTINV_API uint32_t textinv_tokenizer_size(const textinv_tokenizer *tokenizer);

/**
 * Turn a prompt into ids, begin and end tokens included, without padding. A word of embeddings is
 * matched before anything else, longest first, and takes as many ids as it has vectors: its vector
 * v has the id size + first + v, where first counts the vectors of the words before it.
 *
 * @param[out] ids        [capacity], may be NULL when capacity is 0
 * @param      capacity   room in ids
 * @param[out] count      ids of the whole prompt, which may exceed capacity
 * @param      embeddings the new words, or NULL
 * @param      text       the prompt, UTF-8; invalid bytes are read as U+FFFD
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM or TEXTINV_E_LIMIT (text over 1 MiB).
 */
TEXTINV_API textinv_status textinv_tokenizer_encode(textinv_session *session, uint32_t *ids,
                                                    size_t capacity, size_t *count,
                                                    const textinv_tokenizer *tokenizer,
                                                    const textinv_embeddings *embeddings,
                                                    const char *text);

/**
 * The text of one id, as in the vocabulary ("photo</w>").
 *
 * @return a string owned by the tokenizer; NULL when it has no such id.
 */
TEXTINV_API const char *textinv_tokenizer_token(const textinv_tokenizer *tokenizer, uint32_t id);

/* ------------------------------------------------------------------ embeddings */

/**
 * Make an empty set of new words.
 *
 * @param[out] out the set; the caller frees it with textinv_embeddings_free()
 * @return TEXTINV_OK, TEXTINV_E_INVALID or TEXTINV_E_NOMEM.
 */
TEXTINV_API textinv_status textinv_embeddings_new(textinv_embeddings **out,
                                                  textinv_session *session);

/** Free a set of words. NULL is allowed. */
TEXTINV_API void textinv_embeddings_free(textinv_embeddings *embeddings);

/**
 * Add a word that starts from an initializer.
 *
 * @param model       gives the widths and the embedding tables
 * @param word        1..255 bytes of UTF-8 without white space or control characters, in no
 *                    vocabulary in any case or Unicode form, not yet added, and no key of embedding
 *                    files such as "clip_l"
 * @param num_vectors vectors of the word, 1..32; 0 = as many as the initializer has tokens, up to
 *                    32, and 1 without an initializer
 * @param initializer words whose vectors are copied, repeated in turn when there are fewer, the
 *                    first of them (with a warning in the log) when there are more; NULL or "" =
 *                    random with the mean and spread of the model's table
 * @param seed        of the random vectors, and of the small noise (a hundredth of the table's
 *                    spread) that tells repeated vectors apart; words of one seed get the same
 * @return TEXTINV_OK, TEXTINV_E_INVALID (also an initializer without tokens), TEXTINV_E_NOMEM,
 *         TEXTINV_E_CONFLICT (the word is taken), TEXTINV_E_LIMIT (the vectors and one token more do
 *         not fit into a prompt, 4096 words are held, or an initializer over 16 MiB) or
 *         TEXTINV_E_NONFINITE (the model's table holds what is not finite).
 */
TEXTINV_API textinv_status textinv_embeddings_add(textinv_session *session,
                                                  textinv_embeddings *embeddings,
                                                  const textinv_model *model, const char *word,
                                                  uint32_t num_vectors, const char *initializer,
                                                  uint64_t seed);

/**
 * Add a word, or replace its vectors in one encoder.
 *
 * @param word        as in textinv_embeddings_add(), but it may be there or in a vocabulary
 * @param encoder     0 or 1
 * @param num_vectors 1..75, the same in both encoders of a word
 * @param dim         width of a vector, 1..65536
 * @param rows        [num_vectors, dim], finite
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_LIMIT (4096 words are held),
 *         TEXTINV_E_SHAPE or TEXTINV_E_NONFINITE.
 */
TEXTINV_API textinv_status textinv_embeddings_set(textinv_session *session,
                                                  textinv_embeddings *embeddings, const char *word,
                                                  uint32_t encoder, uint32_t num_vectors,
                                                  uint32_t dim, const float *rows);

/**
 * Add words of another set as they are, with the steps that they took: to keep them as they are
 * now, to join two sets, to give a word another name (the old one is then removed). Where
 * embeddings holds no words yet, what textinv_embeddings_metadata() tells of from goes along.
 *
 * @param from the other set, or embeddings itself for a word under a second name; not changed
 * @param word the one word to add, or NULL for all of them, in their order
 * @param name another name for it, as in textinv_embeddings_set(); or NULL for its own
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_LIMIT (4096 words are held),
 *         TEXTINV_E_CONFLICT (a name is taken) or TEXTINV_E_NOT_FOUND (there is no such word). On
 *         failure nothing was added.
 */
TEXTINV_API textinv_status textinv_embeddings_copy(textinv_session *session,
                                                   textinv_embeddings *embeddings,
                                                   const textinv_embeddings *from, const char *word,
                                                   const char *name);

/** Remove a word. TEXTINV_OK, TEXTINV_E_INVALID or TEXTINV_E_NOT_FOUND. */
TEXTINV_API textinv_status textinv_embeddings_remove(textinv_session *session,
                                                     textinv_embeddings *embeddings,
                                                     const char *word);

/** Number of words. */
TEXTINV_API size_t textinv_embeddings_count(const textinv_embeddings *embeddings);

/** Word i, in the order of adding; owned by the set, valid until it changes; NULL past the end. */
TEXTINV_API const char *textinv_embeddings_word(const textinv_embeddings *embeddings, size_t i);

/** Number of vectors of a word; 0 when there is no such word. */
TEXTINV_API uint32_t textinv_embeddings_vectors(const textinv_embeddings *embeddings,
                                                const char *word);

/** Width of a word's vectors in one encoder; 0 when there are none. */
TEXTINV_API uint32_t textinv_embeddings_dim(const textinv_embeddings *embeddings, const char *word,
                                            uint32_t encoder);

/**
 * The vectors of a word in one encoder.
 *
 * @return [vectors, dim], owned by the set, valid until it changes; NULL when there are none.
 */
TEXTINV_API const float *textinv_embeddings_rows(const textinv_embeddings *embeddings,
                                                 const char *word, uint32_t encoder);

/**
 * Add the words of a file: diffusers, A1111, kohya, SDXL, OneTrainer and CompVis layouts, in
 * safetensors or in PyTorch's zip container (read without executing anything), those of a
 * checkpoint, or the one that a PNG picture of the AUTOMATIC1111 web UI carries. A word may have up
 * to 75 vectors, as many as a prompt of 77 tokens has room for.
 *
 * @param model checks the widths, and that a name of the file (not of a checkpoint) is in no
 *              vocabulary, where it would take an ordinary word out of every prompt; or NULL to
 *              take any
 * @param path  the file, its format is told by its content; or a folder with diffusers'
 *              learned_embeds.safetensors or .bin, and learned_embeds_2 for the second encoder
 * @param word  name for the word, as in textinv_embeddings_set(), in a vocabulary or not (with a
 *              warning in the log); or NULL for the name in the file, else the file's own without
 *              ending, with '-' for white space; a file with several words takes NULL, a tensor
 *              without a dict takes a name
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_IO, TEXTINV_E_FORMAT,
 *         TEXTINV_E_VERSION (a checkpoint of a newer library), TEXTINV_E_LIMIT (also more than 1024
 *         words or 2^28 bytes), TEXTINV_E_UNSUPPORTED, TEXTINV_E_SHAPE, TEXTINV_E_NONFINITE,
 *         TEXTINV_E_CONFLICT or TEXTINV_E_NOT_FOUND. On failure nothing was added.
 */
TEXTINV_API textinv_status textinv_embeddings_load(textinv_session *session,
                                                   textinv_embeddings *embeddings,
                                                   const textinv_model *model, const char *path,
                                                   const char *word);

/**
 * Add the words of a file whose bytes the host has, as textinv_embeddings_load() does.
 *
 * @param model checks widths and names, as there; or NULL to take any
 * @param bytes [size], the whole file; read only during the call; of any alignment
 * @param size  at most 2^28, as of a file
 * @param name  stands for the file's path: in messages, and, without folder and ending, for a word
 *              that neither word nor the bytes name; no file of that name is looked at
 * @param word  name for the word or NULL, as there
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_FORMAT, TEXTINV_E_VERSION,
 *         TEXTINV_E_LIMIT, TEXTINV_E_UNSUPPORTED, TEXTINV_E_SHAPE, TEXTINV_E_NONFINITE or
 *         TEXTINV_E_CONFLICT, as there. On failure nothing was added.
 */
TEXTINV_API textinv_status textinv_embeddings_load_memory(textinv_session *session,
                                                          textinv_embeddings *embeddings,
                                                          const textinv_model *model,
                                                          const void *bytes, size_t size,
                                                          const char *name, const char *word);

/**
 * What the file of the last load that succeeded, from a path or from memory, says of itself, pair
 * by pair. Pair 0 is "layout": "diffusers", "a1111", "kohya", "sdxl", "onetrainer", "compvis",
 * "checkpoint" or "tensor". The file's own follow: the metadata of a safetensors file, the texts
 * and numbers beside the vectors of a PyTorch file, such as "name", "step" and "sd_checkpoint"; they
 * may have any keys, a "layout" among them. The library gives them no meaning.
 *
 * @param      i   which pair
 * @param[out] key its key, owned as the value is, NULL past the end; may be NULL
 * @return the value as UTF-8, owned by the set, valid until its next load; NULL past the end.
 */
TEXTINV_API const char *textinv_embeddings_metadata(const textinv_embeddings *embeddings, size_t i,
                                                    const char **key);

/**
 * Write words to a file. The file appears under its name complete or not at all. It says what wrote
 * it and, of words that were learnt in one run, how many "step"s that took; A1111's has the step.
 *
 * Of what textinv_embeddings_metadata() tells, words that have not been changed since that load pass
 * on what other programs read: "sd_checkpoint" and "sd_checkpoint_name", the model that A1111 learnt
 * them with, and into safetensors "modelspec.*" of the Model Spec that kohya's scripts write (title,
 * architecture, date, ...), but for the hash of the tensors, and a trigger phrase without the word.
 *
 * @param path   where; its folder must exist; an existing file is replaced
 * @param format a TEXTINV_FORMAT_* value; TEXTINV_FORMAT_AUTO goes with every model
 * @param word   the one word to write, or NULL for all of them; TEXTINV_FORMAT_DIFFUSERS alone
 *               holds several, with a warning in the log
 * @return TEXTINV_OK, TEXTINV_E_INVALID (also no words), TEXTINV_E_NOMEM, TEXTINV_E_IO,
 *         TEXTINV_E_LIMIT (more than textinv_embeddings_load() takes), TEXTINV_E_UNSUPPORTED (the
 *         format cannot hold these words; the message says which can) or TEXTINV_E_NOT_FOUND (the
 *         word or the folder).
 */
TEXTINV_API textinv_status textinv_embeddings_save(textinv_session *session,
                                                   const textinv_embeddings *embeddings,
                                                   const char *path, textinv_format format,
                                                   const char *word);

/**
 * Write words into the host's memory: the bytes of the file that textinv_embeddings_save() writes.
 *
 * @param[out] bytes    [capacity], may be NULL when capacity is 0; of no use after a failure
 * @param      capacity room in bytes; 0 = ask for the size alone
 * @param[out] size     bytes of the whole file, which may exceed capacity; 0 on other failures
 * @param      format   a TEXTINV_FORMAT_* value
 * @param      word     the one word to write, or NULL for all of them
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_LIMIT, TEXTINV_E_UNSUPPORTED (the
 *         format cannot hold these words), TEXTINV_E_SHAPE (capacity is neither 0 nor enough; the
 *         message has the needed size) or TEXTINV_E_NOT_FOUND (the word).
 */
TEXTINV_API textinv_status textinv_embeddings_save_memory(textinv_session *session, void *bytes,
                                                          size_t capacity, size_t *size,
                                                          const textinv_embeddings *embeddings,
                                                          textinv_format format, const char *word);

/* ------------------------------------------------------------------ images */

/**
 * Read a PNG or JPEG picture as 8-bit RGB, upright (EXIF orientation applied), alpha over white.
 *
 * @param[out] out one picture; the caller frees it with textinv_images_free()
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_IO, TEXTINV_E_FORMAT,
 *         TEXTINV_E_LIMIT (over 16384 pixels a side or 2^26 in all, or a file over 2^28 bytes),
 *         TEXTINV_E_UNSUPPORTED or TEXTINV_E_NOT_FOUND.
 */
TEXTINV_API textinv_status textinv_image_read(textinv_images **out, textinv_session *session,
                                              const char *path);

/**
 * Read a PNG or JPEG picture from the bytes of its file, as textinv_image_read() does.
 *
 * @param[out] out   one picture; the caller frees it with textinv_images_free()
 * @param      bytes [size], the whole file; read only during the call
 * @param      size  at most 2^28, as of a file
 * @param      name  stands for the file's path in messages; no file of that name is looked at
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_FORMAT, TEXTINV_E_LIMIT (over
 *         16384 pixels a side or 2^26 in all) or TEXTINV_E_UNSUPPORTED.
 */
TEXTINV_API textinv_status textinv_image_read_memory(textinv_images **out, textinv_session *session,
                                                     const void *bytes, size_t size,
                                                     const char *name);

/**
 * Make pictures of pixels.
 *
 * @param[out] out    pictures, pixels copied; the caller frees them with textinv_images_free()
 * @param      pixels [count, height, width, 3], or NULL for black
 * @param      count  1..4096
 * @param      width  1..16384
 * @param      height 1..16384
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_LIMIT (over 2^26 pixels a picture) or
 *         TEXTINV_E_NOMEM.
 */
TEXTINV_API textinv_status textinv_images_new(textinv_images **out, textinv_session *session,
                                              const uint8_t *pixels, uint32_t count, uint32_t width,
                                              uint32_t height);

/** Free pictures. NULL is allowed. */
TEXTINV_API void textinv_images_free(textinv_images *images);

/** Number of pictures. */
TEXTINV_API uint32_t textinv_images_count(const textinv_images *images);

/** Width in pixels, the same for all. */
TEXTINV_API uint32_t textinv_images_width(const textinv_images *images);

/** Height in pixels, the same for all. */
TEXTINV_API uint32_t textinv_images_height(const textinv_images *images);

/** Pixels [height, width, 3] of picture i, owned by images, writable; NULL past the end. */
TEXTINV_API uint8_t *textinv_images_pixels(textinv_images *images, uint32_t i);

/** Seed of picture i of textinv_generate(); 0 for others. */
TEXTINV_API uint64_t textinv_images_seed(const textinv_images *images, uint32_t i);

/**
 * The A1111 "parameters" text of picture i. Of textinv_generate(): prompt, negative prompt, steps,
 * sampler, guidance scale, seed, size, model, source of the noise and version of the library;
 * guidance_rescale and clip_skip when they are not 0, and strength with init_image. Of a PNG file
 * that was read: what it holds, whoever wrote it, in a text chunk of that name, up to 1 MiB.
 *
 * @return a string owned by images, UTF-8; "" for others.
 */
TEXTINV_API const char *textinv_images_parameters(const textinv_images *images, uint32_t i);

/**
 * Resize all pictures as Pillow's BICUBIC does (antialiased), in place.
 *
 * @param width  1..16384
 * @param height 1..16384
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_LIMIT (over 2^26 pixels a picture) or
 *         TEXTINV_E_NOMEM; on failure nothing was changed.
 */
TEXTINV_API textinv_status textinv_images_resize(textinv_session *session, textinv_images *images,
                                                 uint32_t width, uint32_t height);

/**
 * Write picture i as PNG. The file appears under its name complete or not at all.
 *
 * @param path       where; its folder must exist; an existing file is replaced
 * @param parameters text of the "parameters" chunk, UTF-8; NULL = textinv_images_parameters(),
 *                   "" = none
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_IO or TEXTINV_E_NOT_FOUND (the
 *         folder).
 */
TEXTINV_API textinv_status textinv_images_save(textinv_session *session,
                                               const textinv_images *images, uint32_t i,
                                               const char *path, const char *parameters);

/**
 * Write picture i as PNG into the host's memory: the bytes of the file that textinv_images_save()
 * writes. Asking for the size takes as long as writing.
 *
 * @param[out] bytes      [capacity], may be NULL when capacity is 0; of no use after a failure
 * @param      capacity   room in bytes; 0 = ask for the size alone
 * @param[out] size       bytes of the whole file, which may exceed capacity; 0 on other failures
 * @param      parameters text of the "parameters" chunk; NULL = textinv_images_parameters(), "" =
 *                        none
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM or TEXTINV_E_SHAPE (capacity is neither 0
 *         nor enough; the message has the needed size).
 */
TEXTINV_API textinv_status textinv_images_save_memory(textinv_session *session, void *bytes,
                                                      size_t capacity, size_t *size,
                                                      const textinv_images *images, uint32_t i,
                                                      const char *parameters);

/* ------------------------------------------------------------------ inversion */

/* One word to learn. Fill with textinv_concept_init(). */
typedef struct textinv_concept {
  size_t                       struct_size;
  const char                  *placeholder;  /* the new word, as in textinv_embeddings_add(); it
                                                may be there; required */
  const char                  *initializer;  /* see textinv_embeddings_add(); NULL = random */
  uint32_t                     num_vectors;  /* 1..32 (default 1); 0 = tokens of initializer, see
                                                textinv_embeddings_add() */
  textinv_property             property;     /* default TEXTINV_PROPERTY_OBJECT */
  const char                  *images_path;  /* folder of PNG and JPEG files, read in name order */
  const textinv_images *const *pictures;     /* or pictures in memory, of any sizes: handles of
                                                one picture each, textinv_images_new() */
  size_t                       num_pictures; /* number of pictures */
  int32_t                      captions;     /* with images_path: 1 = a caption for every picture,
                                                NAME.txt beside NAME.png, holding the placeholder,
                                                in place of templates; 0 = templates (default) */
  const char *const           *prompts;      /* without captions: templates with "{}" wherever the
                                                word stands; NULL = the built-in ones (default) */
  size_t                       num_prompts;  /* number of prompts */
} textinv_concept;

/** Fill params with defaults. See textinv_session_params_init(). */
TEXTINV_API textinv_status textinv_concept_init(textinv_concept *params, size_t size);

/* Pictures drawn during a run; valid only during the callback. Return as textinv_progress_fn. */
typedef int32_t (*textinv_preview_fn)(void *user, uint32_t step, textinv_images *images);

/*
 * Add up values over all processes of a run, in place: in every process values[i] becomes the sum
 * of all processes' values[i], with the same bits in all of them. All processes make the same calls
 * with the same counts. MPI_Allreduce() of MPI_FLOAT with MPI_SUM does this, and ncclAllReduce() on
 * a copy in the device's memory. Return 0, or anything else when it failed: then the call stops
 * with TEXTINV_E_BACKEND, and does not call it again.
 */
typedef int32_t (*textinv_all_reduce_fn)(void *user, float *values, size_t count);

/* One run in several processes, or threads. Fill with textinv_parallel_init(). */
typedef struct textinv_parallel {
  size_t                struct_size;
  uint32_t              rank;       /* of this process, 0..ranks - 1 (default 0) */
  uint32_t              ranks;      /* processes, 1..1024 (default 1) */
  textinv_all_reduce_fn all_reduce; /* required */
  void                 *user;       /* passed to all_reduce */
} textinv_parallel;

/** Fill params with defaults. See textinv_session_params_init(). */
TEXTINV_API textinv_status textinv_parallel_init(textinv_parallel *params, size_t size);

/* Options of textinv_invert(). Fill with textinv_invert_params_init(). */
typedef struct textinv_invert_params {
  size_t                 struct_size;
  const textinv_concept *concepts;         /* [num_concepts]; required */
  size_t                 num_concepts;     /* 1..256 */
  uint32_t               steps;            /* optimiser steps, 1..10^7 (default 500) */
  uint32_t               batch;            /* samples of one pass, in each process of parallel,
                                              1..1024 (default 4) */
  uint32_t               accumulate;       /* passes a step, 1..1024 (default 1) */
  float                  learning_rate;    /* above 0 to 1000, also when scaled (default 5e-3) */
  int32_t                scale_lr;         /* 1 = rate times batch times accumulate, and times the
                                              processes of parallel; 0 = not (default) */
  textinv_lr_schedule    lr_schedule;      /* default TEXTINV_LR_CONSTANT */
  uint32_t               lr_warmup;        /* steps of linear warm-up, 0..steps (default 0) */
  float                  beta1;            /* AdamW, 0 to below 1 (default 0.9) */
  float                  beta2;            /* AdamW, 0 to below 1 (default 0.999) */
  float                  epsilon;          /* AdamW, above 0 to 1 (default 1e-8) */
  float                  weight_decay;     /* AdamW, decoupled, 0..1000 (default 0) */
  uint32_t               resolution;       /* pixels, a multiple of latent_scale times the power of
                                              two that the UNet halves by (SD: 64), up to 2048
                                              latents; 0 = the model's own size (default) */
  int32_t                center_crop;      /* 1 = crop to a square before resizing (default 1);
                                              0 = squash, as the paper's code does */
  float                  crop_scale;       /* random square crops down to this side, 0.5..1
                                              (default 1 = none) */
  float                  flip;             /* chance of a mirrored picture, 0..1 (default 0.5) */
  uint64_t               seed;             /* default 0 */
  const char            *output_dir;       /* folder of the checkpoints; NULL = none are written */
  uint32_t               checkpoint_every; /* steps, and at the last one, needs output_dir; 0 =
                                              only when stopped early (default) */
  uint32_t               checkpoint_keep;  /* newest checkpoints kept, 0 = all (default 2) */
  const char            *resume;           /* a checkpoint, or "latest" of output_dir (starts anew
                                              when there is none), or NULL (default) */
  const char            *preview_prompt;   /* drawn every preview_every steps, guidance_scale 7.5;
                                              required with it */
  uint32_t               preview_every;    /* steps, 0 = never (default) */
  uint32_t               preview_images;   /* 1..16 (default 1), seeds 0, 1, ... */
  uint32_t               preview_steps;    /* sampler steps of a preview, as steps of
                                              textinv_generate() (default 25) */
  textinv_preview_fn     preview;          /* gets the previews; required with preview_every */
  void                  *preview_user;     /* passed to preview */
  textinv_progress_fn    progress;         /* after every step; may be NULL */
  void                  *progress_user;    /* passed to progress */
  const textinv_parallel *parallel;        /* the run is one of several processes; NULL = this
                                              process alone (default) */
} textinv_invert_params;

/** Fill params with defaults. See textinv_session_params_init(). */
TEXTINV_API textinv_status textinv_invert_params_init(textinv_invert_params *params, size_t size);

/* What a run did. Made ready by textinv_invert_report_init(). */
typedef struct textinv_invert_report {
  size_t   struct_size;
  uint32_t steps;        /* optimiser steps in the rows, those of resumed runs counted */
  uint32_t first_step;   /* step this call began at: 0, or that of the checkpoint */
  uint32_t skipped;      /* steps skipped because the loss or the gradient was not finite */
  uint32_t num_pictures; /* pictures of all concepts */
  float    loss;         /* loss of the last step */
  float    loss_average; /* exponential average, window about 50 steps */
  double   seconds;      /* of this call */
  uint64_t peak_bytes;   /* activations and scratch of the training plan */
} textinv_invert_report;

/** Make report ready to be filled. See textinv_session_params_init(). */
TEXTINV_API textinv_status textinv_invert_report_init(textinv_invert_report *report, size_t size);

/**
 * Learn words: Textual Inversion, Gal et al. 2022, https://arxiv.org/abs/2208.01618. Only the new
 * rows are optimised (AdamW); the loss is the mean squared error of the predicted noise (or
 * velocity or sample, as the model predicts) at random timesteps. A placeholder that embeddings
 * already holds is trained on from its vectors; others are added with their initializer.
 *
 * The random draws of step t depend on (seed, t) alone, so a resumed run ends with the same bytes,
 * unless memory is short in one part of it alone, so that a batch is taken in several passes there
 * (the log says so) and sums are rounded otherwise.
 * To be resumed, a run needs the options, pictures and prompts that it had, and words that begin as
 * they did, from the same initializer or vectors, or hold what the checkpoint holds. What an older
 * release did not write into its checkpoint is not compared.
 *
 * When a loss or gradient is not finite the step is skipped; after 8 in a row the call stops with
 * TEXTINV_E_NONFINITE and the last finite rows. On cancel the rows are as of the last whole step,
 * and a checkpoint is written when output_dir is set and the call has done a step; where that fails
 * it returns TEXTINV_E_IO, and the rows are there all the same. On any other failure after the first
 * step the rows are those of step report->steps, and a checkpoint is written if it can be, but for
 * TEXTINV_E_NONFINITE; before it, and on a cancel while pictures are still encoded, the words that
 * the call has added are taken out again. A checkpoint on the way or a preview that fails is left
 * out with a warning in the log.
 *
 * Checkpoints that output_dir already holds, of later steps than the one the call begins at, are of
 * another run. When the first checkpoint of this one is written they are renamed, as
 * checkpoint-00000500.safetensors.1, so that "latest" does not find them, and kept. When
 * params->resume names a file, those of earlier steps may be another run's, too: checkpoint_keep
 * counts only what this call writes.
 *
 * With params->parallel several processes learn the same words together: each makes this call, with
 * its own rank and otherwise the same options, pictures and words. A step draws the N b accumulate
 * samples that one process of batch N b would draw, of which rank r takes those from
 * r b accumulate on, and makes one call of all_reduce, with the gradient. So N processes of batch b
 * learn what one of batch N b learns, but for the order in which sums are rounded. All end with the
 * same bytes, which are those of any such run where all_reduce adds in the same order; where that is
 * the order of the ranks and accumulate is 1, they are those of one process with accumulate N.
 *
 * Rank 0 alone reads and writes checkpoints and draws previews; the others begin with its rows. A
 * checkpoint holds N b as its batch, so that a run may go on with another number of processes.
 * Progress is reported to every process, with the loss and the gradient of all. A step whose sums
 * are not finite is skipped by all. A process that is cancelled or fails says so in the next sum:
 * all stop after the same step, with its status. But one whose session, model, embeddings, report
 * or parallel is refused, or the struct params itself (TEXTINV_E_VERSION), or that has no memory
 * for the first sum, or whose all_reduce fails, returns alone, and the host ends the others.
 *
 * The callbacks may read embeddings, but not change them: calls that would, with another session,
 * return TEXTINV_E_INVALID, and textinv_embeddings_free() does nothing.
 *
 * @param      session    the session
 * @param      model      the model; not changed
 * @param      embeddings in: words to go on with; out: the learnt words
 * @param      params     options; read only during the call
 * @param[out] report     what was done, filled on failure too, unless session, model or embeddings
 *                        are refused; made ready by textinv_invert_report_init(), or the call fails
 *                        before any work; may be NULL
 * @return TEXTINV_OK, TEXTINV_E_CANCELLED or any other code. What can be refused is refused before
 *         any work, but for a checkpoint of another run (TEXTINV_E_CONFLICT), which is known when the
 *         pictures are encoded; TEXTINV_E_UNSUPPORTED is a model made for inpainting.
 */
TEXTINV_API textinv_status textinv_invert(textinv_session *session, const textinv_model *model,
                                          textinv_embeddings *embeddings,
                                          const textinv_invert_params *params,
                                          textinv_invert_report *report);

/* Inputs of textinv_loss(). Fill with textinv_loss_params_init(). */
typedef struct textinv_loss_params {
  size_t             struct_size;
  uint32_t           batch;     /* samples, 1..1024 */
  uint32_t           width;     /* of the latents, a multiple of the power of two that the UNet
                                   halves by (SD: 8), up to 2048; 0 = the model's own */
  uint32_t           height;    /* likewise */
  const float       *latents;   /* [batch, c, height, width], scaled; required */
  const float       *noise;     /* [batch, c, height, width]; required */
  const uint32_t    *timesteps; /* [batch], less than train_timesteps; required */
  const char *const *prompts;   /* [batch]; required */
} textinv_loss_params;

/** Fill params with defaults. See textinv_session_params_init(). */
TEXTINV_API textinv_status textinv_loss_params_init(textinv_loss_params *params, size_t size);

/**
 * Loss and gradient of given samples, for hosts with their own optimiser.
 *
 * @param[out] loss     mean squared error over batch and elements
 * @param[out] gradient [num_values], the rows of all words in the order of embeddings: for each
 *                      word encoder 0 [vectors, dim], then encoder 1; NULL for the loss alone
 * @param      num_values values in gradient: textinv_embeddings_num_values(); 0 with NULL
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_VERSION, TEXTINV_E_LIMIT (a
 *         prompt over 1 MiB, or a batch of over 2^31 - 1 places), TEXTINV_E_UNSUPPORTED (a model
 *         made for inpainting), TEXTINV_E_SHAPE (num_values, or a word that is for other models),
 *         TEXTINV_E_CANCELLED or TEXTINV_E_BACKEND. Loss and gradient may come out infinite or NaN.
 */
TEXTINV_API textinv_status textinv_loss(textinv_session *session, float *loss, float *gradient,
                                        size_t num_values, const textinv_model *model,
                                        const textinv_embeddings *embeddings,
                                        const textinv_loss_params *params);

/** Number of floats of all words in all encoders: the length of a gradient. */
TEXTINV_API size_t textinv_embeddings_num_values(const textinv_embeddings *embeddings);

/* Options of textinv_optimizer_new(). Fill with textinv_optimizer_params_init(). */
typedef struct textinv_optimizer_params {
  size_t   struct_size;
  float    learning_rate; /* above 0 to 1000 (default 5e-3) */
  float    beta1;         /* 0 to below 1 (default 0.9) */
  float    beta2;         /* 0 to below 1 (default 0.999) */
  float    epsilon;       /* above 0 to 1 (default 1e-8) */
  float    weight_decay;  /* decoupled, 0..1000 (default 0) */
  uint32_t reserved;      /* must be 0 (default) */
} textinv_optimizer_params;

/** Fill params with defaults. See textinv_session_params_init(). */
TEXTINV_API textinv_status textinv_optimizer_params_init(textinv_optimizer_params *params,
                                                         size_t size);

/**
 * Make an optimiser (AdamW: Loshchilov and Hutter 2019, as torch.optim.AdamW) for the rows of
 * embeddings as they are now.
 *
 * @param[out] out    the optimiser; the caller frees it with textinv_optimizer_free()
 * @param      params options, or NULL for the defaults
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM or TEXTINV_E_VERSION.
 */
TEXTINV_API textinv_status textinv_optimizer_new(textinv_optimizer **out, textinv_session *session,
                                                 const textinv_embeddings *embeddings,
                                                 const textinv_optimizer_params *params);

/** Free an optimiser. NULL is allowed. */
TEXTINV_API void textinv_optimizer_free(textinv_optimizer *optimizer);

/** Steps taken. */
TEXTINV_API uint64_t textinv_optimizer_steps(const textinv_optimizer *optimizer);

/**
 * Set the learning rate of the steps to come, 0..1000.
 *
 * @return TEXTINV_OK or TEXTINV_E_INVALID; textinv_session_error(NULL) says which.
 */
TEXTINV_API textinv_status textinv_optimizer_set_learning_rate(textinv_optimizer *optimizer,
                                                               float learning_rate);

/**
 * One step on the rows of embeddings, for hosts with their own loop.
 *
 * @param embeddings the words of the optimiser, in its order and of the same sizes
 * @param gradient   [num_values] as textinv_loss() lays it out
 * @param num_values textinv_embeddings_num_values() as it was in textinv_optimizer_new()
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_SHAPE (num_values, or the embeddings are not
 *         those of the optimiser) or TEXTINV_E_NONFINITE (the gradient, or what it would make of
 *         rows and moments); on failure nothing was changed.
 */
TEXTINV_API textinv_status textinv_optimizer_step(textinv_session *session,
                                                  textinv_optimizer *optimizer,
                                                  textinv_embeddings *embeddings,
                                                  const float *gradient, size_t num_values);

/**
 * Write the words, the optimiser's moments and the step to a checkpoint file, atomically.
 *
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_IO, TEXTINV_E_SHAPE (the
 *         embeddings are not those of the optimiser) or TEXTINV_E_NOT_FOUND (the folder).
 */
TEXTINV_API textinv_status textinv_optimizer_save(textinv_session *session,
                                                  const textinv_optimizer *optimizer,
                                                  const textinv_embeddings *embeddings,
                                                  const char *path);

/**
 * Read a checkpoint of textinv_optimizer_save() or textinv_invert(). Its words replace those of the
 * same name in embeddings, in their places; others are added. The optimiser is that of the file's
 * words, in the order of embeddings: a step needs embeddings that hold no other words.
 *
 * @param[out] out the optimiser; the caller frees it with textinv_optimizer_free()
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_IO, TEXTINV_E_FORMAT,
 *         TEXTINV_E_VERSION, TEXTINV_E_LIMIT, TEXTINV_E_SHAPE, TEXTINV_E_NONFINITE or
 *         TEXTINV_E_NOT_FOUND; on failure nothing changed.
 */
TEXTINV_API textinv_status textinv_optimizer_load(textinv_optimizer **out, textinv_session *session,
                                                  textinv_embeddings *embeddings, const char *path);

/* ------------------------------------------------------------------ generation */

/* Options of textinv_generate(). Fill with textinv_generate_params_init(). */
typedef struct textinv_generate_params {
  size_t                struct_size;
  const char           *prompt;           /* required; may be "" */
  const char           *negative_prompt;  /* NULL = none (default): with SDXL zeros in place of an
                                             encoded text, with other models the same as "" */
  uint32_t              images;           /* pictures, 1..1024 (default 1) */
  uint32_t              batch;            /* pictures drawn at once, 1..1024; 0 = as many as fit, up
                                             to 4 (default) */
  uint64_t              seed;             /* picture i has the seed seed + i (default 0), of which
                                             PyTorch's generator takes the low 32 bits */
  uint32_t              steps;            /* sampler steps, 1..1000, as long as the schedule has
                                             timesteps for them (default 30) */
  float guidance_scale;                   /* classifier-free, 0..1000; 1 or less = none, for latent
                                             diffusion 1 alone (default 7.5) */
  textinv_sampler       sampler;          /* default TEXTINV_SAMPLER_DEFAULT */
  uint32_t              width;            /* pixels, a multiple of latent_scale (SD: 8), up to 2048
                                             latents; 0 = the model's, or that of init_image rounded
                                             down (with a warning in the log over twice the
                                             model's) */
  uint32_t              height;           /* pixels, likewise */
  textinv_rng           rng;              /* default TEXTINV_RNG_TORCH_CPU */
  const textinv_images *init_image;       /* start from this one picture, resized as Pillow's
                                             LANCZOS does; NULL = from noise */
  float                 strength;         /* with init_image: share of the steps, above 0 to 1 and
                                             no less than one step, taken as a decimal: 0.7 of 10
                                             are 7 (default 0.8) */
  uint32_t              clip_skip;        /* text encoder's layers left out, 0..11, as long as one
                                             remains (default 0); the negative prompt keeps all, as
                                             in diffusers */
  textinv_progress_fn   progress;         /* after every step; may be NULL */
  void                 *progress_user;    /* passed to progress */
  float                 guidance_rescale; /* 0..1: how far guidance's output is scaled back to the
                                             standard deviation of the output for the prompt, in
                                             each picture (Lin et al. 2023, "Common Diffusion Noise
                                             Schedules and Sample Steps are Flawed", equations 15
                                             and 16; they take 0.7); 0 = not at all (default) */
  int32_t               keep_pixels;      /* with mask: 1 = pixels that are black in it are those of
                                             init_image as it was resized, to the bit, and grey ones
                                             a mixture; 0 = all are the VAE's, as in diffusers
                                             (default) */
  const textinv_images *mask;             /* with init_image: one picture, white where that one is
                                             redrawn and black where it is kept, resized likewise;
                                             grey counts as white from 128 on; NULL = none */
  textinv_preview_fn    preview;          /* gets what the pictures are becoming: after a step, what
                                             the model takes them for, decoded; required with
                                             preview_every. Its step is that of progress; its
                                             pictures are those drawn at once, and
                                             textinv_images_seed() tells them apart */
  void                 *preview_user;     /* passed to preview */
  uint32_t              preview_every;    /* steps; after the last one there is none; 0 = never
                                             (default). Each takes as long as decoding the result,
                                             which it does not change */
  int32_t               prompt_weights;   /* 1 = brackets in prompt and negative_prompt weigh, as in
                                             AUTOMATIC1111's web UI: (text) 1.1 times, (text:1.3) 1.3
                                             times, [text] 1 / 1.1 times, all together -1000..1000;
                                             \( \) \[ \] \\ are the characters. The states of tokens
                                             are multiplied, and then all of them so that their mean
                                             is what it was. 0 = brackets are text, as in diffusers
                                             (default) */
} textinv_generate_params;

/** Fill params with defaults. See textinv_session_params_init(). */
TEXTINV_API textinv_status textinv_generate_params_init(textinv_generate_params *params,
                                                        size_t size);

/**
 * Draw pictures of a prompt. With TEXTINV_RNG_TORCH_CPU picture i is the one that diffusers draws
 * with torch.Generator("cpu").manual_seed(seed + i).
 *
 * With a mask it is the one of diffusers' inpainting pipelines, width and height given. A model
 * made for inpainting (textinv_model_info.needs_mask) sees the mask and the latents of init_image
 * without what is white in it, at every step. With any other, after every step what is kept takes
 * the latents of init_image back, noised as the next step expects it; the last time without noise.
 * With strength 1 the first step sees noise alone, where without a mask it sees init_image under
 * that noise.
 *
 * Two differences are deliberate. The pooled text of SDXL is the state at the end of the prompt. Where
 * the config of text_encoder_2 has "eos_token_id": 2, as published ones do, transformers takes the
 * state at the highest id, which is that of a learnt word when the prompt has one: a mistake that its
 * source names and keeps. And where the model's scheduler config has the spacing "trailing" and
 * numpy's arange gives one element more than there are steps, as at 61 steps of 1000 timesteps,
 * diffusers makes one evaluation more than was asked for; this library makes as many as steps.
 *
 * @param[out] out        the pictures; the caller frees them with textinv_images_free()
 * @param      session    the session
 * @param      model      the model
 * @param      embeddings the new words that the prompts may use, or NULL
 * @param      params     options; read only during the call
 * @return TEXTINV_OK, TEXTINV_E_INVALID (also a model made for inpainting without init_image and
 *         mask), TEXTINV_E_NOMEM, TEXTINV_E_VERSION, TEXTINV_E_LIMIT (a prompt over 1 MiB, or a
 *         batch of over 2^31 - 1 places), TEXTINV_E_UNSUPPORTED (the first timestep is noise alone
 *         and the model predicts epsilon), TEXTINV_E_SHAPE (a word that is for other models),
 *         TEXTINV_E_NONFINITE, TEXTINV_E_CANCELLED or TEXTINV_E_BACKEND.
 */
TEXTINV_API textinv_status textinv_generate(textinv_images **out, textinv_session *session,
                                            const textinv_model *model,
                                            const textinv_embeddings *embeddings,
                                            const textinv_generate_params *params);

/* ------------------------------------------------------------------ evaluation */

/**
 * Open a CLIP model (Radford et al. 2021) in transformers' folder layout: config.json of a
 * CLIPModel, its weights, the tokenizer's files, and preprocessor_config.json or
 * processor_config.json. openai/clip-vit-base-patch32, with which the paper scores, and
 * clip-vit-large-patch14 are such folders. Scores of different CLIP models cannot be compared.
 *
 * @param[out] out     the CLIP model; the caller frees it with textinv_clip_free()
 * @param      session reports errors; not kept
 * @param      path    the folder that holds config.json, or NULL for the one that goes with the
 *                     default model: it knows that model's world alone, scenes and styles better
 *                     than things
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_IO, TEXTINV_E_FORMAT,
 *         TEXTINV_E_LIMIT, TEXTINV_E_UNSUPPORTED, TEXTINV_E_SHAPE, TEXTINV_E_CONFLICT or
 *         TEXTINV_E_NOT_FOUND, as textinv_model_open().
 */
TEXTINV_API textinv_status textinv_clip_open(textinv_clip **out, textinv_session *session,
                                             const char *path);

/** Free a CLIP model. No session may be using it. NULL is allowed. */
TEXTINV_API void textinv_clip_free(textinv_clip *clip);

/** Values of an embedding; 0 with NULL. */
TEXTINV_API uint32_t textinv_clip_dim(const textinv_clip *clip);

/* What a CLIP model is. Made ready by textinv_clip_info_init(). */
typedef struct textinv_clip_info {
  size_t      struct_size;
  const char *path;       /* the folder; owned by the CLIP model */
  uint64_t    parameters; /* weights of both towers */
  uint32_t    dim;        /* values of an embedding */
  uint32_t    size;       /* width and height of what is seen of a picture, in pixels */
  uint32_t    patch;      /* width and height of a patch of it, in pixels */
  uint32_t    max_tokens; /* positions of a text, begin and end tokens counted */
  uint32_t    vocabulary; /* ids of the tokenizer */
  uint32_t    reserved;   /* 0 */
} textinv_clip_info;

/** Make info ready to be filled. See textinv_session_params_init(). */
TEXTINV_API textinv_status textinv_clip_info_init(textinv_clip_info *info, size_t size);

/**
 * Fill info, which textinv_clip_info_init() has made ready.
 *
 * @return TEXTINV_OK, or TEXTINV_E_INVALID when an argument is NULL or info was not made ready;
 *         textinv_session_error(NULL) says which.
 */
TEXTINV_API textinv_status textinv_clip_get_info(const textinv_clip *clip, textinv_clip_info *info);

/**
 * A picture's embedding, as image_embeds of transformers' CLIPModel: of unit length, so that the
 * cosine of two is their scalar product. The picture is resized and cut to its middle as the
 * folder's CLIPImageProcessor does it with Pillow.
 *
 * @param[out] out        [textinv_clip_dim()]
 * @param      num_values values in out
 * @param      images     the pictures, of any size
 * @param      i          which
 * @return TEXTINV_OK, TEXTINV_E_INVALID (also no such picture), TEXTINV_E_NOMEM, TEXTINV_E_LIMIT
 *         (resized it is over 16384 pixels long), TEXTINV_E_SHAPE (num_values),
 *         TEXTINV_E_NONFINITE, TEXTINV_E_CANCELLED or TEXTINV_E_BACKEND.
 */
TEXTINV_API textinv_status textinv_clip_encode_image(textinv_session *session, float *out,
                                                     size_t num_values, const textinv_clip *clip,
                                                     const textinv_images *images, uint32_t i);

/**
 * A text's embedding, as text_embeds of transformers' CLIPModel: of unit length. Learnt words mean
 * nothing to it.
 *
 * @param[out] out        [textinv_clip_dim()]
 * @param      num_values values in out
 * @param[out] truncated  tokens of the text that did not fit; may be NULL
 * @param      text       UTF-8
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_LIMIT (a text over 1 MiB),
 *         TEXTINV_E_SHAPE (num_values), TEXTINV_E_NONFINITE, TEXTINV_E_CANCELLED or
 *         TEXTINV_E_BACKEND.
 */
TEXTINV_API textinv_status textinv_clip_encode_text(textinv_session *session, float *out,
                                                    size_t num_values, size_t *truncated,
                                                    const textinv_clip *clip, const char *text);

/* What textinv_evaluate() compares. Fill with textinv_evaluate_params_init(). */
typedef struct textinv_evaluate_params {
  size_t                       struct_size;
  const textinv_images *const *pictures;         /* those drawn with the word, of any sizes: handles
                                                    of one or more pictures; required */
  size_t                       num_pictures;     /* handles */
  const textinv_images *const *references;       /* those that the word was learnt from, likewise;
                                                    NULL = no image similarity (default) */
  size_t                       num_references;   /* handles */
  const char *const           *prompts;          /* one for all pictures, or one for each handle;
                                                    NULL = no text similarity (default) */
  size_t                       num_prompts;      /* 0, 1 or num_pictures */
  const char *const           *placeholders;     /* learnt words, taken out of the prompts wherever
                                                    they stand as they are written here: CLIP does
                                                    not know them */
  size_t                       num_placeholders; /* number of placeholders */
  textinv_progress_fn          progress;         /* after every picture; may be NULL */
  void                        *progress_user;    /* passed to progress */
} textinv_evaluate_params;

/** Fill params with defaults. See textinv_session_params_init(). */
TEXTINV_API textinv_status textinv_evaluate_params_init(textinv_evaluate_params *params,
                                                        size_t size);

/* What textinv_evaluate() found. Made ready by textinv_scores_init(). */
typedef struct textinv_scores {
  size_t   struct_size;
  uint32_t num_pictures;     /* of all handles */
  uint32_t num_references;   /* of all handles */
  float    image_similarity; /* reconstruction, -1..1: how much the pictures show the thing; 0
                                without references */
  float    text_similarity;  /* editability, -1..1: how much they show the rest of the prompt; 0
                                without prompts */
} textinv_scores;

/** Make scores ready to be filled. See textinv_session_params_init(). */
TEXTINV_API textinv_status textinv_scores_init(textinv_scores *scores, size_t size);

/**
 * Score pictures drawn with a learnt word, as in the paper's section 5 (Gal et al. 2022, "An Image
 * is Worth One Word"). Image similarity is the mean cosine of CLIP's embeddings over all pairs of a
 * picture and a reference; the paper takes 64 pictures of "A photo of S*". Text similarity is the
 * mean cosine of a picture and its prompt without the word, as the paper's published code computes
 * it; its text takes the cosine of the mean embedding. What gains in the first often loses in the
 * second (figure 10), so a host that chooses among checkpoints looks at both, of pictures with the
 * same prompts and seeds.
 *
 * @param      session  the session
 * @param[out] scores   means over all pictures, made ready by the caller; not changed on failure
 * @param[out] each     [pictures, 2]: image and text similarity of every picture, in the order of
 *                      the handles; NULL for the means alone
 * @param      num_each values in each: twice the number of pictures; 0 with NULL
 * @param      clip     what to compare with
 * @param      params   pictures, references and prompts; read only during the call
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_VERSION, TEXTINV_E_LIMIT (over
 *         2^20 pictures, a prompt over 1 MiB, a picture as in textinv_clip_encode_image()),
 *         TEXTINV_E_SHAPE (num_each), TEXTINV_E_NONFINITE, TEXTINV_E_CANCELLED or
 *         TEXTINV_E_BACKEND.
 */
TEXTINV_API textinv_status textinv_evaluate(textinv_session *session, textinv_scores *scores,
                                            float *each, size_t num_each, const textinv_clip *clip,
                                            const textinv_evaluate_params *params);

/* ------------------------------------------------------------------ single steps */

/**
 * Text to the UNet's context.
 *
 * @param[out] context     [max_tokens, context_dim]
 * @param      num_context values in context
 * @param[out] pooled      [pooled_dim], or NULL
 * @param      num_pooled  values in pooled; 0 with NULL
 * @param      clip_skip   layers left out, 0..11, as long as one remains
 * @param[out] truncated   tokens of the prompt that did not fit; may be NULL
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_LIMIT (a prompt over 1 MiB),
 *         TEXTINV_E_SHAPE (the message has the needed count; or a word that is for other models),
 *         TEXTINV_E_CANCELLED or TEXTINV_E_BACKEND.
 */
TEXTINV_API textinv_status textinv_encode_prompt(textinv_session *session, float *context,
                                                 size_t num_context, float *pooled,
                                                 size_t num_pooled, size_t *truncated,
                                                 const textinv_model *model,
                                                 const textinv_embeddings *embeddings,
                                                 const char *prompt, uint32_t clip_skip);

/**
 * A picture to the moments of its latents.
 *
 * @param[out] mean       [latent_channels, height / latent_scale, width / latent_scale], scaled
 * @param[out] deviation  standard deviation, the same shape, scaled; may be NULL
 * @param      num_values values in each
 * @param      images     the pictures
 * @param      i          which; its sides are multiples of latent_scale
 * @return TEXTINV_OK, TEXTINV_E_INVALID (no such picture, or its sides), TEXTINV_E_NOMEM,
 *         TEXTINV_E_SHAPE (num_values), TEXTINV_E_NONFINITE (what the autoencoder made of it),
 *         TEXTINV_E_CANCELLED or TEXTINV_E_BACKEND.
 */
TEXTINV_API textinv_status textinv_encode_image(textinv_session *session, float *mean,
                                                float *deviation, size_t num_values,
                                                const textinv_model *model,
                                                const textinv_images *images, uint32_t i);

/* Inputs of textinv_predict_noise(). Fill with textinv_predict_params_init(). */
typedef struct textinv_predict_params {
  size_t       struct_size;
  uint32_t     batch;    /* samples, 1..1024 */
  uint32_t     width;    /* of the latents, up to 2048; 0 = the model's own */
  uint32_t     height;   /* likewise */
  const float *latents;  /* [batch, latent_channels, height, width]; required */
  float        timestep; /* 0..train_timesteps - 1, may lie between two */
  const float *context;  /* [batch, max_tokens, context_dim]; required */
  const float *pooled;   /* [batch, pooled_dim]; required when pooled_dim > 0 */
  const float *size_ids; /* SDXL: [batch, 6] original h, w, crop top, left, target h, w; NULL = the
                            size of the picture without a crop */
  const float *mask;     /* a model made for inpainting: [batch, 1, height, width], 1 where it
                            redraws and 0 where it does not; required for it, NULL for any other */
  const float *masked;   /* with mask: [batch, latent_channels, height, width], latents of the
                            picture whose pixels are 0 of -1..1, a middle grey, where it is redrawn */
} textinv_predict_params;

/** Fill params with defaults. See textinv_session_params_init(). */
TEXTINV_API textinv_status textinv_predict_params_init(textinv_predict_params *params, size_t size);

/**
 * One evaluation of the UNet.
 *
 * @param[out] out        [batch, latent_channels, height, width]: noise, velocity or sample, as the
 *                        model predicts; it may come out infinite or NaN
 * @param      num_values values in out
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_VERSION, TEXTINV_E_LIMIT (a
 *         batch of over 2^31 - 1 places), TEXTINV_E_SHAPE (num_values), TEXTINV_E_CANCELLED or
 *         TEXTINV_E_BACKEND.
 */
TEXTINV_API textinv_status textinv_predict_noise(textinv_session *session, float *out,
                                                 size_t num_values, const textinv_model *model,
                                                 const textinv_predict_params *params);

/**
 * Latents to pictures.
 *
 * @param[out] images     8-bit pictures, freed with textinv_images_free(); may be NULL
 * @param[out] values     [batch, 3, height * latent_scale, width * latent_scale], -1..1 but not
 *                        clamped; may be NULL
 * @param      num_values values in values; 0 with NULL
 * @param      latents    [batch, latent_channels, height, width], scaled
 * @param      batch      1..1024
 * @param      width      of the latents, 1..2048
 * @param      height     of the latents, 1..2048
 * @return TEXTINV_OK, TEXTINV_E_INVALID, TEXTINV_E_NOMEM, TEXTINV_E_LIMIT, TEXTINV_E_SHAPE,
 *         TEXTINV_E_NONFINITE (the latents, or what the autoencoder made of them),
 *         TEXTINV_E_CANCELLED or TEXTINV_E_BACKEND.
 */
TEXTINV_API textinv_status textinv_decode_latents(textinv_session *session, textinv_images **images,
                                                  float *values, size_t num_values,
                                                  const textinv_model *model, const float *latents,
                                                  uint32_t batch, uint32_t width, uint32_t height);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* TEXTINV_TEXTINV_H */
