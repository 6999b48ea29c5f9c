"""Letters that nobody has written, invented by rules.

A letter is a few strokes, a stroke is the points that a pen goes through. An
alphabet has strokes that recur in its letters, and letters that differ in one
thing from another one, as real alphabets have (people write by parts that come
again: Lake et al., 2015). The rules were made up here, by hand, with drawings
of Balinese and Korean letters (Omniglot's `small1`) in view, and fitted to no
data.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import scipy

Stroke = np.ndarray  # [points, 2], x to the right and y downwards
Letter = list[Stroke]

# How unlike letters of an alphabet are at least, in standard deviations of
# their points; the longest line of one, in sides of its box.
UNLIKE, LONGEST = 0.14, 7.0


class Script(NamedTuple):
  """How the letters of an alphabet look.

  Attributes:
    cursive: whether most are one stroke, a chain of ups and downs.
    mixed: whether a cursive one has other strokes too.
    straight: whether most strokes are straight.
    heights: at which a chain turns.
    shapes: strokes that recur.
  """

  cursive: bool
  mixed: bool
  straight: bool
  heights: np.ndarray
  shapes: list[Stroke]


def invent_alphabet(rng: np.random.Generator, size: int) -> list[Letter]:
  """`size` letters of one script, each in a box of side 1 around (0, 0)."""
  script = _script(rng)
  letters: list[Letter] = []
  clouds: list[np.ndarray] = []
  while len(letters) < size:
    if letters and rng.random() < 0.5:
      letter = _vary(rng, letters[rng.integers(len(letters))], script)
    else:
      letter = _compose(rng, script)
    lines = [smooth(stroke, 40) for stroke in letter]
    points = np.concatenate(lines)
    low, high = points.min(axis=0), points.max(axis=0)
    side = max(high - low)
    length = sum(np.abs(np.diff(line, axis=0)).sum() for line in lines)
    if side < 0.3 or len(letter) > 7 or length > LONGEST * side:
      continue
    cloud = points - points.mean(axis=0)
    cloud /= cloud.std()
    if any(_distance(cloud, other) < UNLIKE for other in clouds):
      continue
    clouds.append(cloud)
    letters.append([(stroke - (low + high) / 2) / side for stroke in letter])
  return letters


def smooth(stroke: Stroke, points: int) -> np.ndarray:
  """The line through a stroke's points, `[points, 2]`: a cubic spline."""
  steps = np.linalg.norm(np.diff(stroke, axis=0), axis=1)
  steps = np.maximum(steps, 1e-3 * steps.mean()) ** 0.6
  at = np.concatenate([[0.0], np.cumsum(steps)])
  line = scipy.interpolate.make_interp_spline(
    at, stroke, k=min(3, len(stroke) - 1)
  )
  return line(np.linspace(0.0, at[-1], points))


def _script(rng: np.random.Generator) -> Script:
  heights = [0.0, 1.0] if rng.random() < 0.4 else [0.0, 0.45, 1.0]
  script = Script(
    cursive=rng.random() < 0.45,
    mixed=rng.random() < 0.5,
    straight=rng.random() < 0.35,
    heights=np.array(heights),
    shapes=[],
  )
  for _ in range(rng.integers(4, 12)):
    script.shapes.append(_new_stroke(rng, script))
  return script


def _new_stroke(rng: np.random.Generator, script: Script) -> Stroke:
  if script.cursive and not (script.mixed and rng.random() < 0.3):
    return _chain(rng, script.heights)
  if rng.random() < (0.55 if script.straight else 0.3):
    return _line(rng)
  kinds = (_corners, _arc, _waves, _walk)
  return kinds[int(rng.choice(4, p=[0.29, 0.21, 0.21, 0.29]))](rng)


def _one_of(rng: np.random.Generator, script: Script) -> Stroke:
  """A stroke of a script: one that recurs, or a new one."""
  if rng.random() < (0.7 if script.cursive else 0.25):
    return _new_stroke(rng, script)
  return script.shapes[rng.integers(len(script.shapes))]


def _compose(rng: np.random.Generator, script: Script) -> Letter:
  shares = [0.6, 0.25, 0.1, 0.05] if script.cursive else [0.1, 0.35, 0.35, 0.2]
  letter: Letter = []
  for _ in range(1 + rng.choice(4, p=shares)):
    letter.append(_placed(rng, letter, _one_of(rng, script)))
  return letter


def _vary(rng: np.random.Generator, letter: Letter, script: Script) -> Letter:
  """A letter like another one: one thing or two differ."""
  letter = list(letter)
  for _ in range(rng.integers(1, 3)):
    which = rng.integers(len(letter))
    others = letter[:which] + letter[which + 1 :]
    kind = rng.choice(5, p=[0.42, 0.14, 0.18, 0.13, 0.13])
    if kind == 0:  # one more
      small = _one_of(rng, script) * rng.uniform(0.4, 1.0)
      letter.append(_placed(rng, letter, small))
    elif kind == 1 and others:  # one less
      letter = others
    elif kind == 2:  # one changed
      letter[which] = _changed(rng, letter[which])
    elif kind == 3:  # another in its place
      letter = [*others, _placed(rng, others, _one_of(rng, script))]
    else:  # one twice, beside it
      step = np.zeros(2)
      step[rng.integers(2)] = rng.uniform(0.2, 0.4) * rng.choice([-1, 1])
      letter.append(letter[which] + step)
  return letter


def _placed(rng: np.random.Generator, letter: Letter, stroke: Stroke) -> Stroke:
  """A stroke where one would be: it touches an earlier one, or is beside it."""
  stroke = stroke * rng.uniform(0.5, 1.1)
  if not letter:
    return stroke
  kind = rng.random()
  line = smooth(letter[rng.integers(len(letter))], 25)
  if kind < 0.5:  # by an end or its middle, on an end, the middle or anywhere
    own = stroke[rng.choice([0, len(stroke) // 2, len(stroke) - 1])]
    return stroke - own + line[rng.choice([0, 12, 24, int(rng.integers(25))])]
  if kind < 0.75:
    return stroke - stroke[rng.integers(len(stroke))] + line[rng.integers(25)]
  points = np.concatenate(letter)
  return stroke + rng.uniform(
    points.min(axis=0) - 0.25, points.max(axis=0) + 0.25
  )


def _changed(rng: np.random.Generator, stroke: Stroke) -> Stroke:
  """A stroke like another one."""
  count, kind = len(stroke), rng.random()
  if count < 6 or kind < 0.25:  # mirrored or stretched
    if rng.random() < 0.5:
      return stroke * rng.choice([-1.0, 1.0], 2)
    return stroke * rng.uniform(0.5, 1.5, 2)
  if kind < 0.5:  # without a piece at an end
    cut = rng.integers(2, max(3, count // 2))
    return stroke[cut:] if rng.random() < 0.5 else stroke[:-cut]
  if kind < 0.8:  # with a piece that comes twice, as m is to n
    first = int(rng.integers(0, count - 3))
    last = min(count - 1, first + int(rng.integers(2, 5)))
    step = stroke[last] - stroke[first]
    return np.concatenate(
      [stroke[:last], stroke[first:last] + step, stroke[last:] + step]
    )
  stroke = stroke.copy()
  stroke[rng.integers(1, count - 1) :] += rng.normal(0, 0.25, 2)
  return stroke


def _line(rng: np.random.Generator) -> Stroke:
  angle = rng.choice([0, np.pi / 4, np.pi / 2, 3 * np.pi / 4])
  if rng.random() < 0.2:
    angle = rng.uniform(0, np.pi)
  half = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(0.15, 0.5)
  return np.stack([-half, np.zeros(2), half])


def _corners(rng: np.random.Generator) -> Stroke:
  angle, ends = rng.uniform(0, 2 * np.pi), [np.zeros(2)]
  for _ in range(rng.integers(2, 4)):
    step = np.array([np.cos(angle), np.sin(angle)])
    ends.append(ends[-1] + rng.uniform(0.25, 0.7) * step)
    angle += rng.choice([-1, 1]) * rng.uniform(1.2, 2.4)
  # Points close to a corner keep the spline from rounding it much.
  points = [
    one + share * (other - one)
    for one, other in itertools.pairwise(ends)
    for share in (0.0, 0.5, 0.95)
  ]
  return _centred([*points, ends[-1]])


def _arc(rng: np.random.Generator) -> Stroke:
  return _centred(_curl(rng, (0.12, 0.45), (0.6 * np.pi, 2.1 * np.pi), 7))


def _waves(rng: np.random.Generator) -> Stroke:
  """Arches in a row, or a wave; lying or standing."""
  count = rng.integers(1, 4)
  at = np.linspace(0, count, 6 * count + 1)
  height = rng.uniform(0.3, 0.7)
  if rng.random() < 0.6:
    y = -height * np.abs(np.sin(np.pi * at))
  else:
    y = -height / 2 * np.sin(np.pi * at)
  points = np.stack([at * rng.uniform(0.25, 0.4), y], axis=1)
  if rng.random() < 0.4:
    points = points[:, ::-1]
  return _centred(points) * rng.choice([-1, 1], 2)


def _walk(rng: np.random.Generator) -> Stroke:
  """A line whose bend changes little, and sometimes turns over."""
  angle, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.6)
  points = [np.zeros(2)]
  for _ in range(rng.integers(4, 8)):
    step = np.array([np.cos(angle), np.sin(angle)])
    points.append(points[-1] + 0.22 * rng.uniform(0.7, 1.3) * step)
    angle += bend + rng.normal(0, 0.4)
    if rng.random() < 0.15:
      bend = -bend
  return _centred(points)


def _chain(rng: np.random.Generator, heights: np.ndarray) -> Stroke:
  """Ups and downs in a row, with hooks at the ends and loops at the turns."""
  place = np.array([0.0, rng.choice(heights)])
  points = [place]
  if rng.random() < 0.4:
    hook = _curl(rng, (0.06, 0.16), (1.5, 5.5), 5)
    points = [*(hook - hook[-1] + place)]
  back = 0.6 * rng.uniform(0, 0.3)
  for _ in range(rng.integers(2, 7)):
    height = rng.choice(heights[heights != place[1]])
    aside = rng.choice([0.04, 0.12, 0.22, 0.35], p=[0.25, 0.3, 0.3, 0.15])
    aside *= -1 if rng.random() < back else 1
    bulge = rng.choice([0, 0.06, -0.06, 0.14], p=[0.4, 0.25, 0.2, 0.15])
    following = np.array([place[0] + aside, height])
    middle = (place + following) / 2 + np.array([bulge, 0.0])
    points += [middle, following]
    place = following
    if rng.random() < 0.15:
      at = np.linspace(0, 2 * np.pi, 6)[1:-1] * rng.choice([-1, 1])
      inward = 1 if place[1] < 0.5 else -1
      loop = np.stack([np.sin(at), inward * (1 - np.cos(at))], axis=1)
      points += [*(place + rng.uniform(0.05, 0.12) * loop)]
  if rng.random() < 0.3:
    hook = _curl(rng, (0.06, 0.15), (1.0, 4.0), 5)
    points += [*(hook - hook[0] + place)[1:]]
  stretch = np.array([rng.uniform(0.8, 1.3), rng.uniform(0.6, 1.0)])
  return _centred(points) * stretch


def _curl(
  rng: np.random.Generator,
  radius: tuple[float, float],
  turn: tuple[float, float],
  points: int,
) -> np.ndarray:
  """A part of an ellipse, `[points, 2]`."""
  begin = rng.uniform(0, 2 * np.pi)
  way = rng.uniform(*turn) * rng.choice([-1, 1])
  at = begin + np.linspace(0, way, points)
  flat = np.array([rng.uniform(0.6, 1.4), 1.0])
  return (
    rng.uniform(*radius) * flat * np.stack([np.cos(at), np.sin(at)], axis=1)
  )


def _centred(points: np.ndarray | list[np.ndarray]) -> Stroke:
  stroke = np.asarray(points, np.float64)
  return stroke - stroke.mean(axis=0)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
  """How far a letter's points are from another's nearest, the larger mean."""
  apart = np.linalg.norm(one[:, None] - other, axis=-1)
  return float(max(apart.min(axis=0).mean(), apart.min(axis=1).mean()))
