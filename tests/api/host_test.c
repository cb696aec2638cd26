/* What the host has set and what it cannot give: floating point, OpenMP, fork, memory. */
#include "testing_tiny.h"

#include <dlfcn.h>
#include <errno.h>
#include <fenv.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api.h"
#include "host.h"

enum { VALUES = 4 * 8 * 8 };

static int maps_fail;

void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
  static void *(*real)(void *, size_t, int, int, int, off_t);

  if (maps_fail) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  if (!real)
    *(void **)&real = dlsym(RTLD_NEXT, "mmap");
  return real(at, bytes, protection, flags, fd, offset);
}

static textinv_session *open_session(uint32_t threads)
{
  textinv_session_params p;
  textinv_session *s;

  must(textinv_session_params_init(&p, sizeof(p)));
  p.threads = threads;
  must(textinv_session_new(&s, &p));
  return s;
}

static textinv_status predict(textinv_session *s, float out[VALUES], uint32_t batch)
{
  const size_t count = VALUES * (size_t)batch, width = TINY_TOKENS * TINY_WIDTH * (size_t)batch;
  float *latents = calloc(count, sizeof(float)), *context = calloc(width, sizeof(float));
  float *all = calloc(count, sizeof(float));
  textinv_predict_params p;

  must(textinv_predict_params_init(&p, sizeof(p)));
  for (size_t i = 0; i < count; i++)
    latents[i] = (float)(i % 17) - 8.0f;
  for (size_t i = 0; i < width; i++)
    context[i] = (float)(i % 5) - 2.0f;
  p.latents = latents;
  p.context = context;
  p.batch = batch;
  const textinv_status status = textinv_predict_noise(s, all, count, model, &p);

  memcpy(out, all, VALUES * sizeof(float));
  free(latents);
  free(context);
  free(all);
  return status;
}

static void floating_point_is_the_librarys_own(void **state)
{
  textinv_session *s = open_session(2);
  float plain[VALUES], met[VALUES];

  (void)state;
  must(predict(s, plain, 1));
  assert_int_equal(fesetround(FE_UPWARD), 0);
  feenableexcept(FE_OVERFLOW | FE_DIVBYZERO | FE_INVALID);
  const int possible = fegetexcept(); /* ARM's processors may have no traps */
  const textinv_status status = predict(s, met, 1);
  const int rounding = fegetround(), traps = fegetexcept();

  fesetenv(FE_DFL_ENV);
  must(status);
  assert_int_equal(rounding, FE_UPWARD);
  assert_int_equal(traps, possible);
  assert_memory_equal(met, plain, sizeof(plain));
  textinv_session_free(s);
}

/* numbers below 2^-126 become 0, as in a process that has loaded what was built with -ffast-math */
static void flush_denormals(void)
{
#if defined(__x86_64__)
  __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040);
#elif defined(__aarch64__)
  uint64_t control;

  __asm__ volatile("mrs %0, fpcr" : "=r"(control));
  __asm__ volatile("msr fpcr, %0" : : "r"(control | 1 << 24));
#endif
}

static int flushes(void)
{
  volatile float least = 0x1p-126f, half = least * 0.5f;

  return half == 0.0f;
}

static void look(void *user, int thread, size_t from, size_t to)
{
  atomic_int *met = user;

  (void)from;
  (void)to;
  if (thread)
    atomic_fetch_or(met, flushes() ? 2 : 1);
  else
    usleep(100); /* until another comes */
}

static void denormals_are_kept(void **state)
{
  ti_team *team = ti_team_new(2);
  atomic_int met = 0;
  ti_host host;

  (void)state;
  assert_non_null(team);
  flush_denormals();
  if (!flushes())
    skip();
  ti_host_enter(&host, team);
  const int inside = flushes();

  for (int i = 0; i < 1000 && !atomic_load(&met); i++)
    ti_team_for(team, 2, 64, look, &met);
  ti_host_leave(&host);
  const int behind = flushes();

  fesetenv(FE_DFL_ENV);
  ti_team_free(team);
  assert_int_equal(inside, 0);
  assert_int_equal(behind, 1);
  assert_int_equal(atomic_load(&met), 1);
}

static void textinv_cpu_is_a_level_of_the_processor(void **state)
{
  textinv_session *s;

  (void)state;
  setenv("TEXTINV_CPU", "reference", 1);
  must(textinv_session_new(&s, NULL));
  textinv_session_free(s);
  setenv("TEXTINV_CPU", "pentium", 1);
  const textinv_status status = textinv_session_new(&s, NULL);

  unsetenv("TEXTINV_CPU");
  assert_int_equal(status, TEXTINV_E_INVALID);
  assert_null(s);
  assert_non_null(strstr(textinv_session_error(NULL),
                         "TEXTINV_CPU in the environment is pentium; "
                         "known on this kind of processor: reference"));
}

/* oneDNN, which takes as many threads as OpenMP is set to, is run with one */
static void openmp_is_left_alone(void **state)
{
  void (*set_threads)(int);
  int (*get_threads)(void);
  textinv_session *s = open_session(2);
  float out[VALUES];

  (void)state;
  *(void **)&set_threads = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
  *(void **)&get_threads = dlsym(RTLD_DEFAULT, "omp_get_max_threads");
  if (!set_threads || !get_threads)
    skip();
  set_threads(3);
  must(predict(s, out, 1));
  assert_int_equal(get_threads(), 3);
  textinv_session_free(s);
}

static void a_child_of_fork_goes_on(void **state)
{
  textinv_session *s = open_session(2);
  float out[VALUES], again[VALUES];
  int status = -1;

  (void)state;
  must(predict(s, out, 1));
  const pid_t child = fork();

  if (!child) {
    alarm(60);
    if (predict(s, again, 1) < 0 || memcmp(again, out, sizeof(out)))
      _exit(1);
    textinv_session_free(s);
    _exit(0);
  }
  assert_true(child > 0 && waitpid(child, &status, 0) == child);
  assert_int_equal(status, 0);
  must(predict(s, again, 1));
  assert_memory_equal(again, out, sizeof(out));
  textinv_session_free(s);
}

/* what does not fit fails, and what fitted before goes on to do so */
static void a_call_that_got_no_memory_leaves_the_others_theirs(void **state)
{
  textinv_session *s = open_session(1);
  float before[VALUES], after[VALUES];

  (void)state;
  must(predict(s, before, 1));
  maps_fail = 1;
  const textinv_status large = predict(s, after, 64), small = predict(s, after, 1);

  maps_fail = 0;
  assert_int_equal(large, TEXTINV_E_NOMEM);
  assert_int_equal(small, TEXTINV_E_NOMEM);
  must(predict(s, after, 1));
  assert_memory_equal(after, before, sizeof(before));
  textinv_session_free(s);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(floating_point_is_the_librarys_own),
    cmocka_unit_test(denormals_are_kept),
    cmocka_unit_test(textinv_cpu_is_a_level_of_the_processor),
    cmocka_unit_test(openmp_is_left_alone),
    cmocka_unit_test(a_child_of_fork_goes_on),
    cmocka_unit_test(a_call_that_got_no_memory_leaves_the_others_theirs),
  };

  return cmocka_run_group_tests_name("host", tests, open_tiny, close_tiny);
}
