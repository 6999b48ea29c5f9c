"""A finished run, loaded from its folder alone: no data, any devices."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from ml_collections import ConfigDict

from tripletjax import checkpoint
from tripletjax.errors import UserError
from tripletjax.training import objective, parallel, splits
from tripletjax.training.limits import check_saved
from tripletjax.training.network import check_model, make_model
from tripletjax.training.starting import read_fitted, with_weights
from tripletjax.training.state import LOSS, TrainState, create_state

# Fields without which a run can't be used.
NEEDED = (
  "seed",
  "data.name",
  "model.name",
  "model.features",
  "model.dimension",
  "model.normalize",
  "loss.name",
  "loss.distance",
  "evaluation.batch_size",
)
DATA_DEFAULTS = {
  "train_split": "",
  "eval_split": "",
  "image_key": "",
  "label_key": "",
  "cache": "auto",
}
# Fields of the network that came later, as runs of before had them.
MODEL_DEFAULTS = {
  "norm": "batch",
  "dropout": 0.0,
  "dtype": "float32",
  "remat": False,
  "pixels": "unit",
  "pooling": "",
  "head": "linear",
  "norm_frozen": False,
  "pretrained": "",
  "pretrained_ignore": "",
}
EVALUATION_DEFAULTS = {
  "folds": 10,
  "episodes": 0,
  "ways": 20,
  "cameras": "",
  "views": 1,
  "view_temperature": 0.0,
}


class FinishedRun(NamedTuple):
  """What a run's folder says about its network.

  Attributes:
    workdir: the folder.
    config: the run's own, from `config.json`.
    step: of the checkpoint.
    params: the network's parameters, on the host.
    batch_stats: BatchNorm's statistics, on the host.
  """

  workdir: Path
  config: ConfigDict
  step: int
  params: Any
  batch_stats: Any


def load_run(
  workdir: str | Path,
  *,
  which: str = "latest",
  say: Callable[[str], None] = print,
) -> FinishedRun:
  """Loads a checkpoint of a run.

  The training data isn't needed, nor as many devices as it was trained on.

  Args:
    workdir: the run's folder, with `config.json` and `checkpoints/`.
    which: the latest checkpoint that isn't damaged; or best, by the run's
      `checkpoint.best`; or a step.
    say: is told of a damaged one that is passed over.

  Raises:
    UserError: there is no run or no such checkpoint in the folder, or one of
      them can't be read.
  """
  workdir = Path(workdir)
  config = read_config(workdir)
  step, network = checkpoint.restore_network(
    workdir / "checkpoints", which=which, say=say
  )
  return FinishedRun(
    workdir=workdir,
    config=config,
    step=step,
    params=network["params"],
    batch_stats=network["batch_stats"],
  )


def read_config(workdir: Path) -> ConfigDict:
  """The config of a run.

  Raises:
    UserError: the folder holds no run, or its `config.json` is broken.
  """
  path = workdir / "config.json"
  if not path.is_file():
    raise UserError(
      f"--workdir: no run in {workdir}: expected a config.json, as "
      "experiments.train writes it"
    )
  try:
    fields = json.loads(path.read_text())
    if not isinstance(fields, dict):
      raise TypeError(f"expected an object, got {type(fields).__name__}")
    config = ConfigDict(fields).lock()
  except (OSError, ValueError, TypeError, RecursionError) as error:
    raise UserError(
      f"--workdir: {path} can't be read: {str(error).splitlines()[0]}"
    ) from error
  # Not check_config: a run of before some field came can still be used.
  for field in NEEDED:
    node: Any = config
    for name in field.split("."):
      if not isinstance(node, ConfigDict) or name not in node:
        raise UserError(
          f"--workdir: {path} lacks the field {field}; expected the "
          "config.json of a run"
        )
      node = node[name]
  with config.unlocked():
    config.data.update({**splits.DEFAULTS, **DATA_DEFAULTS, **config.data})
    config.model.update({**MODEL_DEFAULTS, **config.model})
    config.evaluation.update({**EVALUATION_DEFAULTS, **config.evaluation})
  try:
    check_saved(config, objective.CHOICES)
    check_model(config.model)
  except UserError as error:
    raise UserError(f"--workdir: {path}: {error}") from None
  return config


def trained_state(run: FinishedRun) -> TrainState:
  """The network of a run as a state that can embed, but not be trained."""
  model = make_model(run.config, axis_name=parallel.AXIS)
  nothing = optax.identity()
  return TrainState(
    step=run.step,
    apply_fn=model.apply,
    params=run.params,
    tx=nothing,
    opt_state=nothing.init(run.params),
    batch_stats=run.batch_stats,
  )


def untrained_state(
  run: FinishedRun,
  image_shape: tuple[int, int, int],
  *,
  pretrained: bool = True,
) -> TrainState:
  """The same network as it was before the run's first step.

  Args:
    run: names the network, the seed, and the weights that it began with.
    image_shape: `(H, W, C)` of the images that it is to embed.
    pretrained: whether such weights are read; else it is as the seed made it.

  Raises:
    UserError: the run's network was made for images of another shape; or the
      weights that it began with are no longer there.
  """
  config = run.config
  # As in the loop: the same key, so the same network.
  model = make_model(config, axis_name=parallel.AXIS)
  state = create_state(
    model,
    optax.identity(),
    image_shape=image_shape,
    key=jax.random.fold_in(jax.random.key(config.seed), 0),
    loss_parameters=objective.loss_parameters(config),
  )
  _check_shapes(run, image_shape, state.params)
  if not (pretrained and config.model.pretrained):
    return state
  try:
    return with_weights(state, read_fitted(config, model, image_shape))
  except UserError as error:
    raise UserError(
      f"{error}; the network before training began with them: --nobaselines "
      "leaves it out"
    ) from error


def check_network(run: FinishedRun, image_shape: tuple[int, int, int]) -> None:
  """Raises a `UserError` unless the run's network takes such images.

  Args:
    run: names the network.
    image_shape: `(H, W, C)`.
  """
  model = make_model(run.config, axis_name=parallel.AXIS)
  images = jax.ShapeDtypeStruct((1, *image_shape), "float32")
  fresh = jax.eval_shape(
    functools.partial(model.init, train=False), jax.random.key(0), images
  )
  _check_shapes(run, image_shape, fresh["params"])


def _check_shapes(
  run: FinishedRun, image_shape: tuple[int, int, int], params: Any
) -> None:
  ours, theirs = _shapes(params), _shapes(run.params)
  for name in sorted(ours.keys() | theirs.keys()):
    if ours.get(name) != theirs.get(name):
      raise UserError(
        f"--workdir: the network of {run.workdir} doesn't take images of "
        f"{' x '.join(map(str, image_shape))}: {name} is "
        f"{theirs.get(name, 'missing')}, expected {ours.get(name, 'none')}"
      )


def _shapes(params: Any) -> dict[str, tuple[int, ...]]:
  """Of the network's own parameters, not those of the loss."""
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): tuple(x.shape)
    for path, x in jax.tree_util.tree_leaves_with_path(
      {name: tree for name, tree in params.items() if name != LOSS}
    )
  }
