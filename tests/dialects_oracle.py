"""Slow oracles of the dialects, from the libraries' published code; float64.

Each takes embeddings `[A, D]` and labels `[A]`. `FIXED` gives a `Result`,
`DRAWN` a `Draw`: what may be drawn for each pair that isn't dropped.
"""

from typing import NamedTuple

import numpy as np


class Result(NamedTuple):
  value: float
  selected: int
  active: int


class Draw(NamedTuple):
  """Losses of the candidates of each pair, and their probabilities."""

  losses: list
  probabilities: list

  def expected(self):
    return np.mean(
      [
        np.dot(p, loss)
        for p, loss in zip(self.probabilities, self.losses, strict=True)
      ]
    )

  def bounds(self):
    return (
      np.mean([min(loss) for loss in self.losses]),
      np.mean([max(loss) for loss in self.losses]),
    )


def euclidean(x):
  return np.linalg.norm(x[:, None] - x[None], axis=-1)


def on_the_sphere(x):
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def positives(labels, a):
  return [i for i in range(len(labels)) if labels[i] == labels[a] and i != a]


def negatives(labels, a):
  return [i for i in range(len(labels)) if labels[i] != labels[a]]


def pairs(labels):
  return [(a, p) for a in range(len(labels)) for p in positives(labels, a)]


def triplets(labels):
  return [(a, p, n) for a, p in pairs(labels) for n in negatives(labels, a)]


def divided(values, divisor):
  active = sum(value > 0 for value in values)
  return Result(sum(values) / max(divisor, 1), len(values), active)


def mean_of_positive(values):
  return divided(values, sum(value > 0 for value in values))


# tensorflow_addons/losses/triplet.py and sentence-transformers.


def addons_semi_hard(x, labels, margin):
  d, values = euclidean(x), []
  for a, p in pairs(labels):
    all_an = [d[a, n] for n in negatives(labels, a)]
    outside = [an for an in all_an if an > d[a, p]]
    an = min(outside) if outside else max(all_an)
    values.append(max(margin + d[a, p] - an, 0.0))
  return divided(values, len(pairs(labels)))


def hardest(x, labels):
  """`ap - an` of every anchor; `_masked_maximum` of nothing is d[a, a] = 0."""
  d = euclidean(x)
  return [
    max([d[a, p] for p in positives(labels, a)], default=0.0)
    - min(d[a, n] for n in negatives(labels, a))
    for a in range(len(labels))
  ]


def addons_hard(x, labels):
  return divided(
    [max(gap + 1.0, 0.0) for gap in hardest(x, labels)], len(labels)
  )


# VisualComputingInstitute/triplet-reid, loss.py, margin "soft".


def reid_batch_hard(x, labels):
  return divided(
    [np.log1p(np.exp(gap)) for gap in hardest(x, labels)], len(labels)
  )


# pytorch-metric-learning: miners/triplet_margin_miner.py, LpDistance,
# AvgNonZeroReducer.


def margin_miner(x, labels, keep, margin=0.2):
  d = euclidean(on_the_sphere(x))
  gaps = [d[a, n] - d[a, p] for a, p, n in triplets(labels)]
  return mean_of_positive([max(margin - g, 0.0) for g in gaps if keep(g)])


def easy_hard_miner(x, labels, easy):
  """`BatchEasyHardMiner`: easy and semi-hard, or hard and hard."""
  d, values = euclidean(on_the_sphere(x)), []
  for a in range(len(labels)):
    ap = [d[a, p] for p in positives(labels, a)]
    if not ap:
      continue
    ap = min(ap) if easy else max(ap)
    an = [d[a, n] for n in negatives(labels, a) if not easy or d[a, n] > ap]
    if an:
      values.append(max(ap - min(an) + 0.2, 0.0))
  return mean_of_positive(values)


# tensorflow_similarity/losses: utils.py, triplet_loss.py; margin 1.


def similarity_semi_hard(x, labels):
  unit = on_the_sphere(x)
  d, values = 1 - unit @ unit.T, []
  for a in range(len(labels)):
    max_positive = max([d[a, p] for p in positives(labels, a)], default=0.0)
    all_an = [d[a, n] for n in negatives(labels, a)]
    greater = [an for an in all_an if an > max_positive]
    an = min(greater) if greater else max(all_an)
    values.append(max(max_positive - an + 1.0, 0.0))
  return divided(values, len(labels))


# omoindrot/tensorflow-triplet-loss and open-metric-learning.


def every_triplet(x, labels, margin):
  d = euclidean(x)
  return [max(d[a, p] - d[a, n] + margin, 0.0) for a, p, n in triplets(labels)]


def omoindrot(x, labels):
  return mean_of_positive(every_triplet(x, labels, 0.5))


def open_metric_learning(x, labels):
  values = every_triplet(x, labels, 0.1)
  return divided(values, len(values))


FIXED = {
  "tfa_semi_hard": lambda x, y: addons_semi_hard(x, y, 1.0),
  "tfa_hard": addons_hard,
  "sentence_transformers_semi_hard": lambda x, y: addons_semi_hard(x, y, 5.0),
  "pml_all": lambda x, y: margin_miner(x, y, lambda gap: gap <= 0.2),
  "pml_hard": lambda x, y: margin_miner(x, y, lambda gap: gap <= 0),
  "pml_semi_hard": lambda x, y: margin_miner(x, y, lambda g: 0 < g <= 0.2),
  "pml_easy": lambda x, y: margin_miner(x, y, lambda gap: gap > 0.2),
  "pml_batch_hard": lambda x, y: easy_hard_miner(x, y, easy=False),
  "pml_batch_easy_hard": lambda x, y: easy_hard_miner(x, y, easy=True),
  "tf_similarity_semi_hard": similarity_semi_hard,
  "omoindrot_batch_all": omoindrot,
  "hermans_batch_hard": reid_batch_hard,
  "oml_batch_all": open_metric_learning,
}


def drawn(d, labels, chosen_pairs, margin, weigh):
  """What each pair may draw; `weigh` maps ap and an to a weight."""
  draw = Draw([], [])
  for a, p in chosen_pairs:
    all_an = np.array([d[a, n] for n in negatives(labels, a)])
    weights = np.array([float(weigh(d[a, p], an)) for an in all_an])
    if weights.sum() > 0:
      draw.losses.append(np.maximum(d[a, p] - all_an + margin, 0)[weights > 0])
      draw.probabilities.append(weights[weights > 0] / weights.sum())
  return draw


def one_way(labels):
  return [(a, p) for a, p in pairs(labels) if a < p]


def facenet(x, labels):
  d = euclidean(on_the_sphere(x)) ** 2
  return drawn(d, labels, pairs(labels), 0.2, lambda ap, an: 0 < an - ap < 0.2)


def davidsandberg(x, labels):
  d = euclidean(x) ** 2
  return drawn(d, labels, one_way(labels), 0.2, lambda ap, an: an - ap < 0.2)


def insightface(x, labels):
  d = euclidean(x) ** 2
  return drawn(
    d, labels, one_way(labels), 0.3, lambda ap, an: 0 < an - ap < 0.3
  )


def sampling_matters(x, labels):
  dimension = x.shape[1]

  def weigh(ap, an):
    del ap
    if an >= 1.4:
      return 0.0
    t = max(an, 0.5)
    density = t ** (dimension - 2) * (1 - t * t / 4) ** ((dimension - 3) / 2)
    return 1 / density

  d = euclidean(on_the_sphere(x))
  return drawn(d, labels, pairs(labels), 0.2, weigh)


DRAWN = {
  "facenet": facenet,
  "davidsandberg": davidsandberg,
  "insightface": insightface,
  "sampling_matters": sampling_matters,
}


def gradient(oracle, x, labels, step=1e-5):
  """Central differences of a `FIXED` oracle's value."""
  slopes = np.zeros_like(x)
  for at in np.ndindex(*x.shape):
    ends = []
    for sign in (1, -1):
      moved = x.copy()
      moved[at] += sign * step
      ends.append(oracle(moved, labels).value)
    slopes[at] = (ends[0] - ends[1]) / (2 * step)
  return slopes
