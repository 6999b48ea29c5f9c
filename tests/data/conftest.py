"""A small prepared data set, once for each test process."""

import pytest

from tripletjax.data import preparation


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data")
  preparation.prepare("glyphs/tiny", data_dir=folder)
  preparation.prepare("digits", data_dir=folder)
  return folder
