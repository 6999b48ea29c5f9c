"""The batches that are measured, by NumPy: the peers get the same."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tripletjax.errors import UserError

DIMENSION = 128


class Size(NamedTuple):
  """A batch of as many images of each identity."""

  identities: int
  images: int

  @property
  def batch(self) -> int:
    """How many embeddings there are."""
    return self.identities * self.images

  @property
  def name(self) -> str:
    """32x8, as it is typed."""
    return f"{self.identities}x{self.images}"


# The sizes that there are limits for.
SIZES = {
  size.batch: size
  for size in (
    Size(32, 8),
    Size(64, 16),
    Size(45, 40),
    Size(128, 32),
    Size(256, 32),
  )
}


def parse_size(text: str) -> Size:
  """A size from what was typed: 32x8, or a batch of `SIZES`.

  Raises:
    UserError: it is neither.

  >>> parse_size("1800"), parse_size("4x3")
  (Size(identities=45, images=40), Size(identities=4, images=3))
  """
  identities, _, images = text.strip().partition("x")
  if identities.isdecimal() and images.isdecimal():
    size = Size(int(identities), int(images))
    if min(size) >= 2:
      return size
  elif text.strip().isdecimal() and int(text) in SIZES:
    return SIZES[int(text)]
  known = ", ".join(map(str, SIZES))
  raise UserError(
    f"--sizes: expected identities x images, at least 2x2, such as 32x8, or "
    f"one of {known}; got {text!r}"
  )


def balanced_labels(size: Size) -> np.ndarray:
  """Labels of a balanced batch in random order, int32."""
  return _shuffled(np.repeat(np.arange(size.identities), size.images))


def long_tailed_labels(size: Size) -> np.ndarray:
  """Labels with as many images, and as many pairs, as the balanced batch.

  The size of an identity is inverse to its rank (Zipf's law), at least 1: a few
  identities have most of the pairs, and most have one image.
  """
  target = positive_pairs(balanced_labels(size))
  low, high = 1.0, float(size.batch)
  for _ in range(50):
    middle = (low + high) / 2
    if _pairs(_zipf(size.batch, middle)) <= target:
      low = middle
    else:
      high = middle
  counts = list(_zipf(size.batch, low))
  # The steps of the law are coarse: single images join others for the rest.
  while counts[-2:] == [1, 1] and (missing := target - _pairs(counts)) > 0:
    counts.pop()
    # One more image adds 2 pairs for each that is there.
    joined = next(i for i, count in enumerate(counts) if 2 * count <= missing)
    counts[joined] += 1
  return _shuffled(np.repeat(np.arange(len(counts)), counts))


def positive_pairs(labels: np.ndarray) -> int:
  """Number of ordered pairs of two images of an identity.

  >>> positive_pairs(np.array([0, 0, 0, 1]))
  6
  """
  return _pairs(np.unique(labels, return_counts=True)[1])


def make_embeddings(labels: np.ndarray, *, seed: int = 0) -> np.ndarray:
  """Embeddings on the unit sphere around a centre for each identity, float32.

  The noise is wide enough for negatives that are nearer than a positive, within
  a margin of 0.2 beyond it, and farther (5, 16 and 79 % of the triplets).
  """
  rng = np.random.default_rng(seed)
  centres = rng.normal(size=(labels.max() + 1, DIMENSION))
  noise = rng.normal(size=(len(labels), DIMENSION))
  embeddings = centres[labels] + 2 * noise
  embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
  return embeddings.astype(np.float32)


def _zipf(batch: int, largest: float) -> np.ndarray:
  counts = np.maximum((largest / np.arange(1, batch + 1)).astype(int), 1)
  before = np.cumsum(counts) - counts
  return np.minimum(counts, batch - before)[before < batch]


def _pairs(counts: np.ndarray | list[int]) -> int:
  counts = np.asarray(counts)
  return int(np.sum(counts * (counts - 1)))


def _shuffled(labels: np.ndarray) -> np.ndarray:
  return np.random.default_rng(0).permutation(labels).astype(np.int32)
