"""Weights fitted into a network: all of them, or a list of what differs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from tripletjax.errors import UserError, printable
from tripletjax.pretrained.names import NEVER, TORCH_NAMES, torch_name
from tripletjax.pretrained.places import Weights

# Entries of a list of differences that are shown.
SHOWN = 8
# A table of positions: the class token's, and one for each patch.
POSITIONS = "pos_embed"

Shape = tuple[int, ...]


class Fitted(NamedTuple):
  """Weights as a network has them.

  Attributes:
    arrays: float32, by path, of the shapes of the network.
    fresh: the paths that the pattern covers, which stay as they are.
    place: where they are from, for people.
  """

  arrays: dict[str, np.ndarray]
  fresh: tuple[str, ...]
  place: str


def fit(
  weights: Weights,
  shapes: Mapping[str, Shape],
  *,
  network: str,
  ignore: str,
  grid: tuple[int, int] = (0, 0),
) -> Fitted:
  """Weights by the paths of a network.

  Args:
    weights: as they were read.
    shapes: of all parameters and statistics of the network, by path.
    network: its name in `MODELS`.
    ignore: a regular expression; what it is found in, by our path or the name
      in the file, isn't taken and needn't be there. "" covers nothing.
    grid: rows and columns of patches, where there are position embeddings.

  Raises:
    UserError: they are of another network (the message lists up to `SHOWN`
      names and shapes: `-` what the network has and the weights lack, `+` what
      they have and the network lacks), or aren't finite.
  """
  names = {path: path for path in shapes}
  if not weights.is_run:
    if network not in TORCH_NAMES:
      raise UserError(
        f"{weights.place} is of PyTorch, which has no {network}; expected the "
        f"folder of a run, or a network of {', '.join(TORCH_NAMES)}"
      )
    names = {path: torch_name(path, TORCH_NAMES[network]) for path in shapes}

  def covered(*found: str) -> bool:
    return bool(ignore) and any(re.search(ignore, name) for name in found)

  wanted = {p: n for p, n in names.items() if not covered(p, n)}
  lacking, surplus = [], []
  arrays = {}
  for path, name in wanted.items():
    held = weights.arrays.get(name)
    array = None if held is None else _turned(held, shapes[path], weights, grid)
    if array is None:
      lacking.append((name, shapes[path]))
    else:
      arrays[path] = array
    if array is None and held is not None:
      surplus.append((name, held.shape))
  known = set(names.values())
  for name, held in weights.arrays.items():
    beside = NEVER.search(name) or (weights.is_run and name[:5] == "loss/")
    if name not in known and not beside and not covered(name):
      surplus.append((name, held.shape))
  if lacking or surplus:
    raise UserError(
      f"{weights.place} is of another network than {network}: "
      f"{_listed(lacking, surplus)}; model.pretrained_ignore, a regular "
      "expression, leaves names out"
    )
  if not arrays:
    raise UserError(
      f"{weights.place}: model.pretrained_ignore leaves out all of it"
    )
  for path, array in arrays.items():
    if not np.isfinite(array).all():
      raise UserError(f"{weights.place}: {names[path]} is not finite")
  fresh = tuple(path for path in names if path not in wanted)
  return Fitted(arrays, fresh, weights.place)


def _turned(
  array: np.ndarray, shape: Shape, weights: Weights, grid: tuple[int, int]
) -> np.ndarray | None:
  """An array as ours is laid out, float32; None if it is another one.

  PyTorch has the outputs first: [O, I, h, w] is ours as [h, w, I, O], and
  [O, I] as [I, O]; a convolution of 1 x 1 may be a linear layer here.
  """
  if array.dtype.kind not in "fiu":
    return None
  if not weights.is_run and array.ndim in (2, 4):
    array = array.transpose((2, 3, 1, 0) if array.ndim == 4 else (1, 0))
    if array.ndim == 4 > len(shape) and array.shape[:2] == (1, 1):
      array = array[0, 0]
  array = np.asarray(array, np.float32)
  tokens = len(shape) == 3 and math.prod(grid) == shape[1] - 1
  if array.shape != shape and tokens and array.ndim == 3:
    array = _resized(array, grid)
  return array if array.shape == shape else None


def _resized(table: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
  """Position embeddings `[1, 1 + n * n, D]` for another grid of patches."""
  side = math.isqrt(max(0, table.shape[1] - 1))
  if side * side != table.shape[1] - 1 or not side:
    return table
  places = table[:, 1:].reshape(side, side, table.shape[-1])
  places = jax.image.resize(places, (*grid, table.shape[-1]), "cubic")
  found = np.asarray(places).reshape(1, -1, table.shape[-1])
  return np.concatenate([table[:, :1], found], axis=1)


def _listed(
  lacking: list[tuple[str, Shape]], surplus: list[tuple[str, Shape]]
) -> str:
  """Up to `SHOWN` names with shapes, half of each kind where both are many."""
  half = max(SHOWN // 2, SHOWN - len(surplus))
  shown = [("-", *entry) for entry in lacking[:half]]
  shown += [("+", *entry) for entry in surplus[: SHOWN - len(shown)]]
  said = ", ".join(
    f"{sign}{printable(name[:80])} {'x'.join(map(str, shape)) or 'scalar'}"
    for sign, name, shape in shown
  )
  more = len(lacking) + len(surplus) - len(shown)
  return said + (f" and {more} more" if more else "")
