"""Who took, or drew, each image: as its path says."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from tripletjax.errors import UserError


def read_cameras(
  paths: Sequence[str], pattern: str, *, field: str
) -> np.ndarray | None:
  r"""The camera of each image: integer, `[N]`.

  Args:
    paths: of the images.
    pattern: a regular expression with one group, such as `_c(\d)` for
      Market-1501's `0002_c1s1_000451_03.jpg`; "" where cameras don't count.
    field: what a message calls the pattern.

  Returns:
    An index into the cameras, sorted; None without a pattern.

  Raises:
    UserError: it is no such expression, or a path doesn't match.

  >>> paths = ["a_c1s1.jpg", "a_c3s1.jpg", "b_c1s2.jpg"]
  >>> read_cameras(paths, r"_c(\d)", field="--cameras")
  array([0, 1, 0])
  """
  if not pattern:
    return None
  try:
    compiled = re.compile(pattern)
  except re.error as error:
    raise UserError(f"{field}: {pattern!r}: {error}") from error
  if compiled.groups != 1:
    raise UserError(
      f"{field}: expected an expression with one group, such as '_c(\\d)', "
      f"got {pattern!r}"
    )
  if not len(paths):
    raise UserError(
      f"{field}: this data set doesn't say the names of its files; prepare it "
      "from a folder of images"
    )
  found = []
  for path in paths:
    match = compiled.search(path)
    if not match:
      raise UserError(f"{field}: {pattern!r} isn't found in {path}")
    found.append(match[1])
  return np.unique(found, return_inverse=True)[1].reshape(-1)
