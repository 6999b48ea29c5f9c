"""Slow oracles of the losses of pairs and anchors: loops, in float64.

Each takes distances, masks and hyperparameters, and returns its terms as a list
of `(anchor, value)`.
"""

import numpy as np


def columns(mask, a):
  return [int(r) for r in np.flatnonzero(mask[a])]


def contrastive(d, positive, negative, *, margin, positive_margin):
  terms = []
  for a in range(len(d)):
    for p in columns(positive, a):
      terms.append((a, max(d[a, p] - positive_margin, 0.0)))
    for n in columns(negative, a):
      terms.append((a, max(margin - d[a, n], 0.0)))
  return terms


def margin(d, positive, negative, *, margin, beta):
  """`beta`: a scalar, or one for each anchor."""
  betas = np.broadcast_to(beta, len(d))
  terms = []
  for a in range(len(d)):
    for p in columns(positive, a):
      terms.append((a, max(margin + d[a, p] - betas[a], 0.0)))
    for n in columns(negative, a):
      terms.append((a, max(margin - d[a, n] + betas[a], 0.0)))
  return terms


def mined_margin(d, positive, negative, *, margin, beta):
  """Each pair with its nearest negative beyond the positive: two terms."""
  betas = np.broadcast_to(beta, len(d))
  terms = []
  for a in range(len(d)):
    for p in columns(positive, a):
      beyond = [d[a, n] for n in columns(negative, a) if d[a, n] > d[a, p]]
      if beyond:
        terms.append((a, max(margin + d[a, p] - betas[a], 0.0)))
        terms.append((a, max(margin - min(beyond) + betas[a], 0.0)))
  return terms


def lifted_structure(d, positive, negative, *, margin):
  terms = []
  for a in range(len(d)):
    ps, ns = columns(positive, a), columns(negative, a)
    if ps and ns:
      pull = np.log(sum(np.exp(d[a, p]) for p in ps))
      push = np.log(sum(np.exp(margin - d[a, n]) for n in ns))
      terms.append((a, max(pull + push, 0.0)))
  return terms


def n_pair(d, positive, negative):
  return nt_xent(d, positive, negative, temperature=1.0)


def nt_xent(d, positive, negative, *, temperature):
  e = np.exp(-d / temperature)
  terms = []
  for a in range(len(d)):
    ns = columns(negative, a)
    for p in columns(positive, a):
      if ns:
        share = e[a, p] / (e[a, p] + sum(e[a, n] for n in ns))
        terms.append((a, -np.log(share)))
  return terms


def sup_con(d, positive, negative, *, temperature):
  e = np.exp(-d / temperature)
  terms = []
  for a in range(len(d)):
    ps = columns(positive, a)
    if ps:
      others = sum(e[a, x] for x in ps + columns(negative, a))
      values = [-np.log(e[a, p] / others) for p in ps]
      terms.append((a, sum(values) / len(ps)))
  return terms


def multi_similarity(d, positive, negative, *, alpha, beta, base, epsilon=None):
  s = 1 - d
  terms = []
  for a in range(len(d)):
    ps, ns = columns(positive, a), columns(negative, a)
    if epsilon is not None:
      if not ps or not ns:
        continue
      least, most = min(s[a, p] for p in ps), max(s[a, n] for n in ns)
      ps = [p for p in ps if s[a, p] < most + epsilon]
      ns = [n for n in ns if s[a, n] > least - epsilon]
    if ps or ns:
      pull = 1 + sum(np.exp(-alpha * (s[a, p] - base)) for p in ps)
      push = 1 + sum(np.exp(beta * (s[a, n] - base)) for n in ns)
      terms.append((a, np.log(pull) / alpha + np.log(push) / beta))
  return terms


def circle(d, positive, negative, *, margin, gamma, weights_of=None):
  """`weights_of`: the distances and the margin that the weights are of."""
  weights_d, m = (d, margin) if weights_of is None else weights_of
  s, w = 1 - d, 1 - weights_d
  terms = []
  for a in range(len(d)):
    ps, ns = columns(positive, a), columns(negative, a)
    if ps and ns:
      pull = sum(
        np.exp(-gamma * max(1 + m - w[a, p], 0) * (s[a, p] - 1 + margin))
        for p in ps
      )
      push = sum(
        np.exp(gamma * max(w[a, n] + m, 0) * (s[a, n] - margin)) for n in ns
      )
      # softplus(log push + log pull)
      terms.append((a, np.log(1 + push * pull)))
  return terms


ORACLES = {
  "contrastive": contrastive,
  "margin": margin,
  "mined_margin": mined_margin,
  "lifted_structure": lifted_structure,
  "n_pair": n_pair,
  "multi_similarity": multi_similarity,
  "nt_xent": nt_xent,
  "sup_con": sup_con,
  "circle": circle,
}


def reduce(terms, reduction, *, pairs, anchors):
  """The reductions of a list of terms; `pairs` are the positive ones."""
  divisors = {
    "sum": 1,
    "mean": len(terms),
    "mean_active": sum(value > 0 for _, value in terms),
    "per_pair": pairs,
    "per_anchor": anchors,
  }
  return sum(value for _, value in terms) / max(divisors[reduction], 1)
