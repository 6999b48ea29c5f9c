import numpy as np
import pytest

from tripletjax.data import splits
from tripletjax.errors import UserError

LABELS = np.repeat(np.arange(10), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])[::-1] * 3


def is_partition(parts, count):
  together = np.sort(np.concatenate(parts))
  np.testing.assert_array_equal(together, np.arange(count))
  assert all((np.diff(part) > 0).all() for part in parts)


@pytest.mark.parametrize(
  ("fraction", "held"), [(0.01, 1), (0.2, 2), (0.5, 5), (0.99, 9)]
)
def test_identities_are_disjoint(fraction, held):
  parts = splits.hold_out(LABELS, fraction=fraction, seed=3)
  is_partition(parts, len(LABELS))
  train, evaluated = (set(LABELS[part]) for part in parts)
  assert not train & evaluated
  assert len(evaluated) == held


def test_the_seed_decides():
  drawn = [set(LABELS[splits.hold_out(LABELS, seed=s).eval]) for s in range(20)]
  assert drawn[0] == set(LABELS[splits.hold_out(LABELS, seed=0).eval])
  assert len({frozenset(one) for one in drawn}) > 5


def test_folds_hold_out_each_identity_once():
  held = [
    set(LABELS[splits.hold_out(LABELS, folds=3, fold=fold, seed=1).eval])
    for fold in range(3)
  ]
  assert sorted(map(len, held)) == [3, 3, 4]
  assert set.union(*held) == set(LABELS)


def test_images_are_held_out_of_each_identity():
  parts = splits.hold_out_images(LABELS, fraction=0.3, seed=0)
  is_partition(parts, len(LABELS))
  for label in np.unique(LABELS):
    count = (label == LABELS).sum()
    wanted = 0 if count == 1 else min(max(round(0.3 * count), 1), count - 1)
    assert (LABELS[parts.eval] == label).sum() == wanted


def test_folds_of_images_hold_out_each_image_once():
  labels = LABELS[np.isin(LABELS, np.arange(4, 10) * 3)]
  held = [
    splits.hold_out_images(labels, folds=4, fold=fold, seed=2).eval
    for fold in range(4)
  ]
  np.testing.assert_array_equal(
    np.sort(np.concatenate(held)), np.arange(len(labels))
  )
  assert all(set(labels[ids]) == set(labels) for ids in held)


def names(chosen, **kwargs):
  return splits.hold_out_names(
    chosen,
    labels=np.array([0, 0, 1, 2, 2]),
    label_names=("Greek/a", "Greek/b", "Latin/a"),
    groups=np.array([0, 0, 0, 1, 1]),
    group_names=("Greek", "Latin"),
    **kwargs,
  )


def test_names_are_identities_or_groups():
  assert names(["Latin"]).eval.tolist() == [3, 4]
  assert names(["Greek/b"]).eval.tolist() == [2]
  assert names(["Greek/a", "Latin"]).train.tolist() == [2]


def test_gallery_and_query():
  gallery, query = splits.gallery_and_query(LABELS, images=2, seed=0)
  is_partition((gallery, query), len(LABELS))
  for label in np.unique(LABELS):
    count = (label == LABELS).sum()
    assert (LABELS[gallery] == label).sum() == min(count, 2)


MISTAKES = [
  (lambda: splits.hold_out(np.zeros(3, int)), "split_by: expected at least 2"),
  (lambda: splits.hold_out(LABELS, fraction=1.0), "split_fraction: expected"),
  (lambda: splits.hold_out(LABELS, folds=1), "split_folds: expected 0, or 2"),
  (lambda: splits.hold_out(LABELS, folds=3, fold=3), "split_fold: expected 0"),
  (lambda: splits.hold_out(LABELS, folds=11), "split_by: expected at least 11"),
  (lambda: splits.hold_out_images(np.arange(4)), "two images or more"),
  (lambda: names(["Lao"]), "split_names: 'Lao' is no identity and no group"),
  (lambda: names(["Greek", "Latin"]), "nothing is left to train on"),
  (lambda: names([], field="data.split_file"), "data.split_file: nothing"),
  (lambda: splits.gallery_and_query(LABELS, images=0), "at least 1 image"),
  (lambda: splits.gallery_and_query(LABELS, images=10), "no identity has more"),
]


@pytest.mark.parametrize(("call", "message"), MISTAKES)
def test_mistakes(call, message):
  with pytest.raises(UserError, match=message):
    call()
