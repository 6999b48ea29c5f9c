"""What can be asked of a sampler, and what its messages say."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tripletjax.errors import UserError

# Weight of an identity by the number of its images; None: each once an epoch.
WEIGHTS: Mapping[str, Callable[[np.ndarray], np.ndarray] | None] = {
  "uniform": None,
  "images": lambda counts: counts.astype(np.float64),
  "sqrt": lambda counts: np.sqrt(counts.astype(np.float64)),
}
WITHIN = ("", "group")


def check_sampling(*, within: str, weights: str) -> None:
  """Raises a `UserError` that names the field that can't be right."""
  if within not in WITHIN:
    raise UserError(f'batch.within: expected "" or "group", got {within!r}')
  if weights not in WEIGHTS:
    raise UserError(
      f"batch.weights: expected one of {', '.join(WEIGHTS)}, got {weights!r}"
    )


def check_counts(
  identities: int, images: int, seed: int, counts: np.ndarray
) -> None:
  """Raises a `UserError` unless P x K fits the usable identities' counts."""
  if identities < 2:
    raise UserError(
      f"batch.identities: expected at least 2, got {identities}; an anchor "
      "needs a negative"
    )
  if images < 2:
    raise UserError(
      f"batch.images: expected at least 2, got {images}; an anchor needs a "
      "positive"
    )
  if identities > len(counts):
    raise UserError(
      f"batch.identities: expected at most {len(counts)}, the identities with "
      f"two images or more, got {identities}"
    )
  if images > counts.max():
    raise UserError(
      f"batch.images: expected at most {counts.max()}, the images of the "
      f"largest identity, got {images}"
    )
  if identities * images > counts.sum():
    raise UserError(
      f"batch.identities x batch.images: expected at most {counts.sum()}, the "
      f"images of all these identities, got {identities} x {images} = "
      f"{identities * images}"
    )
  if seed < 0:
    raise UserError(f"seed: expected 0 or more, got {seed}")
