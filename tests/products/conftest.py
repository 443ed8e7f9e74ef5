"""A home with a live product of a tiny pack, trained once for all tests of products."""

import shutil

import pytest

from vertune.core.artifact import Home
from vertune.products.product import Product
from vertune.testing.tiny_pack import tiny_product


@pytest.fixture(scope="session")
def made(tiny_base, tmp_path_factory):
    """A home with a live product, and the folder of its pack; no test changes them."""
    folder = tmp_path_factory.mktemp("product")
    home = Home(folder / "home")
    tiny_product(home, tiny_base, folder / "tiny")
    return home, folder / "tiny"


@pytest.fixture
def home(made, tmp_path) -> Home:
    """A copy of that home which a test may change."""
    shutil.copytree(made[0].folder, tmp_path / "home")
    return Home(tmp_path / "home")


@pytest.fixture(scope="session")
def product(made) -> Product:
    return Product.open(made[0], "shop")
