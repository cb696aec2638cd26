"""
Begins a size with more latent channels from a trained one, which keeps all that it can do.

    python widen.py --old narrow --size shipped

Writes start.pt and best.pt of polish and unet.
The encoder's new channels are random projections of its last features, until vae.py --polish --keep
trains them; the decoder and the UNet read nothing of them yet, and the UNet says nothing of them.
Pictures and vocabulary are the old ones.
"""

import argparse
import os

import torch

import common
import export
from config import SIZES, build_unet, build_vae


def placed(new, old, rows=None, columns=None):
  """old's numbers at some rows and columns of a tensor like new that is 0 elsewhere; None: all"""
  whole = torch.zeros_like(new)
  rows = torch.arange(len(new)) if rows is None else rows
  if columns is None:
    whole[rows] = old.float()
  else:
    whole[rows[:, None], columns] = old.float()
  return whole


def widened(new, old, changed):
  """a state like new, with old's weights; changed: rows and columns of those that grow"""
  return {name: placed(value, old[name], *changed.get(name, ())) for name, value in new.items()}


@torch.no_grad()
def widen_vae(size, old):
  vae = build_vae(size).eval()
  count, all_count = old["post_quant_conv.bias"].numel(), vae.config.latent_channels
  kept, added = torch.arange(count), torch.arange(count, all_count)
  moments = torch.cat([kept, kept + all_count])    # means, then log variances
  random = vae.encoder.conv_out.weight[added].clone()
  new = widened(vae.state_dict(), old, {
    "encoder.conv_out.weight": (moments,), "encoder.conv_out.bias": (moments,),
    "quant_conv.weight": (moments, moments), "quant_conv.bias": (moments,),
    "post_quant_conv.weight": (kept, kept), "post_quant_conv.bias": (kept,),
    "decoder.conv_in.weight": (None, kept)})
  new["encoder.conv_out.weight"][added] = random
  for name in ("quant_conv.weight", "post_quant_conv.weight"):
    new[name][added, added] = 1
  new["quant_conv.bias"][added + all_count] = -6
  vae.load_state_dict(new)
  latents = export.measure_latents(size, vae)      # the added ones get mean 0 and deviation 1
  mean, deviation = (torch.tensor(latents[k])[added] for k in ("mean", "deviation"))
  new["encoder.conv_out.weight"][added] /= deviation.view(-1, 1, 1, 1)
  new["encoder.conv_out.bias"][added] = -mean / deviation
  return new


def widen_unet(size, old):
  kept = torch.arange(old["conv_out.bias"].numel())
  return widened(build_unet(size).state_dict(), old, {
    "conv_in.weight": (None, kept), "conv_out.weight": (kept,), "conv_out.bias": (kept,)})


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
  parser.add_argument("--old", default="narrow", choices=SIZES)
  parser.add_argument("--size", default="shipped", choices=SIZES)
  a = parser.parse_args()
  if os.path.exists(os.path.join(common.state_dir(a.size, "unet"), "last.pt")):
    raise SystemExit(f"{common.state_dir(a.size)} is being trained: move it away first")
  for name in ("data", "tokenizer"):
    path = os.path.join(common.state_dir(a.size), name)
    if not os.path.exists(path):
      os.symlink(os.path.join("..", a.old, name), path)
  common.set_up()
  vae = widen_vae(a.size, export.load_vae(a.old).state_dict())
  unet, text = export.read_weights(common.state_dir(a.old, "unet"), "best")
  for stage, states in (("polish", [vae]), ("unet", [widen_unet(a.size, unet), text])):
    folder = common.state_dir(a.size, stage)
    common.save(dict(average=states, step=0, samples=0, seconds=0.0),
                os.path.join(folder, "start.pt"))
    common.save(states, os.path.join(folder, "best.pt"))   # to export, until there is a better one
