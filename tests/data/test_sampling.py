import time
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from tripletjax.data.sampling import pk_sampler
from tripletjax.data.sampling_draws import draw_weighted
from tripletjax.data.sampling_index import index_labels
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


def test_the_batches_of_a_seed_stay_what_they_are():
  # The law by which runs were trained: a permutation of the identities for
  # each epoch, of which each batch takes the next P.
  sampler = pk_sampler(LABELS, identities=3, images=2, seed=9)
  usable = np.array([10 * i for i, count in enumerate(COUNTS) if count > 1])
  for t in range(7):
    turns = np.random.default_rng([9, 0, t // 3]).permutation(10)
    owners = LABELS[sampler[t].reshape(3, 2)[:, 0]]
    np.testing.assert_array_equal(owners, usable[turns[t % 3 * 3 :][:3]])


@pytest.mark.parametrize("dense", [True, False])
def test_the_index_is_a_stable_sort(dense):
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 60, 400) if dense else rng.integers(-9, 9**9, 400)
  labels[:50] = labels[50:100]
  index = index_labels(labels)
  assert index.order.tolist() == sorted(range(400), key=lambda i: labels[i])
  size = Counter(labels.tolist())
  usable = sorted(label for label, count in size.items() if count > 1)
  assert index.labels.tolist() == usable
  assert index.counts.tolist() == [size[label] for label in usable]
  assert labels[index.order[index.starts]].tolist() == usable
  assert index.lone == sum(count == 1 for count in size.values())


# Group g holds 2 + 3 g identities, of 3 images each: 2, 5, 8, 11.
SIZES = [2, 5, 8, 11]
GROUP_OF = np.random.default_rng(1).permutation(np.repeat(range(4), SIZES))
GROUP_LABELS = np.random.default_rng(2).permutation(np.arange(78) % 26)


def grouped(**keywords):
  arguments = {"identities": 4, "images": 2, "seed": 0, "within": "group"}
  groups = GROUP_OF[GROUP_LABELS]
  return pk_sampler(GROUP_LABELS, groups=groups, **arguments | keywords)


def test_a_batch_is_from_one_group_and_an_epoch_gives_each_its_share():
  sampler = grouped()
  assert (sampler.skipped_groups, sampler.skipped_identities) == (1, 2)
  # 5 // 4, 8 // 4 and 11 // 4 batches.
  assert sampler.batches_per_epoch == 1 + 2 + 2
  orders = set()
  for epoch in range(6):
    seen, order = [], []
    for t in range(5 * epoch, 5 * epoch + 5):
      labels = GROUP_LABELS[sampler[t].reshape(4, 2)]
      assert (labels[:, 0] == labels[:, 1]).all()
      (group,) = set(GROUP_OF[labels].ravel().tolist())
      order.append(group)
      seen.extend(labels[:, 0].tolist())
    assert len(seen) == len(set(seen)) == 20
    assert sorted(order) == [1, 2, 2, 3, 3]
    orders.add(tuple(order))
  assert len(orders) > 1
  assert grouped()[13].tolist() == sampler[13].tolist()


def test_all_identities_of_a_group_get_their_turn():
  sampler = grouped()
  seen = {i for t in range(100) for i in GROUP_LABELS[sampler[t]].tolist()}
  assert seen == set(np.flatnonzero(GROUP_OF > 0).tolist())


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"groups": None}, 'expected "", since the data has no groups'),
    ({"identities": 12}, "expected at most 11, the identities with two images"),
    ({"groups": np.arange(78)}, r"in more than one group \(26 of 26\)"),
    (
      {"groups": np.where(np.arange(78) == 5, 9, GROUP_OF[GROUP_LABELS])},
      r"in more than one group \(1 of 26\)",
    ),
    ({"within": "country"}, 'batch.within: expected "" or "group", got'),
    ({"weights": "log"}, "batch.weights: expected one of uniform, images, sq"),
  ],
)
def test_mistakes_about_groups_and_weights(changes, message):
  arguments = {
    "groups": GROUP_OF[GROUP_LABELS],
    "identities": 4,
    "images": 2,
    "seed": 0,
    "within": "group",
  }
  with pytest.raises(UserError, match=message):
    pk_sampler(GROUP_LABELS, **arguments | changes)


def successive(weights, count):
  """Probability of each set of `count`, drawn one by one by weight."""
  chances = Counter()

  def walk(chosen, chance):
    if len(chosen) == count:
      chances[tuple(sorted(chosen))] += chance
      return
    rest = [i for i in range(len(weights)) if i not in chosen]
    total = sum(weights[i] for i in rest)
    for i in rest:
      walk([*chosen, i], chance * weights[i] / total)

  walk([], 1.0)
  return chances


@pytest.mark.parametrize(("weights", "power"), [("images", 1.0), ("sqrt", 0.5)])
def test_identities_are_drawn_by_weight_without_repetition(weights, power):
  counts = [2, 4, 9, 16]
  labels = labels_of(counts) // 10
  sampler = pk_sampler(labels, identities=2, images=2, seed=0, weights=weights)
  draws = 3000
  found = Counter(
    tuple(sorted(set(labels[sampler[t]].tolist()))) for t in range(draws)
  )
  for pair, chance in successive([c**power for c in counts], 2).items():
    bound = 5 * np.sqrt(draws * chance * (1 - chance))
    assert abs(found[pair] - draws * chance) < bound
  assert sampler[123].tolist() == sampler[123].tolist()
  assert sampler.batches_per_epoch == 2


def test_a_heavy_identity_does_not_stop_the_draw():
  weights = np.array([1.0, 1e9, 2.0, 3.0])
  cumulative = np.append(0, np.cumsum(weights))
  rng = np.random.default_rng(0)
  draws = 2000
  found = Counter()
  for _ in range(draws):
    drawn = draw_weighted(rng, cumulative, start=0, stop=4, count=3)
    assert drawn[0] == 1
    assert len(set(drawn.tolist())) == 3
    found[tuple(sorted(drawn.tolist()))] += 1
  for chosen, chance in successive([1.0, 2.0, 3.0], 2).items():
    among = tuple(sorted([1, *([0, 2, 3][i] for i in chosen)]))
    bound = 5 * np.sqrt(draws * chance * (1 - chance))
    assert abs(found[among] - draws * chance) < bound


def test_weights_within_groups():
  sampler = grouped(weights="images")
  found = Counter()
  for t in range(2000):
    labels = GROUP_LABELS[sampler[t]][::2]
    assert len(set(labels.tolist())) == 4
    (group,) = set(GROUP_OF[labels].tolist())
    found[group] += 1
  # By their images, 3 an identity: 5, 8 and 11 of 24.
  for group, size in ((1, 5), (2, 8), (3, 11)):
    chance = size / 24
    bound = 5 * np.sqrt(2000 * chance * (1 - chance))
    assert abs(found[group] - 2000 * chance) < bound


def ring(count, width):
  """Each class is confused with those that follow it."""
  return (np.arange(count)[:, None] + np.arange(1, width + 1)) % count


def test_seeds_in_their_turn_bring_their_neighbours():
  labels = np.arange(120) % 30
  sampler = pk_sampler(
    labels, identities=6, images=2, seed=0, neighbours=ring(30, 2)
  )
  assert sampler.seeds == 2
  assert sampler.batches_per_epoch == 15
  first = []
  for t in range(15):
    owners = labels[sampler[t]][::2].tolist()
    assert len(set(owners)) == 6
    a, b = owners[:2]
    first += [a, b]
    nearest = [i % 30 for i in (a + 1, b + 1, a + 2, b + 2)]
    expected = list(dict.fromkeys([a, b, *nearest]))
    assert owners[: len(expected)] == expected
  assert sorted(first) == list(range(30))
  again = sampler.with_neighbours(None).with_neighbours(ring(30, 2))
  assert again[7].tolist() == sampler[7].tolist()
  other = sampler.with_neighbours(ring(30, 5)[:, 3:])
  # The seeds are the same, whatever the table.
  assert labels[other[7]][:4:2].tolist() == labels[sampler[7]][:4:2].tolist()
  assert other[7].tolist() != sampler[7].tolist()


def test_neighbours_that_cannot_be_sampled_are_passed_over():
  labels = np.array([0, 0, 1, 2, 2, 3, 3, 4, 4, 5, 5])  # 1 is alone
  table = np.full((6, 3), -1)
  table[:, 0] = 1
  sampler = pk_sampler(labels, identities=4, images=2, seed=0, neighbours=table)
  assert (sampler.seeds, sampler.batches_per_epoch) == (1, 5)
  turns = np.random.default_rng([0, 0, 0]).permutation(5)
  for t in range(5):
    owners = labels[sampler[t]][::2]
    following = np.array([0, 2, 3, 4, 5])[np.roll(turns, -t)[:4]]
    assert owners.tolist() == following.tolist()


def test_neighbours_of_a_wrong_shape():
  labels = np.arange(12) % 4
  for table in (ring(3, 2), np.zeros((4, 0), int), np.zeros(4, int)):
    with pytest.raises(ValueError, match=r"of the shape \[L, M\]"):
      pk_sampler(labels, identities=2, images=2, seed=0, neighbours=table)
  with pytest.raises(ValueError, match="without groups and weights"):
    grouped(neighbours=ring(26, 2))


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_the_parts_of_all_processes_are_the_batch(count):
  sampler = grouped()
  shards = [sampler.shard(index, count) for index in range(count)]
  for t in range(6):
    parts = [shard[t] for shard in shards]
    assert {len(part) for part in parts} == {8 // count}
    np.testing.assert_array_equal(np.concatenate(parts), sampler[t])
  assert len(shards[0]) == len(sampler)


def test_processes_that_cannot_share_a_batch():
  with pytest.raises(UserError, match="multiple of the 3 processes, got 8"):
    grouped().shard(0, 3)
  with pytest.raises(ValueError, match="expected 0 <= index < 2, got 2"):
    grouped().shard(2, 2)


def test_bytes_of_the_index():
  labels = np.arange(50_000) % 1_000
  sampler = pk_sampler(labels, identities=8, images=2, seed=0)
  # An id for each image; label, start and count for each identity.
  assert sampler.nbytes == 4 * 50_000 + 12 * 1_000
  weighted = pk_sampler(labels, identities=8, images=2, seed=0, weights="sqrt")
  assert weighted.nbytes == sampler.nbytes + 8 * 1_001
  hard = sampler.with_neighbours(ring(1_000, 5))
  assert hard.nbytes == sampler.nbytes + 4 * 5 * 1_000


@pytest.mark.slow
def test_a_million_identities():
  rng = np.random.default_rng(0)
  labels = rng.permutation(np.repeat(np.arange(1_000_000, dtype=np.int32), 10))
  start = time.perf_counter()
  sampler = pk_sampler(labels, identities=512, images=4, seed=0)
  seconds = time.perf_counter() - start
  assert seconds < 30
  assert sampler.nbytes == 4 * 10_000_000 + 12 * 1_000_000
  sampler[0]  # the epoch's order
  start = time.perf_counter()
  for t in range(100):
    sampler[t]
  assert time.perf_counter() - start < 1
  owners = labels[sampler[1234]].reshape(512, 4)
  assert (owners == owners[:, :1]).all()
  assert len(set(owners[:, 0].tolist())) == 512
