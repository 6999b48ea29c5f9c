"""The suite `scaling`: what it reads off a program, and the law itself."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tripletjax.benchmark import scaling, scaling_worker
from tripletjax.benchmark.data import DIMENSION, Size
from tripletjax.errors import UserError
from tripletjax.losses import rows
from tripletjax.training import parallel

GROUPS = "replica_groups={{0,1,2,3},{4,5,6,7}}"
# A line of a program -> kind and bytes.
LINES = {
  f"%a = f32[8,128]{{1,0}} all-gather(%x), {GROUPS}, dimensions={{0}}": {
    "all-gather": 8 * 128 * 4
  },
  "%b = pred[32]{0} all-gather(%x), dimensions={0}": {"all-gather": 32},
  "%c = (f32[], bf16[6]{0}) all-reduce(%x, %y), to_apply=%add": {
    "all-reduce": 4 + 12
  },
  f"%d = f32[2,4]{{1,0}} reduce-scatter(%x), {GROUPS}": {
    "reduce-scatter": 4 * 2 * 4 * 4
  },
  "%e = f32[2]{0} reduce-scatter(%x), replica_groups=[2,16]<=[32]": {
    "reduce-scatter": 16 * 2 * 4
  },
  "%e = f32[2]{0} reduce-scatter(%x), replica_groups=mesh['a'=3,'b'=5] {'b'}": {
    "reduce-scatter": 5 * 2 * 4
  },
  "%f = s64[3,5]{1,0} collective-permute(%x)": {"collective-permute": 120},
  "%g = (f32[2,3]{1,0}, f32[4,3]{1,0}) all-gather-start(%x)": {
    "all-gather": 48
  },
  "%h = f32[4,3]{1,0} all-gather-done(%g)": {},
  "%i = f32[4,3]{1,0} add(%all-gather.1, %all-reduce.2)": {},
}


@pytest.mark.parametrize(("line", "expected"), LINES.items())
def test_bytes_of_a_line(line, expected):
  assert scaling.collective_bytes(line) == expected


def test_bytes_of_a_program_add_up():
  assert scaling.collective_bytes("\n".join(LINES)) == {
    "all-gather": 8 * 128 * 4 + 32 + 48,
    "all-reduce": 16,
    "reduce-scatter": 128 + 128 + 40,
    "collective-permute": 120,
  }


def test_bytes_of_a_known_program():
  def step(x):
    gathered = lax.all_gather(x, parallel.AXIS, tiled=True)
    back = lax.psum_scatter(
      jnp.sin(gathered), parallel.AXIS, scatter_dimension=0, tiled=True
    )
    moved = lax.ppermute(back, parallel.AXIS, [(0, 1), (1, 2), (2, 3), (3, 0)])
    return lax.psum(jnp.sum(moved), parallel.AXIS)

  devices = parallel.local_devices()[:4]
  for backend in parallel.BACKENDS:
    compiled = (
      parallel.data_parallel(step, devices, backend=backend)
      .lower(jax.ShapeDtypeStruct((4, 6, 5), jnp.float32))
      .compile()
    )
    assert scaling.collective_bytes(compiled.as_text()) == {
      "all-gather": 24 * 5 * 4,
      "reduce-scatter": 24 * 5 * 4,
      "collective-permute": 6 * 5 * 4,
      "all-reduce": 4,
    }


@pytest.mark.parametrize(
  "name",
  [
    "semi_hard",
    *(
      pytest.param(name, marks=pytest.mark.slow)
      for name in scaling.NAMES
      if name != "semi_hard"
    ),
  ],
)
def test_the_work_of_a_device_falls_with_their_number(name, monkeypatch):
  monkeypatch.setattr(rows, "WHOLE", sys.maxsize)
  size = Size(32, 8)
  points = [
    {
      "devices": count,
      **scaling_worker.work(scaling_worker.compile_for(name, size, count)),
    }
    for count in (1, 4, 8)
  ]
  assert scaling.fitted(points, "flops") < -0.95
  # Each device reads all embeddings, which isn't little at this size.
  assert scaling.fitted(points, "bytes") < -0.6
  for point in points:
    found = point["collectives"]
    # Beside the embeddings go a label and an id of each, four bytes each, and
    # whether it is padding, one; and back their gradient.
    assert found.pop("reduce-scatter") == size.batch * DIMENSION * 4
    gathered = found.pop("all-gather") - size.batch * DIMENSION * 4
    assert gathered in (8 * size.batch, 9 * size.batch)
    assert found.pop("all-reduce") <= 64
    assert not found


def test_work_that_each_device_repeats_does_not_fall():
  def step(x):
    return jnp.sum(jnp.sin(lax.all_gather(x, parallel.AXIS, tiled=True)))

  points = []
  for count in (1, 2, 4):
    run = parallel.data_parallel(step, parallel.local_devices()[:count])
    shape = jax.ShapeDtypeStruct((count, 1024 // count, 8), jnp.float32)
    points.append(
      {"devices": count, **scaling_worker.work(run.lower(shape).compile())}
    )
  assert scaling.fitted(points, "flops") > -0.1


def test_the_table_marks_what_does_not_fall():
  least = 2 * 4 * 32 * DIMENSION
  points = {
    "falls": [(1, 64e9, 8e6, 0), (4, 16e9, 2e6, least)],
    "stays": [(1, 64e9, 8e6, 0), (4, 64e9, 2e6, 2 * least)],
  }
  report = scaling.scaling_report(
    {
      "identities": 4,
      "images": 8,
      "jax": "0",
      "seconds": 60.0,
      "results": {
        name: [
          {"devices": d, "flops": f, "bytes": b, "collectives": {"x": c}}
          for d, f, b, c in of
        ]
        for name, of in points.items()
      },
    }
  )
  cells = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in report.splitlines()
    if line.startswith("|")
  ]
  falls = ["-1.00 ≤ -0.95", "8", "2", "-1.00 ≤ -0.85", "0.03", "1.00 ≤ 1.05"]
  stays = "8", "2", "-1.00 ≤ -0.85", "0.07", "**2.00 > 1.05**"
  assert cells[2] == ["falls", "64", "16", *falls]
  assert cells[3][:3] == ["stays", "64", "64"]
  assert cells[3][3] in ("**0.00 > -0.95**", "**-0.00 > -0.95**")
  assert tuple(cells[3][4:]) == stays
  assert report.endswith("\n2 outside of the limits.")


@pytest.mark.parametrize("sizes", [[Size(3, 5)], [Size(8, 8), Size(16, 8)]])
def test_a_batch_that_devices_cannot_share(sizes):
  with pytest.raises(UserError, match="--sizes: expected one batch of a mult"):
    scaling.measure_scaling(sizes, say=print)


def test_the_worker_is_a_process_of_its_own():
  found = scaling.measure_scaling(
    [Size(4, 4)], only=["batch_hard"], devices=(1, 2), say=lambda line: None
  )
  first, second = found["results"]["batch_hard"]
  assert (first["devices"], second["devices"]) == (1, 2)
  assert np.isfinite(scaling.fitted([first, second], "flops"))
  assert second["collectives"]["reduce-scatter"] == 16 * DIMENSION * 4
