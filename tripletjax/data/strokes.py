"""`strokes`: letters of invented alphabets, each drawn by twenty hands.

A set to train on beside a small one of real letters (`data.beside`), for a
network that has to tell letters apart which it has never seen. Nothing is
fetched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy
import tensorflow_datasets as tfds
from PIL import Image, ImageDraw

from tripletjax.data.drawn import DrawnSet
from tripletjax.data.letters import Letter, invent_alphabet, smooth

SIDE = 105  # as Omniglot's
FINE = 4  # drawn so many times larger, for smooth edges
HANDS = 20


class Hand(NamedTuple):
  """How somebody writes.

  Attributes:
    slant: to the right, as a share of the height.
    tremor: how far a stroke's points are off, in sides of a letter.
    width: of the pen, in pixels.
  """

  slant: float
  tremor: float
  width: float


def some_hand(rng: np.random.Generator) -> Hand:
  """A hand of a person who's asked to copy letters with a mouse."""
  return Hand(
    slant=rng.normal(0, 0.1),
    tremor=0.03 * rng.uniform(0.6, 1.4),
    width=rng.uniform(3.0, 4.2),
  )


def write(rng: np.random.Generator, letter: Letter, hand: Hand) -> Image.Image:
  """A letter once by a hand: `SIDE` x `SIDE`, black on white."""
  skew = np.array([[1.0, hand.slant], [0.0, 1.0]]) + rng.normal(0, 0.06, (2, 2))
  skew = skew * np.exp(rng.normal(0, 0.06, 2)) * rng.uniform(50, 80)
  centre = SIDE / 2 + rng.normal(0, 4, 2)
  canvas = Image.new("L", (FINE * SIDE, FINE * SIDE), 255)
  pen = ImageDraw.Draw(canvas)
  for stroke in letter:
    line = smooth(_by_hand(rng, stroke, hand.tremor), 40) @ skew.T + centre
    pen.line(
      [(x, y) for x, y in FINE * line],
      fill=0,
      width=round(FINE * hand.width * rng.uniform(0.9, 1.1)),
      joint="curve",
    )
  small = canvas.resize((SIDE, SIDE), Image.Resampling.BOX)
  return small.point(lambda value: 255 if value > 127 else 0)


def _by_hand(
  rng: np.random.Generator, stroke: np.ndarray, tremor: float
) -> np.ndarray:
  """A stroke not quite where and as it should be."""
  centre = stroke.mean(axis=0)
  skew = np.eye(2) + rng.normal(0, 0.08, (2, 2))
  knots = rng.normal(0, tremor, (4, 2))
  wander = scipy.interpolate.make_interp_spline(
    np.linspace(0, 1, 4), knots, k=3
  )
  return (
    (stroke - centre) @ skew.T
    + centre
    + rng.normal(0, tremor, 2)
    + wander(np.linspace(0, 1, len(stroke)))
  )


@dataclasses.dataclass(eq=False)
class StrokesConfig(tfds.core.BuilderConfig):
  """How much is drawn.

  Attributes:
    train: alphabets of the split `train`.
    test: alphabets of the split `test`.
    letters: of an alphabet.
    hands: of an alphabet.
  """

  train: int = 60
  test: int = 5
  letters: int = 30
  hands: int = HANDS


class Strokes(DrawnSet):
  """The TFDS builder; its splits have other alphabets."""

  BUILDER_CONFIGS: ClassVar[list[StrokesConfig]] = [
    StrokesConfig(name="full", description="65 alphabets by 20 hands each."),
    StrokesConfig(
      name="tiny",
      description="6 alphabets of 8 letters by 4 hands each.",
      train=4,
      test=2,
      letters=8,
      hands=4,
    ),
  ]

  def _info(self) -> tfds.core.DatasetInfo:
    return self.described(
      "Letters of invented alphabets, composed of strokes by rules and drawn "
      "with the variation of hands.",
      side=SIDE,
      texts=("label", "group", "path"),
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    del dl_manager  # everything is drawn here
    config = self.builder_config
    numbers = range(config.train + config.test)
    return {
      "train": self._generate_examples(numbers[: config.train]),
      "test": self._generate_examples(numbers[config.train :]),
    }

  def _generate_examples(
    self, numbers: range
  ) -> Iterator[tuple[str, dict[str, Any]]]:
    config = self.builder_config
    for number in numbers:
      rng = np.random.default_rng([number, 1])
      hands = [some_hand(rng) for _ in range(config.hands)]
      group = f"invented{number:03d}"
      letters = invent_alphabet(rng, config.letters)
      for which, letter in enumerate(letters, start=1):
        label = f"{group}/letter{which:02d}"
        for person, hand in enumerate(hands, start=1):
          path = f"{label}/{number:03d}{which:02d}_{person:02d}.png"
          yield (
            path,
            {
              "image": write(rng, letter, hand),
              "label": label,
              "group": group,
              "path": path,
            },
          )
