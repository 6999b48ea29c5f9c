"""Groups of parameters: those that stay, and those with a rate of their own.

A group is a regular expression that is found in the path of a parameter, such
as "stage_1_block_1/ConvNorm_0/Conv_0/kernel".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from tripletjax.errors import UserError

# Parameters that a message shows.
SHOWN = 4


def paths(params: Any) -> Any:
  """The path of each parameter, in the place of it."""
  return jax.tree_util.tree_map_with_path(
    lambda keys, _: jax.tree_util.keystr(keys, simple=True, separator="/"),
    params,
  )


def only_trained(gradients: Any, freeze: str) -> Any:
  """Gradients with zeros for what is frozen.

  What isn't used isn't computed: XLA leaves out the gradients of frozen
  parameters, and all that is done for them alone.

  Args:
    gradients: by parameter.
    freeze: a regular expression; "" freezes nothing.
  """
  if not freeze:
    return gradients
  return jax.tree.map(
    lambda x, path: jnp.zeros_like(x) if re.search(freeze, path) else x,
    gradients,
    paths(gradients),
  )


def grouped(
  optimizer: optax.GradientTransformation, fields: Any
) -> optax.GradientTransformation:
  """An optimizer with the groups of a config.

  What is frozen isn't moved, by no weight decay either, and has no moments. A
  factor multiplies the update, which is as if it multiplied the learning rate.

  Args:
    optimizer: of all parameters.
    fields: `config.optimizer`: `freeze` and `rates`.
  """
  rates = parse_rates(fields.rates)
  if rates:
    optimizer = optax.chain(optimizer, _scaled(rates))
  if not fields.freeze:
    return optimizer
  return optax.multi_transform(
    {"trained": optimizer, "frozen": optax.set_to_zero()},
    lambda params: jax.tree.map(
      lambda path: "frozen" if re.search(fields.freeze, path) else "trained",
      paths(params),
    ),
  )


def _scaled(rates: Mapping[str, float]) -> optax.GradientTransformation:
  """Multiplies the updates of each group; of two groups the first counts."""

  def factor(path: str) -> float:
    found = (rates[pattern] for pattern in rates if re.search(pattern, path))
    return next(found, 1.0)

  def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
    del params
    scaled = jax.tree.map(
      lambda x, path: x if factor(path) == 1 else factor(path) * x,
      updates,
      paths(updates),
    )
    return scaled, state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def parse_rates(text: str) -> dict[str, float]:
  """Factors by pattern, from `optimizer.rates`.

  >>> parse_rates("Dense_0=10, stem=0.1")
  {'Dense_0': 10.0, 'stem': 0.1}

  Raises:
    UserError: it isn't "pattern=factor" with commas in between.
  """
  found: dict[str, float] = {}
  for part in filter(None, (part.strip() for part in text.split(","))):
    pattern, equals, factor = part.rpartition("=")
    try:
      value = float(factor)
    except ValueError:
      value = math.nan
    if not pattern.strip() or not equals or not 0 < value < math.inf:
      raise UserError(
        'optimizer.rates: expected factors above 0 such as "Dense_0=10, '
        f'stem=0.1", got {part!r}'
      )
    check_pattern("optimizer.rates", pattern.strip())
    if pattern.strip() in found:
      raise UserError(f"optimizer.rates: {pattern.strip()!r} is there twice")
    found[pattern.strip()] = value
  return found


def check_pattern(field: str, pattern: str) -> None:
  """Raises a `UserError` unless it is a regular expression."""
  try:
    re.compile(pattern)
  except re.error as error:
    raise UserError(
      f"{field}: expected a regular expression, got {pattern!r}: {error}"
    ) from error


def check_groups(config: ConfigDict, params: Any) -> None:
  """Raises a `UserError` for a group of none, and if nothing is trained.

  Args:
    config: the whole config.
    params: of the network, or their shapes.
  """
  known = jax.tree.leaves(paths(params))
  freeze = config.optimizer.freeze
  patterns = {"optimizer.freeze": [freeze] if freeze else []}
  patterns["optimizer.rates"] = list(parse_rates(config.optimizer.rates))
  for field, given in patterns.items():
    for pattern in given:
      if not any(re.search(pattern, path) for path in known):
        raise UserError(
          f"{field}: {pattern!r} is in no parameter's path; they are "
          f"{', '.join(known[:SHOWN])} and {max(0, len(known) - SHOWN)} more"
        )
  if freeze and all(re.search(freeze, path) for path in known):
    raise UserError(
      f"optimizer.freeze: {freeze!r} is in every parameter's path; expected "
      "that something is left to be trained"
    )
