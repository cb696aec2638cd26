"""
libtextinv itself on the held-out objects: learns each from its five pictures, draws every cell.

    python learn.py --program build/cc/textinv --out build/toybox/ours
    python learn.py --program build/cc/textinv --out build/toybox/nouns --noun    the class noun instead
    python score.py --pictures build/toybox/ours --nouns build/toybox/nouns --sheet sheet.png

Writes <concept>.safetensors and <concept>/<cell>-<k>.png.
"""

import argparse
import os
import subprocess

import common_path  # noqa: F401
import common
import data
from cells import CELLS, article, prompt_for


def draw(a, world, concept, word, embedding):
  folder = os.path.join(a.out, concept["id"])
  os.makedirs(folder, exist_ok=True)
  names = [os.path.join(folder, f"all-{i:03d}.png") for i in range(len(CELLS) * a.each)]
  prompts = [x for cell in CELLS for x in ("--prompt", prompt_for(world, cell, word))]
  subprocess.run([a.program, "generate", "--quiet", "--model", a.model, *embedding, *prompts, "--images", str(a.each),
                  "--seed", "1", "--steps", "25", "--dtype", a.dtype,
                  "--separate", "--out", os.path.join(folder, "all.png")], check=True)
  for i, name in enumerate(names):
    os.replace(name, os.path.join(folder, f"{i // a.each:02d}-{i % a.each}.png"))


def learn(a, concept, word):
  path = os.path.join(a.out, concept["id"] + ".safetensors")
  if not os.path.exists(path):
    subprocess.run([a.program, "invert", "--quiet", "--model", a.model, "--placeholder", word,
                    "--images", os.path.join(common.ROOT, "examples/toybox/heldout", concept["id"]),
                    "--initializer", concept["noun"], "--steps", str(a.steps), "--lr-schedule", a.lr_schedule,
                    "--vectors", str(a.vectors), "--dtype", a.dtype, "--out", path], check=True)
  return path


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
  parser.add_argument("--program", required=True, help="the program textinv")
  parser.add_argument("--model", default=os.path.join(common.ROOT, "models", "toybox"))
  parser.add_argument("--out", required=True)
  parser.add_argument("--noun", action="store_true", help="learn nothing, draw the class noun")
  parser.add_argument("--split", default="test", choices=("test", "validation"))
  parser.add_argument("--steps", type=int, default=500)
  parser.add_argument("--lr-schedule", default="constant")
  parser.add_argument("--vectors", type=int, default=1)
  parser.add_argument("--each", type=int, default=2, help="pictures of a cell")
  parser.add_argument("--dtype", default="f32", choices=("f32", "bf16"))
  a = parser.parse_args()
  a.program = os.path.abspath(a.program)
  os.makedirs(a.out, exist_ok=True)
  world = data.open_world()
  for concept in world.concepts:
    if concept["kind"] != "object" or concept["split"] != a.split:
      continue
    if a.noun:
      draw(a, world, concept, article(concept["noun"]), [])
    else:
      word = f"<{concept['id']}>"
      draw(a, world, concept, word, ["--embedding", learn(a, concept, word)])
    print(concept["id"], flush=True)
