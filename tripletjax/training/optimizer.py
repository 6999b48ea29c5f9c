"""Optimizers and learning-rate schedules by name, all of them optax's.

To add one: a line in `OPTIMIZERS` or `SCHEDULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from ml_collections import ConfigDict

from tripletjax.errors import UserError
from tripletjax.training.groups import check_pattern, grouped, parse_rates

# The learning rate of an update, the fields of `config.optimizer` -> optimizer.
MakeFn = Callable[[optax.Schedule, Any], optax.GradientTransformation]


def _adam(make: Callable[..., optax.GradientTransformation]) -> MakeFn:
  """Of Adam's family, with a weight decay that the gradient's scale leaves."""
  return lambda rate, fields: make(
    rate,
    b1=fields.momentum,
    b2=fields.beta2,
    eps=fields.epsilon,
    weight_decay=fields.weight_decay,
  )


def _penalised(make: MakeFn) -> MakeFn:
  """With the weight decay as part of the gradient: an L2 penalty."""
  return lambda rate, fields: optax.chain(
    optax.add_decayed_weights(fields.weight_decay), make(rate, fields)
  )


# Loshchilov & Hutter (2019), Dozat (2016), You et al. (2020), Chen et al.
# (2023), You et al. (2017); Kingma & Ba (2015), Duchi et al. (2011), Hinton.
# FaceNet used SGD with AdaGrad. `momentum` is the β1 of Adam's family.
OPTIMIZERS: Mapping[str, MakeFn] = {
  "adamw": _adam(optax.adamw),
  "nadamw": _adam(optax.nadamw),
  "lamb": _adam(optax.lamb),
  "lion": lambda rate, fields: optax.lion(
    rate,
    b1=fields.momentum,
    b2=fields.beta2,
    weight_decay=fields.weight_decay,
  ),
  "lars": lambda rate, fields: optax.lars(
    rate, weight_decay=fields.weight_decay, momentum=fields.momentum
  ),
  "adam": _penalised(
    lambda rate, fields: optax.adam(
      rate, b1=fields.momentum, b2=fields.beta2, eps=fields.epsilon
    )
  ),
  "sgd": _penalised(
    lambda rate, fields: optax.sgd(rate, momentum=fields.momentum)
  ),
  "nesterov": _penalised(
    lambda rate, fields: optax.sgd(
      rate, momentum=fields.momentum, nesterov=True
    )
  ),
  "adagrad": _penalised(
    lambda rate, fields: optax.adagrad(rate, eps=fields.epsilon)
  ),
  "rmsprop": _penalised(
    lambda rate, fields: optax.rmsprop(
      rate, eps=fields.epsilon, momentum=fields.momentum
    )
  ),
}


def _staircase(end: float, drops: int, steps: int) -> optax.Schedule:
  """Stairs of one length, each lower than the last by the same factor."""
  at = [round(steps * stair / (drops + 1)) for stair in range(1, drops + 1)]
  factor = end ** (1 / drops)
  # Of few steps several drops may come at the same one.
  return optax.piecewise_constant_schedule(
    1.0, {step: factor ** at.count(step) for step in at}
  )


# `(fields, steps)` to the decay of the learning rate from 1 to the share
# `fields.end` in so many steps; before is the warm-up, and `decay_after`.
SCHEDULES: Mapping[str, Callable[[Any, int], optax.Schedule]] = {
  "cosine": lambda fields, steps: optax.cosine_decay_schedule(
    1.0, steps, alpha=fields.end
  ),
  "constant": lambda fields, steps: optax.constant_schedule(1.0),
  "linear": lambda fields, steps: optax.linear_schedule(1.0, fields.end, steps),
  "exponential": lambda fields, steps: optax.exponential_decay(
    1.0, steps, fields.end, end_value=fields.end
  ),
  "staircase": lambda fields, steps: _staircase(
    fields.end, fields.drops, steps
  ),
}


def make_optimizer(
  config: ConfigDict,
  *,
  total_steps: int,
  warmup_steps: int,
  decay_start: int = 0,
  learning_rate: ArrayLike | None = None,
  weight_decay: ArrayLike | None = None,
) -> optax.GradientTransformation:
  """The optimizer of a config.

  The gradient is the mean over `optimizer.accumulate` batches, clipped to a
  norm of at most `optimizer.clip`, and then the optimizer's, by the groups of
  `optimizer.freeze` and `optimizer.rates`.

  Accumulating isn't a larger batch: each of the batches is mined by itself, so
  that no triplet goes across two of them, and the mean of means weighs a
  triplet by its batch. The larger batch is `batch.chunk` (`chunks.py`).

  Args:
    config: the whole config.
    total_steps: after which the learning rate has come to its end.
    warmup_steps: in which it rises from 0.
    decay_start: the step up to which it stays at its peak.
    learning_rate: in place of the config's; may be a tracer.
    weight_decay: likewise.
  """
  fields = SimpleNamespace(**config.optimizer)
  if weight_decay is not None:
    fields.weight_decay = weight_decay
  every = fields.accumulate
  of_step = make_schedule(
    config,
    total_steps=total_steps,
    warmup_steps=warmup_steps,
    decay_start=decay_start,
    learning_rate=learning_rate,
  )

  def of_update(count: ArrayLike) -> jax.Array:
    # The optimizer counts its updates, of which there is one in `every` steps.
    return of_step(count * every)

  optimizer = OPTIMIZERS[fields.name](
    of_step if every == 1 else of_update, fields
  )
  optimizer = grouped(optimizer, fields)
  if fields.clip:
    optimizer = optax.chain(optax.clip_by_global_norm(fields.clip), optimizer)
  if every > 1:
    steps = optax.MultiSteps(optimizer, every_k_schedule=every)
    optimizer = steps.gradient_transformation()
  return optimizer


def make_schedule(
  config: ConfigDict,
  *,
  total_steps: int,
  warmup_steps: int,
  decay_start: int = 0,
  learning_rate: ArrayLike | None = None,
) -> optax.Schedule:
  """The learning rate of a step, from 0."""
  fields = config.optimizer
  peak = fields.learning_rate if learning_rate is None else learning_rate
  start = max(warmup_steps, decay_start)
  parts = [
    optax.linear_schedule(0.0, 1.0, warmup_steps),
    optax.constant_schedule(1.0),
    SCHEDULES[fields.schedule](fields, max(total_steps - start, 1)),
  ]
  bounds = [warmup_steps, start]
  if start == warmup_steps:
    del parts[1], bounds[1]
  # A tracer may be a factor, but no argument of optax's schedules.
  share = optax.join_schedules(parts, bounds)
  return lambda step: jnp.asarray(peak * share(step))


def check_optimizer(fields: ConfigDict) -> None:
  """Raises a `UserError` that names the first field that can't be right."""
  check_pattern("optimizer.freeze", fields.freeze)
  parse_rates(fields.rates)
  if fields.accumulate < 1:
    raise UserError(
      "optimizer.accumulate: expected 1 batch or more for an update, got "
      f"{fields.accumulate}"
    )
  for name in ("momentum", "beta2", "ema"):
    if not 0 <= fields[name] < 1:
      raise UserError(
        f"optimizer.{name}: expected 0 or more and less than 1, got "
        f"{fields[name]}"
      )
  if fields.schedule in ("exponential", "staircase") and not fields.end > 0:
    raise UserError(
      "optimizer.end: expected more than 0, to which equal factors can come, "
      f"got {fields.end}"
    )
  if fields.drops < 1:
    raise UserError(
      f"optimizer.drops: expected 1 drop or more, got {fields.drops}"
    )
