"""`digits`: scikit-learn's 1,797 handwritten digits, 8 x 8, as a TFDS set.

Ten identities with many images each, split by image: the closed-set
counterpart of `glyphs`. It ships inside scikit-learn, so nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from tripletjax.data.drawn import DrawnSet


def split_by_image(
  labels: np.ndarray, *, test_every: int = 3, seed: int = 0
) -> np.ndarray:
  """True for the test images: one in `test_every` of each class, drawn.

  >>> split_by_image(np.array([0, 0, 0, 1, 1, 1])).reshape(2, 3).sum(axis=1)
  array([1, 1])
  """
  order = np.random.default_rng(seed).permutation(len(labels))
  order = order[np.argsort(labels[order], kind="stable")]
  starts = np.searchsorted(labels[order], labels[order])
  is_test = np.zeros(len(labels), bool)
  is_test[order] = (np.arange(len(labels)) - starts) % test_every == 0
  return is_test


class Digits(DrawnSet):
  """The TFDS builder; its splits are `train` and `test`."""

  def _info(self) -> tfds.core.DatasetInfo:
    return self.described(
      "The handwritten digits of scikit-learn (UCI optical recognition of "
      "handwritten digits, test part), two thirds train and one third test.",
      side=8,
      texts=("label",),
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    del dl_manager  # the images are part of scikit-learn
    # Its import takes as long as all others together; opening needs none of it.
    from sklearn.datasets import load_digits

    digits = load_digits()
    # 0..16 to 0..255, rounded.
    images = np.round(digits.images * 255 / 16).astype(np.uint8)
    is_test = split_by_image(digits.target)
    return {
      "train": self._generate_examples(images, digits.target, ~is_test),
      "test": self._generate_examples(images, digits.target, is_test),
    }

  def _generate_examples(
    self, images: np.ndarray, labels: np.ndarray, chosen: np.ndarray
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    for index in np.flatnonzero(chosen):
      yield (
        int(index),
        {
          "image": Image.fromarray(images[index]),
          "label": str(labels[index]),
        },
      )
