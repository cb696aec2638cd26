/* Matrix products of a warpgroup and barriers in shared memory on the CPU. */
#include "hopper.h"

#include <stdio.h>

#include <vector>

#include "threads.h"

enum { GROUP = 128, NAMED = 16 };
enum group_instruction { PRODUCT, FENCE, COMMIT, WAIT };

static const char *const names[] = { "wgmma", "wgmma_fence", "wgmma_commit", "wgmma_wait" };

/* one product under way; what its threads gave */
struct product {
  emulate_product p;
  int group;
  float *d[GROUP];
  uint32_t a[GROUP][4];
};

/* what the threads of a warpgroup bring to an instruction */
struct brought {
  group_instruction what;
  emulate_product p;
  float *d;
  const uint32_t *a;
  int newest;
};

struct warpgroup {
  int arrived, group;
  bool fenced;
  std::vector<product> products;
  brought of[GROUP];
};

/* in 8 bytes of shared memory */
struct barrier {
  uint16_t arrivals, pending, chunks; /* of 16 bytes that bulk copies shall bring */
  uint16_t phase;
};

struct bulk_copy {
  void *shared;
  const void *global;
  int bytes;
  uint64_t *place;
};

static warpgroup groups[MAX_THREADS / GROUP];
static std::vector<bulk_copy> bulk_copies;
static int named_arrived[NAMED];

void start_hopper()
{
  for (warpgroup &g : groups) {
    g.arrived = g.group = 0;
    g.fenced = false;
    g.products.clear();
  }
  for (int &n : named_arrived)
    n = 0;
  bulk_copies.clear();
}

void end_hopper(bool last)
{
  if (groups[self()->index / GROUP].products.size())
    fail("a thread ends while products are under way");
  if (last && bulk_copies.size())
    fail("a block ends while bulk copies are under way");
}

static void wake(wait reason, const void *place)
{
  for (int i = 0; i < num_threads; i++) {
    if (workers[i].waiting == reason && workers[i].place == place)
      workers[i].waiting = RUNNING;
  }
}

static void wait_at(wait reason, const void *place)
{
  self()->place = place;
  wait_here(reason);
}

// ------------------------------------------------------------------ products

static float value_of(uint16_t h, int is_half)
{
  return is_half ? ti_f16_to_f32(h) : ti_bf16_to_f32(h);
}

/* out[k][i], rows or columns i of an operand in shared memory */
static void read_operand(float *out, uint64_t matrix, int count, int transposed, int is_half)
{
  const unsigned start = (unsigned)(matrix & 0x3fff) << 4, swizzle = (unsigned)(matrix >> 62);
  const unsigned atoms = (unsigned)(matrix >> 16 & 0x3fff) << 4;
  const unsigned groups_at = (unsigned)(matrix >> 32 & 0x3fff) << 4;
  const unsigned width = 256u >> swizzle;

  for (unsigned i = 0; i < (unsigned)count; i += transposed ? 8 : 1) {
    for (unsigned k = 0; k < 16; k += transposed ? 1 : 8) {
      unsigned at = start;
      uint16_t chunk[8];

      if (!swizzle)
        at += i / 8 * groups_at + k / 8 * atoms + (transposed ? k : i) % 8 * 16;
      else if (transposed)
        at += i / (width / 2) * atoms + k / 8 * groups_at + k % 8 * width + i % (width / 2) * 2;
      else
        at += i / 8 * groups_at + i % 8 * width + k * 2;
      if (swizzle)
        at ^= (at >> 7 & (width / 16 - 1)) << 4;
      memcpy(chunk, shared_at(at), 16);
      for (unsigned j = 0; j < 8; j++)
        out[transposed ? k * (unsigned)count + i + j : (k + j) * (unsigned)count + i] =
            value_of(chunk[j], is_half);
    }
  }
}

typedef float four __attribute__((vector_size(16)));

/* sum[n] = a[16] b[16, n], of one row; most of the time of an emulated product */
__attribute__((no_sanitize("address", "undefined")))
static void multiply_row(float *sum, const float *a, const float *b, int n)
{
  for (int column = 0; column < n; column += 8) {
    four low = {}, high = {};

    for (int k = 0; k < 16; k++) {
      const four *row = (const four *)(b + k * n + column);

      low += a[k * 64] * row[0];
      high += a[k * 64] * row[1];
    }
    ((four *)(sum + column))[0] = low;
    ((four *)(sum + column))[1] = high;
  }
}

static void multiply(const product &m)
{
  alignas(16) static float a[16 * 64], b[16 * 256], sum[256];
  const int n = m.p.n;

  if (!m.p.a_in_registers)
    read_operand(a, m.p.a_matrix, 64, m.p.transposed_a, m.p.is_half);
  for (int t = 0; m.p.a_in_registers && t < GROUP; t++) {
    for (int i = 0; i < 8; i++)
      a[(t % 4 * 2 + i % 2 + i / 4 * 8) * 64 + t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8] =
          value_of((uint16_t)(m.a[t][i / 2] >> i % 2 * 16), m.p.is_half);
  }
  read_operand(b, m.p.b_matrix, n, m.p.transposed_b, m.p.is_half);
  for (int row = 0; row < 64; row++) {
    multiply_row(sum, a + row, b, n);
    for (int lane = 0; lane < 4; lane++) {
      float *d = m.d[row / 16 * 32 + row % 8 * 4 + lane] + row % 16 / 8 * 2;

      for (int column = lane * 2; column < n; column += 8, d += 4) {
        d[0] = sum[column] + (m.p.accumulate ? d[0] : 0.0f);
        d[1] = sum[column + 1] + (m.p.accumulate ? d[1] : 0.0f);
      }
    }
  }
}

static void start_product(warpgroup &g)
{
  product m = {};

  if (!g.fenced)
    fail("a product without wgmma_fence() since the last wait");
  m.p = g.of[0].p;
  m.group = g.group;
  for (int i = 0; i < GROUP; i++) {
    if (memcmp(&g.of[i].p, &m.p, sizeof(m.p)))
      fail("the threads of a warpgroup describe other products");
    m.d[i] = g.of[i].d;
    if (m.p.a_in_registers)
      memcpy(m.a[i], g.of[i].a, sizeof(m.a[i]));
  }
  if (emulate_order == EMULATE_DOWN)
    multiply(m);
  else
    g.products.push_back(m);
}

static void finish_products(warpgroup &g, int newest)
{
  size_t kept = 0;

  for (const product &m : g.products) {
    if (m.group >= g.group - newest)
      g.products[kept++] = m;
    else
      multiply(m);
  }
  g.products.resize(kept);
  g.fenced = false;
}

/* all threads of the warpgroup meet; the last to come does the work for all */
static void meet(const brought &b)
{
  const int index = self()->index;
  warpgroup &g = groups[index / GROUP];

  g.of[index % GROUP] = b;
  if (++g.arrived < GROUP)
    return wait_at(AT_GROUP, &g);
  for (const brought &other : g.of) {
    if (other.what != b.what || other.newest != b.newest) {
      fprintf(stderr, "%s meets %s\n", names[b.what], names[other.what]);
      fail("threads of a warpgroup are at different instructions");
    }
  }
  switch (b.what) {
  case PRODUCT: start_product(g); break;
  case FENCE: g.fenced = true; break;
  case COMMIT: g.group++; break;
  case WAIT: finish_products(g, b.newest); break;
  }
  g.arrived = 0;
  wake(AT_GROUP, &g);
}

void emulate_wgmma(float *d, const uint32_t *a, const emulate_product &p)
{
  meet({ PRODUCT, p, d, a, 0 });
}

void emulate_wgmma_wait(int newest)
{
  meet({ WAIT, {}, NULL, NULL, newest });
}

void wgmma_fence()
{
  meet({ FENCE, {}, NULL, NULL, 0 });
}

void wgmma_commit()
{
  meet({ COMMIT, {}, NULL, NULL, 0 });
}

// ------------------------------------------------------------------ barriers

static barrier *barrier_of(uint64_t *p)
{
  barrier *b = (barrier *)p;

  if ((uintptr_t)p % 8 || b->arrivals == 0xffff)
    fail("a barrier was not begun");
  return b;
}

void barrier_init(uint64_t *p, int arrivals)
{
  const barrier b = { (uint16_t)arrivals, (uint16_t)arrivals, 0, 0 };

  memcpy(p, &b, sizeof(b));
}

static void end_phase(uint64_t *p)
{
  barrier *b = barrier_of(p);

  if (b->pending || b->chunks)
    return;
  b->pending = b->arrivals;
  b->phase++;
  wake(AT_PHASE, p);
}

void barrier_arrive(uint64_t *p)
{
  fiber_release(p);
  barrier_of(p)->pending--;
  end_phase(p);
}

void barrier_expect(uint64_t *p, int bytes)
{
  if (bytes % 16 || bytes <= 0)
    fail("bulk copies are of whole 16 bytes");
  barrier_of(p)->chunks += (uint16_t)(bytes / 16);
  barrier_arrive(p);
}

static void finish(const bulk_copy &c)
{
  barrier *b = barrier_of(c.place);

  if (b->chunks < c.bytes / 16)
    fail("a bulk copy brings more than its barrier expects");
  memcpy(c.shared, c.global, (size_t)c.bytes);
  b->chunks -= (uint16_t)(c.bytes / 16);
  fiber_release(c.place);
  end_phase(c.place);
}

void copy_bulk(void *shared, const void *global, int bytes, uint64_t *p)
{
  if (((uintptr_t)global | shared_address(shared) | (unsigned)bytes) % 16)
    fail("a bulk copy is not aligned to 16 bytes");
  if (emulate_order == EMULATE_UP)
    return finish({ shared, global, bytes, p });
  bulk_copies.push_back({ shared, global, bytes, p });
  wake(AT_PHASE, p);
}

void barrier_wait(uint64_t *p, int parity)
{
  while ((int)(barrier_of(p)->phase & 1) == parity) {
    size_t kept = 0;

    fiber_acquire(p);
    for (size_t i = 0; i < bulk_copies.size(); i++) {
      if (bulk_copies[i].place == p)
        finish(bulk_copies[i]);
      else
        bulk_copies[kept++] = bulk_copies[i];
    }
    bulk_copies.resize(kept);
    if ((int)(barrier_of(p)->phase & 1) == parity)
      wait_at(AT_PHASE, p);
  }
  fiber_acquire(p);
}

void barrier_threads(int id, int threads)
{
  int *arrived = &named_arrived[id];

  if (id < 1 || id >= NAMED || threads % WARP)
    fail("barrier_threads with a wrong number");
  fiber_release(arrived);
  if (++*arrived == threads) {
    *arrived = 0;
    wake(AT_NAMED, arrived);
  } else {
    wait_at(AT_NAMED, arrived);
  }
  fiber_acquire(arrived);
}
