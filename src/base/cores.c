#include "cores.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format.h"

enum { ROOM = 4096 };

/* the file's first bytes as text; -1 when there is none */
static int read_text(char *out, const char *path)
{
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t len;

  if (fd < 0)
    return -1;
  len = read(fd, out, ROOM - 1);
  close(fd);
  out[len > 0 ? len : 0] = '\0';
  return len > 0 ? 0 : -1;
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

  if (read_text(groups, list))
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
    cores = read_text(text, path) ? INT_MAX : cores_of(text);
    least = cores < least ? cores : least;
    if (!parent)
      return least;
    *parent = '\0';
  }
}

int ti_usable_cores(void)
{
  const int quota = ti_cgroup_cores("/proc/self/cgroup", "/sys/fs/cgroup");
  cpu_set_t set;
  long n;

  /* more processors than the set has room for: EINVAL */
  if (sched_getaffinity(0, sizeof(set), &set))
    n = sysconf(_SC_NPROCESSORS_ONLN);
  else
    n = CPU_COUNT(&set);
  return n < 1 ? 1 : n < quota ? (int)n : quota;
}
