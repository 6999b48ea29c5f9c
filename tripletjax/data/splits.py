"""Dividing a data set into a part to train on and a part to ask about.

Pure functions of labels or groups to example ids, ascending: the same on every
machine and in every process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tripletjax.errors import UserError


class Parts(NamedTuple):
  """Example ids of the two parts, int64, ascending, disjoint.

  Attributes:
    train: to train on.
    eval: to ask about; it is what was held out.
  """

  train: np.ndarray
  eval: np.ndarray


def hold_out(
  values: np.ndarray,
  *,
  fraction: float = 0.2,
  seed: int = 0,
  folds: int = 0,
  fold: int = 0,
) -> Parts:
  """Holds out whole identities, or whole groups.

  Args:
    values: identity or group of each example, integer `[N]`.
    fraction: share of the different values to hold out; at least one is, and
      at least one is not.
    seed: which ones.
    folds: above 0, the values are divided into so many folds whose sizes
      differ by at most one, and `fraction` isn't used.
    fold: the fold that is held out, from 0.

  Returns:
    The parts; no value is in both.

  Raises:
    UserError: there are too few values, or the fold doesn't exist.

  >>> hold_out(np.array([7, 7, 8, 9, 9]), fraction=0.3, seed=0).train.tolist()
  [0, 1, 2]
  """
  present = np.unique(values)
  chosen = present[_chosen(len(present), fraction, seed, folds, fold)]
  return _divide(np.isin(values, chosen))


def hold_out_images(
  labels: np.ndarray,
  *,
  fraction: float = 0.2,
  seed: int = 0,
  folds: int = 0,
  fold: int = 0,
) -> Parts:
  """Holds out images of each identity, for closed sets.

  An identity with two images or more is in both parts; one with a single image
  is trained on. With folds, an identity with fewer images than folds is held
  out in some folds only.

  Args:
    labels: identity of each example, integer `[N]`.
    fraction: share of the images of each identity, rounded.
    seed: which ones.
    folds: as in `hold_out`.
    fold: as in `hold_out`.

  Raises:
    UserError: no identity has two images, or the fold doesn't exist.
  """
  _check(fraction, folds, fold)
  place, counts = _places(labels, seed)
  size = counts[_index_of(labels)]
  if (size < 2).all():
    raise UserError(
      "data.split_by: 'image' needs an identity with two images or more"
    )
  if folds:
    held = (place % folds == fold) & (size > 1)
  else:
    wanted = np.clip(np.rint(fraction * size), 1, size - 1)
    held = place < wanted
  return _divide(held)


def hold_out_names(
  names: Sequence[str],
  *,
  labels: np.ndarray,
  label_names: Sequence[str],
  groups: np.ndarray | None = None,
  group_names: Sequence[str] = (),
  field: str = "data.split_names",
) -> Parts:
  """Holds out the identities, or whole groups, that are named.

  Args:
    names: identities or groups.
    labels: identity of each example, `[N]`, an index into `label_names`.
    label_names: the identities.
    groups: group of each example, `[N]`, an index into `group_names`.
    group_names: the groups.
    field: what a message calls the list.

  Raises:
    UserError: a name doesn't exist, or one of the parts is empty.
  """
  held = np.zeros(len(labels), bool)
  label_of = {name: index for index, name in enumerate(label_names)}
  group_of = {name: index for index, name in enumerate(group_names)}
  wanted_groups = []
  wanted = []
  for name in names:
    if name in label_of:
      wanted.append(label_of[name])
    elif name in group_of and groups is not None:
      wanted_groups.append(group_of[name])
    else:
      known = ", ".join([*group_names, *label_names][:5])
      raise UserError(
        f"{field}: {name!r} is no identity and no group; there are {known}, ..."
      )
  held |= np.isin(labels, wanted)
  if groups is not None:
    held |= np.isin(groups, wanted_groups)
  if held.all() or not held.any():
    part = "train on" if held.all() else "evaluate"
    raise UserError(f"{field}: nothing is left to {part}")
  return _divide(held)


def gallery_and_query(
  labels: np.ndarray, *, images: int = 1, seed: int = 0, field: str = "gallery"
) -> tuple[np.ndarray, np.ndarray]:
  """Enrols some images of each identity; asks with all others.

  Args:
    labels: identity of each example, integer `[N]`.
    images: how many of each are enrolled; an identity with as many or fewer is
      in the gallery only.
    seed: which ones.
    field: what a message calls `images`.

  Returns:
    Example ids of the gallery and of the queries, ascending.

  Raises:
    UserError: no image is left to ask with.
  """
  if images < 1:
    raise UserError(f"{field}: expected at least 1 image each, got {images}")
  place, _ = _places(labels, seed)
  if not (place >= images).any():
    raise UserError(
      f"{field}: no identity has more than {images} images, so that none is "
      "left to ask with"
    )
  return np.flatnonzero(place < images), np.flatnonzero(place >= images)


def _index_of(labels: np.ndarray) -> np.ndarray:
  """Each example's position among the different labels, `[N]`."""
  return np.unique(labels, return_inverse=True)[1].reshape(-1)


def _places(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Each example's place in a shuffle of its identity; identities' sizes."""
  index = _index_of(labels)
  shuffled = np.random.default_rng(seed).permutation(len(labels))
  order = shuffled[np.argsort(index[shuffled], kind="stable")]
  counts = np.bincount(index)
  starts = np.cumsum(counts) - counts
  place = np.empty(len(labels), np.int64)
  place[order] = np.arange(len(labels)) - starts[index[order]]
  return place, counts


def _chosen(
  count: int, fraction: float, seed: int, folds: int, fold: int
) -> np.ndarray:
  _check(fraction, folds, fold)
  if count < max(2, folds):
    raise UserError(
      f"data.split_by: expected at least {max(2, folds)} to divide, got {count}"
    )
  order = np.random.default_rng(seed).permutation(count)
  if folds:
    return order[fold::folds]
  return order[: int(np.clip(np.rint(fraction * count), 1, count - 1))]


def _check(fraction: float, folds: int, fold: int) -> None:
  if folds == 1 or folds < 0:
    raise UserError(f"data.split_folds: expected 0, or 2 or more, got {folds}")
  if folds and not 0 <= fold < folds:
    raise UserError(
      f"data.split_fold: expected 0 to {folds - 1}, the fold to hold out, got "
      f"{fold}"
    )
  if not folds and not 0 < fraction < 1:
    raise UserError(
      f"data.split_fraction: expected between 0 and 1, got {fraction}"
    )


def _divide(held: np.ndarray) -> Parts:
  return Parts(np.flatnonzero(~held), np.flatnonzero(held))
