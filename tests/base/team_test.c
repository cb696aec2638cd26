/* A team's loops: every iteration once whoever comes to help, also where threads cannot be made,
 * where cores have other work, and in a child of fork(). */
#include "testing.h"

#include <dlfcn.h>
#include <errno.h>
#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "team.h"

enum { MOST = 70000, THREADS = 5 };

static int threads_left = -1; /* -1: as many as are asked for */
static unsigned char times[MOST];
static atomic_int wrong;

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
  int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

  if (!threads_left)
    return EAGAIN;
  threads_left -= threads_left > 0;
  *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
  return real(thread, attr, start, arg);
}

static ti_team *team_of(int threads)
{
  ti_team *team = ti_team_new(threads);

  assert_non_null(team);
  ti_team_enter(team);
  return team;
}

static void count_times(void *user, int thread, size_t from, size_t to)
{
  const int *threads = user;

  if (thread < 0 || thread >= *threads || from >= to)
    atomic_store(&wrong, 1);
  for (size_t i = from; i < to; i++)
    times[i]++;
}

static void check_loop(ti_team *team, int threads, size_t count)
{
  memset(times, 0, sizeof(times));
  ti_team_for(team, threads, count, count_times, &threads);
  for (size_t i = 0; i < MOST; i++)
    assert_int_equal(times[i], i < count);
  assert_false(atomic_load(&wrong));
}

static void every_iteration_is_done_once(void **state)
{
  static const size_t counts[] = { 0, 1, 2, 3, 4, 5, 6, 7, 31, 79, 80, 81, 4096, MOST };

  (void)state;
  for (int size = 1; size <= THREADS; size++) {
    ti_team *team = team_of(size);

    assert_int_equal(ti_team_size(team), size);
    for (int threads = 1; threads <= size; threads++) {
      for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        check_loop(team, threads, counts[i]);
    }
    ti_team_free(team);
  }
}

static void nobody_is_a_team_of_one(void **state)
{
  (void)state;
  assert_int_equal(ti_team_size(NULL), 1);
  check_loop(NULL, 1, 100);
  ti_team_enter(NULL);
  ti_team_free(NULL);
}

/* one thread holds up its share until the others have done all else */
static void wait_in_the_first(void *user, int thread, size_t from, size_t to)
{
  atomic_size_t *done = user;

  (void)thread;
  if (from == 0) {
    while (atomic_load(done) < MOST - to)
      usleep(100);
  }
  atomic_fetch_add(done, to - from);
}

static void a_share_that_waits_is_helped_with(void **state)
{
  ti_team *team = team_of(2);
  atomic_size_t done = 0;

  (void)state;
  alarm(60);
  ti_team_for(team, 2, MOST, wait_in_the_first, &done);
  alarm(0);
  assert_int_equal(atomic_load(&done), MOST);
  ti_team_free(team);
}

/* short loops with and without time between them, in which the threads fall asleep */
static void threads_wake_and_sleep(void **state)
{
  const int size = THREADS;
  ti_team *team = team_of(size);

  (void)state;
  for (int i = 0; i < 3000; i++) {
    int threads = 1 + i % size;
    const size_t count = (size_t)(i % 97);

    memset(times, 0, 100);
    ti_team_for(team, threads, count, count_times, &threads);
    for (size_t j = 0; j < 100; j++)
      assert_int_equal(times[j], j < count);
    if (i % 100 == 0)
      usleep(1000);
  }
  assert_false(atomic_load(&wrong));
  ti_team_free(team);
}

static void threads_that_cannot_be_made_are_done_without(void **state)
{
  (void)state;
  threads_left = 2;
  ti_team *team = team_of(8);

  threads_left = -1;
  assert_int_equal(ti_team_size(team), 3);
  check_loop(team, 3, MOST);
  ti_team_free(team);
}

static atomic_int working;

/* the others take longer than the caller, which is cancelled meanwhile */
static void work_long(void *user, int thread, size_t from, size_t to)
{
  (void)user;
  (void)from;
  (void)to;
  atomic_fetch_add(&working, 1);
  while (atomic_load(&working) < 2)
    usleep(100);
  if (thread)
    usleep(300000);
  else
    pthread_cancel(pthread_self());
  atomic_fetch_add(&working, 2);
}

static void *call(void *team)
{
  ti_team_for(team, 2, 2, work_long, NULL);
  pthread_testcancel();
  return team;
}

/* what the loop uses may lie on the stack of the thread that calls */
static void a_cancelled_caller_waits_for_the_others(void **state)
{
  ti_team *team = team_of(2);
  pthread_t caller;
  void *result;

  (void)state;
  alarm(60);
  assert_int_equal(pthread_create(&caller, NULL, call, team), 0);
  assert_int_equal(pthread_join(caller, &result), 0);
  alarm(0);
  assert_int_equal(atomic_load(&working), 6);
  assert_ptr_equal(result, PTHREAD_CANCELED);
  ti_team_free(team);
}

static void check_environment(void *user, int thread, size_t from, size_t to)
{
  atomic_int *met = user;
  sigset_t blocked;

  (void)from;
  (void)to;
  if (!thread) {
    usleep(100); /* until another comes */
    return;
  }
  pthread_sigmask(SIG_SETMASK, NULL, &blocked);
  atomic_fetch_or(met, fegetround() == FE_TONEAREST && sigismember(&blocked, SIGTERM) &&
                           !sigismember(&blocked, SIGBUS) && !sigismember(&blocked, SIGSYS)
                         ? 1
                         : 2);
}

/* the caller's floating point and signals are not those of its team */
static void threads_are_their_own(void **state)
{
  atomic_int met = 0;
  sigset_t blocked;

  (void)state;
  assert_int_equal(fesetround(FE_UPWARD), 0);
  ti_team *team = team_of(2);

  for (int i = 0; i < 1000 && !atomic_load(&met); i++)
    ti_team_for(team, 2, 64, check_environment, &met);
  assert_int_equal(fegetround(), FE_UPWARD);
  fesetround(FE_TONEAREST);
  pthread_sigmask(SIG_SETMASK, NULL, &blocked);
  assert_false(sigismember(&blocked, SIGTERM));
  assert_int_equal(atomic_load(&met), 1);
  ti_team_free(team);
}

static void a_child_has_threads_of_its_own(void **state)
{
#ifdef __SANITIZE_THREAD__
  (void)state;
  skip(); /* ThreadSanitizer takes a child's threads for those of its parent */
#else
  const int size = 3;
  ti_team *team = team_of(size);
  atomic_size_t done = 0;
  int status = -1;

  (void)state;
  check_loop(team, size, MOST);
  const pid_t child = fork();

  if (!child) {
    alarm(60);
    ti_team_enter(team);
    ti_team_for(team, size, MOST, wait_in_the_first, &done);
    ti_team_free(team);
    _exit(atomic_load(&done) == MOST ? 0 : 1);
  }
  assert_true(child > 0 && waitpid(child, &status, 0) == child);
  assert_int_equal(status, 0);
  check_loop(team, size, MOST);
  ti_team_free(team);
#endif
}

/* which has not called for a loop since: only what it owns is freed */
static void a_child_may_free_a_team(void **state)
{
  ti_team *team = team_of(3);
  int status = -1;

  (void)state;
  const pid_t child = fork();

  if (!child) {
    alarm(60);
    ti_team_free(team);
    _exit(0);
  }
  assert_true(child > 0 && waitpid(child, &status, 0) == child);
  assert_int_equal(status, 0);
  ti_team_free(team);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_iteration_is_done_once),
    cmocka_unit_test(nobody_is_a_team_of_one),
    cmocka_unit_test(a_share_that_waits_is_helped_with),
    cmocka_unit_test(threads_wake_and_sleep),
    cmocka_unit_test(threads_that_cannot_be_made_are_done_without),
    cmocka_unit_test(a_cancelled_caller_waits_for_the_others),
    cmocka_unit_test(threads_are_their_own),
    cmocka_unit_test(a_child_has_threads_of_its_own),
    cmocka_unit_test(a_child_may_free_a_team),
  };

  return cmocka_run_group_tests_name("team", tests, NULL, NULL);
}
