/* The emulated device itself: that it shows what it is there to show. */
#include "check.h"

#ifdef TI_EMULATE

#include <string.h>

#include "emulate.h"

enum { THREADS = 64 };

/* y = x of the other end of the block, with and without the barrier that this needs */
static void reverse_kernel(float *y, const float *x, int with_barrier)
{
  float *tile = (float *)shared_memory();

  tile[threadIdx.x] = x[threadIdx.x];
  if (with_barrier)
    __syncthreads();
  y[threadIdx.x] = tile[THREADS - 1 - threadIdx.x];
}

/* the same through an asynchronous copy, with and without waiting for it */
static void copy_kernel(float *y, const float *x, int with_wait)
{
  float *tile = (float *)shared_memory();

  copy_async(tile + threadIdx.x * 4, x + threadIdx.x * 4, true);
  copy_commit();
  if (with_wait)
    copy_wait<0>();
  __syncthreads();
  for (int i = 0; i < 4; i++)
    y[threadIdx.x * 4 + i] = tile[(THREADS - 1 - threadIdx.x) * 4 + i];
  copy_wait<0>();
}

static bool is_right(void (*kernel)(float *, const float *, int), int per, int careful, int order)
{
  alignas(16) float x[THREADS * 4], y[THREADS * 4];

  for (int i = 0; i < THREADS * per; i++)
    x[i] = (float)i;
  emulate_order = order;
  emulate_launch(NULL, dim3(1), THREADS, sizeof(x), [&] { kernel(y, x, careful); });
  for (int i = 0; i < THREADS * per; i++) {
    if (y[i] != (float)((THREADS - 1 - i / per) * per + i % per))
      return false;
  }
  return true;
}

void check_emulator()
{
  bool good = true, seen = false, copied = false;

  if (!check_wanted("emulator"))
    return;
  for (int order : { EMULATE_UP, EMULATE_DOWN, EMULATE_SHUFFLED }) {
    good = good && is_right(reverse_kernel, 1, 1, order) && is_right(copy_kernel, 4, 1, order);
    seen = seen || !is_right(reverse_kernel, 1, 0, order);
    copied = copied || !is_right(copy_kernel, 4, 0, order);
  }
  emulate_order = EMULATE_UP;
  check_result("emulator: right kernels", good ? NULL : "a right kernel gives wrong values");
  check_result("emulator: barriers", seen ? NULL : "a missing barrier is not seen");
  check_result("emulator: copies", copied ? NULL : "a missing wait for a copy is not seen");
}

#else

void check_emulator()
{
}

#endif
