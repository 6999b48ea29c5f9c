"""The soak: one long training, watched for leaks and for slowing down."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy

from tripletjax.drills.running import Job
from tripletjax.drills.watching import Samples, Watched, in_turns, watched
from tripletjax.training.signals import STOPPED

# Parts of the soak that are compared: after warm-up, and at the end.
AFTER, END = (0.1, 0.25), (0.85, 1.0)
LIMIT = 0.02
# A second training, the witness, stands still but for some turns with the
# first, after warm-up and at the end: what the machine does then, it does to
# both. They warm up for this share of the time, one after the other.
WARM = 0.05
# Laps of a turn, the share of the time that the turns take, twice, and the
# fewest rounds of them.
LAPS, TURNS, FEWEST = 4, 0.15, 3


class Change(NamedTuple):
  """A number after warm-up and at the end, and how it changed.

  Attributes:
    after: median after warm-up.
    end: median at the end.
    share: `end / after - 1`.
  """

  after: float
  end: float
  share: float


class Compared(NamedTuple):
  """Steps beside the witness's, after warm-up and at the end.

  Attributes:
    after: seconds of a step, a mean over the rounds after warm-up.
    witness_after: the witness's there.
    end: of a step at the end.
    witness_end: the witness's there.
    share: how much `step / witness's step` has changed.
    half: half the width of its 95 % interval, by Welch's t.
  """

  after: float
  witness_after: float
  end: float
  witness_end: float
  share: float
  half: float


def change(
  seconds: Sequence[float], values: Sequence[float], *, whole: float
) -> Change:
  """Medians of the two parts of a soak of `whole` seconds.

  >>> change([15, 20, 90, 95], [2.0, 2.0, 2.0, 4.0], whole=100)
  Change(after=2.0, end=3.0, share=0.5)
  """
  at = np.asarray(seconds, np.float64) / whole
  column = np.asarray(values, np.float64)
  after, end = (
    float(np.median(part)) if (part := column[(at >= low) & (at <= high)]).size
    else math.nan
    for low, high in (AFTER, END)
  )  # fmt: skip
  return Change(after, end, end / after - 1)


def peaks(samples: Samples) -> tuple[list[float], list[float]]:
  """The most memory between each evaluation and the next one, and till when.

  What is free is given back after an evaluation and comes back with the steps:
  a median over time says how soon, a peak how much is needed.
  """
  seconds = np.asarray(samples.seconds, np.float64)
  memory = np.asarray(samples.memory, np.float64)
  ends, most = [], []
  for begin, end in itertools.pairwise(samples.evaluations):
    between = memory[(seconds >= begin) & (seconds < end)]
    if between.size:
      ends.append(end)
      most.append(float(between.max()))
  return ends, most


def compared(
  after: Sequence[Sequence[float]], end: Sequence[Sequence[float]]
) -> Compared:
  """Changes of a step beside the witness's; rounds with a NaN don't count.

  Args:
    after: rounds after warm-up, of each the seconds of a step and the
      witness's.
    end: rounds at the end.
  """
  rounds = [np.asarray(x, np.float64).reshape(-1, 2) for x in (after, end)]
  before, later = (x[~np.isnan(x).any(axis=1)] for x in rounds)
  if min(len(before), len(later)) < 2:
    return Compared(*[math.nan] * 6)
  # The difference of logarithms is small, and so nearly the share itself.
  ratios = [np.log(x[:, 0] / x[:, 1]) for x in (later, before)]
  low, high = scipy.stats.ttest_ind(
    *ratios, equal_var=False
  ).confidence_interval()
  one, witness = before.mean(axis=0).tolist()
  one_later, witness_later = later.mean(axis=0).tolist()
  return Compared(
    one,
    witness,
    one_later,
    witness_later,
    share=math.expm1(float(ratios[0].mean() - ratios[1].mean())),
    half=float(high - low) / 2,
  )


def soak(
  job: Job, folder: Path, *, minutes: float, say: Callable[[str], None]
) -> dict[str, Any]:
  """Trains for some minutes and samples memory and steps meanwhile.

  Args:
    job: a training that is longer.
    folder: of the runs and of what they say.
    minutes: how long, after warm-up.
    say: is told once a minute.

  Returns:
    What the file of results holds.

  Raises:
    UserError: the training can't be right.
    RuntimeError: it ended by itself.
  """
  seconds = 60 * minutes
  with contextlib.ExitStack() as stack:

    def warm(name: str, log: str) -> Watched:
      training = stack.enter_context(watched(job, folder / name, folder / log))
      training.watch(WARM * seconds)
      training.pause()
      return training

    say("warm-up, of the training and of its witness")
    one, witness = warm("run", "soak.log"), warm("witness", "witness.log")

    def turns() -> list[list[float]]:
      say(f"{TURNS * minutes:.1f} minutes in turns")
      return in_turns(
        [one, witness], laps=LAPS, seconds=TURNS * seconds, rounds=FEWEST
      )

    after = turns()
    one.start_over()
    one.watch(seconds, say)
    one.pause()
    samples = copy.deepcopy(one.samples)
    end = turns()
    codes = [one.end(), witness.end()]
  both = {"after": after, "end": end}
  return results(samples, minutes=minutes, codes=codes, turns=both)


def results(
  samples: Samples,
  *,
  minutes: float,
  codes: Sequence[int],
  turns: Mapping[str, Sequence[Sequence[float]]],
) -> dict[str, Any]:
  """What is compared, and all of the samples.

  A step is judged by the turns alone: over an hour a machine changes by more
  than is asked of the training. Memory is judged by its peaks between
  evaluations.

  Args:
    samples: of the soak.
    minutes: how long it was.
    codes: exit codes of the training and of its witness.
    turns: `after` warm-up and at the `end`, of each round the seconds of a step
      and the witness's.
  """
  whole = 60 * minutes
  memory = change(*peaks(samples), whole=whole)
  median = change(samples.seconds, samples.memory, whole=whole)
  steps = change(samples.lap_seconds, samples.lap_time, whole=whole)
  beside = compared(turns["after"], turns["end"])
  problems = [
    f"{name} changed by {share:+.1%}, expected at most {LIMIT:.0%}"
    for name, share in (
      ("memory", memory.share),
      ("time of a step", beside.share),
    )
    if not abs(share) <= LIMIT
  ]
  problems += [
    f"exit code {code}, expected {STOPPED}" for code in codes if code != STOPPED
  ]
  return {
    "minutes": minutes,
    "steps": max(samples.lap_step, default=0)
    - min(samples.lap_step, default=0),
    "evaluations": len(samples.evaluations),
    "checkpoints": len(samples.checkpoints),
    "after": AFTER,
    "end": END,
    "memory": memory._asdict(),
    "median_memory": median._asdict(),
    "step": steps._asdict(),
    "step_beside_witness": beside._asdict(),
    "turns": {
      name: [list(row) for row in rows] for name, rows in turns.items()
    },
    "problems": problems,
    "peaks": peaks(samples),
    "samples": samples._asdict(),
  }


def describe(found: dict[str, Any]) -> str:
  """The outcome as a table."""
  beside = found["step_beside_witness"]
  rows = [
    ["", "after warm-up", "at the end", "change"],
    ["---", "---:", "---:", "---:"],
    *(
      [
        name,
        f"{found[key]['after'] / scale:,.1f}",
        f"{found[key]['end'] / scale:,.1f}",
        f"{found[key]['share']:+.2%}",
      ]
      for name, scale, key in (
        ("most memory between evaluations (MB)", 1e6, "memory"),
        ("resident memory (MB)", 1e6, "median_memory"),
        ("time of a step (ms)", 1e-3, "step"),
      )
    ),
    [
      "the same in turns, and its witness's",
      *(
        f"{1e3 * beside[part]:,.1f}, {1e3 * beside['witness_' + part]:,.1f}"
        for part in ("after", "end")
      ),
      f"{beside['share']:+.2%} ± {beside['half']:.2%}",
    ],
  ]
  lines = "\n".join("| " + " | ".join(row) + " |" for row in rows)
  return (
    f"{found['minutes']:g} minutes, {found['steps']:,} steps, "
    f"{found['evaluations']} evaluations, {found['checkpoints']} checkpoints; "
    f"medians of {AFTER[0]:.0%} to {AFTER[1]:.0%} and of {END[0]:.0%} to "
    f"{END[1]:.0%} of the time; {len(found['turns']['after'])} and "
    f"{len(found['turns']['end'])} rounds of turns:\n\n{lines}\n\n"
    + ("; ".join(found["problems"]) or f"within {LIMIT:.0%}")
  )
