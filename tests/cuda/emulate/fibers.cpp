/* Fibers: a switch is twenty instructions on x86-64, and swapcontext() elsewhere. */
#include "fibers.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

#if defined(__x86_64__)
typedef void *machine;

/* save the callee-saved registers and the stack pointer in *from, and go on where to was saved */
extern "C" void fiber_switch(machine *from, machine to);
asm(".text\n"
    ".globl fiber_switch\n"
    ".hidden fiber_switch\n"
    ".type fiber_switch, @function\n"
    "fiber_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    ".size fiber_switch, . - fiber_switch\n");
#else
#include <ucontext.h>
typedef ucontext_t machine;

static void fiber_switch(machine *from, machine &to)
{
  swapcontext(from, &to);
}
#endif

struct fiber {
  machine state;
  char *stack;
  size_t bytes;
  void (*entry)(void *);
  void *argument;
  int done;
  void *fake_stack, *race_detector;
};

#if defined(__SANITIZE_ADDRESS__)
/* newer compilers look for uses after a return: a second stack a fiber, most of a run's time */
extern "C" __attribute__((visibility("default"))) const char *__asan_default_options(void)
{
  return "detect_stack_use_after_return=0";
}
#endif

static fiber *current;
static machine scheduler;
static void *scheduler_fake_stack, *scheduler_race_detector;
static const void *scheduler_stack;
static size_t scheduler_bytes;

static void leave_fiber(int last)
{
  fiber *f = current;

  (void)f;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(last ? NULL : &f->fake_stack, scheduler_stack, scheduler_bytes);
#endif
  (void)last;
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(scheduler_race_detector, __tsan_switch_to_fiber_no_sync);
#endif
  fiber_switch(&f->state, scheduler);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(f->fake_stack, &scheduler_stack, &scheduler_bytes);
#endif
}

static void fiber_main()
{
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(NULL, &scheduler_stack, &scheduler_bytes);
#endif
  current->entry(current->argument);
  current->done = 1;
  leave_fiber(1);
  abort();
}

fiber *fiber_new(size_t stack_bytes)
{
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  fiber *f = (fiber *)calloc(1, sizeof(*f));
  char *p = (char *)mmap(NULL, stack_bytes + page, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

  if (!f || p == MAP_FAILED || mprotect(p, page, PROT_NONE)) {
    fprintf(stderr, "no memory for a fiber\n");
    exit(1);
  }
  f->stack = p + page;
  f->bytes = stack_bytes;
  return f;
}

void fiber_start(fiber *f, void (*entry)(void *), void *argument)
{
  f->entry = entry;
  f->argument = argument;
  f->done = 0;
  f->fake_stack = NULL;
#if defined(__SANITIZE_THREAD__)
  if (!f->race_detector)
    f->race_detector = __tsan_create_fiber(0);
#endif
#if defined(__x86_64__)
  /* six registers, the entry, and a null return address that keeps the stack aligned */
  uintptr_t *top = (uintptr_t *)(f->stack + f->bytes) - 2;

  top[1] = 0;
  top[0] = (uintptr_t)fiber_main;
  for (int i = 1; i <= 6; i++)
    top[-i] = 0;
  f->state = top - 6;
#else
  getcontext(&f->state);
  f->state.uc_stack.ss_sp = f->stack;
  f->state.uc_stack.ss_size = f->bytes;
  f->state.uc_link = NULL;
  makecontext(&f->state, fiber_main, 0);
#endif
}

void fiber_resume(fiber *f)
{
  current = f;
#if defined(__SANITIZE_THREAD__)
  scheduler_race_detector = __tsan_get_current_fiber();
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&scheduler_fake_stack, f->stack, f->bytes);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(f->race_detector, __tsan_switch_to_fiber_no_sync);
#endif
  fiber_switch(&scheduler, f->state);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(scheduler_fake_stack, NULL, NULL);
#endif
  (void)scheduler_fake_stack;
  (void)scheduler_race_detector;
  (void)scheduler_stack;
  (void)scheduler_bytes;
}

void fiber_yield(void)
{
  leave_fiber(0);
}

int fiber_done(const fiber *f)
{
  return f->done;
}

void fiber_release(void *sync)
{
#if defined(__SANITIZE_THREAD__)
  __tsan_release(sync);
#endif
  (void)sync;
}

void fiber_acquire(void *sync)
{
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(sync);
#endif
  (void)sync;
}
