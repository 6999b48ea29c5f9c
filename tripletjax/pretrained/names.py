"""What PyTorch's networks call the parameters of ours: one map a network.

A path of ours is "stage_1_block_2/ConvNorm_0/Conv_0/kernel"; the maps get what
comes before the last part. They are those of torchvision's ResNets, of
efficientnet-lite-pytorch, of facenet-pytorch and of timm's
vit_small_patch16_224.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

# The module of a path of ours -> that of PyTorch; "" where it has none.
ModuleFn = Callable[[str], str]

# The last part of a path. BatchNorm's statistics are among the names too.
LEAVES = {
  "kernel": "weight",
  "scale": "weight",
  "bias": "bias",
  "mean": "running_mean",
  "var": "running_var",
}
# Of a file: counts that nothing needs.
NEVER = re.compile(r"(^|\.)num_batches_tracked$")


def resnet(module: str) -> str:
  """Names of torchvision's resnet18 and resnet50."""
  part, _, kind = module.rpartition("/")
  batch_norm = kind == "BatchNorm_0"
  if kind not in ("Conv_0", "BatchNorm_0"):
    return "fc" if module == "Dense_0" else ""
  if part == "ConvNorm_0":
    return "bn1" if batch_norm else "conv1"
  found = re.fullmatch(r"stage_(\d+)_block_(\d+)/(\w+)", part)
  if not found:
    return ""
  stage, block, layer = found.groups()
  prefix = f"layer{stage}.{int(block) - 1}"
  if layer == "shortcut":
    return f"{prefix}.downsample.{int(batch_norm)}"
  number = int(layer.removeprefix("ConvNorm_")) + 1
  return f"{prefix}.{'bn' if batch_norm else 'conv'}{number}"


def efficientnet(module: str) -> str:
  """Names of efficientnet-lite-pytorch's efficientnet-lite0."""
  part, _, kind = module.rpartition("/")
  batch_norm = kind == "BatchNorm_0"
  if kind not in ("Conv_0", "BatchNorm_0"):
    return "_fc" if module == "Dense_0" else ""
  outer = {"stem": ("_conv_stem", "_bn0"), "last": ("_conv_head", "_bn1")}
  inner = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
  }
  if part in outer:
    return outer[part][batch_norm]
  block, _, layer = part.partition("/")
  if layer not in inner:
    return ""
  number = block.removeprefix("block_")
  return f"_blocks.{number}.{inner[layer][batch_norm]}"


def inception(module: str) -> str:
  """Names of facenet-pytorch's InceptionResnetV1, with a `linear_norm` head."""
  ends = {"Dense_0": "last_linear", "BatchNorm_0": "last_bn"}
  if module in ends:
    return ends[module]
  part, _, kind = module.rpartition("/")
  part = part.removesuffix("/layer")
  last = {"Conv_0": "conv", "BatchNorm_0": "bn", "conv2d": "conv2d"}.get(kind)
  if last is None:
    return ""
  part = re.sub(r"^(repeat_\d)_(\d+)", r"\1.\2", part)
  part = re.sub(r"^(mixed_\w\w)_branch", r"\1.branch", part)
  part = re.sub(r"branch(\d)_(\d)", r"branch\1.\2", part).replace("/", ".")
  # A branch of one layer is that layer, and no list.
  if not part.startswith("mixed_7a"):
    part = part.replace("branch0.0", "branch0")
  return f"{part}.{last}"


def vit(module: str) -> str:
  """Names of timm's vit_small_patch16_224."""
  ends = {"Dense_0": "head", "patch_embed": "patch_embed.proj", "norm": "norm"}
  if module in ends:
    return ends[module]
  found = re.fullmatch(r"block_(\d+)/(.*)", module)
  if not found:
    return ""
  number, layer = found.groups()
  layer = {"fc1": "mlp.fc1", "fc2": "mlp.fc2"}.get(layer, layer)
  return f"blocks.{number}.{layer.replace('/', '.')}"


TORCH_NAMES: Mapping[str, ModuleFn] = {
  "resnet18": resnet,
  "resnet50": resnet,
  "efficientnet_lite0": efficientnet,
  "inception_resnet_v1": inception,
  "vit_s16": vit,
}


def torch_name(path: str, module_fn: ModuleFn) -> str:
  """What PyTorch calls a parameter of ours; our own path if it has no name.

  >>> torch_name("stage_2_block_1/shortcut/BatchNorm_0/mean", resnet)
  'layer2.0.downsample.1.running_mean'
  """
  module, _, leaf = path.rpartition("/")
  if not module:  # such as a class token, which belongs to the network itself
    return leaf
  name = module_fn(module)
  return f"{name}.{LEAVES[leaf]}" if name and leaf in LEAVES else path
