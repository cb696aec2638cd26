"""
The rendered training set: shards of pictures, captions and labels, written once, read by all.

    python data.py --size first --shards 12          render shards 0..11 (those that are missing)

Shard k is a pure function of k and the size, so it need not be kept, copied or committed. The
first shards hold mostly plain grounds and large single objects; the share of scenes and styles
rises with k.
"""

import argparse
import json
import os
import sys

import numpy as np
import torch

import common
from config import SIZES

SHARD = 4096
VALIDATION = 1_000_000   # the shard that nothing is trained on


def open_world(size=None, threads=2):
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
    labels += [{k: m[k] for k in ("noun", "scene", "style", "kind", "instance")} for m in metas]
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
  """uint8 [n, h, w, 3] to float [n, 3, h, w] in [-1, 1], channels last"""
  x = torch.from_numpy(np.array(pictures)).to(device or "cpu")
  return (x.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def to_pictures(x):
  x = ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
  return x.permute(0, 2, 3, 1).cpu().numpy()


class Pictures:
  """random batches over all shards; more shards may appear while it is read"""

  def __init__(self, size, seed):
    self.size, self.seed, self.known = size, seed, []

  def refresh(self):
    self.known = [pictures(self.size, k) for k in shards(self.size)]
    if not self.known:
      raise SystemExit("no shards yet: run data.py")

  def batch(self, step, count):
    if not self.known or step % 500 == 0:
      self.refresh()
    rng = np.random.default_rng([self.seed, step])
    which = rng.integers(0, len(self.known), count)
    at = rng.integers(0, SHARD, count)
    x = np.stack([self.known[w][i] for w, i in zip(which, at)])
    flip = rng.random(count) < 0.5
    x[flip] = x[flip, :, ::-1]
    return x


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
  parser.add_argument("--size", default="first", choices=SIZES)
  parser.add_argument("--first", type=int, default=0, help="first shard")
  parser.add_argument("--shards", type=int, default=12, help="how many")
  parser.add_argument("--threads", type=int, default=2)
  a = parser.parse_args()
  world = open_world(a.size, a.threads)
  for k in [VALIDATION] + list(range(a.first, a.first + a.shards)):
    render(a.size, k, world)
    print(f"shard {k}", flush=True)
