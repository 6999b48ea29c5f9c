"""A finished run, evaluated: the command and what it stands on."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import prepared_sets
import pytest

from configs import glyphs
from tripletjax import UserError, metrics
from tripletjax.data.splits import gallery_and_query
from tripletjax.report import draw_evaluation
from tripletjax.training import committee, finished, pairs, protocols
from tripletjax.training.committee import side_by_side
from tripletjax.training.evaluate_run import evaluate_run
from tripletjax.training.evaluated_set import open_set
from tripletjax.training.evaluation import embed_source
from tripletjax.training.evaluation_arrays import draw_images
from tripletjax.training.evaluation_settings import (
  Labelled,
  Settings,
  explain,
)
from tripletjax.training.loop import train_and_evaluate
from tripletjax.training.splits import DEFAULTS

ROOT = Path(__file__).parent.parent
# Enough of the protocols for what isn't about them.
FEW = {"metrics": ("retrieval",), "baselines": False}


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
  """(folder of a run on two devices, folder of its data, its summary)."""
  folder = tmp_path_factory.mktemp("evaluate")
  config = glyphs.get_config("smoke")
  config.train.duration = "5 steps"
  config.evaluation.every = "0 steps"
  devices = jax.local_devices()[:2]
  # Optax's Adam multiplies its integer count with floats.
  with jax.numpy_dtype_promotion("standard"):
    summary = train_and_evaluate(
      config, folder / "run", data_dir=folder / "data", devices=devices
    )
  return folder / "run", folder / "data", summary


@pytest.fixture(scope="session")
def evaluated(trained, tmp_path_factory):
  """(summary, output folder) of an evaluation with everything, one device."""
  run, data, _ = trained
  output = tmp_path_factory.mktemp("evaluation")
  summary = evaluate_run(
    run,
    data_dir=data,
    output=output,
    devices=jax.local_devices()[:1],
    ways=2,
    episodes=20,
    resamples=20,
  )
  return summary, output


def test_it_measures_what_the_training_measured(trained, evaluated):
  theirs, (ours, _) = trained[2], evaluated
  for space in ("raw_pixels", "untrained", "trained"):
    shared = ours[space].keys() & theirs[space].keys()
    assert {"recall@1", "map@r", "accuracy", "auc"} <= shared
    # One device here and two there: equal but for rounding.
    for name in shared:
      if name.endswith(("_low", "_high")):
        continue  # of fewer resamples here
      assert ours[space][name] == pytest.approx(
        theirs[space][name], abs=2e-3, nan_ok=True
      ), (space, name)


def test_embeddings_are_those_of_the_training_on_any_devices(trained):
  run, data, _ = trained
  loaded = finished.load_run(run)
  assert loaded.step == 5
  source = open_set(loaded.config, data, "eval").source
  with np.load(run / "evaluation.npz") as saved:
    expected = saved["embeddings"]
  state = finished.trained_state(loaded)
  for count in (1, 3):
    found = embed_source(
      state, source, jax.local_devices()[:count], batch_size=64
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_summary_and_what_could_not_be_measured(evaluated):
  summary, output = evaluated
  written = json.loads((output / "summary.json").read_text())
  assert written["step"] == 5
  assert written["split"] == glyphs.get_config().data.eval_split
  with np.load(output / "embeddings.npz") as arrays:
    labels = arrays["labels"]
    assert arrays["embeddings"].shape == (len(labels), 16)
  counts = np.unique(labels, return_counts=True)[1]
  same = int(np.sum(counts * (counts - 1) // 2))
  different = len(labels) * (len(labels) - 1) // 2 - same
  assert written["images"] == len(labels)
  assert written["identities"] == len(counts)
  assert written["trained"]["same_pairs"] == same
  assert written["trained"]["different_pairs"] == different
  assert different < 1e5
  assert written["trained"]["tar@far=1e-06"] is None
  assert np.isnan(summary["trained"]["tar@far=1e-06"])
  assert written["not_measurable"]["tar@far=1e-06"] == (
    f"not measurable with {different:,} different pairs"
  )
  # One key of each protocol, under the names that stand everywhere.
  assert {
    "recall@1", "precision@1", "r_precision", "map@r", "map", "mrr",
    "accuracy", "accuracy_stderr", "auc", "eer", "threshold",
    "tar@far=1e-03", "tar@far=1e-03_low", "rank@1", "tpir@fpir=1e-02",
    "one_shot_error", "one_shot_error_low", "nmi", "ami", "ari", "bcubed_f",
    "uniformity", "hubness",
  } <= written["trained"].keys()  # fmt: skip
  spaces = [written[name] for name in ("raw_pixels", "untrained", "trained")]
  assert spaces[0].keys() == spaces[1].keys() == spaces[2].keys()


def test_why_a_score_is_missing():
  data = Labelled(labels=np.array([0, 0, 1, 2, 3]))
  nan = float("nan")
  scores = {
    "same_pairs": 1.0, "different_pairs": 9.0, "unknown_queries": 3.0,
    "tar@far=1e-01": nan, "tar@far=1e-01_low": nan, "accuracy": nan,
    "tpir@fpir=1e-02": nan, "one_shot_error": nan, "auc": 0.5, "ami": nan,
  }  # fmt: skip
  raw = scores | {"auc": nan}
  found = explain({"raw_pixels": raw, "trained": scores}, data, Settings())
  assert found == {
    "tar@far=1e-01": "not measurable with 9 different pairs",
    "accuracy": (
      "not measurable in 10 folds with 1 same and 9 different pairs"
    ),
    "tpir@fpir=1e-02": ("not measurable with 3 queries of unknown identities"),
    "one_shot_error": (
      "not measurable with 1 identities of 2 images or more, where 20 are "
      "asked for"
    ),
    "ami": "not measurable on this set",
    "auc": "not measurable on this set (raw pixels)",
  }


def test_why_episodes_of_cameras_are_missing():
  data = Labelled(labels=np.zeros(4, int), cameras=np.arange(4))
  scores = {"trained": {"one_shot_error": float("nan")}}
  assert explain(scores, data, Settings(ways=2))["one_shot_error"] == (
    "not measurable with 1 identities of 2 images or more, where 2 by the same "
    "cameras are asked for"
  )


def test_query_against_gallery_equals_a_loop(trained, tmp_path):
  run, data, _ = trained
  summary = evaluate_run(
    run,
    data_dir=data,
    gallery="armenian[:60%]",
    query="armenian[60%:]+lao[:3]",
    output=tmp_path,
    baselines=False,
    metrics=("retrieval", "verification"),
    ks=(1,),
  )
  config = finished.read_config(run)
  gallery = open_set(config, data, "armenian[:60%]").source
  query = open_set(config, data, "armenian[60%:]+lao[:3]").source
  sizes = len(gallery), len(query)
  with np.load(tmp_path / "embeddings.npz") as arrays:
    points = arrays["embeddings"].astype(np.float64)
    names = arrays["label_names"][arrays["labels"]]
  assert len(points) == sum(sizes)
  expected = [
    part.label_names[i] for part in (gallery, query) for i in part.labels
  ]
  assert names.tolist() == expected
  hits, same = [], 0
  for i in range(sizes[0], sum(sizes)):
    matches = [j for j in range(sizes[0]) if names[j] == names[i]]
    same += len(matches)
    if matches:
      gaps = [np.sum((points[i] - points[j]) ** 2) for j in range(sizes[0])]
      hits.append(names[int(np.argmin(gaps))] == names[i])
  scores = summary["trained"]
  assert scores["queries"] == sizes[1]
  assert scores["queries_without_match"] == sizes[1] - len(hits)
  assert scores["recall@1"] == pytest.approx(np.mean(hits))
  assert scores["same_pairs"] == same
  assert scores["different_pairs"] == sizes[0] * sizes[1] - same
  # Pictures show the queries that have a match, as the averages do.
  with np.load(tmp_path / "evaluation.npz") as arrays:
    taken = names[arrays["nearest"][:, 0]]
    assert len(arrays["queries"]) == len(hits)
    assert np.mean(taken == names[arrays["queries"]]) == np.mean(hits)


@pytest.mark.slow
def test_the_command_from_another_folder(trained, tmp_path):
  run, data, _ = trained
  result = subprocess.run(
    [
      sys.executable,
      "-m",
      "experiments.evaluate",
      f"--workdir={run}",
      f"--data_dir={data}",
      "--split=lao",
      "--metrics=retrieval,verification",
      "--ks=1,3",
      "--output=out",
    ],
    capture_output=True,
    text=True,
    cwd=tmp_path,
    env={
      "PATH": "",
      "PYTHONPATH": str(ROOT),
      "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
    },
    timeout=300,
  )
  assert result.returncode == 0, result.stderr
  assert "| recall@3 " in result.stdout
  assert "| raw pixels " in result.stdout
  assert "tar@far=1e-06: not measurable with" in result.stdout
  printed = [Path(line) for line in result.stdout.splitlines()[-8:]]
  assert [path.name for path in printed] == [
    "summary.json",
    "roc.png",
    "distances.png",
    "recall.png",
    "confusion.png",
    "worst_pairs.png",
    "neighbours.png",
    "embedding.png",
  ]
  assert all((tmp_path / path).is_file() for path in printed)


def lfw_like(folder, identities=6, images=4, folds=3):
  """A small set in LFW's manner, and its pairs.txt: (images, path, pairs)."""
  rng = np.random.default_rng(0)
  labels = np.repeat(np.arange(identities, dtype=np.int32), images)
  means = rng.integers(0, 200, (identities, 32, 32))
  noise = rng.integers(0, 56, (len(labels), 32, 32))
  names = [f"Person_{letter}" for letter in "ABCDEF"[:identities]]
  examples = [
    {
      "image": prepared_sets.encode((means[label] + noise[i]).astype(np.uint8)),
      "label": names[label],
      "group": "",
      "path": f"{names[label]}/{names[label]}_{i % images + 1:04d}.png",
    }
    for i, label in enumerate(labels)
  ]
  prepared_sets.write_set(folder, "faces", {"train": examples})
  lines, listed = [f"{folds}\t4"], []
  for fold in range(folds):
    for same in (True, False):
      for _ in range(4):
        one = int(rng.integers(identities))
        other = one if same else (one + 1) % identities
        # The last image of each identity is in no pair.
        i, j = rng.choice(images - 1, 2, replace=False)
        listed.append((one * images + i, other * images + j, same, fold))
        ends = [names[one], i + 1] + ([] if same else [names[other]]) + [j + 1]
        lines.append("\t".join(map(str, ends)))
  path = folder / "pairs.txt"
  path.write_text("\n".join(lines) + "\n")
  return len(labels), path, listed


def test_each_script_is_measured_by_itself(trained, tmp_path):
  summary = evaluate_run(
    trained[0],
    data_dir=trained[1],
    output=tmp_path,
    by_group=True,
    resamples=0,
    **FEW,
  )
  groups = json.loads((tmp_path / "summary.json").read_text())["by_group"]
  assert len(groups) >= 2
  assert sum(row["images"] for row in groups.values()) == summary["images"]
  assert all(0 <= row["trained"]["recall@1"] <= 1 for row in groups.values())


def test_lfws_protocol_equals_a_loop(trained, tmp_path):
  faces, path, listed = lfw_like(tmp_path)
  summary = evaluate_run(
    trained[0], data_dir=tmp_path, data="faces", pairs=path, output=tmp_path
  )
  named = sorted({i for pair in listed for i in pair[:2]})
  # Only the images that the file names are embedded.
  assert summary["images"] == len(named) < faces
  with np.load(tmp_path / "embeddings.npz") as arrays:
    points = dict(zip(named, arrays["embeddings"].astype(float), strict=True))
  gaps = [float(np.sum((points[i] - points[j]) ** 2)) for i, j, _, _ in listed]
  rates, thresholds = [], []
  for fold in range(3):
    others = [
      (g, p[2]) for g, p in zip(gaps, listed, strict=True) if p[3] != fold
    ]
    right = {
      cut: sum((g <= cut) == same for g, same in others)
      for cut in [-1.0, *sorted(g for g, _ in others)]
    }
    best = min(cut for cut in right if right[cut] == max(right.values()))
    above = [g for g, _ in others if g > best]
    threshold = (best + min(above)) / 2 if above and best >= 0 else best
    thresholds.append(threshold)
    own = [(g, p[2]) for g, p in zip(gaps, listed, strict=True) if p[3] == fold]
    rates.append(np.mean([(g <= threshold) == same for g, same in own]))
  scores = summary["trained"]
  assert scores["accuracy"] == pytest.approx(np.mean(rates))
  assert scores["accuracy_stderr"] == pytest.approx(
    np.std(rates, ddof=1) / np.sqrt(3)
  )
  assert scores["threshold"] == pytest.approx(np.mean(thresholds), abs=1e-4)
  assert scores["same_pairs"] == scores["different_pairs"] == 12
  assert "recall@1" not in scores
  names = [file.name for file in draw_evaluation(tmp_path)]
  assert names == ["roc.png", "distances.png", "worst_pairs.png"]


def test_a_pair_of_a_missing_image_is_named(trained, tmp_path):
  _, path, _ = lfw_like(tmp_path)
  lines = path.read_text().splitlines()
  lines[1] = "Person_A\t1\t99"
  path.write_text("\n".join(lines))
  with pytest.raises(
    UserError, match=r"pairs.txt, line 2: no image 99 of 'Person_A'"
  ):
    evaluate_run(
      trained[0], data_dir=tmp_path, data="faces", pairs=path, output=tmp_path
    )


def test_some_images_of_each_identity_are_searched_by_the_rest(
  trained, tmp_path
):
  run, data, _ = trained
  summary = evaluate_run(
    run, data_dir=data, gallery_images=2, baselines=False, output=tmp_path
  )
  with np.load(tmp_path / "embeddings.npz") as arrays:
    x, labels = arrays["embeddings"].astype(float), arrays["labels"]
  gallery, query = gallery_and_query(labels, images=2, seed=0)
  distances = ((x[query][:, None] - x[gallery]) ** 2).sum(-1)
  nearest = labels[gallery][distances.argmin(1)]
  assert summary["trained"]["recall@1"] == pytest.approx(
    np.mean(nearest == labels[query])
  )
  assert summary["split"].endswith("2 of each identity searched by the rest")


def market_like(folder):
  """24 images, two of each of 4 identities by each of 3 cameras."""
  rng = np.random.default_rng(1)
  examples = [
    {
      "image": prepared_sets.encode(rng.integers(0, 255, (32, 32), np.uint8)),
      "label": f"{number // 6:04d}",
      "group": "",
      "path": f"{number // 6:04d}_c{number // 2 % 3 + 1}s1_{number:06d}.png",
    }
    for number in range(24)
  ]
  prepared_sets.write_set(folder, "market", {"train": examples})


def average_precision(distances, labels, cameras, query):
  """Of one query, by the definition; None where nothing matches."""
  order = sorted(range(len(labels)), key=lambda i: (distances[i], i))
  order = [
    i
    for i in order
    if i != query
    and not (labels[i] == labels[query] and cameras[i] == cameras[query])
  ]
  hits = [labels[i] == labels[query] for i in order]
  at = [rank for rank, hit in enumerate(hits, start=1) if hit]
  return np.mean([(n + 1) / rank for n, rank in enumerate(at)])


@pytest.mark.parametrize("searched", [{}, {"gallery": "all", "query": "all"}])
def test_images_of_the_same_camera_do_not_match(trained, tmp_path, searched):
  market_like(tmp_path)
  summary = evaluate_run(
    trained[0],
    data_dir=tmp_path,
    data="market",
    split="all",
    cameras=r"_c(\d)",
    metrics=("retrieval",),
    ks=(1,),
    baselines=False,
    output=tmp_path,
    **searched,
  )
  with np.load(tmp_path / "embeddings.npz") as arrays:
    x = arrays["embeddings"].astype(float)[-24:]
  labels, cameras = np.arange(24) // 6, np.arange(24) // 2 % 3
  distances = ((x[:, None] - x) ** 2).sum(-1)
  expected = [
    average_precision(distances[query], labels, cameras, query)
    for query in range(24)
  ]
  assert summary["trained"]["map"] == pytest.approx(np.mean(expected))


def test_views_are_of_the_evaluation(trained, tmp_path):
  run, data, _ = trained
  found = {}
  for views in (1, 2):
    evaluate_run(run, data_dir=data, views=views, output=tmp_path, **FEW)
    with np.load(tmp_path / "embeddings.npz") as arrays:
      found[views] = arrays["embeddings"]
  assert found[1].shape == found[2].shape
  assert 1e-3 < np.abs(found[1] - found[2]).max() < 2
  with pytest.raises(UserError, match="--views: expected 1 to 1,000, got 1,0"):
    evaluate_run(run, data_dir=data, views=1001)


def test_views_are_compared_in_one_shot_tasks_alone(trained, tmp_path):
  run, data, _ = trained
  other = tmp_path / "other"
  shutil.copytree(run, other)
  asked = FEW | {"ways": 3, "metrics": ("one_shot", "retrieval"), "views": 4}
  by_means, by_views, of_both = (
    evaluate_run(run, data_dir=data, output=tmp_path, **asked, **how)["trained"]
    for how in (
      {},
      {"view_temperature": 0.05},
      {"view_temperature": 0.05, "beside": [other]},
    )
  )
  assert by_views["one_shot_error"] != by_means["one_shot_error"]
  assert by_views["map@r"] == pytest.approx(by_means["map@r"], abs=1e-6)
  # Twice the same run says what it says once.
  for name, value in of_both.items():
    assert by_views[name] == pytest.approx(value, abs=1e-3)
  with np.load(tmp_path / "embeddings.npz") as arrays:
    assert arrays["embeddings"].shape[1:] == (2 * 16,)
  config = json.loads((other / "config.json").read_text())
  config["evaluation"] |= {"views": 2, "view_temperature": 0.05}
  (other / "config.json").write_text(json.dumps(config))
  for how, message in (
    ({}, r"view_temperature = 0.05; expected 0.0, as .*--view_temperature for"),
    ({"view_temperature": 0.05}, "evaluation.views = 2; expected 1, as .*--vi"),
    ({"view_temperature": -1.0}, "--view_temperature: expected 0 or more, got"),
  ):
    with pytest.raises(UserError, match=message):
      evaluate_run(run, data_dir=data, beside=[other], **how)


def test_runs_side_by_side(trained, tmp_path):
  run, data, _ = trained
  other = tmp_path / "other"
  shutil.copytree(run, other)
  alone, joined = (
    evaluate_run(run, data_dir=data, beside=beside, output=tmp_path, **FEW)
    for beside in ((), (other,))
  )
  # Twice the same run says what it says once.
  for name, value in alone["trained"].items():
    assert joined["trained"][name] == pytest.approx(value, abs=1e-3)
  with np.load(tmp_path / "embeddings.npz") as arrays:
    assert arrays["embeddings"].shape[1] == 2 * 16
    norms = np.linalg.norm(arrays["embeddings"], axis=1)
    np.testing.assert_allclose(norms, 1, rtol=1e-5)
  config = json.loads((other / "config.json").read_text())
  config["loss"]["distance"] = "euclidean"
  (other / "config.json").write_text(json.dumps(config))
  with pytest.raises(
    UserError, match=r"--beside: .*other has loss.distance = 'euclidean'; exp"
  ):
    evaluate_run(run, data_dir=data, beside=[other])


def test_squared_distances_are_means_over_the_runs():
  rng = np.random.default_rng(0)
  parts = [rng.normal(size=(4, width)) for width in (2, 3, 5)]
  joined = side_by_side(parts)
  for i, j in ((0, 1), (2, 3)):
    expected = [np.sum((x[i] - x[j]) ** 2) for x in parts]
    found = np.sum((joined[i] - joined[j]) ** 2)
    assert found == pytest.approx(np.mean(expected))
  assert side_by_side(parts[:1]) is parts[0]


def test_episodes_show_one_camera_and_ask_about_another(trained, tmp_path):
  market_like(tmp_path)
  settings = {"ways": 4, "episodes": 50}
  summary = evaluate_run(
    trained[0],
    data_dir=tmp_path,
    data="market",
    split="all",
    cameras=r"_c(\d)",
    metrics=("one_shot",),
    baselines=False,
    output=tmp_path,
    **settings,
  )
  with np.load(tmp_path / "embeddings.npz") as arrays:
    embeddings, labels = arrays["embeddings"], arrays["labels"]
  wanted = [
    metrics.episodes(embeddings, labels, cameras=cameras, **settings)
    for cameras in (np.arange(24) // 2 % 3, None)
  ]
  found = summary["trained"]["one_shot_error"]
  assert found == wanted[0]["one_shot_error"] != wanted[1]["one_shot_error"]


@pytest.mark.parametrize(
  ("pattern", "message"),
  [
    ("_c(", "--cameras: '_c\\(': "),
    ("_c.", "--cameras: expected an expression with one group"),
    ("_k(.)", "--cameras: '_k\\(.\\)' isn't found in 0000_c1s1_000000.png"),
  ],
)
def test_cameras_that_cannot_be_read(trained, tmp_path, pattern, message):
  market_like(tmp_path)
  with pytest.raises(UserError, match=message):
    evaluate_run(trained[0], data_dir=tmp_path, data="market", cameras=pattern)


def test_another_set_is_brought_to_the_size_of_the_run(trained, tmp_path):
  examples = [
    prepared_sets.example(number, shape=(20 + number, 24))
    for number in range(12)
  ]
  prepared_sets.write_set(tmp_path, "mine", {"train": examples})
  summary = evaluate_run(
    trained[0],
    data_dir=tmp_path,
    data="mine",
    baselines=False,
    ks=(1,),
    ways=2,
    output=tmp_path,
  )
  assert (summary["split"], summary["images"]) == ("mine all", 12)
  assert summary["identities"] == 4


def test_a_run_of_before_some_fields_came_can_be_used(trained, tmp_path):
  shutil.copytree(trained[0], tmp_path / "run")
  path = tmp_path / "run" / "config.json"
  config = json.loads(path.read_text())
  for field in DEFAULTS:
    del config["data"][field]
  path.write_text(json.dumps(config))
  (tmp_path / "run" / "data.json").unlink()
  loaded = finished.load_run(tmp_path / "run")
  assert len(open_set(loaded.config, trained[1], "eval").source) > 0


def _no_run(run, tmp_path):
  return tmp_path


def _no_checkpoint(run, tmp_path):
  shutil.copy(run / "config.json", tmp_path)
  return tmp_path


def _broken_config(run, tmp_path):
  (tmp_path / "config.json").write_text('{"seed": 0}')
  return tmp_path


def _broken_checkpoint(run, tmp_path):
  shutil.copytree(run, tmp_path, dirs_exist_ok=True)
  for file in (tmp_path / "checkpoints").glob("*/state/**/*"):
    if file.is_file():
      file.write_text("")
  return tmp_path


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (_no_run, "--workdir: no run in .*: expected a config.json"),
    (_no_checkpoint, "--workdir: no checkpoint in .*checkpoints; train first"),
    (_broken_config, "--workdir: .*config.json lacks the field data.name"),
    (_broken_checkpoint, "--workdir: .*: checkpoint 5 is damaged .* no other"),
  ],
)
def test_a_folder_that_is_no_finished_run(trained, tmp_path, make, message):
  workdir = make(trained[0], tmp_path)
  with pytest.raises(UserError, match=message) as caught:
    evaluate_run(workdir, data_dir=trained[1])
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"split": "klingon"}, "--split: no split 'klingon'; choose from .*lao"),
    ({"gallery": "lao", "query": "x"}, "--query: no split 'x'; choose from"),
    ({"split": "lao[:1]"}, r"--split: lao\[:1\] has 1 identity; there is"),
    (
      {"split": "lao[:1]+armenian[:1]"},
      r"no identity of lao\[:1\]\+armenian\[:1\] has two images",
    ),
    (
      {"gallery": "lao", "query": "armenian"},
      "--query: no identity of armenian in lao is in the gallery",
    ),
    (
      {"split": "lao[:9]", "ks": (1, 9)},
      "--ks: expected ranks of at most 8, .* got 9",
    ),
    ({"gallery": "lao"}, "--gallery and --query: expected both or neither"),
    (
      {"gallery": "lao", "query": "lao", "pairs": "pairs.txt"},
      "--pairs: expected no --gallery",
    ),
    ({"ks": (0,)}, "--ks: expected ranks from 1, got"),
    ({"far": (1.5,)}, "--far: expected rates between 0 and 1, got"),
    ({"metrics": ("recall",)}, "--metrics: expected names of retrieval,"),
  ],
)
def test_a_mistake_is_one_line(trained, tmp_path, arguments, message):
  run, data, _ = trained
  with pytest.raises(UserError, match=message) as caught:
    evaluate_run(run, data_dir=data, output=tmp_path, **FEW | arguments)
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "summary.json").exists()


def test_diverged_weights_are_named(trained, tmp_path, monkeypatch):
  run, data, _ = trained
  loaded = finished.load_run(run)
  broken = jax.tree.map(lambda x: np.full_like(x, np.nan), loaded.params)
  monkeypatch.setattr(
    committee, "load_run", lambda *_, **__: loaded._replace(params=broken)
  )
  with pytest.raises(
    UserError, match="step 5 gives NaN or infinity for 20 of 20 images"
  ):
    evaluate_run(run, data_dir=data, split="lao[:20]", output=tmp_path, **FEW)


def test_images_of_another_shape_are_refused(trained):
  loaded = finished.load_run(trained[0])
  with pytest.raises(
    UserError, match="take images of 64 x 32 x 1: Dense_0/kernel"
  ):
    finished.untrained_state(loaded, (64, 32, 1))


def test_the_command_says_it_in_one_line_and_exits_2(tmp_path):
  result = subprocess.run(
    [sys.executable, "-m", "experiments.evaluate", f"--workdir={tmp_path}"],
    capture_output=True,
    text=True,
    cwd=ROOT,
    timeout=300,
  )
  assert result.returncode == 2
  assert result.stderr.startswith("error: --workdir: no run in")
  assert result.stderr.count("\n") == 1


def points_and_labels(count=30):
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 6, count).astype(np.int32)
  # Whole numbers, so that there are ties and float32 is exact.
  return rng.integers(0, 4, (count, 3)).astype(np.float32), labels


def squared(points, i, j):
  return float(np.sum((points[i] - points[j]) ** 2))


def test_pairs_of_a_set_and_of_two_equal_loops():
  points, labels = points_and_labels()
  found = pairs.set_pairs(points, labels, "squared_euclidean")
  expected = [(i, j) for i in range(30) for j in range(i + 1, 30)]
  query, gallery = np.array([3, 5, 29]), np.array([0, 1, 8, 20])
  other = pairs.set_pairs(
    points, labels, "squared_euclidean", query=query, gallery=gallery
  )
  for listed, ends in (
    (found, expected),
    (other, [(i, j) for i in query for j in gallery]),
  ):
    assert list(zip(listed.first, listed.second, strict=True)) == ends
    for (i, j), gap, same in zip(
      ends, listed.distances, listed.is_same, strict=True
    ):
      assert gap == pytest.approx(squared(points, i, j), abs=1e-5)
      assert same == (labels[i] == labels[j])
  again = pairs.listed_pairs(
    points, found.first, found.second, found.is_same, "squared_euclidean"
  )
  np.testing.assert_allclose(again.distances, found.distances, atol=1e-5)


def test_curves_count_pairs():
  points, labels = points_and_labels()
  found = pairs.set_pairs(points, labels, "squared_euclidean")
  arrays = pairs.curve_arrays(found)
  same, different = (
    found.distances[found.is_same],
    found.distances[~found.is_same],
  )
  assert arrays["same"].sum() == len(same)
  assert arrays["different"].sum() == len(different)
  points_of_curve = {
    (np.mean(different <= cut), np.mean(same <= cut))
    for cut in np.unique(found.distances)
  }
  drawn = list(zip(arrays["far"], arrays["tar"], strict=True))
  assert drawn[0] == (0, 0)
  assert drawn[-1] == (1, 1)
  for point in drawn[1:]:
    assert min(np.hypot(*np.subtract(point, p)) for p in points_of_curve) < 1e-9


def test_a_long_curve_is_thinned_but_keeps_its_ends():
  rng = np.random.default_rng(1)
  count = 20_000
  found = pairs.Pairs(
    first=np.zeros(count, np.int32),
    second=np.ones(count, np.int32),
    is_same=np.arange(count) % 2 == 0,
    distances=rng.normal(size=count).astype(np.float32),
  )
  arrays = pairs.curve_arrays(found)
  assert 100 < len(arrays["far"]) < 1700
  assert (arrays["far"][0], arrays["tar"][0]) == (0, 0)
  assert (arrays["far"][-1], arrays["tar"][-1]) == (1, 1)
  assert np.diff(arrays["far"]).min() >= 0
  assert np.diff(arrays["far"]).max() < 1 / 300


def test_worst_pairs_equal_a_loop():
  points, labels = points_and_labels()
  points += np.random.default_rng(2).normal(size=points.shape) * 0.01
  found = pairs.set_pairs(
    points.astype(np.float32), labels, "squared_euclidean"
  )
  for kind, chosen in zip(
    (False, True), pairs.worst_pairs(found, labels, count=4), strict=True
  ):
    rows = sorted(
      (found.distances[p] * (-1 if kind else 1), p)
      for p in range(len(found.distances))
      if found.is_same[p] == kind
    )
    expected, seen = [], set()
    for _, p in rows:
      ends = frozenset((labels[found.first[p]], labels[found.second[p]]))
      if ends not in seen:
        seen.add(ends)
        expected.append(p)
    assert chosen.tolist() == expected[:4]


def test_nearest_entries_equal_a_loop():
  points, _ = points_and_labels()
  query, gallery = np.array([3, 5, 29]), np.array([0, 1, 8, 20])
  index, gaps = pairs.nearest_entries(
    points,
    "squared_euclidean",
    count=5,
    query=query,
    gallery=np.arange(30),
    itself=True,
  )
  for row, found, i in zip(index, gaps, query, strict=True):
    ranked = sorted((squared(points, i, j), j) for j in range(30) if j != i)[:5]
    assert row.tolist() == [j for _, j in ranked]
    np.testing.assert_allclose(found, [d for d, _ in ranked], atol=1e-5)
  index, _ = pairs.nearest_entries(
    points,
    "squared_euclidean",
    count=9,
    query=query,
    gallery=gallery,
    itself=False,
  )
  for row, i in zip(index, query, strict=True):
    ranked = sorted((squared(points, i, j), j) for j in gallery)
    assert row.tolist() == [j for _, j in ranked]


def test_enrolment_is_one_image_of_each_and_half_are_strangers():
  labels = np.array([4, 4, 4, 9, 9, 2, 7, 7, 7, 7])
  enrolled, others, strangers = protocols.enrol(labels, seed=0)
  assert sorted(labels[enrolled]) == [2, 4, 7, 9]
  assert sorted([*enrolled, *others]) == list(range(10))
  unknown = set(labels[strangers])
  assert len(unknown) == 2
  assert strangers.tolist() == [i for i in range(10) if labels[i] in unknown]
  drawn = {tuple(protocols.enrol(labels, seed=s)[0]) for s in range(9)}
  assert len(drawn) > 1


def test_a_draw_keeps_identities_together():
  labels = np.repeat(np.arange(100), 4)
  drawn = draw_images(labels, 40, seed=0)
  assert np.unique(labels[drawn], return_counts=True)[1].tolist() == 10 * [4]
  assert (np.diff(drawn) > 0).all()
  # Of few large ones all are there, 20 images or a share of 20 at a time.
  labels = np.arange(900) % 3
  counts = np.bincount(labels[draw_images(labels, 150, seed=0)])
  assert sorted(counts) == [40, 50, 60]
  np.testing.assert_array_equal(
    draw_images(labels, 900, seed=0), np.arange(900)
  )
