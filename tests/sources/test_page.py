"""The pages on data parts in docs/add show code that works."""

from __future__ import annotations

import inspect
import re
import sys
import types
from pathlib import Path

import pytest

PAGES = Path(__file__).resolve().parents[2] / "docs" / "add"


@pytest.mark.parametrize("page", ["source", "cleaner", "split", "augmenter"])
def test_the_example_passes_the_contract_as_shown(page, tmp_path, monkeypatch):
    part, test = re.findall(r"```python\n(.*?)```", (PAGES / f"{page}.md").read_text(encoding="utf-8"), re.DOTALL)
    module = types.ModuleType("example_part")
    monkeypatch.setitem(sys.modules, "example_part", module)
    for code in (part, test):
        exec(compile(code, f"{page}.md", "exec"), vars(module))
    module.test_contract(**({"tmp_path": tmp_path} if "tmp_path" in inspect.signature(module.test_contract).parameters else {}))
