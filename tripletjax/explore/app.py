"""The page's server: what `answers` knows, over HTTP, by Starlette."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tripletjax import report
from tripletjax.errors import printable
from tripletjax.explore import answers
from tripletjax.explore.answers import Explorer, QuestionError
from tripletjax.explore.guard import App, Guard

STATIC = Path(__file__).parent / "static"
SHARED = Path(report.__file__).parent / "page" / "page.css"
# The only files there are: address -> file, kind.
FILES = {
  "/": (STATIC / "index.html", "text/html"),
  "/report.css": (SHARED, "text/css"),
  "/explore.css": (STATIC / "explore.css", "text/css"),
  "/page.js": (STATIC / "page.js", "text/javascript"),
  "/map.js": (STATIC / "map.js", "text/javascript"),
  "/threshold.js": (STATIC / "threshold.js", "text/javascript"),
  "/verify.js": (STATIC / "verify.js", "text/javascript"),
}
BYTES = "application/octet-stream"


def make_app(explorer: Explorer, *, host: str = "127.0.0.1") -> App:
  """The server's app.

  Args:
    explorer: the set.
    host: where it will listen; see `Guard`.
  """
  about = answers.overview(explorer)
  one = anyio.CapacityLimiter(1)  # a large image takes much memory to decode

  async def overview(request: Request) -> Response:
    del request
    return JSONResponse(about)

  async def sprite(request: Request) -> Response:
    del request
    return Response(explorer.map.sprite, media_type="image/webp")

  async def picture(request: Request) -> Response:
    index = _number(request.path_params["index"])
    found = await run_in_threadpool(answers.picture, explorer, index)
    return Response(found, media_type="image/png")

  async def neighbours(request: Request) -> Response:
    index = _number(request.path_params["index"])
    return JSONResponse(
      await run_in_threadpool(answers.neighbours, explorer, index)
    )

  async def rates(request: Request) -> Response:
    asked = request.query_params.get("threshold", "")
    try:
      threshold = float(asked)
    except ValueError:
      raise QuestionError(
        f"threshold: expected a number, got {asked[:20]!r}"
      ) from None
    return JSONResponse(
      await run_in_threadpool(answers.count_rates, explorer, threshold)
    )

  async def verify(request: Request) -> Response:
    images = await _images(request)
    return JSONResponse(
      await anyio.to_thread.run_sync(
        answers.verify, explorer, images, limiter=one
      )
    )

  routes = [
    *(Route(path, _file(*file)) for path, file in FILES.items()),
    Route("/api/set", overview),
    Route("/api/sprite", sprite),
    Route("/api/image/{index}", picture),
    Route("/api/neighbours/{index}", neighbours),
    Route("/api/rates", rates),
    Route("/api/verify", verify, methods=["POST"]),
  ]
  app = Starlette(
    routes=routes,
    exception_handlers={
      HTTPException: _http_error,
      QuestionError: _refused,
      Exception: _broken,
    },
  )
  return Guard(app, host=host, refuse=_error)


def _error(status: int, said: str) -> JSONResponse:
  return JSONResponse({"error": printable(said)}, status_code=status)


async def _http_error(request: Request, error: Any) -> Response:
  del request
  return _error(error.status_code, str(error.detail))


async def _refused(request: Request, error: Exception) -> Response:
  del request
  return _error(400, str(error))


async def _broken(request: Request, error: Exception) -> Response:
  # Starlette raises it again, for the log.
  del request
  return _error(500, f"{type(error).__name__}: see the terminal")


def _file(path: Path, kind: str) -> Callable[[Request], Any]:
  async def answer(request: Request) -> Response:
    del request
    return Response(path.read_bytes(), media_type=kind)

  return answer


def _number(text: str) -> int:
  if not re.fullmatch(r"[0-9]{1,9}", text):
    raise QuestionError(f"image: expected a number, got {text[:20]!r}")
  return int(text)


async def _images(request: Request) -> list[int | bytes]:
  """What is to be compared: `?first=upload:SIZE&second=image:INDEX`.

  The body is the bytes of the uploads, one after the other; nothing is written
  to a disk.
  """
  kind = request.headers.get("content-type", "")
  if kind != BYTES:
    # A kind that a page of elsewhere can't send without asking first.
    raise HTTPException(415, f"expected content of type {BYTES}")
  asked = []
  for name in ("first", "second"):
    text = request.query_params.get(name, "")
    found = re.fullmatch(r"(image|upload):([0-9]{1,9})", text)
    if not found:
      raise QuestionError(
        f"{name}: expected image:INDEX or upload:SIZE, got {text[:20]!r}"
      )
    asked.append((found[1], int(found[2])))
  sizes = [size for what, size in asked if what == "upload"]
  if any(size > answers.UPLOAD for size in sizes):
    raise HTTPException(
      413, f"expected an image of at most {answers.UPLOAD:,} bytes"
    )
  body = await _body(request, sum(sizes))
  images: list[int | bytes] = []
  for what, number in asked:
    if what == "image":
      images.append(number)
      continue
    images.append(body[:number])
    body = body[number:]
  return images


async def _body(request: Request, size: int) -> bytes:
  """The body, of exactly so many bytes; no more of it is read."""
  parts, total = [], 0
  async for part in request.stream():
    total += len(part)
    if total > size:
      raise HTTPException(413, f"expected {size:,} bytes, got more")
    parts.append(part)
  if total < size:
    raise QuestionError(f"expected {size:,} bytes, got {total:,}")
  return b"".join(parts)
