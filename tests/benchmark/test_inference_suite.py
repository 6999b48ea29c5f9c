"""The suite `inference`: what it says, and that all ways find the same."""

import json

import numpy as np
import pytest

from configs.glyphs import get_config
from tests.benchmark.test_benchmark import command
from tripletjax.benchmark import inference, inference_worker
from tripletjax.benchmark.inference_steps import NETWORKS, embedding_calls
from tripletjax.errors import UserError

RESULTS = {
  "repeats": 5,
  "machine": {"cores": 2, "backend": "cpu", "jax": "0", "load": 0.0},
  "seconds": 60.0,
  "networks": {
    "convnet": {
      "images": 1000, "shape": [32, 32, 1], "format": "grey PNG", "cores": 2,
      "alone": {"seconds": 0.1, "cpu_seconds": 0.2},
      "arrays": {"seconds": 0.1, "cpu_seconds": 0.25},
      "files": {"seconds": 0.2, "cpu_seconds": 0.32},
      "decode": {"seconds": 0.04},
      "one": {"seconds": 0.05, "cpu_seconds": 0.05},
    },
  },
  "searches": [
    {
      "gallery": 1_000_000, "queries": 100,
      "ways": {
        "blocks": {"seconds": 2.0, "cpu_seconds": 3.0, "peak_bytes": 1e7},
        "faiss": {"seconds": 1.0, "cpu_seconds": 2.0, "peak_bytes": 6e8},
        "faiss_search": {"failure": "not installed"},
      },
    },
  ],
}  # fmt: skip


def test_the_tables_mark_what_is_outside_of_its_limit():
  report = inference.inference_report(RESULTS)
  cells = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in report.splitlines()
    if line.startswith("|") and "---" not in line
  ]
  assert cells[1] == [
    "convnet, 32 px, grey PNG", "1,000", "10,000", "1.00 ≥ 0.9",
    "0.80", "**0.50 < 0.9**", "0.62", "25,000", "20,000", "0.80",
  ]  # fmt: skip
  assert cells[3:] == [
    ["ours, by blocks", "2.00", "1.00", "3.00", "10"],
    ["IndexFlat, made and searched", "1.00", "0.50", "2.00", "600"],
    ["IndexFlat, searched", "not installed", "", "", ""],
  ]
  assert report.endswith("\n1 outside of the limits.")


def test_all_ways_embed_the_same_files(tmp_path):
  network = NETWORKS["convnet"]
  kind = network.kind._replace(classes=4, each=4)
  small = network._replace(kind=kind, batch=8)
  config = get_config()
  config.model.features = (4, 8)
  config.model.dimension = 6
  calls, about = embedding_calls(config, small, tmp_path)
  assert (about["images"], about["batch"]) == (16, 8)
  alone = calls["alone"]()
  assert alone.shape == (16, 6)
  for way in ("arrays", "files"):
    np.testing.assert_allclose(calls[way](), alone, atol=1e-6)
  for way in ("decode", "one"):
    calls[way]()


def test_every_network_fills_its_batches():
  for network in NETWORKS.values():
    assert network.kind.classes * network.kind.each % network.batch == 0


def test_all_searches_find_the_same():
  gallery = inference_worker.make_rows(3000, 0)
  queries = inference_worker.make_rows(7, 1)
  np.testing.assert_allclose(np.linalg.norm(gallery, axis=1), 1, atol=1e-6)
  distances = ((queries[:, None] - gallery[None]) ** 2).sum(axis=2)
  nearest = np.argsort(distances, axis=1)[:, :5]
  ours = inference_worker.STEPS["blocks"](gallery, queries)()
  assert ours == nearest.sum()
  pytest.importorskip("faiss", reason="faiss isn't installed")
  for name in ("faiss", "faiss_search"):
    assert inference_worker.STEPS[name](gallery, queries)() == ours


def test_an_unknown_case():
  with pytest.raises(UserError, match="--only: expected some of convnet, resn"):
    inference.measure_inference(
      get_config(), [], only=["vgg"], repeats=1, peers=False, say=print
    )


@pytest.mark.slow
def test_the_command_at_a_tiny_size(tmp_path):
  path = tmp_path / "numbers.json"
  result = command(
    "--suite=inference",
    "--sizes=300x4",
    "--only=search",
    "--repeats=1",
    "--nopeers",
    f"--output={path}",
  )
  assert result.returncode == 0, result.stderr
  assert "| ours, by blocks" in result.stdout
  (search,) = json.loads(path.read_text())["searches"]
  assert (search["gallery"], search["queries"]) == (300, 4)
  assert search["ways"]["blocks"]["samples"]
