"""Durations, by arithmetic."""

import pytest

from tripletjax import UserError
from tripletjax.training.duration import to_steps


@pytest.mark.parametrize(
  ("duration", "steps"),
  [
    ("300 steps", 300),
    ("2 epochs", 60),
    ("0.5 epochs", 15),
    ("2560 examples", 10),
    ("5 percent", 50),
    ("0.001 percent", 1),  # at least one
    ("0 steps", 0),
  ],
)
def test_units(duration, steps):
  assert steps == to_steps(
    duration,
    field="x",
    batch_size=256,
    steps_per_epoch=30,
    total_steps=1000,
  )


@pytest.mark.parametrize(
  "duration", ["300", "steps", "-1 steps", "nan steps", "3 weeks", "1 2 steps"]
)
def test_what_is_not_a_duration(duration):
  with pytest.raises(UserError, match=r"log\.every: expected a duration"):
    to_steps(
      duration,
      field="log.every",
      batch_size=1,
      steps_per_epoch=1,
      total_steps=1,
    )


def test_there_is_no_percentage_of_the_whole_itself():
  with pytest.raises(UserError, match="steps, epochs, examples, got"):
    to_steps(
      "5 percent", field="train.duration", batch_size=1, steps_per_epoch=1
    )
