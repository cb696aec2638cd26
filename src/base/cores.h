/* How many processor cores are there for a call. */
#ifndef TI_CORES_H
#define TI_CORES_H

#include <pthread.h>
#include <stddef.h>

/* the cores that this process may run on, and of those no more than its cgroup has time for; at
 * least 1 */
int ti_usable_cores(void);

/* lets a thread run on all of them that was made by one which OpenMP has tied to a few */
void ti_use_cores(pthread_t thread);

/* what a cgroup of version 2 allows: the least of its own cpu.max and those above, rounded up;
 * INT_MAX = no limit. list is /proc/self/cgroup, root /sys/fs/cgroup. */
int ti_cgroup_cores(const char *list, const char *root);

/* the first size - 1 bytes of a file of the system as text; -1 when there are none */
int ti_read_text(char *out, size_t size, const char *path);

#endif /* TI_CORES_H */
