"""The dialects by the libraries themselves, where they are installed.

`pip install 'tripletjax[peers]'` brings those that run beside JAX. TensorFlow
Addons, TensorFlow Similarity and open-metric-learning ask for NumPy below 2,
JAX for 2 or newer: no environment holds both. For `tfa_*`, `omoindrot_*`,
`hermans_*` and `oml_*` a library that computes the same stands in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

# A loss of torch tensors, embeddings and labels; and its maker, of a margin.
LossFn = Callable[[Any, Any], Any]
MakeFn = Callable[[float], LossFn]


def value_and_gradient(
  dialect: str, embeddings: np.ndarray, labels: np.ndarray, margin: float
) -> tuple[float, np.ndarray]:
  """A dialect of `PEERS` by its peer, in float64.

  Returns:
    The loss, and its gradient by the embeddings, `[A, D]`.

  Raises:
    ImportError: the peer isn't installed.
  """
  import torch

  loss_fn = PEERS[dialect][1](margin)
  points = torch.tensor(embeddings, dtype=torch.float64, requires_grad=True)
  loss = loss_fn(points, torch.tensor(labels, dtype=torch.int64))
  (gradient,) = torch.autograd.grad(loss, points)
  return loss.item(), gradient.numpy()


def _mined(miner: str, *strategies: str) -> MakeFn:
  """A miner of pytorch-metric-learning and its triplet loss."""

  def make(margin: float) -> LossFn:
    from pytorch_metric_learning import losses, miners

    own_margin = (margin,) if miner == "TripletMarginMiner" else ()
    mine = getattr(miners, miner)(*own_margin, *strategies)
    loss_fn = losses.TripletMarginLoss(margin)
    return lambda x, y: loss_fn(x, y, mine(x, y))

  return make


def _mean_of_all(margin: float) -> LossFn:
  from pytorch_metric_learning import distances, losses, reducers

  return losses.TripletMarginLoss(
    margin,
    distance=distances.LpDistance(normalize_embeddings=False),
    reducer=reducers.MeanReducer(),
  )


def _sentences(name: str, *, soft: bool = False) -> MakeFn:
  """A loss of sentence-transformers, without its model."""

  def make(margin: float) -> LossFn:
    from sentence_transformers.sentence_transformer import losses

    loss = getattr(losses, name)(None, **({} if soft else {"margin": margin}))
    return lambda x, y: loss.compute_loss_from_embeddings([x], y)

  return make


# Dialects that draw; no two libraries draw the same.
DRAWS = ("facenet", "davidsandberg", "insightface", "sampling_matters")
PML = "pytorch-metric-learning"
ST = "sentence-transformers"
SOFT_HARD = _sentences("BatchHardSoftMarginTripletLoss", soft=True)
SEMI_HARD = _sentences("BatchSemiHardTripletLoss")
# Dialect -> the peer, and a function of the margin that makes its loss.
PEERS: Mapping[str, tuple[str, MakeFn]] = {
  "tfa_semi_hard": (ST, SEMI_HARD),
  "tfa_hard": (ST, _sentences("BatchHardTripletLoss")),
  "sentence_transformers_semi_hard": (ST, SEMI_HARD),
  "pml_all": (PML, _mined("TripletMarginMiner", "all")),
  "pml_hard": (PML, _mined("TripletMarginMiner", "hard")),
  "pml_semi_hard": (PML, _mined("TripletMarginMiner", "semihard")),
  "pml_easy": (PML, _mined("TripletMarginMiner", "easy")),
  "pml_batch_hard": (PML, _mined("BatchHardMiner")),
  "pml_batch_easy_hard": (
    PML,
    _mined("BatchEasyHardMiner", "easy", "semihard"),
  ),
  "omoindrot_batch_all": (ST, _sentences("BatchAllTripletLoss")),
  "hermans_batch_hard": (ST, SOFT_HARD),
  "oml_batch_all": (PML, _mean_of_all),
}
