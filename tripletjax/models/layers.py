"""What the networks share: normalisation, dropout by example, number types."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

# What the network computes in; its parameters are always float32.
DTYPES: Mapping[str, DTypeLike] = {
  "float32": jnp.float32,
  "bfloat16": jnp.bfloat16,
}

# Channels of one group of GroupNorm, where the width allows: 16, by which Wu &
# He (2018) divide as well as by 32 groups, also suits narrow networks.
GROUP = 16


def normalized(
  x: jax.Array,
  norm: str,
  *,
  train: bool,
  axis_name: str | None,
  epsilon: float = 1e-5,
) -> jax.Array:
  """`x` by a name from `NORMS`; in float32, of the type of `x`."""
  wide = x.astype(jnp.float32)
  norm_fn = NORMS[norm]
  return norm_fn(
    wide, train=train, axis_name=axis_name, epsilon=epsilon
  ).astype(x.dtype)


def batch_norm(
  x: jax.Array, *, train: bool, axis_name: str | None, epsilon: float
) -> jax.Array:
  """BatchNorm over the batch of all devices (Ioffe & Szegedy, 2015).

  In training an image's embedding depends on its whole batch, so that the batch
  can't be embedded in chunks.
  """
  return nn.BatchNorm(
    use_running_average=not train,
    momentum=0.9,
    epsilon=epsilon,
    axis_name=axis_name,
  )(x)


def group_norm(
  x: jax.Array, *, train: bool, axis_name: str | None, epsilon: float
) -> jax.Array:
  """GroupNorm of each image by itself (Wu & He, 2018); no running statistics.

  Groups of 16 channels; of 8 or 4 where 16 doesn't divide the width, and of all
  channels where these don't either.
  """
  del train, axis_name, epsilon
  size = math.gcd(x.shape[-1], GROUP)
  if size < 4:
    # A group of one value would be normalised to 0.
    size = x.shape[-1]
  return nn.GroupNorm(num_groups=None, group_size=size)(x)


NORMS: Mapping[str, Callable[..., jax.Array]] = {
  "batch": batch_norm,
  "group": group_norm,
}


def example_dropout(
  x: Float[Array, "b d"], rate: float, keys: Key[Array, " b"] | None
) -> Float[Array, "b d"]:
  """Dropout (Srivastava et al., 2014) by a key of each example.

  What is dropped doesn't depend on how a batch is divided over devices or in
  chunks, and is the same again when a chunk is run again.

  Args:
    x: features.
    rate: probability that a feature is dropped; the others are divided by
      `1 - rate`.
    keys: a PRNG key for each example; None drops nothing, to evaluate.

  Returns:
    Features of the same shape.
  """
  if rate == 0 or keys is None:
    return x
  kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x.shape[1:]))(
    keys
  )
  return jnp.where(kept, x / (1 - rate), 0)
