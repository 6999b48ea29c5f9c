"""Who may import whom, and what `import tripletjax` pulls in."""

import ast
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tripletjax"

# Part of the house -> the other parts it may import.
ALLOWED = {
  "errors": set(),
  "types": set(),
  "registry": set(),
  "heap": set(),
  "manifest": {"errors"},
  "manhattan": set(),
  "distances": {"types", "registry", "manhattan"},
  "parts": {"types", "distances"},
  "masks": {"types"},
  "reductions": {"types", "registry"},
  "folds": set(),
  "keys": set(),
  "gaps": {"folds"},
  "searches": {"folds"},
  "miners": {"types", "distances", "folds", "gaps", "searches"},
  "losses": {
    "types",
    "registry",
    "distances",
    "parts",
    "masks",
    "reductions",
    "folds",
    "gaps",
    "keys",
    "searches",
    "miners",
  },
  "dialects": {"types", "distances", "folds", "miners"},
  "metrics": {"types", "distances", "folds", "errors"},
  "models": {"types", "distances", "errors"},
  "safetensors_files": {"errors"},
  "torch_program": set(),
  "torch_tensors": {"safetensors_files", "torch_program"},
  "torch_legacy": {"torch_program", "torch_tensors"},
  "torch_files": {
    "errors",
    "safetensors_files",
    "torch_legacy",
    "torch_program",
    "torch_tensors",
  },
  "pretrained": {"errors", "checkpoint", "torch_files"},
  "data": {"errors"},
  "checkpoint": {"errors", "manifest"},
  "writers": {"errors"},
  "npz_files": {"errors"},
  "report": {"errors", "npz_files", "statistics"},
  "sweeps": {
    "errors",
    "training",
    "data",
    "checkpoint",
    "writers",
    "statistics",
  },
  "inference": {
    "errors",
    "manifest",
    "safetensors_files",
    "distances",
    "losses",
    "npz_files",
    "metrics",
    "data",
    "checkpoint",
    "writers",
    "training",
  },
  "explore": {
    "errors",
    "metrics",
    "data",
    "training",
    "inference",
    "report",
  },
  "statistics": set(),
  "drills": {"errors", "checkpoint", "training"},
  "benchmark": {
    "errors",
    "distances",
    "miners",
    "losses",
    "metrics",
    "models",
    "data",
    "training",
    "sweeps",
    "statistics",
    "inference",
    "heap",
  },
  "training": {
    "errors",
    "heap",
    "keys",
    "types",
    "distances",
    "masks",
    "reductions",
    "miners",
    "losses",
    "metrics",
    "models",
    "pretrained",
    "data",
    "checkpoint",
    "writers",
  },
  "__init__": {
    "errors",
    "types",
    "distances",
    "masks",
    "reductions",
    "miners",
    "losses",
    "dialects",
    "inference",  # on demand: see test_import_is_light
  },
}

# Library -> the only parts that may import it.
OWNERS = {
  "orbax": {"checkpoint"},
  "tensorboardX": {"writers"},
  "tqdm": {"writers"},
  "tensorflow_datasets": {"data"},
  "grain": {"data"},
  "ml_collections": {"training", "benchmark", "sweeps", "inference"},
  "optax": {"training"},
  "matplotlib": {"report", "data"},
  "tensorflow": {"benchmark"},
  "tensorflow_addons": {"benchmark", "peers"},
  "faiss": {"benchmark", "peers", "inference"},
  "torch": {"benchmark", "peers"},
  "pytorch_metric_learning": {"benchmark", "peers"},
  "sentence_transformers": {"benchmark", "peers"},
  "submitit": {"sweeps"},
  "ray": {"sweeps"},
  "optuna": {"sweeps"},
  "jax2onnx": {"inference"},
  "onnxruntime": {"inference"},
  "starlette": {"explore"},
  "anyio": {"explore"},
  "uvicorn": {"explore"},
  "absl": set(),
}

SOURCES = sorted(PACKAGE.rglob("*.py"))


def part(path):
  return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path):
  """Dotted names of all imports of a file, those in functions too."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}: relative import"
      for alias in node.names:
        yield f"{node.module}.{alias.name}"


def test_every_part_has_a_rule():
  assert {part(path) for path in SOURCES} == set(ALLOWED)


@pytest.mark.parametrize(
  "path", SOURCES, ids=[str(p.relative_to(ROOT)) for p in SOURCES]
)
def test_imports_point_down(path):
  own = part(path)
  for name in imported(path):
    library, _, rest = name.partition(".")
    if library == "tripletjax" and rest:
      target = rest.split(".")[0]
      assert target == own or target in ALLOWED[own], f"{own} imports {name}"
    elif library in OWNERS:
      assert own in OWNERS[library], f"{own} imports {name}"


@pytest.mark.parametrize("name", ["jax.make_mesh", "jax.devices", "jax.pmap"])
def test_only_parallel_names_devices(name):
  library, _, attribute = name.partition(".")
  for path in SOURCES:
    uses = [
      node
      for node in ast.walk(ast.parse(path.read_text()))
      if isinstance(node, ast.Attribute)
      and node.attr == attribute
      and isinstance(node.value, ast.Name)
      and node.value.id == library
    ]
    assert not uses or path == PACKAGE / "training" / "parallel.py", path


def test_configs_import_nothing_but_ml_collections():
  for path in (ROOT / "configs").rglob("*.py"):
    libraries = {name.partition(".")[0] for name in imported(path)}
    assert libraries <= {"ml_collections", "__future__"}, path


def test_scripts_stay_short():
  for path in (ROOT / "experiments").glob("[!_]*.py"):
    # What the commands have in common.
    shared = ("app.py", "suites.py", "using.py")
    limit = 150 if path.name in shared else 100
    assert len(path.read_text().splitlines()) <= limit, path


def test_files_stay_readable():
  for path in SOURCES:
    assert len(path.read_text().splitlines()) <= 300, path


def test_files_of_tests_have_names_of_their_own():
  # pytest imports them by these names alone.
  names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
  assert len(names) == len(set(names))


def test_import_is_light():
  heavy = (
    "tensorflow tensorflow_datasets grain orbax matplotlib sklearn "
    "tensorboardX ml_collections flax optax"
  )
  code = (
    "import sys, tripletjax; "
    f"print([m for m in '{heavy}'.split() if m in sys.modules])"
  )
  output = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert output.stdout.strip() == "[]"


def test_configs_have_the_same_fields():
  def fields(config, prefix=""):
    for name, value in config.items():
      if hasattr(value, "items"):
        yield from fields(value, f"{prefix}{name}.")
      else:
        yield prefix + name

  found = {
    path.name: set(
      fields(runpy.run_path(str(path))["get_config"](variant).to_dict())
    )
    for path in (ROOT / "configs").glob("[!_]*.py")
    for variant in ("", "smoke")
  }
  assert len(found) >= 4
  for name, own in found.items():
    assert own == found["glyphs.py"], name
