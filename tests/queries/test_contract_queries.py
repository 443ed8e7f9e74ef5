from __future__ import annotations

import pytest

from vertune.core import part
from vertune.core.kinds import Query
from vertune.core.parse import build
from vertune.testing.queries import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", part.names("queries"))
def test_every_query_keeps_the_contract(name, check):
    check(build(Query, {"name": name}))
