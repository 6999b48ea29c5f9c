"""The train state: everything that a step changes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training import train_state


class TrainState(train_state.TrainState):
  """Step, parameters and optimizer of flax, and BatchNorm's statistics."""

  batch_stats: Any


def create_state(
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  *,
  image_shape: tuple[int, int, int],
  key: jax.Array,
) -> TrainState:
  """A fresh state for images of one shape, `(H, W, C)`."""

  def create(key: jax.Array) -> TrainState:
    images = jnp.zeros((1, *image_shape))
    variables = model.init(key, images, train=False)
    return TrainState.create(
      apply_fn=model.apply,
      params=variables["params"],
      batch_stats=variables.get("batch_stats", {}),
      tx=optimizer,
    )

  return jax.jit(create)(key)


def count_parameters(state: TrainState) -> int:
  """Number of trained numbers."""
  return sum(x.size for x in jax.tree.leaves(state.params))
