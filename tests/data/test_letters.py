"""Invented letters and how hands draw them."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tripletjax.data import caching, letters, sources, strokes
from tripletjax.data.preparation import prepare


def alphabet(seed, size=20):
  return letters.invent_alphabet(np.random.default_rng(seed), size)


@pytest.mark.parametrize("seed", range(4))
def test_letters_fill_their_box_and_differ(seed):
  made = alphabet(seed)
  assert len(made) == 20
  clouds = []
  for letter in made:
    assert 1 <= len(letter) <= 7
    lines = [letters.smooth(stroke, 40) for stroke in letter]
    points = np.concatenate(lines)
    low, high = points.min(axis=0), points.max(axis=0)
    np.testing.assert_allclose(low + high, 0, atol=1e-9)
    assert max(high - low) == pytest.approx(1.0)
    length = sum(
      abs(a - b).sum()
      for line in lines
      for a, b in zip(line[1:], line[:-1], strict=True)
    )
    assert length <= letters.LONGEST * (1 + 1e-9)
    centred = points - points.mean(axis=0)
    clouds.append(centred / centred.std())
  for number, one in enumerate(clouds):
    for other in clouds[:number]:
      apart = cdist(one, other)
      unlike = max(apart.min(axis=0).mean(), apart.min(axis=1).mean())
      assert unlike >= letters.UNLIKE - 1e-9


def test_an_alphabet_is_its_seed():
  one, same, other = alphabet(3), alphabet(3), alphabet(4)
  for letter, again in zip(one, same, strict=True):
    for stroke, stroke_again in zip(letter, again, strict=True):
      np.testing.assert_array_equal(stroke, stroke_again)
  counts = [[len(letter) for letter in made] for made in (one, other)]
  assert counts[0] != counts[1]


def test_letters_of_an_alphabet_have_strokes_in_common():
  # Up to where it lies and how large it is.
  def shape(stroke):
    centred = stroke - stroke.mean(axis=0)
    return tuple(np.round(centred / centred.std(), 6).ravel())

  def shared(made):
    owners = {}
    for number, letter in enumerate(made):
      for stroke in letter:
        owners.setdefault(shape(stroke), set()).add(number)
    return sum(len(of) > 1 for of in owners.values())

  assert all(shared(alphabet(seed)) >= 3 for seed in range(4))


def test_a_smooth_line_goes_from_end_to_end():
  straight = np.array([[0.0, 1.0], [1.0, 3.0]])
  line = letters.smooth(straight, 5)
  np.testing.assert_allclose(
    line, [[t, 1 + 2 * t] for t in (0, 0.25, 0.5, 0.75, 1)]
  )
  bent = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
  line = letters.smooth(bent, 101)
  np.testing.assert_allclose(line[[0, -1]], bent[[0, -1]], atol=1e-12)
  # By symmetry it passes the middle point half way.
  np.testing.assert_allclose(line[50], bent[1])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
  folder = tmp_path_factory.mktemp("strokes")
  prepare("strokes/tiny", data_dir=folder)
  return {
    split: sources.open_source(
      "strokes/tiny", data_dir=folder, split=split, image_size="28",
      invert=True, frame="moments",
    )
    for split in ("train", "test")
  }  # fmt: skip


def test_each_letter_is_drawn_once_by_each_hand(drawn):
  for split, alphabets in (("train", 4), ("test", 2)):
    source = drawn[split]
    assert len(source) == alphabets * 8 * 4
    assert len(source.label_names) == alphabets * 8
    assert len(source.group_names) == alphabets
    np.testing.assert_array_equal(np.bincount(source.labels), 4)
    hands = {path.rpartition("_")[2] for path in source.paths}
    assert hands == {"01.png", "02.png", "03.png", "04.png"}
    for label, path in zip(source.labels, source.paths, strict=True):
      assert path.startswith(source.label_names[label] + "/")
  assert not {*drawn["train"].group_names} & {*drawn["test"].group_names}


def test_a_letter_is_more_like_itself_than_like_others(drawn):
  source = caching.cache(drawn["train"])
  pixels = source.images.reshape(len(source), -1) / 255.0
  apart = cdist(pixels, pixels)
  np.fill_diagonal(apart, np.inf)
  right = source.labels[apart.argmin(axis=1)] == source.labels
  # One in 43 by chance; not all, or there were nothing to learn.
  assert 0.4 < right.mean() < 0.99


def test_ink_is_black_on_white_and_hands_differ():
  rng = np.random.default_rng(0)
  letter = alphabet(0, 1)[0]
  hands = [strokes.some_hand(rng) for _ in range(2)]
  one, other = (np.asarray(strokes.write(rng, letter, hand)) for hand in hands)
  for image in (one, other):
    assert image.shape == (105, 105)
    assert {*np.unique(image)} == {0, 255}
    assert 0.01 < (image == 0).mean() < 0.3
  assert (one != other).mean() > 0.01
  again = [
    np.asarray(strokes.write(np.random.default_rng(7), letter, hands[0]))
    for _ in range(2)
  ]
  np.testing.assert_array_equal(*again)
