"""Batches of images: P x K for training, in order and padded for evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import grain
import numpy as np

from tripletjax.data.sources import Source

Batch = dict[str, np.ndarray]


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
  num_threads: int = 2,
  prefetch: int = 8,
) -> Iterator[Batch]:
  """Loads the batches `start` to `stop` of a sampler, in order.

  A run that starts at s gets what a run from 0 gets after s batches.

  Args:
    source: the images.
    sampler: item t is the example ids of batch t, `[B]`.
    start: number of the first batch.
    stop: number after the last batch; None goes on to the sampler's end.
    num_threads: threads that load; 0 loads in the caller's thread.
    prefetch: batches that are loaded ahead.

  Returns:
    Batches of `image` uint8 `[B, H, W, C]`, `label` int32 `[B]` and `id` int32
    `[B]`.
  """
  dataset = grain.MapDataset.source(sampler).map(
    lambda ids: load_batch(source, ids)
  )
  # Each thread needs a batch to load, or it stands idle.
  options = grain.ReadOptions(
    num_threads=num_threads, prefetch_buffer_size=max(prefetch, num_threads, 1)
  )
  return iter(dataset[start:stop].to_iter_dataset(options))


def padded_batches(source: Source, *, batch_size: int) -> Iterator[Batch]:
  """Loads all images in order; the last batch is padded with zeros.

  Args:
    source: the images.
    batch_size: B.

  Yields:
    Batches as from `batches`, with `where` bool `[B]`, False in the padding.

  Raises:
    ValueError: the batch size is below 1.
  """
  if batch_size < 1:
    raise ValueError(f"expected batch_size of at least 1, got {batch_size}")
  for start in range(0, len(source), batch_size):
    ids = np.arange(start, min(start + batch_size, len(source)))
    missing = batch_size - len(ids)
    batch = load_batch(source, ids) | {"where": np.ones(len(ids), bool)}
    yield {
      key: np.pad(value, [(0, missing)] + [(0, 0)] * (value.ndim - 1))
      for key, value in batch.items()
    }


def load_batch(source: Source, ids: np.ndarray) -> Batch:
  """Images, labels and ids of the examples `ids`, `[B]`."""
  if isinstance(source.images, np.ndarray):
    images = source.images[ids]
  else:
    images = np.stack([source[index] for index in ids])
  return {
    "image": images,
    "label": source.labels[ids],
    "id": ids.astype(np.int32),
  }
