"""The split that docs/add/split.md shows is a split, and its test passes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add" / "split.md"


def test_the_documented_split_keeps_the_contract(tmp_path, monkeypatch):
    part, check = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "years.py").write_text(part, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    import years

    try:
        namespace = {"Years": years.Years}
        exec(compile(check, str(PAGE), "exec"), namespace)
        namespace["test_contract"]()
    finally:
        sys.modules.pop("years")
