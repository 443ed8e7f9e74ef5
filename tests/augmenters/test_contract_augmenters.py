from __future__ import annotations

import pytest

from vertune.core import part
from vertune.core.kinds import Augmenter
from vertune.testing.augmenters import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", part.names("augmenters"))
def test_every_augmenter_keeps_the_contract(name, check):
    kind = part.find("augmenters", name)
    assert issubclass(kind, Augmenter)
    check(kind())
