import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tripletjax.data import caching, pipeline, sources
from tripletjax.data.sources import Source
from tripletjax.data.turns import (
  QuarterTurns,
  turn_on_device,
  with_quarter_turns,
)
from tripletjax.errors import UserError

MEGA = 10**6


class Lazy:
  """Images that count how often they are decoded; 1 kB each."""

  def __init__(self, count=50):
    rng = np.random.default_rng(0)
    self.pixels = rng.integers(0, 256, (count, 20, 25, 2), np.uint8)
    self.decoded = 0

  def __getitem__(self, index):
    self.decoded += 1
    return self.pixels[index]


def lazy_source():
  return Source(Lazy(), np.arange(50, dtype=np.int32), ("a",), (20, 25, 2))


def test_cache_equals_decoding(data_dir):
  source = sources.open_source(
    "glyphs/tiny", data_dir=data_dir, split="armenian"
  )
  cached = caching.cache(source)
  assert cached.images.shape == (len(source), 32, 32, 1)
  for index in range(len(source)):
    np.testing.assert_array_equal(cached[index], source[index])
  assert cached.labels is source.labels
  with pytest.raises(ValueError, match="read-only"):
    cached.images[0] = 0


def test_cache_needs_one_shape():
  images = [np.zeros((4, 4, 1), np.uint8), np.zeros((4, 5, 1), np.uint8)]
  source = Source(images, np.zeros(2, np.int32), ("a",), (4, 4, 1))
  with pytest.raises(UserError, match=r"data.image_key: image 1 has shape"):
    caching.cache(source)


@pytest.mark.parametrize(
  ("where", "free_host", "free_device", "place", "words"),
  [
    ("auto", 2 * 50_000, 0, "host", "decoded once, 0.1 MB in host memory"),
    ("auto", 2 * 50_000 - 1, MEGA, "none", "0.1 MB are more than 50% of the 0"),
    ("host", 50_000, 0, "host", "in host memory"),
    ("device", MEGA, 50_000, "device", "0.1 MB in device memory"),
    # Evaluation, whose batches come from the host.
    ("device", MEGA, None, "host", "in host memory"),
    ("device", 50_000, None, "none", "decoded for each batch: 0.1 MB"),
    ("none", MEGA, MEGA, "none", "decoded for each batch"),
  ],
)
def test_where_images_are_held(where, free_host, free_device, place, words):
  source = lazy_source()
  held = caching.hold(
    source, where=where, free_host=free_host, free_device=free_device
  )
  assert (held.place, held.size) == (place, 50 * 20 * 25 * 2)
  assert words in held.describe()
  if place == "none":
    assert held.source is source
    assert source.images.decoded == 0
  else:
    np.testing.assert_array_equal(held.source.images, source.images.pixels)
    assert source.images.decoded == 50


@pytest.mark.parametrize(
  ("where", "free_host", "free_device", "message"),
  [
    ("host", 30_000, 0, "take 0.1 MB, and host memory has 0.0 MB free; "),
    ("device", MEGA, 40_000, "0.1 MB, and device memory has 0.0 MB free; "),
    ("disk", MEGA, MEGA, "data.cache: expected one of auto, host, device, no"),
  ],
)
def test_what_does_not_fit_names_both_sizes(
  where, free_host, free_device, message
):
  with pytest.raises(UserError, match=message):
    caching.hold(
      lazy_source(), where=where, free_host=free_host, free_device=free_device
    )


def square_source(kind):
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (7, 6, 6, 3), np.uint8)
  images = {"array": pixels, "one by one": list(pixels), "at once": AtOnce()}
  if kind == "at once":
    images[kind].pixels = pixels
  labels = np.array([2, 0, 1, 2, 0, 1, 1], np.int32)
  return Source(images[kind], labels, ("a", "b", "c"), (6, 6, 3)), pixels


class AtOnce:
  """Images that are read in batches."""

  def __getitems__(self, indices):
    return [self.pixels[index] for index in indices]


@pytest.mark.parametrize("kind", ["array", "one by one", "at once"])
def test_quarter_turns_are_classes(kind):
  source, pixels = square_source(kind)
  turned = with_quarter_turns(source)
  assert len(turned) == 28
  assert turned.label_names[4:8] == ("b", "b 90°", "b 180°", "b 270°")
  ids = np.array([0, 5, 13, 14, 27, 27, 3])
  batch = pipeline.load_batch(turned, ids)
  for row, index in enumerate(ids):
    image, quarters = pixels[index // 4], index % 4
    for _ in range(quarters):
      # Counterclockwise: the last column becomes the first row.
      image = image.transpose(1, 0, 2)[::-1]
    np.testing.assert_array_equal(batch["image"][row], image)
    name = turned.label_names[batch["label"][row]]
    assert name.partition(" ")[0] == "abc"[source.labels[index // 4]]
    degrees = name.partition(" ")[2]
    assert degrees == (f"{90 * quarters}°" if quarters else "")
    if kind != "at once":
      np.testing.assert_array_equal(turned[index], image)


def test_the_device_turns_and_gathers_as_the_host_does():
  source, pixels = square_source("array")
  turned = with_quarter_turns(source)
  assert isinstance(turned.images, QuarterTurns)
  ids = np.random.default_rng(0).permutation(28)
  rows = pipeline.load_rows(turned, ids)
  on_device = jax.jit(turn_on_device)(
    jnp.asarray(pixels)[rows["row"]], rows["turn"]
  )
  batch = pipeline.load_batch(turned, ids)
  np.testing.assert_array_equal(on_device, batch["image"])
  for name in ("label", "id"):
    np.testing.assert_array_equal(rows[name], batch[name])
  plain = pipeline.load_rows(source, np.array([3, 1]))
  assert plain["row"].tolist() == [3, 1]
  assert "turn" not in plain


def test_turns_keep_groups_and_need_squares():
  source, _ = square_source("array")
  grouped = dataclasses.replace(
    source, groups=np.arange(7, dtype=np.int32), paths=tuple("abcdefg")
  )
  turned = with_quarter_turns(grouped)
  assert turned.groups.tolist() == [i // 4 for i in range(28)]
  assert "".join(turned.paths) == "aaaabbbbccccddddeeeeffffgggg"
  with pytest.raises(UserError, match="images of 20 x 25 have another shape"):
    with_quarter_turns(lazy_source())
