"""Episodes by hand: one drawer is shown, another one is asked about."""

import itertools

import numpy as np
import pytest

from tripletjax.metrics import episodes
from tripletjax.metrics.episode_draws import episode_draws


def ragged(seed=0):
  """Images of 3 groups x 6 identities x 5 cameras: none, one or two of each."""
  rng = np.random.default_rng(seed)
  cells = np.repeat(np.arange(3 * 6 * 5), rng.integers(0, 3, 90))
  rng.shuffle(cells)
  return cells // 5, cells // 30, cells % 5


@pytest.mark.parametrize("images", [2, 3])
def test_columns_are_cameras_and_rows_are_identities(images):
  labels, groups, cameras = ragged()
  draws = episode_draws(labels, groups, cameras, ways=2, images=images, seed=0)
  rng = np.random.default_rng(1)
  for group, draw in enumerate(draws):
    for _ in range(40):
      drawn = draw(rng)
      assert drawn.shape == (2, images)
      assert (groups[drawn] == group).all()
      assert (labels[drawn] == labels[drawn][:, :1]).all()
      assert len(set(labels[drawn][:, 0])) == 2
      assert (cameras[drawn] == cameras[drawn][:1]).all()
      assert len(set(cameras[drawn][0])) == images


def test_all_that_can_be_drawn_is():
  labels, groups, cameras = ragged()
  draw = episode_draws(labels, groups, cameras, ways=3, images=2, seed=0)[0]
  rng = np.random.default_rng(0)
  found = set()
  for _ in range(4000):
    drawn = draw(rng)
    found.add((frozenset(labels[drawn][:, 0]), *cameras[drawn][0]))
  there = {
    (i, c) for i, c, g in zip(labels, cameras, groups, strict=True) if g == 0
  }
  expected = {
    (frozenset(identities), shown, asked)
    for identities in itertools.combinations(range(6), 3)
    for shown, asked in itertools.permutations(range(5), 2)
    if all((i, c) in there for i in identities for c in (shown, asked))
  }
  assert found == expected


def test_a_group_without_enough_by_the_same_cameras_is_left_out():
  # In the first group each identity has cameras of its own.
  labels, groups = np.array([0, 0, 1, 1, 2, 2, 3, 3]), np.arange(8) // 4
  cameras = np.array([0, 1, 2, 3, 0, 1, 0, 1])
  keywords = {"ways": 2, "images": 2, "seed": 0}
  assert len(episode_draws(labels, groups, None, **keywords)) == 2
  (draw,) = episode_draws(labels, groups, cameras, **keywords)
  assert (groups[draw(np.random.default_rng(0))] == 1).all()
  assert not episode_draws(labels, groups, np.zeros(8, int), **keywords)


def test_of_too_many_sets_of_cameras_some_are_drawn():
  # 20 choose 10 is 184,756.
  labels, cameras = np.repeat(np.arange(3), 20), np.tile(np.arange(20), 3)
  (draw,) = episode_draws(
    labels, np.zeros(60, int), cameras, ways=3, images=10, seed=0
  )
  rng = np.random.default_rng(0)
  seen = {camera for _ in range(50) for camera in cameras[draw(rng)][0]}
  assert seen == set(range(20))


def test_the_error_by_hand():
  # Identities are 1 apart, drawers 10: the nearest image shown is by the drawer
  # of the query where there is one, whoever it is.
  labels, cameras = np.arange(40) // 4, np.arange(40) % 4
  points = (labels + 10.0 * cameras)[:, None].astype(np.float32)
  by_others = episodes(points, labels, cameras=cameras, ways=2)
  # Shown at a and b, asked at a + s and b + s, where |s| is 10 to 30: the one
  # at the end is nearest to both.
  assert by_others["one_shot_error"] == 0.5
  # Where only drawers are seen, identities are guessed.
  alone = (10.0 * cameras)[:, None].astype(np.float32)
  guessed = episodes(alone, labels, cameras=cameras, ways=5)
  assert guessed["one_shot_error"] == pytest.approx(4 / 5)
  with pytest.raises(ValueError, match="expected cameras of shape"):
    episodes(points, labels, cameras=cameras[:3])
