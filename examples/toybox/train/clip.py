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


def pairs_of(size, tokenizer, shard):
  """pictures with their captions' ids; the empty caption says nothing, so it is left out"""
  captions = data.texts(size, shard)[0]
  keep = np.array([i for i, c in enumerate(captions) if c])
  return (torch.from_numpy(data.pictures(size, shard)[keep]),
          tokens.encode(tokenizer, [captions[i] for i in keep]).to(torch.int16))


def contrast(clip, pictures, ids):
  """CLIP's loss; captions that are the same words are no negatives of each other"""
  with common.autocast(ids.device):
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
  parser.add_argument("--shards", type=int, default=32, help="so many at most")
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
  pool = data.Pool(a.size, lambda k: pairs_of(a.size, tokenizer, k), device, a.shards)
  pool.take(a.shards)
  held = pairs_of(a.size, tokenizer, data.shards(a.size, validation=True)[0])
  held = data.to_tensor(held[0][:256], device), held[1][:256].to(device).long()

  @torch.no_grad()
  def validate():
    net = run.average[0]
    return torch.stack([contrast(net, held[0][i:i + 64], held[1][i:i + 64])
                        for i in range(0, 256, 64)]).mean().item()

  losses, checked = [], run.seconds
  while run.going():
    rng = np.random.default_rng([13, run.step])
    x, ids = pool.batch(rng, a.batch)
    x = data.to_tensor(data.flipped(x, rng))
    losses.append(run.update(lambda *b: contrast(clip, *b), x, ids.long()))
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
