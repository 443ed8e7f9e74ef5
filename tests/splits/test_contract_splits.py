from __future__ import annotations

import pytest

from vertune.core import part
from vertune.core.kinds import Split
from vertune.core.parse import build
from vertune.testing.splits import CHECKS, rows

OPTIONS = {"group": {"by": "group"}, "time": {"by": "time"}, "given": {"by": "given"}}
"""What a split must be told; one that needs nothing is checked as it is."""


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", part.names("splits"))
def test_every_split_keeps_the_contract(name, check):
    kind = part.find("splits", name)
    assert issubclass(kind, Split)
    check(build(kind, OPTIONS.get(name, {})), rows())
