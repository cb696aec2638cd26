/* Blocks, threads, barriers, warp instructions and asynchronous copies on the CPU. */
#include "emulate.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include <stdio.h>
#include <stdlib.h>

#include "cuda_runtime.h"
#include "fibers.h"
#include "runtime.h"
#include "threads.h"

enum { STACK = 256 * 1024, GROUP = 128 };

static const char *const instruction_names[] = { "__syncwarp", "shuffle", "load_matrix",
                                                 "load_matrix_transposed", "matrix_multiply" };

static const char *const wait_names[] = {
  "nothing is waited for", "__syncthreads is not reached by all threads",
  "a warp instruction is not reached by all lanes",
  "a warpgroup's instruction is not reached by all its threads",
  "barrier_threads is not reached by as many threads", "the phase of a barrier is never complete"
};

struct warp {
  int alive, arrived;
  char sync;
};

emulate_thread *emulate_self;
int emulate_order;

worker workers[MAX_THREADS];
int num_threads;
static warp warps[MAX_THREADS / WARP];
static int alive, at_barrier;
static char block_sync;
static unsigned char *shared;
/* of each 16 bytes of shared memory: the thread that copied and did not fence, or -1 */
static std::vector<short> unfenced;
static const std::function<void()> *running;
static std::mutex one_launch;

worker *self()
{
  return static_cast<worker *>(emulate_self);
}

void fail(const char *what)
{
  const worker *w = self();

  fprintf(stderr, "emulated kernel: %s (block %u %u %u, thread %u)\n", what, w->block.x, w->block.y,
          w->block.z, w->thread.x);
  abort();
}

void wait_here(wait reason)
{
  worker *w = self();

  w->waiting = reason;
  while (w->waiting == reason)
    fiber_yield();
}

static void wake_block()
{
  at_barrier = 0;
  for (int i = 0; i < num_threads; i++) {
    if (workers[i].waiting == AT_BLOCK)
      workers[i].waiting = RUNNING;
  }
}

static void run_instruction(int first);

static void wake_warp(int index)
{
  warps[index].arrived = 0;
  for (int i = index * WARP; i < index * WARP + WARP && i < num_threads; i++) {
    if (workers[i].waiting == AT_WARP)
      workers[i].waiting = RUNNING;
  }
}

unsigned char *shared_memory()
{
  return shared;
}

void __syncthreads()
{
  fiber_release(&block_sync);
  if (++at_barrier == num_threads)
    wake_block();
  else
    wait_here(AT_BLOCK);
  fiber_acquire(&block_sync);
}

/* all lanes of the warp meet; the last to come does the work for all */
static void meet(instruction what, void *out, const void *in, const void *in2, int flag)
{
  worker *w = self();
  const int index = w->index / WARP;

  w->what = what;
  w->out = out;
  w->in = in;
  w->in2 = in2;
  w->flag = flag;
  if (what == SYNC)
    fiber_release(&warps[index].sync);
  if (++warps[index].arrived == WARP) {
    run_instruction(index * WARP);
    wake_warp(index);
  } else {
    wait_here(AT_WARP);
  }
  if (what == SYNC)
    fiber_acquire(&warps[index].sync);
}

void __syncwarp()
{
  meet(SYNC, NULL, NULL, NULL, 0);
}

float shuffle(float v, int lane)
{
  float out;

  meet(SHUFFLE, &out, &v, NULL, lane);
  return out;
}

float shuffle_xor(float v, int mask)
{
  return shuffle(v, self()->index % WARP ^ mask);
}

void load_matrix(uint32_t r[4], const void *row)
{
  meet(LOAD, r, row, NULL, 0);
}

void load_matrix_transposed(uint32_t r[4], const void *row)
{
  meet(LOAD_TRANSPOSED, r, row, NULL, 0);
}

void emulate_multiply(float c[4], const uint32_t a[4], const uint32_t b[2], int is_half)
{
  meet(MULTIPLY, c, a, b, is_half);
}

static void run_load(const worker *w, bool transposed)
{
  uint32_t r[WARP][4];

  for (int i = 0; i < 4; i++) {
    uint16_t m[8][8];

    for (int j = 0; j < 8; j++) {
      const void *row = w[i * 8 + j].in;

      if ((uintptr_t)row % 16)
        fail("load_matrix of a row that is not aligned to 16 bytes");
      memcpy(m[j], row, 16);
    }
    for (int lane = 0; lane < WARP; lane++) {
      const int a = lane / 4, b = lane % 4 * 2;

      r[lane][i] = transposed ? m[b][a] | (uint32_t)m[b + 1][a] << 16
                              : m[a][b] | (uint32_t)m[a][b + 1] << 16;
    }
  }
  for (int lane = 0; lane < WARP; lane++)
    memcpy(w[lane].out, r[lane], sizeof(r[lane]));
}

static float half_of(uint32_t pair, int high, int is_half)
{
  const uint16_t h = (uint16_t)(high ? pair >> 16 : pair);

  return is_half ? ti_f16_to_f32(h) : ti_bf16_to_f32(h);
}

static void run_multiply(const worker *w)
{
  float a[16][16], b[16][8], sum[16][8] = {};

  for (int lane = 0; lane < WARP; lane++) {
    const uint32_t *ra = (const uint32_t *)w[lane].in, *rb = (const uint32_t *)w[lane].in2;
    const int row = lane / 4, column = lane % 4 * 2;

    for (int h = 0; h < 2; h++) {
      for (int i = 0; i < 4; i++)
        a[row + i % 2 * 8][column + i / 2 * 8 + h] = half_of(ra[i], h, w->flag);
      for (int i = 0; i < 2; i++)
        b[column + i * 8 + h][row] = half_of(rb[i], h, w->flag);
    }
  }
  for (int row = 0; row < 16; row++) {
    for (int k = 0; k < 16; k++) {
      for (int column = 0; column < 8; column++)
        sum[row][column] += a[row][k] * b[k][column];
    }
  }
  for (int lane = 0; lane < WARP; lane++) {
    float *c = (float *)w[lane].out;

    for (int i = 0; i < 4; i++)
      c[i] += sum[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
  }
}

static void run_instruction(int first)
{
  worker *w = &workers[first];

  for (int i = 1; i < WARP; i++) {
    if (w[i].what != w->what) {
      fprintf(stderr, "%s meets %s\n", instruction_names[w->what], instruction_names[w[i].what]);
      fail("lanes of a warp are at different instructions");
    }
  }
  switch (w->what) {
  case SYNC: break;
  case SHUFFLE: {
    float v[WARP];

    for (int i = 0; i < WARP; i++)
      v[i] = *(const float *)w[w[i].flag].in;
    for (int i = 0; i < WARP; i++)
      *(float *)w[i].out = v[i];
    break;
  }
  case LOAD: run_load(w, false); break;
  case LOAD_TRANSPOSED: run_load(w, true); break;
  case MULTIPLY: run_multiply(w); break;
  }
}

static void perform(const copy &c)
{
  if (c.valid)
    memcpy(c.shared, c.global, 16);
  else
    memset(c.shared, 0, 16);
  const size_t place = (size_t)((unsigned char *)c.shared - shared) / 16;

  unfenced[place] = (short)c.thread;
  workers[c.thread].unfenced.push_back((unsigned)place);
}

void copy_async(void *to, const void *global, bool valid)
{
  worker *w = self();

  if ((uintptr_t)to % 16 || (valid && (uintptr_t)global % 16))
    fail("copy_async between addresses that are not aligned to 16 bytes");
  const copy c = { to, global, valid, w->group, w->index };

  if (emulate_order == EMULATE_DOWN)
    perform(c);
  else
    w->copies.push_back(c);
}

void copy_commit()
{
  self()->group++;
}

void emulate_copy_wait(int newest)
{
  worker *w = self();
  size_t kept = 0;

  for (const copy &c : w->copies) {
    if (c.group >= w->group - newest)
      w->copies[kept++] = c;
    else
      perform(c);
  }
  w->copies.resize(kept);
}

void async_fence()
{
  for (unsigned place : self()->unfenced) {
    if (unfenced[place] == self()->index)
      unfenced[place] = -1;
  }
  self()->unfenced.clear();
}

unsigned shared_address(const void *p)
{
  return (unsigned)((const unsigned char *)p - shared) + SHARED_BEGIN;
}

const void *shared_at(unsigned address)
{
  const unsigned at = address - SHARED_BEGIN;

  if (at / 16 < unfenced.size() && unfenced[at / 16] >= 0)
    fail("a product reads what was copied without async_fence()");
  return shared + at;
}

static void thread_main(void *argument)
{
  worker *w = (worker *)argument;

  emulate_self = w;
  (*running)();
  if (w->copies.size())
    fail("a thread ends while its copies are under way");
  end_hopper(alive == 1);
  w->waiting = ENDED;
  alive--;
}

static void start_block(dim3 block, dim3 blocks, size_t shared_bytes)
{
  alive = num_threads;
  at_barrier = 0;
  memset(shared, 0xff, shared_bytes); /* NaN in every type */
  for (int i = 0; i < num_threads; i++) {
    worker *w = &workers[i];

    w->thread = dim3((unsigned)i);
    w->block = block;
    w->threads = dim3((unsigned)num_threads);
    w->blocks = blocks;
    w->index = i;
    w->waiting = RUNNING;
    w->copies.clear();
    w->unfenced.clear();
    w->group = 0;
    if (!w->f)
      w->f = fiber_new(STACK);
    fiber_start(w->f, thread_main, w);
  }
  for (int i = 0; i < num_threads / WARP; i++)
    warps[i] = warp{};
  unfenced.assign((shared_bytes + 15) / 16, -1);
  start_hopper();
}

/* let threads order[from..to), but those of warp late, run until each waits; false: none could */
static bool run_threads(const std::vector<int> &order, size_t from, size_t to, int late = -1)
{
  bool progress = false;

  for (size_t i = from; i < to; i++) {
    worker *w = &workers[order[i]];

    if (w->waiting != RUNNING || w->index / WARP == late)
      continue;
    progress = true;
    emulate_self = w;
    fiber_resume(w->f);
  }
  return progress;
}

/* warps of a warpgroup, each as far ahead of the next as it can */
static bool run_group(const std::vector<int> &order, size_t from, size_t to)
{
  bool progress = false;

  for (size_t i = from; i < to; i += WARP) {
    while (run_threads(order, i, i + WARP))
      progress = true;
  }
  return progress;
}

/*
 * Shuffled, all threads go on side by side, but for one warp, each in turn, that stands still while
 * the others can go on: so a wait for it that is missing is seen. Else a warp runs as far ahead of
 * the others as barriers let it, and four warps, which have products in common, as far ahead of the
 * rest: so what they do too early or too late is seen.
 */
static void run_block(const std::vector<int> &order)
{
  for (int late = 0; alive; late = (late + 1) % (num_threads / WARP)) {
    bool progress = false;

    if (emulate_order == EMULATE_SHUFFLED) {
      while (run_threads(order, 0, order.size(), late))
        progress = true;
      progress = run_threads(order, 0, order.size()) || progress;
    } else {
      for (size_t i = 0; i < order.size(); i += GROUP) {
        while (run_group(order, i, std::min(i + GROUP, order.size())))
          progress = true;
      }
    }
    if (!progress) {
      for (int i = 0; i < num_threads; i++) {
        if (workers[i].waiting != ENDED)
          emulate_self = &workers[i];
      }
      fail(wait_names[self()->waiting]);
    }
  }
}

static void run_now(dim3 blocks, unsigned threads, size_t shared_bytes,
                    const std::function<void()> &body)
{
  const std::lock_guard<std::mutex> guard(one_launch);
  std::vector<int> order(threads);
  uint32_t random = 12345;

  if (threads < 1 || threads > MAX_THREADS || threads % WARP) {
    fprintf(stderr, "emulated launch: %u threads\n", threads);
    abort();
  }
  for (unsigned i = 0; i < threads; i++)
    order[i] = (int)(emulate_order == EMULATE_DOWN ? threads - 1 - i : i);
  for (unsigned i = threads - 1; emulate_order == EMULATE_SHUFFLED && i > 0; i--) {
    random = random * 1664525u + 1013904223u;
    std::swap(order[i], order[(random >> 8) % (i + 1)]);
  }
  num_threads = (int)threads;
  running = &body;
  shared = (unsigned char *)aligned_alloc(16, shared_bytes ? (shared_bytes + 15) / 16 * 16 : 16);
  for (unsigned z = 0; z < blocks.z; z++) {
    for (unsigned y = 0; y < blocks.y; y++) {
      for (unsigned x = 0; x < blocks.x; x++) {
        start_block(dim3(x, y, z), blocks, shared_bytes);
        run_block(order);
      }
    }
  }
  free(shared);
}

void emulate_launch(void *stream, dim3 blocks, unsigned threads, size_t shared_bytes,
                    const std::function<void()> &body)
{
  if (!blocks.x || !blocks.y || !blocks.z || blocks.y > 65535 || blocks.z > 65535 ||
      shared_bytes > (emulate_capability() < 90 ? 99 : 227) * 1024u) {
    emulate_set_error(9); /* cudaErrorInvalidConfiguration */
    return;
  }
  if (!emulate_record(stream, [=] { run_now(blocks, threads, shared_bytes, body); }))
    run_now(blocks, threads, shared_bytes, body);
}
