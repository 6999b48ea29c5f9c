"""What other libraries compute: their number, by name.

"Semi-hard" and even "batch-hard" mean something else in each library, in the
triplets as well as in what the sum is divided by. `DIALECTS` holds the keywords
of `mined_triplet_loss` that give each library's number:

    mined_triplet_loss(embeddings, labels, **DIALECTS["tfa_semi_hard"])

Any of them may be replaced, such as the margin:
`**{**DIALECTS["pml_all"], "margin": 0.1}`. The dialects that draw (`facenet`,
`davidsandberg`, `insightface`, `sampling_matters`) need a `key` besides; a draw
of theirs has the library's distribution, not the library's random numbers.

A dialect keeps the library's rule for an identity with one image. A batch
without any valid triplet costs 0 here, also where the library's number is NaN,
the margin, or an error.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from tripletjax.distances import normalized
from tripletjax.folds import first_smallest
from tripletjax.miners import batch_hard, one_triplet, semi_hard
from tripletjax.types import GapBand, Selection


def unit_euclidean_distance(
  x: Float[Array, "a d"], y: Float[Array, "r d"]
) -> Float[Array, "a r"]:
  """Euclidean distance between the L2-normalised rows."""
  return normalized("euclidean")(x, y)


def unit_squared_euclidean_distance(
  x: Float[Array, "a d"], y: Float[Array, "r d"]
) -> Float[Array, "a r"]:
  """Squared Euclidean distance between the L2-normalised rows."""
  return normalized("squared_euclidean")(x, y)


def within_margin(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
) -> GapBand:
  """Every triplet that the margin doesn't divide: gap `<= margin`.

  `TripletMarginMiner("all")` of pytorch-metric-learning.
  """
  del distances, positive_mask, negative_mask, key
  return GapBand(-jnp.inf, margin)


def beyond_all_positives(
  distances: Float[Array, "a r"],
  positive_mask: Bool[Array, "a r"],
  negative_mask: Bool[Array, "a r"],
  *,
  margin: ArrayLike,
  key: jax.Array | None = None,
) -> Selection:
  """Each anchor's farthest positive, and the nearest negative beyond it.

  The semi-hard mining of TensorFlow Similarity: where no negative is beyond,
  the farthest. An anchor without a positive is its own, at distance 0; for this
  it has to be among the references.
  """
  none = ~jnp.any(positive_mask, axis=1)
  # Neither a positive nor a negative: padding, or the anchor itself, which is
  # the nearest.
  itself, found = first_smallest(
    jnp.where(positive_mask | negative_mask, jnp.nan, distances)
  )
  columns = jnp.arange(distances.shape[1], dtype=itself.dtype)
  own = (columns[None, :] == itself[:, None]) & (none & found)[:, None]
  miner = one_triplet(
    "hard", "semi_hard", beyond_farthest=True, missing="farthest"
  )
  return miner(
    distances, positive_mask | own, negative_mask, margin=margin, key=key
  )


DIALECTS: Mapping[str, Mapping[str, Any]] = {
  # FaceNet (Schroff et al., 2015): for each pair, both ways, a random negative
  # with ap < an < ap + margin; mean over the triplets found. Squared distances
  # on the unit sphere, margin .2, all by the paper.
  "facenet": {
    "miner": "random_semi_hard",
    "margin": 0.2,
    "distance": unit_squared_euclidean_distance,
    "reduction": "mean",
  },
  # davidsandberg/facenet, `select_triplets`: for each pair, one way, a random
  # negative with an - ap < margin, hard ones too; mean over the triplets found.
  # `--alpha` is .2. Its network ends in a normalisation: pass embeddings that
  # are normalised.
  "davidsandberg": {
    "miner": "random_violating",
    "margin": 0.2,
    "distance": "squared_euclidean",
    "reduction": "mean",
    "each_pair_once": True,
  },
  # insightface (MXNet), `triplet_image_iter.py`: for each pair, one way, a
  # random negative with 0 < an - ap < margin; mean over the triplets found.
  # `triplet_alpha` is .3. Its network, too, ends in a normalisation.
  "insightface": {
    "miner": "random_semi_hard",
    "margin": 0.3,
    "distance": "squared_euclidean",
    "reduction": "mean",
    "each_pair_once": True,
  },
  # TensorFlow Addons, `TripletSemiHardLoss`: for each pair the nearest negative
  # beyond the positive, without an upper bound, else the farthest; divided by
  # the number of pairs. Margin 1 by default.
  "tfa_semi_hard": {
    "miner": functools.partial(semi_hard, missing="farthest"),
    "margin": 1.0,
    "distance": "euclidean",
    "reduction": "per_pair",
  },
  # TensorFlow Addons, `TripletHardLoss`: batch-hard, mean over all anchors;
  # one without a positive counts with ap = 0. Margin 1 by default.
  "tfa_hard": {
    "miner": functools.partial(batch_hard, lonely=True),
    "margin": 1.0,
    "distance": "euclidean",
    "reduction": "per_anchor",
  },
  # sentence-transformers, `BatchSemiHardTripletLoss`: as TensorFlow Addons,
  # after which it is written; margin 5 by default.
  "sentence_transformers_semi_hard": {
    "miner": functools.partial(semi_hard, missing="farthest"),
    "margin": 5.0,
    "distance": "euclidean",
    "reduction": "per_pair",
  },
  # pytorch-metric-learning, `TripletMarginMiner("all")` and
  # `TripletMarginLoss`: every triplet with gap <= margin, mean over those of
  # loss > 0. .2 is the miner's default; that of the loss is .05, give it .2.
  "pml_all": {
    "miner": within_margin,
    "margin": 0.2,
    "distance": unit_euclidean_distance,
    "reduction": "mean_active",
  },
  # `TripletMarginMiner("hard")`: gap <= 0; the rest as above.
  "pml_hard": {
    "miner": "all_hard",
    "margin": 0.2,
    "distance": unit_euclidean_distance,
    "reduction": "mean_active",
  },
  # `TripletMarginMiner("semihard")`: 0 < gap <= margin; the rest as above.
  "pml_semi_hard": {
    "miner": "all_semi_hard",
    "margin": 0.2,
    "distance": unit_euclidean_distance,
    "reduction": "mean_active",
  },
  # `TripletMarginMiner("easy")`: gap > margin; the rest as above. With one
  # margin for miner and loss, as here, the loss is always 0.
  "pml_easy": {
    "miner": "all_easy",
    "margin": 0.2,
    "distance": unit_euclidean_distance,
    "reduction": "mean_active",
  },
  # `BatchHardMiner`: batch-hard, anchors without a positive dropped, mean over
  # the triplets of loss > 0. The miner has no margin: .2 as above.
  "pml_batch_hard": {
    "miner": "batch_hard",
    "margin": 0.2,
    "distance": unit_euclidean_distance,
    "reduction": "mean_active",
  },
  # `BatchEasyHardMiner` with its default strategies: each anchor's nearest
  # positive, the nearest negative strictly beyond it; the rest as above.
  "pml_batch_easy_hard": {
    "miner": "easy_positive_semi_hard_negative",
    "margin": 0.2,
    "distance": unit_euclidean_distance,
    "reduction": "mean_active",
  },
  # TensorFlow Similarity, `TripletLoss` with its default strategies: each
  # anchor's farthest positive, the nearest negative beyond it, else the
  # farthest; mean over all anchors. Margin 1 by default in 0.13 to 0.16; since
  # 0.17 the default is a soft margin: `margin=0.0, soft=True`.
  "tf_similarity_semi_hard": {
    "miner": beyond_all_positives,
    "margin": 1.0,
    "distance": "cosine",
    "reduction": "per_anchor",
  },
  # omoindrot/tensorflow-triplet-loss, `batch_all_triplet_loss`: every triplet,
  # mean over those of loss > 1e-16 (no float32 loss lies below, but 0). The
  # function has no default margin: .5 and not squared as in its experiments.
  "omoindrot_batch_all": {
    "miner": "all",
    "margin": 0.5,
    "distance": "euclidean",
    "reduction": "mean_active",
  },
  # Hermans et al., 2017 and VisualComputingInstitute/triplet-reid: batch-hard,
  # mean over all anchors; one without a positive, which the paper's batches
  # don't have, counts with ap = 0 in the code. A soft margin by default; for
  # another: `soft=False, margin=m`.
  "hermans_batch_hard": {
    "miner": functools.partial(batch_hard, lonely=True),
    "margin": 0.0,
    "distance": "euclidean",
    "soft": True,
    "reduction": "per_anchor",
  },
  # open-metric-learning, `TripletLossWithMiner` with `AllTripletsMiner`: every
  # triplet, mean over all of them. There is no default margin: .1 as in the
  # examples of its README. It refuses an identity with one image; here that is
  # nobody's anchor.
  "oml_batch_all": {
    "miner": "all",
    "margin": 0.1,
    "distance": "euclidean",
    "reduction": "mean",
  },
  # "Sampling Matters" (Wu et al., 2017): for each pair, both ways, a negative
  # drawn with weight 1 / q(distance), distances below .5 taken as .5, none
  # above 1.4; mean over the pairs that have one (the authors' code draws from
  # the whole batch for the others). Euclidean distances on the unit sphere;
  # margin .2 as the paper's alpha.
  "sampling_matters": {
    "miner": "distance_weighted",
    "margin": 0.2,
    "distance": unit_euclidean_distance,
    "reduction": "mean",
  },
}
