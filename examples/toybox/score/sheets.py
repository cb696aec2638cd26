"""
Contact sheets of what the model draws, with the captions below.

    python sheets.py --model models/toybox --seen docs/toybox-samples.png \\
        --unseen docs/toybox-unseen.png
"""

import argparse

import torch

import common_path  # noqa: F401
import common
import data
import export
from cells import article, prompt_for
from config import SIZES
from score import open_pipeline, wanted_triples

if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
  parser.add_argument("--model", required=True)
  parser.add_argument("--size", default="first", choices=SIZES)
  parser.add_argument("--seen")
  parser.add_argument("--unseen")
  parser.add_argument("--count", type=int, default=64)
  parser.add_argument("--steps", type=int, default=30)
  parser.add_argument("--guidance", type=float, default=4.0)
  a = parser.parse_args()
  torch.set_num_threads(common.CPU_WORKERS)
  world, pipe = data.open_world(a.size), open_pipeline(a.model)
  for split, path in (("seen", a.seen), ("unseen", a.unseen)):
    if path:
      prompts = [prompt_for(world, (scene, style), article(noun))
                 for noun, scene, style in wanted_triples(world, a.count, split)]
      export.sheet(pipe, prompts, path, steps=a.steps, guidance=a.guidance)
