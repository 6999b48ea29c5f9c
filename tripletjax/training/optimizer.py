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


def _then(decay: optax.Schedule, peak: float, warmup: int) -> optax.Schedule:
  """A linear warm-up, then a schedule of the steps after it."""
  rising = optax.linear_schedule(0.0, peak, warmup)
  return optax.join_schedules([rising, decay], [warmup])


# `(peak, end, warmup, total)` to the learning rate of a step: from 0 up to the
# peak in `warmup` steps, and to the end in those that are left of `total`.
SCHEDULES: Mapping[str, Callable[..., optax.Schedule]] = {
  "cosine": lambda peak, end, warmup, total: optax.warmup_cosine_decay_schedule(
    init_value=0.0,
    peak_value=peak,
    warmup_steps=warmup,
    decay_steps=max(total, warmup + 1),
    end_value=end,
  ),
  "constant": lambda peak, end, warmup, total: _then(
    optax.constant_schedule(peak), peak, warmup
  ),
  "linear": lambda peak, end, warmup, total: _then(
    optax.linear_schedule(peak, end, max(total - warmup, 1)), peak, warmup
  ),
  "exponential": lambda peak, end, warmup, total: _then(
    optax.exponential_decay(
      peak, max(total - warmup, 1), end / peak, end_value=end
    ),
    peak,
    warmup,
  ),
}


def make_optimizer(
  config: ConfigDict,
  *,
  total_steps: int,
  warmup_steps: int,
  learning_rate: ArrayLike | None = None,
  weight_decay: ArrayLike | None = None,
) -> optax.GradientTransformation:
  """The optimizer of a config.

  The gradient is the mean over `optimizer.accumulate` batches, clipped to a
  norm of at most `optimizer.clip`, and then the optimizer's.

  Accumulating isn't a larger batch: each of the batches is mined by itself, so
  that no triplet goes across two of them, and the mean of means weighs a
  triplet by its batch. The larger batch is `batch.chunk` (`chunks.py`).

  Args:
    config: the whole config.
    total_steps: after which the learning rate has come to its end.
    warmup_steps: in which it rises from 0.
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
    learning_rate=learning_rate,
  )

  def of_update(count: ArrayLike) -> jax.Array:
    # The optimizer counts its updates, of which there is one in `every` steps.
    return of_step(count * every)

  optimizer = OPTIMIZERS[fields.name](
    of_step if every == 1 else of_update, fields
  )
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
  learning_rate: ArrayLike | None = None,
) -> optax.Schedule:
  """The learning rate of a step, from 0."""
  fields = config.optimizer
  peak = fields.learning_rate if learning_rate is None else learning_rate
  # A tracer may be a factor, but no argument of optax's schedules.
  share = SCHEDULES[fields.schedule](1.0, fields.end, warmup_steps, total_steps)
  return lambda step: jnp.asarray(peak * share(step))


def check_optimizer(fields: ConfigDict) -> None:
  """Raises a `UserError` that names the first field that can't be right."""
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
  if fields.schedule == "exponential" and not fields.end > 0:
    raise UserError(
      "optimizer.end: expected more than 0, to which an exponential decay can "
      f"come, got {fields.end}"
    )
