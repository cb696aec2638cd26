"""
Begins a size with more latent channels, or more blocks, from a trained one, which keeps all that it
can do.

    python grow.py --old narrow --size shallow
    python grow.py --old shallow --size eight
    python grow.py --old eight --size shipped

Writes start.pt and best.pt of polish and unet. A new block adds nothing yet. The encoder's new
channels are random projections of its last features, until vae.py --polish --keep trains them; the
decoder and the UNet read nothing of them yet, and the UNet says nothing of them. Pictures and
vocabulary are the old ones.
"""

import argparse
import os

import torch

import common
import export
from config import SIZES, build_unet, build_vae

OUTPUTS = ("to_out.0.weight", "to_out.0.bias", "ff.net.2.weight", "ff.net.2.bias",   # of attention
           "conv2.weight", "conv2.bias")                                               # of a layer


def placed(new, old, rows=None, columns=None):
  """old's numbers at some rows and columns of a tensor like new that is 0 elsewhere; None: all"""
  whole = torch.zeros_like(new)
  rows = torch.arange(len(new)) if rows is None else rows
  if columns is None:
    whole[rows] = old.float()
  else:
    whole[rows[:, None], columns] = old.float()
  return whole


def grown(new, old, changed):
  """
  A state like new, with old's weights; changed: rows and columns of those that grow. What old does
  not have stays as it is, but for the outputs of new blocks, which are 0
  """
  out = {}
  for name, value in new.items():
    if name in old:
      out[name] = placed(value, old[name], *changed.get(name, ()))
    else:
      out[name] = torch.zeros_like(value) if name.endswith(OUTPUTS) else value
  return out


@torch.no_grad()
def grow_vae(size, old):
  vae = build_vae(size).eval()
  count, all_count = old["post_quant_conv.bias"].numel(), vae.config.latent_channels
  kept, added = torch.arange(count), torch.arange(count, all_count)
  moments = torch.cat([kept, kept + all_count])    # means, then log variances
  random = vae.encoder.conv_out.weight[added].clone()
  new = grown(vae.state_dict(), old, {
    "encoder.conv_out.weight": (moments,), "encoder.conv_out.bias": (moments,),
    "quant_conv.weight": (moments, moments), "quant_conv.bias": (moments,),
    "post_quant_conv.weight": (kept, kept), "post_quant_conv.bias": (kept,),
    "decoder.conv_in.weight": (None, kept)})
  if not len(added):
    return new
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


def grow_unet(size, old):
  kept = torch.arange(old["conv_out.bias"].numel())
  return grown(build_unet(size).state_dict(), old, {
    "conv_in.weight": (None, kept), "conv_out.weight": (kept,), "conv_out.bias": (kept,)})


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
  parser.add_argument("--old", default="eight", choices=SIZES)
  parser.add_argument("--size", default="shipped", choices=SIZES)
  a = parser.parse_args()
  if os.path.exists(os.path.join(common.state_dir(a.size, "unet"), "last.pt")):
    raise SystemExit(f"{common.state_dir(a.size)} is being trained: move it away first")
  for name in ("data", "tokenizer"):
    path = os.path.join(common.state_dir(a.size), name)
    if not os.path.exists(path):
      os.symlink(os.path.join("..", a.old, name), path)
  common.set_up()
  vae = grow_vae(a.size, export.load_vae(a.old).state_dict())
  unet, text = export.read_weights(common.state_dir(a.old, "unet"), "best")
  for stage, states in (("polish", [vae]), ("unet", [grow_unet(a.size, unet), text])):
    folder = common.state_dir(a.size, stage)
    common.save(dict(average=states, step=0, samples=0, seconds=0.0),
                os.path.join(folder, "start.pt"))
    common.save(states, os.path.join(folder, "best.pt"))   # to export, until there is a better one
