"""
Trains the UNet and the text encoder together, on latents of the rendered shards.

    python unet.py --size first --minutes 90

v-prediction; timesteps are drawn where objects form (a normal in log SNR, with a uniform part);
the part of the picture that holds the objects counts more, for grounds are learnt long before them;
one caption in ten is empty, for classifier-free guidance; weights are averaged. Shards that
appear in the data folder while it trains are encoded and taken in.
"""

import argparse
import copy
import os

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor

import common
import data
import export
import fast
import tokenizer as tokens
from config import SIZES, build_scheduler, build_text, build_unet, latent_side

parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
parser.add_argument("--size", default="first", choices=SIZES)
parser.add_argument("--minutes", type=float, default=90)
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--rate", type=float, default=5e-4)
parser.add_argument("--cool", type=float, default=0.25)
parser.add_argument("--focus", type=float, default=3.0,
                    help="weight of the loss within the box of the objects, 1 outside")
parser.add_argument("--shard-every", type=int, default=250, help="steps between new shards")
parser.add_argument("--most-shards", type=int, default=100, help="so many at most")
parser.add_argument("--check-minutes", type=float, default=5)
parser.add_argument("--sheet-minutes", type=float, default=10)
a = parser.parse_args()

device = common.set_up()
layout = common.layout(device)
folder = common.state_dir(a.size, "unet")
tokenizer = tokens.load(common.state_dir(a.size, "tokenizer"))
vae = export.load_vae(a.size).to(device, memory_format=layout)
unet = build_unet(a.size).to(device, memory_format=layout)
text = build_text(a.size, tokenizer).to(device)
if device.type == "cpu":   # its fused attention is many times slower than two products
  unet.set_attn_processor(AttnProcessor())
  text.set_attn_implementation("eager")
run = common.Run(folder, [unet, text], a.minutes, a.rate, a.cool, decay=0.9995, device=device)
scheduler = build_scheduler()
alphas = scheduler.alphas_cumprod.to(device)
falling_snr = -(alphas.clamp(1e-8) / (1 - alphas)).log().contiguous()   # of every timestep
drawing = copy.deepcopy(vae)   # in f32, which the fast one's kernels are not compiled for
for net in (unet, text, vae):
  fast.speed_up(net)
profile = common.Profile(folder, device)


@torch.no_grad()
def encode(pictures):
  parts = []
  for at in range(0, len(pictures), 256 if device.type == "cuda" else 32):
    with common.autocast(device, cpu=True):
      x = data.to_tensor(pictures[at:at + 256 if device.type == "cuda" else at + 32], device)
      parts.append(vae.encode(x).latent_dist.mode().half())
  return torch.cat(parts)


def encode_shard(shard):
  """latents f16 [rows, 2, channels, h, w] of pictures and mirrored ones, where objects are, token ids"""
  images = data.pictures(a.size, shard)
  share = data.SHARD // run.workers
  views = [images, images[:, :, ::-1]]
  z = [torch.cat(run._each(encode, [v[i:i + share] for i in range(0, data.SHARD, share)]))
       for v in views]
  captions, labels = data.texts(a.size, shard)
  where = data.boxes(labels, latent_side(a.size)).to(device)
  return (torch.stack(z, 1), torch.stack([where, where.flip(-1)], 1),
          tokens.encode(tokenizer, captions).to(torch.int16))


def draw_timesteps(count, generator=None):
  """three in four from N(-0.7, 2) in log SNR, the rest uniform"""
  where = generator.device if generator else device
  t = torch.randint(0, 1000, (count,), generator=generator, device=where)
  wanted = torch.randn(count, generator=generator, device=where) * 2.0 - 0.7
  near = torch.searchsorted(falling_snr.to(where), -wanted).clamp(max=999)
  usual = torch.rand(count, generator=generator, device=where) < 0.75
  return torch.where(usual, near, t).to(device)


def loss_of(unet, text, z, where, ids, t, noise, focus=a.focus):
  alpha = alphas[t].view(-1, 1, 1, 1)
  noisy = alpha.sqrt() * z + (1 - alpha).sqrt() * noise
  target = alpha.sqrt() * noise - (1 - alpha).sqrt() * z
  with common.autocast(device, cpu=True):
    context = text(input_ids=ids).last_hidden_state
    out = unet(noisy.contiguous(memory_format=layout), t, context).sample
  weight = torch.where(where, focus, 1.0)
  return (weight * ((out.float() - target) ** 2).mean(1, keepdim=True)).mean() / weight.mean()


pool = data.Pool(a.size, encode_shard, device, a.most_shards)
pool.take(2)
if not pool.known:
  raise SystemExit("no shards yet: run data.py")
held = encode_shard(data.shards(a.size, validation=True)[0])
fixed = torch.Generator().manual_seed(3)
held_z = held[0][:512, 0].float() * vae.config.scaling_factor
held_where, held_ids = held[1][:512, 0], held[2][:512].to(device).long()
held_t = draw_timesteps(512, fixed)
held_noise = torch.randn(held_z.shape, generator=fixed).to(device)


@torch.no_grad()
def validate():
  """the loss over the whole picture, and the weighted one that is trained"""
  losses = [[loss_of(*run.average, *(x[i:i + 64] for x in (held_z, held_where, held_ids, held_t,
                                                           held_noise)), focus)
             for focus in (1.0, a.focus)] for i in range(0, 512, 64)]
  return torch.tensor(losses).mean(0).tolist()


def check():
  whole, weighted = validate()
  run.curve(loss=torch.stack(losses).mean() if losses else 0, validation=whole, weighted=weighted,
            shards=len(pool.known))
  run.keep_best(weighted)


def draw():
  pipe = export.pipeline(a.size, drawing, *run.average, tokenizer)
  captions = data.texts(a.size, data.shards(a.size, validation=True)[0])[0][:32]
  export.sheet(pipe, captions, os.path.join(folder, f"samples-{int(run.seconds):06d}.png"))


losses, checked, drawn = [], run.seconds, run.seconds
pool.start()
if run.best == float("inf"):   # what training starts from is the best, until there is a better one
  check()
while run.going():
  if device.type == "cpu" and run.step % a.shard_every == 0:
    pool.take()
  rng = np.random.default_rng([12, run.step])
  z, where, ids = pool.batch(rng, a.batch)
  rows = torch.arange(len(z), device=device)
  view = torch.from_numpy(rng.integers(0, z.shape[1], len(z))).to(device)
  z, where = z[rows, view].float() * vae.config.scaling_factor, where[rows, view]
  losses.append(run.update(lambda *batch: loss_of(unet, text, *batch), z, where, ids.long(),
                           draw_timesteps(len(z)), torch.randn_like(z)))
  profile.step(a.batch)
  if run.seconds - checked > 60 * a.check_minutes:
    checked = run.seconds
    check()
    losses = []
  if run.seconds - drawn > 60 * a.sheet_minutes:
    drawn = run.seconds
    draw()
pool.stop()
check()
draw()
