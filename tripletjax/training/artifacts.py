"""What a finished run leaves for the report: arrays, no pictures."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from tripletjax.data.pipeline import Batch
from tripletjax.data.sources import Source
from tripletjax.distances import DISTANCES
from tripletjax.masks import pair_masks
from tripletjax.miners import MINERS, call_miner, list_triplets
from tripletjax.types import Embeddings


def save_evaluation(path: Path, source: Source, embeddings: np.ndarray) -> None:
  """Embeddings, labels and images of the evaluated split."""
  np.savez_compressed(
    path,
    embeddings=embeddings,
    labels=source.labels,
    label_names=np.array(source.label_names),
    images=np.stack([source[i] for i in range(len(source))]),
  )


def save_triplets(
  path: Path,
  config: ConfigDict,
  batch: Batch,
  embeddings: np.ndarray,
  *,
  label_names: tuple[str, ...],
  count: int = 24,
) -> None:
  """Triplets that the config's miner selects from one batch, as images.

  Of those with a loss above 0, `count` are drawn; others fill up where there
  are fewer.

  Args:
    path: file to write.
    config: names the miner, the margin and the distance.
    batch: `image`, `label` and `id` of the batch.
    embeddings: its embeddings, `[B, D]`.
    label_names: names of the labels.
    count: number of triplets at most.
  """
  distances = DISTANCES[config.loss.distance](
    jnp.asarray(embeddings), jnp.asarray(embeddings)
  )
  masks = pair_masks(batch["label"], ids=batch["id"])
  key = jax.random.key(config.seed)
  selection = call_miner(
    MINERS[config.loss.miner],
    distances,
    masks.positive,
    masks.negative,
    margin=config.loss.margin,
    key=jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.asarray(batch["id"])),
    embeddings=Embeddings(jnp.asarray(embeddings), jnp.asarray(embeddings)),
  )
  triplets = list_triplets(distances, masks.positive, masks.negative, selection)
  a, p, n = np.random.default_rng(config.seed).permutation(triplets).T
  rows = np.asarray(distances)
  active = rows[a, p] - rows[a, n] + config.loss.margin > 0
  chosen = np.argsort(~active, kind="stable")[:count]
  a, p, n = a[chosen], p[chosen], n[chosen]
  names = np.array(label_names)[batch["label"]]
  np.savez_compressed(
    path,
    anchors=batch["image"][a],
    positives=batch["image"][p],
    negatives=batch["image"][n],
    distance_ap=rows[a, p],
    distance_an=rows[a, n],
    anchor_labels=names[a],
    negative_labels=names[n],
    margin=np.float32(config.loss.margin),
    miner=np.str_(config.loss.miner),
  )
