"""A finished run as something that embeds images."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike
from ml_collections import ConfigDict

from tripletjax.data.sources import Source
from tripletjax.distances import DISTANCES
from tripletjax.errors import UserError
from tripletjax.inference.fingerprint import fingerprint_of
from tripletjax.inference.reading import (
  Image,
  Images,
  Unreadable,
  name_of,
  read_image,
)
from tripletjax.metrics.blocks import distance_tile, in_order, starts, tile_edge
from tripletjax.training import parallel
from tripletjax.training.evaluation import EmbedFn, Progress, make_embed
from tripletjax.training.finished import (
  FinishedRun,
  check_network,
  load_run,
  trained_state,
)
from tripletjax.training.run_folder import read_image_shape
from tripletjax.training.state import TrainState
from tripletjax.training.step import make_embed_step
from tripletjax.training.views import make_views


@dataclasses.dataclass(frozen=True, eq=False)
class Embedder:
  """The network of a finished run, and how it wants its images.

  Attributes:
    run: the run, with its weights on the host.
    image_shape: `(H, W, C)` of the images that it was trained on.
    batch_size: images that are embedded at a time.
    state: the weights, on the devices.
    embed_fn: see `make_embed`.
  """

  run: FinishedRun
  image_shape: tuple[int, int, int]
  batch_size: int
  state: TrainState
  embed_fn: EmbedFn

  @classmethod
  def load(
    cls,
    workdir: str | Path,
    *,
    checkpoint: str = "latest",
    batch_size: int | None = None,
    devices: parallel.Devices | None = None,
    say: Callable[[str], Any] = print,
  ) -> Embedder:
    """Loads a run from its folder alone: its data isn't needed.

    Args:
      workdir: the run's folder.
      checkpoint: latest, best (by the run's `checkpoint.best`), or a step.
      batch_size: images at a time, rounded up to a multiple of the devices;
        the run's `evaluation.batch_size` when None.
      devices: all local ones when None.
      say: is told of a damaged checkpoint that is passed over.

    Raises:
      UserError: there is no run or no such checkpoint, one of them can't be
        read, or the run didn't note the shape of its images.
    """
    run = load_run(workdir, which=checkpoint, say=say)
    image_shape = read_image_shape(run.workdir)
    if image_shape is None:
      raise UserError(
        f"--workdir: {run.workdir} doesn't say which images it was trained on: "
        "expected a data.json, as experiments.train writes it"
      )
    return cls.of_run(run, image_shape, batch_size=batch_size, devices=devices)

  @classmethod
  def of_run(
    cls,
    run: FinishedRun,
    image_shape: tuple[int, int, int],
    *,
    batch_size: int | None = None,
    devices: parallel.Devices | None = None,
  ) -> Embedder:
    """The same of a run that is loaded already.

    Raises:
      UserError: its network doesn't take such images, or the batch is empty.
    """
    check_network(run, image_shape)
    devices = parallel.local_devices() if devices is None else devices
    size = run.config.evaluation.batch_size
    size = size if batch_size is None else batch_size
    if size < 1:
      raise UserError(f"--batch_size: expected at least 1, got {size}")
    size += -size % len(devices)
    return cls(
      run=run,
      image_shape=image_shape,
      batch_size=size,
      state=parallel.replicate(trained_state(run), devices),
      embed_fn=make_embed(
        devices, batch_size=size, views=make_views(run.config)
      ),
    )

  @property
  def workdir(self) -> Path:
    """The run's folder."""
    return self.run.workdir

  @property
  def config(self) -> ConfigDict:
    """The run's config."""
    return self.run.config

  @property
  def step(self) -> int:
    """The step of the checkpoint."""
    return self.run.step

  @property
  def dimension(self) -> int:
    """Length D of an embedding."""
    return self.run.config.model.dimension

  @property
  def distance(self) -> str:
    """By which distance it was trained, a name from `DISTANCES`."""
    return self.run.config.loss.distance

  @functools.cached_property
  def fingerprint(self) -> str:
    """Changes with whatever changes an embedding or a distance.

    What was kept of another network (a gallery, a threshold) is known by it.
    """
    return fingerprint_of(self.run, self.image_shape)

  def read(self, image: Image) -> np.ndarray:
    """An image as the network was trained on it.

    Args:
      image: a path, a file of a folder or zip, the bytes of an image file, or
        uint8 `[H, W]` or `[H, W, C]`, as decoded.

    Returns:
      uint8 `[H, W, C]` of `image_shape`: grey or colour, resized, inverted and
      framed where the run's `data.invert` and `data.frame` say so.

    Raises:
      UserError: it is no image, or can't be read.
    """
    return read_image(
      image,
      image_shape=self.image_shape,
      invert=self.config.data.invert,
      frame=self.config.data.frame,
      name=name_of(image, 0),
    )

  def embed(
    self,
    images: Sequence[Image] | np.ndarray,
    *,
    progress: Progress | None = None,
    on_unreadable: Unreadable | None = None,
  ) -> np.ndarray:
    """Embeddings of images, float32 `[N, D]`.

    Read as by `read`, in threads ahead of the devices.

    Args:
      images: paths, bytes or arrays; or one uint8 array `[N, H, W, C]`.
      progress: is told how many more are done.
      on_unreadable: is told the index of an image that can't be read, and why;
        its row is NaN. None ends with the error.

    Raises:
      UserError: there is no image, one can't be read, or the weights give NaN.
    """
    bad: list[int] = []

    def note(index: int, error: UserError) -> None:
      bad.append(index)
      if on_unreadable is not None:
        on_unreadable(index, error)

    found = self.embed_read(
      Images(
        images,
        self.image_shape,
        self.config.data.invert,
        None if on_unreadable is None else note,
        self.config.data.frame,
      )
      if not self._ready(images)
      else images,
      count=len(images),
      progress=progress,
    )
    found[bad] = np.nan
    return found

  def _ready(self, images: Sequence[Image] | np.ndarray) -> bool:
    """Whether there is nothing to be done to read them."""
    return (
      isinstance(images, np.ndarray)
      and images.dtype == np.uint8
      and images.shape[1:] == self.image_shape
      and not self.config.data.invert
      and not self.config.data.frame
    )

  def embed_read(
    self, images: object, *, count: int, progress: Progress | None = None
  ) -> np.ndarray:
    """Embeddings of images that are as `read` gives them, float32 `[N, D]`.

    Args:
      images: anything that gives uint8 `[H, W, C]` for an index, such as the
        images of a source.
      count: how many there are, N.
      progress: as in `embed`.
    """
    if not count:
      raise UserError("expected images to embed, got none")
    source = Source(
      images=images,
      labels=np.zeros(count, np.int32),
      label_names=("",),
      image_shape=self.image_shape,
    )
    found = self.embed_fn(self.state, source, progress)
    broken = int(np.sum(~np.isfinite(found).all(axis=1)))
    if broken:
      raise UserError(
        f"--workdir: the network of {self.workdir} at step {self.step} gives "
        f"NaN or infinity for {broken:,} of {count:,} images: its weights "
        "diverged; train again with a smaller optimizer.learning_rate"
      )
    return found

  def distances(self, a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Distances `[N, M]` of embeddings `[N, D]` and `[M, D]`, by the run's."""
    x, y = in_order(np.asarray(a)), in_order(np.asarray(b))
    found = np.empty((x.size, y.size), np.float32)
    of_x, of_y = tile_edge(x.size), tile_edge(y.size)
    for row, rows in starts(x.size, of_x):
      for column, columns in starts(y.size, of_y):
        tile = distance_tile(
          x, y, row, column, of_x, of_y, distance_fn=DISTANCES[self.distance]
        )
        here = (slice(row, row + rows), slice(column, column + columns))
        found[here] = np.asarray(tile)[:rows, :columns]
    return found

  def forward(self) -> Callable[[jax.Array], jax.Array]:
    """`images -> embeddings`, pure, with the weights in it: to be jitted.

    uint8 `[B, H, W, C]` as `read` gives them, to float32 `[B, D]`: what `embed`
    computes of them, views (`evaluation.views`) included.
    """
    step = make_embed_step(make_views(self.config))
    return functools.partial(step, trained_state(self.run))
