/* The state of the host's threads around a run. */
#include "host.h"

#include <omp.h>
#include <pthread.h>
#include <unistd.h>

#include "alloc.h"

static _Thread_local fenv_t borrowed; /* each thread of a team has its own */
static _Thread_local int is_borrowed;
static _Thread_local pid_t pooled_in; /* the process in which this thread had a team */

static void *wait_for(void *gate)
{
  pthread_mutex_lock(gate);
  pthread_mutex_unlock(gate);
  return NULL;
}

int ti_host_threads(int wanted)
{
  pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
  const int most = omp_get_thread_limit(), count = wanted < most ? wanted : most;
  pthread_t *threads = count > 1 ? ti_calloc((size_t)count, sizeof(*threads)) : NULL;
  int made = 0;

  if (!threads)
    return 1;
  pthread_mutex_lock(&gate);
  while (made < count - 1 && !pthread_create(&threads[made], NULL, wait_for, &gate))
    made++;
  pthread_mutex_unlock(&gate);
  for (int i = 0; i < made; i++)
    pthread_join(threads[i], NULL);
  pthread_mutex_destroy(&gate);
  ti_free(threads);
  return made + 1;
}

textinv_status ti_host_enter(ti_host *host, ti_error *error, int threads)
{
  const pid_t process = getpid();

  if (threads > 1 && pooled_in && pooled_in != process)
    return ti_fail(error, TEXTINV_E_BACKEND,
                   "this thread's OpenMP threads were lost in fork(); call from a new thread, or "
                   "with a session of one thread");
  if (threads > 1)
    pooled_in = process;
  host->threads = omp_get_max_threads();
  host->dynamic = omp_get_dynamic();
  omp_set_dynamic(0);
  omp_set_num_threads(threads);
  fegetenv(&host->environment);
#pragma omp parallel
  {
    fegetenv(&borrowed);
    is_borrowed = 1;
    fesetenv(FE_DFL_ENV);
  }
  return TEXTINV_OK;
}

void ti_host_leave(const ti_host *host)
{
/* OpenMP may have put a new thread into the team since, which would have had the caller's */
#pragma omp parallel
  {
    fesetenv(is_borrowed ? &borrowed : &host->environment);
    is_borrowed = 0;
  }
  omp_set_num_threads(host->threads);
  omp_set_dynamic(host->dynamic);
}
