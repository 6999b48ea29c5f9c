"""The findings of a preparation, as lines and as a picture."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.report.test_pictures import near
from tripletjax.errors import UserError
from tripletjax.report import prepared
from tripletjax.report.canvas import INK, RED

NOTHING = {"count": 0, "examples": []}


def findings(counts, **changes):
  """Findings of `counts`, images of an identity -> identities."""
  sizes = np.repeat(list(counts), list(counts.values()))
  return {
    "name": "mine",
    "images": int(sizes.sum()),
    "identities": len(sizes),
    "groups": 0,
    "images_per_identity": {
      "smallest": int(sizes.min()),
      "median": float(np.median(sizes)),
      "largest": int(sizes.max()),
      "counts": {str(count): many for count, many in counts.items()},
    },
    "lone": NOTHING,
    "splits": {"train": {"images": 1, "identities": 1}},
    "shared_identities": 0,
    "duplicates": {
      "pictures": 0,
      "surplus": 0,
      "within_identity": NOTHING,
      "across_identities": NOTHING,
      "across_splits": NOTHING,
    },
    "unreadable": NOTHING,
    "passed_over": {},
    "formats": {"JPEG": 3, "PNG": 2},
    "channels": {"1": 2, "3": 3},
    "sizes": {"smallest": [3, 4], "largest": [30, 40]},
  } | changes


def test_lines_of_a_set_without_problems():
  assert prepared.findings_lines(findings({4: 2})) == [
    "8 images of 2 identities",
    "images per identity: 4 each",
    "files: JPEG, PNG, 3 x 4 to 30 x 40, 2 grey and 3 colour: kept as colour",
    "duplicates: none",
  ]


def test_lines_name_each_problem_and_few_examples():
  lines = prepared.findings_lines(
    findings(
      {1: 2000, 3: 1},
      groups=1,
      lone={"count": 2000, "examples": list("abcdef")},
      splits={
        "one": {"images": 1, "identities": 1},
        "two": {"images": 2002, "identities": 2000},
      },
      shared_identities=1,
      duplicates={
        "pictures": 1,
        "surplus": 1500,
        "within_identity": {"count": 1, "examples": [list("uvwxyz")]},
        "across_identities": NOTHING,
        "across_splits": NOTHING,
      },
      unreadable={"count": 2, "examples": [["a", "cut"], ["b", "empty"]]},
      passed_over={".txt": 1200, "": 1},
      channels={"1": 5},
    )
  )
  assert lines == [
    "2,003 images of 2,001 identities in 1 group",
    "images per identity: 1 to 3, median 1",
    "files: JPEG, PNG, 3 x 4 to 30 x 40, grey",
    "splits: one 1 image of 1 identity, two 2,002 images of 2,000 identities; "
    "1 in more than one",
    "identities with a single image: 2,000 (a, b, c, …)",
    "duplicates: 1 picture more than once, 1,500 to spare",
    "  1 within an identity of one split, such as u = v = w",
    "unreadable, left out: 2 (a: cut, b: empty)",
    "files that are no images: 1 without ending, 1,200 .txt",
  ]


@pytest.mark.parametrize(
  "counts",
  [
    {1: 3},
    {20: 964},
    {2: 1, 41: 1},
    {count: 1 + 3000 // count**2 for count in range(1, 531)},
    {1: 2, 1_000_000: 1},
  ],
)
def test_bars_hold_every_identity_once(counts):
  edges = prepared._edges(min(counts), max(counts))
  assert (np.diff(edges) > 0).all()
  assert len(edges) <= prepared.BARS + 1
  placed = np.searchsorted(edges, list(counts), side="right") - 1
  assert placed.min() == 0
  assert placed.max() == len(edges) - 2


def test_lone_identities_are_the_red_bar(tmp_path):
  path = tmp_path / "findings.json"
  path.write_text(json.dumps(findings({1: 30, 2: 60, 3: 15})))
  with Image.open(prepared.draw_findings(path)) as file:
    assert file.size == (1000, 560)
    drawn = np.asarray(file.convert("RGB"))
  red = near_color(drawn, RED)
  assert red.any(axis=1).sum() == pytest.approx(
    near_color(drawn[:, 500], INK).sum() / 2, abs=3
  )  # half as high as the next bar
  columns = np.flatnonzero(red.sum(axis=0) > 20)
  assert columns.max() < 420  # the first of three bars
  assert near(drawn[5, 5], (1, 1, 1))


def near_color(pixels, color):
  return (np.abs(pixels / 255 - np.asarray(color)) < 0.02).all(axis=-1)


def test_pictures_of_long_names_and_tails(tmp_path):
  path = tmp_path / "findings.json"
  many = {count: 1 + 3000 // count**2 for count in range(1, 531)}
  lone = {"count": 3001, "examples": ["x$_" * 60] * 10}
  path.write_text(json.dumps(findings(many, name="n" * 300, lone=lone)))
  assert prepared.draw_findings(path).stat().st_size > 5000


@pytest.mark.parametrize("text", [None, "{", "[]", '{"images": 3}'])
def test_findings_that_cannot_be_read(tmp_path, text):
  path = tmp_path / "findings.json"
  if text is not None:
    path.write_text(text)
  with pytest.raises(UserError, match=r"findings.json: expected findings of a"):
    prepared.read_findings(path)
