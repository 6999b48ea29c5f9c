"""Who may ask: this machine's own browser, by this server's own page.

A page of elsewhere can send requests here too. Names that are made to point at
127.0.0.1 (DNS rebinding) are told by the Host header; requests from other sites
by the headers that browsers send; nothing says that others may read an answer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = {
  "content-security-policy": "default-src 'none'; script-src 'self'; "
  "style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "cross-origin-opener-policy": "same-origin",
  "cache-control": "no-store",
}


class Guard:
  """Refuses what doesn't come from the page itself; adds headers to answers.

  Attributes:
    app: what is guarded.
    host: where the server listens.
    refuse: a status and a line to an app that answers so.
  """

  def __init__(
    self, app: App, *, host: str, refuse: Callable[[int, str], App]
  ) -> None:
    self.app, self.host, self.refuse = app, host, refuse

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    """One request."""
    app = self.app
    if scope["type"] == "http":
      headers = {
        name.decode("latin-1").lower(): value.decode("latin-1")
        for name, value in scope["headers"]
      }
      names = [name for name, _ in scope["headers"]]
      said = refusal(headers, scope["path"], self.host)
      if names.count(b"host") != 1:
        said = "expected one Host"
      if said:
        app = self.refuse(403, said)

    async def with_headers(message: MutableMapping[str, Any]) -> None:
      if message["type"] == "http.response.start":
        there = {name.lower() for name, _ in message["headers"]}
        more = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
        message["headers"] = [
          *message["headers"],
          *((k, v) for k, v in more if k not in there),
        ]
      await send(message)

    await app(scope, receive, with_headers)


def refusal(headers: dict[str, str], path: str, host: str) -> str:
  """Why a request is refused; "" where it isn't.

  Args:
    headers: by name, in small letters.
    path: what is asked for.
    host: where the server listens.
  """
  asked = headers.get("host", "")
  if not is_known(asked, host):
    return "this Host isn't known here; open the address that was printed"
  origin = headers.get("origin")
  if origin is not None and origin not in (f"http://{asked}",):
    return "another site's page may not ask"
  site = headers.get("sec-fetch-site", "same-origin")
  if path != "/" and site not in ("same-origin", "none"):
    return "another site's page may not ask"
  return ""


def is_known(asked: str, host: str) -> bool:
  """Whether a Host header names this server, and not a name from elsewhere.

  Args:
    asked: the header, with its port.
    host: where the server listens.

  >>> is_known("127.0.0.1:8000", "127.0.0.1")
  True
  >>> is_known("evil.example:8000", "127.0.0.1")
  False
  """
  name = asked.rpartition(":")[0] if _has_port(asked) else asked
  name = name.lower().removeprefix("[").removesuffix("]")
  if name in ("localhost", host.lower()):
    return True
  try:
    address = ipaddress.ip_address(name)
  except ValueError:
    return False  # a name, which anybody may point at this machine
  return address.is_loopback or not is_loopback(host)


def is_loopback(host: str) -> bool:
  """Whether only this machine reaches a server that listens there.

  >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "0.0.0.0", "x.org")]
  [True, True, False, False]
  """
  try:
    return ipaddress.ip_address(host).is_loopback
  except ValueError:
    return host.lower() == "localhost"


def _has_port(asked: str) -> bool:
  return asked.rpartition(":")[2].isdecimal() and not asked.endswith("]")
