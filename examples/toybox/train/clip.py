"""
Trains the scoring pair, CLIP's image and text towers, on the shards' pictures and captions.

    python clip.py --size first --minutes 10 [--fresh] [--out models/toybox-clip]
    python clip.py --size first --minutes 0 --out models/toybox-clip       only writes the best one
    python clip.py --size first --retrieval models/toybox-clip      how well a finished pair matches

The text tower starts from the text encoder that the UNet was trained with, where there is one: from
its first layers, if the tower has fewer. Beside CLIP's loss, three linear heads that are not
kept name noun, scene and style, which teaches the image tower with fewer pictures. --fresh draws
every batch anew while the last one trains.
"""

import argparse
import concurrent.futures
import json
import os
import shutil

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import common
import data
import export
import tokenizer as tokens
from config import SIZES, build_clip

MEAN, DEVIATION = 0.5, 0.5   # pictures in [-1, 1], as everywhere here


KINDS = ("noun", "scene", "style")
FRESH = 2_000_000   # fresh pictures have the numbers of shards from this one on
TESTED = 3_000_000


def rows_of(world, tokenizer, pictures, captions, labels):
  """
  pictures, ids of their captions, indices of what the labels name (-100 for none); the empty
  caption says nothing, so it is left out
  """
  keep = np.array([i for i, c in enumerate(captions) if c])
  names = [{n: i for i, n in enumerate(v)} for v in (world.nouns, world.scenes, world.styles)]
  known = [[n.get(labels[i][k], -100) for k, n in zip(KINDS, names)] for i in keep]
  return (torch.from_numpy(pictures[keep]),
          tokens.encode(tokenizer, [captions[i] for i in keep]).to(torch.int16),
          torch.tensor(known, dtype=torch.int16))


def rows_of_shard(world, tokenizer, size, shard):
  return rows_of(world, tokenizer, data.pictures(size, shard), *data.texts(size, shard))


class Fresh:
  """batches that were never seen before; the next one is drawn while the last one trains"""

  def __init__(self, world, tokenizer, size, count, step):
    self.world, self.tokenizer, self.size, self.count = world, tokenizer, size, count
    self.pool = concurrent.futures.ThreadPoolExecutor(1)
    self.next = self.pool.submit(self._draw, step)

  def _draw(self, step):
    """a few more than are wanted, for a tenth has no caption"""
    many = self.count + self.count // 5
    seeds = FRESH * data.SHARD + step * many + np.arange(many)
    rows = rows_of(self.world, self.tokenizer, *self.world.batch(
      seeds, size=SIZES[self.size]["pixels"], split="train", stage=min(1.0, step / 400)))
    return [x[:self.count] for x in rows]

  def batch(self, step):
    rows = self.next.result()
    self.next = self.pool.submit(self._draw, step + 1)
    return rows


def trimmed(ids, pad):
  """without the columns that are padding in every row; not on a GPU, whose graph has one shape"""
  longest = int((ids != pad).sum(1).max()) + 1
  return ids if ids.is_cuda else ids[:, :min(longest, ids.shape[1])]


def scores_of(clip, pictures, ids):
  """scaled cosines [pictures, captions], and the features that the image tower projects"""
  with common.autocast(ids.device, cpu=True):
    out = clip(input_ids=ids, pixel_values=pictures)
  images, texts = (F.normalize(x.float(), dim=1) for x in (out.image_embeds, out.text_embeds))
  hidden = out.vision_model_output.last_hidden_state[:, 0]
  features = clip.vision_model.post_layernorm(hidden.float())
  return images @ texts.T * clip.logit_scale.exp().clamp(max=100), features


def same_words(ids):
  """pairs of rows with one and the same caption, which are no negatives of each other"""
  return (ids[:, None] == ids[None]).all(2) & ~torch.eye(len(ids), dtype=torch.bool,
                                                         device=ids.device)


def contrast(scores, ids):
  """CLIP's loss"""
  scores = scores.masked_fill(same_words(ids), -1e4)
  target = torch.arange(len(ids), device=ids.device)
  return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2


def loss_of(clip, heads, pictures, ids, labels):
  scores, features = scores_of(clip, pictures, ids)
  named = sum(F.cross_entropy(h(features), labels[:, i]) for i, h in enumerate(heads))
  return contrast(scores, ids) + 0.3 * named


@torch.no_grad()
def match(clip, pictures, ids, many=64):
  """
  among so many pairs: CLIP's loss, percent of pictures that find their caption and of captions
  that find their picture, and mean cosines of matching and of other pairs
  """
  rows = []
  for x, i in zip(pictures.split(many), ids.split(many)):
    scores, _ = scores_of(clip, data.to_tensor(x, ids.device), i)
    own = torch.arange(len(i), device=ids.device)
    others = scores.masked_fill(same_words(i), -torch.inf)
    cosines = scores / clip.logit_scale.exp().clamp(max=100)
    rows.append([contrast(scores, i).item(),
                 100 * (others.argmax(1) == own).float().mean().item(),
                 100 * (others.argmax(0) == own).float().mean().item(),
                 cosines.diag().mean().item(),
                 (cosines.sum() - cosines.trace()).item() / (len(i) * (len(i) - 1))])
  return dict(zip(("validation", "finds_caption", "finds_picture", "matching", "other"),
                  np.mean(rows, 0).tolist()))


def retrieval(size, folder, count=1024):
  """match() of a finished pair on pictures that no pair was trained on, with all that is in them"""
  from transformers import CLIPModel
  clip = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
  tokenizer, side = tokens.load(folder), clip.config.vision_config.image_size
  world = data.open_world(size)
  pictures, ids, _ = rows_of(world, tokenizer, *world.batch(
    TESTED * data.SHARD + np.arange(count + count // 5), size=SIZES[size]["pixels"],
    split="train", stage=1.0))
  pictures, ids = pictures[:count], ids[:count].long()
  if side != pictures.shape[1]:   # as the yardstick does
    x = F.interpolate(data.to_tensor(pictures), (side, side), mode="area")
    pictures = torch.from_numpy(data.to_pictures(x))
  print(folder, " ".join(f"{k} {v:.3f}" for k, v in match(clip, pictures, ids).items()))


def write(size, clip, out):
  """the best pair, in f16"""
  clip = clip.cpu()
  clip.load_state_dict(export.read_weights(common.state_dir(size, "clip"), "best")[0])
  clip.half().save_pretrained(out, safe_serialization=True)
  source = common.state_dir(size, "tokenizer")
  for name in tokens.FILES:
    shutil.copy(os.path.join(source, name), out)
  side = SIZES[size]["pixels"]
  with open(os.path.join(out, "preprocessor_config.json"), "w") as f:
    json.dump(dict(
      image_processor_type="CLIPImageProcessor", do_resize=True, size=dict(shortest_edge=side),
      resample=3, do_center_crop=True, crop_size=dict(height=side, width=side), do_rescale=True,
      rescale_factor=1 / 255, do_normalize=True, image_mean=[MEAN] * 3,
      image_std=[DEVIATION] * 3, do_convert_rgb=True), f, indent=2)
  os.chmod(os.path.join(out, "model.safetensors"), 0o644)


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
  parser.add_argument("--size", default="first", choices=SIZES)
  parser.add_argument("--minutes", type=float, default=10)
  parser.add_argument("--batch", type=int, default=96)
  parser.add_argument("--rate", type=float, default=5e-4)
  parser.add_argument("--cool", type=float, default=0.4)
  parser.add_argument("--shards", type=int, default=32, help="so many at most")
  parser.add_argument("--fresh", action="store_true", help="new pictures all the time, no shards")
  parser.add_argument("--check-minutes", type=float, default=1)
  parser.add_argument("--retrieval", metavar="FOLDER", help="only measure a finished pair")
  parser.add_argument("--out", help="where to write the pair in f16")
  a = parser.parse_args()
  if a.retrieval:
    common.set_up()
    retrieval(a.size, a.retrieval)
    raise SystemExit

  device = common.set_up()
  folder = common.state_dir(a.size, "clip")
  tokenizer = tokens.load(common.state_dir(a.size, "tokenizer"))
  world = data.open_world(a.size)
  clip = build_clip(a.size, tokenizer).to(device)
  if a.minutes == 0:
    write(a.size, clip, a.out)
    raise SystemExit
  heads = nn.ModuleList(nn.Linear(SIZES[a.size]["vision"], len(v))
                        for v in (world.nouns, world.scenes, world.styles)).to(device)
  start = os.path.join(common.state_dir(a.size, "unet"), "best.pt")
  if os.path.exists(start):
    state = export.read_weights(os.path.dirname(start), "best")[1]
    state = {k if k.startswith("text_model.") else "text_model." + k: v for k, v in state.items()}
    missing, extra = clip.load_state_dict(state, strict=False)
    if any(".layers." not in k for k in extra):
      raise SystemExit(f"the text encoder does not fit the text tower: {extra[:3]}")
  run = common.Run(folder, [clip, heads], a.minutes, a.rate, a.cool, decay=0.998, weight_decay=0.1,
                   device=device)
  if a.fresh:
    fresh = Fresh(world, tokenizer, a.size, a.batch, run.step)
  else:
    pool = data.Pool(a.size, lambda k: rows_of_shard(world, tokenizer, a.size, k), device, a.shards)
    pool.take(a.shards)
  held = rows_of_shard(world, tokenizer, a.size, data.shards(a.size, validation=True)[0])
  held = held[0][:512].to(device), held[1][:512].to(device).long()

  losses, checked = [], run.seconds

  def check():
    value = match(run.average[0], *held)
    run.curve(loss=torch.stack(losses).mean() if losses else 0, **value)
    run.keep_best(value["validation"])

  while run.going():
    rng = np.random.default_rng([13, run.step])
    x, ids, labels = fresh.batch(run.step) if a.fresh else pool.batch(rng, a.batch)
    x = data.to_tensor(data.flipped(x, data.flips(rng, len(x), x.device), 2))
    ids = trimmed(ids.long(), tokenizer.pad_token_id)
    losses.append(run.update(lambda *b: loss_of(clip, heads, *b), x, ids, labels.long()))
    if run.seconds - checked > 60 * a.check_minutes:
      checked = run.seconds
      check()
      losses = []
  check()
  if a.out:
    write(a.size, clip, a.out)
