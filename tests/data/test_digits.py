import numpy as np
from sklearn.datasets import load_digits

from tripletjax.data import caching, digits, sources


def read(data_dir, split):
  source = sources.open_source("digits", data_dir=data_dir, split=split)
  return caching.cache(source)


def test_images_and_labels_are_those_of_sklearn(data_dir):
  expected = load_digits()
  wanted = sorted(
    (int(label), [[int(v * 255 / 16 + 0.5) for v in row] for row in image])
    for label, image in zip(expected.target, expected.images, strict=True)
  )
  found = []
  for split in ("train", "test"):
    source = read(data_dir, split)
    assert source.label_names == tuple("0123456789")
    assert source.image_shape == (8, 8, 1)
    for label, image in zip(source.labels, source.images, strict=True):
      found.append((int(label), image[..., 0].tolist()))
  assert sorted(found) == wanted


def test_each_class_is_split_two_to_one(data_dir):
  train, test = (
    np.bincount(read(data_dir, split).labels) for split in ("train", "test")
  )
  total = np.bincount(load_digits().target)
  np.testing.assert_array_equal(train + test, total)
  np.testing.assert_array_equal(test, -(-total // 3))


def test_split_is_drawn_and_fixed():
  labels = np.repeat(np.arange(4), 30)
  first = digits.split_by_image(labels)
  np.testing.assert_array_equal(first, digits.split_by_image(labels))
  assert (first != digits.split_by_image(labels, seed=1)).any()
  assert [int(first[labels == c].sum()) for c in range(4)] == [10] * 4
  assert set(np.flatnonzero(first) % 3) == {0, 1, 2}
