"""All drills by name, and what is printed of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tripletjax.drills import disks, faults, kills, several
from tripletjax.drills.lab import Lab

FAULTS: Mapping[str, Callable[[Lab], list[str]]] = {
  "sigterm": faults.sigterm,
  "sigint": faults.sigint,
  "disk_full": disks.disk_full,
  "read_only": disks.read_only,
  "flipped": faults.flipped,
  "missing": faults.missing,
  "all_damaged": faults.all_damaged,
  "stale_lock": faults.stale_lock,
  "two_trainings": faults.two_trainings,
  "clock_back": faults.clock_back,
  "one_of_two": several.one_of_two,
  "without_launcher": several.without_launcher,
}
DRILLS = ("kills", *FAULTS)


class Held(NamedTuple):
  """A drill that was held.

  Attributes:
    name: one of DRILLS.
    words: what was done, for people.
    seconds: how long it took.
    problems: what went wrong.
  """

  name: str
  words: str
  seconds: float
  problems: list[str]


class Results(NamedTuple):
  """Of all drills that were held."""

  killed: kills.Killed | None
  held: list[Held]

  @property
  def problems(self) -> list[str]:
    """What went wrong, in all of them."""
    found = [
      f"{x.name}: {problem}" for x in self.held for problem in x.problems
    ]
    if self.killed is None:
      return found
    ended = [problem for x in self.killed.trainings for problem in x.problems]
    return [f"kills: {x}" for x in (*ended, *self.killed.problems)] + found


def hold(lab: Lab, names: Sequence[str], *, count: int) -> Results:
  """Holds drills, one after the other.

  Args:
    lab: where.
    names: of DRILLS.
    count: how many kills.
  """
  killed = None
  held = []
  for name in names:
    began = time.monotonic()
    lab.say(f"\n{name}")
    if name == "kills":
      killed = kills.drill_kills(
        lab.job, lab.folder, reference=lab.reference, marks=lab.marks,
        seconds=lab.seconds, kills=count, seed=lab.seed, say=lab.say,
      )  # fmt: skip
      killed.problems.extend(kills.missing_kinds(killed, count))
      continue
    try:
      problems = FAULTS[name](lab)
    except Exception as error:  # the next ones are held all the same
      problems = [f"{type(error).__name__}: {error}"]
    words = (FAULTS[name].__doc__ or name).splitlines()[0]
    held.append(Held(name, words, time.monotonic() - began, problems))
    lab.say(f"{name}: {'; '.join(problems) or 'equal'}")
  return Results(killed, held)


def table(results: Results) -> str:
  """Kinds of moments, kills and outcomes; then the other drills."""
  rows = list(kills.kill_rows(results.killed)) if results.killed else []
  rows += [
    [
      f"{x.name}: {x.words.rstrip('.')}",
      "",
      x.problems[0] if x.problems else "equal",
    ]
    for x in results.held
  ]
  lines = [["drill", "kills", "outcome"], ["---", "---:", "---"], *rows]
  return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def as_json(lab: Lab, results: Results) -> dict[str, Any]:
  """All of it, for a file."""
  return {
    "seed": lab.seed,
    "flags": list(lab.job.flags),
    "steps": lab.marks.last,
    "untouched_seconds": lab.seconds,
    **({"kills": kills.as_json(results.killed)} if results.killed else {}),
    "drills": [held._asdict() for held in results.held],
    "problems": results.problems,
  }


def default_folder(*, soak: bool) -> Path:
  """Where drills are held unless something else is said."""
  name = "soak" if soak else "drill"
  return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
