"""The only place that turns a config's names into functions."""

from __future__ import annotations

import functools

import optax
from flax import linen as nn
from ml_collections import ConfigDict

from tripletjax.data.augment import random_affine
from tripletjax.distances import DISTANCES
from tripletjax.errors import UserError
from tripletjax.losses import mined_triplet_loss
from tripletjax.miners import MINERS
from tripletjax.models import MODELS
from tripletjax.reductions import REDUCTIONS
from tripletjax.training.step import AugmentFn, LossFn

CHOICES = {
  "loss.miner": MINERS,
  "loss.distance": DISTANCES,
  "loss.reduction": REDUCTIONS,
  "model.name": MODELS,
}

# Fields and what they have to be above, or at least.
POSITIVE = (
  "batch.identities",
  "batch.images",
  "model.dimension",
  "optimizer.learning_rate",
  "optimizer.epsilon",
  "evaluation.batch_size",
  "checkpoint.keep",
)
NOT_NEGATIVE = (
  "seed",
  "loss.margin",
  "augment.rotation",
  "augment.scale",
  "augment.shear",
  "augment.translation",
  "optimizer.weight_decay",
)


def check_config(config: ConfigDict) -> None:
  """Raises a `UserError` that names the first field that can't be right."""
  for field, registry in CHOICES.items():
    name = _get(config, field)
    if name not in registry:
      raise UserError(
        f"{field}: expected one of {', '.join(registry)}, got {name!r}"
      )
  for field in POSITIVE:
    if not _get(config, field) > 0:
      raise UserError(
        f"{field}: expected more than 0, got {_get(config, field)}"
      )
  for field in NOT_NEGATIVE:
    # `not >=` and not `<`, so that a NaN is refused.
    if not 0 <= _get(config, field) < float("inf"):
      raise UserError(f"{field}: expected 0 or more, got {_get(config, field)}")
  features = config.model.features
  if not features or not all(isinstance(f, int) and f > 0 for f in features):
    raise UserError(
      "model.features: expected channels of one block or more, "
      f"got {tuple(features)}"
    )
  _check_evaluation(config.evaluation)


def _check_evaluation(evaluation: ConfigDict) -> None:
  if min(evaluation.ks, default=0) < 1:
    raise UserError(
      f"evaluation.ks: expected ranks from 1, got {tuple(evaluation.ks)}"
    )
  if evaluation.folds < 2:
    raise UserError(
      f"evaluation.folds: expected 2 or more, got {evaluation.folds}"
    )
  if not all(0 < rate < 1 for rate in evaluation.far):
    raise UserError(
      "evaluation.far: expected false-accept rates between 0 and 1, got "
      f"{tuple(evaluation.far)}"
    )


def make_model(config: ConfigDict, *, axis_name: str) -> nn.Module:
  """The embedding network."""
  return MODELS[config.model.name](
    features=tuple(config.model.features),
    dimension=config.model.dimension,
    normalize=config.model.normalize,
    axis_name=axis_name,
  )


def make_loss(config: ConfigDict) -> LossFn:
  """The loss of a batch; the margin is left to be an argument."""
  return functools.partial(
    mined_triplet_loss,
    miner=config.loss.miner,
    distance=config.loss.distance,
    reduction=config.loss.reduction,
    soft=config.loss.soft,
  )


def make_augment(config: ConfigDict) -> AugmentFn:
  """The augmentation; it is left out where every range is 0."""
  ranges = config.augment.to_dict()
  if not any(ranges.values()):
    return lambda images, keys: images
  return functools.partial(random_affine, **ranges)


def make_optimizer(
  config: ConfigDict, *, total_steps: int, warmup_steps: int
) -> optax.GradientTransformation:
  """AdamW with a linear warm-up and a cosine decay to 0."""
  schedule = optax.warmup_cosine_decay_schedule(
    init_value=0.0,
    peak_value=config.optimizer.learning_rate,
    warmup_steps=warmup_steps,
    decay_steps=max(total_steps, warmup_steps + 1),
  )
  return optax.adamw(
    schedule,
    eps=config.optimizer.epsilon,
    weight_decay=config.optimizer.weight_decay,
  )


def _get(config: ConfigDict, field: str) -> float:
  return functools.reduce(getattr, field.split("."), config)
