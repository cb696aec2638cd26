/*
 * `state` counts rounds, one a loop, and the threads that are in the present one. A thread goes in
 * while the round is open, and only then reads the loop; the caller closes the round, waits until
 * all are out again, and so changes the loop alone.
 */
#include "team.h"

#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "alloc.h"
#include "cores.h"

enum {
  WATCH_NS = 100000, /* before a thread sleeps: longer than most times between two loops */
  LOOKS = 64,        /* at the state between two at the clock */
  CHUNKS = 16,       /* of a share, taken one by one */
  LINE = 64          /* of the cache */
};

/* state: how many are inside, whether more may come, and above both the number of the round */
enum { OPEN = 1 << 16, INSIDE = OPEN - 1, ROUND = 2 * OPEN };
static const uint64_t ROUNDS = ~(uint64_t)(ROUND - 1);

typedef struct member {
  _Alignas(LINE) atomic_size_t next; /* of its share of the loop */
  size_t end;
  ti_team *team;
  int thread;
  pthread_t handle;
} member;

struct ti_team {
  _Alignas(LINE) _Atomic uint64_t state;
  atomic_int asleep;  /* threads that must be woken for a round */
  atomic_int awaited; /* whether the caller must be, by the last who goes out */
  atomic_int ends;
  pthread_mutex_t lock;
  pthread_cond_t begun, left;
  ti_loop loop;
  void *user;
  size_t chunk;
  int threads; /* of this loop */
  int size, started;
  pid_t process;   /* that has the threads; 0 = none yet */
  member *members; /* [size], the caller's first */
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static uint64_t now(void)
{
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* whether these bits of the state are still the same after WATCH_NS */
static int stays(ti_team *t, uint64_t bits, uint64_t value)
{
  uint64_t until = 0;

  for (int i = 1; (atomic_load(&t->state) & bits) == value; i++) {
    relax();
    if (i % LOOKS)
      continue;
    if (!until)
      until = now() + WATCH_NS;
    else if (now() > until)
      return 1;
  }
  return 0;
}

/* ------ a thread of the team */

static void sleep_until_a_round_after(ti_team *t, uint64_t round)
{
  pthread_mutex_lock(&t->lock);
  atomic_fetch_add(&t->asleep, 1);
  while ((atomic_load(&t->state) & ROUNDS) == round)
    pthread_cond_wait(&t->begun, &t->lock);
  atomic_fetch_sub(&t->asleep, 1);
  pthread_mutex_unlock(&t->lock);
}

static int go_in(ti_team *t, uint64_t round)
{
  uint64_t state = atomic_load(&t->state);

  while ((state & ~(uint64_t)INSIDE) == (round | OPEN)) {
    if (atomic_compare_exchange_weak(&t->state, &state, state + 1))
      return 1;
  }
  return 0;
}

static void go_out(ti_team *t)
{
  const uint64_t state = atomic_fetch_sub(&t->state, 1) - 1;

  if (state & (OPEN | INSIDE) || !atomic_load(&t->awaited))
    return;
  pthread_mutex_lock(&t->lock);
  pthread_cond_signal(&t->left);
  pthread_mutex_unlock(&t->lock);
}

/* its own share, then what is left of the others' */
static void work(ti_team *t, int thread)
{
  for (int i = 0; i < t->threads; i++) {
    member *m = &t->members[(thread + i) % t->threads];
    size_t from;

    while ((from = atomic_fetch_add_explicit(&m->next, t->chunk, memory_order_relaxed)) < m->end)
      t->loop(t->user, thread, from, m->end - from < t->chunk ? m->end : from + t->chunk);
  }
}

static void *serve(void *user)
{
  const member *m = user;
  ti_team *t = m->team;
  uint64_t round = 0;

  fesetenv(FE_DFL_ENV); /* it has the environment of the thread that made it */
  for (;;) {
    if (stays(t, ROUNDS, round))
      sleep_until_a_round_after(t, round);
    round = atomic_load(&t->state) & ROUNDS;
    if (atomic_load(&t->ends))
      return NULL;
    if (!go_in(t, round))
      continue;
    if (m->thread < t->threads)
      work(t, m->thread);
    go_out(t);
  }
}

/* ------ the caller */

static void start(ti_team *t)
{
  static const int own[] = { SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP };
  sigset_t others, host;

  t->process = getpid();
  t->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
  t->begun = t->left = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
  atomic_store(&t->state, 0);
  atomic_store(&t->asleep, 0);
  /* signals are the host's threads' business, but for those that a thread brings upon itself: the
   * system ends a process that blocks one of them, without asking the host's handler */
  sigfillset(&others);
  for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
    sigdelset(&others, own[i]);
  pthread_sigmask(SIG_SETMASK, &others, &host);
  for (t->started = 1; t->started < t->size; t->started++) {
    member *m = &t->members[t->started];

    m->team = t;
    m->thread = t->started;
    if (pthread_create(&m->handle, NULL, serve, m))
      break;
    ti_use_cores(m->handle);
  }
  pthread_sigmask(SIG_SETMASK, &host, NULL);
  t->size = t->started;
}

static void begin_round(ti_team *t, uint64_t open)
{
  atomic_store(&t->state, (atomic_load(&t->state) & ROUNDS) + ROUND + open);
  if (!atomic_load(&t->asleep))
    return;
  pthread_mutex_lock(&t->lock);
  pthread_cond_broadcast(&t->begun);
  pthread_mutex_unlock(&t->lock);
}

static void sleep_until_all_are_out(ti_team *t)
{
  int cancel;

  /* a caller that is cancelled here would take its loop from under the others */
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
  pthread_mutex_lock(&t->lock);
  atomic_store(&t->awaited, 1);
  while (atomic_load(&t->state) & INSIDE)
    pthread_cond_wait(&t->left, &t->lock);
  atomic_store(&t->awaited, 0);
  pthread_mutex_unlock(&t->lock);
  pthread_setcancelstate(cancel, NULL);
}

ti_team *ti_team_new(int threads)
{
  ti_team *t = ti_calloc(1, sizeof(*t));

  if (!t || !(t->members = ti_calloc((size_t)threads, sizeof(*t->members)))) {
    ti_free(t);
    return NULL;
  }
  t->size = threads;
  return t;
}

void ti_team_free(ti_team *t)
{
  if (!t)
    return;
  if (t->process == getpid()) {
    atomic_store(&t->ends, 1);
    begin_round(t, 0);
    for (int i = 1; i < t->started; i++)
      pthread_join(t->members[i].handle, NULL);
    pthread_cond_destroy(&t->left);
    pthread_cond_destroy(&t->begun);
    pthread_mutex_destroy(&t->lock);
  }
  ti_free(t->members);
  ti_free(t);
}

int ti_team_size(const ti_team *t)
{
  return t ? t->size : 1;
}

void ti_team_enter(ti_team *t)
{
  if (t && t->process != getpid())
    start(t);
}

void ti_team_for(ti_team *t, int threads, size_t count, ti_loop loop, void *user)
{
  uint64_t inside;

  if ((size_t)threads > count)
    threads = (int)count;
  if (threads < 2) {
    if (count)
      loop(user, 0, 0, count);
    return;
  }
  t->loop = loop;
  t->user = user;
  t->threads = threads;
  t->chunk = (count / threads + CHUNKS - 1) / CHUNKS;
  for (int i = 0; i < threads; i++) {
    const size_t rest = count % threads, each = count / threads;

    atomic_store_explicit(&t->members[i].next, i * each + ((size_t)i < rest ? (size_t)i : rest),
                          memory_order_relaxed);
    t->members[i].end = (i + 1) * each + ((size_t)i < rest ? (size_t)i + 1 : rest);
  }
  begin_round(t, OPEN);
  work(t, 0);
  atomic_fetch_and(&t->state, ~(uint64_t)OPEN);
  while ((inside = atomic_load(&t->state) & INSIDE)) {
    if (stays(t, INSIDE, inside))
      sleep_until_all_are_out(t);
  }
}
