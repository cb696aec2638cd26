"""What every stage shares: where state lives, how it resumes, its clock, average and curve."""

import concurrent.futures
import copy
import csv
import functools
import os
import threading
import time

import torch
from torch.optim.adamw import adamw

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))


def state_dir(size, *names):
  path = os.path.join(os.environ.get("TOYBOX_STATE", os.path.join(ROOT, "build", "toybox")),
                      size, *names)
  os.makedirs(path, exist_ok=True)
  return path


# held while a CUDA graph is captured: other threads must leave the device alone meanwhile
CAPTURE = threading.Lock()
CPU_WORKERS = int(os.environ.get("TOYBOX_THREADS", "2"))


def set_up():
  torch.set_num_threads(CPU_WORKERS)
  torch.manual_seed(0)
  if torch.cuda.is_available():
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    return torch.device("cuda")
  torch.set_flush_denormal(True)
  return torch.device("cpu")


@functools.cache
def fast_in_bf16():
  """whether this CPU multiplies bf16 faster than f32: some take half the time for it, others twice"""
  def seconds(dtype):
    a, best = torch.ones(512, 512, dtype=dtype), float("inf")
    for _ in range(10):
      began = time.perf_counter()
      a @ a
      best = min(best, time.perf_counter() - began)
    return best

  return seconds(torch.bfloat16) < seconds(torch.float32)


def autocast(device, cpu=False):
  """bf16 on a GPU, and where cpu=True on CPUs that are faster in it"""
  return torch.autocast(device.type, dtype=torch.bfloat16,
                        enabled=device.type == "cuda" or cpu and fast_in_bf16())


def layout(device):
  """channels last is for GPUs: a group norm's gradient is many times slower in it on a CPU"""
  return torch.channels_last if device.type == "cuda" else torch.contiguous_format


def fast(device):
  """whether to do what is only done on a GPU, for speed; TOYBOX_FAST=0: nothing but the plain"""
  return device.type == "cuda" and os.environ.get("TOYBOX_FAST", "1") != "0"


def save(value, path):
  torch.save(value, path + ".part")
  os.replace(path + ".part", path)


class Flat:
  """
  All parameters of some networks as one vector, of which they become views: what is done to every
  weight (sum of gradients, norm, optimiser, average) is then done in a few long passes.
  """

  def __init__(self, nets):
    self.parameters = [p for n in nets for p in n.parameters() if p.requires_grad]
    device = self.parameters[0].device
    self.sizes = [p.numel() for p in self.parameters]
    self.vector = torch.empty(sum(self.sizes), device=device)
    for p, view in zip(self.parameters, self.views(self.vector)):
      view.copy_(p.data)
      p.data = view

  def views(self, vector):
    """the vector cut up as the parameters are, channels last where they are"""
    out = []
    for p, part in zip(self.parameters, vector.split(self.sizes)):
      if p.dim() == 4 and p.is_contiguous(memory_format=torch.channels_last):
        n, c, h, w = p.shape
        out.append(part.view(n, h, w, c).permute(0, 3, 1, 2))
      else:
        out.append(part.view(p.shape))
    return out


class Profile:
  """
  Which kernels a few steps of a GPU spend their time in: printed, and written as profile.txt.
  step() is called after every step; steps 30 to 35 are looked at.
  """

  def __init__(self, folder, device, first=30, count=5):
    self.path, self.first, self.count = os.path.join(folder, "profile.txt"), first, count
    self.at = 0 if fast(device) else None

  def step(self, samples):
    if self.at is None:
      return
    self.at += 1
    try:
      if self.at == self.first:
        torch.cuda.synchronize()
        self.began = time.time()
      elif self.at == self.first + self.count:   # so many without the profiler, as many with it
        torch.cuda.synchronize()
        self.seconds = (time.time() - self.began) / self.count
        self.profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
        self.profiler.start()
      elif self.at == self.first + 2 * self.count:
        torch.cuda.synchronize()
        self.profiler.stop()
        self._write(samples)
        self.at = None
    except Exception as error:
      print(f"no profile: {error}", flush=True)
      self.at = None

  def _write(self, samples):
    rows = sorted(((e.self_device_time_total / self.count, e.count / self.count, e.key)
                   for e in self.profiler.key_averages() if e.self_device_time_total > 0),
                  reverse=True)
    total = sum(r[0] for r in rows) or 1
    lines = [f"a step: {1e3 * self.seconds:.2f} ms, {samples / self.seconds:.0f} samples/s; "
             f"kernels {total / 1e3:.2f} ms, {sum(r[1] for r in rows):.0f} of them"]
    lines += [f"{t / 1e3:8.3f} ms {100 * t / total:5.1f} % {n:6.0f} x  {name[:110]}"
              for t, n, name in rows[:40]]
    with open(self.path, "w") as f:
      f.write("\n".join(lines) + "\n")
    print("\n".join(lines[:16]), flush=True)


class Run:
  """
  One stage of training: step counter, clock, optimiser, average, best checkpoint, curve.

  The learning rate warms up, stays, and decays over the last part of the minutes asked for
  (warm-up, stable, decay). The state before the decay is kept as stable.pt: a later run goes on
  from there, so the length of the whole need not be known when it starts. cool = 0 never decays.
  """

  def __init__(self, folder, nets, minutes, rate, cool=0.25, warm_steps=200, decay=0.9995,
               weight_decay=0.01, betas=(0.9, 0.99), device=None, every_seconds=120):
    self.folder, self.nets, self.rate, self.cool = folder, nets, rate, cool
    self.warm_steps, self.every_seconds = warm_steps, every_seconds
    self.decay, self.weight_decay, self.betas = decay, weight_decay, betas
    self.average = [copy.deepcopy(n).eval() for n in nets]
    self.flat, self.flat_average = Flat(nets), Flat(self.average)
    for net in self.average:
      net.requires_grad_(False)
    self.parameters = self.flat.parameters
    self.first, self.second = (torch.zeros_like(self.flat.vector) for _ in range(2))
    self.step = self.samples = 0
    self.fresh = 0              # the step at which the optimiser began
    self.seconds = 0.0
    self.best = float("inf")
    self.decayed = 1.0          # how far the learning rate has come down, 1 to 0
    self.device = device or torch.device("cpu")
    self.workers = 1 if self.device.type == "cuda" else CPU_WORKERS
    self.pool = concurrent.futures.ThreadPoolExecutor(
      self.workers, initializer=torch.set_num_threads, initargs=(1,))
    self._load()
    self.began = self.saved = time.time()
    self.last_line = self.samples, self.began
    self.minutes = minutes
    self.seconds_before = self.seconds
    self.stable_kept = self.decayed < 1.0
    self.graph = None

  def _path(self, name):
    return os.path.join(self.folder, name)

  def _load(self):
    last, stable = self._path("last.pt"), self._path("stable.pt")
    if not os.path.exists(last):
      self._load_start()
      return
    state = torch.load(last, map_location=self.device, weights_only=True)
    if state["decayed"] < 0.1 and os.path.exists(stable):   # a finished run: go on before its decay
      best = state["best"]
      state = torch.load(stable, map_location=self.device, weights_only=True)
      state["best"] = best
    for mine, theirs in zip(self.nets, state["nets"]):
      mine.load_state_dict(theirs)
    for mine, theirs in zip(self.average, state["average"]):
      mine.load_state_dict(theirs)
    self.first.copy_(state["moments"][0])
    self.second.copy_(state["moments"][1])
    for name in ("step", "samples", "seconds", "best", "decayed"):
      setattr(self, name, state[name])
    self.fresh = state.get("fresh", 0)
    print(f"resumed at step {self.step}, {self.samples} samples, {self.seconds / 60:.1f} minutes",
          flush=True)

  def _load_start(self):
    """start.pt: averaged weights alone, f16, as gpu.py brings them home"""
    if not os.path.exists(self._path("start.pt")):
      return
    state = torch.load(self._path("start.pt"), map_location=self.device, weights_only=True)
    for net, average, theirs in zip(self.nets, self.average, state["average"]):
      net.load_state_dict(theirs)
      average.load_state_dict(theirs)
    for name in ("step", "samples", "seconds"):
      setattr(self, name, state[name])
    self.fresh = self.step

  def keep(self, name="last.pt"):
    save(dict(nets=[n.state_dict() for n in self.nets],
              average=[n.state_dict() for n in self.average],
              moments=[self.first, self.second], step=self.step, samples=self.samples,
              seconds=self.seconds, best=self.best, decayed=self.decayed, fresh=self.fresh),
         self._path(name))

  def keep_best(self, value):
    """the averaged weights, when validation has never been better"""
    if value < self.best:
      self.best = value
      save([n.state_dict() for n in self.average], self._path("best.pt"))
      return True
    return False

  @property
  def fraction(self):
    return (time.time() - self.began) / (60 * self.minutes)

  def going(self):
    """sets the learning rate; false when time is up, with the state saved"""
    self.seconds = self.seconds_before + time.time() - self.began
    fraction = self.fraction
    if self.cool and fraction > 1 - self.cool and not self.stable_kept:
      self.keep("stable.pt")
      self.stable_kept = True
    if self.cool:
      self.decayed = min(self.decayed, max(0.0, (1 - fraction) / self.cool))
    if fraction >= 1:
      self.keep()
      return False
    if time.time() - self.saved > self.every_seconds:
      self.keep()
      self.saved = time.time()
    return True

  def update(self, loss_of, *batch, clip=1.0):
    """
    One step on loss_of(*batch), a mean over the batch; returns the loss. On a CPU every core takes
    a share of the batch with one thread: on a machine that others use too, this is several times
    faster than threads that wait for each other in every operation. On a GPU the loss and its
    gradient are a CUDA graph, made by the first step: loss_of and shapes must stay what they were.
    """
    count = len(batch[0])
    if self.device.type == "cuda":
      loss, gradients = self._replay(loss_of, batch)
    else:
      shares = [[x[i * count // self.workers:(i + 1) * count // self.workers] for x in batch]
                for i in range(self.workers)]
      losses, gradients = zip(*self._each(lambda share: self._work(loss_of, share), shares))
      loss = torch.stack(losses).mean()
    self._step(gradients, clip)
    self.samples += count
    return loss

  def _work(self, loss_of, batch):
    loss = loss_of(*batch)
    gradient = torch.empty_like(self.flat.vector)
    torch._foreach_copy_(self.flat.views(gradient), torch.autograd.grad(loss, self.parameters))
    return loss.detach(), gradient

  def _replay(self, loss_of, batch):
    if self.graph is None:
      try:
        self._capture(loss_of, batch)
      except RuntimeError as error:
        print(f"no CUDA graph, single kernels instead: {error}", flush=True)
        self.graph = False
      torch.backends.cudnn.benchmark = False
    if not self.graph:
      loss, gradient = self._work(loss_of, batch)
      return loss, [gradient]
    for mine, theirs in zip(self.inputs, batch):
      mine.copy_(theirs)
    self.graph.replay()
    return self.outputs[0].clone(), [self.outputs[1]]

  def _capture(self, loss_of, batch):
    began = time.time()
    self.inputs = [x.clone() for x in batch]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    torch.backends.cudnn.benchmark = fast(self.device)   # for these shapes alone
    with torch.cuda.stream(side):
      for _ in range(3):   # compiles, and lets libraries choose
        self._work(loss_of, self.inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with CAPTURE, torch.cuda.graph(graph):
      self.outputs = self._work(loss_of, self.inputs)
    torch.cuda.synchronize()
    self.graph = graph
    print(f"captured after {time.time() - began:.1f} s", flush=True)

  def _each(self, work, items):
    return list(self.pool.map(work, items)) if self.workers > 1 else [work(i) for i in items]

  @torch.no_grad()
  def _step(self, gradients, clip):
    """AdamW and the average, in pieces that stay in a core's cache"""
    vector, average = self.flat.vector, self.flat_average.vector
    piece = 1 << 18 if vector.device.type == "cpu" else len(vector)
    spans = [slice(i, min(i + piece, len(vector))) for i in range(0, len(vector), piece)]
    one, two = self.betas
    step = self.step - self.fresh
    rate = self.rate * min(1, (step + 1) / self.warm_steps) * max(self.decayed, 0.02)
    decay = min(self.decay, (self.step + 1) / (self.step + 20))

    if fast(self.device):
      self._step_fused(gradients[0], clip, rate, decay)
      return

    def add(span):
      g = gradients[0][span]
      for more in gradients[1:]:
        g.add_(more[span])
      g.div_(len(gradients))
      return g.square().sum()

    norm = torch.stack(self._each(add, spans)).sum().sqrt()
    shrink = (clip / (norm + 1e-6)).clamp(max=1)
    self.step += 1
    step += 1
    correct = (1 - two ** step) ** 0.5

    def move(span):
      g, p = gradients[0][span].mul_(shrink), vector[span]
      self.first[span].lerp_(g, 1 - one)
      self.second[span].mul_(two).addcmul_(g, g, value=1 - two)
      p.mul_(1 - rate * self.weight_decay)
      p.addcdiv_(self.first[span], self.second[span].sqrt().div_(correct).add_(1e-8),
                 value=-rate / (1 - one ** step))
      average[span].lerp_(p, 1 - decay)

    self._each(move, spans)

  def _step_fused(self, gradient, clip, rate, decay):
    """the same in three passes over everything, for a GPU"""
    norm = torch.linalg.vector_norm(gradient)
    adamw([self.flat.vector], [gradient], [self.first], [self.second], [],
          [torch.full((), float(self.step - self.fresh), device=self.device)], fused=True, amsgrad=False,
          beta1=self.betas[0], beta2=self.betas[1], lr=rate, weight_decay=self.weight_decay,
          eps=1e-8, maximize=False, grad_scale=(norm / clip).clamp(min=1))
    self.flat_average.vector.lerp_(self.flat.vector, 1 - decay)
    self.step += 1

  def curve(self, **values):
    """a line of curve.csv, which is what gets committed"""
    path = self._path("curve.csv")
    row = dict(step=self.step, samples=self.samples, minutes=round(self.seconds / 60, 2),
               **{k: round(float(v), 5) for k, v in values.items()})
    new = not os.path.exists(path)
    with open(path, "a", newline="") as f:
      writer = csv.DictWriter(f, row.keys(), lineterminator="\n")
      if new:
        writer.writeheader()
      writer.writerow(row)
    now, (samples, then) = time.time(), self.last_line
    self.last_line = self.samples, now
    print(" ".join(f"{k} {v}" for k, v in row.items()), f"run {(now - self.began) / 60:.1f} min",
          f"{(self.samples - samples) / (now - then + 1e-9):.0f} samples/s", flush=True)
