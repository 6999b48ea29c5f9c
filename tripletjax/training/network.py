"""The network of a config."""

from __future__ import annotations

from flax import linen as nn
from ml_collections import ConfigDict

from tripletjax.errors import UserError
from tripletjax.models import DTYPES, MODELS

# Networks of so many stages, which have widths of their own: `model.features`
# may be empty.
STAGES = {"resnet18": 4}


def make_model(config: ConfigDict, *, axis_name: str) -> nn.Module:
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
  )


def check_model(model: ConfigDict) -> None:
  """Raises a `UserError` unless the channels are those of such a network."""
  features, stages = model.features, STAGES.get(model.name)
  if not all(isinstance(f, int) and f > 0 for f in features):
    raise UserError(
      f"model.features: expected channels of each block, got {tuple(features)}"
    )
  if stages is None and not features:
    raise UserError(
      "model.features: expected channels of one block or more, got ()"
    )
  if stages is not None and len(features) not in (0, stages):
    raise UserError(
      f"model.features: expected channels of {stages} stages for {model.name}, "
      f"or () for its own, got {tuple(features)}"
    )
