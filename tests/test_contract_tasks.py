from __future__ import annotations

import pytest

from vertune.core import part
from vertune.core.kinds import Task
from vertune.testing.tasks import CHECKS, renamed


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", part.names("tasks"))
def test_every_task_keeps_the_contract(name, check):
    kind = part.find("tasks", name)
    assert issubclass(kind, Task)
    check(kind)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", part.names("tasks"))
def test_every_task_keeps_the_contract_under_other_field_names(name, check):
    kind = part.find("tasks", name)
    assert issubclass(kind, Task)
    check(renamed(kind))
