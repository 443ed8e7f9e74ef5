"""The form of a model in other web pages: which pages may contain it, and that it brings no session along."""

from __future__ import annotations

import re

import pytest

from tests.server.conftest import admin
from tests.server.running import problem
from vertune.core.errors import ConfigError
from vertune.server.settings import changed

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def ancestors(response) -> str:
    return re.search(r"frame-ancestors ([^;]+)", response.headers["content-security-policy"])[1]


def test_only_named_origins_may_contain_the_form(home, start, server) -> None:
    page = server.stranger.get("/try/intent")
    assert page.status_code == 200
    assert ancestors(page) == "'none'"
    key = admin(home)
    named = start(home, key, embed_in=("https://www.example.com", "http://localhost:3000"))
    page = named.stranger.get("/try/intent")
    assert ancestors(page) == "https://www.example.com http://localhost:3000"
    assert ancestors(named.stranger.get("/")) == "'none'"
    script = re.search(r'src="(/console/[0-9a-f]{16}/embed\.js)"', page.text)[1]
    text = named.stranger.get(script).text
    assert 'credentials: "omit"' in text
    off = start(home, key, console=False)
    problem(off.stranger.get("/try/intent"), 404)


@pytest.mark.parametrize("origin", ["*", "https://*.example.com", "https://a.b/path", "javascript:alert(1)", "https://a.b; script-src *"])
def test_origins_are_checked(origin) -> None:
    with pytest.raises(ConfigError, match="embed_in"):
        changed({"embed_in": [origin]}, [])
