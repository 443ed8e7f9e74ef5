from __future__ import annotations

import pytest

from vertune.core import part
from vertune.testing.channels import CHECKS


@pytest.mark.enable_socket
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", part.names("channels"))
def test_every_channel_keeps_the_contract(name, check):
    check(part.find("channels", name))
