"""
Trains the scoring pair, CLIP's image and text towers, on the shards' pictures and captions.

    python clip.py --size first --minutes 10 [--out models/toybox-clip]

The text tower starts from the text encoder that the UNet was trained with, where there is one.
"""

import argparse
import json
import os
import shutil

import numpy as np
import torch
import torch.nn.functional as F

import common
import data
import tokenizer as tokens
from config import SIZES, build_clip

MEAN, DEVIATION = 0.5, 0.5   # pictures in [-1, 1], as everywhere here


class Pairs:
  """pictures with their captions' ids; the empty caption says nothing, so it is left out"""

  def __init__(self, size, tokenizer, shards):
    self.store = []
    for shard in shards:
      captions = data.texts(size, shard)[0]
      keep = np.array([i for i, c in enumerate(captions) if c])
      ids = tokens.encode(tokenizer, captions).to(torch.int16)
      self.store.append((data.pictures(size, shard), ids, keep))

  def batch(self, step, count):
    rng = np.random.default_rng([13, step])
    which = rng.integers(0, len(self.store), count)
    at = [int(rng.choice(self.store[w][2])) for w in which]
    x = np.stack([self.store[w][0][i] for w, i in zip(which, at)])
    flip = rng.random(count) < 0.5
    x[flip] = x[flip, :, ::-1]
    return data.to_tensor(x), torch.stack([self.store[w][1][i] for w, i in zip(which, at)]).long()


def contrast(clip, pictures, ids):
  """CLIP's loss; captions that are the same words are no negatives of each other"""
  out = clip(input_ids=ids, pixel_values=pictures)
  scores = out.image_embeds @ out.text_embeds.T * clip.logit_scale.exp().clamp(max=100)
  same = (ids[:, None] == ids[None]).all(2) & ~torch.eye(len(ids), dtype=torch.bool,
                                                         device=ids.device)
  scores = scores.masked_fill(same, -1e4)
  target = torch.arange(len(ids), device=ids.device)
  return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2


def write(size, clip, out):
  clip.half().save_pretrained(out, safe_serialization=True)
  source = common.state_dir(size, "tokenizer")
  for name in ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"):
    shutil.copy(os.path.join(source, name), out)
  side = SIZES[size]["pixels"]
  with open(os.path.join(out, "preprocessor_config.json"), "w") as f:
    json.dump(dict(
      image_processor_type="CLIPImageProcessor", do_resize=True, size=dict(shortest_edge=side),
      resample=3, do_center_crop=True, crop_size=dict(height=side, width=side), do_rescale=True,
      rescale_factor=1 / 255, do_normalize=True, image_mean=[MEAN] * 3,
      image_std=[DEVIATION] * 3, do_convert_rgb=True), f, indent=2)


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
  parser.add_argument("--size", default="first", choices=SIZES)
  parser.add_argument("--minutes", type=float, default=10)
  parser.add_argument("--batch", type=int, default=96)
  parser.add_argument("--rate", type=float, default=5e-4)
  parser.add_argument("--cool", type=float, default=0.4)
  parser.add_argument("--shards", type=int, default=32, help="the newest so many")
  parser.add_argument("--out", help="where to write the pair in f16")
  a = parser.parse_args()

  device = common.set_up()
  folder = common.state_dir(a.size, "clip")
  tokenizer = tokens.load(common.state_dir(a.size, "tokenizer"))
  clip = build_clip(a.size, tokenizer).to(device)
  start = os.path.join(common.state_dir(a.size, "unet"), "best.pt")
  if os.path.exists(start):
    state = torch.load(start, map_location=device, weights_only=True)[1]
    missing, extra = clip.load_state_dict(
      {k if k.startswith("text_model.") else "text_model." + k: v for k, v in state.items()},
      strict=False)
    if extra:
      raise SystemExit(f"the text encoder does not fit the text tower: {extra[:3]}")
  run = common.Run(folder, [clip], a.minutes, a.rate, a.cool, decay=0.998, weight_decay=0.1,
                   device=device)
  source = Pairs(a.size, tokenizer, data.shards(a.size)[-a.shards:])
  held = Pairs(a.size, tokenizer, data.shards(a.size, validation=True)).batch(0, 256)

  @torch.no_grad()
  def validate():
    net = run.average[0]
    return torch.stack([contrast(net, held[0][i:i + 64].to(device), held[1][i:i + 64].to(device))
                        for i in range(0, 256, 64)]).mean().item()

  losses, checked = [], run.seconds
  while run.going():
    x, ids = source.batch(run.step, a.batch)
    losses.append(run.update(lambda *b: contrast(clip, *b), x.to(device), ids.to(device)))
    if run.seconds - checked > 60:
      checked = run.seconds
      value = validate()
      run.curve(loss=torch.stack(losses).mean(), validation=value)
      run.keep_best(value)
      losses = []
  value = validate()
  run.curve(loss=torch.stack(losses).mean() if losses else 0, validation=value)
  run.keep_best(value)
  if a.out:
    best = torch.load(os.path.join(folder, "best.pt"), map_location="cpu", weights_only=True)[0]
    clip.cpu().load_state_dict(best)
    write(a.size, clip, a.out)
