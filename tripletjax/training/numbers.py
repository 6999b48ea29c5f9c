"""The numbers of a config that may change without another program.

They are arguments of the compiled step, and not a part of it: configs that
differ in nothing else share one program, one after another or under `vmap`.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
from ml_collections import ConfigDict

# By field. The seed too: it is a key, which batches are drawn and where the
# weights start.
NUMBERS = (
  "seed",
  "loss.margin",
  "loss.beta",
  "loss.contrastive.positive_margin",
  "loss.multi_similarity.alpha",
  "loss.multi_similarity.beta",
  "loss.multi_similarity.base",
  "loss.nt_xent.temperature",
  "loss.sup_con.temperature",
  "loss.circle.gamma",
  "optimizer.learning_rate",
  "optimizer.weight_decay",
)
# Arguments of a step by where they go: to the loss, and to the optimizer.
Numbers = dict[str, dict[str, np.ndarray]]


def step_numbers(config: ConfigDict) -> Numbers:
  """The numbers of a config as its steps take them.

  Returns:
    `loss`: `margin`, and the loss's own keywords; `optimizer`: `learning_rate`
    and `weight_decay`. float32 scalars.
  """
  return {
    "loss": _scalars({"margin": config.loss.margin, **own_numbers(config)}),
    "optimizer": _scalars(
      {
        "learning_rate": config.optimizer.learning_rate,
        "weight_decay": config.optimizer.weight_decay,
      }
    ),
  }


def own_numbers(config: ConfigDict) -> dict[str, float]:
  """Keywords of the config's loss that no other has: nt_xent's temperature."""
  own = config.loss.get(config.loss.name)
  return own.to_dict() if isinstance(own, ConfigDict) else {}


def program(config: ConfigDict) -> str:
  """What is equal of two configs if, and only if, they share one program.

  The margin's schedule is a multiple of `loss.margin`, so of two configs that
  move theirs the ratio has to be the same.
  """
  fields = config.copy_and_resolve_references().to_dict()
  loss = fields["loss"]
  moves = loss["margin"] and loss["margin_end"] != loss["margin"]
  ratio = loss["margin_end"] / loss["margin"] if moves else 1.0
  loss["margin_end"] = float(f"{ratio:.9g}")
  for name in NUMBERS:
    *path, last = name.split(".")
    del functools.reduce(lambda node, part: node[part], path, fields)[last]
  return json.dumps(fields, sort_keys=True, default=list)


def _scalars(values: dict[str, Any]) -> dict[str, np.ndarray]:
  return {name: np.asarray(value, np.float32) for name, value in values.items()}
