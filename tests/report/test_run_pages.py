"""The page of each run of a sweep."""

import html
import json
import re

import pytest

from tests.report.fake_sweeps import HEAD, make_sweep, score
from tripletjax.errors import UserError
from tripletjax.report.page import write_report
from tripletjax.report.page.run_page import run_page, write_run_pages
from tripletjax.report.sweep_files import read_sweep

ARM = "miner=semi_hard,margin=0.2"
NAMES = [f"{ARM},seed={seed}" for seed in range(3)]


def folder_of(tmp_path, **options):
  make_sweep(tmp_path / "s", miners=("semi_hard",), margins=("0.2",), **options)
  return tmp_path / "s"


def test_each_run_has_its_numbers_config_and_way_back(tmp_path):
  folder = folder_of(tmp_path, arrays=False)
  index = write_report(folder, pictures=False)[0][0].read_text()
  for seed, name in enumerate(NAMES):
    page = (folder / "cells" / name / "index.html").read_text()
    assert f"{score('semi_hard', '0.2', seed):.3f}" in page
    assert 'href="../../index.html"' in page
    config = html.unescape(re.search("<pre>(.*?)</pre>", page, re.S)[1])
    assert json.loads(config)["seed"] == seed
    # What it links is there, and it loads nothing.
    for target in re.findall('href="([^"]*)"', page):
      assert (folder / "cells" / name / target).exists(), target
    assert not re.findall(r'src="(?!data:)', page)
  # And the index links them all.
  pages = re.findall('href="(cells/[^"]*/index.html)"', index)
  assert len(pages) == len(NAMES)


def test_pictures_are_in_the_page_of_the_run(tmp_path):
  folder = folder_of(tmp_path)
  write_report(folder, pictures=False)
  (drawn,) = (p for p in (folder / "cells").iterdir() if p.name == NAMES[1])
  assert "data:image/webp" not in (drawn / "index.html").read_text()
  write_report(folder, all_runs=True)
  evaluation = drawn / "evaluation" / "pictures"
  evaluation.mkdir(parents=True)
  (drawn / "pictures" / "curves.png").rename(evaluation / "roc.png")
  page = run_page(read_sweep(folder), read_sweep(folder).cells[1])
  assert page.count("data:image/webp;base64,") == 4
  assert 'href="evaluation/pictures/roc.png"' in page
  # All runs are drawn, not the best and the worst alone.
  for name in NAMES:
    assert (folder / "cells" / name / "pictures" / "embedding.png").is_file()


def test_one_that_failed_says_why_and_names_are_escaped(tmp_path):
  folder = folder_of(tmp_path, arrays=False, states={NAMES[0]: "failed"})
  status = folder / "cells" / NAMES[0] / "status.json"
  said = json.loads(status.read_text())
  status.write_text(json.dumps({**said, "reason": f"no {HEAD}"}))
  page = run_page(read_sweep(folder), read_sweep(folder).cells[0])
  assert html.escape(HEAD) in page
  assert HEAD not in page


def test_a_cell_that_waits_has_no_page(tmp_path):
  folder = folder_of(tmp_path, arrays=False, states={NAMES[2]: "waiting"})
  assert write_run_pages(read_sweep(folder)) == NAMES[:2]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
  folder = folder_of(tmp_path, arrays=False)
  (folder / "cells" / NAMES[0] / "index.html").mkdir()
  with pytest.raises(UserError, match=r"--workdir: can't write .*index.html"):
    write_run_pages(read_sweep(folder))
