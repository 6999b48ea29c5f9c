"""A gallery: who is nearest, who is in it, and whose it is."""

import dataclasses
import os
import threading

import numpy as np
import pytest

from tripletjax import UserError, pairwise_distance
from tripletjax.distances import DISTANCES
from tripletjax.inference import enrolling, searching
from tripletjax.inference.enrolling import enroll_images, remove_people
from tripletjax.inference.gallery import (
  Gallery,
  enroll,
  identify,
  load_gallery,
  new_gallery,
  remove,
  save_gallery,
)


def gallery_of(embeddings, names, distance="squared_euclidean"):
  return Gallery(
    np.asarray(embeddings, np.float32), np.array(names), "f", distance, "r"
  )


def by_hand(gallery, queries, k, threshold):
  """People by their nearest image, ties by its place; and who it is."""
  matrix = np.asarray(
    pairwise_distance(queries, gallery.embeddings, distance=gallery.distance)
  ).tolist()
  found = []
  for row in matrix:
    nearest = {}
    for place, (name, distance) in enumerate(
      zip(gallery.names.tolist(), row, strict=True)
    ):
      if name not in nearest or distance < nearest[name][0]:
        nearest[name] = (distance, place)
    ranked = sorted(nearest.items(), key=lambda item: item[1])[:k]
    best = ranked[0]
    known = best[0] if best[1][0] <= np.float32(threshold) else None
    found.append((known, [(name, *where) for name, where in ranked]))
  return found


def shown(found):
  return [
    (
      one.name,
      list(zip(one.names, one.distances, one.entries, strict=True)),
    )
    for one in found
  ]


@pytest.mark.parametrize("distance", ["squared_euclidean", "manhattan"])
def test_it_is_brute_force_with_ties(distance):
  rng = np.random.default_rng(0)
  points = rng.integers(-1, 2, (60, 3)).astype(np.float32)
  # One person has two thirds of the images, and stands in the way.
  names = np.where(rng.random(60) < 0.66, "Ann", rng.choice(list("BCDEF"), 60))
  gallery = gallery_of(points, names, distance)
  queries = rng.integers(-1, 2, (20, 3)).astype(np.float32)
  people = len(set(names.tolist()))
  for k in (1, 3, people, 99):
    for threshold in (0.0, 1.0, 5.0):
      found = identify(
        gallery, queries, k=k, threshold=threshold, search="blocks"
      )
      expected = by_hand(gallery, queries, k, threshold)
      assert shown(found) == expected
  assert {one.name for one in found} > {"Ann"}


def test_somebody_far_away_is_unknown():
  gallery = gallery_of([[0.0], [2.0]], ["Ann", "Bob"])
  near, at, far = identify(
    gallery, np.float32([[0.5], [1.0], [9.0]]), threshold=1.0, search="blocks"
  )
  assert (near.name, near.names, near.distances) == (
    "Ann", ["Ann", "Bob"], [0.25, 2.25],
  )  # fmt: skip
  assert at.name == "Ann"  # at the threshold, and the first of two
  assert (far.name, far.is_known, far.names[0]) == (None, False, "Bob")


def test_what_cannot_be_asked():
  gallery = gallery_of([[0.0]], ["Ann"])
  query = np.zeros((1, 1), np.float32)
  with pytest.raises(UserError, match="--gallery: nobody is in it"):
    identify(remove(gallery, "Ann"), query, threshold=1.0)
  with pytest.raises(UserError, match="--k: expected at least 1, got 0"):
    identify(gallery, query, k=0, threshold=1.0)
  with pytest.raises(UserError, match="--search: expected auto or one of bl"):
    identify(gallery, query, threshold=1.0, search="x")
  assert identify(gallery, query[:0], threshold=1.0) == []


def test_enrolling_and_removing(embedder):
  empty = new_gallery(embedder)
  rows = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
  names = ["Ann", "a much longer name", "Ann", "Bob"]
  gallery = enroll(empty, names, rows)
  assert gallery.people() == {"Ann": 2, "Bob": 1, "a much longer name": 1}
  np.testing.assert_array_equal(gallery.embeddings, rows)
  assert len(empty) == 0  # it is another one
  # What is there isn't added again; the same image may be somebody else's.
  again = enroll(gallery, ["Ann", "Bob", "Bob"], rows[[0, 1, 1]])
  assert again.people() == {"Ann": 2, "Bob": 2, "a much longer name": 1}
  left = remove(again, "Bob")
  assert left.people() == {"Ann": 2, "a much longer name": 1}
  np.testing.assert_array_equal(left.embeddings, rows[[0, 1, 2]])
  with pytest.raises(UserError, match=r"is called b\\x1b"):
    remove(left, "b\x1b")
  for name in ("", " \t", "a\0", "x" * 256):
    with pytest.raises(UserError, match="expected a name"):
      enroll(left, [name], rows[:1])
  with pytest.raises(ValueError, match="expected embeddings"):
    enroll(left, ["Ann"], rows[:1, :5])
  with pytest.raises(ValueError, match="expected finite"):
    enroll(left, ["Ann"], np.full((1, 6), np.nan, np.float32))


def test_a_file_is_what_was_saved(embedder, tmp_path):
  path = tmp_path / "g.npz"
  names = ["李", "a\nb", "$\\frac{", "red\x1b[31m", "\u202eabc", "'; --"]
  rows = np.random.default_rng(1).normal(size=(6, 6)).astype(np.float32)
  gallery = enroll(new_gallery(embedder), names, rows)
  save_gallery(path, gallery)
  found = load_gallery(path, embedder=embedder)
  assert found.names.tolist() == names
  np.testing.assert_array_equal(found.embeddings, rows)
  assert dataclasses.astuple(found)[2:] == dataclasses.astuple(gallery)[2:]
  assert found.run == "run, step 20"
  assert os.listdir(tmp_path) == ["g.npz"]


def test_a_gallery_of_another_network_is_refused(embedder, tmp_path):
  path = tmp_path / "g.npz"
  other = dataclasses.replace(
    new_gallery(embedder), fingerprint="x", run="a\x1b"
  )
  save_gallery(path, other)
  message = r"enrolled by another network \(a\\x1b\) than run, step 20: enroll"
  with pytest.raises(UserError, match=message):
    load_gallery(path, embedder=embedder)
  assert load_gallery(path).fingerprint == "x"


def damaged(path, **changes):
  arrays = {
    "embeddings": np.zeros((2, 6), np.float32),
    "names": np.array(["a", "b"]),
    **{name: np.array("x") for name in ("fingerprint", "distance", "run")},
  } | changes
  np.savez(path, **{name: x for name, x in arrays.items() if x is not None})


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"embeddings": None}, "expected an array 'embeddings'"),
    ({"embeddings": np.zeros(2, np.float32)}, "expected embeddings of dtype"),
    ({"embeddings": np.full((2, 6), np.nan)}, "expected finite embeddings"),
    ({"names": np.array(["a"])}, r"expected names of .* \(2\)"),
    ({"names": np.array([1, 2])}, "expected names of dtype str"),
    ({"names": np.array(["a", None], object)}, "Object arrays cannot be"),
    ({"fingerprint": None}, "expected an array 'fingerprint'"),
  ],
)
def test_a_damaged_gallery_is_refused(changes, said, tmp_path):
  damaged(tmp_path / "g.npz", **changes)
  with pytest.raises(UserError, match=f"^--gallery: .*g.npz: .*{said}"):
    load_gallery(tmp_path / "g.npz")


def test_files_that_are_no_gallery(tmp_path):
  for name, data in (("text", b"hello"), ("none", b""), ("cut", b"PK\3\4zz")):
    path = tmp_path / f"{name}.npz"
    path.write_bytes(data)
    with pytest.raises(
      UserError, match=f"^--gallery: .*{name}.npz: expected a"
    ):
      load_gallery(path)
  with pytest.raises(UserError, match=r"no.npz; experiments.enroll makes one"):
    load_gallery(tmp_path / "no.npz")


def test_a_folder_is_enrolled_and_found(lab, embedder, embedded, tmp_path):
  path = tmp_path / "g.npz"
  gallery, new = enroll_images(
    embedder, path, folder=str(lab / "images"), say=print
  )
  assert new == len(gallery) == len(embedded.paths)
  assert gallery.people() == {f"p{n}": 5 for n in range(8)}
  _, new = enroll_images(embedder, path, folder=str(lab / "images"))
  assert new == 0
  one = str(lab / "images" / "p3" / "15.png")
  gallery, new = enroll_images(embedder, path, name="Zoe", images=[one])
  assert (new, gallery.people()["Zoe"]) == (1, 1)
  assert remove_people(path, ["Zoe", "p0"]).people() == {
    f"p{n}": 5 for n in range(1, 8)
  }
  found = identify(
    load_gallery(path, embedder=embedder),
    embedded.embeddings[5:],
    threshold=1e-6,
    search="blocks",
  )
  assert [one.name for one in found] == embedded.labels[5:]


def test_what_fails_changes_nothing(lab, embedder, tmp_path, monkeypatch):
  path = tmp_path / "g.npz"
  one = str(lab / "images" / "p3" / "15.png")
  enroll_images(embedder, path, name="Zoe", images=[one])
  before = path.read_bytes()
  bad = tmp_path / "bad.png"
  bad.write_bytes(b"x")
  mistakes = (
    ({"name": "A", "images": [one, str(bad)]}, "bad.png can't be read"),
    ({"name": "", "images": [one]}, "expected a name, got ''"),
    ({"folder": str(lab / "images" / "p3")}, "lies in no person's folder"),
    ({"folder": str(tmp_path / "no")}, "--images: there is no folder or zip"),
  )
  for asked, said in mistakes:
    with pytest.raises(UserError, match=said):
      enroll_images(embedder, path, **asked)
  with pytest.raises(UserError, match="is called Yan"):
    remove_people(path, ["Zoe", "Yan"])

  def fail(path, arrays):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr("tripletjax.inference.gallery.write_npz", fail)
  with pytest.raises(UserError, match=r"can't write .*: No space left"):
    enroll_images(embedder, path, name="A", images=[one])
  assert path.read_bytes() == before
  for place, said in (
    (tmp_path / "g.txt", "expected a file that ends in .npz"),
    (tmp_path / "no" / "g.npz", "there is no folder"),
  ):
    with pytest.raises(UserError, match=said):
      enroll_images(embedder, place, name="A", images=[one])


def test_unreadable_ones_are_left_out(lab, embedder, tmp_path):
  bad = tmp_path / "bad.png"
  bad.write_bytes(b"x")
  one = str(lab / "images" / "p3" / "15.png")
  said = []
  gallery, new = enroll_images(
    embedder,
    tmp_path / "g.npz",
    name="A",
    images=[str(bad), one],
    skip_unreadable=True,
    say=said.append,
  )
  assert (new, len(gallery)) == (1, 1)
  assert said == [f"left out: 1, such as {bad}"]
  with pytest.raises(UserError, match=r"no image can be read: .*bad.png"):
    enroll_images(
      embedder, tmp_path / "h.npz", name="A", images=[str(bad)],
      skip_unreadable=True,
    )  # fmt: skip
  assert not (tmp_path / "h.npz").exists()


def test_one_at_a_time(tmp_path):
  path = tmp_path / "g.npz"
  inside = threading.Event()

  def change():
    with enrolling._locked(path):
      inside.set()

  other = threading.Thread(target=change)
  with enrolling._locked(path):
    other.start()
    assert not inside.wait(0.2)
  assert inside.wait(20)
  other.join()


@pytest.mark.parametrize("distance", searching._METRICS)
@pytest.mark.parametrize("whole", [True, False], ids=["ties", "reals"])
def test_faiss_finds_the_same(distance, whole):
  pytest.importorskip("faiss")
  rng = np.random.default_rng(0)
  points = rng.normal(size=(500, 4)).astype(np.float32)
  queries = rng.normal(size=(20, 4)).astype(np.float32)
  if whole:  # many at one distance
    points, queries = np.rint(points), np.rint(queries)
  ours = searching.make_search(points, distance, search="blocks")
  theirs = searching.make_search(points, distance, search="faiss")
  for k in (1, 10, 500):
    index, distances = ours(queries, k)
    found, values = theirs(queries, k)
    if whole and distance in ("cosine", "angular"):
      # Many of one direction, but for rounding.
      np.testing.assert_allclose(values, distances, atol=1e-3)
      continue
    np.testing.assert_allclose(values, distances, atol=1e-5)
    if whole or k < 500:  # of so many reals two are as near, but for rounding
      np.testing.assert_array_equal(found, index)


def test_what_faiss_is_asked_for(monkeypatch):
  points = np.eye(3, dtype=np.float32)
  assert set(searching._METRICS) <= set(DISTANCES)
  with pytest.raises(UserError, match="expected blocks for the distance manh"):
    searching.make_search(points, "manhattan", search="faiss")
  monkeypatch.setattr(searching.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(UserError, match="faiss isn't installed"):
    searching.make_search(points, "cosine", search="faiss")
  found, _ = searching.make_search(points, "cosine")(points, 1)
  assert found.tolist() == [[0], [1], [2]]
