"""
Triton kernels of a fast training step, as differentiable functions on channels-last tensors.

    group_norm(x, weight, bias, groups, eps, silu, add, keep)   silu(norm(x + add)), f32 statistics
    layer_norm(x, more, weight, bias, eps, dtype, owed)         x + more, and its norm
    geglu(x, bias)                                              (a + bias) * gelu(b + bias)
    add_bias(x, y, bias)                                        x + y + bias
    quick_gelu(x)                                               x * sigmoid(1.702 x)
    owe(y, bias)                                                y, which has bias in it already

Activations are read and written in their own type, bf16 on a GPU; arithmetic is f32. Sums over
rows go to a row of partial sums a program, which sum_rows then adds in a fixed order: no atomics.
TRITON_INTERPRET=1 runs all of it on a CPU, for kernels_test.py.
"""

import torch
import triton
import triton.language as tl

PROGRAMS = 896   # about so many, all running at once, share what is summed over rows


# --- kernels

@triton.jit
def sum_rows_kernel(out, x, rows, columns, each, ROWS: tl.constexpr, BLOCK: tl.constexpr):
  """a program: `each` rows, a multiple of ROWS, of BLOCK columns"""
  c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
  first = tl.program_id(0) * each
  sums = tl.zeros([ROWS, BLOCK], tl.float32)
  for at in range(0, each, ROWS):
    row = first + at + tl.arange(0, ROWS)
    mask = (row < rows)[:, None] & (c < columns)[None, :]
    where = row.to(tl.int64)[:, None] * columns + c[None, :]
    sums += tl.load(x + where, mask=mask, other=0.0).to(tl.float32)
  tl.store(out + tl.program_id(0) * columns + c, tl.sum(sums, axis=0), mask=c < columns)


@triton.jit
def group_sums(columns, GROUP: tl.constexpr, BLOCK: tl.constexpr):
  """sums of columns over their group, at every column of it; any size of groups"""
  c = tl.arange(0, BLOCK)
  same = (c[:, None] // GROUP) == (c[None, :] // GROUP)
  return tl.sum(tl.where(same, columns[None, :], 0.0), axis=1)


@triton.jit
def groupnorm_load(x, at, pixels, c, inside, shift, C: tl.constexpr, ROWS: tl.constexpr):
  """pixels at.. of some channels of a sample in f32, plus shift, and where they are"""
  rows = at + tl.arange(0, ROWS)
  mask = (rows < pixels)[:, None] & inside[None, :]
  where = rows[:, None] * C + c[None, :]
  v = tl.load(x + where, mask=mask, other=0.0).to(tl.float32)
  return tl.where(mask, v + shift[None, :], 0.0), where, mask


@triton.jit
def groupnorm_store(y, v, where, mask, mean, rstd, w, b, SILU: tl.constexpr):
  z = (v - mean[None, :]) * (rstd * w)[None, :] + b[None, :]
  if SILU:
    z = z * tl.sigmoid(z)
  tl.store(y + where, z.to(y.dtype.element_ty), mask=mask)


@triton.jit
def groupnorm_fwd_kernel(y, means, rstds, x, add, weight, bias, pixels, eps, C: tl.constexpr,
                         GROUP: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr,
                         BLOCK: tl.constexpr, ONE: tl.constexpr, ADD: tl.constexpr,
                         SILU: tl.constexpr):
  """a program: WIDTH channels, some whole groups, of one sample; ONE: they fit its registers"""
  n = tl.program_id(0).to(tl.int64)
  local = tl.arange(0, BLOCK)
  c = tl.program_id(1) * WIDTH + local
  inside = (local < WIDTH) & (c < C)
  x += n * pixels * C
  y += n * pixels * C
  count = (pixels * GROUP).to(tl.float32)
  shift = tl.zeros([BLOCK], tl.float32)
  if ADD:
    shift = tl.load(add + n * C + c, mask=inside, other=0.0).to(tl.float32)
  w = tl.load(weight + c, mask=inside, other=0.0).to(tl.float32)
  b = tl.load(bias + c, mask=inside, other=0.0).to(tl.float32)
  if ONE:
    v, where, mask = groupnorm_load(x, 0, pixels, c, inside, shift, C, ROWS)
    mean = group_sums(tl.sum(v, axis=0), GROUP, BLOCK) / count
    d = tl.where(mask, v - mean[None, :], 0.0)
    rstd = tl.rsqrt(group_sums(tl.sum(d * d, axis=0), GROUP, BLOCK) / count + eps)
    groupnorm_store(y, v, where, mask, mean, rstd, w, b, SILU)
  else:
    columns = tl.zeros([BLOCK], tl.float32)
    for at in range(0, pixels, ROWS):
      v, where, mask = groupnorm_load(x, at, pixels, c, inside, shift, C, ROWS)
      columns += tl.sum(v, axis=0)
    mean = group_sums(columns, GROUP, BLOCK) / count
    columns = tl.zeros([BLOCK], tl.float32)
    for at in range(0, pixels, ROWS):
      v, where, mask = groupnorm_load(x, at, pixels, c, inside, shift, C, ROWS)
      d = tl.where(mask, v - mean[None, :], 0.0)
      columns += tl.sum(d * d, axis=0)
    rstd = tl.rsqrt(group_sums(columns, GROUP, BLOCK) / count + eps)
    for at in range(0, pixels, ROWS):
      v, where, mask = groupnorm_load(x, at, pixels, c, inside, shift, C, ROWS)
      groupnorm_store(y, v, where, mask, mean, rstd, w, b, SILU)
  first = inside & (c % GROUP == 0)
  at = n * (C // GROUP) + c // GROUP
  tl.store(means + at, mean, mask=first)
  tl.store(rstds + at, rstd, mask=first)


@triton.jit
def groupnorm_slopes(dy, v, where, mask, mean, rstd, w, b, SILU: tl.constexpr):
  """normalised input, and the gradient of what is before SiLU"""
  g = tl.load(dy + where, mask=mask, other=0.0).to(tl.float32)
  u = tl.where(mask, (v - mean[None, :]) * rstd[None, :], 0.0)
  if SILU:
    z = u * w[None, :] + b[None, :]
    s = tl.sigmoid(z)
    g = g * s * (1 + z * (1 - s))
  return u, g


@triton.jit
def groupnorm_back(dx, more, u, g, where, mask, rstd, w, one, two, KEEP: tl.constexpr):
  """stores the gradient of x, with what comes past the norm; returns its sum over the rows"""
  d = rstd[None, :] * (g * w[None, :] - one[None, :] - u * two[None, :])
  d = tl.where(mask, d, 0.0)
  columns = tl.sum(d, axis=0)
  if KEEP:
    d += tl.load(more + where, mask=mask, other=0.0).to(tl.float32)
  tl.store(dx + where, d.to(dx.dtype.element_ty), mask=mask)
  return columns


@triton.jit
def groupnorm_bwd_kernel(dx, dadd, sums, dy, more, x, add, means, rstds, weight, bias,
                         pixels, C: tl.constexpr, GROUP: tl.constexpr, WIDTH: tl.constexpr,
                         ROWS: tl.constexpr, BLOCK: tl.constexpr, ONE: tl.constexpr,
                         ADD: tl.constexpr, SILU: tl.constexpr, KEEP: tl.constexpr):
  """dadd [n, C], sums [n, 2, C] for weight and bias: over the pixels of a sample"""
  n = tl.program_id(0).to(tl.int64)
  local = tl.arange(0, BLOCK)
  c = tl.program_id(1) * WIDTH + local
  inside = (local < WIDTH) & (c < C)
  start = n * pixels * C
  x += start
  dy += start
  dx += start
  if KEEP:
    more += start
  count = (pixels * GROUP).to(tl.float32)
  shift = tl.zeros([BLOCK], tl.float32)
  if ADD:
    shift = tl.load(add + n * C + c, mask=inside, other=0.0).to(tl.float32)
  w = tl.load(weight + c, mask=inside, other=0.0).to(tl.float32)
  b = tl.load(bias + c, mask=inside, other=0.0).to(tl.float32)
  at_group = n * (C // GROUP) + c // GROUP
  mean = tl.load(means + at_group, mask=inside, other=0.0)
  rstd = tl.load(rstds + at_group, mask=inside, other=0.0)
  if ONE:
    v, where, mask = groupnorm_load(x, 0, pixels, c, inside, shift, C, ROWS)
    u, g = groupnorm_slopes(dy, v, where, mask, mean, rstd, w, b, SILU)
    db = tl.sum(g, axis=0)
    dw = tl.sum(g * u, axis=0)
    one = group_sums(db * w, GROUP, BLOCK) / count
    two = group_sums(dw * w, GROUP, BLOCK) / count
    columns = groupnorm_back(dx, more, u, g, where, mask, rstd, w, one, two, KEEP)
  else:
    db = tl.zeros([BLOCK], tl.float32)
    dw = tl.zeros([BLOCK], tl.float32)
    for at in range(0, pixels, ROWS):
      v, where, mask = groupnorm_load(x, at, pixels, c, inside, shift, C, ROWS)
      u, g = groupnorm_slopes(dy, v, where, mask, mean, rstd, w, b, SILU)
      db += tl.sum(g, axis=0)
      dw += tl.sum(g * u, axis=0)
    one = group_sums(db * w, GROUP, BLOCK) / count
    two = group_sums(dw * w, GROUP, BLOCK) / count
    columns = tl.zeros([BLOCK], tl.float32)
    for at in range(0, pixels, ROWS):
      v, where, mask = groupnorm_load(x, at, pixels, c, inside, shift, C, ROWS)
      u, g = groupnorm_slopes(dy, v, where, mask, mean, rstd, w, b, SILU)
      columns += groupnorm_back(dx, more, u, g, where, mask, rstd, w, one, two, KEEP)
  tl.store(sums + n * (2 * C) + c, dw, mask=inside)
  tl.store(sums + n * (2 * C) + C + c, db, mask=inside)
  if ADD:
    tl.store(dadd + n * C + c, columns.to(dadd.dtype.element_ty), mask=inside)


@triton.jit
def layernorm_fwd_kernel(y, h, x, more, weight, bias, rows, eps, C: tl.constexpr,
                         ROWS: tl.constexpr, BLOCK: tl.constexpr, ADD: tl.constexpr):
  c = tl.arange(0, BLOCK)
  row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
  mask = (row < rows)[:, None] & (c < C)[None, :]
  where = row.to(tl.int64)[:, None] * C + c[None, :]
  v = tl.load(x + where, mask=mask, other=0.0).to(tl.float32)
  if ADD:
    v += tl.load(more + where, mask=mask, other=0.0).to(tl.float32)
    v = v.to(h.dtype.element_ty)
    tl.store(h + where, v, mask=mask)
    v = v.to(tl.float32)
  w = tl.load(weight + c, mask=c < C, other=0.0).to(tl.float32)
  b = tl.load(bias + c, mask=c < C, other=0.0).to(tl.float32)
  d = tl.where(mask, v - (tl.sum(v, axis=1) / C)[:, None], 0.0)
  rstd = tl.rsqrt(tl.sum(d * d, axis=1) / C + eps)
  z = d * rstd[:, None] * w[None, :] + b[None, :]
  tl.store(y + where, z.to(y.dtype.element_ty), mask=mask)


@triton.jit
def layernorm_bwd_kernel(dx, sums, dy, more, h, weight, rows, eps, each, C: tl.constexpr,
                         ROWS: tl.constexpr, BLOCK: tl.constexpr, KEEP: tl.constexpr,
                         OWED: tl.constexpr):
  """
  a program: `each` rows, a multiple of ROWS; statistics are made anew. sums [programs, 2 or 3, C]:
  for weight, bias and what is owed
  """
  c = tl.arange(0, BLOCK)
  w = tl.load(weight + c, mask=c < C, other=0.0).to(tl.float32)
  dw = tl.zeros([ROWS, BLOCK], tl.float32)
  db = tl.zeros([ROWS, BLOCK], tl.float32)
  dowed = tl.zeros([ROWS, BLOCK], tl.float32)
  first = tl.program_id(0) * each
  for at in range(0, each, ROWS):
    row = first + at + tl.arange(0, ROWS)
    mask = (row < rows)[:, None] & (c < C)[None, :]
    where = row.to(tl.int64)[:, None] * C + c[None, :]
    v = tl.load(h + where, mask=mask, other=0.0).to(tl.float32)
    g = tl.load(dy + where, mask=mask, other=0.0).to(tl.float32)
    past = tl.zeros([ROWS, BLOCK], tl.float32)
    if KEEP:
      past = tl.load(more + where, mask=mask, other=0.0).to(tl.float32)
    u = tl.where(mask, v - (tl.sum(v, axis=1) / C)[:, None], 0.0)
    rstd = tl.rsqrt(tl.sum(u * u, axis=1) / C + eps)
    u = u * rstd[:, None]
    dw += g * u
    db += g
    g = g * w[None, :]
    one = tl.sum(g, axis=1) / C
    two = tl.sum(g * u, axis=1) / C
    d = (g - one[:, None] - u * two[:, None]) * rstd[:, None] + past
    tl.store(dx + where, d.to(dx.dtype.element_ty), mask=mask)
    if OWED:
      dowed += tl.where(mask, d, 0.0)
  out = sums + tl.program_id(0) * ((3 if OWED else 2) * C) + c
  tl.store(out, tl.sum(dw, axis=0), mask=c < C)
  tl.store(out + C, tl.sum(db, axis=0), mask=c < C)
  if OWED:
    tl.store(out + 2 * C, tl.sum(dowed, axis=0), mask=c < C)


@triton.jit
def geglu_load(x, row, rows, c, bias_a, bias_b, D: tl.constexpr):
  """both halves with their bias, and where the first is"""
  mask = (row < rows)[:, None] & (c < D)[None, :]
  where = row.to(tl.int64)[:, None] * (2 * D) + c[None, :]
  a = tl.load(x + where, mask=mask, other=0.0).to(tl.float32) + bias_a[None, :]
  b = tl.load(x + where + D, mask=mask, other=0.0).to(tl.float32) + bias_b[None, :]
  return a, b, where, mask


@triton.jit
def normal(b):
  """
  the normal distribution up to b, and its density: Abramowitz and Stegun 7.1.26, within 1e-7, with
  one exponential for both
  """
  e = tl.exp(-0.5 * b * b)
  t = 1 / (1 + 0.23164189 * tl.abs(b))
  tail = t * (0.127414796 + t * (-0.142248368 + t * (
    0.7107068705 + t * (-0.7265760135 + t * 0.5307027145)))) * e
  return tl.where(b < 0, tail, 1 - tail), 0.3989422804014327 * e


@triton.jit
def geglu_fwd_kernel(y, x, bias, rows, D: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr):
  c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
  bias_a = tl.load(bias + c, mask=c < D, other=0.0).to(tl.float32)
  bias_b = tl.load(bias + D + c, mask=c < D, other=0.0).to(tl.float32)
  row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
  a, b, where, mask = geglu_load(x, row, rows, c, bias_a, bias_b, D)
  cdf, density = normal(b)
  z = a * b * cdf
  tl.store(y + row.to(tl.int64)[:, None] * D + c[None, :], z.to(y.dtype.element_ty), mask=mask)


@triton.jit
def geglu_bwd_kernel(dx, dbiases, dy, x, bias, rows, each, D: tl.constexpr, ROWS: tl.constexpr,
                     BLOCK: tl.constexpr):
  """a program: `each` rows, a multiple of ROWS, of BLOCK columns of both halves"""
  c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
  bias_a = tl.load(bias + c, mask=c < D, other=0.0).to(tl.float32)
  bias_b = tl.load(bias + D + c, mask=c < D, other=0.0).to(tl.float32)
  first = tl.program_id(0) * each
  sum_a = tl.zeros([ROWS, BLOCK], tl.float32)
  sum_b = tl.zeros([ROWS, BLOCK], tl.float32)
  for at in range(0, each, ROWS):
    row = first + at + tl.arange(0, ROWS)
    a, b, where, mask = geglu_load(x, row, rows, c, bias_a, bias_b, D)
    g = tl.load(dy + row.to(tl.int64)[:, None] * D + c[None, :], mask=mask, other=0.0)
    g = g.to(tl.float32)
    cdf, density = normal(b)
    da = g * b * cdf
    db = g * a * (cdf + b * density)
    tl.store(dx + where, da.to(dx.dtype.element_ty), mask=mask)
    tl.store(dx + where + D, db.to(dx.dtype.element_ty), mask=mask)
    sum_a += da
    sum_b += db
  out = dbiases + tl.program_id(0) * (2 * D) + c
  tl.store(out, tl.sum(sum_a, axis=0), mask=c < D)
  tl.store(out + D, tl.sum(sum_b, axis=0), mask=c < D)


@triton.jit
def add_bias_kernel(out, x, y, bias, count, C: tl.constexpr, BLOCK: tl.constexpr):
  first = tl.program_id(0).to(tl.int64) * BLOCK
  at = first + tl.arange(0, BLOCK)
  c = ((first % C).to(tl.int32) + tl.arange(0, BLOCK)) % C
  mask = at < count
  v = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
  v += tl.load(y + at, mask=mask, other=0.0).to(tl.float32)
  v += tl.load(bias + c, mask=mask, other=0.0).to(tl.float32)
  tl.store(out + at, v.to(out.dtype.element_ty), mask=mask)


@triton.jit
def quick_gelu_fwd_kernel(y, x, count, BLOCK: tl.constexpr):
  at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
  v = tl.load(x + at, mask=at < count, other=0.0).to(tl.float32)
  tl.store(y + at, (v * tl.sigmoid(1.702 * v)).to(y.dtype.element_ty), mask=at < count)


@triton.jit
def quick_gelu_bwd_kernel(dx, dy, x, count, BLOCK: tl.constexpr):
  at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
  v = tl.load(x + at, mask=at < count, other=0.0).to(tl.float32)
  g = tl.load(dy + at, mask=at < count, other=0.0).to(tl.float32)
  s = tl.sigmoid(1.702 * v)
  g = g * s * (1 + 1.702 * v * (1 - s))
  tl.store(dx + at, g.to(dx.dtype.element_ty), mask=at < count)


# --- launchers

def channels_last(x):
  return x.contiguous(memory_format=torch.channels_last)


def as_rows(x):
  """[all but channels, channels]; copies nothing that is channels last"""
  x = x.permute(0, 2, 3, 1) if x.dim() == 4 else x
  return x.reshape(-1, x.shape[-1])


def part(width, most=128):
  """the longest block of a power of two that divides a row: no lanes idle"""
  return max(16, min(most, width & -width))


def share(rows, some, programs):
  """(rows of each program, a multiple of some; how many programs), about as many as asked for"""
  each = triton.cdiv(triton.cdiv(rows, programs), some) * some
  return each, triton.cdiv(rows, each)


def sum_rows(x):
  """sum over the first dimension, in f32; many rows in two stages"""
  x = x.contiguous()
  rows, columns = len(x), x.numel() // len(x)
  if rows > PROGRAMS:
    block = part(columns)
    parts = triton.cdiv(columns, block)
    each, programs = share(rows, 4096 // block, triton.cdiv(PROGRAMS, parts))
    sums = torch.empty(programs, *x.shape[1:], device=x.device)
    sum_rows_kernel[(programs, parts)](sums, x, rows, columns, each, ROWS=4096 // block,
                                       BLOCK=block, num_warps=4)
    x, rows = sums, programs
  out = torch.empty(x.shape[1:], device=x.device)
  block = part(columns, 32)
  each, _ = share(rows, 8192 // block, 1)
  sum_rows_kernel[(1, triton.cdiv(columns, block))](out, x, rows, columns, each,
                                                    ROWS=8192 // block, BLOCK=block, num_warps=8)
  return out


TILE = 8192   # elements of a program of group_norm, whose registers hold one or two such tiles


def groupnorm_tile(pixels, channels, groups):
  """
  (channels, rows, block, warps) of a program: whole groups, with little padding, that begin where
  long loads may
  """
  group = channels // groups
  rows = min(triton.next_power_of_2(pixels), 256)
  widest = max(16, triton.next_power_of_2(group), min(64 if rows > 16 else 32, TILE // rows))
  costs = []
  for k in range(1, groups + 1):
    width = k * group
    block = max(16, triton.next_power_of_2(width))
    slow = 1 if width % 8 == 0 else 1.25 if width % 4 == 0 else 1.5 if width % 2 == 0 else 2
    if block <= widest:
      costs.append((triton.cdiv(groups, k) * block * slow, -k, width, block))
  _, _, width, block = min(costs)
  return width, rows, block, min(8, max(1, rows * block // 1024))


def groupnorm_fwd(x, weight, bias, groups, eps, silu, add):
  """y like x, and mean and 1 / deviation [n, groups]"""
  n, channels, height, width = x.shape
  pixels = height * width
  y = torch.empty_like(x)
  means, rstds = (torch.empty(n, groups, device=x.device) for _ in range(2))
  wide, rows, block, warps = groupnorm_tile(pixels, channels, groups)
  groupnorm_fwd_kernel[(n, triton.cdiv(channels, wide))](
    y, means, rstds, x, add, weight, bias, pixels, eps, C=channels, GROUP=channels // groups,
    WIDTH=wide, ROWS=rows, BLOCK=block, ONE=pixels <= rows, ADD=add is not None, SILU=silu,
    num_warps=warps)
  return y, means, rstds


def groupnorm_bwd(dy, more, x, add, means, rstds, weight, bias, silu):
  n, channels, height, width = x.shape
  pixels, groups = height * width, means.shape[1]
  dx = torch.empty_like(x)
  sums = torch.empty(n, 2, channels, device=x.device)
  dadd = add if add is None else torch.empty_like(add)
  wide, rows, block, warps = groupnorm_tile(pixels, channels, groups)
  groupnorm_bwd_kernel[(n, triton.cdiv(channels, wide))](
    dx, dadd, sums, dy, more, x, add, means, rstds, weight, bias, pixels, C=channels,
    GROUP=channels // groups, WIDTH=wide, ROWS=rows, BLOCK=block, ONE=pixels <= rows,
    ADD=add is not None, SILU=silu, KEEP=more is not None, num_warps=warps)
  return dx, dadd, *sum_rows(sums)


class GroupNorm(torch.autograd.Function):
  @staticmethod
  def forward(ctx, x, weight, bias, groups, eps, silu, add, keep):
    x = channels_last(x)
    add = add if add is None else add.contiguous()
    y, means, rstds = groupnorm_fwd(x, weight, bias, groups, eps, silu, add)
    ctx.save_for_backward(x, weight, bias, means, rstds, add)
    ctx.silu = silu
    ctx.set_materialize_grads(False)
    return (x.view_as(x), y) if keep else y

  @staticmethod
  def backward(ctx, *gradients):
    x, weight, bias, means, rstds, add = ctx.saved_tensors
    dy = gradients[-1]
    more = gradients[0] if len(gradients) == 2 else None
    dx, dadd, dweight, dbias = groupnorm_bwd(
      channels_last(dy.to(x.dtype)), more if more is None else channels_last(more), x, add, means,
      rstds, weight, bias, ctx.silu)
    return dx, dweight.to(weight.dtype), dbias.to(bias.dtype), None, None, None, dadd, None


def group_norm(x, weight, bias, groups, eps, silu=True, add=None, keep=False):
  """
  silu(norm(x + add)), add [n, channels]. keep: also returns x, to be used instead of x by whatever
  goes past the norm, so that both gradients are added in one pass
  """
  return GroupNorm.apply(x, weight, bias, groups, eps, silu, add, keep)


class LayerNorm(torch.autograd.Function):
  @staticmethod
  def forward(ctx, x, more, weight, bias, eps, dtype, owed):
    channels = x.shape[-1]
    x = x.contiguous()
    rows = x.numel() // channels
    y = torch.empty_like(x, dtype=dtype)
    h = x if more is None else torch.empty_like(x)
    block = triton.next_power_of_2(channels)
    some = max(1, 4096 // block)
    layernorm_fwd_kernel[(triton.cdiv(rows, some),)](
      y, h, x, more if more is None else more.contiguous(), weight, bias, rows, eps, C=channels,
      ROWS=some, BLOCK=block, ADD=more is not None, num_warps=4)
    ctx.save_for_backward(h, weight, bias)
    ctx.eps, ctx.two, ctx.owed = eps, more is not None, owed if owed is None else owed.dtype
    ctx.set_materialize_grads(False)
    return h.view_as(h) if h is x else h, y

  @staticmethod
  def backward(ctx, past, dy):
    h, weight, bias = ctx.saved_tensors
    channels = h.shape[-1]
    rows = h.numel() // channels
    past = past if past is None else past.contiguous()
    if dy is None:
      dowed = ctx.owed and sum_rows(past.view(rows, channels)).to(ctx.owed)
      return past, past if ctx.two else None, None, None, None, None, dowed
    block = triton.next_power_of_2(channels)
    some = max(1, 1024 // block)
    each, programs = share(rows, some, PROGRAMS)
    dx = torch.empty_like(h)
    sums = torch.empty(programs, 3 if ctx.owed else 2, channels, device=h.device)
    layernorm_bwd_kernel[(programs,)](
      dx, sums, dy.contiguous(), past, h, weight, rows, ctx.eps, each, C=channels, ROWS=some,
      BLOCK=block, KEEP=past is not None, OWED=ctx.owed is not None, num_warps=4)
    dweight, dbias, *dowed = sum_rows(sums)
    return (dx, dx if ctx.two else None, dweight.to(weight.dtype), dbias.to(bias.dtype), None,
            None, dowed[0].to(ctx.owed) if ctx.owed else None)


def layer_norm(x, more, weight, bias, eps, dtype=None, owed=None):
  """
  (h, norm of h), h = x + more or x; h goes past the norm, as group_norm's x does. owed: a bias
  that x or more has in it already, whose gradient is left to this
  """
  return LayerNorm.apply(x, more, weight, bias, eps, dtype or x.dtype, owed)


class Geglu(torch.autograd.Function):
  @staticmethod
  def forward(ctx, x, bias):
    x = x.contiguous()
    width = x.shape[-1] // 2
    rows = x.numel() // (2 * width)
    y = x.new_empty(*x.shape[:-1], width)
    block = part(width)
    some = 2048 // block
    geglu_fwd_kernel[(triton.cdiv(rows, some), triton.cdiv(width, block))](
      y, x, bias, rows, D=width, ROWS=some, BLOCK=block, num_warps=4)
    ctx.save_for_backward(x, bias)
    return y

  @staticmethod
  def backward(ctx, dy):
    x, bias = ctx.saved_tensors
    width = x.shape[-1] // 2
    rows = x.numel() // (2 * width)
    block = part(width)
    parts = triton.cdiv(width, block)
    some = 1024 // block
    each, programs = share(rows, some, triton.cdiv(2 * PROGRAMS, parts))
    dx = torch.empty_like(x)
    dbiases = torch.empty(programs, 2 * width, device=x.device)
    geglu_bwd_kernel[(programs, parts)](
      dx, dbiases, dy.contiguous(), x, bias, rows, each, D=width, ROWS=some, BLOCK=block,
      num_warps=4)
    return dx, sum_rows(dbiases).to(bias.dtype)


geglu = Geglu.apply


class AddBias(torch.autograd.Function):
  @staticmethod
  def forward(ctx, x, y, bias):
    x, y = channels_last(x), channels_last(y)
    out = torch.empty_like(y)
    add_bias_kernel[(triton.cdiv(x.numel(), 2048),)](out, x, y, bias, x.numel(), C=x.shape[1],
                                                    BLOCK=2048, num_warps=4)
    ctx.dtypes = x.dtype, bias.dtype
    return out

  @staticmethod
  def backward(ctx, g):
    g = channels_last(g)
    return g.to(ctx.dtypes[0]), g, sum_rows(as_rows(g)).to(ctx.dtypes[1])


add_bias = AddBias.apply


class Owe(torch.autograd.Function):
  @staticmethod
  def forward(ctx, y, bias):
    ctx.dtype = bias.dtype
    return y.view_as(y)

  @staticmethod
  def backward(ctx, g):
    return g, sum_rows(as_rows(g)).to(ctx.dtype)


def owe(y, bias):
  """y, computed with bias.detach(); bias gets its gradient here, for autograd's sums are slow"""
  return y if bias is None else Owe.apply(y, bias)


class QuickGelu(torch.autograd.Function):
  @staticmethod
  def forward(ctx, x):
    x = x.contiguous()
    y = torch.empty_like(x)
    quick_gelu_fwd_kernel[(triton.cdiv(x.numel(), 2048),)](y, x, x.numel(), BLOCK=2048)
    ctx.save_for_backward(x)
    return y

  @staticmethod
  def backward(ctx, dy):
    x, = ctx.saved_tensors
    dx = torch.empty_like(x)
    quick_gelu_bwd_kernel[(triton.cdiv(x.numel(), 2048),)](dx, dy.contiguous(), x, x.numel(),
                                                           BLOCK=2048)
    return dx


quick_gelu = QuickGelu.apply
