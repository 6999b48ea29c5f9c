"""The page of a sweep, in a real browser."""

import csv
import functools
import html
import html.parser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.report.fake_sweeps import MARGINS, MINERS, make_sweep, score
from tripletjax.report.page import write_report

BROWSER = next(
  filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None
)
pytestmark = pytest.mark.skipif(
  BROWSER is None, reason="no Chromium: apt-get install chromium"
)
LIGHT, DARK = (f"--blink-settings=preferredColorScheme={k}" for k in (1, 0))
# What a phone shows: a frame as wide, since no window is so narrow.
PROBE = """<!doctype html><body style="margin:0"><iframe src="index.html"%s
style="width:390px;height:800px;border:0"
onload="document.body.dataset.found = JSON.stringify(
probe(this.contentWindow, this.contentDocument))"></iframe>
<script>function probe(w, d) { %s }</script>"""


@functools.cache
def browse(url, *flags):
  """The page's DOM after its scripts, and the lines of its console."""
  result = subprocess.run(
    [
      BROWSER,
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--allow-file-access-from-files",
      "--enable-logging=stderr",
      "--v=0",
      *flags,
      "--dump-dom",
      url,
    ],
    capture_output=True,
    text=True,
    timeout=120,
    check=True,
  )
  said = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
  return result.stdout, said


def ask(folder, body, *flags):
  """What a function of the page's window `w` and document `d` returns."""
  found, console = probe(folder, body, *flags)
  assert console == []
  return found


def probe(folder, body, *flags, sandbox=""):
  """The same with the console's lines, in a frame that may lack scripts."""
  # The address names the probe, so that browse's cache holds.
  path = folder / f"probe{abs(hash((body, sandbox)))}.html"
  path.write_text(PROBE % (f' sandbox="{sandbox}"' if sandbox else "", body))
  dom, console = browse(path.as_uri(), *flags)
  found = re.search(r'data-found="([^"]*)"', dom)
  assert found, dom[:500]
  return json.loads(html.unescape(found[1])), console


class Rows(html.parser.HTMLParser):
  """The visible rows of one table: a list of texts each."""

  def __init__(self, name):
    super().__init__()
    self.name, self.inside, self.rows, self.cell = name, False, [], None

  def handle_starttag(self, tag, attributes):
    attributes = dict(attributes)
    if tag == "table":
      self.inside = attributes.get("id") == self.name
    elif self.inside and tag == "tr":
      self.rows.append(None if "hidden" in attributes else [])
    elif self.inside and tag == "td" and self.rows[-1] is not None:
      self.rows[-1].append("")
      self.cell = True

  def handle_endtag(self, tag):
    if tag == "td":
      self.cell = None

  def handle_data(self, data):
    if self.inside and self.cell and self.rows[-1]:
      self.rows[-1][-1] += data


def visible(dom, name):
  parser = Rows(name)
  parser.feed(dom)
  return [row for row in parser.rows if row]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("page") / "a sweep #1"
  make_sweep(
    folder,
    states={
      "miner=random,margin=0.1,seed=0": "failed",
      "miner=random,margin=0.2,seed=2": "waiting",
    },
    arrays=False,
  )
  write_report(folder, pictures=False)
  return folder


@pytest.fixture(scope="module")
def url(folder):
  return (folder / "index.html").as_uri()


def test_console_is_free_of_errors(url):
  dom, console = browse(url)
  assert console == []
  assert "</html>" in dom


def test_a_console_with_an_error_would_be_seen(tmp_path):
  path = tmp_path / "broken.html"
  path.write_text("<script>throw new Error('as here')</script>")
  _, console = browse(path.as_uri())
  assert len(console) == 1
  assert "as here" in console[0]


READ = """
const seen = (what) => [...d.querySelectorAll(what)].filter(
  (e) => e.getClientRects().length).length;
return {filters: seen(".filters"), cells: seen("#cells tbody tr"),
  arms: seen("#arms tbody tr"), figures: seen("figure svg"),
  text: d.body.innerText};
"""


def test_it_reads_without_a_script(folder):
  found, console = probe(folder, READ, sandbox="allow-same-origin")
  assert any("Blocked script execution" in line for line in console)
  assert not found["filters"]
  assert "has the best map@r" in found["text"]
  assert "0.6" in found["text"]
  assert (found["cells"], found["arms"]) == (18, 6)
  assert found["figures"] > 6
  assert ask(folder, READ)["filters"]


def means():
  """Miner and margin -> mean, of the cells that are done."""
  lost = {("random", "0.1"): (1, 2), ("random", "0.2"): (0, 1)}
  found = {}
  for miner in MINERS:
    for margin in MARGINS:
      seeds = lost.get((miner, margin), (0, 1, 2))
      values = [score(miner, margin, seed) for seed in seeds]
      found[f"miner={miner},margin={margin}"] = sum(values) / len(values)
  return found


def names(rows):
  return [row[0].partition(" ")[0] for row in rows]


@pytest.mark.parametrize("end", ["", ".desc"])
def test_a_table_sorts_by_the_address(url, end):
  dom, console = browse(f"{url}#sort=arms.map@r{end}")
  assert console == []
  values = means()
  expected = sorted(values, key=values.get, reverse=bool(end))
  assert names(visible(dom, "arms")) == expected


def test_what_is_not_measured_is_sorted_last(url):
  for end in ("", ".desc"):
    dom, _ = browse(f"{url}#sort=cells.map@r{end}")
    states = [row[4] for row in visible(dom, "cells")]
    assert sorted(states[-2:]) == ["failed", "waiting"]


def test_filters_by_the_address(url):
  dom, console = browse(f"{url}#miner=random&state=done")
  assert console == []
  rows = visible(dom, "cells")
  assert {(row[1], row[4]) for row in rows} == {("random", "done")}
  assert len(rows) == 4
  dom, _ = browse(f"{url}#text=BATCH_hard")
  assert {row[1] for row in visible(dom, "cells")} == {"batch_hard"}


def test_a_click_sorts_and_a_choice_filters(folder):
  found = ask(
    folder,
    """
    const head = [...d.querySelectorAll("#arms th")].find(
      (h) => h.dataset.name === "map@r");
    const order = () => [...d.querySelectorAll("#arms tbody tr")].map(
      (r) => r.cells[0].textContent.split(" ")[0]);
    const clicks = [1, 2].map(() => {
      head.querySelector("button").click(); return [head.ariaSort, order()]; });
    const select = d.querySelector(".filters select[name=margin]");
    select.value = "0.1";
    select.dispatchEvent(new Event("input", {bubbles: true}));
    const left = () => [...d.querySelectorAll("#arms tbody tr")].filter(
      (r) => r.getClientRects().length).length;
    const some = left(), hash = w.location.hash;
    d.querySelector(".filters button").click();
    return {clicks, some, hash, all: left()};
    """,
  )
  values = means()
  up = sorted(values, key=values.get)
  assert found["clicks"] == [["ascending", up], ["descending", up[::-1]]]
  assert (found["some"], found["all"]) == (3, 6)
  assert "margin=0.1" in found["hash"]
  assert "sort=arms" in found["hash"]


def test_a_phone_scrolls_tables_and_not_the_page(folder):
  found = ask(
    folder,
    """
    d.querySelectorAll("details").forEach((e) => { e.open = true; });
    const boxes = [...d.querySelectorAll(".scroll")];
    const page = d.documentElement; // its client width is without the bar
    return {width: w.innerWidth, over: page.scrollWidth - page.clientWidth,
      wide: boxes.filter((b) => b.scrollWidth > b.clientWidth + 1).length,
      out: boxes.filter((b) => b.getBoundingClientRect().right > 390).length,
      small: Math.min(...[...d.querySelectorAll("figure svg text")].map(
        (t) => t.getBoundingClientRect().height))};
    """,
  )
  assert (found["width"], found["over"], found["out"]) == (390, 0, 0)
  assert found["wide"] > 0
  assert found["small"] > 8  # pixels


COLORS = """
const rgb = (e, what) => w.getComputedStyle(e)[what];
const heat = [...d.querySelectorAll(".heat td[style]")];
return {dark: w.matchMedia("(prefers-color-scheme: dark)").matches,
  paper: rgb(d.body, "backgroundColor"), ink: rgb(d.body, "color"),
  text: rgb(d.querySelector("svg text"), "fill"),
  lines: [...d.querySelectorAll("svg .line")].map((e) => rgb(e, "stroke")),
  heat: heat.map((e) => rgb(e, "backgroundColor"))};
"""


def channels(text):
  """`rgb(1, 2, 3)` or `rgba(1, 2, 3, 0.4)` as four numbers."""
  values = [float(part) for part in re.findall(r"[\d.]+", text)]
  return values if len(values) == 4 else [*values, 1.0]


def luminance(color):
  """Relative luminance, as WCAG 2 defines it."""
  shares = [value / 255 for value in color[:3]]
  linear = [
    s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares
  ]
  return sum(
    k * value for k, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True)
  )


def contrast(first, second):
  low, high = sorted((luminance(first), luminance(second)))
  return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_colors_can_be_read(folder, scheme):
  found = ask(folder, COLORS, scheme)
  assert found["dark"] == (scheme == DARK)
  paper, ink = channels(found["paper"]), channels(found["ink"])
  assert (luminance(paper) < 0.1) == found["dark"]
  assert contrast(paper, ink) > 7
  assert contrast(paper, channels(found["text"])) > 4.5
  assert found["lines"]
  for line in set(found["lines"]):
    assert contrast(paper, channels(line)) > 3, line
  assert len(found["heat"]) == 6
  for color in map(channels, found["heat"]):
    alpha = color[3]
    mixed = [
      alpha * c + (1 - alpha) * p for c, p in zip(color, paper, strict=True)
    ]
    assert contrast(mixed, ink) > 4.5


def test_the_page_stays_small_and_clean_when_the_sweep_is_large(tmp_path):
  make_sweep(
    tmp_path / "large",
    miners=[f"miner_{i}" for i in range(10)],
    margins=[f"0.{i}" for i in range(1, 7)],
    seeds=3,
    arrays=False,
    test=False,
  )
  write_report(tmp_path / "large", pictures=False)
  page = tmp_path / "large" / "index.html"
  assert page.stat().st_size < 5_000_000
  dom, console = browse(page.as_uri())
  assert console == []
  assert len(visible(dom, "cells")) == 180


@pytest.mark.slow
def test_a_real_sweep_has_a_page(tmp_path):
  root = Path(__file__).parents[2]
  sweep = tmp_path / "sweep"
  for module, *flags in (
    (
      "sweep",
      "--sweep=configs/sweeps/margin_by_miner.py:smoke",
      f"--data_dir={tmp_path / 'data'}",
    ),
    ("report",),
  ):
    result = subprocess.run(
      [
        sys.executable,
        "-m",
        f"experiments.{module}",
        f"--workdir={sweep}",
        *flags,
      ],
      capture_output=True,
      text=True,
      cwd=root,
      timeout=500,
    )
    assert result.returncode == 0, result.stderr
  dom, console = browse((sweep / "index.html").as_uri())
  assert console == []
  rows = visible(dom, "cells")
  assert [row[4] for row in rows] == ["done"] * 4
  # What the page shows is what the table has.
  with (sweep / "results.csv").open(newline="") as file:
    written = [float(row["map@r"]) for row in csv.DictReader(file)]
  assert [row[5] for row in rows] == [f"{value:.3f}" for value in written]
  # Two runs of each arm, three pictures of each.
  assert dom.count("data:image/webp") == 2 * 2 * 3
  assert "On the test split" in dom
