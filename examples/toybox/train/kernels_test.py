"""
Tests kernels.py against PyTorch's own operators in f64: results and every gradient.

    python kernels_test.py                          on this machine's GPU: a few shapes of the UNet
    TRITON_INTERPRET=1 python kernels_test.py       on the CPU: all shapes
    python kernels_test.py --compile 90             no GPU: compiles every kernel for that kind
"""

import argparse
import itertools
import sys
import time

import torch
import torch.nn.functional as F

import kernels

# (channels, side, groups): of the UNet and what its up blocks join, then the autoencoder's
GROUPED = [(96, 16, 16), (160, 8, 16), (256, 4, 16), (192, 16, 16), (256, 16, 16), (320, 8, 16),
           (352, 8, 16), (416, 8, 16), (512, 4, 16), (32, 32, 8), (96, 20, 8), (128, 16, 8)]
BOUNDS = {torch.float32: 2e-5, torch.bfloat16: 1e-2}


def tensors(device, *shapes, dtype=torch.float32):
  generator = torch.Generator().manual_seed(1)
  out = [torch.randn(s, generator=generator).to(device, dtype) for s in shapes]
  return [x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in out]


def compare(name, mine, plain, inputs, bound):
  """values and gradients of all inputs; the worst relative error"""
  worst = 0.0
  a = [x.detach().clone(memory_format=torch.preserve_format).requires_grad_() for x in inputs]
  b = [x.detach().double().requires_grad_() for x in inputs]
  ours, theirs = mine(*a), plain(*b)
  ours, theirs = ((v if isinstance(v, tuple) else (v,)) for v in (ours, theirs))
  slopes = tensors(inputs[0].device, *(y.shape for y in ours))
  slopes = [x.to(y.dtype) for x, y in zip(slopes, ours)]
  got = [*ours, *torch.autograd.grad(ours, a, slopes)]
  wanted = [*theirs, *torch.autograd.grad(theirs, b, [s.double() for s in slopes])]
  for x, y in zip(got, wanted):
    worst = max(worst, ((x.double() - y).norm() / (y.norm() + 1e-30)).item())
  right = worst < bound
  if not right or "-v" in sys.argv:
    print(f"{'ok' if right else 'WRONG'} {name}: {worst:.1e}", flush=True)
  return right


def cases(device, dtype, count, grouped):
  """(name, own operator, PyTorch's, inputs)"""
  for (c, side, groups), add, silu, keep in itertools.product(
      grouped, (False, True), (False, True), (False, True)):
    if add and not silu:   # is not used
      continue
    x, = tensors(device, (count, c, side, side), dtype=dtype)
    x = x + 3
    w, b, more = tensors(device, (c,), (c,), (count, c))

    def mine(x, w, b, *more):
      return kernels.group_norm(x, w, b, groups, 1e-5, silu, *more, keep=keep)

    def plain(x, w, b, *more):
      v = x + more[0][:, :, None, None] if more else x
      z = F.group_norm(v, groups, w, b, 1e-5)
      z = F.silu(z) if silu else z
      return (x, z) if keep else z

    yield (f"group_norm {c} {side}x{side} add {add} silu {silu} keep {keep}", mine, plain,
           [x, w, b, *([more] if add else [])])
  for c, rows in ((96, 77), (160, 64), (256, 300)):
    x, y = tensors(device, (count, rows, c), (count, rows, c), dtype=dtype)
    w, b = tensors(device, (c,), (c,))
    yield (f"layer_norm {c} after a sum",
           lambda x, y, w, b: kernels.layer_norm(x, y, w, b, 1e-5),
           lambda x, y, w, b: (x + y, F.layer_norm(x + y, x.shape[-1:], w, b, 1e-5)), [x, y, w, b])
    owed, = tensors(device, (c,))

    def late(x, y, w, b, owed):
      return kernels.layer_norm(x, y + owed.detach().to(dtype), w, b, 1e-5, owed=owed)

    def early(x, y, w, b, owed):
      h = x + y + owed
      return h, F.layer_norm(h, x.shape[-1:], w, b, 1e-5)

    yield f"layer_norm {c} with a bias owed", late, early, [x, y, w, b, owed]
    yield (f"layer_norm {c} whose norm is not used",
           lambda x, y, w, b, owed: late(x, y, w, b, owed)[0] + 0 * (w + b).sum(),
           lambda x, y, w, b, owed: x + y + owed + 0 * (w + b).sum(), [x, y, w, b, owed])
    yield (f"layer_norm {c}", lambda x, w, b: kernels.layer_norm(x, None, w, b, 1e-5),
           lambda x, w, b: (x, F.layer_norm(x, x.shape[-1:], w, b, 1e-5)), [x, w, b])

    def gated(x, bias):
      a, b = (x + bias).chunk(2, -1)
      return a * F.gelu(b)

    x, = tensors(device, (count, rows, 8 * c), dtype=dtype)
    bias, = tensors(device, (8 * c,))
    yield f"geglu {c}", kernels.geglu, gated, [x, bias]
    x, y = tensors(device, (count, c, 5, 4), (count, c, 5, 4), dtype=dtype)
    yield (f"quick_gelu {c}", kernels.quick_gelu, lambda x: x * torch.sigmoid(1.702 * x), [x])
    long, = tensors(device, (count, c, 27, 31), dtype=dtype)   # rows for two stages of sums
    for z in (long, long.permute(0, 2, 3, 1).flatten(1, 2), y, y[:, :4].contiguous()):
      shape = (-1, 1, 1) if z.dim() == 4 else (-1,)
      bias, = tensors(device, (z.shape[1 if z.dim() == 4 else -1],))
      yield (f"owe {tuple(z.shape)}",
             lambda z, b: kernels.owe(z + b.detach().to(dtype).view(shape), b),
             lambda z, b: z + b.view(shape), [z, bias])
    yield (f"add_bias {c}", kernels.add_bias, lambda x, y, b: x + y + b[:, None, None], [x, y, b])


def test(device, grouped):
  """grouped: by type"""
  right, count = True, 0
  for dtype, shapes in grouped.items():
    for name, mine, plain, inputs in cases(device, dtype, 3, shapes):
      right = compare(f"{name} {dtype}", mine, plain, inputs, BOUNDS[dtype]) and right
      count += 1
  print(f"{count} cases, {'all right' if right else 'some are WRONG'}")
  return right


class Compiler:
  """stands in for a kernel: compiles what a launch would need, and launches nothing"""
  seen = {}

  def __init__(self, kernel, target):
    self.kernel, self.target = kernel, target

  def __getitem__(self, grid):
    return self

  def __call__(self, *arguments, num_warps=4, **constants):
    import triton
    from triton.compiler import ASTSource
    types = {torch.float32: "*fp32", torch.bfloat16: "*bf16", int: "i32", float: "fp32"}
    signature, constexprs, attrs = {}, {}, {}
    for i, name in enumerate(self.kernel.arg_names):
      value = arguments[i] if i < len(arguments) else constants[name]
      if i >= len(arguments) or value is None:
        signature[name], constexprs[(i,)] = "constexpr", value
        continue
      pointer = torch.is_tensor(value)
      signature[name] = types[value.dtype if pointer else type(value)]
      if pointer or isinstance(value, int) and value % 16 == 0:
        attrs[(i,)] = [["tt.divisibility", 16]]
    key = self.kernel.__name__, str(signature), str(constexprs), str(attrs), num_warps
    if key not in self.seen:
      source = ASTSource(fn=self.kernel, signature=signature, constexprs=constexprs, attrs=attrs)
      self.seen[key] = triton.compile(source, target=self.target, options=dict(num_warps=num_warps))


def compile_all(capability):
  """every kernel that the cases need, for a GPU that is not there"""
  from triton.backends.compiler import GPUTarget
  target = GPUTarget("cuda", capability, 32)
  for name in [n for n in dir(kernels) if n.endswith("_kernel")]:
    setattr(kernels, name, Compiler(getattr(kernels, name), target))
  began = time.time()
  for dtype in (torch.bfloat16, torch.float32):
    for _, mine, _, inputs in cases("cpu", dtype, 3, GROUPED):
      inputs = [x.requires_grad_() for x in inputs]
      out = mine(*inputs)
      out = out if isinstance(out, tuple) else (out,)
      torch.autograd.grad(out, inputs, [torch.ones_like(y) for y in out])
  print(f"{len(Compiler.seen)} kernels compiled in {time.time() - began:.0f} s")


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
  parser.add_argument("--compile", type=int, metavar="CAPABILITY")
  parser.add_argument("-v", action="store_true")
  a = parser.parse_args()
  if a.compile:
    compile_all(a.compile)
  else:
    if torch.cuda.is_available():   # a few seconds of compiling
      right = test("cuda", {torch.bfloat16: GROUPED[:3] + GROUPED[9:10], torch.float32: GROUPED[:1]})
    else:
      right = test("cpu", {torch.bfloat16: GROUPED, torch.float32: GROUPED})
    sys.exit(not right)
