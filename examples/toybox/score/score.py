"""
The yardstick: how well a model knows its world, and how well learnt words hold their objects.

    python score.py --sanity                            does the yardstick order known cases rightly?
    python score.py --model models/toybox               scenes, styles, nouns: seen and unseen pairs
    python score.py --model models/toybox --words DIR   learnt words: DIR/<concept>.safetensors
    python score.py --pictures DIR [--nouns DIR]        the same of pictures made elsewhere, by learn.py
                                                        say: DIR/<concept>/<cell>-<k>.png

Prints tables, and for words writes the distortion-editability plane (--plane).
"""

import argparse
import json
import os
import sys

import numpy as np
import torch
from PIL import Image

import common_path  # noqa: F401
import common
import data
import export
import judge as judging
import plane
from cells import CELLS, article, prompt_for
from config import SIZES
from measure import SIDE, Yardstick, accuracies, sanity


def open_pipeline(folder):
  from diffusers import StableDiffusionPipeline
  pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
  pipe.set_progress_bar_config(disable=True)
  return pipe


def open_clip(folder):
  if not folder or not os.path.isdir(folder):
    return None, None
  import tokenizer as tokens
  from transformers import CLIPModel
  return CLIPModel.from_pretrained(folder, torch_dtype=torch.float32).eval(), tokens.load(folder)


def teach(pipe, path):
  """puts the vectors of a .safetensors file, {word: [vectors, d]}, into the pipeline; the words"""
  from safetensors.torch import load_file
  words = []
  for word, vectors in load_file(path).items():
    vectors = vectors.reshape(-1, vectors.shape[-1]).float()
    names = [word] + [f"{word}_{i}" for i in range(1, len(vectors))]
    pipe.tokenizer.add_tokens(names)
    pipe.text_encoder.resize_token_embeddings(len(pipe.tokenizer))
    table = pipe.text_encoder.get_input_embeddings().weight.data
    for name, vector in zip(names, vectors):
      table[pipe.tokenizer.convert_tokens_to_ids(name)] = vector
    words.append(" ".join(names))
  return words


def wanted_triples(world, count, split, seed=7):
  """(noun, scene, style) of pairs that were trained on, or were held out of training"""
  rng, out = np.random.default_rng(seed), []
  nouns = [n for n, core in zip(world.nouns, world.core) if core and n in world.solid]
  styles = [s for s in world.filters if s not in ("emoji", "flat icon")]
  while len(out) < count:
    noun, scene = str(rng.choice(nouns)), str(rng.choice(world.painted_scenes))
    style = "photo" if rng.random() < 0.6 else str(rng.choice(styles))
    held = world.held.scene_pair(noun, scene) or world.held.style_pair(noun, style)
    if held == (split == "unseen"):
      out.append((noun, scene, style))
  return out


def model_table(world, judge, pipe, count, steps, guidance):
  rows = {}
  for split in ("seen", "unseen"):
    wanted = wanted_triples(world, count, split)
    prompts = [prompt_for(world, (w[1], w[2]), article(w[0])) if w[1] != "white background"
               else prompt_for(world, (w[1], w[2]), article(w[0])) + " on a white background"
               for w in wanted]
    rows[split + ", model"] = accuracies(
      judge, export.generate(pipe, prompts, steps, guidance), wanted, world.nouns)
    rows[split + ", renders"] = accuracies(
      judge, np.stack([world.render_caption_spec(*w, 1000 + i, SIDE)
                       for i, w in enumerate(wanted)]), wanted, world.nouns)
  return rows


def show(rows):
  names = list(next(iter(rows.values())))
  print(f"{'':24s}" + "".join(f"{n:>12s}" for n in names))
  for k, row in rows.items():
    print(f"{k:24s}" + "".join(f"{row.get(n, float('nan')):12.3f}" for n in names))


def read_pictures(folder, concept):
  out = []
  for c in range(len(CELLS)):
    files = sorted(f for f in os.listdir(os.path.join(folder, concept["id"]))
                   if f.startswith(f"{c:02d}-") and f.endswith(".png"))
    if not files:
      raise SystemExit(f"{folder}/{concept['id']}: no picture {c:02d}-0.png of cell {CELLS[c]}")
    out.append(np.stack([np.asarray(Image.open(os.path.join(folder, concept["id"], f))
                                    .convert("RGB")) for f in files]))
  return out


def prompted(world, pipe, word, a):
  """[cells, k, h, w, 3]: the word in every cell"""
  prompts = [prompt_for(world, cell, word) for cell in CELLS for _ in range(a.each)]
  images = export.generate(pipe, prompts, a.steps, a.guidance)
  return images.reshape(len(CELLS), a.each, *images.shape[1:])


def word_tables(world, yardstick, a):
  """rows by concept, then their means by tier, and the two reference points"""
  rows, sheet = {}, []
  concepts = [c for c in world.concepts if c["kind"] == "object" and c["split"] == a.split]
  base = open_pipeline(a.model) if a.model else None
  for concept in concepts:
    path = os.path.join(a.words or "", concept["id"] + ".safetensors")
    if a.words and not os.path.exists(path):
      continue
    name = concept["name"]
    learnt = world.concept_pictures(concept["id"], SIDE)
    rows["pictures", name] = yardstick.cells(concept, [learnt] * len(CELLS))
    if a.words:
      pipe = open_pipeline(a.model)
      word = teach(pipe, path)[0]
      images = prompted(world, pipe, word, a)
      # as in the templates that it was learnt with, the word stands after an article
      rows["word", name] = yardstick.cells(concept, images)
      sheet.append((learnt, images[:, 0], name))
    elif a.pictures:
      images = read_pictures(a.pictures, concept)
      rows["word", name] = yardstick.cells(concept, images)
      sheet.append((learnt, [s[0] for s in images], name))
    if a.nouns:
      rows["class noun", name] = yardstick.cells(concept, read_pictures(a.nouns, concept))
    elif base is not None:
      rows["class noun", name] = yardstick.cells(
        concept, prompted(world, base, article(concept["noun"]), a))
  means, tiers = {}, {c["name"]: c["tier"] for c in concepts}
  for kind in ("pictures", "word", "class noun"):
    for tier in (1, 2, None):
      some = [r for (k, n), r in rows.items() if k == kind and tier in (None, tiers[n])]
      if some:
        means[f"{kind}, " + (f"tier {tier}" if tier else "all")] = {
          k: float(np.mean([r[k] for r in some])) for k in some[0]}
  return rows, means, sheet


def inversion_sheet(sheet, path, cell=72):
  """one row an object: two of its pictures, then every cell"""
  columns = 2 + len(CELLS)
  out = Image.new("RGB", (columns * (cell + 3) + 110, len(sheet) * (cell + 3) + 30), "white")
  from PIL import ImageDraw
  d = ImageDraw.Draw(out)
  for j, (scene, style) in enumerate(CELLS):
    x = 110 + (2 + j) * (cell + 3)
    d.text((x, 2), style if style != "photo" else scene.split(" background")[0], fill="black")
    d.text((x, 14), scene.split(" background")[0] if style != "photo" else "", fill="black")
  for i, (learnt, images, name) in enumerate(sheet):
    d.text((4, 30 + i * (cell + 3) + cell // 2), name, fill="black")
    for j, picture in enumerate([learnt[0], learnt[1], *images]):
      out.paste(Image.fromarray(picture).resize((cell, cell), Image.BICUBIC),
                (110 + j * (cell + 3), 30 + i * (cell + 3)))
  out.save(path)


def main():
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
  parser.add_argument("--model")
  parser.add_argument("--size", default="shipped", choices=SIZES,
                      help="whose nouns the model was taught")
  parser.add_argument("--clip", default=os.path.join(common.ROOT, "models", "toybox-clip"))
  parser.add_argument("--judge", default=os.path.join(common.ROOT, "models", "toybox-judge"))
  parser.add_argument("--words", help="folder of learnt words")
  parser.add_argument("--pictures", help="folder of finished pictures")
  parser.add_argument("--nouns", help="the same of the class noun, a point of reference")
  parser.add_argument("--split", default="test", choices=("test", "validation"))
  parser.add_argument("--sanity", action="store_true")
  parser.add_argument("--count", type=int, default=128, help="pictures of a model table's row")
  parser.add_argument("--each", type=int, default=2, help="pictures of a cell")
  parser.add_argument("--steps", type=int, default=25)
  parser.add_argument("--guidance", type=float, default=7.5)
  parser.add_argument("--plane", default="plane.png")
  parser.add_argument("--sheet", help="where to draw the learnt words' pictures")
  parser.add_argument("--json", help="where to write the numbers too")
  a = parser.parse_args()
  torch.set_num_threads(common.CPU_WORKERS)
  world = data.open_world(None if a.sanity else a.size)
  judge = judging.load(a.judge)
  result = {}
  if a.sanity:
    result["sanity"] = sanity(Yardstick(world, judge))
    order = ["true picture", "other view", "same class", "other class"]
    values = [result["sanity"][k] for k in order]
    right = all(x > y for x, y in zip(values, values[1:]))
    print("identity: " + ", ".join(f"{k} {v:.3f}" for k, v in zip(order, values)))
    print("order is right" if right else "ORDER IS WRONG")
    if not right:
      sys.exit(1)
  if a.words or a.pictures:
    rows, means, sheet = word_tables(world, Yardstick(world, judge, *open_clip(a.clip)), a)
    show({f"{n}: {k}": r for (k, n), r in rows.items()})
    show(means)
    up = "text" if "text" in next(iter(means.values())) else "scene"
    plane.draw(a.plane, [(n if k == "word" else "", r["identity"], r[up], k)
                         for (k, n), r in rows.items()]
               + [(k, r["identity"], r[up], "means") for k, r in means.items() if "all" in k],
               up="editability (" + up + ")")
    if a.sheet:
      inversion_sheet(sheet, a.sheet)
    result["means"], result["rows"] = means, {f"{n}: {k}": r for (k, n), r in rows.items()}
  elif a.model:
    result["model"] = model_table(world, judge, open_pipeline(a.model), a.count, a.steps,
                                  a.guidance)
    show(result["model"])
  if a.json:
    with open(a.json, "w") as f:
      json.dump(result, f, indent=1)


if __name__ == "__main__":
  main()
