"""Offers the part that a page of docs/add shows, as another package would offer it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vertune.core import part

PAGES = Path(__file__).resolve().parents[1] / "docs" / "add"


@contextmanager
def offered(page: str, folder: str, name: str, beside: Path) -> Iterator[type[part.Part]]:
    """The documented part, found under `name` among the parts of `folder`; its module is written into the folder `beside`."""
    (code,) = re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(encoding="utf-8"), re.DOTALL)
    (beside / f"{name}.py").write_text(code, encoding="utf-8")
    ours = part._modules
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(beside)
        patch.setattr(part, "_modules", lambda asked: {**ours(asked), **({name: name} if asked == folder else {})})
        part.find.cache_clear()
        try:
            yield part.find(folder, name)
        finally:
            part.find.cache_clear()
            sys.modules.pop(name, None)
