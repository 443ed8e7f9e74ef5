from __future__ import annotations

import pytest

from vertune.core import part
from vertune.core.pack import names, open_pack
from vertune.testing.apps import APP_CHECKS, PACK_CHECKS
from vertune.testing.tiny_pack import tiny_pack


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return tiny_pack(tmp_path_factory.mktemp("pack") / "tiny", "bert")


@pytest.mark.parametrize("check", APP_CHECKS + PACK_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_the_small_pack_keeps_the_contract(check, small):
    check(small)


@pytest.mark.parametrize("check", PACK_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", names())
def test_every_pack_keeps_the_contract(name, check):
    check(open_pack(name))


@pytest.mark.parametrize("check", APP_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", part.names("apps"))
def test_every_app_keeps_the_contract(name, check):
    packs = [pack for pack in map(open_pack, names()) if pack.config.app == name]
    assert packs, f"no pack uses {name}"
    check(packs[0])
