"""A run, a folder of images, and a server of their page."""

import contextlib
import http.client
import json
import threading

import jax
import numpy as np
import prepared_sets

from tests.inference.tiny_runs import make_run
from tripletjax import Embedder
from tripletjax.explore.answers import Threshold, make_explorer
from tripletjax.explore.app import make_app
from tripletjax.explore.serving import listen, make_server
from tripletjax.explore.space import open_folder

# A name that is harmless only as text.
NASTY = '<img src=x onerror="document.title=1">'
LABELS = ("ann", "bob", "cy", "dee", NASTY)


def write_images(folder, *, each=4, labels=LABELS, loose=2):
  """Images that are alike within an identity, and some of none."""
  rng = np.random.default_rng(0)
  folder.mkdir()
  for label in labels:
    base = rng.integers(0, 200, (14, 12))
    for number in range(each):
      noise = rng.integers(0, 56, (14, 12))
      path = folder / label / f"{number}.png"
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(prepared_sets.encode((base + noise).astype(np.uint8)))
  for number in range(loose):
    pixels = rng.integers(0, 256, (14, 12), dtype=np.uint8)
    (folder / f"loose{number}.png").write_bytes(prepared_sets.encode(pixels))


def explorer_of(folder, *, threshold=0.5, **images):
  """A run and a set of images in a folder, as the page gets them."""
  make_run(folder / "run")
  write_images(folder / "images", **images)
  embedder = Embedder.load(folder / "run", devices=jax.local_devices()[:1])
  space = open_folder(embedder, str(folder / "images"))
  with jax.numpy_dtype_promotion("standard"):
    return make_explorer(
      embedder,
      space,
      None if threshold is None else Threshold(threshold, "chosen by a test"),
    )


@contextlib.contextmanager
def served(explorer, host="127.0.0.1"):
  """Serves an explorer in a thread; yields the port."""
  listening = listen(host, 0)
  server = make_server(make_app(explorer, host=host))
  thread = threading.Thread(
    target=server.run, kwargs={"sockets": [listening]}, daemon=True
  )
  thread.start()
  try:
    yield listening.getsockname()[1]
  finally:
    server.should_exit = True
    thread.join(20)
    listening.close()
    assert not thread.is_alive()


def request(port, path, *, method="GET", body=None, host=None, **headers):
  """Status, headers in small letters, and body."""
  connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
  try:
    connection.putrequest(method, path, skip_host=True)
    for name in (f"127.0.0.1:{port}",) if host is None else host:
      connection.putheader("Host", name)
    if body is not None:
      connection.putheader("Content-Length", str(len(body)))
      headers.setdefault("content_type", "application/octet-stream")
    for name, value in headers.items():
      connection.putheader(name.replace("_", "-"), value)
    connection.endheaders(body)
    response = connection.getresponse()
    found = {k.lower(): v for k, v in response.getheaders()}
    return response.status, found, response.read()
  finally:
    connection.close()


def get(port, path):
  """The JSON of an answer."""
  status, _, body = request(port, path)
  assert status == 200, body
  return json.loads(body)


def said(answer):
  """The one line of a refusal."""
  _, headers, body = answer
  assert headers["content-type"] == "application/json"
  (name,) = found = json.loads(body)
  assert name == "error"
  assert "\n" not in found["error"]
  return found["error"]
