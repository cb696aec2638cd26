/* The threads of a block, for the files of the emulation. */
#ifndef TI_EMULATE_THREADS_H
#define TI_EMULATE_THREADS_H

#include <vector>

#include "emulate.h"
#include "fibers.h"

/* SHARED_BEGIN: where shared memory begins for the device, aligned no better than to 16 */
enum { WARP = 32, MAX_THREADS = 1024, SHARED_BEGIN = 1024 + 16 };

enum wait { RUNNING, AT_BLOCK, AT_WARP, AT_GROUP, AT_NAMED, AT_PHASE, ENDED };
enum instruction { SYNC, SHUFFLE, LOAD, LOAD_TRANSPOSED, MULTIPLY };

struct copy {
  void *shared;
  const void *global;
  bool valid;
  int group, thread;
};

struct worker : emulate_thread {
  fiber *f;
  int index;
  wait waiting;
  /* of a warp instruction */
  instruction what;
  void *out;
  const void *in, *in2;
  int flag;
  /* what it waits for: a named barrier, or one in shared memory */
  const void *place;
  /* asynchronous copies */
  std::vector<copy> copies;
  std::vector<unsigned> unfenced; /* places of shared memory, in 16 bytes */
  int group;
};

extern worker workers[MAX_THREADS];
extern int num_threads;

worker *self();
/* tell which thread did what, and end the program */
void fail(const char *what) __attribute__((noreturn));
/* let others run until this thread may go on */
void wait_here(wait reason);
/* what a product reads at an address of shared memory */
const void *shared_at(unsigned address);
/* a block begins, a thread ends, the last one of its block */
void start_hopper();
void end_hopper(bool last);

#endif /* TI_EMULATE_THREADS_H */
