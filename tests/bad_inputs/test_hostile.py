"""Nothing that a file holds is run, shown as it is, or sent anywhere."""

import ast
import json
import os
import pickle

import numpy as np
import pytest
import weights
from matplotlib.figure import Figure
from world import IMAGES, ROOT, png, write

from tripletjax.data.images import PIXELS, decode_image
from tripletjax.data.importing import import_images
from tripletjax.data.listing import list_images
from tripletjax.errors import UserError, printable
from tripletjax.report.batch import draw_batch, save_batch
from tripletjax.report.canvas import save_figure, short
from tripletjax.report.files import Evaluation, MinedTriplets
from tripletjax.report.neighbours import draw_neighbours
from tripletjax.report.prepared import draw_findings, findings_lines
from tripletjax.report.triplets import draw_triplets
from tripletjax.torch_files import read_state_dict

SOURCES = [
  path
  for folder in ("tripletjax", "experiments", "configs")
  for path in (ROOT / folder).rglob("*.py")
]
NAMES = [
  "$a$", "$\\frac{", "\\alpha_{", "<script>", "a\nb", "\x1b[31mred",
  "\u202eabc",
  "%s{0}", "李 \U0001f600", "", " ", "$" * 300, "a\x00b",
]  # fmt: skip
# Modules that run what they read; pickletools only takes pickles apart.
RUNNERS = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal",
           "joblib", "yaml", "torch"}  # fmt: skip


@pytest.mark.parametrize(
  "path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES]
)
def test_no_file_is_run(path):
  own = str(path.relative_to(ROOT))
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import | ast.ImportFrom):
      names = [alias.name for alias in node.names]
      names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
      found = {name.partition(".")[0] for name in names} & RUNNERS
      # Other libraries are measured on arrays of ours.
      peers = "benchmark/" in own or own.startswith("experiments/")
      assert found <= ({"torch"} if peers else set()), own
    if not isinstance(node, ast.Call):
      continue
    called = ast.unparse(node.func)
    assert called not in ("eval", "exec", "compile", "__import__"), own
    assert called != "torch.load", own
    for keyword in node.keywords:
      if keyword.arg == "allow_pickle":
        assert ast.unparse(keyword.value) == "False", own
    if called in ("np.load", "numpy.load"):
      assert any(k.arg == "allow_pickle" for k in node.keywords), own


def test_every_name_is_refused_but_those_of_tensors(tmp_path):
  path = tmp_path / "a.pth"
  for module, name in (
    ("os", "system"), ("builtins", "eval"), ("torch", "load"),
    ("torch", "FloatTensor"), ("collections", "Counter"),
    ("numpy.core.multiarray", "_reconstruct"),
  ):  # fmt: skip
    for program in (
      f"c{module}\n{name}\n.".encode(),
      b"\x80\x04\x8c" + bytes([len(module)]) + module.encode()
      + b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93.",
      f"(i{module}\n{name}\n.".encode(),
    ):  # fmt: skip
      weights.torch_zip(path, program, {})
      with pytest.raises(UserError, match=r"isn't a tensor|instruction INST"):
        read_state_dict(path)


def test_tensors_are_what_they_are(tmp_path):
  random = np.random.default_rng(0)
  base = random.normal(size=(4, 6)).astype("<f4")
  value = {
    "whole": weights.Tensor("0", base),
    "turned": weights.Tensor("0", base.T),
    "part": weights.Tensor(
      "0", base, offset=7, size=(2, 2), stride=(12, 3)
    ),
    "scalar": weights.Tensor("0", base, offset=5, size=(), stride=()),
    "none": weights.Tensor("0", base, size=(0, 3), stride=(3, 1)),
    "long": weights.Tensor("1", np.arange(3, dtype="<i8")),
  }  # fmt: skip
  path = tmp_path / "a.pth"
  storages = {"0": base.tobytes(), "1": np.arange(3, dtype="<i8").tobytes()}
  flat = base.ravel()
  expected = {
    "whole": base,
    "turned": base.T,
    "part": np.array([[flat[7], flat[10]], [flat[19], flat[22]]]),
    "scalar": flat[5],
    "none": np.zeros((0, 3), np.float32),
    "long": np.array([0, 1, 2]),
  }
  for wrapped in (value, {"epoch": 3, "state_dict": value}):
    weights.torch_zip(path, weights.program(wrapped), storages)
    found = read_state_dict(path)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
      np.testing.assert_array_equal(found[name], array)
      assert not found[name].flags.writeable


def test_safetensors_are_what_they_are(tmp_path):
  a, b = np.arange(6, dtype="<i2").reshape(2, 3), np.array([True, False])
  bits = np.array([0x3FC0, 0xC000], "<u2")  # 1.5 and -2 in bfloat16
  header = {
    "__metadata__": {"format": "pt"},
    "b": {"dtype": "BOOL", "shape": [2], "data_offsets": [12, 14]},
    "a": {"dtype": "I16", "shape": [2, 3], "data_offsets": [0, 12]},
    "c": {"dtype": "BF16", "shape": [2, 1], "data_offsets": [14, 18]},
  }
  path = tmp_path / "a.safetensors"
  data = a.tobytes() + b.tobytes() + bits.tobytes()
  path.write_bytes(weights.safetensors(header, data))
  found = read_state_dict(path)
  np.testing.assert_array_equal(found["a"], a)
  np.testing.assert_array_equal(found["b"], b)
  assert found["c"].tolist() == [[1.5], [-2.0]]


def test_pytorch_writes_what_is_read(tmp_path):
  torch = pytest.importorskip("torch")
  network = torch.nn.Sequential(
    torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Linear(2, 2)
  )
  state = network.state_dict() | {
    "half": torch.arange(6.0).half().reshape(2, 3).t(),
    "bfloat16": torch.tensor([1.5, -2.0]).bfloat16(),
  }
  for kept in (state, {"state_dict": state}, dict(network.named_parameters())):
    torch.save(kept, tmp_path / "a.pth")
    found = read_state_dict(tmp_path / "a.pth")
    wanted = kept.get("state_dict", kept)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
      np.testing.assert_array_equal(
        found[name], tensor.detach().float().numpy().astype(found[name].dtype)
      )
  torch.save(network, tmp_path / "a.pth")
  with pytest.raises(UserError, match=r"names torch.nn.modules.container.Seq"):
    read_state_dict(tmp_path / "a.pth")


def test_nothing_hides_in_an_npz(tmp_path):
  class Evil:
    def __reduce__(self):
      return os.system, (f"touch {tmp_path}/PWNED",)

  from tripletjax.npz_files import read_npz

  held = np.empty(1, object)
  held[0] = Evil()
  np.savez(tmp_path / "a.npz", x=held)
  pickled = tmp_path / "b.npz"
  pickled.write_bytes(pickle.dumps(Evil()))
  for path in (tmp_path / "a.npz", pickled):
    with pytest.raises(UserError, match=r"expected a NumPy \.npz archive"):
      read_npz(path)
  assert not (tmp_path / "PWNED").exists()


def test_pixels_are_counted_before_they_are_decoded():
  for size in ((60_000, 60_000), (2**31 - 1, 1), (9000, 9000)):
    with pytest.raises(ValueError, match=f"at most {PIXELS:,} pixels"):
      decode_image(png(*size))


@pytest.mark.parametrize("name", NAMES)
def test_names_can_be_drawn(tmp_path, name):
  images = np.zeros((4, 5, 5, 1), np.uint8)
  labels = np.array([0, 0, 1, 1])
  embeddings = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
  names = np.array([name or "x", "other"])
  data = Evaluation(embeddings, labels, names, images, None)
  zeros = np.zeros(4, np.float32)
  mined = MinedTriplets(
    images, images, images, zeros, zeros, names[labels], names[labels],
    0.2, name,
  )  # fmt: skip
  for figure in (draw_neighbours(data), draw_triplets(mined)):
    assert isinstance(figure, Figure)
    save_figure(figure, tmp_path / "a.png")
  figure = draw_batch(np.zeros((1, 2, 5, 5, 1)), [name], f"title {name}")
  save_batch(figure, tmp_path / "b.png")


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_as_text(name):
  for text in (printable(name), short(name, 1000)):
    assert text.isprintable()
    assert "\n" not in text


def test_findings_of_hostile_names_are_lines(tmp_path):
  files = {f"b/{name}": IMAGES["b/0.png"] for name in ("0.png", "1.png")}
  for name in NAMES:
    if name.strip() and "\0" not in name and len(name) < 200:
      files[f"{name.replace('/', '_')}/1.png"] = IMAGES["a/0.png"]
  write(tmp_path / "images", files)
  folder = import_images(
    list_images([str(tmp_path / "images")]),
    name="hostile",
    data_dir=tmp_path,
    say=lambda line: None,
    draw=draw_findings,
  )
  lines = findings_lines(json.loads((folder / "findings.json").read_text()))
  assert all(line.isprintable() for line in lines)
