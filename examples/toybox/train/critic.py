"""The critic that a polished decoder is trained against, never shipped."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Critic(nn.Module):
  """Is this patch of 38 x 38 pixels rendered or decoded? One logit for each of 16 x 16 patches."""

  def __init__(self):
    super().__init__()
    self.layers = nn.Sequential(
      nn.Conv2d(3, 48, 4, 2, 1), nn.LeakyReLU(0.2),
      nn.Conv2d(48, 96, 4, 2, 1), nn.GroupNorm(8, 96), nn.LeakyReLU(0.2),
      nn.Conv2d(96, 128, 4, 2, 1), nn.GroupNorm(8, 128), nn.LeakyReLU(0.2),
      nn.Conv2d(128, 1, 3, padding=1))

  def forward(self, x):
    return self.layers(x)

  def loss(self, drawn, true):
    """the hinge loss of telling them apart, for its own weights alone"""
    return F.relu(1 + self(drawn.detach())).mean() + F.relu(1 - self(true)).mean()


def balanced(loss, other, at, share):
  """
  The value of loss with the gradient of loss + c * other with respect to `at` and what it was made
  of, but nothing else; c makes the second gradient at `at` this share of the first one's length,
  so that neither outgrows the other.
  """
  wanted, = torch.autograd.grad(loss, at)
  more, = torch.autograd.grad(other, at)
  scale = share * wanted.norm() / (more.norm() + 1e-8)
  surrogate = (at * (wanted + scale * more).detach()).sum()
  return loss.detach() + surrogate - surrogate.detach()
