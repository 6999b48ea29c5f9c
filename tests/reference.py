"""Slow NumPy oracles: loops over triplets, written from the definitions.

`MINERS` has one oracle for each miner of `tripletjax.MINERS`. It returns
groups of triplets `(a, p, n)`; a miner has to select exactly one triplet of
each group, and nothing else. A group that holds None may stay without.
"""

import itertools

import numpy as np


def masks(labels, ids=None, where=None):
  """Positive and negative masks, `[A, A]` each."""
  count = len(labels)
  ids = np.arange(count) if ids is None else ids
  where = np.ones(count, bool) if where is None else where
  positive = np.zeros((count, count), bool)
  negative = np.zeros((count, count), bool)
  for a, r in itertools.product(range(count), range(count)):
    if where[a] and where[r]:
      positive[a, r] = labels[a] == labels[r] and ids[a] != ids[r]
      negative[a, r] = labels[a] != labels[r]
  return positive, negative


def pairs(positive):
  return [tuple(map(int, pair)) for pair in np.argwhere(positive)]


def all_triplets(d, positive, negative, margin, points=None):
  return [
    [(a, p, int(n))]
    for a, p in pairs(positive)
    for n in np.flatnonzero(negative[a])
  ]


def band(d, positive, negative, low, high):
  return [
    group
    for group in all_triplets(d, positive, negative, None)
    for a, p, n in group
    if low < d[a, n] - d[a, p] <= high
  ]


def all_hard(d, positive, negative, margin, points=None):
  return band(d, positive, negative, -np.inf, 0)


def all_semi_hard(d, positive, negative, margin, points=None):
  return band(d, positive, negative, 0, margin)


def all_easy(d, positive, negative, margin, points=None):
  return band(d, positive, negative, margin, np.inf)


def one_triplet(positive_way, negative_way):
  """Of each anchor one positive and one negative, each by its way."""

  def choices(way, d_row, columns, hardest):
    """The columns a way may take; `hardest` is max or min."""
    columns = [int(c) for c in columns]
    if not columns or way == "random":
      return columns
    easiest = min if hardest is max else max
    best = (hardest if way == "hard" else easiest)(d_row[c] for c in columns)
    return [next(c for c in columns if d_row[c] == best)]

  def oracle(d, positive, negative, margin, points=None):
    groups = []
    for a in range(len(d)):
      row, group = d[a], []
      ps, ns = np.flatnonzero(positive[a]), np.flatnonzero(negative[a])
      if positive_way == negative_way == "semi_hard":
        ordered = [(p, n) for p in ps for n in ns if row[p] < row[n]]
        if ordered:
          # Rounded, as the gap is.
          gap = {(p, n): np.float32(row[n] - row[p]) for p, n in ordered}
          least = min(gap.values())
          p, n = next(pair for pair in ordered if gap[pair] == least)
          group = [(a, int(p), int(n))]
      elif positive_way == "semi_hard":
        for n in choices(negative_way, row, ns, min):
          nearer = [p for p in ps if row[p] < row[n]]
          chosen = choices("hard", row, nearer, max)
          group += [(a, p, n) for p in chosen] or [None]
      else:
        for p in choices(positive_way, row, ps, max):
          if negative_way == "semi_hard":
            beyond = [n for n in ns if row[n] > row[p]]
            chosen = choices("hard", row, beyond, min)
          else:
            chosen = choices(negative_way, row, ns, min)
          group += [(a, p, n) for n in chosen] or [None]
      if any(triplet is not None for triplet in group):
        groups.append(group)
    return groups

  return oracle


def each_pair(candidates):
  """One negative for each pair, of those that `candidates` allows."""

  def oracle(d, positive, negative, margin, points=None):
    groups = []
    for a, p in pairs(positive):
      ns = candidates(d[a], d[a, p], np.flatnonzero(negative[a]), margin)
      if len(ns):
        groups.append([(a, p, int(n)) for n in ns])
    return groups

  return oracle


def nearest(row, columns):
  return sorted(columns, key=lambda n: (row[n], n))[:1]


def n_hardest(d, positive, negative, margin, points=None):
  """Two positives and four negatives."""
  groups = []
  for a in range(len(d)):
    ps = sorted(np.flatnonzero(positive[a]), key=lambda p: (-d[a, p], p))[:2]
    ns = sorted(np.flatnonzero(negative[a]), key=lambda n: (d[a, n], n))[:4]
    groups += [[(a, int(p), int(n))] for p in ps for n in ns]
  return groups


def multi_similarity(d, positive, negative, margin, points=None):
  groups = []
  for ((a, p, n),) in all_triplets(d, positive, negative, None):
    farthest = max(d[a, q] for q in np.flatnonzero(positive[a]))
    closest = min(d[a, m] for m in np.flatnonzero(negative[a]))
    epsilon = np.float32(0.1)
    if d[a, n] < farthest + epsilon and d[a, p] > closest - epsilon:
      groups.append([(a, p, n)])
  return groups


def pair_margin(d, positive, negative, margin, points=None):
  return [
    [(a, p, n)]
    for ((a, p, n),) in all_triplets(d, positive, negative, None)
    if d[a, p] > np.float32(0.2) and d[a, n] < np.float32(0.8)
  ]


def angular(d, positive, negative, margin, points=None):
  x = points.astype(np.float64)
  groups = []
  for ((a, p, n),) in all_triplets(d, positive, negative, None):
    length = np.linalg.norm(x[a] - x[p])
    height = np.linalg.norm(x[n] - (x[a] + x[p]) / 2)
    if np.degrees(np.arctan2(length, 2 * height)) > 20:
      groups.append([(a, p, n)])
  return groups


MINERS = {
  "all": all_triplets,
  "all_hard": all_hard,
  "all_semi_hard": all_semi_hard,
  "all_easy": all_easy,
  "batch_hard": one_triplet("hard", "hard"),
  "semi_hard": each_pair(
    lambda d, ap, ns, m: nearest(d, [n for n in ns if d[n] > ap])
  ),
  "random_semi_hard": each_pair(
    lambda d, ap, ns, m: [n for n in ns if 0 < d[n] - ap < m]
  ),
  "random_violating": each_pair(
    lambda d, ap, ns, m: [n for n in ns if d[n] - ap < m]
  ),
  "random": each_pair(lambda d, ap, ns, m: ns),
  "hardest_negative": each_pair(lambda d, ap, ns, m: nearest(d, ns)),
  "n_hardest": n_hardest,
  "distance_weighted": each_pair(
    lambda d, ap, ns, m: [n for n in ns if d[n] < np.float32(1.4)]
  ),
  "multi_similarity": multi_similarity,
  "pair_margin": pair_margin,
  "angular": angular,
  "easy_positive": one_triplet("easy", "hard"),
  **{
    f"{p}_positive_{n}_negative": one_triplet(p, n)
    for p, n in itertools.product(
      ("easy", "semi_hard", "hard", "random"), repeat=2
    )
    if (p, n) not in {("easy", "hard"), ("hard", "hard")}
  },
}

# Those that draw: two calls with other keys may differ.
DRAWN = {name for name in MINERS if "random" in name} | {"distance_weighted"}


def squared_euclidean(x, y):
  return np.array([[np.sum((a - b) ** 2) for b in y] for a in x])


def euclidean(x, y):
  return np.array([[np.sqrt(np.sum((a - b) ** 2)) for b in y] for a in x])


def cosine(x, y):
  def cos(a, b):
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return np.dot(a, b) / norms if norms else 0.0

  return np.array([[1 - cos(a, b) for b in y] for a in x])


def dot(x, y):
  return np.array([[-sum(a * b) for b in y] for a in x])


def angular(x, y):
  return np.arccos(np.clip(1 - cosine(x, y), -1, 1))


def manhattan(x, y):
  return np.array([[sum(abs(a - b)) for b in y] for a in x])


DISTANCES = {
  "squared_euclidean": squared_euclidean,
  "euclidean": euclidean,
  "cosine": cosine,
  "dot": dot,
  "angular": angular,
  "manhattan": manhattan,
}


def loss_and_gradient(d, triplets, margin, soft=False):
  """Values of the triplets, and the gradient of their sum by `d`."""
  values, gradient = [], np.zeros_like(d)
  for a, p, n in triplets:
    shortfall = float(d[a, p] - d[a, n] + margin)
    if soft:
      values.append(np.log(1 + np.exp(shortfall)))
      slope = 1 / (1 + np.exp(-shortfall))
    else:
      values.append(max(shortfall, 0.0))
      slope = 1.0 if shortfall > 0 else 0.0
    gradient[a, p] += slope
    gradient[a, n] -= slope
  return np.array(values), gradient


def reduce(values, reduction, pairs=None, anchors=None):
  """The reductions of a list of losses."""
  active = [v for v in values if v > 0]
  divisor = {
    "sum": 1,
    "mean": max(len(values), 1),
    "mean_active": max(len(active), 1),
    "per_pair": pairs,
    "per_anchor": anchors,
  }[reduction]
  return sum(values) / divisor
