"""A sweep's folder such as the sweep command leaves it, with made-up curves."""

import csv
import itertools
import json

import numpy as np

from tests.report.fakes import evaluation_arrays, triplet_arrays

MINERS = ("random", "semi_hard", "batch_hard")
MARGINS = ("0.1", "0.2")
GAINS = {"random": -0.05, "semi_hard": 0.0, "batch_hard": 0.02}
METRICS = ("recall@1", "map@r", "accuracy")
HEAD = "<script>alert(1)</script>"  # what a name might hold


def score(miner, margin, seed):
  """The map@r of a cell: a gain of the miner and noise that seeds share."""
  shared = 0.6 + 0.02 * seed
  own = np.random.default_rng([seed, len(miner), int(float(margin) * 10)])
  return round(shared + GAINS.get(miner, -0.1) + 0.002 * own.normal(), 6)


def make_sweep(
  folder,
  *,
  miners=MINERS,
  margins=MARGINS,
  seeds=3,
  states=None,
  arrays=True,
  steps=150,
  test=True,
):
  """Writes the folder; returns the names of the cells.

  Args:
    states: cell name -> "waiting", "running", "failed" or "diverged".
    arrays: whether cells have evaluation.npz and triplets.npz.
  """
  states = states or {}
  cells = [
    describe(miner, margin, seed)
    for miner, margin, seed in itertools.product(miners, margins, range(seeds))
  ]
  folder.mkdir(parents=True)
  dump(folder / "cells.json", cells)
  dump(
    folder / "sweep.json",
    {
      "name": "margin_by_miner",
      "file": "configs/sweeps/margin_by_miner.py",
      "axes": {"loss.miner": "miner", "loss.margin": "margin"},
      "replicates": ["seed"],
      "baseline": "miner=semi_hard,margin=0.2",
      "metric": "map@r",
      "less_is_better": False,
      "test_split": "lao" if test else "",
      "budget": "",
      "base": {"seed": 0, "loss": {"miner": "semi_hard", "margin": 0.2}},
      "versions": {"python": "3.11.2", "jax": "0.10.2"},
    },
  )
  results, costs = [], []
  for cell in cells:
    state = states.get(cell["cell"], "done")
    fill(folder / "cells" / cell["cell"], cell, state, arrays, steps)
    values = cell["values"]
    row = {"cell": cell["cell"], "arm": cell["arm"], **values, "state": state}
    if state == "done":
      row |= {"steps": steps, "images": steps * 256, **numbers(cell)}
      costs.append(
        {
          "cell": cell["cell"],
          "arm": cell["arm"],
          "seconds": 10 + len(values["miner"]),
          "seconds_per_step": 0.05,
          "parameters": 17672,
          "devices": 1,
          "way": "in_turn",
        }
      )
    results.append(row)
  columns = ["cell", "arm", "miner", "margin", "seed", "state", "steps"]
  table(folder / "results.csv", [*columns, "images", *METRICS], results)
  if costs:
    table(folder / "costs.csv", list(costs[0]), costs)
  if test:
    rows = [
      {k: cell[k] for k in ("arm", "cell")}
      | {"seed": cell["values"]["seed"]}
      | numbers(cell)
      for cell in cells
      if cell["arm"]
      in ("miner=semi_hard,margin=0.2", "miner=batch_hard,margin=0.1")
    ]
    table(folder / "test.csv", ["arm", "cell", "seed", *METRICS], rows)
  return [cell["cell"] for cell in cells]


def describe(miner, margin, seed):
  arm = f"miner={miner},margin={margin}"
  config = {"seed": seed, "loss": {"miner": miner, "margin": float(margin)}}
  return {
    "cell": f"{arm},seed={seed}",
    "arm": arm,
    "values": {"miner": miner, "margin": margin, "seed": str(seed)},
    "fields": {"loss.miner": miner, "loss.margin": float(margin), "seed": seed},
    "group": MINERS.index(miner) if miner in MINERS else 9,
    "config": config,
  }


def numbers(cell):
  values = cell["values"]
  value = score(values["miner"], values["margin"], int(values["seed"]))
  return {"recall@1": value + 0.2, "map@r": value, "accuracy": value + 0.3}


def fill(folder, cell, state, arrays, steps):
  if state == "waiting":
    return
  folder.mkdir(parents=True)
  tail = ["Traceback (most recent call last):", f"ValueError: {HEAD}"]
  dump(
    folder / "status.json",
    {
      "state": state,
      "reason": "" if state == "done" else f"ValueError: {HEAD}",
      "tail": [] if state == "done" else tail,
    },
  )
  dump(folder / "config.json", cell["config"])
  values = cell["values"]
  generator = np.random.default_rng([int(values["seed"]), len(values["miner"])])
  last = steps if state == "done" else steps // 2
  with (folder / "metrics.jsonl").open("w") as lines:
    for step in range(1, last + 1):
      if step % 5 == 1 or step == last:
        lines.write(json.dumps(row_of(step, last, generator)) + "\n")
      if step % (steps // 4 or 1) == 0:
        scores = {f"eval/{k}": v for k, v in numbers(cell).items()}
        share = step / steps
        scores = {k: v * (0.6 + 0.4 * share) for k, v in scores.items()}
        lines.write(json.dumps({"step": step, **scores}) + "\n")
  if state != "done":
    return
  dump(
    folder / "summary.json",
    {"steps": steps, "seconds": 12.5, "trained": numbers(cell)},
  )
  if arrays:
    np.savez(folder / "evaluation.npz", **evaluation_arrays())
    np.savez(folder / "triplets.npz", **triplet_arrays(12))


def row_of(step, last, generator):
  share = step / last
  noise = generator.normal(0, 0.01, 3)
  hard = 0.45 * np.exp(-3 * share)
  semi = 0.3 * np.exp(-2 * share)
  return {
    "step": step,
    "loss": 0.25 * np.exp(-2 * share) + noise[0],
    "active_share": 0.9 * np.exp(-1.5 * share) + noise[1],
    "hard_share": hard,
    "semi_hard_share": semi,
    "easy_share": 1 - hard - semi,
    "positive_distance": 1.1 - 0.5 * share,
    "negative_distance": 1.15 + 0.3 * share,
    "mean_distance": 1.1 + noise[2],
    "effective_rank": 11 + 3 * share,
    "embedding_norm": None if step == 1 else 1.0,
  }


def dump(path, value):
  path.write_text(json.dumps(value, indent=1))


def table(path, columns, rows):
  with path.open("w", newline="") as file:
    writer = csv.DictWriter(file, columns)
    writer.writeheader()
    writer.writerows(rows)
