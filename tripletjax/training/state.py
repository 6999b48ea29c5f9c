"""The train state: everything that a step changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training import train_state

# Where the loss's own parameters stand among those of the network.
LOSS = "loss"


class TrainState(train_state.TrainState):
  """Step, parameters and optimizer of flax, and BatchNorm's statistics."""

  batch_stats: Any


def create_state(
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  *,
  image_shape: tuple[int, int, int],
  key: jax.Array,
  loss_parameters: Mapping[str, float] | None = None,
) -> TrainState:
  """A fresh state.

  Args:
    model: the embedding network.
    optimizer: of all parameters.
    image_shape: `(H, W, C)`.
    key: a PRNG key, to initialise by.
    loss_parameters: keywords of the loss that are learned too, and where they
      start; they stand beside the network's parameters, under `LOSS`.
  """

  def create(key: jax.Array) -> TrainState:
    images = jnp.zeros((1, *image_shape))
    variables = model.init(key, images, train=False)
    params = variables["params"]
    if loss_parameters:
      learned = {name: jnp.float32(x) for name, x in loss_parameters.items()}
      params = {**params, LOSS: learned}
    return TrainState.create(
      apply_fn=model.apply,
      params=params,
      batch_stats=variables.get("batch_stats", {}),
      tx=optimizer,
    )

  return jax.jit(create)(key)


def count_parameters(state: TrainState) -> int:
  """Number of trained numbers."""
  return sum(x.size for x in jax.tree.leaves(state.params))
