"""What an embedding can do on a split, beside raw pixels."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from tripletjax.data.cameras import read_cameras
from tripletjax.data.pipeline import Batch, padded_batches
from tripletjax.data.sources import Source
from tripletjax.metrics import METRICS
from tripletjax.metrics.blocks import one_ahead
from tripletjax.training import parallel
from tripletjax.training.state import TrainState
from tripletjax.training.step import make_embed_step
from tripletjax.training.views import ViewsFn, compared_views, means

# State on the devices, source -> embeddings [N, D] on the host, or all views,
# [N, 1 + V, D].
EmbedFn = Callable[..., np.ndarray]
# Such embeddings, their distance -> numbers by name.
MeasureFn = Callable[[np.ndarray, str], dict[str, float]]
# Is told how many images more were embedded.
Progress = Callable[[int], object]


def make_embed(
  devices: parallel.Devices,
  *,
  batch_size: int,
  backend: str = "pmap",
  views: ViewsFn | None = None,
) -> EmbedFn:
  """Embeds whole splits on the devices of this process; compiles once.

  Args:
    devices: of which those of this process are taken.
    batch_size: images at a time.
    backend: see `parallel.data_parallel`.
    views: see `make_views`; None embeds each image once.

  Returns:
    `(state, source, progress=None) -> embeddings [N, D]`, or `[N, 1 + V, D]`
    of `views` that give each, on the host. Images that aren't held are loaded
    by threads, ahead of the devices.
  """
  own = parallel.here(devices)
  embed_step = parallel.data_parallel(
    make_embed_step(views), own, backend=backend
  )

  def embed(
    state: TrainState, source: Source, progress: Progress | None = None
  ) -> np.ndarray:
    if len(own) < len(devices):
      # What the devices of all processes share, no process can compute alone.
      state = parallel.replicate(parallel.first(state), own)

    def launch(batch: Batch) -> tuple[jax.Array, np.ndarray]:
      images = parallel.shard(batch["image"], len(own))
      return embed_step(state, images), batch["where"]

    parts = []
    batches = padded_batches(source, batch_size=batch_size, num_threads=None)
    for embeddings, where in one_ahead(launch, batches):
      parts.append(parallel.unshard(embeddings)[where])
      if progress:
        progress(len(parts[-1]))
    return np.concatenate(parts)

  return embed


def embed_source(
  state: TrainState,
  source: Source,
  devices: parallel.Devices,
  *,
  batch_size: int,
  views: ViewsFn | None = None,
) -> np.ndarray:
  """Embeddings of a source by a state that lies on the host, as `make_embed`.

  Args:
    state: of one device, as from `finished`.
    source: the images.
    devices: where to embed; the result doesn't depend on how many they are.
    batch_size: images at a time; rounded up to a multiple of the devices.
    views: see `make_views`; None embeds each image once.
  """
  batch_size += -batch_size % len(devices)
  embed = make_embed(devices, batch_size=batch_size, views=views)
  return embed(parallel.replicate(state, devices), source)


def make_measure(config: ConfigDict, source: Source) -> MeasureFn:
  """Those of `METRICS` that the config asks for, on the labels of a split.

  One-shot episodes are the same for all seeds, so that runs can be paired.

  Raises:
    UserError: `evaluation.cameras` isn't in the paths of the split.
  """
  fields = config.evaluation
  cameras = read_cameras(
    source.paths, fields.cameras, field="evaluation.cameras"
  )

  def measure(embeddings: np.ndarray, distance: str) -> dict[str, float]:
    tasks, between = compared_views(
      embeddings, distance, fields.view_temperature
    )
    embeddings = means(embeddings)
    found = METRICS["retrieval"](
      embeddings,
      source.labels,
      distance=distance,
      ks=tuple(fields.ks),
      query_cameras=cameras,
    )
    found |= METRICS["verification"](
      embeddings,
      source.labels,
      distance=distance,
      folds=fields.folds,
      far=tuple(fields.far),
    )
    if fields.episodes:
      found |= METRICS["one_shot"](
        tasks,
        source.labels,
        distance=between,
        ways=fields.ways,
        episodes=fields.episodes,
        groups=source.groups,
        cameras=cameras,
      )
    return found

  return measure


def raw_pixels(source: Source) -> np.ndarray:
  """The images themselves as embeddings, `[N, H * W * C]` in [0, 1]."""
  images = np.stack([source[i] for i in range(len(source))])
  return images.reshape(len(images), -1).astype(np.float32) / 255
