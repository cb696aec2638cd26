"""
Sheets without captions, for a reader who is to name what he sees: what the model draws of 64 seen
captions, the true renders of them, and these through the autoencoder, in three orders.

    python blind.py --model models/toybox --size shipped --program build/cc/textinv --out blind
        blind/{model,autoencoder,renders}-{1..4}.png: 16 numbered pictures each
        blind/{model,autoencoder,renders}.txt: number and caption, to mark the answers with
"""

import argparse
import os

import numpy as np
import torch
from PIL import Image, ImageDraw

import common_path  # noqa: F401
import common
import data
from cells import article, prompt_for
from config import SIZES
from score import open_pipeline, wanted_triples
from sheets import draw

CELL, ACROSS, LINE = 256, 4, 24


@torch.no_grad()
def through(vae, pictures):
  parts = [vae.decode(vae.encode(data.to_tensor(p)).latent_dist.mode()).sample
           for p in np.split(pictures, range(16, len(pictures), 16))]
  return data.to_pictures(torch.cat(parts))


def numbered(pictures, path, first):
  sheet = Image.new("RGB", (ACROSS * CELL, -(-len(pictures) // ACROSS) * (CELL + LINE)), "white")
  writing = ImageDraw.Draw(sheet)
  for i, picture in enumerate(pictures):
    x, y = i % ACROSS * CELL, i // ACROSS * (CELL + LINE)
    sheet.paste(Image.fromarray(picture).resize((CELL - 6, CELL - 6), Image.BICUBIC), (x, y))
    writing.text((x + 4, y + CELL - 2), str(first + i), fill="black")
  sheet.save(path)


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
  parser.add_argument("--model", required=True)
  parser.add_argument("--size", default="shipped", choices=SIZES)
  parser.add_argument("--program", required=True, help="the program textinv")
  parser.add_argument("--out", required=True)
  parser.add_argument("--steps", type=int, default=30)
  parser.add_argument("--guidance", type=float, default=7.5)
  a = parser.parse_args()
  torch.set_num_threads(common.CPU_WORKERS)
  os.makedirs(a.out, exist_ok=True)
  world = data.open_world(a.size)
  wanted = wanted_triples(world, 64, "seen")
  captions = [prompt_for(world, (scene, style), article(noun)) for noun, scene, style in wanted]
  renders = np.stack([world.render_caption_spec(*w, 1000 + i, SIZES[a.size]["pixels"])
                      for i, w in enumerate(wanted)])
  kinds = dict(model=draw(a.program, a.model, captions, a.steps, a.guidance),
               autoencoder=through(open_pipeline(a.model).vae, renders), renders=renders)
  for seed, (kind, pictures) in enumerate(kinds.items()):
    order = np.random.default_rng(seed).permutation(len(captions))
    for i in range(0, len(order), 16):
      numbered(pictures[order[i:i + 16]], os.path.join(a.out, f"{kind}-{i // 16 + 1}.png"), i + 1)
    with open(os.path.join(a.out, kind + ".txt"), "w") as f:
      f.writelines(f"{i + 1} {captions[k]}\n" for i, k in enumerate(order))
