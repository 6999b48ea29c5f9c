"""Two sets that are trained on as one."""

import numpy as np
import pytest

from tripletjax.data.caching import hold
from tripletjax.data.joining import Chained, join
from tripletjax.data.sources import Source, take
from tripletjax.data.turns import with_quarter_turns
from tripletjax.errors import UserError


class Decoded:
  """Images without `__getitems__`: number 10 * i everywhere but a corner."""

  def __init__(self, first):
    self.first = first

  def __getitem__(self, index):
    image = np.full((4, 4, 1), self.first + index, np.uint8)
    image[0, 0] = 255
    return image


def source(first, labels, *, groups=None, paths=()):
  return Source(
    images=Decoded(first),
    labels=np.array(labels, np.int32),
    label_names=tuple("abc"[: max(labels) + 1]),
    image_shape=(4, 4, 1),
    groups=None if groups is None else np.array(groups, np.int32),
    group_names=() if groups is None else ("x", "y"),
    paths=paths,
  )


def numbers(images):
  return [int(image[-1, -1, 0]) for image in images]


ONE = source(0, [0, 0, 1], groups=[0, 0, 1], paths=["p", "q", "r"])
OTHER = source(50, [1, 0], groups=[1, 0], paths=["s", "t"])


def test_images_follow_and_identities_are_new():
  both = join(ONE, OTHER, name="more")
  assert numbers(both[index] for index in range(5)) == [0, 1, 2, 50, 51]
  assert both.labels.tolist() == [0, 0, 1, 3, 2]
  assert both.label_names == ("a", "b", "more:a", "more:b")
  assert both.groups.tolist() == [0, 0, 1, 3, 2]
  assert both.group_names == ("x", "y", "more:x", "more:y")
  assert list(both.paths) == ["p", "q", "r", "s", "t"]
  assert both.labels.dtype == both.groups.dtype == np.int32


def test_some_of_each_in_any_order():
  parts = [(Decoded(0), np.array([5, 3])), (Decoded(50), np.array([7, 7, 1]))]
  images = Chained(parts)
  assert numbers(images[index] for index in range(5)) == [5, 3, 57, 57, 51]
  order = np.array([4, 0, 3, 0, 1])
  assert numbers(images.__getitems__(order)) == [51, 5, 57, 5, 3]
  assert list(images.__getitems__(order[:0])) == []


def test_it_is_a_source_as_any_other():
  both = join(ONE, OTHER, name="more")
  part = take(both, np.array([4, 0, 3, 2]))
  assert part.label_names == ("a", "b", "more:a", "more:b")
  held = hold(part, where="host").source
  assert numbers(held.images) == [51, 0, 50, 2]
  turned = with_quarter_turns(held)
  assert turned.label_names[8] == "more:a"
  # The second image, the first of OTHER's second: its corner turns.
  assert turned.images[4 * 2 + 1][-1, 0, 0] == 255


def test_what_one_of_them_lacks():
  bare = source(50, [0, 0])
  both = join(ONE, bare, name="more")
  assert both.group_names == ("x", "y", "more:")
  assert both.groups.tolist() == [0, 0, 1, 2, 2]
  assert list(both.paths) == ["p", "q", "r", "", ""]
  both = join(bare, ONE, name="more")
  assert (both.groups, both.group_names, list(both.paths)) == (None, (), [])


def test_another_shape_is_refused():
  import dataclasses

  wide = dataclasses.replace(OTHER, image_shape=(4, 8, 1))
  with pytest.raises(UserError, match="images of more are 4x8x1, those beside"):
    join(ONE, wide, name="more")
