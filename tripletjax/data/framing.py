"""Where a drawing stands on its paper: as it is, or its ink in the middle.

A drawing stands anywhere, large or small, and a network needs many examples to
learn that this means nothing. Moments take it away beforehand, as readers of
digits have done it (Casey, "Moment normalization of handprinted characters",
1970; MNIST's digits are centred by their mass).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

# An image in mode L or RGB -> one of the same mode and size.
FrameFn = Callable[[Image.Image], Image.Image]

# The spread of the ink along an axis, as a share of the side. In Omniglot .18
# to .22 were alike.
SPREAD = 0.22
# Smaller spreads, of a dot or across a straight line, are taken for this.
_LEAST_SPREAD = 0.02
# What is less ink than so much of a full sheet is none.
_LEAST_INK = 1e-4


def by_moments(image: Image.Image, *, dark: bool) -> Image.Image:
  """Moves and scales a drawing so that the moments of its ink are standard.

  The centre of mass comes to the middle, and the spread to `SPREAD` of the
  side: with s the spreads along the axes (root mean square distances from the
  centre) and g = sqrt(mean of s^2), each axis is scaled by
  `SPREAD / sqrt(s g)`, halfway between keeping the aspect and making it square:
  what is drawn slim stays slim, but by less. What moves in from outside is
  paper.

  Args:
    image: in mode L or RGB.
    dark: whether ink is dark and paper white, or the other way round.

  Returns:
    An image of the same mode and size, bilinear; one without ink as it is.
  """
  pixels = np.asarray(image.convert("L"), np.float64) / 255
  ink = 1 - pixels if dark else pixels
  total = ink.sum()
  if total < _LEAST_INK * ink.size:
    return image
  sides = np.array(ink.shape)
  places = [(np.arange(side) + 0.5) / side for side in sides]
  masses = [ink.sum(axis=1) / total, ink.sum(axis=0) / total]
  centers = np.array(
    [mass @ place for mass, place in zip(masses, places, strict=True)]
  )
  found = [
    mass @ (place - center) ** 2
    for mass, place, center in zip(masses, places, centers, strict=True)
  ]
  squares = np.maximum(found, _LEAST_SPREAD**2)
  # sqrt(s g) by the squares of both.
  scales = (squares * squares.mean()) ** 0.25 / SPREAD
  # Pillow asks where a pixel comes from: x = a x' + c, y = e y' + f.
  rows, columns = sides * (centers - scales / 2)
  return image.transform(
    image.size,
    Image.Transform.AFFINE,
    (scales[1], 0, columns, 0, scales[0], rows),
    Image.Resampling.BILINEAR,
    fillcolor=(255 if dark else 0,) * len(image.getbands()),
  )


# `(image, dark=)` to an image.
FRAMES: Mapping[str, Callable[..., Image.Image] | None] = {
  "": None,
  "moments": by_moments,
}


def frame_fn(name: str, *, invert: bool) -> FrameFn | None:
  """What frames an image before it is resized and inverted; None for "".

  Args:
    name: from `FRAMES`.
    invert: whether it will be inverted: its ink is dark then.
  """
  frame = FRAMES[name]
  return None if frame is None else functools.partial(frame, dark=invert)
