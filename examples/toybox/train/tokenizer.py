"""
Learns the toybox's byte-pair vocabulary and writes it in CLIP's published format.

    python tokenizer.py --size first --out build/toybox/first/tokenizer

The text it learns from is what the world says: captions, nouns, scenes, styles, and the templates
of textual inversion. Every noun and every common word is one token, so that any of them can serve
as an initialiser.
"""

import argparse
import collections
import heapq
import json
import os

import regex

import common
import data
from config import SIZES, TOKENS

FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
PATTERN = regex.compile(
  r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
  regex.IGNORECASE)

TEMPLATES = (
  "a photo of a {}|a rendering of a {}|a cropped photo of the {}|the photo of a {}|"
  "a photo of a clean {}|a photo of a dirty {}|a dark photo of the {}|a photo of my {}|"
  "a photo of the cool {}|a close-up photo of a {}|a bright photo of the {}|"
  "a cropped photo of a {}|a photo of the {}|a good photo of the {}|a photo of one {}|"
  "a close-up photo of the {}|a rendition of the {}|a photo of the clean {}|a rendition of a {}|"
  "a photo of a nice {}|a good photo of a {}|a photo of the nice {}|a photo of the small {}|"
  "a photo of the weird {}|a photo of the large {}|a photo of a cool {}|a photo of a small {}|"
  "a painting of a {} in the style of an illustration|a weird and hidden drawing, art, two, some"
).split("|")


def byte_alphabet():
  """the printable stand-in of every byte, in the order of CLIP's vocabulary"""
  printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
  table = {b: chr(b) for b in printable}
  for b in range(256):
    if b not in table:
      table[b] = chr(256 + len(table) - len(printable))
  return table


def learn(counts, merges):
  """
  Byte-pair encoding: words with counts to an ordered list of merged pairs. Ties fall to the pair
  that sorts first, so the vocabulary is a function of the text alone.
  """
  alphabet = byte_alphabet()
  words = []
  for word, count in sorted(counts.items()):
    letters = [alphabet[b] for b in word.encode()]
    letters[-1] += "</w>"
    words.append((letters, count))
  pairs, where = collections.Counter(), collections.defaultdict(set)
  for i, (letters, count) in enumerate(words):
    for pair in zip(letters, letters[1:]):
      pairs[pair] += count
      where[pair].add(i)
  heap = [(-n, p) for p, n in pairs.items()]
  heapq.heapify(heap)
  out = []
  while heap and len(out) < merges:
    n, best = heapq.heappop(heap)
    if pairs[best] != -n or n == 0:
      continue   # an outdated entry; the current one is in the heap too
    out.append(best)
    touched = set()
    for i in where.pop(best):
      letters, count = words[i]
      for pair in zip(letters, letters[1:]):
        pairs[pair] -= count
        touched.add(pair)
      merged, k = [], 0
      while k < len(letters):
        if letters[k:k + 2] == list(best):
          merged.append(letters[k] + letters[k + 1])
          k += 2
        else:
          merged.append(letters[k])
          k += 1
      letters[:] = merged
      for pair in zip(letters, letters[1:]):
        pairs[pair] += count
        where[pair].add(i)
        touched.add(pair)
    for pair in touched:
      if pairs[pair] > 0 and pair != best:
        heapq.heappush(heap, (-pairs[pair], pair))
  return out


def write(folder, merges):
  os.makedirs(folder, exist_ok=True)
  letters = list(byte_alphabet().values())
  tokens = letters + [c + "</w>" for c in letters] + ["".join(m) for m in merges]
  tokens += ["<|startoftext|>", "<|endoftext|>"]

  def dump(name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
      json.dump(value, f, ensure_ascii=False, indent=None if name == "vocab.json" else 2)
      f.write("\n")

  dump("vocab.json", {t: i for i, t in enumerate(tokens)})
  with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as f:
    f.write("#version: 0.2\n" + "".join(f"{x} {y}\n" for x, y in merges))
  start, end = "<|startoftext|>", "<|endoftext|>"
  dump("special_tokens_map.json",
       dict(bos_token=start, eos_token=end, pad_token=end, unk_token=end))
  dump("tokenizer_config.json",
       dict(add_prefix_space=False, bos_token=start, eos_token=end, pad_token=end, unk_token=end,
            do_lower_case=True, errors="replace", model_max_length=TOKENS,
            tokenizer_class="CLIPTokenizer"))


def world_text(world, samples=20000):
  """words with counts: captions as they come, and each noun, scene and style weighted up"""
  counts = collections.Counter()

  def add(text, weight=1):
    for word in PATTERN.findall(text.lower()):
      counts[word] += weight

  names = set(world.nouns) | {c[k] for c in world.concepts for k in ("noun", "name")}
  for noun in names:
    add(noun, 200)
  for phrase in list(world.scene_phrase.values()) + list(world.style_frame.values()) + TEMPLATES:
    add(phrase.replace("{}", ""), 500)
  for at in range(0, samples, 512):
    for caption in world.batch(range(at, at + 512), size=16, split="train", stage=1.0)[1]:
      add(caption)
  return counts


def load(folder):
  from transformers import CLIPTokenizer
  return CLIPTokenizer.from_pretrained(folder)


def encode(tokenizer, captions):
  """ids int64 [n, TOKENS], padded as the pipeline pads"""
  return tokenizer(captions, padding="max_length", truncation=True, max_length=TOKENS,
                   return_tensors="pt").input_ids


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
  parser.add_argument("--size", default="first", choices=SIZES)
  parser.add_argument("--out")
  a = parser.parse_args()
  world = data.open_world()
  counts = world_text(world)
  merges = learn(counts, SIZES[a.size]["vocabulary"] - 514)
  folder = a.out or common.state_dir(a.size, "tokenizer")
  write(folder, merges)
  tokenizer = load(folder)
  whole = sum(len(tokenizer(n, add_special_tokens=False).input_ids) == len(PATTERN.findall(n))
              for n in world.nouns)
  print(f"{len(tokenizer)} tokens, {len(counts)} words; {whole} of {len(world.nouns)} nouns"
        " are made of whole words")
