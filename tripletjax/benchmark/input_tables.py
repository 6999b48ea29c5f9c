"""The results of the suite `input` as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tripletjax.benchmark.input import FASTER_LIMIT, STEP_LIMIT
from tripletjax.benchmark.input_steps import REPEATED
from tripletjax.benchmark.tables import at_least, at_most, table

# Where decoded images are held, in words.
PLACES = {
  "none": "decoded for each batch",
  "host": "decoded once, host memory",
  "device": "decoded once, device memory",
}
OURS = {"decoding": "decoded for each batch", "cached": "decoded once"}

Results = Mapping[str, Any]


def input_report(results: Results) -> str:
  """All tables of the suite `input`.

  Args:
    results: what `measure_input` returns.
  """
  machine, kinds = results["machine"], results["kinds"]
  parts = [
    f"Medians of {results['repeats']}, {machine['cores']} cores "
    f"({machine['backend']}, jax {machine['jax']}, load before "
    f"{machine['load']:.1f}), {results['seconds'] / 60:.1f} minutes."
  ]
  if kinds:
    header = [
      "",
      *(f"{name}, {of['batch']} a step" for name, of in kinds.items()),
    ]
    parts += [
      "Time of a training step, times that on one repeated batch:",
      table(header, _step_rows(kinds)),
      "Images per second of the loader alone, and times that of PyTorch's "
      "DataLoader with an m-per-class sampler on the same files:",
      table(header, _loader_rows(kinds)),
    ]
  if results["indices"]:
    parts += ["The sampler's index:", _index_table(results["indices"])]
  missed = "\n".join(parts).count("**") // 2
  parts.append(f"{missed or 'None'} outside of the limits.")
  return "\n\n".join(parts)


def _step_rows(kinds: Results) -> list[list[str]]:
  rows = [
    [
      REPEATED,
      *(
        f"{1000 * of['steps'][REPEATED]['seconds']:.0f} ms"
        for of in kinds.values()
      ),
    ]
  ]
  for place, words in PLACES.items():
    ratios = [of["steps"][place]["ratio"] for of in kinds.values()]
    rows.append([words, *(at_most(ratio, STEP_LIMIT) for ratio in ratios)])
  return rows


def _loader_rows(kinds: Results) -> list[list[str]]:
  loaders = [of["loaders"] for of in kinds.values()]

  def peer(of: Results) -> str:
    if "failure" in of["peer"]:
      return of["peer"]["failure"].partition(":")[0]
    processes = of["peer"]["workers"] or "no"
    return f"{of['peer']['rate']:,.0f} ({processes} processes)"

  def ours(of: Results, name: str) -> str:
    rate = f"{of[name]['rate']:,.0f}"
    if "failure" in of["peer"]:
      return rate
    faster = of[name]["rate"] / of["peer"]["rate"]
    return f"{rate}; {at_least(faster, FASTER_LIMIT)}"

  return [
    ["PyTorch", *map(peer, loaders)],
    *(
      [f"ours, {words}", *(ours(of, name) for of in loaders)]
      for name, words in OURS.items()
    ),
  ]


def _index_table(indices: list[Results]) -> str:
  header = [
    "images",
    "identities",
    "built in",
    "bytes an image",
    "at most, while building",
    "a batch of 512",
    "first of an epoch",
  ]
  rows = []
  for of in indices:
    if "failure" in of:
      outcome = of["failure"].partition(":")[0]
      rows.append([f"{of['images']:,}", "", outcome, "", "", "", ""])
      continue
    rows.append(
      [
        f"{of['images']:,}",
        f"{of['identities']:,}",
        f"{of['seconds']:.1f} s",
        f"{of['bytes'] / of['images']:.2f}",
        f"{of['peak_bytes'] / of['images']:.1f}",
        f"{1000 * of['batch_seconds']:.2f} ms",
        f"{1000 * of['first_batch_seconds']:.0f} ms",
      ]
    )
  return table(header, rows)
