"""The server of the page: what it answers, and whom it refuses."""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import prepared_sets
import pytest

pytest.importorskip(
  "starlette", reason="no Starlette: pip install 'tripletjax[explore]'"
)

from tests.explore.worlds import (
  LABELS,
  NASTY,
  explorer_of,
  get,
  request,
  said,
  served,
)
from tripletjax import UserError
from tripletjax.explore import answers, pair_counts, serving
from tripletjax.explore.answers import UPLOAD
from tripletjax.explore.guard import HEADERS, is_known
from tripletjax.explore.map import draw_map
from tripletjax.explore.pair_counts import count_pairs, rates

ROOT = Path(__file__).parents[2]
COUNT = 4 * len(LABELS) + 2


@pytest.fixture(scope="module")
def explorer(tmp_path_factory):
  return explorer_of(tmp_path_factory.mktemp("explore"))


@pytest.fixture(scope="module")
def port(explorer):
  with served(explorer) as port:
    yield port


def distance(explorer, i, j):
  """The squared Euclidean distance, in float64."""
  x = explorer.space.embeddings.astype(np.float64)
  return float(np.sum((x[i] - x[j]) ** 2))


def test_the_page_and_its_files(port):
  for path, kind in (
    ("/", "text/html"),
    ("/page.js", "text/javascript"),
    ("/map.js", "text/javascript"),
    ("/threshold.js", "text/javascript"),
    ("/verify.js", "text/javascript"),
    ("/explore.css", "text/css"),
    ("/report.css", "text/css"),
    ("/api/set", "application/json"),
    ("/api/sprite", "image/webp"),
    ("/api/image/0", "image/png"),
  ):
    status, headers, body = request(port, path)
    assert status == 200, path
    assert headers["content-type"].startswith(kind)
    assert body
    for name, value in HEADERS.items():
      assert headers[name] == value
    assert "server" not in headers


def test_nothing_is_loaded_from_elsewhere():
  static = ROOT / "tripletjax" / "explore" / "static"
  for path in static.iterdir():
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")
    assert "http:" not in text, path
    assert "https:" not in text, path
    assert "innerHTML" not in text, path


def test_what_the_set_is(explorer, port):
  found = get(port, "/api/set")
  assert found["images"] == COUNT
  assert found["identities"] == len(LABELS)
  assert found["run"] == "run"
  assert found["set"] == "images"
  assert found["distance"] == "squared_euclidean"
  assert found["threshold"] == {"value": 0.5, "said": "chosen by a test"}
  assert sorted(found["labels"]) == sorted(LABELS)
  assert found["map"]["index"] == list(range(COUNT))
  assert found["map"]["label"].count(-1) == 2
  pairs = found["pairs"]
  # 5 identities of 4 images; those of none are in no pair.
  assert pairs["images"] == pairs["known"] == 20
  assert sum(pairs["same"]) == 5 * 6
  assert sum(pairs["different"]) == 190 - 30
  for name in ("x", "y"):
    assert min(found["map"][name]) == 0
    assert max(found["map"][name]) == 1


def test_neighbours_are_the_nearest(explorer, port):
  found = get(port, "/api/neighbours/5")
  label = explorer.space.label_names[explorer.space.labels[5]]
  assert found["image"] == {
    "index": 5,
    "name": explorer.space.names[5],
    "label": label,
  }
  expected = sorted(
    (distance(explorer, 5, j), j) for j in range(COUNT) if j != 5
  )[:12]
  assert len(found["neighbours"]) == 12
  for one, (far, index) in zip(found["neighbours"], expected, strict=True):
    assert one["index"] == index
    assert one["distance"] == pytest.approx(far, abs=1e-5)
    other = explorer.space.labels[index]
    same = None if other < 0 else bool(other == explorer.space.labels[5])
    assert one["same"] is same


def test_rates_count_every_pair(explorer, port):
  labels = explorer.space.labels
  pairs = [
    (np.float32(explorer.embedder.distances(
      explorer.space.embeddings[i : i + 1], explorer.space.embeddings[j : j + 1]
    )[0, 0]), labels[i] == labels[j])
    for i in range(COUNT) for j in range(i)
    if labels[i] >= 0 and labels[j] >= 0
  ]  # fmt: skip
  for threshold in (-1.0, 0.0, 0.3, 0.5, 1.0, 9.0):
    found = get(port, f"/api/rates?threshold={threshold}")
    accepted = [same for far, same in pairs if far <= np.float32(threshold)]
    assert found == {
      "threshold": threshold,
      "false_accepts": accepted.count(False),
      "different": 160,
      "false_rejects": 30 - accepted.count(True),
      "same": 30,
    }


def test_a_pair_at_the_threshold_is_accepted():
  # 0.1 in float32 is above 0.1, and its neighbour below is not.
  tenth = np.float32(0.1)
  below = np.nextafter(tenth, np.float32(0))
  pairs = pair_counts.PairCounts(
    same=np.array([below, tenth]), different=np.array([tenth]), images=3,
    known=3, of=3,
  )  # fmt: skip
  assert rates(pairs, 0.1)["false_rejects"] == 1
  assert rates(pairs, 0.1)["false_accepts"] == 0
  assert rates(pairs, float(tenth))["false_rejects"] == 0
  assert rates(pairs, float(tenth))["false_accepts"] == 1


def test_of_many_images_a_draw_is_counted():
  rng = np.random.default_rng(0)
  embeddings = rng.normal(size=(60, 3)).astype(np.float32)
  labels = np.repeat(np.arange(-1, 5), 10).astype(np.int32)
  whole = count_pairs(embeddings, labels, "euclidean")
  assert (whole.images, whole.known, whole.of) == (50, 50, 60)
  assert len(whole.same) + len(whole.different) == 50 * 49 // 2
  some = count_pairs(embeddings, labels, "euclidean", most=20)
  assert (some.images, some.known, some.of) == (20, 50, 60)
  assert len(some.same) + len(some.different) == 20 * 19 // 2
  gaps = np.abs(some.same[:, None] - whole.same[None, :]).min(axis=1)
  assert gaps.max() < 1e-5
  none = count_pairs(embeddings, np.full(60, -1, np.int32), "euclidean")
  assert (none.images, len(none.same), len(none.different)) == (0, 0, 0)
  images = np.zeros((60, 8, 8, 1), np.uint8)
  shown = draw_map(embeddings, images, labels, most=4)
  assert len(shown.chosen) == len(shown.points) == 4


def verify(port, first, second, body, **headers):
  path = f"/api/verify?first={first}&second={second}"
  return request(port, path, method="POST", body=body, **headers)


def test_two_images_are_compared(explorer, port, tmp_path):
  picture = prepared_sets.encode(np.arange(224, dtype=np.uint8).reshape(16, 14))
  other = prepared_sets.picture(200, (9, 9))
  expected = explorer.embedder.embed([picture, other])
  far = float(np.sum((expected[0].astype(np.float64) - expected[1]) ** 2))
  status, _, body = verify(
    port, f"upload:{len(picture)}", f"upload:{len(other)}", picture + other
  )
  assert status == 200, body
  assert json.loads(body) == {"distance": pytest.approx(far, abs=1e-5)}
  _, _, body = verify(port, f"upload:{len(picture)}", "image:3", picture)
  own = explorer.space.embeddings[3].astype(np.float64)
  far = float(np.sum((expected[0] - own) ** 2))
  assert json.loads(body) == {"distance": pytest.approx(far, abs=1e-5)}
  _, _, body = verify(port, "image:3", "image:4", b"")
  far = distance(explorer, 3, 4)
  assert json.loads(body) == {"distance": pytest.approx(far, abs=1e-5)}


def declared(width, height):
  """A small PNG that says it is so large."""

  def chunk(kind, data):
    crc = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + crc

  head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
  pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
  return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + pixels


HUGE = declared(50_000, 50_000)


@pytest.mark.parametrize(
  ("first", "body", "status", "line"),
  [
    ("upload:5", b"hello", 400, "image 0 can't be read: cannot identify image"),
    ("upload:4", b"hello", 413, "expected 4 bytes, got more"),
    ("upload:9", b"hello", 400, "expected 9 bytes, got 5"),
    ("upload:0", b"", 400, "image 0 can't be read: cannot identify image"),
    (f"upload:{UPLOAD + 1}", b"x", 413, "expected an image of at most 16,777,"),
    ("image:22", b"", 400, "image: expected 0 to 21, got 22"),
    ("image:-1", b"", 400, "first: expected image:INDEX or upload:SIZE, got"),
    ("../etc", b"", 400, "first: expected image:INDEX or upload:SIZE, got"),
    (f"upload:{len(HUGE)}", HUGE, 400, "image 0 can't be read: expected at "),
  ],
)  # fmt: skip
def test_what_is_no_image_is_refused(port, first, body, status, line):
  answer = verify(port, first, "image:0", body)
  assert answer[0] == status
  assert said(answer).startswith(line)


def test_a_form_of_elsewhere_can_not_be_sent(port):
  for kind in ("text/plain", "multipart/form-data", ""):
    answer = verify(port, "image:0", "image:1", b"", content_type=kind)
    assert answer[0] == 415
    assert said(answer) == "expected content of type application/octet-stream"
  assert request(port, "/api/verify")[0] == 405
  assert request(port, "/api/set", method="OPTIONS")[0] == 405


def test_an_upload_is_written_nowhere(port):
  written = []
  listening = threading.Event()

  def watch(event, arguments):
    if listening.is_set() and event == "open":
      path, mode, flags = arguments
      kind = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
      if kind or (mode and set(mode) & set("wax+")):
        written.append(path)

  sys.addaudithook(watch)  # which stays, and hears nothing later
  picture = prepared_sets.picture(7, (400, 300))
  with contextlib.ExitStack() as stack:
    listening.set()
    stack.callback(listening.clear)
    assert verify(port, f"upload:{len(picture)}", "image:0", picture)[0] == 200
    assert written == []
    with open(os.devnull, "w"):
      assert written == [os.devnull]


@pytest.mark.parametrize(
  "path",
  [
    "/api/image/22",
    "/api/image/-1",
    "/api/image/1.5",
    "/api/image/99999999999999999999",
    "/api/image/..",
    "/api/neighbours/x",
    "/api/rates",
    "/api/rates?threshold=nan",
    "/api/rates?threshold=-inf",
    "/api/rates?threshold=1e999",
    "/api/rates?threshold=%F0%9F%92%A5",
  ],
)
def test_a_wrong_question_is_one_line(port, path):
  answer = request(port, path)
  assert answer[0] == 400
  assert ": expected " in said(answer)


@pytest.mark.parametrize(
  "path",
  [
    "/etc/passwd",
    "/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/static/index.html",
    "/app.py",
    "//etc/passwd",
    "/api/image/0/../../../etc/passwd",
    "/page.js/..",
    "/api/image/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
  ],
)
def test_there_are_no_other_files(port, path):
  answer = request(port, path)
  assert answer[0] == 404
  assert said(answer) == "Not Found"


def test_a_name_of_elsewhere_is_refused(port):
  for host in (
    f"evil.example:{port}",
    "evil.example",
    f"127.0.0.1.evil.example:{port}",
    f"10.0.0.1:{port}",
    "",
  ):
    answer = request(port, "/api/set", host=(host,))
    assert answer[0] == 403
    assert "Host isn't known" in said(answer)
  for host in (f"localhost:{port}", f"[::1]:{port}", "127.0.0.1"):
    assert request(port, "/api/set", host=(host,))[0] == 200
  assert request(port, "/", host=())[0] == 400
  assert request(port, "/", host=(f"127.0.0.1:{port}", "evil"))[0] == 400


def test_known_names_where_others_may_look():
  assert is_known("192.168.1.5:80", "0.0.0.0")
  assert is_known("lab.example:80", "lab.example")
  assert not is_known("evil.example:80", "0.0.0.0")
  assert not is_known("192.168.1.5:80", "127.0.0.1")
  assert is_known("[fe80::1]:80", "::")
  assert not is_known("fe80::1:x", "127.0.0.1")


def test_a_page_of_elsewhere_is_refused(port):
  for headers in (
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": f"https://127.0.0.1:{port}"},
    {"origin": f"http://127.0.0.1:{port + 1}"},
    {"sec_fetch_site": "cross-site"},
    {"sec_fetch_site": "same-site"},
  ):
    answer = request(port, "/api/set", **headers)
    assert answer[0] == 403, headers
    assert said(answer) == "another site's page may not ask"
    assert not any(k.startswith("access-control") for k in answer[1])
  own = {"origin": f"http://127.0.0.1:{port}", "sec_fetch_site": "same-origin"}
  status, headers, _ = request(port, "/api/set", **own)
  assert status == 200
  assert not any(name.startswith("access-control") for name in headers)
  # Somebody follows a link.
  assert request(port, "/", sec_fetch_site="cross-site")[0] == 200


def test_images_of_no_identity_have_a_page_too(tmp_path):
  explorer = explorer_of(tmp_path, threshold=None, labels=(), loose=3)
  found = answers.overview(explorer)
  assert found["identities"] == found["pairs"]["images"] == 0
  assert "a guess" in found["threshold"]["said"]
  assert found["map"]["label"] == [-1, -1, -1]
  near = answers.neighbours(explorer, 1)["neighbours"]
  assert [one["same"] for one in near] == [None, None]
  assert [one["label"] for one in near] == ["", ""]


def test_a_threshold_of_the_set_itself(explorer):
  found = answers._own_threshold(
    explorer.embedder, explorer.space, explorer.pairs
  )
  # At most one of the 160 different pairs.
  assert rates(explorer.pairs, found.value)["false_accepts"] <= 1
  assert "false-accept rate of 0.01" in found.said


def test_names_are_text(explorer):
  explorer = explorer._replace(
    space=dataclasses.replace(
      explorer.space, names=["a\x1b[31mb\u202ec"] * COUNT
    )
  )
  found = answers.neighbours(explorer, 0)
  assert found["image"]["name"] == "a\\x1b[31mb\\u202ec"
  assert NASTY in answers.overview(explorer)["labels"]


def test_a_missing_extra_is_named(explorer, monkeypatch):
  find = serving.check_installed.__globals__["importlib"].util.find_spec
  monkeypatch.setattr(
    "importlib.util.find_spec",
    lambda name: None if name == "uvicorn" else find(name),
  )
  with pytest.raises(UserError) as caught:
    serving.explore_run(explorer.embedder.workdir)
  assert str(caught.value) == (
    "the page: expected the package uvicorn, which isn't installed: pip "
    "install 'tripletjax[explore]'"
  )


def test_an_address_that_is_taken():
  with (
    contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken,
    pytest.raises(UserError, match=r"--port: can't listen at 127\.0\.0\.1:\d+"),
  ):
    serving.listen("127.0.0.1", taken.getsockname()[1])
  with pytest.raises(UserError, match=r"--host: expected an address, got 'no"):
    serving.listen("no such host", 0)


def test_others_may_look_only_by_a_flag_that_warns(explorer, monkeypatch):
  class Ended:
    def run(self, sockets):
      raise KeyboardInterrupt

  monkeypatch.setattr(serving, "make_server", lambda app: Ended())
  for host, warned in (("127.0.0.1", 0), ("0.0.0.0", 1)):
    lines = []
    with contextlib.closing(serving.listen(host, 0)) as listening:
      serving.serve(explorer, listening, host=host, say=lines.append)
      port = listening.getsockname()[1]
    assert sum(line.startswith("warning: whoever") for line in lines) == warned
    assert lines[-2] == f"http://{host}:{port}/ (Ctrl-C ends it)"
    assert lines[-1] == "stopped"


@pytest.mark.slow
def test_control_c_ends_the_command(explorer, tmp_path):
  workdir = explorer.embedder.workdir
  process = subprocess.Popen(
    [sys.executable, "-m", "experiments.explore", f"--workdir={workdir}",
     f"--images={workdir.parent / 'images'}", f"--data_dir={tmp_path}"],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    cwd=tmp_path,
    env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
  )  # fmt: skip
  try:
    lines = []
    while not lines or not lines[-1].startswith("http://"):
      lines.append(process.stdout.readline())
      assert lines[-1], process.stderr.read()
    assert "no threshold from the run's own data" in "".join(lines)
    port = int(lines[-1].split(":")[2].split("/")[0])
    assert get(port, "/api/set")["images"] == COUNT
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=30)
  finally:
    process.kill()
    process.wait()
  assert process.returncode == 0
  assert rest == "stopped\n"
  assert "Traceback" not in errors
