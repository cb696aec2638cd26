/*
 * The emulated instructions of compute capability 9.0; their meaning: kernels/cuda/hopper.cuh.
 *
 * Products are done as late as they may, in wgmma_wait(), or at once (order EMULATE_DOWN): the one
 * shows a buffer that is filled again too early, the other a missing wait. Bulk copies are done in
 * barrier_wait(), or at once where the first warps, which start them, are ahead (EMULATE_UP). A
 * product fails that reads what a thread copied and did not fence.
 */
#ifndef TI_EMULATE_HOPPER_H
#define TI_EMULATE_HOPPER_H

#include "emulate.h"

struct emulate_product {
  int n, transposed_a, transposed_b, is_half, accumulate, a_in_registers;
  uint64_t a_matrix, b_matrix;
};

unsigned shared_address(const void *p);
void emulate_wgmma(float *d, const uint32_t *a, const emulate_product &p);
void emulate_wgmma_wait(int newest);
void wgmma_fence();
void wgmma_commit();
void barrier_init(uint64_t *barrier, int arrivals);
void barrier_arrive(uint64_t *barrier);
void barrier_wait(uint64_t *barrier, int parity);
void barrier_expect(uint64_t *barrier, int bytes);
void copy_bulk(void *shared, const void *global, int bytes, uint64_t *barrier);
void barrier_threads(int id, int threads);
void async_fence();

static inline int emulate_is_half(ti_half)
{
  return 1;
}

static inline int emulate_is_half(ti_bf16)
{
  return 0;
}

template <int N, int TRANSPOSED_A, int TRANSPOSED_B, typename T>
static inline void wgmma(float (&d)[N / 2], uint64_t a_matrix, uint64_t b_matrix, int accumulate, T)
{
  emulate_wgmma(d, NULL, { N, TRANSPOSED_A, TRANSPOSED_B, emulate_is_half(T()), accumulate, 0,
                           a_matrix, b_matrix });
}

template <int N, int TRANSPOSED_B, typename T>
static inline void wgmma(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b_matrix,
                         int accumulate, T)
{
  emulate_wgmma(d, a, { N, 0, TRANSPOSED_B, emulate_is_half(T()), accumulate, 1, 0, b_matrix });
}

template <int COUNT> static inline void wgmma_wait()
{
  emulate_wgmma_wait(COUNT);
}

template <int COUNT> static inline void wgmma_hold(float (&)[COUNT])
{
}

template <int COUNT> static inline void wgmma_hold(uint32_t (&)[COUNT][4])
{
}

static inline void barrier_init_fence()
{
}

template <int COUNT> static inline void registers_less()
{
}

template <int COUNT> static inline void registers_more()
{
}

#endif /* TI_EMULATE_HOPPER_H */
