"""
Contact sheets of what the model draws, with the captions below.

    python sheets.py --model models/toybox --size shipped --program build/cc/textinv \\
        --seen docs/toybox-samples.png --unseen docs/toybox-unseen.png

Without --program it is diffusers that draws.
"""

import argparse
import glob
import os
import subprocess
import tempfile

import numpy as np
import torch
from PIL import Image

import common_path  # noqa: F401
import common
import data
import export
from cells import article, prompt_for
from config import SIZES
from score import open_pipeline, wanted_triples



def draw(program, model, prompts, steps, guidance):
  """uint8 [n, side, side, 3], drawn by libtextinv"""
  with tempfile.TemporaryDirectory() as folder:
    subprocess.run([program, "generate", "--quiet", "--model", model, "--steps", str(steps),
                    "--guidance", str(guidance), "--seed", "1", "--separate",
                    "--out", os.path.join(folder, "p.png"),
                    *(word for prompt in prompts for word in ("--prompt", prompt))], check=True)
    return np.stack([np.asarray(Image.open(f).convert("RGB"))
                     for f in sorted(glob.glob(os.path.join(folder, "*.png")))])


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
  parser.add_argument("--model", required=True)
  parser.add_argument("--size", default="shipped", choices=SIZES)
  parser.add_argument("--program", help="the program textinv")
  parser.add_argument("--seen")
  parser.add_argument("--unseen")
  parser.add_argument("--count", type=int, default=64)
  parser.add_argument("--steps", type=int, default=30)
  parser.add_argument("--guidance", type=float, default=7.5)
  a = parser.parse_args()
  torch.set_num_threads(common.CPU_WORKERS)
  world = data.open_world(a.size)
  for split, path in (("seen", a.seen), ("unseen", a.unseen)):
    if path:
      prompts = [prompt_for(world, (scene, style), article(noun))
                 for noun, scene, style in wanted_triples(world, a.count, split)]
      pictures = (draw(a.program, a.model, prompts, a.steps, a.guidance) if a.program else
                  export.generate(open_pipeline(a.model), prompts, a.steps, a.guidance))
      export.grid(pictures, prompts, path)
