"""The chat widget as other sites load it: one small module that every site may load, without comments, and nothing else of the server."""

from __future__ import annotations

import re

import pytest

from tests.server.test_console import FOLDER

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
MOST = 15_000
"""Bytes that a page may load for the chat, uncompressed."""
SOURCE = (FOLDER / "widget.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script(server):
    return server.stranger.get("/widget.js", headers={"Accept-Encoding": "identity", "Origin": "https://shop.example"})


def test_every_site_may_load_it_and_browsers_ask_whether_it_changed(server, script) -> None:
    assert script.status_code == 200
    assert script.headers["content-type"].startswith("text/javascript")
    assert script.headers["access-control-allow-origin"] == "*"
    assert script.headers["cross-origin-resource-policy"] == "cross-origin"
    assert "access-control-allow-credentials" not in script.headers
    assert script.headers["cache-control"] == "no-cache"
    again = server.stranger.get("/widget.js", headers={"If-None-Match": script.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_it_is_small_and_the_same_module_without_comments_and_indentation(script) -> None:
    assert len(script.content) < MOST
    served, lines = script.text, SOURCE.splitlines()
    assert "/**" not in served
    kept = [line.strip() for line in lines if line.strip() in set(served.splitlines())]
    dropped = [line.strip() for line in lines if line.strip() and line.strip() not in set(served.splitlines())]
    assert served.splitlines() == [line for line in kept if line]
    assert all(line.startswith(("//", "/*", "*", "<script")) for line in dropped)


def test_it_loads_nothing_and_makes_no_html_of_data() -> None:
    assert not re.search(r"^import |\bimport\(|url\(|@import", SOURCE, re.MULTILINE)
    assert not re.search(r"https?://\w", SOURCE)


def test_both_languages_have_the_same_texts() -> None:
    english, chinese = re.findall(r"^  (?:en|zh): \{\n(.*?)^  \},", SOURCE, re.MULTILINE | re.DOTALL)
    names = [re.findall(r"(\w+): [\"{]", part) for part in (english, chinese)]
    assert sorted(names[0]) == sorted(names[1])
