"""Slow NumPy oracles: loops over triplets, written from the definitions.

`MINERS` has one oracle for each miner of `tripletjax.MINERS`. It returns
groups of triplets `(a, p, n)`; a miner has to select exactly one triplet of
each group, and nothing else.
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


def all_triplets(d, positive, negative, margin):
  del margin
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


def all_hard(d, positive, negative, margin):
  del margin
  return band(d, positive, negative, -np.inf, 0)


def all_semi_hard(d, positive, negative, margin):
  return band(d, positive, negative, 0, margin)


def all_easy(d, positive, negative, margin):
  return band(d, positive, negative, margin, np.inf)


def batch_hard(d, positive, negative, margin):
  del margin
  groups = []
  for a in range(len(d)):
    ps, ns = np.flatnonzero(positive[a]), np.flatnonzero(negative[a])
    if len(ps) and len(ns):
      p = max(ps, key=lambda p: (d[a, p], -p))
      n = min(ns, key=lambda n: (d[a, n], n))
      groups.append([(a, int(p), int(n))])
  return groups


def semi_hard(d, positive, negative, margin):
  del margin
  groups = []
  for a, p in pairs(positive):
    beyond = [n for n in np.flatnonzero(negative[a]) if d[a, n] > d[a, p]]
    if beyond:
      groups.append([(a, p, int(min(beyond, key=lambda n: (d[a, n], n))))])
  return groups


def random_semi_hard(d, positive, negative, margin):
  groups = []
  for a, p in pairs(positive):
    group = [
      (a, p, int(n))
      for n in np.flatnonzero(negative[a])
      if d[a, p] < d[a, n] < d[a, p] + margin
    ]
    if group:
      groups.append(group)
  return groups


MINERS = {
  "all": all_triplets,
  "all_hard": all_hard,
  "all_semi_hard": all_semi_hard,
  "all_easy": all_easy,
  "batch_hard": batch_hard,
  "semi_hard": semi_hard,
  "random_semi_hard": random_semi_hard,
}


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


def reduce(values, reduction):
  """The three reductions of a list of losses."""
  active = [v for v in values if v > 0]
  divisor = {
    "sum": 1,
    "mean": max(len(values), 1),
    "mean_active": max(len(active), 1),
  }[reduction]
  return sum(values) / divisor
