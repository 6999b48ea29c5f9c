"""docs/evaluation.md says what the code does."""

import re
from pathlib import Path

import numpy as np

from tripletjax.metrics import METRICS

DOCS = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()


def test_the_example_runs():
  (code,) = re.findall(r"```python\n(.*?)```", DOCS, re.S)
  exec(code, {})


def test_every_score_is_named():
  labels = np.arange(40) // 4
  points = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
  for name, function in METRICS.items():
    for key in function(points, labels):
      stem = re.sub(r"_(low|high|stderr)$", "", key)
      stem = re.sub(r"^(recall|rank)@\d+$", r"\1@k", stem)
      assert f"`{stem}`" in DOCS, (name, key)
