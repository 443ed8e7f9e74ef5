"""The task that docs/add/task.md shows is a task."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from vertune.core import part
from vertune.testing.tasks import CHECKS, fitted

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add" / "task.md"


@pytest.fixture
def kind(tmp_path, monkeypatch):
    """The documented part, as another package would offer it."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "ordinal.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(part, "_modules", lambda folder: {"ordinal": "ordinal"})
    part.find.cache_clear()
    yield part.find("tasks", "ordinal")
    part.find.cache_clear()
    sys.modules.pop("ordinal", None)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_the_documented_task_keeps_the_contract(kind, check):
    check(kind)


def test_its_probabilities_are_those_of_grades(kind):
    import numpy as np

    from vertune.testing.tasks import features_of

    task, records = fitted(kind)
    answers = task.decode(records[:2], features_of(task, records[:2]), [np.array([5.0, -5.0]), np.array([-5.0, 5.0])])
    assert [answer["label"] for answer in answers] == ["1", "0"]
    assert all(abs(sum(answer["probabilities"].values()) - 1) < 1e-9 for answer in answers)
