"""
The baseline: textual inversion as diffusers' own example does it, on the default model.

    python peer.py --model models/toybox --out build/toybox/peer --steps 500 [concept ...]

The same loop, template list, optimiser and rate as examples/textual_inversion of diffusers: AdamW
at 5e-4 times the batch, every other row of the table put back after each step. Writes
<concept>.safetensors, {"<concept>": [1, d]}.
"""

import argparse
import os
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import common_path  # noqa: F401
import common
import data
from score import open_pipeline
from tokenizer import TEMPLATES


def invert(folder, concept, pictures, steps, batch, rate, seed=0):
  from diffusers import DDPMScheduler
  pipe = open_pipeline(folder)
  noise = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
  tokenizer, text, vae, unet = pipe.tokenizer, pipe.text_encoder, pipe.vae, pipe.unet
  word = f"<{concept['id']}>"
  tokenizer.add_tokens(word)
  new = tokenizer.convert_tokens_to_ids(word)
  first = tokenizer.encode(concept["noun"], add_special_tokens=False)
  if len(first) != 1:
    raise SystemExit(f"{concept['noun']!r} is {len(first)} tokens, the initialiser must be one")
  text.resize_token_embeddings(len(tokenizer))
  table = text.get_input_embeddings().weight
  table.data[new] = table.data[first[0]].clone()
  for net in (vae, unet, text):
    net.requires_grad_(False)
  table.requires_grad_(True)
  kept = table.data.clone()
  others = torch.arange(len(tokenizer)) != new
  templates = [t for t in TEMPLATES if t.count("{}") == 1 and "style" not in t]
  optimizer = torch.optim.AdamW([table], lr=rate, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8)
  generator = torch.Generator().manual_seed(seed)
  rng = np.random.default_rng(seed)
  losses = []
  for _ in range(steps):
    chosen = pictures[rng.integers(0, len(pictures), batch)]
    flip = rng.random(batch) < 0.5
    chosen[flip] = chosen[flip, :, ::-1]
    captions = [templates[i].format(word) for i in rng.integers(0, len(templates), batch)]
    ids = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt",
                    max_length=tokenizer.model_max_length).input_ids
    with torch.no_grad():
      z = vae.encode(data.to_tensor(chosen)).latent_dist.sample() * vae.config.scaling_factor
    eps = torch.randn(z.shape, generator=generator)
    t = torch.randint(0, noise.config.num_train_timesteps, (batch,), generator=generator)
    out = unet(noise.add_noise(z, eps, t), t, text(ids)[0]).sample
    target = noise.get_velocity(z, eps, t) if noise.config.prediction_type == "v_prediction" \
        else eps
    loss = F.mse_loss(out, target)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    with torch.no_grad():
      table[others] = kept[others]
    losses.append(loss.item())
  return word, table.data[new].clone(), losses


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
  parser.add_argument("concepts", nargs="*", help="all of the split when none is named")
  parser.add_argument("--model", default=os.path.join(common.ROOT, "models", "toybox"))
  parser.add_argument("--out", default=os.path.join(common.ROOT, "build", "toybox", "peer"))
  parser.add_argument("--split", default="test", choices=("test", "validation"))
  parser.add_argument("--steps", type=int, default=500)
  parser.add_argument("--batch", type=int, default=4)
  parser.add_argument("--rate", type=float, default=2e-3, help="5e-4 times the batch")
  a = parser.parse_args()
  torch.set_num_threads(common.CPU_WORKERS)
  os.makedirs(a.out, exist_ok=True)
  world = data.open_world()
  for concept in world.concepts:
    if concept["kind"] != "object" or (concept["id"] not in a.concepts if a.concepts
                                       else concept["split"] != a.split):
      continue
    path = os.path.join(a.out, concept["id"] + ".safetensors")
    if os.path.exists(path):
      continue
    began = time.time()
    side = open_pipeline(a.model).vae.config.sample_size
    word, vector, losses = invert(a.model, concept, world.concept_pictures(concept["id"], side),
                                  a.steps, a.batch, a.rate)
    save_file({word: vector[None]}, path)
    print(f"{concept['id']}: loss {np.mean(losses[:50]):.4f} to {np.mean(losses[-50:]):.4f},"
          f" {time.time() - began:.0f} s", flush=True)
