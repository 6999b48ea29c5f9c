"""Files of PyTorch before 1.6: read whole, or refused; nothing is run."""

import contextlib

import numpy as np
import weights
from hypothesis import given, settings
from hypothesis import strategies as st

from tripletjax import UserError
from tripletjax.torch_files import read_state_dict


def made():
  base = np.arange(24, dtype="<f4").reshape(4, 6)
  value = {
    "whole": weights.Tensor("1", base),
    "turned": weights.Tensor("1", base.T),
    "part": weights.Tensor("1", base, offset=7, size=(2, 2), stride=(12, 3)),
    "other": weights.Tensor("0", np.arange(3, dtype="<f4")),
  }
  storages = {
    "0": np.arange(3, dtype="<f4").tobytes(),
    "1": base.tobytes(),
  }
  expected = {
    "whole": base,
    "turned": base.T,
    "part": [[7, 10], [19, 22]],
    "other": [0, 1, 2],
  }
  return value, storages, expected


def test_tensors_are_what_they_are(tmp_path):
  value, storages, expected = made()
  path = tmp_path / "a.pth"
  for wrapped in (value, {"epoch": 3, "state_dict": value}):
    path.write_bytes(weights.torch_legacy(weights.program(wrapped), storages))
    found = read_state_dict(path)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
      np.testing.assert_array_equal(found[name], array)
      assert not found[name].flags.writeable


def test_a_damaged_file_is_read_or_refused(tmp_path):
  value, storages, _ = made()
  whole = weights.torch_legacy(weights.program(value), storages)
  path = tmp_path / "a.pth"
  places = st.lists(
    st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=4
  )

  @settings(max_examples=150, deadline=None, derandomize=True)
  @given(places, st.integers(0, len(whole)))
  def check(changes, length):
    data = bytearray(whole)
    for place, byte in changes:
      data[place] = byte
    path.write_bytes(data[:length] if length % 3 == 0 else data)
    with contextlib.suppress(UserError):
      for array in read_state_dict(path).values():
        array.sum()  # all of it can be read

  check()
