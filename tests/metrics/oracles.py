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


def ranking(distances, query_labels, gallery_labels, excluded):
  """For each query: is the nearest, the second nearest, ... a match?"""
  rows = []
  for i in range(len(query_labels)):
    others = [j for j in range(len(gallery_labels)) if not excluded(i, j)]
    others.sort(key=lambda j: (distances[i, j], j))
    rows.append([bool(gallery_labels[j] == query_labels[i]) for j in others])
  return rows


def average_precision_by_trapezoids(match):
  """Oxford Buildings' compute_ap, line by line."""
  old_recall, old_precision, ap, hits = 0.0, 1.0, 0.0, 0
  for i, good in enumerate(match):
    hits += good
    recall, precision = hits / sum(match), hits / (i + 1)
    ap += (recall - old_recall) * (old_precision + precision) / 2
    old_recall, old_precision = recall, precision
  return ap


def retrieval(
  distances, query_labels, gallery_labels, *, ks, itself=False, excluded=None
):
  if excluded is None:
    excluded = lambda i, j: itself and i == j  # noqa: E731
  rows = []
  lone = 0
  for match in ranking(distances, query_labels, gallery_labels, excluded):
    r = sum(match)
    if r == 0:
      lone += 1
      continue
    row = [float(any(match[:k])) for k in ks]
    row.append(float(match[0]))
    row.append(sum(match[:r]) / r)
    precision = [sum(match[: n + 1]) / (n + 1) for n in range(len(match))]
    at = [n for n in range(len(match)) if match[n]]
    row.append(sum(precision[n] for n in at if n < r) / r)
    row.append(sum(precision[n] for n in at) / r)
    row.append(average_precision_by_trapezoids(match))
    row.append(1 / (1 + at[0]))
    gain = sum(1 / math.log2(n + 2) for n in at)
    row.append(gain / sum(1 / math.log2(n + 2) for n in range(r)))
    rows.append(row)
  names = [*(f"recall@{k}" for k in ks), "precision@1", "r_precision"]
  names += ["map@r", "map", "map_trapezoid", "mrr", "ndcg"]
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


def identification(distances, query_labels, gallery_labels, *, ranks, fpir):
  """`distances` is inf where a gallery entry isn't there for a query."""
  known, strangers = [], []
  for row, label in zip(distances, query_labels, strict=True):
    nearest: dict = {}
    for d, other, j in sorted(
      zip(row, gallery_labels, range(len(row)), strict=True)
    ):
      if d < math.inf:
        nearest.setdefault(other, d)
      del j
    lowest: dict = {}
    for j, other in enumerate(gallery_labels):
      lowest.setdefault(other, j)
    order = sorted(nearest, key=lambda other: (nearest[other], lowest[other]))
    if label in nearest:
      known.append((order.index(label) + 1, min(nearest.values())))
    else:
      strangers.append(min(nearest.values()))
  scores = {
    f"rank@{k}": sum(rank <= k for rank, _ in known) / len(known) for k in ranks
  }
  for key, rate in fpir:
    best = math.nan if len(strangers) < 1 / rate else 0.0
    for threshold in sorted({d for _, d in known}):
      false = Fraction(sum(d <= threshold for d in strangers), len(strangers))
      if false <= rate:
        hits = sum(rank == 1 and d <= threshold for rank, d in known)
        best = max(best, hits / len(known))
    scores[f"tpir@fpir={key}"] = best
  return scores | {
    "known_queries": len(known),
    "unknown_queries": len(strangers),
  }


def bcubed(labels, clusters):
  """Precision and recall, image by image."""
  everyone = range(len(labels))
  precision, recall = [], []
  for i in everyone:
    together = [j for j in everyone if clusters[j] == clusters[i]]
    alike = [j for j in everyone if labels[j] == labels[i]]
    both = len(set(together) & set(alike))
    precision.append(both / len(together))
    recall.append(both / len(alike))
  return sum(precision) / len(labels), sum(recall) / len(labels)


def pairwise(labels, clusters):
  pairs = list(itertools.combinations(range(len(labels)), 2))
  alike = {p for p in pairs if labels[p[0]] == labels[p[1]]}
  together = {p for p in pairs if clusters[p[0]] == clusters[p[1]]}
  both = len(alike & together)
  return both / len(together), both / len(alike)


def mutual_information(labels, clusters):
  """Normalised by the mean of the entropies."""

  def entropy(values):
    shares = [values.count(v) / len(values) for v in set(values)]
    return -sum(p * math.log(p) for p in shares)

  joint = list(zip(labels, clusters, strict=True))
  one, other = entropy(list(labels)), entropy(list(clusters))
  return (one + other - entropy(joint)) / ((one + other) / 2)


def hubness(distances, k):
  count = len(distances)
  often = [0] * count
  for i in range(count):
    others = sorted(
      (j for j in range(count) if j != i), key=lambda j: (distances[i][j], j)
    )
    for j in others[:k]:
      often[j] += 1
  mean = sum(often) / count
  second = sum((n - mean) ** 2 for n in often) / count
  third = sum((n - mean) ** 3 for n in often) / count
  return third / second**1.5


def one_shot_error(matrix, query_labels, support_labels):
  errors = []
  for row, label in zip(matrix, query_labels, strict=True):
    tied = {
      other
      for d, other in zip(row, support_labels, strict=True)
      if d == min(row)
    }
    errors.append(1 - (label in tied) / len(tied))
  return sum(errors) / len(errors)
