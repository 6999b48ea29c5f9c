"""The suite `input`: its files, its numbers, its tables."""

import io

import jax
import numpy as np
import pytest
from PIL import Image

from configs import digits
from tripletjax.benchmark import input as suite
from tripletjax.benchmark import input_steps, input_tables, input_worker
from tripletjax.benchmark.input_files import KINDS, make_files, open_files
from tripletjax.errors import UserError

TINY = {
  "omniglot": KINDS["omniglot"]._replace(
    classes=6, each=4, identities=4, images=2, side=8
  ),
  "faces": KINDS["faces"]._replace(
    classes=4, each=3, identities=2, images=2, stored=24, side=8
  ),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_files_are_what_they_are_called(name, tmp_path):
  kind = TINY[name]
  make_files(kind, tmp_path)
  paths = sorted(tmp_path.rglob("*.*"))
  assert len(paths) == kind.classes * kind.each
  with Image.open(paths[0]) as image:
    expected = {"omniglot": ("PNG", "1"), "faces": ("JPEG", "RGB")}[name]
    assert (image.format, image.mode) == expected
    assert image.size == (kind.stored, kind.stored)
    if name == "omniglot":
      assert 0.5 < np.asarray(image).mean() < 1  # black strokes on white
  source = open_files(kind, tmp_path)
  assert len(source.label_names) == kind.classes
  assert (np.bincount(source.labels) == kind.each).all()
  mode = "L" if kind.channels == 1 else "RGB"
  with Image.open(io.BytesIO(paths[5].read_bytes())) as image:
    image = image.convert(mode).resize((8, 8), Image.Resampling.BILINEAR)
  pixels = np.asarray(image).reshape(8, 8, kind.channels)
  np.testing.assert_array_equal(source[5], pixels)


def test_an_image_is_about_as_large_as_a_photograph(tmp_path):
  make_files(KINDS["faces"]._replace(classes=1, each=2), tmp_path)
  sizes = [path.stat().st_size for path in tmp_path.rglob("*.jpg")]
  assert all(4_000 < size < 16_000 for size in sizes)


def test_steps_are_timed_in_every_place(tmp_path, monkeypatch):
  monkeypatch.setattr(input_steps, "FILL", 0.0)
  kind = TINY["omniglot"]
  make_files(kind, tmp_path)
  # Optax's Adam multiplies its integer count with floats.
  with jax.numpy_dtype_promotion("standard"):
    found = input_steps.measure_steps(
      digits.get_config("smoke"),
      kind,
      open_files(kind, tmp_path),
      steps=1,
      repeats=2,
    )
  assert set(found) == {"none", "host", "device", input_steps.REPEATED}
  base = found[input_steps.REPEATED]
  assert base["ratio"] == 1
  for of in found.values():
    assert len(of["samples"]) == 2
    assert of["seconds"] == pytest.approx(np.median(of["samples"]))
    ratios = np.divide(of["samples"], base["samples"])
    assert of["ratio"] == pytest.approx(np.median(ratios))


def test_the_better_of_pytorchs_loaders_counts(tmp_path, monkeypatch):
  kind = TINY["faces"]
  make_files(kind, tmp_path)
  rates = iter([100.0, 50.0, 200.0, 70.0, 300.0, 60.0])
  calls = []

  def run_worker(*arguments):
    calls.append(arguments)
    return {"rate": next(rates)}

  monkeypatch.setattr(suite, "run_worker", run_worker)
  monkeypatch.setattr(suite, "LOADERS", ())
  monkeypatch.setattr(suite, "num_cores", lambda: 3)
  arguments = (kind, open_files(kind, tmp_path), tmp_path)
  found = suite.measure_loaders(*arguments, number=2, repeats=3, peers=True)
  assert found["peer"] == {
    "workers": 0,
    "samples": [100.0, 200.0, 300.0],
    "rate": 200.0,
  }
  assert [call[-1] for call in calls] == [0, 3] * 3
  assert found["decoding"]["rate"] > 0
  assert found["cached"]["rate"] > 0
  monkeypatch.setattr(suite, "LOADERS", ("a_library_that_is_not_there",))
  found = suite.measure_loaders(*arguments, number=1, repeats=1, peers=True)
  assert found["peer"] == {"failure": "not installed"}


def test_pytorchs_loader(tmp_path):
  pytest.importorskip("torch")
  pytest.importorskip("pytorch_metric_learning")
  kind = TINY["omniglot"]
  make_files(kind, tmp_path)
  found = suite.run_worker("loader", tmp_path, ".png", 8, "L", 2, 2, 3, 0)
  assert found["rate"] > 0


def test_the_index_in_a_process_of_its_own():
  found = suite.measure_index(1000, 8)
  assert (found["identities"], found["images"]) == (1000, 8000)
  assert found["bytes"] == 4 * 8000 + 12 * 1000
  assert found["seconds"] > 0
  assert found["batch_seconds"] > 0
  assert "failure" in suite.run_worker("index", "many", 3)


def results():
  def steps(*ratios):
    places = ("none", "host", "device")
    found = {
      place: {"ratio": ratio}
      for place, ratio in zip(places, ratios, strict=True)
    }
    return found | {input_steps.REPEATED: {"ratio": 1.0, "seconds": 0.25}}

  def loaders(peer):
    ours = {"decoding": {"rate": 3000.0}, "cached": {"rate": 90_000.0}}
    return ours | {"peer": peer}

  index = {
    "identities": 1000,
    "images": 8000,
    "seconds": 1.25,
    "bytes": 44_000,
    "peak_bytes": 80_000,
    "first_batch_seconds": 0.03,
    "batch_seconds": 0.0005,
  }
  return {
    "repeats": 3,
    "seconds": 90.0,
    "machine": {"cores": 2, "backend": "cpu", "jax": "0.1", "load": 0.5},
    "kinds": {
      "omniglot": {
        "batch": 512,
        "steps": steps(1.3, 1.01, 1.0),
        "loaders": loaders({"rate": 2000.0, "workers": 2}),
      },
      "faces": {
        "batch": 32,
        "steps": steps(1.04, 1.0, 1.0),
        "loaders": loaders({"failure": "not installed"}),
      },
    },
    "indices": [index, index | {"failure": "failed: no"}],
  }


def cells(report):
  lines = [line for line in report.splitlines() if line.startswith("| ")]
  split = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
  return {row[0]: row[1:] for row in split if row[0]}


def test_what_misses_its_limit_is_bold_and_counted():
  report = input_tables.input_report(results())
  found = cells(report)
  assert found["one repeated batch"] == ["250 ms", "250 ms"]
  assert found["decoded for each batch"] == ["**1.30 > 1.05**", "1.04 ≤ 1.05"]
  assert found["decoded once, host memory"] == ["1.01 ≤ 1.05", "1.00 ≤ 1.05"]
  assert found["PyTorch"] == ["2,000 (2 processes)", "not installed"]
  assert found["ours, decoded once"] == ["90,000; 45.00 ≥ 2", "90,000"]
  assert found["ours, decoded for each batch"] == [
    "3,000; **1.50 < 2**",
    "3,000",
  ]
  assert "| 8,000  | 1,000      | 1.2 s    | 5.50 " in report
  assert report.endswith("2 outside of the limits.")


def test_a_wrong_name_is_named():
  with pytest.raises(UserError, match="--only: expected some of omniglot, fac"):
    suite.measure_input(
      digits.get_config(), only=["mnist"], repeats=1, peers=False, say=print
    )


def test_numbers_are_converted(monkeypatch, capsys):
  monkeypatch.setattr(
    input_worker, "index_numbers", lambda *values: {"values": values}
  )
  input_worker.main(["index", "12", "a.b"])
  assert capsys.readouterr().out == '{"values": [12, "a.b"]}\n'
