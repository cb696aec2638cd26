/* How many cores a cgroup leaves. This program has a sched_getaffinity() that fails at will. */
#include "testing.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cores.h"

static int too_many; /* processors, for a cpu_set_t */

int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
  if (too_many) {
    errno = EINVAL;
    return -1;
  }
  return syscall(SYS_sched_getaffinity, pid, size, memset(set, 0, size)) < 0 ? -1 : 0;
}

static atomic_int moved;
static char root[] = "/tmp/textinv-cores-XXXXXX";

static void put(const char *name, const char *text)
{
  char path[256];

  snprintf(path, sizeof(path), "%s/%s", root, name);
  FILE *f = fopen(path, "w");

  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

static int cores(const char *list)
{
  char path[256];

  snprintf(path, sizeof(path), "%s/list", root);
  put("list", list);
  return ti_cgroup_cores(path, root);
}

static void the_least_of_all_groups_counts(void **state)
{
  (void)state;
  put("a/b/cpu.max", "max 100000\n");
  assert_int_equal(cores("0::/a/b\n"), INT_MAX);
  put("a/b/cpu.max", "250000 100000\n");
  assert_int_equal(cores("0::/a/b\n"), 3);
  put("a/b/cpu.max", "400000 100000\n");
  put("a/cpu.max", "200000 100000\n"); /* of the group above */
  assert_int_equal(cores("0::/a/b\n"), 2);
  assert_int_equal(cores("1:cpu:/x\n0::/a/b\n"), 2);
  put("cpu.max", "10000 100000\n"); /* a tenth of a core is one thread */
  assert_int_equal(cores("0::/a/b\n"), 1);
  assert_int_equal(cores("0::/"), 1);
  put("cpu.max", "0 100000\n");
  assert_int_equal(cores("0::/"), 1);
}

static void what_cannot_be_read_is_no_limit(void **state)
{
  (void)state;
  put("a/b/cpu.max", "");
  put("a/cpu.max", "soon");
  put("cpu.max", "100000");
  assert_int_equal(cores("0::/a/b\n"), INT_MAX);
  assert_int_equal(cores("1:cpu:/a/b\n"), INT_MAX);
  assert_int_equal(cores("0::/not there\n"), INT_MAX);
  assert_int_equal(cores("\n"), INT_MAX);
  assert_int_equal(ti_cgroup_cores("/not/there", root), INT_MAX);
  put("cpu.max", "99999999999999999999 1");
  assert_int_equal(cores("0::/\n"), INT_MAX);
}

static void texts_are_read(void **state)
{
  char path[256], text[8] = "1234567";

  (void)state;
  snprintf(path, sizeof(path), "%s/none", root);
  assert_int_equal(ti_read_text(text, sizeof(text), path), -1);
  snprintf(path, sizeof(path), "%s/list", root);
  put("list", "");
  assert_int_equal(ti_read_text(text, sizeof(text), path), -1);
  memset(text, 'x', sizeof(text));
  put("list", "abc");
  assert_int_equal(ti_read_text(text, sizeof(text), path), 0);
  assert_string_equal(text, "abc");
  put("list", "abcdefghijkl"); /* no more than there is room for */
  assert_int_equal(ti_read_text(text, sizeof(text), path), 0);
  assert_string_equal(text, "abcdefg");
}

static void there_is_one(void **state)
{
  (void)state;
  assert_true(ti_usable_cores() >= 1);
}

static void there_may_be_more_than_a_set_holds(void **state)
{
  const long online = sysconf(_SC_NPROCESSORS_ONLN);
  const int quota = ti_cgroup_cores("/proc/self/cgroup", "/sys/fs/cgroup");

  (void)state;
  too_many = 1;
  assert_int_equal(ti_usable_cores(), online < quota ? online : quota);
  too_many = 0;
}

/* how many cores a thread has, which this one makes, beside those that are usable */
static void *count_own(void *out)
{
  cpu_set_t set;

  while (!atomic_load(&moved))
    usleep(100);
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof(set), &set);
  *(int *)out = CPU_COUNT(&set);
  return NULL;
}

#if defined(TI_ONEDNN)
int omp_get_num_places(void); /* weak names alone, as in cores.c, bring no OpenMP to this program */
#endif

/* the program again, with places: OpenMP's run time ties its first thread before main() */
static int tied(const char *expected)
{
  pthread_t thread;
  int count = 0;

#if defined(TI_ONEDNN)
  if (omp_get_num_places() < 1)
    return 1;
#endif
  if (pthread_create(&thread, NULL, count_own, &count))
    return 1;
  ti_use_cores(thread);
  atomic_store(&moved, 1);
  pthread_join(thread, NULL);
  return ti_usable_cores() != atoi(expected) || count < atoi(expected);
}

static void openmp_may_tie_the_first_thread(void **state)
{
  char expected[16];
  int status = -1;

  (void)state;
  snprintf(expected, sizeof(expected), "%d", ti_usable_cores());
  const pid_t child = fork();

  if (!child) {
    setenv("OMP_PROC_BIND", "true", 1);
    execl("/proc/self/exe", "cores_test", expected, (char *)NULL);
    _exit(2);
  }
  assert_true(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
  if (WEXITSTATUS(status) > 1)
    skip(); /* in an emulator, whose program the system cannot begin */
  assert_int_equal(status, 0);
}

static int make_groups(void **state)
{
  char path[256];

  (void)state;
  if (!mkdtemp(root))
    return -1;
  snprintf(path, sizeof(path), "%s/a", root);
  if (mkdir(path, 0700))
    return -1;
  snprintf(path, sizeof(path), "%s/a/b", root);
  return mkdir(path, 0700);
}

static int remove_groups(void **state)
{
  static const char *const names[] = { "a/b/cpu.max", "a/b", "a/cpu.max", "a", "cpu.max", "list", "" };

  (void)state;
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", root, names[i]);
    if (remove(path))
      return -1;
  }
  return 0;
}

int main(int argc, char **argv)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_least_of_all_groups_counts),
    cmocka_unit_test(what_cannot_be_read_is_no_limit),
    cmocka_unit_test(texts_are_read),
    cmocka_unit_test(there_is_one),
    cmocka_unit_test(there_may_be_more_than_a_set_holds),
    cmocka_unit_test(openmp_may_tie_the_first_thread),
  };

  if (argc > 1)
    return tied(argv[1]);
  return cmocka_run_group_tests_name("cores", tests, make_groups, remove_groups);
}
