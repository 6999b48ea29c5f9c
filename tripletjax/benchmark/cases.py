"""The losses that are measured, and the limits that were asked for."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tripletjax.benchmark.about import check_only
from tripletjax.benchmark.data import DIMENSION, SIZES, Size
from tripletjax.distances import pairwise_distance
from tripletjax.losses import LOSSES, mined_triplet_loss
from tripletjax.miners import MINERS

# Embeddings, labels, a key, and `axis_name`, to a scalar.
BatchFn = Callable[..., jax.Array]

FLOOR = "floor"
BANDS = ("all", "all_hard", "all_semi_hard", "all_easy")
# What is measured unless asked otherwise: name -> times the floor, at most, at
# each of `SIZES`.
LIMITS: Mapping[str, tuple[float, ...]] = {
  "all": (1.5, 1.5, 1.6, 1.3, 1.2),
  "all_hard": (1.5, 1.5, 1.6, 1.3, 1.2),
  "all_semi_hard": (1.5, 1.5, 1.6, 1.3, 1.2),
  "semi_hard": (1.5, 1.6, 2.0, 1.5, 1.4),
  "batch_hard": (1.0, 0.6, 0.5, 0.5, 0.5),
  "random_semi_hard": (2.0, 2.3, 2.3, 2.3, 2.3),
  "distance_weighted": (2.2, 2.2, 2.3, 2.0, 2.0),
  "multi_similarity": (1.8, 2.2, 2.0, 1.8, 1.8),
}
# Where long-tailed labels are compared with balanced ones: times, at most.
LONG_TAILED: Mapping[str, float] = {"all": 1.5, "semi_hard": 1.5}


class Case(NamedTuple):
  """A loss to measure.

  Attributes:
    name: a miner of the triplet loss, or another loss.
    loss_fn: embeddings, labels and a key to a scalar.
  """

  name: str
  loss_fn: BatchFn


def floor_loss(
  embeddings: jax.Array, labels: jax.Array, key: jax.Array
) -> jax.Array:
  """The mean of the pairwise distances: what any loss of a batch pays."""
  del labels, key
  return jnp.mean(pairwise_distance(embeddings))


def known_losses() -> dict[str, BatchFn]:
  """Every loss there is: the triplet loss of each miner, then the others.

  A miner that shares its name with a loss is called `<name>_miner`.
  """
  others = {name: fn for name, fn in LOSSES.items() if name != "triplet"}
  mined: dict[str, Callable[..., tuple[jax.Array, Any]]] = {
    f"{name}_miner" if name in others else name: functools.partial(
      mined_triplet_loss, miner=name
    )
    for name in MINERS
  }
  return {name: _loss_fn(fn) for name, fn in {**mined, **others}.items()}


def make_cases(
  only: Sequence[str] = (), *, everything: bool = False
) -> list[Case]:
  """The losses to measure.

  Args:
    only: their names; those of `LIMITS` when empty.
    everything: all there are, when `only` is empty.

  Raises:
    UserError: there is no loss of that name.
  """
  known = known_losses()
  check_only(only, known)
  named = list(LIMITS) + [n for n in known if everything and n not in LIMITS]
  return [Case(name, known[name]) for name in only or named if name in known]


def absent_cases() -> list[str]:
  """Losses that limits were asked for and that aren't there."""
  known = known_losses()
  return [name for name in LIMITS if name not in known]


def time_limit(name: str, size: Size) -> float | None:
  """How many times the floor a loss may take; None where nobody asked."""
  limits = LIMITS.get("all" if name in BANDS else name)
  if limits is None or SIZES.get(size.batch) != size:
    return None
  return limits[list(SIZES).index(size.batch)]


def memory_limit(name: str, size: Size) -> float | None:
  """How many bytes of temporaries a loss may take; None where nobody asked."""
  if SIZES.get(size.batch) != size or name == FLOOR:
    return None
  if size.batch == 8192 and name in (*BANDS, "semi_hard"):
    return 48e6
  return 5 * 4 * size.batch**2


def compile_loss(
  loss_fn: BatchFn, size: Size, *, options: dict[str, Any] | None = None
) -> jax.stages.Compiled:
  """Value, and gradient with respect to the embeddings; float32.

  The statistics of a loss are not asked for.

  Args:
    loss_fn: embeddings, labels and a key to a scalar.
    size: of the batch.
    options: XLA's.
  """
  shapes = (
    jax.ShapeDtypeStruct((size.batch, DIMENSION), jnp.float32),
    jax.ShapeDtypeStruct((size.batch,), jnp.int32),
    jax.eval_shape(jax.random.key, 0),
  )
  return jax.jit(jax.value_and_grad(loss_fn)).lower(*shapes).compile(options)


def temporary_bytes(compiled: jax.stages.Compiled) -> int:
  """Memory beside arguments and results; the same in every run."""
  analysis: Any = compiled.memory_analysis()
  return analysis.temp_size_in_bytes


def _loss_fn(function: Callable[..., tuple[jax.Array, Any]]) -> BatchFn:
  draws = "key" in inspect.signature(function).parameters

  def loss_fn(
    embeddings: jax.Array,
    labels: jax.Array,
    key: jax.Array,
    axis_name: str | None = None,
  ) -> jax.Array:
    keywords = {"key": key} if draws else {}
    return function(embeddings, labels, axis_name=axis_name, **keywords)[0]

  return loss_fn
