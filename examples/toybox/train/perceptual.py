"""LPIPS on AlexNet's features: a training loss for the autoencoder, never shipped."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Perceptual(nn.Module):
  """
  Reads lpips_alex_v0.1.pt, the whole of LPIPS-Alex as a dict: trunk[i].weight, trunk[i].bias and
  the linear heads lin[i]; max pooling stands before the second and the third convolution.
  """

  def __init__(self, path):
    super().__init__()
    state = torch.load(path, weights_only=True)
    for i, (layer, head) in enumerate(zip(state["trunk"], state["lin"])):
      self.register_buffer(f"w{i}", layer["weight"].float())
      self.register_buffer(f"b{i}", layer["bias"].float())
      self.register_buffer(f"h{i}", head.float())
    self.register_buffer("mean", torch.tensor([-.030, -.088, -.188]).view(1, 3, 1, 1))
    self.register_buffer("deviation", torch.tensor([.458, .448, .450]).view(1, 3, 1, 1))

  def features(self, x):
    x = (x - self.mean) / self.deviation
    strides, pads, out = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1), []
    for i in range(5):
      if i in (1, 2):
        x = F.max_pool2d(x, 3, 2)
      x = F.relu(F.conv2d(x, getattr(self, f"w{i}"), getattr(self, f"b{i}"), strides[i], pads[i]))
      out.append(x * torch.rsqrt(x.pow(2).sum(1, keepdim=True) + 1e-8))
    return out

  def forward(self, a, b, weight=None):
    """
    mean distance of pictures in [-1, 1]; b gets no gradient. weight [n, 1, h, w]: what each part
    of the picture counts, in any size; its mean should be 1
    """
    with torch.no_grad():
      theirs = self.features(b)
    total = 0
    for i, (x, y) in enumerate(zip(self.features(a), theirs)):
      distance = F.conv2d((x - y).pow(2), getattr(self, f"h{i}"))
      if weight is not None:
        distance = distance * F.adaptive_avg_pool2d(weight, distance.shape[2:])
      total = total + distance.mean()
    return total
