"""Quarter turns that make new classes: a turned character is another one.

The classes are those of the source, not of the sampler and not of the device:
a set of N images of L identities becomes one of 4 N images of 4 L identities,
where image 4 i + q is image i turned by q quarters, of class 4 l + q. So a
batch is P x K as ever, its positives are turned alike, and a picture at two
turns is two examples. Nothing is held four times: a picture is turned when it
is taken, on the host, or on the device where it is held there.

Lake, Salakhutdinov and Tenenbaum's Omniglot is trained so since Vinyals et al.,
"Matching networks for one shot learning", 2016.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tripletjax.data.sources import Source
from tripletjax.errors import UserError

TURNS = 4
_SUFFIXES = ("", " 90°", " 180°", " 270°")


@dataclasses.dataclass(frozen=True, eq=False)
class QuarterTurns:
  """Images and their three turns, counterclockwise, by random access.

  Attributes:
    images: anything that gives a uint8 `[H, W, C]` array for an index.
  """

  images: Any

  def __getitem__(self, index: int) -> np.ndarray:
    return np.rot90(self.images[index // TURNS], index % TURNS)


def with_quarter_turns(source: Source) -> Source:
  """The set in which each identity is four.

  Args:
    source: N images, as high as wide.

  Returns:
    4 N images; class 4 l is identity l as it was, under its name.

  Raises:
    UserError: the images aren't square.

  >>> labels = np.array([0, 1], np.int32)
  >>> images = np.zeros((2, 8, 8, 1), np.uint8)
  >>> turned = with_quarter_turns(Source(images, labels, ("a", "b"), (8, 8, 1)))
  >>> turned.labels.tolist(), turned.label_names[:2]
  ([0, 1, 2, 3, 4, 5, 6, 7], ('a', 'a 90°'))
  """
  height, width, _ = source.image_shape
  if height != width:
    raise UserError(
      "augment.rotation_classes: expected False, since images of "
      f"{height} x {width} have another shape when turned; got True"
    )
  changed: dict[str, Any] = {
    "images": QuarterTurns(source.images),
    "labels": (
      source.labels[:, None] * TURNS + np.arange(TURNS, dtype=np.int32)
    ).reshape(-1),
    "label_names": tuple(
      name + suffix for name in source.label_names for suffix in _SUFFIXES
    ),
  }
  if source.groups is not None:
    changed["groups"] = np.repeat(source.groups, TURNS)
  if len(source.paths):
    changed["paths"] = [path for path in source.paths for _ in range(TURNS)]
  return dataclasses.replace(source, **changed)


def turn(images: np.ndarray, turns: np.ndarray) -> np.ndarray:
  """Turns images `[B, S, S, C]`, each by so many quarters, on the host."""
  turned = images.copy()
  for quarters in range(1, TURNS):
    where = turns == quarters
    turned[where] = np.rot90(images[where], quarters, axes=(1, 2))
  return turned


def turn_on_device(images: jax.Array, turns: jax.Array) -> jax.Array:
  """The same as `turn`, traceable."""
  turned = [jnp.rot90(images, quarters, (1, 2)) for quarters in range(TURNS)]
  where = turns[:, None, None, None]
  return jnp.select([where == quarters for quarters in range(TURNS)], turned)
