"""This project's side of the race: the step that a training takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from tripletjax.benchmark.race_loop import Arrays, Racer
from tripletjax.data.sources import Source
from tripletjax.training import objective, parallel
from tripletjax.training.evaluation import make_embed
from tripletjax.training.network import make_model
from tripletjax.training.numbers import step_numbers
from tripletjax.training.optimizer import make_optimizer
from tripletjax.training.state import create_state
from tripletjax.training.step import make_train_step


def make_racer(asked: Mapping[str, Any], arrays: Arrays) -> Racer:
  """The step of a config, with all images on the devices.

  Args:
    asked: see `race_side`.
    arrays: `images` and `eval_images`, uint8 `[N, H, W, C]`, and `eval_labels`.
  """
  config = ConfigDict(asked["config"])
  config.seed = asked["seed"]
  objective.check_config(config)
  devices = parallel.local_devices()
  made = create_state(
    make_model(config, axis_name=parallel.AXIS),
    make_optimizer(
      config, total_steps=asked["steps"], warmup_steps=asked["warmup"]
    ),
    image_shape=arrays["images"].shape[1:],
    key=jax.random.fold_in(jax.random.key(config.seed), 0),
    loss_parameters=objective.loss_parameters(config),
  )
  run: Any = parallel.data_parallel(
    make_train_step(
      objective.make_loss(
        config, next_after=asked["steps"], margin_steps=asked["steps"]
      ),
      objective.make_augment(config),
      axis_name=parallel.AXIS,
    ),
    devices,
    replicated=(2, 3),
    donate=(0,),
    backend=config.parallel.backend,
  )
  embed = make_embed(devices, batch_size=config.evaluation.batch_size)
  evaluated = Source(
    images=arrays["eval_images"],
    labels=arrays["eval_labels"],
    label_names=(),
    image_shape=arrays["eval_images"].shape[1:],
  )
  table = parallel.replicate(arrays["images"], devices)
  key, numbers = objective.run_key(config), step_numbers(config)
  state = parallel.replicate(made, devices)

  def step(rows: np.ndarray, labels: np.ndarray) -> float:
    nonlocal state
    parts = {
      "row": rows,
      "label": labels,
      # By their place: an image that is twice in a batch is a positive pair, as
      # it is for the other side.
      "id": np.arange(len(rows), dtype=np.int32),
    }
    batch = parallel.place(parallel.shard(parts, len(devices)), devices)
    state, metrics = run(state, {"table": table, **batch}, key, numbers)
    return float(parallel.first(metrics["loss"]))

  return Racer(
    step=step,
    embed=lambda: embed(state, evaluated),
    parameters=sum(x.size for x in jax.tree.leaves(made.params)),
    versions={"jax": jax.__version__},
  )
