/*
 * Threads that share the loops of one caller.
 *
 * A loop is cut into as many shares as it may have threads. Each thread begins with its own, so that
 * it finds in its cache what it wrote there in the loop before, and then helps with what is left of
 * the others. The caller waits for no thread that has not begun: where the other cores have other
 * work, it does the whole loop itself. Threads that have nothing to do wait in a loop for a moment
 * and then sleep, so that between calls a team costs nothing.
 */
#ifndef TI_TEAM_H
#define TI_TEAM_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* one caller at a time */
typedef struct ti_team ti_team;

/* iterations from .. to - 1, by one of the loop's threads, thread = 0 being the caller */
typedef void (*ti_loop)(void *user, int thread, size_t from, size_t to);

/* a team of so many threads, the caller's among them; NULL when memory ran out */
ti_team *ti_team_new(int threads);
void ti_team_free(ti_team *team); /* accepts NULL */

/* the number of threads; of NULL, which is a caller alone, 1 */
int ti_team_size(const ti_team *team);

/* before the loops of a call, and before the size is asked for: makes the threads where this
 * process has none, in a child of fork() too; fewer where the system allows no more */
void ti_team_enter(ti_team *team);

/* loop over 0 .. count - 1, every iteration once, by at most so many threads (1 to the size) */
void ti_team_for(ti_team *team, int threads, size_t count, ti_loop loop, void *user);

#ifdef __cplusplus
}
#endif

#endif /* TI_TEAM_H */
