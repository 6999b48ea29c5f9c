"""Augmentations on the device, inside the jitted step.

Each picture has its own key, so that what it looks like doesn't depend on how
the batch is divided over devices. Each augmentation folds its name into that
key, so that turning one on leaves the draws of the others.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Mapping

import jax
from jaxtyping import Array, Float, Key

from tripletjax.data.augment_color import color_jitter, random_grey
from tripletjax.data.augment_geometry import (
  identity_affine,
  identity_elastic,
  random_affine,
  random_crop,
  random_elastic,
  random_flip,
)
from tripletjax.data.augment_patches import random_cutout, random_erasing

__all__ = [
  "AUGMENTATIONS",
  "EXAMPLES",
  "OF_IDENTITIES",
  "augment",
  "color_jitter",
  "identity_affine",
  "identity_elastic",
  "is_on",
  "parameters",
  "random_affine",
  "random_crop",
  "random_cutout",
  "random_elastic",
  "random_erasing",
  "random_flip",
  "random_grey",
]

# `(images [B, H, W, C] in [0, 1], keys [B], *, parameters)` to images. In the
# order in which they are applied: moved, coloured, covered.
AUGMENTATIONS: Mapping[str, Callable[..., jax.Array]] = {
  "identity_affine": identity_affine,
  "identity_elastic": identity_elastic,
  "affine": random_affine,
  "elastic": random_elastic,
  "crop": random_crop,
  "flip": random_flip,
  "color": color_jitter,
  "grey": random_grey,
  "erasing": random_erasing,
  "cutout": random_cutout,
}

# Those that take one key for each identity in place of one for each picture.
OF_IDENTITIES = ("identity_affine", "identity_elastic")

# Parameters that show what each one does; no advice for training.
EXAMPLES: Mapping[str, Mapping[str, float]] = {
  "identity_affine": {
    "identity_rotation": 30.0,
    "identity_scale": 0.4,
    "identity_shear": 0.4,
  },
  "identity_elastic": {"identity_elastic": 0.06, "identity_smoothness": 0.2},
  "affine": {
    "rotation": 20.0,
    "scale": 0.2,
    "shear": 0.2,
    "translation": 0.1,
  },
  "elastic": {"elastic": 0.03, "elastic_smoothness": 0.1},
  "crop": {"crop": 4},
  "flip": {"flip": 0.5},
  "color": {
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.6,
    "hue": 0.1,
  },
  "grey": {"grey": 0.5},
  "erasing": {"erasing": 0.8},
  "cutout": {"cutout": 0.4},
}


def augment(
  images: Float[Array, "b h w c"],
  keys: Key[Array, " b"],
  identity_keys: Key[Array, " b"] | None = None,
  *,
  chosen: Mapping[str, Mapping[str, float]],
) -> Float[Array, "b h w c"]:
  """Applies some of `AUGMENTATIONS`, in their order.

  Args:
    images: `[B, H, W, C]` in [0, 1].
    keys: one PRNG key for each picture, `[B]`.
    identity_keys: a key for each picture that is the same for all of its
      identity, for `OF_IDENTITIES`; None takes `keys`.
    chosen: parameters by name of the augmentation.

  Returns:
    Pictures of the same shape, in [0, 1].
  """
  for name, augmentation in AUGMENTATIONS.items():
    if name in chosen:
      own = keys
      if name in OF_IDENTITIES and identity_keys is not None:
        own = identity_keys
      images = augmentation(images, _own_keys(own, name), **chosen[name])
  return images


def parameters(name: str) -> tuple[str, ...]:
  """The parameters of an augmentation.

  >>> parameters("elastic")
  ('elastic', 'elastic_smoothness')
  """
  return tuple(_keyword_only(name))


def is_on(name: str, values: Mapping[str, float]) -> bool:
  """Whether any parameter isn't 0 that turns the augmentation on.

  Those with a default only shape it.

  >>> is_on("elastic", {"elastic": 0.0, "elastic_smoothness": 0.1})
  False
  """
  return any(
    values[parameter]
    for parameter, about in _keyword_only(name).items()
    if about.default is about.empty
  )


def _keyword_only(name: str) -> dict[str, inspect.Parameter]:
  signature = inspect.signature(AUGMENTATIONS[name])
  return {
    parameter: about
    for parameter, about in signature.parameters.items()
    if about.kind is about.KEYWORD_ONLY
  }


def _own_keys(keys: jax.Array, name: str) -> jax.Array:
  # The first one there was takes the key as it is: its runs stay what they are.
  if name == "affine":
    return keys
  number = zlib.crc32(name.encode()) & 0x7FFFFFFF
  return jax.vmap(jax.random.fold_in, (0, None))(keys, number)
