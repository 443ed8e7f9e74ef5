from __future__ import annotations

import pytest

from vertune.core import part
from vertune.core.kinds import Format
from vertune.core.parse import build
from vertune.testing.formats import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", part.names("formats"))
def test_every_format_keeps_the_contract(name, check, tmp_path):
    check(build(Format, {"name": name}), tmp_path)
