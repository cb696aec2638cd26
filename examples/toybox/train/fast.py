"""
A faster training step on a GPU: diffusers' networks run with kernels.py's operators.

    fast.speed_up(net)     swaps the forward functions of a UNet, an autoencoder or a text encoder,
                           if they give the plain network's gradient; says so otherwise
    fast.plain(net)        takes it back
    python fast.py --size shipped unet      tries that with an untrained one: kernels are compiled,
                                            and kept for later

Only forward functions of module objects are replaced: weights, their names and saved folders stay
what they are. Everything is channels last, so that no layout is ever changed; norms, activations,
biases of convolutions and residual sums, which autocast runs as many kernels in f32, become few
passes in bf16. TOYBOX_FAST=0 leaves the plain networks; TOYBOX_FAST=2 swaps on a CPU too, with
TRITON_INTERPRET=1 and TOYBOX_THREADS=1, to try it.
"""

import argparse
import os
import types

import torch
import torch.nn.functional as F
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import (
  Transformer2DModel, Transformer2DModelOutput)
from diffusers.models.upsampling import Upsample2D

try:
  import kernels
except Exception as error:   # no Triton, or one that has changed
  kernels, missing = None, error


def image(rows, like):
  """[n, pixels, channels] as a picture of the size of another, channels last"""
  n, _, height, width = like.shape
  return rows.view(n, height, width, -1).permute(0, 3, 1, 2)


def rows(x):
  """[n, pixels, channels]; copies nothing that is channels last"""
  n, channels, height, width = x.shape
  return x.permute(0, 2, 3, 1).reshape(n, height * width, channels)


def lent(bias):
  """a bias whose gradient is left to kernels.owe or layer_norm"""
  return bias if bias is None else bias.detach()


def owing(module, x):
  """a linear layer or 1x1 convolution as a product of matrices, whose bias is owed its gradient"""
  return F.linear(x, module.weight.flatten(1), lent(module.bias))


def linear(self, x):
  return kernels.owe(owing(self, x), self.bias)


def conv(self, x):
  return kernels.owe(self._conv_forward(x, self.weight, lent(self.bias)), self.bias)


def norm(module, x, silu, add=None, keep=False):
  return kernels.group_norm(x, module.weight, module.bias, module.num_groups, module.eps, silu, add,
                            keep)


def resnet(self, x, temb=None, *_):
  """the bias of the first convolution and the time embedding enter with the second norm"""
  x, y = norm(self.norm1, x, True, keep=True)
  y = F.conv2d(y, self.conv1.weight, None, padding=1)
  if self.time_emb_proj is not None and temb is not None:
    bias = self.time_emb_proj.bias + self.conv1.bias
    add = kernels.owe(F.linear(F.silu(temb), self.time_emb_proj.weight, lent(bias)), bias)
  else:
    add = self.conv1.bias.expand(len(x), -1)
  y = F.conv2d(norm(self.norm2, y, True, add), self.conv2.weight, None, padding=1)
  bias = self.conv2.bias
  if self.conv_shortcut is not None:
    x = image(F.linear(rows(x), self.conv_shortcut.weight.flatten(1)), x)
    bias = bias + self.conv_shortcut.bias
  return kernels.add_bias(x, y, bias)


def attend(attn, x, context=None):
  """queries, keys and values in as few products as there are inputs; the last bias is owed"""
  n, length, channels = x.shape
  heads = attn.heads
  if context is None:
    w = torch.cat([attn.to_q.weight, attn.to_k.weight, attn.to_v.weight])
    q, k, v = (z.transpose(1, 2) for z in F.linear(x, w).view(n, length, 3, heads, -1).unbind(2))
  else:
    w = torch.cat([attn.to_k.weight, attn.to_v.weight])
    q = attn.to_q(x).view(n, length, heads, -1).transpose(1, 2)
    k, v = (z.transpose(1, 2) for z in F.linear(context, w).view(
      n, context.shape[1], 2, heads, -1).unbind(2))
  y = F.scaled_dot_product_attention(q, k, v)
  return owing(attn.to_out[0], y.transpose(1, 2).reshape(n, length, channels))


def block(self, x, encoder_hidden_states, owed=None):
  """owed: a bias in x that still needs its gradient"""
  def add_norm(x, more, module, owed):
    return kernels.layer_norm(x, more, module.weight, module.bias, module.eps, owed=owed)

  x, y = add_norm(x, None, self.norm1, owed)
  x, y = add_norm(x, attend(self.attn1, y), self.norm2, self.attn1.to_out[0].bias)
  x, y = add_norm(x, attend(self.attn2, y, encoder_hidden_states), self.norm3,
                  self.attn2.to_out[0].bias)
  inner, _, outer = self.ff.net
  return x + linear(outer, kernels.geglu(F.linear(y, inner.proj.weight), inner.proj.bias))


def transformer(self, hidden_states, encoder_hidden_states=None, *_, return_dict=True, **__):
  x, y = norm(self.norm, hidden_states, False, keep=True)
  y, owed = owing(self.proj_in, rows(y)), self.proj_in.bias
  for each in self.transformer_blocks:
    y, owed = each(y, encoder_hidden_states, owed), None
  out = image(linear(self.proj_out, y), x) + x
  return Transformer2DModelOutput(sample=out) if return_dict else (out,)


def upsample(self, x, *_):
  """every pixel twice each way, without leaving channels last"""
  n, channels, height, width = x.shape
  x = x.permute(0, 2, 3, 1)[:, :, None, :, None].expand(n, height, 2, width, 2, channels)
  x = x.reshape(n, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)
  return self.conv(x)


def last_norm(self, x):
  return kernels.group_norm(x, self.weight, self.bias, self.num_groups, self.eps, True)


FORWARDS = {ResnetBlock2D: resnet, Transformer2DModel: transformer, BasicTransformerBlock: block,
            Upsample2D: upsample, torch.nn.Linear: linear, torch.nn.Conv2d: conv}


def text_norm(self, x):
  """in the type that the products after it take"""
  device = x.device.type
  dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
  return kernels.layer_norm(x, None, self.weight, self.bias, self.eps, dtype)[1]


def parts(net):
  """(module, its fast forward)"""
  text = not hasattr(net, "conv_in") and not hasattr(net, "decoder")
  for module in net.modules():
    if text and isinstance(module, torch.nn.LayerNorm):
      yield module, text_norm
    if text and type(module).__name__ == "QuickGELUActivation":
      yield module, lambda self, x: kernels.quick_gelu(x)
    if type(module) in FORWARDS:
      yield module, FORWARDS[type(module)]
    if hasattr(module, "conv_norm_out"):   # and the SiLU after it
      yield module.conv_norm_out, last_norm
      yield module.conv_act, lambda self, x: x


def fits(net):
  """what the fast forwards take for granted"""
  for m in net.modules():
    if isinstance(m, ResnetBlock2D) and not (
        (m.time_embedding_norm == "default" or m.time_emb_proj is None)
        and m.output_scale_factor == 1 and m.upsample is None and m.downsample is None
        and not m.skip_time_act and isinstance(m.nonlinearity, torch.nn.SiLU)):
      return False
    if isinstance(m, Transformer2DModel) and (m.use_linear_projection or not m.is_input_continuous):
      return False
    if isinstance(m, BasicTransformerBlock) and not (
        m.norm_type == "layer_norm" and m.attn2 is not None and m.pos_embed is None
        and not m.only_cross_attention and m.attn1.to_q.bias is None and m.attn2.to_q.bias is None):
      return False
    if isinstance(m, Upsample2D) and not (m.use_conv and m.norm is None and m.name == "conv"):
      return False
  return True


def swap(net):
  for module, forward in list(parts(net)):
    module.forward = types.MethodType(forward, module)


def plain(net):
  for module, _ in list(parts(net)):
    module.__dict__.pop("forward", None)


def unet_probe(net, count=16):
  """a loss of fixed data; exact: in f32"""
  generator = torch.Generator().manual_seed(1)
  side, width = net.config.sample_size, net.config.cross_attention_dim
  channels = net.config.in_channels
  device = next(net.parameters()).device
  x, target, context = (torch.randn(s, generator=generator).to(device) for s in (
    (count, channels, side, side), (count, channels, side, side), (count, 32, width)))
  t = torch.randint(0, 1000, (count,), generator=generator).to(device)
  x = kernels.channels_last(x)

  def loss(exact):
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=not exact):
      y = net(x, t, context).sample
    return ((y.float() - target) ** 2).mean()

  return loss


def vae_probe(net, count=4):
  generator = torch.Generator().manual_seed(1)
  side, device = net.config.sample_size, next(net.parameters()).device
  x = kernels.channels_last(torch.randn(count, 3, side, side, generator=generator).to(device))

  def loss(exact):
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=not exact):
      latents = net.encode(x).latent_dist
      y = net.decode(latents.mode()).sample
    return ((y.float() - x) ** 2).mean() + 1e-4 * latents.kl().mean()

  return loss


def text_probe(net, count=16):
  generator = torch.Generator().manual_seed(1)
  device = next(net.parameters()).device
  ids = torch.randint(0, 1000, (count, 32), generator=generator).to(device)
  target = torch.randn(count, 32, net.config.hidden_size, generator=generator).to(device)

  def loss(exact):
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=not exact):
      y = net(input_ids=ids).last_hidden_state
    return ((y.float() - target) ** 2).mean()

  return loss


def gradient(net, loss):
  weights = [p for p in net.parameters() if p.requires_grad]
  gradients = torch.autograd.grad(loss, weights, allow_unused=True)
  return torch.cat([g.double().flatten() for g in gradients if g is not None])


def differ(net):
  """swaps; relative errors of the plain and of the swapped network's gradient in bf16"""
  probe = {"UNet2DConditionModel": unet_probe, "AutoencoderKL": vae_probe}.get(
    type(net).__name__, text_probe)(net)
  exact = gradient(net, probe(True))
  usual = gradient(net, probe(False))
  swap(net)
  mine = gradient(net, probe(False))
  return [((g - exact).norm() / exact.norm()).item() for g in (usual, mine)]


def speed_up(net):
  """
  Swaps net's forwards; leaves net plain where the gradient is another one or anything goes wrong.
  Returns whether it is swapped.
  """
  wanted, device = os.environ.get("TOYBOX_FAST", "1"), next(net.parameters()).device.type
  if wanted == "0" or device != "cuda" and wanted != "2":
    return False
  name, frozen = type(net).__name__, not any(p.requires_grad for p in net.parameters())
  try:
    if frozen:   # for the comparison alone
      net.requires_grad_(True)
    if kernels is None:
      raise missing
    if not fits(net):
      raise ValueError("a network of another make")
    usual, mine = differ(net)
    print(f"{name}: error of the gradient in bf16 {usual:.1e}, with fast operators {mine:.1e}",
          flush=True)
    if mine < 2 * usual + 0.01:
      return True
    print(f"{name}: too far, so plain operators", flush=True)
  except Exception as error:
    print(f"{name}: plain operators, for {type(error).__name__}: {error}", flush=True)
  finally:
    if frozen:
      net.requires_grad_(False)
  plain(net)
  return False


if __name__ == "__main__":
  import common
  import config
  import tokenizer
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
  parser.add_argument("net", choices=("unet", "vae", "text"))
  parser.add_argument("--size", default="shipped", choices=config.SIZES)
  a = parser.parse_args()
  device = common.set_up()
  if a.net == "text":
    net = config.build_text(a.size, tokenizer.load(common.state_dir(a.size, "tokenizer")))
  else:
    net = config.build_unet(a.size) if a.net == "unet" else config.build_vae(a.size)
    net = net.to(memory_format=torch.channels_last)
  speed_up(net.to(device))
