"""
The rendered training set: shards of pictures, captions and labels, written once, read by all.

    python data.py --size first --shards 12 [--first 0] [--workers 2]
                                       renders shards 0..11, unless they are there

Shard k is a pure function of k and the size, so it need not be kept, copied or committed. The
first shards hold mostly plain grounds and large single objects; the share of scenes and styles
rises with k.
"""

import argparse
import json
import multiprocessing
import os
import sys
import threading

import numpy as np
import torch

import common
from config import SIZES, latent_side

SHARD = 4096
VALIDATION = 1_000_000   # the shard that nothing is trained on


def open_world(size=None, threads=1):
  """the world, or the part of it that a size is taught"""
  sys.path.insert(0, os.path.join(common.ROOT, "examples", "toybox", "world"))
  from world import World
  return World(pack=os.environ.get("TOYBOX_PACK",
                                   os.path.join(common.ROOT, "build", "toybox", "world.pack")),
               threads=threads, nouns=size and SIZES[size].get("nouns"))


def stage_of(shard):
  """the world's curriculum: 0 at first, 1 from shard 32 on"""
  return 0.5 if shard >= VALIDATION else min(1.0, shard / 32)


def shard_path(size, shard, kind):
  return os.path.join(common.state_dir(size, "data"), f"{shard:07d}.{kind}")


def render(size, shard, world, split="train"):
  """pictures (.npy, uint8 [4096, side, side, 3]) and, written last, captions and labels (.json)"""
  if os.path.exists(shard_path(size, shard, "json")):
    return
  pixels, parts, captions, labels = SIZES[size]["pixels"], [], [], []
  for at in range(0, SHARD, 512):
    seeds = np.arange(shard * SHARD + at, shard * SHARD + at + 512)
    images, texts, metas = world.batch(seeds, size=pixels, split=split, stage=stage_of(shard))
    parts.append(images)
    captions += texts
    labels += [{k: m[k] for k in ("noun", "scene", "style", "kind", "instance", "box")} for m in metas]
  with open(shard_path(size, shard, "npy.part"), "wb") as f:
    np.save(f, np.concatenate(parts))
  os.replace(shard_path(size, shard, "npy.part"), shard_path(size, shard, "npy"))
  with open(shard_path(size, shard, "json.part"), "w") as f:
    json.dump(dict(captions=captions, labels=labels), f)
  os.replace(shard_path(size, shard, "json.part"), shard_path(size, shard, "json"))


def shards(size, validation=False):
  """numbers of the shards that are complete"""
  names = os.listdir(common.state_dir(size, "data"))
  found = sorted(int(n[:7]) for n in names if n.endswith(".json") and n[:7].isdigit())
  return [k for k in found if (k >= VALIDATION) == validation]


def pictures(size, shard):
  return np.load(shard_path(size, shard, "npy"), mmap_mode="r")


def texts(size, shard):
  with open(shard_path(size, shard, "json")) as f:
    value = json.load(f)
  return value["captions"], value["labels"]


def to_tensor(pictures, device=None):
  """uint8 [n, h, w, 3], numpy's or torch's, to float [n, 3, h, w] in [-1, 1], channels last"""
  x = pictures if torch.is_tensor(pictures) else torch.from_numpy(np.array(pictures))
  x = x.to(device or x.device)
  return (x.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def to_pictures(x):
  x = ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
  return x.permute(0, 2, 3, 1).cpu().numpy()


class Pool:
  """
  What load(shard) makes of each shard, a tuple of tensors of at most SHARD rows, joined on a device.
  take() adds shards that are there and not yet known; on a GPU, start() lets a thread do it, on
  a stream of its own, while the device trains.
  """

  def __init__(self, size, load, device, most):
    self.size, self.load, self.device, self.most = size, load, device, most
    self.known, self.tensors, self.rows = [], None, 0

  def take(self, count=1):
    for shard in shards(self.size):
      if count == 0 or len(self.known) == self.most:
        return
      if shard in self.known:
        continue
      parts = self.load(shard)
      if self.tensors is None:
        self.tensors = [torch.empty(self.most * SHARD, *p.shape[1:], dtype=p.dtype,
                                    device=self.device) for p in parts]
      for all_rows, part in zip(self.tensors, parts):
        all_rows[self.rows:self.rows + len(part)].copy_(part)
      if self.device.type == "cuda":
        torch.cuda.current_stream().synchronize()
      self.rows += len(parts[0])   # only now are they drawn from
      self.known.append(shard)
      count -= 1

  def start(self):
    def work():
      with torch.cuda.stream(torch.cuda.Stream()):
        while len(self.known) < self.most and not self.ended.wait(0.2):
          with common.CAPTURE:
            self.take()

    if self.device.type == "cuda":
      self.ended = threading.Event()
      self.thread = threading.Thread(target=work, daemon=True)
      self.thread.start()

  def stop(self):
    if self.device.type == "cuda":
      self.ended.set()
      self.thread.join()

  def batch(self, rng, count):
    """random rows of every tensor"""
    at = torch.from_numpy(rng.integers(0, self.rows, count)).to(self.device)
    return [t[at] for t in self.tensors]


def boxes(labels, side):
  """bool [rows, 1, side, side]: true in the cells that the box of a row's objects touches"""
  corners = torch.tensor([label["box"] for label in labels])   # x0 y0 x1 y1, 0..1
  x0, y0, x1, y1 = corners.mul(side).view(-1, 4, 1, 1).unbind(1)
  low = torch.arange(side)
  inside_x = (low < x1) & (low + 1 > x0)
  inside_y = (low.view(-1, 1) < y1) & (low.view(-1, 1) + 1 > y0)
  return (inside_x & inside_y).unsqueeze(1)


def picture_pool(size, device, most):
  """pictures, and where their objects are"""
  def load(shard):
    return (torch.from_numpy(np.load(shard_path(size, shard, "npy"))),
            boxes(texts(size, shard)[1], latent_side(size)))

  pool = Pool(size, load, device, most)
  pool.take(1 if device.type == "cuda" else most)
  if not pool.known:
    raise SystemExit("no shards yet: run data.py")
  return pool


def flips(rng, count, device):
  """which of so many pictures are mirrored: half of them"""
  return torch.from_numpy(rng.random(count) < 0.5).to(device)


def flipped(x, flip, axis):
  """x of four axes, mirrored along one where flip is true"""
  return torch.where(flip.view(-1, 1, 1, 1), x.flip(axis), x)


def cropped(pictures, where, crop):
  """a square of each picture, four in five on its objects, and of the map of where they are"""
  count, cells, scale = len(where), where.shape[2], pictures.shape[2] // where.shape[2]
  chance = where.flatten(1).float()
  chance = 0.8 * chance / chance.sum(1, keepdim=True).clamp(min=1) + 0.2 / cells ** 2
  middle = torch.multinomial(chance, 1)
  side = crop // scale
  corner = (torch.stack([middle // cells, middle % cells]) - side // 2).clamp(0, cells - side)

  def cut(maps, corner, side):
    y, x = corner + torch.arange(side, device=maps.device)
    return maps[torch.arange(count, device=maps.device).view(-1, 1, 1), y.unsqueeze(2), x.unsqueeze(1)]

  return cut(pictures, corner * scale, crop), cut(where[:, 0], corner, side).unsqueeze(1)


def render_all(size, world, numbers):
  for k in numbers:
    render(size, k, world)
    print(f"shard {k}", flush=True)


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
  parser.add_argument("--size", default="first", choices=SIZES)
  parser.add_argument("--shards", type=int, default=12, help="how many")
  parser.add_argument("--first", type=int, default=0, help="the number of the first")
  parser.add_argument("--workers", type=int, default=2, help="processes")
  a = parser.parse_args()
  world = open_world(a.size)   # read once, then shared by the processes
  numbers = [VALIDATION] + list(range(a.first, a.first + a.shards))
  world.threads = a.workers
  render_all(a.size, world, numbers[:2])   # all at once, for training waits for them
  world.threads, numbers = 1, numbers[2:]
  fork = multiprocessing.get_context("fork")
  workers = [fork.Process(target=render_all, args=(a.size, world, numbers[i::a.workers]))
             for i in range(a.workers)]
  for w in workers:
    w.start()
  for w in workers:
    w.join()
  if any(w.exitcode for w in workers):
    raise SystemExit(1)
