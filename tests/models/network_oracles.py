"""Forward passes of PyTorch's networks, with their weights by their own names.

Written from torchvision, efficientnet-lite-pytorch, facenet-pytorch and timm,
not from ours. Images are [B, C, H, W], as there. `ops` does the arithmetic:
NumPy's loops here, PyTorch's in test_pretrained_torch.py.
"""

import math
import zlib

import numpy as np

from tripletjax.pretrained.places import Weights


class RandomState(dict):
  """Weights that come into being when a network asks for them."""

  def __call__(self, name, *shape):
    if name not in self:
      rng = np.random.default_rng(zlib.crc32(name.encode()))
      if name.endswith("running_var"):
        made = rng.uniform(0.5, 1.5, shape)
      elif len(shape) == 1:
        made = rng.normal(1.0 if name.endswith("weight") else 0.0, 0.3, shape)
      else:
        made = rng.normal(0, 1 / math.sqrt(math.prod(shape[1:])), shape)
      self[name] = made.astype(np.float32)
    assert self[name].shape == shape, name
    return self[name]

  def weights(self):
    # PyTorch counts batches too, which nothing needs.
    counts = {
      name.replace("running_mean", "num_batches_tracked"): np.int64(3)
      for name in self
      if name.endswith("running_mean")
    }
    return Weights("random", {**self, **counts}, False)


class NumpyOps:
  """What networks are made of, in NumPy."""

  def conv(self, x, w, bias=None, *, stride=1, pads=((0, 0), (0, 0)), groups=1):
    x = np.pad(x, ((0, 0), (0, 0), *pads))
    views = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))
    views = views[:, :, ::stride, ::stride]
    outs = []
    for inputs, kernel in zip(
      np.split(views, groups, axis=1), np.split(w, groups), strict=True
    ):
      outs.append(np.einsum("bchwij,ocij->bohw", inputs, kernel))
    out = np.concatenate(outs, axis=1)
    return out if bias is None else out + bias[:, None, None]

  def norm(self, x, scale, bias, mean, var, epsilon):
    shape = (-1,) + (1,) * (x.ndim - 2)
    scale, bias, mean, var = (
      value.reshape(shape) for value in (scale, bias, mean, var)
    )
    return (x - mean) / np.sqrt(var + epsilon) * scale + bias

  def relu(self, x):
    return np.maximum(x, 0)

  def relu6(self, x):
    return np.clip(x, 0, 6)

  def max3(self, x, pad=0):
    x = np.pad(
      x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=-np.inf
    )
    views = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    return views[:, :, ::2, ::2].max((-1, -2))

  def linear(self, x, w, bias=None):
    return x @ w.T + (0 if bias is None else bias)

  def concat(self, parts):
    return np.concatenate(parts, axis=1)

  def unit(self, x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)

  def layer_norm(self, x, scale, bias, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return centred / deviation * scale + bias

  def gelu(self, x):
    return x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))

  def softmax(self, x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def conv_norm(
  state, ops, x, conv, norm, out, size, *, epsilon=1e-5, groups=1, **how
):
  size = size if isinstance(size, tuple) else (size, size)
  w = state(f"{conv}.weight", out, x.shape[1] // groups, *size)
  x = ops.conv(x, w, groups=groups, **how)
  return batch_norm(state, ops, x, norm, epsilon)


def batch_norm(state, ops, x, name, epsilon):
  parts = ("weight", "bias", "running_mean", "running_var")
  values = [state(f"{name}.{part}", x.shape[1]) for part in parts]
  return ops.norm(x, *values, epsilon)


def around(pad):
  return ((pad, pad), (pad, pad))


def resnet(state, ops, x, *, widths, depths, bottleneck, classes):
  def layer(x, prefix, number, out, size, stride=1):
    return conv_norm(
      state, ops, x, f"{prefix}.conv{number}", f"{prefix}.bn{number}", out,
      size, stride=stride, pads=around(size // 2),
    )  # fmt: skip

  x = conv_norm(
    state, ops, x, "conv1", "bn1", widths[0], 7, stride=2, pads=around(3)
  )
  x = ops.max3(ops.relu(x), pad=1)
  for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
    for block in range(depth):
      prefix = f"layer{stage + 1}.{block}"
      stride = 2 if stage > 0 and block == 0 else 1
      if bottleneck:
        y = ops.relu(layer(x, prefix, 1, width, 1))
        y = ops.relu(layer(y, prefix, 2, width, 3, stride))
        y = layer(y, prefix, 3, 4 * width, 1)
      else:
        y = ops.relu(layer(x, prefix, 1, width, 3, stride))
        y = layer(y, prefix, 2, width, 3)
      if stride == 2 or x.shape[1] != y.shape[1]:
        x = conv_norm(
          state, ops, x, f"{prefix}.downsample.0", f"{prefix}.downsample.1",
          y.shape[1], 1, stride=stride,
        )  # fmt: skip
      x = ops.relu(x + y)
  x = x.mean((2, 3))
  w = state("fc.weight", classes, x.shape[1])
  return ops.linear(x, w, state("fc.bias", classes))


def same(side, size, stride):
  total = max((-(-side // stride) - 1) * stride + size - side, 0)
  return (total // 2, total - total // 2)


def efficientnet_lite(state, ops, x, *, widths, stages, classes):
  """`stages`: depth, kernel, stride, expansion of each."""

  def layer(x, conv, norm, out, size, stride=1, groups=1):
    pads = tuple(same(side, size, stride) for side in x.shape[2:])
    return conv_norm(
      state, ops, x, conv, norm, out, size, epsilon=1e-3, groups=groups,
      stride=stride, pads=pads,
    )  # fmt: skip

  x = ops.relu6(layer(x, "_conv_stem", "_bn0", widths[0], 3, 2))
  number = 0
  for (depth, size, stride, expansion), width in zip(
    stages, widths[1:-1], strict=True
  ):
    for block in range(depth):
      prefix, y, inside = f"_blocks.{number}", x, x.shape[1] * expansion
      if expansion != 1:
        y = layer(y, f"{prefix}._expand_conv", f"{prefix}._bn0", inside, 1)
        y = ops.relu6(y)
      step = stride if block == 0 else 1
      y = layer(
        y, f"{prefix}._depthwise_conv", f"{prefix}._bn1", inside, size, step,
        groups=inside,
      )  # fmt: skip
      y = layer(
        ops.relu6(y), f"{prefix}._project_conv", f"{prefix}._bn2", width, 1
      )
      x = x + y if step == 1 and x.shape[1] == width else y
      number += 1
  x = ops.relu6(layer(x, "_conv_head", "_bn1", widths[-1], 1))
  x = x.mean((2, 3))
  w = state("_fc.weight", classes, x.shape[1])
  return ops.linear(x, w, state("_fc.bias", classes))


def inception_resnet_v1(state, ops, x, *, base, depths, dimension):
  """Of facenet-pytorch, with `base` in place of 32 channels; unit length."""

  def basic(x, name, channels, size, *, stride=1, pads=((0, 0), (0, 0))):
    x = conv_norm(
      state, ops, x, f"{name}.conv", f"{name}.bn", channels * base // 32, size,
      epsilon=1e-3, stride=stride, pads=pads,
    )  # fmt: skip
    return ops.relu(x)

  def block(x, name, branches, scale, relu=True):
    found = []
    for branch, layers in enumerate(branches):
      y = x
      for number, (channels, size) in enumerate(layers):
        part = f".{number}" if len(layers) > 1 else ""
        pads = tuple((side // 2, side // 2) for side in size)
        y = basic(y, f"{name}.branch{branch}{part}", channels, size, pads=pads)
      found.append(y)
    y = ops.concat(found)
    w = state(f"{name}.conv2d.weight", x.shape[1], y.shape[1], 1, 1)
    y = ops.conv(y, w, state(f"{name}.conv2d.bias", x.shape[1]))
    x = y * scale + x
    return ops.relu(x) if relu else x

  one, three = (1, 1), (3, 3)
  x = basic(x, "conv2d_1a", 32, 3, stride=2)
  x = basic(x, "conv2d_2a", 32, 3)
  x = ops.max3(basic(x, "conv2d_2b", 64, 3, pads=around(1)))
  x = basic(x, "conv2d_3b", 80, 1)
  x = basic(x, "conv2d_4a", 192, 3)
  x = basic(x, "conv2d_4b", 256, 3, stride=2)
  for number in range(depths[0]):
    branches = [
      [(32, one)], [(32, one), (32, three)],
      [(32, one), (32, three), (32, three)],
    ]  # fmt: skip
    x = block(x, f"repeat_1.{number}", branches, 0.17)
  y = basic(x, "mixed_6a.branch1.0", 192, 1)
  y = basic(y, "mixed_6a.branch1.1", 192, 3, pads=around(1))
  x = ops.concat([
    basic(x, "mixed_6a.branch0", 384, 3, stride=2),
    basic(y, "mixed_6a.branch1.2", 256, 3, stride=2),
    ops.max3(x),
  ])  # fmt: skip
  for number in range(depths[1]):
    branches = [[(128, one)], [(128, one), (128, (1, 7)), (128, (7, 1))]]
    x = block(x, f"repeat_2.{number}", branches, 0.10)
  first, second, third = (
    basic(x, f"mixed_7a.branch{branch}.0", 256, 1) for branch in range(3)
  )
  third = basic(third, "mixed_7a.branch2.1", 256, 3, pads=around(1))
  x = ops.concat([
    basic(first, "mixed_7a.branch0.1", 384, 3, stride=2),
    basic(second, "mixed_7a.branch1.1", 256, 3, stride=2),
    basic(third, "mixed_7a.branch2.2", 256, 3, stride=2),
    ops.max3(x),
  ])  # fmt: skip
  branches = [[(192, one)], [(192, one), (192, (1, 3)), (192, (3, 1))]]
  for number in range(depths[2]):
    x = block(x, f"repeat_3.{number}", branches, 0.20)
  x = block(x, "block8", branches, 1.0, relu=False)
  x = x.mean((2, 3))
  x = ops.linear(x, state("last_linear.weight", dimension, x.shape[1]))
  return ops.unit(batch_norm(state, ops, x, "last_bn", 1e-3))


def vit(state, ops, x, *, width, depth, heads, patch, classes):
  def linear(x, name, out):
    w = state(f"{name}.weight", out, x.shape[-1])
    return ops.linear(x, w, state(f"{name}.bias", out))

  def layer_norm(x, name):
    scale, bias = (
      state(f"{name}.{part}", width) for part in ("weight", "bias")
    )
    return ops.layer_norm(x, scale, bias, 1e-6)

  w = state("patch_embed.proj.weight", width, x.shape[1], patch, patch)
  x = ops.conv(x, w, state("patch_embed.proj.bias", width), stride=patch)
  batch, count = x.shape[0], x.shape[2] * x.shape[3]
  tokens = x.reshape(batch, width, count).swapaxes(1, 2)
  places = state("pos_embed", 1, 1 + count, width)
  first = (state("cls_token", 1, 1, width) + places[:, :1])[[0] * batch]
  x = ops.concat([first, tokens + places[:, 1:]])
  for number in range(depth):
    name = f"blocks.{number}"
    y = linear(layer_norm(x, f"{name}.norm1"), f"{name}.attn.qkv", 3 * width)
    size = width // heads
    found = []
    for head in range(heads):
      q, k, v = (
        y[..., part * width + head * size : part * width + (head + 1) * size]
        for part in range(3)
      )
      scores = ops.softmax(q @ k.swapaxes(1, 2) * size**-0.5)
      found.append((scores @ v).swapaxes(1, 2))
    y = ops.concat(found).swapaxes(1, 2)
    x = x + linear(y, f"{name}.attn.proj", width)
    y = linear(layer_norm(x, f"{name}.norm2"), f"{name}.mlp.fc1", 4 * width)
    x = x + linear(ops.gelu(y), f"{name}.mlp.fc2", width)
  return linear(layer_norm(x, "norm")[:, 0], "head", classes)
