"""Where the decoded images of a set are held: host, device, or nowhere."""

from __future__ import annotations

import dataclasses
import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import psutil

from tripletjax.data.sources import Source, read_images
from tripletjax.errors import UserError

PLACES = ("auto", "host", "device", "none")
# "auto" takes at most this share of the memory that is free.
SHARE = 0.5
_CHUNK = 256  # images that a thread decodes at a time


class Held(NamedTuple):
  """A source, and where its images are.

  Attributes:
    source: with a uint8 array `[N, H, W, C]` for images, unless `place` is
      "none".
    place: "host", "device" (the array is to be copied there) or "none".
    size: bytes of all images, decoded.
    reason: why "auto" didn't hold them; "" where it did.
  """

  source: Source
  place: str
  size: int
  reason: str = ""

  def describe(self) -> str:
    """The place and the size in words, for people."""
    if self.place == "none":
      return f"decoded for each batch{self.reason}"
    return f"decoded once, {in_words(self.size)} in {self.place} memory"


def hold(
  source: Source,
  *,
  where: str,
  free_host: int | None = None,
  free_device: int | None = None,
) -> Held:
  """Decodes a set once and keeps it, if asked to and if it fits.

  Args:
    source: decodes at every access.
    where: "host"; "device": a copy there, from which each batch is taken by
      its ids; "none": decoded again for each batch; "auto": "host" if the
      images fit into half of the free memory, else "none".
    free_host: bytes; those of this machine when None.
    free_device: bytes; None where batches come from the host in any case, as
      in evaluation: "device" is then "auto".

  Raises:
    UserError: the images don't fit where they are wanted, or differ in shape,
      or there is no such place.
  """
  if where not in PLACES:
    raise UserError(
      f"data.cache: expected one of {', '.join(PLACES)}, got {where!r}"
    )
  if where == "device" and free_device is None:
    where = "auto"
  size = len(source) * math.prod(source.image_shape)
  free_host = free_memory() if free_host is None else free_host
  if where == "none":
    return Held(source, "none", size)
  if where == "auto" and size > SHARE * free_host:
    reason = (
      f": {in_words(size)} are more than {SHARE:.0%} of the "
      f"{in_words(free_host)} that are free"
    )
    return Held(source, "none", size, reason)
  _check_fit(where, "host", size, free_host)
  if where == "device":
    _check_fit(where, "device", size, free_device or 0)
  return Held(cache(source), "device" if where == "device" else "host", size)


def cache(source: Source, *, num_threads: int | None = None) -> Source:
  """The same source, decoded once into one uint8 array `[N, H, W, C]`.

  Args:
    source: decodes at every access.
    num_threads: threads that decode; one for each core when None.

  Raises:
    UserError: the images differ in shape.
  """
  images = np.empty((len(source), *source.image_shape), np.uint8)

  def decode(start: int) -> None:
    ids = np.arange(start, min(start + _CHUNK, len(source)))
    for index, image in zip(ids, read_images(source.images, ids), strict=True):
      if image.shape != source.image_shape:
        raise UserError(
          f"data.image_key: image {index} has shape {image.shape}, image 0 has "
          f"{source.image_shape}; images must have one shape"
        )
      images[index] = image

  with ThreadPoolExecutor(num_threads or num_cores()) as pool:
    list(pool.map(decode, range(0, len(source), _CHUNK)))
  images.flags.writeable = False
  return dataclasses.replace(source, images=images)


def free_memory() -> int:
  """Bytes of the host's memory that can be had without swapping."""
  return psutil.virtual_memory().available


def num_cores() -> int:
  """Cores that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def in_words(size: float) -> str:
  """Bytes for people.

  >>> in_words(1_234_567), in_words(25e9)
  ('1.2 MB', '25.0 GB')
  """
  if size < 1e9:
    return f"{size / 1e6:,.1f} MB"
  return f"{size / 1e9:,.1f} GB"


def _check_fit(where: str, place: str, size: int, free: int) -> None:
  if size > free:
    raise UserError(
      f"data.cache: the decoded images take {in_words(size)}, and {place} "
      f'memory has {in_words(free)} free; "{where}" needs them to fit, "none" '
      "doesn't"
    )
