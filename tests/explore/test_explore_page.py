"""The page of an embedded set, in a real browser."""

import importlib.util

import pytest

from tests.explore.browser import BROWSER, Browser

pytestmark = [
  pytest.mark.skipif(
    BROWSER is None, reason="no Chromium: apt-get install chromium"
  ),
  pytest.mark.skipif(
    importlib.util.find_spec("starlette") is None,
    reason="no Starlette: pip install 'tripletjax[explore]'",
  ),
]


@pytest.fixture(scope="module")
def explorer(tmp_path_factory):
  from tests.explore.worlds import explorer_of

  return explorer_of(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def address(explorer):
  from tests.explore.worlds import served

  with served(explorer) as port:
    yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def browser():
  browser = Browser()
  yield browser
  browser.close()


@pytest.fixture
def page(browser, address):
  browser.size(1200, 900)
  browser.dark(False)
  browser.open(address)
  browser.until("document.body.dataset.ready === 'yes'")
  browser.until("document.querySelectorAll('#rates dd').length === 2")
  yield browser
  assert browser.console == []


def text(page, what):
  return page.run(f"document.querySelector('{what}').textContent")


def choose(page, index):
  """Clicks an image on the map; says which one was chosen."""
  place = page.run(
    f"""fetch("api/set").then((r) => r.json()).then((d) => {{
    const at = d.map.index.indexOf({index});
    return [d.map.x[at], d.map.y[at]]; }})"""
  )
  x, y = place
  page.click("#map", 0.04 + 0.92 * x, 0.04 + 0.92 * (1 - y))
  page.until("document.querySelectorAll('#neighbours li').length > 0")
  return page.run("Number(document.querySelector('#number').value)")


def test_it_says_what_it_shows(page):
  assert text(page, "#title") == "images"
  assert page.run("document.title") == "run: images"
  assert text(page, "#about") == "run, step 20 · 22 images · 5 identities"
  assert "All 22 images" in text(page, "#map-note")
  assert "chosen by a test" in text(page, "#threshold-note")
  # Something is painted: the middle of each thumbnail isn't the paper.
  painted = page.run(
    """(() => { const c = document.querySelector("#map");
    const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
    let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0;
    return n / (c.width * c.height); })()"""
  )
  assert painted > 0.02


def test_an_error_would_be_seen(browser, address):
  browser.open(address)
  browser.run("setTimeout(() => { throw new Error('as here'); })")
  browser.until("1 + 1 === 2")
  browser.run("new Promise((done) => setTimeout(done, 50))")
  assert any("as here" in line for line in browser.console)


def test_a_click_shows_the_neighbours(page, explorer):
  from tripletjax.explore.answers import neighbours

  chosen = choose(page, 9)
  expected = neighbours(explorer, chosen)
  shown = page.run(
    """[...document.querySelectorAll("#neighbours button")].map((b) =>
    [Number(b.dataset.index), b.querySelector("span").textContent,
     b.querySelector("img").complete])"""
  )
  assert [index for index, _, _ in shown] == [
    one["index"] for one in expected["neighbours"]
  ]
  for (_, far, _), one in zip(shown, expected["neighbours"], strict=True):
    assert float(far) == pytest.approx(one["distance"], rel=1e-3)
  # A neighbour is the next one to be looked at.
  first = shown[0][0]
  page.click("#neighbours li:first-child button")
  page.until(f"document.querySelector('#number').value === '{first}'")
  page.until("document.querySelector('#chosen img').naturalWidth === 160")


def test_a_number_chooses_too(page):
  page.run(
    """(() => { const n = document.querySelector("#number"); n.value = 3;
    n.dispatchEvent(new Event("change")); })()"""
  )
  page.until("document.querySelectorAll('#neighbours li').length === 12")
  assert "image 3 of 22" in text(page, "#chosen")


def counts(page):
  return page.run(
    """[...document.querySelectorAll("#rates dd")].map((d) =>
    Number(d.textContent.split(" ")[0]))"""
  )


def set_threshold(page, value):
  page.run(
    f"""(() => {{ const f = document.querySelector("#threshold");
    f.value = "{value}"; f.dispatchEvent(new Event("input")); }})()"""
  )
  page.until(
    f"document.querySelector('#rates').dataset.threshold === '{value}'"
  )


def test_the_threshold_moves_the_counts(page, explorer):
  from tripletjax.explore.pair_counts import rates

  for value in (0, 0.25, 1.5, 4):
    set_threshold(page, value)
    expected = rates(explorer.pairs, value)
    assert counts(page) == [
      expected["false_accepts"],
      expected["false_rejects"],
    ]
  # By the slider as well: to its end, where everything is accepted.
  page.click("#slider", 0.999)
  page.until(
    "document.querySelector('#rates dd').textContent.startsWith('160 ')"
  )
  assert counts(page) == [160, 0]
  page.click("#back")
  page.until("document.querySelector('#rates').dataset.threshold === '0.5'")


def test_two_dropped_images_get_a_verdict(page, explorer):
  folder = explorer.embedder.workdir.parent / "images"
  one, other = folder / "ann" / "0.png", folder / "bob" / "1.png"
  page.drop(".slot[data-slot=first]", one)
  page.drop(".slot[data-slot=second]", other)
  page.until("document.querySelector('#verdict b')")
  found = explorer.embedder.embed([one, other])
  far = float(explorer.embedder.distances(found[:1], found[1:])[0, 0])
  verdict = text(page, "#verdict")
  shown = float(verdict.split("distance ")[1].split(",")[0])
  assert shown == pytest.approx(far, rel=1e-3)
  assert verdict.startswith("same" if far <= 0.5 else "different")
  # The verdict follows the threshold.
  for value, word in ((far * 0.9, "different"), (far * 1.1, "same")):
    set_threshold(page, float(f"{value:.4g}"))
    assert text(page, "#verdict b") == word
  # Two at once, and the one chosen on the map.
  page.drop(".slot[data-slot=first]", one, one)
  page.until("document.querySelector('#verdict b')")
  assert text(page, "#verdict").startswith("same: distance 0")
  choose(page, 2)
  page.click(".slot[data-slot=second] button")
  page.until("document.querySelectorAll('.slot img').length === 2")
  page.until("document.querySelector('#verdict b')")


def test_what_is_no_image_says_so(page, tmp_path):
  path = tmp_path / "notes.txt"
  path.write_text("no image")
  page.drop(".slot[data-slot=first]", path, path)
  page.until("!document.querySelector('#error').hidden")
  assert "can't be read" in text(page, "#error")
  # The answer is a 400, which Chromium notes.
  assert all("400 (Bad Request)" in line for line in page.console)
  page.console.clear()
  assert text(page, "#verdict") == ""


def test_names_do_not_become_markup(page, explorer):
  from tests.explore.worlds import NASTY

  number = explorer.space.label_names.index(NASTY)
  index = explorer.space.labels.tolist().index(number)
  page.run(
    f"""(() => {{ const n = document.querySelector("#number");
    n.value = {index}; n.dispatchEvent(new Event("change")); }})()"""
  )
  page.until("document.querySelector('#chosen b')")
  assert text(page, "#chosen b") == NASTY
  assert page.run("document.title") == "run: images"
  assert page.run("document.querySelectorAll('img[src=x]').length") == 0


@pytest.mark.parametrize("width", [390, 1200])
def test_it_fits_a_phone(page, width):
  page.size(width, 800, mobile=width < 500)
  choose(page, 4)
  over = page.run(
    "(({scrollWidth, clientWidth}) => scrollWidth - clientWidth)"
    "(document.documentElement)"
  )
  assert over <= 0
  side = page.run("document.querySelector('#map').clientWidth")
  assert side > (330 if width < 500 else 500)
  columns = page.run(
    "getComputedStyle(document.querySelector('main')).gridTemplateColumns"
  )
  assert len(columns.split()) == (1 if width < 500 else 2)


def luminance(color):
  """Relative luminance, as WCAG 2 defines it."""
  shares = [int(part) / 255 for part in color[4:-1].split(",")]
  linear = [
    s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares
  ]
  return sum(
    k * x for k, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True)
  )


def test_it_is_dark_where_that_is_asked_for(page):
  def colors():
    return page.run(
      """["body", ".note", "#rates dd", "#number"].map((what) => {
      const s = getComputedStyle(document.querySelector(what));
      const b = getComputedStyle(document.body);
      return [s.color, what === "#number" ? s.backgroundColor
        : b.backgroundColor]; })"""
    )

  light = colors()
  page.dark(True)
  for found, is_dark in ((light, False), (colors(), True)):
    for ink, paper in found:
      assert (luminance(paper) < 0.1) == is_dark
      low, high = sorted((luminance(ink), luminance(paper)))
      assert (high + 0.05) / (low + 0.05) > 4.5


def test_zooming_keeps_what_is_under_the_pointer(page):
  page.click("#closer")
  page.click("#closer")
  assert page.run("document.querySelector('#map').className") == "near"
  page.click("#whole")
  assert page.run("document.querySelector('#map').className") == ""
