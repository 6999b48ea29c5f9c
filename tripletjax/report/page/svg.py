"""Small SVG figures whose colours the page's style decides, light or dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tripletjax.report.page.html import esc

COLORS = 8  # classes c0 to c7 of the style


class Frame(NamedTuple):
  """A plot's place and what it shows of the numbers.

  Attributes:
    x, y: (low, high) of the data.
    width, height: of the whole, in the figure's units.
    log_x: whether x is by its logarithm.
    left, right, top, bottom: margins round the plot.
  """

  x: tuple[float, float]
  y: tuple[float, float]
  width: float = 360
  height: float = 216
  log_x: bool = False
  left: float = 46
  right: float = 10
  top: float = 10
  bottom: float = 34

  def place(self, x: float, y: float) -> tuple[float, float]:
    """The figure's coordinates of a point."""
    low, high = map(self._scale, self.x)
    share_x = (self._scale(x) - low) / (high - low)
    share_y = (y - self.y[0]) / (self.y[1] - self.y[0])
    inner_x = self.width - self.left - self.right
    inner_y = self.height - self.top - self.bottom
    return (
      self.left + share_x * inner_x,
      self.height - self.bottom - share_y * inner_y,
    )

  def _scale(self, x: float) -> float:
    return math.log(x) if self.log_x else x


def figure(frame: Frame, parts: Iterable[str], said: str) -> str:
  """An SVG; `said` is what a screen reader says of it."""
  return (
    f'<svg viewBox="0 0 {frame.width:g} {frame.height:g}" role="img" '
    f'aria-label="{esc(said)}">{"".join(parts)}</svg>'
  )


def axes(frame: Frame, x_name: str, y_name: str) -> str:
  """Ticks, lines of the grid, and names of both axes."""
  left, low = frame.place(frame.x[0], frame.y[0])
  right, high = frame.place(frame.x[1], frame.y[1])
  parts = []
  for tick in ticks(*frame.y):
    _, y = frame.place(frame.x[0], tick)
    parts.append(f'<path class="grid" d="M{left:.1f} {y:.1f}H{right:.1f}"/>')
    parts.append(text(left - 5, y + 3.5, label(tick), "end"))
  for tick in _log_ticks(*frame.x) if frame.log_x else ticks(*frame.x):
    x, _ = frame.place(tick, frame.y[0])
    parts.append(f'<path class="tick" d="M{x:.1f} {low:.1f}v4"/>')
    parts.append(text(x, low + 15, label(tick), "middle"))
  parts.append(f'<path class="axis" d="M{left:.1f} {low:.1f}H{right:.1f}"/>')
  parts.append(text(right, low + 28, x_name, "end", "name"))
  parts.append(text(left + 3, high + 9, y_name, "start", "name"))
  return "".join(parts)


def text(x: float, y: float, said: str, anchor: str, kind: str = "") -> str:
  """A word; `anchor` is start, middle or end."""
  if not said:
    return ""
  kind = f' class="{kind}"' if kind else ""
  return (
    f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>'
    f"{esc(said)}</text>"
  )


def line(
  frame: Frame, xs: np.ndarray, ys: np.ndarray, kind: str, title: str = ""
) -> str:
  """A line through finite points `[N]`, `[N]`."""
  points = [
    frame.place(x, y)
    for x, y in zip(xs.tolist(), ys.tolist(), strict=True)
    if math.isfinite(y)
  ]
  if not points:
    return ""
  path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
  inner = f"<title>{esc(title)}</title>" if title else ""
  return f'<path class="line {kind}" d="{path}">{inner}</path>'


def band(
  frame: Frame, xs: np.ndarray, low: np.ndarray, high: np.ndarray, kind: str
) -> str:
  """The area between two lines `[N]`, `[N]`, where both are finite."""
  seen = np.isfinite(low) & np.isfinite(high)
  if seen.sum() < 2:
    return ""
  up = [frame.place(x, y) for x, y in zip(xs[seen], high[seen], strict=True)]
  down = [frame.place(x, y) for x, y in zip(xs[seen], low[seen], strict=True)]
  path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in [*up, *down[::-1]])
  return f'<path class="band {kind}" d="{path}z"/>'


def clipped(frame: Frame, name: str, parts: Iterable[str]) -> str:
  """Parts that end where the frame does; `name` is unique in the page."""
  left, low = frame.place(frame.x[0], frame.y[0])
  right, high = frame.place(frame.x[1], frame.y[1])
  return (
    f'<clipPath id="{esc(name)}"><rect x="{left:.1f}" y="{high - 2:.1f}" '
    f'width="{right - left:.1f}" height="{low - high + 4:.1f}"/></clipPath>'
    f'<g clip-path="url(#{esc(name)})">{"".join(parts)}</g>'
  )


def color(index: int) -> str:
  """The class of the line with this number; they repeat after eight."""
  return f"c{index % COLORS}"


def ticks(low: float, high: float, count: int = 4) -> list[float]:
  """Round numbers in a range: 1, 2 or 5 times a power of ten apart.

  >>> ticks(0, 1)
  [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
  """
  rough = (high - low) / count
  power = 10 ** math.floor(math.log10(rough))
  step = min((1, 2, 5, 10), key=lambda k: abs(math.log(k * power / rough)))
  step *= power
  first = math.ceil(low / step - 1e-9)
  last = math.floor(high / step + 1e-9)
  return [round(i * step, 12) + 0.0 for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
  powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
  for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
    found = [s * 10.0**p for p in powers for s in steps]
    found = [tick for tick in found if low <= tick <= high]
    if len(found) > 2:
      return found
  return ticks(low, high)


def label(tick: float) -> str:
  """A tick's number: `0.25`, `20k`."""
  if abs(tick) >= 10_000:
    return f"{tick / 1000:g}k"
  return f"{tick:.6g}".replace("-", "\N{MINUS SIGN}")


def padded(values: Sequence[float], share: float = 0.06) -> tuple[float, float]:
  """A range round finite values that is never empty."""
  finite = [value for value in values if math.isfinite(value)]
  low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
  room = (high - low) * share or max(abs(high) * share, 1e-6)
  return low - room, high + room
