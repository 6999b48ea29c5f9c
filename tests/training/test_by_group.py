"""Scores of each group by itself."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from tripletjax import UserError, metrics
from tripletjax.data.sources import Source
from tripletjax.report.scores import groups_table
from tripletjax.training.by_group import check_groups, measure_groups
from tripletjax.training.evaluated_set import EvaluatedSet
from tripletjax.training.evaluation_arrays import Space
from tripletjax.training.evaluation_settings import Labelled, Settings

SETTINGS = Settings(ways=3, episodes=30, resamples=5)


def a_set():
  """Groups of 4 and of 3 identities by 3 hands, of one, of 2 lone images."""
  rng = np.random.default_rng(0)
  sizes = [3] * 8 + [1, 1]
  group_of = [0, 1, 0, 1, 0, 1, 0, 2, 3, 3]
  labels = np.repeat(np.arange(10), sizes)
  order = rng.permutation(len(labels))
  hands = np.concatenate([np.arange(size) for size in sizes])
  labels, hands = labels[order], hands[order]
  source = Source(
    images=np.zeros((len(labels), 2, 2, 1), np.uint8),
    labels=labels.astype(np.int32),
    label_names=tuple("abcdefghij"),
    image_shape=(2, 2, 1),
    groups=np.array(group_of, np.int32)[labels],
    group_names=("four", "three", "one", "lone"),
  )
  labelled = Labelled(labels, groups=source.groups, cameras=hands)
  points = rng.normal(size=(10, 4))[labels] + rng.normal(size=(len(labels), 4))
  return EvaluatedSet("all", source, labelled), points.astype(np.float32)


def test_each_group_is_measured_as_if_it_were_alone():
  whole, points = a_set()
  spaces = {
    "raw_pixels": Space(-points[:, :2], "euclidean"),
    "trained": Space(points, "squared_euclidean"),
  }
  check_groups(whole, SETTINGS)
  found = measure_groups(spaces, whole, SETTINGS)
  assert list(found) == ["four", "three", "one", "lone"]
  assert [found[g]["images"] for g in found] == [12, 9, 3, 2]
  assert [found[g]["identities"] for g in found] == [4, 3, 1, 2]
  for group in ("one", "lone"):
    assert found[group]["trained"] == found[group]["raw_pixels"] == {}
    assert found[group]["not_measurable"]["all"].endswith("with two images")
  for number, group in enumerate(("four", "three")):
    own = whole.source.groups == number
    for name, space in spaces.items():
      shared = {"distance": space.distance, "seed": 0}
      hands = whole.labelled.cameras[own]
      expected = metrics.METRICS["retrieval"](
        space.embeddings[own], whole.labelled.labels[own], ks=(1,),
        query_cameras=hands, resamples=5, **shared,
      ) | metrics.METRICS["one_shot"](
        space.embeddings[own], whole.labelled.labels[own], ways=3, episodes=30,
        cameras=hands, **shared,
      )  # fmt: skip
      assert found[group][name] == pytest.approx(expected)
      assert 0 < found[group][name]["one_shot_error"] < 1
  # By hand: the nearest other image of the group.
  own = np.flatnonzero(whole.source.groups == 1)
  right = []
  for i in own:
    gaps = {j: np.sum((points[i] - points[j]) ** 2) for j in own if j != i}
    nearest = min(gaps, key=gaps.get)
    right.append(whole.source.labels[nearest] == whole.source.labels[i])
  assert found["three"]["trained"]["recall@1"] == pytest.approx(np.mean(right))


def test_the_table_of_groups():
  whole, points = a_set()
  only = SETTINGS._replace(metrics=("one_shot", "space"))
  spaces = {"trained": Space(points, "cosine")}
  groups = measure_groups(spaces, whole, only)
  assert "recall@1" not in groups["four"]["trained"]
  table = groups_table({"trained": {}, "by_group": groups}).strip().splitlines()
  rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table]
  assert rows[0] == ["group", "images", "identities", "one_shot_error, trained"]
  assert rows[2][:3] == ["four", "12", "4"]
  assert rows[2][3].startswith(
    f"{groups['four']['trained']['one_shot_error']:.3f} ± "
  )
  assert rows[4] == ["one", "3", "1", "-"]
  assert table[-1] == (
    "lone, all: not measurable: a single identity, or none with two images"
  )
  assert groups_table({"trained": {}}) == ""


def test_a_group_that_is_too_small_says_why():
  whole, points = a_set()
  groups = measure_groups(
    {"trained": Space(points, "cosine")}, whole, SETTINGS._replace(ways=4)
  )
  assert groups["four"]["not_measurable"] == {}
  assert np.isnan(groups["three"]["trained"]["one_shot_error"])
  assert groups["three"]["not_measurable"] == {
    "one_shot_error": "not measurable with 3 identities of 2 images or more, "
    "where 4 by the same cameras are asked for"
  }
  assert "\nthree, one_shot_error: not measurable with 3 identities" in (
    groups_table({"trained": {}, "by_group": groups})
  )


@pytest.mark.parametrize(
  ("change", "settings", "message"),
  [
    ({"pairs": SimpleNamespace()}, SETTINGS, "expected no --gallery"),
    (
      {"labelled": Labelled(np.arange(3), gallery=np.arange(2))},
      SETTINGS,
      "expected no --gallery, --gallery_images or --pairs",
    ),
    ({"labelled": Labelled(np.arange(3))}, SETTINGS, "all has no groups"),
    (
      {},
      SETTINGS._replace(metrics=("space",)),
      "expected retrieval or one_shot among --metrics, got space",
    ),
  ],
)
def test_what_has_no_groups_says_so(change, settings, message):
  whole, _ = a_set()
  with pytest.raises(UserError, match=message):
    check_groups(whole._replace(**change), settings)


def test_a_group_that_nothing_is_of_is_left_out():
  whole, points = a_set()
  names = (*whole.source.group_names, "none")
  source = dataclasses.replace(whole.source, group_names=names)
  found = measure_groups(
    {"trained": Space(points, "cosine")},
    whole._replace(source=source),
    SETTINGS,
  )
  assert "none" not in found
