"""The monitor that docs/add/monitor.md shows is a monitor, and sees what it is for."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from vertune.testing.monitors import CHECKS, window

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add" / "monitor.md"


def test_the_documented_monitor_keeps_the_contract(tmp_path, monkeypatch):
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    (tmp_path / "night.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monitor = importlib.import_module("night").Night()
    for check in CHECKS:
        check(monitor)
    reference, later = window(600), window(300, seed=1)
    assert not monitor.compare(reference, later).changed
    finding = monitor.compare(reference, replace(later, at=np.full(300, 86_400.0 * 20_000 + 3 * 3600)))
    assert finding.changed
    assert finding.value == 1.0
