"""A resource is one file, of this package or of another: found, documented, guarded, with all that FastAPI offers."""

from __future__ import annotations

import sys
import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from tests.server.conftest import admin
from tests.server.running import problem
from vertune.core.errors import ConfigError
from vertune.server import discovery, resources
from vertune.server.resource import Resource
from vertune.store.database import Database
from vertune.store.keys import Keys

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
GUESTBOOK = '''
"""A resource with all kinds of routes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Cookie, Depends, Form, Response, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from vertune.server.resource import Resource

resource = Resource("guestbook")
closed = []
files = []


class Entry(BaseModel):
    name: str
    stars: int


async def page_size(limit: int = 10):
    yield limit
    closed.append(limit)


@resource.get("/v1/NAME", scope="feedback")
async def entries(limit: Annotated[int, Depends(page_size)]) -> list[Entry]:
    """Entries of the book."""
    return [Entry(name="a", stars=5)] * limit


@resource.post("/v1/NAME", scope="feedback", status_code=201)
async def add(entry: Entry) -> Entry:
    """Add an entry."""
    return entry


@resource.put("/v1/NAME/photo", scope="feedback", max_body=30_000)
async def upload(photo: UploadFile, title: Annotated[str, Form()]) -> dict[str, int | str]:
    """Add a photo."""
    files.append(photo.file)
    return {"title": title, "bytes": len(await photo.read())}


@resource.get("/v1/NAME/events", scope="feedback")
async def events() -> StreamingResponse:
    """New entries, as server-sent events."""

    async def stream() -> AsyncIterator[str]:
        for number in range(3):
            yield f"data: {number}\\n\\n"
            await asyncio.sleep(0)

    return StreamingResponse(stream(), media_type="text/event-stream")


@resource.get("/v1/NAME/session", scope=None)
async def session(response: Response, visits: Annotated[int, Cookie()] = 0) -> dict[str, int]:
    """How often a browser came."""
    response.set_cookie("visits", str(visits + 1), httponly=True)
    return {"visits": visits}


@resource.get("/v1/verticals/{vertical}/NAME", scope="feedback")
async def of_vertical(vertical: str) -> str:
    """The book of a vertical."""
    return vertical
'''


@pytest.fixture(params=["in the tree", "in a package"])
def book(request, tmp_path, monkeypatch):
    """The name of the resource above, which lies where the server finds it."""
    name = f"guestbook_{request.param.replace(' ', '_')}"
    (tmp_path / f"{name}.py").write_text(GUESTBOOK.replace("NAME", name))
    if request.param == "in the tree":
        monkeypatch.setattr(resources, "__path__", [*resources.__path__, str(tmp_path)])
    else:
        entry = EntryPoint("guestbook", name, discovery.ENTRY_POINTS)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(discovery, "entry_points", lambda group: [entry] if group == discovery.ENTRY_POINTS else [])
    yield name
    for module in (name, f"{resources.__name__}.{name}"):
        sys.modules.pop(module, None)


@pytest.fixture
def ask(book, home, start):
    """A client of a server that has the resource, with a key whose scope is `feedback` alone."""
    running = start(home, admin(home))
    keys = Keys(Database(home.folder / "server.db"))
    secret, _ = keys.create("guest", ["feedback"], ["intent"])
    keys.close()
    running.ask.headers["Authorization"] = f"Bearer {secret}"
    running.ask.stranger = running.stranger
    return running.ask


def module(book: str):
    return sys.modules.get(book) or sys.modules[f"{resources.__name__}.{book}"]


def test_a_resource_is_served_with_what_fastapi_offers(ask, book) -> None:
    assert ask.get(f"/v1/{book}", params={"limit": 2}).json() == [{"name": "a", "stars": 5}] * 2
    assert module(book).closed == [2], "a dependency is closed after its request"
    assert ask.post(f"/v1/{book}", json={"name": "b", "stars": 4}).status_code == 201
    found = ask.put(f"/v1/{book}/photo", files={"photo": b"x" * 20_000}, data={"title": "me"})
    assert found.json() == {"title": "me", "bytes": 20_000}
    assert module(book).files[0].closed, "an uploaded file is closed after its request"
    with ask.stream("GET", f"/v1/{book}/events") as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        assert [line for line in events.iter_lines() if line] == ["data: 0", "data: 1", "data: 2"]
        assert events.headers["x-content-type-options"] == "nosniff"
    assert [ask.get(f"/v1/{book}/session").json()["visits"] for _ in range(3)] == [0, 1, 2]
    assert ask.head(f"/v1/{book}").status_code == 200


def test_a_resource_is_documented(ask, book) -> None:
    paths = ask.get("/openapi.json").json()["paths"]
    operation = paths[f"/v1/{book}"]["post"]
    assert operation["description"] == "Add an entry."
    assert operation["security"] == [{"key": ["feedback"]}, {"session": []}]
    assert set(operation["responses"]) == {"201", "401", "403", "413", "415", "422", "429", "500", "503", "507"}
    assert "multipart/form-data" in paths[f"/v1/{book}/photo"]["put"]["requestBody"]["content"]
    assert paths[f"/v1/{book}/session"]["get"]["security"] == []


def test_the_scope_of_a_resource_is_enforced_before_the_body_is_read(ask, book, home) -> None:
    keys = Keys(Database(home.folder / "server.db"))
    other, _ = keys.create("other", ["predict"])
    keys.close()
    for headers, status in (({}, 401), ({"Authorization": f"Bearer {other}"}, 403)):
        for method, path in (("GET", ""), ("POST", ""), ("PUT", "/photo"), ("GET", "/events")):
            found = ask.stranger.request(method, f"/v1/{book}{path}", headers=headers, content=b"not read")
            assert problem(found, status)
    assert ask.get(f"/v1/verticals/intent/{book}").json() == "intent"
    assert "'feedback' on 'whole'" in problem(ask.get(f"/v1/verticals/whole/{book}"), 403)
    assert ask.stranger.get(f"/v1/{book}/session").status_code == 200


def test_errors_and_limits_of_a_resource_are_those_of_all(ask, book) -> None:
    json, form = {"Content-Type": "application/json"}, {"title": "me"}
    assert "stars" in problem(ask.post(f"/v1/{book}", json={"name": "b", "stars": "many"}), 422)
    assert "limit" in problem(ask.get(f"/v1/{book}", params={"limit": "all"}), 422)
    assert problem(ask.post(f"/v1/{book}", content=b"{", headers=json), 422)
    assert "UTF-8" in problem(ask.post(f"/v1/{book}", content=b'{"name": "\xff"}', headers=json), 422)
    assert problem(ask.put(f"/v1/{book}/photo", content=b"no form", headers={"Content-Type": "multipart/form-data"}), 400)
    assert problem(ask.post(f"/v1/{book}", content=b"{}", headers={"Content-Type": "text/plain"}), 415)
    assert "at most 30000 bytes" in problem(ask.put(f"/v1/{book}/photo", files={"photo": b"x" * 30_000}, data=form), 413)
    start = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
    chunks = (start if place == 0 else b"x" * 1000 for place in range(40))
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert "at most 30000 bytes" in problem(ask.put(f"/v1/{book}/photo", content=chunks, headers=headers), 413)
    assert "does not support the method PATCH" in problem(ask.patch(f"/v1/{book}"), 405)


def test_a_page_of_another_site_can_not_send_a_form_to_an_open_server(book, fleet, start) -> None:
    running = start(fleet)
    send = {"files": {"photo": b"x"}, "data": {"title": "me"}}
    for origin, status in (("http://evil.example", 403), ("null", 403), (running.url, 200), ("http://localhost:3000", 200)):
        found: httpx.Response = running.ask.put(f"/v1/{book}/photo", headers={"Origin": origin}, **send)
        assert found.status_code == status, origin


def test_a_route_must_declare_its_scope(tmp_path, monkeypatch) -> None:
    with pytest.raises(TypeError, match="scope"):
        Resource("careless").get("/v1/careless")
    (tmp_path / "careless.py").write_text("resource = None\n")
    monkeypatch.setattr(resources, "__path__", [*resources.__path__, str(tmp_path)])
    with pytest.raises(ConfigError, match="has no `resource`"):
        discovery.find_routes()
    careless = textwrap.dedent("""
        from fastapi.routing import APIRoute
        from vertune.server.resource import Resource
        resource = Resource("careless")
        resource.routes.append(APIRoute("/v1/careless", lambda: None))
    """)
    (tmp_path / "careless.py").write_text(careless)
    sys.modules.pop(f"{resources.__name__}.careless")
    with pytest.raises(ConfigError, match="declares no scope"):
        discovery.find_routes()
    sys.modules.pop(f"{resources.__name__}.careless")


def test_all_routes_declare_a_scope() -> None:
    found = discovery.find_routes()
    assert found
    assert not [route for route in found if type(route) is APIRoute or not hasattr(route, "required_scope")]


def test_the_resource_of_the_documentation_is_one(tmp_path, monkeypatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "add" / "resource.md").read_text()
    (tmp_path / "corrections.py").write_text(page.split("```python\n")[1].split("```")[0])
    monkeypatch.setattr(resources, "__path__", [*resources.__path__, str(tmp_path)])
    (route,) = [route for route in discovery.find_routes() if "corrections" in route.path]
    assert (route.required_scope, route.methods) == ("feedback", {"POST"})
    sys.modules.pop(f"{resources.__name__}.corrections")
