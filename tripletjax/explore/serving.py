"""Opens a run, embeds a set, and serves the page until it is stopped."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tripletjax.errors import UserError
from tripletjax.explore.answers import Explorer, Threshold, make_explorer
from tripletjax.explore.guard import App, is_loopback
from tripletjax.explore.space import open_folder, open_split
from tripletjax.inference.embedder import Embedder
from tripletjax.inference.export_formats import check_installed
from tripletjax.inference.thresholds import FAR, choose_threshold

Say = Callable[[str], object]


def explore_run(
  workdir: str | Path,
  *,
  images: str | None = None,
  split: str = "eval",
  checkpoint: str = "latest",
  far: float = FAR,
  data_dir: str | Path = "data",
  host: str = "127.0.0.1",
  port: int = 0,
  open_bar: Callable[..., Any] | None = None,
  say: Say = print,
) -> None:
  """Serves the page of a set until SIGINT.

  Args:
    workdir: the run's folder.
    images: a folder or zip of images to show; the split when None.
    split: "eval", "train", or a TFDS split expression.
    checkpoint: latest, best, or a step.
    far: the false-accept rate, on the run's evaluation split, that the
      threshold begins at.
    data_dir: folder of the prepared data sets.
    host: where to listen; others than this machine reach it by another than
      127.0.0.1.
    port: where to listen; 0 is any that is free.
    open_bar: makes a progress bar of a number of images.
    say: is given lines for people.

  Raises:
    UserError: a package is missing; no run, split, image or threshold; the
      address can't be listened at.
  """
  if not 0 < far < 1:
    raise UserError(f"--far: expected a rate between 0 and 1, got {far:g}")
  with contextlib.closing(listen(host, port)) as listening:
    embedder = Embedder.load(workdir, checkpoint=checkpoint, say=say)
    # Before the set is embedded, which may take a while.
    check_installed("the page", ("starlette", "uvicorn"), "explore")
    if images is not None:
      space = open_folder(embedder, images, open_bar=open_bar, say=say)
    else:
      space = open_split(
        embedder, split, data_dir=Path(data_dir), open_bar=open_bar
      )
    threshold = _threshold(embedder, far, Path(data_dir), say)
    explorer = make_explorer(embedder, space, threshold)
    serve(explorer, listening, host=host, say=say)


def _threshold(
  embedder: Embedder, far: float, data_dir: Path, say: Say
) -> Threshold | None:
  try:
    found = choose_threshold(embedder, far=far, data_dir=data_dir, say=say)
  except UserError as error:
    # The run's data isn't needed to look at other images.
    say(f"no threshold from the run's own data ({error})")
    return None
  return Threshold(found.value, found.describe())


def listen(host: str, port: int) -> socket.socket:
  """A socket that listens at an address.

  Raises:
    UserError: there is no such address, or it is taken.
  """
  try:
    (family, *_, address) = socket.getaddrinfo(
      host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
  except (OSError, UnicodeError) as error:
    raise UserError(f"--host: expected an address, got {host!r}") from error
  try:
    return socket.create_server(address, family=family, backlog=128)
  except OSError as error:
    raise UserError(
      f"--port: can't listen at {host}:{port}: {error.strerror or error}; "
      "--port=0 takes any that is free"
    ) from error


def serve(
  explorer: Explorer, listening: socket.socket, *, host: str, say: Say
) -> None:
  """Serves the page at a socket until SIGINT; says where."""
  from tripletjax.explore.app import make_app

  port = listening.getsockname()[1]
  name = f"[{host}]" if ":" in host else host
  if not is_loopback(host):
    say(
      f"warning: whoever reaches {name}:{port} sees these images and can have "
      "others embedded; there is no password"
    )
  say(f"http://{name}:{port}/ (Ctrl-C ends it)")
  # A KeyboardInterrupt is how it ends.
  with contextlib.suppress(KeyboardInterrupt):
    make_server(make_app(explorer, host=host)).run(sockets=[listening])
  say("stopped")


def make_server(app: App) -> Any:
  """A uvicorn server of an app, which says nothing but what went wrong."""
  import uvicorn

  return uvicorn.Server(
    uvicorn.Config(
      app,
      lifespan="off",
      ws="none",
      http="h11",
      loop="asyncio",
      log_level="warning",
      access_log=False,
      server_header=False,
      proxy_headers=False,
      limit_concurrency=64,
      timeout_keep_alive=5,
      timeout_graceful_shutdown=2,
    )
  )
