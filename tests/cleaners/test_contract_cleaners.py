from __future__ import annotations

import pytest

from vertune.core import part
from vertune.core.kinds import Cleaner
from vertune.core.parse import build
from vertune.testing.cleaners import CHECKS

CHOICES = [
    *((name, {}) for name in part.names("cleaners")),
    ("normalise", {"form": "NFKC", "half_width": True}),
    ("normalise", {"spaces": "keep"}),
    ("duplicates", {"by": "inputs"}),
    ("length", {"least": 2, "most": 20}),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize(("name", "options"), CHOICES)
def test_every_cleaner_keeps_the_contract(name, options, check):
    kind = part.find("cleaners", name)
    assert issubclass(kind, Cleaner)
    check(build(kind, options))
