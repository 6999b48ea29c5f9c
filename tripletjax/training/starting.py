"""The weights that a run begins with: its seed's, or pretrained ones.

Pretrained weights are read at the start only. A run that goes on has its own in
its checkpoints, and doesn't need the file any more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from tripletjax.errors import UserError
from tripletjax.models import EmbeddingNetwork
from tripletjax.pretrained import Fitted, fit, read_weights
from tripletjax.training import objective, processes
from tripletjax.training.groups import check_groups
from tripletjax.training.state import LOSS, TrainState

# A fresh state -> the one that training begins with.
StartFn = Callable[[TrainState], TrainState]


def prepare_start(
  config: ConfigDict,
  model: EmbeddingNetwork,
  image_shape: tuple[int, int, int],
  workdir: Path,
  say: Callable[[str], None],
) -> StartFn:
  """What a fresh state begins with.

  Args:
    config: the whole config.
    model: its network.
    image_shape: `(H, W, C)` of the images.
    workdir: of the run; if there is no checkpoint in it, weights are read now,
      so that a mistake is said before the folder is made.
    say: is told what was read.

  Returns:
    `state -> state`: the same one without `model.pretrained`, else one whose
    network has these weights, read once; in the first process, which sends
    them to the others.

  Raises:
    UserError: a group of `optimizer` is of no parameter; the weights can't be
      read, or are of another network.
  """
  if config.optimizer.freeze or config.optimizer.rates:
    of_loss = objective.loss_parameters(config)
    params = _shapes(model, image_shape)["params"]
    check_groups(config, {**params, **({LOSS: of_loss} if of_loss else {})})
  if not config.model.pretrained:
    return lambda state: state

  @functools.cache
  def read() -> Fitted:
    fitted = read_fitted(config, model, image_shape)
    say(_described(fitted))
    return fitted

  def start(state: TrainState) -> TrainState:
    if processes.is_first():
      state = with_weights(state, read())
    network = processes.from_first(_network(state))
    return _with_network(state, network)

  goes_on = any((workdir / "checkpoints").glob("[0-9]*"))
  if processes.is_first() and not goes_on:
    read()
  return start


def read_fitted(
  config: ConfigDict,
  model: EmbeddingNetwork,
  image_shape: tuple[int, int, int],
) -> Fitted:
  """The pretrained weights of a config, as its network has them.

  Raises:
    UserError: they can't be read, or are of another network.
  """
  fields = config.model
  try:
    weights = read_weights(fields.pretrained)
    shapes = _by_path(_shapes(model, image_shape))
    return fit(
      weights,
      {path: x.shape for path, x in shapes.items()},
      network=fields.name,
      ignore=fields.pretrained_ignore,
      grid=model.grid(image_shape),
    )
  except UserError as error:
    raise UserError(f"model.pretrained: {error}") from error


def with_weights(state: TrainState, fitted: Fitted) -> TrainState:
  """A fresh state with other weights; what is fresh of them stays."""
  network = jax.tree_util.tree_map_with_path(
    lambda keys, leaf: fitted.arrays.get(_path(keys), leaf), _network(state)
  )
  return _with_network(state, network)


def _shapes(
  model: EmbeddingNetwork, image_shape: tuple[int, int, int]
) -> dict[str, Any]:
  images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  return jax.eval_shape(
    lambda key, x: model.init(key, x, train=False), jax.random.key(0), images
  )


def _network(state: TrainState) -> dict[str, Any]:
  """Parameters and statistics without what belongs to the loss."""
  params = {name: x for name, x in state.params.items() if name != LOSS}
  return {"params": params, "batch_stats": state.batch_stats}


def _with_network(state: TrainState, network: dict[str, Any]) -> TrainState:
  own = {name: x for name, x in state.params.items() if name == LOSS}
  start = {**network, "params": {**network["params"], **own}}
  return state.replace(**start, average=start if state.average else {})


def _by_path(network: dict[str, Any]) -> dict[str, Any]:
  """The leaves of parameters and statistics by path."""
  leaves = jax.tree_util.tree_leaves_with_path(network)
  return {_path(keys): leaf for keys, leaf in leaves}


def _path(keys: Any) -> str:
  return jax.tree_util.keystr(keys[1:], simple=True, separator="/")


def _described(fitted: Fitted, most: int = 6) -> str:
  """What was taken, and what is fresh."""
  numbers = sum(array.size for array in fitted.arrays.values())
  said = (
    f"pretrained: {fitted.place}: {len(fitted.arrays)} arrays, {numbers:,} "
    "numbers"
  )
  if fitted.fresh:
    said += f"; fresh: {', '.join(fitted.fresh[:most])}"
  more = len(fitted.fresh) - most
  return said + (f" and {more} more" if more > 0 else "")
