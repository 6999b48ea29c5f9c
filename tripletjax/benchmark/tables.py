"""The results of the suites as Markdown that also reads well in a terminal.

What misses its limit is bold: **1.72 > 1.5**.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tripletjax.benchmark.peers import NOT_INSTALLED

PEER_COLUMNS = (
  "",
  "batch",
  "ms",
  "ours",
  "ours, ms",
  "times faster",
  "MB",
  "ours, MB",
  "times smaller",
)

Results = Mapping[str, Any]


def losses_report(results: Results) -> str:
  """All tables of the suite `losses`.

  Args:
    results: what `measure_losses` returns.
  """
  machine, sizes = results["machine"], results["sizes"]
  parts = [
    f"Value and gradient with respect to the embeddings, float32, medians of "
    f"{results['repeats']}, {machine['cores']} cores ({machine['backend']}, "
    f"jax {machine['jax']}, load before {machine['load']:.1f}), "
    f"{results['seconds'] / 60:.1f} minutes.",
    "Time, times the pairwise distances with their gradient (the floor):",
    table(_sizes_header(sizes), _time_rows(sizes)),
    "Memory of temporaries, MB:",
    table(_sizes_header(sizes), _memory_rows(sizes)),
  ]
  if any(size["long_tailed"] for size in sizes):
    parts += [
      "Long-tailed labels with as many pairs, times the balanced batch:",
      table(_sizes_header(sizes), _long_tailed_rows(sizes)),
    ]
  if any(size["peers"] for size in sizes):
    parts += [
      "Other libraries, each by itself, and ours before and after it; memory: "
      "the peak that is resident of theirs, the temporaries of ours:",
      table(PEER_COLUMNS, _peer_rows(sizes)),
    ]
  missed = "\n".join(parts).count("**") // 2
  parts.append(f"{missed or 'None'} outside of the limits.")
  return "\n\n".join(parts)


def at_most(value: float, limit: float | None) -> str:
  """A value beside the limit that it is to stay below.

  >>> at_most(1.234, 1.5), at_most(1.72, 1.5), at_most(1.72, None)
  ('1.23 ≤ 1.5', '**1.72 > 1.5**', '1.72')
  """
  if limit is None:
    return _short(value)
  if value <= limit:
    return f"{_short(value)} ≤ {limit:.3g}"
  return f"**{_short(value)} > {limit:.3g}**"


def at_least(value: float, limit: float | None) -> str:
  """A value beside the limit that it is to reach.

  >>> at_least(130.0, 100), at_least(7.4, 8)
  ('130 ≥ 100', '**7.40 < 8**')
  """
  if limit is None:
    return _short(value)
  if value >= limit:
    return f"{_short(value)} ≥ {limit:.3g}"
  return f"**{_short(value)} < {limit:.3g}**"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A Markdown table whose columns are as wide as they need to be."""
  lines = [header, *rows]
  widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
  rule = ["-" * width for width in widths]
  return "\n".join(
    f"| {' | '.join(map(str.ljust, line, widths))} |"
    for line in [header, rule, *rows]
  )


def _time_rows(sizes: Sequence[Results]) -> list[list[str]]:
  floor = [f"{1000 * size['floor']['seconds']:.3g} ms" for size in sizes]
  return [
    ["floor", *floor],
    *_rows(sizes, "losses", lambda of: at_most(of["ratio"], of["limit"])),
  ]


def _memory_rows(sizes: Sequence[Results]) -> list[list[str]]:
  def megabytes(of: Results) -> str:
    limit = of["memory_limit"]
    return at_most(
      of["temporary_bytes"] / 1e6, None if limit is None else limit / 1e6
    )

  return [
    ["floor", *(megabytes(size["floor"]) for size in sizes)],
    *_rows(sizes, "losses", megabytes),
  ]


def _long_tailed_rows(sizes: Sequence[Results]) -> list[list[str]]:
  return _rows(
    sizes, "long_tailed", lambda of: at_most(of["ratio"], of["limit"])
  )


def _peer_rows(sizes: Sequence[Results]) -> list[list[str]]:
  rows = []
  for name in sizes[0]["peers"]:
    outcomes = [size["peers"][name] for size in sizes]
    if all(of.get("failure") == NOT_INSTALLED for of in outcomes):
      rows.append(_failed(name, "", outcomes[0]))
      continue
    for size, of in zip(sizes, outcomes, strict=True):
      if "failure" in of:
        rows.append(_failed(name, _batch(size), of))
        continue
      rows.append(
        [
          name,
          _batch(size),
          _short(1000 * of["seconds"]),
          of["ours"],
          _short(1000 * of["our_seconds"]),
          at_least(of["faster"], of["faster_limit"]),
          _short(of["peak_bytes"] / 1e6),
          _short(of["our_temporary_bytes"] / 1e6),
          at_least(of["smaller"], of["smaller_limit"]),
        ]
      )
  return rows


def _failed(name: str, batch: str, of: Results) -> list[str]:
  # Why it failed was said while measuring, and is in the file.
  outcome = of["failure"].partition(":")[0]
  row = [name, batch, outcome, of["ours"]]
  return row + [""] * (len(PEER_COLUMNS) - len(row))


def _rows(
  sizes: Sequence[Results], field: str, cell: Callable[[Results], str]
) -> list[list[str]]:
  return [
    [name, *(cell(size[field][name]) for size in sizes)]
    for name in sizes[0][field]
  ]


def _sizes_header(sizes: Sequence[Results]) -> list[str]:
  return ["", *map(_batch, sizes)]


def _batch(size: Results) -> str:
  identities, images = size["identities"], size["images"]
  return f"{identities * images:,} ({identities} x {images})"


def _short(value: float) -> str:
  return f"{value:.2f}" if value < 100 else f"{value:,.0f}"
