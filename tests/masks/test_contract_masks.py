from __future__ import annotations

import pytest

from vertune.core import part
from vertune.core.kinds import Mask
from vertune.core.parse import build
from vertune.testing.masks import CHECKS

CHOICES = [
    *((name, {}) for name in part.names("masks")),
    ("phone", {"countries": ["GB", "CN", "US", "DE"]}),
    ("national_id", {"countries": ["CN", "GB"]}),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize(("name", "options"), CHOICES)
def test_every_mask_keeps_the_contract(name, options, check):
    check(build(Mask, {"name": name, **options}))
