"""What the sets that are drawn here, as TFDS's builders, have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds


class DrawnSet(tfds.core.GeneratorBasedBuilder):
  """A set of grey images that is made, not fetched."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First release."}
  # Nothing is fetched: without this TFDS looks for a file of checksums, by way
  # of a package that it doesn't install.
  url_infos: ClassVar[dict[str, Any]] = {}

  def described(
    self, description: str, *, side: int, texts: Sequence[str]
  ) -> tfds.core.DatasetInfo:
    """What TFDS stores of the set.

    Args:
      description: in a sentence or two.
      side: of the images, in pixels.
      texts: names of the features beside `image`, all of them text.
    """
    image = tfds.features.Image(
      shape=(side, side, 1), dtype=np.uint8, encoding_format="png"
    )
    return tfds.core.DatasetInfo(
      builder=self,
      description=description,
      features=tfds.features.FeaturesDict(
        {"image": image} | {name: tfds.features.Text() for name in texts}
      ),
      supervised_keys=None,
    )
