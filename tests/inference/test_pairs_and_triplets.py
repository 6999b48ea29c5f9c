"""Two images, and three."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from tiny_sets import EACH, pixels

from tripletjax import Embedder, UserError
from tripletjax.inference.comparing import judge_triplet, verify
from tripletjax.inference.thresholds import choose_threshold

ONE = jax.local_devices()[:1]


def squared(a, b):
  return sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))


def with_loss(embedder, **fields):
  config = embedder.config.copy_and_resolve_references()
  with config.unlocked():
    config.loss.update(fields)
  return dataclasses.replace(embedder, run=embedder.run._replace(config=config))


def test_same_up_to_the_threshold(embedder):
  a, b = pixels(0), pixels(EACH)
  embeddings = embedder.embed([a, b])
  expected = squared(*embeddings)
  found = verify(embedder, a, b, threshold=expected + 1e-3)
  assert found.distance == pytest.approx(expected, abs=1e-6)
  assert found.same
  assert not verify(embedder, a, b, threshold=expected - 1e-3).same
  # At the very distance it is the same.
  assert verify(embedder, a, b, threshold=found.distance).same
  below = float(np.nextafter(np.float32(found.distance), np.float32(0)))
  assert not verify(embedder, a, b, threshold=below).same


def test_the_share_of_accepted_pairs_is_that_of_the_threshold(
  lab, embedder, tmp_path
):
  run = shutil.copytree(lab / "run", tmp_path / "run")
  own = Embedder.load(run, devices=ONE)
  limit = choose_threshold(own, far=0.3, data_dir=lab / "data")
  images = [pixels(number) for number in range(40)]
  matrix = own.distances(own.embed(images), own.embed(images))
  upper = np.triu_indices(40, 1)
  different = (np.arange(40)[:, None] // EACH != np.arange(40) // EACH)[upper]
  accepted = np.mean(matrix[upper][different] <= np.float32(limit.value))
  assert accepted == pytest.approx(limit.far, abs=2 / 700)
  numbers = [(0, 1), (0, 7)]
  for one, other in numbers:
    found = verify(own, images[one], images[other], threshold=limit)
    assert found.threshold == limit.value
    assert found.same == bool(matrix[one, other] <= np.float32(limit.value))


@pytest.mark.parametrize("soft", [False, True])
def test_a_triplet_is_what_its_gap_says(embedder, soft):
  images = [pixels(number) for number in (0, 1, EACH)]
  points = embedder.embed(images)
  near, far = squared(points[0], points[1]), squared(points[0], points[2])
  if near > far:
    images[1:] = images[:0:-1]
    near, far = far, near
  gap = far - near
  assert gap > 1e-3
  for margin, order, kind in (
    (gap / 2, (0, 1, 2), "easy"),
    (gap * 2, (0, 1, 2), "semi-hard"),
    (gap * 2, (0, 2, 1), "hard"),
    (gap / 2, (0, 1, 1), "hard"),
  ):
    run = with_loss(embedder, margin_end=margin, soft=soft)
    found = judge_triplet(run, *(images[place] for place in order))
    signed = {(0, 1, 2): gap, (0, 2, 1): -gap, (0, 1, 1): 0.0}[order]
    cost = margin - signed
    expected = np.log1p(np.exp(cost)) if soft else max(cost, 0)
    assert found.kind == kind
    assert found.gap == pytest.approx(signed, abs=1e-5)
    assert found.margin == margin
    assert found.loss == pytest.approx(expected, abs=1e-5)
    assert found.violated == (signed < margin)
    wanted = far if order[1] == 2 else near
    assert found.positive == pytest.approx(wanted, abs=1e-6)


def test_the_margin_of_a_damaged_config(lab, tmp_path):
  run = shutil.copytree(lab / "run", tmp_path / "run")
  config = json.loads((run / "config.json").read_text())
  config["loss"]["margin_end"] = "wide"
  (run / "config.json").write_text(json.dumps(config))
  embedder = Embedder.load(run, devices=ONE)
  with pytest.raises(
    UserError, match=r"loss.margin: expected a number.*'wide'"
  ):
    judge_triplet(embedder, *[pixels(0)] * 3)


def test_an_image_that_is_none(embedder):
  with pytest.raises(UserError, match="image 1 can't be read"):
    verify(embedder, pixels(0), b"x", threshold=1.0)
  with pytest.raises(UserError, match="image 2 can't be read"):
    judge_triplet(embedder, pixels(0), pixels(1), b"x")
