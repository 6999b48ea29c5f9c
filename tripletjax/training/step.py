"""The per-device training step and the per-device embedding: pure functions.

The one form whose gradient equals one device's on the whole batch: each device
takes its anchors against all gathered references, the loss is `psum(sum) /
psum(count)` inside of what is differentiated, and the gradients are averaged.
That holds for a gradient by the embeddings too, which is what `chunks.py`
caches: embedding has no part in it that crosses devices.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.typing import ArrayLike

from tripletjax.data.turns import turn_on_device
from tripletjax.keys import quick_key
from tripletjax.training.chunks import (
  EmbedFn,
  Examples,
  batch_value_and_grad,
  embed_all,
)
from tripletjax.training.groups import only_trained
from tripletjax.training.memory import Remembered, drift, remember, with_memory
from tripletjax.training.state import (
  LOSS,
  TrainState,
  evaluated,
  with_average,
)
from tripletjax.training.views import ViewsFn

LossFn = Callable[..., tuple[jax.Array, dict[str, jax.Array]]]
OptimizerFn = Callable[..., optax.GradientTransformation]
AugmentFn = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
Batch = Mapping[str, jax.Array]
NumbersTree = Mapping[str, Mapping[str, jax.Array]]


def make_train_step(
  loss_fn: LossFn,
  augment_fn: AugmentFn,
  *,
  axis_name: str,
  chunk: int = 0,
  ema: float = 0.0,
  memory_start: int = 0,
  skip_nonfinite: bool = False,
  norm_frozen: bool = False,
  freeze: str = "",
  optimizer_fn: OptimizerFn | None = None,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
  """The step of one device, to be run on all devices of `axis_name`.

  Args:
    loss_fn: `(embeddings, labels, ids=, key=, axis_name=, step=, margin=)` to
      the loss of the global batch and its statistics; also the keywords that
      the state learns for it, and all of `numbers["loss"]`.
    augment_fn: `(images, keys, identity_keys)` to images.
    axis_name: the axis of devices.
    chunk: images that a device augments and embeds at once, a divisor of its
      share of the batch; 0 is all of them.
    ema: decay of the averaged weights, for a state that has them.
    memory_start: the step from which on the loss uses the memory, for a state
      that has one; before, it is filled.
    skip_nonfinite: a step whose loss or gradient isn't finite changes nothing
      but its number.
    norm_frozen: the network's statistics stay as they are.
    freeze: a regular expression; parameters in whose path it is found have no
      gradient.
    optimizer_fn: `(learning_rate=, weight_decay=)`, which are
      `numbers["optimizer"]`, to an optimizer with the state's kind of state;
      None takes the state's own.

  Returns:
    `(state, batch, key, numbers) -> (state, metrics)`: `batch` holds this
    device's `image` (uint8 `[b, H, W, C]`), `label` and `id` (int32 `[b]`);
    or, in place of `image`, all images of the set as `table` and which ones as
    `row` (see `network_input`). `key` is the run's base key; `numbers` are
    scalars (`numbers.py`). Nothing is recompiled when they change.
  """

  def train_step(
    state: TrainState, batch: Batch, key: jax.Array, numbers: NumbersTree
  ) -> tuple[TrainState, dict[str, jax.Array]]:
    augment_key, miner_key = step_keys(key, state.step)

    def loss(embeddings: jax.Array, params: Any) -> tuple[jax.Array, Any]:
      references: dict[str, jax.Array] = {}
      remembered = None
      if state.memory:
        references, remembered = with_memory(
          state.memory,
          embeddings,
          batch["label"],
          batch["id"],
          axis_name=axis_name,
          used=state.step >= memory_start,
        )
      value, statistics = loss_fn(
        embeddings,
        batch["label"],
        ids=batch["id"],
        key=miner_key,
        axis_name=axis_name,
        step=state.step,
        **numbers["loss"],
        **references,
        **params.get(LOSS, {}),
      )
      return value, (statistics, remembered)

    (value, (batch_stats, found)), gradients = batch_value_and_grad(
      _training_embed(state, batch, augment_fn, norm_frozen), loss, chunk=chunk
    )(state.params, _examples(batch, augment_key, axis_name))
    statistics, remembered = found
    gradients = lax.pmean(only_trained(gradients, freeze), axis_name)
    metrics = {
      "loss": value,
      **state.params.get(LOSS, {}),
      **{name: x for name, x in statistics.items() if x.ndim == 0},
      "gradient_norm": optax.tree.norm(gradients),
    }
    before = state
    if state.memory:
      metrics["memory/filled"] = state.memory.filled
      state = state.replace(memory=remember(state.memory, remembered))
    state = _updated(
      state,
      optimizer_fn(**numbers["optimizer"]) if optimizer_fn else state.tx,
      grads=gradients,
      batch_stats=batch_stats or state.batch_stats,
    )
    state = with_average(state, ema)
    if skip_nonfinite:
      state = _where_finite(metrics, state, before)
    return state, metrics

  return train_step


def _updated(
  state: TrainState, optimizer: optax.GradientTransformation, **changes: Any
) -> TrainState:
  """The state after one update by an optimizer, which it doesn't keep."""
  updated = state.replace(tx=optimizer).apply_gradients(**changes)
  return updated.replace(tx=state.tx)


def _where_finite(
  metrics: Mapping[str, jax.Array], after: TrainState, before: TrainState
) -> TrainState:
  """The state after a step; if its numbers aren't finite, before it."""
  # The same on all devices: the loss is summed over them, and the gradient.
  finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(
    metrics["gradient_norm"]
  )
  chosen = jax.tree.map(lambda x, y: jnp.where(finite, x, y), after, before)
  return chosen.replace(step=after.step)


def make_drift_step(
  augment_fn: AugmentFn,
  *,
  axis_name: str,
  chunk: int = 0,
  norm_frozen: bool = False,
) -> Callable[..., jax.Array]:
  """How far the memory of an earlier batch is from embedding it now.

  Returns:
    `(state, batch, key, step, first) -> drift` on one device: `batch` is that
    of `step`, which is embedded as then (the same augmentations, and statistics
    of the batch) by the weights of now; `first` is where it begins in the
    memory.
  """

  def drift_step(
    state: TrainState,
    batch: Batch,
    key: jax.Array,
    step: jax.Array,
    first: jax.Array,
  ) -> jax.Array:
    embeddings = embed_all(
      _training_embed(state, batch, augment_fn, norm_frozen),
      state.params,
      _examples(batch, step_keys(key, step)[0], axis_name),
      chunk=chunk,
    )
    now = Remembered(
      *lax.all_gather(
        (embeddings, batch["label"], batch["id"]), axis_name, tiled=True
      )
    )
    return drift(state.memory, now, first)

  return drift_step


def _training_embed(
  state: TrainState, batch: Batch, augment_fn: AugmentFn, norm_frozen: bool
) -> EmbedFn:
  """Embeds examples of a batch in training's mode."""

  def embed(params: Any, examples: Examples) -> tuple[jax.Array, Any]:
    embeddings, updates = state.apply_fn(
      {"params": params, "batch_stats": state.batch_stats},
      _augmented(batch, examples, augment_fn),
      train=True,
      keys=_dropout_keys(examples["key"]),
      mutable=[] if norm_frozen else ["batch_stats"],
    )
    return embeddings, updates.get("batch_stats", {})

  return embed


def step_keys(key: jax.Array, step: ArrayLike) -> tuple[jax.Array, jax.Array]:
  """The keys of a step by the run's base key: to augment, and to mine."""
  keys = jax.random.split(jax.random.fold_in(quick_key(key), step))
  return keys[0], keys[1]


def network_input(
  batch: Batch, key: jax.Array, *, augment_fn: AugmentFn, axis_name: str
) -> jax.Array:
  """What the network sees of a device's part of a batch.

  Args:
    batch: `label` (int32 `[b]`) and `image` (uint8 `[b, H, W, C]`); or, in
      place of this, `table` (uint8 `[N, H, W, C]`), `row` (int32 `[b]`) and,
      where images are turned, `turn` (int32 `[b]`).
    key: the step's, to augment.
    augment_fn: `(images, keys, identity_keys)` to images.
    axis_name: the axis of devices.

  Returns:
    float32 `[b, H, W, C]`.
  """
  return _augmented(batch, _examples(batch, key, axis_name), augment_fn)


def _examples(batch: Batch, key: jax.Array, axis_name: str) -> Examples:
  """What an image is made of, `[b, ...]` each, with its keys."""
  names = ("row", "turn") if "table" in batch else ("image",)
  examples = {name: batch[name] for name in names if name in batch}
  count = len(examples[names[0]])
  # By the place in the global batch, whatever the number of devices.
  positions = lax.axis_index(axis_name) * count + jnp.arange(count)
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, positions)
  shared = jax.random.fold_in(key, jnp.uint32(2**32 - 1))  # no position
  of_identity = jax.vmap(jax.random.fold_in, (None, 0))(shared, batch["label"])
  return {**examples, "key": keys, "identity_key": of_identity}


def _augmented(
  batch: Batch, examples: Examples, augment_fn: AugmentFn
) -> jax.Array:
  """Some of the batch's images as the network sees them."""
  if "table" in batch:
    images = batch["table"][examples["row"]]
    if "turn" in examples:
      images = turn_on_device(images, examples["turn"])
  else:
    images = examples["image"]
  return augment_fn(to_float(images), examples["key"], examples["identity_key"])


def _dropout_keys(keys: jax.Array) -> jax.Array:
  # As each augmentation: its name, so that the others draw what they drew.
  number = zlib.crc32(b"dropout") & 0x7FFFFFFF
  return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def make_embed_step(
  views: ViewsFn | None = None,
) -> Callable[[TrainState, jax.Array], jax.Array]:
  """`(state, images uint8 [b, H, W, C]) -> embeddings [b, D]`, to evaluate."""

  def embed_step(state: TrainState, images: jax.Array) -> jax.Array:
    def embed(images: jax.Array) -> jax.Array:
      return state.apply_fn(evaluated(state), images, train=False)

    return (views(embed) if views else embed)(to_float(images))

  return embed_step


def to_float(images: jax.Array) -> jax.Array:
  """uint8 pixels as float32 in [0, 1]."""
  return images.astype(jnp.float32) / 255
