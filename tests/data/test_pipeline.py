import numpy as np
import pytest

from tripletjax.data import caching, pipeline, sampling, sources
from tripletjax.data.sources import Source


def make_source(count=23, lazy=False):
  images = np.random.default_rng(0).integers(
    0, 256, (count, 4, 5, 3), dtype=np.uint8
  )
  labels = (np.arange(count) % 6).astype(np.int32)
  return Source(
    list(images) if lazy else images, labels, tuple("abcdef"), (4, 5, 3)
  )


def make_sampler(source, **kwargs):
  return sampling.pk_sampler(
    source.labels, identities=3, images=2, seed=4, **kwargs
  )


def assert_equal(ones, others):
  for one, other in zip(ones, others, strict=True):
    assert one.keys() == other.keys()
    for key in one:
      assert one[key].dtype == other[key].dtype
      np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("num_threads", [0, 1, 3])
def test_batches_are_the_samplers_in_order(lazy, num_threads):
  source = make_source(lazy=lazy)
  sampler = make_sampler(source)
  found = list(
    pipeline.batches(source, sampler, stop=12, num_threads=num_threads)
  )
  assert len(found) == 12
  for t, batch in enumerate(found):
    assert {key: value.dtype for key, value in batch.items()} == {
      "image": np.uint8,
      "label": np.int32,
      "id": np.int32,
    }
    np.testing.assert_array_equal(batch["id"], sampler[t])
    for row, index in enumerate(batch["id"]):
      np.testing.assert_array_equal(batch["image"][row], source[index])
      assert batch["label"][row] == index % 6


@pytest.mark.parametrize("start", [0, 1, 7, 20])
def test_resume_gives_the_rest_of_the_stream(start):
  source = make_source()
  whole = list(pipeline.batches(source, make_sampler(source), stop=20))
  rest = pipeline.batches(source, make_sampler(source), start=start, stop=20)
  assert_equal(whole[start:], list(rest))


def test_without_stop_the_sampler_ends_it():
  source = make_source()
  sampler = make_sampler(source, num_batches=5)
  assert len(list(pipeline.batches(source, sampler, start=2))) == 3
  endless = pipeline.batches(source, make_sampler(source), start=10**9)
  assert_equal(
    [next(endless)],
    [pipeline.load_batch(source, make_sampler(source)[10**9])],
  )


def test_disk_and_cache_give_the_same_batches(data_dir):
  source = sources.open_source(
    "glyphs/tiny", data_dir=data_dir, split="armenian"
  )
  sampler = make_sampler(source)
  assert_equal(
    list(pipeline.batches(source, sampler, stop=4)),
    list(pipeline.batches(caching.cache(source), sampler, stop=4)),
  )


@pytest.mark.parametrize(("count", "size"), [(23, 5), (20, 5), (3, 8), (0, 4)])
def test_padded_batches_hold_every_image_once(count, size):
  source = make_source(count)
  found = list(pipeline.padded_batches(source, batch_size=size))
  assert len(found) == -(-count // size)
  for batch in found:
    assert batch["image"].shape == (size, 4, 5, 3)
    assert batch["where"].dtype == bool
    for key in ("image", "label", "id"):
      assert not batch[key][~batch["where"]].any()
  ids = [i for batch in found for i in batch["id"][batch["where"]].tolist()]
  assert ids == list(range(count))
  for batch in found:
    for row in np.flatnonzero(batch["where"]):
      index = batch["id"][row]
      np.testing.assert_array_equal(batch["image"][row], source[index])
      assert batch["label"][row] == source.labels[index]


def test_padded_batches_need_a_size():
  with pytest.raises(ValueError, match="batch_size of at least 1, got 0"):
    next(pipeline.padded_batches(make_source(), batch_size=0))
