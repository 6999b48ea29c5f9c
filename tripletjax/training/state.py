"""The train state: everything that a step changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training import train_state

from tripletjax.training.memory import empty_memory

# Where the loss's own parameters stand among those of the network.
LOSS = "loss"


class TrainState(train_state.TrainState):
  """Step, parameters and optimizer of flax, and what it has none of.

  Attributes:
    batch_stats: BatchNorm's statistics.
    average: `params` and `batch_stats` averaged over the steps, by which the
      network is evaluated; empty where they are as they are.
    memory: embeddings of earlier batches, a `Memory`; else empty.
  """

  batch_stats: Any
  average: Any = flax.struct.field(default_factory=dict)
  memory: Any = flax.struct.field(default_factory=dict)


def create_state(
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  *,
  image_shape: tuple[int, int, int],
  key: jax.Array,
  loss_parameters: Mapping[str, float] | None = None,
  averaged: bool = False,
  memory_shape: tuple[int, int] = (0, 0),
) -> TrainState:
  """A fresh state.

  Args:
    model: the embedding network.
    optimizer: of all parameters.
    image_shape: `(H, W, C)`.
    key: a PRNG key, to initialise by.
    loss_parameters: keywords of the loss that are learned too, and where they
      start; they stand beside the network's parameters, under `LOSS`.
    averaged: whether the state has averaged weights.
    memory_shape: embeddings that are remembered, and their dimension.
  """
  create = state_maker(
    model,
    optimizer,
    image_shape=image_shape,
    averaged=averaged,
    memory_shape=memory_shape,
  )
  return create(key, dict(loss_parameters or {}))


def state_maker(
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  *,
  image_shape: tuple[int, int, int],
  averaged: bool = False,
  memory_shape: tuple[int, int] = (0, 0),
) -> Callable[[jax.Array, dict[str, float]], TrainState]:
  """`(key, loss_parameters) -> state`, as `create_state`; compiles once."""

  @jax.jit
  def create(
    key: jax.Array, loss_parameters: dict[str, jax.Array]
  ) -> TrainState:
    images = jnp.zeros((1, *image_shape))
    variables = model.init(key, images, train=False)
    params = variables["params"]
    if loss_parameters:
      params = {**params, LOSS: loss_parameters}
    batch_stats = variables.get("batch_stats", {})
    start = {"params": params, "batch_stats": batch_stats}
    return TrainState.create(
      apply_fn=model.apply,
      params=params,
      batch_stats=batch_stats,
      average=start if averaged else {},
      memory=empty_memory(*memory_shape) if memory_shape[0] else {},
      tx=optimizer,
    )

  def make(key: jax.Array, loss_parameters: dict[str, float]) -> TrainState:
    learned = {name: jnp.float32(x) for name, x in loss_parameters.items()}
    return create(key, learned)

  return make


def with_average(state: TrainState, decay: float) -> TrainState:
  """The state after a step, with what was found averaged in.

  After step t the average is that of the steps i = 1 ... t by the weights
  `decay^(t - i)`, divided by their sum, so that nothing is left of the values
  from before the first step (as Adam corrects its moments; Kingma & Ba, 2015).

  Args:
    state: the state after a step.
    decay: in [0, 1); the average looks back over about `1 / (1 - decay)` steps.
  """
  if not state.average:
    return state
  # The newest value's share, (1 - decay) / (1 - decay^t), safe for a decay
  # near 1.
  rate = math.log(decay) if decay else -math.inf
  age = jnp.asarray(state.step, jnp.float32)
  share = jnp.float32(math.expm1(rate)) / jnp.expm1(age * jnp.float32(rate))
  average = jax.tree.map(
    lambda old, new: old + share * (new - old),
    state.average,
    {"params": state.params, "batch_stats": state.batch_stats},
  )
  return state.replace(average=average)


def evaluated(state: TrainState) -> dict[str, Any]:
  """The variables by which a network is evaluated: the averaged, if any."""
  return state.average or {
    "params": state.params,
    "batch_stats": state.batch_stats,
  }


def count_parameters(state: TrainState) -> int:
  """Number of trained numbers."""
  return sum(x.size for x in jax.tree.leaves(state.params))
