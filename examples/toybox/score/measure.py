"""Identity, scene, style and text similarity of pictures, measured with the judge and the pair."""

import numpy as np
import torch

import common_path  # noqa: F401
import data
from cells import CELLS, without_word

SIDE = 64


class Yardstick:
  """the judge, the scoring pair (may be None) and the true pictures of every cell"""

  def __init__(self, world, judge, clip=None, clip_tokenizer=None):
    self.world, self.judge, self.clip, self.tokenizer = world, judge, clip, clip_tokenizer
    self.truths = {}

  def truth(self, concept, cell):
    """embeddings [8, d] of the true pictures, one for each angle"""
    key = concept["id"], cell
    if key not in self.truths:
      pictures = self.world.concept_truth(concept["id"], *cell, SIDE, angles=8)
      self.truths[key] = self.judge.look(pictures)[1]
    return self.truths[key]

  def identity(self, concept, cell, embeddings):
    """cosine with the true picture of the best angle, [n]"""
    return (embeddings @ self.truth(concept, cell).T).max(1).values

  @torch.no_grad()
  def text_similarity(self, pictures, prompts):
    """cosine of each picture with its prompt, [n]"""
    side = self.clip.config.vision_config.image_size
    x = data.to_tensor(pictures)
    if x.shape[-1] != side:
      x = torch.nn.functional.interpolate(x, (side, side), mode="area")
    ids = self.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt",
                         max_length=self.clip.config.text_config.max_position_embeddings).input_ids
    out = self.clip(input_ids=ids, pixel_values=x)
    return (out.image_embeds * out.text_embeds).sum(1)

  def cells(self, concept, pictures):
    """pictures uint8 [cells, k, h, w, 3] of one learnt word to a dict of means over the cells"""
    rows = dict(identity=[], scene=[], style=[], text=[])
    for cell, some in zip(CELLS, pictures):
      logits, embeddings = self.judge.look(some)
      scene, style = (self.judge.labels[k].index(v) for k, v in zip(("scene", "style"), cell))
      rows["identity"].append(self.identity(concept, cell, embeddings).mean().item())
      if cell[0] != "white background":   # elsewhere the prompt names no scene
        rows["scene"].append((logits["scene"].argmax(1) == scene).float().mean().item())
      if cell[1] != "photo":
        rows["style"].append((logits["style"].argmax(1) == style).float().mean().item())
      if self.clip is not None:
        prompts = [without_word(self.world, cell)] * len(some)
        rows["text"].append(self.text_similarity(some, prompts).mean().item())
    return {k: float(np.mean(v)) for k, v in rows.items() if v}


def accuracies(judge, pictures, wanted, nouns):
  """
  percent right of scene, style, noun and noun among the five best of nouns; wanted is (noun, scene,
  style)
  """
  logits = judge.look(pictures)[0]
  others = [i for i, n in enumerate(judge.labels["noun"]) if n not in nouns]
  logits["noun"][:, others] = -torch.inf
  out = {}
  for i, k in ((1, "scene"), (2, "style"), (0, "noun")):
    truth = torch.tensor([judge.labels[k].index(w[i]) for w in wanted])[:, None]
    for top in (1, 5) if k == "noun" else (1,):
      hit = (logits[k].topk(top, 1).indices == truth).any(1)
      out[k if top == 1 else "noun in 5"] = 100 * hit.float().mean().item()
  return out


def sanity(yardstick, seed=5):
  """
  Mean identity of four kinds of pictures with a known order, over all held-out objects and cells:
  the true picture at angles between the reference's own, the same object in another scene, another
  object of the same class in the same scene, an object of another class in the same scene.
  """
  world, rng = yardstick.world, np.random.default_rng(seed)
  objects = [c for c in world.concepts if c["kind"] == "object"]
  nouns = [n for n in world.solid]
  out = {"true picture": [], "other view": [], "same class": [], "other class": []}
  for concept in objects:
    for cell in CELLS:
      other = CELLS[(CELLS.index(cell) + 1 + rng.integers(len(CELLS) - 1)) % len(CELLS)]
      pictures = {
        "true picture": world.concept_truth(concept["id"], *cell, SIDE, angles=7)[1:],
        "other view": world.concept_truth(concept["id"], *other, SIDE, angles=7)[1:]}
      kinds = {"other class": str(rng.choice([n for n in nouns if n != concept["noun"]]))}
      if concept["noun"] in nouns:
        kinds["same class"] = concept["noun"]
      for name, noun in kinds.items():
        pictures[name] = np.stack([world.render_caption_spec(noun, *cell, int(s), SIDE)
                                   for s in rng.integers(1 << 30, size=4)])
      for name, some in pictures.items():
        e = yardstick.judge.look(some)[1]
        out[name].append(yardstick.identity(concept, cell, e).mean().item())
  return {k: float(np.mean(v)) for k, v in out.items()}
