#include "cores.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc.h"
#include "format.h"

enum { ROOM = 4096, SETS = 8 /* of 1024 cores each */ };

typedef struct core_set {
  cpu_set_t set[SETS];
} core_set;

/* of OpenMP's run time, which comes with oneDNN or with the host or not at all */
__attribute__((weak)) int omp_get_proc_bind(void); /* 0 = threads are not tied */
__attribute__((weak)) int omp_get_num_places(void);
__attribute__((weak)) int omp_get_place_num_procs(int place);
__attribute__((weak)) void omp_get_place_proc_ids(int place, int *ids);

int ti_read_text(char *out, size_t size, const char *path)
{
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  size_t len = 0;
  ssize_t n;

  if (fd < 0)
    return -1;
  do {
    n = read(fd, out + len, size - 1 - len);
    len += n > 0 ? (size_t)n : 0;
  } while (n > 0 && len < size - 1);
  close(fd);
  out[len] = '\0';
  return len ? 0 : -1;
}

/* "QUOTA PERIOD", in microseconds, or "max PERIOD" */
static int cores_of(const char *text)
{
  char *end;
  const unsigned long long quota = strtoull(text, &end, 10), period = strtoull(end, NULL, 10);
  const unsigned long long cores = end == text || !period ? INT_MAX : (quota + period - 1) / period;

  return cores < 1 ? 1 : cores < INT_MAX ? (int)cores : INT_MAX;
}

int ti_cgroup_cores(const char *list, const char *root)
{
  char groups[ROOM], path[2 * ROOM], text[ROOM], *group = groups;
  int least = INT_MAX;

  if (ti_read_text(groups, sizeof(groups), list))
    return INT_MAX;
  while (group && strncmp(group, "0::/", 4)) {
    group = strchr(group, '\n');
    group += group != NULL;
  }
  if (!group)
    return INT_MAX;
  group += 3;
  group[strcspn(group, "\n")] = '\0';
  for (;;) {
    char *parent = strrchr(group, '/');
    int cores;

    ti_format(path, sizeof(path), "%s%s/cpu.max", root, group);
    cores = ti_read_text(text, sizeof(text), path) ? INT_MAX : cores_of(text);
    least = cores < least ? cores : least;
    if (!parent)
      return least;
    *parent = '\0';
  }
}

static void add_place(core_set *c, int place)
{
  const int count = omp_get_place_num_procs(place);
  int *ids = ti_calloc(count > 0 ? (size_t)count : 0, sizeof(*ids));

  if (!ids)
    return;
  omp_get_place_proc_ids(place, ids);
  for (int i = 0; i < count; i++)
    CPU_SET_S(ids[i], sizeof(c->set), c->set);
  ti_free(ids);
}

/* those of this thread, and of OpenMP's places: where the environment asks for some (OMP_PLACES,
 * OMP_PROC_BIND), it ties the process's first thread to one of them as soon as it is loaded;
 * returns the number of places, -1 when nothing is known */
static int read_cores(core_set *c)
{
  int places;

  CPU_ZERO_S(sizeof(c->set), c->set);
  if (sched_getaffinity(0, sizeof(c->set), c->set))
    return -1;
  places = omp_get_proc_bind && omp_get_num_places && omp_get_place_num_procs &&
               omp_get_place_proc_ids && omp_get_proc_bind()
             ? omp_get_num_places()
             : 0;
  for (int i = 0; i < places; i++)
    add_place(c, i);
  return places;
}

void ti_use_cores(pthread_t thread)
{
  core_set c;

  if (read_cores(&c) > 0)
    (void)pthread_setaffinity_np(thread, sizeof(c.set), c.set);
}

int ti_usable_cores(void)
{
  const int quota = ti_cgroup_cores("/proc/self/cgroup", "/sys/fs/cgroup");
  core_set c;
  long n;

  /* more processors than the set has room for: EINVAL */
  n = read_cores(&c) < 0 ? sysconf(_SC_NPROCESSORS_ONLN) : CPU_COUNT_S(sizeof(c.set), c.set);
  return n < 1 ? 1 : n < quota ? (int)n : quota;
}
