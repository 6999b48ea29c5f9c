"""What "triplet loss" is in other libraries, trained side by side, on glyphs.

Arms have the names of `tripletjax.DIALECTS` and, by the fields of a config,
their miner, distance, reduction and margin. With the batches of a run (P
identities of K images, no image without a positive) that is the library's
number exactly, but for these:

- `tfa_semi_hard`, `sentence_transformers_semi_hard`, `tf_similarity_semi_hard`:
  a pair (an anchor) without a negative beyond its positive is left out; the
  libraries take its farthest negative.
- `davidsandberg`, `insightface`: pairs count both ways, the libraries' one way;
  what is drawn has the libraries' distribution of negatives.
- `facenet`, `sampling_matters` draw with our random numbers.
- `pml_all` selects all triplets and divides by those that cost something; the
  library first drops those with a gap above the margin, which cost nothing.
- Embeddings are normalised, as the libraries' own networks or users do; not
  those of `hermans_batch_hard`, which has a soft margin, as in the paper.

The margins are the libraries' defaults, in the unit of the arm's distance.

    python -m experiments.sweep --sweep=configs/sweeps/dialects.py
"""


def get_sweep(grid, variant=""):
  """The sweep; `:smoke` is three cells of a few steps for tests."""
  if variant not in ("", "smoke"):
    raise ValueError(f'expected variant "" or "smoke", got "{variant}"')
  smoke = variant == "smoke"
  changes = {
    "data.train_split": "latin+greek",
    "data.eval_split": "cyrillic",
    "evaluation.every": "100 percent",
    "checkpoint.every": "50 percent",
    "checkpoint.keep": 1,
  }
  if not smoke:
    changes |= {
      "batch.identities": 16,
      "batch.images": 8,
      "model.features": (16, 32, 64),
    }

  def dialect(miner, distance, reduction, margin, **others):
    return {
      "loss.miner": miner,
      "loss.distance": distance,
      "loss.reduction": reduction,
      "loss.margin": margin,
    } | {name.replace("__", "."): value for name, value in others.items()}

  all_arms = {
    "facenet": dialect("random_semi_hard", "squared_euclidean", "mean", 0.2),
    "davidsandberg": dialect(
      "random_violating", "squared_euclidean", "mean", 0.2
    ),
    "insightface": dialect(
      "random_semi_hard", "squared_euclidean", "mean", 0.3
    ),
    "tfa_semi_hard": dialect("semi_hard", "euclidean", "per_pair", 1.0),
    "tfa_hard": dialect("batch_hard", "euclidean", "per_anchor", 1.0),
    "sentence_transformers_semi_hard": dialect(
      "semi_hard", "euclidean", "per_pair", 5.0
    ),
    "pml_all": dialect("all", "euclidean", "mean_active", 0.2),
    "pml_semi_hard": dialect("all_semi_hard", "euclidean", "mean_active", 0.2),
    "pml_batch_hard": dialect("batch_hard", "euclidean", "mean_active", 0.2),
    "pml_batch_easy_hard": dialect(
      "easy_positive_semi_hard_negative", "euclidean", "mean_active", 0.2
    ),
    "tf_similarity_semi_hard": dialect(
      "hard_positive_semi_hard_negative", "cosine", "per_anchor", 1.0
    ),
    "omoindrot_batch_all": dialect("all", "euclidean", "mean_active", 0.5),
    "hermans_batch_hard": dialect(
      "batch_hard",
      "euclidean",
      "per_anchor",
      0.0,
      loss__soft=True,
      model__normalize=False,
    ),
    "oml_batch_all": dialect("all", "euclidean", "mean", 0.1),
    "sampling_matters": dialect("distance_weighted", "euclidean", "mean", 0.2),
  }
  if smoke:
    shown = ("facenet", "tfa_semi_hard", "pml_batch_hard")
    all_arms = {name: all_arms[name] for name in shown}
  return grid.sweep(
    config="configs/glyphs.py" + (":smoke" if smoke else ""),
    changes=changes,
    cells=grid.product(
      grid.arms("dialect", all_arms),
      grid.axis("seed", range(1 if smoke else 3)),
    ),
    baseline={"dialect": "tfa_semi_hard"},
    metric="map@r",
    test_split="armenian+georgian+lao",
    budget="6 steps" if smoke else "150 steps",
  )
