"""PyTorch's side of the race, with pytorch-metric-learning.

The same network, augmentation and optimizer as `race_ours`, written as one
would in PyTorch. It imports nothing of this package but the race.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytorch_metric_learning
import torch
from pytorch_metric_learning import distances, losses, miners
from torch import nn

from tripletjax.benchmark.race_loop import Arrays, Racer

# Embeddings and labels to the loss.
LossFn = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# Of a normal distribution that is cut at two standard deviations.
_CUT = 0.87962566103423978


class ConvNet(nn.Module):
  """`tripletjax.models.ConvNet`, with its initial distribution.

  Where that pads a stride of 2 after the last pixels of an even side, this pads
  before the first ones: one is the other in a mirror, and so it is given images
  that are turned by half.
  """

  def __init__(
    self, features: list[int], dimension: int, shape: tuple[int, ...]
  ):
    """Makes the weights.

    Args:
      features: channels of each block.
      dimension: length of the embedding.
      shape: `(H, W, C)` of the images.
    """
    super().__init__()
    height, width, channels = shape
    layers: list[nn.Module] = []
    for count in features:
      layers += [
        nn.Conv2d(channels, count, 3, stride=2, padding=1, bias=False),
        # flax's momentum of 0.9.
        nn.BatchNorm2d(count, eps=1e-5, momentum=0.1),
        nn.ReLU(inplace=True),
      ]
      channels = count
      height, width = -(-height // 2), -(-width // 2)
    self.blocks = nn.Sequential(*layers)
    self.last = nn.Linear(channels * height * width, dimension)
    for layer in [*self.blocks, self.last]:
      if isinstance(layer, nn.Conv2d | nn.Linear):
        inputs = layer.weight[0].numel()
        deviation = 1 / math.sqrt(inputs) / _CUT
        nn.init.trunc_normal_(
          layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation
        )
        if layer.bias is not None:
          nn.init.zeros_(layer.bias)

  def forward(self, images: torch.Tensor) -> torch.Tensor:
    """`[B, C, H, W]` to `[B, dimension]`, not normalised."""
    return self.last(torch.flatten(self.blocks(images), 1))


def affine(
  images: torch.Tensor, draws: torch.Tensor, limits: Mapping[str, float]
) -> torch.Tensor:
  """`random_affine` by given draws.

  Args:
    images: `[B, C, H, W]`.
    draws: from -1 to 1, `[B, 6]`: turn, slant, two sizes, two moves.
    limits: `rotation`, `scale`, `shear` and `translation`.
  """
  height, width = images.shape[2:]
  angle = math.radians(limits["rotation"]) * draws[:, 0]
  sine, cosine = torch.sin(angle), torch.cos(angle)
  slant = limits["shear"] * draws[:, 1]
  size = torch.exp(limits["scale"] * draws[:, 2:4])
  # Output to input in the order (row, column), by half sides from the centre.
  rows = torch.stack([cosine, sine], 1)
  columns = torch.stack([-sine, cosine], 1) + slant[:, None] * rows
  sides = torch.tensor([height - 1.0, width - 1.0])
  by_pixel = torch.stack([rows, columns], 1) * size[:, :, None]
  by_side = by_pixel * (sides / sides[:, None])
  move = limits["translation"] * draws[:, 4:6]
  move = move * torch.tensor([float(height), float(width)]) * 2 / sides
  # To the order (x, y).
  theta = torch.cat([by_side.flip(1, 2), move.flip(1)[:, :, None]], 2)
  grid = nn.functional.affine_grid(
    theta, list(images.shape), align_corners=True
  )
  return nn.functional.grid_sample(images, grid, align_corners=True)


def make_loss(config: Mapping[str, Any]) -> LossFn:
  """The loss of a config by pytorch-metric-learning.

  `random_semi_hard` is no miner there: it is one of its semi-hard triplets for
  each pair, drawn.
  """
  loss = config["loss"]
  distance = distances.LpDistance(
    power=2 if loss["distance"] == "squared_euclidean" else 1,
    normalize_embeddings=config["model"]["normalize"],
  )
  loss_fn = losses.TripletMarginLoss(
    loss["margin"], smooth_loss=loss["soft"], distance=distance
  )
  kind = {"all": "all", "random_semi_hard": "semihard"}.get(loss["miner"])
  if kind:
    miner: Any = miners.TripletMarginMiner(
      loss["margin"], type_of_triplets=kind, distance=distance
    )
  else:
    miner = miners.BatchHardMiner(distance=distance)

  def of_batch(embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    triplets = miner(embeddings, labels)
    if loss["miner"] == "random_semi_hard":
      triplets = one_of_each_pair(*triplets)
    return loss_fn(embeddings, labels, triplets)

  return of_batch


def one_of_each_pair(
  anchor: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
  """One triplet of each pair, drawn; those of a pair come one after another."""
  if not len(anchor):
    return anchor, positive, negative
  pair = anchor * (int(positive.max()) + 1) + positive
  _, counts = torch.unique_consecutive(pair, return_counts=True)
  draws = torch.rand(len(counts), dtype=torch.float64)
  chosen = torch.cumsum(counts, 0) - counts + (draws * counts).long()
  return anchor[chosen], positive[chosen], negative[chosen]


def learning_rate(
  config: Mapping[str, Any], step: int, *, total: int, warmup: int
) -> float:
  """The cosine schedule after a warm-up, for a step from 0."""
  peak = config["optimizer"]["learning_rate"]
  if step < warmup:
    return peak * step / warmup
  done = (step - warmup) / max(total - warmup, 1)
  return peak * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def make_racer(asked: Mapping[str, Any], arrays: Arrays) -> Racer:
  """A training as one would write it in PyTorch, all images in memory.

  Args:
    asked: see `race_side`.
    arrays: `images` and `eval_images`, uint8 `[N, H, W, C]`.
  """
  config = asked["config"]
  torch.set_num_threads(asked["threads"])
  torch.manual_seed(asked["seed"])
  images, evaluated = (
    torch.from_numpy(arrays[name]).permute(0, 3, 1, 2).flip(2, 3).float() / 255
    for name in ("images", "eval_images")
  )
  model = ConvNet(
    config["model"]["features"],
    config["model"]["dimension"],
    arrays["images"].shape[1:],
  ).to(memory_format=torch.channels_last)
  fields = config["optimizer"]
  optimizer = torch.optim.AdamW(
    model.parameters(),
    lr=0.0,
    betas=(fields["momentum"], fields["beta2"]),
    eps=fields["epsilon"],
    weight_decay=fields["weight_decay"],
    fused=True,
  )
  loss_fn = make_loss(config)
  done = 0

  def step(rows: np.ndarray, labels: np.ndarray) -> float:
    nonlocal done
    optimizer.param_groups[0]["lr"] = learning_rate(
      config, done, total=asked["steps"], warmup=asked["warmup"]
    )
    done += 1
    model.train()
    draws = torch.rand(len(rows), 6) * 2 - 1
    batch = affine(images[torch.from_numpy(rows)], draws, config["augment"])
    optimizer.zero_grad(set_to_none=True)
    embeddings = model(batch.to(memory_format=torch.channels_last))
    loss = loss_fn(embeddings, torch.from_numpy(labels))
    loss.backward()
    optimizer.step()
    return loss.item()

  def embed() -> np.ndarray:
    model.eval()
    with torch.inference_mode():
      found = model(evaluated.to(memory_format=torch.channels_last))
      if config["model"]["normalize"]:
        found = nn.functional.normalize(found)
    return found.numpy()

  return Racer(
    step=step,
    embed=embed,
    parameters=sum(p.numel() for p in model.parameters()),
    versions={
      "torch": torch.__version__,
      "pytorch-metric-learning": pytorch_metric_learning.__version__,
    },
  )
