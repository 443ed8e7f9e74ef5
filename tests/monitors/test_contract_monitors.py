from __future__ import annotations

import pytest

from vertune.core import part
from vertune.core.kinds import Monitor
from vertune.core.parse import build
from vertune.testing.monitors import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", part.names("monitors"))
def test_every_monitor_keeps_the_contract(name, check):
    kind = part.find("monitors", name)
    options = {"column": "region"} if kind.on_request else {}
    check(build(Monitor, {"name": name, **options}))
