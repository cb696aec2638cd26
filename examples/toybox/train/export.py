"""
Puts the trained parts together as a diffusers folder in f16.

    python export.py --size shipped --out models/toybox [--weights best|last]
    python export.py --size shipped --out models/toybox --restore     the other way round: training
                                                                       goes on from a folder
"""

import argparse
import json
import logging
import os
import shutil
import textwrap

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw

import common
import data
import tokenizer as tokens
from config import SIZES, build_scheduler, build_text, build_unet, build_vae, latent_channels

logging.getLogger("diffusers").setLevel(logging.ERROR)


def read_weights(folder, name):
  """the averaged weights of a stage: its best checkpoint, or where it stands"""
  state = torch.load(os.path.join(folder, name + ".pt"), map_location="cpu", weights_only=True)
  return state["average"] if isinstance(state, dict) else state


@torch.no_grad()
def whiten(vae, mean, deviation):
  """the same autoencoder with latents of mean 0 and deviation 1 in every channel"""
  rows = 1 / torch.cat([deviation, torch.ones_like(deviation)])   # of mean and log variance
  shift = torch.cat([mean / deviation, 2 * deviation.log()])
  into, out = vae.quant_conv, vae.post_quant_conv
  into.weight.mul_(rows.view(-1, 1, 1, 1))
  into.bias.mul_(rows).sub_(shift)
  out.bias.add_(out.weight[:, :, 0, 0] @ mean)
  out.weight.mul_(deviation.view(1, -1, 1, 1))
  vae.register_to_config(scaling_factor=1.0)


@torch.no_grad()
def measure_latents(size, vae):
  """mean and deviation of each channel on pictures that are not trained on"""
  images = data.pictures(size, data.shards(size, validation=True)[0])[:512]
  z = torch.cat([vae.encode(data.to_tensor(images[i:i + 64])).latent_dist.mode()
                 for i in range(0, 512, 64)])
  return dict(mean=z.mean((0, 2, 3)).tolist(), deviation=z.std((0, 2, 3)).tolist())


def load_vae(size, weights="best"):
  """the frozen autoencoder with whitened latents, polished where it has been"""
  folder = common.state_dir(size, "vae")
  polished = common.state_dir(size, "polish")
  vae = build_vae(size).eval().requires_grad_(False)
  if os.path.exists(os.path.join(polished, "best.pt")):   # polishing began with whitened ones
    vae.load_state_dict(read_weights(polished, weights)[0])
    vae.register_to_config(scaling_factor=1.0)
    return vae
  vae.load_state_dict(read_weights(folder, weights)[0])
  path = os.path.join(folder, "latents.json")
  if not os.path.exists(path):
    with open(path, "w") as f:
      json.dump(measure_latents(size, vae), f)
  with open(path) as f:
    whiten(vae, **{k: torch.tensor(v) for k, v in json.load(f).items()})
  return vae


def pipeline(size, vae, unet, text, tokenizer):
  pipe = StableDiffusionPipeline(
    vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=build_scheduler(),
    safety_checker=None, feature_extractor=None, requires_safety_checker=False)
  pipe.set_progress_bar_config(disable=True)
  return pipe


def generate(pipe, prompts, steps=25, guidance=7.5, seed=1, batch=32):
  """uint8 [n, side, side, 3]"""
  generator = torch.Generator().manual_seed(seed)
  out = []
  for at in range(0, len(prompts), batch):
    images = pipe(list(prompts[at:at + batch]), num_inference_steps=steps,
                  guidance_scale=guidance, generator=generator, output_type="np").images
    out.append((images * 255).round().astype(np.uint8))
  return np.concatenate(out)


def grid(images, captions, path, columns=8, cell=128):
  """pictures with their captions below"""
  rows, text = -(-len(images) // columns), 34
  sheet = Image.new("RGB", (columns * (cell + 8), rows * (cell + text)), "white")
  draw = ImageDraw.Draw(sheet)
  for i, (image, caption) in enumerate(zip(images, captions)):
    x, y = i % columns * (cell + 8) + 4, i // columns * (cell + text) + 2
    sheet.paste(Image.fromarray(image).resize((cell, cell), Image.BICUBIC), (x, y))
    for line, words in enumerate(textwrap.wrap(caption, 22)[:3]):
      draw.text((x, y + cell + 10 * line), words, fill="black")
  sheet.save(path)


def sheet(pipe, captions, path, **options):
  grid(generate(pipe, captions, **options), captions, path)


def load_pipeline(size, weights="best"):
  tokenizer = tokens.load(common.state_dir(size, "tokenizer"))
  unet, text = build_unet(size), build_text(size, tokenizer)
  state = read_weights(common.state_dir(size, "unet"), weights)
  unet.load_state_dict(state[0])
  text.load_state_dict(state[1])
  return pipeline(size, load_vae(size), unet.eval(), text.eval(), tokenizer)


def write(size, pipe, out):
  pipe.to(torch.float16).save_pretrained(out, safe_serialization=True)
  folder = common.state_dir(size, "tokenizer")
  shutil.rmtree(os.path.join(out, "tokenizer"))
  os.makedirs(os.path.join(out, "tokenizer"))
  for name in tokens.FILES:
    shutil.copy(os.path.join(folder, name), os.path.join(out, "tokenizer", name))
  for folder, _, files in os.walk(out):
    for name in files:
      os.chmod(os.path.join(folder, name), 0o644)


def restore(size, folder):
  """an exported folder becomes the state that training goes on from, without its moments"""
  pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
  shapes = [{name: value.shape for name, value in net.state_dict().items()}
            for net in (pipe.unet, build_unet(size))]
  if shapes[0] != shapes[1]:
    raise SystemExit(f"{folder} is of another size than {size!r}")
  zeros = torch.zeros(latent_channels(size))
  whiten(pipe.vae, zeros, zeros + 1 / pipe.vae.config.scaling_factor)
  target = common.state_dir(size, "tokenizer")
  for name in os.listdir(os.path.join(folder, "tokenizer")):
    shutil.copy(os.path.join(folder, "tokenizer", name), target)
  for stage, nets in (("vae", [pipe.vae]), ("polish", [pipe.vae]),
                      ("unet", [pipe.unet, pipe.text_encoder])):
    state = dict(average=[n.half().state_dict() for n in nets], step=0, samples=0, seconds=0.0)
    for name in ("start.pt", "best.pt"):
      common.save(state, os.path.join(common.state_dir(size, stage), name))
  with open(os.path.join(common.state_dir(size, "vae"), "latents.json"), "w") as f:
    json.dump(dict(mean=zeros.tolist(), deviation=(zeros + 1).tolist()), f)


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
  parser.add_argument("--size", default="shipped", choices=SIZES)
  parser.add_argument("--out", default=os.path.join(common.ROOT, "models", "toybox"))
  parser.add_argument("--weights", default="best", choices=("best", "last"))
  parser.add_argument("--restore", action="store_true")
  a = parser.parse_args()
  if a.restore:
    restore(a.size, a.out)
    raise SystemExit
  write(a.size, load_pipeline(a.size, a.weights), a.out)
  total = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(a.out) for f in fs)
  print(f"{a.out}: {total / 1e6:.1f} MB")
