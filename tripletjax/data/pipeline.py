"""Batches of images: P x K for training, in order and padded for evaluation."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import grain
import numpy as np

from tripletjax.data.caching import num_cores
from tripletjax.data.sources import Source, read_images
from tripletjax.data.turns import TURNS, QuarterTurns, turn

Batch = dict[str, np.ndarray]
# Images that a thread loads at a time.
_PIECE = 32


class BatchIds(Protocol):
  """A sequence of batches: item t is the example ids of batch t, `[B]`."""

  def __len__(self) -> int:
    """Number of batches."""
    ...

  def __getitem__(self, index: int, /) -> np.ndarray:
    """Example ids of a batch, integer `[B]`."""
    ...


def batches(
  source: Source,
  sampler: BatchIds,
  *,
  start: int = 0,
  stop: int | None = None,
  num_threads: int | None = None,
  prefetch: int = 8,
  pixels: bool = True,
) -> Iterator[Batch]:
  """Loads the batches `start` to `stop` of a sampler, in order.

  A run that starts at s gets what a run from 0 gets after s batches.

  Args:
    source: the images.
    sampler: item t is the example ids of batch t, `[B]`.
    start: number of the first batch.
    stop: number after the last batch; None goes on to the sampler's end.
    num_threads: threads that load, a batch each; 0 loads in the caller's
      thread, None takes one for each core.
    prefetch: batches that are loaded ahead.
    pixels: False leaves the images out, for a device that holds them all.

  Returns:
    Batches of `image` uint8 `[B, H, W, C]`, `label` int32 `[B]` and `id` int32
    `[B]`; without pixels `row` in place of `image`, int32 `[B]`, and `turn`
    where images are turned.
  """
  if num_threads is None:
    num_threads = num_cores()
  load = load_batch if pixels else load_rows
  dataset = grain.MapDataset.source(sampler).map(lambda ids: load(source, ids))
  # Each thread needs a batch to load, or it stands idle.
  options = grain.ReadOptions(
    num_threads=num_threads, prefetch_buffer_size=max(prefetch, num_threads, 1)
  )
  return iter(dataset[start:stop].to_iter_dataset(options))


def padded_batches(
  source: Source,
  *,
  batch_size: int,
  num_threads: int | None = 0,
  prefetch: int = 2,
) -> Iterator[Batch]:
  """Loads all images in order; the last batch is padded with zeros.

  Args:
    source: the images.
    batch_size: B.
    num_threads: threads that load, some images of a batch each; 0 loads in the
      caller's thread, None takes one for each core. Images that are held as an
      array need none.
    prefetch: batches that are loaded ahead by threads.

  Yields:
    Batches as from `batches`, with `where` bool `[B]`, False in the padding.

  Raises:
    ValueError: the batch size is below 1.
  """
  if batch_size < 1:
    raise ValueError(f"expected batch_size of at least 1, got {batch_size}")
  if num_threads is None:
    num_threads = num_cores()
  runs = [
    np.arange(start, min(start + batch_size, len(source)))
    for start in range(0, len(source), batch_size)
  ]
  if not num_threads or isinstance(source.images, np.ndarray):
    for ids in runs:
      yield _padded(source, ids, load_images(source.images, ids), batch_size)
    return
  pool = ThreadPoolExecutor(num_threads)
  try:
    waiting: collections.deque[list[Future]] = collections.deque()
    for number in range(len(runs) + prefetch):
      if number < len(runs):
        ids = runs[number]
        waiting.append(
          [
            pool.submit(load_images, source.images, ids[at : at + _PIECE])
            for at in range(0, len(ids), _PIECE)
          ]
        )
      if number >= prefetch:
        parts = [piece.result() for piece in waiting.popleft()]
        ids = runs[number - prefetch]
        yield _padded(source, ids, np.concatenate(parts), batch_size)
  finally:
    pool.shutdown(cancel_futures=True)


def _padded(
  source: Source, ids: np.ndarray, images: np.ndarray, batch_size: int
) -> Batch:
  missing = batch_size - len(ids)
  batch = {
    "image": images,
    "label": source.labels[ids],
    "id": ids.astype(np.int32),
    "where": np.ones(len(ids), bool),
  }
  if not missing:
    return batch
  return {
    key: np.pad(value, [(0, missing)] + [(0, 0)] * (value.ndim - 1))
    for key, value in batch.items()
  }


def load_batch(source: Source, ids: np.ndarray) -> Batch:
  """Images, labels and ids of the examples `ids`, `[B]`."""
  return {
    "image": load_images(source.images, ids),
    "label": source.labels[ids],
    "id": ids.astype(np.int32),
  }


def load_rows(source: Source, ids: np.ndarray) -> Batch:
  """As `load_batch`, with the place of each image in place of its pixels."""
  rows, turns = ids, {}
  if isinstance(source.images, QuarterTurns):
    rows, quarters = np.divmod(ids, TURNS)
    turns = {"turn": quarters.astype(np.int32)}
  return {
    "row": rows.astype(np.int32),
    "label": source.labels[ids],
    "id": ids.astype(np.int32),
  } | turns


def load_images(images: Any, ids: np.ndarray) -> np.ndarray:
  """The images `ids`, `[B]`, of anything that a source has for images."""
  if isinstance(images, np.ndarray):
    return images[ids]
  if isinstance(images, QuarterTurns):
    return turn(load_images(images.images, ids // TURNS), ids % TURNS)
  return np.stack(list(read_images(images, ids)))
