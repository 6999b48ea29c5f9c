"""The suite `caching`: what it says, and a tiny case from end to end."""

import jax
import numpy as np
import pytest

from configs import facenet, glyphs
from tests.benchmark.test_benchmark import command
from tripletjax.benchmark import caching, caching_worker
from tripletjax.benchmark.caching_cases import CASES, GIB, Case, Way
from tripletjax.errors import UserError

MACHINE = {"cores": 2, "backend": "cpu", "jax": "0", "load": 0.0}


def ran(name, *, seconds, exact=True, limit=None, **fields):
  return {
    "name": name,
    "exact": exact,
    "memory_limit": limit,
    "seconds": seconds,
    "temporary_bytes": 10**8,
    "peak_bytes": 2 * 10**9,
    "devices": 1,
    **fields,
  }


def cells(report):
  lines = [line for line in report.splitlines() if line.startswith("|")]
  rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
  return rows[2:]


def test_the_table_marks_what_is_outside_of_its_limit():
  apart = {"loss_difference": 2e-6, "gradient_difference": 3e-4}
  ways = [
    ran("plain", seconds=[1.0, 3.0, 2.0]),
    ran("chunks", seconds=[4.0], limit=1e9, **apart),
    ran("bfloat16", seconds=[1.0], exact=False, devices=2, **apart),
    {
      "name": "more",
      "exact": True,
      "memory_limit": None,
      "failure": "doesn't fit",
      "temporary_bytes": 10**11,
    },
  ]
  results = {
    "repeats": 3,
    "machine": MACHINE,
    "seconds": 60.0,
    "results": [{"title": "A step", "ways": ways}],
  }
  report = caching.caching_report(results)
  assert cells(report) == [
    ["plain", "", "", "100", "2.00", "2", "1.00"],
    ["chunks", "2.0e-06", "**3.0e-04**", "100", "**2.00 > 1**", "4", "2.00"],
    ["bfloat16", "2.0e-06", "3.0e-04", "200", "2.00", "1", "0.50"],
    ["more", "doesn't fit", "", "100,000", "", "", ""],
  ]
  assert report.endswith("\n2 outside of the limits.")


def test_limits_are_those_that_were_asked_for():
  assert caching.SAME == 1e-5
  faces = CASES["faces"]
  assert faces.image_shape == (160, 160, 3)
  assert faces.fields["batch.identities"] * faces.fields["batch.images"] == 1800
  assert [way.memory for way in faces.ways] == [None, 4 * GIB]


def test_facenet_s_case_is_its_config():
  """All fields of the step: those of data and of what is around it aside."""

  def of_the_step(config):
    fields = config.copy_and_resolve_references().to_dict()
    fields["optimizer"] = {
      name: fields["optimizer"][name]
      for name in ("name", "learning_rate", "weight_decay", "epsilon")
    }
    parts = ("augment", "model", "loss", "optimizer", "memory", "mining")
    return {part: fields[part] for part in parts}

  config, case = facenet.get_config(), CASES["facenet"]
  made = glyphs.get_config()
  made.update_from_flattened_dict({**caching.SHARED, **case.fields})
  assert of_the_step(made) == of_the_step(config)
  size = (config.batch.identities, config.batch.images)
  assert size == (made.batch.identities, made.batch.images)
  assert case.ways[1].fields == {"batch.chunk": config.batch.chunk}
  assert case.image_shape[:2] == (int(config.data.image_size),) * 2


def test_every_way_is_a_config_that_can_be_run():
  for case in CASES.values():
    assert case.ways[0].fields == {}
    for way in case.ways:
      made = glyphs.get_config()
      made.update_from_flattened_dict(
        {**caching.SHARED, **case.fields, **way.fields}
      )
      share = made.batch.identities * made.batch.images // way.devices
      assert not made.batch.chunk or share % made.batch.chunk == 0


PARAMETERS = ("rotation", "scale", "shear", "translation")
TINY = Case(
  "tiny",
  (8, 8, 1),
  {
    "model.features": (4,),
    "batch.identities": 4,
    "batch.images": 4,
    **{f"augment.{name}": 0.0 for name in PARAMETERS},
  },
  [Way("plain"), Way("chunks", {"batch.chunk": 4}, 2)],
)


def test_a_step_leaves_its_gradient_and_its_numbers(tmp_path):
  found = {}
  for way in TINY.ways:
    asked = caching.asked(glyphs.get_config(), TINY, way, 1)
    with jax.numpy_dtype_promotion("standard"):
      found[way.name] = caching_worker.measure_step(
        asked, tmp_path / f"{way.name}.npz"
      )
  for run in found.values():
    assert run["loss"] > 0
    assert run["peak_bytes"] > 10**7
    assert run["temporary_bytes"] > 0
    assert len(run["seconds"]) == 1
  files = [np.load(tmp_path / f"{name}.npz") for name in found]
  parts = [[file[name] for name in file.files] for file in files]
  for plain, chunks in zip(*parts, strict=True):
    np.testing.assert_allclose(chunks, plain, rtol=1e-4, atol=1e-6)
  assert max(np.abs(part).max() for part in parts[0]) > 1e-3
  asked["limit"] = 1
  with jax.numpy_dtype_promotion("standard"):
    refused = caching_worker.measure_step(asked, tmp_path / "none.npz")
  assert refused["failure"] == "doesn't fit"


@pytest.mark.slow
def test_a_case_in_processes_of_their_own():
  said = []
  found = caching.measure_case(
    glyphs.get_config(), TINY, repeats=1, say=said.append
  )
  plain, chunks = found["ways"]
  assert len(said) == 3
  assert len(plain["seconds"]) == 2  # before and after
  assert chunks["loss_difference"] < 1e-5
  assert chunks["gradient_difference"] < 1e-5


def test_an_unknown_case():
  result = command("--suite=caching", "--only=digits")
  assert result.returncode == 2
  assert "expected some of convnet, resnet, faces, facenet" in result.stderr
  with pytest.raises(UserError, match="--only"):
    caching.measure_caching(
      glyphs.get_config(), only=["digits"], repeats=1, say=print
    )
