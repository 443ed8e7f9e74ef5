"""The app that docs/add/app.md shows is an app, and does what it is for."""

from __future__ import annotations

import re

import pytest

from tests.documented import PAGES
from vertune.core import part
from vertune.core.app import Request
from vertune.core.pack import Pack
from vertune.testing.apps import APP_CHECKS, ByWords
from vertune.testing.tiny_pack import tiny_pack


def test_the_documented_app_keeps_the_contract(tmp_path, monkeypatch):
    code = re.findall(r"```python\n(.*?)```", (PAGES / "app.md").read_text(encoding="utf-8"), re.DOTALL)[0]
    (tmp_path / "forward.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    ours = part._modules
    monkeypatch.setattr(part, "_modules", lambda folder: {**ours(folder), **({"forward": "forward"} if folder == "apps" else {})})
    folder = tiny_pack(tmp_path / "tiny", "bert").folder
    written = (folder / "pack.yaml").read_text(encoding="utf-8")
    written = written.replace("app: customer_service", "app: forward").replace("slots: {intents:", "slots: {department:")
    (folder / "pack.yaml").write_text(written, encoding="utf-8")
    pack = Pack(folder)
    part.find.cache_clear()
    try:
        for check in APP_CHECKS:
            check(pack)
        app = part.find("apps", "forward").of_pack(pack)
        reply = app.answer(Request("what about invoice for me"), app.state(), ByWords(pack, "department"))
        assert (reply.action, reply.text) == ("handoff", "Paying and invoices will answer you.")
        assert app.answer(Request(" "), app.state(), ByWords(pack, "department")).action == "refuse"
    finally:
        part.find.cache_clear()


@pytest.mark.parametrize("name", part.names("apps"))
def test_every_app_says_what_it_is(name):
    assert len(part.about("apps", name)) > 20
