/* Sessions: device, threads, memory, log, the last error, and the plans that were made. */
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "alloc.h"
#include "api.h"
#include "cores.h"

enum { MAX_THREADS = 1024 };

/* of the thread's last failed call without a session */
static _Thread_local ti_error no_session;

uint32_t textinv_version(void)
{
  return TEXTINV_VERSION_MAJOR << 16 | TEXTINV_VERSION_MINOR << 8 | TEXTINV_VERSION_PATCH;
}

const char *textinv_status_name(textinv_status status)
{
  static const char *const names[] = {
    "TEXTINV_OK",         "TEXTINV_E_INVALID",     "TEXTINV_E_NOMEM", "TEXTINV_E_CANCELLED",
    "TEXTINV_E_BACKEND",  "TEXTINV_E_VERSION",     "TEXTINV_E_IO",    "TEXTINV_E_FORMAT",
    "TEXTINV_E_LIMIT",    "TEXTINV_E_UNSUPPORTED", "TEXTINV_E_SHAPE", "TEXTINV_E_NONFINITE",
    "TEXTINV_E_CONFLICT", "TEXTINV_E_NOT_FOUND"
  };

  if (status > 0 || status <= -(int)(sizeof(names) / sizeof(*names)))
    return "unknown status";
  return names[-status];
}

static const textinv_session_params session_defaults = { .struct_size = sizeof(
                                                           textinv_session_params) };

/* version 0.1 ended at backend_path */
static const size_t SESSION_PARAMS_MIN = sizeof(textinv_session_params);

textinv_status textinv_session_params_init(textinv_session_params *params, size_t size)
{
  return ti_params_init(params, size, &session_defaults, sizeof(session_defaults),
                        SESSION_PARAMS_MIN);
}

static textinv_status check_session(ti_error *error, const textinv_session_params *p)
{
  const textinv_status status = ti_check_backend(error, p->backend);

  if (status < 0)
    return status;
  if (p->backend == TEXTINV_BACKEND_CPU && p->dtype == TEXTINV_F16)
    return ti_fail(error, TEXTINV_E_UNSUPPORTED,
                   "dtype f16 needs CUDA; the CPU takes f32 and bf16");
  if (p->dtype != TEXTINV_F32 && p->dtype != TEXTINV_F16 && p->dtype != TEXTINV_BF16)
    return ti_fail(error, TEXTINV_E_INVALID, "dtype is %d; known are 0 (f32), 1 (f16) and 2 (bf16)",
                   (int)p->dtype);
  if (p->threads > MAX_THREADS)
    return ti_fail(error, TEXTINV_E_INVALID, "threads is %u; 0 (all cores) to %d are possible",
                   p->threads, MAX_THREADS);
  return p->backend == TEXTINV_BACKEND_CPU ? ti_check_cpu(error) : TEXTINV_OK;
}

const char *ti_wider_types(ti_dtype dtype)
{
  return dtype == TI_F16 ? ", or use bf16 or f32" : dtype == TI_BF16 ? ", or use f32" : "";
}

textinv_status textinv_session_new(textinv_session **out, const textinv_session_params *params)
{
  textinv_session_params p = session_defaults;
  textinv_session *s;
  textinv_status status;

  no_session.text[0] = '\0';
  if (!out)
    return ti_fail(&no_session, TEXTINV_E_INVALID, "out is NULL");
  *out = NULL;
  if (params && (status = ti_params_read(&no_session, &p, sizeof(p), SESSION_PARAMS_MIN, params,
                                         "session_params")) < 0)
    return status;
  if ((status = check_session(&no_session, &p)) < 0)
    return status;
  s = ti_calloc(1, sizeof(*s));
  if (!s)
    return ti_fail_nomem(&no_session, sizeof(*s), "a session");
  s->dtype = p.dtype;
  s->budget = p.memory_budget;
  s->log = p.log;
  s->log_user = p.log_user;
  if (p.backend == TEXTINV_BACKEND_CUDA) {
    status = ti_device_open(&s->device, &no_session, p.backend_path, p.device, p.stream);
    if (status < 0) {
      ti_free(s);
      return status;
    }
    s->device->plugin->init_kernels(&s->kernels);
    s->joins = 1;
    s->arena.sparse = 1;
  } else {
    const int cores = ti_usable_cores();

    s->team = ti_team_new(p.threads ? (int)p.threads : cores < MAX_THREADS ? cores : MAX_THREADS);
    if (!s->team) {
      ti_free(s);
      return ti_fail_nomem(&no_session, 0, "a session's threads");
    }
    ti_kernels_init_cpu(&s->kernels);
    ti_kernels_init_simd(&s->kernels);
    ti_kernels_init_onednn(&s->kernels);
  }
  *out = s;
  return TEXTINV_OK;
}

void textinv_session_free(textinv_session *session)
{
  if (!session)
    return;
  ti_session_drop_plans(session);
  ti_device_close(session->device);
  ti_arena_free(&session->arena);
  ti_team_free(session->team);
  ti_free(session);
}

const char *textinv_session_error(const textinv_session *session)
{
  return session ? session->error.text : no_session.text;
}

void textinv_session_cancel(textinv_session *session)
{
  if (session)
    atomic_store(&session->cancel, 1);
}

void textinv_session_clear_cancel(textinv_session *session)
{
  if (session)
    atomic_store(&session->cancel, 0);
}

uint64_t textinv_session_peak_bytes(const textinv_session *session)
{
  return session ? session->peak_bytes : 0;
}

ti_error *ti_begin(textinv_session *s)
{
  ti_error *error = s ? &s->error : &no_session;

  error->text[0] = '\0';
  return error;
}

textinv_status ti_session_end(textinv_session *s, textinv_status status)
{
  if (status == TEXTINV_E_CANCELLED)
    atomic_store(&s->cancel, 0);
  if (status >= 0)
    s->error.text[0] = '\0'; /* of what was done another way, or of a callback's own call */
  return status;
}

void ti_log(const textinv_session *s, textinv_log_level level, const char *fmt, ...)
{
  char line[TI_ERROR_SIZE];
  va_list ap;

  if (!s->log)
    return;
  va_start(ap, fmt);
  ti_format_line(line, fmt, ap);
  va_end(ap);
  s->log(s->log_user, level, line);
}

double ti_seconds(void)
{
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
