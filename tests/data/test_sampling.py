from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from tripletjax.data.sampling import pk_sampler
from tripletjax.errors import UserError

COUNTS = [1, 2, 3, 9, 4, 1, 5, 2, 7, 6, 4, 4]  # two lone, ten usable


def labels_of(counts, seed=0):
  labels = np.repeat(np.arange(len(counts)) * 10, counts)
  return np.random.default_rng(seed).permutation(labels)


LABELS = labels_of(COUNTS)


@pytest.mark.parametrize(("p", "k"), [(2, 2), (3, 4), (4, 2), (3, 9), (10, 4)])
def test_laws_of_every_batch(p, k):
  sampler = pk_sampler(LABELS, identities=p, images=k, seed=3)
  size = Counter(LABELS.tolist())
  for t in range(3 * sampler.batches_per_epoch):
    ids = sampler[t]
    assert (ids.dtype, ids.shape) == (np.int64, (p * k,))
    rows = ids.reshape(p, k)
    identities = [set(LABELS[row].tolist()) for row in rows]
    assert all(len(identity) == 1 for identity in identities)
    owners = [identity.pop() for identity in identities]
    assert len(set(owners)) == p
    for owner, row in zip(owners, rows.tolist(), strict=True):
      times = Counter(row)
      assert size[owner] > 1
      assert len(times) == min(k, size[owner])
      assert set(times.values()) <= {k // len(times), -(-k // len(times))}


@pytest.mark.parametrize("p", [2, 3, 5, 10])
def test_an_epoch_repeats_no_identity_and_covers_all_it_can(p):
  sampler = pk_sampler(LABELS, identities=p, images=2, seed=1)
  assert sampler.batches_per_epoch == 10 // p
  for epoch in range(4):
    seen = []
    for t in range(sampler.batches_per_epoch):
      batch = sampler[epoch * sampler.batches_per_epoch + t]
      seen.extend(LABELS[batch[::2]].tolist())
    assert len(seen) == len(set(seen)) == 10 // p * p


def test_a_batch_depends_on_seed_and_number_only():
  def make(seed):
    return pk_sampler(LABELS, identities=3, images=2, seed=seed)

  ahead = [make(5)[t].tolist() for t in range(12)]
  sampler = make(5)
  for t in (11, 3, 0, 7, 3):
    assert sampler[t].tolist() == ahead[t]
  assert len({tuple(batch) for batch in ahead}) == 12
  assert make(6)[0].tolist() != ahead[0]


def test_every_set_of_images_is_as_likely():
  sampler = pk_sampler([0] * 5 + [1] * 3, identities=2, images=4, seed=0)
  draws = 3000
  large, extra = Counter(), Counter()
  for t in range(draws):
    batch = sampler[t]
    large[tuple(sorted(batch[batch < 5].tolist()))] += 1
    extra[Counter(batch[batch >= 5].tolist()).most_common(1)[0][0]] += 1
  # Five standard deviations of a binomial count.
  for found, kinds in (
    (large, list(combinations(range(5), 4))),
    (extra, [5, 6, 7]),
  ):
    expected = draws / len(kinds)
    bound = 5 * np.sqrt(expected * (1 - 1 / len(kinds)))
    assert set(found) == set(kinds)
    assert all(abs(found[kind] - expected) < bound for kind in kinds)


def test_lone_identities_are_counted_and_never_sampled():
  sampler = pk_sampler(LABELS, identities=10, images=2, seed=0)
  assert sampler.lone == 2
  seen = {label for t in range(5) for label in LABELS[sampler[t]].tolist()}
  assert seen == {10 * i for i, count in enumerate(COUNTS) if count > 1}


def test_length_and_bounds():
  sampler = pk_sampler(LABELS, identities=2, images=2, seed=0, num_batches=7)
  assert len(sampler) == 7
  assert len(list(sampler)) == 7
  for index in (-1, 7):
    with pytest.raises(IndexError, match="expected 0 <= index < 7"):
      sampler[index]
  endless = pk_sampler(LABELS, identities=2, images=2, seed=0)
  assert endless[10**12].shape == (4,)


def test_many_images():
  labels = np.arange(300_000) % 100_000
  sampler = pk_sampler(labels, identities=512, images=3, seed=0)
  assert sampler.batches_per_epoch == 100_000 // 512
  identities = labels[sampler[12345]].reshape(512, 3)
  assert (identities == identities[:, :1]).all()


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      {"identities": 11},
      "batch.identities: expected at most 10, the identities with two images "
      "or more, got 11",
    ),
    (
      {"identities": 1},
      "batch.identities: expected at least 2, got 1; an anchor needs a "
      "negative",
    ),
    (
      {"images": 1},
      "batch.images: expected at least 2, got 1; an anchor needs a positive",
    ),
    (
      {"images": 10},
      "batch.images: expected at most 9, the images of the largest identity, "
      "got 10",
    ),
    (
      {"identities": 10, "images": 5},
      "batch.identities x batch.images: expected at most 46, the images of all "
      "these identities, got 10 x 5 = 50",
    ),
    ({"seed": -1}, "seed: expected 0 or more, got -1"),
  ],
)
def test_mistakes_name_the_field(changes, message):
  arguments = {"identities": 2, "images": 2, "seed": 0} | changes
  with pytest.raises(UserError) as error:
    pk_sampler(LABELS, **arguments)
  assert str(error.value) == message


def test_nothing_to_sample_from():
  for labels in ([], [1, 2, 3]):
    with pytest.raises(UserError, match="expected at most 0"):
      pk_sampler(labels, identities=2, images=2, seed=0)
