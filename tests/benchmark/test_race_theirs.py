"""PyTorch's side of the race does the same job, piece by piece."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import digits, glyphs
from tests import batches, reference
from tripletjax import mined_triplet_loss
from tripletjax.benchmark import race, race_cells
from tripletjax.benchmark.data import Size
from tripletjax.benchmark.race_cells import Cell
from tripletjax.data.augment import random_affine
from tripletjax.errors import UserError
from tripletjax.models import ConvNet
from tripletjax.training.optimizer import make_optimizer, make_schedule

torch = pytest.importorskip("torch", reason="needs the extra peers")
pytest.importorskip("pytorch_metric_learning", reason="needs the extra peers")
theirs = pytest.importorskip("tripletjax.benchmark.race_theirs")

pytestmark = pytest.mark.filterwarnings("ignore")
LIMITS = {"rotation": 25.0, "scale": 0.3, "shear": 0.4, "translation": 0.2}


def config_of(loss):
  made = glyphs.get_config()
  made.update_from_flattened_dict(
    {**race_cells.SHARED, **race_cells.LOSSES[loss]}
  )
  return made


def test_the_network_is_the_same_in_a_mirror():
  rng = np.random.default_rng(0)
  images = rng.uniform(size=(6, 16, 16, 2)).astype("f4")
  model = ConvNet(features=(5, 7), dimension=3)
  variables = model.init(jax.random.key(0), images, train=False)
  expected, _ = model.apply(
    variables, images, train=True, mutable=["batch_stats"]
  )
  params = jax.tree.map(np.asarray, variables["params"])
  net = theirs.ConvNet([5, 7], 3, (16, 16, 2))
  convolutions = [
    layer for layer in net.blocks if isinstance(layer, torch.nn.Conv2d)
  ]
  with torch.no_grad():
    for number, layer in enumerate(convolutions):
      kernel = params[f"Conv_{number}"]["kernel"][::-1, ::-1]
      layer.weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))
    last = params["Dense_0"]["kernel"].reshape(4, 4, 7, 3)[::-1, ::-1]
    last = last.transpose(3, 2, 0, 1).reshape(3, -1)
    net.last.weight.copy_(torch.from_numpy(last.copy()))
    mirrored = images[:, ::-1, ::-1].transpose(0, 3, 1, 2).copy()
    found = torch.nn.functional.normalize(net(torch.from_numpy(mirrored)))
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
  counts = [x.size for x in jax.tree.leaves(params)]
  assert sum(p.numel() for p in net.parameters()) == sum(counts)


def test_images_are_turned_by_half_so_that_the_network_is_the_same(monkeypatch):
  seen = []

  class Watched(theirs.ConvNet):
    def forward(self, images):
      seen.append(images.permute(0, 2, 3, 1).numpy())
      return super().forward(images)

  monkeypatch.setattr(theirs, "ConvNet", Watched)
  made = config_of("all").copy_and_resolve_references()
  made.model.features, made.model.dimension = (3,), 4
  for name in ("rotation", "scale", "shear", "translation"):
    made.augment[name] = 0.0
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (8, 8, 8, 1), np.uint8)
  asked = {"config": json.loads(made.to_json()), "threads": 1, "seed": 0}
  racer = theirs.make_racer(
    {**asked, "steps": 1, "warmup": 0},
    {"images": images, "eval_images": images[:4]},
  )
  racer.embed()
  rows = np.array([1, 0, 5, 4, 3, 2])
  racer.step(rows, np.array([0, 0, 1, 1, 2, 2]))
  turned = images[:, ::-1, ::-1] / 255
  np.testing.assert_allclose(seen[0], turned[:4], atol=1e-6)
  np.testing.assert_allclose(seen[1], turned[rows], atol=1e-4)


def test_weights_begin_with_the_same_distribution():
  torch.manual_seed(0)
  net = theirs.ConvNet([64, 64], 16, (8, 8, 3))
  ours = ConvNet(features=(64, 64), dimension=16).init(
    jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False
  )["params"]
  for theirs_, name in ((net.blocks[3], "Conv_1"), (net.last, "Dense_0")):
    one = theirs_.weight.detach().numpy().ravel()
    other = np.asarray(ours[name]["kernel"]).ravel()
    shares = (0.01, 0.25, 0.5, 0.75, 0.99)
    np.testing.assert_allclose(
      np.quantile(one, shares),
      np.quantile(other, shares),
      atol=0.05 * other.std(),
    )
    assert abs(one).max() == pytest.approx(abs(other).max(), rel=0.01)


@pytest.mark.parametrize("side", [(8, 8), (9, 6)])
def test_the_affine_is_the_same(side):
  rng = np.random.default_rng(1)
  images = rng.uniform(size=(5, *side, 2)).astype("f4")
  keys = jax.random.split(jax.random.key(2), 5)
  expected = random_affine(images, keys, **LIMITS)
  draws = jax.vmap(
    lambda key: jax.random.uniform(key, (6,), minval=-1, maxval=1)
  )(keys)
  found = theirs.affine(
    torch.from_numpy(images.transpose(0, 3, 1, 2).copy()),
    torch.from_numpy(np.array(draws)),
    LIMITS,
  )
  np.testing.assert_allclose(
    found.permute(0, 2, 3, 1), expected, rtol=1e-4, atol=1e-4
  )


@pytest.mark.parametrize("loss", race_cells.LOSSES)
def test_the_loss_is_the_same(loss):
  embeddings, labels = batches.random_batch(0, count=24)
  made = config_of(loss)
  ours = embeddings
  if made.model.normalize:
    ours = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
  value, statistics = mined_triplet_loss(
    jnp.asarray(ours),
    labels,
    miner=made.loss.miner,
    margin=made.loss.margin,
    distance=made.loss.distance,
    soft=made.loss.soft,
    reduction=made.loss.reduction,
    key=jax.random.key(0),
  )
  leaf = torch.from_numpy(embeddings).requires_grad_()
  found = theirs.make_loss(made.to_dict())(leaf, torch.from_numpy(labels))
  found.backward()
  assert float(abs(leaf.grad).max()) > 1e-3
  if loss == "facenet":  # each draws its own: of as many, a mean in the band
    assert 0 < float(found.detach()) < 0.2
    assert statistics["selected_triplets"] > 20
  else:
    np.testing.assert_allclose(float(found.detach()), value, rtol=1e-4)


def test_of_each_pair_one_semi_hard_negative_is_drawn():
  embeddings, labels = batches.random_batch(3, count=24)
  d = reference.DISTANCES["squared_euclidean"](embeddings, embeddings)
  a, p, n = (
    torch.tensor([t[k] for group in
                  reference.band(d, *reference.masks(labels), 0, 0.3)
                  for t in group])
    for k in range(3)
  )  # fmt: skip
  allowed = set(zip(a.tolist(), p.tolist(), n.tolist(), strict=True))
  drawn = [theirs.one_of_each_pair(a, p, n) for _ in range(60)]
  for one in drawn:
    listed = list(zip(*(part.tolist() for part in one), strict=True))
    assert set(listed) <= allowed
    pairs = [(x, y) for x, y, _ in listed]
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == {(x, y) for x, y, _ in allowed}
  # Of the pair with most negatives each one comes, sooner or later.
  counts = {}
  for x, y, _ in allowed:
    counts[x, y] = counts.get((x, y), 0) + 1
  most = max(counts, key=counts.get)
  seen = {
    z
    for one in drawn
    for x, y, z in zip(*(part.tolist() for part in one), strict=True)
    if (x, y) == most
  }
  assert 2 < len(seen) <= counts[most]


def test_the_optimizer_and_its_schedule_are_the_same():
  made = config_of("all")
  made.optimizer.learning_rate = 0.1
  with jax.numpy_dtype_promotion("standard"):
    rate = make_schedule(made, total_steps=10, warmup_steps=2)
    ours = make_optimizer(made, total_steps=10, warmup_steps=2)
    params = jnp.array([1.0, -2.0, 3.0])
    state = ours.init(params)
    leaf = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    fields = made.optimizer
    other = torch.optim.AdamW(
      [leaf],
      lr=0.0,
      betas=(fields.momentum, fields.beta2),
      eps=fields.epsilon,
      weight_decay=fields.weight_decay,
      fused=True,
    )
    for step in range(10):
      now = theirs.learning_rate(made, step, total=10, warmup=2)
      assert now == pytest.approx(float(rate(step)), abs=1e-7)
      other.param_groups[0]["lr"] = now
      leaf.grad = 2 * leaf.detach()
      other.step()
      updates, state = ours.update(2 * params, state, params)
      params = optax.apply_updates(params, updates)
      np.testing.assert_allclose(leaf.detach(), params, rtol=1e-5)


@pytest.mark.slow
def test_a_race_of_seconds_goes_on_where_it_was_stopped(tmp_path):
  made = digits.get_config("smoke")
  jobs = race.make_jobs(
    [Cell("glyphs", Size(5, 4), "facenet")], [(Size(4, 3), "all")], seeds=1
  )
  jobs = jobs[2:]  # of the steps one for each side
  said, saved = [], []
  results = race.measure_race(
    {"glyphs": made},
    jobs,
    steps=12,
    data_dir=tmp_path,
    say=said.append,
    save=lambda results: saved.append(len(results["runs"])),
  )
  assert saved == [1, 2, 3, 4]
  for run in results["runs"]:
    assert run["imported"] == [{"ours": "jax", "theirs": "torch"}[run["side"]]]
    assert run["peak_bytes"] > 10**8
    assert 0 < run["ready"] < run["end"]
  one, other = results["runs"][-2:]
  assert one["parameters"] == other["parameters"]
  assert len(one["evaluations"]) == 10
  again = race.measure_race(
    {"glyphs": made},
    jobs,
    data_dir=tmp_path,
    say=said.append,
    runs=results["runs"],
  )
  assert again["runs"] == results["runs"]
  assert len(said) == 4


def test_what_does_not_fit_is_named(tmp_path):
  jobs = race.make_jobs([Cell("glyphs", Size(99, 4), "all")], (), seeds=1)
  with pytest.raises(UserError, match="expected at most 10, the identities"):
    race.measure_race(
      {"glyphs": digits.get_config("smoke")},
      jobs,
      data_dir=tmp_path,
      say=print,
    )
