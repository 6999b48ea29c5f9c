"""Test-time augmentation: an image is embedded by several views of it.

The mean of the embeddings of an image as it is, and as training would see it,
depends less on how it happens to lie (Krizhevsky et al., 2012, averaged the
answers to ten crops). All images are moved alike, by keys that never change:
what one is embedded as doesn't depend on what it is embedded with.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from ml_collections import ConfigDict

from tripletjax.data.augment import (
  AUGMENTATIONS,
  OF_IDENTITIES,
  augment,
  is_on,
  parameters,
)
from tripletjax.distances import l2_normalize
from tripletjax.errors import UserError

# Images [b, H, W, C] in [0, 1] -> embeddings [b, D].
EmbedImages = Callable[[jax.Array], jax.Array]
ViewsFn = Callable[[EmbedImages], EmbedImages]
# At most: an evaluation takes so many times as long.
MOST = 1000


def make_views(config: ConfigDict) -> ViewsFn | None:
  """Makes of what embeds an image what embeds `evaluation.views` of it.

  The first view is the image as it is, the others are augmented as in training,
  but for what makes another identity of it.

  Args:
    config: of a run; its augmentations and `evaluation.views`.

  Returns:
    A function of the function that embeds; None for one view.

  Raises:
    UserError: there is nothing that views could differ by.
  """
  count = config.evaluation.views
  if count == 1:
    return None
  chosen = _augmentations(config)
  if not chosen:
    raise UserError(
      "evaluation.views: expected 1 where the config augments nothing, got "
      f"{count}"
    )

  def views(embed: EmbedImages) -> EmbedImages:
    def embed_views(images: jax.Array) -> jax.Array:
      def one(number: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(0), number)
        # Not `len`: an exported program's batch has no number.
        keys = jnp.broadcast_to(key, images.shape[:1])
        moved = augment(images, keys, chosen=chosen)
        return embed(jnp.where(number == 0, images, moved))

      mean = lax.map(one, jnp.arange(count)).mean(axis=0)
      return l2_normalize(mean) if config.model.normalize else mean

    return embed_views

  return views


def _augmentations(config: ConfigDict) -> dict[str, dict[str, float]]:
  """Those of a config that leave an identity what it is."""
  chosen = {}
  # A run of before some field came has no such augmentation.
  fields = config.augment if "augment" in config else {}
  for name in AUGMENTATIONS:
    names = parameters(name)
    if name in OF_IDENTITIES or any(field not in fields for field in names):
      continue
    values = {field: fields[field] for field in names}
    for field, value in values.items():
      if not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"augment.{field}: expected a number, got {value!r}")
    if is_on(name, values):
      chosen[name] = values
  return chosen
