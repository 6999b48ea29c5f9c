"""The only place that turns a config's names into functions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import optax
from jax.typing import ArrayLike
from ml_collections import ConfigDict

from tripletjax.data import augment
from tripletjax.data.caching import PLACES
from tripletjax.data.framing import FRAMES
from tripletjax.data.sampling_checks import WEIGHTS, WITHIN
from tripletjax.distances import DISTANCES
from tripletjax.errors import UserError
from tripletjax.losses import LOSSES
from tripletjax.miners import MINERS, capped, curriculum
from tripletjax.models import DTYPES, HEADS, MODELS, NORMS, PIXELS, POOLINGS
from tripletjax.reductions import REDUCTIONS
from tripletjax.training.evaluation_settings import check_evaluation
from tripletjax.training.explicit import make_explicit_loss
from tripletjax.training.health import check_train
from tripletjax.training.limits import check_numbers
from tripletjax.training.network import check_model
from tripletjax.training.numbers import own_numbers
from tripletjax.training.optimizer import (
  OPTIMIZERS,
  SCHEDULES,
  check_optimizer,
)
from tripletjax.training.parallel import BACKENDS
from tripletjax.training.references import REFERENCES, check_references
from tripletjax.training.splits import UNSEEN
from tripletjax.training.step import AugmentFn, LossFn
from tripletjax.types import MinerFn

CHOICES: Mapping[str, Mapping[str, Any]] = {
  "loss.name": LOSSES,
  "loss.miner": MINERS,
  "loss.distance": DISTANCES,
  "loss.reduction": REDUCTIONS,
  "model.name": MODELS,
  "model.norm": NORMS,
  "model.dtype": DTYPES,
  "model.pixels": PIXELS,
  "model.pooling": {"": None, **POOLINGS},
  "model.head": HEADS,
  "optimizer.name": OPTIMIZERS,
  "optimizer.schedule": SCHEDULES,
  "parallel.backend": BACKENDS,
  "data.cache": dict.fromkeys(PLACES),
  "data.frame": FRAMES,
  "data.unseen": dict.fromkeys(UNSEEN),
  "batch.within": dict.fromkeys(WITHIN),
  "batch.weights": WEIGHTS,
}

# How the margin moves from `loss.margin` (a factor of 1) to another factor.
MARGIN_SCHEDULES: Mapping[str, Callable[[float, int], optax.Schedule]] = {
  "linear": lambda end, steps: optax.linear_schedule(1.0, end, steps),
  "exponential": lambda end, steps: optax.exponential_decay(
    1.0, steps, end, end_value=end
  ),
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
  "mining.negatives",
  "mining.neighbours",
  "augment.elastic_smoothness",
  "augment.identity_smoothness",
  "loss.multi_similarity.alpha",
  "loss.multi_similarity.beta",
  "loss.nt_xent.temperature",
  "loss.sup_con.temperature",
  "loss.circle.gamma",
)
NOT_NEGATIVE = (
  "seed",
  "loss.margin",
  "loss.margin_end",
  "loss.triplets_per_anchor",
  "loss.contrastive.positive_margin",
  "augment.rotation",
  "augment.scale",
  "augment.shear",
  "augment.translation",
  "augment.elastic",
  "augment.identity_rotation",
  "augment.identity_scale",
  "augment.identity_shear",
  "augment.identity_elastic",
  "augment.crop",
  "batch.chunk",
  "optimizer.weight_decay",
  "optimizer.clip",
)

# Probabilities, shares and factors: from 0 to this.
AT_MOST = {
  "augment.hue": 0.5,
  "optimizer.end": 1.0,
  "model.dropout": 0.9,
  **dict.fromkeys(("augment.flip", "augment.grey", "augment.erasing"), 1.0),
  **dict.fromkeys(("augment.brightness", "augment.contrast"), 1.0),
  **dict.fromkeys(("augment.saturation", "augment.cutout"), 1.0),
}


def check_config(config: ConfigDict) -> None:
  """Raises a `UserError` that names the first field that can't be right."""
  for field, registry in CHOICES.items():
    name = _get(config, field)
    if name not in registry:
      raise UserError(
        f"{field}: expected one of {', '.join(map(_shown, registry))}, got "
        f"{name!r}"
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
  for field, most in AT_MOST.items():
    if not 0 <= _get(config, field) <= most:
      raise UserError(
        f"{field}: expected 0 to {most:g}, got {_get(config, field)}"
      )
  check_numbers(config)
  check_train(config.train)
  _check_loss(config.loss)
  check_references(config)
  check_model(config.model)
  check_optimizer(config.optimizer)
  check_evaluation(config.evaluation)


def _check_loss(loss: ConfigDict) -> None:
  if loss.next_miner and loss.next_miner not in MINERS:
    raise UserError(
      'loss.next_miner: expected "" or one of '
      f"{', '.join(MINERS)}, got {loss.next_miner!r}"
    )
  drawn = "distance_weighted" in (loss.miner, loss.next_miner)
  if drawn and loss.distance != "euclidean":
    raise UserError(
      "loss.distance: expected euclidean, by which distance_weighted draws, "
      f"got {loss.distance!r}"
    )
  if loss.margin_schedule not in MARGIN_SCHEDULES:
    raise UserError(
      "loss.margin_schedule: expected one of "
      f"{', '.join(MARGIN_SCHEDULES)}, got {loss.margin_schedule!r}"
    )
  if loss.margin != loss.margin_end and not loss.margin > 0 < loss.margin_end:
    raise UserError(
      "loss.margin_end: expected margins above 0 to move between, got "
      f"{loss.margin} and {loss.margin_end}"
    )


def make_loss(
  config: ConfigDict, *, next_after: int, margin_steps: int
) -> LossFn:
  """The loss of a batch at a step; its numbers are left to be arguments.

  Args:
    config: the whole config.
    next_after: the step from which on `loss.next_miner` mines.
    margin_steps: how many steps the margin takes to `loss.margin_end`.
  """
  margin_factor = make_margin_factor(config, steps=margin_steps)
  if config.mining.name == "offline_triplets":
    return make_explicit_loss(config, margin_factor)
  loss_fn = REFERENCES[config.parallel.references][config.loss.name]
  accepted = inspect.signature(loss_fn).parameters
  own = own_numbers(config)

  def loss_at_step(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    margin: jax.Array,
    step: jax.Array,
    **keywords: Any,
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    if "margin" in accepted:
      keywords["margin"] = margin * margin_factor(step)
    if "miner" in accepted:
      miner = make_miner(config, next_after=next_after)
      keywords["miner"] = miner(step)
    if "soft" in accepted:
      keywords["soft"] = config.loss.soft
    return loss_fn(
      embeddings,
      labels,
      distance=config.loss.distance,
      reduction=config.loss.reduction,
      **{**own, **keywords},
    )

  return loss_at_step


def loss_parameters(config: ConfigDict) -> dict[str, float]:
  """Keywords of the loss that are learned, and where they start."""
  learns = config.loss.name in ("margin", "mined_margin")
  return {"beta": config.loss.beta} if learns else {}


def make_miner(
  config: ConfigDict, *, next_after: int
) -> Callable[[ArrayLike], MinerFn]:
  """The miner of a step."""

  def miner(name: str) -> MinerFn:
    if not config.loss.triplets_per_anchor:
      return MINERS[name]
    return capped(MINERS[name], config.loss.triplets_per_anchor)

  if config.mining.name == "random":
    return lambda step: miner("random")
  if not config.loss.next_miner:
    return lambda step: miner(config.loss.miner)
  return curriculum(
    [miner(config.loss.miner), miner(config.loss.next_miner)], [next_after]
  )


def make_margin_factor(config: ConfigDict, *, steps: int) -> optax.Schedule:
  """The margin of a step, as a multiple of `loss.margin`."""
  start, end = config.loss.margin, config.loss.margin_end
  if start == end:
    return optax.constant_schedule(1.0)
  return MARGIN_SCHEDULES[config.loss.margin_schedule](end / start, steps)


def make_augment(
  config: ConfigDict, *, only: Sequence[str] | None = None
) -> AugmentFn:
  """All augmentations that the config turns on.

  Args:
    config: the whole config.
    only: see `augmentations`.
  """
  return functools.partial(
    augment.augment, chosen=augmentations(config, only=only)
  )


def augmentations(
  config: ConfigDict, *, only: Sequence[str] | None = None
) -> dict[str, dict[str, float]]:
  """The augmentations of a config by name, with their parameters.

  Args:
    config: the whole config.
    only: names of those to apply, to be looked at: with the parameters of the
      config, or with those of `EXAMPLES` where it turns them off.
  """
  chosen = {}
  for name in augment.AUGMENTATIONS if only is None else only:
    values = {
      field: config.augment[field] for field in augment.parameters(name)
    }
    if augment.is_on(name, values):
      chosen[name] = values
    elif only is not None:
      chosen[name] = dict(augment.EXAMPLES[name])
  return chosen


def run_key(config: ConfigDict) -> jax.Array:
  """The base key of all training steps."""
  return jax.random.fold_in(jax.random.key(config.seed), 1)


def _shown(name: str) -> str:
  return name or '""'


def _get(config: ConfigDict, field: str) -> float:
  return functools.reduce(getattr, field.split("."), config)
