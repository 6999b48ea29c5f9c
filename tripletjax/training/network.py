"""The network of a config."""

from __future__ import annotations

from ml_collections import ConfigDict

from tripletjax.errors import UserError
from tripletjax.models import DTYPES, MODELS, EmbeddingNetwork
from tripletjax.models.cost import network_cost
from tripletjax.models.vit import HEAD
from tripletjax.training.groups import check_pattern


def make_model(config: ConfigDict, *, axis_name: str) -> EmbeddingNetwork:
  """The embedding network."""
  model = config.model
  return MODELS[model.name](
    features=tuple(model.features),
    dimension=model.dimension,
    normalize=model.normalize,
    axis_name=axis_name,
    norm=model.norm,
    dropout=model.dropout,
    dtype=DTYPES[model.dtype],
    remat=model.remat,
    pixels=model.pixels,
    pooling=model.pooling,
    head=model.head,
    norm_frozen=model.norm_frozen,
  )


def describe_model(
  config: ConfigDict, image_shape: tuple[int, int, int]
) -> str:
  """Its name, parameters, and what embedding an image takes."""
  cost = network_cost(make_model(config, axis_name=""), image_shape)
  return (
    f"{config.model.name}, {cost.parameters:,} parameters, "
    f"{flops_text(cost.flops)} an image"
  )


def networks_table(image_shape: tuple[int, int, int], *, dimension: int) -> str:
  """All networks with their own widths, as a table of Markdown.

  `convnet`, which has none, is that of `configs/images.py`.

  Args:
    image_shape: `(H, W, C)` of the images.
    dimension: of the embedding.
  """
  lines = [
    "| `model.name` | parameters | an image | features |",
    "| --- | ---: | ---: | --- |",
  ]
  for name, network in MODELS.items():
    widths = network.WIDTHS or (32, 64, 128, 256)
    cost = network_cost(network(widths, dimension), image_shape)
    lines.append(
      f"| `{name}` | {cost.parameters:,} | {flops_text(cost.flops)} | "
      f"{', '.join(map(str, widths))} |"
    )
  return "\n".join(lines)


def flops_text(flops: int) -> str:
  """A number of operations in words.

  >>> flops_text(1_234_567), flops_text(987), flops_text(8_180_000_000)
  ('1.23 MFLOP', '987 FLOP', '8.18 GFLOP')
  """
  for unit, size in (("GFLOP", 1e9), ("MFLOP", 1e6), ("kFLOP", 1e3)):
    if flops >= size:
      return f"{flops / size:.3g} {unit}"
  return f"{flops} FLOP"


def uses_batch(model: ConfigDict) -> bool:
  """Whether a network uses statistics of the batch in training."""
  normed = MODELS[model.name].HAS_NORM or model.head == "linear_norm"
  return normed and model.norm == "batch" and not model.norm_frozen


def check_model(model: ConfigDict) -> None:
  """Raises a `UserError` unless its fields are those of such a network."""
  features, own = model.features, MODELS[model.name].WIDTHS
  check_pattern("model.pretrained_ignore", model.pretrained_ignore)
  if model.pretrained_ignore and not model.pretrained:
    raise UserError(
      "model.pretrained: expected weights beside model.pretrained_ignore, got "
      '""'
    )
  if not all(isinstance(f, int) and f > 0 for f in features):
    raise UserError(
      f"model.features: expected channels of each block, got {tuple(features)}"
    )
  if not own and not features:
    raise UserError(
      "model.features: expected channels of one block or more, got ()"
    )
  if own and len(features) not in (0, len(own)):
    raise UserError(
      f"model.features: expected channels of {len(own)} stages for "
      f"{model.name}, as its own {own}, or () for these, got {tuple(features)}"
    )
  _check_widths(model.name, tuple(features) or own)


def check_places(
  model: EmbeddingNetwork, image_shape: tuple[int, int, int]
) -> None:
  """Raises a `UserError` unless each place has a whole number of dimensions.

  Args:
    model: the network.
    image_shape: `(H, W, C)`, on which the number of places depends.
  """
  if model.pooling == "places":
    network_cost(model, image_shape)  # by shapes: the network itself says so


def _check_widths(name: str, widths: tuple[int, ...]) -> None:
  if name == "vit_s16" and widths[0] > HEAD and widths[0] % HEAD:
    raise UserError(
      f"model.features: expected a width of {name} up to {HEAD}, or a multiple "
      f"of it, got {widths[0]}"
    )
  if name == "inception_resnet_v1" and widths[0] % 2:
    raise UserError(
      f"model.features: expected an even number for {name}, of which all "
      f"widths are multiples, got {widths[0]}"
    )
