"""
The yardstick's own network: says which noun, scene and style a picture shows, and how alike two
objects are whatever stands around them. Trained on renders alone, never on the model's samples.

    python judge.py --minutes 8          0 minutes: only writes what is there

The embedding learns from pairs: one object twice, from two angles, in two scenes or styles.
"""

import argparse
import json
import os
import zlib

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import common_path  # noqa: F401
import common
import data

SIDE = 64      # pictures of any size are judged at this one
PAIRS = 2048   # pairs in a cached file


class Block(nn.Module):
  def __init__(self, inputs, outputs):
    super().__init__()
    self.down = nn.Conv2d(inputs, outputs, 3, 2, 1)
    self.norm1 = nn.GroupNorm(8, outputs)
    self.conv1 = nn.Conv2d(outputs, outputs, 3, 1, 1)
    self.norm2 = nn.GroupNorm(8, outputs)
    self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)

  def forward(self, x):
    x = self.down(x)
    return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class Judge(nn.Module):
  def __init__(self, nouns, scenes, styles, channels=(32, 64, 128, 256), embedding=128):
    super().__init__()
    self.labels = dict(noun=list(nouns), scene=list(scenes), style=list(styles))
    self.stem = nn.Conv2d(3, channels[0], 4, 2, 1)
    self.blocks = nn.ModuleList(Block(a, b) for a, b in zip(channels, channels[1:]))
    width = 2 * channels[-1]
    self.norm = nn.LayerNorm(width)
    self.heads = nn.ModuleDict({k: nn.Linear(width, len(v)) for k, v in self.labels.items()})
    self.embedding = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, embedding))

  def forward(self, x):
    """[n, 3, 64, 64] in [-1, 1] to logits by head, and unit embeddings"""
    x = F.silu(self.stem(x))
    for block in self.blocks:
      x = block(x)
    # the centre, where the object is, beside the whole
    x = self.norm(torch.cat([x.mean((2, 3)), x[:, :, 1:3, 1:3].mean((2, 3))]
                            if x.shape[-1] < 6 else
                            [x.mean((2, 3)), x[:, :, 2:6, 2:6].mean((2, 3))], 1))
    return {k: h(x) for k, h in self.heads.items()}, F.normalize(self.embedding(x), dim=1)

  @torch.no_grad()
  def look(self, pictures):
    """uint8 [n, h, w, 3] to (logits by head, embeddings)"""
    outs, device = [], self.stem.weight.device
    for at in range(0, len(pictures), 128):
      x = data.to_tensor(pictures[at:at + 128], device)
      if x.shape[-1] != SIDE:
        x = F.interpolate(x, (SIDE, SIDE), mode="area")
      outs.append(self(x))
    return ({k: torch.cat([o[0][k] for o in outs]).cpu() for k in self.labels},
            torch.cat([o[1] for o in outs]).cpu())


def two_views(world, rng):
  """one object twice: specifications for the renderer, and (noun, scene, style) of each"""
  import sampler as w
  noun = world.nouns[rng.integers(len(world.nouns))]
  r = w.Rng(int(rng.integers(1 << 40)), 0x9A125)
  style = "photo" if r.chance(0.4) else r.pick(world.styles)
  kind, thing = world._thing(r, noun, style=style)
  plain = kind in (w.EMOJI, w.DRAWING) or (kind == w.MESH and r.chance(0.5))
  look = 0 if plain else r.next() | 1
  specs, names = [], []
  for k in range(2):
    scene = r.pick(world.painted_scenes)
    if kind == w.DRAWING:
      scene, style = w.PAPER, r.pick(w.DRAWN_STYLES)
    elif kind == w.EMOJI:
      style = world.header["sprites"][thing]["art"] if r.chance(0.5) else r.pick(world.filters)
    elif k or style in w.ICON_STYLES + ["line drawing", "woodcut"]:
      style = "photo" if r.chance(0.4) else r.pick(world.filters)
    specs.append(world._view(r, kind, thing, look, scene, style, world._azimuth(r),
                             r.uniform(0.62, 0.8), r.uniform(0.1, 0.4)))
    names.append((noun, scene, style))
  return specs, names


def pair_file(world, number):
  """uint8 [PAIRS, 2, 64, 64, 3] and labels int16 [PAIRS, 2, 3]; rendered once"""
  names = "|".join([*world.nouns, *world.scenes, *world.styles]).encode()
  path = os.path.join(common.state_dir("judge"), f"pairs-{zlib.crc32(names):08x}-{number:04d}.npz")
  if os.path.exists(path):
    with np.load(path) as f:
      return f["pictures"], f["labels"]
  index = [{n: i for i, n in enumerate(v)} for v in (world.nouns, world.scenes, world.styles)]
  rng = np.random.default_rng([21, number])
  pictures, labels = [], []
  for _ in range(PAIRS // 256):
    specs, names = zip(*(two_views(world, rng) for _ in range(256)))
    views = world._render([s for pair in specs for s in pair], SIDE)[0]
    pictures.append(views.reshape(256, 2, SIDE, SIDE, 3))
    labels.append([[[index[i][n] for i, n in enumerate(one)] for one in pair] for pair in names])
  pictures, labels = np.concatenate(pictures), np.concatenate(labels).astype(np.int16)
  np.savez(path + ".part.npz", pictures=pictures, labels=labels)
  os.replace(path + ".part.npz", path)
  return pictures, labels


def contrast(a, b, temperature=0.1):
  """each picture's partner against every other object of the batch"""
  scores = a @ b.T / temperature
  target = torch.arange(len(a), device=a.device)
  return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2


def build(world):
  return Judge(world.nouns, world.scenes, world.styles).to(memory_format=torch.channels_last)


def load(folder=None):
  """the committed judge, or one that was just trained: its labels stand beside its weights"""
  folder = folder or os.path.join(common.ROOT, "models", "toybox-judge")
  with open(os.path.join(folder, "labels.json")) as f:
    labels = json.load(f)
  judge = Judge(labels["noun"], labels["scene"], labels["style"])
  judge.load_state_dict({k: v.float() for k, v in
                         load_file(os.path.join(folder, "judge.safetensors")).items()})
  return judge.to(memory_format=torch.channels_last).eval()


def write(world, folder):
  judge = build(world)
  best = os.path.join(common.state_dir("judge"), "best.pt")
  judge.load_state_dict(torch.load(best, map_location="cpu", weights_only=True)[0])
  os.makedirs(folder, exist_ok=True)
  save_file({k: v.half().contiguous() for k, v in judge.state_dict().items()},
            os.path.join(folder, "judge.safetensors"))
  with open(os.path.join(folder, "labels.json"), "w") as f:
    json.dump(judge.labels, f, indent=0)


def train(world, minutes, files, batch, rate, check_minutes):
  device = common.set_up()
  judge = build(world).to(device)
  run = common.Run(common.state_dir("judge"), [judge], minutes, rate, 0.4, decay=0.998,
                   weight_decay=0.05, device=device)
  held = pair_file(world, 9999)
  store = [pair_file(world, 0)]

  @torch.no_grad()
  def validate(count=1024):
    net = run.average[0]
    out, parts = dict(), [net.look(held[0][:count, v]) for v in (0, 1)]
    for i, k in enumerate(net.labels):
      for top in (1, 5):
        best = parts[0][0][k].topk(top, 1).indices
        truth = torch.from_numpy(held[1][:count, 0, i].astype(np.int64))[:, None]
        out[f"{k}{top}"] = (best == truth).any(1).float().mean().item()
    near = (parts[0][1] @ parts[1][1].T).argmax(1)
    out["pair_of_1024"] = (near == torch.arange(count)).float().mean().item()
    return out

  def loss_of(x, y):
    with common.autocast(device):
      logits, e = judge(torch.cat([x[:, 0], x[:, 1]]).contiguous(memory_format=torch.channels_last))
    loss = contrast(e[:len(x)].float(), e[len(x):].float())
    for i, k in enumerate(judge.labels):
      loss = loss + F.cross_entropy(logits[k], torch.cat([y[:, 0], y[:, 1]])[:, i],
                                    label_smoothing=0.05)
    return loss

  losses, checked = [], run.seconds
  while run.going():
    if run.step % (100 if device.type == "cpu" else 10) == 0 and len(store) < files:
      store.append(pair_file(world, len(store)))
    rng = np.random.default_rng([22, run.step])
    which, at = rng.integers(0, len(store), batch), rng.integers(0, PAIRS, batch)
    x = np.stack([store[w][0][i] for w, i in zip(which, at)])
    flip = rng.random((batch, 2)) < 0.5
    x[flip] = x[flip][:, :, ::-1]
    y = torch.from_numpy(np.stack([store[w][1][i] for w, i in zip(which, at)]).astype(np.int64))
    x = torch.stack([data.to_tensor(x[:, 0], device), data.to_tensor(x[:, 1], device)], 1)
    losses.append(run.update(loss_of, x, y.to(device)))
    if run.seconds - checked > 60 * check_minutes:
      checked = run.seconds
      value = validate()
      run.curve(loss=torch.stack(losses).mean(), **value)
      run.keep_best(-value["noun5"] - value["pair_of_1024"])
      losses = []
  value = validate()
  run.curve(loss=torch.stack(losses).mean() if losses else 0, **value)
  run.keep_best(-value["noun5"] - value["pair_of_1024"])


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
  parser.add_argument("--minutes", type=float, default=8)
  parser.add_argument("--files", type=int, default=12, help=f"files of {PAIRS} pairs")
  parser.add_argument("--batch", type=int, default=48, help="pairs in a step")
  parser.add_argument("--rate", type=float, default=1e-3)
  parser.add_argument("--check-minutes", type=float, default=3)
  parser.add_argument("--threads", type=int, default=2, help="of the renderer")
  parser.add_argument("--out", default=os.path.join(common.ROOT, "models", "toybox-judge"))
  a = parser.parse_args()
  world = data.open_world(threads=a.threads)
  if a.minutes:
    train(world, a.minutes, a.files, a.batch, a.rate, a.check_minutes)
  write(world, a.out)
