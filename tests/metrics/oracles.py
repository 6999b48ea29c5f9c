"""The metrics again, as slow loops over pairs, ranks and thresholds."""

import itertools
import math
from fractions import Fraction

import numpy as np


def squared_euclidean(x, y):
  out = np.zeros((len(x), len(y)))
  for i in range(len(x)):
    for j in range(len(y)):
      out[i, j] = sum(
        (float(a) - float(b)) ** 2 for a, b in zip(x[i], y[j], strict=True)
      )
  return out


def retrieval(distances, query_labels, gallery_labels, *, ks, itself):
  rows = []
  lone = 0
  for i in range(len(query_labels)):
    others = [j for j in range(len(gallery_labels)) if not (itself and j == i)]
    others.sort(key=lambda j: (distances[i, j], j))
    match = [bool(gallery_labels[j] == query_labels[i]) for j in others]
    r = sum(match)
    if r == 0:
      lone += 1
      continue
    row = [float(any(match[:k])) for k in ks]
    row.append(sum(match[:r]) / r)
    average = 0.0
    for n in range(1, r + 1):
      if match[n - 1]:
        average += sum(match[:n]) / n
    rows.append([*row, average / r])
  names = [*(f"recall@{k}" for k in ks), "r_precision", "map@r"]
  values = [
    math.fsum(row[c] for row in rows) / len(rows) if rows else math.nan
    for c in range(len(names))
  ]
  return dict(zip(names, values, strict=True)) | {
    "queries": len(query_labels),
    "queries_without_match": lone,
  }


def auc(distances, is_same):
  same = [d for d, s in zip(distances, is_same, strict=True) if s]
  different = [d for d, s in zip(distances, is_same, strict=True) if not s]
  wins = Fraction(0)
  for s in same:
    for d in different:
      wins += Fraction(1) if s < d else Fraction(1, 2) if s == d else 0
  return float(wins / (len(same) * len(different)))


def rates(distances, is_same, threshold):
  """(TAR, FAR) at a threshold, as fractions."""
  # int: a Fraction of NumPy integers would overflow
  accept = [int(d <= threshold) for d in distances]
  same = sum(int(s) for s in is_same)
  true = sum(a * int(s) for a, s in zip(accept, is_same, strict=True))
  false = sum(a * (1 - int(s)) for a, s in zip(accept, is_same, strict=True))
  return Fraction(true, same), Fraction(false, len(is_same) - same)


def tar_at_far(distances, is_same, far):
  """`far` is a Fraction."""
  different = sum(not s for s in is_same)
  if different < 1 / far:
    return math.nan
  best = Fraction(0)
  for threshold in sorted(set(distances)):
    tar, false = rates(distances, is_same, threshold)
    if false <= far:
      best = tar
  return float(best)


def eer(distances, is_same):
  """Bisects the polyline of (FAR, TAR) for FAR = 1 - TAR."""
  points = [(Fraction(0), Fraction(0))]
  for threshold in sorted(set(distances)):
    tar, far = rates(distances, is_same, threshold)
    points.append((far, tar))
  for (far0, tar0), (far1, tar1) in itertools.pairwise(points):
    if far1 >= 1 - tar1:
      low, high = Fraction(0), Fraction(1)
      for _ in range(60):
        t = (low + high) / 2
        far, tar = far0 + t * (far1 - far0), tar0 + t * (tar1 - tar0)
        low, high = (low, t) if far >= 1 - tar else (t, high)
      return float(far0 + high * (far1 - far0))
  raise AssertionError("the curve ends at (1, 1)")


def best_threshold(distances, is_same):
  values = sorted({float(d) for d in distances})
  candidates = [-math.inf]
  candidates += [(a + b) / 2 for a, b in itertools.pairwise(values)]
  candidates.append(values[-1])
  score = [
    sum((d <= t) == bool(s) for d, s in zip(distances, is_same, strict=True))
    for t in candidates
  ]
  return candidates[score.index(max(score))]
