"""Test-time augmentation: an image is embedded by several views of it.

The mean of the embeddings of an image as it is, and as training would see it,
depends less on how it happens to lie (Krizhevsky et al., 2012, averaged the
answers to ten crops). All images are moved alike, by keys that never change:
what one is embedded as doesn't depend on what it is embedded with.

One-shot tasks can also be asked of the views themselves, each of which looks
for the other image (`evaluation.view_temperature`, `metrics/viewed.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
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
from tripletjax.keys import quick_key
from tripletjax.metrics import nearest_views
from tripletjax.types import DistanceFn

# Images [b, H, W, C] in [0, 1] -> embeddings [b, D], or [b, 1 + V, D].
EmbedImages = Callable[[jax.Array], jax.Array]
ViewsFn = Callable[[EmbedImages], EmbedImages]
# At most: an evaluation takes so many times as long.
MOST = 1000


def make_views(config: ConfigDict, *, each: bool = False) -> ViewsFn | None:
  """Makes of what embeds an image what embeds `evaluation.views` of it.

  The first view is the image as it is, the others are augmented as in training,
  but for what makes another identity of it.

  Args:
    config: of a run; its augmentations and `evaluation.views`.
    each: give all V of them behind their mean, `[b, 1 + V, D]`.

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
        key = jax.random.fold_in(quick_key(jax.random.key(0)), number)
        # Not `len`: an exported program's batch has no number.
        keys = jnp.broadcast_to(key, images.shape[:1])
        moved = augment(images, keys, chosen=chosen)
        return embed(jnp.where(number == 0, images, moved))

      found = lax.map(one, jnp.arange(count))
      mean = found.mean(axis=0)
      if config.model.normalize:
        mean = l2_normalize(mean)
      if not each:
        return mean
      return jnp.concatenate([mean[None], found]).transpose(1, 0, 2)

    return embed_views

  return views


def make_evaluated_views(config: ConfigDict) -> ViewsFn | None:
  """As `make_views`, each of them where the config's tasks compare them."""
  fields = config.evaluation
  each = fields.view_temperature > 0 and fields.episodes > 0
  return make_views(config, each=each)


def means(embeddings: np.ndarray) -> np.ndarray:
  """`[N, D]`, of embeddings `[N, D]`, or `[N, 1 + V, D]` with all views.

  >>> means(np.zeros((5, 1 + 2, 3))).shape
  (5, 3)
  """
  return embeddings if embeddings.ndim == 2 else embeddings[:, 0]


def compared_views(
  embeddings: np.ndarray, distance: str, temperature: float
) -> tuple[np.ndarray, str | DistanceFn]:
  """What a one-shot task compares, `[N, any]`, and by which distance.

  Args:
    embeddings: `[N, D]`, or `[N, 1 + V, D]` with all views.
    distance: a name from `DISTANCES`.
    temperature: see `nearest_views`; of no effect without views.
  """
  if embeddings.ndim == 2:
    return embeddings, distance
  views = embeddings.shape[1] - 1
  return embeddings.reshape(len(embeddings), -1), nearest_views(
    distance, views=views, temperature=temperature
  )


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
