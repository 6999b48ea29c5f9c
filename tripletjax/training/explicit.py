"""The loss of a batch of explicit triplets, as offline mining feeds them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from ml_collections import ConfigDict

from tripletjax.errors import UserError
from tripletjax.losses import triplet_loss
from tripletjax.reductions import Totals, reduce_totals
from tripletjax.training.step import LossFn

# What `mining.name` may be: mined in the batch by `loss.miner`; with any
# negative; in batches of identities that are confused; as triplets.
MODES = ("online", "random", "offline_batches", "offline_triplets")


def make_explicit_loss(
  config: ConfigDict, margin_factor: optax.Schedule
) -> LossFn:
  """The loss of embeddings that are anchor, positive, negative, anchor, ...

  Args:
    config: the whole config.
    margin_factor: the margin of a step, as a multiple of `loss.margin`.
  """

  def loss_at_step(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    margin: jax.Array,
    step: jax.Array,
    axis_name: str,
    **unused: Any,
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    del labels, unused
    values = triplet_loss(
      *(embeddings[place::3] for place in range(3)),
      margin=margin * margin_factor(step),
      distance=config.loss.distance,
      soft=config.loss.soft,
      reduction="none",
    )
    number = jnp.asarray(len(values), values.dtype)
    active = jnp.sum(values > 0, dtype=values.dtype)
    totals = lax.psum(
      Totals(jnp.sum(values), number, active, number, number), axis_name
    )
    return reduce_totals(totals, config.loss.reduction), {
      "selected_triplets": totals.selected,
      "active_triplets": totals.active,
      "active_share": totals.active / totals.selected,
    }

  return loss_at_step


def triplets_of(config: ConfigDict) -> int:
  """Triplets of a batch: a third of its images."""
  return config.batch.identities * config.batch.images // 3


def check_mining(config: ConfigDict, *, devices: int) -> None:
  """Raises a `UserError` unless a set can be mined offline as asked.

  Args:
    config: the whole config.
    devices: that share a batch.
  """
  name = config.mining.name
  if name not in MODES:
    raise UserError(
      f"mining.name: expected one of {', '.join(MODES)}, got {name!r}"
    )
  if name == "random" and config.loss.name != "triplet":
    raise UserError(
      f"loss.name: expected triplet with mining.name=random, got "
      f"{config.loss.name}"
    )
  if name == "offline_batches" and (
    config.batch.within or config.batch.weights != "uniform"
  ):
    raise UserError(
      'batch.within: expected "", and batch.weights uniform, with '
      "mining.name=offline_batches, which chooses the identities itself"
    )
  if name != "offline_triplets":
    return
  for field, value, expected in (
    ("loss.name", config.loss.name, "triplet"),
    ("memory.size", config.memory.size, 0),
    ("parallel.references", config.parallel.references, "gather"),
  ):
    if value != expected:
      raise UserError(
        f"{field}: expected {expected} with mining.name=offline_triplets, got "
        f"{value}"
      )
  if not triplets_of(config) or triplets_of(config) % devices:
    raise UserError(
      "batch.identities x batch.images: expected a third of it to be a "
      f"multiple of the {devices} devices with mining.name=offline_triplets, "
      f"got {triplets_of(config)} triplets"
    )
